//! The generator as a state machine: times and received bytes in, bytes to send and verdicts out. It has no
//! sockets, no clock and no threads; `client/` provides those.
//!
//! ```text
//!  order ──▶ plan ──▶ traffic ──▶ link.out ──▶ (shell)
//!              ▲         ▲                        │
//!       one per reply    │ again                  ▼
//!              └───── answer ◀── binary/resp ◀── (shell)
//!                        │
//!                        ▼
//!              books: ledger · tally · seconds · history
//! ```
//!
//! The parts do not know each other's duties: `stock` draws keys and makes values, `traffic` holds the open
//! operations with their `session`s, `links` and `waiting` places, and `books` enters what has ended. The
//! driver joins them.
//!
//! Every operation that is begun ends exactly once: answered, refused, unknown, or in contradiction to what
//! is known. No operation is waited for longer than its deadline.

mod answer;
mod binary;
mod books;
mod link;
mod links;
mod op;
mod order;
mod plan;
mod resp;
mod resp_wire;
mod route;
mod seconds;
mod session;
mod stock;
mod tally;
#[cfg(test)]
mod tests;
mod traffic;
mod waiting;

pub use order::{Order, Pace};
pub(crate) use resp_wire::encode as encode_resp;
pub use route::{Endpoint, spread};
pub use tally::{AuditTally, KindSecond, KindTally, Measured, Second, Tally};

use crate::admission::NotAdmitted;
use crate::clock::nanos;
use crate::ledger::Ledger;
use crate::options::{Options, Protocol, Switch};
use crate::phase::Phase;
use crate::random::Random;
use crate::value::ValueWriter;
use crate::workload::{KeyNames, Kind};
use answer::{Consequence, Heard, NO_REQUEST, OpAnswer, ReadFate, WriteFate, consequence};
use books::{Books, EndTime};
use link::LinkState;
use links::LinkSet;
use op::{Op, OpId, Spot, Work};
use order::{Active, LoadTimes};
use plan::Planner;
use session::Sessions;
use std::net::SocketAddr;
use stock::Stock;
use synod_net::binary::Topology;
use traffic::{Sending, Traffic};

/// How often deadlines and silent connections are checked.
const SWEEP_NS: u64 = 20_000_000;

/// The parameters of a driver.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The options of the run.
    pub options: Options,
    /// The number of this thread.
    pub thread: u32,
    /// The id of the run, which distinguishes its values from those of other runs.
    pub run: u64,
    /// The cluster as it was first seen.
    pub topology: Topology,
    /// All endpoints of the cluster.
    pub endpoints: Vec<Endpoint>,
    /// The endpoint of each connection of this thread.
    pub connections: Vec<usize>,
    /// Whether to keep a history.
    pub with_history: bool,
}

/// The state machine of one generator thread.
#[derive(Debug)]
pub struct Driver {
    options: Options,
    thread: u32,
    active: Active,
    failure: Option<String>,
    stock: Stock,
    traffic: Traffic,
    books: Books,
    next_sweep_ns: u64,
}

impl Driver {
    /// An idle driver. `ledger` holds the keys of this thread, and what was written to them before.
    pub fn new(setup: Setup, ledger: Ledger, now_ns: u64) -> Self {
        let Setup { mut options, thread, run, topology, endpoints, connections, with_history } = setup;
        let has_versions = options.protocol == Protocol::Binary;
        if options.protocol == Protocol::Resp {
            // RESP has no sessions.
            options.sessions = Switch::Off;
        }
        let stock = Stock::new(
            ledger.range(),
            options.keys_dist(),
            Random::new(options.seed, u64::from(thread)),
            KeyNames::new(&options.key_prefix),
            ValueWriter::new(&options.value_size, run),
            topology.group_count,
        );
        // at most CONNECTIONS_MAX
        let lanes = if options.sessions == Switch::On { connections.len() as u32 } else { 0 };
        let sessions = Sessions::new(topology.group_count, lanes);
        let links = LinkSet::new(&topology, endpoints, connections, thread as usize, now_ns);
        Self {
            options,
            thread,
            active: Active::Idle,
            failure: None,
            stock,
            traffic: Traffic::new(sessions, links),
            books: Books::new(ledger, with_history, has_versions, now_ns),
            next_sweep_ns: now_ns,
        }
    }

    /// Begins a part of the run. The one before must be done.
    pub fn begin(&mut self, order: Order, now_ns: u64) {
        assert!(self.is_done(), "an order was given before the last was done");
        self.active = match order {
            Order::Open { until_ns } => Active::Open { until_ns },
            Order::Preload { until_ns } => Active::Preload { until_ns, next: self.stock.keys().start },
            Order::Load { mix, pace, start_ns, measured_ns, end_ns } => {
                assert!(start_ns <= measured_ns && measured_ns < end_ns, "the parts of a phase are in order");
                let open_loop = match pace {
                    Pace::Open { rate_per_s } => {
                        Some(plan::open_loop(&self.options, self.thread, rate_per_s, start_ns, end_ns))
                    }
                    Pace::Closed | Pace::Probe => None,
                };
                let is_probe = pace == Pace::Probe;
                Active::Load { times: LoadTimes { mix, is_probe, measured_ns, end_ns }, open_loop }
            }
            Order::Audit { until_ns } => {
                let keys: Vec<_> = self.books.ledger.written_keys().collect();
                self.books.tally.audit.keys += keys.len() as u64;
                Active::Audit { until_ns, keys, next: 0 }
            }
        };
        if let Some(phase) = self.active.phase_at(now_ns) {
            self.books.seconds.begin(phase, now_ns);
        }
    }
    /// Whether the order is done.
    pub fn is_done(&self) -> bool {
        matches!(self.active, Active::Idle)
    }
    /// Why the order failed; every later order fails too.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }
    /// Stops beginning load and preload operations; open ones complete.
    pub fn stop(&mut self, now_ns: u64) {
        self.active.stop(now_ns);
    }

    /// One turn: does everything that is due. Afterwards the shell connects, sends and closes.
    pub fn turn(&mut self, now_ns: u64) {
        if now_ns >= self.next_sweep_ns {
            self.next_sweep_ns = now_ns + SWEEP_NS;
            self.sweep(now_ns);
        }
        self.traffic.links.turn();
        let (traffic, mut with) = self.sending(now_ns);
        traffic.move_waiting(&mut with);
        if with.options.protocol == Protocol::Binary {
            traffic.links.inquire(now_ns);
        }
        traffic.open_sessions(&mut with);
        self.plan(now_ns);
        self.turn_second(now_ns);
    }

    /// A link to connect now, and its address. The shell reports the result with [`Driver::on_connected`] or
    /// [`Driver::on_closed`].
    pub fn next_connect(&mut self, now_ns: u64) -> Option<(usize, SocketAddr)> {
        if self.failure.is_some() {
            return None; // the run is over
        }
        // The shell has a shorter timeout of its own.
        let patience_ns = 2 * nanos(self.options.stall);
        let links = &mut self.traffic.links;
        let link = links.next_connect(patience_ns, now_ns)?;
        Some((link, links.addr(link)))
    }
    /// The shell calls this when the link is connected.
    pub fn on_connected(&mut self, link: usize, now_ns: u64) {
        let target = self.traffic.links.get_mut(link);
        self.books.tally.reconnects += u64::from(target.was_tried);
        target.state = LinkState::Probing;
        let password = self.options.password.as_ref();
        match self.options.protocol {
            Protocol::Binary => binary::greet(target, link, password, now_ns),
            Protocol::Resp => resp::greet(target, password, now_ns),
        }
    }
    /// The shell calls this when the link is closed, or could not be connected.
    pub fn on_closed(&mut self, link: usize, now_ns: u64) {
        if !matches!(self.traffic.links.get(link).state, LinkState::Down { .. }) {
            let name = if self.is_connecting(link) { "not connected" } else { "connection lost" };
            self.lose(link, name, now_ns);
        }
    }
    /// Whether the driver waits for the shell to connect the link.
    pub fn is_connecting(&self, link: usize) -> bool {
        matches!(self.traffic.links.get(link).state, LinkState::Connecting { .. })
    }
    /// Whether the shell may keep the link's socket.
    pub fn is_open(&self, link: usize) -> bool {
        matches!(self.traffic.links.get(link).state, LinkState::Probing | LinkState::Up)
    }
    /// The bytes to send on the link; the shell removes the bytes it has sent from the front.
    pub fn out(&mut self, link: usize) -> &mut Vec<u8> {
        &mut self.traffic.links.get_mut(link).out
    }
    /// The number of links.
    pub fn link_count(&self) -> usize {
        self.traffic.links.count()
    }
    /// Takes the seconds that have ended.
    pub fn take_seconds(&mut self) -> Vec<Second> {
        self.books.seconds.take()
    }
    /// The history that was not taken yet, if one is kept.
    pub fn history(&mut self) -> Option<&mut Vec<u8>> {
        self.books.history.as_mut()
    }
    /// Counts the processor time of the thread in a phase of load that took `wall_ns`.
    pub fn count_cpu(&mut self, cpu_ns: u64, wall_ns: u64) {
        self.books.count_cpu(cpu_ns, wall_ns);
    }
    /// Takes what was measured since the last call.
    pub fn take_measured(&mut self) -> Measured {
        self.books.tally.take_measured()
    }
    /// Ends the driver; returns the counts and the ledger.
    pub fn finish(self) -> (Tally, Ledger) {
        (self.books.tally, self.books.ledger)
    }

    /// Handles received bytes. Afterwards the shell closes the link if [`Driver::is_open`] is false.
    pub fn on_bytes(&mut self, link: usize, bytes: &[u8], now_ns: u64) {
        if self.is_open(link) {
            match self.options.protocol {
                Protocol::Binary => self.on_binary(link, bytes, now_ns),
                Protocol::Resp => self.on_resp(link, bytes, now_ns),
            }
        }
    }

    fn on_binary(&mut self, link: usize, bytes: &[u8], now_ns: u64) {
        let mut decoder = std::mem::take(&mut self.traffic.links.get_mut(link).decoder);
        decoder.feed(bytes);
        loop {
            match decoder.next_ref() {
                Ok(Some(response)) => {
                    let heard = binary::hear(self.traffic.links.get_mut(link), response, now_ns);
                    self.on_heard(link, heard, now_ns);
                }
                Ok(None) => break,
                Err(error) => self.lose(link, binary::protocol_error_name(error), now_ns),
            }
            if !self.is_open(link) {
                return;
            }
        }
        self.traffic.links.get_mut(link).decoder = decoder;
    }

    fn on_resp(&mut self, link: usize, bytes: &[u8], now_ns: u64) {
        let mut reader = std::mem::take(&mut self.traffic.links.get_mut(link).reader);
        reader.feed(bytes);
        loop {
            match reader.next_reply() {
                Ok(Some(reply)) => {
                    let heard = resp::hear(self.traffic.links.get_mut(link), reply, now_ns);
                    self.on_heard(link, heard, now_ns);
                }
                Ok(None) => break,
                Err(name) => self.lose(link, name, now_ns),
            }
            if !self.is_open(link) {
                return;
            }
        }
        self.traffic.links.get_mut(link).reader = reader;
    }

    fn on_heard(&mut self, link: usize, heard: Heard<'_>, now_ns: u64) {
        match heard {
            Heard::Nothing => {}
            Heard::Topology(view) => self.traffic.links.learn(link, &view, now_ns),
            Heard::Answer(id, answer) => self.on_answer(link, id, answer, now_ns),
            Heard::Broken(reason) => self.lose(link, reason, now_ns),
            Heard::NotAdmitted(why) => self.on_not_admitted(link, why, now_ns),
        }
    }

    /// Ends the run, because the server does not admit the generator.
    fn on_not_admitted(&mut self, link: usize, why: NotAdmitted, now_ns: u64) {
        let addr = self.traffic.links.addr(link);
        self.failure.get_or_insert_with(|| format!("{addr} {why}"));
        self.lose(link, why.name(), now_ns);
    }

    /// Matches an answer with its operation. There is none if the operation was given up meanwhile, or was not
    /// sent on this link.
    fn on_answer(&mut self, link: usize, id: OpId, answer: OpAnswer<'_>, now_ns: u64) {
        let Traffic { ops, links, .. } = &mut self.traffic;
        if !ops.was_issued(id) {
            return self.lose(link, NO_REQUEST, now_ns);
        }
        match ops.get_mut(id) {
            Some(op) if op.spot == Spot::Sent(link) => {
                op.spot = Spot::Moving;
                links.get_mut(link).note_answered(now_ns);
                let next = consequence(op, answer, self.stock.run());
                self.follow(id, next, now_ns);
            }
            // It was given up meanwhile and counted as such; the answer only makes room on the link.
            _ if links.get_mut(link).note_answered_late(now_ns) => self.books.tally.replies_late += 1,
            _ => self.lose(link, "answered twice", now_ns),
        }
    }

    /// Does what follows from an answer.
    fn follow(&mut self, id: OpId, next: Consequence, now_ns: u64) {
        match next {
            Consequence::Again(reason) => self.rest(id, reason, now_ns),
            Consequence::NoLeader(reason) => {
                self.traffic.links.inquire_soon();
                self.rest(id, reason, now_ns);
            }
            Consequence::InDoubt(reason) => {
                if let Some(op) = self.traffic.ops.get_mut(id) {
                    op.doubtful = true;
                }
                self.rest(id, reason, now_ns);
            }
            Consequence::SessionExpired(reason) => self.on_session_expired(id, reason, now_ns),
            Consequence::Opened { lane, session } => {
                if let Some(op) = self.traffic.ops.remove(id) {
                    self.traffic.sessions.opened(op.group, lane, session);
                }
            }
            Consequence::EndWrite(fate) => self.end_write(id, fate, now_ns),
            Consequence::EndRead(fate) => self.end_read(id, fate, now_ns),
        }
    }

    fn on_session_expired(&mut self, id: OpId, reason: &'static str, now_ns: u64) {
        let op = self.traffic.ops.get_mut(id).expect("found just before");
        let (group, is_doubtful) = (op.group, op.doubtful);
        if let Work::Write { slot, .. } = &mut op.work
            && let Some(expired) = slot.take()
        {
            self.traffic.sessions.expired(group, expired);
        }
        if is_doubtful {
            self.end_write(id, WriteFate::Unknown(reason), now_ns);
        } else {
            self.rest(id, reason, now_ns);
        }
    }

    /// Sends the operation again after a pause.
    fn rest(&mut self, id: OpId, reason: &'static str, now_ns: u64) {
        self.books.count_retry(reason);
        self.traffic.rest(id, now_ns);
    }

    /// Ends a write.
    fn end_write(&mut self, id: OpId, fate: WriteFate, now_ns: u64) {
        let at = self.end_time(now_ns);
        let (op, ticket) = self.traffic.take_write(id);
        self.books.end_write(&op, ticket, fate, at);
        if op.kind == Some(Kind::Insert) {
            self.stock.inserted(op.key);
        }
    }

    /// Ends a read; a read-modify-write goes on with its write, with the planned time and the deadline of the
    /// read.
    fn end_read(&mut self, id: OpId, fate: ReadFate, now_ns: u64) {
        let at = self.end_time(now_ns);
        let (read, ticket, then) = self.traffic.take_read(id);
        let Some(ticket) = self.books.end_read(&read, ticket, then, fate, at) else { return };
        let write = Op {
            work: Work::Write { ticket, slot: None },
            first_sent_ns: 0,
            sent_ns: 0,
            attempts: 0,
            doubtful: false,
            spot: Spot::Moving,
            ..read
        };
        let (traffic, mut with) = self.sending(now_ns);
        traffic.begin(write, &mut with);
    }

    fn end_time(&self, now_ns: u64) -> EndTime {
        EndTime { now_ns, is_measured: self.active.is_measured_at(now_ns) }
    }

    /// Handles a connection that is lost or given up: its unanswered operations are sent again elsewhere,
    /// where that is allowed.
    fn lose(&mut self, link: usize, reason: &'static str, now_ns: u64) {
        self.books.tally.count_error(reason);
        self.traffic.links.go_down(link, now_ns);
        for id in self.traffic.ops.select(|op| op.spot == Spot::Sent(link)) {
            let op = self.traffic.ops.get_mut(id).expect("selected just now");
            op.spot = Spot::Moving;
            if let Work::Write { slot, .. } = &op.work {
                op.doubtful = true;
                if slot.is_none() {
                    self.end_write(id, WriteFate::Unknown(reason), now_ns);
                    continue;
                }
            }
            self.books.tally.retries += 1;
            let (traffic, mut with) = self.sending(now_ns);
            traffic.dispatch(id, &mut with);
        }
    }

    /// Gives up operations past their deadline, and connections that owe replies and are silent.
    fn sweep(&mut self, now_ns: u64) {
        let stall_ns = nanos(self.options.stall);
        for link in 0..self.traffic.links.count() {
            let target = self.traffic.links.get(link);
            if target.is_stalled(now_ns, stall_ns) {
                self.lose(link, "connection silent", now_ns);
            } else if matches!(target.state, LinkState::Connecting { until_ns } if until_ns <= now_ns) {
                self.lose(link, "not connected", now_ns);
            }
        }
        for id in self.traffic.ops.select(|op| op.deadline_ns <= now_ns) {
            self.give_up(id, now_ns);
        }
    }

    /// Gives up an operation that is past its deadline.
    fn give_up(&mut self, id: OpId, now_ns: u64) {
        let op = self.traffic.ops.get(id).expect("selected just now");
        let is_sent = matches!(op.spot, Spot::Sent(_));
        if let Spot::Sent(link) = op.spot {
            // It still counts as outstanding on the connection, so that a slow cluster is not sent more and
            // more requests.
            self.traffic.links.get_mut(link).given_up += 1;
        }
        match op.work {
            Work::Write { .. } if is_sent || op.doubtful => {
                self.end_write(id, WriteFate::Unknown("timeout"), now_ns);
            }
            Work::Write { .. } => self.end_write(id, WriteFate::Refused("not sent in time"), now_ns),
            Work::Read { .. } => self.end_read(id, ReadFate::NoAnswer("timeout"), now_ns),
            Work::OpenSession { lane } => {
                let group = op.group;
                self.traffic.ops.remove(id);
                self.books.tally.count_error("session not opened in time");
                self.traffic.sessions.not_opened(group, lane);
            }
        }
    }

    /// Begins the operations that are due, and notes when the order is done.
    fn plan(&mut self, now_ns: u64) {
        let Self { options, thread, active, stock, traffic, books, .. } = self;
        let mut planner =
            Planner { thread: *thread, traffic, with: Sending { options, stock, books, now_ns } };
        let is_done = match active {
            Active::Idle => return,
            // After a failure there is nothing to wait for.
            _ if self.failure.is_some() => true,
            active => planner.turn(active).unwrap_or_else(|failure| {
                self.failure = Some(failure);
                true
            }),
        };
        if !is_done {
            return;
        }
        if let Some(phase) = self.active.phase_at(now_ns) {
            self.end_second(phase, now_ns);
        }
        if let Active::Load { times, .. } = self.active {
            self.books.count_measured_time(times.mix, times.end_ns - times.measured_ns);
        }
        self.active = Active::Idle;
    }

    /// Ends the second when it is over or the phase has changed.
    fn turn_second(&mut self, now_ns: u64) {
        if let Some(phase) = self.active.phase_at(now_ns)
            && self.books.seconds.is_over(phase, now_ns)
        {
            self.end_second(phase, now_ns);
        }
    }

    fn end_second(&mut self, phase: Phase, now_ns: u64) {
        let outstanding = self.traffic.ops.load_open() as u64;
        self.books.seconds.end(phase, outstanding, self.active.planned_by(now_ns), now_ns);
    }

    /// The operations, and what they are sent with.
    fn sending(&mut self, now_ns: u64) -> (&mut Traffic, Sending<'_>) {
        let Self { options, stock, traffic, books, .. } = self;
        (traffic, Sending { options, stock, books, now_ns })
    }
}
