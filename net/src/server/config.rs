//! The settings that a connection is given at its start: the server's identity, whom it lets in, how much one
//! client may use.

use super::counts::CommandCounts;
use crate::access::Access;
use crate::binary::ServerInfo;
use crate::resp::error_line::ErrorLine;
use crate::resp::spec::Spec;
use std::borrow::Cow;
use std::cell::RefCell;
use std::rc::Rc;
use synod_types::{CoreId, GroupId};

/// The version of Redis whose commands and texts this server follows; some clients choose features by it.
pub const REDIS_VERSION: &str = "7.2.0";

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
    /// What CONFIG GET shows of the shell's settings.
    pub shown: ShownSettings,
    /// The core's counts of commands and errors.
    pub counts: CommandCounts,
    /// Bounds.
    pub limits: Limits,
    /// The groups that a cluster client finds at this core's own port.
    pub own_groups: OwnGroups,
    /// The reason why this node takes no writes at the moment, if there is one.
    pub notice: Notice,
}

/// What CONFIG GET shows of the shell's settings.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ShownSettings {
    /// Client connections that the node takes at once, all its cores together.
    pub clients_max: u64,
    /// The address it listens on.
    pub bind: String,
    /// Seconds of silence after which the kernel probes a client; 0 never.
    pub tcp_keepalive_s: u32,
    /// Its data directory.
    pub dir: String,
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

/// How much a connection is served.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Service {
    /// Everything.
    #[default]
    Full,
    /// The connection is beyond the limit on connections. A client of another machine is told so and
    /// disconnected. A client of this machine may ask about the server, so that an operator can find out who
    /// holds the connections; with any other command it is told and disconnected, too. One that was not told
    /// yet may get a place within the limit later.
    Spare,
    /// The node replays its log: whatever needs the keys is answered with an error.
    Loading,
    /// The node is about to stop: a request of the binary protocol is not executed, and its answer says so. RESP has
    /// no such answer.
    Leaving,
}

/// The answer to a connection beyond the limit, in Redis' words.
const OVER_LIMIT: &str = "ERR max number of clients reached";
/// The same as a whole reply, for a client whose protocol is not known.
pub const CONNECTION_REFUSED: &[u8] = b"-ERR max number of clients reached\r\n";
/// The answer to a command on keys while the log is replayed; clients know its first word.
const LOADING: ErrorLine = Cow::Borrowed("LOADING Synod is loading the dataset in memory");

impl Service {
    /// Checks that a command of RESP is served.
    ///
    /// # Errors
    /// The error line to answer with.
    pub(super) fn admits(self, row: &Spec) -> Result<(), ErrorLine> {
        match self {
            Self::Spare if !row.is_about_the_server() => Err(Cow::Borrowed(OVER_LIMIT)),
            Self::Loading if !row.flags.contains(&"loading") => Err(LOADING),
            Self::Full | Self::Spare | Self::Loading | Self::Leaving => Ok(()),
        }
    }
}

/// The groups whose slots CLUSTER SLOTS shows as those of this core, by number. The shell keeps it up to date.
/// Clones share one list.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OwnGroups(Rc<RefCell<Vec<bool>>>);

impl OwnGroups {
    /// Replaces the groups.
    pub fn set(&self, groups: impl IntoIterator<Item = GroupId>) {
        let mut own = self.0.borrow_mut();
        own.clear();
        for group in groups {
            let number = usize::from(group.get());
            if own.len() <= number {
                own.resize(number + 1, false);
            }
            own[number] = true;
        }
    }
    /// Whether the group with this number is among them.
    pub(super) fn contain(&self, group: u16) -> bool {
        self.0.borrow().get(usize::from(group)) == Some(&true)
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
    /// Whether that is the port of one core, where a cluster client finds that core's share of the keys. At
    /// any other port a client finds all keys.
    pub is_core_port: bool,
    /// How much it is served.
    pub service: Service,
}

/// Bounds of one connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Asks that may be open at once; more wait in the input buffer.
    pub open_asks_max: usize,
    /// Bytes that may wait to be sent, parked replies included, before nothing more is read or parsed and no
    /// further value of an MGET is asked.
    pub out_bytes_soft: usize,
    /// Bytes of keys that KEYS and the questions about one slot may gather.
    pub gathered_bytes_max: usize,
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
            gathered_bytes_max: 64 << 20,
            command_bytes_max: 8 << 20,
            arguments_max: 1 << 16,
        }
    }
}
