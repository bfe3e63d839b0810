//! P-03, P-09, P-14: slots in flight, heartbeats, windows.

use super::solo::*;
use crate::{Input, LogState, Timing};
use std::string::ToString;
use std::vec::Vec;

/// P-09b: leases need no disk.
#[test]
fn a_leader_whose_log_stalls_keeps_its_lease() {
    let mut n1 = Solo::new(1, &[1, 2, 3]);
    n1.until_leader(2);
    n1.pass_ms(100);
    let log = LogState::stalled_since(n1.now.mono);
    n1.pass_ms(100);
    let said = n1.say(Input::Tick { log });
    assert_eq!(said.iter().filter(|line| line.starts_with("~>")).count(), 2, "{said:?}");
    assert!(n1.paxos.read_ticket().is_some());
    let mut out = Vec::new();
    n1.paxos.heartbeat_if_wanted(n1.now, &mut out);
    assert_eq!(out.len(), 2, "for a read");
    assert!(!n1.paxos.is_transferring(), "nothing says that it would be better elsewhere");
}

/// P-09b: with open slots and without a pause, as soon as a quorum of other logs is known to move.
#[test]
fn a_leader_whose_log_stalls_hands_over_to_the_fastest_of_a_moving_quorum() {
    let mut n1 = Solo::new(1, &[1, 2, 3]);
    let mine = n1.until_leader(2);
    n1.pass_ms(10);
    let log = LogState::stalled_since(n1.now.mono);
    for peer in [2, 3] {
        n1.hear(peer, accepted(mine, n1.paxos.next_slot().expect("it leads").previous().get()));
    }
    n1.propose("a");
    n1.propose("b");
    let next = n1.paxos.next_slot().expect("it leads").previous();
    let tick = |n1: &mut Solo| {
        // Both followers answer the heartbeats that they were sent.
        n1.say(Input::Tick { log: LogState::FINE });
        let sent_at = n1.now.mono;
        let _ = n1.paxos.read_ticket();
        n1.paxos.heartbeat_if_wanted(n1.now, &mut Vec::new());
        [2, 3].into_iter().for_each(|peer| {
            n1.hear_heartbeat_reply(peer, mine, sent_at);
        });
        n1.say(Input::Tick { log }).iter().any(|line| line.contains("hand-over"))
    };
    n1.pass_ms(10);
    n1.hear(3, accepted(mine, next.get()));
    n1.hear(3, accepted(mine, next.get() - 1));
    assert!(!tick(&mut n1), "one of two others moves");
    n1.pass_ms(10);
    n1.hear(2, accepted(mine, next.get()));
    n1.pass_ms(200);
    assert!(!tick(&mut n1), "n2 owes an older answer");
    n1.hear(2, accepted(mine, next.get() - 1));
    assert!(tick(&mut n1));
    assert!(!n1.paxos.lease_valid(n1.now.mono), "it reads no more under its lease");
    assert!(!n1.paxos.can_propose());
    // The heir does not come, and the log still stands: it steps down and does not stand.
    n1.pass_ms(400);
    n1.say(Input::Tick { log });
    assert!(n1.paxos.leading().is_none());
    n1.pass_ms(5_000);
    let said = n1.say(Input::Tick { log });
    assert!(said.iter().all(|line| !line.to_lowercase().contains("vote")), "{said:?}");
}

/// P-03a, P-03b: slots are chosen out of order and applied in order; a vote counts for its ballot and slot
/// alone.
#[test]
fn slots_are_chosen_in_any_order_and_applied_in_order() {
    let mut n1 = Solo::new(1, &[1, 2, 3]);
    let mine = n1.until_leader(2);
    n1.propose("a");
    n1.propose("b");
    n1.disk();
    n1.hear(2, accepted(ballot(mine.round() + 1, 1), 2));
    n1.hear(3, accepted(mine, 3));
    assert!(n1.apply().is_empty());
    n1.hear(2, accepted(mine, 2));
    assert_eq!(n1.apply(), ["s2=a", "s3=b"]);
}

/// P-01b, P-03a: the leader's own vote counts when durable, and a peer's repeated vote counts once.
#[test]
fn votes_are_durable_and_counted_once() {
    let mut n1 = Solo::new(1, &[1, 2, 3]);
    let mine = n1.until_leader(2);
    n1.propose("a");
    n1.hear(2, accepted(mine, 2));
    n1.hear(2, accepted(mine, 2));
    assert_eq!(n1.paxos.chosen(), slot(1));
    n1.disk();
    assert_eq!(n1.apply(), ["s2=a"]);
}

/// P-14a.
#[test]
fn the_window_closes_by_slots() {
    let mut n1 = Solo::new(1, &[1, 2, 3]);
    let mine = n1.until_leader(2);
    let mut count = 0;
    while n1.paxos.can_propose() {
        n1.propose("x");
        count += 1;
    }
    assert_eq!(count, synod_types::limits::WINDOW_SLOTS_MAX);
    n1.disk();
    n1.hear(2, accepted(mine, 2));
    assert!(n1.paxos.can_propose());
}

/// P-14a, P-14c: the window in bytes. A peer that answers nothing while others do is left to pull, until its
/// link is made anew.
#[test]
fn windows_close_by_bytes_and_a_silent_peer_is_sent_no_more() {
    use synod_types::{NodeId, limits};
    let mut n1 = Solo::new(1, &[1, 2, 3]);
    let mine = n1.until_leader(2);
    let big = "x".repeat(limits::WINDOW_BYTES_MAX);
    for number in 2..6 {
        let lines = n1.propose(&big);
        assert!(!n1.paxos.can_propose());
        let to_n3 = lines.iter().any(|line| line.starts_with("-> n3"));
        assert_eq!(to_n3, number < 4, "slot {number}"); // the first, small slot is unanswered too
        n1.disk();
        n1.hear(2, accepted(mine, number));
        n1.apply();
    }
    n1.say(Input::LinkLost { node: NodeId::new(3) });
    assert!(n1.propose("y").iter().any(|line| line.starts_with("-> n3")));
}

/// P-09c: values that are no longer in memory are read back from the log.
#[test]
fn a_fetch_is_served_from_memory_and_from_the_log() {
    let mut n1 = Solo::new(1, &[1, 2, 3]);
    let mine = n1.until_leader(2);
    let big = "x".repeat(600 << 10);
    n1.propose(&big);
    n1.propose("y");
    n1.disk();
    n1.hear(2, accepted(mine, 2));
    n1.hear(2, accepted(mine, 3));
    n1.apply();
    let fetch = |from| synod_types::GroupMessage::Fetch { from: slot(from) };
    assert_eq!(n1.hear(3, fetch(1)), ["read s1 s2 for n3"]);
    assert_eq!(n1.hear(3, fetch(3)), ["-> n3: learn (chosen s3) [s3=y]"]);
}

/// P-09c: what the answer before took says nothing about one that was dropped.
#[test]
fn an_answer_that_the_log_had_no_room_for_is_asked_for_again_soon() {
    let (theirs, lease) = (ballot(1, 2), Timing::default().lease.as_ms());
    let mut n1 = Solo::new(1, &[1, 2, 3]);
    n1.hear_heartbeat(theirs, 400);
    n1.disk();
    n1.pass_ms(20 * lease);
    let values = |first: u64| [(first, theirs, "a"), (first + 1, theirs, "b")];
    let lines = n1.hear(2, learn(400, &values(1)));
    assert!(lines.contains(&"-> n2: fetch from s3".to_string()), "{lines:#?}");
    n1.say(Input::Dropped { from: synod_types::NodeId::new(3) });
    n1.say(Input::Dropped { from: synod_types::NodeId::new(2) });
    let fetches = |n1: &mut Solo| [n1.hear_heartbeat(theirs, 400), n1.tick()].concat();
    n1.pass_ms(4 * lease - 1);
    assert!(!fetches(&mut n1).iter().any(|line| line.contains("fetch from")));
    n1.pass_ms(1);
    assert!(fetches(&mut n1).contains(&"-> n2: fetch from s3".to_string()));
}

/// P-09c: a slow link is not filled with answers to one question.
#[test]
fn a_peer_that_answers_late_is_asked_again_later() {
    let (theirs, resend) = (ballot(1, 2), Timing::default().resend.as_ms());
    let mut n1 = Solo::new(1, &[1, 2, 3]);
    // The times at which it fetches, in units of `resend` from now on.
    let fetches = |n1: &mut Solo, units: u64| {
        let mut asked = Vec::new();
        for ms in (0..units * resend).step_by(5) {
            let lines = [n1.hear_heartbeat(theirs, 400), n1.tick()].concat();
            if lines.iter().any(|line| line.contains("fetch from")) {
                asked.push(ms / resend);
            }
            n1.pass_ms(5);
        }
        asked
    };
    n1.hear_heartbeat(theirs, 400);
    n1.disk();
    assert_eq!(fetches(&mut n1, 40), [1, 3, 7, 15, 27, 39], "twice the time after each, four leases at most");
    // An answer that took so long tells how long the next may take; one that came at once, likewise.
    let values = |first: u64| [(first, theirs, "a"), (first + 1, theirs, "b")];
    let lines = n1.hear(2, learn(400, &values(1)));
    assert!(lines.contains(&"-> n2: fetch from s3".to_string()), "{lines:#?}");
    assert_eq!(fetches(&mut n1, 80), [0; 0]);
    n1.hear(2, learn(400, &values(3)));
    n1.pass_ms(resend / 10);
    n1.hear(2, learn(400, &values(5)));
    assert_eq!(fetches(&mut n1, 6), [1, 3]);
    // A link that was made anew is not the slow one, and a new leader is not the old one.
    n1.say(Input::LinkLost { node: synod_types::NodeId::new(2) });
    assert_eq!(fetches(&mut n1, 4), [0, 1, 3]);
    let next = ballot(2, 3);
    assert!(n1.hear_heartbeat(next, 400).contains(&"-> n3: fetch from s7".to_string()));
}
