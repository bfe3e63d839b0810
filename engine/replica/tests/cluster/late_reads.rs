//! P-09b: a disk that does not return what was written costs its leader the groups, and clients only time.

use super::lab::*;
use synod_shard::Leadership;
use synod_types::{ErrorKind, Expiry, Reply};

/// A value that every GET reads from the log: there is no cache.
fn long(number: usize) -> String {
    format!("{LONG} {number}")
}

fn text(reply: Option<&Answer>) -> String {
    match reply {
        Some(Reply::Value { value, .. }) => String::from_utf8_lossy(value).into_owned(),
        other => format!("{other:?}"),
    }
}

/// n1 leads, its clients read a value that only the log has, and its disk returns nothing.
fn reads_stand_at_n1(setup: Setup) -> (Lab, synod_types::RequestId) {
    let mut lab = Lab::led_by_n1(setup);
    lab.ask(1, set("k", &long(1)));
    lab.run_ms(100);
    lab.held_reads.insert(1);
    let request = lab.request(1, get("k"));
    lab.run_ms(100);
    assert!(lab.reply(request).is_none() && lab.reads(1) == 1, "it waits for the disk");
    (lab, request)
}

#[test]
fn a_leader_whose_reads_stand_hands_over_and_the_next_leader_answers() {
    let (mut lab, request) = reads_stand_at_n1(Setup::default());
    lab.run_ms(1_000);
    assert_eq!(text(lab.reply(request)), long(1), "nobody has written, and it has moved nevertheless");
    assert!(!lab.leads(1, G1));
    assert!(lab.told_by(1).contains(&"stalled_handover"));
    assert!(lab.shard(1).read_age(lab.now().mono).0 > 0, "the read is under way yet");
    // Its bytes come after all, and nobody waits for them.
    lab.held_reads.clear();
    lab.run_ms(100);
    assert_eq!(lab.shard(1).core_stats().reads_late, 0);
}

/// The node that the group belongs to has handed it over: it does not get it back at once, to hand it over again.
#[test]
fn who_hands_over_is_not_made_the_leader_again_at_once() {
    let setup = Setup { leadership: Leadership::Balance, ..Setup::default() };
    let (mut lab, request) = reads_stand_at_n1(setup);
    lab.run_ms(1_000);
    assert_eq!(text(lab.reply(request)), long(1));
    lab.told_by(1);
    for _ in 0..30 {
        lab.run_ms(100);
        assert!(!lab.leads(1, G1));
    }
    // Whenever it gets it back while the read is under way, it hands it over again, and is left alone for longer.
    lab.run_ms(20_000);
    let handed_over = lab.told_by(1).iter().filter(|name| **name == "stalled_handover").count();
    assert!((1..=3).contains(&handed_over), "handed over {handed_over} times");
    lab.held_reads.clear();
    lab.until("it leads again", |lab| lab.leads(1, G1));
}

/// Nothing would be better elsewhere: the others' logs stand as well, so the leader stays, and its reads end
/// when its disk goes on.
#[test]
fn where_no_log_moves_a_leader_whose_reads_stand_stays() {
    let (mut lab, request) = reads_stand_at_n1(Setup::default());
    lab.held_disks.extend([1, 2, 3]);
    lab.run_ms(2_000);
    assert!(lab.reply(request).is_none() && lab.leads(1, G1));
    lab.held_reads.clear();
    lab.held_disks.clear();
    lab.run_ms(100);
    assert_eq!(text(lab.reply(request)), long(1));
}

/// A read that does not come back within a request's patience is asked of a peer.
#[test]
fn a_late_read_is_answered_with_a_peers_copy() {
    let (mut lab, request) = reads_stand_at_n1(Setup::default());
    // Nobody takes the group over.
    lab.loses_timeout_now = true;
    lab.until("it is answered", |lab| lab.reply(request).is_some());
    assert_eq!(text(lab.reply(request)), long(1));
    // Meanwhile it has led most of the time.
    let mut led = 0;
    for _ in 0..40 {
        lab.run_ms(100);
        led += u32::from(lab.leads(1, G1));
    }
    assert!(led > 30, "led {led} times of 40");
}

/// Apply goes on with a peer's copy of the old value that its own disk does not return.
#[test]
fn apply_does_not_wait_for_ever_for_a_read() {
    let mut lab = Lab::led_by_n1(Setup::default());
    lab.ask(1, set("k", &long(1)));
    lab.run_ms(100);
    lab.held_reads.insert(3);
    lab.ask(1, set_op("k", &long(2), Expiry::None, true));
    lab.run_ms(1_000);
    assert_ne!(lab.shard(3).digest(G1), lab.shard(1).digest(G1), "n3 waits for its disk");
    lab.run_ms(5_000);
    assert_eq!(lab.shard(3).digest(G1), lab.shard(1).digest(G1));
    assert_eq!(lab.shard(3).core_stats().reads_late, 1);
    lab.held_reads.clear();
    lab.run_ms(100);
}

/// A node of its own has nobody to ask: its clients wait as long as a request may.
#[test]
fn a_lone_node_waits_for_its_disk() {
    let (mut lab, request) = reads_stand_at_n1(Setup { nodes: 1, ..Setup::default() });
    lab.run_ms(10_000);
    assert!(lab.reply(request).is_none());
    lab.until("its time is over", |lab| lab.reply(request).is_some());
    assert!(matches!(lab.reply(request), Some(Reply::Error(ErrorKind::ReadFailed))));
    assert!(lab.leads(1, G1));
}
