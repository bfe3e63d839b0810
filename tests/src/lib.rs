//! `synod-tests`: the deterministic simulator and the checkers it judges runs by.
//!
//! ```text
//!  seed ──▶ sim (cluster, network, disks, clocks, clients, faults) ──▶ history, observations ──▶ check (one file per invariant)
//! ```
//!
//! Nothing here ships. The simulator runs the very machines that ship (`synod-shard` over `synod-wal`) with everything
//! outside them replaced: time, network, disk and clients come from one seed.

pub mod check;
pub mod fuzz;
pub mod sim;
