//! Whether the generator itself was the bottleneck. If so, the figures describe the generator and not the
//! target.

use crate::duration::milliseconds;
use std::time::Duration;

/// Limit for how late requests are taken from the schedule, at p99. A turn looks at the schedule each half
/// millisecond; if one request in a hundred is later than this, the thread did not get its turns. The limit
/// is ten turns, which is above what a busy but healthy machine shows.
pub const OWN_LATE_MAX: Duration = Duration::from_millis(5);
/// Limit for the processor share of a generator thread; above it the thread has no time left for a burst.
pub const CPU_SHARE_MAX: f64 = 0.9;

/// If the generator's own lateness is more than this share of a 99th percentile, that figure is as much the
/// generator's as the target's.
pub const LATE_SHARE_MAX: f64 = 0.5;
/// Lateness up to this dominates nothing: a turn looks at the schedule each half millisecond.
pub const LATE_LEAST: Duration = Duration::from_millis(1);

/// The 99th percentiles that show how late requests left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lateness {
    /// From the planned time to the sending, waiting for the target included.
    pub late_p99_us: u64,
    /// From the planned time to the taking from the schedule: the generator's own part.
    pub own_late_p99_us: u64,
    /// The lowest 99th percentile of the latency among the operations.
    pub lowest_p99_us: u64,
    /// The highest one.
    pub highest_p99_us: u64,
}

impl Lateness {
    /// The warning if lateness is the greater part of a 99th percentile: what it means, and what to do.
    pub fn warning(self) -> Option<String> {
        let dominates = |late_us: u64, p99_us: u64| {
            Duration::from_micros(late_us) > LATE_LEAST && late_us as f64 > LATE_SHARE_MAX * p99_us as f64
        };
        if dominates(self.own_late_p99_us, self.lowest_p99_us) {
            return Some(format!(
                "the generator's own lateness is much of a p99: it took requests from its schedule {} late at p99, \
                 and the lowest p99 of an operation is {}; the target is faster than that figure says: give the \
                 generator processors of its own, or a lower --rate",
                milliseconds(self.own_late_p99_us),
                milliseconds(self.lowest_p99_us),
            ));
        }
        dominates(self.late_p99_us, self.highest_p99_us).then(|| {
            format!(
                "waiting to be sent is much of p99: requests left {} after their planned time at p99, of a p99 of {}, \
                 because the connections had no room: the target answers more slowly than requests are planned; \
                 offer a lower --rate, or allow more --connections or --inflight",
                milliseconds(self.late_p99_us),
                milliseconds(self.highest_p99_us),
            )
        })
    }
}

/// The warning, if there is one. `own_late_p99_us` is how late requests were taken from the schedule, without
/// the time spent waiting for the target. `cpu_share` is the processor time of the busiest generator thread
/// divided by the duration of its load.
pub fn warning(own_late_p99_us: u64, cpu_share: Option<f64>) -> Option<String> {
    let late = Duration::from_micros(own_late_p99_us);
    let mut reasons = Vec::new();
    if late > OWN_LATE_MAX {
        let (late_ms, most_ms) = (late.as_secs_f64() * 1e3, OWN_LATE_MAX.as_millis());
        reasons.push(format!(
            "it took requests from its schedule {late_ms:.1} ms late at p99 (limit {most_ms} ms)"
        ));
    }
    if let Some(share) = cpu_share.filter(|share| *share > CPU_SHARE_MAX) {
        reasons.push(format!(
            "its busiest thread used {:.0} % of a processor (limit {:.0} %)",
            share * 100.0,
            CPU_SHARE_MAX * 100.0
        ));
    }
    (!reasons.is_empty()).then(|| {
        format!(
            "the generator was the bottleneck: {}; give it more --threads, processors of its own, or a lower rate",
            reasons.join(" and ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lateness_that_dominates_a_p99_is_named_with_its_cause() {
        let calm =
            Lateness { late_p99_us: 1_000, own_late_p99_us: 600, lowest_p99_us: 900, highest_p99_us: 9_000 };
        assert_eq!(calm.warning(), None, "two turns of the generator dominate nothing");
        assert_eq!(Lateness { own_late_p99_us: 2_000, lowest_p99_us: 4_000, ..calm }.warning(), None);
        let own = Lateness { own_late_p99_us: 2_001, lowest_p99_us: 4_000, ..calm }.warning().expect("late");
        assert!(own.contains("2.001 ms late at p99") && own.contains("is 4.000 ms"), "{own}");
        let waited = Lateness { late_p99_us: 4_501, ..calm }.warning().expect("late");
        assert!(waited.contains("left 4.501 ms after") && waited.contains("--inflight"), "{waited}");
        assert_eq!(Lateness { late_p99_us: 4_500, ..calm }.warning(), None);
    }

    #[test]
    fn a_warning_names_the_figure_that_passed_its_limit() {
        assert_eq!(warning(0, None), None);
        assert_eq!(warning(5_000, Some(0.9)), None);
        let late = warning(5_001, Some(0.2)).expect("late");
        assert!(late.contains("5.0 ms late") && !late.contains('%'), "{late}");
        let busy = warning(100, Some(0.97)).expect("busy");
        assert!(busy.contains("97 %") && !busy.contains("late"), "{busy}");
        let both = warning(80_000, Some(1.0)).expect("both");
        assert!(both.contains("80.0 ms") && both.contains("100 %"), "{both}");
    }
}
