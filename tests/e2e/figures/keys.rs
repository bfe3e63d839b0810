//! Keys and expiries.

use super::faces::{alike, family, fields_over_nodes, info, over_nodes, set};
use crate::cluster::until;
use crate::resp::RespClient;

pub(super) fn keys_and_expiries_add_up_over_the_nodes(targets: &[String]) {
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
