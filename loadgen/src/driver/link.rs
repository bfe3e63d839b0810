//! One connection as the driver sees it: whether it is up, which replies it owes, when it is tried again.

use super::resp_wire::RespReader;
use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;
use synod_net::binary::ResponseDecoder;

/// First pause after a failed or lost connection; it doubles up to `BACKOFF_LAST`.
const BACKOFF_FIRST: Duration = Duration::from_millis(10);
const BACKOFF_LAST: Duration = Duration::from_millis(500);

/// The state of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum LinkState {
    /// Not connected; the next attempt is at this time.
    Down { until_ns: u64 },
    /// The shell is connecting; the attempt is given up at this time if the shell has not reported a result.
    Connecting { until_ns: u64 },
    /// Connected. The server must answer once before it gets operations, because a stopped process still
    /// accepts connections.
    Probing,
    /// In use.
    Up,
}

/// One connection.
pub(super) struct Link {
    pub(super) endpoint: usize,
    pub(super) state: LinkState,
    pub(super) decoder: ResponseDecoder,
    /// Used instead of `decoder` with RESP.
    pub(super) reader: RespReader,
    /// Ids of the requests sent over RESP and not answered, in order.
    pub(super) asked: VecDeque<u64>,
    /// Bytes to send.
    pub(super) out: Vec<u8>,
    /// Operations that were sent and not answered, including those given up: the server has them all.
    pub(super) outstanding: u32,
    /// How many of those were given up.
    pub(super) given_up: u32,
    /// Requests that are not operations (AUTH, topology requests, PING), sent and not answered.
    pub(super) control_open: u32,
    /// The last answer to an operation while one is owed, else the last sign of life. A server that only
    /// answers topology requests counts as silent.
    pub(super) heard_ns: u64,
    backoff: Duration,
    /// Whether an attempt to connect has ever ended, successfully or not.
    pub(super) was_tried: bool,
}

/// Shows only the number of bytes to send, not the bytes: the password may be among them.
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
            state: LinkState::Down { until_ns: 0 },
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
        self.state == LinkState::Up
    }
    /// Notes that an operation is sent.
    pub(super) fn note_sent(&mut self, now_ns: u64) {
        if self.outstanding == 0 {
            self.heard_ns = now_ns;
        }
        self.outstanding += 1;
    }
    /// Notes that an operation was answered.
    pub(super) fn note_answered(&mut self, now_ns: u64) {
        self.outstanding -= 1;
        self.heard_ns = now_ns;
    }
    /// Notes that an operation that had been given up was answered. Returns whether there was one.
    pub(super) fn note_answered_late(&mut self, now_ns: u64) -> bool {
        let expected = self.given_up > 0;
        if expected {
            self.given_up -= 1;
            self.note_answered(now_ns);
        }
        expected
    }
    /// Notes that a control request (AUTH, topology, PING) is sent.
    pub(super) fn note_asked(&mut self, now_ns: u64) {
        if self.outstanding == 0 && self.control_open == 0 {
            self.heard_ns = now_ns;
        }
        self.control_open += 1;
    }
    /// Notes that a control request was answered.
    pub(super) fn note_told(&mut self, now_ns: u64) {
        self.control_open = self.control_open.saturating_sub(1);
        if self.outstanding == 0 {
            self.heard_ns = now_ns;
        }
    }
    /// Whether the connection owes answers and has been silent for too long.
    pub(super) fn is_stalled(&self, now_ns: u64, stall_ns: u64) -> bool {
        let owes = self.outstanding > 0 || self.control_open > 0;
        matches!(self.state, LinkState::Up | LinkState::Probing)
            && owes
            && now_ns.saturating_sub(self.heard_ns) > stall_ns
    }
    /// Notes the first answer: the connection is up.
    pub(super) fn come_up(&mut self) {
        self.state = LinkState::Up;
        self.was_tried = true;
        self.backoff = BACKOFF_FIRST;
    }
    /// Notes that the connection is gone; the next attempt follows after a pause.
    pub(super) fn go_down(&mut self, now_ns: u64) {
        let pause_ns = self.backoff.as_nanos() as u64; // half a second at most
        self.backoff = (self.backoff * 2).min(BACKOFF_LAST);
        self.state = LinkState::Down { until_ns: now_ns.saturating_add(pause_ns) };
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
            let LinkState::Down { until_ns } = link.state else { panic!("it is down") };
            pauses.push(until_ns / 1_000_000);
        }
        assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 500, 500]);
        link.come_up();
        link.go_down(0);
        assert_eq!(link.state, LinkState::Down { until_ns: 10_000_000 });
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
