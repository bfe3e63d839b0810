//! `peers.heard`: how far the logs of other nodes were known to be durable. If an old copy of another node's
//! data directory is put back, that node is told so when it connects (P-20).
//!
//! ```text
//!   two slots, each as long as its content needs (see `slots`); the one with the higher sequence counts
//!   0  magic "SYNOD-HB" │ 8  version u32 = 2 │ 12  count u32 │ 16  own cluster u128 │ 32  sequence u64
//!  40  entries, ascending by node and core:
//!        node u16, core u16, block checksum u32, incarnation u128, block number u64 (32 bytes each)
//!      crc32c u32 of everything before it │ zeros
//! ```
//! One core writes the book for all cores, every few seconds. A book that is missing or unreadable knows
//! nothing: that may lose a warning, but breaks no promise of this node.

use super::layout::FieldReader;
use super::slots::{self, PAGE_BYTES};
use crate::refusal::Refusal;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use synod_types::{ClusterId, CoreId, Incarnation, LogPosition, NodeId};

/// The name of the file in the data directory.
pub(super) const HEARD_FILE: &str = "peers.heard";
const MAGIC: &[u8; 8] = b"SYNOD-HB";
const VERSION: u32 = 2;
const HEAD_BYTES: usize = 40;
const ENTRY_BYTES: usize = 32;

type Heard = BTreeMap<(NodeId, CoreId), (Incarnation, LogPosition)>;

#[derive(Debug, Default)]
struct HeardState {
    heard: Heard,
    has_changed: bool,
}

/// The state of the file.
#[derive(Debug, Default)]
struct FileState {
    /// The sequence number of the last write.
    sequence: u64,
    /// 0 while there is no file that can be overwritten in place.
    slot_bytes: usize,
}

/// The log positions that other nodes have reported, shared by all cores of the process.
#[derive(Debug)]
pub struct HeardBook {
    dir: PathBuf,
    cluster: ClusterId,
    state: Mutex<HeardState>,
    /// Locked during a write of the file. It is taken before `state`.
    file: Mutex<FileState>,
}

impl HeardBook {
    /// Reads the book of the data directory `dir`. An unreadable book is returned empty, with a description
    /// of the fault.
    pub fn load(dir: &Path, cluster: ClusterId) -> (Self, Option<String>) {
        let path = dir.join(HEARD_FILE);
        let nothing = || (Heard::new(), FileState::default());
        let ((heard, file), wrong) = match std::fs::read(&path) {
            Ok(bytes) => match latest(&bytes, cluster) {
                Ok((sequence, heard)) => ((heard, FileState { sequence, slot_bytes: bytes.len() / 2 }), None),
                Err(why) => (nothing(), Some(format!("{} is damaged ({why})", path.display()))),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => (nothing(), None),
            Err(error) => (nothing(), Some(format!("cannot read {}: {error}", path.display()))),
        };
        let (state, file) = (Mutex::new(HeardState { heard, has_changed: false }), Mutex::new(file));
        (Self { dir: dir.to_owned(), cluster, state, file }, wrong)
    }

    /// The last known position of the log of a core of `node`; the beginning of a log if none is known.
    pub fn about(&self, node: NodeId, incarnation: Incarnation, core: CoreId) -> LogPosition {
        match self.lock().heard.get(&(node, core)) {
            Some(&(of, position)) if of == incarnation => position,
            _ => LogPosition::default(),
        }
    }

    /// Notes the log position that a node reports. `last` is the previous position on the same link: the one
    /// the node was told when the link began, or the one it reported after that. Returns false if the report
    /// does not continue from `last`: the node is behind, or another process has reported for the same node
    /// since. That node must link anew and be told the known position.
    pub fn hear(
        &self,
        node: NodeId,
        incarnation: Incarnation,
        core: CoreId,
        last: LogPosition,
        position: LogPosition,
    ) -> bool {
        let mut state = self.lock();
        let known = match state.heard.get(&(node, core)) {
            Some(&(of, known)) if of == incarnation => known,
            _ => LogPosition::default(),
        };
        if known == position {
            return true;
        }
        if known != last || position.sequence <= known.sequence {
            return false;
        }
        state.heard.insert((node, core), (incarnation, position));
        state.has_changed = true;
        true
    }

    /// Makes the book durable, if it has changed. Blocks on a flush.
    ///
    /// # Errors
    /// The file cannot be written; the next call tries again.
    pub fn flush(&self) -> Result<(), Refusal> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let sequence = file.sequence + 1;
        let bytes = {
            let mut state = self.lock();
            if !state.has_changed {
                return Ok(());
            }
            state.has_changed = false;
            encode(self.cluster, sequence, &state.heard)
        };
        let slot_bytes = bytes.len().next_multiple_of(PAGE_BYTES);
        let result = if slot_bytes <= file.slot_bytes {
            slots::write(&self.dir.join(HEARD_FILE), file.slot_bytes, sequence, &bytes)
        } else {
            slots::create(&self.dir, HEARD_FILE, slot_bytes, sequence, &bytes)
        };
        match result {
            Ok(()) => *file = FileState { sequence, slot_bytes: slot_bytes.max(file.slot_bytes) },
            Err(_) => {
                // The next attempt makes a new file, because this one may have been removed.
                file.slot_bytes = 0;
                self.lock().has_changed = true;
            }
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, HeardState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn encode(cluster: ClusterId, sequence: u64, heard: &Heard) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD_BYTES + ENTRY_BYTES * heard.len() + 4);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&(heard.len() as u32).to_le_bytes()); // at most nodes times cores
    out.extend_from_slice(&cluster.get().to_le_bytes());
    out.extend_from_slice(&sequence.to_le_bytes());
    assert_eq!(out.len(), HEAD_BYTES);
    for ((node, core), (incarnation, position)) in heard {
        out.extend_from_slice(&node.get().to_le_bytes());
        out.extend_from_slice(&core.get().to_le_bytes());
        out.extend_from_slice(&position.crc.to_le_bytes());
        out.extend_from_slice(&incarnation.get().to_le_bytes());
        out.extend_from_slice(&position.sequence.to_le_bytes());
    }
    let crc = synod_types::checksum::crc32c(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

/// The content and the sequence number of the slot that was written last. A slot that cannot be read was
/// being written when the power failed.
fn latest(bytes: &[u8], cluster: ClusterId) -> Result<(u64, Heard), &'static str> {
    let slots = slots::split(bytes).ok_or("it has another length")?;
    let [first, second] = slots.map(|slot| decode(slot, cluster));
    match (first, second) {
        (Ok(first), Ok(second)) => Ok(if first.0 > second.0 { first } else { second }),
        (Ok(only), Err(_)) | (Err(_), Ok(only)) => Ok(only),
        // A slot of zeros was never written.
        (Err(first), Err(_)) if slots[1].iter().all(|&byte| byte == 0) => Err(first),
        (Err(_), Err(second)) => Err(second),
    }
}

fn decode(slot: &[u8], cluster: ClusterId) -> Result<(u64, Heard), &'static str> {
    let mut reader = FieldReader { bytes: slot };
    if reader.take::<8>() != Some(*MAGIC) {
        return Err("it does not begin like a peers.heard file");
    }
    let (version, count) = (reader.u32(), reader.u32());
    let (Some(version), Some(count)) = (version, count) else { return Err("it is cut short") };
    let body_bytes = (count as usize).saturating_mul(ENTRY_BYTES).saturating_add(HEAD_BYTES);
    let sum = slot.get(body_bytes..).and_then(<[u8]>::first_chunk).copied().map(u32::from_le_bytes);
    if sum.is_none_or(|sum| sum != synod_types::checksum::crc32c(&slot[..body_bytes])) {
        return Err("its checksum is wrong");
    }
    if version != VERSION {
        return Err("it has another version");
    }
    if reader.u128() != Some(cluster.get()) {
        return Err("it belongs to another cluster");
    }
    let sequence = reader.u64().ok_or("it is cut short")?;
    reader.bytes = &slot[HEAD_BYTES..body_bytes];
    let mut heard = Heard::new();
    while let (Some(node), Some(core), Some(crc), Some(incarnation), Some(block)) =
        (reader.u16(), reader.u16(), reader.u32(), reader.u128(), reader.u64())
    {
        let of = (NodeId::new(node), CoreId::new(core));
        heard.insert(of, (Incarnation::new(incarnation), LogPosition { sequence: block, crc }));
    }
    Ok((sequence, heard))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: ClusterId = ClusterId::new(5);
    const NODE: NodeId = NodeId::new(2);
    const LIFE: Incarnation = Incarnation::new(7);
    const CORE: CoreId = CoreId::new(1);

    fn at(sequence: u64) -> LogPosition {
        LogPosition { sequence, crc: sequence as u32 * 3 }
    }

    #[test]
    fn what_was_heard_last_is_known_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let load = || HeardBook::load(dir.path(), CLUSTER);
        let (book, wrong) = load();
        assert_eq!((book.about(NODE, LIFE, CORE), wrong), (LogPosition::default(), None));
        book.flush().unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is known");
        assert!(book.hear(NODE, LIFE, CORE, at(0), at(5)) && book.hear(NODE, LIFE, CORE, at(5), at(9)));
        assert!(book.hear(NODE, LIFE, CoreId::new(0), at(0), at(1)));
        book.flush().unwrap();
        assert!(book.hear(NODE, LIFE, CORE, at(9), at(10)), "not flushed");
        let (book, wrong) = load();
        assert_eq!((book.about(NODE, LIFE, CORE), wrong), (at(9), None));
        assert_eq!(book.about(NODE, LIFE, CoreId::new(0)), at(1));
        assert_eq!(book.about(NODE, Incarnation::new(8), CORE), LogPosition::default(), "another disk");
    }

    #[test]
    fn who_falls_behind_what_it_said_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let (book, _) = HeardBook::load(dir.path(), CLUSTER);
        assert!(book.hear(NODE, LIFE, CORE, at(0), at(9)) && book.hear(NODE, LIFE, CORE, at(9), at(9)));
        assert!(!book.hear(NODE, LIFE, CORE, at(9), at(8)));
        let other = LogPosition { sequence: 9, crc: 1 };
        assert!(!book.hear(NODE, LIFE, CORE, at(9), other), "another history");
        assert_eq!(book.about(NODE, LIFE, CORE), at(9));
        // Two processes claim to be the same node, each on its own link: the second to report is told of the
        // first.
        let (one, two) = (at(10), LogPosition { sequence: 11, crc: 1 });
        assert!(book.hear(NODE, LIFE, CORE, at(9), one));
        assert!(!book.hear(NODE, LIFE, CORE, at(9), two));
        assert_eq!(book.about(NODE, LIFE, CORE), one);
        assert!(book.hear(NODE, Incarnation::new(8), CORE, at(0), at(1)), "a new disk begins anew");
    }

    #[test]
    fn a_note_that_was_being_written_leaves_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let (book, _) = HeardBook::load(dir.path(), CLUSTER);
        let path = dir.path().join(HEARD_FILE);
        let mut last = at(0);
        for block in 1..=5 {
            assert!(book.hear(NODE, LIFE, CORE, last, at(block)));
            last = at(block);
            book.flush().unwrap();
            assert_eq!(std::fs::metadata(&path).unwrap().len(), 8192, "in place");
            let mut torn = std::fs::read(&path).unwrap();
            let slot = block as usize % 2 * PAGE_BYTES;
            torn[slot + 50] ^= 1;
            let known = latest(&torn, CLUSTER).ok().map(|(_, heard)| heard[&(NODE, CORE)].1);
            assert_eq!(known, (block > 1).then(|| at(block - 1)));
        }
        // More entries than fit: the file grows.
        for core in 0..200 {
            assert!(book.hear(NODE, LIFE, CoreId::new(core + 2), at(0), at(7)));
        }
        book.flush().unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 16384);
        let (book, wrong) = HeardBook::load(dir.path(), CLUSTER);
        assert_eq!((book.about(NODE, LIFE, CORE), wrong), (at(5), None));
        assert_eq!(book.about(NODE, LIFE, CoreId::new(201)), at(7));
        assert!(book.hear(NODE, LIFE, CORE, at(5), at(6)));
        book.flush().unwrap();
        assert_eq!(HeardBook::load(dir.path(), CLUSTER).0.about(NODE, LIFE, CORE), at(6));
    }

    #[test]
    fn a_damaged_or_foreign_book_knows_nothing_and_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let (book, _) = HeardBook::load(dir.path(), CLUSTER);
        assert!(book.hear(NODE, LIFE, CORE, at(0), at(9)));
        book.flush().unwrap();
        let good = std::fs::read(dir.path().join(HEARD_FILE)).unwrap();
        let used = HEAD_BYTES + ENTRY_BYTES + 4;
        let slot = &good[PAGE_BYTES..][..used];
        assert!(decode(slot, CLUSTER).is_ok());
        for bit in 0..used * 8 {
            let mut bad = good.clone();
            bad[PAGE_BYTES + bit / 8] ^= 1 << (bit % 8);
            assert!(latest(&bad, CLUSTER).is_err(), "bit {bit}");
        }
        for len in 0..used {
            assert!(decode(&slot[..len], CLUSTER).is_err(), "cut to {len}");
        }
        assert!((0..good.len()).all(|len| latest(&good[..len], CLUSTER).is_err()));
        let (book, wrong) = HeardBook::load(dir.path(), ClusterId::new(6));
        assert_eq!(book.about(NODE, LIFE, CORE), LogPosition::default());
        assert!(wrong.unwrap().contains("it belongs to another cluster"));
    }
}
