//! Where a key's group is led, for Redis clients that are to be told so (`node.redirect = "moved"`).
//!
//! The table is as old as the board, some milliseconds; it decides nothing but who is asked. A command that is not sent
//! elsewhere is executed or forwarded as ever, and a wrong guess costs the client one more round trip.

use crate::config::Redirect;
use crate::runtime::core::{Core, core_of};
use crate::runtime::snapshot::CorePage;
use synod_net::server::Tag;
use synod_types::{Bucket, GroupId, NodeId};

/// Who leads which group, by the group's number; empty where nobody is redirected.
#[derive(Debug, Default)]
pub(crate) struct Routes(Vec<Option<NodeId>>);

impl Routes {
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
        let mut leaders = vec![None; usize::from(self.node().setup.facts().group_count) + 1];
        for group in self.node().board.read().iter().flat_map(|page: &CorePage| &page.groups) {
            if let Some(leader) = leaders.get_mut(usize::from(group.group.get())) {
                *leader = group.leader;
            }
        }
        self.routes = Routes(leaders);
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
