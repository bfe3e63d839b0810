//! Storage of key bytes: cells of 8, 16, … 256 bytes in chunks; each longer key has its own box.
//!
//! A boxed key costs 16 bytes of pointer and about as much again in the allocator; a cell costs only its
//! rounding. Cells are reused; chunks are given back only when a cleared index is freed.

use crate::list::NIL;
use alloc::{boxed::Box, vec, vec::Vec};
use core::fmt;
use synod_types::limits::KEY_BYTES_MAX;

const CELL_STEP: usize = 8;
const CLASS_COUNT: usize = 32;
const CELL_BYTES_MAX: usize = CELL_STEP * CLASS_COUNT;
const CHUNK_BITS: u32 = 9;
const CHUNK_COUNT: u32 = 1 << CHUNK_BITS;
const _: () = assert!(KEY_BYTES_MAX <= u16::MAX as usize);

/// Refers to a stored key: a cell of the class that its length determines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct KeyRef {
    pub(crate) cell: u32,
    pub(crate) len: u16,
}

pub(crate) struct KeyArena {
    classes: [KeyClass; CLASS_COUNT],
    long: Vec<Box<[u8]>>,
    long_free: Vec<u32>,
}

impl KeyArena {
    pub(crate) fn new() -> Self {
        Self {
            classes: core::array::from_fn(|class| KeyClass::new((class + 1) * CELL_STEP)),
            long: Vec::new(),
            long_free: Vec::new(),
        }
    }

    /// # Panics
    /// When the key is longer than the limit. Requests are checked for that when they are received.
    pub(crate) fn insert(&mut self, key: &[u8]) -> KeyRef {
        assert!(key.len() <= KEY_BYTES_MAX, "key over the limit");
        let len = key.len() as u16; // KEY_BYTES_MAX fits
        let cell = match class_of(key.len()) {
            Some(class) => self.classes[class].insert(key),
            None => match self.long_free.pop() {
                Some(cell) => {
                    self.long[cell as usize] = key.into();
                    cell
                }
                None => {
                    self.long.push(key.into());
                    (self.long.len() - 1) as u32 // fewer than records, which are numbered by u32
                }
            },
        };
        let stored = KeyRef { cell, len };
        debug_assert!(self.get(stored) == key, "a key is not what was stored");
        stored
    }

    pub(crate) fn get(&self, key: KeyRef) -> &[u8] {
        let len = usize::from(key.len);
        match class_of(len) {
            Some(class) => &self.classes[class].cell(key.cell)[..len],
            None => {
                let bytes: &[u8] = &self.long[key.cell as usize];
                debug_assert!(bytes.len() == len, "a long key that was removed, or another one");
                bytes
            }
        }
    }

    /// Frees a piece of the memory, with whatever is in it; false when none is left.
    pub(crate) fn drop_some(&mut self) -> bool {
        if let Some(class) = self.classes.iter_mut().find(|class| !class.chunks.is_empty()) {
            class.chunks.pop();
            return true;
        }
        let left = self.long.len().saturating_sub(CHUNK_COUNT as usize);
        let is_any = !self.long.is_empty();
        self.long.truncate(left);
        is_any
    }

    pub(crate) fn remove(&mut self, key: KeyRef) {
        match class_of(usize::from(key.len)) {
            Some(class) => self.classes[class].remove(key.cell),
            None => {
                let bytes = &self.long[key.cell as usize];
                debug_assert!(bytes.len() == usize::from(key.len), "a long key removed twice");
                self.long[key.cell as usize] = Box::default();
                self.long_free.push(key.cell);
                debug_assert!(self.long_free.len() <= self.long.len(), "more free places than places");
            }
        }
    }
}

impl fmt::Debug for KeyArena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyArena")
    }
}

fn class_of(len: usize) -> Option<usize> {
    (len <= CELL_BYTES_MAX).then(|| len.saturating_sub(1) / CELL_STEP)
}

/// Cells of one size. The first four bytes of a free cell hold the number of the next free one.
struct KeyClass {
    cell_bytes: usize,
    chunks: Vec<Box<[u8]>>,
    used: u32,
    free: u32,
}

impl KeyClass {
    fn new(cell_bytes: usize) -> Self {
        Self { cell_bytes, chunks: Vec::new(), used: 0, free: NIL }
    }

    fn insert(&mut self, key: &[u8]) -> u32 {
        debug_assert!(key.len() <= self.cell_bytes, "a key of another class");
        let cell = if self.free == NIL {
            let cell = self.used;
            assert!(cell < NIL, "more than 2^32 - 1 keys");
            if cell.is_multiple_of(CHUNK_COUNT) {
                self.chunks.push(vec![0; self.cell_bytes << CHUNK_BITS].into_boxed_slice());
            }
            self.used += 1;
            cell
        } else {
            let cell = self.free;
            let bytes = self.cell(cell);
            self.free = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            cell
        };
        debug_assert!(cell < self.used && cell != self.free, "a free cell is not taken off the list");
        self.cell_mut(cell)[..key.len()].copy_from_slice(key);
        cell
    }

    fn remove(&mut self, cell: u32) {
        let next = self.free;
        debug_assert!(cell < self.used && cell != next, "a cell freed twice");
        self.cell_mut(cell)[..4].copy_from_slice(&next.to_le_bytes());
        self.free = cell;
    }

    fn cell(&self, cell: u32) -> &[u8] {
        let at = (cell % CHUNK_COUNT) as usize * self.cell_bytes;
        &self.chunks[(cell >> CHUNK_BITS) as usize][at..at + self.cell_bytes]
    }

    fn cell_mut(&mut self, cell: u32) -> &mut [u8] {
        let at = (cell % CHUNK_COUNT) as usize * self.cell_bytes;
        &mut self.chunks[(cell >> CHUNK_BITS) as usize][at..at + self.cell_bytes]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn keys_keep_their_bytes_whatever_comes_and_goes(
            lens in proptest::collection::vec(
                prop_oneof![4 => 0..20_usize, 1 => 240..280_usize, 1 => Just(KEY_BYTES_MAX)],
                1..80,
            ),
            removals in proptest::collection::vec(any::<proptest::sample::Index>(), 0..80),
        ) {
            let mut keys = KeyArena::new();
            let mut held: Vec<(KeyRef, Vec<u8>)> = Vec::new();
            let mut removals = removals.into_iter();
            for (seed, len) in lens.into_iter().enumerate() {
                let bytes: Vec<u8> = (0..len).map(|at| (at * 31 + seed * 7) as u8).collect();
                held.push((keys.insert(&bytes), bytes));
                if seed % 2 == 1 && let Some(at) = removals.next() {
                    let (key, _) = held.swap_remove(at.index(held.len()));
                    keys.remove(key);
                }
                for (key, bytes) in &held {
                    prop_assert_eq!(keys.get(*key), bytes.as_slice());
                }
            }
        }
    }

    #[test]
    fn freed_cells_are_reused() {
        let mut keys = KeyArena::new();
        let first = keys.insert(b"abc");
        for _ in 0..10_000 {
            keys.remove(first);
            assert_eq!(keys.insert(b"xyz"), first);
        }
        let long = keys.insert(&[1; 300]);
        keys.remove(long);
        assert_eq!(keys.insert(&[2; 400]).cell, long.cell);
    }
}
