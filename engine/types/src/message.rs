//! What peers say to each other. Generic over the payload: entries travel as raw bytes after the archived message, in the
//! order in which they appear in it ([`PeerMessage::map`] visits them in exactly that order).

// The `Archive` derive makes helper items that carry no docs; everything written here has them.
#![allow(missing_docs)]

use crate::command::{Command, Consistency, Reply, Span};
use crate::ids::{Ballot, GroupId, Level, Slot};
use crate::time::{Mono, Nanos, WallMs};
use alloc::vec::Vec;
use rkyv::{Archive, Deserialize, Serialize};

/// One accepted, undecided slot in a promise.
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
    /// A ballot in which the sender held the value (diagnosis only).
    pub ballot: Ballot,
    /// The chosen value.
    pub payload: P,
}

/// A message between the replicas of one group.
#[derive(Clone, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub enum GroupMessage<P> {
    /// "Would you promise me `ballot`?" Changes nothing at the receiver.
    PreVote {
        /// The ballot the sender would use.
        ballot: Ballot,
        /// The ballot whose leader gave its lease up for the sender; zero if none did.
        after: Ballot,
    },
    /// The answer.
    PreVoteReply {
        /// The ballot asked about.
        ballot: Ballot,
        /// Whether the sender sees no live leader and would promise.
        granted: bool,
        /// The highest ballot the sender promised.
        promised: Ballot,
        /// The sender's contiguous chosen prefix: who is behind may pull from it.
        chosen: Slot,
    },
    /// Phase 1a for all open slots at once.
    Prepare {
        /// The candidate's ballot, durable at the candidate.
        ballot: Ballot,
        /// As in `PreVote`.
        after: Ballot,
        /// First slot the candidate does not know as chosen.
        from: Slot,
    },
    /// Phase 1b, sent when the promise is durable. Long reports come in parts.
    Promise {
        /// The ballot promised.
        ballot: Ballot,
        /// Everything up to here is chosen: fetch it, it is not reported.
        chosen: Slot,
        /// Which answer this is a part of; drawn anew for each. Only parts of one answer make a whole: between two the
        /// acceptor may have learned, and cut its report elsewhere.
        answer: u64,
        /// This part's number, from 0.
        part: u32,
        /// How many parts there are.
        part_count: u32,
        /// What the sender knows of the group's time.
        time: TimeReport,
        /// Accepted values above `chosen`.
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
        /// The ballot captured when the record was written.
        ballot: Ballot,
        /// The slot.
        slot: Slot,
    },
    /// The receiver's ballot is too low.
    Nack {
        /// The ballot refused.
        ballot: Ballot,
        /// What the sender promised instead.
        promised: Ballot,
    },
    /// "Send me chosen values from here on."
    Fetch {
        /// First slot wanted.
        from: Slot,
    },
    /// Chosen values, contiguous from the slot asked for; empty if the sender does not have it.
    Learn {
        /// The sender's contiguous chosen prefix.
        chosen: Slot,
        /// The values.
        entries: Vec<Learned<P>>,
    },
    /// "Lead instead of me. I have given up my lease in this ballot, and propose nothing more in it."
    HandOver {
        /// The ballot the sender led in.
        ballot: Ballot,
        /// Its chosen watermark: all it ever proposed.
        chosen: Slot,
    },
}

/// What an acceptor knows of its group's time, for who is to lead (P-16).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub struct TimeReport {
    /// The ballot of the leader whose clock it heard last; zero if it has heard none since its start.
    pub ballot: Ballot,
    /// What that clock says now.
    pub time: WallMs,
    /// How long ago it was heard.
    pub age: Nanos,
    /// The acceptor's own wall clock.
    pub wall: WallMs,
}

/// A leader's heartbeat for one group.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub struct Beat {
    /// The group.
    pub group: GroupId,
    /// The leader's ballot.
    pub ballot: Ballot,
    /// The leader's chosen watermark.
    pub chosen: Slot,
    /// The leader's boot-time clock at sending; strictly rising per leader, echoed in the reply.
    pub sent_at: Mono,
    /// What the group's clock says (P-16); zero while it is not set.
    pub time: WallMs,
}

/// A follower's answer to a heartbeat: "as of its receipt I had promised nothing above `ballot`", and a lease grant.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub struct BeatReply {
    /// The group.
    pub group: GroupId,
    /// The ballot answered.
    pub ballot: Ballot,
    /// Echo of the heartbeat's clock.
    pub sent_at: Mono,
    /// The follower's contiguous chosen prefix.
    pub chosen: Slot,
    /// Its log cannot be given more room and is running out of it: what it is sent will not be accepted for long.
    pub is_low: bool,
    /// What it can read.
    pub level: Level,
    /// Its wall clock.
    pub wall: WallMs,
}

/// What a leader vouches for in a `ReadIndexReply`: whoever has applied the group up to `chosen` has every write that was
/// acknowledged before the question came.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub struct ReadPoint {
    /// The group.
    pub group: GroupId,
    /// The ballot the leader leads in.
    pub ballot: Ballot,
    /// Its chosen watermark.
    pub chosen: Slot,
}

/// A block of a core's log: its number, and the checksum of its header, which covers all blocks before it. A log that holds the
/// block is the one it was told of, or a later state of that.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Archive, Serialize, Deserialize)]
pub struct LogPosition {
    /// The block's number; 0 for the beginning of the log.
    pub sequence: u64,
    /// The checksum of its header.
    pub crc: u32,
}

/// Everything that crosses a peer link.
#[derive(Clone, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub enum PeerMessage<P> {
    /// A message of one group.
    Group {
        /// The group.
        group: GroupId,
        /// The message.
        message: GroupMessage<P>,
    },
    /// Heartbeats of all groups the sending core leads, for one peer core.
    Beats(Vec<Beat>),
    /// The answers, together.
    BeatReplies(Vec<BeatReply>),
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
    /// "Up to where must I have applied these groups to read in them?" One question for all reads that gathered.
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
        /// One for each group that the sender leads under a lease; of the others it can say nothing at the moment.
        points: Vec<ReadPoint>,
    },
    /// "So far my log is durable." Remembered, and said again to a node that comes back: it may be an old copy of itself.
    Position(LogPosition),
}

impl<P> GroupMessage<P> {
    /// What kind of message it is, for people.
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
            Self::HandOver { .. } => "HandOver",
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
            Self::HandOver { ballot, chosen } => GroupMessage::HandOver { ballot, chosen },
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
    /// What kind of message it is, for people.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Group { message, .. } => message.kind(),
            Self::Beats(_) => "Beats",
            Self::BeatReplies(_) => "BeatReplies",
            Self::Forward { .. } => "Forward",
            Self::ForwardReply { .. } => "ForwardReply",
            Self::ReadIndex { .. } => "ReadIndex",
            Self::ReadIndexReply { .. } => "ReadIndexReply",
            Self::Position(_) => "Position",
        }
    }

    /// Shows every payload, in order of appearance.
    pub fn visit(&self, see: impl FnMut(&P)) {
        drop(self.map(see));
    }

    /// The same with every payload converted, in order of appearance.
    pub fn map<Q>(&self, mut convert: impl FnMut(&P) -> Q) -> PeerMessage<Q> {
        match self {
            Self::Group { group, message } => {
                PeerMessage::Group { group: *group, message: message.map(convert) }
            }
            Self::Beats(beats) => PeerMessage::Beats(beats.clone()),
            Self::BeatReplies(replies) => PeerMessage::BeatReplies(replies.clone()),
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
