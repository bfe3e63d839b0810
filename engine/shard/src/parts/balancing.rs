//! How steadily peers are up, and the transfer of leadership that is under way for the sake of balance.

use alloc::vec::Vec;
use synod_types::{Mono, Nanos, NodeId};

/// How long a peer must have been up; doubled for each break of its link within [`BREAKS_FORGOTTEN_AFTER`].
const STEADY: Nanos = Nanos::from_ms(500);
/// At most 32 seconds: 500 ms times 2^6.
const STEADY_DOUBLINGS_MAX: u32 = 6;
const BREAKS_FORGOTTEN_AFTER: Nanos = Nanos::from_ms(60_000);

/// The state of balancing: how steady peers are, and the transfer under way.
#[derive(Debug, Default)]
pub(crate) struct Balancing {
    peers: Vec<Peer>,
    /// The transfer under way.
    pub moving: Option<Moving>,
    /// No search for another one before this.
    pub look_at: Mono,
}

/// A group that is being transferred to its preferred node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moving {
    /// The index of the group.
    pub index: usize,
    /// The transfer target.
    pub target: NodeId,
    /// The transfer has failed if it is not over by then.
    pub until: Mono,
}

/// How steady a peer is.
#[derive(Clone, Copy, Debug)]
struct Peer {
    node: NodeId,
    /// Since when it has been up; none while it is not.
    there_since: Option<Mono>,
    /// How often its link broke recently, and when it last did.
    breaks: u32,
    broke_at: Mono,
}

impl Balancing {
    fn peer(&mut self, node: NodeId) -> &mut Peer {
        let at = match self.peers.iter().position(|peer| peer.node == node) {
            Some(at) => at,
            None => {
                self.peers.push(Peer { node, there_since: None, breaks: 0, broke_at: Mono::ZERO });
                self.peers.len() - 1
            }
        };
        &mut self.peers[at]
    }

    /// The link to a peer broke.
    pub fn lost(&mut self, node: NodeId, now: Mono) {
        let peer = self.peer(node);
        assert!(peer.broke_at <= now, "time went back");
        peer.there_since = None;
        let is_another = now.since(peer.broke_at) < BREAKS_FORGOTTEN_AFTER;
        peer.breaks = if is_another { peer.breaks.saturating_add(1) } else { 1 };
        peer.broke_at = now;
    }

    /// Whether a peer that is up now has been up for long enough.
    pub fn is_steady(&mut self, node: NodeId, now: Mono) -> bool {
        let peer = self.peer(node);
        let since = *peer.there_since.get_or_insert(now);
        assert!(peer.broke_at <= since && since <= now, "it is up since before its link broke");
        let breaks = if now.since(peer.broke_at) < BREAKS_FORGOTTEN_AFTER { peer.breaks } else { 0 };
        now.since(since) >= Nanos(STEADY.0 << breaks.min(STEADY_DOUBLINGS_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: NodeId = NodeId::new(2);

    fn at(ms: u64) -> Mono {
        Mono(Nanos::from_ms(ms).0)
    }

    /// After how many milliseconds a peer that is up from `from` on counts as steady.
    fn steady_after(balancing: &mut Balancing, from: u64) -> u64 {
        (0..100_000).step_by(50).find(|&ms| balancing.is_steady(PEER, at(from + ms))).expect("some time")
    }

    #[test]
    fn who_comes_and_goes_is_waited_for_longer_and_longer() {
        let mut balancing = Balancing::default();
        assert_eq!(steady_after(&mut balancing, 70_000), 500);
        for (break_number, wait) in [(1, 1_000), (2, 2_000), (3, 4_000)] {
            let now = 71_000 + break_number * 10_000;
            balancing.lost(PEER, at(now));
            assert_eq!(steady_after(&mut balancing, now), wait);
        }
        for _ in 0..50 {
            balancing.lost(PEER, at(102_000));
        }
        assert_eq!(steady_after(&mut balancing, 102_000), 32_000);
        balancing.lost(PEER, at(300_000));
        assert_eq!(steady_after(&mut balancing, 300_000), 1_000, "a minute without trouble is enough");
    }
}
