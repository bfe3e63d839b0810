//! The learner: chosen values, from watermarks or from peers, and the values held of slots that are not
//! applied.
//!
//! Chosen is not accepted (P-05): a watermark sent in ballot b makes slot s chosen *here* only if this
//! replica accepted its value for s in b itself. This holds behind a gap too, since the proof is about a
//! single slot. Every other value is learned from a peer that knows it as chosen.
//!
//! ```text
//!   applied <= chosen (contiguous) <= slots held        what is missing is pulled, what was shed is recalled
//! ```

#[cfg(feature = "canary")]
use crate::api::Canary;
use crate::api::{AheadLimits, Effect, ReadBack, Receipt, Role};
use crate::context::Context;
use crate::ignored::{Handled, Ignored};
use crate::log::{Away, Held, Open, SlotLog};
use crate::pull::Puller;
use crate::recall::{Needed, Recalls};
use alloc::vec;
use alloc::vec::Vec;
use synod_types::{
    Ballot, GroupMessage, Learned, Location, NodeId, Payload, RecordHead, RecordKind, Reported, Slot, limits,
};

/// Slots read back from the log for one `Fetch`, at most: short entries would be many, and each is a separate
/// read.
const READ_BACK_SLOTS_MAX: usize = 128;
/// Slots recalled ahead of apply.
const RECALL_AHEAD_SLOTS_MAX: u64 = 64;
/// Bytes recalled ahead of apply: so many that the disk reads while as many are being applied.
const RECALL_AHEAD_BYTES_MAX: usize = limits::PEER_CHUNK_BYTES;

/// The slots that a replica holds, knows as chosen, and has applied.
#[derive(Debug)]
pub(crate) struct Learner<P> {
    log: SlotLog<P>,
    chosen: Slot,
    applied: Slot,
    /// The last watermark received and its ballot: every slot up to it that was accepted in that ballot is
    /// marked as chosen (P-05).
    watermark: (Ballot, Slot),
    ahead: AheadLimits,
    recalls: Recalls,
    puller: Puller,
    #[cfg(feature = "canary")]
    pub canary: Option<Canary>,
}

impl<P: Payload> Learner<P> {
    pub fn new() -> Self {
        let ahead = AheadLimits::default();
        Self {
            log: SlotLog::new(ahead.near_slots),
            chosen: Slot::ZERO,
            applied: Slot::ZERO,
            watermark: (Ballot::ZERO, Slot::ZERO),
            ahead,
            recalls: Recalls::default(),
            puller: Puller::default(),
            #[cfg(feature = "canary")]
            canary: None,
        }
    }

    /// # Panics
    /// When a value is held already.
    pub fn set_ahead_limits(&mut self, ahead: AheadLimits) {
        assert!(self.log.last() == Slot::ZERO, "limits are set before replay");
        self.log = SlotLog::new(ahead.near_slots);
        self.ahead = ahead;
    }

    // ---- replay -------------------------------------------------------------------------------------------

    /// Replays one record of the log (P-05c).
    pub fn replay(&mut self, head: RecordHead, payload: P, payload_at: Location) {
        self.replay_watermark(head.chosen);
        let RecordHead { kind, slot, ballot, .. } = head;
        let has_value = matches!(kind, RecordKind::Accept | RecordKind::Learned);
        if has_value && slot > self.chosen {
            self.log.put(slot, ballot, payload);
            self.log.locate(slot, ballot, payload_at);
            self.log.mark_durable(slot, ballot);
            if kind == RecordKind::Learned {
                self.decide(slot);
            }
        }
        let is_held = slot <= self.chosen || self.held(slot).is_some();
        debug_assert!(!has_value || is_held, "{slot} was replayed in vain");
        self.shed(Role::Follower);
    }

    /// Replays the chosen prefix noted in a record or a mark.
    ///
    /// # Panics
    /// When the value of slot `chosen` is missing.
    pub fn replay_watermark(&mut self, chosen: Slot) {
        self.chosen = self.chosen.max(chosen);
        assert!(self.applied <= self.chosen, "applied beyond chosen");
        self.log.assert_holds_up_to(self.chosen);
    }

    // ---- held slots ---------------------------------------------------------------------------------------

    /// The value held for a slot, unless the slot is settled.
    pub fn held(&self, slot: Slot) -> Option<&Open<P>> {
        self.log.get(slot)
    }

    /// The highest slot held.
    pub fn last_held(&self) -> Slot {
        self.log.last()
    }

    /// The slots held from `first` on that are not known to be chosen, ascending.
    pub fn undecided(&self, first: Slot) -> impl Iterator<Item = (Slot, &Open<P>)> {
        self.log.range(first).filter(|(_, open)| !open.chosen)
    }

    /// Holds a value that is being accepted for a slot in `ballot`.
    pub fn hold(&mut self, slot: Slot, ballot: Ballot, payload: P) {
        assert!(slot > self.chosen, "a chosen slot is not accepted again");
        self.log.put(slot, ballot, payload);
    }

    /// Counts a vote for the value proposed in `ballot` and returns how many there are now. `None` if the
    /// slot is decided, or not held in that ballot.
    pub fn count_vote(&mut self, slot: Slot, ballot: Ballot, bit: u64) -> Option<u32> {
        assert!(bit.count_ones() == 1, "a vote is one member's");
        let open = self.log.get_mut(slot).filter(|open| open.ballot == ballot && !open.chosen)?;
        open.acks |= bit;
        Some(open.acks.count_ones())
    }

    /// The payload of an appended record was given its location in the log.
    pub fn locate(&mut self, slot: Slot, ballot: Ballot, at: Location) {
        self.log.locate(slot, ballot, at);
    }

    pub fn mark_durable(&mut self, slot: Slot, ballot: Ballot) {
        self.log.mark_durable(slot, ballot);
    }

    /// Whether a slot is neither held nor near, and the limit of held slots is reached (P-14).
    pub fn is_too_far(&self, slot: Slot) -> bool {
        slot > self.chosen.plus(self.ahead.near_slots)
            && self.log.ahead_count() >= self.ahead.slots
            && self.log.get(slot).is_none()
    }

    /// What an acceptor reports of the slots from `first` on, in parts that fit a frame: at least one part,
    /// which may be empty. Its chosen prefix is not reported: the promise names its end, and the candidate
    /// fetches it (P-02d).
    pub fn report(&self, first: Slot) -> Vec<Vec<Reported<P>>> {
        let mut parts: Vec<Vec<Reported<P>>> = vec![Vec::new()];
        let mut bytes = 0;
        for (slot, open) in self.log.range(self.report_start(first)) {
            #[cfg(feature = "canary")]
            if open.payload.is_none() && self.canary == Some(Canary::ShedUnreported) {
                continue;
            }
            let payload = open.payload.as_ref().expect("a promise is made with everything in memory");
            let last = parts.len() - 1; // never empty
            bytes += payload.as_ref().len();
            let is_full = bytes > limits::PEER_CHUNK_BYTES || parts[last].len() == limits::REPORTED_SLOTS_MAX;
            let reported = Reported { slot, ballot: open.ballot, payload: payload.clone() };
            if is_full && !parts[last].is_empty() {
                parts.push(vec![reported]);
                bytes = payload.as_ref().len();
            } else {
                parts[last].push(reported);
            }
        }
        let mut all = parts.iter().flatten();
        debug_assert!(all.all(|reported| reported.slot > self.chosen), "a slot of the prefix is reported");
        parts
    }

    /// The first slot of the report when a candidate asks for the slots from `first` on.
    pub fn report_start(&self, first: Slot) -> Slot {
        self.chosen.next().max(first)
    }

    // ---- shedding and recalling ---------------------------------------------------------------------------

    /// Sheds payloads beyond the memory budget. Only a follower does: a proposer needs its values in memory.
    pub fn shed(&mut self, role: Role) {
        if role == Role::Follower && self.log.ahead_bytes() > self.ahead.bytes {
            let spared = self.next_to_apply_end();
            self.log.shed(self.ahead.bytes, spared);
        }
    }

    /// The last slot that is about to be applied.
    fn next_to_apply_end(&self) -> Slot {
        let end = self.chosen.min(self.applied.plus(RECALL_AHEAD_SLOTS_MAX));
        debug_assert!(self.applied <= end, "applied beyond chosen");
        let mut bytes = 0;
        let mut slot = self.applied;
        while slot < end && bytes <= RECALL_AHEAD_BYTES_MAX {
            slot = slot.next();
            bytes += self.log.get(slot).map_or(0, |open| open.len());
        }
        slot
    }

    /// Recalls values that are to be applied soon and are not in memory.
    pub fn recall_ahead(&mut self, out: &mut Vec<Effect<P>>) {
        if self.log.away_count() == 0 || self.applied == self.chosen {
            return;
        }
        let end = self.next_to_apply_end();
        self.recalls.recall_up_to(&mut self.log, self.applied, end, out);
    }

    /// Whether all values needed from `first` on are in memory; if not, they are recalled (P-02f).
    pub fn has_in_memory(&mut self, first: Slot, needed: Needed, out: &mut Vec<Effect<P>>) -> bool {
        #[cfg(feature = "canary")]
        if self.canary == Some(Canary::ShedUnreported) {
            return true;
        }
        self.recalls.has_in_memory(&mut self.log, first, needed, out)
    }

    /// A recalled value came back, or could not be read.
    pub fn on_recalled(&mut self, slot: Slot, ballot: Ballot, payload: Option<P>, out: &mut Vec<Effect<P>>) {
        // A value of the chosen prefix was recalled to be applied; every other one was recalled for a
        // promise.
        let keep = slot > self.chosen;
        self.recalls.on_recalled(&mut self.log, (slot, ballot, payload), keep, out);
    }

    /// Values recalled for a promise may be shed again.
    pub fn release_recalled(&mut self) {
        self.log.release();
    }

    /// Continues a pull or a recall that is under way.
    pub fn on_tick(&mut self, role: Role, cx: &mut Context<'_, P>) {
        self.puller.on_tick(self.chosen, role, cx);
        let next = self.applied.next();
        if next <= self.chosen {
            self.recalls.retry_failed(&mut self.log, next, cx);
        }
    }

    // ---- learning -----------------------------------------------------------------------------------------

    /// The value held for `slot` is chosen.
    pub fn decide(&mut self, slot: Slot) {
        debug_assert!(slot > self.chosen, "a slot of the prefix is decided again");
        self.log.mark_chosen(slot);
        self.advance_chosen();
    }

    /// Advances the contiguous prefix up to the first slot that is not known to be chosen.
    fn advance_chosen(&mut self) {
        while self.log.get(self.chosen.next()).is_some_and(|open| open.chosen) {
            self.chosen = self.chosen.next();
        }
        assert!(self.applied <= self.chosen, "applied beyond chosen");
        debug_assert!(self.chosen <= self.log.last(), "a slot is chosen and not held");
    }

    /// The leader of `ballot` announced that everything up to `chosen` is chosen (P-05a).
    pub fn on_watermark(&mut self, ballot: Ballot, chosen: Slot) {
        if (ballot, chosen) > self.watermark {
            // Up to the last watermark of this ballot all slots are marked already; one accepted later is
            // marked when it is accepted ([`Learner::mark_late`]).
            let marked = if self.watermark.0 == ballot { self.watermark.1 } else { Slot::ZERO };
            self.watermark = (ballot, chosen);
            let first = marked.max(self.chosen);
            #[cfg(feature = "canary")]
            if self.canary == Some(Canary::WatermarkOtherBallotAhead) {
                let next = self.chosen.next();
                self.log.mark_chosen_where(first, chosen, |slot, held| held == ballot || slot > next);
            }
            self.log.mark_chosen_where(first, chosen, |_, held| held == ballot);
            self.advance_chosen();
        }
        debug_assert!(self.watermark >= (ballot, chosen), "a watermark goes back");
        #[cfg(feature = "canary")]
        if self.canary == Some(Canary::WatermarkOtherBallot) {
            while self.chosen < self.watermark.1 && self.log.get(self.chosen.next()).is_some() {
                self.decide(self.chosen.next());
            }
        }
    }

    /// Decides a slot that was accepted in `ballot` after a watermark of that ballot that covers it.
    pub fn mark_late(&mut self, ballot: Ballot, slot: Slot) {
        let (said_in, said) = self.watermark;
        let is_covered = ballot == said_in && slot <= said && slot > self.chosen;
        if is_covered && self.log.get(slot).is_some_and(|open| open.ballot == ballot) {
            self.decide(slot);
        }
    }

    /// Whether `payload` is the value held for a slot.
    pub fn holds(&self, slot: Slot, payload: &P) -> bool {
        self.log.get(slot).is_some_and(|open| self.is_same(open, payload))
    }

    /// Whether `payload` is the value held, in memory or not. The origins are compared, never the bytes
    /// (P-05d).
    fn is_same(&self, held: &Open<P>, payload: &P) -> bool {
        #[cfg(feature = "canary")]
        if self.canary == Some(Canary::EqualBytes) {
            let is_alike = |held: &P| without_origin(held.as_ref()) == without_origin(payload.as_ref());
            return held.origin == payload.origin() || held.payload.as_ref().is_some_and(is_alike);
        }
        held.origin == payload.origin()
    }

    /// Takes the chosen value of a slot above the prefix (P-05b). Afterwards the slot is decided.
    pub fn learn(&mut self, learned: Learned<P>, role: Role, cx: &mut Context<'_, P>) -> Handled {
        let Learned { slot, ballot, payload } = learned;
        assert!(slot > self.chosen, "what is part of the prefix is not learned again");
        if let Some(open) = self.log.get(slot) {
            if self.is_same(open, &payload) {
                // The same value is in the log already: its record and a later watermark are enough.
                if open.chosen {
                    return Err(Ignored::AlreadyChosen);
                }
                self.decide(slot);
                return Ok(());
            }
            assert!(
                !open.chosen && open.ballot != ballot,
                "two values were chosen for {slot}: agreement is broken"
            );
        }
        if !cx.space.takes_learned(role) {
            return Err(Ignored::NoRoom);
        }
        self.log.put(slot, ballot, payload.clone());
        self.write_learned(slot, ballot, payload, cx);
        self.decide(slot);
        Ok(())
    }

    /// Takes the value of a slot of the prefix, if it is not applied and could not be read back here.
    pub fn learn_again(&mut self, learned: Learned<P>, cx: &mut Context<'_, P>) -> Handled {
        let Learned { slot, ballot, payload } = learned;
        assert!(slot <= self.chosen, "it is to be learned for the first time");
        let failed = self.log.get(slot).filter(|open| open.away == Some(Away::Failed));
        let Some(open) = failed.filter(|_| slot > self.applied) else { return Err(Ignored::AlreadyChosen) };
        assert!(self.is_same(open, &payload), "two values were chosen for {slot}: agreement is broken");
        self.log.put_again(slot, ballot, payload.clone());
        self.write_learned(slot, ballot, payload, cx);
        Ok(())
    }

    fn write_learned(&mut self, slot: Slot, ballot: Ballot, payload: P, cx: &mut Context<'_, P>) {
        cx.append(Receipt::Learned { slot, ballot }, Some(payload), self.chosen, Vec::new());
    }

    // ---- pulling and answering ----------------------------------------------------------------------------

    /// Pulls missing values from `from`, which knows everything up to `target` as chosen.
    pub fn pull_towards(&mut self, from: NodeId, target: Slot, role: Role, cx: &mut Context<'_, P>) {
        self.puller.pull_towards(from, target, self.chosen, role, cx);
    }

    /// Pulls missing values up to the watermark from the leader.
    pub fn pull_up_to_watermark(&mut self, from: NodeId, role: Role, cx: &mut Context<'_, P>) {
        self.pull_towards(from, self.watermark.1, role, cx);
    }

    /// Ends the pull under way, if any.
    pub fn stop_pulling(&mut self) {
        self.puller.stop();
    }

    /// Values that a peer has sent were not taken, because this node's log is behind.
    pub fn on_dropped(&mut self, from: NodeId, cx: &Context<'_, P>) {
        self.puller.on_dropped(from, cx);
    }

    /// The link to a peer broke.
    pub fn on_link_lost(&mut self, node: NodeId, role: Role, cx: &mut Context<'_, P>) {
        self.puller.on_link_lost(node, self.chosen, role, cx);
    }

    /// Continues pulling after the values of an answer were learned. `from` knows everything up to `chosen`
    /// as chosen.
    pub fn pull_on(
        &mut self,
        from: NodeId,
        chosen: Slot,
        is_batch: bool,
        role: Role,
        cx: &mut Context<'_, P>,
    ) {
        if self.puller.is_pulling() {
            self.puller.on_learned(from, self.chosen, is_batch, cx);
        } else {
            self.pull_towards(from, chosen.min(self.watermark.1), role, cx);
        }
    }

    /// Sends chosen values to a peer that fetches them, or that proposed for a slot known as chosen here.
    /// They come from memory, or else are read back from the log. An answer is contiguous from `first` on,
    /// and holds values of one kind only (P-09c).
    pub fn on_fetch(&self, from: NodeId, first: Slot, cx: &mut Context<'_, P>) {
        let mut slot = first.max(Slot::new(1));
        let (mut wanted, mut entries) = (Vec::new(), Vec::new());
        let mut bytes = 0;
        while bytes <= limits::PEER_CHUNK_BYTES && wanted.len() < READ_BACK_SLOTS_MAX {
            match self.log.chosen_value(slot, self.chosen) {
                Some(Held::InLog(ballot, at)) if entries.is_empty() => {
                    wanted.push(ReadBack { slot, ballot, at });
                    bytes += at.len as usize;
                }
                Some(Held::InMemory(ballot, payload)) if wanted.is_empty() => {
                    entries.push(Learned { slot, ballot, payload: payload.clone() });
                    bytes += payload.as_ref().len();
                }
                _ => break,
            }
            slot = slot.next();
        }
        assert!(wanted.is_empty() || entries.is_empty(), "an answer of both kinds");
        if wanted.is_empty() {
            cx.send(from, GroupMessage::Learn { chosen: self.chosen, entries });
        } else {
            cx.out.push(Effect::ReadBack { to: from, wanted }); // the next fetch goes on from there
        }
    }

    // ---- applying -----------------------------------------------------------------------------------------

    /// The contiguous chosen prefix.
    pub fn chosen(&self) -> Slot {
        self.chosen
    }

    /// The last applied slot.
    pub fn applied(&self) -> Slot {
        self.applied
    }

    /// The last watermark received from a leader.
    pub fn heard_chosen(&self) -> Slot {
        self.watermark.1
    }

    /// The next chosen entry to apply and its location in the log; `None` unless the entry is in memory and
    /// its location is known (P-03b).
    pub fn next_apply(&self) -> Option<(Slot, &P, Location)> {
        if self.applied >= self.chosen {
            return None;
        }
        let slot = self.applied.next();
        let open = self.log.get(slot)?;
        debug_assert!(open.payload.is_some() == open.away.is_none(), "{slot} is away and here");
        Some((slot, open.payload.as_ref()?, open.location?))
    }

    /// # Panics
    /// When `slot` is not the one [`Learner::next_apply`] offered.
    pub fn on_applied(&mut self, slot: Slot) {
        assert!(slot == self.applied.next() && slot <= self.chosen, "applied out of order");
        self.applied = slot;
        self.log.settle(slot);
    }

    /// The entry of a chosen slot while it is in memory.
    pub fn chosen_payload(&self, slot: Slot) -> Option<&P> {
        if slot > self.chosen { None } else { self.log.get(slot)?.payload.as_ref() }
    }

    /// The applied slot whose entry holds these bytes of the log, and the entry's location.
    pub fn applied_slot_at(&self, bytes: Location) -> Option<(Slot, Location)> {
        self.log.holding(bytes, self.applied)
    }

    /// The location of a slot's entry in the log.
    pub fn place_of(&self, slot: Slot) -> Option<Location> {
        let settled = self.log.settled(slot).map(|(_, at)| at);
        settled.or_else(|| self.log.get(slot)?.location)
    }

    pub fn invariants(&self) {
        assert!(self.applied <= self.chosen, "applied beyond chosen");
        assert!(self.chosen <= self.log.last(), "a slot is chosen and not held");
        self.log.invariants(self.applied, self.chosen);
        self.recalls.invariants();
        self.puller.invariants(self.chosen);
    }

    #[cfg(test)]
    pub fn log(&self) -> &SlotLog<P> {
        &self.log
    }
}

/// The bytes of an entry without its origin and its time: two leaders' clocks often show the same.
#[cfg(feature = "canary")]
fn without_origin(entry: &[u8]) -> (&[u8], &[u8]) {
    let (head, body) = entry.split_at(entry.len().min(synod_types::entry::ENTRY_HEADER_BYTES));
    (&head[..head.len().min(16)], body)
}
