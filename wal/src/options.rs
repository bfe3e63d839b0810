//! What a log is opened with, and the relations between those numbers.

use crate::error::OpenError;
use crate::layout::{BLOCK_HEADER_BYTES, FRAME_BYTES, PAGE_BYTES, SEGMENT_HEADER_BYTES, align_page};
use synod_types::limits::ENTRY_BYTES_MAX;
use synod_types::record::RECORD_HEAD_BYTES;
use synod_types::{CoreId, SegmentId};

/// More writes in flight than this are never allowed: recovery takes an intact block this far beyond a hole for proof
/// that the hole was once durable.
pub const WRITES_IN_FLIGHT_MAX: usize = 16;
/// Largest segment: offsets are 32 bits, and a segment is mapped whole.
pub const SEGMENT_BYTES_MAX: u32 = 1 << 30;
/// Reads under way at once; one more waits until another one ends.
pub const READS_MAX: usize = 4096;

/// What to do about a directory without a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WhenEmpty {
    /// Begin a new log: the node was just formatted.
    Create,
    /// Refuse: this node has been in use, and a node that forgot its promises is dangerous.
    Refuse,
}

/// What a log is opened with. Only `core`, `tag` and `segment_bytes` leave traces on disk.
#[derive(Clone, Debug)]
pub struct WalOptions {
    /// Whose log it is.
    pub core: CoreId,
    /// Cluster, node and incarnation as opaque bytes. Must be equal at every open; also keys the checksums.
    pub tag: [u8; 32],
    /// Size of new segments.
    pub segment_bytes: u32,
    /// A block closes at this size; a single longer record gets a longer block.
    pub block_bytes_max: u32,
    /// Longest record.
    pub record_bytes_max: u32,
    /// Block writes in flight at once. What bounds a log whose core is busy: completions are seen once per turn, so it writes
    /// so many full blocks per turn at most (docs/performance.md).
    pub writes_in_flight: usize,
    /// While so many are, a block that is not full gathers on instead of being written. Fewer make larger writes and fewer
    /// flushes, but a write that the disk takes long for then keeps more waiting (docs/performance.md).
    pub small_writes_in_flight: usize,
    /// Bound on block buffers held for the disk; beyond it `append` answers `Full`.
    pub ram_bytes_max: usize,
    /// Segments kept ready beyond the one in use.
    pub segments_ahead: usize,
    /// Records before this segment are known otherwise (a checkpoint): the log is read from here on. The segment must be
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

    /// The same for a simulation: segments that rotate every few records, whatever the record limit allows.
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
            None => Ok(()),
        }
    }
}
