//! The thread that makes segments: zero-written, headed, synced, renamed, name synced. It never touches a segment in use.
//!
//! Why all zeros and not `fallocate`: a write into an unwritten extent changes metadata, and each O_DSYNC write would wait for
//! the file system's journal (measured: three times the latency, and tails of 100 ms).

use super::dir::{Dir, segment_path, sync_dir, temporary_path};
use super::fill::{Pace, Signals, fill, open_direct, write_exactly};
use super::reserve::spare;
use crate::disk::SegmentPlan;
use std::cell::Cell;
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
        let worker = Worker { path: dir.path().to_owned(), desk: Arc::clone(&desk), asked: Cell::new(None) };
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
}

impl Worker {
    fn run(&self, inbox: &Receiver<Job>) {
        while let Ok(job) = inbox.recv() {
            match job {
                Job::Prepare(plan) => {
                    let result = self.prepare(&plan);
                    if result.is_err() {
                        // What is half made only takes room that may be short.
                        let _ = fs::remove_file(temporary_path(&self.path, plan.segment));
                    }
                    self.desk.report((plan.segment, result));
                }
                // A segment that cannot be removed is found unused again at the next open.
                Job::Remove(segment) => {
                    let _ = fs::remove_file(segment_path(&self.path, segment));
                }
            }
        }
    }

    fn prepare(&self, plan: &SegmentPlan) -> io::Result<()> {
        let now = Instant::now();
        let since_last = self.asked.replace(Some(now)).map(|last| now.duration_since(last));
        let pace = Pace::behind(&self.desk.signals, plan.segment.get(), since_last);
        let temporary = temporary_path(&self.path, plan.segment);
        match plan.recycle {
            Some(source) => self.rewrite(plan, &segment_path(&self.path, source), &temporary)?,
            None => match spare(&self.path, plan.size)? {
                Some(spare) => self.rewrite(plan, &spare, &temporary)?,
                None => fill(&temporary, u64::from(plan.size), &plan.header, &pace)?,
            },
        }
        fs::rename(&temporary, segment_path(&self.path, plan.segment))?;
        sync_dir(&self.path)
    }

    /// Makes a segment of a file that is on disk in full: only its header is new.
    fn rewrite(&self, plan: &SegmentPlan, source: &Path, temporary: &Path) -> io::Result<()> {
        if fs::metadata(source)?.len() != u64::from(plan.size) {
            return Err(io::Error::other(format!("{} has another size", source.display())));
        }
        fs::rename(source, temporary)?;
        // The old name must be gone for good before the old header is, else a crash shows a segment under a wrong header.
        sync_dir(&self.path)?;
        let file = open_direct(OpenOptions::new().write(true), temporary)?;
        let mut page = memmap2::MmapMut::map_anon(plan.header.len())?;
        page.copy_from_slice(&plan.header);
        write_exactly(&file, &page, 0)?;
        file.sync_all()
    }
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
