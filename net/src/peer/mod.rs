//! Node to node: a handshake in which both ends prove that they belong together, then frames around archived messages.
//!
//! This is the border at which a peer's bytes become messages. Everything is checked here, once, and read in place after
//! that: checksum, archive, spans, every entry, every limit. One allocation holds a frame; its payloads are slices of it.

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
