//! P-14d, P-02f, P-05a: a replica that is far behind accepts, forgets nothing it accepted, and keeps little
//! in memory.

use super::cluster::Cluster;
use super::describe::Bytes;
use super::solo::*;
use crate::{AheadLimits, Input};
use std::format;
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;
use synod_types::{Ballot, GroupMessage, Nanos, limits};

const ALL: [u16; 3] = [1, 2, 3];
const NOTHING_KEPT: AheadLimits = AheadLimits { near_slots: 2, slots: 1 << 20, bytes: 0 };

fn solo(bytes: usize) -> Solo {
    Solo::with_ahead_limits(1, &ALL, &[], AheadLimits { bytes, ..NOTHING_KEPT })
}

/// n1 accepts `slots` from n2 in `ballot`, durably; each value is named after its slot.
fn accept_all(n1: &mut Solo, ballot: Ballot, slots: impl IntoIterator<Item = u64>) {
    for at in slots {
        n1.hear(2, accept(ballot, at, &format!("v{at}"), 0));
    }
    n1.disk();
}

fn grant(n1: &mut Solo, ballot: Ballot) {
    let lines = n1.hear_heartbeat(ballot, 0);
    assert!(lines.iter().any(|line| line.contains("heartbeat-reply")), "{lines:?}");
}

fn pre_vote_granted(ballot: Ballot, chosen: u64) -> GroupMessage<Bytes> {
    GroupMessage::PreVoteReply { ballot, granted: true, promised: Ballot::ZERO, chosen: slot(chosen) }
}

/// P-14d: it accepts however far it is behind; the number of slots it holds is bounded, not their distance.
#[test]
fn an_accept_far_ahead_is_accepted_up_to_so_many() {
    let ahead = AheadLimits { near_slots: 2, slots: 4, bytes: 0 };
    let mut n1 = Solo::with_ahead_limits(1, &ALL, &[], ahead);
    let theirs = ballot(1, 2);
    accept_all(&mut n1, theirs, [1 << 40, 1_001, 1_002]);
    accept_all(&mut n1, theirs, [1_003]);
    assert_eq!(n1.paxos.log().ahead_count(), 4, "gaps cost nothing");
    assert!(n1.hear(2, accept(theirs, 1_004, "x", 0)).is_empty());
    assert!(n1.hear(2, learn(0, &[(1_004, theirs, "x")])).is_empty());
    // It repeats its vote for a slot it holds, and always accepts near slots.
    assert_eq!(n1.hear(2, accept(theirs, 1_003, "v1003", 0)), ["-> n2: accepted 1.n2 s1003"]);
    assert_eq!(n1.hear(2, accept(theirs, 2, "x", 0)).len(), 1);
}

/// P-14d: the lowest slots are shed first, and none before its record is durable at a known location.
#[test]
fn payloads_beyond_the_budget_are_left_to_the_log_when_they_are_durable() {
    let mut n1 = solo(10);
    let theirs = ballot(1, 2);
    for at in 11..=15 {
        n1.hear(2, accept(theirs, at, &format!("v{at}"), 0));
    }
    assert_eq!(n1.away(), Vec::<u64>::new());
    n1.disk();
    assert_eq!(n1.away(), [11, 12]);
    assert_eq!(n1.paxos.log().ahead_bytes(), 9);
    // A vote is repeated without the value.
    assert_eq!(n1.hear(2, accept(theirs, 11, "v11", 0)), ["-> n2: accepted 1.n2 s11"]);
}

/// P-14d, P-01: a value that is not durable stays in memory, even if its location is known.
#[test]
fn what_is_not_durable_is_not_shed() {
    let mut n1 = solo(0);
    let theirs = ballot(1, 2);
    for at in [11, 12] {
        n1.hear(2, accept(theirs, at, "v", 0));
        n1.step(Input::Located { slot: slot(at), ballot: theirs, at: place(at, 1) });
    }
    n1.step(Input::Durable { receipt: crate::Receipt::Accept { slot: slot(12), ballot: theirs } });
    assert_eq!(n1.away(), Vec::<u64>::new());
    n1.step(Input::Durable { receipt: crate::Receipt::Accept { slot: slot(11), ballot: theirs } });
    assert_eq!(n1.away(), [11, 12]);
}

/// P-14d: of long values few are recalled at a time.
#[test]
fn what_is_recalled_ahead_of_apply_is_bounded_in_bytes() {
    let mut n1 = solo(0);
    let theirs = ballot(1, 2);
    let long = "x".repeat(600 << 10);
    for at in 2..=9 {
        n1.hear(2, accept(theirs, at, &long, 9));
    }
    n1.disk();
    n1.hear(2, learn(9, &[(1, theirs, "v1")]));
    n1.disk();
    assert_eq!(n1.apply(), ["s1=v1"]);
    assert_eq!(n1.recalls(), ["recall s2", "recall s3"]);
}

/// P-05a: behind a gap the watermark decides slot by slot, in its own ballot alone; the prefix does not move
/// over the gap.
#[test]
fn a_watermark_chooses_behind_a_gap_what_was_accepted_in_its_ballot() {
    let mut n1 = solo(1 << 20);
    let (old, new) = (ballot(1, 3), ballot(2, 2));
    n1.hear(3, accept(old, 5, "lost", 0));
    accept_all(&mut n1, new, [3, 4, 7]);
    n1.hear_heartbeat(new, 6);
    assert_eq!(n1.paxos.chosen(), slot(0));
    let chosen = |n1: &Solo| -> Vec<u64> {
        let range = n1.paxos.log().range(slot(0));
        range.filter(|(_, open)| open.chosen).map(|(slot, _)| slot.get()).collect()
    };
    assert_eq!(chosen(&n1), [3, 4], "not s5 of another ballot, not s7 beyond the watermark");
    // s6 is accepted after the watermark that covers it; the next watermark continues where the last one
    // ended.
    n1.hear(2, accept(new, 6, "v6", 0));
    assert_eq!(chosen(&n1), [3, 4, 6]);
    n1.hear_heartbeat(new, 7);
    assert_eq!(chosen(&n1), [3, 4, 6, 7]);
    // The gap closes. s5 is still undecided.
    n1.disk();
    n1.hear(2, learn(7, &[(1, new, "a"), (2, new, "b")]));
    n1.disk();
    assert_eq!(n1.apply(), ["s1=a", "s2=b", "s3=v3", "s4=v4"]);
    n1.hear(2, learn(7, &[(5, new, "won")]));
    n1.disk();
    assert_eq!(n1.apply(), ["s5=won", "s6=v6", "s7=v7"]);
}

/// P-05a: a watermark in a new ballot covers every slot accepted in that ballot, below the old watermark too.
#[test]
fn a_watermark_of_a_new_ballot_starts_anew() {
    let mut n1 = solo(1 << 20);
    let (old, new) = (ballot(1, 3), ballot(2, 2));
    n1.hear_heartbeat(old, 9);
    n1.hear(2, accept(new, 4, "v4", 9));
    assert!(n1.paxos.log().get(slot(4)).is_some_and(|open| open.chosen));
}

/// P-02f: a promise reports every accepted slot, those known to be chosen behind a gap included, or is not
/// made.
#[test]
fn a_promise_waits_until_all_it_reports_is_in_memory() {
    let mut n1 = solo(0);
    let theirs = ballot(1, 2);
    accept_all(&mut n1, theirs, [5, 6, 7]);
    n1.hear(2, accept(theirs, 8, "v8", 6)); // s5 and s6 are chosen
    n1.disk();
    assert_eq!(n1.away(), [5, 6, 7, 8]);
    let mine = ballot(2, 3);
    assert_eq!(n1.hear(3, prepare(mine, 6)), ["recall s6", "recall s7", "recall s8"]);
    assert_eq!(n1.paxos.promised(), theirs, "nothing has changed");
    assert!(n1.hear(3, prepare(mine, 6)).is_empty(), "each is asked for once");
    n1.recalled(7, theirs, Some("v7"));
    n1.recalled(6, theirs, Some("v6"));
    assert!(n1.hear(3, prepare(mine, 6)).is_empty());
    n1.recalled(8, theirs, Some("v8"));
    let promise = "promise 2.n3 (chosen s0) [s6=v6@1.n2 s7=v7@1.n2 s8=v8@1.n2]";
    assert_eq!(n1.hear(3, prepare(mine, 6)), [format!("record promise 2.n3 (chosen s0) => n3: {promise}")]);
    n1.disk();
    assert_eq!(n1.hear(3, prepare(mine, 6)), [format!("-> n3: {promise}")]);
}

/// P-02f: recalled values stay until this replica has granted a lease, whatever else is shed; then they may
/// be shed again.
#[test]
fn what_was_recalled_stays_until_a_lease_is_granted() {
    let mut n1 = solo(0);
    let theirs = ballot(1, 2);
    accept_all(&mut n1, theirs, [5, 6]);
    n1.hear(3, prepare(ballot(2, 3), 1));
    n1.recalled(5, theirs, Some("v5"));
    // The old leader is heard once more, and its values are shed as usual.
    accept_all(&mut n1, theirs, [7]);
    assert_eq!(n1.away(), [6, 7]);
    n1.recalled(6, theirs, Some("v6"));
    assert_eq!(n1.hear(3, prepare(ballot(2, 3), 1)), ["recall s7"]);
    n1.recalled(7, theirs, Some("v7"));
    assert_eq!(n1.hear(3, prepare(ballot(2, 3), 1)).len(), 1);
    n1.disk();
    assert_eq!(n1.away(), Vec::<u64>::new());
    grant(&mut n1, ballot(2, 3));
    n1.hear(3, accept(ballot(2, 3), 8, "v8", 0));
    n1.disk();
    assert_eq!(n1.away(), [5, 6, 7, 8]);
}

/// P-02f: no promise leaves out a value that cannot be read back; the next prepare tries again.
#[test]
fn what_cannot_be_read_back_is_not_promised_over() {
    let mut n1 = solo(0);
    let theirs = ballot(1, 2);
    accept_all(&mut n1, theirs, [5]);
    let mine = ballot(2, 3);
    assert_eq!(n1.hear(3, prepare(mine, 1)), ["recall s5"]);
    n1.recalled(5, theirs, None);
    assert_eq!(n1.hear(3, prepare(mine, 1)), ["recall s5"]);
    n1.recalled(5, theirs, Some("too long"));
    assert_eq!(n1.hear(3, prepare(mine, 1)), ["recall s5"]);
    assert_eq!(n1.paxos.promised(), theirs);
    n1.recalled(5, theirs, Some("v5"));
    assert_eq!(n1.hear(3, prepare(mine, 1)).len(), 1);
}

/// A value read back is dropped if the slot has another value meanwhile.
#[test]
fn a_recall_that_was_overtaken_changes_nothing() {
    let mut n1 = solo(0);
    accept_all(&mut n1, ballot(1, 2), [5]);
    n1.hear(3, prepare(ballot(2, 3), 1));
    n1.hear(3, accept(ballot(2, 3), 5, "w5", 0));
    n1.recalled(5, ballot(1, 2), Some("v5"));
    n1.disk();
    assert_eq!(n1.away(), [5]);
    assert_eq!(n1.hear(2, prepare(ballot(3, 2), 1)), ["recall s5"]);
    n1.recalled(5, ballot(2, 3), Some("w5"));
    let lines = n1.hear(2, prepare(ballot(3, 2), 1));
    assert!(lines[0].ends_with("[s5=w5@2.n3]"), "{lines:?}");
}

/// P-02f: recalls are made a few at a time, and all in the end.
#[test]
fn recalls_are_bounded_and_go_on_by_themselves() {
    let mut n1 = solo(0);
    let theirs = ballot(1, 2);
    accept_all(&mut n1, theirs, 11..=300);
    let mut asked = n1.hear(3, prepare(ballot(2, 3), 1));
    assert_eq!(asked.len(), 64);
    let mut at = 11;
    while at <= 300 {
        asked.extend(n1.recalled(at, theirs, Some(&format!("v{at}"))));
        at += 1;
    }
    assert_eq!(asked.len(), 290);
    assert!(n1.hear(3, prepare(ballot(2, 3), 1))[0].contains("s300=v300"));
}

/// P-02c: a part has no more slots than a receiver takes.
#[test]
fn a_promise_of_many_short_values_comes_in_parts() {
    let mut n1 = Solo::new(1, &ALL);
    accept_all(&mut n1, ballot(1, 2), 2..=limits::REPORTED_SLOTS_MAX as u64 + 2);
    n1.hear(3, prepare(ballot(2, 3), 1));
    n1.disk();
    let mut out = Vec::new();
    let message = prepare(ballot(2, 3), 1);
    n1.paxos.step(Input::Message { from: super::describe::node(3), message }, n1.now, &mut out);
    let lengths: Vec<usize> = out
        .iter()
        .map(|effect| match effect {
            crate::Effect::Send { message: GroupMessage::Promise { reported, .. }, .. } => reported.len(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(lengths, [limits::REPORTED_SLOTS_MAX, 1]);
}

/// P-02f: before a replica stands, its own report is in memory. Slots known to be chosen are neither recalled
/// nor proposed for.
#[test]
fn a_candidate_has_all_it_may_propose_in_memory_before_it_stands() {
    let mut n1 = solo(0);
    let theirs = ballot(1, 2);
    accept_all(&mut n1, theirs, [5, 6]);
    n1.hear(2, accept(theirs, 7, "v7", 5)); // s5 is chosen
    n1.disk();
    let mine = n1.until_pre_vote();
    assert_eq!(n1.hear(2, pre_vote_granted(mine, 0)), ["recall s6", "recall s7"]);
    n1.recalled(6, theirs, Some("v6"));
    n1.recalled(7, theirs, Some("v7"));
    let mine = n1.until_candidate(2);
    let lines = n1.hear(2, promise(mine, 0, &[]));
    let written: Vec<_> = lines.iter().filter(|line| line.starts_with("record")).cloned().collect();
    let expected: Vec<String> =
        [(1, "noop"), (2, "noop"), (3, "noop"), (4, "noop"), (6, "v6"), (7, "v7"), (8, "noop")]
            .map(|(at, value)| format!("record accept {mine} s{at}={value} (chosen s0)"))
            .to_vec();
    assert_eq!(written, expected);
}

/// P-02a: a candidate does not propose for slots that a voter knows as chosen: no voter has to report them,
/// nor the candidate to have them in memory.
#[test]
fn a_candidate_prepares_above_what_its_voters_know_as_chosen() {
    let mut n1 = solo(0);
    accept_all(&mut n1, ballot(1, 2), [5, 6]);
    let mine = n1.until_pre_vote();
    let lines = n1.hear(2, pre_vote_granted(mine, 6));
    let stands = format!(
        "record promise {mine} (chosen s0) => n2: prepare {mine} from s7 => n3: prepare {mine} from s7"
    );
    assert_eq!(lines, ["-> n2: fetch from s1".to_string(), stands]);
    n1.disk();
    // The voter has restarted and no longer knows them as chosen. They are chosen nevertheless.
    let lines = n1.hear(2, promise(mine, 0, &[(7, ballot(1, 2), "v7")]));
    let written: Vec<_> = lines.iter().filter(|line| line.starts_with("record")).collect();
    let is_written = |at: u64, value: &str| format!("record accept {mine} s{at}={value} (chosen s0)");
    assert_eq!(written, [&is_written(7, "v7"), &is_written(8, "noop")]);
    assert!(lines.contains(&"-> n2: fetch from s1".to_string()), "{lines:?}");
}

/// P-02d: the value is sent behind a gap too, from memory or from the log.
#[test]
fn an_accept_for_a_slot_that_is_chosen_behind_a_gap_is_answered_with_its_value() {
    for bytes in [0, 1 << 20] {
        let mut n1 = solo(bytes);
        accept_all(&mut n1, ballot(1, 2), [5, 6, 8]);
        n1.hear_heartbeat(ballot(1, 2), 8);
        let answer = if bytes == 0 { "read s5 s6 for n3" } else { "-> n3: learn (chosen s0) [s5=v5 s6=v6]" };
        assert_eq!(n1.hear(3, accept(ballot(2, 3), 5, "v5", 0)), [answer]);
    }
}

/// P-03b: shed values are recalled slightly ahead of apply, and applied in order.
#[test]
fn what_was_shed_is_recalled_and_applied_in_order() {
    let mut n1 = solo(0);
    let theirs = ballot(1, 2);
    accept_all(&mut n1, theirs, 2..=200);
    n1.hear_heartbeat(theirs, 200);
    n1.hear(2, learn(200, &[(1, theirs, "v1")]));
    n1.disk();
    assert_eq!(n1.apply(), ["s1=v1"]);
    assert_eq!(n1.paxos.chosen(), slot(200));
    let mut asked = n1.recalls();
    assert_eq!(asked.len(), 64);
    assert!(n1.recalls().is_empty());
    // They come back in any order.
    n1.recalled(3, theirs, Some("v3"));
    assert!(n1.apply().is_empty());
    n1.recalled(2, theirs, Some("v2"));
    let mut applied = n1.apply();
    assert_eq!(applied, ["s2=v2", "s3=v3"]);
    for at in 4..=200 {
        asked.extend(n1.recalls());
        n1.recalled(at, theirs, Some(&format!("v{at}")));
        applied.extend(n1.apply());
    }
    assert_eq!((asked.len(), applied.len()), (199, 199));
}

/// P-14d: a value that is to be applied and cannot be read back is fetched, from one peer after the other,
/// and written again.
#[test]
fn what_cannot_be_read_back_is_fetched_from_a_peer() {
    let mut n1 = solo(0);
    let theirs = ballot(1, 2);
    accept_all(&mut n1, theirs, [1, 2]);
    n1.hear_heartbeat(theirs, 2);
    assert_eq!(n1.recalls(), ["recall s1", "recall s2"]);
    n1.recalled(1, theirs, None);
    n1.recalled(2, theirs, Some("v2"));
    assert!(n1.apply().is_empty() && n1.recalls().is_empty());
    let fetches = |lines: Vec<String>| -> Vec<String> {
        lines.into_iter().filter(|line| line.contains("fetch")).collect()
    };
    assert_eq!(fetches(n1.tick()), ["-> n2: fetch from s1"]);
    assert!(fetches(n1.tick()).is_empty());
    n1.pass_ms(100);
    assert_eq!(fetches(n1.tick()), ["-> n3: fetch from s1"]);
    let lines = n1.hear(3, learn(2, &[(1, ballot(1, 2), "v1"), (2, theirs, "v2")]));
    assert_eq!(lines, ["record learned s1=v1 (chosen s2)"]);
    n1.disk();
    assert_eq!(n1.apply(), ["s1=v1", "s2=v2"]);
    // A replay of the log gives the same.
    let records = [
        accept_record(theirs, 1, "v1", 0),
        accept_record(theirs, 2, "v2", 0),
        learned_record(theirs, 1, "v1", 2),
    ];
    let mut n1 = Solo::with_ahead_limits(1, &ALL, &records, AheadLimits { bytes: 1 << 20, ..NOTHING_KEPT });
    assert_eq!(n1.apply(), ["s1=v1", "s2=v2"]);
}

/// A lone voter has no peer to ask: it reads again.
#[test]
fn a_lone_replica_reads_again_what_it_could_not_read() {
    let records = [
        accept_record(ballot(1, 1), 2, "v2", 0),
        accept_record(ballot(1, 1), 1, "v1", 0),
        promise_record(ballot(1, 1), 2),
    ];
    let mut n1 = Solo::with_ahead_limits(1, &[1], &records, NOTHING_KEPT);
    assert_eq!(n1.recalls(), ["recall s1", "recall s2"]);
    n1.recalled(1, ballot(1, 1), None);
    n1.recalled(2, ballot(1, 1), Some("v2"));
    assert_eq!(n1.tick().iter().filter(|line| *line == "recall s1").count(), 1);
    n1.recalled(1, ballot(1, 1), Some("v1"));
    assert_eq!(n1.apply(), ["s1=v1", "s2=v2"]);
}

/// A lone voter keeps to the limit of recalls when it reads again while values are recalled for its candidacy.
#[test]
fn a_lone_replica_reads_again_when_few_recalls_are_under_way() {
    let mine = ballot(1, 1);
    let values: Vec<String> = (1..=71).map(|at| format!("v{at}")).collect();
    let mut records = Vec::new();
    records.extend((1..).zip(&values).map(|(at, value)| accept_record(mine, at, value, 0)));
    records.push(promise_record(mine, 1));
    let mut n1 = Solo::with_ahead_limits(1, &[1], &records, NOTHING_KEPT);
    assert_eq!(n1.recalls(), ["recall s1"]);
    n1.recalled(1, mine, None);
    let lines = n1.tick();
    assert_eq!((lines.len(), lines[0].as_str()), (64, "recall s2"), "it wants to stand");
    assert_eq!(n1.recalled(2, mine, Some("v2")), ["recall s66"]);
    assert!(n1.tick().is_empty());
    for at in 3..=8 {
        n1.recalled(at, mine, Some(&format!("v{at}")));
    }
    assert_eq!(n1.tick(), ["recall s1"]);
    n1.recalled(1, mine, Some("v1"));
    assert_eq!(n1.apply(), ["s1=v1"]);
}

/// P-02f, P-05b: a value is learned for a slot whose value is in the log alone. If it is the same value, it
/// is still reported in the ballot it was accepted in, which may be higher than the one it came with. Another
/// value is written.
#[test]
fn a_value_learned_over_one_that_was_shed_is_known_by_what_it_is() {
    let mut n1 = solo(0);
    let theirs = ballot(5, 2);
    accept_all(&mut n1, theirs, [2, 3, 4]);
    assert!(n1.hear(3, learn(4, &[(2, theirs, "v2")])).is_empty(), "held already");
    assert!(n1.hear(3, learn(4, &[(3, ballot(1, 3), "v3")])).is_empty());
    assert_eq!(n1.hear(3, prepare(ballot(6, 3), 3)), ["recall s3", "recall s4"]);
    n1.recalled(3, theirs, Some("v3"));
    n1.recalled(4, theirs, Some("v4"));
    let lines = n1.hear(3, prepare(ballot(6, 3), 3));
    assert!(lines[0].ends_with("[s3=v3@5.n2 s4=v4@5.n2]"), "{lines:?}");
    n1.disk();
    grant(&mut n1, ballot(6, 3));
    accept_all(&mut n1, theirs, []);
    n1.hear(3, accept(ballot(6, 3), 9, "v9", 0));
    n1.disk();
    assert_eq!(n1.away(), [2, 3, 4, 9]);
    let lines = n1.hear(3, learn(4, &[(1, theirs, "v1"), (4, ballot(6, 3), "w4")]));
    assert_eq!(lines, ["record learned s1=v1 (chosen s0)", "record learned s4=w4 (chosen s3)"]);
    assert_eq!(n1.paxos.chosen(), slot(4));
}

/// P-14d: the replay of a log with values far above the prefix keeps the memory budget.
#[test]
fn a_restart_keeps_the_budget() {
    let far: Vec<u64> = (1 << 30..(1 << 30) + 100).collect();
    let values: Vec<String> = far.iter().map(|at| format!("v{at}")).collect();
    let theirs = ballot(1, 2);
    let mut records = vec![promise_record(theirs, 0)];
    records.extend(far.iter().zip(&values).map(|(&at, value)| accept_record(theirs, at, value, 0)));
    let n1 = Solo::with_ahead_limits(1, &ALL, &records, AheadLimits { bytes: 100, ..NOTHING_KEPT });
    assert!(n1.paxos.log().ahead_bytes() <= 100);
    assert_eq!(n1.paxos.log().ahead_count(), 100);
    assert_eq!(n1.away().len(), 91, "the newest stay");
}

// ---- on a cluster -----------------------------------------------------------------------------------------

/// Three replicas, led by n1. n3 has missed `missed` slots and receives no `Learn` yet.
fn far_behind(ahead: AheadLimits, missed: usize) -> Cluster {
    let mut cluster = Cluster::with_ahead_limits(3, 0, ahead);
    cluster.elect(1);
    cluster.cut_between(1, 3);
    cluster.cut_between(2, 3);
    for number in 0..missed {
        cluster.write(&format!("m{number}"));
        cluster.trace.clear();
    }
    cluster.untold.insert(3);
    cluster.heal();
    cluster.run_ms(200);
    cluster
}

/// P-14d: the group goes on with a replica that is far behind while other replicas die, and nothing is lost.
#[test]
fn a_replica_that_is_far_behind_keeps_the_group_alive() {
    for bytes in [0, 40, 8 << 20] {
        let mut cluster = far_behind(AheadLimits { bytes, ..NOTHING_KEPT }, 1_500);
        for number in 0..30 {
            cluster.write(&format!("a{number}"));
        }
        cluster.crash(1);
        // n2 stands: n3 could be elected too, but would have to catch up long before it serves.
        let (before, patience) = (cluster.now(2).mono, Nanos::from_ms(1_000));
        cluster.elect(2);
        assert!(cluster.now(2).mono.since(before) < patience, "the group stood");
        for number in 0..30 {
            cluster.write(&format!("b{number}"));
        }
        assert!(cluster.paxos(3).chosen().get() < 100, "n3 is still behind");
        cluster.crash(3);
        cluster.start(3);
        cluster.run_ms(500);
        for number in 0..30 {
            cluster.write(&format!("c{number}"));
        }
        assert!(cluster.paxos(3).chosen().get() < 100, "n3 is still behind");
        cluster.start(1);
        cluster.untold.clear();
        cluster.run_ms(1_000);
        assert_eq!(cluster.applied(2).len(), 1_590);
        for id in [1, 3] {
            assert!(cluster.applied(id) == cluster.applied(2), "n{id} did not catch up");
        }
    }
}

/// P-02f: the last leader dies, and only two replicas that are far behind have accepted its values as well.
/// They are proposed again, from the log.
#[test]
fn what_only_replicas_behind_a_gap_accepted_is_proposed_again() {
    let mut cluster = Cluster::with_ahead_limits(5, 0, NOTHING_KEPT);
    cluster.elect(1);
    for (a, b) in [(1, 4), (2, 4), (3, 4), (1, 5), (2, 5), (3, 5), (4, 5)] {
        cluster.cut_between(a, b);
    }
    for number in 0..200 {
        cluster.write(&format!("m{number}"));
    }
    cluster.untold.extend([4, 5]);
    cluster.heal();
    cluster.run_ms(100);
    // Chosen by n1, n4 and n5 alone.
    cluster.cut_between(1, 2);
    cluster.cut_between(1, 3);
    for number in 0..20 {
        cluster.write(&format!("a{number}"));
    }
    cluster.crash(1);
    cluster.heal();
    cluster.until_leader();
    cluster.write("after");
    cluster.untold.clear();
    cluster.start(1);
    cluster.run_ms(1_500);
    for id in cluster.ids() {
        assert_eq!(cluster.applied(id).len(), 221, "n{id}");
    }
}
