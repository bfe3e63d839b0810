//! `Row`: everything about one setting. `Setting<S>`: the row and the type of its values.

use super::raw::{RawValue, RawValues, Sourced};
use super::shape::{AnyShape, Shape};
use crate::refusal::Refusal;

/// The prefix of every environment variable of Synod.
pub const ENV_PREFIX: &str = "SYNOD_";

/// The scope of a setting: where its value holds, and for how long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// Fixed at format and equal on all nodes; a different value later is refused.
    ClusterFact,
    /// Fixed at format for this node only; a different value later is refused.
    NodeFact,
    /// May differ from node to node and from start to start.
    Node,
}

/// The value of a setting that was not given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DefaultValue {
    /// This value, as a flag would have it.
    Word(&'static str),
    /// A value that depends on something else; the text says on what.
    Described(&'static str),
    /// There is none: the setting must be given.
    Required,
}

impl DefaultValue {
    /// The default as shown to people.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Word(text) | Self::Described(text) => text,
            Self::Required => "must be given",
        }
    }
}

/// One setting; the type of its values is erased.
pub struct Row {
    /// `section.key`, as in the file.
    pub name: &'static str,
    /// The long flag, without the dashes.
    pub flag: Option<&'static str>,
    /// When its value may change.
    pub scope: Scope,
    /// The value if it is not given.
    pub default: DefaultValue,
    /// The values it takes.
    pub shape: &'static dyn AnyShape,
    /// Its meaning.
    pub help: &'static str,
}

impl Row {
    /// The section of the file that holds it, and its key there.
    pub fn section(&self) -> (&'static str, &'static str) {
        // Every name has exactly one dot (tested).
        self.name.split_once('.').unwrap_or(("", self.name))
    }
    /// Its key within its section of the file.
    pub fn key(&self) -> &'static str {
        self.section().1
    }
    /// Its environment variable.
    pub fn env(&self) -> String {
        format!("{ENV_PREFIX}{}", self.name.replace('.', "_").to_uppercase())
    }
    /// Whether its value is never shown. Such a setting has no flag, because a command line is visible to
    /// every user of the machine.
    pub fn is_secret(&self) -> bool {
        self.shape.is_secret()
    }
    /// Its meaning, the values it takes, and its default.
    pub fn describe(&self) -> String {
        format!("{} [{}; default: {}]", self.help, self.shape.describe(), self.default.text())
    }
    /// Puts its value among `values`, in place of an earlier one. A secret is concealed from here on.
    pub(super) fn put(&self, raw: Sourced<RawValue>, values: &mut RawValues) {
        values.insert(self.name, if self.is_secret() { raw.map(RawValue::concealed) } else { raw });
    }
    /// Checks that its shape takes this value.
    pub fn check(&self, raw: &Sourced<RawValue>) -> Result<(), Refusal> {
        let refused = |why| Refusal::ConfigValue { place: raw.place.clone(), why };
        self.shape.check(&raw.value).map_err(refused)
    }
}

/// One setting with the type of its values.
pub struct Setting<S: 'static> {
    /// Everything else about it.
    pub row: Row,
    /// The values it takes; the row's shape.
    pub shape: &'static S,
}

impl<S: Shape> Setting<S> {
    /// Its value among `values`; `None` if it was not given.
    pub(super) fn given(&self, values: &RawValues) -> Result<Option<Sourced<S::Value>>, Refusal> {
        let Some(raw) = values.get(self.row.name) else { return Ok(None) };
        match self.shape.read(&raw.value) {
            Ok(value) => Ok(Some(Sourced { value, place: raw.place.clone() })),
            Err(why) => Err(Refusal::ConfigValue { place: raw.place.clone(), why }),
        }
    }

    /// Its default.
    ///
    /// # Panics
    /// When its default is a description and not one value. Such a setting must be read with `given`.
    pub fn default_value(&self) -> S::Value {
        let name = self.row.name;
        let DefaultValue::Word(word) = self.row.default else {
            panic!("the default of {name} is not one value");
        };
        // Every default is a valid value of its setting (tested).
        self.shape
            .read(&RawValue::Word(word.to_owned()))
            .unwrap_or_else(|why| panic!("the default of {name}: {why}"))
    }
}
