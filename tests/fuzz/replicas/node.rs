//! One whole core: the shard that ships, over the log that ships, behind the connections and frames that
//! ship. This is the one file of this target that knows how they are wired.
//!
//! ```text
//!   client bytes ─▶ Connection ─▶ Request ┐                       ┌─▶ Connection ─▶ client bytes
//!   peer bytes ───▶ Decoder ────▶ Peer ───┴▶ inbox ─▶ turn: Shard ┼─▶ frames for peers
//!                                                                 └─▶ Wal ─▶ in-memory disk
//! ```
//! Input waits for the next turn; the caller of a turn takes its output.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use synod_net::binary::ServerInfo;
use synod_net::peer;
use synod_net::server::{
    Ask, CommandOrder, Connection, ConnectionConfig, LocalAnswer, LocalQuery, ServerConfig, Service, Tag,
};
use synod_replica::placement::groups_of;
use synod_replica::{Failed, Outlet, Replica, ReplicaOptions};
use synod_shard::{AheadLimits, Input, Leadership, Shard, ShardConfig, Timing, Unsent};
use synod_types::limits::LOG_NOTE_BYTES;
use synod_types::{
    Boot, CoreId, GroupId, Level, Location, NodeId, Now, PeerMessage, Reply, Shared, bucket_of, group_of,
};
use synod_wal::WalOptions;
use synod_wal::mem::{MemDisk, MemImage};

/// Nodes of the cluster, numbered from 1.
pub(super) const NODES: u16 = 3;
/// Data groups, numbered from 1; group 0 is there too.
pub(super) const GROUPS: u16 = 2;
/// Buffers of the log count in full, so there is always room for a few.
const BACKLOG_BYTES_MIN: usize = 1 << 20;
/// Bytes read from a client, or from a peer, at once.
const READ_BYTES: usize = 64 << 10;

/// The settings that differ from run to run.
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
    /// The message the bytes encode.
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
    /// The notice to its sender if it cannot be sent.
    pub(super) fn unsent(&self) -> Option<Unsent> {
        Unsent::of(&self.sent)
    }
}

enum Incoming {
    Peer(NodeId, PeerMessage<Shared>),
    LinkLost(NodeId),
    Unsent(Unsent),
    TransferLeadership(GroupId, NodeId),
    Tick,
    Mark,
}

/// One client's connection, the order of its commands, and the bytes that it has sent and that are unread.
struct Served {
    connection: Connection,
    order: CommandOrder,
    /// A command was answered since the connection last gave an ask: a held command may go now.
    is_answered: bool,
    unread: VecDeque<u8>,
}

impl Served {
    /// Whether this connection has work to do.
    fn has_work(&self) -> bool {
        (!self.unread.is_empty() && self.connection.wants_read())
            || (self.is_answered && self.order.is_holding())
    }
}

/// A running core.
pub(super) struct Node {
    replica: Replica<MemDisk, (u64, Tag)>,
    server: Rc<ServerConfig>,
    mouth: Mouth,
    decoders: BTreeMap<NodeId, peer::Decoder>,
    inbox: VecDeque<Incoming>,
}

/// Where the node's output goes.
#[derive(Default)]
struct Mouth {
    clients: BTreeMap<u64, Served>,
    out: Vec<(NodeId, Frame)>,
}

impl Outlet<(u64, Tag)> for Mouth {
    fn send(&mut self, to: NodeId, message: PeerMessage<Shared>) {
        self.out.push((to, Frame::new(message)));
    }
    fn reply(&mut self, (client, tag): (u64, Tag), reply: Reply<&[u8]>) {
        if let Some(served) = self.clients.get_mut(&client) {
            served.connection.reply(tag, reply);
            served.order.answered(tag);
            served.is_answered = true;
        }
    }
}

impl Node {
    /// Opens the log, replays it and begins to serve.
    pub(super) fn start(id: NodeId, setup: &Setup, image: &MemImage, drawn: (u64, Boot), now: Now) -> Self {
        let shard = Shard::<Shared>::new(shard_config(id, setup, drawn));
        let mut options = WalOptions::new(CoreId::new(0), [id.get() as u8; 32]);
        options = options.with_segments(4 << 20, 256 << 10);
        options.ram_bytes_max = usize::MAX;
        let read_back = |at: Location| {
            image.part(at).ok_or_else(|| std::io::Error::from(std::io::ErrorKind::UnexpectedEof))
        };
        let limits = ReplicaOptions {
            backlog_bytes_max: setup.log_backlog_bytes_max.max(BACKLOG_BYTES_MIN),
            note_bytes: LOG_NOTE_BYTES,
        };
        let opened = Replica::open(image.disk(), options, limits, shard, read_back, |_, _| ());
        let (mut replica, _) = opened.unwrap_or_else(|error| panic!("{id}: the log does not open: {error}"));
        replica.start(now);
        replica.shard().invariants();
        let info = ServerInfo { group_count: GROUPS, version: "0.0.0".into(), ..ServerInfo::default() };
        Self {
            replica,
            server: Rc::new(ServerConfig { info, port: 6379, ..ServerConfig::default() }),
            mouth: Mouth::default(),
            decoders: BTreeMap::new(),
            inbox: VecDeque::new(),
        }
    }

    /// A client sends bytes; its connection begins with the first of them.
    pub(super) fn client_bytes(&mut self, client: u64, bytes: &[u8]) {
        let server = &self.server;
        let served = self.mouth.clients.entry(client).or_insert_with(|| {
            let (peer_address, local_address) = ("10.0.0.1:5000".into(), "10.0.0.2:6379".into());
            let (server, is_loopback) = (Rc::clone(server), true);
            let config = ConnectionConfig {
                server,
                id: client,
                peer_address,
                is_loopback,
                local_address,
                is_core_port: false,
                service: Service::Full,
            };
            Served {
                connection: Connection::new(config),
                order: CommandOrder::default(),
                is_answered: false,
                unread: VecDeque::new(),
            }
        });
        served.unread.extend(bytes);
    }

    /// Takes the bytes for a client.
    pub(super) fn take_output(&mut self, client: u64) -> Vec<u8> {
        self.mouth
            .clients
            .get_mut(&client)
            .map_or(Vec::new(), |served| std::mem::take(served.connection.out()))
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

    /// A forward, or a question to the leader, could not be sent.
    pub(super) fn unsent(&mut self, message: Unsent) {
        self.inbox.push_back(Incoming::Unsent(message));
    }

    pub(super) fn transfer(&mut self, group: GroupId, target: NodeId) {
        self.inbox.push_back(Incoming::TransferLeadership(group, target));
    }

    pub(super) fn tick(&mut self) {
        self.inbox.push_back(Incoming::Tick);
    }

    /// The log may mark its tail.
    pub(super) fn mark(&mut self) {
        self.inbox.push_back(Incoming::Mark);
    }

    pub(super) fn shard(&self) -> &Shard<Shared> {
        self.replica.shard()
    }

    /// Whether a turn would find work, apart from completed disk operations.
    pub(super) fn has_work(&self) -> bool {
        !self.inbox.is_empty() || self.mouth.clients.values().any(Served::has_work)
    }

    /// One turn of the core's loop. Returns the frames for peers.
    pub(super) fn turn(&mut self, now: Now) -> Vec<(NodeId, Frame)> {
        self.turn_of(now).unwrap_or_else(|failed| panic!("the disk is sound: {failed}"));
        std::mem::take(&mut self.mouth.out)
    }

    fn turn_of(&mut self, now: Now) -> Result<(), Failed> {
        self.replica.begin_turn(|| now, &mut self.mouth)?;
        while let Some(incoming) = self.inbox.pop_front() {
            let input = match incoming {
                Incoming::Peer(from, message) => {
                    self.replica.peer_message(from, message, now, &mut self.mouth)?;
                    continue;
                }
                Incoming::LinkLost(node) => Input::LinkLost { node },
                Incoming::Unsent(message) => Input::Unsent(message),
                Incoming::TransferLeadership(group, target) => Input::TransferLeadership { group, target },
                Incoming::Tick => Input::Tick,
                Incoming::Mark => {
                    self.replica.mark()?;
                    continue;
                }
            };
            self.replica.step(input, now, &mut self.mouth)?;
        }
        self.serve_clients(now)?;
        self.replica.end_turn(now, &mut self.mouth)
    }

    /// Reads from every client as much as its connection wants, and passes its asks to the shard.
    fn serve_clients(&mut self, now: Now) -> Result<(), Failed> {
        let clients: Vec<u64> = self.mouth.clients.keys().copied().collect();
        for client in clients {
            loop {
                self.ask_all(client, now)?;
                let Some(served) = self.mouth.clients.get_mut(&client) else { break };
                if served.unread.is_empty() || !served.connection.wants_read() {
                    break;
                }
                // Like the shell, read into memory lent by the connection.
                let front = served.unread.as_slices().0;
                let mut room = served.connection.lend(true);
                let count = front.len().min(room.len()).min(READ_BYTES);
                room[..count].copy_from_slice(&front[..count]);
                served.connection.put(room, count);
                served.unread.drain(..count);
            }
        }
        Ok(())
    }

    /// A client's next ask that may be carried out now, in the order that ships.
    fn next_ask(&mut self, client: u64) -> Option<Ask> {
        let served = self.mouth.clients.get_mut(&client)?;
        served.is_answered = false;
        served.order.next_ask(|| served.connection.next())
    }

    fn ask_all(&mut self, client: u64, now: Now) -> Result<(), Failed> {
        while let Some(ask) = self.next_ask(client) {
            match ask {
                Ask::Command { tag, group, consistency, command } => {
                    if let Err(illegal) = command.check() {
                        panic!("a border let an illegal command through: {illegal}; {:?}", command.op);
                    }
                    let group = group.unwrap_or_else(|| group_of(bucket_of(command.key.as_ref()), GROUPS));
                    let requester = (client, tag);
                    self.replica.request(requester, group, consistency, command, now, &mut self.mouth)?;
                }
                Ask::Local { tag, query } => {
                    let answer = match query {
                        LocalQuery::Time | LocalQuery::LastSave => LocalAnswer::Time { micros: 1 },
                        LocalQuery::Replicas { .. } => LocalAnswer::Int(1),
                        _ => LocalAnswer::Unavailable("not here".into()),
                    };
                    if let Some(served) = self.mouth.clients.get_mut(&client) {
                        served.connection.answer(tag, answer);
                    }
                }
                Ask::Close | Ask::Pause => {}
            }
        }
        Ok(())
    }
}

/// A message in a few words: payloads can be a megabyte.
fn gist(message: &PeerMessage<Shared>) -> String {
    format!("{message:?}").chars().take(400).collect()
}

fn shard_config(id: NodeId, setup: &Setup, (seed, boot): (u64, Boot)) -> ShardConfig {
    let nodes: Vec<NodeId> = (1..=NODES).map(NodeId::new).collect();
    let groups = groups_of(CoreId::new(0), 1, (0..=GROUPS).map(GroupId::new), &nodes, id);
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
