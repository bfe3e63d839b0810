//! The known leader of each group, and the endpoint that reaches it.

use std::net::SocketAddr;
use synod_net::binary::Topology;
use synod_types::{CoreId, GroupId, NodeId};

/// A port that connections are made to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// The node behind it.
    pub node: NodeId,
    /// The core behind it; `None` when any core may answer.
    pub core: Option<CoreId>,
    /// The address.
    pub addr: SocketAddr,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Leader {
    node: Option<NodeId>,
    core: CoreId,
    /// When the node itself last reported that it leads; 0 for never.
    own_word_ns: u64,
}

/// How long a node's own report that it leads outweighs what other nodes report.
const OWN_WORD_NS: u64 = 2_000_000_000;

/// The routing table.
#[derive(Debug)]
pub(super) struct Routes {
    endpoints: Vec<Endpoint>,
    leaders: Vec<Leader>,
    /// By group: the cached result of [`Routes::leader_endpoint`], which every operation needs.
    best: Vec<Option<usize>>,
}

impl Routes {
    pub(super) fn new(group_count: u16, endpoints: Vec<Endpoint>) -> Self {
        let count = usize::from(group_count);
        Self { endpoints, leaders: vec![Leader::default(); count], best: vec![None; count] }
    }
    pub(super) fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }
    /// Learns the leaders that `teller` reports. A node's report about itself always counts. A different
    /// leader is accepted from the known leader itself, and from other nodes only if the known leader's own
    /// report is old or that leader cannot be reached (`is_up`).
    pub(super) fn learn(
        &mut self,
        teller: NodeId,
        view: &Topology,
        is_up: impl Fn(NodeId) -> bool,
        now_ns: u64,
    ) {
        for group in &view.groups {
            let Some(index) = usize::from(group.group.get()).checked_sub(1) else { continue };
            let Some(leader) = self.leaders.get_mut(index) else { continue };
            let is_own_word = group.leader == Some(teller);
            let believed = is_own_word
                || leader.node == Some(teller)
                || leader.node.is_none_or(|node| !is_up(node))
                || now_ns.saturating_sub(leader.own_word_ns) > OWN_WORD_NS;
            if believed {
                let own_word_ns = if is_own_word { now_ns } else { 0 };
                *leader = Leader { node: group.leader, core: group.core, own_word_ns };
                self.best[index] = best_endpoint(&self.endpoints, *leader);
            }
        }
    }
    /// The best endpoint for the leader of `group`: that of the leader's core, else one of its node.
    pub(super) fn leader_endpoint(&self, group: GroupId) -> Option<usize> {
        *self.best.get(usize::from(group.get()).checked_sub(1)?)?
    }
}

fn best_endpoint(endpoints: &[Endpoint], leader: Leader) -> Option<usize> {
    let node = leader.node?;
    let own_core = |e: &Endpoint| e.node == node && e.core == Some(leader.core);
    let same_node = |e: &Endpoint| e.node == node;
    endpoints.iter().position(own_core).or_else(|| endpoints.iter().position(same_node))
}

/// How many connections go to each endpoint: at least one, and the rest in proportion to the groups that its
/// core leads.
pub fn spread(connections: usize, leads: &[usize]) -> Vec<usize> {
    let total: usize = leads.iter().sum();
    let mut counts = vec![1; leads.len()];
    for _ in leads.len()..connections.max(leads.len()) {
        // The endpoint with the most led groups per connection gets the next one. If no groups are led, the
        // endpoints take turns.
        let weight = |at: usize| if total == 0 { 1.0 } else { leads[at] as f64 };
        let next = (0..leads.len()).max_by(|&a, &b| {
            let (a_load, b_load) = (weight(a) / counts[a] as f64, weight(b) / counts[b] as f64);
            a_load.total_cmp(&b_load).then(b.cmp(&a))
        });
        if let Some(next) = next {
            counts[next] += 1;
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use synod_net::binary::TopologyGroup;

    fn endpoint(node: u16, core: Option<u16>) -> Endpoint {
        let addr = SocketAddr::from(([127, 0, 0, 1], 1000 + node));
        Endpoint { node: NodeId::new(node), core: core.map(CoreId::new), addr }
    }

    fn view(leader: Option<u16>, core: u16) -> Topology {
        let group = TopologyGroup {
            group: GroupId::new(1),
            leader: leader.map(NodeId::new),
            core: CoreId::new(core),
        };
        Topology { group_count: 1, groups: vec![group], ..Topology::default() }
    }

    #[test]
    fn the_leaders_own_core_is_reached() {
        let endpoints = vec![endpoint(1, Some(0)), endpoint(1, Some(1)), endpoint(2, None)];
        let mut routes = Routes::new(1, endpoints);
        let group = GroupId::new(1);
        assert_eq!(routes.leader_endpoint(group), None);
        routes.learn(NodeId::new(1), &view(Some(1), 1), |_| true, 1);
        assert_eq!(routes.leader_endpoint(group), Some(1));
        routes.learn(NodeId::new(2), &view(Some(2), 7), |_| true, 2);
        assert_eq!(routes.leader_endpoint(group), Some(2), "without core ports any will do");
        assert_eq!(routes.leader_endpoint(GroupId::new(2)), None);
        assert_eq!(routes.leader_endpoint(GroupId::SYSTEM), None);
    }

    #[test]
    fn hearsay_does_not_depose_a_leader_that_is_heard() {
        let mut routes = Routes::new(1, vec![endpoint(1, None), endpoint(2, None), endpoint(3, None)]);
        let group = GroupId::new(1);
        let (one, two, three) = (NodeId::new(1), NodeId::new(2), NodeId::new(3));
        routes.learn(three, &view(Some(1), 0), |_| true, 1);
        assert_eq!(routes.leader_endpoint(group), Some(0), "hearsay is better than nothing");
        routes.learn(two, &view(Some(2), 0), |_| true, 2);
        assert_eq!(routes.leader_endpoint(group), Some(1), "its own word");
        routes.learn(three, &view(Some(1), 0), |_| true, 3);
        assert_eq!(routes.leader_endpoint(group), Some(1), "an old view of a third");
        routes.learn(three, &view(Some(1), 0), |node| node != two, 4);
        assert_eq!(routes.leader_endpoint(group), Some(0), "the leader cannot be reached");
        routes.learn(one, &view(None, 0), |_| true, 5);
        assert_eq!(routes.leader_endpoint(group), None, "it says itself that it leads no more");
    }

    #[test]
    fn connections_follow_leadership() {
        assert_eq!(spread(32, &[6, 5, 5]).iter().sum::<usize>(), 32);
        assert!(spread(32, &[6, 5, 5]).iter().all(|&count| (10..=12).contains(&count)));
        assert_eq!(spread(32, &[16, 0, 0]), [30, 1, 1]);
        assert_eq!(spread(9, &[0, 0, 0]), [3, 3, 3]);
        assert_eq!(spread(1, &[1, 1, 1]), [1, 1, 1], "one for each at least");
    }
}
