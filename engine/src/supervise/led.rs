//! When every group has a leader on which the nodes agree.

use synod_net::binary::{GroupRole, GroupState};
use synod_types::NodeId;

/// How many groups each of these nodes leads and serves, in their order. `None` unless each group is served by
/// exactly one node, which every other names, and none is a candidate. A leader that is elected while another
/// candidate still waits for its promise to be durable would soon be displaced, and writes that it had proposed
/// would end as unknown.
pub fn settled(nodes: &[(NodeId, Vec<GroupState>)]) -> Option<Vec<usize>> {
    let groups = &nodes.first()?.1;
    // A node that has not begun to serve does not know all of its groups.
    if nodes.iter().any(|(_, states)| states.len() != groups.len()) {
        return None;
    }
    let mut led = vec![0; nodes.len()];
    for group in groups {
        let states: Vec<&GroupState> = nodes
            .iter()
            .filter_map(|(_, states)| states.iter().find(|state| state.group == group.group))
            .collect();
        let mut serving =
            states.iter().enumerate().filter(|(_, state)| state.serving).map(|(index, _)| index);
        let leader = serving.next()?;
        let agreed =
            |state: &&GroupState| state.role != GroupRole::Candidate && state.leader == Some(nodes[leader].0);
        if states.len() != nodes.len() || serving.next().is_some() || !states.iter().all(agreed) {
            return None;
        }
        led[leader] += 1;
    }
    Some(led)
}

#[cfg(test)]
mod tests {
    use super::*;
    use synod_types::{Ballot, CoreId, GroupId, Slot};

    const NODES: [u16; 3] = [1, 2, 3];

    /// Two groups; node 1 leads the first and node 3 the second.
    fn agreed() -> Vec<(NodeId, Vec<GroupState>)> {
        let state = |node: u16, group: u16, leader: u16| GroupState {
            group: GroupId::new(group),
            core: CoreId::new(0),
            role: if node == leader { GroupRole::Leader } else { GroupRole::Follower },
            serving: node == leader,
            leader: Some(NodeId::new(leader)),
            promised: Ballot::ZERO,
            chosen: Slot::ZERO,
            applied: Slot::ZERO,
            keys: 0,
            leader_changes: 0,
        };
        NODES.map(|node| (NodeId::new(node), vec![state(node, 1, 1), state(node, 2, 3)])).into()
    }

    #[test]
    fn agreed_leaders_are_counted_by_node() {
        assert_eq!(settled(&agreed()), Some(vec![1, 0, 1]));
        assert_eq!(settled(&[]), None);
    }

    /// Whatever one node says otherwise, the leaders are not settled.
    #[test]
    fn one_other_view_is_enough_to_wait() {
        let spoil: [fn(&mut Vec<GroupState>); 5] = [
            |states| states[1].role = GroupRole::Candidate,
            |states| states[1].leader = None,
            |states| states[0].leader = Some(NodeId::new(2)),
            |states| states[1].serving = !states[1].serving,
            |states| states.truncate(1),
        ];
        for spoil in spoil {
            for node in 0..NODES.len() {
                let mut nodes = agreed();
                spoil(&mut nodes[node].1);
                assert_eq!(settled(&nodes), None, "{nodes:?}");
            }
        }
    }
}
