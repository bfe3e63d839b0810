//! Operations on several keys of one group, each atomic because it is one command: MSETNX, MSETEX, RENAME,
//! COPY, FLUSHALL.
//!
//! A value that is renamed or copied stays at its place in the log, and the index refers to that place a
//! second time. So a place in the log may have several owners, and the key written beside it need not be one
//! of them.

use super::conditional::holds;
use super::context::{ApplyContext, Write};
use crate::group::Buried;
use crate::index::{RecordId, Value};
use crate::list::NIL;
use crate::slab::Owner;
use crate::version::PackedVersion;
use synod_types::operand::{are_pairs, pairs};
use synod_types::{CommandRef, Condition, ErrorKind, Expiry, Namespace, Reply, WallMs};

/// The value and expiry that RENAME and COPY take from one key to another.
struct Taken {
    value: Value,
    expire_at: Option<WallMs>,
}

pub(super) fn set_many(
    context: &mut ApplyContext<'_>,
    command: &CommandRef<'_>,
    condition: Condition,
    expiry: Expiry,
) -> Reply<()> {
    let packed = command.operand;
    if !are_pairs(packed) {
        return Reply::Error(ErrorKind::Malformed);
    }
    let Some(until) = context.resolve(expiry) else {
        return Reply::Error(ErrorKind::BadExpiry);
    };
    let all_hold = pairs(packed).all(|pair| {
        let found = context.find(command.namespace, pair.key);
        holds(context, condition, found)
    });
    if !all_hold {
        return Reply::Int(0);
    }
    for pair in pairs(packed) {
        // The key is looked up again: it may be named twice, and the last value counts.
        let found = context.find(command.namespace, pair.key);
        let at = context.value_at.part(pair.value_at as u32, pair.value.len() as u32); // <= VALUE_BYTES_MAX
        let write = Write { value: pair.value, crc: pair.value_crc, at, until };
        context.put(command.namespace, pair.key, found, write);
    }
    Reply::Int(1)
}

pub(super) fn rename(
    context: &mut ApplyContext<'_>,
    command: &CommandRef<'_>,
    found: Option<RecordId>,
    replace: bool,
) -> Reply<()> {
    let Some(id) = found else { return Reply::Nil };
    let target = command.operand;
    let there = context.find(command.namespace, target);
    if there.is_some() && !replace {
        return Reply::Int(0);
    }
    if there == Some(id) {
        return Reply::Int(1);
    }
    let taken = take(context, id);
    context.remove(id);
    give(context, command.namespace, target, there, taken);
    debug_assert!(
        context.group.find_live(command.namespace, command.key).is_none(),
        "a key that was renamed keeps its former name"
    );
    Reply::Int(1)
}

pub(super) fn copy(
    context: &mut ApplyContext<'_>,
    command: &CommandRef<'_>,
    found: Option<RecordId>,
    replace: bool,
) -> Reply<()> {
    let Some(id) = found else { return Reply::Int(0) };
    let target = command.operand;
    let there = context.find(command.namespace, target);
    if there == Some(id) || (there.is_some() && !replace) {
        return Reply::Int(0);
    }
    let taken = take(context, id);
    give(context, command.namespace, target, there, taken);
    debug_assert!(
        context.group.find_live(command.namespace, command.key) == Some(id),
        "a key that was copied stays"
    );
    Reply::Int(1)
}

/// Removes all keys at once, however many: no key is visited. Their memory and the cache's copies are freed
/// piece by piece, see [`crate::Store::bury`].
pub(super) fn flush(context: &mut ApplyContext<'_>) -> Reply<()> {
    let cleared = context.group.index.clear();
    assert!(context.group.index.count() == 0, "a group that was cleared holds keys");
    context.buried.push(Buried { group_at: context.group_at, index: cleared });
    Reply::Done { version: context.version }
}

fn take(context: &ApplyContext<'_>, id: RecordId) -> Taken {
    let value = match context.group.index.record(id).value {
        // The copy in the cache stays the other key's.
        Value::Log { location, crc, .. } => Value::Log { location, crc, cell: NIL },
        other => other,
    };
    debug_assert!(value.cell() == NIL, "a copy in the cache is of one key");
    Taken { value, expire_at: context.group.index.expire_at(id) }
}

fn give(
    context: &mut ApplyContext<'_>,
    namespace: Namespace,
    key: &[u8],
    there: Option<RecordId>,
    taken: Taken,
) {
    let version = PackedVersion::pack(context.version);
    let index = &mut context.group.index;
    let id = match there {
        Some(id) => {
            let record = index.record_mut(id);
            let cell = record.value.cell();
            (record.version, record.value) = (version, taken.value);
            context.slab.release(cell, Owner { record: id.0, group: context.group_at });
            id
        }
        None => index.insert(index.hash(namespace, key), namespace, key, version, taken.value),
    };
    index.set_expiry(id, taken.expire_at);
    debug_assert!(
        context.group.find_live(namespace, key) == Some(id),
        "a key that was given a value is there"
    );
}
