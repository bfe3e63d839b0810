//! `Notify`: one task of this executor waits, and any code of this executor wakes it. A wake-up before the
//! wait is not lost, and several count as one; so many inputs make one turn.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

/// A local, single-waiter event.
#[derive(Debug, Default)]
pub(crate) struct Notify {
    set: Cell<bool>,
    waiter: RefCell<Option<Waker>>,
}

impl Notify {
    /// Wakes the waiter, now or at its next wait.
    pub fn notify(&self) {
        if !self.set.replace(true)
            && let Some(waker) = self.waiter.borrow_mut().take()
        {
            waker.wake();
        }
    }

    /// The same for the waiter's own task, which will be polled to its end anyway.
    pub fn set(&self) {
        self.set.set(true);
    }

    /// Waits for a wake-up and consumes it.
    pub async fn notified(&self) {
        poll_fn(|context| self.poll_notified(context)).await;
    }

    /// The same, for a task that waits for something else besides.
    pub fn poll_notified(&self, context: &mut Context<'_>) -> Poll<()> {
        if self.set.replace(false) {
            return Poll::Ready(());
        }
        *self.waiter.borrow_mut() = Some(context.waker().clone());
        Poll::Pending
    }
}
