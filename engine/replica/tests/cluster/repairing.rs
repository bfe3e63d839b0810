//! A log that returns other bytes than were written does no harm while a peer has the right ones.

use super::lab::*;
use synod_types::{Command, Consistency, ErrorKind, Expiry, Op, Reply};

/// A value that every GET reads from the log: there is no cache.
fn long(number: usize) -> String {
    format!("{LONG} {number}")
}

fn get_set(key: &str, value: &str) -> Command<Bytes> {
    set_op(key, value, Expiry::None, true)
}

fn text(reply: &Answer) -> String {
    match reply {
        Reply::Value { value, .. } => String::from_utf8_lossy(value).into_owned(),
        other => format!("{other:?}"),
    }
}

#[test]
fn a_damaged_value_is_read_from_a_peer() {
    let mut lab = Lab::led_by_n1(Setup::default());
    lab.ask(1, set("k", &long(1)));
    // Settled or still in memory at the peers: they have the value either way.
    for filler in [0, 40] {
        for number in 0..filler {
            lab.ask(1, set("other", &"x".repeat(4000 + number)));
        }
        lab.run_ms(100);
        lab.rotten.insert(1);
        for node in [1, 2] {
            assert_eq!(text(&lab.ask(node, get("k"))), long(1), "by way of n{node}");
        }
        lab.rotten.clear();
    }
    let stats = lab.shard(1).core_stats();
    assert!(stats.reads_failed >= 2 && stats.reads_repaired == stats.reads_failed, "{stats:?}");
    assert!(stats.damaged_at.is_some());
}

#[test]
fn a_copy_that_shares_its_place_is_found_too() {
    let mut lab = Lab::led_by_n1(Setup::default());
    lab.ask(1, set("k", &long(1)));
    lab.ask(1, Command::new(bytes("k"), Op::Copy { replace: false }, bytes("copy")));
    lab.ask(1, set("k", "short"));
    lab.run_ms(100);
    lab.rotten.insert(1);
    assert_eq!(text(&lab.ask(1, get("copy"))), long(1));
}

#[test]
fn apply_goes_on_with_a_peers_copy() {
    let mut lab = Lab::led_by_n1(Setup::default());
    for node in [1, 2, 3] {
        lab.ask(1, set("k", &long(node)));
        lab.run_ms(100);
        // The leader's own copy, then a follower's.
        lab.rotten.insert(node as u16);
        assert_eq!(text(&lab.ask(1, get_set("k", &long(7)))), long(node));
        lab.run_ms(300);
        lab.rotten.clear();
    }
    lab.run_ms(300);
    let digest = lab.shard(1).digest(G1);
    assert!(digest.is_some() && digest == lab.shard(2).digest(G1) && digest == lab.shard(3).digest(G1));
}

/// A value that the same entry wrote is not read back from the log, so damage on the disk does not matter.
#[test]
fn apply_takes_from_the_entry_itself_what_it_wrote() {
    let mut lab = Lab::led_by_n1(Setup::default());
    lab.rotten.extend([1, 2, 3]);
    // All requests come in one turn, so they are one entry.
    let requests = [get_set("k", &long(1)), get_set("k", &long(2)), get_set("k", "short")];
    let requests = requests.map(|command| lab.request(1, command));
    let slots = |lab: &Lab| lab.shard(1).digest(G1).map(|(slot, _)| slot);
    let before = slots(&lab).expect("n1 holds the group");
    lab.run_ms(300);
    assert_eq!(slots(&lab), Some(before.next()));
    let replies = requests.map(|request| text(lab.reply(request).expect("answered")));
    assert_eq!(replies, [String::from("Nil"), long(1), long(2)]);
    let digest = lab.shard(1).digest(G1);
    assert!(digest == lab.shard(2).digest(G1) && digest == lab.shard(3).digest(G1));
    assert!(lab.ids().iter().all(|&id| lab.shard(id).core_stats().reads_failed == 0));
}

/// A peer that pulls gets the bytes that were written, never the damaged ones that a disk returns.
#[test]
fn who_catches_up_from_a_damaged_log_gets_a_third_ones_copy() {
    let mut lab = Lab::led_by_n1(Setup::default());
    lab.crash(3);
    lab.ask(1, set("short", "fifteen bytes.."));
    for number in 0..80 {
        lab.ask(1, set("other", &format!("{number}").repeat(2000)));
    }
    lab.rotten.insert(1);
    lab.start(3);
    lab.until("n3 has caught up", |lab| {
        lab.shard(3).digest(G1).is_some() && lab.shard(3).digest(G1) == lab.shard(2).digest(G1)
    });
    assert!(lab.shard(1).core_stats().reads_repaired > 0);
    assert_eq!(text(&lab.ask(3, get("short"))), "fifteen bytes..");
}

/// No replica has the value any more: the client gets an error, in time, and nothing else suffers.
#[test]
fn a_value_that_no_node_has_is_an_error() {
    let mut lab = Lab::led_by_n1(Setup::default());
    lab.ask(1, set("k", &long(1)));
    for number in 0..40 {
        lab.ask(1, set("other", &"x".repeat(4000 + number)));
    }
    lab.run_ms(100);
    lab.rotten.extend([1, 2, 3]);
    let request = lab.request_as(1, G1, Consistency::Linearizable, get("k"));
    lab.run_ms(synod_shard::Timing::default().patience.as_ms() + 200);
    assert_eq!(lab.reply(request), Some(&Reply::Error(ErrorKind::ReadFailed)));
    assert!(matches!(lab.ask(1, set("k", &long(2))), Reply::Done { .. }));
    lab.rotten.clear();
    assert_eq!(text(&lab.ask(1, get("k"))), long(2));
    assert_eq!(lab.unanswered(), 0);
}

/// A value that was overwritten while a peer was asked for it is answered in its new or its old form, never
/// as missing.
#[test]
fn a_value_that_is_overwritten_meanwhile_is_answered() {
    let mut lab = Lab::led_by_n1(Setup::default());
    lab.ask(1, set("k", &long(1)));
    lab.run_ms(100);
    lab.held_reads.insert(1);
    let request = lab.request(1, get("k"));
    lab.ask(1, set("k", "short"));
    lab.rotten.insert(1);
    lab.held_reads.clear();
    lab.settle();
    assert_eq!(lab.reply(request).map(text).as_deref(), Some("short"));
}
