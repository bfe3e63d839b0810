//! What the caller hands in and gets back: plain words, no behaviour.

use alloc::vec::Vec;
use synod_types::{GroupId, Location, Reply, Version, WallMs};

/// What one core's store is made from.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// The groups this core holds; each once.
    pub groups: Vec<GroupId>,
    /// Budget of the slab cache in bytes, its bookkeeping included; never passed. 0 turns the cache off.
    pub cache_bytes: usize,
    /// Seeds the index hash; drawn by the shell, so that nobody can aim keys at one bucket. Shows in no reply and in no
    /// digest.
    pub hash_seed: u64,
}

/// Whether a value that is being written goes into the cache. Influences no reply and no state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CacheHint {
    /// Keep a copy: this replica serves reads.
    Keep,
    /// Keep none; a copy of the key's previous value is dropped.
    Skip,
}

/// What came of applying a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Applied<'a> {
    /// The command is applied; this is its answer.
    Reply(Reply<&'a [u8]>),
    /// The answer holds the key's old value and that is cold. **Nothing was changed.** Read `location`, check it against
    /// `crc`, and call `apply` again with the same arguments and `old = Some(bytes)` before anything else of this group.
    Read {
        /// Exactly the old value's bytes.
        location: Location,
        /// Their CRC32C.
        crc: u32,
    },
}

/// A value that was found elsewhere than in the cache: in the log, or at another replica.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FoundValue<'a> {
    pub(crate) version: Version,
    pub(crate) bytes: &'a [u8],
    /// Of the bytes, if somebody has summed them.
    crc: Option<u32>,
}

impl<'a> FoundValue<'a> {
    /// A key's value when the key had `version`. It is summed once it is sure to find a place.
    pub fn new(version: Version, bytes: &'a [u8]) -> Self {
        Self { version, bytes, crc: None }
    }
    /// The same with the CRC32C of the bytes, where that is known.
    pub fn summed(version: Version, bytes: &'a [u8], crc: u32) -> Self {
        Self { version, bytes, crc: Some(crc) }
    }
    pub(crate) fn crc(&self) -> u32 {
        self.crc.unwrap_or_else(|| synod_types::checksum::crc32c(self.bytes))
    }
}

/// What may be done for a copy to find a place in the cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Room {
    /// Another copy may be evicted.
    Made,
    /// Nothing.
    Spare,
}

/// What a read finds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lookup<'a> {
    /// No such key at applied time.
    Missing,
    /// The value, from the index or from the cache.
    Hit {
        /// The bytes.
        value: &'a [u8],
        /// The key's version.
        version: Version,
        /// When it expires; [`WallMs::ZERO`] for never.
        expire_at: WallMs,
    },
    /// The value lies in the log only.
    Cold {
        /// Exactly the value's bytes.
        location: Location,
        /// Their CRC32C.
        value_crc: u32,
        /// The key's version.
        version: Version,
        /// When it expires; [`WallMs::ZERO`] for never.
        expire_at: WallMs,
    },
}

/// How the cache has done since it was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CacheStats {
    /// Lookups of a long value that found a copy.
    pub hits: u64,
    /// Lookups of a long value that found none.
    pub misses: u64,
    /// Copies made.
    pub inserts: u64,
    /// Copies dropped to make room (overwritten and deleted keys are not counted).
    pub evictions: u64,
    /// Pages taken from one size class for another.
    pub page_moves: u64,
    /// Values that were not kept because they are longer than the largest cell or the budget has no room for a page.
    pub refused: u64,
    /// Copies held now.
    pub cells: u64,
    /// Bytes taken from the budget now, bookkeeping included.
    pub bytes: u64,
    /// The budget.
    pub bytes_max: u64,
}
