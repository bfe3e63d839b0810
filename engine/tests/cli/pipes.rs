//! Output that nobody reads: commands end quietly, without a panic.

use crate::run::Sandbox;
use std::fs::File;
use std::io::pipe;
use std::process::{Command, Output, Stdio};
use synod::supervise::PortBlock;

/// Runs `command` with a standard output whose reader is gone before it starts.
fn without_reader(command: &mut Command) -> Output {
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    command.stdout(writer).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap()
}

#[test]
fn what_nobody_reads_ends_a_command_quietly() {
    let sandbox = Sandbox::new();
    for args in [
        &["config", "keys"][..],
        &["config", "explain"],
        &["completions", "bash"],
        &["man"],
        &["--help"],
        &["bench", "--help"],
        &["help"],
        &["--version"],
    ] {
        let output = without_reader(&mut sandbox.synod(args));
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), said.as_str()), (Some(0), ""), "{args:?}");
    }
}

/// A command that goes on is told to stop, and cleans up.
#[test]
fn a_cluster_whose_output_nobody_reads_is_ended_in_good_order() {
    let sandbox = Sandbox::new();
    let block = PortBlock::reserve_at(1, &[0, 10_000, 20_000]).unwrap();
    let base = block.base().to_string();
    let mut dev = sandbox.synod(["dev", "--nodes", "1", "--base-port", &base, "--set", "node.reserve_mib=0"]);
    let output = without_reader(&mut dev);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), said.as_str()), (Some(0), ""));

    let small = "--nodes 1 --cores 1 --rate 100 --duration 30s --keys 10 --value-size 64 --connections 2 \
                 --set cluster.groups=1 --set node.segment_mib=8 --set node.reserve_mib=0";
    let mut bench = sandbox.synod(["bench", "--dir", "bench"]);
    let output = without_reader(bench.args(small.split_whitespace()));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), said.as_str()), (Some(0), ""));
    assert!(!sandbox.path().join("bench").exists(), "it has cleaned up");
}

#[test]
fn a_full_disk_is_a_failure() {
    let sandbox = Sandbox::new();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = sandbox.synod(["config", "keys"]).stdout(full).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.starts_with("synod: cannot write to standard output: No space left"), "{said}");
}
