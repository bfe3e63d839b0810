//! Node to node: a handshake in which both ends prove that they belong together, then frames around archived
//! messages.
//!
//! Here a peer's bytes become messages. Checksum, archive, spans, every entry and every limit are checked
//! here, once; after that the data is read in place. One allocation holds a frame; its payloads are slices of
//! it.

mod check;
mod frame;
mod handshake;
mod secret;
#[cfg(test)]
mod tests;

pub use frame::{Decoder, FRAME_HEADER_BYTES, encode, encode_head};
pub use handshake::{
    Acceptor, Answer, HANDSHAKE_HEAD_BYTES, Handshake, HandshakeError, Head, Initiator, Introduced, Known,
    Nonce, PEER_VERSION, Proved, Refusal, refuse_version,
};
pub use secret::{PeerSecret, RotateError, SECRET_BYTES, SECRETS_TEXT_BYTES_MAX, Secrets};
