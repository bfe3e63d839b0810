//! A cluster of cores in memory. Messages wait on the wires, records wait for the disk, reads of the log wait in a queue;
//! a core that died comes back from its durable records. Every answer is checked: one per request, never two.

use crate::{AheadLimits, Effect, Input, Leadership, ReadFailed, ReadToken, Shard, ShardConfig, Timing};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use synod_types::Level;
use synod_types::{
    Boot, Command, Condition, Consistency, CoreId, Expiry, GroupConfig, GroupId, GroupMessage, Location,
    LogRoom, Lsn, Members, Mono, Nanos, NodeId, Now, Op, PeerMessage, RecordHead, Reply, RequestId,
    SegmentId, SessionStamp, Space, WallMs,
};

pub(super) type Bytes = Vec<u8>;

pub(super) const G1: GroupId = GroupId::new(1);
pub(super) const G2: GroupId = GroupId::new(2);
/// Longer than what the index keeps: with no cache it is cold as soon as it is written.
pub(super) const LONG: &str = "a value that is too long for the index";

pub(super) fn get(key: &str) -> Command<Bytes> {
    Command::plain(key.into(), Op::Get)
}
pub(super) fn set(key: &str, value: &str) -> Command<Bytes> {
    set_op(key, value, Expiry::None, false)
}
pub(super) fn set_op(key: &str, value: &str, expiry: Expiry, return_old: bool) -> Command<Bytes> {
    let value_crc = synod_types::checksum::crc32c(value.as_bytes());
    let condition = Condition::Always;
    let op = Op::Set { value_crc, condition, expiry, return_old };
    Command::new(key.into(), op, value.into())
}
pub(super) fn increment(key: &str) -> Command<Bytes> {
    Command::plain(key.into(), Op::IncrementBy(1))
}
pub(super) fn stamped(mut command: Command<Bytes>, stamp: SessionStamp) -> Command<Bytes> {
    command.stamp = stamp;
    command
}

#[derive(Clone, Debug)]
pub(super) struct Packet {
    pub from: u16,
    pub to: u16,
    pub message: PeerMessage<Bytes>,
}

#[derive(Debug)]
struct Record {
    head: RecordHead,
    payload: Option<Bytes>,
    at: Location,
    then: Vec<(NodeId, PeerMessage<Bytes>)>,
}

#[derive(Debug)]
pub(super) struct Core {
    pub shard: Option<Shard<Bytes>>,
    log: Vec<Record>,
    /// Records on disk; the first number of this run follows the count found at start.
    durable: usize,
    first: usize,
    next_offset: u32,
    pub reads: Vec<(ReadToken, Location)>,
    /// Requests of this run that have no answer yet.
    open: BTreeSet<RequestId>,
}

#[derive(Debug)]
pub(super) struct Lab {
    pub cores: BTreeMap<u16, Core>,
    pub wires: Vec<Packet>,
    /// Forwards for which there was no link, by sender.
    unsent: Vec<(u16, u64)>,
    pub cut: BTreeSet<(u16, u16)>,
    /// No word that leadership is handed over arrives.
    pub loses_hand_overs: bool,
    pub config: Setup,
    time: u64,
    starts: u64,
    next_request: u64,
    /// First answers.
    pub replies: BTreeMap<RequestId, Reply<Bytes>>,
    /// Disks and reads complete by themselves in [`Lab::settle`] unless the node is named here.
    pub held_disks: BTreeSet<u16>,
    pub held_reads: BTreeSet<u16>,
    /// Nodes whose disks return damaged bytes: what is checked against its record fails, the rest is wrong.
    pub rotten: BTreeSet<u16>,
    /// What nodes read from their next start on, where it is not what this build does.
    pub levels: BTreeMap<u16, Level>,
    /// What nodes say of their next starts, where it is not the truth.
    pub boots: BTreeMap<u16, Boot>,
    /// What wall clocks are ahead, milliseconds.
    pub walls_ms: BTreeMap<u16, u64>,
    /// Each step is followed by a walk over everything a core holds. Not where that is very much.
    pub is_walked: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Setup {
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

/// An effect that outlives the push.
enum Owned {
    Append { lsn: Lsn, head: RecordHead, payload: Option<Bytes>, then: Vec<(NodeId, PeerMessage<Bytes>)> },
    Send { to: NodeId, message: PeerMessage<Bytes> },
    Reply { to: RequestId, reply: Reply<Bytes> },
    Read { token: ReadToken, location: Location },
}

fn own(effect: Effect<'_, Bytes>) -> Owned {
    match effect {
        Effect::Append { lsn, head, payload, then } => Owned::Append { lsn, head, payload, then },
        Effect::Send { to, message } => Owned::Send { to, message },
        Effect::Reply { to, reply } => Owned::Reply { to, reply: reply.map(<[u8]>::to_vec) },
        Effect::Read { token, location } | Effect::ReadEntry { token, location } => {
            Owned::Read { token, location }
        }
    }
}

const STEP_MS: u64 = 5;

impl Lab {
    pub fn new(config: Setup) -> Self {
        let mut lab = Self {
            cores: BTreeMap::new(),
            wires: Vec::new(),
            unsent: Vec::new(),
            cut: BTreeSet::new(),
            loses_hand_overs: false,
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
            is_walked: true,
            config,
        };
        for id in 1..=lab.config.nodes {
            let core = Core {
                shard: None,
                log: Vec::new(),
                durable: 0,
                first: 0,
                next_offset: 0,
                reads: Vec::new(),
                open: BTreeSet::new(),
            };
            lab.cores.insert(id, core);
        }
        for id in 1..=lab.config.nodes {
            lab.start(id);
        }
        lab
    }

    /// Three cores whose n1 serves group 1 (and 2) under a lease.
    pub fn led_by_n1(config: Setup) -> Self {
        let mut lab = Self::new(config);
        lab.elect(1);
        lab
    }

    fn shard_config(&self, id: u16) -> ShardConfig {
        let voters: Vec<NodeId> = (1..=self.config.nodes).map(NodeId::new).collect();
        let groups = (1..=self.config.groups)
            .map(|group| GroupConfig {
                group: GroupId::new(group),
                node: NodeId::new(id),
                members: Members::majority(voters.clone()),
                // The groups go round the nodes.
                preferred: NodeId::new((group - 1) % self.config.nodes + 1),
                priority_rank: 0,
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
        self.cores[&id].shard.as_ref().expect("a running core")
    }
    pub fn is_up(&self, id: u16) -> bool {
        self.cores[&id].shard.is_some()
    }

    // ---- steps ------------------------------------------------------------------------------------------------------

    pub fn step(&mut self, id: u16, input: Input<Bytes>) {
        let now = self.now_at(id);
        let Some(shard) = self.cores.get_mut(&id).unwrap().shard.as_mut() else { return };
        let mut out = Vec::new();
        shard.step(input, now, &mut |effect: Effect<'_, Bytes>| out.push(own(effect)));
        if self.is_walked {
            shard.invariants();
        }
        self.execute(id, out);
    }

    fn execute(&mut self, id: u16, effects: Vec<Owned>) {
        for effect in effects {
            let core = self.cores.get_mut(&id).unwrap();
            match effect {
                Owned::Append { lsn, head, payload, then } => {
                    assert_eq!(
                        lsn.get() as usize,
                        core.log.len() - core.first + 1,
                        "record numbers have no gaps"
                    );
                    let len = payload.as_ref().map_or(0, Vec::len) as u32;
                    let at = Location { segment: SegmentId::new(1), offset: core.next_offset, len };
                    core.next_offset += len + 32;
                    core.log.push(Record { head, payload, at, then });
                    self.step(id, Input::Appended { lsn, payload_at: at });
                }
                Owned::Send { to, message } => self.send(id, to.get(), message),
                Owned::Reply { to, reply } => {
                    assert!(core.open.remove(&to), "a second answer to {to}: {reply:?}");
                    self.replies.insert(to, reply);
                }
                Owned::Read { token, location } => core.reads.push((token, location)),
            }
        }
    }

    fn send(&mut self, from: u16, to: u16, message: PeerMessage<Bytes>) {
        assert_ne!(from, to, "a message to oneself");
        let is_hand_over = |message: &GroupMessage<Bytes>| matches!(message, GroupMessage::HandOver { .. });
        if self.loses_hand_overs
            && matches!(&message, PeerMessage::Group { message, .. } if is_hand_over(message))
        {
            return;
        }
        if !self.cut.contains(&(from, to)) {
            self.wires.push(Packet { from, to, message });
        } else if let PeerMessage::Forward { id: forward, .. } | PeerMessage::ReadIndex { id: forward, .. } =
            message
        {
            self.unsent.push((from, forward));
        }
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
        self.cores.get_mut(&id).unwrap().open.insert(request);
        self.step(id, Input::Request { id: request, group, consistency, command });
        request
    }
    /// Asks and lets everything settle.
    pub fn ask(&mut self, id: u16, command: Command<Bytes>) -> Reply<Bytes> {
        let request = self.request(id, command);
        self.settle();
        self.replies.get(&request).cloned().unwrap_or_else(|| panic!("{request} has no answer"))
    }
    pub fn reply(&self, request: RequestId) -> Option<&Reply<Bytes>> {
        self.replies.get(&request)
    }
    /// The log says what it has room for.
    pub fn room(&mut self, id: u16, space: Space, is_starved: bool) {
        let free_bytes = if space == Space::Free { u64::MAX } else { 0 };
        self.step(id, Input::Room { room: LogRoom { space, free_bytes, is_starved } });
    }
    pub fn turn_end(&mut self, id: u16) {
        self.step(id, Input::TurnEnd);
    }
    pub fn tick(&mut self, id: u16) {
        self.step(id, Input::Tick);
    }

    // ---- disk -------------------------------------------------------------------------------------------------------

    pub fn disk(&mut self, id: u16) {
        let all = self.cores[&id].log.len() - self.cores[&id].durable;
        self.disk_some(id, all);
    }

    pub fn disk_some(&mut self, id: u16, count: usize) {
        let core = self.cores.get_mut(&id).unwrap();
        let count = count.min(core.log.len() - core.durable);
        if count == 0 || core.shard.is_none() {
            return;
        }
        core.durable += count;
        let lsn = Lsn::new((core.durable - core.first) as u64);
        let from = core.durable - count;
        let then: Vec<_> =
            core.log[from..core.durable].iter_mut().flat_map(|r| core::mem::take(&mut r.then)).collect();
        for (to, message) in then {
            self.send(id, to.get(), message);
        }
        self.step(id, Input::Durable { lsn });
    }

    /// Completes the oldest read of the log.
    pub fn read_done(&mut self, id: u16) {
        let (token, location) = self.cores.get_mut(&id).unwrap().reads.remove(0);
        let mut bytes = self.bytes(id, location);
        let is_entry = self.cores[&id].log.iter().any(|record| record.at == location);
        let result = match (self.rotten.contains(&id), is_entry) {
            (false, _) => Ok(bytes),
            (true, true) => Err(ReadFailed),
            (true, false) => {
                bytes[0] ^= 1;
                Ok(bytes)
            }
        };
        self.step(id, Input::ReadDone { token, result });
    }
    pub fn read_fails(&mut self, id: u16) {
        let (token, _) = self.cores.get_mut(&id).unwrap().reads.remove(0);
        self.step(id, Input::ReadDone { token, result: Err(ReadFailed) });
    }

    fn bytes(&self, id: u16, location: Location) -> Bytes {
        let log = &self.cores[&id].log;
        let index = log.partition_point(|record| record.at.offset + record.at.len + 32 <= location.offset);
        let record = &log[index];
        let start = (location.offset - record.at.offset) as usize;
        record.payload.as_ref().unwrap()[start..start + location.len as usize].to_vec()
    }

    // ---- life ---------------------------------------------------------------------------------------------------------

    /// The process dies, its clients' connections with it.
    pub fn crash(&mut self, id: u16) {
        let core = self.cores.get_mut(&id).unwrap();
        core.shard = None;
        core.log.truncate(core.durable);
        core.reads.clear();
        core.open.clear();
        self.wires.retain(|packet| packet.to != id && packet.from != id);
        for other in self.ids() {
            if other != id {
                self.step(other, Input::LinkLost { node: NodeId::new(id) });
            }
        }
    }

    /// A fresh shard of a node, and what its log says, record by record.
    pub fn to_replay(&self, id: u16) -> (Shard<Bytes>, Vec<(RecordHead, Bytes, Location)>) {
        let log = &self.cores[&id].log;
        let records = log.iter().map(|r| (r.head, r.payload.clone().unwrap_or_default(), r.at)).collect();
        (Shard::new(self.shard_config(id)), records)
    }

    pub fn start(&mut self, id: u16) {
        self.starts += 1;
        let (mut shard, records) = self.to_replay(id);
        for (head, payload, at) in records {
            let mut out = Vec::new();
            let mut sink = |effect: Effect<'_, Bytes>| out.push(own(effect));
            shard.replay(head, payload, at, &mut sink).expect("the whole log");
            while let Some(effect) = out.pop() {
                let Owned::Read { token, location } = effect else { panic!("replay asks for reads only") };
                let result = Ok(self.bytes(id, location));
                let read = Input::ReadDone { token, result };
                shard.step(read, Now::default(), &mut |effect: Effect<'_, Bytes>| out.push(own(effect)));
            }
        }
        shard.start(self.now_at(id));
        let core = self.cores.get_mut(&id).unwrap();
        core.first = core.log.len();
        core.shard = Some(shard);
    }

    // ---- network ------------------------------------------------------------------------------------------------------

    pub fn deliver_at(&mut self, index: usize) {
        let Packet { from, to, message } = self.wires.remove(index);
        if !self.cut.contains(&(from, to)) {
            self.step(to, Input::Peer { from: NodeId::new(from), message });
        }
    }
    /// Takes messages off the wires: lost, or held back by the test.
    pub fn take(&mut self, mut which: impl FnMut(&Packet) -> bool) -> Vec<Packet> {
        let (taken, rest) = core::mem::take(&mut self.wires).into_iter().partition(|packet| which(packet));
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

    // ---- going on -----------------------------------------------------------------------------------------------------

    /// Turns end, messages arrive, writes and reads complete until nothing moves; time stands still.
    pub fn settle(&mut self) {
        for _ in 0..10_000 {
            for (id, forward) in core::mem::take(&mut self.unsent) {
                self.step(id, Input::Unsent { forward });
            }
            for id in self.ids() {
                self.turn_end(id);
                if !self.held_disks.contains(&id) {
                    self.disk(id);
                }
                while !self.held_reads.contains(&id) && !self.cores[&id].reads.is_empty() {
                    self.read_done(id);
                }
            }
            let idle = self.ids().iter().all(|id| {
                let core = &self.cores[id];
                self.held_disks.contains(id) || core.shard.is_none() || core.durable == core.log.len()
            });
            if self.wires.is_empty() && self.unsent.is_empty() && idle {
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
    /// Makes `id` serve every group under a lease: only its clock ticks meanwhile.
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
    /// Leads, has caught up and holds a lease.
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
    pub fn unanswered(&self) -> usize {
        self.cores.values().map(|core| core.open.len()).sum()
    }
    /// Requests under way to other nodes, as they are on the wires.
    pub fn forwards(&self) -> Vec<String> {
        let forwards = self.wires.iter().filter_map(|packet| match &packet.message {
            PeerMessage::Forward { command, .. } => {
                Some(format!("n{} -> n{}: {}", packet.from, packet.to, String::from_utf8_lossy(&command.key)))
            }
            _ => None,
        });
        forwards.collect()
    }
}
