//! When a group comes to be led by another node, or is about to be, everybody is asked for the same key at once, at every node: that is
//! when two nodes may both think that they know best.

use super::World;
use crate::check::model::Action;
use crate::sim::keys::{Key, Kind};
use crate::sim::params::Params;
use crate::sim::rng::Rng;
use std::collections::BTreeMap;
use synod_types::{GroupId, NodeId};

/// Reads of one burst at each node.
const BURST: u32 = 4;

/// One reader per node.
#[derive(Debug)]
pub(super) struct Readers {
    is_on: bool,
    rng: Rng,
    /// The clients that read, by node; added with the first burst.
    helpers: Vec<usize>,
    /// What each is to read, and how often still.
    wanted: Vec<(u32, u32)>,
    /// Who leads a group, as each core saw it last.
    seen: BTreeMap<(usize, GroupId), (Option<NodeId>, bool)>,
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

impl World {
    /// Begins a burst for every group whose leader is another one than when this core was looked at last.
    pub(super) fn watch_leaders(&mut self, core: usize) {
        if !self.readers.is_on || !self.faults_on {
            return;
        }
        let Some(running) = self.slots[core].running.as_ref() else { return };
        let mut changed = Vec::new();
        for status in running.shard().status() {
            let now = (status.leader, status.serving);
            let before = self.readers.seen.insert((core, status.group), now);
            if before.is_some_and(|before| before != now) && status.group != GroupId::SYSTEM {
                changed.push(status.group);
            }
        }
        for group in changed {
            self.read_everywhere(group);
        }
    }

    /// Every node is asked for a key of `group`, several times in a row.
    pub(super) fn read_everywhere(&mut self, group: GroupId) {
        if !self.readers.is_on {
            return;
        }
        let keys = &self.clients.keys;
        let counts = |key: &Key| key.group == group && matches!(key.kind, Kind::Register | Kind::Counter);
        let keys: Vec<u32> = keys.live().iter().copied().filter(|&key| counts(keys.get(key))).collect();
        if keys.is_empty() {
            return;
        }
        let key = *self.readers.rng.pick(&keys);
        while self.readers.helpers.len() < self.nodes.len() {
            let helper = self.clients.add_helper();
            self.readers.helpers.push(helper);
        }
        self.observer.coverage.meet("every node was asked as leaders changed");
        self.readers.wanted.fill((key, BURST));
        for node in 0..self.nodes.len() {
            self.read_on(node);
        }
    }

    /// A reader that was answered asks again, if it is to.
    pub(super) fn reader_answered(&mut self, client: usize) {
        if let Some(node) = self.readers.helpers.iter().position(|&helper| helper == client) {
            self.read_on(node);
        }
    }

    fn read_on(&mut self, node: usize) {
        let helper = self.readers.helpers[node];
        let (key, left) = self.readers.wanted[node];
        if left == 0 || self.clients.busy(helper) {
            return;
        }
        self.readers.wanted[node].1 -= 1;
        let now = self.now();
        let mut wants = std::mem::take(&mut self.wants);
        self.clients.ask_at((helper, node), key, Action::Get, now, &mut wants);
        self.carry_out(helper, &mut wants);
    }
}
