//! HTTP requests that wait for their reply: one cell each, filled once.

use crate::runtime::notify::Notify;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use synod_types::Reply;

/// The waiting requests of one core.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    open: BTreeMap<u64, Rc<ReplyCell>>,
    next: u64,
}

/// The waiting end of a reply cell.
#[derive(Debug)]
pub(crate) struct AwaitedReply(Rc<ReplyCell>);

#[derive(Debug, Default)]
struct ReplyCell {
    reply: RefCell<Option<Reply<Vec<u8>>>>,
    wake: Notify,
}

impl Waiters {
    /// Opens a cell. Returns its number and its waiting end.
    pub fn open(&mut self) -> (u64, AwaitedReply) {
        self.next += 1;
        let cell = Rc::new(ReplyCell::default());
        self.open.insert(self.next, Rc::clone(&cell));
        (self.next, AwaitedReply(cell))
    }

    /// Fills the cell of the waiter, unless its connection is gone.
    pub fn reply(&mut self, waiter: u64, reply: Reply<&[u8]>) {
        let Some(cell) = self.open.remove(&waiter) else { return };
        if Rc::strong_count(&cell) > 1 {
            *cell.reply.borrow_mut() = Some(reply.map(<[u8]>::to_vec));
            cell.wake.notify();
        }
    }
}

impl AwaitedReply {
    /// Waits for the reply. Every request is answered, so this ends.
    pub async fn reply(self) -> Reply<Vec<u8>> {
        loop {
            if let Some(reply) = self.0.reply.borrow_mut().take() {
                return reply;
            }
            self.0.wake.notified().await;
        }
    }
}
