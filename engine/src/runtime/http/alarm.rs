//! Timeouts of one HTTP connection, to the second: deadlines of request heads for hyper, and an end for
//! clients that take no bytes.
//!
//! hyper makes a new sleep for every head and requires it to be `Send`, which this executor's timers are not.
//! So a sleep is an entry in the connection's alarm, and one timer per connection checks the entries once a
//! second.

use hyper::rt::{Sleep, Timer};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// Interval between two checks.
const LOOK: Duration = Duration::from_secs(1);
/// A client that takes no byte for this long is disconnected.
const WRITE_LIMIT: Duration = Duration::from_secs(30);

/// The alarm of one connection; clones share its state.
#[derive(Clone, Debug, Default)]
pub(super) struct Alarm(Arc<Mutex<Entries>>);

#[derive(Debug, Default)]
struct Entries {
    /// The only sleep that hyper has at a time: its end and its waker.
    sleeper: Option<(Instant, Waker)>,
    /// The time since when the socket has taken no bytes.
    blocked: Option<Instant>,
}

impl Alarm {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        // Only one thread uses it, and nothing in here can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the socket took bytes, or takes none now.
    pub(super) fn note_write(&self, blocked: bool) {
        let since = &mut self.entries().blocked;
        *since = if blocked { Some(since.unwrap_or_else(Instant::now)) } else { None };
    }

    /// Checks the entries; returns when the connection must end.
    pub(super) async fn guard(&self) {
        loop {
            glommio::timer::sleep(LOOK).await;
            let now = Instant::now();
            let mut entries = self.entries();
            if entries.blocked.is_some_and(|since| now.duration_since(since) >= WRITE_LIMIT) {
                return;
            }
            if entries.sleeper.as_ref().is_some_and(|(end, _)| *end <= now)
                && let Some((_, waker)) = entries.sleeper.take()
            {
                waker.wake();
            }
        }
    }
}

impl Timer for Alarm {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(Instant::now() + duration)
    }
    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(AlarmSleep { alarm: self.clone(), deadline })
    }
}

#[derive(Debug)]
struct AlarmSleep {
    alarm: Alarm,
    deadline: Instant,
}

impl Sleep for AlarmSleep {}

impl Future for AlarmSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.deadline {
            return Poll::Ready(());
        }
        self.alarm.entries().sleeper = Some((self.deadline, context.waker().clone()));
        Poll::Pending
    }
}

impl Drop for AlarmSleep {
    fn drop(&mut self) {
        self.alarm.entries().sleeper = None;
    }
}
