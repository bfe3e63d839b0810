//! Bytes of clients' commands that are under way on one core. While there are too many, no connection is asked
//! for another command and none that waits is read from: a big pipeline is slow, not refused (P-14b).

use std::collections::VecDeque;

/// Room for a command of any size.
pub(super) const COMMAND_BYTES_LARGE: usize = 2 << 20;

/// The commands under way, in bytes, and who waits to begin another one.
#[derive(Debug)]
pub(super) struct CommandRoom {
    bytes_max: usize,
    bytes: usize,
    /// Connections that wait for room, in order.
    parked: VecDeque<u64>,
}

impl Default for CommandRoom {
    fn default() -> Self {
        Self::new(usize::MAX)
    }
}

impl CommandRoom {
    /// Room for so many bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, bytes: 0, parked: VecDeque::new() }
    }

    /// Bytes under way.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn is_full(&self) -> bool {
        self.bytes >= self.bytes_max
    }

    /// A command is under way.
    pub fn begin(&mut self, bytes: usize) {
        self.bytes += bytes;
    }

    /// A command of so many bytes is answered.
    pub fn end(&mut self, bytes: usize) {
        assert!(bytes <= self.bytes, "commands under way are miscounted");
        self.bytes -= bytes;
    }

    /// A connection waits for room.
    pub fn park(&mut self, connection: u64) {
        self.parked.push_back(connection);
    }

    /// The connections that may go on: about as many as there is room for, so that none of them finds it taken.
    pub fn next_parked(&mut self) -> impl Iterator<Item = u64> {
        let room = self.bytes_max.saturating_sub(self.bytes);
        let count = (room / COMMAND_BYTES_LARGE).min(self.parked.len());
        self.parked.drain(..count)
    }
}
