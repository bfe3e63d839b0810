//! How much a core did per second lately: commands and bytes, over the last second and a half.

use synod_types::{Mono, Nanos};

/// Interval between two samples.
const SAMPLE_INTERVAL: Nanos = Nanos::from_ms(100);
/// Samples kept.
const SAMPLES: usize = 16;

/// What a core has done since its start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Work {
    /// Commands and requests taken up.
    pub commands: u64,
    /// Bytes received from clients.
    pub input_bytes: u64,
    /// Bytes sent to clients.
    pub output_bytes: u64,
}

/// The last samples of a core's work.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rates {
    samples: [(Mono, Work); SAMPLES],
    /// Samples taken so far; the oldest ones are overwritten.
    taken: usize,
}

impl Rates {
    /// Takes note of the work done by `now`, if it is time for a sample.
    pub fn look(&mut self, now: Mono, work: Work) {
        if self.taken > 0 && now.since(self.newest().0) < SAMPLE_INTERVAL {
            return;
        }
        self.samples[self.taken % SAMPLES] = (now, work);
        self.taken += 1;
    }

    /// The work of one second, as the samples say.
    pub fn per_second(&self) -> Work {
        if self.taken < 2 {
            return Work::default();
        }
        let (from, before) = self.samples[if self.taken > SAMPLES { self.taken % SAMPLES } else { 0 }];
        let (to, after) = self.newest();
        let span_ms = to.since(from).as_ms().max(1);
        let rate = |before: u64, after: u64| after.saturating_sub(before).saturating_mul(1000) / span_ms;
        Work {
            commands: rate(before.commands, after.commands),
            input_bytes: rate(before.input_bytes, after.input_bytes),
            output_bytes: rate(before.output_bytes, after.output_bytes),
        }
    }

    fn newest(&self) -> (Mono, Work) {
        self.samples[(self.taken + SAMPLES - 1) % SAMPLES]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_covers_the_last_samples_and_ends_with_the_work() {
        let mut rates = Rates::default();
        let mut work = Work::default();
        let at = |ms: u64| Mono(Nanos::from_ms(ms).0);
        rates.look(at(0), work);
        assert_eq!(rates.per_second(), Work::default(), "one sample is no rate");
        for tick in 1..=200 {
            work.commands += 4;
            work.input_bytes += 100;
            rates.look(at(tick * 20), work);
        }
        assert_eq!(rates.per_second(), Work { commands: 200, input_bytes: 5000, output_bytes: 0 });
        for tick in 201..=300 {
            rates.look(at(tick * 20), work);
        }
        assert_eq!(rates.per_second(), Work::default(), "nothing was done for two seconds");
    }
}
