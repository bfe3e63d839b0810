//! Reads of applied state: at once where that is fresh enough, otherwise once the leader is confirmed or the
//! state that they must see is applied.

use crate::api::Effect;
use crate::flow::reply_room::ReplyRoom;
use crate::flow::{busy, reply_room};
use crate::outlet::Out;
use crate::parts::cold_reads::{ColdGet, ReadUse};
use crate::parts::follower_reads::FollowerRead;
use crate::parts::waiting_reads::AwaitingQuorum;
use crate::request::{Request, push_error, push_reply};
use crate::step::Cx;
use alloc::vec::Vec;
use synod_store::{Lookup, RandomKey};
use synod_types::{ErrorKind, Op, Payload, Reply, Version, WallMs};

/// Pages of keys that one turn reads for waiting requests; each takes up to a millisecond.
const WALKS_PER_TURN: usize = 2;

/// Reads at the leader: at once under its lease, else once it is confirmed.
pub(crate) fn read_or_confirm<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>, request: Request<P>) {
    let trusts_lease = cx.common.trusts_lease(request.consistency);
    let group = &mut *cx.group;
    debug_assert!(group.led.is_some(), "a follower confirms no reads");
    let now = cx.now.mono;
    #[cfg(feature = "canary")]
    let now = if cx.common.has_planted(crate::Canary::LeaseThoughSlept) {
        synod_types::Mono(now.0.saturating_sub(cx.common.slept.0))
    } else {
        now
    };
    let by_lease = trusts_lease && group.paxos.lease_valid(now);
    let point = group.paxos.chosen();
    let has_applied = group.paxos.applied_slot() >= point;
    if by_lease && has_applied && group.paxos.serving() && group.reads.none_awaits_quorum() {
        return read(cx, request);
    }
    if !group.reads.has_room_for_quorum() {
        if request.is_of_peer() {
            return busy::refuse(cx, &request);
        }
        return cx.group.backlog.push_waiting(request); // the next tick tries again
    }
    let Some(ticket) = group.paxos.read_ticket() else {
        return request.refuse(ErrorKind::NoLeader, cx.out);
    };
    group.reads.await_quorum(AwaitingQuorum { ticket, point, request });
    serve_confirmed(cx);
}

/// Serves the reads whose leader is confirmed, in order.
pub(crate) fn serve_confirmed<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>) {
    while let Some(first) = cx.group.reads.first_awaiting_quorum() {
        let (paxos, now) = (&cx.group.paxos, cx.now.mono);
        debug_assert!(first.point <= paxos.chosen(), "a read waits for what is not chosen");
        let by_lease = cx.common.trusts_lease(first.request.consistency) && paxos.lease_valid(now);
        let is_fresh = paxos.serving() && paxos.applied_slot() >= first.point;
        // Many scans may have waited for the same lease: one turn must not run them all. The next tick
        // continues.
        let is_walk = matches!(first.request.command.op, Op::Scan { .. } | Op::RandomKey { .. });
        if is_walk && cx.common.walks >= WALKS_PER_TURN {
            return;
        }
        if !is_fresh || !(by_lease || paxos.ticket_valid(first.ticket, now)) {
            return;
        }
        let Some(AwaitingQuorum { request, .. }) = cx.group.reads.next_awaiting_quorum() else { return };
        cx.common.walks += usize::from(is_walk);
        read(cx, request);
    }
}

/// Answers a read at a follower that has applied the read's point.
pub(crate) fn read_here<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>, own: FollowerRead<P>) {
    assert!(own.index == cx.group.index, "a read of another group");
    cx.common.stats.follower_reads += 1;
    read(cx, own.request);
}

/// Answers the reads whose point is applied now.
pub(crate) fn serve_applied<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>) {
    let applied = cx.group.paxos.applied_slot();
    while let Some(first) = cx.group.reads.next_applied(applied) {
        read_here(cx, first);
    }
}

/// Reads applied state. The caller has made sure that it is fresh enough.
pub(crate) fn read<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>, request: Request<P>) {
    let (origin, command) = (request.origin, &request.command);
    debug_assert!(!command.op.is_write(), "a write is proposed");
    let (group, namespace, key) = (cx.group.id, command.namespace, command.key.as_ref());
    let store = &mut cx.common.store;
    match command.op {
        Op::Exists => {
            let exists = store.exists(group, namespace, key);
            push_reply(origin, Reply::Int(i64::from(exists)), cx.out);
        }
        Op::Ttl => {
            let clock = cx.group.paxos.leader_clock(cx.now.mono).unwrap_or(WallMs::ZERO);
            push_reply(origin, Reply::Int(store.ttl_ms(group, namespace, key, clock)), cx.out);
        }
        Op::ExpireTime => {
            push_reply(origin, Reply::Int(store.expire_time(group, namespace, key)), cx.out);
        }
        Op::CountKeys => {
            let count = i64::try_from(store.keys(group)).unwrap_or(i64::MAX);
            push_reply(origin, Reply::Int(count), cx.out);
        }
        Op::Scan { position, count } => {
            let mut page = Vec::new();
            store.scan(group, namespace, position, count, &mut page);
            push_reply(origin, Reply::Value { value: &page, version: Version::default() }, cx.out);
        }
        Op::RandomKey { draw } => {
            let reply = match store.random_key(group, namespace, draw) {
                RandomKey::Key(value) => Reply::Value { value, version: Version::default() },
                RandomKey::Nothing => Reply::Nil,
                RandomKey::GoOn(next) => Reply::Int(i64::try_from(next).unwrap_or(0)), // below 2^32
            };
            push_reply(origin, reply, cx.out);
        }
        Op::Get => get(cx, request),
        _ => push_error(origin, ErrorKind::Malformed, cx.out),
    }
}

/// Reads a value, if its requester has room for it.
fn get<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>, request: Request<P>) {
    let (origin, command) = (request.origin, &request.command);
    let (group, namespace, key) = (cx.group.id, command.namespace, command.key.as_ref());
    let room = ReplyRoom::of(&*cx.common, origin);
    let lacking = match cx.common.store.lookup(group, namespace, key) {
        Lookup::Missing => {
            cx.group.stats.key_misses += 1;
            return push_reply(origin, Reply::Nil, cx.out);
        }
        Lookup::Hit { value, version, .. } => match room.lacks(cx.out, value.len()) {
            Some(to) => (to, value.len()),
            None => {
                cx.group.stats.key_hits += 1;
                return push_reply(origin, Reply::Value { value, version }, cx.out);
            }
        },
        Lookup::Cold { location, value_crc, version, .. } => {
            let bytes = location.len as usize;
            match room.lacks(cx.out, bytes) {
                Some(to) => (to, bytes),
                None => {
                    cx.group.stats.key_hits += 1;
                    let index = cx.group.index;
                    let what = ReadUse::Get(ColdGet { index, request, version, crc: value_crc });
                    let token = cx.common.cold_reads.start(what, cx.now.mono);
                    return cx.out.push(Effect::Read { token, location });
                }
            }
        }
    };
    reply_room::send_back(cx, lacking, request.consistency, request.command);
}
