//! redis-py 8: plain, cluster and asyncio clients, and its Lock.

use crate::cluster::Nodes;
use crate::install;
use crate::run::{Script, survive_a_killed_leader, targets};
use std::path::Path;
use std::process::Command;

fn start(python: &Path, mode: &str, targets: &[String]) -> Script {
    let mut command = Command::new(python);
    Script::start(mode, command.arg(install::script("redis_py.py")).args([mode, mode]).args(targets))
}

#[test]
fn plain_and_cluster_clients_lose_nothing_where_nodes_forward() {
    let Some(python) = install::redis_py() else { return };
    let mut nodes = Nodes::start("redis-py-proxy");
    let targets = targets(&mut nodes);
    let scripts =
        ["plain", "asyncio", "cluster", "asyncio-cluster"].map(|mode| start(&python, mode, &targets));
    survive_a_killed_leader(&mut nodes, scripts.into());
}

#[test]
fn cluster_clients_lose_nothing_where_every_core_says_moved() {
    let Some(python) = install::redis_py() else { return };
    let mut nodes = Nodes::with("redis-py-moved", 2, &[("node.redirect", "moved")]);
    let targets = targets(&mut nodes);
    let scripts = ["cluster", "asyncio-cluster"].map(|mode| start(&python, mode, &targets));
    survive_a_killed_leader(&mut nodes, scripts.into());
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
