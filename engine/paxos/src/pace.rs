//! How long an operation has recently taken: a running average that expires.

use synod_types::{Mono, Nanos};

/// An average whose last span is older than this is not used.
const FORGOTTEN_AFTER: Nanos = Nanos::from_ms(2_000);

/// A running average of spans: the last one counts an eighth.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Pace {
    mean: Nanos,
    /// When the last span ended; zero before the first.
    at: Mono,
}

impl Pace {
    /// Takes note of a span that ended at `now`.
    pub fn note(&mut self, span: Nanos, now: Mono) {
        debug_assert!(self.at <= now, "time went back");
        self.mean = match self.get(now) {
            Some(mean) => Nanos(mean.0 - mean.0 / 8 + span.0 / 8),
            None => span,
        };
        self.at = now;
    }

    /// The average, if there was a recent span.
    pub fn get(&self, now: Mono) -> Option<Nanos> {
        let is_known = self.at > Mono::ZERO && now.since(self.at) < FORGOTTEN_AFTER;
        is_known.then_some(self.mean)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64) -> Mono {
        Mono(Nanos::from_ms(ms).0)
    }

    #[test]
    fn what_was_long_ago_does_not_count() {
        let mut pace = Pace::default();
        assert_eq!(pace.get(at(1)), None);
        pace.note(Nanos::from_ms(800), at(1));
        pace.note(Nanos::from_ms(0), at(2));
        assert_eq!(pace.get(at(3)), Some(Nanos::from_ms(700)));
        assert_eq!(pace.get(at(2_002)), None);
        pace.note(Nanos::from_ms(8), at(2_002));
        assert_eq!(pace.get(at(2_002)), Some(Nanos::from_ms(8)));
    }
}
