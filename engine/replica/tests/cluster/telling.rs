//! What reaches the operator through the turn that ships.

use super::lab::*;
use synod_shard::Input;
use synod_types::{NodeId, Reply};

#[test]
fn an_overload_is_told_when_it_begins_and_when_it_is_over_and_not_per_request() {
    let mut lab = Lab::led_by_n1(Setup { pending_bytes_max: 1_000, ..Setup::default() });
    lab.run_ms(100);
    lab.told_by(1);
    let asked: Vec<_> = (0..50).map(|_| lab.request(2, set("k", LONG))).collect();
    lab.run_ms(500);
    assert!(asked.iter().all(|&request| matches!(lab.reply(request), Some(Reply::Done { .. }))));
    assert_eq!(lab.told_by(1), ["overload_begun"]);
    lab.run_ms(1_100);
    assert_eq!(lab.told_by(1), ["overload_ended"]);
}

#[test]
fn a_log_that_stalls_is_told_and_so_is_its_end() {
    let mut lab = Lab::led_by_n1(Setup::default());
    lab.run_ms(100);
    lab.told_by(1);
    lab.held_disks.insert(1);
    lab.request(1, increment("n"));
    lab.run_ms(500);
    let told = lab.told_by(1);
    assert_eq!(told.iter().filter(|name| **name == "log_stalled").count(), 1, "{told:?}");
    assert!(!told.contains(&"log_resumed"), "{told:?}");
    lab.held_disks.clear();
    lab.run_ms(100);
    let told = lab.told_by(1);
    assert!(told.contains(&"slow_flush") && told.contains(&"log_resumed"), "{told:?}");
}

#[test]
fn elections_and_transfers_reach_the_operator() {
    let mut lab = Lab::led_by_n1(Setup::default());
    lab.run_ms(100);
    let told = lab.told_by(1);
    assert!(told.contains(&"silence_begun") && told.contains(&"election_won"), "{told:?}");
    lab.step(1, Input::TransferLeadership { group: G1, target: NodeId::new(2) });
    lab.until("the target leads", |lab| lab.leader() == Some(2));
    lab.run_ms(20);
    assert_eq!(lab.told_by(1)[..2], ["transfer_begun", "leadership_ended"]);
    assert!(lab.told_by(2).ends_with(&["transfer_taken", "election_begun", "election_won"]));
}

#[test]
fn damage_and_its_repair_are_told() {
    let mut lab = Lab::led_by_n1(Setup::default());
    lab.ask(1, set("k", LONG));
    lab.run_ms(100);
    lab.told_by(1);
    lab.rotten.insert(1);
    assert!(matches!(lab.ask(1, get("k")), Reply::Value { .. }));
    assert_eq!(lab.told_by(1), ["read_damaged", "read_repaired"]);
}
