//! The one clock of the generator: CLOCK_MONOTONIC in nanoseconds, as the history promises it. `std::time::Instant` reads the
//! same clock but does not give its number away.

/// Now, in nanoseconds of CLOCK_MONOTONIC.
pub fn monotonic_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a live, writable timespec, which is all that clock_gettime asks for.
    // WHY: no safe call returns the clock's number, which must be comparable with that of other programs.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    assert!(failed == 0, "CLOCK_MONOTONIC is always there");
    // Neither part is ever negative on this clock.
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
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
