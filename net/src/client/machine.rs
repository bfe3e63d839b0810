//! The client as a pure state machine: operations in, actions out; time and bytes are passed in. This file
//! routes operations, sends them, judges the answers and retries; `links` keeps the connections.
//!
//! Contract: after every call that takes `now`, take [`Core::action`] until it returns `None`. Time never
//! goes back. Call [`Core::tick`] at the time that [`Core::wakeup`] names.

use super::action::{Action, Outcome};
use super::address::Address;
use super::config::ClientConfig;
use super::error::ClientError;
use super::link::{Purpose, after};
use super::links::{Links, Ready};
use super::operation::{Operation, Question};
use super::session::Session;
use crate::binary::{self, Failure, Response, ResponseBody, Topology};
use std::collections::{BTreeMap, VecDeque};
use synod_types::{
    Command, Consistency, ErrorKind, GroupId, Nanos, Op, Reply, SessionId, SessionStamp, bucket_of, group_of,
};

/// The client core; see the module's contract.
#[derive(Debug)]
pub struct Core {
    config: ClientConfig,
    topology: Option<Topology>,
    /// When to ask for the topology again.
    topology_due: Nanos,
    topology_asked: bool,
    links: Links,
    sessions: BTreeMap<GroupId, Session>,
    operations: BTreeMap<u64, Operation>,
    next_id: u64,
    actions: VecDeque<Action>,
}

impl Core {
    /// A client that is given these addresses of a cluster.
    ///
    /// # Panics
    /// When there is none.
    pub fn new(config: ClientConfig, seeds: Vec<Address>) -> Self {
        assert!(!seeds.is_empty(), "a client needs an address");
        Self {
            config,
            topology: None,
            topology_due: Nanos::ZERO,
            topology_asked: false,
            links: Links::new(seeds),
            sessions: BTreeMap::new(),
            operations: BTreeMap::new(),
            next_id: 1,
            actions: VecDeque::new(),
        }
    }

    /// Starts a command; the core sets its stamp. The returned number names it in [`Action::Done`].
    pub fn command(&mut self, now: Nanos, consistency: Consistency, mut command: Command<Vec<u8>>) -> u64 {
        let fits = binary::is_binary(command.op) && command.check().is_ok();
        if !fits {
            let operation = self.take_id();
            self.actions.push_back(Action::Done { operation, result: Err(ClientError::OverLimit) });
            return operation;
        }
        if let Op::Set { value_crc, .. } = &mut command.op {
            *value_crc = synod_types::checksum::crc32c(&command.operand);
        }
        command.stamp = SessionStamp::default();
        self.start(now, Question::Command { command, consistency })
    }
    /// Asks for the topology.
    pub fn topology(&mut self, now: Nanos) -> u64 {
        self.start(now, Question::Topology)
    }
    /// Asks for a node's status; without an address, any node's.
    pub fn status(&mut self, now: Nanos, of: Option<Address>) -> u64 {
        self.start(now, Question::Status(of))
    }
    /// The connection is established.
    pub fn connected(&mut self, now: Nanos, to: &Address) {
        if !self.links.come_up(to) {
            return;
        }
        let mut bytes = binary::PREAMBLE.to_vec();
        if let Some(password) = &self.config.password {
            let id = self.next_id;
            self.next_id += 1;
            binary::encode_auth(&mut bytes, id, password.bytes());
            self.links.note(now, to, id, Purpose::Auth);
        }
        self.actions.push_back(Action::Send { to: to.clone(), bytes });
        self.advance(now);
    }
    /// The connection could not be established, or is lost.
    pub fn disconnected(&mut self, now: Nanos, to: &Address) {
        self.lose(now, to);
        self.advance(now);
    }
    /// Bytes were received.
    pub fn received(&mut self, now: Nanos, from: &Address, bytes: &[u8]) {
        self.links.feed(from, bytes);
        while let Some(response) = self.links.next_response(from) {
            match response {
                Ok(response) => self.on_response(now, from, response),
                Err(_) => {
                    self.actions.push_back(Action::Disconnect(from.clone()));
                    self.lose(now, from);
                }
            }
        }
        self.advance(now);
    }
    /// Time has passed.
    pub fn tick(&mut self, now: Nanos) {
        self.advance(now);
    }
    /// The next thing to do.
    pub fn action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Core::tick`] is due at the latest, if nothing else happens.
    pub fn wakeup(&self, now: Nanos) -> Option<Nanos> {
        if self.operations.is_empty() {
            return None; // an idle client is left alone
        }
        let operations =
            self.operations.values().flat_map(|operation| [operation.deadline, operation.not_before]);
        let links = self.links.deadlines(self.config.attempt_timeout);
        let sessions = self.sessions.values().filter_map(|session| match session {
            Session::Closed { not_before } => Some(*not_before),
            _ => None,
        });
        operations.chain(links).chain(sessions).chain([self.topology_due]).filter(|&at| at > now).min()
    }
    /// The connections on which an answer is outstanding.
    pub fn waiting(&self) -> Vec<Address> {
        self.links.waiting()
    }
    /// Whether an attempt of the operation is in flight.
    #[cfg(test)]
    pub(super) fn waits_for_operation(&self, id: u64) -> bool {
        self.operations.get(&id).is_some_and(|operation| operation.sent.is_some())
    }
    /// The topology as last seen.
    pub fn known_topology(&self) -> Option<&Topology> {
        self.topology.as_ref()
    }

    fn take_id(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    fn start(&mut self, now: Nanos, question: Question) -> u64 {
        let id = self.take_id();
        let operation = Operation::new(question, now, after(now, self.config.deadline));
        self.operations.insert(id, operation);
        self.advance(now);
        id
    }

    // Responses from servers.

    fn on_response(&mut self, now: Nanos, from: &Address, response: Response) {
        let Some(answered) = self.links.on_response(from, response.id) else { return };
        let Some(purpose) = answered else {
            // Id 0 answers no request: the server explains why it is about to close.
            match (response.id, response.body) {
                (0, ResponseBody::Failed(Failure::Protected)) if !self.links.is_seed(from) => {
                    self.on_turned_away(now, from);
                }
                (0, ResponseBody::Failed(failure @ (Failure::Version | Failure::Protected))) => {
                    self.on_not_admitted(now, from, failure)
                }
                (0, ResponseBody::Failed(_)) => {
                    self.actions.push_back(Action::Disconnect(from.clone()));
                    self.lose(now, from);
                }
                _ => {} // the answer to an operation that was given up
            }
            return;
        };
        if let ResponseBody::Failed(failure @ (Failure::AuthRequired | Failure::AuthFailed)) = response.body {
            return self.on_not_admitted_to(now, from, purpose, failure);
        }
        match purpose {
            Purpose::Auth => {}
            Purpose::Topology => {
                self.topology_asked = false;
                match response.body {
                    ResponseBody::Topology(topology) => self.on_topology(now, topology),
                    _ => self.topology_due = after(now, self.config.pause_max),
                }
            }
            Purpose::OpenSession(group) => {
                let session = match response.body {
                    ResponseBody::Reply(Reply::Session(id)) if id != SessionId::NONE => Session::opened(id),
                    _ => {
                        self.topology_due = now;
                        Session::Closed { not_before: after(now, self.config.pause) }
                    }
                };
                self.sessions.insert(group, session);
            }
            Purpose::Operation(id) => self.on_answer(now, id, response),
        }
    }

    fn on_topology(&mut self, now: Nanos, topology: Topology) {
        if topology.group_count == 0 {
            self.topology_due = after(now, self.config.pause_max);
            return;
        }
        // If a leader is not known yet, the topology is asked for again soon.
        let complete = topology.groups.iter().all(|group| group.leader.is_some());
        let refresh = if complete { self.config.topology_refresh } else { self.config.pause_max };
        self.topology_due = after(now, refresh);
        self.topology = Some(topology);
    }

    /// The request that was refused counts as lost, like all others on the connection.
    fn on_not_admitted_to(&mut self, now: Nanos, from: &Address, purpose: Purpose, failure: Failure) {
        match purpose {
            Purpose::Auth | Purpose::Operation(_) => {}
            Purpose::Topology => self.topology_asked = false,
            Purpose::OpenSession(group) => {
                self.sessions.insert(group, Session::Closed { not_before: now });
            }
        }
        self.on_not_admitted(now, from, failure);
    }

    /// A node in protected mode has turned this machine away. Nothing sent there was executed. The addresses
    /// that the caller gave will forward it, and this node is not tried again for a while.
    fn on_turned_away(&mut self, now: Nanos, from: &Address) {
        self.actions.push_back(Action::Disconnect(from.clone()));
        let span = self.config.topology_refresh.max(self.config.pause_max);
        let Some(unanswered) = self.links.take_down(from, after(now, span)) else { return };
        self.topology_due = self.topology_due.min(now);
        for purpose in unanswered {
            match purpose {
                Purpose::Auth => {}
                Purpose::Topology => self.topology_asked = false,
                Purpose::OpenSession(group) => {
                    self.sessions.insert(group, Session::Closed { not_before: now });
                }
                Purpose::Operation(id) => {
                    if let Some(operation) = self.operations.get_mut(&id) {
                        operation.sent = None;
                        operation.not_before = now;
                    }
                }
            }
        }
    }

    /// A wrong password stays wrong: all operations end, those that may have been executed with
    /// [`ClientError::Unknown`].
    fn on_not_admitted(&mut self, now: Nanos, from: &Address, failure: Failure) {
        self.actions.push_back(Action::Disconnect(from.clone()));
        // Nothing on a connection that was not admitted is executed, so operations in flight there are not
        // uncertain.
        self.links.forget_operations(from);
        self.lose(now, from);
        let ids: Vec<u64> = self.operations.keys().copied().collect();
        for id in ids {
            let uncertain = self.operations.get(&id).is_some_and(|operation| {
                let elsewhere = operation.sent.as_ref().is_some_and(|(to, _)| to != from);
                operation.is_write() && (operation.maybe_executed || elsewhere)
            });
            let error = if uncertain { ClientError::Unknown } else { ClientError::NotAdmitted(failure) };
            self.finish(id, Err(error));
        }
    }

    fn on_answer(&mut self, now: Nanos, id: u64, response: Response) {
        let Some(operation) = self.operations.get_mut(&id) else { return };
        operation.sent = None;
        let outcome = match (&operation.question, response.body) {
            (Question::Topology, ResponseBody::Topology(topology)) => {
                self.on_topology(now, topology.clone());
                return self.finish(id, Ok(Outcome::Topology(topology)));
            }
            (Question::Status(_), ResponseBody::Status(status)) => Ok(Outcome::Status(status)),
            (Question::Command { .. }, ResponseBody::Reply(Reply::Error(kind))) => {
                return self.on_error(now, id, kind, response.text);
            }
            (Question::Command { .. }, ResponseBody::Reply(reply)) => Ok(Outcome::Reply(reply)),
            (_, ResponseBody::Failed(Failure::Unavailable)) => {
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
        self.finish(id, outcome);
    }

    fn on_error(&mut self, now: Nanos, id: u64, kind: ErrorKind, text: String) {
        let Some(operation) = self.operations.get_mut(&id) else { return };
        match kind {
            ErrorKind::NoLeader | ErrorKind::Busy | ErrorKind::NoSpace => {
                operation.last = Some(kind);
                if kind == ErrorKind::NoLeader {
                    self.topology_due = now;
                }
                self.pause(now, id);
            }
            ErrorKind::Unknown => {
                self.topology_due = now;
                self.on_uncertain(now, id);
            }
            ErrorKind::SessionExpired => {
                let number = operation.number.take();
                if let (Some((session, _)), Some(group)) = (number, self.group_of_operation(id)) {
                    self.sessions.entry(group).and_modify(|known| known.expire(session, now));
                }
                // An earlier attempt may have been executed before the session was evicted: a new session
                // would execute it again.
                let maybe_executed =
                    self.operations.get(&id).is_some_and(|operation| operation.maybe_executed);
                if maybe_executed || number.is_none() {
                    self.finish(id, Err(ClientError::Unknown));
                } else {
                    self.pause(now, id);
                }
            }
            // Executed at some time, or closed by a later stamp of this client: its reply is gone.
            ErrorKind::SequenceClosed | ErrorKind::ReplyDropped => self.finish(id, Err(ClientError::Unknown)),
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
                self.finish(id, Err(error));
            }
        }
    }

    /// The outcome of an attempt is unknown. A read is sent again; a write only if its session prevents a
    /// second execution.
    fn on_uncertain(&mut self, now: Nanos, id: u64) {
        let Some(operation) = self.operations.get_mut(&id) else { return };
        operation.sent = None;
        if operation.is_write() {
            operation.maybe_executed = true;
            if operation.number.is_none() {
                return self.finish(id, Err(ClientError::Unknown));
            }
        }
        self.pause(now, id);
    }

    /// The next attempt follows after a pause that grows.
    fn pause(&mut self, now: Nanos, id: u64) {
        let Some(operation) = self.operations.get_mut(&id) else { return };
        operation.not_before = after(now, growing(&self.config, operation.attempts));
    }

    /// The connection is lost, and with it the answers to the requests sent on it.
    fn lose(&mut self, now: Nanos, to: &Address) {
        let Some(failures) = self.links.count_failure(to) else { return };
        let until = after(now, growing(&self.config, failures));
        let Some(unanswered) = self.links.take_down(to, until) else { return };
        self.topology_due = self.topology_due.min(now);
        for purpose in unanswered {
            match purpose {
                Purpose::Auth => {}
                Purpose::Topology => self.topology_asked = false,
                Purpose::OpenSession(group) => {
                    let not_before = after(now, self.config.pause);
                    self.sessions.insert(group, Session::Closed { not_before });
                }
                Purpose::Operation(id) => self.on_uncertain(now, id),
            }
        }
    }

    fn finish(&mut self, id: u64, result: Result<Outcome, ClientError>) {
        let group = self.group_of_operation(id);
        let Some(operation) = self.operations.remove(&id) else { return };
        if let (Some((session, number)), Some(group)) = (operation.number, group) {
            self.sessions.entry(group).and_modify(|known| known.close_number(session, number));
        }
        self.actions.push_back(Action::Done { operation: id, result });
    }

    // The next things to send.

    /// Does everything that can be done now.
    fn advance(&mut self, now: Nanos) {
        self.expire_attempts(now);
        self.expire_operations(now);
        if self.operations.is_empty() {
            return;
        }
        if self.config.routing || self.config.sessions {
            self.refresh_topology(now);
        }
        let ids: Vec<u64> = self.operations.keys().copied().collect();
        for id in ids {
            self.attempt(now, id);
        }
    }

    /// A connection that leaves a request unanswered for too long is closed for all requests.
    fn expire_attempts(&mut self, now: Nanos) {
        for to in self.links.overdue(now, self.config.attempt_timeout) {
            self.actions.push_back(Action::Disconnect(to.clone()));
            self.lose(now, &to);
        }
    }

    fn expire_operations(&mut self, now: Nanos) {
        let attempts_max = self.config.attempts_max;
        let over = |operation: &Operation| {
            operation.deadline <= now || (operation.sent.is_none() && operation.attempts >= attempts_max)
        };
        let ids: Vec<u64> =
            self.operations.iter().filter(|(_, operation)| over(operation)).map(|(id, _)| *id).collect();
        for id in ids {
            let Some(operation) = self.operations.get(&id) else { continue };
            let uncertain = operation.maybe_executed || operation.sent.is_some();
            let error = match operation.last {
                _ if uncertain && operation.is_write() => ClientError::Unknown,
                Some(kind) => ClientError::NotExecuted(kind),
                None => ClientError::Unreachable,
            };
            self.finish(id, Err(error));
        }
    }

    fn refresh_topology(&mut self, now: Nanos) {
        if self.topology_asked || self.topology_due > now {
            return;
        }
        let Some(to) = self.ready_link(now, None) else { return };
        let mut bytes = Vec::new();
        let id = self.take_id();
        binary::encode_topology(&mut bytes, id);
        self.send(now, to, id, Purpose::Topology, bytes);
        self.topology_asked = true;
    }

    fn attempt(&mut self, now: Nanos, id: u64) {
        let Some(operation) = self.operations.get(&id) else { return };
        if operation.sent.is_some() || operation.not_before > now {
            return;
        }
        let mut bytes = Vec::new();
        let request = self.next_id;
        let to = match &operation.question {
            Question::Topology => {
                let Some(to) = self.ready_link(now, None) else { return };
                binary::encode_topology(&mut bytes, request);
                to
            }
            Question::Status(of) => {
                let of = of.clone();
                let Some(to) = self.ready_link(now, of.as_ref()) else { return };
                if of.is_some_and(|of| of != to) {
                    return; // another node's status is no answer: wait for this one
                }
                binary::encode_status(&mut bytes, request);
                to
            }
            Question::Command { .. } => {
                let Some(to) = self.prepare_command(now, id, request, &mut bytes) else { return };
                to
            }
        };
        self.next_id += 1;
        self.send(now, to.clone(), request, Purpose::Operation(id), bytes);
        if let Some(operation) = self.operations.get_mut(&id) {
            operation.sent = Some((to, request));
            operation.attempts += 1;
        }
    }

    /// Finds the link and, for a write, the session, and encodes the command.
    fn prepare_command(&mut self, now: Nanos, id: u64, request: u64, bytes: &mut Vec<u8>) -> Option<Address> {
        let group = self.group_of_operation(id);
        if group.is_none() && (self.config.routing || self.config.sessions) {
            return None; // the topology is on its way
        }
        let preferred = group.and_then(|group| self.leader_of(group));
        let to = self.ready_link(now, preferred.as_ref())?;
        let wants_session = self.config.sessions && self.operations.get(&id)?.is_write();
        let operation = self.operations.get_mut(&id)?;
        if wants_session && let Some(group) = group {
            let session = self.sessions.entry(group).or_insert(Session::Closed { not_before: now });
            if let Session::Closed { not_before } = session {
                // A command that had a number in a lost session is sent again only if it was certainly not
                // executed.
                if *not_before <= now {
                    *session = Session::Opening;
                    self.open_session(now, to, group);
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
                    self.finish(id, Err(ClientError::Unknown));
                    return None;
                }
                operation.number = None;
                operation.not_before = now;
                return self.prepare_command(now, id, request, bytes);
            };
            command.stamp = stamp;
        }
        let Question::Command { command, consistency } = &operation.question else { return None };
        binary::encode_request(bytes, request, *consistency, command);
        Some(to)
    }

    fn open_session(&mut self, now: Nanos, to: Address, group: GroupId) {
        let mut bytes = Vec::new();
        let id = self.take_id();
        binary::encode_open_session(&mut bytes, id, group);
        self.send(now, to, id, Purpose::OpenSession(group), bytes);
    }

    fn send(&mut self, now: Nanos, to: Address, id: u64, purpose: Purpose, bytes: Vec<u8>) {
        self.links.note(now, &to, id, purpose);
        self.actions.push_back(Action::Send { to, bytes });
    }

    fn group_of_operation(&self, id: u64) -> Option<GroupId> {
        let Question::Command { command, .. } = &self.operations.get(&id)?.question else { return None };
        Some(group_of(bucket_of(&command.key), self.topology.as_ref()?.group_count))
    }

    /// The address of the core that leads `group`, as far as it is known.
    fn leader_of(&self, group: GroupId) -> Option<Address> {
        if !self.config.routing {
            return None;
        }
        let topology = self.topology.as_ref()?;
        let placed = topology.group(group)?;
        let node = topology.node(placed.leader?)?;
        let own_port =
            node.core_port_base.checked_add(placed.core.get()).filter(|_| node.core_port_base != 0);
        Some(Address { host: node.host.clone(), port: own_port.unwrap_or(node.port) })
    }

    /// A link that is up: the preferred one if it is available, else any. Starts a connection if one is
    /// needed.
    fn ready_link(&mut self, now: Nanos, preferred: Option<&Address>) -> Option<Address> {
        let known = self.topology.as_ref().filter(|_| self.config.routing);
        let nodes = known.map_or(&[][..], |known| known.nodes.as_slice());
        match self.links.ready(now, preferred, nodes) {
            Ready::Up(to) => Some(to),
            Ready::Connect(to) => {
                self.actions.push_back(Action::Connect(to));
                None
            }
            Ready::Wait => None,
        }
    }
}

/// A pause that doubles with every attempt.
fn growing(config: &ClientConfig, attempts: u32) -> Nanos {
    let factor = 1_u64 << attempts.saturating_sub(1).min(20);
    Nanos(config.pause.0.saturating_mul(factor).min(config.pause_max.0))
}
