//! The handshake of a link over a socket, from both ends: sends and receives the frames, and defines why a
//! handshake fails. The content of the frames and the proofs are in `synod_net::peer`.

use crate::identity::SecretBook;
use crate::random::random;
use crate::runtime::links::RefusedLink;
use crate::runtime::stream::Stream;
use futures_lite::io::{AsyncReadExt, AsyncWriteExt};
use std::time::Duration;
use synod_net::peer::{
    self as wire, Acceptor, HANDSHAKE_HEAD_BYTES, Handshake, HandshakeError, Head, Initiator, LinkRefusal,
    Nonce, Proved, Welcomed,
};

/// The limit for a handshake, and for a step of it that is awaited by itself.
pub(super) const HANDSHAKE_LIMIT: Duration = Duration::from_millis(2000);

/// The reason why a handshake failed.
pub(super) enum LinkFailure {
    /// No process listens at the address.
    Absent,
    /// The other end is gone, or does not answer.
    Gone(String),
    /// The other end speaks another version.
    Version(HandshakeError),
    /// One of the ends refuses the link: this needs a log line.
    Refused {
        /// The end that refuses, and its reason.
        link: RefusedLink,
        /// The reason in words.
        why: String,
    },
    /// The other end answers and something else is wrong: this needs a log line.
    Wrong(String),
}

impl LinkFailure {
    /// The end that refuses the link, if one does.
    pub(super) fn refused(&self) -> Option<RefusedLink> {
        match self {
            Self::Refused { link, .. } => Some(*link),
            Self::Version(_) => Some(RefusedLink::Here(LinkRefusal::VersionMismatch)),
            Self::Absent | Self::Gone(_) | Self::Wrong(_) => None,
        }
    }
}

impl std::fmt::Display for LinkFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Absent => f.write_str("nothing listens there"),
            Self::Gone(why) => write!(f, "handshake: {why}"),
            Self::Version(error) => write!(f, "handshake: {error}"),
            Self::Refused { why, .. } | Self::Wrong(why) => f.write_str(why),
        }
    }
}

impl From<HandshakeError> for LinkFailure {
    fn from(error: HandshakeError) -> Self {
        let why = format!("handshake: {error}");
        match error {
            HandshakeError::Version { .. } => Self::Version(error),
            HandshakeError::Refused(refusal) => Self::Refused { link: RefusedLink::There(refusal), why },
            HandshakeError::OtherSecret | HandshakeError::Unproved => {
                Self::Refused { link: RefusedLink::Here(LinkRefusal::OtherSecret), why }
            }
            HandshakeError::Protocol(_) | HandshakeError::OutOfTurn => Self::Wrong(why),
        }
    }
}

/// The result of `work`, if `work` ends within `limit`.
pub(super) async fn within<T>(
    limit: Duration,
    what: &str,
    work: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    let late = async {
        glommio::timer::sleep(limit).await;
        Err(format!("{what} took longer than {} ms", limit.as_millis()))
    };
    futures_lite::future::or(work, late).await
}

/// Writes one frame of the handshake.
pub(super) async fn write_all<S: Stream>(stream: &mut S, bytes: &[u8]) -> Result<(), String> {
    stream.write_all(bytes).await.map_err(|error| format!("handshake: {error}"))
}

/// The accepting side of a handshake, up to the proof of the dialling node's identity.
pub(super) async fn prove<S: Stream>(secrets: &SecretBook, stream: &mut S) -> Result<Proved, LinkFailure> {
    let mut out = Vec::new();
    let (hello, _) = match read_frame(stream).await {
        Err(broken @ LinkFailure::Version(_)) => {
            wire::refuse_version(&mut out);
            send(stream, &mut out).await?;
            return Err(broken);
        }
        frame => frame?,
    };
    let acceptor = Acceptor::challenge(&hello, secrets.secrets(), nonce()?, &mut out)?;
    send(stream, &mut out).await?;
    let (intro, tail) = read_frame(stream).await?;
    let proved = acceptor.on_intro(&intro, &tail, &mut out);
    if proved.is_err() {
        let _ = send(stream, &mut out).await; // only informs the other end: the connection closes either way
    }
    Ok(proved?)
}

/// The dialling side of a handshake, as `mine`. Returns the answer of the other end.
pub(super) async fn introduce<S: Stream>(
    mine: Handshake,
    secrets: &SecretBook,
    stream: &mut S,
) -> Result<Welcomed, LinkFailure> {
    let mut out = Vec::new();
    let initiator = Initiator::hello(mine, secrets.secrets(), nonce()?, &mut out);
    send(stream, &mut out).await?;
    let (challenge, tail) = read_frame(stream).await?;
    let introduced = initiator.on_challenge(&challenge, &tail, &mut out);
    if introduced.is_err() {
        let _ = send(stream, &mut out).await; // only informs the other end, as above
    }
    let introduced = introduced?;
    send(stream, &mut out).await?;
    let (answer, tail) = read_frame(stream).await?;
    Ok(introduced.on_answer(&answer, &tail)?)
}

async fn read_frame<S: Stream>(stream: &mut S) -> Result<(Head, Vec<u8>), LinkFailure> {
    let gone = |error: std::io::Error| LinkFailure::Gone(error.to_string());
    let mut bytes = [0; HANDSHAKE_HEAD_BYTES];
    stream.read_exact(&mut bytes).await.map_err(gone)?;
    let head = Head::decode(&bytes)?;
    let mut tail = vec![0; head.tail_bytes()];
    stream.read_exact(&mut tail).await.map_err(gone)?;
    Ok((head, tail))
}

/// Sends the bytes in `out`, and empties `out`.
async fn send<S: Stream>(stream: &mut S, out: &mut Vec<u8>) -> Result<(), LinkFailure> {
    let sent = stream.write_all(out).await.map_err(|error| LinkFailure::Gone(error.to_string()));
    out.clear();
    sent
}

/// The kernel's generator needs no disk: the read does not block this thread.
fn nonce() -> Result<Nonce, LinkFailure> {
    random().map_err(|error| LinkFailure::Wrong(format!("cannot draw random bytes: {error}")))
}
