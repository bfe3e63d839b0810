//! Limits how long one task of a core may work before other tasks run.
//!
//! A task that always finds more to do (a client that pipelines faster than it is served, KEYS over a large
//! group) would keep the executor: everything on a core runs on one thread, and heartbeats wait with the
//! rest. So a task rests after one stretch of work. The rest is a timer and not a mere yield, so that the
//! executor checks its rings before the task runs again.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::time::Duration;
use synod_types::{Mono, Nanos};

/// Length of a stretch of work: a fifth of a tick, a delay that does no harm.
const STRETCH: Nanos = Nanos::from_ms(1);
/// The pause after a stretch.
const REST: Duration = Duration::from_micros(50);
/// Number of short commands or messages between two looks at the clock: some 30 µs.
pub(crate) const STEPS_PER_LOOK: u32 = 32;

/// The pace of one task.
#[derive(Debug, Default)]
pub(crate) struct TaskPace {
    /// The task was polled again: other tasks have run.
    is_fresh: Cell<bool>,
    since: Cell<Mono>,
}

impl TaskPace {
    /// Runs `work` and notes each time that it resumes after a wait.
    pub async fn watch<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        poll_fn(|context| {
            self.is_fresh.set(true);
            work.as_mut().poll(context)
        })
        .await
    }

    /// Whether the task has worked for a whole stretch at `now`. A stretch begins with the first call after a
    /// wait, so that the clock is not read for its beginning.
    pub fn is_over(&self, now: Mono) -> bool {
        if self.is_fresh.take() {
            self.since.set(now);
        }
        now.since(self.since.get()) >= STRETCH
    }
}

/// Lets other tasks run.
pub(crate) async fn rest() {
    glommio::timer::sleep(REST).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_begins_when_the_task_comes_back() {
        let pace = TaskPace::default();
        let at = |micros: u64| Mono(micros * 1000);
        futures_lite::future::block_on(pace.watch(async {
            assert!(!pace.is_over(at(5000)) && !pace.is_over(at(5999)) && pace.is_over(at(6000)));
            futures_lite::future::yield_now().await;
            assert!(!pace.is_over(at(7000)), "others had their turn");
            assert!(pace.is_over(at(8000)));
        }));
    }
}
