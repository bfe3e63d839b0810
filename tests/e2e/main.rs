//! End to end: real node processes and real faults, under load with the audit on. The history goes through
//! the linearizability checker.
//!
//! Every test starts a cluster of its own on free ports, in a directory of its own below the build directory
//! (so that O_DIRECT works), and takes both down again. The tests run one after the other, because they
//! share this machine's cores.

mod balancing;
mod bytes;
mod client;
mod cluster;
mod damage;
mod exactly_once;
mod expiring;
mod faces;
mod faults;
mod figures;
mod following;
mod full;
mod http;
mod latency;
mod limits;
mod load;
mod memory;
mod names;
mod old_copies;
mod redis;
mod redis_oracle;
mod refused;
mod resp;
mod secrets;
mod stopping;
mod strangers;
