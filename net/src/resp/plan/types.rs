//! The plan of a command on keys: the asks of the groups, and the form of the reply. And the rule about keys,
//! values and operands that every plan obeys, in the error lines of RESP.

use crate::resp::derive::Derive;
use crate::resp::error_line::ErrorLine;
use crate::resp::glob::Pattern;
use crate::resp::parser::Args;
use std::borrow::Cow;
use synod_types::checksum::crc32c;
use synod_types::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use synod_types::{Bucket, Condition, Expiry, Illegal, Op, command};

/// The form of the reply to one command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReplyShape {
    /// `+OK`, or nil when a condition did not hold.
    Ok,
    /// The value or nil, of a read.
    Value,
    /// The value before a write, or nil.
    OldValue,
    /// 1 when executed, 0 when skipped.
    OneOrZero,
    /// The number.
    Int,
    /// Milliseconds converted to seconds, rounded; negative numbers as they are.
    Seconds,
    /// The length of the value.
    Length,
    /// `string` or `none`.
    Type,
    /// The part of the value that GETRANGE asks for.
    Range {
        /// The first byte; negative from the end.
        first: i64,
        /// The last byte; negative from the end.
        last: i64,
    },
    /// The XXH3 of the value in hexadecimal digits, or nil.
    Digest,
    /// The encoding that Redis would use for the value.
    Encoding,
    /// 1, or nil without the key.
    RefCount,
    /// 0, or nil without the key: the time of the last use is not kept.
    IdleTime,
    /// An error, or nil without the key: uses are not counted.
    Frequency,
    /// The approximate number of bytes that a key and its value take; nil without the key.
    Memory {
        /// Length of the key.
        key_len: usize,
    },
    /// Milliseconds since the epoch converted to seconds, rounded; negative numbers as they are.
    TimeSeconds,
    /// `+OK`, or an error without the key.
    Renamed,
    /// 1 or 0, or an error without the key.
    RenamedOrNot,
}

/// A job: several asks, one after the other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Work {
    /// APPEND, SETRANGE, INCRBYFLOAT.
    Derive {
        /// The key.
        key: Vec<u8>,
        /// How the new value is made from the old one.
        how: Derive,
    },
    /// SCAN.
    Scan {
        /// Where to continue.
        cursor: u64,
        /// The pattern that keys must match.
        pattern: Option<Pattern>,
        /// About how many keys.
        count: u32,
        /// Whether strings are wanted; there are no other types.
        strings: bool,
    },
    /// KEYS.
    Keys {
        /// The pattern that keys must match.
        pattern: Pattern,
    },
    /// RANDOMKEY.
    RandomKey,
    /// DBSIZE.
    Count,
    /// CLUSTER COUNTKEYSINSLOT, GETKEYSINSLOT.
    Slot {
        /// The slot.
        bucket: Bucket,
        /// The most keys to return; without a number, the keys are counted.
        keys_max: Option<u64>,
    },
    /// FLUSHALL, FLUSHDB.
    Flush,
    /// INFO keyspace: one read of each group brings this node up to date; then INFO follows.
    Freshen {
        /// The sections asked for.
        sections: Vec<String>,
    },
}

/// How the replies to the parts of a command on many keys are combined.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Many {
    /// DEL: the sum.
    Delete,
    /// EXISTS: the sum.
    Exists,
    /// MGET: the values in order.
    Get,
    /// MSET: `+OK`.
    Set,
}

impl Many {
    /// The number of arguments of one part.
    pub fn stride(self) -> usize {
        if self == Many::Set { 2 } else { 1 }
    }
    /// Whether the parts are writes.
    pub fn is_write(self) -> bool {
        matches!(self, Many::Delete | Many::Set)
    }
    /// The operation on each key; `value_crc` is the CRC of the part's value, if it has one.
    pub fn part_op(self, value_crc: u32) -> Op {
        match self {
            Many::Delete => Op::Delete,
            Many::Exists => Op::Exists,
            Many::Get => Op::Get,
            Many::Set => {
                Op::Set { value_crc, condition: Condition::Always, expiry: Expiry::None, return_old: false }
            }
        }
    }
}

/// The plan of a command on keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Plan<'a> {
    /// One command.
    One {
        /// The key.
        key: &'a [u8],
        /// The operation.
        op: Op,
        /// The operand: one of the arguments, or bytes made from them.
        operand: Cow<'a, [u8]>,
        /// The form of the reply.
        shape: ReplyShape,
    },
    /// One command per key, or pair, of the arguments behind the name.
    Many(Many, Args<'a>),
    /// Several commands, one after the other.
    Job(Work),
}

impl<'a> Plan<'a> {
    /// One command without an operand.
    pub fn of(key: &'a [u8], op: Op, shape: ReplyShape) -> Self {
        Self::with(key, op, &[][..], shape)
    }
    /// One command.
    pub fn with(key: &'a [u8], op: Op, operand: impl Into<Cow<'a, [u8]>>, shape: ReplyShape) -> Self {
        Self::One { key, op, operand: operand.into(), shape }
    }
    /// A write of `value`. The shape of the reply decides whether the old value is returned.
    pub fn set(
        key: &'a [u8],
        value: &'a [u8],
        condition: Condition,
        expiry: Expiry,
        shape: ReplyShape,
    ) -> Self {
        let return_old = shape == ReplyShape::OldValue;
        let op = Op::Set { value_crc: crc32c(value), condition, expiry, return_old };
        Self::with(key, op, value, shape)
    }

    /// Checks the keys that it names, and the operand of a single command.
    ///
    /// # Errors
    /// The error line to answer with.
    pub(super) fn check(&self) -> Result<(), ErrorLine> {
        match self {
            Self::One { key, op, operand, .. } => {
                check_key(key)?;
                op.check(key, operand).map_err(|illegal| match illegal {
                    // RENAME and COPY: the operand is a key, too.
                    Illegal::KeyEmpty | Illegal::KeyTooLong => key_refused(illegal, operand),
                    Illegal::ValueTooLong => too_long("command", operand.len(), VALUE_BYTES_MAX),
                    Illegal::Operand => format!("ERR {illegal}").into(),
                })
            }
            // The commands are made later, from these arguments.
            Self::Many(many, args) => {
                args.iter_from(1).enumerate().try_for_each(|(index, arg)| match index % many.stride() {
                    0 => check_key(arg),
                    _ => check_value(arg),
                })
            }
            // The size of the new value is checked when it is made.
            Self::Job(Work::Derive { key, .. }) => check_key(key),
            Self::Job(_) => Ok(()),
        }
    }
}

/// Checks that `key` is a valid key.
///
/// # Errors
/// The error line to answer with.
pub(super) fn check_key(key: &[u8]) -> Result<(), ErrorLine> {
    command::check_key(key).map_err(|illegal| key_refused(illegal, key))
}

fn check_value(value: &[u8]) -> Result<(), ErrorLine> {
    command::check_value_len(value.len()).map_err(|_| too_long("value", value.len(), VALUE_BYTES_MAX))
}

fn key_refused(illegal: Illegal, key: &[u8]) -> ErrorLine {
    match illegal {
        Illegal::KeyEmpty => "ERR empty keys are not supported".into(),
        _ => too_long("key", key.len(), KEY_BYTES_MAX),
    }
}

fn too_long(part: &str, len: usize, limit: usize) -> ErrorLine {
    format!("ERR {part} too long: {len} bytes, the limit is {limit}").into()
}
