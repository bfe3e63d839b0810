//! The handshake of two nodes: each proves that it knows the cluster's secret before it says who it is.
//!
//! ```text
//!  initiator                                       acceptor
//!     │ hello      nonce                              │    nothing more is exchanged with strangers
//!     │ ───────────────────────────────────────────▶  │
//!     │            nonce, proof by each secret  chal. │
//!     │ ◀───────────────────────────────────────────  │
//!     │ intro      identity, proof                    │
//!     │ ───────────────────────────────────────────▶  │    judged
//!     │  identity, initiator's log, proof of all  welc.│
//!     │ ◀───────────────────────────────────────────  │    or a refusal, with the reason
//!   judged
//! ```
//! A proof is a MAC (`secret.rs`) of all frames so far and of the frame that it ends. It holds only for these
//! nonces, these two nodes and cores, this kind of frame (so for one of the two ends) and this version.
//! docs/wire-format.md has the bytes.
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

use super::secret::{MAC_BYTES, PeerSecret, Secrets};
use crate::error::ProtocolError;
use crate::wire::{Put, Reader, u32_at};
use synod_types::{ClusterId, CoreId, Incarnation, LogPosition, NodeId};

/// Bytes of the head that every frame of a handshake begins with.
pub const HANDSHAKE_HEAD_BYTES: usize = 72;
/// The version of the peer protocol that this build speaks; it speaks no other.
pub const PEER_VERSION: u16 = 6;
/// The first byte differs from that of every client protocol.
const MAGIC: [u8; 8] = *b"\xF6SYNPEER";
pub(super) const CHECKED: usize = 64;
/// Proofs begin with this, so that a secret that is also used elsewhere proves nothing here.
const LABEL: &[u8] = b"synod peer link\0";
const NONCE_BYTES: usize = 32;
pub(super) const IDENTITY_BYTES: usize = 48;
/// A block number, a checksum and four zeros.
const POSITION_BYTES: usize = 16;
/// The longest tail behind a head: two proofs, or an identity, a position and a proof.
const TAIL_BYTES_MAX: usize = IDENTITY_BYTES + POSITION_BYTES + MAC_BYTES;
const _: () = assert!(2 * MAC_BYTES <= TAIL_BYTES_MAX);

/// A random number drawn for one handshake.
pub type Nonce = [u8; NONCE_BYTES];

/// The identity of one end of a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Handshake {
    /// The cluster.
    pub cluster: ClusterId,
    /// Hash of the cluster's immutable facts.
    pub facts: u64,
    /// The node.
    pub node: NodeId,
    /// The incarnation of its disk.
    pub incarnation: Incarnation,
    /// The core that takes part.
    pub core: CoreId,
    /// Number of cores of the node.
    pub core_count: u16,
    /// The node that it wants to reach.
    pub target: NodeId,
}

/// This node's knowledge of the other node in a handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Known {
    /// No member has this id.
    Stranger,
    /// A member whose incarnation was not seen before; the caller makes it durable before it trusts the link.
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
    /// A known node id on another disk: the promises it made are gone.
    #[error("the peer's node id is known with another incarnation (its disk was replaced or reset)")]
    WrongIncarnation,
    /// The initiator wanted to reach another node: its address book is wrong.
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
    /// None of its proofs uses a secret that this node accepts.
    #[error("the peer has another peer secret; give all nodes of the cluster the same (`synod secret`)")]
    OtherSecret,
}

impl Refusal {
    pub(crate) const ALL: [Refusal; 10] = [
        Refusal::VersionMismatch,
        Refusal::WrongCluster,
        Refusal::WrongFacts,
        Refusal::UnknownNode,
        Refusal::WrongIncarnation,
        Refusal::WrongTarget,
        Refusal::WrongCore,
        Refusal::SameNode,
        Refusal::Unavailable,
        Refusal::OtherSecret,
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
            Refusal::OtherSecret => 10,
        }
    }
    fn of_code(code: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|refusal| refusal.code() == code)
    }
}

impl Handshake {
    /// Whether the other end, which sent `theirs`, may have a link to this node. `known` is what this node
    /// remembers of the node id in `theirs`.
    ///
    /// # Errors
    /// The [`Refusal`] to send back (as acceptor) or to report (as initiator).
    pub fn judge(&self, theirs: &Handshake, known: Known) -> Result<(), Refusal> {
        if theirs.cluster != self.cluster {
            return Err(Refusal::WrongCluster);
        }
        // Checked before the other fields: the peer may have dialled the wrong node.
        if theirs.target != self.node {
            return Err(Refusal::WrongTarget);
        }
        if theirs.facts != self.facts {
            return Err(Refusal::WrongFacts);
        }
        if theirs.node == self.node {
            return Err(Refusal::SameNode);
        }
        if (theirs.core, theirs.core_count) != (self.core, self.core_count) {
            return Err(Refusal::WrongCore);
        }
        match known {
            Known::Stranger => Err(Refusal::UnknownNode),
            Known::As(incarnation) if incarnation != theirs.incarnation => Err(Refusal::WrongIncarnation),
            Known::As(_) | Known::Unseen => Ok(()),
        }
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.put_u128(self.cluster.get());
        out.put_u64(self.facts);
        out.put_u128(self.incarnation.get());
        out.put_u16(self.node.get());
        out.put_u16(self.core.get());
        out.put_u16(self.core_count);
        out.put_u16(self.target.get());
    }

    fn decode(bytes: &[u8]) -> Result<Self, ProtocolError> {
        let mut fields = Reader::new(bytes);
        let theirs = Self {
            cluster: ClusterId::new(fields.u128()?),
            facts: fields.u64()?,
            incarnation: Incarnation::new(fields.u128()?),
            node: NodeId::new(fields.u16()?),
            core: CoreId::new(fields.u16()?),
            core_count: fields.u16()?,
            target: NodeId::new(fields.u16()?),
        };
        fields.end()?;
        Ok(theirs)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Hello,
    Welcome,
    Refusal,
    Challenge,
    Intro,
}

impl Kind {
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
    Refused(Refusal),
    /// There is no secret that both ends accept.
    #[error("{}", Refusal::OtherSecret)]
    OtherSecret,
}

/// The head of a frame, checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    kind: Kind,
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
        let kind = Kind::ALL.into_iter().find(|known| known.code() == kind).ok_or(ProtocolError::Kind)?;
        if (code != 0) != (kind == Kind::Refusal) {
            return Err(ProtocolError::Kind.into());
        }
        if !kind.may_carry(tail_bytes) {
            return Err(ProtocolError::Length.into());
        }
        let has_nonce = matches!(kind, Kind::Hello | Kind::Challenge);
        if !has_nonce && nonce != [0; NONCE_BYTES] {
            return Err(ProtocolError::Body.into());
        }
        Ok(Self { kind, code, tail_bytes, nonce })
    }

    /// Number of bytes that follow it.
    pub fn tail_bytes(&self) -> usize {
        self.tail_bytes
    }

    pub(super) fn new(kind: Kind, code: u16, tail_bytes: usize, nonce: Nonce) -> Self {
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
    refuse_unproved(out, Refusal::VersionMismatch);
}

fn refuse_unproved(out: &mut Vec<u8>, refusal: Refusal) {
    Head::new(Kind::Refusal, refusal.code(), 0, [0; NONCE_BYTES]).encode(out);
}

/// The contents of a frame besides its kind.
struct Said {
    identity: Handshake,
    /// In a welcome.
    heard: LogPosition,
}

/// An acceptor that has proved its identity and is not judged yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// Its identity.
    pub theirs: Handshake,
    /// The secret that the proof uses.
    pub secret: PeerSecret,
    /// How far the acceptor has known the log of this node's core to be durable. A log without that block is
    /// an old copy.
    pub heard: LogPosition,
}

/// All frames so far: a proof covers them.
#[derive(Clone, Debug)]
pub(super) struct Transcript(Vec<u8>);

impl Transcript {
    pub(super) fn new() -> Self {
        Self(LABEL.to_vec())
    }

    /// Appends a frame with an identity and the proof of everything so far.
    pub(super) fn say(
        &mut self,
        head: &Head,
        identity: &Handshake,
        heard: Option<LogPosition>,
        secret: &PeerSecret,
        out: &mut Vec<u8>,
    ) {
        let at = out.len();
        head.encode(out);
        identity.encode(out);
        if let Some(LogPosition { sequence, crc }) = heard {
            out.put_u64(sequence);
            out.put_u32(crc);
            out.put_u32(0);
        }
        self.0.extend_from_slice(&out[at..]);
        let mac = secret.mac(&self.0);
        out.put(&mac);
        self.0.extend_from_slice(&mac);
        assert!(out.len() == at + HANDSHAKE_HEAD_BYTES + head.tail_bytes);
    }

    /// Takes such a frame. Returns its contents and the one of `secrets` that proves it.
    fn hear<'s>(
        &mut self,
        head: &Head,
        tail: &[u8],
        secrets: impl IntoIterator<Item = &'s PeerSecret>,
    ) -> Result<(Said, &'s PeerSecret), HandshakeError> {
        let said = head.tail_bytes.checked_sub(MAC_BYTES).ok_or(ProtocolError::Length)?;
        let (said, mac) = tail.split_at_checked(said).ok_or(ProtocolError::Length)?;
        head.encode(&mut self.0);
        self.0.extend_from_slice(said);
        let mut secrets = secrets.into_iter();
        let secret = secrets.find(|secret| secret.made(mac, &self.0)).ok_or(HandshakeError::Unproved)?;
        self.0.extend_from_slice(mac);
        let (identity, heard) = said.split_at_checked(IDENTITY_BYTES).ok_or(ProtocolError::Length)?;
        let heard = match heard {
            [] => LogPosition::default(),
            bytes => {
                let mut fields = Reader::new(bytes);
                let position = LogPosition { sequence: fields.u64()?, crc: fields.u32()? };
                fields.zeros(4)?;
                fields.end()?;
                position
            }
        };
        Ok((Said { identity: Handshake::decode(identity)?, heard }, secret))
    }
}

/// The initiator after its hello.
#[derive(Debug)]
pub struct Initiator {
    ours: Handshake,
    secrets: Secrets,
    transcript: Transcript,
}

impl Initiator {
    /// Appends a hello, which says nothing about this node.
    pub fn hello(ours: Handshake, secrets: Secrets, nonce: Nonce, out: &mut Vec<u8>) -> Self {
        let mut transcript = Transcript::new();
        let at = out.len();
        Head::new(Kind::Hello, 0, 0, nonce).encode(out);
        transcript.0.extend_from_slice(&out[at..]);
        Self { ours, secrets, transcript }
    }

    /// Takes the acceptor's challenge and appends the introduction. If the acceptor knows none of our
    /// secrets, a refusal is appended, which must be sent, too.
    ///
    /// # Errors
    /// The frame is no challenge, or the acceptor knows none of our secrets: the link must be closed.
    pub fn on_challenge(
        mut self,
        head: &Head,
        tail: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Introduced, HandshakeError> {
        match head.kind {
            Kind::Challenge => {}
            Kind::Refusal => return Err(refused_unproved(head)),
            _ => return Err(HandshakeError::OutOfTurn),
        }
        head.encode(&mut self.transcript.0);
        let made =
            |secret: &&PeerSecret| tail.chunks(MAC_BYTES).any(|mac| secret.made(mac, &self.transcript.0));
        let Some(secret) = self.secrets.all().find(made).cloned() else {
            refuse_unproved(out, Refusal::OtherSecret);
            return Err(HandshakeError::OtherSecret);
        };
        self.transcript.0.extend_from_slice(tail);
        let head = Head::new(Kind::Intro, 0, IDENTITY_BYTES + MAC_BYTES, [0; NONCE_BYTES]);
        self.transcript.say(&head, &self.ours, None, &secret, out);
        Ok(Introduced { secret, transcript: self.transcript })
    }
}

/// The initiator after its introduction.
#[derive(Debug)]
pub struct Introduced {
    secret: PeerSecret,
    transcript: Transcript,
}

impl Introduced {
    /// Takes the acceptor's answer.
    ///
    /// # Errors
    /// The acceptor refuses, or its proof is wrong: the link must be closed.
    pub fn on_answer(mut self, head: &Head, tail: &[u8]) -> Result<Answer, HandshakeError> {
        match head.kind {
            Kind::Welcome | Kind::Refusal if tail.is_empty() => return Err(refused_unproved(head)),
            Kind::Welcome | Kind::Refusal => {}
            _ => return Err(HandshakeError::OutOfTurn),
        }
        let (Said { identity: theirs, heard }, _) = self.transcript.hear(head, tail, [&self.secret])?;
        match head.kind {
            Kind::Welcome => Ok(Answer { theirs, secret: self.secret, heard }),
            _ => Err(HandshakeError::Refused(Refusal::of_code(head.code).ok_or(ProtocolError::Kind)?)),
        }
    }
}

/// A refusal without a proof. Any machine can send one, so its only effect may be a later attempt.
fn refused_unproved(head: &Head) -> HandshakeError {
    match Refusal::of_code(head.code) {
        Some(reason @ (Refusal::VersionMismatch | Refusal::OtherSecret | Refusal::Unavailable)) => {
            HandshakeError::Refused(reason)
        }
        _ => HandshakeError::Unproved,
    }
}

/// The acceptor after its challenge.
#[derive(Debug)]
pub struct Acceptor {
    secrets: Secrets,
    transcript: Transcript,
}

impl Acceptor {
    /// Takes a hello and appends the challenge: a nonce, and the proof that we know the secrets. The proof
    /// tells a stranger nothing.
    ///
    /// # Errors
    /// The frame is no hello: the link must be closed.
    pub fn challenge(
        hello: &Head,
        secrets: Secrets,
        nonce: Nonce,
        out: &mut Vec<u8>,
    ) -> Result<Self, HandshakeError> {
        if hello.kind != Kind::Hello {
            return Err(HandshakeError::OutOfTurn);
        }
        let mut transcript = Transcript::new();
        hello.encode(&mut transcript.0);
        let tail_bytes = secrets.all().count() * MAC_BYTES;
        let at = out.len();
        Head::new(Kind::Challenge, 0, tail_bytes, nonce).encode(out);
        transcript.0.extend_from_slice(&out[at..]);
        let tail = out.len();
        for secret in secrets.all() {
            out.put(&secret.mac(&transcript.0));
        }
        transcript.0.extend_from_slice(&out[tail..]);
        Ok(Self { secrets, transcript })
    }

    /// Takes the initiator's introduction. If the initiator knows none of our secrets, a refusal is appended,
    /// which must be sent, too.
    ///
    /// # Errors
    /// The frame is no introduction, or the initiator knows none of our secrets: the link must be closed.
    pub fn on_intro(mut self, head: &Head, tail: &[u8], out: &mut Vec<u8>) -> Result<Proved, HandshakeError> {
        match head.kind {
            Kind::Intro => {}
            Kind::Refusal => return Err(refused_unproved(head)),
            _ => return Err(HandshakeError::OutOfTurn),
        }
        let (theirs, secret) = self.transcript.hear(head, tail, self.secrets.all()).inspect_err(|error| {
            if *error == HandshakeError::Unproved {
                refuse_unproved(out, Refusal::OtherSecret);
            }
        })?;
        let (theirs, secret) = (theirs.identity, secret.clone());
        Ok(Proved { theirs, secret, transcript: self.transcript })
    }
}

/// The acceptor after the initiator has proved its identity, which must now be judged and answered.
#[derive(Debug)]
pub struct Proved {
    theirs: Handshake,
    secret: PeerSecret,
    transcript: Transcript,
}

impl Proved {
    /// The initiator's identity.
    pub fn theirs(&self) -> &Handshake {
        &self.theirs
    }

    /// The secret that the proof uses.
    pub fn secret(&self) -> &PeerSecret {
        &self.secret
    }

    /// Appends a welcome: the link is established, if the initiator's log holds the block at `heard`.
    pub fn welcome(self, ours: &Handshake, heard: LogPosition, out: &mut Vec<u8>) {
        self.answer(Kind::Welcome, 0, ours, Some(heard), out);
    }

    /// Appends a refusal. It contains our identity, so that the other side's log can name the node.
    pub fn refuse(self, ours: &Handshake, refusal: Refusal, out: &mut Vec<u8>) {
        self.answer(Kind::Refusal, refusal.code(), ours, None, out);
    }

    fn answer(
        mut self,
        kind: Kind,
        code: u16,
        ours: &Handshake,
        heard: Option<LogPosition>,
        out: &mut Vec<u8>,
    ) {
        let tail_bytes = IDENTITY_BYTES + if heard.is_some() { POSITION_BYTES } else { 0 } + MAC_BYTES;
        let head = Head::new(kind, code, tail_bytes, [0; NONCE_BYTES]);
        self.transcript.say(&head, ours, heard, &self.secret, out);
    }
}
