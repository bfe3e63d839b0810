//! How much load is offered when nobody names a rate: what a short probe says that the target holds now.
//! Pure: figures in; a rate, its limit and a sentence out.
//!
//! ```text
//!            HOLD_SHARE of what the probe measured
//!   offered = min(usual rate, that, rounded down), at least OFFER_LEAST
//! ```
//!
//! A rate that cannot be held shows nothing but a queue that grows, so its latencies depend on the length of
//! the run and not on the target.

use crate::duration::milliseconds;
use crate::host::HostLoad;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// The rate of the open loop if no `--rate` is given and the target holds it, in requests per second.
pub const RATE_USUAL: u64 = 20_000;
/// This share of what the probe measured counts as what can be held: a closed loop runs at the very limit,
/// where an open loop has no room to recover from a stall of a few milliseconds.
pub const HOLD_SHARE: f64 = 0.75;
/// No probe lowers the offer below this, in requests per second: with fewer a short phase measures too little.
pub const OFFER_LEAST: u64 = 100;
/// Processors that work (or are taken by other virtual machines) for this share of the time are the limit.
const PROCESSOR_FULL: f64 = 0.9;
/// A disk that has work for this share of the time is the limit, if the processors are not.
const DISK_FULL: f64 = 0.5;
/// A disk whose writes or flushes take longer than this is the limit, if the processors are not: a durable
/// write waits for at least one of them.
const DISK_SLOW_US: u64 = 2_000;

/// The rate to offer if `asked` is wanted and the target answers `held_per_s` in a closed loop.
pub fn offer(asked: u64, held_per_s: f64) -> u64 {
    let most = held_per_s * HOLD_SHARE;
    if most >= asked as f64 {
        return asked;
    }
    // The cast takes a value that is not a number as 0.
    rounded_down(most as u64).max(OFFER_LEAST).min(asked)
}

/// The first two digits of a rate, the others 0: more would pretend that a probe is exact.
fn rounded_down(rate: u64) -> u64 {
    let digits = rate.checked_ilog10().map_or(1, |log| log + 1);
    let unit = 10_u64.pow(digits.saturating_sub(2));
    rate / unit * unit
}

/// What keeps the target from holding more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Limit {
    /// The processors of this machine have no time left.
    Processor,
    /// The disk writes or flushes slowly.
    Disk,
    /// Neither was seen; the target may be on another machine.
    #[default]
    Unknown,
}

impl Limit {
    /// The limit, as far as the load of this machine shows it.
    pub fn of(host: &HostLoad) -> Self {
        let processor = host.processor_busy.unwrap_or(0.0) + host.processor_stolen.unwrap_or(0.0);
        let is_slow = |us: Option<u64>| us.is_some_and(|us| us >= DISK_SLOW_US);
        if processor >= PROCESSOR_FULL {
            Self::Processor
        } else if host.disk_busy.is_some_and(|share| share >= DISK_FULL)
            || is_slow(host.disk_write_us)
            || is_slow(host.disk_flush_us)
        {
            Self::Disk
        } else {
            Self::Unknown
        }
    }
}

/// The figures of the probe.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ProbeReport {
    /// The operations it was made of: those of the first phase, `write`, `read` or `mixed`.
    pub phase: String,
    /// Requests per second that were answered successfully in a closed loop.
    pub achieved_per_s: f64,
    /// Length of the measured time, in seconds.
    pub seconds: f64,
    /// Median latency of the slowest operation, in microseconds.
    pub p50_us: u64,
    /// The same, 99th percentile.
    pub p99_us: u64,
    /// Requests that failed, whose outcome is unknown, or that were answered wrongly.
    pub errors: u64,
    /// How busy this machine was meanwhile.
    pub host: HostLoad,
    /// What limits the target, as far as this machine shows it.
    pub limit: Limit,
}

/// The rates of a run, and where they come from.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Offer {
    /// The rate that was wanted: `--rate`, or the usual one. `None` in the closed loop.
    pub asked: Option<u64>,
    /// The rate of the measured phases. `None` in the closed loop and in a search.
    pub offered: Option<u64>,
    /// The probe, if there was one.
    pub probe: Option<ProbeReport>,
}

impl ProbeReport {
    /// The sentence for display: what was measured, what is offered, and if that is less than `asked`, why.
    pub fn line(&self, asked: u64, offered: u64) -> String {
        let what = match self.phase.as_str() {
            "write" => "writes",
            "read" => "reads",
            _ => "requests",
        };
        // Writing into a String cannot fail, here and below.
        let mut line = format!(
            "probe    the target answers {:.0} {what}/s now (closed loop, p50 {}, p99 {})",
            self.achieved_per_s,
            milliseconds(self.p50_us),
            milliseconds(self.p99_us),
        );
        if self.errors > 0 {
            let _ = write!(line, ", {} failed", self.errors);
        }
        if offered >= asked {
            let _ = write!(line, "; {offered}/s are offered");
            return line;
        }
        let share = if self.achieved_per_s * HOLD_SHARE >= offered as f64 {
            format!("{:.0} % of that, rounded down", HOLD_SHARE * 100.0)
        } else {
            "the least that is offered".to_owned()
        };
        let why = if self.achieved_per_s < asked as f64 {
            "cannot be held"
        } else {
            "would leave no room to recover from a stall"
        };
        let _ = write!(
            line,
            "; {asked}/s {why}, so {offered}/s are offered ({share}); {}; --rate {asked} forces the rate",
            self.limit_in_words(),
        );
        line
    }

    fn limit_in_words(&self) -> String {
        let percent = |share: f64| format!("{:.0} %", share * 100.0);
        let host = &self.host;
        match self.limit {
            Limit::Processor => {
                let mut words = format!(
                    "the limit is the processor: {} busy",
                    host.processor_busy.map_or("not known how".to_owned(), percent)
                );
                if let Some(stolen) = host.processor_stolen.filter(|share| *share >= 0.01) {
                    let _ = write!(words, ", {} taken by other virtual machines", percent(stolen));
                }
                if let Some(waited) = host.processor_waited {
                    let _ = write!(words, ", work waited for one in {} of the time", percent(waited));
                }
                words
            }
            Limit::Disk => {
                let figures = [
                    host.disk_write_us.map(|us| format!("a write takes {}", milliseconds(us))),
                    host.disk_flush_us.map(|us| format!("a flush takes {}", milliseconds(us))),
                    host.disk_busy.map(|share| format!("busy for {} of the time", percent(share))),
                ];
                let figures: Vec<_> = figures.into_iter().flatten().collect();
                format!("the limit is the disk: {}", figures.join(", "))
            }
            Limit::Unknown => {
                let busy = host.processor_busy.map_or("not known how".to_owned(), percent);
                format!(
                    "the limit was not found on this machine (processors {busy} busy); it may be the network or \
                     the target's machine"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_offered_for_a_measurement() {
        let table = [
            // asked, measured, offered
            (20_000, 60_000.0, 20_000),
            (20_000, 26_667.0, 20_000),
            (20_000, 26_000.0, 19_000),
            (20_000, 8_434.0, 6_300),
            (20_000, 1_000.0, 750),
            (20_000, 140.0, 100),
            (20_000, 0.0, OFFER_LEAST),
            (20_000, f64::NAN, OFFER_LEAST),
            (50, 1.0, 50),
        ];
        for (asked, measured, offered) in table {
            assert_eq!(offer(asked, measured), offered, "{asked} asked, {measured} measured");
        }
    }

    #[test]
    fn a_rate_is_rounded_down_to_two_digits() {
        let pairs = [(0, 0), (7, 7), (99, 99), (101, 100), (6_325, 6_300), (19_999, 19_000)];
        for (rate, rounded) in pairs {
            assert_eq!(rounded_down(rate), rounded);
        }
    }

    #[test]
    fn the_limit_is_the_processor_before_the_disk() {
        let idle = HostLoad { processor_busy: Some(0.4), ..HostLoad::default() };
        assert_eq!(Limit::of(&HostLoad::default()), Limit::Unknown);
        assert_eq!(Limit::of(&idle), Limit::Unknown);
        assert_eq!(Limit::of(&HostLoad { processor_busy: Some(0.9), ..idle }), Limit::Processor);
        assert_eq!(Limit::of(&HostLoad { processor_stolen: Some(0.6), ..idle }), Limit::Processor);
        assert_eq!(Limit::of(&HostLoad { disk_busy: Some(0.8), ..idle }), Limit::Disk);
        assert_eq!(Limit::of(&HostLoad { disk_write_us: Some(5_000), ..idle }), Limit::Disk);
        assert_eq!(Limit::of(&HostLoad { disk_flush_us: Some(5_000), ..idle }), Limit::Disk);
        let both = HostLoad { processor_busy: Some(0.99), disk_busy: Some(0.99), ..idle };
        assert_eq!(Limit::of(&both), Limit::Processor);
    }

    fn probe(achieved_per_s: f64, host: HostLoad) -> ProbeReport {
        ProbeReport {
            phase: "write".into(),
            achieved_per_s,
            seconds: 1.5,
            p50_us: 61_000,
            p99_us: 120_000,
            limit: Limit::of(&host),
            host,
            ..ProbeReport::default()
        }
    }

    #[test]
    fn the_sentence_says_what_was_measured_what_is_offered_and_why() {
        let busy = HostLoad {
            processor_busy: Some(0.98),
            processor_stolen: Some(0.02),
            processor_waited: Some(0.94),
            ..HostLoad::default()
        };
        assert_eq!(
            probe(8_434.0, busy).line(20_000, 6_300),
            "probe    the target answers 8434 writes/s now (closed loop, p50 61.0 ms, p99 120.0 ms); 20000/s cannot \
             be held, so 6300/s are offered (75 % of that, rounded down); the limit is the processor: 98 % busy, \
             2 % taken by other virtual machines, work waited for one in 94 % of the time; --rate 20000 forces \
             the rate"
        );
        let slow = HostLoad {
            processor_busy: Some(0.2),
            disk_write_us: Some(8_100),
            disk_flush_us: Some(12_000),
            disk_busy: Some(0.97),
            ..HostLoad::default()
        };
        let line = probe(8_434.0, slow).line(20_000, 6_300);
        let words =
            "the limit is the disk: a write takes 8.100 ms, a flush takes 12.0 ms, busy for 97 % of the time";
        assert!(line.contains(words), "{line}");
        let line = probe(26_304.0, HostLoad::default()).line(20_000, 19_000);
        let words =
            "; 20000/s would leave no room to recover from a stall, so 19000/s are offered (75 % of that";
        assert!(line.contains(words), "{line}");
        let line = probe(90.0, HostLoad::default()).line(20_000, 100);
        assert!(line.contains("(the least that is offered)") && line.contains("was not found"), "{line}");
        let failed = ProbeReport { errors: 3, ..probe(41_200.0, busy) };
        let line = failed.line(20_000, 20_000);
        assert!(line.ends_with(", 3 failed; 20000/s are offered"), "{line}");
    }

    proptest! {
        #[test]
        fn an_offer_is_never_more_than_asked_nor_than_can_be_held(asked in 1_u64..10_000_000, held in 0.0..1e7_f64) {
            let offered = offer(asked, held);
            prop_assert!(offered >= 1 && offered <= asked);
            prop_assert!(offered as f64 <= held * HOLD_SHARE || offered == asked.min(OFFER_LEAST));
        }

        #[test]
        fn little_is_given_away(asked in 1_000_u64..10_000_000, held in 200.0..1e7_f64) {
            // Rounding to two digits takes at most a tenth.
            let wanted = (held * HOLD_SHARE).min(asked as f64);
            prop_assert!(offer(asked, held) as f64 >= wanted * 0.9 - 1.0);
        }

        #[test]
        fn a_faster_target_is_never_offered_less(asked in 1_u64..10_000_000, one in 0.0..1e7_f64, two in 0.0..1e7_f64) {
            let (slow, fast) = (one.min(two), one.max(two));
            prop_assert!(offer(asked, slow) <= offer(asked, fast));
        }
    }
}
