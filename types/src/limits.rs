//! The limits that several crates must agree on, with their reasons. Relations between them are checked at
//! compile time.

/// The number of buckets of the key space. It is that of Redis Cluster's hash slots, so that its clients
/// compute the same placement.
pub const BUCKET_COUNT: u16 = 16384;
/// The most data groups that a cluster can be formatted with: each has at least 16 buckets.
pub const GROUP_COUNT_MAX: u16 = 1024;
/// The most nodes in one group's configuration. Tallies are bit sets in a `u64`, and larger quorums make no
/// sense.
pub const MEMBER_COUNT_MAX: usize = 9;
/// The longest key, bytes.
pub const KEY_BYTES_MAX: usize = 16 << 10;
/// The longest value, bytes. An expected value and the new value of one command together must keep to it, and
/// so must all pairs of one command.
pub const VALUE_BYTES_MAX: usize = 1 << 20;
/// The longest time to live that an interface accepts where Redis prescribes no limit, milliseconds: about
/// 285 000 years. The sum of a longer one and a clock might overflow.
pub const TTL_MS_MAX: u64 = i64::MAX as u64 / 1024;
/// The most bytes before the value in a comparison with a digest or a version: a length and a version
/// ([`crate::operand`]).
pub const COMPARED_BYTES_MAX: usize = 4 + 12;
/// The longest operand, bytes: a comparison followed by the longest value. [`crate::Op::check`] lists the
/// operands of all operations.
pub const OPERAND_BYTES_MAX: usize = VALUE_BYTES_MAX + COMPARED_BYTES_MAX;
/// The longest value in a reply, bytes: the value of a key, or a page of a scan.
pub const REPLY_BYTES_MAX: usize = VALUE_BYTES_MAX;
/// Bytes of one page of a scan.
pub const SCAN_PAGE_BYTES_MAX: usize = 160 << 10;
/// The most pairs in one command of a client: all are applied at once, at about 0.3 µs each. This is checked
/// only when a command is received: a longer one in the log is applied.
pub const PAIRS_MAX: usize = 8192;
/// A batch closes before it exceeds this many key and value bytes; a larger command is a batch of its own.
/// Chosen so that an entry with its headers fits one 256 KiB log block.
pub const BATCH_BYTES_MAX: usize = 192 << 10;
/// The most commands in one entry: it limits the rkyv meta part (62 bytes each) to 31 KiB.
pub const BATCH_COMMANDS_MAX: usize = 512;
/// The most bytes of an entry's header and metas, around the largest key and operand or around a whole batch.
pub const ENTRY_OVERHEAD_BYTES_MAX: usize = 64 << 10;
/// The longest entry, bytes.
pub const ENTRY_BYTES_MAX: usize = OPERAND_BYTES_MAX + KEY_BYTES_MAX + ENTRY_OVERHEAD_BYTES_MAX;
/// The longest peer frame body, bytes: it holds several entries of a `Learn` or a part of a promise, and at
/// least one of the longest.
pub const PEER_FRAME_BYTES_MAX: usize = 4 << 20;
/// A `Learn` or a part of a promise stops adding entries past this many payload bytes.
pub const PEER_CHUNK_BYTES: usize = 1 << 20;
/// The most heartbeats, heartbeat answers, groups or read points in one message: one for each group that a
/// core can hold, the system group included. A core that has more of them waiting after a pause sends several
/// messages.
pub const COALESCED_MAX: usize = GROUP_COUNT_MAX as usize + 1;
/// After this many bytes a core writes another mark to its log, with the number of records that each of its
/// groups has written: an unreadable stretch can only have held records of groups whose numbers have a gap
/// there.
pub const LOG_NOTE_BYTES: u64 = 4 << 20;
/// The most slots of one group that a leader keeps open.
pub const WINDOW_SLOTS_MAX: u64 = 256;
/// A leader opens no further slot of a group with this many payload bytes open.
pub const WINDOW_BYTES_MAX: usize = 4 << 20;
/// The most slots above its applied prefix that a replica holds of one group, behind a gap or not: about 100
/// bytes of memory each. A replica that has reached the limit ignores accepts for further slots and must pull
/// first.
pub const AHEAD_SLOTS_MAX: usize = 1 << 20;
/// The most payload bytes of those slots in memory; beyond it the payloads of the lowest slots stay in the
/// log alone. It is two windows: one for the slots that the leader has open, one for slots chosen so recently
/// that the watermark has not come yet.
pub const AHEAD_BYTES_MAX: usize = 2 * WINDOW_BYTES_MAX;
/// Up to this many slots above the applied prefix a replica expects no gap: four windows.
pub const NEAR_SLOTS_MAX: u64 = 4 * WINDOW_SLOTS_MAX;
/// The most slots in one part of a promise.
pub const REPORTED_SLOTS_MAX: usize = 1024;
/// The most sessions of one group. Opening one more evicts the least recently used, through the log and so
/// alike on all replicas.
pub const SESSIONS_PER_GROUP_MAX: usize = 4096;
/// The most replies that one session keeps for retries: the longest pipeline that a client, or a node on
/// behalf of its clients, may have open in one group.
pub const SESSION_REPLIES_MAX: usize = 1024;
/// The longest value in a reply that a node's session keeps, bytes. Of a longer one it keeps only that the
/// command was executed.
pub const NODE_REPLY_BYTES_MAX: usize = 64 << 10;
/// Values up to this length are stored in the index itself. No i64 in decimal is longer, so INCR never needs
/// a read.
pub const INLINE_VALUE_BYTES_MAX: usize = 22;

const _: () = assert!(BATCH_BYTES_MAX + ENTRY_OVERHEAD_BYTES_MAX <= 256 << 10);
const _: () = assert!(PEER_CHUNK_BYTES + ENTRY_BYTES_MAX + (256 << 10) <= PEER_FRAME_BYTES_MAX);
const _: () = assert!(AHEAD_BYTES_MAX >= WINDOW_BYTES_MAX + ENTRY_BYTES_MAX);
const _: () = assert!(INLINE_VALUE_BYTES_MAX >= 20);
