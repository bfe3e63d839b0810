//! The server side of one client connection as a pure machine: bytes in, asks out; replies in, bytes out.
//!
//! ```text
//!  received(bytes) ─▶ ┌────────────┐ ─▶ next() ─▶ Ask::Command / Ask::Local / Ask::Close
//!                     │ Connection │
//!  out()  ◀────────── └────────────┘ ◀─ reply(tag, …) / answer(tag, …)
//! ```
//!
//! Contract with the shell:
//! - read from the socket into the room that `lend` gives, and give it back with `put` (or hand bytes to `received`);
//! - after `put`, `received`, `received_end`, `reply`, `answer` and whenever part of `out` was sent, call `next` until it gives
//!   `None`: what was held back by a full connection, or because it is long, comes out then. Between two calls others may have
//!   their turn: no call does more than about a millisecond's work;
//! - each `Ask::Command` is answered by one `reply` (or by a `redirect` that was taken), each `Ask::Local` by one `answer`, in any order; RESP's own order is
//!   kept in here;
//! - send what is in `out` (swap it with an empty buffer); read the socket only while `wants_read`;
//! - once `closing`, send what is in `out` and close.
//!
//! What needs no shard (PING, HELLO, CLIENT, COMMAND, CONFIG, every error) is answered in here. An authentication state
//! stands before all dispatch. Memory is bounded: by [`Limits`], whatever the client sends or refuses to read.

mod about;
mod admin;
mod binary;
mod client_commands;
mod cluster;
#[cfg(test)]
mod cluster_tests;
mod commands;
mod connection;
mod info;
mod job;
mod places;
mod resp;
mod shapes;
mod slots;
#[cfg(test)]
pub(crate) mod tests;
mod transaction;

use crate::access::Access;
use crate::binary::{NodeStatus, ServerInfo, Topology};
use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;
use synod_types::{Command, Consistency, CoreId, GroupId, NodeId, Shared};

pub use cluster::ClusterQuery;
pub use connection::Connection;

/// Names an open ask of one connection; the shell keeps it beside its own request id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Tag(u64);

impl Tag {
    /// Wraps a raw number that [`Tag::get`] gave.
    pub const fn new(raw: u64) -> Self {
        Self(raw)
    }
    /// The raw number, to be carried through a queue.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// What a connection wants done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ask {
    /// Execute a command; answered by [`Connection::reply`].
    Command {
        /// Names it.
        tag: Tag,
        /// The group, where the client names one (opening a session); else it follows from the key.
        group: Option<GroupId>,
        /// How fresh a read must be.
        consistency: Consistency,
        /// The command: limits and value CRC are checked.
        command: Command<Shared>,
    },
    /// Tell something about the node; answered by [`Connection::answer`].
    Local {
        /// Names it.
        tag: Tag,
        /// What.
        query: LocalQuery,
    },
    /// Nothing: much was done without asking, and there is more. Call `next` again, after others have had their turn if this one
    /// has been long.
    Pause,
    /// Send what is in `out`, then close. Given once; [`Connection::closing`] says the same.
    Close,
}

/// What only the shell knows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LocalQuery {
    /// INFO: sections in lower case, none for the default ones. Answer with `Status` (rendered in here) or `Text`.
    Info {
        /// The sections asked for.
        sections: Vec<String>,
    },
    /// WAIT and WAITAOF: how many nodes beside the leader have what was acknowledged; answer with `Int`.
    Replicas {
        /// WAITAOF: one number for this node, one for the others.
        with_local: bool,
    },
    /// LASTSAVE: answer with `Time`.
    LastSave,
    /// Who leads what: answer with `Topology`.
    Topology,
    /// CLUSTER: answer with `Cluster`; it is rendered in here.
    Cluster(ClusterQuery),
    /// How the node is: answer with `Status`.
    Status,
    /// The wall clock: answer with `Time`.
    Time,
}

/// The shell's answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LocalAnswer {
    /// To `Info`, ready-made.
    Text(String),
    /// To `Replicas`.
    Int(i64),
    /// To `Topology`.
    Topology(Topology),
    /// To `Cluster`.
    Cluster(ClusterView),
    /// To `Status` and `Info`.
    Status(NodeStatus),
    /// To `Time` and `LastSave`: microseconds since the Unix epoch.
    Time {
        /// Microseconds.
        micros: u64,
    },
    /// To anything: not now, and why.
    Unavailable(String),
}

/// The cluster as the answering node sees it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ClusterView {
    /// Who leads what.
    pub topology: Topology,
    /// Cores of other nodes that this node has a link to.
    pub linked: Vec<(NodeId, CoreId)>,
    /// Log slots this node has applied, for each of the topology's groups in its order.
    pub applied: Vec<u64>,
}

/// What all connections of a node have in common.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ServerConfig {
    /// Who the server is.
    pub info: ServerInfo,
    /// The port INFO and HELLO name.
    pub port: u16,
    /// The core that serves the connection.
    pub core: CoreId,
    /// Whom it lets in.
    pub access: Access,
    /// Further CONFIG GET parameters and their values, besides the built-in ones.
    pub parameters: Vec<(String, String)>,
    /// Bounds.
    pub limits: Limits,
    /// What keeps this node from taking writes at the moment.
    pub notice: Notice,
}

/// What keeps a node from taking writes, in words; empty if nothing does. The shell sets it, refusals repeat it to clients. Its copies
/// are one.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Notice(Rc<RefCell<String>>);

impl Notice {
    /// Says something else from here on.
    pub fn set(&self, text: &str) {
        text.clone_into(&mut self.0.borrow_mut());
    }
    /// What it says.
    pub fn text(&self) -> String {
        self.0.borrow().clone()
    }
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }
}

/// One connection.
#[derive(Clone, Debug)]
pub struct ConnectionConfig {
    /// What all connections share.
    pub server: Rc<ServerConfig>,
    /// The connection's number, unique on this node: CLIENT ID.
    pub id: u64,
    /// The client's address, for CLIENT INFO.
    pub peer_address: String,
    /// Whether that is an address of this very machine.
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
    /// Bytes that may wait to be sent, parked replies included, before values are answered `Busy` instead of kept.
    pub out_bytes_hard: usize,
    /// Bytes of one RESP command, all arguments together.
    pub command_bytes_max: usize,
    /// Arguments of one RESP command. Of commands about the server [`LOCAL_ARGUMENTS_MAX`].
    pub arguments_max: usize,
}

/// Arguments of a RESP command that is not about keys (INFO, COMMAND, CONFIG, CLIENT and their like): all of them are looked at at
/// once, and none takes more than there are commands.
pub const LOCAL_ARGUMENTS_MAX: usize = 1024;

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

/// Operands from this length on are not copied out of the input.
const LEND_BYTES_MIN: usize = 2 << 10;

/// The command with key and operand in memory of its own. A long operand that lies in `input` is left out; where it lies is noted
/// in `lent`, for the connection to put it in without a copy.
fn own(command: Command<&[u8]>, input: &[u8], lent: &mut Option<Range<usize>>) -> Command<Shared> {
    let operand = command.operand;
    *lent = place_in(input, operand).filter(|_| operand.len() >= LEND_BYTES_MIN);
    let (key, operand) = if lent.is_some() || operand.is_empty() {
        (Shared::new(command.key.to_vec()), Shared::default())
    } else {
        let mut bytes = Vec::with_capacity(command.key.len() + operand.len());
        bytes.extend_from_slice(command.key);
        bytes.extend_from_slice(operand);
        let both = Shared::new(bytes);
        (both.slice(0, command.key.len()), both.slice(command.key.len(), operand.len()))
    };
    Command { namespace: command.namespace, key, op: command.op, operand, stamp: command.stamp }
}

/// Where `part` lies in `whole`, if it does.
fn place_in(whole: &[u8], part: &[u8]) -> Option<Range<usize>> {
    let start = (part.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)?;
    let end = start.checked_add(part.len())?;
    (end <= whole.len()).then_some(start..end)
}
