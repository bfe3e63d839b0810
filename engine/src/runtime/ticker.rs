//! One thread per process that wakes a parked task of each executor about every millisecond.
//!
//! glommio 0.9.0 can go to sleep with runnable tasks when an event falls between its poll and its run of the task queues
//! (known-failures: "an executor sleeps with work to do"); nothing inside such an executor can wake it. A foreign wake can. The cost is one eventfd write per
//! millisecond, and only for executors that sleep.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

type Slot = Arc<Mutex<Option<Waker>>>;

/// The thread; ends when dropped.
#[derive(Debug)]
pub(crate) struct Ticker {
    slots: Vec<Slot>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Ticker {
    /// Starts the thread for `executors` executors.
    pub fn start(executors: usize) -> std::io::Result<Self> {
        let slots: Vec<Slot> = (0..executors).map(|_| Slot::default()).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let (theirs, stopped) = (slots.clone(), Arc::clone(&stop));
        let thread = std::thread::Builder::new().name("synod-ticker".into()).spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(1));
                for slot in &theirs {
                    if let Some(waker) = slot.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
                        waker.wake_by_ref();
                    }
                }
            }
        })?;
        Ok(Self { slots, stop, thread: Some(thread) })
    }

    /// The part an executor holds.
    pub fn slot(&self, executor: usize) -> TickerSlot {
        TickerSlot(Arc::clone(&self.slots[executor]))
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // The thread cannot panic; if it did, there is nothing left to do about it.
            let _ = thread.join();
        }
    }
}

/// One executor's place with the ticker.
#[derive(Debug, Clone)]
pub(crate) struct TickerSlot(Slot);

impl TickerSlot {
    /// Parks the calling task for good, as the one that is woken.
    pub async fn park(self) {
        poll_fn::<(), _>(|context| {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}
