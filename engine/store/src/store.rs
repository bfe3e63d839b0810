//! The store.

use crate::api::{Applied, CacheHint, CacheStats, Lookup, StoreConfig};
use synod_types::{CommandRef, ErrorKind, GroupId, Location, Namespace, Reply, Version, WallMs};

/// The replicated state of one core's groups.
#[derive(Debug)]
pub struct Store {
    config: StoreConfig,
}

impl Store {
    /// Empty groups.
    pub fn new(config: StoreConfig) -> Self {
        Self { config }
    }
    /// A slot begins: the group's applied time becomes `max(applied time, ts)`.
    pub fn begin_slot(&mut self, _group: GroupId, _ts: WallMs) {}
    /// Applies one command of the slot.
    pub fn apply(
        &mut self,
        _group: GroupId,
        _command: &CommandRef<'_>,
        _version: Version,
        _value_at: Location,
        _keep: CacheHint,
        _old: Option<&[u8]>,
    ) -> Applied<'_> {
        Applied::Reply(Reply::Error(ErrorKind::Malformed))
    }
    /// Finds a key's value at applied time.
    pub fn lookup(&mut self, _group: GroupId, _namespace: Namespace, _key: &[u8]) -> Lookup<'_> {
        Lookup::Missing
    }
    /// Whether the key exists at applied time.
    pub fn exists(&self, _group: GroupId, _namespace: Namespace, _key: &[u8]) -> bool {
        false
    }
    /// Milliseconds the key has left: -2 without the key, -1 without an expiry, else
    /// `max(0, expire_at - max(applied time, clock))`.
    pub fn ttl_ms(&self, _group: GroupId, _namespace: Namespace, _key: &[u8], _clock: WallMs) -> i64 {
        -2
    }
    /// Puts a cold value just read into the cache, if the key still has this version.
    pub fn admit(
        &mut self,
        _group: GroupId,
        _namespace: Namespace,
        _key: &[u8],
        _version: Version,
        _value: &[u8],
    ) -> bool {
        false
    }
    /// A time not later than the earliest expiry still indexed; at or below applied time exactly while [`Store::expire`]
    /// has something to do.
    pub fn next_expiry(&self, _group: GroupId) -> Option<WallMs> {
        None
    }
    /// Removes keys whose expiry is at or below applied time; at most `budget` steps of work. How many were removed.
    pub fn expire(&mut self, _group: GroupId, _budget: usize) -> usize {
        0
    }
    /// Keys in the index; an expired one counts until [`Store::expire`] removed it.
    pub fn keys(&self, _group: GroupId) -> u64 {
        0
    }
    /// The group's applied time.
    pub fn applied_ts(&self, _group: GroupId) -> WallMs {
        WallMs::ZERO
    }
    /// How the cache does.
    pub fn cache_stats(&self) -> CacheStats {
        CacheStats { bytes_max: self.config.cache_bytes as u64, ..CacheStats::default() }
    }
    /// A hash of the group's replicated state, equal on replicas that applied the same.
    pub fn digest(&self, _group: GroupId) -> u64 {
        0
    }
    /// Checks every invariant that holds between calls.
    ///
    /// # Panics
    /// When one does not.
    pub fn invariants(&self) {}
}
