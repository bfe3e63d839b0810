//! A log without room (P-18): what happens to writes that cannot be proposed.
//!
//! ```text
//!   log cannot make a segment ─▶ Room ─▶ each group ─▶ reads go on
//!                           ├─ others have room ──▶ hand over; unproposed writes go to the next leader
//!                           └─ no quorum has any ─▶ NoSpace for those; for proposed ones Unknown, later
//! ```

use crate::flow::drive::{drive, tell_room};
use crate::outlet::Out;
use crate::parts::sources::{PAUSE_MAX, may_try};
use crate::request::push_error;
use crate::step::Cx;
use synod_paxos as paxos;
use synod_paxos::Writable;
use synod_types::{ErrorKind, Nanos, Payload};

/// Handles writes of this leader that no accept quorum has room for: leadership goes to a node that has room,
/// or the writes are refused.
pub(crate) fn hand_over_or_refuse<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>) {
    if !cx.group.paxos.serving() {
        return;
    }
    tell_room(cx);
    let now = cx.now.mono;
    match cx.group.paxos.writable(now) {
        Writable::Yes => return,
        Writable::Unclear => {}
        Writable::Elsewhere(target) => {
            assert!(target != cx.common.config.node, "it hands over to itself");
            let group = &mut *cx.group;
            if !group.paxos.is_transferring() && may_try(&mut group.attempt, target, PAUSE_MAX, now) {
                drive(cx, paxos::Input::TransferLeadership { target });
            }
        }
        Writable::No => refuse_pending(cx, Nanos(0)),
    }
    #[cfg(feature = "canary")]
    if cx.common.has_planted(crate::Canary::RefusedUnderWay) {
        for origin in cx.group.proposals.take_late(Nanos(0), now) {
            push_error(origin, ErrorKind::NoSpace, cx.out);
        }
    }
    let patience = cx.common.config.timing.patience;
    // A proposed write may be chosen when there is room again, so `Unknown` is the only true answer.
    for origin in cx.group.proposals.take_late(patience, now) {
        push_error(origin, ErrorKind::Unknown, cx.out);
    }
    // Nodes with room are to take over and write. If none has done so within the patience, the writes are
    // refused.
    refuse_pending(cx, patience);
}

/// Refuses the writes that were not proposed and have waited for `patience`.
fn refuse_pending<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>, patience: Nanos) {
    assert!(cx.group.led.is_some(), "a follower has writes to propose");
    let now = cx.now.mono;
    while let Some(request) = cx.group.backlog.next_pending_if(|first| now.since(first.arrived) >= patience) {
        request.refuse(ErrorKind::NoSpace, cx.out);
    }
}
