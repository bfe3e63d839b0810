//! Sends clients' writes under the session of this core, and looks after that session: opens it, closes
//! ranges of its sequences, notices its loss (P-21).
//!
//! ```text
//!   take_write ─▶ unstamped ─▶ stamped, in the stream ─▶ send: forwarded, or queued here ─▶ answered
//!                                   ▲                       │   by the leader, or by what is applied here
//!                                   └────── pull back ◀─────┘ another leader, a lost link, a refusal
//! ```
//! Nothing may be stamped twice, and no command that came with a stamp.

use crate::api::{Effect, ForwardId};
use crate::flow::route::route;
use crate::group::Group;
use crate::outlet::{Answer, Out, OwnAsk};
use crate::parts::forwards::Carried;
use crate::request::{Origin, Request};
use crate::step::{Cx, Step};
use alloc::vec::Vec;
use synod_paxos::Writable;
use synod_types::{
    Command, Consistency, ErrorKind, GroupId, NodeId, Op, Payload, PeerMessage, Reply, RequestId,
    SessionStamp,
};

/// Takes a client's write that came without a session.
pub(crate) fn take_write<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>, id: RequestId, request: Request<P>) {
    if cx.group.session.is_superseded() {
        return request.refuse(ErrorKind::NoLeader, cx.out);
    }
    if !cx.group.backlog.has_unstamped() && can_stamp(cx, request.weight()) {
        return stamp(cx, id, request);
    }
    cx.group.backlog.push_unstamped(id, request);
}

/// Whether a write of this weight would be sent at once if it were stamped now.
fn can_stamp<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>, weight: usize) -> bool {
    let group = &mut *cx.group;
    group.session.can_stamp() && group.stream.holds_nothing() && group.stream.has_room(weight) && can_send(cx)
}

/// Whether there is a way to the leader.
fn can_send<P: Payload>(cx: &Cx<'_, P, impl Out<P>>) -> bool {
    let group = &*cx.group;
    if group.led.is_some() {
        return true;
    }
    let (leader, ballot) = (group.paxos.leader_hint(), group.paxos.leader_ballot());
    leader.is_some()
        && ballot.is_some_and(|ballot| group.stream.may_send(ballot, cx.now.mono))
        && cx.common.forwards.has_room()
}

/// Stamps a write and sends it.
fn stamp<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>, id: RequestId, request: Request<P>) {
    assert!(request.origin == Origin::Client(id), "what came with a stamp is not stamped again");
    let weight = request.weight();
    let Request { mut command, arrived, .. } = request;
    command.stamp = cx.group.session.stamp(cx.now.mono).expect("there is room in the window");
    let sequence = command.stamp.sequence;
    cx.group.stream.push(id, command, weight, arrived);
    send(cx, sequence);
}

/// Sends the lowest held write to the leader. The caller has made sure that there is a way.
fn send<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>, sequence: u64) {
    let group = &mut *cx.group;
    if group.led.is_some() {
        let (command, arrived) = group.stream.queue(sequence);
        let origin = Origin::Stamped { index: group.index as u16, sequence }; // COALESCED_MAX groups at most
        let request = Request::new(origin, Consistency::default(), command, arrived);
        group.backlog.push_pending(request).unwrap_or_else(|_| panic!("there was room"));
        return;
    }
    let to = group.paxos.leader_hint().expect("a leader is known");
    let id = cx.common.forwards.send(to, group.index, Carried::Write(sequence));
    let command = group.stream.forward(sequence, to, id, cx.now.mono);
    command.stamp = group.session.renew(command.stamp);
    cx.common.stats.forwards += 1;
    let (group, consistency, command) = (group.id, Consistency::default(), command.clone());
    #[cfg(feature = "canary")]
    let command =
        if cx.common.has_planted(crate::Canary::ResentAnew) && cx.group.stream.was_sent_before(sequence) {
            Command { stamp: SessionStamp::default(), ..command } // the leader executes it under its own session
        } else {
            command
        };
    cx.out.push(Effect::Send { to, message: PeerMessage::Forward { id: id.0, group, consistency, command } });
}

/// Sends what is held, and then stamps and sends what has waited for that, or for the session, or for room in
/// its window.
pub(crate) fn pump<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>) {
    while let Some(sequence) = cx.group.stream.next_held() {
        if !cx.group.session.is_reachable(sequence) || !can_send(cx) {
            return;
        }
        send(cx, sequence);
    }
    while let Some(weight) = cx.group.backlog.first_unstamped() {
        if !can_stamp(cx, weight) {
            return;
        }
        let Some((id, request)) = cx.group.backlog.next_unstamped() else { return };
        stamp(cx, id, request);
    }
}

/// All writes that were sent are to be sent again: the leader they went to leads no more, or its answers are
/// late.
pub(crate) fn pull_back<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>) {
    assert!(cx.group.led.is_none() || cx.group.proposals.is_empty(), "what is proposed is sent again");
    cx.group.stream.pull_back_all();
    #[cfg(feature = "canary")]
    if cx.common.has_planted(crate::Canary::GivesUpWithLeader) {
        while let Some((sequence, _)) = cx.group.stream.oldest() {
            give_up(cx, sequence, ErrorKind::NoLeader);
        }
    }
}

/// The link to a node is lost.
pub(crate) fn on_link_lost<P: Payload>(step: &mut Step<'_, P, impl Out<P>>, node: NodeId) {
    for group in &mut *step.groups {
        group.stream.lost(node);
    }
}

/// A forward of a write was not sent.
pub(crate) fn on_unsent<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>, sequence: u64, forward: ForwardId) {
    let ballot = cx.group.paxos.leader_ballot();
    cx.group.stream.refused((sequence, forward), false, ballot, cx.now.mono);
}

/// A forward of a write is answered. The result of a write counts whichever sending brought it: the write is
/// executed once. A refusal counts for the last sending only.
pub(crate) fn on_forward_reply<P: Payload>(
    cx: &mut Cx<'_, P, impl Out<P>>,
    (sequence, forward): (u64, ForwardId),
    reply: Reply<&[u8]>,
) {
    let ballot = cx.group.paxos.leader_ballot();
    let group = &mut *cx.group;
    match reply {
        Reply::Error(kind @ (ErrorKind::NoLeader | ErrorKind::Busy)) => {
            // A leader that is none has refused all; so has one that misses a write before this one.
            let is_all = kind == ErrorKind::NoLeader;
            group.stream.refused((sequence, forward), is_all, ballot, cx.now.mono);
        }
        Reply::Error(ErrorKind::NoSpace) => {
            group.stream.refused((sequence, forward), false, ballot, cx.now.mono);
            if group.stream.waits(sequence) && !group.stream.may_have_run(sequence) {
                give_up(cx, sequence, ErrorKind::NoSpace);
            }
        }
        // It waits for what this replica applies itself, or for its time to end.
        Reply::Error(ErrorKind::Unknown | ErrorKind::ReplyDropped) => {}
        Reply::Error(
            kind @ (ErrorKind::SessionExpired | ErrorKind::SequenceClosed | ErrorKind::Malformed),
        ) => {
            if kind == ErrorKind::SessionExpired {
                cx.common.sessions_lost += u64::from(group.session.gone(None));
            }
            if group.stream.waits(sequence) {
                give_up(cx, sequence, ErrorKind::Unknown);
            }
        }
        reply => {
            group.progress_at = cx.now.mono;
            answer(group, sequence, reply, cx.out);
        }
    }
}

/// A write of this core's session was applied here with this result. Only the one execution has a result; what
/// is refused was a late copy. True if the session turns out to be gone.
pub(crate) fn on_applied<P: Payload>(
    group: &mut Group<P>,
    stamp: &SessionStamp,
    reply: Reply<&[u8]>,
    out: &mut impl Out<P>,
) -> bool {
    match reply {
        Reply::Error(ErrorKind::SessionExpired) => return group.session.gone(Some(stamp.session)),
        Reply::Error(kind) if kind.is_not_executed() || kind == ErrorKind::ReplyDropped => {}
        reply => answer(group, stamp.sequence, reply, out),
    }
    false
}

/// Answers a write that was executed, if it has no answer yet.
fn answer<P: Payload>(group: &mut Group<P>, sequence: u64, reply: Reply<&[u8]>, out: &mut impl Out<P>) {
    if let Some(settled) = group.stream.settle(sequence) {
        out.push(Effect::Reply { to: settled.id, reply });
        group.session.answered(sequence);
    }
}

/// Answers a write with an error: with this one, if it was certainly not executed and will not be.
fn give_up<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>, sequence: u64, kind: ErrorKind) {
    let settled = cx.group.stream.settle(sequence).expect("a write is answered once");
    let kind = if settled.may_have_run { ErrorKind::Unknown } else { kind };
    cx.out.push(Effect::Reply { to: settled.id, reply: Reply::Error(kind) });
    cx.group.session.given_up(sequence);
}

/// The bug of [`crate::Canary::RefusedUnderWay`]: what may be executed yet is refused.
#[cfg(feature = "canary")]
pub(crate) fn refuse_under_way<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>) {
    while let Some((sequence, _)) = cx.group.stream.oldest()
        && let Some(settled) = cx.group.stream.settle(sequence)
    {
        cx.out.push(Effect::Reply { to: settled.id, reply: Reply::Error(ErrorKind::NoSpace) });
        cx.group.session.given_up(sequence);
    }
}

/// The bug of [`crate::Canary::ResolvedByAnother`]: a write of another node was applied.
#[cfg(feature = "canary")]
pub(crate) fn resolve_by_another<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>, reply: Reply<&[u8]>) {
    let oldest = cx.group.stream.oldest().map(|(sequence, _)| sequence);
    if let Some(sequence) = oldest.filter(|&sequence| cx.group.stream.was_sent_before(sequence)) {
        answer(cx.group, sequence, reply, cx.out);
    }
}

/// Ends the waiting of the writes whose time is over, oldest first.
fn give_up_late<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>) {
    let (timing, now) = (cx.common.config.timing, cx.now.mono);
    while let Some((sequence, arrived)) = cx.group.stream.oldest()
        && cx.group.is_over(&timing, arrived, now)
    {
        let kind = lacking(cx, ErrorKind::NoLeader);
        give_up(cx, sequence, kind);
    }
    let is_sendable = cx.group.session.id().is_some() && cx.group.has_leader();
    let kind = lacking(cx, if is_sendable { ErrorKind::Busy } else { ErrorKind::NoLeader });
    while let Some(arrived) = cx.group.backlog.oldest_unstamped()
        && cx.group.is_over(&timing, arrived, now)
        && let Some((_, request)) = cx.group.backlog.next_unstamped()
    {
        request.refuse(kind, cx.out);
    }
}

/// What a write lacked that waited here until its time was over: room in the logs, else what `otherwise` says.
fn lacking<P: Payload>(cx: &Cx<'_, P, impl Out<P>>, otherwise: ErrorKind) -> ErrorKind {
    let has_room = cx.group.paxos.writable(cx.now.mono) == Writable::Yes && !cx.common.journal.is_full();
    if has_room { otherwise } else { ErrorKind::NoSpace }
}

/// Opens the session of a group, or closes a part of it, when that is due.
pub(crate) fn mind_session<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>, is_tick: bool) {
    if cx.group.id == GroupId::SYSTEM {
        return;
    }
    if is_tick {
        give_up_late(cx);
        if cx.group.led.is_none() && cx.group.stream.is_late(cx.now.mono) {
            pull_back(cx);
        }
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
    pump(cx);
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
    route(cx, Request::new(origin, Consistency::default(), command, cx.now.mono));
}

/// Handles an answer that concerns a session of this core.
pub(crate) fn on_answer<P: Payload>(step: &mut Step<'_, P, impl Out<P>>, answer: Answer) {
    let (Answer::Refused { index, .. } | Answer::Own { index, .. }) = answer;
    debug_assert!(usize::from(index) < step.groups.len(), "an answer for a group of another core");
    let mut cx = step.at(usize::from(index));
    let now = cx.now.mono;
    let session = &mut cx.group.session;
    match answer {
        Answer::Refused { sequence, kind, .. } => {
            if cx.group.stream.waits(sequence) {
                give_up(&mut cx, sequence, kind);
            }
        }
        Answer::Own { ask: OwnAsk::Close(sequence), reply, .. } => {
            cx.common.sessions_lost += u64::from(session.closed(sequence, reply, now));
        }
        Answer::Own { ask: OwnAsk::Open, reply, .. } => {
            if let Some(kind) = session.opened(reply, now) {
                refuse_unstamped(&mut cx, kind);
            }
        }
    }
    pump(&mut cx);
}

/// Refuses all writes that wait for a stamp.
fn refuse_unstamped<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>, kind: ErrorKind) {
    while let Some((_, request)) = cx.group.backlog.next_unstamped() {
        request.refuse(kind, cx.out);
    }
}
