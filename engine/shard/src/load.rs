//! Leaders follow the load: a leader that most is asked of by way of one other replica hands over to it (P-17).
//!
//! Each request that reaches a leader by way of another node costs both of them a message and its client a hop. Clients that know
//! who leads ask the leader itself; the others sit behind one node, and the groups they ask for had better be led there. What is
//! asked evenly from several nodes stays where it is.

use crate::api::{FollowLoad, Leadership};
use crate::outlet::Out;
use crate::{Shard, paxos};
use alloc::vec::Vec;
use synod_types::{Mono, Nanos, NodeId, Now, Payload};

/// A wish that has not come true yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    pub heir: NodeId,
    at: Mono,
    /// It is not uttered again for so long: a node that cannot lead, because of its clock or its links, must not cost the group
    /// its leader again and again.
    pause: Nanos,
}

/// Whether handing over to `heir` may be tried at `now`, after what was tried before; notes it if so. `pause_max` bounds the pause
/// between two tries.
pub(crate) fn may_try(wish: &mut Option<Wish>, heir: NodeId, pause_max: Nanos, now: Mono) -> bool {
    let before = wish.filter(|wish| wish.heir == heir);
    if before.is_some_and(|wish| now.since(wish.at) < wish.pause) {
        return false;
    }
    let pause = before.map_or(PAUSE_MIN, |wish| Nanos((2 * wish.pause.0).min(pause_max.0)));
    *wish = Some(Wish { heir, at: now, pause });
    true
}

/// Between two tries to hand over to the same node, if it has not led in between: doubled each time.
const PAUSE_MIN: Nanos = Nanos::from_ms(5_000);
pub(crate) const PAUSE_MAX: Nanos = Nanos::from_ms(300_000);

/// What was asked of one group's leader within a window.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    by_own_clients: u64,
    by_peers: Vec<(NodeId, u64)>,
    /// Who asked the most by far in the window before this one.
    favourite: Option<NodeId>,
}

impl Asked {
    /// Counts a request of a client of this core.
    pub fn note_own(&mut self) {
        self.by_own_clients += 1;
    }

    /// Counts a request that came by way of a peer; a question for all the reads that gathered there is one.
    pub fn note_peer(&mut self, node: NodeId) {
        match self.by_peers.iter_mut().find(|(known, _)| *known == node) {
            Some((_, count)) => *count += 1,
            None => self.by_peers.push((node, 1)),
        }
    }

    /// Ends the window: whom to hand over to, if one peer has asked the most by far in two windows running.
    fn close(&mut self, requests_min: u64) -> Option<NodeId> {
        let all = self.by_own_clients + self.by_peers.iter().map(|&(_, count)| count).sum::<u64>();
        let most = self.by_peers.iter().max_by_key(|&&(_, count)| count);
        let favourite = most.filter(|&&(_, count)| all >= requests_min && count >= all - all / 4);
        let favourite = favourite.map(|&(node, _)| node);
        let heir = favourite.filter(|_| favourite == self.favourite);
        self.by_own_clients = 0;
        self.by_peers.clear();
        // Once the wish was uttered the count begins anew, whatever comes of it.
        self.favourite = if heir.is_some() { None } else { favourite };
        heir
    }
}

impl<P: Payload> Shard<P> {
    /// Once per window: hands over what is asked for elsewhere.
    pub(crate) fn follow_load(&mut self, now: Now, out: &mut impl Out<P>) {
        let Leadership::Follow(FollowLoad { window, requests_min }) = self.config.leadership else { return };
        if now.mono.since(self.load_since) < window {
            return;
        }
        self.load_since = now.mono;
        for index in 0..self.groups.len() {
            let group = &mut self.groups[index];
            if let Some(heir) = group.asked.close(requests_min)
                && group.led.is_some()
                && may_try(&mut group.wish, heir, PAUSE_MAX, now.mono)
            {
                self.drive(index, paxos::Input::HandOver { heir }, now, out);
            }
        }
    }

    /// Starts counting at `now`.
    pub(crate) fn start_counting(&mut self, now: Mono) {
        self.load_since = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEAR: NodeId = NodeId::new(2);
    const FAR: NodeId = NodeId::new(3);

    /// Windows of (own, by n2, by n3); what comes of the last.
    fn after(windows: &[(u64, u64, u64)]) -> Option<NodeId> {
        let mut asked = Asked::default();
        let mut heir = None;
        for &(own, near, far) in windows {
            (0..own).for_each(|_| asked.note_own());
            (0..near).for_each(|_| asked.note_peer(NEAR));
            (0..far).for_each(|_| asked.note_peer(FAR));
            heir = asked.close(100);
        }
        heir
    }

    #[test]
    fn three_quarters_of_the_load_in_two_windows_running_win() {
        assert_eq!(after(&[(0, 100, 0)]), None, "once may be chance");
        assert_eq!(after(&[(0, 100, 0), (0, 100, 0)]), Some(NEAR));
        assert_eq!(after(&[(25, 75, 0), (10, 75, 15)]), Some(NEAR));
        assert_eq!(after(&[(0, 100, 0), (0, 0, 100)]), None, "it moves about");
        assert_eq!(after(&[(0, 100, 0), (0, 0, 100), (0, 0, 100)]), Some(FAR));
    }

    #[test]
    fn load_from_everywhere_or_hardly_any_stays_where_it_is() {
        assert_eq!(after(&[(26, 74, 0), (26, 74, 0)]), None);
        assert_eq!(after(&[(100, 0, 0), (100, 0, 0)]), None);
        assert_eq!(after(&[(34, 33, 33), (34, 33, 33)]), None);
        assert_eq!(after(&[(0, 99, 0), (0, 99, 0)]), None);
        assert_eq!(after(&[(0, 0, 0), (0, 0, 0)]), None);
    }

    #[test]
    fn a_wish_that_came_to_nothing_is_uttered_again_later_and_later() {
        let mut wish = None;
        let tried: Vec<u64> = (0..100)
            .filter(|second| may_try(&mut wish, NEAR, PAUSE_MAX, Mono(Nanos::from_ms(second * 1000).0)))
            .collect();
        assert_eq!(tried, [0, 5, 15, 35, 75]);
        let now = Mono(Nanos::from_ms(99_000).0);
        assert!(may_try(&mut wish, FAR, PAUSE_MAX, now), "another heir is another wish");
        for _ in 0..20 {
            let Wish { at, pause, .. } = wish.expect("it was uttered");
            assert!(pause <= PAUSE_MAX && may_try(&mut wish, FAR, PAUSE_MAX, at.plus(pause)));
        }
    }
}
