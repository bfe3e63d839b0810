//! The settings that a connection is given at its start: the server's identity, whom it lets in, how much one
//! client may use.

use crate::access::Access;
use crate::binary::ServerInfo;
use std::cell::RefCell;
use std::rc::Rc;
use synod_types::CoreId;

/// The version of Redis whose commands and texts this server follows; some clients choose features by it.
pub(super) const REDIS_VERSION: &str = "7.2.0";

/// The settings that all connections of a node share.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ServerConfig {
    /// The server's identity.
    pub info: ServerInfo,
    /// The port that INFO and HELLO name.
    pub port: u16,
    /// The core that serves the connection.
    pub core: CoreId,
    /// The admission of clients.
    pub access: Access,
    /// Further CONFIG GET parameters and their values, besides the built-in ones.
    pub parameters: Vec<(String, String)>,
    /// Bounds.
    pub limits: Limits,
    /// The reason why this node takes no writes at the moment, if there is one.
    pub notice: Notice,
}

/// The reason why a node takes no writes at the moment, as text; empty if it takes them. The shell sets it,
/// and refusals repeat it to clients. Clones share one text.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Notice(Rc<RefCell<String>>);

impl Notice {
    /// Replaces the text.
    pub fn set(&self, text: &str) {
        text.clone_into(&mut self.0.borrow_mut());
    }
    /// The text.
    pub fn text(&self) -> String {
        self.0.borrow().clone()
    }
    /// Whether the text is empty.
    pub fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }
}

/// The settings of one connection.
#[derive(Clone, Debug)]
pub struct ConnectionConfig {
    /// The settings that all connections share.
    pub server: Rc<ServerConfig>,
    /// The connection's number, unique on this node: CLIENT ID.
    pub id: u64,
    /// The client's address, for CLIENT INFO.
    pub peer_address: String,
    /// Whether that is an address of this machine.
    pub is_loopback: bool,
    /// The address it connected to.
    pub local_address: String,
}

/// Bounds of one connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Asks that may be open at once; more wait in the input buffer.
    pub open_asks_max: usize,
    /// Bytes that may wait to be sent before nothing more is read or parsed.
    pub out_bytes_soft: usize,
    /// Bytes that may wait to be sent, parked replies included, before values are answered with `Busy`
    /// instead of being kept.
    pub out_bytes_hard: usize,
    /// Bytes of one RESP command, all arguments together.
    pub command_bytes_max: usize,
    /// Arguments of one RESP command; [`LOCAL_ARGUMENTS_MAX`](super::LOCAL_ARGUMENTS_MAX) holds for commands
    /// about the server.
    pub arguments_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            open_asks_max: 1024,
            out_bytes_soft: 4 << 20,
            out_bytes_hard: 64 << 20,
            command_bytes_max: 8 << 20,
            arguments_max: 1 << 16,
        }
    }
}
