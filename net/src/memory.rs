//! Memory that is filled from the front while its filled part is already being read. Tokens stand for the two
//! parts: room to write and filled bytes to read.
//!
//! ```text
//!   ├── Filled, shared, never written again ──┤── ReadBuffer: one owner, may be written ──┤   one block
//! ```
//! A [`ReadBuffer`] is the only right to write to its range. A [`Filled`] is a shared right to read its range.
//! The ranges of the two never overlap. A block becomes room again only as a whole, when a single reference to
//! it is left ([`Former::reclaim`]).
//!
//! `bytes::BytesMut` does the same, with one difference: here a block is cleared once, when it is made, and
//! not each time it is reused, because its old contents are initialised memory.
#![allow(unsafe_code)]

use bytes::Bytes;
use core::ops::{Deref, DerefMut, Range};
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;
use std::sync::Arc;

/// The bytes of a block that has this reference only.
fn sole_bytes(block: Option<&Arc<Block>>) -> Option<usize> {
    block.filter(|block| Arc::strong_count(block) == 1).map(|block| block.len)
}

/// An allocation of initialised bytes. The tokens decide which of them may be read or written.
#[derive(Debug)]
struct Block {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: a block is plain memory without ties to a thread, freed when the last reference is dropped. Two
// threads reach the same byte only through two `Filled`, which only read. Earlier writes were made by the
// `ReadBuffer` that the `Filled` was split from, and a `ReadBuffer` made by `reclaim` comes after the last
// `Filled` was dropped (`Arc::get_mut` acquires). WHY: `Bytes` wants an owner that is `Send`.
unsafe impl Send for Block {}
// SAFETY: as above; a shared block gives access to nothing.
unsafe impl Sync for Block {}

impl Block {
    /// Allocates cleared memory.
    ///
    /// # Panics
    /// When `len` is 0 or no memory can be that long.
    fn new(len: usize) -> Self {
        let layout = Self::layout(len);
        assert!(len > 0, "a block of no bytes");
        // SAFETY: the layout has a size that is not 0.
        // WHY: `vec![0; len]` could not be written while a part of it is lent for reading (see the module).
        let start = unsafe { alloc_zeroed(layout) };
        let Some(start) = NonNull::new(start) else { handle_alloc_error(layout) };
        Self { start, len }
    }

    fn layout(len: usize) -> Layout {
        Layout::array::<u8>(len).expect("a length that memory can have")
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: allocated by `new` with this layout, and dropped once.
        // WHY: as in `new`.
        unsafe { dealloc(self.start.as_ptr(), Self::layout(self.len)) }
    }
}

/// The right to write to the last part of a block. A socket is read into it, and filled bytes are split off
/// its front.
#[derive(Debug, Default)]
pub struct ReadBuffer {
    /// None for no room at all.
    block: Option<Arc<Block>>,
    range: Range<usize>,
}

impl ReadBuffer {
    /// All of a new block.
    ///
    /// # Panics
    /// When `len` is 0.
    pub(crate) fn new(len: usize) -> Self {
        Self { block: Some(Arc::new(Block::new(len))), range: 0..len }
    }

    /// Splits off the first `count` bytes as filled; they are not written again.
    ///
    /// # Panics
    /// When there are not that many.
    pub(crate) fn fill(&mut self, count: usize) -> Filled {
        assert!(count <= self.len(), "more was filled than there was room");
        let end = self.range.start + count;
        let filled = Filled { block: self.block.clone(), range: self.range.start..end };
        self.range.start = end;
        filled
    }

    /// Whether it is room of some block, even if none of it is left.
    pub(crate) fn has_block(&self) -> bool {
        self.block.is_some()
    }

    /// The bytes of its whole block, if nothing else refers to the block.
    pub(crate) fn sole_bytes(&self) -> Option<usize> {
        sole_bytes(self.block.as_ref())
    }

    /// Gives the room up. Its block, if it has one, may become room again.
    pub(crate) fn retire(self) -> Option<Former> {
        self.block.map(|block| Former(Some(block)))
    }
}

impl Deref for ReadBuffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        let Some(block) = &self.block else { return &[] };
        // SAFETY: the range lies inside the block, whose bytes are all initialised. Only this token reaches
        // it, and the token is borrowed for as long as the slice lives. WHY: see the module.
        unsafe { core::slice::from_raw_parts(block.start.as_ptr().add(self.range.start), self.range.len()) }
    }
}

impl DerefMut for ReadBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        let Some(block) = &self.block else { return &mut [] };
        // SAFETY: as in `deref`, and the token is borrowed exclusively.
        // WHY: see the module.
        unsafe {
            core::slice::from_raw_parts_mut(block.start.as_ptr().add(self.range.start), self.range.len())
        }
    }
}

/// The right to read a part of a block that is no longer written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filled {
    /// None for no bytes at all.
    block: Option<Arc<Block>>,
    range: Range<usize>,
}

impl Filled {
    /// Takes the first `count` bytes off.
    ///
    /// # Panics
    /// When there are not that many.
    pub(crate) fn split_to(&mut self, count: usize) -> Self {
        assert!(count <= self.len(), "more was taken than there is");
        let end = self.range.start + count;
        let front = Self { block: self.block.clone(), range: self.range.start..end };
        self.range.start = end;
        front
    }

    /// Appends `next`, if it lies directly behind this part in memory.
    ///
    /// # Errors
    /// `next`, if it does not lie there.
    pub(crate) fn join(&mut self, next: Self) -> Result<(), Self> {
        if next.is_empty() {
            return Ok(());
        }
        if self.is_empty() {
            *self = next;
            return Ok(());
        }
        let same = match (&self.block, &next.block) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        };
        if !same || self.range.end != next.range.start {
            return Err(next);
        }
        self.range.end = next.range.end;
        Ok(())
    }
}

impl Deref for Filled {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        let Some(block) = &self.block else { return &[] };
        // SAFETY: the range lies inside the block, whose bytes are all initialised. It was split from a
        // `ReadBuffer`, which no longer has a right to it; a new `ReadBuffer` comes only from `reclaim`, which
        // needs this token to be gone. WHY: see the module.
        unsafe { core::slice::from_raw_parts(block.start.as_ptr().add(self.range.start), self.range.len()) }
    }
}

impl AsRef<[u8]> for Filled {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl From<Filled> for Bytes {
    fn from(filled: Filled) -> Self {
        Self::from_owner(filled)
    }
}

/// A block without any room; parts of it may still be read. None once it was reclaimed.
#[derive(Debug)]
pub(crate) struct Former(Option<Arc<Block>>);

impl Former {
    /// Bytes of the block.
    pub(crate) fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |block| block.len)
    }

    /// Bytes of the block, if parts of it are no longer read.
    pub(crate) fn sole_bytes(&self) -> Option<usize> {
        sole_bytes(self.0.as_ref())
    }

    /// All of the block as room again, if this is the only reference to it and it has at least `len` bytes.
    pub(crate) fn reclaim(&mut self, len: usize) -> Option<ReadBuffer> {
        let block = self.0.as_mut()?;
        if block.len < len || Arc::get_mut(block).is_none() {
            return None;
        }
        let range = 0..block.len;
        Some(ReadBuffer { block: self.0.take(), range })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filled_parts_stay_as_they_are_while_the_room_behind_them_is_written() {
        let mut room = ReadBuffer::new(16);
        room.copy_from_slice(&[1; 16]);
        let mut one = room.fill(4);
        room.fill_with_byte(2);
        let two = room.fill(4);
        room.fill_with_byte(3);
        assert_eq!((&one[..], &two[..], &room[..]), (&[1; 4][..], &[2; 4][..], &[3; 8][..]));
        one.join(two).expect("neighbours");
        assert_eq!(one[..], [1, 1, 1, 1, 2, 2, 2, 2]);
        let front = Bytes::from(one.split_to(3));
        drop(one);
        room.fill_with_byte(4);
        assert_eq!(front[..], [1; 3]);
    }

    #[test]
    fn only_neighbours_are_joined() {
        let (mut room, mut other) = (ReadBuffer::new(8), ReadBuffer::new(8));
        let mut one = room.fill(2);
        drop(room.fill(1));
        let two = room.fill(2);
        assert_eq!(one.join(two).expect_err("a gap between them").len(), 2);
        assert_eq!(one.join(other.fill(2)).expect_err("another block").len(), 2);
        let mut none = Filled::default();
        none.join(one).expect("nothing before it");
        assert_eq!(none.len(), 2);
    }

    #[test]
    fn a_block_is_room_again_only_when_it_is_no_longer_read() {
        let mut room = ReadBuffer::new(8);
        let filled = room.fill(8);
        let bytes = Bytes::from(filled.clone());
        let mut former = room.retire().expect("a block");
        assert!(former.reclaim(8).is_none(), "two readers");
        drop(filled);
        assert!(former.reclaim(8).is_none(), "one reader");
        assert_eq!((former.bytes(), former.sole_bytes()), (8, None));
        drop(bytes);
        assert_eq!(former.sole_bytes(), Some(8));
        assert!(former.reclaim(9).is_none(), "too short");
        assert_eq!(former.reclaim(1).map(|room| room.len()), Some(8));
        assert!(former.reclaim(1).is_none(), "there is one room only");
    }

    #[test]
    #[should_panic(expected = "more was filled than there was room")]
    fn no_more_is_filled_than_there_is_room() {
        drop(ReadBuffer::new(8).fill(9));
    }

    impl ReadBuffer {
        fn fill_with_byte(&mut self, byte: u8) {
            self.iter_mut().for_each(|at| *at = byte);
        }
    }
}
