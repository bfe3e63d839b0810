//! A thread that wakes a task at regular intervals. It also guards against an executor that parks although it
//! has work: a wake from outside reaches it even then. One wake is not enough: the executor can take it, mark
//! the task as runnable and still park. So a wake that is not followed by a turn is repeated.
//!
//! The engine's runtime has a ticker of another kind: one thread for all executors of a process, and a task
//! that does nothing but take the wakes, so every tick wakes it. Here the woken task does the work itself, and
//! a tick after a turn wakes nothing. Both use `UnheardWakes`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;
use std::time::Duration;
use synod_types::UnheardWakes;

#[derive(Default)]
struct TickerCell {
    waker: Mutex<Option<Waker>>,
    /// Whether the task had a turn since the last tick; then this tick need not wake it.
    had_turn: AtomicBool,
}

/// Ticks until it is dropped.
pub(super) struct Ticker {
    slot: Arc<TickerCell>,
}

impl Ticker {
    pub(super) fn start(every: Duration) -> Self {
        let slot = Arc::new(TickerCell::default());
        let watched = Arc::downgrade(&slot);
        // The thread ends by itself when the slot is dropped; nothing has to join it.
        std::thread::Builder::new()
            .name("loadgen-tick".into())
            .spawn(move || tick(&watched, every))
            .expect("a process that could start an executor can start a thread");
        Self { slot }
    }
    /// Wakes this task from now on. The task must call this in each of its turns.
    pub(super) fn set(&self, waker: &Waker) {
        self.slot.had_turn.store(true, Ordering::Release);
        let mut slot = lock(&self.slot);
        if !slot.as_ref().is_some_and(|set| set.will_wake(waker)) {
            *slot = Some(waker.clone());
        }
    }
}

fn tick(slot: &Weak<TickerCell>, every: Duration) {
    let mut unheard = UnheardWakes::default();
    while let Some(slot) = slot.upgrade() {
        if slot.had_turn.swap(false, Ordering::AcqRel) {
            unheard = UnheardWakes::default();
        } else {
            // The lock is released before the wake.
            let waker = lock(&slot).clone();
            if let Some(waker) = waker
                && unheard.is_due()
            {
                waker.wake();
            }
        }
        drop(slot);
        std::thread::sleep(every);
    }
}

/// Ignores poisoning: the slot always holds a complete waker, even if the thread that set it has panicked.
fn lock(slot: &TickerCell) -> MutexGuard<'_, Option<Waker>> {
    slot.waker.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{self, Sender};
    use std::task::Wake;

    struct Told(Sender<()>);

    impl Wake for Told {
        fn wake(self: Arc<Self>) {
            let _ = self.0.send(());
        }
    }

    #[test]
    fn a_wake_that_no_turn_follows_is_repeated() {
        let (sender, wakes) = mpsc::channel();
        let ticker = Ticker::start(Duration::from_millis(1));
        ticker.set(&Waker::from(Arc::new(Told(sender))));
        // An executor that parks with the task marked as runnable would swallow each of these.
        for number in 1..=5 {
            let woken = wakes.recv_timeout(Duration::from_secs(20));
            assert!(woken.is_ok(), "after {} wakes without effect there was no other", number - 1);
        }
    }
}
