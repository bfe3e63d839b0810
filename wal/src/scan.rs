//! Scans one segment's bytes: whether a block is intact, which records it holds, what lies beyond a break.
//!
//! The bytes are untrusted: every length is checked against the bytes that are there. Nothing is allocated
//! and nothing panics.

use crate::layout::{
    BLOCK_HEADER_BYTES, BlockHeader, ChecksumKey, FRAME_BYTES, PAGE_BYTES, SegmentHeader, decode_frame,
    frame_end,
};
use crate::options::WRITES_IN_FLIGHT_MAX;

/// The bytes of one segment, with the header and the key to check them.
pub(crate) struct Scan<'a> {
    pub bytes: &'a [u8],
    pub header: &'a SegmentHeader,
    pub key: ChecksumKey,
}

/// What lies at an offset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum BlockPlace {
    /// A block whose header and records are intact.
    Intact { header: BlockHeader, crc: u32 },
    /// A block whose header is intact, but not its records.
    Begun { header: BlockHeader },
    /// No block of this segment's generation.
    Nothing,
}

/// What was seen from a break of the chain on; see [`crate::Facts`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Beyond {
    /// Intact headers with a number above the expected one.
    pub block_count: u64,
    pub misfit: bool,
    pub begun: bool,
    pub watermark_max: u64,
    pub sequence_max: u64,
}

impl Beyond {
    pub(crate) fn absorb(&mut self, other: Self) {
        self.block_count += other.block_count;
        self.misfit |= other.misfit;
        self.begun |= other.begun;
        self.watermark_max = self.watermark_max.max(other.watermark_max);
        self.sequence_max = self.sequence_max.max(other.sequence_max);
    }
    /// Whether any intact header was seen.
    pub(crate) fn saw_any(&self) -> bool {
        self.block_count > 0 || self.begun || self.misfit
    }
}

/// The block that should come next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Expected {
    pub sequence: u64,
    pub previous_crc: u32,
}

impl Scan<'_> {
    /// What lies at `offset`.
    pub(crate) fn place(&self, offset: u32) -> BlockPlace {
        debug_assert!(offset.is_multiple_of(PAGE_BYTES), "blocks begin at pages");
        let header = self.header;
        match BlockHeader::decode(self.bytes, offset, header.core, header.generation, self.key) {
            None => BlockPlace::Nothing,
            Some((header, crc)) if self.records_intact(&header) => BlockPlace::Intact { header, crc },
            Some((header, _)) => BlockPlace::Begun { header },
        }
    }

    /// Calls `visit` with the place in the segment and the bytes of every record of an intact block.
    pub(crate) fn records(&self, header: &BlockHeader, mut visit: impl FnMut(u32, &[u8])) {
        let is_whole = self.walk(header, |frame, at, record| {
            debug_assert_eq!(decode_frame(frame).1, self.key.crc(record));
            visit(header.offset + at, record);
            true
        });
        debug_assert!(is_whole, "an intact block that does not hold its records");
    }

    fn records_intact(&self, header: &BlockHeader) -> bool {
        let mut frames_crc = self.key.start();
        let walked = self.walk(header, |frame, _, record| {
            frames_crc = synod_types::checksum::crc32c_append(frames_crc, frame);
            decode_frame(frame).1 == self.key.crc(record)
        });
        walked && frames_crc == header.frames_crc
    }

    /// Steps through the frames of a block and passes `each` the frame, the record's offset in the block, and
    /// the record. False as soon as `each` returns false, or if the frames do not fill the block's used part
    /// exactly.
    fn walk(&self, header: &BlockHeader, mut each: impl FnMut(&[u8], u32, &[u8]) -> bool) -> bool {
        let start = header.offset as usize;
        let Some(used) = self.bytes.get(start..start + header.used as usize) else { return false };
        let mut at = u64::from(BLOCK_HEADER_BYTES);
        for _ in 0..header.record_count {
            let body = at + u64::from(FRAME_BYTES);
            let Some(frame) = used.get(at as usize..body as usize) else { return false };
            let len = u64::from(decode_frame(frame).0);
            let Some(record) = used.get(body as usize..(body + len) as usize) else { return false };
            // `body` lies inside a block, and blocks are shorter than 4 GiB.
            if !each(frame, body as u32, record) {
                return false;
            }
            at = frame_end(at, len);
        }
        debug_assert!(at.is_multiple_of(8), "a frame is aligned");
        at == used.len() as u64
    }

    /// Searches every page from `offset` on for traces of blocks, after the chain has ended.
    /// `may_hold_expected`: `offset` is a place where the expected block could be.
    pub(crate) fn beyond(&self, offset: u32, expected: Expected, may_hold_expected: bool) -> Beyond {
        assert!(offset.is_multiple_of(PAGE_BYTES), "blocks begin at pages");
        let mut seen = Beyond::default();
        let mut at = u64::from(offset);
        while at + u64::from(PAGE_BYTES) <= self.bytes.len() as u64 {
            // Segments are at most 1 GiB.
            let (header, intact) = match self.place(at as u32) {
                BlockPlace::Intact { header, .. } => (header, true),
                BlockPlace::Begun { header } => (header, false),
                BlockPlace::Nothing => {
                    at += u64::from(PAGE_BYTES);
                    continue;
                }
            };
            let here = may_hold_expected && at == u64::from(offset);
            if !watermark_sane(&header) || header.sequence < expected.sequence {
                seen.misfit = true;
            } else if header.sequence == expected.sequence {
                // In its own place, an intact block that chains would have been taken already. In any other
                // place the expected block must not be.
                if here && !intact && header.previous_crc == expected.previous_crc {
                    seen.begun = true;
                } else {
                    seen.misfit = true;
                }
            } else {
                seen.block_count += 1;
            }
            seen.watermark_max = seen.watermark_max.max(header.watermark);
            seen.sequence_max = seen.sequence_max.max(header.sequence);
            at += u64::from(header.len.max(PAGE_BYTES));
        }
        debug_assert!(
            seen.block_count == 0 || seen.sequence_max > expected.sequence,
            "blocks that were not seen"
        );
        seen
    }

    /// Whether the segment holds only zeros from `offset` on.
    pub(crate) fn blank(&self, offset: u32) -> bool {
        debug_assert!(offset.is_multiple_of(PAGE_BYTES), "blocks end at pages");
        const ZEROS: [u8; PAGE_BYTES as usize] = [0; PAGE_BYTES as usize];
        let rest = self.bytes.get(offset as usize..).unwrap_or(&[]);
        rest.chunks(ZEROS.len()).all(|chunk| *chunk == ZEROS[..chunk.len()])
    }
}

/// Whether a block's watermark is possible: below its own number, and at most `WRITES_IN_FLIGHT_MAX` behind
/// it, as no more writes are in flight at once.
pub(crate) fn watermark_sane(header: &BlockHeader) -> bool {
    header.watermark < header.sequence && header.sequence - header.watermark <= WRITES_IN_FLIGHT_MAX as u64
}
