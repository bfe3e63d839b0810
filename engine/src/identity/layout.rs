//! The bytes of `synod.id`: the identity of the data directory.
//!
//! ```text
//!   0  magic "SYNOD-ID"
//!   8  version u32 = 2        │ total length u32, the checksum included
//!  16  cluster id u128
//!  32  incarnation u128
//!  48  node id u16            │ cores u16
//!  52  group count u16        │ key hash u8 = 1 (crc16)  │ durability u8 = 1 (sync)
//!  56  lease ms u32           │ drift ms u32
//!  64  facts hash u64         what peers compare; stored so that a changed hash function is noticed
//!  72  founder count u16      │ pin count u16 (0: not pinned, else = cores)
//!  76  cluster name length u16│ reserved u16 = 0
//!  80  founders               u16 each
//!      pins                   u32 each
//!      cluster name           UTF-8
//!      crc32c u32             of everything before it
//! ```
//! All integers are little-endian. Magic, version, total length and a CRC32C in the last four bytes keep
//! their places in every version, so that an older synod can tell "newer" from "damaged".

use super::who::{Identity, Pins};
use crate::config::facts::{ClusterFacts, KeyHash};
use crate::config::limits::{CLUSTER_NAME_BYTES_MAX, CORE_COUNT_MAX};
use synod_types::limits::{GROUP_COUNT_MAX, MEMBER_COUNT_MAX};
use synod_types::{ClusterId, Incarnation, NodeId};

/// The format version of everything in a data directory that this crate writes, and the only one it
/// understands.
pub const ID_FORMAT_VERSION: u32 = 2;
const MAGIC: &[u8; 8] = b"SYNOD-ID";
const FIXED_BYTES: usize = 80;
const CRC_BYTES: usize = 4;
const DURABILITY_SYNC: u8 = 1;
/// The longest possible file of version 2.
pub(super) const ID_BYTES_MAX: usize =
    FIXED_BYTES + 2 * MEMBER_COUNT_MAX + 4 * CORE_COUNT_MAX as usize + CLUSTER_NAME_BYTES_MAX + CRC_BYTES;

/// The reason why bytes are not an identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LayoutError {
    /// Whole, but of another version.
    Version(u32),
    /// Not whole, or with impossible values.
    Damaged(&'static str),
}

pub(super) fn encode(identity: &Identity) -> Vec<u8> {
    let facts = &identity.facts;
    let pins = identity.pins.cpus();
    assert!(pins.is_empty() || pins.len() == usize::from(identity.cores));
    assert!(identity.cluster_name.len() <= CLUSTER_NAME_BYTES_MAX);
    let total =
        FIXED_BYTES + 2 * facts.founders.len() + 4 * pins.len() + identity.cluster_name.len() + CRC_BYTES;
    assert!(total <= ID_BYTES_MAX);

    let mut out = Vec::with_capacity(total);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&ID_FORMAT_VERSION.to_le_bytes());
    out.extend_from_slice(&(total as u32).to_le_bytes());
    out.extend_from_slice(&facts.cluster.get().to_le_bytes());
    out.extend_from_slice(&identity.incarnation.get().to_le_bytes());
    out.extend_from_slice(&identity.node.get().to_le_bytes());
    out.extend_from_slice(&identity.cores.to_le_bytes());
    out.extend_from_slice(&facts.group_count.to_le_bytes());
    out.push(facts.hash.code());
    out.push(DURABILITY_SYNC);
    out.extend_from_slice(&facts.lease_ms.to_le_bytes());
    out.extend_from_slice(&facts.drift_ms.to_le_bytes());
    out.extend_from_slice(&facts.hash64().to_le_bytes());
    // The counts are at most MEMBER_COUNT_MAX, CORE_COUNT_MAX and CLUSTER_NAME_BYTES_MAX: they fit.
    out.extend_from_slice(&(facts.founders.len() as u16).to_le_bytes());
    out.extend_from_slice(&(pins.len() as u16).to_le_bytes());
    out.extend_from_slice(&(identity.cluster_name.len() as u16).to_le_bytes());
    out.extend_from_slice(&0_u16.to_le_bytes());
    assert_eq!(out.len(), FIXED_BYTES);
    for node in &facts.founders {
        out.extend_from_slice(&node.get().to_le_bytes());
    }
    for cpu in pins {
        out.extend_from_slice(&cpu.to_le_bytes());
    }
    out.extend_from_slice(identity.cluster_name.as_bytes());
    let crc = synod_types::checksum::crc32c(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    assert_eq!(out.len(), total);
    out
}

pub(super) fn decode(bytes: &[u8]) -> Result<Identity, LayoutError> {
    use LayoutError::Damaged;
    let mut reader = FieldReader { bytes: checked_body(bytes)? };
    reader.skip(16);
    let short = Damaged("it is shorter than its counts say");
    let cluster = ClusterId::new(reader.u128().ok_or(short.clone())?);
    let incarnation = Incarnation::new(reader.u128().ok_or(short.clone())?);
    let node = NodeId::new(reader.u16().ok_or(short.clone())?);
    let cores = reader.u16().ok_or(short.clone())?;
    let group_count = reader.u16().ok_or(short.clone())?;
    let [hash, durability] = reader.take().ok_or(short.clone())?;
    let lease_ms = reader.u32().ok_or(short.clone())?;
    let drift_ms = reader.u32().ok_or(short.clone())?;
    let facts_hash = reader.u64().ok_or(short.clone())?;
    let founder_count = usize::from(reader.u16().ok_or(short.clone())?);
    let pin_count = usize::from(reader.u16().ok_or(short.clone())?);
    let name_bytes = usize::from(reader.u16().ok_or(short.clone())?);
    let reserved = reader.u16().ok_or(short.clone())?;

    if !group_count.is_power_of_two() || group_count > GROUP_COUNT_MAX {
        return Err(Damaged("its group count is not valid"));
    }
    if cores == 0 || cores > CORE_COUNT_MAX {
        return Err(Damaged("its core count is not valid"));
    }
    if founder_count == 0 || founder_count > MEMBER_COUNT_MAX {
        return Err(Damaged("its member count is not valid"));
    }
    if pin_count != 0 && pin_count != usize::from(cores) {
        return Err(Damaged("its pins do not match its cores"));
    }
    if reserved != 0 || durability != DURABILITY_SYNC {
        return Err(Damaged("it holds a value that this version never writes"));
    }
    let hash = KeyHash::from_code(hash).ok_or(Damaged("its key hash is not known"))?;

    let mut founders = Vec::with_capacity(founder_count);
    for _ in 0..founder_count {
        founders.push(NodeId::new(reader.u16().ok_or(short.clone())?));
    }
    let mut cpus = Vec::with_capacity(pin_count);
    for _ in 0..pin_count {
        cpus.push(reader.u32().ok_or(short.clone())?);
    }
    if reader.bytes.len() != name_bytes {
        return Err(Damaged("its length is not that of its parts"));
    }
    let cluster_name = std::str::from_utf8(reader.bytes).map_err(|_| Damaged("its name is not text"))?;
    if !founders.windows(2).all(|pair| pair[0] < pair[1]) || !founders.contains(&node) {
        return Err(Damaged("its members are not in order, or its own node is not one of them"));
    }
    let facts = ClusterFacts { cluster, group_count, hash, lease_ms, drift_ms, founders };
    if facts.hash64() != facts_hash {
        return Err(Damaged("the hash of its facts is not the one it holds"));
    }
    let pins = if cpus.is_empty() { Pins::None } else { Pins::Cpus(cpus) };
    Ok(Identity { facts, cluster_name: cluster_name.to_owned(), node, incarnation, cores, pins })
}

/// Checks magic, length, checksum and version, and returns the bytes before the checksum.
fn checked_body(bytes: &[u8]) -> Result<&[u8], LayoutError> {
    use LayoutError::{Damaged, Version};
    let mut head = FieldReader { bytes };
    if head.take::<8>() != Some(*MAGIC) {
        return Err(Damaged("it does not begin like a synod.id file"));
    }
    let (Some(version), Some(total)) = (head.u32(), head.u32()) else {
        return Err(Damaged("it is cut short"));
    };
    if total as usize != bytes.len() || bytes.len() < 16 + CRC_BYTES {
        return Err(Damaged("it is not as long as it says"));
    }
    let (body, mut crc) =
        (&bytes[..bytes.len() - CRC_BYTES], FieldReader { bytes: &bytes[bytes.len() - CRC_BYTES..] });
    if crc.u32() != Some(synod_types::checksum::crc32c(body)) {
        return Err(Damaged("its checksum is wrong"));
    }
    match version {
        0 => Err(Damaged("its version is 0")),
        ID_FORMAT_VERSION => Ok(body),
        other => Err(Version(other)),
    }
}

/// Takes integers off the front of a byte slice; `None` if there are too few bytes.
pub(super) struct FieldReader<'a> {
    pub(super) bytes: &'a [u8],
}

impl FieldReader<'_> {
    pub(super) fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.bytes.split_first_chunk::<N>()?;
        self.bytes = rest;
        Some(*first)
    }
    fn skip(&mut self, count: usize) {
        self.bytes = self.bytes.get(count..).unwrap_or_default();
    }
    pub(super) fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }
    pub(super) fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }
    pub(super) fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }
    pub(super) fn u128(&mut self) -> Option<u128> {
        self.take().map(u128::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn identity() -> Identity {
        Identity {
            facts: ClusterFacts {
                cluster: ClusterId::new(0x1234_5678),
                group_count: 16,
                hash: KeyHash::Crc16,
                lease_ms: 300,
                drift_ms: 10,
                founders: vec![NodeId::new(1), NodeId::new(2), NodeId::new(3)],
            },
            cluster_name: "demo".into(),
            node: NodeId::new(2),
            incarnation: Incarnation::new(99),
            cores: 2,
            pins: Pins::Cpus(vec![0, 3]),
        }
    }

    #[test]
    fn an_identity_survives_its_bytes() {
        let pinned = identity();
        assert_eq!(decode(&encode(&pinned)), Ok(pinned.clone()));
        let free = Identity { pins: Pins::None, cluster_name: String::new(), ..pinned };
        assert_eq!(decode(&encode(&free)), Ok(free));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let good = encode(&identity());
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(decode(&bad), Err(LayoutError::Damaged(_))), "bit {bit}");
        }
        for len in 0..good.len() {
            assert!(decode(&good[..len]).is_err(), "cut to {len}");
        }
    }

    #[test]
    fn another_version_is_told_from_damage() {
        let mut newer = encode(&identity());
        newer[8] = 3;
        newer.splice(80..80, *b"something that version 3 added");
        let total = newer.len() as u32;
        newer[12..16].copy_from_slice(&total.to_le_bytes());
        reseal(&mut newer);
        assert_eq!(decode(&newer), Err(LayoutError::Version(3)));
        let mut older = encode(&identity());
        older[8] = 1;
        reseal(&mut older);
        assert_eq!(decode(&older), Err(LayoutError::Version(1)));
    }

    #[test]
    fn a_sealed_file_with_impossible_facts_is_damaged_not_a_panic() {
        for (at, value) in
            [(48, 9), (50, 0), (52, 3), (54, 9), (55, 2), (72, 0), (72, 200), (74, 1), (76, 1), (78, 1)]
        {
            let mut bad = encode(&identity());
            bad[at] = value;
            reseal(&mut bad);
            assert!(matches!(decode(&bad), Err(LayoutError::Damaged(_))), "byte {at} = {value}");
        }
    }

    fn reseal(bytes: &mut [u8]) {
        let body = bytes.len() - CRC_BYTES;
        let crc = synod_types::checksum::crc32c(&bytes[..body]);
        bytes[body..].copy_from_slice(&crc.to_le_bytes());
    }

    proptest! {
        #[test]
        fn arbitrary_sealed_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 20..200)) {
            let total = bytes.len() as u32;
            bytes[..8].copy_from_slice(MAGIC);
            bytes[8..12].copy_from_slice(&ID_FORMAT_VERSION.to_le_bytes());
            bytes[12..16].copy_from_slice(&total.to_le_bytes());
            reseal(&mut bytes);
            let _ = decode(&bytes);
        }
    }
}
