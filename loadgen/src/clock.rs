//! The only clock of the generator: CLOCK_MONOTONIC in nanoseconds, as documented for the history.
//! `std::time::Instant` reads the same clock but does not expose the number.

use nix::time::ClockId;
use std::time::Duration;

/// The current time in nanoseconds of CLOCK_MONOTONIC.
///
/// # Panics
/// When the machine has no such clock; every Linux has.
pub fn monotonic_ns() -> u64 {
    let now = ClockId::CLOCK_MONOTONIC.now().expect("CLOCK_MONOTONIC is always there");
    // Neither part is negative on this clock.
    now.tv_sec().unsigned_abs() * 1_000_000_000 + now.tv_nsec().unsigned_abs()
}

/// `span` in nanoseconds, capped so that the sum of a few of them does not overflow.
pub(crate) fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn it_runs_with_instant() {
        let (instant, before) = (Instant::now(), monotonic_ns());
        let after = monotonic_ns();
        assert!(before <= after);
        assert!(u128::from(after - before) <= instant.elapsed().as_nanos());
    }
}
