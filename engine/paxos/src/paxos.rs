//! One replica of one group: the public interface that its shard uses.

#[cfg(feature = "canary")]
use crate::api::Canary;
use crate::api::{AheadLimits, Effect, Input, PeerView, Role, Timing};
use crate::context::Base;
use crate::heirs::Heir;
use crate::ignored::IgnoredCounts;
use crate::leader::Leader;
#[cfg(test)]
use crate::log::SlotLog;
use crate::role_state::RoleState;
use crate::roles::Roles;
use crate::setup::Setup;
use crate::space::Writable;
use alloc::vec::Vec;
use synod_types::{
    Ballot, Event, GroupConfig, GroupMark, Level, Location, Mono, Nanos, NodeId, Now, Payload, RecordHead,
    RecordKind, Slot, WallMs,
};

/// One replica of one group.
#[derive(Debug)]
pub struct Paxos<P> {
    base: Base,
    roles: Roles<P>,
    ignored: IgnoredCounts,
}

impl<P: Payload> Paxos<P> {
    /// A replica with an empty log. Call [`Paxos::replay`] for each record, then [`Paxos::start`]. `seed`
    /// seeds the jitter of elections and the ids of promise answers.
    ///
    /// # Panics
    /// When `config.node` is not a voter.
    pub fn new(config: GroupConfig, timing: Timing, seed: u64) -> Self {
        let base = Base::new(Setup::new(config, timing), seed);
        Self { base, roles: Roles::new(), ignored: IgnoredCounts::default() }
    }

    /// The same replica with other limits.
    ///
    /// # Panics
    /// When the replica holds a value already.
    #[must_use]
    pub fn with_ahead_limits(mut self, ahead: AheadLimits) -> Self {
        self.roles.learner.set_ahead_limits(ahead);
        self
    }

    /// The same replica, able to read up to `level`.
    #[must_use]
    pub fn with_level(mut self, level: Level) -> Self {
        self.base.setup.level = level;
        self
    }

    /// Plants a known bug (tests only).
    #[cfg(feature = "canary")]
    pub fn set_canary(&mut self, canary: Canary) {
        self.base.setup.canary = Some(canary);
        self.roles.learner.canary = Some(canary);
        if canary == Canary::OriginRestarts {
            self.base.journal.restart_origins(self.base.setup.node());
        }
    }

    // ---- replay -------------------------------------------------------------------------------------------

    /// Replays one record; call it in log order. Entries that the record shows to be chosen are then ready in
    /// [`Paxos::next_apply`]. Apply them, and recall the values needed for that ([`Paxos::recall_ahead`]),
    /// before the next record, so that memory stays bounded.
    ///
    /// # Panics
    /// When the records contradict each other: this replica did not write such a log.
    pub fn replay(&mut self, head: RecordHead, payload: P, payload_at: Location) {
        assert!(head.group == self.base.setup.group(), "record of another group");
        self.base.journal.replayed(head.number);
        match head.kind {
            RecordKind::Promise | RecordKind::Accept => self.roles.acceptor.replay(head.ballot),
            RecordKind::Learned => {}
            RecordKind::Mark => panic!("a mark belongs to no group"),
        }
        self.roles.learner.replay(head, payload, payload_at);
    }

    /// Replays this group's part of a mark.
    ///
    /// # Panics
    /// When the mark counts other records of the group than were replayed.
    pub fn replay_mark(&mut self, mark: &GroupMark) {
        assert!(mark.group == self.base.setup.group(), "the mark of another group");
        assert!(mark.number == self.base.journal.count(), "a record of the group is missing before a mark");
        self.roles.learner.replay_watermark(mark.chosen);
    }

    /// This group's part of a new mark.
    pub fn mark(&self) -> GroupMark {
        let (group, number) = (self.base.setup.group(), self.base.journal.count());
        assert!(self.applied_slot() <= self.chosen(), "applied beyond chosen");
        GroupMark { group, number, chosen: self.chosen() }
    }

    /// Ends replay. Everything replayed is durable. Leases granted before the restart are forgotten, so the
    /// replica stays silent for one lease (P-07c).
    pub fn start(&mut self, now: Now) {
        let Self { base, roles, .. } = self;
        assert!(roles.state.is_follower(), "a role before the start");
        // A lone voter has granted no lease to another node.
        let is_alone = base.setup.is_alone();
        let silent_until = if is_alone { now.mono } else { now.mono.plus(base.setup.timing.lease) };
        roles.acceptor.start(silent_until);
        roles.election.note_round(roles.acceptor.promised().round());
        if is_alone {
            roles.election.arm_alone(silent_until);
        } else {
            let jitter = base.draw_jitter();
            roles.election.arm_first(silent_until, jitter, &base.setup, &base.space);
            roles.begin_silence(&mut base.context::<P>(now, &mut Vec::new()));
        }
    }

    // ---- steps --------------------------------------------------------------------------------------------

    /// Handles one input and pushes the effects onto `out`. A stale or foreign input changes nothing and is
    /// counted ([`Paxos::ignored`]).
    ///
    /// # Panics
    /// When it is asked to propose and does not lead, or when an invariant is broken.
    pub fn step(&mut self, input: Input<P>, now: Now, out: &mut Vec<Effect<P>>) {
        let mut cx = self.base.context(now, out);
        if let Err(reason) = self.roles.handle(input, &mut cx) {
            self.ignored.note(reason);
        }
    }

    /// Takes the events since the last call, in order.
    pub fn take_events(&mut self) -> impl Iterator<Item = Event> + '_ {
        self.base.events.drain(..)
    }

    /// Whether there are events to take.
    pub fn has_events(&self) -> bool {
        !self.base.events.is_empty()
    }

    /// Recalls values that are to be applied soon and are not in memory. Call it after everything in
    /// [`Paxos::next_apply`] has been applied.
    pub fn recall_ahead(&mut self, out: &mut Vec<Effect<P>>) {
        self.roles.learner.recall_ahead(out);
    }

    /// Gives the lease up and tells the transfer target to stand, if this leader is transferring leadership
    /// and nothing of its own is still open. Call it at the end of a turn, after the chosen entries have been
    /// applied.
    pub fn transfer_if_drained(&mut self, now: Now, out: &mut Vec<Effect<P>>) {
        self.roles.release_if_drained(&mut self.base.context(now, out));
    }

    /// Sends heartbeats if a read asked for them this turn.
    pub fn heartbeat_if_wanted(&mut self, now: Now, out: &mut Vec<Effect<P>>) {
        let Roles { learner, state, .. } = &mut self.roles;
        if let RoleState::Leader(leader) = state {
            leader.heartbeat_if_wanted(learner.chosen(), &mut self.base.context(now, out));
        }
    }

    // ---- applying -----------------------------------------------------------------------------------------

    /// The next chosen entry to apply, with its location in the log. `None` when there is none, when its
    /// location is not known yet, or when it has to be recalled first ([`Paxos::recall_ahead`]).
    pub fn next_apply(&self) -> Option<(Slot, &P, Location)> {
        self.roles.learner.next_apply()
    }

    /// `slot` was applied.
    ///
    /// # Panics
    /// When it is not the one [`Paxos::next_apply`] offered.
    pub fn applied(&mut self, slot: Slot) {
        self.roles.learner.on_applied(slot);
    }

    /// The entry just applied carries this time stamp: no leader's clock continues from an earlier time.
    pub fn applied_time(&mut self, time: WallMs, now: Mono) {
        self.roles.time.raise_applied(time);
        if let RoleState::Leader(leader) = &mut self.roles.state {
            leader.raise_clock(time, now);
        }
    }

    /// The contiguous chosen prefix.
    pub fn chosen(&self) -> Slot {
        self.roles.learner.chosen()
    }

    /// The last applied slot.
    pub fn applied_slot(&self) -> Slot {
        self.roles.learner.applied()
    }

    /// The entry of a chosen slot while it is in memory (checkers only).
    pub fn chosen_payload(&self, slot: Slot) -> Option<&P> {
        self.roles.learner.chosen_payload(slot)
    }

    /// The applied slot whose entry holds these bytes of the log, and the entry's location. It searches all
    /// slots: use it only when the bytes turn out to be damaged.
    pub fn slot_at(&self, bytes: Location) -> Option<(Slot, Location)> {
        self.roles.learner.applied_slot_at(bytes)
    }

    /// The location of a slot's entry in the log.
    pub fn place_of(&self, slot: Slot) -> Option<Location> {
        self.roles.learner.place_of(slot)
    }

    // ---- leadership ---------------------------------------------------------------------------------------

    fn leader(&self) -> Option<&Leader> {
        self.roles.state.leader()
    }

    /// The role, for status.
    pub fn role(&self) -> Role {
        self.roles.state.role()
    }

    /// The highest ballot promised.
    pub fn promised(&self) -> Ballot {
        self.roles.acceptor.promised()
    }

    /// The ballot this replica leads in, if it leads.
    pub fn leading(&self) -> Option<Ballot> {
        self.leader().map(Leader::ballot)
    }

    /// Whether this replica leads, has applied everything that was chosen before it led (P-06e), and knows
    /// the time (P-16e).
    pub fn serving(&self) -> bool {
        self.leader().is_some_and(|leader| leader.serves(self.applied_slot()))
    }

    /// The node that leads, as far as this replica knows.
    pub fn leader_hint(&self) -> Option<NodeId> {
        let node = self.base.setup.node();
        if self.leader().is_some() { Some(node) } else { self.roles.election.other_leader(node) }
    }

    /// The ballot of that leader. If it is the same at two times, that leader led in between.
    pub fn leader_ballot(&self) -> Option<Ballot> {
        self.leading().or_else(|| self.roles.election.live_leader())
    }

    /// How often the leader changed since the start; the first leader is not a change.
    pub fn leader_changes(&self) -> u64 {
        self.roles.election.leader_changes()
    }

    // ---- proposing ----------------------------------------------------------------------------------------

    /// Whether the window (P-14) and the log (P-18) have room for another slot. False on a replica that does
    /// not lead or is transferring leadership (P-17).
    pub fn can_propose(&self) -> bool {
        self.leader().is_some_and(|leader| leader.can_propose(self.chosen(), &self.base.space))
    }

    /// The origin of a new proposal of this leader: its ballot (P-05d). [`Ballot::ZERO`] on a replica that
    /// does not lead.
    pub fn next_origin(&mut self) -> Ballot {
        let ballot = self.leading().unwrap_or(Ballot::ZERO);
        self.base.journal.next_origin(ballot)
    }

    /// The number of slots proposed and not chosen yet.
    pub fn in_flight(&self) -> u64 {
        self.leader().map_or(0, Leader::in_flight)
    }

    /// The slot the next proposal gets, on a leader.
    pub fn next_slot(&self) -> Option<Slot> {
        self.leader().map(Leader::next_slot)
    }

    /// Whether a proposal can be chosen, and if not, which member could lead instead to have it chosen. `Yes`
    /// on a replica that does not lead.
    pub fn writable(&self, now: Mono) -> Writable {
        let Base { setup, space, .. } = &self.base;
        self.leader().map_or(Writable::Yes, |leader| leader.writable(self.chosen(), space, setup, now))
    }

    /// The level that every member can read, once all of them have told this leader theirs (P-19). `None` on
    /// a replica that does not lead.
    pub fn level_of_all(&self) -> Option<Level> {
        self.leader()?.level_of_all(&self.base.setup)
    }

    // ---- time ---------------------------------------------------------------------------------------------

    /// The time of the group's clock, on a leader whose clock is set (P-16).
    pub fn leader_clock(&self, now: Mono) -> Option<WallMs> {
        self.leader()?.clock(now)
    }

    /// How many milliseconds the group's clock was ahead of the wall clocks that agree, when last compared.
    /// `None` on a replica that does not lead, and while too few clocks agree.
    pub fn clock_skew_ms(&self) -> Option<i64> {
        self.leader()?.skew_ms()
    }

    // ---- reading ------------------------------------------------------------------------------------------

    /// What this replica believes of its peers, if it leads.
    pub fn peer_views(&self, now: Mono) -> impl Iterator<Item = PeerView> {
        self.leader().into_iter().flat_map(move |leader| leader.peer_views(now))
    }

    /// Whether this replica leads under an unexpired lease at `now` that it has not given up (P-17).
    pub fn lease_valid(&self, now: Mono) -> bool {
        self.roles.state.lease_valid(&self.base.setup, now)
    }

    /// A ticket for a ReadIndex read that arrives now: [`Paxos::ticket_valid`] turns true once a quorum has
    /// answered a heartbeat sent after this call. It requests a heartbeat at the end of the turn.
    pub fn read_ticket(&mut self) -> Option<Mono> {
        self.roles.state.leader_mut().ok().map(Leader::read_ticket)
    }

    /// Whether a read with this ticket may be served. Call it only while the replica leads in the ballot of
    /// the ticket.
    pub fn ticket_valid(&self, ticket: Mono, now: Mono) -> bool {
        self.leader().is_some_and(|leader| leader.ticket_valid(ticket, &self.base.setup, now))
    }

    // ---- transfers ----------------------------------------------------------------------------------------

    /// Whether leadership could pass to `target` without a pause that clients would notice: this replica
    /// serves, the target answered a heartbeat within a lease, has room, holds nearly all chosen entries, has
    /// no answer overdue, and its log is not much slower than `own_log`, the write latency of this core's
    /// log.
    pub fn could_transfer_to(&self, target: NodeId, own_log: Option<Nanos>, now: Mono) -> bool {
        let own_log = own_log.unwrap_or(Nanos::ZERO);
        self.leader().is_some_and(|leader| {
            leader.serves(self.applied_slot())
                && leader.could_transfer_to(target, own_log, self.chosen(), &self.base.setup, now)
        })
    }

    /// The peers that this replica hears as a leader that serves.
    pub fn heirs(&self, own_log: Option<Nanos>, now: Mono) -> impl Iterator<Item = Heir> {
        let own_log = own_log.unwrap_or(Nanos::ZERO);
        let leader = self.leader().filter(|leader| leader.serves(self.applied_slot()));
        let (chosen, setup) = (self.chosen(), &self.base.setup);
        leader.into_iter().flat_map(move |leader| leader.heirs(own_log, chosen, setup, now))
    }

    /// Whether the group has no other member.
    pub fn is_alone(&self) -> bool {
        self.base.setup.is_alone()
    }

    /// This node is about to stop: from now on this replica takes nothing over, and lets others stand first (P-17g).
    pub fn leave(&mut self) {
        self.roles.leave();
    }

    /// This core was not scheduled for a while and is at work again at `now`: the heartbeats that have come
    /// meanwhile count before their absence does.
    pub fn has_slept(&mut self, now: Mono) {
        let heard_by = now.plus(self.base.setup.timing.heartbeat);
        self.roles.election.wait_until(heard_by);
    }

    /// Whether a member did not reach `node` as a leader a short while ago (P-09f), or `node` has handed over to
    /// this replica: it is not made the leader for the sake of balance.
    pub fn avoids(&self, node: NodeId, now: Mono) -> bool {
        self.roles.election.avoids(node, now)
    }

    /// Whether this replica leads and is transferring leadership.
    pub fn is_transferring(&self) -> bool {
        self.leader().is_some_and(Leader::is_transferring)
    }

    /// Whether this replica's leadership in `ballot` was given up for a transfer that has not failed, and was
    /// not lost otherwise.
    pub fn transferred(&self, ballot: Ballot) -> bool {
        self.roles.election.has_released(ballot)
    }

    // ---- checks -------------------------------------------------------------------------------------------

    /// How many inputs were ignored, by reason.
    pub fn ignored(&self) -> &IgnoredCounts {
        &self.ignored
    }

    /// Checks the invariants that hold between steps.
    ///
    /// # Panics
    /// When one is broken.
    pub fn invariants(&self) {
        self.roles.invariants(&self.base.setup);
    }

    #[cfg(test)]
    pub(crate) fn log(&self) -> &SlotLog<P> {
        self.roles.learner.log()
    }
}
