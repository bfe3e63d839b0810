//! Writes of other nodes' sessions that arrive at the leader (P-21i): what was executed is answered from the
//! applied state, what is under way is left alone, and what comes before its predecessors is refused.

use crate::flow::busy;
use crate::outlet::Out;
use crate::parts::arrivals::Arrival;
use crate::request::Request;
use crate::step::Cx;
use synod_types::{CommandRef, ErrorKind, Level, Op, Payload};

/// Takes a peer's forward; gives it back if it is to be executed.
pub(crate) fn take<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>, request: Request<P>) -> Option<Request<P>> {
    let (stamp, op, group) = (request.command.stamp, request.command.op, cx.group.id);
    let is_ordered = stamp.session.is_of_node() && op.is_write() && op != Op::CloseSequences;
    if !is_ordered || cx.group.led.is_none() || cx.common.store.level(group) < Level::IN_ORDER {
        return Some(request);
    }
    // What is applied is chosen. So this is the true answer, whichever leader had it executed.
    if let Some(reply) = cx.common.store.executed(group, &CommandRef::of(&request.command)) {
        request.reply(reply, cx.out);
        return None;
    }
    let frontier = cx.common.store.frontier(group, stamp.session).unwrap_or(0);
    match cx.group.arrivals.judge(&stamp, frontier) {
        Arrival::Next if cx.group.backlog.has_room(request.weight()) => {
            cx.group.arrivals.take(&stamp);
            return Some(request);
        }
        Arrival::Next => busy::refuse(cx, &request),
        Arrival::UnderWay => {}
        Arrival::Early => request.refuse(ErrorKind::NoLeader, cx.out),
    }
    None
}
