//! The client as a pure state machine: operations in, actions out; time and bytes are passed in.
//!
//! ```text
//!  caller ─▶ ClientCore ─┬▶ connections   links, the password, numbers of requests, actions to take
//!                        └▶ operations    routing, sessions, judgement of answers, retry
//! ```
//! Contract: after every call that takes `now`, take [`ClientCore::action`] until it returns `None`. Time
//! never goes back. Call [`ClientCore::tick`] at the time that [`ClientCore::wakeup`] names.

use super::action::ClientAction;
use super::address::Address;
use super::config::ClientConfig;
use super::connections::Connections;
use super::error::ClientError;
use super::link::Purpose;
use super::operation::Question;
use super::operations::Operations;
use crate::binary::{self, FailureCode, Response, ResponseBody, Topology};
use synod_types::{Command, Consistency, Nanos, Op, SessionStamp};

/// The client core; see the module's contract.
#[derive(Debug)]
pub struct ClientCore {
    connections: Connections,
    operations: Operations,
}

impl ClientCore {
    /// A client that is given these addresses of a cluster.
    ///
    /// # Panics
    /// When there is none.
    pub fn new(config: ClientConfig, seeds: Vec<Address>) -> Self {
        assert!(!seeds.is_empty(), "a client needs an address");
        Self { connections: Connections::new(config.clone(), seeds), operations: Operations::new(config) }
    }

    /// From now on an operation is given up after `deadline`, and a single attempt after `attempt_timeout`.
    pub fn set_patience(&mut self, deadline: Nanos, attempt_timeout: Nanos) {
        self.operations.set_patience(deadline);
        self.connections.set_attempt_timeout(attempt_timeout);
    }

    /// Starts a command; the core sets its stamp. The returned number names it in [`ClientAction::Done`].
    pub fn command(&mut self, now: Nanos, consistency: Consistency, command: Command<Vec<u8>>) -> u64 {
        let patience = self.operations.patience();
        self.command_within(now, patience, consistency, command)
    }
    /// The same with a time of its own after which it is given up.
    pub fn command_within(
        &mut self,
        now: Nanos,
        patience: Nanos,
        consistency: Consistency,
        mut command: Command<Vec<u8>>,
    ) -> u64 {
        let fits = binary::is_binary(command.op) && command.check().is_ok();
        if !fits {
            let operation = self.connections.take_id();
            self.connections.act(ClientAction::Done { operation, result: Err(ClientError::OverLimit) });
            return operation;
        }
        if let Op::Set { value_crc, .. } = &mut command.op {
            *value_crc = synod_types::checksum::crc32c(&command.operand);
        }
        command.stamp = SessionStamp::default();
        self.start(now, patience, Question::Command { command, consistency })
    }
    /// Asks for the topology.
    pub fn topology(&mut self, now: Nanos) -> u64 {
        let patience = self.operations.patience();
        self.topology_within(now, patience)
    }
    /// The same with a time of its own after which it is given up.
    pub fn topology_within(&mut self, now: Nanos, patience: Nanos) -> u64 {
        self.start(now, patience, Question::Topology)
    }
    /// Asks for a node's status; without an address, any node's.
    pub fn status(&mut self, now: Nanos, of: Option<Address>) -> u64 {
        let patience = self.operations.patience();
        self.status_within(now, patience, of)
    }
    /// The same with a time of its own after which it is given up.
    pub fn status_within(&mut self, now: Nanos, patience: Nanos, of: Option<Address>) -> u64 {
        self.start(now, patience, Question::Status(of))
    }
    /// The connection is established.
    pub fn connected(&mut self, now: Nanos, to: &Address) {
        if self.connections.open(now, to) {
            self.tick(now);
        }
    }
    /// The connection could not be established, or is lost.
    pub fn disconnected(&mut self, now: Nanos, to: &Address) {
        self.operations.on_lost(now, to, &mut self.connections);
        self.tick(now);
    }
    /// Bytes were received.
    pub fn received(&mut self, now: Nanos, from: &Address, bytes: &[u8]) {
        self.connections.feed(from, bytes);
        while let Some(response) = self.connections.next_response(from) {
            match response {
                Ok(response) => {
                    self.on_response(now, from, response);
                    // A node that replays its log answers, but serves nothing: another one is tried. What
                    // was sent to it is answered first, so that no outcome becomes unknown.
                    if self.connections.is_left(from) {
                        self.close(now, from);
                    }
                }
                Err(_) => self.close(now, from),
            }
        }
        self.tick(now);
    }
    /// Time has passed.
    pub fn tick(&mut self, now: Nanos) {
        self.operations.advance(now, &mut self.connections);
    }
    /// The next thing to do.
    pub fn action(&mut self) -> Option<ClientAction> {
        self.connections.next_action()
    }

    /// When [`ClientCore::tick`] is due at the latest, if nothing else happens.
    pub fn wakeup(&self, now: Nanos) -> Option<Nanos> {
        if self.operations.is_empty() {
            return None; // an idle client is left alone
        }
        self.operations.deadlines().chain(self.connections.deadlines()).filter(|&at| at > now).min()
    }
    /// The connections on which an answer is outstanding.
    pub fn waiting(&self) -> Vec<Address> {
        self.connections.waiting()
    }
    /// Whether an attempt of the operation is in flight.
    #[cfg(test)]
    pub(super) fn waits_for_operation(&self, id: u64) -> bool {
        self.operations.is_in_flight(id)
    }
    /// The topology as last seen.
    pub fn known_topology(&self) -> Option<&Topology> {
        self.operations.topology()
    }

    fn start(&mut self, now: Nanos, patience: Nanos, question: Question) -> u64 {
        self.operations.start(now, patience, question, &mut self.connections)
    }

    // Responses from servers: whether this client is admitted. All else is for the operations.

    fn on_response(&mut self, now: Nanos, from: &Address, response: Response) {
        let Some(answered) = self.connections.on_response(from, &response) else { return };
        let Some(purpose) = answered else {
            // Id 0 answers no request: the server explains why it is about to close.
            match (response.id, response.body) {
                (0, ResponseBody::Failed(FailureCode::Protected)) if !self.connections.is_seed(from) => {
                    self.on_turned_away(now, from);
                }
                (0, ResponseBody::Failed(failure @ (FailureCode::Version | FailureCode::Protected))) => {
                    self.on_not_admitted(now, from, failure);
                }
                (0, ResponseBody::Failed(_)) => self.close(now, from),
                _ => {} // the answer to an operation that was given up
            }
            return;
        };
        match response.body {
            ResponseBody::Failed(failure @ (FailureCode::AuthRequired | FailureCode::AuthFailed)) => {
                // The request that was refused counts as lost, like all others on the connection.
                if !matches!(purpose, Purpose::Operation(_)) {
                    self.operations.on_not_taken(now, purpose);
                }
                self.on_not_admitted(now, from, failure);
            }
            _ => self.operations.on_response(now, purpose, response, &mut self.connections),
        }
    }

    /// A node in protected mode has turned this machine away. Nothing sent there was executed. The addresses
    /// that the caller gave will forward it, and this node is not tried again for a while.
    fn on_turned_away(&mut self, now: Nanos, from: &Address) {
        self.connections.disconnect(from);
        if let Some(unanswered) = self.connections.give_up(now, from) {
            self.operations.on_turned_away(now, unanswered);
        }
    }

    /// A wrong password stays wrong: all operations end.
    fn on_not_admitted(&mut self, now: Nanos, from: &Address, failure: FailureCode) {
        self.connections.disconnect(from);
        // Nothing on a connection that was not admitted is executed, so operations in flight there are not
        // uncertain.
        self.connections.forget_operations(from);
        self.operations.on_lost(now, from, &mut self.connections);
        self.operations.end_all(from, failure, &mut self.connections);
    }

    /// Closes a connection on which no further answer can be read.
    fn close(&mut self, now: Nanos, from: &Address) {
        self.connections.disconnect(from);
        self.operations.on_lost(now, from, &mut self.connections);
    }
}
