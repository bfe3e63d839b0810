//! What every part of a world shares: the parameters, the events to come, the observer, and the dice for the
//! small delays.

use super::event::{ClientRequest, SimEvent};
use crate::sim::client::Want;
use crate::sim::observe::Observer;
use crate::sim::params::Params;
use crate::sim::queue::{Instant, Queue, US};
use crate::sim::rng::Rng;

/// The time of a run, and everything that is told or drawn as it passes.
pub(super) struct Timeline {
    pub(super) params: Params,
    pub(super) queue: Queue<SimEvent>,
    /// Sees everything and judges it.
    pub(super) observer: Observer,
    pub(super) rng: Rng,
    pub(super) faults_on: bool,
    /// Scratch; empty between events.
    pub(super) wants: Vec<Want>,
}

impl Timeline {
    /// Nothing has happened yet; delays are drawn from `rng`.
    pub(super) fn new(params: &Params, rng: Rng) -> Self {
        Self {
            params: params.clone(),
            queue: Queue::new(),
            observer: Observer::new(params),
            rng,
            faults_on: false,
            wants: Vec::new(),
        }
    }

    pub(super) fn now(&self) -> Instant {
        self.queue.now()
    }

    /// The time between a client and a node.
    pub(super) fn client_delay(&mut self) -> u64 {
        20 * US + self.rng.exponential(100 * US)
    }

    /// Schedules what `client` wants, and takes the empty list back.
    pub(super) fn carry_out(&mut self, client: usize, mut wants: Vec<Want>) {
        for want in wants.drain(..) {
            match want {
                Want::Send { after, attempt, node, group, consistency, command } => {
                    let delay = after + self.client_delay();
                    let request = Box::new(ClientRequest { attempt, group, consistency, command });
                    self.queue.after(delay, SimEvent::Request { node, request });
                }
                Want::Timeout { attempt, after } => self.queue.after(after, SimEvent::GiveUp { attempt }),
                Want::Wake { after } => self.queue.after(after, SimEvent::Wake { client }),
            }
        }
        self.wants = wants;
    }
}
