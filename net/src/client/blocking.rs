//! The blocking client: drives the core over std sockets. It does one operation at a time; open several
//! clients for more.

use super::action::{ClientAction, Outcome};
use super::address::{Address, BadAddress};
use super::config::ClientConfig;
use super::error::ClientError;
use super::machine::ClientCore;
use crate::binary::{NodeStatus, Topology};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind as IoErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};
use synod_types::{Command, Condition, Consistency, Expiry, Nanos, NodeId, Op, Reply, Version};

/// Bytes read from a socket at once.
const READ_BYTES: usize = 64 << 10;
/// Longest read on one connection while an answer is outstanding on another, too.
const TURN: Duration = Duration::from_millis(1);

/// A connection: a socket, or TLS on top of one.
pub trait Stream: Read + Write {
    /// Sets the time after which reads give up, with `WouldBlock` or `TimedOut`.
    ///
    /// # Errors
    /// When the timeout cannot be set; the connection is then given up.
    fn set_read_timeout(&mut self, timeout: Duration) -> io::Result<()>;
}

impl Stream for TcpStream {
    fn set_read_timeout(&mut self, timeout: Duration) -> io::Result<()> {
        TcpStream::set_read_timeout(self, Some(timeout))
    }
}

/// Makes connections.
pub trait Dial {
    /// Connects within `timeout`. Writes must not block for longer than that either.
    ///
    /// # Errors
    /// When no connection was established.
    fn dial(&mut self, to: &Address, timeout: Duration) -> io::Result<Box<dyn Stream>>;
}

/// Plain TCP.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpDial;

impl Dial for TcpDial {
    fn dial(&mut self, to: &Address, timeout: Duration) -> io::Result<Box<dyn Stream>> {
        let mut last = io::Error::from(IoErrorKind::AddrNotAvailable);
        for address in (to.host.as_str(), to.port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, timeout) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    stream.set_write_timeout(Some(timeout))?;
                    return Ok(Box::new(stream));
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// Why no client could be created.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConnectError {
    /// An address is malformed, or no address is given.
    #[error(transparent)]
    Address(#[from] BadAddress),
    /// The cluster does not answer.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// The time that a key has left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimeToLive {
    /// There is no such key.
    NoKey,
    /// It does not expire.
    Forever,
    /// It expires after this long.
    Left(Duration),
}

/// A blocking client.
pub struct Client {
    core: ClientCore,
    config: ClientConfig,
    dial: Box<dyn Dial>,
    streams: BTreeMap<Address, Box<dyn Stream>>,
    /// Time is counted from here.
    start: Instant,
    buffer: Vec<u8>,
}

impl Client {
    /// Connects to a cluster by some of its addresses (`host:port`).
    ///
    /// # Errors
    /// [`ConnectError`] when an address is malformed or no server answers before the deadline.
    pub fn connect(addresses: &[impl AsRef<str>]) -> Result<Self, ConnectError> {
        Self::connect_with(addresses, ClientConfig::default(), Box::new(TcpDial))
    }

    /// As [`Client::connect`], with other settings and another way to connect.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub fn connect_with(
        addresses: &[impl AsRef<str>],
        config: ClientConfig,
        dial: Box<dyn Dial>,
    ) -> Result<Self, ConnectError> {
        let mut seeds = Vec::new();
        for address in addresses {
            seeds.push(address.as_ref().parse::<Address>()?);
        }
        if seeds.is_empty() {
            return Err(""
                .parse::<Address>()
                .map_or_else(ConnectError::Address, |_| ClientError::Unreachable.into()));
        }
        let mut client = Self {
            core: ClientCore::new(config.clone(), seeds),
            config,
            dial,
            streams: BTreeMap::new(),
            start: Instant::now(),
            buffer: vec![0; READ_BYTES],
        };
        client.topology()?;
        Ok(client)
    }

    /// From now on an operation is given up after `patience`, and a single attempt or connection no later.
    pub fn set_patience(&mut self, patience: Duration) {
        let patience = Nanos(u64::try_from(patience.as_nanos()).unwrap_or(u64::MAX));
        self.config.deadline = patience;
        self.config.attempt_timeout = self.config.attempt_timeout.min(patience);
        self.core.set_patience(patience, self.config.attempt_timeout);
    }

    /// Executes any command; its stamp and its value's CRC are filled in here.
    ///
    /// # Errors
    /// [`ClientError`] says whether it was certainly not executed.
    pub fn command(
        &mut self,
        consistency: Consistency,
        command: Command<Vec<u8>>,
    ) -> Result<Reply<Vec<u8>>, ClientError> {
        let now = self.now();
        let operation = self.core.command(now, consistency, command);
        match self.run(operation)? {
            Outcome::Reply(reply) => Ok(reply),
            Outcome::Topology(_) | Outcome::Status(_) => Err(ClientError::WrongAnswer),
        }
    }

    /// The value of a key, linearizably.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, ClientError> {
        Ok(self.get_versioned(key)?.map(|(value, _)| value))
    }

    /// The value of a key and the version it was written at.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn get_versioned(&mut self, key: &[u8]) -> Result<Option<(Vec<u8>, Version)>, ClientError> {
        match self.execute(key, Op::Get)? {
            Reply::Value { value, version } => Ok(Some((value, version))),
            Reply::Nil => Ok(None),
            _ => Err(ClientError::WrongAnswer),
        }
    }

    /// Sets a key; it does not expire. When this returns, the write is durable on a quorum.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn set(&mut self, key: &[u8], value: &[u8]) -> Result<Version, ClientError> {
        match self.set_if(key, value, Condition::Always, Expiry::None)? {
            Some(version) => Ok(version),
            None => Err(ClientError::WrongAnswer),
        }
    }

    /// Sets a key under a condition and with an expiry; `None` when the condition did not hold.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn set_if(
        &mut self,
        key: &[u8],
        value: &[u8],
        condition: Condition,
        expiry: Expiry,
    ) -> Result<Option<Version>, ClientError> {
        let value_crc = 0; // filled in by the core
        let op = Op::Set { value_crc, condition, expiry, return_old: false };
        let command = Command::new(key.to_vec(), op, value.to_vec());
        match self.command(Consistency::default(), command)? {
            Reply::Done { version } => Ok(Some(version)),
            Reply::Skipped => Ok(None),
            _ => Err(ClientError::WrongAnswer),
        }
    }

    /// Removes a key. Returns whether it existed.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn del(&mut self, key: &[u8]) -> Result<bool, ClientError> {
        self.flag(key, Op::Delete)
    }

    /// Whether a key exists.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn exists(&mut self, key: &[u8]) -> Result<bool, ClientError> {
        self.flag(key, Op::Exists)
    }

    /// Adds to the decimal integer in a key. Returns the sum.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn incr(&mut self, key: &[u8], delta: i64) -> Result<i64, ClientError> {
        self.number(key, Op::IncrementBy(delta))
    }

    /// Lets a key expire after `span`, which is rounded up to milliseconds. Returns whether the key exists.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn expire(&mut self, key: &[u8], span: Duration) -> Result<bool, ClientError> {
        let ms = span.as_nanos().div_ceil(1_000_000);
        let ms = u64::try_from(ms).unwrap_or(u64::MAX);
        self.flag(key, Op::SetExpiry(Expiry::After(ms)))
    }

    /// The time that a key has left.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn ttl(&mut self, key: &[u8]) -> Result<TimeToLive, ClientError> {
        Ok(match self.number(key, Op::Ttl)? {
            -2 => TimeToLive::NoKey,
            -1 => TimeToLive::Forever,
            ms => TimeToLive::Left(Duration::from_millis(u64::try_from(ms).unwrap_or(0))),
        })
    }

    /// Removes the expiry of a key. Returns whether there was one.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn persist(&mut self, key: &[u8]) -> Result<bool, ClientError> {
        self.flag(key, Op::SetExpiry(Expiry::None))
    }

    /// Which node leads each group, freshly asked.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn topology(&mut self) -> Result<Topology, ClientError> {
        let now = self.now();
        let operation = self.core.topology(now);
        match self.run(operation)? {
            Outcome::Topology(topology) => Ok(topology),
            Outcome::Reply(_) | Outcome::Status(_) => Err(ClientError::WrongAnswer),
        }
    }

    /// The status of any node.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn status(&mut self) -> Result<NodeStatus, ClientError> {
        self.status_at(None)
    }

    /// The status of a given node, which must be in the topology.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn status_of(&mut self, node: NodeId) -> Result<NodeStatus, ClientError> {
        let known = self.core.known_topology().and_then(|topology| topology.node(node));
        let Some(known) = known else { return Err(ClientError::Unreachable) };
        let address = Address { host: known.host.clone(), port: known.port };
        self.status_at(Some(address))
    }

    fn status_at(&mut self, of: Option<Address>) -> Result<NodeStatus, ClientError> {
        let now = self.now();
        let operation = self.core.status(now, of);
        match self.run(operation)? {
            Outcome::Status(status) => Ok(status),
            Outcome::Reply(_) | Outcome::Topology(_) => Err(ClientError::WrongAnswer),
        }
    }

    fn execute(&mut self, key: &[u8], op: Op) -> Result<Reply<Vec<u8>>, ClientError> {
        self.command(Consistency::default(), Command::plain(key.to_vec(), op))
    }

    fn number(&mut self, key: &[u8], op: Op) -> Result<i64, ClientError> {
        match self.execute(key, op)? {
            Reply::Int(number) => Ok(number),
            _ => Err(ClientError::WrongAnswer),
        }
    }

    fn flag(&mut self, key: &[u8], op: Op) -> Result<bool, ClientError> {
        self.number(key, op).map(|number| number != 0)
    }

    fn now(&self) -> Nanos {
        Nanos(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// Carries out the core's actions until the operation has ended. The core's deadline bounds it.
    fn run(&mut self, wanted: u64) -> Result<Outcome, ClientError> {
        loop {
            while let Some(action) = self.core.action() {
                match action {
                    ClientAction::Connect(to) => self.open(&to),
                    ClientAction::Send { to, bytes } => self.write(&to, &bytes),
                    ClientAction::Disconnect(to) => drop(self.streams.remove(&to)),
                    ClientAction::Done { operation, result } if operation == wanted => return result,
                    ClientAction::Done { .. } => {}
                }
            }
            self.wait();
            let now = self.now();
            self.core.tick(now);
        }
    }

    fn open(&mut self, to: &Address) {
        let timeout = Duration::from_nanos(self.config.attempt_timeout.0.max(1));
        match self.dial.dial(to, timeout) {
            Ok(stream) => {
                self.streams.insert(to.clone(), stream);
                let now = self.now();
                self.core.connected(now, to);
            }
            Err(_) => self.lose(to),
        }
    }

    fn write(&mut self, to: &Address, bytes: &[u8]) {
        let Some(stream) = self.streams.get_mut(to) else { return };
        if stream.write_all(bytes).and_then(|()| stream.flush()).is_err() {
            self.lose(to);
        }
    }

    fn lose(&mut self, to: &Address) {
        self.streams.remove(to);
        let now = self.now();
        self.core.disconnected(now, to);
    }

    /// Reads from the connections on which an answer is outstanding, at most until the core's wakeup.
    fn wait(&mut self) {
        let now = self.now();
        let Some(wakeup) = self.core.wakeup(now) else { return };
        // Not zero: a socket would take that as no timeout.
        let span = Duration::from_nanos(wakeup.0.saturating_sub(now.0).max(1_000));
        let waiting = self.core.waiting();
        let turn = if waiting.len() > 1 { span.min(TURN) } else { span };
        if waiting.is_empty() {
            std::thread::sleep(span); // a pause between two attempts: nothing can arrive
            return;
        }
        for from in waiting {
            self.read(&from, turn);
        }
    }

    fn read(&mut self, from: &Address, timeout: Duration) {
        let Some(stream) = self.streams.get_mut(from) else { return };
        let result = stream.set_read_timeout(timeout).and_then(|()| stream.read(&mut self.buffer));
        match result {
            Ok(count) if count > 0 => {
                let now = self.now();
                self.core.received(now, from, &self.buffer[..count]);
            }
            Err(error)
                if matches!(
                    error.kind(),
                    IoErrorKind::WouldBlock | IoErrorKind::TimedOut | IoErrorKind::Interrupted
                ) => {}
            Ok(_) | Err(_) => self.lose(from),
        }
    }
}
