//! `Values`: the given settings, each valid by itself, and the defaults of the others.

use super::raw::{RawValues, Sourced};
use super::row::Setting;
use super::settings::ROWS;
use super::shape::Shape;
use crate::refusal::Refusal;
use std::collections::BTreeMap;

/// Values by the name of their setting, as they are shown.
pub(super) type ShownValues = BTreeMap<&'static str, Sourced<String>>;

/// Checked values.
pub(super) struct Values(RawValues);

impl Values {
    /// Checks each value against its setting.
    pub(super) fn check(values: RawValues) -> Result<Self, Refusal> {
        for row in ROWS {
            values.get(row.name).map_or(Ok(()), |raw| row.check(raw))?;
        }
        Ok(Self(values))
    }

    /// The value of `setting`, if it was given.
    pub(super) fn given<S: Shape>(&self, setting: &Setting<S>) -> Option<Sourced<S::Value>> {
        setting.given(&self.0).expect("the values were checked")
    }

    /// The value of `setting`, or its default.
    pub(super) fn value<S: Shape>(&self, setting: &Setting<S>) -> S::Value {
        self.given(setting).map_or_else(|| setting.default_value(), |given| given.value)
    }

    /// The given values with their sources; passwords are hidden.
    pub(super) fn shown(&self) -> ShownValues {
        self.0.iter().map(|(name, raw)| (*name, raw.clone().map(|value| value.plain()))).collect()
    }
}
