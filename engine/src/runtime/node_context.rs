//! `NodeContext`: the state that the executors of one node share.

use crate::node::{NodeSetup, RunError};
use crate::runtime::clock;
use crate::runtime::early_clients::{EarlyClients, EarlyFacts};
use crate::runtime::stat_base::StatBase;
use crate::runtime::status_board::StatusBoard;
use std::sync::atomic::{AtomicU16, AtomicU64};
use std::sync::{Arc, OnceLock};
use synod_net::access::Access;
use synod_types::{Mono, Nanos};

/// The state that the executors of one node share. No request needs any of it.
pub(crate) struct NodeContext {
    /// The setup that the node was started with.
    pub setup: NodeSetup,
    /// The start time, by the boot-time clock.
    pub started: Mono,
    /// The status page of each core.
    pub board: StatusBoard,
    /// The clients that the node admits. All cores share it, so a change on one core holds for all.
    pub access: Access,
    /// The client ports, until the cores serve them.
    pub early_clients: EarlyClients,
    /// Bytes of the logs replayed so far.
    pub replayed: Arc<AtomicU64>,
    /// The counts from which INFO counts on.
    pub stat_base: StatBase,
    /// Number of executors that have tried all peers.
    pub introduced: AtomicU16,
    /// Number of executors that serve; the last one prints the serving line.
    pub ready: AtomicU16,
    /// When the first core began to stop.
    stopping: OnceLock<Mono>,
    /// Number of executors that have handed over what they led, in a planned stop.
    pub handed_over: AtomicU16,
    /// Number of executors that have let all their clients go.
    pub alone: AtomicU16,
}

impl NodeContext {
    /// The context of a node that starts now.
    ///
    /// # Errors
    /// When its client ports cannot be opened.
    pub fn new(setup: NodeSetup) -> Result<Self, RunError> {
        let board = StatusBoard::new(usize::from(setup.cores()));
        let access = setup.options.access.clone();
        let started = clock::now().mono;
        let (introduced, ready) = (AtomicU16::new(0), AtomicU16::new(0));
        let replayed = Arc::new(AtomicU64::new(0));
        let early_clients = EarlyClients::open(&setup, EarlyFacts::of(&setup, Arc::clone(&replayed)))?;
        let stat_base = StatBase::default();
        let stopping = OnceLock::new();
        Ok(Self {
            setup,
            started,
            board,
            access,
            early_clients,
            replayed,
            stat_base,
            introduced,
            ready,
            stopping,
            handed_over: AtomicU16::new(0),
            alone: AtomicU16::new(0),
        })
    }

    /// A core begins to stop. Returns whether it is the first.
    pub fn begin_stopping(&self) -> bool {
        self.stopping.set(clock::mono()).is_ok()
    }

    /// How long the node has been stopping, if it is.
    pub fn stopping_for(&self) -> Option<Nanos> {
        self.stopping.get().map(|&since| clock::mono().since(since))
    }
}
