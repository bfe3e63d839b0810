//! The search for the highest rate that holds: it doubles (or halves) the rate until one rate holds and one
//! does not, then bisects between the two. Pure: rates out, verdicts in.
//!
//! A figure is worth something only if the host would give it again. So the search ends with [`REPEATS`] equal
//! steps well below the result, where a quiet host repeats itself; [`noise`] says if it did not.

use crate::duration::milliseconds;
use crate::options::RATE_MAX;
use crate::saturation::{CPU_SHARE_MAX, OWN_LATE_MAX};
use crate::slo::Slo;
use serde::{Deserialize, Serialize};

/// The search ends when the lowest rate that failed is at most this much above the highest that held.
pub const PRECISION: f64 = 0.05;
/// Most steps of a search, without the repeated ones.
pub const STEPS_MAX: u32 = 30;
/// How many equal steps show whether the host repeats itself.
pub const REPEATS: u32 = 2;
/// Equal steps agree if the larger percentile is at most this many times the smaller one …
pub const AGREE_FACTOR: f64 = 2.0;
/// … or if the two differ by at most this share of the objective, which then notices nothing of it.
pub const AGREE_SLACK: f64 = 0.1;
/// A host that gives other virtual machines more than this share of the processors' time is too noisy.
pub const STOLEN_MAX: f64 = 0.05;
/// The exit status of a search that gives no figure because the host is too noisy.
pub const NOISY_HOST_EXIT: u8 = 14;

/// The state of a search.
#[derive(Clone, Debug)]
pub struct RateSearch {
    first: u64,
    floor: u64,
    held: Option<u64>,
    failed: Option<u64>,
    steps: u32,
}

impl RateSearch {
    /// A search that begins with the rate `first` and tries none below `floor`, in requests per second.
    pub fn new(first: u64, floor: u64) -> Self {
        let floor = floor.clamp(1, RATE_MAX);
        Self { first: first.clamp(floor, RATE_MAX), floor, held: None, failed: None, steps: 0 }
    }
    /// The rate to try next; `None` at the end.
    pub fn next_rate(&self) -> Option<u64> {
        if self.steps >= STEPS_MAX {
            return None;
        }
        match (self.held, self.failed) {
            (None, None) => Some(self.first),
            (Some(held), None) => (held < RATE_MAX).then(|| (held * 2).min(RATE_MAX)),
            (None, Some(failed)) => (failed > self.floor).then(|| (failed / 2).max(self.floor)),
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
    /// The rate of the repeated steps, once there is a result: half of it, where no queue grows and equal
    /// steps should give equal figures.
    pub fn repeat_rate(&self) -> Option<u64> {
        self.held.map(|held| (held / 2).max(self.floor))
    }
}

/// Why the repeated steps show that the host is too noisy for a figure; `None` if they agree.
pub fn noise(repeats: &[StepReport], slos: &[Slo]) -> Option<String> {
    if let Some(why) = repeats.iter().find_map(|step| unscheduled(step, slos)) {
        return Some(why);
    }
    if let Some(failed) = repeats.iter().find(|step| !step.held) {
        return Some(format!(
            "{}/s did not hold when measured again ({}), although a rate at least as high had held",
            failed.rate_per_s,
            failed.why.join(", ")
        ));
    }
    slos.iter().find_map(|&slo| disagreement(repeats, slo))
}

/// Why the figures of this step are not those of the target, although the generator had little to do: it got
/// no processor when it needed one.
pub fn unscheduled(step: &StepReport, slos: &[Slo]) -> Option<String> {
    if let Some(stolen) = step.stolen_share.filter(|share| *share > STOLEN_MAX) {
        return Some(format!(
            "other virtual machines took {:.0} % of the processors' time at {}/s (limit {:.0} %)",
            stolen * 100.0,
            step.rate_per_s,
            STOLEN_MAX * 100.0
        ));
    }
    // A generator whose processor is full is late by itself, which `limited_by_generator` says.
    let is_full = step.cpu_share.is_some_and(|share| share > CPU_SHARE_MAX);
    let noticed_us = slos.iter().map(|slo| (slo.limit_us() as f64 * AGREE_SLACK) as u64).min().unwrap_or(0);
    let most_us = noticed_us.max(OWN_LATE_MAX.as_micros() as u64); // a small constant
    (step.own_late_p99_us > most_us && !is_full).then(|| {
        format!(
            "at {}/s the generator was not scheduled in time: it took requests from its schedule {} late at p99 \
             (limit {})",
            step.rate_per_s,
            milliseconds(step.own_late_p99_us),
            milliseconds(most_us)
        )
    })
}

fn disagreement(repeats: &[StepReport], slo: Slo) -> Option<String> {
    let figures = || repeats.iter().map(|step| step.percentile_us(slo));
    let (least, most) = (figures().min()?, figures().max()?);
    let slack_us = slo.limit_us() as f64 * AGREE_SLACK;
    let differ = most as f64 > least as f64 * AGREE_FACTOR && (most - least) as f64 > slack_us;
    differ.then(|| {
        format!(
            "{} was {} and {} in equal steps at {}/s (limit: a factor of {AGREE_FACTOR})",
            slo.name(),
            milliseconds(least),
            milliseconds(most),
            repeats[0].rate_per_s
        )
    })
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
    /// The same, 90th percentile.
    pub p90_us: u64,
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
    /// Whether this step repeats a lower rate, to show whether the host gives the same figures again.
    pub repeated: bool,
    /// The generator's own lateness, 99th percentile, in microseconds.
    pub own_late_p99_us: u64,
    /// Processor time of the busiest generator thread, divided by the length of the step.
    pub cpu_share: Option<f64>,
    /// Share of the processors' time that other virtual machines took.
    pub stolen_share: Option<f64>,
}

impl StepReport {
    /// The percentile that the objective is about, in microseconds.
    pub fn percentile_us(&self, slo: Slo) -> u64 {
        match slo.name() {
            "p50" => self.p50_us,
            "p90" => self.p90_us,
            "p99" => self.p99_us,
            _ => self.p999_us,
        }
    }
    /// The line for display.
    pub fn line(&self) -> String {
        let ms = |us: u64| us as f64 / 1e3;
        format!(
            "{}  offered {:>8}/s  achieved {:>8.0}/s  p50 {:.3} ms  p99 {:.3} ms  p99.9 {:.3} ms  {}{}",
            if self.repeated { "again " } else { "step  " },
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
    /// The highest rate that held, in requests per second; `null` if none did, or if the host is too noisy.
    pub rate_per_s: Option<u64>,
    /// The lowest rate that the search tries.
    pub floor_per_s: u64,
    /// Why the host is too noisy for a figure.
    pub noise: Option<String>,
    /// Whether the generator was the bottleneck in the lowest step that failed; the target may then sustain
    /// more.
    pub limited_by_generator: bool,
    /// All steps, in order.
    pub steps: Vec<StepReport>,
}

impl SearchReport {
    /// The sentence for display.
    pub fn line(&self, objectives: &str) -> String {
        let result = match (&self.noise, self.rate_per_s) {
            (Some(noise), _) => {
                format!("host too noisy: {noise}; no figure for {objectives}: measure on a quieter machine")
            }
            (None, Some(rate)) => format!("{rate} requests/s is the highest rate that holds {objectives}"),
            (None, None) => format!(
                "no rate of at least {} requests/s was found that holds {objectives}",
                self.floor_per_s
            ),
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
        found_above(1, first, knee)
    }

    fn found_above(floor: u64, first: u64, knee: u64) -> (RateSearch, Vec<u64>) {
        let (mut search, mut tried) = (RateSearch::new(first, floor), Vec::new());
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

    #[test]
    fn no_rate_below_the_floor_is_tried() {
        let (search, tried) = found_above(100, 1000, 20);
        assert_eq!((tried, search.best()), (vec![1000, 500, 250, 125, 100], None));
        let (search, tried) = found_above(300, 1000, 310);
        assert_eq!(tried, [1000, 500, 300, 400, 350, 325, 312]);
        assert_eq!((search.best(), search.repeat_rate()), (Some(300), Some(300)));
        assert_eq!(found(1000, 5300).0.repeat_rate(), Some(2625));
        assert_eq!(RateSearch::new(1000, 1).repeat_rate(), None);
    }

    fn slos(text: &str) -> Vec<Slo> {
        text.split(' ').map(|one| one.parse().expect("good")).collect()
    }

    fn repeats(p99_us: [u64; 2]) -> Vec<StepReport> {
        let step = |p99_us| StepReport {
            rate_per_s: 2500,
            p99_us,
            p50_us: 400,
            held: true,
            repeated: true,
            cpu_share: Some(0.3),
            stolen_share: Some(0.0),
            ..StepReport::default()
        };
        p99_us.map(step).to_vec()
    }

    #[test]
    fn equal_steps_that_agree_are_no_noise() {
        assert_eq!(noise(&repeats([3_000, 6_000]), &slos("p99=10ms")), None, "a factor of two");
        assert_eq!(noise(&repeats([100, 1_000]), &slos("p99=10ms")), None, "a tenth of the objective");
        assert_eq!(noise(&repeats([1_000, 9_000]), &slos("p50=1ms")), None, "not the objective's percentile");
        assert_eq!(noise(&[], &slos("p99=10ms")), None);
    }

    #[test]
    fn a_noisy_host_is_recognised_by_each_of_its_signs() {
        let says = |steps: &[StepReport], words: &str| {
            let why = noise(steps, &slos("p50=1ms p99=10ms")).unwrap_or_else(|| panic!("no {words}"));
            assert!(why.contains(words), "{why}");
        };
        says(&repeats([2_000, 6_000]), "p99 was 2.000 ms and 6.000 ms in equal steps at 2500/s");
        let mut failed = repeats([3_000, 30_000]);
        (failed[1].held, failed[1].why) = (false, vec!["write p99 30.000 ms > p99=10ms".into()]);
        says(&failed, "2500/s did not hold when measured again (write p99 30.000 ms > p99=10ms)");
        let mut late = repeats([3_000, 3_000]);
        late[0].own_late_p99_us = 5_001;
        says(&late, "took requests from its schedule 5.001 ms late");
        late[0].cpu_share = None;
        says(&late, "was not scheduled in time");
        let mut stolen = repeats([3_000, 3_000]);
        stolen[1].stolen_share = Some(0.21);
        says(&stolen, "took 21 % of the processors' time");
    }

    #[test]
    fn lateness_counts_only_if_the_objective_would_notice_it_and_the_generator_had_time() {
        let late =
            |us, cpu| StepReport { own_late_p99_us: us, cpu_share: Some(cpu), ..StepReport::default() };
        assert_eq!(unscheduled(&late(5_000, 0.3), &slos("p99=10ms")), None);
        assert!(unscheduled(&late(5_001, 0.3), &slos("p99=10ms")).is_some());
        assert_eq!(unscheduled(&late(5_001, 0.95), &slos("p99=10ms")), None, "it was the bottleneck itself");
        assert_eq!(unscheduled(&late(100_000, 0.3), &slos("p99=1s")), None);
        assert!(unscheduled(&late(100_001, 0.3), &slos("p99=1s")).is_some());
    }

    #[test]
    fn a_result_that_is_none_says_why() {
        let report = SearchReport { phase: "write".into(), floor_per_s: 100, ..SearchReport::default() };
        let line = report.line("p99=10ms");
        assert!(line.contains("no rate of at least 100 requests/s was found that holds p99=10ms"), "{line}");
        let noisy = SearchReport { noise: Some("p99 was 1 ms and 9 ms".into()), ..report };
        let line = noisy.line("p99=10ms");
        assert!(line.starts_with("find-max write: host too noisy: p99 was 1 ms and 9 ms;"), "{line}");
    }

    proptest! {
        #[test]
        fn the_floor_is_kept_and_found(floor in 1_u64..5000, above in 0_u64..2_000_000, knee in 0_u64..2_000_000) {
            let (search, tried) = found_above(floor, floor + above, knee);
            prop_assert!(tried.iter().all(|rate| *rate >= floor), "{:?}", tried);
            prop_assert_eq!(search.best().is_some(), knee >= floor, "the floor itself is tried");
        }

        #[test]
        fn every_knee_is_found_closely(first in 1_u64..2_000_000, knee in 100_u64..2_000_000) {
            let (search, tried) = found(first, knee);
            prop_assert!(tried.len() < STEPS_MAX as usize);
            let best = search.best().expect("some rate holds");
            prop_assert!(best <= knee && knee as f64 <= best as f64 * (1.0 + PRECISION) + 1.0, "{best} for {knee}");
        }
    }
}
