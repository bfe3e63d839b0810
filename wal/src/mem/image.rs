//! The simulator's handle on a disk: it lets time pass, injects faults, and survives crashes.

use super::disk::MemDisk;
use super::files::MemCopy;
use super::options::{IoFault, MemOptions};
use super::state::{MemState, Pending};
use std::cell::RefCell;
use std::rc::Rc;
use synod_types::{Location, SegmentId};

/// The simulator's handle on a disk; it survives crashes of the log above. A clone is another handle on the
/// same disk.
#[derive(Clone)]
pub struct MemImage(Rc<RefCell<MemState>>);

impl MemImage {
    /// An empty disk.
    pub fn new(options: MemOptions, seed: u64) -> Self {
        Self(Rc::new(RefCell::new(MemState::new(options, seed))))
    }

    /// Attaches a new log to the disk. The pending operations of an earlier one end as in
    /// [`MemImage::crash`].
    pub fn disk(&self) -> MemDisk {
        let seed = self.0.borrow_mut().random.next();
        self.crash(seed);
        MemDisk::attach(&self.0)
    }

    /// Lets time pass: all operations that are due complete, in the order of their due times. Time never goes
    /// back.
    pub fn advance(&self, now_ns: u64) {
        self.0.borrow_mut().advance(now_ns);
    }

    /// When the next operation is due.
    pub fn next_due(&self) -> Option<u64> {
        self.0.borrow().next_due().map(|(_, due_ns)| due_ns)
    }

    /// The pending operations; [`MemImage::complete`] takes an index into this list.
    pub fn pending(&self) -> Vec<Pending> {
        self.0.borrow().pending()
    }

    /// Completes one pending operation, regardless of when it is due.
    ///
    /// # Panics
    /// When there is no such operation.
    pub fn complete(&self, index: usize) {
        self.0.borrow_mut().complete(index);
    }

    /// Completes all pending operations, oldest first.
    pub fn complete_all(&self) {
        let mut state = self.0.borrow_mut();
        while !state.is_idle() {
            state.complete(0);
        }
    }

    /// Simulates a power failure: every pending write is lost, whole or torn, depending on `seed`, and the
    /// log above is cut off.
    pub fn crash(&self, seed: u64) {
        self.0.borrow_mut().crash(seed);
    }

    /// Makes the next write end with this fault.
    pub fn fail_next_write(&self, fault: IoFault) {
        self.0.borrow_mut().next_write = Some(fault);
    }

    /// Makes the next read end with this fault.
    pub fn fail_next_read(&self, fault: IoFault) {
        self.0.borrow_mut().next_read = Some(fault);
    }

    /// Makes the preparation of the next segment fail.
    pub fn fail_next_prepare(&self) {
        self.0.borrow_mut().next_prepare = Some(IoFault::Error);
    }

    /// Whether a pending write was started before one that has completed: a crash now can leave a gap.
    pub fn is_overtaken(&self) -> bool {
        self.0.borrow().is_overtaken()
    }

    /// Fills the disk up to the last byte from outside, or frees it again. On a full disk only an existing
    /// file can become a segment; writes into segments still work.
    pub fn set_full(&self, full: bool) {
        self.0.borrow_mut().options.capacity_bytes = if full { 0 } else { u64::MAX };
    }

    /// Changes how the disk behaves from here on.
    pub fn configure(&self, change: impl FnOnce(&mut MemOptions)) {
        change(&mut self.0.borrow_mut().options);
    }

    /// The existing segments.
    pub fn segments(&self) -> Vec<SegmentId> {
        self.0.borrow().files.segments()
    }

    /// The bytes at `at`, as they are now; `None` if the file does not have that many.
    pub fn part(&self, at: Location) -> Option<Vec<u8>> {
        self.0.borrow().files.part(at)
    }

    /// All bytes of a segment.
    pub fn bytes(&self, segment: SegmentId) -> Option<Vec<u8>> {
        self.0.borrow().files.bytes(segment)
    }

    /// Replaces all bytes of a segment, or creates it.
    pub fn put(&self, segment: SegmentId, bytes: Vec<u8>) {
        self.0.borrow_mut().files.put(segment, bytes);
    }

    /// Removes a segment.
    pub fn remove(&self, segment: SegmentId) {
        self.0.borrow_mut().files.remove(segment);
    }

    /// A copy of the current state: completed writes and finished segments.
    pub fn copy(&self) -> MemCopy {
        MemCopy(self.0.borrow().files.clone())
    }

    /// Replaces the disk's files with a copy.
    ///
    /// # Panics
    /// When operations are pending.
    pub fn put_back(&self, copy: &MemCopy) {
        let mut state = self.0.borrow_mut();
        assert!(state.is_idle(), "a log is at work");
        state.files.clone_from(&copy.0);
    }

    /// Simulates bit rot: XORs one byte with `mask`.
    ///
    /// # Panics
    /// When there is no such byte, or `mask` is 0.
    pub fn rot(&self, segment: SegmentId, offset: u32, mask: u8) {
        assert!(mask != 0, "no bit to flip");
        self.0.borrow_mut().files.rot(segment, offset, mask);
    }

    /// Bytes that all segments together take.
    pub fn used_bytes(&self) -> u64 {
        self.0.borrow().files.used_bytes()
    }

    /// A digest of all files, to compare two runs.
    pub fn digest(&self) -> u64 {
        self.0.borrow().files.digest()
    }
}
