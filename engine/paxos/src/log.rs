//! The slots of one group that a replica holds.
//!
//! ```text
//!   1 ......... settled | recent ................ | open .............. |  gap  | far ahead
//!   location in the log | payload still in memory | not applied yet     |       | (sparse)
//!   only (32 bytes)     | (a budget of bytes)     |
//!                                       applied ──┘     chosen ──┘ (contiguous)
//! ```
//! `near` holds `recent` and `open`. `far` holds slots so far above that a gap is likely; it costs memory
//! only for the slots held. `settled` holds the location of all older slots, so that a follower far behind
//! can be served from the log. The payload of a slot that is not applied may be *shed* once its record is
//! durable: only its location stays in memory, and it is recalled when it is needed. Settled slots are never
//! dropped yet; trimming needs checkpoints.

use crate::settled::{Settled, SettledSlots};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use core::ops::Bound::{Excluded, Included, Unbounded};
use synod_types::{Ballot, Location, Payload, Slot};

/// Payload bytes of applied slots kept in memory per group, for followers that are slightly behind.
const RECENT_BYTES_MAX: usize = 64 << 10;

/// A slot that is not settled: its payload is in memory, or shed.
#[derive(Debug, Clone)]
pub(crate) struct Open<P> {
    /// The ballot the value was accepted in; [`Ballot::ZERO`] when nothing was accepted.
    pub ballot: Ballot,
    /// The ballot the value was first proposed in; with the slot it identifies the value (P-05d).
    pub origin: Ballot,
    pub payload: Option<P>,
    /// Set while the payload is in the log alone. Then the record is durable and its location is known.
    pub away: Option<Away>,
    pub location: Option<Location>,
    /// The record is durable here.
    pub durable: bool,
    /// Known to be chosen, possibly ahead of the contiguous prefix.
    pub chosen: bool,
    /// Leader only: the members that accepted it in the leader's ballot.
    pub acks: u64,
}

/// The state of a payload that was shed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Away {
    /// It has not been recalled.
    Shed,
    /// It is being read back.
    UnderWay,
    /// It could not be read back.
    Failed,
}

impl<P: Payload> Open<P> {
    const NOTHING: Self = Self {
        ballot: Ballot::ZERO,
        origin: Ballot::ZERO,
        payload: None,
        away: None,
        location: None,
        durable: false,
        chosen: false,
        acks: 0,
    };

    /// Whether a value was accepted or learned.
    fn has_value(&self) -> bool {
        self.payload.is_some() || self.away.is_some()
    }

    /// The bytes of the payload in memory.
    fn bytes(&self) -> usize {
        self.payload.as_ref().map_or(0, |payload| payload.as_ref().len())
    }

    /// The length of the payload, in memory or not.
    pub fn len(&self) -> usize {
        match (&self.payload, self.location) {
            (Some(payload), _) => payload.as_ref().len(),
            (None, Some(at)) => at.len as usize,
            (None, None) => 0,
        }
    }
}

/// A chosen value that can be sent to a peer.
#[derive(Debug)]
pub(crate) enum Held<'a, P> {
    InMemory(Ballot, &'a P),
    InLog(Ballot, Location),
}

#[derive(Debug)]
pub(crate) struct SlotLog<P> {
    /// The slots from 1 on.
    settled: SettledSlots,
    /// The slots that follow them.
    near: VecDeque<Open<P>>,
    /// The slots above those of `near`.
    far: BTreeMap<Slot, Open<P>>,
    /// How far `near` may reach above the applied slot.
    near_slots_max: u64,
    applied: Slot,
    /// Payload bytes of the applied slots still in `near`.
    recent_bytes: usize,
    /// Payload bytes in memory of slots that are not applied.
    ahead_bytes: usize,
    /// The number of slots whose payload is in the log alone.
    away_count: usize,
    /// The slots recalled for a promise: their payloads stay in memory until [`SlotLog::release`].
    kept: BTreeSet<Slot>,
    /// No slot up to here has a payload that can be shed, other than those spared on purpose.
    shed_up_to: Slot,
}

impl<P: Payload> SlotLog<P> {
    pub fn new(near_slots_max: u64) -> Self {
        Self {
            settled: SettledSlots::default(),
            near: VecDeque::new(),
            far: BTreeMap::new(),
            near_slots_max,
            applied: Slot::ZERO,
            recent_bytes: 0,
            ahead_bytes: 0,
            away_count: 0,
            kept: BTreeSet::new(),
            shed_up_to: Slot::ZERO,
        }
    }

    fn base(&self) -> u64 {
        self.settled.last().get()
    }

    /// The last slot in `near`.
    fn near_end(&self) -> Slot {
        Slot::new(self.base() + self.near.len() as u64)
    }

    fn index(&self, slot: Slot) -> Option<usize> {
        let index = slot.get().checked_sub(self.base() + 1)?;
        usize::try_from(index).ok()
    }

    /// The slot, unless it is settled or not held.
    pub fn get(&self, slot: Slot) -> Option<&Open<P>> {
        let open = match self.near.get(self.index(slot)?) {
            Some(near) => near,
            None => self.far.get(&slot)?,
        };
        open.has_value().then_some(open)
    }

    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut Open<P>> {
        let index = self.index(slot)?;
        let open = match self.near.get_mut(index) {
            Some(near) => near,
            None => self.far.get_mut(&slot)?,
        };
        open.has_value().then_some(open)
    }

    /// The slots held from `first` on, ascending.
    pub fn range(&self, first: Slot) -> impl Iterator<Item = (Slot, &Open<P>)> {
        let base = self.base();
        let first = first.max(Slot::new(base + 1));
        let skipped = self.index(first).map_or(self.near.len(), |index| index.min(self.near.len()));
        let near = self.near.range(skipped..).zip(skipped as u64..);
        let near = near.map(move |(open, index)| (Slot::new(base + 1 + index), open));
        let far = self.far.range(first..).map(|(&slot, open)| (slot, open));
        near.chain(far).filter(|(_, open)| open.has_value())
    }

    /// The ballot and location of a settled slot.
    pub fn settled(&self, slot: Slot) -> Option<(Ballot, Location)> {
        self.settled.get(slot).map(|settled| (settled.ballot, settled.location))
    }

    /// The slot up to `last` whose entry holds these bytes of the log, and the entry's location.
    pub fn holding(&self, bytes: Location, last: Slot) -> Option<(Slot, Location)> {
        debug_assert!(last <= self.applied, "a slot that is not applied is searched");
        let settled = self.settled.iter().map(|(slot, settled)| (slot, Some(settled.location)));
        let open = self.range(Slot::new(1)).map(|(slot, open)| (slot, open.location));
        let holds = |at: &Location| {
            let (start, end) = (u64::from(at.offset), u64::from(at.offset) + u64::from(at.len));
            let (first, behind) = (u64::from(bytes.offset), u64::from(bytes.offset) + u64::from(bytes.len));
            at.segment == bytes.segment && start <= first && behind <= end
        };
        let places = settled.chain(open).take_while(|&(slot, _)| slot <= last);
        places.filter_map(|(slot, at)| Some((slot, at?))).find(|(_, at)| holds(at))
    }

    /// The value of a slot that is settled, is part of the prefix `chosen`, or is known to be chosen behind a
    /// gap.
    pub fn chosen_value(&self, slot: Slot, chosen: Slot) -> Option<Held<'_, P>> {
        debug_assert!(self.applied <= chosen, "applied beyond chosen");
        if let Some((ballot, at)) = self.settled(slot) {
            return Some(Held::InLog(ballot, at));
        }
        let open = self.get(slot).filter(|open| open.chosen || slot <= chosen)?;
        match (&open.payload, open.location) {
            (Some(payload), _) => Some(Held::InMemory(open.ballot, payload)),
            (None, Some(at)) => Some(Held::InLog(open.ballot, at)), // a failed read may succeed next time
            (None, None) => None,
        }
    }

    /// The highest slot held.
    pub fn last(&self) -> Slot {
        self.far.last_key_value().map_or_else(|| self.near_end(), |(&slot, _)| slot)
    }

    /// The number of slots held that are not applied; gaps among the near ones count.
    pub fn ahead_count(&self) -> usize {
        // Applied slots are near or settled.
        debug_assert!(self.applied <= self.near_end(), "an applied slot is far");
        self.near_end().since(self.applied) as usize + self.far.len()
    }

    /// The number of payloads in the log alone.
    pub fn away_count(&self) -> usize {
        self.away_count
    }

    /// Payload bytes in memory of slots that are not applied.
    pub fn ahead_bytes(&self) -> usize {
        self.ahead_bytes
    }

    /// Extends `near` up to `slot`; `far` slots up to there move into it.
    fn reach(&mut self, slot: Slot) {
        while self.near_end() < slot {
            let next = self.near_end().next();
            self.near.push_back(self.far.remove(&next).unwrap_or(Open::NOTHING));
        }
    }

    /// Puts a value, replacing an older one. Durability and tally are reset: they belonged to the older
    /// value.
    pub fn put(&mut self, slot: Slot, ballot: Ballot, payload: P) {
        assert!(self.get(slot).is_none_or(|open| !open.chosen), "a chosen slot is never written again");
        self.write(slot, ballot, payload);
    }

    /// Puts the value of a chosen slot again, because its record cannot be read back.
    pub fn put_again(&mut self, slot: Slot, ballot: Ballot, payload: P) {
        assert!(slot > self.applied, "an applied slot is never written again");
        assert!(self.get(slot).is_some_and(|open| open.payload.is_none()), "its value is here");
        self.write(slot, ballot, payload);
    }

    fn write(&mut self, slot: Slot, ballot: Ballot, payload: P) {
        debug_assert!(slot > self.applied, "an applied slot is never written again");
        let index = self.index(slot).expect("a settled slot is never written again");
        if slot <= self.applied.plus(self.near_slots_max) {
            self.reach(slot);
        }
        let open = match self.near.get_mut(index) {
            Some(near) => near,
            None => self.far.entry(slot).or_insert(Open::NOTHING),
        };
        self.away_count -= usize::from(open.away.is_some());
        self.ahead_bytes -= open.bytes();
        self.ahead_bytes += payload.as_ref().len();
        open.ballot = ballot;
        open.origin = payload.origin();
        open.payload = Some(payload);
        open.away = None;
        open.location = None;
        open.durable = false;
        open.acks = 0;
        self.shed_up_to = self.shed_up_to.min(slot.previous());
    }

    pub fn locate(&mut self, slot: Slot, ballot: Ballot, at: Location) {
        if let Some(open) = self.get_mut(slot)
            && open.ballot == ballot
        {
            open.location = Some(at);
            debug_assert!(slot > self.applied, "{slot} was applied before its place was known");
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
        debug_assert!(slot > self.applied, "a slot was applied before it was chosen");
        let open = self.get_mut(slot).expect("a chosen slot has its value here");
        open.chosen = true;
    }

    /// Marks as chosen the slots above `first` and up to `last` for which `says` returns true.
    pub fn mark_chosen_where(&mut self, first: Slot, last: Slot, says: impl Fn(Slot, Ballot) -> bool) {
        debug_assert!(first >= self.applied, "an applied slot is marked as chosen");
        let first = first.max(Slot::new(self.base()));
        let near_last = last.min(self.near_end());
        let mut slot = first;
        while slot < near_last {
            slot = slot.next();
            if let Some(open) = self.get_mut(slot)
                && says(slot, open.ballot)
            {
                open.chosen = true;
            }
        }
        if first < last {
            for (&slot, open) in self.far.range_mut((Excluded(first), Included(last))) {
                if says(slot, open.ballot) {
                    open.chosen = true;
                }
            }
        }
    }

    /// `slot` was applied: it is recent now. The oldest recent slots beyond the budget are settled.
    pub fn settle(&mut self, slot: Slot) {
        assert!(slot == self.applied.next(), "slots settle in order");
        self.reach(slot);
        let open = self.get(slot).expect("an applied slot is in memory");
        assert!(open.away.is_none(), "an applied slot is in memory");
        let bytes = open.bytes();
        self.applied = slot;
        self.kept.remove(&slot);
        self.ahead_bytes -= bytes;
        self.recent_bytes += bytes;
        while self.recent_bytes > RECENT_BYTES_MAX && self.base() < slot.get() {
            let Some(front) = self.near.front() else { break };
            let Some(location) = front.location else { break };
            self.recent_bytes -= front.bytes();
            self.settled.push(Settled { ballot: front.ballot, location });
            self.near.pop_front();
        }
        debug_assert!(self.base() <= slot.get(), "a slot settled before it was applied");
        debug_assert!(self.applied <= self.near_end(), "an applied slot is far");
    }

    // ---- shedding and recalling ---------------------------------------------------------------------------

    /// Sheds payloads of slots above `spared`, the lowest first, until no more than `bytes_max` are in
    /// memory. A payload that is not durable at a known location is not shed, nor one that was recalled for a
    /// promise.
    pub fn shed(&mut self, bytes_max: usize, spared: Slot) {
        assert!(spared >= self.applied, "the slots to apply next are spared");
        let mut slot = self.shed_up_to.max(self.applied).max(spared);
        while self.ahead_bytes > bytes_max {
            let next = slot.next();
            let found = match self.index(next).and_then(|index| self.near.get_mut(index)) {
                Some(near) => Some((next, near)),
                None => {
                    self.far.range_mut((Excluded(slot), Unbounded)).next().map(|(&slot, far)| (slot, far))
                }
            };
            let Some((at, open)) = found else { break };
            if open.payload.is_some() && !self.kept.contains(&at) {
                if !open.durable || open.location.is_none() {
                    break; // records become durable in order: no later one is durable either
                }
                assert!(open.away.is_none(), "{at} is away and here");
                self.ahead_bytes -= open.bytes();
                self.away_count += 1;
                open.payload = None;
                open.away = Some(Away::Shed);
            }
            slot = at;
        }
        self.shed_up_to = self.shed_up_to.max(slot);
        assert!(self.away_count <= self.ahead_count(), "more payloads are away than slots are held");
    }

    /// A payload came back from the log, or could not be read. With `keep` it stays in memory until
    /// [`SlotLog::release`].
    pub fn recalled(&mut self, slot: Slot, ballot: Ballot, payload: Option<P>, keep: bool) {
        let Some(open) = self.get_mut(slot) else { return };
        if open.ballot != ballot || open.away != Some(Away::UnderWay) {
            return; // the slot has another value meanwhile
        }
        assert!(open.durable && open.payload.is_none(), "{slot} was shed before it was safe");
        let place = open.location.expect("what was shed has its place");
        let is_it =
            |payload: &P| payload.as_ref().len() == place.len as usize && payload.origin() == open.origin;
        let Some(payload) = payload.filter(is_it) else {
            open.away = Some(Away::Failed);
            return;
        };
        let bytes = payload.as_ref().len();
        open.payload = Some(payload);
        open.away = None;
        self.away_count -= 1;
        self.ahead_bytes += bytes;
        self.shed_up_to = self.shed_up_to.min(slot.previous());
        assert!(slot > self.applied, "{slot} was applied without its value");
        if keep {
            self.kept.insert(slot);
        }
    }

    /// Payloads recalled for a promise may be shed again.
    pub fn release(&mut self) {
        if let Some(&first) = self.kept.first() {
            self.shed_up_to = self.shed_up_to.min(first.previous());
            self.kept.clear();
        }
    }

    /// # Panics
    /// When slot `chosen` has no value.
    pub fn assert_holds_up_to(&self, chosen: Slot) {
        assert!(
            chosen <= self.last() && (chosen.get() <= self.base() || self.get(chosen).is_some()),
            "a chosen slot {chosen} is missing from the log"
        );
    }

    pub fn invariants(&self, applied: Slot, chosen: Slot) {
        assert!(self.applied == applied, "log and learner disagree on what is applied");
        assert!(self.base() <= applied.get(), "a slot settled before it was applied");
        assert!(applied <= self.near_end(), "an applied slot is far");
        let far = self.far.first_key_value().map(|(&slot, _)| slot);
        assert!(far.is_none_or(|first| first > self.near_end()), "a slot is near and far");
        let mut expected = Slot::new(self.base() + 1);
        let (mut ahead_bytes, mut recent_bytes, mut away_count) = (0, 0, 0);
        for (slot, open) in self.range(Slot::ZERO) {
            if expected <= chosen {
                assert!(slot == expected, "chosen slot {expected} has no value");
            }
            expected = expected.next();
            if slot <= applied {
                recent_bytes += open.bytes()
            } else {
                ahead_bytes += open.bytes()
            }
            if open.away.is_some() {
                away_count += 1;
                assert!(slot > applied && open.payload.is_none(), "{slot} is away and here");
                assert!(open.durable && open.location.is_some(), "{slot} was shed before it was safe");
            }
        }
        assert!(expected > chosen, "chosen slot {expected} has no value");
        assert!(recent_bytes == self.recent_bytes, "bytes of applied slots are miscounted");
        assert!(ahead_bytes == self.ahead_bytes, "bytes of slots that are not applied are miscounted");
        assert!(away_count == self.away_count, "slots that were shed are miscounted");
        for &slot in &self.kept {
            let is_here = self.get(slot).is_some_and(|open| open.payload.is_some());
            assert!(slot > applied && is_here, "{slot} was recalled and is gone");
        }
    }
}
