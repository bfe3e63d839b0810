//! A thread that wakes a task every so often. It doubles as the guard against an executor that parks although it has work:
//! a wake from outside always reaches it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;
use std::time::Duration;

#[derive(Default)]
struct Slot {
    waker: Mutex<Option<Waker>>,
    /// The task had a turn since the last tick, so it needs no waking for this one.
    had_turn: AtomicBool,
    /// A wake is on its way. Wakes of a thread that is kept from running must not pile up: the executor counts the
    /// references to a task in 16 bits.
    under_way: AtomicBool,
}

/// Ticks until it is dropped.
pub(super) struct Ticker {
    slot: Arc<Slot>,
}

impl Ticker {
    pub(super) fn start(every: Duration) -> Self {
        let slot = Arc::new(Slot::default());
        let watched = Arc::downgrade(&slot);
        // The thread ends by itself when the slot is gone; there is nothing to wait for.
        std::thread::Builder::new()
            .name("loadgen-tick".into())
            .spawn(move || tick(&watched, every))
            .expect("a process that could start an executor can start a thread");
        Self { slot }
    }
    /// Wakes this task from now on. To be called in each of its turns.
    pub(super) fn set(&self, waker: &Waker) {
        self.slot.under_way.store(false, Ordering::Release);
        self.slot.had_turn.store(true, Ordering::Release);
        let mut slot = lock(&self.slot);
        if !slot.as_ref().is_some_and(|set| set.will_wake(waker)) {
            *slot = Some(waker.clone());
        }
    }
}

fn tick(slot: &Weak<Slot>, every: Duration) {
    while let Some(slot) = slot.upgrade() {
        let had_turn = slot.had_turn.swap(false, Ordering::AcqRel);
        if !had_turn && !slot.under_way.swap(true, Ordering::AcqRel) {
            let waker = lock(&slot).clone();
            match waker {
                Some(waker) => waker.wake(),
                None => slot.under_way.store(false, Ordering::Release),
            }
        }
        drop(slot);
        std::thread::sleep(every);
    }
}

/// A waker is whole at every moment, whatever happened to the thread that set it.
fn lock(slot: &Slot) -> MutexGuard<'_, Option<Waker>> {
    slot.waker.lock().unwrap_or_else(PoisonError::into_inner)
}
