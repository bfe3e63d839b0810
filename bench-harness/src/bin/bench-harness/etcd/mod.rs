//! The load for etcd: the keys, values, verification and histogram of `synod-loadgen`, over etcd's own gRPC
//! API.
//!
//! ```text
//!   load ─▶ state (what to ask next, what an answer means) ─▶ api (gRPC)
//! ```
//! The generator's own driver works on the bytes of protocols that it encodes itself, and HTTP/2 is not one
//! of them. So this is a closed loop of its own, one thread like the generator's, and its processor time per
//! request is shown beside the generator's.

mod api;
mod load;
mod state;

pub use load::load;
