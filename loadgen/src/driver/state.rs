//! The state of the driver, and the methods that all its parts use.

use super::link::{Link, LinkState};
use super::op::{OpId, OpTable};
use super::route::{Endpoint, Routes};
use super::session::Sessions;
use super::tally::{Second, Tally};
use crate::ledger::Ledger;
use crate::options::{Options, Protocol, Switch};
use crate::phase::Phase;
use crate::random::Random;
use crate::schedule::Schedule;
use crate::share::share_of_keys;
use crate::value::ValueWriter;
use crate::workload::{KeyNames, Kind, Mix, Workload};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use synod_net::binary::Topology;
use synod_types::{GroupId, bucket_of, group_of};

/// Seconds shorter than this are not shown, unless something went wrong in them.
const SECOND_LEAST_NS: u64 = 500_000_000;

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

/// One part of a run.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Order {
    /// Make connections and open sessions.
    Open {
        /// The deadline; after it the order has failed.
        until_ns: u64,
    },
    /// Write every key once.
    Preload {
        /// No write is begun after this time.
        until_ns: u64,
    },
    /// Offer load.
    Load {
        /// The mix of operations.
        mix: Mix,
        /// Requests per second of all threads together; not used in the closed loop.
        rate_per_s: u64,
        /// When the load begins.
        start_ns: u64,
        /// When the warm-up ends.
        measured_ns: u64,
        /// When the load ends.
        end_ns: u64,
    },
    /// Read every written key back.
    Audit {
        /// The deadline of all reads.
        until_ns: u64,
    },
}

/// The order in progress.
#[derive(Debug)]
pub(super) enum Active {
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
        /// `None` in the closed loop.
        schedule: Option<Schedule>,
        /// A request that was taken from the schedule but not begun, because no key was free.
        held: Option<(u64, Kind)>,
    },
    Audit {
        until_ns: u64,
        keys: Vec<u32>,
        next: usize,
    },
}

/// The state machine of one generator thread.
#[derive(Debug)]
pub struct Driver {
    pub(super) options: Options,
    pub(super) thread: u32,
    pub(super) workload: Workload,
    pub(super) names: KeyNames,
    pub(super) values: ValueWriter,
    pub(super) ledger: Ledger,
    /// The group of each key of this thread.
    pub(super) groups: Vec<GroupId>,
    pub(super) sessions: Sessions,
    /// Sessions that are to be opened.
    pub(super) to_open: Vec<(GroupId, u32)>,
    pub(super) routes: Routes,
    pub(super) links: Vec<Link>,
    /// Links by endpoint.
    pub(super) links_of: Vec<Vec<usize>>,
    /// By endpoint: where the search for a link begins.
    pub(super) cursors: Vec<usize>,
    /// Where the search for an arbitrary endpoint begins.
    pub(super) any_cursor: usize,
    /// The link that the closed loop begins with; it changes each time, so that no link starves.
    pub(super) first_link: usize,
    pub(super) ops: OpTable,
    /// How many of those operations are reads and writes.
    pub(super) load_open: usize,
    /// By endpoint: operations that wait for room on a connection.
    pub(super) queues: Vec<VecDeque<OpId>>,
    pub(super) parked: VecDeque<OpId>,
    pub(super) unstamped: VecDeque<OpId>,
    pub(super) resting: BinaryHeap<Reverse<(u64, OpId)>>,
    pub(super) active: Active,
    pub(super) failure: Option<String>,
    pub(super) phase_start_ns: u64,
    pub(super) second: Second,
    pub(super) seconds: Vec<Second>,
    /// Up to this time the schedule waited for the target, not for this thread.
    pub(super) blocked_until_ns: u64,
    /// How many requests the schedule had planned when the second began.
    pub(super) planned_before: u64,
    pub(super) tally: Tally,
    pub(super) history: Option<Vec<u8>>,
    pub(super) next_sweep_ns: u64,
    pub(super) next_topology_ns: u64,
    pub(super) topology_urgent: bool,
    pub(super) topology_asked_ns: u64,
    pub(super) name: Vec<u8>,
    pub(super) value: Vec<u8>,
}

impl Driver {
    /// An idle driver. `ledger` holds the keys of this thread, and what was written to them before.
    pub fn new(setup: Setup, ledger: Ledger, now_ns: u64) -> Self {
        let Setup { mut options, thread, run, topology, endpoints, connections, with_history } = setup;
        if options.protocol == Protocol::Resp {
            // RESP has no sessions.
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
        // at most CONNECTIONS_MAX
        let lanes = if options.sessions == Switch::On { connections.len() as u32 } else { 0 };
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

    /// Whether the order is done.
    pub fn is_done(&self) -> bool {
        matches!(self.active, Active::Idle)
    }
    /// Whether the shell may keep the link's socket.
    pub fn is_open(&self, link: usize) -> bool {
        matches!(self.links[link].state, LinkState::Probing | LinkState::Up)
    }

    pub(super) fn group_of_key(&self, key: u32) -> GroupId {
        self.groups[(key - self.workload.keys().start) as usize]
    }

    /// The most operations that may be outstanding on all connections.
    pub(super) fn outstanding_max(&self) -> usize {
        self.links.len() * self.options.inflight as usize
    }

    /// How many operations the closed loop keeps outstanding. This follows the requested number of
    /// connections, even if there are more links because every endpoint needs one.
    pub(super) fn closed_loop_room(&self) -> usize {
        let share = share_of_keys(self.options.connections, self.thread, self.options.threads).len();
        self.outstanding_max().min(share.max(1) * self.options.inflight as usize)
    }

    /// The current phase.
    pub(super) fn phase_at(&self, now_ns: u64) -> Phase {
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
    pub(super) fn turn_second(&mut self, now_ns: u64) {
        let is_over = now_ns >= self.second.start_ns + 1_000_000_000;
        if !self.is_done() && (is_over || self.phase_at(now_ns) != self.second.phase) {
            self.end_second(now_ns);
        }
    }

    pub(super) fn end_second(&mut self, now_ns: u64) {
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
