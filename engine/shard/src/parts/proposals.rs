//! The slots that this replica has proposed as the leader of a group, and the requests that wait for each.

use crate::request::Origin;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use synod_types::{Ballot, EntryBuilder, Level, Mono, Nanos, Payload, Slot};

/// A slot this replica proposed, and the requests that wait for it.
#[derive(Debug)]
pub(crate) struct Proposed<P> {
    slot: Slot,
    /// The ballot it was proposed in: together with the slot it identifies the value (P-05d).
    ballot: Ballot,
    /// By position in the batch; none where the answer was given, and for the writes of this core's stream.
    origins: Vec<Option<Origin>>,
    /// The entry: the commands that are to be sent again if another leads before they are chosen.
    payload: P,
    at: Mono,
}

/// An entry that was proposed and whose slot is not applied when the leadership ends.
#[derive(Debug)]
pub(crate) struct Abandoned<P> {
    /// By position in the batch, as far as they have no answer.
    pub origins: Vec<Option<Origin>>,
    /// The entry.
    pub payload: P,
    /// When it was proposed.
    pub at: Mono,
}

/// The proposed slots that requests wait for, in slot order (leader only).
#[derive(Debug)]
pub(crate) struct Proposals<P> {
    awaited: VecDeque<Proposed<P>>,
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
    pub fn push(
        &mut self,
        (slot, ballot): (Slot, Ballot),
        payload: P,
        origins: Vec<Option<Origin>>,
        at: Mono,
    ) {
        assert!(self.awaited.back().is_none_or(|last| last.slot < slot), "slots are proposed in order");
        debug_assert!(!origins.is_empty(), "no request waits for the slot");
        self.awaited.push_back(Proposed { slot, ballot, origins, payload, at });
    }

    /// Whether no slot is awaited.
    pub fn is_empty(&self) -> bool {
        self.awaited.is_empty()
    }

    fn at(&self, slot: Slot) -> Option<&Proposed<P>> {
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

    /// Takes all entries that are awaited, after the leadership has ended.
    pub fn take_all(&mut self) -> impl Iterator<Item = Abandoned<P>> + use<P> {
        let all = core::mem::take(&mut self.awaited).into_iter();
        all.map(|Proposed { origins, payload, at, .. }| Abandoned { origins, payload, at })
    }

    /// Takes the origins on this node that have waited too long, as `is_over` says; their slots stay under
    /// way. Peers judge for themselves how long they wait.
    pub fn take_late(&mut self, is_over: impl Fn(Mono) -> bool) -> impl Iterator<Item = Origin> {
        let late = self.awaited.iter_mut().take_while(move |first| is_over(first.at));
        let is_own = |origin: &mut Origin| !matches!(origin, Origin::Peer(..));
        late.flat_map(|proposed| &mut proposed.origins).filter_map(move |origin| origin.take_if(is_own))
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
