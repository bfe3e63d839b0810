//! ioredis: its plain and its cluster client.

use crate::cluster::Nodes;
use crate::install;
use crate::run::{Script, survive_a_killed_leader, targets};
use std::path::Path;
use std::process::Command;

fn start(modules: &Path, mode: &str, targets: &[String]) -> Script {
    let mut command = Command::new("node");
    let script = install::script("ioredis.js");
    Script::start(mode, command.env("NODE_PATH", modules).arg(script).args([mode, mode]).args(targets))
}

#[test]
fn plain_and_cluster_clients_lose_nothing_where_nodes_forward() {
    let Some(modules) = install::ioredis() else { return };
    let mut nodes = Nodes::start("ioredis-proxy");
    let targets = targets(&mut nodes);
    let scripts = ["plain", "cluster"].map(|mode| start(&modules, mode, &targets));
    survive_a_killed_leader(&mut nodes, scripts.into());
}

#[test]
fn cluster_clients_lose_nothing_where_every_core_says_moved() {
    let Some(modules) = install::ioredis() else { return };
    let mut nodes = Nodes::with("ioredis-moved", 2, &[("node.redirect", "moved")]);
    let targets = targets(&mut nodes);
    survive_a_killed_leader(&mut nodes, vec![start(&modules, "cluster", &targets)]);
}
