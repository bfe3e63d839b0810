//! Forwards that are delivered twice, the second time under another number and with their old stamp: soon
//! after they were answered, or once the leader, or the sending process, has been replaced. No client waits
//! for the outcome of the second delivery.

use super::event::SimEvent;
use super::timeline::Timeline;
use crate::sim::params::Params;
use crate::sim::queue::{MS, SECOND};
use crate::sim::rng::Rng;
use std::collections::{BTreeMap, VecDeque};
use synod_types::{Op, PeerMessage, Reply, Shared};

/// Forwards that are remembered until they are answered.
const FORWARDS_MAX: usize = 256;
/// Marks the number of a forward that is delivered again.
pub(super) const AGAIN: u64 = 1 << 62;

/// The recent forwards.
#[derive(Debug)]
pub(super) struct Resends {
    ppm: u64,
    rng: Rng,
    /// By the sender's core and number.
    sent: BTreeMap<(usize, u64), PeerMessage<Shared>>,
    /// The same keys, oldest first, among them some that were answered.
    order: VecDeque<(usize, u64)>,
}

impl Resends {
    pub(super) fn new(params: &Params) -> Self {
        let ppm = params.net.resend_ppm;
        let rng = Rng::named(params.options.seed, "resends");
        Self { ppm, rng, sent: BTreeMap::new(), order: VecDeque::new() }
    }

    /// `core` has sent `message` to another node's core, `target`: a forward is remembered, and the answer to
    /// a forward may cause it to be delivered again.
    pub(super) fn keep(
        &mut self,
        core: usize,
        target: usize,
        message: &PeerMessage<Shared>,
        time: &mut Timeline,
    ) {
        if self.ppm == 0 || !time.faults_on {
            return;
        }
        match message {
            PeerMessage::Forward { id, command, .. } => {
                let opens = matches!(command.op, Op::OpenNodeSession { .. });
                if opens || command.stamp.session.is_of_node() {
                    self.sent.insert((core, *id), message.clone());
                    self.order.push_back((core, *id));
                }
                while self.order.len() > FORWARDS_MAX
                    && let Some(oldest) = self.order.pop_front()
                {
                    self.sent.remove(&oldest);
                }
            }
            PeerMessage::ForwardReply { id, reply } => {
                let Some(forward) = self.sent.remove(&(target, *id)) else { return };
                if !matches!(reply, Reply::Error(_)) && self.rng.chance(self.ppm) {
                    let latest = if self.rng.coin() { 50 * MS } else { 5 * SECOND };
                    let after = self.rng.below(latest);
                    time.queue.after(after, SimEvent::Resend { core: target, message: Box::new(forward) });
                }
            }
            _ => {}
        }
    }
}
