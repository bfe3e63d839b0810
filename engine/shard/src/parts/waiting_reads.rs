//! Reads of one group that wait for a confirmation of leadership, or for their point to be applied.

use crate::parts::follower_reads::{FollowerRead, READ_INDEX_PATIENCE};
use crate::request::Request;
use alloc::collections::VecDeque;
use synod_types::{Mono, Slot};

/// Reads of one group that may wait for a confirmation.
const AWAITING_QUORUM_MAX: usize = 65_536;
/// Reads of one group that may wait for their point to be applied.
const AWAITING_APPLY_MAX: usize = 4096;

/// A read that waits for its leader to be confirmed.
#[derive(Debug)]
pub(crate) struct AwaitingQuorum<P> {
    /// The ticket that Paxos gave for it.
    pub ticket: Mono,
    /// The watermark that was chosen when the read came. The read is served only once it is applied here: a
    /// follower may have answered from it already.
    pub point: Slot,
    /// The read.
    pub request: Request<P>,
}

/// A read whose point is ahead of what this replica has applied.
#[derive(Debug)]
struct AwaitingApply<P> {
    read: FollowerRead<P>,
    point: Slot,
    since: Mono,
}

/// The waiting reads of a group.
#[derive(Debug)]
pub(crate) struct WaitingReads<P> {
    /// In order (leader only).
    quorum: VecDeque<AwaitingQuorum<P>>,
    /// In order.
    apply: VecDeque<AwaitingApply<P>>,
}

impl<P> Default for WaitingReads<P> {
    fn default() -> Self {
        Self { quorum: VecDeque::new(), apply: VecDeque::new() }
    }
}

impl<P> WaitingReads<P> {
    /// Whether no read waits for a confirmation.
    pub fn none_awaits_quorum(&self) -> bool {
        self.quorum.is_empty()
    }

    /// Whether one more may wait for a confirmation.
    pub fn has_room_for_quorum(&self) -> bool {
        self.quorum.len() < AWAITING_QUORUM_MAX
    }

    /// Adds a read that waits for a confirmation.
    pub fn await_quorum(&mut self, read: AwaitingQuorum<P>) {
        assert!(self.has_room_for_quorum(), "a read beyond their limit");
        let before = self.quorum.back();
        let is_later =
            |before: &AwaitingQuorum<P>| before.ticket <= read.ticket && before.point <= read.point;
        debug_assert!(before.is_none_or(is_later), "a read is confirmed before an earlier one");
        self.quorum.push_back(read);
    }

    /// The first read that waits for a confirmation.
    pub fn first_awaiting_quorum(&self) -> Option<&AwaitingQuorum<P>> {
        self.quorum.front()
    }

    /// Takes that read out.
    pub fn next_awaiting_quorum(&mut self) -> Option<AwaitingQuorum<P>> {
        self.quorum.pop_front()
    }

    /// Takes out all reads that waited for a confirmation, after the leadership has ended.
    pub fn take_awaiting_quorum(&mut self) -> VecDeque<AwaitingQuorum<P>> {
        core::mem::take(&mut self.quorum)
    }

    /// Whether one more read may wait for its point.
    pub fn has_room_for_apply(&self) -> bool {
        self.apply.len() < AWAITING_APPLY_MAX
    }

    /// Adds a read that waits until `point` is applied.
    pub fn await_apply(&mut self, read: FollowerRead<P>, point: Slot, since: Mono) {
        assert!(self.has_room_for_apply(), "a read beyond their limit");
        debug_assert!(self.apply.back().is_none_or(|last| last.since <= since), "time went back");
        self.apply.push_back(AwaitingApply { read, point, since });
    }

    /// The next read whose point is applied.
    pub fn next_applied(&mut self, applied: Slot) -> Option<FollowerRead<P>> {
        self.apply.pop_front_if(|first| first.point <= applied).map(|first| first.read)
    }

    /// The next read that has waited too long for its point.
    pub fn next_late(&mut self, now: Mono) -> Option<FollowerRead<P>> {
        let is_late = |first: &mut AwaitingApply<P>| now.since(first.since) >= READ_INDEX_PATIENCE;
        self.apply.pop_front_if(is_late).map(|late| late.read)
    }

    /// `chosen` is the prefix that this replica knows as chosen.
    pub fn invariants(&self, leads: bool, chosen: Slot) {
        assert!(leads || self.quorum.is_empty(), "a follower has reads waiting to be confirmed");
        assert!(self.quorum.len() <= AWAITING_QUORUM_MAX, "more reads wait to be confirmed than may");
        assert!(self.apply.len() <= AWAITING_APPLY_MAX, "more reads wait for their points than may");
        assert!(self.quorum.iter().all(|read| read.point <= chosen), "a point that is not chosen");
    }
}
