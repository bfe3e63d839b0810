//! `Explained`: one setting with the value in force and where that comes from.

use std::fmt;

/// The source of a value that nobody gave.
pub const DEFAULT_SOURCE: &str = "default";

/// A setting as `synod config explain` shows it. The value of a secret is hidden.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Explained {
    /// `section.key`.
    pub name: &'static str,
    /// The value in force.
    pub value: String,
    /// The file, line and key; or the flag; or the variable; or what the value is derived from; or `default`.
    pub source: String,
    /// Whether the file, a variable or a flag gives it.
    pub is_given: bool,
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<26} = {:<24} # {}", self.name, self.value, self.source)
    }
}
