//! The core that holds each group, and the nodes that should lead it. Fixed at format: the same on every
//! node.

use synod_types::{CoreId, GroupConfig, GroupId, Members, NodeId};

/// The core of a node with `cores` cores that holds `group`.
pub fn core_of(group: GroupId, cores: u16) -> CoreId {
    assert!(cores > 0, "a node without a core");
    // Group 0 is on core 0; the data groups go round the cores.
    CoreId::new(group.get().saturating_sub(1) % cores)
}

/// The nodes that should lead `group`, in order: the preferred node, then the ones that take over if it is
/// away. The preferred node moves on by one each time the groups have gone round the cores. So every core of
/// every node leads its share, and the groups of a node that is away are spread over all others.
pub fn succession(group: GroupId, cores: u16, nodes: &[NodeId]) -> Vec<NodeId> {
    let mut order = nodes.to_vec();
    if group == GroupId::SYSTEM {
        // The data groups begin with the first node, so the last one has the fewest.
        order.rotate_right(1);
        return order;
    }
    assert!(cores > 0 && !nodes.is_empty(), "a cluster without a core");
    let place = usize::from((group.get() - 1) / cores);
    let (lap, preferred) = (place / nodes.len(), place % nodes.len());
    order.rotate_left(preferred);
    let others = &mut order[1..];
    if !others.is_empty() {
        others.rotate_left(lap % others.len());
    }
    order
}

/// The configuration of `group` on `node`.
///
/// # Panics
/// When `node` is none of `nodes`.
pub fn group_config(group: GroupId, cores: u16, nodes: &[NodeId], node: NodeId) -> GroupConfig {
    let order = succession(group, cores, nodes);
    let rank = order.iter().position(|&other| other == node).expect("a node is a member of its own cluster");
    GroupConfig {
        group,
        node,
        members: Members::majority(nodes.to_vec()),
        preferred: order[0],
        priority_rank: rank as u32, // below MEMBER_COUNT_MAX
    }
}

/// The groups of one core of `node`, out of `groups`.
pub fn groups_of(
    core: CoreId,
    cores: u16,
    groups: impl Iterator<Item = GroupId>,
    nodes: &[NodeId],
    node: NodeId,
) -> Vec<GroupConfig> {
    assert!(core.get() < cores, "a core that there is not");
    groups
        .filter(|&group| core_of(group, cores) == core)
        .map(|group| group_config(group, cores, nodes, node))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// How many groups each (node, core) leads while the nodes in `away` are away.
    fn led(groups: std::ops::RangeInclusive<u16>, cores: u16, away: &[u16]) -> BTreeMap<(u16, u16), usize> {
        let nodes: Vec<NodeId> = (1..=3).map(NodeId::new).collect();
        let mut led = BTreeMap::new();
        for group in groups.map(GroupId::new) {
            let order = succession(group, cores, &nodes);
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, nodes, "everybody once");
            for (rank, &node) in order.iter().enumerate() {
                let config = group_config(group, cores, &nodes, node);
                assert_eq!((config.preferred, config.priority_rank as usize), (order[0], rank));
            }
            let leader = order.iter().find(|node| !away.contains(&node.get())).unwrap();
            *led.entry((leader.get(), core_of(group, cores).get())).or_insert(0) += 1;
        }
        led
    }

    fn per_node(led: &BTreeMap<(u16, u16), usize>) -> Vec<usize> {
        (1..=3)
            .map(|id| led.iter().filter(|((node, _), _)| *node == id).map(|(_, count)| count).sum())
            .collect()
    }

    #[test]
    fn every_node_leads_its_share_on_every_core() {
        for cores in [1, 2, 4] {
            let led = led(1..=48, cores, &[]);
            assert!(led.values().all(|&count| count == 48 / 3 / usize::from(cores)), "{led:?}");
        }
        assert_eq!(per_node(&led(0..=16, 1, &[])), [6, 5, 6]);
        assert_eq!(per_node(&led(0..=16, 2, &[])), [6, 6, 5]);
    }

    #[test]
    fn what_an_absent_node_led_goes_to_all_others() {
        assert_eq!(per_node(&led(1..=48, 1, &[1])), [0, 24, 24]);
        assert_eq!(per_node(&led(1..=48, 2, &[2])), [24, 0, 24]);
        assert_eq!(per_node(&led(1..=48, 1, &[2, 3])), [48, 0, 0]);
    }
}
