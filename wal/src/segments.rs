//! The segment that the log writes into, the segments to come, and the files that can be reused.
//!
//! Segments are planned (id, generation, predecessor) before they exist, so that a record has its location at
//! once. They are made one at a time and in order, so that a file on disk proves that all its predecessors
//! were made.

use crate::disk::{Disk, SegmentPlan};
use crate::layout::{ChecksumKey, Continues, PAGE_BYTES, SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::options::WalOptions;
use crate::recover::Recovered;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use synod_types::{CoreId, SegmentId, Space};

/// Where the next block goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NextPlace {
    pub segment: SegmentId,
    pub generation: u64,
    pub key: ChecksumKey,
    pub offset: u32,
}

struct Planned {
    segment: SegmentId,
    generation: u64,
    previous: SegmentId,
    continues: Option<Continues>,
}

pub(crate) struct Segments {
    core: CoreId,
    tag: [u8; 32],
    size: u32,
    ahead: usize,
    /// The current segment, then those to come.
    planned: VecDeque<Planned>,
    /// Where the next block in the current segment goes.
    offset: u32,
    /// All planned segments up to this one exist.
    ready_through: SegmentId,
    /// Segments that the log has filled and left before they were made: their blocks wait for them.
    behind: VecDeque<Planned>,
    preparing: bool,
    /// The file that is being recycled for the segment in preparation.
    recycling: Option<SegmentId>,
    /// Why the last attempt to make a segment failed. Kept until one is made, so that an attempt in progress
    /// does not look like success.
    error: Option<String>,
    next: SegmentId,
    generation_next: u64,
    /// Segments that were written and are not released, with their generations.
    live: BTreeMap<SegmentId, u64>,
    /// Files that are no longer needed and can be reused; the next one to use is at the end.
    recyclable: Vec<SegmentId>,
    /// Files that are no longer needed and cannot be reused; removed once the log has a segment to write
    /// into.
    removable: Vec<SegmentId>,
}

impl Segments {
    pub(crate) fn new(options: &WalOptions, recovered: &Recovered) -> Self {
        let mut recyclable = recovered.recyclable.clone();
        recyclable.reverse();
        let mut segments = Self {
            core: options.core,
            tag: options.tag,
            size: options.segment_bytes,
            ahead: options.segments_ahead,
            planned: VecDeque::new(),
            offset: SEGMENT_HEADER_BYTES,
            ready_through: SegmentId::new(recovered.segment_next.get() - 1),
            behind: VecDeque::new(),
            preparing: false,
            recycling: None,
            error: None,
            next: recovered.segment_next,
            generation_next: recovered.generation_next,
            live: recovered.live.clone(),
            recyclable,
            removable: recovered.removable.clone(),
        };
        segments.plan(recovered.previous, Some(recovered.continues));
        segments.fill();
        segments.assert_invariants();
        segments
    }

    /// The current segment: the one that new blocks go into.
    pub(crate) fn current(&self) -> SegmentId {
        self.first().segment
    }

    /// Bytes left in the current segment.
    pub(crate) fn room(&self) -> u32 {
        debug_assert!(self.offset <= self.size, "a block behind the end of its segment");
        self.size - self.offset
    }

    /// Where the next block goes.
    pub(crate) fn place(&self) -> NextPlace {
        let Planned { segment, generation, .. } = *self.first();
        debug_assert!(self.offset >= SEGMENT_HEADER_BYTES, "a block over its segment's header");
        debug_assert!(generation < self.generation_next, "a generation that was not planned");
        NextPlace {
            segment,
            generation,
            key: ChecksumKey::new(&self.tag, self.core, generation),
            offset: self.offset,
        }
    }

    /// Advances past a block, whose length is now final.
    pub(crate) fn take(&mut self, segment: SegmentId, offset: u32, len: u32) {
        assert!(segment == self.current() && offset == self.offset, "blocks are laid one after the other");
        assert!(len <= self.room(), "a block never spans segments");
        debug_assert!(len > 0 && len.is_multiple_of(PAGE_BYTES), "a block is a multiple of pages");
        self.offset += len;
    }

    /// Makes the next segment the current one.
    pub(crate) fn rotate<D: Disk>(&mut self, disk: &mut D) {
        let Some(left) = self.planned.pop_front() else { unreachable!("a segment is always in use") };
        let before = self.live.insert(left.segment, left.generation);
        assert!(before.is_none(), "a segment is left once");
        if left.segment > self.ready_through {
            self.behind.push_back(left);
        }
        self.offset = SEGMENT_HEADER_BYTES;
        self.fill();
        // One more segment is needed, so an attempt is made even after a failure.
        self.retry(disk);
        self.assert_invariants();
    }

    pub(crate) fn is_ready(&self, segment: SegmentId) -> bool {
        segment <= self.ready_through
    }

    /// Releases a segment for reuse; false if it is not a live one.
    pub(crate) fn release(&mut self, segment: SegmentId) -> bool {
        if self.live.remove(&segment).is_none() {
            return false;
        }
        assert!(self.recycling != Some(segment), "a segment that is in use is reused");
        self.recyclable.insert(0, segment);
        self.assert_invariants();
        true
    }

    /// Segments before the current one that were written and are not released.
    pub(crate) fn live(&self) -> impl Iterator<Item = SegmentId> {
        self.live.keys().copied()
    }

    /// The key that the records of a segment are checked with; `None` if the segment is not part of the log.
    pub(crate) fn key_of(&self, segment: SegmentId) -> Option<ChecksumKey> {
        let in_use = self.planned.iter().find(|planned| planned.segment == segment);
        let generation =
            in_use.map(|planned| planned.generation).or_else(|| self.live.get(&segment).copied())?;
        Some(ChecksumKey::new(&self.tag, self.core, generation))
    }

    pub(crate) fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// How much can still be written, once the `open` bytes of the open block are written.
    ///
    /// A segment that was made and never written to is the last reserve. After a restart the log continues in
    /// a fresh segment, never in a partly used one, so without this reserve a node on a full disk could not
    /// even store a promise. That is why the bounds below include one whole segment.
    pub(crate) fn space(&self, open: u32) -> (Space, u64) {
        if self.error.is_none() {
            return (Space::Free, u64::MAX);
        }
        debug_assert!(open <= self.room(), "the open block is in the current segment");
        let size = u64::from(self.size);
        let made = self.planned.iter().filter(|planned| planned.segment <= self.ready_through).count() as u64;
        let used = u64::from(self.offset)
            + u64::from(open)
            + made.saturating_sub(1) * u64::from(SEGMENT_HEADER_BYTES);
        let room = (made * size).saturating_sub(used);
        // The gap between this bound and the reserve covers the writes in progress when the state is
        // reported.
        let low = size + size / 4 * 3;
        let space = if room >= low {
            Space::Free
        } else if room >= size + size / 4 {
            Space::Low
        } else if room >= (size / 64).max(2 * u64::from(PAGE_BYTES)) {
            Space::Reserve
        } else {
            Space::Spent
        };
        (space, room.saturating_sub(low))
    }

    /// Tries again to make a segment.
    pub(crate) fn retry<D: Disk>(&mut self, disk: &mut D) {
        if !self.preparing {
            self.ask(disk);
        }
    }

    pub(crate) fn on_prepared<D: Disk>(&mut self, segment: SegmentId, result: io::Result<()>, disk: &mut D) {
        assert!(self.preparing, "a segment was prepared without a plan");
        self.preparing = false;
        let recycling = self.recycling.take();
        if let Err(error) = result {
            self.error = Some(error.to_string());
            // The next attempt uses the file again: on a full disk it is the only space there is.
            self.recyclable.extend(recycling);
            return;
        }
        self.error = None;
        assert!(
            self.waiting().is_some_and(|planned| planned.segment == segment),
            "segments are made in order"
        );
        assert!(segment > self.ready_through && segment < self.next, "only planned segments are made");
        self.ready_through = segment;
        if self.behind.front().is_some_and(|planned| planned.segment == segment) {
            self.behind.pop_front();
        }
        for segment in self.removable.drain(..) {
            disk.remove_segment(segment);
        }
        self.pump(disk);
        self.assert_invariants();
    }

    /// Requests the next planned segment that does not exist, one at a time; does nothing after a failure.
    pub(crate) fn pump<D: Disk>(&mut self, disk: &mut D) {
        if !self.preparing && self.error.is_none() {
            self.ask(disk);
        }
    }

    fn ask<D: Disk>(&mut self, disk: &mut D) {
        let Some(planned) = self.waiting() else { return };
        let (segment, continues) = (planned.segment, planned.continues);
        let (previous, generation) = (planned.previous, planned.generation);
        let recycle = self.recyclable.pop();
        assert!(recycle.is_none_or(|file| !self.live.contains_key(&file)), "a segment in use is reused");
        assert!(!self.preparing && self.recycling.is_none(), "segments are made one at a time");
        let header = SegmentHeader {
            core: self.core,
            segment,
            previous,
            generation,
            size: self.size,
            continues,
            recycled: recycle.is_some(),
            tag: self.tag,
        };
        self.preparing = true;
        self.recycling = recycle;
        disk.prepare_segment(SegmentPlan { segment, size: self.size, header: header.encode(), recycle });
    }

    fn first(&self) -> &Planned {
        match self.planned.front() {
            Some(planned) => planned,
            None => unreachable!("a segment is always in use"),
        }
    }

    /// The oldest planned segment that does not exist.
    fn waiting(&self) -> Option<&Planned> {
        self.behind.iter().chain(&self.planned).find(|planned| planned.segment > self.ready_through)
    }

    fn fill(&mut self) {
        while self.planned.len() < 1 + self.ahead {
            let newest = self.planned.back().or(self.behind.back()).map(|planned| planned.segment);
            let previous = newest.unwrap_or(SegmentId::new(self.next.get() - 1));
            self.plan(previous, None);
        }
    }

    fn plan(&mut self, previous: SegmentId, continues: Option<Continues>) {
        let segment = self.next;
        assert!(segment.get() < u32::MAX, "segment ids are used up");
        assert!(previous < segment, "a segment follows upon an earlier one");
        self.planned.push_back(Planned { segment, generation: self.generation_next, previous, continues });
        self.next = SegmentId::new(segment.get() + 1);
        self.generation_next += 1;
    }

    /// The invariants between calls.
    fn assert_invariants(&self) {
        assert!(
            self.offset <= self.size && self.offset.is_multiple_of(PAGE_BYTES),
            "a block begins at a page"
        );
        let planned = self.behind.iter().chain(&self.planned).map(|planned| planned.segment);
        assert!(planned.is_sorted_by(|before, next| before < next), "segments are planned in order");
        assert!(
            self.planned.back().is_some_and(|newest| newest.segment.get() + 1 == self.next.get()),
            "every segment is planned once"
        );
        assert!(self.ready_through < self.next, "a segment is ready that was not planned");
        assert!(
            self.behind.iter().all(|planned| planned.segment > self.ready_through),
            "a segment that was made is waited for"
        );
        assert!(self.preparing || self.recycling.is_none(), "a file is reused for no segment");
        debug_assert!(
            self.recyclable.iter().chain(&self.removable).all(|file| !self.live.contains_key(file)),
            "a file is needed and not needed"
        );
    }
}
