//! The leaders of the groups, for Redis clients that are redirected (`node.redirect = "moved"`).
//!
//! The table is as old as the status board, some milliseconds. It decides only where a client sends its
//! command: a command that is not redirected is executed or forwarded as usual, and a wrong redirect costs
//! the client one more round trip. Redis clients limit the number of redirects they follow, so no client is
//! sent to a leader to which this node has lost its own link. Such a command waits here for the next leader.

use crate::config::Redirect;
use crate::node::NodeSetup;
use crate::runtime::status_board::{CorePage, StatusBoard};
use synod_replica::placement::core_of;
use synod_types::{CoreId, GroupId, NodeId};

/// The leader of each group, by the group's number; empty if no client is redirected.
#[derive(Debug, Default)]
pub(crate) struct Routes(Vec<Option<NodeId>>);

impl Routes {
    /// Updates the table from the board, if redirects are enabled.
    pub fn refresh(&mut self, setup: &NodeSetup, board: &StatusBoard) {
        if setup.options.redirect == Redirect::Proxy {
            return;
        }
        *self = Self::of(&board.read(), setup.node(), setup.facts().group_count);
    }

    /// The host and port to redirect a client to; `None` if this core is as good a place. `leads` tells
    /// whether this core itself leads the group at this moment.
    pub fn elsewhere<'a>(
        &self,
        setup: &'a NodeSetup,
        me: CoreId,
        group: GroupId,
        leads: impl FnOnce() -> bool,
    ) -> Option<(&'a str, u16)> {
        let leader = self.leader(group)?;
        let own = setup.own();
        let core = core_of(group, setup.cores());
        let member = setup.members.iter().find(|member| member.id == leader)?;
        let port = member.client_port_of(core);
        // The core's own state of the group is fresher than the table: if it was just elected, it serves.
        let here =
            if leader == own.id { core == me || port == own.client_port } else { core == me && leads() };
        (!here).then_some((member.host.as_str(), port))
    }

    /// The leaders on the pages of all cores, from the view of node `own`.
    fn of(pages: &[CorePage], own: NodeId, group_count: u16) -> Self {
        let mut leaders = vec![None; usize::from(group_count) + 1];
        for page in pages {
            for group in &page.groups {
                if let Some(leader) = leaders.get_mut(usize::from(group.group.get())) {
                    let is_there = |leader: &NodeId| *leader == own || page.linked.contains(leader);
                    *leader = group.leader.filter(is_there);
                }
            }
        }
        Self(leaders)
    }

    fn leader(&self, group: GroupId) -> Option<NodeId> {
        self.0.get(usize::from(group.get())).copied().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use synod_shard::{GroupStatus, Role};
    use synod_types::{Ballot, Slot, WallMs};

    #[test]
    fn no_client_is_sent_to_a_leader_that_this_node_has_lost() {
        let node = NodeId::new;
        let status = |group, leader| GroupStatus {
            group: GroupId::new(group),
            role: Role::Follower,
            leader,
            serving: false,
            promised: Ballot::ZERO,
            chosen: Slot::ZERO,
            applied: Slot::ZERO,
            applied_ts: WallMs::ZERO,
            clock_skew_ms: None,
            keys: 0,
            expiring: 0,
            leader_changes: 0,
        };
        // Links belong to cores: the second core has lost n2, the first has not.
        let pages = [
            CorePage {
                groups: vec![status(1, Some(node(2))), status(3, Some(node(1)))],
                linked: vec![node(2)],
                ..CorePage::default()
            },
            CorePage {
                groups: vec![status(2, Some(node(2))), status(4, Some(node(3)))],
                linked: vec![node(3)],
                ..CorePage::default()
            },
        ];
        let routes = Routes::of(&pages, node(1), 4);
        let leaders: Vec<_> = (1..=5).map(|group| routes.leader(GroupId::new(group))).collect();
        assert_eq!(leaders, [Some(node(2)), None, Some(node(1)), Some(node(3)), None]);
    }
}
