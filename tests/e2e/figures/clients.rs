//! What clients do: commands, errors, bytes, connections, hits.

use super::faces::{alike, family, field, fields, info, info_text, labelled, samples, set, sum};
use crate::cluster::until;
use crate::resp::{RespClient, command};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

pub(super) fn hits_and_misses_count_once_over_the_nodes(targets: &[String]) {
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
pub(super) fn requests_and_replies_are_counted_by_kind(targets: &[String]) {
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

pub(super) fn commands_errors_bytes_and_connections_are_counted_exactly(target: &str) {
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

pub(super) fn connections_beyond_the_limit_are_counted(target: &str) {
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

pub(super) fn counters_never_fall_and_a_reset_is_of_info_only(target: &str) {
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
