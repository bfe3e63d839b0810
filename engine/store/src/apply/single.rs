//! Operations on one key that return its value or test its expiry: GETDEL, GETEX, EXPIRE with a condition.

use super::context::{ApplyContext, Outcome, Until};
use crate::index::RecordId;
use synod_types::{ErrorKind, Expiry, ExpiryTest, Reply, WallMs};

pub(super) fn get_delete(context: &mut ApplyContext<'_>, found: Option<RecordId>) -> Outcome {
    let Some(id) = found else { return Outcome::Reply(Reply::Nil) };
    let outcome = context.take_old(id);
    if let Outcome::Reply(reply) = outcome {
        debug_assert!(matches!(reply, Reply::Value { .. }), "a key that is there has a value");
        context.remove(id);
    }
    outcome
}

pub(super) fn get_expire(context: &mut ApplyContext<'_>, found: Option<RecordId>, expiry: Expiry) -> Outcome {
    let Some(until) = context.resolve(expiry) else {
        return Outcome::Reply(Reply::Error(ErrorKind::BadExpiry));
    };
    if until == Until::AsBefore {
        return Outcome::Reply(Reply::Error(ErrorKind::Malformed));
    }
    let Some(id) = found else { return Outcome::Reply(Reply::Nil) };
    let outcome = context.take_old(id);
    if let Outcome::Reply(reply) = outcome {
        debug_assert!(matches!(reply, Reply::Value { .. }), "a key that is there has a value");
        context.give_expiry(id, until);
    }
    outcome
}

pub(super) fn set_expiry_if(
    context: &mut ApplyContext<'_>,
    found: Option<RecordId>,
    expiry: Expiry,
    test: ExpiryTest,
) -> Reply<()> {
    let until = match context.resolve(expiry) {
        Some(until @ (Until::Time(_) | Until::Past)) => until,
        Some(Until::Forever | Until::AsBefore) => return Reply::Error(ErrorKind::Malformed),
        None => return Reply::Error(ErrorKind::BadExpiry),
    };
    let Some(id) = found else { return Reply::Int(0) };
    let before = context.group.index.expire_at(id);
    debug_assert!(before.is_none_or(|before| before > context.group.applied_ts), "an expired key was found");
    // An existing key expires after applied time, so a time that has passed is earlier than its expiry.
    let wanted = if let Until::Time(time) = until { time } else { WallMs::ZERO };
    let holds = match (test, before) {
        (ExpiryTest::Unset, before) => before.is_none(),
        (ExpiryTest::Set, before) => before.is_some(),
        (ExpiryTest::Later, before) => before.is_some_and(|before| wanted > before),
        (ExpiryTest::Earlier, before) => before.is_none_or(|before| wanted < before),
        (ExpiryTest::SetEarlier, before) => before.is_some_and(|before| wanted < before),
    };
    if holds {
        context.give_expiry(id, until);
    }
    Reply::Int(i64::from(holds))
}
