//! Reads at a follower that wait for a point from the leader: the slot up to which this replica must have
//! applied before it answers them (ReadIndex, section 6.4 of the Raft dissertation; P-07).
//!
//! ```text
//!   gather ─ turn's end ─▶ flush: ReadIndex { groups } ─▶ leader
//!   answered ◀─ ReadIndexReply · lost · late · unsent ◀───┘
//! ```
//! A read that came after a question may not use its answer: it gathers for the next question.

use crate::api::{Effect, ReadIndexId, Sink};
use crate::request::Request;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use synod_types::{GroupId, Mono, Nanos, NodeId, PeerMessage, limits};

/// Questions to one leader that may be under way.
const QUESTIONS_MAX: usize = 8;
/// Reads that may gather for one leader.
const GATHERED_MAX: usize = 65_536;
/// How long a read waits for its point, and again for the point to be applied, before it is handed to the
/// leader itself.
pub(crate) const READ_INDEX_PATIENCE: Nanos = Nanos::from_ms(50);

/// A client's read that a follower answers.
#[derive(Debug)]
pub(crate) struct FollowerRead<P> {
    /// The index of its group.
    pub index: usize,
    /// Its group.
    pub group: GroupId,
    /// The read.
    pub request: Request<P>,
}

/// The reads that wait for points from one leader.
#[derive(Debug)]
struct AtLeader<P> {
    node: NodeId,
    /// The reads of the next question.
    gathered: Vec<FollowerRead<P>>,
    /// Questions under way, oldest first.
    asked: VecDeque<Question<P>>,
}

/// A question that is under way.
#[derive(Debug)]
struct Question<P> {
    id: ReadIndexId,
    at: Mono,
    reads: Vec<FollowerRead<P>>,
}

/// The reads that wait for points, by leader.
#[derive(Debug)]
pub(crate) struct FollowerReads<P> {
    leaders: Vec<AtLeader<P>>,
    last: ReadIndexId,
}

impl<P> FollowerReads<P> {
    /// Numbers go up from `base`, like those of forwards.
    pub fn new(base: u64) -> Self {
        Self { leaders: Vec::new(), last: ReadIndexId(base) }
    }

    /// Keeps a read until the turn's end; back if there are too many.
    pub fn gather(&mut self, leader: NodeId, read: FollowerRead<P>) -> Result<(), FollowerRead<P>> {
        let at = match self.leaders.iter().position(|known| known.node == leader) {
            Some(at) => at,
            None => {
                self.leaders.push(AtLeader { node: leader, gathered: Vec::new(), asked: VecDeque::new() });
                self.leaders.len() - 1
            }
        };
        debug_assert!(self.leaders[at].node == leader, "a read gathers for another leader");
        let gathered = &mut self.leaders[at].gathered;
        if gathered.len() >= GATHERED_MAX {
            return Err(read);
        }
        gathered.push(read);
        Ok(())
    }

    /// Asks for the points of all gathered reads, unless too many questions are under way.
    pub fn flush(&mut self, now: Mono, out: &mut impl Sink<P>) {
        for leader in &mut self.leaders {
            if leader.gathered.is_empty() || leader.asked.len() >= QUESTIONS_MAX {
                continue;
            }
            let reads = core::mem::take(&mut leader.gathered);
            let mut groups: Vec<GroupId> = reads.iter().map(|read| read.group).collect();
            groups.sort_unstable();
            groups.dedup();
            assert!(groups.len() <= limits::COALESCED_MAX, "a core has no more groups");
            assert!(!groups.is_empty(), "a question about nothing");
            self.last = ReadIndexId(self.last.0 + 1);
            let before = leader.asked.back();
            debug_assert!(before.is_none_or(|before| before.id < self.last && before.at <= now));
            leader.asked.push_back(Question { id: self.last, at: now, reads });
            let message = PeerMessage::ReadIndex { id: self.last.0, groups };
            out.push(Effect::Send { to: leader.node, message });
        }
    }

    /// The reads of a question that `from` has answered; none if they do not wait for it any more.
    pub fn answered(&mut self, from: NodeId, id: ReadIndexId) -> Option<Vec<FollowerRead<P>>> {
        self.leaders.iter_mut().filter(|leader| leader.node == from).find_map(|leader| leader.take(id))
    }

    /// The reads of a question that was not sent.
    pub fn unsent(&mut self, id: ReadIndexId) -> Vec<FollowerRead<P>> {
        self.leaders.iter_mut().find_map(|leader| leader.take(id)).unwrap_or_default()
    }

    /// Takes out all reads that were asked of `node` or gathered for it: no answers will come from there.
    pub fn lost(&mut self, node: NodeId) -> Vec<FollowerRead<P>> {
        let Some(leader) = self.leaders.iter_mut().find(|leader| leader.node == node) else {
            return Vec::new();
        };
        let gathered = core::mem::take(&mut leader.gathered);
        let asked = core::mem::take(&mut leader.asked);
        asked.into_iter().flat_map(|question| question.reads).chain(gathered).collect()
    }

    /// Reads that have waited too long for their point.
    pub fn late(&mut self, now: Mono) -> Vec<FollowerRead<P>> {
        let is_late = |question: &mut Question<P>| now.since(question.at) >= READ_INDEX_PATIENCE;
        let mut late = Vec::new();
        for leader in &mut self.leaders {
            while let Some(question) = leader.asked.pop_front_if(is_late) {
                late.extend(question.reads);
            }
        }
        late
    }

    pub fn invariants(&self) {
        for leader in &self.leaders {
            assert!(leader.gathered.len() <= GATHERED_MAX, "more reads gather than may");
            assert!(leader.asked.len() <= QUESTIONS_MAX, "more questions are under way than may be");
            assert!(
                leader.asked.iter().all(|question| !question.reads.is_empty()),
                "a question without a read"
            );
            let is_ordered = leader.asked.iter().is_sorted_by(|one, next| one.id < next.id);
            assert!(is_ordered, "the oldest question does not come first");
        }
    }
}

impl<P> AtLeader<P> {
    fn take(&mut self, id: ReadIndexId) -> Option<Vec<FollowerRead<P>>> {
        let at = self.asked.iter().position(|question| question.id == id)?;
        self.asked.remove(at).map(|question| question.reads)
    }
}
