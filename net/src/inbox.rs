//! The buffer that a socket is read into. Requests and frames are taken out of it without a copy.
//!
//! ```text
//!   ├── taken: slices, shared ──┤── held: received, not taken ──┤── room: to read into ──┤   one chunk
//! ```
//! A chunk with too little room left is replaced: the held bytes move to the new chunk, and slices keep the
//! old one alive. It is counted for as long as they do, and reused once no slice refers to it. Chunks grow
//! while reads fill their room, so a quiet connection costs little. A request whose length is known gets a
//! chunk of about that length.

use crate::memory::{Filled, Former, ReadBuffer};
use bytes::Bytes;
use std::collections::VecDeque;
use synod_types::Shared;

/// Size of the first chunk.
const CHUNK_BYTES_MIN: usize = 8 << 10;
/// Pieces shorter than this are copied when taken: a short piece must not keep a whole chunk alive.
const SHARE_BYTES_MIN: usize = 2 << 10;
/// A chunk is replaced when its room is smaller than the chunk's size divided by this.
const ROOM_SHARE: usize = 4;
/// A former chunk is not used again for a request if it is longer than the chunk needed by this factor.
const TOO_LONG: usize = 4;
/// Room behind a request of known length, for the start of the next one.
const BEHIND_BYTES: usize = 4 << 10;

/// Bytes received and the room for more.
#[derive(Debug)]
pub(crate) struct Inbox {
    /// Refers to no chunk while it is empty.
    held: Filled,
    /// Directly behind `held` in memory, unless nothing is held.
    room: ReadBuffer,
    /// Size of the chunk of `held` and `room`, also while the room is lent.
    current: usize,
    /// Former chunks, the oldest first: those that slices refer to, and some that may be used again.
    retired: VecDeque<Former>,
    /// Size of the next chunk.
    chunk: usize,
    limits: InboxLimits,
}

/// Bounds of an inbox's memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InboxLimits {
    /// Chunks grow to this, and beyond it only for a single request that is longer.
    pub(crate) chunk_bytes: usize,
    /// Number of former chunks kept for reuse once no slice refers to them.
    pub(crate) retired: usize,
}

impl Inbox {
    /// An empty inbox. It allocates memory when it is first read into.
    pub(crate) fn new(limits: InboxLimits) -> Self {
        Self {
            held: Filled::default(),
            room: ReadBuffer::default(),
            current: 0,
            retired: VecDeque::new(),
            chunk: CHUNK_BYTES_MIN,
            limits,
        }
    }

    /// The bytes received and not yet taken.
    pub(crate) fn held(&self) -> &[u8] {
        &self.held
    }

    /// Bytes of memory that are there because of it: its chunk, chunks kept for reuse, and those that only
    /// slices keep alive. A chunk that slices have let go is counted until [`Inbox::purge`].
    pub(crate) fn capacity(&self) -> usize {
        self.current + self.retired.iter().map(Former::bytes).sum::<usize>()
    }

    /// Frees the former chunks that no slice refers to, except the latest ones, which are kept for reuse.
    pub(crate) fn purge(&mut self) {
        self.keep(self.limits.retired);
    }

    /// Lends room to read into, large enough for the held bytes to grow to `wanted` bytes in one piece; 0 if
    /// it is not known how many bytes the request has. The caller gives it back with [`Inbox::put`]; a caller
    /// that does not loses only the memory. Unless it `may_grow`, a new chunk is no larger than it must be.
    pub(crate) fn lend(&mut self, wanted: usize, may_grow: bool) -> ReadBuffer {
        let chunk = if may_grow { self.chunk } else { CHUNK_BYTES_MIN };
        if !self.has_room(wanted, chunk) {
            self.renew(self.size_for(wanted, chunk));
        }
        assert!(!self.room.is_empty(), "there is room to read into");
        core::mem::take(&mut self.room)
    }

    /// Bytes of memory that the next [`Inbox::lend`] of so many bytes will allocate.
    pub(crate) fn wanted(&self, wanted: usize, may_grow: bool) -> usize {
        let chunk = if may_grow { self.chunk } else { CHUNK_BYTES_MIN };
        if self.has_room(wanted, chunk) {
            return 0;
        }
        let size = self.size_for(wanted, chunk);
        let mut free = self.retired.iter().map(Former::sole_bytes).chain([self.room.sole_bytes()]);
        if free.any(|bytes| bytes.is_some_and(|bytes| bytes >= size)) { 0 } else { size }
    }

    /// Takes back room whose first `count` bytes were filled by a read.
    ///
    /// # Panics
    /// When the room is shorter than that, or is not the one that was lent last.
    pub(crate) fn put(&mut self, mut room: ReadBuffer, count: usize) {
        if count == room.len() {
            self.chunk = (2 * self.chunk).min(self.limits.chunk_bytes);
        }
        self.held.join(room.fill(count)).expect("the room that was lent last lies behind what is held");
        self.room = room;
    }

    /// Takes bytes that were received elsewhere, at the cost of a copy.
    pub(crate) fn copy(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let mut room = self.lend(0, true);
            let (now, later) = bytes.split_at(bytes.len().min(room.len()));
            room[..now.len()].copy_from_slice(now);
            self.put(room, now.len());
            bytes = later;
        }
    }

    /// Takes the first `count` held bytes: shared if they are many, else copied.
    pub(crate) fn take(&mut self, count: usize) -> Shared {
        if count < SHARE_BYTES_MIN {
            let bytes = self.held[..count].to_vec();
            self.skip(count);
            return Shared::new(bytes);
        }
        Bytes::from(self.split_held(count)).into()
    }

    /// Drops the first `count` held bytes.
    pub(crate) fn skip(&mut self, count: usize) {
        drop(self.split_held(count));
    }

    /// Drops everything and frees the memory, except what slices refer to.
    pub(crate) fn clear(&mut self) {
        self.held = Filled::default();
        self.shrink();
        self.current = 0; // room that is lent will not come back
    }

    /// Frees the memory if nothing is held, except what is lent and what slices refer to. The next chunk is as
    /// small as the first one.
    pub(crate) fn shrink(&mut self) {
        if !self.held.is_empty() {
            return;
        }
        if self.room.has_block() {
            self.retired.extend(core::mem::take(&mut self.room).retire());
            self.current = 0;
        }
        self.keep(0);
        self.retired.shrink_to_fit();
        self.chunk = CHUNK_BYTES_MIN;
    }

    fn split_held(&mut self, count: usize) -> Filled {
        let front = self.held.split_to(count);
        if self.held.is_empty() {
            self.held = Filled::default(); // the empty slice would keep the chunk alive
        }
        front
    }

    /// Whether the room in hand does for a request of `wanted` bytes.
    fn has_room(&self, wanted: usize, chunk: usize) -> bool {
        let (held, room) = (self.held.len(), self.room.len());
        let is_roomy = room >= chunk / ROOM_SHARE;
        // A long request is not moved just before its end.
        let is_near_its_end = wanted > held && held >= chunk;
        room > 0 && held + room >= wanted && (is_roomy || is_near_its_end)
    }

    /// The size of a new chunk for a request of `wanted` bytes.
    fn size_for(&self, wanted: usize, chunk: usize) -> usize {
        // A request that arrives in many pieces of unknown length is moved only a few times.
        let size = chunk.max(2 * self.held.len());
        if wanted > self.held.len() { size.max(wanted + BEHIND_BYTES) } else { size }
    }

    fn renew(&mut self, size: usize) {
        self.retired.extend(core::mem::take(&mut self.room).retire());
        // One that is far too long was for a longer request: whoever sends short ones now gives it back.
        let is_of_use = |bytes: usize| bytes <= TOO_LONG * size;
        self.retired.retain(|former| former.sole_bytes().is_none_or(is_of_use));
        // The latest first: it is still in the processor's caches.
        let again = (0..self.retired.len())
            .rev()
            .find_map(|at| self.retired[at].reclaim(size).map(|room| (at, room)))
            .map(|(at, room)| {
                self.retired.remove(at);
                room
            });
        let mut fresh = again.unwrap_or_else(|| ReadBuffer::new(size));
        self.current = fresh.len();
        fresh[..self.held.len()].copy_from_slice(&self.held);
        let held = fresh.fill(self.held.len());
        self.held = if held.is_empty() { Filled::default() } else { held };
        self.room = fresh;
        self.purge();
    }

    /// Keeps `count` of the former chunks that no slice refers to, the latest ones.
    fn keep(&mut self, count: usize) {
        let free = self.retired.iter().filter(|former| former.sole_bytes().is_some()).count();
        let mut surplus = free.saturating_sub(count);
        if surplus > 0 {
            self.retired.retain(|former| {
                let is_dropped = surplus > 0 && former.sole_bytes().is_some();
                surplus -= usize::from(is_dropped);
                !is_dropped
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAX: InboxLimits = InboxLimits { chunk_bytes: 64 << 10, retired: 2 };

    #[test]
    fn whoever_sends_short_requests_again_gives_the_memory_of_long_ones_back() {
        let mut inbox = Inbox::new(MAX);
        for _ in 0..3 {
            let room = inbox.lend(1 << 20, true);
            let count = room.len();
            inbox.put(room, count);
            drop(inbox.take(count));
        }
        assert!(inbox.capacity() >= 1 << 20);
        inbox.copy(&[b'x'; 100]);
        inbox.skip(100);
        assert!(inbox.capacity() < 1 << 20, "{}", inbox.capacity());
    }

    #[test]
    fn a_chunk_is_used_again_once_no_slice_of_it_is_held() {
        let mut inbox = Inbox::new(MAX);
        let room = inbox.lend(0, true);
        let at = room.as_ptr() as usize;
        let count = room.len() - 1;
        inbox.put(room, count);
        let slice = inbox.take(count);
        let other = inbox.lend(0, true);
        assert_ne!(other.as_ptr() as usize, at, "the slice is still there");
        inbox.put(other, 0);
        drop(slice);
        let mut inbox = Inbox::new(MAX);
        let room = inbox.lend(0, true);
        let at = room.as_ptr() as usize;
        let count = room.len() - 1;
        inbox.put(room, count);
        drop(inbox.take(count));
        assert_eq!(inbox.lend(0, true).as_ptr() as usize, at);
    }

    #[test]
    fn a_request_of_known_length_lies_in_one_piece() {
        let mut inbox = Inbox::new(MAX);
        inbox.copy(&[7; 100]);
        let room = inbox.lend(1 << 20, true);
        assert!(room.len() >= (1 << 20) - 100);
        inbox.put(room, 5);
        assert_eq!(inbox.held().len(), 105);
        assert_eq!(inbox.held()[..100], [7; 100]);
    }

    #[test]
    fn chunks_are_counted_while_slices_refer_to_them_and_then_dropped() {
        let mut inbox = Inbox::new(MAX);
        let mut slices = Vec::new();
        for _ in 0..10 {
            inbox.copy(&[7; 60_000]);
            slices.push(inbox.take(60_000));
        }
        inbox.purge();
        assert!(inbox.capacity() >= 600_000, "{}", inbox.capacity());
        drop(slices);
        inbox.purge();
        assert!(inbox.capacity() <= 3 * (128 << 10), "{}", inbox.capacity());
        inbox.copy(&[7]);
        inbox.shrink();
        assert!(inbox.capacity() > 0, "a byte is held");
        inbox.skip(1);
        inbox.shrink();
        assert_eq!(inbox.capacity(), 0);
        assert_eq!(inbox.lend(0, true).len(), CHUNK_BYTES_MIN);
    }

    #[test]
    fn what_is_lent_is_counted_once_and_is_not_freed() {
        let mut inbox = Inbox::new(MAX);
        let mut room = inbox.lend(0, true);
        inbox.shrink();
        assert_eq!(inbox.capacity(), CHUNK_BYTES_MIN);
        room.iter_mut().for_each(|byte| *byte = 7);
        inbox.put(room, CHUNK_BYTES_MIN);
        assert_eq!(inbox.capacity(), CHUNK_BYTES_MIN);
        let all = inbox.take(CHUNK_BYTES_MIN);
        assert_eq!(inbox.wanted(0, true), 2 * CHUNK_BYTES_MIN);
        drop(all);
        assert_eq!(inbox.wanted(0, true), 2 * CHUNK_BYTES_MIN, "the free chunk is too small");
        let room = inbox.lend(0, false);
        assert_eq!((room.len(), inbox.capacity()), (CHUNK_BYTES_MIN, CHUNK_BYTES_MIN), "it is used again");
    }

    proptest! {
        /// Compared with a plain list of bytes; slices taken earlier never change.
        #[test]
        fn bytes_come_out_as_they_went_in(
            steps in proptest::collection::vec((0_u8..4, 0_usize..40_000), 1..60),
        ) {
            let (mut inbox, mut model, mut next) = (Inbox::new(MAX), Vec::new(), 0_u8);
            let mut slices: Vec<(Shared, Vec<u8>)> = Vec::new();
            for (kind, amount) in steps {
                let mut fill = |bytes: &mut [u8]| {
                    for byte in bytes {
                        next = next.wrapping_add(1);
                        *byte = next;
                    }
                };
                match kind {
                    0 => {
                        let mut bytes = vec![0; amount];
                        fill(&mut bytes);
                        inbox.copy(&bytes);
                        model.extend_from_slice(&bytes);
                    }
                    1 => {
                        let may_grow = amount % 2 == 0;
                        inbox.purge();
                        let (wanted, before) = (inbox.wanted(amount, may_grow), inbox.capacity());
                        let mut room = inbox.lend(amount, may_grow);
                        prop_assert!(inbox.capacity() <= before + wanted);
                        prop_assert!(room.len() + inbox.held().len() >= amount);
                        let count = amount.min(room.len());
                        fill(&mut room[..count]);
                        model.extend_from_slice(&room[..count]);
                        inbox.put(room, count);
                    }
                    2 => {
                        let count = amount.min(model.len());
                        let bytes = model.drain(..count).collect();
                        slices.push((inbox.take(count), bytes));
                    }
                    _ => {
                        let count = amount.min(model.len());
                        model.drain(..count);
                        inbox.skip(count);
                    }
                }
                prop_assert_eq!(inbox.held(), &model[..]);
                let shared: usize = slices.iter().map(|(slice, _)| slice.as_ref().len()).sum();
                let short = slices.len() * SHARE_BYTES_MIN;
                prop_assert!(inbox.capacity() + short >= shared + inbox.held().len());
                for (slice, bytes) in &slices {
                    prop_assert_eq!(slice.as_ref(), &bytes[..]);
                }
            }
        }
    }
}
