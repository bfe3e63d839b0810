//! Little-endian fields: appending them, and a reader that cannot run past its end.

use crate::error::ProtocolError;

/// Defines a method that reads one integer off the front of the slice.
macro_rules! read_int {
    ($name:ident, $int:ty) => {
        /// The next integer, little-endian.
        pub(crate) fn $name(&mut self) -> Result<$int, ProtocolError> {
            let mut raw = [0; size_of::<$int>()];
            raw.copy_from_slice(self.take(size_of::<$int>())?);
            Ok(<$int>::from_le_bytes(raw))
        }
    };
}

/// Reads fields off the front of a slice; running out of bytes is [`ProtocolError::Body`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads `bytes` from the start.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }
    /// The next `len` bytes.
    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], ProtocolError> {
        let (head, tail) = self.rest.split_at_checked(len).ok_or(ProtocolError::Body)?;
        self.rest = tail;
        Ok(head)
    }
    read_int!(u8, u8);
    read_int!(u16, u16);
    read_int!(u32, u32);
    read_int!(u64, u64);
    read_int!(u128, u128);
    /// A text preceded by its length (u16).
    pub(crate) fn text(&mut self) -> Result<&'a str, ProtocolError> {
        let len = usize::from(self.u16()?);
        core::str::from_utf8(self.take(len)?).map_err(|_| ProtocolError::Body)
    }
    /// `len` reserved bytes, which must be zero.
    pub(crate) fn zeros(&mut self, len: usize) -> Result<(), ProtocolError> {
        if self.take(len)?.iter().all(|&byte| byte == 0) { Ok(()) } else { Err(ProtocolError::Body) }
    }
    /// Everything that is left.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        core::mem::take(&mut self.rest)
    }
    /// Checks that nothing is left.
    pub(crate) fn end(&self) -> Result<(), ProtocolError> {
        if self.rest.is_empty() { Ok(()) } else { Err(ProtocolError::Body) }
    }
}

/// From this length on, bytes do not double the buffer that they are appended to.
const LONG_BYTES_MIN: usize = 64 << 10;
/// Room behind long bytes, for what is written after them.
const BEHIND_BYTES: usize = 4 << 10;

/// Makes room in `out` for `count` bytes more. Where many bytes wait to be sent, a buffer that doubles would
/// take twice their memory; a long value makes it grow by little more than its own length. An eighth of what
/// is there comes on top, so that a row of long values is not copied again for each of them.
pub(crate) fn make_room(out: &mut Vec<u8>, count: usize) {
    if count < LONG_BYTES_MIN {
        out.reserve(count);
    } else if out.capacity() - out.len() < count {
        out.reserve_exact(count + out.len() / 8 + BEHIND_BYTES);
    }
}

/// Appends little-endian fields.
pub(crate) trait Put {
    /// Appends bytes as they are.
    fn put(&mut self, bytes: &[u8]);
    /// Appends one byte.
    fn put_u8(&mut self, value: u8) {
        self.put(&[value]);
    }
    /// Appends two bytes.
    fn put_u16(&mut self, value: u16) {
        self.put(&value.to_le_bytes());
    }
    /// Appends four bytes.
    fn put_u32(&mut self, value: u32) {
        self.put(&value.to_le_bytes());
    }
    /// Appends eight bytes.
    fn put_u64(&mut self, value: u64) {
        self.put(&value.to_le_bytes());
    }
    /// Appends sixteen bytes.
    fn put_u128(&mut self, value: u128) {
        self.put(&value.to_le_bytes());
    }
    /// Appends a text preceded by its length (u16), cut at a character boundary to fit `u16`.
    fn put_text(&mut self, text: &str) {
        let mut len = text.len().min(usize::from(u16::MAX));
        while !text.is_char_boundary(len) {
            len -= 1;
        }
        self.put_u16(len as u16); // bounded by u16::MAX just above
        self.put(&text.as_bytes()[..len]);
    }
}

impl Put for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// The little-endian `u32` at `at`.
///
/// # Panics
/// When `bytes` is shorter: callers have checked the length of the fixed header they read from.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Overwrites the little-endian `u32` at `at`, which was appended as a placeholder before.
pub(crate) fn set_u32_at(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}
