//! Leaders move to the node that clients use (P-17), with real processes and under load.

use crate::cluster::Nodes;
use crate::load;
use std::time::{Duration, Instant};
use synod_loadgen::Protocol;
use synod_net::client::Client;

/// The number of data groups that the first node serves, and the number of all data groups.
fn led_by_the_first(nodes: &mut Nodes) -> (usize, usize) {
    let address = nodes.targets()[0].clone();
    let node = nodes.node(0);
    let mut client = Client::connect(&[address]).expect("the node takes clients");
    let groups = client.status_of(node).expect("the node answers").groups;
    let data = groups.iter().filter(|group| group.group.get() > 0);
    (data.clone().filter(|group| group.serving).count(), data.count())
}

/// All requests come through one node, over a protocol that does not know the leaders. In the end that node
/// leads every data group. On the way no write is lost, no request is refused, no outcome is unknown, and
/// every key stays linearizable.
#[test]
fn a_node_that_everything_comes_through_leads_everything() {
    let mut nodes = Nodes::with("following", 1, &[("node.leadership", "follow")]);
    nodes.wait_led();
    let (before, all) = led_by_the_first(&mut nodes);
    assert!(before < all, "there is nothing to hand over");
    let mut options = load::options(&mut nodes, Duration::from_secs(8));
    options.target.truncate(1);
    options.protocol = Protocol::Resp;
    options.rate = Some(4000);
    let load = load::start(options);
    load.wait_under_way();
    let started = Instant::now();
    while led_by_the_first(&mut nodes).0 < all {
        assert!(started.elapsed() < Duration::from_secs(60), "{:?}", led_by_the_first(&mut nodes));
        std::thread::sleep(Duration::from_millis(20));
    }
    let (report, _) = load.finish();
    for (name, operation) in &report.operations {
        assert_eq!((operation.errors, operation.unknown), (0, 0), "{name}");
    }
}
