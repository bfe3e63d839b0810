//! The client library: routing to the core that leads, sessions so that a retry is not executed twice,
//! bounded retries.
//!
//! ```text
//!  Client (blocking, std sockets) ─┐  bytes, time
//!  any other runtime ──────────────┴─────────────▶ Core (sans-I/O) ─▶ Action::{Connect, Send, …, Done}
//!                                                    ├ links: connections, what is asked on each
//!                                                    └ operations and sessions: routed, judged, tried again
//! ```
//!
//! A caller gets a reply, or an error that says whether the command was certainly not executed. An unknown
//! outcome is [`ClientError::Unknown`], never a failure.

mod action;
mod address;
mod blocking;
mod config;
mod error;
mod link;
mod links;
mod machine;
mod operation;
mod session;
#[cfg(test)]
mod tests;

pub use action::{Action, Outcome};
pub use address::{Address, BadAddress};
pub use blocking::{Client, ConnectError, Dial, Stream, TcpDial, TimeToLive};
pub use config::ClientConfig;
pub use error::ClientError;
pub use machine::Core;
