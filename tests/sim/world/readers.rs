//! Bursts of reads: when the leader of a group changes, or is about to, every node is asked for the same key
//! at once. At that moment two nodes may both believe that they may answer.

use crate::sim::params::Params;
use crate::sim::rng::Rng;
use std::collections::BTreeMap;
use synod_types::{GroupId, NodeId};

/// Reads of one burst at each node.
pub(super) const BURST: u32 = 4;

/// One reader per node.
#[derive(Debug)]
pub(super) struct Readers {
    pub(super) is_on: bool,
    pub(super) rng: Rng,
    /// The clients that read, by node; added with the first burst.
    pub(super) helpers: Vec<usize>,
    /// By node: the key its reader is to read, and how many reads are left.
    pub(super) wanted: Vec<(u32, u32)>,
    /// The leader of a group, as each core saw it last, and whether the core served the group.
    pub(super) seen: BTreeMap<(usize, GroupId), (Option<NodeId>, bool)>,
}

impl Readers {
    pub(super) fn new(params: &Params) -> Self {
        Self {
            is_on: params.read_bursts,
            rng: Rng::named(params.options.seed, "readers"),
            helpers: Vec::new(),
            wanted: vec![(0, 0); usize::from(params.node_count)],
            seen: BTreeMap::new(),
        }
    }
}
