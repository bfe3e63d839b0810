//! A group's clock (P-16): entries are stamped with its time, and expiry is judged by it.
//!
//! ```text
//!  wall clocks of a majority that agree ──▶ Readings ──steers, slowly──▶ GroupClock of the leader
//!                                                                            │ heartbeats
//!            a winner goes on from there ◀── promises ── Anchor at every follower
//! ```
//! It runs by boot time, so setting a wall clock does not move it. A winner continues from the last leader's
//! clock, so a winner whose wall clock is wrong does not move it either. Only if no member has heard a
//! leader's clock (all nodes were restarted) is it set from the wall clocks that agree. After that they steer
//! it by at most 2 %.
//!
//! Each group has its own clock, and only the group's leader moves it. A clock per node would carry the error
//! of one group's log, or of a leader that no quorum follows, to all other groups.

use alloc::vec::Vec;
use synod_types::{Ballot, Mono, Nanos, Now, TimeReport, WallMs};

/// Wall clocks that are at most this far apart agree.
const AGREE_WITHIN_MS: u64 = 1_000;
/// A reading whose answer took longer is too inexact.
const ROUND_TRIP_MAX: Nanos = Nanos::from_ms(500);
/// A reading older than this is not used any more.
const READING_AGE_MAX: Nanos = Nanos::from_ms(2_000);
/// A more exact reading is kept for this long, even if later ones come.
const READING_KEPT: Nanos = Nanos::from_ms(1_000);
/// The largest correction of a clock's rate, in millionths. It is larger than the drift between clocks.
const SLEW_PPM_MAX: i64 = 20_000;
/// An error is corrected within this time, if the largest correction suffices.
const SLEW_HORIZON: Nanos = Nanos::from_ms(1_000);
/// A correction applies for this long at most, in case the leader does not run for a while.
const SLEW_SPAN_MAX: Nanos = Nanos::from_ms(2_000);
/// How long a leader that inherits no clock waits for wall clocks that agree.
pub(crate) const SETTING_MAX: Nanos = Nanos::from_ms(3_000);
/// A wall clock that is this far behind the applied time counts as wrong, and not merely as behind the last
/// leader's clock.
const BEHIND_MAX_MS: u64 = 60_000;

/// The clock of a leader.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct GroupClock {
    /// When it showed `nanos` (since the epoch).
    at: Mono,
    nanos: u64,
    /// How much faster than boot time it runs, millionths.
    rate_ppm: i64,
}

impl GroupClock {
    /// A clock that shows `time` at `now`.
    pub fn set(time: WallMs, now: Mono) -> Self {
        Self { at: now, nanos: time.0.saturating_mul(1_000_000), rate_ppm: 0 }
    }

    pub fn read(&self, now: Mono) -> WallMs {
        WallMs(self.nanos_at(now) / 1_000_000)
    }

    fn nanos_at(&self, now: Mono) -> u64 {
        let elapsed = now.since(self.at).0;
        // Two seconds times 2 %: this cannot overflow.
        let slewed = elapsed.min(SLEW_SPAN_MAX.0) as i64 * self.rate_ppm / 1_000_000;
        self.nanos.saturating_add(elapsed).saturating_add_signed(slewed)
    }

    /// Moves the clock forward to `floor`, the applied time, if it is behind that.
    pub fn raise(&mut self, floor: WallMs, now: Mono) {
        if self.read(now) < floor {
            *self = Self::set(floor, now);
        }
    }

    /// Steers the clock towards `agreed` from now on; without it, the clock runs by boot time alone. It never
    /// goes back nor stands still.
    pub fn steer(&mut self, agreed: Option<WallMs>, now: Mono) {
        let nanos = self.nanos_at(now);
        let error_ns = agreed.map_or(0, |agreed| {
            // The difference may be huge if a wall clock is wildly wrong; the correction is then the largest
            // one.
            let agreed = i128::from(agreed.0) * 1_000_000;
            agreed - i128::from(nanos)
        });
        let ppm = error_ns * 1_000_000 / i128::from(SLEW_HORIZON.0);
        let most = i128::from(SLEW_PPM_MAX);
        *self = Self { at: now, nanos, rate_ppm: ppm.clamp(-most, most) as i64 }; // clamped, so it fits
        assert!(self.nanos_at(now) == nanos, "a clock that is steered goes on from where it is");
    }
}

/// The last time that a replica heard from its leader's clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Anchor {
    ballot: Ballot,
    time: WallMs,
    at: Mono,
}

impl Anchor {
    /// The leader of `ballot` reported `time` at `now`.
    pub fn new(ballot: Ballot, time: WallMs, now: Mono) -> Self {
        Self { ballot, time, at: now }
    }

    /// Replaces `held` by a newly heard time, unless it is of an earlier leader. A later leader's clock
    /// counts, even if it is behind.
    pub fn hear(held: &mut Option<Self>, heard: Self) {
        if held.is_none_or(|held| held.ballot <= heard.ballot) {
            *held = Some(heard);
        }
    }

    /// The time report of a promise.
    pub fn report(held: Option<Self>, now: Mono, wall: WallMs) -> TimeReport {
        match held {
            None => TimeReport { ballot: Ballot::ZERO, time: WallMs::ZERO, age: Nanos::ZERO, wall },
            Some(Self { ballot, time, at }) => {
                let age = now.since(at);
                TimeReport { ballot, time: time.plus_ms(age.as_ms()), age, wall }
            }
        }
    }
}

/// A replica's knowledge of its group's time, in every role.
#[derive(Debug, Default)]
pub(crate) struct KnownTime {
    /// The clock of the last leader that was heard.
    anchor: Option<Anchor>,
    /// The latest time stamp applied.
    applied: WallMs,
}

impl KnownTime {
    /// The leader of `ballot` reported `time` at `now`.
    pub fn hear(&mut self, ballot: Ballot, time: WallMs, now: Mono) {
        Anchor::hear(&mut self.anchor, Anchor::new(ballot, time, now));
        assert!(self.anchor.is_some_and(|held| held.ballot >= ballot), "an earlier leader's clock counts");
    }

    /// The time report of a promise.
    pub fn report(&self, now: Now) -> TimeReport {
        Anchor::report(self.anchor, now.mono, now.wall)
    }

    /// An entry with this time stamp was applied.
    pub fn raise_applied(&mut self, time: WallMs) {
        self.applied = self.applied.max(time);
    }

    /// The applied time: no leader's clock continues from an earlier one.
    pub fn applied(&self) -> WallMs {
        self.applied
    }
}

/// A time report, when it was asked for, and when it came. It was made at some time in between. It is taken
/// as made when it came, so the time it gives is never ahead.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report {
    pub report: TimeReport,
    pub asked: Mono,
    pub at: Mono,
}

impl Report {
    /// The greatest age that the heard time may have.
    fn age(&self, now: Mono) -> Nanos {
        Nanos(self.report.age.0.saturating_add(now.since(self.asked).0))
    }

    fn time(&self, now: Mono) -> WallMs {
        self.report.time.plus_ms(now.since(self.at).as_ms())
    }

    /// Whether it is better than `other`: of a later leader, or of the same leader with a later time.
    pub fn is_better_than(&self, other: &Self, now: Mono) -> bool {
        (self.report.ballot, self.time(now)) > (other.report.ballot, other.time(now))
    }
}

/// The last leader's clock now, by the reports of a quorum; `None` if none of them has heard a leader. Only
/// reports of the highest ballot count. Of those heard within `fresh` the latest time counts: a delayed
/// message is behind, and none is ahead. If all are older, the one that holds the leader's last message
/// counts.
pub(crate) fn inherited(reports: &[Report], fresh: Nanos, now: Mono) -> Option<WallMs> {
    let last =
        reports.iter().map(|heard| heard.report.ballot).max().filter(|&ballot| ballot > Ballot::ZERO)?;
    let of_last = || reports.iter().filter(|heard| heard.report.ballot == last);
    let is_fresh = |heard: &&Report| heard.age(now) <= fresh;
    let freshest = of_last().filter(is_fresh).map(|heard| heard.time(now)).max();
    let said = |heard: &&Report| heard.report.time.0.saturating_sub(heard.report.age.as_ms());
    freshest.or_else(|| of_last().max_by_key(said).map(|heard| heard.time(now)))
}

/// A reading of another member's wall clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Reading {
    wall: WallMs,
    at: Mono,
    /// The reading may be off by half of this.
    round_trip: Nanos,
}

impl Reading {
    /// `wall` was read between `asked` and `now`; the middle is assumed. `None` if that took too long.
    pub fn new(wall: WallMs, asked: Mono, now: Mono) -> Option<Self> {
        let round_trip = now.since(asked);
        let wall = wall.plus_ms(round_trip.as_ms() / 2);
        (round_trip <= ROUND_TRIP_MAX).then_some(Self { wall, at: now, round_trip })
    }

    /// Replaces `held` by `new`, if the one held is older than a second or not more exact.
    pub fn keep(held: &mut Option<Self>, new: Option<Self>, now: Mono) {
        let is_better =
            |held: &Self, new: &Self| new.round_trip <= held.round_trip || now.since(held.at) > READING_KEPT;
        if let Some(new) = new
            && held.as_ref().is_none_or(|held| is_better(held, &new))
        {
            *held = Some(new);
        }
    }

    /// The wall clock's time now, if the reading is recent.
    pub fn now(&self, now: Mono) -> Option<WallMs> {
        let age = now.since(self.at);
        (age <= READING_AGE_MAX).then(|| self.wall.plus_ms(age.as_ms()))
    }
}

/// The wall clocks of all members, as far as they are known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Readings(Vec<WallMs>);

impl Readings {
    pub fn of(readings: impl Iterator<Item = WallMs>) -> Self {
        let mut readings: Vec<WallMs> = readings.collect();
        readings.sort_unstable();
        Self(readings)
    }

    /// The median of the largest set of clocks that agree, if that is a majority. Of an even number, the
    /// lower middle one counts.
    pub fn agreed(&self, majority: usize) -> Option<WallMs> {
        assert!(majority > 0, "a majority of no clocks");
        debug_assert!(self.0.is_sorted(), "readings that agree stand side by side");
        let windows = self.0.iter().enumerate().map(|(first, lowest)| {
            let end = self.0.partition_point(|reading| reading.0 <= lowest.0.saturating_add(AGREE_WITHIN_MS));
            &self.0[first..end]
        });
        // Of two sets of equal size the earlier one counts: better late than early. (`max_by_key` takes the
        // last one, hence `rev`.)
        let most = windows.rev().max_by_key(|window| window.len())?;
        (most.len() >= majority).then(|| most[(most.len() - 1) / 2])
    }

    /// The time to use when the clocks do not agree and only `floor`, the applied time, is known: the
    /// earliest clock that is not far before `floor`, if a majority is known; else `floor`, else this node's
    /// own clock. A clock that is behind makes keys expire late; one that is ahead would release locks too
    /// early.
    pub fn least(&self, majority: usize, floor: WallMs, own: WallMs) -> WallMs {
        let is_known = self.0.len() >= majority;
        let is_likely = |reading: &WallMs| is_known && reading.plus_ms(BEHIND_MAX_MS) >= floor;
        let least = match self.0.iter().copied().find(is_likely) {
            Some(earliest) => earliest.max(floor),
            None if floor > WallMs::ZERO => floor,
            None => own,
        };
        assert!(least >= floor, "time before the applied time");
        least
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use synod_types::NodeId;

    const HOUR: u64 = 3_600_000;
    const SECOND: u64 = 1_000_000_000;

    fn ballot(round: u64) -> Ballot {
        Ballot::new(round, NodeId::new(1))
    }

    #[test]
    fn a_clock_runs_by_boot_time_and_is_steered_by_two_percent_at_most() {
        let at = |seconds: u64| Mono(seconds * SECOND);
        let mut clock = GroupClock::set(WallMs(HOUR), at(10));
        assert_eq!(clock.read(at(11)), WallMs(HOUR + 1000));
        // An hour behind, an hour ahead: it runs faster, it runs slower, and it never stands still.
        clock.steer(Some(WallMs(3 * HOUR)), at(11));
        assert_eq!(clock.read(at(12)), WallMs(HOUR + 2020));
        clock.steer(Some(WallMs(0)), at(12));
        assert_eq!(clock.read(at(13)), WallMs(HOUR + 3000));
        // A leader that does not run for long applies the correction only for a while.
        clock.steer(Some(WallMs(0)), at(13));
        assert_eq!(clock.read(at(113)), WallMs(HOUR + 103_000 - 40));
        clock.steer(None, at(113));
        assert_eq!(clock.read(at(114)), WallMs(HOUR + 104_000 - 40));
        // A small error is gone after a second, without overshooting.
        let right = |seconds: u64| WallMs(HOUR + 104_000 - 40 + (seconds - 114) * 1000 + 10);
        clock.steer(Some(right(114)), at(114));
        assert_eq!(clock.read(at(115)), right(115));
        clock.raise(right(200), at(115));
        assert_eq!(clock.read(at(116)), WallMs(right(200).0 + 1000));
        let before = clock;
        clock.raise(right(115), at(116));
        assert_eq!(clock, before, "it does not go back");
    }

    #[test]
    fn a_winner_goes_on_where_the_last_leader_was() {
        let now = Mono(100 * SECOND);
        let report = |round: u64, time: u64, age_ms: u64| Report {
            report: TimeReport {
                ballot: ballot(round),
                time: WallMs(time),
                age: Nanos::from_ms(age_ms),
                wall: WallMs(0),
            },
            asked: Mono(99 * SECOND),
            at: Mono(99 * SECOND),
        };
        let fresh = Nanos::from_ms(1_500);
        let silent = Report { report: Anchor::report(None, now, WallMs(5)), asked: now, at: now };
        assert_eq!(inherited(&[], fresh, now), None);
        assert_eq!(inherited(&[silent, silent], fresh, now), None);
        // The last leader, not the one whose clock is furthest.
        let heard = [report(2, HOUR, 10), report(3, 1000, 20), silent];
        assert_eq!(inherited(&heard, fresh, now), Some(WallMs(2000)));
        // The latest of the fresh reports; a delayed one is behind.
        let heard = [report(3, 1000, 20), report(3, 1400, 30), report(3, 9000, 600)];
        assert_eq!(inherited(&heard, fresh, now), Some(WallMs(2400)));
        // A report that took long may be old.
        let slow = Report { asked: Mono(98 * SECOND), ..report(3, 1400, 30) };
        assert_eq!(inherited(&[report(3, 1000, 20), slow], fresh, now), Some(WallMs(2000)));
        // No report is fresh: the time heard last from the leader.
        let heard = [report(3, 61_000, 60_000), report(3, 63_000, 61_000), report(3, 62_500, 62_000)];
        assert_eq!(inherited(&heard, fresh, now), Some(WallMs(64_000)), "said at 2000, 61 s before");
    }

    #[test]
    fn a_later_leaders_clock_replaces_an_earlier_ones_whatever_it_says() {
        let mut held = None;
        Anchor::hear(&mut held, Anchor::new(ballot(3), WallMs(5000), Mono(0)));
        Anchor::hear(&mut held, Anchor::new(ballot(2), WallMs(9000), Mono(0)));
        assert_eq!(Anchor::report(held, Mono(SECOND), WallMs(0)).time, WallMs(6000));
        Anchor::hear(&mut held, Anchor::new(ballot(4), WallMs(10), Mono(SECOND)));
        let report = Anchor::report(held, Mono(3 * SECOND), WallMs(8));
        let (time, age) = (WallMs(2010), Nanos::from_ms(2000));
        assert_eq!(report, TimeReport { ballot: ballot(4), time, age, wall: WallMs(8) });
    }

    #[test]
    fn wall_clocks_count_when_a_majority_agrees() {
        let agreed = |all: &[u64], majority| Readings::of(all.iter().map(|&ms| WallMs(ms))).agreed(majority);
        assert_eq!(agreed(&[], 1), None);
        assert_eq!(agreed(&[7], 1), Some(WallMs(7)));
        assert_eq!(agreed(&[7], 2), None);
        assert_eq!(agreed(&[5000, 6000], 2), Some(WallMs(5000)));
        assert_eq!(agreed(&[5000, 6001], 2), None);
        // One clock is an hour off, in either direction.
        assert_eq!(agreed(&[HOUR + 10, HOUR, 2 * HOUR], 2), Some(WallMs(HOUR)));
        assert_eq!(agreed(&[HOUR + 10, HOUR, 0], 2), Some(WallMs(HOUR)));
        // All within a second; then a chain of clocks that is longer.
        assert_eq!(agreed(&[3, 1, 2], 2), Some(WallMs(2)));
        assert_eq!(agreed(&[0, 900, 1800], 2), Some(WallMs(0)));
        assert_eq!(agreed(&[0, 900, 1800, 1810, 1820], 3), Some(WallMs(1800)));
        assert_eq!(agreed(&[0, 2000, 4000, 6000, 6001], 3), None);
    }

    #[test]
    fn without_agreement_the_earliest_clock_that_contradicts_nothing_counts() {
        let least = |all: Vec<u64>, floor| {
            Readings::of(all.into_iter().map(WallMs)).least(2, WallMs(floor), WallMs(77)).0
        };
        assert_eq!(least(vec![HOUR, 3 * HOUR], 0), HOUR);
        assert_eq!(least(vec![HOUR, 3 * HOUR], 2 * HOUR), 3 * HOUR);
        assert_eq!(
            least(vec![2 * HOUR - 1, 3 * HOUR], 2 * HOUR),
            2 * HOUR,
            "the right one may be a little behind"
        );
        assert_eq!(least(vec![HOUR, 3 * HOUR], 4 * HOUR), 4 * HOUR);
        assert_eq!(least(vec![5 * HOUR], 4 * HOUR), 4 * HOUR, "one of three proves nothing");
        assert_eq!(least(vec![5 * HOUR], 0), 77);
    }

    #[test]
    fn a_reading_is_of_the_middle_of_its_question_and_soon_forgotten() {
        let at = |ms: u64| Mono(ms * 1_000_000);
        let reading = Reading::new(WallMs(HOUR), at(100), at(300)).expect("a short question");
        assert_eq!(reading.now(at(300)), Some(WallMs(HOUR + 100)));
        assert_eq!(reading.now(at(2300)), Some(WallMs(HOUR + 2100)));
        assert_eq!(reading.now(at(2301)), None);
        assert_eq!(Reading::new(WallMs(HOUR), at(100), at(601)), None);
        // The most exact reading of the last second.
        let mut held = None;
        Reading::keep(&mut held, Some(reading), at(300));
        let rough = Reading::new(WallMs(9), at(300), at(700));
        Reading::keep(&mut held, rough, at(700));
        assert_eq!(held, Some(reading));
        Reading::keep(&mut held, None, at(1301));
        Reading::keep(&mut held, rough, at(1301));
        assert_eq!(held, rough);
        let exact = Reading::new(WallMs(HOUR + 1202), at(1301), at(1302));
        Reading::keep(&mut held, exact, at(1302));
        assert_eq!(held, exact);
    }
}
