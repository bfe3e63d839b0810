//! The messages between the coordinator and the generator threads.

use crate::driver::{Measured, Order, Second, Tally};
use crate::ledger::Ledger;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};

/// Ends a run early: open operations complete, and the audit still runs.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    wanted: Arc<AtomicBool>,
}

impl Stop {
    /// Requests the end.
    pub fn stop(&self) {
        self.wanted.store(true, Ordering::Release);
    }
    /// Whether the end was requested.
    pub fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Acquire)
    }
}

/// A command to a generator thread.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Command {
    /// Carry out this order, and report when it is done.
    Do(Order),
    /// End the thread.
    End,
}

/// The place where generator threads find their commands.
#[derive(Debug)]
pub(crate) struct Orders {
    latest: Mutex<(u64, Command)>,
    /// The number of the latest command, so that checking for news needs no lock.
    number: AtomicU64,
    stop: Stop,
}

impl Orders {
    pub(super) fn new(stop: Stop) -> Self {
        Self { latest: Mutex::new((0, Command::End)), number: AtomicU64::new(0), stop }
    }
    /// The latest command if its number is above `seen`.
    pub(crate) fn newer_than(&self, seen: u64) -> Option<(u64, Command)> {
        if self.number.load(Ordering::Acquire) <= seen {
            return None;
        }
        // Poisoning does not matter: the value is plain data and always complete.
        Some(*self.latest.lock().unwrap_or_else(PoisonError::into_inner))
    }
    pub(crate) fn stop_wanted(&self) -> bool {
        self.stop.is_wanted()
    }
    /// Gives a command to all threads.
    pub(super) fn give(&self, number: u64, command: Command) {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = (number, command);
        self.number.store(number, Ordering::Release);
    }
}

/// A message from a generator thread.
#[derive(Debug)]
pub(crate) enum News {
    /// A second is over.
    Second { thread: u32, second: Box<Second> },
    /// An order is done, or has failed.
    Done { thread: u32, number: u64, failure: Option<String>, measured: Box<Measured> },
    /// The thread has ended as ordered; this is its result.
    Ended { thread: u32, result: Box<(Tally, Ledger)> },
    /// The thread has terminated, in whatever way. This is its last message.
    Gone { thread: u32 },
}

/// Sends [`News::Gone`] when it is dropped: the thread that holds it has terminated, normally or by a panic.
pub(crate) struct Farewell {
    thread: u32,
    news: Sender<News>,
}

impl Farewell {
    pub(super) fn new(thread: u32, news: Sender<News>) -> Self {
        Self { thread, news }
    }
}

impl Drop for Farewell {
    fn drop(&mut self) {
        let _ = self.news.send(News::Gone { thread: self.thread });
    }
}
