//! What all conditional writes share: whether a condition holds, and the end of a SET, its reply and its
//! write.

use super::context::{ApplyContext, Outcome, Write};
use crate::index::RecordId;
use synod_types::{CommandRef, Condition, Reply};

/// Whether the condition holds for the key as it is.
pub(super) fn holds(context: &ApplyContext<'_>, condition: Condition, found: Option<RecordId>) -> bool {
    match condition {
        Condition::Always => true,
        Condition::IfAbsent => found.is_none(),
        Condition::IfPresent => found.is_some(),
        Condition::IfVersion(version) => found.is_some_and(|id| context.is_at(id, version)),
    }
}

/// Ends a SET: replies, and writes if `write` says so. The reply may need the old value; if that has to be
/// read first, nothing was changed. Nothing else here can fail.
pub(super) fn end_set(
    context: &mut ApplyContext<'_>,
    command: &CommandRef<'_>,
    found: Option<RecordId>,
    return_old: bool,
    write: Option<Write<'_>>,
) -> Outcome {
    debug_assert!(context.old_value.is_empty(), "bytes of no reply are left over");
    let reply = match (return_old, found) {
        (true, Some(id)) => match context.take_old(id) {
            Outcome::Reply(reply) => reply,
            read => return read,
        },
        (true, None) => Reply::Nil,
        (false, _) if write.is_some() => Reply::Done { version: context.version },
        (false, _) => Reply::Skipped,
    };
    if let Some(write) = write {
        context.put(command.namespace, command.key, found, write);
    }
    Outcome::Reply(reply)
}
