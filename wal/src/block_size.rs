//! The capacity of the next block, adapted to the load.
//!
//! A block has room for about twice the bytes that gather while the disk is busy; a much larger buffer would
//! be cold memory every time.

use crate::layout::{PAGE_BYTES, align_page};

/// Capacity of a block while the load is not known yet.
const BLOCK_BYTES_FIRST: u32 = 64 << 10;
/// After this many blocks in a row that fill a quarter of the capacity or less, the next ones are smaller.
const ROOMY_MAX: u32 = 64;

/// The capacity of the blocks of one log.
pub(crate) struct BlockSize {
    bytes: u32,
    max: u32,
    /// How many blocks in a row filled a quarter of the capacity or less.
    roomy: u32,
}

impl BlockSize {
    /// Capacities of at most `max`, a multiple of pages.
    pub(crate) fn new(max: u32) -> Self {
        assert!(max >= PAGE_BYTES && max.is_multiple_of(PAGE_BYTES), "a block is a multiple of pages");
        Self { bytes: BLOCK_BYTES_FIRST.min(max), max, roomy: 0 }
    }

    /// Capacity of the next block.
    pub(crate) fn bytes(&self) -> u32 {
        self.bytes
    }

    /// Adapts the capacity of the next block to the length of this one.
    pub(crate) fn adapt(&mut self, len: u32) {
        if len > self.bytes / 4 * 3 {
            self.bytes = self.bytes.saturating_mul(2).min(self.max);
            self.roomy = 0;
        } else if len > self.bytes / 4 {
            self.roomy = 0;
        } else {
            self.roomy += 1;
            if self.roomy >= ROOMY_MAX {
                let half = align_page(u64::from(self.bytes / 2)) as u32;
                self.bytes = half.max(BLOCK_BYTES_FIRST.min(self.max));
                self.roomy = 0;
            }
        }
        debug_assert!(self.bytes > 0 && self.bytes <= self.max, "a block is longer than it may be");
        debug_assert!(self.bytes.is_multiple_of(PAGE_BYTES), "a block is a multiple of pages");
        debug_assert!(self.roomy < ROOMY_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_blocks_make_larger_ones_and_many_small_ones_make_smaller_ones() {
        let mut size = BlockSize::new(256 << 10);
        assert_eq!(size.bytes(), BLOCK_BYTES_FIRST);
        for _ in 0..5 {
            size.adapt(size.bytes());
        }
        assert_eq!(size.bytes(), 256 << 10, "never above the limit");
        for _ in 0..ROOMY_MAX - 1 {
            size.adapt(PAGE_BYTES);
        }
        assert_eq!(size.bytes(), 256 << 10);
        size.adapt(PAGE_BYTES);
        assert_eq!(size.bytes(), 128 << 10);
        for _ in 0..10 * ROOMY_MAX {
            size.adapt(PAGE_BYTES);
        }
        assert_eq!(size.bytes(), BLOCK_BYTES_FIRST, "never below the first");
    }

    #[test]
    fn a_limit_below_the_first_capacity_holds_from_the_start() {
        let mut size = BlockSize::new(PAGE_BYTES);
        assert_eq!(size.bytes(), PAGE_BYTES);
        size.adapt(PAGE_BYTES);
        assert_eq!(size.bytes(), PAGE_BYTES);
    }
}
