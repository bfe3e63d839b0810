//! The encoding of operands and replies that hold more than one value: comparisons, pairs, pages of a scan,
//! ranges.
//!
//! ```text
//!  compared   wanted length u32 │ wanted │ value
//!  pairs      ( key length u32 │ value length u32 │ value CRC32C u32 │ key │ value ) …
//!  scan page  next position u64, [`SCAN_END`] at the end │ ( key length u32 │ key ) …
//!  ranges     ( first sequence u64 │ count u32 ) …
//! ```
//! All integers are little-endian. An operation has a single run of bytes, so that an entry stays an archive
//! of lengths and a body.

use crate::ids::{Slot, Version};
use crate::limits::{COMPARED_BYTES_MAX, KEY_BYTES_MAX, OPERAND_BYTES_MAX, SESSION_REPLIES_MAX};
use alloc::vec::Vec;

/// The bytes before the `wanted` part of a comparison.
const COMPARED_HEAD_BYTES: usize = 4;
/// The bytes before a pair's key.
const PAIR_HEAD_BYTES: usize = 12;
/// The length of a version as encoded by [`version_bytes`].
pub const VERSION_BYTES: usize = 12;
/// The length of a digest in a comparison.
pub const DIGEST_BYTES: usize = 8;
const _: () = assert!(DIGEST_BYTES <= VERSION_BYTES);
const _: () = assert!(COMPARED_HEAD_BYTES + VERSION_BYTES == COMPARED_BYTES_MAX);
/// The next position after the last page of a scan.
pub const SCAN_END: u64 = u64::MAX;

/// Appends a comparison, and the value to be written if it holds.
pub fn put_compared(out: &mut Vec<u8>, wanted: &[u8], value: &[u8]) {
    debug_assert!(wanted.len() <= OPERAND_BYTES_MAX, "compared with more than a value");
    out.extend_from_slice(&(wanted.len() as u32).to_le_bytes()); // within the limits
    out.extend_from_slice(wanted);
    out.extend_from_slice(value);
}

/// The parts of a comparison: the `wanted` bytes, the offset of the value, the value.
pub fn split_compared(bytes: &[u8]) -> Option<(&[u8], usize, &[u8])> {
    let len = u32_at(bytes, 0)? as usize;
    let at = COMPARED_HEAD_BYTES.checked_add(len)?;
    let wanted = bytes.get(COMPARED_HEAD_BYTES..at)?;
    debug_assert!(wanted.len() == len && at <= bytes.len());
    Some((wanted, at, &bytes[at..]))
}

/// A version as encoded in a comparison.
pub fn version_bytes(version: Version) -> [u8; VERSION_BYTES] {
    let mut out = [0; VERSION_BYTES];
    out[..8].copy_from_slice(&version.slot.get().to_le_bytes());
    out[8..].copy_from_slice(&version.position.to_le_bytes());
    out
}

/// The version that [`version_bytes`] encoded.
pub fn version_of(bytes: &[u8]) -> Option<Version> {
    if bytes.len() != VERSION_BYTES {
        return None;
    }
    Some(Version { slot: Slot::new(u64_at(bytes, 0)?), position: u32_at(bytes, 8)? })
}

/// One key and its value in an operand of pairs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pair<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The value.
    pub value: &'a [u8],
    /// CRC32C of the value.
    pub value_crc: u32,
    /// The value's offset in the operand, bytes.
    pub value_at: usize,
}

/// Appends a pair.
pub fn put_pair(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    for word in [key.len() as u32, value.len() as u32, crate::checksum::crc32c(value)] {
        out.extend_from_slice(&word.to_le_bytes()); // lengths are within the limits
    }
    out.extend_from_slice(key);
    out.extend_from_slice(value);
}

/// The pairs of an operand, up to the first one that is truncated or whose key breaks a limit: see
/// [`are_pairs`].
pub fn pairs(bytes: &[u8]) -> impl Iterator<Item = Pair<'_>> {
    let mut at = 0;
    core::iter::from_fn(move || {
        let pair = pair_at(bytes, at)?;
        let end = pair.value_at + pair.value.len();
        debug_assert!(end > at && end <= bytes.len(), "a pair outside its operand");
        at = end;
        Some(pair)
    })
}

/// Whether the bytes are one or more pairs and nothing else.
pub fn are_pairs(bytes: &[u8]) -> bool {
    pairs(bytes).last().is_some_and(|last| last.value_at + last.value.len() == bytes.len())
}

fn pair_at(bytes: &[u8], at: usize) -> Option<Pair<'_>> {
    let (key_len, value_len) = (u32_at(bytes, at)? as usize, u32_at(bytes, at + 4)? as usize);
    if key_len == 0 || key_len > KEY_BYTES_MAX {
        return None;
    }
    let value_crc = u32_at(bytes, at + 8)?;
    let key_at = at + PAIR_HEAD_BYTES;
    let value_at = key_at.checked_add(key_len)?;
    let value = bytes.get(value_at..value_at.checked_add(value_len)?)?;
    Some(Pair { key: &bytes[key_at..value_at], value, value_crc, value_at })
}

/// Begins a page of a scan; [`set_scan_next`] sets its next position later.
pub fn start_scan_page(out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&SCAN_END.to_le_bytes());
}

/// Sets the position at which the scan continues after this page.
///
/// # Panics
/// When the page was not begun.
pub fn set_scan_next(out: &mut [u8], next: u64) {
    out[..8].copy_from_slice(&next.to_le_bytes());
}

/// Adds a key to a page.
pub fn put_scan_key(out: &mut Vec<u8>, key: &[u8]) {
    debug_assert!(key.len() <= KEY_BYTES_MAX, "a key over the limit");
    out.extend_from_slice(&(key.len() as u32).to_le_bytes()); // within KEY_BYTES_MAX
    out.extend_from_slice(key);
}

/// A page's next position and its keys.
pub fn scan_page(bytes: &[u8]) -> Option<(u64, impl Iterator<Item = &[u8]>)> {
    let next = u64_at(bytes, 0)?;
    let mut rest = &bytes[8..];
    let keys = core::iter::from_fn(move || {
        let len = u32_at(rest, 0)? as usize;
        let key = rest.get(4..4_usize.checked_add(len)?)?;
        rest = &rest[4 + len..];
        Some(key)
    });
    Some((next, keys))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from(u32_at(bytes, at)?) | u64::from(u32_at(bytes, at.checked_add(4)?)?) << 32)
}

/// The length of a range of sequences, bytes.
const RANGE_BYTES: usize = 12;

/// Appends a range of `count` sequences from `first` on.
pub fn put_range(out: &mut Vec<u8>, first: u64, count: u32) {
    out.extend_from_slice(&first.to_le_bytes());
    out.extend_from_slice(&count.to_le_bytes());
}

/// The ranges of an operand: the first sequence of each, and their count. A truncated range at the end is
/// left out.
pub fn ranges(packed: &[u8]) -> impl Iterator<Item = (u64, u32)> {
    packed.chunks_exact(RANGE_BYTES).filter_map(|range| Some((u64_at(range, 0)?, u32_at(range, 8)?)))
}

/// Whether the bytes are ranges and nothing else: ascending, disjoint and not empty, with no more sequences
/// in total than a session keeps.
pub fn are_ranges(packed: &[u8]) -> bool {
    let (mut next, mut total) = (1_u64, 0_u64);
    for (first, count) in ranges(packed) {
        let Some(end) = first.checked_add(u64::from(count)) else { return false };
        if first < next || count == 0 {
            return false;
        }
        (next, total) = (end, total + u64::from(count)); // 87 000 ranges at most
    }
    packed.len().is_multiple_of(RANGE_BYTES) && total <= SESSION_REPLIES_MAX as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    #[test]
    fn ranges_are_apart_ascending_and_no_more_than_a_session_keeps() {
        let packed = |held: &[(u64, u32)]| {
            let mut packed = Vec::new();
            for &(first, count) in held {
                put_range(&mut packed, first, count);
            }
            packed
        };
        let most = SESSION_REPLIES_MAX as u32;
        let sound: [&[(u64, u32)]; 4] = [&[], &[(1, most)], &[(1, 1), (2, 3), (9, 1)], &[(u64::MAX - 1, 1)]];
        for held in sound {
            assert!(are_ranges(&packed(held)), "{held:?}");
            assert!(ranges(&packed(held)).eq(held.iter().copied()));
        }
        let others: [&[(u64, u32)]; 6] =
            [&[(0, 1)], &[(1, 0)], &[(1, most + 1)], &[(5, 1), (4, 1)], &[(5, 2), (6, 1)], &[(u64::MAX, 1)]];
        for held in others {
            assert!(!are_ranges(&packed(held)), "{held:?}");
        }
        let whole = packed(&[(1, 1), (5, 2)]);
        assert!((1..whole.len()).all(|len| len == 12 || !are_ranges(&whole[..len])));
    }

    proptest! {
        #[test]
        fn operands_come_back_and_damage_is_no_panic(
            held in proptest::collection::vec(
                (proptest::collection::vec(any::<u8>(), 1..20), proptest::collection::vec(any::<u8>(), 0..40)),
                1..6,
            ),
            slot in any::<u64>(), position in any::<u32>(), cut in any::<proptest::sample::Index>(),
            noise in proptest::collection::vec(any::<u8>(), 0..60),
        ) {
            let (mut packed, mut page, mut compared) = (Vec::new(), vec![1], Vec::new());
            start_scan_page(&mut page);
            set_scan_next(&mut page, slot);
            for (key, value) in &held {
                put_pair(&mut packed, key, value);
                put_scan_key(&mut page, key);
            }
            put_compared(&mut compared, &held[0].0, &held[0].1);
            prop_assert!(are_pairs(&packed));
            for (pair, (key, value)) in pairs(&packed).zip(&held) {
                prop_assert_eq!((pair.key, pair.value), (key.as_slice(), value.as_slice()));
                prop_assert_eq!(pair.value_crc, crate::checksum::crc32c(value));
                prop_assert_eq!(&packed[pair.value_at..pair.value_at + value.len()], value.as_slice());
            }
            prop_assert_eq!(pairs(&packed).count(), held.len());
            let (next, keys) = scan_page(&page).expect("a page");
            prop_assert_eq!(next, slot);
            prop_assert!(keys.eq(held.iter().map(|(key, _)| key.as_slice())));
            let (wanted, at, value) = split_compared(&compared).expect("compared");
            prop_assert_eq!((wanted, value), (held[0].0.as_slice(), held[0].1.as_slice()));
            prop_assert_eq!(&compared[at..], value);
            let version = Version { slot: Slot::new(slot), position };
            prop_assert_eq!(version_of(&version_bytes(version)), Some(version));
            let last = held[held.len() - 1].1.len();
            let short = cut.index(packed.len());
            if last > 0 && short > packed.len() - last {
                prop_assert!(!are_pairs(&packed[..short]));
            }
            let _ = (are_pairs(&noise), split_compared(&noise), version_of(&noise));
            let _ = scan_page(&noise).map(|(_, keys)| keys.count());
        }
    }
}
