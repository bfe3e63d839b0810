//! A version in eight bytes: slot and position packed in an order-preserving way. Twice as many keys fit a
//! cache line.

use synod_types::{Slot, Version};

const POSITION_BITS: u32 = 16;
const _: () = assert!(synod_types::limits::BATCH_COMMANDS_MAX <= 1 << POSITION_BITS);

/// `slot << 16 | position`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct PackedVersion(u64);

impl PackedVersion {
    /// Before every version.
    pub(crate) const ZERO: Self = Self(0);

    /// # Panics
    /// When the slot passes 2^47 (after four years of one group at a million slots a second) or the position
    /// passes a batch. The highest bit is left for session ids.
    pub(crate) fn pack(version: Version) -> Self {
        assert!(version.slot.get() >> (63 - POSITION_BITS) == 0, "slot number past 2^47");
        assert!(version.position >> POSITION_BITS == 0, "position past a batch");
        Self(version.slot.get() << POSITION_BITS | u64::from(version.position))
    }
    pub(crate) fn unpack(self) -> Version {
        debug_assert!(self.0 >> 63 == 0, "the highest bit is for session ids");
        Version {
            slot: Slot::new(self.0 >> POSITION_BITS),
            position: (self.0 & ((1 << POSITION_BITS) - 1)) as u32, // 16 bits
        }
    }
    pub(crate) fn get(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_keeps_order_and_comes_back() {
        let version = |slot, position| Version { slot: Slot::new(slot), position };
        let versions =
            [version(0, 0), version(0, 511), version(1, 0), version(1, 1), version((1 << 47) - 1, 511)];
        for pair in versions.windows(2) {
            assert!(PackedVersion::pack(pair[0]) < PackedVersion::pack(pair[1]));
        }
        for version in versions {
            assert_eq!(PackedVersion::pack(version).unpack(), version);
        }
    }
}
