//! P-01, P-02, P-05: what a replica promises, accepts, reports and knows as chosen.

use super::solo::*;
use synod_types::{Ballot, GroupMessage};

const ALL: [u16; 3] = [1, 2, 3];

/// P-01a, P-02e: the promise is sent once its record is durable. A repeated prepare gets no answer before
/// that, and the promise again afterwards.
#[test]
fn a_promise_is_shown_by_its_durable_record_only() {
    let mut n1 = Solo::new(1, &ALL);
    let theirs = ballot(5, 2);
    assert_eq!(
        n1.hear(2, prepare(theirs, 1)),
        ["record promise 5.n2 (chosen s0) => n2: promise 5.n2 (chosen s0) []"]
    );
    assert!(n1.hear(2, prepare(theirs, 1)).is_empty());
    n1.disk();
    assert_eq!(n1.hear(2, prepare(theirs, 1)), ["-> n2: promise 5.n2 (chosen s0) []"]);
}

/// P-01a, P-02e: the same for an acceptance.
#[test]
fn an_acceptance_is_shown_by_its_durable_record_only() {
    let mut n1 = Solo::new(1, &ALL);
    let theirs = ballot(5, 2);
    assert_eq!(
        n1.hear(2, accept(theirs, 1, "x", 0)),
        ["record accept 5.n2 s1=x (chosen s0) => n2: accepted 5.n2 s1"]
    );
    assert!(n1.hear(2, accept(theirs, 1, "x", 0)).is_empty());
    n1.disk();
    assert_eq!(n1.hear(2, accept(theirs, 1, "x", 0)), ["-> n2: accepted 5.n2 s1"]);
}

/// P-01b: a pre-vote raises no ballot; the prepare is sent once the candidate's own promise is durable.
#[test]
fn a_prepare_leaves_with_the_candidates_own_durable_promise() {
    let mut n1 = Solo::new(1, &ALL);
    let mine = n1.until_pre_vote();
    let granted =
        GroupMessage::PreVoteReply { ballot: mine, granted: true, promised: Ballot::ZERO, chosen: slot(0) };
    assert_eq!(
        n1.hear(2, granted),
        ["record promise 1.n1 (chosen s0) => n2: prepare 1.n1 from s1 => n3: prepare 1.n1 from s1"]
    );
    // P-06b: the promises of two peers are as many as a quorum, but its own is missing.
    n1.hear(2, promise(mine, 0, &[]));
    n1.hear(3, promise(mine, 0, &[]));
    assert_eq!(n1.paxos.leading(), None);
    n1.disk();
    assert_eq!(n1.paxos.leading(), Some(mine));
}

/// P-01c.
#[test]
fn a_restarted_candidate_does_not_use_its_ballot_again() {
    let mut n1 = Solo::from_records(1, &ALL, &[promise_record(ballot(7, 1), 0)]);
    assert_eq!(n1.until_pre_vote(), ballot(8, 1));
    let mut n1 = Solo::from_records(1, &ALL, &[accept_record(ballot(7, 3), 1, "x", 0)]);
    assert_eq!(n1.until_pre_vote(), ballot(8, 1));
}

/// P-01d: a nack or the answer to a pre-vote must not name a promise that a crash could undo.
#[test]
fn only_a_durable_promise_is_named() {
    let mut n1 = Solo::new(1, &ALL);
    n1.hear(2, prepare(ballot(5, 2), 1));
    assert!(n1.hear(3, prepare(ballot(4, 3), 1)).is_empty());
    let answer = n1.hear(3, pre_vote(ballot(6, 3)));
    assert_eq!(answer, ["-> n3: prevote-refused 6.n3 (promised 0.n0, chosen s0)"]);
    n1.disk();
    assert_eq!(n1.hear(3, prepare(ballot(4, 3), 1)), ["-> n3: nack 4.n3 (promised 5.n2)"]);
}

/// P-02a: a message in another node's ballot is ignored.
#[test]
fn a_ballot_counts_from_its_own_node_only() {
    let mut n1 = Solo::new(1, &ALL);
    assert!(n1.hear(3, prepare(ballot(5, 2), 1)).is_empty());
    assert!(n1.hear(3, accept(ballot(5, 2), 1, "x", 0)).is_empty());
    assert!(n1.hear(9, prepare(ballot(5, 9), 1)).is_empty(), "P-10: a stranger");
}

/// P-02b.
#[test]
fn accepting_promises_and_a_lower_accept_is_refused() {
    let mut n1 = Solo::new(1, &ALL);
    n1.hear(3, accept(ballot(5, 3), 2, "x", 0));
    n1.disk();
    assert_eq!(n1.paxos.promised(), ballot(5, 3));
    assert_eq!(n1.hear(2, accept(ballot(5, 2), 1, "y", 0)), ["-> n2: nack 5.n2 (promised 5.n3)"]);
    assert_eq!(n1.hear(2, prepare(ballot(5, 2), 1)), ["-> n2: nack 5.n2 (promised 5.n3)"]);
}

/// P-02b: a promise alone makes the acceptor refuse lower accepts, for unknown slots too.
#[test]
fn a_promise_refuses_lower_accepts() {
    let mut n1 = Solo::new(1, &ALL);
    n1.hear(3, prepare(ballot(5, 3), 1));
    n1.disk();
    assert_eq!(n1.hear(2, accept(ballot(4, 2), 9, "y", 0)), ["-> n2: nack 4.n2 (promised 5.n3)"]);
}

/// P-02d.
#[test]
fn what_is_chosen_is_named_by_number_and_told_not_voted_for() {
    let old = ballot(1, 2);
    let mut n1 = Solo::from_records(
        1,
        &ALL,
        &[accept_record(old, 1, "a", 0), accept_record(old, 2, "b", 0), accept_record(old, 3, "c", 2)],
    );
    let report = n1.hear(3, prepare(ballot(5, 3), 1));
    assert_eq!(report, ["record promise 5.n3 (chosen s2) => n3: promise 5.n3 (chosen s2) [s3=c@1.n2]"]);
    n1.disk();
    let answer = n1.hear(3, accept(ballot(5, 3), 1, "z", 0));
    assert_eq!(answer, ["-> n3: learn (chosen s2) [s1=a s2=b]"]);
}

/// P-02d: a winner proposes nothing at or below the chosen prefix of an acceptor; it fetches these slots.
#[test]
fn a_winner_fetches_what_its_quorum_knows_as_chosen() {
    let mut n1 = Solo::from_records(1, &ALL, &[promise_record(ballot(3, 3), 0)]);
    let mine = n1.until_candidate(2);
    let lines = n1.hear(2, promise(mine, 2, &[]));
    assert!(!lines.iter().any(|line| line.contains(" s1=") || line.contains(" s2=")), "{lines:#?}");
    assert!(lines.iter().any(|line| line == "-> n2: fetch from s1"), "{lines:#?}");
    n1.disk();
    // P-06e: its own slot is chosen, but the slots before are not applied yet.
    n1.hear(2, accepted(mine, 3));
    assert!(n1.apply().is_empty());
    assert!(!n1.paxos.serving());
    n1.hear(2, learn(2, &[(1, ballot(1, 2), "a"), (2, ballot(1, 2), "b")]));
    n1.disk();
    assert_eq!(n1.apply(), ["s1=a", "s2=b", "s3=noop"]);
    assert!(n1.paxos.serving());
}

/// P-05a.
#[test]
fn a_watermark_of_another_ballot_chooses_nothing() {
    let mut n1 = Solo::new(1, &ALL);
    n1.hear(2, accept(ballot(1, 2), 1, "lost", 0));
    n1.disk();
    let lines = n1.hear_heartbeat(ballot(2, 3), 1);
    assert_eq!(n1.paxos.chosen(), slot(0));
    assert!(lines.iter().any(|line| line == "-> n3: fetch from s1"), "{lines:#?}");
    // P-05b: the chosen value is learned by value, and written as a record of its own.
    let lines = n1.hear(3, learn(1, &[(1, ballot(2, 3), "won")]));
    assert_eq!(lines, ["record learned s1=won (chosen s0)"]);
    n1.disk();
    assert_eq!(n1.apply(), ["s1=won"]);
}

/// P-05a: a watermark decides slots of its own ballot; the prefix ends at the first gap.
#[test]
fn a_watermark_chooses_what_was_accepted_in_its_ballot_up_to_the_first_gap() {
    let mut n1 = Solo::new(1, &ALL);
    let theirs = ballot(1, 2);
    n1.hear(2, accept(theirs, 1, "a", 0));
    n1.hear(2, accept(theirs, 3, "c", 0));
    n1.disk();
    n1.hear_heartbeat(theirs, 3);
    assert_eq!(n1.paxos.chosen(), slot(1));
    assert_eq!(n1.apply(), ["s1=a"]);
    n1.hear(2, accept(theirs, 2, "b", 3));
    n1.disk();
    assert_eq!(n1.apply(), ["s2=b", "s3=c"], "P-03b");
}

/// P-05b: the same value is not written twice.
#[test]
fn a_chosen_value_that_is_held_already_is_not_written_again() {
    let mut n1 = Solo::new(1, &ALL);
    n1.hear(2, accept(ballot(1, 2), 1, "x", 0));
    n1.disk();
    assert!(n1.hear(3, learn(1, &[(1, ballot(2, 3), "x")])).is_empty());
    assert_eq!(n1.apply(), ["s1=x"]);
}

/// P-05c.
#[test]
fn replay_applies_up_to_a_watermark_and_leaves_the_rest_undecided() {
    let old = ballot(1, 2);
    let records = [accept_record(old, 1, "a", 0), accept_record(old, 2, "b", 1)];
    let mut n1 = Solo::from_records(1, &ALL, &records);
    assert_eq!(n1.apply(), ["s1=a"]);
    // s2 is undecided: another value may still be accepted there.
    let lines = n1.hear(3, accept(ballot(2, 3), 2, "z", 1));
    assert_eq!(lines, ["record accept 2.n3 s2=z (chosen s1) => n3: accepted 2.n3 s2"]);
}

/// P-05c: the last value before the watermark is the chosen one; a learned record is chosen by itself.
#[test]
fn replay_takes_the_last_value_and_learned_records() {
    let records = [
        accept_record(ballot(1, 2), 1, "lost", 0),
        accept_record(ballot(2, 3), 1, "won", 0),
        learned_record(ballot(2, 3), 2, "b", 1),
    ];
    let mut n1 = Solo::from_records(1, &ALL, &records);
    assert_eq!(n1.apply(), ["s1=won", "s2=b"]);
}

/// P-05c.
#[test]
#[should_panic(expected = "missing from the log")]
fn a_watermark_over_a_missing_value_stops_the_start() {
    Solo::from_records(1, &ALL, &[promise_record(ballot(1, 2), 3)]);
}

/// P-01a, P-02b: learning a value neither promises nor accepts. A late accept in the value's own ballot is
/// answered with the chosen value, and gets no vote.
#[test]
fn a_learned_value_is_told_and_not_voted_for() {
    let mut n1 = Solo::new(1, &ALL);
    let theirs = ballot(1, 2);
    n1.hear(3, learn(1, &[(1, theirs, "a")]));
    n1.apply();
    let late = accept(theirs, 1, "a", 0);
    let lines = n1.hear(2, late.clone());
    assert!(!lines.iter().any(|line| line.contains("accepted")), "before it is durable: {lines:#?}");
    n1.disk();
    let lines = n1.hear(2, late);
    assert!(!lines.iter().any(|line| line.contains("accepted")), "nor afterwards: {lines:#?}");
    assert_eq!(n1.paxos.promised(), Ballot::ZERO);
    assert!(!lines.is_empty(), "it tells what it knows");
}
