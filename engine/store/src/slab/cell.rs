//! A cell's bookkeeping: its owner, the list that it is on, the value that it holds.

use crate::list::{Links, NIL};

/// The owner of a cell's copy: a record of a group of this core.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Owner {
    pub(crate) record: u32,
    pub(crate) group: u16,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum CellState {
    Free,
    Probation,
    Protected,
}

/// A cell's bookkeeping.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    // The owner is split in two fields: as one struct it would be padded, and there is one per cell.
    pub(super) owner_record: u32,
    pub(super) owner_group: u16,
    pub(super) state: CellState,
    pub(super) links: Links,
    pub(super) len: u32,
    pub(super) crc: u32,
    /// The clock when the copy was last used.
    pub(super) used_at: u32,
}
const _: () = assert!(size_of::<Cell>() == 28);

impl Cell {
    pub(super) fn owner(&self) -> Owner {
        debug_assert!(self.state != CellState::Free, "a free cell has no owner");
        Owner { record: self.owner_record, group: self.owner_group }
    }
}

/// An empty cell.
pub(super) const FREE_CELL: Cell = Cell {
    owner_record: NIL,
    owner_group: u16::MAX,
    state: CellState::Free,
    links: Links::NONE,
    len: 0,
    crc: 0,
    used_at: 0,
};
