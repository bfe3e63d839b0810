//! What each core last said about itself, for questions that concern the whole node: status, topology, INFO, DBSIZE.
//!
//! A core writes its own page at most every few milliseconds; any core reads all pages. This is the only state cores share,
//! and no request waits for it.

use std::sync::{Arc, Mutex, PoisonError};
use synod_shard::{CacheStats, GroupStatus};

/// One core's page.
#[derive(Clone, Debug, Default)]
pub(crate) struct CorePage {
    /// Its groups.
    pub groups: Vec<GroupStatus>,
    /// Its cache.
    pub cache: CacheStats,
    /// Open client connections.
    pub connections: u64,
    /// Client connections ever.
    pub connections_total: u64,
    /// Commands executed.
    pub commands: u64,
    /// Bytes received from clients.
    pub input_bytes: u64,
    /// Bytes sent to clients.
    pub output_bytes: u64,
}

/// All cores' pages.
#[derive(Clone, Debug)]
pub(crate) struct Board(Arc<Vec<Mutex<CorePage>>>);

impl Board {
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
