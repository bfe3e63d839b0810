//! Decides which operations begin, and when: the preload, the schedule of the open loop, the refilling of the
//! closed loop, the audit. Also decides when an order is done.

use super::link::Link;
use super::op::{Op, Spot, Stage, Work};
use super::state::{Active, Driver};
use super::tally::End;
use crate::clock::nanos;
use crate::options::Options;
use crate::random::Random;
use crate::schedule::{Schedule, Span};
use crate::share::keys_of_thread_max;
use crate::workload::{Kind, Mix};
use synod_types::{bucket_of, group_of};

/// Most operations that may be open in one thread. At this limit the schedule waits, and its requests are
/// late.
const OPEN_MAX: usize = 1 << 16;
/// Keys drawn before the driver concludes that none can be used at the moment.
const KEY_DRAWS: u32 = 64;

/// Operations that preload and audit keep open: enough to fill every batch, but few enough not to push a
/// small machine into the stalls that the load is meant to find.
const SWEEP_OPEN_MAX: usize = 512;

impl Driver {
    pub(super) fn schedule(&self, rate_per_s: u64, start_ns: u64, end_ns: u64) -> Option<Schedule> {
        let Options { closed, arrivals, threads, seed, .. } = self.options;
        let span = Span {
            start_ns,
            end_ns,
            rate_per_s,
            thread: u64::from(self.thread),
            threads: u64::from(threads),
        };
        // A stream of its own, so that drawn arrivals and drawn keys do not depend on each other.
        let random = Random::new(seed ^ start_ns.rotate_left(32), u64::from(self.thread) | 1 << 32);
        (!closed).then(|| Schedule::new(span, arrivals, random))
    }

    /// Begins the operations that are due, and notes when the order is done.
    pub(super) fn plan(&mut self, now_ns: u64) {
        let mut active = std::mem::replace(&mut self.active, Active::Idle);
        let done = match &mut active {
            Active::Idle => false,
            // After a failure there is nothing to wait for.
            _ if self.failure.is_some() => true,
            Active::Open { until_ns } => self.plan_open(*until_ns, now_ns),
            Active::Preload { until_ns, next } => self.plan_preload(*until_ns, next, now_ns),
            Active::Load { mix, measured_ns, end_ns, schedule: Some(schedule), held } => {
                let load = Load { mix: *mix, measured_ns: *measured_ns, end_ns: *end_ns };
                self.plan_open_loop(load, schedule, held, now_ns)
            }
            Active::Load { mix, measured_ns, end_ns, schedule: None, .. } => {
                let load = Load { mix: *mix, measured_ns: *measured_ns, end_ns: *end_ns };
                self.plan_closed_loop(load, now_ns)
            }
            Active::Audit { until_ns, keys, next } => self.plan_audit(*until_ns, keys, next, now_ns),
        };
        // Put back even when done, so that the last second is counted to its phase.
        self.active = active;
        if done {
            self.end_second(now_ns);
            if let Active::Load { mix, measured_ns, end_ns, .. } = self.active {
                for kind in Kind::ALL {
                    self.tally.measured_ns[kind.index()] +=
                        if mix.measures(kind) { end_ns - measured_ns } else { 0 };
                }
            }
            self.active = Active::Idle;
        }
    }

    fn plan_open(&mut self, until_ns: u64, now_ns: u64) -> bool {
        let tried = self.links.iter().all(|link| link.was_tried);
        let missing = self.sessions.missing();
        if tried && missing.is_empty() && self.links.iter().any(Link::is_up) {
            return true;
        }
        if now_ns <= until_ns {
            return false;
        }
        let up = self.links.iter().filter(|link| link.is_up()).count();
        let kinds: Vec<_> =
            self.tally.error_kinds.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        self.failure = Some(format!(
            "the cluster did not become ready: {up} of {} connections up, {} sessions not opened; {}",
            self.links.len(),
            missing.len(),
            if kinds.is_empty() { "nothing was refused".to_owned() } else { kinds.join(", ") },
        ));
        true
    }

    fn plan_preload(&mut self, until_ns: u64, next: &mut u32, now_ns: u64) -> bool {
        let end = self.workload.keys().end;
        if now_ns >= until_ns {
            *next = end;
        }
        let room = self.outstanding_max().min(SWEEP_OPEN_MAX);
        while *next < end && self.load_open < room {
            let deadline_ns = now_ns + nanos(self.options.timeout);
            let begun = self.begin_write(Kind::Write, *next, Stage::Preload, now_ns, deadline_ns, now_ns);
            assert!(begun, "a key that was never written has no write in flight");
            *next += 1;
        }
        *next == end && self.load_open == 0
    }

    fn plan_audit(&mut self, until_ns: u64, keys: &[u32], next: &mut usize, now_ns: u64) -> bool {
        if now_ns >= until_ns {
            self.tally.audit.unread += (keys.len() - *next) as u64;
            *next = keys.len();
        }
        let room = self.outstanding_max().min(SWEEP_OPEN_MAX);
        while *next < keys.len() && self.load_open < room {
            self.begin_read(keys[*next], Stage::Audit, now_ns, until_ns, now_ns);
            *next += 1;
        }
        *next == keys.len() && self.load_open == 0
    }

    fn plan_open_loop(
        &mut self,
        load: Load,
        schedule: &mut Schedule,
        held: &mut Option<(u64, Kind)>,
        now_ns: u64,
    ) -> bool {
        while self.load_open < OPEN_MAX {
            let next = held.take().or_else(|| {
                let planned_ns = schedule.take_due(now_ns)?;
                if load.stage_at(planned_ns) == Stage::Measured {
                    let since_ns = planned_ns.max(self.blocked_until_ns);
                    self.tally.own_late.record_ns(now_ns.saturating_sub(since_ns));
                }
                Some((planned_ns, self.workload.draw_kind(load.mix)))
            });
            let Some((planned_ns, kind)) = next else { break };
            let stage = load.stage_at(planned_ns);
            let deadline_ns = planned_ns + nanos(self.options.timeout);
            if deadline_ns <= now_ns {
                self.count_unsent(kind, stage);
            } else if !self.begin_drawn(kind, stage, planned_ns, deadline_ns, now_ns) {
                *held = Some((planned_ns, kind));
                break;
            }
        }
        if held.is_some() || self.load_open >= OPEN_MAX {
            self.blocked_until_ns = now_ns;
        }
        schedule.is_done() && held.is_none() && self.load_open == 0
    }

    fn plan_closed_loop(&mut self, load: Load, now_ns: u64) -> bool {
        if now_ns >= load.end_ns {
            return self.load_open == 0;
        }
        let room = self.closed_loop_room();
        self.first_link = (self.first_link + 1) % self.links.len().max(1);
        for turn in 0..self.links.len() {
            let link = (self.first_link + turn) % self.links.len();
            self.prefer_link(link);
            while self.links[link].is_up()
                && self.links[link].outstanding < self.options.inflight
                && self.load_open < room
            {
                let kind = self.workload.draw_kind(load.mix);
                if !self.begin_on_link(link, kind, load.stage_at(now_ns), now_ns) {
                    break;
                }
            }
        }
        false
    }

    /// Begins an operation on a key that belongs to this link.
    fn begin_on_link(&mut self, link: usize, kind: Kind, stage: Stage, now_ns: u64) -> bool {
        let endpoint = self.links[link].endpoint;
        let deadline_ns = now_ns + nanos(self.options.timeout);
        if kind == Kind::Insert && self.begin_insert(stage, now_ns, deadline_ns, now_ns) {
            return true;
        }
        for _ in 0..KEY_DRAWS {
            let key = self.workload.draw_key();
            let leader = self.routes.leader_endpoint(self.group_of_key(key));
            // A key whose group has no reachable leader can go over any link.
            if leader.is_some_and(|leader| leader != endpoint && self.is_endpoint_up(leader)) {
                continue;
            }
            if self.begin_one(kind, key, stage, now_ns, deadline_ns, now_ns) {
                return true;
            }
            self.tally.keys_redrawn += 1;
        }
        false
    }

    fn begin_drawn(
        &mut self,
        kind: Kind,
        stage: Stage,
        planned_ns: u64,
        deadline_ns: u64,
        now_ns: u64,
    ) -> bool {
        if kind == Kind::Insert && self.begin_insert(stage, planned_ns, deadline_ns, now_ns) {
            return true;
        }
        for _ in 0..KEY_DRAWS {
            let key = self.workload.draw_key();
            if self.begin_one(kind, key, stage, planned_ns, deadline_ns, now_ns) {
                return true;
            }
            self.tally.keys_redrawn += 1;
        }
        false
    }

    /// Begins the insert of a new key. At the limit of keys it returns false, and the caller writes an old
    /// key instead.
    fn begin_insert(&mut self, stage: Stage, planned_ns: u64, deadline_ns: u64, now_ns: u64) -> bool {
        let Some(key) = self.workload.insert(keys_of_thread_max(&self.options)) else { return false };
        self.ledger.grow();
        self.names.write(&mut self.name, key);
        self.groups.push(group_of(bucket_of(&self.name), self.routes.group_count()));
        let begun = self.begin_write(Kind::Insert, key, stage, planned_ns, deadline_ns, now_ns);
        assert!(begun, "a new key has no write in flight");
        true
    }

    fn begin_one(
        &mut self,
        kind: Kind,
        key: u32,
        stage: Stage,
        planned_ns: u64,
        deadline_ns: u64,
        now_ns: u64,
    ) -> bool {
        match kind {
            Kind::Write | Kind::Insert => {
                self.begin_write(Kind::Write, key, stage, planned_ns, deadline_ns, now_ns)
            }
            Kind::ReadModifyWrite => {
                // The write is reserved before the read, so that no other write comes between the two.
                let Some(ticket) = self.ledger.begin_write(key) else { return false };
                let work = Work::Read { ticket: None, then: Some(ticket) };
                self.begin_op(work, kind, key, Plan { stage, planned_ns, deadline_ns }, now_ns);
                true
            }
            Kind::Read => {
                self.begin_read(key, stage, planned_ns, deadline_ns, now_ns);
                true
            }
        }
    }

    /// Begins a write, unless one of the same key is in flight; [`crate::ledger`] explains this limit.
    fn begin_write(
        &mut self,
        kind: Kind,
        key: u32,
        stage: Stage,
        planned_ns: u64,
        deadline_ns: u64,
        now_ns: u64,
    ) -> bool {
        let Some(ticket) = self.ledger.begin_write(key) else { return false };
        let work = Work::Write { ticket, place: None };
        self.begin_op(work, kind, key, Plan { stage, planned_ns, deadline_ns }, now_ns);
        true
    }

    fn begin_read(&mut self, key: u32, stage: Stage, planned_ns: u64, deadline_ns: u64, now_ns: u64) {
        let work = Work::Read { ticket: None, then: None };
        self.begin_op(work, Kind::Read, key, Plan { stage, planned_ns, deadline_ns }, now_ns);
    }

    fn begin_op(&mut self, work: Work, kind: Kind, key: u32, plan: Plan, now_ns: u64) {
        let Plan { stage, planned_ns, deadline_ns } = plan;
        let group = self.group_of_key(key);
        let op = Op {
            work,
            kind: Some(kind),
            key,
            group,
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
        self.count_offered(kind, stage);
        self.load_open += 1;
        let id = self.ops.insert(op);
        self.dispatch(id, now_ns);
    }

    fn count_offered(&mut self, kind: Kind, stage: Stage) {
        // In the open loop this figure of the second is replaced by the schedule's.
        self.second.offered += 1;
        self.second.kinds[kind.index()].offered += 1;
        if stage == Stage::Measured {
            self.tally.measured_mut(kind).offered += 1;
        }
        if matches!(stage, Stage::Warmup | Stage::Measured) {
            self.tally.load_requests += 1;
        }
    }

    /// Counts a planned request whose deadline passed before it could be sent.
    fn count_unsent(&mut self, kind: Kind, stage: Stage) {
        self.count_offered(kind, stage);
        self.second.count(kind, End::Error);
        if stage == Stage::Measured {
            self.tally.measured_mut(kind).errors += 1;
        }
        self.tally.count_error("not sent in time");
    }
}

/// The parameters of an operation when it begins.
#[derive(Clone, Copy)]
struct Plan {
    stage: Stage,
    planned_ns: u64,
    deadline_ns: u64,
}

/// The times of a phase of load.
#[derive(Clone, Copy)]
struct Load {
    mix: Mix,
    measured_ns: u64,
    end_ns: u64,
}

impl Load {
    fn stage_at(&self, planned_ns: u64) -> Stage {
        if planned_ns >= self.measured_ns { Stage::Measured } else { Stage::Warmup }
    }
}
