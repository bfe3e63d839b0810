//! The thread that makes segments: zero-written, headed, synced, renamed, name synced. It never touches a segment in use.
//!
//! Why all zeros and not `fallocate`: a write into an unwritten extent changes metadata, and each O_DSYNC write would wait for
//! the file system's journal (measured: three times the latency, and tails of 100 ms).

use super::dir::{Dir, segment_path, sync_dir, temporary_path};
use super::fill::{Pace, Signals, fill, open_direct, write_exactly};
use super::reserve::spare;
use crate::disk::SegmentPlan;
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

enum Job {
    Prepare(SegmentPlan),
    Remove(SegmentId),
}

pub(super) type Outcome = (SegmentId, io::Result<()>);

/// What the thread and the executor share.
#[derive(Default)]
struct Desk {
    state: Mutex<State>,
    signals: Signals,
}

#[derive(Default)]
struct State {
    outcomes: VecDeque<Outcome>,
    waker: Option<Waker>,
    closed: bool,
}

/// The thread, as its disk holds it; dropping it ends the thread.
pub(super) struct Preparer {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    desk: Arc<Desk>,
}

/// Where outcomes arrive.
pub(super) struct Outcomes(Arc<Desk>);

impl Preparer {
    /// Starts the thread on `cpus`, or on all of the machine's if there are none given.
    pub(super) fn start(dir: &Rc<Dir>, cpus: Vec<usize>) -> io::Result<(Self, Outcomes)> {
        let desk = Arc::new(Desk::default());
        let (jobs, inbox) = channel();
        let worker = Worker::new(dir.path().to_owned(), Arc::clone(&desk));
        let thread = std::thread::Builder::new().name("synod-segments".to_owned()).spawn(move || {
            // Best effort: on the wrong CPU the thread is in the way, but does its work.
            let _ = leave_executor_cpu(&cpus);
            worker.run(&inbox);
        })?;
        let outcomes = Outcomes(Arc::clone(&desk));
        Ok((Self { jobs: Some(jobs), thread: Some(thread), desk }, outcomes))
    }

    pub(super) fn prepare(&self, plan: SegmentPlan) {
        self.send(Job::Prepare(plan));
    }

    /// The log writes to a segment; ids only grow.
    pub(super) fn written(&self, segment: SegmentId) {
        self.desk.signals.written.store(segment.get(), Ordering::Relaxed);
    }

    pub(super) fn remove(&self, segment: SegmentId) {
        self.send(Job::Remove(segment));
    }

    fn send(&self, job: Job) {
        let Some(jobs) = &self.jobs else { return };
        if let Err(lost) = jobs.send(job)
            && let Job::Prepare(plan) = lost.0
        {
            // The thread only ends with this handle; if it died, the log must learn that no segment comes.
            self.desk.report((plan.segment, Err(io::Error::other("the segment thread has died"))));
        }
    }
}

impl Drop for Preparer {
    fn drop(&mut self) {
        self.desk.signals.stop.store(true, Ordering::Relaxed);
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // At most one chunk and one sync away. After it nobody writes in the directory, so it can be opened again.
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

impl Outcomes {
    /// The next outcome; `None` when the disk is gone.
    pub(super) fn poll_next(&self, context: &mut Context<'_>) -> Poll<Option<Outcome>> {
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
    fn report(&self, outcome: Outcome) {
        let waker = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
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
    /// When the last segment was asked for.
    asked: Cell<Option<Instant>>,
    /// The segment whose temporary file is on disk in full and lacks its header only.
    whole: Cell<Option<SegmentId>>,
    /// What could not be removed yet.
    removals: RefCell<Vec<SegmentId>>,
}

/// What a segment can be made of without writing all of it.
enum Source {
    /// Its temporary file, from a try that failed after the file had lost its former name.
    Temporary,
    /// Reserved space: it carries no segment's name, so its header is written in place and no failure takes it away.
    Spare(PathBuf),
    /// A segment, which must lose its name before it gets another header.
    Segment(PathBuf),
}

impl Worker {
    fn new(path: PathBuf, desk: Arc<Desk>) -> Self {
        let (asked, whole) = (Cell::new(None), Cell::new(None));
        Self { path, desk, asked, whole, removals: RefCell::default() }
    }

    fn run(&self, inbox: &Receiver<Job>) {
        while let Ok(job) = inbox.recv() {
            match job {
                Job::Prepare(plan) => {
                    let result = self.prepare(&plan).map_err(|error| self.explain(&plan, &error));
                    self.desk.report((plan.segment, result));
                }
                Job::Remove(segment) => self.removals.borrow_mut().push(segment),
            }
            self.remove();
        }
    }

    /// What cannot be removed is tried again after the next job, and found unused at the next open.
    fn remove(&self) {
        let is_left = |error: io::Error| error.kind() != io::ErrorKind::NotFound;
        self.removals
            .borrow_mut()
            .retain(|&segment| fs::remove_file(segment_path(&self.path, segment)).is_err_and(is_left));
    }

    fn prepare(&self, plan: &SegmentPlan) -> io::Result<()> {
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
        fs::rename(&made, &target).map_err(at("rename to", &target))?;
        self.whole.set(None);
        sync_dir(&self.path).map_err(at("sync", &self.path))
    }

    /// The first of what may be there and has the right size.
    fn source(&self, plan: &SegmentPlan) -> io::Result<Option<Source>> {
        let fits = |path: &Path| {
            fs::symlink_metadata(path)
                .is_ok_and(|found| found.is_file() && found.len() == u64::from(plan.size))
        };
        if self.whole.get() == Some(plan.segment) && fits(&temporary_path(&self.path, plan.segment)) {
            return Ok(Some(Source::Temporary));
        }
        // Its own name is there if an earlier try failed at the very end.
        let segments = [Some(plan.segment), plan.recycle];
        let mut paths = segments.into_iter().flatten().map(|segment| segment_path(&self.path, segment));
        if let Some(path) = paths.find(|path| fits(path)) {
            return Ok(Some(Source::Segment(path)));
        }
        Ok(spare(&self.path, plan.size).map_err(at("list", &self.path))?.map(Source::Spare))
    }

    /// Makes a segment of a file that is on disk in full: only its header is new. Gives the file's name. A try that fails loses none
    /// of the space.
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
        // The old name must be gone for good before the old header is, else a crash shows a segment under a wrong header.
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

    /// Writes a whole file, and leaves nothing behind if that fails: what is half made only takes room that may be short.
    fn fill(&self, plan: &SegmentPlan, temporary: &Path, pace: &Pace<'_>) -> io::Result<()> {
        let size = u64::from(plan.size);
        // Not to be found out by writing: a try each second would take the disk's last bytes from everybody else, again and again.
        if free_bytes(&self.path).is_some_and(|free| free < size) {
            let error = io::Error::from_raw_os_error(libc::ENOSPC);
            return Err(at("write", temporary)(error));
        }
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

    /// The error as a sentence for people: what was wanted, and what there is.
    fn explain(&self, plan: &SegmentPlan, error: &io::Error) -> io::Error {
        let size = plan.size;
        let free = free_bytes(&self.path).map_or_else(String::new, |free| {
            format!("; {free} bytes free in {}, a segment takes {size}", self.path.display())
        });
        io::Error::new(error.kind(), format!("{error}{free}"))
    }
}

/// Names what was tried on which file; the operating system's error alone names none.
fn at<'a>(what: &'static str, path: &'a Path) -> impl Fn(io::Error) -> io::Error + 'a {
    move |error| io::Error::new(error.kind(), format!("{what} {}: {error}", path.display()))
}

/// Bytes that this process may still write in a directory; nothing where the file system does not say.
fn free_bytes(dir: &Path) -> Option<u64> {
    let found = nix::sys::statvfs::statvfs(dir).ok()?;
    (found.blocks() > 0).then(|| found.blocks_available().saturating_mul(found.fragment_size()))
}

/// A new thread inherits the CPU its executor is pinned to, and would take its time from the write path there.
#[allow(unsafe_code)]
fn leave_executor_cpu(cpus: &[usize]) -> io::Result<()> {
    if let [id] = *cpus {
        let pinned = core_affinity::set_for_current(core_affinity::CoreId { id });
        return if pinned { Ok(()) } else { Err(io::Error::other(format!("there is no CPU {id} here"))) };
    }
    // SAFETY: `cpu_set_t` is a plain bit set, all zeros is its empty value; CPU_SET checks its index against the set's size;
    // the kernel reads exactly the size given, and ignores CPUs that do not exist.
    let result = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        let every = 0..libc::CPU_SETSIZE as usize;
        for cpu in every.filter(|cpu| cpus.is_empty() || cpus.contains(cpu)) {
            libc::CPU_SET(cpu, &mut set);
        }
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
