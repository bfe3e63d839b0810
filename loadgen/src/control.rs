//! The cluster before and after a run: found, waited for, asked for its status. Blocking std sockets with deadlines; the load
//! itself goes through `client/`.

use crate::driver::Endpoint;
use crate::error::LoadError;
use crate::options::{Options, Protocol};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};
use synod_net::binary::{
    self, Durability, NodeStatus, ResponseBody, ResponseDecoder, Topology, TopologyNode,
};
use synod_types::{CoreId, GroupId, NodeId};

/// One question takes at most this long.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);
/// Between two rounds of questions.
const PAUSE: Duration = Duration::from_millis(50);
const REQUEST_ID: u64 = 1;

/// A cluster that can be loaded.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    pub(crate) topology: Topology,
    pub(crate) endpoints: Vec<Endpoint>,
    /// One client port for each node.
    nodes: Vec<(NodeId, SocketAddr)>,
}

impl Cluster {
    /// Waits until the cluster has a leader for every group; `patience` long.
    pub(crate) fn find(options: &Options) -> Result<Self, LoadError> {
        let end = Instant::now() + options.patience;
        loop {
            let seen = match options.protocol {
                Protocol::Binary => Self::look(&options.target),
                Protocol::Resp => Self::look_resp(&options.target),
            };
            let problem = match seen {
                Ok(cluster) => return Ok(cluster),
                Err(problem) => problem,
            };
            if Instant::now() + PAUSE >= end {
                let waited_s = options.patience.as_secs_f64();
                return Err(LoadError::Cluster(format!("no cluster to load after {waited_s} s: {problem}")));
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn look(targets: &[String]) -> Result<Self, String> {
        let mut problems = Vec::new();
        for target in targets {
            match Self::look_at(target) {
                Ok(cluster) => return Ok(cluster),
                Err(problem) => problems.push(format!("{target}: {problem}")),
            }
        }
        Err(problems.join("; "))
    }

    /// Servers that speak RESP: every target must answer, for each is an endpoint of its own.
    fn look_resp(targets: &[String]) -> Result<Self, String> {
        let mut endpoints = Vec::new();
        for (target, node) in targets.iter().zip(1..) {
            let addr = ping(target).map_err(|problem| format!("{target}: {problem}"))?;
            endpoints.push(Endpoint { node: NodeId::new(node), core: None, addr });
        }
        let topology = Topology { group_count: 1, ..Topology::default() };
        Ok(Self { topology, endpoints, nodes: Vec::new() })
    }

    fn look_at(target: &str) -> Result<Self, String> {
        let addrs = target.to_socket_addrs().map_err(|error| error.to_string())?;
        let mut problem = "the name has no address".to_owned();
        for addr in addrs {
            match ask(addr, |out| binary::encode_topology(out, REQUEST_ID)) {
                Ok(ResponseBody::Topology(topology)) => return Self::from_topology(topology, addr),
                Ok(ResponseBody::Failed(failure)) => problem = format!("it answered {failure:?}"),
                Ok(_) => problem = "it answered something else".into(),
                Err(error) => problem = error,
            }
        }
        Err(problem)
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

    /// Status of every node that answers.
    pub(crate) fn statuses(&self) -> Vec<NodeStatus> {
        let ask_one =
            |&(_, addr): &(NodeId, SocketAddr)| match ask(addr, |out| binary::encode_status(out, REQUEST_ID))
            {
                Ok(ResponseBody::Status(status)) => Some(status),
                Ok(_) | Err(_) => None,
            };
        self.nodes.iter().filter_map(ask_one).collect()
    }
}

/// The ports of a node: one for each core, or the shared one where cores have none.
fn endpoints_of(node: &TopologyNode, told_by: IpAddr) -> Result<Vec<Endpoint>, String> {
    let resolve = |port: u16| {
        let mut addrs = (node.host.as_str(), port).to_socket_addrs().map_err(|error| {
            format!("node {} is at {}:{port}, which cannot be resolved: {error}", node.node, node.host)
        })?;
        let addr = addrs.next().ok_or_else(|| format!("{} has no address", node.host))?;
        // A node that listens everywhere says so; it is where it was found.
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
fn ping(target: &str) -> Result<SocketAddr, String> {
    let text = |error: std::io::Error| error.to_string();
    let mut problem = "the name has no address".to_owned();
    for addr in target.to_socket_addrs().map_err(text)? {
        let end = Instant::now() + ASK_TIMEOUT;
        let answer = TcpStream::connect_timeout(&addr, ASK_TIMEOUT).and_then(|mut stream| {
            stream.set_write_timeout(Some(ASK_TIMEOUT))?;
            stream.write_all(b"*1\r\n$4\r\nPING\r\n")?;
            let mut answer = Vec::new();
            // A line; a server that says more than fits one is not asked further.
            while !answer.ends_with(b"\n") && answer.len() < 512 {
                let left = end.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(std::io::Error::other("it does not answer"));
                }
                stream.set_read_timeout(Some(left))?;
                let mut byte = [0];
                stream.read_exact(&mut byte)?;
                answer.push(byte[0]);
            }
            Ok(answer)
        });
        match answer {
            Ok(answer) if answer == b"+PONG\r\n" => return Ok(addr),
            Ok(answer) => {
                problem = format!("it answered {:?} to PING", String::from_utf8_lossy(&answer).trim())
            }
            Err(error) => problem = error.to_string(),
        }
    }
    Err(problem)
}

/// Asks one question on a connection of its own.
fn ask(addr: SocketAddr, encode: impl FnOnce(&mut Vec<u8>)) -> Result<ResponseBody, String> {
    let end = Instant::now() + ASK_TIMEOUT;
    let text = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect_timeout(&addr, ASK_TIMEOUT).map_err(text)?;
    stream.set_nodelay(true).map_err(text)?;
    stream.set_write_timeout(Some(ASK_TIMEOUT)).map_err(text)?;
    let mut out = binary::PREAMBLE.to_vec();
    encode(&mut out);
    stream.write_all(&out).map_err(text)?;
    let (mut decoder, mut buffer) = (ResponseDecoder::new(), [0; 4096]);
    loop {
        match decoder.next() {
            Ok(Some(response)) if response.id == REQUEST_ID || response.id == 0 => return Ok(response.body),
            Ok(Some(_)) => {}
            Err(error) => return Err(error.to_string()),
            Ok(None) => {
                let left = end.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err("it does not answer".into());
                }
                stream.set_read_timeout(Some(left)).map_err(text)?;
                match stream.read(&mut buffer).map_err(text)? {
                    0 => return Err("it closed the connection".into()),
                    count => decoder.feed(&buffer[..count]),
                }
            }
        }
    }
}

/// The durability mode that all nodes name.
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

/// Leader changes between two looks: for each group the most that any of its replicas saw; `None` when no node answered
/// both times. A node that was restarted between them counts from its restart.
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
        assert!(Cluster::from_topology(topology, told_by).is_err(), "a group nobody speaks of");
        assert!(Cluster::from_topology(Topology::default(), told_by).is_err());
        let high = TopologyNode { core_port_base: 65_535, ..node(1, "127.0.0.1", 1) };
        assert!(endpoints_of(&high, told_by.ip()).is_err());
    }
}
