//! The disk of one core of the lab: in memory, and no write or read ends before the test says so.
//!
//! ```text
//!   LabDisk, given to the log ──▶ writes: a MemImage, none ever due ◀── LabImage, kept by the lab:
//!                             ──▶ reads: a queue of their own       ◀──   end so many, end badly, crash
//! ```
//! Segments are made whenever the lab begins a turn: these tests are not about them.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use synod_types::{Location, SegmentId};
use synod_wal::mem::{MemDisk, MemImage, MemOptions, Pending};
use synod_wal::{Completion, Disk, IoId, SegmentHead, SegmentPlan};

/// How a read ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// With the bytes that were written.
    Sound,
    /// With other bytes.
    Rotten,
    /// With an error.
    Failed,
}

/// The lab's handle on a disk. It outlives the processes that use the disk.
pub struct LabImage {
    image: MemImage,
    reads: Rc<RefCell<Reads>>,
}

/// The disk as a log sees it.
pub struct LabDisk {
    disk: MemDisk,
    reads: Rc<RefCell<Reads>>,
}

#[derive(Default)]
struct Reads {
    /// In the order in which they were begun.
    waiting: VecDeque<(IoId, Location)>,
    done: VecDeque<Completion<Vec<u8>>>,
}

impl LabImage {
    /// An empty disk.
    pub fn new(seed: u64) -> Self {
        let options = MemOptions { write_ns: (u64::MAX, u64::MAX), ..MemOptions::default() };
        Self { image: MemImage::new(options, seed), reads: Rc::default() }
    }

    /// Attaches a log.
    pub fn disk(&self) -> LabDisk {
        LabDisk { disk: self.image.disk(), reads: Rc::clone(&self.reads) }
    }

    /// Makes the segments that were asked for.
    pub fn make_segments(&self) {
        // Completes everything that is due at once; writes are not.
        self.image.advance(0);
    }

    /// Ends `count` writes, the oldest first, or all if there are fewer.
    pub fn end_writes(&self, count: usize) {
        let is_write = |pending: &Pending| matches!(pending, Pending::Write { .. });
        let waiting = self.image.pending().into_iter().filter(is_write).count();
        for _ in 0..count.min(waiting) {
            // Writes come first in the list, and reads never enter it.
            self.image.complete(0);
        }
    }

    /// Reads that have not ended.
    pub fn reads(&self) -> usize {
        self.reads.borrow().waiting.len()
    }

    /// Ends the oldest read.
    ///
    /// # Panics
    /// When there is none.
    pub fn end_read(&self, outcome: Outcome) {
        let mut reads = self.reads.borrow_mut();
        let (op, at) = reads.waiting.pop_front().expect("a read waits");
        let result = match outcome {
            Outcome::Sound => self.part(at),
            Outcome::Rotten => {
                self.part(at).map(|bytes| bytes.into_iter().map(|byte| byte ^ 1).collect::<Vec<u8>>())
            }
            Outcome::Failed => Err(io::Error::other("the lab has this read fail")),
        };
        reads.done.push_back(Completion::Read { op, result });
    }

    /// Forgets the oldest read: the test answers it in place of the log.
    ///
    /// # Panics
    /// When there is none.
    pub fn forget_read(&self) {
        self.reads.borrow_mut().waiting.pop_front().expect("a read waits");
    }

    /// The machine dies: `seed` decides whether each write under way is lost, whole or torn, and the log
    /// above is cut off.
    pub fn crash(&self, seed: u64) {
        self.image.crash(seed);
        *self.reads.borrow_mut() = Reads::default();
    }

    /// The bytes at `at`.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn part(&self, at: Location) -> io::Result<Vec<u8>> {
        self.image.part(at).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// A separate disk with the same bytes: changes to it do not affect this one.
    pub fn copy(&self) -> MemImage {
        let copy = MemImage::new(MemOptions::default(), 0);
        copy.put_back(&self.image.copy());
        copy
    }
}

impl Disk for LabDisk {
    type Buf = Vec<u8>;
    type Bytes = Vec<u8>;
    type Image = Vec<u8>;

    fn alloc(&mut self, len: usize) -> Vec<u8> {
        self.disk.alloc(len)
    }
    fn trim(buf: &mut Vec<u8>, len: usize) {
        MemDisk::trim(buf, len);
    }
    fn prepare_segment(&mut self, plan: SegmentPlan) {
        self.disk.prepare_segment(plan);
    }
    fn remove_segment(&mut self, segment: SegmentId) {
        self.disk.remove_segment(segment);
    }
    fn write(&mut self, op: IoId, segment: SegmentId, offset: u32, buf: Rc<Vec<u8>>) {
        self.disk.write(op, segment, offset, buf);
    }
    fn read(&mut self, op: IoId, segment: SegmentId, offset: u32, len: u32) {
        self.reads.borrow_mut().waiting.push_back((op, Location { segment, offset, len }));
    }
    fn poll(&mut self) -> Option<Completion<Vec<u8>>> {
        let read = self.reads.borrow_mut().done.pop_front();
        read.or_else(|| self.disk.poll())
    }
    fn list(&mut self) -> io::Result<Vec<SegmentId>> {
        self.disk.list()
    }
    fn settle(&mut self, segments: &[SegmentId]) -> io::Result<()> {
        self.disk.settle(segments)
    }
    fn head(&mut self, segment: SegmentId) -> io::Result<SegmentHead> {
        self.disk.head(segment)
    }
    fn image(&mut self, segment: SegmentId) -> io::Result<Vec<u8>> {
        self.disk.image(segment)
    }
    fn describe(&self, segment: Option<SegmentId>) -> String {
        self.disk.describe(segment)
    }
}
