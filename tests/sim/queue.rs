//! The event queue: virtual time. Events are ordered by instant, then by the order in which they were
//! scheduled, so that ties never depend on anything else.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Virtual time in nanoseconds since the simulation began.
pub type Instant = u64;

/// One microsecond of virtual time.
pub const US: u64 = 1_000;
/// One millisecond of virtual time.
pub const MS: u64 = 1_000_000;
/// One second of virtual time.
pub const SECOND: u64 = 1_000_000_000;

/// The pending events, each with its instant.
#[derive(Debug)]
pub struct Queue<E> {
    /// (instant, sequence, index into `events`): the heap moves small keys, not messages.
    heap: BinaryHeap<Reverse<(Instant, u64, u32)>>,
    events: Vec<Option<E>>,
    free: Vec<u32>,
    sequence: u64,
    now: Instant,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), events: Vec::new(), free: Vec::new(), sequence: 0, now: 0 }
    }
}

impl<E> Queue<E> {
    /// An empty queue.
    pub fn new() -> Self {
        Self::default()
    }
    /// The instant of the event popped last.
    pub fn now(&self) -> Instant {
        self.now
    }
    /// Schedules `event` for `delay` from now.
    pub fn after(&mut self, delay: u64, event: E) {
        self.at(self.now + delay, event);
    }
    /// Schedules `event` for `instant`, or for now if that has passed.
    pub fn at(&mut self, instant: Instant, event: E) {
        let index = match self.free.pop() {
            Some(index) => {
                self.events[index as usize] = Some(event);
                index
            }
            None => {
                self.events.push(Some(event));
                (self.events.len() - 1) as u32 // one per pending event: far below 2^32
            }
        };
        self.heap.push(Reverse((instant.max(self.now), self.sequence, index)));
        self.sequence += 1;
    }
    /// The next event; time moves on to it.
    pub fn pop(&mut self) -> Option<E> {
        let Reverse((instant, _, index)) = self.heap.pop()?;
        assert!(instant >= self.now, "time went back");
        self.now = instant;
        self.free.push(index);
        let event = self.events[index as usize].take();
        assert!(event.is_some(), "an event happens once");
        event
    }
    /// Lets time pass up to `instant`. No event may be due by then.
    ///
    /// # Panics
    /// When an event is due.
    pub fn pass(&mut self, instant: Instant) {
        assert!(self.next_at().is_none_or(|at| at > instant), "time passes over an event");
        self.now = self.now.max(instant);
    }
    /// When the next event is due.
    pub fn next_at(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((instant, ..))| *instant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_instant_then_by_order_of_scheduling() {
        let mut queue = Queue::new();
        queue.at(20, "c");
        queue.at(10, "a");
        queue.at(10, "b");
        assert_eq!(queue.pop(), Some("a"));
        queue.at(5, "late");
        assert_eq!([queue.pop(), queue.pop(), queue.pop()], [Some("b"), Some("late"), Some("c")]);
        assert_eq!((queue.now(), queue.pop()), (20, None));
    }
}
