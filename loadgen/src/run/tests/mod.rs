//! Whole runs over real sockets, against a fake cluster in threads.

mod admission;
mod noise;
mod offer;
mod trouble;

use super::*;
use crate::fake::{FakeResp, FakeServers, Faults, RespFaults};
use crate::options::{Protocol, Switch};
use crate::phase::Phase;
use std::collections::BTreeMap;
use std::io::Read;
use std::net::TcpListener;
use std::time::Instant;

fn options(servers: &FakeServers) -> Options {
    Options {
        target: servers.targets(),
        rate: Some(1000),
        duration: Duration::from_millis(600),
        warmup: Duration::from_millis(100),
        connections: 6,
        inflight: 16,
        value_size: 200.into(),
        keys: 300,
        timeout: Duration::from_secs(5),
        stall: Duration::from_secs(2),
        patience: Duration::from_secs(10),
        ..Options::default()
    }
}

fn quietly(options: &Options) -> Report {
    run(options, &mut |_| {}).expect("the run can be done")
}

#[test]
fn a_whole_run_over_sockets_passes_and_reports() {
    let servers = FakeServers::start(3, 4, 1);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let told = Options {
        duration: Duration::from_millis(1100),
        data_dir: Some(dir.path().to_owned()),
        ..options(&servers)
    };
    let mut lines = Vec::new();
    let report = run(&told, &mut |progress| lines.push(progress.clone())).expect("the run can be done");
    assert!(report.passed(), "{:?}", report.findings);
    assert_eq!(report.operations.keys().collect::<Vec<_>>(), ["read", "write"]);
    for operation in report.operations.values() {
        assert_eq!((operation.offered, operation.achieved, operation.errors), (1100, 1100, 0));
        assert!((operation.offered_per_s - 1000.0).abs() < 1.0);
        assert!(operation.p50_us > 0 && operation.p50_us <= operation.p99_us);
        assert!(operation.p99_us <= operation.max_us);
    }
    let audit = report.audit.as_ref().expect("asked for");
    assert_eq!((audit.keys, audit.missing, audit.unread), (300, 0, 0));
    assert!(audit.acked >= 300 + 1100);
    assert_eq!(report.leader_changes, Some(0));
    assert_eq!(report.durability, "sync");
    assert_ne!(report.filesystem, "");
    assert!(report.generator.cpu_us_per_request.is_none_or(|us| us > 0.0));
    assert!(lines.iter().any(|line| line.phase == Phase::Write && line.achieved_per_s > 500.0), "{lines:?}");
    assert!(lines.iter().any(|line| line.phase == Phase::Read));
    assert_eq!(servers.cluster().forwarded, 0, "every request goes straight to its leader");
    let json: Report = serde_json::from_str(&report.json()).expect("what was written");
    assert_eq!(json.options, told);
}

fn resp_options(server: &FakeResp) -> Options {
    Options {
        target: vec![server.target()],
        protocol: Protocol::Resp,
        rate: Some(1000),
        duration: Duration::from_millis(600),
        warmup: Duration::from_millis(100),
        connections: 4,
        inflight: 16,
        value_size: "40:1,300:1,5000:1".parse().expect("good"),
        keys: 200,
        timeout: Duration::from_secs(5),
        patience: Duration::from_secs(10),
        ..Options::default()
    }
}

#[test]
fn a_server_that_speaks_resp_is_loaded_and_audited() {
    let server = FakeResp::start(RespFaults::default());
    for workload in [None, Some(crate::workload::Ycsb::D), Some(crate::workload::Ycsb::F)] {
        let report = quietly(&Options { workload, ..resp_options(&server) });
        assert!(report.passed(), "{:?}", report.findings);
        assert!(report.operations.values().all(|operation| operation.achieved == operation.offered));
        let audit = report.audit.as_ref().expect("asked for");
        assert!(audit.keys >= 200 && audit.missing == 0 && audit.acked > 200);
        assert_eq!((report.leader_changes, report.durability.as_str()), (None, "unknown"));
    }
    assert!(server.key_count() > 200, "workload d inserts");
}

#[test]
fn a_resp_server_that_loses_or_spoils_is_found_out() {
    for (faults, word) in [
        (RespFaults { lose_write: 20, ..RespFaults::default() }, "overwritten before"),
        (RespFaults { corrupt_read: 50, ..RespFaults::default() }, "holds a value"),
    ] {
        let server = FakeResp::start(faults);
        let report = run(&resp_options(&server), &mut |progress| {
            server.set_trouble(progress.phase.is_measured());
        });
        server.set_trouble(true);
        let again = quietly(&Options { read_share: Some(0.5), ..resp_options(&server) });
        assert!(report.is_ok() && !again.passed(), "{:?}", again.findings);
        assert!(again.findings.iter().any(|finding| finding.contains(word)), "{:?}", again.findings);
    }
}

#[test]
fn trouble_with_a_resp_server_leaves_writes_unknown_and_is_no_violation() {
    let faults = RespFaults { break_connection: 97, refuse: 31, obscure: 41, ..RespFaults::default() };
    let server = FakeResp::start(faults);
    server.set_trouble(true);
    let report = quietly(&Options { read_share: Some(0.3), ..resp_options(&server) });
    assert_eq!(report.verify_failures, 0, "{:?}", report.findings);
    assert_eq!(report.audit.as_ref().map(|audit| audit.missing), Some(0), "{:?}", report.findings);
    let writes = &report.operations["write"];
    assert!(writes.unknown > 0 && writes.errors > 0, "{writes:?}");
    assert!(report.error_kinds.contains_key("error reply OOM"), "{:?}", report.error_kinds);
    assert!(report.generator.reconnects > 0);
}

#[test]
fn find_max_ends_below_what_the_cluster_can_do() {
    // One request at a time over one connection, each answered after 2 ms: at most 500 per second.
    let servers = FakeServers::start(1, 1, 12);
    servers.set_faults(Faults { delay_ms: 2, ..Faults::default() });
    let told = Options {
        find_max: true,
        // Wide, so that how quiet this machine is decides nothing: a rate fails because it is not achieved.
        slo: vec!["p50=2s".parse().expect("good")],
        step: Duration::from_millis(700),
        rate: Some(150),
        floor: 10,
        connections: 1,
        inflight: 1,
        keys: 20,
        read_share: Some(0.5),
        ..options(&servers)
    };
    let mut notes = Vec::new();
    let report =
        run(&told, &mut |progress| notes.extend(progress.note.clone())).expect("the run can be done");
    let [search] = &report.find_max[..] else { panic!("one mix, one search: {:?}", report.find_max) };
    let searched = search.steps.iter().filter(|step| !step.repeated);
    let rate = searched.filter(|step| step.held).map(|step| step.rate_per_s).max().expect("some rate holds");
    assert!(rate < 520, "{:?}", search.steps);
    assert_eq!(notes.len(), search.steps.len());
    assert!(search.steps.iter().any(|step| !step.held && !step.why.is_empty()));
    assert_eq!(search.steps.iter().filter(|step| step.repeated).count(), 2);
    // The machine that runs this test may be a noisy one.
    assert_eq!(search.rate_per_s, search.noise.is_none().then_some(rate), "{:?}", search.noise);
    let said = if search.noise.is_none() { "is the highest rate that holds p50=2000ms" } else { "too noisy" };
    assert!(report.table().contains(said), "{}", report.table());
    assert_eq!((report.asked_rate, report.offered_rate, &report.probe), (Some(150), None, &None));
    let offered: f64 = report.operations.values().map(|operation| operation.offered_per_s).sum();
    assert!(
        (offered / rate as f64 - 1.0).abs() < 0.05,
        "the table is that of the best step: {offered} {rate}"
    );
    assert!(report.passed(), "{:?}", report.findings);
}

#[test]
fn seconds_and_interval_log_tell_the_same_as_the_table() {
    let servers = FakeServers::start(2, 4, 11);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("run.hlog");
    let told = Options {
        duration: Duration::from_millis(2100),
        warmup: Duration::ZERO,
        hdr: Some(path.clone()),
        workload: Some(crate::workload::Ycsb::F),
        threads: 2,
        ..options(&servers)
    };
    let report = quietly(&told);
    assert_eq!(report.operations.keys().collect::<Vec<_>>(), ["read", "read_modify_write"]);
    let log = std::fs::read_to_string(&path).expect("it was written");
    for (name, operation) in &report.operations {
        let seconds = &operation.seconds;
        assert!(
            seconds.len() >= 2 && seconds.windows(2).all(|pair| pair[0].at_s < pair[1].at_s),
            "{seconds:?}"
        );
        assert!(seconds.iter().all(|second| second.achieved_per_s > 300.0 && second.p50_us <= second.p99_us));
        assert_eq!(operation.percentiles.last().map(|point| point.us), Some(operation.max_us));
        let lines = log.lines().filter(|line| line.starts_with(&format!("Tag={name},"))).count();
        assert!(lines >= 2, "{log}");
    }
    assert!(report.generator.cpu_share.is_none_or(|share| share > 0.0 && share <= 1.1));
}

#[test]
fn trouble_on_the_wire_loses_nothing_and_ends() {
    let servers = FakeServers::start(3, 4, 2);
    let told = Options { read_share: Some(0.5), ..options(&servers) };
    servers.set_faults(Faults { break_connection: 5, no_leader: 10, unknown: 10, ..Faults::default() });
    let report = quietly(&told);
    assert!(report.passed(), "{:?}", report.findings);
    assert!(report.generator.reconnects > 0 && report.generator.retries > 0);
    assert!(report.error_kinds.contains_key("connection lost"));
    let ends: u64 = report.operations.values().map(|op| op.achieved + op.errors + op.unknown).sum();
    let offered: u64 = report.operations.values().map(|op| op.offered).sum();
    assert_eq!(ends, offered);
    assert_eq!(report.operations["write"].unknown, 0, "sessions settle what a lost connection left open");
}

#[test]
fn a_cluster_that_loses_writes_fails_the_audit() {
    let servers = FakeServers::start(1, 1, 3);
    servers.set_faults(Faults { lose_write: 20, ..Faults::default() });
    let report = quietly(&options(&servers));
    assert!(!report.passed());
    let audit = report.audit.as_ref().expect("asked for");
    assert!(audit.missing > 0 && audit.missing == audit.absent + audit.stale);
    assert!(!report.findings.is_empty());
    assert!(report.table().contains("audit   FAILED"));
}

#[test]
fn wrong_bytes_are_a_verify_failure() {
    let servers = FakeServers::start(1, 1, 4);
    servers.set_faults(Faults { corrupt_read: 100, ..Faults::default() });
    let report = quietly(&Options { no_audit: true, ..options(&servers) });
    assert!(!report.passed());
    assert_eq!(report.audit, None);
    assert!(report.operations["read"].verify_failures > 0);
    assert_eq!(report.operations["write"].verify_failures, 0);
}

#[test]
fn what_happens_between_load_and_audit_is_found() {
    let servers = FakeServers::start(2, 2, 5);
    let told = options(&servers);
    let (mut report, evidence) = load(&told, &Stop::default(), &mut |_| {}).expect("the load can be done");
    assert_eq!(report.audit, None);
    let evidence = audit(&told, evidence, &mut report, &mut |_| {}).expect("the audit can be made");
    assert!(report.passed(), "{:?}", report.findings);
    servers.cluster().wipe();
    let evidence = audit(&told, evidence, &mut report, &mut |_| {}).expect("the audit can be made");
    assert!(!report.passed());
    let found = report.audit.as_ref().expect("made");
    assert_eq!((found.keys, found.missing, found.absent), (300, 300, 300));
    assert_eq!(found.acked, evidence.acked());
}

#[test]
fn a_node_that_dies_and_comes_back_is_survived() {
    let servers = FakeServers::start(3, 4, 6);
    let told = Options { duration: Duration::from_millis(3500), read_share: Some(0.2), ..options(&servers) };
    let mut step = 0;
    let report = run(&told, &mut |progress| {
        // The progress reports are the clock of this test: a node goes down one second into the load, and
        // comes back a second later.
        if progress.phase == Phase::Mixed {
            step += 1;
            match step {
                1 => {
                    servers.set_down(2, true);
                    let mut cluster = servers.cluster();
                    cluster.leaders.iter_mut().filter(|leader| **leader == 2).for_each(|leader| *leader = 1);
                    cluster.leader_changes += 1;
                }
                _ => servers.set_down(2, false),
            }
        }
    })
    .expect("the run can be done");
    assert!(step >= 2, "the load was long enough");
    assert!(report.passed(), "{:?}", report.findings);
    assert!(report.error_kinds.contains_key("connection lost"), "{:?}", report.error_kinds);
    assert_eq!(report.leader_changes, Some(4), "one in each of four groups");
    assert_eq!(report.operations["write"].unknown, 0);
}

#[test]
fn threads_share_the_work_and_the_verdict() {
    let servers = FakeServers::start(2, 4, 7);
    let told = Options { threads: 2, read_share: Some(0.5), ..options(&servers) };
    let report = quietly(&told);
    assert!(report.passed(), "{:?}", report.findings);
    assert_eq!(report.operations.values().map(|op| op.offered).sum::<u64>(), 600);
    assert_eq!(report.audit.as_ref().map(|audit| audit.keys), Some(300));
    let closed = Options { closed: true, rate: Some(0), sessions: Switch::Off, ..told };
    let report = quietly(&closed);
    assert!(report.passed(), "{:?}", report.findings);
    assert!(report.operations["write"].achieved > 100);
}

#[test]
fn a_target_that_does_not_answer_is_an_error_within_the_bounds() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("some port is free");
    let target = listener.local_addr().expect("a listener has an address").to_string();
    drop(listener);
    let told =
        Options { target: vec![target.clone()], patience: Duration::from_millis(300), ..Options::default() };
    let begun = Instant::now();
    let error = run(&told, &mut |_| {}).expect_err("no server is there");
    assert!(matches!(&error, LoadError::Cluster(text) if text.contains(&target)), "{error}");
    assert_eq!(error.exit_code(), 1);
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[test]
fn somebody_else_there_is_an_error_that_says_so() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("some port is free");
    let target = listener.local_addr().expect("a listener has an address").to_string();
    let stranger = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("the generator comes");
        let mut taken = [0; 8];
        stream.read_exact(&mut taken).expect("it says what it speaks");
        std::io::Write::write_all(&mut stream, b"-ERR unknown command\r\n and a good deal more")
            .expect("it listens");
    });
    let told = Options { target: vec![target], patience: Duration::from_millis(40), ..Options::default() };
    let error = run(&told, &mut |_| {}).expect_err("a stranger is there");
    assert!(error.to_string().contains("frame length"), "{error}");
    stranger.join().expect("the stranger has done its part");
}

#[test]
fn stopping_early_still_audits() {
    let servers = FakeServers::start(1, 2, 8);
    let told = Options { duration: Duration::from_secs(3600), ..options(&servers) };
    let stop = Stop::default();
    let report = run_until(&told, &stop, &mut |progress| {
        if progress.phase == Phase::Write {
            stop.stop();
        }
    })
    .expect("the run can be done");
    assert!(report.passed());
    assert_eq!(report.operations.keys().collect::<Vec<_>>(), ["write"]);
    assert_eq!(report.audit.as_ref().map(|audit| audit.keys), Some(300));
    assert!((report.operations["write"].offered_per_s - 1000.0).abs() < 10.0, "over the time it really had");
}

#[test]
fn the_history_tells_every_operation() {
    let servers = FakeServers::start(2, 2, 9);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("history.jsonl");
    std::fs::write(&path, "left by another run\n").expect("a file can be written");
    let told = Options { read_share: Some(0.5), history: Some(path.clone()), ..options(&servers) };
    servers.set_faults(Faults { break_connection: 5, busy: 20, ..Faults::default() });
    let report = quietly(&told);
    assert!(report.passed(), "{:?}", report.findings);
    let text = std::fs::read_to_string(&path).expect("it was written");
    let mut counts = BTreeMap::<String, u64>::new();
    for line in text.lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect("each line is JSON");
        let word = |name: &str| line[name].as_str().expect("a word").to_owned();
        *counts.entry(format!("{} {}", word("op"), word("outcome"))).or_default() += 1;
        assert!(line["invoke"].as_u64().expect("a time") > 0);
    }
    let audit = report.audit.as_ref().expect("asked for");
    assert_eq!(counts["write ok"], audit.acked);
    assert!(counts["write fail"] > 0, "busy is a refusal");
    assert!(counts["read ok"] >= audit.keys);
}

#[test]
fn a_history_that_cannot_be_written_is_an_error() {
    let servers = FakeServers::start(1, 1, 10);
    let told = Options { history: Some("/nonexistent/history.jsonl".into()), ..options(&servers) };
    let error = run(&told, &mut |_| {}).expect_err("there is no such directory");
    assert!(error.to_string().contains("/nonexistent/history.jsonl"), "{error}");
}
