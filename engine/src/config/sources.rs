//! Merges the values of the file, the environment and the flags.
//!
//! A flag wins over a `SYNOD_*` variable, a variable over the file.

use super::file;
use super::raw::{RawConfig, RawValue, Sourced};
use super::settings;
use super::variables;
use crate::refusal::Refusal;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::path::Path;

/// The given flags, by name of the setting. They may include passwords when a cluster is started with values
/// from the environment.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Flags(BTreeMap<&'static str, String>);

impl Flags {
    /// No flags.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Deref for Flags {
    type Target = BTreeMap<&'static str, String>;
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Flags {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl<const N: usize> From<[(&'static str, String); N]> for Flags {
    fn from(given: [(&'static str, String); N]) -> Self {
        given.into_iter().collect()
    }
}

impl FromIterator<(&'static str, String)> for Flags {
    fn from_iter<I: IntoIterator<Item = (&'static str, String)>>(given: I) -> Self {
        Self(given.into_iter().collect())
    }
}

impl IntoIterator for Flags {
    type Item = (&'static str, String);
    type IntoIter = std::collections::btree_map::IntoIter<&'static str, String>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(name, word)| (name, settings::shown(name, word)))).finish()
    }
}

/// Merges all three sources. `env` is the whole environment. The caller has read the file, so this function
/// does no I/O.
pub(super) fn gather(
    file: Option<(&Path, &str)>,
    env: impl Iterator<Item = (String, String)>,
    flags: &Flags,
) -> Result<RawConfig, Refusal> {
    let mut raw = file.map(|(path, text)| file::read(path, text)).transpose()?.unwrap_or_default();
    for (row, word) in variables::settings(env)? {
        row.put(Sourced { value: RawValue::Word(word), place: row.env() }, &mut raw.values);
    }
    for (&name, word) in flags.iter() {
        // Every flag is made from a row.
        let row = settings::find(name).expect("every flag has its row");
        let place = row.flag.map_or_else(|| name.to_owned(), |flag| format!("--{flag}"));
        row.put(Sourced { value: RawValue::Word(word.clone()), place }, &mut raw.values);
    }
    Ok(raw)
}
