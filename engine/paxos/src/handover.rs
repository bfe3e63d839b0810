//! Handing leadership over on purpose (P-17; section 3.10 of the Raft dissertation calls it leadership transfer).
//!
//! ```text
//!   leader L of b                      heir T                               the others
//!   takes nothing new ── drained ─▶ HandOver(b) ─▶ PreVote(c, after b) ─▶ a grant to L in b does not bind
//!   holds no lease in b any more       └──────────▶ Prepare(c, after b) ─▶ against who names b
//! ```
//! Without it a new leader would have to wait until the lease of the old one has ended. The old one gives its lease up *before* it
//! says so, once and for all in that ballot; what names the ballot as given up therefore proves that no read relies on its grants.

use crate::{Effect, Paxos, State};
use alloc::vec::Vec;
use synod_types::{Ballot, GroupMessage, Mono, NodeId, Now, Payload, Slot, limits};

/// Slots that an heir may have to learn before it serves. What it knows is told once per heartbeat, so some are what was chosen since;
/// who is further behind is catching up, and would lead long before it serves.
const HEIR_BEHIND_SLOTS_MAX: u64 = 2 * limits::WINDOW_SLOTS_MAX;

/// What a leader does that hands over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parting {
    heir: NodeId,
    /// When it is given up: before the lease is, as if nothing had been; after it, by standing anew.
    until: Mono,
    /// The lease is given up, and the heir told.
    pub released: bool,
}

impl<P: Payload> Paxos<P> {
    /// Begins to hand over to `heir`: no more proposals, and once what is open is chosen and applied and the heir holds it, the heir
    /// is told to stand. Nothing happens on a replica that does not serve, or if the heir was not heard of for a lease or is far
    /// behind.
    pub(crate) fn on_hand_over(&mut self, heir: NodeId, now: Now) {
        let serving = self.serving();
        let chosen = self.chosen;
        let lease = self.timing.lease;
        let State::Leader(leader) = &mut self.role else { return };
        let is_fit = leader.peer(heir).is_some_and(|peer| {
            let is_live = peer.heard_at().plus(lease) > now.mono;
            is_live && chosen.since(peer.knows()) <= HEIR_BEHIND_SLOTS_MAX
        });
        if serving && is_fit && leader.parting.is_none() {
            leader.parting = Some(Parting { heir, until: now.mono.plus(lease), released: false });
        }
    }

    /// Gives the lease up and tells the heir, if the leader is about to hand over and has nothing left to do. Call it when what was
    /// chosen has been applied, at a turn's end.
    pub fn hand_over_if_drained(&mut self, now: Now, out: &mut Vec<Effect<P>>) {
        let (chosen, applied) = (self.chosen, self.applied);
        let lease = self.timing.lease;
        let State::Leader(leader) = &mut self.role else { return };
        let Some(Parting { heir, released: false, .. }) = leader.parting else { return };
        let is_drained = applied == chosen
            && leader.next_slot == chosen.next()
            && leader.peer(heir).is_some_and(|peer| peer.is_quiet());
        if is_drained {
            leader.parting = Some(Parting { heir, until: now.mono.plus(lease), released: true });
            let message = GroupMessage::HandOver { ballot: leader.ballot, chosen };
            out.push(Effect::Send { to: heir, message });
        }
    }

    /// A leader that waits for its heir in vain takes up its work again: under a new ballot if its lease is given up.
    pub(crate) fn hand_over_tick(&mut self, now: Now, out: &mut Vec<Effect<P>>) {
        let State::Leader(leader) = &mut self.role else { return };
        let Some(parting) = leader.parting.filter(|parting| now.mono >= parting.until) else { return };
        if parting.released {
            let released = leader.ballot;
            // Above the ballot that the heir stands in: should its promise become durable only now, it must not depose the next
            // leader.
            self.round_seen = self.round_seen.max(released.round() + 1);
            self.step_down(now.mono);
            self.start_pre_vote(released, now, out);
        } else {
            leader.parting = None;
        }
    }

    /// The leader this replica follows hands over to it.
    pub(crate) fn on_told_to_stand(
        &mut self,
        from: NodeId,
        ballot: Ballot,
        chosen: Slot,
        now: Now,
        out: &mut Vec<Effect<P>>,
    ) {
        let follows = matches!(self.role, State::Follower) && ballot == self.promised;
        if !follows || ballot.node() != from || now.mono < self.silent_until {
            return; // the leader will see that nobody stands
        }
        self.on_watermark(ballot, chosen);
        self.start_pre_vote(ballot, now, out);
    }

    /// Whether this replica stands because the leader of `ballot` gave way: what that leader said before changes nothing.
    pub(crate) fn stands_after(&self, ballot: Ballot) -> bool {
        matches!(&self.role, State::PreCandidate(pre) if pre.after == ballot)
    }
}
