//! Operations on one key that write it: SET, DEL, INCR, EXPIRE.

use super::conditional::{end_set, holds};
use super::context::{ApplyContext, Outcome, Until, Write};
use crate::index::{RecordId, Value};
use crate::number;
use synod_types::limits::INLINE_VALUE_BYTES_MAX;
use synod_types::{CommandRef, ErrorKind, Expiry, Location, Op, Reply};

pub(super) fn set(
    context: &mut ApplyContext<'_>,
    command: &CommandRef<'_>,
    found: Option<RecordId>,
) -> Outcome {
    let Op::Set { value_crc, condition, expiry, return_old } = command.op else {
        unreachable!("called for Set only")
    };
    // An invalid expiry is refused whatever the condition, as in Redis.
    let Some(until) = context.resolve(expiry) else {
        return Outcome::Reply(Reply::Error(ErrorKind::BadExpiry));
    };
    let write = holds(context, condition, found).then_some(Write {
        value: command.operand,
        crc: value_crc,
        at: context.value_at,
        until,
    });
    end_set(context, command, found, return_old, write)
}

pub(super) fn delete(context: &mut ApplyContext<'_>, found: Option<RecordId>) -> Reply<()> {
    let Some(id) = found else {
        return Reply::Int(0);
    };
    context.remove(id);
    debug_assert!(context.old_value.is_empty(), "this reply holds no value");
    Reply::Int(1)
}

pub(super) fn increment(
    context: &mut ApplyContext<'_>,
    command: &CommandRef<'_>,
    found: Option<RecordId>,
    delta: i64,
) -> Reply<()> {
    let before = match found.map(|id| &context.group.index.record(id).value) {
        None => Some(0),
        Some(Value::Inline { len, bytes }) => number::parse(&bytes[..usize::from(*len)]),
        // The value is longer than any number, so it need not be read.
        Some(Value::Log { .. }) => None,
        Some(Value::Free { .. }) => unreachable!("a free record was found"),
    };
    let Some(before) = before else {
        return Reply::Error(ErrorKind::NotAnInteger);
    };
    let Some(sum) = before.checked_add(delta) else {
        return Reply::Error(ErrorKind::Overflow);
    };
    let mut digits = [0; INLINE_VALUE_BYTES_MAX];
    let len = number::spell(sum, &mut digits);
    debug_assert_eq!(number::parse(&digits[..len]), Some(sum), "a sum is a number again");
    let write = Write { value: &digits[..len], crc: 0, at: Location::default(), until: Until::AsBefore };
    context.put(command.namespace, command.key, found, write);
    Reply::Int(sum)
}

pub(super) fn set_expiry(
    context: &mut ApplyContext<'_>,
    found: Option<RecordId>,
    expiry: Expiry,
) -> Reply<()> {
    let Some(until) = context.resolve(expiry) else {
        return Reply::Error(ErrorKind::BadExpiry);
    };
    if until == Until::AsBefore {
        return Reply::Error(ErrorKind::Malformed);
    }
    let Some(id) = found else {
        return Reply::Int(0);
    };
    debug_assert!(!context.group.is_expired(id), "an expired key gets no new expiry");
    Reply::Int(i64::from(context.give_expiry(id, until)))
}
