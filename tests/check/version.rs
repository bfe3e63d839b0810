//! One write, one version: every reader of a value sees the version that its writer was told, and no two
//! writes share a version.

use super::history::OperationId;
use super::model::Datum;
use super::{Checked, Violation};
use std::collections::BTreeMap;
use synod_types::{GroupId, Version};

const NAME: &str = "version";

/// The checker.
#[derive(Debug, Default)]
pub struct Versions {
    /// By key and blob (blobs are written once).
    of_value: BTreeMap<(u32, Datum), Version>,
    writer: BTreeMap<(GroupId, Version), OperationId>,
}

impl Versions {
    /// A checker that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// A write of `operation` was answered with its version.
    ///
    /// # Errors
    /// When another write has that version.
    pub fn on_written(&mut self, group: GroupId, version: Version, operation: OperationId) -> Checked {
        let known = *self.writer.entry((group, version)).or_insert(operation);
        if known == operation {
            return Ok(());
        }
        Err(Violation::new(NAME, format!("{group}: {version:?} was given to {known:?} and to {operation:?}")))
    }

    /// `value` of `key` was seen with `version`, by its writer or by a reader.
    ///
    /// # Errors
    /// When it was seen with another one before.
    pub fn on_seen(&mut self, key: u32, value: Datum, version: Version) -> Checked {
        if matches!(value, Datum::Number(_)) {
            return Ok(()); // the same number may be written again
        }
        let known = *self.of_value.entry((key, value)).or_insert(version);
        if known == version {
            return Ok(());
        }
        Err(Violation::new(NAME, format!("key {key}: {value} was seen at {known:?} and at {version:?}")))
    }
}

#[cfg(test)]
mod tests {
    use super::super::history::History;
    use super::super::model::Action;
    use super::*;
    use synod_types::Slot;

    #[test]
    fn a_version_names_one_write_and_a_value_has_one() {
        let mut history = History::new();
        let (a, b) = (history.call(1, 0, Action::Delete, 0), history.call(1, 0, Action::Delete, 0));
        let version = |slot| Version { slot: Slot::new(slot), position: 0 };
        let mut versions = Versions::new();
        versions.on_written(GroupId::new(1), version(4), a).expect("the first");
        versions.on_written(GroupId::new(1), version(4), a).expect("told twice");
        versions.on_written(GroupId::new(2), version(4), b).expect("another group");
        assert!(versions.on_written(GroupId::new(1), version(4), b).is_err());
        versions.on_seen(1, Datum::Blob(3), version(4)).expect("the first");
        assert!(versions.on_seen(1, Datum::Blob(3), version(5)).is_err());
    }
}
