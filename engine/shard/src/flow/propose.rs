//! The proposals of a leader: batches of the waiting writes, and the entries that advance time and raise the
//! level.

use crate::flow::drive::{drive, tell_room};
use crate::group::Group;
use crate::outlet::Out;
use crate::request::Origin;
use crate::step::Cx;
use alloc::vec::Vec;
use synod_paxos as paxos;
use synod_paxos::Writable;
use synod_types::{Command, Mono, Op, Payload, WallMs};

/// Whether the group takes a proposal now.
fn can_write<P: Payload>(group: &Group<P>, now: Mono) -> bool {
    group.paxos.can_propose() && group.paxos.writable(now) == Writable::Yes
}

/// Proposes the waiting writes in batches. While the pipeline is full or the log too far behind, arriving
/// writes gather into the next batch; there is no timer (P-04). What gathers is bounded, and so is what waits
/// for the disk (P-14b). True if something was proposed.
pub(crate) fn propose_pending<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>) -> bool {
    let mut has_proposed = false;
    while cx.group.backlog.has_pending() {
        tell_room(cx);
        let now = cx.now.mono;
        let group = &mut *cx.group;
        let is_full = group.paxos.in_flight() >= cx.common.config.pipeline_slots;
        if cx.common.log_is_behind(cx.now.mono) || is_full || !can_write(group, now) {
            return has_proposed;
        }
        let Some(slot) = group.paxos.next_slot() else { return has_proposed };
        // Nothing is proposed before the group's clock is set (P-16e).
        let Some(ts) = group.paxos.leader_clock(now) else { return has_proposed };
        let mut origins = Vec::new();
        let session = &mut group.session;
        while let Some(mut next) = group.backlog.next_pending_if(|next| {
            let is_reachable = match next.origin {
                Origin::Stamped { sequence, .. } => session.is_reachable(sequence),
                _ => true,
            };
            is_reachable && group.proposals.builder.fits(&next.command)
        }) {
            let origin = match next.origin {
                Origin::Stamped { sequence, .. } if !group.stream.waits(sequence) => continue, // given up
                Origin::Stamped { sequence, .. } => {
                    next.command.stamp = session.renew(next.command.stamp);
                    group.stream.proposed(sequence);
                    None
                }
                origin => Some(origin),
            };
            group.stats.queue_us.record_span(now.since(next.arrived));
            group.proposals.builder.push(next.command);
            origins.push(origin);
        }
        if origins.is_empty() {
            return has_proposed; // all were given up, or the next waits until the group can know that one before it was
        }
        let origin = group.paxos.next_origin();
        let payload = P::from(group.proposals.builder.finish(origin, ts)).sealed();
        group.stats.batch_commands.record(origins.len() as u64);
        group.proposals.push((slot, origin), payload.clone(), origins, now);
        drive(cx, paxos::Input::Propose { payload });
        debug_assert!(cx.group.paxos.next_slot() == Some(slot.next()), "proposed for another slot");
        has_proposed = true;
    }
    has_proposed
}

/// While an expiry is due, the leader advances applied time with an empty slot, so that no expired key can
/// reappear after a failover. Slots in flight and pending writes carry a time themselves, so the leader waits
/// for those first.
pub(crate) fn keep_time<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>) {
    #[cfg(feature = "canary")]
    if cx.common.has_planted(crate::Canary::ExpiryUnwatched) {
        return;
    }
    let (group, now) = (&mut *cx.group, cx.now.mono);
    if let Some(clock) = group.paxos.leader_clock(now)
        && group.paxos.serving()
        && can_write(group, now)
        && !group.backlog.has_pending()
        && group.paxos.in_flight() == 0
        && cx.common.store.next_expiry(group.id).is_some_and(|due| due <= clock)
    {
        assert!(group.proposals.builder.is_empty(), "a batch was left behind");
        let origin = group.paxos.next_origin();
        let payload = P::from(group.proposals.builder.finish(origin, clock));
        drive(cx, paxos::Input::Propose { payload });
    }
}

/// A leader whose log lags hands over when it knows that others' logs move (P-09b). Where it has proposed nothing
/// since, an entry without commands tells.
pub(crate) fn try_logs<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>, log: paxos::LogState) {
    let (group, now) = (&mut *cx.group, cx.now.mono);
    let Some(since) = log.lags_since.filter(|since| Some(*since) > group.tried_logs) else { return };
    if group.paxos.serving()
        && can_write(group, now)
        && let Some(clock) = group.paxos.leader_clock(now)
        && !group.backlog.has_pending()
        && group.paxos.in_flight() == 0
    {
        assert!(group.proposals.builder.is_empty(), "a batch was left behind");
        group.tried_logs = Some(since);
        let origin = group.paxos.next_origin();
        let payload = P::from(group.proposals.builder.finish(origin, clock));
        drive(cx, paxos::Input::Propose { payload });
    }
}

/// Once every member has said that it reads a later level, the leader raises the level in the log: entries
/// from the next slot on may use it (P-19).
pub(crate) fn raise_level<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>) {
    let (group, now) = (&mut *cx.group, cx.now.mono);
    let held = cx.common.store.level(group.id);
    if let Some(level) = group.paxos.level_of_all()
        && level > held
        && group.proposals.raised != group.led.map(|ballot| (ballot, level))
        && !cx.common.log_is_behind(cx.now.mono)
        && group.paxos.serving()
        && can_write(group, now)
        && group.paxos.in_flight() < cx.common.config.pipeline_slots
    {
        assert!(group.proposals.builder.is_empty(), "a batch was left behind");
        assert!(level <= cx.common.config.level, "{} raises the level above its own", group.id);
        // The entry will be chosen unless another replica takes over first.
        group.proposals.raised = group.led.map(|ballot| (ballot, level));
        let nothing = || P::from(Vec::new());
        group.proposals.builder.push(Command::new(nothing(), Op::RaiseLevel(level), nothing()));
        let ts = group.paxos.leader_clock(now).unwrap_or(WallMs::ZERO);
        let origin = group.paxos.next_origin();
        let payload = P::from(group.proposals.builder.finish(origin, ts));
        drive(cx, paxos::Input::Propose { payload });
    }
}
