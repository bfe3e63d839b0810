//! The nodes through which requests reach the leader of a group, and when one of them may be given
//! leadership.
//!
//! Each request that reaches a leader by way of another node costs both nodes a message and the client a hop.
//! Clients that know the leader ask it directly. The others are connected to some node, and the groups that
//! they ask for are better led there. A group whose requests come evenly from several nodes stays where it
//! is.

use alloc::vec::Vec;
use synod_types::{Mono, Nanos, NodeId};

/// The pause between two attempts to transfer to the same node, if it has not led in between; doubled each
/// time.
const PAUSE_MIN: Nanos = Nanos::from_ms(5_000);
/// The longest such pause, unless the caller sets another.
pub(crate) const PAUSE_MAX: Nanos = Nanos::from_ms(300_000);

/// A transfer of leadership that has not succeeded yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TransferAttempt {
    /// The transfer target.
    pub target: NodeId,
    at: Mono,
    /// There is no other attempt for this long: a node that cannot lead, because of its clock or its links,
    /// must not cost the group its leader again and again.
    pause: Nanos,
}

/// Whether a transfer to `target` may be tried at `now`, given the attempt before; notes the new attempt if
/// so. `pause_max` bounds the pause between two attempts.
pub(crate) fn may_try(
    attempt: &mut Option<TransferAttempt>,
    target: NodeId,
    pause_max: Nanos,
    now: Mono,
) -> bool {
    let before = attempt.filter(|attempt| attempt.target == target);
    assert!(before.is_none_or(|attempt| attempt.at <= now), "time went back");
    if before.is_some_and(|attempt| now.since(attempt.at) < attempt.pause) {
        return false;
    }
    let pause = before.map_or(PAUSE_MIN, |attempt| Nanos((2 * attempt.pause.0).min(pause_max.0)));
    assert!(pause <= pause_max.max(PAUSE_MIN), "a pause beyond its bound");
    *attempt = Some(TransferAttempt { target, at: now, pause });
    true
}

/// The requests to one group's leader within a window, by source.
#[derive(Debug, Default)]
pub(crate) struct RequestSources {
    by_own_clients: u64,
    by_peers: Vec<(NodeId, u64)>,
    /// The peer that sent by far the most requests in the window before this one.
    favourite: Option<NodeId>,
}

impl RequestSources {
    /// Counts a request of a client of this core.
    pub fn note_own(&mut self) {
        self.by_own_clients += 1;
    }

    /// Counts a request that came by way of a peer; a ReadIndex question counts once for all of its reads.
    pub fn note_peer(&mut self, node: NodeId) {
        match self.by_peers.iter_mut().find(|(known, _)| *known == node) {
            Some((_, count)) => *count += 1,
            None => self.by_peers.push((node, 1)),
        }
    }

    /// Ends the window. Returns the node to hand over to, if one peer has sent by far the most requests in
    /// two consecutive windows.
    pub fn close(&mut self, requests_min: u64) -> Option<NodeId> {
        let all = self.by_own_clients + self.by_peers.iter().map(|&(_, count)| count).sum::<u64>();
        let most = self.by_peers.iter().max_by_key(|&&(_, count)| count);
        let favourite = most.filter(|&&(_, count)| all >= requests_min && count >= all - all / 4);
        let favourite = favourite.map(|&(node, _)| node);
        let target = favourite.filter(|_| favourite == self.favourite);
        self.by_own_clients = 0;
        self.by_peers.clear();
        // After a transfer was asked for, the count starts anew, whether or not the transfer succeeds.
        self.favourite = if target.is_some() { None } else { favourite };
        target
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEAR: NodeId = NodeId::new(2);
    const FAR: NodeId = NodeId::new(3);

    /// Counts windows of (own, by n2, by n3) and returns the result of the last one.
    fn after(windows: &[(u64, u64, u64)]) -> Option<NodeId> {
        let mut sources = RequestSources::default();
        let mut target = None;
        for &(own, near, far) in windows {
            (0..own).for_each(|_| sources.note_own());
            (0..near).for_each(|_| sources.note_peer(NEAR));
            (0..far).for_each(|_| sources.note_peer(FAR));
            target = sources.close(100);
        }
        target
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
    fn a_transfer_that_came_to_nothing_is_tried_again_later_and_later() {
        let mut attempt = None;
        let tried: Vec<u64> = (0..100)
            .filter(|second| may_try(&mut attempt, NEAR, PAUSE_MAX, Mono(Nanos::from_ms(second * 1000).0)))
            .collect();
        assert_eq!(tried, [0, 5, 15, 35, 75]);
        let now = Mono(Nanos::from_ms(99_000).0);
        assert!(may_try(&mut attempt, FAR, PAUSE_MAX, now), "another target is another attempt");
        for _ in 0..20 {
            let TransferAttempt { at, pause, .. } = attempt.expect("it was tried");
            assert!(pause <= PAUSE_MAX && may_try(&mut attempt, FAR, PAUSE_MAX, at.plus(pause)));
        }
    }
}
