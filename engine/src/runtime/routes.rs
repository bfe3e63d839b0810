//! Where a key's group is led, for Redis clients that are to be told so (`node.redirect = "moved"`).
//!
//! The table is as old as the board, some milliseconds; it decides nothing but who is asked. A command that is not sent
//! elsewhere is executed or forwarded as ever, and a wrong guess costs the client one more round trip. Clients count their round trips:
//! to a leader that this node itself has lost none is sent, but waits here for the next one.

use crate::config::Redirect;
use crate::runtime::core::Core;
use crate::runtime::snapshot::CorePage;
use synod_net::server::Tag;
use synod_replica::placement::core_of;
use synod_types::{Bucket, GroupId, NodeId};

/// Who leads which group, by the group's number; empty where nobody is redirected.
#[derive(Debug, Default)]
pub(crate) struct Routes(Vec<Option<NodeId>>);

impl Routes {
    /// What the pages of all cores say, seen from `own`.
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

impl Core {
    /// Brings the table up to date, if there is to be one.
    pub(crate) fn refresh_routes(&mut self) {
        if self.node().setup.options.redirect == Redirect::Proxy {
            return;
        }
        let setup = &self.node().setup;
        self.routes = Routes::of(&self.node().board.read(), setup.node(), setup.facts().group_count);
    }

    /// Sends the client of a command elsewhere, where that is wanted, possible and allowed by its connection.
    pub(crate) fn redirect(&mut self, connection: u64, tag: Tag, bucket: Bucket, group: GroupId) -> bool {
        let Some(leader) = self.routes.leader(group) else { return false };
        let setup = &self.node().setup;
        let (cores, own) = (setup.cores(), setup.own());
        let core = core_of(group, cores);
        let Some(member) = setup.members.iter().find(|member| member.id == leader) else { return false };
        let port = member.client_port_of(core);
        // The own group's state is fresher than the table: just elected, it serves.
        let here = if leader == own.id {
            core == self.me() || port == own.client_port
        } else {
            core == self.me() && self.leads(group)
        };
        if here {
            return false;
        }
        let host = member.host.clone();
        self.io.clients.redirect(connection, tag, bucket, &host, port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use synod_shard::{GroupStatus, Role};
    use synod_types::{Ballot, Slot, WallMs};

    #[test]
    fn nobody_is_sent_to_a_leader_that_this_node_has_lost() {
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
            leader_changes: 0,
        };
        // Links are of cores: the second core has lost n2, the first has not.
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
