//! What a node tells of itself in INFO and in /metrics: each thing that is counted is driven, and both faces
//! move by exactly that much. Sums over the nodes are true.
//!
//! A cluster takes seconds to start, so each test leads one through several parts. The last part of the first
//! test fails for a figure that nothing here drives.

use crate::cluster::{Nodes, until};
use crate::damage;
use crate::resp::{RespClient, command};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

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
];

/// Figures of a log that has no room, which `full.rs` drives.
const BY_FULL_DISKS: &[&str] = &["synod_log_failing", "log_failing", "synod_log_full", "log_full"];

/// How long leaders may take until they are spread over the nodes.
const SPREAD_MAX: Duration = Duration::from_secs(30);

/// The text of `INFO all`.
fn info_text(client: &mut RespClient) -> String {
    let text = client.bulk(&[b"INFO", b"all"]).expect("a bulk string");
    String::from_utf8(text).expect("UTF-8")
}

/// The fields of `INFO all`.
fn info(client: &mut RespClient) -> BTreeMap<String, String> {
    fields(&info_text(client))
}

fn fields(text: &str) -> BTreeMap<String, String> {
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// A field of INFO that is a number; 0 if it is absent.
fn field(client: &mut RespClient, name: &str) -> f64 {
    info(client).get(name).map_or(0.0, |value| value.parse().expect("a number"))
}

/// The text of /metrics.
fn metrics_text(target: &str) -> String {
    let mut stream = TcpStream::connect(target).expect("connects");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout can be set");
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: n\r\nConnection: close\r\n\r\n").expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    body.to_owned()
}

/// The samples of /metrics.
fn samples(target: &str) -> BTreeMap<String, f64> {
    let text = metrics_text(target);
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').expect("a sample");
            (name.to_owned(), value.parse().expect("a number"))
        })
        .collect()
}

/// A family summed over its labels.
fn sum(samples: &BTreeMap<String, f64>, name: &str) -> f64 {
    let is_of =
        |sample: &str| sample.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('{'));
    samples.iter().filter(|(sample, _)| is_of(sample)).map(|(_, value)| value).sum()
}

/// Those samples of a family that have this label, summed over the others.
fn labelled(samples: &BTreeMap<String, f64>, name: &str, label: &str) -> f64 {
    let is_of = |sample: &str| {
        sample.strip_prefix(name).is_some_and(|rest| rest.starts_with('{') && rest.contains(label))
    };
    samples.iter().filter(|(sample, _)| is_of(sample)).map(|(_, value)| value).sum()
}

/// A family of one node, summed over its labels.
fn family(target: &str, name: &str) -> f64 {
    sum(&samples(target), name)
}

/// A family summed over the nodes.
fn over_nodes(targets: &[String], name: &str) -> f64 {
    targets.iter().map(|target| family(target, name)).sum()
}

/// A field of INFO summed over the nodes.
fn fields_over_nodes(targets: &[String], name: &str) -> f64 {
    targets.iter().map(|target| field(&mut RespClient::connect(target), name)).sum()
}

/// What `field` of INFO says, summed over the nodes, as soon as each of these families says the same.
fn alike(targets: &[String], field: &str, families: &[&str]) -> f64 {
    let mut said = 0.0;
    until(&format!("{field} is {families:?}"), || {
        said = fields_over_nodes(targets, field);
        families.iter().all(|family| over_nodes(targets, family) == said)
    });
    said
}

/// Repeats an attempt until no leader has changed meanwhile, because only then its counts are exact.
fn steadily<T>(targets: &[String], mut attempt: impl FnMut(usize) -> T) -> T {
    for number in 0..10 {
        let before = over_nodes(targets, "synod_leader_changes_total");
        let found = attempt(number);
        if alike(targets, "leader_changes", &["synod_leader_changes_total"]) == before {
            return found;
        }
    }
    panic!("leaders change all the time");
}

/// Sets `count` keys.
fn set(client: &mut RespClient, name: &str, count: usize, options: &[&[u8]]) {
    for number in 0..count {
        let key = format!("{name}:{number}");
        let answer = client.ask(&[&[b"SET", key.as_bytes(), b"v"][..], options].concat());
        assert_eq!(answer, "+OK");
    }
}

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

fn keys_and_expiries_add_up_over_the_nodes(targets: &[String]) {
    let mut client = RespClient::connect(&targets[0]);
    set(&mut client, "plain", 60, &[]);
    set(&mut client, "long", 40, &[b"EX", b"600"]);
    // The keyspace, asked for by name, is as new as DBSIZE. The other core's page is a little older.
    until("INFO keyspace says so", || {
        client.bulk(&[b"INFO", b"keyspace"]) == Ok(b"# Keyspace\r\ndb0:keys=100,expires=40\r\n".to_vec())
    });
    assert_eq!(client.ask(&[b"DBSIZE"]), ":100");
    until("the keys of all leaders are those of DBSIZE", || over_nodes(targets, "redis_db_keys") == 100.0);
    until("those with an expiry, too", || over_nodes(targets, "redis_db_keys_expiring") == 40.0);
    for target in targets {
        until("every node holds every key", || family(target, "synod_keys_held") == 100.0);
        let mut client = RespClient::connect(target);
        let info = info(&mut client);
        assert_eq!(info["db0"], "keys=100,expires=40");
        assert_eq!((info["keys_held"].as_str(), info["keys_expiring"].as_str()), ("100", "40"));
    }
    set(&mut client, "short", 30, &[b"PX", b"300"]);
    until("they expire", || over_nodes(targets, "redis_expired_keys_total") == 30.0);
    until("they are gone", || over_nodes(targets, "redis_db_keys") == 100.0);
    assert_eq!(client.ask(&[b"DBSIZE"]), ":100");
    assert_eq!(fields_over_nodes(targets, "expired_keys"), 30.0, "each counts at one node");
    until("every replica has removed them", || over_nodes(targets, "synod_expired_keys_total") == 90.0);
    // A node says the same of its own in either face.
    let counts: [(&str, &[&str], f64); 5] = [
        ("expired_keys", &["synod_expirations_total", "redis_expired_keys_total"], 30.0),
        ("expired_keys_held", &["synod_expired_keys_total"], 90.0),
        ("keys", &["synod_keys"], 300.0),
        ("keys_expiring", &["synod_keys_expiring"], 120.0),
        ("keys_held", &["synod_keys_held"], 300.0),
    ];
    for (field, families, count) in counts {
        assert_eq!(alike(targets, field, families), count, "{field}");
    }
    // Every group has one leader, and INFO says so too.
    let groups =
        info(&mut client).keys().filter(|name| name.starts_with("group") && *name != "groups_led").count();
    until("one leader each", || over_nodes(targets, "synod_leader") == groups as f64);
    assert_eq!(fields_over_nodes(targets, "groups_led"), groups as f64);
    until("at every node", || over_nodes(targets, "synod_group_ready") == (3 * groups) as f64);
    assert_eq!(client.ask(&[b"FLUSHALL"]), "+OK");
    until("nothing is left", || over_nodes(targets, "redis_db_keys") == 0.0);
    until("no database without keys", || !info(&mut client).contains_key("db0"));
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

fn hits_and_misses_count_once_over_the_nodes(targets: &[String]) {
    let mut clients: Vec<RespClient> = targets.iter().map(|target| RespClient::connect(target)).collect();
    set(&mut clients[0], "k", 10, &[]);
    // With one core there is no older page: every node says at once what it took part in.
    for client in &mut clients {
        let keyspace = client.bulk(&[b"INFO", b"keyspace"]);
        assert_eq!(keyspace, Ok(b"# Keyspace\r\ndb0:keys=10,expires=0\r\n".to_vec()));
    }
    for client in &mut clients {
        for number in 0..10 {
            assert_eq!(client.get(&format!("k:{number}")).as_deref(), Ok(&b"v"[..]));
        }
        for number in 0..7 {
            assert_eq!(client.get(&format!("none:{number}")), Err("$-1".to_owned()));
        }
        // A hit and a miss more.
        assert_eq!(client.ask(&[b"MGET", b"k:1", b"none"]), "*2");
        assert_eq!((client.line(), client.line(), client.line()), ("$1".into(), "v".into(), "$-1".into()));
    }
    for (name, families, count) in [
        ("keyspace_hits", &["synod_key_hits_total", "redis_keyspace_hits_total"], 33.0),
        ("keyspace_misses", &["synod_key_misses_total", "redis_keyspace_misses_total"], 24.0),
    ] {
        assert_eq!(alike(targets, name, families), count, "{name}");
    }
}

/// Requests by kind at the node that was asked, each with one reply, and the errors among them.
fn requests_and_replies_are_counted_by_kind(targets: &[String]) {
    let target = std::slice::from_ref(&targets[0]);
    let mut client = RespClient::connect(&targets[0]);
    let (before, replies) = (samples(&targets[0]), alike(target, "replies", &["synod_replies_total"]));
    for _ in 0..5 {
        assert_eq!(client.set("kinds", b"text"), "+OK");
    }
    for _ in 0..4 {
        assert_eq!(client.get("kinds"), Ok(b"text".to_vec()));
    }
    assert_eq!(client.ask(&[b"INCR", b"kinds"]), "-ERR value is not an integer or out of range");
    assert_eq!(client.set("kinds", i64::MAX.to_string().as_bytes()), "+OK");
    for _ in 0..2 {
        assert_eq!(client.ask(&[b"INCR", b"kinds"]), "-ERR increment or decrement would overflow");
    }
    for gone in [":1", ":0", ":0"] {
        assert_eq!(client.ask(&[b"DEL", b"kinds"]), gone);
    }
    assert_eq!(alike(target, "replies", &["synod_replies_total"]) - replies, 16.0);
    let after = samples(&targets[0]);
    let grown = |name: &str, label: &str| labelled(&after, name, label) - labelled(&before, name, label);
    for (kind, count) in [("read", 4.0), ("set", 6.0), ("delete", 3.0), ("other", 3.0)] {
        assert_eq!(grown("synod_requests_total", &format!("kind=\"{kind}\"")), count, "{kind}");
    }
    for (kind, count) in [("not_an_integer", 1.0), ("overflow", 2.0)] {
        assert_eq!(grown("synod_errors_total", &format!("kind=\"{kind}\"")), count, "{kind}");
    }
    let all = sum(&after, "synod_errors_total") - sum(&before, "synod_errors_total");
    assert_eq!(all, 3.0, "no other kind");
}

fn commands_errors_bytes_and_connections_are_counted_exactly(target: &str) {
    let mut client = RespClient::connect(target);
    until("this client is the only one", || info(&mut client)["connected_clients"] == "1");
    let before_metrics = samples(target);
    let asked: &[(&[&[u8]], &str)] = &[
        (&[b"SET", b"a", b"text"], "+OK"),
        (&[b"SET", b"a", b"text"], "+OK"),
        (&[b"INCR", b"a"], "-ERR value is not an integer or out of range"),
        (&[b"GET"], "-ERR wrong number of arguments for 'get' command"),
        (&[b"NOSUCH"], "-ERR unknown command 'NOSUCH', with args beginning with: "),
        (&[b"PING"], "+PONG"),
        (
            &[b"MSETNX", b"a", b"1", b"b", b"2", b"c", b"3", b"d", b"4", b"e", b"5", b"f", b"6"],
            "-CROSSSLOT Keys in request don't hash to the same slot",
        ),
    ];
    let text = info_text(&mut client);
    let before = fields(&text);
    // An INFO counts itself, but its own answer is not sent yet.
    let (mut sent, mut received) = (0, text.len() + 2 + format!("${}\r\n", text.len()).len());
    for (parts, answer) in asked {
        assert_eq!(&client.ask(parts), answer);
        sent += command(parts).len();
        received += answer.len() + 2;
    }
    let after = info(&mut client);
    sent += command(&[b"INFO", b"all"]).len();
    let grown = |name: &str| {
        let of = |info: &BTreeMap<String, String>| info[name].parse::<f64>().expect("a number");
        of(&after) - of(&before)
    };
    // SET, SET, INCR, PING, MSETNX, INFO: what was refused before is not taken up.
    assert_eq!(grown("total_commands_processed"), 6.0);
    assert_eq!(grown("total_error_replies"), 4.0);
    assert_eq!(grown("total_net_input_bytes"), sent as f64);
    assert_eq!(grown("total_net_output_bytes"), received as f64);
    assert_eq!(after["cmdstat_set"], "calls=2,failed_calls=0");
    assert_eq!(after["cmdstat_incr"], "calls=1,failed_calls=1");
    assert_eq!(after["cmdstat_msetnx"], "calls=1,failed_calls=1");
    assert_eq!(after["cmdstat_ping"], "calls=1,failed_calls=0");
    assert_eq!(after["rejected_get"], "calls=1");
    assert!(!after.contains_key("cmdstat_get"));
    assert_eq!(
        (after["errorstat_ERR"].as_str(), after["errorstat_CROSSSLOT"].as_str()),
        ("count=3", "count=1")
    );
    let metrics = samples(target);
    for (sample, value) in [
        ("redis_commands_total{cmd=\"set\"}", 2.0),
        ("redis_commands_failed_calls_total{cmd=\"incr\"}", 1.0),
        ("redis_commands_rejected_calls_total{cmd=\"get\"}", 1.0),
        ("redis_errors_total{err=\"ERR\"}", 3.0),
        ("redis_errors_total{err=\"CROSSSLOT\"}", 1.0),
    ] {
        assert_eq!(metrics[sample], value, "{sample}");
    }
    for name in
        ["redis_commands_processed_total", "redis_net_input_bytes_total", "redis_net_output_bytes_total"]
    {
        assert!(metrics[name] > before_metrics[name], "{name}");
    }
    assert_eq!(metrics["redis_commands_processed_total"].to_string(), after["total_commands_processed"]);
    assert_eq!(
        sum(&metrics, "synod_error_lines_total") - sum(&before_metrics, "synod_error_lines_total"),
        4.0
    );
    // The cores' numbers are the node's.
    for (cores, node) in [
        ("synod_commands_total", "redis_commands_processed_total"),
        ("synod_input_bytes_total", "redis_net_input_bytes_total"),
        ("synod_output_bytes_total", "redis_net_output_bytes_total"),
        ("synod_connections", "redis_connected_clients"),
        ("synod_connections_accepted_total", "redis_connections_received_total"),
    ] {
        assert_eq!(sum(&metrics, cores), metrics[node], "{cores}");
        assert!(metrics[node] > 0.0, "{node}");
    }
    // Connections: three more, and none of them again.
    let accepted: f64 = after["total_connections_received"].parse().expect("a number");
    until("the page's own connection is closed", || info(&mut client)["connected_clients"] == "1");
    let accepted_now = field(&mut client, "total_connections_received");
    assert_eq!(accepted_now - accepted, 1.0, "the one of /metrics");
    let mut more: Vec<RespClient> = (0..3).map(|_| RespClient::connect(target)).collect();
    more.iter_mut().for_each(|client| assert_eq!(client.ask(&[b"PING"]), "+PONG"));
    let now = info(&mut client);
    assert_eq!(now["connected_clients"], "4");
    assert_eq!(now["total_connections_received"].parse::<f64>(), Ok(accepted_now + 3.0));
    assert_eq!(family(target, "redis_connected_clients"), 5.0, "with that of /metrics");
    drop(more);
    until("they are closed", || info(&mut client)["connected_clients"] == "1");
    // A rate is seen while there is work.
    until("a rate", || {
        (0..50).for_each(|_| assert_eq!(client.ask(&[b"PING"]), "+PONG"));
        let info = info(&mut client);
        info["instantaneous_ops_per_sec"] != "0"
            && info["instantaneous_input_kbps"] != "0.000"
            && info["instantaneous_output_kbps"] != "0.000"
    });
    let metrics = samples(target);
    for name in [
        "redis_instantaneous_ops_per_sec",
        "redis_instantaneous_input_kbps",
        "redis_instantaneous_output_kbps",
    ] {
        assert!(metrics[name] > 0.0, "{name}");
    }
    assert_eq!(sum(&metrics, "synod_commands_per_second"), metrics["redis_instantaneous_ops_per_sec"]);
    assert_eq!(client.ask(&[b"DEL", b"a"]), ":1");
}

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

fn connections_beyond_the_limit_are_counted(target: &str) {
    let mut client = RespClient::connect(target);
    assert_eq!(info(&mut client)["maxclients"], "64");
    assert_eq!(family(target, "redis_config_maxclients"), 64.0);
    assert_eq!(family(target, "synod_connections_max"), 64.0);
    assert_eq!(client.ask(&[b"CONFIG", b"GET", b"maxclients"]), "*2");
    assert_eq!((0..4).map(|_| client.line()).collect::<Vec<_>>(), ["$10", "maxclients", "$2", "64"]);
    assert_eq!(field(&mut client, "rejected_connections"), 0.0);
    let (mut open, mut refused) = (Vec::new(), 0);
    for _ in 0..90 {
        let mut stream = TcpStream::connect(target).expect("connects");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout can be set");
        let mut answer = [0; 7];
        let is_served = stream.write_all(b"PING\r\n").is_ok() && stream.read_exact(&mut answer).is_ok();
        if is_served && answer == *b"+PONG\r\n" { open.push(stream) } else { refused += 1 }
    }
    assert!(refused > 0, "{} are served", open.len());
    assert_eq!(field(&mut client, "rejected_connections"), f64::from(refused));
    drop(open);
    until("there is room again", || field(&mut client, "connected_clients") == 1.0);
    let families = ["synod_connections_rejected_total", "redis_rejected_connections_total"];
    assert!(families.iter().all(|name| family(target, name) == f64::from(refused)));
}

fn processor_time_and_memory_are_those_of_the_process(nodes: &mut Nodes) {
    let target = nodes.targets()[0].clone();
    let mut client = RespClient::connect(&target);
    let before = info(&mut client);
    assert_eq!(before["process_id"], nodes.get().pid(0).to_string());
    let cpu = |info: &BTreeMap<String, String>| {
        let of = |name: &str| info[name].parse::<f64>().expect("a number");
        of("used_cpu_user") + of("used_cpu_sys")
    };
    let kernel = |name: &str| {
        let text =
            std::fs::read_to_string(format!("/proc/{}/{name}", before["process_id"])).expect("it lives");
        text.trim_end().to_owned()
    };
    // A second of load, in pieces.
    until("work takes processor time", || {
        (0..200).for_each(|_| assert_eq!(client.ask(&[b"SET", b"k", b"v"]), "+OK"));
        cpu(&info(&mut client)) >= cpu(&before) + 0.05
    });
    let now = info(&mut client);
    let of_metrics =
        family(&target, "redis_cpu_user_seconds_total") + family(&target, "redis_cpu_sys_seconds_total");
    assert!(of_metrics >= cpu(&now), "{of_metrics} {}", cpu(&now));
    // The kernel's own account, in ticks of 10 ms, a little later.
    let stat = kernel("stat");
    let ticks: f64 = stat
        .rsplit(')')
        .next()
        .expect("fields")
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|ticks| ticks.parse::<f64>().expect("a number"))
        .sum();
    assert!((ticks / 100.0 - cpu(&now)).abs() < 2.0, "{} {}", ticks / 100.0, cpu(&now));
    let bytes = |name: &str| now[name].parse::<f64>().expect("a number");
    let resident: f64 =
        kernel("statm").split(' ').nth(1).expect("pages").parse::<f64>().expect("a number") * 4096.0;
    assert!((bytes("used_memory_rss") - resident).abs() < 64e6, "{} {resident}", bytes("used_memory_rss"));
    assert!(bytes("used_memory") > 1e6 && bytes("used_memory") <= bytes("used_memory_rss"));
    for (human, plain) in [("used_memory_human", "used_memory"), ("used_memory_rss_human", "used_memory_rss")]
    {
        assert_eq!(now[human], format!("{:.2}M", bytes(plain) / f64::from(1 << 20)), "{human}");
    }
    let metrics = samples(&target);
    for (cores, node, field) in [
        ("synod_memory_bytes", "redis_memory_used_bytes", "used_memory"),
        ("synod_resident_bytes", "redis_memory_used_rss_bytes", "used_memory_rss"),
    ] {
        assert_eq!(metrics[cores], metrics[node], "{cores}");
        assert!((metrics[node] - bytes(field)).abs() < 64e6, "{node} {}", metrics[node]);
    }
    for absent in ["mem_fragmentation_ratio", "latest_fork_usec", "used_memory_peak", "master_repl_offset"] {
        assert!(!now.contains_key(absent), "{absent}");
    }
}

fn micros_now() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_micros()
}

fn a_node_is_who_it_says(nodes: &mut Nodes) {
    let targets = nodes.targets();
    let mut client = RespClient::connect(&targets[0]);
    let (from, now, to) = (micros_now(), info(&mut client), micros_now());
    let time: u128 = now["server_time_usec"].parse().expect("a number");
    assert!(from <= time && time <= to, "{from} {time} {to}");
    let saved: u128 = now["rdb_last_save_time"].parse().expect("a number");
    assert!(from / 1_000_000 <= saved && saved <= to / 1_000_000, "{from} {saved} {to}");
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("Linux tells");
    let os = format!("Linux {} {}", kernel.trim_end(), std::env::consts::ARCH);
    let (version, node) = (env!("CARGO_PKG_VERSION"), nodes.node(0).get().to_string());
    let port = targets[0].rsplit(':').next().expect("a port");
    for (name, value) in [
        ("os", os.as_str()),
        ("arch_bits", "64"),
        ("multiplexing_api", "io_uring"),
        ("mem_allocator", "mimalloc"),
        ("synod_version", version),
        ("redis_mode", "cluster"),
        ("cluster_enabled", "1"),
        ("tcp_port", port),
        ("node", node.as_str()),
        ("cores", "2"),
        ("durability", "sync"),
        ("role", "master"),
        ("connected_slaves", "0"),
        ("uptime_in_days", "0"),
        ("blocked_clients", "0"),
        ("evicted_keys", "0"),
        ("maxmemory", "0"),
        ("maxmemory_human", "0B"),
        ("maxmemory_policy", "noeviction"),
        ("loading", "0"),
        ("rdb_changes_since_last_save", "0"),
        ("rdb_bgsave_in_progress", "0"),
        ("aof_enabled", "1"),
        ("aof_rewrite_in_progress", "0"),
        ("aof_last_write_status", "ok"),
    ] {
        assert_eq!(now[name], value, "{name}");
    }
    let metrics = samples(&targets[0]);
    let identity = format!("{{node=\"{node}\",cluster=\"{}\",version=\"{version}\"}}", now["cluster"]);
    assert_eq!(metrics.get(&format!("synod_info{identity}")), Some(&1.0), "{identity}");
    for (name, value) in [
        ("redis_up", 1.0),
        ("redis_blocked_clients", 0.0),
        ("redis_memory_max_bytes", 0.0),
        ("redis_loading_dump_file", 0.0),
        ("redis_evicted_keys_total", 0.0),
    ] {
        assert_eq!(metrics[name], value, "{name}");
    }
    // HELLO names the same version, after the name of that field and the length of its value.
    let mut hello = RespClient::connect(&targets[0]);
    hello.ask(&[b"HELLO"]);
    while hello.line() != "version" {}
    assert_eq!((hello.line().get(..1), hello.line()), (Some("$"), now["redis_version"].clone()));
    // The nodes have one cluster; each has a directory of its own.
    let other = info(&mut RespClient::connect(&targets[1]));
    assert_eq!(other["cluster"], now["cluster"]);
    assert!(other["incarnation"] != now["incarnation"] && other["run_id"] != now["run_id"]);
    // A new start has a new name, and its time begins anew.
    until("a second has passed", || field(&mut client, "uptime_in_seconds") >= 1.0);
    for name in ["synod_uptime_seconds", "redis_uptime_in_seconds"] {
        let uptime = family(&targets[0], name);
        assert!((1.0..600.0).contains(&uptime), "{name} {uptime}");
    }
    assert!(nodes.get().terminate(0).expect("it ends").success());
    nodes.get().restart(0).expect("it starts");
    nodes.get().wait_node_ready(0, SPREAD_MAX).expect("it serves again");
    let again = info(&mut RespClient::connect(&targets[0]));
    assert_eq!(again["incarnation"], now["incarnation"]);
    assert!(again["run_id"] != now["run_id"] && again["process_id"] != now["process_id"]);
    assert_eq!((again["run_id"].len(), now["run_id"].len()), (40, 40));
}

/// The parameters of CONFIG GET that fit a pattern.
fn parameters(client: &mut RespClient, pattern: &str) -> BTreeMap<String, String> {
    let head = client.ask(&[b"CONFIG", b"GET", pattern.as_bytes()]);
    let count: usize = head.strip_prefix('*').and_then(|count| count.parse().ok()).expect("an array");
    let mut next = || {
        assert!(client.line().starts_with('$'));
        client.line()
    };
    (0..count / 2).map(|_| (next(), next())).collect()
}

fn every_parameter_is_what_is_in_force(target: &str) {
    let mut client = RespClient::connect(target);
    let all = parameters(&mut client, "*");
    let (port, most) = (target.rsplit(':').next().expect("a port"), synod_types::limits::VALUE_BYTES_MAX);
    let (maxclients, longest) = ((2 * 4096).to_string(), most.to_string());
    // The whole list, so that a new parameter is missing here.
    let wanted = [
        ("appendfsync", "always"),
        ("appendonly", "yes"),
        ("bind", "127.0.0.1"),
        ("cluster-enabled", "yes"),
        ("databases", "1"),
        ("dir", all["dir"].as_str()),
        ("maxclients", maxclients.as_str()),
        ("maxmemory", "0"),
        ("maxmemory-policy", "noeviction"),
        ("port", port),
        ("protected-mode", "yes"),
        ("proto-max-bulk-len", longest.as_str()),
        ("requirepass", ""),
        ("save", ""),
        ("tcp-keepalive", "77"),
        ("timeout", "0"),
    ];
    let shown: Vec<(&str, &str)> = all.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(shown, wanted);
    let now = info(&mut client);
    assert_eq!((&all["maxclients"], &all["port"]), (&now["maxclients"], &now["tcp_port"]));
    assert_eq!((&all["maxmemory"], &all["maxmemory-policy"]), (&now["maxmemory"], &now["maxmemory_policy"]));
    assert!(Path::new(&all["dir"]).join("synod.id").exists());
    assert_eq!(client.ask(&[b"SELECT", b"0"]), "+OK");
    assert!(client.ask(&[b"SELECT", b"1"]).starts_with("-ERR"), "there is one database");
    let cluster = client.bulk(&[b"CLUSTER", b"INFO"]).expect("CLUSTER answers");
    assert!(cluster.starts_with(b"cluster_"), "{}", String::from_utf8_lossy(&cluster));
    assert_eq!(client.set("longest", &vec![b'x'; most]), "+OK");
    let refused = RespClient::connect(target).set("longer", &vec![b'x'; most + 1]);
    assert!(refused.starts_with("-ERR"), "{refused}");
    let answer = client.ask(&[b"CONFIG", b"SET", b"maxclients", b"1"]);
    assert!(answer.contains("can't set immutable config"), "{answer}");
    // What can be set is shown as it was set.
    for (given, shown) in [("no", "no"), ("yes", "yes")] {
        assert_eq!(client.ask(&[b"CONFIG", b"SET", b"protected-mode", given.as_bytes()]), "+OK");
        assert_eq!(parameters(&mut client, "protected-mode")["protected-mode"], shown);
    }
    for (given, shown, answer) in
        [("secret", "********", "-NOAUTH Authentication required."), ("", "", "+PONG")]
    {
        assert_eq!(client.ask(&[b"CONFIG", b"SET", b"requirepass", given.as_bytes()]), "+OK");
        assert_eq!(parameters(&mut client, "requirepass")["requirepass"], shown);
        assert_eq!(RespClient::connect(target).ask(&[b"PING"]), answer);
    }
    assert_eq!(client.ask(&[b"CONFIG", b"GET", b"tim*", b"maxmem*", b"nothing"]), "*6");
}

/// Every family and field that a node shows is named by a part of this file that drives it, or by one of the
/// lists of those that are driven elsewhere. So a new row of the table without a driver fails here.
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
    let elsewhere = [BY_UNIT_TEST, BY_FULL_DISKS].concat();
    for name in &elsewhere {
        assert!(shown.contains(*name), "{name} is no longer shown; strike it out");
    }
    let source = include_str!("figures.rs");
    let source = source.split_once("\n/// The text of `INFO all`.").expect("the lists stand before it").1;
    // A family may be named with its labels, a histogram with its sum and count.
    let is_named = |name: &str| {
        ["\"", "{", "_sum\"", "_count\""].iter().any(|end| source.contains(&format!("\"{name}{end}")))
    };
    let missing: Vec<_> =
        shown.iter().filter(|name| !elsewhere.contains(&name.as_str()) && !is_named(name)).collect();
    assert!(missing.is_empty(), "nothing drives {missing:?}");
}

fn forwards_and_follower_reads_are_counted(targets: &[String]) {
    let value = [b'x'; 1000];
    // The first write of a node opens its session with the key's group.
    for target in targets {
        assert_eq!(RespClient::connect(target).set("one", &value), "+OK");
    }
    // A leader may move to its place right after the start: then once more.
    let forwarded = (0..10).any(|_| {
        let changes = over_nodes(targets, "synod_leader_changes_total");
        let before = over_nodes(targets, "synod_forwards_total");
        let written: Vec<f64> =
            targets.iter().map(|target| family(target, "synod_log_written_bytes_total")).collect();
        for target in targets {
            let mut client = RespClient::connect(target);
            (0..10).for_each(|_| assert_eq!(client.set("one", &value), "+OK"));
        }
        for (target, written) in targets.iter().zip(written) {
            until("every node writes what is chosen", || {
                family(target, "synod_log_written_bytes_total") >= written + 30_000.0
            });
            let mut client = RespClient::connect(target);
            assert!(field(&mut client, "log_written_bytes") >= written + 30_000.0);
        }
        let stable = over_nodes(targets, "synod_leader_changes_total") == changes;
        // Two of the three nodes do not lead the key's group. Now and then a node forwards something of its own.
        let forwards = over_nodes(targets, "synod_forwards_total") - before;
        assert!(!stable || forwards >= 20.0, "{forwards}");
        stable && forwards == 20.0
    });
    assert!(forwarded, "never exactly the twenty that two nodes forward");
    alike(targets, "forwards", &["synod_forwards_total"]);
    alike(targets, "log_written_bytes", &["synod_log_written_bytes_total"]);
    // Short values are read where they are asked for: two of the three nodes do not lead the key's group.
    assert_eq!(RespClient::connect(&targets[0]).set("short", b"v"), "+OK");
    let reads = steadily(targets, |_| {
        let before = alike(targets, "follower_reads", &["synod_follower_reads_total"]);
        for target in targets {
            let mut client = RespClient::connect(target);
            (0..10).for_each(|_| assert_eq!(client.get("short"), Ok(b"v".to_vec())));
        }
        alike(targets, "follower_reads", &["synod_follower_reads_total"]) - before
    });
    assert_eq!(reads, 20.0);
}

/// The slots that each node knows to be chosen, then those that each has applied.
fn slots(targets: &[String]) -> Vec<f64> {
    let figures = [("chosen_slots", "synod_chosen_slot"), ("applied_slots", "synod_applied_slot")];
    let of_nodes = figures.iter().flat_map(|(field, family)| {
        targets.iter().map(move |target| alike(std::slice::from_ref(target), field, &[*family]))
    });
    of_nodes.collect()
}

/// Every write passes each stage, and is in every log.
fn writes_are_counted_on_their_way_to_the_log(targets: &[String]) {
    const WRITES: usize = 200;
    let before: Vec<_> = targets.iter().map(|target| samples(target)).collect();
    let slots_before = slots(targets);
    let mut client = RespClient::connect(&targets[0]);
    // One after the other, each in a slot of its own.
    set(&mut client, "{w}", 20, &[]);
    until("every node has them", || {
        slots(targets).iter().zip(&slots_before).all(|(now, before)| *now >= before + 20.0)
    });
    // All at once, so that many share a slot.
    let each = |number: usize| command(&[b"SET", format!("{{w}}:{number}").as_bytes(), b"v"]);
    client.0.write_all(&(0..WRITES).flat_map(each).collect::<Vec<u8>>()).expect("sent");
    (0..WRITES).for_each(|_| assert_eq!(client.line(), "+OK"));
    let after: Vec<_> = targets.iter().map(|target| samples(target)).collect();
    let grown = |node: usize, name: &str| sum(&after[node], name) - sum(&before[node], name);
    let timed = |node: usize, stage: &str| {
        let (name, label) = ("synod_stage_seconds_count", format!("stage=\"{stage}\""));
        labelled(&after[node], name, &label) - labelled(&before[node], name, &label)
    };
    let over_all = |name: &str| (0..targets.len()).map(|node| grown(node, name)).sum::<f64>();
    let (commands, entries) = (over_all("synod_batch_commands_sum"), over_all("synod_batch_commands_count"));
    assert!(commands >= (20 + WRITES) as f64, "{commands} commands were proposed");
    assert!(entries >= 21.0 && entries < commands, "{commands} commands in {entries} entries");
    for stage in ["queue", "quorum", "apply"] {
        let count: f64 = (0..targets.len()).map(|node| timed(node, stage)).sum();
        assert!(count >= 21.0, "{stage} was timed {count} times");
    }
    for (node, target) in targets.iter().enumerate() {
        let records = grown(node, "synod_flush_records_sum");
        assert!(records >= 20.0, "{target}: {records} records");
        assert_eq!(timed(node, "log"), records, "{target}: each record is timed");
        let flushes = grown(node, "synod_flush_records_count");
        assert!(flushes >= 1.0 && flushes == grown(node, "synod_flush_bytes_count"), "{target}: {flushes}");
        let bytes = grown(node, "synod_flush_bytes_sum");
        assert_eq!(bytes, grown(node, "synod_log_written_bytes_total"), "{target}");
    }
    // Replies are timed by sample, at the node that the client talks to.
    assert!(timed(0, "reply") >= 1.0, "no reply was timed");
}

/// The counters of the cache, over all nodes: copies made, dropped and held, lookups with and without one.
fn cache_counts(targets: &[String]) -> [f64; 5] {
    let figures = [
        ("cache_inserts", "synod_cache_inserts_total"),
        ("cache_evictions", "synod_cache_evictions_total"),
        ("cache_cells", "synod_cache_cells"),
        ("cache_hits", "synod_cache_hits_total"),
        ("cache_misses", "synod_cache_misses_total"),
    ];
    figures.map(|(field, family)| alike(targets, field, &[family]))
}

/// Long values: copied when written, evicted when there are too many, read from the log then, and from another
/// node when the log is damaged.
fn copies_of_long_values_are_counted(nodes: &mut Nodes) {
    const VALUES: usize = 600;
    let targets = nodes.targets();
    let value =
        |attempt: usize, number: usize| format!("{attempt}-{number};").repeat(1000)[..3000].to_owned();
    let key = |attempt: usize, number: usize| format!("{{long}}{attempt}:{number}");
    let bytes_max = alike(&targets, "cache_bytes_max", &["synod_cache_bytes_max"]);
    assert_eq!(bytes_max, 3.0 * f64::from(1 << 20));
    let mut client = RespClient::connect(&targets[0]);
    // All keys are in one slot, so they have one leader: only that one keeps copies of what is written.
    let (attempt, inserts, evictions, cells) = steadily(&targets, |attempt| {
        let before = cache_counts(&targets);
        let each = |number: usize| {
            command(&[b"SET", key(attempt, number).as_bytes(), value(attempt, number).as_bytes()])
        };
        client.0.write_all(&(0..VALUES).flat_map(each).collect::<Vec<u8>>()).expect("sent");
        (0..VALUES).for_each(|_| assert_eq!(client.line(), "+OK"));
        let after = cache_counts(&targets);
        (attempt, after[0] - before[0], after[1] - before[1], after[2] - before[2])
    });
    assert_eq!(inserts, VALUES as f64);
    assert!(evictions > 100.0, "{evictions} of {VALUES} copies of 3000 bytes left a cache of a MiB");
    assert_eq!(cells, inserts - evictions);
    let bytes = alike(&targets, "cache_bytes", &["synod_cache_bytes"]);
    assert!(bytes >= 3000.0 * cells && bytes <= bytes_max, "{bytes} of {bytes_max} for {cells}");
    let dropped = |target: &String| family(target, "synod_cache_evictions_total") > 0.0;
    let leader = targets.iter().position(dropped).expect("the leader has dropped copies");
    // The oldest copies are gone. A value that was read has a copy again.
    let mut client = RespClient::connect(&targets[leader]);
    let mut number = 0;
    let (hits, misses) = steadily(&targets, |_| {
        let before = cache_counts(&targets);
        for _ in 0..3 {
            assert_eq!(client.get(&key(attempt, number)), Ok(value(attempt, number).into_bytes()));
        }
        number += 1;
        let after = cache_counts(&targets);
        (after[3] - before[3], after[4] - before[4])
    });
    assert_eq!((hits, misses), (2.0, 1.0));
    // The log of the leader is damaged where the next value without a copy is.
    let failed = || alike(&targets, "log_reads_failed", &["synod_log_reads_failed_total"]);
    let repaired = || alike(&targets, "log_reads_repaired", &["synod_log_reads_repaired_total"]);
    assert_eq!((failed(), repaired()), (0.0, 0.0));
    let damaged = value(attempt, number);
    let data = nodes.get().data_dir(leader);
    let (path, at) = damage::place(&data, damaged.as_bytes()).expect("the value is in the log");
    damage::flip(&path, at + 1000);
    assert_eq!(client.get(&key(attempt, number)), Ok(damaged.into_bytes()), "another node has it");
    assert_eq!((failed(), repaired()), (1.0, 1.0));
    // A node with a damaged log might not start again.
    damage::flip(&path, at + 1000);
}

/// A node dies: the others win its elections. It returns: they hand its share over.
fn a_killed_leader_is_elected_anew_and_gets_its_share_back(nodes: &mut Nodes) {
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
fn a_paused_leader_loses_its_groups(nodes: &mut Nodes) {
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
fn without_a_majority_no_group_is_ready(nodes: &mut Nodes) {
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

fn counters_never_fall_and_a_reset_is_of_info_only(target: &str) {
    let mut client = RespClient::connect(target);
    // The counts of the parts before this one end here.
    assert_eq!(client.ask(&[b"CONFIG", b"RESETSTAT"]), "+OK");
    let is_counter = |sample: &str| sample.split('{').next().is_some_and(|name| name.ends_with("_total"));
    let mut last: BTreeMap<String, f64> = BTreeMap::new();
    let mut look = |what: &str| {
        let now = samples(target);
        for (sample, value) in now.iter().filter(|(sample, _)| is_counter(sample)) {
            assert!(*value >= last.get(sample).copied().unwrap_or(0.0), "{what}: {sample} fell to {value}");
        }
        last = now;
    };
    for round in 0..5 {
        look(&format!("round {round}"));
        set(&mut client, "r", 20, &[]);
        assert_eq!(client.ask(&[b"NOSUCH"]).get(..4), Some("-ERR"));
    }
    let before = info(&mut client);
    assert_eq!(
        (before["cmdstat_set"].as_str(), before["errorstat_ERR"].as_str()),
        ("calls=100,failed_calls=0", "count=5")
    );
    let writes: f64 = before["elections_won"].parse().expect("a number");
    assert_eq!(client.ask(&[b"CONFIG", b"RESETSTAT"]), "+OK");
    let after = info(&mut client);
    // Only this INFO was taken up since.
    assert_eq!(after["total_commands_processed"], "1");
    assert_eq!((after["keyspace_hits"].as_str(), after["total_error_replies"].as_str()), ("0", "0"));
    assert_eq!(after["cmdstat_info"], "calls=1,failed_calls=0");
    assert!(!after.contains_key("cmdstat_set") && !after.contains_key("errorstat_ERR"));
    assert!(after["elections_won"].parse::<f64>().expect("a number") >= writes, "other sections go on");
    look("after the reset");
    assert_eq!(client.ask(&[b"SET", b"a", b"b"]), "+OK");
    assert_eq!(info(&mut client)["cmdstat_set"], "calls=1,failed_calls=0");
}
