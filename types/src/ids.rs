//! Newtypes for every id and index, with private fields, `Display`, and arithmetic only where it has a
//! meaning.
//!
//! Words: a *slot* is a position in one group's log. A *bucket* is one of the 16384 parts of the key space (a
//! hash slot in Redis Cluster). A *cell* is a place in the slab cache. No word is used for another of these.

use core::fmt;
use rkyv::{Archive, Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($int:ty), $prefix:literal) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Archive, Serialize, Deserialize,
        )]
        pub struct $name($int);

        impl $name {
            /// Wraps a raw number.
            pub const fn new(raw: $int) -> Self {
                Self(raw)
            }
            /// The raw number, for encoding and indexing.
            pub const fn get(self) -> $int {
                self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

id!(
    /// A node of the cluster; unique for the life of the cluster and never reused for another disk (see
    /// [`Incarnation`]).
    NodeId(u16), "n"
);
id!(
    /// A Paxos group. Group 0 is the system group and holds no keys; data groups are `1..=G`.
    GroupId(u16), "g"
);
id!(
    /// A core of one node: one executor, one log, one shard machine.
    CoreId(u16), "c"
);
id!(
    /// A position in one group's log. The first slot is 1; 0 stands for "before the first".
    Slot(u64), "s"
);
id!(
    /// The ordinal of a record in one core's log since this process started: 1 for the first record appended.
    /// `Durable(lsn)` means that every record up to and including this one is on disk.
    Lsn(u64), "l"
);
id!(
    /// A segment file of one core's log; numbers are unique on a node and never reused.
    SegmentId(u32), "seg"
);
id!(
    /// One of the 16384 parts of the key space (Redis Cluster's hash slot).
    Bucket(u16), "b"
);
id!(
    /// A key namespace; 0 is the default, and the only one that RESP can reach.
    Namespace(u16), "ns"
);
id!(
    /// A session of one group, assigned by apply; 0 means "no session".
    SessionId(u64), "session"
);
id!(
    /// The level that a build can read: one number for all kinds of entries, records and messages. A group
    /// writes nothing of a level above the one its log carries (rule P-19).
    Level(u16), "level "
);
id!(
    /// The shell's id of a request that waits for its reply; unique on one core while the request is open.
    RequestId(u64), "r"
);

impl Slot {
    /// Before the first slot.
    pub const ZERO: Self = Self(0);
    /// The slot after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
    /// The slot before this one; [`Slot::ZERO`] has itself.
    #[must_use]
    pub const fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
    /// The slot `count` after this one.
    #[must_use]
    pub const fn plus(self, count: u64) -> Self {
        Self(self.0 + count)
    }
    /// The number of slots in `(base, self]`; 0 if `base` is not below `self`.
    pub const fn since(self, base: Self) -> u64 {
        self.0.saturating_sub(base.0)
    }
}

impl Lsn {
    /// Before the first record.
    pub const ZERO: Self = Self(0);
    /// The ordinal after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl Level {
    /// The level that this build reads.
    pub const OWN: Self = Self(3);
    /// The level that every build for this format reads. A new group starts with it.
    pub const FIRST: Self = Self(2);
    /// From this level on the writes of a node's session are executed in the order of their sequences
    /// (P-21i).
    pub const IN_ORDER: Self = Self(3);
}

/// One start of a node's process: a counter of starts and a random number, which distinguishes two starts
/// with the same counter, as of a directory and its copy (rule P-21).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub struct Boot {
    /// One more than at the previous start; durable.
    pub counter: u64,
    /// Drawn at random at this start.
    pub random: u64,
}

impl SessionId {
    /// No session: each send of the command may be executed once.
    pub const NONE: Self = Self(0);
    /// The bit that marks the sessions of nodes. Ids of clients' sessions count commands of a log and never
    /// get this high.
    const OF_NODE: u64 = 1 << 63;
    /// The id of a node's session, from the command that opened it.
    ///
    /// # Panics
    /// When `raw` has the mark already.
    pub const fn of_node(raw: u64) -> Self {
        assert!(raw & Self::OF_NODE == 0, "a session named like a node's");
        Self(raw | Self::OF_NODE)
    }
    /// Whether it is a node's session: no client may use it.
    pub const fn is_of_node(self) -> bool {
        self.0 & Self::OF_NODE != 0
    }
}

impl GroupId {
    /// The system group: membership intent, placement, format version. Holds no keys.
    pub const SYSTEM: Self = Self(0);
}

/// A ballot: (round, node), totally ordered, unique, never reused after a restart (rule P-01).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Archive, Serialize, Deserialize)]
pub struct Ballot {
    round: u64,
    node: NodeId,
}

impl Ballot {
    /// Below every ballot of a node.
    pub const ZERO: Self = Self { round: 0, node: NodeId(0) };

    /// The ballot of `node` in `round`.
    pub const fn new(round: u64, node: NodeId) -> Self {
        Self { round, node }
    }
    /// The round; 0 only in [`Ballot::ZERO`].
    pub const fn round(self) -> u64 {
        self.round
    }
    /// The node that owns this ballot and may propose in it.
    pub const fn node(self) -> NodeId {
        self.node
    }
    /// The lowest ballot of `node` above `self`.
    #[must_use]
    pub const fn above(self, node: NodeId) -> Self {
        Self { round: self.round + 1, node }
    }
}

impl fmt::Display for Ballot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.round, self.node)
    }
}
impl fmt::Debug for Ballot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

macro_rules! id128 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Archive, Serialize, Deserialize)]
        pub struct $name(u128);
        impl $name {
            /// Wraps a raw number.
            pub const fn new(raw: u128) -> Self {
                Self(raw)
            }
            /// The raw number.
            pub const fn get(self) -> u128 {
                self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}
id128!(
    /// A cluster: drawn at random at format, and part of the handshake and of every data directory.
    ClusterId
);
id128!(
    /// One life of a node's disk: drawn at random at format, durable. Peers refuse a known node with another
    /// incarnation.
    Incarnation
);

/// A location in one core's log: a segment, a byte offset in it and a length in bytes.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Archive, Serialize, Deserialize,
)]
pub struct Location {
    /// The segment file.
    pub segment: SegmentId,
    /// Byte offset from the start of the segment.
    pub offset: u32,
    /// Length in bytes.
    pub len: u32,
}

impl Location {
    /// The part of this location that starts `offset` bytes in and is `len` bytes long.
    ///
    /// # Panics
    /// When the part is not inside.
    #[must_use]
    pub fn part(self, offset: u32, len: u32) -> Self {
        assert!(offset.checked_add(len).is_some_and(|end| end <= self.len), "part outside its location");
        Self { segment: self.segment, offset: self.offset + offset, len }
    }
}

/// The version of a key: the position in its group's log at which it was last written. Totally ordered within
/// a group.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Archive, Serialize, Deserialize,
)]
pub struct Version {
    /// The log position.
    pub slot: Slot,
    /// The command's position in the batch.
    pub position: u32,
}

/// The bucket of a key: CRC16 (XMODEM) of the key or of its `{hash tag}`, modulo 16384, exactly as in Redis
/// Cluster.
pub fn bucket_of(key: &[u8]) -> Bucket {
    let hashed = match key.iter().position(|&byte| byte == b'{') {
        Some(open) => match key[open + 1..].iter().position(|&byte| byte == b'}') {
            Some(len) if len > 0 => &key[open + 1..open + 1 + len],
            _ => key,
        },
        None => key,
    };
    Bucket(crc16(hashed) % crate::limits::BUCKET_COUNT)
}

/// The data group that owns `bucket` in a cluster with `group_count` data groups, a power of two. Each group
/// owns a contiguous range of `16384 / group_count` buckets, group 1 the first.
///
/// # Panics
/// When `group_count` is not a power of two in `1..=1024`.
pub fn group_of(bucket: Bucket, group_count: u16) -> GroupId {
    assert!(group_count.is_power_of_two() && group_count <= crate::limits::GROUP_COUNT_MAX);
    let range = crate::limits::BUCKET_COUNT / group_count;
    GroupId(bucket.0 / range + 1)
}

const CRC16_TABLE: [u16; 256] = {
    let mut table = [0_u16; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = (index as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 { (crc << 1) ^ 0x1021 } else { crc << 1 };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
};

fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &byte| (crc << 8) ^ CRC16_TABLE[usize::from((crc >> 8) as u8 ^ byte)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc16_is_xmodem_as_redis_cluster_specifies() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
        assert_eq!(bucket_of(b"foo").get(), 12182);
    }

    #[test]
    fn hash_tags_bind_keys_together() {
        assert_eq!(bucket_of(b"{user1000}.following"), bucket_of(b"{user1000}.followers"));
        assert_eq!(bucket_of(b"foo{}{bar}").get(), crc16(b"foo{}{bar}") % 16384);
        assert_eq!(bucket_of(b"foo{{bar}}zap").get(), crc16(b"{bar") % 16384);
    }

    #[test]
    fn groups_cover_all_buckets_evenly() {
        for groups in [1_u16, 2, 16, 1024] {
            let mut count = alloc::vec![0_u32; usize::from(groups) + 1];
            for bucket in 0..16384 {
                count[usize::from(group_of(Bucket(bucket), groups).get())] += 1;
            }
            assert_eq!(count[0], 0);
            assert!(count[1..].iter().all(|&n| n == 16384 / u32::from(groups)));
        }
    }

    #[test]
    fn ballots_order_by_round_then_node() {
        let a = Ballot::new(3, NodeId::new(1));
        assert!(a < Ballot::new(3, NodeId::new(2)));
        assert!(Ballot::new(3, NodeId::new(9)) < a.above(NodeId::new(1)));
        assert!(Ballot::ZERO < Ballot::ZERO.above(NodeId::new(0)));
    }
}
