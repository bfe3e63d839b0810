//! Computes from the replies to writes and reads what a key may hold. Pure: no sockets, no clock, no bytes.
//!
//! The rules for one key: At most one write of a key is in flight ([`Ledger::begin_write`] refuses another),
//! so sequence numbers are also an order in time. The exceptions are writes whose outcome stayed *unknown*:
//! such a write may take effect at any time after it was begun, once, or never.
//!
//! * A write *is known to have taken effect* when it was acknowledged or when a read saw it.
//! * A write *is dead* for a read when it is proven that it was overwritten before the read began. The proof
//!   is either another write that began after this one was known to have taken effect, and that was itself
//!   known to have taken effect before the read began; or an earlier read that saw something else although
//!   this write had taken effect before that read began. A dead write never comes back, because a write takes
//!   effect once.
//! * A read may see any write that was issued, that was not answered as *certainly not executed*, and that is
//!   not dead. It may see nothing (or a value of an earlier run) only if no write was known to have taken
//!   effect before the read began.
//! * A write has one version, no matter which reply carries it: a second version means that the write was
//!   executed twice.
//!
//! Every complaint proves that the history is not linearizable, or that a write was lost, invented or
//! repeated. For writes followed by one read the rules are exact. For many concurrent reads they are
//! necessary conditions only; [`crate::history`] provides the input for a complete check.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use synod_types::Version;

/// A write in flight; it must be settled exactly once.
#[derive(Debug, PartialEq, Eq)]
pub struct WriteTicket {
    key: u32,
    sequence: u64,
}

impl WriteTicket {
    /// The key.
    pub fn key(&self) -> u32 {
        self.key
    }
    /// The number of the write to that key.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }
}

/// A read in flight, with what was known when it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadTicket {
    key: u32,
    begun: Moment,
    floor: u64,
}

impl ReadTicket {
    /// The key.
    pub fn key(&self) -> u32 {
        self.key
    }
}

/// What a read saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// No such key.
    Nothing,
    /// An intact value that another run wrote.
    Foreign,
    /// A write of this run.
    Write {
        /// Its number.
        sequence: u64,
        /// The version in the reply.
        version: Version,
    },
}

/// Why a reply is not possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The key holds no value of this run, although a write had taken effect.
    Absent,
    /// A read saw a write that was overwritten before the read began.
    Stale,
    /// A read saw a write that was never issued.
    NeverIssued,
    /// A read saw a write that was answered as certainly not executed.
    Refused,
    /// A write has two versions.
    Repeated,
    /// A later write has an earlier version.
    VersionWentBack,
}

/// A fault and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The fault.
    pub fault: Fault,
    /// The key.
    pub key: u32,
    /// The sequence of the write that was seen or answered; 0 for none.
    pub sequence: u64,
    /// The highest sequence known to have taken effect at the time that matters for the fault.
    pub floor: u64,
    /// The highest sequence issued.
    pub issued: u64,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, sequence, floor, issued, .. } = self;
        match self.fault {
            Fault::Absent => write!(f, "key {key} is absent although write {floor} had taken effect"),
            Fault::Stale => write!(
                f,
                "key {key} holds write {sequence}, overwritten before (write {floor} had taken effect, {issued} issued)"
            ),
            Fault::NeverIssued => {
                write!(f, "key {key} holds write {sequence}, which was never issued ({issued} issued)")
            }
            Fault::Refused => {
                write!(f, "key {key} held write {sequence}, which was answered as certainly not executed")
            }
            Fault::Repeated => {
                write!(f, "key {key} has write {sequence} at two versions: it was executed twice")
            }
            Fault::VersionWentBack => {
                write!(f, "key {key} has write {sequence} at a version before that of write {floor}")
            }
        }
    }
}

/// A point in the ledger's own order of events; each event increments it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
struct Moment(u64);

#[derive(Clone, Copy, Debug, Default)]
struct Key {
    /// Highest sequence issued; 0 for none.
    issued: u64,
    /// Highest sequence known to have taken effect; 0 for none.
    floor: u64,
    /// When the write in flight began; its sequence is `issued`.
    in_flight: Option<Moment>,
    /// Reads that begin after this moment may no longer see `floor`.
    floor_dead: Option<Moment>,
    floor_version: Option<Version>,
}

/// A write that ended with an unknown outcome.
#[derive(Clone, Copy, Debug)]
struct Loose {
    sequence: u64,
    begun: Moment,
    /// When a read first saw it: it had taken effect by then.
    effect_by: Option<Moment>,
    dead: Option<Moment>,
    version: Option<Version>,
}

/// The ledger of a range of keys.
#[derive(Debug)]
pub struct Ledger {
    first_key: u32,
    keys: Vec<Key>,
    /// Writes with unknown outcome, by key, in order of sequence. There are few.
    loose: BTreeMap<u32, Vec<Loose>>,
    /// Sequences of writes that were certainly not executed, by key, ascending. There are few.
    refused: BTreeMap<u32, Vec<u64>>,
    now: Moment,
    acked: u64,
    unknown: u64,
}

impl Ledger {
    /// A ledger for the keys of `range`, none of which was written yet.
    pub fn new(range: Range<u32>) -> Self {
        Self {
            first_key: range.start,
            keys: vec![Key::default(); range.len()],
            loose: BTreeMap::new(),
            refused: BTreeMap::new(),
            now: Moment(0),
            acked: 0,
            unknown: 0,
        }
    }

    /// The keys.
    pub fn range(&self) -> Range<u32> {
        self.first_key..self.first_key + self.keys.len() as u32 // no more than fit a range of 32 bits
    }
    /// Adds a key at the end of the range, not written yet.
    ///
    /// # Panics
    /// When there is no further key.
    pub fn grow(&mut self) {
        assert!(self.range().end < u32::MAX, "no key is left to be added");
        self.keys.push(Key::default());
    }

    /// Begins the next write of `key`, unless one is in flight.
    pub fn begin_write(&mut self, key: u32) -> Option<WriteTicket> {
        let begun = self.tick();
        let state = self.key_mut(key);
        if state.in_flight.is_some() {
            return None;
        }
        state.in_flight = Some(begun);
        state.issued += 1;
        assert!(state.floor < state.issued, "a write took effect before it was issued");
        Some(WriteTicket { key, sequence: state.issued })
    }

    /// Notes that the write was acknowledged, at `version`.
    ///
    /// # Errors
    /// [`Violation`] when that contradicts what was known. The write still counts as acknowledged.
    pub fn acknowledge(&mut self, ticket: WriteTicket, version: Version) -> Result<(), Violation> {
        let WriteTicket { key, sequence } = ticket;
        let begun = self.settle(key, sequence);
        let before = *self.key(key);
        self.acked += 1;
        self.take_effect(key, sequence, begun);
        let state = self.key_mut(key);
        if before.floor == sequence {
            // A read saw it first.
            let same = before.floor_version.is_none_or(|seen| seen == version);
            return if same { Ok(()) } else { Err(self.violation(Fault::Repeated, key, sequence, sequence)) };
        }
        assert!(state.floor == sequence, "no later write can have taken effect");
        state.floor_version = Some(version);
        let floor_was_settled = self.find_loose(key, before.floor).is_none();
        if floor_was_settled && before.floor_version.is_some_and(|earlier| earlier >= version) {
            return Err(self.violation(Fault::VersionWentBack, key, sequence, before.floor));
        }
        Ok(())
    }

    /// Notes that the write was certainly not executed and never will be.
    ///
    /// # Errors
    /// [`Violation`] when a read has seen it.
    pub fn refuse(&mut self, ticket: WriteTicket) -> Result<(), Violation> {
        let WriteTicket { key, sequence } = ticket;
        self.settle(key, sequence);
        let floor = self.key(key).floor;
        self.refused.entry(key).or_default().push(sequence);
        if floor == sequence {
            return Err(self.violation(Fault::Refused, key, sequence, floor));
        }
        Ok(())
    }

    /// Notes that the outcome of the write stays unknown.
    pub fn give_up(&mut self, ticket: WriteTicket) {
        let WriteTicket { key, sequence } = ticket;
        let begun = self.settle(key, sequence);
        self.unknown += 1;
        // A write that a read saw while it was in flight has taken effect: its outcome is known.
        if self.key(key).floor != sequence {
            let loose = Loose { sequence, begun, effect_by: None, dead: None, version: None };
            self.loose.entry(key).or_default().push(loose);
        }
    }

    /// Begins a read of `key`.
    pub fn begin_read(&mut self, key: u32) -> ReadTicket {
        let begun = self.tick();
        ReadTicket { key, begun, floor: self.key(key).floor }
    }

    /// Ends a read with what it saw.
    ///
    /// # Errors
    /// [`Violation`] when the read cannot have seen that.
    pub fn end_read(&mut self, ticket: ReadTicket, seen: Seen) -> Result<(), Violation> {
        let ReadTicket { key, floor, begun } = ticket;
        let Seen::Write { sequence, version } = seen else {
            let legal = floor == 0;
            return if legal { Ok(()) } else { Err(self.violation(Fault::Absent, key, 0, floor)) };
        };
        let now = self.tick();
        let state = *self.key(key);
        let fault = |fault| Err(self.violation(fault, key, sequence, floor.max(state.floor)));
        if sequence == 0 || sequence > state.issued {
            return fault(Fault::NeverIssued);
        }
        if self.refused.get(&key).is_some_and(|refused| refused.binary_search(&sequence).is_ok()) {
            return fault(Fault::Refused);
        }
        let loose = self.find_loose(key, sequence).map(|at| self.loose[&key][at]);
        let dead_before = |dead: Option<Moment>| dead.is_some_and(|dead| dead < begun);
        let known_version = match loose {
            Some(loose) if dead_before(loose.dead) => return fault(Fault::Stale),
            Some(loose) => loose.version,
            None if sequence < floor => return fault(Fault::Stale),
            None if sequence == state.floor && dead_before(state.floor_dead) => return fault(Fault::Stale),
            None if sequence == state.floor => state.floor_version,
            None => None,
        };
        if known_version.is_some_and(|known| known != version) {
            return fault(Fault::Repeated);
        }
        self.note_seen(key, sequence, version, now);
        self.note_overwritten(ticket, sequence, now);
        Ok(())
    }

    /// Whether a write of `key` is in flight.
    pub fn is_writing(&self, key: u32) -> bool {
        self.key(key).in_flight.is_some()
    }
    /// The keys that at least one write was issued for.
    pub fn written_keys(&self) -> impl Iterator<Item = u32> {
        (self.first_key..).zip(&self.keys).filter(|(_, key)| key.issued > 0).map(|(key, _)| key)
    }
    /// Writes that were acknowledged.
    pub fn acked(&self) -> u64 {
        self.acked
    }
    /// Writes whose outcome stayed unknown.
    pub fn unknown(&self) -> u64 {
        self.unknown
    }

    fn key(&self, key: u32) -> &Key {
        &self.keys[(key - self.first_key) as usize]
    }

    fn key_mut(&mut self, key: u32) -> &mut Key {
        &mut self.keys[(key - self.first_key) as usize]
    }

    /// Ends the write in flight; returns when it began.
    fn settle(&mut self, key: u32, sequence: u64) -> Moment {
        self.tick();
        let state = self.key_mut(key);
        assert!(state.issued == sequence, "a write was settled that is not in flight");
        state.in_flight.take().expect("a write is settled once")
    }

    /// Notes that a write that began at `begun` is known to have taken effect by now.
    fn take_effect(&mut self, key: u32, sequence: u64, begun: Moment) {
        let now = self.now;
        let state = &mut self.keys[(key - self.first_key) as usize];
        if sequence > state.floor {
            if let Some(refused) = self.refused.get_mut(&key) {
                // No read in flight is likely to see a write two floors back, and the list must not grow
                // without bound.
                let keep_from = refused.partition_point(|&old| old < state.floor);
                refused.drain(..keep_from);
            }
            state.floor = sequence;
            state.floor_version = None;
            state.floor_dead = None;
        }
        for other in self.loose.get_mut(&key).into_iter().flatten() {
            if other.sequence != sequence && other.effect_by.is_some_and(|effect| effect < begun) {
                other.dead.get_or_insert(now);
            }
        }
    }

    /// Notes that a read saw `sequence`, legally.
    fn note_seen(&mut self, key: u32, sequence: u64, version: Version, now: Moment) {
        let state = *self.key(key);
        match (self.find_loose(key, sequence), state.in_flight) {
            (Some(at), _) => {
                let loose = &mut self.loose.get_mut(&key).expect("found just above")[at];
                loose.version = Some(version);
                if loose.effect_by.is_none() {
                    loose.effect_by = Some(now);
                    let begun = loose.begun;
                    self.take_effect(key, sequence, begun);
                }
            }
            (None, Some(begun)) if sequence == state.issued && sequence > state.floor => {
                self.take_effect(key, sequence, begun);
            }
            _ => {}
        }
        let state = self.key_mut(key);
        if state.floor == sequence {
            state.floor_version = Some(version);
        }
    }

    /// Notes that a read saw `sequence`: every other write that had taken effect before the read began is
    /// overwritten by now.
    fn note_overwritten(&mut self, ticket: ReadTicket, sequence: u64, now: Moment) {
        for other in self.loose.get_mut(&ticket.key).into_iter().flatten() {
            if other.sequence != sequence && other.effect_by.is_some_and(|effect| effect < ticket.begun) {
                other.dead.get_or_insert(now);
            }
        }
        let state = self.key_mut(ticket.key);
        if state.floor != sequence && state.floor == ticket.floor && state.floor > 0 {
            state.floor_dead.get_or_insert(now);
        }
    }

    fn find_loose(&self, key: u32, sequence: u64) -> Option<usize> {
        self.loose.get(&key)?.binary_search_by_key(&sequence, |loose| loose.sequence).ok()
    }

    fn violation(&self, fault: Fault, key: u32, sequence: u64, floor: u64) -> Violation {
        Violation { fault, key, sequence, floor, issued: self.key(key).issued }
    }

    fn tick(&mut self) -> Moment {
        self.now.0 += 1;
        self.now
    }
}
