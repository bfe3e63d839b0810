//! The inputs of a core and the effects it asks for: one closed enum each.
//!
//! Contract: the caller executes every effect that a [`crate::Shard::step`] pushed before it makes the next
//! step. Time never goes back. `now` is read after the turn's last input was received.

use alloc::vec::Vec;
pub use synod_paxos::{AheadLimits, Role, Timing};
use synod_types::{
    Ballot, Boot, Command, Consistency, CoreId, Event, GroupConfig, GroupId, Level, Location, LogRoom, Lsn,
    Nanos, NodeId, PeerMessage, RecordHead, Reply, RequestId, Slot, WallMs,
};

/// Identifies a read that is under way.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ReadToken(pub u64);

/// The log could not give the bytes back: an I/O error, a location that does not exist, or a damaged record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReadFailed;

/// The number of a request that was forwarded to the leader ([`PeerMessage::Forward`]).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ForwardId(pub u64);

/// The number of a ReadIndex question ([`PeerMessage::ReadIndex`]).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ReadIndexId(pub u64);

/// A message whose answer a core awaits: the core must hear of it if the message was not sent.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Unsent {
    /// A forwarded request.
    Forward(ForwardId),
    /// A ReadIndex question.
    ReadIndex(ReadIndexId),
}

impl Unsent {
    /// Identifies a message that was not sent; none for messages that are repeated anyway.
    pub fn of<P>(message: &PeerMessage<P>) -> Option<Self> {
        match message {
            PeerMessage::Forward { id, .. } => Some(Self::Forward(ForwardId(*id))),
            PeerMessage::ReadIndex { id, .. } => Some(Self::ReadIndex(ReadIndexId(*id))),
            _ => None,
        }
    }
}

/// Everything that can happen to a core.
#[derive(Debug)]
pub enum Input<P> {
    /// A client's request. `id` is open until its `Effect::Reply`; exactly one is pushed for each.
    Request {
        /// The shell's id for it.
        id: RequestId,
        /// The group of its key: one that this core holds.
        group: GroupId,
        /// How fresh a read must be.
        consistency: Consistency,
        /// The command. It was checked when it was received; one that is malformed nevertheless is answered
        /// [`synod_types::ErrorKind::Malformed`].
        command: Command<P>,
    },
    /// A message of a peer core, checked when it was received.
    Peer {
        /// The peer.
        from: NodeId,
        /// The message.
        message: PeerMessage<P>,
    },
    /// The record of an `Effect::Append` has its place. Given right after the effect was executed, in order.
    Appended {
        /// Which record.
        lsn: Lsn,
        /// Where its payload (not its head) will lie; readable from now on, durable later.
        payload_at: Location,
    },
    /// Every record up to here is on disk. The shell may give this before or after it sends the `then`
    /// messages of those records.
    Durable {
        /// The last durable record.
        lsn: Lsn,
    },
    /// An `Effect::Read` or `Effect::ReadEntry` is answered.
    ReadDone {
        /// Which.
        token: ReadToken,
        /// The bytes.
        result: Result<P, ReadFailed>,
    },
    /// A peer's values for a group ([`synod_types::GroupMessage::Learn`]) came and were dropped, because too much
    /// waits for this node's disk.
    Dropped {
        /// The peer.
        from: NodeId,
        /// The group.
        group: GroupId,
    },
    /// The link to a peer broke: messages sent on it since an unknown point are lost, and answers will not
    /// come.
    LinkLost {
        /// The peer.
        node: NodeId,
    },
    /// A message was not sent, because there was no link or no room on it: the peer does not have it. Given
    /// for the messages that [`Unsent::of`] identifies.
    Unsent(Unsent),
    /// The room in the log, given whenever it has changed and before any input that may fill the log. Until
    /// the first of these inputs the room counts as unlimited.
    Room {
        /// The room.
        room: LogRoom,
    },
    /// Transfer the leadership of a group to a peer. Only a request: nothing happens if this replica does not
    /// serve the group or the peer is not ready to lead.
    TransferLeadership {
        /// The group.
        group: GroupId,
        /// The peer.
        target: NodeId,
    },
    /// The node is about to stop, for good: whatever is led here is handed over, and nothing more is taken
    /// ([`Shard::has_left`](crate::Shard::has_left) says when). The core goes on serving until it is dropped.
    Leave,
    /// Time passed. Given about every 5 ms.
    Tick,
    /// The turn has no more inputs: gathered writes are proposed, and coalesced messages are pushed.
    TurnEnd,
}

/// Everything a core can ask for.
#[derive(Debug)]
pub enum Effect<'a, P> {
    /// Write `head ++ payload` to the log. Records become durable in the order of their numbers.
    Append {
        /// The record's number: 1, 2, 3, … since the shard was made.
        lsn: Lsn,
        /// The head.
        head: RecordHead,
        /// The entry, if the record carries one.
        payload: Option<P>,
        /// Messages to send once the record is durable, never before (rule P-01).
        then: Vec<(NodeId, PeerMessage<P>)>,
    },
    /// Send to the peer core that holds the same groups. May be lost.
    Send {
        /// The peer; never this node.
        to: NodeId,
        /// The message.
        message: PeerMessage<P>,
    },
    /// Answer a request.
    Reply {
        /// Which.
        to: RequestId,
        /// The answer; borrowed bytes are valid during the push only.
        reply: Reply<&'a [u8]>,
    },
    /// Nothing was done about a read: its requester has no room for the value ([`Sink::reserve`]). The request
    /// is over. It is to be made anew when there is room.
    AskAgain {
        /// Which.
        to: RequestId,
        /// As it was asked.
        consistency: Consistency,
        /// As it was asked.
        command: Command<P>,
        /// The length of the value.
        bytes: usize,
    },
    /// Read bytes of the log back; answered by one `Input::ReadDone`. The core checks them against a
    /// checksum.
    Read {
        /// Echoed.
        token: ReadToken,
        /// Which bytes.
        location: Location,
    },
    /// Read the whole payload of a record back and check it against the record's checksum; answered by one
    /// `Input::ReadDone`, with a failure if the record is damaged.
    ReadEntry {
        /// Echoed.
        token: ReadToken,
        /// Where the payload lies, as `Input::Appended` said.
        location: Location,
    },
}

/// Values up to this length are sent without asking for room: a request counts as much while it is under way.
pub const FREE_REPLY_BYTES: usize = 4 << 10;

/// Where effects go.
pub trait Sink<P> {
    /// Takes one effect.
    fn push(&mut self, effect: Effect<'_, P>);
    /// Reserves room for the value of so many bytes that answers a request, until the reply. Room that was
    /// reserved for the same request before counts. False if there is no room now. Asked before the value is
    /// read, for values longer than [`FREE_REPLY_BYTES`]. Most sinks have room.
    fn reserve(&mut self, to: RequestId, bytes: usize) -> bool {
        let _ = (to, bytes);
        true
    }
    /// Takes an event for the operator. Most sinks have no operator.
    fn tell(&mut self, event: Event) {
        let _ = event;
    }
}

impl<P, F: FnMut(Effect<'_, P>)> Sink<P> for F {
    fn push(&mut self, effect: Effect<'_, P>) {
        self(effect);
    }
}

/// The configuration of one core.
#[derive(Clone, Debug)]
pub struct ShardConfig {
    /// This node.
    pub node: NodeId,
    /// This core.
    pub core: CoreId,
    /// The groups this core holds.
    pub groups: Vec<GroupConfig>,
    /// Protocol timing.
    pub timing: Timing,
    /// Budget of the slab cache, bytes.
    pub cache_bytes: usize,
    /// Bytes of peers' requests that may wait in one group before it answers them `Busy`; they are sent again
    /// later. What clients send is bounded by the shell.
    pub pending_bytes_max: usize,
    /// Payload bytes of this core that may wait for the disk before nothing new is proposed.
    pub log_backlog_bytes_max: usize,
    /// Slots of one group that may be in flight; beyond that, arriving writes gather into the next batch.
    pub pipeline_slots: u64,
    /// When leadership moves without a failure.
    pub leadership: Leadership,
    /// Limits on what each group keeps above its applied prefix.
    pub ahead: AheadLimits,
    /// The level that this node reads.
    pub level: Level,
    /// This start of the node's process.
    pub boot: Boot,
    /// Seeds election jitter and hashing; drawn by the shell.
    pub seed: u64,
}

/// When leadership moves without a failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Leadership {
    /// Leaders do not move.
    #[default]
    Stay,
    /// Leadership follows the load: it goes to the node that most of a group's requests come from.
    Follow(FollowLoad),
    /// Leadership goes to the preferred nodes of the groups ([`GroupConfig::preferred`]), one group at a
    /// time.
    Balance,
}

/// When a leader hands over to another node: at least three quarters of the group's requests have come
/// through that node in two consecutive windows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FollowLoad {
    /// How long one window of counting requests lasts.
    pub window: Nanos,
    /// Windows with fewer requests for a group say nothing about it.
    pub requests_min: u64,
}

impl FollowLoad {
    /// The figures of a node.
    pub const DEFAULT: Self = Self { window: Nanos::from_ms(500), requests_min: 32 };
}

impl Default for FollowLoad {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// One group as `status`, INFO and the simulator's checkers see it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GroupStatus {
    /// The group.
    pub group: GroupId,
    /// This replica's role.
    pub role: Role,
    /// The leader this replica believes in.
    pub leader: Option<NodeId>,
    /// Whether this replica serves: it leads and has applied all that was chosen before it led.
    pub serving: bool,
    /// Highest ballot promised.
    pub promised: Ballot,
    /// Contiguous chosen prefix.
    pub chosen: Slot,
    /// Applied up to here.
    pub applied: Slot,
    /// Time up to which expiry has been judged.
    pub applied_ts: WallMs,
    /// By how much the group's clock is ahead of the wall clocks that agree, milliseconds; none if this
    /// replica does not lead, or too few clocks agree.
    pub clock_skew_ms: Option<i64>,
    /// Keys held. An expired key counts until it is swept.
    pub keys: u64,
    /// Those of them that have an expiry.
    pub expiring: u64,
    /// How often this replica saw the leader change since it started (a first leader is not a change).
    pub leader_changes: u64,
}

/// Why a log cannot be replayed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReplayError {
    /// Records of a group are missing, or are there twice.
    #[error("{group}: its record {wanted} was expected, {found} was found: a part of the log is missing")]
    Missing {
        /// The group.
        group: GroupId,
        /// The number expected.
        wanted: u64,
        /// The number found.
        found: u64,
    },
    /// A record of a group that this core does not hold: cores and groups are fixed at format.
    #[error("{group} is none of this core's")]
    Alien {
        /// The group.
        group: GroupId,
    },
    /// A malformed mark.
    #[error("a mark is malformed")]
    Malformed,
    /// The log was continued by a later build.
    #[error(
        "{group} is at {found} and this synod reads up to {known}; \
         start it with the synod that wrote the log, or a later one"
    )]
    Level {
        /// The group.
        group: GroupId,
        /// The level found.
        found: Level,
        /// The highest level that this node reads.
        known: Level,
    },
}
