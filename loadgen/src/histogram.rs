//! Latency histograms: microseconds from 1 µs to 60 s with three significant digits.

use hdrhistogram::Histogram;

/// The longest latency; longer ones count as this.
pub const LATENCY_US_MAX: u64 = 60_000_000;

/// A histogram of latencies.
#[derive(Clone, Debug)]
pub struct Latencies {
    counts: Histogram<u64>,
    /// The exact maximum; the buckets are not exact.
    max_us: u64,
}

impl Default for Latencies {
    fn default() -> Self {
        let counts = Histogram::new_with_bounds(1, LATENCY_US_MAX, 3);
        Self { counts: counts.expect("1 to 60 000 000 with 3 digits is a legal range"), max_us: 0 }
    }
}

impl Latencies {
    /// Counts a latency in nanoseconds, rounded up to whole microseconds.
    pub fn record_ns(&mut self, latency_ns: u64) {
        let latency_us = latency_ns.div_ceil(1000).clamp(1, LATENCY_US_MAX);
        self.counts.saturating_record(latency_us);
        self.max_us = self.max_us.max(latency_us);
    }
    /// The number of latencies counted.
    pub fn count(&self) -> u64 {
        self.counts.len()
    }
    /// The latency in microseconds that the share `quantile` of all latencies does not exceed; 0 if there are
    /// none.
    pub fn quantile_us(&self, quantile: f64) -> u64 {
        if self.counts.is_empty() { 0 } else { self.counts.value_at_quantile(quantile).min(self.max_us()) }
    }
    /// The longest latency; 0 if there are none.
    pub fn max_us(&self) -> u64 {
        self.max_us
    }
    /// The histogram itself, for the interval log.
    pub(crate) fn counts(&self) -> &Histogram<u64> {
        &self.counts
    }
    /// Adds what `other` counted.
    pub fn add(&mut self, other: &Self) {
        let added = self.counts.add(&other.counts);
        added.expect("both have the same range, so every value fits");
        self.max_us = self.max_us.max(other.max_us);
    }
    /// Removes all counts.
    pub fn reset(&mut self) {
        self.counts.reset();
        self.max_us = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_values() {
        let mut latencies = Latencies::default();
        assert_eq!((latencies.quantile_us(0.99), latencies.max_us()), (0, 0));
        (1..=1000).for_each(|us| latencies.record_ns(us * 1000));
        assert_eq!(latencies.count(), 1000);
        assert_eq!(latencies.quantile_us(0.5), 500);
        assert_eq!(latencies.quantile_us(0.99), 990);
        assert_eq!(latencies.quantile_us(0.999), 999);
        assert_eq!(latencies.max_us(), 1000);
    }

    #[test]
    fn the_ends_of_the_range_hold() {
        let mut latencies = Latencies::default();
        latencies.record_ns(0);
        latencies.record_ns(u64::MAX);
        assert_eq!(latencies.count(), 2);
        assert_eq!(latencies.quantile_us(0.1), 1);
        assert_eq!(latencies.max_us(), LATENCY_US_MAX);
    }

    #[test]
    fn adding_is_counting_together() {
        let (mut one, mut two) = (Latencies::default(), Latencies::default());
        one.record_ns(1_000_000);
        two.record_ns(9_000_000);
        one.add(&two);
        assert_eq!((one.count(), one.max_us()), (2, 9000));
        one.reset();
        assert_eq!(one.count(), 0);
    }
}
