//! The bytes of a handshake's frames: the head that each begins with, and the bytes that may follow it.
//!
//! ```text
//!  0  magic [8] = F6 "SYNPEER"
//!  8  version u16 │ kind u16 │ code u16 (refusals) │ bytes behind the head u16
//! 16  nonce [32]        of a hello and a challenge
//! 48  0 [16]
//! 64  crc u32           CRC32C of bytes 0..64
//! 68  0 u32
//! ```
//! Length and the first ten bytes of the head never change, so that any two versions can refuse each other.
//! docs/wire-format.md has the rest.

use super::identity::{IDENTITY_BYTES, LinkRefusal};
use super::secret::MAC_BYTES;
use crate::error::ProtocolError;
use crate::wire::{Put, Reader, u32_at};

/// Bytes of the head that every frame of a handshake begins with.
pub const HANDSHAKE_HEAD_BYTES: usize = 72;
/// The version of the peer protocol that this build speaks; it speaks no other.
pub const PEER_VERSION: u16 = 6;
/// The first byte differs from that of every client protocol.
const MAGIC: [u8; 8] = *b"\xF6SYNPEER";
pub(super) const CHECKED: usize = 64;
pub(super) const NONCE_BYTES: usize = 32;
/// A block number, a checksum and four zeros.
pub(super) const POSITION_BYTES: usize = 16;
/// The longest tail behind a head: two proofs, or an identity, a position and a proof.
const TAIL_BYTES_MAX: usize = IDENTITY_BYTES + POSITION_BYTES + MAC_BYTES;
const _: () = assert!(2 * MAC_BYTES <= TAIL_BYTES_MAX);

/// A random number drawn for one handshake.
pub type Nonce = [u8; NONCE_BYTES];

/// The kind of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum HandshakeKind {
    Hello,
    Welcome,
    Refusal,
    Challenge,
    Intro,
}

impl HandshakeKind {
    const ALL: [Self; 5] = [Self::Hello, Self::Welcome, Self::Refusal, Self::Challenge, Self::Intro];

    const fn code(self) -> u16 {
        match self {
            Self::Hello => 1,
            Self::Welcome => 2,
            Self::Refusal => 3,
            Self::Challenge => 4,
            Self::Intro => 5,
        }
    }

    /// Whether this many bytes may follow its head.
    const fn may_carry(self, tail: usize) -> bool {
        match self {
            Self::Hello => tail == 0,
            Self::Challenge => tail == MAC_BYTES || tail == 2 * MAC_BYTES,
            Self::Intro => tail == IDENTITY_BYTES + MAC_BYTES,
            Self::Welcome => tail == IDENTITY_BYTES + POSITION_BYTES + MAC_BYTES,
            // A peer that has proved nothing is told nothing but the reason.
            Self::Refusal => tail == 0 || tail == IDENTITY_BYTES + MAC_BYTES,
        }
    }
}

/// Why a handshake failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The bytes are no handshake.
    #[error("{0}")]
    Protocol(#[from] ProtocolError),
    /// Another version of the peer protocol.
    #[error(
        "it speaks version {theirs} of the peer protocol and this node speaks version {PEER_VERSION}; \
         run the same synod on \
         all nodes"
    )]
    Version {
        /// The other end's version.
        theirs: u16,
    },
    /// A frame that is out of turn.
    #[error("it sent a frame of the handshake out of its turn")]
    OutOfTurn,
    /// The frame's proof does not use a known secret.
    #[error("what it says of itself is not proved by the peer secret")]
    Unproved,
    /// The other end refuses the link. Only `VersionMismatch`, `OtherSecret` and `Unavailable` are believed
    /// without a proof.
    #[error("it refused: {0}")]
    Refused(LinkRefusal),
    /// There is no secret that both ends accept.
    #[error("{}", LinkRefusal::OtherSecret)]
    OtherSecret,
}

/// The head of a frame, checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    pub(super) kind: HandshakeKind,
    pub(super) code: u16,
    tail_bytes: usize,
    nonce: Nonce,
}

impl Head {
    /// Reads a head.
    ///
    /// # Errors
    /// [`HandshakeError::Version`] for a node of another version (answer it with [`refuse_version`]),
    /// [`ProtocolError::Magic`] for bytes that do not come from a Synod node, else the fault that was found.
    pub fn decode(bytes: &[u8; HANDSHAKE_HEAD_BYTES]) -> Result<Self, HandshakeError> {
        let mut fields = Reader::new(bytes);
        if fields.take(MAGIC.len())? != MAGIC {
            return Err(ProtocolError::Magic.into());
        }
        let theirs = fields.u16()?;
        if theirs != PEER_VERSION {
            return Err(HandshakeError::Version { theirs });
        }
        if synod_types::checksum::crc32c(&bytes[..CHECKED]) != u32_at(bytes, CHECKED) {
            return Err(ProtocolError::Checksum.into());
        }
        let (kind, code, tail_bytes) = (fields.u16()?, fields.u16()?, usize::from(fields.u16()?));
        let mut nonce = [0; NONCE_BYTES];
        nonce.copy_from_slice(fields.take(NONCE_BYTES)?);
        fields.zeros(CHECKED - 16 - NONCE_BYTES)?;
        fields.u32()?;
        fields.zeros(4)?;
        let kind =
            HandshakeKind::ALL.into_iter().find(|known| known.code() == kind).ok_or(ProtocolError::Kind)?;
        if (code != 0) != (kind == HandshakeKind::Refusal) {
            return Err(ProtocolError::Kind.into());
        }
        if !kind.may_carry(tail_bytes) {
            return Err(ProtocolError::Length.into());
        }
        let has_nonce = matches!(kind, HandshakeKind::Hello | HandshakeKind::Challenge);
        if !has_nonce && nonce != [0; NONCE_BYTES] {
            return Err(ProtocolError::Body.into());
        }
        Ok(Self { kind, code, tail_bytes, nonce })
    }

    /// Number of bytes that follow it.
    pub fn tail_bytes(&self) -> usize {
        self.tail_bytes
    }

    pub(super) fn new(kind: HandshakeKind, code: u16, tail_bytes: usize, nonce: Nonce) -> Self {
        assert!(kind.may_carry(tail_bytes));
        Self { kind, code, tail_bytes, nonce }
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let at = out.len();
        out.put(&MAGIC);
        out.put_u16(PEER_VERSION);
        out.put_u16(self.kind.code());
        out.put_u16(self.code);
        out.put_u16(self.tail_bytes as u16); // bounded by TAIL_BYTES_MAX
        out.put(&self.nonce);
        out.put(&[0; CHECKED - 16 - NONCE_BYTES]);
        let crc = synod_types::checksum::crc32c(&out[at..at + CHECKED]);
        out.put_u32(crc);
        out.put_u32(0);
        assert!(out.len() == at + HANDSHAKE_HEAD_BYTES);
    }
}

/// Tells a node of another version that it is refused, and nothing else.
pub fn refuse_version(out: &mut Vec<u8>) {
    refuse_unproved(out, LinkRefusal::VersionMismatch);
}

/// Refuses a peer that has proved nothing.
pub(super) fn refuse_unproved(out: &mut Vec<u8>, refusal: LinkRefusal) {
    Head::new(HandshakeKind::Refusal, refusal.code(), 0, [0; NONCE_BYTES]).encode(out);
}
