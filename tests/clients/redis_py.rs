//! redis-py 8: plain, cluster and asyncio clients, also reading from replicas, and its Lock.

use crate::cluster::Nodes;
use crate::install;
use crate::leaders::{Leaders, nodes_led};
use crate::run::{Script, busiest, finish, survive_a_killed_leader, targets, through_a_failover, wait_more};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use synod_net::client::Client;

fn start(python: &Path, mode: &str, targets: &[String]) -> Script {
    let mut command = Command::new(python);
    Script::start(mode, command.arg(install::script("redis_py.py")).args([mode, mode]).args(targets))
}

fn nodes_forward(leaders: Leaders) {
    let Some(python) = install::redis_py() else { return };
    let mut nodes = nodes_led(leaders, "redis-py-proxy", 1, "proxy");
    let targets = targets(&mut nodes);
    let scripts =
        ["plain", "asyncio", "cluster", "asyncio-cluster"].map(|mode| start(&python, mode, &targets));
    survive_a_killed_leader(&mut nodes, scripts.into());
}

fn every_core_says_moved(leaders: Leaders) {
    let Some(python) = install::redis_py() else { return };
    let mut nodes = nodes_led(leaders, "redis-py-moved", 2, "moved");
    let targets = targets(&mut nodes);
    let modes = ["cluster", "asyncio-cluster", "cluster-replicas", "asyncio-cluster-replicas"];
    survive_a_killed_leader(&mut nodes, modes.map(|mode| start(&python, mode, &targets)).into());
}

#[test]
fn plain_and_cluster_clients_lose_nothing_where_nodes_forward() {
    nodes_forward(Leaders::Elected);
}

#[test]
fn plain_and_cluster_clients_lose_nothing_where_nodes_forward_and_one_leads_all() {
    nodes_forward(Leaders::OnOneNode);
}

#[test]
fn cluster_clients_lose_nothing_where_every_core_says_moved() {
    every_core_says_moved(Leaders::Elected);
}

#[test]
fn cluster_clients_lose_nothing_where_every_core_says_moved_and_one_leads_all() {
    every_core_says_moved(Leaders::OnOneNode);
}

#[test]
fn its_lock_keeps_its_promises_without_a_script_engine() {
    let Some(python) = install::redis_py() else { return };
    let mut nodes = Nodes::start("redis-py-lock");
    for mode in ["plain", "cluster"] {
        let target = nodes.targets().remove(1);
        let output = Command::new(&python)
            .arg(install::script("redis_py_lock.py"))
            .args([mode, &target])
            .output()
            .expect("runs");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && text.trim() == r#"{"done": true}"#,
            "{mode}: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

/// Each core of each node looks like a master: the answers of all masters together hold every key once.
#[test]
fn a_cluster_client_sees_every_key_once() {
    let Some(python) = install::redis_py() else { return };
    for (cores, redirect) in [(1, "proxy"), (2, "moved")] {
        let settings = [("node.redirect", redirect), ("node.leadership", "stay")];
        let mut nodes = Nodes::with("redis-py-keys", cores, &settings);
        nodes.wait_led();
        let target = nodes.targets().remove(0);
        let mut script = Command::new(&python);
        let output =
            script.arg(install::script("redis_py_keys.py")).arg(&target).output().expect("python runs");
        let text = String::from_utf8_lossy(&output.stdout);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && text.trim() == r#"{"done": true}"#, "{cores}: {text}{complaint}");
    }
}

/// Scripts about the Lock, one with a plain and one with a cluster client.
fn start_locks(python: &Path, script: &str, targets: &[String]) -> Vec<Script> {
    let start = |mode| {
        let mut command = Command::new(python);
        Script::start(mode, command.arg(install::script(script)).args([mode, mode]).args(targets))
    };
    ["plain", "cluster"].map(start).into()
}

#[test]
fn its_lock_excludes_while_a_leader_is_killed() {
    its_lock_excludes(Leaders::Elected);
}

#[test]
fn its_lock_excludes_while_the_leader_of_all_is_killed() {
    its_lock_excludes(Leaders::OnOneNode);
}

fn its_lock_excludes(leaders: Leaders) {
    let Some(python) = install::redis_py() else { return };
    let mut nodes = nodes_led(leaders, "redis-py-lock-killed", 1, "proxy");
    let targets = targets(&mut nodes);
    let mut scripts = start_locks(&python, "redis_py_lock_killed.py", &targets);
    through_a_failover(&mut nodes, busiest, |what| wait_more(&scripts, 30, what))
        .expect("some node leads most");
    let mut client = Client::connect(&nodes.targets()).expect("connects");
    for script in &mut scripts {
        let account = finish(script);
        let counter = client.get(format!("{}:counter", script.name()).as_bytes()).expect("a read");
        let counter: u64 =
            String::from_utf8(counter.expect("written")).expect("text").parse().expect("a number");
        let last = account.acked.last().copied().unwrap_or_default();
        // A holder of the lock settles what it wrote. Only a lock that ran out leaves a number that no script
        // was told.
        let lapsed = account
            .errors
            .iter()
            .filter(|(error, _)| error.contains("timed out before"))
            .map(|(_, count)| *count);
        let lapsed: u64 = lapsed.sum();
        assert!(counter >= last, "{}: acknowledged at {last}, found at {counter}", script.name());
        assert!(
            counter <= account.acked.len() as u64 + lapsed,
            "{}: {counter} of {}",
            script.name(),
            account.acked.len()
        );
    }
}

#[test]
fn its_lock_outlives_the_node_of_its_holder() {
    its_lock_outlives_a_node(Leaders::Elected);
}

#[test]
fn its_lock_outlives_the_node_of_its_holder_that_leads_all() {
    its_lock_outlives_a_node(Leaders::OnOneNode);
}

fn its_lock_outlives_a_node(leaders: Leaders) {
    let Some(python) = install::redis_py() else { return };
    let mut nodes = nodes_led(leaders, "redis-py-lock-holder", 1, "proxy");
    let victim = busiest(&mut nodes);
    let targets = targets(&mut nodes);
    let mut scripts = start_locks(&python, "redis_py_lock_holder.py", &targets);
    for script in &scripts {
        script
            .wait_until(Duration::from_secs(60), "a lock that is held", |account| !account.acked.is_empty());
    }
    nodes.get().kill(victim).expect("killed");
    for script in &mut scripts {
        let errors = finish(script).errors;
        assert!(script.name() != "plain" || !errors.is_empty(), "its node is dead: {errors:?}");
    }
}
