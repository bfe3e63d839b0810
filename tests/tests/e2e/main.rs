//! End to end: real node processes, real faults, under load with the audit on; the history goes through the checker.
//!
//! Every test starts a cluster of its own on free ports, in a directory of its own below the build directory (so that
//! O_DIRECT works), and takes both down again. They run one after the other: all of them share this machine's cores.

mod balancing;
mod bytes;
mod cluster;
mod damage;
mod exactly_once;
mod expiring;
mod faults;
mod following;
mod full;
mod http;
mod limits;
mod load;
mod names;
mod old_copies;
mod redis;
mod redis_oracle;
mod refused;
mod secrets;
mod strangers;
