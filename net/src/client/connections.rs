//! Connections and authentication: opens and closes links, says the password first, numbers what is sent, and
//! keeps the actions for the caller in order. `operations` says what is sent, and what a lost answer means.

use super::action::ClientAction;
use super::address::Address;
use super::config::ClientConfig;
use super::link::{Purpose, after};
use super::links::{Links, Ready};
use crate::binary::{self, FailureCode, Response, ResponseBody, TopologyNode};
use crate::error::ProtocolError;
use std::collections::VecDeque;
use synod_types::Nanos;

/// The client's connections, and the actions that the caller has not taken yet.
#[derive(Debug)]
pub(super) struct Connections {
    config: ClientConfig,
    links: Links,
    /// The number of the next operation or request.
    next_id: u64,
    actions: VecDeque<ClientAction>,
}

impl Connections {
    pub(super) fn new(config: ClientConfig, seeds: Vec<Address>) -> Self {
        Self { config, links: Links::new(seeds), next_id: 1, actions: VecDeque::new() }
    }

    /// From now on an answer is waited for no longer than this.
    pub(super) fn set_attempt_timeout(&mut self, timeout: Nanos) {
        self.config.attempt_timeout = timeout;
    }

    /// A number that no operation or request had before.
    pub(super) fn take_id(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    /// Adds an action for the caller.
    pub(super) fn act(&mut self, action: ClientAction) {
        self.actions.push_back(action);
    }

    /// The next action for the caller.
    pub(super) fn next_action(&mut self) -> Option<ClientAction> {
        self.actions.pop_front()
    }

    /// The connection is established: it begins with the preamble and the password. Returns whether it was
    /// asked for.
    pub(super) fn open(&mut self, now: Nanos, to: &Address) -> bool {
        if !self.links.come_up(to) {
            return false;
        }
        let mut bytes = binary::PREAMBLE.to_vec();
        if let Some(password) = &self.config.password {
            let id = self.next_id;
            self.next_id += 1;
            binary::encode_auth(&mut bytes, id, password.bytes());
            self.links.note(now, to, id, Purpose::Auth);
        }
        self.act(ClientAction::Send { to: to.clone(), bytes });
        true
    }

    /// Sends a request on a link that is up. Returns its number.
    pub(super) fn send(
        &mut self,
        now: Nanos,
        to: Address,
        purpose: Purpose,
        encode: impl FnOnce(&mut Vec<u8>, u64),
    ) -> u64 {
        let (id, mut bytes) = (self.take_id(), Vec::new());
        encode(&mut bytes, id);
        self.links.note(now, &to, id, purpose);
        self.act(ClientAction::Send { to, bytes });
        id
    }

    /// A link that is up: the preferred one if it is available, else any. Starts a connection if one is
    /// needed.
    pub(super) fn ready(
        &mut self,
        now: Nanos,
        preferred: Option<&Address>,
        nodes: &[TopologyNode],
    ) -> Option<Address> {
        match self.links.ready(now, preferred, nodes) {
            Ready::Up(to) => Some(to),
            Ready::Connect(to) => {
                self.act(ClientAction::Connect(to));
                None
            }
            Ready::Wait => None,
        }
    }

    /// Bytes were received.
    pub(super) fn feed(&mut self, from: &Address, bytes: &[u8]) {
        self.links.feed(from, bytes);
    }

    /// The next whole response, while the link is up.
    pub(super) fn next_response(&mut self, from: &Address) -> Option<Result<Response, ProtocolError>> {
        self.links.next_response(from)
    }

    /// A response came. Returns the purpose of its request, if that still waits; `None` if there is no such
    /// link.
    pub(super) fn on_response(&mut self, from: &Address, response: &Response) -> Option<Option<Purpose>> {
        let serves = !matches!(response.body, ResponseBody::Failed(FailureCode::Unavailable));
        self.links.on_response(from, response.id, serves)
    }

    /// Whether a connection to a server that serves nothing has nothing more to wait for.
    pub(super) fn is_left(&self, from: &Address) -> bool {
        self.links.is_left(from)
    }

    /// Whether the caller gave this address.
    pub(super) fn is_seed(&self, address: &Address) -> bool {
        self.links.is_seed(address)
    }

    /// Has the connection closed.
    pub(super) fn disconnect(&mut self, from: &Address) {
        self.act(ClientAction::Disconnect(from.clone()));
    }

    /// The connection is lost, or could not be established: the next attempt follows after a pause that
    /// grows. Returns the unanswered requests in the order in which they were sent.
    pub(super) fn lose(&mut self, now: Nanos, to: &Address) -> Option<Vec<Purpose>> {
        let failures = self.links.count_failure(to)?;
        self.links.take_down(to, after(now, self.config.pause_after(failures)))
    }

    /// The node turns this machine away: it is not tried again for a while. Returns the unanswered requests,
    /// none of which was executed.
    pub(super) fn give_up(&mut self, now: Nanos, to: &Address) -> Option<Vec<Purpose>> {
        let span = self.config.topology_refresh.max(self.config.pause_max);
        self.links.take_down(to, after(now, span))
    }

    /// Operations that were sent on this link count as not sent.
    pub(super) fn forget_operations(&mut self, from: &Address) {
        self.links.forget_operations(from);
    }

    /// The connections on which an answer is outstanding.
    pub(super) fn waiting(&self) -> Vec<Address> {
        self.links.waiting()
    }

    /// The connections on which an answer has been outstanding for too long.
    pub(super) fn overdue(&self, now: Nanos) -> Vec<Address> {
        self.links.overdue(now, self.config.attempt_timeout)
    }

    /// The times at which a link may be tried again or an answer is overdue.
    pub(super) fn deadlines(&self) -> impl Iterator<Item = Nanos> {
        self.links.deadlines(self.config.attempt_timeout)
    }
}
