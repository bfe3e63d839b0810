//! The clocks of one node: a boot-time clock that runs a little fast or slow, and a wall clock that is off
//! and may be stepped.

use super::queue::{Instant, MS};
use synod_types::{Mono, Now, WallMs};

/// The wall clock of a perfect observer at instant 0, in milliseconds since the epoch.
const EPOCH_MS: u64 = 1_700_000_000_000;

/// The reading of a perfect observer's wall clock.
pub fn observed(instant: Instant) -> WallMs {
    WallMs(EPOCH_MS + instant / MS)
}

/// One node's clocks.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Boot-time reading at `booted_at`.
    base: u64,
    booted_at: Instant,
    /// Parts per million fast (positive) or slow.
    rate_ppm: i64,
    /// How far the wall clock is ahead of the observer's, in milliseconds.
    wall_offset_ms: i64,
    /// The wall clock moves in steps of this size.
    wall_grain_ms: u64,
}

impl Clock {
    /// A clock that reads `base` at instant 0.
    pub fn new(base: u64, rate_ppm: i64, wall_offset_ms: i64) -> Self {
        Self { base, booted_at: 0, rate_ppm, wall_offset_ms, wall_grain_ms: 1 }
    }
    /// The same with a wall clock that moves by `grain_ms` at a time.
    #[must_use]
    pub fn with_grain(mut self, grain_ms: u64) -> Self {
        self.wall_grain_ms = grain_ms;
        self
    }
    /// Both readings at `instant`.
    pub fn read(&self, instant: Instant) -> Now {
        let elapsed = i128::from(instant - self.booted_at);
        let run = elapsed + elapsed * i128::from(self.rate_ppm) / 1_000_000;
        let observer = EPOCH_MS + instant / MS;
        let wall = observer.saturating_add_signed(self.wall_offset_ms);
        Now {
            mono: Mono(self.base + run as u64), // rate is a few percent: never negative
            wall: WallMs(wall - wall % self.wall_grain_ms),
        }
    }
    /// The machine was switched off and on: the boot-time clock starts over.
    pub fn reboot(&mut self, instant: Instant) {
        // A clock that has just been switched on has run for a moment before its first reading.
        self.base = MS;
        self.booted_at = instant;
    }
    /// Steps the wall clock.
    pub fn step_wall(&mut self, offset_ms: i64) {
        self.wall_offset_ms = offset_ms;
    }
}

#[cfg(test)]
mod tests {
    use super::super::queue::SECOND;
    use super::*;

    #[test]
    fn a_clock_drifts_reboots_and_is_stepped() {
        let mut clock = Clock::new(500, 10_000, -20);
        assert_eq!(clock.read(SECOND).mono, Mono(500 + 1_010_000_000));
        assert_eq!(clock.read(SECOND).wall, WallMs(EPOCH_MS + 980));
        clock.reboot(SECOND);
        clock.step_wall(7);
        assert_eq!(clock.read(SECOND).mono, Mono(MS));
        assert_eq!(clock.read(2 * SECOND).wall, WallMs(EPOCH_MS + 2007));
        let coarse = clock.with_grain(1000);
        assert_eq!(coarse.read(2 * SECOND - 8 * MS).wall, WallMs(EPOCH_MS + 1000));
        assert_eq!(coarse.read(2 * SECOND).wall, WallMs(EPOCH_MS + 2000));
    }
}
