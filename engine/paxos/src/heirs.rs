//! Whom a leader could name as the next: judged by what its peers answered.
//!
//! May not: hand anything over. An heir may have gone, or have stopped to write, since it answered.

use crate::api::Timing;
use crate::peers::{Peer, Peers};
use crate::setup::Setup;
use synod_types::{GroupId, Mono, Nanos, NodeId, Slot};

/// A target's log may take this much longer than twice this node's: turns and links add to the figure of an
/// idle disk.
const SLOWER_SLACK: Nanos = Nanos::from_ms(10);

/// Whether leadership could pass to a peer without a pause that clients would notice: it answered a heartbeat
/// within a lease, holds nearly all chosen entries, has room, has no answer overdue, and its log is not much
/// slower than `own_log`.
pub(crate) fn is_ready(peer: &Peer, own_log: Nanos, chosen: Slot, timing: &Timing, now: Mono) -> bool {
    let is_slow = peer.log_pace(now).is_some_and(|its| its.0 > 2 * own_log.0 + SLOWER_SLACK.0);
    has_room_and_is_fit(peer, chosen, timing.lease, now)
        && !is_slow
        && peer.owes_since(now) < timing.heartbeat
}

/// A peer that answered a heartbeat within a lease.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Heir {
    /// The peer.
    pub node: NodeId,
    /// It has room and lacks few entries: it could lead.
    pub is_fit: bool,
    /// It could lead without a pause that clients would notice.
    pub is_ready: bool,
}

/// The peers that answered a heartbeat within a lease.
pub(crate) fn heard(
    peers: &Peers,
    own_log: Nanos,
    chosen: Slot,
    timing: Timing,
    now: Mono,
) -> impl Iterator<Item = Heir> {
    let heard = peers.iter().filter(move |peer| peer.heard_at().plus(timing.lease) > now);
    heard.map(move |peer| Heir {
        node: peer.node(),
        is_fit: has_room_and_is_fit(peer, chosen, timing.lease, now),
        is_ready: is_ready(peer, own_log, chosen, &timing, now),
    })
}

/// Of the peers with room that lack few slots: the one that was heard last, however long ago (P-06g).
pub(crate) fn heard_last(peers: &Peers, chosen: Slot) -> Option<NodeId> {
    let near = peers.iter().filter(|peer| peer.is_near(chosen) && !peer.is_low());
    near.max_by_key(|peer| peer.heard_at()).map(Peer::node)
}

/// The peer with the fastest log, if an accept quorum of peers has written since then what was sent to it
/// (P-09b). While no log moves, or none is known to, nothing would be better elsewhere.
pub(crate) fn fastest(peers: &Peers, since: Mono, chosen: Slot, setup: &Setup, now: Mono) -> Option<NodeId> {
    let lease = setup.timing.lease;
    let moves =
        |peer: &&Peer| peer.log_moves(since, lease, now) && has_room_and_is_fit(peer, chosen, lease, now);
    let moving = peers.iter().filter(moves);
    if moving.clone().count() < setup.accept_quorum() as usize {
        return None;
    }
    moving.min_by_key(|peer| peer.log_pace(now).unwrap_or(lease)).map(Peer::node)
}

/// A fit peer with room. The groups of a node whose disk is full are spread over all of them (P-18d).
pub(crate) fn of_turn(
    peers: &Peers,
    group: GroupId,
    chosen: Slot,
    lease: Nanos,
    now: Mono,
) -> Option<NodeId> {
    let fit = peers.iter().filter(|peer| has_room_and_is_fit(peer, chosen, lease, now));
    let count = fit.clone().count();
    let target = fit.map(Peer::node).nth(usize::from(group.get()) % count.max(1));
    assert!(target.is_some() == (count > 0), "a fit peer is passed over");
    target
}

fn has_room_and_is_fit(peer: &Peer, chosen: Slot, lease: Nanos, now: Mono) -> bool {
    !peer.is_low() && peer.is_fit(chosen, lease, now)
}
