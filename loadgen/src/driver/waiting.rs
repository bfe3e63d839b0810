//! Operations that wait: for their pause to end, for a connection, for a session, or for room. An operation
//! may have moved on meanwhile, so each one that comes out is compared with its [`super::op::Spot`].

use super::op::OpId;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// All waiting operations.
#[derive(Debug)]
pub(super) struct WaitingOps {
    /// By endpoint: those that wait for room on a connection.
    queues: Vec<VecDeque<OpId>>,
    /// Those that wait for any connection.
    parked: VecDeque<OpId>,
    /// Those that wait for a session of their group.
    unstamped: VecDeque<OpId>,
    /// Those that wait before they are sent again, with the time.
    resting: BinaryHeap<Reverse<(u64, OpId)>>,
}

impl WaitingOps {
    pub(super) fn new(endpoint_count: usize) -> Self {
        Self {
            queues: vec![VecDeque::new(); endpoint_count],
            parked: VecDeque::new(),
            unstamped: VecDeque::new(),
            resting: BinaryHeap::new(),
        }
    }
    /// Lets the operation wait until `due_ns`.
    pub(super) fn rest(&mut self, due_ns: u64, id: OpId) {
        self.resting.push(Reverse((due_ns, id)));
    }
    /// Takes an operation whose pause is over.
    pub(super) fn take_rested(&mut self, now_ns: u64) -> Option<OpId> {
        let &Reverse((due_ns, id)) = self.resting.peek()?;
        if due_ns > now_ns {
            return None;
        }
        self.resting.pop();
        Some(id)
    }
    /// Lets the operation wait for any connection.
    pub(super) fn park(&mut self, id: OpId) {
        self.parked.push_back(id);
    }
    /// Takes all operations that wait for any connection.
    pub(super) fn take_parked(&mut self) -> VecDeque<OpId> {
        std::mem::take(&mut self.parked)
    }
    /// Lets the operation wait for a session.
    pub(super) fn await_session(&mut self, id: OpId) {
        self.unstamped.push_back(id);
    }
    /// The number of operations that wait for a session.
    pub(super) fn unstamped(&self) -> usize {
        self.unstamped.len()
    }
    /// Takes the first operation that waits for a session.
    pub(super) fn take_unstamped(&mut self) -> Option<OpId> {
        self.unstamped.pop_front()
    }
    /// Lets the operation wait for room on a connection to the endpoint.
    pub(super) fn queue(&mut self, endpoint: usize, id: OpId) {
        self.queues[endpoint].push_back(id);
    }
    /// The first operation that waits for room on a connection to the endpoint.
    pub(super) fn front(&self, endpoint: usize) -> Option<OpId> {
        self.queues[endpoint].front().copied()
    }
    /// Removes that operation.
    pub(super) fn pop(&mut self, endpoint: usize) {
        self.queues[endpoint].pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_end_in_order_of_time() {
        let ids = [5, 6, 7].map(OpId::from_wire);
        let mut waiting = WaitingOps::new(0);
        waiting.rest(30, ids[0]);
        waiting.rest(10, ids[1]);
        waiting.rest(20, ids[2]);
        assert_eq!(waiting.take_rested(9), None);
        assert_eq!([waiting.take_rested(20), waiting.take_rested(20)], [Some(ids[1]), Some(ids[2])]);
        assert_eq!(waiting.take_rested(29), None);
        assert_eq!([waiting.take_rested(30), waiting.take_rested(99)], [Some(ids[0]), None]);
    }

    #[test]
    fn every_endpoint_has_a_queue_of_its_own() {
        let ids = [5, 6, 7].map(OpId::from_wire);
        let mut waiting = WaitingOps::new(2);
        waiting.queue(1, ids[0]);
        waiting.queue(0, ids[1]);
        waiting.queue(1, ids[2]);
        assert_eq!((waiting.front(0), waiting.front(1)), (Some(ids[1]), Some(ids[0])));
        waiting.pop(1);
        waiting.pop(0);
        assert_eq!((waiting.front(0), waiting.front(1)), (None, Some(ids[2])));
    }
}
