//! Dispatches each input of a core to the groups that it concerns.

use crate::api::{ForwardId, Input, ReadIndexId, Unsent};
use crate::flow::drive::{drive, located};
use crate::flow::reply_room::ReplyRoom;
use crate::flow::{arrivals, cold, leave, read_index, repair, reply_room, route, session, turn};
use crate::outlet::Out;
use crate::parts::forwards::Carried;
use crate::request::{Origin, Request, push_error};
use crate::stats::RequestKind;
use crate::step::Step;
use synod_paxos as paxos;
use synod_paxos::Receipt;
use synod_store::{CacheAdmission, FoundValue};
use synod_types::{
    Command, Consistency, ErrorKind, Event, GroupId, GroupMessage, Location, Lsn, Nanos, NodeId, Op, Payload,
    PeerMessage, Reply, RequestId, SessionId,
};

/// Handles one input.
pub(crate) fn take<P: Payload>(step: &mut Step<'_, P, impl Out<P>>, input: Input<P>) {
    match input {
        Input::Request { id, group, consistency, command } => {
            on_request(step, id, group, consistency, command);
        }
        Input::Peer { from, message } => on_peer(step, from, message),
        Input::Appended { lsn, payload_at } => on_appended(step, lsn, payload_at),
        Input::Durable { lsn } => on_durable(step, lsn),
        Input::ReadDone { token, result } => cold::on_read_done(step, token, result),
        Input::Dropped { from, group } => {
            if let Some(mut cx) = step.at_group(group) {
                drive(&mut cx, paxos::Input::Dropped { from });
            }
        }
        Input::LinkLost { node } => on_link_lost(step, node),
        Input::Unsent(message) => on_unsent(step, message),
        Input::Room { room } => step.common.journal.on_room(room, step.now.mono),
        Input::TransferLeadership { group, target } => {
            if let Some(mut cx) = step.at_group(group) {
                drive(&mut cx, paxos::Input::TransferLeadership { target });
            }
        }
        Input::Leave => leave::begin(step),
        Input::Tick => turn::on_tick(step),
        Input::TurnEnd => turn::on_turn_end(step),
    }
}

fn on_request<P: Payload>(
    step: &mut Step<'_, P, impl Out<P>>,
    id: RequestId,
    group: GroupId,
    consistency: Consistency,
    command: Command<P>,
) {
    let origin = Origin::Client(id);
    // A malformed command must not reach a peer or the log: they would refuse more than this one command.
    let is_sound = group != GroupId::SYSTEM && command.check().is_ok() && command.op.is_of_clients();
    if !is_sound {
        return push_error(origin, ErrorKind::Malformed, step.out);
    }
    let Some(mut cx) = step.at_group(group) else {
        return push_error(origin, ErrorKind::Malformed, step.out);
    };
    cx.group.stats.requests[RequestKind::of(command.op) as usize] += 1;
    cx.group.sources.note_own();
    // No client has a session of a node (P-21e).
    if command.stamp.session.is_of_node() {
        return push_error(origin, ErrorKind::SessionExpired, cx.out);
    }
    let request = Request::new(origin, consistency, command, cx.now.mono);
    if request.command.op.is_write() && request.command.stamp.session == SessionId::NONE {
        return session::take_write(&mut cx, id, request);
    }
    route::route(&mut cx, request);
}

fn on_peer<P: Payload>(step: &mut Step<'_, P, impl Out<P>>, from: NodeId, message: PeerMessage<P>) {
    match message {
        PeerMessage::Group { group, message } => {
            let Some(mut cx) = step.at_group(group) else { return };
            if let GroupMessage::Learn { entries, .. } = &message {
                repair::repair_with(&mut cx, entries);
            }
            drive(&mut cx, paxos::Input::Message { from, message });
        }
        PeerMessage::Heartbeats(heartbeats) => {
            for heartbeat in heartbeats {
                if let Some(mut cx) = step.at_group(heartbeat.group) {
                    drive(&mut cx, paxos::Input::Heartbeat { from, heartbeat });
                }
            }
        }
        PeerMessage::HeartbeatReplies(replies) => {
            for reply in replies {
                if let Some(mut cx) = step.at_group(reply.group) {
                    drive(&mut cx, paxos::Input::HeartbeatReply { from, reply });
                }
            }
        }
        PeerMessage::Forward { id, group, consistency, command } => {
            on_forward(step, (from, id), group, consistency, command);
        }
        PeerMessage::ForwardReply { id, reply } => on_forward_reply(step, from, ForwardId(id), reply),
        PeerMessage::ReadIndex { id, groups } => read_index::on_read_index(step, from, id, &groups),
        PeerMessage::ReadIndexReply { id, points } => {
            read_index::on_read_index_reply(step, from, ReadIndexId(id), points);
        }
        // The shell keeps track of peers' logs (P-20).
        PeerMessage::Position(_) => {}
    }
}

fn on_forward<P: Payload>(
    step: &mut Step<'_, P, impl Out<P>>,
    (from, id): (NodeId, u64),
    group: GroupId,
    consistency: Consistency,
    command: Command<P>,
) {
    let origin = Origin::Peer(from, id);
    let is_new = step.common.forwards.take(from, id);
    #[cfg(feature = "canary")]
    let is_new = is_new || step.common.has_planted(crate::Canary::ForwardTwice);
    if !is_new {
        return; // the first copy is answered
    }
    if group == GroupId::SYSTEM || !command.op.may_come_from(from) {
        return push_error(origin, ErrorKind::Malformed, step.out);
    }
    let Some(mut cx) = step.at_group(group) else {
        return push_error(origin, ErrorKind::Malformed, step.out);
    };
    if !command.op.is_of_nodes() {
        cx.group.sources.note_peer(from);
    }
    let request = Request::new(origin, consistency, command, cx.now.mono);
    if let Some(request) = arrivals::take(&mut cx, request) {
        route::route(&mut cx, request);
    }
}

fn on_forward_reply<P: Payload>(
    step: &mut Step<'_, P, impl Out<P>>,
    from: NodeId,
    id: ForwardId,
    reply: Reply<P>,
) {
    let Some((index, carried)) = step.common.forwards.answered(from, id) else { return };
    let mut cx = step.at(index);
    let request = match carried {
        Carried::Request(request) => request,
        Carried::Write(sequence) => {
            session::on_forward_reply(&mut cx, (sequence, id), reply.borrow());
            return session::pump(&mut cx);
        }
    };
    debug_assert!(!matches!(request.origin, Origin::Peer(..)), "a request is forwarded once");
    let is_read = !request.command.op.is_write();
    match reply {
        Reply::Error(ErrorKind::NoLeader | ErrorKind::Busy) => return route::wait_anew(&mut cx, request),
        // The link had no room for the value.
        Reply::Error(ErrorKind::ReplyDropped) if is_read => return route::wait_anew(&mut cx, request),
        _ => {}
    }
    if let (Op::Get, Reply::Value { value, version }) = (&request.command.op, &reply) {
        let Command { namespace, key, .. } = &request.command;
        let value = FoundValue::new(*version, value.as_ref());
        cx.common.store.admit(cx.group.id, *namespace, key.as_ref(), value, CacheAdmission::SpareOnly);
    }
    if let (Op::Get, Reply::Value { value, .. }) = (&request.command.op, &reply) {
        // The value may have grown since it was asked for.
        let bytes = value.as_ref().len();
        if let Some(to) = ReplyRoom::of(&*cx.common, request.origin).lacks(cx.out, bytes) {
            let Request { consistency, command, .. } = request;
            return reply_room::send_back(&mut cx, (to, bytes), consistency, command);
        }
    }
    request.reply(reply.borrow(), cx.out);
}

fn on_appended<P: Payload>(step: &mut Step<'_, P, impl Out<P>>, lsn: Lsn, at: Location) {
    let written = *step.common.journal.written(lsn);
    if let Receipt::Accept { slot, ballot } | Receipt::Learned { slot, ballot } = written.receipt {
        located(&mut step.at(written.index), paxos::Input::Located { slot, ballot, at });
    }
}

fn on_durable<P: Payload>(step: &mut Step<'_, P, impl Out<P>>, lsn: Lsn) {
    let (mut bytes, before) = (0, step.common.journal.durable());
    let mut slowest = Nanos::ZERO;
    debug_assert!(lsn >= before, "what is durable is durable no longer");
    while let Some((written, took)) = step.common.journal.next_durable(lsn, step.now.mono) {
        bytes += written.bytes;
        slowest = slowest.max(took);
        step.common.stats.log_us.record_span(took);
        drive(&mut step.at(written.index), paxos::Input::Durable { receipt: written.receipt });
    }
    debug_assert!(step.common.journal.durable() == lsn, "a durable record was passed over");
    let records = lsn.get() - before.get();
    step.common.stats.flush_bytes.record(bytes as u64);
    step.common.stats.flush_records.record(records);
    // Half a lease: with a second one like it, a heartbeat's answer would be too late.
    if slowest.0 >= step.common.config.timing.lease.0 / 2 {
        step.out.tell(Event::SlowFlush { took: slowest, records });
    }
}

fn on_link_lost<P: Payload>(step: &mut Step<'_, P, impl Out<P>>, node: NodeId) {
    step.common.balancing.lost(node, step.now.mono);
    for index in 0..step.groups.len() {
        drive(&mut step.at(index), paxos::Input::LinkLost { node });
    }
    session::on_link_lost(step, node);
    for (index, request) in step.common.forwards.lost(node) {
        route::ask_anew(&mut step.at(index), request);
    }
    let reads = step.common.follower_reads.lost(node);
    read_index::wait_anew(step, reads);
}

/// A request that never left is certainly not executed: it waits for a leader that can be reached.
fn on_unsent<P: Payload>(step: &mut Step<'_, P, impl Out<P>>, message: Unsent) {
    match message {
        Unsent::Forward(id) => {
            let Some((index, carried)) = step.common.forwards.unsent(id) else { return };
            let mut cx = step.at(index);
            match carried {
                Carried::Request(request) => route::wait_anew(&mut cx, request),
                Carried::Write(sequence) => session::on_unsent(&mut cx, sequence, id),
            }
        }
        Unsent::ReadIndex(id) => {
            let reads = step.common.follower_reads.unsent(id);
            read_index::wait_anew(step, reads);
        }
    }
}
