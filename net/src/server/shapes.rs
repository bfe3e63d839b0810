//! Writes the reply to one command, by its shape.

use crate::resp::number::parse_i64;
use crate::resp::plan::Shape;
use crate::resp::refusal::{Refusal, bad_expiry};
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

pub(super) fn write_reply(writer: &mut Writer<'_>, shape: Shape, name: &'static str, reply: &Reply<&[u8]>) {
    match (shape, *reply) {
        (_, Reply::Error(kind)) => write_error(writer, kind, name),
        (Shape::Ok, Reply::Done { .. }) => writer.simple("OK"),
        (Shape::Ok, Reply::Skipped) => writer.nil(),
        (Shape::Value | Shape::OldValue, Reply::Value { value, .. }) => writer.bulk(value),
        (Shape::Value | Shape::OldValue, Reply::Nil) => writer.nil(),
        (Shape::OneOrZero, Reply::Done { .. }) => writer.int(1),
        (Shape::OneOrZero, Reply::Skipped) => writer.int(0),
        (Shape::Int, Reply::Int(number)) => writer.int(number),
        (Shape::Seconds, Reply::Int(ms)) => {
            writer.int(if ms < 0 { ms } else { ms / 1000 + i64::from(ms % 1000 >= 500) });
        }
        (Shape::Length, Reply::Value { value, .. }) => writer.count(value.len()),
        (Shape::Length, Reply::Nil) => writer.int(0),
        (Shape::Range { first, last }, Reply::Value { value, .. }) => writer.bulk(part(value, first, last)),
        (Shape::Range { .. }, Reply::Nil) => writer.bulk(b""),
        (Shape::Digest, Reply::Value { value, .. }) => {
            writer.bulk(format!("{:016x}", xxh3_64(value)).as_bytes());
        }
        (Shape::Encoding, Reply::Value { value, .. }) => writer.bulk(encoding(value).as_bytes()),
        (Shape::Memory { key_len }, Reply::Value { value, .. }) => {
            writer.count(key_len + value.len() + KEY_COST_BYTES);
        }
        (Shape::Digest | Shape::Encoding | Shape::Memory { .. }, Reply::Nil) => writer.nil(),
        (Shape::RefCount | Shape::IdleTime | Shape::Frequency, Reply::Int(0)) => writer.nil(),
        (Shape::RefCount, Reply::Int(_)) => writer.int(1),
        (Shape::IdleTime, Reply::Int(_)) => writer.int(0),
        (Shape::Frequency, Reply::Int(_)) => writer.error(NOT_COUNTED),
        (Shape::TimeSeconds, Reply::Int(ms)) => {
            writer.int(if ms < 0 { ms } else { ms.saturating_add(500) / 1000 });
        }
        (Shape::Renamed, Reply::Int(_)) => writer.simple("OK"),
        (Shape::RenamedOrNot, Reply::Int(done)) => writer.int(done),
        (Shape::Renamed | Shape::RenamedOrNot, Reply::Nil) => writer.error(NO_SUCH_KEY),
        (Shape::Type, Reply::Int(count)) => writer.simple(if count == 0 { "none" } else { "string" }),
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
pub(super) fn error_text(kind: ErrorKind, name: &'static str) -> Refusal {
    Refusal::Borrowed(match kind {
        ErrorKind::Unknown | ErrorKind::ReplyDropped => {
            "UNKNOWN the outcome is not known: the command may or may not have taken effect"
        }
        ErrorKind::NoLeader => {
            "CLUSTERDOWN no leader is known for this key at the moment; nothing was executed"
        }
        ErrorKind::Busy => "BUSY too much is waiting; nothing was executed, retry later",
        ErrorKind::NoSpace => return Refusal::Borrowed(NO_SPACE),
        ErrorKind::SessionExpired => "ERR the session has expired; nothing was executed",
        ErrorKind::SequenceClosed => "ERR the sequence number is closed; nothing was executed",
        ErrorKind::NotAnInteger => "ERR value is not an integer or out of range",
        ErrorKind::Overflow => "ERR increment or decrement would overflow",
        ErrorKind::BadExpiry => return bad_expiry(name),
        ErrorKind::ReadFailed => "ERR the value could not be read back from the log or failed its checksum",
        ErrorKind::Malformed => "ERR the request is malformed or over a limit",
    })
}
