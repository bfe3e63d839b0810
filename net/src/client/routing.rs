//! The topology as a client knows it: which group a key belongs to, where the group's leader is, and when to
//! ask again.

use super::address::Address;
use super::config::ClientConfig;
use super::link::after;
use crate::binary::{Topology, TopologyNode};
use synod_types::{GroupId, Nanos, bucket_of, group_of};

/// The topology, and when to ask for it again.
#[derive(Debug)]
pub(super) struct Routing {
    /// Whether leaders are talked to directly.
    is_direct: bool,
    /// Time from one look at a whole topology to the next.
    refresh: Nanos,
    /// The same, while something is missing.
    retry: Nanos,
    topology: Option<Topology>,
    due: Nanos,
    is_asked: bool,
    /// What is known has turned out to be wrong since the last look.
    is_doubted: bool,
}

impl Routing {
    pub(super) fn new(config: &ClientConfig) -> Self {
        Self {
            is_direct: config.routing,
            refresh: config.topology_refresh,
            retry: config.pause_max,
            topology: None,
            due: Nanos::ZERO,
            is_asked: false,
            is_doubted: false,
        }
    }

    /// The topology as last seen.
    pub(super) fn topology(&self) -> Option<&Topology> {
        self.topology.as_ref()
    }

    /// When to ask for the topology again.
    pub(super) fn due(&self) -> Nanos {
        self.due
    }

    /// Whether it is time to ask, and no question is on its way.
    pub(super) fn wants_topology(&self, now: Nanos) -> bool {
        !self.is_asked && self.due <= now
    }

    /// The question is on its way.
    pub(super) fn note_asked(&mut self) {
        self.is_asked = true;
    }

    /// The question was answered, or its answer is lost.
    pub(super) fn note_unasked(&mut self) {
        self.is_asked = false;
    }

    /// What is known has turned out to be wrong: it is asked for now.
    pub(super) fn doubt(&mut self, now: Nanos) {
        self.due = now;
        self.is_doubted = true;
    }

    /// Whether what is known has turned out to be wrong since the last look.
    pub(super) fn is_doubted(&self) -> bool {
        self.is_doubted
    }

    /// What is known may be wrong: it is asked for now at the latest.
    pub(super) fn hurry(&mut self, now: Nanos) {
        self.due = self.due.min(now);
    }

    /// A server had no topology to give.
    pub(super) fn put_off(&mut self, now: Nanos) {
        self.due = after(now, self.retry);
    }

    /// Takes a topology.
    pub(super) fn learn(&mut self, now: Nanos, topology: Topology) {
        if topology.group_count == 0 {
            return self.put_off(now);
        }
        // If a leader is not known yet, the topology is asked for again soon.
        let complete = topology.groups.iter().all(|group| group.leader.is_some());
        self.due = after(now, if complete { self.refresh } else { self.retry });
        self.is_doubted = false;
        self.topology = Some(topology);
    }

    /// The group of a key.
    pub(super) fn group_of(&self, key: &[u8]) -> Option<GroupId> {
        Some(group_of(bucket_of(key), self.topology.as_ref()?.group_count))
    }

    /// The address of the core that leads `group`, as far as it is known.
    pub(super) fn leader_of(&self, group: GroupId) -> Option<Address> {
        if !self.is_direct {
            return None;
        }
        let topology = self.topology.as_ref()?;
        let placed = topology.group(group)?;
        let node = topology.node(placed.leader?)?;
        let own_port =
            node.core_port_base.checked_add(placed.core.get()).filter(|_| node.core_port_base != 0);
        Some(Address { host: node.host.clone(), port: own_port.unwrap_or(node.port) })
    }

    /// The nodes that may be asked besides the addresses that the caller gave.
    pub(super) fn nodes(&self) -> &[TopologyNode] {
        let known = self.topology.as_ref().filter(|_| self.is_direct);
        known.map_or(&[][..], |known| known.nodes.as_slice())
    }
}
