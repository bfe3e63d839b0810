//! Forwards that come again, under another number and with the stamp they had: soon after they were answered, or when the leader, or
//! the process that sent them, is another one by then. Nobody waits for what comes of them.

use super::{Event, World};
use crate::sim::params::Params;
use crate::sim::queue::{MS, SECOND};
use crate::sim::rng::Rng;
use std::collections::{BTreeMap, VecDeque};
use synod_types::{GroupId, Op, PeerMessage, Reply, Shared};

/// Forwards that are remembered until they are answered.
const FORWARDS_MAX: usize = 256;
/// Marks the number of one that comes again.
const AGAIN: u64 = 1 << 62;

/// The forwards of late.
#[derive(Debug)]
pub(super) struct Resends {
    ppm: u64,
    rng: Rng,
    /// By the sender's core and number.
    sent: BTreeMap<(usize, u64), PeerMessage<Shared>>,
    /// The same, oldest first, and some that were answered.
    order: VecDeque<(usize, u64)>,
}

impl Resends {
    pub(super) fn new(params: &Params) -> Self {
        let ppm = params.net.resend_ppm;
        let rng = Rng::named(params.options.seed, "resends");
        Self { ppm, rng, sent: BTreeMap::new(), order: VecDeque::new() }
    }
}

impl World {
    /// `core` has sent `message` to `to`, another node: a forward is remembered, and the answer to one may let it come again.
    pub(super) fn keep_forward(&mut self, core: usize, to: usize, message: &PeerMessage<Shared>) {
        if self.resends.ppm == 0 || !self.faults_on {
            return;
        }
        match message {
            PeerMessage::Forward { id, command, .. } => {
                let opens = matches!(command.op, Op::OpenNodeSession { .. });
                if opens || command.stamp.session.is_of_node() {
                    self.resends.sent.insert((core, *id), message.clone());
                    self.resends.order.push_back((core, *id));
                }
                while self.resends.order.len() > FORWARDS_MAX
                    && let Some(oldest) = self.resends.order.pop_front()
                {
                    self.resends.sent.remove(&oldest);
                }
            }
            PeerMessage::ForwardReply { id, reply } => {
                let core_count = usize::from(self.params.core_count);
                let sender = to * core_count + core % core_count;
                let Some(forward) = self.resends.sent.remove(&(sender, *id)) else { return };
                if !matches!(reply, Reply::Error(_)) && self.resends.rng.chance(self.resends.ppm) {
                    let latest = if self.resends.rng.coin() { 50 * MS } else { 5 * SECOND };
                    let after = self.resends.rng.below(latest);
                    self.queue.after(after, Event::Resend { core: sender, message: Box::new(forward) });
                }
            }
            _ => {}
        }
    }

    /// A forward of `sender` reaches whoever serves its group now.
    pub(super) fn on_resend(&mut self, sender: usize, mut message: PeerMessage<Shared>) {
        let PeerMessage::Forward { id, group, command, .. } = &mut message else { return };
        *id |= AGAIN;
        let (group, opens): (GroupId, bool) = (*group, matches!(command.op, Op::OpenNodeSession { .. }));
        let from = self.node_index(sender);
        let serves = |core: &usize| {
            let running = self.slots[*core].running.as_ref();
            *core != sender && running.is_some_and(|running| running.shard().serves(group))
        };
        let Some(core) = (0..self.slots.len()).find(serves) else { return };
        self.observer.coverage.meet(if opens {
            "a node's session was asked for again"
        } else {
            "a stamped write came again"
        });
        let (node, place) = (self.node_index(core), self.slots[core].place);
        let session = self.net.session(from, node, usize::from(place.core));
        self.on_arrive(core, from, session, message);
    }
}
