//! Counters: the measured phases by kind, the current second, errors by kind, and findings in words.

use crate::histogram::Latencies;
use crate::phase::Phase;
use crate::workload::Kind;
use std::collections::BTreeMap;

/// Findings beyond this many are counted but not described.
const FINDINGS_MAX: usize = 50;

/// The outcomes of the operations of one kind. `offered` is the sum of the four possible outcomes.
#[derive(Clone, Debug, Default)]
pub struct KindTally {
    /// Begun.
    pub offered: u64,
    /// Answered successfully.
    pub achieved: u64,
    /// Answered successfully within the measured time, operations of the warm-up included. Rates are computed
    /// from this.
    pub achieved_in_time: u64,
    /// Certainly not executed, or reads without an answer.
    pub errors: u64,
    /// Writes with unknown outcome.
    pub unknown: u64,
    /// Contradictions.
    pub verify_failures: u64,
    /// Latencies of the operations answered successfully.
    pub latencies: Latencies,
}

impl KindTally {
    fn add(&mut self, other: &Self) {
        self.offered += other.offered;
        self.achieved += other.achieved;
        self.achieved_in_time += other.achieved_in_time;
        self.errors += other.errors;
        self.unknown += other.unknown;
        self.verify_failures += other.verify_failures;
        self.latencies.add(&other.latencies);
    }
}

/// How an operation ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    Good { latency_ns: u64 },
    Error,
    Unknown,
    VerifyFailure,
}

/// The operations of one kind in a second.
#[derive(Clone, Debug, Default)]
pub struct KindSecond {
    /// Begun.
    pub offered: u64,
    /// Answered successfully.
    pub achieved: u64,
    /// Failed.
    pub errors: u64,
    /// With unknown outcome.
    pub unknown: u64,
    /// Contradictions.
    pub verify_failures: u64,
    /// Latencies of the operations answered successfully; `None` if there were none. Boxed and optional
    /// because most seconds have operations of one kind only.
    pub latencies: Option<Box<Latencies>>,
}

impl KindSecond {
    /// Adds what another thread counted in the same second.
    pub fn add(&mut self, other: &Self) {
        self.offered += other.offered;
        self.achieved += other.achieved;
        self.errors += other.errors;
        self.unknown += other.unknown;
        self.verify_failures += other.verify_failures;
        if let Some(latencies) = &other.latencies {
            self.latencies.get_or_insert_default().add(latencies);
        }
    }
}

/// One second, or a part of one.
#[derive(Clone, Debug)]
pub struct Second {
    /// The part of the run.
    pub phase: Phase,
    /// Whether it is long enough to be shown as a second; parts of seconds at the ends of a phase are not.
    pub is_long: bool,
    /// When this part began.
    pub phase_start_ns: u64,
    /// When this second began.
    pub start_ns: u64,
    /// When it ended.
    pub end_ns: u64,
    /// Planned; in a closed loop, begun.
    pub offered: u64,
    /// Answered successfully.
    pub achieved: u64,
    /// Failed.
    pub errors: u64,
    /// With unknown outcome.
    pub unknown: u64,
    /// Contradictions.
    pub verify_failures: u64,
    /// Operations open at the end.
    pub outstanding: u64,
    /// By [`Kind::index`].
    pub kinds: [KindSecond; Kind::COUNT],
}

impl Second {
    pub(super) fn new(phase: Phase, phase_start_ns: u64, start_ns: u64) -> Self {
        Self {
            phase,
            is_long: false,
            phase_start_ns,
            start_ns,
            end_ns: start_ns,
            offered: 0,
            achieved: 0,
            errors: 0,
            unknown: 0,
            verify_failures: 0,
            outstanding: 0,
            kinds: Default::default(),
        }
    }
    pub(super) fn count(&mut self, kind: Kind, end: End) {
        let counted = &mut self.kinds[kind.index()];
        match end {
            End::Good { latency_ns } => {
                self.achieved += 1;
                counted.achieved += 1;
                counted.latencies.get_or_insert_default().record_ns(latency_ns);
            }
            End::Error => {
                self.errors += 1;
                counted.errors += 1;
            }
            End::Unknown => {
                self.unknown += 1;
                counted.unknown += 1;
            }
            End::VerifyFailure => {
                self.verify_failures += 1;
                counted.verify_failures += 1;
            }
        }
    }
}

/// The result of one thread's audit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuditTally {
    /// Keys to be read back.
    pub keys: u64,
    /// As in [`crate::AuditReport`].
    pub absent: u64,
    /// As in [`crate::AuditReport`].
    pub stale: u64,
    /// As in [`crate::AuditReport`].
    pub invented: u64,
    /// As in [`crate::AuditReport`].
    pub corrupt: u64,
    /// As in [`crate::AuditReport`].
    pub unread: u64,
}

impl AuditTally {
    /// Keys that do not hold a legal value.
    pub fn missing(&self) -> u64 {
        self.absent + self.stale + self.invented + self.corrupt
    }
}

/// Everything one generator thread counts.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// The measured phases, by [`Kind::index`].
    pub measured: [KindTally; Kind::COUNT],
    /// Measured time in which operations of this kind were planned, by [`Kind::index`].
    pub measured_ns: [u64; Kind::COUNT],
    /// The generator's own lateness: how late requests of the measured phases were taken from the schedule,
    /// without the time in which none was taken because of too many open operations or because no key was
    /// free.
    pub own_late: Latencies,
    /// Requests of warm-up and measured phases, with any outcome.
    pub load_requests: u64,
    /// How late requests of the measured phases were sent.
    pub late: Latencies,
    /// Failed attempts by kind, in all phases.
    pub error_kinds: BTreeMap<&'static str, u64>,
    /// Contradictions in all phases but the audit.
    pub verify_failures: u64,
    /// The first findings.
    pub findings: Vec<String>,
    /// The audit.
    pub audit: AuditTally,
    /// Keys that were drawn and skipped because a write of the key was in flight.
    pub keys_redrawn: u64,
    /// Requests sent again.
    pub retries: u64,
    /// Reconnections.
    pub reconnects: u64,
    /// Replies to operations that had been given up.
    pub replies_late: u64,
    /// Processor time of the thread in warm-up and measured phases, if the system reports it.
    pub cpu_ns: Option<u64>,
    /// The same divided by the elapsed time, of the busiest thread and phase.
    pub cpu_share: Option<f64>,
}

/// The measurements of one phase of load, kept apart from the other counters so that each phase can be
/// evaluated on its own.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// As in [`Tally`].
    pub measured: [KindTally; Kind::COUNT],
    /// As in [`Tally`].
    pub measured_ns: [u64; Kind::COUNT],
    /// As in [`Tally`].
    pub late: Latencies,
    /// As in [`Tally`].
    pub own_late: Latencies,
    /// As in [`Tally`].
    pub cpu_share: Option<f64>,
}

impl Measured {
    /// Adds what another thread measured at the same time.
    pub fn join(&mut self, other: &Self) {
        for index in 0..Kind::COUNT {
            self.measured[index].add(&other.measured[index]);
            self.measured_ns[index] = self.measured_ns[index].max(other.measured_ns[index]);
        }
        self.add_lateness(other);
    }
    /// Adds what another phase measured.
    pub fn follow(&mut self, other: &Self) {
        for index in 0..Kind::COUNT {
            self.measured[index].add(&other.measured[index]);
            self.measured_ns[index] += other.measured_ns[index];
        }
        self.add_lateness(other);
    }

    /// Adds a second of a measured phase, for a thread that can no longer report its own counts. Operations
    /// are counted when they ended, not when they were planned.
    pub fn add_second(&mut self, second: &Second) {
        for (all, told) in self.measured.iter_mut().zip(&second.kinds) {
            all.offered += told.offered;
            all.achieved += told.achieved;
            all.achieved_in_time += told.achieved;
            all.errors += told.errors;
            all.unknown += told.unknown;
            all.verify_failures += told.verify_failures;
            if let Some(latencies) = &told.latencies {
                all.latencies.add(latencies);
            }
        }
    }

    fn add_lateness(&mut self, other: &Self) {
        self.late.add(&other.late);
        self.own_late.add(&other.own_late);
        self.cpu_share = larger(self.cpu_share, other.cpu_share);
    }
}

fn larger(one: Option<f64>, two: Option<f64>) -> Option<f64> {
    match (one, two) {
        (Some(one), Some(two)) => Some(one.max(two)),
        (one, two) => one.or(two),
    }
}

impl Tally {
    /// Takes what was measured since the last call; these counts start again from 0.
    pub(super) fn take_measured(&mut self) -> Measured {
        Measured {
            measured: std::mem::take(&mut self.measured),
            measured_ns: std::mem::take(&mut self.measured_ns),
            late: std::mem::take(&mut self.late),
            own_late: std::mem::take(&mut self.own_late),
            cpu_share: self.cpu_share.take(),
        }
    }
    pub(super) fn measured_mut(&mut self, kind: Kind) -> &mut KindTally {
        &mut self.measured[kind.index()]
    }
    pub(super) fn count_error(&mut self, name: &'static str) {
        *self.error_kinds.entry(name).or_default() += 1;
    }
    pub(super) fn find(&mut self, finding: impl FnOnce() -> String) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding());
        }
    }
    /// Adds what another thread, or an earlier part of the run, counted.
    pub fn add(&mut self, other: &Self) {
        for index in 0..Kind::ALL.len() {
            self.measured[index].add(&other.measured[index]);
            // The threads measure at the same time.
            self.measured_ns[index] = self.measured_ns[index].max(other.measured_ns[index]);
        }
        self.load_requests += other.load_requests;
        self.late.add(&other.late);
        self.own_late.add(&other.own_late);
        self.cpu_share = larger(self.cpu_share, other.cpu_share);
        for (name, count) in &other.error_kinds {
            *self.error_kinds.entry(name).or_default() += count;
        }
        self.verify_failures += other.verify_failures;
        let room = FINDINGS_MAX - self.findings.len().min(FINDINGS_MAX);
        self.findings.extend(other.findings.iter().take(room).cloned());
        let (ours, theirs) = (&mut self.audit, &other.audit);
        ours.keys += theirs.keys;
        ours.absent += theirs.absent;
        ours.stale += theirs.stale;
        ours.invented += theirs.invented;
        ours.corrupt += theirs.corrupt;
        ours.unread += theirs.unread;
        self.keys_redrawn += other.keys_redrawn;
        self.retries += other.retries;
        self.reconnects += other.reconnects;
        self.replies_late += other.replies_late;
        self.cpu_ns = match (self.cpu_ns, other.cpu_ns) {
            (Some(ours), Some(theirs)) => Some(ours + theirs),
            (ours, theirs) => ours.or(theirs),
        };
    }
}
