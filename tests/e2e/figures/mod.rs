//! What a node tells of itself in INFO and in /metrics: each thing that is counted is driven, and both faces
//! move by exactly that much. Sums over the nodes are true.
//!
//! A cluster takes seconds to start, so each test leads one through several parts. The last part of the first
//! test fails for a figure that nothing here drives.

mod clients;
mod faces;
mod faults;
mod keys;
mod nodes;
mod process;

use crate::cluster::Nodes;
use crate::resp::RespClient;
use clients::{
    commands_errors_bytes_and_connections_are_counted_exactly, connections_beyond_the_limit_are_counted,
    counters_never_fall_and_a_reset_is_of_info_only, hits_and_misses_count_once_over_the_nodes,
    requests_and_replies_are_counted_by_kind,
};
use faces::{SPREAD_MAX, info, metrics_text};
use faults::{
    a_killed_leader_is_elected_anew_and_gets_its_share_back, a_paused_leader_loses_its_groups,
    without_a_majority_no_group_is_ready,
};
use keys::keys_and_expiries_add_up_over_the_nodes;
use nodes::{
    copies_of_long_values_are_counted, forwards_and_follower_reads_are_counted,
    writes_are_counted_on_their_way_to_the_log,
};
use process::{
    a_node_is_who_it_says, every_parameter_is_what_is_in_force,
    processor_time_and_memory_are_those_of_the_process,
};
use std::collections::BTreeSet;

/// Figures that no client and no signal can move. A unit test of the node gives each of them a value of its own
/// (`engine/src/runtime/figures/tests/wires.rs`).
const BY_UNIT_TEST: &[&str] = &[
    "synod_log_backlog_bytes",
    "log_backlog_bytes",
    "synod_log_stalled",
    "log_stalled",
    "synod_clock_skew_milliseconds",
    "synod_slow_turns_total",
    "slow_turns",
    "synod_log_age_seconds",
    "synod_log_read_age_seconds",
    "synod_memory_bound_bytes",
    "memory_bound_bytes",
    "synod_log_reads_late_total",
    "log_reads_late",
    "synod_peer_log_age_seconds",
    "synod_peer_round_trip_seconds",
];

/// Figures of the memory of clients, which `memory.rs` drives.
const BY_GREEDY_CLIENTS: &[&str] = &[
    "synod_client_bytes",
    "client_bytes",
    "synod_client_bytes_max",
    "client_bytes_max",
    "synod_command_bytes",
    "command_bytes",
    "synod_reads_deferred_total",
    "reads_deferred",
    "synod_clients_closed_total",
];

/// Figures that `latency.rs` drives.
const BY_STOPPED_NODES: &[&str] = &["synod_sleeps_total", "sleeps"];

/// Figures of a log that has no room, which `full.rs` drives.
const BY_FULL_DISKS: &[&str] = &["synod_log_failing", "log_failing", "synod_log_full", "log_full"];

/// A small cache, so that it is soon too small; few connections; a log that is searched quickly; no long wait
/// for a leader that there is none of.
const SMALL: &[(&str, &str)] = &[
    ("limits.connections", "64"),
    ("node.cache_mib", "1"),
    ("node.segment_mib", "16"),
    ("node.reserve_mib", "0"),
    ("timing.patience_ms", "1000"),
];

#[test]
fn keys_settings_and_the_process_are_shown_as_they_are() {
    let mut nodes = Nodes::with("figures-keys", 2, &[("limits.tcp_keepalive_s", "77")]);
    nodes.wait_led();
    keys_and_expiries_add_up_over_the_nodes(&nodes.targets());
    processor_time_and_memory_are_those_of_the_process(&mut nodes);
    a_node_is_who_it_says(&mut nodes);
    let target = nodes.targets()[0].clone();
    every_parameter_is_what_is_in_force(&target);
    every_figure_has_a_driver(&target);
}

#[test]
fn what_clients_do_is_counted_exactly() {
    let mut nodes = Nodes::start("figures-counts");
    nodes.wait_led();
    let targets = nodes.targets();
    commands_errors_bytes_and_connections_are_counted_exactly(&targets[0]);
    hits_and_misses_count_once_over_the_nodes(&targets);
    requests_and_replies_are_counted_by_kind(&targets);
    counters_never_fall_and_a_reset_is_of_info_only(&targets[0]);
}

#[test]
fn what_nodes_do_among_themselves_is_counted() {
    let mut nodes = Nodes::with("figures-nodes", 1, SMALL);
    nodes.wait_led();
    nodes.get().wait_led(SPREAD_MAX, || false).expect("leaders are spread");
    let targets = nodes.targets();
    connections_beyond_the_limit_are_counted(&targets[0]);
    forwards_and_follower_reads_are_counted(&targets);
    writes_are_counted_on_their_way_to_the_log(&targets);
    copies_of_long_values_are_counted(&mut nodes);
    a_killed_leader_is_elected_anew_and_gets_its_share_back(&mut nodes);
    a_paused_leader_loses_its_groups(&mut nodes);
    without_a_majority_no_group_is_ready(&mut nodes);
}

/// Every family and field that a node shows is named by one of the files beside this one, which drives it, or
/// by one of the lists of those that are driven elsewhere. So a new row of the table without a driver fails
/// here.
fn every_figure_has_a_driver(target: &str) {
    let text = metrics_text(target);
    let families = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let mut shown: BTreeSet<String> = families.map(str::to_owned).collect();
    // Fields whose names depend on what there is are several counts, the state of a group, or a kind.
    let is_one = |(name, value): &(String, String)| {
        let is_of_group = name.strip_prefix("group").is_some_and(|rest| rest.parse::<u16>().is_ok());
        !value.starts_with("calls=") && !value.starts_with("count=") && !is_of_group
    };
    let fields = info(&mut RespClient::connect(target)).into_iter().filter(is_one);
    shown.extend(fields.map(|(name, _)| name).filter(|name| !name.starts_with("slow_turns_")));
    let elsewhere = [BY_UNIT_TEST, BY_FULL_DISKS, BY_GREEDY_CLIENTS, BY_STOPPED_NODES].concat();
    for name in &elsewhere {
        assert!(shown.contains(*name), "{name} is no longer shown; strike it out");
    }
    let drivers = [
        include_str!("keys.rs"),
        include_str!("process.rs"),
        include_str!("clients.rs"),
        include_str!("nodes.rs"),
        include_str!("faults.rs"),
    ]
    .concat();
    // A family may be named with its labels, a histogram with its sum and count.
    let is_named = |name: &str| {
        ["\"", "{", "_sum\"", "_count\""].iter().any(|end| drivers.contains(&format!("\"{name}{end}")))
    };
    let missing: Vec<_> =
        shown.iter().filter(|name| !elsewhere.contains(&name.as_str()) && !is_named(name)).collect();
    assert!(missing.is_empty(), "nothing drives {missing:?}");
}
