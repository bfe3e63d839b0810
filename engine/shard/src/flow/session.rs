//! Sends clients' writes under the session of this core, and looks after that session: opens it, closes
//! ranges of its sequences, notices its loss (P-21). Nothing may be stamped twice, and no command that came
//! with a stamp.

use crate::flow::busy;
use crate::flow::route::route;
use crate::outlet::{Answer, Out, OwnAsk};
use crate::request::{Origin, Request};
use crate::step::{Cx, Step};
use alloc::vec::Vec;
use synod_types::{
    Command, Consistency, ErrorKind, GroupId, Nanos, Op, Payload, RequestId, SessionId, SessionStamp,
};

/// Takes a client's write that came without a session.
pub(crate) fn take_write<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>, id: RequestId, request: Request<P>) {
    let group = &mut *cx.group;
    debug_assert!(request.command.stamp.session == SessionId::NONE, "a client's own stamp");
    if !group.backlog.has_unstamped()
        && let Some(stamp) = group.session.stamp(cx.now.mono)
    {
        return route_stamped(cx, id, request, stamp);
    }
    if group.session.is_superseded() {
        return request.refuse(ErrorKind::NoLeader, cx.out);
    }
    if let Err(request) = group.backlog.push_unstamped(id, request) {
        busy::refuse(cx, &request);
    }
}

fn route_stamped<P: Payload>(
    cx: &mut Cx<'_, P, impl Out<P>>,
    id: RequestId,
    mut request: Request<P>,
    stamp: SessionStamp,
) {
    assert!(request.origin == Origin::Client(id), "what came with a stamp is not stamped again");
    let index = cx.group.index as u16; // COALESCED_MAX groups at most
    request.origin = Origin::Stamped { id, index, sequence: stamp.sequence };
    request.command.stamp = stamp;
    route(cx, request);
}

/// Stamps and routes writes that waited for the session, or for room in its window.
fn stamp_waiting<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>) {
    while cx.group.backlog.has_unstamped() && cx.group.session.can_stamp() {
        let group = &mut *cx.group;
        let stamp = group.session.stamp(cx.now.mono).expect("there is room in the window");
        let (id, request) = group.backlog.next_unstamped().expect("a write waits");
        route_stamped(cx, id, request, stamp);
    }
}

/// Opens the session of a group, or closes a part of it, when that is due.
pub(crate) fn mind_session<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>, is_tick: bool) {
    if cx.group.id == GroupId::SYSTEM {
        return;
    }
    if is_tick {
        let patience = cx.common.config.timing.patience;
        refuse_unstamped(cx, patience, None);
    }
    let has_leader = cx.group.has_leader();
    let session = &mut cx.group.session;
    if has_leader && session.begin_opening(cx.now.mono) {
        let config = &cx.common.config;
        let op = Op::OpenNodeSession { node: config.node, core: config.core, boot: config.boot };
        ask_own(cx, OwnAsk::Open, (op, SessionStamp::default()), Vec::new());
    } else if is_tick && let Some((stamp, ranges)) = session.close(cx.now.mono) {
        ask_own(cx, OwnAsk::Close(stamp.sequence), (Op::CloseSequences, stamp), ranges);
    }
}

fn ask_own<P: Payload>(
    cx: &mut Cx<'_, P, impl Out<P>>,
    ask: OwnAsk,
    (op, stamp): (Op, SessionStamp),
    operand: Vec<u8>,
) {
    assert!(op.is_of_nodes(), "a command that a core does not send for itself");
    let command = Command { stamp, ..Command::new(P::from(Vec::new()), op, P::from(operand)) };
    let origin = Origin::Own { index: cx.group.index as u16, ask }; // COALESCED_MAX groups at most
    let consistency = Consistency::default();
    route(cx, Request { origin, consistency, command, arrived: cx.now.mono });
}

/// Handles an answer that concerns a session of this core.
pub(crate) fn on_answer<P: Payload>(step: &mut Step<'_, P, impl Out<P>>, answer: Answer) {
    let (Answer::Write { index, .. } | Answer::Gone { index } | Answer::Own { index, .. }) = answer;
    debug_assert!(usize::from(index) < step.groups.len(), "an answer for a group of another core");
    let mut cx = step.at(usize::from(index));
    let now = cx.now.mono;
    let session = &mut cx.group.session;
    match answer {
        Answer::Write { sequence, .. } => session.answered(sequence),
        Answer::Gone { .. } => cx.common.sessions_lost += u64::from(session.gone(None)),
        Answer::Own { ask: OwnAsk::Close(sequence), reply, .. } => {
            cx.common.sessions_lost += u64::from(session.closed(sequence, reply, now));
        }
        Answer::Own { ask: OwnAsk::Open, reply, .. } => {
            if let Some(kind) = session.opened(reply, now) {
                refuse_unstamped(&mut cx, Nanos(0), Some(kind));
            }
        }
    }
    stamp_waiting(&mut cx);
}

/// Refuses the writes that have waited for a stamp for `patience`.
fn refuse_unstamped<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>, patience: Nanos, kind: Option<ErrorKind>) {
    let has_session = cx.group.session.is_open();
    let kind = kind.unwrap_or(if has_session { ErrorKind::Busy } else { ErrorKind::NoLeader });
    while let Some(request) = cx.group.backlog.late_unstamped(patience, cx.now.mono) {
        request.refuse(kind, cx.out);
    }
}
