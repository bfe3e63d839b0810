//! Reads that a follower answers from its own store (ReadIndex, section 6.4 of the Raft dissertation; P-07).
//!
//! ```text
//!   GET ─▶ gathered ─ TurnEnd ─▶ ReadIndex { groups } ─▶ leader, under its lease
//!                                                          │ chosen watermark per group
//!   Reply ◀─ store ◀─ applied up to there? ◀─ ReadIndexReply
//! ```
//! The leader vouches for the point *after* the read arrived, so the point covers every write that was
//! acknowledged before. A value that is not in memory here is fetched from the leader, and cached if there is
//! room to spare. If anything goes wrong, nothing was executed: the read is routed like any other request.

use crate::api::{Effect, ReadIndexId};
use crate::flow::drive::drive;
use crate::flow::{read, route};
use crate::outlet::Out;
use crate::parts::follower_reads::FollowerRead;
use crate::step::{Cx, Step};
use alloc::vec::Vec;
use synod_paxos as paxos;
use synod_types::{GroupId, NodeId, Payload, PeerMessage, ReadPoint, Slot};

/// A read waits for its point if this replica is at most this many slots behind: about what a pipeline has in
/// flight. A replica that is further behind is catching up.
const LAG_SLOTS_MAX: u64 = 64;

/// A peer asks for points, to answer reads from its own store.
pub(crate) fn on_read_index<P: Payload>(
    step: &mut Step<'_, P, impl Out<P>>,
    from: NodeId,
    id: u64,
    groups: &[GroupId],
) {
    let points = groups.iter().filter_map(|&group| point(&mut step.at_group(group)?, from)).collect();
    step.out.push(Effect::Send { to: from, message: PeerMessage::ReadIndexReply { id, points } });
}

/// The point that this replica vouches for as the leader of a group; none if it cannot.
fn point<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>, from: NodeId) -> Option<ReadPoint> {
    let (group, now) = (&mut *cx.group, cx.now.mono);
    let ballot = group.paxos.leading()?;
    group.sources.note_peer(from);
    let vouches = group.paxos.serving() && group.paxos.lease_valid(now);
    #[cfg(feature = "canary")]
    let vouches = vouches || cx.common.has_planted(crate::Canary::PointBeforeServing);
    vouches.then(|| ReadPoint { group: group.id, ballot, chosen: group.paxos.chosen() })
}

/// A leader has answered with the chosen watermarks of its groups.
pub(crate) fn on_read_index_reply<P: Payload>(
    step: &mut Step<'_, P, impl Out<P>>,
    from: NodeId,
    id: ReadIndexId,
    mut points: Vec<ReadPoint>,
) {
    let Some(reads) = step.common.follower_reads.answered(from, id) else { return };
    points.sort_unstable_by_key(|point| point.group);
    for &ReadPoint { group, ballot, chosen } in &points {
        if let Some(mut cx) = step.at_group(group) {
            drive(&mut cx, paxos::Input::Watermark { from, ballot, chosen });
        }
    }
    // A replica whose log has no room will not catch up.
    let may_lag = !step.common.journal.is_full();
    for read in reads {
        let mut cx = step.at(read.index);
        match points.binary_search_by_key(&read.group, |point| point.group) {
            Ok(at) => read_from(&mut cx, read, points[at].chosen, may_lag),
            Err(_) => route::route_to_leader(&mut cx, read.request),
        }
    }
}

/// Answers a read here once `point` is applied, or hands it to the leader if that would take long.
fn read_from<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>, own: FollowerRead<P>, point: Slot, may_lag: bool) {
    debug_assert!(own.index == cx.group.index, "a read of another group");
    let applied = cx.group.paxos.applied_slot();
    if applied >= point {
        read::read_here(cx, own);
    } else if may_lag && applied.plus(LAG_SLOTS_MAX) >= point && cx.group.reads.has_room_for_apply() {
        cx.group.reads.await_apply(own, point, cx.now.mono);
    } else {
        route::route_to_leader(cx, own.request);
    }
}

/// Reads that will not get a point from the leader they asked wait for the next leader.
pub(crate) fn wait_anew<P: Payload>(step: &mut Step<'_, P, impl Out<P>>, reads: Vec<FollowerRead<P>>) {
    for read in reads {
        route::wait_anew(&mut step.at(read.index), read.request);
    }
}

/// Hands reads that have waited too long for a point to the leader itself.
pub(crate) fn expire<P: Payload>(step: &mut Step<'_, P, impl Out<P>>) {
    for read in step.common.follower_reads.late(step.now.mono) {
        route::route_to_leader(&mut step.at(read.index), read.request);
    }
}

/// Likewise for reads that have waited too long for their point to be applied.
pub(crate) fn expire_awaiting_apply<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>) {
    while let Some(late) = cx.group.reads.next_late(cx.now.mono) {
        route::route_to_leader(cx, late.request);
    }
}
