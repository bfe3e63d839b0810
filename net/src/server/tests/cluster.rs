//! CLUSTER, redirections and the lock scripts, byte by byte.

use super::*;
use crate::binary::{Topology, TopologyGroup, TopologyNode};
use synod_types::operand::{SCAN_END, put_scan_key, set_scan_next, start_scan_page};
use synod_types::{Bucket, ClusterId, CoreId, GroupId, IfEqualAction, NodeId, Op, Reply};

fn node(id: u16, cores: u16, core_port_base: u16) -> TopologyNode {
    let host = format!("10.0.0.{id}");
    TopologyNode { node: NodeId::new(id), host, port: 6378 + id, core_port_base, core_count: cores }
}

fn topology(nodes: Vec<TopologyNode>, leaders: &[(u16, u16)]) -> Topology {
    let group = |(index, &(leader, core)): (usize, &(u16, u16))| TopologyGroup {
        group: GroupId::new(index as u16 + 1),
        leader: (leader > 0).then(|| NodeId::new(leader)),
        core: CoreId::new(core),
    };
    Topology {
        cluster: ClusterId::new(0xABCD),
        epoch: 1,
        group_count: leaders.len() as u16,
        nodes,
        groups: leaders.iter().enumerate().map(group).collect(),
    }
}

/// Three nodes of one core each; the last of four groups has no leader.
fn three() -> Topology {
    topology((1..=3).map(|id| node(id, 1, 0)).collect(), &[(1, 0), (1, 0), (3, 0), (0, 0)])
}

fn member(id: u16, core: u16) -> Connection {
    let mut server = server();
    server.info.node = NodeId::new(id);
    server.core = CoreId::new(core);
    connect(server)
}

/// The topology as seen by a node with links to every core of `linked`; it has applied 10 slots of group 1,
/// 20 of group 2 and so on.
fn seen(topology: &Topology, linked: &[u16]) -> ClusterView {
    let cores = |&node: &u16| (0..4).map(move |core| (NodeId::new(node), CoreId::new(core)));
    ClusterView {
        topology: topology.clone(),
        linked: linked.iter().flat_map(cores).collect(),
        applied: (1..=topology.groups.len() as u64).map(|group| 10 * group).collect(),
    }
}

/// The output for inline commands, one per line, with `|` for line ends; every node is in reach.
fn said(connection: &mut Connection, topology: &Topology, lines: &str) -> String {
    said_of(connection, &seen(topology, &[1, 2, 3, 4, 5]), lines)
}

fn said_of(connection: &mut Connection, view: &ClusterView, lines: &str) -> String {
    let mut toy = Toy::default();
    connection.received(format!("{}\r\n", lines.replace('\n', "\r\n")).as_bytes());
    while let Some(ask) = connection.next() {
        match ask {
            Ask::Command { tag, command, .. } => connection.reply(tag, toy.execute(&command).borrow()),
            Ask::Local { tag, .. } => connection.answer(tag, LocalAnswer::Cluster(view.clone())),
            Ask::Close | Ask::Pause => {}
        }
    }
    String::from_utf8(core::mem::take(connection.out())).expect("ASCII").replace("\r\n", "|")
}

fn id(node: u16, core: u16) -> String {
    format!("{node:04x}{core:04x}0000000000000000000000000000abcd")
}

/// A range of CLUSTER SLOTS: its master, then its replicas, of nodes with one core each.
fn range(first: u16, last: u16, nodes: &[u16]) -> String {
    let told = |&node: &u16| format!("*4|$8|10.0.0.{node}|:{}|$40|{}|*0|", 6378 + node, id(node, 0));
    let told: String = nodes.iter().map(told).collect();
    format!("*{}|:{first}|:{last}|{told}", 2 + nodes.len())
}

#[test]
fn slots_are_always_covered_a_range_per_group() {
    let said = said(&mut member(2, 0), &three(), "CLUSTER SLOTS");
    // A group without a leader is shown as the answering node's. Each of the three nodes leads a group: there
    // are no replicas.
    let ranges =
        [range(0, 4095, &[1]), range(4096, 8191, &[1]), range(8192, 12287, &[3]), range(12288, 16383, &[2])];
    assert_eq!(said, format!("*4|{}", ranges.concat()));
}

#[test]
fn who_leads_nothing_is_a_replica_of_all_it_follows() {
    // Node 1 shows the group without a leader as its own, so node 2 leads nothing.
    let said = said(&mut member(1, 0), &three(), "CLUSTER SLOTS");
    let ranges = [
        range(0, 4095, &[1, 2]),
        range(4096, 8191, &[1, 2]),
        range(8192, 12287, &[3, 2]),
        range(12288, 16383, &[1, 2]),
    ];
    assert_eq!(said, format!("*4|{}", ranges.concat()));
}

/// Three nodes of one core each; the first one leads both groups.
fn one_leader() -> Topology {
    topology((1..=3).map(|id| node(id, 1, 0)).collect(), &[(1, 0), (1, 0)])
}

#[test]
fn every_node_asked_names_all_nodes_when_one_leads_all() {
    for asked in 1..=3 {
        let said = said(&mut member(asked, 0), &one_leader(), "CLUSTER SLOTS");
        assert_eq!(said, format!("*2|{}{}", range(0, 8191, &[1, 2, 3]), range(8192, 16383, &[1, 2, 3])));
    }
}

#[test]
fn a_replica_has_the_same_name_and_master_in_every_answer() {
    let lines = "CLUSTER MYID\nCLUSTER MYSHARDID\nCLUSTER NODES";
    let said_2 = said(&mut member(2, 0), &one_leader(), lines);
    let nodes = [
        format!("{} 10.0.0.1:6379@0 master - 0 0 1 connected 0-16383\n", id(1, 0)),
        format!("{} 10.0.0.2:6380@0 myself,slave {} 0 0 1 connected\n", id(2, 0), id(1, 0)),
        format!("{} 10.0.0.3:6381@0 slave {} 0 0 1 connected\n", id(3, 0), id(1, 0)),
    ];
    let nodes = nodes.concat();
    let want = format!("$40|{}|$40|{}|${}|{nodes}|", id(2, 0), id(1, 0), nodes.len());
    assert_eq!(said_2, want);

    let replica = |node: u16| {
        format!("{} 10.0.0.{node}:{}@0 slave {} 0 0 1 connected", id(node, 0), 6378 + node, id(1, 0))
    };
    let (of_2, of_3) = (replica(2), replica(3));
    for name in ["REPLICAS", "SLAVES"] {
        let said = said(&mut member(1, 0), &one_leader(), &format!("CLUSTER {name} {}", id(1, 0)));
        assert_eq!(said, format!("*2|${}|{of_2}|${}|{of_3}|", of_2.len(), of_3.len()));
    }
    let errors = format!("CLUSTER REPLICAS {}\nCLUSTER REPLICAS x", id(2, 0));
    let said = said(&mut member(1, 0), &one_leader(), &errors);
    assert_eq!(said, "-ERR The specified node is not a master|-ERR Unknown node x|");
}

/// A node as CLUSTER SHARDS shows it in RESP2.
fn shard_member(node: u16, role: &str, health: &str, offset: u64) -> String {
    format!(
        "*14|$2|id|$40|{}|$2|ip|$8|10.0.0.{node}|$8|endpoint|$8|10.0.0.{node}|\
         $4|port|:{}|$18|replication-offset|:{offset}|\
         $4|role|${}|{role}|$6|health|${}|{health}|",
        id(node, 0),
        6378 + node,
        role.len(),
        health.len()
    )
}

#[test]
fn a_shard_is_a_master_and_its_replicas() {
    let said = said_of(&mut member(1, 0), &seen(&one_leader(), &[2]), "CLUSTER SHARDS");
    let members = [
        shard_member(1, "master", "online", 30),
        shard_member(2, "replica", "online", 30),
        shard_member(3, "replica", "fail", 0),
    ];
    assert_eq!(said, format!("*1|*4|$5|slots|*2|:0|:16383|$5|nodes|*3|{}", members.concat()));
}

#[test]
fn who_is_out_of_reach_is_said_to_be() {
    let text = said_of(&mut member(1, 0), &seen(&one_leader(), &[2]), "CLUSTER NODES\nCLUSTER SLOTS");
    assert!(
        text.contains(&format!("{} 10.0.0.2:6380@0 slave {} 0 0 1 connected\n", id(2, 0), id(1, 0))),
        "{text}"
    );
    let lost = format!("{} 10.0.0.3:6381@0 slave,fail? {} 0 0 1 disconnected\n", id(3, 0), id(1, 0));
    assert!(text.contains(&lost), "{text}");
    // As in Redis, clients are not sent to a replica that is out of reach.
    assert!(text.ends_with(&range(8192, 16383, &[1, 2])), "{text}");

    // The leader itself is named until there is another.
    let text =
        said_of(&mut member(2, 0), &seen(&one_leader(), &[3]), "CLUSTER NODES\nCLUSTER INFO\nCLUSTER SLOTS");
    assert!(
        text.contains(&format!("{} 10.0.0.1:6379@0 master,fail? - 0 0 1 disconnected 0-16383\n", id(1, 0))),
        "{text}"
    );
    assert!(text.contains("cluster_slots_ok:0|cluster_slots_pfail:16384|cluster_slots_fail:0|"), "{text}");
    assert!(text.ends_with(&range(8192, 16383, &[1, 2, 3])), "{text}");
}

#[test]
fn a_node_that_reaches_no_majority_names_all() {
    // A client that connects while links are being made, or to a node that is cut off, must not be left with
    // one address.
    for linked in [&[][..], &[3]] {
        let topology = topology((1..=5).map(|id| node(id, 1, 0)).collect(), &[(1, 0)]);
        let text = said_of(&mut member(1, 0), &seen(&topology, linked), "CLUSTER SLOTS");
        assert_eq!(text, format!("*1|{}", range(0, 16383, &[1, 2, 3, 4, 5])));
    }
    let topology = topology((1..=5).map(|id| node(id, 1, 0)).collect(), &[(1, 0)]);
    let text = said_of(&mut member(1, 0), &seen(&topology, &[3, 5]), "CLUSTER SLOTS");
    assert_eq!(text, format!("*1|{}", range(0, 16383, &[1, 3, 5])));
}

#[test]
fn a_core_is_a_replica_of_what_the_same_core_of_another_node_leads() {
    // Core 0 holds groups 1 and 3, core 1 groups 2 and 4.
    let nodes: Vec<_> = (1..=3).map(|id| node(id, 2, 7000 + 10 * id)).collect();
    let topology = topology(nodes, &[(1, 0), (1, 1), (2, 0), (1, 1)]);
    let text = said(&mut member(3, 1), &topology, "CLUSTER NODES");
    let (_, text) = text.split_once('|').expect("a length");
    let line = |node: u16, core: u16, rest: String| {
        format!("{} 10.0.0.{node}:{}@0 {rest}\n", id(node, core), 7000 + 10 * node + core)
    };
    let want = [
        line(1, 0, "master - 0 0 1 connected 0-4095".into()),
        line(1, 1, "master - 0 0 1 connected 4096-8191 12288-16383".into()),
        line(2, 0, "master - 0 0 2 connected 8192-12287".into()),
        line(2, 1, format!("slave {} 0 0 1 connected", id(1, 1))),
        line(3, 0, format!("slave {} 0 0 2 connected", id(2, 0))),
        line(3, 1, format!("myself,slave {} 0 0 1 connected", id(1, 1))),
    ];
    assert_eq!(text, want.concat() + "|");
    let text = said(&mut member(3, 1), &topology, "CLUSTER SLOTS");
    let named: Vec<&str> = text.split('|').filter(|part| part.len() == 40).collect();
    let want =
        [id(1, 0), id(3, 0), id(1, 1), id(2, 1), id(3, 1), id(2, 0), id(3, 0), id(1, 1), id(2, 1), id(3, 1)];
    assert_eq!(named, want, "each range: its master, then who only follows its group");
    let text = said(&mut member(3, 1), &topology, "CLUSTER INFO");
    for part in ["cluster_known_nodes:6|", "cluster_size:3|", "cluster_my_epoch:1|", "cluster_slots_pfail:0|"]
    {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn several_replicas_are_told_to_have_different_masters() {
    let topology = topology((1..=4).map(|id| node(id, 1, 0)).collect(), &[(1, 0), (2, 0)]);
    let text = said(&mut member(1, 0), &topology, "CLUSTER NODES");
    for (node, master) in [(3, 2), (4, 1)] {
        let line = format!("{} 10.0.0.{node}:{}@0 slave {} ", id(node, 0), 6378 + node, id(master, 0));
        assert!(text.contains(&line), "{line} in {text}");
    }
}

#[test]
fn every_core_with_a_port_of_its_own_is_a_node() {
    let topology = topology(vec![node(1, 2, 7000), node(2, 2, 0)], &[(1, 0), (1, 1), (2, 0), (2, 1)]);
    let said = said(&mut member(1, 1), &topology, "CLUSTER NODES\nCLUSTER MYID");
    let (text, my_id) = said.split_once("|").and_then(|(_, rest)| rest.split_once('|')).expect("two replies");
    let want = [
        format!("{} 10.0.0.1:7000@0 master - 0 0 1 connected 0-4095\n", id(1, 0)),
        format!("{} 10.0.0.1:7001@0 myself,master - 0 0 1 connected 4096-8191\n", id(1, 1)),
        format!("{} 10.0.0.2:6380@0 master - 0 0 2 connected 8192-16383\n", id(2, 0)),
    ];
    assert_eq!(text, want.concat());
    assert_eq!(my_id, format!("$40|{}|", id(1, 1)));
}

#[test]
fn shards_are_maps_in_resp3_and_flat_in_resp2() {
    let topology = topology(vec![node(1, 1, 0)], &[(1, 0)]);
    let rest = format!(
        "$2|id|$40|{}|$2|ip|$8|10.0.0.1|$8|endpoint|$8|10.0.0.1|$4|port|:6379|\
         $18|replication-offset|:10|$4|role|$6|master|\
         $6|health|$6|online|",
        id(1, 0)
    );
    let two = said(&mut member(1, 0), &topology, "CLUSTER SHARDS");
    assert_eq!(two, format!("*1|*4|$5|slots|*2|:0|:16383|$5|nodes|*1|*14|{rest}"));
    let three = said(&mut member(1, 0), &topology, "HELLO 3\nCLUSTER SHARDS");
    assert!(three.ends_with(&format!("*1|%2|$5|slots|*2|:0|:16383|$5|nodes|*1|%7|{rest}")), "{three}");
}

#[test]
fn info_fails_while_a_group_has_no_leader() {
    let text = said(&mut member(1, 0), &three(), "CLUSTER INFO");
    for part in
        ["cluster_state:fail|", "cluster_slots_ok:12288|", "cluster_slots_fail:4096|", "cluster_size:2|"]
    {
        assert!(text.contains(part), "{part} in {text}");
    }
    let whole = topology(vec![node(1, 1, 0)], &[(1, 0)]);
    assert!(said(&mut member(1, 0), &whole, "CLUSTER INFO").contains("cluster_state:ok|"));
}

#[test]
fn a_node_that_listens_everywhere_names_the_address_the_client_came_to() {
    let mut everywhere = node(1, 1, 0);
    everywhere.host = "0.0.0.0".into();
    let topology = topology(vec![everywhere], &[(1, 0)]);
    let text = said(&mut member(1, 0), &topology, "CLUSTER SLOTS");
    assert!(text.contains("$8|10.0.0.2|:6379|"), "{text}");
}

#[test]
fn what_needs_no_topology_is_answered_at_once() {
    for (line, want) in [
        ("CLUSTER KEYSLOT foo", ":12182|"),
        ("cluster keyslot {foo}bar", ":12182|"),
        ("CLUSTER KEYSLOT", "-ERR wrong number of arguments for 'cluster|keyslot' command|"),
        ("CLUSTER SLOTS x", "-ERR wrong number of arguments for 'cluster|slots' command|"),
        ("CLUSTER MEET a 1", "-ERR unknown subcommand 'MEET'. Try CLUSTER HELP.|"),
        ("READONLY\nREADWRITE\nASKING", "+OK|+OK|+OK|"),
    ] {
        assert_eq!(said(&mut member(1, 0), &three(), line), want, "{line}");
    }
}

/// The answer to the next ask of `lines` when the shell tries to redirect every command.
fn redirected(lines: &str) -> String {
    let mut connection = member(1, 0);
    connection.received(lines.replace('\n', "\r\n").as_bytes());
    connection.received(b"\r\n");
    while let Some(ask) = connection.next() {
        if let Ask::Command { tag, .. } = ask
            && !connection.redirect(tag, Bucket::new(5), "10.0.0.3", 6381)
        {
            connection.reply(tag, Reply::Int(1));
        }
    }
    String::from_utf8(core::mem::take(connection.out())).expect("ASCII").replace("\r\n", "|")
}

#[test]
fn the_keys_of_a_slot_are_counted_and_named() {
    // {a} and {b} lie in slots 15495 and 3300.
    let keys = "MSET {a}1 x {b}1 x {a}2 x {a}3 x\n";
    for (lines, want) in [
        ("CLUSTER COUNTKEYSINSLOT 15495", ":3|"),
        ("CLUSTER COUNTKEYSINSLOT 3300", ":1|"),
        ("CLUSTER COUNTKEYSINSLOT 3301", ":0|"),
        ("CLUSTER GETKEYSINSLOT 15495 2", "*2|$4|{a}1|$4|{a}2|"),
        ("CLUSTER GETKEYSINSLOT 15495 9223372036854775807", "*3|$4|{a}1|$4|{a}2|$4|{a}3|"),
        ("CLUSTER GETKEYSINSLOT 15495 0", "*0|"),
        ("CLUSTER GETKEYSINSLOT 0 5", "*0|"),
        // A command sent after it is answered after it.
        ("cluster countkeysinslot 15495\nDEL {a}1\ncluster countkeysinslot 15495", ":3|:1|:2|"),
        ("CLUSTER COUNTKEYSINSLOT 16384", "-ERR Invalid slot|"),
        ("CLUSTER COUNTKEYSINSLOT -1", "-ERR Invalid slot|"),
        ("CLUSTER COUNTKEYSINSLOT x", "-ERR value is not an integer or out of range|"),
        ("CLUSTER COUNTKEYSINSLOT", "-ERR wrong number of arguments for 'cluster|countkeysinslot' command|"),
        ("CLUSTER GETKEYSINSLOT 16384 1", "-ERR Invalid slot or number of keys|"),
        ("CLUSTER GETKEYSINSLOT 1 -1", "-ERR Invalid slot or number of keys|"),
        ("CLUSTER GETKEYSINSLOT 1 x", "-ERR value is not an integer or out of range|"),
        ("CLUSTER GETKEYSINSLOT 1", "-ERR wrong number of arguments for 'cluster|getkeysinslot' command|"),
    ] {
        assert_eq!(
            said(&mut member(1, 0), &three(), &format!("{keys}{lines}")),
            format!("+OK|{want}"),
            "{lines}"
        );
    }
}

/// A page of a scan with these keys.
fn page(next: u64, keys: &[&str]) -> Vec<u8> {
    let mut page = Vec::new();
    start_scan_page(&mut page);
    keys.iter().for_each(|key| put_scan_key(&mut page, key.as_bytes()));
    set_scan_next(&mut page, next);
    page
}

/// The answer to a question about slot 15495 (of `{a}`) when the leader of its group changes between two
/// pages.
fn with_pages(question: &str, pages: &[Vec<u8>]) -> String {
    let mut server = server();
    server.limits.gathered_bytes_max = 200;
    let mut connection = connect(server);
    connection.received(format!("{question}\r\n").as_bytes());
    let mut pages = pages.iter();
    let mut position = 0;
    while let Some(ask) = connection.next() {
        let Ask::Command { tag, group: Some(group), command, .. } = ask else { panic!("{ask:?}") };
        assert_eq!(group, GroupId::new(4), "the last of four groups holds the slot");
        let Op::Scan { position: from, .. } = command.op else { panic!("{:?}", command.op) };
        assert_eq!(from, position, "it goes on where the page before ended");
        let page = pages.next().expect("no more than these pages are asked for");
        position = u64::from_le_bytes(*page.first_chunk().expect("a position"));
        connection.reply(tag, Reply::Value { value: page, version: synod_types::Version::default() });
    }
    assert_eq!(pages.len(), 0, "all pages are asked for");
    String::from_utf8(core::mem::take(connection.out())).expect("ASCII").replace("\r\n", "|")
}

#[test]
fn a_slot_looked_through_under_two_leaders_shows_no_key_twice() {
    let pages = [
        page(1 << 32 | 2, &["{a}1", "{b}1", "{a}2"]),
        page(2 << 32 | 2, &["{a}2", "{a}1"]), // another replica's numbers: from the start
        page(SCAN_END, &["{b}1", "{a}3"]),
    ];
    assert_eq!(with_pages("CLUSTER COUNTKEYSINSLOT 15495", &pages), ":3|");
    let all = with_pages("CLUSTER GETKEYSINSLOT 15495 10", &pages);
    assert_eq!(all, "*3|$4|{a}1|$4|{a}2|$4|{a}3|");
    let enough = with_pages("CLUSTER GETKEYSINSLOT 15495 2", &pages[..1]);
    assert_eq!(enough, "*2|$4|{a}1|$4|{a}2|");
    let many: Vec<String> = (0..40).map(|number| format!("{{a}}{number}")).collect();
    let many = [page(SCAN_END, &many.iter().map(String::as_str).collect::<Vec<_>>())];
    let refused = with_pages("CLUSTER COUNTKEYSINSLOT 15495", &many);
    assert_eq!(refused, "-ERR the slot holds more keys than fit into 200 bytes; use SCAN|");
}

#[test]
fn moved_keeps_its_turn_and_spares_asking_and_readonly() {
    for (lines, want) in [
        ("EXISTS k", "-MOVED 5 10.0.0.3:6381|"),
        ("EXISTS k\nPING\nDEL k", "-MOVED 5 10.0.0.3:6381|+PONG|-MOVED 5 10.0.0.3:6381|"),
        ("ASKING\nDEL k\nDEL k", "+OK|:1|-MOVED 5 10.0.0.3:6381|"),
        ("ASKING\nPING\nDEL k", "+OK|+PONG|-MOVED 5 10.0.0.3:6381|"),
        ("READONLY\nEXISTS k\nDEL k", "+OK|:1|-MOVED 5 10.0.0.3:6381|"),
        ("READONLY\nREADWRITE\nEXISTS k", "+OK|+OK|-MOVED 5 10.0.0.3:6381|"),
        ("READONLY\nRESET\nEXISTS k", "+OK|+RESET|-MOVED 5 10.0.0.3:6381|"),
        // Parts are forwarded: a command on many keys has no single place to go to.
        ("EXISTS a b", ":2|"),
        // Operands built here, a second key, a derived value: all go to the leader of their key.
        ("SET k v IFEQ w", "-MOVED 5 10.0.0.3:6381|"),
        ("DELEX k IFEQ w\nPING", "-MOVED 5 10.0.0.3:6381|+PONG|"),
        ("RENAME {a}1 {a}2\nMSETNX {a}1 x {a}2 y", "-MOVED 5 10.0.0.3:6381|-MOVED 5 10.0.0.3:6381|"),
        ("RENAME a b", "-CROSSSLOT Keys in request don't hash to the same slot|"),
        ("ASKING\nCOPY {a}1 {a}2\nCOPY {a}1 {a}2", "+OK|:1|-MOVED 5 10.0.0.3:6381|"),
        ("READONLY\nSET k v IFEQ w", "+OK|-MOVED 5 10.0.0.3:6381|"),
        ("APPEND k v\nINCRBYFLOAT k 1\nPING", "-MOVED 5 10.0.0.3:6381|-MOVED 5 10.0.0.3:6381|+PONG|"),
        // Without a key there is no place to go to.
        ("DBSIZE", ":4|"),
    ] {
        assert_eq!(redirected(lines), want, "{lines}");
    }
}

#[test]
fn lock_scripts_are_one_command_each() {
    const RELEASE: &str = "c3f8721cbb97f72bc19e972846bd7aaf91901658";
    const EXTEND: &str = "a4e8783852e6b949f9ef3a97212805108459a890";
    const REACQUIRE: &str = "1cac51482acf5858da00f6d685d68f886cd6b6b2";
    for (line, want) in [
        (format!("EVALSHA {RELEASE} 1 lock token"), IfEqualAction::Delete),
        (format!("EVALSHA {EXTEND} 1 lock token 500 0"), IfEqualAction::ExtendBy(500)),
        (format!("EVALSHA {EXTEND} 1 lock token 500 1"), IfEqualAction::RenewFor(500)),
        (format!("EVALSHA {REACQUIRE} 1 lock token 500"), IfEqualAction::ExpireAfter(500)),
    ] {
        let mut connection = member(1, 0);
        connection.received(format!("{line}\r\n").as_bytes());
        let Some(Ask::Command { command, .. }) = connection.next() else { panic!("{line} asks nothing") };
        assert_eq!(command.key.as_ref(), b"lock");
        let Op::IfEqual { then } = command.op else { panic!("{:?}", command.op) };
        assert_eq!((command.operand.as_ref(), then), (&b"token"[..], want));
    }
    for (line, want) in [
        ("EVALSHA 0000 1 k v".to_owned(), "-NOSCRIPT No matching script. Please use EVAL.|"),
        (format!("EVALSHA {RELEASE} 2 k l v"), "-ERR this script takes one key and 1 arguments|"),
        (format!("EVALSHA {REACQUIRE} 1 k v 0"), "-ERR '0' is no number of milliseconds|"),
        (
            "EVAL \"return 1\" 0".to_owned(),
            "-ERR this server runs no Lua; of scripts it knows only the published ones of redis-py's Lock|",
        ),
        (format!("SCRIPT EXISTS {RELEASE} 00 {EXTEND}"), "*3|:1|:0|:1|"),
        ("SCRIPT FLUSH".to_owned(), "+OK|"),
        (
            format!(
                "SET lock token\nEVALSHA {RELEASE} 1 lock tokem\nEVALSHA {RELEASE} 1 lock token\nGET lock"
            ),
            "+OK|:0|:1|$-1|",
        ),
    ] {
        assert_eq!(said(&mut member(1, 0), &three(), &line), want, "{line}");
    }
}
