//! Which commands of one connection may be under way at the same time.
//!
//! ```text
//!                  ┌──────────────┐ ─▶ next_ask ─▶ an ask that may be done now, noted as open
//!  Connection ───▶ │ CommandOrder │
//!                  └──────────────┘ ◀─ answered ◀─ its reply
//!                    │ else it is held, and with it all that was sent after it
//! ```
//! A read waits for earlier writes of its key, and a write waits for earlier reads. So a connection that
//! pipelines sees the writes it sent before and none that it sent later, as with a server that executes one
//! command at a time.
//!
//! Writes of one key keep their order without waiting: they go under the session of this node, which executes
//! them in the order in which they came, whichever leader they reach (P-21i). A write in a session of the
//! client's own is executed in no such order; so it waits, and later ones wait for it.
//!
//! May not: know a socket, a clock, or how commands are executed.

use super::ask::{Ask, Tag};
use synod_types::{Command, SessionId};

/// The order of one connection's commands.
#[derive(Debug, Default)]
pub struct CommandOrder {
    open: OpenCommands,
    /// A command that must wait for an open one. All commands sent after it wait too.
    held: Option<Ask>,
}

impl CommandOrder {
    /// The next ask that may be executed now: the held one, else the one that `source` gives. `None` if there
    /// is none, or if it must wait for an open command; it is then held until the next call.
    pub fn next_ask(&mut self, source: impl FnOnce() -> Option<Ask>) -> Option<Ask> {
        let ask = self.held.take().or_else(source)?;
        if self.open.must_wait(&ask) {
            self.held = Some(ask);
            return None;
        }
        Some(ask)
    }

    /// The ask is answered, or will be answered without having been executed.
    pub fn answered(&mut self, tag: Tag) {
        self.open.answered(tag);
    }

    /// Whether a command is held because it waits for an open one.
    pub fn is_holding(&self) -> bool {
        self.held.is_some()
    }
}

/// The commands that a connection has asked and that have no answer yet.
#[derive(Debug, Default)]
struct OpenCommands {
    writes: Vec<OpenWrite>,
    /// The tag with the hash of the key; the hash is None for a read of a whole group.
    reads: Vec<(Tag, Option<u32>)>,
}

/// A write without an answer.
#[derive(Debug)]
struct OpenWrite {
    tag: Tag,
    keys: Keys,
    /// Whether it is executed in its order among the writes of this node.
    is_ordered: bool,
}

/// The keys of a command, by their hashes. Two keys with one hash wait for each other needlessly, once in
/// four thousand million.
#[derive(Debug)]
struct Keys {
    /// None for a command on a whole group: it may touch any key of it.
    first: Option<u32>,
    /// Ascending, for binary search: a command of thousands of keys is compared with thousands of commands.
    others: Box<[u32]>,
}

impl Keys {
    fn of<B: AsRef<[u8]>>(command: &Command<B>) -> Self {
        let hash = synod_types::checksum::crc32c;
        let mut others: Box<[u32]> = command.other_keys().map(hash).collect();
        others.sort_unstable();
        Self { first: (!command.op.is_keyless()).then(|| hash(command.key.as_ref())), others }
    }

    fn name(&self, key: Option<u32>) -> bool {
        match (self.first, key) {
            (Some(first), Some(key)) => first == key || self.others.binary_search(&key).is_ok(),
            _ => true,
        }
    }

    fn meet(&self, other: &Self) -> bool {
        self.name(other.first) || other.others.iter().any(|&key| self.name(Some(key)))
    }
}

impl OpenCommands {
    /// Whether `ask` must wait for an earlier one; otherwise it is noted as open.
    fn must_wait(&mut self, ask: &Ask) -> bool {
        match ask {
            Ask::Command { tag, command, .. } => !self.admit(*tag, command),
            Ask::Local { .. } | Ask::Pause | Ask::Close => false,
        }
    }

    /// Notes a command as open and returns true, unless it must wait for an open one.
    fn admit<B: AsRef<[u8]>>(&mut self, tag: Tag, command: &Command<B>) -> bool {
        let keys = Keys::of(command);
        if !command.op.is_write() {
            let waits = self.writes.iter().any(|open| open.keys.name(keys.first));
            if !waits {
                self.reads.push((tag, keys.first));
            }
            return !waits;
        }
        let is_ordered = command.stamp.session == SessionId::NONE;
        if self.reads.iter().any(|(_, read)| keys.name(*read))
            || self.writes.iter().any(|open| !(open.is_ordered && is_ordered) && open.keys.meet(&keys))
        {
            return false;
        }
        self.writes.push(OpenWrite { tag, keys, is_ordered });
        true
    }

    fn answered(&mut self, tag: Tag) {
        // An ask that is answered at once was noted last. The lists are at most one pipeline long.
        if let Some(index) = self.reads.iter().rposition(|(open, _)| *open == tag) {
            self.reads.swap_remove(index);
        } else if let Some(index) = self.writes.iter().position(|open| open.tag == tag) {
            self.writes.swap_remove(index);
        }
    }
}

#[cfg(test)]
mod tests;
