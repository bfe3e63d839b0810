//! The only source of randomness in a simulation: xoshiro256** seeded by splitmix64 (Blackman & Vigna 2018),
//! with streams forked by name.
//!
//! Each concern draws from a stream of its own. So a new draw in one of them leaves the decisions of the
//! others unchanged, and a seed stays comparable while the simulator grows.

/// A deterministic generator.
#[derive(Clone, Debug)]
pub struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// The stream of `seed`.
    pub fn new(seed: u64) -> Self {
        let mut mix = seed;
        Self { state: std::array::from_fn(|_| split_mix(&mut mix)) }
    }

    /// The stream named `name` of `seed`.
    pub fn named(seed: u64, name: &str) -> Self {
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Self::new(seed ^ hash)
    }

    /// The next 64 bits.
    pub fn draw(&mut self) -> u64 {
        let result = self.state[1].wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let shifted = self.state[1] << 17;
        self.state[2] ^= self.state[0];
        self.state[3] ^= self.state[1];
        self.state[1] ^= self.state[2];
        self.state[0] ^= self.state[3];
        self.state[2] ^= shifted;
        self.state[3] = self.state[3].rotate_left(45);
        result
    }

    /// A number in `0..bound`.
    ///
    /// # Panics
    /// When `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "nothing lies below 0");
        // Multiply-shift; its bias (bound / 2^64) does not matter here.
        ((u128::from(self.draw()) * u128::from(bound)) >> 64) as u64
    }

    /// A number in `low..=high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        assert!(low <= high, "an empty range");
        low + self.below(high - low + 1)
    }

    /// An index into something of `len` elements.
    pub fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    /// One of `items`.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.index(items.len())]
    }

    /// True `per_million` times in a million.
    pub fn chance(&mut self, per_million: u64) -> bool {
        self.below(1_000_000) < per_million
    }

    /// True half of the time.
    pub fn coin(&mut self) -> bool {
        self.draw() >> 63 == 1
    }

    /// An exponentially distributed number with this mean, capped at twelve times the mean.
    pub fn exponential(&mut self, mean: u64) -> u64 {
        // ln over 53 random bits in (0, 1] would be exact enough only if all math libraries agreed, so the
        // logarithm is taken in fixed point: the position of the first 1 in a row of coin flips, refined
        // linearly.
        let bits = self.draw() | 1;
        let zeros = u64::from(bits.leading_zeros()).min(16);
        let fraction = (bits << (zeros + 1)) >> 48; // 16 bits: how far towards the next halving
        let halvings = (zeros << 16) + (0xffff - fraction); // in 1/65536 halvings
        // ln 2 = 45426/65536
        let scaled = (u128::from(halvings) * 45426 * u128::from(mean)) >> 32;
        (scaled as u64).min(mean.saturating_mul(12))
    }
}

fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_repeat_and_differ_by_name() {
        let draw = |mut rng: Rng| (0..8).map(|_| rng.draw()).collect::<Vec<_>>();
        assert_eq!(draw(Rng::named(7, "net")), draw(Rng::named(7, "net")));
        assert_ne!(draw(Rng::named(7, "net")), draw(Rng::named(7, "disk")));
        assert_ne!(draw(Rng::named(7, "net")), draw(Rng::named(8, "net")));
    }

    #[test]
    fn draws_stay_in_range_and_reach_both_ends() {
        let mut rng = Rng::new(1);
        let mut seen = [0_u32; 5];
        for _ in 0..1000 {
            seen[rng.between(3, 7) as usize - 3] += 1;
        }
        assert!(seen.iter().all(|&count| count > 100), "{seen:?}");
    }

    #[test]
    fn exponential_draws_have_their_mean() {
        let mut rng = Rng::new(2);
        let sum: u64 = (0..100_000).map(|_| rng.exponential(1000)).sum();
        assert!((90_000_000..110_000_000).contains(&sum), "{sum}");
    }
}
