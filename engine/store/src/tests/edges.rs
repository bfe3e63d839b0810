//! Every edge of every command, by name. Where Redis has the command, Redis is the reference.

use super::rig::{GROUP, NS, Rig, command, set, set_get, set_with};
use alloc::{vec, vec::Vec};
use synod_types::{Condition, ErrorKind, Expiry, Namespace, Op, Reply, Slot, Version, WallMs};

const MAX: u64 = i64::MAX as u64;

fn value(reply: Reply<Vec<u8>>) -> Vec<u8> {
    match reply {
        Reply::Value { value, .. } => value,
        other => panic!("no value: {other:?}"),
    }
}

#[test]
fn set_replies_the_version_that_get_returns() {
    let mut rig = Rig::new();
    let reply = rig.at(10).set("k", b"v");
    let version = rig.version;
    assert_eq!(reply, Reply::Done { version });
    assert_eq!(rig.get_in(NS, b"k"), Some((b"v".to_vec(), version, WallMs::ZERO)));
    assert_eq!(rig.get("other"), None);
}

#[test]
fn values_of_every_length_come_back() {
    let mut rig = Rig::new();
    for len in [0, 1, 22, 23, 64, 4096, 16 << 10, 1 << 20] {
        let bytes: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
        rig.at(1).set("k", &bytes);
        assert_eq!(rig.get("k"), Some(bytes), "{len}");
        rig.store.invariants();
    }
}

#[test]
fn namespaces_keep_the_same_key_apart() {
    let mut rig = Rig::new();
    let mut other = command("k", set(b"theirs"));
    other.namespace = Namespace::new(1);
    rig.at(1).set("k", b"ours");
    rig.run(other);
    assert_eq!(rig.get("k"), Some(b"ours".to_vec()));
    assert_eq!(rig.get_in(Namespace::new(1), b"k").map(|got| got.0), Some(b"theirs".to_vec()));
    assert_eq!(rig.store.keys(GROUP), 2);
}

#[test]
fn an_empty_key_is_a_key() {
    let mut rig = Rig::new();
    rig.at(1).set("", b"v");
    assert_eq!(rig.get(""), Some(b"v".to_vec()));
    assert_eq!(rig.run(command("", Op::Delete)), Reply::Int(1));
}

#[test]
fn set_nx_writes_only_where_there_is_nothing() {
    let mut rig = Rig::new();
    let nx = |v: &[u8]| command("k", set_with(v, Condition::IfAbsent, Expiry::None));
    assert!(matches!(rig.at(1).run(nx(b"a")), Reply::Done { .. }));
    assert_eq!(rig.run(nx(b"b")), Reply::Skipped);
    assert_eq!(rig.get("k"), Some(b"a".to_vec()));
}

#[test]
fn set_xx_writes_only_where_there_is_something() {
    let mut rig = Rig::new();
    let xx = |v: &[u8]| command("k", set_with(v, Condition::IfPresent, Expiry::None));
    assert_eq!(rig.at(1).run(xx(b"a")), Reply::Skipped);
    assert_eq!(rig.get("k"), None);
    rig.set("k", b"b");
    assert!(matches!(rig.run(xx(b"c")), Reply::Done { .. }));
    assert_eq!(rig.get("k"), Some(b"c".to_vec()));
}

#[test]
fn a_write_by_version_takes_place_at_that_very_version_only() {
    let mut rig = Rig::new();
    let by = |version| Condition::IfVersion(version);
    let write = |v: &[u8], version| command("k", set_with(v, by(version), Expiry::None));
    let never = Version { slot: Slot::new(u64::MAX), position: u32::MAX };
    assert_eq!(rig.at(1).run(write(b"a", never)), Reply::Skipped);
    assert_eq!(rig.run(command("k", Op::DeleteIfVersion(never))), Reply::Int(0));
    let Reply::Done { version: first } = rig.set("k", b"a") else { panic!("a plain write is done") };
    assert_eq!(rig.run(write(b"b", never)), Reply::Skipped);
    let Reply::Done { version: second } = rig.run(write(b"b", first)) else { panic!("the version fits") };
    assert_eq!(rig.run(write(b"c", first)), Reply::Skipped);
    assert_eq!(rig.run(command("k", Op::DeleteIfVersion(first))), Reply::Skipped);
    assert_eq!(rig.get("k"), Some(b"b".to_vec()));
    assert_eq!(rig.run(command("k", Op::DeleteIfVersion(second))), Reply::Int(1));
    assert_eq!(rig.get("k"), None);
}

#[test]
fn nx_writes_and_xx_does_not_where_a_key_has_expired() {
    let mut rig = Rig::new();
    rig.at(10).run(command("k", set_with(b"old", Condition::Always, Expiry::After(5))));
    rig.at(15);
    assert_eq!(rig.run(command("k", set_with(b"x", Condition::IfPresent, Expiry::None))), Reply::Skipped);
    assert_eq!(rig.run(command("k", set_get(b"new", Condition::IfAbsent, Expiry::None))), Reply::Nil);
    assert_eq!(rig.get("k"), Some(b"new".to_vec()));
    assert_eq!(rig.ttl("k"), -1);
    rig.store.invariants();
}

#[test]
fn set_get_replies_the_old_value_and_its_version() {
    let mut rig = Rig::new();
    let get = |v: &[u8]| command("k", set_get(v, Condition::Always, Expiry::None));
    assert_eq!(rig.at(1).run(get(b"a")), Reply::Nil);
    let version = rig.version;
    assert_eq!(rig.run(get(b"b")), Reply::Value { value: b"a".to_vec(), version });
    assert_eq!(rig.get("k"), Some(b"b".to_vec()));
}

#[test]
fn set_nx_get_replies_the_old_value_and_changes_nothing() {
    let mut rig = Rig::new();
    rig.at(1).set("k", b"a");
    let nx_get = command("k", set_get(b"b", Condition::IfAbsent, Expiry::None));
    assert_eq!(value(rig.run(nx_get)), b"a");
    assert_eq!(rig.get("k"), Some(b"a".to_vec()));
}

#[test]
fn set_xx_get_on_nothing_replies_nil_and_changes_nothing() {
    let mut rig = Rig::new();
    let xx_get = command("k", set_get(b"b", Condition::IfPresent, Expiry::None));
    assert_eq!(rig.at(1).run(xx_get), Reply::Nil);
    assert_eq!(rig.get("k"), None);
}

#[test]
fn set_clears_an_expiry_and_keepttl_keeps_it() {
    let mut rig = Rig::new();
    rig.at(100).run(command("k", set_with(b"a", Condition::Always, Expiry::After(50))));
    rig.run(command("k", set_with(b"b", Condition::Always, Expiry::Keep)));
    assert_eq!(rig.ttl("k"), 50);
    rig.set("k", b"c");
    assert_eq!(rig.ttl("k"), -1);
    rig.run(command("new", set_with(b"b", Condition::Always, Expiry::Keep)));
    assert_eq!(rig.ttl("new"), -1);
}

#[test]
fn after_counts_from_the_slots_time_which_never_goes_back() {
    let mut rig = Rig::new();
    rig.at(100).at(40).run(command("k", set_with(b"a", Condition::Always, Expiry::After(50))));
    assert_eq!(rig.get_in(NS, b"k").map(|got| got.2), Some(WallMs(150)));
    assert_eq!(rig.store.applied_ts(GROUP), WallMs(100));
}

#[test]
fn a_key_is_gone_in_the_millisecond_of_its_expiry() {
    let mut rig = Rig::new();
    rig.at(100).run(command("k", set_with(b"a", Condition::Always, Expiry::At(WallMs(110)))));
    rig.at(109);
    assert_eq!((rig.get("k"), rig.ttl("k")), (Some(b"a".to_vec()), 1));
    rig.at(110);
    assert_eq!((rig.get("k"), rig.ttl("k")), (None, -2));
    assert!(!rig.store.exists(GROUP, NS, b"k"));
    assert_eq!(rig.run(command("k", Op::Delete)), Reply::Int(0));
}

#[test]
fn ttl_is_reckoned_by_the_later_of_both_clocks_and_existence_by_applied_time() {
    let mut rig = Rig::new();
    rig.at(100).run(command("k", set_with(b"a", Condition::Always, Expiry::At(WallMs(110)))));
    let ttl = |clock| rig.store.ttl_ms(GROUP, NS, b"k", WallMs(clock));
    assert_eq!((ttl(0), ttl(100), ttl(107), ttl(110), ttl(5000)), (10, 10, 3, 0, 0));
}

#[test]
fn set_with_a_time_that_has_passed_deletes_and_replies_done() {
    let mut rig = Rig::new();
    for past in [Expiry::At(WallMs(100)), Expiry::At(WallMs(0)), Expiry::After(0)] {
        rig.at(100).set("k", b"a");
        let reply = rig.run(command("k", set_with(b"b", Condition::Always, past)));
        assert_eq!(reply, Reply::Done { version: rig.version });
        assert_eq!((rig.get("k"), rig.store.keys(GROUP)), (None, 0));
        assert!(matches!(
            rig.run(command("k", set_with(b"b", Condition::IfAbsent, past))),
            Reply::Done { .. }
        ));
        assert_eq!(rig.get("k"), None);
    }
}

#[test]
fn set_nx_with_a_time_that_has_passed_leaves_what_is_there() {
    let mut rig = Rig::new();
    rig.at(100).set("k", b"a");
    let reply = rig.run(command("k", set_with(b"b", Condition::IfAbsent, Expiry::At(WallMs(1)))));
    assert_eq!((reply, rig.get("k")), (Reply::Skipped, Some(b"a".to_vec())));
}

#[test]
fn an_expiry_that_is_no_time_is_refused_whatever_the_condition() {
    let mut rig = Rig::new();
    rig.at(100).set("k", b"a");
    for bad in [Expiry::After(u64::MAX), Expiry::After(MAX), Expiry::At(WallMs(MAX + 1))] {
        for condition in [Condition::Always, Condition::IfAbsent, Condition::IfPresent] {
            let reply = rig.run(command("k", set_get(b"b", condition, bad)));
            assert_eq!(reply, Reply::Error(ErrorKind::BadExpiry));
        }
        assert_eq!(rig.run(command("k", Op::SetExpiry(bad))), Reply::Error(ErrorKind::BadExpiry));
    }
    assert_eq!((rig.get("k"), rig.ttl("k")), (Some(b"a".to_vec()), -1));
}

#[test]
fn the_last_time_there_is_can_be_set() {
    let mut rig = Rig::new();
    rig.at(100).run(command("k", set_with(b"a", Condition::Always, Expiry::At(WallMs(MAX)))));
    assert_eq!(rig.ttl("k"), i64::MAX - 100);
    rig.run(command("l", set_with(b"a", Condition::Always, Expiry::After(MAX - 100))));
    assert_eq!(rig.get_in(NS, b"l").map(|got| got.2), Some(WallMs(MAX)));
    rig.at(MAX);
    rig.store.expire(GROUP, &mut 1000);
    assert_eq!((rig.get("k"), rig.store.expired(GROUP)), (None, 2));
}

#[test]
fn delete_counts_what_it_removed() {
    let mut rig = Rig::new();
    rig.at(1).set("k", &[5; 100]);
    assert_eq!(rig.run(command("k", Op::Delete)), Reply::Int(1));
    assert_eq!(rig.run(command("k", Op::Delete)), Reply::Int(0));
    assert_eq!(rig.store.keys(GROUP), 0);
    assert_eq!(rig.store.cache_stats().cells, 0);
}

#[test]
fn incr_counts_an_absent_key_as_zero() {
    let mut rig = Rig::new();
    assert_eq!(rig.at(1).run(command("k", Op::IncrementBy(5))), Reply::Int(5));
    assert_eq!(rig.run(command("k", Op::IncrementBy(-7))), Reply::Int(-2));
    assert_eq!(rig.get("k"), Some(b"-2".to_vec()));
}

#[test]
fn incr_keeps_the_expiry_and_starts_anew_without_one_after_it() {
    let mut rig = Rig::new();
    rig.at(10).run(command("k", set_with(b"41", Condition::Always, Expiry::After(90))));
    assert_eq!(rig.run(command("k", Op::IncrementBy(1))), Reply::Int(42));
    assert_eq!(rig.ttl("k"), 90);
    rig.at(100);
    assert_eq!(rig.run(command("k", Op::IncrementBy(1))), Reply::Int(1));
    assert_eq!(rig.ttl("k"), -1);
}

#[test]
fn incr_refuses_what_is_not_the_one_spelling_of_a_number() {
    let mut rig = Rig::new();
    let long = "1".repeat(40);
    for bad in ["", " 1", "1 ", "+1", "01", "-0", "1.5", "abc", "9223372036854775808", &long] {
        rig.at(1).set("k", bad.as_bytes());
        let before = rig.store.digest(GROUP);
        assert_eq!(rig.run(command("k", Op::IncrementBy(1))), Reply::Error(ErrorKind::NotAnInteger), "{bad}");
        assert_eq!(rig.store.digest(GROUP), before);
    }
}

#[test]
fn incr_over_a_long_cold_value_needs_no_read() {
    let mut rig = Rig::new();
    rig.keep = crate::CacheHint::Skip;
    rig.at(1).set("k", &[b'1'; 4096]);
    assert_eq!(rig.run(command("k", Op::IncrementBy(1))), Reply::Error(ErrorKind::NotAnInteger));
    assert_eq!(rig.reads, 0);
}

#[test]
fn incr_stops_at_both_ends_of_64_bits() {
    let mut rig = Rig::new();
    rig.at(1).set("k", b"9223372036854775807");
    assert_eq!(rig.run(command("k", Op::IncrementBy(1))), Reply::Error(ErrorKind::Overflow));
    assert_eq!(rig.run(command("k", Op::IncrementBy(0))), Reply::Int(i64::MAX));
    rig.set("k", b"-9223372036854775808");
    assert_eq!(rig.run(command("k", Op::IncrementBy(-1))), Reply::Error(ErrorKind::Overflow));
    assert_eq!(rig.run(command("k", Op::IncrementBy(i64::MAX))), Reply::Int(-1));
    assert_eq!(rig.run(command("k", Op::IncrementBy(i64::MIN))), Reply::Error(ErrorKind::Overflow));
    assert_eq!(rig.run(command("n", Op::IncrementBy(i64::MIN))), Reply::Int(i64::MIN));
    assert_eq!(rig.get("n"), Some(b"-9223372036854775808".to_vec()));
}

#[test]
fn expire_sets_moves_and_persist_removes_an_expiry() {
    let mut rig = Rig::new();
    let expire = |expiry| command("k", Op::SetExpiry(expiry));
    assert_eq!(rig.at(100).run(expire(Expiry::After(5))), Reply::Int(0));
    assert_eq!(rig.run(expire(Expiry::None)), Reply::Int(0));
    rig.set("k", b"a");
    assert_eq!(rig.run(expire(Expiry::None)), Reply::Int(0), "nothing to persist");
    assert_eq!((rig.run(expire(Expiry::After(5))), rig.ttl("k")), (Reply::Int(1), 5));
    assert_eq!((rig.run(expire(Expiry::At(WallMs(300)))), rig.ttl("k")), (Reply::Int(1), 200));
    assert_eq!((rig.run(expire(Expiry::None)), rig.ttl("k")), (Reply::Int(1), -1));
    assert_eq!(rig.at(1000).get("k"), Some(b"a".to_vec()));
}

#[test]
fn expire_with_a_time_that_has_passed_deletes_and_replies_one() {
    let mut rig = Rig::new();
    for past in [Expiry::At(WallMs(100)), Expiry::After(0)] {
        rig.at(100).set("k", &[1; 50]);
        assert_eq!(rig.run(command("k", Op::SetExpiry(past))), Reply::Int(1));
        assert_eq!(rig.get("k"), None);
        assert_eq!(rig.run(command("k", Op::SetExpiry(past))), Reply::Int(0));
    }
}

#[test]
fn expire_with_keep_means_nothing() {
    let mut rig = Rig::new();
    let keep = command("k", Op::SetExpiry(Expiry::Keep));
    assert_eq!(rig.at(1).run(keep.clone()), Reply::Error(ErrorKind::Malformed));
    rig.set("k", b"a");
    assert_eq!(rig.run(keep), Reply::Error(ErrorKind::Malformed));
}

#[test]
fn any_change_of_a_key_is_a_new_version_and_no_change_is_not() {
    let mut rig = Rig::new();
    let version = |rig: &mut Rig| rig.get_in(NS, b"k").map(|got| got.1);
    rig.at(1).set("k", b"1");
    for op in [
        Op::IncrementBy(1),
        Op::SetExpiry(Expiry::After(100)),
        Op::SetExpiry(Expiry::After(100)),
        Op::SetExpiry(Expiry::None),
    ] {
        rig.run(command("k", op));
        assert_eq!(version(&mut rig), Some(rig.version));
    }
    let before = version(&mut rig);
    for op in [
        Op::SetExpiry(Expiry::None).into(),
        set_with(b"z", Condition::IfAbsent, Expiry::None),
        Op::IncrementBy(i64::MAX).into(),
        Op::SetExpiry(Expiry::Keep).into(),
    ] {
        rig.run(command("k", op));
        assert_eq!(version(&mut rig), before);
    }
}

#[test]
fn reads_do_not_come_through_the_log() {
    let mut rig = Rig::new();
    rig.at(1).set("k", b"1");
    for op in [Op::Get, Op::Exists, Op::Ttl] {
        assert_eq!(rig.run(command("k", op)), Reply::Error(ErrorKind::Malformed));
    }
}

#[test]
fn expired_keys_are_removed_in_bounded_steps_and_shown_until_then() {
    let mut rig = Rig::new();
    rig.at(1_790_000_000_000);
    for key in 0..1000 {
        let name = std::format!("key{key}");
        rig.run(command(&name, set_with(&[3; 64], Condition::Always, Expiry::After(500 + key % 7))));
    }
    assert!(rig.store.next_expiry(GROUP).is_some_and(|next| next <= WallMs(1_790_000_000_500)));
    rig.store.expire(GROUP, &mut 10_000);
    assert_eq!(rig.store.expired(GROUP), 0);
    rig.at(1_790_000_001_000);
    assert_eq!((rig.store.keys(GROUP), rig.get("key5")), (1000, None));
    let mut calls = 0;
    loop {
        let (before, mut left) = (rig.store.expired(GROUP), 16);
        rig.store.expire(GROUP, &mut left);
        assert!(rig.store.expired(GROUP) - before <= 16);
        if left > 0 {
            break;
        }
        calls += 1;
        assert!(calls < 1000, "no progress");
    }
    assert_eq!((rig.store.next_expiry(GROUP), rig.store.expired(GROUP)), (None, 1000));
    rig.store.invariants();
    assert_eq!((rig.store.keys(GROUP), rig.store.cache_stats().cells), (0, 0));
}

#[test]
fn setting_an_expiry_sweeps_what_has_expired() {
    let mut rig = Rig::new();
    let mut most = 0;
    for ms in 0..400 {
        rig.at(1_790_000_000_000 + ms);
        for number in 0..20 {
            let name = std::format!("{ms}:{number}");
            rig.run(command(&name, set_with(b"v", Condition::Always, Expiry::After(50))));
        }
        most = most.max(rig.store.keys(GROUP));
    }
    rig.store.invariants();
    // `expire` was never called.
    assert!(most <= 20 * 60, "{most}");
}

#[test]
fn a_group_is_judged_by_its_own_time() {
    let mut rig = Rig::new();
    rig.at(100).run(command("k", set_with(b"a", Condition::Always, Expiry::After(5))));
    rig.store.begin_slot(synod_types::GroupId::new(9), WallMs(10_000));
    assert_eq!(rig.get("k"), Some(b"a".to_vec()));
}

#[test]
#[should_panic(expected = "is not on this core")]
fn a_group_of_another_core_is_the_callers_bug() {
    Rig::new().store.begin_slot(synod_types::GroupId::new(4), WallMs(1));
}

#[test]
#[should_panic(expected = "applied twice or out of order")]
fn a_command_applied_twice_stops_the_store() {
    let mut rig = Rig::new();
    rig.at(1).set("k", b"a");
    rig.version.position -= 1;
    rig.set("k", b"a");
}

#[test]
fn ten_thousand_keys_and_back() {
    let mut rig = Rig::with(1 << 20, 3, crate::sessions::SESSION_LIMITS);
    let name = |at: u32| std::format!("key:{at:08}");
    rig.at(1);
    for at in 0..500 {
        for key in (at * 20)..(at * 20 + 20) {
            rig.run(command(&name(key), set(&vec![key as u8; 10 + key as usize % 40])));
        }
        rig.at(1);
    }
    rig.store.invariants();
    assert_eq!(rig.store.keys(GROUP), 10_000);
    for key in 0..10_000 {
        assert_eq!(rig.get(&name(key)), Some(vec![key as u8; 10 + key as usize % 40]));
        assert_eq!(rig.run(command(&name(key), Op::Delete)), Reply::Int(1));
    }
    rig.store.invariants();
    assert_eq!(rig.store.keys(GROUP), 0);
}
