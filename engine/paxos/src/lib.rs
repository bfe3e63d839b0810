//! `synod-paxos`: one group's Multi-Paxos as a pure machine.
//!
//! ```text
//!            Message, Beat ─┐                     ┌─▶ Append { record, then: messages }   durability rides on the write
//!  Propose, Durable, Tick ──┼─▶ Paxos::step ──────┼─▶ Send, Beat, BeatReply
//!    Tick, Recalled … ──────┘  (input, now, out)  └─▶ ReadBack (old values a peer asked for), Recall (one needed here)
//!                                   │
//!                          next_apply / applied      chosen entries, in slot order
//! ```
//!
//! Roles live in their own files and share one struct: `acceptor` (promises and accepts), `election` (pre-vote, prepare),
//! `leader` (proposals, tallies, leases), `learner` (chosen watermark, pulling what is missing). The rules they obey have
//! ids in `docs/protocol.md` (P-01 …), cited where they are enforced.
//!
//! May not: read a clock, draw a random number from outside, know a disk, a socket or a thread, look into a payload.
//! Contract: one step, then every effect is executed in order, then the next step; time never goes back.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod acceptor;
mod api;
mod clock;
mod election;
mod handover;
mod leader;
mod learner;
mod log;
mod pace;
mod recall;
mod settled;
mod space;
#[cfg(test)]
mod tests;

#[cfg(feature = "canary")]
pub use api::Canary;
pub use api::{AheadLimits, Effect, Input, ReadBack, Receipt, Role, Timing};
pub use handover::FAR_BEHIND_SLOTS;
pub use pace::Pace;
pub use space::Writable;

use alloc::vec::Vec;
use clock::Anchor;
use election::{Candidate, Deference, PreCandidate};
use leader::Leader;
use log::SlotLog;
use recall::Recalls;
use synod_types::{
    Ballot, Beat, GroupConfig, GroupMark, GroupMessage, Level, Location, Mono, NodeId, Now, Payload,
    RecordHead, RecordKind, Slot, Space, WallMs,
};

/// One replica of one group.
#[derive(Debug)]
pub struct Paxos<P> {
    config: GroupConfig,
    timing: Timing,
    /// What this replica reads.
    level: Level,
    /// Own small generator (election jitter only), seeded by the shell.
    random: u64,
    #[cfg(feature = "canary")]
    canary: Option<Canary>,
    #[cfg(feature = "canary")]
    origins: u64,

    // Acceptor. `promised_durable <= promised`.
    promised: Ballot,
    promised_durable: Ballot,
    /// The ballot of the leader whose heartbeat was answered, and until when others' prepares are refused (P-07).
    grant: Option<(Ballot, Mono)>,
    /// A restarted acceptor has forgotten its grants: it stays silent for one lease (P-07).
    silent_until: Mono,
    /// What the log has room for.
    space: Space,
    /// Since when it is less than everything.
    low_since: Mono,
    /// The promise in force when the log came down to its reserve.
    short_since: Option<Ballot>,
    /// The log has so much to write already that a winner waits with what it proposes.
    is_behind: bool,

    // Learner. `applied <= chosen`.
    log: SlotLog<P>,
    chosen: Slot,
    applied: Slot,
    /// The last watermark heard and the ballot it was said in: what was accepted in that ballot up to there is marked (P-05).
    mark: (Ballot, Slot),
    ahead: AheadLimits,
    recalls: Recalls,
    pull: Option<learner::Pull>,

    // Time (P-16).
    /// The clock of the last leader that was heard.
    anchor: Option<Anchor>,
    /// What was applied carries no later time.
    applied_time: WallMs,

    // Proposer.
    role: State<P>,
    /// The last ballot whose lease was given up for an heir.
    gave_way: Option<Ballot>,
    /// Records of this group ever written to the log; they are numbered from 1.
    records: u64,
    /// Highest round seen anywhere: a new ballot goes above it.
    round_seen: u64,
    /// The highest ballot a leader was heard in; its node is the leader as far as this replica knows.
    leader: Option<Ballot>,
    /// Whether that leader was heard within the election timeout.
    leader_live: bool,
    leader_changes: u64,
    election_at: Mono,
    /// How often it let others stand first, and how often it gave an election away that it had won, being far behind.
    waited: Deference,
    yielded: Deference,
}

#[derive(Debug)]
enum State<P> {
    Follower,
    PreCandidate(PreCandidate),
    Candidate(Candidate<P>),
    Leader(Leader),
}

impl<P: Payload> Paxos<P> {
    /// A replica with an empty log. Feed [`Paxos::replay`], then [`Paxos::start`].
    ///
    /// # Panics
    /// When `config.node` is not a voter.
    pub fn new(config: GroupConfig, timing: Timing, seed: u64) -> Self {
        assert!(config.members.bit_of(config.node).is_some(), "a replica must be a member of its group");
        assert!(timing.drift < timing.lease, "a lease must outlast its drift margin");
        Self {
            config,
            timing,
            level: Level::OWN,
            random: seed | 1,
            #[cfg(feature = "canary")]
            canary: None,
            #[cfg(feature = "canary")]
            origins: 0,
            promised: Ballot::ZERO,
            promised_durable: Ballot::ZERO,
            grant: None,
            silent_until: Mono::ZERO,
            space: Space::Free,
            low_since: Mono::ZERO,
            short_since: None,
            is_behind: false,
            log: SlotLog::new(AheadLimits::default().near_slots),
            chosen: Slot::ZERO,
            applied: Slot::ZERO,
            mark: (Ballot::ZERO, Slot::ZERO),
            ahead: AheadLimits::default(),
            recalls: Recalls::default(),
            pull: None,
            anchor: None,
            applied_time: WallMs::ZERO,
            role: State::Follower,
            gave_way: None,
            records: 0,
            round_seen: 0,
            leader: None,
            leader_live: false,
            leader_changes: 0,
            election_at: Mono::ZERO,
            waited: Deference::default(),
            yielded: Deference::default(),
        }
    }

    /// The same with other limits.
    #[must_use]
    pub fn with_ahead_limits(mut self, ahead: AheadLimits) -> Self {
        self.log = SlotLog::new(ahead.near_slots);
        self.ahead = ahead;
        self
    }

    /// The same, able to read up to `level`.
    #[must_use]
    pub fn with_level(mut self, level: Level) -> Self {
        self.level = level;
        self
    }

    /// Plants a known bug (tests only).
    #[cfg(feature = "canary")]
    pub fn set_canary(&mut self, canary: Canary) {
        self.canary = Some(canary);
    }

    /// Takes one record of the log back, in log order. Whatever became chosen by it is ready in
    /// [`Paxos::next_apply`] afterwards; apply it, and recall what is needed for that ([`Paxos::recall_ahead`]), before the next record,
    /// so that memory stays bounded.
    ///
    /// # Panics
    /// When the records contradict each other: the log is not what this machine wrote.
    pub fn replay(&mut self, head: RecordHead, payload: P, payload_at: Location) {
        assert!(head.group == self.config.group, "record of another group");
        assert!(head.number == self.records + 1, "a record of the group is missing before {}", head.number);
        self.records = head.number;
        self.chosen = self.chosen.max(head.chosen);
        self.log.assert_holds_up_to(self.chosen);
        match head.kind {
            RecordKind::Promise => self.promised = self.promised.max(head.ballot),
            RecordKind::Accept => {
                self.promised = self.promised.max(head.ballot);
                if head.slot > self.chosen {
                    self.log.put(head.slot, head.ballot, payload);
                    self.log.locate(head.slot, head.ballot, payload_at);
                    self.log.mark_durable(head.slot, head.ballot);
                }
            }
            RecordKind::Learned => {
                if head.slot > self.chosen {
                    self.log.put(head.slot, head.ballot, payload);
                    self.log.locate(head.slot, head.ballot, payload_at);
                    self.log.mark_durable(head.slot, head.ballot);
                    self.log.mark_chosen(head.slot);
                    self.advance_chosen();
                }
            }
            RecordKind::Mark => panic!("a mark belongs to no group"),
        }
        self.shed();
    }

    /// Takes back what a mark said of this group.
    ///
    /// # Panics
    /// When it says that the group has written other records than were replayed.
    pub fn replay_mark(&mut self, mark: &GroupMark) {
        assert!(mark.group == self.config.group, "the mark of another group");
        assert!(mark.number == self.records, "a record of the group is missing before a mark");
        self.chosen = self.chosen.max(mark.chosen);
        self.log.assert_holds_up_to(self.chosen);
    }

    /// What a mark is to say of this group.
    pub fn mark(&self) -> GroupMark {
        GroupMark { group: self.config.group, number: self.records, chosen: self.chosen }
    }

    /// Ends replay. Everything replayed is durable; leases granted before are forgotten, hence the silence (P-07).
    pub fn start(&mut self, now: Now) {
        self.promised_durable = self.promised;
        self.round_seen = self.promised.round();
        let alone = self.config.members.voters().len() == 1;
        // A lone voter granted leases to nobody but itself.
        self.silent_until = if alone { now.mono } else { now.mono.plus(self.timing.lease) };
        self.election_at = self.silent_until;
        if !alone {
            self.arm_election(now.mono, true);
        }
    }

    /// Lets one thing happen; pushes what it asks for.
    pub fn step(&mut self, input: Input<P>, now: Now, out: &mut Vec<Effect<P>>) {
        match input {
            Input::Message { from, message } => self.on_message(from, message, now, out),
            Input::Beat { from, beat } => self.on_beat(from, beat, now, out),
            Input::BeatReply { from, reply } => self.on_beat_reply(from, reply, now),
            Input::Watermark { from, ballot, chosen } => {
                // Who leads or is about to has its own account of what is chosen.
                let follows = matches!(self.role, State::Follower) && ballot >= self.promised;
                if follows && self.bit_of(from).is_some() && ballot.node() == from {
                    self.on_watermark(ballot, chosen);
                    self.pull_if_behind(from, now, out);
                }
            }
            Input::Propose { payload } => self.on_propose(payload, now, out),
            Input::Located { slot, ballot, at } => self.log.locate(slot, ballot, at),
            Input::Durable { receipt } => self.on_durable(receipt, now, out),
            Input::Recalled { slot, ballot, payload } => self.on_recalled(slot, ballot, payload, out),
            Input::Tick { stalled } => self.on_tick(stalled, now, out),
            Input::Room { space, is_behind } => self.on_room(space, is_behind, now.mono),
            Input::LinkLost { node } => self.on_link_lost(node),
            Input::HandOver { heir } => self.on_hand_over(heir, now),
        }
    }

    fn on_message(&mut self, from: NodeId, message: GroupMessage<P>, now: Now, out: &mut Vec<Effect<P>>) {
        if self.bit_of(from).is_none() || from == self.config.node {
            return; // a stranger, or an echo: not ours to answer
        }
        match message {
            GroupMessage::PreVote { ballot, after } => self.on_pre_vote(from, ballot, after, now, out),
            GroupMessage::PreVoteReply { ballot, granted, promised, chosen } => {
                self.on_pre_vote_reply(from, ballot, granted, promised, chosen, now, out);
            }
            GroupMessage::Prepare { ballot, after, from: first } => {
                self.on_prepare(from, ballot, after, first, now, out);
            }
            GroupMessage::Promise { ballot, chosen, answer, part, part_count, time, reported } => {
                self.note_time(from, ballot, time, now);
                self.on_promise(from, ballot, chosen, (answer, part, part_count), reported, now, out);
            }
            GroupMessage::Accept { ballot, slot, chosen, payload } => {
                self.on_accept(from, ballot, slot, chosen, payload, now, out);
            }
            GroupMessage::Accepted { ballot, slot } => self.on_accepted(from, ballot, slot, now),
            GroupMessage::Nack { ballot, promised } => self.on_nack(ballot, promised, now),
            GroupMessage::Fetch { from: first } => self.on_fetch(from, first, out),
            GroupMessage::Learn { chosen, entries } => self.on_learn(from, chosen, entries, now, out),
            GroupMessage::HandOver { ballot, chosen } => {
                self.on_told_to_stand(from, ballot, chosen, now, out);
            }
        }
    }

    fn on_durable(&mut self, receipt: Receipt, now: Now, out: &mut Vec<Effect<P>>) {
        match receipt {
            Receipt::Promise(ballot) => {
                self.promised_durable = self.promised_durable.max(ballot);
                self.candidate_own_promise(ballot, now, out);
            }
            Receipt::Accept { slot, ballot } => {
                self.promised_durable = self.promised_durable.max(ballot);
                self.log.mark_durable(slot, ballot);
                self.tally(slot, ballot, self.config.node);
                self.shed();
            }
            Receipt::Learned { slot, ballot } => {
                self.log.mark_durable(slot, ballot);
                self.shed();
            }
        }
    }

    fn on_tick(&mut self, stalled: bool, now: Now, out: &mut Vec<Effect<P>>) {
        if matches!(self.role, State::Leader(_)) {
            self.leader_tick(stalled, now, out);
        } else {
            self.election_tick(now, out);
        }
        self.pull_tick(now, out);
        self.recall_tick(now, out);
    }

    // ---- what the shard asks -------------------------------------------------------------------------------------

    /// The next chosen entry to apply, with its place in the log; `None` when there is none, or its place is not known yet, or it has to
    /// be recalled first ([`Paxos::recall_ahead`]).
    pub fn next_apply(&self) -> Option<(Slot, &P, Location)> {
        if self.applied >= self.chosen {
            return None;
        }
        let slot = self.applied.next();
        let open = self.log.get(slot)?;
        Some((slot, open.payload.as_ref()?, open.location?))
    }

    /// `slot` was applied.
    ///
    /// # Panics
    /// When it is not the one [`Paxos::next_apply`] offered.
    pub fn applied(&mut self, slot: Slot) {
        assert!(slot == self.applied.next() && slot <= self.chosen, "applied out of order");
        self.applied = slot;
        self.log.settle(slot);
    }

    /// What was applied carries this time: no clock of the group goes on from an earlier one.
    pub fn applied_time(&mut self, time: WallMs, now: Mono) {
        self.applied_time = self.applied_time.max(time);
        if let State::Leader(leader) = &mut self.role
            && let Some(clock) = &mut leader.clock
        {
            clock.raise(time, now);
        }
    }

    /// The ballot this replica leads in, if it does.
    pub fn leading(&self) -> Option<Ballot> {
        match &self.role {
            State::Leader(leader) => Some(leader.ballot),
            _ => None,
        }
    }

    /// Whether this replica leads, has applied everything that was chosen before it led (P-06), and knows the time (P-16).
    pub fn serving(&self) -> bool {
        matches!(&self.role, State::Leader(leader) if leader.clock.is_some()) && self.has_caught_up()
    }

    /// Whether this replica leads and has applied everything that was chosen before it led.
    fn has_caught_up(&self) -> bool {
        matches!(&self.role, State::Leader(leader) if self.applied >= leader.start_slot)
    }

    /// The node this replica takes for the leader.
    pub fn leader_hint(&self) -> Option<NodeId> {
        if self.leading().is_some() {
            return Some(self.config.node);
        }
        self.leader.map(Ballot::node).filter(|&node| self.leader_live && node != self.config.node)
    }

    /// The ballot of that leader: one that is the same between two looks has led in between.
    pub fn leader_ballot(&self) -> Option<Ballot> {
        self.leading().or_else(|| self.leader.filter(|_| self.leader_live))
    }

    /// The origin of what a leader proposes anew: its ballot (P-05d). [`Ballot::ZERO`] on a replica that does not lead.
    pub fn next_origin(&mut self) -> Ballot {
        let ballot = self.leading().unwrap_or(Ballot::ZERO);
        #[cfg(feature = "canary")]
        if self.canary == Some(Canary::OriginRestarts) {
            self.origins += 1;
            return Ballot::new(self.origins, self.config.node);
        }
        ballot
    }

    /// The role, for status.
    pub fn role(&self) -> Role {
        match self.role {
            State::Follower | State::PreCandidate(_) => Role::Follower,
            State::Candidate(_) => Role::Candidate,
            State::Leader(_) => Role::Leader,
        }
    }
    /// Highest ballot promised.
    pub fn promised(&self) -> Ballot {
        self.promised
    }
    /// Contiguous chosen prefix.
    pub fn chosen(&self) -> Slot {
        self.chosen
    }
    /// Applied up to here.
    pub fn applied_slot(&self) -> Slot {
        self.applied
    }
    /// How often the leader changed since start; a first leader is not a change.
    pub fn leader_changes(&self) -> u64 {
        self.leader_changes
    }
    /// The entry of a chosen slot while it is in memory (checkers only).
    pub fn chosen_payload(&self, slot: Slot) -> Option<&P> {
        if slot > self.chosen { None } else { self.log.get(slot)?.payload.as_ref() }
    }

    /// The applied slot whose entry holds these bytes of the log, and where the entry lies. Looks at all slots: for the rare case
    /// that the bytes are damaged.
    pub fn slot_at(&self, bytes: Location) -> Option<(Slot, Location)> {
        self.log.holding(bytes, self.applied)
    }

    /// Where the entry of a slot lies in the log.
    pub fn place_of(&self, slot: Slot) -> Option<Location> {
        let settled = self.log.settled(slot).map(|(_, at)| at);
        settled.or_else(|| self.log.get(slot)?.location)
    }

    /// Checks what must hold between steps.
    ///
    /// # Panics
    /// When it does not.
    pub fn invariants(&self) {
        assert!(self.applied <= self.chosen, "applied beyond chosen");
        assert!(self.promised_durable <= self.promised, "a promise was forgotten");
        assert!(self.promised.round() <= self.round_seen.max(self.promised.round()));
        self.log.invariants(self.applied, self.chosen);
        self.recall_invariants();
        if let State::Leader(leader) = &self.role {
            assert!(leader.ballot.node() == self.config.node, "leads in a foreign ballot");
            assert!(leader.ballot == self.promised, "leads below its own promise");
            assert!(leader.next_slot > self.chosen, "next slot already chosen");
            assert!(!leader.has_released() || leader.is_idle(), "proposed after handing over");
        }
    }

    // ---- shared by the roles -------------------------------------------------------------------------------------

    fn bit_of(&self, node: NodeId) -> Option<u64> {
        self.config.members.bit_of(node)
    }

    fn peers(&self) -> impl Iterator<Item = NodeId> + use<P> {
        let me = self.config.node;
        // At most nine ids: cheaper than the borrow it would cost the callers.
        let voters: Vec<NodeId> = self.config.members.voters().to_vec();
        voters.into_iter().filter(move |&node| node != me)
    }

    fn accept_quorum(&self) -> u32 {
        let quorum = self.config.members.accept_quorum();
        #[cfg(feature = "canary")]
        if self.canary == Some(Canary::HalfQuorum) {
            return (self.config.members.voters().len() / 2) as u32;
        }
        quorum as u32
    }

    fn prepare_quorum(&self) -> u32 {
        let quorum = self.config.members.prepare_quorum();
        #[cfg(feature = "canary")]
        if self.canary == Some(Canary::HalfQuorum) {
            return (self.config.members.voters().len() / 2) as u32;
        }
        quorum as u32
    }

    /// The head of the next record.
    fn head(&mut self, kind: RecordKind, slot: Slot, ballot: Ballot) -> RecordHead {
        self.records += 1;
        RecordHead { kind, group: self.config.group, slot, ballot, chosen: self.chosen, number: self.records }
    }

    /// A leader was heard in `ballot`.
    fn note_leader(&mut self, ballot: Ballot, now: Mono) {
        self.round_seen = self.round_seen.max(ballot.round());
        self.leader_live = true;
        if self.leader != Some(ballot) {
            if self.leader.is_some() {
                self.leader_changes += 1;
            }
            self.leader = Some(ballot);
        }
        if ballot.node() != self.config.node {
            self.follow(now);
            self.arm_election(now, false);
        }
    }

    fn step_down(&mut self, now: Mono) {
        if !matches!(self.role, State::Follower) {
            self.follow(now);
            self.arm_election(now, false);
        }
    }

    /// Plays no other part any more. Who led has heard its own clock last.
    fn follow(&mut self, now: Mono) {
        if let State::Leader(leader) = &self.role
            && let Some(clock) = &leader.clock
        {
            Anchor::hear(&mut self.anchor, Anchor::new(leader.ballot, clock.read(now), now));
        }
        self.role = State::Follower;
    }

    fn next_random(&mut self) -> u64 {
        // xorshift64*: jitter needs no better.
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }
}

/// The part of [`Beat`] handling that belongs to no single role.
impl<P: Payload> Paxos<P> {
    fn on_beat(&mut self, from: NodeId, beat: Beat, now: Now, out: &mut Vec<Effect<P>>) {
        if self.bit_of(from).is_none() || beat.ballot.node() != from || from == self.config.node {
            return;
        }
        if beat.ballot < self.promised {
            self.nack(from, beat.ballot, out);
            return;
        }
        if self.stands_after(beat.ballot) {
            return;
        }
        self.note_leader(beat.ballot, now.mono);
        self.acceptor_on_beat(from, beat, now, out);
        self.on_watermark(beat.ballot, beat.chosen);
        self.pull_if_behind(from, now, out);
    }
}
