//! Medians, spreads and ratios of a handful of rounds.

use serde::Serialize;

/// The median and the extremes of some figures.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Spread {
    /// The figure in the middle, or the mean of the two in the middle.
    pub median: f64,
    /// The least.
    pub least: f64,
    /// The greatest.
    pub most: f64,
}

impl Spread {
    /// The spread of these figures; `None` if there are none.
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = figures.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (&least, &most) = (sorted.first()?, sorted.last()?);
        let middle = sorted.len() / 2;
        let median =
            if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 };
        Some(Self { median, least, most })
    }

    /// The spread of the ratios of figures of the same round. A round that lacks one of the two is left out,
    /// because figures of different rounds belong to different moments of the machine.
    pub fn of_ratios(above: &[Option<f64>], below: &[Option<f64>]) -> Option<Self> {
        let pairs = above.iter().zip(below).filter_map(|(above, below)| Some((*above)? / (*below)?));
        Self::of(pairs.filter(|ratio| ratio.is_finite()))
    }

    /// `12345 (11000 to 13000)`; the extremes are left out if they are equal.
    pub fn show(&self, decimals: usize) -> String {
        let Self { median, least, most } = self;
        if least == most {
            return format!("{median:.decimals$}");
        }
        format!("{median:.decimals$} ({least:.decimals$} to {most:.decimals$})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(Spread::of([]), None);
        assert_eq!(Spread::of([3.0]), Some(Spread { median: 3.0, least: 3.0, most: 3.0 }));
        assert_eq!(Spread::of([9.0, 1.0, 2.0]), Some(Spread { median: 2.0, least: 1.0, most: 9.0 }));
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 9.0]).unwrap().median, 3.0);
    }

    #[test]
    fn ratios_are_of_the_same_round() {
        // Both figures doubled in the second round: the ratio is 2 in each round, though it would be 1 across
        // rounds.
        let ratio = Spread::of_ratios(&[Some(2.0), Some(4.0)], &[Some(1.0), Some(2.0)]).unwrap();
        assert_eq!((ratio.least, ratio.most), (2.0, 2.0));
        assert_eq!(Spread::of_ratios(&[Some(2.0), None], &[None, Some(1.0)]), None);
        assert_eq!(Spread::of_ratios(&[Some(2.0)], &[Some(0.0)]), None, "nothing was done: no ratio");
    }

    #[test]
    fn the_ends_are_shown_where_they_differ() {
        assert_eq!(Spread::of([1.234]).unwrap().show(2), "1.23");
        assert_eq!(Spread::of([1.0, 2.0, 4.0]).unwrap().show(1), "2.0 (1.0 to 4.0)");
    }
}
