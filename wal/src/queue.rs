//! The closed blocks that are not part of the durable prefix yet, in log order.
//!
//! ```text
//!   front │ in flight, or done behind one that is not │ queued │ back
//!         └────────────── submitted ──────────────────┘
//! ```
//! A submitted block is never rewritten, and a write is never retried. The queue must not know segments, or
//! which writes may start.

use crate::block::{BlockState, ClosedBlock};
use crate::disk::IoId;
use crate::error::LogFailed;
use std::collections::VecDeque;
use std::io;
use synod_types::Location;

/// The blocks of one log on their way to the disk.
pub(crate) struct BlockQueue<B> {
    held: VecDeque<ClosedBlock<B>>,
    /// The first so many were handed to the disk.
    submitted: usize,
    in_flight: usize,
}

impl<B: AsRef<[u8]>> BlockQueue<B> {
    pub(crate) fn new() -> Self {
        Self { held: VecDeque::new(), submitted: 0, in_flight: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }

    /// Blocks that were handed to the disk.
    pub(crate) fn submitted(&self) -> usize {
        self.submitted
    }

    /// Blocks that the disk is writing.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Bytes of records and headers.
    pub(crate) fn used_bytes(&self) -> usize {
        self.held.iter().map(|held| held.header.used as usize).sum()
    }

    /// The oldest block.
    pub(crate) fn front(&self) -> Option<&ClosedBlock<B>> {
        self.held.front()
    }

    /// The first block that the disk does not have yet.
    pub(crate) fn first_queued(&self) -> Option<&ClosedBlock<B>> {
        self.held.get(self.submitted)
    }

    /// Adds a closed block.
    pub(crate) fn push(&mut self, block: ClosedBlock<B>) {
        debug_assert!(block.state == BlockState::Queued, "a closed block is not submitted yet");
        debug_assert!(
            self.held.back().is_none_or(|last| last.header.sequence + 1 == block.header.sequence),
            "blocks are closed in order"
        );
        debug_assert!(self.held.back().is_none_or(|last| last.last <= block.last), "records are numbered on");
        self.held.push_back(block);
    }

    /// Counts the next block as submitted; the caller hands it to the disk.
    pub(crate) fn take_next(&mut self) -> &mut ClosedBlock<B> {
        let Some(block) = self.held.get_mut(self.submitted) else { unreachable!("no block is queued") };
        assert!(block.state == BlockState::Queued, "a submitted block is never written again");
        block.state = BlockState::InFlight;
        self.submitted += 1;
        self.in_flight += 1;
        block
    }

    /// Takes the end of a block's write. A write that failed or was short changes nothing here.
    pub(crate) fn end(&mut self, op: IoId, result: io::Result<usize>) -> Result<(), LogFailed> {
        let first = self.held.front().map_or(u64::MAX, |held| held.header.sequence);
        let index = op.0.checked_sub(first).map_or(usize::MAX, |index| index as usize);
        let Some(block) = self.held.get_mut(index) else {
            unreachable!("the disk completed a write that was not in flight: block {}", op.0)
        };
        debug_assert!(block.header.sequence == op.0, "another block than the one that was written");
        assert!(block.state == BlockState::InFlight, "the disk completed block {} twice", op.0);
        let detail = match result {
            Ok(written) if written == block.header.len as usize => None,
            Ok(written) => Some(format!("short write, {written} of {} bytes", block.header.len)),
            Err(error) => Some(error.to_string()),
        };
        if let Some(detail) = detail {
            let (sequence, segment, offset) = (op.0, block.segment, block.header.offset);
            return Err(LogFailed { sequence, segment, offset, detail });
        }
        block.state = BlockState::Done;
        self.in_flight -= 1;
        Ok(())
    }

    /// The next block of the durable prefix, if it is on disk.
    pub(crate) fn pop_done(&mut self) -> Option<ClosedBlock<B>> {
        let done = self.held.pop_front_if(|held| held.state == BlockState::Done)?;
        debug_assert!(self.submitted > self.in_flight, "a block is done that was not submitted");
        self.submitted -= 1;
        Some(done)
    }

    /// The bytes at `location`, if their block is held.
    pub(crate) fn find(&self, location: Location) -> Option<&[u8]> {
        let wanted = (location.segment, location.offset);
        let after = self.held.partition_point(|held| (held.segment, held.header.offset) <= wanted);
        self.held.get(after.checked_sub(1)?)?.bytes(location)
    }

    /// The invariants between calls.
    pub(crate) fn assert_invariants(&self) {
        assert!(self.submitted <= self.held.len());
        assert!(self.in_flight <= self.submitted);
        debug_assert!(
            self.held
                .iter()
                .enumerate()
                .all(|(index, held)| (index < self.submitted) == (held.state != BlockState::Queued)),
            "the blocks that were submitted come first"
        );
        debug_assert!(
            self.held.iter().filter(|held| held.state == BlockState::InFlight).count() == self.in_flight,
            "every write in flight is counted once"
        );
        debug_assert!(
            self.held.iter().is_sorted_by(|before, next| {
                (before.segment, before.header.offset) < (next.segment, next.header.offset)
            }),
            "blocks lie one after the other"
        );
        debug_assert!(
            self.front().is_none_or(|held| held.state != BlockState::Done),
            "a durable block is held"
        );
    }

    /// Bytes of the buffers that are held.
    pub(crate) fn capacity_bytes(&self) -> usize {
        self.held.iter().map(|held| held.capacity as usize).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::OpenBlock;
    use crate::layout::ChecksumKey;
    use crate::segments::NextPlace;
    use synod_types::{CoreId, Lsn, SegmentId};

    /// A closed block with one record.
    fn block(sequence: u64) -> ClosedBlock<Vec<u8>> {
        let (core, segment, generation) = (CoreId::new(1), SegmentId::new(2), 3);
        let key = ChecksumKey::new(&[7; 32], core, generation);
        let place = NextPlace { segment, generation, key, offset: sequence as u32 * 4096 };
        let mut open = OpenBlock::new(place, sequence, vec![0xA5; 8192]);
        open.push(&[&b"record"[..]], None, 6);
        open.close(core, Lsn::new(sequence), Vec::truncate)
    }

    #[test]
    fn blocks_leave_in_order_however_their_writes_end() {
        let mut queue = BlockQueue::new();
        for sequence in 1..=3 {
            queue.push(block(sequence));
        }
        for sequence in 1..=3 {
            let next = queue.take_next();
            assert_eq!(next.header.sequence, sequence);
            next.seal(0, 0);
        }
        assert!(queue.first_queued().is_none());
        for (ended, leaving) in [(2, 0), (1, 2), (3, 1)] {
            queue.end(IoId(ended), Ok(4096)).expect("written");
            let left = std::iter::from_fn(|| queue.pop_done()).count();
            assert_eq!(left, leaving, "after block {ended}");
            queue.assert_invariants();
        }
        assert!(queue.is_empty() && queue.submitted() == 0 && queue.in_flight() == 0);
    }

    #[test]
    fn a_block_is_readable_while_it_is_held_and_a_short_write_keeps_it() {
        let mut queue = BlockQueue::new();
        queue.push(block(1));
        let location = Location { segment: SegmentId::new(2), offset: 4096 + 64 + 8, len: 6 };
        assert_eq!(queue.find(location), Some(&b"record"[..]));
        assert_eq!(queue.find(Location { len: 100, ..location }), None, "behind the last record");
        assert_eq!(queue.find(Location { segment: SegmentId::new(3), ..location }), None, "another segment");
        assert_eq!(queue.find(Location { offset: 0, ..location }), None, "before the first block");
        queue.take_next().seal(0, 0);
        let failed = queue.end(IoId(1), Ok(512)).expect_err("short");
        assert_eq!((failed.sequence, failed.offset), (1, 4096));
        assert!(queue.pop_done().is_none());
        assert_eq!(queue.find(location), Some(&b"record"[..]));
    }
}
