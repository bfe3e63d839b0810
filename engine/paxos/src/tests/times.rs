//! P-16: where a group's clock continues, and what it is set and steered by.

use super::solo::*;
use crate::Effect;
use std::vec::Vec;
use synod_types::{Ballot, GroupMessage, Level, Nanos, NodeId, TimeReport, WallMs};

const ALL: [u16; 3] = [1, 2, 3];
const HOUR: u64 = 3_600_000;

fn clock(n1: &Solo) -> Option<WallMs> {
    n1.paxos.leader_clock(n1.now.mono)
}

/// The answer of `from` to a heartbeat sent just now.
fn answer(n1: &mut Solo, from: u16, mine: Ballot, wall: WallMs) {
    assert!(n1.paxos.read_ticket().is_some());
    let mut out = Vec::new();
    n1.paxos.heartbeat_if_wanted(n1.now, &mut out);
    let Some(Effect::Heartbeat { heartbeat, .. }) = out.first() else { panic!("no heartbeat: {out:?}") };
    let reply = synod_types::HeartbeatReply {
        group: GROUP,
        ballot: mine,
        sent_at: heartbeat.sent_at,
        chosen: n1.paxos.chosen(),
        is_low: false,
        level: Level::OWN,
        wall,
    };
    n1.say(crate::Input::HeartbeatReply { from: NodeId::new(from), reply });
}

/// The first slot of the leader is chosen and applied.
fn caught_up(n1: &mut Solo, friend: u16, mine: Ballot) {
    n1.disk();
    let first = n1.paxos.next_slot().expect("it leads").previous().get();
    n1.hear(friend, accepted(mine, first));
    n1.apply();
}

#[test]
fn a_winner_goes_on_where_the_last_leader_was_whatever_its_wall_clock_says() {
    let mut n1 = Solo::new(1, &ALL);
    let theirs = ballot(1, 2);
    let time = WallMs(n1.now.wall.0 + HOUR);
    n1.hear_heartbeat_at(time, theirs, 0);
    n1.disk();
    n1.hear_heartbeat_at(time, theirs, 0);
    let heard = n1.now.mono;
    n1.now.wall = n1.now.wall.plus_ms(77 * HOUR);
    n1.until_leader(3);
    let passed = n1.now.mono.since(heard).as_ms();
    assert_eq!(clock(&n1), Some(time.plus_ms(passed)));
}

#[test]
fn what_the_last_leader_said_counts_over_what_an_earlier_one_did() {
    for (round, is_later) in [(1, false), (3, true)] {
        let mut n1 = Solo::new(1, &ALL);
        let (theirs, early) = (ballot(2, 2), WallMs(n1.now.wall.0 + HOUR));
        n1.hear_heartbeat_at(early, theirs, 0);
        n1.disk();
        n1.hear_heartbeat_at(early, theirs, 0);
        let heard = n1.now.mono;
        let mine = n1.until_candidate(3);
        // The other voter has heard another leader, whose clock is an hour behind.
        let (time, age) = (WallMs(early.0 - HOUR), Nanos::from_ms(10));
        let report = TimeReport { ballot: ballot(round, 3), time, age, wall: n1.now.wall };
        n1.hear(3, promise_at(report, mine, 0, &[]));
        let own = early.plus_ms(n1.now.mono.since(heard).as_ms());
        assert_eq!(clock(&n1), Some(if is_later { time } else { own }), "round {round}");
    }
}

#[test]
fn who_led_remembers_its_own_clock() {
    let mut n1 = Solo::new(1, &ALL);
    n1.until_leader(2);
    let (led, at) = (clock(&n1).expect("it leads"), n1.now.mono);
    n1.now.wall = WallMs(5);
    n1.pass_ms(400);
    let lines = n1.step(crate::Input::Message { from: NodeId::new(3), message: prepare(ballot(9, 3), 1) });
    let reported = lines.iter().find_map(|effect| match effect {
        Effect::Append { then, .. } => then.iter().find_map(|(_, message)| match message {
            GroupMessage::Promise { time, .. } => Some(*time),
            _ => None,
        }),
        _ => None,
    });
    let report = reported.expect("it promises");
    assert_eq!(report.time, led.plus_ms(n1.now.mono.since(at).as_ms()));
    assert_eq!((report.age, report.wall), (Nanos::ZERO, n1.now.wall));
}

#[test]
fn a_clock_without_a_past_is_set_by_wall_clocks_that_agree_and_nothing_is_served_until_then() {
    let mut n1 = Solo::new(1, &ALL);
    // Its own wall clock is twenty seconds ahead of the others'.
    let off = |n1: &Solo| WallMs(n1.now.wall.0 - 20_000);
    let mine = n1.until_candidate(2);
    let report = TimeReport { wall: off(&n1), ..UNHEARD };
    n1.hear(2, promise_at(report, mine, 0, &[]));
    caught_up(&mut n1, 2, mine);
    assert_eq!((clock(&n1), n1.paxos.serving()), (None, false), "one against one");
    n1.pass_ms(10);
    let wall = off(&n1);
    answer(&mut n1, 3, mine, wall);
    n1.tick();
    assert_eq!((clock(&n1), n1.paxos.serving()), (Some(off(&n1)), true), "two against one");
}

#[test]
fn without_agreement_the_earliest_clock_of_a_majority_is_taken_after_a_while_but_none_before_what_was_applied()
 {
    let early = |n1: &Solo| WallMs(n1.now.wall.0 - 200_000);
    for applied in [0, 1] {
        let mut n1 = Solo::new(1, &ALL);
        let mine = n1.until_candidate(2);
        let report = TimeReport { wall: early(&n1), ..UNHEARD };
        n1.hear(2, promise_at(report, mine, 0, &[]));
        caught_up(&mut n1, 2, mine);
        if applied == 1 {
            let time = WallMs(early(&n1).0 + 100_000);
            n1.paxos.applied_time(time, n1.now.mono);
        }
        for _ in 0..29 {
            n1.pass_ms(100);
            let wall = early(&n1);
            answer(&mut n1, 2, mine, wall);
            n1.tick();
            assert_eq!((clock(&n1), n1.paxos.serving()), (None, false));
        }
        n1.pass_ms(200);
        let wall = early(&n1);
        answer(&mut n1, 2, mine, wall);
        n1.tick();
        assert!(n1.paxos.serving());
        let wanted = if applied == 0 { early(&n1) } else { n1.now.wall };
        assert_eq!(clock(&n1), Some(wanted));
    }
}

#[test]
fn a_wall_clock_that_is_set_moves_nothing_at_once_and_one_alone_nothing_at_all() {
    let mut n1 = Solo::new(1, &ALL);
    let mine = n1.until_leader(2);
    let (start, at) = (clock(&n1).expect("it leads"), n1.now.mono);
    let right = |n1: &Solo| start.plus_ms(n1.now.mono.since(at).as_ms());
    let run = |n1: &mut Solo, others: &dyn Fn(&Solo) -> WallMs| {
        for _ in 0..20 {
            n1.pass_ms(50);
            let wall = others(n1);
            answer(n1, 2, mine, wall);
            answer(n1, 3, mine, wall);
            n1.tick();
        }
    };
    // Its own wall clock is set by an hour; the others' are right.
    n1.now.wall = n1.now.wall.plus_ms(HOUR);
    run(&mut n1, &right);
    assert_eq!(clock(&n1), Some(right(&n1)));
    assert_eq!(n1.paxos.clock_skew_ms(), Some(0));
    // All wall clocks are set forward by an hour: the clock runs 2 % faster.
    run(&mut n1, &|n1| n1.now.wall);
    let ahead = clock(&n1).expect("it leads").0 - right(&n1).0;
    assert!((15..=20).contains(&ahead), "{ahead} ms in a second");
    assert!(n1.paxos.clock_skew_ms().is_some_and(|skew| skew < -3_599_000));
    // All wall clocks are set back: the clock runs slower, and never back.
    n1.now.wall = WallMs(n1.now.wall.0 - HOUR - 500_000);
    let before = clock(&n1).expect("it leads").0;
    run(&mut n1, &|n1| n1.now.wall);
    let passed = clock(&n1).expect("it leads").0 - before;
    assert!((975..=986).contains(&passed), "{passed} ms in a second");
}

#[test]
fn nothing_is_stamped_before_what_was_applied() {
    let mut n1 = Solo::new(1, &ALL);
    n1.until_leader(2);
    let later = WallMs(clock(&n1).expect("it leads").0 + 5_000);
    n1.paxos.applied_time(later, n1.now.mono);
    assert_eq!(clock(&n1), Some(later));
    n1.pass_ms(7);
    assert_eq!(clock(&n1), Some(later.plus_ms(7)));
    n1.paxos.applied_time(WallMs(3), n1.now.mono);
    assert_eq!(clock(&n1), Some(later.plus_ms(7)));
}

#[test]
fn a_node_alone_goes_by_its_own_wall_clock() {
    let mut n1 = Solo::new(1, &[1]);
    for _ in 0..200 {
        n1.pass_ms(5);
        n1.tick();
        n1.disk();
        n1.apply();
        if n1.paxos.serving() {
            break;
        }
    }
    assert_eq!(clock(&n1), Some(n1.now.wall));
    assert!(n1.paxos.serving());
}
