//! The messages between peers. They are generic over the payload: entries travel as raw bytes after the
//! archived message, in the order in which they appear in it ([`PeerMessage::map`] visits them in that
//! order).

// The `Archive` derive generates items without docs; every item written here has them.
#![allow(missing_docs)]

use crate::command::{Command, Consistency, Reply, Span};
use crate::ids::{Ballot, GroupId, Level, Slot};
use crate::time::{Mono, Nanos, WallMs};
use alloc::vec::Vec;
use rkyv::{Archive, Deserialize, Serialize};

/// One accepted slot in a promise.
#[derive(Clone, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub struct Reported<P> {
    /// The slot.
    pub slot: Slot,
    /// The highest ballot the acceptor accepted a value in.
    pub ballot: Ballot,
    /// That value.
    pub payload: P,
}

/// One chosen slot in a `Learn`.
#[derive(Clone, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub struct Learned<P> {
    /// The slot.
    pub slot: Slot,
    /// A ballot in which the sender held the value (P-06f).
    pub ballot: Ballot,
    /// The chosen value.
    pub payload: P,
}

/// A message between the replicas of one group.
#[derive(Clone, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub enum GroupMessage<P> {
    /// Asks whether a prepare in `ballot` would be promised. It changes nothing at the receiver.
    PreVote {
        /// The ballot that the sender would use.
        ballot: Ballot,
        /// The ballot whose leader gave up its lease for the sender; zero if none did.
        after: Ballot,
    },
    /// The answer.
    PreVoteReply {
        /// The ballot asked about.
        ballot: Ballot,
        /// Whether the sender sees no live leader and would promise.
        granted: bool,
        /// The highest ballot that the sender durably promised.
        promised: Ballot,
        /// The sender's contiguous chosen prefix: a replica that is behind may pull from the sender.
        chosen: Slot,
    },
    /// Phase 1a for all open slots at once.
    Prepare {
        /// The candidate's ballot, durable at the candidate.
        ballot: Ballot,
        /// As in `PreVote`.
        after: Ballot,
        /// The first slot it asks about: no slot below it will be proposed.
        from: Slot,
    },
    /// Phase 1b, sent when the promise is durable. Long reports come in parts.
    Promise {
        /// The ballot promised.
        ballot: Ballot,
        /// Everything up to here is chosen and not reported: the candidate fetches it.
        chosen: Slot,
        /// The answer that this is a part of; drawn at random for each answer. Parts of different answers are
        /// never combined: between two answers the acceptor may have learned values, and cut its report
        /// elsewhere.
        answer: u64,
        /// This part's number, from 0.
        part: u32,
        /// How many parts there are.
        part_count: u32,
        /// The sender's report of the group's time.
        time: TimeReport,
        /// The accepted values above `chosen`.
        reported: Vec<Reported<P>>,
    },
    /// Phase 2a.
    Accept {
        /// The leader's ballot.
        ballot: Ballot,
        /// The slot.
        slot: Slot,
        /// The leader's chosen watermark.
        chosen: Slot,
        /// The value: an entry.
        payload: P,
    },
    /// Phase 2b, sent when the record is durable.
    Accepted {
        /// The ballot in which it was accepted.
        ballot: Ballot,
        /// The slot.
        slot: Slot,
    },
    /// The receiver's ballot is too low.
    Nack {
        /// The ballot refused.
        ballot: Ballot,
        /// The higher ballot that the sender durably promised.
        promised: Ballot,
    },
    /// Asks for chosen values from a slot on.
    Fetch {
        /// The first slot wanted.
        from: Slot,
    },
    /// Chosen values, contiguous from the slot asked for; empty if the sender does not know it as chosen.
    Learn {
        /// The sender's contiguous chosen prefix.
        chosen: Slot,
        /// The values.
        entries: Vec<Learned<P>>,
    },
    /// Tells the transfer target to stand for election. The sender has given up its lease in this ballot and
    /// proposes nothing more in it.
    TimeoutNow {
        /// The ballot the sender led in.
        ballot: Ballot,
        /// Its chosen watermark, which covers everything it ever proposed.
        chosen: Slot,
    },
}

/// What an acceptor knows of its group's time, for the next leader (P-16).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub struct TimeReport {
    /// The ballot of the leader whose clock it heard last; zero if it has heard no leader's clock since its
    /// start.
    pub ballot: Ballot,
    /// The time of that clock now.
    pub time: WallMs,
    /// How long ago it was heard.
    pub age: Nanos,
    /// The acceptor's own wall clock.
    pub wall: WallMs,
}

/// A leader's heartbeat for one group.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The group.
    pub group: GroupId,
    /// The leader's ballot.
    pub ballot: Ballot,
    /// The leader's chosen watermark.
    pub chosen: Slot,
    /// The leader's boot-time clock at sending; strictly rising per leader, echoed in the reply.
    pub sent_at: Mono,
    /// The time of the group's clock (P-16); zero while it is not set.
    pub time: WallMs,
}

/// A follower's answer to a heartbeat: it grants a lease, and confirms that at receipt the follower had
/// promised nothing above `ballot`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub struct HeartbeatReply {
    /// The group.
    pub group: GroupId,
    /// The ballot answered.
    pub ballot: Ballot,
    /// The heartbeat's `sent_at`, echoed.
    pub sent_at: Mono,
    /// The follower's contiguous chosen prefix.
    pub chosen: Slot,
    /// Whether its log is running out of room and can get no more: it will not accept new slots for long.
    pub is_low: bool,
    /// The level it can read.
    pub level: Level,
    /// Its wall clock.
    pub wall: WallMs,
}

/// A leader's chosen watermark in a `ReadIndexReply`: a replica that has applied the group up to `chosen` has
/// every write that was acknowledged before the question came.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub struct ReadPoint {
    /// The group.
    pub group: GroupId,
    /// The ballot in which it leads.
    pub ballot: Ballot,
    /// Its chosen watermark.
    pub chosen: Slot,
}

/// A block of a core's log: its number, and the checksum of its header, which covers all blocks before it. A
/// log that holds this block is the same log, in that state or a later one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Archive, Serialize, Deserialize)]
pub struct LogPosition {
    /// The block's number; 0 for the beginning of the log.
    pub sequence: u64,
    /// The checksum of its header.
    pub crc: u32,
}

/// A message on a peer link.
#[derive(Clone, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub enum PeerMessage<P> {
    /// A message of one group.
    Group {
        /// The group.
        group: GroupId,
        /// The message.
        message: GroupMessage<P>,
    },
    /// The heartbeats of all groups that the sending core leads, for one peer core.
    Heartbeats(Vec<Heartbeat>),
    /// The answers to heartbeats, together.
    HeartbeatReplies(Vec<HeartbeatReply>),
    /// A client's command, for the leader to execute.
    Forward {
        /// The forwarder's number for it; echoed.
        id: u64,
        /// The group.
        group: GroupId,
        /// How fresh a read must be.
        consistency: Consistency,
        /// The command.
        command: Command<P>,
    },
    /// The leader's answer.
    ForwardReply {
        /// The number echoed.
        id: u64,
        /// The answer.
        reply: Reply<P>,
    },
    /// Asks up to which slot each group must be applied for a read. One question serves all waiting reads.
    ReadIndex {
        /// The sender's number for the question; echoed.
        id: u64,
        /// The groups, ascending.
        groups: Vec<GroupId>,
    },
    /// The answer.
    ReadIndexReply {
        /// The number echoed.
        id: u64,
        /// One for each of the groups that the sender serves under its lease; other groups get no answer.
        points: Vec<ReadPoint>,
    },
    /// The sender's log is durable up to here. Peers remember it and tell the node when it comes back, since
    /// its directory may be an old copy.
    Position(LogPosition),
}

impl<P> GroupMessage<P> {
    /// The name of the message's kind, for logs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::PreVote { .. } => "PreVote",
            Self::PreVoteReply { .. } => "PreVoteReply",
            Self::Prepare { .. } => "Prepare",
            Self::Promise { .. } => "Promise",
            Self::Accept { .. } => "Accept",
            Self::Accepted { .. } => "Accepted",
            Self::Nack { .. } => "Nack",
            Self::Fetch { .. } => "Fetch",
            Self::Learn { .. } => "Learn",
            Self::TimeoutNow { .. } => "TimeoutNow",
        }
    }

    /// The same with every payload converted, in order of appearance.
    pub fn map<Q>(&self, mut convert: impl FnMut(&P) -> Q) -> GroupMessage<Q> {
        match *self {
            Self::PreVote { ballot, after } => GroupMessage::PreVote { ballot, after },
            Self::PreVoteReply { ballot, granted, promised, chosen } => {
                GroupMessage::PreVoteReply { ballot, granted, promised, chosen }
            }
            Self::Prepare { ballot, after, from } => GroupMessage::Prepare { ballot, after, from },
            Self::TimeoutNow { ballot, chosen } => GroupMessage::TimeoutNow { ballot, chosen },
            Self::Promise { ballot, chosen, answer, part, part_count, time, ref reported } => {
                let convert = |r: &Reported<P>| Reported {
                    slot: r.slot,
                    ballot: r.ballot,
                    payload: convert(&r.payload),
                };
                let reported = reported.iter().map(convert).collect();
                GroupMessage::Promise { ballot, chosen, answer, part, part_count, time, reported }
            }
            Self::Accept { ballot, slot, chosen, ref payload } => {
                GroupMessage::Accept { ballot, slot, chosen, payload: convert(payload) }
            }
            Self::Accepted { ballot, slot } => GroupMessage::Accepted { ballot, slot },
            Self::Nack { ballot, promised } => GroupMessage::Nack { ballot, promised },
            Self::Fetch { from } => GroupMessage::Fetch { from },
            Self::Learn { chosen, ref entries } => {
                let convert =
                    |l: &Learned<P>| Learned { slot: l.slot, ballot: l.ballot, payload: convert(&l.payload) };
                GroupMessage::Learn { chosen, entries: entries.iter().map(convert).collect() }
            }
        }
    }
}

impl<P> PeerMessage<P> {
    /// The name of the message's kind, for logs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Group { message, .. } => message.kind(),
            Self::Heartbeats(_) => "Heartbeats",
            Self::HeartbeatReplies(_) => "HeartbeatReplies",
            Self::Forward { .. } => "Forward",
            Self::ForwardReply { .. } => "ForwardReply",
            Self::ReadIndex { .. } => "ReadIndex",
            Self::ReadIndexReply { .. } => "ReadIndexReply",
            Self::Position(_) => "Position",
        }
    }

    /// Calls `see` with every payload, in order of appearance.
    pub fn visit(&self, see: impl FnMut(&P)) {
        drop(self.map(see));
    }

    /// The same with every payload converted, in order of appearance.
    pub fn map<Q>(&self, mut convert: impl FnMut(&P) -> Q) -> PeerMessage<Q> {
        match self {
            Self::Group { group, message } => {
                PeerMessage::Group { group: *group, message: message.map(convert) }
            }
            Self::Heartbeats(heartbeats) => PeerMessage::Heartbeats(heartbeats.clone()),
            Self::HeartbeatReplies(replies) => PeerMessage::HeartbeatReplies(replies.clone()),
            Self::Forward { id, group, consistency, command } => PeerMessage::Forward {
                id: *id,
                group: *group,
                consistency: *consistency,
                command: command.as_ref().map(convert),
            },
            Self::ForwardReply { id, reply } => {
                PeerMessage::ForwardReply { id: *id, reply: reply.as_ref().map(&mut convert) }
            }
            Self::ReadIndex { id, groups } => PeerMessage::ReadIndex { id: *id, groups: groups.clone() },
            Self::ReadIndexReply { id, points } => {
                PeerMessage::ReadIndexReply { id: *id, points: points.clone() }
            }
            Self::Position(position) => PeerMessage::Position(*position),
        }
    }
}

/// A peer message as archived: payloads are lengths of the byte runs that follow.
pub type PeerMessageMeta = PeerMessage<Span>;
