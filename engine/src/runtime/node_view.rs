//! Answers questions about the node rather than about keys: status, topology, DBSIZE, time.

use crate::runtime::clock;
use crate::runtime::node_context::NodeContext;
use crate::runtime::slow::WorkKind;
use crate::runtime::status_board::CorePage;
use crate::sys;
use synod_net::binary::{
    Durability, GroupRole, GroupState, NodeStatus, Topology, TopologyGroup, TopologyNode,
};
use synod_net::server::{ClusterView, LocalAnswer, LocalQuery};
use synod_replica::placement::core_of;
use synod_shard::Role;
use synod_types::{CoreId, GroupId, Space};

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
        LocalQuery::Info { .. } | LocalQuery::Status => {
            LocalAnswer::Status(NodeView { node, pages: &pages() }.status())
        }
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
        let sum = |of: fn(&CorePage) -> u64| self.pages.iter().map(of).sum::<u64>();
        let resident_bytes = sys::resident_bytes();
        let counters = [
            ("connected_clients", sum(|page| page.connections)),
            ("used_memory", resident_bytes),
            ("used_memory_rss", resident_bytes),
            ("total_connections_received", sum(|page| page.connections_total)),
            ("total_commands_processed", sum(|page| page.commands)),
            ("total_net_input_bytes", sum(|page| page.input_bytes)),
            ("total_net_output_bytes", sum(|page| page.output_bytes)),
            ("keyspace_hits", sum(|page| page.cache.hits)),
            ("keyspace_misses", sum(|page| page.cache.misses)),
            ("cache_bytes", sum(|page| page.cache.bytes)),
            ("cache_bytes_max", sum(|page| page.cache.bytes_max)),
            ("cache_evictions", sum(|page| page.cache.evictions)),
            ("log_reads_failed", sum(|page| page.core_stats.reads_failed)),
            ("log_reads_repaired", sum(|page| page.core_stats.reads_repaired)),
            ("log_failing", sum(|page| u64::from(page.log_error.is_some()))),
            ("log_full", sum(|page| u64::from(page.log_space < Space::Free))),
            ("process_id", u64::from(std::process::id())),
        ];
        NodeStatus {
            node: setup.node(),
            incarnation: setup.identity().incarnation,
            core_count: setup.cores(),
            uptime_ms: clock::now().mono.since(self.node.started).as_ms(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            durability: Durability::Sync,
            groups,
            counters: counters
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .chain(slow_turns(self.pages))
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

/// The turns that took too long: the total, and the nonzero counts by kind of work.
fn slow_turns(pages: &[CorePage]) -> impl Iterator<Item = (String, u64)> {
    let kinds = WorkKind::ALL.into_iter().enumerate().map(|(index, (_, name))| {
        let count =
            pages.iter().filter_map(|page| page.slow.counts().nth(index)).map(|(_, count)| count).sum();
        (format!("slow_turns_{name}"), count)
    });
    let kinds: Vec<(String, u64)> = kinds.collect();
    let all = kinds.iter().map(|(_, count)| count).sum();
    std::iter::once(("slow_turns".to_owned(), all)).chain(kinds.into_iter().filter(|(_, count)| *count > 0))
}
