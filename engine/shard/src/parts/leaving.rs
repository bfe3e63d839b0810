//! What a core that is about to stop has handed over, and who did not take it (P-17g).

use alloc::vec;
use alloc::vec::Vec;
use synod_paxos::HEIR_PAUSE_LEASES;
use synod_types::{Ballot, Mono, Nanos, NodeId};

/// After this long a group is also handed to a peer whose log is slower than this node's.
const CHOOSY_FOR: Nanos = Nanos::from_ms(1_000);
/// Where no leader is heard so many leases after this node last led, others have had their turn.
const OTHERS_LEASES: u64 = 3;

/// The hand-overs of a core that is about to stop.
#[derive(Debug)]
pub(crate) struct Leaving {
    since: Mono,
    /// By index of the group.
    groups: Vec<Handing>,
    /// The peers that did not take over, and when that was seen.
    unwilling: Vec<(NodeId, Mono)>,
}

/// One group that is handed over.
#[derive(Clone, Copy, Debug)]
struct Handing {
    /// To whom it was handed last, and the ballot that was led in then.
    last: Option<(NodeId, Ballot)>,
    /// When it was last led here, or this node stood for it.
    held_at: Mono,
}

impl Leaving {
    /// A core of so many groups begins to leave.
    pub fn new(group_count: usize, now: Mono) -> Self {
        let handing = Handing { last: None, held_at: now };
        Self { since: now, groups: vec![handing; group_count], unwilling: Vec::new() }
    }

    /// Whether a group goes only to a peer whose log is about as fast as this node's.
    pub fn is_choosy(&self, now: Mono) -> bool {
        now.since(self.since) < CHOOSY_FOR
    }

    /// The group at this index is led here, or this node stands for it.
    pub fn note_held(&mut self, index: usize, now: Mono) {
        self.groups[index].held_at = now;
    }

    /// Whether the group at this index has been held elsewhere, or nowhere, for so long that others have had
    /// their turn.
    pub fn is_past(&self, index: usize, lease: Nanos, now: Mono) -> bool {
        now.since(self.groups[index].held_at) >= Nanos(OTHERS_LEASES * lease.0)
    }

    /// The group at this index, led in `ballot`, is handed to `target`.
    pub fn note_handed(&mut self, index: usize, target: NodeId, ballot: Ballot) {
        self.groups[index].last = Some((target, ballot));
    }

    /// The group at this index is led here in `ballot`, and no transfer of it is under way. If the lease was given up
    /// in the ballot before, its target did not take over; else it was not ready in time.
    pub fn note_led(&mut self, index: usize, ballot: Ballot, now: Mono) {
        if let Some((node, before)) = self.groups[index].last.take()
            && before != ballot
        {
            self.unwilling.retain(|&(known, _)| known != node);
            self.unwilling.push((node, now));
        }
    }

    /// Whether this peer did not take over a short while ago: it may be about to stop itself.
    pub fn is_unwilling(&self, node: NodeId, lease: Nanos, now: Mono) -> bool {
        let span = Nanos(HEIR_PAUSE_LEASES * lease.0);
        self.unwilling.iter().any(|&(known, at)| known == node && now.since(at) < span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Nanos = Nanos::from_ms(100);
    const TWO: NodeId = NodeId::new(2);
    const THREE: NodeId = NodeId::new(3);

    fn at(ms: u64) -> Mono {
        Mono(Nanos::from_ms(ms).0)
    }

    fn ballot(round: u64) -> Ballot {
        Ballot::new(round, NodeId::new(1))
    }

    #[test]
    fn who_did_not_take_over_is_not_asked_again_for_a_while() {
        let mut leaving = Leaving::new(2, at(900));
        leaving.note_led(0, ballot(1), at(1_000));
        assert!(!leaving.is_unwilling(TWO, LEASE, at(1_000)), "it was not asked");
        leaving.note_handed(1, TWO, ballot(1));
        leaving.note_led(0, ballot(1), at(1_100));
        assert!(!leaving.is_unwilling(TWO, LEASE, at(1_100)), "it was asked for another group");
        leaving.note_led(1, ballot(2), at(1_300));
        assert!(
            leaving.is_unwilling(TWO, LEASE, at(1_300)) && !leaving.is_unwilling(THREE, LEASE, at(1_300))
        );
        leaving.note_led(1, ballot(3), at(2_000));
        assert!(leaving.is_unwilling(TWO, LEASE, at(2_899)));
        assert!(!leaving.is_unwilling(TWO, LEASE, at(2_900)));
    }

    #[test]
    fn who_was_not_ready_in_time_is_not_unwilling() {
        let mut leaving = Leaving::new(1, at(900));
        leaving.note_handed(0, TWO, ballot(4));
        leaving.note_led(0, ballot(4), at(1_000));
        assert!(!leaving.is_unwilling(TWO, LEASE, at(1_000)), "the lease was kept");
    }

    #[test]
    fn others_have_their_turn_before_a_group_without_a_leader_is_left() {
        let mut leaving = Leaving::new(1, at(900));
        assert!(leaving.is_choosy(at(1_899)) && !leaving.is_choosy(at(1_900)));
        leaving.note_held(0, at(1_000));
        assert!(!leaving.is_past(0, LEASE, at(1_299)) && leaving.is_past(0, LEASE, at(1_300)));
    }
}
