//! Ticks, and the ends of turns.

use crate::flow::drive::drive;
use crate::flow::{
    busy, cold, disk_full, effects, leave, propose, read_index, repair, route, session, transfer,
};
use crate::outlet::Out;
use crate::step::Step;
use synod_paxos as paxos;
use synod_types::{ErrorKind, Event, Mono, Payload};

/// Steps per tick that free what FLUSHALL cleared: a million keys take two seconds, at half a millisecond per
/// tick if all of them had a copy in the cache.
const BURY_STEPS_PER_TICK: usize = 8;
/// Steps of the sweep per core and tick: less than one of the tick's five milliseconds. They are for many
/// keys that expire together; otherwise the store itself keeps up with the writes.
const SWEEP_STEPS_PER_TICK: usize = 4096;

/// Handles a tick.
pub(crate) fn on_tick<P: Payload>(step: &mut Step<'_, P, impl Out<P>>) {
    let has_slept = note_sleep(step);
    // What the disk has done meanwhile is not known yet.
    let log = if has_slept { paxos::LogState::FINE } else { log_state(step) };
    tell_stall(step, log.is_stalled);
    // The sweep comes first: the more of the expired keys it has sorted out, the more exactly it is known
    // whether applied time must advance.
    sweep(step);
    step.common.walks = 0;
    for index in 0..step.groups.len() {
        let cx = &mut step.at(index);
        drive(cx, paxos::Input::Tick { log });
        disk_full::hand_over_or_refuse(cx);
        propose::keep_time(cx);
        propose::raise_level(cx);
        propose::try_logs(cx, log);
        route::retry_waiting(cx);
        session::mind_session(cx, true);
        read_index::expire_awaiting_apply(cx);
        busy::tick(cx);
    }
    expire_forwards(step);
    read_index::expire(step);
    cold::tick(step);
    repair::tick(step);
    if step.common.leaving.is_some() {
        leave::hand_over(step);
    } else {
        transfer::follow_load(step);
        transfer::balance(step);
    }
    step.common.store.bury(BURY_STEPS_PER_TICK);
}

/// How the log does: its leaders hand over also where its reads do not come back (P-09b).
fn log_state<P: Payload>(step: &Step<'_, P, impl Out<P>>) -> paxos::LogState {
    let (timing, now) = (step.common.config.timing, step.now.mono);
    let log = step.common.journal.state(timing.lease, now);
    #[cfg(feature = "canary")]
    if step.common.has_planted(crate::Canary::WaitsForReads) {
        return log;
    }
    let reads = step.common.cold_reads.stalled_since(timing.lease, timing.request_max, now);
    paxos::LogState { lags_since: [log.lags_since, reads].into_iter().flatten().min(), ..log }
}

/// Notices that this core was not scheduled for so long that others may have lost their patience with it. True
/// if so.
fn note_sleep<P: Payload>(step: &mut Step<'_, P, impl Out<P>>) -> bool {
    let now = step.now.mono;
    let last = core::mem::replace(&mut step.common.ticked_at, now);
    let took = now.since(last);
    if last == Mono::ZERO || took < step.common.config.timing.lease {
        return false;
    }
    #[cfg(feature = "canary")]
    {
        step.common.slept.0 += took.0;
    }
    step.common.stats.sleeps += 1;
    step.out.tell(Event::Slept { took });
    for group in &mut *step.groups {
        group.paxos.has_slept(now);
    }
    true
}

/// Tells the operator when the log stalls and when it goes on.
fn tell_stall<P: Payload>(step: &mut Step<'_, P, impl Out<P>>, stalled: bool) {
    match (step.common.stalled_since, stalled) {
        (None, true) => {
            step.common.stalled_since = Some(step.now.mono);
            step.out.tell(Event::LogStalled { records: step.common.journal.undurable() as u64 });
        }
        (Some(since), false) => {
            step.common.stalled_since = None;
            step.out.tell(Event::LogResumed { took: step.now.mono.since(since) });
        }
        _ => {}
    }
}

/// Handles the end of a turn: it has no more inputs.
pub(crate) fn on_turn_end<P: Payload>(step: &mut Step<'_, P, impl Out<P>>) {
    step.common.walks = 0;
    let count = step.groups.len();
    let from = step.common.propose_from;
    let mut next = from;
    for index in (from..count).chain(0..from) {
        let cx = &mut step.at(index);
        session::mind_session(cx, false);
        if propose::propose_pending(cx) {
            next = (index + 1) % count;
        }
        cx.group.paxos.transfer_if_drained(cx.now, &mut cx.common.effects);
        cx.group.paxos.heartbeat_if_wanted(cx.now, &mut cx.common.effects);
        effects::flush(cx);
    }
    // While the log is behind, those whose writes still wait come first next time.
    let is_behind = step.common.log_is_behind(step.now.mono);
    step.common.propose_from = if is_behind { next } else { 0 };
    debug_assert!(step.common.effects.is_empty(), "effects were left behind");
    step.common.follower_reads.flush(step.now.mono, step.out);
    step.common.coalescer.flush(step.out);
}

/// Removes expired keys, so few at a time that no request waits noticeably. Each sweep begins with another
/// group: one with many expired keys must not hold up the others.
fn sweep<P: Payload>(step: &mut Step<'_, P, impl Out<P>>) {
    let mut budget = SWEEP_STEPS_PER_TICK;
    let common = &mut *step.common;
    assert!(common.sweep_from < step.groups.len().max(1), "a sweep of a group that there is not");
    let (before, after) = step.groups.split_at_mut(common.sweep_from);
    for group in after.iter_mut().chain(before) {
        common.store.expire(group.id, &mut budget);
        let expired = common.store.expired(group.id);
        if group.paxos.serving() {
            group.stats.keys_expired_led += expired - group.stats.keys_expired;
        }
        group.stats.keys_expired = expired;
    }
    common.sweep_from = (common.sweep_from + 1) % step.groups.len().max(1);
}

/// Gives up on forwarded requests that have not been answered in time: a write's outcome is unknown.
fn expire_forwards<P: Payload>(step: &mut Step<'_, P, impl Out<P>>) {
    let (timing, now, groups) = (step.common.config.timing, step.now.mono, &*step.groups);
    let is_over = |index: usize, arrived| groups[index].is_over(&timing, arrived, now);
    for (_, request) in step.common.forwards.late(is_over) {
        let is_write = request.command.op.is_write();
        request.refuse(if is_write { ErrorKind::Unknown } else { ErrorKind::NoLeader }, step.out);
    }
    step.common.forwards.forget(|index, sequence| groups[index].stream.waits(sequence));
}
