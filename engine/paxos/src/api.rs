//! What can happen to a replica and all it can ask for.

use alloc::vec::Vec;
use synod_types::{
    Ballot, Beat, BeatReply, GroupMessage, Location, Nanos, NodeId, RecordHead, Slot, Space, limits,
};

/// Spans of time the protocol runs on. The same on all nodes of a cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timing {
    /// Between two heartbeats of a leader.
    pub heartbeat: Nanos,
    /// How long a heartbeat binds the follower that answers it; also the limit after which a stalled log silences a
    /// leader.
    pub lease: Nanos,
    /// Taken off a lease at the leader for clocks that run at different speeds.
    pub drift: Nanos,
    /// Spread of election timeouts.
    pub election_jitter: Nanos,
    /// Added to the election timeout per priority rank.
    pub rank_delay: Nanos,
    /// An open slot whose quorum has not answered is sent again after this long.
    pub resend: Nanos,
    /// How long a request waits for a leader, and a forwarded one for its answer.
    pub patience: Nanos,
    /// A group's clock that is further than this from the wall clocks that agree is worth a word.
    pub skew_max_ms: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat: Nanos::from_ms(50),
            lease: Nanos::from_ms(300),
            drift: Nanos::from_ms(10),
            election_jitter: Nanos::from_ms(120),
            rank_delay: Nanos::from_ms(60),
            resend: Nanos::from_ms(100),
            patience: Nanos::from_ms(4000),
            skew_max_ms: 60_000,
        }
    }
}

/// What a replica holds of slots that it has not applied (P-14).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AheadLimits {
    /// Slots up to so far above the applied one are kept in a row; those above cost only what is held.
    pub near_slots: u64,
    /// Slots held. Beyond it accepts are ignored, unless they are near.
    pub slots: usize,
    /// Payload bytes kept in memory; beyond it the oldest are left to the log.
    pub bytes: usize,
}

impl Default for AheadLimits {
    fn default() -> Self {
        Self {
            near_slots: limits::NEAR_SLOTS_MAX,
            slots: limits::AHEAD_SLOTS_MAX,
            bytes: limits::AHEAD_BYTES_MAX,
        }
    }
}

/// Everything that can happen to a replica.
#[derive(Debug)]
pub enum Input<P> {
    /// A peer says something.
    Message {
        /// Who.
        from: NodeId,
        /// What.
        message: GroupMessage<P>,
    },
    /// A heartbeat (they travel together for all groups of a core).
    Beat {
        /// Who.
        from: NodeId,
        /// The heartbeat.
        beat: Beat,
    },
    /// The answer to one.
    BeatReply {
        /// Who.
        from: NodeId,
        /// The answer.
        reply: BeatReply,
    },
    /// A leader said, in answer to a question, how far it knows what is chosen.
    Watermark {
        /// Who.
        from: NodeId,
        /// The ballot it leads in.
        ballot: Ballot,
        /// Its chosen watermark.
        chosen: Slot,
    },
    /// Propose an entry. Only to a leader ([`crate::Paxos::can_propose`]).
    Propose {
        /// The entry.
        payload: P,
    },
    /// The payload of an appended record has its place in the log.
    Located {
        /// The slot.
        slot: Slot,
        /// The ballot of the record.
        ballot: Ballot,
        /// Its place.
        at: Location,
    },
    /// A record is durable.
    Durable {
        /// The receipt that came with its `Append`.
        receipt: Receipt,
    },
    /// An [`Effect::Recall`] was carried out.
    Recalled {
        /// The slot.
        slot: Slot,
        /// The ballot of the record.
        ballot: Ballot,
        /// The value, verified; none if it could not be read back.
        payload: Option<P>,
    },
    /// Time passed.
    Tick {
        /// Whether the log has made no progress for a whole lease: a stalled leader must fall silent (P-09).
        stalled: bool,
    },
    /// What the log has room for has changed.
    Room {
        /// How much it takes.
        space: Space,
        /// It has as much to write as may wait at once: nothing more is to be begun.
        is_behind: bool,
    },
    /// The link to a peer broke; what was sent on it may be lost.
    LinkLost {
        /// The peer.
        node: NodeId,
    },
    /// Let a peer lead instead. A wish: nothing comes of it on a replica that does not serve, or with a peer that is not there.
    HandOver {
        /// The peer.
        heir: NodeId,
    },
}

/// Everything a replica can ask for.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect<P> {
    /// Write a record. `then` may be sent once it is durable and not before (P-01); `receipt` comes back then too.
    Append {
        /// The record's head.
        head: RecordHead,
        /// Its payload.
        payload: Option<P>,
        /// Messages that reveal it.
        then: Vec<(NodeId, GroupMessage<P>)>,
        /// To be given back by [`Input::Durable`].
        receipt: Receipt,
    },
    /// Send to a peer; may be lost.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        message: GroupMessage<P>,
    },
    /// A heartbeat, to be coalesced with those of other groups.
    Beat {
        /// To whom.
        to: NodeId,
        /// The heartbeat.
        beat: Beat,
    },
    /// The answer to one, likewise.
    BeatReply {
        /// To whom.
        to: NodeId,
        /// The answer.
        reply: BeatReply,
    },
    /// A peer wants chosen values that are only in the log: read them and send them, in this order, as one `Learn`. One that cannot be
    /// read ends it.
    ReadBack {
        /// To whom.
        to: NodeId,
        /// The values.
        wanted: Vec<ReadBack>,
    },
    /// Read a value back that this replica needs itself; answered by one [`Input::Recalled`].
    Recall {
        /// The slot.
        slot: Slot,
        /// The ballot it is held in.
        ballot: Ballot,
        /// Where it lies.
        at: Location,
    },
}

/// A value that is only in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReadBack {
    /// The slot.
    pub slot: Slot,
    /// The ballot it is held in.
    pub ballot: Ballot,
    /// Where it lies.
    pub at: Location,
}

/// What a durable record means to the replica that wrote it. Captured at submit: by completion the ballot in force may be
/// another one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Receipt {
    /// The promise of this ballot is safe.
    Promise(Ballot),
    /// The value accepted for `slot` in `ballot` is safe.
    Accept {
        /// The slot.
        slot: Slot,
        /// The ballot.
        ballot: Ballot,
    },
    /// The learned value of `slot` is safe.
    Learned {
        /// The slot.
        slot: Slot,
        /// The ballot noted with it.
        ballot: Ballot,
    },
}

/// The role a replica plays.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Follows a leader or knows none.
    Follower,
    /// Gathers promises.
    Candidate,
    /// Proposes.
    Leader,
}

/// Known bugs that the simulator must find.
#[cfg(feature = "canary")]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Canary {
    /// A promise is answered before it is durable (breaks P-01).
    PromiseBeforeDurable,
    /// A candidate's ballot is not made durable, so a restart may use it again (breaks P-01).
    BallotReuse,
    /// A quorum is n/2.
    HalfQuorum,
    /// The winner proposes a no-op where a value was reported (breaks P-06).
    NoopOverReported,
    /// A promise of an earlier candidacy counts in a later one of the same node (breaks P-06).
    PromiseOfAnotherBallot,
    /// A value that looks like the one held is taken for it (breaks P-05d).
    EqualBytes,
    /// Entries are named by a counter that begins anew with the process (breaks P-05d).
    OriginRestarts,
    /// A level is raised when a quorum reads it (breaks P-19).
    LevelByQuorum,
    /// The watermark is applied to a record of another ballot (breaks P-05).
    WatermarkOtherBallot,
    /// A replica that is far behind leads before it has caught up (breaks P-06h).
    FarBehindLeads,
    /// An entry that is read back from the log for a peer is not checked against its record (breaks P-09d).
    UncheckedReadBack,
    /// A quorum read is served by a lease (breaks P-07f).
    QuorumReadByLease,
    /// The watermark is applied behind a gap to records of other ballots (breaks P-05).
    WatermarkOtherBallotAhead,
    /// An acceptor leaves out of its promise what is not in memory (breaks P-02).
    ShedUnreported,
    /// A leader that handed over goes on reading under its lease (breaks P-17).
    LeaseAfterHandOver,
    /// A follower grants a lease in a ballot that its promise of is not durable (breaks P-01).
    GrantBeforeDurable,
    /// The answer to a heartbeat confirms the last one that was sent (breaks P-07b).
    BeatConfirmsLast,
    /// A leader says up to where its group is chosen before it has learned what was chosen before it led (breaks P-07g).
    PointBeforeServing,
    /// A forward that comes twice is executed twice (breaks P-12g).
    ForwardTwice,
    /// What was executed under a node's session is not remembered (breaks P-21).
    StampsForgotten,
    /// An earlier start of a node opens a session in the place of a later one's (breaks P-21).
    AnyBootOpens,
    /// A message leaves before its record is durable (breaks P-01).
    ReleasesEarly,
    /// Where records lie is told a turn later, after they may be durable (breaks the turn).
    PlacesToldLate,
    /// Replay leaves a group out.
    ReplaySkipsGroup,
    /// A winner's clock is its wall clock (breaks P-16).
    ClockOfTheWinner,
    /// What was heard of other nodes' logs is not kept over a restart (breaks P-20).
    PositionsForgotten,
    /// Applied time does not move on when a key is to expire (breaks P-16).
    ExpiryUnwatched,
    /// A write that is under way is refused for want of room, as if it certainly were not executed (breaks P-18).
    RefusedUnderWay,
}
