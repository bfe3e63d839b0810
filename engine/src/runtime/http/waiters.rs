//! HTTP requests that wait for their reply: one place each, filled once.

use crate::runtime::notify::Notify;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use synod_types::Reply;

/// Those of one core.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    open: BTreeMap<u64, Rc<Place>>,
    next: u64,
}

/// The waiting end.
#[derive(Debug)]
pub(crate) struct Answer(Rc<Place>);

#[derive(Debug, Default)]
struct Place {
    reply: RefCell<Option<Reply<Vec<u8>>>>,
    wake: Notify,
}

impl Waiters {
    /// A number for a request, and where its reply will be.
    pub fn open(&mut self) -> (u64, Answer) {
        self.next += 1;
        let place = Rc::new(Place::default());
        self.open.insert(self.next, Rc::clone(&place));
        (self.next, Answer(place))
    }

    /// Hands the reply over, unless its connection is gone.
    pub fn reply(&mut self, waiter: u64, reply: Reply<&[u8]>) {
        let Some(place) = self.open.remove(&waiter) else { return };
        if Rc::strong_count(&place) > 1 {
            *place.reply.borrow_mut() = Some(reply.map(<[u8]>::to_vec));
            place.wake.notify();
        }
    }
}

impl Answer {
    /// Waits for it. Every request is answered, so this ends.
    pub async fn reply(self) -> Reply<Vec<u8>> {
        loop {
            if let Some(reply) = self.0.reply.borrow_mut().take() {
                return reply;
            }
            self.0.wake.notified().await;
        }
    }
}
