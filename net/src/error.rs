//! Why bytes from a socket were refused. Each of these errors ends the connection, because no frame boundary
//! after it can be trusted.

use synod_types::EntryError;

/// Bytes that break the protocol. The connection they came from must be closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProtocolError {
    /// The connection does not open with the expected magic.
    #[error("the peer does not speak this protocol (wrong magic)")]
    Magic,
    /// The other side speaks another version of the protocol.
    #[error("the peer speaks another version of the protocol")]
    Version,
    /// A frame is longer than the cap, or shorter than its own header.
    #[error("frame length out of bounds")]
    Length,
    /// A checksum does not match the bytes.
    #[error("checksum mismatch")]
    Checksum,
    /// A kind, flag or code that this version does not define.
    #[error("unknown kind, flag or code")]
    Kind,
    /// The fields of a frame do not add up to its length or are out of range.
    #[error("malformed frame body")]
    Body,
    /// The archive in a peer frame does not validate.
    #[error("malformed archive")]
    Archive,
    /// An entry in a peer frame is malformed.
    #[error("malformed entry: {0}")]
    Entry(EntryError),
    /// A key, a value or a list is over its limit.
    #[error("a limit is passed")]
    Limit,
}

/// Why a peer's bytes were refused and, as far as known, which message they were. The link must be closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RefusedMessage {
    /// The kind of the message.
    pub kind: Option<&'static str>,
    /// What is wrong with it.
    pub error: ProtocolError,
}

impl core::fmt::Display for RefusedMessage {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.kind {
            Some(kind) => write!(f, "{kind}: {}", self.error),
            None => self.error.fmt(f),
        }
    }
}

impl std::error::Error for RefusedMessage {}

impl From<ProtocolError> for RefusedMessage {
    fn from(error: ProtocolError) -> Self {
        Self { kind: None, error }
    }
}
