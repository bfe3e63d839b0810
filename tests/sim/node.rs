//! One simulated core: the turn that ships (`synod_replica`) over a disk in memory. The observer listens
//! where the engine has its links and connections.
//!
//! May not: decide anything at random.

use super::client::AttemptId;
use super::observe::Observer;
use super::params::Params;
use super::queue::Instant;
use super::reply_room::ReplyRoom;
use super::rng::Rng;
use super::trace::{CorePlace, Note, append_note};
use crate::check::agreement::ValueDigest;
use crate::check::{Checked, Violation};
use synod_replica::placement::groups_of;
use synod_replica::{Failed, LogEvent, Outlet, Replica, ReplicaOptions};
use synod_shard::{Input, Shard, ShardConfig, Unsent};
use synod_types::{
    Boot, Command, Consistency, CoreId, Event, GroupId, Level, Location, LogPosition, NodeId, Now,
    PeerMessage, RecordHead, RecordKind, Reply, Shared, Space,
};
use synod_wal::mem::{MemDisk, MemImage};
use synod_wal::{Wal, WalOptions};

/// A log that could not make a segment tries again after this many ticks.
const RETRY_TICKS: u64 = 200;
/// A log is asked to mark its tail once in this many ticks.
const MARK_TICKS: u64 = 20;

/// Something that waits for a core's next turn.
#[derive(Debug)]
pub enum Incoming {
    /// A peer's message.
    Peer(NodeId, PeerMessage<Shared>),
    /// The link to a peer broke.
    LinkLost(NodeId),
    /// A forward, or a question to the leader, that could not be sent.
    Unsent(Unsent),
    /// A client's request.
    Request(AttemptId, GroupId, Consistency, Command<Shared>),
    /// An order to transfer the leadership of a group to a peer.
    TransferLeadership(GroupId, NodeId),
    /// The node is told to stop.
    Leave,
    /// Time has passed.
    Tick,
}

/// The output of a turn.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Messages for peers, in order.
    pub messages: Vec<(NodeId, PeerMessage<Shared>)>,
    /// Answers for clients.
    pub replies: Vec<(AttemptId, Reply<Vec<u8>>)>,
}

/// One core while it runs.
pub struct SimCore {
    place: CorePlace,
    replica: Replica<MemDisk, (AttemptId, Instant)>,
    inbox: Vec<Incoming>,
    room: ReplyRoom,
    ticks: u64,
    groups: Vec<GroupId>,
    /// The log's [`Space`] at the last look.
    space: Space,
}

/// Where a core's events go: the observer hears them, and the outbox keeps them for the world.
struct Ears<'a> {
    place: CorePlace,
    observer: &'a mut Observer,
    out: &'a mut Outbox,
    room: &'a mut ReplyRoom,
    /// The first violation, if any.
    heard: Checked,
}

impl Ears<'_> {
    fn hear(&mut self, event: LogEvent<'_>) -> Checked {
        match event {
            LogEvent::Appended { lsn, head, payload } => {
                if head.kind == RecordKind::Accept && payload.get(12).is_some_and(|&commands| commands > 1) {
                    self.observer.coverage.meet("batch of several commands");
                }
                self.observer.on_append(self.place, lsn, (*head, digest_of(payload)))?;
                let digest = digest_of(payload).map_or(0, ValueDigest::raw);
                self.observer.note(append_note(self.place, lsn, head, digest));
            }
            LogEvent::Durable(lsn) => self.observer.on_durable(self.place, lsn)?,
            LogEvent::Read { is_at_hand, is_entry, .. } => {
                let mark = match (is_entry, is_at_hand) {
                    (true, _) => "an entry read for a peer",
                    (false, true) => "read from the log's RAM",
                    (false, false) => "read from disk",
                };
                self.observer.coverage.meet(mark);
            }
            LogEvent::Behind => self.observer.coverage.meet("dropped because the log is behind"),
            LogEvent::ReadFailed(_) => {}
        }
        Ok(())
    }
}

impl Outlet<(AttemptId, Instant)> for Ears<'_> {
    fn send(&mut self, to: NodeId, message: PeerMessage<Shared>) {
        assert!(to != self.place.node, "a node does not send to itself");
        self.out.messages.push((to, message));
    }
    fn reply(&mut self, (attempt, _): (AttemptId, Instant), reply: Reply<&[u8]>) {
        if self.heard.is_ok() {
            self.heard = self.room.answered(self.place, attempt, &reply).inspect_err(super::report::broken);
        }
        self.out.replies.push((attempt, reply.map(<[u8]>::to_vec)));
    }
    fn reserve(&mut self, (attempt, _): &(AttemptId, Instant), bytes: usize) -> bool {
        let has_room = self.room.reserve(*attempt, bytes);
        if !has_room {
            self.observer.coverage.meet("a read waits for its client to read");
        }
        has_room
    }
    fn ask_again(
        &mut self,
        (attempt, _): (AttemptId, Instant),
        consistency: Consistency,
        command: Command<Shared>,
        _: usize,
    ) {
        self.room.ask_again(attempt, consistency, command);
    }
    fn tell(&mut self, event: Event) {
        self.observer.on_event(&event);
    }
    fn watch(&mut self, event: LogEvent<'_>) {
        if self.heard.is_ok() {
            self.heard = self.hear(event).inspect_err(super::report::broken);
        }
    }
}

/// Whether the log of a stopped core holds this block, judged from its disk the way the core would judge it
/// at its start.
///
/// # Errors
/// When the log refuses to open.
pub fn log_holds(
    params: &Params,
    place: CorePlace,
    image: &MemImage,
    position: LogPosition,
) -> Result<bool, Violation> {
    let opened = Wal::open(image.disk(), wal_options(params, place), |_| ());
    let (wal, _) = opened
        .map_err(|error| Violation::new("recovery-refused", format!("{place}: an old copy: {error}")))?;
    let holds = wal.holds(position);
    drop(wal);
    image.crash(0); // drops the operations that opening the log began
    Ok(holds)
}

impl SimCore {
    /// Starts a core on its disk: recovers the log, replays it, begins to serve.
    ///
    /// # Errors
    /// When the log refuses to open, or lost something that was durable.
    pub fn start(
        params: &Params,
        place: CorePlace,
        life: u64,
        image: &MemImage,
        now: Now,
        observer: &mut Observer,
    ) -> Result<Self, Violation> {
        let seed = params.options.seed;
        let mut rng = Rng::named(seed ^ life << 32, &format!("core {place}"));
        let config = shard_config(params, place, life, rng.draw());
        let groups = config.groups.iter().map(|group| group.group).collect();
        let mut shard = Shard::<Shared>::new(config);
        if let Some(canary) = params.options.canary {
            shard.set_canary(canary);
        }
        let (mut written, mut reads, mut marks) = (Vec::new(), 0, 0);
        let options = ReplicaOptions {
            // Buffers count in full, so there is always room for a few.
            backlog_bytes_max: params.limits.log_backlog_bytes_max.max(1 << 20),
            note_bytes: params.limits.note_bytes,
        };
        let read_back = |at: Location| {
            reads += 1;
            image.part(at).ok_or_else(|| std::io::Error::from(std::io::ErrorKind::UnexpectedEof))
        };
        let seen = |head: &RecordHead, payload: &[u8]| match head.kind {
            RecordKind::Mark => marks += 1,
            _ => written.push((*head, digest_of(payload))),
        };
        let opened = Replica::open(image.disk(), wal_options(params, place), options, shard, read_back, seen);
        let (replica, report) = opened.map_err(|error| {
            Violation::new(
                "recovery-refused",
                format!("{place}, life {life}: the log does not open: {error}"),
            )
        })?;
        if let Some(tail) = &report.tail {
            observer.coverage.meet(tail.label.name());
        }
        if marks > 0 {
            observer.coverage.meet("a mark was replayed");
        }
        if reads > 0 {
            observer.coverage.meet("replay reads an old value");
        }
        observer.on_replay(place, life, &written)?;
        let (inbox, room) = (Vec::new(), ReplyRoom::new(params.group_count));
        let mut core = Self { place, replica, inbox, room, ticks: 0, groups, space: Space::Free };
        core.replica.start(now);
        core.observe(life, observer)?;
        Ok(core)
    }

    /// Adds an input for the next turn.
    pub fn take(&mut self, incoming: Incoming) {
        self.inbox.push(incoming);
    }

    /// The clients' attempts that are open here.
    pub fn open_attempts(&self) -> impl Iterator<Item = AttemptId> {
        self.replica.requests.iter().map(|&(attempt, _)| attempt).chain(self.room.waiting())
    }

    /// When the oldest open request came.
    pub fn oldest_request(&self) -> Option<Instant> {
        self.replica.requests.iter().map(|&(_, at)| at).min()
    }

    /// The machine, to look at.
    pub fn shard(&self) -> &Shard<Shared> {
        self.replica.shard()
    }

    /// The last block of the log that is durable together with all blocks before it.
    pub fn position(&self) -> LogPosition {
        self.replica.wal().position()
    }

    /// Whether the log holds this block.
    pub fn holds(&self, position: LogPosition) -> bool {
        self.replica.wal().holds(position)
    }

    /// The groups this core holds.
    pub fn groups(&self) -> &[GroupId] {
        &self.groups
    }

    /// Handles all waiting input, like the engine's loop.
    ///
    /// # Errors
    /// When an invariant does not hold.
    pub fn turn(
        &mut self,
        at: Instant,
        now: Now,
        life: u64,
        observer: &mut Observer,
    ) -> Result<Outbox, Violation> {
        let mut out = Outbox::default();
        let inputs = std::mem::take(&mut self.inbox);
        if inputs.iter().any(|input| !matches!(input, Incoming::Tick)) {
            observer.note(Note::Turn { at: self.place, inputs: inputs.len() as u64, mono: now.mono.0 });
        }
        let mut room = std::mem::take(&mut self.room);
        let mut ears = Ears { place: self.place, observer, out: &mut out, room: &mut room, heard: Ok(()) };
        self.turn_of(inputs, at, now, &mut ears).map_err(|failed| broken(self.place, &failed))?;
        ears.heard?;
        self.room = room;
        for (to, message) in &out.messages {
            observer.on_send(self.place, life, *to, message)?;
        }
        self.observe(life, observer)?;
        Ok(out)
    }

    fn turn_of(
        &mut self,
        inputs: Vec<Incoming>,
        at: Instant,
        now: Now,
        ears: &mut Ears<'_>,
    ) -> Result<(), Failed> {
        self.replica.begin_turn(|| now, ears)?;
        let request =
            |(attempt, group, consistency, command)| Incoming::Request(attempt, group, consistency, command);
        let again: Vec<Incoming> = ears.room.take_waiting().map(request).collect();
        for incoming in again.into_iter().chain(inputs) {
            if ears.heard.is_err() {
                return Ok(());
            }
            self.step_incoming(incoming, at, now, ears)?;
        }
        self.replica.end_turn(now, ears)
    }

    fn step_incoming(
        &mut self,
        incoming: Incoming,
        at: Instant,
        now: Now,
        ears: &mut Ears<'_>,
    ) -> Result<(), Failed> {
        let replica = &mut self.replica;
        let input = match incoming {
            Incoming::Peer(from, message) => return replica.peer_message(from, message, now, ears),
            Incoming::Request(attempt, group, consistency, command) => {
                ears.room.asked(attempt, command.op);
                return replica.request((attempt, at), group, consistency, command, now, ears);
            }
            Incoming::LinkLost(node) => {
                ears.observer.note(Note::LinkLost { at: self.place, peer: node });
                Input::LinkLost { node }
            }
            Incoming::Unsent(message) => Input::Unsent(message),
            Incoming::TransferLeadership(group, target) => Input::TransferLeadership { group, target },
            Incoming::Leave => Input::Leave,
            Incoming::Tick => {
                self.ticks += 1;
                if self.ticks.is_multiple_of(MARK_TICKS) {
                    replica.mark()?;
                }
                if self.ticks.is_multiple_of(RETRY_TICKS) {
                    replica.retry_prepare();
                }
                Input::Tick
            }
        };
        replica.step(input, now, ears)
    }

    fn observe(&mut self, life: u64, observer: &mut Observer) -> Checked {
        let space = self.replica.wal().log_room().space;
        if space != self.space {
            self.space = space;
            observer.coverage.meet(match space {
                Space::Free => "a log has room",
                Space::Low => "a log is running out of room",
                Space::Reserve => "a log is at its reserve",
                Space::Spent => "a log has no room at all",
            });
        }
        let shard = self.replica.shard();
        if self.groups.iter().any(|&group| shard.level(group) > Some(Level::FIRST)) {
            observer.coverage.meet("a level was raised");
        }
        observer.on_shard(self.place, life, shard)
    }
}

fn broken(place: CorePlace, error: &dyn std::error::Error) -> Violation {
    Violation::new("log-failed", format!("{place}: {error}"))
}

/// The digest of a payload; a record without one has none.
fn digest_of(payload: &[u8]) -> Option<ValueDigest> {
    (!payload.is_empty()).then(|| ValueDigest::of(payload))
}

fn shard_config(params: &Params, place: CorePlace, life: u64, seed: u64) -> ShardConfig {
    let nodes: Vec<NodeId> = (1..=params.node_count).map(NodeId::new).collect();
    let first = u16::from(!params.system_group);
    let all = (first..=params.group_count).map(GroupId::new);
    let groups = groups_of(CoreId::new(place.core), params.core_count, all, &nodes, place.node);
    ShardConfig {
        node: place.node,
        core: CoreId::new(place.core),
        groups,
        timing: params.timing,
        cache_bytes: params.limits.cache_bytes,
        pending_bytes_max: params.limits.pending_bytes_max,
        log_backlog_bytes_max: params.limits.log_backlog_bytes_max,
        pipeline_slots: params.limits.pipeline_slots,
        leadership: params.limits.leadership,
        ahead: params.limits.ahead,
        level: params.level(place.node, life),
        // One process: all cores of a node use the same boot.
        boot: Boot { counter: life, random: params.options.seed ^ life << 32 ^ u64::from(place.node.get()) },
        seed,
    }
}

fn wal_options(params: &Params, place: CorePlace) -> WalOptions {
    let mut tag = [0; 32];
    tag[..2].copy_from_slice(&place.node.get().to_le_bytes());
    tag[2..10].copy_from_slice(&params.options.seed.to_le_bytes());
    let mut options = WalOptions::new(CoreId::new(place.core), tag)
        .with_segments(params.limits.segment_bytes, params.limits.block_bytes_max);
    options.writes_in_flight = params.limits.writes_in_flight;
    options.small_writes_in_flight = params.limits.small_writes_in_flight;
    // As in the engine: the caller that appends keeps the bound.
    options.ram_bytes_max = usize::MAX;
    options
}
