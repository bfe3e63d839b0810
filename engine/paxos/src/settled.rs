//! The locations of the records of settled slots. The list only grows (until checkpoints trim it), and it
//! grows alike on all replicas of a group: if it were reallocated, all of them would pause at the same slot.
//! So it consists of chunks that are never moved.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use synod_types::{Ballot, Location, Slot};

/// A chunk has 128 KiB. A hundred million slots take 24 000 chunks; only the list of these, 24 bytes each, is
/// ever reallocated.
const CHUNK_SLOTS: usize = 4096;

/// A slot that is applied, and whose payload is in the log alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settled {
    /// The ballot its value was accepted in.
    pub ballot: Ballot,
    pub location: Location,
}

/// The settled slots, from 1 on without a gap.
#[derive(Debug, Default)]
pub(crate) struct SettledSlots {
    /// All chunks are full but the last, which is never empty.
    chunks: VecDeque<Vec<Settled>>,
}

impl SettledSlots {
    /// The last settled slot; [`Slot::ZERO`] if there is none.
    pub fn last(&self) -> Slot {
        let full = self.chunks.len().saturating_sub(1) * CHUNK_SLOTS;
        Slot::new((full + self.chunks.back().map_or(0, Vec::len)) as u64) // lossless
    }

    pub fn push(&mut self, settled: Settled) {
        let slot = self.last().next();
        match self.chunks.back_mut() {
            Some(chunk) if chunk.len() < CHUNK_SLOTS => chunk.push(settled),
            _ => {
                let mut chunk = Vec::with_capacity(CHUNK_SLOTS);
                chunk.push(settled);
                self.chunks.push_back(chunk);
            }
        }
        assert!(self.last() == slot, "a slot settles behind the last one");
    }

    pub fn get(&self, slot: Slot) -> Option<&Settled> {
        let index = usize::try_from(slot.get().checked_sub(1)?).ok()?;
        self.chunks.get(index / CHUNK_SLOTS)?.get(index % CHUNK_SLOTS)
    }

    /// All settled slots, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (Slot, &Settled)> {
        (1..).map(Slot::new).zip(self.chunks.iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use synod_types::{NodeId, SegmentId};

    fn settled(slot: u64) -> Settled {
        let location =
            Location { segment: SegmentId::new((slot / 1000) as u32), offset: slot as u32, len: 7 };
        Settled { ballot: Ballot::new(slot, NodeId::new(1)), location }
    }

    #[test]
    fn each_slot_is_found_and_none_ever_moves() {
        let mut slots = SettledSlots::default();
        assert_eq!((slots.last(), slots.get(Slot::ZERO), slots.get(Slot::new(1))), (Slot::ZERO, None, None));
        let count = 5 * CHUNK_SLOTS as u64 + 3;
        let mut places: Vec<*const Settled> = Vec::new();
        for number in 1..=count {
            slots.push(settled(number));
            let slot = Slot::new(number);
            assert_eq!(slots.last(), slot);
            assert_eq!(slots.get(slot.next()), None);
            places.push(slots.get(slot).expect("it was just put"));
        }
        for (number, place) in (1..).zip(places) {
            let found = slots.get(Slot::new(number)).expect("it was put");
            assert_eq!(*found, settled(number));
            assert!(core::ptr::eq(found, place), "slot {number} was moved");
        }
        assert_eq!(slots.get(Slot::ZERO), None);
        assert_eq!(slots.iter().count() as u64, count);
        assert!(slots.iter().all(|(slot, found)| *found == settled(slot.get())));
    }
}
