//! Reading one segment's bytes: is a block intact, which records does it hold, what lies beyond a break.
//!
//! Works on untrusted bytes: every length is checked against what is there, nothing is allocated, nothing panics.

use crate::layout::{
    BLOCK_HEADER_BYTES, BlockHeader, FRAME_BYTES, Key, PAGE_BYTES, SegmentHeader, decode_frame, frame_end,
};
use crate::options::WRITES_IN_FLIGHT_MAX;

/// The bytes of one segment with what is needed to check them.
pub(crate) struct Scan<'a> {
    pub bytes: &'a [u8],
    pub header: &'a SegmentHeader,
    pub key: Key,
}

/// What lies at an offset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// A block, header and records as written.
    Intact { header: BlockHeader, crc: u32 },
    /// A block whose header is as written and whose records are not.
    Begun { header: BlockHeader },
    /// No block of this segment's generation.
    Nothing,
}

/// What was seen from a break on; see [`crate::Facts`].
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
    pub(crate) fn place(&self, offset: u32) -> Place {
        let header = self.header;
        match BlockHeader::decode(self.bytes, offset, header.core, header.generation, self.key) {
            None => Place::Nothing,
            Some((header, crc)) if self.records_intact(&header) => Place::Intact { header, crc },
            Some((header, _)) => Place::Begun { header },
        }
    }

    /// Calls `visit` with the place in the segment and the bytes of every record of an intact block.
    pub(crate) fn records(&self, header: &BlockHeader, mut visit: impl FnMut(u32, &[u8])) {
        self.walk(header, |frame, at, record| {
            debug_assert_eq!(decode_frame(frame).1, self.key.crc(record));
            visit(header.offset + at, record);
            true
        });
    }

    fn records_intact(&self, header: &BlockHeader) -> bool {
        let mut frames_crc = self.key.start();
        let walked = self.walk(header, |frame, _, record| {
            frames_crc = synod_types::checksum::crc32c_append(frames_crc, frame);
            decode_frame(frame).1 == self.key.crc(record)
        });
        walked && frames_crc == header.frames_crc
    }

    /// Steps through the frames of a block: frame, place of the record in the block, record. False as soon as `each` says
    /// so or the frames do not fill the block's used part exactly.
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
        at == used.len() as u64
    }

    /// Looks at every page from `offset` on for traces of blocks, when the chain did not go on here. `may_hold_expected`:
    /// `offset` is a place where the expected block could lie.
    pub(crate) fn beyond(&self, offset: u32, expected: Expected, may_hold_expected: bool) -> Beyond {
        let mut seen = Beyond::default();
        let mut at = u64::from(offset);
        while at + u64::from(PAGE_BYTES) <= self.bytes.len() as u64 {
            // Segments are at most 1 GiB.
            let (header, intact) = match self.place(at as u32) {
                Place::Intact { header, .. } => (header, true),
                Place::Begun { header } => (header, false),
                Place::Nothing => {
                    at += u64::from(PAGE_BYTES);
                    continue;
                }
            };
            let here = may_hold_expected && at == u64::from(offset);
            if !watermark_sane(&header) || header.sequence < expected.sequence {
                seen.misfit = true;
            } else if header.sequence == expected.sequence {
                // Whole and chained it would have been taken: then the caller asks about a place it must not be in.
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
        seen
    }

    /// Whether only zeros lie from `offset` on.
    pub(crate) fn blank(&self, offset: u32) -> bool {
        const ZEROS: [u8; PAGE_BYTES as usize] = [0; PAGE_BYTES as usize];
        let rest = self.bytes.get(offset as usize..).unwrap_or(&[]);
        rest.chunks(ZEROS.len()).all(|chunk| *chunk == ZEROS[..chunk.len()])
    }
}

/// A block is submitted after everything more than the window before it is durable, and never before itself.
pub(crate) fn watermark_sane(header: &BlockHeader) -> bool {
    header.watermark < header.sequence && header.sequence - header.watermark <= WRITES_IN_FLIGHT_MAX as u64
}
