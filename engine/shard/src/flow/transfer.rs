//! Transfers of leadership without a failure (P-17): to the nodes that forward most of the requests, or to
//! the preferred nodes of the groups.
//!
//! Elections alone do not spread leaders over the nodes. The node that was up last, or was the only one up,
//! leads; after a failure the groups of the failed node stay with the node that took over. So each leader
//! checks now and then whether the preferred node of a group is reliably up, close behind, and has a log that
//! is not much slower than its own; if so, it transfers the group there. One group at a time: a failed
//! transfer costs its group up to a lease, and must not cost all groups that at once.

use crate::api::{FollowLoad, Leadership};
use crate::flow::drive::drive;
use crate::outlet::Out;
use crate::parts::balancing::Moving;
use crate::parts::sources::{PAUSE_MAX, may_try};
use crate::step::Step;
use synod_paxos as paxos;
use synod_types::{Nanos, Payload};

/// Pause between two searches for a group to transfer, when none was found.
const LOOK_INTERVAL: Nanos = Nanos::from_ms(50);
/// The longest pause between two failed attempts to transfer a group to its preferred node.
const BALANCE_PAUSE_MAX: Nanos = Nanos::from_ms(20_000);

/// Once per window: transfers the groups whose requests come by way of another node.
pub(crate) fn follow_load<P: Payload>(step: &mut Step<'_, P, impl Out<P>>) {
    let Leadership::Follow(FollowLoad { window, requests_min }) = step.common.config.leadership else {
        return;
    };
    let now = step.now.mono;
    assert!(step.common.counted_since <= now, "time went back");
    if now.since(step.common.counted_since) < window {
        return;
    }
    step.common.counted_since = now;
    for index in 0..step.groups.len() {
        let mut cx = step.at(index);
        let group = &mut *cx.group;
        if let Some(target) = group.sources.close(requests_min)
            && group.led.is_some()
            && !group.paxos.avoids(target, now)
            && may_try(&mut group.attempt, target, PAUSE_MAX, now)
        {
            drive(&mut cx, paxos::Input::TransferLeadership { target });
        }
    }
}

/// Transfers the next group that another node should lead, if that node is ready and no transfer is under
/// way.
pub(crate) fn balance<P: Payload>(step: &mut Step<'_, P, impl Out<P>>) {
    let now = step.now.mono;
    if step.common.config.leadership != Leadership::Balance || !may_look(step) {
        return;
    }
    step.common.balancing.look_at = now.plus(LOOK_INTERVAL);
    let own_log = step.common.journal.pace(now);
    for index in 0..step.groups.len() {
        let mut cx = step.at(index);
        let (config, balancing) = (&cx.common.config, &mut cx.common.balancing);
        let target = config.groups[index].preferred;
        let group = &mut *cx.group;
        assert!(config.groups[index].group == group.id, "a group in the place of another");
        if group.led.is_some()
            && target != config.node
            && !group.paxos.avoids(target, now)
            && group.paxos.could_transfer_to(target, own_log, now)
            && balancing.is_steady(target, now)
            && may_try(&mut group.attempt, target, BALANCE_PAUSE_MAX, now)
        {
            // A failed transfer ends within two leases: one to drain, one for the target to stand.
            let until = now.plus(config.timing.lease).plus(config.timing.lease);
            assert!(balancing.moving.is_none(), "two groups move at once");
            balancing.moving = Some(Moving { index, target, until });
            drive(&mut cx, paxos::Input::TransferLeadership { target });
            return;
        }
    }
}

/// Whether it is time to search for a group to transfer: at once when a transfer is over, else now and then.
fn may_look<P: Payload>(step: &mut Step<'_, P, impl Out<P>>) -> bool {
    let now = step.now.mono;
    let balancing = &mut step.common.balancing;
    let Some(Moving { index, target, until }) = balancing.moving else {
        return now >= balancing.look_at;
    };
    debug_assert!(target != step.common.config.node, "a group moves to where it is");
    let group = &step.groups[index];
    let is_over = group.led.is_none() && group.paxos.leader_hint() == Some(target);
    if !is_over && now < until {
        return false;
    }
    balancing.moving = None;
    true
}
