//! One run from beginning to end: faults, healing, progress, quiet, convergence, read-back, verdict.

use super::fault::FaultKind;
use super::params::{DRIFT_PPM_LOOSE, EXPIRY_SPAN_MAX, Options, Params};
use super::queue::{Instant, MS, SECOND};
use super::report;
use super::world::World;
use crate::check::coverage::Coverage;
use crate::check::model::{Action, Ttl, When};
use crate::check::{Checked, Violation, wgl};
use synod_shard::{FAR_BEHIND_SLOTS, GroupStatus, Leadership, Role};
use synod_types::{GroupId, Nanos, Slot};

/// Acknowledged operations a run must reach.
pub const ACKNOWLEDGED_MIN: u64 = 1000;
/// After healing, every group acknowledges a new write within this time.
const PROGRESS_WITHIN: u64 = 10 * SECOND;
/// After healing, leaders settle within this time and then stay.
const STABLE_AFTER: u64 = 5 * SECOND;
/// After the last operation, all replicas hold the same state within this time.
const CONVERGED_WITHIN: u64 = 10 * SECOND;
/// The healed phase lasts at least this long, so that stability shows.
const HEALED_MIN: u64 = 8 * SECOND;
/// The healed phase must reach [`ACKNOWLEDGED_MIN`] within this time.
const HEALED_MAX: u64 = 120 * SECOND;

/// The result of a run without a violation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Summary {
    /// The hash of its trace: equal seeds give equal hashes.
    pub trace_hash: u64,
    /// Events in the trace.
    pub event_count: u64,
    /// Operations acknowledged.
    pub acknowledged: u64,
    /// Slots chosen.
    pub slots: usize,
    /// Simulated time, nanoseconds.
    pub simulated: Instant,
    /// The coverage marks it met.
    pub coverage: Coverage,
}

/// A run that broke an invariant.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Which invariant, and how it was broken.
    pub violation: Violation,
    /// Everything a reader needs: seed, parameters, violation, the last lines of the trace, the command that
    /// replays it.
    pub report: String,
    /// When, in simulated nanoseconds.
    pub at: Instant,
}

/// Runs one simulation.
///
/// # Errors
/// [`Failure`] when an invariant does not hold. (The machines' own assertions panic; see [`report::guard`].)
pub fn run(options: Options) -> Result<Summary, Box<Failure>> {
    run_with(&Params::derive(options), play)
}

/// Runs a healthy cluster, then one lasting partition of this kind, once around every node. Some node still
/// reaches a quorum, so every group must go on, under one leader (P-06; the partial partitions of OmniPaxos,
/// Ng et al. 2023).
///
/// # Errors
/// [`Failure`] when a group does not go on, or an invariant does not hold.
pub fn run_partition(options: Options, kind: FaultKind) -> Result<Summary, Box<Failure>> {
    let mut params = quiet_params(options);
    params.limits.leadership = Leadership::Stay;
    run_with(&params, |world| play_partition(world, kind))
}

/// Parameters of a run in which nothing fails by itself.
pub(super) fn quiet_params(options: Options) -> Params {
    let mut params = Params::derive(options);
    params.faults.clear();
    params.net.loss_ppm = 0;
    params.net.flap_ppm = 0;
    params.net.tail_ppm = 0;
    params.net.delay_mean = params.net.delay_mean.min(MS);
    params.disk.stall_ppm = 0;
    params.has_pipelines = false;
    params.load.timeout = 300 * MS;
    params.timing.patience = Nanos::from_ms(500);
    params
}

/// Like [`run`], but the clocks run further apart than leases allow for, and leaders are cut off now and
/// then. Writes and quorum reads must stay correct even so (P-07f).
///
/// # Errors
/// [`Failure`] when they do not.
pub fn run_loose(options: Options) -> Result<Summary, Box<Failure>> {
    let mut params = Params::derive(options);
    params.clock.is_loose = true;
    params.has_pipelines = false;
    params.clock.drift_ppm_max = DRIFT_PPM_LOOSE;
    params.faults = vec![FaultKind::Isolate];
    params.fault_interval = 2 * SECOND;
    // A new leader has just written the key that the old one reads.
    params.group_count = 1;
    params.load.client_count = 12;
    params.load.keys_per_kind = 1;
    params.load.read_percent = 60;
    params.load.pause_mean = 5 * MS;
    params.load.flush_one_in = 0;
    params.net.delay_mean = params.net.delay_mean.min(MS);
    run_with(&params, play)
}

/// One group of three nodes with slow disks. Its machines lose power again and again while they write, so
/// that a leader's proposal is often on another node's disk and not on its own.
///
/// # Errors
/// [`Failure`] when an invariant does not hold.
pub fn run_crashes(options: Options) -> Result<Summary, Box<Failure>> {
    let mut params = Params::derive(options);
    params.node_count = 3;
    params.group_count = 1;
    params.core_count = 1;
    params.faults = vec![FaultKind::PowerLoss];
    params.has_pipelines = false;
    params.fault_interval = 500 * MS;
    params.disk.write_ns = (2 * MS, 20 * MS);
    params.load.client_count = 8;
    params.load.pause_mean = 2 * MS;
    params.load.flush_one_in = 0;
    params.net.delay_mean = params.net.delay_mean.min(MS);
    run_with(&params, play)
}

/// Connections that pipeline their writes, on a network that mixes up messages, while processes die every half
/// second: a leader often dies with a slot that nobody else has and a later one that others have (P-21i).
///
/// # Errors
/// [`Failure`] when two writes change places, or an invariant does not hold.
pub fn run_pipelined(options: Options) -> Result<Summary, Box<Failure>> {
    let mut params = Params::derive(options);
    params.node_count = 3;
    params.group_count = 1;
    params.core_count = 1;
    params.has_pipelines = true;
    params.faults = vec![FaultKind::PowerLoss, FaultKind::Isolate];
    params.fault_interval = 600 * MS;
    params.isolation_times = 1;
    params.limits.pipeline_slots = 64;
    params.limits.leadership = Leadership::Stay;
    params.net.ordered = false;
    params.net.loss_ppm = 50_000;
    params.net.tail_ppm = 300_000;
    params.net.tail_max = 20 * MS;
    params.clock.wall_grain_ms = 30_000;
    params.load.client_count = 2;
    params.load.pause_mean = MS;
    params.load.flush_one_in = 0;
    run_with(&params, play)
}

/// A healthy cluster in which one node misses many slots, and the disk of a node that it catches up from
/// rots. With `leader_dies`, that node's machine goes down at the moment when the other one comes back: a
/// replica that is far behind must not lead then (P-06h).
///
/// # Errors
/// [`Failure`] when it leads, when it does not catch up, or when an invariant does not hold.
pub fn run_far_behind(options: Options, leader_dies: bool) -> Result<Summary, Box<Failure>> {
    let mut params = quiet_params(options);
    params.node_count = 3;
    params.group_count = 1;
    params.core_count = 1;
    params.load.client_count = params.load.client_count.min(4);
    params.load.flush_one_in = 0;
    run_with(&params, |world| play_far_behind(world, leader_dies))
}

/// A healthy cluster in which an old copy of each node in turn is put back in its place. One of the peers
/// that know the node's log has been down in between and knows only the positions that it had noted durably
/// (P-20).
///
/// # Errors
/// [`Failure`] when a peer takes the old copy for the node, or an invariant does not hold.
pub fn run_old_copy(options: Options) -> Result<Summary, Box<Failure>> {
    run_with(&quiet_params(options), play_old_copy)
}

pub(super) fn run_with(
    params: &Params,
    play: impl FnOnce(&mut World) -> Checked,
) -> Result<Summary, Box<Failure>> {
    let mut ended = None;
    let mut reached = 0;
    let result = report::guard(params, || {
        let mut world = World::new(params)?;
        let result = play(&mut world);
        reached = world.now();
        result?;
        ended = Some(Summary {
            trace_hash: world.observer().trace.hash(),
            event_count: world.observer().trace.count(),
            acknowledged: world.clients.acknowledged(),
            slots: world.observer().chosen_count(),
            simulated: world.now(),
            coverage: {
                let mut coverage = world.observer().coverage.clone();
                coverage.add(&world.clients.coverage);
                coverage
            },
        });
        Ok(())
    });
    match (result, ended) {
        (Ok(()), Some(summary)) => Ok(summary),
        (Ok(()), None) => unreachable!("a run that broke nothing has a summary"),
        (Err(violation), _) => {
            let report = report::failure(params, &violation);
            Err(Box::new(Failure { violation, report, at: reached }))
        }
    }
}

fn play(world: &mut World) -> Checked {
    let seconds = world.params().options.seconds;
    phase(world, "faults");
    world.begin_faults();
    world.run_until(seconds * SECOND)?;

    phase(world, "healed");
    world.heal()?;
    let healed_at = world.now();
    prove_progress(world)?;
    world.run_until(healed_at + STABLE_AFTER.max(world.now() - healed_at))?;
    let changes = leader_changes(world);
    let slow = |world: &World| world.clients.acknowledged() < ACKNOWLEDGED_MIN;
    while slow(world) || world.now() < healed_at + HEALED_MIN {
        if world.now() >= healed_at + HEALED_MIN {
            world.clients.hurry();
        }
        if world.now() > healed_at + HEALED_MAX {
            let done = world.clients.acknowledged();
            return Err(Violation::new(
                "progress",
                format!("{done} operations acknowledged in the whole run"),
            ));
        }
        world.run_until(world.now() + 100 * MS)?;
    }
    let later = leader_changes(world);
    // Leaders that follow the load, or return to their preferred nodes, have a reason to move.
    if changes != later && world.params().limits.leadership == Leadership::Stay {
        return Err(Violation::new(
            "stability",
            format!("leaders changed in a healed cluster: {changes} changes seen, then {later}"),
        ));
    }

    phase(world, "quiet");
    world.stop_clients();
    settle_clients(world)?;
    converge(world)?;

    phase(world, "read back");
    // A leader's clock may be behind the clock that set an expiry by as much as clocks may differ, and an
    // expiry may have been extended.
    let expired_at = world.now() + 2 * EXPIRY_SPAN_MAX + 2 * world.params().expiry_slack() + SECOND;
    world.run_until(expired_at)?;
    read_back(world)?;
    wgl::check_all(&world.clients.history.by_key())
}

fn play_partition(world: &mut World, kind: FaultKind) -> Checked {
    world.run_until(3 * SECOND)?;
    for victim in 0..usize::from(world.params().node_count) {
        phase(world, kind.name());
        world.impose(kind, victim);
        let since = world.now();
        prove_progress(world)?;
        world.run_until(since + STABLE_AFTER.max(world.now() - since))?;
        let changes = leader_changes(world);
        world.run_until(world.now() + 5 * SECOND)?;
        prove_progress(world)?;
        let later = leader_changes(world);
        if changes != later {
            return Err(Violation::new(
                "stability",
                format!("leaders change under a lasting partition: {changes} changes seen, then {later}"),
            ));
        }
        phase(world, "healed");
        world.heal()?;
        prove_progress(world)?;
        world.run_until(world.now() + SECOND)?;
    }
    world.stop_clients();
    settle_clients(world)?;
    converge(world)?;
    wgl::check_all(&world.clients.history.by_key())
}

/// Slots that the disconnected node has missed: enough for it to be far behind, and more than any peer keeps
/// in memory.
const MISSED_SLOTS: u64 = 900;

fn play_far_behind(world: &mut World, leader_dies: bool) -> Checked {
    let group = GroupId::new(1);
    world.run_until(3 * SECOND)?;
    // The node that would lead if all were well: only the slots it misses keep it from leading.
    let away = usize::from(world.params().preferred(group).get()) - 1;
    phase(world, "isolation");
    world.impose(FaultKind::Isolate, away);
    world.run_until(world.now() + 2 * SECOND)?;
    let start = highest(world, group);
    let helper = world.clients.add_helper();
    while highest(world, group).1.since(start.1) < MISSED_SLOTS {
        if !world.clients.busy(helper) {
            let key = world.clients.keys.fresh(group);
            let value = world.clients.fresh_blob();
            let action = Action::Set { value, when: When::Always, ttl: Ttl::Clear, return_old: false };
            world.ask(helper, key, action);
        }
        world.run_until(world.now() + MS)?;
    }
    phase(world, "back");
    let leader = (0..3).find(|&node| node != away && serves(world, node, group)).unwrap_or((away + 1) % 3);
    let settled_at = highest(world, group).1;
    world.rot(leader, 400_000, 100_000);
    world.reconnect();
    if leader_dies {
        world.outage(leader, true, world.now() + 3 * SECOND);
        // With little to read, catching up would take no time at all.
        world.slow_reads((300 * MS, 400 * MS));
    }
    let deadline = world.now() + 30 * SECOND;
    loop {
        let behind = |status: &GroupStatus| settled_at.since(status.chosen) > FAR_BEHIND_SLOTS;
        let place = world.cores().find(|(place, _)| usize::from(place.node.get()) == away + 1);
        let status = place.and_then(|(_, core)| core.shard().status().find(|status| status.group == group));
        let Some(status) = status else { unreachable!("the node that was away runs") };
        if behind(&status) && status.role == Role::Leader {
            let detail = format!("n{} leads at {} though {settled_at} is chosen", away + 1, status.chosen);
            return Err(Violation::new("far-behind", detail));
        }
        if status.applied >= settled_at {
            break;
        }
        if world.now() > deadline {
            let detail = format!("n{} has not caught up: {status:?}", away + 1);
            return Err(Violation::new("progress", detail));
        }
        world.run_until(world.now() + MS)?;
    }
    world.run_until(world.now() + 4 * SECOND)?;
    world.slow_reads(world.params().disk.read_ns);
    world.heal()?;
    prove_progress(world)?;
    world.stop_clients();
    settle_clients(world)?;
    converge(world)?;
    wgl::check_all(&world.clients.history.by_key())
}

fn play_old_copy(world: &mut World) -> Checked {
    world.run_until(3 * SECOND)?;
    let nodes = usize::from(world.params().node_count);
    for victim in 0..nodes {
        phase(world, "old copy");
        let old = world.copy_of(victim);
        prove_progress(world)?;
        world.run_until(world.now() + 4 * SECOND)?;
        world.outage((victim + 1) % nodes, true, world.now() + SECOND);
        // Until the node is back, but not until its peers have told it their positions again.
        world.run_until(world.now() + SECOND)?;
        world.meet_old_copy(victim, &old)?;
        prove_progress(world)?;
    }
    world.stop_clients();
    settle_clients(world)?;
    converge(world)?;
    wgl::check_all(&world.clients.history.by_key())
}

/// The node that knows the longest chosen prefix of a group, and the end of that prefix.
fn highest(world: &World, group: GroupId) -> (usize, Slot) {
    let known = world.cores().filter_map(|(place, core)| {
        let status = core.shard().status().find(|status| status.group == group)?;
        Some((usize::from(place.node.get()) - 1, status.chosen))
    });
    known.max_by_key(|&(_, chosen)| chosen).unwrap_or((0, Slot::ZERO))
}

pub(super) fn serves(world: &World, node: usize, group: GroupId) -> bool {
    world.cores().any(|(place, core)| usize::from(place.node.get()) == node + 1 && core.shard().serves(group))
}

pub(super) fn phase(world: &mut World, name: &'static str) {
    world.begin_phase(name);
}

/// Progress (P-06): once faults end, every group acknowledges a new write within a bounded time.
pub(super) fn prove_progress(world: &mut World) -> Checked {
    let deadline = world.now() + PROGRESS_WITHIN;
    for group in 1..=world.params().group_count {
        let group = GroupId::new(group);
        let helper = world.clients.add_helper();
        let before = world.clients.acknowledged_by(helper);
        while world.clients.acknowledged_by(helper) == before {
            if !world.clients.busy(helper) {
                let key = world.clients.keys.fresh(group);
                let value = world.clients.fresh_blob();
                let action = Action::Set { value, when: When::Always, ttl: Ttl::Clear, return_old: false };
                world.ask(helper, key, action);
            }
            if world.now() > deadline {
                let views: String = world
                    .cores()
                    .flat_map(|(place, core)| core.shard().status().map(move |status| (place, status)))
                    .filter(|(_, status)| status.group == group)
                    .map(|(place, status)| format!("\n  {place}: {status:?}"))
                    .collect();
                return Err(Violation::new(
                    "progress",
                    format!(
                        "{group} acknowledged no write within {} s of healing{views}",
                        PROGRESS_WITHIN / SECOND
                    ),
                ));
            }
            world.run_until(world.now() + 10 * MS)?;
        }
    }
    Ok(())
}

pub(super) fn leader_changes(world: &World) -> u64 {
    world.cores().flat_map(|(_, core)| core.shard().status().map(|status| status.leader_changes)).sum()
}

/// Every client gets an answer: within the nodes' patience, plus some time for the network.
pub(super) fn settle_clients(world: &mut World) -> Checked {
    let deadline = world.now() + world.params().timing.request_max.0 + 30 * SECOND;
    while world.any_client_busy() {
        if world.now() > deadline {
            return Err(Violation::new("progress", "a client still waits in a healed cluster"));
        }
        world.run_until(world.now() + 20 * MS)?;
    }
    // Every request a node took is answered (the contract of `Input::Request`), in time by the node's own clock.
    let params = world.params();
    let slowest_ppm = if params.clock.is_loose { 1_000_000 - DRIFT_PPM_LOOSE } else { 1_000_000 };
    let longest = params.timing.request_max.0 * 11 / 10 * 1_000_000 / slowest_ppm + SECOND;
    world.run_until(world.now() + longest)?;
    for (place, core) in world.cores() {
        if let Some(since) = core.oldest_request() {
            let age = (world.now() - since) / MS;
            return Err(Violation::new(
                "one-answer",
                format!("{place} left a request without an answer for {age} ms"),
            ));
        }
    }
    Ok(())
}

/// Convergence (P-03b): in a quiet, healed cluster all replicas reach the same slot and the same state.
pub(super) fn converge(world: &mut World) -> Checked {
    let deadline = world.now() + CONVERGED_WITHIN;
    loop {
        let first = if world.params().system_group { 0 } else { 1 };
        let apart =
            (first..=world.params().group_count).map(GroupId::new).find(|&group| !equal(world, group));
        let Some(group) = apart else { return Ok(()) };
        if world.now() > deadline {
            let states: String = world
                .cores()
                .filter_map(|(place, core)| Some((place, core.shard().digest(group)?)))
                .map(|(place, (slot, digest))| format!("\n  {place}: {slot} {digest:016x}"))
                .collect();
            return Err(Violation::new("convergence", format!("{group} has not converged:{states}")));
        }
        world.run_until(world.now() + 50 * MS)?;
    }
}

fn equal(world: &World, group: GroupId) -> bool {
    let holders = world.cores().filter(|(_, core)| core.groups().contains(&group));
    let states: Vec<_> = holders.map(|(_, core)| core.shard().digest(group)).collect();
    states.len() == usize::from(world.params().node_count)
        && states.iter().all(|state| state.is_some() && *state == states[0])
}

/// Nothing acknowledged is lost: every key that ever was is read at the end, and the answers join the
/// history. By then every expiry has come, so a key that had one is gone.
pub(super) fn read_back(world: &mut World) -> Checked {
    let helper = world.clients.add_helper();
    for key in 0..world.clients.keys.count() {
        let deadline = world.now() + 10 * SECOND;
        let before = world.clients.acknowledged_by(helper);
        while world.clients.acknowledged_by(helper) == before {
            if !world.clients.busy(helper) {
                world.ask(helper, key, Action::GetLate);
            }
            if world.now() > deadline {
                return Err(Violation::new("progress", format!("key {key} cannot be read back")));
            }
            world.run_until(world.now() + MS)?;
        }
    }
    Ok(())
}
