//! One group's replicated state: applied time, index, sessions.
//!
//! A group must not know the cache (its copies are not state), or any other group.

use crate::digest::Digest;
use crate::index::{Index, RecordId, Value};
use crate::sessions::{SessionLimits, Sessions};
use crate::version::PackedVersion;
use ahash::RandomState;
use synod_types::{Level, Namespace, WallMs};

#[derive(Debug)]
pub(crate) struct Group {
    /// Applied time, which decides about expiry; never goes back.
    pub(crate) applied_ts: WallMs,
    /// The version of the last applied command.
    pub(crate) applied: PackedVersion,
    pub(crate) index: Index,
    /// Keys removed because they had expired; local, for metrics.
    pub(crate) expired: u64,
    pub(crate) sessions: Sessions,
    /// The level that all members read.
    pub(crate) level: Level,
}

/// A cleared index of a group.
#[derive(Debug)]
pub(crate) struct Buried {
    pub(crate) group_at: u16,
    pub(crate) index: Index,
}

impl Group {
    pub(crate) fn new(hasher: RandomState, limits: SessionLimits) -> Self {
        Self {
            applied_ts: WallMs::ZERO,
            applied: PackedVersion::ZERO,
            index: Index::new(hasher),
            expired: 0,
            sessions: Sessions::new(limits),
            level: Level::FIRST,
        }
    }

    /// Whether the key of a record has expired, removed already or not.
    pub(crate) fn is_expired(&self, id: RecordId) -> bool {
        self.index.expire_at(id).is_some_and(|expire_at| expire_at <= self.applied_ts)
    }

    /// A key that exists at applied time.
    pub(crate) fn find_live(&self, namespace: Namespace, key: &[u8]) -> Option<RecordId> {
        let id = self.index.find(self.index.hash(namespace, key), namespace, key)?;
        (!self.is_expired(id)).then_some(id)
    }

    /// A digest that does not depend on order, nor on anything that is not replicated: hash seed, cells,
    /// locations, expired keys that are not removed yet.
    pub(crate) fn digest(&self) -> u64 {
        let live = self.index.iter().filter(|&(id, ..)| !self.is_expired(id));
        let keys = live.map(|(id, namespace, key)| {
            let record = self.index.record(id);
            let head = Digest::new(1)
                .word(u64::from(namespace.get()))
                .bytes(key)
                .word(record.version.get())
                .word(self.index.expire_at(id).map_or(0, |expire_at| expire_at.0));
            match &record.value {
                Value::Inline { len, bytes } => head.bytes(&bytes[..usize::from(*len)]),
                Value::Log { location, crc, .. } => head.word(u64::from(location.len)).word(u64::from(*crc)),
                Value::Free { .. } => unreachable!("free records are not keys"),
            }
            .get()
        });
        let keys = keys.fold(0_u64, u64::wrapping_add);
        Digest::new(3)
            .word(self.applied_ts.0)
            .word(keys)
            .word(self.sessions.digest())
            .word(u64::from(self.level.get()))
            .get()
    }

    /// # Panics
    /// When the state contradicts itself.
    pub(crate) fn invariants(&self) {
        assert!(self.level >= Level::FIRST, "a group begins with the first level");
        self.index.invariants();
        self.sessions.invariants();
    }
}
