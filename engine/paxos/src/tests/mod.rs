//! Tests of the machine, rule by rule (ids in `docs/protocol.md`): single steps and their effects, small
//! clusters whose messages, disks and clocks the test controls, and random schedules.
//!
//! May not: access fields where the public interface of the machine is enough.

mod ahead;
mod cluster;
mod describe;
mod solo;

mod behind;
mod elections;
mod events;
mod ignoring;
mod leases;
mod pipelines;
mod promises;
mod rooms;
mod schedules;
mod times;
mod transfers;
