//! Leaders are spread evenly over the nodes, whatever happened before (P-17e), with real processes.

use crate::cluster::Nodes;
use crate::http::metric;
use crate::load;
use std::time::{Duration, Instant};
use synod_net::client::Client;

/// Leaders must be evenly spread again within this time.
const WITHIN: Duration = Duration::from_secs(10);

/// Waits until no node leads more than its share plus one.
fn wait_balanced(nodes: &mut Nodes, since: Instant, what: &str) {
    let left = WITHIN.saturating_sub(since.elapsed());
    let leaders = nodes.get().wait_led(left, || false).unwrap_or_else(|error| panic!("{what}: {error}"));
    eprintln!("{what}: {leaders:?} after {} ms", since.elapsed().as_millis());
}

/// Attempts at most. An attempt is repeated if a node lost a leadership in it that it did not hand over: when
/// the machine stands still for a lease, clients do notice.
const ATTEMPTS_MAX: u32 = 4;

/// Clients are active while leaders move, if any leader is out of place, and must not notice. Returns how
/// many leaders moved, or nothing if a leadership was lost otherwise.
fn unnoticed(nodes: &mut Nodes, since: Instant, what: &str) -> Option<f64> {
    let lost = |nodes: &mut Nodes| metric(nodes, "synod_leaderships_lost_total");
    let transferred = |nodes: &mut Nodes| metric(nodes, "synod_leaderships_transferred_total");
    let (lost_before, before) = (lost(nodes), transferred(nodes));
    let load = load::start(load::options(nodes, Duration::from_secs(6)));
    load.wait_under_way();
    wait_balanced(nodes, since, what);
    let (report, _) = load.finish();
    let lost = lost(nodes) - lost_before;
    for (name, operation) in &report.operations {
        assert_eq!(operation.errors, 0, "{what}: {name}, {lost} leaderships lost");
        assert!(operation.unknown == 0 || lost > 0.0, "{what}: {name}, {} unknown", operation.unknown);
    }
    (lost == 0.0).then_some(transferred(nodes) - before)
}

/// Kills a node, and starts it again once the others have taken over its groups: until then there is no
/// leader to give back.
fn kill_and_return(nodes: &mut Nodes) {
    nodes.get().kill(1).expect("it is killed");
    let killed = Instant::now();
    let address = nodes.targets()[0].clone();
    let node = nodes.node(0);
    loop {
        let mut client = Client::connect(std::slice::from_ref(&address)).expect("a node that lives");
        let groups = client.status_of(node).expect("it answers").groups;
        let dead = nodes.node(1);
        if groups.iter().all(|group| group.leader.is_some_and(|leader| leader != dead)) {
            break;
        }
        assert!(killed.elapsed() < WITHIN, "groups without a leader");
        std::thread::sleep(Duration::from_millis(20));
    }
    nodes.get().restart(1).expect("it starts");
    nodes.get().wait_ready(WITHIN).expect("it takes clients");
}

#[test]
fn leaders_are_spread_after_a_start_a_rolling_restart_and_a_return() {
    let mut nodes = Nodes::start("balancing");
    let started = Instant::now();
    nodes.wait_led();
    unnoticed(&mut nodes, started, "a fresh start");
    for index in 0..3 {
        nodes.get().terminate(index).expect("it stops");
        nodes.get().restart(index).expect("it starts");
    }
    wait_balanced(&mut nodes, Instant::now(), "a rolling restart");
    let moved = (0..ATTEMPTS_MAX).find_map(|_| {
        kill_and_return(&mut nodes);
        unnoticed(&mut nodes, Instant::now(), "a kill and a return")
    });
    assert!(moved.expect("no leadership is lost") > 0.0, "nothing was handed over");
}
