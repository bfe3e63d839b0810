//! Reads of the log that are under way, and the use of each.

use crate::api::ReadToken;
use crate::request::Request;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use synod_types::{Ballot, Mono, Nanos, Slot, Version};

/// The use of a read of the log. `index` is the index of the group.
#[derive(Debug)]
pub(crate) enum ReadUse<P> {
    /// A client's GET.
    Get(ColdGet<P>),
    /// Apply is blocked on it.
    Apply { index: usize },
    /// A peer pulls the entry.
    Learn { index: usize, batch: u64, slot: Slot },
    /// A group recalls a value that it has shed (P-14d).
    Recall { index: usize, slot: Slot, ballot: Ballot },
}

/// A client's GET whose value is read from the log.
#[derive(Debug)]
pub(crate) struct ColdGet<P> {
    /// The index of its group.
    pub index: usize,
    pub request: Request<P>,
    /// Of the value, and its checksum.
    pub version: Version,
    pub crc: u32,
}

/// A read that has not come back.
#[derive(Debug)]
struct Open<P> {
    since: Mono,
    what: ReadUse<P>,
}

/// The reads under way. Tokens are given out in the order of time.
#[derive(Debug)]
pub(crate) struct ColdReads<P> {
    open: BTreeMap<ReadToken, Open<P>>,
    /// Reads that have not come back and that nobody waits for any more, and when they began.
    abandoned: BTreeMap<ReadToken, Mono>,
    last: u64,
    /// When a read last came back.
    moved_at: Mono,
}

impl<P> Default for ColdReads<P> {
    fn default() -> Self {
        Self { open: BTreeMap::new(), abandoned: BTreeMap::new(), last: 0, moved_at: Mono::ZERO }
    }
}

impl<P> ColdReads<P> {
    /// Registers a read and gives it a token.
    pub fn start(&mut self, what: ReadUse<P>, now: Mono) -> ReadToken {
        self.last += 1;
        let token = ReadToken(self.last);
        let held = self.open.insert(token, Open { since: now, what });
        assert!(held.is_none(), "two reads have one token");
        token
    }

    /// A read has come back. Its use, if somebody still waits for it.
    ///
    /// # Panics
    /// When the read is not under way.
    pub fn finish(&mut self, token: ReadToken, now: Mono) -> Option<ReadUse<P>> {
        assert!(token.0 <= self.last, "a read comes back that was never asked for");
        self.moved_at = now;
        if self.abandoned.remove(&token).is_some() {
            return None;
        }
        Some(self.open.remove(&token).expect("a read comes back once").what)
    }

    /// Whether somebody waits for a read that has not come back yet.
    pub fn is_under_way(&self, token: ReadToken) -> bool {
        self.open.contains_key(&token)
    }

    /// Takes out a group's GETs: another replica is to answer them.
    pub fn take_gets(&mut self, index: usize) -> Vec<Request<P>> {
        let is_get =
            |_: &ReadToken, open: &mut Open<P>| matches!(&open.what, ReadUse::Get(get) if get.index == index);
        let taken: Vec<_> = self.open.extract_if(.., is_get).collect();
        let mut gets = Vec::new();
        for (token, Open { since, what }) in taken {
            self.abandoned.insert(token, since);
            if let ReadUse::Get(get) = what {
                gets.push(get.request);
            }
        }
        gets
    }

    /// Takes out the reads that have taken this long, and of which `which` says that they are late. It is given
    /// the time at which they began.
    pub fn take_late(
        &mut self,
        at_least: Nanos,
        now: Mono,
        mut which: impl FnMut(&ReadUse<P>, Mono) -> bool,
    ) -> Vec<ReadUse<P>> {
        let oldest = self.open.first_key_value().map(|(_, open)| open.since);
        if oldest.is_none_or(|since| now.since(since) < at_least) {
            return Vec::new();
        }
        let is_late = |_: &ReadToken, open: &mut Open<P>| {
            now.since(open.since) >= at_least && which(&open.what, open.since)
        };
        let late: Vec<_> = self.open.extract_if(.., is_late).collect();
        let abandon = |(token, open): (ReadToken, Open<P>)| {
            self.abandoned.insert(token, open.since);
            open.what
        };
        late.into_iter().map(abandon).collect()
    }

    /// Since when no read has come back, if that is more than a lease ago. A read that takes `forgotten` counts
    /// no longer: one that never comes back must not count for ever.
    pub fn stalled_since(&self, lease: Nanos, forgotten: Nanos, now: Mono) -> Option<Mono> {
        let counts = |since: &Mono| now.since(*since) < forgotten;
        let open = self.open.values().map(|open| open.since).find(counts);
        let abandoned = self.abandoned.values().copied().find(counts);
        let oldest = [open, abandoned].into_iter().flatten().min()?;
        Some(oldest.max(self.moved_at)).filter(|since| now.since(*since) > lease)
    }

    /// How long the oldest read has been under way.
    pub fn age(&self, now: Mono) -> Nanos {
        let open = self.open.first_key_value().map(|(_, open)| open.since);
        let abandoned = self.abandoned.first_key_value().map(|(_, since)| *since);
        let oldest = [open, abandoned].into_iter().flatten().min();
        oldest.map_or(Nanos::ZERO, |since| now.since(since))
    }

    pub fn invariants(&self) {
        let last = [self.open.last_key_value().map(|(token, _)| token), self.abandoned.keys().next_back()];
        let last = last.into_iter().flatten().max();
        assert!(last.is_none_or(|token| token.0 <= self.last), "a read whose token was not given out");
        assert!(
            self.abandoned.keys().all(|token| !self.open.contains_key(token)),
            "a read is waited for and abandoned"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Origin;
    use synod_types::{Command, Consistency, Op, RequestId};

    const LEASE: Nanos = Nanos::from_ms(250);
    const FORGOTTEN: Nanos = Nanos::from_ms(30_000);

    fn at(ms: u64) -> Mono {
        Mono(Nanos::from_ms(ms).0)
    }

    fn reads() -> ColdReads<Vec<u8>> {
        ColdReads::default()
    }

    fn get(index: usize) -> ReadUse<Vec<u8>> {
        let command = Command::new(Vec::from(*b"k"), Op::Get, Vec::new());
        let request = Request::new(Origin::Client(RequestId::new(1)), Consistency::Quorum, command, at(1));
        ReadUse::Get(ColdGet { index, request, version: Version::default(), crc: 0 })
    }

    #[test]
    fn reads_stall_when_none_has_come_back_for_a_lease() {
        let mut reads = reads();
        assert_eq!(reads.stalled_since(LEASE, FORGOTTEN, at(9_000)), None, "nothing is under way");
        let first = reads.start(ReadUse::Apply { index: 0 }, at(1_000));
        let second = reads.start(ReadUse::Apply { index: 1 }, at(1_100));
        assert_eq!(reads.stalled_since(LEASE, FORGOTTEN, at(1_250)), None);
        assert_eq!(reads.stalled_since(LEASE, FORGOTTEN, at(1_251)), Some(at(1_000)));
        assert!(reads.finish(first, at(1_300)).is_some());
        assert_eq!(reads.stalled_since(LEASE, FORGOTTEN, at(1_500)), None, "a queue that moves is no stall");
        assert_eq!(reads.stalled_since(LEASE, FORGOTTEN, at(1_551)), Some(at(1_300)));
        assert_eq!(reads.age(at(1_551)), Nanos::from_ms(451));
        assert!(reads.is_under_way(second));
        reads.invariants();
    }

    #[test]
    fn a_read_that_is_not_waited_for_any_more_still_tells_of_a_stall_but_not_for_ever() {
        let mut reads = reads();
        let other = reads.start(get(1), at(1_000));
        let late = reads.start(get(0), at(1_000));
        assert_eq!(reads.take_gets(0).len(), 1);
        assert!(reads.finish(other, at(1_001)).is_some());
        assert!(!reads.is_under_way(late));
        assert_eq!(reads.stalled_since(LEASE, FORGOTTEN, at(2_000)), Some(at(1_001)));
        assert_eq!(reads.stalled_since(LEASE, FORGOTTEN, at(31_000)), None);
        reads.invariants();
        assert!(reads.finish(late, at(31_001)).is_none(), "nobody waits for it");
        assert_eq!(reads.age(at(31_002)), Nanos::ZERO);
    }

    #[test]
    fn late_reads_are_taken_out_if_something_else_can_be_done() {
        let patience = Nanos::from_ms(4_000);
        let mut reads = reads();
        let first = reads.start(ReadUse::Apply { index: 0 }, at(1_000));
        reads.start(get(0), at(1_000));
        reads.start(get(0), at(1_001));
        let is_get = |what: &ReadUse<Vec<u8>>, _| matches!(what, ReadUse::Get(_));
        assert!(reads.take_late(patience, at(4_999), is_get).is_empty());
        assert_eq!(reads.take_late(patience, at(5_000), is_get).len(), 1);
        assert_eq!(reads.take_late(patience, at(5_001), is_get).len(), 1);
        assert!(reads.take_late(patience, at(9_000), is_get).is_empty() && reads.is_under_way(first));
        reads.invariants();
    }
}
