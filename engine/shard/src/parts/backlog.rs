//! The waiting requests of one group, all within one budget of bytes: an overloaded group answers `Busy` and
//! does not grow (P-14).
//!
//! ```text
//!   unstamped ─ a session ─▶ routed ─ no leader ─▶ waiting ─ a leader ─▶ routed ─ this one leads ─▶ pending
//! ```

use crate::request::Request;
use alloc::collections::VecDeque;
use synod_types::{Mono, Nanos, Payload, RequestId};

/// The waiting requests.
#[derive(Debug)]
pub(crate) struct Backlog<P> {
    bytes_max: usize,
    /// The weight of all waiting requests.
    bytes: usize,
    /// Writes that wait for a place in the pipeline (leader only).
    pending: VecDeque<Request<P>>,
    /// Clients' requests that wait for a leader.
    waiting: VecDeque<Request<P>>,
    /// Clients' writes that wait for a session of this core, or for room in its window, in order.
    unstamped: VecDeque<(RequestId, Request<P>)>,
}

impl<P: Payload> Backlog<P> {
    /// An empty backlog that may hold `bytes_max`.
    pub fn new(bytes_max: usize) -> Self {
        let (pending, waiting, unstamped) = (VecDeque::new(), VecDeque::new(), VecDeque::new());
        Self { bytes_max, bytes: 0, pending, waiting, unstamped }
    }

    fn add(&mut self, request: &Request<P>) -> bool {
        let weight = request.weight();
        let fits = self.bytes + weight <= self.bytes_max;
        self.bytes += if fits { weight } else { 0 };
        fits
    }

    fn remove(&mut self, request: &Request<P>) {
        let weight = request.weight();
        assert!(weight <= self.bytes, "bytes that wait are miscounted");
        self.bytes -= weight;
    }

    /// Whether bytes wait just if requests do. Every request weighs something.
    fn is_balanced(&self) -> bool {
        let is_empty = self.pending.is_empty() && self.waiting.is_empty() && self.unstamped.is_empty();
        is_empty == (self.bytes == 0)
    }

    /// Adds a write that this replica is to propose; gives it back if it does not fit the budget.
    pub fn push_pending(&mut self, request: Request<P>) -> Result<(), Request<P>> {
        if !self.add(&request) {
            return Err(request);
        }
        self.pending.push_back(request);
        debug_assert!(self.is_balanced() && self.bytes <= self.bytes_max, "a request beyond the budget");
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

    /// Adds a request whose leader is not known; gives it back if it does not fit the budget.
    pub fn push_waiting(&mut self, request: Request<P>) -> Result<(), Request<P>> {
        if !self.add(&request) {
            return Err(request);
        }
        self.waiting.push_back(request);
        debug_assert!(self.is_balanced() && self.bytes <= self.bytes_max, "a request beyond the budget");
        Ok(())
    }

    /// Puts back a request that was taken out, even beyond the budget.
    pub fn push_waiting_again(&mut self, request: Request<P>) {
        self.bytes += request.weight();
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

    /// Adds a client's write that cannot be stamped yet; gives it back if it does not fit the budget.
    pub fn push_unstamped(&mut self, id: RequestId, request: Request<P>) -> Result<(), Request<P>> {
        if !self.add(&request) {
            return Err(request);
        }
        self.unstamped.push_back((id, request));
        debug_assert!(self.is_balanced() && self.bytes <= self.bytes_max, "a request beyond the budget");
        Ok(())
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

    /// The next write that has waited for a stamp for `patience`.
    pub fn late_unstamped(&mut self, patience: Nanos, now: Mono) -> Option<Request<P>> {
        let is_late = |(_, first): &mut (RequestId, Request<P>)| now.since(first.arrived) >= patience;
        let (_, request) = self.unstamped.pop_front_if(is_late)?;
        self.remove(&request);
        debug_assert!(self.is_balanced(), "bytes that wait are miscounted");
        Some(request)
    }

    pub fn invariants(&self, leads: bool) {
        assert!(leads || self.pending.is_empty(), "a follower has writes to propose");
        let unstamped = self.unstamped.iter().map(|(_, request)| request);
        let all = self.pending.iter().chain(&self.waiting).chain(unstamped);
        assert!(all.map(Request::weight).sum::<usize>() == self.bytes, "bytes that wait are miscounted");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Origin;
    use alloc::vec::Vec;
    use synod_types::{Command, Consistency, Op};

    fn request(id: u64, bytes: usize) -> Request<Vec<u8>> {
        let command = Command::plain(alloc::vec![b'k'; bytes], Op::Delete);
        let (origin, consistency) = (Origin::Client(RequestId::new(id)), Consistency::default());
        Request { origin, consistency, command, arrived: Mono(Nanos::from_ms(id).0) }
    }

    #[test]
    fn all_that_waits_shares_one_budget() {
        let weight = request(1, 10).weight();
        let mut backlog = Backlog::new(3 * weight);
        assert!(backlog.push_pending(request(1, 10)).is_ok());
        assert!(backlog.push_waiting(request(2, 10)).is_ok());
        assert!(backlog.push_unstamped(RequestId::new(3), request(3, 10)).is_ok());
        assert!(backlog.push_pending(request(4, 0)).is_err());
        assert!(backlog.push_waiting(request(4, 0)).is_err());
        assert!(backlog.push_unstamped(RequestId::new(4), request(4, 0)).is_err());
        backlog.invariants(true);
        assert!(backlog.late_unstamped(Nanos::from_ms(9), Mono(Nanos::from_ms(11).0)).is_none());
        assert!(backlog.late_unstamped(Nanos::from_ms(9), Mono(Nanos::from_ms(12).0)).is_some());
        assert!(backlog.push_waiting(request(5, 10)).is_ok(), "there is room again");
        let first = backlog.next_waiting().expect("the oldest");
        assert_eq!(first.origin, Origin::Client(RequestId::new(2)));
        backlog.push_waiting_again(first);
        assert_eq!(backlog.waiting_count(), 2);
        assert!(backlog.next_pending_if(|_| false).is_none() && backlog.has_pending());
        assert_eq!(backlog.take_pending().len(), 1);
        assert!(backlog.next_waiting().is_some() && backlog.next_waiting().is_some());
        backlog.invariants(false);
        assert_eq!(backlog.bytes, 0);
    }
}
