//! The messages between cores of one node, and the outboxes of messages not sent yet.
//!
//! A core's buffers are not `Send`, so only owned bytes go to another core. If the receiving core is slower,
//! the rest stays in the sender's own outbox; the limits on requests bound it.

use crate::runtime::notify::Notify;
use crate::runtime::slow::WorkKind;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use synod_types::{Command, Consistency, CoreId, GroupId, Reply, RequestId};

/// A message between two cores.
#[derive(Debug)]
pub(crate) enum Mail {
    /// Execute this command and send the reply to the sender.
    Request {
        /// The sending core.
        from: CoreId,
        /// The sender's number for the request.
        id: RequestId,
        /// The group.
        group: GroupId,
        /// How fresh a read must be.
        consistency: Consistency,
        /// The command.
        command: Command<Vec<u8>>,
        /// The longest value for which the sender has reserved room.
        room: u32,
    },
    /// The request was not executed: there was no room for its value.
    AskAgain {
        /// The sender's number, echoed.
        id: RequestId,
        /// As in the request.
        consistency: Consistency,
        /// As in the request.
        command: Command<Vec<u8>>,
        /// The length of the value.
        bytes: usize,
    },
    /// The reply to a request.
    Reply {
        /// The sender's number, echoed.
        id: RequestId,
        /// The reply.
        reply: Reply<Vec<u8>>,
    },
}

impl Mail {
    /// Whether a single message is long enough to check the clock after it.
    pub fn is_long(&self) -> bool {
        matches!(self, Self::Request { command, .. } if WorkKind::of(command.op).is_long())
    }
}

/// One core's outboxes, one for each other core.
#[derive(Debug, Default)]
pub(crate) struct Outboxes {
    boxes: Vec<Outbox>,
}

#[derive(Debug, Default)]
struct Outbox {
    mail: RefCell<VecDeque<Mail>>,
    wake: Rc<Notify>,
}

impl Outboxes {
    /// Empty outboxes for `cores` cores.
    pub fn new(cores: usize) -> Self {
        Self { boxes: (0..cores).map(|_| Outbox::default()).collect() }
    }
    /// Adds a message.
    pub fn post(&self, to: CoreId, mail: Mail) {
        let outbox = &self.boxes[usize::from(to.get())];
        outbox.mail.borrow_mut().push_back(mail);
        outbox.wake.notify();
    }
    /// Takes the oldest message for core `to`.
    pub fn take(&self, to: usize) -> Option<Mail> {
        self.boxes[to].mail.borrow_mut().pop_front()
    }
    /// The notify that is raised when there is mail for core `to`.
    pub fn wake_of(&self, to: usize) -> Rc<Notify> {
        Rc::clone(&self.boxes[to].wake)
    }
}
