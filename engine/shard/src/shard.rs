//! A core: its groups, the state that they share, and [`Shard::step`], the one way in.

use crate::api::{GroupStatus, Input, ReplayError, Role, ShardConfig, Sink};
use crate::common::Common;
use crate::flow::{apply, input, leave, session};
use crate::group::{BlockedApply, Group};
use crate::outlet::{Answer, Outlet};
use crate::stats::{CoreStats, GroupStats};
use crate::step::{Step, index_of};
use alloc::vec::Vec;
#[cfg(feature = "canary")]
use synod_paxos::Canary;
use synod_paxos::{Paxos, PeerView};
use synod_store::CacheStats;
use synod_types::record::{encode_mark, group_marks};
use synod_types::{
    Entry, GroupId, Level, Location, Mono, Nanos, Now, Op, Payload, RecordHead, RecordKind, Slot, WallMs,
};

/// One core.
#[derive(Debug)]
pub struct Shard<P> {
    /// Ascending by group id.
    groups: Vec<Group<P>>,
    common: Common<P>,
    /// Scratch for the answers of a step; empty between steps.
    answers: Vec<Answer>,
    /// The last reading of the clock; time never goes back.
    last: Mono,
}

impl<P: Payload> Shard<P> {
    /// A core with empty groups. Call [`Shard::replay`] for every record of its log, in order, then
    /// [`Shard::start`].
    ///
    /// # Panics
    /// When a group is named twice, or this node is not a member of one.
    pub fn new(mut config: ShardConfig) -> Self {
        config.groups.sort_by_key(|group| group.group);
        let mut groups: Vec<Group<P>> = Vec::with_capacity(config.groups.len());
        for (index, group) in config.groups.iter().enumerate() {
            assert!(groups.last().is_none_or(|last| last.id < group.group), "a group is named twice");
            assert!(group.node == config.node, "a group configured for another node");
            let seed = config.seed ^ (u64::from(group.group.get()) << 32) ^ u64::from(config.node.get());
            let paxos = Paxos::new(group.clone(), config.timing, seed)
                .with_ahead_limits(config.ahead)
                .with_level(config.level);
            groups.push(Group::new(index, group.group, paxos, config.pending_bytes_max));
        }
        Self { groups, common: Common::new(config), answers: Vec::new(), last: Mono::ZERO }
    }

    /// Plants a known bug in every group (tests only).
    #[cfg(feature = "canary")]
    pub fn set_canary(&mut self, canary: Canary) {
        self.common.canary = Some(canary);
        let store = &mut self.common.store;
        match canary {
            Canary::ForwardTwice | Canary::StampsForgotten => store.set_flaw(synod_store::Flaw::Forgets),
            Canary::AnyOrder => store.set_flaw(synod_store::Flaw::AnyOrder),
            Canary::AnyBootOpens => store.set_flaw(synod_store::Flaw::AnyBootOpens),
            _ => {}
        }
        for group in &mut self.groups {
            group.paxos.set_canary(canary);
        }
    }

    /// The known bug that was planted, if one was (tests only).
    #[cfg(feature = "canary")]
    pub fn canary(&self) -> Option<Canary> {
        self.common.canary
    }

    /// Replays one record of the log, in log order. Pushes only `Effect::Read`; the caller answers it through
    /// [`Shard::step`] with `Input::ReadDone` before the next call.
    ///
    /// # Errors
    /// [`ReplayError`] when the log is incomplete, is not this core's, or was continued by a later build: the
    /// core must not start.
    pub fn replay(
        &mut self,
        head: RecordHead,
        payload: P,
        payload_at: Location,
        out: &mut impl Sink<P>,
    ) -> Result<(), ReplayError> {
        debug_assert!(self.last == Mono::ZERO, "a record is replayed after the start");
        if head.kind == RecordKind::Mark {
            for mark in group_marks(payload.as_ref()).ok_or(ReplayError::Malformed)? {
                let index = self.place_in_log(mark.group, mark.number, 0)?;
                self.groups[index].paxos.replay_mark(&mark);
                self.replayed(index, out);
            }
            return Ok(());
        }
        let index = self.place_in_log(head.group, head.number, 1)?;
        let known = self.common.config.level;
        if let Some(found) = level_raised(payload.as_ref()).filter(|&level| level > known) {
            return Err(ReplayError::Level { group: head.group, found, known });
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

    fn replayed(&mut self, index: usize, out: &mut impl Sink<P>) {
        let mut outlet = Outlet::new(out, Vec::new());
        let (groups, common) = (&mut self.groups, &mut self.common);
        let mut step = Step { groups, common, now: Now::default(), out: &mut outlet };
        apply::apply_ready(&mut step.at(index));
        assert!(outlet.answers.is_empty(), "an answer, though no client waits yet");
        // Everything expired is removed at once, since no client waits yet. Otherwise memory would come to
        // hold every key that the log ever let expire.
        let mut budget = usize::MAX;
        self.common.store.expire(self.groups[index].id, &mut budget);
        // Likewise for cleared keys: a log of many FLUSHALLs must not need the memory of all of them.
        self.common.store.bury(usize::MAX);
    }

    /// The payload of a mark ([`RecordKind::Mark`]): for every group the number of its last record, and what
    /// it knows as chosen.
    pub fn mark(&self) -> Vec<u8> {
        encode_mark(self.groups.iter().map(|group| group.paxos.mark()))
    }

    /// Ends replay: elections may begin, after one silent lease (rule P-07).
    pub fn start(&mut self, now: Now) {
        assert!(self.last <= now.mono, "time went back");
        assert!(self.common.journal.undurable() == 0, "replay wrote a record");
        self.last = now.mono;
        self.common.counted_since = now.mono;
        for group in &mut self.groups {
            assert!(group.blocked.is_none(), "a read of the replay was not answered");
            group.paxos.start(now);
        }
    }

    /// Handles one input. The caller executes every effect that was pushed before the next step.
    ///
    /// # Panics
    /// When time goes back or the caller breaks the contract of an input; when a value that apply needs is
    /// damaged in the log and there is no other copy.
    pub fn step(&mut self, input: Input<P>, now: Now, out: &mut impl Sink<P>) {
        assert!(now.mono >= self.last, "time went back");
        self.last = now.mono;
        let mut out = Outlet::new(out, core::mem::take(&mut self.answers));
        let (groups, common) = (&mut self.groups, &mut self.common);
        let mut step = Step { groups, common, now, out: &mut out };
        input::take(&mut step, input);
        // Handling an answer may note further ones.
        while !step.out.answers.is_empty() {
            let mut answers = core::mem::take(&mut step.out.answers);
            for answer in answers.drain(..) {
                session::on_answer(&mut step, answer);
            }
            if step.out.answers.is_empty() {
                step.out.answers = answers;
            }
        }
        self.answers = out.answers;
        debug_assert!(self.common.effects.is_empty(), "effects were left behind");
    }

    // ---- queries of the shell and the checkers ---------------------------------------------------------

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
            applied_ts: self.common.store.applied_ts(group.id),
            clock_skew_ms: group.paxos.clock_skew_ms(),
            keys: self.common.store.keys(group.id),
            expiring: self.common.store.expiring(group.id),
            leader_changes: group.paxos.leader_changes(),
        })
    }

    /// Whether this replica leads the group and may serve it at this moment.
    pub fn serves(&self, group: GroupId) -> bool {
        self.index_of(group).is_some_and(|index| self.groups[index].paxos.serving())
    }

    /// Whether a core that was told to leave leads nothing more, or nothing that anybody could take over.
    pub fn has_left(&self, now: Mono) -> bool {
        let lease = self.common.config.timing.lease;
        let Some(leaving) = self.common.leaving.as_ref().filter(|_| !self.log_stalled(now)) else {
            return false;
        };
        self.groups.iter().all(|group| leave::is_over(group, leaving, lease, now))
    }

    /// The level that all members of a group read, as its log says; none if another core holds the group.
    pub fn level(&self, group: GroupId) -> Option<Level> {
        self.index_of(group).map(|_| self.common.store.level(group))
    }

    /// The statistics of every group, in the order of [`Shard::status`].
    pub fn group_stats(&self) -> impl Iterator<Item = &GroupStats> {
        self.groups.iter().map(|group| &group.stats)
    }

    /// The statistics of the core.
    pub fn core_stats(&self) -> &CoreStats {
        &self.common.stats
    }

    /// Whether a command for the group would find a leader now, in the order of [`Shard::status`]: this
    /// replica, serving and heard by a quorum, or another one.
    pub fn ready(&self, now: Mono) -> impl Iterator<Item = bool> {
        self.groups.iter().map(move |group| match group.paxos.leading() {
            Some(_) => group.paxos.serving() && group.paxos.lease_valid(now),
            None => group.paxos.role() == Role::Follower && group.paxos.leader_hint().is_some(),
        })
    }

    /// The statistics of the slab cache.
    pub fn cache_stats(&self) -> CacheStats {
        self.common.store.cache_stats()
    }

    /// The number of appended records that are not durable yet.
    pub fn undurable(&self) -> usize {
        self.common.journal.undurable()
    }

    /// Whether the log has made no progress for a whole lease (P-09b).
    pub fn log_stalled(&self, now: Mono) -> bool {
        self.common.journal.is_stalled(self.common.config.timing.lease, now)
    }

    /// How long the oldest record has waited to become durable.
    pub fn log_age(&self, now: Mono) -> Nanos {
        self.common.journal.age(now)
    }

    /// How long the oldest read of the log has been under way.
    pub fn read_age(&self, now: Mono) -> Nanos {
        self.common.cold_reads.age(now)
    }

    /// What the leaders of this core believe of each peer: the worst of all groups.
    pub fn peer_views(&self, now: Mono) -> Vec<PeerView> {
        let mut views: Vec<PeerView> = Vec::new();
        for view in self.groups.iter().flat_map(|group| group.paxos.peer_views(now)) {
            match views.iter_mut().find(|known| known.node == view.node) {
                None => views.push(view),
                Some(known) => {
                    known.round_trip = known.round_trip.max(view.round_trip);
                    known.log_age = known.log_age.max(view.log_age);
                }
            }
        }
        views
    }

    /// Whether this core's log has so little room left that it takes nothing new (P-18).
    pub fn log_full(&self) -> bool {
        self.common.journal.is_full()
    }

    /// A group in which a later start of this node, or another process that claims to be it, has opened its
    /// session: this process runs on an old copy of the node's directory and must stop.
    pub fn superseded(&self) -> Option<GroupId> {
        self.groups.iter().find(|group| group.session.is_superseded()).map(|group| group.id)
    }

    /// How often a session of this core was found to be gone (checkers only).
    pub fn sessions_lost(&self) -> u64 {
        self.common.sessions_lost
    }

    /// The group's applied slot and a digest of its replicated state, equal on all replicas at the same slot.
    pub fn digest(&self, group: GroupId) -> Option<(Slot, u64)> {
        let index = self.index_of(group)?;
        // A partly applied slot has already changed the store.
        if self.groups[index].blocked.is_some() {
            return None;
        }
        Some((self.groups[index].paxos.applied_slot(), self.common.store.digest(group)))
    }

    /// The entry of a chosen slot while it is in memory (checkers only).
    pub fn chosen_payload(&self, group: GroupId, slot: Slot) -> Option<&P> {
        self.groups[self.index_of(group)?].paxos.chosen_payload(slot)
    }

    /// Whether the group serves under an unexpired lease at `now` (checkers only).
    pub fn holds_lease(&self, group: GroupId, now: Mono) -> bool {
        self.index_of(group).is_some_and(|index| self.groups[index].paxos.lease_valid(now))
    }

    /// The group's clock, if this replica serves under an unexpired lease at `now` (checkers only).
    pub fn clock(&self, group: GroupId, now: Mono) -> Option<WallMs> {
        let paxos = &self.groups[self.index_of(group)?].paxos;
        paxos.leader_clock(now).filter(|_| paxos.serving() && paxos.lease_valid(now))
    }

    /// Checks every invariant that holds between steps.
    ///
    /// # Panics
    /// When one is violated.
    pub fn invariants(&self) {
        assert!(self.answers.is_empty(), "answers were left behind");
        self.common.invariants();
        assert!(self.groups.is_sorted_by(|one, next| one.id < next.id), "groups are found by search");
        for (index, group) in self.groups.iter().enumerate() {
            assert!(group.index == index, "a group in the place of another");
            let is_read = |token| self.common.cold_reads.is_under_way(token);
            let is_fed = |blocked: BlockedApply| is_read(blocked.token) || self.common.repairs.feeds(index);
            assert!(group.blocked.is_none_or(is_fed), "apply waits for a value that will not come");
            group.invariants();
        }
    }

    fn index_of(&self, group: GroupId) -> Option<usize> {
        index_of(&self.groups, group)
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
