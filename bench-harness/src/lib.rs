//! `synod-bench`: the code that the microbenches share. The benches themselves are in `benches/`, one file
//! per room measured.
//!
//! ```text
//!   commands ─▶ Trio: three Replicas in one thread ─▶ applied, answered
//!                 a record is durable in the next turn; a message arrives in the receiver's next turn
//! ```
//!
//! May not: test anything. Correctness is settled in the rooms' own tests; here assertions only make sure
//! that the benches measure what they are meant to measure.

#![forbid(unsafe_code)]

mod disk;
mod trio;

pub use trio::{LEADER, Trio};

use std::hint::black_box;
use synod_types::{Command, Condition, Expiry, GroupId, Op, Shared};

/// The one group that benches use.
pub const GROUP: GroupId = GroupId::new(1);

/// A SET of `value` outside any session, as the connection hands it in: key and value in one allocation,
/// checksum computed.
pub fn set_command(key: &[u8], value: &[u8]) -> Command<Shared> {
    let shared = Shared::new([key, value].concat());
    let value_at = key.len();
    Command::new(shared.slice(0, value_at), set_op(value), shared.slice(value_at, value.len()))
}

/// A plain SET of `value`.
pub fn set_op(value: &[u8]) -> Op {
    let value_crc = synod_types::checksum::crc32c(value);
    Op::Set { value_crc, condition: Condition::Always, expiry: Expiry::None, return_old: false }
}

/// `len` bytes that are neither all alike nor costly to make.
pub fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 31 % 251) as u8).collect() // below 251
}

/// A key of 16 bytes.
pub fn key(number: u64) -> [u8; 16] {
    let mut key = *b"key:000000000000";
    let mut rest = number;
    for digit in key[4..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8; // one digit
        rest /= 10;
    }
    key
}

/// Visits `0..count` again and again, in an order that a prefetcher cannot guess: `next` returns every number
/// once before any comes again. `count` is a power of two.
#[derive(Clone, Debug)]
pub struct Walk {
    at: u64,
    count: u64,
}

impl Walk {
    /// A walk over `0..count`.
    ///
    /// # Panics
    /// When `count` is not a power of two.
    pub fn new(count: u64) -> Self {
        assert!(count.is_power_of_two(), "a walk needs a power of two");
        Self { at: 0, count }
    }
    /// The next number.
    // Not an iterator: it has no end.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> u64 {
        // A linear congruential step: it has the full period, as the multiplier is 1 modulo 4 and the
        // increment odd. The low bits of such a sequence have short periods, which does no harm: the number
        // is used as a whole, and no bit of it has to be random.
        self.at = self.at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407)
            & (self.count - 1);
        black_box(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_visits_everything_once_a_round() {
        let mut walk = Walk::new(64);
        for _ in 0..2 {
            let mut seen: Vec<u64> = (0..64).map(|_| walk.next()).collect();
            seen.sort_unstable();
            assert_eq!(seen, (0..64).collect::<Vec<_>>());
        }
    }

    #[test]
    fn keys_are_decimal_and_distinct() {
        assert_eq!(&key(42), b"key:000000000042");
        assert_ne!(key(1), key(10));
    }
}
