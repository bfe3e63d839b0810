//! `synod-shard`: one core as one pure machine — its Paxos groups, their store, client sessions, batching and forwarding.
//!
//! ```text
//!   Request ─┐ route: lead? ── no ─▶ forward to the leader, or wait for one; a GET asks it for a point and reads here
//!            │            └─ read ─▶ lease or ReadIndex ─▶ store lookup ─▶ Reply (or Read, then Reply)
//!            │            └─ write ▶ pending ─ TurnEnd ─▶ one entry ─▶ Paxos ─▶ Append, Send
//!   Durable ─┤ own votes, promises                                      │
//!   Peer ────┘ others' votes ───────────────────────────────▶ chosen ─▶ apply in order ─▶ Reply
//! ```
//!
//! May not: read a clock, draw a random number, touch a file, a socket or a thread. `no_std` is the witness.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod api;
mod apply;
mod ask;
mod balance;
mod group;
mod load;
mod outlet;
mod repair;
mod replicate;
mod request;
mod room;
mod stamps;
mod stats;
#[cfg(test)]
mod tests;

pub use api::{
    AheadLimits, Effect, FollowLoad, GroupStatus, Input, Leadership, ReadFailed, ReadToken, ReplayError,
    Role, ShardConfig, Sink, Timing,
};
pub use stats::{CoreStats, GroupStats, HISTOGRAM_BUCKETS, Histogram, RequestKind};
#[cfg(feature = "canary")]
pub use synod_paxos::Canary;
pub use synod_paxos::FAR_BEHIND_SLOTS;
pub use synod_store::CacheStats;
pub use synod_types::{GroupConfig, Members};

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use ask::Asking;
use balance::Balancing;
use group::Group;
use outlet::{Answer, Out, Outlet};
use repair::Repairs;
use replicate::{Coalesced, Written};
use request::{Forwarded, ReadUse, Taken};
use synod_paxos as paxos;
use synod_store::{Store, StoreConfig};
use synod_types::record::{encode_mark, group_marks};
use synod_types::{
    Ballot, Entry, GroupId, GroupMessage, Level, Location, LogRoom, Lsn, Mono, Now, Op, Payload, PeerMessage,
    RecordHead, RecordKind, Slot, WallMs,
};

/// Steps of giving back what FLUSHALL cleared, per tick: a million keys in two seconds, at half a millisecond a tick where all of
/// them had a copy in the cache.
const BURY_STEPS_PER_TICK: usize = 8;

/// One core.
#[derive(Debug)]
pub struct Shard<P> {
    config: ShardConfig,
    /// Ascending by group id.
    groups: Vec<Group<P>>,
    store: Store,
    /// Scratch for the machines' effects; empty between steps.
    effects: Vec<paxos::Effect<P>>,
    /// The last record number given out.
    lsn: Lsn,
    durable: Lsn,
    /// Records that are not durable yet, in order: numbers `durable + 1 ..= lsn`.
    written: VecDeque<Written>,
    /// Payload bytes in them.
    undurable_bytes: usize,
    /// What the log last said of its room, less what was handed to it since.
    room: LogRoom,
    /// Until when the log waited for nothing but a segment; it cannot have stalled before.
    starved_until: Mono,
    /// Heartbeats and answers gathered for the turn's end, per peer.
    coalesced: Vec<Coalesced>,
    reads: BTreeMap<ReadToken, ReadUse<P>>,
    repairs: Repairs<P>,
    next_token: u64,
    forwards: BTreeMap<u64, Forwarded<P>>,
    next_forward: u64,
    /// Reads that wait for a leader's word, by leader.
    asking: Vec<Asking<P>>,
    /// Not from 1, as with forwards.
    next_question: u64,
    /// Scratch for the answers of a step; empty between steps.
    answers: Vec<Answer>,
    /// Times that a session of this core was gone.
    sessions_lost: u64,
    /// Forwards taken of late, by peer.
    taken: BTreeMap<synod_types::NodeId, Taken>,
    /// The place of the group that the next sweep begins with.
    sweep_from: usize,
    /// Pages of keys read in this turn for requests that waited.
    walks: usize,
    /// Since when it is counted what leaders are asked.
    load_since: Mono,
    balancing: Balancing,
    /// How long this core's log takes of late.
    log_pace: paxos::Pace,
    /// The last reading of the clock: time never goes back.
    last: Mono,
    stats: CoreStats,
    #[cfg(feature = "canary")]
    canary: Option<Canary>,
}

impl<P: Payload> Shard<P> {
    /// A core with empty groups; call [`Shard::replay`] for every record of its log, in order, then [`Shard::start`].
    ///
    /// # Panics
    /// When a group is named twice or this node is not its member.
    pub fn new(mut config: ShardConfig) -> Self {
        config.groups.sort_by_key(|group| group.group);
        let store = Store::new(StoreConfig {
            groups: config.groups.iter().map(|group| group.group).collect(),
            cache_bytes: config.cache_bytes,
            hash_seed: config.seed,
        });
        let mut groups: Vec<Group<P>> = Vec::with_capacity(config.groups.len());
        for group in &config.groups {
            assert!(groups.last().is_none_or(|last| last.id < group.group), "a group is named twice");
            assert!(group.node == config.node, "a group configured for another node");
            let seed = config.seed ^ (u64::from(group.group.get()) << 32) ^ u64::from(config.node.get());
            groups.push(Group::new(group.clone(), config.timing, config.ahead, config.level, seed));
        }
        let forward_base = config.seed >> 1;
        Self {
            config,
            groups,
            store,
            effects: Vec::new(),
            lsn: Lsn::ZERO,
            durable: Lsn::ZERO,
            written: VecDeque::new(),
            undurable_bytes: 0,
            room: LogRoom::FREE,
            starved_until: Mono::ZERO,
            coalesced: Vec::new(),
            reads: BTreeMap::new(),
            repairs: Repairs::default(),
            next_token: 0,
            forwards: BTreeMap::new(),
            // Not from 1: a late answer to a former life of this core must fit no request of this one.
            next_forward: forward_base,
            asking: Vec::new(),
            next_question: forward_base,
            answers: Vec::new(),
            sessions_lost: 0,
            taken: BTreeMap::new(),
            sweep_from: 0,
            walks: 0,
            load_since: Mono::ZERO,
            balancing: Balancing::default(),
            log_pace: paxos::Pace::default(),
            last: Mono::ZERO,
            stats: CoreStats::default(),
            #[cfg(feature = "canary")]
            canary: None,
        }
    }

    /// Plants a known bug in every group (tests only).
    #[cfg(feature = "canary")]
    pub fn set_canary(&mut self, canary: Canary) {
        self.canary = Some(canary);
        match canary {
            Canary::ForwardTwice | Canary::StampsForgotten => self.store.set_flaw(synod_store::Flaw::Forgets),
            Canary::AnyBootOpens => self.store.set_flaw(synod_store::Flaw::AnyBootOpens),
            _ => {}
        }
        for group in &mut self.groups {
            group.paxos.set_canary(canary);
        }
    }

    /// The known bug that was planted, if one was (tests only).
    #[cfg(feature = "canary")]
    pub fn canary(&self) -> Option<Canary> {
        self.canary
    }

    /// Takes one record of the log back, in log order. Pushes nothing but `Effect::Read`, which is to be answered by
    /// [`Shard::step`] with `Input::ReadDone` before the next call.
    ///
    /// # Errors
    /// [`ReplayError`] when the log is not the whole of what this core wrote: the core must not start.
    pub fn replay(
        &mut self,
        head: RecordHead,
        payload: P,
        payload_at: Location,
        out: &mut impl Sink<P>,
    ) -> Result<(), ReplayError> {
        let out = &mut Outlet::new(out, Vec::new());
        if head.kind == RecordKind::Mark {
            for mark in group_marks(payload.as_ref()).ok_or(ReplayError::Malformed)? {
                let index = self.place_in_log(mark.group, mark.number, 0)?;
                self.groups[index].paxos.replay_mark(&mark);
                self.replayed(index, out);
            }
            return Ok(());
        }
        let index = self.place_in_log(head.group, head.number, 1)?;
        if let Some(found) = level_raised(payload.as_ref()).filter(|&level| level > self.config.level) {
            return Err(ReplayError::Level { group: head.group, found, known: self.config.level });
        }
        self.groups[index].paxos.replay(head, payload, payload_at);
        self.replayed(index, out);
        Ok(())
    }

    /// The group whose next record (`ahead` 1), or last one (0), has this number.
    fn place_in_log(&self, group: GroupId, number: u64, ahead: u64) -> Result<usize, ReplayError> {
        let index = self.index_of(group).ok_or(ReplayError::Alien { group })?;
        let wanted = self.groups[index].paxos.mark().number + ahead;
        if number == wanted { Ok(index) } else { Err(ReplayError::Missing { group, wanted, found: number }) }
    }

    fn replayed(&mut self, index: usize, out: &mut impl Out<P>) {
        self.apply_ready(index, Now::default(), out);
        // All at once, nobody waits: memory must not come to hold every key that the log ever let expire.
        let mut budget = usize::MAX;
        self.store.expire(self.groups[index].id, &mut budget);
        // Nobody waits yet, and a log of many FLUSHALLs must not need the memory of all of them.
        self.store.bury(usize::MAX);
    }

    /// A record for the log that says of every group how many it has written, and what it knows as chosen ([`RecordKind::Mark`]).
    pub fn mark(&self) -> Vec<u8> {
        encode_mark(self.groups.iter().map(|group| group.paxos.mark()))
    }

    /// Ends replay: elections may begin, after one silent lease (rule P-07).
    pub fn start(&mut self, now: Now) {
        self.last = now.mono;
        self.start_counting(now.mono);
        for group in &mut self.groups {
            assert!(group.parked.is_none(), "a read of the replay was not answered");
            group.paxos.start(now);
        }
    }

    /// Lets one thing happen. Every effect pushed is to be executed before the next step.
    ///
    /// # Panics
    /// When time went back or the caller broke the contract of an input; when the log returns other bytes than were written
    /// for a value that apply needs.
    pub fn step(&mut self, input: Input<P>, now: Now, out: &mut impl Sink<P>) {
        assert!(now.mono >= self.last, "time went back");
        self.last = now.mono;
        let mut out = Outlet::new(out, core::mem::take(&mut self.answers));
        self.take_input(input, now, &mut out);
        // To see to them may lead to more of them.
        while !out.answers.is_empty() {
            let mut answers = core::mem::take(&mut out.answers);
            for answer in answers.drain(..) {
                self.on_answer(answer, now, &mut out);
            }
            if out.answers.is_empty() {
                out.answers = answers;
            }
        }
        self.answers = out.answers;
    }

    fn take_input(&mut self, input: Input<P>, now: Now, out: &mut impl Out<P>) {
        match input {
            Input::Request { id, group, consistency, command } => {
                self.on_request(id, group, consistency, command, now, out);
            }
            Input::Peer { from, message } => self.on_peer(from, message, now, out),
            Input::Appended { lsn, payload_at } => self.on_appended(lsn, payload_at, now, out),
            Input::Durable { lsn } => self.on_durable(lsn, now, out),
            Input::ReadDone { token, result } => self.on_read_done(token, result, now, out),
            Input::LinkLost { node } => self.on_link_lost(node, now, out),
            Input::Unsent { forward } => self.on_unsent(forward, now, out),
            Input::Room { room } => self.on_room(room, now.mono),
            Input::HandOver { group, heir } => {
                if let Some(index) = self.index_of(group) {
                    self.drive(index, paxos::Input::HandOver { heir }, now, out);
                }
            }
            Input::Tick => self.on_tick(now, out),
            Input::TurnEnd => self.on_turn_end(now, out),
        }
    }

    fn on_peer(
        &mut self,
        from: synod_types::NodeId,
        message: PeerMessage<P>,
        now: Now,
        out: &mut impl Out<P>,
    ) {
        match message {
            PeerMessage::Group { group, message } => {
                if let Some(index) = self.index_of(group) {
                    if let GroupMessage::Learn { entries, .. } = &message {
                        self.repair_with(index, entries, now, out);
                    }
                    self.drive(index, paxos::Input::Message { from, message }, now, out);
                }
            }
            PeerMessage::Beats(beats) => {
                for beat in beats {
                    if let Some(index) = self.index_of(beat.group) {
                        self.drive(index, paxos::Input::Beat { from, beat }, now, out);
                    }
                }
            }
            PeerMessage::BeatReplies(replies) => {
                for reply in replies {
                    if let Some(index) = self.index_of(reply.group) {
                        self.drive(index, paxos::Input::BeatReply { from, reply }, now, out);
                    }
                }
            }
            PeerMessage::Forward { id, group, consistency, command } => {
                self.on_forward(from, id, group, consistency, command, now, out);
            }
            PeerMessage::ForwardReply { id, reply } => self.on_forward_reply(from, id, reply, now, out),
            PeerMessage::ReadIndex { id, groups } => self.on_read_index(from, id, &groups, now, out),
            PeerMessage::ReadIndexReply { id, points } => {
                self.on_read_index_reply(from, id, points, now, out);
            }
            // Of logs the shell keeps account.
            PeerMessage::Position(_) => {}
        }
    }

    fn on_tick(&mut self, now: Now, out: &mut impl Out<P>) {
        let stalled = self.log_stalled(now.mono);
        // First: the better what has expired is sorted out, the better is known whether time must move on.
        self.sweep();
        self.walks = 0;
        for index in 0..self.groups.len() {
            self.drive(index, paxos::Input::Tick { stalled }, now, out);
            self.mind_room(index, now, out);
            self.keep_time(index, now, out);
            self.raise_level(index, now, out);
            self.retry_waiting(index, now, out);
            self.mind_session(index, true, now, out);
            self.expire_lagging(index, now, out);
        }
        self.expire_forwards(now, out);
        self.expire_asks(now, out);
        self.repair_tick(now, out);
        self.follow_load(now, out);
        self.balance(now, out);
        self.store.bury(BURY_STEPS_PER_TICK);
    }

    fn on_turn_end(&mut self, now: Now, out: &mut impl Out<P>) {
        self.walks = 0;
        for index in 0..self.groups.len() {
            self.mind_session(index, false, now, out);
            self.propose_pending(index, now, out);
            let group = &mut self.groups[index];
            group.paxos.hand_over_if_drained(now, &mut self.effects);
            group.paxos.beat_if_wanted(now, &mut self.effects);
            self.flush_effects(index, now, out);
        }
        self.flush_asks(now, out);
        self.flush_coalesced(out);
    }

    // ---- what the shell and the checkers ask -------------------------------------------------------------------------

    /// Every group, ascending.
    pub fn status(&self) -> impl Iterator<Item = GroupStatus> {
        self.groups.iter().map(|group| GroupStatus {
            group: group.id,
            role: group.paxos.role(),
            leader: group.paxos.leader_hint(),
            serving: group.paxos.serving(),
            promised: group.paxos.promised(),
            chosen: group.paxos.chosen(),
            applied: group.paxos.applied_slot(),
            applied_ts: self.store.applied_ts(group.id),
            clock_skew_ms: group.paxos.clock_skew_ms(),
            keys: self.store.keys(group.id),
            leader_changes: group.paxos.leader_changes(),
        })
    }

    /// Whether this replica leads the group and may serve it at this moment.
    pub fn serves(&self, group: GroupId) -> bool {
        self.index_of(group).is_some_and(|index| self.groups[index].paxos.serving())
    }

    /// The ballot of the leader that a write of the group would go to now; none if nobody is known, or the group lives on another core.
    pub fn leader_of(&self, group: GroupId) -> Option<Ballot> {
        self.groups[self.index_of(group)?].paxos.leader_ballot()
    }

    /// What all members of a group read, as its log says; nothing of a group that lives elsewhere.
    pub fn level(&self, group: GroupId) -> Option<Level> {
        self.index_of(group).map(|_| self.store.level(group))
    }

    /// What every group has counted, in the order of [`Shard::status`].
    pub fn group_stats(&self) -> impl Iterator<Item = &GroupStats> {
        self.groups.iter().map(|group| &group.stats)
    }

    /// What the core has counted.
    pub fn core_stats(&self) -> &CoreStats {
        &self.stats
    }

    /// Whether a command for the group would find a leader now, in the order of [`Shard::status`]: this replica, serving and
    /// heard by a quorum, or another one.
    pub fn ready(&self, now: Mono) -> impl Iterator<Item = bool> {
        self.groups.iter().map(move |group| match group.paxos.leading() {
            Some(_) => group.paxos.serving() && group.paxos.lease_valid(now),
            None => group.paxos.role() == Role::Follower && group.paxos.leader_hint().is_some(),
        })
    }

    /// How the slab cache does.
    pub fn cache_stats(&self) -> CacheStats {
        self.store.cache_stats()
    }

    /// Records appended that are not durable.
    pub fn undurable(&self) -> usize {
        self.written.len()
    }

    /// The group's applied slot and a digest of its replicated state, equal on all replicas at the same slot.
    pub fn digest(&self, group: GroupId) -> Option<(Slot, u64)> {
        let index = self.index_of(group)?;
        // A slot that is applied in part has changed the store already.
        if self.groups[index].parked.is_some() {
            return None;
        }
        Some((self.groups[index].paxos.applied_slot(), self.store.digest(group)))
    }

    /// The entry of a chosen slot while it is in memory (checkers only).
    pub fn chosen_payload(&self, group: GroupId, slot: Slot) -> Option<&P> {
        self.groups[self.index_of(group)?].paxos.chosen_payload(slot)
    }

    /// Whether the group serves under an unexpired lease at `now` (checkers only).
    pub fn holds_lease(&self, group: GroupId, now: Mono) -> bool {
        self.index_of(group).is_some_and(|index| self.groups[index].paxos.lease_valid(now))
    }

    /// What the group's clock says, where this replica serves under an unexpired lease at `now` (checkers only).
    pub fn clock(&self, group: GroupId, now: Mono) -> Option<WallMs> {
        let paxos = &self.groups[self.index_of(group)?].paxos;
        paxos.leader_clock(now).filter(|_| paxos.serving() && paxos.lease_valid(now))
    }

    /// Checks every invariant that holds between steps.
    ///
    /// # Panics
    /// When one does not.
    pub fn invariants(&self) {
        assert!(self.effects.is_empty(), "effects were left behind");
        assert!(self.answers.is_empty(), "answers were left behind");
        assert!(self.durable <= self.lsn);
        assert!(self.written.len() as u64 == self.lsn.get() - self.durable.get(), "a record was lost");
        let bytes: usize = self.written.iter().map(Written::bytes).sum();
        assert!(bytes == self.undurable_bytes, "bytes under way are miscounted");
        for group in &self.groups {
            group.invariants();
        }
        self.store.invariants();
    }

    fn index_of(&self, group: GroupId) -> Option<usize> {
        self.groups.binary_search_by_key(&group, |group| group.id).ok()
    }
}

/// The level that an entry raises its group to. Such an entry is short and has no other command.
fn level_raised(entry: &[u8]) -> Option<Level> {
    if entry.len() > 256 {
        return None;
    }
    let entry = Entry::check(entry).ok()?;
    match entry.commands().next()?.op {
        Op::RaiseLevel(level) => Some(level),
        _ => None,
    }
}
