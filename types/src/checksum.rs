//! CRC32C (Castagnoli, RFC 3720 appendix B.4): of bytes, and of two parts from the checksums of the parts.
//!
//! The checksum of a long payload is computed once; the checksums of records and frames that hold it are
//! combined from it. In GF(2)\[x\] modulo the Castagnoli polynomial, the checksum of bytes `a` followed by
//! `n` bytes `b` is that of `a` times x^8n, plus that of `b`: the method of `crc32_combine` in zlib (M.
//! Adler), here with tables computed at compile time.

use crc_fast::{CrcAlgorithm, Digest};

/// The CRC32C of `bytes`.
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

/// The CRC32C of some bytes followed by `bytes`; `before` is the CRC32C of the first part.
pub fn crc32c_append(before: u32, bytes: &[u8]) -> u32 {
    let mut digest = Digest::new_with_init_state(CrcAlgorithm::Crc32Iscsi, u64::from(!before));
    digest.update(bytes);
    digest.finalize() as u32 // 32 bits wide
}

/// The polynomial, lowest power in the highest bit.
const POLYNOMIAL: u32 = 0x82f6_3b78;
/// Lengths below 2^`POWERS` are supported.
const POWERS: usize = 32;
/// A checksum is looked up in a table four bits at a time.
const NIBBLES: usize = 8;

/// `SHIFTS[k][j][n]`: (n at the j-th nibble) times x^(8 * 2^k).
static SHIFTS: [[[u32; 16]; NIBBLES]; POWERS] = shifts();

/// The CRC32C of two parts, from that of the first, that of the second, and the length of the second in
/// bytes. It takes about 0.1 us, so it pays if the second part has several KiB.
///
/// # Panics
/// When the second part is 4 GiB long or longer.
pub fn combine(a: u32, b: u32, b_len: usize) -> u32 {
    assert!(b_len >> POWERS == 0, "bytes longer than any that are checked");
    let mut shifted = a;
    let mut rest = b_len;
    while rest != 0 {
        let table = &SHIFTS[rest.trailing_zeros() as usize];
        shifted = times(table, shifted);
        rest &= rest - 1;
    }
    shifted ^ b
}

const fn times(table: &[[u32; 16]; NIBBLES], value: u32) -> u32 {
    let (mut product, mut nibble) = (0, 0);
    while nibble < NIBBLES {
        product ^= table[nibble][((value >> (4 * nibble)) & 15) as usize];
        nibble += 1;
    }
    product
}

const fn shifts() -> [[[u32; 16]; NIBBLES]; POWERS] {
    let mut tables = [[[0; 16]; NIBBLES]; POWERS];
    // x^8, by multiplying eight times by x; the lowest power is in the highest bit.
    let mut power = 1_u32 << 31;
    let mut bit = 0;
    while bit < 8 {
        power = multiply(power, 1 << 30);
        bit += 1;
    }
    let mut k = 0;
    while k < POWERS {
        let mut j = 0;
        while j < NIBBLES {
            let mut n = 0;
            while n < 16 {
                tables[k][j][n] = multiply(power, (n as u32) << (4 * j));
                n += 1;
            }
            j += 1;
        }
        power = multiply(power, power);
        k += 1;
    }
    tables
}

/// The product modulo the polynomial.
const fn multiply(a: u32, b: u32) -> u32 {
    let (mut product, mut b, mut bit) = (0, b, 1_u32 << 31);
    while bit != 0 {
        if a & bit != 0 {
            product ^= b;
        }
        b = if b & 1 == 0 { b >> 1 } else { (b >> 1) ^ POLYNOMIAL };
        bit >>= 1;
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parts_of_every_length_around_a_power_of_two_combine() {
        let bytes: alloc::vec::Vec<u8> = (0..70_000_u32).map(|at| ((at * 31) >> 3) as u8).collect();
        for at in [0, 1, 2, 7, 8, 4095, 4096, 65_535, 65_536, 69_999, 70_000] {
            let (a, b) = bytes.split_at(bytes.len() - at);
            assert_eq!(combine(crc32c(a), crc32c(b), b.len()), crc32c(&bytes), "{at} bytes behind");
        }
    }

    /// Covers every path of the library: short inputs and remainders take different ones.
    #[test]
    fn checksums_are_those_of_another_implementation() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283, "the check value of the algorithm's definition");
        let bytes: alloc::vec::Vec<u8> = (0..70_000_u32).map(|at| ((at * 31) >> 3) as u8).collect();
        for len in (0..5000).chain([16_383, 16_384, 65_535, 65_536, 69_990]) {
            let part = &bytes[len % 7..][..len];
            assert_eq!(crc32c(part), ::crc32c::crc32c(part), "{len} bytes");
            let before = 0x9e37_79b9_u32.wrapping_mul(len as u32);
            assert_eq!(
                crc32c_append(before, part),
                ::crc32c::crc32c_append(before, part),
                "{len} bytes behind"
            );
        }
    }

    proptest! {
        #[test]
        fn two_parts_have_the_checksum_of_the_whole(
            bytes in proptest::collection::vec(any::<u8>(), 0..5000),
            at in any::<proptest::sample::Index>(),
            before in any::<u32>(),
        ) {
            let (a, b) = bytes.split_at(at.index(bytes.len() + 1));
            prop_assert_eq!(combine(crc32c(a), crc32c(b), b.len()), crc32c(&bytes));
            prop_assert_eq!(combine(before, crc32c(b), b.len()), crc32c_append(before, b));
        }
    }
}
