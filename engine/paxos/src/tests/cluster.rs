//! A small cluster in memory. The test decides when a message arrives, a record becomes durable, a clock
//! moves, or a replica dies. A replica that died restarts from its durable records alone.
//!
//! After every step the cluster is checked against definitions that are independent of the code (P-05, P-06,
//! P-07):
//! - a value is *chosen* when an accept quorum holds durable records for it in one ballot: never two values
//!   per slot;
//! - every slot that a replica calls chosen is chosen by that definition, with that value;
//! - a ballot is sent by one incarnation of one node only, and only after that node's promise of it is
//!   durable;
//! - while a replica holds a lease no other replica leads in a higher ballot, and no second replica holds a
//!   lease.

use super::describe::{self, Bytes, node};
use super::solo::{GROUP, config};
use crate::{AheadLimits, Effect, Input, LogState, Paxos, ReadBack, Receipt, Timing};
use std::collections::{BTreeMap, BTreeSet};
use std::format;
use std::string::String;
use std::vec::Vec;
use synod_types::{
    Ballot, GroupMessage, Heartbeat, HeartbeatReply, Learned, Location, Mono, Nanos, NodeId, Now, RecordHead,
    RecordKind, SegmentId, Slot, WallMs,
};

#[derive(Clone, Debug)]
pub(super) enum Wire {
    Message(GroupMessage<Bytes>),
    Heartbeat(Heartbeat),
    HeartbeatReply(HeartbeatReply),
}

#[derive(Clone, Debug)]
pub(super) struct Packet {
    pub from: u16,
    pub to: u16,
    pub wire: Wire,
}

#[derive(Debug)]
struct Record {
    head: RecordHead,
    payload: Option<Bytes>,
    then: Vec<(NodeId, GroupMessage<Bytes>)>,
    receipt: Receipt,
}

/// One node: its records survive a crash, its machine does not.
#[derive(Debug)]
pub(super) struct Node {
    pub paxos: Option<Paxos<Bytes>>,
    records: Vec<Record>,
    /// How many of `records` are durable.
    durable: usize,
    /// The applied values in order; rebuilt by replay.
    pub applied: Vec<Bytes>,
    /// Since when the log stalls, which ticks say.
    pub stalled: Option<Mono>,
    incarnation: u64,
    /// This node's boot-time clock: its start, and how much faster it runs.
    clock_start: u64,
    clock_ppm: i64,
    /// The reads of its log that are under way.
    reads: Vec<Read>,
}

#[derive(Debug)]
enum Read {
    For(NodeId, Vec<ReadBack>),
    Own(ReadBack),
}

/// A read that waits for its leader to be confirmed (P-07f).
#[derive(Clone, Copy, Debug)]
struct Ticket {
    id: u16,
    ballot: Ballot,
    ticket: Mono,
    /// The leader's chosen prefix when the read came: it is not served before that is applied.
    point: Slot,
    /// The highest slot that clients may have been told of when the read came.
    told: Slot,
}

#[derive(Debug)]
pub(super) struct Cluster {
    pub nodes: BTreeMap<u16, Node>,
    pub wires: Vec<Packet>,
    /// Directed links that are down: messages sent on them are lost.
    pub cut: BTreeSet<(u16, u16)>,
    /// The nodes that receive no `Learn`: they stay behind.
    pub untold: BTreeSet<u16>,
    timing: Timing,
    ahead: AheadLimits,
    time: u64,
    incarnations: u64,
    /// The incarnation that sent each ballot.
    shown: BTreeMap<Ballot, u64>,
    /// The chosen values, by definition.
    chosen: BTreeMap<Slot, Bytes>,
    /// The durable acceptances: slot, ballot, value, and the nodes.
    accepted: BTreeMap<(Slot, Ballot), (Bytes, BTreeSet<u16>)>,
    /// Reads that wait for their leader to be confirmed.
    tickets: Vec<Ticket>,
    /// The highest slot that a serving leader has applied: clients may have been told of every slot up to it.
    told: Slot,
    /// The number of reads served.
    pub reads_served: usize,
    /// The highest durable promise per node.
    promised: BTreeMap<u16, Ballot>,
    /// The events so far, one line each.
    pub trace: Vec<String>,
}

const STEP_MS: u64 = 5;

impl Cluster {
    pub fn new(count: u16) -> Self {
        Self::with_clocks(count, 0)
    }

    /// Clocks differ by up to `ppm` parts per million in either direction.
    pub fn with_clocks(count: u16, ppm: i64) -> Self {
        Self::with_ahead_limits(count, ppm, AheadLimits::default())
    }

    /// `ahead` limits what each replica holds above its applied prefix.
    pub fn with_ahead_limits(count: u16, ppm: i64, ahead: AheadLimits) -> Self {
        let mut cluster = Self {
            nodes: BTreeMap::new(),
            wires: Vec::new(),
            cut: BTreeSet::new(),
            untold: BTreeSet::new(),
            timing: Timing::default(),
            ahead,
            time: 0,
            incarnations: 0,
            shown: BTreeMap::new(),
            chosen: BTreeMap::new(),
            accepted: BTreeMap::new(),
            tickets: Vec::new(),
            told: Slot::ZERO,
            reads_served: 0,
            promised: BTreeMap::new(),
            trace: Vec::new(),
        };
        for id in 1..=count {
            let fast = i64::from(id % 3) - 1;
            let node = Node {
                paxos: None,
                records: Vec::new(),
                durable: 0,
                applied: Vec::new(),
                stalled: None,
                incarnation: 0,
                clock_start: u64::from(id) * 1_000_000_000_000,
                clock_ppm: fast * ppm,
                reads: Vec::new(),
            };
            cluster.nodes.insert(id, node);
        }
        for id in 1..=count {
            cluster.start(id);
        }
        cluster
    }

    // ---- time ---------------------------------------------------------------------------------------------

    pub fn now(&self, id: u16) -> Now {
        let node = &self.nodes[&id];
        let skew = (self.time as i64 / 1_000_000) * node.clock_ppm; // tests run for seconds
        let mono = (node.clock_start + self.time).saturating_add_signed(skew);
        Now { mono: Mono(mono), wall: WallMs(1_700_000_000_000 + self.time / 1_000_000) }
    }

    pub fn pass_ms(&mut self, ms: u64) {
        self.time += Nanos::from_ms(ms).0;
    }

    /// Runs for a while: every message is delivered, every write completes, every node ticks.
    pub fn run_ms(&mut self, ms: u64) {
        for _ in 0..ms.div_ceil(STEP_MS) {
            self.pass_ms(STEP_MS);
            self.tick_all();
            self.settle();
        }
    }

    pub fn tick(&mut self, id: u16) {
        let log = self.nodes[&id].stalled.map_or(LogState::FINE, LogState::stalled_since);
        self.step(id, Input::Tick { log });
    }

    pub fn tick_all(&mut self) {
        for id in self.ids() {
            self.tick(id);
        }
    }

    /// Delivers messages and completes writes until nothing is left; time does not pass.
    pub fn settle(&mut self) {
        for _ in 0..10_000 {
            for id in self.ids() {
                if self.nodes[&id].stalled.is_none() {
                    self.disk(id);
                }
                while !self.nodes[&id].reads.is_empty() {
                    self.read_done(id, 0, true);
                }
            }
            if self.wires.is_empty() {
                return;
            }
            self.deliver_at(0);
        }
        panic!("messages never end: {:#?}", self.wires.iter().take(8).collect::<Vec<_>>());
    }

    // ---- network ------------------------------------------------------------------------------------------

    fn send(&mut self, from: u16, to: NodeId, wire: Wire) {
        let to = to.get();
        assert_ne!(from, to, "a message to oneself");
        let is_told = matches!(wire, Wire::Message(GroupMessage::Learn { .. }));
        if self.cut.contains(&(from, to)) || (is_told && self.untold.contains(&to)) {
            return;
        }
        if let Wire::Message(GroupMessage::Prepare { ballot, .. } | GroupMessage::Accept { ballot, .. }) =
            &wire
        {
            self.show_ballot(from, *ballot);
        }
        if let Wire::Heartbeat(Heartbeat { ballot, .. }) = &wire {
            self.show_ballot(from, *ballot);
        }
        self.check_revealed(from, &wire);
        self.wires.push(Packet { from, to, wire });
    }

    /// P-01: a ballot belongs to one incarnation of its node, whose own promise of it is durable.
    fn show_ballot(&mut self, from: u16, ballot: Ballot) {
        let incarnation = self.nodes[&from].incarnation;
        assert_eq!(ballot.node(), node(from), "a foreign ballot");
        let owner = *self.shown.entry(ballot).or_insert(incarnation);
        assert_eq!(owner, incarnation, "ballot {ballot} was used again after a restart");
        assert!(
            self.promised.get(&from).is_some_and(|&own| own >= ballot),
            "{ballot} shown before it is durable"
        );
    }

    /// P-01: no message says anything that a crash could undo.
    fn check_revealed(&self, from: u16, wire: &Wire) {
        let promised = self.promised.get(&from).copied().unwrap_or(Ballot::ZERO);
        match wire {
            Wire::Message(GroupMessage::Promise { ballot, .. }) => {
                assert!(promised >= *ballot, "n{from} shows a promise that is not durable");
            }
            Wire::Message(
                GroupMessage::Nack { promised: named, .. }
                | GroupMessage::PreVoteReply { promised: named, .. },
            ) => assert!(promised >= *named, "n{from} names a promise that is not durable"),
            Wire::Message(GroupMessage::Accepted { ballot, slot }) => {
                let durable =
                    self.accepted.get(&(*slot, *ballot)).is_some_and(|(_, who)| who.contains(&from));
                assert!(durable, "n{from} says accepted {slot}@{ballot} before it is durable");
            }
            Wire::HeartbeatReply(reply) => {
                assert!(
                    promised == reply.ballot,
                    "n{from} grants a lease to {} under {promised}",
                    reply.ballot
                );
            }
            _ => {}
        }
    }

    pub fn deliver_at(&mut self, index: usize) {
        let packet = self.wires.remove(index);
        self.deliver(packet);
    }

    pub fn deliver(&mut self, Packet { from, to, wire }: Packet) {
        if self.cut.contains(&(from, to)) || self.nodes[&to].paxos.is_none() {
            return;
        }
        let from = node(from);
        match wire {
            Wire::Message(message) => self.step(to, Input::Message { from, message }),
            Wire::Heartbeat(heartbeat) => self.step(to, Input::Heartbeat { from, heartbeat }),
            Wire::HeartbeatReply(reply) => self.step(to, Input::HeartbeatReply { from, reply }),
        }
    }

    pub fn cut_between(&mut self, a: u16, b: u16) {
        self.cut.insert((a, b));
        self.cut.insert((b, a));
        self.wires
            .retain(|packet| !((packet.from == a && packet.to == b) || (packet.from == b && packet.to == a)));
        self.lose_link(a, b);
        self.lose_link(b, a);
    }

    fn lose_link(&mut self, at: u16, to: u16) {
        self.step(at, Input::LinkLost { node: node(to) });
    }

    /// Only the named links stay.
    pub fn only_links(&mut self, links: &[(u16, u16)]) {
        for a in self.ids() {
            for b in self.ids() {
                if a < b && !links.contains(&(a, b)) && !links.contains(&(b, a)) {
                    self.cut_between(a, b);
                }
            }
        }
    }

    pub fn heal(&mut self) {
        self.cut.clear();
    }

    // ---- disk and life ------------------------------------------------------------------------------------

    /// All records of `id` become durable.
    pub fn disk(&mut self, id: u16) {
        let count = self.nodes[&id].records.len() - self.nodes[&id].durable;
        self.disk_some(id, count);
    }

    /// The next `count` records of `id` become durable.
    pub fn disk_some(&mut self, id: u16, count: usize) {
        for _ in 0..count {
            let node = self.nodes.get_mut(&id).unwrap();
            if node.paxos.is_none() || node.durable == node.records.len() {
                return;
            }
            let record = &mut node.records[node.durable];
            let then = core::mem::take(&mut record.then);
            let receipt = record.receipt;
            let (head, value) = (record.head, record.payload.clone());
            node.durable += 1;
            self.trace.push(format!("n{id} disk {}", describe::record(&head, value.as_ref())));
            self.note_durable(id, head, value);
            for (to, message) in then {
                self.send(id, to, Wire::Message(message));
            }
            self.step(id, Input::Durable { receipt });
        }
    }

    fn note_durable(&mut self, id: u16, head: RecordHead, value: Option<Bytes>) {
        if matches!(head.kind, RecordKind::Promise | RecordKind::Accept) {
            let promised = self.promised.entry(id).or_insert(Ballot::ZERO);
            *promised = (*promised).max(head.ballot);
        }
        if head.kind != RecordKind::Accept {
            return;
        }
        let value = value.expect("an accepted value");
        let entry =
            self.accepted.entry((head.slot, head.ballot)).or_insert_with(|| (value.clone(), BTreeSet::new()));
        assert_eq!(entry.0, value, "two values were proposed for {} in {}", head.slot, head.ballot);
        entry.1.insert(id);
        if entry.1.len() > self.nodes.len() / 2 {
            let held = self.chosen.entry(head.slot).or_insert_with(|| value.clone());
            assert_eq!(*held, value, "two values are chosen for {}", head.slot);
        }
    }

    /// The process dies; records that are not durable are lost.
    pub fn crash(&mut self, id: u16) {
        let node = self.nodes.get_mut(&id).unwrap();
        node.paxos = None;
        node.records.truncate(node.durable);
        node.applied.clear();
        node.reads.clear();
        self.wires.retain(|packet| packet.to != id);
        self.trace.push(format!("n{id} crashes"));
    }

    /// It restarts from its records.
    pub fn start(&mut self, id: u16) {
        assert!(self.nodes[&id].paxos.is_none());
        let now = self.now(id);
        let voters = self.ids();
        self.incarnations += 1;
        let incarnation = self.incarnations;
        let node = self.nodes.get_mut(&id).unwrap();
        node.incarnation = incarnation;
        let paxos = Paxos::new(config(id, &voters), self.timing, incarnation);
        let mut paxos = paxos.with_ahead_limits(self.ahead);
        for (number, record) in node.records.iter().enumerate() {
            let at = location(number, record.payload.as_ref());
            paxos.replay(record.head, record.payload.clone().unwrap_or_default(), at);
            loop {
                while let Some((slot, value, _)) = paxos.next_apply() {
                    node.applied.push(value.clone());
                    paxos.applied(slot);
                }
                let mut recalls = Vec::new();
                paxos.recall_ahead(&mut recalls);
                if recalls.is_empty() {
                    break;
                }
                for recall in recalls {
                    let Effect::Recall { slot, ballot, at } = recall else { panic!("{recall:?}") };
                    let payload = node.records[at.offset as usize].payload.clone();
                    let mut more = Vec::new();
                    paxos.step(Input::Recalled { slot, ballot, payload }, now, &mut more);
                    assert!(more.is_empty(), "{more:?}");
                }
            }
            assert!(paxos.log().ahead_bytes() <= self.ahead.bytes.max(64 << 10), "replay keeps its budget");
        }
        paxos.start(now);
        node.paxos = Some(paxos);
        self.check();
    }

    // ---- one step -----------------------------------------------------------------------------------------

    pub fn step(&mut self, id: u16, input: Input<Bytes>) {
        let now = self.now(id);
        let Some(paxos) = self.nodes.get_mut(&id).unwrap().paxos.as_mut() else { return };
        let heard = trace_input(&input);
        let mut out = Vec::new();
        paxos.step(input, now, &mut out);
        if let Some(heard) = heard
            && !(out.is_empty() && heard == "tick")
        {
            self.trace.push(format!("n{id} {heard}"));
        }
        self.execute(id, out);
        self.check();
    }

    fn execute(&mut self, id: u16, effects: Vec<Effect<Bytes>>) {
        for effect in effects {
            self.trace.push(format!("   {}", describe::effect(&effect)));
            match effect {
                Effect::Append { head, payload, then, receipt } => {
                    let node = self.nodes.get_mut(&id).unwrap();
                    let at = location(node.records.len(), payload.as_ref());
                    node.records.push(Record { head, payload, then, receipt });
                    if let Receipt::Accept { slot, ballot } | Receipt::Learned { slot, ballot } = receipt {
                        self.step(id, Input::Located { slot, ballot, at });
                    }
                }
                Effect::Send { to, message } => self.send(id, to, Wire::Message(message)),
                Effect::Heartbeat { to, heartbeat } => self.send(id, to, Wire::Heartbeat(heartbeat)),
                Effect::HeartbeatReply { to, reply } => self.send(id, to, Wire::HeartbeatReply(reply)),
                Effect::ReadBack { to, wanted } => {
                    self.nodes.get_mut(&id).unwrap().reads.push(Read::For(to, wanted));
                }
                Effect::Recall { slot, ballot, at } => {
                    let read = Read::Own(ReadBack { slot, ballot, at });
                    self.nodes.get_mut(&id).unwrap().reads.push(read);
                }
            }
        }
        self.apply(id);
    }

    /// The number of reads of `id` under way.
    pub fn read_count(&self, id: u16) -> usize {
        self.nodes[&id].reads.len()
    }

    /// One of its reads comes back, or fails.
    pub fn read_done(&mut self, id: u16, index: usize, is_good: bool) {
        let node = self.nodes.get_mut(&id).unwrap();
        let read = node.reads.remove(index);
        let payload = |at: Location| {
            let payload = node.records[at.offset as usize].payload.clone();
            Some(payload.expect("a value's place")).filter(|_| is_good)
        };
        match read {
            Read::Own(ReadBack { slot, ballot, at }) => {
                let payload = payload(at);
                self.step(id, Input::Recalled { slot, ballot, payload });
            }
            Read::For(to, wanted) => {
                let chosen = node.paxos.as_ref().unwrap().chosen();
                let entries: Vec<_> = wanted
                    .into_iter()
                    .map_while(|ReadBack { slot, ballot, at }| {
                        Some(Learned { slot, ballot, payload: payload(at)? })
                    })
                    .collect();
                if !entries.is_empty() {
                    self.send(id, to, Wire::Message(GroupMessage::Learn { chosen, entries }));
                }
            }
        }
    }

    fn apply(&mut self, id: u16) {
        let node = self.nodes.get_mut(&id).unwrap();
        let Some(paxos) = node.paxos.as_mut() else { return };
        while let Some((slot, value, _)) = paxos.next_apply() {
            assert_eq!(slot.get(), node.applied.len() as u64 + 1, "applied out of order");
            assert_eq!(self.chosen.get(&slot), Some(value), "n{id} applies at {slot} what was never chosen");
            node.applied.push(value.clone());
            paxos.applied(slot);
            if paxos.serving() {
                self.told = self.told.max(slot);
            }
        }
        let mut recalls = Vec::new();
        paxos.recall_ahead(&mut recalls);
        for recall in recalls {
            let Effect::Recall { slot, ballot, at } = recall else { panic!("{recall:?}") };
            node.reads.push(Read::Own(ReadBack { slot, ballot, at }));
        }
    }

    /// P-07f: a read is served from a state that includes every write that clients had been told of when it
    /// came.
    fn serve_reads(&mut self) {
        for at in (0..self.tickets.len()).rev() {
            let Ticket { id, ballot, ticket, point, told } = self.tickets[at];
            let Some(paxos) = self.nodes[&id].paxos.as_ref().filter(|paxos| paxos.leading() == Some(ballot))
            else {
                self.tickets.swap_remove(at); // it is asked again elsewhere
                continue;
            };
            let now = self.now(id).mono;
            if paxos.serving() && paxos.applied_slot() >= point && paxos.ticket_valid(ticket, now) {
                assert!(
                    paxos.applied_slot() >= told,
                    "n{id} serves a read at {} that came when {told} had been told of",
                    paxos.applied_slot()
                );
                self.reads_served += 1;
                self.tickets.swap_remove(at);
            }
        }
    }

    /// Checks the invariants that hold between steps.
    fn check(&mut self) {
        self.serve_reads();
        let mut leaseholder: Option<(u16, Ballot)> = None;
        for (&id, node) in &self.nodes {
            let Some(paxos) = &node.paxos else { continue };
            paxos.invariants();
            let mut slot = Slot::new(node.applied.len() as u64 + 1);
            while slot <= paxos.chosen() {
                // A value that is not in memory is compared when it is applied.
                if let Some(held) = paxos.chosen_payload(slot) {
                    assert_eq!(self.chosen.get(&slot), Some(held), "n{id} calls {slot} chosen");
                }
                assert!(self.chosen.contains_key(&slot), "n{id} calls {slot} chosen");
                slot = slot.next();
            }
            if paxos.lease_valid(self.now(id).mono) {
                assert_eq!(leaseholder, None, "two leases");
                leaseholder = Some((id, paxos.leading().unwrap()));
            }
        }
        if let Some((id, held)) = leaseholder {
            for (&other, node) in &self.nodes {
                let Some(leading) = node.paxos.as_ref().and_then(Paxos::leading) else { continue };
                assert!(leading <= held, "n{other} leads in {leading} under the lease of n{id} in {held}");
            }
        }
    }

    // ---- accessors ----------------------------------------------------------------------------------------

    pub fn ids(&self) -> Vec<u16> {
        self.nodes.keys().copied().collect()
    }
    pub fn paxos(&self, id: u16) -> &Paxos<Bytes> {
        self.nodes[&id].paxos.as_ref().expect("a running node")
    }
    pub fn paxos_mut(&mut self, id: u16) -> &mut Paxos<Bytes> {
        self.nodes.get_mut(&id).unwrap().paxos.as_mut().expect("a running node")
    }
    pub fn is_up(&self, id: u16) -> bool {
        self.nodes[&id].paxos.is_some()
    }
    pub fn lease(&self, id: u16) -> bool {
        self.is_up(id) && self.paxos(id).lease_valid(self.now(id).mono)
    }
    /// The serving leader with the highest ballot.
    pub fn leader(&self) -> Option<u16> {
        let serving = self.nodes.iter().filter_map(|(&id, node)| {
            let paxos = node.paxos.as_ref()?;
            paxos.serving().then_some((paxos.leading()?, id))
        });
        serving.max().map(|(_, id)| id)
    }
    /// Proposes at `id` if it leads and has room.
    pub fn propose(&mut self, id: u16, value: &str) -> bool {
        let ready = self.is_up(id) && self.paxos(id).can_propose();
        if ready {
            self.step(id, Input::Propose { payload: value.into() });
        }
        ready
    }
    /// Proposes at the leader and lets the cluster settle.
    pub fn write(&mut self, value: &str) {
        let leader = self.leader().expect("a leader to write to");
        assert!(self.propose(leader, value));
        self.settle();
        assert!(self.applied(leader).iter().any(|held| held == value), "{value} was not chosen");
    }
    /// Applied values without no-ops.
    pub fn applied(&self, id: u16) -> Vec<String> {
        self.nodes[&id].applied.iter().map(describe::payload).filter(|value| value != "noop").collect()
    }
    /// Asks `id` to transfer leadership to `target`, and lets it release its lease at once if it can.
    pub fn transfer(&mut self, id: u16, target: u16) {
        self.step(id, Input::TransferLeadership { target: node(target) });
        let now = self.now(id);
        let mut out = Vec::new();
        self.paxos_mut(id).transfer_if_drained(now, &mut out);
        self.execute(id, out);
        self.check();
    }
    /// Runs until a leader serves; returns the time it took in ms.
    pub fn until_leader(&mut self) -> u64 {
        self.until(|cluster| cluster.leader().is_some())
    }
    pub fn until(&mut self, mut done: impl FnMut(&Self) -> bool) -> u64 {
        let mut spent = 0;
        while !done(self) {
            assert!(spent < 20_000, "not within 20 s; the last of it:\n{}", self.tail(60));
            self.run_ms(STEP_MS);
            spent += STEP_MS;
        }
        spent
    }
    /// Makes `id` the leader: no other node ticks meanwhile.
    pub fn elect(&mut self, id: u16) {
        for _ in 0..2_000 {
            if self.leader() == Some(id) && self.lease(id) {
                return;
            }
            self.pass_ms(STEP_MS);
            self.tick(id);
            self.settle();
        }
        panic!("n{id} was not elected:\n{}", self.tail(60));
    }
    /// A ReadIndex read arrives and sends its heartbeats at once. It is served, and checked, as soon as it
    /// may be.
    pub fn read_index(&mut self, id: u16) -> Option<Mono> {
        let now = self.now(id);
        let ticket = self.paxos_mut(id).read_ticket()?;
        let mut out = Vec::new();
        self.paxos_mut(id).heartbeat_if_wanted(now, &mut out);
        let (ballot, point) =
            (self.paxos(id).leading().expect("who has a ticket leads"), self.paxos(id).chosen());
        self.tickets.push(Ticket { id, ballot, ticket, point, told: self.told });
        self.execute(id, out);
        self.check();
        Some(ticket)
    }
    pub fn tail(&self, count: usize) -> String {
        self.trace[self.trace.len().saturating_sub(count)..].join("\n")
    }
}

fn location(number: usize, value: Option<&Bytes>) -> Location {
    let len = value.map_or(0, Bytes::len) as u32;
    Location { segment: SegmentId::new(GROUP.get().into()), offset: number as u32, len }
}

/// A step's input in the trace; the inputs that only the shell gives are left out.
fn trace_input(input: &Input<Bytes>) -> Option<String> {
    Some(match input {
        Input::Message { from, message } => format!("<- {from}: {}", describe::message(message)),
        Input::Heartbeat { from, heartbeat } => format!("<~ {from}: {}", describe::heartbeat(heartbeat)),
        Input::HeartbeatReply { from, reply } => format!("<~ {from}: {}", describe::heartbeat_reply(reply)),
        Input::Propose { payload } => format!("proposes {}", describe::payload(payload)),
        Input::Watermark { from, ballot, chosen } => format!("<~ {from}: {chosen} is chosen, says {ballot}"),
        Input::Located { .. } | Input::Durable { .. } => return None,
        Input::Recalled { slot, payload: Some(_), .. } => format!("recalled {slot}"),
        Input::Recalled { slot, payload: None, .. } => format!("could not recall {slot}"),
        Input::Tick { log: LogState { is_stalled: true, .. } } => "tick (stalled)".into(),
        Input::Tick { .. } => "tick".into(),
        Input::Dropped { from } => format!("values of {from} dropped"),
        Input::LinkLost { node } => format!("lost {node}"),
        Input::TransferLeadership { target } => format!("is to hand over to {target}"),
        Input::Room { space, .. } => format!("has room: {space:?}"),
    })
}
