//! The last report of each core about itself, for questions that concern the whole node: status, topology,
//! INFO, DBSIZE.
//!
//! A core writes its own page at most every few milliseconds; any core reads all pages. No request waits for
//! the board.

use crate::runtime::client_connection::SlowClient;
use crate::runtime::links::RefusedLink;
use crate::runtime::rates::Rates;
use crate::runtime::slow::SlowTurns;
use std::sync::{Arc, Mutex, PoisonError};
use synod_net::server::CountTotals;
use synod_shard::{CacheStats, CoreStats, GroupStats, GroupStatus, Histogram, PeerView};
use synod_types::{ErrorKind, Mono, Nanos, NodeId, Space};

/// One core's page.
#[derive(Clone, Debug, Default)]
pub(crate) struct CorePage {
    /// When it was written.
    pub at: Mono,
    /// Its groups.
    pub groups: Vec<GroupStatus>,
    /// Whether each of them has a leader that answers, in the same order.
    pub ready: Vec<bool>,
    /// The counters of each of them, in the same order.
    pub group_stats: Vec<GroupStats>,
    /// The counters of the core.
    pub core_stats: CoreStats,
    /// Whether the log has made no progress for a whole lease.
    pub log_stalled: bool,
    /// The kind of records that the log still has room for.
    pub log_space: Space,
    /// The error that prevents the next log segment, if any.
    pub log_error: Option<String>,
    /// Log bytes that wait for the disk.
    pub log_backlog_bytes: u64,
    /// The counters of its cache.
    pub cache: CacheStats,
    /// The nodes to whose core of the same number it has a link.
    pub linked: Vec<NodeId>,
    /// The nodes whose link to that core is refused by one of its ends.
    pub refused: Vec<(NodeId, RefusedLink)>,
    /// Open client connections.
    pub connections: u64,
    /// All client connections so far.
    pub connections_total: u64,
    /// How long the oldest record has waited to become durable.
    pub log_age: Nanos,
    /// How long the oldest read of the log has been under way.
    pub read_age: Nanos,
    /// What the leaders of this core believe of each peer.
    pub peers: Vec<PeerView>,
    /// Bytes that clients hold of what they share.
    pub client_bytes: u64,
    /// Bytes that they may hold.
    pub client_bytes_max: u64,
    /// Bytes of commands under way.
    pub command_bytes: u64,
    /// Slow clients that were closed, by reason.
    pub closed_slow: [u64; SlowClient::ALL.len()],
    /// Client connections that were closed at once because there were too many.
    pub connections_rejected: u64,
    /// Commands and requests taken up, and error lines sent. Shared, since pages are copied often.
    pub counts: Arc<CountTotals>,
    /// Commands and bytes per second.
    pub rates: Rates,
    /// Commands on keys answered.
    pub replies: u64,
    /// Number of those answered with an error, by error kind.
    pub errors: Errors,
    /// Time from a turn's end until the socket has taken its replies, in microseconds; sampled.
    pub reply_us: Histogram,
    /// Bytes received from clients.
    pub input_bytes: u64,
    /// Bytes sent to clients.
    pub output_bytes: u64,
    /// The turns that took too long.
    pub slow: SlowTurns,
}

/// Error replies by kind.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Errors([u64; 32]);

impl Errors {
    /// Counts one.
    pub fn record(&mut self, kind: ErrorKind) {
        if let Some(count) = self.0.get_mut(kind as usize) {
            *count += 1;
        }
    }
    /// The number of errors of one kind.
    pub fn count(&self, kind: ErrorKind) -> u64 {
        self.0.get(kind as usize).copied().unwrap_or(0)
    }
}

/// All cores' pages.
#[derive(Clone, Debug)]
pub(crate) struct StatusBoard(Arc<Vec<Mutex<CorePage>>>);

impl StatusBoard {
    /// Empty pages for `cores` cores.
    pub fn new(cores: usize) -> Self {
        Self(Arc::new((0..cores).map(|_| Mutex::default()).collect()))
    }
    /// Replaces a core's page.
    pub fn write(&self, core: usize, page: CorePage) {
        *self.0[core].lock().unwrap_or_else(PoisonError::into_inner) = page;
    }
    /// All pages.
    pub fn read(&self) -> Vec<CorePage> {
        self.0.iter().map(|page| page.lock().unwrap_or_else(PoisonError::into_inner).clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_of_a_page_are_not_copied_with_it() {
        let board = StatusBoard::new(2);
        let counts = Arc::new(CountTotals { others: 3, ..CountTotals::default() });
        board.write(1, CorePage { counts: Arc::clone(&counts), ..CorePage::default() });
        let pages = board.read();
        assert!(Arc::ptr_eq(&pages[1].counts, &counts) && pages[0].counts.others == 0);
    }
}
