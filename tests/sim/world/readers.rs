//! Bursts of reads: when the leader of a group changes, or is about to, every node is asked for the same key
//! at once. At that moment two nodes may both believe that they may answer.

use super::machines::Machines;
use super::timeline::Timeline;
use crate::check::model::Action;
use crate::sim::client::Clients;
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
    /// By node: the key its reader is to read, and how many reads are left.
    wanted: Vec<(u32, u32)>,
    /// The leader of a group, as each core saw it last, and whether the core served the group.
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

    /// Begins a burst for every group whose leader has changed since the last look at this core.
    pub(super) fn watch_leaders(
        &mut self,
        core: usize,
        machines: &Machines,
        clients: &mut Clients,
        time: &mut Timeline,
    ) {
        if !self.is_on || !time.faults_on {
            return;
        }
        let Some(running) = machines.slots[core].running.as_ref() else { return };
        let mut changed = Vec::new();
        for status in running.shard().status() {
            let now = (status.leader, status.serving);
            let before = self.seen.insert((core, status.group), now);
            if before.is_some_and(|before| before != now) && status.group != GroupId::SYSTEM {
                changed.push(status.group);
            }
        }
        for group in changed {
            self.read_everywhere(group, clients, time);
        }
    }

    /// Asks every node for a key of `group`, several times in a row.
    pub(super) fn read_everywhere(&mut self, group: GroupId, clients: &mut Clients, time: &mut Timeline) {
        if !self.is_on {
            return;
        }
        let keys = &clients.keys;
        let counts = |key: &Key| key.group == group && matches!(key.kind, Kind::Register | Kind::Counter);
        let keys: Vec<u32> = keys.live().iter().copied().filter(|&key| counts(keys.get(key))).collect();
        if keys.is_empty() {
            return;
        }
        let key = *self.rng.pick(&keys);
        while self.helpers.len() < self.wanted.len() {
            self.helpers.push(clients.add_helper());
        }
        time.observer.coverage.meet("every node was asked as leaders changed");
        self.wanted.fill((key, BURST));
        for node in 0..self.wanted.len() {
            self.read_on(node, clients, time);
        }
    }

    /// A reader that was answered asks again, if reads are left.
    pub(super) fn answered(&mut self, client: usize, clients: &mut Clients, time: &mut Timeline) {
        if let Some(node) = self.helpers.iter().position(|&helper| helper == client) {
            self.read_on(node, clients, time);
        }
    }

    fn read_on(&mut self, node: usize, clients: &mut Clients, time: &mut Timeline) {
        let helper = self.helpers[node];
        let (key, left) = self.wanted[node];
        if left == 0 || clients.busy(helper) {
            return;
        }
        self.wanted[node].1 -= 1;
        let now = time.now();
        let mut wants = std::mem::take(&mut time.wants);
        clients.ask_at((helper, node), key, Action::Get, now, &mut wants);
        time.carry_out(helper, wants);
    }
}
