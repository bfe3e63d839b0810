//! `peers.id`: the incarnation of every other node that this node has met, stored durably.
//!
//! A node whose disk was wiped and formatted again has forgotten its promises; under the same id it could
//! vote twice. So a known node that presents another incarnation is refused, and this memory must survive a
//! restart.
//!
//! ```text
//!   0  magic "SYNOD-PB" │ 8  version u32 = 2 │ 12  count u32 │ 16  own cluster u128
//!  32  entries, ascending by node:
//!        node u16, reserved u16 = 0, reserved u32 = 0, incarnation u128 (24 bytes each)
//!      crc32c u32 of everything before it
//! ```

use super::durable;
use super::layout::FieldReader;
use crate::refusal::Refusal;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use synod_types::{ClusterId, Incarnation, NodeId};

/// The name of the file in the data directory.
pub(super) const PEERS_FILE: &str = "peers.id";
const MAGIC: &[u8; 8] = b"SYNOD-PB";
const VERSION: u32 = 2;
const HEAD_BYTES: usize = 32;
const ENTRY_BYTES: usize = 24;
/// A bound on the nodes that this node can meet over the whole life of the cluster.
const PEER_COUNT_MAX: usize = 4096;

/// The known incarnations, shared by all cores of the process.
#[derive(Debug)]
pub struct PeerBook {
    dir: PathBuf,
    cluster: ClusterId,
    /// Locked while the file is written: of two cores that learn at the same time, neither may be lost.
    known: Mutex<BTreeMap<NodeId, Incarnation>>,
}

impl PeerBook {
    /// Reads the book of the data directory `dir`. A missing or damaged book is refused: without it a wiped
    /// peer would be accepted.
    pub fn load(dir: &Path, cluster: ClusterId) -> Result<Self, Refusal> {
        let path = dir.join(PEERS_FILE);
        let damaged = |why: &str| Refusal::Damaged { path: path.clone(), why: why.to_owned() };
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(damaged("it is missing"));
            }
            Err(error) => return Err(Refusal::io("read", path, &error)),
        };
        let known = decode(&bytes, cluster).map_err(|problem| match problem {
            PeerBookError::Version(found) => Refusal::Format { path: path.clone(), found, known: VERSION },
            PeerBookError::Damaged(why) => damaged(why),
        })?;
        Ok(Self { dir: dir.to_owned(), cluster, known: Mutex::new(known) })
    }

    /// Creates an empty book on disk, for `format`.
    pub(super) fn create(dir: &Path, cluster: ClusterId) -> Result<(), Refusal> {
        durable::replace_file(dir, PEERS_FILE, &encode(cluster, &BTreeMap::new()))
    }

    /// Accepts `node` with `incarnation` if it is known with that incarnation, or unknown. An unknown node is
    /// remembered on disk when this returns.
    ///
    /// Blocks on a flush the first time a node is met: call it from a thread that may block.
    pub fn check_or_learn(&self, node: NodeId, incarnation: Incarnation) -> Result<(), Refusal> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(&remembered) = known.get(&node) {
            return if remembered == incarnation {
                Ok(())
            } else {
                Err(Refusal::OtherIncarnation { node, known: remembered, presented: incarnation })
            };
        }
        if known.len() >= PEER_COUNT_MAX {
            return Err(Refusal::Usage(format!(
                "{} already remembers {PEER_COUNT_MAX} nodes and {node} is not one of them",
                self.dir.join(PEERS_FILE).display()
            )));
        }
        let mut learned = known.clone();
        learned.insert(node, incarnation);
        durable::replace_file(&self.dir, PEERS_FILE, &encode(self.cluster, &learned))?;
        *known = learned;
        Ok(())
    }

    /// The known incarnation of `node`.
    pub fn get(&self, node: NodeId) -> Option<Incarnation> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&node).copied()
    }
}

fn encode(cluster: ClusterId, known: &BTreeMap<NodeId, Incarnation>) -> Vec<u8> {
    assert!(known.len() <= PEER_COUNT_MAX);
    let mut out = Vec::with_capacity(HEAD_BYTES + ENTRY_BYTES * known.len() + 4);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&(known.len() as u32).to_le_bytes());
    out.extend_from_slice(&cluster.get().to_le_bytes());
    assert_eq!(out.len(), HEAD_BYTES);
    for (node, incarnation) in known {
        out.extend_from_slice(&node.get().to_le_bytes());
        out.extend_from_slice(&[0; 6]);
        out.extend_from_slice(&incarnation.get().to_le_bytes());
    }
    let crc = synod_types::checksum::crc32c(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

#[derive(Debug, PartialEq, Eq)]
enum PeerBookError {
    Version(u32),
    Damaged(&'static str),
}

fn decode(bytes: &[u8], cluster: ClusterId) -> Result<BTreeMap<NodeId, Incarnation>, PeerBookError> {
    use PeerBookError::{Damaged, Version};
    let Some((body, crc)) = bytes.split_last_chunk::<4>() else {
        return Err(Damaged("it is cut short"));
    };
    let mut reader = FieldReader { bytes: body };
    if reader.take::<8>() != Some(*MAGIC) {
        return Err(Damaged("it does not begin like a peers.id file"));
    }
    if u32::from_le_bytes(*crc) != synod_types::checksum::crc32c(body) {
        return Err(Damaged("its checksum is wrong"));
    }
    let (Some(version), Some(count), Some(own)) = (reader.u32(), reader.u32(), reader.u128()) else {
        return Err(Damaged("it is cut short"));
    };
    if version != VERSION {
        return Err(if version == 0 { Damaged("its version is 0") } else { Version(version) });
    }
    if own != cluster.get() {
        return Err(Damaged("it belongs to another cluster than synod.id"));
    }
    let count = count as usize;
    if count > PEER_COUNT_MAX || reader.bytes.len() != count * ENTRY_BYTES {
        return Err(Damaged("its length is not that of its entries"));
    }
    let mut known = BTreeMap::new();
    while let (Some(node), Some(_reserved), Some(incarnation)) =
        (reader.u16(), reader.take::<6>(), reader.u128())
    {
        if known.insert(NodeId::new(node), Incarnation::new(incarnation)).is_some() {
            return Err(Damaged("it names a node twice"));
        }
    }
    assert_eq!(known.len(), count);
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: ClusterId = ClusterId::new(5);

    #[test]
    fn a_peer_is_learned_once_and_another_incarnation_refused_even_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        PeerBook::create(dir.path(), CLUSTER).unwrap();
        let book = PeerBook::load(dir.path(), CLUSTER).unwrap();
        let node = NodeId::new(2);
        assert_eq!(book.get(node), None);
        book.check_or_learn(node, Incarnation::new(7)).unwrap();
        book.check_or_learn(node, Incarnation::new(7)).unwrap();
        book.check_or_learn(NodeId::new(3), Incarnation::new(8)).unwrap();
        drop(book);

        let book = PeerBook::load(dir.path(), CLUSTER).unwrap();
        assert_eq!(book.get(node), Some(Incarnation::new(7)));
        let refusal = book.check_or_learn(node, Incarnation::new(9)).unwrap_err();
        let (known, presented) = (Incarnation::new(7), Incarnation::new(9));
        assert_eq!(refusal, Refusal::OtherIncarnation { node, known, presented });
        let sentence = refusal.to_string();
        assert!(sentence.contains("n2") && sentence.contains("must come back as a new node"), "{sentence}");
        assert_eq!(book.get(node), Some(Incarnation::new(7)), "a refused incarnation is not learned");
    }

    #[test]
    fn a_missing_damaged_or_foreign_book_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let why = |dir: &Path| match PeerBook::load(dir, CLUSTER) {
            Err(Refusal::Damaged { why, .. }) => why,
            other => panic!("{other:?}"),
        };
        assert_eq!(why(dir.path()), "it is missing");
        PeerBook::create(dir.path(), ClusterId::new(6)).unwrap();
        assert_eq!(why(dir.path()), "it belongs to another cluster than synod.id");

        PeerBook::create(dir.path(), CLUSTER).unwrap();
        let path = dir.path().join(PEERS_FILE);
        let good = std::fs::read(&path).unwrap();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&bad, CLUSTER).is_err(), "bit {bit}");
        }
        for len in 0..good.len() {
            assert!(decode(&good[..len], CLUSTER).is_err(), "cut to {len}");
        }
    }
}
