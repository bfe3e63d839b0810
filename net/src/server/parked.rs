//! What waits in the slots of replies, and how much of a long reply is written ahead.

use std::ops::{AddAssign, SubAssign};

/// No further piece of a long reply is written while the output holds this many bytes or more.
pub(super) const PIECES_BYTES: usize = 256 << 10;

/// What waits in slots.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct ParkedBytes {
    /// Bytes to be written.
    pub(super) bytes: usize,
    /// The memory that they take.
    pub(super) memory: usize,
}

impl ParkedBytes {
    /// A buffer that waits.
    pub(super) fn of(buffer: &Vec<u8>) -> Self {
        Self { bytes: buffer.len(), memory: buffer.capacity() }
    }
}

impl AddAssign for ParkedBytes {
    fn add_assign(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.memory += other.memory;
    }
}

impl SubAssign for ParkedBytes {
    fn sub_assign(&mut self, other: Self) {
        assert!(self.bytes >= other.bytes && self.memory >= other.memory, "parked bytes are miscounted");
        self.bytes -= other.bytes;
        self.memory -= other.memory;
    }
}
