//! The cost of the replicated state machine per command and per read, on one core. Keys are 16 bytes, visited
//! in an order that caches cannot guess.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::{Duration, Instant};
use synod_bench::{GROUP, Walk, bytes, key, set_op};
use synod_store::{Applied, CacheAdmission, CacheHint, FoundValue, Lookup, Store, StoreConfig};
use synod_types::{
    CommandRef, Condition, Expiry, Location, Namespace, Op, Reply, SegmentId, SessionStamp, Slot, Version,
    WallMs,
};

const NAMESPACE: Namespace = Namespace::new(0);
/// Short values: enough keys that the index is larger than the second-level cache.
const SHORT_KEYS: u64 = 1 << 16;
/// Long values: 16 MiB of them.
const LONG_KEYS: u64 = 1 << 12;
const LONG_BYTES: usize = 4096;

/// Keys that expire.
const CROWD_KEYS: u64 = 100_000;

/// A store, and the last slot applied to it.
struct Rig {
    store: Store,
    slot: Slot,
}

impl Rig {
    fn new(cache_bytes: usize) -> Self {
        let mut store = Store::new(StoreConfig { groups: vec![GROUP], cache_bytes, hash_seed: 7 });
        store.begin_slot(GROUP, WallMs(1));
        Self { store, slot: Slot::ZERO }
    }

    fn filled(cache_bytes: usize, keys: u64, value: &[u8]) -> Self {
        let mut rig = Self::new(cache_bytes);
        let op = set_op(value);
        for number in 0..keys {
            rig.set(number, op, value);
        }
        rig
    }

    /// Applies a SET of key `number` in a slot of its own.
    fn set(&mut self, number: u64, op: Op, value: &[u8]) {
        self.slot = self.slot.next();
        let stamp = SessionStamp::default();
        let key = key(number);
        let command = CommandRef {
            position: 0,
            namespace: NAMESPACE,
            key: &key,
            op,
            operand: value,
            stamp,
            value_offset: 0,
        };
        let version = Version { slot: self.slot, position: 0 };
        let value_at = Location { segment: SegmentId::new(1), offset: 0, len: value.len() as u32 };
        let applied = self.store.apply(GROUP, &command, version, value_at, CacheHint::Keep, None);
        assert!(matches!(applied, Applied::Reply(Reply::Done { .. })), "{applied:?}");
    }
}

/// Time to apply one SET of an existing key. 16 bytes live in the index; 4 KiB are copied into a slab cell,
/// while the cell of the old value is freed.
fn set(c: &mut Criterion) {
    let mut group = c.benchmark_group("store/set");
    for (name, keys, value) in [("16B", SHORT_KEYS, bytes(16)), ("4KiB", LONG_KEYS, bytes(LONG_BYTES))] {
        let mut rig = Rig::filled(64 << 20, keys, &value);
        let op = set_op(&value);
        let mut walk = Walk::new(keys);
        group.bench_function(name, |b| b.iter(|| rig.set(walk.next(), op, &value)));
    }
    group.finish();
}

/// Time to find a value: in the index (16 B), in the cache (4 KiB, borrowed and not copied), or in neither
/// (the answer is its place in the log); and for a key that does not exist.
fn lookup(c: &mut Criterion) {
    let mut group = c.benchmark_group("store/lookup");
    let (short, long) = (bytes(16), bytes(LONG_BYTES));
    let cases: [(&str, usize, u64, &[u8], u64); 4] = [
        ("hit_16B_in_index", 0, SHORT_KEYS, &short, 0),
        ("hit_4KiB_in_cache", 64 << 20, LONG_KEYS, &long, 0),
        ("cold_4KiB", 0, LONG_KEYS, &long, 0),
        ("missing", 0, SHORT_KEYS, &short, SHORT_KEYS),
    ];
    for (name, cache_bytes, keys, value, offset) in cases {
        let mut rig = Rig::filled(cache_bytes, keys, value);
        let mut walk = Walk::new(keys);
        let mut find = || {
            let key = key(offset + walk.next());
            match rig.store.lookup(GROUP, NAMESPACE, &key) {
                Lookup::Hit { value, .. } => {
                    black_box(value);
                    "hit"
                }
                Lookup::Cold { location, .. } => {
                    black_box(location);
                    "cold"
                }
                Lookup::Missing => "missing",
            }
        };
        assert!(name.starts_with(find()), "{name} does not measure what it says");
        group.bench_function(name, |b| b.iter(&mut find));
    }
    group.finish();
}

/// Time to put a cold 4 KiB value into a full cache: index lookup, eviction, copy. The cache holds a quarter
/// of the values, and every key comes again only after all others, so its value is no longer there.
fn admit(c: &mut Criterion) {
    let value = bytes(LONG_BYTES);
    let mut rig = Rig::filled(4 << 20, LONG_KEYS, &value);
    let mut number = 0;
    c.bench_function("store/admit_4KiB_evicting", |b| {
        b.iter(|| {
            // Keys were written in order, one slot each.
            let version = Version { slot: Slot::new(number + 1), position: 0 };
            let held = rig.store.admit(
                GROUP,
                NAMESPACE,
                &key(number),
                FoundValue::new(version, &value),
                CacheAdmission::MayEvict,
            );
            number = (number + 1) % LONG_KEYS;
            assert!(held, "the value was not admitted");
        });
    });
    assert!(rig.store.cache_stats().evictions > 0, "nothing was evicted");
}

/// Time to remove one expired key of a crowd. The keys expire either all in the same millisecond, or spread
/// over a minute that has passed at once. It includes sorting in the timer wheel, index, key and timer.
fn expire(c: &mut Criterion) {
    const BASE: u64 = 1_790_000_000_000;
    let mut group = c.benchmark_group("store/expire");
    group.throughput(Throughput::Elements(CROWD_KEYS)).sample_size(10);
    for (name, span) in [("together", 1), ("within_a_minute", 60_000)] {
        let crowd = || {
            let mut rig = Rig::new(0);
            rig.store.begin_slot(GROUP, WallMs(BASE));
            rig.store.expire(GROUP, &mut 1_000_000);
            let mut walk = Walk::new(CROWD_KEYS.next_power_of_two());
            for _ in 0..CROWD_KEYS {
                let number = walk.next();
                let value = b"0123456789abcdef";
                let expiry = Expiry::At(WallMs(BASE + 60_000 + number % span));
                let condition = Condition::Always;
                let value_crc = synod_types::checksum::crc32c(value);
                rig.set(number, Op::Set { value_crc, condition, expiry, return_old: false }, value);
            }
            rig.store.begin_slot(GROUP, WallMs(BASE + 120_000));
            rig
        };
        group.bench_function(name, |b| {
            b.iter_custom(|rounds| {
                let mut spent = Duration::ZERO;
                for _ in 0..rounds {
                    let mut rig = crowd();
                    let started = Instant::now();
                    rig.store.expire(GROUP, &mut (100 * CROWD_KEYS as usize));
                    spent += started.elapsed();
                    assert_eq!(rig.store.keys(GROUP), 0, "some were not removed");
                }
                spent
            });
        });
    }
    group.finish();
}

criterion_group!(benches, set, lookup, admit, expire);
criterion_main!(benches);
