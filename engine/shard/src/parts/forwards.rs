//! Clients' requests that were forwarded to leaders on other nodes, and the numbers of those that peers have
//! forwarded to this core.

use crate::api::ForwardId;
use crate::request::Request;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use synod_types::{GroupId, Mono, Nanos, NodeId, Payload, PeerMessage};

/// Requests of one core that may be under way to other leaders.
const FORWARDS_MAX: usize = 65_536;
/// Forwards of one peer that are remembered.
const DEDUP_COUNT: usize = 256;
/// Forwards whose patience is checked per tick.
const EXPIRE_LOOKAHEAD: usize = 4096;

/// A request under way to a leader on another node.
#[derive(Debug)]
struct Forwarded<P> {
    index: usize,
    to: NodeId,
    request: Request<P>,
}

/// A request that came back, and the index of its group.
pub(crate) type Returned<P> = (usize, Request<P>);

/// The numbers of a peer's last forwards, so that a request which arrives twice is handled once (P-12g).
/// Links do not duplicate messages; if one did, the copy would follow soon. The numbers of a peer rise one by
/// one, so each has its own place.
#[derive(Debug)]
struct ForwardDedup([u64; DEDUP_COUNT]);

impl ForwardDedup {
    /// Takes note of a number; false if it was noted before. 0 is no number: it marks an unused place.
    fn note(&mut self, number: u64) -> bool {
        let place = &mut self.0[(number % DEDUP_COUNT as u64) as usize];
        core::mem::replace(place, number) != number
    }
}

/// Forwards in both directions.
#[derive(Debug)]
pub(crate) struct Forwards<P> {
    open: BTreeMap<ForwardId, Forwarded<P>>,
    last: ForwardId,
    /// Forwards taken recently, by peer.
    taken: BTreeMap<NodeId, ForwardDedup>,
}

impl<P> Forwards<P> {
    /// Numbers go up from `base`, which differs between two starts of a core: a late answer to a request of
    /// an earlier start must not match one of this start.
    pub fn new(base: u64) -> Self {
        Self { open: BTreeMap::new(), last: ForwardId(base), taken: BTreeMap::new() }
    }

    /// Whether one more may be under way.
    pub fn has_room(&self) -> bool {
        self.open.len() < FORWARDS_MAX
    }

    /// Takes note of a peer's forward; false if it came before.
    pub fn take(&mut self, from: NodeId, number: u64) -> bool {
        self.taken.entry(from).or_insert(ForwardDedup([0; DEDUP_COUNT])).note(number)
    }

    /// The leader has answered; none if the request was answered already, or given up.
    pub fn answered(&mut self, from: NodeId, id: ForwardId) -> Option<Returned<P>> {
        if self.open.get(&id)?.to != from {
            return None;
        }
        self.remove(id)
    }

    /// A request was not sent.
    pub fn unsent(&mut self, id: ForwardId) -> Option<Returned<P>> {
        self.remove(id)
    }

    fn remove(&mut self, id: ForwardId) -> Option<Returned<P>> {
        self.open.remove(&id).map(|Forwarded { index, request, .. }| (index, request))
    }

    /// The requests that were under way to a leader whose link is lost, in order.
    pub fn lost(&mut self, node: NodeId) -> Vec<Returned<P>> {
        let is_lost = |forwarded: &Forwarded<P>| forwarded.to == node;
        let lost: Vec<ForwardId> =
            self.open.iter().filter(|(_, forwarded)| is_lost(forwarded)).map(|(&id, _)| id).collect();
        lost.into_iter().filter_map(|id| self.remove(id)).collect()
    }

    /// The requests whose patience has ended.
    pub fn late(&mut self, patience: Nanos, now: Mono) -> Vec<Returned<P>> {
        // Numbers rise with time, so the oldest come first; rerouted ones keep their arrival, hence the
        // bounded look-ahead.
        let late: Vec<ForwardId> = self
            .open
            .iter()
            .take(EXPIRE_LOOKAHEAD)
            .filter(|(_, forwarded)| now.since(forwarded.request.arrived) >= patience)
            .map(|(&id, _)| id)
            .collect();
        late.into_iter().filter_map(|id| self.remove(id)).collect()
    }

    pub fn invariants(&self) {
        assert!(self.open.len() <= FORWARDS_MAX, "more forwards are under way than may be");
        let last = self.open.last_key_value().map(|(&id, _)| id);
        assert!(last <= Some(self.last), "a forward whose number was not given out");
    }
}

impl<P: Payload> Forwards<P> {
    /// Keeps a request of the group at `index`, and says what to send to the leader.
    pub fn send(&mut self, to: NodeId, index: usize, group: GroupId, request: Request<P>) -> PeerMessage<P> {
        assert!(self.has_room(), "a forward beyond their limit");
        self.last = ForwardId(self.last.0 + 1);
        let Request { consistency, ref command, .. } = request;
        let message = PeerMessage::Forward { id: self.last.0, group, consistency, command: command.clone() };
        let held = self.open.insert(self.last, Forwarded { index, to, request });
        debug_assert!(held.is_none(), "two forwards have one number");
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_comes_again_is_known() {
        let mut forwards: Forwards<Vec<u8>> = Forwards::new(7);
        let (near, far) = (NodeId::new(2), NodeId::new(3));
        assert!(forwards.take(near, 8) && forwards.take(far, 8), "each peer counts for itself");
        assert!(!forwards.take(near, 8));
        assert!((9..9 + DEDUP_COUNT as u64 - 1).all(|number| forwards.take(near, number)));
        assert!(!forwards.take(near, 8), "so many are remembered");
        assert!(forwards.take(near, 8 + DEDUP_COUNT as u64));
        assert!(forwards.take(near, 8), "no more are");
    }
}
