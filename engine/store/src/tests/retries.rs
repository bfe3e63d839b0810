//! Sessions (rule P-12): a command of a session is executed once, however often it is sent.

use super::rig::{GROUP, Rig, command, set, set_get, stamped};
use crate::sessions::{REPLY_BYTES, SESSION_LIMITS, SessionLimits};
use alloc::vec::Vec;
use synod_types::limits::{SESSION_REPLIES_MAX, SESSIONS_PER_GROUP_MAX};
use synod_types::{Command, Condition, ErrorKind, Expiry, Op, Reply, SessionId};

const EXPIRED: Reply<Vec<u8>> = Reply::Error(ErrorKind::SessionExpired);
const CLOSED: Reply<Vec<u8>> = Reply::Error(ErrorKind::SequenceClosed);
const BUSY: Reply<Vec<u8>> = Reply::Error(ErrorKind::Busy);
const MALFORMED: Reply<Vec<u8>> = Reply::Error(ErrorKind::Malformed);

fn incr(session: SessionId, sequence: u64, lowest_open: u64) -> Command<Vec<u8>> {
    stamped(command("n", Op::IncrementBy(1)), session, sequence, lowest_open)
}

#[test]
fn a_retry_is_answered_as_the_first_time_and_not_executed() {
    let mut rig = Rig::new();
    let session = rig.at(1).open();
    assert_eq!(rig.run(incr(session, 1, 0)), Reply::Int(1));
    assert_eq!(rig.run(incr(session, 2, 0)), Reply::Int(2));
    assert_eq!(rig.run(incr(session, 1, 0)), Reply::Int(1));
    assert_eq!(rig.at(2).run(incr(session, 2, 1)), Reply::Int(2));
    assert_eq!(rig.get("n"), Some(b"2".to_vec()));
}

#[test]
fn without_a_session_every_send_is_executed() {
    let mut rig = Rig::new();
    rig.at(1).run(incr(SessionId::NONE, 1, 0));
    assert_eq!(rig.run(incr(SessionId::NONE, 1, 0)), Reply::Int(2));
}

#[test]
fn every_kind_of_reply_is_remembered_errors_too() {
    let mut rig = Rig::new();
    let session = rig.at(1).open();
    rig.set("text", b"abc");
    let commands = [
        command("k", set(b"one")),
        command("k", super::rig::set_with(b"two", Condition::IfAbsent, Expiry::None)),
        command("k", set_get(b"three", Condition::Always, Expiry::None)),
        command("none", set_get(b"four", Condition::IfPresent, Expiry::None)),
        command("text", Op::IncrementBy(1)),
        command("text", Op::SetExpiry(Expiry::After(u64::MAX))),
        command("k", Op::Delete),
    ];
    let stamped = |at: usize| stamped(commands[at].clone(), session, at as u64 + 1, 0);
    let first: Vec<_> = (0..commands.len()).map(|at| rig.run(stamped(at))).collect();
    rig.at(9).set("text", b"7");
    let digest_keys = rig.store.keys(GROUP);
    let again: Vec<_> = (0..commands.len()).map(|at| rig.run(stamped(at))).collect();
    assert_eq!(first, again);
    assert_eq!((rig.store.keys(GROUP), rig.get("text")), (digest_keys, Some(b"7".to_vec())));
}

#[test]
fn commands_may_arrive_in_any_order() {
    let mut rig = Rig::new();
    let session = rig.at(1).open();
    for sequence in [5, 2, 9, 1, 7] {
        rig.run(incr(session, sequence, 1));
    }
    for (sequence, sum) in [(1, 4), (2, 2), (5, 1), (7, 5), (9, 3)] {
        assert_eq!(rig.run(incr(session, sequence, 1)), Reply::Int(sum));
    }
    rig.store.invariants();
}

#[test]
fn an_unknown_session_is_never_executed() {
    let mut rig = Rig::new();
    assert_eq!(rig.at(1).run(incr(SessionId::new(77), 1, 0)), EXPIRED);
    assert_eq!(rig.get("n"), None);
}

#[test]
fn what_the_client_has_closed_is_not_executed_again() {
    let mut rig = Rig::new();
    let session = rig.at(1).open();
    rig.run(incr(session, 1, 0));
    rig.run(incr(session, 2, 2));
    assert_eq!(rig.run(incr(session, 1, 0)), CLOSED);
    assert_eq!(rig.run(incr(session, 2, 0)), Reply::Int(2), "an old lowest_open opens nothing");
    assert_eq!(rig.get("n"), Some(b"2".to_vec()));
}

#[test]
fn a_contradictory_stamp_is_malformed() {
    let mut rig = Rig::new();
    let session = rig.at(1).open();
    assert_eq!(rig.run(incr(session, 0, 0)), MALFORMED);
    assert_eq!(rig.run(incr(session, 3, 4)), MALFORMED);
    assert_eq!(rig.run(stamped(command("", Op::OpenSession), session, 1, 0)), MALFORMED);
    assert_eq!(rig.get("n"), None);
}

#[test]
fn session_ids_are_unique_and_never_none() {
    let mut rig = Rig::new();
    let ids: Vec<_> = (0..100).map(|_| rig.at(1).open()).collect();
    assert!(ids.is_sorted_by(|a, b| a < b) && !ids.contains(&SessionId::NONE));
}

#[test]
fn a_full_window_is_refused_until_the_client_closes_replies() {
    let mut rig = Rig::new();
    let session = rig.at(1).open();
    let max = SESSION_REPLIES_MAX as u64;
    for sequence in 1..=max {
        assert_eq!(rig.run(incr(session, sequence, 1)), Reply::Int(sequence as i64));
        if sequence % 100 == 0 {
            rig.at(1);
        }
    }
    assert_eq!(rig.run(incr(session, max + 1, 1)), BUSY);
    assert_eq!(rig.run(incr(session, 1, 1)), Reply::Int(1), "retries are still answered");
    assert_eq!(
        rig.run(incr(session, max + 1, 2)),
        Reply::Int(max as i64 + 1),
        "the same sequence, closing one"
    );
    rig.store.invariants();
}

#[test]
fn too_many_bytes_of_old_values_are_refused_before_anything_is_done() {
    let limits = SessionLimits { session_bytes_max: 2 * REPLY_BYTES + 1000, ..SESSION_LIMITS };
    let mut rig = Rig::with(0, 1, limits);
    let session = rig.at(1).open();
    rig.set("k", &[1; 600]);
    let swap = |sequence, lowest_open| {
        stamped(
            command("k", set_get(&[sequence as u8; 600], Condition::Always, Expiry::None)),
            session,
            sequence,
            lowest_open,
        )
    };
    assert!(matches!(rig.run(swap(2, 1)), Reply::Value { .. }));
    assert_eq!((rig.run(swap(3, 1)), rig.reads), (BUSY, 1));
    assert_eq!(rig.get("k"), Some([2; 600].to_vec()));
    assert!(matches!(rig.run(swap(3, 3)), Reply::Value { value, .. } if value == [2; 600]));
    rig.store.invariants();
}

#[test]
fn one_session_too_many_evicts_the_least_recently_used() {
    let mut rig = Rig::new();
    let ids: Vec<_> = (0..SESSIONS_PER_GROUP_MAX).map(|_| rig.at(1).open()).collect();
    assert_eq!(rig.run(incr(ids[0], 1, 0)), Reply::Int(1));
    let newest = rig.open();
    assert_eq!(rig.run(incr(ids[1], 1, 0)), EXPIRED, "not the oldest, but the longest unused");
    assert_eq!(rig.run(incr(ids[0], 2, 0)), Reply::Int(2));
    assert_eq!(rig.run(incr(ids[2], 1, 0)), Reply::Int(3));
    assert_eq!(rig.run(incr(newest, 1, 0)), Reply::Int(4));
    rig.store.invariants();
}

#[test]
fn a_retry_and_a_refusal_count_as_use() {
    let limits = SessionLimits { sessions_max: 2, ..SESSION_LIMITS };
    let mut rig = Rig::with(0, 1, limits);
    let (first, second) = (rig.at(1).open(), rig.open());
    rig.run(incr(first, 1, 0));
    rig.run(incr(second, 1, 0));
    rig.run(incr(first, 1, 0));
    rig.open();
    assert_eq!(rig.run(incr(second, 1, 0)), EXPIRED);
    assert_eq!(rig.run(incr(first, 1, 0)), Reply::Int(1));
}

#[test]
fn old_values_of_the_whole_group_evict_the_least_recently_used() {
    let limits = SessionLimits { session_bytes_max: 2000, group_bytes_max: 4000, ..SESSION_LIMITS };
    let mut rig = Rig::with(0, 1, limits);
    rig.at(1).set("k", &[1; 1500]);
    let ids: Vec<_> = (0..3).map(|_| rig.open()).collect();
    let swap = command("k", set_get(&[2; 1500], Condition::Always, Expiry::None));
    for &id in &ids {
        assert!(matches!(rig.run(stamped(swap.clone(), id, 1, 0)), Reply::Value { .. }));
        rig.store.invariants();
    }
    assert_eq!(rig.run(stamped(swap.clone(), ids[0], 2, 0)), EXPIRED);
    assert!(matches!(rig.run(stamped(swap, ids[2], 1, 0)), Reply::Value { .. }));
}

#[test]
fn the_digest_sees_what_a_session_remembers() {
    let mut rig = Rig::new();
    let session = rig.at(1).open();
    let mut seen = Vec::new();
    for command in [incr(session, 1, 0), incr(session, 2, 1), incr(session, 2, 2), incr(session, 1, 1)] {
        seen.push(rig.store.digest(GROUP));
        rig.run(command);
    }
    seen.push(rig.store.digest(GROUP));
    let count = seen.len();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), count);
}
