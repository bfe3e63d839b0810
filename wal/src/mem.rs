//! An in-memory disk with the faults of a real one, for the simulator and for tests. Its behaviour depends
//! only on its seed and the calls made; it has no clock but the time that the caller passes.
//!
//! ```text
//!   MemDisk (given to the log) ──▶ ┌───────────────────────────┐ ◀── MemImage (kept by the simulator)
//!     write/read/prepare/poll      │ files + operations pending │      advance, complete, crash, damage, fail
//!                                  └───────────────────────────┘
//! ```
//! A write changes the file when it completes, and survives crashes from then on (O_DSYNC). A crash ends each
//! pending write separately: lost, whole, or torn at 512 or 4096 bytes. Segments are made one after the
//! other; a crash leaves at most one half made, and no listing shows it.

use crate::disk::{Completion, Disk, OpId, SegmentHead, SegmentPlan};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::rc::Rc;
use synod_types::{Location, SegmentId};

/// How a simulated disk behaves. Times are in nanoseconds, drawn uniformly from a range; chances are in parts
/// per million.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemOptions {
    /// Write latency, minimum and maximum. A wide range makes completions overtake each other.
    pub write_ns: (u64, u64),
    /// Read latency.
    pub read_ns: (u64, u64),
    /// Time to make a segment.
    pub prepare_ns: (u64, u64),
    /// Chance that an operation takes `stall_ns` longer.
    pub stall_ppm: u32,
    /// Length of such a stall.
    pub stall_ns: u64,
    /// Chance that a write fails after writing part of its bytes.
    pub write_error_ppm: u32,
    /// Chance that a write is short.
    pub write_short_ppm: u32,
    /// Chance that a read fails.
    pub read_error_ppm: u32,
    /// Chance that a read returns one byte different from what was written.
    pub read_rot_ppm: u32,
    /// Chance that a segment cannot be made.
    pub prepare_error_ppm: u32,
    /// Bytes that all segments together may take; beyond that, making one fails as on a full disk.
    pub capacity_bytes: u64,
}

impl Default for MemOptions {
    fn default() -> Self {
        Self {
            write_ns: (0, 0),
            read_ns: (0, 0),
            prepare_ns: (0, 0),
            stall_ppm: 0,
            stall_ns: 0,
            write_error_ppm: 0,
            write_short_ppm: 0,
            read_error_ppm: 0,
            read_rot_ppm: 0,
            prepare_error_ppm: 0,
            capacity_bytes: u64::MAX,
        }
    }
}

/// A fault to be injected once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The operation fails.
    Error,
    /// It ends with fewer bytes than requested.
    Short,
}

/// A pending operation, for a scheduler to choose from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pending {
    /// A write.
    Write {
        /// The segment.
        segment: SegmentId,
        /// The offset in it.
        offset: u32,
        /// The length.
        len: u32,
    },
    /// A read.
    Read {
        /// The segment.
        segment: SegmentId,
    },
    /// A segment in preparation, or a removal; only the oldest can complete.
    Background {
        /// The segment.
        segment: SegmentId,
    },
}

/// The simulator's handle on a disk; it survives crashes of the log above. A clone is another handle on the
/// same disk.
#[derive(Clone)]
pub struct MemImage(Rc<RefCell<Inner>>);

/// The disk as the log sees it. It stops working after a crash, or when another log is attached.
pub struct MemDisk {
    image: MemImage,
    attachment: u64,
}

struct Inner {
    options: MemOptions,
    random: Random,
    now_ns: u64,
    files: BTreeMap<SegmentId, File>,
    operations: Vec<Operation>,
    /// Of the writes that have completed, the one that was started last.
    wrote: Option<OpId>,
    background: VecDeque<Job>,
    completed: VecDeque<Completion<Vec<u8>>>,
    attachment: u64,
    next_write: Option<Fault>,
    next_read: Option<Fault>,
    next_prepare: Option<Fault>,
}

/// A file; bytes beyond `bytes` are zero.
#[derive(Clone, Default)]
struct File {
    size: u64,
    bytes: Vec<u8>,
}

/// A copy of a disk's files.
#[derive(Clone)]
pub struct MemCopy(BTreeMap<SegmentId, File>);

struct Operation {
    op: OpId,
    due_ns: u64,
    what: What,
}

enum What {
    Write { segment: SegmentId, offset: u32, buf: Rc<Vec<u8>> },
    Read { segment: SegmentId, offset: u32, len: u32 },
}

struct Job {
    due_ns: u64,
    what: Background,
}

enum Background {
    Prepare(SegmentPlan),
    Remove(SegmentId),
}

impl MemImage {
    /// An empty disk.
    pub fn new(options: MemOptions, seed: u64) -> Self {
        Self(Rc::new(RefCell::new(Inner {
            options,
            random: Random(seed),
            now_ns: 0,
            files: BTreeMap::new(),
            operations: Vec::new(),
            wrote: None,
            background: VecDeque::new(),
            completed: VecDeque::new(),
            attachment: 0,
            next_write: None,
            next_read: None,
            next_prepare: None,
        })))
    }

    /// Attaches a new log to the disk. The pending operations of an earlier one end as in
    /// [`MemImage::crash`].
    pub fn disk(&self) -> MemDisk {
        let seed = self.0.borrow_mut().random.next();
        self.crash(seed);
        MemDisk { image: self.clone(), attachment: self.0.borrow().attachment }
    }

    /// Lets time pass: all operations that are due complete, in the order of their due times. Time never goes
    /// back.
    pub fn advance(&self, now_ns: u64) {
        let mut inner = self.0.borrow_mut();
        inner.now_ns = inner.now_ns.max(now_ns);
        while let Some((index, due_ns)) = inner.next_due()
            && due_ns <= inner.now_ns
        {
            inner.complete(index);
        }
    }

    /// When the next operation is due.
    pub fn next_due(&self) -> Option<u64> {
        self.0.borrow().next_due().map(|(_, due_ns)| due_ns)
    }

    /// The pending operations; [`MemImage::complete`] takes an index into this list.
    pub fn pending(&self) -> Vec<Pending> {
        let inner = self.0.borrow();
        let operations = inner.operations.iter().map(|operation| match &operation.what {
            What::Write { segment, offset, buf } => {
                Pending::Write { segment: *segment, offset: *offset, len: buf.len() as u32 }
            }
            What::Read { segment, .. } => Pending::Read { segment: *segment },
        });
        let background = inner.background.front().map(|job| match &job.what {
            Background::Prepare(plan) => Pending::Background { segment: plan.segment },
            Background::Remove(segment) => Pending::Background { segment: *segment },
        });
        operations.chain(background).collect()
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
        let mut inner = self.0.borrow_mut();
        while !inner.operations.is_empty() || !inner.background.is_empty() {
            inner.complete(0);
        }
    }

    /// Simulates a power failure: every pending write is lost, whole or torn, depending on `seed`, and the
    /// log above is cut off.
    pub fn crash(&self, seed: u64) {
        let mut inner = self.0.borrow_mut();
        let mut random = Random(seed);
        inner.wrote = None;
        for operation in std::mem::take(&mut inner.operations) {
            if let What::Write { segment, offset, buf } = operation.what {
                match random.below(3) {
                    0 => {}
                    1 => inner.store(segment, offset, &buf),
                    _ => inner.tear(segment, offset, &buf, &mut random),
                }
            }
        }
        if let Some(job) = inner.background.pop_front() {
            match (random.below(3), &job.what) {
                (0, _) => {}
                // Cut off half-way: a recycled file has lost its old name and has no new name yet.
                (1, Background::Prepare(plan)) => {
                    if let Some(source) = plan.recycle {
                        inner.files.remove(&source);
                    }
                }
                _ => {
                    inner.carry_out(job.what);
                }
            }
        }
        inner.background.clear();
        inner.completed.clear();
        inner.attachment += 1;
    }

    /// Makes the next write end with this fault.
    pub fn fail_next_write(&self, fault: Fault) {
        self.0.borrow_mut().next_write = Some(fault);
    }

    /// Makes the next read end with this fault.
    pub fn fail_next_read(&self, fault: Fault) {
        self.0.borrow_mut().next_read = Some(fault);
    }

    /// Makes the preparation of the next segment fail.
    pub fn fail_next_prepare(&self) {
        self.0.borrow_mut().next_prepare = Some(Fault::Error);
    }

    /// Whether a pending write was started before one that has completed: a crash now can leave a gap.
    pub fn is_overtaken(&self) -> bool {
        let inner = self.0.borrow();
        let is_write = |operation: &&Operation| matches!(operation.what, What::Write { .. });
        inner.operations.iter().filter(is_write).any(|operation| Some(operation.op) < inner.wrote)
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
        self.0.borrow().files.keys().copied().collect()
    }

    /// The bytes at `at`, as they are now; `None` if the file does not have that many.
    pub fn part(&self, at: Location) -> Option<Vec<u8>> {
        let bytes = self.0.borrow().files.get(&at.segment)?.part(at.offset, at.len);
        (bytes.len() == at.len as usize).then_some(bytes)
    }
    /// All bytes of a segment.
    pub fn bytes(&self, segment: SegmentId) -> Option<Vec<u8>> {
        self.0.borrow().files.get(&segment).map(File::whole)
    }

    /// Replaces all bytes of a segment, or creates it.
    pub fn put(&self, segment: SegmentId, bytes: Vec<u8>) {
        self.0.borrow_mut().files.insert(segment, File { size: bytes.len() as u64, bytes });
    }

    /// Removes a segment.
    pub fn remove(&self, segment: SegmentId) {
        self.0.borrow_mut().files.remove(&segment);
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
        let mut inner = self.0.borrow_mut();
        assert!(inner.operations.is_empty() && inner.background.is_empty(), "a log is at work");
        inner.files.clone_from(&copy.0);
    }

    /// Simulates bit rot: XORs one byte with `mask`.
    ///
    /// # Panics
    /// When there is no such byte, or `mask` is 0.
    pub fn rot(&self, segment: SegmentId, offset: u32, mask: u8) {
        assert!(mask != 0, "no bit to flip");
        let mut inner = self.0.borrow_mut();
        let Some(file) = inner.files.get_mut(&segment) else { panic!("no such segment: {segment}") };
        assert!(u64::from(offset) < file.size, "offset {offset} outside {segment}");
        let at = offset as usize;
        file.reach(at + 1);
        file.bytes[at] ^= mask;
    }

    /// Bytes that all segments together take.
    pub fn used_bytes(&self) -> u64 {
        self.0.borrow().used_bytes()
    }

    /// A digest of all files, to compare two runs.
    pub fn digest(&self) -> u64 {
        let mut digest = 0_u64;
        for (segment, file) in &self.0.borrow().files {
            let crc = synod_types::checksum::crc32c(&file.whole());
            digest = Random(digest ^ u64::from(segment.get()) << 32 ^ u64::from(crc)).next();
        }
        digest
    }
}

impl Inner {
    fn used_bytes(&self) -> u64 {
        self.files.values().map(|file| file.size).sum()
    }

    fn draw_due(&mut self, (least, most): (u64, u64)) -> u64 {
        let spread = self.random.below(most.saturating_sub(least).saturating_add(1));
        let stall = if self.chance(self.options.stall_ppm) { self.options.stall_ns } else { 0 };
        self.now_ns.saturating_add(least).saturating_add(spread).saturating_add(stall)
    }

    fn chance(&mut self, ppm: u32) -> bool {
        ppm > 0 && self.random.below(1_000_000) < u64::from(ppm)
    }

    /// The pending operation that is due first, and its due time.
    fn next_due(&self) -> Option<(usize, u64)> {
        let operations = self.operations.iter().map(|operation| operation.due_ns);
        let background = self.background.front().map(|job| job.due_ns);
        operations.chain(background).enumerate().min_by_key(|&(index, due_ns)| (due_ns, index))
    }

    fn complete(&mut self, index: usize) {
        if index < self.operations.len() {
            let operation = self.operations.remove(index);
            let completion = self.end_operation(operation);
            self.completed.push_back(completion);
            return;
        }
        assert!(index == self.operations.len(), "no such pending operation");
        let Some(job) = self.background.pop_front() else { panic!("no such pending operation") };
        if let Background::Prepare(plan) = &job.what {
            let segment = plan.segment;
            // A recycled file takes no additional space.
            let full = plan.recycle.is_none() && self.used_bytes_with(plan) > self.options.capacity_bytes;
            let failed = self.next_prepare.take().is_some() || self.chance(self.options.prepare_error_ppm);
            let result = if full {
                Err(io::Error::new(io::ErrorKind::StorageFull, "the disk is full"))
            } else if failed {
                Err(io::Error::other("injected: the segment could not be made"))
            } else {
                Ok(())
            };
            if result.is_ok() {
                self.carry_out(job.what);
            }
            self.completed.push_back(Completion::Prepared { segment, result });
        } else {
            self.carry_out(job.what);
        }
    }

    fn used_bytes_with(&self, plan: &SegmentPlan) -> u64 {
        self.used_bytes().saturating_add(u64::from(plan.size))
    }

    fn end_operation(&mut self, operation: Operation) -> Completion<Vec<u8>> {
        let op = operation.op;
        match operation.what {
            What::Write { segment, offset, buf } => {
                self.wrote = self.wrote.max(Some(op));
                let error_ppm = self.options.write_error_ppm;
                let short_ppm = self.options.write_short_ppm;
                let fault = match self.next_write.take() {
                    Some(fault) => Some(fault),
                    None if self.chance(error_ppm) => Some(Fault::Error),
                    None if self.chance(short_ppm) => Some(Fault::Short),
                    None => None,
                };
                let result = match fault {
                    None => {
                        self.store(segment, offset, &buf);
                        Ok(buf.len())
                    }
                    Some(Fault::Short) => {
                        let len = self.random.below(buf.len() as u64) as usize / 512 * 512;
                        self.store(segment, offset, &buf[..len]);
                        Ok(len)
                    }
                    Some(Fault::Error) => {
                        let mut random = Random(self.random.next());
                        self.tear(segment, offset, &buf, &mut random);
                        Err(io::Error::other("injected: the write failed"))
                    }
                };
                Completion::Wrote { op, result }
            }
            What::Read { segment, offset, len } => {
                let error_ppm = self.options.read_error_ppm;
                let fault = match self.next_read.take() {
                    Some(fault) => Some(fault),
                    None if self.chance(error_ppm) => Some(Fault::Error),
                    None => None,
                };
                let whole = self.files.get(&segment).map(|file| file.part(offset, len));
                let result = match (fault, whole) {
                    (Some(Fault::Error), _) => Err(io::Error::other("injected: the read failed")),
                    (_, None) => Err(io::Error::new(io::ErrorKind::NotFound, "no such segment")),
                    (Some(Fault::Short), Some(mut bytes)) => {
                        bytes.truncate(bytes.len() / 2 / 512 * 512);
                        Ok(bytes)
                    }
                    (None, Some(mut bytes)) => {
                        if !bytes.is_empty() && self.chance(self.options.read_rot_ppm) {
                            let at = self.random.below(bytes.len() as u64) as usize;
                            bytes[at] ^= 1 << self.random.below(8);
                        }
                        Ok(bytes)
                    }
                };
                Completion::Read { op, result }
            }
        }
    }

    fn carry_out(&mut self, job: Background) {
        match job {
            Background::Remove(segment) => {
                self.files.remove(&segment);
            }
            Background::Prepare(plan) => {
                let size = u64::from(plan.size);
                let mut file = match plan.recycle {
                    Some(source) => self.files.remove(&source).unwrap_or_default(),
                    None => File::default(),
                };
                file.size = size;
                file.bytes.truncate(plan.size as usize);
                file.reach(plan.header.len());
                file.bytes[..plan.header.len()].copy_from_slice(&plan.header);
                let before = self.files.insert(plan.segment, file);
                assert!(before.is_none(), "{} was made twice", plan.segment);
            }
        }
    }

    fn store(&mut self, segment: SegmentId, offset: u32, bytes: &[u8]) {
        let Some(file) = self.files.get_mut(&segment) else {
            panic!("write to {segment}, which does not exist")
        };
        let end = offset as usize + bytes.len();
        assert!(end as u64 <= file.size, "write beyond the end of {segment}");
        file.reach(end);
        file.bytes[offset as usize..end].copy_from_slice(bytes);
    }

    /// Stores some of a write's sectors: the first few, or any subset.
    fn tear(&mut self, segment: SegmentId, offset: u32, bytes: &[u8], random: &mut Random) {
        let sector = if random.below(2) == 0 { 512 } else { 4096 };
        let count = bytes.len().div_ceil(sector) as u64;
        let prefix = (random.below(2) == 0).then(|| random.below(count));
        for (index, chunk) in bytes.chunks(sector).enumerate() {
            let arrives = match prefix {
                Some(len) => (index as u64) < len,
                None => random.below(2) == 0,
            };
            if arrives {
                self.store(segment, offset + (index * sector) as u32, chunk);
            }
        }
    }
}

impl File {
    fn reach(&mut self, len: usize) {
        if self.bytes.len() < len {
            self.bytes.resize(len, 0);
        }
    }
    fn whole(&self) -> Vec<u8> {
        self.part(0, self.size as u32)
    }
    fn part(&self, offset: u32, len: u32) -> Vec<u8> {
        let end = (u64::from(offset) + u64::from(len)).min(self.size) as usize;
        let start = (offset as usize).min(end);
        let stored = self.bytes.get(start..end.min(self.bytes.len())).unwrap_or(&[]);
        let mut out = Vec::with_capacity(end - start);
        out.extend_from_slice(stored);
        out.resize(end - start, 0);
        out
    }
}

impl MemDisk {
    fn inner(&self) -> Option<std::cell::RefMut<'_, Inner>> {
        let inner = self.image.0.borrow_mut();
        (inner.attachment == self.attachment).then_some(inner)
    }
}

impl Disk for MemDisk {
    type Buf = Vec<u8>;
    type Bytes = Vec<u8>;
    type Image = Vec<u8>;

    fn alloc(&mut self, len: usize) -> Vec<u8> {
        // Not zeros, so that a log that forgets to clear its padding is noticed.
        vec![0xA5; len]
    }

    fn trim(buf: &mut Vec<u8>, len: usize) {
        buf.truncate(len);
    }

    fn prepare_segment(&mut self, plan: SegmentPlan) {
        let Some(mut inner) = self.inner() else { return };
        let after = inner.background.back().map_or(0, |job| job.due_ns);
        let range = inner.options.prepare_ns;
        let due_ns = inner.draw_due(range).max(after);
        inner.background.push_back(Job { due_ns, what: Background::Prepare(plan) });
    }

    fn remove_segment(&mut self, segment: SegmentId) {
        let Some(mut inner) = self.inner() else { return };
        let due_ns = inner.background.back().map_or(inner.now_ns, |job| job.due_ns);
        inner.background.push_back(Job { due_ns, what: Background::Remove(segment) });
    }

    fn write(&mut self, op: OpId, segment: SegmentId, offset: u32, buf: Rc<Vec<u8>>) {
        assert!(offset.is_multiple_of(4096) && buf.len().is_multiple_of(4096), "unaligned write");
        let Some(mut inner) = self.inner() else { return };
        let range = inner.options.write_ns;
        let due_ns = inner.draw_due(range);
        inner.operations.push(Operation { op, due_ns, what: What::Write { segment, offset, buf } });
    }

    fn read(&mut self, op: OpId, segment: SegmentId, offset: u32, len: u32) {
        assert!(offset.is_multiple_of(4096) && len.is_multiple_of(4096), "unaligned read");
        let Some(mut inner) = self.inner() else { return };
        let range = inner.options.read_ns;
        let due_ns = inner.draw_due(range);
        inner.operations.push(Operation { op, due_ns, what: What::Read { segment, offset, len } });
    }

    fn poll(&mut self) -> Option<Completion<Vec<u8>>> {
        self.inner()?.completed.pop_front()
    }

    fn list(&mut self) -> io::Result<Vec<SegmentId>> {
        Ok(self.image.segments())
    }

    fn settle(&mut self, _segments: &[SegmentId]) -> io::Result<()> {
        Ok(())
    }

    fn head(&mut self, segment: SegmentId) -> io::Result<SegmentHead> {
        let inner = self.image.0.borrow();
        match inner.files.get(&segment) {
            Some(file) => Ok(SegmentHead { size: file.size, page: file.part(0, 4096) }),
            None => Err(io::Error::new(io::ErrorKind::NotFound, "no such segment")),
        }
    }

    fn image(&mut self, segment: SegmentId) -> io::Result<Vec<u8>> {
        match self.image.bytes(segment) {
            Some(bytes) => Ok(bytes),
            None => Err(io::Error::new(io::ErrorKind::NotFound, "no such segment")),
        }
    }

    fn describe(&self, segment: Option<SegmentId>) -> String {
        match segment {
            Some(segment) => format!("mem:{segment}"),
            None => "mem:".to_owned(),
        }
    }
}

/// SplitMix64: a small generator that takes any seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
    /// A number below `bound`, close enough to uniform; 0 when `bound` is 0.
    fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.next() % bound }
    }
}
