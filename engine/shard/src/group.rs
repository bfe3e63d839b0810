//! One group on this core: its Paxos replica and what waits for it.

use crate::api::ReadToken;
use crate::parts::arrivals::Arrivals;
use crate::parts::backlog::Backlog;
use crate::parts::overload::Overload;
use crate::parts::proposals::Proposals;
use crate::parts::pulls::Pulls;
use crate::parts::session::NodeSession;
use crate::parts::sources::{RequestSources, TransferAttempt};
use crate::parts::stream::WriteStream;
use crate::parts::waiting_reads::WaitingReads;
use crate::stats::GroupStats;
use synod_paxos::{Paxos, Timing};
use synod_types::{Ballot, GroupId, Location, Mono, Nanos, NodeId, Payload, Slot, Space};

#[derive(Debug)]
pub(crate) struct Group<P> {
    /// The index among the core's groups.
    pub index: usize,
    pub id: GroupId,
    pub paxos: Paxos<P>,
    /// The state of the log as the group was last told: its room, and whether it is behind.
    pub told: (Space, bool),
    /// The ballot this replica led in at the last check. When it changes, waiting clients must be told.
    pub led: Option<Ballot>,
    /// The leader that was known at the last check.
    pub followed: Option<NodeId>,
    /// The ballot of the last leader that was known.
    pub followed_in: Option<Ballot>,
    /// When the group last made progress, as seen here.
    pub progress_at: Mono,
    /// Where the requests to this replica as the leader come from.
    pub sources: RequestSources,
    /// Since when the log lagged when others' logs were last tried.
    pub tried_logs: Option<Mono>,
    /// The last transfer that has not succeeded; kept when this replica loses leadership.
    pub attempt: Option<TransferAttempt>,
    pub backlog: Backlog<P>,
    pub proposals: Proposals<P>,
    pub reads: WaitingReads<P>,
    /// The session under which this core sends clients' writes.
    pub session: NodeSession,
    /// The writes that were stamped and have no answer yet.
    pub stream: WriteStream<P>,
    /// The writes of other nodes' streams (leader only).
    pub arrivals: Arrivals,
    /// Apply is blocked until a cold value has been read.
    pub blocked: Option<BlockedApply>,
    pub pulls: Pulls<P>,
    pub overload: Overload,
    pub stats: GroupStats,
}

/// Where apply is blocked, and the value that it needs to continue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BlockedApply {
    pub slot: Slot,
    /// Of the command.
    pub position: u32,
    pub token: ReadToken,
    /// Of the value, and its checksum.
    pub location: Location,
    pub crc: u32,
    /// When the slot was found chosen.
    pub since: Mono,
}

/// How long requests to a group may wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// When the group last made progress.
    progress_at: Mono,
    patience: Nanos,
    request_max: Nanos,
    now: Mono,
}

impl Patience {
    /// Whether a request that arrived then has waited long enough.
    pub fn is_over(&self, arrived: Mono) -> bool {
        self.now.since(arrived.max(self.progress_at)) >= self.patience
            || self.now.since(arrived) >= self.request_max
    }
}

impl<P: Payload> Group<P> {
    /// A replica at `index`; requests of up to `backlog_bytes_max` bytes may wait in it.
    pub fn new(index: usize, id: GroupId, paxos: Paxos<P>, backlog_bytes_max: usize) -> Self {
        Self {
            index,
            id,
            paxos,
            told: (Space::Free, false),
            led: None,
            followed: None,
            followed_in: None,
            progress_at: Mono::ZERO,
            sources: RequestSources::default(),
            tried_logs: None,
            attempt: None,
            backlog: Backlog::new(backlog_bytes_max),
            proposals: Proposals::new(),
            reads: WaitingReads::default(),
            session: NodeSession::default(),
            stream: WriteStream::default(),
            arrivals: Arrivals::default(),
            blocked: None,
            pulls: Pulls::default(),
            overload: Overload::default(),
            stats: GroupStats::default(),
        }
    }

    /// Whether a leader is known, this replica or another.
    pub fn has_leader(&self) -> bool {
        self.led.is_some() || self.paxos.leader_hint().is_some()
    }

    /// Whether a request that arrived then has waited long enough: the group has made no progress for the
    /// request's patience, or its time is over whatever the group does.
    pub fn is_over(&self, timing: &Timing, arrived: Mono, now: Mono) -> bool {
        self.patience(timing, now).is_over(arrived)
    }

    /// How long requests to this group may wait, as it is now.
    pub fn patience(&self, timing: &Timing, now: Mono) -> Patience {
        let Timing { patience, request_max, .. } = *timing;
        Patience { progress_at: self.progress_at, patience, request_max, now }
    }

    pub fn invariants(&self) {
        let leads = self.led.is_some();
        self.paxos.invariants();
        self.session.invariants();
        assert!(self.led == self.paxos.leading(), "a change of leadership went unnoticed");
        assert!(self.followed == self.paxos.leader_hint(), "a change of the leader went unnoticed");
        let (applied, chosen) = (self.paxos.applied_slot(), self.paxos.chosen());
        let blocked_at = self.blocked.map(|blocked| blocked.slot);
        assert!(blocked_at.is_none_or(|slot| slot == applied.next()), "apply is blocked elsewhere");
        assert!(blocked_at <= Some(chosen), "a slot is applied before it is chosen");
        self.backlog.invariants(leads);
        self.stream.invariants(leads);
        self.proposals.invariants(leads, self.paxos.applied_slot());
        self.reads.invariants(leads, chosen);
        self.pulls.invariants();
    }
}
