//! The clock of a leader: where it continues from, and how the wall clocks steer it (P-16).

use crate::clock::{GroupClock, Readings, SETTING_MAX};
use synod_types::{Mono, Nanos, Now, WallMs};

/// The interval between two comparisons with the wall clocks.
const STEER_INTERVAL: Nanos = Nanos::from_ms(50);

#[derive(Debug)]
pub(crate) struct Timekeeper {
    /// `None` until it is known where the clock continues.
    clock: Option<GroupClock>,
    /// How far the clock was ahead of the wall clocks that agree, when last compared.
    skew_ms: Option<i64>,
    next_steer: Mono,
    /// When its leader was elected.
    since: Mono,
}

impl Timekeeper {
    pub fn new(since: Mono) -> Self {
        Self { clock: None, skew_ms: None, next_steer: since, since }
    }

    /// The time of the clock, if it is set.
    pub fn read(&self, now: Mono) -> Option<WallMs> {
        self.clock.map(|clock| clock.read(now))
    }

    pub fn is_set(&self) -> bool {
        self.clock.is_some()
    }

    pub fn skew_ms(&self) -> Option<i64> {
        self.skew_ms
    }

    /// Continues from the last leader's clock, if that is known, but not before `floor`, the applied time
    /// (P-16d).
    pub fn go_on_from(&mut self, inherited: Option<WallMs>, floor: WallMs, now: Mono) {
        assert!(self.clock.is_none(), "a clock that runs is steered");
        self.clock = inherited.map(|time| GroupClock::set(time.max(floor), now));
    }

    /// `floor` is the applied time: the clock must not be earlier.
    pub fn raise(&mut self, floor: WallMs, now: Mono) {
        if let Some(clock) = &mut self.clock {
            clock.raise(floor, now);
        }
    }

    /// Whether the wall clocks are to be compared now; if so, the next comparison is scheduled.
    pub fn comes_due(&mut self, now: Mono) -> bool {
        let is_due = self.clock.is_none() || now >= self.next_steer;
        if is_due {
            assert!(self.since <= now, "time went back");
            self.next_steer = now.plus(STEER_INTERVAL);
        }
        is_due
    }

    /// Compares with the wall clocks: sets a clock that is not set yet (P-16e), or steers one that runs
    /// (P-16f).
    pub fn steer(&mut self, readings: &Readings, majority: usize, floor: WallMs, now: Now) {
        assert!(self.since <= now.mono, "time went back");
        let agreed = readings.agreed(majority);
        if let Some(clock) = &mut self.clock {
            let ahead =
                |agreed: WallMs| clock.read(now.mono).0.cast_signed().saturating_sub(agreed.0.cast_signed());
            self.skew_ms = agreed.map(ahead);
            clock.steer(agreed, now.mono);
            return;
        }
        let is_late = now.mono.since(self.since) >= SETTING_MAX;
        let set = agreed.or_else(|| is_late.then(|| readings.least(majority, floor, now.wall)));
        self.clock = set.map(|time| GroupClock::set(time.max(floor), now.mono));
    }
}
