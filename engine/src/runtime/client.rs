//! Client connections of one core: accept, read, ask, write.
//!
//! The protocol is `synod_net::server::Connection`, which sees bytes only. A reader task feeds it and puts what it asks into
//! the core; a writer task sends, in one piece per turn, what replies have left in its output buffer.

use crate::node::RunError;
use crate::runtime::clock;
use crate::runtime::core::{Core, Running};
use crate::runtime::http;
use crate::runtime::io::Requester;
use crate::runtime::notify::Notify;
use crate::runtime::pace::{self, Pace, STEPS_PER_LOOK};
use crate::runtime::slow::{Watch, Work};
use crate::runtime::stream::{self, Stream};
use futures_lite::io::{AsyncReadExt, AsyncWriteExt};
use glommio::net::TcpListener;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use synod_net::Room;
use synod_net::server::{Ask, Connection, ConnectionConfig, Tag};
use synod_shard::Histogram;
use synod_types::{Ballot, Bucket, Command, GroupId, Mono, Now, Reply, Shared, bucket_of, group_of};

/// A write buffer larger than this is given back after use.
const KEEP_BYTES: usize = 1 << 20;

/// The connections of one core.
#[derive(Default)]
pub(crate) struct Clients {
    connections: BTreeMap<u64, Client>,
    next: u64,
    /// Connections whose output or state changed this turn.
    dirty: Vec<u64>,
    /// Connections ever.
    pub total: u64,
    /// Bytes received.
    pub input_bytes: u64,
    /// Bytes sent.
    pub output_bytes: u64,
    /// From a turn's end until the socket has taken its replies, microseconds; of one connection at a time.
    pub reply_us: Histogram,
    /// That connection, and when its replies were ready.
    sample: Option<(u64, Mono)>,
}

struct Client {
    protocol: Connection,
    open: OpenCommands,
    /// A command that must wait for one of those that are open; what was sent after it waits too.
    held: Option<Ask>,
    /// Its reader waits until `read` is notified.
    is_paused: bool,
    /// It has worked for a stretch and has more to do.
    rests: bool,
    pace: Rc<Pace>,
    dirty: bool,
    /// Wakes the writer: there is output, or an end.
    write: Rc<Notify>,
    /// Wakes the reader: there is room again.
    read: Rc<Notify>,
}

/// What a connection has asked and has no answer to.
///
/// A read waits for the writes of its key that were sent before it, a write for the reads: so a connection that pipelines sees
/// its own writes, and none that it sent later, as it would with a server that does one thing at a time.
///
/// Writes of one key keep their order by themselves while all of them go to the same leader. After a change of leader one that is on
/// its way to the old one may come back: a later one waits for it.
#[derive(Debug, Default)]
struct OpenCommands {
    writes: Vec<OpenWrite>,
    /// With a hash of the key, without one where it is a whole group's.
    reads: Vec<(Tag, Option<u32>)>,
}

/// A write without an answer.
#[derive(Debug)]
struct OpenWrite {
    tag: Tag,
    keys: Keys,
    /// The leader it goes to, as far as this core knows.
    to: Option<Ballot>,
}

/// What keys a command names, by their hashes. Two keys with one hash wait for each other for nothing, once in four thousand million.
#[derive(Debug)]
struct Keys {
    /// None where a whole group is meant: any key may be of it.
    first: Option<u32>,
    /// Ascending: a command of thousands of keys is held against thousands of commands.
    others: Box<[u32]>,
}

impl Keys {
    fn of<B: AsRef<[u8]>>(command: &Command<B>) -> Self {
        let hash = synod_types::checksum::crc32c;
        let mut others: Box<[u32]> = command.other_keys().map(hash).collect();
        others.sort_unstable();
        Self { first: (!command.op.is_keyless()).then(|| hash(command.key.as_ref())), others }
    }

    fn name(&self, key: Option<u32>) -> bool {
        match (self.first, key) {
            (Some(first), Some(key)) => first == key || self.others.binary_search(&key).is_ok(),
            _ => true,
        }
    }

    fn meet(&self, other: &Self) -> bool {
        self.name(other.first) || other.others.iter().any(|&key| self.name(Some(key)))
    }
}

impl OpenCommands {
    /// Notes a command as open, unless it must wait for one that is. `leader` says to whom it would go.
    fn admit<B: AsRef<[u8]>>(
        &mut self,
        tag: Tag,
        command: &Command<B>,
        leader: impl FnOnce() -> Option<Ballot>,
    ) -> bool {
        let keys = Keys::of(command);
        if !command.op.is_write() {
            let waits = self.writes.iter().any(|open| open.keys.name(keys.first));
            if !waits {
                self.reads.push((tag, keys.first));
            }
            return !waits;
        }
        let to = leader();
        if self.reads.iter().any(|(_, read)| keys.name(*read))
            || self.writes.iter().any(|open| open.to != to && open.keys.meet(&keys))
        {
            return false;
        }
        self.writes.push(OpenWrite { tag, keys, to });
        true
    }

    fn answered(&mut self, tag: Tag) {
        // What is answered at once was noted last; the lists are at most a pipeline long.
        if let Some(index) = self.reads.iter().rposition(|(open, _)| *open == tag) {
            self.reads.swap_remove(index);
        } else if let Some(index) = self.writes.iter().position(|open| open.tag == tag) {
            self.writes.swap_remove(index);
        }
    }
}

impl Client {
    /// Whether `ask` must wait for an earlier request of this connection; else it is noted as open. `leader` says to whom a write
    /// would go.
    fn must_wait(
        &mut self,
        ask: &Ask,
        leader: impl FnOnce(&Command<Shared>, Option<GroupId>) -> Option<Ballot>,
    ) -> bool {
        match ask {
            Ask::Command { tag, command, group, .. } => {
                !self.open.admit(*tag, command, || leader(command, *group))
            }
            _ => false,
        }
    }
}

impl Clients {
    /// Open connections.
    pub fn count(&self) -> u64 {
        self.connections.len() as u64
    }

    fn open(&mut self, protocol: impl FnOnce(u64) -> Connection) -> (u64, Rc<Notify>, Rc<Notify>, Rc<Pace>) {
        self.next += 1;
        let protocol = protocol(self.next);
        self.total += 1;
        let (write, read) = (Rc::new(Notify::default()), Rc::new(Notify::default()));
        let pace = Rc::new(Pace::default());
        let client = Client {
            protocol,
            open: OpenCommands::default(),
            held: None,
            is_paused: false,
            rests: false,
            pace: Rc::clone(&pace),
            dirty: false,
            write: Rc::clone(&write),
            read: Rc::clone(&read),
        };
        self.connections.insert(self.next, client);
        (self.next, write, read, pace)
    }

    /// Hands a reply to its connection, if it is still there.
    pub fn reply(&mut self, connection: u64, tag: Tag, reply: Reply<&[u8]>) {
        if let Some(client) = self.connections.get_mut(&connection) {
            client.protocol.reply(tag, reply);
            client.open.answered(tag);
            if !std::mem::replace(&mut client.dirty, true) {
                self.dirty.push(connection);
            }
        }
    }

    /// Tells the client where to ask, if its connection lets itself be told.
    pub fn redirect(&mut self, connection: u64, tag: Tag, bucket: Bucket, host: &str, port: u16) -> bool {
        let Some(client) = self.connections.get_mut(&connection) else { return false };
        let taken = client.protocol.redirect(tag, bucket, host, port);
        if taken {
            client.open.answered(tag);
        }
        taken
    }

    fn close(&mut self, connection: u64) {
        self.connections.remove(&connection);
        self.sample.take_if(|(sampled, _)| *sampled == connection);
    }

    /// The socket has taken all that a connection had to send.
    fn sent(&mut self, connection: u64) {
        if let Some((_, since)) = self.sample.take_if(|(sampled, _)| *sampled == connection) {
            self.reply_us.record_span(clock::now().mono.since(since));
        }
    }

    /// Has a connection's writer look at once if there is something to send, instead of at the turn's end. Called by the
    /// connection's own task, which is polled on to the writer.
    fn wake_if_due(&mut self, connection: u64) {
        let Some(client) = self.connections.get_mut(&connection) else { return };
        if client.protocol.closing() || !client.protocol.out().is_empty() || client.rests {
            client.write.set();
        }
        if client.is_paused && client.protocol.wants_read() {
            client.read.notify();
        }
        if self.dirty.last() == Some(&connection) {
            self.dirty.pop();
            client.dirty = false;
        }
    }

    /// What a connection's client calls the command that was begun last.
    fn doing(&self, connection: u64) -> Option<&'static str> {
        self.connections.get(&connection)?.protocol.doing()
    }

    /// Whether a connection is to let others have their turn before it goes on.
    fn rests(&self, connection: u64) -> bool {
        self.connections.get(&connection).is_some_and(|client| client.rests)
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
    }
}

/// Listens on the shared client port and on this core's own.
pub(crate) fn listen(running: &Running) -> Result<(), RunError> {
    let setup = &running.node.setup;
    let own = setup.own();
    let ports = [Some(own.client_port), own.core_port(running.me)];
    for port in ports.into_iter().flatten() {
        let addr = SocketAddr::new(setup.listen, port);
        let listener = TcpListener::bind(addr)
            .map_err(|error| RunError::Failed(format!("cannot listen for clients on {addr}: {error}")))?;
        let running = running.clone();
        glommio::spawn_local(async move { accept(running, listener).await }).detach();
    }
    Ok(())
}

async fn accept(running: Running, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok(stream) => {
                let limit = running.node.setup.options.connections_max as u64;
                if running.with_quiet(|core| core.io.clients.count()) >= limit {
                    drop(stream); // the kernel's close is the clearest answer that costs nothing
                    continue;
                }
                let _ = stream.set_nodelay(true); // only a broken socket refuses; the read will say so
                let address =
                    |addr: glommio::Result<SocketAddr, ()>| addr.map(|a| a.to_string()).unwrap_or_default();
                let (peer, local) = (stream.peer_addr(), stream.local_addr());
                let is_loopback = peer.as_ref().is_ok_and(|peer| peer.ip().to_canonical().is_loopback());
                let ends = Ends { peer: address(peer), is_loopback, local: address(local) };
                let running = running.clone();
                glommio::spawn_local(async move { serve(running, stream, ends).await }).detach();
            }
            Err(error) => {
                eprintln!("synod: core {}: accept of a client failed: {error}", running.me.get());
                glommio::timer::sleep(Duration::from_millis(50)).await; // out of descriptors: let others close theirs
            }
        }
    }
}

/// Who is at the ends of a connection.
struct Ends {
    peer: String,
    is_loopback: bool,
    local: String,
}

/// Serves one connection to its end.
async fn serve<S: Stream>(running: Running, stream: S, ends: Ends) {
    let Ends { peer: peer_address, is_loopback, local: local_address } = ends;
    let (connection, write, read, pace) = running.with_quiet(|core| {
        let server = Rc::clone(&core.server);
        // Numbers are unique over the node's cores.
        let cores = u64::from(core.node().setup.cores());
        core.io.clients.open(|number| {
            let id = number * cores + u64::from(running.me.get());
            Connection::new(ConnectionConfig { server, id, peer_address, is_loopback, local_address })
        })
    });
    let (mut reader, mut writer) = stream::split(stream);
    let reading = read_loop(&running, connection, &mut reader, read);
    let writing = write_loop(&running, connection, &mut writer, write);
    // Whichever ends first ends the connection: a reader at the client's end has seen every reply out (see there).
    pace.watch(futures_lite::future::or(reading, writing)).await;
    if let Some(first) = running.with_quiet(|core| core.take_http(connection)) {
        // Boxed: every other connection would carry its size.
        Box::pin(http::serve(&running, is_loopback, first, reader, writer)).await;
    }
    running.with_quiet(|core| core.io.clients.close(connection));
}

async fn read_loop<S: Stream>(
    running: &Running,
    connection: u64,
    reader: &mut stream::Reader<S>,
    wake: Rc<Notify>,
) {
    loop {
        let mut room = loop {
            match running.with_quiet(|core| core.room_to_read(connection)) {
                Some(room) => break room,
                None => wake.notified().await,
            }
        };
        match reader.read(&mut room).await {
            // An end or a broken socket: what is still owed goes out if it can, then the writer ends the connection.
            Ok(0) | Err(_) => {
                if running.with_quiet(|core| core.client_gone(connection)) {
                    running.wake();
                }
                std::future::pending::<()>().await;
            }
            Ok(count) => {
                let got = running.with_quiet(|core| core.received(connection, room, count));
                if got.turn {
                    running.wake();
                }
                if got.http {
                    return;
                }
                if got.rests {
                    pace::rest().await;
                }
            }
        }
    }
}

async fn write_loop<S: Stream>(
    running: &Running,
    connection: u64,
    writer: &mut stream::Writer<S>,
    wake: Rc<Notify>,
) {
    let mut buffer = Vec::new();
    // Whether the connection was asked for more since the last wake.
    let mut gone_on = true;
    loop {
        let ended = running.with_quiet(|core| core.take_output(connection, &mut buffer));
        if !buffer.is_empty() {
            if writer.write_all(&buffer).await.is_err() {
                return;
            }
            buffer.clear();
            if buffer.capacity() > KEEP_BYTES {
                buffer = Vec::new();
            }
            // Room was made: what waited in the input may go on.
            let rests = running.with_quiet(|core| {
                core.io.clients.sent(connection);
                core.io.clients.rests(connection)
            });
            if rests {
                pace::rest().await;
            }
            if running.with_quiet(|core| core.go_on(connection)) {
                running.wake();
            }
            gone_on = true;
            continue;
        }
        if ended {
            // All is sent. The close is seen by the client after the last reply.
            let _ = writer.close().await;
            return;
        }
        // A reply that made no output may be what the next step of a command, or a read held back, waited for.
        if !std::mem::replace(&mut gone_on, true) {
            if running.with_quiet(|core| core.io.clients.rests(connection)) {
                pace::rest().await;
            }
            if running.with_quiet(|core| core.go_on(connection)) {
                running.wake();
            }
            continue;
        }
        wake.notified().await;
        gone_on = false;
    }
}

/// What came of bytes from a client.
struct Received {
    /// A turn is due.
    turn: bool,
    /// The stream turns out to be HTTP's, and so not this module's.
    http: bool,
    /// There is more to do, but others first.
    rests: bool,
}

impl Core {
    /// Where to read to, if the connection wants anything.
    fn room_to_read(&mut self, connection: u64) -> Option<Room> {
        let client = self.io.clients.connections.get_mut(&connection)?;
        client.is_paused = !client.protocol.wants_read();
        (!client.is_paused).then(|| client.protocol.lend())
    }

    fn received(&mut self, connection: u64, room: Room, count: usize) -> Received {
        self.io.clients.input_bytes += count as u64;
        if let Some(client) = self.io.clients.connections.get_mut(&connection) {
            client.protocol.put(room, count);
        }
        let turn = self.go_on(connection);
        let client = self.io.clients.connections.get(&connection);
        Received {
            turn,
            http: client.is_some_and(|client| client.protocol.speaks_http()),
            rests: client.is_some_and(|client| client.rests),
        }
    }

    /// What an HTTP client has sent so far; nothing where another protocol is spoken.
    fn take_http(&mut self, connection: u64) -> Option<Vec<u8>> {
        let client = self.io.clients.connections.get_mut(&connection)?;
        client.protocol.speaks_http().then(|| client.protocol.take_input())
    }

    /// Puts what the connection asks for now into the core, for a stretch at most; whether a turn is due for it. What is answered
    /// at once, as reads mostly are, needs none.
    fn go_on(&mut self, connection: u64) -> bool {
        let now = clock::now();
        let groups = self.node().setup.facts().group_count;
        let (mut turn, mut unseen) = (false, None);
        let (mut watch, mut steps) = (Watch::new(now.mono), 0);
        let mut slow_command = None;
        while let Some(client) = self.io.clients.connections.get_mut(&connection) {
            client.rests = client.pace.is_over(watch.looked());
            if client.rests {
                break;
            }
            let Some(ask) = client.held.take().or_else(|| client.protocol.next()) else { break };
            let leader = |command: &Command<Shared>, group: Option<GroupId>| {
                self.replica
                    .shard()
                    .leader_of(group.unwrap_or_else(|| group_of(bucket_of(command.key.as_ref()), groups)))
            };
            if client.must_wait(&ask, leader) {
                // The answer it waits for makes output, and the writer comes back here after sending it.
                client.held = Some(ask);
                break;
            }
            let answered = self.io.commands;
            let is_command = matches!(ask, Ask::Command { .. });
            let work = Work::of_ask(&ask);
            self.ask(connection, ask, now);
            turn |= is_command && self.io.commands == answered;
            steps += 1;
            if !work.is_long() && steps % STEPS_PER_LOOK != 0 {
                unseen = Some(work);
            } else {
                unseen = None;
                if watch.look(clock::mono(), work) {
                    slow_command = self.io.clients.doing(connection);
                }
            }
        }
        // Once per bytes received, not per command.
        if let Some(work) = unseen
            && watch.look(clock::mono(), work)
        {
            slow_command = self.io.clients.doing(connection);
        }
        self.end_turn(&watch, slow_command);
        self.io.clients.wake_if_due(connection);
        turn || !self.io.clients.dirty.is_empty()
    }

    fn ask(&mut self, connection: u64, ask: Ask, now: Now) {
        match ask {
            Ask::Command { tag, group, consistency, command } => {
                let groups = self.node().setup.facts().group_count;
                let bucket = bucket_of(command.key.as_ref());
                let group = group.unwrap_or_else(|| group_of(bucket, groups));
                if self.redirect(connection, tag, bucket, group) {
                    return;
                }
                let requester = Requester::Connection { connection, tag };
                self.command(requester, group, consistency, command, now);
            }
            Ask::Local { tag, query } => {
                let answer = self.local(&query);
                if let Some(client) = self.io.clients.connections.get_mut(&connection) {
                    client.protocol.answer(tag, answer);
                }
            }
            // The writer sees the close by `closing` once everything is sent.
            Ask::Close | Ask::Pause => {}
        }
    }

    fn client_gone(&mut self, connection: u64) -> bool {
        if let Some(client) = self.io.clients.connections.get_mut(&connection) {
            client.protocol.received_end();
        }
        self.go_on(connection)
    }

    /// Swaps the output out; true once the connection is to be closed after it.
    fn take_output(&mut self, connection: u64, buffer: &mut Vec<u8>) -> bool {
        let Some(client) = self.io.clients.connections.get_mut(&connection) else { return true };
        std::mem::swap(client.protocol.out(), buffer);
        self.io.clients.output_bytes += buffer.len() as u64;
        client.protocol.closing()
    }
}

#[cfg(test)]
mod tests;
