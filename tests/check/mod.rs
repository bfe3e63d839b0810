//! Checkers: the invariants of a run, one file each, with the protocol rule (docs/protocol.md) or the paper
//! it comes from.
//!
//! May not: know the simulator. A checker is told what was observed and answers with a [`Violation`] or
//! nothing, so that it can be tested on histories written by hand.

pub mod agreement;
pub mod brute;
pub mod coverage;
pub mod durable;
pub mod family;
pub mod history;
pub mod lease;
pub mod model;
pub mod monotone;
pub mod version;
pub mod wgl;

use std::fmt;

/// An invariant that did not hold, with the state that shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which invariant: the checker's name.
    pub invariant: &'static str,
    /// The observation, for a reader who has nothing else.
    pub detail: String,
}

impl Violation {
    /// A violation of `invariant`.
    pub fn new(invariant: &'static str, detail: impl Into<String>) -> Self {
        Self { invariant, detail: detail.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {}", self.invariant, self.detail)
    }
}

/// The result of a check.
pub type Checked = Result<(), Violation>;
