//! The recovery decision table: what it means that the log stops being readable at a certain place.
//!
//! Recovery follows the chain of blocks to its end, gathers what it sees from there on as [`Facts`], and
//! looks them up here. Exactly one row matches each combination (a test tries them all).
//! `docs/disk-format.md` gives the reason for each row.

use core::fmt;

/// What recovery does when a row matches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The log ends here; there is nothing beyond.
    End,
    /// The log ends here; blocks beyond were never acknowledged and are discarded permanently.
    Cut,
    /// Acknowledged records may be lost: the node must not start on this log.
    Refuse,
}

/// The name of a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Label {
    /// A segment's header page or size is not as written.
    SegmentDamaged,
    /// A segment that a later one names as its predecessor is missing.
    SegmentMissing,
    /// An intact block is where it cannot be, or does not chain.
    ChainBroken,
    /// The block is unreadable, and a later write proves that it was durable.
    AckedBlockDamaged,
    /// An intact block is further beyond the hole than writes can be in flight.
    BeyondWindow,
    /// A block is missing, and the blocks beyond overtook it and were never acknowledged.
    UnackedBeyondHole,
    /// The last block was begun but not finished.
    TornTail,
    /// Only zeros follow.
    CleanEnd,
    /// The bytes that follow are from an earlier use of a recycled file.
    StaleEnd,
    /// The last block was begun, but not even its header arrived.
    TornHeader,
}

impl Label {
    /// The name as printed in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::SegmentDamaged => "segment_damaged",
            Self::SegmentMissing => "segment_missing",
            Self::ChainBroken => "chain_broken",
            Self::AckedBlockDamaged => "acked_block_damaged",
            Self::BeyondWindow => "beyond_window",
            Self::UnackedBeyondHole => "unacked_beyond_hole",
            Self::TornTail => "torn_tail",
            Self::CleanEnd => "clean_end",
            Self::StaleEnd => "stale_end",
            Self::TornHeader => "torn_header",
        }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What recovery saw from the place on at which the chain ends. `e` is the block that should be there.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Facts {
    /// A segment's header page is damaged, or the file's size differs from the one in the header.
    pub segment_bad: bool,
    /// A segment is missing, though a later one names it as its predecessor.
    pub link_broken: bool,
    /// An intact block is in a place where no block of its number can be, or it names another predecessor.
    pub misfit: bool,
    /// An intact header has a watermark at or above `e`, or a segment continues after `e` or a later block.
    pub proven_durable: bool,
    /// An intact header has a sequence number further above `e` than writes can be in flight.
    pub far_beyond: bool,
    /// An intact header has a sequence number above `e`.
    pub valid_beyond: bool,
    /// The header of `e` itself is intact, but not its records.
    pub begun: bool,
    /// There are only zeros from that place to the end of the segment.
    pub blank: bool,
    /// The file was used before.
    pub recycled: bool,
}

/// Columns of the table.
pub const COLUMN_COUNT: usize = 9;

impl Facts {
    /// The facts, in the order of the table's columns.
    pub fn columns(&self) -> [bool; COLUMN_COUNT] {
        [
            self.segment_bad,
            self.link_broken,
            self.misfit,
            self.proven_durable,
            self.far_beyond,
            self.valid_beyond,
            self.begun,
            self.blank,
            self.recycled,
        ]
    }

    /// The row that matches.
    pub fn decide(&self) -> &'static Row {
        let columns = self.columns();
        debug_assert!(TABLE.iter().filter(|row| row.fits(&columns)).count() == 1, "rows of one meaning");
        match TABLE.iter().find(|row| row.fits(&columns)) {
            Some(row) => {
                assert!(row.verdict == Verdict::Refuse || !self.proven_durable, "what was durable is cut");
                row
            }
            // Proof: `exactly_one_row_fits_every_combination`.
            None => unreachable!("the recovery table has a hole at {columns:?}"),
        }
    }
}

/// What a row requires of a column.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RowCell {
    /// The fact holds.
    True,
    /// The fact does not hold.
    False,
    /// Either.
    Any,
}

/// A row of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Row {
    /// Its name.
    pub label: Label,
    /// What to do.
    pub verdict: Verdict,
    /// When it matches.
    pub cells: [RowCell; COLUMN_COUNT],
}

impl Row {
    fn fits(&self, columns: &[bool; COLUMN_COUNT]) -> bool {
        self.cells.iter().zip(columns).all(|(cell, &fact)| match cell {
            RowCell::True => fact,
            RowCell::False => !fact,
            RowCell::Any => true,
        })
    }
}

const T: RowCell = RowCell::True;
const F: RowCell = RowCell::False;
const A: RowCell = RowCell::Any;

const fn row(label: Label, verdict: Verdict, cells: [RowCell; COLUMN_COUNT]) -> Row {
    Row { label, verdict, cells }
}

/// The table. Its rows go from "no crash can cause this" to "this is what a crash looks like".
#[rustfmt::skip]
pub const TABLE: [Row; 10] = [
    //                         seg link mis prov far val beg blk rec: columns of `Facts`, in order
    row(Label::SegmentDamaged,    Verdict::Refuse, [T, A, A, A, A, A, A, A, A]),
    row(Label::SegmentMissing,    Verdict::Refuse, [F, T, A, A, A, A, A, A, A]),
    row(Label::ChainBroken,       Verdict::Refuse, [F, F, T, A, A, A, A, A, A]),
    row(Label::AckedBlockDamaged, Verdict::Refuse, [F, F, F, T, A, A, A, A, A]),
    row(Label::BeyondWindow,      Verdict::Refuse, [F, F, F, F, T, A, A, A, A]),
    row(Label::UnackedBeyondHole, Verdict::Cut,    [F, F, F, F, F, T, A, A, A]),
    row(Label::TornTail,          Verdict::Cut,    [F, F, F, F, F, F, T, A, A]),
    row(Label::CleanEnd,          Verdict::End,    [F, F, F, F, F, F, F, T, A]),
    row(Label::StaleEnd,          Verdict::End,    [F, F, F, F, F, F, F, F, T]),
    row(Label::TornHeader,        Verdict::Cut,    [F, F, F, F, F, F, F, F, F]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_row_fits_every_combination() {
        for bits in 0_u32..1 << COLUMN_COUNT {
            let columns = core::array::from_fn(|index| bits & (1 << index) != 0);
            let fitting: Vec<_> = TABLE.iter().filter(|row| row.fits(&columns)).collect();
            assert_eq!(fitting.len(), 1, "{columns:?}: {fitting:?}");
        }
    }

    #[test]
    fn every_row_can_be_reached_and_has_its_own_name() {
        let mut names: Vec<_> = TABLE.iter().map(|row| row.label.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), TABLE.len());
    }

    #[test]
    fn the_document_shows_this_very_table() {
        let document = include_str!("../../docs/disk-format.md");
        let mut at = 0;
        for row in &TABLE {
            let cells = row.cells.map(|cell| match cell {
                RowCell::True => "T",
                RowCell::False => "F",
                RowCell::Any => "-",
            });
            let verdict = match row.verdict {
                Verdict::End => "end",
                Verdict::Cut => "cut",
                Verdict::Refuse => "refuse",
            };
            let line = format!("| {} | {verdict} | {} |", row.label, cells.join(" "));
            let found = document[at..].find(&line);
            at += found.unwrap_or_else(|| panic!("docs/disk-format.md lacks, or has out of order: {line}"));
        }
    }

    #[test]
    fn whatever_was_proven_durable_is_never_cut() {
        for bits in 0_u32..1 << COLUMN_COUNT {
            let columns: [bool; COLUMN_COUNT] = core::array::from_fn(|index| bits & (1 << index) != 0);
            let row = TABLE.iter().find(|row| row.fits(&columns)).expect("one row fits");
            if columns[3] {
                assert_eq!(row.verdict, Verdict::Refuse, "{columns:?}");
            }
        }
    }
}
