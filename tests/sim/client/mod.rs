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

mod answer;
mod attempts;
mod command;
mod dice;
mod draw;
mod state;

use super::fault::FaultKind;
use super::keys::{Keys, Kind};
use super::params::Params;
use super::queue::{Instant, MS, US};
use crate::check::coverage::Coverage;
use crate::check::history::History;
use crate::check::model::{Action, Datum, MEMBER_COUNT};
use crate::check::{Checked, Violation};
use answer::Answers;
use attempts::Attempts;
use command::CommandDraw;
use dice::Dice;
use draw::ActionDraw;
use state::{AttemptState, ClientJob, ClientOperation, OpenOperation, SimClient};
use synod_types::{Command, Consistency, ErrorKind, GroupId, Namespace, Op, Reply, SessionId, Shared};

pub use attempts::AttemptId;

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

/// All clients, their keys and their history.
#[derive(Debug)]
pub struct Clients {
    params: Params,
    dice: Dice,
    clients: Vec<SimClient>,
    /// The keys.
    pub keys: Keys,
    /// Every operation with its answer.
    pub history: History,
    answers: Answers,
    attempts: Attempts,
    stopped: bool,
    /// Pauses are divided by this.
    haste: u64,
    acknowledged: u64,
    /// The coverage marks met.
    pub coverage: Coverage,
}

impl Clients {
    /// The clients of a run.
    pub fn new(params: &Params) -> Self {
        let mut dice = Dice::new(params);
        let clients = (0..params.load.client_count)
            .map(|index| SimClient::new(index < params.load.session_client_count, dice.node()))
            .collect();
        Self {
            params: params.clone(),
            dice,
            clients,
            keys: Keys::new(params.group_count, params.load.keys_per_kind),
            history: History::new(),
            answers: Answers::new(),
            attempts: Attempts::default(),
            stopped: false,
            haste: 1,
            acknowledged: 0,
            coverage: Coverage::new(),
        }
    }

    /// The number of clients, without helpers.
    pub fn count(&self) -> usize {
        self.params.load.client_count as usize
    }

    /// Adds a client without sessions that only does what [`Clients::ask`] tells it; returns its number.
    pub fn add_helper(&mut self) -> usize {
        self.clients.push(SimClient::new(false, 0));
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
        self.attempts.owner(attempt)
    }

    /// A client's pause is over.
    pub fn wake(&mut self, client: usize, now: Instant, out: &mut Vec<Want>) {
        if self.stopped || self.clients[client].current.is_some() {
            return;
        }
        if self.clients[client].burst_left == 0 {
            self.clients[client].burst_left = self.dice.rng.between(1, self.params.load.burst_max);
            if self.dice.rng.below(4) == 0 {
                self.clients[client].home = self.dice.node();
            }
        }
        let mut key = *self.dice.rng.pick(self.keys.live());
        if self.keys.get(key).kind == Kind::Family {
            key += self.dice.rng.below(MEMBER_COUNT as u64) as u32;
        }
        let mut draw = ActionDraw { dice: &mut self.dice, keys: &self.keys, answers: &self.answers, now };
        let action = draw.draw_action(key);
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
        self.clients[helper].home = self.dice.node();
        self.begin(helper, key, action, now, out);
    }

    /// A fresh value for a key's register.
    pub fn fresh_blob(&mut self) -> Datum {
        self.dice.fresh_blob()
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
        self.attempts.check_stamped(attempt, reply, &mut self.coverage)?;
        let client = self.owner(attempt);
        let Some(current) = self.clients[client].current.as_ref() else { return Ok(()) };
        if !current.waits_for(attempt) {
            return Ok(());
        }
        match reply {
            // If disks rot, all copies of a value may be out of reach at the same time.
            Reply::Error(ErrorKind::ReadFailed) if self.params.faults.contains(&FaultKind::Rot) => {
                self.coverage.meet("a value that no node could read");
                self.end_attempt(attempt, AttemptState::Refused, now, out);
            }
            // Certainly not executed, so it may be asked again.
            Reply::Error(ErrorKind::NoSpace) if self.params.faults.contains(&FaultKind::FullDisk) => {
                self.coverage.meet("refused for lack of room");
                self.end_attempt(attempt, AttemptState::Refused, now, out);
            }
            Reply::Error(ErrorKind::NoLeader | ErrorKind::Busy) => {
                self.end_attempt(attempt, AttemptState::Refused, now, out);
            }
            Reply::Error(ErrorKind::Unknown) => {
                self.end_attempt(attempt, AttemptState::Unknown, now, out);
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
                return Err(Violation::new("wrong-error", detail));
            }
            reply => return self.on_answer(client, reply, now, out),
        }
        Ok(())
    }

    /// The connection broke while the attempt was open, or time is up: it may have been executed.
    pub fn on_timeout(&mut self, attempt: AttemptId, now: Instant, out: &mut Vec<Want>) {
        self.end_attempt(attempt, AttemptState::Unknown, now, out);
    }

    /// The connection was refused: certainly not executed.
    pub fn on_refused(&mut self, attempt: AttemptId, now: Instant, out: &mut Vec<Want>) {
        self.end_attempt(attempt, AttemptState::Refused, now, out);
    }

    fn end_attempt(&mut self, attempt: AttemptId, state: AttemptState, now: Instant, out: &mut Vec<Want>) {
        let client = self.owner(attempt);
        let Some(current) = self.clients[client].current.as_mut() else { return };
        if current.end(attempt, state) {
            self.go_on(client, now, out);
        }
    }

    /// An attempt ended without an answer: ask again where that is allowed, otherwise settle.
    fn go_on(&mut self, client: usize, now: Instant, out: &mut Vec<Want>) {
        let Some(current) = self.clients[client].current.as_ref() else { return };
        if current.is_open() {
            return; // another attempt of the same operation
        }
        let ambiguous = current.is_ambiguous();
        if current.may_go_on(now) {
            // A short pause, so that a cluster without a leader is not asked millions of times.
            let node = self.dice.node();
            self.clients[client].home = node;
            let delay = self.dice.rng.between(2 * MS, 40 * MS);
            self.coverage.meet(if ambiguous {
                "asked again after silence"
            } else {
                "asked again after a refusal"
            });
            self.attempt(client, node, delay, out);
            return;
        }
        let Some(current) = self.clients[client].current.take() else { return };
        if let ClientJob::Operation(ClientOperation { id, key, action }) = current.job {
            if !ambiguous {
                self.coverage.meet("operation refused");
                self.history.refuse(id);
            } else if action.is_write() {
                self.coverage.meet("write never answered");
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
        *self.dice.unknown_flushes.entry(group).or_default() += 1;
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
            (ClientJob::OpenSession, Reply::Session(id)) => {
                self.coverage.meet("session opened");
                self.clients[client].open_session(current.group, *id);
                out.push(Want::Wake { after: 0 });
                return Ok(());
            }
            (ClientJob::Operation(operation), reply) => {
                let entry = self.keys.get(operation.key);
                let answer = self.answers.on_answer(operation, entry, reply, &mut self.coverage)?;
                self.history.answer(operation.id, answer, now);
                self.acknowledged += 1;
                self.clients[client].acknowledged += 1;
            }
            (ClientJob::OpenSession, reply) => {
                return Err(Violation::new("wrong-answer", format!("OPEN SESSION was answered {reply:?}")));
            }
        }
        self.rest(client, out);
        Ok(())
    }

    fn begin(&mut self, client: usize, key: u32, action: Action, now: Instant, out: &mut Vec<Want>) {
        let group = self.keys.get(key).group;
        let stamped = self.clients[client].stamps(action);
        let give_up_at = now + self.dice.rng.between(1, 3) * self.params.load.timeout;
        if stamped && !self.clients[client].has_session(group) {
            let command = Command::plain(Shared::default(), Op::OpenSession);
            self.start(client, ClientJob::OpenSession, group, command, give_up_at, out);
            return;
        }
        let stamp = if stamped { self.clients[client].next_stamp(group, &mut self.dice.rng) } else { None };
        let mut draw = CommandDraw { dice: &mut self.dice, keys: &self.keys, answers: &self.answers, now };
        let (op, operand) = draw.op_of(key, action);
        let name = draw.name_of(key, action);
        let command = Command {
            namespace: Namespace::default(),
            key: Shared::new(name),
            op,
            operand,
            stamp: stamp.unwrap_or_default(),
        };
        self.keys.on_operation(key);
        let id = self.history.call_member(client as u32, self.keys.subject(key), action, now);
        let job = ClientJob::Operation(ClientOperation { id, key, action });
        self.start(client, job, group, command, give_up_at, out);
    }

    fn start(
        &mut self,
        client: usize,
        job: ClientJob,
        group: GroupId,
        command: Command<Shared>,
        give_up_at: Instant,
        out: &mut Vec<Want>,
    ) {
        let stamped = command.stamp.session != SessionId::NONE;
        let consistency = if self.dice.rng.below(4) == 0 || self.params.clock.is_loose {
            Consistency::Quorum
        } else {
            Consistency::Linearizable
        };
        let current = OpenOperation::new(job, group, consistency, command, give_up_at);
        self.clients[client].current = Some(current);
        let home = self.clients[client].home;
        self.attempt(client, home, 0, out);
        if stamped && self.dice.rng.below(100) < self.params.load.hedge_percent {
            let other = self.dice.node();
            self.attempt(client, other, 0, out);
        }
    }

    /// Sends the current operation after `delay`, for the first time or again.
    fn attempt(&mut self, client: usize, node: usize, delay: u64, out: &mut Vec<Want>) {
        let attempt = self.attempts.begin(client);
        let timeout = self.params.load.timeout;
        let after = delay + self.dice.rng.between(timeout / 2, timeout);
        let Some(current) = self.clients[client].current.as_mut() else { return };
        current.begin(attempt);
        self.attempts.stamp(attempt, current.group, current.command.stamp);
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
            self.dice.rng.below(200 * US)
        } else {
            self.dice.rng.exponential(self.params.load.pause_mean / self.haste)
        };
        out.push(Want::Wake { after });
    }
}
