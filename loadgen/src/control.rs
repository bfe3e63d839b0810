//! Access to the cluster before and after a run: find it, wait until it is ready, query its status. Uses
//! blocking std sockets with deadlines; the load itself goes through `client/`.

use crate::admission::NotAdmitted;
use crate::driver::{Endpoint, encode_resp};
use crate::error::LoadError;
use crate::options::{Options, Protocol};
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};
use synod_net::access::Secret;
use synod_net::binary::{
    self, Durability, NodeStatus, ResponseBody, ResponseDecoder, Topology, TopologyNode,
};
use synod_types::{CoreId, GroupId, NodeId};

/// Timeout of one query.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause between two rounds of queries.
const PAUSE: Duration = Duration::from_millis(50);
const REQUEST_ID: u64 = 1;
const AUTH_ID: u64 = 2;

/// Why the cluster cannot be loaded.
#[derive(Debug)]
enum Problem {
    /// The problem may be temporary.
    Passing(String),
    /// The problem is permanent.
    Lasting(String),
}

impl Problem {
    fn at(self, target: &str) -> Self {
        match self {
            Self::Passing(problem) => Self::Passing(format!("{target}: {problem}")),
            Self::Lasting(sentence) => Self::Lasting(format!("{target} {sentence}")),
        }
    }
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Self::Passing(error.to_string())
    }
}

impl From<NotAdmitted> for Problem {
    fn from(why: NotAdmitted) -> Self {
        Self::Lasting(why.to_string())
    }
}

/// A cluster that can be loaded.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    pub(crate) topology: Topology,
    pub(crate) endpoints: Vec<Endpoint>,
    /// One client port for each node.
    nodes: Vec<(NodeId, SocketAddr)>,
}

impl Cluster {
    /// Waits until the cluster has a leader for every group, for at most `patience`. Fails at once if the
    /// cluster does not admit the generator.
    pub(crate) fn find(options: &Options) -> Result<Self, LoadError> {
        let end = Instant::now() + options.patience;
        loop {
            let seen = match options.protocol {
                Protocol::Binary => Self::look(options),
                Protocol::Resp => Self::look_resp(options),
            };
            let problem = match seen {
                Ok(cluster) => return Ok(cluster),
                Err(Problem::Lasting(sentence)) => return Err(LoadError::Cluster(sentence)),
                Err(Problem::Passing(problem)) => problem,
            };
            if Instant::now() + PAUSE >= end {
                let waited_s = options.patience.as_secs_f64();
                return Err(LoadError::Cluster(format!("no cluster to load after {waited_s} s: {problem}")));
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn look(options: &Options) -> Result<Self, Problem> {
        let mut problems = Vec::new();
        for target in &options.target {
            let seen = Self::look_at(target, options.password.as_ref());
            match seen.map_err(|problem| problem.at(target)) {
                Ok(cluster) => return Ok(cluster),
                Err(Problem::Passing(problem)) => problems.push(problem),
                Err(lasting) => return Err(lasting),
            }
        }
        Err(Problem::Passing(problems.join("; ")))
    }

    /// Looks at servers that speak RESP. Every target must answer, because each is an endpoint of its own.
    fn look_resp(options: &Options) -> Result<Self, Problem> {
        let mut endpoints = Vec::new();
        for (target, node) in options.target.iter().zip(1..) {
            let addr = ping(target, options.password.as_ref()).map_err(|problem| problem.at(target))?;
            endpoints.push(Endpoint { node: NodeId::new(node), core: None, addr });
        }
        let topology = Topology { group_count: 1, ..Topology::default() };
        Ok(Self { topology, endpoints, nodes: Vec::new() })
    }

    fn look_at(target: &str, password: Option<&Secret>) -> Result<Self, Problem> {
        let mut problem = "the name has no address".to_owned();
        for addr in target.to_socket_addrs()? {
            match ask(addr, password, |out| binary::encode_topology(out, REQUEST_ID)) {
                Ok(ResponseBody::Topology(topology)) => {
                    return Self::from_topology(topology, addr).map_err(Problem::Passing);
                }
                Ok(ResponseBody::Failed(failure)) => problem = format!("it answered {failure:?}"),
                Ok(_) => problem = "it answered something else".into(),
                Err(Problem::Passing(error)) => problem = error,
                Err(lasting) => return Err(lasting),
            }
        }
        Err(Problem::Passing(problem))
    }

    fn from_topology(topology: Topology, told_by: SocketAddr) -> Result<Self, String> {
        if topology.group_count == 0 || topology.nodes.is_empty() {
            return Err("it knows no groups or no nodes yet".into());
        }
        let has_leader = |group| {
            let known = topology.group(group).and_then(|group| group.leader);
            known.is_some_and(|leader| topology.node(leader).is_some())
        };
        let without = (1..=topology.group_count).filter(|&group| !has_leader(GroupId::new(group))).count();
        if without > 0 {
            return Err(format!("{without} of {} groups have no leader yet", topology.group_count));
        }
        let (mut endpoints, mut nodes) = (Vec::new(), Vec::new());
        for node in &topology.nodes {
            let of_node = endpoints_of(node, told_by.ip())?;
            nodes.extend(of_node.first().map(|first| (node.node, first.addr)));
            endpoints.extend(of_node);
        }
        Ok(Self { topology, endpoints, nodes })
    }

    /// The status of every node that answers.
    pub(crate) fn statuses(&self, password: Option<&Secret>) -> Vec<NodeStatus> {
        let ask_one = |&(_, addr): &(NodeId, SocketAddr)| {
            let answer = ask(addr, password, |out| binary::encode_status(out, REQUEST_ID));
            match answer {
                Ok(ResponseBody::Status(status)) => Some(status),
                Ok(_) | Err(_) => None,
            }
        };
        self.nodes.iter().filter_map(ask_one).collect()
    }
}

/// The endpoints of a node: one port for each core, or the shared port if cores have none.
fn endpoints_of(node: &TopologyNode, told_by: IpAddr) -> Result<Vec<Endpoint>, String> {
    let resolve = |port: u16| {
        let mut addrs = (node.host.as_str(), port).to_socket_addrs().map_err(|error| {
            format!("node {} is at {}:{port}, which cannot be resolved: {error}", node.node, node.host)
        })?;
        let addr = addrs.next().ok_or_else(|| format!("{} has no address", node.host))?;
        // A node that listens on all addresses reports the unspecified one; use the address it was found at.
        let ip = if addr.ip().is_unspecified() { told_by } else { addr.ip() };
        Ok::<_, String>(SocketAddr::new(ip, addr.port()))
    };
    if node.core_port_base == 0 || node.core_count == 0 {
        return Ok(vec![Endpoint { node: node.node, core: None, addr: resolve(node.port)? }]);
    }
    (0..node.core_count)
        .map(|core| {
            let port = node.core_port_base.checked_add(core).ok_or("a core's port is past 65535")?;
            Ok(Endpoint { node: node.node, core: Some(CoreId::new(core)), addr: resolve(port)? })
        })
        .collect()
}

/// The address of `target` if it answers PING.
fn ping(target: &str, password: Option<&Secret>) -> Result<SocketAddr, Problem> {
    let mut problem = "the name has no address".to_owned();
    for addr in target.to_socket_addrs()? {
        match ping_at(addr, password) {
            Ok(()) => return Ok(addr),
            Err(Problem::Passing(error)) => problem = error,
            Err(lasting) => return Err(lasting),
        }
    }
    Err(Problem::Passing(problem))
}

fn ping_at(addr: SocketAddr, password: Option<&Secret>) -> Result<(), Problem> {
    let end = Instant::now() + ASK_TIMEOUT;
    let mut stream = TcpStream::connect_timeout(&addr, ASK_TIMEOUT)?;
    stream.set_write_timeout(Some(ASK_TIMEOUT))?;
    let mut out = Vec::new();
    if let Some(password) = password {
        encode_resp(&mut out, &[b"AUTH", password.bytes()]);
    }
    encode_resp(&mut out, &[b"PING"]);
    stream.write_all(&out)?;
    let error_of = |answer: &[u8]| answer.strip_prefix(b"-").map(|text| text.trim_ascii_end().to_vec());
    if password.is_some() {
        let answer = read_line(&mut stream, end)?;
        if answer != b"+OK\r\n" {
            let why = error_of(&answer).and_then(|text| NotAdmitted::of_reply_to_auth(&text));
            // The reply is not shown: it may repeat the password.
            let passing = || Problem::Passing("it answered AUTH with something else than OK".into());
            return Err(why.map_or_else(passing, Problem::from));
        }
    }
    let answer = read_line(&mut stream, end)?;
    if answer == b"+PONG\r\n" {
        return Ok(());
    }
    match error_of(&answer).and_then(|text| NotAdmitted::of_reply(&text)) {
        Some(why) => Err(why.into()),
        None => {
            let said = String::from_utf8_lossy(&answer);
            Err(Problem::Passing(format!("it answered {:?} to PING", said.trim())))
        }
    }
}

/// Reads a line; stops at 512 bytes.
fn read_line(stream: &mut TcpStream, end: Instant) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    while !line.ends_with(b"\n") && line.len() < 512 {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::other("it does not answer"));
        }
        stream.set_read_timeout(Some(left))?;
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        line.push(byte[0]);
    }
    Ok(line)
}

/// Sends one query on a connection of its own, after AUTH if there is a password.
fn ask(
    addr: SocketAddr,
    password: Option<&Secret>,
    encode: impl FnOnce(&mut Vec<u8>),
) -> Result<ResponseBody, Problem> {
    let end = Instant::now() + ASK_TIMEOUT;
    let mut stream = TcpStream::connect_timeout(&addr, ASK_TIMEOUT)?;
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(ASK_TIMEOUT))?;
    let mut out = binary::PREAMBLE.to_vec();
    if let Some(password) = password {
        binary::encode_auth(&mut out, AUTH_ID, password.bytes());
    }
    encode(&mut out);
    stream.write_all(&out)?;
    let (mut decoder, mut buffer) = (ResponseDecoder::new(), [0; 4096]);
    loop {
        match decoder.next() {
            Ok(Some(response)) => {
                if let ResponseBody::Failed(failure) = response.body
                    && let Some(why) = NotAdmitted::of_failure(failure)
                {
                    return Err(why.into());
                }
                match (response.id, response.body) {
                    (AUTH_ID, ResponseBody::Ok) => {}
                    // The password is longer than any password may be.
                    (AUTH_ID, ResponseBody::Reply(_)) => return Err(NotAdmitted::PasswordWrong.into()),
                    (AUTH_ID | REQUEST_ID | 0, body) => return Ok(body),
                    _ => {}
                }
            }
            Err(error) => return Err(Problem::Passing(error.to_string())),
            Ok(None) => {
                let left = end.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(Problem::Passing("it does not answer".into()));
                }
                stream.set_read_timeout(Some(left))?;
                match stream.read(&mut buffer)? {
                    0 => return Err(Problem::Passing("it closed the connection".into())),
                    count => decoder.feed(&buffer[..count]),
                }
            }
        }
    }
}

/// The durability mode that the nodes report: `mixed` if they differ.
pub(crate) fn durability(statuses: &[NodeStatus]) -> String {
    let name = |status: &NodeStatus| match status.durability {
        Durability::Sync => "sync",
        Durability::Async => "async",
        Durability::None => "none",
    };
    match statuses {
        [] => "unknown".to_owned(),
        [first, rest @ ..] if rest.iter().all(|status| status.durability == first.durability) => {
            name(first).into()
        }
        _ => "mixed".to_owned(),
    }
}

/// Leader changes between two status queries: for each group the most that any of its replicas saw. `None`
/// when no node answered both times. A node that was restarted in between counts from its restart.
pub(crate) fn leader_changes(before: &[NodeStatus], after: &[NodeStatus]) -> Option<u64> {
    let mut most: BTreeMap<GroupId, u64> = BTreeMap::new();
    let mut compared = false;
    for later in after {
        let Some(earlier) = before.iter().find(|earlier| earlier.node == later.node) else { continue };
        compared = true;
        let restarted = later.uptime_ms < earlier.uptime_ms || later.incarnation != earlier.incarnation;
        for group in &later.groups {
            let base = earlier.groups.iter().find(|other| other.group == group.group && !restarted);
            let changes = group.leader_changes.saturating_sub(base.map_or(0, |base| base.leader_changes));
            let entry = most.entry(group.group).or_default();
            *entry = changes.max(*entry);
        }
    }
    compared.then(|| most.values().sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use synod_net::binary::{GroupRole, GroupState, TopologyGroup};
    use synod_types::{Ballot, Slot};

    fn status(node: u16, uptime_ms: u64, changes: &[u64]) -> NodeStatus {
        let group = |(index, &leader_changes): (u16, &u64)| GroupState {
            group: GroupId::new(index),
            core: CoreId::new(0),
            role: GroupRole::Follower,
            serving: false,
            leader: None,
            promised: Ballot::ZERO,
            chosen: Slot::ZERO,
            applied: Slot::ZERO,
            keys: 0,
            leader_changes,
        };
        let groups = (1..).zip(changes).map(group).collect();
        NodeStatus { node: NodeId::new(node), uptime_ms, groups, ..NodeStatus::default() }
    }

    #[test]
    fn leader_changes_are_counted_once_for_all_replicas() {
        let before = [status(1, 10, &[1, 0]), status(2, 10, &[0, 5])];
        assert_eq!(leader_changes(&before, &before), Some(0));
        assert_eq!(leader_changes(&before, &[status(1, 20, &[2, 0]), status(2, 20, &[1, 7])]), Some(3));
        assert_eq!(leader_changes(&before, &[status(1, 5, &[1, 0])]), Some(1), "restarted: counts from 0");
        assert_eq!(leader_changes(&before, &[status(3, 20, &[9])]), None);
        assert_eq!(leader_changes(&before, &[]), None);
    }

    #[test]
    fn durability_is_named_when_all_agree() {
        let (sync, mut quick) = (status(1, 1, &[]), status(2, 1, &[]));
        assert_eq!(durability(&[]), "unknown");
        assert_eq!(durability(&[sync.clone(), quick.clone()]), "sync");
        quick.durability = Durability::None;
        assert_eq!(durability(&[sync, quick]), "mixed");
    }

    #[test]
    fn ports_of_cores_are_found_and_missing_leaders_named() {
        let told_by: SocketAddr = "10.1.2.3:6379".parse().expect("an address");
        let node = |node, host: &str, core_port_base| TopologyNode {
            node: NodeId::new(node),
            host: host.into(),
            port: 6379,
            core_port_base,
            core_count: 2,
        };
        let group = |group, leader: Option<u16>| TopologyGroup {
            group: GroupId::new(group),
            leader: leader.map(NodeId::new),
            core: CoreId::new(0),
        };
        let mut topology = Topology {
            group_count: 2,
            nodes: vec![node(1, "127.0.0.1", 7000), node(2, "0.0.0.0", 0)],
            groups: vec![group(1, Some(1)), group(2, Some(2))],
            ..Topology::default()
        };
        let cluster = Cluster::from_topology(topology.clone(), told_by).expect("complete");
        let addrs: Vec<_> = cluster.endpoints.iter().map(|endpoint| endpoint.addr.to_string()).collect();
        assert_eq!(addrs, ["127.0.0.1:7000", "127.0.0.1:7001", "10.1.2.3:6379"]);
        topology.groups[1].leader = None;
        let problem = Cluster::from_topology(topology.clone(), told_by).expect_err("no leader");
        assert_eq!(problem, "1 of 2 groups have no leader yet");
        topology.groups.pop();
        assert!(Cluster::from_topology(topology, told_by).is_err(), "the view does not mention every group");
        assert!(Cluster::from_topology(Topology::default(), told_by).is_err());
        let high = TopologyNode { core_port_base: 65_535, ..node(1, "127.0.0.1", 1) };
        assert!(endpoints_of(&high, told_by.ip()).is_err());
    }
}
