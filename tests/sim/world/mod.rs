//! The world of one run: nodes, network, disks, clocks and clients, moved by one queue of events.
//!
//! From the top down; each part knows only parts below it:
//! ```text
//!   world
//!   faults      wishes     readers     pipelines
//!   cluster
//!   positions   ways
//!   machines    votes      resends
//!   timeline
//!   event
//! ```
//!
//! May not: take anything from outside except [`Params`]. Randomness comes from named streams of the seed
//! only, and the order of events from the queue only.

mod cluster;
mod event;
mod faults;
mod machines;
mod pipelines;
mod positions;
mod readers;
mod resends;
mod timeline;
mod votes;
mod ways;
mod wishes;

use super::client::{AttemptId, Clients, Want};
use super::fault::FaultKind;
use super::node::SimCore;
use super::observe::Observer;
use super::params::Params;
use super::queue::{Instant, SECOND};
use super::trace::{CorePlace, Note};
use crate::check::model::Action;
use crate::check::{Checked, Violation};
use cluster::SimCluster;
use event::SimEvent;
use faults::{FaultPlan, on_fault_ends};
use pipelines::Pipelines;
use readers::Readers;
use synod_types::{GroupId, Reply, WallMs};
use synod_wal::mem::MemCopy;
use wishes::Wishes;

/// The world.
pub struct World {
    cluster: SimCluster,
    /// All clients.
    pub clients: Clients,
    faults: FaultPlan,
    wishes: Wishes,
    readers: Readers,
    pipelines: Pipelines,
}

impl World {
    /// A cluster that is about to start.
    ///
    /// # Errors
    /// When a node does not start.
    pub fn new(params: &Params) -> Result<Self, Violation> {
        let mut world = Self {
            cluster: SimCluster::new(params),
            clients: Clients::new(params),
            faults: FaultPlan::new(params),
            wishes: Wishes::new(params),
            readers: Readers::new(params),
            pipelines: Pipelines::new(params),
        };
        for node in 0..usize::from(params.node_count) {
            world.cluster.start_node(node)?;
        }
        let time = &mut world.cluster.time;
        time.queue.at(SECOND, SimEvent::Positions);
        for client in 0..world.clients.count() {
            let after = time.rng.below(SECOND);
            time.queue.after(after, SimEvent::Wake { client });
        }
        for pipeline in 0..world.pipelines.count() {
            time.queue.after(SECOND, SimEvent::Burst { pipeline });
        }
        Ok(world)
    }

    /// No client and no pipeline begins anything new.
    pub fn stop_clients(&mut self) {
        self.clients.stop();
        self.pipelines.stop();
    }

    /// Whether anything was sent that has no answer yet.
    pub fn any_client_busy(&self) -> bool {
        self.clients.any_busy() || self.pipelines.any_busy()
    }

    /// Pipelined writes that were acknowledged, and the longest that one at a node which nothing happened to
    /// has waited for that.
    pub fn pipelined(&self) -> (u64, u64) {
        (self.pipelines.acknowledged(), self.pipelines.longest())
    }

    /// The current instant.
    pub fn now(&self) -> Instant {
        self.cluster.time.now()
    }

    /// The parameters.
    pub fn params(&self) -> &Params {
        &self.cluster.time.params
    }

    /// The observer: sees everything and judges it.
    pub fn observer(&self) -> &Observer {
        &self.cluster.time.observer
    }

    /// The run enters a phase.
    pub fn begin_phase(&mut self, name: &'static str) {
        let now = self.now();
        let observer = &mut self.cluster.time.observer;
        observer.now = now;
        observer.note(Note::Phase { name });
    }

    /// Faults begin to happen.
    pub fn begin_faults(&mut self) {
        let time = &mut self.cluster.time;
        time.faults_on = true;
        time.queue.after(0, SimEvent::NextFault);
        time.queue.after(0, SimEvent::NextWish);
    }

    /// From now on a fault that ends undoes what it did, though none begins by itself.
    pub fn begin_gray(&mut self) {
        self.cluster.time.faults_on = true;
    }

    /// Lets things happen until `instant`.
    ///
    /// # Errors
    /// When an invariant does not hold.
    pub fn run_until(&mut self, instant: Instant) -> Checked {
        while self.cluster.time.queue.next_at().is_some_and(|at| at <= instant) {
            let Some(event) = self.cluster.time.queue.pop() else { break };
            self.cluster.time.observer.now = self.now();
            self.happen(event)?;
        }
        self.cluster.time.queue.pass(instant);
        self.cluster.time.observer.now = instant;
        Ok(())
    }

    /// Cuts the network as `kind` says, until everything is healed.
    pub fn impose(&mut self, kind: FaultKind, victim: usize) {
        self.faults.impose(kind, victim, &mut self.cluster);
    }

    /// Steps a node's wall clock.
    pub fn set_wall(&mut self, node: usize, offset_ms: i64) {
        let note = Note::Fault { what: "wall clock step", on: true, victim: node as u64 };
        self.cluster.time.observer.note(note);
        self.cluster.machines.nodes[node].clock.step_wall(offset_ms);
    }

    /// The node that serves a group under a lease, and the group's clock there.
    pub fn group_clock(&self, group: GroupId) -> Option<(usize, WallMs)> {
        self.cores().find_map(|(place, core)| {
            let node = usize::from(place.node.get()) - 1;
            let now = self.cluster.machines.nodes[node].clock.read(self.now());
            Some((node, core.shard().clock(group, now.mono)?))
        })
    }

    /// A fault strikes a node, for so long.
    pub fn strike(&mut self, kind: FaultKind, victim: usize, duration: u64) {
        self.faults.strike_for(kind, victim, duration, &mut self.cluster);
    }

    /// Whether a node's processes run.
    pub fn is_up(&self, node: usize) -> bool {
        self.cluster.machines.nodes[node].up
    }

    /// How long what is under way from or to a node takes to arrive.
    pub fn backlog_of(&self, node: usize) -> u64 {
        self.cluster.ways.net.drained_at(node).saturating_sub(self.now())
    }

    /// Ends all cuts of the network.
    pub fn reconnect(&mut self) {
        self.cluster.ways.net.heal();
    }

    /// Ends every fault: all nodes up and connected, nothing lost, clocks right (except for drift).
    ///
    /// # Errors
    /// When a node does not start.
    pub fn heal(&mut self) -> Checked {
        self.cluster.heal()
    }

    /// From now on each write of a node's disk takes a time within this range, or what it takes by itself.
    pub fn slow_writes(&mut self, node: usize, write_ns: Option<(u64, u64)>) {
        self.cluster.machines.slow_writes(node, write_ns);
    }

    /// From now on each read of any disk takes a time within this range.
    pub fn slow_reads(&mut self, read_ns: (u64, u64)) {
        self.cluster.machines.slow_reads(read_ns);
    }

    /// From now on this many of a node's reads, per million, return wrong bytes, and this many fail. Reads of
    /// a recovery are spared: a log that is damaged at a start is refused.
    pub fn rot(&mut self, node: usize, rot_ppm: u32, error_ppm: u32) {
        self.cluster.machines.rot(node, rot_ppm, error_ppm);
    }

    /// A node goes down, and comes up again at `until`.
    pub fn outage(&mut self, node: usize, power: bool, until: Instant) {
        self.faults.outage(node, power, until, &mut self.cluster);
    }

    /// A copy of a node's disks as they are now.
    pub fn copy_of(&self, node: usize) -> Vec<MemCopy> {
        self.cluster.machines.copy_of(node)
    }

    /// The node's machine goes down, and an old copy of its disks is put back. Each peer alone has to
    /// recognise it as old. Then the node comes back with its newest disks.
    ///
    /// # Errors
    /// When a peer takes the old copy for the node, or does not accept the newest disks.
    pub fn meet_old_copy(&mut self, node: usize, old: &[MemCopy]) -> Checked {
        self.faults.stop(node, true, &mut self.cluster);
        self.cluster.meet_old_copy(node, old)
    }

    /// Lets a helper send one request.
    pub fn ask(&mut self, helper: usize, key: u32, action: Action) {
        let time = &mut self.cluster.time;
        let mut wants = std::mem::take(&mut time.wants);
        self.clients.ask(helper, key, action, time.now(), &mut wants);
        time.carry_out(helper, wants);
    }

    /// Every core that runs.
    pub fn cores(&self) -> impl Iterator<Item = (CorePlace, &SimCore)> {
        self.cluster.machines.cores()
    }

    fn happen(&mut self, event: SimEvent) -> Checked {
        let SimCluster { time, machines, ways, positions } = &mut self.cluster;
        match event {
            SimEvent::Tick { core, life } => machines.on_tick(core, life, time),
            SimEvent::Turn { core, life } => return self.on_turn(core, life),
            SimEvent::Disk { core, life } => {
                if machines.on_disk(core, life, time) {
                    self.faults.meet_doom(core, life, &mut self.cluster);
                }
            }
            SimEvent::Arrive { core, from, session, message } => {
                ways.on_arrive(core, from, session, *message, machines, time);
            }
            SimEvent::Resend { core, message } => ways.on_resend(core, *message, machines, time),
            SimEvent::LinkTold { core, peer, session } => machines.on_link_told(core, peer, session, time),
            SimEvent::Request { node, request } => {
                let is_pipelined = Pipelines::has(request.attempt);
                let client = if is_pipelined { u32::MAX } else { self.clients.owner(request.attempt) as u32 };
                machines.on_request(node, client, *request, time);
            }
            SimEvent::Answer { attempt, reply } => return self.on_answer(attempt, &reply),
            SimEvent::Refused { attempt } => self.tell(attempt, Clients::on_refused),
            SimEvent::GiveUp { attempt } => self.tell(attempt, Clients::on_timeout),
            SimEvent::Wake { client } => {
                let mut wants = std::mem::take(&mut time.wants);
                self.clients.wake(client, time.now(), &mut wants);
                time.carry_out(client, wants);
            }
            SimEvent::Burst { pipeline } => self.pipelines.on_burst(pipeline, machines, time),
            SimEvent::NextFault => self.faults.on_next_fault(&mut self.cluster),
            SimEvent::NextWish => {
                if let Some(group) = self.wishes.on_next_wish(machines, time) {
                    self.readers.read_everywhere(group, &mut self.clients, time);
                }
            }
            SimEvent::FaultEnds(fault) => on_fault_ends(&fault, &mut self.cluster),
            SimEvent::Betray { leader, bounced, until } => {
                self.faults.on_betray(leader, bounced, until, &mut self.cluster);
            }
            SimEvent::Outage { node, life, power, until } => {
                let machine = &machines.nodes[node];
                if machine.up && machine.life == life {
                    self.faults.outage(node, power, until, &mut self.cluster);
                }
            }
            SimEvent::Leaving { node, life, until } => {
                self.faults.on_leaving(node, life, until, &mut self.cluster);
            }
            SimEvent::Positions => return positions.on_positions(machines, &ways.net, time),
            SimEvent::Restart { node, outage } => {
                let machine = &machines.nodes[node];
                if !machine.up && machine.outage == outage {
                    return self.cluster.start_node(node);
                }
            }
        }
        Ok(())
    }

    fn on_turn(&mut self, core: usize, life: u64) -> Checked {
        if !self.cluster.turn(core, life)? {
            return Ok(());
        }
        self.faults.meet_doom(core, life, &mut self.cluster);
        let SimCluster { time, machines, .. } = &mut self.cluster;
        self.readers.watch_leaders(core, machines, &mut self.clients, time);
        machines.look_at_leaders(core, time)
    }

    fn on_answer(&mut self, attempt: AttemptId, reply: &Reply<Vec<u8>>) -> Checked {
        let SimCluster { time, machines, .. } = &mut self.cluster;
        if Pipelines::has(attempt) {
            return self.pipelines.on_reply(attempt, reply, machines, time);
        }
        let client = self.clients.owner(attempt);
        let mut wants = std::mem::take(&mut time.wants);
        let result = self.clients.on_reply(attempt, reply, time.now(), &mut wants);
        time.carry_out(client, wants);
        self.readers.answered(client, &mut self.clients, time);
        result
    }

    fn tell(&mut self, attempt: AttemptId, what: fn(&mut Clients, AttemptId, Instant, &mut Vec<Want>)) {
        let time = &mut self.cluster.time;
        if Pipelines::has(attempt) {
            return self.pipelines.on_broken(attempt, time);
        }
        let client = self.clients.owner(attempt);
        let mut wants = std::mem::take(&mut time.wants);
        what(&mut self.clients, attempt, time.now(), &mut wants);
        time.carry_out(client, wants);
        self.readers.answered(client, &mut self.clients, time);
    }
}
