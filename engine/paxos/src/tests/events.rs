//! What an operator hears of elections, transfers, leases and replicas that are behind. Each change of state
//! is told once, by the replica that it happens to.

use super::cluster::Cluster;
use super::solo::Solo;
use std::vec::Vec;
use synod_types::{Ballot, ElectionEnd, Event, GroupMessage, LeadershipEnd, NodeId};

/// What a node has told since the last call.
fn told(cluster: &mut Cluster, id: u16) -> Vec<Event> {
    cluster.paxos_mut(id).take_events().collect()
}

fn names(cluster: &mut Cluster, id: u16) -> Vec<&'static str> {
    told(cluster, id).iter().map(Event::name).collect()
}

/// Three nodes, led by n1, that have told everything so far.
fn led_by_n1() -> Cluster {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.run_ms(100);
    for id in cluster.ids() {
        told(&mut cluster, id);
    }
    cluster
}

#[test]
fn an_election_is_told_from_the_silence_after_the_start_to_the_first_leader() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    let ballot = cluster.paxos(1).leading().unwrap();
    let won = told(&mut cluster, 1);
    let order: Vec<&str> = won.iter().map(Event::name).collect();
    assert_eq!(order[..2], ["silence_begun", "silence_ended"], "{won:?}");
    assert_eq!(order[order.len() - 2..], ["election_begun", "election_won"], "{won:?}");
    let Some(Event::ElectionWon { ballot: in_ballot, slot, .. }) = won.last() else { panic!("{won:?}") };
    assert_eq!((*in_ballot, cluster.paxos(1).applied_slot() >= *slot), (ballot, true));
    assert!(names(&mut cluster, 2).contains(&"leader_followed"));
    told(&mut cluster, 3);
    cluster.run_ms(2_000);
    let quiet: Vec<&str> = [1, 2, 3].into_iter().flat_map(|id| names(&mut cluster, id)).collect();
    assert!(quiet.iter().all(|name| *name == "silence_ended"), "a group at rest says nothing: {quiet:?}");
}

#[test]
fn a_transfer_is_told_at_both_ends() {
    let mut cluster = led_by_n1();
    let before = cluster.paxos(1).leading().unwrap();
    cluster.transfer(1, 2);
    cluster.until(|cluster| cluster.leader() == Some(2));
    cluster.settle();
    let parting = told(&mut cluster, 1);
    let group = match parting[0] {
        Event::TransferBegun { group, ballot, target } => {
            assert_eq!((ballot, target), (before, NodeId::new(2)));
            group
        }
        other => panic!("{other:?}"),
    };
    let ended = Event::LeadershipEnded { group, ballot: before, why: LeadershipEnd::Transferred };
    assert_eq!(parting[1], ended, "{parting:?}");
    let taking = told(&mut cluster, 2);
    assert_eq!(taking[0], Event::TransferTaken { group, ballot: before });
    let order: Vec<&str> = taking.iter().map(Event::name).collect();
    assert_eq!(order, ["transfer_taken", "election_begun", "election_won"]);
}

#[test]
fn a_transfer_whose_target_is_cut_off_is_given_up() {
    let mut cluster = led_by_n1();
    // Something is open, so the lease is not given up yet.
    assert!(cluster.propose(1, "x"));
    cluster.transfer(1, 2);
    cluster.cut_between(1, 2);
    assert_eq!(names(&mut cluster, 1), ["transfer_begun", "transfer_given_up"]);
    assert!(cluster.paxos(1).leading().is_some());
}

#[test]
fn a_leader_without_a_quorum_loses_its_lease_and_then_its_leadership() {
    let mut cluster = led_by_n1();
    let ballot = cluster.paxos(1).leading().unwrap();
    cluster.only_links(&[]);
    cluster.until(|cluster| cluster.paxos(1).leading().is_none());
    let lost = told(&mut cluster, 1);
    assert!(matches!(lost[0], Event::LeaseLost { ballot: of, .. } if of == ballot), "{lost:?}");
    let why = LeadershipEnd::NoQuorum;
    assert!(matches!(lost[1], Event::LeadershipEnded { why: said, .. } if said == why), "{lost:?}");
    assert_eq!(lost.len(), 2, "{lost:?}");
    let missed = names(&mut cluster, 2);
    assert_eq!(missed, ["leader_missed"], "once, however often it asks for votes");
}

#[test]
fn a_lease_that_comes_back_is_told() {
    let mut cluster = led_by_n1();
    // Only the leader's clock ticks, so nobody stands against it.
    let step = |cluster: &mut Cluster| {
        cluster.pass_ms(5);
        cluster.tick(1);
        cluster.settle();
    };
    cluster.only_links(&[(2, 3)]);
    while cluster.lease(1) {
        step(&mut cluster);
    }
    assert_eq!(names(&mut cluster, 1), ["lease_lost"]);
    cluster.heal();
    while !cluster.lease(1) {
        assert!(cluster.paxos(1).leading().is_some(), "{}", cluster.tail(40));
        step(&mut cluster);
    }
    step(&mut cluster);
    assert_eq!(names(&mut cluster, 1), ["lease_regained"]);
}

#[test]
fn a_candidate_that_hears_of_a_higher_ballot_says_so() {
    let mut n1 = Solo::new(1, &[1, 2, 3]);
    let mine = n1.until_candidate(2);
    n1.hear(2, GroupMessage::Nack { ballot: mine, promised: Ballot::new(mine.round() + 5, NodeId::new(2)) });
    let told: Vec<Event> = n1.paxos.take_events().collect();
    let why = ElectionEnd::HigherBallot;
    let Some(Event::ElectionLost { ballot, why: said, .. }) = told.last() else { panic!("{told:?}") };
    assert_eq!((*ballot, *said), (mine, why));
}
