//! The answers about a server and its cluster: HELLO, TOPOLOGY and STATUS.

use crate::error::ProtocolError;
use crate::wire::{Put, Reader};
use synod_types::{Ballot, ClusterId, CoreId, GroupId, Incarnation, NodeId, Slot};

/// The server's identity.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ServerInfo {
    /// The cluster it belongs to.
    pub cluster: ClusterId,
    /// The node.
    pub node: NodeId,
    /// Number of data groups.
    pub group_count: u16,
    /// The server's version, as text.
    pub version: String,
}

/// Which node leads each group, and where clients reach the nodes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Topology {
    /// The cluster.
    pub cluster: ClusterId,
    /// Rises whenever the answering node's view changes; of two views of one node a client keeps the newer.
    pub epoch: u64,
    /// Number of data groups, as [`synod_types::group_of`] takes it.
    pub group_count: u16,
    /// The nodes.
    pub nodes: Vec<TopologyNode>,
    /// The data groups.
    pub groups: Vec<TopologyGroup>,
}

/// One node as clients see it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopologyNode {
    /// The node.
    pub node: NodeId,
    /// Host name or address of its client port.
    pub host: String,
    /// The client port that any of its cores may answer.
    pub port: u16,
    /// Core `c` has a client port of its own, `core_port_base + c`; 0 when cores have none.
    pub core_port_base: u16,
    /// Number of cores.
    pub core_count: u16,
}

/// One group as clients see it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TopologyGroup {
    /// The group.
    pub group: GroupId,
    /// The leader, if one is known.
    pub leader: Option<NodeId>,
    /// The core of the leader that holds the group.
    pub core: CoreId,
}

/// The role a replica plays in a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GroupRole {
    /// Follows a leader or knows none.
    Follower,
    /// Gathers promises.
    Candidate,
    /// Proposes.
    Leader,
}

/// When a node acknowledges a write as durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Durability {
    /// After the flush.
    #[default]
    Sync,
    /// Before the flush, which follows within bounded milliseconds.
    Async,
    /// Kept in memory only.
    None,
}

/// How a counter of [`NodeStatus`] begins that names a peer, by its id, whose links the node refuses. Its value is
/// the number of the reason, a `LinkRefusal` of the peer protocol.
pub const PEER_REFUSED: &str = "peer_refused_";
/// As [`PEER_REFUSED`], for a peer that refuses the links of the node.
pub const REFUSED_BY_PEER: &str = "refused_by_peer_";
/// The counter of [`NodeStatus`] with the number of groups for which a command would find no leader at the node: the
/// node leads them and is not heard by a quorum, or knows no leader of them. Missing while there is none.
pub const GROUPS_NOT_READY: &str = "groups_not_ready";

/// The status of a node.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NodeStatus {
    /// The node.
    pub node: NodeId,
    /// The incarnation of its disk.
    pub incarnation: Incarnation,
    /// Number of cores.
    pub core_count: u16,
    /// Milliseconds since the process started serving.
    pub uptime_ms: u64,
    /// The version, as text.
    pub version: String,
    /// The durability mode.
    pub durability: Durability,
    /// Its replicas.
    pub groups: Vec<GroupState>,
    /// Counters and gauges of the process, by name.
    pub counters: Vec<(String, u64)>,
}

/// One replica of a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GroupState {
    /// The group.
    pub group: GroupId,
    /// The core that holds it.
    pub core: CoreId,
    /// The role it plays.
    pub role: GroupRole,
    /// Whether it answers clients.
    pub serving: bool,
    /// The leader it believes in.
    pub leader: Option<NodeId>,
    /// Highest ballot promised.
    pub promised: Ballot,
    /// Contiguous chosen prefix.
    pub chosen: Slot,
    /// Applied up to here.
    pub applied: Slot,
    /// Live keys.
    pub keys: u64,
    /// Leader changes seen since the process started.
    pub leader_changes: u64,
}

impl TopologyNode {
    /// Whether each of its cores has a client port of its own.
    pub fn has_core_ports(&self) -> bool {
        self.core_port_base != 0
    }
    /// The port by which clients reach `core` most directly.
    pub fn port_of(&self, core: CoreId) -> u16 {
        if self.has_core_ports() { self.core_port_base.saturating_add(core.get()) } else { self.port }
    }
}

impl Topology {
    /// The node called `node`, if it is known.
    pub fn node(&self, node: NodeId) -> Option<&TopologyNode> {
        self.nodes.iter().find(|candidate| candidate.node == node)
    }
    /// The group called `group`, if it is known.
    pub fn group(&self, group: GroupId) -> Option<&TopologyGroup> {
        self.groups.iter().find(|candidate| candidate.group == group)
    }
}

pub(crate) fn put_server_info(out: &mut Vec<u8>, info: &ServerInfo) {
    out.put_u128(info.cluster.get());
    out.put_u16(info.node.get());
    out.put_u16(info.group_count);
    out.put_text(&info.version);
}

pub(crate) fn read_server_info(body: &mut Reader<'_>) -> Result<ServerInfo, ProtocolError> {
    Ok(ServerInfo {
        cluster: ClusterId::new(body.u128()?),
        node: NodeId::new(body.u16()?),
        group_count: body.u16()?,
        version: body.text()?.to_owned(),
    })
}

pub(crate) fn put_topology(out: &mut Vec<u8>, topology: &Topology) {
    out.put_u128(topology.cluster.get());
    out.put_u64(topology.epoch);
    out.put_u16(topology.group_count);
    out.put_u16(count_u16(topology.nodes.len()));
    out.put_u16(count_u16(topology.groups.len()));
    out.put_u16(0);
    for node in &topology.nodes {
        out.put_u16(node.node.get());
        out.put_u16(node.port);
        out.put_u16(node.core_port_base);
        out.put_u16(node.core_count);
        out.put_text(&node.host);
    }
    for group in &topology.groups {
        out.put_u16(group.group.get());
        out.put_u16(u16::from(group.leader.is_some()));
        out.put_u16(group.leader.unwrap_or_default().get());
        out.put_u16(group.core.get());
    }
}

pub(crate) fn read_topology(body: &mut Reader<'_>) -> Result<Topology, ProtocolError> {
    let cluster = ClusterId::new(body.u128()?);
    let epoch = body.u64()?;
    let group_count = body.u16()?;
    let (node_count, placed_count) = (body.u16()?, body.u16()?);
    body.zeros(2)?;
    if group_count > synod_types::limits::GROUP_COUNT_MAX
        || !(group_count == 0 || group_count.is_power_of_two())
    {
        return Err(ProtocolError::Body);
    }
    // Lists grow while their items are read, so a false count costs no memory.
    let mut nodes = Vec::new();
    for _ in 0..node_count {
        nodes.push(TopologyNode {
            node: NodeId::new(body.u16()?),
            port: body.u16()?,
            core_port_base: body.u16()?,
            core_count: body.u16()?,
            host: body.text()?.to_owned(),
        });
    }
    let mut groups = Vec::new();
    for _ in 0..placed_count {
        let group = GroupId::new(body.u16()?);
        let known = read_flag(body.u16()?)?;
        let leader = NodeId::new(body.u16()?);
        groups.push(TopologyGroup { group, leader: known.then_some(leader), core: CoreId::new(body.u16()?) });
    }
    Ok(Topology { cluster, epoch, group_count, nodes, groups })
}

pub(crate) fn put_status(out: &mut Vec<u8>, status: &NodeStatus) {
    out.put_u128(status.incarnation.get());
    out.put_u64(status.uptime_ms);
    out.put_u16(status.node.get());
    out.put_u16(status.core_count);
    out.put_u16(match status.durability {
        Durability::Sync => 0,
        Durability::Async => 1,
        Durability::None => 2,
    });
    out.put_u16(count_u16(status.groups.len()));
    out.put_u16(count_u16(status.counters.len()));
    out.put_text(&status.version);
    for group in &status.groups {
        out.put_u16(group.group.get());
        out.put_u16(group.core.get());
        out.put_u8(match group.role {
            GroupRole::Follower => 0,
            GroupRole::Candidate => 1,
            GroupRole::Leader => 2,
        });
        out.put_u8(u8::from(group.serving));
        out.put_u16(u16::from(group.leader.is_some()));
        out.put_u16(group.leader.unwrap_or_default().get());
        out.put_u16(group.promised.node().get());
        out.put_u64(group.promised.round());
        out.put_u64(group.chosen.get());
        out.put_u64(group.applied.get());
        out.put_u64(group.keys);
        out.put_u64(group.leader_changes);
    }
    for (name, value) in &status.counters {
        out.put_text(name);
        out.put_u64(*value);
    }
}

pub(crate) fn read_status(body: &mut Reader<'_>) -> Result<NodeStatus, ProtocolError> {
    let incarnation = Incarnation::new(body.u128()?);
    let uptime_ms = body.u64()?;
    let node = NodeId::new(body.u16()?);
    let core_count = body.u16()?;
    let durability = match body.u16()? {
        0 => Durability::Sync,
        1 => Durability::Async,
        2 => Durability::None,
        _ => return Err(ProtocolError::Kind),
    };
    let (group_count, counter_count) = (body.u16()?, body.u16()?);
    let version = body.text()?.to_owned();
    let mut groups = Vec::new();
    for _ in 0..group_count {
        groups.push(read_group_state(body)?);
    }
    let mut counters = Vec::new();
    for _ in 0..counter_count {
        counters.push((body.text()?.to_owned(), body.u64()?));
    }
    Ok(NodeStatus { node, incarnation, core_count, uptime_ms, version, durability, groups, counters })
}

fn read_group_state(body: &mut Reader<'_>) -> Result<GroupState, ProtocolError> {
    let group = GroupId::new(body.u16()?);
    let core = CoreId::new(body.u16()?);
    let role = match body.u8()? {
        0 => GroupRole::Follower,
        1 => GroupRole::Candidate,
        2 => GroupRole::Leader,
        _ => return Err(ProtocolError::Kind),
    };
    let serving = read_flag(u16::from(body.u8()?))?;
    let known = read_flag(body.u16()?)?;
    let leader = NodeId::new(body.u16()?);
    let promised_node = NodeId::new(body.u16()?);
    Ok(GroupState {
        group,
        core,
        role,
        serving,
        leader: known.then_some(leader),
        promised: Ballot::new(body.u64()?, promised_node),
        chosen: Slot::new(body.u64()?),
        applied: Slot::new(body.u64()?),
        keys: body.u64()?,
        leader_changes: body.u64()?,
    })
}

fn read_flag(value: u16) -> Result<bool, ProtocolError> {
    match value {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(ProtocolError::Kind),
    }
}

/// The length of a list on the wire. The cluster's limits keep lists far below `u16::MAX`.
fn count_u16(count: usize) -> u16 {
    u16::try_from(count).unwrap_or_else(|_| panic!("a list of {count} in an answer"))
}
