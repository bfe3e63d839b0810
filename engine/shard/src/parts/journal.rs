//! The records of a core on their way to the disk: their numbers, the receipt that each one's group gets, and
//! the room in the log.
//!
//! ```text
//!   append ─▶ lsn ─▶ written … ─▶ next_durable, in order
//!   the log ─▶ LogRoom, less what was appended since ─▶ space
//! ```

use alloc::collections::VecDeque;
use synod_paxos::{LogState, Pace, Receipt};
use synod_types::{LogRoom, Lsn, Mono, Nanos, Space};

/// Bytes of the log that a record takes beside its payload, rounded up.
const RECORD_OVERHEAD_BYTES: u64 = 128;

/// A disk that is busy gets no more than this once records wait for a quarter of a lease: a longer queue would
/// only make everything late, promises among it.
const BUSY_BYTES: usize = 4 << 20;

/// A record that is on its way to the disk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Written {
    /// The index of its group.
    pub index: usize,
    /// The receipt that the group gets once the record is durable.
    pub receipt: Receipt,
    /// The length of the payload.
    pub bytes: usize,
    /// When it was handed to the log.
    at: Mono,
}

/// The records that a core has handed to its log, and the state of the log.
#[derive(Debug)]
pub(crate) struct Journal {
    /// The last record number given out.
    lsn: Lsn,
    durable: Lsn,
    /// Records that are not durable yet, in order: numbers `durable + 1 ..= lsn`.
    written: VecDeque<Written>,
    /// Payload bytes in these records.
    undurable_bytes: usize,
    /// The log is behind from this many undurable bytes on.
    backlog_bytes_max: usize,
    /// The room that the log last reported, less what was handed to it since.
    room: LogRoom,
    /// When the log last stopped waiting for a segment. Time before that does not count as a stall.
    starved_until: Mono,
    /// When a record last became durable.
    moved_at: Mono,
    /// How long records took recently to become durable.
    pace: Pace,
}

impl Journal {
    /// An empty log that is behind from `backlog_bytes_max` payload bytes on.
    pub fn new(backlog_bytes_max: usize) -> Self {
        Self {
            lsn: Lsn::ZERO,
            durable: Lsn::ZERO,
            written: VecDeque::new(),
            undurable_bytes: 0,
            backlog_bytes_max,
            room: LogRoom::FREE,
            starved_until: Mono::ZERO,
            moved_at: Mono::ZERO,
            pace: Pace::default(),
        }
    }

    /// Numbers a record of the group at `index`.
    pub fn append(&mut self, index: usize, receipt: Receipt, bytes: usize, now: Mono) -> Lsn {
        self.lsn = self.lsn.next();
        self.undurable_bytes += bytes;
        if self.room.free_bytes < u64::MAX {
            let taken = bytes as u64 + RECORD_OVERHEAD_BYTES;
            self.room.free_bytes = self.room.free_bytes.saturating_sub(taken);
        }
        debug_assert!(self.written.back().is_none_or(|last| last.at <= now), "time went back");
        self.written.push_back(Written { index, receipt, bytes, at: now });
        debug_assert!(self.written.len() as u64 == self.lsn.get() - self.durable.get(), "a record was lost");
        self.lsn
    }

    /// A record that is not durable yet.
    ///
    /// # Panics
    /// When the record is durable, or was never numbered.
    pub fn written(&self, lsn: Lsn) -> &Written {
        assert!(lsn > self.durable && lsn <= self.lsn, "a place for a record that is not under way");
        &self.written[(lsn.get() - self.durable.get() - 1) as usize] // within `written`
    }

    /// The next record that is durable if all up to `lsn` are, and how long it took.
    ///
    /// # Panics
    /// When `lsn` was never given out.
    pub fn next_durable(&mut self, lsn: Lsn, now: Mono) -> Option<(Written, Nanos)> {
        assert!(lsn <= self.lsn, "a record is durable that was never written");
        if self.durable >= lsn {
            return None;
        }
        self.durable = self.durable.next();
        let written = self.written.pop_front().expect("one entry per record under way");
        debug_assert!(written.bytes <= self.undurable_bytes, "bytes under way are miscounted");
        self.undurable_bytes -= written.bytes;
        debug_assert!(!self.written.is_empty() || self.undurable_bytes == 0, "bytes of no record");
        let took = now.since(written.at);
        self.moved_at = now;
        self.pace.note(took, now);
        Some((written, took))
    }

    /// The last record that is durable with all before it.
    pub fn durable(&self) -> Lsn {
        self.durable
    }

    /// Records that are not durable.
    pub fn undurable(&self) -> usize {
        self.written.len()
    }

    /// Whether so much waits for the disk that nothing new is proposed.
    pub fn is_behind(&self, lease: Nanos, now: Mono) -> bool {
        let quarter = Nanos(lease.0 / 4);
        let is_busy = self.undurable_bytes >= BUSY_BYTES
            && self.age(now) > quarter
            && now.since(self.moved_at) <= quarter;
        is_busy || self.undurable_bytes >= self.backlog_bytes_max
    }

    /// How long records took recently to become durable; none if none was written recently.
    pub fn pace(&self, now: Mono) -> Option<Nanos> {
        self.pace.get(now)
    }

    /// The log has reported its room.
    pub fn on_room(&mut self, room: LogRoom, now: Mono) {
        assert!(self.starved_until <= now, "time went back");
        if self.room.is_starved && !room.is_starved {
            self.starved_until = now;
        }
        self.room = room;
    }

    /// How much room there is now, with the records of this step counted.
    pub fn space(&self) -> Space {
        if self.room.free_bytes == 0 { self.room.space.min(Space::Low) } else { self.room.space }
    }

    /// Whether the log has so little room left that it takes nothing new (P-18).
    pub fn is_full(&self) -> bool {
        self.space() < Space::Free
    }

    /// Whether the log has made no progress for more than a lease, and whether it lags by as much (P-09b): many
    /// records may be on their way to a disk that is merely busy. A log that only waits for a segment which
    /// cannot be made does neither: what it lacks is known, and its leaders lead or hand over as P-18 says.
    pub fn state(&self, lease: Nanos, now: Mono) -> LogState {
        let Some(oldest) = self.written.front().filter(|_| !self.room.is_starved) else {
            return LogState::FINE;
        };
        let since = oldest.at.max(self.starved_until);
        let is_long_ago = |at: Mono| now.since(at) > lease;
        LogState {
            is_stalled: is_long_ago(since.max(self.moved_at)),
            lags_since: is_long_ago(since).then_some(since),
        }
    }

    /// How long the oldest record has waited to become durable.
    pub fn age(&self, now: Mono) -> Nanos {
        self.written.front().map_or(Nanos::ZERO, |oldest| now.since(oldest.at))
    }

    /// Whether the log has made no progress for more than a lease.
    pub fn is_stalled(&self, lease: Nanos, now: Mono) -> bool {
        self.state(lease, now).is_stalled
    }

    pub fn invariants(&self) {
        assert!(self.durable <= self.lsn, "more is durable than was written");
        assert!(self.written.len() as u64 == self.lsn.get() - self.durable.get(), "a record was lost");
        let bytes: usize = self.written.iter().map(|written| written.bytes).sum();
        assert!(bytes == self.undurable_bytes, "bytes under way are miscounted");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use synod_types::{Ballot, NodeId};

    const LEASE: Nanos = Nanos::from_ms(1_000);

    fn at(ms: u64) -> Mono {
        Mono(Nanos::from_ms(ms).0)
    }

    fn receipt(round: u64) -> Receipt {
        Receipt::Promise(Ballot::new(round, NodeId::new(1)))
    }

    #[test]
    fn records_become_durable_in_order_and_each_once() {
        let mut journal = Journal::new(100);
        assert_eq!(journal.append(3, receipt(1), 60, at(1)), Lsn::new(1));
        assert!(!journal.is_behind(LEASE, at(1)));
        assert_eq!(journal.append(5, receipt(2), 40, at(2)), Lsn::new(2));
        assert!(journal.is_behind(LEASE, at(1)));
        assert_eq!(journal.written(Lsn::new(2)).index, 5);
        journal.invariants();
        let (first, took) = journal.next_durable(Lsn::new(1), at(11)).expect("the first");
        assert_eq!((first.index, took), (3, Nanos::from_ms(10)));
        assert!(journal.next_durable(Lsn::new(1), at(11)).is_none());
        assert_eq!((journal.undurable(), journal.durable()), (1, Lsn::new(1)));
        assert!(!journal.is_behind(LEASE, at(1)));
        journal.invariants();
    }

    #[test]
    fn what_was_appended_since_counts_against_the_room() {
        let mut journal = Journal::new(1 << 20);
        assert_eq!(journal.space(), Space::Free);
        let room = LogRoom { space: Space::Free, free_bytes: 1_000, is_starved: false };
        journal.on_room(room, at(1));
        journal.append(0, receipt(1), 500, at(1));
        assert!(!journal.is_full(), "372 bytes are left");
        journal.append(0, receipt(2), 300, at(1));
        assert_eq!(journal.space(), Space::Low, "a head takes room as well");
    }

    #[test]
    fn a_log_stalls_after_a_lease_and_never_while_it_waits_for_a_segment() {
        let mut journal = Journal::new(1 << 20);
        assert!(!journal.is_stalled(LEASE, at(60_000)), "nothing is under way");
        journal.append(0, receipt(1), 1, at(1_000));
        assert!(!journal.is_stalled(LEASE, at(2_000)));
        assert!(journal.is_stalled(LEASE, at(2_001)));
        journal.on_room(LogRoom { space: Space::Low, free_bytes: 0, is_starved: true }, at(2_001));
        assert!(!journal.is_stalled(LEASE, at(9_000)));
        journal.on_room(LogRoom::FREE, at(9_000));
        assert!(!journal.is_stalled(LEASE, at(10_000)), "it was just given one");
        assert!(journal.is_stalled(LEASE, at(10_001)));
    }
}
