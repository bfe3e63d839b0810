//! The parts of a core: each owns its state, and none reaches into another. The flows that connect them are
//! in `flow`.
//!
//! ```text
//!   of the core   journal · coalescer · cold_reads · forwards · follower_reads · repairs · balancing · leaving
//!   of a group    backlog ─▶ stream ─▶ proposals · waiting_reads · session · arrivals · pulls · sources · overload
//! ```

pub(crate) mod arrivals;
pub(crate) mod backlog;
pub(crate) mod balancing;
pub(crate) mod coalescer;
pub(crate) mod cold_reads;
pub(crate) mod follower_reads;
pub(crate) mod forwards;
pub(crate) mod journal;
pub(crate) mod leaving;
pub(crate) mod overload;
pub(crate) mod proposals;
pub(crate) mod pulls;
pub(crate) mod repairs;
pub(crate) mod session;
pub(crate) mod sources;
pub(crate) mod stream;
pub(crate) mod waiting_reads;
