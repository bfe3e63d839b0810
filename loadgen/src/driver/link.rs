//! One connection as the driver sees it: whether it is up, what it owes, when it is tried again.

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
    /// The shell is making it.
    Connecting,
    /// Made; it has to answer once before it is given work, because a stopped process still accepts.
    Probing,
    /// In use.
    Up,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) endpoint: usize,
    pub(super) state: State,
    pub(super) decoder: ResponseDecoder,
    /// To be sent.
    pub(super) out: Vec<u8>,
    /// Operations sent and not answered.
    pub(super) outstanding: u32,
    /// Topology requests sent and not answered.
    pub(super) control_open: u32,
    /// The last sign of life while something was owed.
    pub(super) heard_ns: u64,
    backoff: Duration,
    /// Whether it was ever tried to an end, good or bad.
    pub(super) was_tried: bool,
}

impl Link {
    pub(super) fn new(endpoint: usize) -> Self {
        Self {
            endpoint,
            state: State::Down { until_ns: 0 },
            decoder: ResponseDecoder::new(),
            out: Vec::new(),
            outstanding: 0,
            control_open: 0,
            heard_ns: 0,
            backoff: BACKOFF_FIRST,
            was_tried: false,
        }
    }
    pub(super) fn is_up(&self) -> bool {
        self.state == State::Up
    }
    /// Something will be owed from now on.
    pub(super) fn note_sent(&mut self, now_ns: u64) {
        if self.outstanding == 0 && self.control_open == 0 {
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
        self.out.clear();
        self.outstanding = 0;
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
        link.outstanding = 1;
        assert!(!link.is_stalled(105, 10));
        assert!(link.is_stalled(106, 10));
        link.heard_ns = 100;
        link.note_sent(106);
        assert!(!link.is_stalled(110, 10));
        assert!(link.is_stalled(111, 10), "what is sent later does not reset the silence");
    }
}
