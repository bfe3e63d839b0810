//! What is shown while leaders are killed and paused, and without a majority.

use super::faces::{SPREAD_MAX, alike, family, over_nodes, samples};
use crate::cluster::{Nodes, until};
use crate::resp::RespClient;

/// A node dies: the others win its elections. It returns: they hand its share over.
pub(super) fn a_killed_leader_is_elected_anew_and_gets_its_share_back(nodes: &mut Nodes) {
    nodes.get().wait_led(SPREAD_MAX, || false).expect("leaders are spread");
    let targets = nodes.targets();
    let others = &targets[..2];
    let led = family(&targets[2], "synod_leader");
    assert!(led > 0.0, "it leads its share");
    let (won, seen) =
        (over_nodes(others, "synod_elections_won_total"), over_nodes(others, "synod_leader_changes_total"));
    nodes.get().kill(2).expect("it is killed");
    until("the others lead", || over_nodes(others, "synod_elections_won_total") >= won + led);
    until("both learn of it", || over_nodes(others, "synod_leader_changes_total") >= seen + led);
    alike(others, "elections_won", &["synod_elections_won_total"]);
    alike(others, "leader_changes", &["synod_leader_changes_total"]);
    let given = || alike(others, "leaderships_transferred", &["synod_leaderships_transferred_total"]);
    let before = given();
    nodes.get().restart(2).expect("it starts");
    nodes.get().wait_node_ready(2, SPREAD_MAX).expect("it serves again");
    nodes.get().wait_led(SPREAD_MAX, || false).expect("leaders are spread again");
    until("its share was handed over to it", || {
        family(&targets[2], "synod_leader") > 0.0 && given() > before
    });
}

/// A node that is paused for longer than its lease has lost what it led, and counts that when it goes on.
pub(super) fn a_paused_leader_loses_its_groups(nodes: &mut Nodes) {
    let targets = nodes.targets();
    let (others, paused) = (&targets[..2], &targets[2..]);
    let lost = || alike(paused, "leaderships_lost", &["synod_leaderships_lost_total"]);
    let (before, led) = (lost(), family(&targets[2], "synod_leader"));
    let won = over_nodes(others, "synod_elections_won_total");
    nodes.get().stop(2).expect("it is stopped");
    until("the others lead", || over_nodes(others, "synod_elections_won_total") >= won + led);
    nodes.get().cont(2).expect("it goes on");
    until("it has lost them", || lost() >= before + led);
}

/// A node whose peers are both paused has no leader for any group, and a client is told so.
pub(super) fn without_a_majority_no_group_is_ready(nodes: &mut Nodes) {
    let target = nodes.targets()[0].clone();
    let mut client = RespClient::connect(&target);
    let groups = samples(&target).keys().filter(|name| name.starts_with("synod_group_ready{")).count();
    assert!(groups > 0, "it has groups");
    until("all is well", || family(&target, "synod_group_ready") == groups as f64);
    for index in [1, 2] {
        nodes.get().stop(index).expect("it is stopped");
    }
    until("no group has a leader", || family(&target, "synod_group_ready") == 0.0);
    let errors = family(&target, "synod_errors_total");
    let answer = client.set("nowhere", b"v");
    assert!(answer.starts_with("-CLUSTERDOWN ") || answer.starts_with("-UNKNOWN "), "{answer}");
    assert_eq!(family(&target, "synod_errors_total") - errors, 1.0);
    for index in [1, 2] {
        nodes.get().cont(index).expect("it goes on");
    }
    until("all is well again", || family(&target, "synod_group_ready") == groups as f64);
}
