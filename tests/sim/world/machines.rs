//! The nodes' machines and their cores: clocks, disks, and when turns and disk operations happen.

use super::event::{ClientRequest, SimEvent};
use super::timeline::Timeline;
use crate::check::Checked;
use crate::check::lease::LeaderView;
use crate::sim::clock::Clock;
use crate::sim::node::{Incoming, SimCore};
use crate::sim::params::Params;
use crate::sim::queue::{Instant, MS, SECOND};
use crate::sim::rng::Rng;
use crate::sim::trace::{CorePlace, Note};
use synod_replica::placement::core_of;
use synod_shard::Role;
use synod_types::{GroupId, Level, NodeId};
use synod_wal::mem::{MemCopy, MemImage, MemOptions};

/// A core is ticked this often.
pub(super) const TICK: u64 = 5 * MS;

/// One core's place in the world; survives its lives.
pub(super) struct CoreSlot {
    pub(super) place: CorePlace,
    pub(super) image: MemImage,
    pub(super) running: Option<Box<SimCore>>,
    pub(super) turn_pending: bool,
    /// When the pending disk event is due.
    pub(super) disk_event: Option<Instant>,
    /// By peer node: the latest session of its link in which a message arrived.
    pub(super) heard: Vec<u32>,
}

/// One node: the state its cores share.
pub(super) struct SimMachine {
    pub(super) clock: Clock,
    /// Counts starts and stops.
    pub(super) life: u64,
    pub(super) up: bool,
    /// Counts outages, so that the restart of an earlier one does nothing.
    pub(super) outage: u64,
    pub(super) paused_until: Instant,
    /// The next turn's output is held until then: the process is paused between deciding and sending.
    pub(super) held_until: Instant,
    pub(super) stalled_until: Instant,
    /// Until then clients of the node may get errors: it is down, paused, or cut off from a majority.
    pub(super) trouble_until: Instant,
    /// Until then its clients may have to wait for longer than others: what its slow links have gathered arrives
    /// at their pace.
    pub(super) late_until: Instant,
    /// It takes no new clients: it has handed over what it led, and is about to stop.
    pub(super) is_closed: bool,
    /// The node goes down as soon as it has writes under way: crashes hurt most there.
    pub(super) doomed: Option<Doom>,
}

/// An outage that waits for its moment.
#[derive(Clone, Copy)]
pub(super) struct Doom {
    /// Whether the power goes, not only the process.
    pub(super) power: bool,
    /// When the node comes back.
    pub(super) until: Instant,
    /// Before that, only a write of several pages counts: such a write can be torn.
    pub(super) picky_until: Instant,
    /// If set: before that, only a write that a later one has overtaken counts.
    pub(super) wants_gap: bool,
}

impl SimMachine {
    fn new(params: &Params, rng: &mut Rng) -> Self {
        let drift = params.clock.drift_ppm_max;
        let rate_ppm = rng.below(2 * drift + 1) as i64 - drift as i64;
        let wall = params.clock.wall_ms_max;
        let wall_offset_ms = rng.below(2 * wall + 1) as i64 - wall as i64;
        // A boot-time clock counts from the start of its machine, so it may read anything.
        let base = rng.between(MS, 1000 * SECOND);
        Self {
            clock: Clock::new(base, rate_ppm, wall_offset_ms).with_grain(params.clock.wall_grain_ms),
            life: 0,
            up: false,
            outage: 0,
            paused_until: 0,
            held_until: 0,
            stalled_until: 0,
            trouble_until: 0,
            late_until: 0,
            is_closed: false,
            doomed: None,
        }
    }

    /// A new life begins; returns its number.
    pub(super) fn begin_life(&mut self) -> u64 {
        self.life += 1;
        self.up = true;
        self.paused_until = 0;
        self.held_until = 0;
        self.is_closed = false;
        self.doomed = None;
        self.life
    }

    /// Nothing that a fault did to the machine lasts. Whether it is up stays as it is.
    pub(super) fn heal(&mut self) {
        self.clock.step_wall(0);
        self.paused_until = 0;
        self.stalled_until = 0;
        self.doomed = None;
    }
}

/// All machines, with their cores.
pub(super) struct Machines {
    pub(super) nodes: Vec<SimMachine>,
    pub(super) slots: Vec<CoreSlot>,
    /// Cores per node.
    pub(super) core_count: usize,
    /// The time that a write of a sound disk takes.
    write_ns: (u64, u64),
}

impl Machines {
    /// Machines that are switched off, with empty disks.
    pub(super) fn new(params: &Params, rng: &mut Rng) -> Self {
        let node_count = usize::from(params.node_count);
        let core_count = usize::from(params.core_count);
        let nodes = (0..node_count).map(|_| SimMachine::new(params, rng)).collect();
        let slots = (0..node_count * core_count)
            .map(|index| CoreSlot {
                place: CorePlace {
                    node: NodeId::new((index / core_count) as u16 + 1),
                    core: (index % core_count) as u16,
                },
                image: MemImage::new(mem_options(params), rng.draw()),
                running: None,
                turn_pending: false,
                disk_event: None,
                heard: vec![0; node_count],
            })
            .collect();
        Self { nodes, slots, core_count, write_ns: params.disk.write_ns }
    }

    pub(super) fn node_index(&self, core: usize) -> usize {
        core / self.core_count
    }

    pub(super) fn node_of(&self, core: usize) -> &SimMachine {
        &self.nodes[self.node_index(core)]
    }

    pub(super) fn alive(&self, core: usize, life: u64) -> bool {
        let node = self.node_of(core);
        node.up && node.life == life
    }

    pub(super) fn cores_of(&self, node: usize) -> std::ops::Range<usize> {
        node * self.core_count..(node + 1) * self.core_count
    }

    /// The core of `peer` that holds the same groups as `core`.
    pub(super) fn facing(&self, core: usize, peer: usize) -> usize {
        peer * self.core_count + core % self.core_count
    }

    /// Every core that runs.
    pub(super) fn cores(&self) -> impl Iterator<Item = (CorePlace, &SimCore)> {
        self.slots.iter().filter_map(|slot| Some((slot.place, slot.running.as_deref()?)))
    }

    /// The level of a group, as a node's log says; none if the node is down.
    pub(super) fn level(&self, node: usize, group: GroupId) -> Option<Level> {
        let running = self.cores_of(node).filter_map(|core| self.slots[core].running.as_ref());
        running.filter_map(|running| running.shard().level(group)).next()
    }

    /// A core that runs gets `incoming` in its next turn.
    pub(super) fn hand(&mut self, core: usize, incoming: Incoming, time: &mut Timeline) {
        if let Some(running) = self.slots[core].running.as_mut() {
            running.take(incoming);
            self.schedule_turn(core, time);
        }
    }

    pub(super) fn schedule_turn(&mut self, core: usize, time: &mut Timeline) {
        let node = self.node_index(core);
        if self.slots[core].turn_pending || self.slots[core].running.is_none() {
            return;
        }
        self.slots[core].turn_pending = true;
        let delay = time.rng.below(time.params.limits.turn_delay_max);
        let at = (time.now() + delay).max(self.nodes[node].paused_until);
        time.queue.at(at, SimEvent::Turn { core, life: self.nodes[node].life });
    }

    pub(super) fn schedule_disk(&mut self, core: usize, time: &mut Timeline) {
        let node = self.node_index(core);
        if self.slots[core].running.is_none() {
            return;
        }
        let Some(due) = self.slots[core].image.next_due() else { return };
        let at = due.max(self.nodes[node].stalled_until).max(time.now());
        if self.slots[core].disk_event.is_none_or(|known| known > at) {
            self.slots[core].disk_event = Some(at);
            time.queue.at(at, SimEvent::Disk { core, life: self.nodes[node].life });
        }
    }

    pub(super) fn on_tick(&mut self, core: usize, life: u64, time: &mut Timeline) {
        if !self.alive(core, life) {
            return;
        }
        time.queue.after(TICK, SimEvent::Tick { core, life });
        // A paused process takes no ticks; it gets one when it resumes.
        if time.now() >= self.node_of(core).paused_until {
            self.hand(core, Incoming::Tick, time);
        }
    }

    /// A disk operation may be complete; returns whether the core is in the same life as when it began.
    pub(super) fn on_disk(&mut self, core: usize, life: u64, time: &mut Timeline) -> bool {
        if !self.alive(core, life) {
            return false;
        }
        self.slots[core].disk_event = None;
        let now = time.now();
        if now >= self.node_of(core).stalled_until {
            self.slots[core].image.advance(now);
        }
        self.schedule_turn(core, time);
        true
    }

    pub(super) fn on_request(
        &mut self,
        node: usize,
        client: u32,
        request: ClientRequest,
        time: &mut Timeline,
    ) {
        let ClientRequest { attempt, group, consistency, command } = request;
        let cores = time.params.core_count;
        let core = node * self.core_count + usize::from(core_of(group, cores).get());
        let place = self.slots[core].place;
        let write = command.op.is_write();
        time.observer.note(Note::Request { client, attempt, at: place, group, write });
        if self.slots[core].running.is_some() && !self.nodes[node].is_closed {
            self.hand(core, Incoming::Request(attempt, group, consistency, command), time);
        } else {
            let delay = time.client_delay();
            time.queue.after(delay, SimEvent::Refused { attempt });
        }
    }

    /// The core is told that the old session broke before it gets any message of the new one.
    pub(super) fn note_session(&mut self, core: usize, peer: usize, session: u32, time: &mut Timeline) {
        let peer_node = self.slots[peer * self.core_count].place.node;
        if self.slots[core].heard[peer] < session {
            self.slots[core].heard[peer] = session;
            self.hand(core, Incoming::LinkLost(peer_node), time);
        }
    }

    pub(super) fn on_link_told(&mut self, core: usize, peer: usize, session: u32, time: &mut Timeline) {
        if self.node_of(core).up {
            self.note_session(core, peer, session, time);
        }
    }

    /// If this core serves a group, all replicas that lead the group are checked, each by its own clock.
    pub(super) fn look_at_leaders(&self, core: usize, time: &mut Timeline) -> Checked {
        let Some(running) = self.slots[core].running.as_ref() else { return Ok(()) };
        let now = time.now();
        let served: Vec<GroupId> =
            running.shard().status().filter(|status| status.serving).map(|status| status.group).collect();
        for group in served {
            let same_core = self.slots.iter().skip(core % self.core_count).step_by(self.core_count);
            let leaders: Vec<LeaderView> = same_core
                .filter_map(|slot| {
                    let shard = slot.running.as_ref()?.shard();
                    let status = shard.status().find(|status| status.group == group)?;
                    if status.role != Role::Leader {
                        return None;
                    }
                    let clock = self.nodes[usize::from(slot.place.node.get()) - 1].clock.read(now);
                    Some(LeaderView {
                        node: slot.place.node,
                        ballot: status.promised,
                        serving: status.serving,
                        lease: shard.holds_lease(group, clock.mono),
                    })
                })
                .collect();
            time.observer.on_leaders(group, &leaders)?;
        }
        Ok(())
    }

    /// From now on no disk stalls, and every read returns what was written.
    pub(super) fn heal_disks(&self) {
        for slot in &self.slots {
            slot.image.configure(|options| {
                options.write_ns = self.write_ns;
                (options.stall_ppm, options.read_rot_ppm, options.read_error_ppm) = (0, 0, 0);
            });
        }
    }

    /// From now on each read of any disk takes a time within this range.
    pub(super) fn slow_reads(&self, read_ns: (u64, u64)) {
        for slot in &self.slots {
            slot.image.configure(|options| options.read_ns = read_ns);
        }
    }

    /// From now on each write of a node's disks takes a time within this range; with none, as at first.
    pub(super) fn slow_writes(&self, node: usize, write_ns: Option<(u64, u64)>) {
        for core in self.cores_of(node) {
            let write_ns = write_ns.unwrap_or(self.write_ns);
            self.slots[core].image.configure(|options| options.write_ns = write_ns);
        }
    }

    /// From now on this many of a node's reads, per million, return wrong bytes, and this many fail. Reads of
    /// a recovery are spared: a log that is damaged at a start is refused.
    pub(super) fn rot(&self, node: usize, rot_ppm: u32, error_ppm: u32) {
        for core in self.cores_of(node) {
            self.slots[core].image.configure(|options| {
                (options.read_rot_ppm, options.read_error_ppm) = (rot_ppm, error_ppm);
            });
        }
    }

    /// Foreign data fills the disks of these nodes, or is removed again.
    pub(super) fn fill_disks(&self, nodes: std::ops::Range<usize>, full: bool) {
        for core in nodes.flat_map(|node| self.cores_of(node)) {
            self.slots[core].image.set_full(full);
        }
    }

    /// A copy of a node's disks as they are now.
    pub(super) fn copy_of(&self, node: usize) -> Vec<MemCopy> {
        self.cores_of(node).map(|core| self.slots[core].image.copy()).collect()
    }

    /// A node's disks become what they were when this copy was made.
    pub(super) fn put_back(&self, node: usize, copies: &[MemCopy]) {
        for (core, copy) in self.cores_of(node).zip(copies) {
            self.slots[core].image.put_back(copy);
        }
    }
}

fn mem_options(params: &Params) -> MemOptions {
    MemOptions {
        write_ns: params.disk.write_ns,
        read_ns: params.disk.read_ns,
        prepare_ns: params.disk.prepare_ns,
        stall_ppm: params.disk.stall_ppm,
        stall_ns: params.disk.stall_ns,
        ..MemOptions::default()
    }
}
