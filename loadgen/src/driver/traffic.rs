//! The operations on their way: each is sent to where it belongs, or put where it has to wait.

use super::books::Books;
use super::links::LinkSet;
use super::op::{Op, OpId, OpTable, Spot, Stage, Work};
use super::resp_wire;
use super::session::Sessions;
use super::stock::Stock;
use super::waiting::WaitingOps;
use crate::clock::nanos;
use crate::ledger::{ReadTicket, WriteTicket};
use crate::options::{Options, Protocol, Switch};
use synod_net::binary;
use synod_types::{Command, Condition, Consistency, Expiry, GroupId, Op as Action, SessionStamp};

/// First pause before an operation is sent again; it doubles up to 64 times this value.
const RETRY_NS: u64 = 2_000_000;
/// Sessions that one thread opens at the same time.
const OPENING_MAX: usize = 256;
/// Operations waiting for a session that are tried in one turn.
const UNSTAMPED_LOOKS: usize = 256;

/// What operations are sent with.
pub(super) struct Sending<'a> {
    pub(super) options: &'a Options,
    pub(super) stock: &'a mut Stock,
    pub(super) books: &'a mut Books,
    pub(super) now_ns: u64,
}

/// All open operations, and what they are sent on.
#[derive(Debug)]
pub(super) struct Traffic {
    pub(super) ops: OpTable,
    pub(super) sessions: Sessions,
    pub(super) links: LinkSet,
    pub(super) waiting: WaitingOps,
}

impl Traffic {
    /// No operations yet.
    pub(super) fn new(sessions: Sessions, links: LinkSet) -> Self {
        let waiting = WaitingOps::new(links.endpoint_count());
        Self { ops: OpTable::default(), sessions, links, waiting }
    }

    /// Begins an operation.
    pub(super) fn begin(&mut self, op: Op, with: &mut Sending<'_>) {
        let id = self.ops.insert(op);
        self.dispatch(id, with);
    }
    /// Sends the operation, or puts it where it has to wait.
    pub(super) fn dispatch(&mut self, id: OpId, with: &mut Sending<'_>) {
        let Some(op) = self.ops.get_mut(id) else { return };
        op.spot = Spot::Moving;
        let group = op.group;
        if let Work::Write { slot: slot @ None, .. } = &mut op.work
            && with.options.sessions == Switch::On
        {
            *slot = self.sessions.take(group);
            if slot.is_none() {
                op.spot = Spot::Unstamped;
                self.waiting.await_session(id);
                return;
            }
        }
        let Some(endpoint) = self.links.route(group) else {
            self.ops.set_spot(id, Spot::Parked);
            self.waiting.park(id);
            return;
        };
        // Operations that already wait go first.
        let is_first = self.waiting.front(endpoint).is_none();
        let link = if is_first { self.links.free_link(endpoint, with.options.inflight) } else { None };
        match link {
            Some(link) => self.send(id, link, with),
            None => {
                self.ops.set_spot(id, Spot::Queued(endpoint));
                self.waiting.queue(endpoint, id);
            }
        }
    }
    /// Sends the operation again after a pause.
    pub(super) fn rest(&mut self, id: OpId, now_ns: u64) {
        let Some(op) = self.ops.get_mut(id) else { return };
        let pause_ns = RETRY_NS << op.attempts.min(6);
        op.attempts += 1;
        op.spot = Spot::Resting;
        self.waiting.rest(now_ns + pause_ns, id);
    }
    /// Moves on operations that wait: for their pause to end, for a connection, for a session, or for room.
    pub(super) fn move_waiting(&mut self, with: &mut Sending<'_>) {
        while let Some(id) = self.waiting.take_rested(with.now_ns) {
            self.dispatch_from(Spot::Resting, id, with);
        }
        if self.links.is_any_up() {
            for id in self.waiting.take_parked() {
                self.dispatch_from(Spot::Parked, id, with);
            }
        }
        for _ in 0..self.waiting.unstamped().min(UNSTAMPED_LOOKS) {
            let Some(id) = self.waiting.take_unstamped() else { break };
            self.dispatch_from(Spot::Unstamped, id, with);
        }
        for endpoint in 0..self.links.endpoint_count() {
            self.drain_queue(endpoint, with);
        }
    }
    /// Opens the sessions that are to be opened.
    pub(super) fn open_sessions(&mut self, with: &mut Sending<'_>) {
        while self.ops.open() - self.ops.load_open() < OPENING_MAX
            && let Some((group, lane)) = self.sessions.take_to_open()
        {
            self.begin(opening(group, lane, with), with);
        }
    }
    /// Ends a write on its way: its number is not used again.
    ///
    /// # Panics
    /// When it is no write, or has ended before.
    pub(super) fn take_write(&mut self, id: OpId) -> (Op, WriteTicket) {
        let (op, work) = self.take(id);
        let Work::Write { ticket, slot } = work else { panic!("a read ended as a write") };
        if let Some(slot) = slot {
            self.sessions.finish(op.group, slot);
        }
        (op, ticket)
    }
    /// Ends a read on its way; the second ticket is that of the write that is to follow.
    ///
    /// # Panics
    /// When it is no read, or has ended before.
    pub(super) fn take_read(&mut self, id: OpId) -> (Op, Option<ReadTicket>, Option<WriteTicket>) {
        let (op, work) = self.take(id);
        let Work::Read { ticket, then } = work else { panic!("a write ended as a read") };
        (op, ticket, then)
    }

    fn take(&mut self, id: OpId) -> (Op, Work) {
        let mut op = self.ops.remove(id).expect("an operation ends once");
        let work = std::mem::replace(&mut op.work, Work::Read { ticket: None, then: None });
        (op, work)
    }

    /// Dispatches the operation if it still waits in this way.
    fn dispatch_from(&mut self, spot: Spot, id: OpId, with: &mut Sending<'_>) {
        if self.ops.spot(id) == Some(spot) {
            self.dispatch(id, with);
        }
    }

    fn drain_queue(&mut self, endpoint: usize, with: &mut Sending<'_>) {
        while let Some(id) = self.waiting.front(endpoint) {
            let group = match self.ops.get(id) {
                Some(op) if op.spot == Spot::Queued(endpoint) => op.group,
                _ => {
                    self.waiting.pop(endpoint);
                    continue;
                }
            };
            let belongs_here = match self.links.leader(group) {
                Some(leader) => leader == endpoint,
                // It was queued here because there was no better place; moving it again would not help.
                None => self.links.is_endpoint_up(endpoint),
            };
            if belongs_here {
                let inflight = with.options.inflight;
                let Some(link) = self.links.free_link(endpoint, inflight) else { break };
                self.waiting.pop(endpoint);
                self.send(id, link, with);
            } else {
                // It certainly goes to another queue, so this loop ends.
                self.waiting.pop(endpoint);
                self.dispatch(id, with);
            }
        }
    }

    fn send(&mut self, id: OpId, link: usize, with: &mut Sending<'_>) {
        let now_ns = with.now_ns;
        let target = self.links.get_mut(link);
        assert!(target.is_up(), "an operation for a connection that is not up");
        target.note_sent(now_ns);
        let op = self.ops.get_mut(id).expect("an operation is sent while it is open");
        op.spot = Spot::Sent(link);
        op.sent_ns = now_ns;
        if op.first_sent_ns == 0 {
            op.first_sent_ns = now_ns;
            if !std::mem::replace(&mut op.late_noted, true) && op.stage == Stage::Measured {
                with.books.tally.late.record_ns(now_ns.saturating_sub(op.planned_ns));
            }
        }
        let out = &mut target.out;
        match with.options.protocol {
            Protocol::Resp => {
                target.asked.push_back(id.to_wire());
                encode_resp(out, op, with);
            }
            Protocol::Binary => encode_binary(out, id, op, &self.sessions, with),
        }
    }
}

/// The opening of a session.
fn opening(group: GroupId, lane: u32, with: &Sending<'_>) -> Op {
    Op {
        work: Work::OpenSession { lane },
        kind: None,
        key: 0,
        group,
        stage: Stage::Preload,
        planned_ns: with.now_ns,
        deadline_ns: with.now_ns + nanos(with.options.timeout),
        late_noted: true,
        first_sent_ns: 0,
        sent_ns: 0,
        attempts: 0,
        doubtful: false,
        spot: Spot::Moving,
    }
}

fn encode_binary(out: &mut Vec<u8>, id: OpId, op: &mut Op, sessions: &Sessions, with: &mut Sending<'_>) {
    match &mut op.work {
        Work::OpenSession { .. } => binary::encode_open_session(out, id.to_wire(), op.group),
        Work::Read { ticket, .. } => {
            *ticket = Some(with.books.ledger.begin_read(op.key));
            let command = Command::plain(with.stock.name(op.key), Action::Get);
            binary::encode_request(out, id.to_wire(), Consistency::Linearizable, &command);
        }
        Work::Write { ticket, slot } => {
            let pair = with.stock.pair(op.key, ticket.sequence());
            let action = Action::Set {
                value_crc: pair.value_crc,
                condition: Condition::Always,
                expiry: Expiry::None,
                return_old: false,
            };
            let stamp = slot.map_or(SessionStamp::default(), |slot| sessions.stamp(op.group, slot));
            let command = Command { stamp, ..Command::new(pair.name, action, pair.value) };
            binary::encode_request(out, id.to_wire(), Consistency::Linearizable, &command);
        }
    }
}

fn encode_resp(out: &mut Vec<u8>, op: &mut Op, with: &mut Sending<'_>) {
    match &mut op.work {
        Work::OpenSession { .. } => panic!("a session over a protocol that has none"),
        Work::Read { ticket, .. } => {
            *ticket = Some(with.books.ledger.begin_read(op.key));
            resp_wire::encode(out, &[b"GET", with.stock.name(op.key)]);
        }
        Work::Write { ticket, .. } => {
            let pair = with.stock.pair(op.key, ticket.sequence());
            resp_wire::encode(out, &[b"SET", pair.name, pair.value]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::route::Endpoint;
    use super::*;
    use crate::keys::KeysDist;
    use crate::ledger::Ledger;
    use crate::random::Random;
    use crate::sizes::ValueSizes;
    use crate::value::ValueWriter;
    use crate::workload::{KeyNames, Kind};
    use std::net::SocketAddr;
    use synod_net::binary::Topology;
    use synod_types::{NodeId, SessionId};

    /// One link to one node with one group, and one session to be opened.
    fn traffic() -> Traffic {
        let addr = SocketAddr::from(([127, 0, 0, 1], 1001));
        let endpoints = vec![Endpoint { node: NodeId::new(1), core: None, addr }];
        let topology = Topology { group_count: 1, ..Topology::default() };
        Traffic::new(Sessions::new(1, 1), LinkSet::new(&topology, endpoints, vec![0], 0, 1))
    }

    fn stock() -> Stock {
        let values = ValueWriter::new(&ValueSizes::Fixed(64), 99);
        Stock::new(0..4, KeysDist::Uniform, Random::new(1, 2), KeyNames::new("k:"), values, 1)
    }

    fn op(key: u32, work: Work) -> Op {
        Op {
            work,
            kind: Some(Kind::Write),
            key,
            group: GroupId::new(1),
            stage: Stage::Measured,
            planned_ns: 10,
            deadline_ns: 1000,
            late_noted: false,
            first_sent_ns: 0,
            sent_ns: 0,
            attempts: 0,
            doubtful: false,
            spot: Spot::Moving,
        }
    }

    /// How many operations wait in this way.
    fn count(traffic: &Traffic, spot: Spot) -> usize {
        traffic.ops.select(|op| op.spot == spot).len()
    }

    #[test]
    fn operations_wait_for_a_session_for_a_connection_and_for_room() {
        let options = Options { inflight: 1, ..Options::default() };
        let mut books = Books::new(Ledger::new(0..4), false, true, 0);
        let (mut traffic, mut stock) = (traffic(), stock());
        let ticket = books.ledger.begin_write(0).expect("no other");
        let with = &mut Sending { options: &options, stock: &mut stock, books: &mut books, now_ns: 20 };
        traffic.begin(op(0, Work::Write { ticket, slot: None }), with);
        traffic.begin(op(1, Work::Read { ticket: None, then: None }), with);
        assert_eq!((count(&traffic, Spot::Unstamped), count(&traffic, Spot::Parked)), (1, 1));
        traffic.sessions.opened(GroupId::new(1), 0, SessionId::new(7));
        traffic.links.get_mut(0).come_up();
        traffic.move_waiting(with);
        assert_eq!((count(&traffic, Spot::Sent(0)), count(&traffic, Spot::Queued(0))), (1, 1));
        traffic.links.get_mut(0).note_answered(30);
        traffic.move_waiting(with);
        assert_eq!(count(&traffic, Spot::Sent(0)), 2);
        assert_eq!(with.books.tally.late.count(), 2, "each was sent once");
    }

    #[test]
    fn an_operation_that_rests_is_sent_again_after_its_pause() {
        let options = Options::default();
        let mut books = Books::new(Ledger::new(0..4), false, true, 0);
        let (mut traffic, mut stock) = (traffic(), stock());
        traffic.links.get_mut(0).come_up();
        let id = traffic.ops.insert(op(1, Work::Read { ticket: None, then: None }));
        traffic.rest(id, 0);
        let with =
            &mut Sending { options: &options, stock: &mut stock, books: &mut books, now_ns: RETRY_NS - 1 };
        traffic.move_waiting(with);
        assert_eq!(traffic.ops.spot(id), Some(Spot::Resting));
        with.now_ns = RETRY_NS;
        traffic.move_waiting(with);
        assert_eq!(traffic.ops.spot(id), Some(Spot::Sent(0)));
        let (read, ticket, then) = traffic.take_read(id);
        assert!(read.attempts == 1 && ticket.is_some() && then.is_none());
        assert_eq!(traffic.ops.open(), 0);
    }
}
