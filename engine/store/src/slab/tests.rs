//! The cache against a slow, dumb twin, and each of its guarantees.

use super::*;
use alloc::collections::BTreeMap;
use proptest::prelude::*;

fn owner(record: u32) -> Owner {
    Owner { record, group: (record % 3) as u16 }
}

/// Bytes that identify their owner and version at every position.
fn value(record: u32, version: u32, len: usize) -> Vec<u8> {
    (0..len as u32).map(|at| (record.wrapping_mul(37) ^ version.wrapping_mul(101) ^ at) as u8).collect()
}

/// The two lists of one class as vectors, most recent first.
#[derive(Default)]
struct Twin {
    probation: Vec<u32>,
    protected: Vec<u32>,
    /// Four cells each, two at most.
    page_count: usize,
}

impl Twin {
    fn drop(&mut self, record: u32) -> bool {
        let before = self.probation.len() + self.protected.len();
        self.probation.retain(|&other| other != record);
        self.protected.retain(|&other| other != record);
        before != self.probation.len() + self.protected.len()
    }
    fn insert(&mut self, record: u32) {
        self.drop(record);
        if self.probation.len() + self.protected.len() == self.page_count * 4 {
            if self.page_count < 2 {
                self.page_count += 1;
            } else {
                self.probation.pop().or_else(|| self.protected.pop());
            }
        }
        self.probation.insert(0, record);
    }
    fn get(&mut self, record: u32) -> bool {
        if !self.drop(record) {
            return false;
        }
        self.protected.insert(0, record);
        if self.protected.len() > self.page_count * 4 * 4 / 5
            && let Some(oldest) = self.protected.pop()
        {
            self.probation.insert(0, oldest);
        }
        true
    }
}

proptest! {
    #[test]
    fn one_class_is_two_lists(acts in proptest::collection::vec((0..4_u8, 0..24_u32), 1..300)) {
        // Two pages of four cells of 4096 bytes.
        let cost = PAGE_BYTES_MIN + 4 * size_of::<Cell>();
        let mut slab = Slab::new(2 * cost);
        let mut twin = Twin::default();
        let mut handles: BTreeMap<u32, u32> = BTreeMap::new();
        for (act, record) in acts {
            let handle = handles.get(&record).copied().unwrap_or(NIL);
            match act {
                0 => {
                    slab.release(handle, owner(record));
                    handles.insert(record, slab.insert(owner(record), record, &value(record, 0, 4000)));
                    twin.insert(record);
                }
                1 => {
                    let got = slab.get(handle, owner(record), 4000, record).map(<[u8]>::to_vec);
                    prop_assert_eq!(got.is_some(), twin.get(record));
                    if let Some(got) = got {
                        prop_assert_eq!(got, value(record, 0, 4000));
                    }
                }
                2 => {
                    handles.insert(record, slab.replace(handle, owner(record), record, &value(record, 0, 4000)));
                    if !twin.get(record) {
                        twin.insert(record);
                    }
                }
                _ => {
                    prop_assert_eq!(slab.is_owner(handle, owner(record)), twin.drop(record));
                    slab.release(handle, owner(record));
                }
            }
            slab.invariants();
            prop_assert_eq!(slab.stats().cells as usize, twin.probation.len() + twin.protected.len());
            for record in 0..24 {
                let handle = handles.get(&record).copied().unwrap_or(NIL);
                let held = twin.probation.contains(&record) || twin.protected.contains(&record);
                prop_assert_eq!(slab.is_owner(handle, owner(record)), held);
            }
        }
    }

    #[test]
    fn no_handle_ever_yields_other_bytes_and_the_budget_holds(
        budget in prop_oneof![Just(0_usize), 1..40_000_usize, 100_000..400_000_usize],
        acts in proptest::collection::vec((0..4_u8, 0..12_u32, prop_oneof![23..200_usize, 3000..9000_usize]), 1..250),
    ) {
        let mut slab = Slab::new(budget);
        // Handles are kept after release and eviction on purpose: stale ones must miss.
        let mut held: BTreeMap<u32, (u32, u32, usize)> = BTreeMap::new();
        for (version, (act, record, len)) in acts.into_iter().enumerate() {
            let version = version as u32;
            match act {
                0 => {
                    let cell = held.get(&record).map_or(NIL, |&(cell, ..)| cell);
                    let cell = slab.replace(cell, owner(record), version, &value(record, version, len));
                    held.insert(record, (cell, version, len));
                }
                1 => {
                    if let Some(&(cell, ..)) = held.get(&record) {
                        slab.release(cell, owner(record));
                    }
                    let cell = slab.insert(owner(record), version, &value(record, version, len));
                    held.insert(record, (cell, version, len));
                }
                2 => {
                    if let Some(&(cell, version, len)) = held.get(&record)
                        && let Some(got) = slab.get(cell, owner(record), len as u32, version)
                    {
                        prop_assert_eq!(got, value(record, version, len));
                    }
                }
                _ => {
                    if let Some(&(cell, ..)) = held.get(&record) {
                        slab.release(cell, owner(record));
                        prop_assert!(!slab.is_owner(cell, owner(record)));
                    }
                }
            }
            slab.invariants();
            let real: usize = slab.pages.pages.iter()
                .map(|page| page.bytes.capacity() + page.cells.capacity() * size_of::<Cell>()).sum();
            prop_assert!(real <= budget, "{} of {}", real, budget);
        }
    }
}

#[test]
fn no_budget_is_no_cache() {
    let mut slab = Slab::new(0);
    assert_eq!(slab.insert(owner(1), 0, &[1; 100]), NIL);
    assert!(slab.get(NIL, owner(1), 100, 0).is_none());
    assert_eq!((slab.stats().refused, slab.stats().bytes), (1, 0));
}

#[test]
fn a_value_past_half_a_page_is_not_kept() {
    let mut slab = Slab::new(1 << 20);
    assert_eq!(slab.insert(owner(1), 0, &[1; PAGE_BYTES_MIN / 2 + 1]), NIL);
    assert_ne!(slab.insert(owner(1), 0, &[1; PAGE_BYTES_MIN / 2]), NIL);
}

#[test]
fn a_budget_of_64_mib_or_more_has_pages_of_1_mib() {
    assert_eq!(Slab::new(64 << 20).page_bytes, 1 << 20);
    assert_eq!(Slab::new(63 << 20).page_bytes, 512 << 10);
    assert_eq!(Slab::new(200 << 30).page_bytes, 1 << 20);
    assert_eq!(Slab::new(1).page_bytes, PAGE_BYTES_MIN);
}

#[test]
fn a_scan_does_not_wash_out_what_is_in_use() {
    let mut slab = Slab::new(2 << 20);
    for record in 20_000..20_400 {
        slab.insert(owner(record), record, &[9; 4096]);
    }
    let hot: Vec<u32> = (0..50).map(|record| slab.insert(owner(record), record, &[7; 4096])).collect();
    let touch = |slab: &mut Slab| {
        (0..50).filter(|&at| slab.get(hot[at as usize], owner(at), 4096, at).is_some()).count()
    };
    assert_eq!(touch(&mut slab), 50);
    for record in 100..20_000 {
        slab.insert(owner(record), record, &[8; 4096]);
    }
    assert_eq!(touch(&mut slab), 50);
    assert!(slab.stats().evictions > 19_000);
}

#[test]
fn a_starving_class_gets_a_page_and_so_does_one_that_churns() {
    let mut slab = Slab::new(1 << 20);
    for record in 0..1000 {
        slab.insert(owner(record), record, &[1; 4096]);
    }
    let small = slab.insert(owner(5000), 5000, &[2; 100]);
    assert!(slab.get(small, owner(5000), 100, 5000).is_some(), "starving");
    assert!(slab.stats().page_moves >= 1);
    let moves = slab.stats().page_moves;
    // The large values are not read any more; the small ones are many and all in use.
    for round in 0..20 {
        for record in 6000..7500 {
            slab.insert(owner(record + round * 2000), record, &[3; 100]);
        }
        slab.invariants();
    }
    assert!(slab.stats().page_moves > moves + 5, "{:?}", slab.stats());
}

#[test]
fn a_handle_of_before_a_page_changed_class_misses() {
    let cost = PAGE_BYTES_MIN + 4 * size_of::<Cell>();
    let mut slab = Slab::new(cost + 4096);
    let large: Vec<u32> = (0..4).map(|record| slab.insert(owner(record), record, &[1; 4096])).collect();
    let other = slab.insert(owner(9), 9, &[2; 5000]);
    assert_ne!(other, NIL);
    for (record, cell) in (0..4).zip(large) {
        assert!(slab.get(cell, owner(record), 4096, record).is_none());
    }
    assert!(slab.get(other, owner(9), 5000, 9).is_some());
    slab.invariants();
}

#[test]
fn a_starving_class_takes_an_unused_page() {
    let cost = PAGE_BYTES_MIN + 4 * size_of::<Cell>();
    let mut slab = Slab::new(cost + 4096);
    let first = slab.insert(owner(1), 1, &[1; 4096]);
    slab.release(first, owner(1));
    let other = slab.insert(owner(9), 9, &[2; 5000]);
    assert!(slab.get(other, owner(9), 5000, 9).is_some());
    assert_eq!(slab.stats().evictions, 0);
    slab.invariants();
}

#[test]
fn a_value_that_shrinks_moves_to_a_cell_of_its_size() {
    let mut slab = Slab::new(1 << 20);
    let large = slab.insert(owner(1), 1, &[1; 4096]);
    let small = slab.replace(large, owner(1), 2, &[2; 100]);
    assert_ne!(slab.pages.page_of(large), slab.pages.page_of(small));
    assert!(!slab.is_owner(large, owner(1)));
    assert_eq!(slab.get(small, owner(1), 100, 2), Some(&[2; 100][..]));
    slab.invariants();
}
