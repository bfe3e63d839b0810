//! Blocks on their way to the disk: the open block, which records are copied into, and the closed ones.

use crate::layout::{BlockHeader, FRAME_BYTES, Key, encode_frame, frame_end};
use std::rc::Rc;
use synod_types::checksum::{combine, crc32c_append};
use synod_types::{Location, Lsn, SegmentId};

/// The block that new records are copied into.
pub(crate) struct OpenBlock<B> {
    pub segment: SegmentId,
    pub generation: u64,
    pub key: Key,
    pub offset: u32,
    pub sequence: u64,
    pub buf: B,
    pub capacity: u32,
    pub used: u32,
    pub record_count: u32,
    /// How many of those records are notes.
    pub note_count: u32,
    pub frames_crc: u32,
}

/// A closed block that is not part of the durable prefix yet.
pub(crate) struct Held<B> {
    pub header: BlockHeader,
    /// The checksum of the header; set when the block is submitted.
    pub crc: u32,
    pub key: Key,
    pub segment: SegmentId,
    pub buf: Rc<B>,
    pub capacity: u32,
    /// The last numbered record in the block; if it has none, the last one before it.
    pub last: Lsn,
    /// The block holds only notes, or nothing: losing it loses no record.
    pub is_mark: bool,
    pub state: HeldState,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum HeldState {
    Queued,
    InFlight,
    /// On disk, but behind a block that is not.
    Done,
}

impl<B: AsRef<[u8]> + AsMut<[u8]>> OpenBlock<B> {
    /// Copies a record into the block, frame first. The caller has checked that there is room.
    pub(crate) fn push(&mut self, parts: &[&[u8]], last_crc: Option<u32>, len: u32) -> Location {
        let body = self.used + FRAME_BYTES;
        let end = frame_end(u64::from(self.used), u64::from(len)) as u32;
        assert!(end <= self.capacity, "no room for the record");
        let block = self.buf.as_mut();
        let mut at = body as usize;
        let mut crc = self.key.start();
        for (index, part) in parts.iter().enumerate() {
            block[at..at + part.len()].copy_from_slice(part);
            crc = match last_crc {
                Some(known) if index + 1 == parts.len() => combine(crc, known, part.len()),
                _ => crc32c_append(crc, part),
            };
            at += part.len();
        }
        debug_assert_eq!(at, (body + len) as usize);
        block[at..end as usize].fill(0);
        let frame = encode_frame(len, crc);
        block[self.used as usize..body as usize].copy_from_slice(&frame);
        self.frames_crc = crc32c_append(self.frames_crc, &frame);
        self.used = end;
        self.record_count += 1;
        Location { segment: self.segment, offset: self.offset + body, len }
    }
}
