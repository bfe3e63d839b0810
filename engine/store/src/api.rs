//! The store's arguments and results: plain data, no behaviour.

use alloc::vec::Vec;
use synod_types::{GroupId, Location, Reply, Version, WallMs};

/// The configuration of one core's store.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// The groups this core holds; each once.
    pub groups: Vec<GroupId>,
    /// Budget of the slab cache in bytes, its bookkeeping included; never exceeded. 0 turns the cache off.
    pub cache_bytes: usize,
    /// Seeds the index hash. The shell draws it, so that no client can aim keys at one bucket. It affects no
    /// reply and no digest.
    pub hash_seed: u64,
}

/// Whether a value that is being written goes into the cache. Affects no reply and no state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CacheHint {
    /// Keep a copy: this replica serves reads.
    Keep,
    /// Keep no copy, and drop the copy of the key's previous value.
    Skip,
}

/// The outcome of applying a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Applied<'a> {
    /// The command is applied; this is its answer.
    Reply(Reply<&'a [u8]>),
    /// The answer holds the key's old value, which is cold. **Nothing was changed.** Read `location`, check
    /// it against `crc`, and call `apply` again with the same arguments and `old = Some(bytes)` before
    /// anything else of this group.
    Read {
        /// Exactly the old value's bytes.
        location: Location,
        /// Their CRC32C.
        crc: u32,
    },
}

/// A value that does not come from the cache: it was read from the log or from another replica.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FoundValue<'a> {
    pub(crate) version: Version,
    pub(crate) bytes: &'a [u8],
    /// The CRC32C of the bytes, if it is known already.
    crc: Option<u32>,
}

impl<'a> FoundValue<'a> {
    /// A key's value when the key had `version`. Its checksum is computed only once there is a place for it.
    pub fn new(version: Version, bytes: &'a [u8]) -> Self {
        Self { version, bytes, crc: None }
    }
    /// The same with the CRC32C of the bytes, if the caller knows it.
    pub fn summed(version: Version, bytes: &'a [u8], crc: u32) -> Self {
        debug_assert!(crc == synod_types::checksum::crc32c(bytes), "another checksum than the bytes have");
        Self { version, bytes, crc: Some(crc) }
    }
    pub(crate) fn crc(&self) -> u32 {
        self.crc.unwrap_or_else(|| synod_types::checksum::crc32c(self.bytes))
    }
}

/// How much the cache may do to make a copy fit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CacheAdmission {
    /// Another copy may be evicted.
    MayEvict,
    /// The copy must fit without an eviction.
    SpareOnly,
}

/// The result of a lookup.
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
    /// The value is in the log only.
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

/// The cache's statistics since it was made.
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
    /// Values that were not kept, because they are longer than the largest cell or the budget has no room for
    /// a page.
    pub refused: u64,
    /// Copies held now.
    pub cells: u64,
    /// Bytes taken from the budget now, bookkeeping included.
    pub bytes: u64,
    /// The budget.
    pub bytes_max: u64,
}
