//! The command line of `loadgen`: exit statuses and messages.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Output};
use synod_net::binary::{FailureCode, HEADER_BYTES, PREAMBLE, encode_failure};

fn loadgen(arguments: &[&str]) -> Output {
    loadgen_with(None, arguments)
}

fn loadgen_with(password: Option<&str>, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
    command.args(arguments).env_remove("SYNOD_PASSWORD");
    if let Some(password) = password {
        command.env("SYNOD_PASSWORD", password);
    }
    command.output().expect("the program can be started")
}

fn refused(arguments: &[&str], word: &str) {
    let output = loadgen(arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
    assert!(said.contains(word), "{arguments:?} was refused without the word {word}: {said}");
    assert!(output.stdout.is_empty(), "nothing was begun");
}

#[test]
fn what_cannot_be_is_refused_in_a_sentence() {
    refused(&[], "--target");
    refused(&["--target", "nowhere"], "host:port");
    refused(&["--target", "localhost:1", "--rate", "0"], "--rate");
    refused(&["--target", "localhost:1", "--rate", "many"], "--rate");
    refused(&["--target", "localhost:1", "--value-size", "8"], "--value-size");
    refused(&["--target", "localhost:1", "--value-size", "uniform:8:100"], "40..=");
    refused(&["--target", "localhost:1", "--value-size", "large"], "zipfian:A:B");
    refused(&["--target", "localhost:1", "--keys-dist", "pareto"], "hotspot");
    refused(&["--target", "localhost:1", "--workload", "e"], "--workload");
    refused(&["--target", "localhost:1", "--workload", "a", "--read-share", "0.5"], "--read-share");
    refused(&["--target", "localhost:1", "--find-max"], "--slo");
    refused(&["--target", "localhost:1", "--find-max", "--slo", "p98=1ms"], "p999");
    refused(&["--target", "localhost:1", "--find-max", "--slo", "p99=1ms", "--floor", "30000"], "--floor");
    refused(&["--target", "localhost:1", "--read-share", "2"], "--read-share");
    refused(&["--target", "localhost:1", "--duration", "soon"], "--duration");
    refused(&["--target", "localhost:1", "--sessions", "maybe"], "--sessions");
    refused(&["--frobnicate"], "--frobnicate");
}

#[test]
fn help_names_every_flag_and_is_no_error() {
    let output = loadgen(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    let said = String::from_utf8_lossy(&output.stdout);
    let flags = [
        "--target",
        "--rate",
        "--arrivals",
        "--duration",
        "--warmup",
        "--connections",
        "--inflight",
        "--closed",
        "--value-size",
        "--read-share",
        "--workload",
        "--keys-dist",
        "--keys",
        "--sessions",
        "--no-audit",
        "--seed",
        "--threads",
        "--timeout",
        "--stall",
        "--patience",
        "--json",
        "--history",
        "--hdr",
        "--html",
        "--protocol",
        "--find-max",
        "--slo",
        "--step",
        "--floor",
        "--no-probe",
    ];
    for flag in flags {
        assert!(said.contains(flag), "{flag} is missing");
    }
}

#[test]
fn reports_are_compared_and_limits_are_exit_statuses() {
    use synod_loadgen::{OperationReport, Report, SecondReport};
    let dir = tempfile::tempdir().expect("a temporary directory");
    let write = |name: &str, p99_us: u64| {
        let second = |at: u32| SecondReport {
            at_s: f64::from(at),
            achieved_per_s: 100.0,
            offered_per_s: 100.0,
            p50_us: 50,
            p99_us: p99_us + u64::from(at % 5),
        };
        let mut report = Report::default();
        let seconds = (1..=20).map(second).collect();
        report.operations.insert("write".into(), OperationReport { seconds, ..OperationReport::default() });
        let path = dir.path().join(name);
        std::fs::write(&path, report.json()).expect("a file can be written");
        path.display().to_string()
    };
    let (a, b) = (write("a.json", 1000), write("b.json", 1500));
    let output = loadgen(&["compare", &a, &b]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("b is higher") && said.contains("no difference shown"), "{said}");
    assert_eq!(loadgen(&["compare", &a, &b, "--fail-above", "1.4"]).status.code(), Some(1));
    assert_eq!(loadgen(&["compare", &a, &b, "--fail-above", "1.6"]).status.code(), Some(0));
    refused(&["compare", &a, &b, "--fail-above", "0"], "--fail-above");
    refused(&["compare", &a, "/nonexistent.json"], "/nonexistent.json");
    refused(&["compare", &a], "<B>");
}

/// Runs the program against a server that admits no client. Returns the first bytes that the server received,
/// and the program's output.
fn turned_away(password: Option<&str>, failure: FailureCode) -> (Vec<u8>, Output) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("some port is free");
    let target = listener.local_addr().expect("a listener has an address").to_string();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("the program comes");
        let mut taken = vec![0; 4096];
        let count = stream.read(&mut taken).expect("it says something");
        taken.truncate(count);
        let mut out = Vec::new();
        encode_failure(&mut out, 0, failure, "");
        stream.write_all(&out).expect("it listens");
        // The program closes the connection by itself.
        while stream.read(&mut [0; 4096]).is_ok_and(|count| count > 0) {}
        taken
    });
    let output = loadgen_with(password, &["--target", &target]);
    (server.join().expect("the server has done its part"), output)
}

#[test]
fn the_password_is_taken_from_the_environment_and_told_to_the_target_alone() {
    let says_it = |bytes: &[u8]| bytes.windows(7).any(|part| part == b"Rosebud");
    let (taken, output) = turned_away(Some("Rosebud"), FailureCode::AuthFailed);
    assert!(says_it(&taken), "it was in the first bytes that came");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("refuses the password in SYNOD_PASSWORD") && said.lines().count() == 1, "{said}");
    assert!(!says_it(&output.stdout) && !says_it(&output.stderr), "{said}");
    for none in [None, Some("")] {
        let (taken, output) = turned_away(none, FailureCode::AuthRequired);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("wants a password: set SYNOD_PASSWORD"), "{said}");
        assert_eq!(taken.len(), PREAMBLE.len() + HEADER_BYTES, "one question, whose frame is but a head");
    }
}

#[test]
fn a_run_that_cannot_be_done_fails() {
    // Nothing normally listens on port 1 of the loopback address.
    let output = loadgen(&["--target", "127.0.0.1:1", "--patience", "50ms"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("127.0.0.1:1"), "{said}");
}
