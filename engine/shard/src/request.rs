//! Requests: who executes them, what they wait for, and that each is answered exactly once.
//!
//! A request that was *not* proposed is certainly not executed: it may wait, be forwarded, and be forwarded again. Once it
//! was proposed, or handed to a leader that fell silent, only `Unknown` is the truth (P-12).

use crate::api::{Effect, ReadFailed, ReadToken};
use crate::ask::Read;
use crate::group::Confirming;
use crate::load::Asked;
use crate::outlet::{Answer, Out, OwnAsk};
use crate::repair::is_whole;
use crate::stats::RequestKind;
use crate::{GroupId, Shard};
use alloc::vec::Vec;
use synod_store::{FoundValue, Lookup, RandomKey, Room};
use synod_types::{
    Ballot, Command, Consistency, Entry, ErrorKind, Mono, NodeId, Now, Op, Payload, PeerMessage, Reply,
    RequestId, SessionId, Slot, Version, WallMs,
};

/// Where a request came from, and so where its answer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A client of this core: it reads, or has a session of its own.
    Client(RequestId),
    /// A client of this core, under the session that the core has in the group at this place.
    Stamped { id: RequestId, index: u16, sequence: u64 },
    /// This core, for its session in the group at this place.
    Own { index: u16, ask: OwnAsk },
    /// A forwarding peer and its number for the request.
    Peer(NodeId, u64),
}

/// A request that is not answered yet.
#[derive(Debug)]
pub(crate) struct Request<P> {
    pub origin: Origin,
    pub consistency: Consistency,
    pub command: Command<P>,
    pub arrived: Mono,
}

impl<P: Payload> Request<P> {
    /// Answers it.
    fn reply(&self, reply: Reply<&[u8]>, out: &mut impl Out<P>) {
        push_reply(self.origin, reply, out);
    }
    pub(crate) fn refuse(&self, kind: ErrorKind, out: &mut impl Out<P>) {
        push_error(self.origin, kind, out);
    }
}

/// A client's request handed to the leader.
#[derive(Debug)]
pub(crate) struct Forwarded<P> {
    group: GroupId,
    to: NodeId,
    request: Request<P>,
}

/// The numbers of a peer's last forwards, so that one which arrives twice is executed once. A link does not double what it
/// carries, and if one does, then soon after: the numbers of one peer rise one by one, so each has its place.
#[derive(Debug)]
pub(crate) struct Taken([u64; TAKEN_COUNT]);

impl Taken {
    /// Takes note of a number; false if it is known.
    fn note(&mut self, number: u64) -> bool {
        let place = &mut self.0[(number % TAKEN_COUNT as u64) as usize];
        core::mem::replace(place, number) != number
    }
}

/// What a read of the log is for.
#[derive(Debug)]
pub(crate) enum ReadUse<P> {
    /// A client's GET.
    Get { index: usize, origin: Origin, command: Command<P>, version: Version, crc: u32 },
    /// Apply is parked.
    Apply { index: usize },
    /// A peer pulls.
    Learn { index: usize, batch: u64, slot: Slot },
    /// A group needs a value that it has left to the log.
    Recall { index: usize, slot: Slot, ballot: Ballot },
}

/// Bytes a command counts for while it waits.
pub(crate) fn cost<P: AsRef<[u8]>>(command: &Command<P>) -> usize {
    // What the queue entry itself takes; keeps tiny commands from being free.
    command.byte_len() + 128
}

pub(crate) fn push_reply<P: Payload>(origin: Origin, reply: Reply<&[u8]>, out: &mut impl Out<P>) {
    match origin {
        Origin::Client(to) => out.push(Effect::Reply { to, reply }),
        Origin::Stamped { id, index, sequence } => {
            // What was refused by its stamp may have been executed when it came before.
            let is_unclear = matches!(
                reply,
                Reply::Error(ErrorKind::SessionExpired | ErrorKind::SequenceClosed | ErrorKind::ReplyDropped)
            );
            if matches!(reply, Reply::Error(ErrorKind::SessionExpired)) {
                out.note(Answer::Gone { index });
            }
            let reply = if is_unclear { Reply::Error(ErrorKind::Unknown) } else { reply };
            out.push(Effect::Reply { to: id, reply });
            out.note(Answer::Write { index, sequence });
        }
        Origin::Own { index, ask } => out.note(Answer::Own { index, ask, reply: reply.map(|_| ()) }),
        Origin::Peer(to, id) => {
            let reply = reply.map(|value| P::from(value.to_vec()));
            out.push(Effect::Send { to, message: PeerMessage::ForwardReply { id, reply } });
        }
    }
}

pub(crate) fn push_error<P: Payload>(origin: Origin, kind: ErrorKind, out: &mut impl Out<P>) {
    push_reply(origin, Reply::Error(kind), out);
}

pub(crate) fn push_value<P: Payload>(origin: Origin, value: &[u8], version: Version, out: &mut impl Out<P>) {
    push_reply(origin, Reply::Value { value, version }, out);
}

impl<P: Payload> Shard<P> {
    pub(crate) fn on_request(
        &mut self,
        id: RequestId,
        group: GroupId,
        consistency: Consistency,
        command: Command<P>,
        now: Now,
        out: &mut impl Out<P>,
    ) {
        let Some(index) = self.index_of(group).filter(|_| group != GroupId::SYSTEM) else {
            push_error(Origin::Client(id), ErrorKind::Malformed, out);
            return;
        };
        // Whatever a border let through must not reach a peer or the log: they refuse it, and not only it.
        if command.check().is_err() || !command.op.is_of_clients() {
            push_error(Origin::Client(id), ErrorKind::Malformed, out);
            return;
        }
        let of = &mut self.groups[index];
        of.stats.requests[RequestKind::of(command.op) as usize] += 1;
        of.asked.note_own();
        // No client has one of those.
        if command.stamp.session.is_of_node() {
            push_error(Origin::Client(id), ErrorKind::SessionExpired, out);
            return;
        }
        let request = Request { origin: Origin::Client(id), consistency, command, arrived: now.mono };
        if request.command.op.is_write() && request.command.stamp.session == SessionId::NONE {
            return self.take_write(index, id, request, now, out);
        }
        self.route(index, request, now, out);
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one message")]
    pub(crate) fn on_forward(
        &mut self,
        from: NodeId,
        id: u64,
        group: GroupId,
        consistency: Consistency,
        command: Command<P>,
        now: Now,
        out: &mut impl Out<P>,
    ) {
        let origin = Origin::Peer(from, id);
        // No number is 0: it stands for none.
        let is_new = self.taken.entry(from).or_insert(Taken([0; TAKEN_COUNT])).note(id);
        #[cfg(feature = "canary")]
        let is_new = is_new || self.canary == Some(crate::Canary::ForwardTwice);
        if !is_new {
            return; // the first one is answered
        }
        let index = self.index_of(group).filter(|_| group != GroupId::SYSTEM);
        match index.filter(|_| command.op.may_come_from(from)) {
            Some(index) => {
                if !command.op.is_of_nodes() {
                    self.groups[index].asked.note_peer(from);
                }
                self.route(index, Request { origin, consistency, command, arrived: now.mono }, now, out);
            }
            None => push_error(origin, ErrorKind::Malformed, out),
        }
    }

    /// Decides who executes a request: this replica if it leads, or if the leader's word is enough for it; the leader if one is
    /// known; else nobody yet.
    pub(crate) fn route(&mut self, index: usize, request: Request<P>, now: Now, out: &mut impl Out<P>) {
        let group = &self.groups[index];
        if matches!(request.origin, Origin::Client(_))
            && group.led.is_none()
            && let Some(leader) = group.paxos.leader_hint()
            && self.is_answered_here(group.id, &request)
        {
            if let Err(read) = self.gather_read(leader, Read { index, request }) {
                read.request.refuse(ErrorKind::Busy, out);
            }
            return;
        }
        self.route_to_leader(index, request, now, out);
    }

    /// The same for what only the leader can answer.
    pub(crate) fn route_to_leader(
        &mut self,
        index: usize,
        request: Request<P>,
        now: Now,
        out: &mut impl Out<P>,
    ) {
        if self.groups[index].led.is_some() {
            if request.command.op.is_write() {
                self.enqueue_write(index, request, out);
            } else {
                self.read_or_confirm(index, request, now, out);
            }
            return;
        }
        if let Origin::Peer(..) = request.origin {
            // One hop only: whoever forwarded looks for the leader anew.
            return request.refuse(ErrorKind::NoLeader, out);
        }
        match self.groups[index].paxos.leader_hint() {
            Some(to) if self.forwards.len() < FORWARDS_MAX => {
                self.next_forward += 1;
                let number = self.next_forward;
                let group = self.groups[index].id;
                let Request { consistency, ref command, .. } = request;
                let message =
                    PeerMessage::Forward { id: number, group, consistency, command: command.clone() };
                self.forwards.insert(number, Forwarded { group, to, request });
                out.push(Effect::Send { to, message });
            }
            Some(_) => request.refuse(ErrorKind::Busy, out),
            None => self.wait_for_leader(index, request, out),
        }
    }

    fn wait_for_leader(&mut self, index: usize, request: Request<P>, out: &mut impl Out<P>) {
        let limit = self.config.pending_bytes_max;
        let group = &mut self.groups[index];
        let cost = cost(&request.command);
        if group.pending_bytes + cost > limit {
            return request.refuse(ErrorKind::Busy, out);
        }
        group.pending_bytes += cost;
        group.waiting.push_back(request);
    }

    fn enqueue_write(&mut self, index: usize, request: Request<P>, out: &mut impl Out<P>) {
        let limit = self.config.pending_bytes_max;
        let group = &mut self.groups[index];
        let cost = cost(&request.command);
        // Overload is an answer, not growth (P-14).
        if group.pending_bytes + cost > limit {
            return request.refuse(ErrorKind::Busy, out);
        }
        group.pending_bytes += cost;
        group.pending.push_back(request);
    }

    /// Whether a lease is enough for a read: `Quorum` trusts no clock.
    fn may_trust_lease(&self, consistency: Consistency) -> bool {
        #[cfg(feature = "canary")]
        if self.canary == Some(crate::Canary::QuorumReadByLease) {
            return true;
        }
        consistency == Consistency::Linearizable
    }

    fn read_or_confirm(&mut self, index: usize, request: Request<P>, now: Now, out: &mut impl Out<P>) {
        let trusts_lease = self.may_trust_lease(request.consistency);
        let group = &mut self.groups[index];
        let by_lease = trusts_lease && group.paxos.lease_valid(now.mono);
        let point = group.paxos.chosen();
        let has_applied = group.paxos.applied_slot() >= point;
        if by_lease && has_applied && group.paxos.serving() && group.confirming.is_empty() {
            self.read(index, request.origin, request.command, now, out);
            return;
        }
        if group.confirming.len() >= CONFIRMING_MAX {
            return request.refuse(ErrorKind::Busy, out);
        }
        let Some(ticket) = group.paxos.read_ticket() else {
            return request.refuse(ErrorKind::NoLeader, out);
        };
        group.confirming.push_back(Confirming { ticket, point, request });
        self.serve_confirmed(index, now, out);
    }

    /// Serves the reads whose leader is confirmed, in order.
    pub(crate) fn serve_confirmed(&mut self, index: usize, now: Now, out: &mut impl Out<P>) {
        while let Some(first) = self.groups[index].confirming.front() {
            let paxos = &self.groups[index].paxos;
            let by_lease = self.may_trust_lease(first.request.consistency) && paxos.lease_valid(now.mono);
            let is_fresh = paxos.serving() && paxos.applied_slot() >= first.point;
            // Many that waited for one lease must not be walked for in one turn. The next tick goes on.
            let is_walk = matches!(first.request.command.op, Op::Scan { .. } | Op::RandomKey { .. });
            if is_walk && self.walks >= WALKS_PER_TURN {
                return;
            }
            if !is_fresh || !(by_lease || paxos.ticket_valid(first.ticket, now.mono)) {
                return;
            }
            let Some(first) = self.groups[index].confirming.pop_front() else { return };
            self.walks += usize::from(is_walk);
            self.read(index, first.request.origin, first.request.command, now, out);
        }
    }

    /// Reads applied state. Who calls has made sure that it is fresh enough.
    pub(crate) fn read(
        &mut self,
        index: usize,
        origin: Origin,
        command: Command<P>,
        now: Now,
        out: &mut impl Out<P>,
    ) {
        let group = self.groups[index].id;
        let key = command.key.as_ref();
        match command.op {
            Op::Exists => {
                let exists = self.store.exists(group, command.namespace, key);
                push_reply(origin, Reply::Int(i64::from(exists)), out);
            }
            Op::Ttl => {
                let clock = self.groups[index].paxos.leader_clock(now.mono).unwrap_or(WallMs::ZERO);
                let left = self.store.ttl_ms(group, command.namespace, key, clock);
                push_reply(origin, Reply::Int(left), out);
            }
            Op::ExpireTime => {
                let time = self.store.expire_time(group, command.namespace, key);
                push_reply(origin, Reply::Int(time), out);
            }
            Op::CountKeys => {
                let count = i64::try_from(self.store.keys(group)).unwrap_or(i64::MAX);
                push_reply(origin, Reply::Int(count), out);
            }
            Op::Scan { position, count } => {
                let mut page = Vec::new();
                self.store.scan(group, command.namespace, position, count, &mut page);
                push_reply(origin, Reply::Value { value: &page, version: Version::default() }, out);
            }
            Op::RandomKey { draw } => {
                let reply = match self.store.random_key(group, command.namespace, draw) {
                    RandomKey::Key(value) => Reply::Value { value, version: Version::default() },
                    RandomKey::Nothing => Reply::Nil,
                    RandomKey::GoOn(next) => Reply::Int(i64::try_from(next).unwrap_or(0)), // below 2^32
                };
                push_reply(origin, reply, out);
            }
            Op::Get => match self.store.lookup(group, command.namespace, key) {
                Lookup::Missing => {
                    self.groups[index].stats.key_misses += 1;
                    push_reply(origin, Reply::Nil, out);
                }
                Lookup::Hit { value, version, .. } => {
                    self.groups[index].stats.key_hits += 1;
                    push_reply(origin, Reply::Value { value, version }, out);
                }
                Lookup::Cold { location, value_crc, version, .. } => {
                    self.groups[index].stats.key_hits += 1;
                    let token = self.token();
                    let use_ = ReadUse::Get { index, origin, command, version, crc: value_crc };
                    self.reads.insert(token, use_);
                    out.push(Effect::Read { token, location });
                }
            },
            _ => push_error(origin, ErrorKind::Malformed, out),
        }
    }

    pub(crate) fn on_read_done(
        &mut self,
        token: ReadToken,
        result: Result<P, ReadFailed>,
        now: Now,
        out: &mut impl Out<P>,
    ) {
        let use_ = self.reads.remove(&token).expect("a read comes back once");
        match use_ {
            ReadUse::Get { index, origin, command, version, crc } => {
                let Some(bytes) = is_whole(result, crc) else {
                    return self.on_value_lost(index, origin, command, (version, crc), now, out);
                };
                let value = FoundValue::summed(version, bytes.as_ref(), crc);
                let group = &self.groups[index];
                let room = if group.led.is_some() { Room::Made } else { Room::Spare };
                self.store.admit(group.id, command.namespace, command.key.as_ref(), value, room);
                push_value(origin, bytes.as_ref(), version, out);
            }
            ReadUse::Apply { index } => {
                let parked = self.groups[index].parked.filter(|parked| parked.token == token);
                let parked = parked.expect("apply is parked until its read comes back");
                let Some(old) = is_whole(result, parked.crc) else {
                    return self.on_old_value_lost(index, now, out);
                };
                self.unpark(index, old, now, out);
                self.follow_up(index, now, out);
            }
            ReadUse::Learn { index, batch, slot } => {
                self.on_read_back(index, batch, slot, result.ok(), now, out);
            }
            ReadUse::Recall { index, slot, ballot } => {
                // As at the border: these bytes are reported and applied.
                let payload = result.ok().and_then(|bytes| Entry::check(bytes).ok()).map(Entry::into_bytes);
                self.stats.reads_failed += u64::from(payload.is_none());
                self.drive(index, crate::paxos::Input::Recalled { slot, ballot, payload }, now, out);
            }
        }
    }

    /// Tells who waited on a leadership that ended. What was proposed may yet be chosen: unknown. What was not is routed anew.
    pub(crate) fn notice_leadership(&mut self, index: usize, now: Now, out: &mut impl Out<P>) {
        let group = &mut self.groups[index];
        let leading = group.paxos.leading();
        let leader = group.paxos.leader_hint();
        let is_new = leader != group.followed;
        group.followed = leader;
        group.wish = group.wish.filter(|wish| leader != Some(wish.heir)); // it has come true
        if leading == group.led {
            if is_new {
                self.retry_waiting(index, now, out);
            }
            return;
        }
        let before = core::mem::replace(&mut self.groups[index].led, leading);
        self.groups[index].asked = Asked::default();
        self.groups[index].stats.elections_won += u64::from(leading.is_some());
        if let Some(ballot) = before {
            let group = &mut self.groups[index];
            let handed_over = group.paxos.handed_over(ballot);
            group.stats.leaderships_handed_over += u64::from(handed_over);
            group.stats.leaderships_lost += u64::from(!handed_over);
            let proposed = core::mem::take(&mut group.proposed);
            let pending = core::mem::take(&mut group.pending);
            let confirming = core::mem::take(&mut group.confirming);
            for origin in proposed.into_iter().flat_map(|proposed| proposed.origins).flatten() {
                push_error(origin, ErrorKind::Unknown, out);
            }
            for request in pending {
                self.groups[index].pending_bytes -= cost(&request.command);
                self.route(index, request, now, out);
            }
            for Confirming { request, .. } in confirming {
                self.route(index, request, now, out);
            }
        }
        self.retry_waiting(index, now, out);
    }

    /// Requests that wait for a leader: go on when there is one, give up when patience ends.
    pub(crate) fn retry_waiting(&mut self, index: usize, now: Now, out: &mut impl Out<P>) {
        if self.groups[index].waiting.is_empty() {
            return;
        }
        let found = self.groups[index].led.is_some() || self.groups[index].paxos.leader_hint().is_some();
        let patience = self.config.timing.patience;
        for _ in 0..self.groups[index].waiting.len() {
            let Some(next) = self.groups[index].waiting.pop_front() else { return };
            let group = &mut self.groups[index];
            if now.mono.since(next.arrived) >= patience {
                group.pending_bytes -= cost(&next.command);
                next.refuse(ErrorKind::NoLeader, out);
            } else if found {
                group.pending_bytes -= cost(&next.command);
                self.route(index, next, now, out);
            } else {
                group.waiting.push_back(next);
            }
        }
    }

    pub(crate) fn on_forward_reply(
        &mut self,
        from: NodeId,
        number: u64,
        reply: Reply<P>,
        now: Now,
        out: &mut impl Out<P>,
    ) {
        if self.forwards.get(&number).is_none_or(|forwarded| forwarded.to != from) {
            return; // answered already, or given up
        }
        let Some(Forwarded { group, request, .. }) = self.forwards.remove(&number) else { return };
        if matches!(reply, Reply::Error(ErrorKind::NoLeader)) {
            return self.wait_anew(group, request, now, out);
        }
        if let (Op::Get, Reply::Value { value, version }) = (&request.command.op, &reply) {
            let Command { namespace, key, .. } = &request.command;
            let value = FoundValue::new(*version, value.as_ref());
            self.store.admit(group, *namespace, key.as_ref(), value, Room::Spare);
        }
        request.reply(reply.borrow(), out);
    }

    /// A request that was certainly not executed waits for the next leader (at most until its patience ends).
    pub(crate) fn wait_anew(&mut self, group: GroupId, request: Request<P>, now: Now, out: &mut impl Out<P>) {
        match self.index_of(group) {
            Some(index) if now.mono.since(request.arrived) < self.config.timing.patience => {
                self.wait_for_leader(index, request, out);
            }
            _ => request.refuse(ErrorKind::NoLeader, out),
        }
    }

    pub(crate) fn on_link_lost(&mut self, node: NodeId, now: Now, out: &mut impl Out<P>) {
        self.balancing.lost(node, now.mono);
        for index in 0..self.groups.len() {
            self.drive(index, crate::paxos::Input::LinkLost { node }, now, out);
        }
        let lost: Vec<u64> =
            self.forwards.iter().filter(|(_, f)| f.to == node).map(|(&number, _)| number).collect();
        for number in lost {
            self.give_up(number, now, out);
        }
        self.asks_lost(node, now, out);
    }

    /// A request that never left is certainly not executed: it waits for a leader that can be reached.
    pub(crate) fn on_unsent(&mut self, number: u64, now: Now, out: &mut impl Out<P>) {
        if let Some(Forwarded { group, request, .. }) = self.forwards.remove(&number) {
            self.wait_anew(group, request, now, out);
        }
        self.ask_unsent(number, now, out);
    }

    pub(crate) fn expire_forwards(&mut self, now: Now, out: &mut impl Out<P>) {
        let patience = self.config.timing.patience;
        // Numbers rise with time, so the oldest come first; rerouted ones keep their arrival, hence the bounded look-ahead.
        let late: Vec<u64> = self
            .forwards
            .iter()
            .take(EXPIRE_LOOKAHEAD)
            .filter(|(_, forwarded)| now.mono.since(forwarded.request.arrived) >= patience)
            .map(|(&number, _)| number)
            .collect();
        for number in late {
            if let Some(Forwarded { request, .. }) = self.forwards.remove(&number) {
                let is_write = request.command.op.is_write();
                request.refuse(if is_write { ErrorKind::Unknown } else { ErrorKind::NoLeader }, out);
            }
        }
    }

    /// The leader's answer will not come: a write's outcome is unknown, a read is asked again elsewhere.
    fn give_up(&mut self, number: u64, now: Now, out: &mut impl Out<P>) {
        let Some(Forwarded { group, request, .. }) = self.forwards.remove(&number) else { return };
        if request.command.op.is_write() {
            request.refuse(ErrorKind::Unknown, out);
        } else {
            self.wait_anew(group, request, now, out);
        }
    }
}

/// Requests of one core that may be under way to leaders elsewhere.
const FORWARDS_MAX: usize = 65_536;
/// Forwards of one peer that are remembered.
const TAKEN_COUNT: usize = 256;
/// Reads of one group that may wait for a confirmation.
const CONFIRMING_MAX: usize = 65_536;
/// Pages of keys that one turn reads for requests that waited: up to a millisecond each.
const WALKS_PER_TURN: usize = 2;
/// Forwards looked at per tick for a patience that ended.
const EXPIRE_LOOKAHEAD: usize = 4096;
