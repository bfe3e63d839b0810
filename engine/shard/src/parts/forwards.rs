//! What was forwarded to leaders on other nodes, and the numbers of those forwards that peers have sent to this
//! core.

use crate::api::ForwardId;
use crate::request::Request;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use synod_types::{Mono, NodeId};

/// Requests of one core that may be under way to other leaders.
const FORWARDS_MAX: usize = 65_536;
/// Forwards of one peer that are remembered.
const DEDUP_COUNT: usize = 256;
/// Forwards whose patience is checked per tick.
const EXPIRE_LOOKAHEAD: usize = 4096;

/// What a forward carries.
#[derive(Debug)]
pub(crate) enum Carried<P> {
    /// A request that waits for this forward's answer.
    Request(Request<P>),
    /// The write with this sequence, which waits in the group's stream. It may have been sent again since.
    Write(u64),
}

/// A forward that has no answer yet.
#[derive(Debug)]
struct Forwarded<P> {
    index: usize,
    to: NodeId,
    carried: Carried<P>,
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

    /// Notes a forward of the group at `index` and numbers it.
    pub fn send(&mut self, to: NodeId, index: usize, carried: Carried<P>) -> ForwardId {
        assert!(self.has_room(), "a forward beyond their limit");
        self.last = ForwardId(self.last.0 + 1);
        let held = self.open.insert(self.last, Forwarded { index, to, carried });
        debug_assert!(held.is_none(), "two forwards have one number");
        self.last
    }

    /// The node that was asked has answered; none if it was not asked, or its answer counts no more.
    pub fn answered(&mut self, from: NodeId, id: ForwardId) -> Option<(usize, Carried<P>)> {
        if self.open.get(&id)?.to != from {
            return None;
        }
        self.unsent(id)
    }

    /// A forward was not sent.
    pub fn unsent(&mut self, id: ForwardId) -> Option<(usize, Carried<P>)> {
        self.open.remove(&id).map(|Forwarded { index, carried, .. }| (index, carried))
    }

    /// The requests that were under way to a node whose link is lost, in order. Answers about writes of
    /// streams count whenever they come.
    pub fn lost(&mut self, node: NodeId) -> Vec<Returned<P>> {
        self.take_requests(|forwarded| forwarded.to == node)
    }

    /// The requests of a group that are under way, in order.
    pub fn of_group(&mut self, index: usize) -> Vec<Returned<P>> {
        self.take_requests(|forwarded| forwarded.index == index)
    }

    fn take_requests(&mut self, is_wanted: impl Fn(&Forwarded<P>) -> bool) -> Vec<Returned<P>> {
        let is_request = |forwarded: &Forwarded<P>| {
            is_wanted(forwarded) && matches!(forwarded.carried, Carried::Request(_))
        };
        let wanted: Vec<ForwardId> =
            self.open.iter().filter(|(_, forwarded)| is_request(forwarded)).map(|(&id, _)| id).collect();
        wanted.into_iter().filter_map(|id| self.take_request(id)).collect()
    }

    fn take_request(&mut self, id: ForwardId) -> Option<Returned<P>> {
        match self.unsent(id)? {
            (index, Carried::Request(request)) => Some((index, request)),
            (_, Carried::Write(_)) => None,
        }
    }

    /// The requests that have waited too long: `is_over` judges by the index of the group and the arrival.
    pub fn late(&mut self, is_over: impl Fn(usize, Mono) -> bool) -> Vec<Returned<P>> {
        // Numbers rise with time, so the oldest come first; rerouted ones keep their arrival, hence the
        // bounded look-ahead.
        let is_late = |forwarded: &Forwarded<P>| match &forwarded.carried {
            Carried::Request(request) => is_over(forwarded.index, request.arrived),
            Carried::Write(_) => false,
        };
        let first = self.open.iter().take(EXPIRE_LOOKAHEAD);
        let late: Vec<ForwardId> =
            first.filter(|(_, forwarded)| is_late(forwarded)).map(|(&id, _)| id).collect();
        late.into_iter().filter_map(|id| self.take_request(id)).collect()
    }

    /// Forgets the oldest forwards whose writes wait no more, as `waits` says.
    pub fn forget(&mut self, waits: impl Fn(usize, u64) -> bool) {
        if self.open.len() > FORWARDS_MAX / 2 {
            // A request that waits long holds up what is behind it below.
            self.open.retain(|_, forwarded| match forwarded.carried {
                Carried::Write(sequence) => waits(forwarded.index, sequence),
                Carried::Request(_) => true,
            });
        }
        while let Some(first) = self.open.first_entry()
            && let Forwarded { index, carried: Carried::Write(sequence), .. } = *first.get()
            && !waits(index, sequence)
        {
            first.remove();
        }
    }

    pub fn invariants(&self) {
        assert!(self.open.len() <= FORWARDS_MAX, "more forwards are under way than may be");
        let last = self.open.last_key_value().map(|(&id, _)| id);
        assert!(last <= Some(self.last), "a forward whose number was not given out");
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

    #[test]
    fn forwards_of_writes_are_kept_until_the_writes_are_answered() {
        let mut forwards: Forwards<Vec<u8>> = Forwards::new(0);
        let node = NodeId::new(2);
        let ids: Vec<ForwardId> =
            (1..4).map(|sequence| forwards.send(node, 0, Carried::Write(sequence))).collect();
        assert!(forwards.lost(node).is_empty() && forwards.of_group(0).is_empty());
        forwards.forget(|_, sequence| sequence > 1);
        assert!(forwards.answered(node, ids[0]).is_none());
        assert!(forwards.answered(NodeId::new(3), ids[1]).is_none(), "it was not asked");
        assert!(matches!(forwards.answered(node, ids[1]), Some((0, Carried::Write(2)))));
        forwards.invariants();
    }
}
