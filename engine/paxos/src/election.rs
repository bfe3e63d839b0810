//! Which leader a replica has heard, and when it stands for election itself.

#[cfg(feature = "canary")]
use crate::api::Canary;
use crate::context::Context;
use crate::setup::Setup;
use crate::space::LogSpace;
use crate::transfer::FAR_BEHIND_SLOTS;
use synod_types::{Ballot, Mono, Nanos, NodeId, Payload, Slot};

/// A replica that is nearer needs one chance, and a second one if a message is lost. Other replicas may be as
/// far behind, or not reach a quorum, so it does not wait more often.
const DEFERENCES_MAX: u32 = 2;
/// Time resets the count, not a leader heard: otherwise a replica would defer again and again to a leader
/// that never serves.
const DEFERENCE_FORGOTTEN_AFTER: Nanos = Nanos::from_ms(30_000);

/// A leader that a member did not reach is not made the leader again for so long, for the sake of balance.
const AVOIDED_FOR: Nanos = Nanos::from_ms(60_000);
/// Likewise one that has handed over to this replica: it has had a reason. If it does so again soon, for twice as
/// long.
const HANDED_OVER_FOR: Nanos = Nanos::from_ms(5_000);

/// A node that is not made the leader again for a while, for the sake of balance.
#[derive(Clone, Copy, Debug)]
struct Avoided {
    node: NodeId,
    since: Mono,
    span: Nanos,
}

/// How often a replica that is far behind has recently let others lead. It is limited, so that the replica
/// leads when no other one can.
#[derive(Clone, Copy, Debug, Default)]
struct Deference {
    count: u32,
    at: Mono,
}

impl Deference {
    /// Whether it may defer once more; if so, that is counted.
    fn once_more(&mut self, now: Mono) -> bool {
        assert!(self.at <= now, "time went back");
        let is_recent = self.count > 0 && now.since(self.at) < DEFERENCE_FORGOTTEN_AFTER;
        let count = if is_recent { self.count } else { 0 };
        if count >= DEFERENCES_MAX {
            return false;
        }
        *self = Self { count: count + 1, at: now };
        assert!(self.count <= DEFERENCES_MAX, "it defers more often than it may");
        true
    }
}

/// The proposer's state that outlives a role.
#[derive(Debug, Default)]
pub(crate) struct Election {
    /// The highest round seen: a new ballot goes above it.
    round_seen: u64,
    /// The ballot of the last leader heard; its node is the leader as far as this replica knows.
    leader: Option<Ballot>,
    /// Whether that leader was heard within the election timeout.
    leader_live: bool,
    leader_changes: u64,
    /// When it stands, if it hears no leader until then.
    stand_at: Mono,
    /// How often it has let others stand first.
    waited: Deference,
    /// How often it has given away an election that it had won.
    yielded: Deference,
    /// The last ballot whose lease was given up for a transfer.
    released: Option<Ballot>,
    /// A member that does not reach the leader that this replica hears.
    cut_off: Option<CutOff>,
    /// The last leader that it did not reach, or that has handed over.
    avoided: Option<Avoided>,
}

/// A member that asked for a vote although this replica hears a leader.
#[derive(Clone, Copy, Debug)]
struct CutOff {
    node: NodeId,
    /// The ballot in which it asked.
    ballot: Ballot,
    /// The leader that this replica heard then.
    leader: Ballot,
    /// When it asked last.
    asked: Mono,
    /// When it would have asked again, had it not heard the answer. `None`: it has asked again and does not hear
    /// this replica either, or all that can be done is done. Until it stands the next time.
    heard_by: Option<Mono>,
}

impl Election {
    // ---- rounds and leaders -------------------------------------------------------------------------------

    /// A round was seen.
    pub fn note_round(&mut self, round: u64) {
        self.round_seen = self.round_seen.max(round);
    }

    pub fn round_seen(&self) -> u64 {
        self.round_seen
    }

    /// A message of the leader of `ballot` came, or this replica leads in it.
    pub fn note_leader(&mut self, ballot: Ballot) {
        self.note_round(ballot.round());
        assert!(self.round_seen >= ballot.round(), "a round was seen and forgotten");
        self.leader_live = true;
        if self.leader != Some(ballot) {
            self.leader_changes += u64::from(self.leader.is_some());
            self.leader = Some(ballot);
        }
    }

    /// No leader was heard for an election timeout, or the leader gave up its lease.
    pub fn note_leader_gone(&mut self) {
        self.leader_live = false;
    }

    /// The ballot of the leader that was heard within the election timeout.
    pub fn live_leader(&self) -> Option<Ballot> {
        self.leader.filter(|_| self.leader_live)
    }

    /// The node of that leader, if it is another one.
    pub fn other_leader(&self, node: NodeId) -> Option<NodeId> {
        self.live_leader().map(Ballot::node).filter(|&leader| leader != node)
    }

    pub fn leader_changes(&self) -> u64 {
        self.leader_changes
    }

    // ---- replicas that are far behind (P-06h) -------------------------------------------------------------

    /// Whether this replica, whose chosen prefix is `own`, lets others stand first, because it is far behind
    /// `known`, which another member knows as chosen: a leader that has to catch up does not serve. It only
    /// delays its election, since it may be the only replica that reaches a quorum.
    pub fn defers_to<P>(&mut self, known: Slot, own: Slot, cx: &Context<'_, P>) -> bool {
        if known.since(own) <= FAR_BEHIND_SLOTS || !self.waited.once_more(cx.now.mono) {
            return false;
        }
        #[cfg(feature = "canary")]
        if cx.setup.has(Canary::FarBehindLeads) {
            return false;
        }
        true
    }

    /// Whether this replica gives away an election that it has won, to a member whose chosen prefix is
    /// `known`.
    pub fn yields_to<P>(&mut self, known: Slot, own: Slot, cx: &Context<'_, P>) -> bool {
        let is_far = known.since(own) > FAR_BEHIND_SLOTS;
        #[cfg(feature = "canary")]
        let is_far = is_far && !cx.setup.has(Canary::FarBehindLeads);
        is_far && self.yielded.once_more(cx.now.mono)
    }

    // ---- transfers ----------------------------------------------------------------------------------------

    /// This replica gave up its lease in `ballot` and told the transfer target.
    pub fn note_released(&mut self, ballot: Ballot) {
        assert!(self.released < Some(ballot), "a lease is given up once");
        self.released = Some(ballot);
    }

    /// The transfer target did not take over. The next ballot must be above the one that the target stands
    /// in: if that one's promise becomes durable only now, it must not depose the next leader.
    pub fn note_transfer_failed(&mut self, ballot: Ballot) {
        assert!(self.released == Some(ballot), "no transfer was under way");
        self.released = None;
        self.note_round(ballot.round() + 1);
        debug_assert!(self.round_seen > ballot.round(), "the target's ballot would be used again");
    }

    /// Whether the lease in `ballot` was given up for a transfer that has not failed.
    pub fn has_released(&self, ballot: Ballot) -> bool {
        self.released == Some(ballot)
    }

    // ---- members that do not reach the leader (P-09f) -----------------------------------------------------

    /// A member is refused its vote in `ballot`, because this replica hears a leader. Whoever stands asks several
    /// times in a lease until it hears an answer. Whoever has heard the refusal does not ask again within a
    /// lease, but when it stands the next time. One late answer tells nothing of the next.
    pub fn note_cut_off(&mut self, node: NodeId, ballot: Ballot, lease: Nanos, now: Mono) {
        let Some(leader) = self.live_leader() else { return };
        let is_again = self.cut_off.is_some_and(|known| {
            (known.node, known.ballot) == (node, ballot) && now.since(known.asked) < lease
        });
        let heard_by = (!is_again).then(|| now.plus(lease));
        self.cut_off = Some(CutOff { node, ballot, leader, asked: now, heard_by });
    }

    /// Whether a member that hears this replica does not hear the leader of `ballot`. True once for each time
    /// that it stands.
    pub fn knows_cut_off(&mut self, ballot: Ballot, now: Mono) -> bool {
        let is_due = |known: &&mut CutOff| known.heard_by.is_some_and(|by| by <= now);
        let Some(known) = self.cut_off.as_mut().filter(is_due) else { return false };
        known.heard_by = None;
        let is_another = known.leader == ballot && known.node != ballot.node();
        if is_another {
            self.avoid(ballot.node(), AVOIDED_FOR, now);
        }
        is_another
    }

    /// A leader has handed over to this replica.
    pub fn note_handed_over(&mut self, node: NodeId, now: Mono) {
        self.avoid(node, HANDED_OVER_FOR, now);
    }

    fn avoid(&mut self, node: NodeId, at_least: Nanos, now: Mono) {
        let before = self.avoided.filter(|avoided| {
            let is_recent = now.since(avoided.since).0 < 4 * avoided.span.0;
            avoided.node == node && is_recent
        });
        let span = before.map_or(at_least, |before| Nanos((2 * before.span.0).min(AVOIDED_FOR.0)));
        self.avoided = Some(Avoided { node, since: now, span: span.max(at_least) });
    }

    /// Whether a member did not reach `node` as a leader a short while ago, or `node` has handed over.
    pub fn avoids(&self, node: NodeId, now: Mono) -> bool {
        self.avoided.is_some_and(|avoided| avoided.node == node && now.since(avoided.since) < avoided.span)
    }

    // ---- the timer ----------------------------------------------------------------------------------------

    /// Whether the election timeout has passed.
    pub fn is_due(&self, now: Mono) -> bool {
        now >= self.stand_at
    }

    /// The timeout at the start of a lone voter: it waits for no other node.
    pub fn arm_alone(&mut self, at: Mono) {
        self.stand_at = at;
    }

    /// The timeout at the start of any other replica. The silence until `silent_until` lasts a lease already;
    /// adding another would only delay the first leader.
    pub fn arm_first(&mut self, silent_until: Mono, jitter: Nanos, setup: &Setup, space: &LogSpace) {
        assert!(!setup.is_alone(), "a lone node is not silent to itself");
        self.arm_from(silent_until, Nanos(jitter.0 / 4), setup, space);
    }

    /// Restarts the timeout: a lease (no voter grants earlier), the rank's delay, and jitter.
    pub fn arm<P: Payload>(&mut self, cx: &mut Context<'_, P>) {
        let jitter = cx.draw_jitter();
        let base = cx.now.mono.plus(cx.setup.timing.lease);
        self.arm_from(base, jitter, cx.setup, cx.space);
    }

    fn arm_from(&mut self, base: Mono, jitter: Nanos, setup: &Setup, space: &LogSpace) {
        // A replica that is low on room cannot propose, so it lets the others stand first (P-18c).
        let extra = if space.is_low() { setup.timing.lease } else { Nanos::ZERO };
        self.stand_at = base.plus(setup.rank_delay()).plus(jitter).plus(extra);
        assert!(self.stand_at >= base, "a timeout before its time");
    }

    /// Stands again soon, in the order of ranks.
    pub fn back_off<P: Payload>(&mut self, cx: &mut Context<'_, P>) {
        let jitter = cx.draw_jitter();
        let pause = Nanos(cx.setup.timing.heartbeat.0 / 2);
        self.stand_at = cx.now.mono.plus(pause).plus(cx.setup.rank_delay()).plus(jitter);
        assert!(self.stand_at >= cx.now.mono, "a timeout before its time");
    }

    /// This core was not scheduled: what it was sent meanwhile is heard first.
    pub fn wait_until(&mut self, at: Mono) {
        self.stand_at = self.stand_at.max(at);
    }

    /// Gives others two more leases to stand first (P-06h).
    pub fn wait_longer(&mut self, setup: &Setup) {
        self.stand_at = self.stand_at.plus(setup.timing.lease).plus(setup.timing.lease);
    }
}
