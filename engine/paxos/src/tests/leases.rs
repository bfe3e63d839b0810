//! P-07: which replicas a grant binds, how long a lease lasts, when a read may be served.

use super::cluster::Cluster;
use super::solo::*;
use crate::{Effect, Input, LogState, Timing};
use std::string::String;
use std::vec::Vec;
use synod_types::{Ballot, Mono, Nanos};

const ALL: [u16; 3] = [1, 2, 3];

/// A follower that has just promised `theirs` and granted a lease in it.
fn granted(theirs: Ballot) -> Solo {
    let mut n1 = Solo::new(1, &ALL);
    n1.hear_heartbeat(theirs, 0);
    n1.disk();
    let lines = n1.hear_heartbeat(theirs, 0);
    assert!(lines.iter().any(|line| line.starts_with("~> n2: heartbeat-reply")), "{lines:#?}");
    n1
}

fn silent_or_refused(lines: &[String]) -> bool {
    lines.iter().all(|line| line.contains("prevote-refused"))
}

/// P-07a.
#[test]
fn a_grant_refuses_others_until_it_ends() {
    let mut n1 = granted(ballot(1, 2));
    n1.pass(Nanos(Timing::default().lease.0 - 1));
    assert!(n1.hear(3, prepare(ballot(2, 3), 1)).is_empty());
    assert!(silent_or_refused(&n1.hear(3, pre_vote(ballot(2, 3)))));
    n1.pass(Nanos(1));
    assert!(n1.hear(3, pre_vote(ballot(2, 3)))[0].contains("prevote-granted"));
    assert_eq!(n1.hear(3, prepare(ballot(2, 3), 1)).len(), 1);
}

/// P-07a: the leader that holds the lease may raise its ballot.
#[test]
fn a_grant_does_not_bind_against_its_holder() {
    let mut n1 = granted(ballot(1, 2));
    assert_eq!(n1.hear(2, prepare(ballot(2, 2), 1)).len(), 1);
}

/// P-07a: a heartbeat of another leader in a higher ballot gets neither a promise nor a grant.
#[test]
fn a_grant_is_not_given_twice() {
    let mut n1 = granted(ballot(1, 2));
    assert!(n1.hear_heartbeat(ballot(2, 3), 0).is_empty());
}

/// P-07c.
#[test]
fn a_restarted_acceptor_is_silent_for_one_lease() {
    let mut n1 = Solo::new(1, &ALL);
    n1.now.mono = Mono(1_000_000_000 + Timing::default().lease.0 - 1);
    assert!(n1.hear(3, prepare(ballot(2, 3), 1)).is_empty());
    assert!(silent_or_refused(&n1.hear(3, pre_vote(ballot(2, 3)))));
    assert!(n1.hear_heartbeat(ballot(2, 3), 0).is_empty());
    n1.pass(Nanos(1));
    assert_eq!(n1.hear(3, prepare(ballot(2, 3), 1)).len(), 1);
}

/// P-07d: hearing a ballot does not promise it.
#[test]
fn a_heartbeat_is_answered_under_a_durable_promise_only() {
    let mut n1 = Solo::new(1, &ALL);
    let theirs = ballot(1, 2);
    assert_eq!(n1.hear_heartbeat(theirs, 0), ["record promise 1.n2 (chosen s0)"]);
    assert!(n1.hear_heartbeat(theirs, 0).is_empty());
    n1.disk();
    assert_eq!(n1.hear_heartbeat(theirs, 0), ["~> n2: heartbeat-reply 1.n2 (chosen s0)"]);
}

/// Sends the heartbeats for a read now; returns their time.
fn heartbeat_now(n1: &mut Solo) -> Mono {
    assert!(n1.paxos.read_ticket().is_some());
    let mut out = Vec::new();
    n1.paxos.heartbeat_if_wanted(n1.now, &mut out);
    match out.first() {
        Some(Effect::Heartbeat { heartbeat, .. }) => heartbeat.sent_at,
        other => panic!("no heartbeat: {other:?}"),
    }
}

/// P-07b: a lease counts from the sending of the heartbeat, however late the answer comes.
#[test]
fn a_lease_counts_from_sending_less_the_drift() {
    let timing = Timing::default();
    let mut n1 = Solo::new(1, &ALL);
    let mine = n1.until_leader(2);
    n1.pass_ms(1);
    let sent = heartbeat_now(&mut n1);
    assert!(!n1.paxos.lease_valid(n1.now.mono));
    n1.pass_ms(200);
    n1.hear_heartbeat_reply(2, mine, sent);
    let end = Mono(sent.0 + timing.lease.0 - timing.drift.0);
    assert!(n1.paxos.lease_valid(Mono(end.0 - 1)));
    assert!(!n1.paxos.lease_valid(end));
}

/// P-07b: of five nodes, the leader and one follower are no quorum.
#[test]
fn a_lease_takes_an_accept_quorum() {
    let mut n1 = Solo::new(1, &[1, 2, 3, 4, 5]);
    let mine = n1.until_candidate_of(&[2, 3]);
    for from in [2, 3] {
        n1.hear(from, promise(mine, 0, &[]));
    }
    n1.pass_ms(1);
    let sent = heartbeat_now(&mut n1);
    n1.hear_heartbeat_reply(2, mine, sent);
    assert!(!n1.paxos.lease_valid(n1.now.mono));
    n1.hear_heartbeat_reply(2, mine, sent);
    assert!(!n1.paxos.lease_valid(n1.now.mono), "a repeated answer is one answer");
    n1.hear_heartbeat_reply(3, mine, sent);
    assert!(n1.paxos.lease_valid(n1.now.mono));
}

/// P-07e.
#[test]
fn a_leader_is_bound_by_its_own_lease() {
    let mut n1 = Solo::new(1, &ALL);
    let mine = n1.until_leader(2);
    n1.pass_ms(1);
    let sent = heartbeat_now(&mut n1);
    n1.hear_heartbeat_reply(2, mine, sent);
    let higher = ballot(mine.round() + 1, 3);
    assert!(n1.hear(3, prepare(higher, 1)).is_empty());
    assert!(silent_or_refused(&n1.hear(3, pre_vote(higher))));
    assert_eq!(n1.paxos.leading(), Some(mine));
    n1.pass(Timing::default().lease);
    assert_eq!(n1.hear(3, prepare(higher, 1)).len(), 1);
    assert_eq!(n1.paxos.leading(), None);
}

/// P-07f: the answer to a heartbeat from before the read confirms nothing about the time after it.
#[test]
fn a_ticket_is_valid_by_a_later_heartbeat_only() {
    let mut n1 = Solo::new(1, &ALL);
    let mine = n1.until_leader(2);
    n1.pass_ms(1);
    let before = heartbeat_now(&mut n1);
    let ticket = n1.paxos.read_ticket().unwrap();
    n1.hear_heartbeat_reply(2, mine, before);
    assert!(!n1.paxos.ticket_valid(ticket, n1.now.mono), "although there is a lease");
    assert!(n1.paxos.lease_valid(n1.now.mono));
    let after = heartbeat_now(&mut n1);
    assert!(after > before, "in the same instant, too");
    n1.hear_heartbeat_reply(2, mine, after);
    assert!(n1.paxos.ticket_valid(ticket, n1.now.mono));
}

/// P-07b, P-07f: two heartbeats are under way, and the first is answered after the second was sent. The
/// answer confirms the time when the first one was sent, not the second.
#[test]
fn a_late_answer_confirms_the_heartbeat_that_it_answers() {
    let timing = Timing::default();
    let mut n1 = Solo::new(1, &ALL);
    let mine = n1.until_leader(2);
    n1.pass_ms(1);
    let first = heartbeat_now(&mut n1);
    n1.pass_ms(200);
    let ticket = n1.paxos.read_ticket().unwrap();
    let second = heartbeat_now(&mut n1);
    assert!(second > first);
    n1.hear_heartbeat_reply(2, mine, first);
    assert!(!n1.paxos.ticket_valid(ticket, n1.now.mono));
    let end = Mono(first.0 + timing.lease.0 - timing.drift.0);
    assert!(n1.paxos.lease_valid(Mono(end.0 - 1)) && !n1.paxos.lease_valid(end));
    n1.hear_heartbeat_reply(2, mine, second);
    assert!(n1.paxos.ticket_valid(ticket, n1.now.mono) && n1.paxos.lease_valid(end));
}

/// P-07f: answers in another ballot, or to a heartbeat never sent, confirm nothing.
#[test]
fn foreign_answers_confirm_nothing() {
    let mut n1 = Solo::new(1, &ALL);
    let mine = n1.until_leader(2);
    n1.pass_ms(1);
    let sent = heartbeat_now(&mut n1);
    n1.hear_heartbeat_reply(2, ballot(mine.round() + 1, 1), sent);
    n1.hear_heartbeat_reply(2, mine, Mono(sent.0 + 1));
    assert!(!n1.paxos.lease_valid(n1.now.mono));
}

/// P-06g: no peer answers it, but its heartbeats would keep followers that hear it from electing a better
/// leader.
#[test]
fn an_unconfirmed_leader_steps_down_after_two_leases() {
    let mut n1 = Solo::new(1, &ALL);
    n1.until_leader(2);
    n1.pass(Nanos(2 * Timing::default().lease.0));
    n1.say(Input::Tick { log: LogState::FINE });
    assert!(n1.paxos.leading().is_some());
    n1.pass_ms(1);
    n1.say(Input::Tick { log: LogState::FINE });
    assert_eq!(n1.paxos.leading(), None);
}

/// P-06g: the peers of a leader that is heard and hears nobody do not wait for the lease that they granted.
#[test]
fn a_leader_that_hears_nobody_tells_the_peer_heard_last_to_lead() {
    let mut n1 = Solo::new(1, &ALL);
    let mine = n1.until_leader(2);
    for peer in [2, 3, 2] {
        n1.pass(Timing::default().heartbeat);
        n1.tick();
        n1.hear_heartbeat_reply(peer, mine, n1.now.mono);
    }
    let mut lines = Vec::new();
    while n1.paxos.leading().is_some() {
        n1.pass_ms(5);
        lines = n1.tick();
    }
    let told: Vec<_> = lines.iter().filter(|line| line.contains("hand-over")).collect();
    assert_eq!(told, ["-> n2: hand-over 1.n1 (chosen s1)"]);
}

/// P-06g, P-17a: and no read relies on the lease by then (the cluster checks that after every step).
#[test]
fn a_leader_that_is_heard_and_hears_nobody_is_followed_by_another_before_a_third_lease() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.run_ms(1_000);
    cluster.cut.extend([(2, 1), (3, 1)]);
    let lease = Timing::default().lease.as_ms();
    cluster.run_ms(2 * lease + 100);
    assert!(matches!(cluster.leader(), Some(2 | 3)), "{:?}", cluster.leader());
}

/// P-06g: it is confirmed all the time, but cannot fetch the slots that its quorum knows as chosen; another
/// replica may be able to serve.
#[test]
fn a_leader_that_cannot_get_ready_steps_down_after_eight_leases() {
    let mut n1 = Solo::from_records(1, &ALL, &[promise_record(ballot(3, 3), 0)]);
    let mine = n1.until_candidate(2);
    n1.hear(2, promise(mine, 2, &[]));
    n1.disk();
    n1.hear(2, accepted(mine, 3));
    let lease = Timing::default().lease.0;
    let since = n1.now.mono;
    while n1.now.mono.since(since).0 <= 8 * lease {
        assert!(n1.paxos.leading().is_some() && !n1.paxos.serving());
        let sent = n1.now.mono;
        n1.tick();
        n1.hear_heartbeat_reply(2, mine, sent);
        n1.pass_ms(5);
    }
    n1.tick();
    assert_eq!(n1.paxos.leading(), None);
}
