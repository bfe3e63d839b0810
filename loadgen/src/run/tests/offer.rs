//! The probe against real sockets: a slow target lowers the offer, a fast one does not, and its writes are
//! audited like all others.

use super::*;
use crate::offer::{HOLD_SHARE, OFFER_LEAST};

/// Runs with this usual rate instead of the one that the program has.
fn run_with_usual(options: &Options, usual_rate: u64) -> (Report, Vec<Progress>) {
    let mut lines = Vec::new();
    let course = Course { usual_rate, with_audit: true };
    let done = perform(options, &Stop::default(), course, &mut |progress| lines.push(progress.clone()));
    (done.expect("the run can be done").0, lines)
}

fn unnamed(servers: &FakeServers) -> Options {
    Options { rate: None, ..options(servers) }
}

#[test]
fn a_slow_target_is_offered_what_it_holds() {
    // One request at a time over one connection, each answered after 5 ms: at most 200 per second.
    let servers = FakeServers::start(1, 1, 21);
    servers.set_faults(Faults { delay_ms: 5, ..Faults::default() });
    let dir = tempfile::tempdir().expect("a temporary directory");
    let told = Options {
        connections: 1,
        inflight: 1,
        keys: 20,
        data_dir: Some(dir.path().to_owned()),
        ..unnamed(&servers)
    };
    let mut lines = Vec::new();
    let report = run(&told, &mut |progress| lines.push(progress.clone())).expect("the run can be done");
    let probe = report.probe.as_ref().expect("no rate was named");
    assert!(probe.achieved_per_s > 0.0 && probe.achieved_per_s <= 210.0, "{probe:?}");
    assert_eq!((probe.phase.as_str(), probe.seconds, probe.errors), ("write", 1.5, 0));
    assert!(probe.host.processor_busy.is_some_and(|share| (0.0..=1.0).contains(&share)), "{probe:?}");
    let offered = report.offered_rate.expect("an open loop");
    assert_eq!(report.asked_rate, Some(20_000));
    assert!((OFFER_LEAST..200).contains(&offered));
    assert!(offered == OFFER_LEAST || offered as f64 <= probe.achieved_per_s * HOLD_SHARE);
    assert!(report.is_lowered());
    for operation in report.operations.values() {
        assert!((operation.offered_per_s / offered as f64 - 1.0).abs() < 0.1, "{operation:?} of {offered}");
    }
    let notes: Vec<_> = lines.iter().filter_map(|line| line.note.clone()).collect();
    assert_eq!(notes, [report.probe_line().expect("probed")], "it is said once, in one line");
    assert!(
        notes[0].contains("20000/s cannot be held") && notes[0].contains("--rate 20000 forces"),
        "{notes:?}"
    );
    let audit = report.audit.as_ref().expect("asked for");
    assert!(report.passed() && audit.missing == 0, "{:?}", report.findings);
    let probed = (probe.achieved_per_s * probe.seconds).round() as u64;
    let known = u64::from(told.keys) + probed + report.operations["write"].achieved;
    assert!(audit.acked >= known, "the writes of the probe are in the ledger: {audit:?}, {probed}");
    let json: Report = serde_json::from_str(&report.json()).expect("what was written");
    assert_eq!((json.asked_rate, json.offered_rate), (Some(20_000), Some(offered)));
    let written = json.probe.expect("there was one").achieved_per_s;
    assert!((written - probe.achieved_per_s).abs() < 1e-6, "{written}");
}

#[test]
fn a_target_that_is_fast_enough_is_offered_what_is_usual() {
    let servers = FakeServers::start(3, 4, 22);
    // As low as this, so that the machine that runs the test need not be fast.
    let (report, lines) = run_with_usual(&Options { keys: 300, ..unnamed(&servers) }, 20);
    let probe = report.probe.as_ref().expect("no rate was named");
    assert!(probe.achieved_per_s > 40.0, "{probe:?}");
    assert_eq!((report.asked_rate, report.offered_rate, report.is_lowered()), (Some(20), Some(20), false));
    assert!(report.probe_line().expect("probed").ends_with("; 20/s are offered"));
    assert!(lines.iter().any(|line| line.phase == Phase::Probe));
    assert!(report.operations["write"].seconds.iter().all(|second| second.offered_per_s < 100.0));
    assert_eq!(report.operations.keys().collect::<Vec<_>>(), ["read", "write"]);
    assert!(report.passed(), "{:?}", report.findings);
}

#[test]
fn the_probe_has_the_mix_of_the_load_and_no_part_in_the_interval_log() {
    let servers = FakeServers::start(2, 4, 23);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("run.hlog");
    let told =
        Options { hdr: Some(path.clone()), workload: Some(crate::workload::Ycsb::D), ..unnamed(&servers) };
    let (report, _) = run_with_usual(&told, 20);
    assert_eq!(report.probe.as_ref().map(|probe| probe.phase.as_str()), Some("mixed"));
    assert!(report.passed(), "{:?}", report.findings);
    let log = std::fs::read_to_string(&path).expect("it was written");
    let first = log.lines().find(|line| line.starts_with("Tag=")).expect("the load is in it");
    let start_s: f64 = first.split(',').nth(1).expect("a start").parse().expect("a number");
    assert!(start_s >= 1.8, "the probe of 1.8 s comes first, and is not in it: {first}");
}

#[test]
fn a_named_rate_is_offered_without_a_probe() {
    let servers = FakeServers::start(1, 1, 24);
    let named = quietly(&Options { rate: Some(500), ..options(&servers) });
    assert_eq!((named.asked_rate, named.offered_rate, named.probe), (Some(500), Some(500), None));
    let (unprobed, _) = run_with_usual(&Options { no_probe: true, ..unnamed(&servers) }, 300);
    assert_eq!((unprobed.asked_rate, unprobed.offered_rate, unprobed.probe), (Some(300), Some(300), None));
    let closed = quietly(&Options { closed: true, ..unnamed(&servers) });
    assert_eq!((closed.asked_rate, closed.offered_rate, closed.probe), (None, None, None));
    assert_eq!(closed.generator.lateness, None);
}

#[test]
fn a_run_that_is_stopped_in_its_probe_offers_nothing_and_is_audited() {
    let servers = FakeServers::start(1, 2, 25);
    let stop = Stop::default();
    let course = Course { usual_rate: 20, with_audit: true };
    let done = perform(&unnamed(&servers), &stop, course, &mut |progress| {
        if progress.phase == Phase::Probe {
            stop.stop();
        }
    });
    let report = done.expect("the run can be done").0;
    assert_eq!((report.offered_rate, report.probe), (None, None));
    assert!(report.operations.is_empty());
    assert_eq!(report.audit.map(|audit| (audit.keys, audit.missing)), Some((300, 0)));
}

#[test]
fn what_is_lost_in_the_probe_fails_the_audit() {
    let servers = FakeServers::start(1, 1, 26);
    let course = Course { usual_rate: 20, with_audit: true };
    let told = Options { workload: Some(crate::workload::Ycsb::F), ..unnamed(&servers) };
    // Each key is written once before the probe; all that the probe writes is lost, however slow it is.
    servers.set_faults(Faults { lose_after: u64::from(told.keys), ..Faults::default() });
    let done = perform(&told, &Stop::default(), course, &mut |progress| {
        // With the note the probe has ended: the load after it is executed.
        if progress.note.is_some() {
            servers.set_faults(Faults::default());
        }
    });
    let report = done.expect("the run can be done").0;
    assert!(!report.passed(), "{:?}", report.findings);
    assert!(report.probe.is_some());
}
