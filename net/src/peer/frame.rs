//! Frames between nodes.
//!
//! ```text
//!  0  length u32      bytes of the whole frame, this header included
//!  4  crc u32         CRC32C of bytes 8.. to the end
//!  8  version u16 │ kind u16 = 1
//! 12  meta length u32 │ body length u32 │ 0 u32
//! 24  meta            rkyv archive of PeerMessage<Span>
//!     body            the payloads, in the order of their spans
//! ```

use super::check;
use super::head::PEER_VERSION;
use crate::error::{ProtocolError, RefusedMessage};
use crate::inbox::{Inbox, InboxLimits};
use crate::memory::ReadBuffer;
use crate::wire::{Put, Reader, set_u32_at, u32_at};
use rkyv::rancor::Failure;
use synod_types::checksum::combine;
use synod_types::limits::PEER_FRAME_BYTES_MAX;
use synod_types::message::PeerMessageMeta;
use synod_types::{PeerMessage, Shared, Span};

/// Bytes of a frame's header.
pub const FRAME_HEADER_BYTES: usize = 24;
const LENGTH_MAX: usize = FRAME_HEADER_BYTES + PEER_FRAME_BYTES_MAX;
/// A chunk is read at once from a peer. Entries stay in their chunk until they are chosen and applied, for
/// some milliseconds.
const INPUT: InboxLimits = InboxLimits { chunk_bytes: 256 << 10, retired: 32 };
const CHECKED_FROM: usize = 8;
const META_LENGTH_AT: usize = 12;
const BODY_LENGTH_AT: usize = 16;
const KIND_MESSAGE: u16 = 1;
/// A payload of at least this length is not copied into its frame, and the checksum of such a body is kept
/// for later use.
const COMBINED_FROM: usize = 2 << 10;

/// Appends the frame of `message`.
///
/// # Panics
/// When the message is over `PEER_FRAME_BYTES_MAX`: the state machines end promises and learns long before
/// that.
pub fn encode<P: AsRef<[u8]>>(out: &mut Vec<u8>, message: &PeerMessage<P>) {
    encode_parts(out, message, None);
}

/// As [`encode`], but a long last payload is left out and returned, to be sent directly behind the frame.
///
/// # Panics
/// As [`encode`].
pub fn encode_head(out: &mut Vec<u8>, message: &PeerMessage<Shared>) -> Option<Shared> {
    let mut last = None;
    message.visit(|payload| last = Some(payload.clone()));
    let tail = last.filter(|payload| payload.len() >= COMBINED_FROM);
    encode_parts(out, message, tail.as_ref());
    tail
}

/// Encodes a frame; without the bytes of its last payload, if that is given as `tail`.
fn encode_parts<P: AsRef<[u8]>>(out: &mut Vec<u8>, message: &PeerMessage<P>, tail: Option<&Shared>) {
    let (mut body_len, mut count) = (0_usize, 0_usize);
    let meta: PeerMessageMeta = message.map(|payload| {
        let bytes = payload.as_ref();
        assert!(bytes.len() <= PEER_FRAME_BYTES_MAX, "payload over the frame limit");
        body_len += bytes.len();
        count += 1;
        Span { len: bytes.len() as u32 } // bounded just above
    });
    let at = out.len();
    out.put_u64(0); // length and checksum follow when they are known
    out.put_u16(PEER_VERSION);
    out.put_u16(KIND_MESSAGE);
    out.put_u64(0); // meta and body length, likewise
    out.put_u32(0);
    // The archive is written in place behind the header. Its pointers are relative and it needs no alignment.
    // Writing plain structs into a growing buffer cannot fail.
    let Ok(written) = rkyv::api::high::to_bytes_in::<_, rkyv::rancor::Panic>(&meta, core::mem::take(out));
    *out = written;
    let meta_len = out.len() - at - FRAME_HEADER_BYTES;
    assert!(meta_len + body_len <= PEER_FRAME_BYTES_MAX, "peer message over the frame limit");
    let tail_len = tail.map_or(0, Shared::len);
    out.reserve(body_len - tail_len);
    let mut copied = count - usize::from(tail.is_some());
    message.visit(|payload| {
        if copied > 0 {
            out.put(payload.as_ref());
            copied -= 1;
        }
    });
    let len = FRAME_HEADER_BYTES + meta_len + body_len;
    set_u32_at(out, at + META_LENGTH_AT, meta_len as u32); // both bounded by PEER_FRAME_BYTES_MAX
    set_u32_at(out, at + BODY_LENGTH_AT, body_len as u32);
    let here = synod_types::checksum::crc32c(&out[at + CHECKED_FROM..]);
    let crc = tail.map_or(here, |tail| match tail.crc() {
        Some(crc) => combine(here, crc, tail_len),
        None => synod_types::checksum::crc32c_append(here, tail.as_ref()),
    });
    set_u32_at(out, at, len as u32);
    set_u32_at(out, at + 4, crc);
}

/// Turns the bytes of a link into messages. Bytes read into the room of [`Decoder::lend`] are not copied:
/// payloads are slices of it.
#[derive(Debug)]
pub struct Decoder {
    inbox: Inbox,
    failed: Option<RefusedMessage>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { inbox: Inbox::new(INPUT), failed: None }
    }
}

impl Decoder {
    /// A decoder at the first byte after the handshake.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lends room to read into, never empty. Give it back with [`Decoder::put`]. The room is large enough for
    /// the whole frame that has begun.
    pub fn lend(&mut self) -> ReadBuffer {
        self.inbox.lend(self.frame_length().unwrap_or(0), true)
    }

    /// Takes back room whose first `count` bytes were filled by a read. Call [`Decoder::next`] until it gives
    /// nothing before reading more: then at most one partial frame is held.
    ///
    /// # Panics
    /// When the room is shorter than that.
    pub fn put(&mut self, room: ReadBuffer, count: usize) {
        self.inbox.put(room, count);
    }

    /// Takes bytes that were received elsewhere, at the cost of a copy.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.failed.is_none() {
            self.inbox.copy(bytes);
        }
    }

    /// The length of the first frame, if it is known and within bounds.
    fn frame_length(&self) -> Option<usize> {
        let length = u32::from_le_bytes(*self.inbox.held().first_chunk::<4>()?) as usize;
        (FRAME_HEADER_BYTES..=LENGTH_MAX).contains(&length).then_some(length)
    }

    /// The next message, if all of it was received. Its payloads share the memory they were read into. They
    /// are checked entries, with keys and values within the limits. Messages before a broken frame are still
    /// returned.
    ///
    /// # Errors
    /// [`RefusedMessage`], and the same for every later call: the link must be closed.
    // Not an iterator: it may give something again after it gave `None`.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<PeerMessage<Shared>>, RefusedMessage> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let result = match self.frame_length() {
            None if self.inbox.held().len() < 4 => return Ok(None),
            None => Err(ProtocolError::Length.into()),
            Some(length) if self.inbox.held().len() < length => return Ok(None),
            Some(length) => decode(self.inbox.take(length)).map(Some),
        };
        result.inspect_err(|&error| {
            self.failed = Some(error);
            self.inbox.clear();
        })
    }
}

fn decode(frame: Shared) -> Result<PeerMessage<Shared>, RefusedMessage> {
    let body_len = u32_at(frame.as_ref(), BODY_LENGTH_AT) as usize;
    let body_crc = check_frame(frame.as_ref(), body_len)?;
    let meta = decode_meta(frame.as_ref())?;
    let body_at = frame.len() - body_len;
    let refused = |kind: &'static str| move |error| RefusedMessage { kind: Some(kind), error };
    check::check_spans(&meta, body_len).map_err(refused(meta.kind()))?;
    let mut at = body_at;
    let message = meta.map(|span: &Span| {
        let start = at;
        at += span.len as usize;
        let payload = frame.slice(start, span.len as usize);
        match body_crc {
            Some(crc) if payload.len() == body_len => payload.with_crc(crc),
            _ => payload,
        }
    });
    assert!(at == frame.len(), "checked spans do not cover the body");
    check::check_payloads(&message).map_err(refused(message.kind()))?;
    Ok(message)
}

/// Checks the checksum of a frame. Returns the checksum of its body, if the body is long.
fn check_frame(frame: &[u8], body_len: usize) -> Result<Option<u32>, ProtocolError> {
    let checked = &frame[CHECKED_FROM..];
    // The length is not to be trusted yet; at worst the wrong part is taken for the body.
    let head_len = checked.len().checked_sub(body_len).filter(|_| body_len >= COMBINED_FROM);
    let (crc, body_crc) = match head_len {
        Some(head_len) => {
            let (head, body) = checked.split_at(head_len);
            let body_crc = synod_types::checksum::crc32c(body);
            (combine(synod_types::checksum::crc32c(head), body_crc, body_len), Some(body_crc))
        }
        None => (synod_types::checksum::crc32c(checked), None),
    };
    if crc == u32_at(frame, 4) { Ok(body_crc) } else { Err(ProtocolError::Checksum) }
}

fn decode_meta(frame: &[u8]) -> Result<PeerMessageMeta, ProtocolError> {
    let mut header = Reader::new(&frame[CHECKED_FROM..FRAME_HEADER_BYTES]);
    if header.u16()? != PEER_VERSION {
        return Err(ProtocolError::Version);
    }
    if header.u16()? != KIND_MESSAGE {
        return Err(ProtocolError::Kind);
    }
    let (meta_len, body_len) = (header.u32()? as usize, header.u32()? as usize);
    header.zeros(4)?;
    if meta_len.checked_add(body_len) != Some(frame.len() - FRAME_HEADER_BYTES) {
        return Err(ProtocolError::Length);
    }
    let meta = &frame[FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + meta_len];
    let archived = rkyv::api::low::access::<rkyv::Archived<PeerMessageMeta>, Failure>(meta)
        .map_err(|_| ProtocolError::Archive)?;
    rkyv::api::deserialize_using::<PeerMessageMeta, _, Failure>(archived, &mut ())
        .map_err(|_| ProtocolError::Archive)
}
