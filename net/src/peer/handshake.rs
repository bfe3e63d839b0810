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
//! `head` and `identity` have the bytes.

use super::head::{
    HANDSHAKE_HEAD_BYTES, HandshakeError, HandshakeKind, Head, NONCE_BYTES, Nonce, POSITION_BYTES,
    refuse_unproved,
};
use super::identity::{Handshake, IDENTITY_BYTES, LinkRefusal};
use super::secret::{MAC_BYTES, PeerSecret, Secrets};
use crate::error::ProtocolError;
use crate::wire::{Put, Reader};
use synod_types::LogPosition;

/// Proofs begin with this, so that a secret that is also used elsewhere proves nothing here.
const LABEL: &[u8] = b"synod peer link\0";

/// The contents of a frame besides its kind.
struct HandshakeContents {
    identity: Handshake,
    /// In a welcome.
    heard: LogPosition,
}

/// An acceptor that has proved its identity and is not judged yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Welcomed {
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
        assert!(out.len() == at + HANDSHAKE_HEAD_BYTES + head.tail_bytes());
    }

    /// Takes such a frame. Returns its contents and the one of `secrets` that proves it.
    fn hear<'s>(
        &mut self,
        head: &Head,
        tail: &[u8],
        secrets: impl IntoIterator<Item = &'s PeerSecret>,
    ) -> Result<(HandshakeContents, &'s PeerSecret), HandshakeError> {
        let said = head.tail_bytes().checked_sub(MAC_BYTES).ok_or(ProtocolError::Length)?;
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
        Ok((HandshakeContents { identity: Handshake::decode(identity)?, heard }, secret))
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
        Head::new(HandshakeKind::Hello, 0, 0, nonce).encode(out);
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
            HandshakeKind::Challenge => {}
            HandshakeKind::Refusal => return Err(refused_unproved(head)),
            _ => return Err(HandshakeError::OutOfTurn),
        }
        head.encode(&mut self.transcript.0);
        let made =
            |secret: &&PeerSecret| tail.chunks(MAC_BYTES).any(|mac| secret.made(mac, &self.transcript.0));
        let Some(secret) = self.secrets.all().find(made).cloned() else {
            refuse_unproved(out, LinkRefusal::OtherSecret);
            return Err(HandshakeError::OtherSecret);
        };
        self.transcript.0.extend_from_slice(tail);
        let head = Head::new(HandshakeKind::Intro, 0, IDENTITY_BYTES + MAC_BYTES, [0; NONCE_BYTES]);
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
    pub fn on_answer(mut self, head: &Head, tail: &[u8]) -> Result<Welcomed, HandshakeError> {
        match head.kind {
            HandshakeKind::Welcome | HandshakeKind::Refusal if tail.is_empty() => {
                return Err(refused_unproved(head));
            }
            HandshakeKind::Welcome | HandshakeKind::Refusal => {}
            _ => return Err(HandshakeError::OutOfTurn),
        }
        let (HandshakeContents { identity: theirs, heard }, _) =
            self.transcript.hear(head, tail, [&self.secret])?;
        match head.kind {
            HandshakeKind::Welcome => Ok(Welcomed { theirs, secret: self.secret, heard }),
            _ => Err(HandshakeError::Refused(LinkRefusal::of_code(head.code).ok_or(ProtocolError::Kind)?)),
        }
    }
}

/// A refusal without a proof. Any machine can send one, so its only effect may be a later attempt.
fn refused_unproved(head: &Head) -> HandshakeError {
    match LinkRefusal::of_code(head.code) {
        Some(
            reason @ (LinkRefusal::VersionMismatch | LinkRefusal::OtherSecret | LinkRefusal::Unavailable),
        ) => HandshakeError::Refused(reason),
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
        if hello.kind != HandshakeKind::Hello {
            return Err(HandshakeError::OutOfTurn);
        }
        let mut transcript = Transcript::new();
        hello.encode(&mut transcript.0);
        let tail_bytes = secrets.all().count() * MAC_BYTES;
        let at = out.len();
        Head::new(HandshakeKind::Challenge, 0, tail_bytes, nonce).encode(out);
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
            HandshakeKind::Intro => {}
            HandshakeKind::Refusal => return Err(refused_unproved(head)),
            _ => return Err(HandshakeError::OutOfTurn),
        }
        let (theirs, secret) = self.transcript.hear(head, tail, self.secrets.all()).inspect_err(|error| {
            if *error == HandshakeError::Unproved {
                refuse_unproved(out, LinkRefusal::OtherSecret);
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
        self.answer(HandshakeKind::Welcome, 0, ours, Some(heard), out);
    }

    /// Appends a refusal. It contains our identity, so that the other side's log can name the node.
    pub fn refuse(self, ours: &Handshake, refusal: LinkRefusal, out: &mut Vec<u8>) {
        self.answer(HandshakeKind::Refusal, refusal.code(), ours, None, out);
    }

    fn answer(
        mut self,
        kind: HandshakeKind,
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
