//! Forwards that are delivered twice, the second time under another number and with their old stamp: soon
//! after they were answered, or once the leader, or the sending process, has been replaced. No client waits
//! for the outcome of the second delivery.

use crate::sim::params::Params;
use crate::sim::rng::Rng;
use std::collections::{BTreeMap, VecDeque};
use synod_types::{PeerMessage, Shared};

/// Forwards that are remembered until they are answered.
pub(super) const FORWARDS_MAX: usize = 256;
/// Marks the number of a forward that is delivered again.
pub(super) const AGAIN: u64 = 1 << 62;

/// The recent forwards.
#[derive(Debug)]
pub(super) struct Resends {
    pub(super) ppm: u64,
    pub(super) rng: Rng,
    /// By the sender's core and number.
    pub(super) sent: BTreeMap<(usize, u64), PeerMessage<Shared>>,
    /// The same keys, oldest first, among them some that were answered.
    pub(super) order: VecDeque<(usize, u64)>,
}

impl Resends {
    pub(super) fn new(params: &Params) -> Self {
        let ppm = params.net.resend_ppm;
        let rng = Rng::named(params.options.seed, "resends");
        Self { ppm, rng, sent: BTreeMap::new(), order: VecDeque::new() }
    }
}
