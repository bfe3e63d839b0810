//! Self-describing values: a value names its run, its key and its write, and proves that with a checksum.
//!
//! ```text
//!  0  magic u32 = "SYLV"
//!  4  crc u32        CRC32C of bytes 8.. to the end
//!  8  run u64        drawn for each run, to recognise values left by earlier runs
//! 16  key u64        index of the key in its workload
//! 24  sequence u64   1 for the first write of this key in this run
//! 32  length u32     of the whole value
//! 36  reserved u32 = 0
//! 40  filler         bytes determined by the other fields
//! ```
//! All integers are little-endian. Any flipped bit is found: in the magic, the length and the reserved field
//! by comparison, anywhere else by the checksum.

use crate::random::{Random, mix};
use crate::sizes::{SizeSampler, ValueSizes};

/// Bytes of the fixed header, and so the minimum size of a value.
pub const HEADER_BYTES: usize = 40;
const MAGIC: [u8; 4] = *b"SYLV";
const CHECKED_FROM: usize = 8;
/// The filler is a window of a table that is drawn once: drawing new bytes for every value would cost more
/// than sending them.
const TABLE_WINDOWS: usize = 4096;

/// What a value states about itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    /// The run that wrote it.
    pub run: u64,
    /// The key it was written to.
    pub key: u64,
    /// The number of the write to that key, from 1.
    pub sequence: u64,
}

/// Why bytes are not a value of a generator.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ValueError {
    /// The value is shorter than a header, or its length is not the one in the header.
    #[error("a value of {actual} bytes is cut short or grown")]
    Length {
        /// Bytes that were read.
        actual: usize,
    },
    /// The value was not written by a generator.
    #[error("a value does not begin as this generator's do")]
    Magic,
    /// Bytes have changed since they were written.
    #[error("a value fails its checksum")]
    Checksum,
}

/// Writes values. Run, key and sequence determine the size of a value, so a value that is sent again is the
/// same.
#[derive(Debug)]
pub struct ValueWriter {
    table: Vec<u8>,
    sizes: SizeSampler,
    run: u64,
}

impl ValueWriter {
    /// A writer of values of these sizes for `run`.
    ///
    /// # Panics
    /// When a size may be below [`HEADER_BYTES`]; [`crate::Options::check`] refuses that.
    pub fn new(sizes: &ValueSizes, run: u64) -> Self {
        assert!(sizes.least() as usize >= HEADER_BYTES, "a value must hold its header");
        let mut random = Random::new(0x5eed, 0);
        let mut table = vec![0; sizes.most() as usize - HEADER_BYTES + TABLE_WINDOWS];
        for chunk in table.chunks_mut(8) {
            let drawn = random.next_u64().to_le_bytes();
            chunk.copy_from_slice(&drawn[..chunk.len()]);
        }
        Self { table, sizes: SizeSampler::new(sizes), run }
    }
    /// The run that values are written for.
    pub fn run(&self) -> u64 {
        self.run
    }
    /// Replaces the contents of `out` with the value of write `sequence` of `key`. Returns the CRC32C of the
    /// whole value, which a SET carries.
    pub fn write(&self, out: &mut Vec<u8>, key: u64, sequence: u64) -> u32 {
        let drawn = mix(key ^ mix(sequence ^ mix(self.run)));
        // 53 bits make an exact fraction. `drawn` is mixed once more, so that size and filler are
        // independent.
        let size = self.sizes.size((mix(drawn) >> 11) as f64 / (1_u64 << 53) as f64);
        out.clear();
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.run.to_le_bytes());
        out.extend_from_slice(&key.to_le_bytes());
        out.extend_from_slice(&sequence.to_le_bytes());
        out.extend_from_slice(&size.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        let window = (drawn % TABLE_WINDOWS as u64) as usize; // below a small constant
        out.extend_from_slice(&self.table[window..window + size as usize - HEADER_BYTES]);
        assert_eq!(out.len(), size as usize, "a value of the wrong size was written");
        let crc = synod_types::checksum::crc32c(&out[CHECKED_FROM..]);
        out[4..8].copy_from_slice(&crc.to_le_bytes());
        synod_types::checksum::crc32c(out)
    }
}

/// The stamp of a value, if its bytes are intact.
///
/// # Errors
/// [`ValueError`] when the bytes are not what a [`ValueWriter`] wrote.
pub fn verify(bytes: &[u8]) -> Result<Stamp, ValueError> {
    let length = ValueError::Length { actual: bytes.len() };
    let header = bytes.first_chunk::<HEADER_BYTES>().ok_or(length)?;
    if header[..4] != MAGIC || header[36..40] != [0; 4] {
        return Err(ValueError::Magic);
    }
    if u32_at(header, 32) as usize != bytes.len() {
        return Err(length);
    }
    if synod_types::checksum::crc32c(&bytes[CHECKED_FROM..]) != u32_at(header, 4) {
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
        fn what_is_written_is_verified(size in 40_u32..6000, run: u64, key: u64, sequence: u64) {
            let writer = ValueWriter::new(&size.into(), run);
            let mut bytes = vec![1, 2, 3];
            let crc = writer.write(&mut bytes, key, sequence);
            prop_assert_eq!(bytes.len(), size as usize);
            prop_assert_eq!(crc, synod_types::checksum::crc32c(&bytes));
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
            ValueWriter::new(&(size as u32).into(), 77).write(&mut bytes, 5, 9);
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
    fn a_value_that_is_written_again_has_the_size_it_had() {
        let writer = ValueWriter::new(&ValueSizes::Uniform(40, 4000), 77);
        let (mut one, mut two, mut lengths) = (Vec::new(), Vec::new(), std::collections::BTreeSet::new());
        for sequence in 1..100 {
            let crc = writer.write(&mut one, 5, sequence);
            assert_eq!(crc, writer.write(&mut two, 5, sequence));
            assert_eq!(one, two);
            assert_eq!(verify(&one), Ok(Stamp { run: 77, key: 5, sequence }));
            lengths.insert(one.len());
        }
        assert!(lengths.len() > 80, "different writes have different sizes");
    }

    #[test]
    fn different_writes_have_different_filler() {
        let writer = ValueWriter::new(&300.into(), 77);
        let (mut one, mut two) = (Vec::new(), Vec::new());
        writer.write(&mut one, 5, 9);
        writer.write(&mut two, 5, 10);
        assert_ne!(one[HEADER_BYTES..], two[HEADER_BYTES..]);
    }
}
