//! Operations on one key that write it: SET, DEL, INCR, EXPIRE.

use super::context::{ApplyContext, Outcome, Until, Write};
use crate::index::{RecordId, Value};
use crate::number;
use synod_types::limits::INLINE_VALUE_BYTES_MAX;
use synod_types::{CommandRef, Condition, ErrorKind, Expiry, Location, Op, Reply};

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
    let holds = match condition {
        Condition::Always => true,
        Condition::IfAbsent => found.is_none(),
        Condition::IfPresent => found.is_some(),
        Condition::IfVersion(version) => found.is_some_and(|id| context.is_at(id, version)),
    };
    let reply = match (return_old, found) {
        (true, Some(id)) => match context.take_old(id) {
            Outcome::Reply(reply) => reply,
            read => return read,
        },
        (true, None) => Reply::Nil,
        (false, _) if holds => Reply::Done { version: context.version },
        (false, _) => Reply::Skipped,
    };
    // Nothing was changed up to here, and nothing below can fail.
    if holds {
        let write = Write { value: command.operand, crc: value_crc, at: context.value_at, until };
        context.put(command.namespace, command.key, found, write);
    }
    Outcome::Reply(reply)
}

pub(super) fn delete(context: &mut ApplyContext<'_>, found: Option<RecordId>) -> Reply<()> {
    let Some(id) = found else {
        return Reply::Int(0);
    };
    context.remove(id);
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
    Reply::Int(i64::from(context.give_expiry(id, until)))
}
