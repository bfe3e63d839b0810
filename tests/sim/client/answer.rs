//! Translates answers for the checker, and finds answers that no correct node gives.

use super::{AttemptId, Clients};
use crate::check::history::OperationId;
use crate::check::model::{Action, Answer, IfEqualAction};
use crate::check::{Checked, Violation};
use crate::sim::keys::Kind;
use crate::sim::value;
use synod_types::{ErrorKind, GroupId, Reply};

impl Clients {
    pub(super) fn answer_of(
        &mut self,
        key: u32,
        id: OperationId,
        group: GroupId,
        action: Action,
        reply: &Reply<Vec<u8>>,
    ) -> Result<Answer, Violation> {
        Ok(match reply {
            Reply::Done { version } => {
                self.versions.on_written(group, *version, id)?;
                if let Action::Set { value, .. }
                | Action::SetIf { value, .. }
                | Action::SetUnless { value, .. } = action
                {
                    if self.versioned(key) {
                        self.versions.on_seen(key, value, *version)?;
                    }
                    self.seen.insert(key, (value, *version));
                }
                match action {
                    Action::SetIf { .. } => self.coverage.meet("a comparison held"),
                    Action::Flush => self.coverage.meet("a group was flushed"),
                    _ => {}
                }
                Answer::Done
            }
            Reply::Skipped => Answer::Skipped,
            Reply::Value { value, version } => {
                let datum = value::parse(value).map_err(|why| {
                    Violation::new("corrupt-value", format!("key {key} of {group} at {version:?}: {why}"))
                })?;
                if self.versioned(key) {
                    self.versions.on_seen(key, datum, *version)?;
                }
                self.seen.insert(key, (datum, *version));
                Answer::Value(datum)
            }
            Reply::Nil => Answer::Nil,
            // The clock decides how much of it is left.
            Reply::Int(number) if matches!(action, Action::Ttl { .. }) => Answer::Number((*number).min(0)),
            Reply::Int(number) => {
                match (action, number) {
                    (Action::Rename { .. }, 1) => self.coverage.meet("a key was renamed"),
                    (Action::Copy { .. }, 1) => self.coverage.meet("a key was copied"),
                    (Action::SetMany { .. }, 1) => self.coverage.meet("several keys were written at once"),
                    (Action::SetMany { .. }, 0) => self.coverage.meet("several keys were not written"),
                    (Action::DeleteVersion { .. }, 1) => self.coverage.meet("a version was deleted"),
                    (Action::ExpireIf { .. }, 1) => self.coverage.meet("an expiry was set on a condition"),
                    (Action::IfEqual { then, .. }, 1) => self.coverage.meet(match then {
                        IfEqualAction::Delete => "an equal value was deleted",
                        IfEqualAction::ExpireFrom(_) => "an equal value was made to expire",
                        IfEqualAction::RenewFrom(_) => "an equal value was renewed",
                        IfEqualAction::ExtendBy(_) => "an equal value was extended",
                    }),
                    _ => {}
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

    /// Whether a value of the key keeps the version it was written at: setting an expiry writes the key anew,
    /// and so does giving it another name.
    pub(super) fn versioned(&self, key: u32) -> bool {
        !matches!(self.keys.get(key).kind, Kind::Expiring | Kind::Family)
    }

    /// Exactly once (P-12e): all attempts of one stamped write that are answered get the same answer.
    pub(super) fn check_stamped(&mut self, attempt: AttemptId, reply: &Reply<Vec<u8>>) -> Checked {
        let Some(&(group, stamp)) = self.stamp_of.get(&attempt) else { return Ok(()) };
        match reply {
            // The write may be settled and its number closed by the time a straggling attempt is executed.
            Reply::Error(ErrorKind::NotAnInteger | ErrorKind::Overflow) => {}
            Reply::Error(_) => return Ok(()),
            _ => {}
        }
        if self.stamped.contains_key(&(group, stamp.session, stamp.sequence)) {
            self.coverage.meet("stamped write answered again");
        }
        let known =
            self.stamped.entry((group, stamp.session, stamp.sequence)).or_insert_with(|| reply.clone());
        if known == reply {
            return Ok(());
        }
        Err(Violation::new(
            "exactly-once",
            format!("{group} {stamp:?} was answered {known:?} and then {reply:?}"),
        ))
    }
}
