//! Walking the keys of a group in bounded steps, and picking one.
//!
//! ```text
//!  position  0 │ tag of this store u16 │ record u32
//! ```
//! A key keeps its record as long as it exists, and pages go by record number, so a key that is there from the first page
//! to the last is on exactly one of them. Records are numbered differently on every replica and after every restart; the
//! tag tells whose numbers a position means, and with an alien one the walk begins anew: then keys come twice, and none is
//! missed.

use crate::group::Group;
use crate::index::RecordId;
use crate::store::Store;
use alloc::vec::Vec;
use synod_types::limits::{KEY_BYTES_MAX, REPLY_BYTES_MAX};
use synod_types::operand::{put_scan_key, set_scan_next, start_scan_page};
use synod_types::{GroupId, Namespace, WallMs};

/// Keys of one page, whatever is asked for.
const PAGE_KEYS_MAX: u32 = 4096;
/// A page closes past this.
const PAGE_BYTES: usize = 128 << 10;
// A page is a reply; its last key is the one that passed the bound.
const _: () = assert!(8 + PAGE_BYTES + 4 + KEY_BYTES_MAX <= REPLY_BYTES_MAX);
/// Records looked at per key wanted: an index from which most keys were removed is walked in bounded steps too.
const STEPS_PER_KEY: u32 = 10;

/// Records looked at by one draw: where most keys were removed it may find none.
const RANDOM_STEPS: usize = 1024;

/// What a draw comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RandomKey<'a> {
    /// A key.
    Key(&'a [u8]),
    /// There is none.
    Nothing,
    /// None was found so far: draw again with this. It is smaller than the draw before exactly when the walk begins anew.
    GoOn(u64),
}

impl Store {
    /// Writes one page of a group's keys to `page` (see [`synod_types::operand::scan_page`]): about `count` of them, from
    /// `position` on, which is 0 or what the last page said. May be empty before the end.
    pub fn scan(&self, group: GroupId, namespace: Namespace, position: u64, count: u32, page: &mut Vec<u8>) {
        let group = self.group(group);
        start_scan_page(page);
        let from = if position >> 32 == u64::from(self.scan_tag()) { position as u32 } else { 0 }; // the low half
        let count = count.clamp(1, PAGE_KEYS_MAX);
        let (mut steps, mut keys) = (count * STEPS_PER_KEY, count);
        for (id, held) in group.index.iter_from(from) {
            if steps == 0 || keys == 0 || page.len() > PAGE_BYTES {
                set_scan_next(page, u64::from(self.scan_tag()) << 32 | u64::from(id.0));
                return;
            }
            steps -= 1;
            if let Some(key) = live(group, namespace, id, held) {
                put_scan_key(page, key);
                keys -= 1;
            }
        }
    }

    /// A key of the group that `draw` chooses. Not every key is equally likely: one behind removed ones stands for them too.
    pub fn random_key(&self, group: GroupId, namespace: Namespace, draw: u64) -> RandomKey<'_> {
        let group = self.group(group);
        let count = group.index.record_count();
        if group.index.count() == 0 {
            return RandomKey::Nothing;
        }
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

    /// When the key expires, in milliseconds since the epoch: -2 without the key, -1 without an expiry.
    pub fn expire_time(&self, group: GroupId, namespace: Namespace, key: &[u8]) -> i64 {
        let group = self.group(group);
        let Some(id) = group.find_live(namespace, key) else { return -2 };
        let WallMs(time) = group.index.expire_at(id).unwrap_or(WallMs(u64::MAX));
        i64::try_from(time).unwrap_or(-1) // an expiry is never past i64::MAX
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
