//! `Shared`: a reference-counted slice of an owned buffer; the shell's payload type.
//!
//! There is one allocation per received chunk or encoded entry; slices share it without a copy. It is
//! deliberately not `Send`: a buffer belongs to its core, and data for another core is copied or moved as a
//! whole.

use crate::ids::Ballot;
use alloc::{rc::Rc, vec::Vec};
use bytes::Bytes;
use core::fmt;
use core::marker::PhantomData;

/// The checksum of fewer bytes is computed again where it is needed; that is no slower.
const SEALED_FROM: usize = 2 << 10;

/// The payload of the machines: cheap to clone, readable as bytes, and made from encoded bytes.
pub trait Payload: Clone + AsRef<[u8]> + From<Vec<u8>> + fmt::Debug {
    /// The same bytes, about to be written to a log and sent to several peers: computes once what all of them
    /// need.
    #[must_use]
    fn sealed(self) -> Self {
        self
    }
    /// The ballot in which this value was first proposed; with the slot it identifies the value (rule P-05d).
    fn origin(&self) -> Ballot {
        crate::entry::origin_of(self.as_ref())
    }
}
impl Payload for Vec<u8> {}
impl Payload for Shared {
    fn sealed(self) -> Self {
        if self.len() < SEALED_FROM {
            return self;
        }
        let crc = crate::checksum::crc32c(self.as_ref());
        self.with_crc(crc)
    }
}

/// A cheap-to-clone slice of an immutable buffer.
#[derive(Clone, Default)]
pub struct Shared {
    bytes: Bytes,
    /// CRC32C of the bytes, if it was computed already.
    crc: Option<u32>,
    /// Makes it not `Send`.
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
    /// When they are not inside the slice.
    #[must_use]
    pub fn slice(&self, start: usize, len: usize) -> Self {
        assert!(start.checked_add(len).is_some_and(|end| end <= self.len()), "slice outside its buffer");
        self.bytes.slice(start..start + len).into()
    }
    /// CRC32C of the bytes, if it is known.
    pub fn crc(&self) -> Option<u32> {
        self.crc
    }
    /// The same bytes, with their CRC32C stored.
    #[must_use]
    pub fn with_crc(mut self, crc: u32) -> Self {
        debug_assert!(crc == crate::checksum::crc32c(self.as_ref()), "another checksum than the bytes have");
        self.crc = Some(crc);
        self
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
        Self { bytes, crc: None, core: PhantomData }
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
