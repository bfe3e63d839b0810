//! State that the groups of a core share: the store, and the parts that belong to no single group.

use crate::api::ShardConfig;
use crate::parts::balancing::Balancing;
use crate::parts::coalescer::Coalescer;
use crate::parts::cold_reads::ColdReads;
use crate::parts::follower_reads::FollowerReads;
use crate::parts::forwards::Forwards;
use crate::parts::journal::Journal;
use crate::parts::leaving::Leaving;
use crate::parts::repairs::Repairs;
use crate::request::Request;
use crate::stats::CoreStats;
use alloc::vec::Vec;
use synod_paxos as paxos;
#[cfg(feature = "canary")]
use synod_paxos::Canary;
use synod_store::{Store, StoreConfig};
#[cfg(feature = "canary")]
use synod_types::Nanos;
use synod_types::{Consistency, Mono, Payload};

#[derive(Debug)]
pub(crate) struct Common<P> {
    pub config: ShardConfig,
    pub store: Store,
    /// Scratch for the groups' effects; empty between steps.
    pub effects: Vec<paxos::Effect<P>>,
    pub journal: Journal,
    /// Since when the operator knows that the log has stalled.
    pub stalled_since: Option<Mono>,
    /// The last tick.
    pub ticked_at: Mono,
    /// How long this core was not scheduled, all times together.
    #[cfg(feature = "canary")]
    pub slept: Nanos,
    pub coalescer: Coalescer,
    pub cold_reads: ColdReads<P>,
    pub repairs: Repairs<P>,
    pub forwards: Forwards<P>,
    pub follower_reads: FollowerReads<P>,
    pub balancing: Balancing,
    /// Set once the node is about to stop.
    pub leaving: Option<Leaving>,
    /// When the current window of counting requests began.
    pub counted_since: Mono,
    /// The index of the group that is the first to propose.
    pub propose_from: usize,
    /// The index of the group that the next sweep begins with.
    pub sweep_from: usize,
    /// Pages of keys read in this turn for requests that waited.
    pub walks: usize,
    /// How often a session of this core was lost.
    pub sessions_lost: u64,
    pub stats: CoreStats,
    #[cfg(feature = "canary")]
    pub canary: Option<Canary>,
}

impl<P: Payload> Common<P> {
    pub fn new(config: ShardConfig) -> Self {
        let store = Store::new(StoreConfig {
            groups: config.groups.iter().map(|group| group.group).collect(),
            cache_bytes: config.cache_bytes,
            hash_seed: config.seed,
        });
        let number_base = config.seed >> 1;
        Self {
            store,
            effects: Vec::new(),
            journal: Journal::new(config.log_backlog_bytes_max),
            stalled_since: None,
            ticked_at: Mono::ZERO,
            #[cfg(feature = "canary")]
            slept: Nanos::ZERO,
            coalescer: Coalescer::default(),
            cold_reads: ColdReads::default(),
            repairs: Repairs::default(),
            forwards: Forwards::new(number_base),
            follower_reads: FollowerReads::new(number_base),
            balancing: Balancing::default(),
            leaving: None,
            counted_since: Mono::ZERO,
            propose_from: 0,
            sweep_from: 0,
            walks: 0,
            sessions_lost: 0,
            stats: CoreStats::default(),
            #[cfg(feature = "canary")]
            canary: None,
            config,
        }
    }

    /// Whether a lease is enough for a read: `Quorum` trusts no clock.
    pub fn trusts_lease(&self, consistency: Consistency) -> bool {
        #[cfg(feature = "canary")]
        if self.has_planted(Canary::QuorumReadByLease) {
            return true;
        }
        consistency == Consistency::Linearizable
    }

    /// Whether so much waits for the disk that nothing new is proposed.
    pub fn log_is_behind(&self, now: Mono) -> bool {
        self.journal.is_behind(self.config.timing.lease, now)
    }

    /// Whether room is reserved for long values.
    pub fn reserves_room(&self) -> bool {
        #[cfg(feature = "canary")]
        if self.has_planted(Canary::CreditNotReserved) {
            return false;
        }
        true
    }

    /// Takes out the GETs of a group that wait for the disk.
    pub fn take_cold_gets(&mut self, index: usize) -> Vec<Request<P>> {
        #[cfg(feature = "canary")]
        if self.has_planted(Canary::WaitsForReads) {
            return Vec::new();
        }
        self.cold_reads.take_gets(index)
    }

    /// Whether this known bug was planted.
    #[cfg(feature = "canary")]
    pub fn has_planted(&self, canary: Canary) -> bool {
        self.canary == Some(canary)
    }

    pub fn invariants(&self) {
        assert!(self.effects.is_empty(), "effects were left behind");
        assert!(self.sweep_from < self.config.groups.len().max(1), "a sweep of a group that there is not");
        self.journal.invariants();
        self.store.invariants();
        self.cold_reads.invariants();
        self.repairs.invariants();
        self.forwards.invariants();
        self.follower_reads.invariants();
    }
}
