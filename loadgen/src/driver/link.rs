//! One connection as the driver sees it: whether it is up, what it owes, when it is tried again.

use super::resp::RespReader;
use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;
use synod_net::binary::ResponseDecoder;

/// First pause after a failed or lost connection; doubles up to the longest.
const BACKOFF_FIRST: Duration = Duration::from_millis(10);
const BACKOFF_LAST: Duration = Duration::from_millis(500);

/// Where a connection stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// Not there; to be made at this time.
    Down { until_ns: u64 },
    /// The shell is making it; given up at this time, should the shell not say what came of it.
    Connecting { until_ns: u64 },
    /// Made; it has to answer once before it is given work, because a stopped process still accepts.
    Probing,
    /// In use.
    Up,
}

/// One connection.
pub(super) struct Link {
    pub(super) endpoint: usize,
    pub(super) state: State,
    pub(super) decoder: ResponseDecoder,
    /// In the place of `decoder` where RESP is spoken.
    pub(super) reader: RespReader,
    /// What was asked over RESP and not answered, in order, as ids.
    pub(super) asked: VecDeque<u64>,
    /// To be sent.
    pub(super) out: Vec<u8>,
    /// Operations sent and not answered, given up or not: the other side has them all.
    pub(super) outstanding: u32,
    /// Of them, those given up.
    pub(super) given_up: u32,
    /// What is no operation (the password, topology requests, PING), sent and not answered.
    pub(super) control_open: u32,
    /// The last answer to an operation while one is owed, else the last sign of life. A server that says who leads and
    /// does nothing else is as good as silent.
    pub(super) heard_ns: u64,
    backoff: Duration,
    /// Whether it was ever tried to an end, good or bad.
    pub(super) was_tried: bool,
}

/// What is to be sent is not shown, only how much: the password may be in it.
impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("endpoint", &self.endpoint)
            .field("state", &self.state)
            .field("out_bytes", &self.out.len())
            .field("outstanding", &self.outstanding)
            .field("given_up", &self.given_up)
            .field("control_open", &self.control_open)
            .finish_non_exhaustive()
    }
}

impl Link {
    pub(super) fn new(endpoint: usize) -> Self {
        Self {
            endpoint,
            state: State::Down { until_ns: 0 },
            decoder: ResponseDecoder::new(),
            reader: RespReader::default(),
            asked: VecDeque::new(),
            out: Vec::new(),
            outstanding: 0,
            given_up: 0,
            control_open: 0,
            heard_ns: 0,
            backoff: BACKOFF_FIRST,
            was_tried: false,
        }
    }
    pub(super) fn is_up(&self) -> bool {
        self.state == State::Up
    }
    /// An operation is sent.
    pub(super) fn note_sent(&mut self, now_ns: u64) {
        if self.outstanding == 0 {
            self.heard_ns = now_ns;
        }
        self.outstanding += 1;
    }
    /// An operation was answered.
    pub(super) fn note_answered(&mut self, now_ns: u64) {
        self.outstanding -= 1;
        self.heard_ns = now_ns;
    }
    /// An operation that had been given up was answered. Returns whether there was one.
    pub(super) fn note_answered_late(&mut self, now_ns: u64) -> bool {
        let expected = self.given_up > 0;
        if expected {
            self.given_up -= 1;
            self.note_answered(now_ns);
        }
        expected
    }
    /// A question about the cluster is sent.
    pub(super) fn note_asked(&mut self, now_ns: u64) {
        if self.outstanding == 0 && self.control_open == 0 {
            self.heard_ns = now_ns;
        }
        self.control_open += 1;
    }
    /// A question about the cluster was answered.
    pub(super) fn note_told(&mut self, now_ns: u64) {
        self.control_open = self.control_open.saturating_sub(1);
        if self.outstanding == 0 {
            self.heard_ns = now_ns;
        }
    }
    /// Whether it owes answers and has been silent too long.
    pub(super) fn is_stalled(&self, now_ns: u64, stall_ns: u64) -> bool {
        let owes = self.outstanding > 0 || self.control_open > 0;
        matches!(self.state, State::Up | State::Probing)
            && owes
            && now_ns.saturating_sub(self.heard_ns) > stall_ns
    }
    /// It answered for the first time.
    pub(super) fn come_up(&mut self) {
        self.state = State::Up;
        self.was_tried = true;
        self.backoff = BACKOFF_FIRST;
    }
    /// It is gone; it is tried again after a pause.
    pub(super) fn go_down(&mut self, now_ns: u64) {
        let pause_ns = self.backoff.as_nanos() as u64; // half a second at most
        self.backoff = (self.backoff * 2).min(BACKOFF_LAST);
        self.state = State::Down { until_ns: now_ns.saturating_add(pause_ns) };
        self.decoder = ResponseDecoder::new();
        self.reader = RespReader::default();
        self.asked.clear();
        self.out.clear();
        self.outstanding = 0;
        self.given_up = 0;
        self.control_open = 0;
        self.was_tried = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_shrink_again() {
        let mut link = Link::new(0);
        let mut pauses = Vec::new();
        for _ in 0..8 {
            link.go_down(0);
            let State::Down { until_ns } = link.state else { panic!("it is down") };
            pauses.push(until_ns / 1_000_000);
        }
        assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 500, 500]);
        link.come_up();
        link.go_down(0);
        assert_eq!(link.state, State::Down { until_ns: 10_000_000 });
    }

    #[test]
    fn only_a_debtor_stalls() {
        let mut link = Link::new(0);
        link.come_up();
        assert!(!link.is_stalled(100, 10));
        link.note_sent(95);
        assert!(!link.is_stalled(105, 10));
        assert!(link.is_stalled(106, 10));
        link.note_sent(100);
        link.note_answered(100);
        link.note_sent(106);
        assert!(!link.is_stalled(110, 10));
        assert!(link.is_stalled(111, 10), "what is sent later does not reset the silence");
        link.note_answered(111);
        link.note_answered(111);
        assert!(!link.is_stalled(200, 10), "nothing is owed");
    }

    #[test]
    fn talk_about_the_cluster_is_no_answer() {
        let mut link = Link::new(0);
        link.come_up();
        link.note_asked(100);
        assert!(link.is_stalled(111, 10));
        link.note_told(111);
        assert!(!link.is_stalled(150, 10));
        link.note_sent(200);
        link.note_asked(205);
        link.note_told(209);
        assert!(link.is_stalled(211, 10));
    }

    #[test]
    fn what_was_given_up_is_still_owed() {
        let mut link = Link::new(0);
        link.come_up();
        link.note_sent(1);
        assert!(!link.note_answered_late(2), "nothing was given up");
        link.given_up += 1;
        assert_eq!(link.outstanding, 1);
        assert!(link.note_answered_late(2));
        assert_eq!((link.outstanding, link.given_up), (0, 0));
    }
}
