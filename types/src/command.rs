//! Commands and replies: the requests of clients and the answers.
//!
//! Both are generic over how bytes are held: `Shared` in the shell, `&[u8]` in replies written straight into
//! an output buffer, [`Span`] (a length) in archives, where the bytes follow the archive.

// The `Archive` derive generates items without docs; every item written here has them.
#![allow(missing_docs)]

use crate::ids::{Boot, CoreId, Level, Namespace, NodeId, SessionId, Version};
use crate::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use crate::operand::{self, DIGEST_BYTES, VERSION_BYTES};
use crate::time::WallMs;
use rkyv::{Archive, Deserialize, Serialize};

/// The length of a run of bytes that follows the archive. The runs are in the order in which their spans
/// appear.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub struct Span {
    /// Length in bytes.
    pub len: u32,
}

/// The session that a write belongs to, so that a retry is executed once (rule P-12).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Archive, Serialize, Deserialize)]
pub struct SessionStamp {
    /// The session; [`SessionId::NONE`] for none.
    pub session: SessionId,
    /// This command's number in the session, from 1. Each is used for one command only.
    pub sequence: u64,
    /// Commands below this number will not be retried.
    pub lowest_open: u64,
}

/// When a SET takes effect. New variants go at the end: their index is their encoding in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Archive, Serialize, Deserialize)]
pub enum Condition {
    /// Always.
    #[default]
    Always,
    /// Only if the key does not exist (NX).
    IfAbsent,
    /// Only if the key exists (XX).
    IfPresent,
    /// Only if the key exists and was last written at this version.
    IfVersion(Version),
}

/// The effect of a SET on the key's expiry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Archive, Serialize, Deserialize)]
pub enum Expiry {
    /// The key no longer expires.
    #[default]
    None,
    /// The expiry stays as it was (KEEPTTL).
    Keep,
    /// The key expires at this time (EXAT, PXAT). A time in the past deletes the key.
    At(WallMs),
    /// The key expires this many milliseconds after the slot's time stamp (EX, PX). Apply resolves it, so all
    /// replicas agree.
    After(u64),
}

/// How the current value is compared with the expected one (see [`crate::operand`]).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub enum Compare {
    /// The key exists with exactly these bytes (IFEQ).
    Equal,
    /// The key does not exist, or has other bytes (IFNE).
    NotEqual,
    /// The key exists and its value has this XXH3 digest, 8 bytes little-endian (IFDEQ).
    DigestEqual,
    /// The key does not exist, or its value has another XXH3 digest (IFDNE).
    DigestNotEqual,
    /// The key exists with this version ([`crate::operand::version_bytes`]).
    Version,
}

/// When a new expiry takes effect on an existing key. A key without an expiry counts as one that expires
/// last.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub enum ExpiryTest {
    /// Only if the key has no expiry (NX).
    Unset,
    /// Only if the key has an expiry (XX).
    Set,
    /// Only if the new expiry is later than the current one (GT).
    Later,
    /// Only if the new expiry is earlier (LT).
    Earlier,
    /// Only if the key has an expiry and the new one is earlier (XX LT).
    SetEarlier,
}

/// The operation on the key. Bytes that it needs besides the key are the command's operand; [`Op::check`]
/// lists which operations have one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub enum Op {
    /// Read the value.
    Get,
    /// 1 if the key exists, else 0.
    Exists,
    /// Milliseconds left: -2 without the key, -1 without an expiry.
    Ttl,
    /// Write the value, which is the operand.
    Set {
        /// CRC32C of the value, computed once when the command is received.
        value_crc: u32,
        /// When it takes effect.
        condition: Condition,
        /// The effect on the expiry.
        expiry: Expiry,
        /// Reply with the old value (or nil) instead of `Done`/`Skipped`.
        return_old: bool,
    },
    /// Remove the key; replies 1 or 0.
    Delete,
    /// Add to the decimal integer value (a missing key counts as 0); replies with the sum.
    IncrementBy(i64),
    /// Set the expiry ([`Expiry::None`] removes it: PERSIST). Replies 1, or 0 if there was nothing to do.
    SetExpiry(Expiry),
    /// Open a session in this group; the key is empty. Replies with its id.
    OpenSession,
    /// Remove the key if it was last written at this version. Replies 1, 0 without the key, or `Skipped` at
    /// another version.
    DeleteIfVersion(Version),
    /// The time at which the key expires: -2 without the key, -1 without an expiry, else milliseconds since
    /// the epoch.
    ExpireTime,
    /// The number of keys in the group, including expired keys that were not removed yet; the key is empty.
    CountKeys,
    /// The keys of one namespace from a position on; the key is empty. Replies with a page
    /// ([`crate::operand::scan_page`]).
    Scan {
        /// 0 to begin, else the next position given by the last page.
        position: u64,
        /// How many keys are wanted; the page may have fewer or none.
        count: u32,
    },
    /// A random key of one namespace, or nil if there is none; the key is empty.
    RandomKey {
        /// The random number that selects the key.
        draw: u64,
    },
    /// Remove the key; replies with the value it had, or nil (GETDEL).
    GetDelete,
    /// Set the expiry ([`Expiry::None`] removes it); replies with the value, or nil (GETEX).
    GetExpire(Expiry),
    /// [`Op::SetExpiry`] with a condition; replies 0 if it does not hold.
    SetExpiryIf {
        /// The expiry: [`Expiry::At`] or [`Expiry::After`].
        expiry: Expiry,
        /// When it takes effect.
        test: ExpiryTest,
    },
    /// Write a value if the comparison with the current one holds.
    ///
    /// The operand is the expected value, digest or version, and the new value:
    /// [`crate::operand::split_compared`].
    SetIf {
        /// CRC32C of the new value.
        value_crc: u32,
        /// How the current value is compared.
        compare: Compare,
        /// The effect on the expiry.
        expiry: Expiry,
        /// Reply with the old value (or nil) instead of `Done`/`Skipped`.
        return_old: bool,
    },
    /// Remove the key if it exists and the comparison with its value holds; replies 1 or 0.
    ///
    /// The operand is the expected value, digest or version.
    DeleteIf {
        /// How the current value is compared.
        compare: Compare,
    },
    /// Write several keys of one group at once, or none; the command's key is the first. Replies 1 or 0.
    ///
    /// The operand is [`crate::operand::pairs`].
    SetMany {
        /// The condition, which must hold for every key.
        condition: Condition,
        /// The effect on their expiry.
        expiry: Expiry,
    },
    /// Give the key another name in the same group: value and expiry move. Replies 1, 0 if the new name
    /// exists, or nil without the key.
    ///
    /// The operand is the new name.
    Rename {
        /// Replace the new name if it exists.
        replace: bool,
    },
    /// Copy value and expiry to another key of the same group. Replies 1, or 0 without the key or if the
    /// other key exists.
    ///
    /// The operand is the other key.
    Copy {
        /// Replace the other key if it exists.
        replace: bool,
    },
    /// Remove every key of the group, in all namespaces; the key is empty.
    Flush,
    /// Act on the key if its value equals the operand, compared and done in one step: the owner of a lock
    /// uses it to release or extend the lock. Replies 1 if it was done, or 0 without the key, with another
    /// value, or with nothing to do.
    ///
    /// The operand is the value the key must have.
    IfEqual {
        /// The action.
        then: IfEqualAction,
    },
    /// Every member can read this level: what comes with it may be written from the next slot on. Only
    /// leaders propose it, not clients ([`Op::is_of_clients`]), alone in its entry; the key is empty.
    RaiseLevel(Level),
    /// Open the session under which a core of a node sends its clients' commands that have no session (rule
    /// P-21); the key is empty. Replies with its id, which is the same for the same boot of the node, or
    /// `SessionExpired` once a later boot has opened one. Only nodes send it, not clients.
    OpenNodeSession {
        /// The node.
        node: NodeId,
        /// Its core.
        core: CoreId,
        /// The boot of the node.
        boot: Boot,
    },
    /// Close sequences of the node's session that this command is stamped with; the key is empty. Replies
    /// with a bit for each, which says whether it was executed: if not, it never will be. Only nodes send it,
    /// not clients.
    ///
    /// The operand is [`crate::operand::ranges`].
    CloseSequences,
}

/// The action of [`Op::IfEqual`] on a key that has the expected value.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub enum IfEqualAction {
    /// Remove it.
    Delete,
    /// Let it expire this many milliseconds after the slot's time stamp.
    ExpireAfter(u64),
    /// The same, but only for a key with an expiry; another key stays as it is.
    RenewFor(u64),
    /// Move the expiry of a key that has one this many milliseconds later.
    ExtendBy(u64),
}

impl Op {
    /// Whether the operation goes through the log.
    pub fn is_write(self) -> bool {
        !matches!(
            self,
            Op::Get
                | Op::Exists
                | Op::Ttl
                | Op::ExpireTime
                | Op::CountKeys
                | Op::Scan { .. }
                | Op::RandomKey { .. }
        )
    }
    /// Whether it is a write that replies with a value.
    pub fn returns_old_value(self) -> bool {
        match self {
            Op::Set { return_old, .. } | Op::SetIf { return_old, .. } => return_old,
            Op::GetDelete | Op::GetExpire(_) => true,
            _ => false,
        }
    }
    /// Whether a client may send it.
    pub fn is_of_clients(self) -> bool {
        !self.is_of_leaders() && !self.is_of_nodes()
    }
    /// Whether leaders propose it on their own; it is alone in its entry.
    pub fn is_of_leaders(self) -> bool {
        matches!(self, Op::RaiseLevel(_))
    }
    /// Whether nodes send it on their own behalf.
    pub fn is_of_nodes(self) -> bool {
        matches!(self, Op::OpenNodeSession { .. } | Op::CloseSequences)
    }
    /// Whether `node` may forward it to another node, for a client or for itself.
    pub fn may_come_from(self, node: NodeId) -> bool {
        match self {
            Op::OpenNodeSession { node: whose, .. } => whose == node,
            _ => !self.is_of_leaders(),
        }
    }
    /// Whether it concerns a group and not a single key: the command's key is empty.
    pub fn is_keyless(self) -> bool {
        matches!(
            self,
            Op::OpenSession
                | Op::OpenNodeSession { .. }
                | Op::CloseSequences
                | Op::Flush
                | Op::RaiseLevel(_)
                | Op::CountKeys
                | Op::Scan { .. }
                | Op::RandomKey { .. }
        )
    }
    /// Checks the operation with `key` and `operand`: the one rule about keys, operands and options, for
    /// every interface and every entry.
    ///
    /// | operation | operand |
    /// |---|---|
    /// | SET, IFEQUAL | a value |
    /// | DELETE IF | the expected value, digest or version |
    /// | SET IF | the expected value, digest or version, and a value; two values share one value's limit |
    /// | SET MANY | pairs, the first with key `key`; together no longer than a value |
    /// | RENAME, COPY | a key |
    /// | closing sequences | ranges |
    /// | all others | empty |
    ///
    /// # Errors
    /// The rule that is broken.
    pub fn check(self, key: &[u8], operand: &[u8]) -> Result<(), Illegal> {
        match (self.is_keyless(), key.is_empty()) {
            (true, true) => {}
            (true, false) => return Err(Illegal::Operand),
            (false, _) => check_key(key)?,
        }
        let options = match self {
            Op::SetExpiry(Expiry::Keep) | Op::GetExpire(Expiry::Keep) => false,
            Op::SetExpiryIf { expiry, .. } => matches!(expiry, Expiry::At(_) | Expiry::After(_)),
            _ => true,
        };
        if !options {
            return Err(Illegal::Operand);
        }
        match self {
            Op::Set { .. } | Op::IfEqual { .. } => check_value_len(operand.len()),
            Op::DeleteIf { compare } => check_compared(compare, operand, 0),
            Op::SetIf { compare, .. } => {
                let (wanted, _, value) = operand::split_compared(operand).ok_or(Illegal::Operand)?;
                check_compared(compare, wanted, value.len())
            }
            Op::SetMany { .. } => {
                check_value_len(operand.len())?;
                let first = operand::pairs(operand).next();
                let sound = operand::are_pairs(operand) && first.is_some_and(|pair| pair.key == key);
                if sound { Ok(()) } else { Err(Illegal::Operand) }
            }
            Op::Rename { .. } | Op::Copy { .. } => check_key(operand),
            Op::CloseSequences if operand::are_ranges(operand) => Ok(()),
            _ if operand.is_empty() => Ok(()),
            _ => Err(Illegal::Operand),
        }
    }
    /// The keys that the operation touches besides the command's own.
    pub fn other_keys(self, operand: &[u8]) -> impl Iterator<Item = &[u8]> {
        let (target, packed): (Option<&[u8]>, &[u8]) = match self {
            Op::Rename { .. } | Op::Copy { .. } => (Some(operand), &[]),
            Op::SetMany { .. } => (None, operand),
            _ => (None, &[]),
        };
        target.into_iter().chain(operand::pairs(packed).map(|pair| pair.key))
    }
}

/// The length of an operation in an entry's archive, bytes.
pub const OP_BYTES: usize = size_of::<ArchivedOp>();

impl Op {
    /// The operation as encoded in an entry's archive: equal operations have equal bytes on every machine.
    pub fn to_bytes(self) -> [u8; OP_BYTES] {
        let mut bytes = [0; OP_BYTES];
        let mut buffer = rkyv::ser::writer::Buffer::from(&mut bytes);
        // Plain fields, and a buffer of their size: this cannot fail.
        let Ok(_) = rkyv::api::serialize_using::<_, rkyv::rancor::Panic>(&self, &mut buffer);
        bytes
    }
}

/// Why a command is not valid.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Illegal {
    /// The key is empty.
    #[error("the key is empty")]
    KeyEmpty,
    /// The key is longer than [`KEY_BYTES_MAX`].
    #[error("the key is over {KEY_BYTES_MAX} bytes")]
    KeyTooLong,
    /// The value, or an operand that counts as one, is longer than [`VALUE_BYTES_MAX`].
    #[error("the value is over {VALUE_BYTES_MAX} bytes")]
    ValueTooLong,
    /// The operation does not take this operand or option.
    #[error("an operand or an option is not one of its operation")]
    Operand,
}

impl Illegal {
    /// Whether a limit is exceeded; else the command is malformed.
    pub fn is_limit(self) -> bool {
        matches!(self, Self::KeyTooLong | Self::ValueTooLong)
    }
}

/// Checks the length of a key.
///
/// # Errors
/// The rule that is broken.
pub fn check_key(key: &[u8]) -> Result<(), Illegal> {
    match key.len() {
        0 => Err(Illegal::KeyEmpty),
        1..=KEY_BYTES_MAX => Ok(()),
        _ => Err(Illegal::KeyTooLong),
    }
}

/// Checks the length of a value, or of an operand that counts as one.
///
/// # Errors
/// [`Illegal::ValueTooLong`].
pub fn check_value_len(len: usize) -> Result<(), Illegal> {
    if len <= VALUE_BYTES_MAX { Ok(()) } else { Err(Illegal::ValueTooLong) }
}

/// Checks that `wanted` fits the comparison, and that a value of `value_len` bytes may follow it.
fn check_compared(compare: Compare, wanted: &[u8], value_len: usize) -> Result<(), Illegal> {
    let wanted_len = match compare {
        Compare::Equal | Compare::NotEqual => return check_value_len(wanted.len().saturating_add(value_len)),
        Compare::DigestEqual | Compare::DigestNotEqual => DIGEST_BYTES,
        Compare::Version => VERSION_BYTES,
    };
    if wanted.len() != wanted_len {
        return Err(Illegal::Operand);
    }
    check_value_len(value_len)
}

/// One command on one key.
#[derive(Clone, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub struct Command<B> {
    /// The key's namespace.
    pub namespace: Namespace,
    /// The key; empty exactly for the operations of [`Op::is_keyless`].
    pub key: B,
    /// The operation.
    pub op: Op,
    /// The bytes that the operation needs besides the key; may be empty.
    pub operand: B,
    /// The session, for writes.
    pub stamp: SessionStamp,
}

impl<B> Command<B> {
    /// A command without a session, in the default namespace.
    pub fn new(key: B, op: Op, operand: B) -> Self {
        Self { namespace: Namespace::default(), key, op, operand, stamp: SessionStamp::default() }
    }
    /// The same without an operand.
    pub fn plain(key: B, op: Op) -> Self
    where
        B: Default,
    {
        Self::new(key, op, B::default())
    }
    /// The same with key and operand converted, the key first.
    pub fn map<C>(self, mut convert: impl FnMut(B) -> C) -> Command<C> {
        Command {
            namespace: self.namespace,
            key: convert(self.key),
            op: self.op,
            operand: convert(self.operand),
            stamp: self.stamp,
        }
    }
    /// The same with key and operand borrowed.
    pub fn as_ref(&self) -> Command<&B> {
        Command {
            namespace: self.namespace,
            key: &self.key,
            op: self.op,
            operand: &self.operand,
            stamp: self.stamp,
        }
    }
}

impl<B: AsRef<[u8]>> Command<B> {
    /// [`Op::check`] with the command's own key and operand.
    ///
    /// # Errors
    /// The rule that is broken.
    pub fn check(&self) -> Result<(), Illegal> {
        self.op.check(self.key.as_ref(), self.operand.as_ref())
    }
    /// The bytes of key and operand together.
    pub fn byte_len(&self) -> usize {
        self.key.as_ref().len() + self.operand.as_ref().len()
    }
    /// The keys it touches besides its own.
    pub fn other_keys(&self) -> impl Iterator<Item = &[u8]> {
        self.op.other_keys(self.operand.as_ref())
    }
}

/// How fresh a read must be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Archive, Serialize, Deserialize)]
pub enum Consistency {
    /// Read at the leader under its lease, or else after a quorum has confirmed its leadership (ReadIndex);
    /// or at another replica, up to a point that the leader has given (rule P-07).
    #[default]
    Linearizable,
    /// Always read after a quorum has confirmed leadership: relies on no clock.
    Quorum,
}

/// Why a request failed, by what the caller can do about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Archive, Serialize, Deserialize)]
pub enum ErrorKind {
    /// The outcome is unknown: the write may or may not take effect. Retry only within a session.
    Unknown,
    /// Certainly not executed: no leader is known here at the moment. Retry.
    NoLeader,
    /// Certainly not executed: too many requests are waiting. Retry later.
    Busy,
    /// Certainly not executed: the session was evicted or never opened. Open a new one.
    SessionExpired,
    /// Certainly not executed again, and its reply is gone: the sequence is below the session's lowest open
    /// one, or was closed.
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
    /// Certainly not executed: the logs of the leader, or of too many members, have no room, as on a full
    /// disk. Retry once there is room.
    NoSpace,
    /// Executed at an earlier try; its reply was too large to be kept.
    ReplyDropped,
}

impl ErrorKind {
    /// Whether it says of a write that this sending of it was certainly not executed. An earlier sending may
    /// have been.
    pub const fn is_not_executed(self) -> bool {
        matches!(
            self,
            Self::NoLeader
                | Self::Busy
                | Self::NoSpace
                | Self::SessionExpired
                | Self::SequenceClosed
                | Self::Malformed
        )
    }
}

/// The answer to a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub enum Reply<V> {
    /// The write was chosen by a durable quorum and applied.
    Done {
        /// The key's new version.
        version: Version,
    },
    /// The condition of a SET or of a DELETE did not hold.
    Skipped,
    /// The value, current or old.
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
    /// Not executed, or the outcome is unknown.
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
    /// A view of this reply with the value borrowed.
    pub fn as_ref(&self) -> Reply<&V> {
        match *self {
            Reply::Done { version } => Reply::Done { version },
            Reply::Skipped => Reply::Skipped,
            Reply::Value { ref value, version } => Reply::Value { value, version },
            Reply::Nil => Reply::Nil,
            Reply::Int(number) => Reply::Int(number),
            Reply::Session(id) => Reply::Session(id),
            Reply::Error(kind) => Reply::Error(kind),
        }
    }
}

impl<V: AsRef<[u8]>> Reply<V> {
    /// A view of this reply with the value's bytes borrowed.
    pub fn borrow(&self) -> Reply<&[u8]> {
        self.as_ref().map(AsRef::as_ref)
    }
}
