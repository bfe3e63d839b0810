//! The world of one run: nodes, network, disks, clocks and clients, moved by one queue of events.
//!
//! May not: take anything from outside except [`Params`]. Randomness comes from named streams of the seed
//! only, and the order of events from the queue only.

mod copies;
mod events;
mod faults;
mod readers;
mod resends;
mod timing;
mod votes;
mod ways;

use super::client::{AttemptId, Clients, Want};
use super::clock::Clock;
use super::fault::{Fault, FaultKind};
use super::net::Network;
use super::node::Core;
use super::observe::Observer;
use super::params::Params;
use super::queue::{Instant, MS, Queue, SECOND};
use super::rng::Rng;
use super::trace::{Note, Place};
use crate::check::{Checked, Violation};
use readers::Readers;
use resends::Resends;
use synod_types::{Command, Consistency, GroupId, LogPosition, NodeId, PeerMessage, Reply, Shared, WallMs};
use synod_wal::mem::{MemImage, MemOptions};
use votes::KeptVotes;

/// A core is ticked this often.
const TICK: u64 = 5 * MS;

/// Everything that can happen.
#[derive(Debug)]
enum Event {
    /// A core's clock ticks.
    Tick { core: usize, life: u64 },
    /// A core takes what waits for it.
    Turn { core: usize, life: u64 },
    /// A disk operation is complete.
    Disk { core: usize, life: u64 },
    /// A message arrives.
    Arrive { core: usize, from: usize, session: u32, message: Box<PeerMessage<Shared>> },
    /// A forward is delivered again.
    Resend { core: usize, message: Box<PeerMessage<Shared>> },
    /// One end of a broken link is told that it broke.
    LinkTold { core: usize, peer: usize, session: u32 },
    /// A client's request arrives.
    Request {
        node: usize,
        attempt: AttemptId,
        group: GroupId,
        consistency: Consistency,
        command: Box<Command<Shared>>,
    },
    /// A node's answer arrives.
    Answer { attempt: AttemptId, reply: Box<Reply<Vec<u8>>> },
    /// A client's connection was refused: no process listens there.
    Refused { attempt: AttemptId },
    /// A client gives an attempt up, or its connection breaks.
    GiveUp { attempt: AttemptId },
    /// A client's pause ends.
    Wake { client: usize },
    /// Time for the next fault.
    NextFault,
    /// Time for an administrator to ask that another node lead a group.
    NextWish,
    /// A fault ends.
    FaultEnds(Box<Fault>),
    /// The second half of a betrayal: `bounced` is restarted, and `leader` cut off until then.
    Betray { leader: usize, bounced: usize, until: Instant },
    /// A node goes down, unless it went down since this was scheduled.
    Outage { node: usize, life: u64, power: bool, until: Instant },
    /// A node's machine comes back.
    Restart { node: usize, outage: u64 },
    /// Every node tells every other node how far its log is durable.
    Positions,
}

/// One core's place in the world; survives its lives.
struct Slot {
    place: Place,
    image: MemImage,
    running: Option<Box<Core>>,
    turn_pending: bool,
    /// When the pending disk event is due.
    disk_event: Option<Instant>,
    /// By peer node: the latest session of its link in which a message arrived.
    heard: Vec<u32>,
    /// By node: how far this core knows the peer's log (`known`), and which part of that it has noted durably
    /// (P-20).
    known: Vec<LogPosition>,
    noted: Vec<LogPosition>,
}

/// One node: the state its cores share.
struct Node {
    clock: Clock,
    /// Counts starts and stops.
    life: u64,
    up: bool,
    /// Counts outages, so that the restart of an earlier one does nothing.
    outage: u64,
    paused_until: Instant,
    /// The next turn's output is held until then: the process is paused between deciding and sending.
    held_until: Instant,
    stalled_until: Instant,
    /// The node goes down as soon as it has writes under way: crashes hurt most there.
    doomed: Option<Doom>,
}

/// An outage that waits for its moment.
#[derive(Clone, Copy)]
struct Doom {
    /// Whether the power goes, not only the process.
    power: bool,
    /// When the node comes back.
    until: Instant,
    /// Before that, only a write of several pages counts: such a write can be torn.
    picky_until: Instant,
    /// If set: before that, only a write that a later one has overtaken counts.
    wants_gap: bool,
}

/// The world.
pub struct World {
    params: Params,
    queue: Queue<Event>,
    /// Sees everything and judges it.
    pub observer: Observer,
    net: Network,
    nodes: Vec<Node>,
    slots: Vec<Slot>,
    /// All clients.
    pub clients: Clients,
    rng: Rng,
    fault_rng: Rng,
    wish_rng: Rng,
    doom_rng: Rng,
    readers: Readers,
    votes: KeptVotes,
    resends: Resends,
    faults_on: bool,
    /// Scratch; empty between events.
    wants: Vec<Want>,
}

impl World {
    /// A cluster that is about to start.
    ///
    /// # Errors
    /// When a node does not start.
    pub fn new(params: &Params) -> Result<Self, Violation> {
        let seed = params.options.seed;
        let mut rng = Rng::named(seed, "world");
        let node_count = usize::from(params.node_count);
        let core_count = usize::from(params.core_count);
        let nodes = (0..node_count).map(|_| make_node(params, &mut rng)).collect();
        let slots = (0..node_count * core_count)
            .map(|index| Slot {
                place: Place {
                    node: NodeId::new((index / core_count) as u16 + 1),
                    core: (index % core_count) as u16,
                },
                image: MemImage::new(mem_options(params), rng.draw()),
                running: None,
                turn_pending: false,
                disk_event: None,
                heard: vec![0; node_count],
                known: vec![LogPosition::default(); node_count],
                noted: vec![LogPosition::default(); node_count],
            })
            .collect();
        let mut world = Self {
            queue: Queue::new(),
            observer: Observer::new(params),
            net: Network::new(params.net, seed, node_count, core_count),
            nodes,
            slots,
            clients: Clients::new(params),
            rng,
            fault_rng: Rng::named(seed, "faults"),
            wish_rng: Rng::named(seed, "wish"),
            doom_rng: Rng::named(seed, "doom"),
            readers: Readers::new(params),
            votes: KeptVotes::new(params),
            resends: Resends::new(params),
            faults_on: false,
            wants: Vec::new(),
            params: params.clone(),
        };
        for node in 0..node_count {
            world.start_node(node)?;
        }
        world.queue.at(SECOND, Event::Positions);
        for client in 0..world.clients.count() {
            let after = world.rng.below(SECOND);
            world.queue.after(after, Event::Wake { client });
        }
        Ok(world)
    }

    /// The current instant.
    pub fn now(&self) -> Instant {
        self.queue.now()
    }

    /// The parameters.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// Faults begin to happen.
    pub fn begin_faults(&mut self) {
        self.faults_on = true;
        self.queue.after(0, Event::NextFault);
        self.queue.after(0, Event::NextWish);
    }

    /// Lets things happen until `instant`.
    ///
    /// # Errors
    /// When an invariant does not hold.
    pub fn run_until(&mut self, instant: Instant) -> Checked {
        while self.queue.next_at().is_some_and(|at| at <= instant) {
            let Some(event) = self.queue.pop() else { break };
            self.observer.now = self.queue.now();
            self.happen(event)?;
        }
        self.queue.pass(instant);
        self.observer.now = instant;
        Ok(())
    }

    /// Cuts the network as `kind` says, until everything is healed.
    pub fn impose(&mut self, kind: FaultKind, victim: usize) {
        self.observer.note(Note::Fault { what: kind.name(), on: true, victim: victim as u64 });
        for (from, to) in kind.cuts(victim, self.nodes.len(), &mut self.fault_rng) {
            self.net.cut(from, to, true);
        }
    }

    /// Steps a node's wall clock.
    pub fn set_wall(&mut self, node: usize, offset_ms: i64) {
        self.observer.note(Note::Fault { what: "wall clock step", on: true, victim: node as u64 });
        self.nodes[node].clock.step_wall(offset_ms);
    }

    /// The node that serves a group under a lease, and the group's clock there.
    pub fn group_clock(&self, group: GroupId) -> Option<(usize, WallMs)> {
        self.cores().find_map(|(place, core)| {
            let node = usize::from(place.node.get()) - 1;
            let now = self.nodes[node].clock.read(self.now());
            Some((node, core.shard().clock(group, now.mono)?))
        })
    }

    /// Ends all cuts of the network.
    pub fn reconnect(&mut self) {
        self.net.heal();
    }

    /// Ends every fault: all nodes up and connected, nothing lost, clocks right (but for drift).
    ///
    /// # Errors
    /// When a node does not start.
    pub fn heal(&mut self) -> Checked {
        self.faults_on = false;
        self.net.heal();
        for node in 0..self.nodes.len() {
            self.nodes[node].clock.step_wall(0);
            self.nodes[node].paused_until = 0;
            self.nodes[node].stalled_until = 0;
            self.nodes[node].doomed = None;
            if !self.nodes[node].up {
                self.start_node(node)?;
            }
        }
        for slot in &self.slots {
            slot.image.configure(|options| {
                (options.stall_ppm, options.read_rot_ppm, options.read_error_ppm) = (0, 0, 0);
            });
        }
        self.fill_disks(0..self.nodes.len(), false);
        for core in 0..self.slots.len() {
            self.schedule_disk(core);
            self.schedule_turn(core);
        }
        Ok(())
    }

    /// Lets a helper send one request.
    pub fn ask(&mut self, helper: usize, key: u32, action: crate::check::model::Action) {
        let now = self.now();
        let mut wants = std::mem::take(&mut self.wants);
        self.clients.ask(helper, key, action, now, &mut wants);
        self.carry_out(helper, &mut wants);
    }

    /// Every core that runs.
    pub fn cores(&self) -> impl Iterator<Item = (Place, &Core)> {
        self.slots.iter().filter_map(|slot| Some((slot.place, slot.running.as_deref()?)))
    }
}

fn make_node(params: &Params, rng: &mut Rng) -> Node {
    let drift = params.clock.drift_ppm_max;
    let rate_ppm = rng.below(2 * drift + 1) as i64 - drift as i64;
    let wall = params.clock.wall_ms_max;
    let wall_offset_ms = rng.below(2 * wall + 1) as i64 - wall as i64;
    // A boot-time clock counts from the start of its machine, so it may read anything.
    let base = rng.between(MS, 1000 * SECOND);
    Node {
        clock: Clock::new(base, rate_ppm, wall_offset_ms).with_grain(params.clock.wall_grain_ms),
        life: 0,
        up: false,
        outage: 0,
        paused_until: 0,
        held_until: 0,
        stalled_until: 0,
        doomed: None,
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
