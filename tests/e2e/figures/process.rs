//! The process, the node and its settings.

use super::faces::{SPREAD_MAX, family, field, info, samples};
use crate::cluster::{Nodes, until};
use crate::resp::RespClient;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

pub(super) fn processor_time_and_memory_are_those_of_the_process(nodes: &mut Nodes) {
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
    // The kernel divides the same time anew between the two each time: the sum is exact to a tick at most.
    assert!(of_metrics >= cpu(&now) - 0.001, "{of_metrics} {}", cpu(&now));
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

pub(super) fn micros_now() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_micros()
}

pub(super) fn a_node_is_who_it_says(nodes: &mut Nodes) {
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
pub(super) fn parameters(client: &mut RespClient, pattern: &str) -> BTreeMap<String, String> {
    let head = client.ask(&[b"CONFIG", b"GET", pattern.as_bytes()]);
    let count: usize = head.strip_prefix('*').and_then(|count| count.parse().ok()).expect("an array");
    let mut next = || {
        assert!(client.line().starts_with('$'));
        client.line()
    };
    (0..count / 2).map(|_| (next(), next())).collect()
}

pub(super) fn every_parameter_is_what_is_in_force(target: &str) {
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
