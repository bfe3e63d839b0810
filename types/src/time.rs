//! Time as the machines see it: two clocks, which the shell reads after it has received a turn's last input.
//!
//! `Mono` counts nanoseconds of CLOCK_BOOTTIME, which runs on while the machine is suspended, so that a lease
//! cannot outlive a suspend. `WallMs` counts milliseconds since the Unix epoch: it is used for time stamps
//! and expiry.

use core::fmt;
use rkyv::{Archive, Deserialize, Serialize};

/// A span of time in nanoseconds.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Archive, Serialize, Deserialize,
)]
pub struct Nanos(pub u64);

impl Nanos {
    /// No time at all.
    pub const ZERO: Self = Self(0);
    /// `ms` milliseconds.
    pub const fn from_ms(ms: u64) -> Self {
        Self(ms * 1_000_000)
    }
    /// `us` microseconds.
    pub const fn from_us(us: u64) -> Self {
        Self(us * 1_000)
    }
    /// Whole milliseconds.
    pub const fn as_ms(self) -> u64 {
        self.0 / 1_000_000
    }
}

/// A reading of the boot-time clock, in nanoseconds. It never goes back on one node, and has no meaning on
/// another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Archive, Serialize, Deserialize)]
pub struct Mono(pub u64);

impl Mono {
    /// Earlier than every reading.
    pub const ZERO: Self = Self(0);
    /// `span` later.
    #[must_use]
    pub const fn plus(self, span: Nanos) -> Self {
        Self(self.0.saturating_add(span.0))
    }
    /// The span since `earlier`; zero if `earlier` is not earlier.
    pub const fn since(self, earlier: Self) -> Nanos {
        Nanos(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Debug for Mono {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{}us", self.0 / 1000)
    }
}

/// A time in milliseconds since the Unix epoch. As an expiry, 0 means "never".
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Archive, Serialize, Deserialize,
)]
pub struct WallMs(pub u64);

impl WallMs {
    /// The epoch; as an expiry: never.
    pub const ZERO: Self = Self(0);
    /// `ms` later.
    #[must_use]
    pub const fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }
    /// The distance to `other` in milliseconds, in either direction.
    pub const fn distance_ms(self, other: Self) -> u64 {
        self.0.abs_diff(other.0)
    }
}

/// Both clocks, read together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Now {
    /// Boot-time clock.
    pub mono: Mono,
    /// Wall clock.
    pub wall: WallMs,
}
