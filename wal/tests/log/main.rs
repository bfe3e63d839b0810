//! Tests of the log's contract, on both disks: the simulated one passes the same suite as the real one.

mod conformance;
mod crashes;
mod damage;
mod faults;
mod files;
mod positions;
mod rig;
