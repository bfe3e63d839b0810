//! One whole core: the shard that ships, over the log that ships, behind the connections and the frames that ship. The one
//! file of this target that knows how they are wired.
//!
//! ```text
//!   client bytes ─▶ Connection ─▶ Request ┐                       ┌─▶ Connection ─▶ client bytes
//!   peer bytes ───▶ Decoder ────▶ Peer ───┴▶ inbox ─▶ turn: Shard ┼─▶ frames for peers
//!                                                                 └─▶ Wal ─▶ in-memory disk
//! ```
//! What comes in waits for the next turn; what a turn gives is taken by whoever called it.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use synod_net::binary::ServerInfo;
use synod_net::peer;
use synod_net::server::{Ask, Connection, ConnectionConfig, LocalAnswer, LocalQuery, ServerConfig, Tag};
use synod_shard::{
    AheadLimits, Effect, Input, Leadership, ReadFailed, ReadToken, Shard, ShardConfig, Timing,
};
use synod_types::Level;
use synod_types::record::RECORD_HEAD_BYTES;
use synod_types::{
    Boot, CoreId, GroupConfig, GroupId, Location, Lsn, Members, NodeId, Now, PeerMessage, RecordHead, Reply,
    RequestId, SegmentId, Shared, bucket_of, group_of,
};
use synod_wal::mem::{MemDisk, MemImage};
use synod_wal::{Wal, WalOptions};

/// Nodes of the cluster, numbered from 1.
pub(super) const NODES: u16 = 3;
/// Data groups, numbered from 1; group 0 is there too.
pub(super) const GROUPS: u16 = 2;
/// Bytes the log must have room for before another input is taken.
const ROOM_BYTES: usize = 12 << 20;
const LOG_RAM_BYTES: usize = 48 << 20;
/// Bytes read from a client, or from a peer, at once.
const READ_BYTES: usize = 64 << 10;

/// What may differ from run to run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setup {
    pub(super) cache_bytes: usize,
    pub(super) pipeline_slots: u64,
    pub(super) pending_bytes_max: usize,
    pub(super) log_backlog_bytes_max: usize,
}

/// A message as it crosses a link.
pub(super) struct Frame {
    pub(super) bytes: Vec<u8>,
    /// What it was made from.
    sent: PeerMessage<Shared>,
}

impl Frame {
    pub(super) fn new(message: PeerMessage<Shared>) -> Self {
        let mut bytes = Vec::new();
        if let Some(tail) = peer::encode_head(&mut bytes, &message) {
            bytes.extend_from_slice(tail.as_ref());
        }
        Self { bytes, sent: message }
    }
    /// The number of a forward or a question, whose sender is told if it does not leave.
    pub(super) fn number(&self) -> Option<u64> {
        match self.sent {
            PeerMessage::Forward { id, .. } | PeerMessage::ReadIndex { id, .. } => Some(id),
            _ => None,
        }
    }
}

enum Incoming {
    Peer(NodeId, PeerMessage<Shared>),
    LinkLost(NodeId),
    Unsent(u64),
    HandOver(GroupId, NodeId),
    Tick,
    Mark,
}

/// One client's connection and what it has sent that was not read yet.
struct Served {
    connection: Connection,
    unread: VecDeque<u8>,
}

/// Messages that must not leave before their record is durable.
type Then = Vec<(NodeId, PeerMessage<Shared>)>;

/// An effect, owned.
enum Todo {
    Append(Lsn, RecordHead, Option<Shared>, Then),
    Send(NodeId, PeerMessage<Shared>),
    Reply(RequestId, Reply<Vec<u8>>),
    Read(ReadToken, Location),
    ReadEntry(ReadToken, Location),
}

/// A running core.
pub(super) struct Node {
    shard: Shard<Shared>,
    wal: Wal<MemDisk>,
    server: Rc<ServerConfig>,
    clients: BTreeMap<u64, Served>,
    decoders: BTreeMap<NodeId, peer::Decoder>,
    inbox: VecDeque<Incoming>,
    then: VecDeque<(Lsn, Then)>,
    requests: BTreeMap<RequestId, (u64, Tag)>,
    next_request: u64,
    out: Vec<(NodeId, Frame)>,
}

impl Node {
    /// Opens the log, replays it and begins to serve.
    pub(super) fn start(id: NodeId, setup: &Setup, image: &MemImage, drawn: (u64, Boot), now: Now) -> Self {
        let mut shard = Shard::<Shared>::new(shard_config(id, setup, drawn));
        let mut options = WalOptions::new(CoreId::new(0), [id.get() as u8; 32]);
        options = options.with_segments(4 << 20, 256 << 10);
        options.ram_bytes_max = LOG_RAM_BYTES;
        let mut records: BTreeMap<(SegmentId, u32), Shared> = BTreeMap::new();
        let opened = Wal::open(image.disk(), options, |record| {
            let at = record.location;
            records.insert((at.segment, at.offset), Shared::new(record.bytes.to_vec()));
        });
        let (wal, _) = opened.unwrap_or_else(|error| panic!("{id}: the log does not open: {error}"));
        for (&(segment, offset), bytes) in &records {
            let (head, payload) = RecordHead::decode(bytes.as_ref()).expect("a record has a head");
            let at = Location { segment, offset, len: bytes.len() as u32 };
            let payload_at = at.part(RECORD_HEAD_BYTES as u32, payload.len() as u32);
            let payload = bytes.slice(RECORD_HEAD_BYTES, payload.len());
            replay_one(&mut shard, head, payload, payload_at, &records);
        }
        shard.start(now);
        shard.invariants();
        let info = ServerInfo { group_count: GROUPS, version: "0.0.0".into(), ..ServerInfo::default() };
        Self {
            shard,
            wal,
            server: Rc::new(ServerConfig { info, port: 6379, ..ServerConfig::default() }),
            clients: BTreeMap::new(),
            decoders: BTreeMap::new(),
            inbox: VecDeque::new(),
            then: VecDeque::new(),
            requests: BTreeMap::new(),
            next_request: 0,
            out: Vec::new(),
        }
    }

    /// A client sends something; its connection begins with its first bytes.
    pub(super) fn client_bytes(&mut self, client: u64, bytes: &[u8]) {
        let server = &self.server;
        let served = self.clients.entry(client).or_insert_with(|| {
            let (peer_address, local_address) = ("10.0.0.1:5000".into(), "10.0.0.2:6379".into());
            let (server, is_loopback) = (Rc::clone(server), true);
            let config = ConnectionConfig { server, id: client, peer_address, is_loopback, local_address };
            Served { connection: Connection::new(config), unread: VecDeque::new() }
        });
        served.unread.extend(bytes);
    }

    /// What a client is sent.
    pub(super) fn take_output(&mut self, client: u64) -> Vec<u8> {
        self.clients.get_mut(&client).map_or(Vec::new(), |served| std::mem::take(served.connection.out()))
    }

    /// Bytes arrive on the link from a peer: one whole frame.
    pub(super) fn peer_bytes(&mut self, from: NodeId, frame: &Frame) {
        let decoder = self.decoders.entry(from).or_default();
        let mut rest = frame.bytes.as_slice();
        let mut heard = None;
        while !rest.is_empty() {
            let mut room = decoder.lend();
            let count = rest.len().min(room.len());
            room[..count].copy_from_slice(&rest[..count]);
            decoder.put(room, count);
            rest = &rest[count..];
            match decoder.next() {
                Ok(message) => heard = message,
                Err(error) => panic!("the link from {from} closes: {error}; sent was {}", gist(&frame.sent)),
            }
        }
        let heard = heard.expect("a whole frame is a message");
        assert!(heard == frame.sent, "heard is not what was sent: {}", gist(&frame.sent));
        self.inbox.push_back(Incoming::Peer(from, heard));
    }

    /// The link to a peer broke.
    pub(super) fn link_lost(&mut self, peer: NodeId) {
        self.decoders.remove(&peer);
        self.inbox.push_back(Incoming::LinkLost(peer));
    }

    /// A forward or a question did not leave.
    pub(super) fn unsent(&mut self, number: u64) {
        self.inbox.push_back(Incoming::Unsent(number));
    }

    pub(super) fn hand_over(&mut self, group: GroupId, heir: NodeId) {
        self.inbox.push_back(Incoming::HandOver(group, heir));
    }

    pub(super) fn tick(&mut self) {
        self.inbox.push_back(Incoming::Tick);
    }

    /// The log may mark its tail.
    pub(super) fn mark(&mut self) {
        self.inbox.push_back(Incoming::Mark);
    }

    pub(super) fn shard(&self) -> &Shard<Shared> {
        &self.shard
    }

    /// Whether a turn would find something to do, apart from what the disk has finished.
    pub(super) fn has_work(&self) -> bool {
        !self.inbox.is_empty()
            || self.clients.values().any(|served| !served.unread.is_empty() && served.connection.wants_read())
    }

    /// One turn of the core's loop. What is to be sent to peers is given back.
    pub(super) fn turn(&mut self, now: Now) -> Vec<(NodeId, Frame)> {
        if let Some(lsn) = self.wal.poll().expect("the disk is sound") {
            while let Some((_, messages)) = self.then.pop_front_if(|(at, _)| *at <= lsn) {
                self.out.extend(messages.into_iter().map(|(to, message)| (to, Frame::new(message))));
            }
            self.step(Input::Durable { lsn }, now);
        }
        self.finish_reads(now);
        while self.wal.room_bytes() >= ROOM_BYTES
            && let Some(incoming) = self.inbox.pop_front()
        {
            let input = match incoming {
                Incoming::Peer(from, message) => Input::Peer { from, message },
                Incoming::LinkLost(node) => Input::LinkLost { node },
                Incoming::Unsent(forward) => Input::Unsent { forward },
                Incoming::HandOver(group, heir) => Input::HandOver { group, heir },
                Incoming::Tick => Input::Tick,
                Incoming::Mark => {
                    self.wal.mark(|| self.shard.mark()).expect("the disk is sound");
                    continue;
                }
            };
            self.step(input, now);
        }
        if self.wal.room_bytes() >= ROOM_BYTES {
            self.serve_clients(now);
        }
        self.step(Input::TurnEnd, now);
        self.wal.submit().expect("the disk is sound");
        std::mem::take(&mut self.out)
    }

    /// Reads from every client what its connection wants, and puts what it asks to the shard.
    fn serve_clients(&mut self, now: Now) {
        let clients: Vec<u64> = self.clients.keys().copied().collect();
        for client in clients {
            loop {
                self.ask_all(client, now);
                let Some(served) = self.clients.get_mut(&client) else { break };
                if served.unread.is_empty() || !served.connection.wants_read() {
                    break;
                }
                // By turns as the shell reads, into the connection's own memory, and as bytes from elsewhere.
                let front = served.unread.as_slices().0;
                let mut room = served.connection.lend();
                let count = front.len().min(room.len()).min(READ_BYTES);
                room[..count].copy_from_slice(&front[..count]);
                served.connection.put(room, count);
                served.unread.drain(..count);
            }
        }
    }

    fn ask_all(&mut self, client: u64, now: Now) {
        while let Some(ask) = self.clients.get_mut(&client).and_then(|served| served.connection.next()) {
            match ask {
                Ask::Command { tag, group, consistency, command } => {
                    if let Err(illegal) = command.check() {
                        panic!("a border let a command through that is none: {illegal}; {:?}", command.op);
                    }
                    let group = group.unwrap_or_else(|| group_of(bucket_of(command.key.as_ref()), GROUPS));
                    self.next_request += 1;
                    let id = RequestId::new(self.next_request);
                    self.requests.insert(id, (client, tag));
                    self.step(Input::Request { id, group, consistency, command }, now);
                }
                Ask::Local { tag, query } => {
                    let answer = match query {
                        LocalQuery::Time | LocalQuery::LastSave => LocalAnswer::Time { micros: 1 },
                        LocalQuery::Replicas { .. } => LocalAnswer::Int(1),
                        _ => LocalAnswer::Unavailable("not here".into()),
                    };
                    if let Some(served) = self.clients.get_mut(&client) {
                        served.connection.answer(tag, answer);
                    }
                }
                Ask::Close | Ask::Pause => {}
            }
        }
    }

    /// One step, all its effects, and what they lead to at once.
    fn step(&mut self, input: Input<Shared>, now: Now) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let mut todo = Vec::new();
            self.shard.step(input, now, &mut |effect: Effect<'_, Shared>| {
                todo.push(match effect {
                    Effect::Append { lsn, head, payload, then } => Todo::Append(lsn, head, payload, then),
                    Effect::Send { to, message } => Todo::Send(to, message),
                    Effect::Reply { to, reply } => Todo::Reply(to, reply.map(<[u8]>::to_vec)),
                    Effect::Read { token, location } => Todo::Read(token, location),
                    Effect::ReadEntry { token, location } => Todo::ReadEntry(token, location),
                });
            });
            for effect in todo {
                inputs.extend(self.execute(effect));
            }
        }
    }

    fn execute(&mut self, effect: Todo) -> Option<Input<Shared>> {
        match effect {
            Todo::Append(lsn, head, payload, then) => {
                let bytes = payload.as_ref().map_or(&[][..], AsRef::as_ref);
                let crc = payload.as_ref().and_then(Shared::crc);
                let appended = self.wal.append_summed(&[&head.encode(), bytes], crc);
                let appended = appended.unwrap_or_else(|error| panic!("the log refuses a record: {error}"));
                assert!(appended.lsn == lsn, "machine and log number records alike");
                if !then.is_empty() {
                    self.then.push_back((lsn, then));
                }
                let payload_at = appended.location.part(RECORD_HEAD_BYTES as u32, bytes.len() as u32);
                Some(Input::Appended { lsn, payload_at })
            }
            Todo::Send(to, message) => {
                self.out.push((to, Frame::new(message)));
                None
            }
            Todo::Reply(id, reply) => {
                let asked = self.requests.remove(&id);
                let (client, tag) = asked.unwrap_or_else(|| panic!("{id} is answered twice: {reply:?}"));
                if let Some(served) = self.clients.get_mut(&client) {
                    served.connection.reply(tag, reply.borrow());
                }
                None
            }
            Todo::Read(token, location) => {
                self.wal.read(token.0, location);
                None
            }
            Todo::ReadEntry(token, location) => {
                self.wal.read_checked(token.0, location, RECORD_HEAD_BYTES as u32);
                None
            }
        }
    }

    fn finish_reads(&mut self, now: Now) {
        while let Some((token, result)) = self.wal.take_read() {
            let result = result.map(Shared::new).map_err(|_| ReadFailed);
            self.step(Input::ReadDone { token: ReadToken(token), result }, now);
        }
    }
}

/// A message in a few words: payloads can be a megabyte.
fn gist(message: &PeerMessage<Shared>) -> String {
    format!("{message:?}").chars().take(400).collect()
}

fn shard_config(id: NodeId, setup: &Setup, (seed, boot): (u64, Boot)) -> ShardConfig {
    let nodes: Vec<NodeId> = (1..=NODES).map(NodeId::new).collect();
    let groups = (0..=GROUPS)
        .map(|group| GroupConfig {
            group: GroupId::new(group),
            node: id,
            members: Members::majority(nodes.clone()),
            preferred: NodeId::new(NODES - group % NODES),
            priority_rank: u32::from((id.get() + group) % NODES),
        })
        .collect();
    ShardConfig {
        node: id,
        core: CoreId::new(0),
        groups,
        timing: Timing::default(),
        cache_bytes: setup.cache_bytes,
        pending_bytes_max: setup.pending_bytes_max,
        log_backlog_bytes_max: setup.log_backlog_bytes_max,
        pipeline_slots: setup.pipeline_slots,
        leadership: Leadership::Balance,
        ahead: AheadLimits::default(),
        level: Level::OWN,
        boot,
        seed,
    }
}

/// Replays one record, answering reads from the records before it.
fn replay_one(
    shard: &mut Shard<Shared>,
    head: RecordHead,
    payload: Shared,
    payload_at: Location,
    records: &BTreeMap<(SegmentId, u32), Shared>,
) {
    let collect = |reads: &mut Vec<(ReadToken, Location)>, effect: Effect<'_, Shared>| match effect {
        Effect::Read { token, location } | Effect::ReadEntry { token, location } => {
            reads.push((token, location));
        }
        other => panic!("replay asks for nothing but reads: {other:?}"),
    };
    let mut reads = Vec::new();
    let mut sink = |effect: Effect<'_, Shared>| collect(&mut reads, effect);
    shard.replay(head, payload, payload_at, &mut sink).expect("the whole log");
    while let Some((token, location)) = reads.pop() {
        let Location { segment, offset, len } = location;
        let record = records.range(..=(segment, offset)).next_back();
        let (&(_, at), bytes) =
            record.filter(|((at, _), _)| *at == segment).expect("a value lies in a record");
        let result = Ok(bytes.slice((offset - at) as usize, len as usize));
        let input = Input::ReadDone { token, result };
        shard.step(input, Now::default(), &mut |effect: Effect<'_, Shared>| collect(&mut reads, effect));
    }
}
