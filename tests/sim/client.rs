//! The clients. Each has one operation open at a time, with or without a session, and asks any node. None of
//! them takes silence for a failure.
//!
//! ```text
//!   wake ─▶ pick an operation ─▶ attempt ──answer────▶ settled
//!                                   │ certainly not executed: ask again (elsewhere)
//!                                   │ no answer: a read or a stamped write is asked again, the same number
//!                                   ▼   at another node; any other write stays *unknown*
//!                                 give up: refused if every attempt was certainly not executed, else unknown
//! ```
//!
//! May not: know the network, the nodes or the clock. The clients are a state machine like those they test:
//! they are told what happened and push what they want.

use super::fault::FaultKind;
use super::keys::{Keys, Kind};
use super::params::Params;
use super::queue::{Instant, MS, US};
use super::rng::Rng;
use crate::check::coverage::Coverage;
use crate::check::history::{History, OperationId};
use crate::check::model::{Action, Datum, MEMBER_COUNT};
use crate::check::version::Versions;
use crate::check::{Checked, Violation};
use std::collections::BTreeMap;
use synod_types::{
    Command, Consistency, ErrorKind, GroupId, Namespace, Op, Reply, SessionId, SessionStamp, Shared, Version,
};

mod answer;
mod draw;

/// Names one attempt of one operation; never used twice.
pub type AttemptId = u64;

/// An action that a client wants carried out.
#[derive(Debug)]
pub enum Want {
    /// Send this to a node.
    Send {
        /// When.
        after: u64,
        /// Which attempt this is.
        attempt: AttemptId,
        /// The node's index.
        node: usize,
        /// The key's group.
        group: GroupId,
        /// For reads.
        consistency: Consistency,
        /// The command.
        command: Command<Shared>,
    },
    /// Call [`Clients::on_timeout`] for this attempt after this time.
    Timeout {
        /// Which.
        attempt: AttemptId,
        /// When.
        after: u64,
    },
    /// Call [`Clients::wake`] after this time.
    Wake {
        /// When.
        after: u64,
    },
}

/// The state of an attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Waiting,
    /// Certainly not executed.
    Refused,
    /// Perhaps executed.
    Unknown,
}

#[derive(Debug)]
enum Job {
    Operation { id: OperationId, key: u32, action: Action },
    OpenSession,
}

#[derive(Debug)]
struct Current {
    job: Job,
    group: GroupId,
    consistency: Consistency,
    command: Command<Shared>,
    attempts: Vec<(AttemptId, State)>,
    give_up_at: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Session {
    id: SessionId,
    next_sequence: u64,
}

#[derive(Debug)]
struct Client {
    uses_sessions: bool,
    sessions: BTreeMap<GroupId, Session>,
    current: Option<Current>,
    home: usize,
    burst_left: u64,
    acknowledged: u64,
}

/// All clients, their keys and their history.
#[derive(Debug)]
pub struct Clients {
    params: Params,
    rng: Rng,
    clients: Vec<Client>,
    /// The keys.
    pub keys: Keys,
    /// Every operation with its answer.
    pub history: History,
    versions: Versions,
    next_attempt: AttemptId,
    owner: BTreeMap<AttemptId, usize>,
    next_blob: u32,
    /// Lengths of the blobs written, by name.
    blob_lens: BTreeMap<u32, usize>,
    /// By key: the value last seen or written, and its version. Comparisons ask for these.
    seen: BTreeMap<u32, (Datum, Version)>,
    /// By how much, in all, the expiry of a key may have been extended.
    put_off: BTreeMap<u32, u64>,
    /// Flushes of a group that were not answered.
    unknown_flushes: BTreeMap<GroupId, u32>,
    stopped: bool,
    /// Pauses are divided by this.
    haste: u64,
    acknowledged: u64,
    /// First answer per stamped write: a later answer to a retry of it must be the same.
    stamped: BTreeMap<(GroupId, SessionId, u64), Reply<Vec<u8>>>,
    /// The stamp an attempt carried.
    stamp_of: BTreeMap<AttemptId, (GroupId, SessionStamp)>,
    /// The coverage marks met.
    pub coverage: Coverage,
}

impl Clients {
    /// The clients of a run.
    pub fn new(params: &Params) -> Self {
        let mut rng = Rng::named(params.options.seed, "clients");
        let clients = (0..params.load.client_count)
            .map(|index| Client {
                uses_sessions: index < params.load.session_client_count,
                sessions: BTreeMap::new(),
                current: None,
                home: rng.index(usize::from(params.node_count)),
                burst_left: 0,
                acknowledged: 0,
            })
            .collect();
        Self {
            params: params.clone(),
            rng,
            clients,
            keys: Keys::new(params.group_count, params.load.keys_per_kind),
            history: History::new(),
            versions: Versions::new(),
            next_attempt: 0,
            owner: BTreeMap::new(),
            next_blob: 0,
            blob_lens: BTreeMap::new(),
            seen: BTreeMap::new(),
            put_off: BTreeMap::new(),
            unknown_flushes: BTreeMap::new(),
            stopped: false,
            haste: 1,
            acknowledged: 0,
            stamped: BTreeMap::new(),
            stamp_of: BTreeMap::new(),
            coverage: Coverage::new(),
        }
    }

    /// The number of clients, without helpers.
    pub fn count(&self) -> usize {
        self.params.load.client_count as usize
    }

    /// Adds a client without sessions that only does what [`Clients::ask`] tells it; returns its number.
    pub fn add_helper(&mut self) -> usize {
        self.clients.push(Client {
            uses_sessions: false,
            sessions: BTreeMap::new(),
            current: None,
            home: 0,
            burst_left: 0,
            acknowledged: 0,
        });
        self.clients.len() - 1
    }

    /// From here on no client begins a new operation on its own (helpers still do what they are told).
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    /// From here on clients pause less.
    pub fn hurry(&mut self) {
        self.haste = 4;
    }

    /// Operations acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Operations of one client acknowledged.
    pub fn acknowledged_by(&self, client: usize) -> u64 {
        self.clients[client].acknowledged
    }

    /// Whether a client waits for an answer.
    pub fn busy(&self, client: usize) -> bool {
        self.clients[client].current.is_some()
    }

    /// Whether any client waits for an answer.
    pub fn any_busy(&self) -> bool {
        self.clients.iter().any(|client| client.current.is_some())
    }

    /// The client an attempt belongs to.
    pub fn owner(&self, attempt: AttemptId) -> usize {
        self.owner[&attempt]
    }

    /// A client's pause is over.
    pub fn wake(&mut self, client: usize, now: Instant, out: &mut Vec<Want>) {
        if self.stopped || self.clients[client].current.is_some() {
            return;
        }
        if self.clients[client].burst_left == 0 {
            self.clients[client].burst_left = self.rng.between(1, self.params.load.burst_max);
            if self.rng.below(4) == 0 {
                self.clients[client].home = self.rng.index(usize::from(self.params.node_count));
            }
        }
        let mut key = *self.rng.pick(self.keys.live());
        if self.keys.get(key).kind == Kind::Family {
            key += self.rng.below(MEMBER_COUNT as u64) as u32;
        }
        let action = self.draw_action(key, now);
        self.begin(client, key, action, now, out);
    }

    /// Like [`Clients::ask`], but the caller chooses the first node.
    ///
    /// # Panics
    /// When the helper still waits for another answer.
    pub fn ask_at(
        &mut self,
        (helper, node): (usize, usize),
        key: u32,
        action: Action,
        now: Instant,
        out: &mut Vec<Want>,
    ) {
        assert!(self.clients[helper].current.is_none(), "one operation at a time");
        self.clients[helper].home = node;
        self.begin(helper, key, action, now, out);
    }

    /// A helper sends one request.
    ///
    /// # Panics
    /// When the helper still waits for another answer.
    pub fn ask(&mut self, helper: usize, key: u32, action: Action, now: Instant, out: &mut Vec<Want>) {
        assert!(self.clients[helper].current.is_none(), "one operation at a time");
        self.clients[helper].home = self.rng.index(usize::from(self.params.node_count));
        self.begin(helper, key, action, now, out);
    }

    /// A fresh value for a key's register.
    pub fn fresh_blob(&mut self) -> Datum {
        self.next_blob += 1;
        Datum::Blob(self.next_blob)
    }

    /// An attempt was answered.
    ///
    /// # Errors
    /// When no correct node gives this answer.
    pub fn on_reply(
        &mut self,
        attempt: AttemptId,
        reply: &Reply<Vec<u8>>,
        now: Instant,
        out: &mut Vec<Want>,
    ) -> Checked {
        self.check_stamped(attempt, reply)?;
        let client = self.owner(attempt);
        let Some(current) = self.clients[client].current.as_mut() else { return Ok(()) };
        let Some(entry) = current.attempts.iter_mut().find(|(id, _)| *id == attempt) else { return Ok(()) };
        if entry.1 != State::Waiting {
            return Ok(()); // timed out before; a later attempt decides
        }
        match reply {
            // If disks rot, all copies of a value may be out of reach at the same time.
            Reply::Error(ErrorKind::ReadFailed) if self.params.faults.contains(&FaultKind::Rot) => {
                self.coverage.meet("a value that nobody could read");
                entry.1 = State::Refused;
                self.go_on(client, now, out);
                Ok(())
            }
            // Certainly not executed, so it may be asked again.
            Reply::Error(ErrorKind::NoSpace) if self.params.faults.contains(&FaultKind::FullDisk) => {
                self.coverage.meet("refused for want of room");
                entry.1 = State::Refused;
                self.go_on(client, now, out);
                Ok(())
            }
            Reply::Error(ErrorKind::NoLeader | ErrorKind::Busy) => {
                entry.1 = State::Refused;
                self.go_on(client, now, out);
                Ok(())
            }
            Reply::Error(ErrorKind::Unknown) => {
                entry.1 = State::Unknown;
                self.go_on(client, now, out);
                Ok(())
            }
            Reply::Error(
                kind @ (ErrorKind::SessionExpired
                | ErrorKind::SequenceClosed
                | ErrorKind::BadExpiry
                | ErrorKind::ReadFailed
                | ErrorKind::ReplyDropped
                | ErrorKind::NoSpace
                | ErrorKind::Malformed),
            ) => {
                let detail =
                    format!("client {client} was answered {kind:?} for {:?}: {current:?}", current.command);
                Err(Violation::new("wrong-error", detail))
            }
            reply => self.on_answer(client, reply, now, out),
        }
    }

    /// The connection broke while the attempt was open, or time is up: it may have been executed.
    pub fn on_timeout(&mut self, attempt: AttemptId, now: Instant, out: &mut Vec<Want>) {
        self.end_attempt(attempt, State::Unknown, now, out);
    }

    /// The connection was refused: certainly not executed.
    pub fn on_refused(&mut self, attempt: AttemptId, now: Instant, out: &mut Vec<Want>) {
        self.end_attempt(attempt, State::Refused, now, out);
    }

    fn end_attempt(&mut self, attempt: AttemptId, state: State, now: Instant, out: &mut Vec<Want>) {
        let client = self.owner(attempt);
        let Some(current) = self.clients[client].current.as_mut() else { return };
        let Some(entry) = current.attempts.iter_mut().find(|(id, _)| *id == attempt) else { return };
        if entry.1 == State::Waiting {
            entry.1 = state;
            self.go_on(client, now, out);
        }
    }

    /// An attempt ended without an answer: ask again where that is allowed, otherwise settle.
    fn go_on(&mut self, client: usize, now: Instant, out: &mut Vec<Want>) {
        let Some(current) = self.clients[client].current.as_ref() else { return };
        if current.attempts.iter().any(|(_, state)| *state == State::Waiting) {
            return; // another attempt of the same operation is still open
        }
        let ambiguous = current.attempts.iter().any(|(_, state)| *state == State::Unknown);
        let repeatable = !current.command.op.is_write()
            || current.command.stamp.session != SessionId::NONE
            || matches!(current.job, Job::OpenSession);
        if now < current.give_up_at && (repeatable || !ambiguous) {
            // A short pause, so that a cluster without a leader is not asked millions of times.
            let node = self.rng.index(usize::from(self.params.node_count));
            self.clients[client].home = node;
            let delay = self.rng.between(2 * MS, 40 * MS);
            self.coverage.meet(if ambiguous {
                "asked again after silence"
            } else {
                "asked again after a refusal"
            });
            self.attempt(client, node, delay, out);
            return;
        }
        let Some(current) = self.clients[client].current.take() else { return };
        if let Job::Operation { id, key, action } = current.job {
            if !ambiguous {
                self.coverage.meet("operation refused");
                self.history.refuse(id);
            } else if action.is_write() {
                self.coverage.meet("write unknown for ever");
                self.on_unknown(key, action);
            }
        }
        self.rest(client, out);
    }

    fn on_unknown(&mut self, key: u32, action: Action) {
        if action != Action::Flush {
            self.keys.on_unknown(key);
            return;
        }
        // An unknown flush stays open for every key of the group.
        let group = self.keys.get(key).group;
        *self.unknown_flushes.entry(group).or_default() += 1;
        for key in self.keys.live().to_vec() {
            if self.keys.get(key).group == group {
                self.keys.on_unknown(key);
            }
        }
    }

    fn on_answer(
        &mut self,
        client: usize,
        reply: &Reply<Vec<u8>>,
        now: Instant,
        out: &mut Vec<Want>,
    ) -> Checked {
        let Some(current) = self.clients[client].current.take() else { return Ok(()) };
        match (current.job, reply) {
            (Job::OpenSession, Reply::Session(id)) => {
                self.coverage.meet("session opened");
                let session = Session { id: *id, next_sequence: 1 };
                self.clients[client].sessions.insert(current.group, session);
                out.push(Want::Wake { after: 0 });
                return Ok(());
            }
            (Job::Operation { id, key, action }, reply) => {
                let answer = self.answer_of(key, id, current.group, action, reply)?;
                self.history.answer(id, answer, now);
                self.acknowledged += 1;
                self.clients[client].acknowledged += 1;
            }
            (Job::OpenSession, reply) => {
                return Err(Violation::new("wrong-answer", format!("OPEN SESSION was answered {reply:?}")));
            }
        }
        self.rest(client, out);
        Ok(())
    }

    fn begin(&mut self, client: usize, key: u32, action: Action, now: Instant, out: &mut Vec<Want>) {
        let group = self.keys.get(key).group;
        let stamped = self.clients[client].uses_sessions && action.is_write();
        let give_up_at = now + self.rng.between(1, 3) * self.params.load.timeout;
        if stamped && !self.clients[client].sessions.contains_key(&group) {
            let command = Command::plain(Shared::default(), Op::OpenSession);
            self.start(client, Job::OpenSession, group, command, give_up_at, out);
            return;
        }
        let mut stamp = SessionStamp::default();
        if stamped && let Some(session) = self.clients[client].sessions.get_mut(&group) {
            let sequence = session.next_sequence;
            session.next_sequence += 1;
            // All earlier sequences are settled; a client may also say so late.
            let lag = self.rng.below(4).min(sequence - 1);
            stamp = SessionStamp { session: session.id, sequence, lowest_open: sequence - lag };
        }
        let (op, operand) = self.op_of(key, action, now);
        let name = self.name_of(key, action);
        let command = Command { namespace: Namespace::default(), key: Shared::new(name), op, operand, stamp };
        self.keys.on_operation(key);
        let id = self.history.call_member(client as u32, self.keys.subject(key), action, now);
        self.start(client, Job::Operation { id, key, action }, group, command, give_up_at, out);
    }

    fn start(
        &mut self,
        client: usize,
        job: Job,
        group: GroupId,
        command: Command<Shared>,
        give_up_at: Instant,
        out: &mut Vec<Want>,
    ) {
        let stamped = command.stamp.session != SessionId::NONE;
        let consistency = if self.rng.below(4) == 0 || self.params.clock.is_loose {
            Consistency::Quorum
        } else {
            Consistency::Linearizable
        };
        self.clients[client].current =
            Some(Current { job, group, consistency, command, attempts: Vec::new(), give_up_at });
        let home = self.clients[client].home;
        self.attempt(client, home, 0, out);
        if stamped && self.rng.below(100) < self.params.load.hedge_percent {
            let other = self.rng.index(usize::from(self.params.node_count));
            self.attempt(client, other, 0, out);
        }
    }

    /// Sends the current operation after `delay`, for the first time or again.
    fn attempt(&mut self, client: usize, node: usize, delay: u64, out: &mut Vec<Want>) {
        self.next_attempt += 1;
        let attempt = self.next_attempt;
        self.owner.insert(attempt, client);
        let timeout = self.params.load.timeout;
        let after = delay + self.rng.between(timeout / 2, timeout);
        let Some(current) = self.clients[client].current.as_mut() else { return };
        current.attempts.push((attempt, State::Waiting));
        if current.command.stamp.session != SessionId::NONE {
            self.stamp_of.insert(attempt, (current.group, current.command.stamp));
        }
        out.push(Want::Send {
            after: delay,
            attempt,
            node,
            group: current.group,
            consistency: current.consistency,
            command: current.command.clone(),
        });
        out.push(Want::Timeout { attempt, after });
    }

    fn rest(&mut self, client: usize, out: &mut Vec<Want>) {
        let burst_left = &mut self.clients[client].burst_left;
        *burst_left = burst_left.saturating_sub(1);
        let after = if *burst_left > 0 {
            self.rng.below(200 * US)
        } else {
            self.rng.exponential(self.params.load.pause_mean / self.haste)
        };
        out.push(Want::Wake { after });
    }
}
