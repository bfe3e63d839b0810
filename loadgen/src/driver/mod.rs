//! The generator as a machine: times and received bytes in, bytes to send and verdicts out. Knows no socket, no clock and
//! no thread; `client/` gives it those.
//!
//! ```text
//!  order ──▶ plan ──▶ send ──▶ link.out ──▶ (shell)
//!              ▲        ▲                      │
//!       one per reply   │ again                ▼
//!              └──── answer ◀── decoder ◀── (shell)
//!                       │
//!                       ▼
//!              ledger · tally · history
//! ```
//!
//! Every operation that is begun ends exactly once: answered, refused, unknown, or in contradiction. None is waited for
//! longer than its deadline.

mod answer;
mod link;
mod op;
mod plan;
mod resp;
mod route;
mod send;
mod session;
mod tally;
#[cfg(test)]
mod tests;

pub(crate) use resp::encode as encode_resp;
pub use route::{Endpoint, spread};
pub use tally::{AuditTally, KindSecond, KindTally, Measured, Second, Tally};

use crate::ledger::{Ledger, Seen};
use crate::options::{Options, Protocol, Switch};
use crate::random::Random;
use crate::report::Phase;
use crate::schedule::Schedule;
use crate::value::ValueWriter;
use crate::workload::{KeyNames, Kind, Mix, Workload};
use link::{Link, State};
use op::{OpId, OpTable};
use route::Routes;
use session::Sessions;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::net::SocketAddr;
use synod_net::binary::{self, Topology};
use synod_types::{GroupId, bucket_of, group_of};

/// Most operations that may be open in one thread. Beyond them the schedule waits, and its requests are late.
const OPEN_MAX: usize = 1 << 16;
/// How often deadlines and silences are looked for.
const SWEEP_NS: u64 = 20_000_000;
/// How often each node is asked who leads.
const TOPOLOGY_NS: u64 = 1_000_000_000;
/// How soon again when something went wrong.
const TOPOLOGY_URGENT_NS: u64 = 20_000_000;
/// Seconds shorter than this are not worth a line, unless something went wrong in them.
const SECOND_LEAST_NS: u64 = 500_000_000;

/// What a driver is made from.
#[derive(Clone, Debug)]
pub struct Setup {
    /// What the run was told.
    pub options: Options,
    /// This thread.
    pub thread: u32,
    /// Tells the values of this run from those of others.
    pub run: u64,
    /// The cluster as it was first seen.
    pub topology: Topology,
    /// Every port of it.
    pub endpoints: Vec<Endpoint>,
    /// The endpoint of each connection of this thread.
    pub connections: Vec<usize>,
    /// Whether to keep a history.
    pub with_history: bool,
}

/// One part of a run.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Order {
    /// Make connections and open sessions.
    Open {
        /// After this it has failed.
        until_ns: u64,
    },
    /// Write every key once.
    Preload {
        /// After this no more is begun.
        until_ns: u64,
    },
    /// Offer load.
    Load {
        /// Of what.
        mix: Mix,
        /// Requests per second of all threads together; without meaning in the closed loop.
        rate_per_s: u64,
        /// When it begins.
        start_ns: u64,
        /// When the warm-up ends.
        measured_ns: u64,
        /// When it ends.
        end_ns: u64,
    },
    /// Read every written key back.
    Audit {
        /// After this nothing is waited for.
        until_ns: u64,
    },
}

/// The order under way.
#[derive(Debug)]
enum Active {
    Idle,
    Open {
        until_ns: u64,
    },
    Preload {
        until_ns: u64,
        next: u32,
    },
    Load {
        mix: Mix,
        measured_ns: u64,
        end_ns: u64,
        /// None in the closed loop.
        schedule: Option<Schedule>,
        /// Taken from the schedule and not begun: no key was free.
        held: Option<(u64, Kind)>,
    },
    Audit {
        until_ns: u64,
        keys: Vec<u32>,
        next: usize,
    },
}

/// The machine.
#[derive(Debug)]
pub struct Driver {
    options: Options,
    thread: u32,
    workload: Workload,
    names: KeyNames,
    values: ValueWriter,
    ledger: Ledger,
    /// The group of each key of this thread.
    groups: Vec<GroupId>,
    sessions: Sessions,
    /// Sessions to be opened.
    to_open: Vec<(GroupId, u32)>,
    routes: Routes,
    links: Vec<Link>,
    /// Links by endpoint.
    links_of: Vec<Vec<usize>>,
    /// By endpoint: where the search for a link begins.
    cursors: Vec<usize>,
    /// Where the search for any endpoint begins.
    any_cursor: usize,
    /// The closed loop begins with another link each time, so that none starves.
    first_link: usize,
    ops: OpTable,
    /// Of them, reads and writes.
    load_open: usize,
    /// By endpoint: what waits for room on a connection.
    queues: Vec<VecDeque<OpId>>,
    parked: VecDeque<OpId>,
    unstamped: VecDeque<OpId>,
    resting: BinaryHeap<Reverse<(u64, OpId)>>,
    active: Active,
    failure: Option<String>,
    phase_start_ns: u64,
    second: Second,
    seconds: Vec<Second>,
    /// Until then the schedule waited for the target, not for this thread.
    blocked_until_ns: u64,
    /// What the schedule had planned when the second began.
    planned_before: u64,
    tally: Tally,
    history: Option<Vec<u8>>,
    next_sweep_ns: u64,
    next_topology_ns: u64,
    topology_urgent: bool,
    topology_asked_ns: u64,
    name: Vec<u8>,
    value: Vec<u8>,
}

impl Driver {
    /// A machine at rest; `ledger` holds the keys of this thread, and what was written to them before.
    pub fn new(setup: Setup, ledger: Ledger, now_ns: u64) -> Self {
        let Setup { mut options, thread, run, topology, endpoints, connections, with_history } = setup;
        if options.protocol == Protocol::Resp {
            // It has none.
            options.sessions = Switch::Off;
        }
        let keys = ledger.range();
        let names = KeyNames::new(&options.key_prefix);
        let mut name = Vec::new();
        let group_of_key = |key| {
            names.write(&mut name, key);
            group_of(bucket_of(&name), topology.group_count)
        };
        let groups = keys.clone().map(group_of_key).collect();
        let lanes = if options.sessions == Switch::On { connections.len() as u32 } else { 0 }; // at most CONNECTIONS_MAX
        let sessions = Sessions::new(topology.group_count, lanes);
        let endpoint_count = endpoints.len();
        let mut links_of = vec![Vec::new(); endpoint_count];
        for (link, &endpoint) in connections.iter().enumerate() {
            links_of[endpoint].push(link);
        }
        let mut routes = Routes::new(topology.group_count, endpoints);
        for node in &topology.nodes {
            routes.learn(node.node, &topology, |_| true, now_ns);
        }
        Self {
            workload: Workload::new(keys, options.keys_dist(), Random::new(options.seed, u64::from(thread))),
            names,
            values: ValueWriter::new(&options.value_size, run),
            ledger,
            groups,
            to_open: sessions.missing(),
            sessions,
            routes,
            links: connections.into_iter().map(Link::new).collect(),
            links_of,
            cursors: vec![0; endpoint_count],
            any_cursor: thread as usize,
            first_link: 0,
            ops: OpTable::default(),
            load_open: 0,
            queues: vec![VecDeque::new(); endpoint_count],
            parked: VecDeque::new(),
            unstamped: VecDeque::new(),
            resting: BinaryHeap::new(),
            active: Active::Idle,
            failure: None,
            phase_start_ns: now_ns,
            second: Second::new(Phase::Preload, now_ns, now_ns),
            seconds: Vec::new(),
            blocked_until_ns: 0,
            planned_before: 0,
            tally: Tally::default(),
            history: with_history.then(Vec::new),
            next_sweep_ns: now_ns,
            next_topology_ns: now_ns,
            topology_urgent: false,
            topology_asked_ns: 0,
            name: Vec::new(),
            value: Vec::new(),
            options,
            thread,
        }
    }

    /// Begins a part of the run. The one before is done.
    pub fn begin(&mut self, order: Order, now_ns: u64) {
        assert!(self.is_done(), "an order was given before the last was done");
        self.active = match order {
            Order::Open { until_ns } => Active::Open { until_ns },
            Order::Preload { until_ns } => Active::Preload { until_ns, next: self.workload.keys().start },
            Order::Load { mix, rate_per_s, start_ns, measured_ns, end_ns } => {
                assert!(start_ns <= measured_ns && measured_ns < end_ns, "the parts of a phase are in order");
                let schedule = self.schedule(rate_per_s, start_ns, end_ns);
                self.blocked_until_ns = 0;
                Active::Load { mix, measured_ns, end_ns, schedule, held: None }
            }
            Order::Audit { until_ns } => {
                let keys: Vec<_> = self.ledger.written_keys().collect();
                self.tally.audit.keys += keys.len() as u64;
                Active::Audit { until_ns, keys, next: 0 }
            }
        };
        self.planned_before = 0;
        self.phase_start_ns = now_ns;
        self.second = Second::new(self.phase_at(now_ns), now_ns, now_ns);
    }

    /// Whether the order is done.
    pub fn is_done(&self) -> bool {
        matches!(self.active, Active::Idle)
    }
    /// Why the order could not be done, nor any after it.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }
    /// Begins no more load and no more preloading; what is open comes in.
    pub fn stop(&mut self, now_ns: u64) {
        match &mut self.active {
            Active::Load { end_ns, schedule, held, measured_ns, .. } => {
                *end_ns = (*end_ns).min(now_ns);
                *measured_ns = (*measured_ns).min(*end_ns);
                *held = None;
                if let Some(schedule) = schedule {
                    schedule.stop(now_ns);
                }
            }
            Active::Preload { until_ns, .. } => *until_ns = (*until_ns).min(now_ns),
            Active::Idle | Active::Open { .. } | Active::Audit { .. } => {}
        }
    }

    /// One turn: whatever time has brought. Afterwards the shell connects, sends and closes.
    pub fn turn(&mut self, now_ns: u64) {
        if now_ns >= self.next_sweep_ns {
            self.next_sweep_ns = now_ns + SWEEP_NS;
            self.sweep(now_ns);
        }
        self.turn_links();
        self.move_waiting(now_ns);
        self.ask_topology(now_ns);
        self.open_sessions(now_ns);
        self.plan(now_ns);
        self.turn_second(now_ns);
    }

    /// A link to be connected now, and where to. The shell answers with [`Driver::on_connected`] or
    /// [`Driver::on_closed`].
    pub fn next_connect(&mut self, now_ns: u64) -> Option<(usize, SocketAddr)> {
        if self.failure.is_some() {
            return None; // the run is over
        }
        let due = |link: &Link| matches!(link.state, State::Down { until_ns } if until_ns <= now_ns);
        let index = self.links.iter().position(due)?;
        let link = &mut self.links[index];
        // The shell has a bound of its own, which comes first.
        link.state = State::Connecting { until_ns: now_ns.saturating_add(2 * plan::ns(self.options.stall)) };
        Some((index, self.routes.endpoints()[link.endpoint].addr))
    }
    /// The link is connected.
    pub fn on_connected(&mut self, link: usize, now_ns: u64) {
        let reconnected = self.links[link].was_tried;
        self.tally.reconnects += u64::from(reconnected);
        let state = &mut self.links[link];
        state.state = State::Probing;
        if self.options.protocol == Protocol::Resp {
            return self.greet_resp(link, now_ns);
        }
        state.out.extend_from_slice(&binary::PREAMBLE);
        if let Some(password) = &self.options.password {
            state.note_asked(now_ns);
            binary::encode_auth(&mut state.out, OpId::AUTH, password.bytes());
        }
        self.ask_topology_on(link, now_ns);
    }
    /// The link is closed, or could not be connected.
    pub fn on_closed(&mut self, link: usize, now_ns: u64) {
        if !matches!(self.links[link].state, State::Down { .. }) {
            let name = if self.is_connecting(link) { "not connected" } else { "connection lost" };
            self.lose(link, name, now_ns);
        }
    }
    /// Whether the driver waits for the shell to connect the link.
    pub fn is_connecting(&self, link: usize) -> bool {
        matches!(self.links[link].state, State::Connecting { .. })
    }
    /// Whether the shell may keep the link's socket.
    pub fn is_open(&self, link: usize) -> bool {
        matches!(self.links[link].state, State::Probing | State::Up)
    }
    /// What is to be sent on the link; the shell takes from the front what it has sent.
    pub fn out(&mut self, link: usize) -> &mut Vec<u8> {
        &mut self.links[link].out
    }
    /// How many links there are.
    pub fn link_count(&self) -> usize {
        self.links.len()
    }
    /// Seconds that have ended.
    pub fn take_seconds(&mut self) -> Vec<Second> {
        std::mem::take(&mut self.seconds)
    }
    /// History since the last call, if one is kept.
    pub fn history(&mut self) -> Option<&mut Vec<u8>> {
        self.history.as_mut()
    }
    /// Counts processor time of the thread in a phase of load that took `wall_ns`.
    pub fn count_cpu(&mut self, cpu_ns: u64, wall_ns: u64) {
        *self.tally.cpu_ns.get_or_insert(0) += cpu_ns;
        let share = cpu_ns as f64 / wall_ns.max(1) as f64;
        self.tally.cpu_share = Some(self.tally.cpu_share.map_or(share, |before| before.max(share)));
    }
    /// What was measured since the last call.
    pub fn take_measured(&mut self) -> Measured {
        self.tally.take_measured()
    }
    /// The end: what was counted, and the ledger.
    pub fn finish(self) -> (Tally, Ledger) {
        (self.tally, self.ledger)
    }

    fn group_of_key(&self, key: u32) -> GroupId {
        self.groups[(key - self.workload.keys().start) as usize]
    }

    /// The most that may be outstanding on all connections.
    fn outstanding_max(&self) -> usize {
        self.links.len() * self.options.inflight as usize
    }

    /// What the closed loop keeps outstanding: fewer connections than endpoints were asked for, then not each link has its own.
    fn closed_loop_room(&self) -> usize {
        let share =
            crate::workload::share_of_keys(self.options.connections, self.thread, self.options.threads).len();
        self.outstanding_max().min(share.max(1) * self.options.inflight as usize)
    }

    /// The phase under way, and when it began if that is planned.
    fn phase_at(&self, now_ns: u64) -> Phase {
        match &self.active {
            Active::Idle => self.second.phase,
            Active::Open { .. } | Active::Preload { .. } => Phase::Preload,
            Active::Audit { .. } => Phase::Audit,
            Active::Load { measured_ns, .. } if now_ns < *measured_ns => Phase::Warmup,
            Active::Load { end_ns, .. } if now_ns >= *end_ns => Phase::Drain,
            Active::Load { mix: Mix::Only(Kind::Write), .. } => Phase::Write,
            Active::Load { mix: Mix::Only(Kind::Read), .. } => Phase::Read,
            Active::Load { mix: Mix::Only(_) | Mix::ReadShare(_) | Mix::Ycsb(_), .. } => Phase::Mixed,
        }
    }

    /// Ends the second when it is over or the phase has changed.
    fn turn_second(&mut self, now_ns: u64) {
        let is_over = now_ns >= self.second.start_ns + 1_000_000_000;
        if !self.is_done() && (is_over || self.phase_at(now_ns) != self.second.phase) {
            self.end_second(now_ns);
        }
    }

    fn end_second(&mut self, now_ns: u64) {
        let phase = self.phase_at(now_ns);
        if phase != self.second.phase {
            self.phase_start_ns = now_ns;
        }
        let next = Second::new(phase, self.phase_start_ns, now_ns);
        let mut ended = std::mem::replace(&mut self.second, next);
        ended.end_ns = now_ns;
        ended.outstanding = self.load_open as u64;
        if let Active::Load { schedule: Some(schedule), .. } = &self.active {
            let planned = schedule.planned_by(now_ns);
            ended.offered = planned - self.planned_before;
            self.planned_before = planned;
        }
        let trouble = ended.errors + ended.unknown + ended.verify_failures > 0;
        ended.is_long = trouble || now_ns - ended.start_ns >= SECOND_LEAST_NS;
        if ended.is_long || ended.achieved > 0 {
            self.seconds.push(ended);
        }
    }
}
