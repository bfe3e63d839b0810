//! Sessions of nodes (rule P-21): a command that a node sends for its clients is executed once, and only the
//! node's last boot is accepted.

use super::rig::{Asked, GROUP, Rig, command, set_get, stamped};
use crate::sessions::{REPLY_BYTES, SESSION_LIMITS, SMALL_VALUE_BYTES, SessionLimits};
use alloc::{vec, vec::Vec};
use synod_types::limits::{NODE_REPLY_BYTES_MAX, SESSION_REPLIES_MAX, SESSIONS_PER_GROUP_MAX};
use synod_types::operand::put_range;
use synod_types::{Boot, Command, Condition, CoreId, ErrorKind, Expiry, Level, NodeId, Op, Reply, SessionId};

const EXPIRED: Reply<Vec<u8>> = Reply::Error(ErrorKind::SessionExpired);
const CLOSED: Reply<Vec<u8>> = Reply::Error(ErrorKind::SequenceClosed);
const BUSY: Reply<Vec<u8>> = Reply::Error(ErrorKind::Busy);
const MALFORMED: Reply<Vec<u8>> = Reply::Error(ErrorKind::Malformed);
const DROPPED: Reply<Vec<u8>> = Reply::Error(ErrorKind::ReplyDropped);

fn boot(counter: u64) -> Boot {
    Boot { counter, random: 7 }
}

fn open(rig: &mut Rig, node: u16, core: u16, boot: Boot) -> Reply<Vec<u8>> {
    let (node, core) = (NodeId::new(node), CoreId::new(core));
    rig.run(command("", Op::OpenNodeSession { node, core, boot }))
}

fn opened(rig: &mut Rig, node: u16, core: u16, boot: Boot) -> SessionId {
    match open(rig, node, core, boot) {
        Reply::Session(id) if id.is_of_node() => id,
        other => panic!("{other:?}"),
    }
}

fn incr(session: SessionId, sequence: u64, lowest_open: u64) -> Command<Vec<u8>> {
    stamped(command("n", Op::IncrementBy(1)), session, sequence, lowest_open)
}

fn close(session: SessionId, sequence: u64, lowest_open: u64, held: &[(u64, u32)]) -> Command<Vec<u8>> {
    let mut operand = Vec::new();
    for &(first, count) in held {
        put_range(&mut operand, first, count);
    }
    stamped(command("", Asked(Op::CloseSequences, operand)), session, sequence, lowest_open)
}

fn bits(reply: Reply<Vec<u8>>) -> Vec<u8> {
    match reply {
        Reply::Value { value, .. } => value,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_sent_again_is_answered_as_the_first_time_and_not_executed() {
    let mut rig = Rig::new();
    let session = {
        let rig = rig.at(1);
        opened(rig, 1, 0, boot(1))
    };
    assert_eq!(rig.run(incr(session, 1, 1)), Reply::Int(1));
    assert_eq!(rig.run(incr(session, 2, 1)), Reply::Int(2));
    assert_eq!(rig.run(incr(session, 1, 1)), Reply::Int(1));
    // An open that the node sends for a client opens one session, even when it is repeated.
    let client = stamped(command("", Op::OpenSession), session, 3, 1);
    let first = rig.run(client.clone());
    assert!(matches!(first, Reply::Session(id) if !id.is_of_node()));
    assert_eq!(rig.at(2).run(client), first);
    assert_eq!(rig.run(incr(session, 4, 4)), Reply::Int(3));
    assert_eq!(rig.run(incr(session, 1, 1)), CLOSED);
    assert_eq!(rig.get("n"), Some(b"3".to_vec()));
}

/// No node counts so far, but a stamp may say so.
#[test]
fn the_last_sequence_that_there_is_is_one_like_any_other() {
    let mut rig = Rig::new();
    let rig = rig.at(1);
    let session = opened(rig, 1, 0, boot(1));
    rig.run(command("", Op::RaiseLevel(Level::IN_ORDER)));
    assert_eq!(rig.run(incr(session, u64::MAX, u64::MAX)), Reply::Int(1));
    assert_eq!(rig.run(incr(session, u64::MAX, u64::MAX)), Reply::Int(1), "it is remembered");
    rig.store.invariants();
}

/// P-21i.
#[test]
fn writes_of_a_session_are_executed_in_the_order_of_their_sequences() {
    const EARLY: Reply<Vec<u8>> = Reply::Error(ErrorKind::NoLeader);
    let mut rig = Rig::new();
    let rig = rig.at(1);
    let session = opened(rig, 1, 0, boot(1));
    assert_eq!(rig.run(incr(session, 2, 1)), Reply::Int(1), "before the level, in any order");
    rig.run(command("", Op::RaiseLevel(Level::IN_ORDER)));
    assert_eq!(rig.run(incr(session, 3, 1)), EARLY, "1 was not executed");
    assert_eq!(rig.run(incr(session, 1, 1)), Reply::Int(2));
    assert_eq!(rig.run(incr(session, 2, 1)), Reply::Int(1), "it is remembered");
    assert_eq!(rig.run(incr(session, 4, 1)), EARLY);
    assert_eq!(rig.run(incr(session, 3, 1)), Reply::Int(3));
    // A sequence that its node has given up holds nothing up once a stamp, or a close, says so.
    assert_eq!(rig.run(incr(session, 6, 1)), EARLY);
    assert_eq!(rig.run(incr(session, 6, 5)), EARLY);
    assert_eq!(rig.run(incr(session, 6, 6)), Reply::Int(4));
    assert_eq!(rig.run(incr(session, 4, 4)), CLOSED, "what was passed over is never executed");
    assert_eq!(bits(rig.run(close(session, 9, 7, &[(7, 1)]))), [0], "a close keeps no order");
    assert_eq!(rig.run(incr(session, 8, 7)), Reply::Int(5));
    assert_eq!(rig.run(incr(session, 10, 7)), Reply::Int(6));
    rig.store.invariants();
    // Clients keep their own order.
    let client = rig.open();
    assert_eq!(rig.run(incr(client, 5, 1)), Reply::Int(7));
}

#[test]
fn a_sequence_belongs_to_one_command_in_every_session() {
    let mut rig = Rig::new();
    let (of_node, of_client) = {
        let rig = rig.at(1);
        (opened(rig, 1, 0, boot(1)), rig.open())
    };
    for (session, value) in [(of_node, "1"), (of_client, "2")] {
        rig.run(incr(session, 1, 1));
        let other = stamped(command("n", Op::IncrementBy(2)), session, 1, 1);
        assert_eq!(rig.run(other), MALFORMED);
        let other = stamped(command("m", Op::IncrementBy(1)), session, 1, 1);
        assert_eq!(rig.run(other), MALFORMED);
        let text = |value: &[u8]| set_get(value, Condition::Always, Expiry::None);
        rig.run(stamped(command("k", text(b"one")), session, 2, 1));
        assert_eq!(rig.run(stamped(command("k", text(b"two")), session, 2, 1)), MALFORMED);
        assert_eq!(rig.get("n"), Some(value.as_bytes().to_vec()));
        assert_eq!(rig.get("k"), Some(b"one".to_vec()));
    }
    assert_eq!(rig.get("m"), None);
}

#[test]
fn one_start_of_a_node_has_one_session_for_each_core() {
    let mut rig = Rig::new();
    let rig = rig.at(1);
    let first = opened(rig, 1, 0, boot(5));
    assert_eq!(opened(rig, 1, 0, boot(5)), first);
    let others = [opened(rig, 1, 1, boot(5)), opened(rig, 2, 0, boot(1))];
    assert!(others[0] != first && others[1] != first && others[0] != others[1]);
    assert_eq!(rig.run(incr(first, 1, 1)), Reply::Int(1));
    assert_eq!(opened(rig, 1, 0, boot(5)), first);
    assert_eq!(rig.run(incr(first, 1, 1)), Reply::Int(1), "it is remembered all the same");
}

#[test]
fn a_later_start_replaces_the_sessions_of_all_cores_and_an_earlier_one_changes_nothing() {
    let mut rig = Rig::new();
    let rig = rig.at(1);
    let old = [opened(rig, 1, 0, boot(5)), opened(rig, 1, 1, boot(5))];
    let of_other = opened(rig, 2, 0, boot(1));
    let now = opened(rig, 1, 0, boot(6));
    for session in old {
        assert_eq!(rig.run(incr(session, 1, 1)), EXPIRED);
    }
    assert_eq!(rig.run(incr(now, 1, 1)), Reply::Int(1));
    let digest = rig.store.digest(GROUP);
    for (core, late) in [(0, boot(5)), (1, boot(5)), (1, Boot { counter: 6, random: 8 })] {
        assert_eq!(open(rig, 1, core, late), EXPIRED);
        assert_eq!(rig.store.digest(GROUP), digest, "{late:?}");
    }
    assert_eq!(rig.run(incr(now, 1, 1)), Reply::Int(1));
    assert_eq!(rig.run(incr(of_other, 1, 1)), Reply::Int(2));
    rig.store.invariants();
}

#[test]
fn clients_evict_no_session_of_a_node_and_do_not_count_with_them() {
    let limits = SessionLimits { session_bytes_max: 2000, group_bytes_max: 4000, ..SESSION_LIMITS };
    let mut rig = Rig::with(0, 1, limits);
    let rig = rig.at(1);
    let of_node = opened(rig, 1, 0, boot(1));
    assert_eq!(rig.run(incr(of_node, 1, 1)), Reply::Int(1));
    rig.set("k", &[1; 1500]);
    let swap = command("k", set_get(&[2; 1500], Condition::Always, Expiry::None));
    for _ in 0..4 {
        let client = rig.open();
        rig.run(stamped(swap.clone(), client, 1, 0));
    }
    let first = rig.at(2).open();
    for _ in 1..SESSIONS_PER_GROUP_MAX {
        rig.at(2).open();
    }
    assert_eq!(rig.run(incr(first, 1, 0)), Reply::Int(2), "as many as ever");
    assert_eq!(rig.run(incr(of_node, 1, 1)), Reply::Int(1));
    rig.store.invariants();
}

#[test]
fn a_full_window_is_refused_whatever_the_bytes() {
    let mut rig = Rig::new();
    let session = {
        let rig = rig.at(1);
        opened(rig, 1, 0, boot(1))
    };
    let max = SESSION_REPLIES_MAX as u64;
    for sequence in 1..=max {
        assert_eq!(rig.run(incr(session, sequence, 1)), Reply::Int(sequence as i64));
        if sequence % 100 == 0 {
            rig.at(1);
        }
    }
    assert_eq!(rig.run(incr(session, max + 1, 1)), BUSY);
    assert_eq!(rig.run(incr(session, max + 1, 2)), Reply::Int(max as i64 + 1));
    rig.store.invariants();
}

#[test]
fn a_reply_too_large_to_keep_is_known_to_have_been_given() {
    let mut rig = Rig::new();
    let session = {
        let rig = rig.at(1);
        opened(rig, 1, 0, boot(1))
    };
    let swap = |value: Vec<u8>, sequence| {
        stamped(command("k", set_get(&value, Condition::Always, Expiry::None)), session, sequence, 1)
    };
    let (fits, longer) = (vec![1; NODE_REPLY_BYTES_MAX], vec![2; NODE_REPLY_BYTES_MAX + 1]);
    rig.set("k", &fits);
    let kept = rig.run(swap(longer.clone(), 1));
    assert!(matches!(&kept, Reply::Value { value, .. } if *value == fits));
    assert!(matches!(rig.run(swap(fits.clone(), 2)), Reply::Value { value, .. } if value == longer));
    assert_eq!((rig.run(swap(longer, 1)), rig.run(swap(fits.clone(), 2))), (kept, DROPPED));
    assert_eq!(rig.get("k"), Some(fits));
}

#[test]
fn large_replies_leave_room_for_all_small_ones() {
    let room = SESSION_REPLIES_MAX as u64 * (REPLY_BYTES + SMALL_VALUE_BYTES);
    let limits = SessionLimits { session_bytes_max: room + 2 * 600, ..SESSION_LIMITS };
    let mut rig = Rig::with(0, 1, limits);
    let session = {
        let rig = rig.at(1);
        opened(rig, 1, 0, boot(1))
    };
    rig.set("k", &[0; 600]);
    let swap = |sequence: u64| {
        let asked = set_get(&[sequence as u8; 600], Condition::Always, Expiry::None);
        stamped(command("k", asked), session, sequence, 1)
    };
    for sequence in 1..=4 {
        assert!(matches!(rig.run(swap(sequence)), Reply::Value { .. }), "executed in any case");
    }
    let again: Vec<bool> = (1..=4).map(|sequence| rig.run(swap(sequence)) == DROPPED).collect();
    assert_eq!(again, [false, false, true, true]);
    rig.set("k", &[9; SMALL_VALUE_BYTES as usize]);
    for sequence in 5..=SESSION_REPLIES_MAX as u64 {
        let asked = set_get(&[9; SMALL_VALUE_BYTES as usize], Condition::Always, Expiry::None);
        let small = stamped(command("k", asked), session, sequence, 1);
        let first = rig.at(1).run(small.clone());
        assert_eq!(rig.run(small), first);
    }
    rig.store.invariants();
}

#[test]
fn room_for_small_replies_is_there_again_when_what_took_it_is_closed() {
    let each = REPLY_BYTES + SMALL_VALUE_BYTES;
    let limits = SessionLimits { replies_max: 4, session_bytes_max: 4 * each + 900, ..SESSION_LIMITS };
    let mut rig = Rig::with(0, 1, limits);
    let session = {
        let rig = rig.at(1);
        opened(rig, 1, 0, boot(1))
    };
    rig.set("k", &[1; 1200]);
    for sequence in 1..=3 {
        rig.run(incr(session, sequence, 1));
    }
    let swap = |sequence, lowest_open| {
        let asked = set_get(&[9; SMALL_VALUE_BYTES as usize], Condition::Always, Expiry::None);
        stamped(command("k", asked), session, sequence, lowest_open)
    };
    assert!(matches!(rig.run(swap(4, 1)), Reply::Value { value, .. } if value.len() == 1200));
    for sequence in 5..=7 {
        assert!(matches!(rig.run(swap(sequence, 4)), Reply::Value { .. }));
        rig.store.invariants();
    }
    assert_eq!(rig.run(swap(4, 4)), DROPPED);
}

#[test]
fn what_is_closed_is_told_about_once_and_never_executed() {
    let mut rig = Rig::new();
    let session = {
        let rig = rig.at(1);
        opened(rig, 1, 0, boot(1))
    };
    for sequence in [1, 3, 4, 10] {
        rig.run(incr(session, sequence, 1));
    }
    // 2 to 4, and 9 to 12: of seven sequences the second, third and fifth were executed.
    let closes = close(session, 13, 1, &[(2, 3), (9, 4)]);
    assert_eq!(bits(rig.run(closes.clone())), [0b001_0110]);
    for sequence in [2, 3, 4, 9, 10, 11, 12] {
        assert_eq!(rig.run(incr(session, sequence, 1)), CLOSED, "{sequence}");
    }
    assert_eq!(bits(rig.at(2).run(closes)), [0b001_0110], "sent again, it is answered again");
    assert_eq!(rig.run(incr(session, 1, 1)), Reply::Int(1), "what is left is remembered");
    assert_eq!(rig.run(incr(session, 5, 1)), Reply::Int(5), "and open");
    assert_eq!(rig.run(close(session, 14, 1, &[(4, 2)])), CLOSED, "a part of it cannot be told any more");
    assert_eq!(rig.run(incr(session, 5, 1)), Reply::Int(5), "so nothing of it is closed");
    assert_eq!(rig.run(close(session, 15, 1, &[(15, 1)])), MALFORMED);
    assert_eq!(bits(rig.run(close(session, 16, 16, &[(5, 4)]))), [0b0001]);
    assert_eq!(rig.run(incr(session, 13, 13)), CLOSED);
    rig.store.invariants();
}

#[test]
fn a_close_makes_room_where_the_lowest_is_still_open() {
    let mut rig = Rig::new();
    let session = {
        let rig = rig.at(1);
        opened(rig, 1, 0, boot(1))
    };
    let max = SESSION_REPLIES_MAX as u64;
    for sequence in 2..=max {
        rig.at(1).run(incr(session, sequence, 1));
    }
    assert_eq!(bits(rig.run(close(session, max + 1, 1, &[(2, max as u32 - 1)]))).len(), 128);
    assert_eq!(rig.run(incr(session, max + 2, 1)), Reply::Int(max as i64));
    assert_eq!(rig.run(incr(session, 1, 1)), Reply::Int(max as i64 + 1));
    rig.store.invariants();
}

#[test]
fn only_a_node_closes_ranges() {
    let mut rig = Rig::new();
    let client = rig.at(1).open();
    rig.run(incr(client, 1, 1));
    assert_eq!(rig.run(close(client, 2, 1, &[(1, 1)])), MALFORMED);
    assert_eq!(rig.run(close(SessionId::NONE, 0, 0, &[])), MALFORMED);
    assert_eq!(rig.run(incr(client, 1, 1)), Reply::Int(1));
}
