//! Histories written by hand, and a comparison with the brute-force twin.

use super::super::brute;
use super::super::history::{History, Operation, Stamp};
use super::super::model::{Datum, Ttl, When};
use super::*;
use proptest::prelude::*;

fn set(name: u32) -> Action {
    Action::Set { value: Datum::Blob(name), when: When::Always, ttl: Ttl::Clear, return_old: false }
}

fn got(name: u32) -> Answer {
    Answer::Value(Datum::Blob(name))
}

/// Operations one after the other, all answered.
fn serial(operations: &[(Action, Answer)]) -> Vec<Operation> {
    let mut history = History::new();
    for (at, &(action, answer)) in operations.iter().enumerate() {
        let id = history.call(1, 0, action, at as u64 * 10);
        history.answer(id, answer, at as u64 * 10 + 5);
    }
    history.operations().to_vec()
}

fn assert_violated(operations: &[Operation]) {
    let verdict = check_key(operations);
    assert!(matches!(verdict, Verdict::Violated(_)), "{verdict:?}");
    assert!(!brute::linearizable(operations));
}

fn assert_linearizable(operations: &[Operation]) {
    assert_eq!(check_key(operations), Verdict::Linearizable);
    assert!(brute::linearizable(operations));
}

#[test]
fn a_stale_read_is_found() {
    assert_violated(&serial(&[(set(1), Answer::Done), (set(2), Answer::Done), (Action::Get, got(1))]));
}

#[test]
fn a_lost_write_is_found() {
    assert_violated(&serial(&[(set(1), Answer::Done), (Action::Get, Answer::Nil)]));
}

#[test]
fn an_aborted_read_is_found() {
    let mut history = History::new();
    let refused = history.call(1, 0, set(1), 0);
    history.refuse(refused);
    let read = history.call(2, 0, Action::Get, 10);
    history.answer(read, got(1), 20);
    assert_violated(history.operations());
}

#[test]
fn a_value_from_nowhere_is_found() {
    assert_violated(&serial(&[(set(1), Answer::Done), (Action::Get, got(7))]));
}

#[test]
fn an_increment_executed_twice_is_found() {
    assert_violated(&serial(&[
        (Action::Increment(1), Answer::Number(1)),
        (Action::Increment(1), Answer::Number(2)),
        (Action::Get, Answer::Value(Datum::Number(3))),
    ]));
    // The same with the second increment unknown: it can count once, not twice.
    let mut history = History::new();
    history.call(1, 0, Action::Increment(1), 0);
    let read = history.call(2, 0, Action::Get, 10);
    history.answer(read, Answer::Value(Datum::Number(2)), 20);
    assert_violated(history.operations());
}

#[test]
fn reads_may_not_go_back_and_forth_around_one_unknown_write() {
    let mut history = History::new();
    let first = history.call(1, 0, set(1), 0);
    history.answer(first, Answer::Done, 1);
    history.call(1, 0, set(2), 2);
    for value in [1, 2, 1] {
        let read = history.call(2, 0, Action::Get, 10);
        history.answer(read, got(value), 20);
    }
    assert_violated(history.operations());
}

#[test]
fn unknown_writes_may_happen_late_or_never() {
    let mut history = History::new();
    let first = history.call(1, 0, set(1), 0);
    history.answer(first, Answer::Done, 1);
    history.call(1, 0, set(2), 2);
    history.call(3, 0, Action::Delete, 2);
    for answer in [got(1), got(1), Answer::Nil, got(2), got(2)] {
        let read = history.call(2, 0, Action::Get, 10);
        history.answer(read, answer, 20);
    }
    assert_linearizable(history.operations());
}

#[test]
fn concurrent_writes_may_take_either_order_but_one_order() {
    let build = |reads: [u32; 2]| {
        let mut history = History::new();
        let a = history.call(1, 0, set(1), 0);
        let b = history.call(2, 0, set(2), 0);
        history.answer(a, Answer::Done, 5);
        history.answer(b, Answer::Done, 6);
        for value in reads {
            let read = history.call(3, 0, Action::Get, 10);
            history.answer(read, got(value), 20);
        }
        history.operations().to_vec()
    };
    assert_linearizable(&build([1, 1]));
    assert_linearizable(&build([2, 2]));
    assert_violated(&build([1, 2]));
}

#[test]
fn a_key_that_expired_does_not_come_back() {
    let expiring =
        Action::Set { value: Datum::Blob(1), when: When::Always, ttl: Ttl::From(5), return_old: false };
    assert_linearizable(&serial(&[
        (expiring, Answer::Done),
        (Action::Get, got(1)),
        (Action::Get, Answer::Nil),
    ]));
    assert_violated(&serial(&[(expiring, Answer::Done), (Action::Get, Answer::Nil), (Action::Get, got(1))]));
}

#[test]
fn thousands_of_operations_with_a_dozen_unknown_ones_are_quick() {
    let mut history = History::new();
    for unknown in 0..12 {
        let action = if unknown % 2 == 0 { set(10_000 + unknown) } else { Action::Increment(1) };
        history.call(9, 0, action, 0);
    }
    for round in 0..3000_u32 {
        let a = history.call(1, 0, set(round), 1);
        let b = history.call(2, 0, Action::Get, 1);
        let c = history.call(3, 0, Action::Get, 1);
        history.answer(b, if round == 0 { Answer::Nil } else { got(round - 1) }, 2);
        history.answer(a, Answer::Done, 3);
        history.answer(c, got(round), 4);
    }
    assert_eq!(check_key(history.operations()), Verdict::Linearizable);
}

#[test]
fn too_many_open_operations_are_undecided_not_acquitted() {
    let mut history = History::new();
    for name in 0..=OPEN_COUNT_MAX as u32 {
        history.call(1, 0, set(name), 0);
    }
    let read = history.call(2, 0, Action::Get, 1);
    history.answer(read, Answer::Nil, 2);
    assert!(matches!(check_key(history.operations()), Verdict::Undecided(_)));
}

#[test]
fn a_flush_is_of_every_key_of_its_group_and_one_that_may_come_late_too() {
    use super::super::history::Subject;
    let build = |flushed: Option<Answer>, read: Answer, other: Answer| {
        let mut history = History::new();
        let subject = |group, key| Subject { group, key, member: 0 };
        for (group, key) in [(1, 4), (2, 5)] {
            let id = history.call_member(1, subject(group, key), set(key), 0);
            history.answer(id, Answer::Done, 1);
        }
        let flush = history.call_member(2, subject(1, 9), Action::Flush, 2);
        if let Some(answer) = flushed {
            history.answer(flush, answer, 3);
        }
        for (group, key, answer) in [(1, 4, read), (2, 5, other)] {
            let id = history.call_member(1, subject(group, key), Action::Get, 4);
            history.answer(id, answer, 5);
        }
        check_all(&history.by_key()).is_ok()
    };
    assert!(build(Some(Answer::Done), Answer::Nil, got(5)));
    assert!(!build(Some(Answer::Done), got(4), got(5)));
    assert!(!build(Some(Answer::Done), Answer::Nil, Answer::Nil));
    assert!(build(None, Answer::Nil, got(5)));
    assert!(build(None, got(4), got(5)));
}

fn any_action() -> impl Strategy<Value = Action> {
    let value = prop_oneof![(0_u32..3).prop_map(Datum::Blob), (0_i64..2).prop_map(Datum::Number)];
    let when = prop_oneof![Just(When::Always), Just(When::Absent), Just(When::Present)];
    let ttl =
        || prop_oneof![4 => Just(Ttl::Clear), 1 => Just(Ttl::Keep), 1 => (0_u64..10).prop_map(Ttl::From)];
    prop_oneof![
        4 => Just(Action::Get),
        1 => Just(Action::Exists),
        4 => (value, when, ttl(), any::<bool>())
            .prop_map(|(value, when, ttl, return_old)| Action::Set { value, when, ttl, return_old }),
        1 => Just(Action::Delete),
        2 => (1_i64..3).prop_map(Action::Increment),
        1 => prop_oneof![Just(Ttl::Clear), (0_u64..10).prop_map(Ttl::From)].prop_map(Action::Expire),
        1 => (0_u8..3, any::<bool>()).prop_map(|(target, replace)| Action::Rename { target, replace }),
        1 => (0_u8..3, any::<bool>()).prop_map(|(target, replace)| Action::Copy { target, replace }),
        1 => (0_u32..3, ttl()).prop_map(|(name, ttl)| {
            let values = [Some(Datum::Blob(name)), Some(Datum::Blob(name + 1)), None];
            Action::SetMany { values, when: When::Absent, ttl }
        }),
        1 => Just(Action::Flush),
    ]
}

fn any_answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        Just(Answer::Done),
        Just(Answer::Skipped),
        (0_u32..3).prop_map(|name| Answer::Value(Datum::Blob(name))),
        (0_i64..3).prop_map(|number| Answer::Value(Datum::Number(number))),
        Just(Answer::Nil),
        (0_i64..3).prop_map(Answer::Number),
        Just(Answer::NotAnInteger),
    ]
}

/// Histories of up to seven operations with random overlap. Each is given the answer of a real execution at a
/// random point of its window, and some answers are then replaced, so that about half the histories are
/// linearizable.
fn any_history() -> impl Strategy<Value = Vec<Operation>> {
    let operation = (
        (prop_oneof![4 => Just(0_u8), 1 => Just(1), 1 => Just(2)], any_action()),
        0_u64..20,
        0_u64..10,
        0_u8..10,
        any::<u8>(),
        proptest::option::weighted(0.1, any_answer()),
    );
    proptest::collection::vec(operation, 1..7).prop_map(|drawn| {
        let mut order: Vec<usize> = (0..drawn.len()).collect();
        // The point within its window at which each operation takes effect.
        order.sort_by_key(|&i| drawn[i].1 * 256 + drawn[i].2 * u64::from(drawn[i].4));
        let mut answers = vec![Answer::Nil; drawn.len()];
        let mut state = Family::ABSENT;
        for index in order {
            let (answer, after) = super::super::family::execute(state, drawn[index].0.0, drawn[index].0.1);
            // An unknown operation (fate 0) did not happen, in every other case.
            if drawn[index].3 != 0 {
                state = after;
            }
            answers[index] = drawn[index].5.unwrap_or(answer);
        }
        // Times to orders: two per operation, unique.
        drawn
            .iter()
            .enumerate()
            .map(|(index, &((member, action), start, len, fate, ..))| {
                let called = Stamp { order: start * 100 + index as u64, at: start };
                let end = Stamp { order: (start + len) * 100 + 50 + index as u64, at: start + len };
                let fate = match fate {
                    0 | 1 => Fate::Unknown,
                    2 if index % 2 == 0 => Fate::Refused,
                    _ => Fate::Answered { stamp: end, answer: answers[index] },
                };
                Operation { client: index as u32, group: 0, key: 0, member, action, called, fate }
            })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]
    #[test]
    fn the_checker_agrees_with_its_twin(history in any_history()) {
        let fast = match check_key(&history) {
            Verdict::Linearizable => true,
            Verdict::Violated(_) => false,
            Verdict::Undecided(why) => panic!("{why}"),
        };
        prop_assert_eq!(fast, brute::linearizable(&history));
    }
}
