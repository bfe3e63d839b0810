//! Replicas as the nodes list them, and reads at replicas.

use crate::cluster::Nodes;
use crate::leaders::{Leaders, ask, connect, nodes_led, slots, try_ask};
use crate::run::{Patience, busiest, targets};
use crate::tools::{missing, output};
use redis::ErrorKind;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Duration;
use synod_net::client::Client;
use synod_types::CoreId;

const LIMIT: Duration = Duration::from_secs(60);

/// `host:port` of every core.
fn places(nodes: &mut Nodes) -> Vec<String> {
    let members = nodes.get().members().iter();
    let cores = members.flat_map(|member| (0..member.cores).map(|core| member.core_port(CoreId::new(core))));
    cores.map(|port| format!("127.0.0.1:{}", port.expect("every core has a port"))).collect()
}

fn port(place: &str) -> u16 {
    place.rsplit(':').next().and_then(|port| port.parse().ok()).expect("host:port")
}

/// CLUSTER NODES as told at `place`. By id: the port, whether it is the node asked, its other flags, its
/// master and the state of the link to it.
type Told = BTreeMap<String, (u16, bool, String, String, String)>;

fn told(place: &str) -> Told {
    let text: String = ask(&mut connect(place), "CLUSTER NODES");
    let line = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let port = words[1].rsplit(':').next().and_then(|rest| rest.split('@').next());
        let flags = words[2].strip_prefix("myself,");
        let port = port.and_then(|port| port.parse().ok()).expect("ip:port@bus");
        let rest =
            (port, flags.is_some(), flags.unwrap_or(words[2]).into(), words[3].into(), words[7].into());
        (words[0].to_owned(), rest)
    };
    text.lines().map(line).collect()
}

#[test]
fn every_core_names_every_core_and_all_call_them_the_same() {
    let mut nodes = nodes_led(Leaders::OnOneNode, "names", 2, "moved");
    let places = places(&mut nodes);
    let chosen = busiest(&mut nodes);
    let leader: BTreeSet<u16> = places[2 * chosen..2 * chosen + 2].iter().map(|place| port(place)).collect();
    let all: BTreeSet<u16> = places.iter().map(|place| port(place)).collect();
    for place in &places {
        let told = told(place);
        let ports: BTreeSet<u16> = told.values().map(|(port, ..)| *port).collect();
        assert_eq!(ports, all, "{place}");
        for (id, (at, is_self, flags, master, link)) in &told {
            assert_eq!(*is_self, *at == port(place), "{place}: {id}");
            assert_eq!(link, "connected", "{place}: {id}");
            assert_eq!(flags, if leader.contains(at) { "master" } else { "slave" }, "{place}: {id}");
            let of = if flags == "master" { "-" } else { master };
            assert_eq!(master, of, "{place}: {id}");
            assert!(of == "-" || leader.contains(&told[master].0), "{place}: {id} follows {master}");
        }
        let mine: String = ask(&mut connect(place), "CLUSTER MYID");
        assert_eq!(told[&mine].0, port(place));
        let shard: String = ask(&mut connect(place), "CLUSTER MYSHARDID");
        assert_eq!(shard, if told[&mine].2 == "master" { mine.clone() } else { told[&mine].3.clone() });
        let mut seen = BTreeSet::new();
        for (first, last, named) in slots(place) {
            assert!(leader.contains(&named[0].0), "{place}: {first}-{last}");
            assert_eq!(named.len(), 3, "{place}: {first}-{last}: each node once");
            for (at, id) in named {
                assert_eq!(told[&id].0, at, "{place}: the same id in both answers");
                seen.insert(at);
            }
        }
        assert_eq!(seen, all, "{place}: the slots of one core name every node");
    }
    if missing("redis-cli", "redis-tools") {
        return;
    }
    for place in &places {
        let check = output(Command::new("redis-cli").args(["--cluster", "check", place]));
        let parts = [
            "[OK] All nodes agree about slots configuration",
            "[OK] All 16384 slots covered",
            "2 additional replica(s)",
        ];
        for part in parts {
            assert!(check.contains(part), "{place}: {part}: {check}");
        }
    }
}

#[test]
fn a_node_that_is_gone_is_said_to_be_until_it_is_back() {
    let mut nodes = nodes_led(Leaders::OnOneNode, "gone", 1, "proxy");
    let (leader, targets) = (busiest(&mut nodes), targets(&mut nodes)); // the leader's first
    let lost = (leader + 1) % 3;
    let at_lost = port(&places(&mut nodes)[lost]); // each node has one core
    let state = || {
        let told =
            told(&targets[0]).into_values().find(|(at, ..)| *at == at_lost).expect("named all the same");
        let is_named =
            slots(&targets[0]).iter().any(|(_, _, named)| named.iter().any(|(at, _)| *at == at_lost));
        (told.2, told.4, is_named)
    };
    let wait = |wanted: (&str, &str, bool)| {
        let mut patience = Patience::of(LIMIT);
        while state() != (wanted.0.to_owned(), wanted.1.to_owned(), wanted.2) {
            assert!(patience.wait(), "{:?} instead of {wanted:?}", state());
        }
    };
    wait(("slave", "connected", true));
    nodes.get().kill(lost).expect("killed");
    wait(("slave,fail?", "disconnected", false));
    nodes.get().restart(lost).expect("restarted");
    nodes.get().wait_node_ready(lost, LIMIT).expect("serves again");
    wait(("slave", "connected", true));
}

/// The reads that a node has answered though it did not lead.
fn read_here(target: &str) -> u64 {
    let text = output(Command::new("curl").args(["-sS", &format!("http://{target}/metrics")]));
    let counts = text.lines().filter(|line| line.starts_with("synod_follower_reads_total"));
    counts
        .map(|line| line.rsplit(' ').next().and_then(|count| count.parse::<u64>().ok()).expect("a count"))
        .sum()
}

#[test]
fn after_readonly_a_replica_reads_what_was_just_acknowledged() {
    const ROUNDS: u64 = 300;
    let mut nodes = nodes_led(Leaders::OnOneNode, "readonly", 2, "moved");
    let targets = targets(&mut nodes); // the leader's first
    let mut writer = Client::connect(&targets).expect("connects");
    let mut readers: Vec<_> = targets[1..].iter().map(|target| connect(target)).collect();
    let moved = |result: redis::RedisResult<Option<u64>>| {
        let error = result.expect_err("it is led elsewhere");
        assert_eq!(error.kind(), ErrorKind::Server(redis::ServerErrorKind::Moved), "{error}");
    };
    writer.set(b"number", b"0").expect("written");
    for reader in &mut readers {
        moved(try_ask(reader, "GET number"));
        let ok: String = ask(reader, "READONLY");
        assert_eq!(ok, "OK");
    }
    let before: u64 = targets[1..].iter().map(|target| read_here(target)).sum();
    for number in 1..=ROUNDS {
        writer.set(b"number", number.to_string().as_bytes()).expect("written");
        for reader in &mut readers {
            let found: Option<u64> = ask(reader, "GET number");
            assert_eq!(found, Some(number), "a replica is behind what was acknowledged");
        }
    }
    let after: u64 = targets[1..].iter().map(|target| read_here(target)).sum();
    // A read is forwarded if the leader's answer does not come in time; that is the exception.
    assert!(after - before > ROUNDS, "{} of {} reads were answered by replicas", after - before, 2 * ROUNDS);
    for reader in &mut readers {
        moved(try_ask(reader, "SET number 1"));
        moved(try_ask(reader, "INCR number"));
        let ok: String = ask(reader, "READWRITE");
        assert_eq!(ok, "OK");
        moved(try_ask(reader, "GET number"));
    }
}
