//! How long one task of a core may work before the others have their turn.
//!
//! A task that always finds more to do (a client that pipelines faster than it is served, KEYS over a large group) would keep the
//! executor: everything on a core is one thread, and heartbeats wait with the rest. So a task that has worked for a stretch rests,
//! which is a timer and not a mere yield: the executor looks at its rings before it comes back.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::time::Duration;
use synod_types::{Mono, Nanos};

/// Work at a stretch. A fifth of a tick: what is late by so much is not late.
const STRETCH: Nanos = Nanos::from_ms(1);
/// The pause after it.
const REST: Duration = Duration::from_micros(50);
/// Short commands or messages between two looks at the clock: some 30 µs.
pub(crate) const STEPS_PER_LOOK: u32 = 32;

/// The pace of one task.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// The task was polled anew: others have had their turn.
    is_fresh: Cell<bool>,
    since: Cell<Mono>,
}

impl Pace {
    /// Runs `work`, noting whenever it comes back from a wait.
    pub async fn watch<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        poll_fn(|context| {
            self.is_fresh.set(true);
            work.as_mut().poll(context)
        })
        .await
    }

    /// Whether the task has worked for a stretch at `now`. A stretch begins with the first look after a wait: no clock is read
    /// for it.
    pub fn is_over(&self, now: Mono) -> bool {
        if self.is_fresh.take() {
            self.since.set(now);
        }
        now.since(self.since.get()) >= STRETCH
    }
}

/// Lets the others have their turn.
pub(crate) async fn rest() {
    glommio::timer::sleep(REST).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_begins_when_the_task_comes_back() {
        let pace = Pace::default();
        let at = |micros: u64| Mono(micros * 1000);
        futures_lite::future::block_on(pace.watch(async {
            assert!(!pace.is_over(at(5000)) && !pace.is_over(at(5999)) && pace.is_over(at(6000)));
            futures_lite::future::yield_now().await;
            assert!(!pace.is_over(at(7000)), "others had their turn");
            assert!(pace.is_over(at(8000)));
        }));
    }
}
