//! Reads of the log that are under way, and the use of each.

use crate::api::ReadToken;
use crate::request::Origin;
use alloc::collections::BTreeMap;
use synod_types::{Ballot, Command, Slot, Version};

/// The use of a read of the log. `index` is the index of the group.
#[derive(Debug)]
pub(crate) enum ReadUse<P> {
    /// A client's GET.
    Get { index: usize, origin: Origin, command: Command<P>, version: Version, crc: u32 },
    /// Apply is blocked on it.
    Apply { index: usize },
    /// A peer pulls the entry.
    Learn { index: usize, batch: u64, slot: Slot },
    /// A group recalls a value that it has shed (P-14d).
    Recall { index: usize, slot: Slot, ballot: Ballot },
}

/// The reads under way.
#[derive(Debug)]
pub(crate) struct ColdReads<P> {
    open: BTreeMap<ReadToken, ReadUse<P>>,
    last: u64,
}

impl<P> Default for ColdReads<P> {
    fn default() -> Self {
        Self { open: BTreeMap::new(), last: 0 }
    }
}

impl<P> ColdReads<P> {
    /// Registers a read and gives it a token.
    pub fn start(&mut self, what: ReadUse<P>) -> ReadToken {
        self.last += 1;
        let token = ReadToken(self.last);
        let held = self.open.insert(token, what);
        assert!(held.is_none(), "two reads have one token");
        token
    }

    /// A read is complete.
    ///
    /// # Panics
    /// When the read is not under way.
    pub fn finish(&mut self, token: ReadToken) -> ReadUse<P> {
        assert!(token.0 <= self.last, "a read comes back that was never asked for");
        self.open.remove(&token).expect("a read comes back once")
    }

    /// Whether a read has not come back yet.
    pub fn is_under_way(&self, token: ReadToken) -> bool {
        self.open.contains_key(&token)
    }

    pub fn invariants(&self) {
        let last = self.open.last_key_value().map(|(token, _)| token.0);
        assert!(last <= Some(self.last), "a read whose token was not given out");
    }
}
