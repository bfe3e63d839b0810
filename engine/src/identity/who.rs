//! `Identity`: the node and the cluster of a data directory, and the current incarnation of its disk.

use crate::config::facts::ClusterFacts;
use crate::refusal::{cluster_label, list};
use std::fmt;
use synod_types::{CoreId, Incarnation, NodeId};

/// The CPUs the cores of a node are bound to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Pins {
    /// Not pinned: the kernel chooses.
    #[default]
    None,
    /// Core j runs on the j-th of these CPUs.
    Cpus(Vec<u32>),
}

impl Pins {
    /// The CPUs; empty when not pinned.
    pub fn cpus(&self) -> &[u32] {
        match self {
            Self::None => &[],
            Self::Cpus(cpus) => cpus,
        }
    }
    /// The CPU of `core`, if pinned.
    pub fn cpu_of(&self, core: CoreId) -> Option<u32> {
        self.cpus().get(usize::from(core.get())).copied()
    }
}

impl fmt::Display for Pins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Cpus(cpus) => write!(f, "[{}]", list(cpus)),
        }
    }
}

/// The facts that are written into a data directory at format and never change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The facts of the cluster.
    pub facts: ClusterFacts,
    /// The cluster's name as configured at format; may be empty. For people only.
    pub cluster_name: String,
    /// The id of this node.
    pub node: NodeId,
    /// The incarnation: a new one for each format of the disk.
    pub incarnation: Incarnation,
    /// Its number of cores.
    pub cores: u16,
    /// The CPUs that the cores are bound to.
    pub pins: Pins,
}

impl Identity {
    /// The cluster's id and name, for use in sentences.
    pub fn cluster_label(&self) -> String {
        cluster_label(self.facts.cluster, &self.cluster_name)
    }
    /// The identity in one line.
    pub fn describe(&self) -> String {
        format!(
            "node {} of cluster {}, incarnation {}, {} groups, {} cores, pins {}, members {}",
            self.node,
            self.cluster_label(),
            self.incarnation,
            self.facts.group_count,
            self.cores,
            self.pins,
            list(&self.facts.founders),
        )
    }
}
