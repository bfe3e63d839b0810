//! Gray failures: things that go wrong, and mostly not all the way.

use super::fault::FaultKind;
use super::params::{Options, Params};
use super::queue::{Instant, MS, SECOND, US};
use super::rng::Rng;
use super::run::{
    Failure, Summary, converge, leader_changes, phase, prove_progress, quiet_params, run_with, serves,
    settle_clients,
};
use super::world::World;
use crate::check::{Checked, Violation, wgl};
use std::collections::BTreeMap;
use synod_shard::{AheadLimits, Leadership, Timing};
use synod_types::GroupId;

/// No request at a node that nothing happens to waits longer: all disks stall for two seconds at most, a leader
/// that is gone is followed by another within one, and what has gathered on the slow links of a leader takes
/// some more to arrive. (At a node whose own links are slow a request gets no error, but may wait until what
/// they have gathered has arrived.)
const WAITED_MAX: u64 = 5_000 * MS;
/// What a node behind slow links (1 MB/s) was sent arrives within this time: a leader stops when much is
/// unanswered, and nothing is fetched twice.
const BACKLOG_MAX: u64 = 4_000 * MS;
/// A leader that hears nobody, and is heard by all, is followed by another within this time: after two leases it
/// names an heir, which need not wait for a third.
const DEAF_FOR: u64 = 750 * MS;
/// A group that is handed over by a node that is about to stop has a leader again within this time: its disk writes
/// a promise and a slot.
const MOVES_WITHIN: u64 = 100 * MS;
/// After healing, leaders are where they belong within this time: a link that broke several times within a
/// minute counts as unsteady for half of one, and a leader that somebody did not reach is avoided for a minute.
const BALANCED_WITHIN: u64 = 120 * SECOND;

/// A cluster in which one thing at a time goes wrong, and mostly not all the way: a node dies, stands still or is
/// cut off, a disk or all disks stall, a disk or the links of a node are slow, everything is. A client of a node
/// that is up and in the majority gets no error, and its writes keep their order.
///
/// # Errors
/// [`Failure`] when one does, when leaders do not come back to where they belong, or when an invariant does not
/// hold.
pub fn run_gray(options: Options) -> Result<Summary, Box<Failure>> {
    let params = gray_params(options);
    run_with(&params, play_gray)
}

fn gray_params(options: Options) -> Params {
    let mut params = quiet_params(options);
    params.is_gray = true;
    params.has_pipelines = true;
    params.timing = Timing::default();
    // What takes how long is judged: no clock runs at another rate than leases allow for.
    params.clock.is_loose = false;
    params.clock.drift_ppm_max = params.clock.drift_ppm_max.min(16_000);
    params.net.ordered = true;
    params.net.duplicate_ppm = 0;
    params.net.resend_ppm = 0;
    params.net.late_vote_ppm = 0;
    params.limits.leadership = Leadership::Balance;
    params.limits.pending_bytes_max = 4 << 20;
    // A follower has all that a leader's window holds in memory, and can stand at once when it is told to.
    params.limits.ahead.bytes = AheadLimits::default().bytes;
    // Values are often not in memory, where a disk stands still.
    params.limits.cache_bytes = *Rng::named(options.seed, "gray cache").pick(&[0, 1 << 16, 1 << 20]);
    // A leader whose disk stalls goes on with the votes of the others, but not for ever.
    params.limits.log_backlog_bytes_max = *Rng::named(options.seed, "gray").pick(&[32 << 10, 16 << 20]);
    params.load.timeout = 40 * SECOND;
    params.load.client_count = params.load.client_count.min(4);
    params.load.pause_mean = 10 * MS;
    params.load.flush_one_in = 0;
    params.disk.write_ns = (50 * US, 2 * MS);
    params
}

/// The faults of [`run_gray`], with the longest time that each lasts. All disks together stall for less than a
/// request's patience: nobody could do anything about it.
const GRAY: [(FaultKind, u64); 14] = [
    (FaultKind::Kill, 3 * SECOND),
    (FaultKind::PowerLoss, 3 * SECOND),
    (FaultKind::PlannedStop, SECOND),
    (FaultKind::Isolate, 6 * SECOND),
    (FaultKind::Deaf, 6 * SECOND),
    (FaultKind::Mute, 6 * SECOND),
    (FaultKind::Chain, 6 * SECOND),
    (FaultKind::Pause, 10 * SECOND),
    (FaultKind::DiskStall, 30 * SECOND),
    (FaultKind::AllDisksStall, 2 * SECOND),
    (FaultKind::SlowDisk, 6 * SECOND),
    (FaultKind::SlowLinks, 6 * SECOND),
    (FaultKind::Congestion, 3 * SECOND),
    (FaultKind::WallStep, 0),
];

fn play_gray(world: &mut World) -> Checked {
    let mut rng = Rng::named(world.params().options.seed, "gray faults");
    world.run_until(3 * SECOND)?;
    world.begin_gray();
    prove_stillness(world)?;
    prove_handover(world)?;
    prove_reach(world)?;
    prove_backlog(world)?;
    prove_leave(world)?;
    prove_stop(world)?;
    prove_patience(world)?;
    oversleep(world)?;
    for _ in 0..8 {
        let (kind, longest) = *rng.pick(&GRAY);
        // In larger clusters a follower that does not reach the leader may have none for as long (P-09f).
        if kind == FaultKind::Chain && world.params().node_count != 3 {
            continue;
        }
        let victim = rng.index(usize::from(world.params().node_count));
        // Half of them are short.
        let duration = if rng.coin() { longest } else { longest.min(SECOND) };
        let duration = rng.between(10 * MS, duration.max(11 * MS));
        phase(world, kind.name());
        world.strike(kind, victim, duration);
        world.run_until(world.now() + duration)?;
        if kind == FaultKind::SlowLinks {
            check_backlog(world, victim)?;
        }
        // Most of the time the next fault finds a cluster that has not quite recovered.
        let pause = rng.between(500 * MS, 6 * SECOND);
        world.run_until(world.now() + pause)?;
    }
    phase(world, "healed");
    world.heal()?;
    prove_progress(world)?;
    prove_balance(world)?;
    let (_, longest) = world.pipelined();
    if longest > WAITED_MAX {
        let detail = format!("a request at a node that nothing happened to waited {} ms", longest / MS);
        return Err(Violation::new("latency", detail));
    }
    world.stop_clients();
    settle_clients(world)?;
    converge(world)?;
    wgl::check_all(&world.clients.history.by_key())
}

/// Where everything is slow, nothing would be better elsewhere: no leader moves.
fn prove_stillness(world: &mut World) -> Checked {
    phase(world, "all stand still");
    prove_balance(world)?;
    world.run_until(world.now() + 5 * SECOND)?;
    let changes = leader_changes(world);
    for (kind, duration) in [(FaultKind::AllDisksStall, 1_500 * MS), (FaultKind::Congestion, SECOND)] {
        world.strike(kind, 0, duration);
        world.run_until(world.now() + 3 * SECOND)?;
        if leader_changes(world) != changes {
            let detail = format!("leaders changed, though everything was slow alike ({})", kind.name());
            return Err(Violation::new("stillness", detail));
        }
    }
    Ok(())
}

/// Where one disk stands and the others move, its groups go elsewhere.
fn prove_handover(world: &mut World) -> Checked {
    phase(world, "one disk stands");
    let group = GroupId::new(1);
    let home = usize::from(world.params().preferred(group).get()) - 1;
    world.strike(FaultKind::DiskStall, home, 6 * SECOND);
    world.run_until(world.now() + 3 * SECOND)?;
    if serves(world, home, group) {
        let detail = format!("n{} leads {group} though its disk stands", home + 1);
        return Err(Violation::new("handover", detail));
    }
    world.run_until(world.now() + 4 * SECOND)
}

/// A leader that sleeps for more than its lease, and is cut off meanwhile, serves no reads under it: the history
/// of its clients is judged at the end.
fn oversleep(world: &mut World) -> Checked {
    phase(world, "a leader sleeps longer than its lease");
    prove_balance(world)?;
    let home = usize::from(world.params().preferred(GroupId::new(1)).get()) - 1;
    for _ in 0..4 {
        world.strike(FaultKind::Isolate, home, 1_500 * MS);
        world.strike(FaultKind::Pause, home, 540 * MS);
        world.run_until(world.now() + 5 * SECOND)?;
    }
    Ok(())
}

/// Where a follower does not reach the leader, and a third node reaches both, that one leads.
fn prove_reach(world: &mut World) -> Checked {
    phase(world, "a leader is cut off from a follower");
    prove_balance(world)?;
    let group = GroupId::new(1);
    let home = usize::from(world.params().preferred(group).get()) - 1;
    // The victim is the first of the row, the other end does not reach it.
    if world.params().node_count != 3 {
        return Ok(());
    }
    world.strike(FaultKind::Chain, home, 4 * SECOND);
    world.run_until(world.now() + 3 * SECOND)?;
    if serves(world, home, group) {
        let detail = format!("n{} leads {group} though a follower does not reach it", home + 1);
        return Err(Violation::new("reach", detail));
    }
    world.run_until(world.now() + 2 * SECOND)
}

/// Where a leader hears nobody, and all hear it, another leads its groups before its last grants have ended.
fn prove_leave(world: &mut World) -> Checked {
    phase(world, "a leader hears nobody");
    prove_balance(world)?;
    let home = usize::from(world.params().preferred(GroupId::new(1)).get()) - 1;
    let groups = 1..=world.params().group_count;
    let belong = groups
        .map(GroupId::new)
        .filter(|&group| usize::from(world.params().preferred(group).get()) == home + 1);
    let belong: Vec<GroupId> = belong.collect();
    world.strike(FaultKind::Deaf, home, 4 * SECOND);
    world.run_until(world.now() + DEAF_FOR)?;
    let others = || (0..usize::from(world.params().node_count)).filter(|&node| node != home);
    if let Some(group) = belong.iter().find(|&&group| !others().any(|node| serves(world, node, group))) {
        let detail = format!("nobody leads {group} {} ms after its leader heard the last", DEAF_FOR / MS);
        return Err(Violation::new("farewell", detail));
    }
    world.run_until(world.now() + 4 * SECOND)
}

/// A node that is told to stop has soon stopped, and its groups have leaders all the time.
fn prove_stop(world: &mut World) -> Checked {
    for node in 0..usize::from(world.params().node_count) {
        phase(world, "a node is told to stop");
        prove_balance(world)?;
        world.strike(FaultKind::PlannedStop, node, SECOND);
        let began = world.now();
        let mut stopped = None;
        let mut led_at: BTreeMap<GroupId, Instant> = BTreeMap::new();
        while world.now() < began + 2 * SECOND {
            world.run_until(world.now() + 5 * MS)?;
            let now = world.now();
            if !world.is_up(node) {
                stopped.get_or_insert(now);
            }
            for group in (1..=world.params().group_count).map(GroupId::new) {
                let is_led =
                    (0..usize::from(world.params().node_count)).any(|node| serves(world, node, group));
                let last = led_at.entry(group).or_insert(now);
                if is_led {
                    *last = now;
                }
                if now - *last > MOVES_WITHIN {
                    let detail = format!("{group} has had no leader for {} ms", (now - *last) / MS);
                    return Err(Violation::new("planned-stop", detail));
                }
            }
        }
        if stopped.is_none_or(|at| at - began > SECOND) {
            let detail = format!("n{} does not stop: {stopped:?}", node + 1);
            return Err(Violation::new("planned-stop", detail));
        }
    }
    Ok(())
}

/// Where a leader is cut off from a follower, and a third node hears both but cannot take over, its leader does
/// not stop for it: not at all while the disk of that node stands, and not again and again while it is slow.
fn prove_patience(world: &mut World) -> Checked {
    if world.params().node_count != 3 {
        return Ok(());
    }
    let home = usize::from(world.params().preferred(GroupId::new(1)).get()) - 1;
    let third = (home + 1) % 3;
    for is_stalled in [true, false] {
        phase(world, "a leader is cut off from a follower, and nobody can take over");
        prove_balance(world)?;
        if is_stalled {
            world.strike(FaultKind::DiskStall, third, 4 * SECOND);
            world.run_until(world.now() + SECOND)?;
        } else {
            world.slow_writes(third, Some((200 * MS, 280 * MS)));
        }
        let before = world.observer().failed_handovers().clone();
        world.strike(FaultKind::Chain, home, 3 * SECOND);
        world.run_until(world.now() + 3 * SECOND)?;
        world.slow_writes(third, None);
        for (of, count) in world.observer().failed_handovers() {
            let count = count - before.get(of).unwrap_or(&0);
            if count > u64::from(!is_stalled) {
                let (group, leader) = of;
                let detail = format!("{leader} handed {group} over {count} times to who could not lead it");
                return Err(Violation::new("patience", detail));
            }
        }
        world.run_until(world.now() + 4 * SECOND)?;
    }
    Ok(())
}

/// Where a follower is behind, and its links are slow, it is not sent more than it takes in a while.
fn prove_backlog(world: &mut World) -> Checked {
    phase(world, "a follower behind slow links");
    prove_balance(world)?;
    let home = usize::from(world.params().preferred(GroupId::new(1)).get());
    let follower = home % usize::from(world.params().node_count);
    for kind in [FaultKind::Isolate, FaultKind::SlowLinks] {
        world.strike(kind, follower, 4 * SECOND);
        world.run_until(world.now() + 4 * SECOND)?;
    }
    check_backlog(world, follower)?;
    world.run_until(world.now() + 2 * SECOND)
}

fn check_backlog(world: &World, node: usize) -> Checked {
    let backlog = world.backlog_of(node);
    if backlog > BACKLOG_MAX {
        let detail = format!("what n{} was sent over slow links arrives {} ms late", node + 1, backlog / MS);
        return Err(Violation::new("backlog", detail));
    }
    Ok(())
}

/// Leaders come back to the nodes that they belong to.
fn prove_balance(world: &mut World) -> Checked {
    let deadline = world.now() + BALANCED_WITHIN;
    let groups = 1..=world.params().group_count;
    loop {
        let is_home = |group: &u16| {
            let group = GroupId::new(*group);
            serves(world, usize::from(world.params().preferred(group).get()) - 1, group)
        };
        let Some(away) = groups.clone().find(|group| !is_home(group)) else { return Ok(()) };
        if world.now() > deadline {
            let detail = format!("group {away} is not led by the node it belongs to");
            return Err(Violation::new("balance", detail));
        }
        world.run_until(world.now() + 100 * MS)?;
    }
}
