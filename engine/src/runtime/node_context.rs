//! `NodeContext`: the state that the executors of one node share.

use crate::node::NodeSetup;
use crate::runtime::clock;
use crate::runtime::status_board::StatusBoard;
use std::sync::atomic::AtomicU16;
use synod_net::access::Access;
use synod_types::Mono;

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
    /// Number of executors that have tried all peers.
    pub introduced: AtomicU16,
    /// Number of executors that serve; the last one prints the serving line.
    pub ready: AtomicU16,
}

impl NodeContext {
    /// The context of a node that starts now.
    pub fn new(setup: NodeSetup) -> Self {
        let board = StatusBoard::new(usize::from(setup.cores()));
        let access = setup.options.access.clone();
        let started = clock::now().mono;
        let (introduced, ready) = (AtomicU16::new(0), AtomicU16::new(0));
        Self { setup, started, board, access, introduced, ready }
    }
}
