//! The bytes of the log: segment header, block header, record frame. The pictures and the reason for each
//! field are in `docs/disk-format.md`; the offsets here are computed from each other. All integers are
//! little-endian.
//!
//! ```text
//!  segment: │ header page 4096 │ block │ block │ …            │ zeros, or bytes of an earlier life │
//!  block:   │ header 64 │ frame 8 │ record │ pad to 8 │ frame │ record │ …   │ zeros to a multiple of 4096 │
//! ```

use synod_types::{CoreId, SegmentId};

/// Version of the format in this file.
pub const FORMAT_VERSION: u16 = 2;
/// Unit of writing: offsets and lengths of blocks are multiples of it.
pub(crate) const PAGE_BYTES: u32 = 4096;
/// Bytes before a segment's first block.
pub const SEGMENT_HEADER_BYTES: u32 = PAGE_BYTES;
/// Bytes before a block's first frame.
pub(crate) const BLOCK_HEADER_BYTES: u32 = 64;
/// Bytes before a record.
pub(crate) const FRAME_BYTES: u32 = 8;

const SEGMENT_MAGIC: [u8; 8] = *b"SYNODSEG";
const BLOCK_MAGIC: [u8; 4] = *b"SBLK";
/// Block sequences and generations stay below this, so that counting on from one never overflows. At a
/// million blocks a second this lasts for 146 000 years.
const COUNTER_MAX: u64 = 1 << 62;

pub(crate) const fn align_page(len: u64) -> u64 {
    len.next_multiple_of(PAGE_BYTES as u64)
}

/// Where the next frame begins after a frame at `at` with a record of `len` bytes.
pub(crate) const fn frame_end(at: u64, len: u64) -> u64 {
    (at + FRAME_BYTES as u64 + len).next_multiple_of(8)
}

/// The start value of every checksum in one segment's blocks, made from the log's identity and the segment's
/// generation. Three kinds of bytes therefore fail their checksum: those from an earlier use of a recycled
/// file, those of another node, and a block image that a client without knowledge of the tag stores as a
/// value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ChecksumKey(u32);

impl ChecksumKey {
    pub(crate) fn new(tag: &[u8; 32], core: CoreId, generation: u64) -> Self {
        let crc = synod_types::checksum::crc32c(tag);
        let crc = synod_types::checksum::crc32c_append(crc, &core.get().to_le_bytes());
        Self(synod_types::checksum::crc32c_append(crc, &generation.to_le_bytes()))
    }
    pub(crate) fn crc(self, bytes: &[u8]) -> u32 {
        synod_types::checksum::crc32c_append(self.0, bytes)
    }
    /// The start of a checksum that is made in parts.
    pub(crate) fn start(self) -> u32 {
        self.0
    }
}

/// The block after which a run of the log (the time between two recoveries) continues. Blocks after it, in
/// segments before the one whose header says so, are never part of the log again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Continues {
    /// The last valid block; 0 if there is none.
    pub sequence: u64,
    /// Its header's checksum; 0 if there is none.
    pub crc: u32,
}

/// The header of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SegmentHeader {
    pub core: CoreId,
    pub segment: SegmentId,
    /// The segment before this one in log order; 0 for none. With `continues` set, the one that holds that
    /// block.
    pub previous: SegmentId,
    pub generation: u64,
    pub size: u32,
    /// Only in the first segment of a run.
    pub continues: Option<Continues>,
    /// The file was used before; old bytes may still be in it.
    pub recycled: bool,
    pub tag: [u8; 32],
}

mod segment_at {
    pub const MAGIC: usize = 0;
    pub const VERSION: usize = MAGIC + 8;
    pub const CORE: usize = VERSION + 2;
    pub const FLAGS: usize = CORE + 2;
    pub const RESERVED: usize = FLAGS + 2;
    pub const SEGMENT: usize = RESERVED + 2;
    pub const PREVIOUS: usize = SEGMENT + 4;
    pub const GENERATION: usize = PREVIOUS + 4;
    pub const SIZE: usize = GENERATION + 8;
    pub const CONTINUES_CRC: usize = SIZE + 4;
    pub const CONTINUES_SEQUENCE: usize = CONTINUES_CRC + 4;
    pub const TAG: usize = CONTINUES_SEQUENCE + 8;
    pub const ZEROS: usize = TAG + 32;
    pub const CRC: usize = super::SEGMENT_HEADER_BYTES as usize - 4;
    const _: () = assert!(SEGMENT == 16 && GENERATION == 24 && SIZE == 32 && TAG == 48 && ZEROS == 80);
}

const FLAG_CONTINUES: u16 = 1;
const FLAG_RECYCLED: u16 = 2;

/// Why a segment header cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum BadSegmentHeader {
    /// It is damaged; the text says how.
    Damaged(&'static str),
    /// It is intact, but of another version.
    Version(u16),
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> Box<[u8]> {
        use segment_at as at;
        assert!(self.previous < self.segment, "a segment follows upon an earlier one");
        assert!(self.size.is_multiple_of(PAGE_BYTES) && self.size >= 2 * PAGE_BYTES, "no room for a block");
        let mut out = vec![0_u8; SEGMENT_HEADER_BYTES as usize].into_boxed_slice();
        let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
        let flag = |on: bool, flag: u16| if on { flag } else { 0 };
        let flags = flag(self.continues.is_some(), FLAG_CONTINUES) | flag(self.recycled, FLAG_RECYCLED);
        let continues = self.continues.unwrap_or(Continues { sequence: 0, crc: 0 });
        put(at::MAGIC, &SEGMENT_MAGIC);
        put(at::VERSION, &FORMAT_VERSION.to_le_bytes());
        put(at::CORE, &self.core.get().to_le_bytes());
        put(at::FLAGS, &flags.to_le_bytes());
        put(at::SEGMENT, &self.segment.get().to_le_bytes());
        put(at::PREVIOUS, &self.previous.get().to_le_bytes());
        put(at::GENERATION, &self.generation.to_le_bytes());
        put(at::SIZE, &self.size.to_le_bytes());
        put(at::CONTINUES_CRC, &continues.crc.to_le_bytes());
        put(at::CONTINUES_SEQUENCE, &continues.sequence.to_le_bytes());
        put(at::TAG, &self.tag);
        let crc = synod_types::checksum::crc32c(&out[..at::CRC]);
        out[at::CRC..].copy_from_slice(&crc.to_le_bytes());
        // A generation past the last one is refused when it is read.
        debug_assert!(
            self.generation >= COUNTER_MAX || Self::decode(&out) == Ok(*self),
            "a header is read as written"
        );
        out
    }

    /// Decodes a header. Its checksum is not keyed, because another node's header must be recognised as such.
    pub(crate) fn decode(page: &[u8]) -> Result<Self, BadSegmentHeader> {
        use BadSegmentHeader::Damaged;
        use segment_at as at;
        if page.len() < SEGMENT_HEADER_BYTES as usize {
            return Err(Damaged("the file is shorter than a segment header"));
        }
        let page = &page[..SEGMENT_HEADER_BYTES as usize];
        if page[..at::VERSION] != SEGMENT_MAGIC {
            return Err(Damaged("no segment magic"));
        }
        if u32_at(page, at::CRC) != synod_types::checksum::crc32c(&page[..at::CRC]) {
            return Err(Damaged("segment header checksum mismatch"));
        }
        let version = u16_at(page, at::VERSION);
        if version != FORMAT_VERSION {
            return Err(BadSegmentHeader::Version(version));
        }
        let flags = u16_at(page, at::FLAGS);
        if flags & !(FLAG_CONTINUES | FLAG_RECYCLED) != 0 {
            return Err(Damaged("unknown segment flags"));
        }
        let mut tag = [0; 32];
        tag.copy_from_slice(&page[at::TAG..at::ZEROS]);
        let continues = Continues {
            sequence: u64_at(page, at::CONTINUES_SEQUENCE),
            crc: u32_at(page, at::CONTINUES_CRC),
        };
        let segment = u32_at(page, at::SEGMENT);
        let generation = u64_at(page, at::GENERATION);
        if generation >= COUNTER_MAX || continues.sequence >= COUNTER_MAX || segment == u32::MAX {
            return Err(Damaged("a counter in the segment header is out of range"));
        }
        Ok(Self {
            core: CoreId::new(u16_at(page, at::CORE)),
            segment: SegmentId::new(segment),
            previous: SegmentId::new(u32_at(page, at::PREVIOUS)),
            generation,
            size: u32_at(page, at::SIZE),
            continues: (flags & FLAG_CONTINUES != 0).then_some(continues),
            recycled: flags & FLAG_RECYCLED != 0,
            tag,
        })
    }
}

/// The header of a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BlockHeader {
    pub core: CoreId,
    pub generation: u64,
    pub sequence: u64,
    /// Every block up to this number was durable when this block was submitted.
    pub watermark: u64,
    /// Bytes of the block, padding included.
    pub len: u32,
    /// Where the last record's padding ends.
    pub used: u32,
    /// The block's own offset in the segment: a block in another place is not valid.
    pub offset: u32,
    pub record_count: u32,
    pub previous_crc: u32,
    /// Checksum of all frames, each of which holds the checksum of its record.
    pub frames_crc: u32,
}

mod block_at {
    pub const MAGIC: usize = 0;
    pub const VERSION: usize = MAGIC + 4;
    pub const CORE: usize = VERSION + 2;
    pub const GENERATION: usize = CORE + 2;
    pub const SEQUENCE: usize = GENERATION + 8;
    pub const WATERMARK: usize = SEQUENCE + 8;
    pub const LEN: usize = WATERMARK + 8;
    pub const USED: usize = LEN + 4;
    pub const OFFSET: usize = USED + 4;
    pub const RECORD_COUNT: usize = OFFSET + 4;
    pub const PREVIOUS_CRC: usize = RECORD_COUNT + 4;
    pub const FRAMES_CRC: usize = PREVIOUS_CRC + 4;
    pub const RESERVED: usize = FRAMES_CRC + 4;
    pub const CRC: usize = RESERVED + 4;
    const _: () = assert!(CRC + 4 == super::BLOCK_HEADER_BYTES as usize && SEQUENCE == 16 && LEN == 32);
}

impl BlockHeader {
    /// Writes the header into the first 64 bytes of `out` and returns its checksum, the next block's
    /// `previous_crc`.
    pub(crate) fn encode(&self, key: ChecksumKey, out: &mut [u8]) -> u32 {
        use block_at as at;
        debug_assert!(self.len.is_multiple_of(PAGE_BYTES), "a block is a multiple of pages");
        debug_assert!(self.offset.is_multiple_of(PAGE_BYTES), "a block begins at a page");
        debug_assert!(
            self.used >= BLOCK_HEADER_BYTES && self.used <= self.len,
            "a block is fuller than full"
        );
        debug_assert!(self.watermark < self.sequence, "a block is durable before it is written");
        let out = &mut out[..BLOCK_HEADER_BYTES as usize];
        let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
        put(at::MAGIC, &BLOCK_MAGIC);
        put(at::VERSION, &FORMAT_VERSION.to_le_bytes());
        put(at::CORE, &self.core.get().to_le_bytes());
        put(at::GENERATION, &self.generation.to_le_bytes());
        put(at::SEQUENCE, &self.sequence.to_le_bytes());
        put(at::WATERMARK, &self.watermark.to_le_bytes());
        put(at::LEN, &self.len.to_le_bytes());
        put(at::USED, &self.used.to_le_bytes());
        put(at::OFFSET, &self.offset.to_le_bytes());
        put(at::RECORD_COUNT, &self.record_count.to_le_bytes());
        put(at::PREVIOUS_CRC, &self.previous_crc.to_le_bytes());
        put(at::FRAMES_CRC, &self.frames_crc.to_le_bytes());
        put(at::RESERVED, &[0; 4]);
        let crc = key.crc(&out[..at::CRC]);
        out[at::CRC..].copy_from_slice(&crc.to_le_bytes());
        crc
    }

    /// Decodes the header at `offset` of a segment; also returns its checksum. `None` unless the header is
    /// intact, of this core and generation, written for exactly this place, and its block lies inside the
    /// segment.
    pub(crate) fn decode(
        segment: &[u8],
        offset: u32,
        core: CoreId,
        generation: u64,
        key: ChecksumKey,
    ) -> Option<(Self, u32)> {
        use block_at as at;
        let rest = segment.get(offset as usize..)?;
        let bytes = rest.get(..BLOCK_HEADER_BYTES as usize)?;
        if bytes[..at::VERSION] != BLOCK_MAGIC {
            return None;
        }
        let crc = u32_at(bytes, at::CRC);
        if crc != key.crc(&bytes[..at::CRC]) {
            return None;
        }
        let header = Self {
            core: CoreId::new(u16_at(bytes, at::CORE)),
            generation: u64_at(bytes, at::GENERATION),
            sequence: u64_at(bytes, at::SEQUENCE),
            watermark: u64_at(bytes, at::WATERMARK),
            len: u32_at(bytes, at::LEN),
            used: u32_at(bytes, at::USED),
            offset: u32_at(bytes, at::OFFSET),
            record_count: u32_at(bytes, at::RECORD_COUNT),
            previous_crc: u32_at(bytes, at::PREVIOUS_CRC),
            frames_crc: u32_at(bytes, at::FRAMES_CRC),
        };
        let fits = u16_at(bytes, at::VERSION) == FORMAT_VERSION
            && header.core == core
            && header.generation == generation
            && header.offset == offset
            && header.sequence < COUNTER_MAX
            && header.len.is_multiple_of(PAGE_BYTES)
            && header.used >= BLOCK_HEADER_BYTES
            && header.used <= header.len
            && header.len as usize <= rest.len();
        debug_assert!(
            !fits || u64::from(offset) + u64::from(header.len) <= segment.len() as u64,
            "a block behind the end of its segment"
        );
        fits.then_some((header, crc))
    }
}

pub(crate) fn encode_frame(len: u32, crc: u32) -> [u8; FRAME_BYTES as usize] {
    let mut frame = [0; FRAME_BYTES as usize];
    frame[..4].copy_from_slice(&len.to_le_bytes());
    frame[4..].copy_from_slice(&crc.to_le_bytes());
    debug_assert!(decode_frame(&frame) == (len, crc), "a frame is read as written");
    frame
}

pub(crate) fn decode_frame(frame: &[u8]) -> (u32, u32) {
    debug_assert!(frame.len() == FRAME_BYTES as usize, "not a frame");
    (u32_at(frame, 0), u32_at(frame, 4))
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut raw = [0; 8];
    raw.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment_header() -> SegmentHeader {
        SegmentHeader {
            core: CoreId::new(3),
            segment: SegmentId::new(9),
            previous: SegmentId::new(7),
            generation: 11,
            size: 1 << 20,
            continues: Some(Continues { sequence: 5, crc: 0xABCD }),
            recycled: true,
            tag: [7; 32],
        }
    }

    #[test]
    fn a_segment_header_survives_its_bytes_and_no_bit_of_it_can_flip() {
        let header = segment_header();
        let page = header.encode();
        assert_eq!(SegmentHeader::decode(&page), Ok(header));
        for bit in 0..page.len() * 8 {
            let mut bad = page.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(&bad).is_err(), "bit {bit}");
        }
        assert!(SegmentHeader::decode(&page[..4095]).is_err());
    }

    #[test]
    fn another_version_is_told_apart_from_damage() {
        for version in [FORMAT_VERSION - 1, FORMAT_VERSION + 1] {
            let mut page = segment_header().encode();
            page[8..10].copy_from_slice(&version.to_le_bytes());
            let crc = synod_types::checksum::crc32c(&page[..4092]);
            page[4092..].copy_from_slice(&crc.to_le_bytes());
            assert_eq!(SegmentHeader::decode(&page), Err(BadSegmentHeader::Version(version)));
        }
    }

    #[test]
    fn a_block_header_counts_only_whole_in_its_own_place_and_life() {
        let (core, key) = (CoreId::new(3), ChecksumKey::new(&[7; 32], CoreId::new(3), 11));
        let header = BlockHeader {
            core,
            generation: 11,
            sequence: 40,
            watermark: 38,
            len: 4096,
            used: 128,
            offset: 4096,
            record_count: 1,
            previous_crc: 1,
            frames_crc: 2,
        };
        let mut segment = vec![0; 3 * 4096];
        let crc = header.encode(key, &mut segment[4096..]);
        assert_eq!(BlockHeader::decode(&segment, 4096, core, 11, key), Some((header, crc)));
        for bit in 0..64 * 8 {
            let mut bad = segment.clone();
            bad[4096 + bit / 8] ^= 1 << (bit % 8);
            assert_eq!(BlockHeader::decode(&bad, 4096, core, 11, key), None, "bit {bit}");
        }
        let moved = [&segment[4096..], &segment[4096..]].concat();
        assert_eq!(BlockHeader::decode(&moved, 0, core, 11, key), None, "another place");
        let other = ChecksumKey::new(&[7; 32], core, 12);
        assert_eq!(BlockHeader::decode(&segment, 4096, core, 12, other), None, "another life");
        let stranger = ChecksumKey::new(&[8; 32], core, 11);
        assert_eq!(BlockHeader::decode(&segment, 4096, core, 11, stranger), None, "another node");
        assert_eq!(BlockHeader::decode(&segment[..8191], 4096, core, 11, key), None, "cut off");
    }
}
