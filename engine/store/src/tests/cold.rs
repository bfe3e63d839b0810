//! Long values: when they are read from the log, which reads the cache saves, and that it changes nothing
//! else.

use super::rig::{GROUP, NS, Rig, command, set, set_get, stamped};
use crate::{CacheAdmission, CacheHint};
use alloc::vec::Vec;
use synod_types::{Condition, Expiry, Op, Reply, Version};

const LONG: [u8; 100] = [7; 100];

fn set_get_long(value: &[u8]) -> synod_types::Command<Vec<u8>> {
    command("k", set_get(value, Condition::Always, Expiry::None))
}

#[test]
fn a_value_kept_is_a_hit_and_one_not_kept_is_cold() {
    let mut rig = Rig::new();
    rig.at(1).set("k", &LONG);
    assert!(!rig.is_cold("k"));
    rig.keep = CacheHint::Skip;
    rig.set("k", &LONG);
    assert!(rig.is_cold("k"), "the copy of the previous value is dropped");
    assert_eq!(rig.store.cache_stats().cells, 0);
    rig.set("k", b"short");
    assert!(!rig.is_cold("k"), "short values live in the index");
}

#[test]
fn set_get_over_a_cold_value_reads_it_and_over_a_cached_one_does_not() {
    let mut rig = Rig::new();
    rig.keep = CacheHint::Skip;
    rig.at(1).set("k", &LONG);
    let version = rig.version;
    rig.keep = CacheHint::Keep;
    let reply = rig.run(set_get_long(&[8; 100]));
    assert_eq!((reply, rig.reads), (Reply::Value { value: LONG.to_vec(), version }, 1));
    let version = rig.version;
    let reply = rig.run(set_get_long(&[9; 100]));
    assert_eq!((reply, rig.reads), (Reply::Value { value: [8; 100].to_vec(), version }, 1));
    assert_eq!(rig.get("k"), Some([9; 100].to_vec()));
}

#[test]
fn a_condition_that_fails_still_reads_the_value_it_replies() {
    let mut rig = Rig::new();
    rig.keep = CacheHint::Skip;
    rig.at(1).set("k", &LONG);
    let reply = rig.run(command("k", set_get(b"x", Condition::IfAbsent, Expiry::None)));
    assert!(matches!(reply, Reply::Value { value, .. } if value == LONG));
    assert_eq!((rig.reads, rig.get("k")), (1, Some(LONG.to_vec())));
}

#[test]
fn commands_that_reply_no_value_never_read() {
    let mut rig = Rig::new();
    rig.keep = CacheHint::Skip;
    rig.at(1).set("k", &LONG);
    rig.run(command("k", Op::SetExpiry(Expiry::After(100))));
    rig.run(command("k", Op::IncrementBy(1)));
    rig.run(command("k", set(&LONG)));
    rig.run(command("k", Op::Delete));
    assert_eq!(rig.reads, 0);
}

#[test]
fn a_retry_repeats_an_old_long_value_without_a_read() {
    let mut rig = Rig::new();
    rig.keep = CacheHint::Skip;
    let session = rig.at(1).open();
    rig.set("k", &LONG);
    let swap = stamped(set_get_long(&[8; 100]), session, 1, 0);
    let first = rig.run(swap.clone());
    rig.set("k", &[1; 100]);
    assert_eq!((rig.run(swap), rig.reads), (first, 1));
    assert_eq!(rig.get("k"), Some([1; 100].to_vec()), "not executed again");
}

#[test]
fn a_read_value_is_admitted_for_exactly_the_version_it_was_read_of() {
    let mut rig = Rig::new();
    rig.keep = CacheHint::Skip;
    rig.at(1).set("k", &LONG);
    let version = rig.version;
    let admit =
        |rig: &mut Rig, version, value: &[u8]| rig.admit("k", version, value, CacheAdmission::MayEvict);
    assert!(!admit(&mut rig, Version { position: 99, ..version }, &LONG));
    assert!(!admit(&mut rig, version, &LONG[1..]), "another length");
    assert!(!admit(&mut rig, version, &[8; 100]), "other bytes than the log has");
    assert!(!rig.admit("other", version, &LONG, CacheAdmission::MayEvict));
    assert!(rig.is_cold("k"));
    assert!(admit(&mut rig, version, &LONG));
    assert!(!rig.is_cold("k"));
    assert!(admit(&mut rig, version, &LONG), "again does nothing");
    assert_eq!(rig.store.cache_stats().cells, 1);
    rig.set("k", &[9; 100]);
    assert!(!admit(&mut rig, version, &LONG), "the key was written while the read was under way");
    assert_eq!(rig.get("k"), Some([9; 100].to_vec()));
    rig.set("k", b"short");
    let version = rig.version;
    assert!(!admit(&mut rig, version, b"short"), "the index has it");
    rig.store.invariants();
}

#[test]
fn what_another_replica_sent_is_admitted_if_it_is_the_value_and_nothing_is_evicted_for_it() {
    let mut rig = Rig::new();
    rig.keep = CacheHint::Skip;
    rig.at(1).set("k", &LONG);
    let version = rig.version;
    let admit =
        |rig: &mut Rig, version, value: &[u8]| rig.admit("k", version, value, CacheAdmission::SpareOnly);
    assert!(!rig.store.is_at_hand(GROUP, NS, b"k") && rig.store.is_at_hand(GROUP, NS, b"none"));
    assert!(!admit(&mut rig, Version { position: 99, ..version }, &LONG));
    assert!(!admit(&mut rig, version, &[8; 100]), "other bytes than the log has");
    assert!(!rig.admit("none", version, &LONG, CacheAdmission::SpareOnly));
    assert!(admit(&mut rig, version, &LONG));
    assert!(rig.store.is_at_hand(GROUP, NS, b"k"));
    assert_eq!(rig.get("k"), Some(LONG.to_vec()));
    rig.keep = CacheHint::Keep;
    let mut filled = 0;
    while rig.store.cache_stats().evictions == 0 {
        rig.set(&alloc::format!("fill {filled}"), &LONG);
        filled += 1;
    }
    rig.keep = CacheHint::Skip;
    rig.set("late", &LONG);
    let (version, evictions) = (rig.version, rig.store.cache_stats().evictions);
    assert!(!rig.admit("late", version, &LONG, CacheAdmission::SpareOnly), "the cache is full");
    assert_eq!(rig.store.cache_stats().evictions, evictions);
    rig.store.invariants();
}

#[test]
fn an_expired_key_is_not_admitted() {
    let mut rig = Rig::new();
    rig.keep = CacheHint::Skip;
    rig.at(1).set("k", &LONG);
    rig.run(command("k", Op::SetExpiry(Expiry::After(10))));
    let version = rig.version;
    rig.at(11);
    assert!(!rig.admit("k", version, &LONG, CacheAdmission::MayEvict));
}

#[test]
fn a_change_of_expiry_keeps_the_copy() {
    let mut rig = Rig::new();
    rig.at(1).set("k", &LONG);
    rig.run(command("k", Op::SetExpiry(Expiry::After(10))));
    assert!(!rig.is_cold("k"));
    assert_eq!(rig.get("k"), Some(LONG.to_vec()));
}
