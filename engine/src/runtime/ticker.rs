//! One thread per process that wakes a parked task of each executor about every millisecond.
//!
//! glommio 0.9.0 can go to sleep with runnable tasks when an event falls between its poll and its run of the
//! task queues (known-failures: "an executor sleeps with work to do"). Nothing inside such an executor can
//! wake it, but another thread can. The cost is one eventfd write per millisecond, and only for executors
//! that sleep. An executor that takes no turns at all, because a disk read hangs or its thread is stopped, is
//! woken less and less often ([`UnheardWakes`]).

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;
use synod_types::UnheardWakes;

#[derive(Debug, Default)]
struct TickerCell {
    waker: Mutex<Option<Waker>>,
    /// Whether the task had a turn since the last tick.
    had_turn: AtomicBool,
}

impl TickerCell {
    /// A waker is valid at every moment, even if the thread that set it has panicked.
    fn waker(&self) -> MutexGuard<'_, Option<Waker>> {
        self.waker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tick(&self, unheard: &mut UnheardWakes) {
        if self.had_turn.swap(false, Ordering::AcqRel) {
            *unheard = UnheardWakes::default();
        }
        let waker = self.waker().clone(); // the lock is released before the wake
        if let Some(waker) = waker
            && unheard.is_due()
        {
            waker.wake();
        }
    }
}

/// The ticker thread, which ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Ticker {
    slots: Vec<Arc<TickerCell>>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Ticker {
    /// Starts the thread for `executors` executors.
    pub fn start(executors: usize) -> std::io::Result<Self> {
        let slots: Vec<Arc<TickerCell>> = (0..executors).map(|_| Arc::default()).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let mut theirs: Vec<_> = slots.iter().cloned().map(|slot| (slot, UnheardWakes::default())).collect();
        let thread = std::thread::Builder::new().name("synod-ticker".into()).spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(1));
                for (slot, unheard) in &mut theirs {
                    slot.tick(unheard);
                }
            }
        })?;
        Ok(Self { slots, stop, thread: Some(thread) })
    }

    /// The slot for one executor.
    pub fn slot(&self, executor: usize) -> TickerSlot {
        TickerSlot(Arc::clone(&self.slots[executor]))
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // The thread cannot panic; an error here could not be handled anyway.
            let _ = thread.join();
        }
    }
}

/// One executor's slot in the ticker.
#[derive(Debug, Clone)]
pub(crate) struct TickerSlot(Arc<TickerCell>);

impl TickerSlot {
    /// Makes the calling task the one that the ticker wakes, until a task is parked. An executor's first task
    /// calls this before its first wait: the parked task has had no turn yet, so nothing else could wake an
    /// executor that sleeps before that.
    pub async fn enter(&self) {
        poll_fn(|context| {
            self.take_turn(context.waker());
            Poll::Ready(())
        })
        .await;
    }

    /// Parks the calling task forever, as the task that the ticker wakes.
    pub async fn park(self) {
        poll_fn::<(), _>(|context| {
            self.take_turn(context.waker());
            Poll::Pending
        })
        .await;
    }

    fn take_turn(&self, waker: &Waker) {
        *self.0.waker() = Some(waker.clone());
        self.0.had_turn.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::sync::atomic::AtomicU32;
    use std::task::{Context, Wake};

    #[derive(Default)]
    struct Count(AtomicU32);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The number of wakes in `ticks` ticks for a task that has a turn after each wake, or none at all.
    fn wakes(ticks: u32, has_turns: bool) -> u32 {
        let (count, slot) = (Arc::new(Count::default()), TickerCell::default());
        *slot.waker() = Some(Waker::from(Arc::clone(&count)));
        let mut unheard = UnheardWakes::default();
        for _ in 0..ticks {
            slot.tick(&mut unheard);
            slot.had_turn.store(has_turns, Ordering::Release);
        }
        count.0.load(Ordering::Relaxed)
    }

    #[test]
    fn the_first_task_is_woken_until_another_is_parked() {
        let tasks = [Arc::new(Count::default()), Arc::new(Count::default())];
        let cell = Arc::<TickerCell>::default();
        let slot = TickerSlot(Arc::clone(&cell));
        let woken = || {
            cell.tick(&mut UnheardWakes::default());
            [0, 1].map(|task: usize| tasks[task].0.load(Ordering::Relaxed))
        };
        assert_eq!(woken(), [0, 0], "no task is known");
        let wakers = [0, 1].map(|task: usize| Waker::from(Arc::clone(&tasks[task])));
        let entered = std::pin::pin!(slot.enter()).poll(&mut Context::from_waker(&wakers[0]));
        assert_eq!((entered, woken()), (Poll::Ready(()), [1, 0]));
        let mut parked = Box::pin(slot.clone().park());
        assert_eq!(woken(), [2, 0], "it has had no turn");
        assert!(parked.as_mut().poll(&mut Context::from_waker(&wakers[1])).is_pending());
        assert_eq!(woken(), [2, 1]);
    }

    #[test]
    fn who_takes_turns_is_woken_in_every_tick_and_who_takes_none_ever_less_often() {
        assert_eq!(wakes(100_000, true), 100_000);
        let unheard = wakes(100_000, false);
        assert!((100..1000).contains(&unheard), "{unheard} wakes in 100 s without a turn");
    }
}
