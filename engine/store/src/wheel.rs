//! The expiry times of keys: a hierarchical timing wheel over absolute milliseconds, exact to the
//! millisecond.
//!
//! `cursor` says how far the wheel is sorted: timers before it are in `due`, all others in buckets. A timer's
//! level is that of the highest base-64 digit in which its time differs from the cursor; its bucket at that
//! level is its own digit there. So all of level 0 comes before all of level 1, and within a level the lowest
//! bucket comes first:
//!
//! ```text
//!   level 0   64 buckets of 1 ms     ┐ the first occupied bucket: if all of it is due, it joins `due` whole;
//!   level 1   64 buckets of 64 ms    │ if a part of it is or may soon be, the cursor moves to its start, and
//!   …                                │ its timers sink to lower levels, one per step of work (`draining`)
//!   level 10  16 buckets of 2^60 ms  ┘
//! ```
//!
//! Timers in `due` therefore hide none of the later timers. Only a draining bucket does, and then the cursor
//! itself is the answer. Moving a timer is O(1) and reuses its node: setting the expiry of one key a million
//! times costs no memory. The caller supplies the time; however it jumps, a timer costs at most
//! [`TIMER_STEPS_MAX`] steps in its life. The wheel must not read a clock or decide what an expired key
//! means.

use crate::chunks::Chunks;
use crate::list::{Linked, Links, List, NIL};
use alloc::{boxed::Box, vec};

const DIGIT_BITS: u32 = 6;
const BUCKET_COUNT: usize = 1 << DIGIT_BITS;
const LEVEL_COUNT: usize = u64::BITS.div_ceil(DIGIT_BITS) as usize;
const FREE: u16 = u16::MAX;
const _: () = assert!(LEVEL_COUNT * BUCKET_COUNT < FREE as usize);
/// The steps of one timer: it sinks from level to level, its bucket joins `due`, it is taken out.
pub(crate) const TIMER_STEPS_MAX: usize = (LEVEL_COUNT - 1) + 1 + 1;
/// The last valid time; one more must not overflow.
const TIME_MAX: u64 = i64::MAX as u64; // lossless

/// 24 bytes per key with an expiry; other keys have no timer.
#[derive(Debug)]
struct Timer {
    expire_at: u64,
    links: Links,
    record: u32,
    /// `level * 64 + digit`, or [`FREE`]. Meaningless once the time is before the cursor: then the timer is
    /// in `due`.
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
    /// Timers before it are in `due`, all others in buckets. Never more than one past the latest `now`.
    cursor: u64,
    buckets: Box<[List]>,
    /// Per level, which buckets hold timers.
    occupied: [u64; LEVEL_COUNT],
    /// The bucket above level 0 that starts at `cursor`, while it holds timers, which are sinking.
    draining: Option<u16>,
    due: List,
    free: List,
    timers: Chunks<Timer>,
    count: u32,
}

impl Wheel {
    pub(crate) fn new() -> Self {
        Self {
            cursor: 0,
            buckets: vec![List::EMPTY; LEVEL_COUNT * BUCKET_COUNT].into_boxed_slice(),
            occupied: [0; LEVEL_COUNT],
            draining: None,
            due: List::EMPTY,
            free: List::EMPTY,
            timers: Chunks::new(),
            count: 0,
        }
    }

    /// Adds a timer: `record` expires at `expire_at`, which must be after every `now` seen so far.
    pub(crate) fn insert(&mut self, record: u32, expire_at: u64) -> u32 {
        let timer = Timer { expire_at, links: Links::NONE, record, bucket: FREE };
        let at = match self.free.front() {
            Some(at) => {
                debug_assert!(self.timers[at].bucket == FREE, "a timer in use is on the free list");
                self.free.remove(&mut self.timers, at);
                self.timers[at] = timer;
                at
            }
            None => self.timers.push(timer),
        };
        self.count += 1;
        debug_assert!(self.count + self.free.count() == self.timers.count(), "every timer is used or free");
        self.place(at);
        at
    }

    /// Moves a timer to another time, under the same conditions.
    pub(crate) fn reschedule(&mut self, at: u32, expire_at: u64) {
        self.take_out(at);
        self.timers[at].expire_at = expire_at;
        self.place(at);
    }

    pub(crate) fn remove(&mut self, at: u32) {
        self.take_out(at);
        self.timers[at].bucket = FREE;
        self.free.push_front(&mut self.timers, at);
        debug_assert!(self.count > 0, "more timers removed than added");
        self.count -= 1;
        debug_assert!(self.count + self.free.count() == self.timers.count(), "every timer is used or free");
    }

    /// Takes out one timer that is due at `now` and returns its record; `None` when none is due or `budget`
    /// ran out. Every step of work takes one from `budget`: if any is left, nothing is left to do.
    pub(crate) fn pop_due(&mut self, now: u64, budget: &mut usize) -> Option<u32> {
        // Sort first: sorting is what reveals the next expiry.
        self.sort(now, budget);
        if *budget == 0 {
            return None;
        }
        let at = self.due.front()?;
        *budget -= 1;
        let Timer { record, expire_at, .. } = self.timers[at];
        debug_assert!(expire_at <= now, "a timer before its time");
        self.remove(at);
        Some(record)
    }

    /// A time after `now` that is not later than the earliest timer after `now`; `None` without such a timer.
    /// It is the next millisecond while due timers are not sorted out, or a bucket is draining.
    pub(crate) fn next_after(&self, now: u64) -> Option<u64> {
        let next = match self.draining {
            Some(_) => self.cursor,
            None => self.first_bucket()?.start,
        };
        debug_assert!(next >= self.cursor, "a timer behind the cursor is in a bucket");
        Some(next.max(now.saturating_add(1)))
    }

    pub(crate) fn expire_at(&self, at: u32) -> u64 {
        debug_assert!(self.timers[at].bucket != FREE, "timer used after it was freed");
        self.timers[at].expire_at
    }

    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// Moves the cursor to just after `now`, and the timers that it passes into `due`, as far as `budget`
    /// allows.
    fn sort(&mut self, now: u64, budget: &mut usize) {
        let now = now.min(TIME_MAX); // nothing expires later
        while *budget > 0 {
            let first = self.first_bucket();
            match (self.draining, first) {
                // The whole bucket is due. A draining bucket comes first only as long as none of its timers
                // has sunk.
                (draining, Some(FirstBucket { last, bucket, .. }))
                    if last <= now && draining.is_none_or(|draining| draining == bucket) =>
                {
                    *budget -= 1;
                    let list = core::mem::replace(&mut self.buckets[usize::from(bucket)], List::EMPTY);
                    self.mark_empty(bucket);
                    self.due.append(&mut self.timers, list);
                    self.move_to(last + 1);
                }
                (Some(draining), _) => {
                    *budget -= 1;
                    self.sink_one(draining);
                }
                (None, Some(FirstBucket { start, .. })) if start <= now => {
                    assert!(start > self.cursor, "a bucket that the cursor stands at the start of drains");
                    self.move_to(start);
                }
                // No timer lies before the new place of the cursor.
                _ if self.cursor <= now => self.move_to(now + 1),
                _ => return,
            }
        }
    }

    /// Moves the cursor over times without timers. Only timers in the bucket that it enters, at the bucket's
    /// start, change their level.
    fn move_to(&mut self, cursor: u64) {
        debug_assert!(cursor >= self.cursor, "the cursor never goes back");
        debug_assert!(self.draining.is_none(), "the cursor leaves a bucket before it is empty");
        let differs = self.cursor ^ cursor;
        self.cursor = cursor;
        if differs == 0 {
            return;
        }
        let level = differs.ilog2() / DIGIT_BITS;
        let bucket = bucket_of(level, cursor);
        if level > 0 && !self.buckets[bucket].is_empty() {
            self.draining = Some(bucket as u16); // below LEVEL_COUNT * BUCKET_COUNT
        }
    }

    fn sink_one(&mut self, bucket: u16) {
        // `take_out` clears `draining` with the bucket's last timer, so a draining bucket has one.
        let at = self.buckets[usize::from(bucket)].front().expect("a draining bucket is not empty");
        self.take_out(at);
        self.place(at);
        debug_assert!(self.timers[at].bucket < bucket, "a timer sinks to a lower level");
    }

    fn place(&mut self, at: u32) {
        let expire_at = self.timers[at].expire_at;
        assert!(expire_at >= self.cursor, "an expiry in the past is no expiry but a removal");
        assert!(expire_at <= TIME_MAX, "an expiry that is no time");
        let differs = self.cursor ^ expire_at;
        let level = differs.checked_ilog2().unwrap_or(0) / DIGIT_BITS;
        let bucket = bucket_of(level, expire_at);
        assert!(self.draining != Some(bucket as u16), "a timer sinks, it never comes back up");
        self.timers[at].bucket = bucket as u16; // below LEVEL_COUNT * BUCKET_COUNT
        self.buckets[bucket].push_front(&mut self.timers, at);
        self.occupied[level as usize] |= 1 << (bucket % BUCKET_COUNT);
    }

    fn take_out(&mut self, at: u32) {
        let Timer { expire_at, bucket, .. } = self.timers[at];
        assert!(bucket != FREE, "timer used after it was freed");
        if expire_at < self.cursor {
            return self.due.remove(&mut self.timers, at);
        }
        let list = &mut self.buckets[usize::from(bucket)];
        list.remove(&mut self.timers, at);
        if list.is_empty() {
            self.mark_empty(bucket);
        }
    }

    fn mark_empty(&mut self, bucket: u16) {
        let (level, digit) = (usize::from(bucket) / BUCKET_COUNT, usize::from(bucket) % BUCKET_COUNT);
        debug_assert!(self.buckets[usize::from(bucket)].is_empty(), "a bucket with timers is not empty");
        self.occupied[level] &= !(1 << digit);
        if self.draining == Some(bucket) {
            self.draining = None;
        }
    }

    /// The first occupied bucket. While a bucket is draining: that one, or one that some of its timers have
    /// sunk to.
    fn first_bucket(&self) -> Option<FirstBucket> {
        let level = self.occupied.iter().position(|&bits| bits != 0)?;
        let digit = self.occupied[level].trailing_zeros();
        let shift = level as u32 * DIGIT_BITS;
        // The digits above `level` are those of the cursor; above the top level there are none.
        let above = self.cursor.checked_shr(shift + DIGIT_BITS).unwrap_or(0);
        let above = above.checked_shl(shift + DIGIT_BITS).unwrap_or(0);
        let start = above | u64::from(digit) << shift;
        let last = start | ((1 << shift) - 1);
        debug_assert!(start >= self.cursor, "a timer behind the cursor is in a bucket");
        Some(FirstBucket { start, last, bucket: (level * BUCKET_COUNT) as u16 + digit as u16 })
    }

    /// # Panics
    /// When the wheel contradicts itself.
    pub(crate) fn invariants(&self) {
        let mut count = self.due.count();
        for at in self.due.iter(&self.timers) {
            assert!(self.timers[at].expire_at < self.cursor);
        }
        for (bucket, list) in self.buckets.iter().enumerate() {
            let (level, digit) = (bucket / BUCKET_COUNT, bucket % BUCKET_COUNT);
            assert!((self.occupied[level] >> digit & 1 == 1) != list.is_empty());
            count += list.count();
            for at in list.iter(&self.timers) {
                let timer = &self.timers[at];
                assert!(usize::from(timer.bucket) == bucket);
                assert!(timer.expire_at >= self.cursor);
                let differs = timer.expire_at ^ self.cursor;
                if self.draining == Some(bucket as u16) {
                    assert!(level > 0 && differs >> (level as u32 * DIGIT_BITS) == 0);
                } else {
                    assert!(differs.checked_ilog2().unwrap_or(0) / DIGIT_BITS == level as u32);
                }
            }
        }
        assert!(count == self.count);
        assert!(self.free.iter(&self.timers).all(|at| self.timers[at].bucket == FREE));
        assert!(count + self.free.count() == self.timers.count(), "every timer is used or free");
        assert!(self.draining.is_none_or(|bucket| !self.buckets[usize::from(bucket)].is_empty()));
    }

    /// The record of a timer in use.
    pub(crate) fn record(&self, at: u32) -> u32 {
        assert!(at != NIL && self.timers[at].bucket != FREE, "timer used after it was freed");
        self.timers[at].record
    }
}

/// An occupied bucket, which covers the times from `start` to `last`.
struct FirstBucket {
    start: u64,
    last: u64,
    bucket: u16,
}

fn bucket_of(level: u32, time: u64) -> usize {
    level as usize * BUCKET_COUNT + (time >> (level * DIGIT_BITS)) as usize % BUCKET_COUNT
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
        prop_oneof![1..4_u64, 1..200_u64, 1..100_000_u64, 1..=TIME_MAX]
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
        fn a_wheel_is_a_sorted_map(
            start in prop_oneof![Just(0), any::<u64>()],
            acts in proptest::collection::vec(act(), 1..120),
        ) {
            let mut wheel = Wheel::new();
            let mut twin: BTreeMap<u32, (u32, u64)> = BTreeMap::new(); // record -> (timer, time)
            let mut now = start >> 2;
            let mut record = 0;
            let (mut steps, mut placed) = (0, 0);
            for act in acts {
                match act {
                    Act::Insert(span) => {
                        let Some(when) = now.checked_add(span).filter(|&when| when <= TIME_MAX) else { continue };
                        twin.insert(record, (wheel.insert(record, when), when));
                        record += 1;
                        placed += 1;
                    }
                    Act::Reschedule(at, span) => {
                        let Some(when) = now.checked_add(span).filter(|&when| when <= TIME_MAX) else { continue };
                        let Some(record) = pick(&twin, at) else { continue };
                        let entry = twin.get_mut(&record).expect("picked");
                        wheel.reschedule(entry.0, when);
                        entry.1 = when;
                        placed += 1;
                    }
                    Act::Remove(at) => {
                        let Some(record) = pick(&twin, at) else { continue };
                        wheel.remove(twin.remove(&record).expect("picked").0);
                    }
                    Act::Advance(span, budget) => {
                        now = now.saturating_add(span).min(TIME_MAX);
                        let mut left = budget;
                        while let Some(record) = wheel.pop_due(now, &mut left) {
                            let (_, when) = twin.remove(&record).expect("known and not popped before");
                            prop_assert!(when <= now);
                        }
                        steps += budget - left;
                        if left > 0 {
                            prop_assert!(twin.values().all(|&(_, when)| when > now), "work left with budget left");
                            prop_assert_eq!(wheel.next_after(now).is_some(), !twin.is_empty());
                        }
                    }
                }
                wheel.invariants();
                prop_assert_eq!(wheel.count() as usize, twin.len());
                // This holds however many due timers are not taken out yet.
                let next = wheel.next_after(now);
                prop_assert!(next.is_none_or(|next| next > now), "a time that has come is none to wait for");
                if let Some(earliest) = twin.values().map(|&(_, when)| when).filter(|&when| when > now).min() {
                    prop_assert!(next.is_some_and(|next| next <= earliest), "{next:?} hides {earliest}");
                }
                for (&record, &(timer, when)) in &twin {
                    prop_assert_eq!((wheel.record(timer), wheel.expire_at(timer)), (record, when));
                }
                prop_assert!(steps <= placed * TIMER_STEPS_MAX);
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
        // The leader proposes an empty slot whenever the next expiry is reached: each look must come much
        // closer.
        let mut wheel = Wheel::new();
        let base = 1_790_000_000_123;
        assert!(wheel.pop_due(base, &mut 1).is_none());
        wheel.insert(7, base + 86_400_000);
        let (mut looks, mut now) = (0, base);
        loop {
            now = wheel.next_after(now).expect("one timer");
            looks += 1;
            if wheel.pop_due(now, &mut 100) == Some(7) {
                assert_eq!(now, base + 86_400_000);
                break;
            }
        }
        assert!(looks <= 6, "{looks}");
    }

    #[test]
    fn a_crowd_that_is_due_hides_no_later_timer() {
        let mut wheel = Wheel::new();
        let base = 1_790_000_000_123;
        wheel.pop_due(base, &mut 1);
        for record in 0..1_000 {
            wheel.insert(record, base + 1_000);
        }
        wheel.insert(1_000, base + 1_500);
        // The bucket is sorted when it is near, before it is due.
        let mut now = base;
        while now < base + 1_000 {
            now = wheel.next_after(now).expect("timers");
            wheel.pop_due(now, &mut 4_000);
        }
        assert!(wheel.count() > 900, "most are still there");
        let next = wheel.next_after(now).expect("one");
        assert!(next > now + 400 && next <= base + 1_500, "{}", next - now);
        // After a jump over all of them the next timer is known without a step per timer.
        let mut jumped = Wheel::new();
        jumped.pop_due(base, &mut 1);
        for record in 0..1_000 {
            jumped.insert(record, base + 1 + u64::from(record) * 7);
        }
        jumped.insert(1_000, base + 60_000);
        let mut budget = 300;
        while jumped.pop_due(base + 10_000, &mut budget).is_some() {}
        assert!(jumped.next_after(base + 10_000).is_some_and(|next| next > base + 10_001));
    }
}
