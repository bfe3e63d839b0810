//! A whole cluster: machines, the ways between them, and what they know of each other's logs. Nodes start and
//! stop here, and take their turns.

use super::event::SimEvent;
use super::machines::{Machines, TICK};
use super::positions::Positions;
use super::timeline::Timeline;
use super::ways::Ways;
use crate::check::{Checked, Violation};
use crate::sim::node::SimCore;
use crate::sim::params::Params;
use crate::sim::rng::Rng;
use crate::sim::trace::Note;
use synod_shard::Canary;
use synod_wal::mem::{MemCopy, Pending};

/// The cluster.
pub(super) struct SimCluster {
    pub(super) time: Timeline,
    pub(super) machines: Machines,
    pub(super) ways: Ways,
    pub(super) positions: Positions,
}

impl SimCluster {
    /// A cluster that is switched off.
    pub(super) fn new(params: &Params) -> Self {
        let mut rng = Rng::named(params.options.seed, "world");
        let machines = Machines::new(params, &mut rng);
        Self {
            time: Timeline::new(params, rng),
            machines,
            ways: Ways::new(params),
            positions: Positions::new(params),
        }
    }

    /// A node starts on its disks.
    ///
    /// # Errors
    /// When it does not start, or when a peer does not accept it.
    pub(super) fn start_node(&mut self, node: usize) -> Checked {
        let Self { time, machines, ways, positions } = self;
        let now = time.now();
        let life = machines.nodes[node].begin_life();
        let clock = machines.nodes[node].clock.read(now);
        for core in machines.cores_of(node) {
            let slot = &mut machines.slots[core];
            slot.image.advance(now);
            let running =
                SimCore::start(&time.params, slot.place, life, &slot.image, clock, &mut time.observer)?;
            slot.running = Some(Box::new(running));
            slot.turn_pending = false;
            slot.disk_event = None;
            for (peer, heard) in slot.heard.iter_mut().enumerate() {
                *heard = ways.net.session(node, peer, usize::from(slot.place.core));
            }
            let tick = time.rng.below(TICK);
            time.queue.after(tick, SimEvent::Tick { core, life });
            machines.schedule_disk(core, time);
        }
        positions.welcome_node(node, machines, &ways.net)
    }

    /// A node's process is killed, or its power goes; `rng` decides what that does to its disks.
    pub(super) fn stop_node(&mut self, node: usize, power: bool, rng: &mut Rng) {
        let Self { time, machines, ways, positions } = self;
        if !machines.nodes[node].up {
            return;
        }
        machines.nodes[node].up = false;
        machines.nodes[node].outage += 1;
        for core in machines.cores_of(node) {
            let slot = &mut machines.slots[core];
            time.observer.note(Note::Stop { at: slot.place });
            let Some(running) = slot.running.take() else { continue };
            for attempt in running.open_attempts() {
                let delay = time.client_delay();
                time.queue.after(delay, SimEvent::GiveUp { attempt });
            }
            drop(running);
            let writing = |pending: &Pending| matches!(pending, Pending::Write { .. });
            if slot.image.pending().iter().any(writing) {
                time.observer.coverage.meet("stopped while it wrote");
            }
            // The writes of a killed process are with the kernel: they may well be finished.
            if !power && rng.coin() {
                slot.image.complete_all();
            }
            slot.image.crash(rng.draw());
            positions.forget(core);
            if time.params.options.canary == Some(Canary::PositionsForgotten) {
                positions.forget_notes(core);
            }
        }
        if power {
            machines.nodes[node].clock.reboot(time.now());
        }
        ways.break_links(node, machines, time);
    }

    /// A core takes its turn; returns whether it took one.
    ///
    /// # Errors
    /// When an invariant does not hold.
    pub(super) fn turn(&mut self, core: usize, life: u64) -> Result<bool, Violation> {
        let Self { time, machines, ways, .. } = self;
        if !machines.alive(core, life) {
            return Ok(false);
        }
        let now = time.now();
        let node = machines.node_index(core);
        if now < machines.nodes[node].paused_until {
            time.queue.at(machines.nodes[node].paused_until, SimEvent::Turn { core, life });
            return Ok(false);
        }
        let slot = &mut machines.slots[core];
        slot.turn_pending = false;
        let clock = machines.nodes[node].clock.read(now);
        if now >= machines.nodes[node].stalled_until {
            slot.image.advance(now);
        }
        let Some(running) = slot.running.as_mut() else { return Ok(false) };
        let out = running.turn(now, clock, life, &mut time.observer)?;
        // A pause may begin between deciding and sending.
        let held_until = std::mem::take(&mut machines.nodes[node].held_until);
        if held_until > now {
            machines.nodes[node].paused_until = held_until;
        }
        ways.route(core, out, held_until.max(now), machines, time);
        machines.schedule_disk(core, time);
        Ok(true)
    }

    /// Every fault ends: all nodes up and connected, nothing lost, clocks right (except for drift).
    ///
    /// # Errors
    /// When a node does not start.
    pub(super) fn heal(&mut self) -> Checked {
        self.time.faults_on = false;
        self.ways.net.heal();
        for node in 0..self.machines.nodes.len() {
            self.machines.nodes[node].heal();
            if !self.machines.nodes[node].up {
                self.start_node(node)?;
            }
        }
        self.machines.heal_disks();
        self.machines.fill_disks(0..self.machines.nodes.len(), false);
        for core in 0..self.machines.slots.len() {
            self.machines.schedule_disk(core, &mut self.time);
            self.machines.schedule_turn(core, &mut self.time);
        }
        Ok(())
    }

    /// Judges an old copy of the disks of a node that is down, and starts the node with its newest disks.
    ///
    /// # Errors
    /// When a peer takes the old copy for the node, or does not accept the newest disks.
    pub(super) fn meet_old_copy(&mut self, node: usize, old: &[MemCopy]) -> Checked {
        self.positions.meet_old_copy(node, old, &self.machines, &self.time.params)?;
        self.start_node(node)
    }
}
