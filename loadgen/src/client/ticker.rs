//! A thread that wakes a task every so often. It doubles as the guard against an executor that parks although it has work: a
//! wake from outside reaches it even then. One wake is not enough: the executor can take it, mark the task as runnable and
//! park all the same, so a wake that no turn follows is repeated.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;
use std::time::Duration;

#[derive(Default)]
struct Slot {
    waker: Mutex<Option<Waker>>,
    /// The task had a turn since the last tick, so it needs no waking for this one.
    had_turn: AtomicBool,
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
        self.slot.had_turn.store(true, Ordering::Release);
        let mut slot = lock(&self.slot);
        if !slot.as_ref().is_some_and(|set| set.will_wake(waker)) {
            *slot = Some(waker.clone());
        }
    }
}

fn tick(slot: &Weak<Slot>, every: Duration) {
    let mut unheard = Unheard::default();
    while let Some(slot) = slot.upgrade() {
        if slot.had_turn.swap(false, Ordering::AcqRel) {
            unheard = Unheard::default();
        } else {
            // The lock is free again before the wake.
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

/// Wakes since the last turn. They must neither be given up nor pile up while the thread is kept from running, for the
/// executor counts the references to a task in 16 bits: so the pauses between them grow, and there is a last one.
#[derive(Debug, Default)]
struct Unheard {
    wakes: u32,
    /// Ticks since the last of them.
    ticks: u32,
}

impl Unheard {
    /// Whether to wake in this tick.
    fn is_due(&mut self) -> bool {
        let pause = if self.wakes == 0 { 0 } else { (2 << self.wakes.min(9)).min(PAUSE_TICKS_MAX) };
        self.ticks += 1;
        let is_due = self.ticks >= pause && self.wakes < WAKES_MAX;
        if is_due {
            self.wakes += 1;
            self.ticks = 0;
        }
        is_due
    }
}

/// A quarter of a second at the ticks of half a millisecond.
const PAUSE_TICKS_MAX: u32 = 512;
/// More than an hour of them, and half of what the executor can count.
const WAKES_MAX: u32 = 16_000;

/// A waker is whole at every moment, whatever happened to the thread that set it.
fn lock(slot: &Slot) -> MutexGuard<'_, Option<Waker>> {
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
        // An executor that parks with the task marked as runnable has swallowed each of these.
        for number in 1..=5 {
            let woken = wakes.recv_timeout(Duration::from_secs(20));
            assert!(woken.is_ok(), "after {} wakes without effect there was no other", number - 1);
        }
    }

    #[test]
    fn wakes_without_effect_become_rare_and_end_before_the_executor_miscounts() {
        let mut unheard = Unheard::default();
        let due: Vec<u32> = (0..4000).filter(|_| unheard.is_due()).collect();
        assert_eq!(due[..6], [0, 4, 12, 28, 60, 124]);
        assert!(due.windows(2).all(|pair| pair[1] - pair[0] <= PAUSE_TICKS_MAX), "never given up");
        let more = (0..100_000_000_u32).filter(|_| unheard.is_due()).count();
        let all = due.len() + more;
        assert_eq!(all, WAKES_MAX as usize);
        assert!(all < i16::MAX as usize);
    }
}
