//! The clients' history: each request, its time and its outcome. It is the only evidence the linearizability
//! checker accepts.
//!
//! A request without an answer is *unknown*: it may have happened, may happen later, or never. A checker that
//! calls it "failed" accuses correct systems or acquits wrong ones.

use super::model::{Action, Answer, Instant};
use std::fmt;

/// A point in the history: a total order, and the virtual instant, for readers and for expiries.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Stamp {
    /// Rises with every recorded call and answer.
    pub order: u64,
    /// The instant.
    pub at: Instant,
}

/// The outcome of an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// No answer: it may take effect at any time after its call, or never.
    Unknown,
    /// It was answered.
    Answered {
        /// When.
        stamp: Stamp,
        /// The answer.
        answer: Answer,
    },
    /// It was answered with an error which promises that nothing was executed.
    Refused,
}

/// One operation of one client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Operation {
    /// The client.
    pub client: u32,
    /// The group of the key, for operations on a whole group.
    pub group: u16,
    /// The key, or the family of keys.
    pub key: u32,
    /// The member of the family.
    pub member: u8,
    /// The action.
    pub action: Action,
    /// The first call.
    pub called: Stamp,
    /// The outcome.
    pub fate: Fate,
}

/// The subject of an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Subject {
    /// The group.
    pub group: u16,
    /// The key, or its family.
    pub key: u32,
    /// The member of the family.
    pub member: u8,
}

/// The index of an operation in a [`History`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct OperationId(usize);

/// Everything the clients did, in order of their calls.
#[derive(Clone, Default, Debug)]
pub struct History {
    operations: Vec<Operation>,
    next_order: u64,
}

impl History {
    /// An empty history.
    pub fn new() -> Self {
        Self::default()
    }
    /// A client calls for an action on a key that is linked to no other. The outcome is unknown until it is
    /// set.
    pub fn call(&mut self, client: u32, key: u32, action: Action, at: Instant) -> OperationId {
        self.call_member(client, Subject { group: 0, key, member: 0 }, action, at)
    }
    /// The same for one key of a family, or for a whole group.
    pub fn call_member(&mut self, client: u32, subject: Subject, action: Action, at: Instant) -> OperationId {
        let called = self.stamp(at);
        let Subject { group, key, member } = subject;
        self.operations.push(Operation { client, group, key, member, action, called, fate: Fate::Unknown });
        OperationId(self.operations.len() - 1)
    }
    /// An operation was answered.
    ///
    /// # Panics
    /// When the operation was settled before.
    pub fn answer(&mut self, id: OperationId, answer: Answer, at: Instant) {
        let stamp = self.stamp(at);
        self.settle(id, Fate::Answered { stamp, answer });
    }
    /// An operation ended with an error which promises that nothing was executed.
    ///
    /// # Panics
    /// When the operation was settled before.
    pub fn refuse(&mut self, id: OperationId) {
        self.settle(id, Fate::Refused);
    }
    /// The operations, in order of their calls.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }
    /// One operation.
    pub fn get(&self, id: OperationId) -> &Operation {
        &self.operations[id.0]
    }
    /// How many operations were answered.
    pub fn answered_count(&self) -> usize {
        self.operations.iter().filter(|op| matches!(op.fate, Fate::Answered { .. })).count()
    }
    /// The operations by key, keys ascending. An operation on a whole group belongs to every key of it.
    pub fn by_key(&self) -> Vec<(u32, Vec<Operation>)> {
        let mut keys = std::collections::BTreeMap::<u32, Vec<Operation>>::new();
        let (of_groups, of_keys): (Vec<Operation>, Vec<Operation>) =
            self.operations.iter().copied().partition(|op: &Operation| op.action == Action::Flush);
        for op in of_keys {
            keys.entry(op.key).or_default().push(op);
        }
        for operations in keys.values_mut() {
            let group = operations[0].group;
            operations.extend(of_groups.iter().copied().filter(|op| op.group == group));
            operations.sort_by_key(|op| op.called);
        }
        keys.into_iter().collect()
    }

    fn settle(&mut self, id: OperationId, fate: Fate) {
        let op = &mut self.operations[id.0];
        assert!(op.fate == Fate::Unknown, "an operation is settled once: {op}");
        op.fate = fate;
    }

    fn stamp(&mut self, at: Instant) -> Stamp {
        let order = self.next_order;
        self.next_order += 1;
        Stamp { order, at }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let us = |stamp: Stamp| stamp.at / 1000;
        let Operation { client, key, member, action, .. } = self;
        write!(f, "client {client} key {key}.{member} {action} [{}us", us(self.called))?;
        match self.fate {
            Fate::Unknown => write!(f, ", …] unknown"),
            Fate::Answered { stamp, answer } => write!(f, ", {}us] = {answer:?}", us(stamp)),
            Fate::Refused => write!(f, "] refused"),
        }
    }
}
