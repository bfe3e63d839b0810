//! `Stop`: one flag that asks for a clean end, raised by a signal or by a call.
//!
//! The signal handler (in `sys`) does only what a handler may do: store to an atomic and write to an eventfd.
//! All other code polls ([`Stop::requested`]) or waits ([`Stop::wait`]).

use crate::sys::{self, Signal};
use std::fs::File;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// A stop request, shared by all code that must heed it.
#[derive(Clone, Debug)]
pub struct Stop(Arc<StopFlag>);

#[derive(Debug)]
struct StopFlag {
    requested: AtomicBool,
    /// The number of the signal that asked first; 0 if none did.
    signal: AtomicI32,
    /// Readable once requested.
    event: File,
}

/// The stop that SIGTERM and SIGINT raise.
static ON_SIGNALS: OnceLock<Stop> = OnceLock::new();

impl Stop {
    /// A stop that is not requested yet and that no signal raises.
    pub fn new() -> io::Result<Self> {
        let event = sys::event()?;
        Ok(Self(Arc::new(StopFlag { requested: AtomicBool::new(false), signal: AtomicI32::new(0), event })))
    }

    /// The stop that SIGTERM and SIGINT raise. The first call installs the handlers. A second SIGINT ends the
    /// process at once, for a person who does not want to wait.
    pub fn on_signals() -> io::Result<Self> {
        if let Some(stop) = ON_SIGNALS.get() {
            return Ok(stop.clone());
        }
        let stop = ON_SIGNALS.get_or_init({
            let made = Self::new()?;
            move || made
        });
        sys::raise_on_signals(&stop.0.requested, &stop.0.signal, &stop.0.event)?;
        Ok(stop.clone())
    }

    /// Requests the stop that SIGTERM and SIGINT raise, if this process waits for one.
    pub fn request_as_signals_do() {
        if let Some(stop) = ON_SIGNALS.get() {
            stop.request();
        }
    }

    /// Requests the stop. May be called any number of times.
    pub fn request(&self) {
        self.0.requested.store(true, Ordering::SeqCst);
        // An error does not matter: the event is readable either way.
        let _ = (&self.0.event).write(&1_u64.to_le_bytes());
    }

    /// Whether a stop was requested.
    pub fn requested(&self) -> bool {
        self.0.requested.load(Ordering::SeqCst)
    }

    /// Whether somebody outside asked for the stop, so that there is time.
    pub fn is_planned(&self) -> bool {
        self.0.signal.load(Ordering::SeqCst) != 0
    }

    /// What asked for the stop, in words.
    pub fn cause(&self) -> &'static str {
        match Signal::try_from(self.0.signal.load(Ordering::SeqCst)) {
            Ok(signal) => signal.as_str(),
            Err(_) => "a core of this node cannot go on",
        }
    }

    /// Waits until a stop is requested, at most `limit`. Returns whether it was.
    pub fn wait(&self, limit: Duration) -> bool {
        // The wait may return early: callers loop.
        sys::wait_readable(&self.0.event, limit);
        self.requested()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_seen_by_every_clone_and_ends_a_wait() {
        let stop = Stop::new().unwrap();
        let other = stop.clone();
        assert!(!other.requested());
        assert!(!other.wait(Duration::ZERO));
        stop.request();
        stop.request();
        assert!(other.requested());
        assert!(other.wait(Duration::from_secs(3600)));
    }
}
