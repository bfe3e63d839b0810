//! The Redis clients people use, installed from their registries and run against real nodes, with a leader
//! killed under them.
//!
//! Each test installs its client, at a pinned version, below the build directory (kept between runs). It runs
//! a small script from `tests/clients/scripts` that writes keys and reports which writes were acknowledged.
//! The test kills the leader of most groups and brings it back, has the script read everything back, and then
//! checks by itself: once with leaders as elected, and once with one node that leads everything. If a client
//! cannot be installed, the last line of the test's output says `NOT CHECKED` and why.
//!
//! `binary_python` is a client of the binary protocol that lies here itself: its scripts were written from
//! docs/wire-format.md, and keep that page true.

mod binary_python;
// Shared with the end-to-end tests, which use all of it.
#[allow(dead_code)]
#[path = "../e2e/cluster.rs"]
mod cluster;
mod curl;
mod install;
mod ioredis;
mod leaders;
mod redis_benchmark;
mod redis_cli;
mod redis_py;
mod redis_rs;
mod relay;
mod replicas;
mod run;
mod tools;
mod worker;
