//! Everything that goes wrong: which fault comes next, which node it hits, and how it ends.

use super::cluster::SimCluster;
use super::event::SimEvent;
use super::machines::{Doom, Machines};
use crate::sim::fault::{Fault, FaultKind};
use crate::sim::node::{Incoming, SimCore};
use crate::sim::params::Params;
use crate::sim::queue::{Instant, MS};
use crate::sim::rng::Rng;
use crate::sim::trace::Note;
use synod_wal::mem::Pending;

/// A node that is told to stop does so within this time.
const STOPS_WITHIN: u64 = 4_000 * MS;
/// Interval between two looks at it.
const LOOK: u64 = 5 * MS;

/// The faults, drawn at random.
#[derive(Debug)]
pub(super) struct FaultPlan {
    rng: Rng,
    doom_rng: Rng,
}

impl FaultPlan {
    pub(super) fn new(params: &Params) -> Self {
        let seed = params.options.seed;
        Self { rng: Rng::named(seed, "faults"), doom_rng: Rng::named(seed, "doom") }
    }

    /// Cuts the network as `kind` says, until everything is healed.
    pub(super) fn impose(&mut self, kind: FaultKind, victim: usize, cluster: &mut SimCluster) {
        cluster.time.observer.note(Note::Fault { what: kind.name(), on: true, victim: victim as u64 });
        for (from, to) in kind.cuts(victim, cluster.machines.nodes.len(), &mut self.rng) {
            cluster.ways.net.cut(from, to, true);
        }
    }

    /// A node goes down.
    pub(super) fn stop(&mut self, node: usize, power: bool, cluster: &mut SimCluster) {
        cluster.stop_node(node, power, &mut self.rng);
    }

    /// A node goes down, and comes up again at `until`.
    pub(super) fn outage(&mut self, node: usize, power: bool, until: Instant, cluster: &mut SimCluster) {
        self.stop(node, power, cluster);
        let outage = cluster.machines.nodes[node].outage;
        cluster.time.queue.at(until, SimEvent::Restart { node, outage });
    }

    /// A fault strikes a node, for so long.
    pub(super) fn strike_for(
        &mut self,
        kind: FaultKind,
        victim: usize,
        duration: u64,
        cluster: &mut SimCluster,
    ) {
        let SimCluster { time, machines, ways, .. } = &mut *cluster;
        let until = time.now() + duration;
        let cuts = kind.cuts(victim, machines.nodes.len(), &mut self.rng);
        time.observer.note(Note::Fault { what: kind.name(), on: true, victim: victim as u64 });
        time.observer.coverage.meet(kind.name());
        for &(from, to) in &cuts {
            ways.net.cut(from, to, true);
        }
        if kind.troubles_clients() {
            machines.nodes[victim].trouble_until = until;
        }
        if kind == FaultKind::SlowLinks {
            machines.nodes[victim].late_until = Instant::MAX;
        }
        self.strike(kind, victim, until, cluster);
        cluster.time.queue.at(until, SimEvent::FaultEnds(Box::new(Fault { kind, victim, until, cuts })));
    }

    /// A fault begins, and the next one is scheduled.
    pub(super) fn on_next_fault(&mut self, cluster: &mut SimCluster) {
        let SimCluster { time, machines, ways, .. } = &mut *cluster;
        if !time.faults_on || time.params.faults.is_empty() {
            return;
        }
        let next = self.rng.exponential(time.params.fault_interval);
        time.queue.after(next, SimEvent::NextFault);
        let kind = *self.rng.pick(&time.params.faults);
        let victim = self.pick_victim(machines);
        let duration = kind.duration(&mut self.rng);
        let is_exile = kind == FaultKind::Isolate;
        let until = time.now() + duration * if is_exile { time.params.isolation_times } else { 1 };
        let cuts = kind.cuts(victim, machines.nodes.len(), &mut self.rng);
        let lease = time.params.timing.lease.0;
        let until = if kind == FaultKind::Betrayal { until + 2 * lease } else { until };
        time.observer.note(Note::Fault { what: kind.name(), on: true, victim: victim as u64 });
        time.observer.coverage.meet(kind.name());
        for &(from, to) in &cuts {
            ways.net.cut(from, to, true);
        }
        self.strike(kind, victim, until, cluster);
        cluster.time.queue.at(until, SimEvent::FaultEnds(Box::new(Fault { kind, victim, until, cuts })));
    }

    /// What a fault does beyond the links that it cuts.
    fn strike(&mut self, kind: FaultKind, victim: usize, until: Instant, cluster: &mut SimCluster) {
        let node_count = cluster.machines.nodes.len();
        let machine = &mut cluster.machines.nodes[victim];
        match kind {
            FaultKind::PowerLoss | FaultKind::Kill => {
                self.take_down(victim, kind == FaultKind::PowerLoss, until, cluster);
            }
            FaultKind::Blackout => {
                for node in 0..node_count {
                    let later = self.rng.below(200 * MS);
                    self.outage(node, true, until + later, cluster);
                }
            }
            FaultKind::PlannedStop => {
                let life = machine.life;
                for core in cluster.machines.cores_of(victim) {
                    cluster.machines.hand(core, Incoming::Leave, &mut cluster.time);
                }
                let until = cluster.time.now() + STOPS_WITHIN;
                cluster.time.queue.after(LOOK, SimEvent::Leaving { node: victim, life, until });
            }
            FaultKind::Pause => {
                if self.rng.coin() {
                    machine.held_until = until;
                } else {
                    machine.paused_until = until;
                }
            }
            FaultKind::Betrayal => {
                let lease = cluster.time.params.timing.lease.0;
                let after = self.rng.between(lease, 2 * lease);
                // The last node, in the order of the ring, that the leader can still reach.
                let bounced = (victim + node_count - 1) % node_count;
                cluster.time.queue.after(after, SimEvent::Betray { leader: victim, bounced, until });
            }
            FaultKind::DiskStall => machine.stalled_until = until,
            FaultKind::AllDisksStall => {
                cluster.machines.nodes.iter_mut().for_each(|machine| machine.stalled_until = until);
            }
            FaultKind::SlowDisk => cluster.machines.slow_writes(victim, Some((20 * MS, 120 * MS))),
            FaultKind::SlowLinks => cluster.ways.net.slow(victim, true),
            FaultKind::Rot => cluster.machines.rot(victim, 400_000, 100_000),
            FaultKind::FullDisk => {
                let nodes = if self.rng.coin() { 0..node_count } else { victim..victim + 1 };
                cluster.machines.fill_disks(nodes, true);
            }
            FaultKind::WallStep => {
                let most = cluster.time.params.clock.wall_ms_max;
                machine.clock.step_wall(self.rng.below(2 * most + 1) as i64 - most as i64);
            }
            FaultKind::Congestion => cluster.ways.net.congest(self.rng.between(MS, 100 * MS)),
            _ => {}
        }
    }

    /// A node goes down, now or at its worst moment.
    fn take_down(&mut self, node: usize, power: bool, until: Instant, cluster: &mut SimCluster) {
        if self.rng.coin() {
            let picky = if self.rng.coin() { 500 * MS } else { 0 };
            let wants_gap = self.doom_rng.below(3) == 0;
            let picky = if wants_gap { 2000 * MS } else { picky };
            let doom = Doom { power, until, picky_until: cluster.time.now() + picky, wants_gap };
            cluster.machines.nodes[node].doomed = Some(doom);
        } else {
            self.outage(node, power, until, cluster);
        }
    }

    /// A doomed node goes down while its writes are under way, before even the fastest of them could be
    /// complete.
    pub(super) fn meet_doom(&mut self, core: usize, life: u64, cluster: &mut SimCluster) {
        let SimCluster { time, machines, .. } = cluster;
        let node = machines.node_index(core);
        let Some(Doom { power, until, picky_until, wants_gap }) = machines.nodes[node].doomed else { return };
        let is_picky = time.now() < picky_until;
        let shortest = if is_picky { 4097 } else { 0 };
        let image = &machines.slots[core].image;
        let counts = |pending: &Pending| matches!(pending, Pending::Write { len, .. } if *len >= shortest);
        let has_gap = is_picky && wants_gap;
        let is_met = if has_gap { image.is_overtaken() } else { image.pending().iter().any(counts) };
        if !is_met {
            return;
        }
        machines.nodes[node].doomed = None;
        if has_gap {
            time.observer.coverage.meet("stopped with a gap in what is written");
        }
        let after = if has_gap { 0 } else { self.rng.below(time.params.disk.write_ns.0) };
        let until = until.max(time.now() + after + MS);
        time.queue.after(after, SimEvent::Outage { node, life, power, until });
    }

    /// A node that was told to stop hands over; then it takes no more requests, and finishes those that it has; then
    /// it stops, and is started again soon.
    pub(super) fn on_leaving(&mut self, node: usize, life: u64, until: Instant, cluster: &mut SimCluster) {
        let SimCluster { time, machines, .. } = &mut *cluster;
        let now = time.now();
        let machine = &mut machines.nodes[node];
        if !machine.up || machine.life != life {
            return;
        }
        let mono = machine.clock.read(now).mono;
        let is_over = now >= until;
        let all = |machines: &Machines, is_done: &dyn Fn(&SimCore) -> bool| {
            let mut cores = machines.cores_of(node);
            cores.all(|core| machines.slots[core].running.as_deref().is_none_or(is_done))
        };
        if !machines.nodes[node].is_closed {
            machines.nodes[node].is_closed = is_over || all(machines, &|core| core.shard().has_left(mono));
        }
        let is_done = |core: &SimCore| core.open_attempts().next().is_none() && core.shard().undurable() == 0;
        if is_over || machines.nodes[node].is_closed && all(machines, &is_done) {
            let back = now + self.rng.between(20 * MS, 500 * MS);
            machines.nodes[node].trouble_until = back;
            return self.outage(node, false, back, cluster);
        }
        time.queue.after(LOOK, SimEvent::Leaving { node, life, until });
    }

    pub(super) fn on_betray(
        &mut self,
        leader: usize,
        bounced: usize,
        until: Instant,
        cluster: &mut SimCluster,
    ) {
        if !cluster.time.faults_on {
            return;
        }
        let cuts = FaultKind::Isolate.cuts(leader, cluster.machines.nodes.len(), &mut self.rng);
        for &(from, to) in &cuts {
            cluster.ways.net.cut(from, to, true);
        }
        let back = cluster.time.now() + self.rng.between(MS / 2, 5 * MS);
        self.outage(bounced, false, back, cluster);
        let fault = Fault { kind: FaultKind::Isolate, victim: leader, until, cuts };
        cluster.time.queue.at(until, SimEvent::FaultEnds(Box::new(fault)));
    }

    /// Half of the time the victim is a leader: faults hurt most there.
    fn pick_victim(&mut self, machines: &Machines) -> usize {
        let leaders: Vec<usize> = machines
            .cores()
            .filter(|(_, core)| core.shard().status().any(|status| status.serving))
            .map(|(place, _)| usize::from(place.node.get()) - 1)
            .collect();
        if !leaders.is_empty() && self.rng.coin() {
            return *self.rng.pick(&leaders);
        }
        self.rng.index(machines.nodes.len())
    }
}

/// A fault ends.
pub(super) fn on_fault_ends(fault: &Fault, cluster: &mut SimCluster) {
    let SimCluster { time, machines, ways, .. } = cluster;
    time.observer.note(Note::Fault { what: fault.kind.name(), on: false, victim: fault.victim as u64 });
    if !time.faults_on {
        return; // the network was healed as a whole
    }
    for &(from, to) in &fault.cuts {
        ways.net.cut(from, to, false);
    }
    match fault.kind {
        FaultKind::Congestion => ways.net.congest(0),
        FaultKind::Rot => machines.rot(fault.victim, 0, 0),
        FaultKind::FullDisk => machines.fill_disks(0..machines.nodes.len(), false),
        FaultKind::SlowDisk => machines.slow_writes(fault.victim, None),
        FaultKind::SlowLinks => {
            ways.net.slow(fault.victim, false);
            machines.nodes[fault.victim].late_until = ways.net.drained_at(fault.victim);
        }
        FaultKind::AllDisksStall => {
            for core in 0..machines.slots.len() {
                machines.schedule_disk(core, time);
                machines.schedule_turn(core, time);
            }
        }
        FaultKind::DiskStall | FaultKind::Pause => {
            for core in machines.cores_of(fault.victim) {
                machines.schedule_disk(core, time);
                machines.schedule_turn(core, time);
            }
        }
        _ => {}
    }
}
