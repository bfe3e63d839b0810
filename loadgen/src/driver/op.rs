//! Operations that were begun and are not finished, by the id that their requests carry.

use crate::ledger::{ReadTicket, WriteTicket};
use crate::workload::Kind;
use synod_types::{GroupId, SessionId};

/// Identifies an operation, also on the wire. A place in the table reuses an id only after two thousand
/// million others.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct OpId(u64);

impl OpId {
    /// This bit is set in ids of requests that are not operations (topology).
    pub(super) const CONTROL: u64 = 1 << 63;
    /// The id of AUTH. Link numbers are too small for a topology request to have this id.
    pub(super) const AUTH: u64 = Self::CONTROL | 1 << 62;

    pub(super) const fn from_wire(id: u64) -> Self {
        Self(id)
    }
    pub(super) const fn to_wire(self) -> u64 {
        self.0
    }
    fn new(generation: u32, index: usize) -> Self {
        // With 31 bits of generation the control bit stays free; the table never has 2^32 places.
        Self(u64::from(generation & 0x7fff_ffff) << 32 | index as u64)
    }
    const fn index(self) -> usize {
        (self.0 & 0xffff_ffff) as usize
    }
}

/// The part of the run that an operation belongs to; it determines how the operation is counted, and whether
/// it waits for a busy cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    Preload,
    Warmup,
    Measured,
    Audit,
}

impl Stage {
    /// Whether to retry while the cluster is busy. Measured load must see the cluster as it is.
    pub(super) const fn waits_out_busy(self) -> bool {
        matches!(self, Self::Preload | Self::Audit)
    }
}

/// The session that a write belongs to, and its number in that session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct OpSlot {
    pub(super) lane: u32,
    pub(super) session: SessionId,
    pub(super) sequence: u64,
}

/// The work of an operation, with the tickets needed to finish it.
#[derive(Debug)]
pub(super) enum Work {
    Write {
        ticket: WriteTicket,
        slot: Option<OpSlot>,
    },
    /// A read; `then` is the write of the same key that follows a successful answer.
    Read {
        ticket: Option<ReadTicket>,
        then: Option<WriteTicket>,
    },
    OpenSession {
        lane: u32,
    },
}

/// Where an operation is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Spot {
    /// Being moved from one place to another.
    Moving,
    /// Waits for any connection.
    Parked,
    /// Waits for a session of its group.
    Unstamped,
    /// Waits for room on a connection to this endpoint.
    Queued(usize),
    /// Sent on this connection and not answered.
    Sent(usize),
    /// Waits before it is sent again.
    Resting,
}

/// One operation.
#[derive(Debug)]
pub(super) struct Op {
    pub(super) work: Work,
    /// The kind it counts as; `None` if it is not part of the load.
    pub(super) kind: Option<Kind>,
    pub(super) key: u32,
    pub(super) group: GroupId,
    pub(super) stage: Stage,
    pub(super) planned_ns: u64,
    pub(super) deadline_ns: u64,
    /// Whether its lateness was counted.
    pub(super) late_noted: bool,
    /// When it was first sent; 0 if not yet. For a read-modify-write, of the part in progress.
    pub(super) first_sent_ns: u64,
    /// When it was last sent; 0 if not yet.
    pub(super) sent_ns: u64,
    pub(super) attempts: u32,
    /// An earlier send may have been executed, or may still be; only an answer to a later send settles it.
    pub(super) doubtful: bool,
    pub(super) spot: Spot,
}

/// All open operations. Memory is bounded by the highest number that were ever open at once.
#[derive(Debug, Default)]
pub(super) struct OpTable {
    places: Vec<(u32, Option<Op>)>,
    free: Vec<u32>,
    /// How many of the open operations are part of the load.
    load_open: usize,
}

impl OpTable {
    pub(super) fn insert(&mut self, op: Op) -> OpId {
        self.load_open += usize::from(op.kind.is_some());
        if let Some(index) = self.free.pop() {
            let (generation, place) = &mut self.places[index as usize];
            *generation = generation.wrapping_add(1);
            *place = Some(op);
            return OpId::new(*generation, index as usize);
        }
        let index = self.places.len();
        assert!(u32::try_from(index).is_ok(), "more open operations than ids");
        // Generation 0 is not used: a response with id 0 belongs to no particular request.
        self.places.push((1, Some(op)));
        OpId::new(1, index)
    }
    pub(super) fn get(&self, id: OpId) -> Option<&Op> {
        let (generation, op) = self.places.get(id.index())?;
        op.as_ref().filter(|_| OpId::new(*generation, id.index()) == id)
    }
    pub(super) fn get_mut(&mut self, id: OpId) -> Option<&mut Op> {
        let (generation, op) = self.places.get_mut(id.index())?;
        if OpId::new(*generation, id.index()) == id { op.as_mut() } else { None }
    }
    pub(super) fn remove(&mut self, id: OpId) -> Option<Op> {
        self.get(id)?;
        let op = self.places[id.index()].1.take()?;
        self.free.push(id.index() as u32); // fits: checked when the id was issued
        self.load_open -= usize::from(op.kind.is_some());
        Some(op)
    }
    pub(super) fn open(&self) -> usize {
        self.places.len() - self.free.len()
    }
    /// How many of the open operations are part of the load: reads and writes, but not the opening of sessions.
    pub(super) fn load_open(&self) -> usize {
        self.load_open
    }
    pub(super) fn spot(&self, id: OpId) -> Option<Spot> {
        self.get(id).map(|op| op.spot)
    }
    pub(super) fn set_spot(&mut self, id: OpId, spot: Spot) {
        if let Some(op) = self.get_mut(id) {
            op.spot = spot;
        }
    }
    /// All open operations that match.
    pub(super) fn select(&self, matches: impl Fn(&Op) -> bool) -> Vec<OpId> {
        (0..)
            .zip(&self.places)
            .filter(|(_, (_, op))| op.as_ref().is_some_and(&matches))
            .map(|(index, (generation, _))| OpId::new(*generation, index))
            .collect()
    }
    /// Whether `id` may have been issued at some time.
    pub(super) fn was_issued(&self, id: OpId) -> bool {
        id.index() < self.places.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(key: u32) -> Op {
        Op {
            work: Work::Read { ticket: None, then: None },
            kind: Some(Kind::Read),
            key,
            group: GroupId::new(1),
            stage: Stage::Measured,
            planned_ns: 0,
            deadline_ns: 0,
            late_noted: false,
            first_sent_ns: 0,
            sent_ns: 0,
            attempts: 0,
            doubtful: false,
            spot: Spot::Parked,
        }
    }

    #[test]
    fn an_id_names_one_operation_and_no_later_one() {
        let mut table = OpTable::default();
        let (one, two) = (table.insert(op(1)), table.insert(op(2)));
        assert_eq!(table.open(), 2);
        assert_eq!(table.remove(one).map(|op| op.key), Some(1));
        assert!(table.remove(one).is_none());
        let three = table.insert(op(3));
        assert_ne!(one, three);
        assert!(table.get(one).is_none() && table.get_mut(one).is_none());
        assert_eq!(table.get(three).map(|op| op.key), Some(3));
        assert_eq!(table.get(two).map(|op| op.key), Some(2));
        assert_eq!(table.open(), 2);
        let mut selected = table.select(|op| op.key > 1);
        selected.sort_unstable();
        let mut expected = [two, three];
        expected.sort_unstable();
        assert_eq!(selected, expected);
        assert!(table.was_issued(one) && !table.was_issued(OpId::from_wire(99)));
        assert_eq!(one.to_wire() & OpId::CONTROL, 0);
    }

    #[test]
    fn operations_of_the_load_are_counted_apart() {
        let mut table = OpTable::default();
        let load = table.insert(op(1));
        let opening = table.insert(Op { kind: None, work: Work::OpenSession { lane: 0 }, ..op(0) });
        assert_eq!((table.open(), table.load_open()), (2, 1));
        table.set_spot(load, Spot::Sent(3));
        assert_eq!((table.spot(load), table.spot(opening)), (Some(Spot::Sent(3)), Some(Spot::Parked)));
        table.remove(opening);
        assert_eq!((table.open(), table.load_open()), (1, 1));
        table.remove(load);
        assert_eq!((table.open(), table.load_open(), table.spot(load)), (0, 0, None));
    }
}
