//! The roles that a Redis Cluster client sees: masters, replicas and their hash slots.
//!
//! In Synod a node leads some groups and follows the others; in Redis Cluster an address has one role. So an
//! address that leads any group is shown as a master and nothing else, and one that only follows as a
//! replica of a master it follows. Otherwise clients that note the role beside the address (ioredis, Lettuce,
//! any client that reads CLUSTER NODES) would send a replica's reads to a master that was never told
//! READONLY. Every node is named in either case, which matters most: a client that knows only the leaders is
//! lost when they are.

use super::ask::ClusterView;
use crate::binary::TopologyNode;
use core::ops::RangeInclusive;
use std::net::IpAddr;
use synod_types::limits::BUCKET_COUNT;
use synod_types::{ClusterId, CoreId, NodeId};

/// A node as Redis Cluster counts them, one address: a core, or a node whose cores have no port of their own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct RedisNode {
    pub(super) node: NodeId,
    core: CoreId,
}

impl RedisNode {
    /// The node of `core`; of the whole node, if its cores have no ports of their own.
    pub(super) fn new(node: &TopologyNode, core: CoreId) -> Self {
        let core = if node.has_core_ports() { core } else { CoreId::new(0) };
        Self { node: node.node, core }
    }
    /// The first core of a node that the topology does not contain.
    pub(super) fn of_stranger(node: NodeId) -> Self {
        Self { node, core: CoreId::new(0) }
    }
    /// Forty hexadecimal digits, as clients expect; the first eight tell the addresses of a cluster apart.
    fn id(self, cluster: ClusterId) -> String {
        format!("{:04x}{:04x}{cluster}", self.node.get(), self.core.get())
    }
}

/// A node with everything that is told about it.
pub(super) struct ShownNode<'a> {
    pub(super) redis_node: RedisNode,
    node: &'a TopologyNode,
    /// The master it follows; None if it is a master.
    pub(super) master: Option<RedisNode>,
    /// Whether the answering node has a link to it, or is it.
    pub(super) is_linked: bool,
    /// Log slots applied there, as far as the answering node can know: those that it has applied itself.
    pub(super) offset: u64,
}

impl ShownNode<'_> {
    pub(super) fn port(&self) -> u16 {
        self.node.port_of(self.redis_node.core)
    }
}

/// The hash slots of one group.
pub(super) struct Owned {
    pub(super) buckets: RangeInclusive<u16>,
    pub(super) master: RedisNode,
    /// Whether the group has a leader; otherwise the answering node stands in for it.
    is_led: bool,
    core: CoreId,
}

/// The cluster as seen from one connection.
pub(super) struct View<'a> {
    cluster: &'a ClusterView,
    pub(super) me: RedisNode,
    /// The address at which the client reached this node: given instead of one that means "every interface".
    reached_at: &'a str,
    /// By group, in the order of their slots.
    pub(super) owned: Vec<Owned>,
    pub(super) nodes: Vec<ShownNode<'a>>,
}

impl<'a> View<'a> {
    pub(super) fn new(cluster: &'a ClusterView, me: RedisNode, reached_at: &'a str) -> Self {
        let mut view = Self { cluster, me, reached_at, owned: Vec::new(), nodes: Vec::new() };
        view.owned = view.find_owned();
        view.nodes = cluster.topology.nodes.iter().flat_map(|node| view.shown_of(node)).collect();
        view
    }

    /// The hash slots of all groups. Slots without a known leader are shown as the answering node's, which
    /// holds the commands it gets until there is a leader. So all slots are always covered.
    fn find_owned(&self) -> Vec<Owned> {
        let topology = &self.cluster.topology;
        let size = BUCKET_COUNT / topology.group_count.max(1);
        let owned = topology.groups.iter().filter_map(|group| {
            let node = topology.node(group.leader.unwrap_or(self.me.node))?;
            let first = (group.group.get() - 1) * size; // data groups count from 1
            Some(Owned {
                buckets: first..=first + (size - 1),
                master: RedisNode::new(node, group.core),
                is_led: group.leader.is_some(),
                core: group.core,
            })
        });
        owned.collect()
    }

    fn shown_of(&self, node: &'a TopologyNode) -> Vec<ShownNode<'a>> {
        let cores = if node.has_core_ports() { node.core_count } else { 1 };
        let shown = |core| {
            let redis_node = RedisNode::new(node, CoreId::new(core));
            let mut masters: Vec<RedisNode> =
                self.held_by(node, redis_node).map(|owned| owned.master).collect();
            masters.sort_unstable();
            masters.dedup();
            // A replica has one master where clients ask for one. Replicas on different nodes get different
            // masters.
            let master = (!masters.contains(&redis_node) && !masters.is_empty())
                .then(|| masters[usize::from(node.node.get()) % masters.len()]);
            let is_linked = self.is_linked(redis_node, node);
            let applied = self.owned.iter().zip(&self.cluster.applied);
            let held = applied.filter(|(owned, _)| RedisNode::new(node, owned.core) == redis_node);
            let offset = if is_linked { held.map(|(_, applied)| applied).sum() } else { 0 };
            ShownNode { redis_node, node, master, is_linked, offset }
        };
        (0..cores).map(shown).collect()
    }

    /// The groups that `redis_node`, which is `node` or a core of it, leads or follows.
    fn held_by(&self, node: &TopologyNode, redis_node: RedisNode) -> impl Iterator<Item = &Owned> {
        let has_ports = node.has_core_ports();
        self.owned.iter().filter(move |owned| !has_ports || owned.core == redis_node.core)
    }

    fn is_linked(&self, redis_node: RedisNode, node: &TopologyNode) -> bool {
        let is_it = |&(linked, core): &(NodeId, CoreId)| {
            linked == redis_node.node && (!node.has_core_ports() || core == redis_node.core)
        };
        redis_node.node == self.me.node || self.cluster.linked.iter().any(is_it)
    }

    /// The nodes that only follow and hold the group of `owned`: clients can ask them for its slots, too. As
    /// in Redis, unreachable ones are left out, but only while the reachable nodes form a majority. So a
    /// client that knows a majority of the nodes always finds one that can serve it, if the cluster can serve
    /// at all.
    pub(super) fn replicas_of(&self, owned: &Owned) -> impl Iterator<Item = &ShownNode<'a>> {
        let nodes = &self.cluster.topology.nodes;
        let in_reach = |node: &&TopologyNode| {
            node.node == self.me.node || self.cluster.linked.iter().any(|(linked, _)| *linked == node.node)
        };
        let is_cut_off = nodes.iter().filter(in_reach).count() * 2 <= nodes.len();
        let core = owned.core;
        self.nodes.iter().filter(move |shown| {
            shown.master.is_some()
                && RedisNode::new(shown.node, core) == shown.redis_node
                && (shown.is_linked || is_cut_off)
        })
    }

    /// The slots of a master; adjacent ones are joined into one range.
    pub(super) fn ranges_of(&self, master: RedisNode) -> Vec<RangeInclusive<u16>> {
        let mut all: Vec<RangeInclusive<u16>> = Vec::new();
        for owned in self.owned.iter().filter(|owned| owned.master == master) {
            match all.last_mut() {
                Some(before) if before.end() + 1 == *owned.buckets.start() => {
                    *before = *before.start()..=*owned.buckets.end();
                }
                _ => all.push(owned.buckets.clone()),
            }
        }
        all
    }

    pub(super) fn shown(&self, redis_node: RedisNode) -> Option<&ShownNode<'a>> {
        self.nodes.iter().find(|shown| shown.redis_node == redis_node)
    }

    /// The node with this id.
    pub(super) fn called(&self, id: &str) -> Option<&ShownNode<'a>> {
        self.nodes.iter().find(|shown| self.id(shown.redis_node).eq_ignore_ascii_case(id))
    }

    /// The master of a node: itself, unless it is a replica.
    pub(super) fn master_of(&self, redis_node: RedisNode) -> RedisNode {
        self.shown(redis_node).and_then(|shown| shown.master).unwrap_or(redis_node)
    }

    pub(super) fn host(&self, shown: &ShownNode<'a>) -> &str {
        let host = &shown.node.host;
        let anywhere = host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified());
        if anywhere && shown.redis_node.node == self.me.node { self.reached_at } else { host }
    }

    pub(super) fn id(&self, redis_node: RedisNode) -> String {
        redis_node.id(self.cluster.topology.cluster)
    }

    /// The number of slots that have a leader, and of those whose leader is in reach.
    pub(super) fn led_counts(&self) -> (usize, usize) {
        let is_near = |owned: &&Owned| self.shown(owned.master).is_some_and(|shown| shown.is_linked);
        let led = || self.owned.iter().filter(|owned| owned.is_led);
        (
            led().map(|owned| owned.buckets.len()).sum(),
            led().filter(is_near).map(|owned| owned.buckets.len()).sum(),
        )
    }
}
