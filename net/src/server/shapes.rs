//! Writes the reply to one command, by its shape.

use crate::resp::error_line::{ErrorLine, bad_expiry};
use crate::resp::number::parse_i64;
use crate::resp::plan::ReplyShape;
use crate::resp::reply::Writer;
use synod_types::{ErrorKind, Reply};
use xxhash_rust::xxh3::xxh3_64;

/// Redis embeds strings up to this length in the object.
const EMBEDDED_BYTES_MAX: usize = 44;
/// Bytes that the index keeps of a key beside the key and the value.
const KEY_COST_BYTES: usize = 64;
const NO_SUCH_KEY: &str = "ERR no such key";
/// The prefix is Redis's for an append-only file that cannot be written.
pub(super) const NO_SPACE: &str =
    "BUSY no space left for the logs of the nodes that hold this key; nothing was executed";
const NOT_COUNTED: &str = "ERR An LFU maxmemory policy is not selected, access frequency not tracked. \
     Please note that when switching between policies at runtime LRU and LFU data will take some time to \
     adjust.";

pub(super) fn write_reply(
    writer: &mut Writer<'_>,
    shape: ReplyShape,
    name: &'static str,
    reply: &Reply<&[u8]>,
) {
    match (shape, *reply) {
        (_, Reply::Error(kind)) => write_error(writer, kind, name),
        (ReplyShape::Ok, Reply::Done { .. }) => writer.simple("OK"),
        (ReplyShape::Ok, Reply::Skipped) => writer.nil(),
        (ReplyShape::Value | ReplyShape::OldValue, Reply::Value { value, .. }) => writer.bulk(value),
        (ReplyShape::Value | ReplyShape::OldValue, Reply::Nil) => writer.nil(),
        (ReplyShape::OneOrZero, Reply::Done { .. }) => writer.int(1),
        (ReplyShape::OneOrZero, Reply::Skipped) => writer.int(0),
        (ReplyShape::Int, Reply::Int(number)) => writer.int(number),
        (ReplyShape::Seconds, Reply::Int(ms)) => {
            writer.int(if ms < 0 { ms } else { ms / 1000 + i64::from(ms % 1000 >= 500) });
        }
        (ReplyShape::Length, Reply::Value { value, .. }) => writer.count(value.len()),
        (ReplyShape::Length, Reply::Nil) => writer.int(0),
        (ReplyShape::Range { first, last }, Reply::Value { value, .. }) => {
            writer.bulk(part(value, first, last))
        }
        (ReplyShape::Range { .. }, Reply::Nil) => writer.bulk(b""),
        (ReplyShape::Digest, Reply::Value { value, .. }) => {
            writer.bulk(format!("{:016x}", xxh3_64(value)).as_bytes());
        }
        (ReplyShape::Encoding, Reply::Value { value, .. }) => writer.bulk(encoding(value).as_bytes()),
        (ReplyShape::Memory { key_len }, Reply::Value { value, .. }) => {
            writer.count(key_len + value.len() + KEY_COST_BYTES);
        }
        (ReplyShape::Digest | ReplyShape::Encoding | ReplyShape::Memory { .. }, Reply::Nil) => writer.nil(),
        (ReplyShape::RefCount | ReplyShape::IdleTime | ReplyShape::Frequency, Reply::Int(0)) => writer.nil(),
        (ReplyShape::RefCount, Reply::Int(_)) => writer.int(1),
        (ReplyShape::IdleTime, Reply::Int(_)) => writer.int(0),
        (ReplyShape::Frequency, Reply::Int(_)) => writer.error(NOT_COUNTED),
        (ReplyShape::TimeSeconds, Reply::Int(ms)) => {
            writer.int(if ms < 0 { ms } else { ms.saturating_add(500) / 1000 });
        }
        (ReplyShape::Renamed, Reply::Int(_)) => writer.simple("OK"),
        (ReplyShape::RenamedOrNot, Reply::Int(done)) => writer.int(done),
        (ReplyShape::Renamed | ReplyShape::RenamedOrNot, Reply::Nil) => writer.error(NO_SUCH_KEY),
        (ReplyShape::Type, Reply::Int(count)) => writer.simple(if count == 0 { "none" } else { "string" }),
        // Not an answer to this question: the outcome is unknown.
        _ => write_error(writer, ErrorKind::Unknown, name),
    }
}

/// The answer of GETRANGE: both ends are inclusive, negative ones count from the end, and nothing is out of
/// range.
fn part(value: &[u8], first: i64, last: i64) -> &[u8] {
    let len = value.len() as i64; // values are short
    let at = |index: i64| if index < 0 { index.saturating_add(len) } else { index };
    if first < 0 && last < 0 && first > last {
        return &[];
    }
    let (first, last) = (at(first).max(0), at(last).max(0).min(len - 1));
    if first > last || len == 0 {
        return &[];
    }
    &value[first as usize..=last as usize] // 0 <= first <= last < len
}

/// The encoding that Redis would use for a string; tools group keys by it.
fn encoding(value: &[u8]) -> &'static str {
    match value.len() {
        0..=20 if parse_i64(value).is_some() => "int",
        0..=EMBEDDED_BYTES_MAX => "embstr",
        _ => "raw",
    }
}

pub(super) fn write_error(writer: &mut Writer<'_>, kind: ErrorKind, name: &'static str) {
    writer.error(&error_text(kind, name));
}

/// The error line for `kind` in answer to the command called `name`.
pub(super) fn error_text(kind: ErrorKind, name: &'static str) -> ErrorLine {
    ErrorLine::Borrowed(match kind {
        ErrorKind::Unknown | ErrorKind::ReplyDropped => {
            "UNKNOWN the outcome is not known: the command may or may not have taken effect"
        }
        ErrorKind::NoLeader => {
            "CLUSTERDOWN no leader is known for this key at the moment; nothing was executed"
        }
        ErrorKind::Busy => "BUSY too much is waiting; nothing was executed, retry later",
        ErrorKind::NoSpace => return ErrorLine::Borrowed(NO_SPACE),
        ErrorKind::SessionExpired => "ERR the session has expired; nothing was executed",
        ErrorKind::SequenceClosed => "ERR the sequence number is closed; nothing was executed",
        ErrorKind::NotAnInteger => "ERR value is not an integer or out of range",
        ErrorKind::Overflow => "ERR increment or decrement would overflow",
        ErrorKind::BadExpiry => return bad_expiry(name),
        ErrorKind::ReadFailed => "ERR the value could not be read back from the log or failed its checksum",
        ErrorKind::Malformed => "ERR the request is malformed or over a limit",
    })
}
