//! The channels between the cores of one node, and the tasks that carry mail through them: requests for
//! groups that live on another core, and their replies.

use crate::runtime::clock;
use crate::runtime::mail::Mail;
use crate::runtime::pace::{self, STEPS_PER_LOOK, TaskPace};
use crate::runtime::port::CorePort;
use glommio::channels::shared_channel::{self, SharedReceiver, SharedSender};

/// Number of messages in one channel.
const CHANNEL_SLOTS: usize = 1024;

/// One core's ends of the mesh, indexed by the other core; `None` at the core's own index.
///
/// The channels are made in pairs here and not by glommio's mesh builder, which shares a non-atomic count
/// between threads.
#[derive(Debug)]
pub(crate) struct MeshEnds {
    senders: Vec<Option<SharedSender<Mail>>>,
    receivers: Vec<Option<SharedReceiver<Mail>>>,
}

/// Makes a channel for every ordered pair of `cores` cores. Returns the ends by core.
pub(crate) fn mesh(cores: usize) -> Vec<MeshEnds> {
    let mut ends: Vec<MeshEnds> =
        (0..cores).map(|_| MeshEnds { senders: Vec::new(), receivers: Vec::new() }).collect();
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

/// Starts the tasks that carry mail: one per other core in each direction. `connect` waits for the other core
/// to do the same.
pub(crate) fn carry(port: &CorePort, ends: MeshEnds) {
    for (to, sender) in ends.senders.into_iter().enumerate() {
        let Some(sender) = sender else { continue };
        let port = port.clone();
        glommio::spawn_local(async move {
            let sender = sender.connect().await;
            let wake = port.outbox_wake(to);
            loop {
                while let Some(mail) = port.take_mail(to) {
                    if sender.send(mail).await.is_err() {
                        return; // the other core has ended, and this core will end too
                    }
                }
                wake.notified().await;
            }
        })
        .detach();
    }
    for receiver in ends.receivers.into_iter().flatten() {
        let port = port.clone();
        glommio::spawn_local(async move {
            let receiver = receiver.connect().await;
            let (pace, mut steps) = (TaskPace::default(), 0);
            let receiving = async {
                while let Some(mail) = receiver.recv().await {
                    let is_long = mail.is_long();
                    port.on_mail(mail);
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
