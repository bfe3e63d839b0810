//! Statistics of a core, for metrics only: no decision of the machines depends on them.
//!
//! ```text
//!  arrival ─ queue ─▶ proposal ─ quorum ─▶ chosen ─ apply ─▶ reply
//!                        └─ log ─▶ durable here
//! ```
//! Times are differences between the `now` of steps, so no clock is read for them. Counting costs a handful
//! of additions.

use synod_types::{Location, Nanos, Op};

/// Buckets of a histogram: values up to 1, 2, 4, … 2^25, and all above.
pub const HISTOGRAM_BUCKETS: usize = 27;

/// Counts of values by powers of two.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Histogram {
    counts: [u64; HISTOGRAM_BUCKETS],
    sum: u64,
}

impl Histogram {
    /// Counts a value.
    pub fn record(&mut self, value: u64) {
        let bucket = (u64::BITS - value.saturating_sub(1).leading_zeros()) as usize;
        self.counts[bucket.min(HISTOGRAM_BUCKETS - 1)] += 1;
        self.sum = self.sum.wrapping_add(value);
    }
    /// Counts a span in microseconds.
    pub fn record_span(&mut self, span: Nanos) {
        self.record(span.0 / 1000);
    }
    /// Values counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
    /// Their sum.
    pub fn sum(&self) -> u64 {
        self.sum
    }
    /// How many values lie in each bucket from the one up to 2^`low` (with all below it) to the one up to
    /// 2^`high`, and how many lie above.
    ///
    /// # Panics
    /// When `low` is above `high` or `high` has no bucket of its own.
    pub fn between(&self, low: usize, high: usize) -> impl Iterator<Item = u64> {
        assert!(low <= high && high < HISTOGRAM_BUCKETS - 1, "buckets that there are not");
        let below: u64 = self.counts[..=low].iter().sum();
        let above: u64 = self.counts[high + 1..].iter().sum();
        core::iter::once(below).chain(self.counts[low + 1..=high].iter().copied()).chain([above])
    }
}

/// The kinds that requests are counted by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RequestKind {
    /// GET and all other reads.
    Read,
    /// Writes of a value.
    Set,
    /// Removals of a key.
    Delete,
    /// Any other write.
    Other,
}

impl RequestKind {
    /// Every kind, in the order of [`GroupStats::requests`], with its name.
    pub const ALL: [(Self, &'static str); 4] =
        [(Self::Read, "read"), (Self::Set, "set"), (Self::Delete, "delete"), (Self::Other, "other")];

    pub(crate) fn of(op: Op) -> Self {
        match op {
            Op::Set { .. } => Self::Set,
            Op::Delete | Op::DeleteIfVersion(_) => Self::Delete,
            op if op.is_write() => Self::Other,
            _ => Self::Read,
        }
    }
}

/// The statistics of one group since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct GroupStats {
    /// Requests of clients of this core, by [`RequestKind`].
    pub requests: [u64; RequestKind::ALL.len()],
    /// Values asked for and found.
    pub key_hits: u64,
    /// Values asked for and not found.
    pub key_misses: u64,
    /// Expired keys that the sweep removed since the start, replay included.
    pub keys_expired: u64,
    /// Those of them that were removed while this replica served the group: over all nodes, each expiry is
    /// counted once.
    pub keys_expired_led: u64,
    /// How often this replica became leader.
    pub elections_won: u64,
    /// How often this replica led and handed over to another one.
    pub leaderships_transferred: u64,
    /// How often its leadership ended without a transfer: another replica took over, or it stepped down.
    pub leaderships_lost: u64,
    /// Commands per proposed entry.
    pub batch_commands: Histogram,
    /// Arrival of a write to its proposal, microseconds.
    pub queue_us: Histogram,
    /// Proposal to chosen, microseconds.
    pub quorum_us: Histogram,
    /// Chosen to applied, microseconds: zero except for entries that wait for a value on disk.
    pub apply_us: Histogram,
}

/// The statistics of one core since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CoreStats {
    /// From handing a record to the log until it is durable, microseconds.
    pub log_us: Histogram,
    /// Payload bytes that became durable at once.
    pub flush_bytes: Histogram,
    /// Records that became durable at once.
    pub flush_records: Histogram,
    /// Requests that this core has passed to a leader on another node. One that comes back, because the
    /// leader has changed, counts again.
    pub forwards: u64,
    /// How often this core was not scheduled for a lease.
    pub sleeps: u64,
    /// Reads that went back to their requester, which had no room for the value.
    pub sent_back: u64,
    /// Linearizable reads that this core answered as a follower.
    pub follower_reads: u64,
    /// Reads of the log that failed or returned other bytes than were written.
    pub reads_failed: u64,
    /// Reads that did not come back within a request's patience and were given up or asked of a peer.
    pub reads_late: u64,
    /// Failed and late reads that were made up for with an entry from a peer.
    pub reads_repaired: u64,
    /// The place in the log of the last damage that was found.
    pub damaged_at: Option<Location>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn values_fall_into_the_bucket_of_the_next_power_of_two() {
        let mut histogram = Histogram::default();
        for value in [0, 1, 2, 3, 4, 5, 1 << 25, (1 << 25) + 1, u64::MAX] {
            histogram.record(value);
        }
        assert_eq!(histogram.count(), 9);
        assert_eq!(histogram.between(0, 3).collect::<Vec<_>>(), [2, 1, 2, 1, 3]);
        assert_eq!(histogram.between(2, 25).next(), Some(5));
        assert_eq!(histogram.between(2, 25).last(), Some(2));
    }
}
