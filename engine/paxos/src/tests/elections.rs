//! P-06 and P-02: pre-vote, candidacy, reports, re-proposal.

use super::cluster::Cluster;
use super::describe::Bytes;
use super::solo::*;
use crate::{Effect, Input, Timing};
use std::string::String;
use std::vec;
use std::vec::Vec;
use synod_types::{Ballot, EntryBuilder, GroupMessage, Learned, NodeId};

/// P-02c: an acceptor whose report does not fit one message answers in parts, and a lost part is sent again
/// with the whole answer. Between two answers the acceptor may have learned a chosen value and cut its report
/// elsewhere. Parts of the two answers must not make a promise that leaves out an accepted value: it may be a
/// chosen one.
#[test]
fn parts_of_two_answers_leave_no_slot_out() {
    let old = ballot(1, 1);
    let voters = [1, 2, 3, 4, 5];
    // s3=x is chosen by n2, n4, n5 in 1.n1; only n2 of them will be in the quorum.
    let mut acceptor = Solo::new(2, &voters);
    let value = |letter: char, kib: usize| Bytes::from(vec![letter as u8; kib << 10]);
    for (at, letter, kib) in [(1, 'a', 300), (2, 'w', 600), (3, 'x', 600), (4, 'y', 300)] {
        let message = GroupMessage::Accept {
            ballot: old,
            slot: slot(at),
            chosen: slot(0),
            payload: value(letter, kib),
        };
        acceptor.step(Input::Message { from: NodeId::new(1), message });
    }
    acceptor.disk();

    let mut candidate = Solo::new(1, &voters);
    candidate.until_pre_vote();
    let mine = ballot(3, 1);
    for from in [2, 3] {
        // A voter has promised 2.n4 meanwhile.
        let message = GroupMessage::PreVoteReply {
            ballot: ballot(1, 1),
            granted: true,
            promised: ballot(2, 4),
            chosen: slot(0),
        };
        candidate.hear(from, message);
    }
    candidate.disk();
    assert_eq!(candidate.paxos.promised(), mine);
    candidate.hear(3, promise(mine, 0, &[]));

    acceptor.pass_ms(1_000);
    let prepare = prepare(mine, 1);
    let first = promises(&mut acceptor, prepare.clone());
    candidate.step(Input::Message { from: NodeId::new(2), message: first[0].clone() });
    // The other parts are lost. n2 learns that s2 was chosen in 2.n4, with a short value.
    acceptor.hear(4, learn(0, &[(2, ballot(2, 4), "v")]));
    acceptor.disk();
    let again = promises(&mut acceptor, prepare);
    let mut out = Vec::new();
    for message in &again[1..] {
        out.extend(candidate.step(Input::Message { from: NodeId::new(2), message: message.clone() }));
    }
    for effect in out {
        if let Effect::Append { head, payload, .. } = effect
            && head.slot == slot(3)
        {
            assert_eq!(payload, Some(value('x', 600)), "a chosen value was replaced");
        }
    }
}

fn promises(acceptor: &mut Solo, prepare: GroupMessage<Bytes>) -> Vec<GroupMessage<Bytes>> {
    let mut promises = Vec::new();
    for effect in acceptor.step(Input::Message { from: NodeId::new(1), message: prepare }) {
        match effect {
            Effect::Append { then, .. } => promises.extend(then.into_iter().map(|(_, message)| message)),
            Effect::Send { message, .. } => promises.push(message),
            _ => {}
        }
    }
    acceptor.disk();
    promises
}

/// P-06f: a leader that was overtaken learns the value that a newer leader had chosen in a slot it proposed
/// for itself. It steps down: it must neither propose on nor panic.
#[test]
fn an_overtaken_leader_that_learns_another_value_for_its_open_slot_steps_down() {
    let mut n1 = Solo::new(1, &[1, 2, 3]);
    let mine = n1.until_leader(2);
    n1.propose("x");
    n1.disk();
    let newer = Ballot::new(mine.round() + 1, NodeId::new(2));
    n1.hear(3, learn(2, &[(2, newer, "y")]));
    assert_eq!(n1.paxos.leading(), None);
    n1.disk();
    assert_eq!(n1.apply(), ["s2=y"]);
}

/// P-06f: the same when the learned slots are above all slots that the overtaken leader proposed for.
#[test]
fn an_overtaken_leader_that_learns_slots_beyond_its_own_steps_down() {
    let mut n1 = Solo::new(1, &[1, 2, 3]);
    let mine = n1.until_leader(2);
    let newer = Ballot::new(mine.round() + 1, NodeId::new(2));
    n1.hear(3, learn(3, &[(2, newer, "y"), (3, newer, "z")]));
    assert_eq!(n1.paxos.leading(), None);
    n1.disk();
    assert_eq!(n1.apply(), ["s2=y", "s3=z"]);
}

/// P-05d: the no-ops of two leaders have equal bytes if their clocks agree. The value learned is still not
/// the value held.
#[test]
fn a_value_that_only_looks_like_the_one_held_is_another_one() {
    let mut n1 = Solo::new(1, &[1, 2, 3]);
    let mine = n1.until_candidate(2);
    n1.hear(2, promise(mine, 0, &[]));
    n1.disk();
    let newer = Ballot::new(mine.round() + 1, NodeId::new(2));
    let no_op = |origin: Ballot| Bytes::from(EntryBuilder::<Bytes>::new().finish(origin, n1.now.wall));
    let (held, other) = (no_op(mine), no_op(newer));
    assert_eq!(held.len(), other.len());
    let learn = |payload| GroupMessage::Learn {
        chosen: slot(1),
        entries: vec![Learned { slot: slot(1), ballot: newer, payload }],
    };
    let mut n2 = Solo::new(2, &[1, 2, 3]);
    n2.hear(1, GroupMessage::Accept { ballot: mine, slot: slot(1), chosen: slot(0), payload: held.clone() });
    n2.disk();
    assert_eq!(n2.hear(3, learn(held)), [""; 0], "the very value is in the log already");
    assert_eq!(n1.hear(3, learn(other)), ["record learned s1=noop (chosen s0)"]);
    assert_eq!(n1.paxos.leading(), None);
}

/// P-06f: the same for a slot learned out of order, behind a gap.
#[test]
fn an_overtaken_leader_that_learns_a_far_slot_steps_down() {
    let mut n1 = Solo::new(1, &[1, 2, 3]);
    let mine = n1.until_leader(2);
    let newer = Ballot::new(mine.round() + 1, NodeId::new(2));
    n1.hear(3, learn(3, &[(3, newer, "z")]));
    assert_eq!(n1.paxos.leading(), None);
}

/// P-06f: a candidate may win in a ballot that was overtaken while its promises were under way, and may have
/// learned a slot that was chosen in the newer ballot, out of order. It must not propose for that slot.
#[test]
fn a_winner_does_not_propose_where_it_has_learned_a_chosen_value() {
    let mut n1 = Solo::new(1, &[1, 2, 3]);
    let mine = n1.until_candidate(2);
    let newer = Ballot::new(mine.round() + 1, NodeId::new(3));
    n1.hear(3, learn(3, &[(3, newer, "z")]));
    let mut lines: Vec<String> = n1.hear(2, promise(mine, 0, &[]));
    for value in ["a", "b", "c"] {
        if n1.paxos.can_propose() {
            lines.extend(n1.propose(value));
        }
    }
    assert!(!lines.iter().any(|line| line.contains("s3=")), "{lines:#?}");
}

/// P-06b: a promise of one candidacy does not count in the next one: between the two the voter may have
/// accepted a value of another leader.
#[test]
fn answers_to_an_earlier_candidacy_count_in_no_later_one() {
    let mut n1 = Solo::new(1, &[1, 2, 3]);
    let first = n1.until_candidate(2);
    // No voter promises. Another node leads meanwhile, then is silent.
    n1.hear(3, GroupMessage::Nack { ballot: first, promised: ballot(first.round() + 5, 3) });
    let second = n1.until_pre_vote();
    assert!(second > first);
    let granted =
        |ballot| GroupMessage::PreVoteReply { ballot, granted: true, promised: first, chosen: slot(0) };
    assert_eq!(n1.hear(2, granted(first)), [""; 0], "a pre-vote of an earlier candidacy");
    n1.hear(2, granted(second));
    n1.disk();
    assert_eq!(n1.paxos.promised(), second);
    n1.hear(2, promise(first, 0, &[]));
    assert_eq!(n1.paxos.leading(), None, "a promise of an earlier candidacy");
    n1.hear(2, promise(second, 0, &[]));
    assert_eq!(n1.paxos.leading(), Some(second));
}

/// P-06a: of five nodes only n2 still reaches a quorum; the old leader does not, though n2 hears it. n2 must
/// be elected.
#[test]
fn the_only_node_that_reaches_a_quorum_comes_to_lead() {
    let mut cluster = Cluster::new(5);
    cluster.elect(1);
    assert!(cluster.lease(1));
    cluster.write("before");
    cluster.only_links(&[(2, 1), (2, 3), (2, 4), (2, 5)]);
    cluster.until(|cluster| cluster.leader() == Some(2));
    cluster.write("after");
}

/// P-06a, P-07a, P-09f: in the chain 1 - 2 - 3 the leader n1 keeps its quorum, and n3, which does not hear it,
/// gets no votes. n2, which hears both, asks n1 to give way; so leadership is transferred, and n3 has a leader.
#[test]
fn a_node_that_misses_the_leader_does_not_unseat_it_but_another_that_hears_both_leads() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.run_ms(1_000);
    cluster.only_links(&[(1, 2), (2, 3)]);
    let cut_at = cluster.paxos(1).leading();
    cluster.until(|cluster| cluster.paxos(1).leading() != cut_at);
    cluster.until(|cluster| cluster.leader() == Some(2));
    let ballot = cluster.paxos(2).leading();
    cluster.run_ms(3_000);
    assert_eq!(cluster.paxos(2).leading(), ballot, "all hear it");
    assert!(cluster.paxos(2).avoids(NodeId::new(1), cluster.now(2).mono));
}

/// P-09f: whether a member hears the refusal is judged anew each time that it stands.
#[test]
fn one_late_answer_does_not_hide_for_ever_that_a_member_misses_the_leader() {
    let (leader, theirs) = (ballot(1, 1), ballot(2, 3));
    let mut n2 = Solo::new(2, &[1, 2, 3]);
    let lease = Timing::default().lease.as_ms();
    n2.hear_heartbeat(leader, 0);
    n2.disk();
    // Asks at these times; whether the leader is asked to give way afterwards.
    let mut stands = |asks: &[u64]| {
        let mut has_asked = false;
        for at in (0..3 * lease).step_by(5) {
            n2.hear_heartbeat(leader, 0);
            if asks.contains(&at) {
                n2.hear(3, pre_vote(theirs));
            }
            let lines = n2.tick();
            has_asked |= lines.iter().any(|line| line.starts_with("-> n1: prevote "));
            n2.pass_ms(5);
        }
        has_asked
    };
    assert!(!stands(&[0, lease / 4]), "it has not heard the first answer");
    assert!(stands(&[0]), "it has heard the answer, but no leader");
    assert!(!stands(&[0, lease / 4, lease / 2, lease]));
    assert!(stands(&[0]));
}

/// P-09f: a leader does not stop proposing time and again for a member that does not get ready.
#[test]
fn a_leader_does_not_try_again_soon_to_give_way_to_a_member_that_was_not_ready() {
    let mut n1 = Solo::new(1, &[1, 2, 3]);
    let mine = n1.until_leader(2);
    n1.hear(2, accepted(mine, 1));
    let ask = || GroupMessage::PreVote { ballot: ballot(2, 2), after: mine };
    let lease = Timing::default().lease;
    let mut begun = 0;
    for _ in 0..8 * 300 / 50 {
        n1.pass_ms(50);
        n1.tick();
        n1.hear_heartbeat_reply(2, mine, n1.now.mono);
        // It answers heartbeats, and never an accept.
        if n1.paxos.can_propose() {
            n1.propose("x");
            n1.disk();
        }
        let could = n1.paxos.can_propose();
        n1.hear(2, ask());
        begun += usize::from(could && !n1.paxos.can_propose());
    }
    assert!(lease.as_ms() == 300 && begun == 1, "{begun}");
}

/// P-09f: a member that is gone, and does not ask for votes, moves nothing.
#[test]
fn a_leader_does_not_give_way_because_a_member_is_gone() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    let ballot = cluster.paxos(1).leading();
    cluster.only_links(&[(1, 2)]);
    cluster.run_ms(3_000);
    assert_eq!(cluster.paxos(1).leading(), ballot);
}

/// P-06c, P-06d: the value reported in the highest ballot is proposed, and a no-op only where no member
/// reports a value.
#[test]
fn a_winner_proposes_the_highest_ballot_and_a_no_op_only_where_nothing_was_reported() {
    let mut n1 = Solo::from_records(
        1,
        &[1, 2, 3],
        &[accept_record(ballot(1, 1), 1, "low", 0), accept_record(ballot(3, 1), 3, "own", 0)],
    );
    let mine = n1.until_candidate(2);
    let reports = [(1, ballot(2, 2), "high"), (3, ballot(2, 2), "old")];
    let lines = n1.hear(2, promise(mine, 0, &reports));
    let records: Vec<&String> = lines.iter().filter(|line| line.starts_with("record")).collect();
    assert_eq!(
        records,
        [
            "record accept 4.n1 s1=high (chosen s0)",
            "record accept 4.n1 s2=noop (chosen s0)",
            "record accept 4.n1 s3=own (chosen s0)",
            "record accept 4.n1 s4=noop (chosen s0)",
        ]
    );
}

/// P-06a: a pre-vote changes nothing at the voter, however high its ballot.
#[test]
fn a_pre_vote_changes_nothing() {
    let mut n1 = Solo::new(1, &[1, 2, 3]);
    assert!(n1.hear(2, pre_vote(ballot(90, 2)))[0].contains("granted"));
    assert_eq!(n1.until_pre_vote(), ballot(1, 1), "its own ballot was not raised");
}
