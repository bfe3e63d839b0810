//! A run ends within its bounds and reports what it measured, no matter what happens to the cluster or to the
//! generator itself.

use super::*;
use crate::client::fault::{self, Fault};
use crate::fake::Trouble;

/// Far above the bounds of these runs, as the machine may be busy.
const FAR: Duration = Duration::from_secs(90);

/// A run whose cluster gets into trouble half-way and stays in it.
fn ends_in(trouble: Trouble, kind: &str) {
    let mut servers = FakeServers::start(2, 4, 20);
    let told = Options {
        rate: Some(500),
        duration: Duration::from_millis(2500),
        read_share: Some(0.5),
        connections: 4,
        keys: 40,
        timeout: Duration::from_secs(1),
        stall: Duration::from_millis(300),
        patience: Duration::from_secs(2),
        ..options(&servers)
    };
    let (begun, mut audited) = (Instant::now(), false);
    let report = run(&told, &mut |progress| {
        audited |= progress.phase == Phase::Audit;
        if progress.phase == Phase::Mixed {
            servers.bring(trouble);
        }
    })
    .expect("what was measured is told");
    assert!(begun.elapsed() < FAR, "{:?}", begun.elapsed());
    assert_eq!(report.unfinished, Vec::<String>::new());
    let sum = |count: fn(&OperationReport) -> u64| report.operations.values().map(count).sum::<u64>();
    assert_eq!(sum(|op| op.offered), 1250, "the schedule does not wait");
    assert_eq!(sum(|op| op.achieved + op.errors + op.unknown), 1250, "every operation has an end");
    assert!(sum(|op| op.achieved) > 0 && sum(|op| op.errors) > 0, "{:?}", report.operations);
    assert!(report.error_kinds.contains_key(kind), "{:?}", report.error_kinds);
    assert_eq!(report.verify_failures, 0, "{:?}", report.findings);
    let audit = report.audit.as_ref().expect("asked for");
    assert_eq!((audit.keys, audit.missing, audit.unread), (40, 0, 40), "what cannot be read is not missing");
    assert!(audited && !report.passed());
    assert!(report.table().contains("40 could not be read"), "{}", report.table());
}

#[test]
fn a_cluster_that_neither_reads_nor_answers() {
    ends_in(Trouble::Deaf, "connection silent");
}

#[test]
fn answers_that_end_in_the_middle_of_a_frame() {
    ends_in(Trouble::HalfFrame, "connection silent");
}

#[test]
fn connections_that_break_when_the_request_is_done_and_the_answer_half_sent() {
    ends_in(Trouble::HangUp, "connection lost");
}

#[test]
fn connections_that_are_never_made() {
    ends_in(Trouble::Unreachable, "not connected");
}

/// A run with `threads` threads, of which `thread` has the fault in the first measured phase.
fn ends_without(thread: u32, threads: u32, kind: Fault) -> Report {
    let servers = FakeServers::start(2, 4, 21);
    let told = Options { threads, duration: Duration::from_millis(2500), ..options(&servers) };
    fault::order(thread, kind);
    let begun = Instant::now();
    let report = quietly(&told);
    assert!(begun.elapsed() < FAR, "{:?}", begun.elapsed());
    assert!(
        !report.passed() && report.is_sound() == (report.audit.as_ref().is_some_and(AuditReport::passed))
    );
    assert_eq!(report.operations.keys().collect::<Vec<_>>(), ["write"], "no load after it");
    let [what] = &report.unfinished[..] else { panic!("one thread is missing: {:?}", report.unfinished) };
    assert!(what.contains(&format!("generator thread {thread} ")), "{what}");
    assert!(report.table().contains(&format!("UNFINISHED {what}")), "{}", report.table());
    let json: Report = serde_json::from_str(&report.json()).expect("what was written");
    assert_eq!(json.unfinished, report.unfinished);
    report
}

#[test]
fn a_generator_thread_that_stands_still_is_left_behind() {
    let report = ends_without(1, 2, Fault::StandStill);
    assert!(report.unfinished[0].contains("did not end within the bounds of the run (load)"), "{report:?}");
    let write = &report.operations["write"];
    // All operations of one thread, and those of a second or two of the other.
    assert!(write.achieved > 1400 && write.achieved < 2500, "{write:?}");
    let audit = report.audit.as_ref().expect("asked for");
    assert_eq!((audit.keys, audit.missing, audit.unread), (300, 0, 150), "the other half is audited");
}

#[test]
fn the_only_generator_thread_stands_still() {
    let report = ends_without(0, 1, Fault::StandStill);
    let write = &report.operations["write"];
    assert!(write.achieved > 500 && write.p50_us > 0 && write.achieved_per_s > 300.0, "{write:?}");
    assert!(!write.seconds.is_empty());
    assert_eq!(report.audit.as_ref().map(|audit| (audit.keys, audit.unread)), Some((300, 300)));
}

#[test]
fn a_generator_thread_that_panics_is_missed_at_once() {
    let report = ends_without(1, 2, Fault::Panic);
    assert!(report.unfinished[0].contains("broke off"), "{report:?}");
    assert!(report.operations["write"].achieved > 1400);
    assert_eq!(report.audit.as_ref().map(|audit| (audit.keys, audit.unread)), Some((300, 150)));
}
