//! The learner: from watermarks to chosen values, and pulling what is missing.
//!
//! Chosen is not accepted (P-05): a watermark said in ballot b makes slot s chosen *here* only if this replica's own record
//! for s was accepted in b itself, and that behind a gap too: the proof is about one slot. Everything else is learned by value from
//! somebody who knows it.

use crate::log::{Held, Open};
use crate::{Effect, Paxos, ReadBack, Receipt, State};
use alloc::vec::Vec;
use synod_types::{
    Ballot, GroupMessage, Learned, Mono, Nanos, NodeId, Now, Payload, RecordKind, Slot, limits,
};

/// Slots read back from the log for one `Fetch`: with short entries they are many, and each is a read of its own.
const READ_BACK_SLOTS_MAX: usize = 128;

/// A pull under way.
#[derive(Debug)]
pub(crate) struct Pull {
    from: NodeId,
    target: Slot,
    asked_at: Mono,
    asked_from: Slot,
    fruitless: u32,
}

impl<P: Payload> Paxos<P> {
    /// Moves the contiguous prefix over everything known to be chosen.
    pub(crate) fn advance_chosen(&mut self) {
        while self.log.get(self.chosen.next()).is_some_and(|open| open.chosen) {
            self.chosen = self.chosen.next();
        }
    }

    pub(crate) fn on_watermark(&mut self, ballot: Ballot, chosen: Slot) {
        if (ballot, chosen) > self.mark {
            // Up to the last mark of this ballot all is marked; what is accepted there later is marked then.
            let marked = if self.mark.0 == ballot { self.mark.1 } else { Slot::ZERO };
            self.mark = (ballot, chosen);
            let first = marked.max(self.chosen);
            #[cfg(feature = "canary")]
            if self.canary == Some(crate::Canary::WatermarkOtherBallotAhead) {
                let next = self.chosen.next();
                self.log.mark_chosen_where(first, chosen, |slot, held| held == ballot || slot > next);
            }
            self.log.mark_chosen_where(first, chosen, |_, held| held == ballot);
            self.advance_chosen();
        }
        #[cfg(feature = "canary")]
        if self.canary == Some(crate::Canary::WatermarkOtherBallot) {
            while self.chosen < self.mark.1 && self.log.get(self.chosen.next()).is_some() {
                self.log.mark_chosen(self.chosen.next());
                self.advance_chosen();
            }
        }
    }

    /// A slot was accepted in `ballot` after a watermark of that ballot that covers it.
    pub(crate) fn mark_late(&mut self, ballot: Ballot, slot: Slot) {
        let is_covered = (ballot, slot) <= self.mark && ballot == self.mark.0 && slot > self.chosen;
        if is_covered && self.log.get(slot).is_some_and(|open| open.ballot == ballot) {
            self.log.mark_chosen(slot);
            self.advance_chosen();
        }
    }

    /// Whether a slot is neither held nor near, and no more can be held (P-14).
    pub(crate) fn is_too_far(&self, slot: Slot) -> bool {
        slot > self.chosen.plus(self.ahead.near_slots)
            && self.log.ahead_count() >= self.ahead.slots
            && self.log.get(slot).is_none()
    }

    /// After a heartbeat: what the watermark covers and this replica lacks is pulled from the leader.
    pub(crate) fn pull_if_behind(&mut self, from: NodeId, now: Now, out: &mut Vec<Effect<P>>) {
        let target = self.mark.1;
        self.pull_towards(from, target, now, out);
    }

    /// Starts pulling up to `target` from `from` unless a pull is under way or there is nothing to pull.
    pub(crate) fn pull_towards(&mut self, from: NodeId, target: Slot, now: Now, out: &mut Vec<Effect<P>>) {
        if target <= self.chosen || from == self.config.node || !self.has_room_to_learn() {
            return;
        }
        if let Some(pull) = &mut self.pull {
            pull.target = pull.target.max(target);
            return;
        }
        self.pull =
            Some(Pull { from, target, asked_at: now.mono, asked_from: self.chosen.next(), fruitless: 0 });
        out.push(Effect::Send { to: from, message: GroupMessage::Fetch { from: self.chosen.next() } });
    }

    fn pull_on(&mut self, now: Now, out: &mut Vec<Effect<P>>) {
        let next = self.chosen.next();
        let Some(pull) = &mut self.pull else { return };
        pull.asked_at = now.mono;
        pull.asked_from = next;
        out.push(Effect::Send { to: pull.from, message: GroupMessage::Fetch { from: next } });
    }

    pub(crate) fn pull_tick(&mut self, now: Now, out: &mut Vec<Effect<P>>) {
        let chosen = self.chosen;
        let has_room = self.has_room_to_learn();
        let Some(pull) = &mut self.pull else { return };
        if chosen >= pull.target || !has_room {
            self.pull = None;
            return;
        }
        let waited = now.mono.since(pull.asked_at);
        let progress = chosen >= pull.asked_from;
        // With progress the rest of the answer is probably lost or exhausted; without any the peer may be gone.
        let wait = if progress { Nanos(self.timing.resend.0 / 5) } else { self.timing.resend };
        if waited < wait {
            return;
        }
        if progress {
            pull.fruitless = 0;
        } else {
            pull.fruitless += 1;
            if pull.fruitless >= 3 {
                // Ask another: a leader must get what it lacks from whoever has it; a follower follows its leader.
                pull.fruitless = 0;
                if matches!(self.role, State::Leader(_)) {
                    pull.from = self
                        .config
                        .members
                        .voters()
                        .iter()
                        .copied()
                        .cycle()
                        .skip_while(|&node| node != pull.from)
                        .skip(1)
                        .find(|&node| node != self.config.node)
                        .unwrap_or(pull.from);
                } else {
                    self.pull = None;
                    return;
                }
            }
        }
        self.pull_on(now, out);
    }

    /// A peer wants chosen values, or proposed for a slot whose outcome is known here: from memory if they are there, else read back
    /// from the log. Both from `first` on without a gap, and one answer holds but one kind.
    pub(crate) fn on_fetch(&mut self, from: NodeId, first: Slot, out: &mut Vec<Effect<P>>) {
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
        if wanted.is_empty() {
            let message = GroupMessage::Learn { chosen: self.chosen, entries };
            out.push(Effect::Send { to: from, message });
        } else {
            out.push(Effect::ReadBack { to: from, wanted }); // the next fetch goes on from there
        }
    }

    pub(crate) fn on_learn(
        &mut self,
        from: NodeId,
        chosen: Slot,
        entries: Vec<Learned<P>>,
        now: Now,
        out: &mut Vec<Effect<P>>,
    ) {
        // The answer to a fetch; one value alone is the end of what the peer has, or the answer to an accept.
        let bytes: usize = entries.iter().map(|entry| entry.payload.as_ref().len()).sum();
        let is_batch = entries.len() > 1 || bytes > limits::PEER_CHUNK_BYTES / 2;
        for Learned { slot, ballot, payload } in entries {
            self.learn_value(slot, ballot, payload, now, out);
        }
        let reached = self.chosen;
        let Some(pull) = &mut self.pull else {
            self.pull_towards(from, chosen.min(self.mark.1), now, out);
            return;
        };
        if reached >= pull.target {
            self.pull = None;
        } else if pull.from == from && reached >= pull.asked_from && is_batch {
            pull.fruitless = 0;
            self.pull_on(now, out);
        }
    }

    /// A chosen value that a proposer cannot have had a part in shows that a newer ballot has overtaken it: it steps down rather
    /// than insist (P-06).
    fn give_way(&mut self, slot: Slot, ballot: Ballot, payload: &P, now: Mono) {
        let is_held = self.log.get(slot).is_some_and(|open| self.is_same(open, payload));
        let overtaken = match &self.role {
            State::Leader(leader) => ballot > leader.ballot || (!is_held && leader.is_overtaken_at(slot)),
            State::Candidate(candidate) => ballot > candidate.ballot,
            State::Follower | State::PreCandidate(_) => false,
        };
        self.round_seen = self.round_seen.max(ballot.round());
        if overtaken {
            self.step_down(now);
        }
    }

    /// Whether `payload` is the value held, in memory or not: by what it is, never by how it looks (P-05d).
    fn is_same(&self, held: &Open<P>, payload: &P) -> bool {
        #[cfg(feature = "canary")]
        if self.canary == Some(crate::Canary::EqualBytes) {
            let is_alike = |held: &P| without_origin(held.as_ref()) == without_origin(payload.as_ref());
            return held.origin == payload.origin() || held.payload.as_ref().is_some_and(is_alike);
        }
        held.origin == payload.origin()
    }

    fn learn_value(&mut self, slot: Slot, ballot: Ballot, payload: P, now: Now, out: &mut Vec<Effect<P>>) {
        if slot <= self.chosen {
            if self.needs_again(slot) {
                let is_same = self.log.get(slot).is_none_or(|open| self.is_same(open, &payload));
                assert!(is_same, "two values were chosen for {slot}: agreement is broken");
                self.log.put_again(slot, ballot, payload.clone());
                self.write_learned(slot, ballot, payload, out);
            }
            return;
        }
        if self.is_too_far(slot) {
            return;
        }
        self.give_way(slot, ballot, &payload, now.mono);
        if let Some(open) = self.log.get(slot) {
            if self.is_same(open, &payload) {
                // The very value is in the log already: its record and a later watermark say it all.
                if !open.chosen {
                    self.decide(slot);
                }
                return;
            }
            assert!(
                !open.chosen && open.ballot != ballot,
                "two values were chosen for {slot}: agreement is broken"
            );
        }
        if !self.has_room_to_learn() {
            return;
        }
        self.log.put(slot, ballot, payload.clone());
        self.write_learned(slot, ballot, payload, out);
        self.decide(slot);
    }

    fn write_learned(&mut self, slot: Slot, ballot: Ballot, payload: P, out: &mut Vec<Effect<P>>) {
        out.push(Effect::Append {
            head: self.head(RecordKind::Learned, slot, ballot),
            payload: Some(payload),
            then: Vec::new(),
            receipt: Receipt::Learned { slot, ballot },
        });
    }
}

/// The bytes of an entry but for its origin.
#[cfg(feature = "canary")]
fn without_origin(entry: &[u8]) -> (&[u8], &[u8]) {
    let (head, body) = entry.split_at(entry.len().min(synod_types::entry::ENTRY_HEADER_BYTES));
    (&head[..head.len().min(28)], body)
}
