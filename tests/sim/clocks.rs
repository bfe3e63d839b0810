//! The clock of a group, judged by an observer who knows the true time (P-16). Whatever wall clocks say and
//! whichever node leads, no expiry may be judged earlier or later than the bound allows.

use super::clock::observed;
use super::fault::FaultKind;
use super::params::Options;
use super::queue::{Instant, MS, SECOND};
use super::rng::Rng;
use super::run::{
    Failure, Summary, converge, phase, prove_progress, quiet_params, read_back, run_with, settle_clients,
};
use super::world::World;
use crate::check::{Checked, Violation, wgl};
use synod_shard::Leadership;
use synod_types::GroupId;

const GROUP: GroupId = GroupId::new(1);
const HOUR_MS: i64 = 3_600_000;
const DAY: u64 = 24 * 3600 * SECOND;
/// The clock is steered by up to two hundredths, and drifts by up to sixteen thousandths.
const SLOPE_PER_MILLE: i128 = 37;
/// Rounding, and half of the round trip of a question to a healthy node.
const SLACK: i128 = 10 * MS as i128;
/// The longest time a heartbeat may be under way, plus that of a promise that reports it.
const LATE_PER_LEADER: i128 = 300 * MS as i128;
/// The error a majority of right clocks may have, plus the time lost when the group's clock was set.
const RIGHT_WITHIN: i128 = 1_500 * MS as i128;

/// How the wall clocks behave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClockCase {
    /// All are off by up to half a minute, each by another amount, and are stepped again and again.
    Apart,
    /// One is an hour ahead; its node is cut off now and then, and so are the others.
    AheadAndCutOff,
    /// One is an hour ahead, on the node that is started first after all were down.
    AheadAndFirst,
    /// The wall clock of each leader is set back by an hour.
    SetBack,
    /// All are off by up to half a minute, and the nodes are restarted one after the other.
    RestartedInTurn,
    /// All are right, and all nodes are down for a day.
    DownForADay,
    /// There is only one node; its wall clock is stepped again and again.
    Alone,
}

impl ClockCase {
    /// Every case.
    pub const ALL: [Self; 7] = [
        Self::Apart,
        Self::AheadAndCutOff,
        Self::AheadAndFirst,
        Self::SetBack,
        Self::RestartedInTurn,
        Self::DownForADay,
        Self::Alone,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Apart => "wall clocks apart",
            Self::AheadAndCutOff => "one ahead and cut off",
            Self::AheadAndFirst => "one ahead and started first",
            Self::SetBack => "leaders set back",
            Self::RestartedInTurn => "restarted in turn",
            Self::DownForADay => "down for a day",
            Self::Alone => "one node alone",
        }
    }
}

/// A healthy cluster with wrong wall clocks.
///
/// # Errors
/// [`Failure`] when a group's clock is early or late, or an invariant does not hold.
pub fn run_clocks(options: Options, case: ClockCase) -> Result<Summary, Box<Failure>> {
    let mut params = quiet_params(options);
    params.node_count = if case == ClockCase::Alone { 1 } else { 3 };
    params.group_count = 1;
    params.core_count = 1;
    params.system_group = false;
    params.clock.is_loose = false;
    params.clock.wall_ms_max = 0;
    params.clock.wall_grain_ms = 1;
    params.clock.drift_ppm_max = params.clock.drift_ppm_max.min(16_000);
    // No faults that a quiet run has not: the bounds are those of a healthy network.
    params.net.late_vote_ppm = 0;
    params.net.kept_vote_ppm = 0;
    params.net.resend_ppm = 0;
    params.net.duplicate_ppm = 0;
    params.limits.leadership = Leadership::Stay;
    run_with(&params, |world| play(world, case))
}

/// Watches the error of the group's clock.
#[derive(Default)]
struct Judge {
    /// The least of the errors seen, each less what a clock may have gained by then.
    least: Option<i128>,
    /// The greatest of the errors seen, each plus what a clock may have lost by then.
    most: Option<i128>,
    leader: Option<usize>,
    /// Whether the clock must show the right time, and not only run at the right speed.
    is_right: bool,
}

impl Judge {
    fn look(&mut self, world: &World) -> Checked {
        let Some((leader, clock)) = world.group_clock(GROUP) else { return Ok(()) };
        let now = world.now();
        let error = (i128::from(clock.0) - i128::from(observed(now).0)) * i128::from(MS);
        let gain = i128::from(now) * SLOPE_PER_MILLE / 1000;
        if self.leader != Some(leader) {
            // The clock goes on from the last heartbeat, by another boot-time clock, while the old leader
            // still leads for up to a lease.
            let apart = 2 * SLOPE_PER_MILLE * i128::from(world.params().timing.lease.0) / 1000;
            self.least = self.least.map(|least| least + apart);
            self.most = self.most.map(|most| most - LATE_PER_LEADER);
            self.leader = Some(leader);
        }
        let (low, high) = (error - gain, error + gain);
        let (least, most) = (self.least.unwrap_or(low).min(low), self.most.unwrap_or(high).max(high));
        (self.least, self.most) = (Some(least), Some(most));
        let millis = |nanos: i128| nanos / i128::from(MS);
        let wrong = if low - least > SLACK {
            format!("early by {} ms", millis(low - least))
        } else if most - high > SLACK {
            format!("late by {} ms", millis(most - high))
        } else if self.is_right && error.abs() > RIGHT_WITHIN {
            format!("off by {} ms", millis(error))
        } else {
            return Ok(());
        };
        Err(Violation::new("cluster-time", format!("the clock of {GROUP} at n{} is {wrong}", leader + 1)))
    }

    fn watch(&mut self, world: &mut World, span: Instant) -> Checked {
        let until = world.now() + span;
        while world.now() < until {
            world.run_until(world.now() + 5 * MS)?;
            self.look(world)?;
        }
        Ok(())
    }

    /// All nodes start anew: the group's clock may be set, but may not be wrong.
    fn begin(&mut self) {
        (self.least, self.most, self.leader) = (None, None, None);
    }
}

fn play(world: &mut World, case: ClockCase) -> Checked {
    phase(world, case.name());
    let is_apart = matches!(case, ClockCase::Apart | ClockCase::RestartedInTurn);
    let judge = &mut Judge { is_right: !is_apart, ..Judge::default() };
    let mut rng = Rng::named(world.params().options.seed, "wall clocks");
    // The node that leads if nothing prevents it.
    let first = usize::from(world.params().preferred(GROUP).get()) - 1;
    match case {
        ClockCase::Apart => play_apart(world, judge, &mut rng)?,
        ClockCase::AheadAndCutOff => {
            judge.watch(world, 2 * SECOND)?;
            world.set_wall(first, HOUR_MS);
            for _ in 0..4 {
                others_lead(world, judge, first)?;
            }
        }
        ClockCase::SetBack => play_set_back(world, judge, first)?,
        ClockCase::RestartedInTurn => play_restarted(world, judge, first, &mut rng)?,
        ClockCase::AheadAndFirst => play_ahead_and_first(world, judge)?,
        ClockCase::Alone => play_alone(world, judge)?,
        ClockCase::DownForADay => play_down(world, judge)?,
    }
    judge.watch(world, 2 * SECOND)?;
    world.reconnect();
    prove_progress(world)?;
    world.stop_clients();
    settle_clients(world)?;
    converge(world)?;
    wgl::check_all(&world.clients.history.by_key())
}

fn play_apart(world: &mut World, judge: &mut Judge, rng: &mut Rng) -> Checked {
    for _ in 0..8 {
        for node in 0..3 {
            world.set_wall(node, rng.below(60_000) as i64 - 30_000);
        }
        let victim = rng.index(3);
        isolate(world, judge, victim)?;
    }
    Ok(())
}

fn play_set_back(world: &mut World, judge: &mut Judge, first: usize) -> Checked {
    for _ in 0..4 {
        judge.watch(world, 2 * SECOND)?;
        world.set_wall(first, -HOUR_MS);
        judge.watch(world, 2 * SECOND)?;
        others_lead(world, judge, first)?;
        world.set_wall(first, 0);
    }
    Ok(())
}

fn play_restarted(world: &mut World, judge: &mut Judge, first: usize, rng: &mut Rng) -> Checked {
    for node in 0..3 {
        world.set_wall(node, rng.below(60_000) as i64 - 30_000);
    }
    // Such clocks do not agree, so it takes a while.
    judge.watch(world, 8 * SECOND)?;
    for round in 0..6 {
        let node = (first + round) % 3;
        world.set_wall(node, rng.below(60_000) as i64 - 30_000);
        world.outage(node, round % 2 == 0, world.now() + SECOND);
        judge.watch(world, 4 * SECOND)?;
    }
    Ok(())
}

fn play_ahead_and_first(world: &mut World, judge: &mut Judge) -> Checked {
    judge.watch(world, 3 * SECOND)?;
    world.set_wall(0, HOUR_MS);
    for (down, third_after) in [(6000, 1000), (6000, 18_000), (100, 18_000)] {
        let now = world.now();
        judge.begin();
        world.outage(0, false, now + down * MS);
        world.outage(1, false, now + (down + down / 10) * MS);
        world.outage(2, false, now + (down + third_after) * MS);
        judge.watch(world, 30 * SECOND)?;
        if world.group_clock(GROUP).is_none() {
            return Err(Violation::new("progress", "no node serves after all were started anew"));
        }
    }
    Ok(())
}

fn play_alone(world: &mut World, judge: &mut Judge) -> Checked {
    judge.watch(world, 2 * SECOND)?;
    for offset_ms in [20_000, -30_000, HOUR_MS, -HOUR_MS] {
        world.set_wall(0, offset_ms);
        judge.watch(world, 4 * SECOND)?;
        world.set_wall(0, 0);
        judge.watch(world, 2 * SECOND)?;
    }
    judge.begin();
    world.outage(0, true, world.now() + SECOND);
    judge.watch(world, 5 * SECOND)
}

fn play_down(world: &mut World, judge: &mut Judge) -> Checked {
    judge.watch(world, 3 * SECOND)?;
    world.stop_clients();
    settle_clients(world)?;
    judge.begin();
    let back = world.now() + DAY;
    for node in 0..3 {
        world.outage(node, node == 0, back + node as u64 * 100 * MS);
    }
    world.run_until(back)?;
    judge.watch(world, 5 * SECOND)?;
    prove_progress(world)?;
    read_back(world)
}

/// Another node leads for a while, then `first` leads again.
fn others_lead(world: &mut World, judge: &mut Judge, first: usize) -> Checked {
    isolate(world, judge, first)?;
    match world.group_clock(GROUP) {
        Some((leader, _)) if leader != first => isolate(world, judge, leader),
        _ => judge.watch(world, 2 * SECOND),
    }
}

/// Cuts a node off for a while, so that others lead.
fn isolate(world: &mut World, judge: &mut Judge, node: usize) -> Checked {
    world.impose(FaultKind::Isolate, node);
    judge.watch(world, 3 * SECOND)?;
    world.reconnect();
    judge.watch(world, 2 * SECOND)
}
