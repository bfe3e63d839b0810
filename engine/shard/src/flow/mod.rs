//! The flows: each leads an input through the parts of a core. Entry point first, leaves last:
//!
//! ```text
//!   input    inputs, and the groups that each concerns
//!   turn     ticks, and the ends of turns
//!   cold     reads that come back
//!   repair   entries fetched from peers
//!   propose  batches, time, level     disk_full  a log without room      transfer  leaders that move
//!   leave    a planned stop
//!   read_index  followers' reads      session   stamps, streams    arrivals  peers' streams
//!   drive    a step of Paxos, and all that follows from it
//!   apply    chosen entries           leadership  its changes
//!   effects  Paxos' effects           route     the replica that executes a request
//!   read     answers from the store   busy      refusals
//! ```
//! Calls go down only. A flow owns no state; the parts do.

pub(crate) mod apply;
pub(crate) mod arrivals;
pub(crate) mod busy;
pub(crate) mod cold;
pub(crate) mod disk_full;
pub(crate) mod drive;
pub(crate) mod effects;
pub(crate) mod input;
pub(crate) mod leadership;
pub(crate) mod leave;
pub(crate) mod propose;
pub(crate) mod read;
pub(crate) mod read_index;
pub(crate) mod repair;
pub(crate) mod reply_room;
pub(crate) mod route;
pub(crate) mod session;
pub(crate) mod transfer;
pub(crate) mod turn;
