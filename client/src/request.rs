//! Requests as values: what is asked, with options of its own, and how the answer is read.
//!
//! `Client` and `AsyncClient` have a method for each request. The values are for pipelines, and for a request
//! with a timeout, a namespace or a consistency of its own.

use crate::config::{Defaults, nanos};
use crate::error::Error;
use crate::options::{SetOptions, ms_of, wall_ms_of};
#[cfg(feature = "async")]
use std::time::Instant;
use std::time::{Duration, SystemTime};
use synod_net::binary::{NodeStatus, Topology};
use synod_net::client::{Outcome, TimeToLive};
use synod_types::{
    Command, Consistency, Expiry, IfEqualAction, Namespace, Nanos, NodeId, Op, Reply, Version,
};

/// A request whose answer is a `T`.
///
/// ```
/// use std::time::Duration;
/// use synod_client::{Consistency, Request};
///
/// let quick = Request::get("name").timeout(Duration::from_millis(50));
/// let strict = Request::get("name").consistency(Consistency::Quorum);
/// # let _ = (quick, strict);
/// ```
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until a client executes it"]
pub struct Request<T> {
    question: Question,
    timeout: Option<Duration>,
    consistency: Option<Consistency>,
    namespace: Option<u16>,
    read: Read<T>,
}

/// Reads the answer to a request.
pub(crate) type Read<T> = fn(Outcome) -> Result<T, Error>;

/// What is asked.
#[derive(Clone, Debug)]
enum Question {
    Command { key: Vec<u8>, op: Op, operand: Vec<u8> },
    Topology,
    Status(Option<NodeId>),
}

/// A value with the version that it was written at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Versioned {
    /// The value.
    pub value: Vec<u8>,
    /// Rises with each write of the key; [`SetOptions::if_version`] takes it.
    pub version: Version,
}

/// What the driver starts: a request that was checked and has all its options.
pub(crate) enum Task {
    Command { command: Command<Vec<u8>>, consistency: Consistency, patience: Nanos },
    Topology { patience: Nanos },
    Status { of: Option<NodeId>, patience: Nanos },
}

impl Task {
    /// How long it is tried.
    pub(crate) fn patience(&self) -> Nanos {
        match self {
            Task::Command { patience, .. } | Task::Topology { patience } | Task::Status { patience, .. } => {
                *patience
            }
        }
    }

    /// Until when it is tried if it was asked for at `asked`; `None` for a time that no clock reaches.
    #[cfg(feature = "async")]
    pub(crate) fn deadline(&self, asked: Instant) -> Option<Instant> {
        asked.checked_add(Duration::from_nanos(self.patience().0))
    }

    /// The bytes that it holds in memory until it is done.
    pub(crate) fn byte_len(&self) -> usize {
        match self {
            Task::Command { command, .. } => command.byte_len(),
            Task::Topology { .. } | Task::Status { .. } => 0,
        }
    }
}

impl Request<Option<Vec<u8>>> {
    /// The value of a key; `None` if there is no such key.
    pub fn get(key: impl Into<Vec<u8>>) -> Self {
        Self::command(key, Op::Get, Vec::new(), read_value)
    }
}

impl Request<Option<Versioned>> {
    /// The value of a key and its version; `None` if there is no such key.
    pub fn get_versioned(key: impl Into<Vec<u8>>) -> Self {
        Self::command(key, Op::Get, Vec::new(), read_versioned)
    }

    /// Sets a key and gives the value that it had, or `None` if there was none. If the condition does not
    /// hold, nothing is set and the current value is given all the same.
    pub fn get_and_set(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>, options: SetOptions) -> Self {
        Self::command(key, set(options, true), value.into(), read_versioned)
    }
}

impl Request<Version> {
    /// Sets a key, which then does not expire. The answer is the key's new version; when it comes, the write
    /// is durable on a quorum.
    pub fn set(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        Self::set_with(key, value, SetOptions::new())
    }

    /// Sets a key under a condition or with an expiry. If the condition does not hold, the answer is
    /// [`Error::ConditionNotMet`].
    pub fn set_with(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>, options: SetOptions) -> Self {
        Self::command(key, set(options, false), value.into(), read_version)
    }

    /// Sets a key that was last written at `expected`, and keeps its expiry; else [`Error::ConditionNotMet`].
    pub fn compare_and_set(key: impl Into<Vec<u8>>, expected: Version, value: impl Into<Vec<u8>>) -> Self {
        Self::set_with(key, value, SetOptions::new().if_version(expected).keep_ttl())
    }
}

impl Request<bool> {
    /// Whether a key exists.
    pub fn exists(key: impl Into<Vec<u8>>) -> Self {
        Self::command(key, Op::Exists, Vec::new(), read_flag)
    }

    /// Removes a key. The answer is whether it existed.
    pub fn delete(key: impl Into<Vec<u8>>) -> Self {
        Self::command(key, Op::Delete, Vec::new(), read_flag)
    }

    /// Removes a key that was last written at `expected`; at another version [`Error::ConditionNotMet`], and
    /// `false` if there is no such key.
    pub fn delete_if_version(key: impl Into<Vec<u8>>, expected: Version) -> Self {
        Self::command(key, Op::DeleteIfVersion(expected), Vec::new(), read_flag)
    }

    /// Removes a key whose value is `expected`. The answer is whether that was so. The owner of a lock
    /// releases it with this.
    pub fn delete_if_equal(key: impl Into<Vec<u8>>, expected: impl Into<Vec<u8>>) -> Self {
        let then = IfEqualAction::Delete;
        Self::command(key, Op::IfEqual { then }, expected.into(), read_flag)
    }

    /// Lets a key whose value is `expected` expire after `span`. The answer is whether that was so. The owner
    /// of a lock keeps it with this.
    pub fn expire_if_equal(key: impl Into<Vec<u8>>, expected: impl Into<Vec<u8>>, span: Duration) -> Self {
        let then = IfEqualAction::ExpireAfter(ms_of(span));
        Self::command(key, Op::IfEqual { then }, expected.into(), read_flag)
    }

    /// Lets a key expire after `span`, which is rounded up to milliseconds. The answer is whether the key
    /// exists.
    pub fn expire(key: impl Into<Vec<u8>>, span: Duration) -> Self {
        Self::command(key, Op::SetExpiry(Expiry::After(ms_of(span))), Vec::new(), read_flag)
    }

    /// Lets a key expire at a time. The answer is whether the key exists.
    pub fn expire_at(key: impl Into<Vec<u8>>, at: SystemTime) -> Self {
        Self::command(key, Op::SetExpiry(Expiry::At(wall_ms_of(at))), Vec::new(), read_flag)
    }

    /// Removes the expiry of a key. The answer is whether it had one.
    pub fn persist(key: impl Into<Vec<u8>>) -> Self {
        Self::command(key, Op::SetExpiry(Expiry::None), Vec::new(), read_flag)
    }
}

impl Request<i64> {
    /// Adds to the decimal integer in a key; a missing key counts as 0. The answer is the sum.
    pub fn increment(key: impl Into<Vec<u8>>, delta: i64) -> Self {
        Self::command(key, Op::IncrementBy(delta), Vec::new(), read_number)
    }
}

impl Request<TimeToLive> {
    /// The time that a key has left.
    pub fn ttl(key: impl Into<Vec<u8>>) -> Self {
        Self::command(key, Op::Ttl, Vec::new(), read_ttl)
    }
}

impl Request<Topology> {
    /// The nodes, the groups and their leaders.
    pub fn topology() -> Self {
        Self::new(Question::Topology, read_topology)
    }
}

impl Request<NodeStatus> {
    /// The status of any node.
    pub fn status() -> Self {
        Self::new(Question::Status(None), read_status)
    }

    /// The status of a given node.
    pub fn status_of(node: NodeId) -> Self {
        Self::new(Question::Status(Some(node)), read_status)
    }
}

impl<T> Request<T> {
    fn command(key: impl Into<Vec<u8>>, op: Op, operand: Vec<u8>, read: Read<T>) -> Self {
        Self::new(Question::Command { key: key.into(), op, operand }, read)
    }

    /// The same request with its answer unread, and the function that reads it.
    pub(crate) fn into_raw(self) -> (Request<Outcome>, Read<T>) {
        let Self { question, timeout, consistency, namespace, read } = self;
        (Request { question, timeout, consistency, namespace, read: Ok }, read)
    }

    fn new(question: Question, read: Read<T>) -> Self {
        Self { question, timeout: None, consistency: None, namespace: None, read }
    }

    /// How long this request is tried, instead of the client's timeout.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// How fresh this read must be. A write is always linearizable.
    pub fn consistency(mut self, consistency: Consistency) -> Self {
        self.consistency = Some(consistency);
        self
    }

    /// The namespace of the key, instead of the client's.
    pub fn namespace(mut self, namespace: u16) -> Self {
        self.namespace = Some(namespace);
        self
    }

    /// Checks the request and fills in what it leaves open. Also gives the function that reads its answer.
    pub(crate) fn into_task(self, defaults: Defaults) -> (Result<Task, Error>, Read<T>) {
        let patience = nanos(self.timeout.unwrap_or(defaults.timeout));
        let task = match self.question {
            Question::Command { key, op, operand } => {
                let mut command = Command::new(key, op, operand);
                command.namespace = Namespace::new(self.namespace.unwrap_or(defaults.namespace));
                // Writes are always linearizable.
                let wanted = self.consistency.unwrap_or(defaults.consistency);
                let consistency = if op.is_write() { Consistency::default() } else { wanted };
                check(&command).map(|()| Task::Command { command, consistency, patience })
            }
            Question::Topology => Ok(Task::Topology { patience }),
            Question::Status(of) => Ok(Task::Status { of, patience }),
        };
        (task, self.read)
    }
}

fn set(options: SetOptions, return_old: bool) -> Op {
    let value_crc = 0; // the machine computes it
    Op::Set { value_crc, condition: options.condition(), expiry: options.expiry(), return_old }
}

/// The checks that a server would make, before anything is sent.
fn check(command: &Command<Vec<u8>>) -> Result<(), Error> {
    command.check().map_err(|rule| Error::InvalidArgument(rule.to_string()))?;
    let ms = match command.op {
        Op::Set { expiry: Expiry::After(ms), .. }
        | Op::SetExpiry(Expiry::After(ms))
        | Op::IfEqual { then: IfEqualAction::ExpireAfter(ms) } => ms,
        Op::Set { expiry: Expiry::At(at), .. } | Op::SetExpiry(Expiry::At(at)) => at.0,
        _ => return Ok(()),
    };
    if ms == 0 {
        return Err(Error::InvalidArgument("the expiry is 0; to remove the key, delete it".into()));
    }
    match i64::try_from(ms) {
        Ok(_) => Ok(()),
        Err(_) => Err(Error::InvalidArgument("the expiry is too far in the future".into())),
    }
}

// Readers of answers.

fn read_value(outcome: Outcome) -> Result<Option<Vec<u8>>, Error> {
    Ok(read_versioned(outcome)?.map(|versioned| versioned.value))
}

fn read_versioned(outcome: Outcome) -> Result<Option<Versioned>, Error> {
    match outcome {
        Outcome::Reply(Reply::Value { value, version }) => Ok(Some(Versioned { value, version })),
        Outcome::Reply(Reply::Nil) => Ok(None),
        _ => Err(Error::UnexpectedAnswer),
    }
}

fn read_version(outcome: Outcome) -> Result<Version, Error> {
    match outcome {
        Outcome::Reply(Reply::Done { version }) => Ok(version),
        Outcome::Reply(Reply::Skipped) => Err(Error::ConditionNotMet),
        _ => Err(Error::UnexpectedAnswer),
    }
}

fn read_flag(outcome: Outcome) -> Result<bool, Error> {
    match outcome {
        Outcome::Reply(Reply::Skipped) => Err(Error::ConditionNotMet),
        outcome => read_number(outcome).map(|number| number != 0),
    }
}

fn read_number(outcome: Outcome) -> Result<i64, Error> {
    match outcome {
        Outcome::Reply(Reply::Int(number)) => Ok(number),
        _ => Err(Error::UnexpectedAnswer),
    }
}

fn read_ttl(outcome: Outcome) -> Result<TimeToLive, Error> {
    match read_number(outcome)? {
        -2 => Ok(TimeToLive::NoKey),
        -1 => Ok(TimeToLive::Forever),
        ms => {
            let ms = u64::try_from(ms).map_err(|_| Error::UnexpectedAnswer)?;
            Ok(TimeToLive::Left(Duration::from_millis(ms)))
        }
    }
}

fn read_topology(outcome: Outcome) -> Result<Topology, Error> {
    match outcome {
        Outcome::Topology(topology) => Ok(topology),
        _ => Err(Error::UnexpectedAnswer),
    }
}

fn read_status(outcome: Outcome) -> Result<NodeStatus, Error> {
    match outcome {
        Outcome::Status(status) => Ok(status),
        _ => Err(Error::UnexpectedAnswer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use synod_types::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};

    fn task<T>(request: Request<T>) -> Result<Task, Error> {
        let config =
            Config::new().namespace(3).consistency(Consistency::Quorum).timeout(Duration::from_secs(4));
        request.into_task(config.defaults()).0
    }

    #[test]
    fn a_request_says_more_than_its_client() {
        let plain = task(Request::get("k")).expect("sound");
        let Task::Command { command, consistency, patience } = plain else { panic!("a command") };
        assert_eq!((command.namespace.get(), consistency), (3, Consistency::Quorum));
        assert_eq!(patience, Nanos::from_ms(4_000));
        let own = Request::get("k")
            .namespace(0)
            .consistency(Consistency::Linearizable)
            .timeout(Duration::from_millis(7));
        let Ok(Task::Command { command, consistency, patience }) = task(own) else { panic!("a command") };
        assert_eq!((command.namespace.get(), consistency), (0, Consistency::Linearizable));
        assert_eq!(patience, Nanos::from_ms(7));
        let Ok(Task::Command { consistency, .. }) = task(Request::delete("k")) else { panic!("a command") };
        assert_eq!(consistency, Consistency::Linearizable, "a write knows no other");
    }

    #[test]
    fn what_a_server_would_refuse_is_not_sent() {
        let told = |task: Result<Task, Error>| match task {
            Err(Error::InvalidArgument(text)) => text,
            _ => panic!("it would be sent"),
        };
        assert!(told(task(Request::get(""))).contains("the key is empty"));
        assert!(told(task(Request::get(vec![0; KEY_BYTES_MAX + 1]))).contains("key is over"));
        assert!(told(task(Request::set("k", vec![0; VALUE_BYTES_MAX + 1]))).contains("value is over"));
        let zero = Duration::ZERO;
        assert!(told(task(Request::expire("k", zero))).contains("expiry is 0"));
        assert!(told(task(Request::expire_at("k", SystemTime::UNIX_EPOCH))).contains("expiry is 0"));
        assert!(told(task(Request::expire_if_equal("k", "v", zero))).contains("expiry is 0"));
        let options = SetOptions::new().expire_in(Duration::MAX);
        assert!(told(task(Request::set_with("k", "v", options))).contains("too far"));
        assert!(task(Request::set("k", vec![0; VALUE_BYTES_MAX])).is_ok());
    }

    #[test]
    fn answers_are_read_or_found_not_to_fit() {
        let version = Version::default();
        let reply = Outcome::Reply;
        let value = || reply(Reply::Value { value: b"v".to_vec(), version });
        assert_eq!(read_value(value()), Ok(Some(b"v".to_vec())));
        assert_eq!(read_value(reply(Reply::Nil)), Ok(None));
        assert_eq!(read_value(reply(Reply::Int(1))), Err(Error::UnexpectedAnswer));
        assert_eq!(read_version(reply(Reply::Done { version })), Ok(version));
        assert_eq!(read_version(reply(Reply::Skipped)), Err(Error::ConditionNotMet));
        assert_eq!(read_flag(reply(Reply::Int(1))), Ok(true));
        assert_eq!(read_flag(reply(Reply::Int(0))), Ok(false));
        assert_eq!(read_flag(reply(Reply::Skipped)), Err(Error::ConditionNotMet));
        assert_eq!(read_flag(value()), Err(Error::UnexpectedAnswer));
        assert_eq!(read_ttl(reply(Reply::Int(-2))), Ok(TimeToLive::NoKey));
        assert_eq!(read_ttl(reply(Reply::Int(-1))), Ok(TimeToLive::Forever));
        assert_eq!(read_ttl(reply(Reply::Int(5))), Ok(TimeToLive::Left(Duration::from_millis(5))));
        assert_eq!(read_ttl(reply(Reply::Int(-3))), Err(Error::UnexpectedAnswer));
        assert!(read_topology(Outcome::Topology(Topology::default())).is_ok());
        assert_eq!(read_status(reply(Reply::Nil)), Err(Error::UnexpectedAnswer));
    }
}
