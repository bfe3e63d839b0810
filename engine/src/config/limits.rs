//! What a configuration may ask for at most, with the reasons.

use synod_types::limits::{ENTRY_BYTES_MAX, WINDOW_SLOTS_MAX};

/// Executors of one node. Each has three rings and a log; more than this is a typing error.
pub const CORE_COUNT_MAX: u16 = 256;
/// Bytes of a cluster's name.
pub const CLUSTER_NAME_BYTES_MAX: usize = 64;
/// Slab cache of one core, MiB.
pub const CACHE_MIB_MAX: u64 = 1 << 20;
/// Log segments, MiB: a segment holds several of the longest entries, and offsets in it fit 32 bits.
pub const SEGMENT_MIB_MIN: u64 = 4;
/// See [`SEGMENT_MIB_MIN`].
pub const SEGMENT_MIB_MAX: u64 = 1024;
/// Log space written in advance, MiB per core: 1 TiB is more than a format should ever take time for.
pub const RESERVE_MIB_MAX: u64 = 1 << 20;
/// Heartbeats closer together than this would be most of the traffic.
pub const HEARTBEAT_MS_MIN: u64 = 5;
/// Spans of time that a person means are shorter than this, milliseconds.
pub const SPAN_MS_MAX: u64 = 60_000;
/// Open client connections of one core.
pub const CONNECTIONS_MAX: u64 = 100_000;
/// Bytes that may wait in one group before it answers busy, MiB: with less than the largest command takes, that would be
/// answered busy for ever.
pub const PENDING_MIB_MIN: u64 = 2;
/// See [`PENDING_MIB_MIN`].
pub const PENDING_MIB_MAX: u64 = 1024;
/// Slots of one group in flight.
pub const PIPELINE_SLOTS_MAX: u64 = WINDOW_SLOTS_MAX;

const _: () = assert!(SEGMENT_MIB_MIN << 20 >= 2 * ENTRY_BYTES_MAX as u64);
const _: () = assert!(PENDING_MIB_MIN << 20 >= ENTRY_BYTES_MAX as u64);
const _: () = assert!(SEGMENT_MIB_MAX << 20 <= u32::MAX as u64);
