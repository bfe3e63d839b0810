//! P-18: a log that can get no further segment, at a follower, a candidate and a leader.

use super::solo::*;
use crate::{Input, Timing, Writable};
use std::string::String;
use std::vec::Vec;
use synod_types::Level;
use synod_types::{Ballot, HeartbeatReply, NodeId, Space};

const ALL: [u16; 3] = [1, 2, 3];

fn room(n1: &mut Solo, space: Space) {
    n1.say(Input::Room { space, is_behind: false });
}

fn records(lines: &[String]) -> Vec<&String> {
    lines.iter().filter(|line| line.starts_with("record")).collect()
}

/// A heartbeat goes out, and `from` answers it with the state of its log.
fn answered(n1: &mut Solo, mine: Ballot, from: u16, is_low: bool) {
    n1.pass_ms(1);
    assert!(n1.paxos.read_ticket().is_some());
    let mut out = Vec::new();
    n1.paxos.heartbeat_if_wanted(n1.now, &mut out);
    let reply = HeartbeatReply {
        group: GROUP,
        ballot: mine,
        sent_at: n1.now.mono,
        chosen: n1.paxos.chosen(),
        is_low,
        level: Level::OWN,
        wall: n1.now.wall,
    };
    n1.say(Input::HeartbeatReply { from: NodeId::new(from), reply });
}

/// P-18a: without room a replica begins nothing that must be written, so that no promise in memory alone
/// binds it.
#[test]
fn a_spent_log_promises_nothing_and_stands_for_nothing() {
    let mut n1 = Solo::new(1, &ALL);
    room(&mut n1, Space::Spent);
    assert!(n1.hear(3, pre_vote(ballot(2, 3)))[0].contains("prevote-refused"));
    assert!(n1.hear(3, prepare(ballot(2, 3), 1)).is_empty());
    assert!(n1.hear_heartbeat(ballot(2, 3), 0).is_empty());
    assert!(records(&n1.hear(3, accept(ballot(2, 3), 1, "x", 0))).is_empty());
    assert!(records(&n1.hear(3, learn(1, &[(1, ballot(2, 3), "x")]))).is_empty());
    assert_eq!(n1.paxos.promised(), Ballot::ZERO);
    for _ in 0..400 {
        n1.pass_ms(5);
        assert_eq!(n1.tick(), [""; 0]);
    }
    // As soon as there is room it works like any other replica.
    room(&mut n1, Space::Free);
    assert_eq!(n1.hear(3, prepare(ballot(2, 3), 1)).len(), 1);
}

/// P-18b: grants need no room, so reads go on whichever log is full.
#[test]
fn a_spent_follower_grants_and_a_spent_leader_reads() {
    let mut n1 = Solo::new(1, &ALL);
    n1.hear_heartbeat(ballot(1, 2), 0);
    n1.disk();
    room(&mut n1, Space::Spent);
    assert_eq!(n1.hear_heartbeat(ballot(1, 2), 0), ["~> n2: heartbeat-reply 1.n2 (chosen s0) low"]);

    let mut n1 = Solo::new(1, &ALL);
    let mine = n1.until_leader(2);
    room(&mut n1, Space::Spent);
    answered(&mut n1, mine, 2, true);
    assert!(n1.paxos.lease_valid(n1.now.mono) && n1.paxos.serving());
    n1.pass_ms(60);
    assert_eq!(
        n1.tick().iter().filter(|line| line.contains("heartbeat 1.n1")).count(),
        2,
        "it goes on saying so"
    );
}

/// P-18c: the reserve is for leaders elected since it was entered; an earlier leader gets no more accepts
/// into it.
#[test]
fn the_reserve_takes_promises_and_the_first_slots_of_a_new_leader() {
    let mut n1 = Solo::new(1, &ALL);
    n1.hear(2, accept(ballot(1, 2), 1, "x", 0));
    n1.disk();
    room(&mut n1, Space::Low);
    assert_eq!(n1.hear(2, accept(ballot(1, 2), 2, "under way", 0)).len(), 1, "what is under way still fits");
    n1.disk();
    room(&mut n1, Space::Reserve);
    assert!(n1.hear(2, accept(ballot(1, 2), 3, "y", 0)).is_empty(), "it is not acknowledged");
    assert!(records(&n1.hear(2, learn(3, &[(3, ballot(1, 2), "y")]))).is_empty(), "nor learned");
    assert_eq!(records(&n1.hear(3, prepare(ballot(2, 3), 1))).len(), 1);
    n1.disk();
    assert_eq!(records(&n1.hear(3, accept(ballot(2, 3), 3, "", 0))).len(), 1);
}

/// P-18e: one promise at a time, for any candidate: what waits for a stalled disk is bounded.
#[test]
fn one_promise_is_under_way_at_a_time() {
    let mut n1 = Solo::new(1, &ALL);
    assert_eq!(records(&n1.hear(2, prepare(ballot(5, 2), 1))).len(), 1);
    for round in 6..100 {
        assert!(n1.hear(3, prepare(ballot(round, 3), 1)).is_empty());
        assert!(n1.hear_heartbeat(ballot(round, 3), 0).is_empty());
        n1.pass(Timing::default().lease);
        assert!(records(&n1.tick()).is_empty());
    }
    n1.disk();
    assert_eq!(records(&n1.hear(3, prepare(ballot(100, 3), 1))).len(), 1);
}

/// P-18e: a winner proposes for all open slots at once, so it waits while the log is behind.
#[test]
fn a_winner_begins_when_the_log_is_no_longer_behind() {
    let mut n1 = Solo::new(1, &ALL);
    let mine = n1.until_candidate(2);
    n1.say(Input::Room { space: Space::Free, is_behind: true });
    n1.hear(2, promise(mine, 0, &[(1, ballot(1, 3), "x")]));
    assert_eq!(n1.paxos.leading(), None);
    n1.pass_ms(5);
    assert!(records(&n1.tick()).is_empty());
    n1.say(Input::Room { space: Space::Free, is_behind: false });
    n1.pass_ms(5);
    assert_eq!(records(&n1.tick()).len(), 2);
    assert_eq!(n1.paxos.leading(), Some(mine));
}

/// P-18d: which member could have a proposal chosen, by what the members report of their logs.
#[test]
fn a_leader_knows_whether_and_where_writes_can_go() {
    let mut n1 = Solo::new(1, &ALL);
    let mine = n1.until_leader(2);
    let now = |n1: &Solo| n1.now.mono;
    answered(&mut n1, mine, 3, true);
    assert_eq!(n1.paxos.writable(now(&n1)), Writable::Yes, "n2 has not had the time to answer");
    n1.pass(Timing::default().lease);
    n1.pass(Timing::default().lease);
    answered(&mut n1, mine, 3, true);
    assert_eq!(n1.paxos.writable(now(&n1)), Writable::No, "n2 does not answer");
    answered(&mut n1, mine, 2, false);
    answered(&mut n1, mine, 3, true);
    assert_eq!(n1.paxos.writable(now(&n1)), Writable::Yes, "a quorum has room");
    let lines = n1.propose("x");
    assert!(lines.iter().any(|line| line.starts_with("-> n2")));
    assert!(!lines.iter().any(|line| line.starts_with("-> n3")), "who is low is spared");
    answered(&mut n1, mine, 2, true);
    assert_eq!(n1.paxos.writable(now(&n1)), Writable::No, "only the leader has room");
    answered(&mut n1, mine, 2, false);
    room(&mut n1, Space::Low);
    assert!(!n1.paxos.can_propose());
    assert_eq!(n1.paxos.writable(now(&n1)), Writable::No, "n2 alone is no quorum");
    answered(&mut n1, mine, 3, false);
    assert_eq!(n1.paxos.writable(now(&n1)), Writable::Unclear, "n2 may have filled up as n1 has");
    answered(&mut n1, mine, 2, false);
    answered(&mut n1, mine, 3, false);
    assert!(matches!(n1.paxos.writable(now(&n1)), Writable::Elsewhere(_)));
    let later = now(&n1).plus(Timing::default().lease);
    assert_eq!(n1.paxos.writable(later), Writable::Unclear, "no node could lead at once");
    answered(&mut n1, mine, 2, true);
    assert_eq!(n1.paxos.writable(now(&n1)), Writable::No);
    room(&mut n1, Space::Free);
    assert_eq!(n1.paxos.writable(now(&n1)), Writable::Yes);
    // n3 has room but is no longer heard: n2 would be needed.
    n1.pass(Timing::default().lease);
    n1.pass(Timing::default().lease);
    answered(&mut n1, mine, 2, true);
    assert_eq!(n1.paxos.writable(now(&n1)), Writable::No);
}

/// P-18d: leadership is not transferred to a replica without room.
#[test]
fn a_target_has_room() {
    let mut n1 = Solo::new(1, &ALL);
    let mine = n1.until_leader(2);
    answered(&mut n1, mine, 2, true);
    n1.say(Input::TransferLeadership { target: NodeId::new(2) });
    assert!(!n1.paxos.is_transferring());
    answered(&mut n1, mine, 2, false);
    n1.say(Input::TransferLeadership { target: NodeId::new(2) });
    assert!(n1.paxos.is_transferring());
}

/// P-18c: replicas that have room stand first.
#[test]
fn who_is_low_stands_a_lease_later() {
    let until = |space: Space| {
        let mut n1 = Solo::new(1, &ALL);
        room(&mut n1, space);
        n1.hear_heartbeat(ballot(1, 2), 0);
        n1.disk();
        let before = n1.now.mono;
        n1.until_pre_vote();
        n1.now.mono.since(before)
    };
    assert_eq!(until(Space::Low).0, until(Space::Free).0 + Timing::default().lease.0);
}
