//! The client connections of one core: each one's protocol, the commands of its pipeline that are under way,
//! and the tasks to wake.
//!
//! ```text
//!  reader ─▶ lend, put ─▶ ┌─────────┐ ─▶ next_ask ─▶ the core
//!                         │ Clients │ ◀─ reply, answer, redirect
//!  writer ◀─ take_output ─└─────────┘ ◀─ flush, once a turn
//! ```
//! The protocol is `synod_net::server::Connection`, which sees bytes only. The order of a pipeline's commands
//! is `synod_net::server::CommandOrder`.
//!
//! May not: know a socket, or execute anything.

use crate::runtime::clock;
use crate::runtime::notify::Notify;
use crate::runtime::pace::TaskPace;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use synod_net::ReadBuffer;
use synod_net::server::{Ask, CommandOrder, Connection, LocalAnswer, Service, Tag};
use synod_shard::Histogram;
use synod_types::{Bucket, Mono, Reply};

/// Connections of one core beyond `limits.connections`. They are for clients that have not said yet what they
/// want, for probes and metrics, and for an operator.
const SPARE_PLACES: u64 = 64;
/// Room for a command of any size.
const COMMAND_BYTES_LARGE: usize = 2 << 20;
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

/// Bytes of clients' commands that are under way on one core. While there are too many, no connection is asked
/// for another command and none that waits is read from: a big pipeline is slow, not refused (P-14b).
#[derive(Debug)]
struct CommandRoom {
    bytes_max: usize,
    bytes: usize,
    /// Connections that wait for room, in order.
    parked: VecDeque<u64>,
}

impl Default for CommandRoom {
    fn default() -> Self {
        Self { bytes_max: usize::MAX, bytes: 0, parked: VecDeque::new() }
    }
}

impl CommandRoom {
    fn is_full(&self) -> bool {
        self.bytes >= self.bytes_max
    }

    /// The connections that may go on: about as many as there is room for, so that none of them finds it taken.
    fn next_parked(&mut self) -> impl Iterator<Item = u64> {
        let room = self.bytes_max.saturating_sub(self.bytes);
        let count = (room / COMMAND_BYTES_LARGE).min(self.parked.len());
        self.parked.drain(..count)
    }
}

struct ClientConnection {
    protocol: Connection,
    opened: Mono,
    /// When it was asked last for commands: it had sent some, or had been answered.
    served: Mono,
    order: CommandOrder,
    /// Its reader waits until `read` is notified.
    is_paused: bool,
    /// It has used up its stretch and has more to do.
    rests: bool,
    /// It waits for room for its next command.
    is_parked: bool,
    pace: Rc<TaskPace>,
    dirty: bool,
    /// Wakes the writer: there is output, or the connection is to be closed.
    write: Rc<Notify>,
    /// Wakes the reader: there is room again.
    read: Rc<Notify>,
}

/// The parts of a connection that its tasks hold.
pub(crate) struct OpenedClient {
    /// Its number in the table.
    pub connection: u64,
    /// Wakes the writer.
    pub write: Rc<Notify>,
    /// Wakes the reader.
    pub read: Rc<Notify>,
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
        let protocol = protocol(self.next);
        self.total += 1;
        let (write, read) = (Rc::new(Notify::default()), Rc::new(Notify::default()));
        let pace = Rc::new(TaskPace::default());
        let now = clock::mono();
        let client = ClientConnection {
            protocol,
            opened: now,
            served: now,
            order: CommandOrder::default(),
            is_paused: false,
            rests: false,
            is_parked: false,
            pace: Rc::clone(&pace),
            dirty: false,
            write: Rc::clone(&write),
            read: Rc::clone(&read),
        };
        self.connections.insert(self.next, client);
        OpenedClient { connection: self.next, write, read, pace }
    }

    /// A connection has ended.
    pub fn close(&mut self, connection: u64) {
        let is_closed = self.connections.remove(&connection).is_some();
        if is_closed && !self.spare.remove(&connection) {
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

    /// The buffer to read into, if the connection wants more bytes.
    pub fn lend(&mut self, connection: u64) -> Option<ReadBuffer> {
        let client = self.connections.get_mut(&connection)?;
        client.is_paused = !client.wants_read();
        (!client.is_paused).then(|| client.protocol.lend())
    }

    /// Returns that buffer, with `count` bytes read into it.
    pub fn put(&mut self, connection: u64, room: ReadBuffer, count: usize) {
        self.input_bytes += count as u64;
        if let Some(client) = self.connections.get_mut(&connection) {
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
        if client.rests {
            return None;
        }
        if self.room.is_full() {
            if !std::mem::replace(&mut client.is_parked, true) {
                self.room.parked.push_back(connection);
            }
            return None;
        }
        // A command that must wait is asked for again later: the answer it waits for produces output, and the
        // writer goes on after sending that.
        client.order.next_ask(|| client.protocol.next())
    }

    /// Sets how many bytes of commands may be under way.
    pub fn set_command_bytes_max(&mut self, bytes_max: usize) {
        self.room.bytes_max = bytes_max;
    }

    /// A command is under way; it is counted until [`Clients::reply`].
    pub fn begin(&mut self, bytes: usize) {
        self.room.bytes += bytes;
    }

    /// Bytes of commands that are under way.
    #[cfg(test)]
    fn command_bytes(&self) -> usize {
        self.room.bytes
    }

    /// Hands the reply to a command of so many bytes to its connection, if the connection still exists.
    pub fn reply(&mut self, connection: u64, tag: Tag, bytes: usize, reply: Reply<&[u8]>) {
        assert!(bytes <= self.room.bytes, "commands under way are miscounted");
        self.room.bytes -= bytes;
        if let Some(client) = self.connections.get_mut(&connection) {
            client.protocol.reply(tag, reply);
            client.order.answered(tag);
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
            client.order.answered(tag);
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
        client.protocol.closing()
    }

    /// The socket has taken all the output of a connection.
    pub fn sent(&mut self, connection: u64) {
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
        for connection in self.room.next_parked() {
            if let Some(client) = self.connections.get_mut(&connection) {
                client.is_parked = false;
                client.write.notify(); // its writer asks it for more
            }
        }
    }
}

impl ClientConnection {
    fn wants_read(&self) -> bool {
        !self.is_parked && self.protocol.wants_read()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use synod_net::server::{ConnectionConfig, ServerConfig};
    use synod_types::{Op, Version};

    fn open(clients: &mut Clients) -> u64 {
        let opened = clients.open(Service::Full, |id| {
            let (peer_address, local_address) = (String::new(), String::new());
            Connection::new(ConnectionConfig {
                server: Rc::new(ServerConfig::default()),
                id,
                peer_address,
                is_loopback: true,
                local_address,
                is_core_port: false,
                service: Service::Full,
            })
        });
        opened.connection
    }

    fn send(clients: &mut Clients, connection: u64, bytes: &[u8]) {
        let mut room = clients.lend(connection).expect("an idle connection reads");
        room[..bytes.len()].copy_from_slice(bytes);
        clients.put(connection, room, bytes.len());
    }

    /// The tag and the operation of the next command, if one may be executed.
    fn next(clients: &mut Clients, connection: u64) -> Option<(Tag, Op)> {
        match clients.next_ask(connection, Mono::ZERO)? {
            Ask::Command { tag, command, .. } => Some((tag, command.op)),
            other => panic!("no command: {other:?}"),
        }
    }

    #[test]
    fn no_command_begins_while_too_many_bytes_are_under_way_and_all_go_on_in_turn() {
        let mut clients = Clients::default();
        clients.set_command_bytes_max(3 * COMMAND_BYTES_LARGE);
        let [first, second, third] = [(); 3].map(|()| open(&mut clients));
        for connection in [first, second, third] {
            send(&mut clients, connection, b"SET k v\r\nSET l v\r\n");
        }
        let (tag, _) = next(&mut clients, first).expect("there is room");
        clients.begin(3 * COMMAND_BYTES_LARGE);
        for connection in [second, first, third, second] {
            assert!(next(&mut clients, connection).is_none());
            assert!(clients.lend(connection).is_none(), "nothing more is read");
        }
        clients.reply(first, tag, COMMAND_BYTES_LARGE - 1, Reply::Done { version: Version::default() });
        clients.flush();
        assert!(clients.lend(second).is_none(), "there is not room enough for any command");
        clients.reply(first, tag, COMMAND_BYTES_LARGE + 1, Reply::Done { version: Version::default() });
        clients.flush();
        assert!(clients.lend(second).is_some() && clients.lend(first).is_some());
        assert!(clients.lend(third).is_none(), "it waits for its turn");
        assert!(next(&mut clients, second).is_some());
        assert_eq!(clients.command_bytes(), COMMAND_BYTES_LARGE);
        clients.close(third);
        clients.reply(first, tag, COMMAND_BYTES_LARGE, Reply::Done { version: Version::default() });
        clients.flush();
        assert_eq!(clients.command_bytes(), 0);
    }

    #[test]
    fn a_read_goes_when_the_write_before_it_is_answered() {
        let mut clients = Clients::default();
        let connection = open(&mut clients);
        send(&mut clients, connection, b"SET k v\r\nGET k\r\n");
        let (tag, op) = next(&mut clients, connection).expect("the write");
        assert!(op.is_write() && next(&mut clients, connection).is_none());
        assert!(!clients.is_dirty());
        clients.reply(connection, tag, 0, Reply::Done { version: Version::default() });
        assert!(clients.is_dirty());
        assert_eq!(next(&mut clients, connection).map(|(_, op)| op), Some(Op::Get));
        clients.close(connection);
        assert!(next(&mut clients, connection).is_none());
    }

    /// Admits a connection while one may be open: how much it is served, and its number.
    fn admit(clients: &mut Clients, is_loopback: bool) -> Option<(Service, u64)> {
        let admitted = clients.admit(1, is_loopback, |id, service| {
            Connection::new(ConnectionConfig {
                server: Rc::new(ServerConfig::default()),
                id,
                peer_address: String::new(),
                is_loopback,
                local_address: String::new(),
                is_core_port: false,
                service,
            })
        });
        admitted.map(|(service, opened)| (service, opened.connection))
    }

    #[test]
    fn beyond_the_limit_there_are_a_few_places_and_the_last_are_for_this_machine() {
        let mut clients = Clients::default();
        assert_eq!(admit(&mut clients, false), Some((Service::Full, 1)));
        for number in 0..SPARE_PLACES - LOOPBACK_PLACES {
            assert_eq!(admit(&mut clients, false), Some((Service::Spare, 2 + number)));
        }
        assert_eq!(admit(&mut clients, false), None);
        for number in SPARE_PLACES - LOOPBACK_PLACES..SPARE_PLACES {
            assert_eq!(admit(&mut clients, true), Some((Service::Spare, 2 + number)));
        }
        assert_eq!(admit(&mut clients, true), None);
        // The place within the limit goes to the oldest beyond it, whose own place is free then.
        clients.close(1);
        assert_eq!(admit(&mut clients, true), Some((Service::Spare, 2 + SPARE_PLACES)));
        assert_eq!(admit(&mut clients, true), None);
        // With nobody beyond the limit, the next one gets the place.
        for number in 2..3 + SPARE_PLACES {
            clients.close(number);
        }
        assert_eq!(clients.count(), 0);
        assert_eq!(admit(&mut clients, false), Some((Service::Full, 3 + SPARE_PLACES)));
    }

    #[test]
    fn who_waits_beyond_the_limit_is_served_once_there_is_a_place() {
        let mut clients = Clients::default();
        let [_, (_, http), (_, refused), (_, pool)] =
            [(); 4].map(|()| admit(&mut clients, true).expect("a place"));
        let mut buffer = Vec::new();
        let mut asked = |clients: &mut Clients, connection, line: &[u8]| {
            send(clients, connection, line);
            let ask = clients.next_ask(connection, Mono::ZERO);
            let asks = matches!(ask, Some(Ask::Command { .. }));
            clients.take_output(connection, &mut buffer);
            (asks, String::from_utf8(std::mem::take(&mut buffer)).expect("text"))
        };
        // HTTP is served elsewhere, and a client that was refused is on its way out.
        assert_eq!(asked(&mut clients, http, b"GET / HTTP/1.1\r\n"), (false, String::new()));
        let (asks, said) = asked(&mut clients, refused, b"GET k\r\n");
        assert!(!asks && said.starts_with("-ERR max number of clients"), "{said}");
        assert_eq!(asked(&mut clients, pool, b"CLIENT ID\r\n"), (false, format!(":{pool}\r\n")));
        clients.close(1);
        assert_eq!(asked(&mut clients, pool, b"GET k\r\n"), (true, String::new()));
        // Its patience ran out only for those that wait.
        let (_, silent) = admit(&mut clients, true).expect("a place");
        clients.close(pool);
        clients.give_up_waiting(silent);
        assert_eq!(asked(&mut clients, silent, b"GET k\r\n"), (true, String::new()));
        assert_eq!(admit(&mut clients, true).map(|(service, _)| service), Some(Service::Spare));
    }
}
