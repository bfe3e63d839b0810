//! A cluster of replicas in memory: the turn that ships, over the log that ships. Messages wait on the wires;
//! writes and reads of the log wait for the disk; a crashed core restarts from what its disk holds. Every
//! answer is checked: each request gets one, never two.
//!
//! The test controls a core's turn piece by piece: [`Lab::disk_some`] and [`Lab::read_done`] begin a turn,
//! [`Lab::step`] and [`Lab::deliver_at`] are its inputs, [`Lab::turn_end`] ends it.

use super::disk::{LabDisk, LabImage, Outcome};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use synod_replica::placement::group_config;
use synod_replica::{Failed, LogEvent, Outlet, Replica, ReplicaOptions};
use synod_shard::{AheadLimits, Input, Leadership, ReadToken, Shard, ShardConfig, Timing, Unsent};
use synod_types::limits::LOG_NOTE_BYTES;
use synod_types::record::RECORD_HEAD_BYTES;
use synod_types::{
    Boot, Command, Condition, Consistency, CoreId, Event, Expiry, GroupConfig, GroupId, GroupMessage, Level,
    Location, LogRoom, Mono, Nanos, NodeId, Now, Op, PeerMessage, RecordHead, Reply, RequestId, SessionStamp,
    Shared, Space, WallMs,
};
use synod_wal::{WRITES_IN_FLIGHT_MAX, Wal, WalOptions};

/// The payload type of the machines.
pub type Bytes = Shared;
/// The answer to a client.
pub type Answer = Reply<Vec<u8>>;
/// Records in the form that replay takes.
pub type Records = Vec<(RecordHead, Bytes, Location)>;

pub const G1: GroupId = GroupId::new(1);
pub const G2: GroupId = GroupId::new(2);
/// Too long for the index: without a cache it is cold as soon as it is written.
pub const LONG: &str = "a value that is too long for the index";

pub fn bytes(text: &str) -> Bytes {
    Bytes::new(text.as_bytes().to_vec())
}
pub fn get(key: &str) -> Command<Bytes> {
    Command::plain(bytes(key), Op::Get)
}
pub fn set(key: &str, value: &str) -> Command<Bytes> {
    set_op(key, value, Expiry::None, false)
}
pub fn set_op(key: &str, value: &str, expiry: Expiry, return_old: bool) -> Command<Bytes> {
    let value_crc = synod_types::checksum::crc32c(value.as_bytes());
    let condition = Condition::Always;
    let op = Op::Set { value_crc, condition, expiry, return_old };
    Command::new(bytes(key), op, bytes(value))
}
pub fn increment(key: &str) -> Command<Bytes> {
    Command::plain(bytes(key), Op::IncrementBy(1))
}
pub fn stamped(mut command: Command<Bytes>, stamp: SessionStamp) -> Command<Bytes> {
    command.stamp = stamp;
    command
}

#[derive(Clone, Debug)]
pub struct Packet {
    pub from: u16,
    pub to: u16,
    pub message: PeerMessage<Bytes>,
}

type Machine = Replica<LabDisk, RequestId>;

/// One core, running or not, and its disk.
struct LabCore {
    replica: Option<Machine>,
    disk: LabImage,
    /// The reads that wait for the disk, by the shard's tokens, in order.
    asked: VecDeque<(ReadToken, Location)>,
    /// Requests of this run that have no answer yet.
    open: BTreeSet<RequestId>,
}

pub struct Lab {
    cores: BTreeMap<u16, LabCore>,
    pub wires: Vec<Packet>,
    pub cut: BTreeSet<(u16, u16)>,
    /// Whether all `TimeoutNow` messages are lost.
    pub loses_timeout_now: bool,
    pub config: Setup,
    time: u64,
    starts: u64,
    next_request: u64,
    /// First answers.
    replies: BTreeMap<RequestId, Answer>,
    /// Disks and reads complete by themselves in [`Lab::settle`] unless the node is named here.
    pub held_disks: BTreeSet<u16>,
    pub held_reads: BTreeSet<u16>,
    /// Nodes whose disks return damaged bytes: reads that are checked against their record fail, all others
    /// return wrong bytes.
    pub rotten: BTreeSet<u16>,
    /// The levels that nodes read from their next start on, where they differ from this build's.
    pub levels: BTreeMap<u16, Level>,
    /// The boots that nodes claim at their next starts, where they are not true.
    pub boots: BTreeMap<u16, Boot>,
    /// How far wall clocks are ahead, milliseconds.
    pub walls_ms: BTreeMap<u16, u64>,
    /// The events that the cores have told, each with its node, in order.
    pub told: Vec<(u16, Event)>,
    /// Whether everything that a core holds is checked after each step. Not where it holds very much.
    pub is_walked: bool,
}

#[derive(Clone, Debug)]
pub struct Setup {
    pub nodes: u16,
    pub groups: u16,
    pub cache_bytes: usize,
    pub pending_bytes_max: usize,
    pub log_backlog_bytes_max: usize,
    pub pipeline_slots: u64,
    pub leadership: Leadership,
    pub ahead: AheadLimits,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            nodes: 3,
            groups: 1,
            cache_bytes: 0,
            pending_bytes_max: 1 << 20,
            log_backlog_bytes_max: 1 << 20,
            pipeline_slots: 4,
            leadership: Leadership::Stay,
            ahead: AheadLimits::default(),
        }
    }
}

/// Takes the outputs of one core.
struct LabOutlet<'a> {
    from: u16,
    wires: &'a mut Vec<Packet>,
    cut: &'a BTreeSet<(u16, u16)>,
    loses_timeout_now: bool,
    replies: &'a mut BTreeMap<RequestId, Answer>,
    open: &'a mut BTreeSet<RequestId>,
    asked: &'a mut VecDeque<(ReadToken, Location)>,
    /// Forwards and questions for which there was no link.
    unsent: VecDeque<Unsent>,
    told: &'a mut Vec<(u16, Event)>,
}

impl Outlet<RequestId> for LabOutlet<'_> {
    fn send(&mut self, to: NodeId, message: PeerMessage<Bytes>) {
        let (from, to) = (self.from, to.get());
        assert_ne!(from, to, "a message to oneself");
        let is_timeout_now =
            |message: &GroupMessage<Bytes>| matches!(message, GroupMessage::TimeoutNow { .. });
        if self.loses_timeout_now
            && matches!(&message, PeerMessage::Group { message, .. } if is_timeout_now(message))
        {
            return;
        }
        if !self.cut.contains(&(from, to)) {
            self.wires.push(Packet { from, to, message });
        } else {
            self.unsent.extend(Unsent::of(&message));
        }
    }
    fn reply(&mut self, to: RequestId, reply: Reply<&[u8]>) {
        let reply = reply.map(<[u8]>::to_vec);
        assert!(self.open.remove(&to), "a second answer to {to}: {reply:?}");
        self.replies.insert(to, reply);
    }
    fn unsent(&mut self) -> Option<Unsent> {
        self.unsent.pop_front()
    }
    fn tell(&mut self, event: Event) {
        self.told.push((self.from, event));
    }
    fn watch(&mut self, event: LogEvent<'_>) {
        if let LogEvent::Read { token, location, is_at_hand: false, .. } = event {
            self.asked.push_back((token, location));
        }
    }
}

const STEP_MS: u64 = 5;
/// Room for the longest record.
const SEGMENT_BYTES: u32 = 4 << 20;
/// One page: the records of one turn are mostly a block, and a write, of their own.
const BLOCK_BYTES_MAX: u32 = 4096;

fn wal_options(id: u16) -> WalOptions {
    let mut options =
        WalOptions::new(CoreId::new(0), [id as u8; 32]).with_segments(SEGMENT_BYTES, BLOCK_BYTES_MAX);
    // Each turn's records get a write of their own for as long as possible: that leaves more writes to hold
    // back and to lose.
    (options.writes_in_flight, options.small_writes_in_flight) = (WRITES_IN_FLIGHT_MAX, WRITES_IN_FLIGHT_MAX);
    options.ram_bytes_max = usize::MAX;
    options
}

impl Lab {
    pub fn new(config: Setup) -> Self {
        let mut lab = Self {
            cores: BTreeMap::new(),
            wires: Vec::new(),
            cut: BTreeSet::new(),
            loses_timeout_now: false,
            time: Nanos::from_ms(1_000).0,
            starts: 0,
            next_request: 0,
            replies: BTreeMap::new(),
            held_disks: BTreeSet::new(),
            held_reads: BTreeSet::new(),
            levels: BTreeMap::new(),
            boots: BTreeMap::new(),
            walls_ms: BTreeMap::new(),
            rotten: BTreeSet::new(),
            told: Vec::new(),
            is_walked: true,
            config,
        };
        for id in 1..=lab.config.nodes {
            let core = LabCore {
                replica: None,
                disk: LabImage::new(id.into()),
                asked: VecDeque::new(),
                open: BTreeSet::new(),
            };
            lab.cores.insert(id, core);
        }
        for id in 1..=lab.config.nodes {
            lab.start(id);
        }
        lab
    }

    /// Three cores whose n1 serves group 1 (and 2) under a lease. The groups have the level of this build.
    pub fn led_by_n1(config: Setup) -> Self {
        let mut lab = Self::new(config);
        lab.elect(1);
        lab.until("the level of this build", |lab| {
            let groups = (1..=lab.config.groups).map(GroupId::new);
            groups
                .flat_map(|group| lab.ids().into_iter().map(move |id| (id, group)))
                .all(|(id, group)| lab.shard(id).level(group) == Some(Level::OWN))
        });
        lab
    }

    fn shard_config(&self, id: u16) -> ShardConfig {
        let voters: Vec<NodeId> = (1..=self.config.nodes).map(NodeId::new).collect();
        let groups = (1..=self.config.groups)
            .map(|group| {
                let config = group_config(GroupId::new(group), 1, &voters, NodeId::new(id));
                // All nodes have the same priority: the test or chance decides which one is elected.
                GroupConfig { priority_rank: 0, ..config }
            })
            .collect();
        ShardConfig {
            node: NodeId::new(id),
            core: CoreId::new(0),
            groups,
            timing: Timing::default(),
            cache_bytes: self.config.cache_bytes,
            pending_bytes_max: self.config.pending_bytes_max,
            log_backlog_bytes_max: self.config.log_backlog_bytes_max,
            pipeline_slots: self.config.pipeline_slots,
            leadership: self.config.leadership,
            ahead: self.config.ahead,
            level: self.levels.get(&id).copied().unwrap_or(Level::OWN),
            boot: self.boots.get(&id).copied().unwrap_or(Boot { counter: self.starts, random: id.into() }),
            // The shell draws a new one at every start.
            seed: self.starts * 7_919 + u64::from(id),
        }
    }

    pub fn now(&self) -> Now {
        Now { mono: Mono(self.time), wall: WallMs(1_700_000_000_000 + self.time / 1_000_000) }
    }
    /// The clocks of one node.
    fn now_at(&self, id: u16) -> Now {
        let Now { mono, wall } = self.now();
        Now { mono, wall: wall.plus_ms(self.walls_ms.get(&id).copied().unwrap_or(0)) }
    }
    pub fn pass_ms(&mut self, ms: u64) {
        self.time += Nanos::from_ms(ms).0;
    }
    pub fn ids(&self) -> Vec<u16> {
        self.cores.keys().copied().collect()
    }
    pub fn shard(&self, id: u16) -> &Shard<Bytes> {
        self.cores[&id].replica.as_ref().expect("a running core").shard()
    }
    pub fn is_up(&self, id: u16) -> bool {
        self.cores[&id].replica.is_some()
    }
    fn core(&mut self, id: u16) -> &mut LabCore {
        self.cores.get_mut(&id).expect("a node of the cluster")
    }

    // ---- steps --------------------------------------------------------------------------------------------

    /// Runs a step of a core, if it runs.
    fn with(
        &mut self,
        id: u16,
        work: impl FnOnce(&mut Machine, Now, &mut LabOutlet<'_>) -> Result<(), Failed>,
    ) {
        let now = self.now_at(id);
        let Self { cores, wires, cut, replies, loses_timeout_now, is_walked, told, .. } = self;
        let LabCore { replica, asked, open, .. } = cores.get_mut(&id).expect("a node of the cluster");
        let Some(replica) = replica else { return };
        let loses_timeout_now = *loses_timeout_now;
        let unsent = VecDeque::new();
        let mut outlet =
            LabOutlet { from: id, wires, cut, loses_timeout_now, replies, open, asked, unsent, told };
        work(replica, now, &mut outlet).expect("no write fails here");
        assert!(outlet.unsent.is_empty(), "what was not sent comes back at once");
        if *is_walked {
            replica.shard().invariants();
        }
    }

    pub fn step(&mut self, id: u16, input: Input<Bytes>) {
        self.with(id, |replica, now, out| replica.step(input, now, out));
    }

    pub fn request(&mut self, id: u16, command: Command<Bytes>) -> RequestId {
        self.request_as(id, G1, Consistency::Linearizable, command)
    }
    pub fn request_as(
        &mut self,
        id: u16,
        group: GroupId,
        consistency: Consistency,
        command: Command<Bytes>,
    ) -> RequestId {
        self.next_request += 1;
        let request = RequestId::new(self.next_request);
        self.core(id).open.insert(request);
        self.with(id, |replica, now, out| replica.request(request, group, consistency, command, now, out));
        request
    }
    /// Sends a request and lets everything settle.
    pub fn ask(&mut self, id: u16, command: Command<Bytes>) -> Answer {
        let request = self.request(id, command);
        self.settle();
        self.replies.get(&request).cloned().unwrap_or_else(|| panic!("{request} has no answer"))
    }
    pub fn reply(&self, request: RequestId) -> Option<&Answer> {
        self.replies.get(&request)
    }
    /// The log reports its room.
    pub fn room(&mut self, id: u16, space: Space, is_starved: bool) {
        let free_bytes = if space == Space::Free { u64::MAX } else { 0 };
        self.step(id, Input::Room { room: LogRoom { space, free_bytes, is_starved } });
    }
    /// A core's turn ends: gathered writes are proposed, and appended records are handed to the disk.
    pub fn turn_end(&mut self, id: u16) {
        self.with(id, |replica, now, out| replica.end_turn(now, out));
    }
    pub fn tick(&mut self, id: u16) {
        self.step(id, Input::Tick);
    }

    // ---- disk ---------------------------------------------------------------------------------------------

    /// The disk completes all its work, this turn's records included.
    pub fn disk(&mut self, id: u16) {
        self.turn_end(id);
        self.disk_some(id, usize::MAX);
    }

    /// The disk ends `count` writes, the oldest first, and the core's turn begins. A write holds the records
    /// of a turn; records that were not handed over at a turn's end are not under way.
    pub fn disk_some(&mut self, id: u16, count: usize) {
        self.cores[&id].disk.end_writes(count);
        self.turn_begin(id);
    }

    fn turn_begin(&mut self, id: u16) {
        self.cores[&id].disk.make_segments();
        self.with(id, |replica, now, out| replica.begin_turn(|| now, out));
    }

    /// Reads of the log that wait for the disk. Records that the disk does not have yet are read from memory
    /// and wait for nothing.
    pub fn reads(&self, id: u16) -> usize {
        self.cores[&id].disk.reads()
    }
    /// Completes the oldest read of the log.
    pub fn read_done(&mut self, id: u16) {
        let is_rotten = self.rotten.contains(&id);
        self.end_read(id, if is_rotten { Outcome::Rotten } else { Outcome::Sound });
    }
    pub fn read_fails(&mut self, id: u16) {
        self.end_read(id, Outcome::Failed);
    }
    fn end_read(&mut self, id: u16, outcome: Outcome) {
        let core = self.core(id);
        core.asked.pop_front();
        core.disk.end_read(outcome);
        self.turn_begin(id);
    }
    /// Takes the oldest read away from the disk; the test answers it itself.
    pub fn take_read(&mut self, id: u16) -> (ReadToken, Location) {
        let core = self.core(id);
        core.disk.forget_read();
        core.asked.pop_front().expect("a read waits")
    }

    // ---- crash and start ----------------------------------------------------------------------------------

    /// The machine dies, and its clients' connections with it. Each write under way is lost or survives.
    pub fn crash(&mut self, id: u16) {
        let seed = self.time ^ u64::from(id);
        let core = self.core(id);
        core.replica = None;
        core.disk.crash(seed);
        core.asked.clear();
        core.open.clear();
        self.wires.retain(|packet| packet.to != id && packet.from != id);
        for other in self.ids() {
            if other != id {
                self.step(other, Input::LinkLost { node: NodeId::new(id) });
            }
        }
    }

    /// A fresh shard of a node, and the records of its log.
    pub fn to_replay(&self, id: u16) -> (Shard<Bytes>, Records) {
        let copy = self.cores[&id].disk.copy();
        let mut records = Records::new();
        let opened = Wal::open(copy.disk(), wal_options(id), |record| {
            let (head, payload) = RecordHead::decode(record.bytes).expect("a record of this version");
            let offset = RECORD_HEAD_BYTES as u32;
            let at = record.location.part(offset, record.location.len - offset);
            records.push((head, Bytes::new(payload.to_vec()), at));
        });
        assert!(opened.is_ok(), "a copy of the log opens as the log does");
        (Shard::new(self.shard_config(id)), records)
    }

    pub fn start(&mut self, id: u16) {
        self.starts += 1;
        let (shard, now) = (Shard::new(self.shard_config(id)), self.now_at(id));
        let options = ReplicaOptions {
            // Buffers of the log count as a whole, so a few are always counted.
            backlog_bytes_max: self.config.log_backlog_bytes_max.max(1 << 20),
            note_bytes: LOG_NOTE_BYTES,
        };
        let LabCore { replica, disk, .. } = self.core(id);
        let read_back = |at| disk.part(at);
        let opened = Machine::open(disk.disk(), wal_options(id), options, shard, read_back, |_, _| ());
        let (mut machine, _) = opened.unwrap_or_else(|error| panic!("n{id}: the log does not open: {error}"));
        while !machine.wal().is_ready() {
            disk.make_segments();
            let durable = machine.poll().expect("no write fails here");
            assert!(durable.is_none(), "nothing was written yet");
        }
        machine.start(now);
        *replica = Some(machine);
    }

    // ---- network ------------------------------------------------------------------------------------------

    pub fn deliver_at(&mut self, index: usize) {
        let Packet { from, to, message } = self.wires.remove(index);
        if !self.cut.contains(&(from, to)) {
            let from = NodeId::new(from);
            self.with(to, |replica, now, out| replica.peer_message(from, message, now, out));
        }
    }
    /// Takes messages off the wires: they are lost, or the test holds them back.
    pub fn take(&mut self, mut which: impl FnMut(&Packet) -> bool) -> Vec<Packet> {
        let (taken, rest) = std::mem::take(&mut self.wires).into_iter().partition(|packet| which(packet));
        self.wires = rest;
        taken
    }
    pub fn cut_between(&mut self, a: u16, b: u16) {
        self.cut.insert((a, b));
        self.cut.insert((b, a));
        self.wires.retain(|p| !((p.from == a && p.to == b) || (p.from == b && p.to == a)));
        self.step(a, Input::LinkLost { node: NodeId::new(b) });
        self.step(b, Input::LinkLost { node: NodeId::new(a) });
    }
    pub fn isolate(&mut self, id: u16) {
        for other in self.ids() {
            if other != id {
                self.cut_between(id, other);
            }
        }
    }
    pub fn heal(&mut self) {
        self.cut.clear();
    }

    // ---- going on -----------------------------------------------------------------------------------------

    /// Turns end, messages arrive, and writes and reads complete until nothing moves; time stands still.
    pub fn settle(&mut self) {
        for _ in 0..10_000 {
            for id in self.ids() {
                self.turn_end(id);
                if !self.held_disks.contains(&id) {
                    self.disk_some(id, usize::MAX);
                }
                while !self.held_reads.contains(&id) && self.reads(id) > 0 {
                    self.read_done(id);
                }
            }
            let is_idle = |(id, core): (&u16, &LabCore)| {
                let written = |replica: &Machine| replica.wal().durable() == replica.wal().appended();
                self.held_disks.contains(id) || core.replica.as_ref().is_none_or(written)
            };
            if self.wires.is_empty() && self.cores.iter().all(is_idle) {
                return;
            }
            while !self.wires.is_empty() {
                self.deliver_at(0);
            }
        }
        panic!("it never settles: {:#?}", self.wires.iter().take(4).collect::<Vec<_>>());
    }
    pub fn run_ms(&mut self, ms: u64) {
        for _ in 0..ms.div_ceil(STEP_MS) {
            self.pass_ms(STEP_MS);
            for id in self.ids() {
                self.tick(id);
            }
            self.settle();
        }
    }
    pub fn until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        for _ in 0..4_000 {
            if done(self) {
                return;
            }
            self.run_ms(STEP_MS);
        }
        panic!("not within 20 s: {what}");
    }
    /// Makes `id` serve every group under a lease; meanwhile only its clock ticks.
    pub fn elect(&mut self, id: u16) {
        for _ in 0..4_000 {
            let groups = self.config.groups;
            if (1..=groups).all(|group| self.serves(id, GroupId::new(group))) {
                return;
            }
            self.pass_ms(STEP_MS);
            self.tick(id);
            self.settle();
        }
        panic!("n{id} was not elected");
    }
    /// Whether a node leads, has caught up and holds a lease.
    pub fn serves(&self, id: u16, group: GroupId) -> bool {
        self.leads(id, group) && self.shard(id).holds_lease(group, self.now().mono)
    }
    pub fn leads(&self, id: u16, group: GroupId) -> bool {
        self.is_up(id) && self.shard(id).status().any(|status| status.group == group && status.serving)
    }
    pub fn leader(&self) -> Option<u16> {
        self.ids().into_iter().find(|&id| self.serves(id, G1))
    }
    pub fn until_leader(&mut self) -> u16 {
        self.until("a leader", |lab| lab.leader().is_some());
        self.leader().unwrap()
    }
    /// The names of what a node has told since the last call, in order.
    pub fn told_by(&mut self, id: u16) -> Vec<&'static str> {
        let (own, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.told).into_iter().partition(|(of, _)| *of == id);
        self.told = others;
        own.iter().map(|(_, event)| event.name()).collect()
    }
    pub fn unanswered(&self) -> usize {
        self.cores.values().map(|core| core.open.len()).sum()
    }
    /// Requests under way to other nodes, as they are on the wires.
    pub fn forwards(&self) -> Vec<String> {
        let forwards = self.wires.iter().filter_map(|packet| match &packet.message {
            PeerMessage::Forward { command, .. } => Some(format!(
                "n{} -> n{}: {}",
                packet.from,
                packet.to,
                String::from_utf8_lossy(command.key.as_ref())
            )),
            _ => None,
        });
        forwards.collect()
    }
}
