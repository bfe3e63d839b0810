//! One client: its sessions, and the operation it has open.

use super::attempts::AttemptId;
use crate::check::history::OperationId;
use crate::check::model::Action;
use crate::sim::queue::Instant;
use crate::sim::rng::Rng;
use std::collections::BTreeMap;
use synod_types::{Command, Consistency, GroupId, SessionId, SessionStamp, Shared};

/// The state of an attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum AttemptState {
    Waiting,
    /// Certainly not executed.
    Refused,
    /// Perhaps executed.
    Unknown,
}

/// An operation that is in the history.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClientOperation {
    pub(super) id: OperationId,
    pub(super) key: u32,
    pub(super) action: Action,
}

/// What a client is about.
#[derive(Debug)]
pub(super) enum ClientJob {
    Operation(ClientOperation),
    OpenSession,
}

/// A job with all its attempts.
#[derive(Debug)]
pub(super) struct OpenOperation {
    pub(super) job: ClientJob,
    pub(super) group: GroupId,
    pub(super) consistency: Consistency,
    pub(super) command: Command<Shared>,
    attempts: Vec<(AttemptId, AttemptState)>,
    give_up_at: Instant,
}

impl OpenOperation {
    /// A job without an attempt.
    pub(super) fn new(
        job: ClientJob,
        group: GroupId,
        consistency: Consistency,
        command: Command<Shared>,
        give_up_at: Instant,
    ) -> Self {
        Self { job, group, consistency, command, attempts: Vec::new(), give_up_at }
    }

    /// An attempt begins.
    pub(super) fn begin(&mut self, attempt: AttemptId) {
        self.attempts.push((attempt, AttemptState::Waiting));
    }

    /// Whether the attempt is one of this operation and waits for its answer. If not, it timed out before,
    /// and a later attempt decides.
    pub(super) fn waits_for(&self, attempt: AttemptId) -> bool {
        self.attempts.contains(&(attempt, AttemptState::Waiting))
    }

    /// An attempt ends without an answer that counts; returns whether it was open.
    pub(super) fn end(&mut self, attempt: AttemptId, state: AttemptState) -> bool {
        let entry = self.attempts.iter_mut().find(|entry| **entry == (attempt, AttemptState::Waiting));
        match entry {
            Some((_, open)) => {
                *open = state;
                true
            }
            None => false,
        }
    }

    /// Whether an attempt is still open.
    pub(super) fn is_open(&self) -> bool {
        self.has(AttemptState::Waiting)
    }

    /// Whether an attempt was perhaps executed.
    pub(super) fn is_ambiguous(&self) -> bool {
        self.has(AttemptState::Unknown)
    }

    /// Whether it may be asked for again at `now`: there is time, and it does no harm if it is done twice.
    pub(super) fn may_go_on(&self, now: Instant) -> bool {
        let repeatable = !self.command.op.is_write()
            || self.command.stamp.session != SessionId::NONE
            || matches!(self.job, ClientJob::OpenSession);
        now < self.give_up_at && (repeatable || !self.is_ambiguous())
    }

    fn has(&self, wanted: AttemptState) -> bool {
        self.attempts.iter().any(|(_, state)| *state == wanted)
    }
}

/// A session that a client has opened.
#[derive(Clone, Copy, Debug)]
struct ClientSession {
    id: SessionId,
    next_sequence: u64,
}

/// One client.
#[derive(Debug)]
pub(super) struct SimClient {
    uses_sessions: bool,
    sessions: BTreeMap<GroupId, ClientSession>,
    pub(super) current: Option<OpenOperation>,
    /// The node it asks first.
    pub(super) home: usize,
    pub(super) burst_left: u64,
    pub(super) acknowledged: u64,
}

impl SimClient {
    /// A client that has done nothing yet.
    pub(super) fn new(uses_sessions: bool, home: usize) -> Self {
        let sessions = BTreeMap::new();
        Self { uses_sessions, sessions, current: None, home, burst_left: 0, acknowledged: 0 }
    }

    /// Whether its writes carry a stamp.
    pub(super) fn stamps(&self, action: Action) -> bool {
        self.uses_sessions && action.is_write()
    }

    /// Whether it has a session of this group.
    pub(super) fn has_session(&self, group: GroupId) -> bool {
        self.sessions.contains_key(&group)
    }

    /// Its session of a group has been opened.
    pub(super) fn open_session(&mut self, group: GroupId, id: SessionId) {
        self.sessions.insert(group, ClientSession { id, next_sequence: 1 });
    }

    /// The stamp of its next write in its session of this group; nothing if it has none.
    pub(super) fn next_stamp(&mut self, group: GroupId, rng: &mut Rng) -> Option<SessionStamp> {
        let session = self.sessions.get_mut(&group)?;
        let sequence = session.next_sequence;
        session.next_sequence += 1;
        // All earlier sequences are settled; a client may also say so late.
        let lag = rng.below(4).min(sequence - 1);
        Some(SessionStamp { session: session.id, sequence, lowest_open: sequence - lag })
    }
}
