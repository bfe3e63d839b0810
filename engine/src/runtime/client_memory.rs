//! The memory that one core's client connections share: what they have received, answers that wait to be sent,
//! and room reserved for answers (P-14b).
//!
//! ```text
//!   may_take? ── yes ─▶ allocated, then told by `charge`
//!       └─ no ─▶ in line ─▶ next in line is woken, and asks again
//! ```
//! Nobody is refused: a connection that does not get memory is not read from, or its next command waits. Each
//! connection has a little memory of its own beside this, so that small commands always go on.
//!
//! Whoever is first in line may go beyond the bound if nobody else is beyond it, and then waits for nobody until
//! the memory is within the bound again. Without this, connections that hold a part of what they need could wait
//! for each other. They give back what they hold when they have got the rest; one whose client does not take part
//! any more is closed (`Clients::sweep`).
//!
//! May not: know a connection.

use std::collections::VecDeque;

/// The memory of one core's connections.
#[derive(Debug)]
pub(crate) struct ClientMemory {
    bytes_max: usize,
    bytes: usize,
    /// Connections in line, and what they need.
    line: VecDeque<(u64, usize)>,
    /// The connection that was allowed beyond the bound.
    beyond: Option<u64>,
    /// The first in line was woken and has not asked since.
    has_woken: bool,
}

impl Default for ClientMemory {
    fn default() -> Self {
        Self::new(usize::MAX)
    }
}

impl ClientMemory {
    /// Memory of so many bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, bytes: 0, line: VecDeque::new(), beyond: None, has_woken: false }
    }

    /// Bytes in use.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes that may be in use.
    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Whether connections wait for memory.
    pub fn is_short(&self) -> bool {
        !self.line.is_empty()
    }

    /// Bytes that those in line wait for.
    pub fn wanted_bytes(&self) -> usize {
        self.line.iter().map(|(_, bytes)| *bytes).sum()
    }

    /// Whether a connection may take so many bytes now. If not, it is in line.
    pub fn may_take(&mut self, connection: u64, bytes: usize) -> bool {
        let place = self.line.iter().position(|(who, _)| *who == connection);
        let is_beyond = self.beyond == Some(connection);
        let is_next = self.line.is_empty() || place == Some(0) || is_beyond;
        let is_taken = is_next && (self.has_room(bytes) || self.goes_beyond(connection));
        match (is_taken, place) {
            (true, Some(place)) => self.leave_line(place),
            (true, None) => {}
            (false, Some(place)) => self.line[place].1 = bytes,
            (false, None) => self.line.push_back((connection, bytes)),
        }
        is_taken
    }

    /// The same for a connection that can do without: it does not wait.
    pub fn may_take_more(&self, bytes: usize) -> bool {
        self.line.is_empty() && self.has_room(bytes)
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.bytes.saturating_add(bytes) <= self.bytes_max
    }

    fn goes_beyond(&mut self, connection: u64) -> bool {
        *self.beyond.get_or_insert(connection) == connection
    }

    fn leave_line(&mut self, place: usize) {
        self.line.remove(place);
        self.has_woken &= place != 0;
    }

    /// A connection that held `before` holds `after` now.
    pub fn charge(&mut self, before: usize, after: usize) {
        assert!(before <= self.bytes, "the memory of connections is miscounted");
        self.bytes = self.bytes - before + after;
        if self.bytes <= self.bytes_max {
            self.beyond = None;
        }
    }

    /// A connection is closed.
    pub fn forget(&mut self, connection: u64) {
        if let Some(place) = self.line.iter().position(|(who, _)| *who == connection) {
            self.leave_line(place);
        }
        self.beyond.take_if(|who| *who == connection);
    }

    /// The connection that was allowed beyond the bound, while the memory is beyond it.
    pub fn beyond(&self) -> Option<u64> {
        self.beyond
    }

    /// That connection holds nothing any more: what is beyond the bound is others', and the next may go on.
    pub fn has_come_back(&mut self, connection: u64) {
        self.beyond.take_if(|who| *who == connection);
    }

    /// The connection whose turn it is, if it can go on now. It is woken, and asks again; if it does not, it
    /// has lost its place when this is called once more.
    pub fn next_in_line(&mut self) -> Option<u64> {
        if std::mem::take(&mut self.has_woken) {
            self.line.pop_front();
        }
        let &(connection, bytes) = self.line.front()?;
        self.has_woken = self.has_room(bytes) || self.beyond.is_none();
        self.has_woken.then_some(connection)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_gets_no_memory_waits_in_line_and_none_overtakes() {
        let mut memory = ClientMemory::new(100);
        assert!(memory.may_take(1, 90));
        memory.charge(0, 90);
        assert!(memory.may_take(2, 20), "one may go beyond the bound");
        memory.charge(0, 20);
        assert!(!memory.may_take(3, 20) && !memory.may_take(4, 1) && memory.is_short());
        assert!(!memory.may_take_more(0), "others wait");
        assert_eq!(memory.next_in_line(), None);
        memory.charge(90, 50);
        assert!(!memory.may_take(4, 1), "another is first");
        assert_eq!(memory.next_in_line(), Some(3));
        assert!(memory.may_take(3, 20));
        memory.charge(0, 20);
        assert_eq!(memory.next_in_line(), Some(4));
        assert!(memory.may_take(4, 1) && !memory.is_short());
        assert_eq!(memory.bytes(), 90);
    }

    #[test]
    fn one_at_a_time_is_beyond_the_bound() {
        let mut memory = ClientMemory::new(10);
        assert!(memory.may_take(1, 11) && memory.may_take(1, 20));
        memory.charge(0, 31);
        assert!(!memory.may_take(2, 1));
        assert_eq!(memory.next_in_line(), None);
        memory.forget(1);
        memory.charge(31, 11);
        assert_eq!(memory.next_in_line(), Some(2));
        assert!(memory.may_take(2, 1));
    }

    /// A job asks several times; those that wait for it must not wait before it.
    #[test]
    fn who_is_beyond_the_bound_goes_on_although_others_wait() {
        let mut memory = ClientMemory::new(10);
        assert!(memory.may_take(1, 20));
        memory.charge(0, 20);
        assert!(!memory.may_take(2, 1) && !memory.may_take(3, 1));
        assert!(memory.may_take(1, 20) && memory.may_take(1, 20), "the others wait for what it holds");
        memory.charge(20, 60);
        assert_eq!(memory.next_in_line(), None);
        memory.charge(60, 0);
        assert_eq!(memory.next_in_line(), Some(2));
    }

    /// Connections may come to hold more than they have asked for, such as a chunk that is longer than its command.
    #[test]
    fn who_was_beyond_the_bound_and_holds_nothing_stands_in_nobodys_way() {
        let mut memory = ClientMemory::new(10);
        assert!(memory.may_take(1, 20));
        memory.charge(0, 20);
        assert!(!memory.may_take(2, 1));
        memory.charge(0, 30);
        memory.charge(20, 0);
        assert_eq!((memory.beyond(), memory.next_in_line()), (Some(1), None));
        memory.has_come_back(1);
        assert_eq!(memory.next_in_line(), Some(2));
        assert!(memory.may_take(2, 1));
    }

    #[test]
    fn who_is_woken_and_asks_for_nothing_has_lost_its_place() {
        let mut memory = ClientMemory::new(10);
        assert!(memory.may_take(1, 20));
        memory.charge(0, 20);
        assert!(!memory.may_take(2, 1) && !memory.may_take(3, 1));
        memory.charge(20, 0);
        assert_eq!(memory.next_in_line(), Some(2));
        assert_eq!(memory.next_in_line(), Some(3));
        memory.forget(3);
        assert_eq!(memory.next_in_line(), None);
        assert!(!memory.is_short());
    }
}
