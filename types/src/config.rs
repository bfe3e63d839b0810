//! The members of a group, and its quorum sizes.

use crate::ids::{GroupId, NodeId};
use alloc::vec::Vec;

/// The voters of one configuration of a group, in order, with its quorum sizes.
///
/// Flexible quorums (rule P-11): `accept_quorum + prepare_quorum > voters`, so that every prepare quorum
/// intersects every accept quorum. Leases and ReadIndex use `accept_quorum`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Members {
    voters: Vec<NodeId>,
    accept_quorum: usize,
    prepare_quorum: usize,
}

impl Members {
    /// Majority quorums over `voters`.
    ///
    /// # Panics
    /// When there is no voter, there are more than [`crate::limits::MEMBER_COUNT_MAX`], or a node appears
    /// twice.
    pub fn majority(mut voters: Vec<NodeId>) -> Self {
        voters.sort_unstable();
        let count = voters.len();
        voters.dedup();
        assert!(count == voters.len(), "a node is named twice");
        assert!((1..=crate::limits::MEMBER_COUNT_MAX).contains(&count), "1 to 9 voters");
        let quorum = count / 2 + 1;
        assert!(2 * quorum > count && quorum <= count, "two quorums share a voter, and all voters are one");
        Self { voters, accept_quorum: quorum, prepare_quorum: quorum }
    }
    /// The voters, ascending.
    pub fn voters(&self) -> &[NodeId] {
        &self.voters
    }
    /// The bit of `node` in a tally; `None` for a stranger.
    pub fn bit_of(&self, node: NodeId) -> Option<u64> {
        debug_assert!(
            self.voters.len() <= crate::limits::MEMBER_COUNT_MAX,
            "a tally has a bit for each voter"
        );
        self.voters.iter().position(|&voter| voter == node).map(|index| 1 << index)
    }
    /// How many acceptances make a value chosen.
    pub fn accept_quorum(&self) -> usize {
        self.accept_quorum
    }
    /// How many promises make a candidate the leader.
    pub fn prepare_quorum(&self) -> usize {
        self.prepare_quorum
    }
}

/// The configuration of a group that a replica starts with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupConfig {
    /// The group.
    pub group: GroupId,
    /// This replica.
    pub node: NodeId,
    /// The voters and quorum sizes.
    pub members: Members,
    /// The node that should lead when all nodes are healthy. It only guides transfers; safety does not depend
    /// on it.
    pub preferred: NodeId,
    /// 0 for the preferred node, 1 for the next, and so on: shifts election timeouts.
    pub priority_rank: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// P-11: every prepare quorum intersects every accept quorum, and two accept quorums intersect (leases,
    /// ReadIndex).
    #[test]
    fn any_two_quorums_share_a_voter() {
        for count in 1..=crate::limits::MEMBER_COUNT_MAX {
            let voters = (1..=count as u16).map(NodeId::new).collect();
            let members = Members::majority(voters);
            let (accept, prepare) = (members.accept_quorum(), members.prepare_quorum());
            assert!(accept + prepare > count && 2 * accept > count, "{members:?}");
            assert!(accept <= count && prepare <= count, "{members:?} could never decide");
            let tallies = members.voters().iter().filter_map(|&node| members.bit_of(node));
            assert_eq!(tallies.fold(0, |all, bit| all ^ bit), (1 << count) - 1, "one bit each");
        }
    }
}
