//! Entries that this core's log cannot give back and that are being fetched from peers.

use crate::request::Origin;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use synod_types::{Ballot, Command, Mono, Nanos, NodeId, Slot, Version};

/// Entries that are fetched at a time; reads of further ones fail.
const REPAIRS_MAX: usize = 256;
/// Waiters of one entry.
const WAITERS_MAX: usize = 1024;

/// The use of a fetched entry. `offset` and `len` name a part of it, `crc` is the checksum of that part.
#[derive(Debug)]
pub(crate) enum RepairUse<P> {
    /// A client's GET: a part of the entry.
    Get { origin: Origin, command: Command<P>, version: Version, offset: u32, len: u32, crc: u32 },
    /// Apply is blocked on a part of the entry.
    Apply { offset: u32, len: u32, crc: u32 },
    /// A peer pulls the entry.
    Learn { to: NodeId, ballot: Ballot },
}

/// A read that waits for an entry.
#[derive(Debug)]
pub(crate) struct Waiter<P> {
    /// The use of the entry.
    pub what: RepairUse<P>,
    since: Mono,
}

/// An entry that is being fetched.
#[derive(Debug)]
pub(crate) struct Repair<P> {
    /// The reads that wait for it.
    pub waiters: Vec<Waiter<P>>,
    /// The peer that was asked last.
    pub asked: NodeId,
    /// When that peer was asked.
    pub asked_at: Mono,
}

/// The entries that are being fetched, by the index of the group and the slot.
#[derive(Debug)]
pub(crate) struct Repairs<P> {
    wanted: BTreeMap<(usize, Slot), Repair<P>>,
}

impl<P> Default for Repairs<P> {
    fn default() -> Self {
        Self { wanted: BTreeMap::new() }
    }
}

impl<P> Repairs<P> {
    /// Whether nothing is being fetched.
    pub fn is_idle(&self) -> bool {
        self.wanted.is_empty()
    }

    /// Adds a waiter for an entry. True if the caller must ask `peer` for the entry now; gives `what` back if
    /// too many wait. Apply may always wait.
    pub fn wait(
        &mut self,
        (index, slot): (usize, Slot),
        what: RepairUse<P>,
        peer: NodeId,
        now: Mono,
    ) -> Result<bool, RepairUse<P>> {
        let must_wait = matches!(what, RepairUse::Apply { .. });
        let waiter = Waiter { what, since: now };
        if let Some(repair) = self.wanted.get_mut(&(index, slot)) {
            if repair.waiters.len() >= WAITERS_MAX && !must_wait {
                return Err(waiter.what);
            }
            repair.waiters.push(waiter);
            return Ok(false);
        }
        if self.wanted.len() >= REPAIRS_MAX && !must_wait {
            return Err(waiter.what);
        }
        let repair = Repair { waiters: Vec::from([waiter]), asked: peer, asked_at: now };
        let held = self.wanted.insert((index, slot), repair);
        assert!(held.is_none(), "{slot} is fetched twice at once");
        Ok(true)
    }

    /// Takes out the repair of this entry.
    pub fn take(&mut self, index: usize, slot: Slot) -> Option<Repair<P>> {
        self.wanted.remove(&(index, slot))
    }

    /// Puts back a repair that was taken out, if it still has waiters.
    pub fn put_back(&mut self, index: usize, slot: Slot, repair: Repair<P>) {
        if !repair.waiters.is_empty() {
            let held = self.wanted.insert((index, slot), repair);
            assert!(held.is_none(), "{slot} is fetched twice at once");
        }
    }

    /// The entries that have not come within `resend`.
    pub fn due(&self, resend: Nanos, now: Mono) -> Vec<(usize, Slot)> {
        let due = self.wanted.iter().filter(|(_, repair)| now.since(repair.asked_at) >= resend);
        due.map(|(&place, _)| place).collect()
    }

    /// Whether the group at this index waits for an entry that apply is blocked on.
    pub fn feeds(&self, index: usize) -> bool {
        let of_group = self.wanted.iter().filter(|((of, _), _)| *of == index);
        let mut waiters = of_group.flat_map(|(_, repair)| &repair.waiters);
        waiters.any(|waiter| matches!(waiter.what, RepairUse::Apply { .. }))
    }

    pub fn invariants(&self) {
        for (place, repair) in &self.wanted {
            assert!(!repair.waiters.is_empty(), "no request waits for {place:?}");
        }
    }
}

impl<P> Repair<P> {
    /// Takes out the waiters that have waited for `patience`; apply waits for as long as it takes.
    pub fn take_late(&mut self, patience: Nanos, now: Mono) -> Vec<Waiter<P>> {
        let is_late = |waiter: &mut Waiter<P>| {
            !matches!(waiter.what, RepairUse::Apply { .. }) && now.since(waiter.since) >= patience
        };
        assert!(!self.waiters.is_empty(), "an entry is fetched that nothing waits for");
        self.waiters.extract_if(.., is_late).collect()
    }
}
