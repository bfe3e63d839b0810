//! Clients that come while the node starts. Their ports are open before the logs are replayed, so that a client
//! learns that the node is loading instead of finding a closed port.
//!
//! ```text
//!  open ─▶ a thread: accepts, answers LOADING, 503, "no leader" ─▶ take_over ─▶ each core's own listeners
//! ```
//! The sockets that listen are the same ones before and after, so there is no moment at which a client cannot
//! connect. Connections that were made meanwhile are closed at the end: their state belongs to this thread.
//!
//! May not: use the executors, which are busy with replay; or say anything about keys.

use crate::node::{NodeSetup, RunError};
use crate::sys;
use crate::voice::{self, NodeEvent};
use nix::poll::{PollFd, PollFlags};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use synod_net::access::Access;
use synod_net::binary::ServerInfo;
use synod_net::http::HttpError;
use synod_net::server::{Ask, Connection, ConnectionConfig, InfoField, InfoValue, LocalAnswer, LocalQuery};
use synod_net::server::{ServerConfig, Service};
use synod_types::{CoreId, Reply};

/// Connections that wait for their `accept`, per listener.
const BACKLOG: usize = 1024;
/// Connections that are served at a time; others wait in the backlog.
const CLIENTS_MAX: usize = 256;
/// While all places are taken, a client that has been silent for this long loses its place.
const SILENT: Duration = Duration::from_secs(1);
/// How long a client may take to close its end after everything was said.
const FAREWELL: Duration = Duration::from_secs(1);
/// Interval between two checks of the times above.
const LOOK_MS: i32 = 250;
/// No connection is accepted for this long after one could not be: the node may have no descriptor left.
const ACCEPT_PAUSE_MS: i32 = 50;
/// Bytes per read.
const READ_BYTES: usize = 16 << 10;
/// The body of `/healthz`: the process lives, and whoever restarts it would only begin the replay anew.
const HEALTHY: &str = "loading\n";

/// One socket that listens for clients.
#[derive(Debug)]
pub(crate) struct ClientListener {
    /// The socket.
    pub socket: TcpListener,
    /// The core that serves it once the node serves.
    pub core: CoreId,
    /// Whether the port is this core's own.
    pub is_core_port: bool,
}

/// What these clients are told about the node.
#[derive(Clone)]
pub(crate) struct EarlyFacts {
    /// The identity of the node.
    pub info: ServerInfo,
    /// The client port of the node.
    pub port: u16,
    /// The clients that the node admits.
    pub access: Access,
    /// Bytes of the logs replayed so far.
    pub replayed: Arc<AtomicU64>,
}

impl EarlyFacts {
    /// The facts of the node that `setup` describes; its cores count what they replay in `replayed`.
    pub fn of(setup: &NodeSetup, replayed: Arc<AtomicU64>) -> Self {
        let info = ServerInfo {
            cluster: setup.facts().cluster,
            node: setup.node(),
            group_count: setup.facts().group_count,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        Self { info, port: setup.own().client_port, access: setup.options.access.clone(), replayed }
    }
}

/// The listeners, and the thread that serves them until the cores do.
pub(crate) struct EarlyClients(Mutex<Stage>);

enum Stage {
    Serving {
        end: Arc<File>,
        thread: JoinHandle<Vec<ClientListener>>,
    },
    /// The listeners that no core has taken over yet.
    Over(Vec<ClientListener>),
}

impl EarlyClients {
    /// Opens every client port of the node, and serves it from a thread.
    ///
    /// # Errors
    /// When a port cannot be opened or the thread cannot be started.
    pub fn open(setup: &NodeSetup, facts: EarlyFacts) -> Result<Self, RunError> {
        let own = setup.own();
        let mut listeners = Vec::new();
        for core in (0..setup.cores()).map(CoreId::new) {
            let numbers = [(Some(own.client_port), false), (own.core_port(core), true)];
            for (number, is_core_port) in numbers {
                let Some(number) = number else { continue };
                let addr = SocketAddr::new(setup.listen, number);
                let socket = listen(addr).map_err(|error| {
                    RunError::Failed(format!("cannot listen for clients on {addr}: {error}"))
                })?;
                listeners.push(ClientListener { socket, core, is_core_port });
            }
        }
        Self::serve(listeners, facts)
            .map_err(|error| RunError::Failed(format!("cannot serve clients during the start: {error}")))
    }

    fn serve(listeners: Vec<ClientListener>, facts: EarlyFacts) -> io::Result<Self> {
        let end = Arc::new(sys::event()?);
        let signal = Arc::clone(&end);
        let thread = std::thread::Builder::new().name("synod-loading".to_owned()).spawn(move || {
            // Without poll there is no way to wait for clients; they wait in the backlog then.
            if let Err(error) = Host::new(&facts).run(&listeners, &signal) {
                voice::say(None, NodeEvent::AcceptFailed { of: "client", why: &error });
            }
            listeners
        })?;
        Ok(Self(Mutex::new(Stage::Serving { end, thread })))
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The listeners of `core`, which serves them from now on. The first core that calls this ends the thread:
    /// call it when all cores can serve.
    ///
    /// # Errors
    /// When the thread has failed, or a listener cannot be made ready for an executor.
    pub fn take_over(&self, core: CoreId) -> Result<Vec<ClientListener>, RunError> {
        let mut stage = self.stage();
        if matches!(*stage, Stage::Serving { .. }) {
            let Stage::Serving { end, thread } = std::mem::replace(&mut *stage, Stage::Over(Vec::new()))
            else {
                return Ok(Vec::new());
            };
            raise(&end);
            let listeners = thread.join();
            let failed =
                |_| RunError::Failed("the thread that serves clients during the start panicked".to_owned());
            *stage = Stage::Over(listeners.map_err(failed)?);
        }
        let Stage::Over(left) = &mut *stage else { return Ok(Vec::new()) };
        let (own, others) = std::mem::take(left).into_iter().partition(|listener| listener.core == core);
        *left = others;
        let own: Vec<ClientListener> = own;
        for listener in &own {
            // The executor waits in the kernel, as it does on the sockets that it opens itself.
            listener.socket.set_nonblocking(false).map_err(|error| {
                RunError::Failed(format!("a client port cannot be handed to core {core}: {error}"))
            })?;
        }
        Ok(own)
    }
}

impl Drop for EarlyClients {
    fn drop(&mut self) {
        if let Stage::Serving { end, thread } = std::mem::replace(&mut *self.stage(), Stage::Over(Vec::new()))
        {
            raise(&end);
            // The start has failed already, and this is no better reason.
            let _ = thread.join();
        }
    }
}

/// Makes the event readable.
fn raise(event: &File) {
    let mut event: &File = event;
    // An error does not matter: the event is readable either way.
    let _ = event.write(&1_u64.to_le_bytes());
}

/// Opens a port like an executor does, which shares it between cores.
fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = sys::bind_reuseport(addr)?;
    nix::sys::socket::listen(&socket, BACKLOG)?;
    let socket = TcpListener::from(socket);
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// The thread's own state.
struct Host {
    server: Rc<ServerConfig>,
    replayed: Arc<AtomicU64>,
    started: u64,
    clients: Vec<EarlyClient>,
    /// Number of connections so far.
    count: u64,
    /// No connection is accepted before this time.
    accepts_at: Option<Instant>,
}

impl Host {
    fn new(facts: &EarlyFacts) -> Self {
        let EarlyFacts { info, port, access, replayed } = facts.clone();
        let server = ServerConfig { info, port, access, ..ServerConfig::default() };
        let started = unix_micros() / 1_000_000;
        let (server, clients) = (Rc::new(server), Vec::new());
        Self { server, replayed, started, clients, count: 0, accepts_at: None }
    }

    /// Serves until `end` is readable.
    fn run(&mut self, listeners: &[ClientListener], end: &File) -> io::Result<()> {
        loop {
            let (ended, calling, talking) = self.wait(listeners, end)?;
            for (client, is_ready) in self.clients.iter_mut().zip(talking) {
                if is_ready {
                    client.go_on(|query| answer(query, &self.server, &self.replayed, self.started));
                }
            }
            // What was asked until now is answered. The end of the output comes before the socket is closed,
            // which may destroy what the client has not read.
            if ended {
                for client in &self.clients {
                    // A socket that is broken or shut already has nothing to lose.
                    let _ = client.socket.shutdown(Shutdown::Write);
                }
                return Ok(());
            }
            self.make_room();
            for (listener, is_ready) in listeners.iter().zip(calling) {
                if is_ready {
                    self.accept(&listener.socket);
                }
            }
        }
    }

    /// Waits until there is something to do: whether the end has come, which listeners have a new connection,
    /// and which clients can be served.
    fn wait(&self, listeners: &[ClientListener], end: &File) -> io::Result<(bool, Vec<bool>, Vec<bool>)> {
        let is_paused = self.accepts_at.is_some_and(|at| Instant::now() < at);
        let accepts = !is_paused && self.clients.len() < CLIENTS_MAX;
        let calls = if accepts { PollFlags::POLLIN } else { PollFlags::empty() };
        let mut polled = vec![PollFd::new(end, PollFlags::POLLIN)];
        polled.extend(listeners.iter().map(|listener| PollFd::new(&listener.socket, calls)));
        polled.extend(self.clients.iter().map(|client| PollFd::new(&client.socket, client.interest())));
        match nix::poll::poll(&mut polled, if is_paused { ACCEPT_PAUSE_MS } else { LOOK_MS }) {
            // Nothing is marked as ready after a signal.
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready: Vec<bool> = polled.iter().map(|fd| fd.any().unwrap_or(false)).collect();
        let (calling, talking) = ready[1..].split_at(listeners.len());
        Ok((ready[0], calling.to_vec(), talking.to_vec()))
    }

    /// Forgets the clients that are done, and the silent ones if others wait for a place.
    fn make_room(&mut self) {
        let now = Instant::now();
        self.clients.retain(|client| !client.is_over(now));
        if self.clients.len() >= CLIENTS_MAX {
            self.clients.retain(|client| now.duration_since(client.heard) < SILENT);
        }
    }

    fn accept(&mut self, listener: &TcpListener) {
        while self.clients.len() < CLIENTS_MAX {
            let (socket, peer) = match listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if is_transient(&error) => return,
                // The connection may stay in the backlog: without a pause it would be tried again at once,
                // and for ever.
                Err(error) => {
                    voice::say(None, NodeEvent::AcceptFailed { of: "client", why: &error });
                    self.accepts_at = Some(Instant::now() + Duration::from_millis(ACCEPT_PAUSE_MS as u64));
                    return;
                }
            };
            if socket.set_nonblocking(true).is_err() {
                continue;
            }
            self.count += 1;
            let config = ConnectionConfig {
                server: Rc::clone(&self.server),
                id: self.count,
                peer_address: peer.to_string(),
                is_loopback: peer.ip().to_canonical().is_loopback(),
                local_address: socket.local_addr().map(|addr| addr.to_string()).unwrap_or_default(),
                is_core_port: false,
                service: Service::Loading,
            };
            let protocol = Connection::new(config);
            self.clients.push(EarlyClient { socket, protocol, heard: Instant::now(), state: Talk::On });
        }
    }
}

/// A client of a node that starts.
struct EarlyClient {
    socket: TcpStream,
    protocol: Connection,
    /// When it sent something last.
    heard: Instant,
    state: Talk,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Talk {
    On,
    /// All that is left is to send what has gathered.
    LastWords,
    /// The node's end is closed; the client's is not. An earlier end of the socket could destroy an answer
    /// that the client has not read.
    Closing(Instant),
    Over,
}

impl EarlyClient {
    /// The events of its socket that it waits for.
    fn interest(&self) -> PollFlags {
        let is_reading = match self.state {
            Talk::On => self.protocol.wants_read(),
            Talk::Closing(_) => true,
            Talk::LastWords | Talk::Over => false,
        };
        let mut events = PollFlags::empty();
        events.set(PollFlags::POLLIN, is_reading);
        events.set(PollFlags::POLLOUT, self.state == Talk::LastWords || self.unsent() > 0);
        events
    }

    fn unsent(&self) -> usize {
        self.protocol.unsent_bytes()
    }

    fn is_over(&self, now: Instant) -> bool {
        match self.state {
            Talk::On | Talk::LastWords => false,
            Talk::Closing(since) => now.duration_since(since) > FAREWELL,
            Talk::Over => true,
        }
    }

    /// Reads, answers and sends what is possible now.
    fn go_on(&mut self, mut answer: impl FnMut(&LocalQuery) -> LocalAnswer) {
        if self.read().is_err() {
            self.state = Talk::Over;
            return;
        }
        loop {
            if self.state == Talk::On {
                self.answer(&mut answer);
            }
            let had_output = self.unsent() > 0;
            if self.send().is_err() {
                self.state = Talk::Over;
            }
            // Commands that waited for room in the output may be answered once it is sent.
            if !had_output || self.unsent() > 0 {
                return;
            }
        }
    }

    fn read(&mut self) -> io::Result<()> {
        let wants =
            matches!(self.state, Talk::Closing(_)) || self.state == Talk::On && self.protocol.wants_read();
        if !wants {
            return Ok(());
        }
        let mut bytes = [0; READ_BYTES];
        let count = match self.socket.read(&mut bytes) {
            Ok(count) => count,
            Err(error) if is_transient(&error) => return Ok(()),
            Err(error) => return Err(error),
        };
        match self.state {
            Talk::Closing(_) if count == 0 => self.state = Talk::Over,
            Talk::Closing(_) => {}
            _ if count == 0 => self.protocol.received_end(),
            _ => {
                self.heard = Instant::now();
                self.protocol.received(&bytes[..count]);
            }
        }
        Ok(())
    }

    fn answer(&mut self, answer: &mut impl FnMut(&LocalQuery) -> LocalAnswer) {
        while let Some(ask) = self.protocol.next() {
            match ask {
                // None comes: whatever needs the keys is answered by the connection itself.
                Ask::Command { tag, .. } => {
                    self.protocol.reply(tag, Reply::Error(synod_types::ErrorKind::NoLeader));
                }
                Ask::Local { tag, query } => self.protocol.answer(tag, answer(&query)),
                Ask::Pause | Ask::Close => {}
            }
        }
        if self.protocol.speaks_http() {
            let request = self.protocol.take_input();
            let response = http_response(&request);
            self.protocol.out().extend_from_slice(&response);
            self.state = Talk::LastWords;
        } else if self.protocol.closing() {
            self.state = Talk::LastWords;
        }
    }

    fn send(&mut self) -> io::Result<()> {
        while self.unsent() > 0 {
            match self.socket.write(self.protocol.out()) {
                Ok(count) => drop(self.protocol.out().drain(..count)),
                Err(error) if is_transient(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        if self.state == Talk::LastWords {
            self.socket.shutdown(Shutdown::Write)?;
            self.state = Talk::Closing(Instant::now());
        }
        Ok(())
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// The answer to a question that needs no keys.
fn answer(query: &LocalQuery, server: &ServerConfig, replayed: &AtomicU64, started: u64) -> LocalAnswer {
    match query {
        LocalQuery::Time | LocalQuery::LastSave => LocalAnswer::Time { micros: unix_micros() },
        LocalQuery::Info { .. } => {
            LocalAnswer::Info(info(server.port, started, replayed.load(Ordering::Relaxed)))
        }
        _ => LocalAnswer::Unavailable("the node replays its log".to_owned()),
    }
}

/// INFO, as far as it is known during replay. Clients wait by `loading`.
fn info(port: u16, started: u64, replayed: u64) -> Vec<InfoField> {
    let uptime = (unix_micros() / 1_000_000).saturating_sub(started);
    let version = InfoValue::Text(env!("CARGO_PKG_VERSION").to_owned());
    vec![
        InfoField::new("server", "synod_version", version),
        InfoField::new("server", "process_id", InfoValue::Number(u64::from(std::process::id()))),
        InfoField::new("server", "tcp_port", InfoValue::Number(u64::from(port))),
        InfoField::new("server", "uptime_in_seconds", InfoValue::Number(uptime)),
        InfoField::new("persistence", "loading", InfoValue::Number(1)),
        InfoField::new("persistence", "loading_start_time", InfoValue::Number(started)),
        InfoField::new("persistence", "loading_loaded_bytes", InfoValue::Number(replayed)),
    ]
}

fn unix_micros() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}

/// The answer to an HTTP request, whose line is complete. The connection ends after it.
fn http_response(request: &[u8]) -> Vec<u8> {
    let mut words = request.split(|&byte| byte == b' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = target.split(|&byte| byte == b'?').next().unwrap_or_default();
    let (status, headers, body) = if path == b"/healthz" {
        ("200 OK", "content-type: text/plain; charset=utf-8\r\n", HEALTHY.as_bytes().to_vec())
    } else {
        let body = HttpError::LOADING.response().into_body();
        ("503 Service Unavailable", "content-type: application/json\r\nretry-after: 1\r\n", body)
    };
    let mut bytes = format!(
        "HTTP/1.1 {status}\r\n{headers}content-length: {}\r\ncache-control: no-store\r\nconnection: close\r\n\r\n",
        body.len()
    )
    .into_bytes();
    if method != b"HEAD" {
        bytes.extend_from_slice(&body);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::BufReader;
    use std::io::prelude::*;

    fn open() -> (ClientListener, EarlyFacts, SocketAddr) {
        let socket = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let addr = socket.local_addr().unwrap();
        let facts = EarlyFacts {
            info: ServerInfo::default(),
            port: addr.port(),
            access: Access::default(),
            replayed: Arc::new(AtomicU64::new(4711)),
        };
        let core = CoreId::new(0);
        (ClientListener { socket, core, is_core_port: false }, facts, addr)
    }

    fn start() -> (EarlyClients, SocketAddr) {
        let (listener, facts, addr) = open();
        (EarlyClients::serve(vec![listener], facts).unwrap(), addr)
    }

    fn connect(addr: SocketAddr) -> TcpStream {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// What a connection that says `bytes` and then nothing more is answered.
    fn whole_answer(addr: SocketAddr, bytes: &[u8]) -> String {
        let mut stream = connect(addr);
        stream.write_all(bytes).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut text = Vec::new();
        stream.read_to_end(&mut text).unwrap();
        String::from_utf8_lossy(&text).into_owned()
    }

    #[test]
    fn every_protocol_hears_that_the_node_loads() {
        let (_clients, addr) = start();
        let loading = "-LOADING Synod is loading the dataset in memory\r\n";
        assert_eq!(whole_answer(addr, b"PING\r\nGET k\r\n"), loading.repeat(2));
        let said = whole_answer(addr, b"HELLO 2\r\nCLIENT SETNAME me\r\nCLIENT GETNAME\r\nCLUSTER SLOTS\r\n");
        assert!(said.contains("synod") && said.ends_with(&format!("+OK\r\n$2\r\nme\r\n{loading}")), "{said}");
        let info = whole_answer(addr, b"INFO\r\n");
        assert!(info.contains("loading:1\r\n") && info.contains("loading_loaded_bytes:4711\r\n"), "{info}");

        let get =
            |path: &str| whole_answer(addr, format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
        for path in ["/readyz", "/v1/kv/k", "/metrics"] {
            let said = get(path);
            assert!(said.starts_with("HTTP/1.1 503 ") && said.contains("\r\nretry-after: 1\r\n"), "{said}");
            assert!(said.contains("\"loading\""), "{said}");
        }
        assert!(get("/healthz").starts_with("HTTP/1.1 200 "));
        let head = whole_answer(addr, b"HEAD /readyz HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(head.ends_with("\r\n\r\n"), "{head}");

        let mut bytes = synod_net::binary::PREAMBLE.to_vec();
        let get = synod_types::Command::plain(b"k".to_vec(), synod_types::Op::Get);
        synod_net::binary::encode_request(&mut bytes, 7, synod_types::Consistency::Linearizable, &get);
        let mut stream = connect(addr);
        stream.write_all(&bytes).unwrap();
        let mut decoder = synod_net::binary::ResponseDecoder::new();
        let response = loop {
            if let Some(response) = decoder.next().unwrap() {
                break response;
            }
            let mut piece = [0; 1024];
            let count = stream.read(&mut piece).unwrap();
            assert!(count > 0, "closed without an answer");
            decoder.feed(&piece[..count]);
        };
        let no_leader = Reply::Error(synod_types::ErrorKind::NoLeader);
        assert_eq!(response.body, synod_net::binary::ResponseBody::Reply(no_leader));
        assert!(response.text.contains("replays its log"), "{}", response.text);
    }

    #[test]
    fn the_listener_that_a_core_takes_over_is_the_same_one() {
        let (clients, addr) = start();
        let mut early = BufReader::new(connect(addr));
        early.get_mut().write_all(b"PING\r\n").unwrap();
        let mut line = String::new();
        early.read_line(&mut line).unwrap();
        assert!(line.starts_with("-LOADING "), "{line}");

        assert!(clients.take_over(CoreId::new(1)).unwrap().is_empty(), "another core's");
        // Nobody accepts now, and a client connects all the same.
        let mut later = connect(addr);
        later.write_all(b"x").unwrap();
        let taken = clients.take_over(CoreId::new(0)).unwrap();
        assert_eq!(taken.len(), 1);
        let (mut served, _) = taken[0].socket.accept().unwrap();
        let mut byte = [0];
        served.read_exact(&mut byte).unwrap();
        assert_eq!(byte, *b"x");
        // The early connection was closed.
        line.clear();
        assert_eq!(early.read_line(&mut line).unwrap(), 0, "{line}");
    }

    #[test]
    fn a_start_that_fails_leaves_no_port_open() {
        let (clients, addr) = start();
        drop(clients);
        assert!(TcpStream::connect(addr).is_err());
    }

    #[test]
    fn what_was_asked_before_the_end_is_answered() {
        let (listener, facts, addr) = open();
        let mut host = Host::new(&facts);
        let mut client = connect(addr);
        host.accept(&listener.socket);
        assert_eq!(host.clients.len(), 1);
        client.write_all(b"PING\r\n").unwrap();
        let end = sys::event().unwrap();
        raise(&end);
        host.run(&[listener], &end).unwrap();
        drop(host);
        let mut text = String::new();
        client.read_to_string(&mut text).unwrap();
        assert_eq!(text, "-LOADING Synod is loading the dataset in memory\r\n");
    }

    #[test]
    fn after_a_connection_that_cannot_be_accepted_there_is_a_pause() {
        let (listener, facts, addr) = open();
        let mut host = Host::new(&facts);
        let _waiting = connect(addr);
        // A socket that does not listen accepts nothing.
        let deaf = TcpListener::from(std::os::fd::OwnedFd::from(connect(addr)));
        host.accept(&deaf);
        let (listeners, end) = ([listener], sys::event().unwrap());
        let calls = || host.wait(&listeners, &end).unwrap().1;
        assert_eq!(calls(), [false]);
        assert!((0..100).any(|_| calls() == [true]), "never accepted again");
    }

    #[test]
    fn silent_clients_lose_their_places_to_others() {
        let (_clients, addr) = start();
        let silent: Vec<TcpStream> = (0..CLIENTS_MAX).map(|_| connect(addr)).collect();
        assert!(whole_answer(addr, b"PING\r\n").starts_with("-LOADING "));
        drop(silent);
    }
}
