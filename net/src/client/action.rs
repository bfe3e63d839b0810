//! The actions that the client core asks for, and the outcomes of operations.

use super::address::Address;
use super::error::ClientError;
use crate::binary::{NodeStatus, Topology};
use std::fmt;
use synod_types::Reply;

/// An action that the core asks for.
#[derive(Clone, PartialEq, Eq)]
pub enum ClientAction {
    /// Connect; answer with [`ClientCore::connected`](super::ClientCore::connected) or
    /// [`ClientCore::disconnected`](super::ClientCore::disconnected).
    Connect(Address),
    /// Send on the connection.
    Send {
        /// The server.
        to: Address,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Close the connection; no answer is wanted.
    Disconnect(Address),
    /// An operation has ended.
    Done {
        /// Its number.
        operation: u64,
        /// Its result.
        result: Result<Outcome, ClientError>,
    },
}

/// `Debug` shows only how many bytes are sent: the first bytes on a connection contain the password.
impl fmt::Debug for ClientAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(to) => f.debug_tuple("Connect").field(to).finish(),
            Self::Send { to, bytes } => {
                f.debug_struct("Send").field("to", to).field("byte_count", &bytes.len()).finish()
            }
            Self::Disconnect(to) => f.debug_tuple("Disconnect").field(to).finish(),
            Self::Done { operation, result } => {
                f.debug_struct("Done").field("operation", operation).field("result", result).finish()
            }
        }
    }
}

/// The outcome of an operation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// A command's reply; never [`Reply::Error`].
    Reply(Reply<Vec<u8>>),
    /// The topology.
    Topology(Topology),
    /// A node's status.
    Status(NodeStatus),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Secret;
    use crate::client::{ClientConfig, ClientCore};
    use synod_types::Nanos;

    #[test]
    fn a_client_shows_its_password_to_its_server_alone() {
        let password = Some(Secret::new(b"Rosebud".to_vec()));
        let config = ClientConfig { password, ..ClientConfig::default() };
        let address = Address { host: "node1".into(), port: 6379 };
        let mut core = ClientCore::new(config.clone(), vec![address.clone()]);
        core.topology(Nanos::ZERO);
        assert_eq!(core.action(), Some(ClientAction::Connect(address.clone())));
        core.connected(Nanos::ZERO, &address);
        let with_the_word_to_be_sent = format!("{core:?}");
        let sent = core.action();
        let says_it = |bytes: &[u8]| bytes.windows(7).any(|part| part == b"Rosebud");
        assert!(matches!(&sent, Some(ClientAction::Send { bytes, .. }) if says_it(bytes)), "{sent:?}");
        let in_numbers = b"Rosebud".map(|byte| byte.to_string()).join(", ");
        for shown in [format!("{config:?}"), with_the_word_to_be_sent, format!("{sent:?}")] {
            assert!(!shown.contains("Rosebud") && !shown.contains(&in_numbers), "{shown}");
        }
    }
}
