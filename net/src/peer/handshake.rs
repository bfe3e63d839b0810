//! The first 72 bytes in each direction of a peer link.
//!
//! ```text
//!  0  magic [8] = F6 "SYNPEER"
//!  8  version u16 │ kind u16 (1 hello, 2 welcome, 3 refusal) │ code u16 (refusals) │ 0 u16
//! 16  cluster id u128
//! 32  facts u64          hash of the cluster's immutable facts (group count, hash function, …)
//! 40  incarnation u128   the life of the sender's disk
//! 56  node u16 │ core u16 │ core count u16 │ target node u16
//! 64  crc u32            CRC32C of bytes 0..64
//! 68  0 u32
//! ```
//! The initiator sends a hello, the acceptor answers with a welcome of its own facts or a refusal with the reason; both
//! sides judge the other. Length and the first ten bytes never change, so that any two versions can refuse each other.

use crate::error::ProtocolError;
use crate::wire::{Put, Reader, u32_at};
use synod_types::{ClusterId, CoreId, Incarnation, NodeId};

/// Bytes of a hello, a welcome and a refusal.
pub const HANDSHAKE_BYTES: usize = 72;
/// The version of the peer protocol this build speaks.
pub const PEER_VERSION: u16 = 5;
/// First byte differs from every client protocol's.
const MAGIC: [u8; 8] = *b"\xF6SYNPEER";
const CHECKED: usize = 64;
const KIND_HELLO: u16 = 1;
const KIND_WELCOME: u16 = 2;
const KIND_REFUSAL: u16 = 3;

/// Who one end of a link is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Handshake {
    /// The cluster.
    pub cluster: ClusterId,
    /// Hash of the cluster's immutable facts.
    pub facts: u64,
    /// The node.
    pub node: NodeId,
    /// The life of its disk.
    pub incarnation: Incarnation,
    /// The core that speaks.
    pub core: CoreId,
    /// How many cores the node has.
    pub core_count: u16,
    /// The node it means to speak to.
    pub target: NodeId,
}

/// What is known of a node that shakes hands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Known {
    /// No member has this id.
    Stranger,
    /// A member whose incarnation was not seen yet; the caller makes it durable before it trusts the link.
    Unseen,
    /// A member with this incarnation.
    As(Incarnation),
}

/// Why a link was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// Another version of the peer protocol.
    #[error("the peer speaks another version of the peer protocol")]
    VersionMismatch,
    /// The node belongs to another cluster.
    #[error("the peer belongs to another cluster")]
    WrongCluster,
    /// Same cluster id, other immutable facts: the configurations differ.
    #[error("the peer was formatted with other cluster facts (group count or hash)")]
    WrongFacts,
    /// The node is not a member.
    #[error("the peer is not a member of this cluster")]
    UnknownNode,
    /// A known node id on another disk: its promises are gone.
    #[error("the peer's node id is known with another incarnation (its disk was replaced or reset)")]
    WrongIncarnation,
    /// The initiator meant another node: its address book is wrong.
    #[error("the peer meant to reach another node: check the addresses")]
    WrongTarget,
    /// The two cores do not hold the same groups.
    #[error("the peer's core does not match")]
    WrongCore,
    /// The node id is this node's own.
    #[error("the peer has this node's own id")]
    SameNode,
    /// The node is stopping or has no room for another link.
    #[error("the peer takes no links at the moment")]
    Unavailable,
}

impl Refusal {
    pub(crate) const ALL: [Refusal; 9] = [
        Refusal::VersionMismatch,
        Refusal::WrongCluster,
        Refusal::WrongFacts,
        Refusal::UnknownNode,
        Refusal::WrongIncarnation,
        Refusal::WrongTarget,
        Refusal::WrongCore,
        Refusal::SameNode,
        Refusal::Unavailable,
    ];
    /// The number on the wire.
    pub const fn code(self) -> u16 {
        match self {
            Refusal::VersionMismatch => 1,
            Refusal::WrongCluster => 2,
            Refusal::WrongFacts => 3,
            Refusal::UnknownNode => 4,
            Refusal::WrongIncarnation => 5,
            Refusal::WrongTarget => 6,
            Refusal::WrongCore => 7,
            Refusal::SameNode => 8,
            Refusal::Unavailable => 9,
        }
    }
    fn of_code(code: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|refusal| refusal.code() == code)
    }
}

/// One handshake frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HandshakeFrame {
    /// The initiator introduces itself.
    Hello(Handshake),
    /// The acceptor agrees and introduces itself.
    Welcome(Handshake),
    /// The acceptor refuses.
    Refused(Refusal),
}

impl Handshake {
    /// Whether the other end, which sent `theirs`, belongs on a link to this one. `known` is what this node remembers of
    /// the node id in `theirs`.
    ///
    /// # Errors
    /// The [`Refusal`] to send back (as acceptor) or to report (as initiator).
    pub fn judge(&self, theirs: &Handshake, known: Known) -> Result<(), Refusal> {
        if theirs.cluster != self.cluster {
            return Err(Refusal::WrongCluster);
        }
        if theirs.facts != self.facts {
            return Err(Refusal::WrongFacts);
        }
        if theirs.node == self.node {
            return Err(Refusal::SameNode);
        }
        if theirs.target != self.node {
            return Err(Refusal::WrongTarget);
        }
        if theirs.core.get() >= theirs.core_count {
            return Err(Refusal::WrongCore);
        }
        match known {
            Known::Stranger => Err(Refusal::UnknownNode),
            Known::As(incarnation) if incarnation != theirs.incarnation => Err(Refusal::WrongIncarnation),
            Known::As(_) | Known::Unseen => Ok(()),
        }
    }
}

/// Appends a hello.
pub fn encode_hello(out: &mut Vec<u8>, ours: &Handshake) {
    put(out, KIND_HELLO, 0, ours);
}
/// Appends a welcome.
pub fn encode_welcome(out: &mut Vec<u8>, ours: &Handshake) {
    put(out, KIND_WELCOME, 0, ours);
}
/// Appends a refusal. It says who refuses, so that the other side's log can name the node.
pub fn encode_refusal(out: &mut Vec<u8>, ours: &Handshake, refusal: Refusal) {
    put(out, KIND_REFUSAL, refusal.code(), ours);
}

fn put(out: &mut Vec<u8>, kind: u16, code: u16, ours: &Handshake) {
    let at = out.len();
    out.put(&MAGIC);
    out.put_u16(PEER_VERSION);
    out.put_u16(kind);
    out.put_u16(code);
    out.put_u16(0);
    out.put_u128(ours.cluster.get());
    out.put_u64(ours.facts);
    out.put_u128(ours.incarnation.get());
    out.put_u16(ours.node.get());
    out.put_u16(ours.core.get());
    out.put_u16(ours.core_count);
    out.put_u16(ours.target.get());
    let crc = synod_types::checksum::crc32c(&out[at..at + CHECKED]);
    out.put_u32(crc);
    out.put_u32(0);
    assert!(out.len() == at + HANDSHAKE_BYTES);
}

/// Reads a handshake frame.
///
/// # Errors
/// [`ProtocolError::Magic`] for something that is no Synod node, [`ProtocolError::Version`] for a node of another version
/// (answer it with [`Refusal::VersionMismatch`]), else what is wrong.
pub fn decode_handshake(bytes: &[u8; HANDSHAKE_BYTES]) -> Result<HandshakeFrame, ProtocolError> {
    let mut fields = Reader::new(bytes);
    if fields.take(MAGIC.len())? != MAGIC {
        return Err(ProtocolError::Magic);
    }
    let version = fields.u16()?;
    let (kind, code) = (fields.u16()?, fields.u16()?);
    if version != PEER_VERSION {
        return Err(ProtocolError::Version);
    }
    if synod_types::checksum::crc32c(&bytes[..CHECKED]) != u32_at(bytes, CHECKED) {
        return Err(ProtocolError::Checksum);
    }
    fields.zeros(2)?;
    let cluster = ClusterId::new(fields.u128()?);
    let facts = fields.u64()?;
    let incarnation = Incarnation::new(fields.u128()?);
    let node = NodeId::new(fields.u16()?);
    let core = CoreId::new(fields.u16()?);
    let core_count = fields.u16()?;
    let target = NodeId::new(fields.u16()?);
    fields.u32()?;
    fields.zeros(4)?;
    let theirs = Handshake { cluster, facts, node, incarnation, core, core_count, target };
    match (kind, code) {
        (KIND_HELLO, 0) => Ok(HandshakeFrame::Hello(theirs)),
        (KIND_WELCOME, 0) => Ok(HandshakeFrame::Welcome(theirs)),
        (KIND_REFUSAL, code) => {
            Refusal::of_code(code).map(HandshakeFrame::Refused).ok_or(ProtocolError::Kind)
        }
        _ => Err(ProtocolError::Kind),
    }
}
