//! Whether the generator itself was the bottleneck. If so, the figures describe the generator and not the
//! target.

use std::time::Duration;

/// Limit for how late requests are taken from the schedule, at p99. A turn looks at the schedule each half
/// millisecond; if one request in a hundred is later than this, the thread did not get its turns. The limit
/// is ten turns, which is above what a busy but healthy machine shows.
pub const OWN_LATE_MAX: Duration = Duration::from_millis(5);
/// Limit for the processor share of a generator thread; above it the thread has no time left for a burst.
pub const CPU_SHARE_MAX: f64 = 0.9;

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
