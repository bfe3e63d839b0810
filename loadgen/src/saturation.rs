//! Whether the generator itself was the bottleneck: then the figures are its own and not its target's.

use std::time::Duration;

/// A planned request is looked at in every turn, which comes each half millisecond; when one in a hundred is looked at later
/// than this, the thread did not get its turns. Ten turns: above what a busy but sound machine shows.
pub const OWN_LATE_MAX: Duration = Duration::from_millis(5);
/// A generator thread that used more of its time than this had none to spare for a burst.
pub const CPU_SHARE_MAX: f64 = 0.9;

/// The warning, if there is one. `own_late_p99_us` is how late requests were taken from the schedule, waiting for the target
/// left out; `cpu_share` is the processor time of the busiest generator thread over the time of its load.
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
