//! Between cores of one node: a mesh of channels. Requests for groups that live on another core, and their answers.
//!
//! Buffers of this core are not `Send`; what crosses is owned bytes. A core that sends faster than the other takes keeps the
//! rest in its own outbox, which the requests' own limits bound.

use crate::runtime::clock;
use crate::runtime::core::Running;
use crate::runtime::notify::Notify;
use crate::runtime::pace::{self, Pace, STEPS_PER_LOOK};
use crate::runtime::slow::Work;
use glommio::channels::shared_channel::{self, SharedReceiver, SharedSender};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use synod_types::{Command, Consistency, CoreId, GroupId, Reply, RequestId};

/// Messages in one channel.
const CHANNEL_SLOTS: usize = 1024;

/// What cores say to each other.
#[derive(Debug)]
pub(crate) enum Mail {
    /// Execute this and answer to the sender.
    Request {
        /// Who sends.
        from: CoreId,
        /// The sender's number for it.
        id: RequestId,
        /// The group.
        group: GroupId,
        /// How fresh a read must be.
        consistency: Consistency,
        /// The command.
        command: Command<Vec<u8>>,
    },
    /// The answer.
    Reply {
        /// The number echoed.
        id: RequestId,
        /// The answer.
        reply: Reply<Vec<u8>>,
    },
}

impl Mail {
    /// Whether one of it is worth a look at the clock.
    fn is_long(&self) -> bool {
        matches!(self, Self::Request { command, .. } if Work::of(command.op).is_long())
    }
}

/// One core's ends of the mesh, by the other core; nothing where that is the core itself.
///
/// Channels are made in pairs here rather than by glommio's mesh builder: that one shares a non-atomic count between threads.
#[derive(Debug)]
pub(crate) struct Ends {
    senders: Vec<Option<SharedSender<Mail>>>,
    receivers: Vec<Option<SharedReceiver<Mail>>>,
}

/// A channel for every ordered pair of `cores` cores; the ends by core.
pub(crate) fn mesh(cores: usize) -> Vec<Ends> {
    let mut ends: Vec<Ends> =
        (0..cores).map(|_| Ends { senders: Vec::new(), receivers: Vec::new() }).collect();
    for from in 0..cores {
        for to in 0..cores {
            let (sender, receiver) = if from == to {
                (None, None)
            } else {
                let (sender, receiver) = shared_channel::new_bounded(CHANNEL_SLOTS);
                (Some(sender), Some(receiver))
            };
            ends[from].senders.push(sender);
            ends[to].receivers.push(receiver);
        }
    }
    ends
}

/// One core's outboxes, by the core they are for.
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
    /// Puts a message in.
    pub fn post(&self, to: CoreId, mail: Mail) {
        let outbox = &self.boxes[usize::from(to.get())];
        outbox.mail.borrow_mut().push_back(mail);
        outbox.wake.notify();
    }
    /// Takes the oldest message for a core.
    pub fn take(&self, to: usize) -> Option<Mail> {
        self.boxes[to].mail.borrow_mut().pop_front()
    }
    /// Notified when there is mail for a core.
    pub fn wake_of(&self, to: usize) -> Rc<Notify> {
        Rc::clone(&self.boxes[to].wake)
    }
}

/// Starts the tasks that carry mail: one per other core in each direction. `connect` waits for the other core to do the same.
pub(crate) fn carry(running: &Running, ends: Ends) {
    for (to, sender) in ends.senders.into_iter().enumerate() {
        let Some(sender) = sender else { continue };
        let running = running.clone();
        glommio::spawn_local(async move {
            let sender = sender.connect().await;
            let wake = running.outbox_wake(to);
            loop {
                while let Some(mail) = running.take_mail(to) {
                    if sender.send(mail).await.is_err() {
                        return; // the other core has ended, and so will this one
                    }
                }
                wake.notified().await;
            }
        })
        .detach();
    }
    for receiver in ends.receivers.into_iter().flatten() {
        let running = running.clone();
        glommio::spawn_local(async move {
            let receiver = receiver.connect().await;
            let (pace, mut steps) = (Pace::default(), 0);
            let receiving = async {
                while let Some(mail) = receiver.recv().await {
                    let is_long = mail.is_long();
                    running.on_mail(mail);
                    steps += 1;
                    if (is_long || steps % STEPS_PER_LOOK == 0) && pace.is_over(clock::mono()) {
                        pace::rest().await;
                    }
                }
            };
            pace.watch(receiving).await;
        })
        .detach();
    }
}
