//! The sizes of values: `4096`, `uniform:A:B`, `zipfian:A:B`, or weights such as `100:0.5,4096:0.5`.
//!
//! A size is a function of one number in `[0, 1)`. A value that is sent again, because its first send got no
//! answer, therefore has the same size.

use crate::zipf::{THETA_USUAL, Zipf};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Most sizes that weights may name.
const WEIGHTS_MAX: usize = 64;

/// A distribution of sizes, in bytes.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ValueSizes {
    /// Always this size.
    Fixed(u32),
    /// All sizes from the first to the second, both included, are equally likely.
    Uniform(u32, u32),
    /// Sizes from the first to the second, small ones most often; see [`crate::zipf`].
    Zipfian(u32, u32),
    /// These sizes with these weights, which need not add up to 1.
    Weights(Vec<(u32, f64)>),
}

impl ValueSizes {
    /// The smallest size.
    pub fn least(&self) -> u32 {
        match self {
            Self::Fixed(size) | Self::Uniform(size, _) | Self::Zipfian(size, _) => *size,
            Self::Weights(weights) => weights.iter().map(|&(size, _)| size).min().unwrap_or(0),
        }
    }
    /// The largest size.
    pub fn most(&self) -> u32 {
        match self {
            Self::Fixed(size) | Self::Uniform(_, size) | Self::Zipfian(_, size) => *size,
            Self::Weights(weights) => weights.iter().map(|&(size, _)| size).max().unwrap_or(0),
        }
    }
    /// The mean size in bytes; for `zipfian`, computed from a thousand draws at equal distances.
    pub fn mean(&self) -> f64 {
        match self {
            Self::Fixed(size) => f64::from(*size),
            Self::Uniform(least, most) => (f64::from(*least) + f64::from(*most)) / 2.0,
            Self::Weights(weights) => {
                let total: f64 = weights.iter().map(|(_, weight)| weight).sum();
                weights.iter().map(|&(size, weight)| f64::from(size) * weight / total).sum()
            }
            Self::Zipfian(..) => {
                let sampler = SizeSampler::new(self);
                (0..1000).map(|at| f64::from(sampler.size((f64::from(at) + 0.5) / 1000.0))).sum::<f64>()
                    / 1000.0
            }
        }
    }
}

impl Default for ValueSizes {
    fn default() -> Self {
        Self::Fixed(4096)
    }
}

impl From<u32> for ValueSizes {
    fn from(size: u32) -> Self {
        Self::Fixed(size)
    }
}

impl FromStr for ValueSizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bytes = |part: &str| {
            part.parse::<u32>()
                .map_err(|_| format!("{part:?} in {text:?} is not a number of bytes such as 4096"))
        };
        let span = |rest: &str| {
            let both =
                rest.split_once(':').map(|(least, most)| Ok::<_, String>((bytes(least)?, bytes(most)?)));
            match both.transpose()? {
                Some((least, most)) if least <= most => Ok((least, most)),
                _ => Err(format!("{text:?}: write NAME:A:B with A not above B, such as uniform:100:4096")),
            }
        };
        if let Some(rest) = text.strip_prefix("uniform:") {
            let (least, most) = span(rest)?;
            return Ok(Self::Uniform(least, most));
        }
        if let Some(rest) = text.strip_prefix("zipfian:") {
            let (least, most) = span(rest)?;
            return Ok(Self::Zipfian(least, most));
        }
        if !text.contains(':') {
            return Ok(Self::Fixed(bytes(text).map_err(|_| {
                format!("{text:?} is not one of BYTES, uniform:A:B, zipfian:A:B, BYTES:WEIGHT,BYTES:WEIGHT…")
            })?));
        }
        let weigh = |part: &str| {
            let (size, weight) = part
                .split_once(':')
                .ok_or(format!("{part:?} in {text:?} has no weight: write BYTES:WEIGHT"))?;
            let weight: f64 =
                weight.parse().map_err(|_| format!("{weight:?} in {text:?} is not a weight such as 0.5"))?;
            if !(weight.is_finite() && weight > 0.0) {
                return Err(format!("{text:?}: a weight must be above 0"));
            }
            Ok((bytes(size)?, weight))
        };
        let weights: Vec<_> = text.split(',').map(weigh).collect::<Result<_, String>>()?;
        if weights.len() > WEIGHTS_MAX {
            return Err(format!("{text:?} names more than {WEIGHTS_MAX} sizes"));
        }
        Ok(Self::Weights(weights))
    }
}

impl TryFrom<String> for ValueSizes {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<ValueSizes> for String {
    fn from(sizes: ValueSizes) -> Self {
        sizes.to_string()
    }
}

impl fmt::Display for ValueSizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(size) => write!(f, "{size}"),
            Self::Uniform(least, most) => write!(f, "uniform:{least}:{most}"),
            Self::Zipfian(least, most) => write!(f, "zipfian:{least}:{most}"),
            Self::Weights(weights) => {
                let parts: Vec<_> = weights.iter().map(|(size, weight)| format!("{size}:{weight}")).collect();
                write!(f, "{}", parts.join(","))
            }
        }
    }
}

/// Draws sizes.
#[derive(Clone, Debug)]
pub struct SizeSampler {
    law: Law,
}

#[derive(Clone, Debug)]
enum Law {
    Uniform(u32, u32),
    Zipfian(u32, Zipf),
    /// Sizes, each with the sum of the weights up to and including it, as a share of the total.
    Steps(Vec<(u32, f64)>),
}

impl SizeSampler {
    /// A sampler of `sizes`.
    pub fn new(sizes: &ValueSizes) -> Self {
        let law = match sizes {
            ValueSizes::Fixed(size) => Law::Uniform(*size, *size),
            ValueSizes::Uniform(least, most) => Law::Uniform(*least, *most),
            ValueSizes::Zipfian(least, most) => {
                Law::Zipfian(*least, Zipf::new(u64::from(most - least) + 1, THETA_USUAL))
            }
            ValueSizes::Weights(weights) => {
                let total: f64 = weights.iter().map(|(_, weight)| weight).sum();
                let mut sum = 0.0;
                let step = |&(size, weight): &(u32, f64)| {
                    sum += weight / total;
                    (size, sum)
                };
                Law::Steps(weights.iter().map(step).collect())
            }
        };
        Self { law }
    }
    /// The size for `unit`, a number in `[0, 1)`.
    pub fn size(&self, unit: f64) -> u32 {
        match &self.law {
            // The cast value is below the number of sizes, so it fits in 32 bits.
            Law::Uniform(least, most) => least + ((f64::from(most - least) + 1.0) * unit) as u32,
            Law::Zipfian(least, zipf) => least + zipf.rank(unit) as u32,
            Law::Steps(steps) => {
                let found = steps.iter().find(|(_, sum)| unit < *sum).or(steps.last());
                found.expect("weights are parsed from at least one").0
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_are_read_and_written_back() {
        for (text, sizes) in [
            ("4096", ValueSizes::Fixed(4096)),
            ("uniform:100:200", ValueSizes::Uniform(100, 200)),
            ("zipfian:40:1000", ValueSizes::Zipfian(40, 1000)),
            ("100:0.5,4096:0.5", ValueSizes::Weights(vec![(100, 0.5), (4096, 0.5)])),
            ("100:3", ValueSizes::Weights(vec![(100, 3.0)])),
        ] {
            assert_eq!(text.parse(), Ok(sizes.clone()));
            assert_eq!(sizes.to_string(), text);
        }
        for bad in
            ["", "big", "-1", "uniform:1", "uniform:9:8", "zipfian:a:b", "100:0", "100:x", "1:1,2", "1:NaN"]
        {
            let error = bad.parse::<ValueSizes>().expect_err(bad);
            assert!(error.contains('"'), "{error} does not quote what was wrong");
        }
    }

    #[test]
    fn weights_get_their_shares_and_uniform_its_ends() {
        let sampler = SizeSampler::new(&"100:1,4096:2,9:1".parse().expect("good"));
        let mut counts = std::collections::BTreeMap::<u32, u32>::new();
        (0..4000).for_each(|at| *counts.entry(sampler.size(f64::from(at) / 4000.0)).or_default() += 1);
        assert_eq!(counts.into_iter().collect::<Vec<_>>(), [(9, 1000), (100, 1000), (4096, 2000)]);
        let sampler = SizeSampler::new(&ValueSizes::Uniform(10, 13));
        let drawn: Vec<_> = (0..8).map(|at| sampler.size(f64::from(at) / 8.0)).collect();
        assert_eq!(drawn, [10, 10, 11, 11, 12, 12, 13, 13]);
    }

    proptest! {
        #[test]
        fn every_size_lies_between_the_ends(a in 0_u32..2000, b in 0_u32..2000, unit in 0.0_f64..1.0) {
            let (least, most) = (a.min(b), a.max(b));
            for sizes in [
                ValueSizes::Fixed(least),
                ValueSizes::Uniform(least, most),
                ValueSizes::Zipfian(least, most),
                ValueSizes::Weights(vec![(least, 0.1), (most, 0.7)]),
            ] {
                let size = SizeSampler::new(&sizes).size(unit);
                prop_assert!((sizes.least()..=sizes.most()).contains(&size));
                prop_assert!(f64::from(sizes.least()) <= sizes.mean() && sizes.mean() <= f64::from(sizes.most()));
            }
        }
    }
}
