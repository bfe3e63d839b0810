//! The questions that a connection asks the shell, and the shell's answers.

use super::info::InfoField;
use crate::binary::{NodeStatus, Topology};
use synod_types::{Command, Consistency, CoreId, GroupId, NodeId, Shared};

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

/// A request of a connection to the shell.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ask {
    /// Execute a command; answered by [`Connection::reply`](super::Connection::reply).
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
    /// Tell something about the node; answered by [`Connection::answer`](super::Connection::answer).
    Local {
        /// Names it.
        tag: Tag,
        /// The question.
        query: LocalQuery,
    },
    /// Nothing: much was done without asking, and there is more. Call `next` again, after other connections
    /// have had their turn if this one has been long.
    Pause,
    /// Send the bytes in `out`, then close. Given once; [`Connection::closing`](super::Connection::closing)
    /// says the same.
    Close,
}

/// A question that only the shell can answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LocalQuery {
    /// INFO: sections in lower case, none for the default ones. Answer with `Info`: all fields.
    Info {
        /// The sections asked for.
        sections: Vec<String>,
    },
    /// WAIT and WAITAOF: how many nodes beside the leader hold the acknowledged writes; answer with `Int`.
    Replicas {
        /// WAITAOF: one number for this node, one for the others.
        with_local: bool,
    },
    /// CONFIG RESETSTAT: answer with `Done` once INFO counts from here on.
    ResetStat,
    /// LASTSAVE: answer with `Time`.
    LastSave,
    /// Which node leads each group: answer with `Topology`.
    Topology,
    /// CLIENT LIST and INFO: answer with `Text`, a line for each connection as
    /// [`Connection::describe`](super::Connection::describe) writes it.
    Clients {
        /// The numbers of the connections; `None` for all.
        ids: Option<Vec<u64>>,
    },
    /// CLUSTER: answer with `Cluster`; it is rendered in here.
    Cluster(ClusterQuery),
    /// The state of the node: answer with `Status`.
    Status,
    /// The wall clock: answer with `Time`.
    Time,
}

/// The shell's answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LocalAnswer {
    /// To `Clients`.
    Text(String),
    /// To `Info`.
    Info(Vec<InfoField>),
    /// To `ResetStat`.
    Done,
    /// To `Replicas`.
    Int(i64),
    /// To `Topology`.
    Topology(Topology),
    /// To `Cluster`.
    Cluster(ClusterView),
    /// To `Status`.
    Status(NodeStatus),
    /// To `Time` and `LastSave`: microseconds since the Unix epoch.
    Time {
        /// Microseconds.
        micros: u64,
    },
    /// To any query: it cannot be answered now, and why.
    Unavailable(String),
}

/// The cluster as the answering node sees it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ClusterView {
    /// Which node leads each group.
    pub topology: Topology,
    /// Cores of other nodes that this node has a link to.
    pub linked: Vec<(NodeId, CoreId)>,
    /// Log slots this node has applied, for each of the topology's groups in its order.
    pub applied: Vec<u64>,
}

/// A question about the cluster that the topology answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClusterQuery {
    pub(super) ask: ClusterAsk,
    /// The address at which the client reached this node: given instead of one that means "every interface".
    pub(super) reached_at: String,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum ClusterAsk {
    Slots,
    Shards,
    Nodes,
    Info,
    MyId,
    MyShardId,
    Links,
    /// Of the master with this id.
    Replicas(String),
}
