//! A run from end to end: find the cluster, preload, load, audit, report.

mod find;
mod probe;
#[cfg(test)]
mod tests;

use crate::clock::{monotonic_ns, nanos};
use crate::control::{self, Cluster};
use crate::driver::{Measured, Order, Pace, Tally};
use crate::environment;
use crate::error::LoadError;
use crate::fleet::{Fleet, HEAD_START, Remains, Stop};
use crate::ledger::Ledger;
use crate::offer::{Offer, RATE_USUAL, offer};
use crate::options::Options;
use crate::phase::Phase;
use crate::random::mix;
use crate::report::{AuditReport, GeneratorReport, OperationReport, Progress, Report};
use crate::saturation::{self, Lateness};
use crate::share::keys_of_thread;
use crate::workload::Kind;
use find::Found;
use std::time::Duration;

/// What is known about every key after a load; input of a later audit.
#[derive(Debug)]
pub struct Evidence {
    run: u64,
    ledgers: Vec<Ledger>,
    /// The number of keys of generator threads that did not end: nothing is known about these keys, so an
    /// audit cannot pass.
    lost_keys: u64,
}

impl Evidence {
    /// Writes that were acknowledged.
    pub fn acked(&self) -> u64 {
        self.ledgers.iter().map(Ledger::acked).sum()
    }
    /// Writes whose outcome stayed unknown.
    pub fn unknown(&self) -> u64 {
        self.ledgers.iter().map(Ledger::unknown).sum()
    }
}

/// Runs everything: preload of every key, the probe if no rate is named, warm-up, the measured phases, and the
/// audit.
///
/// `progress` is called about once a second on the caller's thread. The run always ends within its bounds,
/// regardless of the cluster. If a generator thread does not end, or dies, the report covers what was
/// measured until then and says so ([`Report::unfinished`]).
///
/// # Errors
/// [`LoadError`] when the run could not be done. Faults that a completed run found are in the report, not an
/// error.
pub fn run(options: &Options, progress: &mut dyn FnMut(&Progress)) -> Result<Report, LoadError> {
    run_until(options, &Stop::default(), progress)
}

/// Like [`run`], but `stop` can end the load early; the audit still runs.
///
/// # Errors
/// As [`run`].
pub fn run_until(
    options: &Options,
    stop: &Stop,
    progress: &mut dyn FnMut(&Progress),
) -> Result<Report, LoadError> {
    let course = Course { usual_rate: RATE_USUAL, with_audit: !options.no_audit };
    let (report, _) = perform(options, stop, course, progress)?;
    Ok(report)
}

/// Like [`run_until`], but without the audit, which [`audit`] can do later: for tests that do something to
/// the cluster in between.
///
/// # Errors
/// As [`run`].
pub fn load(
    options: &Options,
    stop: &Stop,
    progress: &mut dyn FnMut(&Progress),
) -> Result<(Report, Evidence), LoadError> {
    perform(options, stop, Course { usual_rate: RATE_USUAL, with_audit: false }, progress)
}

/// Reads every key of `evidence` back and checks it. The result is added to `report`, as if the audit had
/// been part of its run.
///
/// # Errors
/// As [`run`].
pub fn audit(
    options: &Options,
    evidence: Evidence,
    report: &mut Report,
    progress: &mut dyn FnMut(&Progress),
) -> Result<Evidence, LoadError> {
    options.check()?;
    let acked = evidence.acked();
    let run = evidence.run;
    let cluster = Cluster::find(options)?;
    let mut fleet = Fleet::start(options, &cluster, run, evidence.ledgers, &Stop::default())?;
    let done = perform_open(options, &mut fleet, progress)
        .and_then(|()| perform_audit(options, &mut fleet, progress));
    let Remains { tally, ledgers, lost_keys, unfinished } = fleet.end();
    done?;
    let evidence = Evidence { run, ledgers, lost_keys: evidence.lost_keys + lost_keys };
    report.unfinished.extend(unfinished);
    set_audit(report, &tally, acked, evidence.lost_keys);
    Ok(evidence)
}

/// What the options do not say about a run.
#[derive(Clone, Copy)]
struct Course {
    /// The rate that is wanted if none is named.
    usual_rate: u64,
    with_audit: bool,
}

fn perform(
    options: &Options,
    stop: &Stop,
    course: Course,
    progress: &mut dyn FnMut(&Progress),
) -> Result<(Report, Evidence), LoadError> {
    options.check()?;
    if let Some(history) = &options.history {
        // A history covers one run: the file of an earlier run is emptied.
        let emptied = std::fs::File::create(history);
        emptied
            .map_err(|source| LoadError::File { what: format!("history {}", history.display()), source })?;
    }
    let cluster = Cluster::find(options)?;
    let before = cluster.statuses(options.password.as_ref());
    let run = mix(options.seed ^ mix(monotonic_ns()) ^ mix(u64::from(std::process::id())));
    let ledgers: Vec<_> =
        (0..options.threads).map(|thread| Ledger::new(keys_of_thread(options, thread))).collect();
    let mut fleet = Fleet::start(options, &cluster, run, ledgers, stop)?;
    let done = perform_parts(options, stop, course, &mut fleet, progress);
    let seconds = fleet.series().take();
    let Remains { tally, ledgers, lost_keys, unfinished } = fleet.end();
    let mut found = done?;
    found.seconds.extend(seconds);
    let after = cluster.statuses(options.password.as_ref());
    let evidence = Evidence { run, ledgers, lost_keys };
    let mut report = report_of(options, &tally, found);
    report.unfinished = unfinished;
    report.leader_changes = control::leader_changes(&before, &after);
    report.durability = options.durability.clone().unwrap_or_else(|| control::durability(&after));
    if course.with_audit {
        set_audit(&mut report, &tally, evidence.acked(), lost_keys);
    } else if evidence.acked() == 0 && report.unfinished.is_empty() {
        return Err(LoadError::Cluster("the cluster acknowledged no write at all".into()));
    }
    Ok((report, evidence))
}

fn perform_parts(
    options: &Options,
    stop: &Stop,
    course: Course,
    fleet: &mut Fleet<'_>,
    progress: &mut dyn FnMut(&Progress),
) -> Result<Found, LoadError> {
    perform_open(options, fleet, progress)?;
    let bound = all_keys_bound(options);
    let until_ns = monotonic_ns() + nanos(bound);
    fleet.perform(Order::Preload { until_ns }, bound, progress)?;
    let found = if options.find_max {
        find::perform(options, stop, fleet, progress)?
    } else {
        perform_phases(options, stop, course.usual_rate, fleet, progress)?
    };
    if course.with_audit {
        perform_audit(options, fleet, progress)?;
    }
    Ok(found)
}

/// The measured phases, after the probe if there is to be one.
fn perform_phases(
    options: &Options,
    stop: &Stop,
    usual_rate: u64,
    fleet: &mut Fleet<'_>,
    progress: &mut dyn FnMut(&Progress),
) -> Result<Found, LoadError> {
    let offer = perform_offer(options, stop, usual_rate, fleet, progress)?;
    let pace = match (options.closed, offer.offered) {
        (false, Some(rate_per_s)) => Pace::Open { rate_per_s },
        (true, _) => Pace::Closed,
        (false, None) => return Ok(Found { offer, ..Found::default() }),
    };
    let mut found = Found { offer, ..Found::default() };
    for mix in options.mixes() {
        // With fewer threads it would be a different load.
        if stop.is_wanted() || !fleet.is_whole() {
            break;
        }
        let start_ns = monotonic_ns() + nanos(HEAD_START);
        let measured_ns = start_ns + nanos(options.warmup);
        let end_ns = measured_ns + nanos(options.duration);
        let bound = HEAD_START + options.warmup + options.duration;
        let order = Order::Load { mix, pace, start_ns, measured_ns, end_ns };
        found.measured.follow(&fleet.perform(order, bound, progress)?);
    }
    Ok(found)
}

/// The rates of the measured phases: the one that is named, or what a probe says that the target holds.
fn perform_offer(
    options: &Options,
    stop: &Stop,
    usual_rate: u64,
    fleet: &mut Fleet<'_>,
    progress: &mut dyn FnMut(&Progress),
) -> Result<Offer, LoadError> {
    if options.closed {
        return Ok(Offer::default());
    }
    let asked = options.rate.unwrap_or(usual_rate);
    let first = options.mixes().first().copied().filter(|_| options.wants_probe());
    let Some(mix) = first else {
        return Ok(Offer { asked: Some(asked), offered: Some(asked), probe: None });
    };
    let probe = probe::perform(options, mix, fleet, progress)?;
    if stop.is_wanted() || !fleet.is_whole() {
        // It was cut short, or not all of its load was offered: it proves nothing, and no phase follows.
        return Ok(Offer { asked: Some(asked), offered: None, probe: None });
    }
    let offered = offer(asked, probe.achieved_per_s);
    progress(&Progress::note(Phase::Probe, probe.line(asked, offered)));
    Ok(Offer { asked: Some(asked), offered: Some(offered), probe: Some(probe) })
}

fn perform_open(
    options: &Options,
    fleet: &mut Fleet<'_>,
    progress: &mut dyn FnMut(&Progress),
) -> Result<(), LoadError> {
    let until_ns = monotonic_ns() + nanos(options.patience);
    fleet.perform(Order::Open { until_ns }, options.patience, progress).map(drop)
}

fn perform_audit(
    options: &Options,
    fleet: &mut Fleet<'_>,
    progress: &mut dyn FnMut(&Progress),
) -> Result<(), LoadError> {
    let bound = all_keys_bound(options);
    let until_ns = monotonic_ns() + nanos(bound);
    fleet.perform(Order::Audit { until_ns }, bound, progress).map(drop)
}

/// How long a pass over all keys may take: `patience`, plus a millisecond for each key.
fn all_keys_bound(options: &Options) -> Duration {
    options.patience + Duration::from_millis(u64::from(options.keys))
}

fn report_of(options: &Options, tally: &Tally, found: Found) -> Report {
    let Found { measured, mut seconds, searches, offer } = found;
    let own_late_p99_us = measured.own_late.quantile_us(0.99);
    let warning = saturation::warning(own_late_p99_us, measured.cpu_share);
    let mut report = Report {
        schema: 1,
        cpu: environment::cpu(),
        kernel: environment::kernel(),
        filesystem: options.data_dir.as_deref().map_or("unknown".into(), environment::filesystem),
        verify_failures: tally.verify_failures,
        findings: tally.findings.clone(),
        generator: GeneratorReport {
            late_p50_us: measured.late.quantile_us(0.5),
            late_p99_us: measured.late.quantile_us(0.99),
            late_max_us: measured.late.max_us(),
            own_late_p99_us,
            saturated: warning.is_some(),
            warning,
            // In the closed loop no time is planned.
            lateness: offer.asked.and_then(|_| lateness_of(&measured).warning()),
            cpu_share: measured.cpu_share,
            cpu_us_per_request: tally
                .cpu_ns
                .filter(|_| tally.load_requests > 0)
                .map(|cpu_ns| cpu_ns as f64 / 1e3 / tally.load_requests as f64),
            reconnects: tally.reconnects,
            keys_redrawn: tally.keys_redrawn,
            retries: tally.retries,
            replies_late: tally.replies_late,
        },
        find_max: searches,
        asked_rate: offer.asked,
        offered_rate: offer.offered,
        probe: offer.probe,
        options: Options { password: None, ..options.clone() },
        ..Report::default()
    };
    report.error_kinds = tally.error_kinds.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
    for kind in Kind::ALL {
        let (counted, span_ns) = (&measured.measured[kind.index()], measured.measured_ns[kind.index()]);
        if span_ns == 0 {
            continue;
        }
        let per_s = |count: u64| count as f64 * 1e9 / span_ns as f64;
        let mut operation = OperationReport {
            offered: counted.offered,
            achieved: counted.achieved,
            offered_per_s: per_s(counted.offered),
            achieved_per_s: per_s(counted.achieved_in_time),
            errors: counted.errors,
            unknown: counted.unknown,
            verify_failures: counted.verify_failures,
            ..OperationReport::default()
        };
        operation.set_latencies(&counted.latencies);
        operation.seconds = seconds.remove(kind.name()).unwrap_or_default();
        report.operations.insert(kind.name().to_owned(), operation);
    }
    report
}

fn lateness_of(measured: &Measured) -> Lateness {
    let answered = measured.measured.iter().filter(|kind| kind.latencies.count() > 0);
    let p99s_us: Vec<_> = answered.map(|kind| kind.latencies.quantile_us(0.99)).collect();
    Lateness {
        late_p99_us: measured.late.quantile_us(0.99),
        own_late_p99_us: measured.own_late.quantile_us(0.99),
        lowest_p99_us: p99s_us.iter().copied().min().unwrap_or(0),
        highest_p99_us: p99s_us.iter().copied().max().unwrap_or(0),
    }
}

fn set_audit(report: &mut Report, tally: &Tally, acked: u64, lost_keys: u64) {
    let found = tally.audit;
    let audit = AuditReport {
        keys: found.keys + lost_keys,
        acked,
        missing: found.missing(),
        absent: found.absent,
        stale: found.stale,
        invented: found.invented,
        corrupt: found.corrupt,
        unread: found.unread + lost_keys,
    };
    // The report of a load with an audit of its own has these findings already.
    let news = tally.findings.iter().filter(|finding| !report.findings.contains(finding)).cloned();
    let news: Vec<_> = news.collect();
    report.findings.extend(news);
    report.audit = Some(audit);
}
