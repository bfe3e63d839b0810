//! Every limit that more than one room must agree on, with its reason. Relations between them are proved at compile time.

/// Parts of the key space; Redis Cluster's number, so that its clients compute the same placement.
pub const BUCKET_COUNT: u16 = 16384;
/// Data groups a cluster can be formatted with: at least 16 buckets each.
pub const GROUP_COUNT_MAX: u16 = 1024;
/// Nodes of one group's configuration; tallies are bit sets in a `u64`, and no sane quorum is larger.
pub const MEMBER_COUNT_MAX: usize = 9;
/// Longest key, bytes.
pub const KEY_BYTES_MAX: usize = 16 << 10;
/// Longest value, bytes. What a command compares counts with the new value, and so do all pairs of one command together.
pub const VALUE_BYTES_MAX: usize = 1 << 20;
/// Longest time to live that a face takes where Redis does not say what it must take, milliseconds: three hundred thousand
/// years. From here on the sum with a clock might not be a time.
pub const TTL_MS_MAX: u64 = i64::MAX as u64 / 1024;
/// Longest operand, bytes: the longest value behind what the value there is compared with. [`crate::Op::check`] says what each
/// operation may carry.
pub const OPERAND_BYTES_MAX: usize = VALUE_BYTES_MAX + crate::operand::COMPARED_BYTES_MAX;
/// Longest value in a reply, bytes: that of a key, or a page of a scan.
pub const REPLY_BYTES_MAX: usize = VALUE_BYTES_MAX;
/// Pairs of one command on many keys that a client may send: all are applied at once, at about 0.3 µs each. Checked at the border
/// only: what is in the log is applied, however long.
pub const PAIRS_MAX: usize = 8192;
/// A batch closes before it would pass this many key and value bytes; one larger command is a batch of its own.
/// Chosen so that an entry with its headers stays within one 256 KiB log block.
pub const BATCH_BYTES_MAX: usize = 192 << 10;
/// Commands in one entry: bounds the rkyv meta part (62 bytes each) to 31 KiB.
pub const BATCH_COMMANDS_MAX: usize = 512;
/// Room for the entry's header and the metas around a largest key and operand, or around a whole batch.
pub const ENTRY_OVERHEAD_BYTES_MAX: usize = 64 << 10;
/// Longest entry, bytes.
pub const ENTRY_BYTES_MAX: usize = OPERAND_BYTES_MAX + KEY_BYTES_MAX + ENTRY_OVERHEAD_BYTES_MAX;
/// Longest peer frame body, bytes: several entries in a `Learn` or a promise part, at least one of the longest.
pub const PEER_FRAME_BYTES_MAX: usize = 4 << 20;
/// A `Learn` or a part of a promise stops adding entries past this many payload bytes.
pub const PEER_CHUNK_BYTES: usize = 1 << 20;
/// Heartbeats, their answers, groups asked for, or points told in one message: one per group a core can hold, the system group included.
/// Who has gathered more, having stood still for a while, sends several messages.
pub const COALESCED_MAX: usize = GROUP_COUNT_MAX as usize + 1;
/// After so many bytes a core's log says again how many records each of its groups has written: an unreadable stretch of it can only have
/// held records of those whose numbers leap over it.
pub const LOG_NOTE_BYTES: u64 = 4 << 20;
/// Slots of one group a leader keeps open at once.
pub const WINDOW_SLOTS_MAX: u64 = 256;
/// Payload bytes of one group a leader keeps open at once.
pub const WINDOW_BYTES_MAX: usize = 4 << 20;
/// Slots above its applied prefix that a replica holds of one group, behind a gap or not: about 100 bytes of memory each. One that has
/// reached it ignores accepts and must pull first.
pub const AHEAD_SLOTS_MAX: usize = 1 << 20;
/// Payload bytes of those slots kept in memory; beyond it the oldest are left to the log. Two windows: what a leader has open stays,
/// and so does what was chosen so lately that its watermark has not come.
pub const AHEAD_BYTES_MAX: usize = 2 * WINDOW_BYTES_MAX;
/// So far above the applied prefix a replica expects no gap: four windows.
pub const NEAR_SLOTS_MAX: u64 = 4 * WINDOW_SLOTS_MAX;
/// Slots in one part of a promise.
pub const REPORTED_SLOTS_MAX: usize = 1024;
/// Sessions of one group; registering one more evicts the least recently used (through the log, so equally everywhere).
pub const SESSIONS_PER_GROUP_MAX: usize = 4096;
/// Replies one session keeps for retries: the widest pipeline a client may have open in one group, or a node in its clients' name.
pub const SESSION_REPLIES_MAX: usize = 1024;
/// Longest value in a reply that a node's session keeps, bytes; of a longer one it knows that the command was executed.
pub const NODE_REPLY_BYTES_MAX: usize = 64 << 10;
/// Values up to this long live in the index itself; no i64 in decimal is longer, so INCR never needs a read.
pub const INLINE_VALUE_BYTES_MAX: usize = 22;

const _: () = assert!(BATCH_BYTES_MAX + ENTRY_OVERHEAD_BYTES_MAX <= 256 << 10);
const _: () = assert!(PEER_CHUNK_BYTES + ENTRY_BYTES_MAX + (256 << 10) <= PEER_FRAME_BYTES_MAX);
const _: () = assert!(AHEAD_BYTES_MAX >= WINDOW_BYTES_MAX + ENTRY_BYTES_MAX);
const _: () = assert!(INLINE_VALUE_BYTES_MAX >= 20);
