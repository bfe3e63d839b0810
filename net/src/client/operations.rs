//! Operations and retry: routes the caller's operations, has them sent, judges the answers and tries again.
//! `connections` keeps the links; this file says what a lost answer means.

use super::action::{ClientAction, Outcome};
use super::address::Address;
use super::config::ClientConfig;
use super::connections::Connections;
use super::error::ClientError;
use super::group_session::GroupSession;
use super::link::{Purpose, after};
use super::operation::{PendingOperation, Question};
use super::routing::Routing;
use crate::binary::{self, FailureCode, Response, ResponseBody, Topology};
use std::collections::BTreeMap;
use synod_types::{ErrorKind, GroupId, Nanos, Reply, SessionId};

/// The operations that have not ended, with all that decides where they are sent.
#[derive(Debug)]
pub(super) struct Operations {
    config: ClientConfig,
    routing: Routing,
    sessions: BTreeMap<GroupId, GroupSession>,
    pending: BTreeMap<u64, PendingOperation>,
}

impl Operations {
    pub(super) fn new(config: ClientConfig) -> Self {
        let routing = Routing::new(&config);
        Self { config, routing, sessions: BTreeMap::new(), pending: BTreeMap::new() }
    }

    /// How long an operation is tried if its caller says nothing else.
    pub(super) fn patience(&self) -> Nanos {
        self.config.deadline
    }

    /// From now on an operation is tried for this long if its caller says nothing else.
    pub(super) fn set_patience(&mut self, patience: Nanos) {
        self.config.deadline = patience;
    }

    /// Starts an operation, which is given up after `patience`, and returns its number.
    pub(super) fn start(
        &mut self,
        now: Nanos,
        patience: Nanos,
        question: Question,
        connections: &mut Connections,
    ) -> u64 {
        let id = connections.take_id();
        let operation = PendingOperation::new(question, now, after(now, patience));
        self.pending.insert(id, operation);
        self.advance(now, connections);
        id
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Whether an attempt of the operation is in flight.
    #[cfg(test)]
    pub(super) fn is_in_flight(&self, id: u64) -> bool {
        self.pending.get(&id).is_some_and(|operation| operation.sent.is_some())
    }

    /// The topology as last seen.
    pub(super) fn topology(&self) -> Option<&Topology> {
        self.routing.topology()
    }

    /// The times at which an operation, a session or the topology needs attention.
    pub(super) fn deadlines(&self) -> impl Iterator<Item = Nanos> {
        let operations =
            self.pending.values().flat_map(|operation| [operation.deadline, operation.not_before]);
        let sessions = self.sessions.values().filter_map(|session| match session {
            GroupSession::Closed { not_before } => Some(*not_before),
            _ => None,
        });
        operations.chain(sessions).chain([self.routing.due()])
    }

    // Answers, and answers that will never come.

    /// A request was answered by a server that admits this client.
    pub(super) fn on_response(
        &mut self,
        now: Nanos,
        purpose: Purpose,
        response: Response,
        connections: &mut Connections,
    ) {
        match purpose {
            Purpose::Auth => {}
            Purpose::Topology => {
                self.routing.note_unasked();
                match response.body {
                    ResponseBody::Topology(topology) => self.routing.learn(now, topology),
                    // The connection to this node is being left: another one is asked at once.
                    ResponseBody::Failed(FailureCode::Unavailable) => self.routing.doubt(now),
                    _ => self.routing.put_off(now),
                }
            }
            Purpose::OpenSession(group) => {
                let session = match response.body {
                    ResponseBody::Reply(Reply::Session(id)) if id != SessionId::NONE => {
                        GroupSession::opened(id)
                    }
                    body => {
                        self.note_no_session(group, &body);
                        self.routing.doubt(now);
                        GroupSession::Closed { not_before: after(now, self.config.pause) }
                    }
                };
                self.sessions.insert(group, session);
            }
            Purpose::Operation(id) => self.on_answer(now, id, response, connections),
        }
    }

    /// The connection is lost, and with it the answers to the requests sent on it.
    pub(super) fn on_lost(&mut self, now: Nanos, to: &Address, connections: &mut Connections) {
        let Some(unanswered) = connections.lose(now, to) else { return };
        self.routing.hurry(now);
        for purpose in unanswered {
            match purpose {
                Purpose::Auth => {}
                Purpose::Topology => self.routing.note_unasked(),
                Purpose::OpenSession(group) => {
                    let not_before = after(now, self.config.pause);
                    self.sessions.insert(group, GroupSession::Closed { not_before });
                }
                Purpose::Operation(id) => self.on_uncertain(now, id, connections),
            }
        }
    }

    /// A node has turned this machine away, and none of these requests was executed. They may be sent
    /// elsewhere at once.
    pub(super) fn on_turned_away(&mut self, now: Nanos, unanswered: Vec<Purpose>) {
        self.routing.hurry(now);
        for purpose in unanswered {
            self.on_not_taken(now, purpose);
        }
    }

    /// A request was certainly not executed.
    pub(super) fn on_not_taken(&mut self, now: Nanos, purpose: Purpose) {
        match purpose {
            Purpose::Auth => {}
            Purpose::Topology => self.routing.note_unasked(),
            Purpose::OpenSession(group) => {
                self.sessions.insert(group, GroupSession::Closed { not_before: now });
            }
            Purpose::Operation(id) => {
                if let Some(operation) = self.pending.get_mut(&id) {
                    operation.sent = None;
                    operation.not_before = now;
                }
            }
        }
    }

    /// The server at `from` does not admit this client. All operations end, those that may have been executed
    /// with [`ClientError::Unknown`].
    pub(super) fn end_all(&mut self, from: &Address, failure: FailureCode, connections: &mut Connections) {
        let ids: Vec<u64> = self.pending.keys().copied().collect();
        for id in ids {
            let uncertain = self.pending.get(&id).is_some_and(|operation| {
                let elsewhere = operation.sent.as_ref().is_some_and(|(to, _)| to != from);
                operation.is_write() && (operation.maybe_executed || elsewhere)
            });
            let error = if uncertain { ClientError::Unknown } else { ClientError::NotAdmitted(failure) };
            self.finish(id, Err(error), connections);
        }
    }

    /// A server has answered, and there is no session. That is why the group's writes wait: whoever gives one
    /// up must not be told that no server could be reached.
    fn note_no_session(&mut self, group: GroupId, body: &ResponseBody) {
        let why = match body {
            ResponseBody::Reply(Reply::Error(kind @ (ErrorKind::Busy | ErrorKind::NoSpace))) => *kind,
            // Whatever else a group answers that could not open a session, it has no leader that serves.
            _ => ErrorKind::NoLeader,
        };
        let concerned = |id: &u64| self.group_of_operation(*id) == Some(group);
        let ids: Vec<u64> = self.pending.keys().copied().filter(concerned).collect();
        for id in ids {
            if let Some(operation) = self.pending.get_mut(&id).filter(|operation| operation.is_write()) {
                operation.last = Some(why);
            }
        }
    }

    /// Whether the operation is a write that waits for a connected server to open a session.
    fn waits_for_session(&self, id: u64) -> bool {
        let is_write = self.pending.get(&id).is_some_and(PendingOperation::is_write);
        let session = self.group_of_operation(id).and_then(|group| self.sessions.get(&group));
        is_write && matches!(session, Some(GroupSession::Opening))
    }

    fn on_answer(&mut self, now: Nanos, id: u64, response: Response, connections: &mut Connections) {
        let Some(operation) = self.pending.get_mut(&id) else { return };
        operation.sent = None;
        let outcome = match (&operation.question, response.body) {
            (Question::Topology, ResponseBody::Topology(topology)) => {
                self.routing.learn(now, topology.clone());
                return self.finish(id, Ok(Outcome::Topology(topology)), connections);
            }
            (Question::Status(_), ResponseBody::Status(status)) => Ok(Outcome::Status(status)),
            (Question::Command { .. }, ResponseBody::Reply(Reply::Error(kind))) => {
                return self.on_error(now, id, kind, response.text, connections);
            }
            (Question::Command { .. }, ResponseBody::Reply(reply)) => Ok(Outcome::Reply(reply)),
            (_, ResponseBody::Failed(FailureCode::Unavailable)) => {
                operation.last = Some(ErrorKind::NoLeader);
                return self.pause(now, id);
            }
            (_, ResponseBody::Failed(failure)) => Err(ClientError::NotAdmitted(failure)),
            // A write may have been executed although the answer does not fit it.
            _ if operation.is_write() => Err(ClientError::Unknown),
            _ => Err(ClientError::WrongAnswer),
        };
        let outcome = match outcome {
            Err(ClientError::NotAdmitted(_)) if operation.maybe_executed => Err(ClientError::Unknown),
            outcome => outcome,
        };
        self.finish(id, outcome, connections);
    }

    fn on_error(
        &mut self,
        now: Nanos,
        id: u64,
        kind: ErrorKind,
        text: String,
        connections: &mut Connections,
    ) {
        let Some(operation) = self.pending.get_mut(&id) else { return };
        match kind {
            ErrorKind::NoLeader | ErrorKind::Busy | ErrorKind::NoSpace => {
                operation.last = Some(kind);
                if kind == ErrorKind::NoLeader {
                    self.routing.doubt(now);
                }
                self.pause(now, id);
            }
            ErrorKind::Unknown => {
                self.routing.doubt(now);
                self.on_uncertain(now, id, connections);
            }
            ErrorKind::SessionExpired => {
                let (number, maybe_executed) = (operation.number.take(), operation.maybe_executed);
                if let (Some((session, _)), Some(group)) = (number, self.group_of_operation(id)) {
                    self.sessions.entry(group).and_modify(|known| known.expire(session, now));
                }
                // An earlier attempt may have been executed before the session was evicted: a new session
                // would execute it again.
                if maybe_executed || number.is_none() {
                    self.finish(id, Err(ClientError::Unknown), connections);
                } else {
                    self.pause(now, id);
                }
            }
            // Executed at some time, or closed by a later stamp of this client: its reply is gone.
            ErrorKind::SequenceClosed | ErrorKind::ReplyDropped => {
                self.finish(id, Err(ClientError::Unknown), connections);
            }
            ErrorKind::NotAnInteger
            | ErrorKind::Overflow
            | ErrorKind::BadExpiry
            | ErrorKind::ReadFailed
            | ErrorKind::Malformed => {
                // Servers check these before they look at the session.
                let at_border = matches!(kind, ErrorKind::Malformed | ErrorKind::BadExpiry);
                let uncertain = operation.maybe_executed && at_border;
                let error =
                    if uncertain { ClientError::Unknown } else { ClientError::Refused { kind, text } };
                self.finish(id, Err(error), connections);
            }
        }
    }

    /// The outcome of an attempt is unknown. A read is sent again; a write only if its session prevents a
    /// second execution.
    fn on_uncertain(&mut self, now: Nanos, id: u64, connections: &mut Connections) {
        let Some(operation) = self.pending.get_mut(&id) else { return };
        operation.sent = None;
        if operation.is_write() {
            operation.maybe_executed = true;
            if operation.number.is_none() {
                return self.finish(id, Err(ClientError::Unknown), connections);
            }
        }
        self.pause(now, id);
    }

    /// The next attempt follows after a pause that grows.
    fn pause(&mut self, now: Nanos, id: u64) {
        let Some(operation) = self.pending.get_mut(&id) else { return };
        operation.not_before = after(now, self.config.pause_after(operation.attempts));
    }

    fn finish(&mut self, id: u64, result: Result<Outcome, ClientError>, connections: &mut Connections) {
        let group = self.group_of_operation(id);
        let Some(operation) = self.pending.remove(&id) else { return };
        if let (Some((session, number)), Some(group)) = (operation.number, group) {
            self.sessions.entry(group).and_modify(|known| known.close_number(session, number));
        }
        connections.act(ClientAction::Done { operation: id, result });
    }

    // The next things to send.

    /// Does everything that can be done now.
    pub(super) fn advance(&mut self, now: Nanos, connections: &mut Connections) {
        self.expire_attempts(now, connections);
        self.expire_operations(now, connections);
        if self.pending.is_empty() {
            return;
        }
        // A client that needs no topology asks for it after "no leader": a node that has none to give replays
        // its log, and another one may serve.
        if self.config.routing || self.config.sessions || self.routing.is_doubted() {
            self.refresh_topology(now, connections);
        }
        let ids: Vec<u64> = self.pending.keys().copied().collect();
        for id in ids {
            self.attempt(now, id, connections);
        }
    }

    /// A connection that leaves a request unanswered for too long is closed for all requests.
    fn expire_attempts(&mut self, now: Nanos, connections: &mut Connections) {
        for to in connections.overdue(now) {
            connections.disconnect(&to);
            self.on_lost(now, &to, connections);
        }
    }

    fn expire_operations(&mut self, now: Nanos, connections: &mut Connections) {
        let attempts_max = self.config.attempts_max;
        let over = |operation: &PendingOperation| {
            operation.deadline <= now || (operation.sent.is_none() && operation.attempts >= attempts_max)
        };
        let ids: Vec<u64> =
            self.pending.iter().filter(|(_, operation)| over(operation)).map(|(id, _)| *id).collect();
        for id in ids {
            let Some(operation) = self.pending.get(&id) else { continue };
            let uncertain = operation.maybe_executed || operation.sent.is_some();
            let error = match operation.last {
                _ if uncertain && operation.is_write() => ClientError::Unknown,
                Some(kind) => ClientError::NotExecuted(kind),
                None if self.waits_for_session(id) => ClientError::NotExecuted(ErrorKind::NoLeader),
                None => ClientError::Unreachable,
            };
            self.finish(id, Err(error), connections);
        }
    }

    fn refresh_topology(&mut self, now: Nanos, connections: &mut Connections) {
        if !self.routing.wants_topology(now) {
            return;
        }
        let Some(to) = connections.ready(now, None, self.routing.nodes()) else { return };
        connections.send(now, to, Purpose::Topology, binary::encode_topology);
        self.routing.note_asked();
    }

    fn attempt(&mut self, now: Nanos, id: u64, connections: &mut Connections) {
        let Some(operation) = self.pending.get(&id) else { return };
        if operation.sent.is_some() || operation.not_before > now {
            return;
        }
        let to = match &operation.question {
            Question::Topology => connections.ready(now, None, self.routing.nodes()),
            Question::Status(of) => {
                let to = connections.ready(now, of.as_ref(), self.routing.nodes());
                // Another node's status is no answer: wait for this one.
                to.filter(|to| of.as_ref().is_none_or(|of| of == to))
            }
            Question::Command { .. } => self.prepare_command(now, id, connections),
        };
        let (Some(to), Some(operation)) = (to, self.pending.get_mut(&id)) else { return };
        let question = &operation.question;
        let purpose = Purpose::Operation(id);
        let request =
            connections.send(now, to.clone(), purpose, |bytes, request| question.encode(bytes, request));
        operation.sent = Some((to, request));
        operation.attempts += 1;
    }

    /// Finds the link and, for a write, the session and the stamp.
    fn prepare_command(&mut self, now: Nanos, id: u64, connections: &mut Connections) -> Option<Address> {
        let group = self.group_of_operation(id);
        if group.is_none() && (self.config.routing || self.config.sessions) {
            return None; // the topology is on its way
        }
        let preferred = group.and_then(|group| self.routing.leader_of(group));
        let to = connections.ready(now, preferred.as_ref(), self.routing.nodes())?;
        let operation = self.pending.get_mut(&id)?;
        let wants_session = self.config.sessions && operation.is_write();
        if wants_session && let Some(group) = group {
            let session = self.sessions.entry(group).or_insert(GroupSession::Closed { not_before: now });
            if let GroupSession::Closed { not_before } = session {
                // A command that had a number in a lost session is sent again only if it was certainly not
                // executed.
                if *not_before <= now {
                    *session = GroupSession::Opening;
                    connections.send(now, to, Purpose::OpenSession(group), |bytes, request| {
                        binary::encode_open_session(bytes, request, group);
                    });
                }
                return None;
            }
            if operation.number.is_none() {
                operation.number = session.take_number();
            }
            let (session_id, number) = operation.number?;
            let stamp = session.stamp(session_id, number);
            let Question::Command { command, .. } = &mut operation.question else { return None };
            let Some(stamp) = stamp else {
                // Another operation has found the session expired in the meantime.
                if operation.maybe_executed {
                    self.finish(id, Err(ClientError::Unknown), connections);
                    return None;
                }
                operation.number = None;
                operation.not_before = now;
                return self.prepare_command(now, id, connections);
            };
            command.stamp = stamp;
        }
        Some(to)
    }

    fn group_of_operation(&self, id: u64) -> Option<GroupId> {
        let Question::Command { command, .. } = &self.pending.get(&id)?.question else { return None };
        self.routing.group_of(&command.key)
    }
}
