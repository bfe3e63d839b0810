//! `synod-tests`: the deterministic simulator, and the checkers that judge its runs.
//!
//! ```text
//!  seed ──▶ sim (cluster, network, disks, clocks, clients, faults) ──▶ history, observations ──▶ check
//! ```
//!
//! Nothing here ships. The simulator runs the very state machines that ship (`synod-shard` over `synod-wal`)
//! and replaces everything outside them: time, network, disk and clients come from one seed.

#![forbid(unsafe_code)]

/// Reports that something could not be checked on this machine, and why. Under CI this is a failure: CI
/// installs everything the checks need, so that no check is skipped unnoticed.
///
/// # Panics
/// When the variable `CI` is set.
pub fn not_checked(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "this must be checked under CI: {why}");
    eprintln!("NOT CHECKED: {why}");
}

pub mod check;
pub mod fuzz;
pub mod shape;
pub mod sim;
