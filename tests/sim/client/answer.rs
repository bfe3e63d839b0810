//! What the answers tell: translated for the checker, with the values and versions that were seen. Finds
//! answers that no correct node gives.

use super::state::ClientOperation;
use crate::check::coverage::Coverage;
use crate::check::model::{Action, Answer, Datum, IfEqualAction};
use crate::check::version::Versions;
use crate::check::{Checked, Violation};
use crate::sim::keys::Key;
use crate::sim::value;
use std::collections::BTreeMap;
use synod_types::{ErrorKind, Reply, Version};

/// What is known from all answers.
#[derive(Debug)]
pub(super) struct Answers {
    versions: Versions,
    /// By key: the value last seen or written, and its version. Comparisons ask for these.
    seen: BTreeMap<u32, (Datum, Version)>,
}

impl Answers {
    /// Nothing was answered yet.
    pub(super) fn new() -> Self {
        Self { versions: Versions::new(), seen: BTreeMap::new() }
    }

    /// The value of a key that was last seen or written.
    pub(super) fn seen(&self, key: u32) -> Option<Datum> {
        self.seen.get(&key).map(|&(datum, _)| datum)
    }

    /// The version a value was seen in, or a version that never exists if it was not seen.
    pub(super) fn version_seen(&self, key: u32, wanted: Datum) -> Version {
        let seen = self.seen.get(&key).filter(|(datum, _)| *datum == wanted);
        seen.map_or_else(Version::default, |(_, version)| *version)
    }

    /// An operation on a key, which `entry` describes, was answered.
    ///
    /// # Errors
    /// When no correct node gives this answer.
    pub(super) fn on_answer(
        &mut self,
        operation: ClientOperation,
        entry: &Key,
        reply: &Reply<Vec<u8>>,
        coverage: &mut Coverage,
    ) -> Result<Answer, Violation> {
        let ClientOperation { id, key, action } = operation;
        let group = entry.group;
        Ok(match reply {
            Reply::Done { version } => {
                self.versions.on_written(group, *version, id)?;
                if let Action::Set { value, .. }
                | Action::SetIf { value, .. }
                | Action::SetUnless { value, .. } = action
                {
                    self.see(key, entry, value, *version)?;
                }
                match action {
                    Action::SetIf { .. } => coverage.meet("a comparison held"),
                    Action::Flush => coverage.meet("a group was flushed"),
                    _ => {}
                }
                Answer::Done
            }
            Reply::Skipped => Answer::Skipped,
            Reply::Value { value, version } => {
                let datum = value::parse(value).map_err(|why| {
                    Violation::new("corrupt-value", format!("key {key} of {group} at {version:?}: {why}"))
                })?;
                self.see(key, entry, datum, *version)?;
                Answer::Value(datum)
            }
            Reply::Nil => Answer::Nil,
            // The clock decides how much of it is left.
            Reply::Int(number) if matches!(action, Action::Ttl { .. }) => Answer::Number((*number).min(0)),
            Reply::Int(number) => {
                if let Some(mark) = mark_of(action, *number) {
                    coverage.meet(mark);
                }
                Answer::Number(*number)
            }
            Reply::Error(ErrorKind::NotAnInteger) => Answer::NotAnInteger,
            Reply::Error(ErrorKind::Overflow) => Answer::Overflow,
            Reply::Session(_) | Reply::Error(_) => {
                return Err(Violation::new("wrong-answer", format!("{action} was answered {reply:?}")));
            }
        })
    }

    fn see(&mut self, key: u32, entry: &Key, value: Datum, version: Version) -> Checked {
        if entry.keeps_versions() {
            self.versions.on_seen(key, value, version)?;
        }
        self.seen.insert(key, (value, version));
        Ok(())
    }
}

/// The coverage mark of an action that was answered with a number.
fn mark_of(action: Action, number: i64) -> Option<&'static str> {
    Some(match (action, number) {
        (Action::Rename { .. }, 1) => "a key was renamed",
        (Action::Copy { .. }, 1) => "a key was copied",
        (Action::SetMany { .. }, 1) => "several keys were written at once",
        (Action::SetMany { .. }, 0) => "several keys were not written",
        (Action::DeleteVersion { .. }, 1) => "a version was deleted",
        (Action::ExpireIf { .. }, 1) => "an expiry was set on a condition",
        (Action::IfEqual { then, .. }, 1) => match then {
            IfEqualAction::Delete => "an equal value was deleted",
            IfEqualAction::ExpireFrom(_) => "an equal value was made to expire",
            IfEqualAction::RenewFrom(_) => "an equal value was renewed",
            IfEqualAction::ExtendBy(_) => "an equal value was extended",
        },
        _ => return None,
    })
}
