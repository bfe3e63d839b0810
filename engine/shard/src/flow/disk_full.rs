//! A log without room (P-18): what happens to writes that cannot be proposed.
//!
//! ```text
//!   log cannot make a segment ─▶ Room ─▶ each group ─▶ reads go on
//!                           ├─ others have room ──▶ hand over; unproposed writes go to the next leader
//!                           └─ no quorum has any ─▶ NoSpace for those; for proposed ones Unknown, later
//! ```

use crate::flow::drive::{drive, tell_room};
#[cfg(feature = "canary")]
use crate::flow::session;
use crate::outlet::Out;
use crate::parts::sources::{PAUSE_MAX, may_try};
use crate::request::{Origin, push_error};
use crate::step::Cx;
use synod_paxos as paxos;
use synod_paxos::Writable;
use synod_types::{ErrorKind, Mono, Payload};

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
        Writable::No => refuse_pending(cx, |_| true),
    }
    #[cfg(feature = "canary")]
    if cx.common.has_planted(crate::Canary::RefusedUnderWay) {
        for origin in cx.group.proposals.take_late(|_| true) {
            push_error(origin, ErrorKind::NoSpace, cx.out);
        }
        session::refuse_under_way(cx);
    }
    // A proposed write may be chosen when there is room again, so `Unknown` is the only true answer.
    let patience = cx.group.patience(&cx.common.config.timing, now);
    for origin in cx.group.proposals.take_late(|at| patience.is_over(at)) {
        push_error(origin, ErrorKind::Unknown, cx.out);
    }
    // Nodes with room are to take over and write. If none has done so within the patience, the writes are
    // refused.
    refuse_pending(cx, |arrived| patience.is_over(arrived));
}

/// Refuses the writes that were not proposed and have waited too long.
fn refuse_pending<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>, is_over: impl Fn(Mono) -> bool) {
    assert!(cx.group.led.is_some(), "a follower has writes to propose");
    while let Some(request) = cx.group.backlog.next_pending_if(|first| is_over(first.arrived)) {
        if let Origin::Peer(..) = request.origin {
            cx.group.arrivals.refuse(&request.command.stamp);
        }
        request.refuse(ErrorKind::NoSpace, cx.out);
    }
}
