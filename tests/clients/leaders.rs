//! The test chooses the initial leaders, so that what a client makes of the cluster does not depend on
//! elections.

use crate::cluster::Nodes;
use crate::run::Patience;
use redis::{Client, Connection, FromRedisValue, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long leaders may take to get to their places, or a node to learn where they are.
const LIMIT: Duration = Duration::from_secs(120);
const TRIES: u32 = 10;
const READY_LIMIT: Duration = Duration::from_secs(60);
/// The node that leads everything.
const CHOSEN: usize = 1;
/// Leaders that are placed by hand stay in place, even on a machine so busy that a node does not run, or does
/// not write its log, for a second.
const STAY: [(&str, &str); 2] = [("node.leadership", "stay"), ("cluster.lease_ms", "2000")];
/// The most that a node waits at random before it stands for election: the default, and a time so long that
/// other nodes stand first.
const JITTER: &str = "election_jitter_ms = 120";
const JITTER_LONG: &str = "election_jitter_ms = 60000";

/// The initial leaders.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Leaders {
    /// The nodes that were elected.
    Elected,
    /// One node leads every group.
    OnOneNode,
    /// At least two nodes lead some.
    OnSeveral,
}

/// Three nodes with these leaders.
pub fn nodes_led(leaders: Leaders, name: &str, cores: u16, redirect: &str) -> Nodes {
    let redirect = ("node.redirect", redirect);
    match leaders {
        Leaders::Elected => Nodes::with(name, cores, &[redirect]),
        Leaders::OnOneNode => {
            let name = format!("{name}-by-one");
            let settings = [redirect, STAY[0], STAY[1], ("timing.election_jitter_ms", "120")];
            let mut nodes = Nodes::with(&name, cores, &settings);
            gather(&mut nodes);
            nodes
        }
        Leaders::OnSeveral => {
            let mut nodes = Nodes::with(name, cores, &[redirect, STAY[0], STAY[1]]);
            spread(&mut nodes);
            nodes
        }
    }
}

/// A node in CLUSTER SLOTS: its port and its id.
pub type Named = (u16, String);

/// CLUSTER SLOTS as told by the node at `target`: for each range its first and last slot, the master and the
/// replicas, the master first.
pub fn slots(target: &str) -> Vec<(u16, u16, Vec<Named>)> {
    let ranges: Vec<Vec<Value>> = ask(&mut connect(target), "CLUSTER SLOTS");
    let named = |value: &Value| {
        let (_, port, id, _): (String, u16, String, Vec<String>) = take(value);
        (port, id)
    };
    let range = |parts: Vec<Value>| {
        (take(&parts[0]), take(&parts[1]), parts[2..].iter().map(named).collect::<Vec<_>>())
    };
    ranges.into_iter().map(range).collect()
}

/// Opens a connection of a plain client.
pub fn connect(target: &str) -> Connection {
    let client = Client::open(format!("redis://{target}")).expect("an address");
    client.get_connection_with_timeout(READY_LIMIT).expect("connects")
}

/// Sends a command, its words separated by spaces, and returns the reply.
pub fn ask<T: FromRedisValue>(connection: &mut Connection, words: &str) -> T {
    try_ask(connection, words).expect("answered")
}

/// The same for a command that may fail.
pub fn try_ask<T: FromRedisValue>(connection: &mut Connection, words: &str) -> redis::RedisResult<T> {
    let mut words = words.split(' ');
    let mut command = redis::cmd(words.next().expect("a command"));
    words.for_each(|word| _ = command.arg(word));
    command.query(connection)
}

fn take<T: FromRedisValue>(value: &Value) -> T {
    T::from_redis_value_ref(value).expect("as Redis tells it")
}

/// Maps each port to its node.
fn owners(nodes: &mut Nodes) -> BTreeMap<u16, usize> {
    let members = nodes.get().members().iter().enumerate();
    let ports = members.flat_map(|(index, member)| {
        let of_cores = (0..member.cores).filter_map(|core| member.core_port(synod_types::CoreId::new(core)));
        std::iter::once(member.client_port).chain(of_cores).map(move |port| (port, index))
    });
    ports.collect()
}

/// The nodes that lead at least one group, as told by node `told_by`; `None` while some group has no leader.
fn leaders(nodes: &mut Nodes, told_by: usize) -> Option<BTreeSet<usize>> {
    let target = nodes.targets().swap_remove(told_by);
    let info: String = ask(&mut connect(&target), "CLUSTER INFO");
    let owners = owners(nodes);
    let leaders = slots(&target).iter().map(|(_, _, named)| owners[&named[0].0]).collect();
    info.contains("cluster_state:ok").then_some(leaders)
}

/// The nodes that lead, once each group has a leader that `told_by` knows.
fn leading(nodes: &mut Nodes, told_by: usize) -> BTreeSet<usize> {
    wait_leaders(nodes, told_by, |_| true)
}

/// Waits until the leaders that `told_by` reports are `wanted`.
fn wait_leaders(
    nodes: &mut Nodes,
    told_by: usize,
    wanted: impl Fn(&BTreeSet<usize>) -> bool,
) -> BTreeSet<usize> {
    let mut patience = Patience::of(LIMIT);
    loop {
        let leaders = leaders(nodes, told_by);
        if let Some(leaders) = leaders.as_ref().filter(|leaders| wanted(leaders)) {
            return leaders.clone();
        }
        assert!(patience.wait(), "node {told_by} says that {leaders:?} lead");
    }
}

fn restart(nodes: &mut Nodes, index: usize) {
    nodes.get().restart(index).expect("restarted");
    nodes.get().wait_node_ready(index, READY_LIMIT).expect("serves again");
}

/// Makes [`CHOSEN`] the leader of every group.
fn gather(nodes: &mut Nodes) {
    nodes.wait_led();
    // Try again if an election has come in between.
    let done = (0..TRIES).any(|_| gathered(nodes));
    assert!(done, "others than node {CHOSEN} are elected again and again");
}

/// One try. The other nodes get such a long election timeout that the chosen node takes over the groups of a
/// stopped one. Then they are restarted with their old settings: they lead nothing, so no leader moves.
fn gathered(nodes: &mut Nodes) -> bool {
    let others: Vec<usize> = (0..3).filter(|&index| index != CHOSEN).collect();
    let restart_with = |nodes: &mut Nodes, index: usize, from: &str, to: &str| {
        nodes.get().terminate(index).expect("ended");
        let file = nodes.get().config_file(index);
        let text = std::fs::read_to_string(&file).expect("written at the start");
        assert!(text.contains(from), "{from} in {text}");
        std::fs::write(&file, text.replace(from, to)).expect("it can be written");
        restart(nodes, index);
        leading(nodes, index);
    };
    others.iter().for_each(|&index| restart_with(nodes, index, JITTER, JITTER_LONG));
    // By chance another node may still have been faster.
    while let Some(index) = leading(nodes, CHOSEN).into_iter().find(|led| *led != CHOSEN) {
        nodes.get().terminate(index).expect("ended");
        wait_leaders(nodes, CHOSEN, |leaders| !leaders.contains(&index));
        restart(nodes, index);
    }
    others.iter().for_each(|&index| restart_with(nodes, index, JITTER_LONG, JITTER));
    (0..3).all(|index| leading(nodes, index) == BTreeSet::from([CHOSEN]))
}

/// Makes at least two nodes lead: the groups of a stopped node go to both others, by preference.
fn spread(nodes: &mut Nodes) {
    nodes.wait_led();
    for _ in 0..TRIES {
        let [only] = leading(nodes, 0).into_iter().collect::<Vec<_>>()[..] else { break };
        nodes.get().terminate(only).expect("ended");
        wait_leaders(nodes, (only + 1) % 3, |leaders| !leaders.contains(&only));
        restart(nodes, only);
    }
    for index in 0..3 {
        wait_leaders(nodes, index, |leaders| leaders.len() > 1);
    }
}
