//! Values that never go back (P-01c, P-03b, P-05): on a live replica the promise, the chosen prefix and the
//! applied prefix. Over restarts the promise never falls below any ballot the node has revealed, and a ballot
//! is prepared and led in one life of one node only.

use super::{Checked, Violation};
use std::collections::BTreeMap;
use synod_types::{Ballot, GroupId, NodeId, Slot};

const BACK: &str = "went-back";
const REUSED: &str = "ballot-reused";

/// A replica's cursors, as it reports them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Cursors {
    /// Highest ballot promised.
    pub promised: Ballot,
    /// Contiguous chosen prefix.
    pub chosen: Slot,
    /// Applied prefix.
    pub applied: Slot,
}

/// The checker, for all replicas.
#[derive(Debug, Default)]
pub struct Monotone {
    latest: BTreeMap<(NodeId, GroupId), (u64, Cursors)>,
    revealed: BTreeMap<(NodeId, GroupId), Ballot>,
    /// The life in which a ballot was used to propose.
    used: BTreeMap<(GroupId, Ballot), u64>,
}

impl Monotone {
    /// A checker that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// A replica in the `life`-th life of its node shows its cursors. Returns those it showed before in the
    /// same life.
    ///
    /// # Errors
    /// When one of them went back, or contradicts another.
    pub fn on_cursors(
        &mut self,
        node: NodeId,
        life: u64,
        group: GroupId,
        now: Cursors,
    ) -> Result<Cursors, Violation> {
        let back = |detail: String| Err(Violation::new(BACK, format!("{node} {group}: {detail}")));
        if now.applied > now.chosen {
            return back(format!("applied beyond chosen: {now:?}"));
        }
        let revealed = self.revealed.get(&(node, group)).copied().unwrap_or_default();
        if now.promised < revealed {
            return back(format!("revealed ballot {revealed}, now promises {} only", now.promised));
        }
        let (known_life, before) = self.latest.get(&(node, group)).copied().unwrap_or_default();
        self.latest.insert((node, group), (life, now));
        if known_life != life {
            return Ok(Cursors::default());
        }
        if now.promised < before.promised || now.chosen < before.chosen || now.applied < before.applied {
            return back(format!("{before:?} became {now:?}"));
        }
        Ok(before)
    }

    /// A node reveals in a message that it has promised `ballot`.
    pub fn on_revealed(&mut self, node: NodeId, group: GroupId, ballot: Ballot) {
        let known = self.revealed.entry((node, group)).or_default();
        *known = ballot.max(*known);
    }

    /// A node uses `ballot` as its own: it prepares or leads in it.
    ///
    /// # Errors
    /// When the ballot is another node's, or was used in another life.
    pub fn on_used(&mut self, node: NodeId, life: u64, group: GroupId, ballot: Ballot) -> Checked {
        if ballot.node() != node {
            return Err(Violation::new(
                REUSED,
                format!("{node} uses ballot {ballot} of {group}, not its own"),
            ));
        }
        let known = *self.used.entry((group, ballot)).or_insert(life);
        if known == life {
            return Ok(());
        }
        Err(Violation::new(
            REUSED,
            format!("{node} uses ballot {ballot} of {group} in its life {life}; it was used in life {known}"),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId::new(1);
    const GROUP: GroupId = GroupId::new(1);

    fn cursors(round: u64, chosen: u64, applied: u64) -> Cursors {
        Cursors { promised: Ballot::new(round, NODE), chosen: Slot::new(chosen), applied: Slot::new(applied) }
    }

    #[test]
    fn cursors_rise_within_a_life() {
        let mut monotone = Monotone::new();
        monotone.on_cursors(NODE, 1, GROUP, cursors(2, 5, 4)).expect("the first");
        assert_eq!(monotone.on_cursors(NODE, 1, GROUP, cursors(2, 6, 6)), Ok(cursors(2, 5, 4)));
        for back in [cursors(1, 7, 7), cursors(2, 5, 5), cursors(2, 6, 5), cursors(2, 7, 8)] {
            let mut monotone = Monotone::new();
            monotone.on_cursors(NODE, 1, GROUP, cursors(2, 6, 6)).expect("the first");
            assert!(monotone.on_cursors(NODE, 1, GROUP, back).is_err(), "{back:?}");
        }
    }

    #[test]
    fn a_restart_may_forget_what_is_chosen_but_not_what_was_revealed() {
        let mut monotone = Monotone::new();
        monotone.on_cursors(NODE, 1, GROUP, cursors(9, 5, 4)).expect("the first");
        monotone.on_revealed(NODE, GROUP, Ballot::new(7, NODE));
        monotone.on_cursors(NODE, 2, GROUP, cursors(7, 0, 0)).expect("a new life");
        assert!(monotone.on_cursors(NODE, 3, GROUP, cursors(6, 0, 0)).is_err());
    }

    #[test]
    fn a_ballot_belongs_to_one_life_of_its_node() {
        let mut monotone = Monotone::new();
        let ballot = Ballot::new(3, NODE);
        monotone.on_used(NODE, 1, GROUP, ballot).expect("the first");
        monotone.on_used(NODE, 1, GROUP, ballot).expect("the same life");
        assert!(monotone.on_used(NODE, 2, GROUP, ballot).is_err());
        assert!(monotone.on_used(NodeId::new(2), 1, GROUP, ballot).is_err());
    }
}
