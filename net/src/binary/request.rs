//! Requests: encoded by clients, decoded by servers.
//!
//! ```text
//! 24  stamp               session u64 │ sequence u64 │ lowest open u64     only with flag STAMP
//!     fixed part          per kind, below
//!     key                 `argument` bytes
//!     value               the rest, in SET and IF_EQUAL only
//!
//! SET         value crc u32 │ condition u8 │ expiry kind u8 │ return old u8 │ 0 u8 │ expiry u64
//!             condition 3 only: slot u64 │ position u32 │ 0 u32
//! INCREMENT   delta i64
//! SET_EXPIRY  expiry kind u8 │ 0 ×7 │ expiry u64
//! DELETE_IF   slot u64 │ position u32 │ 0 u32
//! IF_EQUAL    then u8 │ 0 ×7 │ milliseconds u64
//! ```

use super::codes::kind;
use super::frame::{self, HEADER_BYTES, Header};
use super::response::{put_version, read_version};
use crate::access::Secret;
use crate::error::ProtocolError;
use crate::wire::{Put, Reader};
use synod_types::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use synod_types::{
    Command, Condition, Consistency, ErrorKind, Expiry, GroupId, IfEqualAction, Illegal, Namespace, Op,
    SessionId, SessionStamp, WallMs,
};

const FLAG_QUORUM: u8 = 0x01;
const FLAG_STAMP: u8 = 0x02;
const STAMP_BYTES: usize = 24;
const SET_BYTES: usize = 16;
/// Offset of a SET's condition in its fixed part.
const CONDITION_AT: usize = 4;
/// The condition that is followed by a version.
const IF_VERSION: u8 = 3;
const VERSION_BYTES: usize = 16;
/// Longest name or password in HELLO and AUTH.
const TEXT_BYTES_MAX: usize = 1024;

/// A client's request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request<'a> {
    /// A command on a key.
    Command {
        /// How fresh a read must be.
        consistency: Consistency,
        /// The command; its limits are checked, and so is the value's CRC.
        command: Command<&'a [u8]>,
    },
    /// Open a session in a group.
    OpenSession {
        /// The group.
        group: GroupId,
    },
    /// Ask for the server's identity.
    Hello {
        /// The client's name, for diagnosis; may be empty.
        name: &'a str,
    },
    /// Authenticate.
    Auth {
        /// The password.
        password: Secret<&'a [u8]>,
    },
    /// Ask which node leads each group, and where it is.
    Topology,
    /// Ask for the node's status.
    Status,
    /// Ask for a sign of life.
    Ping,
}

/// A frame as a server reads it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decoded<'a> {
    /// It is well formed.
    Request(Request<'a>),
    /// The frame is valid but its request cannot be executed; it was certainly not executed. The connection
    /// stays open.
    Refused(ErrorKind, &'static str),
}

/// Appends a request for `command`.
///
/// A SET's `value_crc` must be the CRC32C of its value: it is sent and stored with the value.
///
/// # Panics
/// When key and value together do not fit a frame, or the binary protocol does not have the operation. Check
/// [`is_binary`] first.
pub fn encode_request(
    out: &mut Vec<u8>,
    id: u64,
    consistency: Consistency,
    command: &Command<impl AsRef<[u8]>>,
) {
    let key = command.key.as_ref();
    assert!(key.len() <= frame::FRAME_BYTES_MAX, "key over the frame limit");
    assert!(!matches!(command.op, Op::OpenSession), "sessions are opened in a group: encode_open_session");
    let stamped = command.stamp != SessionStamp::default();
    let header = Header {
        kind: kind_of(command.op),
        flags: if consistency == Consistency::Quorum { FLAG_QUORUM } else { 0 }
            | if stamped { FLAG_STAMP } else { 0 },
        namespace: command.namespace.get(),
        argument: key.len() as u32, // bounded just above
        id,
    };
    let at = frame::start(out, header);
    if stamped {
        out.put_u64(command.stamp.session.get());
        out.put_u64(command.stamp.sequence);
        out.put_u64(command.stamp.lowest_open);
    }
    put_fixed(out, command.op);
    out.put(key);
    let value = command.operand.as_ref();
    let unchecked = match command.op {
        Op::Set { value_crc, .. } => {
            debug_assert_eq!(
                synod_types::checksum::crc32c(value),
                value_crc,
                "value_crc is not the CRC of the value"
            );
            out.put(value);
            value.len()
        }
        Op::IfEqual { .. } => {
            out.put(value);
            0
        }
        _ => 0,
    };
    frame::finish(out, at, unchecked);
}

/// The kind of a request for this operation.
fn kind_of(op: Op) -> u8 {
    match op {
        Op::Get => kind::GET,
        Op::Exists => kind::EXISTS,
        Op::Ttl => kind::TTL,
        Op::Set { .. } => kind::SET,
        Op::Delete => kind::DELETE,
        Op::IncrementBy(_) => kind::INCREMENT,
        Op::SetExpiry(_) => kind::SET_EXPIRY,
        Op::DeleteIfVersion(_) => kind::DELETE_IF,
        Op::IfEqual { .. } => kind::IF_EQUAL,
        _ => panic!("an operation that only RESP has"),
    }
}

/// Appends the fixed part of a request, which stands before the key.
fn put_fixed(out: &mut Vec<u8>, op: Op) {
    match op {
        Op::Set { value_crc, condition, expiry, return_old } => {
            let (expiry_kind, expiry_value) = expiry_fields(expiry);
            out.put_u32(value_crc);
            out.put_u8(match condition {
                Condition::Always => 0,
                Condition::IfAbsent => 1,
                Condition::IfPresent => 2,
                Condition::IfVersion(_) => IF_VERSION,
            });
            out.put_u8(expiry_kind);
            out.put_u8(u8::from(return_old));
            out.put_u8(0);
            out.put_u64(expiry_value);
            if let Condition::IfVersion(version) = condition {
                put_version(out, version);
            }
        }
        Op::DeleteIfVersion(version) => put_version(out, version),
        Op::IncrementBy(delta) => out.put(&delta.to_le_bytes()),
        Op::SetExpiry(expiry) => {
            let (expiry_kind, expiry_value) = expiry_fields(expiry);
            out.put_u64(u64::from(expiry_kind));
            out.put_u64(expiry_value);
        }
        Op::IfEqual { then } => {
            let (then_kind, milliseconds) = then_fields(then);
            out.put_u64(u64::from(then_kind));
            out.put_u64(milliseconds);
        }
        // They have none, or are not in the protocol and were refused.
        _ => {}
    }
}

/// Whether the binary protocol has a request for this operation on a key.
pub fn is_binary(op: Op) -> bool {
    matches!(
        op,
        Op::Get
            | Op::Exists
            | Op::Ttl
            | Op::Set { .. }
            | Op::Delete
            | Op::IncrementBy(_)
            | Op::SetExpiry(_)
            | Op::DeleteIfVersion(_)
            | Op::IfEqual { .. }
    )
}

/// Appends a request for a session in `group`.
pub fn encode_open_session(out: &mut Vec<u8>, id: u64, group: GroupId) {
    let argument = u32::from(group.get());
    encode_body(out, Header { kind: kind::OPEN_SESSION, argument, id, ..Header::default() }, &[]);
}
/// Appends a request for the server's identity; `name` is the client's own, for diagnosis.
pub fn encode_hello(out: &mut Vec<u8>, id: u64, name: &str) {
    encode_body(out, Header { kind: kind::HELLO, id, ..Header::default() }, name.as_bytes());
}
/// Appends a password.
pub fn encode_auth(out: &mut Vec<u8>, id: u64, password: &[u8]) {
    encode_body(out, Header { kind: kind::AUTH, id, ..Header::default() }, password);
}
/// Appends a request for the topology.
pub fn encode_topology(out: &mut Vec<u8>, id: u64) {
    encode_body(out, Header { kind: kind::TOPOLOGY, id, ..Header::default() }, &[]);
}
/// Appends a request for the node's status.
pub fn encode_status(out: &mut Vec<u8>, id: u64) {
    encode_body(out, Header { kind: kind::STATUS, id, ..Header::default() }, &[]);
}
/// Appends a ping.
pub fn encode_ping(out: &mut Vec<u8>, id: u64) {
    encode_body(out, Header { kind: kind::PING, id, ..Header::default() }, &[]);
}

fn encode_body(out: &mut Vec<u8>, header: Header, body: &[u8]) {
    let at = frame::start(out, header);
    out.put(body);
    frame::finish(out, at, 0);
}

fn expiry_fields(expiry: Expiry) -> (u8, u64) {
    match expiry {
        Expiry::None => (0, 0),
        Expiry::Keep => (1, 0),
        Expiry::At(at) => (2, at.0),
        Expiry::After(ms) => (3, ms),
    }
}

fn expiry_of(kind: u8, value: u64) -> Result<Expiry, ProtocolError> {
    match (kind, value) {
        (0, 0) => Ok(Expiry::None),
        (1, 0) => Ok(Expiry::Keep),
        (2, at) => Ok(Expiry::At(WallMs(at))),
        (3, ms) => Ok(Expiry::After(ms)),
        _ => Err(ProtocolError::Kind),
    }
}

/// Reads one whole frame. Returns the request id and the request.
///
/// # Errors
/// [`ProtocolError`] when the frame is not valid; the connection must be closed.
pub fn decode_request(whole: &[u8]) -> Result<(u64, Decoded<'_>), ProtocolError> {
    let header = Header::of(whole)?;
    // Only a SET's value lies outside the frame's checksum. Fixed fields tell where it begins; a damaged
    // field moves that border, and the checksum fails.
    let key_len = header.argument as usize;
    let stamp_len = if header.flags & FLAG_STAMP != 0 { STAMP_BYTES } else { 0 };
    let unchecked = if header.kind == kind::SET {
        let fixed_at = HEADER_BYTES + stamp_len;
        let has_version = whole.get(fixed_at + CONDITION_AT) == Some(&IF_VERSION);
        let fixed_len = SET_BYTES + if has_version { VERSION_BYTES } else { 0 };
        let value_at = (fixed_at + fixed_len).saturating_add(key_len);
        whole.len().checked_sub(value_at).ok_or(ProtocolError::Body)?
    } else {
        0
    };
    frame::check(whole, unchecked)?;

    let mut body = Reader::new(whole.get(HEADER_BYTES..).ok_or(ProtocolError::Length)?);
    let request = match header.kind {
        kind::HELLO | kind::AUTH | kind::TOPOLOGY | kind::STATUS | kind::PING | kind::OPEN_SESSION => {
            decode_about_server(header, &mut body)?
        }
        _ => return decode_command(header, &mut body).map(|decoded| (header.id, decoded)),
    };
    body.end()?;
    Ok((header.id, request))
}

fn decode_about_server<'a>(header: Header, body: &mut Reader<'a>) -> Result<Decoded<'a>, ProtocolError> {
    if header.flags != 0 || header.namespace != 0 {
        return Err(ProtocolError::Kind);
    }
    if header.kind == kind::OPEN_SESSION {
        let Ok(group) = u16::try_from(header.argument) else {
            return Ok(Decoded::Refused(ErrorKind::Malformed, "no such group"));
        };
        return Ok(Decoded::Request(Request::OpenSession { group: GroupId::new(group) }));
    }
    if header.argument != 0 {
        return Err(ProtocolError::Kind);
    }
    let text = match header.kind {
        kind::HELLO | kind::AUTH => body.rest(),
        _ => &[],
    };
    if text.len() > TEXT_BYTES_MAX {
        return Ok(Decoded::Refused(ErrorKind::Malformed, "name or password over 1024 bytes"));
    }
    Ok(Decoded::Request(match header.kind {
        kind::HELLO => match core::str::from_utf8(text) {
            Ok(name) => Request::Hello { name },
            Err(_) => return Ok(Decoded::Refused(ErrorKind::Malformed, "the name is not UTF-8")),
        },
        kind::AUTH => Request::Auth { password: Secret::new(text) },
        kind::TOPOLOGY => Request::Topology,
        kind::STATUS => Request::Status,
        kind::PING => Request::Ping,
        _ => return Err(ProtocolError::Kind),
    }))
}

fn decode_command<'a>(header: Header, body: &mut Reader<'a>) -> Result<Decoded<'a>, ProtocolError> {
    if header.flags & !(FLAG_QUORUM | FLAG_STAMP) != 0 {
        return Err(ProtocolError::Kind);
    }
    let stamp = if header.flags & FLAG_STAMP != 0 {
        SessionStamp { session: SessionId::new(body.u64()?), sequence: body.u64()?, lowest_open: body.u64()? }
    } else {
        SessionStamp::default()
    };
    let key_len = header.argument as usize;
    let op = match header.kind {
        kind::GET => Op::Get,
        kind::EXISTS => Op::Exists,
        kind::TTL => Op::Ttl,
        kind::DELETE => Op::Delete,
        kind::DELETE_IF => Op::DeleteIfVersion(read_version(body)?),
        kind::SET => decode_set(body)?,
        kind::INCREMENT => Op::IncrementBy(body.u64()?.cast_signed()),
        kind::SET_EXPIRY => {
            let kind = body.u8()?;
            body.zeros(7)?;
            Op::SetExpiry(expiry_of(kind, body.u64()?)?)
        }
        kind::IF_EQUAL => {
            let kind = body.u8()?;
            body.zeros(7)?;
            Op::IfEqual { then: then_of(kind, body.u64()?)? }
        }
        _ => return Err(ProtocolError::Kind),
    };
    let key = body.take(key_len)?;
    let operand = match op {
        Op::Set { .. } | Op::IfEqual { .. } => body.rest(),
        _ => &[],
    };
    body.end()?;
    if let Op::Set { value_crc, .. } = op
        && synod_types::checksum::crc32c(operand) != value_crc
    {
        return Err(ProtocolError::Checksum);
    }
    let is_stamped = header.flags & FLAG_STAMP != 0;
    let problem = problem(key, op, operand).or_else(|| stamp_problem(&stamp).filter(|_| is_stamped));
    if let Some(problem) = problem {
        return Ok(Decoded::Refused(ErrorKind::Malformed, problem));
    }
    if let Some(problem) = time_problem(op) {
        return Ok(Decoded::Refused(ErrorKind::BadExpiry, problem));
    }
    let consistency =
        if header.flags & FLAG_QUORUM != 0 { Consistency::Quorum } else { Consistency::Linearizable };
    let namespace = Namespace::new(header.namespace);
    Ok(Decoded::Request(Request::Command {
        consistency,
        command: Command { namespace, key, op, operand, stamp },
    }))
}

fn decode_set(body: &mut Reader<'_>) -> Result<Op, ProtocolError> {
    let value_crc = body.u32()?;
    let condition_code = body.u8()?;
    if condition_code > IF_VERSION {
        return Err(ProtocolError::Kind);
    }
    let expiry_kind = body.u8()?;
    let return_old = match body.u8()? {
        0 => false,
        1 => true,
        _ => return Err(ProtocolError::Kind),
    };
    body.zeros(1)?;
    let expiry = expiry_of(expiry_kind, body.u64()?)?;
    let condition = match condition_code {
        0 => Condition::Always,
        1 => Condition::IfAbsent,
        2 => Condition::IfPresent,
        _ => Condition::IfVersion(read_version(body)?),
    };
    Ok(Op::Set { value_crc, condition, expiry, return_old })
}

fn then_fields(then: IfEqualAction) -> (u8, u64) {
    match then {
        IfEqualAction::Delete => (0, 0),
        IfEqualAction::ExpireAfter(milliseconds) => (1, milliseconds),
        IfEqualAction::RenewFor(milliseconds) => (2, milliseconds),
        IfEqualAction::ExtendBy(milliseconds) => (3, milliseconds),
    }
}

fn then_of(kind: u8, milliseconds: u64) -> Result<IfEqualAction, ProtocolError> {
    Ok(match (kind, milliseconds) {
        (0, 0) => IfEqualAction::Delete,
        (1, _) => IfEqualAction::ExpireAfter(milliseconds),
        (2, _) => IfEqualAction::RenewFor(milliseconds),
        (3, _) => IfEqualAction::ExtendBy(milliseconds),
        _ => return Err(ProtocolError::Kind),
    })
}

/// The fault of a command that breaks a rule or a limit, as text.
fn problem(key: &[u8], op: Op, operand: &[u8]) -> Option<&'static str> {
    Some(match op.check(key, operand).err()? {
        Illegal::KeyEmpty => "the key is empty",
        Illegal::KeyTooLong => "the key is over 16384 bytes",
        Illegal::ValueTooLong => "the value is over 1048576 bytes",
        // Only one operation of this protocol takes an option that can be wrong.
        Illegal::Operand => "an expiry cannot be set to 'keep'",
    })
}

/// A command with a stamp of no session would be executed without one, and its retry a second time.
fn stamp_problem(stamp: &SessionStamp) -> Option<&'static str> {
    if stamp.session == SessionId::NONE {
        return Some("the stamp names session 0, which is none: open one, or leave the stamp out");
    }
    if stamp.sequence == 0 {
        return Some("the stamp's sequence is 0; sequences begin at 1");
    }
    (stamp.lowest_open > stamp.sequence).then_some("the stamp's lowest open is above its sequence")
}

/// A span or time of 0 is probably a mistake; taken literally it would delete the key.
fn time_problem(op: Op) -> Option<&'static str> {
    match op {
        Op::Set { expiry, .. } | Op::SetExpiry(expiry) => match expiry {
            Expiry::None | Expiry::Keep => None,
            Expiry::At(WallMs(0)) => Some("an expiry at time 0; to delete the key send DELETE"),
            Expiry::After(0) => Some("an expiry after 0 ms; to delete the key send DELETE"),
            Expiry::At(WallMs(ms)) | Expiry::After(ms) => past_problem(ms),
        },
        Op::IfEqual { then } => match then {
            IfEqualAction::Delete => None,
            IfEqualAction::ExpireAfter(0) | IfEqualAction::RenewFor(0) | IfEqualAction::ExtendBy(0) => {
                Some("an expiry of 0 ms; to delete the key send IF_EQUAL with then 0")
            }
            IfEqualAction::ExpireAfter(ms) | IfEqualAction::RenewFor(ms) | IfEqualAction::ExtendBy(ms) => {
                past_problem(ms)
            }
        },
        _ => None,
    }
}

fn past_problem(ms: u64) -> Option<&'static str> {
    (ms > EXPIRY_MS_MAX).then_some("an expiry over 9223372036854775807 ms")
}

/// Times fit a signed number, because TTL answers with one.
const EXPIRY_MS_MAX: u64 = i64::MAX as u64; // lossless

const _: () = assert!(EXPIRY_MS_MAX == 9_223_372_036_854_775_807); // as the text above says
const _: () = assert!(KEY_BYTES_MAX == 16_384 && VALUE_BYTES_MAX == 1_048_576); // as the texts above say
