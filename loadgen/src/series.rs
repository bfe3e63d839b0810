//! The seconds of the measured phases by operation: the data for plots and comparisons.

use crate::driver::KindSecond;
use crate::histogram::Latencies;
use crate::phase::Phase;
use crate::workload::Kind;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// About one second of one operation.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SecondReport {
    /// Its end, in seconds since the measured phase began.
    pub at_s: f64,
    /// Requests begun per second.
    pub offered_per_s: f64,
    /// Requests answered successfully per second.
    pub achieved_per_s: f64,
    /// Median latency of the requests answered in this second; 0 if there were none.
    pub p50_us: u64,
    /// 99th percentile of the same.
    pub p99_us: u64,
}

/// One point of the curve of latency by percentile.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Percentile {
    /// The share of all requests that took no longer, in percent.
    pub percentile: f64,
    /// The latency.
    pub us: u64,
}

/// Points per power of ten of the share of requests that took longer.
const POINTS_PER_DECADE: u32 = 8;

/// Latency by percentile: points at equal distances on the scale `log10(1 / (1 - quantile))`, up to the last
/// one that at least one request lies above, and the maximum.
pub fn percentiles(latencies: &Latencies) -> Vec<Percentile> {
    if latencies.count() == 0 {
        return Vec::new();
    }
    let quantile = |step: u32| 1.0 - 10_f64.powf(-f64::from(step) / f64::from(POINTS_PER_DECADE));
    let steps = (0..).map(quantile).take_while(|quantile| (1.0 - quantile) * latencies.count() as f64 >= 1.0);
    let mut points: Vec<_> = steps
        .map(|quantile| {
            // Rounded to so many digits that the number survives being written and read.
            let percentile = (quantile * 1e9).round() / 1e7;
            Percentile { percentile, us: latencies.quantile_us(quantile) }
        })
        .collect();
    points.push(Percentile { percentile: 100.0, us: latencies.max_us() });
    points
}

/// One second, all threads together.
#[derive(Clone, Debug)]
pub(crate) struct Moment {
    pub(crate) phase: Phase,
    pub(crate) phase_start_ns: u64,
    pub(crate) start_ns: u64,
    pub(crate) end_ns: u64,
    /// Whether the second is long enough for its rates to be meaningful.
    pub(crate) is_long: bool,
    pub(crate) kinds: [KindSecond; Kind::COUNT],
}

/// Collects the seconds.
#[derive(Debug, Default)]
pub(crate) struct Series {
    by_kind: [Vec<SecondReport>; Kind::COUNT],
}

impl Series {
    pub(crate) fn add(&mut self, moment: &Moment) {
        if !moment.phase.is_measured() || !moment.is_long {
            return;
        }
        let per_s = |count: u64| count as f64 * 1e9 / (moment.end_ns - moment.start_ns).max(1) as f64;
        for (kind, seconds) in moment.kinds.iter().zip(&mut self.by_kind) {
            // In a mixed phase, a second without any operation of this kind counts as one that achieved
            // nothing.
            let is_told =
                kind.offered + kind.achieved > 0 || (moment.phase == Phase::Mixed && !seconds.is_empty());
            if is_told {
                let quantile_us = |quantile| kind.latencies.as_ref().map_or(0, |l| l.quantile_us(quantile));
                seconds.push(SecondReport {
                    at_s: (moment.end_ns - moment.phase_start_ns) as f64 / 1e9,
                    offered_per_s: per_s(kind.offered),
                    achieved_per_s: per_s(kind.achieved),
                    p50_us: quantile_us(0.5),
                    p99_us: quantile_us(0.99),
                });
            }
        }
    }
    /// Takes the seconds so far, by the name of the operation; the series starts again.
    pub(crate) fn take(&mut self) -> BTreeMap<&'static str, Vec<SecondReport>> {
        let all = std::mem::take(&mut self.by_kind);
        Kind::ALL.iter().map(|kind| kind.name()).zip(all).filter(|(_, seconds)| !seconds.is_empty()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_end_where_one_request_decides() {
        let mut latencies = Latencies::default();
        assert_eq!(percentiles(&latencies), []);
        (1..=1000).for_each(|us| latencies.record_ns(us * 1000));
        let points = percentiles(&latencies);
        assert_eq!(points.len(), 24 + 1 + 1, "three decades, their end, and the longest");
        assert_eq!((points[0].percentile, points[0].us), (0.0, 1));
        assert!((points[8].percentile - 90.0).abs() < 1e-9 && points[8].us == 900, "{:?}", points[8]);
        assert!((points[16].percentile - 99.0).abs() < 1e-9 && points[16].us == 990, "{:?}", points[16]);
        assert_eq!(points.last(), Some(&Percentile { percentile: 100.0, us: 1000 }));
        assert!(points.windows(2).all(|pair| pair[0].us <= pair[1].us));
    }

    #[test]
    fn only_long_measured_seconds_are_told() {
        let mut kinds: [KindSecond; Kind::COUNT] = Default::default();
        let mut latencies = Latencies::default();
        (1..=100).for_each(|us| latencies.record_ns(us * 1000));
        kinds[0] = KindSecond {
            offered: 150,
            achieved: 100,
            latencies: Some(Box::new(latencies)),
            ..KindSecond::default()
        };
        let moment = Moment {
            phase: Phase::Write,
            phase_start_ns: 1_000_000_000,
            start_ns: 2_000_000_000,
            end_ns: 2_500_000_000,
            is_long: true,
            kinds,
        };
        let mut series = Series::default();
        series.add(&moment);
        series.add(&Moment { is_long: false, ..moment.clone() });
        series.add(&Moment { phase: Phase::Warmup, ..moment.clone() });
        series.add(&Moment { phase: Phase::Audit, ..moment });
        let told = series.take();
        let second =
            SecondReport { at_s: 1.5, offered_per_s: 300.0, achieved_per_s: 200.0, p50_us: 50, p99_us: 99 };
        assert_eq!(told, BTreeMap::from([("write", vec![second])]));
        assert!(series.take().is_empty());
    }
}
