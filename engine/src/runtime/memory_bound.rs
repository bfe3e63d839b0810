//! The memory that a node's clients, links and logs take at most (P-14b). What depends on the number of keys, the
//! index above all, comes beside it.
//!
//! May not: measure anything. `synod_memory_bytes` does.

use crate::node::NodeOptions;
use crate::runtime::client_connection::{OWN_BYTES, WINDOW_BYTES};
use crate::runtime::links::LINK_BYTES_MAX;
use crate::runtime::replay::LOG_BACKLOG_BYTES_MAX;
use synod_net::server::Limits;
use synod_types::limits::PEER_FRAME_BYTES_MAX;
use synod_wal::READ_BYTES_MAX;

/// The bytes of a node of so many cores and members. Each row is the memory of one core.
pub(crate) fn memory_bytes_max(options: &NodeOptions, cores: u16, members: usize) -> u64 {
    let others = members.saturating_sub(1);
    let requests = options.command_bytes_max * members;
    let bytes = [
        // What connections share, one longest answer beyond it, and what each has for itself: as it is, and once
        // more while a chunk is replaced.
        options.client_bytes_max + Limits::default().gathered_bytes_max + WINDOW_BYTES,
        2 * OWN_BYTES * options.connections_max,
        // The commands under way of this core's clients and of other nodes', and the entries made of them.
        2 * requests,
        options.cache_bytes,
        LOG_BACKLOG_BYTES_MAX + READ_BYTES_MAX,
        // Links: what waits, and as much with the kernel; a frame of each that is being received.
        others * (2 * LINK_BYTES_MAX + PEER_FRAME_BYTES_MAX),
    ];
    bytes.iter().sum::<usize>() as u64 * u64::from(cores)
}
