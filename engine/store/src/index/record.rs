//! The index's record of one key, in 48 bytes.

use super::keys::KeyRef;
use crate::list::NIL;
use crate::version::PackedVersion;
use synod_types::limits::INLINE_VALUE_BYTES_MAX;
use synod_types::{Location, Namespace};

/// A key's value: the bytes of a short value, the place of a long one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Value {
    /// In the index itself.
    Inline { len: u8, bytes: [u8; INLINE_VALUE_BYTES_MAX] },
    /// In the log, at a place that other keys may refer to as well (COPY), with perhaps a copy in a cell of
    /// the cache ([`NIL`] for none). The cell may have been given away: the owner noted in the cell decides.
    Log { location: Location, crc: u32, cell: u32 },
    /// No key: a free record, with the number of the next free one.
    Free { next: u32 },
}

impl Value {
    /// # Panics
    /// When the value is too long.
    pub(crate) fn inline(value: &[u8]) -> Self {
        debug_assert!(value.len() <= INLINE_VALUE_BYTES_MAX, "a long value is not kept in the index");
        let mut bytes = [0; INLINE_VALUE_BYTES_MAX];
        bytes[..value.len()].copy_from_slice(value);
        Self::Inline { len: value.len() as u8, bytes }
    }
    /// The cell that perhaps holds a copy.
    pub(crate) fn cell(&self) -> u32 {
        match self {
            Self::Log { cell, .. } => *cell,
            _ => NIL,
        }
    }
    /// Length in bytes.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Inline { len, .. } => usize::from(*len),
            Self::Log { location, .. } => location.len as usize,
            Self::Free { .. } => 0,
        }
    }
}

/// One key.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) version: PackedVersion,
    pub(crate) value: Value,
    /// The key's hash, so that a growing table need not read key bytes.
    pub(super) hash: u32,
    pub(super) key_cell: u32,
    /// The key's timer; [`NIL`] if it does not expire.
    pub(super) timer: u32,
    pub(super) key_len: u16,
    pub(super) namespace: Namespace,
}

impl Record {
    pub(super) fn new(
        hash: u32,
        namespace: Namespace,
        key: KeyRef,
        version: PackedVersion,
        value: Value,
    ) -> Self {
        debug_assert!(!matches!(value, Value::Free { .. }), "a record of no key");
        Self { version, value, hash, key_cell: key.cell, timer: NIL, key_len: key.len, namespace }
    }
    pub(super) fn key(&self) -> KeyRef {
        KeyRef { cell: self.key_cell, len: self.key_len }
    }
    pub(super) fn is_free(&self) -> bool {
        matches!(self.value, Value::Free { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table adds 5 bytes per place and is between 7/16 and 7/8 full.
    #[test]
    fn a_key_costs_at_most_64_bytes_beside_its_own() {
        assert_eq!(size_of::<Value>(), 24);
        assert_eq!(size_of::<Record>(), 48);
        let table_bytes_max = (size_of::<u32>() + 1) as f64 / (7.0 / 16.0);
        assert!(size_of::<Record>() as f64 + table_bytes_max <= 64.0);
    }
}
