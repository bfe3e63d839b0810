//! What lies ahead of the applied prefix without its payload: giving payloads up, and getting them back (P-14d).
//!
//! ```text
//!   accept far above a gap ──▶ durable ──▶ shed (place and ballot stay)
//!                                           ├─ the prefix comes near ───────▶ Recall ──▶ apply
//!                                           ├─ a prepare, an own candidacy ─▶ Recall ──▶ kept until a leader is granted a lease
//!                                           └─ cannot be read back ─────────▶ fetched from a peer, if chosen
//! ```

use crate::log::Away;
use crate::{Effect, Paxos, State};
use alloc::vec::Vec;
use synod_types::{Ballot, GroupMessage, Mono, NodeId, Now, Payload, Slot, limits};

/// Recalls of one group under way at once.
const RECALLS_MAX: usize = 64;
/// Slots recalled ahead of apply.
const RECALL_AHEAD_SLOTS_MAX: u64 = 64;
/// Bytes recalled ahead of apply: what a disk reads while as much is applied.
const RECALL_AHEAD_BYTES_MAX: usize = limits::PEER_CHUNK_BYTES;

/// Recalls of this replica.
#[derive(Debug, Default)]
pub(crate) struct Recalls {
    under_way: usize,
    /// What a promise waits for, from which slot on; `None` once all of it was asked for.
    wanted: Option<Wanted>,
    /// Who was asked last, and when, for the value to apply next, which cannot be read back here.
    asked: Option<(NodeId, Mono)>,
}

#[derive(Debug, Clone, Copy)]
struct Wanted {
    next: Slot,
    undecided_only: bool,
}

impl<P: Payload> Paxos<P> {
    /// Keeps the budget. Only who follows may forget: a proposer needs its values.
    pub(crate) fn shed(&mut self) {
        let follows = matches!(self.role, State::Follower | State::PreCandidate(_));
        if follows && self.log.ahead_bytes() > self.ahead.bytes {
            let spared = self.next_to_apply_end();
            self.log.shed(self.ahead.bytes, spared);
        }
    }

    /// The end of what is about to be applied.
    fn next_to_apply_end(&self) -> Slot {
        let end = self.chosen.min(self.applied.plus(RECALL_AHEAD_SLOTS_MAX));
        let mut bytes = 0;
        let mut slot = self.applied;
        while slot < end && bytes <= RECALL_AHEAD_BYTES_MAX {
            slot = slot.next();
            bytes += self.log.get(slot).map_or(0, |open| open.len());
        }
        slot
    }

    /// Asks for what is to be applied soon and is not in memory. Call it when what could be applied has been.
    pub fn recall_ahead(&mut self, out: &mut Vec<Effect<P>>) {
        if self.log.away_count() == 0 || self.applied == self.chosen {
            return;
        }
        let end = self.next_to_apply_end();
        let mut slot = self.applied;
        while slot < end && self.recalls.under_way < RECALLS_MAX {
            slot = slot.next();
            if self.log.get(slot).is_some_and(|open| open.away == Some(Away::Shed)) {
                self.recall(slot, out);
            }
        }
    }

    /// Whether everything accepted from `first` on is in memory; if not it is asked for. Who is to promise or to stand does neither
    /// until it is: it would leave out what it accepted. What is known to be chosen does not count for `undecided_only`.
    pub(crate) fn has_in_memory(
        &mut self,
        first: Slot,
        undecided_only: bool,
        out: &mut Vec<Effect<P>>,
    ) -> bool {
        #[cfg(feature = "canary")]
        if self.canary == Some(crate::Canary::ShedUnreported) {
            return true;
        }
        if self.log.away_count() == 0 {
            return true;
        }
        let missing = |away: Option<Away>, chosen: bool| away.is_some() && !(undecided_only && chosen);
        let next = self.log.range(first).find(|(_, open)| missing(open.away, open.chosen));
        let Some((next, _)) = next else { return true };
        self.recalls.wanted = Some(Wanted { next, undecided_only });
        self.recall_wanted(out);
        false
    }

    /// Goes on asking for what a promise waits for.
    fn recall_wanted(&mut self, out: &mut Vec<Effect<P>>) {
        while self.recalls.under_way < RECALLS_MAX
            && let Some(wanted) = self.recalls.wanted
        {
            let found = self.log.range(wanted.next).find(|(_, open)| {
                let is_at_rest = matches!(open.away, Some(Away::Shed | Away::Failed));
                is_at_rest && !(wanted.undecided_only && open.chosen)
            });
            let found = found.map(|(slot, _)| slot);
            self.recalls.wanted = found.map(|slot| Wanted { next: slot.next(), ..wanted });
            if let Some(slot) = found {
                self.recall(slot, out);
            }
        }
    }

    fn recall(&mut self, slot: Slot, out: &mut Vec<Effect<P>>) {
        let open = self.log.get_mut(slot).expect("who recalls a slot has found it");
        let at = open.location.expect("what was shed has its place");
        assert!(open.away != Some(Away::UnderWay), "a slot is recalled twice at once");
        open.away = Some(Away::UnderWay);
        self.recalls.under_way += 1;
        out.push(Effect::Recall { slot, ballot: open.ballot, at });
    }

    pub(crate) fn on_recalled(
        &mut self,
        slot: Slot,
        ballot: Ballot,
        payload: Option<P>,
        out: &mut Vec<Effect<P>>,
    ) {
        assert!(self.recalls.under_way > 0, "a recall that nobody asked for came back");
        self.recalls.under_way -= 1;
        // What is chosen is about to be applied; all else was recalled for a promise.
        let keep = slot > self.chosen;
        self.log.recalled(slot, ballot, payload, keep);
        self.recall_wanted(out);
    }

    /// The value to apply next cannot be read back: a peer has it. Nothing else can be done without it, and nothing need be.
    pub(crate) fn recall_tick(&mut self, now: Now, out: &mut Vec<Effect<P>>) {
        let next = self.applied.next();
        let resend = self.timing.resend;
        let has_failed =
            next <= self.chosen && self.log.get(next).is_some_and(|open| open.away == Some(Away::Failed));
        if !has_failed || self.recalls.asked.is_some_and(|(_, at)| now.mono.since(at) < resend) {
            return;
        }
        let asked = self.recalls.asked.map(|(node, _)| node);
        let Some(to) = self.peers().find(|&node| Some(node) > asked).or_else(|| self.peers().next()) else {
            // Nobody else has it. Perhaps the disk gives it next time.
            self.recalls.asked = Some((self.config.node, now.mono));
            self.recall(next, out);
            return;
        };
        self.recalls.asked = Some((to, now.mono));
        out.push(Effect::Send { to, message: GroupMessage::Fetch { from: next } });
    }

    /// Takes the chosen value of a slot that is part of the prefix and cannot be read back here.
    pub(crate) fn needs_again(&self, slot: Slot) -> bool {
        slot > self.applied && self.log.get(slot).is_some_and(|open| open.away == Some(Away::Failed))
    }

    pub(crate) fn recall_invariants(&self) {
        let under_way = self.recalls.under_way;
        assert!(under_way <= RECALLS_MAX, "{under_way} recalls at once");
    }
}
