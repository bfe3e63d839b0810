//! The search for the highest rate, step by step on the same running cluster: how a step runs, and whether it
//! held.

use crate::clock::{monotonic_ns, nanos};
use crate::driver::{Measured, Order, Pace};
use crate::error::LoadError;
use crate::fleet::{Fleet, HEAD_START, Stop};
use crate::host::HostSample;
use crate::offer::Offer;
use crate::options::Options;
use crate::phase::Phase;
use crate::report::Progress;
use crate::saturation;
use crate::search::{REPEATS, RateSearch, SearchReport, StepReport, noise, unscheduled};
use crate::series::SecondReport;
use crate::slo::Slo;
use crate::workload::{Kind, Mix};
use std::collections::BTreeMap;
use std::time::Duration;

/// Longest warm-up of a step.
const STEP_WARMUP_MAX: Duration = Duration::from_secs(1);
/// A low rate does not lengthen a step beyond this.
const STEP_MAX: Duration = Duration::from_secs(60);
/// A step that achieves less than this share of the offered rate has failed.
const ACHIEVED_LEAST: f64 = 0.99;

/// The results of all searches of a run.
#[derive(Default)]
pub(super) struct Found {
    /// The measurements of the best steps.
    pub(super) measured: Measured,
    pub(super) seconds: BTreeMap<&'static str, Vec<SecondReport>>,
    pub(super) searches: Vec<SearchReport>,
    /// The rates of the phases that are not searched.
    pub(super) offer: Offer,
}

/// Searches the highest rate of each mix.
pub(super) fn perform(
    options: &Options,
    stop: &Stop,
    fleet: &mut Fleet<'_>,
    progress: &mut dyn FnMut(&Progress),
) -> Result<Found, LoadError> {
    let mut found =
        Found { offer: Offer { asked: Some(options.rate_asked()), ..Offer::default() }, ..Found::default() };
    for mix in options.mixes() {
        let (report, best) = Steps { options, mix, stop, fleet, progress }.search()?;
        if let Some((measured, seconds)) = best {
            found.measured.follow(&measured);
            found.seconds.extend(seconds);
        }
        found.searches.push(report);
    }
    Ok(found)
}

/// What a step measured, as a whole and second by second.
type StepFigures = (Measured, BTreeMap<&'static str, Vec<SecondReport>>);

/// The steps of one search.
struct Steps<'a, 'b> {
    options: &'a Options,
    mix: Mix,
    stop: &'a Stop,
    fleet: &'a mut Fleet<'b>,
    progress: &'a mut dyn FnMut(&Progress),
}

impl Steps<'_, '_> {
    /// Searches, and then repeats a lower rate to see whether the host is quiet enough for a figure.
    fn search(&mut self) -> Result<(SearchReport, Option<StepFigures>), LoadError> {
        let options = self.options;
        let mut search = RateSearch::new(options.rate_asked(), options.floor);
        let mut report = SearchReport {
            phase: phase_of(self.mix).name().to_owned(),
            floor_per_s: options.floor,
            ..SearchReport::default()
        };
        let mut best = None;
        while let Some(rate) = search.next_rate() {
            let Some((step, figures)) = self.step(rate, false)? else { break };
            search.tell(rate, step.held);
            if step.held {
                best = Some(figures);
            }
            report.steps.push(step);
        }
        report.rate_per_s = search.best();
        let failed = report.steps.iter().filter(|step| !step.held).min_by_key(|step| step.rate_per_s);
        report.limited_by_generator = failed.is_some_and(|step| step.saturated);
        report.noise = match search.repeat_rate() {
            Some(rate) => {
                let repeats = self.repeat(rate)?;
                let why = noise(&repeats, &options.slo);
                report.steps.extend(repeats);
                why
            }
            // No rate held. It may be that of the host, if the generator did not get its turns even then.
            None => failed.and_then(|step| unscheduled(step, &options.slo)),
        };
        if report.noise.is_some() {
            report.rate_per_s = None;
        }
        Ok((report, best))
    }

    fn repeat(&mut self, rate: u64) -> Result<Vec<StepReport>, LoadError> {
        let mut repeats = Vec::new();
        for _ in 0..REPEATS {
            let Some((step, _)) = self.step(rate, true)? else { break };
            repeats.push(step);
        }
        Ok(repeats)
    }

    /// Performs one step; `None` if it was cut short, or not all of its load was offered, so that it proves
    /// nothing.
    fn step(
        &mut self,
        rate_per_s: u64,
        repeated: bool,
    ) -> Result<Option<(StepReport, StepFigures)>, LoadError> {
        if self.is_over() {
            return Ok(None);
        }
        let options = self.options;
        let length = step_length(options, self.mix, rate_per_s);
        let warmup = options.warmup.min(STEP_WARMUP_MAX);
        let start_ns = monotonic_ns() + nanos(HEAD_START);
        let measured_ns = start_ns + nanos(warmup);
        let end_ns = measured_ns + nanos(length);
        let pace = Pace::Open { rate_per_s };
        let order = Order::Load { mix: self.mix, pace, start_ns, measured_ns, end_ns };
        let before = HostSample::take(None);
        let measured = self.fleet.perform(order, HEAD_START + warmup + length, self.progress)?;
        let host = before.until(&HostSample::take(None));
        let seconds = self.fleet.series().take();
        if self.is_over() {
            return Ok(None);
        }
        let step = StepReport {
            repeated,
            stolen_share: host.processor_stolen,
            ..judge(&measured, self.mix, rate_per_s, &options.slo)
        };
        (self.progress)(&Progress::note(phase_of(self.mix), step.line()));
        Ok(Some((step, (measured, seconds))))
    }

    fn is_over(&self) -> bool {
        self.stop.is_wanted() || !self.fleet.is_whole()
    }
}

/// The length of a step: at least the requested one, and long enough to measure the percentile of the rarest
/// operation.
fn step_length(options: &Options, mix: Mix, rate_per_s: u64) -> Duration {
    let requests = options.slo.iter().map(|slo| slo.requests_least()).max().unwrap_or(0) as f64;
    let shares = Kind::ALL.iter().map(|&kind| mix.share(kind)).filter(|share| *share > 0.0);
    let needed_s = requests / (rate_per_s as f64 * shares.fold(1.0, f64::min));
    let needed = Duration::try_from_secs_f64(needed_s).unwrap_or(STEP_MAX);
    options.step.max(needed.min(STEP_MAX))
}

/// The phase that load of this mix is measured in.
pub(super) fn phase_of(mix: Mix) -> Phase {
    match mix {
        Mix::Only(Kind::Write) => Phase::Write,
        Mix::Only(Kind::Read) => Phase::Read,
        Mix::Only(_) | Mix::ReadShare(_) | Mix::Ycsb(_) => Phase::Mixed,
    }
}

/// Judges a step. It held if every operation met its objectives, there was no error, and nearly all of the
/// offered load was achieved.
fn judge(measured: &Measured, mix: Mix, rate_per_s: u64, slos: &[Slo]) -> StepReport {
    let kinds = Kind::ALL.into_iter().filter(|&kind| mix.share(kind) > 0.0);
    let counted: Vec<_> = kinds.map(|kind| (kind, &measured.measured[kind.index()])).collect();
    let span_s = measured.measured_ns.iter().max().map_or(0.0, |&ns| ns as f64 / 1e9).max(1e-9);
    let achieved: u64 = counted.iter().map(|(_, tally)| tally.achieved_in_time).sum();
    let offered: u64 = counted.iter().map(|(_, tally)| tally.offered).sum();
    let errors = counted.iter().map(|(_, tally)| tally.errors + tally.unknown + tally.verify_failures).sum();
    let slowest =
        |quantile| counted.iter().map(|(_, tally)| tally.latencies.quantile_us(quantile)).max().unwrap_or(0);
    let own_late_p99_us = measured.own_late.quantile_us(0.99);
    let mut why = Vec::new();
    for (kind, tally) in &counted {
        for slo in slos {
            if let Some(us) = slo.missed_by(&tally.latencies) {
                why.push(format!("{} {} {:.3} ms > {slo}", kind.name(), slo.name(), us as f64 / 1e3));
            }
        }
    }
    if errors > 0 {
        why.push(format!("{errors} errors"));
    }
    if offered == 0 {
        why.push("nothing was offered".into());
    } else if (achieved as f64) < ACHIEVED_LEAST * offered as f64 {
        why.push(format!("achieved {:.1} % of the offered", achieved as f64 / offered as f64 * 100.0));
    }
    StepReport {
        rate_per_s,
        achieved_per_s: achieved as f64 / span_s,
        seconds: span_s,
        p50_us: slowest(0.5),
        p90_us: slowest(0.9),
        p99_us: slowest(0.99),
        p999_us: slowest(0.999),
        errors,
        held: why.is_empty(),
        why,
        saturated: saturation::warning(own_late_p99_us, measured.cpu_share).is_some(),
        own_late_p99_us,
        cpu_share: measured.cpu_share,
        ..StepReport::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Measured {
        let mut measured = Measured::default();
        for kind in [Kind::Read, Kind::Write] {
            let tally = &mut measured.measured[kind.index()];
            (tally.offered, tally.achieved, tally.achieved_in_time) = (1000, 1000, 1000);
            (1..=1000).for_each(|us| tally.latencies.record_ns(us * 1000));
            measured.measured_ns[kind.index()] = 2_000_000_000;
        }
        measured
    }

    #[test]
    fn a_step_fails_for_each_reason_and_says_which() {
        let slo: Vec<Slo> = vec!["p99=990us".parse().expect("good")];
        let mix = Mix::ReadShare(0.5);
        let step = judge(&good(), mix, 1000, &slo);
        assert!(step.held, "{step:?}");
        assert_eq!((step.achieved_per_s, step.seconds, step.p99_us), (1000.0, 2.0, 990));
        let fails = |change: &dyn Fn(&mut Measured), word: &str| {
            let mut measured = good();
            change(&mut measured);
            let step = judge(&measured, mix, 1000, &slo);
            assert!(!step.held && step.why.join(" ").contains(word), "{word}: {step:?}");
        };
        fails(&|m| (0..50).for_each(|_| m.measured[1].latencies.record_ns(9_000_000)), "read p99");
        fails(&|m| m.measured[0].errors = 1, "1 errors");
        fails(&|m| m.measured[0].unknown = 2, "2 errors");
        fails(&|m| m.measured[0].achieved_in_time = 970, "98.5 %");
        let empty = judge(&Measured::default(), mix, 1000, &slo);
        assert!(!empty.held, "nothing is no success");
    }

    #[test]
    fn a_step_is_long_enough_for_its_percentile() {
        let told = |text: &str| Options { slo: vec![text.parse().expect("good")], ..Options::default() };
        let length_s = |text, mix, rate| step_length(&told(text), mix, rate).as_secs_f64();
        assert_eq!(length_s("p99=1ms", Mix::Only(Kind::Write), 1000), 5.0);
        assert!((length_s("p999=1ms", Mix::Only(Kind::Write), 1000) - 10.0).abs() < 1e-3);
        assert!((length_s("p99=1ms", Mix::ReadShare(0.95), 1000) - 20.0).abs() < 1e-3);
        assert_eq!(length_s("p999=1ms", Mix::Only(Kind::Write), 1), 60.0);
    }
}
