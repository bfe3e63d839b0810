//! All connections of one generator thread, and the choice among them: to the leader of the group if it is
//! known and reachable, else to any node.

use super::binary;
use super::link::{Link, LinkState};
use super::route::{Endpoint, Routes};
use std::net::SocketAddr;
use synod_net::binary::Topology;
use synod_types::{GroupId, NodeId};

/// How often each node is asked for the leaders.
const TOPOLOGY_NS: u64 = 1_000_000_000;
/// The same after something went wrong.
const TOPOLOGY_URGENT_NS: u64 = 20_000_000;
/// A link with this many bytes to send takes no more operations: the peer does not read, and memory must stay
/// bounded.
const OUT_BYTES_MAX: usize = 4 << 20;

/// When the nodes are asked for the leaders: at intervals, and sooner when something went wrong.
#[derive(Debug)]
struct Inquiry {
    next_ns: u64,
    asked_ns: u64,
    is_urgent: bool,
}

impl Inquiry {
    fn new(now_ns: u64) -> Self {
        Self { next_ns: now_ns, asked_ns: 0, is_urgent: false }
    }
    /// Whether to ask now; then the next time is planned.
    fn take_due(&mut self, now_ns: u64) -> bool {
        let is_urgent = self.is_urgent && now_ns >= self.asked_ns + TOPOLOGY_URGENT_NS;
        if now_ns < self.next_ns && !is_urgent {
            return false;
        }
        *self = Self { next_ns: now_ns + TOPOLOGY_NS, asked_ns: now_ns, is_urgent: false };
        true
    }
}

/// The links of one generator thread, and what it knows of the leaders behind them.
#[derive(Debug)]
pub(super) struct LinkSet {
    routes: Routes,
    links: Vec<Link>,
    /// Links by endpoint.
    links_of: Vec<Vec<usize>>,
    /// By endpoint: where the search for a link begins.
    cursors: Vec<usize>,
    /// Where the search for an arbitrary endpoint begins.
    any_cursor: usize,
    /// The link that the closed loop begins with; it changes each time, so that no link starves.
    first_link: usize,
    inquiry: Inquiry,
}

impl LinkSet {
    /// Links that are not connected yet, one for each of `connections`, which are endpoints. `any_cursor` is
    /// the first endpoint for operations that may go anywhere.
    pub(super) fn new(
        topology: &Topology,
        endpoints: Vec<Endpoint>,
        connections: Vec<usize>,
        any_cursor: usize,
        now_ns: u64,
    ) -> Self {
        let endpoint_count = endpoints.len();
        let mut links_of = vec![Vec::new(); endpoint_count];
        for (link, &endpoint) in connections.iter().enumerate() {
            links_of[endpoint].push(link);
        }
        let mut routes = Routes::new(topology.group_count, endpoints);
        for node in &topology.nodes {
            routes.learn(node.node, topology, |_| true, now_ns);
        }
        Self {
            routes,
            links: connections.into_iter().map(Link::new).collect(),
            links_of,
            cursors: vec![0; endpoint_count],
            any_cursor,
            first_link: 0,
            inquiry: Inquiry::new(now_ns),
        }
    }

    pub(super) fn count(&self) -> usize {
        self.links.len()
    }
    pub(super) fn endpoint_count(&self) -> usize {
        self.links_of.len()
    }
    pub(super) fn iter(&self) -> impl Iterator<Item = &Link> {
        self.links.iter()
    }
    pub(super) fn get(&self, link: usize) -> &Link {
        &self.links[link]
    }
    pub(super) fn get_mut(&mut self, link: usize) -> &mut Link {
        &mut self.links[link]
    }
    /// The address behind the link.
    pub(super) fn addr(&self, link: usize) -> SocketAddr {
        self.routes.endpoints()[self.links[link].endpoint].addr
    }
    pub(super) fn is_any_up(&self) -> bool {
        self.links.iter().any(Link::is_up)
    }
    pub(super) fn is_endpoint_up(&self, endpoint: usize) -> bool {
        self.links_of[endpoint].iter().any(|&link| self.links[link].is_up())
    }

    /// The endpoint of the group's leader, if it is known and up.
    pub(super) fn leader(&self, group: GroupId) -> Option<usize> {
        self.routes.leader_endpoint(group).filter(|&leader| self.is_endpoint_up(leader))
    }
    /// The endpoint of the leader if it is up, else one of the endpoints that are up, in rotation.
    pub(super) fn route(&mut self, group: GroupId) -> Option<usize> {
        if let Some(leader) = self.leader(group) {
            return Some(leader);
        }
        let count = self.links_of.len();
        let found = (0..count)
            .map(|step| (self.any_cursor + step) % count)
            .find(|&endpoint| self.is_endpoint_up(endpoint))?;
        self.any_cursor = found + 1;
        Some(found)
    }
    /// A link to the endpoint that has room: fewer than `inflight` operations are outstanding. In one turn of
    /// the driver this is the same link as long as it has room, so that operations of one turn leave in one
    /// write. The next turn starts with the next link.
    pub(super) fn free_link(&mut self, endpoint: usize, inflight: u32) -> Option<usize> {
        let links = &self.links_of[endpoint];
        let has_room = |link: usize| {
            let link = &self.links[link];
            link.is_up() && link.outstanding < inflight && link.out.len() < OUT_BYTES_MAX
        };
        let cursor = self.cursors[endpoint];
        let step = (0..links.len()).find(|step| has_room(links[(cursor + step) % links.len()]))?;
        self.cursors[endpoint] = (cursor + step) % links.len();
        Some(links[self.cursors[endpoint]])
    }
    /// Moves on to the next link of each endpoint.
    pub(super) fn turn(&mut self) {
        for (cursor, links) in self.cursors.iter_mut().zip(&self.links_of) {
            *cursor = if *cursor + 1 < links.len() { *cursor + 1 } else { 0 };
        }
    }
    /// Makes this link the first choice for its endpoint.
    pub(super) fn prefer(&mut self, link: usize) {
        let endpoint = self.links[link].endpoint;
        let position = self.links_of[endpoint].iter().position(|&other| other == link);
        self.cursors[endpoint] = position.expect("a link is among those of its endpoint");
    }
    /// The link that the closed loop begins with this time.
    pub(super) fn next_first(&mut self) -> usize {
        self.first_link = (self.first_link + 1) % self.links.len().max(1);
        self.first_link
    }

    /// A link to connect now. The attempt is given up after `patience_ns`.
    pub(super) fn next_connect(&mut self, patience_ns: u64, now_ns: u64) -> Option<usize> {
        let due = |link: &Link| matches!(link.state, LinkState::Down { until_ns } if until_ns <= now_ns);
        let index = self.links.iter().position(due)?;
        self.links[index].state = LinkState::Connecting { until_ns: now_ns.saturating_add(patience_ns) };
        Some(index)
    }
    /// Notes that the link is lost; what was known of the leaders may be out of date.
    pub(super) fn go_down(&mut self, link: usize, now_ns: u64) {
        self.links[link].go_down(now_ns);
        self.inquire_soon();
    }

    /// Notes that what is known of the leaders is out of date.
    pub(super) fn inquire_soon(&mut self) {
        self.inquiry.is_urgent = true;
    }
    /// Asks every node for the leaders, if it is time.
    pub(super) fn inquire(&mut self, now_ns: u64) {
        if !self.inquiry.take_due(now_ns) {
            return;
        }
        let mut asked: Vec<NodeId> = Vec::new();
        for endpoint in 0..self.links_of.len() {
            let node = self.routes.endpoints()[endpoint].node;
            let up = self.links_of[endpoint].iter().copied().find(|&link| self.links[link].is_up());
            if let Some(link) = up
                && !asked.contains(&node)
            {
                asked.push(node);
                binary::ask_topology(&mut self.links[link], link, now_ns);
            }
        }
    }
    /// Learns the leaders from what was told on this link.
    pub(super) fn learn(&mut self, link: usize, view: &Topology, now_ns: u64) {
        let teller = self.routes.endpoints()[self.links[link].endpoint].node;
        let nodes = view.nodes.iter().map(|node| node.node);
        let up: Vec<NodeId> = nodes.filter(|&node| self.is_node_up(node)).collect();
        self.routes.learn(teller, view, |node| up.contains(&node), now_ns);
    }

    fn is_node_up(&self, node: NodeId) -> bool {
        let endpoints = self.routes.endpoints().iter().enumerate();
        endpoints.filter(|(_, endpoint)| endpoint.node == node).any(|(index, _)| self.is_endpoint_up(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use synod_net::binary::TopologyGroup;
    use synod_types::CoreId;

    /// Two nodes with two links each; the first leads the only group.
    fn links() -> LinkSet {
        let endpoint = |node: u16| {
            let addr = SocketAddr::from(([127, 0, 0, 1], 1000 + node));
            Endpoint { node: NodeId::new(node), core: None, addr }
        };
        LinkSet::new(&view(1), vec![endpoint(1), endpoint(2)], vec![0, 1, 0, 1], 0, 1)
    }

    fn view(leader: u16) -> Topology {
        let group = GroupId::new(1);
        let leader = Some(NodeId::new(leader));
        let groups = vec![TopologyGroup { group, leader, core: CoreId::default() }];
        Topology { group_count: 1, groups, ..Topology::default() }
    }

    fn come_up(links: &mut LinkSet, up: &[usize]) {
        up.iter().for_each(|&link| links.get_mut(link).come_up());
    }

    #[test]
    fn the_leader_is_chosen_if_it_is_up_and_else_any_node() {
        let (mut links, group) = (links(), GroupId::new(1));
        assert_eq!((links.route(group), links.is_any_up()), (None, false));
        come_up(&mut links, &[1, 3]);
        links.learn(1, &view(1), 2);
        assert_eq!((links.leader(group), links.route(group)), (None, Some(1)));
        come_up(&mut links, &[0]);
        assert_eq!((links.leader(group), links.route(group)), (Some(0), Some(0)));
        links.learn(1, &view(2), 3);
        assert_eq!(links.route(group), Some(1), "it says itself that it leads");
        assert_eq!(links.addr(1).port(), 1002);
    }

    #[test]
    fn a_link_is_used_until_it_is_full_and_the_next_turn_begins_with_the_next() {
        let mut links = links();
        come_up(&mut links, &[0, 1, 2, 3]);
        assert_eq!([links.free_link(0, 1), links.free_link(0, 1)], [Some(0), Some(0)]);
        links.get_mut(0).note_sent(1);
        assert_eq!(links.free_link(0, 1), Some(2));
        links.get_mut(2).note_sent(1);
        assert_eq!((links.free_link(0, 1), links.free_link(0, 2)), (None, Some(2)));
        links.turn();
        assert_eq!((links.free_link(0, 2), links.free_link(1, 2)), (Some(0), Some(3)));
        links.prefer(2);
        assert_eq!(links.free_link(0, 2), Some(2));
    }

    #[test]
    fn a_node_is_asked_once_a_second_and_sooner_after_a_loss() {
        let mut inquiry = Inquiry::new(0);
        assert!(inquiry.take_due(0) && !inquiry.take_due(TOPOLOGY_NS - 1) && inquiry.take_due(TOPOLOGY_NS));
        inquiry.is_urgent = true;
        assert!(!inquiry.take_due(TOPOLOGY_NS + TOPOLOGY_URGENT_NS - 1));
        assert!(inquiry.take_due(TOPOLOGY_NS + TOPOLOGY_URGENT_NS));
        assert!(!inquiry.take_due(2 * TOPOLOGY_NS));
        let mut links = links();
        come_up(&mut links, &[0, 1, 2, 3]);
        links.inquire(1);
        let asked: Vec<_> = links.iter().map(|link| link.control_open).collect();
        assert_eq!(asked, [1, 1, 0, 0], "each node on one of its links");
    }

    #[test]
    fn a_link_is_connected_when_its_pause_is_over() {
        let mut links = links();
        let first: Vec<_> = std::iter::from_fn(|| links.next_connect(5, 10)).collect();
        assert_eq!(first, [0, 1, 2, 3]);
        assert_eq!(links.get(2).state, LinkState::Connecting { until_ns: 15 });
        links.go_down(2, 10);
        assert_eq!(links.next_connect(5, 10), None);
        assert_eq!(links.next_connect(5, 1_000_000_000), Some(2));
    }
}
