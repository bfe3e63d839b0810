//! The simulator: a whole cluster in one thread and one queue of events, from one seed.
//!
//! ```text
//!   seed ─▶ params ─▶ world ─ faults, `seconds` ─▶ heal ─ progress ─▶ 1000 ops ─▶ quiet ─▶ equal states
//!                       │                                                                      │
//!                       └─ observer: invariants at every record, message and turn    read back │
//!                                                                             linearizability ◀┘
//! ```
//!
//! The turn is the one that ships: `synod_replica::Replica`, the shard over its log. Everything around it is
//! simulated, and the seed is the only source of randomness.

pub mod client;
pub mod clock;
pub mod clocks;
pub mod fault;
pub mod gray;
pub mod keys;
pub mod net;
pub mod node;
pub mod observe;
pub mod params;
pub mod queue;
pub mod reply_room;
pub mod report;
pub mod rng;
pub mod run;
pub mod trace;
pub mod value;
pub mod world;

pub use clocks::{ClockCase, run_clocks};
pub use fault::FaultKind;
pub use gray::run_gray;
pub use params::{Eyes, Options, Params};
pub use run::{
    Failure, Summary, run, run_crashes, run_far_behind, run_loose, run_old_copy, run_partition, run_pipelined,
};
