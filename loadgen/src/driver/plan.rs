//! Decides which operations begin, and when: the preload, the schedule of the open loop, the refilling of the
//! closed loop, the audit. Also decides when an order is done.

use super::op::{Op, Spot, Stage, Work};
use super::order::{Active, LoadTimes, OpenLoop};
use super::traffic::{Sending, Traffic};
use crate::clock::nanos;
use crate::options::Options;
use crate::random::Random;
use crate::schedule::{Schedule, Span};
use crate::share::{keys_of_thread_max, share_of_keys};
use crate::workload::Kind;

/// Most operations that may be open in one thread. At this limit the schedule waits, and its requests are
/// late.
const OPEN_MAX: usize = 1 << 16;
/// Keys drawn before the driver concludes that none can be used at the moment.
const KEY_DRAWS: u32 = 64;

/// Operations that preload, probe and audit keep open: enough to fill every batch, but few enough not to push a
/// small machine into the stalls that the load is meant to find.
const SWEEP_OPEN_MAX: usize = 512;

/// The open loop of a phase of load.
pub(super) fn open_loop(
    options: &Options,
    thread: u32,
    rate_per_s: u64,
    start_ns: u64,
    end_ns: u64,
) -> OpenLoop {
    let &Options { arrivals, threads, seed, .. } = options;
    let (thread, threads) = (u64::from(thread), u64::from(threads));
    let span = Span { start_ns, end_ns, rate_per_s, thread, threads };
    // A stream of its own, so that drawn arrivals and drawn keys do not depend on each other.
    let random = Random::new(seed ^ start_ns.rotate_left(32), thread | 1 << 32);
    OpenLoop { schedule: Schedule::new(span, arrivals, random), held: None, blocked_until_ns: 0 }
}

/// When an operation is planned, and its deadline.
#[derive(Clone, Copy)]
struct OpTiming {
    stage: Stage,
    planned_ns: u64,
    deadline_ns: u64,
}

/// Begins operations. It borrows the parts of the driver for one turn.
pub(super) struct Planner<'a> {
    pub(super) thread: u32,
    pub(super) traffic: &'a mut Traffic,
    pub(super) with: Sending<'a>,
}

impl Planner<'_> {
    /// Begins the operations that are due. Returns whether the order is done; the error says why the cluster
    /// is not ready.
    pub(super) fn turn(&mut self, active: &mut Active) -> Result<bool, String> {
        match active {
            Active::Idle => Ok(false),
            Active::Open { until_ns } => self.open(*until_ns),
            Active::Preload { until_ns, next } => Ok(self.preload(*until_ns, next)),
            Active::Load { times, open_loop: Some(open_loop) } => Ok(self.run_open_loop(*times, open_loop)),
            Active::Load { times, open_loop: None } => Ok(self.run_closed_loop(*times)),
            Active::Audit { until_ns, keys, next } => Ok(self.audit(*until_ns, keys, next)),
        }
    }

    fn open(&self, until_ns: u64) -> Result<bool, String> {
        let Traffic { links, sessions, .. } = &*self.traffic;
        let tried = links.iter().all(|link| link.was_tried);
        let missing = sessions.missing();
        if tried && missing.is_empty() && links.is_any_up() {
            return Ok(true);
        }
        if self.with.now_ns <= until_ns {
            return Ok(false);
        }
        let up = links.iter().filter(|link| link.is_up()).count();
        let errors = &self.with.books.tally.error_kinds;
        let kinds: Vec<_> = errors.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        Err(format!(
            "the cluster did not become ready: {up} of {} connections up, {} sessions not opened; {}",
            links.count(),
            missing.len(),
            if kinds.is_empty() { "nothing was refused".to_owned() } else { kinds.join(", ") },
        ))
    }

    fn preload(&mut self, until_ns: u64, next: &mut u32) -> bool {
        let end = self.with.stock.keys().end;
        if self.with.now_ns >= until_ns {
            *next = end;
        }
        let room = self.outstanding_max().min(SWEEP_OPEN_MAX);
        while *next < end && self.open_count() < room {
            let begun = self.begin_write(Kind::Write, *next, self.timing_now(Stage::Preload));
            assert!(begun, "a key that was never written has no write in flight");
            *next += 1;
        }
        *next == end && self.open_count() == 0
    }

    fn audit(&mut self, until_ns: u64, keys: &[u32], next: &mut usize) -> bool {
        let now_ns = self.with.now_ns;
        if now_ns >= until_ns {
            self.with.books.tally.audit.unread += (keys.len() - *next) as u64;
            *next = keys.len();
        }
        let room = self.outstanding_max().min(SWEEP_OPEN_MAX);
        while *next < keys.len() && self.open_count() < room {
            let timing = OpTiming { stage: Stage::Audit, planned_ns: now_ns, deadline_ns: until_ns };
            self.begin_read(keys[*next], timing);
            *next += 1;
        }
        *next == keys.len() && self.open_count() == 0
    }

    fn run_open_loop(&mut self, times: LoadTimes, open_loop: &mut OpenLoop) -> bool {
        let now_ns = self.with.now_ns;
        while self.open_count() < OPEN_MAX {
            let Some((planned_ns, kind)) = self.next_request(times, open_loop) else { break };
            let stage = times.stage_at(planned_ns);
            let deadline_ns = planned_ns + nanos(self.with.options.timeout);
            if deadline_ns <= now_ns {
                self.with.books.count_unsent(kind, stage);
            } else if !self.begin_drawn(kind, OpTiming { stage, planned_ns, deadline_ns }) {
                open_loop.held = Some((planned_ns, kind));
                break;
            }
        }
        if open_loop.held.is_some() || self.open_count() >= OPEN_MAX {
            open_loop.blocked_until_ns = now_ns;
        }
        open_loop.schedule.is_done() && open_loop.held.is_none() && self.open_count() == 0
    }

    /// The request that was held back, else the next one of the schedule that is due.
    fn next_request(&mut self, times: LoadTimes, open_loop: &mut OpenLoop) -> Option<(u64, Kind)> {
        if let Some(held) = open_loop.held.take() {
            return Some(held);
        }
        let now_ns = self.with.now_ns;
        let planned_ns = open_loop.schedule.take_due(now_ns)?;
        if times.stage_at(planned_ns) == Stage::Measured {
            let since_ns = planned_ns.max(open_loop.blocked_until_ns);
            self.with.books.tally.own_late.record_ns(now_ns.saturating_sub(since_ns));
        }
        Some((planned_ns, self.with.stock.draw_kind(times.mix)))
    }

    fn run_closed_loop(&mut self, times: LoadTimes) -> bool {
        let now_ns = self.with.now_ns;
        if now_ns >= times.end_ns {
            return self.open_count() == 0;
        }
        let room = self.closed_loop_room(times);
        let count = self.traffic.links.count();
        let first = self.traffic.links.next_first();
        for turn in 0..count {
            let link = (first + turn) % count;
            self.traffic.links.prefer(link);
            while self.has_room(link) && self.open_count() < room {
                let kind = self.with.stock.draw_kind(times.mix);
                if !self.begin_on_link(link, kind, times.stage_at(now_ns)) {
                    break;
                }
            }
        }
        false
    }

    fn has_room(&self, link: usize) -> bool {
        let link = self.traffic.links.get(link);
        link.is_up() && link.outstanding < self.with.options.inflight
    }

    /// How many operations of the load are open.
    fn open_count(&self) -> usize {
        self.traffic.ops.load_open()
    }

    /// The most operations that may be outstanding on all connections.
    fn outstanding_max(&self) -> usize {
        self.traffic.links.count() * self.with.options.inflight as usize
    }

    /// How many operations the closed loop keeps outstanding. This follows the requested number of
    /// connections, even if there are more links because every endpoint needs one.
    fn closed_loop_room(&self, times: LoadTimes) -> usize {
        let options = self.with.options;
        let share = share_of_keys(options.connections, self.thread, options.threads).len();
        let room = self.outstanding_max().min(share.max(1) * options.inflight as usize);
        if times.is_probe { room.min(SWEEP_OPEN_MAX) } else { room }
    }

    /// The timing of an operation that is planned now.
    fn timing_now(&self, stage: Stage) -> OpTiming {
        let planned_ns = self.with.now_ns;
        OpTiming { stage, planned_ns, deadline_ns: planned_ns + nanos(self.with.options.timeout) }
    }

    /// Begins an operation on a key that belongs to this link.
    fn begin_on_link(&mut self, link: usize, kind: Kind, stage: Stage) -> bool {
        let endpoint = self.traffic.links.get(link).endpoint;
        let timing = self.timing_now(stage);
        if kind == Kind::Insert && self.begin_insert(timing) {
            return true;
        }
        for _ in 0..KEY_DRAWS {
            let key = self.with.stock.draw_key();
            let leader = self.traffic.links.leader(self.with.stock.group_of(key));
            // A key whose group has no reachable leader can go over any link.
            if leader.is_some_and(|leader| leader != endpoint) {
                continue;
            }
            if self.begin_one(kind, key, timing) {
                return true;
            }
            self.with.books.tally.keys_redrawn += 1;
        }
        false
    }

    fn begin_drawn(&mut self, kind: Kind, timing: OpTiming) -> bool {
        if kind == Kind::Insert && self.begin_insert(timing) {
            return true;
        }
        for _ in 0..KEY_DRAWS {
            let key = self.with.stock.draw_key();
            if self.begin_one(kind, key, timing) {
                return true;
            }
            self.with.books.tally.keys_redrawn += 1;
        }
        false
    }

    /// Begins the insert of a new key. At the limit of keys it returns false, and the caller writes an old
    /// key instead.
    fn begin_insert(&mut self, timing: OpTiming) -> bool {
        let most = keys_of_thread_max(self.with.options);
        let Some(key) = self.with.stock.insert(most) else { return false };
        self.with.books.ledger.grow();
        let begun = self.begin_write(Kind::Insert, key, timing);
        assert!(begun, "a new key has no write in flight");
        true
    }

    fn begin_one(&mut self, kind: Kind, key: u32, timing: OpTiming) -> bool {
        match kind {
            Kind::Write | Kind::Insert => self.begin_write(Kind::Write, key, timing),
            Kind::ReadModifyWrite => {
                // The write is reserved before the read, so that no other write comes between the two.
                let Some(ticket) = self.with.books.ledger.begin_write(key) else { return false };
                self.begin_op(Work::Read { ticket: None, then: Some(ticket) }, kind, key, timing);
                true
            }
            Kind::Read => {
                self.begin_read(key, timing);
                true
            }
        }
    }

    /// Begins a write, unless one of the same key is in flight; [`crate::ledger`] explains this limit.
    fn begin_write(&mut self, kind: Kind, key: u32, timing: OpTiming) -> bool {
        let Some(ticket) = self.with.books.ledger.begin_write(key) else { return false };
        self.begin_op(Work::Write { ticket, slot: None }, kind, key, timing);
        true
    }

    fn begin_read(&mut self, key: u32, timing: OpTiming) {
        self.begin_op(Work::Read { ticket: None, then: None }, Kind::Read, key, timing);
    }

    fn begin_op(&mut self, work: Work, kind: Kind, key: u32, timing: OpTiming) {
        let OpTiming { stage, planned_ns, deadline_ns } = timing;
        let op = Op {
            work,
            kind: Some(kind),
            key,
            group: self.with.stock.group_of(key),
            stage,
            planned_ns,
            deadline_ns,
            late_noted: false,
            first_sent_ns: 0,
            sent_ns: 0,
            attempts: 0,
            doubtful: false,
            spot: Spot::Moving,
        };
        self.with.books.count_offered(kind, stage);
        self.traffic.begin(op, &mut self.with);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threads_of_an_open_loop_share_its_schedule() {
        let options = Options { threads: 2, ..Options::default() };
        let mut open_loop = open_loop(&options, 1, 1000, 0, 10_000_000);
        let taken = std::iter::from_fn(|| open_loop.schedule.take_due(u64::MAX)).collect::<Vec<_>>();
        assert_eq!(taken, [1_000_000, 3_000_000, 5_000_000, 7_000_000, 9_000_000], "every other request");
    }
}
