//! The slots that this replica has proposed as the leader of a group, and the requests that wait for each.

use crate::request::Origin;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use synod_types::{Ballot, EntryBuilder, Level, Mono, Nanos, Payload, Slot};

/// A slot this replica proposed, and the requests that wait for it.
#[derive(Debug)]
pub(crate) struct Proposed {
    slot: Slot,
    /// The ballot it was proposed in: together with the slot it identifies the value (P-05d).
    ballot: Ballot,
    /// By position in the batch; none where the answer was given.
    origins: Vec<Option<Origin>>,
    at: Mono,
}

/// The proposed slots that requests wait for, in slot order (leader only).
#[derive(Debug)]
pub(crate) struct Proposals<P> {
    awaited: VecDeque<Proposed>,
    /// Empty between steps.
    pub builder: EntryBuilder<P>,
    /// The level that this replica last proposed, and the ballot it did so in.
    pub raised: Option<(Ballot, Level)>,
}

impl<P: Payload> Proposals<P> {
    /// No slot is proposed.
    pub fn new() -> Self {
        Self { awaited: VecDeque::new(), builder: EntryBuilder::new(), raised: None }
    }

    /// Takes note of a proposed slot and the requests that wait for it.
    pub fn push(&mut self, slot: Slot, ballot: Ballot, origins: Vec<Option<Origin>>, at: Mono) {
        assert!(self.awaited.back().is_none_or(|last| last.slot < slot), "slots are proposed in order");
        debug_assert!(!origins.is_empty(), "no request waits for the slot");
        self.awaited.push_back(Proposed { slot, ballot, origins, at });
    }

    fn at(&self, slot: Slot) -> Option<&Proposed> {
        self.awaited.front().filter(|first| first.slot == slot)
    }

    /// How long ago the slot that is about to be applied was proposed; none if no request waits for it.
    pub fn age(&self, slot: Slot, now: Mono) -> Option<Nanos> {
        self.at(slot).map(|proposed| now.since(proposed.at))
    }

    /// Whether the value chosen for a slot is the one that its clients wait for, if any do (P-05d).
    pub fn expects(&self, slot: Slot, origin: Ballot) -> bool {
        self.at(slot).is_none_or(|proposed| proposed.ballot == origin)
    }

    /// Takes the origin of the command at this position of a slot that is being applied; none if it was taken
    /// before.
    pub fn take_origin(&mut self, slot: Slot, position: u32) -> Option<Origin> {
        let first = self.awaited.front_mut().filter(|first| first.slot == slot)?;
        first.origins.get_mut(position as usize)?.take()
    }

    /// A slot is applied; true if requests waited for it.
    pub fn applied(&mut self, slot: Slot) -> bool {
        let was_awaited = self.awaited.pop_front_if(|first| first.slot == slot).is_some();
        debug_assert!(self.awaited.front().is_none_or(|first| first.slot > slot), "a slot was passed over");
        was_awaited
    }

    /// Takes all origins that wait, after the leadership has ended.
    pub fn take_all(&mut self) -> impl Iterator<Item = Origin> + use<P> {
        core::mem::take(&mut self.awaited).into_iter().flat_map(|proposed| proposed.origins).flatten()
    }

    /// Takes the origins that have waited for `patience`; their slots stay under way.
    pub fn take_late(&mut self, patience: Nanos, now: Mono) -> impl Iterator<Item = Origin> {
        let late = self.awaited.iter_mut().take_while(move |first| now.since(first.at) >= patience);
        late.flat_map(|proposed| &mut proposed.origins).filter_map(Option::take)
    }

    pub fn invariants(&self, leads: bool, applied: Slot) {
        assert!(self.builder.is_empty(), "a batch was left behind");
        assert!(leads || self.awaited.is_empty(), "a follower has clients waiting for slots");
        assert!(
            self.awaited.front().is_none_or(|first| first.slot > applied),
            "an applied slot has clients waiting"
        );
        let is_ordered =
            self.awaited.iter().is_sorted_by(|one, next| one.slot < next.slot && one.at <= next.at);
        assert!(is_ordered, "slots are proposed in order");
    }
}
