//! The slots of one group as a replica remembers them.
//!
//! ```text
//!   1 ........ settled | recent ............... | open .................
//!   place in the log   | payload still in memory | not applied yet
//!   only (28 bytes)    | (a budget of bytes)     |
//!                                     applied ──┘        chosen ──┘ (contiguous)
//! ```
//! `slots` holds `recent` and `open`; `settled` the rest, so that a follower far behind can be served from the log.
//! Trimming (after checkpoints) will drop settled slots from the front: `first` is the seam for it.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use synod_types::{Ballot, Location, Payload, Slot};

/// Payload bytes of applied slots kept in memory per group, for followers that are a little behind.
const RECENT_BYTES_MAX: usize = 64 << 10;

/// A slot whose payload is, or may be, in memory.
#[derive(Debug, Clone)]
pub(crate) struct Open<P> {
    /// The ballot the value was accepted in; [`Ballot::ZERO`] when nothing was accepted.
    pub ballot: Ballot,
    pub payload: Option<P>,
    pub location: Option<Location>,
    /// The record is durable here.
    pub durable: bool,
    /// Known to be chosen, possibly ahead of the contiguous prefix.
    pub chosen: bool,
    /// Leader only: who accepted it in the leader's ballot.
    pub acks: u64,
}

#[derive(Debug, Clone, Copy)]
struct Settled {
    ballot: Ballot,
    location: Location,
}

#[derive(Debug)]
pub(crate) struct SlotLog<P> {
    /// Slots `1..=settled.len()`.
    settled: Vec<Settled>,
    /// Slots from `settled.len() + 1` on.
    slots: VecDeque<Open<P>>,
    /// Bytes of payloads of applied slots still in `slots`.
    recent_bytes: usize,
}

impl<P: Payload> SlotLog<P> {
    pub fn new() -> Self {
        Self { settled: Vec::new(), slots: VecDeque::new(), recent_bytes: 0 }
    }

    fn base(&self) -> u64 {
        self.settled.len() as u64
    }

    fn index(&self, slot: Slot) -> Option<usize> {
        let index = slot.get().checked_sub(self.base() + 1)?;
        usize::try_from(index).ok()
    }

    /// The slot, unless it is settled or nothing is known of it.
    pub fn get(&self, slot: Slot) -> Option<&Open<P>> {
        let open = self.slots.get(self.index(slot)?)?;
        open.payload.is_some().then_some(open)
    }

    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut Open<P>> {
        let index = self.index(slot)?;
        let open = self.slots.get_mut(index)?;
        open.payload.is_some().then_some(open)
    }

    /// The ballot and place of a settled slot.
    pub fn settled(&self, slot: Slot) -> Option<(Ballot, Location)> {
        let index = usize::try_from(slot.get().checked_sub(1)?).ok()?;
        self.settled.get(index).map(|settled| (settled.ballot, settled.location))
    }

    /// The slot up to `last` whose entry holds these bytes of the log, and where the entry lies.
    pub fn holding(&self, bytes: Location, last: Slot) -> Option<(Slot, Location)> {
        let settled = self.settled.iter().map(|settled| Some(settled.location));
        let open = self.slots.iter().map(|open| open.location);
        let places = (1..=last.get()).zip(settled.chain(open));
        let holds = |at: &Location| {
            let (start, end) = (u64::from(at.offset), u64::from(at.offset) + u64::from(at.len));
            let (first, behind) = (u64::from(bytes.offset), u64::from(bytes.offset) + u64::from(bytes.len));
            at.segment == bytes.segment && start <= first && behind <= end
        };
        places.filter_map(|(slot, at)| Some((Slot::new(slot), at?))).find(|(_, at)| holds(at))
    }

    /// The highest slot anything is known of.
    pub fn last(&self) -> Slot {
        Slot::new(self.base() + self.slots.len() as u64)
    }

    /// Puts a value, replacing an older one; what was known of its durability and tally belonged to that one.
    pub fn put(&mut self, slot: Slot, ballot: Ballot, payload: P) {
        let index = self.index(slot).expect("a settled slot is never written again");
        while self.slots.len() <= index {
            self.slots.push_back(Open {
                ballot: Ballot::ZERO,
                payload: None,
                location: None,
                durable: false,
                chosen: false,
                acks: 0,
            });
        }
        let open = &mut self.slots[index];
        assert!(!open.chosen, "a chosen slot is never written again");
        open.ballot = ballot;
        open.payload = Some(payload);
        open.location = None;
        open.durable = false;
        open.acks = 0;
    }

    pub fn locate(&mut self, slot: Slot, ballot: Ballot, at: Location) {
        if let Some(open) = self.get_mut(slot)
            && open.ballot == ballot
        {
            open.location = Some(at);
        }
    }

    pub fn mark_durable(&mut self, slot: Slot, ballot: Ballot) {
        if let Some(open) = self.get_mut(slot)
            && open.ballot == ballot
        {
            open.durable = true;
        }
    }

    pub fn mark_chosen(&mut self, slot: Slot) {
        let open = self.get_mut(slot).expect("a chosen slot has its value here");
        open.chosen = true;
    }

    /// `slot` was applied: it counts as recent now, and the oldest recent payloads are given up beyond the budget.
    pub fn settle(&mut self, slot: Slot) {
        let open = self.get(slot).expect("an applied slot is in memory");
        self.recent_bytes += open.payload.as_ref().map_or(0, |payload| payload.as_ref().len());
        while self.recent_bytes > RECENT_BYTES_MAX && self.base() < slot.get() {
            let Some(front) = self.slots.front() else { break };
            let Some(location) = front.location else { break };
            self.recent_bytes -= front.payload.as_ref().map_or(0, |payload| payload.as_ref().len());
            self.settled.push(Settled { ballot: front.ballot, location });
            self.slots.pop_front();
        }
    }

    /// # Panics
    /// When a slot up to `chosen` has no value.
    pub fn assert_holds_up_to(&self, chosen: Slot) {
        assert!(
            chosen <= self.last() && (chosen.get() <= self.base() || self.get(chosen).is_some()),
            "a chosen slot {chosen} is missing from the log"
        );
    }

    pub fn invariants(&self, applied: Slot, chosen: Slot) {
        assert!(self.base() <= applied.get(), "a slot settled before it was applied");
        let mut slot = Slot::new(self.base() + 1);
        while slot <= chosen {
            assert!(self.get(slot).is_some(), "chosen slot {slot} has no value");
            slot = slot.next();
        }
    }
}
