//! A lease excludes (P-07; Gray & Cheriton 1989): while one replica may answer reads from its own state
//! alone, no other replica's writes are acknowledged. All nodes are judged at one instant of true time, each
//! by its own clock, because that is what the drift bound promises.

use super::{Checked, Violation};
use synod_types::{Ballot, GroupId, NodeId};

/// A replica that leads, as it sees itself at this instant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LeaderView {
    /// The node.
    pub node: NodeId,
    /// The ballot it leads in.
    pub ballot: Ballot,
    /// Whether it serves: its own first slot is chosen and applied.
    pub serving: bool,
    /// Whether it holds a lease.
    pub lease: bool,
}

/// Checks all leaders of one group at one instant.
///
/// # Errors
/// When one serves under a lease although another serves in a higher ballot, or two lead in one ballot.
pub fn check(group: GroupId, leaders: &[LeaderView]) -> Checked {
    for old in leaders {
        for new in leaders {
            if old.node != new.node && old.ballot == new.ballot {
                return Err(Violation::new("two-leaders", format!("{group}: {old:?} and {new:?}")));
            }
            if old.ballot < new.ballot && new.serving && old.serving && old.lease {
                return Err(Violation::new(
                    "lease-overlap",
                    format!("{group}: {old:?} may answer reads alone although {new:?} acknowledges writes"),
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(node: u16, round: u64, serving: bool, lease: bool) -> LeaderView {
        let node = NodeId::new(node);
        LeaderView { node, ballot: Ballot::new(round, node), serving, lease }
    }

    #[test]
    fn an_old_lease_beside_a_new_serving_leader_is_found() {
        let group = GroupId::new(1);
        check(group, &[view(1, 3, true, true), view(2, 4, false, false)])
            .expect("the new one does not serve yet");
        check(group, &[view(1, 3, true, false), view(2, 4, true, true)]).expect("the old lease is over");
        assert!(check(group, &[view(2, 4, true, false), view(1, 3, true, true)]).is_err());
        let mut twin = view(1, 3, true, true);
        twin.node = NodeId::new(2);
        assert!(check(group, &[view(1, 3, true, true), twin]).is_err());
    }
}
