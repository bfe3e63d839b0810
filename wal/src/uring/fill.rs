//! Fills a file with zeros without slowing the log down.
//!
//! A segment is filled while the log writes into an earlier one. At full speed the zeros would take the
//! disk's whole bandwidth for a tenth of a second, and every log write in that time would wait. So they are
//! spread over half the time that the log took for its last segment. They go at full speed only when the log
//! has entered the last segment that is ready.

use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Bytes of one write of zeros; a log write waits behind one of these at worst.
const CHUNK_BYTES: usize = 256 << 10;
/// The same at full speed, when the log needs this file next.
const CHUNK_HURRIED_BYTES: usize = 1 << 20;
/// The zeros are spread over at most this time, however idle the log was.
const FILL_TIME_MAX: Duration = Duration::from_secs(2);
/// While it waits, the thread checks its signals this often; this bounds how long dropping the disk takes.
const NAP_MAX: Duration = Duration::from_millis(10);

/// Signals from the executor to the thread.
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
    /// Once set, this stays set until the file is full.
    hurried: Cell<bool>,
}

impl<'a> Pace<'a> {
    /// Full speed.
    pub(super) fn unhindered() -> Self {
        Self {
            signals: None,
            segment: 0,
            began: Instant::now(),
            span: Duration::ZERO,
            hurried: Cell::new(true),
        }
    }

    /// The pace for `segment`, which was requested `since_last` after the one before.
    pub(super) fn behind(signals: &'a Signals, segment: u32, since_last: Option<Duration>) -> Self {
        let span = since_last.map_or(Duration::ZERO, |since| (since / 2).min(FILL_TIME_MAX));
        assert!(span <= FILL_TIME_MAX, "a file takes longer than it may");
        let hurried = Cell::new(span.is_zero());
        Self { signals: Some(signals), segment, began: Instant::now(), span, hurried }
    }

    /// Waits until `done` of `size` bytes may have been written. False when it is time to give up.
    fn keep(&self, done: u64, size: u64) -> bool {
        debug_assert!(done <= size, "more zeros than the file takes");
        let Some(signals) = self.signals else { return true };
        // The fraction is at most 1; rounding of its last digits does not matter.
        let due = self.began + self.span.mul_f64(done as f64 / size as f64);
        loop {
            if signals.stop.load(Ordering::Relaxed) {
                return false;
            }
            // The log writes into the segment before this one: no other segment is ready.
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

/// Writes a whole file: `head`, then zeros. Afterwards every block of it is allocated and written, so that a
/// log write changes no metadata.
pub(super) fn fill(path: &Path, size: u64, head: &[u8], pace: &Pace<'_>) -> io::Result<()> {
    assert!(head.len() <= CHUNK_BYTES, "a header is longer than a chunk");
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
    assert!(at == size, "a file is filled to its end");
    file.sync_all()
}

/// Opens a file with O_DIRECT, where the file system supports it.
pub(super) fn open_direct(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    match options.custom_flags(libc::O_DIRECT).open(path) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => options.custom_flags(0).open(path),
        result => result,
    }
}

pub(super) fn write_exactly(file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    let written = file.write_at(bytes, at)?;
    assert!(written <= bytes.len(), "more was written than there is");
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
        // The chunk is not due for an hour, but `keep` does not wait.
        (pace.span, pace.hurried) = (Duration::from_secs(3600), Cell::new(false));
        assert!(pace.keep(1, 1));
        // Closing the log ends it.
        signals.stop.store(true, Ordering::Relaxed);
        assert!(!pace.keep(1, 1));
    }
}
