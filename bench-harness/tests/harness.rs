//! The harness from end to end, in seconds: installed servers are measured, missing ones are named, and no
//! file is left behind. If a server is missing, the test's last line says so. No figure is asserted: these
//! runs are too short to mean anything.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One run at a time: each takes the whole machine.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn harness(arguments: &[&str], dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench-harness"));
    command.args(arguments).arg("--dir").arg(dir).stdin(Stdio::null());
    command
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

/// Under CI everything the tests need is installed, and no check is skipped.
fn not_checked(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "this must be checked under CI: {why}");
    eprintln!("NOT CHECKED: {why}");
}

/// `cargo test --workspace` builds it beside the harness; a test run of this package alone does not.
fn synod_is_built() -> bool {
    let binary = PathBuf::from(env!("CARGO_BIN_EXE_bench-harness")).with_file_name("synod");
    let found = binary.exists();
    if !found {
        not_checked(&format!("{} is not built", binary.display()));
    }
    found
}

fn installed(program: &str, package: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        not_checked(&format!("{program} is not installed here (package {package})"));
    }
    found
}

#[test]
fn systems_that_are_there_are_measured_and_audited() {
    let _alone = alone();
    let base = tempfile::tempdir().expect("a directory");
    let (dir, json) = (base.path().join("data"), base.path().join("out.json"));
    let systems = if synod_is_built() { "synod,synod-resp,redis,redis-memory,etcd" } else { "redis,etcd" };
    let tiny = ["--rounds", "1", "--duration", "300ms", "--warmup", "100ms", "--keys", "300"];
    let output = harness(&["compare", "--systems", systems, "--connections", "6", "--inflight", "2"], &dir)
        .args(tiny)
        .arg("--json")
        .arg(&json)
        .output()
        .expect("runs");
    assert!(output.status.success(), "{}", text(&output));
    assert!(!dir.exists(), "the data is gone");

    let json = std::fs::read_to_string(json).expect("written");
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let found = json["systems"].as_array().expect("systems");
    assert_eq!(found.len(), systems.split(',').count());
    for system in found {
        let name = &system["system"];
        if system["absent"].is_string() {
            assert!(text(&output).contains("not installed (apt package"), "{name}");
            not_checked(&format!("{name}: {}", system["absent"]));
            continue;
        }
        let round = &system["rounds"][0]["Ok"];
        assert!(round["acked"].as_u64().is_some_and(|acked| acked > 300), "{name}: {round}");
        for phase in ["set", "get"] {
            assert!(round[phase]["per_s"].as_f64().is_some_and(|rate| rate > 0.0), "{name}: {round}");
        }
    }
}

#[test]
fn what_is_not_installed_is_named() {
    let base = tempfile::tempdir().expect("a directory");
    let dir = base.path().join("data");
    let absent = ["--redis-server", "no-such-redis", "--etcd", "no-such-etcd"];
    let output = harness(&["compare", "--systems", "redis,etcd"], &dir).args(absent).output().expect("runs");
    let text = text(&output);
    assert!(output.status.success(), "{text}");
    for package in ["redis-server", "etcd-server"] {
        assert!(text.contains(&format!("not installed (apt package {package})")), "{text}");
    }
    assert!(!dir.exists());
}

#[test]
fn a_missing_synod_is_refused_with_what_to_do() {
    let base = tempfile::tempdir().expect("a directory");
    for command in ["compare", "redis-benchmark"] {
        let output = harness(&[command, "--synod", "no/such/synod"], &base.path().join("data"))
            .output()
            .expect("runs");
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        assert!(text(&output).contains("no/such/synod: build it with `cargo build"), "{}", text(&output));
    }
}

#[test]
fn loads_that_cannot_be_are_refused() {
    let base = tempfile::tempdir().expect("a directory");
    let dir = base.path().join("data");
    for bad in [["--keys", "100"], ["--value-size", "7"], ["--duration", "0s"], ["--connections", "5000"]] {
        let output = harness(&["compare"], &dir).args(bad).output().expect("runs");
        assert_eq!(output.status.code(), Some(2), "{bad:?}: {}", text(&output));
    }
    assert!(!dir.exists());
}

#[test]
fn redis_benchmark_is_run_in_every_way() {
    if !installed("redis-benchmark", "redis-tools") || !synod_is_built() {
        return;
    }
    let _alone = alone();
    let base = tempfile::tempdir().expect("a directory");
    let dir = base.path().join("data");
    let tiny = ["--rounds", "1", "--writes", "600", "--reads", "600", "--key-space", "100", "--clients", "6"];
    let output = harness(&["redis-benchmark"], &dir).args(tiny).output().expect("runs");
    let text = text(&output);
    if text.contains("Invalid cluster") {
        eprintln!("NOT CHECKED: redis-benchmark --cluster: all groups happen to be led by one node");
        return;
    }
    assert!(output.status.success(), "{text}");
    for row in ["SET -P 1, Synod", "GET -P 1, Synod", "SET -P 16, Synod", "GET -P 16, Synod"] {
        assert_eq!(text.matches(&format!("| {row}")).count(), 2, "{row}: {text}");
    }
    if installed("redis-server", "redis-server") {
        assert!(text.contains("met |") || text.contains("MISSED |"), "{text}");
    }
    assert!(!dir.exists(), "the data is gone");
}

#[test]
fn a_signal_ends_the_run_and_leaves_nothing() {
    if !installed("redis-server", "redis-server") {
        return;
    }
    let _alone = alone();
    let base = tempfile::tempdir().expect("a directory");
    let dir = base.path().join("data");
    let mut child = harness(&["compare", "--systems", "redis", "--duration", "60s"], &dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("runs");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    assert!(lines.by_ref().any(|line| line.expect("text").starts_with("round 1 of 3")), "it began");
    // The child is not waited for yet, so its process id cannot belong to another process.
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).expect("it runs");
    assert_eq!(child.wait().expect("ends").code(), Some(1));
    assert!(!dir.exists(), "the data is gone, and so is the server that held it");
}
