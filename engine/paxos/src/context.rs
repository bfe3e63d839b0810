//! What the parts of a replica share during one step: the state they may read, and the effects they push.
//!
//! ```text
//!   Base (kept) ── context(now, out) ──▶ Context (borrowed for a step) ──▶ acceptor, learner, leader …
//! ```
//! Events are kept apart from the effects: the protocol does not depend on them, and nobody must execute
//! them.

use crate::api::{Effect, Receipt};
use crate::setup::Setup;
use crate::space::LogSpace;
use alloc::vec::Vec;
use synod_types::{Ballot, Event, GroupMessage, Nanos, NodeId, Now, Payload, RecordHead, RecordKind, Slot};

/// Events that wait to be taken. A step makes a few at most; the bound is for callers that take none.
const EVENTS_MAX: usize = 32;

/// The state that belongs to no role.
#[derive(Debug)]
pub(crate) struct Base {
    pub setup: Setup,
    pub space: LogSpace,
    pub journal: Journal,
    random: Random,
    /// What the operator should hear, in order, until the caller takes it.
    pub events: Vec<Event>,
}

impl Base {
    pub fn new(setup: Setup, seed: u64) -> Self {
        let (space, journal) = (LogSpace::default(), Journal::default());
        Self { setup, space, journal, random: Random(seed | 1), events: Vec::new() }
    }

    /// The context of a step at `now`; its effects are pushed onto `out`.
    pub fn context<'a, P>(&'a mut self, now: Now, out: &'a mut Vec<Effect<P>>) -> Context<'a, P> {
        let Self { setup, space, journal, random, events } = self;
        Context { setup, space, now, journal, random, events, out }
    }

    /// A newly drawn random part of an election timeout.
    pub fn draw_jitter(&mut self) -> Nanos {
        self.random.jitter(self.setup.timing.election_jitter)
    }
}

/// Numbers the records that a group writes to its log, from 1 (P-09e).
#[derive(Debug, Default)]
pub(crate) struct Journal {
    /// Records ever written.
    count: u64,
    /// The last origin given to an entry; set when origins come from a counter that restarts with the
    /// process.
    #[cfg(feature = "canary")]
    origin: Option<Ballot>,
}

impl Journal {
    pub fn count(&self) -> u64 {
        self.count
    }

    /// A record of the group was found in the log.
    ///
    /// # Panics
    /// When it is not the next one.
    pub fn replayed(&mut self, number: u64) {
        assert!(number == self.count + 1, "a record of the group is missing before {number}");
        self.count = number;
    }

    /// The number of the next record to write.
    fn next_number(&mut self) -> u64 {
        debug_assert!(self.count < u64::MAX, "a group has written all the records there are");
        self.count += 1;
        self.count
    }

    /// The origin of a new proposal of the leader in `ballot` (P-05d).
    pub fn next_origin(&mut self, ballot: Ballot) -> Ballot {
        #[cfg(feature = "canary")]
        if let Some(last) = &mut self.origin {
            *last = last.above(last.node());
            return *last;
        }
        ballot
    }

    /// From now on origins come from a counter.
    #[cfg(feature = "canary")]
    pub fn restart_origins(&mut self, node: NodeId) {
        self.origin = Some(Ballot::new(0, node));
    }
}

/// A small generator (xorshift64*), seeded by the shell: good enough for jitter.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn draw(&mut self) -> u64 {
        assert!(self.0 != 0, "a generator that stands at zero stays there");
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn jitter(&mut self, most: Nanos) -> Nanos {
        let jitter = Nanos(self.draw() % most.0.max(1));
        debug_assert!(jitter <= most, "a jitter beyond its bound");
        jitter
    }
}

/// Borrowed by every part for one step.
pub(crate) struct Context<'a, P> {
    pub setup: &'a Setup,
    pub space: &'a mut LogSpace,
    pub now: Now,
    pub journal: &'a mut Journal,
    random: &'a mut Random,
    events: &'a mut Vec<Event>,
    pub out: &'a mut Vec<Effect<P>>,
}

impl<P> Context<'_, P> {
    /// Tells the operator. Only the first events are kept if the caller takes none.
    pub fn tell(&mut self, event: Event) {
        if self.events.len() < EVENTS_MAX {
            self.events.push(event);
        }
    }
}

impl<P: Payload> Context<'_, P> {
    pub fn send(&mut self, to: NodeId, message: GroupMessage<P>) {
        assert!(to != self.setup.node(), "a message to oneself");
        self.out.push(Effect::Send { to, message });
    }

    /// Writes the record that `receipt` is for. The messages in `then` are sent once it is durable, not
    /// before (P-01). `chosen` is this replica's chosen prefix.
    pub fn append(
        &mut self,
        receipt: Receipt,
        payload: Option<P>,
        chosen: Slot,
        then: Vec<(NodeId, GroupMessage<P>)>,
    ) {
        let (kind, slot, ballot) = match receipt {
            Receipt::Promise(ballot) => (RecordKind::Promise, Slot::ZERO, ballot),
            Receipt::Accept { slot, ballot } => (RecordKind::Accept, slot, ballot),
            Receipt::Learned { slot, ballot } => (RecordKind::Learned, slot, ballot),
        };
        assert!(payload.is_some() == (slot > Slot::ZERO), "a record holds a value just if it names a slot");
        debug_assert!(kind != RecordKind::Accept || slot > chosen, "a chosen slot is accepted again");
        debug_assert!(then.iter().all(|(to, _)| *to != self.setup.node()), "a message to oneself");
        let number = self.journal.next_number();
        let head = RecordHead { kind, group: self.setup.group(), slot, ballot, chosen, number };
        self.out.push(Effect::Append { head, payload, then, receipt });
    }

    /// A random number, so that two answers have different ones with near certainty.
    pub fn draw(&mut self) -> u64 {
        self.random.draw()
    }

    /// A newly drawn random part of an election timeout.
    pub fn draw_jitter(&mut self) -> Nanos {
        self.random.jitter(self.setup.timing.election_jitter)
    }
}
