//! The buffer that a socket is read into. Requests and frames are taken out of it without a copy.
//!
//! ```text
//!   ├── taken: slices, shared ──┤── held: received, not taken ──┤── room: to read into ──┤   one chunk
//! ```
//! A chunk with too little room left is replaced: the held bytes move to the new chunk, and slices keep the
//! old one alive. The old chunk is reused once no slice refers to it. Chunks grow while reads fill their
//! room, so a quiet connection costs little.

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

/// Bytes received and the room for more.
#[derive(Debug)]
pub(crate) struct Inbox {
    held: Filled,
    /// Directly behind `held` in memory, unless nothing is held.
    room: ReadBuffer,
    /// Former chunks, the oldest first.
    retired: VecDeque<Former>,
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
            retired: VecDeque::new(),
            chunk: CHUNK_BYTES_MIN,
            limits,
        }
    }

    /// The bytes received and not yet taken.
    pub(crate) fn held(&self) -> &[u8] {
        &self.held
    }

    /// Bytes of memory under its control. Chunks kept alive only by slices are not counted.
    pub(crate) fn capacity(&self) -> usize {
        self.held.len() + self.room.len()
    }

    /// Lends room to read into, large enough for the held bytes to grow to `wanted` bytes in one piece. The
    /// caller gives it back with [`Inbox::put`]; a caller that does not loses only the memory.
    pub(crate) fn lend(&mut self, wanted: usize) -> ReadBuffer {
        let wanted = wanted.max(self.held.len());
        if self.room.len() < self.chunk / ROOM_SHARE || self.held.len() + self.room.len() < wanted {
            self.renew(wanted);
        }
        core::mem::take(&mut self.room)
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
            let mut room = self.lend(0);
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
        Bytes::from(self.held.split_to(count)).into()
    }

    /// Drops the first `count` held bytes.
    pub(crate) fn skip(&mut self, count: usize) {
        drop(self.held.split_to(count));
    }

    /// Drops everything and frees the memory.
    pub(crate) fn clear(&mut self) {
        *self = Self::new(self.limits);
    }

    fn renew(&mut self, wanted: usize) {
        // Sized so that a request that arrives in many pieces is moved only a few times.
        let size = self.chunk.max(wanted + wanted / 2).max(2 * self.held.len());
        if self.held.is_empty() {
            self.held = Filled::default(); // the empty slice may still keep the chunk alive
        }
        self.retired.extend(core::mem::take(&mut self.room).retire());
        // The latest first: it is still in the processor's caches.
        let again = (0..self.retired.len())
            .rev()
            .find_map(|at| self.retired[at].reclaim(size).map(|room| (at, room)))
            .map(|(at, room)| {
                self.retired.remove(at);
                room
            });
        if self.retired.len() > self.limits.retired {
            self.retired.pop_front();
        }
        let mut fresh = again.unwrap_or_else(|| ReadBuffer::new(size));
        fresh[..self.held.len()].copy_from_slice(&self.held);
        self.held = fresh.fill(self.held.len());
        self.room = fresh;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAX: InboxLimits = InboxLimits { chunk_bytes: 64 << 10, retired: 2 };

    #[test]
    fn a_chunk_is_used_again_once_no_slice_of_it_is_held() {
        let mut inbox = Inbox::new(MAX);
        let room = inbox.lend(0);
        let at = room.as_ptr() as usize;
        let count = room.len() - 1;
        inbox.put(room, count);
        let slice = inbox.take(count);
        let other = inbox.lend(0);
        assert_ne!(other.as_ptr() as usize, at, "the slice is still there");
        inbox.put(other, 0);
        drop(slice);
        let mut inbox = Inbox::new(MAX);
        let room = inbox.lend(0);
        let at = room.as_ptr() as usize;
        let count = room.len() - 1;
        inbox.put(room, count);
        drop(inbox.take(count));
        assert_eq!(inbox.lend(0).as_ptr() as usize, at);
    }

    #[test]
    fn a_request_of_known_length_lies_in_one_piece() {
        let mut inbox = Inbox::new(MAX);
        inbox.copy(&[7; 100]);
        let room = inbox.lend(1 << 20);
        assert!(room.len() >= (1 << 20) - 100);
        inbox.put(room, 5);
        assert_eq!(inbox.held().len(), 105);
        assert_eq!(inbox.held()[..100], [7; 100]);
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
                        let mut room = inbox.lend(amount);
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
                for (slice, bytes) in &slices {
                    prop_assert_eq!(slice.as_ref(), &bytes[..]);
                }
            }
        }
    }
}
