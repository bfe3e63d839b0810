//! The thread that makes segments: it writes header and zeros, syncs the file, renames it, and syncs the
//! directory. It never touches a segment in use.
//!
//! The file is filled with zeros instead of `fallocate`d, because a write into an unwritten extent changes
//! metadata: each O_DSYNC write would wait for the file system's journal (measured: three times the latency,
//! and tails of 100 ms).

use super::dir::{Dir, segment_path, sync_dir, temporary_path};
use super::fill::{Pace, Signals, fill, open_direct, write_exactly};
use super::reserve::spare;
use crate::disk::SegmentPlan;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::JoinHandle;
use std::time::Instant;
use synod_types::SegmentId;

enum SegmentJob {
    Prepare(SegmentPlan),
    Remove(SegmentId),
}

pub(super) type SegmentOutcome = (SegmentId, io::Result<()>);

/// The state that the thread and the executor share.
#[derive(Default)]
struct Desk {
    state: Mutex<PrepareState>,
    signals: Signals,
}

#[derive(Default)]
struct PrepareState {
    outcomes: VecDeque<SegmentOutcome>,
    waker: Option<Waker>,
    closed: bool,
}

/// The disk's handle on the thread; dropping it ends the thread.
pub(super) struct Preparer {
    jobs: Option<Sender<SegmentJob>>,
    thread: Option<JoinHandle<()>>,
    desk: Arc<Desk>,
}

/// The receiving end of the outcomes.
pub(super) struct SegmentOutcomes(Arc<Desk>);

impl Preparer {
    /// Starts the thread on `cpus`; if that is empty, on all CPUs of the machine.
    pub(super) fn start(dir: &Rc<Dir>, cpus: Vec<usize>) -> io::Result<(Self, SegmentOutcomes)> {
        let desk = Arc::new(Desk::default());
        let (jobs, inbox) = channel();
        let worker = Worker::new(dir.path().to_owned(), Arc::clone(&desk));
        let thread = std::thread::Builder::new().name("synod-segments".to_owned()).spawn(move || {
            // Best effort: on the wrong CPU the thread takes time from an executor, but still does its work.
            let _ = leave_executor_cpu(&cpus);
            worker.run(&inbox);
        })?;
        let outcomes = SegmentOutcomes(Arc::clone(&desk));
        Ok((Self { jobs: Some(jobs), thread: Some(thread), desk }, outcomes))
    }

    pub(super) fn prepare(&self, plan: SegmentPlan) {
        self.send(SegmentJob::Prepare(plan));
    }

    /// Records that the log has written to a segment; ids only grow.
    pub(super) fn written(&self, segment: SegmentId) {
        debug_assert!(
            self.desk.signals.written.load(Ordering::Relaxed) <= segment.get(),
            "the log has gone back to an earlier segment"
        );
        self.desk.signals.written.store(segment.get(), Ordering::Relaxed);
    }

    pub(super) fn remove(&self, segment: SegmentId) {
        self.send(SegmentJob::Remove(segment));
    }

    fn send(&self, job: SegmentJob) {
        let Some(jobs) = &self.jobs else { return };
        if let Err(lost) = jobs.send(job)
            && let SegmentJob::Prepare(plan) = lost.0
        {
            // The thread ends only with this handle. If it has died, the log must learn that no segment will
            // come.
            self.desk.report((plan.segment, Err(io::Error::other("the segment thread has died"))));
        }
    }
}

impl Drop for Preparer {
    fn drop(&mut self) {
        self.desk.signals.stop.store(true, Ordering::Relaxed);
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // This takes at most one chunk and one sync. Then nothing writes to the directory any more, so it
            // can be opened again.
            let _ = thread.join();
        }
        let waker = {
            let mut state = self.desk.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.closed = true;
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl SegmentOutcomes {
    /// The next outcome; `None` when the disk is gone.
    pub(super) fn poll_next(&self, context: &mut Context<'_>) -> Poll<Option<SegmentOutcome>> {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(outcome) = state.outcomes.pop_front() {
            return Poll::Ready(Some(outcome));
        }
        if state.closed {
            return Poll::Ready(None);
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Desk {
    fn report(&self, outcome: SegmentOutcome) {
        let waker = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            debug_assert!(!state.closed, "an outcome after the disk is gone");
            state.outcomes.push_back(outcome);
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

struct Worker {
    path: PathBuf,
    desk: Arc<Desk>,
    /// When the last segment was requested.
    asked: Cell<Option<Instant>>,
    /// The segment whose temporary file is on disk in full and lacks only its header.
    whole: Cell<Option<SegmentId>>,
    /// Segments that are still to be removed.
    removals: RefCell<Vec<SegmentId>>,
}

/// A file that a segment can be made from without writing all of it.
enum Source {
    /// The segment's temporary file, from an attempt that failed after the file had lost its former name.
    Temporary,
    /// A spare file. It has no segment's name, so its header is written in place and no failure loses the
    /// file.
    Spare(PathBuf),
    /// A segment file; it must lose its name before it gets another header.
    Segment(PathBuf),
}

impl Worker {
    fn new(path: PathBuf, desk: Arc<Desk>) -> Self {
        let (asked, whole) = (Cell::new(None), Cell::new(None));
        Self { path, desk, asked, whole, removals: RefCell::default() }
    }

    fn run(&self, inbox: &Receiver<SegmentJob>) {
        while let Ok(job) = inbox.recv() {
            match job {
                SegmentJob::Prepare(plan) => {
                    let result = self.prepare(&plan).map_err(|error| self.explain(&plan, &error));
                    self.desk.report((plan.segment, result));
                }
                SegmentJob::Remove(segment) => self.removals.borrow_mut().push(segment),
            }
            self.remove();
        }
    }

    /// Removes segment files. A file that cannot be removed is tried again after the next job; the next open
    /// finds it unused.
    fn remove(&self) {
        let is_left = |error: io::Error| error.kind() != io::ErrorKind::NotFound;
        self.removals
            .borrow_mut()
            .retain(|&segment| fs::remove_file(segment_path(&self.path, segment)).is_err_and(is_left));
    }

    fn prepare(&self, plan: &SegmentPlan) -> io::Result<()> {
        assert!(plan.recycle != Some(plan.segment), "a segment is made of itself");
        assert!(plan.header.len() as u64 <= u64::from(plan.size), "a segment without room for its header");
        let now = Instant::now();
        let since_last = self.asked.replace(Some(now)).map(|last| now.duration_since(last));
        let temporary = temporary_path(&self.path, plan.segment);
        let made = match self.source(plan)? {
            Some(source) => self.rewrite(plan, source, &temporary)?,
            None => {
                let pace = Pace::behind(&self.desk.signals, plan.segment.get(), since_last);
                self.fill(plan, &temporary, &pace)?;
                temporary
            }
        };
        let target = segment_path(&self.path, plan.segment);
        assert!(made != target, "a segment has its name before it is whole");
        fs::rename(&made, &target).map_err(at("rename to", &target))?;
        self.whole.set(None);
        sync_dir(&self.path).map_err(at("sync", &self.path))
    }

    /// The first file, in order of preference, that exists and has the right size.
    fn source(&self, plan: &SegmentPlan) -> io::Result<Option<Source>> {
        let fits = |path: &Path| {
            fs::symlink_metadata(path)
                .is_ok_and(|found| found.is_file() && found.len() == u64::from(plan.size))
        };
        if self.whole.get() == Some(plan.segment) && fits(&temporary_path(&self.path, plan.segment)) {
            return Ok(Some(Source::Temporary));
        }
        // A file with the segment's own name exists if an earlier attempt failed at its last step.
        let segments = [Some(plan.segment), plan.recycle];
        let mut paths = segments.into_iter().flatten().map(|segment| segment_path(&self.path, segment));
        if let Some(path) = paths.find(|path| fits(path)) {
            return Ok(Some(Source::Segment(path)));
        }
        Ok(spare(&self.path, plan.size).map_err(at("list", &self.path))?.map(Source::Spare))
    }

    /// Makes a segment from a file that is on disk in full: only the header is written. Returns the file's
    /// path. A failed attempt loses none of the space.
    fn rewrite(&self, plan: &SegmentPlan, source: Source, temporary: &Path) -> io::Result<PathBuf> {
        let made = match source {
            Source::Spare(path) => path,
            Source::Temporary => temporary.to_owned(),
            Source::Segment(path) => {
                fs::rename(&path, temporary).map_err(at("rename to", temporary))?;
                self.whole.set(Some(plan.segment));
                temporary.to_owned()
            }
        };
        // The old name must be durably gone before the old header is overwritten. Otherwise a crash could
        // leave a segment with the wrong header.
        sync_dir(&self.path).map_err(at("sync", &self.path))?;
        let head = || {
            let file = open_direct(OpenOptions::new().write(true), &made)?;
            let mut page = memmap2::MmapMut::map_anon(plan.header.len())?;
            page.copy_from_slice(&plan.header);
            write_exactly(&file, &page, 0)?;
            file.sync_all()
        };
        head().map_err(at("write", &made))?;
        Ok(made)
    }

    /// Writes a whole file, and removes it if that fails: a half-made file only takes space that may be
    /// short.
    fn fill(&self, plan: &SegmentPlan, temporary: &Path, pace: &Pace<'_>) -> io::Result<()> {
        let size = u64::from(plan.size);
        // Checked before writing: an attempt each second would take the disk's last bytes from all other
        // processes, again and again.
        if free_bytes(&self.path).is_some_and(|free| free < size) {
            let error = io::Error::from_raw_os_error(libc::ENOSPC);
            return Err(at("write", temporary)(error));
        }
        assert!(size > 0, "a segment of no bytes");
        let Err(error) = fill(temporary, size, &plan.header, pace) else { return Ok(()) };
        let error = at("write", temporary)(error);
        match fs::remove_file(temporary) {
            Err(left) if left.kind() != io::ErrorKind::NotFound && !temporary.is_dir() => {
                Err(io::Error::new(
                    error.kind(),
                    format!("{error}, and what was written cannot be removed: {left}"),
                ))
            }
            _ => Err(error),
        }
    }

    /// Adds to the error how much space is free and how much a segment takes.
    fn explain(&self, plan: &SegmentPlan, error: &io::Error) -> io::Error {
        let size = plan.size;
        let free = free_bytes(&self.path).map_or_else(String::new, |free| {
            format!("; {free} bytes free in {}, a segment takes {size}", self.path.display())
        });
        io::Error::new(error.kind(), format!("{error}{free}"))
    }
}

/// Adds the operation and the file to an error; the operating system's error names neither.
fn at<'a>(what: &'static str, path: &'a Path) -> impl Fn(io::Error) -> io::Error + 'a {
    move |error| io::Error::new(error.kind(), format!("{what} {}: {error}", path.display()))
}

/// Bytes that this process may still write in a directory; `None` where the file system does not report it.
fn free_bytes(dir: &Path) -> Option<u64> {
    let found = nix::sys::statvfs::statvfs(dir).ok()?;
    (found.blocks() > 0).then(|| found.blocks_available().saturating_mul(found.fragment_size()))
}

/// Moves this thread off the executor's CPU. A new thread inherits the CPU that its executor is pinned to,
/// and would take time from the write path there.
fn leave_executor_cpu(cpus: &[usize]) -> io::Result<()> {
    if let [id] = *cpus {
        let pinned = core_affinity::set_for_current(core_affinity::CoreId { id });
        return if pinned { Ok(()) } else { Err(io::Error::other(format!("there is no CPU {id} here"))) };
    }
    let mut set = CpuSet::new();
    // The kernel ignores CPUs that do not exist.
    for cpu in (0..CpuSet::count()).filter(|cpu| cpus.is_empty() || cpus.contains(cpu)) {
        set.set(cpu)?;
    }
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}
