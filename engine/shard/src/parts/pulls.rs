//! Chosen values of one group that are read back from the log for peers. The values of a batch are sent
//! together, so that the peer sees at once how far it got and asks for more.

use alloc::vec::Vec;
use synod_paxos::ReadBack;
use synod_types::{Ballot, Learned, NodeId, Slot};

/// Batches of one group that are read back for one peer at the same time: one that it pulls, and one of slots
/// that it proposed without knowing their outcome.
const BATCHES_PER_PEER_MAX: usize = 2;

/// The batches under way.
#[derive(Debug)]
pub(crate) struct Pulls<P> {
    batches: Vec<Batch<P>>,
    last: u64,
}

#[derive(Debug)]
struct Batch<P> {
    number: u64,
    to: NodeId,
    entries: Vec<(Slot, Ballot, Option<P>)>,
    /// Reads that have not come back.
    missing: usize,
}

/// The outcome of one read of a batch.
#[derive(Debug)]
pub(crate) struct ReadFor<P> {
    /// The peer.
    pub to: NodeId,
    /// The ballot in which the entry is held.
    pub ballot: Ballot,
    /// With the last read of the batch: the entries to send, up to the first that could not be read.
    pub entries: Option<Vec<Learned<P>>>,
}

impl<P> Default for Pulls<P> {
    fn default() -> Self {
        Self { batches: Vec::new(), last: 0 }
    }
}

impl<P> Pulls<P> {
    /// Begins a batch and numbers it; none if the peer has enough batches under way. The peer asks again.
    pub fn start(&mut self, to: NodeId, wanted: &[ReadBack]) -> Option<u64> {
        assert!(!wanted.is_empty(), "a batch of nothing");
        let is_ordered = wanted.is_sorted_by(|one, next| one.slot < next.slot);
        assert!(is_ordered, "the values of a batch are sent in the order of slots");
        if self.batches.iter().filter(|batch| batch.to == to).count() >= BATCHES_PER_PEER_MAX {
            return None;
        }
        self.last += 1;
        let entries = wanted.iter().map(|one| (one.slot, one.ballot, None)).collect();
        self.batches.push(Batch { number: self.last, to, entries, missing: wanted.len() });
        Some(self.last)
    }

    /// A read has returned a value, or failed.
    ///
    /// # Panics
    /// When the read is not under way.
    pub fn came_back(&mut self, number: u64, slot: Slot, payload: Option<P>) -> ReadFor<P> {
        let at = self.batches.iter().position(|batch| batch.number == number);
        let at = at.expect("a batch waits for all its reads");
        let batch = &mut self.batches[at];
        let entry = batch.entries.iter_mut().find(|(wanted, ..)| *wanted == slot);
        let entry = entry.expect("a read of the batch");
        entry.2 = payload;
        let (to, ballot) = (batch.to, entry.1);
        assert!(batch.missing > 0, "a batch was left behind");
        batch.missing -= 1;
        let entries = (batch.missing == 0).then(|| self.finish(at));
        ReadFor { to, ballot, entries }
    }

    /// The entries of a batch, up to the first that could not be read.
    fn finish(&mut self, at: usize) -> Vec<Learned<P>> {
        let Batch { entries, missing, .. } = self.batches.swap_remove(at);
        assert!(missing == 0, "a batch is sent before its last read");
        let read = entries
            .into_iter()
            .map_while(|(slot, ballot, payload)| Some(Learned { slot, ballot, payload: payload? }));
        read.collect()
    }

    pub fn invariants(&self) {
        for batch in &self.batches {
            let is_awaited = batch.missing > 0 && batch.missing <= batch.entries.len();
            assert!(is_awaited, "a batch was left behind");
            assert!(batch.number <= self.last, "a batch whose number was not given out");
            let of_peer = self.batches.iter().filter(|other| other.to == batch.to).count();
            assert!(of_peer <= BATCHES_PER_PEER_MAX, "more batches for a peer than may be");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use synod_types::{Location, SegmentId};

    fn wanted(slots: &[u64]) -> Vec<ReadBack> {
        let at = Location { segment: SegmentId::new(1), offset: 0, len: 1 };
        let ballot = Ballot::new(1, NodeId::new(1));
        slots.iter().map(|&slot| ReadBack { slot: Slot::new(slot), ballot, at }).collect()
    }

    #[test]
    fn a_batch_leaves_with_its_last_read_up_to_the_first_that_failed() {
        let mut pulls: Pulls<Vec<u8>> = Pulls::default();
        let peer = NodeId::new(2);
        let first = pulls.start(peer, &wanted(&[1, 2, 3])).expect("a batch");
        let second = pulls.start(peer, &wanted(&[7])).expect("another");
        assert_eq!(pulls.start(peer, &wanted(&[8])), None, "two at a time");
        assert!(pulls.start(NodeId::new(3), &wanted(&[8])).is_some(), "for each peer");
        pulls.invariants();
        assert!(pulls.came_back(first, Slot::new(3), Some(Vec::new())).entries.is_none());
        assert!(pulls.came_back(first, Slot::new(2), None).entries.is_none());
        let entries = pulls.came_back(first, Slot::new(1), Some(Vec::new())).entries.expect("the batch");
        assert_eq!(entries.iter().map(|entry| entry.slot.get()).collect::<Vec<_>>(), [1]);
        let entries = pulls.came_back(second, Slot::new(7), None).entries.expect("the batch");
        assert!(entries.is_empty());
        assert!(pulls.start(peer, &wanted(&[8])).is_some());
        pulls.invariants();
    }
}
