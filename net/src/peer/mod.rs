//! Node to node: a handshake in which both ends prove that they belong together, then frames around archived
//! messages.
//!
//! Here a peer's bytes become messages. Checksum, archive, spans, every entry and every limit are checked
//! here, once; after that the data is read in place. One allocation holds a frame; its payloads are slices of
//! it.

mod check;
mod frame;
mod handshake;
mod head;
mod identity;
mod secret;
#[cfg(test)]
mod tests;

pub use frame::{Decoder, FRAME_HEADER_BYTES, encode, encode_head};
pub use handshake::{Acceptor, Initiator, Introduced, Proved, Welcomed};
pub use head::{HANDSHAKE_HEAD_BYTES, HandshakeError, Head, Nonce, PEER_VERSION, refuse_version};
pub use identity::{Handshake, KnownPeer, LinkRefusal};
pub use secret::{PeerSecret, RotateError, SECRET_BYTES, SECRETS_TEXT_BYTES_MAX, Secrets};
