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
        "asked_rate",
        "offered_rate",
        "probe",
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
fn the_probe_is_in_the_json_and_in_the_table() {
    let plain = sample();
    assert_eq!((plain.probe_line(), plain.is_lowered()), (None, false));
    let probe = ProbeReport { phase: "write".into(), achieved_per_s: 8_434.0, ..ProbeReport::default() };
    let report =
        Report { asked_rate: Some(20_000), offered_rate: Some(6_300), probe: Some(probe), ..sample() };
    assert!(report.is_lowered());
    let text = report.table();
    assert!(text.contains("answers 8434 writes/s now") && text.contains("6300/s are offered"), "{text}");
    let json: Value = serde_json::from_str(&report.json()).expect("valid JSON");
    assert_eq!((&json["asked_rate"], &json["offered_rate"]), (&20_000.into(), &6_300.into()));
    assert_eq!(json["probe"]["achieved_per_s"], 8_434.0);
    assert_eq!(json["probe"]["limit"], "unknown");
    let names = json["probe"]["host"].as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
    let expected = ["disk_busy", "disk_flush_us", "disk_write_us"].map(str::to_owned);
    assert_eq!(names[..3], expected);
    assert_eq!(serde_json::from_value::<Report>(json).expect("what was written"), report);
}

#[test]
fn a_report_of_before_the_probe_is_still_read() {
    let mut json: Value = serde_json::from_str(&sample().json()).expect("valid JSON");
    let fields = json.as_object_mut().expect("an object");
    for name in ["asked_rate", "offered_rate", "probe"] {
        fields.remove(name);
    }
    fields["options"]["rate"] = 20_000.into();
    for name in ["no_probe", "floor"] {
        fields["options"].as_object_mut().expect("an object").remove(name);
    }
    let report: Report = serde_json::from_value(json).expect("it is read");
    assert_eq!((report.options.rate, report.offered_rate), (Some(20_000), None));
}

#[test]
fn a_noisy_host_is_named_by_the_report() {
    assert_eq!(sample().noise(), None);
    let search = SearchReport { noise: Some("p99 was 1 ms and 9 ms".into()), ..SearchReport::default() };
    let report = Report { find_max: vec![SearchReport::default(), search], ..sample() };
    assert_eq!(report.noise(), Some("p99 was 1 ms and 9 ms"));
    assert!(report.table().contains("host too noisy: p99 was 1 ms and 9 ms"), "{}", report.table());
    assert!(report.passed(), "nothing was lost");
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
    bad.generator.lateness = Some("late".into());
    assert!(bad.table().contains("WARNING too slow"));
    assert!(bad.table().contains("WARNING late"));
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
