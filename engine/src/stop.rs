//! `Stop`: one flag that says "end now, in good order", raised by a signal or by hand.
//!
//! The signal handler does the two things a handler may do: store to an atomic and write to an eventfd. Everything else
//! polls ([`Stop::requested`]) or waits ([`Stop::wait`]).

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// A stop request, shared by all who must heed it.
#[derive(Clone, Debug)]
pub struct Stop(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    requested: AtomicBool,
    /// Readable once requested.
    event: File,
}

/// What SIGTERM and SIGINT raise.
static ON_SIGNALS: OnceLock<Stop> = OnceLock::new();

impl Stop {
    /// Not requested, and by hand only.
    pub fn new() -> io::Result<Self> {
        // SAFETY: eventfd takes two integers and touches no memory of ours.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just gave us `fd`, and nobody else owns it.
        let event = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
        Ok(Self(Arc::new(Inner { requested: AtomicBool::new(false), event })))
    }

    /// The one raised by SIGTERM and SIGINT; installs the handlers at the first call. A second SIGINT ends the process at
    /// once, for a person who is tired of waiting.
    pub fn on_signals() -> io::Result<Self> {
        if let Some(stop) = ON_SIGNALS.get() {
            return Ok(stop.clone());
        }
        let stop = ON_SIGNALS.get_or_init({
            let made = Self::new()?;
            move || made
        });
        for signal in [libc::SIGTERM, libc::SIGINT] {
            // SAFETY: an all-zero sigaction is a valid one (empty mask, no flags, default handler).
            let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
            action.sa_sigaction = on_signal as *const () as libc::sighandler_t;
            action.sa_flags = libc::SA_RESTART;
            // SAFETY: `action` is initialised, lives through the call, and its handler is async-signal-safe (see there).
            if unsafe { libc::sigaction(signal, &action, std::ptr::null_mut()) } != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(stop.clone())
    }

    /// Asks to stop. May be called any number of times.
    pub fn request(&self) {
        self.0.requested.store(true, Ordering::SeqCst);
        // The counter cannot overflow into an error that matters: it is readable either way.
        let _ = (&self.0.event).write(&1_u64.to_le_bytes());
    }

    /// Whether someone asked.
    pub fn requested(&self) -> bool {
        self.0.requested.load(Ordering::SeqCst)
    }

    /// Waits until someone asks, at most `limit`; says whether someone did.
    pub fn wait(&self, limit: Duration) -> bool {
        let mut poll = libc::pollfd { fd: self.0.event.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let limit_ms = i32::try_from(limit.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: one initialised pollfd, count one, alive through the call. An early return (EINTR) is allowed: callers
        // loop.
        unsafe { libc::poll(&mut poll, 1, limit_ms) };
        self.requested()
    }
}

/// Async-signal-safe: `OnceLock::get` is an atomic load, and then an atomic swap, `write` and `_exit`.
extern "C" fn on_signal(signal: libc::c_int) {
    let Some(stop) = ON_SIGNALS.get() else { return };
    if stop.0.requested.swap(true, Ordering::SeqCst) && signal == libc::SIGINT {
        // SAFETY: `_exit` is async-signal-safe and does not return.
        unsafe { libc::_exit(128 + signal) };
    }
    let one = 1_u64;
    // SAFETY: the descriptor lives as long as the process (a static holds it), and eight readable bytes are passed. errno may
    // change under the interrupted code only if the write fails, and it cannot: the counter is far from full.
    unsafe { libc::write(stop.0.event.as_raw_fd(), (&raw const one).cast(), 8) };
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
