//! The inputs and effects of a replica, and their parts.

use alloc::vec::Vec;
use synod_types::{
    Ballot, GroupMessage, Heartbeat, HeartbeatReply, Location, Mono, Nanos, NodeId, RecordHead, Slot, Space,
    limits,
};

/// How this core's log does (P-09b).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogState {
    /// It has made no progress for a lease: none of its replicas stands.
    pub is_stalled: bool,
    /// The time of its oldest record that is not durable, or the time since when no read has come back, if that
    /// is a lease ago: its leaders hand over where logs are faster.
    pub lags_since: Option<Mono>,
}

impl LogState {
    /// A log that keeps up.
    pub const FINE: Self = Self { is_stalled: false, lags_since: None };

    /// A log without progress since then.
    #[cfg(test)]
    pub(crate) const fn stalled_since(at: Mono) -> Self {
        Self { is_stalled: true, lags_since: Some(at) }
    }
}

/// What a leader believes of a peer, by which it decides whether to hand over (P-09b).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerView {
    /// The peer.
    pub node: NodeId,
    /// How long it recently took to answer a heartbeat; zero if it has answered none.
    pub round_trip: Nanos,
    /// How long the oldest accept that it has not answered has been outstanding.
    pub log_age: Nanos,
}

/// The timing parameters of the protocol. They are the same on all nodes of a cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timing {
    /// The interval between two heartbeats of a leader.
    pub heartbeat: Nanos,
    /// How long a heartbeat binds the follower that answers it. A leader whose log has stalled for this long
    /// stops sending heartbeats.
    pub lease: Nanos,
    /// Subtracted from a lease at the leader, because clocks run at different speeds.
    pub drift: Nanos,
    /// The random part of an election timeout is below this.
    pub election_jitter: Nanos,
    /// Added to the election timeout for each priority rank.
    pub rank_delay: Nanos,
    /// An open slot whose quorum has not answered is sent again after this long.
    pub resend: Nanos,
    /// How long a request waits while its group makes no progress.
    pub patience: Nanos,
    /// How long a request waits at most, whatever its group does.
    pub request_max: Nanos,
    /// The node reports a group's clock that is further than this from the wall clocks that agree.
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
            request_max: Nanos::from_ms(30_000),
            skew_max_ms: 60_000,
        }
    }
}

/// How much a replica holds of slots that it has not applied (P-14).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AheadLimits {
    /// Slots up to this far above the applied one are kept in a contiguous queue, gaps included. Higher slots
    /// are kept in a sparse map.
    pub near_slots: u64,
    /// The number of slots held. Beyond it, accepts for slots that are not near are ignored.
    pub slots: usize,
    /// Payload bytes kept in memory. Beyond it, the payloads of the lowest slots stay in the log alone.
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
    /// A message from a peer.
    Message {
        /// The sender.
        from: NodeId,
        /// The message.
        message: GroupMessage<P>,
    },
    /// A heartbeat. The heartbeats of all groups of a core travel together.
    Heartbeat {
        /// The sender.
        from: NodeId,
        /// The heartbeat.
        heartbeat: Heartbeat,
    },
    /// The answer to a heartbeat.
    HeartbeatReply {
        /// The sender.
        from: NodeId,
        /// The answer.
        reply: HeartbeatReply,
    },
    /// A leader's chosen watermark, in answer to a question (P-07g).
    Watermark {
        /// The sender.
        from: NodeId,
        /// The ballot it leads in.
        ballot: Ballot,
        /// Its chosen watermark.
        chosen: Slot,
    },
    /// Propose an entry. Only for a leader ([`crate::Paxos::can_propose`]).
    Propose {
        /// The entry.
        payload: P,
    },
    /// The payload of an appended record was given its location in the log.
    Located {
        /// The slot.
        slot: Slot,
        /// The ballot of the record.
        ballot: Ballot,
        /// The location.
        at: Location,
    },
    /// A record is durable.
    Durable {
        /// The receipt that came with its `Append`.
        receipt: Receipt,
    },
    /// An [`Effect::Recall`] was executed.
    Recalled {
        /// The slot.
        slot: Slot,
        /// The ballot of the record.
        ballot: Ballot,
        /// The value, verified; `None` if it could not be read back.
        payload: Option<P>,
    },
    /// Time passed.
    Tick {
        /// How the log does.
        log: LogState,
    },
    /// The room in the log, or its backlog, has changed.
    Room {
        /// The room left.
        space: Space,
        /// The log has as many bytes waiting as are allowed at once: the replica must begin nothing new
        /// (P-18e).
        is_behind: bool,
    },
    /// Values came from a peer and were not taken, because too much waits for this node's disk (P-18e).
    Dropped {
        /// The peer.
        from: NodeId,
    },
    /// The link to a peer broke; what was sent on it may be lost.
    LinkLost {
        /// The peer.
        node: NodeId,
    },
    /// Transfer leadership to a peer. It is ignored on a replica that does not serve, and for a peer that
    /// cannot be reached, is far behind or is low on room.
    TransferLeadership {
        /// The peer.
        target: NodeId,
    },
}

/// Everything a replica can ask its caller to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect<P> {
    /// Write a record. The messages in `then` may be sent once the record is durable, not before (P-01). The
    /// receipt is returned then, too.
    Append {
        /// The record's head.
        head: RecordHead,
        /// Its payload.
        payload: Option<P>,
        /// Messages that reveal it.
        then: Vec<(NodeId, GroupMessage<P>)>,
        /// To be returned in [`Input::Durable`].
        receipt: Receipt,
    },
    /// Send a message to a peer. It may be lost.
    Send {
        /// The receiver.
        to: NodeId,
        /// The message.
        message: GroupMessage<P>,
    },
    /// Send a heartbeat, coalesced with those of other groups.
    Heartbeat {
        /// The receiver.
        to: NodeId,
        /// The heartbeat.
        heartbeat: Heartbeat,
    },
    /// Send the answer to a heartbeat, coalesced likewise.
    HeartbeatReply {
        /// The receiver.
        to: NodeId,
        /// The answer.
        reply: HeartbeatReply,
    },
    /// A peer fetches chosen values that are only in the log: read them and send them, in this order, as one
    /// `Learn`. The message ends before a value that cannot be read.
    ReadBack {
        /// The receiver.
        to: NodeId,
        /// The values.
        wanted: Vec<ReadBack>,
    },
    /// Read back a value that this replica itself needs. It is answered by one [`Input::Recalled`].
    Recall {
        /// The slot.
        slot: Slot,
        /// The ballot it is held in.
        ballot: Ballot,
        /// Its location in the log.
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
    /// Its location in the log.
    pub at: Location,
}

/// What a durable record means to the replica that wrote it. It is captured when the record is submitted: the
/// ballot in force may be another one when the write completes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Receipt {
    /// The promise of this ballot is durable.
    Promise(Ballot),
    /// The value accepted for `slot` in `ballot` is durable.
    Accept {
        /// The slot.
        slot: Slot,
        /// The ballot.
        ballot: Ballot,
    },
    /// The learned value of `slot` is durable.
    Learned {
        /// The slot.
        slot: Slot,
        /// The ballot in its record.
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
    /// A quorum is n/2 (breaks P-11).
    HalfQuorum,
    /// The winner proposes a no-op where a value was reported (breaks P-06).
    NoopOverReported,
    /// A promise of an earlier candidacy counts in a later one of the same node (breaks P-06).
    PromiseOfAnotherBallot,
    /// A value with the same bytes as the one held is taken for the same value (breaks P-05d).
    EqualBytes,
    /// Origins come from a counter that restarts with the process (breaks P-05d).
    OriginRestarts,
    /// A level is raised once a quorum can read it (breaks P-19).
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
    /// An acceptor leaves values that are not in memory out of its promise (breaks P-02).
    ShedUnreported,
    /// A leader that transferred leadership goes on reading under its lease (breaks P-17).
    LeaseAfterTransfer,
    /// A follower grants a lease in a ballot whose promise is not durable yet (breaks P-01).
    GrantBeforeDurable,
    /// The answer to a heartbeat confirms the latest heartbeat sent instead (breaks P-07b).
    HeartbeatConfirmsLast,
    /// A leader answers with a read point before it has applied the entries chosen before it led (breaks
    /// P-07g).
    PointBeforeServing,
    /// A forwarded request that arrives twice is executed twice (breaks P-12g).
    ForwardTwice,
    /// Commands executed under a node's session are not remembered (breaks P-21).
    StampsForgotten,
    /// Writes of a node's session are executed in any order (breaks P-21i).
    AnyOrder,
    /// A write that may have been executed is answered by the next entry of another node (breaks P-12b).
    ResolvedByAnother,
    /// A write is sent again under another sequence (breaks P-21).
    ResentAnew,
    /// A leader whose log makes no progress sends no heartbeats (breaks P-09b).
    SilentWhenStalled,
    /// A leader whose log makes no progress never hands over (breaks P-09b).
    LeadsThoughStalled,
    /// A read of the log is waited for, however long the disk takes (breaks P-09b, P-09d).
    WaitsForReads,
    /// Writes that waited for a leader which is gone are answered as unknown (breaks P-12b).
    GivesUpWithLeader,
    /// A value is fetched for a client that has no room for it (breaks P-14b).
    CreditNotReserved,
    /// A leader judges its lease by a clock that stands while its core is not scheduled (breaks P-07b).
    LeaseThoughSlept,
    /// A leader that a follower cannot reach never gives way to one that hears both (breaks P-09f).
    KeepsCutOff,
    /// A leader that no quorum answers steps down and names no heir (breaks P-06g).
    LeavesSilently,
    /// A replica whose log makes no progress asks to lead (breaks P-09f).
    AsksThoughStalled,
    /// A peer that did not take over is handed the group again at once (breaks P-09f).
    HandsOverInVain,
    /// A node that is about to stop hands nothing over (breaks P-17g).
    StopsLeading,
    /// A peer that has not answered a fetch is asked again in a fixed time (breaks P-09c).
    FetchesOnTheClock,
    /// An earlier boot of a node opens a session in place of a later boot's (breaks P-21).
    AnyBootOpens,
    /// A message is sent before its record is durable (breaks P-01).
    ReleasesEarly,
    /// The locations of records are reported a turn late, when they may be durable already (breaks the turn).
    PlacesToldLate,
    /// Replay leaves out a group.
    ReplaySkipsGroup,
    /// A winner's clock is its wall clock (breaks P-16).
    ClockOfTheWinner,
    /// The log positions heard from other nodes are not kept over a restart (breaks P-20).
    PositionsForgotten,
    /// Applied time does not move on when a key is to expire (breaks P-16).
    ExpiryUnwatched,
    /// A write in flight is refused for lack of room, as certainly not executed (breaks P-18).
    RefusedUnderWay,
}
