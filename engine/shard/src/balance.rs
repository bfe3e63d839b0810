//! Leaders spread over the nodes again: a group is handed over (P-17) to the node that is to lead it when all is well.
//!
//! Elections alone do not spread them. Who was up last, or was the only one up, leads; and after a failure what the dead node
//! led stays with whoever took over. So each leader looks now and then whether the preferred node of a group is there, steadily,
//! near, and with a log that is not slower than its own; then the group goes there. One at a time: a hand-over that goes wrong costs
//! its group up to a lease, and must not cost all groups that at once.

use crate::api::Leadership;
use crate::load::may_try;
use crate::outlet::Out;
use crate::{Shard, paxos};
use alloc::vec::Vec;
use synod_types::{Mono, Nanos, NodeId, Now, Payload};

/// What is remembered of moving leaders.
#[derive(Debug, Default)]
pub(crate) struct Balancing {
    peers: Vec<Peer>,
    /// The hand-over under way.
    moving: Option<Moving>,
    look_at: Mono,
}

#[derive(Clone, Copy, Debug)]
struct Moving {
    index: usize,
    heir: NodeId,
    until: Mono,
}

/// How steady a peer is.
#[derive(Clone, Copy, Debug)]
struct Peer {
    node: NodeId,
    /// Since when it has been there; nothing while it is not.
    there_since: Option<Mono>,
    /// How often its link broke of late, and when it last did.
    breaks: u32,
    broke_at: Mono,
}

/// Between two looks while there is nothing to move.
const LOOK_INTERVAL: Nanos = Nanos::from_ms(50);
/// How long a peer is to have been there; doubled for each break of its link within [`BREAKS_FORGOTTEN_AFTER`].
const STEADY: Nanos = Nanos::from_ms(500);
/// Half a minute or so at most: 500 ms times 2^6.
const STEADY_DOUBLINGS_MAX: u32 = 6;
/// Between two tries to hand a group over to the same node in vain.
const PAUSE_MAX: Nanos = Nanos::from_ms(20_000);
const BREAKS_FORGOTTEN_AFTER: Nanos = Nanos::from_ms(60_000);

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
        peer.there_since = None;
        let is_another = now.since(peer.broke_at) < BREAKS_FORGOTTEN_AFTER;
        peer.breaks = if is_another { peer.breaks.saturating_add(1) } else { 1 };
        peer.broke_at = now;
    }

    /// Whether a peer that is there now has been for long enough.
    fn is_steady(&mut self, node: NodeId, now: Mono) -> bool {
        let peer = self.peer(node);
        let since = *peer.there_since.get_or_insert(now);
        let breaks = if now.since(peer.broke_at) < BREAKS_FORGOTTEN_AFTER { peer.breaks } else { 0 };
        now.since(since) >= Nanos(STEADY.0 << breaks.min(STEADY_DOUBLINGS_MAX))
    }
}

impl<P: Payload> Shard<P> {
    /// Hands the next group over that another node is to lead, if that one can and no hand-over is under way.
    pub(crate) fn balance(&mut self, now: Now, out: &mut impl Out<P>) {
        if self.config.leadership != Leadership::Balance {
            return;
        }
        if let Some(Moving { index, heir, until }) = self.balancing.moving {
            let group = &self.groups[index];
            let is_over = group.led.is_none() && group.paxos.leader_hint() == Some(heir);
            if !is_over && now.mono < until {
                return;
            }
            self.balancing.moving = None;
        } else if now.mono < self.balancing.look_at {
            return;
        }
        self.balancing.look_at = now.mono.plus(LOOK_INTERVAL);
        let own_log = self.log_pace.get(now.mono);
        for index in 0..self.groups.len() {
            let heir = self.config.groups[index].preferred;
            let group = &mut self.groups[index];
            if group.led.is_some()
                && heir != self.config.node
                && group.paxos.could_hand_over_to(heir, own_log, now.mono)
                && self.balancing.is_steady(heir, now.mono)
                && may_try(&mut group.wish, heir, PAUSE_MAX, now.mono)
            {
                // A hand-over that comes to nothing ends within two leases: one to drain, one for the heir to stand.
                let until = now.mono.plus(self.config.timing.lease).plus(self.config.timing.lease);
                self.balancing.moving = Some(Moving { index, heir, until });
                self.drive(index, paxos::Input::HandOver { heir }, now, out);
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: NodeId = NodeId::new(2);

    fn at(ms: u64) -> Mono {
        Mono(Nanos::from_ms(ms).0)
    }

    /// When a peer that is there from `from` on counts as steady, milliseconds later.
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
