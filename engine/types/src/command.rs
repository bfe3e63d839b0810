//! Commands and replies: what clients ask and what they are told.
//!
//! Both are generic over how bytes are held: `Shared` in the shell, `&[u8]` in replies written straight into an output
//! buffer, [`Span`] (a length) in archives, where the bytes themselves follow the archive.

// The `Archive` derive makes helper items that carry no docs; everything written here has them.
#![allow(missing_docs)]

use crate::ids::{Namespace, SessionId, Slot};
use crate::time::WallMs;
use rkyv::{Archive, Deserialize, Serialize};

/// Stands for a run of bytes that follows the archive it appears in; runs lie in the order in which spans appear.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub struct Span {
    /// Length in bytes.
    pub len: u32,
}

/// The version of a key: where in its group's log it was last written. Totally ordered within a group.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Archive, Serialize, Deserialize,
)]
pub struct Version {
    /// The log position.
    pub slot: Slot,
    /// The command's place in the batch.
    pub position: u32,
}

/// Which client session a write belongs to, so that a retry is executed once (rule P-12).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Archive, Serialize, Deserialize)]
pub struct SessionStamp {
    /// The session; [`SessionId::NONE`] for none.
    pub session: SessionId,
    /// This command's number in the session, from 1, each used for one command only.
    pub sequence: u64,
    /// Replies below this number will not be asked for again.
    pub lowest_open: u64,
}

/// When a SET takes effect.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Archive, Serialize, Deserialize)]
pub enum Condition {
    /// Always.
    #[default]
    Always,
    /// Only if the key does not exist (NX).
    IfAbsent,
    /// Only if the key exists (XX).
    IfPresent,
}

/// What a SET does to the key's expiry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Archive, Serialize, Deserialize)]
pub enum Expiry {
    /// The key no longer expires.
    #[default]
    None,
    /// The expiry stays as it was (KEEPTTL).
    Keep,
    /// The key expires at this time (EXAT, PXAT). A time that has passed deletes the key.
    At(WallMs),
    /// The key expires this many milliseconds after the slot's time stamp (EX, PX); resolved in apply, so equally
    /// everywhere.
    After(u64),
}

/// What is done to the key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub enum Op<V> {
    /// Read the value.
    Get,
    /// 1 if the key exists, else 0.
    Exists,
    /// Milliseconds left: -2 without the key, -1 without an expiry.
    Ttl,
    /// Write the value.
    Set {
        /// The new value.
        value: V,
        /// CRC32C of the value, computed once at the border.
        value_crc: u32,
        /// When it takes effect.
        condition: Condition,
        /// What becomes of the expiry.
        expiry: Expiry,
        /// Reply with the old value (or nil) instead of `Done`/`Skipped`.
        return_old: bool,
    },
    /// Remove the key; replies 1 or 0.
    Delete,
    /// Add to the decimal integer value (absent counts as 0); replies with the sum.
    IncrementBy(i64),
    /// Set the expiry ([`Expiry::None`] removes it: PERSIST). Replies 1, or 0 where there was nothing to do.
    SetExpiry(Expiry),
    /// Open a session in this group; the key is empty. Replies with its id.
    OpenSession,
    /// Act on the key if its value is exactly this one, compared and done in one step: how the owner of a lock gives it back
    /// or keeps it. Replies 1 when it was done; 0 without the key, with another value or with nothing to do.
    IfEqual {
        /// The value the key must have.
        value: V,
        /// What is done then.
        then: Then,
    },
}

/// What [`Op::IfEqual`] does to a key whose value is the expected one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub enum Then {
    /// Remove it.
    Delete,
    /// It expires this many milliseconds after the slot's time stamp.
    ExpireAfter(u64),
    /// The same, but only for a key that expires: one that does not stays as it is.
    RenewFor(u64),
    /// A key that expires does so this many milliseconds later than it would have.
    ExtendBy(u64),
}

impl<V> Op<V> {
    /// Whether this goes through the log.
    pub fn is_write(&self) -> bool {
        !matches!(self, Op::Get | Op::Exists | Op::Ttl)
    }
    /// The value that travels with it: one to write or one to compare with.
    pub fn value(&self) -> Option<&V> {
        match self {
            Op::Set { value, .. } | Op::IfEqual { value, .. } => Some(value),
            _ => None,
        }
    }
    /// The same with the value, if there is one, replaced.
    pub fn map<W>(self, convert: impl FnOnce(V) -> W) -> Op<W> {
        match self {
            Op::Get => Op::Get,
            Op::Exists => Op::Exists,
            Op::Ttl => Op::Ttl,
            Op::Set { value, value_crc, condition, expiry, return_old } => {
                Op::Set { value: convert(value), value_crc, condition, expiry, return_old }
            }
            Op::Delete => Op::Delete,
            Op::IncrementBy(delta) => Op::IncrementBy(delta),
            Op::SetExpiry(expiry) => Op::SetExpiry(expiry),
            Op::OpenSession => Op::OpenSession,
            Op::IfEqual { value, then } => Op::IfEqual { value: convert(value), then },
        }
    }
}

/// One command on one key.
#[derive(Clone, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub struct Command<B> {
    /// The key's namespace.
    pub namespace: Namespace,
    /// The key; empty only for [`Op::OpenSession`].
    pub key: B,
    /// What to do.
    pub op: Op<B>,
    /// The session, for writes.
    pub stamp: SessionStamp,
}

impl<B> Command<B> {
    /// A command outside any session, in the default namespace.
    pub fn plain(key: B, op: Op<B>) -> Self {
        Self { namespace: Namespace::default(), key, op, stamp: SessionStamp::default() }
    }
    /// The same with key and value replaced, key first.
    pub fn map<C>(self, mut convert: impl FnMut(B) -> C) -> Command<C> {
        Command {
            namespace: self.namespace,
            key: convert(self.key),
            op: self.op.map(convert),
            stamp: self.stamp,
        }
    }
}

/// How fresh a read must be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Archive, Serialize, Deserialize)]
pub enum Consistency {
    /// The leader under its lease, else after confirming leadership with a quorum (ReadIndex).
    #[default]
    Linearizable,
    /// Always after confirming leadership with a quorum: trusts no clock.
    Quorum,
}

/// Why a request was not done, by what the caller can do about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Archive, Serialize, Deserialize)]
pub enum ErrorKind {
    /// The outcome is not known: the write may or may not take effect. Retry only within a session.
    Unknown,
    /// Certainly not executed: no leader is known here at the moment. Retry.
    NoLeader,
    /// Certainly not executed: too much is waiting. Retry later.
    Busy,
    /// Certainly not executed: the session was evicted or never opened. Open a new one.
    SessionExpired,
    /// Certainly not executed again, and its reply is gone: the sequence is below the session's lowest open one.
    SequenceClosed,
    /// The value is not a decimal 64-bit integer; nothing was changed.
    NotAnInteger,
    /// The sum does not fit 64 bits; nothing was changed.
    Overflow,
    /// The expiry is not a representable time; nothing was changed.
    BadExpiry,
    /// The value could not be read back from the log or failed its checksum.
    ReadFailed,
    /// Certainly not executed: key, value or request is malformed or over a limit.
    Malformed,
}

/// The answer to a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub enum Reply<V> {
    /// The write was chosen by a durable quorum and applied.
    Done {
        /// The key's new version.
        version: Version,
    },
    /// A SET's condition did not hold.
    Skipped,
    /// A value, current or old.
    Value {
        /// The bytes.
        value: V,
        /// The version the value was written at.
        version: Version,
    },
    /// No such key.
    Nil,
    /// A number.
    Int(i64),
    /// A session was opened.
    Session(SessionId),
    /// Not done, or not known to be done.
    Error(ErrorKind),
}

impl<V> Reply<V> {
    /// The same with the value, if there is one, replaced.
    pub fn map<W>(self, convert: impl FnOnce(V) -> W) -> Reply<W> {
        match self {
            Reply::Done { version } => Reply::Done { version },
            Reply::Skipped => Reply::Skipped,
            Reply::Value { value, version } => Reply::Value { value: convert(value), version },
            Reply::Nil => Reply::Nil,
            Reply::Int(number) => Reply::Int(number),
            Reply::Session(id) => Reply::Session(id),
            Reply::Error(kind) => Reply::Error(kind),
        }
    }
}

impl<V: AsRef<[u8]>> Reply<V> {
    /// A view of this reply that borrows its value.
    pub fn borrow(&self) -> Reply<&[u8]> {
        match self {
            Reply::Value { value, version } => Reply::Value { value: value.as_ref(), version: *version },
            Reply::Done { version } => Reply::Done { version: *version },
            Reply::Skipped => Reply::Skipped,
            Reply::Nil => Reply::Nil,
            Reply::Int(number) => Reply::Int(*number),
            Reply::Session(id) => Reply::Session(*id),
            Reply::Error(kind) => Reply::Error(*kind),
        }
    }
}
