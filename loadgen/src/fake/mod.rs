//! A fake cluster for tests: registers in a map behind the real protocol, with configurable faults. All nodes
//! share one state.

mod resp;
mod server;

pub(crate) use resp::{FakeResp, RespFaults};

pub(crate) use server::{FakeServers, Trouble};

use crate::random::Random;
use std::collections::BTreeMap;
use synod_net::binary::{
    self, Decoded, FailureCode, GroupRole, GroupState, NodeStatus, Request, Topology, TopologyGroup,
    TopologyNode, decode_request,
};
use synod_types::{
    Ballot, Command, CoreId, ErrorKind, GroupId, NodeId, Op, Reply, SessionId, SessionStamp, Slot, Version,
    bucket_of, group_of,
};

/// The faults, in permille of the requests that they can affect. The fields above the line are legal
/// behaviour of a cluster in trouble and must not be reported; those below it are faults that must be found.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// The connection breaks, half the time before the request is executed, half the time after.
    pub(crate) break_connection: u64,
    /// The request is answered `NoLeader`.
    pub(crate) no_leader: u64,
    /// The request is answered `Busy`.
    pub(crate) busy: u64,
    /// A write is answered `Malformed`.
    pub(crate) malformed: u64,
    /// The request is answered `Unknown`, and half the time executed.
    pub(crate) unknown: u64,
    /// The request is executed later, although it got no answer and the connection broke.
    pub(crate) execute_late: u64,
    /// All sessions are forgotten.
    pub(crate) forget_sessions: u64,
    /// The request gets no answer, and the connection is kept.
    pub(crate) swallow: u64,
    /// The answer to each received piece of the stream is delayed by this time; on real sockets only.
    pub(crate) delay_ms: u64,
    // -------------------------------------------------------------------------------------------------------
    /// A write is acknowledged but not executed.
    pub(crate) lose_write: u64,
    /// After so many writes all further ones are acknowledged but not executed; 0 for never. It is a count, so
    /// that a test that needs a loss does not depend on chance.
    pub(crate) lose_after: u64,
    /// A read sees the value before the last.
    pub(crate) stale_read: u64,
    /// A read sees a flipped bit (with a valid frame checksum).
    pub(crate) corrupt_read: u64,
    /// A read sees another key's value.
    pub(crate) wrong_key: u64,
    /// A read of a key that exists sees nothing.
    pub(crate) absent_read: u64,
    /// A retried write is executed again.
    pub(crate) execute_twice: u64,
    /// A write is answered `Busy` but executed.
    pub(crate) lie_busy: u64,
    /// A write is answered with a number.
    pub(crate) absurd: u64,
}

#[derive(Clone, Debug)]
struct Stored {
    value: Vec<u8>,
    version: Version,
    before: Option<(Vec<u8>, Version)>,
}

/// The fake cluster.
#[derive(Debug)]
pub(crate) struct FakeCluster {
    pub(crate) faults: Faults,
    pub(crate) group_count: u16,
    /// Host and port of each node.
    pub(crate) nodes: Vec<(String, u16)>,
    /// By group.
    pub(crate) leaders: Vec<u16>,
    pub(crate) leader_changes: u64,
    /// By node: the password that it requires.
    pub(crate) passwords: BTreeMap<u16, Vec<u8>>,
    /// Nodes without a password refuse the generator, as if it ran on another machine.
    pub(crate) is_protected: bool,
    /// How often a password was accepted.
    pub(crate) admissions: u64,
    store: BTreeMap<Vec<u8>, Stored>,
    sessions: BTreeMap<u64, BTreeMap<u64, Version>>,
    /// Writes that take effect a number of requests later.
    late: Vec<(u64, Vec<u8>, Vec<u8>)>,
    slot: u64,
    /// Commands received.
    pub(crate) requests: u64,
    random: Random,
    /// Requests that were answered by a node that does not lead.
    pub(crate) forwarded: u64,
}

/// What happens to the connection after a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum After {
    Keep,
    Break,
    /// Further requests on it are ignored.
    Ignore,
}

impl FakeCluster {
    pub(crate) fn new(nodes: Vec<(String, u16)>, group_count: u16, seed: u64) -> Self {
        let leaders = (0..group_count).map(|group| group % nodes.len() as u16 + 1).collect();
        Self {
            faults: Faults::default(),
            group_count,
            nodes,
            leaders,
            leader_changes: 0,
            passwords: BTreeMap::new(),
            is_protected: false,
            admissions: 0,
            store: BTreeMap::new(),
            sessions: BTreeMap::new(),
            late: Vec::new(),
            slot: 0,
            requests: 0,
            random: Random::new(seed, 77),
            forwarded: 0,
        }
    }

    pub(crate) fn topology(&self) -> Topology {
        let nodes = (1..).zip(&self.nodes).map(|(node, (host, port))| TopologyNode {
            node: NodeId::new(node),
            host: host.clone(),
            port: *port,
            core_port_base: 0,
            core_count: 1,
        });
        let groups = (1..).zip(&self.leaders).map(|(group, &leader)| TopologyGroup {
            group: GroupId::new(group),
            leader: Some(NodeId::new(leader)),
            core: CoreId::new(0),
        });
        Topology {
            group_count: self.group_count,
            nodes: nodes.collect(),
            groups: groups.collect(),
            ..Topology::default()
        }
    }

    /// Moves the leadership of every group to another node.
    pub(crate) fn move_leaders(&mut self) {
        for leader in &mut self.leaders {
            *leader = *leader % self.nodes.len() as u16 + 1;
        }
        self.leader_changes += 1;
    }

    /// Makes all nodes require this password on new connections.
    pub(crate) fn set_password(&mut self, password: &str) {
        let nodes = 1..=self.nodes.len() as u16;
        self.passwords = nodes.map(|node| (node, password.as_bytes().to_vec())).collect();
    }

    /// Removes all keys.
    pub(crate) fn wipe(&mut self) {
        self.store.clear();
    }

    /// Executes a whole frame that arrived at `node`, on a connection that is admitted or not; appends
    /// answers to `out`.
    fn serve(&mut self, node: u16, is_admitted: &mut bool, frame: &[u8], out: &mut Vec<u8>) -> After {
        let (id, decoded) = decode_request(frame).expect("the generator speaks the protocol");
        let Decoded::Request(request) = decoded else { panic!("the generator keeps the limits") };
        if let Some(after) = self.admit(node, is_admitted, id, &request, out) {
            return after;
        }
        match request {
            Request::Topology => binary::encode_topology_answer(out, id, &self.topology()),
            Request::Status => binary::encode_status_answer(out, id, &self.status(node)),
            Request::OpenSession { group } => {
                assert!((1..=self.group_count).contains(&group.get()));
                self.slot += 1;
                self.sessions.insert(self.slot, BTreeMap::new());
                let reply: Reply<&[u8]> = Reply::Session(SessionId::new(self.slot));
                binary::encode_reply(out, id, &reply, "");
            }
            Request::Command { command, .. } => return self.command(node, id, &command, out),
            other => panic!("the generator does not ask {other:?}"),
        }
        After::Keep
    }

    /// Handles AUTH, and requests on connections that are not admitted; `None` if the request is to be
    /// executed.
    fn admit(
        &mut self,
        node: u16,
        is_admitted: &mut bool,
        id: u64,
        request: &Request<'_>,
        out: &mut Vec<u8>,
    ) -> Option<After> {
        let wanted = self.passwords.get(&node);
        if wanted.is_none() && !*is_admitted && self.is_protected {
            binary::encode_failure(out, 0, FailureCode::Protected, "protected mode");
            return Some(After::Ignore);
        }
        if let Request::Auth { password } = request {
            if wanted.is_some_and(|wanted| wanted != password.bytes()) {
                binary::encode_failure(out, id, FailureCode::AuthFailed, "wrong password");
                return Some(After::Ignore);
            }
            *is_admitted = true;
            self.admissions += 1;
            binary::encode_ok(out, id);
            return Some(After::Keep);
        }
        if wanted.is_some() && !*is_admitted {
            binary::encode_failure(out, id, FailureCode::AuthRequired, "authenticate first");
            return Some(After::Keep);
        }
        *is_admitted = true; // an admitted connection stays so
        None
    }

    fn command(&mut self, node: u16, id: u64, command: &Command<&[u8]>, out: &mut Vec<u8>) -> After {
        self.requests += 1;
        self.execute_due();
        let group = group_of(bucket_of(command.key), self.group_count);
        self.forwarded += u64::from(self.leaders[usize::from(group.get()) - 1] != node);
        let faults = self.faults;
        if self.hit(faults.forget_sessions) {
            self.sessions.clear();
        }
        if self.hit(faults.break_connection) {
            if self.hit(500) {
                self.execute(command);
            } else if self.hit(faults.execute_late)
                && command.stamp == SessionStamp::default()
                && let Op::Set { .. } = command.op
            {
                // Only without a session: with one, a retry would have to be recognised, as `execute` does.
                let due = self.requests + self.random.below(200);
                self.late.push((due, command.key.to_vec(), command.operand.to_vec()));
            }
            return After::Break;
        }
        if self.hit(faults.swallow) {
            return After::Keep;
        }
        let refusal = if self.hit(faults.no_leader) {
            Some(ErrorKind::NoLeader)
        } else if self.hit(faults.busy) {
            Some(ErrorKind::Busy)
        } else if matches!(command.op, Op::Set { .. }) && self.hit(faults.malformed) {
            Some(ErrorKind::Malformed)
        } else if self.hit(faults.unknown) {
            if self.hit(500) {
                self.execute(command);
            }
            Some(ErrorKind::Unknown)
        } else if matches!(command.op, Op::Set { .. }) && self.hit(faults.lie_busy) {
            self.execute(command);
            Some(ErrorKind::Busy)
        } else {
            None
        };
        let reply = match refusal {
            Some(kind) => Reply::Error(kind),
            None if matches!(command.op, Op::Set { .. }) && self.hit(faults.absurd) => Reply::Int(7),
            None => self.execute(command),
        };
        binary::encode_reply(out, id, &reply, "");
        After::Keep
    }

    fn execute(&mut self, command: &Command<&[u8]>) -> Reply<Vec<u8>> {
        match command.op {
            Op::Get => self.read(command.key),
            Op::Set { value_crc, .. } => {
                assert_eq!(
                    value_crc,
                    synod_types::checksum::crc32c(command.operand),
                    "the generator sends the value's own checksum"
                );
                self.write(command.key, command.operand, command.stamp)
            }
            other => panic!("the generator does not do {other:?}"),
        }
    }

    fn read(&mut self, key: &[u8]) -> Reply<Vec<u8>> {
        let faults = self.faults;
        let key = if self.hit(faults.wrong_key) {
            let other = self.store.keys().find(|other| *other != key);
            other.cloned().unwrap_or_else(|| key.to_vec())
        } else {
            key.to_vec()
        };
        let (absent, stale, corrupt) =
            (self.hit(faults.absent_read), self.hit(faults.stale_read), self.hit(faults.corrupt_read));
        let Some(stored) = self.store.get(&key) else { return Reply::Nil };
        let (mut value, mut version) = (stored.value.clone(), stored.version);
        if stale && let Some(before) = &stored.before {
            (value, version) = before.clone();
        }
        if corrupt {
            let bit = self.random.below(value.len() as u64 * 8) as usize;
            value[bit / 8] ^= 1 << (bit % 8);
        }
        if absent { Reply::Nil } else { Reply::Value { value, version } }
    }

    fn write(&mut self, key: &[u8], value: &[u8], stamp: SessionStamp) -> Reply<Vec<u8>> {
        let faults = self.faults;
        if stamp != SessionStamp::default() {
            let Some(replies) = self.sessions.get_mut(&stamp.session.get()) else {
                return Reply::Error(ErrorKind::SessionExpired);
            };
            assert!(stamp.lowest_open <= stamp.sequence && stamp.sequence > 0);
            *replies = replies.split_off(&stamp.lowest_open);
            assert!(replies.len() < synod_types::limits::SESSION_REPLIES_MAX, "the window is kept");
            if let Some(&version) = replies.get(&stamp.sequence) {
                if self.hit(faults.execute_twice) {
                    self.put(key, value);
                }
                return Reply::Done { version };
            }
        }
        let is_lost = faults.lose_after > 0 && self.slot >= faults.lose_after;
        let version = if self.hit(faults.lose_write) || is_lost {
            self.slot += 1;
            Version { slot: Slot::new(self.slot), position: 0 }
        } else {
            self.put(key, value)
        };
        if let Some(replies) = self.sessions.get_mut(&stamp.session.get()) {
            replies.insert(stamp.sequence, version);
        }
        Reply::Done { version }
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Version {
        self.slot += 1;
        let version = Version { slot: Slot::new(self.slot), position: 0 };
        let before = self.store.get(key).map(|stored| (stored.value.clone(), stored.version));
        self.store.insert(key.to_vec(), Stored { value: value.to_vec(), version, before });
        version
    }

    fn execute_due(&mut self) {
        let (due, later) =
            std::mem::take(&mut self.late).into_iter().partition(|(at, ..)| *at <= self.requests);
        self.late = later;
        let due: Vec<(u64, Vec<u8>, Vec<u8>)> = due;
        for (_, key, value) in due {
            self.put(&key, &value);
        }
    }

    fn hit(&mut self, permille: u64) -> bool {
        permille > 0 && self.random.below(1000) < permille
    }

    fn status(&self, node: u16) -> NodeStatus {
        let groups = (1..=self.group_count).map(|group| GroupState {
            group: GroupId::new(group),
            core: CoreId::new(0),
            role: GroupRole::Follower,
            serving: false,
            leader: None,
            promised: Ballot::ZERO,
            chosen: Slot::ZERO,
            applied: Slot::ZERO,
            keys: 0,
            leader_changes: self.leader_changes,
        });
        NodeStatus {
            node: NodeId::new(node),
            uptime_ms: 1,
            groups: groups.collect(),
            ..NodeStatus::default()
        }
    }
}

/// The server's end of one connection: splits the received bytes into frames.
#[derive(Debug, Default)]
pub(crate) struct ServerEnd {
    received: Vec<u8>,
    is_open: bool,
    is_admitted: bool,
    is_ignored: bool,
}

impl ServerEnd {
    /// Takes received bytes and executes every whole frame.
    pub(crate) fn feed(
        &mut self,
        cluster: &mut FakeCluster,
        node: u16,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> After {
        if self.is_ignored {
            return After::Keep;
        }
        self.received.extend_from_slice(bytes);
        if !self.is_open && self.received.len() >= binary::PREAMBLE.len() {
            assert!(self.received.starts_with(&binary::PREAMBLE), "the generator says what it speaks");
            self.received.drain(..binary::PREAMBLE.len());
            self.is_open = true;
        }
        while self.is_open
            && let Some(raw) = self.received.first_chunk::<4>()
        {
            let length = u32::from_le_bytes(*raw) as usize;
            if self.received.len() < length {
                break;
            }
            let frame: Vec<u8> = self.received.drain(..length).collect();
            match cluster.serve(node, &mut self.is_admitted, &frame, out) {
                After::Keep => {}
                After::Break => return After::Break,
                After::Ignore => {
                    self.is_ignored = true;
                    break;
                }
            }
        }
        After::Keep
    }
}
