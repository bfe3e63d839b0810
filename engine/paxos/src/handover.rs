//! Handing leadership over on purpose (P-17; section 3.10 of the Raft dissertation calls it leadership transfer).
//!
//! ```text
//!   leader L of b                      heir T                               the others
//!   takes nothing new ── drained ─▶ HandOver(b) ─▶ PreVote(c, after b) ─▶ a grant to L in b does not bind
//!   holds no lease in b any more       └──────────▶ Prepare(c, after b) ─▶ against who names b
//! ```
//! Without it a new leader would have to wait until the lease of the old one has ended. The old one gives its lease up *before* it
//! says so, once and for all in that ballot; what names the ballot as given up therefore proves that no read relies on its grants.

use crate::leader::Peer;
use crate::{Effect, Paxos, State};
use alloc::vec::Vec;
use synod_types::{Ballot, GroupMessage, Mono, Nanos, NodeId, Now, Payload, Slot, limits};

/// Slots that a leader may have to learn before it serves. What a peer knows is told once per heartbeat, so some are what was chosen
/// since; who is further behind is catching up, and would lead long before it serves.
pub const FAR_BEHIND_SLOTS: u64 = 2 * limits::WINDOW_SLOTS_MAX;

/// How much longer than twice this node's log an heir's may take: what turns and links add to an idle disk's figure.
const SLOWER_SLACK: Nanos = Nanos::from_ms(10);

/// What a leader does that hands over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parting {
    heir: NodeId,
    /// When it is given up: before the lease is, as if nothing had been; after it, by standing anew.
    until: Mono,
    /// The lease is given up, and the heir told.
    pub released: bool,
}

impl Parting {
    /// Whether `node` is to lead and the lease is not given up yet.
    pub fn is_to(&self, node: NodeId) -> bool {
        self.heir == node && !self.released
    }
}

impl<P: Payload> Paxos<P> {
    /// Whether `heir` could lead instead without a pause that clients would see: this replica serves, the heir was heard of within a
    /// lease, holds nearly all that is chosen, owes no answer for long, and its log takes not much longer than `own_log`, which is
    /// what this core's own takes.
    pub fn could_hand_over_to(&self, heir: NodeId, own_log: Option<Nanos>, now: Mono) -> bool {
        let State::Leader(leader) = &self.role else { return false };
        let Some(peer) = leader.peer(heir) else { return false };
        let own_log = own_log.unwrap_or(Nanos::ZERO);
        let is_slower = peer.log_pace(now).is_some_and(|its| its.0 > 2 * own_log.0 + SLOWER_SLACK.0);
        self.serving()
            && self.is_fit(peer, now)
            && !peer.is_low()
            && !is_slower
            && peer.owes_since(now) < self.timing.heartbeat
    }

    /// Begins to hand over to `heir`: no more proposals, and once what is open is chosen and applied and the heir holds it, the heir
    /// is told to stand. Nothing happens on a replica that does not serve, or if the heir was not heard of for a lease, is far
    /// behind or low on room.
    pub(crate) fn on_hand_over(&mut self, heir: NodeId, now: Now) {
        let State::Leader(leader) = &self.role else { return };
        let is_fit = leader.peer(heir).is_some_and(|peer| !peer.is_low() && self.is_fit(peer, now.mono));
        if !is_fit || !self.serving() {
            return;
        }
        let until = now.mono.plus(self.timing.lease);
        let State::Leader(leader) = &mut self.role else { return };
        if leader.parting.is_none() {
            leader.parting = Some(Parting { heir, until, released: false });
        }
    }

    /// Whether a peer was heard of within a lease and lacks little: it could lead at once.
    pub(crate) fn is_fit(&self, peer: &Peer, now: Mono) -> bool {
        let is_live = peer.heard_at().plus(self.timing.lease) > now;
        is_live && self.chosen.since(peer.knows()) <= FAR_BEHIND_SLOTS
    }

    /// Whether this replica leads and is handing over.
    pub fn is_parting(&self) -> bool {
        matches!(&self.role, State::Leader(leader) if leader.parting.is_some())
    }

    /// Whether what this replica led in `ballot` passed to the heir it gave way to, rather than being lost.
    pub fn handed_over(&self, ballot: Ballot) -> bool {
        self.gave_way == Some(ballot)
    }

    /// Gives the lease up and tells the heir, if the leader is about to hand over and has nothing left to do. Call it when what was
    /// chosen has been applied, at a turn's end.
    pub fn hand_over_if_drained(&mut self, now: Now, out: &mut Vec<Effect<P>>) {
        let (chosen, applied) = (self.chosen, self.applied);
        let lease = self.timing.lease;
        let State::Leader(leader) = &self.role else { return };
        let Some(Parting { heir, released: false, .. }) = leader.parting else { return };
        let is_drained = applied == chosen
            && leader.next_slot == chosen.next()
            && leader.peer(heir).is_some_and(|peer| peer.is_quiet());
        // It may have fallen behind since, or be gone: nothing is given up for it then.
        let is_fit = leader.peer(heir).is_some_and(|peer| self.is_fit(peer, now.mono));
        let State::Leader(leader) = &mut self.role else { return };
        if is_drained && is_fit {
            leader.parting = Some(Parting { heir, until: now.mono.plus(lease), released: true });
            self.gave_way = Some(leader.ballot);
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
            self.gave_way = None;
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
        let follows = matches!(self.role, State::Follower) && ballot == self.promised && !self.is_low();
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
