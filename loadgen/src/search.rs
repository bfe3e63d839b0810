//! The search for the highest rate that holds: it doubles (or halves) the rate until one rate holds and one
//! does not, then bisects between the two. Pure: rates out, verdicts in.

use crate::options::RATE_MAX;
use serde::{Deserialize, Serialize};

/// The search ends when the lowest rate that failed is at most this much above the highest that held.
pub const PRECISION: f64 = 0.05;
/// Most steps of a search.
pub const STEPS_MAX: u32 = 30;

/// The state of a search.
#[derive(Clone, Debug)]
pub struct RateSearch {
    first: u64,
    held: Option<u64>,
    failed: Option<u64>,
    steps: u32,
}

impl RateSearch {
    /// A search that begins with the rate `first`, in requests per second.
    pub fn new(first: u64) -> Self {
        Self { first: first.clamp(1, RATE_MAX), held: None, failed: None, steps: 0 }
    }
    /// The rate to try next; `None` at the end.
    pub fn next_rate(&self) -> Option<u64> {
        if self.steps >= STEPS_MAX {
            return None;
        }
        match (self.held, self.failed) {
            (None, None) => Some(self.first),
            (Some(held), None) => (held < RATE_MAX).then(|| (held * 2).min(RATE_MAX)),
            (None, Some(failed)) => (failed > 1).then_some(failed / 2),
            (Some(held), Some(failed)) => {
                let gap = failed - held;
                (gap > 1 && gap as f64 > held as f64 * PRECISION).then_some(held + gap / 2)
            }
        }
    }
    /// Reports whether `rate` held; it must be the rate that [`RateSearch::next_rate`] returned.
    pub fn tell(&mut self, rate: u64, held: bool) {
        self.steps += 1;
        let place = if held { &mut self.held } else { &mut self.failed };
        *place = Some(rate);
        if let (Some(held), Some(failed)) = (self.held, self.failed) {
            assert!(held < failed, "a rate was tried that was known");
        }
    }
    /// The highest rate that held.
    pub fn best(&self) -> Option<u64> {
        self.held
    }
}

/// One step of a search.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct StepReport {
    /// The rate that was offered, requests per second.
    pub rate_per_s: u64,
    /// Requests per second that were answered successfully within the step.
    pub achieved_per_s: f64,
    /// Length of the measured time, in seconds.
    pub seconds: f64,
    /// Median latency of the slowest operation, in microseconds.
    pub p50_us: u64,
    /// The same, 99th percentile.
    pub p99_us: u64,
    /// The same, 99.9th percentile.
    pub p999_us: u64,
    /// Requests that failed, whose outcome is unknown, or that were answered wrongly.
    pub errors: u64,
    /// Whether the step held.
    pub held: bool,
    /// Why it failed; empty if it held.
    pub why: Vec<String>,
    /// Whether the generator was the bottleneck.
    pub saturated: bool,
}

impl StepReport {
    /// The line for display.
    pub fn line(&self) -> String {
        let ms = |us: u64| us as f64 / 1e3;
        format!(
            "step    offered {:>8}/s  achieved {:>8.0}/s  p50 {:.3} ms  p99 {:.3} ms  p99.9 {:.3} ms  {}{}",
            self.rate_per_s,
            self.achieved_per_s,
            ms(self.p50_us),
            ms(self.p99_us),
            ms(self.p999_us),
            if self.held { "holds".to_owned() } else { format!("FAILS: {}", self.why.join(", ")) },
            if self.saturated { " (the generator was the bottleneck)" } else { "" },
        )
    }
}

/// The result of a search.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SearchReport {
    /// The phase that was repeated: `write`, `read` or `mixed`.
    pub phase: String,
    /// The highest rate that held, in requests per second; `null` if none did.
    pub rate_per_s: Option<u64>,
    /// Whether the generator was the bottleneck in the lowest step that failed; the target may then sustain
    /// more.
    pub limited_by_generator: bool,
    /// All steps, in order.
    pub steps: Vec<StepReport>,
}

impl SearchReport {
    /// The sentence for display.
    pub fn line(&self, objectives: &str) -> String {
        let result = match self.rate_per_s {
            Some(rate) => format!("{rate} requests/s is the highest rate that holds {objectives}"),
            None => format!("no rate was found that holds {objectives}"),
        };
        let doubt =
            if self.limited_by_generator { "; the generator was the bottleneck above it" } else { "" };
        format!("find-max {}: {result} ({} steps){doubt}", self.phase, self.steps.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Searches on a system that sustains every rate up to `knee`.
    fn found(first: u64, knee: u64) -> (RateSearch, Vec<u64>) {
        let (mut search, mut tried) = (RateSearch::new(first), Vec::new());
        while let Some(rate) = search.next_rate() {
            tried.push(rate);
            search.tell(rate, rate <= knee);
        }
        (search, tried)
    }

    #[test]
    fn the_way_to_a_known_knee() {
        let (search, tried) = found(1000, 5300);
        assert_eq!(tried, [1000, 2000, 4000, 8000, 6000, 5000, 5500, 5250]);
        assert_eq!(search.best(), Some(5250));
        let (search, tried) = found(1000, 300);
        assert_eq!(tried, [1000, 500, 250, 375, 312, 281, 296, 304]);
        assert_eq!(search.best(), Some(296));
        let (search, tried) = found(8, 0);
        assert_eq!((tried, search.best()), (vec![8, 4, 2, 1], None));
        assert_eq!(found(1_000_000, u64::MAX).0.best(), Some(RATE_MAX));
    }

    proptest! {
        #[test]
        fn every_knee_is_found_closely(first in 1_u64..2_000_000, knee in 100_u64..2_000_000) {
            let (search, tried) = found(first, knee);
            prop_assert!(tried.len() < STEPS_MAX as usize);
            let best = search.best().expect("some rate holds");
            prop_assert!(best <= knee && knee as f64 <= best as f64 * (1.0 + PRECISION) + 1.0, "{best} for {knee}");
        }
    }
}
