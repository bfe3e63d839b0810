//! The limits of a configuration's values, with the reasons.

use synod_types::limits::{ENTRY_BYTES_MAX, WINDOW_SLOTS_MAX};

/// Number of executors per node. Each has three rings and a log; a larger number is a typing error.
pub const CORE_COUNT_MAX: u16 = 256;
/// Length of a cluster's name in bytes.
pub const CLUSTER_NAME_BYTES_MAX: usize = 64;
/// Slab cache of one core in MiB.
pub const CACHE_MIB_MAX: u64 = 1 << 20;
/// Size of a log segment in MiB: a segment holds several of the longest entries, and offsets in it fit 32
/// bits.
pub const SEGMENT_MIB_MIN: u64 = 4;
/// See [`SEGMENT_MIB_MIN`].
pub const SEGMENT_MIB_MAX: u64 = 1024;
/// Log space written in advance, in MiB per core: a format should never take the time for more than 1 TiB.
pub const RESERVE_MIB_MAX: u64 = 1 << 20;
/// With a shorter interval, heartbeats would be most of the traffic.
pub const HEARTBEAT_MS_MIN: u64 = 5;
/// A longer time span is a typing error; in milliseconds.
pub const SPAN_MS_MAX: u64 = 60_000;
/// Maximum number of open client connections per core.
pub const CONNECTIONS_MAX: u64 = 100_000;
/// Seconds of silence before a client's machine is probed: the kernel takes no more.
pub const TCP_KEEPALIVE_S_MAX: u64 = 32_767;
/// Payload that may wait in one group before it answers busy, in MiB. If the limit were below the size of the
/// largest command, that command would always be answered busy.
pub const PENDING_MIB_MIN: u64 = 2;
/// See [`PENDING_MIB_MIN`].
pub const PENDING_MIB_MAX: u64 = 1024;
/// Least number of MiB of clients' commands under way on one core: room for a few of any size.
pub const REQUESTS_MIB_MIN: u64 = 8;
/// See [`REQUESTS_MIB_MIN`].
pub const REQUESTS_MIB_MAX: u64 = 1024;
/// Least number of MiB that the clients of one core share: room for a few commands and answers of any size.
pub const CLIENTS_MIB_MIN: u64 = 16;
/// See [`CLIENTS_MIB_MIN`].
pub const CLIENTS_MIB_MAX: u64 = 65_536;
/// Longest time for a command to be complete, seconds.
pub const COMMAND_S_MAX: u64 = 3_600;
/// Longest time for a planned stop, seconds.
pub const DRAIN_S_MAX: u64 = 3_600;
/// Maximum number of one group's slots in flight.
pub const PIPELINE_SLOTS_MAX: u64 = WINDOW_SLOTS_MAX;

const _: () = assert!(SEGMENT_MIB_MIN << 20 >= 2 * ENTRY_BYTES_MAX as u64);
const _: () = assert!(PENDING_MIB_MIN << 20 >= ENTRY_BYTES_MAX as u64);
const _: () = assert!(SEGMENT_MIB_MAX << 20 <= u32::MAX as u64);
