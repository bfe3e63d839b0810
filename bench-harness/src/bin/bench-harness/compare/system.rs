//! The systems under comparison.

use serde::Serialize;

/// A system, with what it promises.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum System {
    /// Synod, three nodes, over its own protocol.
    Synod,
    /// The same over RESP.
    SynodResp,
    /// Redis, one node, that flushes each write.
    Redis,
    /// Redis, one node, in memory.
    RedisMemory,
    /// etcd, three nodes.
    Etcd,
}

impl System {
    /// Every system.
    pub const ALL: [Self; 5] = [Self::Synod, Self::SynodResp, Self::Redis, Self::RedisMemory, Self::Etcd];

    /// Its name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Synod => "Synod, binary protocol",
            Self::SynodResp => "Synod, RESP",
            Self::Redis => "Redis, appendfsync always",
            Self::RedisMemory => "Redis, in memory",
            Self::Etcd => "etcd",
        }
    }
    /// The promise of an answer to a write.
    pub const fn durability(self) -> &'static str {
        match self {
            Self::Synod | Self::SynodResp => "3 nodes, on the disks of a majority before the answer",
            Self::Redis => "1 node, on its disk before the answer",
            Self::RedisMemory => "none: 1 node, in memory",
            Self::Etcd => "3 nodes, on the disks of a majority before the answer",
        }
    }
    /// The promise of an answer to a read.
    pub const fn reads(self) -> &'static str {
        match self {
            Self::Synod | Self::SynodResp => "linearizable, by the leader's lease",
            Self::Redis | Self::RedisMemory => "of the only node",
            Self::Etcd => "linearizable, confirmed by a majority",
        }
    }
    /// The Debian package that contains it.
    pub const fn package(self) -> Option<&'static str> {
        match self {
            Self::Synod | Self::SynodResp => None,
            Self::Redis | Self::RedisMemory => Some("redis-server"),
            Self::Etcd => Some("etcd-server"),
        }
    }
}
