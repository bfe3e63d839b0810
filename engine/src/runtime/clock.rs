//! The clocks. Read after a turn's last input was received, never before (a pause in between would make a lease read stale).

use synod_types::{Mono, Now, WallMs};

fn read(clock: libc::clockid_t) -> libc::timespec {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec to write to; both clocks exist on every Linux this program starts on.
    // WHY: std offers no CLOCK_BOOTTIME, and a lease must not outlive a suspended machine.
    let status = unsafe { libc::clock_gettime(clock, &raw mut time) };
    assert!(status == 0, "the clock cannot be read");
    time
}

/// Boot time now: for measuring what was done, where the machines are told nothing.
pub(crate) fn mono() -> Mono {
    let boot = read(libc::CLOCK_BOOTTIME);
    Mono(boot.tv_sec as u64 * 1_000_000_000 + boot.tv_nsec as u64)
}

/// Boot time and wall time now.
pub(crate) fn now() -> Now {
    let mono = mono();
    let wall = read(libc::CLOCK_REALTIME);
    Now { mono, wall: WallMs(wall.tv_sec as u64 * 1000 + wall.tv_nsec as u64 / 1_000_000) }
}
