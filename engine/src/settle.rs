//! Waiting for a disk to finish what was left to it, before anything is measured on it.
//!
//! Files that were deleted are handed back to the disk some time later, extent by extent, where the filesystem is mounted with
//! `discard`. Each of these commands may take many milliseconds, and writes wait behind them: a run that began right after another
//! one's data was deleted would measure the deletion.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// No discard for so long: none are to come.
const QUIET: Duration = Duration::from_millis(300);
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// How the waiting ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Settled {
    /// The disk has nothing left to do that anybody had left to it.
    Quiet,
    /// It was still discarding when the limit had passed.
    Busy,
    /// The caller had enough of it.
    Stopped,
}

/// Writes everything on the filesystem of `dir` to its disk, then waits until the disk discards nothing any more: for `limit` at
/// most, or until `stop` says so. What cannot be told, on a filesystem without a disk of its own, counts as quiet.
///
/// # Errors
/// When `dir` cannot be opened or its filesystem cannot be written to the disk.
pub fn settle(dir: &Path, limit: Duration, mut stop: impl FnMut() -> bool) -> io::Result<Settled> {
    let file = File::open(dir)?;
    nix::unistd::syncfs(file.as_raw_fd())?;
    let device = file.metadata()?.dev();
    let begin = Instant::now();
    let (mut seen, mut since) = (discards_of(device), Instant::now());
    while seen.is_some() && since.elapsed() < QUIET {
        if stop() {
            return Ok(Settled::Stopped);
        }
        if begin.elapsed() >= limit {
            return Ok(Settled::Busy);
        }
        std::thread::sleep(LOOK_INTERVAL);
        let now = discards_of(device);
        if now != seen {
            (seen, since) = (now, Instant::now());
        }
    }
    Ok(Settled::Quiet)
}

/// Discards that the disk has finished, if the kernel counts them.
fn discards_of(device: u64) -> Option<u64> {
    let table = std::fs::read_to_string("/proc/diskstats").ok()?;
    discards_in(&table, libc::major(device), libc::minor(device))
}

/// The line of a disk is its two numbers, its name, and what it did: reads, writes and so on; the twelfth are discards
/// (Documentation/admin-guide/iostats.rst).
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
        assert_eq!(settle(dir.path(), limit, || false).unwrap(), Settled::Quiet);
        assert!(settle(&dir.path().join("none"), limit, || false).is_err());
        if discards_of(std::fs::metadata(dir.path()).unwrap().dev()).is_some() {
            assert_eq!(settle(dir.path(), limit, || true).unwrap(), Settled::Stopped);
            assert_eq!(settle(dir.path(), Duration::ZERO, || false).unwrap(), Settled::Busy);
        }
    }
}
