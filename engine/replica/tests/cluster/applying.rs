//! Apply: entries in order, blocked on cold values, each client answered once.

use super::lab::*;
use synod_types::{Expiry, Reply};

/// P-12d: the first command of a batch was answered, the second waits for a cold value, and the leader is
/// overtaken meanwhile. The first command must not be answered again.
#[test]
fn a_batch_that_is_blocked_half_way_gives_each_answer_once_when_leadership_is_lost() {
    let mut lab = Lab::led_by_n1(Setup::default());
    lab.ask(1, set("cold", LONG));
    lab.held_reads.insert(1);
    let first = lab.request(1, set("a", "1"));
    let second = lab.request(1, set_op("cold", "short", Expiry::None, true));
    lab.settle();
    assert!(matches!(lab.reply(first), Some(Reply::Done { .. })));
    assert_eq!(lab.reply(second), None, "it waits for the old value");

    lab.isolate(1);
    lab.run_ms(1_500); // the lab panics at a second answer to `first`
    assert!(!lab.leads(1, G1));
    assert_eq!(lab.reply(second), None, "it may be executed yet");
    assert!(matches!(lab.reply(first), Some(Reply::Done { .. })));
    // The slot was chosen: once it is applied here, its result is known, whoever leads.
    lab.read_done(1);
    assert!(matches!(lab.reply(second), Some(Reply::Value { value, .. }) if value == LONG.as_bytes()));
    assert_eq!(lab.unanswered(), 0);
}

/// A group that waits for a cold value holds up no other group.
#[test]
fn a_parked_group_does_not_hold_up_another() {
    let mut lab = Lab::led_by_n1(Setup { groups: 2, ..Setup::default() });
    lab.ask(1, set("cold", LONG));
    lab.held_reads.insert(1);
    let parked = lab.request(1, set_op("cold", "short", Expiry::None, true));
    let other = lab.request_as(1, G2, synod_types::Consistency::Linearizable, set("a", "1"));
    lab.settle();
    assert_eq!(lab.reply(parked), None);
    assert!(matches!(lab.reply(other), Some(Reply::Done { .. })));
    lab.read_done(1);
    assert!(matches!(lab.reply(parked), Some(Reply::Value { .. })));
}
