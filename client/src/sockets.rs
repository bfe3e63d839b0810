//! The sockets of a client: non-blocking, each named by the address that the machine gave. They report what
//! happened and decide nothing.

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::{Duration, Instant};
use synod_net::client::Address;

/// Bytes read from a socket at once.
const READ_BYTES: usize = 64 << 10;
/// Events taken at once: one for each connection of a large cluster.
const EVENT_COUNT: usize = 64;
/// The token of what wakes the driver from another thread; sockets have the tokens above it.
pub(crate) const WAKE_TOKEN: Token = Token(0);

/// Something that happened on a socket.
pub(crate) enum Incident<'a> {
    /// The connection is established.
    Connected(&'a Address),
    /// The connection is lost, or could not be established.
    Lost(&'a Address),
    /// Bytes were received.
    Received(&'a Address, &'a [u8]),
}

/// All sockets of a client.
pub(crate) struct Sockets {
    poll: Poll,
    events: Events,
    sockets: BTreeMap<Token, Socket>,
    tokens: BTreeMap<Address, Token>,
    next_token: usize,
    buffer: Vec<u8>,
    connect_span: Duration,
}

impl Sockets {
    /// None yet. A connection may take `connect_span` to be established.
    pub(crate) fn new(connect_span: Duration) -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(EVENT_COUNT),
            sockets: BTreeMap::new(),
            tokens: BTreeMap::new(),
            next_token: WAKE_TOKEN.0 + 1,
            buffer: vec![0; READ_BYTES],
            connect_span,
        })
    }

    /// What other threads wake [`Sockets::wait`] with.
    #[cfg(feature = "async")]
    pub(crate) fn waker(&self) -> io::Result<mio::Waker> {
        mio::Waker::new(self.poll.registry(), WAKE_TOKEN)
    }

    /// Begins to connect. The host's name is looked up at once, which may take a while.
    ///
    /// # Errors
    /// When the name has no address, or none of them can be tried.
    pub(crate) fn open(&mut self, to: &Address) -> io::Result<()> {
        let candidates: Vec<SocketAddr> = (to.host.as_str(), to.port).to_socket_addrs()?.collect();
        self.try_next(to.clone(), candidates)
    }

    /// Tries the first candidate that lets itself be tried; the others wait for it to fail.
    fn try_next(&mut self, address: Address, mut candidates: Vec<SocketAddr>) -> io::Result<()> {
        let mut last = io::Error::from(ErrorKind::AddrNotAvailable);
        while !candidates.is_empty() {
            let token = Token(self.next_token);
            self.next_token += 1;
            match connect(&self.poll, token, candidates.remove(0)) {
                Ok(stream) => {
                    let until = Instant::now() + self.connect_span;
                    let state = State::Connecting { until, candidates };
                    self.tokens.insert(address.clone(), token);
                    self.sockets.insert(token, Socket { address, stream, state, out: Vec::new(), sent: 0 });
                    return Ok(());
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Takes bytes to be sent; [`Sockets::flush`] sends them.
    pub(crate) fn send(&mut self, to: &Address, bytes: &[u8]) {
        let socket = self.tokens.get(to).and_then(|token| self.sockets.get_mut(token));
        if let Some(socket) = socket {
            socket.out.extend_from_slice(bytes);
        }
    }

    /// Sends what was taken, as far as the sockets have room. Returns whether all connections are sound;
    /// those that are not are reported.
    pub(crate) fn flush(&mut self, report: &mut impl FnMut(Incident<'_>)) -> bool {
        let mut lost = Vec::new();
        for (token, socket) in &mut self.sockets {
            if socket.flush().is_err() {
                lost.push(*token);
            }
        }
        for token in &lost {
            self.lose(*token, report);
        }
        lost.is_empty()
    }

    /// Closes a connection.
    pub(crate) fn close(&mut self, to: &Address) {
        if let Some(token) = self.tokens.remove(to) {
            self.sockets.remove(&token);
        }
    }

    /// Waits until something happens, at most for `span`, and reports it.
    ///
    /// # Errors
    /// When the operating system cannot say what happened.
    pub(crate) fn wait(
        &mut self,
        span: Option<Duration>,
        report: &mut impl FnMut(Incident<'_>),
    ) -> io::Result<()> {
        let span = [span, self.until_overdue()].into_iter().flatten().min();
        match self.poll.poll(&mut self.events, span) {
            Err(error) if error.kind() == ErrorKind::Interrupted => self.events.clear(),
            result => result?,
        }
        let ready: Vec<Token> = self.events.iter().map(|event| event.token()).collect();
        for token in ready {
            self.on_ready(token, report);
        }
        self.expire(report);
        Ok(())
    }

    /// How long until a connection has taken too long to be established.
    fn until_overdue(&self) -> Option<Duration> {
        let untils = self.sockets.values().filter_map(|socket| match &socket.state {
            State::Connecting { until, .. } => Some(*until),
            State::Up => None,
        });
        Some(untils.min()?.saturating_duration_since(Instant::now()))
    }

    fn on_ready(&mut self, token: Token, report: &mut impl FnMut(Incident<'_>)) {
        // It may have been closed since, and the waker has no socket.
        let Some(socket) = self.sockets.get_mut(&token) else { return };
        if let State::Connecting { .. } = socket.state {
            match socket.is_established() {
                Ok(true) => {
                    socket.state = State::Up;
                    report(Incident::Connected(&socket.address));
                }
                Ok(false) => return,
                Err(_) => return self.on_refused(token, report),
            }
        }
        let Some(socket) = self.sockets.get_mut(&token) else { return };
        let is_sound = socket.flush().is_ok() && socket.receive(&mut self.buffer, report);
        if !is_sound {
            self.lose(token, report);
        }
    }

    /// Gives up connections that have taken too long to be established.
    fn expire(&mut self, report: &mut impl FnMut(Incident<'_>)) {
        let now = Instant::now();
        let is_overdue = |socket: &Socket| match &socket.state {
            State::Connecting { until, .. } => *until <= now,
            State::Up => false,
        };
        let overdue: Vec<Token> =
            self.sockets.iter().filter(|(_, socket)| is_overdue(socket)).map(|(token, _)| *token).collect();
        for token in overdue {
            self.on_refused(token, report);
        }
    }

    /// One address of the host does not answer: the next one is tried.
    fn on_refused(&mut self, token: Token, report: &mut impl FnMut(Incident<'_>)) {
        let Some(Socket { address, state, .. }) = self.sockets.remove(&token) else { return };
        self.tokens.remove(&address);
        let rest = match state {
            State::Connecting { candidates, .. } => candidates,
            State::Up => Vec::new(),
        };
        if self.try_next(address.clone(), rest).is_err() {
            report(Incident::Lost(&address));
        }
    }

    fn lose(&mut self, token: Token, report: &mut impl FnMut(Incident<'_>)) {
        let Some(Socket { address, .. }) = self.sockets.remove(&token) else { return };
        self.tokens.remove(&address);
        report(Incident::Lost(&address));
    }
}

fn connect(poll: &Poll, token: Token, to: SocketAddr) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(to)?;
    poll.registry().register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
    Ok(stream)
}

/// One connection.
struct Socket {
    address: Address,
    stream: TcpStream,
    state: State,
    out: Vec<u8>,
    /// How much of `out` was sent.
    sent: usize,
}

enum State {
    /// Not established yet; `candidates` are tried if it fails.
    Connecting {
        until: Instant,
        candidates: Vec<SocketAddr>,
    },
    Up,
}

impl Socket {
    /// Whether the connection is established by now.
    fn is_established(&mut self) -> io::Result<bool> {
        if let Some(error) = self.stream.take_error()? {
            return Err(error);
        }
        match self.stream.peer_addr() {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotConnected => return Ok(false),
            Err(error) => return Err(error),
        }
        self.stream.set_nodelay(true)?;
        Ok(true)
    }

    /// Sends as much as the socket takes now.
    fn flush(&mut self) -> io::Result<()> {
        if !matches!(self.state, State::Up) {
            return Ok(());
        }
        while self.sent < self.out.len() {
            match self.stream.write(&self.out[self.sent..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.sent = 0;
        Ok(())
    }

    /// Reads all that has arrived. Returns whether the connection still stands.
    fn receive(&mut self, buffer: &mut [u8], report: &mut impl FnMut(Incident<'_>)) -> bool {
        // Readiness is told once: the rest would wait for the next bytes.
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return false,
                Ok(count) => report(Incident::Received(&self.address, &buffer[..count])),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// What happens until `wanted` incidents have been reported, in words.
    fn incidents(sockets: &mut Sockets, wanted: usize) -> Vec<String> {
        let mut told = Vec::new();
        while told.len() < wanted {
            let mut report = |incident: Incident<'_>| {
                told.push(match incident {
                    Incident::Connected(_) => "connected".to_owned(),
                    Incident::Lost(_) => "lost".to_owned(),
                    Incident::Received(_, bytes) => String::from_utf8_lossy(bytes).into_owned(),
                });
            };
            sockets.wait(Some(Duration::from_secs(10)), &mut report).expect("it can be waited");
        }
        told
    }

    fn sockets() -> Sockets {
        Sockets::new(Duration::from_secs(10)).expect("the system gives sockets")
    }

    #[test]
    fn a_connection_is_made_used_and_lost() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let local = listener.local_addr().expect("bound");
        let address = Address { host: local.ip().to_string(), port: local.port() };
        let mut sockets = sockets();
        sockets.open(&address).expect("it can be tried");
        // What is sent before the connection stands waits for it.
        sockets.send(&address, b"ping");
        assert_eq!(incidents(&mut sockets, 1), ["connected"]);
        let (mut server, _) = listener.accept().expect("a client");
        let mut bytes = [0; 4];
        server.read_exact(&mut bytes).expect("sent");
        assert_eq!(&bytes, b"ping");
        server.write_all(b"pong").expect("sent");
        assert_eq!(incidents(&mut sockets, 1), ["pong"]);
        drop(server);
        assert_eq!(incidents(&mut sockets, 1), ["lost"]);
        sockets.send(&address, b"nobody hears this");
        assert!(sockets.flush(&mut |_| panic!("the loss was told already")));
    }

    #[test]
    fn each_address_of_a_host_is_tried_before_it_counts_as_lost() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let alive = listener.local_addr().expect("bound");
        // A port that was free a moment ago and has no listener.
        let dead = TcpListener::bind("127.0.0.1:0").and_then(|gone| gone.local_addr()).expect("a port");
        let address = Address { host: "node".into(), port: 1 };
        let mut sockets = sockets();
        sockets.try_next(address.clone(), vec![dead, dead, alive]).expect("they can be tried");
        assert_eq!(incidents(&mut sockets, 1), ["connected"]);
        sockets.close(&address);
        sockets.try_next(address.clone(), vec![dead, dead]).expect("they can be tried");
        assert_eq!(incidents(&mut sockets, 1), ["lost"]);
    }
}
