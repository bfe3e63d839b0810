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
use super::handshake::PEER_VERSION;
use crate::error::ProtocolError;
use crate::wire::{Put, Reader, set_u32_at, u32_at};
use rkyv::rancor::Failure;
use std::collections::VecDeque;
use synod_types::limits::PEER_FRAME_BYTES_MAX;
use synod_types::message::PeerMessageMeta;
use synod_types::{PeerMessage, Shared, Span};

/// Bytes of a frame's header.
pub const FRAME_HEADER_BYTES: usize = 24;
const LENGTH_MAX: usize = FRAME_HEADER_BYTES + PEER_FRAME_BYTES_MAX;
const CHECKED_FROM: usize = 8;
const META_LENGTH_AT: usize = 12;
const BODY_LENGTH_AT: usize = 16;
const KIND_MESSAGE: u16 = 1;

/// Appends the frame of `message`.
///
/// # Panics
/// When the message is over `PEER_FRAME_BYTES_MAX`: the machines close promises and learns long before.
pub fn encode<P: AsRef<[u8]>>(out: &mut Vec<u8>, message: &PeerMessage<P>) {
    let borrowed = check::borrow(message);
    let mut body_len = 0_usize;
    let meta: PeerMessageMeta = borrowed.clone().map(|bytes: &[u8]| {
        assert!(bytes.len() <= PEER_FRAME_BYTES_MAX, "payload over the frame limit");
        body_len += bytes.len();
        Span { len: bytes.len() as u32 } // bounded just above
    });
    let at = out.len();
    out.put_u64(0); // length and checksum follow when they are known
    out.put_u16(PEER_VERSION);
    out.put_u16(KIND_MESSAGE);
    out.put_u64(0); // meta and body length, likewise
    out.put_u32(0);
    // The archive is written behind the header in place. Its pointers are relative and it needs no alignment; writing
    // plain structs into a growing buffer cannot fail.
    let Ok(written) = rkyv::api::high::to_bytes_in::<_, rkyv::rancor::Panic>(&meta, core::mem::take(out));
    *out = written;
    let meta_len = out.len() - at - FRAME_HEADER_BYTES;
    assert!(meta_len + body_len <= PEER_FRAME_BYTES_MAX, "peer message over the frame limit");
    out.reserve(body_len);
    drop(borrowed.map(|bytes: &[u8]| out.put(bytes)));
    let len = out.len() - at;
    assert!(len == FRAME_HEADER_BYTES + meta_len + body_len);
    set_u32_at(out, at + META_LENGTH_AT, meta_len as u32); // both bounded by PEER_FRAME_BYTES_MAX
    set_u32_at(out, at + BODY_LENGTH_AT, body_len as u32);
    let crc = crc32c::crc32c(&out[at + CHECKED_FROM..]);
    set_u32_at(out, at, len as u32);
    set_u32_at(out, at + 4, crc);
}

/// Turns the bytes of a link into messages: each byte is copied once, from what is fed into its frame's own allocation,
/// and payloads are slices of that.
#[derive(Debug, Default)]
pub struct Decoder {
    /// The frame being gathered; its capacity is taken when its length is known and checked.
    partial: Vec<u8>,
    /// Whole frames not yet taken.
    ready: VecDeque<Vec<u8>>,
    failed: Option<ProtocolError>,
}

impl Decoder {
    /// A decoder at the first byte after the handshake.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes as they come. Call [`Decoder::next`] until it gives nothing before feeding more: then at most one
    /// partial frame is held besides the bytes fed last.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.failed.is_none() {
            // The length first, then all of the frame in one allocation.
            let wanted = match self.partial.first_chunk::<4>() {
                None => 4,
                Some(length) => u32::from_le_bytes(*length) as usize,
            };
            let (head, tail) = bytes.split_at(bytes.len().min(wanted - self.partial.len()));
            self.partial.extend_from_slice(head);
            bytes = tail;
            if self.partial.len() < wanted {
                return;
            }
            if wanted > 4 {
                self.ready.push_back(core::mem::take(&mut self.partial));
                continue;
            }
            let len = u32_at(&self.partial, 0) as usize;
            if (FRAME_HEADER_BYTES..=LENGTH_MAX).contains(&len) {
                self.partial.reserve_exact(len - 4);
            } else {
                self.failed = Some(ProtocolError::Length);
                self.partial = Vec::new();
            }
        }
    }

    /// The next message, if all of it was fed. Its payloads share the frame's allocation and are checked entries, keys
    /// and values within the limits. Messages before a broken frame are still given.
    ///
    /// # Errors
    /// [`ProtocolError`], from then on for ever: the link is to be closed.
    // Not an iterator: it goes on after it gave nothing.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<PeerMessage<Shared>>, ProtocolError> {
        let Some(frame) = self.ready.pop_front() else {
            return self.failed.map_or(Ok(None), Err);
        };
        decode(frame).map(Some).inspect_err(|&error| {
            self.failed = Some(error);
            self.partial = Vec::new();
            self.ready = VecDeque::new();
        })
    }
}

fn decode(frame: Vec<u8>) -> Result<PeerMessage<Shared>, ProtocolError> {
    let meta = decode_meta(&frame)?;
    let body_len = u32_at(&frame, BODY_LENGTH_AT) as usize;
    let body_at = frame.len() - body_len;
    check::check_spans(&meta, body_len)?;
    let shared = Shared::new(frame);
    let mut at = body_at;
    let message = meta.map(|span: Span| {
        let start = at;
        at += span.len as usize;
        shared.slice(start, span.len as usize)
    });
    assert!(at == shared.len(), "checked spans do not cover the body");
    check::check_payloads(&message)?;
    Ok(message)
}

fn decode_meta(frame: &[u8]) -> Result<PeerMessageMeta, ProtocolError> {
    if crc32c::crc32c(&frame[CHECKED_FROM..]) != u32_at(frame, 4) {
        return Err(ProtocolError::Checksum);
    }
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
