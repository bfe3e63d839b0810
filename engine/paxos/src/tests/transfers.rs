//! P-17: a leader that transfers leadership first gives up its lease, and grants in that ballot no longer
//! bind against its target.

use super::cluster::Cluster;
use super::solo::*;
use crate::{Input, LogState, Timing};
use std::string::String;
use std::vec::Vec;
use synod_types::Level;
use synod_types::{Ballot, GroupMessage, Mono, Nanos, NodeId, Slot};

const ALL: [u16; 3] = [1, 2, 3];

fn transfer_to(target: u16) -> Input<super::describe::Bytes> {
    Input::TransferLeadership { target: NodeId::new(target) }
}

/// A leader whose lease n2 has granted.
fn leased() -> (Solo, Ballot) {
    let mut n1 = Solo::new(1, &ALL);
    let mine = n1.until_leader(2);
    let chosen = n1.paxos.chosen().get();
    n1.hear(2, accepted(mine, chosen));
    n1.pass_ms(60);
    let sent = n1.now.mono;
    n1.tick();
    n1.hear_heartbeat_reply(2, mine, sent);
    assert!(n1.paxos.lease_valid(n1.now.mono));
    (n1, mine)
}

/// Ends a turn.
fn turn_end(n1: &mut Solo) -> Vec<String> {
    let mut out = Vec::new();
    n1.paxos.transfer_if_drained(n1.now, &mut out);
    n1.paxos.heartbeat_if_wanted(n1.now, &mut out);
    n1.paxos.invariants();
    super::describe::effects(&out)
}

fn is_pre_vote(line: &str) -> bool {
    line.contains("prevote")
}

#[test]
fn a_leader_gives_its_lease_up_and_then_tells_its_target() {
    let (mut n1, mine) = leased();
    assert!(n1.say(transfer_to(2)).is_empty());
    assert!(n1.paxos.lease_valid(n1.now.mono), "not yet");
    assert!(!n1.paxos.can_propose());
    let chosen = n1.paxos.chosen();
    assert_eq!(turn_end(&mut n1), [std::format!("-> n2: hand-over {mine} (chosen {chosen})")]);
    assert!(!n1.paxos.lease_valid(n1.now.mono), "before anybody hears of it");
    // A heartbeat is due, for a read and by time. None is sent: the target must not take the leader for
    // alive.
    assert!(n1.paxos.read_ticket().is_some());
    assert!(turn_end(&mut n1).is_empty());
    n1.pass_ms(100);
    assert!(n1.tick().is_empty());
    assert!(!n1.paxos.can_propose() && !n1.paxos.lease_valid(n1.now.mono));
    // Nothing keeps it from promising the target.
    assert_eq!(n1.hear(2, prepare(ballot(mine.round() + 1, 2), 1)).len(), 1);
    assert_eq!(n1.paxos.leading(), None);
}

#[test]
fn a_leader_finishes_what_is_open_first() {
    let (mut n1, mine) = leased();
    n1.propose("x");
    let slot = n1.paxos.next_slot().unwrap().previous().get();
    n1.say(transfer_to(2));
    assert!(turn_end(&mut n1).is_empty(), "undecided");
    n1.disk();
    n1.hear(3, accepted(mine, slot));
    assert!(turn_end(&mut n1).is_empty(), "decided, not applied");
    assert_eq!(n1.apply().len(), 1);
    assert!(turn_end(&mut n1).is_empty(), "the target has not answered for it");
    n1.hear(2, accepted(mine, slot));
    assert_eq!(turn_end(&mut n1).len(), 1);
}

#[test]
fn a_target_that_does_not_get_ready_is_given_up_and_the_lease_is_kept() {
    let (mut n1, mine) = leased();
    n1.propose("x");
    n1.disk();
    n1.say(transfer_to(2));
    n1.pass(Timing::default().lease);
    let sent = n1.now.mono;
    n1.tick();
    n1.hear_heartbeat_reply(3, mine, sent);
    assert!(n1.paxos.can_propose() && n1.paxos.lease_valid(n1.now.mono));
    assert!(turn_end(&mut n1).is_empty());
}

#[test]
fn a_leader_whose_target_does_not_stand_stands_anew_without_waiting_for_its_old_grants() {
    let (mut n1, mine) = leased();
    n1.say(transfer_to(2));
    turn_end(&mut n1);
    n1.pass(Timing::default().lease);
    let lines = n1.tick();
    assert_eq!(n1.paxos.leading(), None);
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(lines.iter().all(|line| is_pre_vote(line) && line.ends_with(&std::format!("after {mine}"))));
}

/// P-17c: it stands in a ballot above the one that its target may still be standing in.
#[test]
fn a_target_that_was_slow_does_not_depose_who_took_over_from_it() {
    let (mut n1, mine) = leased();
    n1.say(transfer_to(2));
    turn_end(&mut n1);
    n1.pass(Timing::default().lease);
    let lines = n1.tick();
    let next = ballot(mine.round() + 2, 1);
    assert!(lines.iter().all(|line| line.contains(&std::format!("prevote {next} after"))), "{lines:#?}");
}

/// P-17a: a target that is catching up would lead long before it serves.
#[test]
fn leadership_is_not_transferred_to_a_peer_that_is_far_behind() {
    let (mut n1, mine) = leased();
    for _ in 0..=2 * synod_types::limits::WINDOW_SLOTS_MAX {
        n1.propose("x");
        let slot = n1.paxos.next_slot().unwrap().previous().get();
        n1.disk();
        n1.hear(3, accepted(mine, slot));
        n1.apply();
    }
    n1.say(Input::LinkLost { node: NodeId::new(2) });
    n1.say(transfer_to(2));
    assert!(n1.paxos.can_propose() && turn_end(&mut n1).is_empty());
    // The target has caught up, and says so.
    n1.pass_ms(60);
    let sent_at = n1.now.mono;
    n1.tick();
    let chosen = n1.paxos.chosen();
    n1.hear_heartbeat_reply_knowing(2, mine, sent_at, chosen);
    n1.say(transfer_to(2));
    assert_eq!(turn_end(&mut n1).len(), 1);
}

#[test]
fn leadership_is_not_transferred_to_a_peer_that_is_not_there_or_before_it_serves() {
    let (mut n1, _) = leased();
    for stranger in [1, 3, 9] {
        n1.say(transfer_to(stranger)); // itself, a silent peer, an unknown node
        assert!(n1.paxos.can_propose());
    }
    let mut n1 = Solo::new(1, &ALL);
    n1.say(transfer_to(2));
    assert!(turn_end(&mut n1).is_empty());
}

/// A follower that has just promised `theirs` and granted a lease in it.
fn granted(theirs: Ballot) -> Solo {
    let mut n1 = Solo::new(1, &ALL);
    n1.hear_heartbeat(theirs, 0);
    n1.disk();
    n1.hear_heartbeat(theirs, 0);
    n1
}

fn pre_vote_after(mine: Ballot, after: Ballot) -> GroupMessage<super::describe::Bytes> {
    GroupMessage::PreVote { ballot: mine, after }
}

#[test]
fn a_grant_binds_no_longer_in_a_ballot_that_was_given_up() {
    let theirs = ballot(4, 2);
    let mine = ballot(5, 3);
    let mut n1 = granted(theirs);
    for other in [Ballot::ZERO, ballot(3, 2), ballot(4, 3)] {
        let message = pre_vote_after(mine, other);
        assert!(n1.hear(3, message)[0].contains("prevote-refused"), "{other}");
        let message = GroupMessage::Prepare { ballot: mine, after: other, from: Slot::new(1) };
        assert!(n1.hear(3, message).is_empty(), "{other}");
    }
    let message = pre_vote_after(mine, theirs);
    assert!(n1.hear(3, message)[0].contains("prevote-granted"));
    let message = GroupMessage::Prepare { ballot: mine, after: theirs, from: Slot::new(1) };
    assert_eq!(n1.hear(3, message).len(), 1);
}

#[test]
fn the_silence_after_a_restart_is_not_broken() {
    let mut n1 = Solo::new(1, &ALL);
    n1.now.mono = Mono(1_000_000_000 + Timing::default().lease.0 - 1);
    let message = GroupMessage::Prepare { ballot: ballot(2, 3), after: ballot(1, 2), from: Slot::new(1) };
    assert!(n1.hear(3, message).is_empty());
    n1.hear(2, GroupMessage::TimeoutNow { ballot: ballot(1, 2), chosen: Slot::ZERO });
    n1.pass(Nanos(1));
    assert!(!n1.tick().iter().any(|line| is_pre_vote(line)));
}

#[test]
fn a_target_stands_at_once_and_does_not_take_its_predecessor_for_alive() {
    let theirs = ballot(4, 2);
    let mut n1 = granted(theirs);
    let told = GroupMessage::TimeoutNow { ballot: theirs, chosen: Slot::ZERO };
    // From another node, or for another ballot, it is ignored.
    assert!(n1.hear(3, told.clone()).is_empty());
    assert!(n1.hear(2, GroupMessage::TimeoutNow { ballot: ballot(3, 2), chosen: Slot::ZERO }).is_empty());
    let lines = n1.hear(2, told);
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(lines.iter().all(|line| line.ends_with("prevote 5.n1 after 4.n2")), "{lines:#?}");
    // An earlier heartbeat, and an earlier accept, arrive after `TimeoutNow`.
    assert!(n1.hear_heartbeat(theirs, 0).is_empty());
    assert!(n1.hear(2, accept(theirs, 1, "x", 0)).is_empty());
    let granted = GroupMessage::PreVoteReply {
        ballot: ballot(5, 1),
        granted: true,
        promised: Ballot::ZERO,
        chosen: Slot::ZERO,
    };
    let [record] = &n1.hear(3, granted)[..] else { panic!("one record") };
    assert!(record.starts_with("record promise 5.n1") && record.ends_with("prepare 5.n1 from s1 after 4.n2"));
}

/// P-17b, P-09b: its promise would become durable late, and depose whoever was elected instead.
#[test]
fn a_target_whose_log_stalls_does_not_stand() {
    let theirs = ballot(4, 2);
    let mut n1 = granted(theirs);
    n1.say(Input::Tick { log: LogState::stalled_since(n1.now.mono) });
    let told = GroupMessage::TimeoutNow { ballot: theirs, chosen: Slot::ZERO };
    assert_eq!(n1.hear(2, told.clone()).len(), 1, "it says no");
    n1.tick();
    assert_eq!(n1.hear(2, told).len(), 2);
}

/// The whole on a cluster: the target leads at once, and everything written before is there.
#[test]
fn leadership_passes_on_without_waiting_for_a_lease_to_end() {
    let mut cluster = Cluster::with_clocks(3, 10_000);
    cluster.elect(1);
    cluster.write("before");
    cluster.run_ms(100);
    for (from, target) in [(1, 3), (3, 2), (2, 1)] {
        assert_eq!(cluster.leader(), Some(from));
        cluster.transfer(from, target);
        cluster.settle();
        assert_eq!(cluster.leader(), Some(target), "{}", cluster.tail(40));
        assert!(!cluster.lease(from));
        cluster.write(&std::format!("at {target}"));
        cluster.run_ms(100);
    }
    assert_eq!(cluster.applied(2), ["before", "at 3", "at 2", "at 1"]);
}

/// The target dies after it was told to stand: the old leader or another replica leads again.
#[test]
fn a_lost_target_costs_time_and_nothing_else() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.run_ms(100);
    cluster.transfer(1, 2);
    cluster.crash(2);
    let spent = cluster.until(|cluster| cluster.leader().is_some_and(|id| cluster.lease(id)));
    assert!(spent <= 2 * Timing::default().lease.as_ms(), "{spent} ms");
    cluster.write("after");
}

/// P-19a: the node that comes back after its link was lost may run another build; a late answer of the
/// previous one does not count.
#[test]
fn a_level_counts_until_the_link_is_lost() {
    let (mut n1, mine) = leased();
    let answer = |n1: &mut Solo, from: u16, sent_at| {
        let chosen = n1.paxos.chosen();
        n1.hear_heartbeat_reply_knowing(from, mine, sent_at, chosen);
    };
    let heartbeat = |n1: &mut Solo| {
        n1.pass_ms(60);
        n1.tick();
        n1.now.mono
    };
    let first = heartbeat(&mut n1);
    answer(&mut n1, 2, first);
    assert_eq!(n1.paxos.level_of_all(), None, "n3 has not said anything");
    answer(&mut n1, 3, first);
    assert_eq!(n1.paxos.level_of_all(), Some(Level::OWN));
    n1.say(Input::LinkLost { node: NodeId::new(2) });
    answer(&mut n1, 2, first);
    assert_eq!(n1.paxos.level_of_all(), None);
    let second = heartbeat(&mut n1);
    answer(&mut n1, 2, second);
    assert_eq!(n1.paxos.level_of_all(), Some(Level::OWN));
}

/// P-17g: a replica whose node is about to stop says no at once, and the leader stands anew without waiting for it.
#[test]
fn who_is_about_to_stop_says_no_and_the_leader_goes_on_at_once() {
    let mut n2 = Solo::new(2, &ALL);
    let theirs = ballot(1, 1);
    n2.hear(1, prepare(theirs, 1));
    n2.disk();
    n2.hear_heartbeat(theirs, 0);
    n2.paxos.leave();
    let said = n2.hear(1, GroupMessage::TimeoutNow { ballot: theirs, chosen: Slot::ZERO });
    assert_eq!(said, [std::format!("-> n1: hand-over {theirs} (chosen s0)")], "the same message back");

    let (mut n1, mine) = leased();
    n1.say(transfer_to(2));
    assert_eq!(turn_end(&mut n1).len(), 1);
    let no = || GroupMessage::TimeoutNow { ballot: mine, chosen: Slot::ZERO };
    n1.hear(3, no());
    assert!(!n1.tick().iter().any(|line| is_pre_vote(line)), "it was not n3 that was asked");
    n1.hear(2, no());
    assert!(n1.tick().iter().any(|line| is_pre_vote(line)), "it stands in a new ballot");
    n1.hear(2, no());
    assert_eq!(n1.paxos.leading(), None);
}

/// P-17g: it stands all the same where nobody else does.
#[test]
fn who_is_about_to_stop_lets_others_stand_first() {
    let lease = Timing::default().lease.as_ms();
    let stands_after = |leaves: bool| {
        let mut n2 = Solo::new(2, &ALL);
        n2.hear_heartbeat(ballot(1, 1), 0);
        n2.disk();
        if leaves {
            n2.paxos.leave();
        }
        (0..40 * lease)
            .step_by(5)
            .find(|_| {
                n2.pass_ms(5);
                n2.tick().iter().any(|line| is_pre_vote(line))
            })
            .expect("it stands in the end")
    };
    let (first, later) = (stands_after(false), stands_after(true));
    assert!(later >= first + 2 * lease && later <= first + 5 * lease, "{first} ms, {later} ms");
}
