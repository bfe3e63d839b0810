//! Bytes of clients' commands that are under way on one core. While there are too many, the next command of a
//! connection waits, and the connection is not read from: a big pipeline is slow, not refused (P-14b).
//!
//! Short commands have a share of their own, so that they do not stand in line behind megabytes.

use std::collections::VecDeque;
use synod_shard::FREE_REPLY_BYTES;
use synod_types::{Command, Shared};

/// Memory that a command takes beside its bytes, rounded up.
const COMMAND_OVERHEAD_BYTES: usize = 256;
/// The longest command that counts as short.
pub(super) const SHORT_BYTES_MAX: usize = 64 << 10;
/// The part of the room that is for short commands: an eighth.
const SHORT_PART: usize = 8;

/// The bytes that a command counts for.
pub(super) fn weight(command: &Command<Shared>) -> usize {
    // Below two values of the greatest length; the entry of a queue, and a short answer, count too.
    let bytes = command.byte_len() + COMMAND_OVERHEAD_BYTES;
    if command.op.is_write() { bytes } else { bytes + FREE_REPLY_BYTES }
}

/// The commands under way, in bytes, and who waits to begin another one.
#[derive(Debug)]
pub(super) struct CommandRoom {
    short: Share,
    long: Share,
}

/// The room of the short commands, or of the long ones.
#[derive(Debug)]
struct Share {
    bytes_max: usize,
    bytes: usize,
    /// Connections that wait for room, and the bytes of their next command, in order.
    parked: VecDeque<(u64, usize)>,
}

impl Default for CommandRoom {
    fn default() -> Self {
        Self::new(usize::MAX)
    }
}

impl CommandRoom {
    /// Room for so many bytes.
    pub fn new(bytes_max: usize) -> Self {
        let short = bytes_max / SHORT_PART;
        Self { short: Share::new(short), long: Share::new(bytes_max - short) }
    }

    fn share(&mut self, bytes: usize) -> &mut Share {
        if bytes <= SHORT_BYTES_MAX { &mut self.short } else { &mut self.long }
    }

    /// Bytes under way.
    pub fn bytes(&self) -> usize {
        self.short.bytes + self.long.bytes
    }

    /// Whether a command of so many bytes may begin. Nobody overtakes those that wait; `is_woken` says that
    /// its turn has come.
    pub fn may_begin(&mut self, bytes: usize, is_woken: bool) -> bool {
        let share = self.share(bytes);
        share.has_room() && (is_woken || share.parked.is_empty())
    }

    /// A command is under way.
    pub fn begin(&mut self, bytes: usize) {
        self.share(bytes).bytes += bytes;
    }

    /// A command of so many bytes is answered.
    pub fn end(&mut self, bytes: usize) {
        let share = self.share(bytes);
        assert!(bytes <= share.bytes, "commands under way are miscounted");
        share.bytes -= bytes;
    }

    /// A connection waits for room for its next command. One whose turn had come keeps it.
    pub fn park(&mut self, connection: u64, bytes: usize, is_woken: bool) {
        let parked = &mut self.share(bytes).parked;
        if is_woken { parked.push_front((connection, bytes)) } else { parked.push_back((connection, bytes)) }
    }

    /// The next connection that may go on, if one may beside those that were let go on with `granted` bytes of
    /// short and of long commands since; that grows by what it begins.
    pub fn next_parked(&mut self, granted: &mut [usize; 2]) -> Option<u64> {
        let [short, long] = granted;
        self.short.next_parked(short).or_else(|| self.long.next_parked(long))
    }
}

impl Share {
    fn new(bytes_max: usize) -> Self {
        Self { bytes_max, bytes: 0, parked: VecDeque::new() }
    }

    fn has_room(&self) -> bool {
        self.bytes < self.bytes_max
    }

    fn next_parked(&mut self, granted: &mut usize) -> Option<u64> {
        if self.bytes.saturating_add(*granted) >= self.bytes_max {
            return None;
        }
        let (connection, bytes) = self.parked.pop_front()?;
        *granted += bytes;
        Some(connection)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: usize = 1 << 20;

    #[test]
    fn short_commands_do_not_wait_for_long_ones() {
        let mut room = CommandRoom::new(8 * LONG);
        (0..7).for_each(|_| room.begin(LONG));
        assert!(!room.may_begin(LONG, false) && room.may_begin(SHORT_BYTES_MAX, false));
        room.park(1, LONG, false);
        (0..16).for_each(|_| room.begin(SHORT_BYTES_MAX));
        assert!(!room.may_begin(1, false));
        room.park(2, 100, false);
        let mut granted = [0; 2];
        assert_eq!(room.next_parked(&mut granted), None);
        room.end(SHORT_BYTES_MAX);
        assert_eq!(room.next_parked(&mut granted), Some(2));
        room.end(LONG);
        assert_eq!(room.next_parked(&mut granted), Some(1));
        assert_eq!(room.next_parked(&mut granted), None);
    }

    #[test]
    fn nobody_overtakes_those_that_wait_and_no_more_go_on_than_there_is_room_for() {
        let mut room = CommandRoom::new(4 * LONG);
        room.begin(4 * LONG);
        (1..=3).for_each(|connection| room.park(connection, 2 * LONG, false));
        room.end(3 * LONG + LONG / 2 + 1);
        assert!(!room.may_begin(LONG, false), "others wait");
        assert!(room.may_begin(LONG, true));
        let mut granted = [0; 2];
        assert_eq!(room.next_parked(&mut granted), Some(1));
        assert_eq!(room.next_parked(&mut granted), Some(2), "a part of it fits");
        assert_eq!(room.next_parked(&mut granted), None);
    }
}
