//! Writing a file full of zeros without getting in the way of the log.
//!
//! A segment is filled while the log writes into the one before. At full speed the zeros would take the disk's whole bandwidth
//! for a tenth of a second, and every log write in it would wait; so they are spread over half the time that the log took for
//! its last segment, and hurry only when the log has entered the last segment that is ready.

use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// One write of zeros: what a log write has to wait behind at worst.
const CHUNK_BYTES: usize = 256 << 10;
/// The same when the log waits for this very file, and nothing else matters.
const CHUNK_HURRIED_BYTES: usize = 1 << 20;
/// However idle the log was, a segment is made within this time.
const FILL_TIME_MAX: Duration = Duration::from_secs(2);
/// The thread looks up this often while it waits: bounds how long dropping the disk takes.
const NAP_MAX: Duration = Duration::from_millis(10);

/// What the executor tells the thread.
#[derive(Default)]
pub(super) struct Signals {
    /// The disk was dropped: give up.
    pub stop: AtomicBool,
    /// The newest segment that was written to.
    pub written: AtomicU32,
}

/// How fast to fill.
pub(super) struct Pace<'a> {
    signals: Option<&'a Signals>,
    segment: u32,
    began: Instant,
    span: Duration,
    /// Hurrying once is hurrying to the end.
    hurried: Cell<bool>,
}

impl<'a> Pace<'a> {
    /// As fast as it goes.
    pub(super) fn unhindered() -> Self {
        Self {
            signals: None,
            segment: 0,
            began: Instant::now(),
            span: Duration::ZERO,
            hurried: Cell::new(true),
        }
    }

    /// For `segment`, asked for `since_last` after the one before.
    pub(super) fn behind(signals: &'a Signals, segment: u32, since_last: Option<Duration>) -> Self {
        let span = since_last.map_or(Duration::ZERO, |since| (since / 2).min(FILL_TIME_MAX));
        let hurried = Cell::new(span.is_zero());
        Self { signals: Some(signals), segment, began: Instant::now(), span, hurried }
    }

    /// Waits until `done` of `size` bytes may have been written. False when it is time to give up.
    fn keep(&self, done: u64, size: u64) -> bool {
        let Some(signals) = self.signals else { return true };
        // A share of at most 1; that its last digits are rounded does not matter.
        let due = self.began + self.span.mul_f64(done as f64 / size as f64);
        loop {
            if signals.stop.load(Ordering::Relaxed) {
                return false;
            }
            // The one before this segment is being written: none is ready behind it.
            if signals.written.load(Ordering::Relaxed).saturating_add(1) >= self.segment {
                self.hurried.set(true);
            }
            let left = due.saturating_duration_since(Instant::now());
            if self.hurried.get() || left.is_zero() {
                return true;
            }
            std::thread::sleep(left.min(NAP_MAX));
        }
    }
}

/// Writes a whole file: `head`, then zeros. Every block of it is allocated and written afterwards, so that a write of the log
/// changes no metadata.
pub(super) fn fill(path: &Path, size: u64, head: &[u8], pace: &Pace<'_>) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    let file = open_direct(&mut options, path)?;
    file.set_len(size)?;
    let mut chunk = memmap2::MmapMut::map_anon(CHUNK_HURRIED_BYTES)?;
    let mut at = 0;
    while at < size {
        if !pace.keep(at, size) {
            return Err(io::Error::other("the log is closing"));
        }
        let len = if at == 0 { head.len() } else { 0 };
        chunk[..len].copy_from_slice(&head[..len]);
        let most = if pace.hurried.get() { CHUNK_HURRIED_BYTES } else { CHUNK_BYTES };
        let count = (size - at).min(most as u64) as usize;
        write_exactly(&file, &chunk[..count], at)?;
        chunk[..len].fill(0);
        at += count as u64;
    }
    file.sync_all()
}

/// Opens past the page cache, where the file system can do that.
pub(super) fn open_direct(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    match options.custom_flags(libc::O_DIRECT).open(path) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => options.custom_flags(0).open(path),
        result => result,
    }
}

pub(super) fn write_exactly(file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    let written = file.write_at(bytes, at)?;
    if written == bytes.len() {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::StorageFull,
        format!("short write, {written} of {} bytes", bytes.len()),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_segments_are_made_at_once() {
        let signals = Signals::default();
        let pace = Pace::behind(&signals, 5, None);
        assert_eq!(pace.span, Duration::ZERO);
        assert!(pace.keep(1, 1));
    }

    #[test]
    fn zeros_take_half_the_time_the_log_takes_and_an_idle_log_waits_for_none() {
        let signals = Signals::default();
        let span = |since| Pace::behind(&signals, 5, Some(since)).span;
        assert_eq!(span(Duration::from_millis(300)), Duration::from_millis(150));
        assert_eq!(span(Duration::from_secs(3600)), FILL_TIME_MAX);
    }

    #[test]
    fn a_log_in_the_last_segment_that_is_ready_makes_them_hurry() {
        let signals = Signals::default();
        signals.written.store(4, Ordering::Relaxed);
        let mut pace = Pace::behind(&signals, 5, None);
        // Not due for an hour, yet this does not wait.
        (pace.span, pace.hurried) = (Duration::from_secs(3600), Cell::new(false));
        assert!(pace.keep(1, 1));
        // And a log that is closed ends it.
        signals.stop.store(true, Ordering::Relaxed);
        assert!(!pace.keep(1, 1));
    }
}
