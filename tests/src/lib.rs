//! `synod-tests`: the deterministic simulator and the checkers it judges runs by.
//!
//! ```text
//!  seed ──▶ sim (cluster, network, disks, clocks, clients, faults) ──▶ history, observations ──▶ check (one file per invariant)
//! ```
//!
//! Nothing here ships. The simulator runs the very machines that ship (`synod-shard` over `synod-wal`) with everything
//! outside them replaced: time, network, disk and clients come from one seed.

/// Says that something could not be checked here, and why. Under CI, where everything that is needed gets installed, that is a failure:
/// nothing goes unchecked unnoticed.
///
/// # Panics
/// When the variable `CI` is set.
pub fn not_checked(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "this must be checked under CI: {why}");
    eprintln!("NOT CHECKED: {why}");
}

pub mod check;
pub mod fuzz;
pub mod sim;
