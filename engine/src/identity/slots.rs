//! A small file of two slots of equal size, written by turns and in place. After any crash the slot that was written before is whole; a
//! full disk has room for it; and to flush it is to write its own bytes, not what a new name or a new length has the file system write.

use super::durable;
use crate::refusal::Refusal;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Slots are whole pages: a torn write of one leaves the other as it is.
pub(super) const PAGE_BYTES: usize = 4096;
const SLOTS: u64 = 2;

/// A file `dir/name` with slots of `slot_bytes`, a multiple of a page, in the place of the one there. The slot whose turn `number` is
/// holds `bytes`, the other zeros.
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

/// The two slots in the bytes of such a file; `None` if they are none.
pub(super) fn split(whole: &[u8]) -> Option<[&[u8]; 2]> {
    let is_sound = !whole.is_empty() && whole.len().is_multiple_of(PAGE_BYTES * SLOTS as usize);
    is_sound.then(|| whole.split_at(whole.len() / 2).into())
}

/// Writes `bytes` and zeros behind them into the slot whose turn `number` is, durably when this returns.
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
