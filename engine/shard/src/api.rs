//! What can happen to a core, and all it can ask for: one closed input enum, one closed effect enum.
//!
//! Contract: one [`crate::Shard::step`], then the caller has executed every effect it pushed, then the next step. Time never
//! goes back. `now` is read after the turn's last input was received.

use alloc::vec::Vec;
pub use synod_paxos::{AheadLimits, Role, Timing};
use synod_types::{
    Ballot, Boot, Command, Consistency, CoreId, GroupConfig, GroupId, Level, Location, LogRoom, Lsn, Nanos,
    NodeId, PeerMessage, RecordHead, Reply, RequestId, Slot, WallMs,
};

/// Names a read that is under way.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ReadToken(pub u64);

/// The log could not give the bytes back: an I/O error, a location that does not exist, or a damaged record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReadFailed;

/// Everything that can happen to a core.
#[derive(Debug)]
pub enum Input<P> {
    /// A client asks. `id` is open until its `Effect::Reply`; exactly one is pushed for each.
    Request {
        /// The shell's name for it.
        id: RequestId,
        /// The group of its key: one that this core holds.
        group: GroupId,
        /// How fresh a read must be.
        consistency: Consistency,
        /// What is asked. A border says what is wrong with a command; one that is none all the same is answered
        /// [`synod_types::ErrorKind::Malformed`].
        command: Command<P>,
    },
    /// A peer core says something; checked at the border.
    Peer {
        /// Who.
        from: NodeId,
        /// What.
        message: PeerMessage<P>,
    },
    /// The record of an `Effect::Append` has its place. Given right after the effect was executed, in order.
    Appended {
        /// Which record.
        lsn: Lsn,
        /// Where its payload (not its head) will lie; readable from now on, durable later.
        payload_at: Location,
    },
    /// Every record up to here is on disk. Given before the `then` messages of those records are sent or after, as it
    /// pleases the shell.
    Durable {
        /// The last durable record.
        lsn: Lsn,
    },
    /// An `Effect::Read` came back.
    ReadDone {
        /// Which.
        token: ReadToken,
        /// The bytes.
        result: Result<P, ReadFailed>,
    },
    /// The link to a peer broke: messages sent on it since an unknown point are lost, answers will not come.
    LinkLost {
        /// The peer.
        node: NodeId,
    },
    /// A forwarded request, or a question for a read, was not sent, for want of a link or of room on it: nobody has it.
    Unsent {
        /// The number of its `PeerMessage::Forward` or `PeerMessage::ReadIndex`.
        forward: u64,
    },
    /// What the log has room for, whenever that has changed; before the input that may fill it. Until it is said there is no end to
    /// it.
    Room {
        /// What it says.
        room: LogRoom,
    },
    /// Let a peer lead a group instead. A wish: nothing comes of it where this replica does not serve the group or the peer is not
    /// there.
    HandOver {
        /// The group.
        group: GroupId,
        /// The peer.
        heir: NodeId,
    },
    /// Time passed. Given about every 5 ms.
    Tick,
    /// The turn's inputs are all in: what has gathered is proposed and coalesced messages are pushed.
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
        /// To be sent once the record is durable, never before (rule P-01).
        then: Vec<(NodeId, PeerMessage<P>)>,
    },
    /// Send to the peer core that holds the same groups. May be lost.
    Send {
        /// To whom; never this node.
        to: NodeId,
        /// What.
        message: PeerMessage<P>,
    },
    /// Answer a request.
    Reply {
        /// Which.
        to: RequestId,
        /// The answer; borrowed bytes are valid during the push only.
        reply: Reply<&'a [u8]>,
    },
    /// Read bytes of the log back; answered by one `Input::ReadDone`. Whoever asks has a checksum of them.
    Read {
        /// Echoed.
        token: ReadToken,
        /// Which bytes.
        location: Location,
    },
    /// Read the whole payload of a record back, to be checked against the checksum of the record; answered by one `Input::ReadDone`,
    /// with a failure if the record is damaged.
    ReadEntry {
        /// Echoed.
        token: ReadToken,
        /// Where the payload lies, as `Input::Appended` said.
        location: Location,
    },
}

/// Where effects go.
pub trait Sink<P> {
    /// Takes one effect.
    fn push(&mut self, effect: Effect<'_, P>);
}

impl<P, F: FnMut(Effect<'_, P>)> Sink<P> for F {
    fn push(&mut self, effect: Effect<'_, P>) {
        self(effect);
    }
}

/// What one core is made from.
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
    /// Payload bytes that may wait in one group before it answers `Busy`.
    pub pending_bytes_max: usize,
    /// Payload bytes of this core that may wait for the disk before nothing new is proposed.
    pub log_backlog_bytes_max: usize,
    /// Slots of one group in flight before what arrives is gathered into the next batch.
    pub pipeline_slots: u64,
    /// What moves leaders while nothing is wrong.
    pub leadership: Leadership,
    /// What is held of each group above what is applied.
    pub ahead: AheadLimits,
    /// What this node reads.
    pub level: Level,
    /// This start of the node's process.
    pub boot: Boot,
    /// Seeds election jitter and hashing; drawn by the shell.
    pub seed: u64,
}

/// What moves leaders while nothing is wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Leadership {
    /// Nothing.
    #[default]
    Stay,
    /// They go where most of their requests come from.
    Follow(FollowLoad),
    /// They go to the preferred nodes of their groups ([`GroupConfig::preferred`]), one at a time.
    Balance,
}

/// When a leader hands over to the replica by way of which at least three quarters of all requests come, in two windows running.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FollowLoad {
    /// How long requests are counted together.
    pub window: Nanos,
    /// Windows with fewer requests for a group say nothing about it.
    pub requests_min: u64,
}

impl Default for FollowLoad {
    fn default() -> Self {
        Self { window: Nanos::from_ms(500), requests_min: 32 }
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
    /// By how much the group's clock is ahead of the wall clocks that agree, milliseconds; nothing where this replica does not lead,
    /// or too few agree.
    pub clock_skew_ms: Option<i64>,
    /// Keys held. One that has expired counts until it was swept.
    pub keys: u64,
    /// How often this replica saw the leader change since it started (a first leader is not a change).
    pub leader_changes: u64,
}

/// Why a log cannot be replayed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReplayError {
    /// Records of a group are not there, or are there twice.
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
    /// A mark that is none.
    #[error("a mark is malformed")]
    Malformed,
    /// The log was gone on with by a later build.
    #[error(
        "{group} is at {found} and this synod reads up to {known}; start it with the synod that wrote the log, or a later one"
    )]
    Level {
        /// The group.
        group: GroupId,
        /// The level found.
        found: Level,
        /// The highest this node reads.
        known: Level,
    },
}
