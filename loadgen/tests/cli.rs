//! The command line of `loadgen`: exit statuses and sentences.

use std::process::{Command, Output};

fn loadgen(arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_loadgen");
    Command::new(program).args(arguments).output().expect("the program can be started")
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
        "--find-max",
        "--slo",
        "--step",
    ];
    for flag in flags {
        assert!(said.contains(flag), "{flag} is missing");
    }
}

#[test]
fn a_run_that_cannot_be_done_fails() {
    // Port 1 of the loopback address: nothing listens there unless somebody goes out of his way.
    let output = loadgen(&["--target", "127.0.0.1:1", "--patience", "50ms"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("127.0.0.1:1"), "{said}");
}
