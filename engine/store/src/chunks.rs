//! A growing array in fixed chunks. Growth never moves elements, so the ten-millionth key costs no pause, and
//! memory never doubles. Elements are addressed by u32 and stay in place; a caller that frees them keeps its
//! own free list.

use crate::list::NIL;
use alloc::vec::Vec;
use core::ops::{Index, IndexMut};

const CHUNK_BITS: u32 = 9;
const CHUNK_COUNT: usize = 1 << CHUNK_BITS;

#[derive(Debug)]
pub(crate) struct Chunks<T> {
    chunks: Vec<Vec<T>>,
    count: u32,
}

impl<T> Chunks<T> {
    pub(crate) const fn new() -> Self {
        Self { chunks: Vec::new(), count: 0 }
    }

    pub(crate) fn push(&mut self, element: T) -> u32 {
        let at = self.count;
        assert!(at < NIL, "more than 2^32 - 1 elements");
        if (at as usize).is_multiple_of(CHUNK_COUNT) {
            self.chunks.push(Vec::with_capacity(CHUNK_COUNT));
        }
        self.chunks[(at >> CHUNK_BITS) as usize].push(element);
        self.count += 1;
        debug_assert!(self.chunks.len() == (self.count as usize).div_ceil(CHUNK_COUNT), "a chunk too many");
        at
    }

    /// Takes the last chunk out, with the number of its first element.
    pub(crate) fn pop_chunk(&mut self) -> Option<(u32, Vec<T>)> {
        let chunk = self.chunks.pop()?;
        assert!(!chunk.is_empty() && chunk.len() <= CHUNK_COUNT, "a chunk is made for an element");
        self.count = (self.chunks.len() << CHUNK_BITS) as u32; // not above the count before
        Some((self.count, chunk))
    }

    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        (0..self.count).zip(self.chunks.iter().flatten())
    }
}

impl<T> Index<u32> for Chunks<T> {
    type Output = T;
    fn index(&self, at: u32) -> &T {
        debug_assert!(at < self.count, "no such element");
        &self.chunks[(at >> CHUNK_BITS) as usize][at as usize % CHUNK_COUNT]
    }
}

impl<T> IndexMut<u32> for Chunks<T> {
    fn index_mut(&mut self, at: u32) -> &mut T {
        debug_assert!(at < self.count, "no such element");
        &mut self.chunks[(at >> CHUNK_BITS) as usize][at as usize % CHUNK_COUNT]
    }
}
