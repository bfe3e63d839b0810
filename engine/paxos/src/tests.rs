//! What the machine must do, rule by rule (ids in `docs/protocol.md`): one step and its effects, small clusters with every
//! message, disk and clock in the test's hand, and random schedules.
//!
//! May not: reach into fields where the public words of the machine will do.

mod ahead;
mod cluster;
mod describe;
mod solo;

mod behind;
mod elections;
mod handovers;
mod leases;
mod pipelines;
mod promises;
mod rooms;
mod schedules;
mod times;
