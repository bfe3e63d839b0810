//! The client protocol, version 1: hand-packed little-endian frames under a CRC32C. docs/wire-format.md
//! describes it for implementers in any language; this module may not do anything that the document does not
//! describe.
//!
//! ```text
//!  client                                     server
//!    PREAMBLE ─────────────────────────────────▶      once, first
//!    request frames, any number in flight ─────▶
//!    ◀────────────────────── response frames, in any order, matched by request id
//! ```

mod codes;
mod frame;
mod info;
mod request;
mod response;
#[cfg(test)]
pub(crate) mod tests;

pub use codes::{FailureCode, error_code, error_of_code};
pub use frame::{FRAME_BYTES_MAX, HEADER_BYTES};
pub(crate) use frame::{frame_bytes, split};
pub use info::{
    Durability, GROUPS_NOT_READY, GroupRole, GroupState, NodeStatus, PEER_REFUSED, REFUSED_BY_PEER,
    ServerInfo, Topology, TopologyGroup, TopologyNode,
};
pub use request::{
    Decoded, Request, decode_request, encode_auth, encode_hello, encode_open_session, encode_ping,
    encode_request, encode_status, encode_topology, is_binary,
};
pub use response::{
    Response, ResponseBody, ResponseBodyRef, ResponseDecoder, ResponseRef, encode_failure,
    encode_hello_answer, encode_ok, encode_pong, encode_reply, encode_status_answer, encode_topology_answer,
};

/// The first bytes that a client sends. The first byte begins no RESP command, no inline command and no HTTP
/// request, so that one port can serve them all; the last two are the protocol version, little-endian.
pub const PREAMBLE: [u8; 8] = [0xF5, b'S', b'Y', b'N', b'O', b'D', 1, 0];
