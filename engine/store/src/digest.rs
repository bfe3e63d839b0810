//! The hash that replicas compare. It is the same on all machines. The index hash would not do: it is seeded
//! per process and depends on the CPU.

use synod_types::{CommandRef, Op, Reply, Version};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A running hash over words.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Digest(u64);

impl Digest {
    /// Starts a hash of one kind of object.
    pub(crate) fn new(kind: u64) -> Self {
        Self(mix(kind))
    }
    #[must_use]
    pub(crate) fn word(self, word: u64) -> Self {
        Self(mix(self.0.rotate_left(5) ^ word))
    }
    #[must_use]
    pub(crate) fn version(self, version: Version) -> Self {
        self.word(version.slot.get()).word(u64::from(version.position))
    }
    #[must_use]
    pub(crate) fn bytes(self, bytes: &[u8]) -> Self {
        let mut digest = self.word(bytes.len() as u64);
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            digest = digest.word(u64::from_le_bytes(word));
        }
        digest
    }
    #[must_use]
    pub(crate) fn reply(self, reply: Reply<&[u8]>) -> Self {
        match reply {
            Reply::Done { version } => self.word(1).version(version),
            Reply::Skipped => self.word(2),
            Reply::Value { value, version } => self.word(3).version(version).bytes(value),
            Reply::Nil => self.word(4),
            Reply::Int(number) => self.word(5).word(number.cast_unsigned()),
            Reply::Session(id) => self.word(6).word(id.get()),
            Reply::Error(kind) => self.word(7).word(kind as u64),
        }
    }
    pub(crate) fn get(self) -> u64 {
        self.0
    }
}

/// A hash of a command without its stamp: equal for the same command sent again, on all machines. A value
/// that the operation already has a checksum of is not read again.
pub(crate) fn fingerprint(command: &CommandRef<'_>) -> u64 {
    let operand = match command.op {
        Op::Set { .. } => 0,
        _ => xxh3_64_with_seed(command.operand, 1),
    };
    let seed = operand ^ (command.operand.len() as u64) << 16 ^ u64::from(command.namespace.get());
    xxh3_64_with_seed(&command.op.to_bytes(), xxh3_64_with_seed(command.key, seed))
}

/// The finaliser of SplitMix64: a bijection that spreads every input bit over all output bits.
pub(crate) fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}
