//! The options that a log is opened with, and the constraints between them.

use crate::error::OpenError;
use crate::layout::{BLOCK_HEADER_BYTES, FRAME_BYTES, PAGE_BYTES, SEGMENT_HEADER_BYTES, align_page};
use synod_types::limits::ENTRY_BYTES_MAX;
use synod_types::record::RECORD_HEAD_BYTES;
use synod_types::{CoreId, SegmentId};

/// Upper limit for writes in flight: recovery takes an intact block this far beyond a hole as proof that the
/// missing block was durable once.
pub const WRITES_IN_FLIGHT_MAX: usize = 16;
/// Largest segment: offsets have 32 bits, and a segment is mapped as a whole.
pub const SEGMENT_BYTES_MAX: u32 = 1 << 30;
/// Reads in flight at once; any further read waits until another one ends.
pub const READS_MAX: usize = 4096;
/// Bytes of reads in flight, each in memory of its own; any further read waits. One read is always allowed.
pub const READ_BYTES_MAX: usize = 32 << 20;

/// What to do about a directory without a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WhenEmpty {
    /// Start a new log: the node was just formatted.
    Create,
    /// Refuse: this node has been in use, and a node that has lost its promises can break consensus.
    Refuse,
}

/// The options that a log is opened with. Only `core`, `tag` and `segment_bytes` leave traces on disk.
#[derive(Clone, Debug)]
pub struct WalOptions {
    /// The core whose log this is.
    pub core: CoreId,
    /// Cluster, node and incarnation as opaque bytes. Must be the same at every open; also keys the
    /// checksums.
    pub tag: [u8; 32],
    /// Size of new segments.
    pub segment_bytes: u32,
    /// A block closes at this size; a single longer record gets a longer block.
    pub block_bytes_max: u32,
    /// Longest record.
    pub record_bytes_max: u32,
    /// Block writes in flight at once. This limits a log whose core is busy: completions are processed once
    /// per turn, so the log writes at most this many full blocks per turn (docs/experiments).
    pub writes_in_flight: usize,
    /// With this many writes in flight, a block that is not full keeps gathering records instead of being
    /// written. A smaller number gives larger writes and fewer flushes, but then more records wait behind a
    /// slow write (docs/experiments).
    pub small_writes_in_flight: usize,
    /// Limit on the bytes of block buffers that wait for the disk; beyond it `append` returns `Full`.
    pub ram_bytes_max: usize,
    /// Segments kept ready beyond the current one.
    pub segments_ahead: usize,
    /// The log is read from this segment on; a checkpoint covers the records before it. The segment must be
    /// part of the log and hold a durable record. `None`: from the beginning.
    pub replay_from: Option<SegmentId>,
    /// What to do about a directory without a log.
    pub when_empty: WhenEmpty,
}

impl WalOptions {
    /// The defaults for `core`'s log.
    pub fn new(core: CoreId, tag: [u8; 32]) -> Self {
        Self {
            core,
            tag,
            segment_bytes: 64 << 20,
            block_bytes_max: 256 << 10,
            record_bytes_max: (RECORD_HEAD_BYTES + ENTRY_BYTES_MAX) as u32,
            writes_in_flight: 8,
            small_writes_in_flight: 4,
            ram_bytes_max: 16 << 20,
            segments_ahead: 2,
            replay_from: None,
            when_empty: WhenEmpty::Create,
        }
    }

    /// The same options for a simulation, with segments so small that they rotate every few records; the
    /// record limit shrinks to fit.
    #[must_use]
    pub fn with_segments(mut self, segment_bytes: u32, block_bytes_max: u32) -> Self {
        self.segment_bytes = segment_bytes;
        self.block_bytes_max = block_bytes_max;
        let room = segment_bytes.saturating_sub(SEGMENT_HEADER_BYTES + BLOCK_HEADER_BYTES + FRAME_BYTES);
        self.record_bytes_max = self.record_bytes_max.min(room);
        self
    }

    /// Bytes of the longest block.
    pub(crate) fn longest_block(&self) -> u64 {
        let single =
            u64::from(BLOCK_HEADER_BYTES) + u64::from(FRAME_BYTES) + u64::from(self.record_bytes_max);
        align_page(single).max(u64::from(self.block_bytes_max))
    }

    pub(crate) fn check(&self) -> Result<(), OpenError> {
        let page = PAGE_BYTES;
        let rules = [
            (self.segment_bytes.is_multiple_of(page), "segment_bytes is not a multiple of 4096"),
            (self.segment_bytes <= SEGMENT_BYTES_MAX, "segment_bytes is above 1 GiB"),
            (self.block_bytes_max.is_multiple_of(page), "block_bytes_max is not a multiple of 4096"),
            (self.block_bytes_max >= page, "block_bytes_max is below 4096"),
            (
                self.longest_block() + u64::from(SEGMENT_HEADER_BYTES) <= u64::from(self.segment_bytes),
                "segment_bytes cannot hold the longest block",
            ),
            (self.writes_in_flight >= 1, "writes_in_flight is 0"),
            (self.small_writes_in_flight >= 1, "small_writes_in_flight is 0"),
            (self.writes_in_flight <= WRITES_IN_FLIGHT_MAX, "writes_in_flight is above 16"),
            (self.segments_ahead >= 1, "segments_ahead is 0"),
            (
                self.ram_bytes_max as u64 >= 2 * self.longest_block(),
                "ram_bytes_max is below two of the longest blocks",
            ),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, broken)) => Err(OpenError::Options(broken)),
            None => {
                debug_assert!(self.segment_bytes >= 2 * page, "a segment without room for a block");
                debug_assert!(self.longest_block() >= u64::from(page), "a block is a page at least");
                Ok(())
            }
        }
    }
}
