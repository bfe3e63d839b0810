//! Self-describing values: a value says which run wrote it, to which key, as which write, and proves it.
//!
//! ```text
//!  0  magic u32 = "SYLV"
//!  4  crc u32        CRC32C of bytes 8.. to the end
//!  8  run u64        drawn for each run, so that a value left by an earlier one is told apart
//! 16  key u64        index of the key in its workload
//! 24  sequence u64   1 for the first write of this key in this run
//! 32  length u32     of the whole value
//! 36  reserved u32 = 0
//! 40  filler         bytes that the other fields determine
//! ```
//! All integers little-endian. Every single flipped bit is found: in the magic, the length and the reserved field by
//! comparison, anywhere else by the checksum.

use crate::random::{Random, mix};

/// Bytes of the fixed header, and so the least size of a value.
pub const HEADER_BYTES: usize = 40;
const MAGIC: [u8; 4] = *b"SYLV";
const CHECKED_FROM: usize = 8;
/// Filler is a window of a table that is drawn once: drawing it anew for every value would cost more than sending it.
const TABLE_WINDOWS: usize = 4096;

/// What a value says about itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    /// The run that wrote it.
    pub run: u64,
    /// The key it was written to.
    pub key: u64,
    /// Which write of that key it is, from 1.
    pub sequence: u64,
}

/// Why bytes are not a value of a generator.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ValueError {
    /// Shorter than a header, or not of the length that the header says.
    #[error("a value of {actual} bytes is cut short or grown")]
    Length {
        /// Bytes that were read.
        actual: usize,
    },
    /// Not written by a generator.
    #[error("a value does not begin as this generator's do")]
    Magic,
    /// Bytes changed since they were written.
    #[error("a value fails its checksum")]
    Checksum,
}

/// Writes values of one size.
#[derive(Debug)]
pub struct ValueWriter {
    table: Vec<u8>,
    size: usize,
    run: u64,
}

impl ValueWriter {
    /// A writer of values of `size` bytes in the name of `run`.
    ///
    /// # Panics
    /// When `size` is below [`HEADER_BYTES`] or does not fit 32 bits; [`crate::Options::check`] refuses both.
    pub fn new(size: usize, run: u64) -> Self {
        assert!(size >= HEADER_BYTES, "a value must hold its header");
        assert!(u32::try_from(size).is_ok(), "the header's length field has 32 bits");
        let mut random = Random::new(0x5eed, 0);
        let mut table = vec![0; size - HEADER_BYTES + TABLE_WINDOWS];
        for chunk in table.chunks_mut(8) {
            let drawn = random.next_u64().to_le_bytes();
            chunk.copy_from_slice(&drawn[..chunk.len()]);
        }
        Self { table, size, run }
    }
    /// The run in whose name values are written.
    pub fn run(&self) -> u64 {
        self.run
    }
    /// Replaces `out` by the value of write `sequence` of `key`; returns the CRC32C of all of it, as a SET carries it.
    pub fn write(&self, out: &mut Vec<u8>, key: u64, sequence: u64) -> u32 {
        out.clear();
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.run.to_le_bytes());
        out.extend_from_slice(&key.to_le_bytes());
        out.extend_from_slice(&sequence.to_le_bytes());
        out.extend_from_slice(&(self.size as u32).to_le_bytes()); // asserted in `new`
        out.extend_from_slice(&[0; 4]);
        let window = (mix(key ^ mix(sequence ^ mix(self.run))) % TABLE_WINDOWS as u64) as usize; // below a small constant
        out.extend_from_slice(&self.table[window..window + self.size - HEADER_BYTES]);
        assert_eq!(out.len(), self.size, "a value of the wrong size was written");
        let crc = crc32c::crc32c(&out[CHECKED_FROM..]);
        out[4..8].copy_from_slice(&crc.to_le_bytes());
        crc32c::crc32c(out)
    }
}

/// What `bytes` say about themselves, if they are whole.
///
/// # Errors
/// [`ValueError`] when they are not what a [`ValueWriter`] wrote.
pub fn verify(bytes: &[u8]) -> Result<Stamp, ValueError> {
    let length = ValueError::Length { actual: bytes.len() };
    let header = bytes.first_chunk::<HEADER_BYTES>().ok_or(length)?;
    if header[..4] != MAGIC || header[36..40] != [0; 4] {
        return Err(ValueError::Magic);
    }
    if u32_at(header, 32) as usize != bytes.len() {
        return Err(length);
    }
    if crc32c::crc32c(&bytes[CHECKED_FROM..]) != u32_at(header, 4) {
        return Err(ValueError::Checksum);
    }
    Ok(Stamp { run: u64_at(header, 8), key: u64_at(header, 16), sequence: u64_at(header, 24) })
}

fn u32_at(header: &[u8; HEADER_BYTES], at: usize) -> u32 {
    let mut raw = [0; 4];
    raw.copy_from_slice(&header[at..at + 4]);
    u32::from_le_bytes(raw)
}

fn u64_at(header: &[u8; HEADER_BYTES], at: usize) -> u64 {
    let mut raw = [0; 8];
    raw.copy_from_slice(&header[at..at + 8]);
    u64::from_le_bytes(raw)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_verified(size in 40_usize..6000, run: u64, key: u64, sequence: u64) {
            let writer = ValueWriter::new(size, run);
            let mut bytes = vec![1, 2, 3];
            let crc = writer.write(&mut bytes, key, sequence);
            prop_assert_eq!(bytes.len(), size);
            prop_assert_eq!(crc, crc32c::crc32c(&bytes));
            prop_assert_eq!(verify(&bytes), Ok(Stamp { run, key, sequence }));
        }

        #[test]
        fn verify_takes_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = verify(&bytes);
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        for size in [HEADER_BYTES, HEADER_BYTES + 1, 300] {
            let mut bytes = Vec::new();
            ValueWriter::new(size, 77).write(&mut bytes, 5, 9);
            for bit in 0..size * 8 {
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert!(verify(&bytes).is_err(), "bit {bit} of {size} bytes flipped unnoticed");
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            for cut in 0..size {
                assert!(verify(&bytes[..cut]).is_err(), "cut to {cut} bytes unnoticed");
            }
            bytes.push(0);
            assert!(verify(&bytes).is_err(), "grown unnoticed");
        }
    }

    #[test]
    fn different_writes_have_different_filler() {
        let writer = ValueWriter::new(300, 77);
        let (mut one, mut two) = (Vec::new(), Vec::new());
        writer.write(&mut one, 5, 9);
        writer.write(&mut two, 5, 10);
        assert_ne!(one[HEADER_BYTES..], two[HEADER_BYTES..]);
    }
}
