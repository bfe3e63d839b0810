//! P-16: keys with a time to live, on nodes whose wall clocks are wrong.

use super::lab::*;
use synod_types::{Expiry, Reply};

fn is_there(lab: &mut Lab, via: u16, key: &str) -> bool {
    matches!(lab.ask(via, get(key)), Reply::Value { .. })
}

/// A node that was just started has heard no leader's clock, and two wall clocks that contradict each other
/// decide nothing.
#[test]
fn nothing_is_written_before_it_is_known_what_time_it_is() {
    let mut lab = Lab::led_by_n1(Setup::default());
    for id in 1..=3 {
        lab.crash(id);
    }
    lab.walls_ms.insert(2, 100_000);
    lab.start(1);
    lab.start(2);
    lab.run_ms(1_000);
    let write = lab.request(1, set_op("lock", "v", Expiry::After(10_000), false));
    lab.run_ms(1_500);
    assert_eq!(lab.reply(write), None, "it is not stamped with a time that no node knows");
    lab.run_ms(2_000);
    assert!(matches!(lab.reply(write), Some(Reply::Done { .. })), "{:?}", lab.reply(write));
    lab.run_ms(8_500);
    assert!(is_there(&mut lab, 1, "lock"), "it lives as long as was asked for");
    lab.run_ms(2_500);
    assert!(!is_there(&mut lab, 1, "lock"));
}

#[test]
fn a_lock_lives_as_long_as_was_asked_for_under_any_leader() {
    let mut lab = Lab::led_by_n1(Setup::default());
    lab.walls_ms.insert(3, 50_000);
    assert!(matches!(lab.ask(1, set_op("lock", "v", Expiry::After(60_000), false)), Reply::Done { .. }));
    let due = lab.now().wall.plus_ms(60_000);
    while !lab.leads(3, G1) {
        let leader = lab.until_leader();
        lab.isolate(leader);
        lab.run_ms(1_500);
        lab.heal();
        lab.run_ms(500);
        assert!(lab.now().wall.plus_ms(10_000) < due, "n3 does not come to lead");
    }
    assert!(is_there(&mut lab, 3, "lock"), "its wall clock does not count");
    while lab.now().wall.plus_ms(100) < due {
        lab.run_ms(50);
    }
    assert!(is_there(&mut lab, 3, "lock"));
    // The time that heartbeats were under way, and steering: a thousandth.
    lab.run_ms(400);
    assert!(!is_there(&mut lab, 3, "lock"));
}
