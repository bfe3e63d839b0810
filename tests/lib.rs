//! `synod-tests`: the deterministic simulator, the checkers that judge its runs, the fuzz targets, and the
//! reader of the source that tidy uses. Each has a folder with its code, its programs and its tests; the tests
//! with real processes (`e2e`) and real clients (`clients`) have one, too.
//!
//! ```text
//!  seed ──▶ sim (cluster, network, disks, clocks, clients, faults) ──▶ history, observations ──▶ check
//! ```
//!
//! Nothing here ships. The simulator runs the very turn that ships (`synod-replica`) and replaces everything
//! outside it: time, network, disk and clients come from one seed.

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
