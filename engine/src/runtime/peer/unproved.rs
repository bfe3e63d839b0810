//! Connections of peers that have not proved anything yet. Their number is limited, and the oldest is closed
//! first.

use crate::runtime::notify::Notify;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

/// Maximum number of unproved connections per core. Peers connect one at a time; many are strangers.
const UNPROVED_MAX: usize = 64;

/// All unproved connections of one core, the oldest first. Each is notified to make room for others. Clones
/// share the list.
#[derive(Clone, Default)]
pub(super) struct Waiting(Rc<RefCell<VecDeque<Rc<Notify>>>>);

/// One unproved connection, until it is dropped.
pub(super) struct Unproved {
    all: Waiting,
    make_room: Rc<Notify>,
}

impl Waiting {
    /// Adds a connection. If there are too many, the oldest must close. An honest peer needs only
    /// milliseconds, so it is done before it is the oldest.
    pub(super) fn enter(&self) -> Unproved {
        let make_room = Rc::new(Notify::default());
        let mut waiting = self.0.borrow_mut();
        if waiting.len() >= UNPROVED_MAX
            && let Some(oldest) = waiting.pop_front()
        {
            oldest.notify();
        }
        waiting.push_back(Rc::clone(&make_room));
        Unproved { all: self.clone(), make_room }
    }
}

impl Unproved {
    /// Ends when another connection needs its place.
    pub(super) async fn crowded_out(&self) {
        self.make_room.notified().await;
    }
}

impl Drop for Unproved {
    fn drop(&mut self) {
        self.all.0.borrow_mut().retain(|one| !Rc::ptr_eq(one, &self.make_room));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::{block_on, or};

    /// Whether it was told to close.
    fn is_told(unproved: &Unproved) -> bool {
        block_on(or(
            async {
                unproved.crowded_out().await;
                true
            },
            async { false },
        ))
    }

    #[test]
    fn the_oldest_makes_room_and_who_has_gone_takes_none() {
        let waiting = Waiting::default();
        let mut all: Vec<Unproved> = (0..UNPROVED_MAX).map(|_| waiting.enter()).collect();
        assert!(!all.iter().any(is_told));
        drop(all.remove(1));
        all.push(waiting.enter());
        assert!(!all.iter().any(is_told), "one had gone");
        all.push(waiting.enter());
        assert_eq!(all.iter().map(is_told).collect::<Vec<_>>()[..2], [true, false]);
        drop(all);
        assert!(waiting.0.borrow().is_empty());
    }
}
