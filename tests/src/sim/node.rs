//! The runtime of one simulated core: the twin of the engine's shell. It turns effects into log records, messages, answers and
//! reads, exactly as the contract of `synod_shard` asks, and shows everything to the observer.
//!
//! ```text
//!   turn:  disk completions ─▶ Durable ─▶ `then` messages ┐
//!          inbox ─▶ step each ─▶ effects executed in order ├─▶ outbox (the network and the clients are the world's business)
//!          TurnEnd ─▶ effects ─▶ wal.submit                ┘
//! ```
//!
//! May not: decide anything by chance except what the shell may decide freely.

use super::client::AttemptId;
use super::observe::Observer;
use super::params::Params;
use super::queue::Instant;
use super::rng::Rng;
use super::trace::{Note, Place, append_note};
use crate::check::agreement::ValueDigest;
use crate::check::{Checked, Violation};
use std::collections::{BTreeMap, VecDeque};
use synod_shard::{Canary, Effect, Input, ReadFailed, ReadToken, Shard, ShardConfig};
use synod_types::record::RECORD_HEAD_BYTES;
use synod_types::{
    Boot, Command, Consistency, CoreId, GroupConfig, GroupId, Level, Location, LogPosition, LogRoom, Lsn,
    Members, NodeId, Now, PeerMessage, RecordHead, RecordKind, Reply, RequestId, SegmentId, Shared, Space,
};
use synod_wal::mem::{MemDisk, MemImage};
use synod_wal::{Wal, WalOptions};

/// Bytes the log must have room for before a turn takes new inputs: more than one turn can append.
const ROOM_BYTES: usize = 12 << 20;
/// Buffers the log may hold.
const LOG_RAM_BYTES: usize = 48 << 20;
/// A log that could not make a segment tries again every so many ticks.
const RETRY_TICKS: u64 = 200;
/// A log is asked to mark its tail every so many ticks.
const MARK_TICKS: u64 = 20;

/// Something that waits for a core's next turn.
#[derive(Debug)]
pub enum Incoming {
    /// A peer's message.
    Peer(NodeId, PeerMessage<Shared>),
    /// The link to a peer broke.
    LinkLost(NodeId),
    /// A forward did not leave.
    Unsent(u64),
    /// A client's request.
    Request(AttemptId, GroupId, Consistency, Command<Shared>),
    /// A group is to be led by a peer.
    HandOver(GroupId, NodeId),
    /// Time passed.
    Tick,
}

/// What a turn gives the world.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Messages for peers, in order.
    pub messages: Vec<(NodeId, PeerMessage<Shared>)>,
    /// Answers for clients.
    pub replies: Vec<(AttemptId, Reply<Vec<u8>>)>,
}

/// Messages that must not leave before their record is durable.
type Then = Vec<(NodeId, PeerMessage<Shared>)>;

/// One core while it runs.
pub struct Core {
    place: Place,
    shard: Shard<Shared>,
    wal: Wal<MemDisk>,
    /// What the shard knows of the log's room.
    room: LogRoom,
    inbox: Vec<Incoming>,
    /// Messages that wait for their record.
    then: VecDeque<(Lsn, Then)>,
    requests: BTreeMap<RequestId, (AttemptId, Instant)>,
    next_request: u64,
    ticks: u64,
    rng: Rng,
    groups: Vec<GroupId>,
    /// After so many bytes the log is to say how many records each group has written.
    note_bytes: u64,
    /// A planted bug that is the core's and not the machines'.
    canary: Option<Canary>,
}

/// An effect, owned: what `Effect` is once the push is over.
enum Todo {
    Append { lsn: Lsn, head: RecordHead, payload: Option<Shared>, then: Vec<(NodeId, PeerMessage<Shared>)> },
    Send(NodeId, PeerMessage<Shared>),
    Reply(RequestId, Reply<Vec<u8>>),
    Read(ReadToken, Location),
    ReadEntry(ReadToken, Location),
}

impl Todo {
    fn of(effect: Effect<'_, Shared>) -> Self {
        match effect {
            Effect::Append { lsn, head, payload, then } => Self::Append { lsn, head, payload, then },
            Effect::Send { to, message } => Self::Send(to, message),
            Effect::Reply { to, reply } => Self::Reply(to, reply.map(<[u8]>::to_vec)),
            Effect::Read { token, location } => Self::Read(token, location),
            Effect::ReadEntry { token, location } => Self::ReadEntry(token, location),
        }
    }
}

/// Whether the log on the disk of a core that does not run holds this block, as the core would find when it starts.
///
/// # Errors
/// When the log refuses to open.
pub fn log_holds(
    params: &Params,
    place: Place,
    image: &MemImage,
    position: LogPosition,
) -> Result<bool, Violation> {
    let opened = Wal::open(image.disk(), wal_options(params, place), |_| ());
    let (wal, _) = opened
        .map_err(|error| Violation::new("recovery-refused", format!("{place}: an old copy: {error}")))?;
    let holds = wal.holds(position);
    drop(wal);
    image.crash(0); // what it had begun
    Ok(holds)
}

impl Core {
    /// Starts a core on its disk: recovers the log, replays it, begins to serve.
    ///
    /// # Errors
    /// When the log refuses to open, or lost something that was durable.
    pub fn start(
        params: &Params,
        place: Place,
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
        let mut records: BTreeMap<(SegmentId, u32), Vec<u8>> = BTreeMap::new();
        let opened = Wal::open(image.disk(), wal_options(params, place), |record| {
            let at = record.location;
            records.insert((at.segment, at.offset), record.bytes.to_vec());
        });
        let (wal, report) = opened.map_err(|error| {
            Violation::new(
                "recovery-refused",
                format!("{place}, life {life}: the log does not open: {error}"),
            )
        })?;
        if let Some(tail) = &report.tail {
            observer.coverage.meet(tail.label.name());
        }
        let mut written = Vec::with_capacity(records.len());
        for (&(segment, offset), bytes) in &records {
            let Some((head, payload)) = RecordHead::decode(bytes) else {
                return Err(Violation::new("recovery-refused", format!("{place}: a record has no head")));
            };
            if head.kind == RecordKind::Mark {
                observer.coverage.meet("a mark was replayed");
            } else {
                written.push((head, digest_of(payload)));
            }
            let at = Location { segment, offset, len: bytes.len() as u32 };
            let payload_at = at.part(RECORD_HEAD_BYTES as u32, payload.len() as u32);
            let payload = Shared::new(payload.to_vec());
            if replay_one(&mut shard, head, payload, payload_at, &records) {
                observer.coverage.meet("replay reads an old value");
            }
        }
        observer.on_replay(place, life, &written)?;
        shard.start(now);
        let requests = BTreeMap::new();
        let mut core = Self {
            place,
            shard,
            wal,
            room: LogRoom::FREE,
            inbox: Vec::new(),
            then: VecDeque::new(),
            requests,
            next_request: 0,
            ticks: 0,
            rng,
            groups,
            note_bytes: params.limits.note_bytes,
            canary: params.options.canary,
        };
        core.observe(life, observer)?;
        Ok(core)
    }

    /// Something for the next turn.
    pub fn take(&mut self, incoming: Incoming) {
        self.inbox.push(incoming);
    }

    /// The clients' attempts that are open here.
    pub fn open_attempts(&self) -> impl Iterator<Item = AttemptId> {
        self.requests.values().map(|&(attempt, _)| attempt)
    }

    /// When the oldest open request came.
    pub fn oldest_request(&self) -> Option<Instant> {
        self.requests.values().map(|&(_, at)| at).min()
    }

    /// The machine, to look at.
    pub fn shard(&self) -> &Shard<Shared> {
        &self.shard
    }

    /// The last block of the log that is durable with all before it.
    pub fn position(&self) -> LogPosition {
        self.wal.position()
    }

    /// Whether the log holds this block.
    pub fn holds(&self, position: LogPosition) -> bool {
        self.wal.holds(position)
    }

    /// The groups this core holds.
    pub fn groups(&self) -> &[GroupId] {
        &self.groups
    }

    /// Takes what waits, as the engine's loop does.
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
        let inputs =
            if self.wal.room_bytes() >= ROOM_BYTES { std::mem::take(&mut self.inbox) } else { Vec::new() };
        if inputs.iter().any(|input| !matches!(input, Incoming::Tick)) {
            observer.note(Note::Turn { at: self.place, inputs: inputs.len() as u64, mono: now.mono.0 });
        }
        self.take_completions(now, observer, &mut out)?;
        for incoming in inputs {
            self.step_incoming(incoming, at, now, observer, &mut out)?;
        }
        self.step(Input::TurnEnd, now, observer, &mut out)?;
        self.finish_reads(now, observer, &mut out)?;
        if self.wal.unnoted_bytes() >= self.note_bytes {
            // Without room it is tried again at the next turn.
            let _is_taken = self.wal.note(&self.shard.mark()).is_ok();
        }
        self.wal.submit().map_err(|error| self.broken(&error))?;
        for (to, message) in &out.messages {
            observer.on_send(self.place, life, *to, message)?;
        }
        self.observe(life, observer)?;
        Ok(out)
    }

    fn step_incoming(
        &mut self,
        incoming: Incoming,
        at: Instant,
        now: Now,
        observer: &mut Observer,
        out: &mut Outbox,
    ) -> Checked {
        let input = match incoming {
            Incoming::Peer(from, message) => Input::Peer { from, message },
            Incoming::LinkLost(node) => {
                observer.note(Note::LinkLost { at: self.place, peer: node });
                Input::LinkLost { node }
            }
            Incoming::Unsent(forward) => Input::Unsent { forward },
            Incoming::HandOver(group, heir) => Input::HandOver { group, heir },
            Incoming::Request(attempt, group, consistency, command) => {
                self.next_request += 1;
                let id = RequestId::new(self.next_request);
                self.requests.insert(id, (attempt, at));
                Input::Request { id, group, consistency, command }
            }
            Incoming::Tick => {
                self.ticks += 1;
                if self.ticks.is_multiple_of(MARK_TICKS) {
                    self.wal.mark(|| self.shard.mark()).map_err(|error| self.broken(&error))?;
                }
                if self.ticks.is_multiple_of(RETRY_TICKS) {
                    self.wal.retry_prepare();
                }
                Input::Tick
            }
        };
        self.step(input, now, observer, out)?;
        self.finish_reads(now, observer, out)
    }

    fn take_completions(&mut self, now: Now, observer: &mut Observer, out: &mut Outbox) -> Checked {
        let durable = self.wal.poll().map_err(|error| self.broken(&error))?;
        if let Some(lsn) = durable {
            observer.on_durable(self.place, lsn)?;
            // The shell may tell the machine before or after it sends what waited.
            let tell_first = self.rng.coin();
            if tell_first {
                self.step(Input::Durable { lsn }, now, observer, out)?;
            }
            while let Some((_, messages)) = self.then.pop_front_if(|(at, _)| *at <= lsn) {
                out.messages.extend(messages);
            }
            if !tell_first {
                self.step(Input::Durable { lsn }, now, observer, out)?;
            }
        }
        self.finish_reads(now, observer, out)
    }

    fn finish_reads(&mut self, now: Now, observer: &mut Observer, out: &mut Outbox) -> Checked {
        while let Some((token, result)) = self.wal.take_read() {
            let result = result.map(Shared::new).map_err(|_| ReadFailed);
            self.step(Input::ReadDone { token: ReadToken(token), result }, now, observer, out)?;
        }
        Ok(())
    }

    /// One step, then all its effects, then the places of its records.
    fn step(&mut self, input: Input<Shared>, now: Now, observer: &mut Observer, out: &mut Outbox) -> Checked {
        let mut inputs = VecDeque::from([input]);
        let room = self.wal.log_room();
        if room != self.room {
            observer.coverage.meet(match room.space {
                Space::Free => "a log has room",
                Space::Low => "a log is running out of room",
                Space::Reserve => "a log is at its reserve",
                Space::Spent => "a log has no room at all",
            });
            self.room = room;
            inputs.push_front(Input::Room { room });
        }
        while let Some(input) = inputs.pop_front() {
            let mut todo = Vec::new();
            self.shard.step(input, now, &mut |effect: Effect<'_, Shared>| todo.push(Todo::of(effect)));
            for effect in todo {
                if let Some(input) = self.execute(effect, observer, out)? {
                    inputs.push_back(input);
                }
            }
        }
        Ok(())
    }

    fn execute(
        &mut self,
        effect: Todo,
        observer: &mut Observer,
        out: &mut Outbox,
    ) -> Result<Option<Input<Shared>>, Violation> {
        match effect {
            Todo::Append { lsn, head, payload, then } => {
                let bytes = payload.as_ref().map_or(&[][..], AsRef::as_ref);
                let appended =
                    self.wal.append(&[&head.encode(), bytes]).map_err(|error| self.broken(&error))?;
                assert_eq!(appended.lsn, lsn, "machine and log number records alike");
                if head.kind == RecordKind::Accept && bytes.get(12).is_some_and(|&commands| commands > 1) {
                    observer.coverage.meet("batch of several commands");
                }
                observer.on_append(self.place, lsn, (head, digest_of(bytes)))?;
                let digest = digest_of(bytes).map_or(0, ValueDigest::raw);
                observer.note(append_note(self.place, lsn, &head, digest));
                if !then.is_empty() {
                    self.then.push_back((lsn, then));
                }
                let payload_at = appended.location.part(RECORD_HEAD_BYTES as u32, bytes.len() as u32);
                return Ok(Some(Input::Appended { lsn, payload_at }));
            }
            Todo::Send(to, message) => {
                assert!(to != self.place.node, "a node does not send to itself");
                out.messages.push((to, message));
            }
            Todo::Reply(id, reply) => {
                let Some((attempt, _)) = self.requests.remove(&id) else {
                    let detail =
                        format!("{} answers request {id} twice, or never had it: {reply:?}", self.place);
                    return Err(Violation::new("one-answer", detail));
                };
                out.replies.push((attempt, reply));
            }
            Todo::Read(token, location) => {
                let mark = if self.wal.read_ram(location).is_some() {
                    "read from the log's RAM"
                } else {
                    "read from disk"
                };
                observer.coverage.meet(mark);
                self.wal.read(token.0, location);
            }
            Todo::ReadEntry(token, location) => {
                observer.coverage.meet("an entry read for a peer");
                if self.canary == Some(Canary::UncheckedReadBack) {
                    self.wal.read(token.0, location);
                } else {
                    self.wal.read_checked(token.0, location, RECORD_HEAD_BYTES as u32);
                }
            }
        }
        Ok(None)
    }

    fn observe(&mut self, life: u64, observer: &mut Observer) -> Checked {
        if self.groups.iter().any(|&group| self.shard.level(group) > Some(Level::FIRST)) {
            observer.coverage.meet("a level was raised");
        }
        observer.on_shard(self.place, life, &self.shard)
    }

    fn broken(&self, error: &dyn std::error::Error) -> Violation {
        Violation::new("log-failed", format!("{}: {error}", self.place))
    }
}

/// The digest of a payload; a record without one has none.
fn digest_of(payload: &[u8]) -> Option<ValueDigest> {
    (!payload.is_empty()).then(|| ValueDigest::of(payload))
}

/// Replays one record, answering reads from the records before it; says whether there were any.
fn replay_one(
    shard: &mut Shard<Shared>,
    head: RecordHead,
    payload: Shared,
    payload_at: Location,
    records: &BTreeMap<(SegmentId, u32), Vec<u8>>,
) -> bool {
    let mut reads = Vec::new();
    let collect = |reads: &mut Vec<(ReadToken, Location)>, effect: Effect<'_, Shared>| match effect {
        Effect::Read { token, location } | Effect::ReadEntry { token, location } => {
            reads.push((token, location));
        }
        other => panic!("replay asks for nothing but reads: {other:?}"),
    };
    let mut sink = |effect: Effect<'_, Shared>| collect(&mut reads, effect);
    shard.replay(head, payload, payload_at, &mut sink).expect("the whole log");
    let any = !reads.is_empty();
    while let Some((token, location)) = reads.pop() {
        let result = read_record(records, location).ok_or(ReadFailed);
        let input = Input::ReadDone { token, result };
        shard.step(input, Now::default(), &mut |effect: Effect<'_, Shared>| collect(&mut reads, effect));
    }
    any
}

fn read_record(records: &BTreeMap<(SegmentId, u32), Vec<u8>>, location: Location) -> Option<Shared> {
    let Location { segment, offset, len } = location;
    let (&(at_segment, at), bytes) = records.range(..=(segment, offset)).next_back()?;
    let start = (offset - at) as usize;
    let bytes = bytes.get(start..start + len as usize)?;
    (at_segment == segment).then(|| Shared::new(bytes.to_vec()))
}

fn shard_config(params: &Params, place: Place, life: u64, seed: u64) -> ShardConfig {
    let nodes: Vec<NodeId> = (1..=params.node_count).map(NodeId::new).collect();
    let first = u16::from(!params.system_group);
    let groups = (first..=params.group_count)
        .filter(|group| group % params.core_count == place.core)
        .map(|group| GroupConfig {
            group: GroupId::new(group),
            node: place.node,
            members: Members::majority(nodes.clone()),
            preferred: params.preferred(GroupId::new(group)),
            priority_rank: u32::from((place.node.get() + group) % params.node_count),
        })
        .collect();
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
        // One process: all its cores say the same.
        boot: Boot { counter: life, random: params.options.seed ^ life << 32 ^ u64::from(place.node.get()) },
        seed,
    }
}

fn wal_options(params: &Params, place: Place) -> WalOptions {
    let mut tag = [0; 32];
    tag[..2].copy_from_slice(&place.node.get().to_le_bytes());
    tag[2..10].copy_from_slice(&params.options.seed.to_le_bytes());
    let mut options = WalOptions::new(CoreId::new(place.core), tag)
        .with_segments(params.limits.segment_bytes, params.limits.block_bytes_max);
    options.writes_in_flight = params.limits.writes_in_flight;
    options.small_writes_in_flight = params.limits.small_writes_in_flight;
    options.ram_bytes_max = LOG_RAM_BYTES;
    options
}
