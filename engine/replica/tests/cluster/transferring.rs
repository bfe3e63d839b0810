//! P-17 with clients (P-17d): no client is told "unknown" because a leader handed over, and leaders move to
//! the nodes that their requests come from.

use super::lab::*;
use synod_shard::{FollowLoad, Input, Leadership};
use synod_types::{Nanos, NodeId, PeerMessage, Reply, RequestId, SessionStamp};

fn transfer(lab: &mut Lab, from: u16, target: u16) {
    lab.step(from, Input::TransferLeadership { group: G1, target: NodeId::new(target) });
}

/// Requests are under way everywhere: in the pipeline, waiting for it, forwarded, in ReadIndex questions. All
/// get their answers.
#[test]
fn what_is_under_way_is_answered_by_any_leader_in_the_end() {
    let mut lab = Lab::led_by_n1(Setup { pipeline_slots: 1, ..Setup::default() });
    lab.run_ms(100);
    let mut asked: Vec<RequestId> = Vec::new();
    for round in 0..20 {
        for id in lab.ids() {
            asked.push(lab.request(id, increment("counter")));
            asked.push(lab.request(id, set(&format!("k{round}"), "v")));
            asked.push(lab.request(id, get("counter")));
        }
        lab.turn_end(1 + round % 3);
        if round == 5 {
            transfer(&mut lab, 1, 2);
        }
        if round % 2 == 0 && !lab.wires.is_empty() {
            lab.deliver_at(0);
            lab.disk(1);
        }
    }
    lab.until("the target leads", |lab| lab.leader() == Some(2));
    lab.run_ms(50);
    assert_eq!(lab.unanswered(), 0);
    for request in asked {
        let reply = lab.reply(request).unwrap();
        assert!(!matches!(reply, Reply::Error(_)), "{reply:?}");
    }
    for id in lab.ids() {
        assert_eq!(lab.ask(id, increment("counter")), Reply::Int(60 + i64::from(id)));
    }
}

/// A command of a session that was executed before is not executed again by the target.
#[test]
fn a_retry_at_the_target_gets_the_first_answer() {
    let mut lab = Lab::led_by_n1(Setup::default());
    lab.run_ms(100);
    let open = synod_types::Command::plain(Bytes::default(), synod_types::Op::OpenSession);
    let Reply::Session(session) = lab.ask(1, open) else { panic!("a session") };
    let command = || stamped(increment("n"), SessionStamp { session, sequence: 1, lowest_open: 1 });
    assert_eq!(lab.ask(1, command()), Reply::Int(1));
    transfer(&mut lab, 1, 3);
    lab.until("the target leads", |lab| lab.leader() == Some(3));
    assert_eq!(lab.ask(3, command()), Reply::Int(1));
}

fn following() -> Setup {
    let follow = FollowLoad { window: Nanos::from_ms(200), requests_min: 20 };
    Setup { leadership: Leadership::Follow(follow), groups: 2, ..Setup::default() }
}

/// All requests come by way of n3: the group that they ask for is soon led there, the other one stays.
#[test]
fn a_leader_goes_where_it_is_asked_from() {
    let mut lab = Lab::led_by_n1(following());
    for round in 0..120 {
        assert_eq!(lab.ask(3, increment("n")), Reply::Int(round + 1));
        lab.run_ms(5);
    }
    assert!(lab.serves(3, G1));
    assert!(lab.serves(1, G2));
    lab.take(|_| true);
    lab.request(3, increment("n"));
    assert!(lab.forwards().is_empty());
}

/// A follower that answers reads itself asks only for points: these questions count as well.
#[test]
fn questions_for_reads_are_load_too() {
    let mut lab = Lab::led_by_n1(following());
    lab.ask(1, set("k", "v"));
    for _ in 0..120 {
        assert!(matches!(lab.ask(2, get("k")), Reply::Value { .. }));
        lab.run_ms(5);
    }
    assert!(lab.serves(2, G1));
}

/// Leaders stay if requests come evenly from all nodes; so they do with `Leadership::Stay`.
#[test]
fn no_leader_moves_for_even_load_or_when_it_is_switched_off() {
    let mut lab = Lab::led_by_n1(following());
    let mut still = Lab::led_by_n1(Setup::default());
    for round in 0..120 {
        lab.ask(1 + round % 3, increment("n"));
        lab.run_ms(5);
        still.ask(3, increment("n"));
        still.run_ms(5);
    }
    assert!(lab.serves(1, G1) && lab.serves(1, G2));
    assert!(still.serves(1, G1));
}

/// A node that forwards to a leader which is handing over is told to look for the next leader, not that the
/// outcome is unknown.
#[test]
fn a_request_that_meets_a_parting_leader_waits_for_the_target() {
    let mut lab = Lab::led_by_n1(Setup::default());
    lab.run_ms(100);
    transfer(&mut lab, 1, 2);
    lab.turn_end(1);
    let told = lab.take(|packet| matches!(packet.message, PeerMessage::Group { .. }));
    assert!(!told.is_empty());
    let write = lab.request(3, increment("n"));
    let own = lab.request(1, increment("n"));
    lab.settle();
    assert_eq!((lab.reply(write), lab.reply(own)), (None, None), "the target has not heard of it yet");
    lab.wires.extend(told);
    lab.settle();
    lab.run_ms(20);
    assert_eq!(lab.leader(), Some(2));
    let mut answers = [lab.reply(write).cloned(), lab.reply(own).cloned()];
    answers.sort_by_key(|reply| matches!(reply, Some(Reply::Int(2))));
    assert_eq!(answers, [Some(Reply::Int(1)), Some(Reply::Int(2))]);
}
