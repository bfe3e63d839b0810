//! Nodes killed and stopped for real, under load.

use crate::cluster::{Nodes, until};
use crate::load::{self, slowest_recovery};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::time::Duration;
use synod_loadgen::clock::monotonic_ns;
use synod_net::binary::NodeStatus;
use synod_net::client::Client;

/// The longest that writes may pause: a liveness bound on a crowded machine, not the promise
/// (docs/performance.md has measurements).
const RECOVERY_MAX: Duration = Duration::from_secs(5);

fn status(nodes: &mut Nodes, index: usize) -> NodeStatus {
    let address = nodes.targets()[index].clone();
    let node = nodes.node(index);
    let mut client = Client::connect(&[address]).expect("the node takes clients");
    client.status_of(node).expect("the node answers")
}

/// The node that leads the most data groups, and another node.
pub fn leader_and_follower(nodes: &mut Nodes) -> (usize, usize) {
    let led: Vec<usize> = (0..3)
        .map(|index| status(nodes, index).groups.iter().filter(|group| group.serving).count())
        .collect();
    let leader = (0..3).max_by_key(|&index| led[index]).expect("three nodes");
    assert!(led[leader] > 0, "no node leads: {led:?}");
    (leader, (leader + 1) % 3)
}

#[test]
fn a_killed_follower_is_not_missed_and_catches_up() {
    let mut nodes = Nodes::start("follower");
    let options = load::options(&mut nodes, Duration::from_secs(8));
    let load = load::start(options);
    load.wait_under_way();
    let (_, follower) = leader_and_follower(&mut nodes);
    nodes.get().kill(follower).expect("killed");
    load.wait_more(3000); // the load runs on without it
    nodes.get().restart(follower).expect("restarted");
    nodes.get().wait_node_ready(follower, Duration::from_secs(30)).expect("serves again");
    load.finish();
}

#[test]
fn a_killed_leader_is_replaced_and_nothing_is_lost() {
    let mut nodes = Nodes::start("leader");
    let options = load::options(&mut nodes, Duration::from_secs(8));
    let load = load::start(options);
    load.wait_under_way();
    let (leader, _) = leader_and_follower(&mut nodes);
    let killed = monotonic_ns();
    nodes.get().kill(leader).expect("killed");
    load.wait_more(3000);
    nodes.get().restart(leader).expect("restarted");
    nodes.get().wait_node_ready(leader, Duration::from_secs(30)).expect("serves again");
    let (_, lines) = load.finish();
    let pause = slowest_recovery(&lines, killed);
    eprintln!("after kill -9 of a leader every group took writes again within {} ms", pause.as_millis());
    assert!(pause < RECOVERY_MAX, "writes paused for {pause:?}");
}

#[test]
fn all_three_killed_at_once_come_back_with_everything() {
    let mut nodes = Nodes::start("all");
    let options = load::options(&mut nodes, Duration::from_secs(8));
    let load = load::start(options);
    load.wait_under_way();
    load.wait_more(1500);
    let pids: Vec<_> = (0..3).map(|index| nodes.get().pid(index)).collect();
    for pid in pids {
        // All three are killed before the test waits for any of them.
        kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL).expect("a child of this test");
    }
    for index in 0..3 {
        let _ = nodes.get().kill(index); // collects what the signal has ended
        nodes.get().restart(index).expect("restarted");
    }
    nodes.get().wait_ready(Duration::from_secs(60)).expect("serve again");
    load.finish();
}

#[test]
fn a_leader_stopped_for_longer_than_its_lease_loses_it_and_serves_nothing_stale() {
    let mut nodes = Nodes::start("stop");
    let options = load::options(&mut nodes, Duration::from_secs(8));
    let load = load::start(options);
    load.wait_under_way();
    for _ in 0..2 {
        let (leader, witness) = leader_and_follower(&mut nodes);
        let led: Vec<_> =
            status(&mut nodes, leader).groups.into_iter().filter(|group| group.serving).collect();
        nodes.get().stop(leader).expect("stopped");
        // Longer than its lease: until the others lead its groups, in higher ballots.
        until("the others lead", || {
            let now = status(&mut nodes, witness).groups;
            led.iter().all(|before| {
                now.iter().any(|group| group.group == before.group && group.promised > before.promised)
            })
        });
        nodes.get().cont(leader).expect("continued");
        // It learns that its leases are lost.
        until("it has lost its leases", || {
            let now = status(&mut nodes, leader).groups;
            led.iter().all(|before| {
                now.iter().any(|group| group.group == before.group && group.promised > before.promised)
            })
        });
    }
    load.finish();
}

/// Requests, replies and links cross the cores of a node; core k of one node talks to core k of the others.
#[test]
fn nodes_of_two_cores_lose_nothing_when_killed() {
    let mut nodes = Nodes::with_cores("two-cores", 2);
    let options = load::options(&mut nodes, Duration::from_secs(8));
    let load = load::start(options);
    load.wait_under_way();
    let (leader, follower) = leader_and_follower(&mut nodes);
    for victim in [leader, follower] {
        nodes.get().kill(victim).expect("killed");
        load.wait_more(500);
        nodes.get().restart(victim).expect("restarted");
        nodes.get().wait_node_ready(victim, Duration::from_secs(30)).expect("serves again");
    }
    load.finish();
}
