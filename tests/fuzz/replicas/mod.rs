//! Whole replicas under scripts: three cores with everything that ships around them. Any node is sent legal
//! and barely illegal requests, at the ends of every limit, while nodes die and come back and leaders change.
//!
//! A failure is a panic, a link that closes over a frame of one of our own nodes, a request without its one
//! answer, or replicas that do not heal or differ when they have healed. The content of the answers is not
//! judged here: the simulator does that.

mod client;
mod node;
mod script;

use client::Client;
use node::{Frame, GROUPS, NODES, Node, Setup};
use script::{Script, WALL_MS};
use std::collections::VecDeque;
use synod_types::{Boot, GroupId, Mono, Nanos, NodeId, Now, WallMs};
use synod_wal::mem::{MemImage, MemOptions};

/// Steps of one script; the bytes after them are ignored.
const STEPS_MAX: usize = 160;
const TICK_MS: u64 = 10;
/// A healed cluster must agree within this time.
const HEAL_MS: u64 = 60_000;
/// Rounds after which a cluster without input must be quiet.
const ROUNDS_MAX: usize = 5_000;

/// Runs a script; see the module's description.
///
/// # Panics
/// When one of the module's invariants is broken.
pub fn replicas(data: &[u8]) {
    run(data, None);
}

/// The same, with every step told.
///
/// # Panics
/// When one of the module's invariants is broken.
pub fn replicas_told(data: &[u8], tell: &mut dyn FnMut(&str)) {
    run(data, Some(tell));
}

fn run(data: &[u8], tell: Option<&mut dyn FnMut(&str)>) {
    let mut script = Script::new(data);
    let mut cluster = Cluster::new(&mut script, tell);
    cluster.pass(700);
    for _ in 0..STEPS_MAX {
        if script.is_over() {
            break;
        }
        cluster.step(&mut script);
    }
    cluster.heal();
    cluster.ask_everywhere();
    // Once more, from the state on disk.
    for node in 0..usize::from(NODES) {
        cluster.crash(node, 7);
        cluster.start(node);
        cluster.heal();
    }
}

/// A script drawn from a seed.
pub fn drawn(seed: u64) -> Vec<u8> {
    // SplitMix64.
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut draw = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = state;
        word = (word ^ word >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ word >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ word >> 31
    };
    let len = 16 + draw() % 700;
    (0..len).map(|_| draw() as u8).collect() // the low byte
}

struct Cluster<'a> {
    setup: Setup,
    nodes: Vec<Option<Node>>,
    images: Vec<MemImage>,
    /// Frames under way from one node to another, by `from * NODES + to`.
    wires: Vec<VecDeque<Frame>>,
    cut: Vec<bool>,
    /// Wires and disks that are held until they are released.
    held_wires: Vec<bool>,
    held_disks: Vec<bool>,
    clients: Vec<Client>,
    time_ms: u64,
    wall_offset_ms: Vec<i64>,
    ticks: u64,
    lives: u64,
    tell: Option<&'a mut dyn FnMut(&str)>,
}

impl<'a> Cluster<'a> {
    fn new(script: &mut Script<'_>, tell: Option<&'a mut dyn FnMut(&str)>) -> Self {
        let setup = Setup {
            cache_bytes: script.pick(&[0, 64 << 10, 4 << 20]),
            pipeline_slots: script.pick(&[1, 2, 8, 256]),
            pending_bytes_max: script.pick(&[2 << 20, 16 << 20]),
            log_backlog_bytes_max: script.pick(&[1 << 20, 32 << 20]),
        };
        let count = usize::from(NODES);
        let mut cluster = Self {
            setup,
            nodes: (0..count).map(|_| None).collect(),
            images: (0..count).map(|at| MemImage::new(MemOptions::default(), at as u64)).collect(),
            wires: (0..count * count).map(|_| VecDeque::new()).collect(),
            cut: vec![false; count * count],
            held_wires: vec![false; count * count],
            held_disks: vec![false; count],
            clients: Vec::new(),
            time_ms: 1_000,
            wall_offset_ms: vec![0; count],
            ticks: 0,
            lives: 0,
            tell,
        };
        for node in 0..count {
            cluster.clients.extend([Client::resp(node), Client::binary(node)]);
        }
        (0..count).for_each(|node| cluster.start(node));
        cluster
    }

    fn say(&mut self, what: impl FnOnce() -> String) {
        if let Some(tell) = &mut self.tell {
            tell(&what());
        }
    }

    fn now(&self, node: usize) -> Now {
        let wall = (WALL_MS + self.time_ms).saturating_add_signed(self.wall_offset_ms[node]);
        Now { mono: Mono(Nanos::from_ms(self.time_ms).0), wall: WallMs(wall.max(1)) }
    }

    // ---- steps of a script ---------------------------------------------------------------------

    fn step(&mut self, script: &mut Script<'_>) {
        match script.below(36) {
            0..=17 => self.ask_words(script),
            18..=24 => self.ask_binary(script),
            25 | 26 => self.let_pass(script),
            27 => self.break_or_heal(script),
            28 => self.kill(script),
            29 => self.start_one(script),
            30 => self.transfer(script),
            31 => self.hold_wire(script),
            32 => self.bring(script),
            33 => self.hold_disk(script),
            34 => self.work_disk(script),
            _ => self.set_wall(script),
        }
        for node in self.nodes.iter().flatten() {
            node.shard().invariants();
        }
        self.hear(script);
    }

    fn ask_words(&mut self, script: &mut Script<'_>) {
        let (node, then) = self.whom(script);
        let words = script.words();
        self.say(|| format!("n{} {}", node + 1, client::shown(&words)));
        self.clients[2 * node].ask_words(&words);
        self.go_on(node, then);
    }

    fn ask_binary(&mut self, script: &mut Script<'_>) {
        let (node, then) = self.whom(script);
        if script.below(8) == 0 {
            let group = GroupId::new(u16::from(script.below(4)));
            self.say(|| format!("n{} opens a session in {group}", node + 1));
            self.clients[2 * node + 1].ask_session(group);
        } else {
            let (consistency, command) = script.command();
            let key: String = String::from_utf8_lossy(&command.key).chars().take(20).collect();
            let (op, operand) = (command.op, command.operand.len());
            self.say(|| format!("n{} binary {key} {op:?} {operand}B {:?}", node + 1, command.stamp));
            self.clients[2 * node + 1].ask_command(consistency, &command);
        }
        self.go_on(node, then);
    }

    fn let_pass(&mut self, script: &mut Script<'_>) {
        let ms = script.pick(&[1, 5, 50, 100, 300, 600, 1500, 5000]);
        let leaps = script.below(3) == 0;
        self.say(|| format!("{ms} ms {}", if leaps { "at once" } else { "pass" }));
        if leaps {
            self.time_ms += ms;
            self.tick();
        } else {
            self.pass(ms);
        }
    }

    fn break_or_heal(&mut self, script: &mut Script<'_>) {
        let wire = usize::from(script.below(9));
        self.say(|| format!("wire {wire} breaks or heals"));
        if self.cut[wire] { self.cut[wire] = false } else { self.break_wire(wire, true) }
    }

    fn kill(&mut self, script: &mut Script<'_>) {
        let (node, seed) = (usize::from(script.below(3)), script.byte());
        self.say(|| format!("n{} dies", node + 1));
        // One at a time: with two nodes dead there is nothing to see.
        (0..usize::from(NODES)).for_each(|other| self.start(other));
        self.crash(node, u64::from(seed));
    }

    fn start_one(&mut self, script: &mut Script<'_>) {
        let node = usize::from(script.below(3));
        self.say(|| format!("n{} starts", node + 1));
        self.start(node);
    }

    fn transfer(&mut self, script: &mut Script<'_>) {
        let (node, target) = (usize::from(script.below(3)), NodeId::new(u16::from(script.below(3)) + 1));
        let group = GroupId::new(u16::from(script.below(3)));
        self.say(|| format!("n{} is to hand {group} to {target}", node + 1));
        if let Some(node) = &mut self.nodes[node] {
            node.transfer(group, target);
        }
    }

    fn hold_wire(&mut self, script: &mut Script<'_>) {
        let wire = usize::from(script.below(9));
        self.held_wires[wire] ^= true;
        let held = self.held_wires[wire];
        self.say(|| format!("wire {wire} is {}", if held { "held" } else { "let go" }));
    }

    fn bring(&mut self, script: &mut Script<'_>) {
        let wire = usize::from(script.below(9));
        let count = script.below(4);
        self.say(|| format!("wire {wire} brings {count}"));
        for _ in 0..count {
            self.deliver_one(wire);
        }
        self.turn(wire % usize::from(NODES));
    }

    fn hold_disk(&mut self, script: &mut Script<'_>) {
        let node = usize::from(script.below(3));
        self.held_disks[node] ^= true;
        let held = self.held_disks[node];
        self.say(|| format!("disk {} is {}", node + 1, if held { "held" } else { "let go" }));
    }

    fn work_disk(&mut self, script: &mut Script<'_>) {
        let (node, choice) = (usize::from(script.below(3)), usize::from(script.byte()));
        let pending = self.images[node].pending().len();
        self.say(|| format!("disk {} does one of {pending}", node + 1));
        if pending > 0 {
            self.images[node].complete(choice % pending);
        }
        self.turn(node);
    }

    fn set_wall(&mut self, script: &mut Script<'_>) {
        let node = usize::from(script.below(3));
        let days: i64 = script.pick(&[0, 0, 1, -1, 30_000]);
        self.wall_offset_ms[node] = days * 86_400_000;
        self.say(|| format!("n{}'s clock is {days} days off", node + 1));
    }

    /// The node that is asked, and what happens after the request.
    fn whom(&mut self, script: &mut Script<'_>) -> (usize, u8) {
        let choice = script.byte();
        let mut node = usize::from(choice % 3);
        if self.nodes[node].is_none() {
            node = (node + 1) % usize::from(NODES);
        }
        (node, choice / 3 % 4)
    }

    fn go_on(&mut self, node: usize, how: u8) {
        match how {
            0 => self.hand_in(node),
            1 => self.turn(node),
            _ => self.settle(),
        }
    }

    // ---- nodes, wires and disks ----------------------------------------------------------------

    fn start(&mut self, at: usize) {
        if self.nodes[at].is_some() {
            return;
        }
        self.lives += 1;
        let id = NodeId::new(at as u16 + 1);
        let seed = self.lives * 7_919 + u64::from(id.get());
        let boot = Boot { counter: self.lives, random: seed };
        self.nodes[at] = Some(Node::start(id, &self.setup, &self.images[at], (seed, boot), self.now(at)));
    }

    fn crash(&mut self, at: usize, seed: u64) {
        if self.nodes[at].take().is_none() {
            return;
        }
        self.images[at].crash(seed);
        for client in &mut self.clients[2 * at..2 * at + 2] {
            client.reconnect();
        }
        for other in (0..usize::from(NODES)).filter(|&other| other != at) {
            self.break_wire(self.wire(at, other), false);
            self.break_wire(self.wire(other, at), false);
        }
    }

    fn wire(&self, from: usize, to: usize) -> usize {
        from * usize::from(NODES) + to
    }

    /// The frames under way are lost, and both ends are told. The link is made anew at once unless it is cut.
    fn break_wire(&mut self, wire: usize, cut: bool) {
        let (from, to) = (wire / usize::from(NODES), wire % usize::from(NODES));
        if from == to {
            return;
        }
        self.cut[wire] = cut;
        self.wires[wire].clear();
        for (node, peer) in [(from, to), (to, from)] {
            if let Some(node) = &mut self.nodes[node] {
                node.link_lost(NodeId::new(peer as u16 + 1));
            }
        }
    }

    fn deliver_one(&mut self, wire: usize) -> bool {
        let (from, to) = (wire / usize::from(NODES), wire % usize::from(NODES));
        let Some(frame) = self.wires[wire].pop_front() else { return false };
        if let Some(node) = &mut self.nodes[to] {
            node.peer_bytes(NodeId::new(from as u16 + 1), &frame);
        }
        true
    }

    /// Hands the bytes of its clients to a node.
    fn hand_in(&mut self, at: usize) {
        for client in 2 * at..2 * at + 2 {
            let Some(node) = &mut self.nodes[at] else {
                self.clients[client].reconnect();
                continue;
            };
            let bytes = self.clients[client].take_sent();
            if !bytes.is_empty() {
                node.client_bytes(client as u64, &bytes);
            }
        }
    }

    fn turn(&mut self, at: usize) {
        self.hand_in(at);
        let now = self.now(at);
        let Some(node) = &mut self.nodes[at] else { return };
        for (to, frame) in node.turn(now) {
            let target = usize::from(to.get()) - 1;
            let wire = self.wire(at, target);
            if self.cut[wire] || self.nodes[target].is_none() {
                if let (Some(message), Some(node)) = (frame.unsent(), &mut self.nodes[at]) {
                    node.unsent(message);
                }
            } else {
                self.wires[wire].push_back(frame);
            }
        }
        let Some(node) = &mut self.nodes[at] else { return };
        for client in 2 * at..2 * at + 2 {
            let bytes = node.take_output(client as u64);
            if bytes.is_empty() {
                continue;
            }
            if let Some(tell) = &mut self.tell {
                tell(&format!(
                    "    {} hears {}",
                    self.clients[client],
                    client::shown(std::slice::from_ref(&bytes))
                ));
            }
            self.clients[client].hear(&bytes);
        }
    }

    /// Runs until only work is left that takes time or is held.
    fn settle(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let mut quiet = true;
            for at in 0..usize::from(NODES) {
                if !self.held_disks[at] && !self.images[at].pending().is_empty() {
                    self.images[at].complete_all();
                    quiet = false;
                }
                self.hand_in(at);
                quiet &= !self.nodes[at].as_ref().is_some_and(Node::has_work);
                self.turn(at);
            }
            for wire in 0..self.wires.len() {
                while !self.held_wires[wire] && self.deliver_one(wire) {
                    quiet = false;
                }
            }
            if quiet {
                return;
            }
        }
        panic!("the cluster never comes to rest");
    }

    fn tick(&mut self) {
        self.ticks += 1;
        for node in self.nodes.iter_mut().flatten() {
            node.tick();
            if self.ticks.is_multiple_of(10) {
                node.mark();
            }
        }
        self.settle();
    }

    fn pass(&mut self, ms: u64) {
        let until = self.time_ms + ms;
        while self.time_ms < until {
            self.time_ms = until.min(self.time_ms + TICK_MS);
            self.tick();
        }
    }

    // ---- invariants ----------------------------------------------------------------------------

    /// Ends every fault. Before long all requests are answered and the replicas are equal.
    fn heal(&mut self) {
        self.cut.fill(false);
        self.held_wires.fill(false);
        self.held_disks.fill(false);
        self.wall_offset_ms.fill(0);
        (0..usize::from(NODES)).for_each(|node| self.start(node));
        let until = self.time_ms + HEAL_MS;
        self.pass(50);
        while let Err(why) = self.is_whole() {
            assert!(self.time_ms < until, "the cluster does not heal: {why}");
            self.pass(50);
        }
    }

    fn is_whole(&self) -> Result<(), String> {
        if let Some(client) = self.clients.iter().find(|client| client.owed() > 0) {
            return Err(format!("{} of {client}'s requests have no answer", client.owed()));
        }
        for group in (0..=GROUPS).map(GroupId::new) {
            let digests: Vec<_> =
                self.nodes.iter().flatten().map(|node| node.shard().digest(group)).collect();
            let [Some(first), Some(second), Some(third)] = digests[..] else {
                return Err(format!("a replica of {group} is not ready"));
            };
            if first.0 != second.0 || first.0 != third.0 {
                return Err(format!("the replicas of {group} are not equally far: {digests:?}"));
            }
            assert!(first == second && first == third, "the replicas of {group} differ: {digests:?}");
            if !self.nodes.iter().flatten().any(|node| node.shard().serves(group)) {
                return Err(format!("no node serves {group}"));
            }
        }
        Ok(())
    }

    /// Every node takes a write for every group.
    fn ask_everywhere(&mut self) {
        for node in 0..usize::from(NODES) {
            for key in [b"{a}", b"{b}"] {
                self.clients[2 * node].ask_words(&[b"SET".to_vec(), key.to_vec(), b"at last".to_vec()]);
            }
        }
        self.heal();
        for client in self.clients.iter().step_by(2) {
            assert!(client.ok_in_row() >= 2, "{client} cannot write");
        }
    }

    fn hear(&mut self, script: &mut Script<'_>) {
        for client in &mut self.clients {
            client.tell(&mut script.sessions, &mut script.versions);
        }
    }
}
