//! Blocks on their way to the disk: the open block, which records are copied into, and the closed ones.

use crate::layout::{
    BLOCK_HEADER_BYTES, BlockHeader, ChecksumKey, FRAME_BYTES, PAGE_BYTES, align_page, encode_frame,
    frame_end,
};
use crate::options::WRITES_IN_FLIGHT_MAX;
use crate::segments::NextPlace;
use std::rc::Rc;
use synod_types::checksum::{combine, crc32c_append};
use synod_types::{CoreId, Location, Lsn, SegmentId};

/// The block that new records are copied into.
pub(crate) struct OpenBlock<B> {
    pub segment: SegmentId,
    pub generation: u64,
    pub key: ChecksumKey,
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
pub(crate) struct ClosedBlock<B> {
    pub header: BlockHeader,
    /// The checksum of the header; set when the block is submitted.
    pub crc: u32,
    pub key: ChecksumKey,
    pub segment: SegmentId,
    pub buf: Rc<B>,
    pub capacity: u32,
    /// The last numbered record in the block; if it has none, the last one before it.
    pub last: Lsn,
    /// The block holds only notes, or nothing: losing it loses no record.
    pub is_mark: bool,
    pub state: BlockState,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum BlockState {
    Queued,
    InFlight,
    /// On disk, but behind a block that is not.
    Done,
}

impl<B: AsRef<[u8]> + AsMut<[u8]>> OpenBlock<B> {
    /// An empty block in `buf`, all of which it may fill.
    pub(crate) fn new(place: NextPlace, sequence: u64, buf: B) -> Self {
        let capacity = buf.as_ref().len() as u32; // at most a segment
        debug_assert!(capacity.is_multiple_of(PAGE_BYTES) && capacity > 0, "a block is a multiple of pages");
        debug_assert!(place.offset.is_multiple_of(PAGE_BYTES), "a block begins at a page");
        Self {
            segment: place.segment,
            generation: place.generation,
            key: place.key,
            offset: place.offset,
            sequence,
            buf,
            capacity,
            used: BLOCK_HEADER_BYTES,
            record_count: 0,
            note_count: 0,
            frames_crc: place.key.start(),
        }
    }

    /// Bytes of frames that still fit.
    pub(crate) fn room(&self) -> u32 {
        debug_assert!(self.used <= self.capacity, "a block is fuller than full");
        self.capacity - self.used
    }

    /// Bytes that the block takes on disk if it is closed now.
    pub(crate) fn len(&self) -> u32 {
        align_page(u64::from(self.used)) as u32 // at most the capacity
    }

    /// Copies a record into the block, frame first. The caller has checked that there is room.
    pub(crate) fn push(&mut self, parts: &[&[u8]], last_crc: Option<u32>, len: u32) -> Location {
        let body = self.used + FRAME_BYTES;
        let end = frame_end(u64::from(self.used), u64::from(len)) as u32;
        assert!(end <= self.capacity, "no room for the record");
        debug_assert!(self.used >= BLOCK_HEADER_BYTES && self.used.is_multiple_of(8), "a frame is aligned");
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
        debug_assert!(self.note_count < self.record_count, "a note is counted once it is there");
        Location { segment: self.segment, offset: self.offset + body, len }
    }

    /// Closes the block: from now on its place and length are final. `last` is the last numbered record up to
    /// its end. The rest of the buffer is cleared, and cut off by `trim`.
    pub(crate) fn close(
        mut self,
        core: CoreId,
        last: Lsn,
        trim: impl FnOnce(&mut B, usize),
    ) -> ClosedBlock<B> {
        let len = self.len();
        assert!(len <= self.capacity, "a block is a multiple of pages");
        debug_assert!(self.note_count <= self.record_count, "more notes than records");
        self.buf.as_mut()[self.used as usize..len as usize].fill(0);
        trim(&mut self.buf, len as usize);
        debug_assert!(self.buf.as_ref().len() == len as usize, "the disk has cut a buffer elsewhere");
        let header = BlockHeader {
            core,
            generation: self.generation,
            sequence: self.sequence,
            watermark: 0,
            len,
            used: self.used,
            offset: self.offset,
            record_count: self.record_count,
            previous_crc: 0,
            frames_crc: self.frames_crc,
        };
        ClosedBlock {
            header,
            crc: 0,
            key: self.key,
            segment: self.segment,
            buf: Rc::new(self.buf),
            capacity: self.capacity,
            last,
            is_mark: self.record_count == self.note_count,
            state: BlockState::Queued,
        }
    }
}

impl<B: AsRef<[u8]>> OpenBlock<B> {
    /// The bytes at `location`, if the block begins before them.
    pub(crate) fn bytes(&self, location: Location) -> Option<&[u8]> {
        debug_assert!(location.segment == self.segment, "a place in another segment");
        part(self.buf.as_ref(), self.offset, self.used, location)
    }
}

impl<B: AsRef<[u8]>> ClosedBlock<B> {
    /// The bytes at `location`, if they are in this block.
    pub(crate) fn bytes(&self, location: Location) -> Option<&[u8]> {
        if self.segment != location.segment {
            return None;
        }
        let buf: &B = &self.buf;
        part(buf.as_ref(), self.header.offset, self.header.used, location)
    }
}

impl<B: AsMut<[u8]>> ClosedBlock<B> {
    /// Writes the header, for a block that is about to be submitted: every block up to `watermark` is durable,
    /// and the block before has a header with checksum `previous_crc`.
    pub(crate) fn seal(&mut self, watermark: u64, previous_crc: u32) {
        debug_assert!(watermark < self.header.sequence, "a block is durable before it is written");
        assert!(
            self.header.sequence - watermark <= WRITES_IN_FLIGHT_MAX as u64,
            "more writes in flight than recovery allows for"
        );
        self.header.watermark = watermark;
        self.header.previous_crc = previous_crc;
        let Some(buf) = Rc::get_mut(&mut self.buf) else {
            unreachable!("a queued block has one owner: it is shared with the disk below, once")
        };
        self.crc = self.header.encode(self.key, buf.as_mut());
    }
}

/// The bytes at `location` of a block that begins at `start` and is filled up to `used`.
fn part(block: &[u8], start: u32, used: u32, location: Location) -> Option<&[u8]> {
    let from = location.offset.checked_sub(start)?;
    let to = from.checked_add(location.len).filter(|&to| to <= used)?;
    block.get(from as usize..to as usize)
}
