//! ioredis: its plain and its cluster client, the latter also reading from replicas.

use crate::install;
use crate::leaders::{Leaders, nodes_led};
use crate::run::{Script, survive_a_killed_leader, targets};
use std::path::Path;
use std::process::Command;

fn start(modules: &Path, mode: &str, targets: &[String]) -> Script {
    let mut command = Command::new("node");
    let script = install::script("ioredis.js");
    Script::start(mode, command.env("NODE_PATH", modules).arg(script).args([mode, mode]).args(targets))
}

fn nodes_forward(leaders: Leaders) {
    let Some(modules) = install::ioredis() else { return };
    let mut nodes = nodes_led(leaders, "ioredis-proxy", 1, "proxy");
    let targets = targets(&mut nodes);
    let scripts = ["plain", "cluster"].map(|mode| start(&modules, mode, &targets));
    survive_a_killed_leader(&mut nodes, scripts.into());
}

fn every_core_says_moved(leaders: Leaders) {
    let Some(modules) = install::ioredis() else { return };
    let mut nodes = nodes_led(leaders, "ioredis-moved", 2, "moved");
    let targets = targets(&mut nodes);
    let scripts = ["cluster", "cluster-replicas"].map(|mode| start(&modules, mode, &targets));
    survive_a_killed_leader(&mut nodes, scripts.into());
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
