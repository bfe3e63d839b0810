//! Waits until a disk has finished earlier work, before anything is measured on it.
//!
//! On a filesystem mounted with `discard`, the blocks of deleted files are handed back to the disk some time
//! later, extent by extent. Each of these commands may take many milliseconds, and writes wait behind them: a
//! run that began right after another run's data was deleted would measure the deletion.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// After this long without a discard, no more are expected.
const QUIET: Duration = Duration::from_millis(300);
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// The way in which the wait ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Quiesced {
    /// The disk has finished all earlier work.
    Quiet,
    /// The disk was still discarding when the limit had passed.
    Busy,
    /// The caller stopped the wait.
    Stopped,
}

/// Writes everything on the filesystem of `dir` to its disk, then waits until the disk has stopped
/// discarding: for `limit` at most, or until `stop` returns true. A filesystem without a disk of its own,
/// whose discards cannot be counted, counts as quiet.
///
/// # Errors
/// When `dir` cannot be opened or its filesystem cannot be written to the disk.
pub fn quiesce(dir: &Path, limit: Duration, mut stop: impl FnMut() -> bool) -> io::Result<Quiesced> {
    let file = File::open(dir)?;
    nix::unistd::syncfs(file.as_raw_fd())?;
    let device = file.metadata()?.dev();
    let begin = Instant::now();
    let (mut seen, mut since) = (discards_of(device), Instant::now());
    while seen.is_some() && since.elapsed() < QUIET {
        if stop() {
            return Ok(Quiesced::Stopped);
        }
        if begin.elapsed() >= limit {
            return Ok(Quiesced::Busy);
        }
        std::thread::sleep(LOOK_INTERVAL);
        let now = discards_of(device);
        if now != seen {
            (seen, since) = (now, Instant::now());
        }
    }
    Ok(Quiesced::Quiet)
}

/// The number of discards that the disk has finished, if the kernel counts them.
fn discards_of(device: u64) -> Option<u64> {
    let table = std::fs::read_to_string("/proc/diskstats").ok()?;
    discards_in(&table, libc::major(device), libc::minor(device))
}

/// A disk's line holds its two numbers, its name, and its counters: reads, writes and so on. The twelfth
/// counter is discards (Documentation/admin-guide/iostats.rst).
fn discards_in(table: &str, major: u32, minor: u32) -> Option<u64> {
    table.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let numbers = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        if numbers != (major, minor) {
            return None;
        }
        words.nth(12)?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
   7       0 loop0 1 0 2 0 0 0 0 0 0 0 0 0 0 0 0 0 0
 254       0 vda 75 1 5152 9 2189 1250 32520 671 1 60 683 4711 0 9437184 12 3 1
 254       1 vda1 75 1 5152 9 2189 1250 32520 671 0 60 683
";

    #[test]
    fn discards_are_found_by_the_disks_numbers() {
        assert_eq!(discards_in(TABLE, 254, 0), Some(4711));
        assert_eq!(discards_in(TABLE, 7, 0), Some(0));
        assert_eq!(discards_in(TABLE, 254, 1), None, "a kernel that does not count them");
        assert_eq!(discards_in(TABLE, 8, 0), None);
        assert_eq!(discards_in("", 8, 0), None);
    }

    #[test]
    fn a_disk_comes_to_rest_and_who_has_enough_does_not_wait() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), [1; 4096]).unwrap();
        let limit = Duration::from_secs(60);
        assert_eq!(quiesce(dir.path(), limit, || false).unwrap(), Quiesced::Quiet);
        assert!(quiesce(&dir.path().join("none"), limit, || false).is_err());
        if discards_of(std::fs::metadata(dir.path()).unwrap().dev()).is_some() {
            assert_eq!(quiesce(dir.path(), limit, || true).unwrap(), Quiesced::Stopped);
            assert_eq!(quiesce(dir.path(), Duration::ZERO, || false).unwrap(), Quiesced::Busy);
        }
    }
}
