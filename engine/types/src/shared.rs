//! `Shared`: a reference-counted slice of an owned buffer; the payload the shell puts through the machines.
//!
//! One allocation per received frame or encoded entry, any number of slices of it, no copy. Not `Send` on purpose: a buffer
//! belongs to its core, and what crosses cores is copied or moved whole.

use alloc::{rc::Rc, vec::Vec};
use core::fmt;

/// What a payload must be able to do inside the machines: be passed around cheaply, be read, be made from encoded bytes.
pub trait Payload: Clone + AsRef<[u8]> + From<Vec<u8>> + fmt::Debug {}
impl<T: Clone + AsRef<[u8]> + From<Vec<u8>> + fmt::Debug> Payload for T {}

/// A cheap-to-clone slice of an immutable buffer.
#[derive(Clone, Default)]
pub struct Shared {
    buf: Rc<Vec<u8>>,
    start: usize,
    len: usize,
}

impl Shared {
    /// The whole of `bytes`.
    pub fn new(bytes: Vec<u8>) -> Self {
        let len = bytes.len();
        Self { buf: Rc::new(bytes), start: 0, len }
    }
    /// The bytes `start..start + len` of this slice, sharing its buffer.
    ///
    /// # Panics
    /// When they do not lie inside.
    #[must_use]
    pub fn slice(&self, start: usize, len: usize) -> Self {
        assert!(start.checked_add(len).is_some_and(|end| end <= self.len), "slice outside its buffer");
        Self { buf: Rc::clone(&self.buf), start: self.start + start, len }
    }
    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }
    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.buf[self.start..self.start + self.len]
    }
}
impl From<Vec<u8>> for Shared {
    fn from(bytes: Vec<u8>) -> Self {
        Self::new(bytes)
    }
}
impl PartialEq for Shared {
    fn eq(&self, other: &Self) -> bool {
        self.as_ref() == other.as_ref()
    }
}
impl Eq for Shared {}
impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}B", self.len)
    }
}
