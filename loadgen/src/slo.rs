//! Latency objectives such as `p99=10ms`.

use crate::duration::parse_duration;
use crate::histogram::Latencies;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// An objective: a percentile of the latency must not exceed a limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Slo {
    percentile: Percentile,
    /// In microseconds.
    limit_us: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Percentile {
    P50,
    P90,
    P99,
    P999,
}

impl Percentile {
    const ALL: [(Self, &'static str, f64); 4] = [
        (Self::P50, "p50", 0.5),
        (Self::P90, "p90", 0.9),
        (Self::P99, "p99", 0.99),
        (Self::P999, "p999", 0.999),
    ];

    fn row(self) -> (Self, &'static str, f64) {
        Self::ALL[self as usize] // in the order of the declaration
    }
}

impl Slo {
    /// The quantile, 0 to 1.
    pub fn quantile(self) -> f64 {
        self.percentile.row().2
    }
    /// The limit in microseconds.
    pub fn limit_us(self) -> u64 {
        self.limit_us
    }
    /// The measured percentile, if it exceeds the limit.
    pub fn missed_by(self, latencies: &Latencies) -> Option<u64> {
        Some(latencies.quantile_us(self.quantile())).filter(|us| *us > self.limit_us)
    }
    /// The fewest requests that the percentile can be measured from: ten of them are above it.
    pub fn requests_least(self) -> u64 {
        (10.0 / (1.0 - self.quantile())).ceil() as u64
    }
    /// The name of the percentile.
    pub fn name(self) -> &'static str {
        self.percentile.row().1
    }
}

impl FromStr for Slo {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = |why: &str| format!("{text:?} is not an objective such as p99=10ms: {why}");
        let (name, limit) = text.split_once('=').ok_or_else(|| refuse("it has no ="))?;
        let row = Percentile::ALL.iter().find(|(_, known, _)| *known == name);
        let &(percentile, ..) = row.ok_or_else(|| refuse("it must begin with p50, p90, p99 or p999"))?;
        let limit = parse_duration(limit).map_err(|why| refuse(&why))?;
        let limit_us = u64::try_from(limit.as_micros()).unwrap_or(u64::MAX);
        if limit_us == 0 {
            return Err(refuse("the limit must be at least 1us"));
        }
        Ok(Self { percentile, limit_us })
    }
}

impl TryFrom<String> for Slo {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Slo> for String {
    fn from(slo: Slo) -> Self {
        slo.to_string()
    }
}

impl fmt::Display for Slo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, us) = (self.name(), self.limit_us);
        if us.is_multiple_of(1000) { write!(f, "{name}={}ms", us / 1000) } else { write!(f, "{name}={us}us") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objectives_are_read_and_written_back() {
        for (text, quantile, limit_us) in [
            ("p99=10ms", 0.99, 10_000),
            ("p50=250us", 0.5, 250),
            ("p90=1ms", 0.9, 1000),
            ("p999=1500us", 0.999, 1500),
        ] {
            let slo: Slo = text.parse().expect(text);
            assert_eq!(
                (slo.quantile(), slo.limit_us(), slo.to_string().as_str()),
                (quantile, limit_us, text)
            );
        }
        assert_eq!("p99=1s".parse::<Slo>().map(Slo::limit_us), Ok(1_000_000));
        for bad in ["p99", "p98=1ms", "p99=", "p99=fast", "p99=0ms", "=1ms"] {
            let error = bad.parse::<Slo>().expect_err(bad);
            assert!(error.contains("p99=10ms"), "{error}");
        }
    }

    #[test]
    fn an_objective_is_missed_above_its_limit_only() {
        let mut latencies = Latencies::default();
        (1..=1000).for_each(|us| latencies.record_ns(us * 1000));
        let slo = |text: &str| text.parse::<Slo>().expect("good");
        assert_eq!(slo("p99=990us").missed_by(&latencies), None);
        assert_eq!(slo("p99=989us").missed_by(&latencies), Some(990));
        assert_eq!((slo("p99=1ms").requests_least(), slo("p999=1ms").requests_least()), (1000, 10_000));
    }
}
