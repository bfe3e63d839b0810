//! `Op::IfEqual`: the owner of a lock releases or extends it, if it still holds it.
//!
//! Applying one command both compares the value and changes the key, so nothing comes in between. A cold
//! value is read first, like the old value of a SET; a value of another length differs without being read.

use super::context::{ApplyContext, EXPIRE_AT_MAX, Outcome};
use crate::index::RecordId;
use crate::version::PackedVersion;
use synod_types::{ErrorKind, IfEqualAction, Reply, WallMs};

const NOT_DONE: Outcome = Outcome::Reply(Reply::Int(0));
const DONE: Outcome = Outcome::Reply(Reply::Int(1));

pub(super) fn if_equal(
    context: &mut ApplyContext<'_>,
    found: Option<RecordId>,
    expected: &[u8],
    then: IfEqualAction,
) -> Outcome {
    let Some(id) = found else { return NOT_DONE };
    if context.group.index.record(id).value.len() != expected.len() {
        return NOT_DONE;
    }
    if let read @ Outcome::Read { .. } = context.take_old(id) {
        return read;
    }
    let is_equal = context.old_value.as_slice() == expected;
    context.old_value.clear();
    if !is_equal {
        return NOT_DONE;
    }
    // Nothing was changed up to here.
    let expire_at = match (then, context.group.index.expire_at(id)) {
        (IfEqualAction::Delete, _) => {
            context.remove(id);
            return DONE;
        }
        (IfEqualAction::RenewFor(_) | IfEqualAction::ExtendBy(_), None) => return NOT_DONE,
        (IfEqualAction::ExpireAfter(ms) | IfEqualAction::RenewFor(ms), _) => {
            context.group.applied_ts.0.checked_add(ms)
        }
        (IfEqualAction::ExtendBy(ms), Some(present)) => present.0.checked_add(ms),
    };
    let Some(expire_at) = expire_at.filter(|&time| time <= EXPIRE_AT_MAX) else {
        return Outcome::Reply(Reply::Error(ErrorKind::BadExpiry));
    };
    if expire_at <= context.group.applied_ts.0 {
        context.remove(id); // it expires at once
        return DONE;
    }
    context.group.index.set_expiry(id, Some(WallMs(expire_at)));
    context.group.index.record_mut(id).version = PackedVersion::pack(context.version);
    debug_assert!(!context.group.is_expired(id), "a lock that was extended is still held");
    DONE
}
