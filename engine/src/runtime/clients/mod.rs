//! The client connections of one core: each one's protocol, the commands of its pipeline that are under way,
//! and the tasks to wake.
//!
//! ```text
//!  reader ─▶ lend, put ─▶ ┌─────────┐ ─▶ next_ask ─▶ the core
//!                         │ Clients │ ◀─ reply, answer, redirect
//!  writer ◀─ take_output ─└─────────┘ ◀─ flush, once a turn
//! ```
//! The protocol is `synod_net::server::Connection`, which sees bytes only. The order of a pipeline's commands
//! is `synod_net::server::CommandOrder`. No client is refused because too much is under way or waits to be
//! sent: it is not read from, and its next command waits (P-14b).
//!
//! May not: know a socket, or execute anything.

use crate::runtime::client_connection::{ClientConnection, DeferredAsk, SlowClient};
use crate::runtime::client_memory::ClientMemory;
use crate::runtime::clock;
use crate::runtime::command_room::{CommandRoom, weight};
use crate::runtime::notify::Notify;
use crate::runtime::pace::TaskPace;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use synod_net::ReadBuffer;
use synod_net::server::{Ask, Connection, LocalAnswer, Service, Tag};
use synod_shard::Histogram;
use synod_types::limits::{SCAN_PAGE_BYTES_MAX, VALUE_BYTES_MAX};
use synod_types::{Bucket, Command, Consistency, Mono, Nanos, Op, Reply, Shared};

/// Connections of one core beyond `limits.connections`. They are for clients that have not said yet what they
/// want, for probes and metrics, and for an operator.
const SPARE_PLACES: u64 = 64;
/// How many of these are for clients of this machine alone.
const LOOPBACK_PLACES: u64 = 16;

/// The connections of one core.
#[derive(Default)]
pub(crate) struct Clients {
    connections: BTreeMap<u64, ClientConnection>,
    /// Those of them that are beyond the limit.
    spare: BTreeSet<u64>,
    next: u64,
    /// Connections whose output or state changed in this turn.
    dirty: Vec<u64>,
    /// What of their commands is under way.
    room: CommandRoom,
    /// What they hold.
    memory: ClientMemory,
    /// How long a command may be incomplete.
    command_limit: Nanos,
    /// The node is about to stop: connections end when everything is answered.
    is_leaving: bool,
    /// Slow clients that were closed, by reason.
    pub closed_slow: [u64; SlowClient::ALL.len()],
    /// All connections so far.
    pub total: u64,
    /// Bytes received.
    pub input_bytes: u64,
    /// Bytes sent.
    pub output_bytes: u64,
    /// Time from a turn's end until the socket has taken its replies, in microseconds; sampled from one
    /// connection at a time.
    pub reply_us: Histogram,
    /// The sampled connection, and when its replies were ready.
    sample: Option<(u64, Mono)>,
}

/// The parts of a connection that its tasks hold.
pub(crate) struct OpenedClient {
    /// Its number in the table.
    pub connection: u64,
    /// Wakes the writer.
    pub write: Rc<Notify>,
    /// Wakes the reader.
    pub read: Rc<Notify>,
    /// Ends the connection.
    pub kill: Rc<Notify>,
    /// The pace that both tasks share.
    pub pace: Rc<TaskPace>,
}

/// The state of a connection after received bytes were processed.
pub(crate) struct AfterReading {
    /// The stream turned out to be HTTP, which this table does not serve.
    pub http: bool,
    /// There is more to do, but other connections go first.
    pub rests: bool,
}

impl Clients {
    /// The number of open connections.
    pub fn count(&self) -> u64 {
        self.connections.len() as u64
    }

    /// Opens a new connection while `limit` may be open; `None` if there is no place for it. A client of this
    /// machine (`is_loopback`) may take the last places. `protocol` makes its protocol from its number and
    /// from how much it is served.
    pub fn admit(
        &mut self,
        limit: u64,
        is_loopback: bool,
        protocol: impl FnOnce(u64, Service) -> Connection,
    ) -> Option<(Service, OpenedClient)> {
        let service = self.service(limit, is_loopback)?;
        Some((service, self.open(service, |number| protocol(number, service))))
    }

    fn service(&self, limit: u64, is_loopback: bool) -> Option<Service> {
        let spare = self.spare.len() as u64;
        if self.count() - spare < limit {
            return Some(Service::Full);
        }
        let places = if is_loopback { SPARE_PLACES } else { SPARE_PLACES - LOOPBACK_PLACES };
        (spare < places).then_some(Service::Spare)
    }

    fn open(&mut self, service: Service, protocol: impl FnOnce(u64) -> Connection) -> OpenedClient {
        self.next += 1;
        if service == Service::Spare {
            self.spare.insert(self.next);
        }
        let client = ClientConnection::new(protocol(self.next), clock::mono());
        self.total += 1;
        let opened = OpenedClient {
            connection: self.next,
            write: Rc::clone(&client.write),
            read: Rc::clone(&client.read),
            kill: Rc::clone(&client.kill),
            pace: Rc::clone(&client.pace),
        };
        self.connections.insert(self.next, client);
        opened
    }

    /// A connection has ended.
    pub fn close(&mut self, connection: u64) {
        let closed = self.connections.remove(&connection);
        if let Some(client) = &closed {
            self.memory.forget(connection);
            self.memory.charge(client.charged(), 0);
        }
        if closed.is_some() && !self.spare.remove(&connection) {
            self.fill_place();
        }
        self.sample.take_if(|(sampled, _)| *sampled == connection);
    }

    /// A place within the limit is free: the oldest connection beyond it that can use the place gets it. A
    /// pool that was opened in a rush would otherwise be refused long after the rush is over.
    fn fill_place(&mut self) {
        let connections = &mut self.connections;
        let served = self.spare.iter().copied().find(|connection| {
            connections.get_mut(connection).is_some_and(|client| client.protocol.serve_fully())
        });
        if let Some(connection) = served {
            self.spare.remove(&connection);
        }
    }

    /// The buffer to read into, if the connection wants more bytes and there is memory for them.
    pub fn lend(&mut self, connection: u64) -> Option<ReadBuffer> {
        let client = self.connections.get_mut(&connection)?;
        client.is_paused = !client.wants_read();
        if client.is_paused {
            return None;
        }
        let may_grow = client.may_read(connection, &mut self.memory);
        client.is_paused = may_grow.is_none();
        let room = client.protocol.lend(may_grow?);
        client.lent();
        client.settle(&mut self.memory);
        Some(room)
    }

    /// Returns that buffer, with `count` bytes read into it.
    pub fn put(&mut self, connection: u64, room: ReadBuffer, count: usize) {
        self.input_bytes += count as u64;
        if let Some(client) = self.connections.get_mut(&connection) {
            client.given_back(count, clock::mono);
            client.protocol.put(room, count);
        }
    }

    /// The client will send no more.
    pub fn received_end(&mut self, connection: u64) {
        if let Some(client) = self.connections.get_mut(&connection) {
            client.protocol.received_end();
        }
    }

    /// The next ask of a connection that may be executed now; `None` once the connection has used up its
    /// stretch at `now`.
    pub fn next_ask(&mut self, connection: u64, now: Mono) -> Option<Ask> {
        let client = self.connections.get_mut(&connection)?;
        client.served = now;
        client.rests = client.pace.is_over(now);
        if client.rests || client.is_parked {
            return None;
        }
        let held = client.held.take();
        let is_woken = held.is_some();
        let ask = held.or_else(|| fetch(client, connection, &mut self.memory))?;
        if let Ask::Command { command, .. } = &ask
            && !self.room.may_begin(weight(command), is_woken)
        {
            client.is_parked = true;
            self.room.park(connection, weight(command), is_woken);
            client.held = Some(ask);
            return None;
        }
        Some(ask)
    }

    /// Sets how many bytes of commands may be under way, how many bytes connections may hold, and how long a
    /// command may be incomplete.
    pub fn set_limits(&mut self, command_bytes_max: usize, bytes_max: usize, command_limit: Nanos) {
        self.room = CommandRoom::new(command_bytes_max);
        self.memory = ClientMemory::new(bytes_max);
        self.command_limit = command_limit;
    }

    /// A command is under way: the bytes for which it counts until [`Clients::reply`] or [`Clients::defer`].
    pub fn begin(&mut self, command: &Command<Shared>) -> u32 {
        let bytes = weight(command);
        self.room.begin(bytes);
        bytes as u32 // below two values of the greatest length
    }

    /// A command of so many bytes is under way no more.
    pub fn end(&mut self, bytes: usize) {
        self.room.end(bytes);
    }

    /// Bytes of commands that are under way.
    pub fn command_bytes(&self) -> usize {
        self.room.bytes()
    }

    /// The memory that connections hold.
    pub fn memory(&self) -> &ClientMemory {
        &self.memory
    }

    /// Reserves room for the answer to a command, until [`Clients::reply`]. True for a connection that is gone.
    pub fn reserve(&mut self, connection: u64, tag: Tag, bytes: usize) -> bool {
        let Some(client) = self.connections.get_mut(&connection) else { return true };
        let has_room = client.reserve(connection, tag, bytes, &mut self.memory);
        client.settle(&mut self.memory);
        has_room
    }

    /// Reserves room for the value that another core will send, as far as it can be foreseen. Returns the
    /// length that may be sent.
    pub fn reserve_foreseen(&mut self, connection: u64, tag: Tag) -> usize {
        let Some(client) = self.connections.get(&connection) else { return 0 };
        let foreseen = client.foreseen_bytes();
        if foreseen > client.reserved(tag) {
            self.reserve(connection, tag, foreseen);
        }
        self.connections.get(&connection).map_or(0, |client| client.reserved(tag))
    }

    /// A command of so many bytes was not executed, because there was no room for its answer: it is asked
    /// again.
    pub fn defer(
        &mut self,
        connection: u64,
        tag: Tag,
        bytes: usize,
        (consistency, command): (Consistency, Command<Shared>),
        answer_bytes: usize,
    ) {
        self.room.end(bytes);
        let Some(client) = self.connections.get_mut(&connection) else { return };
        client.defer(tag, consistency, command, answer_bytes);
        client.settle(&mut self.memory);
        if !std::mem::replace(&mut client.dirty, true) {
            self.dirty.push(connection);
        }
    }

    /// Hands the reply to a command of so many bytes to its connection, if the connection still exists.
    pub fn reply(&mut self, connection: u64, tag: Tag, bytes: usize, reply: Reply<&[u8]>) {
        self.room.end(bytes);
        if let Some(client) = self.connections.get_mut(&connection) {
            if let Reply::Value { value, .. } = reply {
                client.value_came(value.len());
            }
            client.release(tag);
            client.protocol.reply(tag, reply);
            client.order.answered(tag);
            client.settle(&mut self.memory);
            if !std::mem::replace(&mut client.dirty, true) {
                self.dirty.push(connection);
            }
        }
    }

    /// Answers a question about the node.
    pub fn answer(&mut self, connection: u64, tag: Tag, answer: LocalAnswer) {
        if let Some(client) = self.connections.get_mut(&connection) {
            client.protocol.answer(tag, answer);
        }
    }

    /// Redirects the client, if its connection accepts redirects. Returns whether it does.
    pub fn redirect(&mut self, connection: u64, tag: Tag, bucket: Bucket, host: &str, port: u16) -> bool {
        let Some(client) = self.connections.get_mut(&connection) else { return false };
        let taken = client.protocol.redirect(tag, bucket, host, port);
        if taken {
            client.release(tag);
            client.order.answered(tag);
            client.settle(&mut self.memory);
        }
        taken
    }

    /// A client beyond the limit has had its time to say what it wants.
    pub fn give_up_waiting(&mut self, connection: u64) {
        if let Some(client) = self.connections.get_mut(&connection) {
            client.protocol.give_up_waiting();
            client.write.notify();
        }
    }

    /// Swaps the output out. Returns true if the connection is to be closed after that output.
    pub fn take_output(&mut self, connection: u64, buffer: &mut Vec<u8>) -> bool {
        let Some(client) = self.connections.get_mut(&connection) else { return true };
        std::mem::swap(client.protocol.out(), buffer);
        self.output_bytes += buffer.len() as u64;
        client.begins_to_send(if buffer.is_empty() { 0 } else { buffer.capacity() }, clock::mono);
        client.settle(&mut self.memory);
        client.protocol.closing()
    }

    /// The socket has taken a part of the output of a connection.
    pub fn sends_on(&mut self, connection: u64) {
        if let Some(client) = self.connections.get_mut(&connection) {
            client.sends_on(clock::mono());
        }
    }

    /// The socket has taken all the output of a connection.
    pub fn sent(&mut self, connection: u64) {
        if let Some(client) = self.connections.get_mut(&connection) {
            client.begins_to_send(0, clock::mono);
            client.settle(&mut self.memory);
        }
        if let Some((_, since)) = self.sample.take_if(|(sampled, _)| *sampled == connection) {
            self.reply_us.record_span(clock::now().mono.since(since));
        }
    }

    /// The bytes that an HTTP client has sent so far, and how much it is served; `None` for another protocol.
    pub fn take_http(&mut self, connection: u64) -> Option<(Vec<u8>, Service)> {
        let client = self.connections.get_mut(&connection)?;
        let service = client.protocol.service();
        client.protocol.speaks_http().then(|| (client.protocol.take_input(), service))
    }

    /// CLIENT LIST: a line for each connection, or for those with these numbers.
    pub fn describe(&self, ids: Option<&[u64]>, now: Mono) -> String {
        let mut text = String::new();
        for client in self.connections.values() {
            if ids.is_none_or(|ids| ids.contains(&client.protocol.id())) {
                let seconds = |since: Mono| now.since(since).as_ms() / 1000;
                client.protocol.describe(&mut text, seconds(client.opened), seconds(client.served));
            }
        }
        text
    }

    /// The name, in the client's protocol, of the command that its connection began last.
    pub fn doing(&self, connection: u64) -> Option<&'static str> {
        self.connections.get(&connection)?.protocol.doing()
    }

    /// Whether a connection is not read from because a read of it waits for room.
    pub fn waits_with_read(&self, connection: u64) -> bool {
        self.connections.get(&connection).is_some_and(|client| client.is_paused && client.is_read_deferred())
    }

    /// Whether a connection must let others run before it goes on.
    pub fn rests(&self, connection: u64) -> bool {
        self.connections.get(&connection).is_some_and(|client| client.rests)
    }

    /// The state of a connection after received bytes were processed.
    pub fn after_reading(&self, connection: u64) -> AfterReading {
        let client = self.connections.get(&connection);
        AfterReading {
            http: client.is_some_and(|client| client.protocol.speaks_http()),
            rests: client.is_some_and(|client| client.rests),
        }
    }

    /// Whether the output or state of some connection changed and its tasks do not know yet.
    pub fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Wakes a connection's writer at once if there is something to send, instead of at the turn's end.
    /// Called by the connection's own task, which polls the writer next.
    pub fn wake_if_due(&mut self, connection: u64) {
        let Some(client) = self.connections.get_mut(&connection) else { return };
        if client.protocol.closing() || !client.protocol.out().is_empty() || client.rests {
            client.write.set();
        }
        client.settle(&mut self.memory);
        if client.is_paused && client.wants_read() {
            client.read.notify();
        }
        if self.dirty.last() == Some(&connection) {
            self.dirty.pop();
            client.dirty = false;
        }
    }

    /// Wakes the tasks of every connection that changed this turn.
    pub fn flush(&mut self) {
        if self.sample.is_none()
            && let Some(&first) = self.dirty.first()
        {
            self.sample = Some((first, clock::now().mono));
        }
        for connection in self.dirty.drain(..) {
            if let Some(client) = self.connections.get_mut(&connection) {
                client.dirty = false;
                client.write.notify();
                client.read.notify();
            }
        }
        let mut granted = [0; 2];
        while let Some(connection) = self.room.next_parked(&mut granted) {
            if let Some(client) = self.connections.get_mut(&connection) {
                client.is_parked = false;
                client.write.notify(); // its writer asks it for more
            }
        }
        if let Some(connection) = self.memory.beyond()
            && self.connections.get(&connection).is_none_or(|client| client.charged() == 0)
        {
            self.memory.has_come_back(connection);
        }
        if let Some(connection) = self.memory.next_in_line()
            && let Some(client) = self.connections.get(&connection)
        {
            client.write.notify();
            client.read.notify();
        }
    }

    // --- the end of the node -------------------------------------------------------------------------

    /// The node is about to stop: each connection ends at the first moment at which everything that its client has
    /// sent is answered. Those of the binary protocol, which may have no such moment, are told with each answer.
    pub fn let_go(&mut self) {
        self.is_leaving = true;
        self.connections.values_mut().for_each(ClientConnection::let_go);
    }

    /// Ends the connections that have been let go and on which nothing has been asked since: those of HTTP, whose
    /// clients are told with their next answer, and those that have sent nothing yet.
    pub fn end_silent(&mut self) {
        self.connections.values_mut().for_each(ClientConnection::give_up_waiting);
    }

    /// Whether everything that the client has sent, as far as it was read, is answered, and it is to go.
    pub fn may_end(&self, connection: u64) -> bool {
        self.is_leaving && self.connections.get(&connection).is_some_and(ClientConnection::is_idle)
    }

    /// Ends a connection behind the answers that are there, if it still may end.
    pub fn end_idle(&mut self, connection: u64) {
        if self.may_end(connection)
            && let Some(client) = self.connections.get_mut(&connection)
        {
            client.protocol.end();
        }
    }

    // --- HTTP ----------------------------------------------------------------------------------------

    /// An HTTP request needs so many bytes; false if it must wait until its connection's reader is woken.
    pub fn take_for_http(&mut self, connection: u64, bytes: usize) -> bool {
        let Some(client) = self.connections.get_mut(&connection) else { return true };
        let may = client.take_for_http(connection, bytes, &mut self.memory);
        client.settle(&mut self.memory);
        may
    }

    /// An HTTP request begins or ends to wait for its answer, and holds so many bytes.
    pub fn http_waits(&mut self, connection: u64, waits: bool, bytes: usize) {
        if let Some(client) = self.connections.get_mut(&connection) {
            client.http_waits(waits, bytes, clock::mono());
            client.settle(&mut self.memory);
        }
    }

    /// The socket of an HTTP connection has brought or taken bytes.
    pub fn http_moves(&mut self, connection: u64, received: usize, sent: usize) {
        self.input_bytes += received as u64;
        self.output_bytes += sent as u64;
        if let Some(client) = self.connections.get_mut(&connection) {
            client.http_moves(sent, clock::mono());
            client.settle(&mut self.memory);
        }
    }

    // --- slow clients --------------------------------------------------------------------------------

    /// Frees the memory of idle connections, and closes slow ones: those whose command is not complete in time
    /// and, while others wait for memory, those that have held it longest without taking part. Returns the
    /// numbers of those that it has closed.
    pub fn sweep(&mut self, now: Mono) -> Vec<(u64, SlowClient)> {
        let mut slow = Vec::new();
        let mut closed = Vec::new();
        for (&connection, client) in &mut self.connections {
            client.shrink(now);
            client.settle(&mut self.memory);
            if client.is_late(self.command_limit, now) {
                closed.push((connection, SlowClient::CommandLate));
            } else if self.memory.is_short()
                && let Some((since, why)) = client.slow_since(now)
            {
                slow.push((since, connection, why));
            }
        }
        slow.sort_unstable_by_key(|(since, connection, _)| (*since, *connection));
        let mut wanted = self.memory.wanted_bytes();
        for (_, connection, why) in slow {
            if wanted == 0 {
                break;
            }
            wanted =
                wanted.saturating_sub(self.connections.get(&connection).map_or(0, |client| client.charged()));
            closed.push((connection, why));
        }
        let id = |(connection, why): (u64, SlowClient)| {
            let client = self.connections.get_mut(&connection)?;
            client.end(why);
            self.closed_slow[SlowClient::ALL.iter().position(|known| *known == why)?] += 1;
            Some((client.protocol.id(), why))
        };
        closed.into_iter().filter_map(id).collect()
    }
}

/// The next ask of a connection that may be executed now, if there is room for its answer.
fn fetch(client: &mut ClientConnection, connection: u64, memory: &mut ClientMemory) -> Option<Ask> {
    if client.has_deferred() {
        return client.ask_deferred(connection, memory);
    }
    if memory.is_short() && client.is_sending() && client.charged() > 0 {
        return None; // its writer asks again
    }
    // A command that must wait is asked for again later: the answer it waits for produces output, and the
    // writer goes on after sending that.
    let ask = client.order.next_ask(|| client.protocol.next())?;
    let Ask::Command { tag, group, consistency, command } = ask else { return Some(ask) };
    match room_before(command.op) {
        None => Some(Ask::Command { tag, group, consistency, command }),
        Some(bytes) => {
            client.wait_for_room(DeferredAsk { tag, group, consistency, command, bytes });
            client.ask_deferred(connection, memory)
        }
    }
}

/// The room that a command needs for its answer before it is asked. What a read brings is known to those who
/// answer it.
fn room_before(op: Op) -> Option<usize> {
    match op {
        Op::Scan { .. } => Some(SCAN_PAGE_BYTES_MAX),
        // It is executed once: there must be room for its answer before.
        op => op.returns_old_value().then_some(VALUE_BYTES_MAX),
    }
}

#[cfg(test)]
mod tests;
