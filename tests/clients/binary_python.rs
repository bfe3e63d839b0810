//! A client of the binary protocol in Python, of the standard library alone and written from
//! docs/wire-format.md alone: it reads that page, makes every request, and counts while a leader is killed.

use crate::cluster::Nodes;
use crate::install;
use crate::leaders::{Leaders, nodes_led};
use crate::run::{Account, Script, busiest, finish, targets, through_a_failover, wait_more};
use crate::tools;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use synod_net::client::Client;

/// The script's `COUNTERS`: the keys that all of its clients increment.
const COUNTERS: u64 = 4;

/// The script in this mode; `None` after reporting that there is no Python.
fn python(mode: &str) -> Option<Command> {
    if tools::missing("python3", "python3") {
        return None;
    }
    let mut command = Command::new("python3");
    // -B: nothing is written beside the scripts.
    command.arg("-B").arg(install::script("binary_python.py")).arg(mode);
    Some(command)
}

fn run(command: &mut Command) {
    let output = command.output().expect("python runs");
    let text = String::from_utf8_lossy(&output.stdout);
    eprint!("{text}");
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn it_understands_the_document() {
    let Some(mut command) = python("document") else { return };
    run(command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/wire-format.md")));
}

#[test]
fn every_request_limit_and_error_is_as_the_document_says() {
    let Some(mut command) = python("requests") else { return };
    let mut nodes = Nodes::with_cores("binary-python-requests", 2);
    nodes.wait_led();
    run(command.args(nodes.targets()));
}

#[test]
fn each_increment_is_executed_once_while_a_leader_is_killed() {
    counts_exactly(Leaders::Elected);
}

#[test]
fn each_increment_is_executed_once_while_the_leader_of_all_is_killed() {
    counts_exactly(Leaders::OnOneNode);
}

fn counts_exactly(leaders: Leaders) {
    let Some(mut command) = python("count") else { return };
    let mut nodes = nodes_led(leaders, "binary-python-count", 2, "proxy");
    let targets = targets(&mut nodes);
    let mut scripts = [Script::start("count", command.args(&targets))];
    through_a_failover(&mut nodes, busiest, |what| wait_more(&scripts, 1500, what))
        .expect("some node leads most");
    let account = finish(&mut scripts[0]);
    assert!(account.errors.is_empty(), "an operation without a definite answer: {:?}", account.errors);
    assert_ne!(
        account.read[&0].as_deref(),
        Some("0"),
        "the kill left no send in doubt, so nothing was tested"
    );
    let mut client = Client::connect(&nodes.targets()).expect("connects");
    for (counter, sums) in acknowledged(&account) {
        let value = client.get(format!("shared:{counter}").as_bytes()).expect("a read").expect("written");
        let value: u64 = String::from_utf8(value).expect("text").parse().expect("a number");
        // No sum twice, as `finish` has checked, and none missing: none was lost or executed twice.
        assert!(sums.iter().copied().eq(1..=value), "counter {counter} is {value}, acknowledged: {sums:?}");
    }
}

/// The sums that were acknowledged, ascending, by counter.
fn acknowledged(account: &Account) -> BTreeMap<u64, Vec<u64>> {
    let mut sums: BTreeMap<u64, Vec<u64>> = (0..COUNTERS).map(|counter| (counter, Vec::new())).collect();
    for number in &account.acked {
        sums.get_mut(&(number % COUNTERS)).expect("a counter").push(number / COUNTERS);
    }
    sums
}
