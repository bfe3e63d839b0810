//! Commands and replies: what clients ask and what they are told.
//!
//! Both are generic over how bytes are held: `Shared` in the shell, `&[u8]` in replies written straight into an output
//! buffer, [`Span`] (a length) in archives, where the bytes themselves follow the archive.

// The `Archive` derive makes helper items that carry no docs; everything written here has them.
#![allow(missing_docs)]

use crate::ids::{Boot, CoreId, Level, Namespace, NodeId, SessionId, Slot};
use crate::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use crate::operand::{self, DIGEST_BYTES, VERSION_BYTES};
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

/// When a SET takes effect. New ones are added at the end: their order is their number in the log.
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

/// How the value there is compared with what is wanted (see [`crate::operand`]).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub enum Compare {
    /// The key exists with exactly these bytes (IFEQ).
    Equal,
    /// The key does not exist, or with other bytes (IFNE).
    NotEqual,
    /// The key exists and the XXH3 of its value is this, 8 bytes little-endian (IFDEQ).
    DigestEqual,
    /// The key does not exist, or its value has another XXH3 (IFDNE).
    DigestNotEqual,
    /// The key exists in this version ([`crate::operand::version_bytes`]).
    Version,
}

/// When a new expiry takes effect on a key that exists. A key that never expires counts as one that expires last.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub enum ExpiryTest {
    /// Only where there is none (NX).
    Unset,
    /// Only where there is one (XX).
    Set,
    /// Only if it is later than the one there is (GT).
    Later,
    /// Only if it is earlier (LT).
    Earlier,
    /// Only if there is one and it is later than the new (XX LT).
    SetEarlier,
}

/// What is done to the key. Bytes that an operation needs beside the key are the command's operand; [`Op::check`] says which has one.
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
    /// Remove the key if it was last written at this version; replies 1, 0 without the key, `Skipped` at another version.
    DeleteIfVersion(Version),
    /// When the key expires: -2 without the key, -1 without an expiry, else milliseconds since the epoch.
    ExpireTime,
    /// How many keys the group has, those included whose expiry has passed but that were not removed yet; the key is empty.
    CountKeys,
    /// Keys of one namespace from a position on; the key is empty. Replies with a page ([`crate::operand::scan_page`]).
    Scan {
        /// 0 to begin, else what the last page said.
        position: u64,
        /// How many keys are wanted; fewer or none may come.
        count: u32,
    },
    /// Some key of one namespace, or nil without any; the key is empty.
    RandomKey {
        /// Chooses it.
        draw: u64,
    },
    /// Remove the key; replies with the value it had, or nil (GETDEL).
    GetDelete,
    /// Set the expiry ([`Expiry::None`] removes it); replies with the value, or nil (GETEX).
    GetExpire(Expiry),
    /// [`Op::SetExpiry`] with a condition; replies 0 where it does not hold.
    SetExpiryIf {
        /// The expiry: [`Expiry::At`] or [`Expiry::After`].
        expiry: Expiry,
        /// When it takes effect.
        test: ExpiryTest,
    },
    /// Write a value if the one there compares as wanted.
    ///
    /// The operand is what is wanted and the new value: [`crate::operand::split_compared`].
    SetIf {
        /// CRC32C of the new value.
        value_crc: u32,
        /// How they are compared.
        compare: Compare,
        /// What becomes of the expiry.
        expiry: Expiry,
        /// Reply with the old value (or nil) instead of `Done`/`Skipped`.
        return_old: bool,
    },
    /// Remove the key if it exists and its value compares as wanted; replies 1 or 0.
    ///
    /// The operand is what is wanted.
    DeleteIf {
        /// How it is compared.
        compare: Compare,
    },
    /// Write several keys of one group at once, or none; the command's key is the first. Replies 1 or 0.
    ///
    /// The operand is [`crate::operand::pairs`].
    SetMany {
        /// Must hold for every key.
        condition: Condition,
        /// What becomes of their expiry.
        expiry: Expiry,
    },
    /// Give the key another name in the same group: value and expiry move. Replies 1; 0 if the new name is taken; nil
    /// without the key.
    ///
    /// The operand is the new name.
    Rename {
        /// Take it even if it is taken.
        replace: bool,
    },
    /// Copy value and expiry to another key of the same group. Replies 1, or 0 without the key or if the other is there.
    ///
    /// The operand is the other key.
    Copy {
        /// Copy even if it is there.
        replace: bool,
    },
    /// Remove every key of the group, in all namespaces; the key is empty.
    Flush,
    /// Act on the key if its value is exactly this one, compared and done in one step: how the owner of a lock gives it back
    /// or keeps it. Replies 1 when it was done; 0 without the key, with another value or with nothing to do.
    ///
    /// The operand is the value the key must have.
    IfEqual {
        /// What is done then.
        then: Then,
    },
    /// Every member reads this level: what comes with it may be written from the next slot on. Said by leaders and not by clients
    /// ([`Op::is_of_clients`]), alone in its entry; the key is empty.
    RaiseLevel(Level),
    /// Open the session under which a core of a node sends what its clients ask outside of sessions (rule P-21); the key is empty.
    /// Replies with its id, the same again for the same start of the node; `SessionExpired` once a later start has opened one. Said
    /// by nodes and not by clients.
    OpenNodeSession {
        /// The node.
        node: NodeId,
        /// Its core.
        core: CoreId,
        /// Its start.
        boot: Boot,
    },
    /// Close sequences of the session of a node that this is stamped with; the key is empty. Replies with a bit for each, which says
    /// whether it was executed: if not, it never will be. Said by nodes and not by clients.
    ///
    /// The operand is [`crate::operand::ranges`].
    CloseSequences,
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

impl Op {
    /// Whether this goes through the log.
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
    /// Whether a client may ask for this.
    pub fn is_of_clients(self) -> bool {
        !self.is_of_leaders() && !self.is_of_nodes()
    }
    /// Whether leaders say this: nobody asks for it, and it is alone in its entry.
    pub fn is_of_leaders(self) -> bool {
        matches!(self, Op::RaiseLevel(_))
    }
    /// Whether nodes ask for this on their own behalf.
    pub fn is_of_nodes(self) -> bool {
        matches!(self, Op::OpenNodeSession { .. } | Op::CloseSequences)
    }
    /// Whether `node` may ask another for this, for a client or for itself.
    pub fn may_come_from(self, node: NodeId) -> bool {
        match self {
            Op::OpenNodeSession { node: whose, .. } => whose == node,
            _ => !self.is_of_leaders(),
        }
    }
    /// Whether this is about a group and no key of it: the command's key is empty.
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
    /// Whether this may be asked about `key` with this operand: the one rule about keys, operands and options, for every border and
    /// every entry.
    ///
    /// | operation | operand |
    /// |---|---|
    /// | SET, IFEQUAL | a value |
    /// | DELETE IF | what is wanted |
    /// | SET IF | what is wanted and a value; together no longer than a value, if it is a value that is wanted |
    /// | SET MANY | pairs, the first of them of `key`; together no longer than a value |
    /// | RENAME, COPY | a key |
    /// | closing sequences | ranges |
    /// | all others | none: it is empty |
    ///
    /// # Errors
    /// What is wrong with it.
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
    /// The keys that an operation with this operand touches beside the command's own.
    pub fn other_keys(self, operand: &[u8]) -> impl Iterator<Item = &[u8]> {
        let (target, packed): (Option<&[u8]>, &[u8]) = match self {
            Op::Rename { .. } | Op::Copy { .. } => (Some(operand), &[]),
            Op::SetMany { .. } => (None, operand),
            _ => (None, &[]),
        };
        target.into_iter().chain(operand::pairs(packed).map(|pair| pair.key))
    }
}

/// Bytes of an operation in an entry's archive.
pub const OP_BYTES: usize = size_of::<ArchivedOp>();

impl Op {
    /// The operation as an entry's archive spells it: equal for equal operations, on every machine.
    pub fn to_bytes(self) -> [u8; OP_BYTES] {
        let mut bytes = [0; OP_BYTES];
        let mut buffer = rkyv::ser::writer::Buffer::from(&mut bytes);
        // Plain fields, and room for them: this cannot fail.
        let Ok(_) = rkyv::api::serialize_using::<_, rkyv::rancor::Panic>(&self, &mut buffer);
        bytes
    }
}

/// Why a command is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Illegal {
    /// A key without a byte.
    #[error("the key is empty")]
    KeyEmpty,
    /// A key over [`KEY_BYTES_MAX`].
    #[error("the key is over {KEY_BYTES_MAX} bytes")]
    KeyTooLong,
    /// A value over [`VALUE_BYTES_MAX`], or what counts as one.
    #[error("the value is over {VALUE_BYTES_MAX} bytes")]
    ValueTooLong,
    /// An operand or an option that the operation does not take.
    #[error("an operand or an option is not one of its operation")]
    Operand,
}

impl Illegal {
    /// Whether a limit is passed; else something is malformed.
    pub fn is_limit(self) -> bool {
        matches!(self, Self::KeyTooLong | Self::ValueTooLong)
    }
}

/// Whether this may be a key.
///
/// # Errors
/// What is wrong with it.
pub fn check_key(key: &[u8]) -> Result<(), Illegal> {
    match key.len() {
        0 => Err(Illegal::KeyEmpty),
        1..=KEY_BYTES_MAX => Ok(()),
        _ => Err(Illegal::KeyTooLong),
    }
}

/// Whether a value, or what counts as one, may have so many bytes.
///
/// # Errors
/// [`Illegal::ValueTooLong`].
pub fn check_value_len(len: usize) -> Result<(), Illegal> {
    if len <= VALUE_BYTES_MAX { Ok(()) } else { Err(Illegal::ValueTooLong) }
}

/// Whether `wanted` may be compared so, and a value of `value_len` bytes follow it.
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
    /// The key; empty for what [`Op::is_keyless`] names only.
    pub key: B,
    /// What to do.
    pub op: Op,
    /// What the operation needs beside the key; empty where it needs nothing.
    pub operand: B,
    /// The session, for writes.
    pub stamp: SessionStamp,
}

impl<B> Command<B> {
    /// A command outside any session, in the default namespace.
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
    /// The same with key and operand replaced, key first.
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
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), Illegal> {
        self.op.check(self.key.as_ref(), self.operand.as_ref())
    }
    /// Bytes of key and operand.
    pub fn byte_len(&self) -> usize {
        self.key.as_ref().len() + self.operand.as_ref().len()
    }
    /// The keys it touches beside its own.
    pub fn other_keys(&self) -> impl Iterator<Item = &[u8]> {
        self.op.other_keys(self.operand.as_ref())
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
    /// Certainly not executed: the logs of the leader, or of too many members, have no room, as on a full disk. Retry when there is
    /// some.
    NoSpace,
    /// Executed when it was sent before; its reply was too large to be kept.
    ReplyDropped,
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
