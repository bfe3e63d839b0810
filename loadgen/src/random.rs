//! The generator's own random numbers (splitmix64): one seed determines the whole workload. Not for secrets.
//!
//! It is of its own because a run must be reproducible from the seed in its report, also years later: a
//! library may change its algorithm with any version. The twenty lines need no dependency, and no other room
//! shares them, because a change for the sake of another one would change every workload.

/// The splitmix64 sequence.
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

/// The splitmix64 finaliser: a bijection that spreads every input bit over all output bits.
pub fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

impl Random {
    /// A generator whose sequence is determined by `seed` and `stream` together.
    pub fn new(seed: u64, stream: u64) -> Self {
        Self { state: mix(seed) ^ mix(stream.wrapping_add(0x9e37_79b9_7f4a_7c15)).rotate_left(17) }
    }
    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state)
    }
    /// A number in `0..bound`, by widening multiplication: its bias is below `bound / 2^64`.
    ///
    /// # Panics
    /// When `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "no number lies below 0");
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64 // the high half fits
    }
    /// A number in `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64 // 53 bits: exact
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_splitmix64() {
        let mut random = Random { state: 1_234_567 };
        let expected = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        assert_eq!([random.next_u64(), random.next_u64(), random.next_u64()], expected);
    }

    #[test]
    fn below_is_even_and_bounded() {
        let mut random = Random::new(7, 0);
        let mut count = [0_u32; 10];
        for _ in 0..100_000 {
            count[random.below(10) as usize] += 1;
        }
        assert!(count.iter().all(|&n| (9_500..10_500).contains(&n)), "{count:?}");
    }

    #[test]
    fn unit_stays_in_its_range() {
        let mut random = Random::new(7, 1);
        let mean =
            (0..100_000).map(|_| random.unit()).inspect(|u| assert!((0.0..1.0).contains(u))).sum::<f64>();
        assert!((mean / 100_000.0 - 0.5).abs() < 0.01);
    }

    #[test]
    fn streams_differ() {
        assert_ne!(Random::new(1, 0).next_u64(), Random::new(1, 1).next_u64());
        assert_ne!(Random::new(1, 0).next_u64(), Random::new(2, 0).next_u64());
    }
}
