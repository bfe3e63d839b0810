//! Tests of the names in the JSON, the words in the table, and when a run has passed.

use super::*;
use serde_json::Value;

fn sample() -> Report {
    let mut write = OperationReport { offered: 300_000, achieved: 300_000, ..OperationReport::default() };
    let mut latencies = Latencies::default();
    (1..=1000).for_each(|us| latencies.record_ns(us * 1000));
    write.set_latencies(&latencies);
    Report {
        schema: 1,
        operations: BTreeMap::from([("write".to_owned(), write)]),
        audit: Some(AuditReport { keys: 3, acked: 4, ..AuditReport::default() }),
        leader_changes: Some(0),
        cpu: "a processor x 2".into(),
        kernel: "6.18".into(),
        filesystem: "ext4".into(),
        durability: "sync".into(),
        ..Report::default()
    }
}

#[test]
fn the_json_fields_have_the_promised_names() {
    let json: Value = serde_json::from_str(&sample().json()).expect("valid JSON");
    let names = |value: &Value| value.as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
    let mut expected = vec![
        "offered",
        "achieved",
        "offered_per_s",
        "achieved_per_s",
        "p50_us",
        "p90_us",
        "p99_us",
        "p999_us",
        "max_us",
        "errors",
        "unknown",
        "verify_failures",
        "percentiles",
        "seconds",
    ];
    expected.sort_unstable();
    assert_eq!(names(&json["operations"]["write"]), expected);
    let mut expected = vec!["keys", "acked", "missing", "absent", "stale", "invented", "corrupt", "unread"];
    expected.sort_unstable();
    assert_eq!(names(&json["audit"]), expected);
    let mut expected = vec![
        "schema",
        "operations",
        "find_max",
        "audit",
        "leader_changes",
        "cpu",
        "kernel",
        "filesystem",
        "durability",
        "error_kinds",
        "verify_failures",
        "findings",
        "unfinished",
        "generator",
        "options",
    ];
    expected.sort_unstable();
    assert_eq!(names(&json), expected);
    assert_eq!(json["audit"]["missing"], 0);
    assert_eq!(json["leader_changes"], 0);
    assert_eq!(json["operations"]["write"]["p999_us"], 999);
    assert_eq!(json["operations"]["write"]["max_us"], 1000);
    assert_eq!(serde_json::from_value::<Report>(json).expect("what was written"), sample());
}

#[test]
fn a_run_passes_only_when_nothing_is_wrong() {
    assert!(sample().passed());
    let fails = |change: &dyn Fn(&mut Report)| {
        let mut report = sample();
        change(&mut report);
        assert!(!report.passed());
    };
    fails(&|report| report.verify_failures = 1);
    fails(&|report| report.audit.as_mut().expect("there").missing = 1);
    fails(&|report| report.audit.as_mut().expect("there").unread = 1);
    fails(&|report| report.unfinished.push("thread 0".into()));
    let unaudited = Report { audit: None, ..sample() };
    assert!(unaudited.passed());
}

#[test]
fn the_table_says_it_plainly() {
    let text = sample().table();
    assert!(text.contains("audit   passed: 3 keys read back, 4 acknowledged writes, 0 missing"), "{text}");
    let mut bad = sample();
    bad.audit = Some(AuditReport { missing: 2, absent: 2, ..AuditReport::default() });
    bad.findings.push("key 7 is gone".into());
    assert!(bad.table().contains("audit   FAILED"));
    assert!(bad.table().contains("FOUND key 7 is gone"));
    assert!(!bad.table().contains("WARNING"));
    assert!(!bad.table().contains("UNFINISHED"));
    bad.unfinished.push("thread 1 stands still".into());
    assert!(bad.table().contains("UNFINISHED thread 1 stands still"));
    bad.generator.warning = Some("too slow".into());
    assert!(bad.table().contains("WARNING too slow"));
}

#[test]
fn a_progress_line_names_trouble_only_when_there_is_some() {
    let quiet = Progress {
        phase: Phase::Write,
        elapsed_s: 3.0,
        offered_per_s: 20_000.0,
        achieved_per_s: 19_999.0,
        p50_us: 412,
        p99_us: 12_345,
        errors: 0,
        unknown: 0,
        verify_failures: 0,
        outstanding: 9,
        note: None,
    };
    assert_eq!(
        quiet.line(),
        "write       3s  offered    20000/s  achieved    19999/s  p50  0.412 ms  p99   12.3 ms  errors 0"
    );
    let loud = Progress { unknown: 2, verify_failures: 1, ..quiet };
    assert!(loud.line().ends_with("errors 0  unknown 2  VERIFY FAILURES 1"));
}
