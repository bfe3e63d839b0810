//! The real disk: O_DIRECT | O_DSYNC writes over io_uring, through glommio. The only module of this crate
//! that may name glommio.
//!
//! ```text
//!   write ──spawn_local──▶ write_rc_at ──────┐
//!   read ───spawn_local──▶ read_at_aligned ──┼──▶ completed queue + wake() ──▶ poll
//!   prepare ──▶ thread ──▶ open ─────────────┘
//! ```
//! Workarounds for glommio 0.9: `prime` prevents polled reads; all offsets and lengths are multiples of 4096
//! (glommio assumes 512); `read_at` is never used (it can return bytes that were not read); a write is never
//! cancelled.

mod dir;
mod fill;
mod prepare;
mod reserve;
mod sys;

pub use dir::MappedSegment;
pub use reserve::reserve;

use crate::disk::{Completion, Disk, IoId, SegmentHead, SegmentPlan};
use dir::Dir;
use glommio::io::{DmaBuffer, DmaFile, OpenOptions, ReadResult};
use prepare::{Preparer, SegmentOutcomes};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::Deref;
use std::path::Path;
use std::rc::Rc;
use synod_types::SegmentId;

/// Files kept open for reading and writing; beyond that, the least recently used idle one is closed.
const OPEN_FILES_MAX: usize = 256;

/// How a [`UringDisk`] works.
pub struct UringOptions {
    /// Called on the executor whenever an operation has completed; it should start a turn, which calls
    /// `poll`.
    pub wake: Rc<dyn Fn()>,
    /// CPUs for the thread that makes segments; empty means all. They should not be those of executors.
    pub background_cpus: Vec<usize>,
}

/// One core's log directory. Must be used on the executor it was opened on.
pub struct UringDisk {
    shared: Rc<RingState>,
    preparer: Preparer,
}

/// The bytes that a read returned.
pub struct ReadBytes(ReadResult);

impl Deref for ReadBytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// The state that operations in flight share with the disk. It lives until they have ended, and so does the
/// lock on the directory.
struct RingState {
    dir: Rc<Dir>,
    completed: RefCell<VecDeque<Completion<ReadBytes>>>,
    files: RefCell<OpenFiles>,
    wake: Rc<dyn Fn()>,
}

#[derive(Default)]
struct OpenFiles {
    open: BTreeMap<SegmentId, (Rc<DmaFile>, u64)>,
    clock: u64,
}

impl UringDisk {
    /// Opens a log directory, and creates it if it does not exist. Must run on the executor that will use it.
    /// Blocks.
    ///
    /// # Errors
    /// When the directory is in use by another process, or the file system fails.
    pub async fn open(path: &Path, options: UringOptions) -> io::Result<Self> {
        let dir = Rc::new(Dir::open(path)?);
        prime(path).await?;
        let (preparer, outcomes) = Preparer::start(&dir, options.background_cpus)?;
        let shared = Rc::new(RingState {
            dir,
            completed: RefCell::default(),
            files: RefCell::default(),
            wake: options.wake,
        });
        glommio::spawn_local(forward(Rc::clone(&shared), outcomes)).detach();
        Ok(Self { shared, preparer })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        self.shared.dir.path()
    }
}

/// Forwards the outcomes of the segment thread to the log, each with its file already open.
async fn forward(shared: Rc<RingState>, outcomes: SegmentOutcomes) {
    while let Some((segment, mut result)) = std::future::poll_fn(|context| outcomes.poll_next(context)).await
    {
        if result.is_ok() {
            result = shared.file(segment).await.map(drop);
        }
        shared.finish(Completion::Prepared { segment, result });
    }
    // The disk was dropped. Once this task is gone, the directory can be opened again.
    (shared.wake)();
}

impl RingState {
    fn finish(&self, completion: Completion<ReadBytes>) {
        self.completed.borrow_mut().push_back(completion);
        (self.wake)();
    }

    async fn file(&self, segment: SegmentId) -> io::Result<Rc<DmaFile>> {
        if let Some(file) = self.files.borrow_mut().get(segment) {
            return Ok(file);
        }
        let path = self.dir.segment(segment);
        let file =
            OpenOptions::new().read(true).write(true).custom_flags(libc::O_DSYNC).dma_open(&path).await?;
        let (file, superfluous) = self.files.borrow_mut().put(segment, Rc::new(file));
        for old in superfluous {
            // A failed close loses nothing: each write of the file was durable or has reported its own error.
            let _ = old.close_rc().await;
        }
        Ok(file)
    }

    async fn write(&self, segment: SegmentId, offset: u32, buf: Rc<DmaBuffer>) -> io::Result<usize> {
        let file = self.file(segment).await?;
        Ok(file.write_rc_at(buf, u64::from(offset)).await?)
    }

    async fn read(&self, segment: SegmentId, offset: u32, len: u32) -> io::Result<ReadBytes> {
        let file = self.file(segment).await?;
        Ok(ReadBytes(file.read_at_aligned(u64::from(offset), len as usize).await?))
    }
}

impl OpenFiles {
    fn get(&mut self, segment: SegmentId) -> Option<Rc<DmaFile>> {
        self.clock += 1;
        let clock = self.clock;
        self.open.get_mut(&segment).map(|(file, used)| {
            *used = clock;
            Rc::clone(file)
        })
    }

    /// Keeps a file open. Returns the one to use (another task may have opened it meanwhile) and those to
    /// close.
    fn put(&mut self, segment: SegmentId, file: Rc<DmaFile>) -> (Rc<DmaFile>, Vec<Rc<DmaFile>>) {
        if let Some(present) = self.get(segment) {
            assert!(!Rc::ptr_eq(&present, &file), "a file was opened once and kept twice");
            return (present, vec![file]);
        }
        let mut superfluous = Vec::new();
        if self.open.len() >= OPEN_FILES_MAX {
            let idle = self.open.iter().filter(|(_, (file, _))| Rc::strong_count(file) == 1);
            let oldest = idle.min_by_key(|(_, (_, used))| *used).map(|(&segment, _)| segment);
            superfluous.extend(oldest.and_then(|oldest| self.open.remove(&oldest)).map(|(file, _)| file));
        }
        let before = self.open.insert(segment, (Rc::clone(&file), self.clock));
        assert!(before.is_none() && superfluous.len() <= 1, "one file comes, at most one goes");
        (file, superfluous)
    }

    fn forget(&mut self, segment: SegmentId) {
        self.open.remove(&segment);
    }
}

impl Disk for UringDisk {
    type Buf = DmaBuffer;
    type Bytes = ReadBytes;
    type Image = MappedSegment;

    fn alloc(&mut self, len: usize) -> DmaBuffer {
        debug_assert!(len.is_multiple_of(4096), "a buffer is a multiple of pages");
        glommio::allocate_dma_buffer(len)
    }

    fn trim(buf: &mut DmaBuffer, len: usize) {
        debug_assert!(len.is_multiple_of(4096), "a buffer is cut at a page");
        buf.trim_to_size(len);
    }

    fn prepare_segment(&mut self, plan: SegmentPlan) {
        assert!(plan.size.is_multiple_of(4096) && plan.header.len() == 4096, "a segment that is no segment");
        if let Some(source) = plan.recycle {
            self.shared.files.borrow_mut().forget(source);
        }
        self.preparer.prepare(plan);
    }

    fn remove_segment(&mut self, segment: SegmentId) {
        self.shared.files.borrow_mut().forget(segment);
        self.preparer.remove(segment);
    }

    fn write(&mut self, op: IoId, segment: SegmentId, offset: u32, buf: Rc<DmaBuffer>) {
        debug_assert!(offset.is_multiple_of(4096) && buf.len().is_multiple_of(4096), "unaligned write");
        debug_assert!(!buf.is_empty(), "a write of nothing");
        self.preparer.written(segment);
        let shared = Rc::clone(&self.shared);
        glommio::spawn_local(async move {
            let result = shared.write(segment, offset, buf).await;
            shared.finish(Completion::Wrote { op, result });
        })
        .detach();
    }

    fn read(&mut self, op: IoId, segment: SegmentId, offset: u32, len: u32) {
        debug_assert!(offset.is_multiple_of(4096) && len.is_multiple_of(4096), "unaligned read");
        debug_assert!(len > 0, "a read of nothing");
        let shared = Rc::clone(&self.shared);
        glommio::spawn_local(async move {
            let result = shared.read(segment, offset, len).await;
            shared.finish(Completion::Read { op, result });
        })
        .detach();
    }

    fn poll(&mut self) -> Option<Completion<ReadBytes>> {
        self.shared.completed.borrow_mut().pop_front()
    }

    fn list(&mut self) -> io::Result<Vec<SegmentId>> {
        self.shared.dir.list()
    }

    fn settle(&mut self, segments: &[SegmentId]) -> io::Result<()> {
        self.shared.dir.settle(segments)
    }

    fn head(&mut self, segment: SegmentId) -> io::Result<SegmentHead> {
        self.shared.dir.head(segment)
    }

    fn image(&mut self, segment: SegmentId) -> io::Result<MappedSegment> {
        self.shared.dir.map(segment)
    }

    fn describe(&self, segment: Option<SegmentId>) -> String {
        match segment {
            Some(segment) => self.shared.dir.segment(segment).display().to_string(),
            None => self.shared.dir.path().display().to_string(),
        }
    }
}

/// Must run on each executor before it opens its first DMA file on a device.
///
/// glommio reads from the first file to find out whether the device supports polling. If that file is empty,
/// the read returns zero bytes; glommio takes that for a yes, and every later read fails. So the first file
/// that is opened must not be empty.
///
/// # Errors
/// When the file system fails.
pub async fn prime(dir: &Path) -> io::Result<()> {
    let path = dir.join("probe");
    if std::fs::metadata(&path).map_or(0, |metadata| metadata.len()) < 8192 {
        std::fs::write(&path, vec![1; 8192])?;
        std::fs::File::open(&path)?.sync_all()?;
    }
    let file = DmaFile::open(&path).await?;
    file.close().await?;
    Ok(())
}

/// Checks that this process may use io_uring. Call this before making an executor, which panics otherwise.
///
/// # Errors
/// The reason why io_uring is not available.
pub fn probe_io_uring() -> io::Result<()> {
    let error = sys::setup_error();
    match error.raw_os_error() {
        Some(libc::EFAULT) => Ok(()),
        Some(libc::ENOSYS) => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "this kernel has no io_uring (Linux 5.8 or later is needed)",
        )),
        Some(libc::EPERM) => Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "io_uring is forbidden here (kernel.io_uring_disabled, or a container's seccomp profile)",
        )),
        _ => Err(error),
    }
}
