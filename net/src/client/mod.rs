//! The client library: routing to the leader's own core, sessions so that a retry is executed once, bounded retries.
//!
//! ```text
//!  Client (blocking, std sockets) ─┐  bytes, time
//!  any other runtime ──────────────┴──────────────▶ Core (sans-I/O) ─▶ Action::{Connect, Send, Disconnect, Done}
//! ```
//!
//! What a caller is told: a reply; or an error that says whether the command was certainly not executed. An outcome that is
//! not known is [`ClientError::Unknown`], never a failure.

mod action;
mod address;
mod blocking;
mod link;
mod machine;
mod session;
#[cfg(test)]
mod tests;

pub use action::{Action, Outcome};
pub use address::{Address, BadAddress};
pub use blocking::{Client, ConnectError, Dial, Stream, TcpDial, TimeToLive};
pub use machine::Core;

use crate::access::Secret;
use crate::binary::Failure;
use synod_types::{ErrorKind, Nanos};

/// How a client behaves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientConfig {
    /// An operation is given up after this long.
    pub deadline: Nanos,
    /// A single attempt is given up after this long, and the connection it was sent on is closed. Longer than a server's
    /// own patience, so that its answer comes first.
    pub attempt_timeout: Nanos,
    /// An operation is given up after this many attempts.
    pub attempts_max: u32,
    /// Pause before the second attempt; doubles with each, up to [`ClientConfig::pause_max`].
    pub pause: Nanos,
    /// Longest pause between two attempts.
    pub pause_max: Nanos,
    /// The topology is asked for again after this long.
    pub topology_refresh: Nanos,
    /// Whether writes go through sessions, so that a retry is executed once. Without, a write whose outcome is not known
    /// is not retried.
    pub sessions: bool,
    /// Whether to talk to leaders directly. Without, everything goes to the addresses given, which forward.
    pub routing: bool,
    /// The password, if the cluster has one.
    pub password: Option<Secret>,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            deadline: Nanos::from_ms(10_000),
            attempt_timeout: Nanos::from_ms(5_000),
            attempts_max: 100,
            pause: Nanos::from_ms(5),
            pause_max: Nanos::from_ms(500),
            topology_refresh: Nanos::from_ms(10_000),
            sessions: true,
            routing: true,
            password: None,
        }
    }
}

/// Why an operation has no reply.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ClientError {
    /// The write may or may not have taken effect, now or later.
    #[error("the outcome is not known: the write may or may not have taken effect")]
    Unknown,
    /// Certainly not executed: the cluster would not take it in time.
    #[error("not executed: {0:?} until the deadline")]
    NotExecuted(ErrorKind),
    /// Certainly not executed: no server could be reached in time.
    #[error("not executed: no server could be reached")]
    Unreachable,
    /// The server's final word: nothing was changed, and a retry would not help.
    #[error("refused: {kind:?} {text}")]
    Refused {
        /// Why.
        kind: ErrorKind,
        /// What the server says about it.
        text: String,
    },
    /// Certainly not executed: the server wants another password.
    #[error("not executed: the server refuses the connection ({0:?})")]
    NotAdmitted(Failure),
    /// Certainly not executed: key or value is over the limit or empty.
    #[error("not executed: key or value is over the limit, or the key is empty")]
    OverLimit,
    /// The server answered something that is no answer to this operation.
    #[error("the server's answer does not fit the operation")]
    WrongAnswer,
}
