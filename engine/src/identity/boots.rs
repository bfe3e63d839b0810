//! `boots`: counts the starts of this node's process, so that messages of this start can be told from those
//! of an earlier start or of an old copy of this directory (P-21).
//!
//! ```text
//!   two slots of 4096 bytes (see `slots`)
//!   0  magic "SYNOD-BT" │ 8  version u32 = 2 │ 12  zeros u32 │ 16  incarnation u128
//!  32  counter u64      │ 40  random u64     │ 48  crc32c u32 of everything before it │ zeros
//! ```
//! The slot with the higher counter is valid. An unreadable slot may have held the next number, so that
//! number is skipped and both slots are rewritten.

use super::layout::FieldReader;
use super::slots::{self, PAGE_BYTES};
use crate::refusal::Refusal;
use std::io::ErrorKind;
use std::path::Path;
use synod_types::{Boot, Incarnation};

/// The name of the file in the data directory.
pub(super) const BOOTS_FILE: &str = "boots";
const MAGIC: &[u8; 8] = b"SYNOD-BT";
const VERSION: u32 = 2;
const BODY_BYTES: usize = 48;

/// Creates the file of a node that was never started, for `format`.
pub(super) fn create(dir: &Path, incarnation: Incarnation) -> Result<(), Refusal> {
    let never = Boot { counter: 0, random: 0 };
    slots::create(dir, BOOTS_FILE, PAGE_BYTES, never.counter, &encode(incarnation, never))
}

/// Counts a start, durably when this returns. `random` is a fresh random number for it.
///
/// # Errors
/// The file is missing, damaged or that of another node, or cannot be written.
pub(super) fn begin(dir: &Path, incarnation: Incarnation, random: u64) -> Result<Boot, Refusal> {
    let path = dir.join(BOOTS_FILE);
    let damaged = |why: &str| Refusal::Damaged { path: path.clone(), why: why.to_owned() };
    let bytes = std::fs::read(&path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => damaged("it is missing"),
        _ => Refusal::io("read", &path, &error),
    })?;
    let slots = slots::split(&bytes).filter(|[slot, _]| slot.len() == PAGE_BYTES);
    let slots = slots.ok_or_else(|| damaged("it has another length"))?;
    let (mut highest, mut unreadable) = (None, None);
    for slot in slots {
        match decode(slot, incarnation) {
            BootSlot::Counts(counter) => highest = highest.max(Some(counter)),
            BootSlot::Blank => {}
            BootSlot::Unreadable(why) => unreadable = Some(why),
            BootSlot::Version(found) => return Err(Refusal::Format { path, found, known: VERSION }),
        }
    }
    let Some(highest) = highest else { return Err(damaged(unreadable.unwrap_or("it is blank"))) };
    // The first step is odd: the slot of the highest counter is written last.
    let steps = if unreadable.is_some() { &[3, 4][..] } else { &[1] };
    let mut boot = Boot { counter: highest, random };
    for step in steps {
        let counter = highest.checked_add(*step).ok_or_else(|| damaged("it has counted to the end"))?;
        boot.counter = counter;
        slots::write(&path, PAGE_BYTES, counter, &encode(incarnation, boot))?;
    }
    Ok(boot)
}

/// The content of a slot.
enum BootSlot {
    Counts(u64),
    Blank,
    Unreadable(&'static str),
    Version(u32),
}

fn encode(incarnation: Incarnation, boot: Boot) -> Vec<u8> {
    let mut out = Vec::with_capacity(BODY_BYTES + 4);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&incarnation.get().to_le_bytes());
    out.extend_from_slice(&boot.counter.to_le_bytes());
    out.extend_from_slice(&boot.random.to_le_bytes());
    assert_eq!(out.len(), BODY_BYTES);
    let crc = synod_types::checksum::crc32c(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

fn decode(slot: &[u8], incarnation: Incarnation) -> BootSlot {
    if slot.iter().all(|&byte| byte == 0) {
        return BootSlot::Blank;
    }
    let mut reader = FieldReader { bytes: slot };
    let magic = reader.take::<8>();
    let (version, _, of, counter) = (reader.u32(), reader.u32(), reader.u128(), reader.u64());
    let _random = reader.u64();
    let (Some(version), Some(of), Some(counter), Some(crc)) = (version, of, counter, reader.u32()) else {
        return BootSlot::Unreadable("it is cut short");
    };
    if magic != Some(*MAGIC) || crc != synod_types::checksum::crc32c(&slot[..BODY_BYTES]) {
        return BootSlot::Unreadable("its checksum is wrong");
    }
    if version != VERSION {
        return BootSlot::Version(version);
    }
    if of != incarnation.get() {
        return BootSlot::Unreadable("it belongs to another node");
    }
    BootSlot::Counts(counter)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    const LIFE: Incarnation = Incarnation::new(7);

    fn made() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        create(dir.path(), LIFE).unwrap();
        let file = dir.path().join(BOOTS_FILE);
        (dir, file)
    }

    fn why(result: Result<Boot, Refusal>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn starts_are_counted() {
        let (dir, file) = made();
        for counter in 1..=5 {
            let boot = Boot { counter, random: counter * 3 };
            assert_eq!(begin(dir.path(), LIFE, counter * 3), Ok(boot));
            assert_eq!(std::fs::metadata(&file).unwrap().len(), 8192, "in place");
        }
    }

    #[test]
    fn a_number_that_may_have_been_used_is_never_used_again() {
        for slot in 0..2 {
            for byte in 0..BODY_BYTES + 4 {
                let (dir, file) = made();
                for counter in 1..=4 {
                    begin(dir.path(), LIFE, counter).unwrap();
                }
                let mut bytes = std::fs::read(&file).unwrap();
                bytes[slot * PAGE_BYTES + byte] ^= 0x10;
                std::fs::write(&file, &bytes).unwrap();
                let boot = begin(dir.path(), LIFE, 9).unwrap();
                assert!(boot.counter > 5, "slot {slot}, byte {byte}: {boot:?}");
                // Both slots are sound again, so either may be damaged next.
                for again in 0..2 {
                    let mut bytes = std::fs::read(&file).unwrap();
                    bytes[again * PAGE_BYTES + byte] ^= 0x10;
                    let counts = slots::split(&bytes).unwrap().map(|slot| decode(slot, LIFE));
                    let sound = counts
                        .iter()
                        .filter(|slot| matches!(slot, BootSlot::Counts(at) if at + 1 >= boot.counter));
                    assert_eq!(sound.count(), 1, "slot {slot}, byte {byte}, then {again}");
                }
            }
        }
    }

    #[test]
    fn what_does_not_tell_the_count_is_refused() {
        let (dir, file) = made();
        begin(dir.path(), LIFE, 1).unwrap();
        let good = std::fs::read(&file).unwrap();
        assert!(why(begin(dir.path(), Incarnation::new(8), 1)).contains("it belongs to another node"));
        std::fs::write(&file, &good[..8191]).unwrap();
        assert!(why(begin(dir.path(), LIFE, 1)).contains("boots is damaged (it has another length)"));
        std::fs::write(&file, vec![0; 8192]).unwrap();
        assert!(why(begin(dir.path(), LIFE, 1)).contains("it is blank"));
        let mut later = good.clone();
        later[PAGE_BYTES + 8] = 3;
        let crc = synod_types::checksum::crc32c(&later[PAGE_BYTES..][..BODY_BYTES]);
        later[PAGE_BYTES + BODY_BYTES..][..4].copy_from_slice(&crc.to_le_bytes());
        std::fs::write(&file, later).unwrap();
        assert!(why(begin(dir.path(), LIFE, 1)).contains("format version 3"));
        std::fs::remove_file(&file).unwrap();
        assert!(why(begin(dir.path(), LIFE, 1)).contains("boots is damaged (it is missing)"));
    }
}
