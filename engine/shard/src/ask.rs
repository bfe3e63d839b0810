//! Reads that a replica which does not lead answers from its own store (ReadIndex, section 6.4 of the Raft dissertation; P-07).
//!
//! ```text
//!   GET ─▶ gathered ─ TurnEnd ─▶ ReadIndex { groups } ─▶ leader, under its lease
//!                                                          │ chosen watermark per group
//!   Reply ◀─ store ◀─ applied up to there? ◀─ ReadIndexReply
//! ```
//! The point comes from a leader that vouched for it *after* the read arrived, so it covers every write that was acknowledged
//! before; a read that came after the question may not use its answer. What is not in memory here is fetched from the leader, and
//! kept if there is room to spare. Whatever goes wrong, nothing was executed: the read goes the way of other requests.

use crate::api::Effect;
use crate::group::Group;
use crate::outlet::Out;
use crate::request::Request;
use crate::{Shard, paxos};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use synod_types::{
    Consistency, GroupId, Mono, Nanos, NodeId, Now, Op, Payload, PeerMessage, ReadPoint, Slot, limits,
};

/// A client's read that is answered here.
#[derive(Debug)]
pub(crate) struct Read<P> {
    /// The group's place in the shard.
    pub index: usize,
    pub request: Request<P>,
}

/// The reads that await one peer's word.
#[derive(Debug)]
pub(crate) struct Asking<P> {
    node: NodeId,
    /// To be asked about next.
    gathered: Vec<Read<P>>,
    /// Questions under way, oldest first.
    asked: VecDeque<Asked<P>>,
}

/// A question that is under way.
#[derive(Debug)]
struct Asked<P> {
    number: u64,
    at: Mono,
    reads: Vec<Read<P>>,
}

/// A read whose point is ahead of what this replica has applied.
#[derive(Debug)]
pub(crate) struct Lagging<P> {
    read: Read<P>,
    point: Slot,
    since: Mono,
}

impl<P: Payload> Shard<P> {
    /// Whether this replica, which does not lead, had better answer this from its store. What is not in memory here mostly is
    /// at the leader, and a link is faster than a disk.
    pub(crate) fn is_answered_here(&self, group: GroupId, request: &Request<P>) -> bool {
        let Request { command, consistency, .. } = request;
        // `Quorum` is the leader's to confirm; what depends on its clock, or walks over many keys, is its too.
        *consistency == Consistency::Linearizable
            && match command.op {
                Op::Get => self.store.is_at_hand(group, command.namespace, command.key.as_ref()),
                Op::Exists => true,
                _ => false,
            }
    }

    /// Keeps a read until the turn's end; back if there are too many.
    pub(crate) fn gather_read(&mut self, leader: NodeId, read: Read<P>) -> Result<(), Read<P>> {
        let at = match self.asking.iter().position(|asking| asking.node == leader) {
            Some(at) => at,
            None => {
                self.asking.push(Asking { node: leader, gathered: Vec::new(), asked: VecDeque::new() });
                self.asking.len() - 1
            }
        };
        let gathered = &mut self.asking[at].gathered;
        if gathered.len() >= GATHERED_MAX {
            return Err(read);
        }
        gathered.push(read);
        Ok(())
    }

    /// Asks about all that gathered, unless too many questions are under way.
    pub(crate) fn flush_asks(&mut self, now: Now, out: &mut impl Out<P>) {
        for at in 0..self.asking.len() {
            let asking = &mut self.asking[at];
            if asking.gathered.is_empty() || asking.asked.len() >= ASKS_MAX {
                continue;
            }
            let reads = core::mem::take(&mut asking.gathered);
            let mut groups: Vec<GroupId> = reads.iter().map(|read| self.groups[read.index].id).collect();
            groups.sort_unstable();
            groups.dedup();
            assert!(groups.len() <= limits::COALESCED_MAX, "a core has no more groups");
            self.next_question += 1;
            let number = self.next_question | QUESTION;
            asking.asked.push_back(Asked { number, at: now.mono, reads });
            let message = PeerMessage::ReadIndex { id: number, groups };
            out.push(Effect::Send { to: asking.node, message });
        }
    }

    /// A peer wants to read by itself.
    pub(crate) fn on_read_index(
        &mut self,
        from: NodeId,
        id: u64,
        groups: &[GroupId],
        now: Now,
        out: &mut impl Out<P>,
    ) {
        let mut point = |&group: &GroupId| {
            let index = self.index_of(group)?;
            let Group { paxos, asked, .. } = &mut self.groups[index];
            let ballot = paxos.leading()?;
            asked.note_peer(from);
            let vouches = paxos.serving() && paxos.lease_valid(now.mono);
            #[cfg(feature = "canary")]
            let vouches = vouches || self.canary == Some(crate::Canary::PointBeforeServing);
            vouches.then(|| ReadPoint { group, ballot, chosen: paxos.chosen() })
        };
        let points = groups.iter().filter_map(&mut point).collect();
        out.push(Effect::Send { to: from, message: PeerMessage::ReadIndexReply { id, points } });
    }

    pub(crate) fn on_read_index_reply(
        &mut self,
        from: NodeId,
        number: u64,
        mut points: Vec<ReadPoint>,
        now: Now,
        out: &mut impl Out<P>,
    ) {
        let Some(reads) = self.take_asked(number, Some(from)) else { return };
        points.sort_unstable_by_key(|point| point.group);
        for &ReadPoint { group, ballot, chosen } in &points {
            if let Some(index) = self.index_of(group) {
                self.drive(index, paxos::Input::Watermark { from, ballot, chosen }, now, out);
            }
        }
        // Without room it will not catch up.
        let may_lag = !self.log_full();
        for read in reads {
            let group = self.groups[read.index].id;
            let Ok(at) = points.binary_search_by_key(&group, |point| point.group) else {
                self.route_to_leader(read.index, read.request, now, out);
                continue;
            };
            let point = points[at].chosen;
            let group = &mut self.groups[read.index];
            let applied = group.paxos.applied_slot();
            if applied >= point {
                self.answer_here(read, now, out);
            } else if may_lag && applied.plus(LAG_SLOTS_MAX) >= point && group.lagging.len() < LAGGING_MAX {
                group.lagging.push_back(Lagging { read, point, since: now.mono });
            } else {
                self.route_to_leader(read.index, read.request, now, out);
            }
        }
    }

    /// The reads of a question that is under way; `from` is who answered, if anybody did.
    fn take_asked(&mut self, number: u64, from: Option<NodeId>) -> Option<Vec<Read<P>>> {
        let heard = self.asking.iter_mut().filter(|asking| from.is_none_or(|from| asking.node == from));
        for asking in heard {
            if let Some(at) = asking.asked.iter().position(|asked| asked.number == number) {
                return asking.asked.remove(at).map(|asked| asked.reads);
            }
        }
        None
    }

    fn answer_here(&mut self, read: Read<P>, now: Now, out: &mut impl Out<P>) {
        self.stats.follower_reads += 1;
        self.read(read.index, read.request.origin, read.request.command, now, out);
    }

    /// Answers the reads that what was applied has come up to.
    pub(crate) fn serve_lagging(&mut self, index: usize, now: Now, out: &mut impl Out<P>) {
        let applied = self.groups[index].paxos.applied_slot();
        while let Some(first) = self.groups[index].lagging.pop_front_if(|first| first.point <= applied) {
            self.answer_here(first.read, now, out);
        }
    }

    /// No answer is to be expected to what was asked of `node`, nor to what was about to be.
    pub(crate) fn asks_lost(&mut self, node: NodeId, now: Now, out: &mut impl Out<P>) {
        let Some(asking) = self.asking.iter_mut().find(|asking| asking.node == node) else { return };
        let gathered = core::mem::take(&mut asking.gathered);
        let asked = core::mem::take(&mut asking.asked);
        for read in asked.into_iter().flat_map(|asked| asked.reads).chain(gathered) {
            self.wait_anew(self.groups[read.index].id, read.request, now, out);
        }
    }

    /// A question never left, if that is what `number` was.
    pub(crate) fn ask_unsent(&mut self, number: u64, now: Now, out: &mut impl Out<P>) {
        for read in self.take_asked(number, None).into_iter().flatten() {
            self.wait_anew(self.groups[read.index].id, read.request, now, out);
        }
    }

    /// Reads that have waited long for a leader's word, or for what it spoke of, are handed on.
    pub(crate) fn expire_asks(&mut self, now: Now, out: &mut impl Out<P>) {
        for at in 0..self.asking.len() {
            let is_late = |asked: &mut Asked<P>| now.mono.since(asked.at) >= ASK_PATIENCE;
            while let Some(asked) = self.asking[at].asked.pop_front_if(is_late) {
                for read in asked.reads {
                    self.route_to_leader(read.index, read.request, now, out);
                }
            }
        }
    }

    pub(crate) fn expire_lagging(&mut self, index: usize, now: Now, out: &mut impl Out<P>) {
        let is_late = |first: &mut Lagging<P>| now.mono.since(first.since) >= ASK_PATIENCE;
        while let Some(late) = self.groups[index].lagging.pop_front_if(is_late) {
            self.route_to_leader(late.read.index, late.read.request, now, out);
        }
    }
}

/// Slots that a replica may be behind a read's point for the read to wait: what is under way in a pipeline. Who is further behind
/// is catching up.
const LAG_SLOTS_MAX: u64 = 64;
/// Reads of one group that may wait so.
const LAGGING_MAX: usize = 4096;
/// Marks the number of a question: it is no forward's.
const QUESTION: u64 = 1 << 63;
/// Questions to one leader that may be under way.
const ASKS_MAX: usize = 8;
/// Reads that may gather for one leader.
const GATHERED_MAX: usize = 65_536;
/// How long a read waits for a leader's word, and again for what it spoke of, before it is handed to the leader itself.
const ASK_PATIENCE: Nanos = Nanos::from_ms(50);
