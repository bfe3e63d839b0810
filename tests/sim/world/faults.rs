//! Nodes stop and start, and everything else that goes wrong.

use super::{Doom, Event, TICK, World};
use crate::check::Checked;
use crate::sim::fault::{Fault, FaultKind};
use crate::sim::node::{Core, Incoming};
use crate::sim::queue::{Instant, MS};
use crate::sim::trace::Note;
use synod_shard::Role;
use synod_types::{GroupId, NodeId};
use synod_wal::mem::Pending;

impl World {
    pub(super) fn start_node(&mut self, node: usize) -> Checked {
        let now = self.now();
        self.nodes[node].life += 1;
        self.nodes[node].up = true;
        self.nodes[node].paused_until = 0;
        self.nodes[node].held_until = 0;
        self.nodes[node].doomed = None;
        let life = self.nodes[node].life;
        let clock = self.nodes[node].clock.read(now);
        for core in self.cores_of(node) {
            let slot = &mut self.slots[core];
            slot.image.advance(now);
            let running =
                Core::start(&self.params, slot.place, life, &slot.image, clock, &mut self.observer)?;
            slot.running = Some(Box::new(running));
            slot.turn_pending = false;
            slot.disk_event = None;
            for peer in 0..self.params.node_count {
                let peer = usize::from(peer);
                slot.heard[peer] = self.net.session(node, peer, usize::from(slot.place.core));
            }
            let tick = self.rng.below(TICK);
            self.queue.after(tick, Event::Tick { core, life });
            self.schedule_disk(core);
        }
        self.welcome_node(node)
    }

    pub(super) fn stop_node(&mut self, node: usize, power: bool) {
        if !self.nodes[node].up {
            return;
        }
        let now = self.now();
        self.nodes[node].up = false;
        self.nodes[node].outage += 1;
        for core in self.cores_of(node) {
            self.observer.note(Note::Stop { at: self.slots[core].place });
            let Some(running) = self.slots[core].running.take() else { continue };
            for attempt in running.open_attempts() {
                let delay = self.client_delay();
                self.queue.after(delay, Event::GiveUp { attempt });
            }
            drop(running);
            let writing = |pending: &Pending| matches!(pending, Pending::Write { .. });
            if self.slots[core].image.pending().iter().any(writing) {
                self.observer.coverage.meet("stopped while it wrote");
            }
            // The writes of a killed process are with the kernel: they may well be finished.
            if !power && self.fault_rng.coin() {
                self.slots[core].image.complete_all();
            }
            self.slots[core].image.crash(self.fault_rng.draw());
            self.forget_positions(core);
        }
        if power {
            self.nodes[node].clock.reboot(now);
        }
        for peer in 0..self.nodes.len() {
            for core in 0..usize::from(self.params.core_count) {
                if peer != node {
                    let broken = self.net.break_link(now, node, peer, core);
                    self.tell_broken(node, peer, core, broken);
                }
            }
        }
    }

    /// The leader of some group is told to transfer its leadership to another node. This is not a fault, but
    /// it comes at the worst moments.
    pub(super) fn on_next_wish(&mut self) {
        if !self.faults_on || self.params.wish_interval == 0 {
            return;
        }
        let next = self.wish_rng.exponential(self.params.wish_interval);
        self.queue.after(next, Event::NextWish);
        let group = GroupId::new(self.wish_rng.between(1, u64::from(self.params.group_count)) as u16);
        let target = NodeId::new(self.wish_rng.between(1, u64::from(self.params.node_count)) as u16);
        for core in 0..self.slots.len() {
            let slot = &mut self.slots[core];
            let Some(running) = slot.running.as_mut() else { continue };
            let leads = running.shard().status().any(|it| it.group == group && it.role == Role::Leader);
            if leads && slot.place.node != target {
                running.take(Incoming::TransferLeadership(group, target));
                self.schedule_turn(core);
            }
        }
        self.read_everywhere(group);
    }

    pub(super) fn on_next_fault(&mut self) -> Checked {
        if !self.faults_on || self.params.faults.is_empty() {
            return Ok(());
        }
        let next = self.fault_rng.exponential(self.params.fault_interval);
        self.queue.after(next, Event::NextFault);
        let kind = *self.fault_rng.pick(&self.params.faults);
        let victim = self.pick_victim();
        let now = self.now();
        let duration = kind.duration(&mut self.fault_rng);
        let is_exile = kind == FaultKind::Isolate;
        let until = now + duration * if is_exile { self.params.isolation_times } else { 1 };
        let cuts = kind.cuts(victim, self.nodes.len(), &mut self.fault_rng);
        let lease = self.params.timing.lease.0;
        let until = if kind == FaultKind::Betrayal { until + 2 * lease } else { until };
        self.observer.note(Note::Fault { what: kind.name(), on: true, victim: victim as u64 });
        self.observer.coverage.meet(kind.name());
        for &(from, to) in &cuts {
            self.net.cut(from, to, true);
        }
        match kind {
            FaultKind::PowerLoss | FaultKind::Kill => {
                let power = kind == FaultKind::PowerLoss;
                if self.fault_rng.coin() {
                    let picky = if self.fault_rng.coin() { 500 * MS } else { 0 };
                    let wants_gap = self.doom_rng.below(3) == 0;
                    let picky = if wants_gap { 2000 * MS } else { picky };
                    let doom = Doom { power, until, picky_until: now + picky, wants_gap };
                    self.nodes[victim].doomed = Some(doom);
                } else {
                    self.outage(victim, power, until);
                }
            }
            FaultKind::Blackout => {
                for node in 0..self.nodes.len() {
                    let later = self.fault_rng.below(200 * MS);
                    self.outage(node, true, until + later);
                }
            }
            FaultKind::Pause => {
                if self.fault_rng.coin() {
                    self.nodes[victim].held_until = until;
                } else {
                    self.nodes[victim].paused_until = until;
                }
            }
            FaultKind::Betrayal => {
                let after = self.fault_rng.between(lease, 2 * lease);
                // The last node, in the order of the ring, that the leader can still reach.
                let bounced = (victim + self.nodes.len() - 1) % self.nodes.len();
                self.queue.after(after, Event::Betray { leader: victim, bounced, until });
            }
            FaultKind::DiskStall => self.nodes[victim].stalled_until = until,
            FaultKind::Rot => self.rot(victim, 400_000, 100_000),
            FaultKind::FullDisk => {
                let all = self.fault_rng.coin();
                self.fill_disks(if all { 0..self.nodes.len() } else { victim..victim + 1 }, true);
            }
            FaultKind::WallStep => {
                let most = self.params.clock.wall_ms_max;
                let offset = self.fault_rng.below(2 * most + 1) as i64 - most as i64;
                self.nodes[victim].clock.step_wall(offset);
            }
            FaultKind::Congestion => {
                let delay = self.fault_rng.between(MS, 100 * MS);
                self.net.congest(delay);
            }
            _ => {}
        }
        self.queue.at(until, Event::FaultEnds(Box::new(Fault { kind, victim, until, cuts })));
        Ok(())
    }

    pub(super) fn on_betray(&mut self, leader: usize, bounced: usize, until: Instant) {
        if !self.faults_on {
            return;
        }
        let cuts = FaultKind::Isolate.cuts(leader, self.nodes.len(), &mut self.fault_rng);
        for &(from, to) in &cuts {
            self.net.cut(from, to, true);
        }
        let back = self.now() + self.fault_rng.between(MS / 2, 5 * MS);
        self.outage(bounced, false, back);
        let fault = Fault { kind: FaultKind::Isolate, victim: leader, until, cuts };
        self.queue.at(until, Event::FaultEnds(Box::new(fault)));
    }

    pub(super) fn on_fault_ends(&mut self, fault: &Fault) {
        self.observer.note(Note::Fault { what: fault.kind.name(), on: false, victim: fault.victim as u64 });
        if !self.faults_on {
            return; // the network was healed as a whole
        }
        for &(from, to) in &fault.cuts {
            self.net.cut(from, to, false);
        }
        match fault.kind {
            FaultKind::Congestion => self.net.congest(0),
            FaultKind::Rot => self.rot(fault.victim, 0, 0),
            FaultKind::FullDisk => self.fill_disks(0..self.nodes.len(), false),
            FaultKind::DiskStall | FaultKind::Pause => {
                for core in self.cores_of(fault.victim) {
                    self.schedule_disk(core);
                    self.schedule_turn(core);
                }
            }
            _ => {}
        }
    }

    /// From now on each read of any disk takes a time within this range.
    pub fn slow_reads(&mut self, read_ns: (u64, u64)) {
        for slot in &self.slots {
            slot.image.configure(|options| options.read_ns = read_ns);
        }
    }

    /// From now on this many of a node's reads, per million, return wrong bytes, and this many fail. Reads of
    /// a recovery are spared: a log that is damaged at a start is refused.
    pub fn rot(&mut self, node: usize, rot_ppm: u32, error_ppm: u32) {
        for core in self.cores_of(node) {
            self.slots[core].image.configure(|options| {
                (options.read_rot_ppm, options.read_error_ppm) = (rot_ppm, error_ppm);
            });
        }
    }

    /// Foreign data fills the disks of these nodes, or is removed again.
    pub fn fill_disks(&mut self, nodes: std::ops::Range<usize>, full: bool) {
        for core in nodes.flat_map(|node| self.cores_of(node)).collect::<Vec<_>>() {
            self.slots[core].image.set_full(full);
        }
    }

    /// A node goes down, and comes up again at `until`.
    pub fn outage(&mut self, node: usize, power: bool, until: Instant) {
        self.stop_node(node, power);
        let outage = self.nodes[node].outage;
        self.queue.at(until, Event::Restart { node, outage });
    }

    /// Half of the time the victim is a leader: faults hurt most there.
    fn pick_victim(&mut self) -> usize {
        let leaders: Vec<usize> = self
            .cores()
            .filter(|(_, core)| core.shard().status().any(|status| status.serving))
            .map(|(place, _)| usize::from(place.node.get()) - 1)
            .collect();
        if !leaders.is_empty() && self.fault_rng.coin() {
            return *self.fault_rng.pick(&leaders);
        }
        self.fault_rng.index(self.nodes.len())
    }
}
