//! The clocks. They are read after a turn's last input was received, never before: after a pause in between,
//! a lease read would be stale.

use crate::sys;
use nix::time::ClockId;
use synod_types::{Mono, Now, WallMs};

/// Boot time now. Read alone where only a duration is measured and the machines are not told the time. std
/// offers no CLOCK_BOOTTIME, and a lease must not outlast a suspension of the machine.
pub(crate) fn mono() -> Mono {
    let boot = sys::now(ClockId::CLOCK_BOOTTIME);
    Mono(boot.tv_sec() as u64 * 1_000_000_000 + boot.tv_nsec() as u64)
}

/// Boot time and wall time now.
pub(crate) fn now() -> Now {
    let mono = mono();
    let wall = sys::now(ClockId::CLOCK_REALTIME);
    Now { mono, wall: WallMs(wall.tv_sec() as u64 * 1000 + wall.tv_nsec() as u64 / 1_000_000) }
}
