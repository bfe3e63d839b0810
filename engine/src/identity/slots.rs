//! A small file of two slots of equal size, written in turns and in place. After any crash the slot written
//! before the last one is whole. A full disk still has room for it. A flush writes only the slot's own bytes,
//! and not the metadata of a new name or a new length.

use super::durable;
use crate::refusal::Refusal;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Slots are whole pages: a torn write of one leaves the other as it is.
pub(super) const PAGE_BYTES: usize = 4096;
const SLOTS: u64 = 2;

/// Creates the file `dir/name` with slots of `slot_bytes`, a multiple of a page, replacing an existing one.
/// The slot of turn `number` holds `bytes`, the other slot holds zeros.
pub(super) fn create(
    dir: &Path,
    name: &str,
    slot_bytes: usize,
    number: u64,
    bytes: &[u8],
) -> Result<(), Refusal> {
    let mut whole = vec![0; slot_bytes * SLOTS as usize];
    let at = place(slot_bytes, number);
    whole[at..at + bytes.len()].copy_from_slice(bytes);
    durable::replace_file(dir, name, &whole)
}

/// The two slots in the bytes of such a file; `None` if the length is wrong.
pub(super) fn split(whole: &[u8]) -> Option<[&[u8]; 2]> {
    let is_sound = !whole.is_empty() && whole.len().is_multiple_of(PAGE_BYTES * SLOTS as usize);
    is_sound.then(|| whole.split_at(whole.len() / 2).into())
}

/// Writes `bytes`, padded with zeros, into the slot of turn `number`, durably when this returns.
pub(super) fn write(path: &Path, slot_bytes: usize, number: u64, bytes: &[u8]) -> Result<(), Refusal> {
    let mut slot = bytes.to_vec();
    slot.resize(slot_bytes, 0);
    let write = || {
        let file = OpenOptions::new().write(true).open(path)?;
        file.write_all_at(&slot, place(slot_bytes, number) as u64)?;
        file.sync_data()
    };
    write().map_err(|error| Refusal::io("write", path, &error))
}

fn place(slot_bytes: usize, number: u64) -> usize {
    (number % SLOTS) as usize * slot_bytes
}
