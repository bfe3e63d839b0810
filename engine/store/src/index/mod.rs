//! The index of one group: from a key to its version, its expiry, and the value or the value's place in the
//! log.
//!
//! ```text
//!  hash(namespace, key) ─▶ one of 64 tables of u32 ─▶ Record (48 B) ─▶ key bytes   (keys)
//!                                                              ├─────▶ timer       (wheel), if it expires
//!                                                              └─────▶ cell        (slab), if it is cached
//! ```
//! There are 64 small tables instead of a large one: a table that grows moves 1/64 of the keys, so no single
//! write pays for all. Nothing observable depends on the order in a table. The index must not decide what is
//! expired, or touch the cache.

mod keys;
mod record;

pub(crate) use record::{Record, Value};

use crate::chunks::Chunks;
use crate::list::NIL;
use crate::version::PackedVersion;
use crate::wheel::Wheel;
use ahash::RandomState;
use alloc::vec::Vec;
use core::hash::{BuildHasher, Hasher};
use hashbrown::HashTable;
use keys::KeyArena;
use synod_types::{Namespace, WallMs};

const TABLE_BITS: u32 = 6;
/// Steps of the sweep that each expiry set must pay for, if there is that much to do. This is more than one
/// key can ever cost the sweep, so that the sweep keeps up with any rate at which expiries are set.
const STEPS_PER_EXPIRY: usize = 16;
const _: () = assert!(STEPS_PER_EXPIRY > crate::wheel::TIMER_STEPS_MAX);

/// The number of a record. Valid until the record is removed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct RecordId(pub(crate) u32);

#[derive(Debug)]
pub(crate) struct Index {
    hasher: RandomState,
    tables: Vec<HashTable<u32>>,
    records: Chunks<Record>,
    free: u32,
    keys: KeyArena,
    wheel: Wheel,
    /// Steps of the sweep owed for the expiries set since [`Index::take_owed`] was last called.
    owed: usize,
    count: u64,
}

impl Index {
    pub(crate) fn new(hasher: RandomState) -> Self {
        Self {
            hasher,
            tables: (0..1 << TABLE_BITS).map(|_| HashTable::new()).collect(),
            records: Chunks::new(),
            free: NIL,
            keys: KeyArena::new(),
            wheel: Wheel::new(),
            owed: 0,
            count: 0,
        }
    }

    pub(crate) fn hash(&self, namespace: Namespace, key: &[u8]) -> u32 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u16(namespace.get());
        hasher.write(key);
        (hasher.finish() >> 32) as u32
    }

    pub(crate) fn find(&self, hash: u32, namespace: Namespace, key: &[u8]) -> Option<RecordId> {
        let matches = |&at: &u32| {
            let record = &self.records[at];
            record.hash == hash && record.namespace == namespace && self.keys.get(record.key()) == key
        };
        let found = self.tables[table_of(hash)].find(spread(hash), matches).copied().map(RecordId);
        debug_assert!(found.is_none_or(|id| !self.record(id).is_free()), "a removed key was found");
        found
    }

    /// Reads the memory that [`Index::find`] will read for each of `keys`, one step for all keys before the
    /// next step. So the processor waits for several cache misses at a time; finding the keys one after the
    /// other would wait for each miss. Changes nothing.
    pub(crate) fn warm<'a>(&self, keys: impl Iterator<Item = (Namespace, &'a [u8])>, scratch: &mut Vec<u32>) {
        scratch.clear();
        scratch.extend(keys.filter_map(|(namespace, key)| {
            let hash = self.hash(namespace, key);
            // The first entry with the key's tag is nearly always the right one.
            self.tables[table_of(hash)].find(spread(hash), |_| true).copied()
        }));
        let step = |sum: u32, &at: &u32| sum.wrapping_add(self.records[at].hash);
        core::hint::black_box(scratch.iter().fold(0, step));
        let step = |sum: u8, &at: &u32| sum ^ self.keys.get(self.records[at].key()).first().unwrap_or(&0);
        core::hint::black_box(scratch.iter().fold(0, step));
    }

    /// Adds a key that does not exist yet, without an expiry.
    pub(crate) fn insert(
        &mut self,
        hash: u32,
        namespace: Namespace,
        key: &[u8],
        version: PackedVersion,
        value: Value,
    ) -> RecordId {
        debug_assert!(self.find(hash, namespace, key).is_none());
        debug_assert!(!matches!(value, Value::Free { .. }));
        let record = Record::new(hash, namespace, self.keys.insert(key), version, value);
        let at = if self.free == NIL {
            self.records.push(record)
        } else {
            let at = self.free;
            let Value::Free { next } = self.records[at].value else {
                panic!("a record of the free list is in use")
            };
            debug_assert!(self.records[at].timer == NIL, "a free record has a timer");
            self.free = next;
            self.records[at] = record;
            at
        };
        debug_assert!(self.free != at, "a record in use is on the free list");
        let records = &self.records;
        self.tables[table_of(hash)].insert_unique(spread(hash), at, |&at| spread(records[at].hash));
        self.count += 1;
        debug_assert!(self.count <= u64::from(self.records.count()), "more keys than records");
        RecordId(at)
    }

    /// Removes a key. Returns its value; the caller cleans up the cached copy that the value may refer to.
    pub(crate) fn remove(&mut self, id: RecordId) -> Value {
        let record = &self.records[id.0];
        assert!(!record.is_free(), "record removed twice");
        let (hash, key, timer) = (record.hash, record.key(), record.timer);
        let Ok(entry) = self.tables[table_of(hash)].find_entry(spread(hash), |&at| at == id.0) else {
            panic!("a record is not in its table")
        };
        entry.remove();
        self.keys.remove(key);
        if timer != NIL {
            self.wheel.remove(timer);
        }
        let record = &mut self.records[id.0];
        record.timer = NIL;
        let value = core::mem::replace(&mut record.value, Value::Free { next: self.free });
        debug_assert!(self.free != id.0, "a record freed twice");
        self.free = id.0;
        debug_assert!(self.count > 0, "more keys removed than added");
        self.count -= 1;
        value
    }

    /// Removes every key at once; records are numbered from 0 again. Returns the old index, because freeing
    /// all of it takes long.
    pub(crate) fn clear(&mut self) -> Index {
        core::mem::replace(self, Self::new(self.hasher.clone()))
    }

    /// Frees a piece of a cleared index, after showing each of its records; false when nothing is left.
    pub(crate) fn drop_some(&mut self, mut show: impl FnMut(RecordId, &Value)) -> bool {
        if let Some((first, records)) = self.records.pop_chunk() {
            for (at, record) in (first..).zip(&records) {
                show(RecordId(at), &record.value);
            }
            return true;
        }
        self.tables.pop().is_some() || self.keys.drop_some()
    }

    /// The value of a record, if a record of that number exists.
    pub(crate) fn value(&self, id: RecordId) -> Option<&Value> {
        (id.0 < self.records.count()).then(|| &self.records[id.0].value)
    }

    /// Keys in the order of their records, from record `from` on. A key keeps its record as long as it
    /// exists, so a walk that continues after the last record it saw misses no key that existed all along.
    pub(crate) fn iter_from(
        &self,
        from: u32,
    ) -> impl Iterator<Item = (RecordId, Option<(Namespace, &[u8])>)> {
        (from..self.records.count()).map(|at| {
            let record = &self.records[at];
            let held = (!record.is_free()).then(|| (record.namespace, self.keys.get(record.key())));
            (RecordId(at), held)
        })
    }

    /// One more than the highest record ever used since the index was empty.
    pub(crate) fn record_count(&self) -> u32 {
        self.records.count()
    }

    /// Sets the expiry, which must be after applied time, or removes it with `None`.
    pub(crate) fn set_expiry(&mut self, id: RecordId, expire_at: Option<WallMs>) {
        if expire_at.is_some() {
            self.owed += STEPS_PER_EXPIRY;
        }
        debug_assert!(!self.record(id).is_free(), "an expiry of no key");
        let timer = self.records[id.0].timer;
        let timer = match (timer, expire_at) {
            (NIL, None) => NIL,
            (NIL, Some(expire_at)) => self.wheel.insert(id.0, expire_at.0),
            (timer, None) => {
                self.wheel.remove(timer);
                NIL
            }
            (timer, Some(expire_at)) => {
                self.wheel.reschedule(timer, expire_at.0);
                timer
            }
        };
        self.records[id.0].timer = timer;
        debug_assert!(self.expire_at(id) == expire_at, "another expiry than was set");
    }

    /// The next key that is due at `now`; its timer is already removed. See [`Wheel::pop_due`].
    pub(crate) fn pop_due(&mut self, now: WallMs, budget: &mut usize) -> Option<RecordId> {
        let at = self.wheel.pop_due(now.0, budget)?;
        assert!(!self.records[at].is_free(), "a timer outlived its key");
        assert!(self.records[at].timer != NIL, "a key without an expiry has expired");
        self.records[at].timer = NIL;
        Some(RecordId(at))
    }

    pub(crate) fn record_mut(&mut self, id: RecordId) -> &mut Record {
        &mut self.records[id.0]
    }

    pub(crate) fn record(&self, id: RecordId) -> &Record {
        &self.records[id.0]
    }

    pub(crate) fn expire_at(&self, id: RecordId) -> Option<WallMs> {
        let timer = self.records[id.0].timer;
        debug_assert!(timer == NIL || self.wheel.record(timer) == id.0, "a timer of another key");
        (timer != NIL).then(|| WallMs(self.wheel.expire_at(timer)))
    }

    /// Takes the steps of the sweep owed for the expiries set since the last call.
    pub(crate) fn take_owed(&mut self) -> usize {
        debug_assert!(self.owed.is_multiple_of(STEPS_PER_EXPIRY), "steps are owed whole");
        core::mem::take(&mut self.owed)
    }

    /// A time after `now` that is not later than the earliest expiry after it. See [`Wheel::next_after`].
    pub(crate) fn next_expiry(&self, now: WallMs) -> Option<WallMs> {
        self.wheel.next_after(now.0).map(WallMs)
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The keys that have an expiry: each has one timer.
    pub(crate) fn expiring(&self) -> u64 {
        u64::from(self.wheel.count())
    }

    /// Every key, in no particular order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (RecordId, Namespace, &[u8])> {
        self.records
            .iter()
            .filter(|(_, record)| !record.is_free())
            .map(|(at, record)| (RecordId(at), record.namespace, self.keys.get(record.key())))
    }

    /// # Panics
    /// When the parts contradict each other.
    pub(crate) fn invariants(&self) {
        self.wheel.invariants();
        let mut timers = 0;
        for (id, namespace, key) in self.iter() {
            let record = self.record(id);
            assert!(self.find(record.hash, namespace, key) == Some(id), "a key is not where its hash says");
            assert!(record.hash == self.hash(namespace, key));
            if record.timer != NIL {
                timers += 1;
                assert!(self.wheel.record(record.timer) == id.0, "a timer of another key");
            }
        }
        assert!(timers == self.wheel.count(), "an expiry of no key");
        let mut free = 0;
        let mut at = self.free;
        while at != NIL {
            let Value::Free { next } = self.records[at].value else {
                panic!("a record of the free list is in use")
            };
            assert!(self.records[at].timer == NIL, "a free record has a timer");
            free += 1;
            at = next;
        }
        assert!(free + self.count == u64::from(self.records.count()), "every record is used or free");
        assert!(self.iter().count() as u64 == self.count);
        assert!(self.tables.iter().map(|table| table.len() as u64).sum::<u64>() == self.count);
    }
}

/// The top bits choose the table. So within one table all of the low bits, which choose the bucket, still
/// differ.
fn table_of(hash: u32) -> usize {
    (hash >> (32 - TABLE_BITS)) as usize
}

/// Spreads 32 bits over the 64 that a table wants: the low bits choose the bucket, the top seven are its tag.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// The seeded hasher of a store.
pub(crate) fn hasher(seed: u64) -> RandomState {
    let word = |lane| crate::digest::mix(seed.wrapping_add(lane));
    RandomState::with_seeds(word(1), word(2), word(3), word(4))
}

#[cfg(test)]
mod tests {
    use super::*;
    use synod_types::{Slot, Version};

    #[test]
    fn keys_of_one_hash_are_told_apart_by_namespace_and_bytes() {
        let mut index = Index::new(hasher(1));
        let names: [(u16, &[u8]); 4] = [(0, b"a"), (1, b"a"), (0, b"b"), (0, b"")];
        let version = PackedVersion::pack(Version { slot: Slot::new(1), position: 0 });
        let find =
            |index: &Index, (namespace, key): (u16, &[u8])| index.find(5, Namespace::new(namespace), key);
        for (at, &(namespace, key)) in names.iter().enumerate() {
            assert_eq!(find(&index, (namespace, key)), None);
            let id = index.insert(5, Namespace::new(namespace), key, version, Value::inline(b"v"));
            assert_eq!(id, RecordId(at as u32));
        }
        for (at, &name) in names.iter().enumerate() {
            assert_eq!(find(&index, name), Some(RecordId(at as u32)));
        }
        index.remove(RecordId(1));
        assert_eq!(find(&index, names[1]), None);
        assert_eq!(find(&index, names[0]), Some(RecordId(0)));
    }

    #[test]
    fn hashes_of_one_table_spread_over_its_buckets_and_tags() {
        let of_one_table = (0..1024_u32).map(|low| spread((3 << 26) | (low * 65_537 % (1 << 26))));
        let mut buckets = alloc::collections::BTreeSet::new();
        let mut tags = alloc::collections::BTreeSet::new();
        for hash in of_one_table {
            buckets.insert(hash % 1024);
            tags.insert(hash >> 57);
        }
        assert!(buckets.len() > 500, "{}", buckets.len());
        assert!(tags.len() > 100, "{}", tags.len());
    }
}
