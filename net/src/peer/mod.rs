//! Node to node: a handshake that proves both ends belong together, then frames around archived messages.
//!
//! This is the border at which a peer's bytes become messages. Everything is checked here, once, and read in place after
//! that: checksum, archive, spans, every entry, every limit. One allocation holds a frame; its payloads are slices of it.

mod check;
mod frame;
mod handshake;
#[cfg(test)]
mod tests;

pub use frame::{Decoder, FRAME_HEADER_BYTES, encode, encode_head};
pub use handshake::{
    HANDSHAKE_BYTES, Handshake, HandshakeFrame, Known, PEER_VERSION, Refusal, decode_handshake, encode_hello,
    encode_refusal, encode_welcome,
};
