//! Why bytes from a socket were refused. All of these end the connection: after them no frame boundary can be trusted.

use synod_types::EntryError;

/// Bytes that break the protocol. The connection they came from is to be closed.
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
    /// A checksum does not fit the bytes.
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
