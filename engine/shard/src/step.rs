//! The state that one step of a core borrows: [`Step`] for all groups, [`Cx`] for one of them.

use crate::common::Common;
use crate::group::Group;
use synod_types::{GroupId, Now};

/// One step of a core.
pub(crate) struct Step<'a, P, O> {
    /// Ascending by id.
    pub groups: &'a mut [Group<P>],
    pub common: &'a mut Common<P>,
    pub now: Now,
    pub out: &'a mut O,
}

/// One step, narrowed to one group.
pub(crate) struct Cx<'a, P, O> {
    pub group: &'a mut Group<P>,
    pub common: &'a mut Common<P>,
    pub now: Now,
    pub out: &'a mut O,
}

impl<P, O> Step<'_, P, O> {
    /// The step narrowed to the group at this index.
    pub fn at(&mut self, index: usize) -> Cx<'_, P, O> {
        let group = &mut self.groups[index];
        debug_assert!(group.index == index, "a group in the place of another");
        Cx { group, common: &mut *self.common, now: self.now, out: &mut *self.out }
    }

    /// The step narrowed to this group; none if this core does not hold it.
    pub fn at_group(&mut self, group: GroupId) -> Option<Cx<'_, P, O>> {
        let index = index_of(self.groups, group)?;
        Some(self.at(index))
    }
}

/// The index of a group.
pub(crate) fn index_of<P>(groups: &[Group<P>], group: GroupId) -> Option<usize> {
    groups.binary_search_by_key(&group, |held| held.id).ok()
}
