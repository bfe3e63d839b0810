//! `VoiceOptions`: what is written, and how.

use super::filter::Filter;
use super::line::Format;

/// What is written, and how.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VoiceOptions {
    /// The events that are written.
    pub filter: Filter,
    /// How a line looks.
    pub format: Format,
}
