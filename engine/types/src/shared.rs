//! `Shared`: a reference-counted slice of an owned buffer; the payload the shell puts through the machines.
//!
//! One allocation per received chunk or encoded entry, any number of slices of it, no copy. Not `Send` on purpose: a buffer
//! belongs to its core, and what crosses cores is copied or moved whole.

use alloc::{rc::Rc, vec::Vec};
use bytes::Bytes;
use core::fmt;
use core::marker::PhantomData;

/// What a payload must be able to do inside the machines: be passed around cheaply, be read, be made from encoded bytes.
pub trait Payload: Clone + AsRef<[u8]> + From<Vec<u8>> + fmt::Debug {}
impl<T: Clone + AsRef<[u8]> + From<Vec<u8>> + fmt::Debug> Payload for T {}

/// A cheap-to-clone slice of an immutable buffer.
#[derive(Clone, Default)]
pub struct Shared {
    bytes: Bytes,
    /// Keeps it on its core.
    core: PhantomData<Rc<()>>,
}

impl Shared {
    /// The whole of `bytes`.
    pub fn new(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
    /// The bytes `start..start + len` of this slice, sharing its buffer.
    ///
    /// # Panics
    /// When they do not lie inside.
    #[must_use]
    pub fn slice(&self, start: usize, len: usize) -> Self {
        assert!(start.checked_add(len).is_some_and(|end| end <= self.len()), "slice outside its buffer");
        self.bytes.slice(start..start + len).into()
    }
    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }
    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
impl From<Vec<u8>> for Shared {
    fn from(bytes: Vec<u8>) -> Self {
        Self::new(bytes)
    }
}
impl From<Bytes> for Shared {
    fn from(bytes: Bytes) -> Self {
        Self { bytes, core: PhantomData }
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
        write!(f, "{}B", self.len())
    }
}
