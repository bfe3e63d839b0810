//! The learner: from watermarks to chosen values, and pulling what is missing.
//!
//! Chosen is not accepted (P-05): a watermark said in ballot b makes slot s chosen *here* only if this replica's own record
//! for s was accepted in b itself. Everything else is learned by value from somebody who knows it.

use crate::{Effect, Paxos, Receipt, State};
use alloc::vec::Vec;
use synod_types::{
    Ballot, GroupMessage, Learned, Mono, Nanos, NodeId, Now, Payload, RecordKind, Slot, limits,
};

/// Slots read back from the log for one `Fetch`.
const READ_BACK_SLOTS_MAX: u64 = 64;

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
            self.mark = (ballot, chosen);
        }
        while self.chosen < self.mark.1 {
            let slot = self.chosen.next();
            let Some(open) = self.log.get(slot) else { break };
            let same_ballot = open.ballot == self.mark.0;
            #[cfg(feature = "canary")]
            let same_ballot = same_ballot || self.canary == Some(crate::Canary::WatermarkOtherBallot);
            if !same_ballot && !open.chosen {
                break;
            }
            if !open.chosen {
                self.log.mark_chosen(slot);
            }
            self.advance_chosen();
        }
    }

    /// After a heartbeat: what the watermark covers and this replica lacks is pulled from the leader.
    pub(crate) fn pull_if_behind(&mut self, from: NodeId, now: Now, out: &mut Vec<Effect<P>>) {
        let target = self.mark.1;
        self.pull_towards(from, target, now, out);
    }

    /// Starts pulling up to `target` from `from` unless a pull is under way or there is nothing to pull.
    pub(crate) fn pull_towards(&mut self, from: NodeId, target: Slot, now: Now, out: &mut Vec<Effect<P>>) {
        if target <= self.chosen || from == self.config.node {
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
        let Some(pull) = &mut self.pull else { return };
        if chosen >= pull.target {
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

    /// A peer wants chosen values: from memory if they are there, else read back from the log.
    pub(crate) fn on_fetch(&mut self, from: NodeId, first: Slot, out: &mut Vec<Effect<P>>) {
        let mut slot = first.max(Slot::new(1));
        let mut read_bytes = 0_usize;
        let mut reads = 0;
        while slot <= self.chosen
            && let Some((ballot, at)) = self.log.settled(slot)
        {
            if reads == READ_BACK_SLOTS_MAX || (reads > 0 && read_bytes > limits::PEER_CHUNK_BYTES) {
                return;
            }
            out.push(Effect::ReadBack { to: from, slot, ballot, at });
            read_bytes += at.len as usize;
            reads += 1;
            slot = slot.next();
        }
        if reads > 0 {
            return; // the next fetch goes on from there
        }
        let mut entries = Vec::new();
        let mut bytes = 0;
        while slot <= self.chosen
            && let Some(open) = self.log.get(slot)
            && let Some(payload) = &open.payload
        {
            bytes += payload.as_ref().len();
            if !entries.is_empty() && bytes > limits::PEER_CHUNK_BYTES {
                break;
            }
            entries.push(Learned { slot, ballot: open.ballot, payload: payload.clone() });
            slot = slot.next();
        }
        out.push(Effect::Send { to: from, message: GroupMessage::Learn { chosen: self.chosen, entries } });
    }

    pub(crate) fn on_learn(
        &mut self,
        from: NodeId,
        chosen: Slot,
        entries: Vec<Learned<P>>,
        now: Now,
        out: &mut Vec<Effect<P>>,
    ) {
        let several = entries.len() > 1;
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
        } else if pull.from == from
            && reached >= pull.asked_from
            && (several || reached >= pull.asked_from.plus(READ_BACK_SLOTS_MAX - 1))
        {
            pull.fruitless = 0;
            self.pull_on(now, out);
        }
    }

    /// A chosen value that a proposer cannot have had a part in shows that a newer ballot has overtaken it: it steps down rather
    /// than insist (P-06).
    fn give_way(&mut self, slot: Slot, ballot: Ballot, payload: &P, now: Mono) {
        let held = self.log.get(slot).and_then(|open| open.payload.as_ref());
        let same = held.is_some_and(|held| held.as_ref() == payload.as_ref());
        let overtaken = match &self.role {
            State::Leader(leader) => ballot > leader.ballot || (!same && leader.is_overtaken_at(slot)),
            State::Candidate(candidate) => ballot > candidate.ballot,
            State::Follower | State::PreCandidate(_) => false,
        };
        self.round_seen = self.round_seen.max(ballot.round());
        if overtaken {
            self.step_down(now);
        }
    }

    fn learn_value(&mut self, slot: Slot, ballot: Ballot, payload: P, now: Now, out: &mut Vec<Effect<P>>) {
        if slot <= self.chosen || slot > self.chosen.plus(limits::ACCEPT_AHEAD_SLOTS_MAX) {
            return;
        }
        self.give_way(slot, ballot, &payload, now.mono);
        if let Some(open) = self.log.get(slot) {
            let same = open.payload.as_ref().is_some_and(|held| held.as_ref() == payload.as_ref());
            assert!(
                same || (!open.chosen && open.ballot != ballot),
                "two values were chosen for {slot}: agreement is broken"
            );
            if open.chosen {
                return;
            }
            if same {
                // The very value is in the log already: its record and a later watermark say it all.
                self.decide(slot);
                return;
            }
        }
        self.log.put(slot, ballot, payload.clone());
        out.push(Effect::Append {
            head: self.head(RecordKind::Learned, slot, ballot),
            payload: Some(payload),
            then: Vec::new(),
            receipt: Receipt::Learned { slot, ballot },
        });
        self.decide(slot);
    }
}
