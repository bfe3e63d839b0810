//! The world of one run: nodes, network, disks, clocks and clients, moved by one queue of events.
//!
//! May not: take anything from outside but [`Params`]. What is random comes from named streams of the seed; what is ordered
//! by the queue stays ordered by it.

use super::client::{AttemptId, Clients, Want};
use super::clock::Clock;
use super::fault::{Fault, FaultKind};
use super::net::{Broken, Network};
use super::node::{Core, Incoming, Outbox};
use super::observe::Observer;
use super::params::Params;
use super::queue::{Instant, MS, Queue, SECOND, US};
use super::rng::Rng;
use super::trace::{Gist, Note, Place, reply_word};
use crate::check::lease::LeaderView;
use crate::check::{Checked, Violation};
use synod_shard::Role;
use synod_types::{Command, Consistency, GroupId, NodeId, PeerMessage, Reply, Shared};
use synod_wal::mem::{MemImage, MemOptions, Pending};

/// A core is ticked this often.
const TICK: u64 = 5 * MS;

/// What happens.
#[derive(Debug)]
enum Event {
    /// A core's clock ticks.
    Tick { core: usize, life: u64 },
    /// A core takes what waits for it.
    Turn { core: usize, life: u64 },
    /// A disk has finished something.
    Disk { core: usize, life: u64 },
    /// A message arrives.
    Arrive { core: usize, from: usize, session: u32, message: Box<PeerMessage<Shared>> },
    /// An end of a broken link hears of it.
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
    /// A client's connection was refused: nobody listens.
    Refused { attempt: AttemptId },
    /// A client gives an attempt up, or its connection breaks.
    GiveUp { attempt: AttemptId },
    /// A client's pause ends.
    Wake { client: usize },
    /// Time for the next fault.
    NextFault,
    /// A fault ends.
    FaultEnds(Box<Fault>),
    /// The second half of a betrayal: `bounced` is restarted, and `leader` cut off until then.
    Betray { leader: usize, bounced: usize, until: Instant },
    /// A node goes down, unless it has since.
    Outage { node: usize, life: u64, power: bool, until: Instant },
    /// A node's machine comes back.
    Restart { node: usize, outage: u64 },
}

/// One core's place in the world; survives its lives.
struct Slot {
    place: Place,
    image: MemImage,
    running: Option<Box<Core>>,
    turn_pending: bool,
    /// When the disk event under way is due.
    disk_event: Option<Instant>,
    /// The link session each peer node was last heard in.
    heard: Vec<u32>,
}

/// One node: what its cores share.
struct Node {
    clock: Clock,
    /// Counts starts and stops.
    life: u64,
    up: bool,
    /// Counts outages, so that the restart of an earlier one does nothing.
    outage: u64,
    paused_until: Instant,
    /// The next turn's output is held until then: the process stands still between deciding and sending.
    held_until: Instant,
    stalled_until: Instant,
    /// Goes down as soon as it has writes under way: that is where crashes hurt.
    doomed: Option<Doom>,
}

/// An outage that waits for its moment.
#[derive(Clone, Copy)]
struct Doom {
    /// Whether the power goes, not only the process.
    power: bool,
    /// When it comes back.
    until: Instant,
    /// Before that, only writes of several pages count: they can be torn.
    picky_until: Instant,
}

/// The world.
pub struct World {
    params: Params,
    queue: Queue<Event>,
    /// Everything seen.
    pub observer: Observer,
    net: Network,
    nodes: Vec<Node>,
    slots: Vec<Slot>,
    /// Everybody who asks.
    pub clients: Clients,
    rng: Rng,
    fault_rng: Rng,
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
            faults_on: false,
            wants: Vec::new(),
            params: params.clone(),
        };
        for node in 0..node_count {
            world.start_node(node)?;
        }
        for client in 0..world.clients.count() {
            let after = world.rng.below(SECOND);
            world.queue.after(after, Event::Wake { client });
        }
        Ok(world)
    }

    /// The instant.
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
            slot.image.configure(|options| options.stall_ppm = 0);
        }
        for core in 0..self.slots.len() {
            self.schedule_disk(core);
            self.schedule_turn(core);
        }
        Ok(())
    }

    /// Lets a helper ask.
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

    // ---- events --------------------------------------------------------------------------------------------------

    fn happen(&mut self, event: Event) -> Checked {
        match event {
            Event::Tick { core, life } => self.on_tick(core, life),
            Event::Turn { core, life } => return self.on_turn(core, life),
            Event::Disk { core, life } => self.on_disk(core, life),
            Event::Arrive { core, from, session, message } => self.on_arrive(core, from, session, *message),
            Event::LinkTold { core, peer, session } => self.on_link_told(core, peer, session),
            Event::Request { node, attempt, group, consistency, command } => {
                self.on_request(node, attempt, group, consistency, *command);
            }
            Event::Answer { attempt, reply } => return self.on_answer(attempt, &reply),
            Event::Refused { attempt } => self.tell(attempt, Clients::on_refused),
            Event::GiveUp { attempt } => self.tell(attempt, Clients::on_timeout),
            Event::Wake { client } => {
                let now = self.now();
                let mut wants = std::mem::take(&mut self.wants);
                self.clients.wake(client, now, &mut wants);
                self.carry_out(client, &mut wants);
            }
            Event::NextFault => return self.on_next_fault(),
            Event::FaultEnds(fault) => self.on_fault_ends(&fault),
            Event::Betray { leader, bounced, until } => self.on_betray(leader, bounced, until),
            Event::Outage { node, life, power, until } => {
                if self.nodes[node].up && self.nodes[node].life == life {
                    self.outage(node, power, until);
                }
            }
            Event::Restart { node, outage } => {
                if !self.nodes[node].up && self.nodes[node].outage == outage {
                    return self.start_node(node);
                }
            }
        }
        Ok(())
    }

    fn on_tick(&mut self, core: usize, life: u64) {
        if !self.alive(core, life) {
            return;
        }
        self.queue.after(TICK, Event::Tick { core, life });
        // A process that stands still takes no ticks; it gets one when it goes on.
        if self.now() >= self.node_of(core).paused_until
            && let Some(running) = self.slots[core].running.as_mut()
        {
            running.take(Incoming::Tick);
            self.schedule_turn(core);
        }
    }

    fn on_turn(&mut self, core: usize, life: u64) -> Checked {
        if !self.alive(core, life) {
            return Ok(());
        }
        let now = self.now();
        let node = self.node_index(core);
        if now < self.nodes[node].paused_until {
            self.queue.at(self.nodes[node].paused_until, Event::Turn { core, life });
            return Ok(());
        }
        self.slots[core].turn_pending = false;
        let clock = self.nodes[node].clock.read(now);
        if now >= self.nodes[node].stalled_until {
            self.slots[core].image.advance(now);
        }
        let slot = &mut self.slots[core];
        let Some(running) = slot.running.as_mut() else { return Ok(()) };
        let out = running.turn(now, clock, life, &mut self.observer)?;
        // A pause may begin between deciding and sending.
        let held_until = std::mem::take(&mut self.nodes[node].held_until);
        if held_until > now {
            self.nodes[node].paused_until = held_until;
        }
        self.route(core, out, held_until.max(now));
        self.schedule_disk(core);
        self.meet_doom(core, life);
        self.look_at_leaders(core)
    }

    /// A doomed node goes down while its writes are under way: before the fastest of them could be done.
    fn meet_doom(&mut self, core: usize, life: u64) {
        let node = self.node_index(core);
        let Some(Doom { power, until, picky_until }) = self.nodes[node].doomed else { return };
        let shortest = if self.now() < picky_until { 4097 } else { 0 };
        let writes = self.slots[core].image.pending();
        let counts = |pending: &Pending| matches!(pending, Pending::Write { len, .. } if *len >= shortest);
        if !writes.iter().any(counts) {
            return;
        }
        self.nodes[node].doomed = None;
        let after = self.fault_rng.below(self.params.disk.write_ns.0);
        let until = until.max(self.now() + after + MS);
        self.queue.after(after, Event::Outage { node, life, power, until });
    }

    /// If this core serves a group, everybody else who leads it is looked at, each by its own clock.
    fn look_at_leaders(&mut self, core: usize) -> Checked {
        let Some(running) = self.slots[core].running.as_ref() else { return Ok(()) };
        let now = self.now();
        let core_count = usize::from(self.params.core_count);
        let served: Vec<GroupId> =
            running.shard().status().filter(|status| status.serving).map(|status| status.group).collect();
        for group in served {
            let same_core = self.slots.iter().skip(core % core_count).step_by(core_count);
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
            self.observer.on_leaders(group, &leaders)?;
        }
        Ok(())
    }

    fn on_disk(&mut self, core: usize, life: u64) {
        if !self.alive(core, life) {
            return;
        }
        self.slots[core].disk_event = None;
        let now = self.now();
        if now >= self.node_of(core).stalled_until {
            self.slots[core].image.advance(now);
        }
        self.schedule_turn(core);
    }

    fn on_arrive(&mut self, core: usize, from: usize, session: u32, message: PeerMessage<Shared>) {
        let node = self.node_index(core);
        if !self.nodes[node].up {
            return;
        }
        let place = self.slots[core].place;
        let current = self.net.session(from, node, usize::from(place.core));
        if session < current {
            // A straggler of a session that is over: forwarded requests and their answers end with their session.
            let bound = matches!(message, PeerMessage::Forward { .. } | PeerMessage::ForwardReply { .. });
            if bound || !self.net.stragglers() {
                self.observer.coverage.meet("message of a session that is over: dropped");
                return;
            }
            self.observer.coverage.meet("message of a session that is over: a straggler");
        }
        self.note_session(core, from, session);
        let from = self.slots[from * usize::from(self.params.core_count)].place.node;
        self.observer.note(Note::Deliver { from, at: place, what: Gist::of(&message) });
        if let Some(running) = self.slots[core].running.as_mut() {
            running.take(Incoming::Peer(from, message));
            self.schedule_turn(core);
        }
    }

    /// Before anything of a new session is heard, the core is told that the old one broke.
    fn note_session(&mut self, core: usize, peer: usize, session: u32) {
        let peer_node = self.slots[peer * usize::from(self.params.core_count)].place.node;
        let slot = &mut self.slots[core];
        if slot.heard[peer] < session {
            slot.heard[peer] = session;
            if let Some(running) = slot.running.as_mut() {
                running.take(Incoming::LinkLost(peer_node));
                self.schedule_turn(core);
            }
        }
    }

    fn on_link_told(&mut self, core: usize, peer: usize, session: u32) {
        if self.node_of(core).up {
            self.note_session(core, peer, session);
        }
    }

    fn on_request(
        &mut self,
        node: usize,
        attempt: AttemptId,
        group: GroupId,
        consistency: Consistency,
        command: Command<Shared>,
    ) {
        let core =
            node * usize::from(self.params.core_count) + usize::from(group.get() % self.params.core_count);
        let place = self.slots[core].place;
        let write = command.op.is_write();
        let client = self.clients.owner(attempt) as u32;
        self.observer.note(Note::Request { client, attempt, at: place, group, write });
        match self.slots[core].running.as_mut() {
            Some(running) => {
                running.take(Incoming::Request(attempt, group, consistency, command));
                self.schedule_turn(core);
            }
            None => {
                let delay = self.client_delay();
                self.queue.after(delay, Event::Refused { attempt });
            }
        }
    }

    fn on_answer(&mut self, attempt: AttemptId, reply: &Reply<Vec<u8>>) -> Checked {
        let now = self.now();
        let client = self.clients.owner(attempt);
        let mut wants = std::mem::take(&mut self.wants);
        let result = self.clients.on_reply(attempt, reply, now, &mut wants);
        self.carry_out(client, &mut wants);
        result
    }

    fn tell(&mut self, attempt: AttemptId, what: fn(&mut Clients, AttemptId, Instant, &mut Vec<Want>)) {
        let now = self.now();
        let client = self.clients.owner(attempt);
        let mut wants = std::mem::take(&mut self.wants);
        what(&mut self.clients, attempt, now, &mut wants);
        self.carry_out(client, &mut wants);
    }

    fn carry_out(&mut self, client: usize, wants: &mut Vec<Want>) {
        for want in wants.drain(..) {
            match want {
                Want::Send { after, attempt, node, group, consistency, command } => {
                    let delay = after + self.client_delay();
                    let command = Box::new(command);
                    self.queue.after(delay, Event::Request { node, attempt, group, consistency, command });
                }
                Want::Timeout { attempt, after } => self.queue.after(after, Event::GiveUp { attempt }),
                Want::Wake { after } => self.queue.after(after, Event::Wake { client }),
            }
        }
        self.wants = std::mem::take(wants);
    }

    // ---- messages ------------------------------------------------------------------------------------------------

    fn route(&mut self, core: usize, out: Outbox, leaves_at: Instant) {
        let from = self.node_index(core);
        let place = self.slots[core].place;
        let core_count = usize::from(self.params.core_count);
        for (to, message) in out.messages {
            let to_index = usize::from(to.get()) - 1;
            let (way, broken) = self.net.send(leaves_at, (from, to_index, usize::from(place.core)), &message);
            if let Some(broken) = broken {
                self.tell_broken(from, to_index, usize::from(place.core), broken);
            }
            let target = to_index * core_count + usize::from(place.core);
            let [first, second] = way.arrivals;
            let Some(first) = first else {
                self.observer.coverage.meet("message lost");
                self.observer.note(Note::Lose { at: place, to, what: Gist::of(&message).word() });
                continue;
            };
            if let Some(second) = second {
                self.observer.coverage.meet("message doubled");
                let message = Box::new(message.clone());
                self.queue.at(second, Event::Arrive { core: target, from, session: way.session, message });
            }
            let message = Box::new(message);
            self.queue.at(first, Event::Arrive { core: target, from, session: way.session, message });
        }
        for (attempt, reply) in out.replies {
            self.observer.coverage.meet(reply_word(&reply));
            self.observer.note(Note::Answer { at: place, attempt, reply: reply_word(&reply) });
            let at = leaves_at + self.client_delay();
            self.queue.at(at, Event::Answer { attempt, reply: Box::new(reply) });
        }
    }

    fn tell_broken(&mut self, a: usize, b: usize, core: usize, broken: Broken) {
        let core_count = usize::from(self.params.core_count);
        for (end, peer, told) in [(a, b, broken.told[0]), (b, a, broken.told[1])] {
            let event = Event::LinkTold { core: end * core_count + core, peer, session: broken.session };
            self.queue.at(told, event);
        }
    }

    fn client_delay(&mut self) -> u64 {
        20 * US + self.rng.exponential(100 * US)
    }

    // ---- scheduling ----------------------------------------------------------------------------------------------

    fn schedule_turn(&mut self, core: usize) {
        let node = self.node_index(core);
        if self.slots[core].turn_pending || self.slots[core].running.is_none() {
            return;
        }
        self.slots[core].turn_pending = true;
        let delay = self.rng.below(self.params.limits.turn_delay_max);
        let at = (self.now() + delay).max(self.nodes[node].paused_until);
        self.queue.at(at, Event::Turn { core, life: self.nodes[node].life });
    }

    fn schedule_disk(&mut self, core: usize) {
        let node = self.node_index(core);
        if self.slots[core].running.is_none() {
            return;
        }
        let Some(due) = self.slots[core].image.next_due() else { return };
        let at = due.max(self.nodes[node].stalled_until).max(self.now());
        if self.slots[core].disk_event.is_none_or(|known| known > at) {
            self.slots[core].disk_event = Some(at);
            self.queue.at(at, Event::Disk { core, life: self.nodes[node].life });
        }
    }

    fn node_index(&self, core: usize) -> usize {
        core / usize::from(self.params.core_count)
    }

    fn node_of(&self, core: usize) -> &Node {
        &self.nodes[self.node_index(core)]
    }

    fn alive(&self, core: usize, life: u64) -> bool {
        let node = self.node_of(core);
        node.up && node.life == life
    }

    fn cores_of(&self, node: usize) -> std::ops::Range<usize> {
        let core_count = usize::from(self.params.core_count);
        node * core_count..(node + 1) * core_count
    }

    // ---- life and death --------------------------------------------------------------------------------------------

    fn start_node(&mut self, node: usize) -> Checked {
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
        Ok(())
    }

    fn stop_node(&mut self, node: usize, power: bool) {
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
            // A killed process' writes are the kernel's: they may well be finished.
            if !power && self.fault_rng.coin() {
                self.slots[core].image.complete_all();
            }
            self.slots[core].image.crash(self.fault_rng.draw());
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

    // ---- faults ------------------------------------------------------------------------------------------------------

    fn on_next_fault(&mut self) -> Checked {
        if !self.faults_on || self.params.faults.is_empty() {
            return Ok(());
        }
        let next = self.fault_rng.exponential(self.params.fault_interval);
        self.queue.after(next, Event::NextFault);
        let kind = *self.fault_rng.pick(&self.params.faults);
        let victim = self.pick_victim();
        let now = self.now();
        let until = now + kind.duration(&mut self.fault_rng);
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
                    self.nodes[victim].doomed = Some(Doom { power, until, picky_until: now + picky });
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
                // The last in the row of those that the leader still sees.
                let bounced = (victim + self.nodes.len() - 1) % self.nodes.len();
                self.queue.after(after, Event::Betray { leader: victim, bounced, until });
            }
            FaultKind::DiskStall => self.nodes[victim].stalled_until = until,
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

    fn on_betray(&mut self, leader: usize, bounced: usize, until: Instant) {
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

    fn on_fault_ends(&mut self, fault: &Fault) {
        self.observer.note(Note::Fault { what: fault.kind.name(), on: false, victim: fault.victim as u64 });
        if !self.faults_on {
            return; // the network was healed as a whole
        }
        for &(from, to) in &fault.cuts {
            self.net.cut(from, to, false);
        }
        match fault.kind {
            FaultKind::Congestion => self.net.congest(0),
            FaultKind::DiskStall | FaultKind::Pause => {
                for core in self.cores_of(fault.victim) {
                    self.schedule_disk(core);
                    self.schedule_turn(core);
                }
            }
            _ => {}
        }
    }

    fn outage(&mut self, node: usize, power: bool, until: Instant) {
        self.stop_node(node, power);
        let outage = self.nodes[node].outage;
        self.queue.at(until, Event::Restart { node, outage });
    }

    /// Half of the time a leader, for that is where faults hurt.
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

fn make_node(params: &Params, rng: &mut Rng) -> Node {
    let drift = params.clock.drift_ppm_max;
    let rate_ppm = rng.below(2 * drift + 1) as i64 - drift as i64;
    let wall = params.clock.wall_ms_max;
    let wall_offset_ms = rng.below(2 * wall + 1) as i64 - wall as i64;
    // A boot-time clock says how long its machine has been up: anything.
    let base = rng.between(MS, 1000 * SECOND);
    Node {
        clock: Clock::new(base, rate_ppm, wall_offset_ms),
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
