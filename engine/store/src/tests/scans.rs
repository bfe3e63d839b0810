//! Scans while keys come and go, and across replicas.

use super::rig::{GROUP, NS, Rig, command};
use crate::RandomKey;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::{format, string::String, vec, vec::Vec};
use proptest::prelude::*;
use synod_types::operand::{SCAN_END, scan_page};
use synod_types::{Namespace, Op};

fn page(rig: &Rig, position: u64, count: u32) -> (u64, Vec<String>) {
    let mut page = vec![9; 3];
    rig.store.scan(GROUP, NS, position, count, &mut page);
    let (next, keys) = scan_page(&page).expect("a page");
    (next, keys.map(|key| String::from_utf8(key.to_vec()).expect("text")).collect())
}

proptest! {
    #[test]
    fn a_key_that_is_there_all_along_comes_exactly_once(
        acts in proptest::collection::vec((0..60_u8, 0..4_u8), 1..200), count in 1..9_u32,
        moves in proptest::collection::vec(any::<bool>(), 0..3),
    ) {
        let limits = crate::sessions::SESSION_LIMITS;
        let mut replicas = [Rig::with(0, 5, limits), Rig::with(0, 6, limits)];
        let mut alive: BTreeSet<u8> = BTreeSet::new();
        for replica in &mut replicas { replica.at(1); }
        for key in 0..30_u8 {
            alive.insert(key);
            // The second replica gets the keys in another order, so that their record numbers differ.
            replicas[0].set(&format!("{key}"), b"v");
            replicas[1].set(&format!("{}", 29 - key), b"v");
        }
        let mut stayed = alive.clone();
        let (mut at, mut position, mut seen) = (0, 0, BTreeMap::<String, u32>::new());
        let mut acts = acts.into_iter();
        let mut moves = moves.into_iter();
        let mut moved = false;
        loop {
            let (next, keys) = page(&replicas[at], position, count);
            prop_assert!(keys.len() <= count as usize);
            for key in keys { *seen.entry(key).or_default() += 1; }
            position = next;
            if next == SCAN_END { break }
            for (key, what) in acts.by_ref().take(3) {
                let name = format!("{key}");
                for replica in &mut replicas {
                    if what == 0 {
                        replica.run(command(&name, Op::Delete));
                    } else {
                        replica.set(&name, b"long enough to lie in the log, not the index");
                    }
                }
                if what == 0 { alive.remove(&key); stayed.remove(&key); } else { alive.insert(key); }
            }
            // Another replica continues the scan: it starts over.
            if moves.next() == Some(true) { at = 1 - at; moved = true; }
        }
        for key in stayed {
            let times = seen.get(&format!("{key}")).copied().unwrap_or(0);
            prop_assert!(times >= 1, "{} was missed", key);
            prop_assert!(moved || times == 1);
        }
    }
}

#[test]
fn a_page_of_an_index_that_was_emptied_is_bounded_and_random_keys_are_found() {
    let mut rig = Rig::new();
    rig.at(1);
    for key in 0..1000 {
        rig.set(&format!("{key}"), b"v");
    }
    for key in 0..999 {
        rig.run(command(&format!("{key}"), Op::Delete));
    }
    let (mut position, mut pages, mut found) = (0, 0, Vec::new());
    while position != SCAN_END {
        let (next, keys) = page(&rig, position, 5);
        (position, pages) = (next, pages + 1);
        found.extend(keys);
    }
    assert_eq!((pages, found), (20, vec!["999".into()]));
    for draw in [0, 7, 999, 1000, u64::MAX] {
        // A draw of a place behind the only key starts over.
        let drawn = match rig.store.random_key(GROUP, NS, draw) {
            RandomKey::GoOn(next) => rig.store.random_key(GROUP, NS, next),
            drawn => drawn,
        };
        assert_eq!(drawn, RandomKey::Key(b"999"));
        assert_eq!(rig.store.random_key(GROUP, Namespace::new(1), draw), RandomKey::GoOn(0));
    }
    rig.run(command("", Op::Flush));
    assert_eq!((rig.store.random_key(GROUP, NS, 3), rig.store.keys(GROUP)), (RandomKey::Nothing, 0));
    assert_eq!(page(&rig, 0, 10), (SCAN_END, Vec::new()));
    rig.store.invariants();
}

#[test]
fn a_draw_looks_at_so_many_records_and_says_where_to_go_on() {
    let mut rig = Rig::new();
    rig.at(1);
    for key in 0..3000 {
        rig.set(&format!("{key}"), b"v");
    }
    for key in (0..3000).filter(|key| *key != 2345) {
        rig.run(command(&format!("{key}"), Op::Delete));
    }
    for (draw, wanted) in [(0, 3), (700, 2), (2345, 1), (2346, 4), (2999, 4)] {
        let (mut next, mut steps) = (draw, 1);
        while let RandomKey::GoOn(further) = rig.store.random_key(GROUP, NS, next) {
            assert!(further == next + 1024 || further == 0, "{next} to {further}");
            (next, steps) = (further, steps + 1);
        }
        assert_eq!(rig.store.random_key(GROUP, NS, next), RandomKey::Key(b"2345"));
        assert_eq!(steps, wanted, "from {draw}");
    }
}

#[test]
fn what_a_flush_cleared_is_given_back_in_steps_while_the_group_goes_on() {
    let mut rig = Rig::new();
    rig.at(1);
    let long = |seed: usize| vec![seed as u8; 100];
    let write = |rig: &mut Rig, from: usize| {
        for key in from..from + 700 {
            rig.set(&format!("{key}"), &long(key));
            rig.set(&format!("{key}{}", "k".repeat(300)), b"short");
        }
    };
    write(&mut rig, 0);
    let before = rig.store.cache_stats().cells;
    assert!(before > 0, "copies are kept");
    rig.run(command("", Op::Flush));
    assert_eq!((rig.store.keys(GROUP), rig.store.cache_stats().cells), (0, before), "nothing is visited");
    rig.store.invariants();
    write(&mut rig, 1000);
    rig.run(command("", Op::Flush));
    write(&mut rig, 2000);
    for _ in 0..300 {
        rig.store.bury(1);
        rig.store.invariants();
    }
    assert_eq!(rig.store.keys(GROUP), 1400);
    rig.run(command("", Op::Flush));
    rig.store.bury(usize::MAX);
    rig.store.invariants();
    assert_eq!(rig.store.cache_stats().cells, 0, "every copy of a cleared key is given back");
}
