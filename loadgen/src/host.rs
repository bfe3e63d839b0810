//! How busy this machine was between two moments: its processors, and the disk of a directory. Read from
//! /proc; what the kernel does not tell is `None`.
//!
//! ```text
//!  /proc/stat           processor time by kind, in ticks
//!  /proc/pressure/cpu   time in which something could run and had no processor
//!  /proc/diskstats      writes, flushes and busy time of each disk
//! ```

use crate::clock::monotonic_ns;
use nix::sys::stat::{major, minor};
use serde::{Deserialize, Serialize};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The counters of the kernel at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostSample {
    at_ns: u64,
    processor: Option<ProcessorTicks>,
    /// Time in which something waited for a processor, in microseconds.
    waited_us: Option<u64>,
    disk: Option<DiskCounts>,
}

/// The first line of /proc/stat: time of all processors since the start of the machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct ProcessorTicks {
    busy: u64,
    stolen: u64,
    all: u64,
}

/// The line of one disk in /proc/diskstats. Times are in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct DiskCounts {
    writes: u64,
    write_ms: u64,
    busy_ms: u64,
    flushes: u64,
    flush_ms: u64,
}

/// The load of the machine between two samples. Shares are 0 to 1; `null` in the JSON is what the kernel does
/// not tell.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HostLoad {
    /// Share of the time of all processors in which they worked.
    pub processor_busy: Option<f64>,
    /// Share of the time of all processors that other virtual machines took.
    pub processor_stolen: Option<f64>,
    /// Share of the time in which something could run and had no processor.
    pub processor_waited: Option<f64>,
    /// Share of the time in which the disk had work.
    pub disk_busy: Option<f64>,
    /// Mean time of a write of the disk, in microseconds.
    pub disk_write_us: Option<u64>,
    /// Mean time of a flush of the disk's cache, in microseconds; `null` also when there was none, which is
    /// usual for logs whose every write is durable by itself.
    pub disk_flush_us: Option<u64>,
}

impl HostSample {
    /// The counters now; those of the disk that holds `dir`, if one is given.
    pub fn take(dir: Option<&Path>) -> Self {
        // What cannot be read is not known: some machines have no /proc/pressure, some hide /proc/diskstats.
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let device = dir.and_then(|dir| std::fs::metadata(dir).ok()).map(|found| found.dev());
        Self {
            at_ns: monotonic_ns(),
            processor: processor_ticks(&read("/proc/stat")),
            waited_us: waited_us(&read("/proc/pressure/cpu")),
            disk: device
                .and_then(|device| disk_counts(&read("/proc/diskstats"), major(device), minor(device))),
        }
    }

    /// What happened from this sample to a `later` one.
    pub fn until(&self, later: &Self) -> HostLoad {
        let wall_us = later.at_ns.saturating_sub(self.at_ns) / 1000;
        let of_processors = |part: fn(&ProcessorTicks) -> u64| {
            let (before, after) = (self.processor?, later.processor?);
            share(part(&after).saturating_sub(part(&before)), after.all.saturating_sub(before.all))
        };
        let waited = || share(later.waited_us?.saturating_sub(self.waited_us?), wall_us);
        let of_disk = |part: fn(&DiskCounts) -> u64| {
            let (before, after) = (self.disk?, later.disk?);
            Some(part(&after).saturating_sub(part(&before)))
        };
        let mean_us = |spent_ms: Option<u64>, count: Option<u64>| {
            count.filter(|count| *count > 0).and_then(|count| Some(spent_ms? * 1000 / count))
        };
        HostLoad {
            processor_busy: of_processors(|ticks| ticks.busy),
            processor_stolen: of_processors(|ticks| ticks.stolen),
            processor_waited: waited(),
            disk_busy: of_disk(|disk| disk.busy_ms).and_then(|busy_ms| share(busy_ms * 1000, wall_us)),
            disk_write_us: mean_us(of_disk(|disk| disk.write_ms), of_disk(|disk| disk.writes)),
            disk_flush_us: mean_us(of_disk(|disk| disk.flush_ms), of_disk(|disk| disk.flushes)),
        }
    }
}

/// A share of a whole, at most 1: the counters of the kernel are rounded.
fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| (part as f64 / whole as f64).min(1.0))
}

/// The line `cpu user nice system idle iowait irq softirq steal …` (proc_stat(5)). Guests are counted in
/// `user` and `nice`.
fn processor_ticks(stat: &str) -> Option<ProcessorTicks> {
    let line = stat.lines().find(|line| line.starts_with("cpu "))?;
    let ticks: Vec<u64> =
        line.split_ascii_whitespace().skip(1).take(8).map(str::parse).collect::<Result<_, _>>().ok()?;
    let &[user, nice, system, idle, iowait, irq, softirq, stolen] = ticks.as_slice() else { return None };
    let busy = user + nice + system + irq + softirq;
    Some(ProcessorTicks { busy, stolen, all: busy + stolen + idle + iowait })
}

/// The line `some avg10=… avg60=… avg300=… total=…` (Documentation/accounting/psi.rst).
fn waited_us(pressure: &str) -> Option<u64> {
    let line = pressure.lines().find(|line| line.starts_with("some "))?;
    line.split_ascii_whitespace().find_map(|word| word.strip_prefix("total="))?.parse().ok()
}

/// A disk's line: its two numbers, its name, and its counters (Documentation/admin-guide/iostats.rst). Old
/// kernels do not count flushes.
fn disk_counts(table: &str, major: u64, minor: u64) -> Option<DiskCounts> {
    table.lines().find_map(|line| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let number = |at: usize| words.get(at)?.parse::<u64>().ok();
        if (number(0)?, number(1)?) != (major, minor) {
            return None;
        }
        let counter = |at: usize| number(at + 3);
        Some(DiskCounts {
            writes: counter(4)?,
            write_ms: counter(7)?,
            busy_ms: counter(9)?,
            flushes: counter(15).unwrap_or(0),
            flush_ms: counter(16).unwrap_or(0),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
   7       0 loop0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
 254       0 vda 82604 19584 3138050 28925 5288 46705 1961400 14866 0 14712 45369 4079 72 99408 1423 52 153
 254       1 vda1 75 1 5152 9 2189 1250 32520 671 0 60 683
 254       2 vda2 75 1
";

    #[test]
    fn the_lines_of_the_kernel_are_read() {
        let ticks = processor_ticks("cpu  10 20 30 400 5 1 2 8 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n");
        assert_eq!(ticks, Some(ProcessorTicks { busy: 63, stolen: 8, all: 476 }));
        assert_eq!(processor_ticks("cpu 1 2 3\n"), None);
        assert_eq!(processor_ticks(""), None);
        let pressure = "some avg10=94.14 avg60=79.21 avg300=31.42 total=120058747\nfull avg10=0.00 total=7\n";
        assert_eq!(waited_us(pressure), Some(120_058_747));
        assert_eq!(waited_us("full avg10=0.00 total=7"), None);
        let vda = DiskCounts { writes: 5288, write_ms: 14_866, busy_ms: 14_712, flushes: 52, flush_ms: 153 };
        assert_eq!(disk_counts(TABLE, 254, 0), Some(vda));
        assert_eq!(disk_counts(TABLE, 254, 1).map(|disk| (disk.writes, disk.flushes)), Some((2189, 0)));
        assert_eq!(disk_counts(TABLE, 254, 2), None, "a line that is too short");
        assert_eq!(disk_counts(TABLE, 8, 0), None);
    }

    #[test]
    fn the_load_is_what_was_counted_between_two_samples() {
        let before = HostSample {
            at_ns: 1_000_000_000,
            processor: Some(ProcessorTicks { busy: 100, stolen: 10, all: 1000 }),
            waited_us: Some(500_000),
            disk: Some(DiskCounts { writes: 10, write_ms: 100, busy_ms: 50, flushes: 3, flush_ms: 30 }),
        };
        let after = HostSample {
            at_ns: 3_000_000_000,
            processor: Some(ProcessorTicks { busy: 280, stolen: 30, all: 1200 }),
            waited_us: Some(1_500_000),
            disk: Some(DiskCounts { writes: 110, write_ms: 450, busy_ms: 550, flushes: 7, flush_ms: 50 }),
        };
        let load = before.until(&after);
        assert_eq!((load.processor_busy, load.processor_stolen), (Some(0.9), Some(0.1)));
        assert_eq!((load.processor_waited, load.disk_busy), (Some(0.5), Some(0.25)));
        assert_eq!((load.disk_write_us, load.disk_flush_us), (Some(3500), Some(5000)));
        assert_eq!(before.until(&before), HostLoad::default(), "no time, no shares");
        assert_eq!(HostSample::default().until(&after), HostLoad::default(), "half of it is not known");
    }

    #[test]
    fn this_machine_tells_its_processor_time() {
        let sample = HostSample::take(Some(Path::new("/")));
        assert!(sample.processor.is_some_and(|ticks| ticks.all > 0));
        assert!(HostSample::take(Some(Path::new("/nonexistent"))).disk.is_none());
    }
}
