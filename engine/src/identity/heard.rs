//! `peers.heard`: how far the logs of other nodes were known to be durable, so that an old copy of one of them, put back in its place,
//! is told so when it comes (P-20).
//!
//! ```text
//!   two slots, as long as need be (see `slots`); the one with the higher sequence counts
//!   0  magic "SYNOD-HB" │ 8  version u32 = 2 │ 12  count u32 │ 16  own cluster u128 │ 32  sequence u64
//!  40  entries, ascending by node and core:
//!        node u16, core u16, block checksum u32, incarnation u128, block number u64 (32 bytes each)
//!      crc32c u32 of everything before it │ zeros
//! ```
//! What is heard is written down every few seconds, by one core for all. A book that is not there or cannot be read knows nothing:
//! that costs a warning that might have been given, and no promise of this node's own.

use super::layout::Reader;
use super::slots::{self, PAGE_BYTES};
use crate::refusal::Refusal;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use synod_types::{ClusterId, CoreId, Incarnation, LogPosition, NodeId};

/// The file, in the data directory.
pub(super) const HEARD_FILE: &str = "peers.heard";
const MAGIC: &[u8; 8] = b"SYNOD-HB";
const VERSION: u32 = 2;
const HEAD_BYTES: usize = 40;
const ENTRY_BYTES: usize = 32;

type Heard = BTreeMap<(NodeId, CoreId), (Incarnation, LogPosition)>;

#[derive(Debug, Default)]
struct Held {
    heard: Heard,
    has_changed: bool,
}

/// How the file is.
#[derive(Debug, Default)]
struct Written {
    /// Of what was written last.
    sequence: u64,
    /// 0 while there is none that can be gone on with.
    slot_bytes: usize,
}

/// What was heard of other nodes' logs, shared by all cores of the process.
#[derive(Debug)]
pub struct HeardBook {
    dir: PathBuf,
    cluster: ClusterId,
    held: Mutex<Held>,
    /// Held while it is written; taken before `held`.
    written: Mutex<Written>,
}

impl HeardBook {
    /// Reads the book of the data directory `dir`; says what is wrong with one that cannot be read, which knows nothing then.
    pub fn load(dir: &Path, cluster: ClusterId) -> (Self, Option<String>) {
        let path = dir.join(HEARD_FILE);
        let nothing = || (Heard::new(), Written::default());
        let ((heard, written), wrong) = match std::fs::read(&path) {
            Ok(bytes) => match latest(&bytes, cluster) {
                Ok((sequence, heard)) => ((heard, Written { sequence, slot_bytes: bytes.len() / 2 }), None),
                Err(why) => (nothing(), Some(format!("{} is damaged ({why})", path.display()))),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => (nothing(), None),
            Err(error) => (nothing(), Some(format!("cannot read {}: {error}", path.display()))),
        };
        let (held, written) = (Mutex::new(Held { heard, has_changed: false }), Mutex::new(written));
        (Self { dir: dir.to_owned(), cluster, held, written }, wrong)
    }

    /// What is known of the log of a core of `node`; the beginning of a log if nothing is.
    pub fn about(&self, node: NodeId, incarnation: Incarnation, core: CoreId) -> LogPosition {
        match self.lock().heard.get(&(node, core)) {
            Some(&(of, position)) if of == incarnation => position,
            _ => LogPosition::default(),
        }
    }

    /// Takes note of what a node said of its log, on a link where the last word about that was `last` (what it was told when the link
    /// began, or what it then said). False if it does not go on from there: it is behind, or another one has said something since. It
    /// is to link anew, and to be told.
    pub fn hear(
        &self,
        node: NodeId,
        incarnation: Incarnation,
        core: CoreId,
        last: LogPosition,
        position: LogPosition,
    ) -> bool {
        let mut held = self.lock();
        let known = match held.heard.get(&(node, core)) {
            Some(&(of, known)) if of == incarnation => known,
            _ => LogPosition::default(),
        };
        if known == position {
            return true;
        }
        if known != last || position.sequence <= known.sequence {
            return false;
        }
        held.heard.insert((node, core), (incarnation, position));
        held.has_changed = true;
        true
    }

    /// Makes what was heard durable, if it has changed. Blocks on a flush.
    ///
    /// # Errors
    /// It cannot be written; it is tried again the next time.
    pub fn flush(&self) -> Result<(), Refusal> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let sequence = written.sequence + 1;
        let bytes = {
            let mut held = self.lock();
            if !held.has_changed {
                return Ok(());
            }
            held.has_changed = false;
            encode(self.cluster, sequence, &held.heard)
        };
        let slot_bytes = bytes.len().next_multiple_of(PAGE_BYTES);
        let result = if slot_bytes <= written.slot_bytes {
            slots::write(&self.dir.join(HEARD_FILE), written.slot_bytes, sequence, &bytes)
        } else {
            slots::create(&self.dir, HEARD_FILE, slot_bytes, sequence, &bytes)
        };
        match result {
            Ok(()) => *written = Written { sequence, slot_bytes: slot_bytes.max(written.slot_bytes) },
            Err(_) => {
                // Tried again, and as a new file: this one may have been taken away.
                written.slot_bytes = 0;
                self.lock().has_changed = true;
            }
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn encode(cluster: ClusterId, sequence: u64, heard: &Heard) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD_BYTES + ENTRY_BYTES * heard.len() + 4);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&(heard.len() as u32).to_le_bytes()); // nodes times cores
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

/// What the slot that was written last says, and its sequence. A slot that cannot be read was being written when the power went.
fn latest(bytes: &[u8], cluster: ClusterId) -> Result<(u64, Heard), &'static str> {
    let slots = slots::split(bytes).ok_or("it has another length")?;
    let [first, second] = slots.map(|slot| decode(slot, cluster));
    match (first, second) {
        (Ok(first), Ok(second)) => Ok(if first.0 > second.0 { first } else { second }),
        (Ok(only), Err(_)) | (Err(_), Ok(only)) => Ok(only),
        // Zeros were never written.
        (Err(first), Err(_)) if slots[1].iter().all(|&byte| byte == 0) => Err(first),
        (Err(_), Err(second)) => Err(second),
    }
}

fn decode(slot: &[u8], cluster: ClusterId) -> Result<(u64, Heard), &'static str> {
    let mut reader = Reader { bytes: slot };
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
        // Two that claim to be the same node, each on a link of its own: the second to speak is told of the first.
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
        // More than fits: the file grows.
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
