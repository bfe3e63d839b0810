//! Zipfian ranks: rank `i` of `n` (from 0) has the weight `1 / (i + 1)^theta`.
//!
//! The method is that of Gray, Sundaresan, Englert, Baclawski and Weinberger, "Quickly generating
//! billion-record synthetic databases" (SIGMOD 1994, section 3.2), which YCSB uses too (Cooper et al., SoCC
//! 2010):
//!
//! ```text
//!  zeta(n) = sum of 1 / i^theta, i = 1..n
//!  alpha   = 1 / (1 - theta)
//!  eta     = (1 - (2 / n)^(1 - theta)) / (1 - zeta(2) / zeta(n))
//!  u in [0, 1):   u * zeta(n) < 1                 -> rank 0
//!                 u * zeta(n) < 1 + (1/2)^theta   -> rank 1
//!                 else                            -> floor(n * (eta * u - eta + 1)^alpha)
//! ```
//! The first two ranks have their exact weights. The others follow the continuous distribution, so that a
//! draw costs two comparisons and one power instead of a search.

/// The skew that YCSB uses: of 100 000 keys, the first gets about 8 % of all requests.
pub const THETA_USUAL: f64 = 0.99;

/// A Zipfian distribution over a number of items that may grow.
#[derive(Clone, Debug)]
pub struct Zipf {
    items: u64,
    theta: f64,
    zeta: f64,
    zeta_two: f64,
    alpha: f64,
    eta: f64,
}

impl Zipf {
    /// The distribution over `items` items with the skew `theta`. Takes time in proportion to `items`.
    ///
    /// # Panics
    /// When there is no item, or `theta` is not between 0 and 1 (both excluded).
    pub fn new(items: u64, theta: f64) -> Self {
        assert!(items > 0, "a law over nothing");
        assert!(theta > 0.0 && theta < 1.0, "the method needs a skew between 0 and 1");
        let zeta = (1..=items).map(|item| (item as f64).powf(-theta)).sum(); // few enough items to be exact
        let zeta_two = 1.0 + 0.5_f64.powf(theta);
        let mut zipf = Self { items, theta, zeta, zeta_two, alpha: 1.0 / (1.0 - theta), eta: 0.0 };
        zipf.set_eta();
        zipf
    }
    /// The number of items.
    pub fn items(&self) -> u64 {
        self.items
    }
    /// Adds an item, the least popular one.
    pub fn grow(&mut self) {
        self.items += 1;
        self.zeta += (self.items as f64).powf(-self.theta);
        self.set_eta();
    }
    /// The rank for `unit`, a number in `[0, 1)`; rank 0 is the most popular.
    pub fn rank(&self, unit: f64) -> u64 {
        let weight = unit * self.zeta;
        let rank = if weight < 1.0 {
            0
        } else if weight < self.zeta_two {
            1
        } else {
            // Rounded down, as in the paper; NaN becomes 0.
            (self.items as f64 * (self.eta * unit - self.eta + 1.0).powf(self.alpha)) as u64
        };
        rank.min(self.items - 1)
    }

    fn set_eta(&mut self) {
        let head = (2.0 / self.items as f64).powf(1.0 - self.theta);
        self.eta = (1.0 - head) / (1.0 - self.zeta_two / self.zeta);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use proptest::prelude::*;

    /// The share of each rank, from the formulas above solved for `u`.
    fn shares(items: u64, theta: f64) -> Vec<f64> {
        let zeta: f64 = (1..=items).map(|i| 1.0 / (i as f64).powf(theta)).sum();
        let two = 1.0 + 0.5_f64.powf(theta);
        let eta = (1.0 - (2.0 / items as f64).powf(1.0 - theta)) / (1.0 - two / zeta);
        let border = |rank: u64| {
            let u = (((rank as f64 / items as f64).powf(1.0 - theta)) - 1.0 + eta) / eta;
            u.clamp(two / zeta, 1.0)
        };
        (0..items)
            .map(|rank| match rank {
                0 => 1.0 / zeta,
                1 => (two - 1.0) / zeta,
                _ => border(rank + 1) - border(rank),
            })
            .collect()
    }

    fn counts(zipf: &Zipf, draws: u32, seed: u64) -> Vec<f64> {
        let mut random = Random::new(seed, 0);
        let mut counts = vec![0.0; zipf.items() as usize];
        (0..draws).for_each(|_| counts[zipf.rank(random.unit()) as usize] += 1.0);
        counts
    }

    #[test]
    fn frequencies_are_those_of_the_formula() {
        let draws = 400_000;
        for (items, theta) in [(50, 0.99), (1000, 0.99), (1000, 0.5), (300, 0.8)] {
            let counted = counts(&Zipf::new(items, theta), draws, 11);
            let mut chi_square = 0.0;
            for (rank, share) in shares(items, theta).iter().enumerate() {
                let expected = share * f64::from(draws);
                if expected < 1.0 {
                    assert!(counted[rank] < 20.0, "{items} {theta}: rank {rank} {}", counted[rank]);
                    continue;
                }
                chi_square += (counted[rank] - expected).powi(2) / expected;
            }
            // Mean n, deviation sqrt(2 n): chance exceeds the mean by five deviations once in a million.
            let bound = items as f64 + 5.0 * (2.0 * items as f64).sqrt();
            assert!(chi_square < bound, "{items} {theta}: {chi_square} is not below {bound}");
        }
    }

    #[test]
    fn the_head_has_the_share_of_the_exact_law() {
        let items = 100_000;
        let counted = counts(&Zipf::new(items, THETA_USUAL), 1_000_000, 3);
        let zeta: f64 = (1..=items).map(|i| (i as f64).powf(-THETA_USUAL)).sum();
        for head in [1_u64, 2, 10, 100, 10_000] {
            let exact: f64 = (1..=head).map(|i| (i as f64).powf(-THETA_USUAL)).sum::<f64>() / zeta;
            let got = counted[..head as usize].iter().sum::<f64>() / 1e6;
            // The continuous law gives the ranks from 2 on a little less than theirs.
            assert!((got / exact - 1.0).abs() < 0.06, "the first {head}: {got} instead of {exact}");
        }
    }

    #[test]
    fn a_law_that_grew_is_the_law_of_its_size() {
        let mut grown = Zipf::new(10, 0.9);
        (10..500).for_each(|_| grown.grow());
        let made = Zipf::new(500, 0.9);
        assert_eq!(grown.items(), 500);
        assert!((0..1000).all(|at| grown.rank(f64::from(at) / 1000.0) == made.rank(f64::from(at) / 1000.0)));
    }

    proptest! {
        #[test]
        fn a_rank_is_one_of_the_items(items in 1_u64..3000, theta in 0.01_f64..0.999, unit in 0.0_f64..1.0) {
            let zipf = Zipf::new(items, theta);
            prop_assert!(zipf.rank(unit) < items);
            prop_assert!(zipf.rank(1.0 - f64::EPSILON / 2.0) < items);
            prop_assert_eq!(zipf.rank(0.0), 0);
        }

        #[test]
        fn ranks_rise_with_the_number_drawn(items in 3_u64..3000, one in 0.0_f64..1.0, two in 0.0_f64..1.0) {
            let zipf = Zipf::new(items, 0.99);
            prop_assert!(zipf.rank(one.min(two)) <= zipf.rank(one.max(two)));
        }
    }
}
