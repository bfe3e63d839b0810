//! `synod get`, `set`, `del` and `status`: one request to a running cluster, through the client library.
//!
//! Answers go to standard output unchanged, so that they can be piped. Everything else goes to standard
//! error.

use crate::config::Secret;
use crate::node::RunError;
use crate::refusal::Refusal;
use std::fmt::Write as _;
use std::io::{self, Read, Write as _};
use std::time::Duration;
use synod_net::binary::{FailureCode, GroupRole, GroupState, NodeStatus, Topology};
use synod_net::client::{Client, ClientConfig, ClientError, ConnectError, TcpDial};
use synod_types::limits::VALUE_BYTES_MAX;
use synod_types::{Command, Condition, Consistency, Expiry, Nanos, NodeId, Op, Reply};

/// The cluster to ask, and how long to wait for it.
#[derive(Clone, Debug)]
pub struct Target {
    /// Some of its nodes, `host:port`.
    pub addresses: Vec<String>,
    /// How long to wait for an answer.
    pub timeout: Duration,
    /// The password that the cluster requires, if any.
    pub password: Option<Secret>,
}

impl Target {
    fn connect(&self) -> Result<Client, RunError> {
        let deadline = Nanos(u64::try_from(self.timeout.as_nanos()).unwrap_or(u64::MAX));
        let config = ClientConfig { deadline, password: self.password.clone(), ..ClientConfig::default() };
        Client::connect_with(&self.addresses, config, Box::new(TcpDial)).map_err(|error| match error {
            ConnectError::Address(bad) => RunError::Refused(Refusal::Usage(format!("--target: {bad}"))),
            ConnectError::Client(error @ ClientError::NotAdmitted(_)) => failed(&error),
            ConnectError::Client(error) => {
                RunError::Failed(format!("no answer from {}: {error}", self.addresses.join(" or ")))
            }
        })
    }
}

fn failed(error: &ClientError) -> RunError {
    RunError::Failed(match error {
        ClientError::NotAdmitted(FailureCode::AuthRequired) => {
            "the cluster wants a password: give it in the variable SYNOD_PASSWORD".to_owned()
        }
        ClientError::NotAdmitted(FailureCode::AuthFailed) => {
            "the cluster wants another password than the one in SYNOD_PASSWORD".to_owned()
        }
        ClientError::NotAdmitted(FailureCode::Protected) => {
            "the node has no password and accepts only clients on its own machine (protected mode)".to_owned()
        }
        error => error.to_string(),
    })
}

/// Prints the value of `key`. A missing key is a failure, so that scripts can test for it.
pub fn get(target: &Target, key: Vec<u8>, consistency: Consistency) -> Result<(), RunError> {
    let reply = target.connect()?.command(consistency, Command::plain(key, Op::Get));
    match reply.map_err(|error| failed(&error))? {
        Reply::Value { value, .. } => print_line(&value),
        Reply::Nil => Err(RunError::Failed("there is no such key".to_owned())),
        _ => Err(failed(&ClientError::WrongAnswer)),
    }
}

/// The options of a SET.
#[derive(Clone, Debug)]
pub struct SetOptions {
    /// The key.
    pub key: Vec<u8>,
    /// The value; `None` to read it from standard input.
    pub value: Option<Vec<u8>>,
    /// The condition under which the key is set.
    pub condition: Condition,
    /// The time after which the key expires, if it expires.
    pub expires_in: Option<Duration>,
}

/// Sets a key and prints OK once the write is durable on a quorum.
pub fn set(target: &Target, options: SetOptions) -> Result<(), RunError> {
    let value = match options.value {
        Some(value) => value,
        None => read_value(io::stdin().lock())?,
    };
    let expiry = match options.expires_in {
        // Rounded up: a key must not vanish before its time.
        Some(span) => Expiry::After(u64::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)),
        None => Expiry::None,
    };
    let set = target.connect()?.set_if(&options.key, &value, options.condition, expiry);
    match set.map_err(|error| failed(&error))? {
        Some(_) => print_line(b"OK"),
        None => Err(RunError::Failed("not set: the condition does not hold".to_owned())),
    }
}

fn read_value(source: impl Read) -> Result<Vec<u8>, RunError> {
    let mut value = Vec::new();
    let read = source.take(VALUE_BYTES_MAX as u64 + 1).read_to_end(&mut value);
    read.map_err(|error| RunError::Failed(format!("cannot read the value from standard input: {error}")))?;
    if value.len() > VALUE_BYTES_MAX {
        return Err(RunError::Refused(Refusal::Usage(format!(
            "a value has at most {VALUE_BYTES_MAX} bytes"
        ))));
    }
    Ok(value)
}

/// Removes keys and prints how many of them existed.
pub fn del(target: &Target, keys: &[Vec<u8>]) -> Result<(), RunError> {
    let mut client = target.connect()?;
    let mut count = 0_u64;
    for key in keys {
        let existed = client.del(key).map_err(|error| {
            let key = String::from_utf8_lossy(key);
            RunError::Failed(format!("{key}: {error} ({count} removed before it)"))
        })?;
        count += u64::from(existed);
    }
    print_line(count.to_string().as_bytes())
}

/// Prints the state of every node and every group.
pub fn status(target: &Target) -> Result<(), RunError> {
    let mut client = target.connect()?;
    let topology = client.topology().map_err(|error| failed(&error))?;
    let nodes: Vec<NodeReport> = topology
        .nodes
        .iter()
        .map(|node| NodeReport {
            node: node.node,
            address: format!("{}:{}", node.host, node.port),
            status: client.status_of(node.node).map_err(|error| error.to_string()),
        })
        .collect();
    print_line(table(&topology, &nodes).trim_end().as_bytes())
}

struct NodeReport {
    node: NodeId,
    address: String,
    status: Result<NodeStatus, String>,
}

/// One line per node, then one line per group with each node's view of it.
fn table(topology: &Topology, nodes: &[NodeReport]) -> String {
    // Writing into a String cannot fail.
    let mut out = String::new();
    let _ = writeln!(out, "cluster {}, {} groups", topology.cluster, topology.group_count);
    let _ = writeln!(
        out,
        "\n{:<6} {:<22} {:>10} {:>6} {:>7} {:>12} {:>8}  version",
        "node", "address", "up", "cores", "leads", "keys", "changes"
    );
    for report in nodes {
        let _ = match &report.status {
            Err(why) => writeln!(out, "{:<6} {:<22} {why}", report.node.to_string(), report.address),
            Ok(status) => {
                let leads = status.groups.iter().filter(|group| group.role == GroupRole::Leader).count();
                writeln!(
                    out,
                    "{:<6} {:<22} {:>10} {:>6} {:>7} {:>12} {:>8}  {}",
                    report.node.to_string(),
                    report.address,
                    uptime(status.uptime_ms),
                    status.core_count,
                    leads,
                    status.groups.iter().map(|group| group.keys).sum::<u64>(),
                    status.groups.iter().map(|group| group.leader_changes).sum::<u64>(),
                    status.version,
                )
            }
        };
    }

    let _ = write!(out, "\n{:<6} {:<8}", "group", "leader");
    for report in nodes {
        let _ = write!(out, " {:<28}", format!("{} chosen/applied", report.node));
    }
    out.push('\n');
    for group in &topology.groups {
        let leader = group.leader.map_or("none".to_owned(), |node| node.to_string());
        let _ = write!(out, "{:<6} {leader:<8}", group.group.to_string());
        for report in nodes {
            let state = report
                .status
                .as_ref()
                .ok()
                .and_then(|status| status.groups.iter().find(|state| state.group == group.group));
            let _ = write!(out, " {:<28}", state.map_or("?".to_owned(), replica));
        }
        let trimmed = out.trim_end().len();
        out.truncate(trimmed);
        out.push('\n');
    }
    out
}

fn replica(state: &GroupState) -> String {
    let role = match (state.role, state.serving) {
        (GroupRole::Leader, true) => "leads",
        (GroupRole::Leader, false) => "begins to lead",
        (GroupRole::Candidate, _) => "stands",
        (GroupRole::Follower, _) => "follows",
    };
    format!("{role} {}/{}", state.chosen.get(), state.applied.get())
}

fn uptime(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h {}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

fn print_line(bytes: &[u8]) -> Result<(), RunError> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)
        .and_then(|()| out.write_all(b"\n"))
        .and_then(|()| out.flush())
        .map_err(|error| RunError::Failed(format!("cannot write the answer: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use synod_net::binary::{TopologyGroup, TopologyNode};
    use synod_types::{Ballot, ClusterId, CoreId, GroupId, Slot};

    #[test]
    fn the_table_shows_every_node_and_group_and_what_is_not_known() {
        let node = |id, port| TopologyNode {
            node: NodeId::new(id),
            host: "127.0.0.1".to_owned(),
            port,
            core_port_base: 0,
            core_count: 1,
        };
        let topology = Topology {
            cluster: ClusterId::new(7),
            epoch: 1,
            group_count: 1,
            nodes: vec![node(1, 6379), node(2, 6380)],
            groups: vec![TopologyGroup {
                group: GroupId::new(1),
                leader: Some(NodeId::new(1)),
                core: CoreId::new(0),
            }],
        };
        let state = GroupState {
            group: GroupId::new(1),
            core: CoreId::new(0),
            role: GroupRole::Leader,
            serving: true,
            leader: Some(NodeId::new(1)),
            promised: Ballot::new(1, NodeId::new(1)),
            chosen: Slot::new(42),
            applied: Slot::new(41),
            keys: 9,
            leader_changes: 0,
        };
        let status = NodeStatus {
            node: NodeId::new(1),
            core_count: 1,
            uptime_ms: 61_000,
            version: "0.1.0".to_owned(),
            groups: vec![state],
            ..NodeStatus::default()
        };
        let report = |node: &TopologyNode, status| NodeReport {
            node: node.node,
            address: format!("{}:{}", node.host, node.port),
            status,
        };
        let nodes = [
            report(&topology.nodes[0], Ok(status)),
            report(&topology.nodes[1], Err("not executed: no server could be reached".to_owned())),
        ];
        let text = table(&topology, &nodes);
        let wanted = "\
cluster 00000000000000000000000000000007, 1 groups

node   address                        up  cores   leads         keys  changes  version
n1     127.0.0.1:6379              1m 1s      1       1            9        0  0.1.0
n2     127.0.0.1:6380         not executed: no server could be reached

group  leader   n1 chosen/applied            n2 chosen/applied           \n\
g1     n1       leads 42/41                  ?
";
        assert_eq!(text, wanted);
    }

    #[test]
    fn a_value_from_standard_input_is_bounded() {
        assert_eq!(read_value(&b"abc"[..]).unwrap(), b"abc");
        assert!(read_value(io::repeat(0)).unwrap_err().to_string().contains("at most 1048576 bytes"));
    }
}
