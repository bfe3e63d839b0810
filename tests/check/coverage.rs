//! Coverage marks: the situations that a set of runs has met. A simulator that never sees a retry executed
//! twice, a torn tail or a read from the log proves nothing about them.

use std::collections::BTreeMap;
use std::fmt;

/// How often each mark was met.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Coverage {
    marks: BTreeMap<&'static str, u64>,
}

impl Coverage {
    /// No mark met yet.
    pub fn new() -> Self {
        Self::default()
    }
    /// Counts `mark` once.
    pub fn meet(&mut self, mark: &'static str) {
        *self.marks.entry(mark).or_default() += 1;
    }
    /// How often `mark` was met.
    pub fn count(&self, mark: &str) -> u64 {
        self.marks.get(mark).copied().unwrap_or(0)
    }
    /// Adds the marks of other runs.
    pub fn add(&mut self, other: &Self) {
        for (mark, count) in &other.marks {
            *self.marks.entry(mark).or_default() += count;
        }
    }
    /// The marks of `wanted` that were never met.
    pub fn missing<'a>(&self, wanted: &[&'a str]) -> Vec<&'a str> {
        wanted.iter().copied().filter(|mark| self.count(mark) == 0).collect()
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (mark, count) in &self.marks {
            writeln!(f, "{count:>12} {mark}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_add_up_and_missing_ones_are_named() {
        let (mut a, mut b) = (Coverage::new(), Coverage::new());
        a.meet("x");
        b.meet("x");
        b.meet("y");
        a.add(&b);
        assert_eq!((a.count("x"), a.count("y")), (2, 1));
        assert_eq!(a.missing(&["y", "z"]), ["z"]);
    }
}
