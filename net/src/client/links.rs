//! The connections of a client: which are up, which requests wait on each, and which address is tried next.
//! `operations` decides what an answer, or a missing one, means for an operation.

use super::address::Address;
use super::link::{Link, LinkState, Pending, Purpose, after};
use crate::binary::{Response, ResponseDecoder, TopologyNode};
use crate::error::ProtocolError;
use std::collections::BTreeMap;
use synod_types::Nanos;

/// All connections.
#[derive(Debug)]
pub(super) struct Links {
    seeds: Vec<Address>,
    /// Index of the known address that is tried next when any will do.
    turn: usize,
    links: BTreeMap<Address, Link>,
}

/// The result of a search for a link.
#[derive(Debug)]
pub(super) enum Ready {
    /// This one is up.
    Up(Address),
    /// Connect to this one first.
    Connect(Address),
    /// No link is available at the moment, or one is being established.
    Wait,
}

impl Links {
    pub(super) fn new(seeds: Vec<Address>) -> Self {
        Self { seeds, turn: 0, links: BTreeMap::new() }
    }

    /// Whether the caller gave this address.
    pub(super) fn is_seed(&self, address: &Address) -> bool {
        self.seeds.contains(address)
    }

    /// The connection is established. Returns whether it was asked for.
    pub(super) fn come_up(&mut self, to: &Address) -> bool {
        let Some(link) = self.links.get_mut(to) else { return false };
        if !matches!(link.state, LinkState::Connecting) {
            return false;
        }
        link.state = LinkState::Up(Box::new(ResponseDecoder::new()));
        true
    }

    /// Notes a request and the time it was sent.
    pub(super) fn note(&mut self, now: Nanos, to: &Address, id: u64, purpose: Purpose) {
        if let Some(link) = self.links.get_mut(to) {
            link.requests.insert(id, Pending { purpose, sent_at: now });
        }
    }

    /// Bytes were received.
    pub(super) fn feed(&mut self, from: &Address, bytes: &[u8]) {
        if let Some(Link { state: LinkState::Up(decoder), .. }) = self.links.get_mut(from) {
            decoder.feed(bytes);
        }
    }

    /// The next whole response, while the link is up.
    pub(super) fn next_response(&mut self, from: &Address) -> Option<Result<Response, ProtocolError>> {
        match self.links.get_mut(from) {
            Some(Link { state: LinkState::Up(decoder), .. }) => decoder.next().transpose(),
            _ => None,
        }
    }

    /// A response came; a server that `serves` nothing at the moment is left. Returns the purpose of its
    /// request, if that still waits; `None` if there is no such link.
    pub(super) fn on_response(&mut self, from: &Address, id: u64, serves: bool) -> Option<Option<Purpose>> {
        let link = self.links.get_mut(from)?;
        link.is_leaving |= !serves;
        if !link.is_leaving {
            link.failures = 0; // otherwise the pause before the next attempt grows
        }
        Some(link.requests.remove(&id).map(|pending| pending.purpose))
    }

    /// Whether a connection that is being left has nothing more to wait for.
    pub(super) fn is_left(&self, from: &Address) -> bool {
        self.links.get(from).is_some_and(|link| link.is_leaving && link.requests.is_empty())
    }

    /// The connection failed. Returns the number of failures since the last answer.
    pub(super) fn count_failure(&mut self, to: &Address) -> Option<u32> {
        let link = self.links.get_mut(to)?;
        link.failures += 1;
        Some(link.failures)
    }

    /// Takes the link out of use until `until`. Returns the unanswered requests in the order in which they
    /// were sent.
    pub(super) fn take_down(&mut self, to: &Address, until: Nanos) -> Option<Vec<Purpose>> {
        let link = self.links.get_mut(to)?;
        link.state = LinkState::Down { until };
        link.is_leaving = false;
        let requests = core::mem::take(&mut link.requests);
        Some(requests.into_values().map(|pending| pending.purpose).collect())
    }

    /// Operations that were sent on this link count as not sent.
    pub(super) fn forget_operations(&mut self, from: &Address) {
        if let Some(link) = self.links.get_mut(from) {
            link.requests.retain(|_, pending| !matches!(pending.purpose, Purpose::Operation(_)));
        }
    }

    /// The connections on which an answer is outstanding.
    pub(super) fn waiting(&self) -> Vec<Address> {
        let owes = |link: &Link| link.is_up() && !link.requests.is_empty();
        self.links.iter().filter(|(_, link)| owes(link)).map(|(to, _)| to.clone()).collect()
    }

    /// The connections on which an answer has been outstanding for too long.
    pub(super) fn overdue(&self, now: Nanos, timeout: Nanos) -> Vec<Address> {
        let is_overdue =
            |link: &Link| link.requests.values().any(|pending| after(pending.sent_at, timeout) <= now);
        self.links.iter().filter(|(_, link)| is_overdue(link)).map(|(to, _)| to.clone()).collect()
    }

    /// The times at which a link may be tried again or an answer is overdue.
    pub(super) fn deadlines(&self, timeout: Nanos) -> impl Iterator<Item = Nanos> {
        self.links.values().flat_map(move |link| {
            let until = match link.state {
                LinkState::Down { until } => Some(until),
                _ => None,
            };
            let oldest = link.requests.values().map(|pending| pending.sent_at).min();
            until.into_iter().chain(oldest.map(|at| after(at, timeout)))
        })
    }

    /// A link that is up: the preferred one if it is available, else any to the caller's addresses or to
    /// `nodes`.
    pub(super) fn ready(&mut self, now: Nanos, preferred: Option<&Address>, nodes: &[TopologyNode]) -> Ready {
        if let Some(to) = preferred {
            let link = self.links.entry(to.clone()).or_insert_with(Link::new);
            if link.is_usable() {
                return Ready::Up(to.clone());
            }
            if !link.is_barred(now) {
                return self.connect(to.clone()); // the preferred link is worth the wait
            }
        }
        let mut known = self.seeds.clone();
        known.extend(nodes.iter().map(|node| Address { host: node.host.clone(), port: node.port }));
        let count = known.len();
        for step in 0..count {
            let to = &known[(self.turn + step) % count];
            let link = self.links.entry(to.clone()).or_insert_with(Link::new);
            if link.is_usable() {
                return Ready::Up(to.clone());
            }
        }
        for step in 0..count {
            let to = &known[(self.turn + step) % count];
            if self.links.get(to).is_some_and(|link| !link.is_barred(now)) {
                self.turn = (self.turn + step) % count;
                return self.connect(to.clone());
            }
        }
        Ready::Wait
    }

    fn connect(&mut self, to: Address) -> Ready {
        match self.links.get_mut(&to) {
            Some(link) if matches!(link.state, LinkState::Down { .. }) => {
                link.state = LinkState::Connecting;
                Ready::Connect(to)
            }
            _ => Ready::Wait, // it is already connecting
        }
    }
}
