//! The guarantees of one core to its clients, whatever happens to leaders, links, disks and processes (ids in
//! `docs/protocol.md`). The tests run small clusters of the turn that ships and control every message, write
//! and read.
//!
//! Tests must not reach into the machine's fields: a test that needs a field has found a missing query.

mod disk;
mod lab;

mod applying;
mod asking;
mod balancing;
mod expiring;
mod falling_behind;
mod late_reads;
mod leveling;
mod repairing;
mod replaying;
mod requests;
mod resending;
mod rooms;
mod schedules;
mod stamping;
mod telling;
mod timing;
mod transferring;
