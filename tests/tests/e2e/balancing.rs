//! Leaders are spread over the nodes whatever happened before (P-17e), with real processes.

use crate::cluster::Nodes;
use crate::load;
use std::time::{Duration, Instant};
use synod_net::client::Client;

/// Within how long leaders must be spread again.
const WITHIN: Duration = Duration::from_secs(10);

/// How many groups each node serves, if each group is served by one.
fn led(nodes: &mut Nodes) -> Option<Vec<usize>> {
    let addresses = nodes.targets();
    let mut led = Vec::new();
    let mut all = 0;
    for (index, address) in addresses.into_iter().enumerate() {
        let node = nodes.node(index);
        let mut client = Client::connect(&[address]).ok()?;
        let groups = client.status_of(node).ok()?.groups;
        all = groups.len();
        led.push(groups.iter().filter(|group| group.serving).count());
    }
    (led.iter().sum::<usize>() == all).then_some(led)
}

/// Waits until no node leads more than its share plus one.
fn wait_balanced(nodes: &mut Nodes, since: Instant, what: &str) {
    loop {
        let led = led(nodes);
        if let Some(led) = &led {
            let share = led.iter().sum::<usize>().div_ceil(led.len());
            if led.iter().all(|&count| count <= share + 1) {
                eprintln!("{what}: {led:?} after {} ms", since.elapsed().as_millis());
                return;
            }
        }
        assert!(since.elapsed() < WITHIN, "{what}: groups per node: {led:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn leaders_are_spread_after_a_start_a_rolling_restart_and_a_return() {
    let mut nodes = Nodes::start("balancing");
    let started = Instant::now();
    nodes.wait_led();
    // Clients come at once: what moves under them they do not notice.
    let load = load::start(load::options(&mut nodes, Duration::from_secs(6)));
    load.wait_under_way();
    wait_balanced(&mut nodes, started, "a fresh start");
    let (report, _) = load.finish();
    for (name, operation) in &report.operations {
        assert_eq!(operation.errors, 0, "{name}");
        // A machine that tests keep busy may lose a lease meanwhile.
        assert!(operation.unknown * 100 <= operation.offered, "{name}: {} unknown", operation.unknown);
    }
    for index in 0..3 {
        nodes.get().terminate(index).expect("it stops");
        nodes.get().restart(index).expect("it starts");
    }
    wait_balanced(&mut nodes, Instant::now(), "a rolling restart");
    nodes.get().kill(1).expect("it is killed");
    // The others take over before it returns, or there would be nothing to give back.
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
    wait_balanced(&mut nodes, Instant::now(), "a kill and a return");
}
