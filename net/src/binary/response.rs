//! Responses: encoded by servers, decoded by clients.
//!
//! ```text
//! DONE     24  slot u64 │ position u32 │ 0 u32
//! VALUE    24  slot u64 │ position u32 │ 0 u32 │ value
//! INT      24  i64
//! SESSION  24  u64
//! ERROR    24  text (UTF-8, may be empty); `argument` is the code
//! ```

use super::codes::{FailureCode, error_code, error_of_code, kind};
use super::frame::{self, HEADER_BYTES, Header};
use super::info::{self, NodeStatus, ServerInfo, Topology};
use crate::error::ProtocolError;
use crate::wire::{Put, Reader, make_room};
use synod_types::{ErrorKind, Reply, SessionId, Slot, Version};

/// A server's response that owns its bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Response {
    /// The request's id.
    pub id: u64,
    /// The answer.
    pub body: ResponseBody,
    /// An explanation for humans beside an error; mostly empty.
    pub text: String,
}

/// The answer itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ResponseBody {
    /// To a command.
    Reply(Reply<Vec<u8>>),
    /// To TOPOLOGY.
    Topology(Topology),
    /// To STATUS.
    Status(NodeStatus),
    /// To HELLO.
    Hello(ServerInfo),
    /// To PING.
    Pong,
    /// To AUTH, when it succeeded.
    Ok,
    /// A refusal that concerns the connection or the server; with id 0 it answers no particular request.
    Failed(FailureCode),
}

/// A server's response that borrows the decoder's buffer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ResponseRef<'a> {
    /// The request's id.
    pub id: u64,
    /// The answer.
    pub body: ResponseBodyRef<'a>,
}

/// The answer itself; long values are borrowed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ResponseBodyRef<'a> {
    /// To a command; the text explains an error and is mostly empty.
    Reply(Reply<&'a [u8]>, &'a str),
    /// Anything else.
    Other(ResponseBody, &'a str),
}

/// Appends the answer to a command. `text` explains an error to a human and may be empty.
pub fn encode_reply(out: &mut Vec<u8>, id: u64, reply: &Reply<impl AsRef<[u8]>>, text: &str) {
    let (kind, argument) = match reply {
        Reply::Done { .. } => (kind::DONE, 0),
        Reply::Skipped => (kind::SKIPPED, 0),
        Reply::Value { .. } => (kind::VALUE, 0),
        Reply::Nil => (kind::NIL, 0),
        Reply::Int(_) => (kind::INT, 0),
        Reply::Session(_) => (kind::SESSION, 0),
        Reply::Error(error) => (kind::ERROR, error_code(*error)),
    };
    let value_bytes = if let Reply::Value { value, .. } = reply { value.as_ref().len() } else { 0 };
    make_room(out, HEADER_BYTES + size_of::<Version>() + value_bytes);
    let at = frame::start(out, Header { kind, argument, id, ..Header::default() });
    match reply {
        Reply::Done { version } => put_version(out, *version),
        Reply::Skipped | Reply::Nil => {}
        Reply::Value { value, version } => {
            put_version(out, *version);
            out.put(value.as_ref());
        }
        Reply::Int(number) => out.put(&number.to_le_bytes()),
        Reply::Session(id) => out.put_u64(id.get()),
        Reply::Error(_) => out.put(text.as_bytes()),
    }
    frame::finish(out, at, 0);
}
/// Appends a refusal that concerns the connection or the server; `id` is 0 if it answers no particular
/// request.
pub fn encode_failure(out: &mut Vec<u8>, id: u64, failure: FailureCode, text: &str) {
    let header = Header { kind: kind::ERROR, argument: failure.code(), id, ..Header::default() };
    encode_with(out, header, |out| out.put(text.as_bytes()));
}
/// Appends the answer to PING.
pub fn encode_pong(out: &mut Vec<u8>, id: u64) {
    encode_with(out, Header { kind: kind::PONG, id, ..Header::default() }, |_| {});
}
/// Appends the answer to a successful AUTH.
pub fn encode_ok(out: &mut Vec<u8>, id: u64) {
    encode_with(out, Header { kind: kind::OK, id, ..Header::default() }, |_| {});
}
/// Appends the answer to HELLO.
pub fn encode_hello_answer(out: &mut Vec<u8>, id: u64, answer: &ServerInfo) {
    let header = Header { kind: kind::HELLO_ANSWER, id, ..Header::default() };
    encode_with(out, header, |out| info::put_server_info(out, answer));
}
/// Appends the answer to TOPOLOGY.
pub fn encode_topology_answer(out: &mut Vec<u8>, id: u64, answer: &Topology) {
    let header = Header { kind: kind::TOPOLOGY_ANSWER, id, ..Header::default() };
    encode_with(out, header, |out| info::put_topology(out, answer));
}
/// Appends the answer to STATUS.
pub fn encode_status_answer(out: &mut Vec<u8>, id: u64, answer: &NodeStatus) {
    let header = Header { kind: kind::STATUS_ANSWER, id, ..Header::default() };
    encode_with(out, header, |out| info::put_status(out, answer));
}

fn encode_with(out: &mut Vec<u8>, header: Header, body: impl FnOnce(&mut Vec<u8>)) {
    let at = frame::start(out, header);
    body(out);
    frame::finish(out, at, 0);
}

pub(super) fn put_version(out: &mut Vec<u8>, version: Version) {
    out.put_u64(version.slot.get());
    out.put_u32(version.position);
    out.put_u32(0);
}

/// Turns a server's bytes into responses. Memory is bounded by one frame plus the bytes that were fed and not
/// yet taken.
#[derive(Debug, Default)]
pub struct ResponseDecoder {
    buffer: Vec<u8>,
    /// Bytes of `buffer` that are already decoded.
    at: usize,
    failed: Option<ProtocolError>,
}

impl ResponseDecoder {
    /// A decoder at the start of a connection.
    pub fn new() -> Self {
        Self::default()
    }
    /// Takes received bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.failed.is_some() {
            return;
        }
        // Only the undecoded rest moves: at most a partial frame if the caller decodes all it feeds.
        self.buffer.drain(..self.at);
        self.at = 0;
        self.buffer.extend_from_slice(bytes);
    }
    /// The next response, if all of it was fed.
    ///
    /// # Errors
    /// [`ProtocolError`], and the same for every later call: the connection must be closed.
    // Not an iterator: it may give something again after it gave `None`.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Response>, ProtocolError> {
        let found = self.next_ref()?;
        Ok(found.map(|response| {
            let (body, text) = match response.body {
                ResponseBodyRef::Reply(reply, text) => (ResponseBody::Reply(reply.map(<[u8]>::to_vec)), text),
                ResponseBodyRef::Other(body, text) => (body, text),
            };
            Response { id: response.id, body, text: text.to_owned() }
        }))
    }
    /// The next response, if all of it was fed, borrowing its value from the buffer.
    ///
    /// # Errors
    /// [`ProtocolError`], and the same for every later call: the connection must be closed.
    pub fn next_ref(&mut self) -> Result<Option<ResponseRef<'_>>, ProtocolError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let result = next_of(&self.buffer[self.at..]);
        match result {
            Ok(Some((response, len))) => {
                self.at += len;
                Ok(Some(response))
            }
            Ok(None) => Ok(None),
            Err(error) => {
                self.failed = Some(error);
                Err(error)
            }
        }
    }
}

fn next_of(bytes: &[u8]) -> Result<Option<(ResponseRef<'_>, usize)>, ProtocolError> {
    let Some(whole) = frame::split(bytes)? else { return Ok(None) };
    frame::check(whole, 0)?;
    let header = Header::of(whole)?;
    if header.flags != 0 || header.namespace != 0 || (header.kind != kind::ERROR && header.argument != 0) {
        return Err(ProtocolError::Kind);
    }
    let mut body = Reader::new(&whole[HEADER_BYTES..]);
    let decoded = decode_body(header, &mut body)?;
    body.end()?;
    Ok(Some((ResponseRef { id: header.id, body: decoded }, whole.len())))
}

fn decode_body<'a>(header: Header, body: &mut Reader<'a>) -> Result<ResponseBodyRef<'a>, ProtocolError> {
    let reply = match header.kind {
        kind::DONE => Reply::Done { version: read_version(body)? },
        kind::SKIPPED => Reply::Skipped,
        kind::VALUE => Reply::Value { version: read_version(body)?, value: body.rest() },
        kind::NIL => Reply::Nil,
        kind::INT => Reply::Int(body.u64()?.cast_signed()),
        kind::SESSION => Reply::Session(SessionId::new(body.u64()?)),
        kind::ERROR => {
            let text = core::str::from_utf8(body.rest()).map_err(|_| ProtocolError::Body)?;
            return Ok(match FailureCode::of_code(header.argument) {
                Some(failure) => ResponseBodyRef::Other(ResponseBody::Failed(failure), text),
                None => ResponseBodyRef::Reply(Reply::Error(error_of_code(header.argument)?), text),
            });
        }
        kind::HELLO_ANSWER => return other(ResponseBody::Hello(info::read_server_info(body)?)),
        kind::OK => return other(ResponseBody::Ok),
        kind::TOPOLOGY_ANSWER => return other(ResponseBody::Topology(info::read_topology(body)?)),
        kind::STATUS_ANSWER => return other(ResponseBody::Status(info::read_status(body)?)),
        kind::PONG => return other(ResponseBody::Pong),
        _ => return Err(ProtocolError::Kind),
    };
    Ok(ResponseBodyRef::Reply(reply, ""))
}

fn other(body: ResponseBody) -> Result<ResponseBodyRef<'static>, ProtocolError> {
    Ok(ResponseBodyRef::Other(body, ""))
}

pub(super) fn read_version(body: &mut Reader<'_>) -> Result<Version, ProtocolError> {
    let version = Version { slot: Slot::new(body.u64()?), position: body.u32()? };
    body.zeros(4)?;
    Ok(version)
}

impl ResponseBody {
    /// Whether this says that a command was certainly not executed.
    pub fn is_certainly_not_executed(&self) -> bool {
        match self {
            ResponseBody::Reply(Reply::Error(kind)) => {
                !matches!(kind, ErrorKind::Unknown | ErrorKind::ReadFailed | ErrorKind::ReplyDropped)
            }
            ResponseBody::Failed(_) => true,
            _ => false,
        }
    }
}
