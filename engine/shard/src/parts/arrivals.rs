//! The writes of other nodes' sessions that this leader has taken: each stream's writes are taken in order and
//! each is under way once, however often it arrives (P-21i).

use alloc::collections::BTreeMap;
use synod_types::{SessionId, SessionStamp};

/// What is to be done with a write that arrives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Arrival {
    /// It is the next one: propose it.
    Next,
    /// It is under way here already; that one is answered.
    UnderWay,
    /// One before it has not arrived here: all is to be sent again.
    Early,
}

/// The writes taken in the current leadership.
#[derive(Debug, Default)]
pub(crate) struct Arrivals(BTreeMap<SessionId, u64>);

impl Arrivals {
    /// Judges a write. All sequences below `frontier` are executed or closed, as far as is applied here.
    pub fn judge(&self, stamp: &SessionStamp, frontier: u64) -> Arrival {
        let done = frontier.max(stamp.lowest_open);
        let taken = self.0.get(&stamp.session).copied().unwrap_or(0);
        if stamp.sequence >= done && stamp.sequence <= taken {
            Arrival::UnderWay
        } else if stamp.sequence > done.max(taken + 1) {
            Arrival::Early
        } else {
            Arrival::Next
        }
    }

    /// A write is to be proposed.
    pub fn take(&mut self, stamp: &SessionStamp) {
        let taken = self.0.entry(stamp.session).or_default();
        *taken = stamp.sequence.max(*taken);
    }

    /// A write that was taken is not under way any more, though it was not executed.
    pub fn refuse(&mut self, stamp: &SessionStamp) {
        if let Some(taken) = self.0.get_mut(&stamp.session) {
            *taken = (*taken).min(stamp.sequence.saturating_sub(1));
        }
    }

    /// Another leadership begins.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(sequence: u64, lowest_open: u64) -> SessionStamp {
        SessionStamp { session: SessionId::of_node(1), sequence, lowest_open }
    }

    #[test]
    fn writes_are_taken_in_order_and_each_once() {
        let mut arrivals = Arrivals::default();
        assert_eq!(arrivals.judge(&stamp(7, 6), 1), Arrival::Early, "6 may be open");
        assert_eq!(arrivals.judge(&stamp(7, 7), 1), Arrival::Next, "all before are answered");
        assert_eq!(arrivals.judge(&stamp(7, 1), 7), Arrival::Next, "all before are executed");
        for sequence in 7..10 {
            assert_eq!(arrivals.judge(&stamp(sequence, 7), 7), Arrival::Next);
            arrivals.take(&stamp(sequence, 7));
        }
        assert_eq!(arrivals.judge(&stamp(8, 7), 7), Arrival::UnderWay);
        assert_eq!(arrivals.judge(&stamp(8, 7), 9), Arrival::Next, "its answer was lost: the log repeats it");
        assert_eq!(arrivals.judge(&stamp(11, 7), 7), Arrival::Early);
        assert_eq!(arrivals.judge(&stamp(11, 11), 7), Arrival::Next, "10 was given up");
        arrivals.refuse(&stamp(8, 7));
        assert_eq!(arrivals.judge(&stamp(9, 7), 7), Arrival::Early);
        assert_eq!(arrivals.judge(&stamp(8, 7), 7), Arrival::Next);
        arrivals.clear();
        assert_eq!(arrivals.judge(&stamp(9, 9), 7), Arrival::Next);
    }
}
