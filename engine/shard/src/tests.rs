//! What one core must do for its clients, whatever happens to leaders, links, disks and processes (ids in
//! `docs/protocol.md`): small clusters of whole cores with every message, write and read in the test's hand.
//!
//! May not: reach into the machine's fields; a test that needs to has found a missing question.

mod lab;

mod applying;
mod asking;
mod balancing;
mod expiring;
mod falling_behind;
mod handing_over;
mod leveling;
mod repairing;
mod replaying;
mod requests;
mod rooms;
mod schedules;
mod stamping;
mod timing;
