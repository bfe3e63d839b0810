//! The digest covers everything that is replicated, and nothing else.

use super::rig::{GROUP, NS, Rig, command, set, set_with};
use crate::CacheHint;
use crate::sessions::SESSION_LIMITS;
use alloc::vec::Vec;
use synod_types::{Condition, Expiry, Namespace, Op};

#[test]
fn every_difference_in_replicated_state_shows() {
    let long = |byte| set(&[byte; 100]);
    let until = |ms| set_with(b"v", Condition::Always, Expiry::After(ms));
    let other_namespace = || {
        let mut command = command("k", set(b"v"));
        command.namespace = Namespace::new(1);
        command
    };
    let mut digests: Vec<u64> = Vec::new();
    for (ts, command, later) in [
        (100, command("k", set(b"v")), 0),
        (101, command("k", set(b"v")), 0),
        (100, command("k", set(b"v")), 1),
        (100, command("l", set(b"v")), 0),
        (100, other_namespace(), 0),
        (100, command("k", set(b"w")), 0),
        (100, command("k", set(b"")), 0),
        (100, command("k", until(5)), 0),
        (100, command("k", until(6)), 0),
        (100, command("k", long(1)), 0),
        (100, command("k", long(2)), 0),
        (100, command("k", set(&[1; 101])), 0),
        (100, command("", Op::OpenSession), 0),
        (100, command("", Op::OpenSession), 1),
        (100, command("k", Op::Delete), 0),
    ] {
        let mut rig = Rig::new();
        rig.at(ts).version.position += later;
        rig.run(command);
        digests.push(rig.store.digest(GROUP));
    }
    let count = digests.len();
    digests.sort_unstable();
    digests.dedup();
    assert_eq!(digests.len(), count);
}

#[test]
fn seed_location_cache_and_removal_do_not_show() {
    let run = |cache_bytes, seed, keep| {
        let mut rig = Rig::with(cache_bytes, seed, SESSION_LIMITS);
        rig.keep = keep;
        rig.at(100);
        for key in ["a", "b", "c"] {
            rig.run(command(key, set(&[9; 500])));
        }
        rig.run(command("gone", set_with(&[9; 500], Condition::Always, Expiry::After(10))));
        rig.at(110);
        rig
    };
    let mut first = run(1 << 20, 1, CacheHint::Keep);
    let second = run(0, 999, CacheHint::Skip);
    assert_eq!(first.store.digest(GROUP), second.store.digest(GROUP));
    first.store.expire(GROUP, &mut 100);
    assert_eq!(first.store.expired(GROUP), 1);
    assert_eq!((first.store.keys(GROUP), second.store.keys(GROUP)), (3, 4));
    assert_eq!(first.store.digest(GROUP), second.store.digest(GROUP));
    first.store.lookup(GROUP, NS, b"a");
    assert_eq!(first.store.digest(GROUP), second.store.digest(GROUP));
}

#[test]
fn the_order_of_unrelated_writes_in_time_shows_but_not_the_order_of_walking() {
    // Versions differ, so the digest must; the same versions in tables of another seed must not.
    let run = |keys: [&str; 3], seed| {
        let mut rig = Rig::with(0, seed, SESSION_LIMITS);
        rig.at(1);
        for key in keys {
            rig.run(command(key, set(b"v")));
        }
        rig.store.digest(GROUP)
    };
    assert_ne!(run(["a", "b", "c"], 1), run(["b", "a", "c"], 1));
    assert_eq!(run(["a", "b", "c"], 1), run(["a", "b", "c"], 2));
}
