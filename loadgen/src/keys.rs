//! How keys are drawn: the named distributions, and the sampler.
//!
//! A seeded permutation maps ranks (0 is the most popular) to keys, so that hot keys are spread out and every
//! seed has different ones. Unlike a hash, a permutation gives every rank a key of its own, so the
//! frequencies stay those of the formula.

use crate::random::{Random, mix};
use crate::zipf::{THETA_USUAL, Zipf};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A key distribution. Spelled `uniform`, `zipfian[:theta]`, `latest[:theta]`,
/// `hotspot:FRACTION_KEYS:FRACTION_OPS`.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum KeysDist {
    /// All keys are equally likely.
    #[default]
    Uniform,
    /// A few keys are drawn most often; see [`crate::zipf`].
    Zipfian {
        /// The skew, between 0 and 1.
        theta: f64,
    },
    /// Zipfian by age: the newest key is drawn most often.
    Latest {
        /// The skew, between 0 and 1.
        theta: f64,
    },
    /// A share of the keys gets a share of the operations; within both parts all keys are equally likely.
    Hotspot {
        /// Share of the keys that is hot, above 0 and below 1.
        keys: f64,
        /// Share of the operations that goes to them, 0 to 1.
        ops: f64,
    },
}

impl FromStr for KeysDist {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(':');
        let name = parts.next().unwrap_or_default();
        let numbers: Vec<f64> = parts
            .map(|part| {
                part.parse().map_err(|_| format!("{part:?} in {text:?} is not a number such as 0.99"))
            })
            .collect::<Result<_, _>>()?;
        let theta = |numbers: &[f64]| match numbers {
            [] => Ok(THETA_USUAL),
            [theta] if *theta > 0.0 && *theta < 1.0 => Ok(*theta),
            _ => Err(format!(
                "{text:?}: the skew must be one number above 0 and below 1, such as {THETA_USUAL}"
            )),
        };
        match (name, numbers.as_slice()) {
            ("uniform", []) => Ok(Self::Uniform),
            ("zipfian", numbers) => Ok(Self::Zipfian { theta: theta(numbers)? }),
            ("latest", numbers) => Ok(Self::Latest { theta: theta(numbers)? }),
            ("hotspot", &[keys, ops]) if keys > 0.0 && keys < 1.0 && (0.0..=1.0).contains(&ops) => {
                Ok(Self::Hotspot { keys, ops })
            }
            ("hotspot", _) => Err(format!(
                "{text:?}: write hotspot:FRACTION_KEYS:FRACTION_OPS, such as hotspot:0.2:0.8 (keys above 0 and \
                 below 1, operations 0 to 1)"
            )),
            _ => Err(format!(
                "{text:?} is not one of uniform, zipfian[:theta], latest[:theta], hotspot:FRACTION_KEYS:FRACTION_OPS"
            )),
        }
    }
}

impl TryFrom<String> for KeysDist {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<KeysDist> for String {
    fn from(dist: KeysDist) -> Self {
        dist.to_string()
    }
}

impl fmt::Display for KeysDist {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uniform => write!(f, "uniform"),
            Self::Zipfian { theta } => write!(f, "zipfian:{theta}"),
            Self::Latest { theta } => write!(f, "latest:{theta}"),
            Self::Hotspot { keys, ops } => write!(f, "hotspot:{keys}:{ops}"),
        }
    }
}

/// Draws positions among a number of keys.
#[derive(Clone, Debug)]
pub struct Sampler {
    law: Law,
    scramble: Scramble,
    /// The number of keys at the start. Of the keys added later, only `latest` draws any.
    count: u64,
}

#[derive(Clone, Debug)]
enum Law {
    Uniform,
    Zipfian(Zipf),
    Latest(Zipf),
    Hotspot { hot: u64, ops: f64 },
}

impl Sampler {
    /// A sampler of positions below `count`.
    ///
    /// # Panics
    /// When `count` is 0.
    pub fn new(dist: KeysDist, count: u64, seed: u64) -> Self {
        assert!(count > 0, "a sampler without keys");
        let law = match dist {
            KeysDist::Uniform => Law::Uniform,
            KeysDist::Zipfian { theta } => Law::Zipfian(Zipf::new(count, theta)),
            KeysDist::Latest { theta } => Law::Latest(Zipf::new(count, theta)),
            // At least one key is hot, and at least one is not, if there are two or more.
            KeysDist::Hotspot { keys, ops } => {
                Law::Hotspot { hot: ((count as f64 * keys).round() as u64).clamp(1, (count - 1).max(1)), ops }
            }
        };
        Self { law, scramble: Scramble::new(count, seed), count }
    }
    /// Draws a position. `settled` is how many keys, counted from the first, may be read: never fewer than at
    /// the start.
    pub fn draw(&mut self, random: &mut Random, settled: u64) -> u64 {
        match &mut self.law {
            Law::Uniform => random.below(self.count),
            Law::Zipfian(zipf) => self.scramble.position(zipf.rank(random.unit())),
            Law::Latest(zipf) => {
                while zipf.items() < settled {
                    zipf.grow();
                }
                settled - 1 - zipf.rank(random.unit()).min(settled - 1)
            }
            Law::Hotspot { hot, ops } => {
                let rank = if random.unit() < *ops || *hot == self.count {
                    random.below(*hot)
                } else {
                    *hot + random.below(self.count - *hot)
                };
                self.scramble.position(rank)
            }
        }
    }
}

/// A seeded permutation of `0..count`: a Feistel network over the next even number of bits, applied until the
/// result is below `count` (it has at most four times as many values, so at most four applications on
/// average).
#[derive(Clone, Debug)]
struct Scramble {
    count: u64,
    half_bits: u32,
    seed: u64,
}

impl Scramble {
    const ROUNDS: u64 = 4;

    fn new(count: u64, seed: u64) -> Self {
        let bits = 64 - (count - 1).leading_zeros();
        Self { count, half_bits: bits.div_ceil(2).max(1), seed }
    }
    fn position(&self, rank: u64) -> u64 {
        debug_assert!(rank < self.count, "a rank past the last key");
        let mask = (1_u64 << self.half_bits) - 1;
        let mut value = rank;
        loop {
            let (mut left, mut right) = (value >> self.half_bits, value & mask);
            for round in 0..Self::ROUNDS {
                let turned = left ^ (mix(right ^ mix(self.seed ^ round)) & mask);
                (left, right) = (right, turned);
            }
            value = left << self.half_bits | right;
            if value < self.count {
                return value;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_read_and_written_back() {
        for (text, dist) in [
            ("uniform", KeysDist::Uniform),
            ("zipfian", KeysDist::Zipfian { theta: 0.99 }),
            ("zipfian:0.5", KeysDist::Zipfian { theta: 0.5 }),
            ("latest", KeysDist::Latest { theta: 0.99 }),
            ("latest:0.8", KeysDist::Latest { theta: 0.8 }),
            ("hotspot:0.2:0.8", KeysDist::Hotspot { keys: 0.2, ops: 0.8 }),
        ] {
            assert_eq!(text.parse(), Ok(dist));
            assert_eq!(dist.to_string().parse(), Ok(dist));
            let json = serde_json::to_string(&dist).expect("plain data");
            assert_eq!(serde_json::from_str::<KeysDist>(&json).expect("what was written"), dist);
        }
        for bad in ["", "zipf", "zipfian:1", "zipfian:0", "zipfian:NaN", "latest:a", "hotspot", "hotspot:0.2"]
        {
            assert!(bad.parse::<KeysDist>().is_err(), "{bad:?} was taken");
        }
        for bad in ["hotspot:0:1", "hotspot:1:1", "hotspot:0.1:1.1", "uniform:1", "zipfian:0.5:1"] {
            assert!(bad.parse::<KeysDist>().is_err(), "{bad:?} was taken");
        }
    }

    fn counts(dist: KeysDist, count: u64, draws: u32) -> Vec<u32> {
        let (mut sampler, mut random) = (Sampler::new(dist, count, 42), Random::new(1, 2));
        let mut counts = vec![0; count as usize];
        (0..draws).for_each(|_| counts[sampler.draw(&mut random, count) as usize] += 1);
        counts
    }

    #[test]
    fn uniform_keys_are_all_drawn_about_as_often() {
        assert!(counts(KeysDist::Uniform, 10, 50_000).iter().all(|&n| (4_700..5_300).contains(&n)));
    }

    #[test]
    fn zipfian_keys_have_the_frequencies_of_their_ranks_and_lie_apart() {
        let counted = counts(KeysDist::Zipfian { theta: 0.99 }, 1000, 200_000);
        let mut by_count: Vec<_> = counted.iter().enumerate().map(|(at, &n)| (n, at)).collect();
        by_count.sort_unstable_by(|one, two| two.cmp(one));
        let zeta: f64 = (1..=1000).map(|i| f64::from(i).powf(-0.99)).sum();
        for (rank, &(n, _)) in by_count.iter().take(2).enumerate() {
            let expected = 200_000.0 / zeta / (rank as f64 + 1.0).powf(0.99);
            assert!((f64::from(n) / expected - 1.0).abs() < 0.03, "rank {rank}: {n} instead of {expected}");
        }
        let quarters: std::collections::BTreeSet<_> = by_count[..20].iter().map(|(_, at)| at / 250).collect();
        assert_eq!(quarters.len(), 4, "the hot keys are spread: {:?}", &by_count[..20]);
    }

    #[test]
    fn a_hotspot_gets_its_share() {
        let counted = counts(KeysDist::Hotspot { keys: 0.1, ops: 0.9 }, 1000, 100_000);
        let mut sorted = counted.clone();
        sorted.sort_unstable_by(|one, two| two.cmp(one));
        let hot: u32 = sorted[..100].iter().sum();
        assert!((89_300..90_700).contains(&hot), "{hot}");
        assert!(sorted[99] > 700 && sorted[100] < 50, "{} {}", sorted[99], sorted[100]);
        assert_eq!(counts(KeysDist::Hotspot { keys: 0.5, ops: 0.0 }, 1, 10), [10], "one key is all there is");
    }

    #[test]
    fn the_latest_key_is_drawn_most_even_when_keys_are_added() {
        let dist = KeysDist::Latest { theta: 0.99 };
        let (mut sampler, mut random) = (Sampler::new(dist, 100, 42), Random::new(1, 2));
        for settled in [100_u64, 101, 250] {
            let mut counts = vec![0_u32; settled as usize];
            (0..50_000).for_each(|_| counts[sampler.draw(&mut random, settled) as usize] += 1);
            let zeta: f64 = (1..=settled).map(|i| (i as f64).powf(-0.99)).sum();
            let newest = f64::from(counts[settled as usize - 1]);
            assert!((newest / (50_000.0 / zeta) - 1.0).abs() < 0.04, "{newest} of {settled}");
            let second = f64::from(counts[settled as usize - 2]);
            assert!((second / (50_000.0 / zeta / 2.0_f64.powf(0.99)) - 1.0).abs() < 0.05, "{second}");
        }
    }

    proptest! {
        #[test]
        fn the_scramble_is_a_permutation(count in 1_u64..600, seed: u64) {
            let scramble = Scramble::new(count, seed);
            let mut seen = vec![false; count as usize];
            for rank in 0..count {
                let at = scramble.position(rank) as usize;
                prop_assert!(!std::mem::replace(&mut seen[at], true), "{} twice", at);
            }
        }
    }
}
