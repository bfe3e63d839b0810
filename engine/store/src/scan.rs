//! Scans over the keys of a group in bounded steps, and the choice of a random key.
//!
//! ```text
//!  position  0 │ tag of this store u16 │ record u32
//! ```
//! A key keeps its record as long as it exists, and pages go by record number. So a key that exists from the
//! first page to the last is on exactly one of them. Records are numbered differently on every replica and
//! after every restart; the tag tells which store's numbers a position refers to. With a foreign tag the scan
//! starts over: then keys may come twice, and none is missed.

use crate::group::Group;
use crate::index::RecordId;
use alloc::vec::Vec;
use synod_types::Namespace;
use synod_types::limits::{KEY_BYTES_MAX, SCAN_PAGE_BYTES_MAX};
use synod_types::operand::{put_scan_key, set_scan_next, start_scan_page};

/// The limit of keys in one page, however many are asked for.
const PAGE_KEYS_MAX: u32 = 4096;
/// A page ends once it is longer than this.
const PAGE_BYTES: usize = 128 << 10;
// Only its last key may pass the bound.
const _: () = assert!(8 + PAGE_BYTES + 4 + KEY_BYTES_MAX <= SCAN_PAGE_BYTES_MAX);
/// Records visited per wanted key, so that a scan of an index with many removed keys is bounded too.
const STEPS_PER_KEY: u32 = 10;

/// Records visited by one draw. Where most keys were removed it may find none.
const RANDOM_STEPS: usize = 1024;

/// The outcome of a draw.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RandomKey<'a> {
    /// A key.
    Key(&'a [u8]),
    /// There is no key.
    Nothing,
    /// No key was found so far: draw again with this number. It is smaller than the draw before exactly when
    /// the walk starts over.
    GoOn(u64),
}

/// Writes one page of a group's keys to `page` (see [`synod_types::operand::scan_page`]): about `count` of
/// them, starting at `position`, which is 0 or taken from the last page; `tag` is the store's own. A page may
/// be empty before the end.
pub(crate) fn page(
    group: &Group,
    tag: u16,
    namespace: Namespace,
    position: u64,
    count: u32,
    page: &mut Vec<u8>,
) {
    debug_assert!(tag != 0, "0 marks no store");
    start_scan_page(page);
    let from = if position >> 32 == u64::from(tag) { position as u32 } else { 0 }; // the low half
    let count = count.clamp(1, PAGE_KEYS_MAX);
    let (mut steps, mut keys) = (count * STEPS_PER_KEY, count);
    for (id, held) in group.index.iter_from(from) {
        if steps == 0 || keys == 0 || page.len() > PAGE_BYTES {
            set_scan_next(page, u64::from(tag) << 32 | u64::from(id.0));
            return;
        }
        steps -= 1;
        if let Some(key) = live(group, namespace, id, held) {
            put_scan_key(page, key);
            keys -= 1;
        }
        debug_assert!(page.len() <= SCAN_PAGE_BYTES_MAX, "a page is a reply");
    }
}

/// A key of the group, chosen by `draw`. Not all keys are equally likely: a key that follows removed ones is
/// chosen in their place too.
pub(crate) fn random_key(group: &Group, namespace: Namespace, draw: u64) -> RandomKey<'_> {
    let count = group.index.record_count();
    if group.index.count() == 0 {
        return RandomKey::Nothing;
    }
    assert!(count > 0, "keys without records");
    let from = (draw % u64::from(count)) as u32; // below count, which is not 0 with a key
    let looked = group.index.iter_from(from).take(RANDOM_STEPS);
    let mut looked = looked.filter_map(|(id, held)| live(group, namespace, id, held));
    match looked.next() {
        Some(key) => RandomKey::Key(key),
        None => {
            let next = u64::from(from) + RANDOM_STEPS as u64;
            RandomKey::GoOn(if next < u64::from(count) { next } else { 0 })
        }
    }
}

fn live<'a>(
    group: &Group,
    namespace: Namespace,
    id: RecordId,
    held: Option<(Namespace, &'a [u8])>,
) -> Option<&'a [u8]> {
    let (of, key) = held?;
    (of == namespace && !group.is_expired(id)).then_some(key)
}
