//! P-06h: a replica that is far behind lets others lead, and leads when no other replica can.

use super::cluster::Cluster;
use super::solo::*;
use crate::{FAR_BEHIND_SLOTS, Input, Timing};
use std::string::String;
use std::vec::Vec;
use synod_types::{Ballot, GroupMessage, NodeId, Slot};

const ALL: [u16; 3] = [1, 2, 3];
const FAR: u64 = FAR_BEHIND_SLOTS + 1;

fn answer(ballot: Ballot, granted: bool, chosen: u64) -> GroupMessage<super::describe::Bytes> {
    GroupMessage::PreVoteReply { ballot, granted, promised: Ballot::ZERO, chosen: slot(chosen) }
}

fn says(lines: &[String], word: &str) -> bool {
    lines.iter().any(|line| line.contains(word))
}

/// The milliseconds until the next pre-vote.
fn wait_for_pre_vote(n1: &mut Solo) -> u64 {
    let before = n1.now.mono;
    n1.until_pre_vote();
    n1.now.mono.since(before).as_ms()
}

#[test]
fn who_hears_that_it_is_far_behind_lets_others_stand_first_twice() {
    let mut n1 = Solo::new(1, &ALL);
    let two_leases = 2 * Timing::default().lease.as_ms();
    for _ in 0..2 {
        let mine = n1.until_pre_vote();
        let lines = n1.hear(2, answer(mine, true, FAR));
        assert!(!says(&lines, "prepare"), "{lines:#?}");
        let waited = wait_for_pre_vote(&mut n1);
        assert!(waited >= two_leases, "{waited} ms");
        // The pre-vote of that wait gets no answer.
        n1.pass(Timing::default().lease);
        n1.tick();
    }
    // No other replica leads: now it does.
    let mine = n1.until_pre_vote();
    let lines = n1.hear(2, answer(mine, true, FAR));
    assert!(says(&lines, "prepare"), "{lines:#?}");
}

#[test]
fn who_is_near_does_not_wait() {
    let mut n1 = Solo::new(1, &ALL);
    let mine = n1.until_pre_vote();
    assert!(says(&n1.hear(2, answer(mine, true, FAR_BEHIND_SLOTS)), "prepare"));
}

/// It heard the watermark of a leader that died, so it knows that it is behind without asking.
#[test]
fn who_knows_that_it_is_far_behind_lets_others_stand_first() {
    let mut n1 = Solo::new(1, &ALL);
    n1.hear_heartbeat(ballot(4, 2), FAR);
    n1.disk();
    n1.hear_heartbeat(ballot(4, 2), FAR);
    // Its grant, and two more leases.
    for _ in 0..3 * Timing::default().lease.as_ms() / 5 {
        n1.pass_ms(5);
        assert!(!says(&n1.tick(), "prevote"));
    }
    n1.until_pre_vote();
}

/// It won before it knew that it is behind. It gives the election away to a replica that is near, and leads
/// itself only after that failed twice.
#[test]
fn a_winner_that_is_far_behind_gives_the_election_away() {
    let mut n1 = Solo::new(1, &ALL);
    for round in 0..3 {
        // The pre-votes come from n3, which is as far behind.
        let mine = n1.until_candidate(3);
        let lines = n1.hear(2, promise(mine, FAR, &[]));
        if round < 2 {
            assert!(says(&lines, &std::format!("-> n2: hand-over {mine} (chosen s0)")), "{lines:#?}");
            assert_eq!(n1.paxos.leading(), None);
            // A late promise changes nothing: the ballot is given away for good.
            n1.hear(3, promise(mine, 0, &[]));
            assert_eq!(n1.paxos.leading(), None);
            assert!(!n1.paxos.lease_valid(n1.now.mono));
        } else {
            assert_eq!(n1.paxos.leading(), Some(mine));
        }
    }
}

/// A replica that was told to stand does not pass that on: two replicas could do so endlessly.
#[test]
fn a_target_that_is_far_behind_leads() {
    let theirs = ballot(4, 2);
    let mut n1 = Solo::new(1, &ALL);
    n1.hear_heartbeat(theirs, 0);
    n1.disk();
    n1.hear_heartbeat(theirs, 0);
    n1.hear(2, GroupMessage::TimeoutNow { ballot: theirs, chosen: Slot::ZERO });
    let mine = ballot(5, 1);
    n1.hear(3, answer(mine, true, FAR));
    n1.disk();
    n1.hear(3, promise(mine, FAR, &[]));
    assert_eq!(n1.paxos.leading(), Some(mine));
}

/// So many refusals that no quorum is left end a pre-vote at once.
#[test]
fn a_pre_vote_that_is_refused_is_tried_again_before_its_time_is_up() {
    let mut n1 = Solo::new(1, &ALL);
    let mine = n1.until_pre_vote();
    n1.hear(2, answer(mine, false, 0));
    n1.hear(2, answer(mine, false, 0));
    n1.hear(3, answer(mine, false, 0));
    let waited = wait_for_pre_vote(&mut n1);
    let Timing { heartbeat, election_jitter, .. } = Timing::default();
    assert!(waited <= (heartbeat.as_ms() / 2) + election_jitter.as_ms() + 5, "{waited} ms");
}

/// Links may not be made yet when it asks: it asks the peers that have not answered again.
#[test]
fn a_pre_vote_is_repeated_to_who_has_not_answered() {
    let mut n1 = Solo::new(1, &[1, 2, 3, 4, 5]);
    let mine = n1.until_pre_vote();
    n1.hear(2, answer(mine, false, 0));
    n1.hear(3, answer(mine, true, 0));
    n1.pass(Timing::default().resend);
    let lines = n1.tick();
    let asked: Vec<&str> = lines.iter().map(|line| &line[..5]).collect();
    assert_eq!(asked, ["-> n4", "-> n5"], "{lines:#?}");
}

/// The whole on a cluster: the leader dies while the replica of first rank is far behind.
#[test]
fn the_leader_dies_while_one_replica_is_far_behind() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.run_ms(100);
    cluster.cut_between(1, 3);
    cluster.cut_between(2, 3);
    for count in 0..FAR + 100 {
        cluster.write(&std::format!("{count}"));
    }
    cluster.heal();
    cluster.crash(1);
    let spent = cluster.until(|cluster| cluster.leader().is_some());
    assert_eq!(cluster.leader(), Some(2), "{}", cluster.tail(40));
    assert!(spent <= 4 * Timing::default().lease.as_ms(), "{spent} ms");
}

/// P-17a: a target whose link broke may have restarted, and would be silent: the leader keeps its lease.
#[test]
fn a_hand_over_to_a_lost_peer_is_called_off() {
    let mut n1 = Solo::new(1, &ALL);
    let mine = n1.until_leader(2);
    n1.pass_ms(60);
    let sent_at = n1.now.mono;
    n1.tick();
    let chosen = n1.paxos.chosen();
    n1.hear_heartbeat_reply_knowing(2, mine, sent_at, chosen);
    n1.say(Input::TransferLeadership { target: NodeId::new(2) });
    assert!(!n1.paxos.can_propose());
    n1.say(Input::LinkLost { node: NodeId::new(2) });
    assert!(n1.paxos.can_propose() && n1.paxos.lease_valid(n1.now.mono));
}

/// P-17a: the leader keeps its lease if the target has fallen behind while the leader drained.
#[test]
fn a_target_that_fell_behind_meanwhile_is_not_told_to_stand() {
    for knows in [FAR + 10, 0] {
        let mut n1 = Solo::new(1, &ALL);
        let mine = n1.until_leader(2);
        let mut last = 0;
        for _ in 0..FAR + 10 {
            n1.propose("x");
            last = n1.paxos.next_slot().unwrap().previous().get();
            n1.disk();
            n1.hear(2, accepted(mine, last));
            n1.apply();
        }
        let says_it_knows = |n1: &mut Solo, chosen: u64| {
            n1.pass_ms(60);
            let sent_at = n1.now.mono;
            n1.tick();
            let chosen = slot(chosen);
            n1.hear_heartbeat_reply_knowing(2, mine, sent_at, chosen);
        };
        says_it_knows(&mut n1, last);
        n1.propose("y");
        n1.say(Input::TransferLeadership { target: NodeId::new(2) });
        says_it_knows(&mut n1, knows);
        n1.disk();
        n1.hear(2, accepted(mine, last + 1));
        n1.apply();
        let mut out = Vec::new();
        n1.paxos.transfer_if_drained(n1.now, &mut out);
        assert_eq!(out.len(), usize::from(knows > 0), "{knows}");
    }
}
