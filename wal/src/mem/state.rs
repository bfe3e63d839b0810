//! The state of a simulated disk: its files, the operations that are pending, the time.

use super::files::Files;
use super::options::{IoFault, MemOptions};
use super::random::Random;
use crate::disk::{Completion, IoId, SegmentPlan};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use synod_types::SegmentId;

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

pub(super) struct MemState {
    pub(super) options: MemOptions,
    pub(super) random: Random,
    now_ns: u64,
    pub(super) files: Files,
    operations: Vec<PendingIo>,
    /// Of the writes that have completed, the one that was started last.
    wrote: Option<IoId>,
    background: VecDeque<BackgroundTask>,
    pub(super) completed: VecDeque<Completion<Vec<u8>>>,
    /// How many logs the disk has had; only the last one's handle works.
    pub(super) attachment: u64,
    pub(super) next_write: Option<IoFault>,
    pub(super) next_read: Option<IoFault>,
    pub(super) next_prepare: Option<IoFault>,
}

struct PendingIo {
    op: IoId,
    due_ns: u64,
    what: What,
}

pub(super) enum What {
    Write { segment: SegmentId, offset: u32, buf: Rc<Vec<u8>> },
    Read { segment: SegmentId, offset: u32, len: u32 },
}

struct BackgroundTask {
    due_ns: u64,
    what: Background,
}

enum Background {
    Prepare(SegmentPlan),
    Remove(SegmentId),
}

impl MemState {
    pub(super) fn new(options: MemOptions, seed: u64) -> Self {
        Self {
            options,
            random: Random::new(seed),
            now_ns: 0,
            files: Files::default(),
            operations: Vec::new(),
            wrote: None,
            background: VecDeque::new(),
            completed: VecDeque::new(),
            attachment: 0,
            next_write: None,
            next_read: None,
            next_prepare: None,
        }
    }

    /// Starts a read or a write.
    pub(super) fn start(&mut self, op: IoId, what: What) {
        let range = match what {
            What::Write { .. } => self.options.write_ns,
            What::Read { .. } => self.options.read_ns,
        };
        let due_ns = self.draw_due(range);
        self.operations.push(PendingIo { op, due_ns, what });
    }

    /// Starts to make a segment, once the earlier ones are made.
    pub(super) fn start_prepare(&mut self, plan: SegmentPlan) {
        let after = self.background.back().map_or(0, |job| job.due_ns);
        let due_ns = self.draw_due(self.options.prepare_ns).max(after);
        self.queue(BackgroundTask { due_ns, what: Background::Prepare(plan) });
    }

    /// Starts to remove a segment, once the earlier ones are made.
    pub(super) fn start_remove(&mut self, segment: SegmentId) {
        let due_ns = self.background.back().map_or(self.now_ns, |job| job.due_ns);
        self.queue(BackgroundTask { due_ns, what: Background::Remove(segment) });
    }

    fn queue(&mut self, job: BackgroundTask) {
        debug_assert!(
            self.background.back().is_none_or(|before| before.due_ns <= job.due_ns),
            "segments are made one after the other"
        );
        self.background.push_back(job);
    }

    /// See [`super::MemImage::advance`].
    pub(super) fn advance(&mut self, now_ns: u64) {
        self.now_ns = self.now_ns.max(now_ns);
        while let Some((index, due_ns)) = self.next_due()
            && due_ns <= self.now_ns
        {
            self.complete(index);
        }
        debug_assert!(self.now_ns >= now_ns, "time never goes back");
    }

    /// The pending operation that is due first, and its due time.
    pub(super) fn next_due(&self) -> Option<(usize, u64)> {
        let operations = self.operations.iter().map(|operation| operation.due_ns);
        let background = self.background.front().map(|job| job.due_ns);
        operations.chain(background).enumerate().min_by_key(|&(index, due_ns)| (due_ns, index))
    }

    /// See [`super::MemImage::pending`].
    pub(super) fn pending(&self) -> Vec<Pending> {
        let operations = self.operations.iter().map(|operation| match &operation.what {
            What::Write { segment, offset, buf } => {
                Pending::Write { segment: *segment, offset: *offset, len: buf.len() as u32 }
            }
            What::Read { segment, .. } => Pending::Read { segment: *segment },
        });
        let background = self.background.front().map(|job| match &job.what {
            Background::Prepare(plan) => Pending::Background { segment: plan.segment },
            Background::Remove(segment) => Pending::Background { segment: *segment },
        });
        let pending: Vec<Pending> = operations.chain(background).collect();
        debug_assert!(pending.is_empty() == self.is_idle(), "an operation that no scheduler can choose");
        pending
    }

    /// Whether nothing is pending.
    pub(super) fn is_idle(&self) -> bool {
        self.operations.is_empty() && self.background.is_empty()
    }

    /// See [`super::MemImage::is_overtaken`].
    pub(super) fn is_overtaken(&self) -> bool {
        let is_write = |operation: &&PendingIo| matches!(operation.what, What::Write { .. });
        self.operations.iter().filter(is_write).any(|operation| Some(operation.op) < self.wrote)
    }

    /// Ends every pending operation as a power failure does, and cuts off the log above.
    pub(super) fn crash(&mut self, seed: u64) {
        let mut random = Random::new(seed);
        self.wrote = None;
        for operation in std::mem::take(&mut self.operations) {
            if let What::Write { segment, offset, buf } = operation.what {
                match random.below(3) {
                    0 => {}
                    1 => self.files.store(segment, offset, &buf),
                    _ => self.files.tear(segment, offset, &buf, &mut random),
                }
            }
        }
        if let Some(job) = self.background.pop_front() {
            match (random.below(3), &job.what) {
                (0, _) => {}
                // Cut off half-way: a recycled file has lost its old name and has no new name yet.
                (1, Background::Prepare(plan)) => {
                    if let Some(source) = plan.recycle {
                        self.files.remove(source);
                    }
                }
                _ => self.carry_out(&job.what),
            }
        }
        self.background.clear();
        self.completed.clear();
        self.attachment += 1;
        assert!(self.is_idle(), "an operation has outlived a power failure");
    }

    /// Completes a pending operation, an index into [`MemState::pending`].
    ///
    /// # Panics
    /// When there is no such operation.
    pub(super) fn complete(&mut self, index: usize) {
        if index < self.operations.len() {
            let PendingIo { op, what, .. } = self.operations.remove(index);
            let completion = match what {
                What::Write { segment, offset, buf } => {
                    Completion::Wrote { op, result: self.end_write(op, segment, offset, &buf) }
                }
                What::Read { segment, offset, len } => {
                    Completion::Read { op, result: self.end_read(segment, offset, len) }
                }
            };
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
                self.carry_out(&job.what);
            }
            self.completed.push_back(Completion::Prepared { segment, result });
        } else {
            self.carry_out(&job.what);
        }
    }

    fn carry_out(&mut self, job: &Background) {
        match job {
            Background::Remove(segment) => self.files.remove(*segment),
            Background::Prepare(plan) => self.files.make(plan),
        }
    }

    /// Changes the file and returns the bytes written, or only a part of them if there is to be a fault.
    fn end_write(&mut self, op: IoId, segment: SegmentId, offset: u32, buf: &[u8]) -> io::Result<usize> {
        self.wrote = self.wrote.max(Some(op));
        let error_ppm = self.options.write_error_ppm;
        let short_ppm = self.options.write_short_ppm;
        let fault = match self.next_write.take() {
            Some(fault) => Some(fault),
            None if self.chance(error_ppm) => Some(IoFault::Error),
            None if self.chance(short_ppm) => Some(IoFault::Short),
            None => None,
        };
        match fault {
            None => {
                self.files.store(segment, offset, buf);
                Ok(buf.len())
            }
            Some(IoFault::Short) => {
                let len = self.random.below(buf.len() as u64) as usize / 512 * 512;
                debug_assert!(len < buf.len(), "a short write is short");
                self.files.store(segment, offset, &buf[..len]);
                Ok(len)
            }
            Some(IoFault::Error) => {
                let mut random = Random::new(self.random.next());
                self.files.tear(segment, offset, buf, &mut random);
                Err(io::Error::other("injected: the write failed"))
            }
        }
    }

    /// The bytes of a read, with a fault if there is to be one.
    fn end_read(&mut self, segment: SegmentId, offset: u32, len: u32) -> io::Result<Vec<u8>> {
        let error_ppm = self.options.read_error_ppm;
        let fault = match self.next_read.take() {
            Some(fault) => Some(fault),
            None if self.chance(error_ppm) => Some(IoFault::Error),
            None => None,
        };
        let whole = self.files.get(segment).map(|file| file.part(offset, len));
        match (fault, whole) {
            (Some(IoFault::Error), _) => Err(io::Error::other("injected: the read failed")),
            (_, None) => Err(io::Error::new(io::ErrorKind::NotFound, "no such segment")),
            (Some(IoFault::Short), Some(mut bytes)) => {
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
        }
    }

    fn used_bytes_with(&self, plan: &SegmentPlan) -> u64 {
        self.files.used_bytes().saturating_add(u64::from(plan.size))
    }

    fn draw_due(&mut self, (least, most): (u64, u64)) -> u64 {
        let spread = self.random.below(most.saturating_sub(least).saturating_add(1));
        let stall = if self.chance(self.options.stall_ppm) { self.options.stall_ns } else { 0 };
        let due_ns = self.now_ns.saturating_add(least).saturating_add(spread).saturating_add(stall);
        debug_assert!(due_ns >= self.now_ns, "an operation is due before it began");
        due_ns
    }

    fn chance(&mut self, ppm: u32) -> bool {
        ppm > 0 && self.random.below(1_000_000) < u64::from(ppm)
    }
}
