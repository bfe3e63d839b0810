//! The output of recovery: the records, what was found, and what was decided.

use crate::table::{Facts, Label, Verdict};
use core::fmt;
use synod_types::{Location, SegmentId};

/// A record that recovery found.
#[derive(Clone, Copy, Debug)]
pub struct RecordView<'a> {
    /// Its bytes, as appended.
    pub bytes: &'a [u8],
    /// Where they are.
    pub location: Location,
}

/// What recovery found in one segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SegmentReport {
    /// The segment.
    pub segment: SegmentId,
    /// Its generation.
    pub generation: u64,
    /// Valid blocks.
    pub block_count: u64,
    /// Records in them.
    pub record_count: u64,
    /// Bytes of those records.
    pub record_bytes: u64,
    /// Where its last valid block ends.
    pub end: u32,
}

/// What recovery decided about the end of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TailReport {
    /// The row of the decision table that matched.
    pub label: Label,
    /// The verdict of that row.
    pub verdict: Verdict,
    /// The facts that selected the row.
    pub facts: Facts,
    /// The segment in which the next block would have been.
    pub segment: SegmentId,
    /// Its offset in that segment.
    pub offset: u32,
    /// The last valid block; 0 for none.
    pub sequence: u64,
    /// Blocks seen beyond the end; they were never acknowledged and are discarded.
    pub discarded_count: u64,
}

/// What recovery did. Its `Display` is one line.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct RecoveryReport {
    /// The segments that were read, in log order.
    pub segments: Vec<SegmentReport>,
    /// The end of the log; `None` for a log that was just created.
    pub tail: Option<TailReport>,
    /// Segments that are not part of the log any more; they will be reused or removed.
    pub unused: Vec<SegmentId>,
}

impl RecoveryReport {
    /// Records passed to the caller.
    pub fn record_count(&self) -> u64 {
        self.segments.iter().map(|segment| segment.record_count).sum()
    }
    /// Blocks that held them.
    pub fn block_count(&self) -> u64 {
        self.segments.iter().map(|segment| segment.block_count).sum()
    }
    /// Bytes of those records.
    pub fn record_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.record_bytes).sum()
    }
}

impl fmt::Display for RecoveryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(tail) = &self.tail else { return f.write_str("new log") };
        write!(
            f,
            "{}: {} records ({} bytes) in {} blocks of {} segments, last block {}, ends at {} offset {}",
            tail.label,
            self.record_count(),
            self.record_bytes(),
            self.block_count(),
            self.segments.len(),
            tail.sequence,
            tail.segment,
            tail.offset
        )?;
        if tail.discarded_count > 0 {
            write!(f, ", {} unacknowledged blocks discarded", tail.discarded_count)?;
        }
        if !self.unused.is_empty() {
            write!(f, ", {} unused segments", self.unused.len())?;
        }
        Ok(())
    }
}
