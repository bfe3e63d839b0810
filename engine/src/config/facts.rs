//! `ClusterFacts`: the facts that every node must agree on for the life of the cluster, and the hash that
//! proves it.
//!
//! The hash goes into every peer handshake and every data directory. Leases are part of it: if a follower
//! bound itself for less time than the leader counts on, two leaders could serve reads. So the lease is not a
//! setting of one node. The founding voters are part of it too: two nodes that were formatted for different
//! voters would count different quorums.

use synod_types::limits::{GROUP_COUNT_MAX, MEMBER_COUNT_MAX};
use synod_types::{ClusterId, NodeId};

/// The hash that maps keys to buckets and so to groups.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyHash {
    /// CRC16 with `{hash tags}` into 16384 buckets, as Redis Cluster does.
    Crc16,
}

impl KeyHash {
    /// Its name in a configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Crc16 => "crc16",
        }
    }
    /// Its number on disk.
    pub const fn code(self) -> u8 {
        match self {
            Self::Crc16 => 1,
        }
    }
    /// The hash with this number on disk.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Crc16),
            _ => None,
        }
    }
}

/// The facts fixed at format, equal on all nodes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClusterFacts {
    /// The cluster's id.
    pub cluster: ClusterId,
    /// Number of data groups, a power of two.
    pub group_count: u16,
    /// The hash that maps keys to groups.
    pub hash: KeyHash,
    /// How long a heartbeat binds the follower that answers it, in milliseconds.
    pub lease_ms: u32,
    /// The part of a lease that a leader does not use, because clocks run at different speeds; in
    /// milliseconds.
    pub drift_ms: u32,
    /// The first voters of every group, ascending. Later configurations are stored in the log.
    pub founders: Vec<NodeId>,
}

impl ClusterFacts {
    /// The facts in a fixed order and width: exactly the hashed bytes.
    fn stable_bytes(&self) -> Vec<u8> {
        self.assert_valid();
        let mut bytes = Vec::with_capacity(64);
        bytes.extend_from_slice(b"synod facts 1\0");
        bytes.extend_from_slice(&self.cluster.get().to_le_bytes());
        bytes.extend_from_slice(&self.group_count.to_le_bytes());
        bytes.push(self.hash.code());
        bytes.extend_from_slice(&self.lease_ms.to_le_bytes());
        bytes.extend_from_slice(&self.drift_ms.to_le_bytes());
        // The count comes first, so that no two lists of different length have the same bytes.
        bytes.extend_from_slice(&(self.founders.len() as u64).to_le_bytes());
        for node in &self.founders {
            bytes.extend_from_slice(&node.get().to_le_bytes());
        }
        bytes
    }

    /// The hash for handshakes and data directories: FNV-1a, 64 bits, over the stable bytes. It guards
    /// against mistakes, not against forgery.
    pub fn hash64(&self) -> u64 {
        fnv1a_64(&self.stable_bytes())
    }

    /// # Panics
    /// When a fact has a value that no validated configuration and no checked data directory can hold.
    fn assert_valid(&self) {
        assert!(self.group_count.is_power_of_two());
        assert!(self.group_count <= GROUP_COUNT_MAX);
        assert!(!self.founders.is_empty());
        assert!(self.founders.len() <= MEMBER_COUNT_MAX);
        assert!(self.founders.is_sorted());
    }
}

/// The id of the cluster called `name`: FNV-1a, 128 bits. Nodes configured with the same name agree on the id
/// without communicating.
pub fn cluster_id_of_name(name: &str) -> ClusterId {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let hash = b"synod cluster "
        .iter()
        .chain(name.as_bytes())
        .fold(BASIS, |hash, &byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME));
    ClusterId::new(hash)
}

fn fnv1a_64(bytes: &[u8]) -> u64 {
    const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    bytes.iter().fold(BASIS, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> ClusterFacts {
        ClusterFacts {
            cluster: ClusterId::new(7),
            group_count: 16,
            hash: KeyHash::Crc16,
            lease_ms: 300,
            drift_ms: 10,
            founders: vec![NodeId::new(1), NodeId::new(2), NodeId::new(3)],
        }
    }

    #[test]
    fn fnv_gives_its_published_values() {
        assert_eq!(fnv1a_64(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a_64(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a_64(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn every_fact_changes_the_hash() {
        let base = facts().hash64();
        let changes: [fn(&mut ClusterFacts); 5] = [
            |f| f.cluster = ClusterId::new(8),
            |f| f.group_count = 32,
            |f| f.lease_ms = 301,
            |f| f.drift_ms = 11,
            |f| f.founders.truncate(2),
        ];
        for (index, change) in changes.iter().enumerate() {
            let mut changed = facts();
            change(&mut changed);
            assert_ne!(changed.hash64(), base, "change {index}");
        }
        assert_eq!(facts().hash64(), base);
    }

    /// Data directories outlive releases: this number must never change.
    #[test]
    fn the_hash_is_stable() {
        assert_eq!(facts().hash64(), 10_067_982_776_750_318_442);
    }

    #[test]
    fn names_give_stable_and_different_ids() {
        assert_eq!(cluster_id_of_name("demo"), cluster_id_of_name("demo"));
        assert_ne!(cluster_id_of_name("demo"), cluster_id_of_name("demo2"));
        assert_ne!(cluster_id_of_name("").get(), 0);
    }
}
