//! The history of a log. A block's header carries the checksum of the header before it, so one block
//! identifies the whole log up to it. Two logs that agree on a block agree on all blocks before it. A log
//! with a different block of that number, or none, is a different log or an old copy.

use std::collections::VecDeque;
use synod_types::LogPosition;

/// Blocks whose checksums are kept: 256 KiB of memory. Of an older block only the number can be compared.
const KEPT: usize = 1 << 16;

/// The last durable blocks.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Chain {
    /// The number of the last one.
    last: u64,
    /// Checksums of headers, up to the last one's.
    crcs: VecDeque<u32>,
}

impl Chain {
    /// A chain that continues after `position`; nothing is known of the blocks before it.
    pub fn after(position: LogPosition) -> Self {
        let crcs = if position.sequence == 0 { VecDeque::new() } else { VecDeque::from([position.crc]) };
        Self { last: position.sequence, crcs }
    }

    /// Adds the next durable block.
    ///
    /// # Panics
    /// When its number is not the next one.
    pub fn push(&mut self, position: LogPosition) {
        assert!(position.sequence == self.last + 1, "the durable prefix has no gap");
        self.last = position.sequence;
        if self.crcs.len() == KEPT {
            self.crcs.pop_front();
        }
        self.crcs.push_back(position.crc);
        debug_assert!(self.crcs.len() <= KEPT, "more checksums than are kept");
        debug_assert!(self.crcs.len() as u64 <= self.last, "more checksums than blocks");
    }

    /// The last durable block; number 0 if there is none.
    pub fn last(&self) -> LogPosition {
        LogPosition { sequence: self.last, crc: self.crcs.back().copied().unwrap_or(0) }
    }

    /// Whether the log holds exactly this block, as far as checksums are kept.
    pub fn holds(&self, position: LogPosition) -> bool {
        if position.sequence == 0 {
            return true;
        }
        let Some(back) = self.last.checked_sub(position.sequence) else { return false };
        debug_assert!(!self.crcs.is_empty(), "a block without a checksum");
        let known = usize::try_from(back).ok().and_then(|back| self.crcs.iter().rev().nth(back));
        known.is_none_or(|&crc| crc == position.crc)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(sequence: u64, crc: u32) -> LogPosition {
        LogPosition { sequence, crc }
    }

    #[test]
    fn a_log_holds_its_own_blocks_and_no_others() {
        let mut chain = Chain::default();
        assert_eq!(chain.last(), at(0, 0));
        assert!(chain.holds(at(0, 0)) && !chain.holds(at(1, 7)));
        for number in 1..=10 {
            chain.push(at(number, number as u32 * 7));
        }
        assert_eq!(chain.last(), at(10, 70));
        assert!((1..=10).all(|number| chain.holds(at(number, number as u32 * 7))));
        assert!(!chain.holds(at(5, 36)), "another history");
        assert!(!chain.holds(at(11, 77)), "a log that is older");
    }

    #[test]
    fn of_what_is_too_long_ago_only_the_number_is_known() {
        let mut chain = Chain::after(at(100, 5));
        assert!(chain.holds(at(100, 5)) && !chain.holds(at(100, 6)) && chain.holds(at(99, 1234)));
        for number in 101..=100 + KEPT as u64 {
            chain.push(at(number, 1));
        }
        assert!(chain.holds(at(100, 6)), "forgotten by now");
        assert!(!chain.holds(at(101, 6)));
    }
}
