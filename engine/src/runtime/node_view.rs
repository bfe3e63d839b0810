//! Answers questions about the node rather than about keys: status, topology, DBSIZE, time.

use crate::runtime::clock;
use crate::runtime::figures::{self, Figures};
use crate::runtime::links::RefusedLink;
use crate::runtime::node_context::NodeContext;
use crate::runtime::status_board::CorePage;
use std::collections::BTreeMap;
use synod_net::binary::{
    Durability, GROUPS_NOT_READY, GroupRole, GroupState, NodeStatus, PEER_REFUSED, REFUSED_BY_PEER, Topology,
    TopologyGroup, TopologyNode,
};
use synod_net::server::{ClusterView, LocalAnswer, LocalQuery};
use synod_replica::placement::core_of;
use synod_shard::Role;
use synod_types::{CoreId, GroupId};

/// Answers a question about the node. `pages` returns the current pages of its cores, for the questions that
/// need them.
pub(crate) fn answer(
    node: &NodeContext,
    query: &LocalQuery,
    pages: impl FnOnce() -> Vec<CorePage>,
) -> LocalAnswer {
    match query {
        LocalQuery::Time | LocalQuery::LastSave => {
            let micros = std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .map_or(0, |since| since.as_micros() as u64);
            LocalAnswer::Time { micros }
        }
        // A majority, which includes the leader, has every acknowledged write.
        LocalQuery::Replicas { .. } => LocalAnswer::Int((node.setup.members.len() / 2) as i64),
        LocalQuery::Info { .. } => {
            let fields = figures::info(&Figures::collect(node, pages()));
            LocalAnswer::Info(node.stat_base.since(fields))
        }
        // The core answers this itself.
        LocalQuery::Clients { .. } => LocalAnswer::Unavailable("no core".to_owned()),
        LocalQuery::ResetStat => {
            node.stat_base.reset(figures::info(&Figures::collect(node, pages())));
            LocalAnswer::Done
        }
        LocalQuery::Status => LocalAnswer::Status(NodeView { node, pages: &pages() }.status()),
        LocalQuery::Topology => LocalAnswer::Topology(NodeView { node, pages: &pages() }.topology()),
        LocalQuery::Cluster(_) => LocalAnswer::Cluster(NodeView { node, pages: &pages() }.cluster()),
    }
}

/// A node as shown by its cores' pages.
struct NodeView<'a> {
    node: &'a NodeContext,
    pages: &'a [CorePage],
}

impl NodeView<'_> {
    fn status(&self) -> NodeStatus {
        let setup = &self.node.setup;
        let mut groups: Vec<GroupState> = self
            .pages
            .iter()
            .flat_map(|page| &page.groups)
            .map(|group| GroupState {
                group: group.group,
                core: core_of(group.group, setup.cores()),
                role: match group.role {
                    Role::Follower => GroupRole::Follower,
                    Role::Candidate => GroupRole::Candidate,
                    Role::Leader => GroupRole::Leader,
                },
                serving: group.serving,
                leader: group.leader,
                promised: group.promised,
                chosen: group.chosen,
                applied: group.applied,
                keys: group.keys,
                leader_changes: group.leader_changes,
            })
            .collect();
        groups.sort_by_key(|group| group.group);
        NodeStatus {
            node: setup.node(),
            incarnation: setup.identity().incarnation,
            core_count: setup.cores(),
            uptime_ms: clock::now().mono.since(self.node.started).as_ms(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            durability: Durability::Sync,
            groups,
            counters: figures::counters(&Figures::collect(self.node, self.pages.to_vec()))
                .into_iter()
                .chain(refused_links(self.pages))
                .chain(groups_not_ready(self.pages))
                .collect(),
        }
    }

    fn cluster(&self) -> ClusterView {
        let topology = self.topology();
        let of_core = |(core, page): (CoreId, &CorePage)| {
            page.linked.iter().map(|&node| (node, core)).collect::<Vec<_>>()
        };
        let linked = (0..).map(CoreId::new).zip(self.pages).flat_map(of_core).collect();
        let mut by_number = vec![0; usize::from(topology.group_count) + 1];
        for state in self.pages.iter().flat_map(|page| &page.groups) {
            if let Some(applied) = by_number.get_mut(usize::from(state.group.get())) {
                *applied = state.applied.get();
            }
        }
        let applied = topology.groups.iter().map(|told| by_number[usize::from(told.group.get())]).collect();
        ClusterView { topology, linked, applied }
    }

    fn topology(&self) -> Topology {
        let setup = &self.node.setup;
        let nodes = setup
            .members
            .iter()
            .map(|member| TopologyNode {
                node: member.id,
                host: member.host.clone(),
                port: member.client_port,
                core_port_base: member.core_port_base,
                core_count: member.cores,
            })
            .collect();
        let mut groups: Vec<TopologyGroup> = self
            .pages
            .iter()
            .flat_map(|page| &page.groups)
            .filter(|group| group.group != GroupId::SYSTEM)
            .map(|group| TopologyGroup {
                group: group.group,
                leader: group.leader,
                core: core_of(group.group, setup.cores()),
            })
            .collect();
        groups.sort_by_key(|group| group.group);
        Topology {
            cluster: setup.facts().cluster,
            // Boot time rises with every answer, so of two views of one node the view with the higher epoch
            // is newer.
            epoch: clock::now().mono.0,
            group_count: setup.facts().group_count,
            nodes,
            groups,
        }
    }
}

/// The links that one of their ends refuses, by peer: the counter's value is the number of the reason
/// ([`synod_net::peer::LinkRefusal::code`]). There is none while all is well.
fn refused_links(pages: &[CorePage]) -> impl Iterator<Item = (String, u64)> {
    let mut found = BTreeMap::new();
    for (node, link) in pages.iter().flat_map(|page| &page.refused) {
        let (name, refusal) = match link {
            RefusedLink::Here(refusal) => (PEER_REFUSED, refusal),
            RefusedLink::There(refusal) => (REFUSED_BY_PEER, refusal),
        };
        found.insert(format!("{name}{}", node.get()), u64::from(refusal.code()));
    }
    found.into_iter()
}

/// The number of groups for which a command would find no leader here, if there are any.
fn groups_not_ready(pages: &[CorePage]) -> Option<(String, u64)> {
    let count = pages.iter().flat_map(|page| &page.ready).filter(|ready| !**ready).count() as u64;
    (count > 0).then(|| (GROUPS_NOT_READY.to_owned(), count))
}
