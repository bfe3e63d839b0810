//! `RawValue`: a value as it was given, before its setting has checked it. `RawConfig`: all of them, each with
//! the place where it was given.

use std::collections::BTreeMap;
use std::fmt;
use synod_net::access::{HIDDEN, Secret};

/// A value and its source.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sourced<T> {
    /// The value.
    pub value: T,
    /// The file, line and key; or the flag; or the environment variable.
    pub place: String,
}

impl<T> Sourced<T> {
    /// Converts the value and keeps the place.
    pub fn map<U>(self, convert: impl FnOnce(T) -> U) -> Sourced<U> {
        Sourced { value: convert(self.value), place: self.place }
    }
}

/// A value whose setting has not checked it yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RawValue {
    /// A whole number.
    Int(u64),
    /// A string from a file.
    Text(String),
    /// A list of whole numbers.
    List(Vec<u64>),
    /// The word of a flag or an environment variable. Its setting decides whether it is a number, a string or
    /// a list.
    Word(String),
    /// A string from either source for a setting that is never shown.
    Secret(Secret),
}

impl RawValue {
    /// Wraps the value of a setting that is never shown.
    pub(super) fn concealed(self) -> Self {
        match self {
            Self::Text(text) | Self::Word(text) => Self::Secret(Secret::new(text.into_bytes())),
            // Not a string, so it is refused like an empty one. It may have been meant as a password.
            Self::Int(_) | Self::List(_) => Self::Secret(Secret::new(Vec::new())),
            secret @ Self::Secret(_) => secret,
        }
    }

    /// The value without the quotes that error messages put around it.
    pub(super) fn plain(&self) -> String {
        match self {
            Self::Word(word) | Self::Text(word) => word.clone(),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for RawValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(number) => write!(f, "{number}"),
            Self::Text(text) => write!(f, "\"{text}\""),
            Self::List(numbers) => write!(f, "{numbers:?}"),
            Self::Word(word) => write!(f, "'{word}'"),
            Self::Secret(_) => f.write_str(HIDDEN),
        }
    }
}

/// Values by the name of their setting.
pub type RawValues = BTreeMap<&'static str, Sourced<RawValue>>;

/// One member in the file: the values of its keys, with the place of its table.
pub type RawMember = Sourced<RawValues>;

/// All given values: those of one source, or of all sources merged.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RawConfig {
    /// The settings, by name.
    pub values: RawValues,
    /// The members, in the order of the file.
    pub members: Vec<RawMember>,
}
