//! Which keys expire when: a hierarchical timing wheel over absolute milliseconds, exact to the millisecond.
//!
//! A timer sits at the level of the highest base-64 digit in which its time differs from `elapsed`, in the bucket of its own
//! digit there. So all of level 0 is due before any of level 1, and within a level the lowest bucket comes first:
//!
//! ```text
//!   level 0   64 buckets of 1 ms       ┐ when the first occupied bucket's start is reached, its timers
//!   level 1   64 buckets of 64 ms      │ sink to lower levels, one per step of work (`draining`),
//!   …                                  │ and from level 0 into `due`
//!   level 10  16 buckets of 2^60 ms    ┘
//! ```
//!
//! Moving a timer is O(1) and reuses its node: expiring one key a million times over costs no memory. Time is what the
//! caller says it is; a jump of any size costs at most eleven steps per timer, spread over calls by the budget.
//! May not: read a clock, decide what an expired key means.

use crate::chunks::Chunks;
use crate::list::{Linked, Links, List, NIL};
use alloc::{boxed::Box, vec};

const DIGIT_BITS: u32 = 6;
const BUCKET_COUNT: usize = 1 << DIGIT_BITS;
const LEVEL_COUNT: usize = u64::BITS.div_ceil(DIGIT_BITS) as usize;
const DUE: u16 = u16::MAX;
const FREE: u16 = u16::MAX - 1;
const _: () = assert!(LEVEL_COUNT * BUCKET_COUNT < FREE as usize);

/// 24 bytes per key that expires; keys that do not have none.
#[derive(Debug)]
struct Timer {
    expire_at: u64,
    links: Links,
    record: u32,
    /// `level * 64 + digit`, [`DUE`] or [`FREE`].
    bucket: u16,
}

impl Linked for Chunks<Timer> {
    fn links(&self, at: u32) -> Links {
        self[at].links
    }
    fn links_mut(&mut self, at: u32) -> &mut Links {
        &mut self[at].links
    }
}

#[derive(Debug)]
pub(crate) struct Wheel {
    /// Every timer outside `due` and the draining bucket is later than this.
    elapsed: u64,
    buckets: Box<[List]>,
    /// Per level, which buckets hold timers.
    occupied: [u64; LEVEL_COUNT],
    /// The bucket whose start is `elapsed` and whose timers are sinking. None of them is later than any other timer.
    draining: Option<u16>,
    due: List,
    free: List,
    timers: Chunks<Timer>,
    count: u32,
}

impl Wheel {
    pub(crate) fn new() -> Self {
        Self {
            elapsed: 0,
            buckets: vec![List::EMPTY; LEVEL_COUNT * BUCKET_COUNT].into_boxed_slice(),
            occupied: [0; LEVEL_COUNT],
            draining: None,
            due: List::EMPTY,
            free: List::EMPTY,
            timers: Chunks::new(),
            count: 0,
        }
    }

    /// Notes that `record` expires at `expire_at`, which must lie in the future of every `now` seen so far.
    pub(crate) fn insert(&mut self, record: u32, expire_at: u64) -> u32 {
        assert!(expire_at > self.elapsed, "an expiry in the past is no expiry but a removal");
        let timer = Timer { expire_at, links: Links::NONE, record, bucket: FREE };
        let at = match self.free.front() {
            Some(at) => {
                self.free.remove(&mut self.timers, at);
                self.timers[at] = timer;
                at
            }
            None => self.timers.push(timer),
        };
        self.count += 1;
        self.place(at);
        at
    }

    /// Moves a timer to another time, under the same conditions.
    pub(crate) fn reschedule(&mut self, at: u32, expire_at: u64) {
        assert!(expire_at > self.elapsed, "an expiry in the past is no expiry but a removal");
        self.take_out(at);
        self.timers[at].expire_at = expire_at;
        self.place(at);
    }

    pub(crate) fn remove(&mut self, at: u32) {
        self.take_out(at);
        self.timers[at].bucket = FREE;
        self.free.push_front(&mut self.timers, at);
        self.count -= 1;
    }

    /// Takes out one timer that is due at `now`; its record is returned. `None` when none is or `budget` ran out. Every
    /// step of work takes one from `budget`.
    pub(crate) fn pop_due(&mut self, now: u64, budget: &mut usize) -> Option<u32> {
        while *budget > 0 {
            if let Some(at) = self.due.front() {
                *budget -= 1;
                let record = self.timers[at].record;
                self.remove(at);
                return Some(record);
            }
            if let Some(bucket) = self.draining {
                *budget -= 1;
                self.sink_one(bucket);
                continue;
            }
            match self.first_bucket() {
                Some((start, bucket)) if start <= now => {
                    assert!(start >= self.elapsed);
                    self.elapsed = start;
                    self.draining = Some(bucket);
                }
                _ => {
                    // No timer lies in (elapsed, now], so all keep their level and bucket.
                    self.elapsed = self.elapsed.max(now);
                    return None;
                }
            }
        }
        None
    }

    /// A time not later than the earliest timer.
    pub(crate) fn next(&self) -> Option<u64> {
        if !self.due.is_empty() || self.draining.is_some() {
            return Some(self.elapsed);
        }
        self.first_bucket().map(|(start, _)| start)
    }

    pub(crate) fn expire_at(&self, at: u32) -> u64 {
        self.timers[at].expire_at
    }

    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    fn sink_one(&mut self, bucket: u16) {
        // `take_out` clears `draining` with the bucket's last timer, so a draining bucket has one.
        let at = self.buckets[usize::from(bucket)].front().expect("a draining bucket is not empty");
        self.take_out(at);
        if self.timers[at].expire_at <= self.elapsed {
            self.timers[at].bucket = DUE;
            self.due.push_front(&mut self.timers, at);
        } else {
            self.place(at);
        }
    }

    fn place(&mut self, at: u32) {
        let expire_at = self.timers[at].expire_at;
        let differs = self.elapsed ^ expire_at;
        assert!(differs != 0);
        let level = differs.ilog2() / DIGIT_BITS;
        let digit = (expire_at >> (level * DIGIT_BITS)) as usize % BUCKET_COUNT;
        let bucket = level as usize * BUCKET_COUNT + digit;
        assert!(self.draining != Some(bucket as u16), "a timer sinks, it never comes back up");
        self.timers[at].bucket = bucket as u16; // below LEVEL_COUNT * BUCKET_COUNT
        self.buckets[bucket].push_front(&mut self.timers, at);
        self.occupied[level as usize] |= 1 << digit;
    }

    fn take_out(&mut self, at: u32) {
        let bucket = self.timers[at].bucket;
        assert!(bucket != FREE, "timer used after it was freed");
        if bucket == DUE {
            return self.due.remove(&mut self.timers, at);
        }
        let list = &mut self.buckets[usize::from(bucket)];
        list.remove(&mut self.timers, at);
        if list.is_empty() {
            let (level, digit) = (usize::from(bucket) / BUCKET_COUNT, usize::from(bucket) % BUCKET_COUNT);
            self.occupied[level] &= !(1 << digit);
            if self.draining == Some(bucket) {
                self.draining = None;
            }
        }
    }

    /// Start and number of the first occupied bucket.
    fn first_bucket(&self) -> Option<(u64, u16)> {
        let level = self.occupied.iter().position(|&bits| bits != 0)?;
        let digit = self.occupied[level].trailing_zeros();
        let shift = level as u32 * DIGIT_BITS;
        // The digits above `level` are those of `elapsed`; above the top level there are none.
        let above = self.elapsed.checked_shr(shift + DIGIT_BITS).unwrap_or(0);
        let above = above.checked_shl(shift + DIGIT_BITS).unwrap_or(0);
        Some((above | u64::from(digit) << shift, (level * BUCKET_COUNT) as u16 + digit as u16))
    }

    /// # Panics
    /// When the wheel contradicts itself.
    pub(crate) fn invariants(&self) {
        let mut count = self.due.count();
        for at in self.due.iter(&self.timers) {
            assert!(self.timers[at].bucket == DUE && self.timers[at].expire_at <= self.elapsed);
        }
        for (bucket, list) in self.buckets.iter().enumerate() {
            let (level, digit) = (bucket / BUCKET_COUNT, bucket % BUCKET_COUNT);
            assert!((self.occupied[level] >> digit & 1 == 1) != list.is_empty());
            count += list.count();
            for at in list.iter(&self.timers) {
                let timer = &self.timers[at];
                assert!(usize::from(timer.bucket) == bucket);
                if self.draining == Some(bucket as u16) {
                    assert!(timer.expire_at >= self.elapsed);
                } else {
                    assert!(timer.expire_at > self.elapsed);
                    assert!((timer.expire_at ^ self.elapsed).ilog2() / DIGIT_BITS == level as u32);
                }
            }
        }
        assert!(count == self.count);
        assert!(self.draining.is_none_or(|bucket| !self.buckets[usize::from(bucket)].is_empty()));
    }

    /// The record of a timer in use.
    pub(crate) fn record(&self, at: u32) -> u32 {
        assert!(at != NIL && self.timers[at].bucket != FREE, "timer used after it was freed");
        self.timers[at].record
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{collections::BTreeMap, vec::Vec};
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Act {
        Insert(u64),
        Reschedule(proptest::sample::Index, u64),
        Remove(proptest::sample::Index),
        Advance(u64, usize),
    }

    fn span() -> impl Strategy<Value = u64> {
        prop_oneof![1..4_u64, 1..200_u64, 1..100_000_u64, 1..=u64::MAX >> 1]
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            4 => span().prop_map(Act::Insert),
            1 => (any::<proptest::sample::Index>(), span()).prop_map(|(at, span)| Act::Reschedule(at, span)),
            1 => any::<proptest::sample::Index>().prop_map(Act::Remove),
            3 => (prop_oneof![Just(0), span()], 0..12_usize).prop_map(|(span, budget)| Act::Advance(span, budget)),
        ]
    }

    proptest! {
        #[test]
        fn a_wheel_is_a_sorted_map(start in prop_oneof![Just(0), any::<u64>()], acts in proptest::collection::vec(act(), 1..120)) {
            let mut wheel = Wheel::new();
            let mut twin: BTreeMap<u32, (u32, u64)> = BTreeMap::new(); // record -> (timer, when)
            let mut now = start >> 1;
            let mut record = 0;
            for act in acts {
                match act {
                    Act::Insert(span) => {
                        let Some(when) = now.checked_add(span) else { continue };
                        twin.insert(record, (wheel.insert(record, when), when));
                        record += 1;
                    }
                    Act::Reschedule(at, span) => {
                        let Some(when) = now.checked_add(span) else { continue };
                        let Some(record) = pick(&twin, at) else { continue };
                        let entry = twin.get_mut(&record).expect("picked");
                        wheel.reschedule(entry.0, when);
                        entry.1 = when;
                    }
                    Act::Remove(at) => {
                        let Some(record) = pick(&twin, at) else { continue };
                        wheel.remove(twin.remove(&record).expect("picked").0);
                    }
                    Act::Advance(span, budget) => {
                        now = now.saturating_add(span);
                        let mut left = budget;
                        while let Some(record) = wheel.pop_due(now, &mut left) {
                            let (_, when) = twin.remove(&record).expect("known and not popped before");
                            prop_assert!(when <= now);
                        }
                        if left > 0 {
                            prop_assert!(twin.values().all(|&(_, when)| when > now), "work left with budget left");
                            prop_assert!(wheel.next().is_none_or(|next| next > now));
                        }
                    }
                }
                wheel.invariants();
                prop_assert_eq!(wheel.count() as usize, twin.len());
                let earliest = twin.values().map(|&(_, when)| when).min();
                prop_assert_eq!(wheel.next().is_some(), earliest.is_some());
                prop_assert!(wheel.next() <= earliest);
                if earliest.is_some_and(|when| when <= now) {
                    prop_assert!(wheel.next().is_some_and(|next| next <= now), "due work is shown");
                }
                for (&record, &(timer, when)) in &twin {
                    prop_assert_eq!((wheel.record(timer), wheel.expire_at(timer)), (record, when));
                }
            }
        }
    }

    fn pick(twin: &BTreeMap<u32, (u32, u64)>, at: proptest::sample::Index) -> Option<u32> {
        let records: Vec<u32> = twin.keys().copied().collect();
        (!records.is_empty()).then(|| records[at.index(records.len())])
    }

    #[test]
    fn expiring_one_key_over_and_over_takes_no_memory() {
        let mut wheel = Wheel::new();
        let timer = wheel.insert(0, 1);
        for when in 2..10_000 {
            wheel.reschedule(timer, when * 37);
        }
        for when in 1..10_000 {
            wheel.remove(timer);
            assert_eq!(wheel.insert(0, when * 41), timer);
        }
        assert_eq!(wheel.timers.iter().count(), 1);
    }

    #[test]
    fn a_lone_timer_a_day_off_costs_few_looks() {
        // The leader proposes a tick slot whenever `next` is reached: each look must come much closer.
        let mut wheel = Wheel::new();
        let base = 1_790_000_000_123;
        assert!(wheel.pop_due(base, &mut 1).is_none());
        wheel.insert(7, base + 86_400_000);
        let mut looks = 0;
        loop {
            let next = wheel.next().expect("one timer");
            looks += 1;
            if wheel.pop_due(next, &mut 100) == Some(7) {
                assert_eq!(next, base + 86_400_000);
                break;
            }
        }
        assert!(looks <= 6, "{looks}");
    }
}
