//! The frame around every request and response.
//!
//! ```text
//!  0  length u32     bytes of the whole frame, this header included
//!  4  crc u32        CRC32C of bytes 8.. to the end; in a SET request up to the value, which has its own
//!  8  kind u8 │ flags u8 │ namespace u16 │ argument u32
//! 16  request id u64
//! 24  body
//! ```

use crate::error::ProtocolError;
use crate::wire::{Put, Reader, set_u32_at, u32_at};
use synod_types::limits::{KEY_BYTES_MAX, REPLY_BYTES_MAX, VALUE_BYTES_MAX};

/// Bytes of the fixed header.
pub const HEADER_BYTES: usize = 24;
/// Longest frame in either direction. It exceeds the largest legal request, so that a value slightly over its
/// limit is still a readable frame and gets a clear answer instead of a closed connection.
pub const FRAME_BYTES_MAX: usize = 2 << 20;
const _: () = assert!(HEADER_BYTES + 64 + KEY_BYTES_MAX + VALUE_BYTES_MAX < FRAME_BYTES_MAX);
const _: () = assert!(HEADER_BYTES + 64 + REPLY_BYTES_MAX < FRAME_BYTES_MAX);
/// Where the checksum's coverage begins.
const CHECKED_FROM: usize = 8;

/// The header's fields after length and checksum.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Header {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) namespace: u16,
    pub(crate) argument: u32,
    pub(crate) id: u64,
}

impl Header {
    /// Reads the header of a whole frame.
    pub(crate) fn of(frame: &[u8]) -> Result<Self, ProtocolError> {
        let mut fields = Reader::new(frame.get(CHECKED_FROM..).ok_or(ProtocolError::Length)?);
        Ok(Self {
            kind: fields.u8()?,
            flags: fields.u8()?,
            namespace: fields.u16()?,
            argument: fields.u32()?,
            id: fields.u64()?,
        })
    }
}

/// Starts a frame in `out`. Returns its position for [`finish`].
pub(crate) fn start(out: &mut Vec<u8>, header: Header) -> usize {
    let at = out.len();
    out.put_u64(0); // length and checksum, written by `finish`
    out.put_u8(header.kind);
    out.put_u8(header.flags);
    out.put_u16(header.namespace);
    out.put_u32(header.argument);
    out.put_u64(header.id);
    at
}

/// Ends the frame that began at `at`: writes its length and its checksum, which does not cover the last
/// `unchecked` bytes.
///
/// # Panics
/// When the frame is over [`FRAME_BYTES_MAX`]: the caller's data has passed no limit check.
pub(crate) fn finish(out: &mut [u8], at: usize, unchecked: usize) {
    let len = out.len() - at;
    assert!(len <= FRAME_BYTES_MAX, "a frame over the limit was encoded");
    let crc = synod_types::checksum::crc32c(&out[at + CHECKED_FROM..out.len() - unchecked]);
    set_u32_at(out, at, len as u32); // bounded just above
    set_u32_at(out, at + 4, crc);
}

/// The first frame of `bytes`, if all of it is there.
///
/// # Errors
/// [`ProtocolError::Length`] as soon as the length is out of bounds, before the rest of the frame is waited
/// for.
pub(crate) fn split(bytes: &[u8]) -> Result<Option<&[u8]>, ProtocolError> {
    if bytes.len() < 4 {
        return Ok(None);
    }
    let len = u32_at(bytes, 0) as usize;
    if !(HEADER_BYTES..=FRAME_BYTES_MAX).contains(&len) {
        return Err(ProtocolError::Length);
    }
    Ok(bytes.get(..len))
}

/// The length of the first frame of `bytes`, if its header is there and the length within bounds.
pub(crate) fn frame_bytes(bytes: &[u8]) -> Option<usize> {
    let header = bytes.first_chunk::<HEADER_BYTES>()?;
    let len = u32_at(header, 0) as usize;
    (HEADER_BYTES..=FRAME_BYTES_MAX).contains(&len).then_some(len)
}

/// Checks the checksum of a whole frame, which does not cover the last `unchecked` bytes.
pub(crate) fn check(frame: &[u8], unchecked: usize) -> Result<(), ProtocolError> {
    let end = frame.len().checked_sub(unchecked).ok_or(ProtocolError::Body)?;
    let covered = frame.get(CHECKED_FROM..end).ok_or(ProtocolError::Body)?;
    if synod_types::checksum::crc32c(covered) == u32_at(frame, 4) {
        Ok(())
    } else {
        Err(ProtocolError::Checksum)
    }
}
