//! One group on this core: its Paxos replica and what waits for it.

use crate::ask::Lagging;
use crate::load::{Asked, Wish};
use crate::replicate::Batch;
use crate::request::{Origin, Request};
use crate::stamps::Stamps;
use crate::stats::GroupStats;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use synod_paxos::{AheadLimits, Paxos, Timing};
use synod_types::{
    Ballot, EntryBuilder, GroupConfig, GroupId, Level, Location, Mono, NodeId, Payload, RequestId, Slot,
    Space,
};

use crate::api::ReadToken;

#[derive(Debug)]
pub(crate) struct Group<P> {
    pub id: GroupId,
    pub paxos: Paxos<P>,
    /// What it was last told of the log: its room, and whether it is behind.
    pub room: (Space, bool),
    /// The ballot this replica led in when last looked at; a change is when waiting clients must be told.
    pub led: Option<Ballot>,
    /// Whom it took for the leader then.
    pub followed: Option<NodeId>,
    /// What was asked of this replica as the leader.
    pub asked: Asked,
    /// The level that it last proposed to raise this group to, and the ballot in which.
    pub raised: Option<(Ballot, Level)>,
    /// To whom it last tried to hand over in vain; outlasts its own leadership.
    pub wish: Option<Wish>,
    /// Writes that wait for a place in the pipeline (leader only).
    pub pending: VecDeque<Request<P>>,
    /// Bytes in `pending`, `waiting` and `unstamped`.
    pub pending_bytes: usize,
    /// Who awaits which slot, in slot order (leader only).
    pub proposed: VecDeque<Proposed>,
    /// Reads that wait for a confirmation of leadership.
    pub confirming: VecDeque<Confirming<P>>,
    /// Reads to be answered here once more is applied.
    pub lagging: VecDeque<Lagging<P>>,
    /// Clients' requests that wait for a leader.
    pub waiting: VecDeque<Request<P>>,
    /// The session under which this core sends clients' writes.
    pub stamps: Stamps,
    /// Clients' writes that wait for that session, or for room in its window, in order.
    pub unstamped: VecDeque<(RequestId, Request<P>)>,
    /// Apply stands still until a cold value was read.
    pub parked: Option<Parked>,
    /// Answers for peers that are being read back.
    pub batches: Vec<Batch<P>>,
    pub next_batch: u64,
    pub builder: EntryBuilder<P>,
    pub stats: GroupStats,
}

/// A slot this replica proposed, and who awaits it.
#[derive(Debug)]
pub(crate) struct Proposed {
    pub slot: Slot,
    /// The ballot it was proposed in: with the slot, what was proposed (P-05d).
    pub ballot: Ballot,
    /// By place in the batch; nobody where the answer was given.
    pub origins: Vec<Option<Origin>>,
    pub at: Mono,
}

/// A read that waits for its leader to be confirmed.
#[derive(Debug)]
pub(crate) struct Confirming<P> {
    pub ticket: Mono,
    /// What was chosen when the read came: not before it is applied. A follower may have answered from it already.
    pub point: Slot,
    pub request: Request<P>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Parked {
    pub slot: Slot,
    pub position: u32,
    pub token: ReadToken,
    /// Of the value, and its checksum.
    pub location: Location,
    pub crc: u32,
    /// When the slot was found chosen.
    pub since: Mono,
}

impl<P: Payload> Group<P> {
    pub fn new(config: GroupConfig, timing: Timing, ahead: AheadLimits, level: Level, seed: u64) -> Self {
        Self {
            id: config.group,
            paxos: Paxos::new(config, timing, seed).with_ahead_limits(ahead).with_level(level),
            room: (Space::Free, false),
            led: None,
            followed: None,
            raised: None,
            asked: Asked::default(),
            wish: None,
            pending: VecDeque::new(),
            pending_bytes: 0,
            proposed: VecDeque::new(),
            confirming: VecDeque::new(),
            lagging: VecDeque::new(),
            waiting: VecDeque::new(),
            stamps: Stamps::default(),
            unstamped: VecDeque::new(),
            parked: None,
            batches: Vec::new(),
            next_batch: 0,
            builder: EntryBuilder::new(),
            stats: GroupStats::default(),
        }
    }

    pub fn invariants(&self) {
        self.paxos.invariants();
        self.stamps.invariants();
        assert!(self.led == self.paxos.leading(), "a change of leadership went unnoticed");
        if self.led.is_none() {
            assert!(self.pending.is_empty() && self.proposed.is_empty() && self.confirming.is_empty());
        }
        assert!(self.builder.is_empty());
        self.batches.iter().for_each(Batch::invariants);
        assert!(
            self.proposed.front().is_none_or(|proposed| proposed.slot > self.paxos.applied_slot()),
            "an applied slot has clients waiting"
        );
    }
}
