//! Chooses the replica that executes a request: this one if it leads, or if a point from the leader is
//! enough; else the leader, if one is known. Without a known leader the request waits.

use crate::api::Effect;
use crate::flow::reply_room::ReplyRoom;
use crate::flow::{busy, read, reply_room};
use crate::outlet::Out;
use crate::parts::follower_reads::FollowerRead;
use crate::parts::forwards::Carried;
use crate::request::{Origin, Request};
use crate::step::Cx;
use synod_types::{Command, Consistency, ErrorKind, Op, Payload, PeerMessage};

/// Routes a request.
pub(crate) fn route<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>, request: Request<P>) {
    if matches!(request.origin, Origin::Client(_))
        && cx.group.led.is_none()
        && let Some(leader) = cx.group.paxos.leader_hint()
        && is_answered_here(cx, &request)
    {
        let read = FollowerRead { index: cx.group.index, group: cx.group.id, request };
        if let Err(read) = cx.common.follower_reads.gather(leader, read) {
            wait_for_leader(cx, read.request);
        }
        return;
    }
    route_to_leader(cx, request);
}

/// Whether this follower should answer the request from its own store. A value that is not in memory here
/// mostly is in memory at the leader, and a link is faster than a disk.
fn is_answered_here<P: Payload>(cx: &Cx<'_, P, impl Out<P>>, request: &Request<P>) -> bool {
    debug_assert!(cx.group.led.is_none(), "a leader asks no other node for a read index");
    let Request { command, consistency, .. } = request;
    // Only the leader can confirm `Quorum`. It also executes what depends on its clock or walks over many
    // keys.
    *consistency == Consistency::Linearizable
        && match command.op {
            Op::Get => cx.common.store.is_at_hand(cx.group.id, command.namespace, command.key.as_ref()),
            Op::Exists => true,
            _ => false,
        }
}

/// Routes a request that only the leader can answer.
pub(crate) fn route_to_leader<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>, request: Request<P>) {
    debug_assert!(cx.group.led == cx.group.paxos.leading(), "a change of leadership went unnoticed");
    if cx.group.led.is_some() {
        if !request.command.op.is_write() {
            return read::read_or_confirm(cx, request);
        }
        if let Err(request) = cx.group.backlog.push_pending(request) {
            busy::refuse(cx, &request);
        }
        return;
    }
    if let Origin::Peer(..) = request.origin {
        // One hop only: the forwarding node looks for the leader again.
        return request.refuse(ErrorKind::NoLeader, cx.out);
    }
    match cx.group.paxos.leader_hint() {
        Some(to) if cx.common.forwards.has_room() => {
            let bytes = value_bytes_here(cx, &request.command);
            if let Some(requester) = ReplyRoom::of(&*cx.common, request.origin).lacks(cx.out, bytes) {
                let Request { consistency, command, .. } = request;
                return reply_room::send_back(cx, (requester, bytes), consistency, command);
            }
            cx.common.stats.forwards += 1;
            let (group, consistency, command) = (cx.group.id, request.consistency, request.command.clone());
            let id = cx.common.forwards.send(to, cx.group.index, Carried::Request(request)).0;
            cx.out
                .push(Effect::Send { to, message: PeerMessage::Forward { id, group, consistency, command } });
        }
        _ => wait_for_leader(cx, request),
    }
}

/// The length of the value that a read will bring, as this replica knows it; 0 for any other command.
fn value_bytes_here<P: Payload>(cx: &Cx<'_, P, impl Out<P>>, command: &Command<P>) -> usize {
    match command.op {
        Op::Get => cx.common.store.value_bytes(cx.group.id, command.namespace, command.key.as_ref()),
        _ => 0,
    }
}

/// A client's request waits for the next tick, or for another leader.
fn wait_for_leader<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>, request: Request<P>) {
    cx.group.backlog.push_waiting(request);
}

/// A request waits for the next leader (at most until its time ends).
pub(crate) fn wait_anew<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>, request: Request<P>) {
    if cx.group.is_over(&cx.common.config.timing, request.arrived, cx.now.mono) {
        request.refuse(ErrorKind::NoLeader, cx.out);
    } else {
        wait_for_leader(cx, request);
    }
}

/// A request whose answer will not come waits for the next leader. A write may have been executed.
pub(crate) fn ask_anew<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>, mut request: Request<P>) {
    request.may_have_run |= request.command.op.is_write();
    wait_anew(cx, request);
}

/// Retries requests that wait for a leader: routes them if there is one, refuses those whose patience has
/// ended.
pub(crate) fn retry_waiting<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>) {
    let count = cx.group.backlog.waiting_count();
    if count == 0 {
        return;
    }
    let (found, timing) = (cx.group.has_leader(), cx.common.config.timing);
    for _ in 0..count {
        let Some(next) = cx.group.backlog.next_waiting() else { return };
        if cx.group.is_over(&timing, next.arrived, cx.now.mono) {
            next.refuse(ErrorKind::NoLeader, cx.out);
        } else if found {
            route(cx, next);
        } else {
            cx.group.backlog.push_waiting(next);
        }
    }
    debug_assert!(cx.group.backlog.waiting_count() <= count, "more requests wait than did before");
}
