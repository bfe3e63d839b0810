//! The waiting requests of one group. What peers have forwarded is bounded in here: beyond that it is refused,
//! and its forwarder sends it again later. What this node's clients have sent is bounded where it is read:
//! while too much is under way nothing more is read (P-14b).
//!
//! ```text
//!   unstamped ─ a session ─▶ routed ─ no leader ─▶ waiting ─ a leader ─▶ routed ─ this one leads ─▶ pending
//! ```

use crate::request::Request;
use alloc::collections::VecDeque;
use synod_types::{Mono, Payload, RequestId};

/// The waiting requests.
#[derive(Debug)]
pub(crate) struct Backlog<P> {
    /// The weight of peers' requests that may wait.
    peer_bytes_max: usize,
    /// The weight of all waiting requests, and of those of peers among them.
    bytes: usize,
    peer_bytes: usize,
    /// Writes that wait for a place in the pipeline (leader only).
    pending: VecDeque<Request<P>>,
    /// Clients' requests that wait for a leader.
    waiting: VecDeque<Request<P>>,
    /// Clients' writes that wait for a session of this core, or for room in its window, in order.
    unstamped: VecDeque<(RequestId, Request<P>)>,
}

impl<P: Payload> Backlog<P> {
    /// An empty backlog that may hold `peer_bytes_max` of peers' requests.
    pub fn new(peer_bytes_max: usize) -> Self {
        let (pending, waiting, unstamped) = (VecDeque::new(), VecDeque::new(), VecDeque::new());
        Self { peer_bytes_max, bytes: 0, peer_bytes: 0, pending, waiting, unstamped }
    }

    /// Whether a peer's request of this weight fits.
    pub fn has_room(&self, weight: usize) -> bool {
        self.peer_bytes + weight <= self.peer_bytes_max
    }

    fn add(&mut self, request: &Request<P>) {
        let weight = request.weight();
        self.bytes += weight;
        self.peer_bytes += if request.is_of_peer() { weight } else { 0 };
    }

    fn remove(&mut self, request: &Request<P>) {
        let weight = request.weight();
        assert!(weight <= self.bytes, "bytes that wait are miscounted");
        self.bytes -= weight;
        self.peer_bytes -= if request.is_of_peer() { weight } else { 0 };
    }

    /// Whether bytes wait just if requests do. Every request weighs something.
    fn is_balanced(&self) -> bool {
        let is_empty = self.pending.is_empty() && self.waiting.is_empty() && self.unstamped.is_empty();
        is_empty == (self.bytes == 0)
    }

    /// Adds a write that this replica is to propose; gives it back if it is a peer's and does not fit.
    pub fn push_pending(&mut self, request: Request<P>) -> Result<(), Request<P>> {
        if request.is_of_peer() && !self.has_room(request.weight()) {
            return Err(request);
        }
        self.add(&request);
        self.pending.push_back(request);
        debug_assert!(self.is_balanced(), "bytes that wait are miscounted");
        Ok(())
    }

    /// Whether a write waits to be proposed.
    pub fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// The next write to propose, if `is_wanted` accepts it.
    pub fn next_pending_if(&mut self, is_wanted: impl FnOnce(&Request<P>) -> bool) -> Option<Request<P>> {
        let request = self.pending.pop_front_if(|request| is_wanted(request))?;
        self.remove(&request);
        debug_assert!(self.is_balanced(), "bytes that wait are miscounted");
        Some(request)
    }

    /// Takes out all writes that waited to be proposed.
    pub fn take_pending(&mut self) -> VecDeque<Request<P>> {
        let pending = core::mem::take(&mut self.pending);
        pending.iter().for_each(|request| self.remove(request));
        assert!(self.is_balanced(), "bytes that wait are miscounted");
        pending
    }

    /// Adds a client's request whose leader is not known or cannot take it now.
    pub fn push_waiting(&mut self, request: Request<P>) {
        debug_assert!(!request.is_of_peer(), "a request is forwarded once");
        self.add(&request);
        self.waiting.push_back(request);
        debug_assert!(self.is_balanced(), "bytes that wait are miscounted");
    }

    /// How many requests wait for a leader.
    pub fn waiting_count(&self) -> usize {
        self.waiting.len()
    }

    /// The next request that waits for a leader.
    pub fn next_waiting(&mut self) -> Option<Request<P>> {
        let request = self.waiting.pop_front()?;
        self.remove(&request);
        debug_assert!(self.is_balanced(), "bytes that wait are miscounted");
        Some(request)
    }

    /// Adds a client's write that cannot be stamped yet.
    pub fn push_unstamped(&mut self, id: RequestId, request: Request<P>) {
        self.add(&request);
        self.unstamped.push_back((id, request));
        debug_assert!(self.is_balanced(), "bytes that wait are miscounted");
    }

    /// Whether writes wait to be stamped.
    pub fn has_unstamped(&self) -> bool {
        !self.unstamped.is_empty()
    }

    /// The next write to stamp.
    pub fn next_unstamped(&mut self) -> Option<(RequestId, Request<P>)> {
        let (id, request) = self.unstamped.pop_front()?;
        self.remove(&request);
        debug_assert!(self.is_balanced(), "bytes that wait are miscounted");
        Some((id, request))
    }

    /// The weight of the next write to stamp.
    pub fn first_unstamped(&self) -> Option<usize> {
        self.unstamped.front().map(|(_, request)| request.weight())
    }

    /// When the write that is stamped next came.
    pub fn oldest_unstamped(&self) -> Option<Mono> {
        self.unstamped.front().map(|(_, request)| request.arrived)
    }

    pub fn invariants(&self, leads: bool) {
        assert!(leads || self.pending.is_empty(), "a follower has writes to propose");
        let unstamped = self.unstamped.iter().map(|(_, request)| request);
        let all = self.pending.iter().chain(&self.waiting).chain(unstamped);
        assert!(all.map(Request::weight).sum::<usize>() == self.bytes, "bytes that wait are miscounted");
        let of_peers = self.pending.iter().filter(|request| request.is_of_peer());
        assert!(
            of_peers.map(Request::weight).sum::<usize>() == self.peer_bytes,
            "peers' bytes are miscounted"
        );
        assert!(self.peer_bytes <= self.peer_bytes_max, "more of peers' requests than may wait");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Origin;
    use alloc::vec::Vec;
    use synod_types::{Command, Consistency, Nanos, NodeId, Op};

    fn request(id: u64, bytes: usize) -> Request<Vec<u8>> {
        let command = Command::plain(alloc::vec![b'k'; bytes], Op::Delete);
        let origin = Origin::Client(RequestId::new(id));
        Request::new(origin, Consistency::default(), command, Mono(Nanos::from_ms(id).0))
    }

    #[test]
    fn what_peers_sent_is_bounded_and_what_clients_sent_is_not() {
        let of_peer = |id| Request { origin: Origin::Peer(NodeId::new(2), id), ..request(id, 10) };
        let weight = request(1, 10).weight();
        let mut backlog = Backlog::new(2 * weight);
        for id in 1..5 {
            assert!(backlog.push_pending(request(id, 10)).is_ok());
        }
        assert!(backlog.push_pending(of_peer(5)).is_ok() && backlog.push_pending(of_peer(6)).is_ok());
        assert!(!backlog.has_room(1) && backlog.push_pending(of_peer(7)).is_err());
        assert!(backlog.push_pending(request(8, 10)).is_ok());
        backlog.invariants(true);
        assert_eq!(backlog.take_pending().len(), 7);
        assert!(backlog.has_room(2 * weight));
        backlog.invariants(false);
    }

    #[test]
    fn requests_wait_in_the_order_in_which_they_came() {
        let mut backlog = Backlog::new(0);
        backlog.push_waiting(request(2, 10));
        backlog.push_unstamped(RequestId::new(3), request(3, 10));
        backlog.push_unstamped(RequestId::new(4), request(4, 10));
        assert_eq!(backlog.oldest_unstamped(), Some(Mono(Nanos::from_ms(3).0)));
        assert_eq!(backlog.first_unstamped(), Some(request(3, 10).weight()));
        assert_eq!(backlog.next_unstamped().map(|(id, _)| id), Some(RequestId::new(3)));
        let first = backlog.next_waiting().expect("the oldest");
        assert_eq!(first.origin, Origin::Client(RequestId::new(2)));
        backlog.push_waiting(first);
        assert_eq!(backlog.waiting_count(), 1);
        assert!(backlog.push_pending(request(5, 10)).is_ok());
        assert!(backlog.next_pending_if(|_| false).is_none() && backlog.has_pending());
        backlog.invariants(true);
    }
}
