//! The random numbers of a simulated disk: a run is reproducible from its seed.

/// SplitMix64: a small generator that takes any seed.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
    /// A number below `bound`, close enough to uniform; 0 when `bound` is 0.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        let drawn = if bound == 0 { 0 } else { self.next() % bound };
        debug_assert!(drawn < bound || drawn == 0);
        drawn
    }
}
