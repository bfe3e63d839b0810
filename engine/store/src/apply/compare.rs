//! Operations that compare the present value before they change it: SET with IFEQ and the like, DELEX,
//! DELIFEQ.
//!
//! A value in the log is read only if its length and checksum match: if either differs, the value differs.

use super::conditional::end_set;
use super::context::{ApplyContext, Outcome, Write};
use crate::index::{RecordId, Value};
use synod_types::operand::{VERSION_BYTES, split_compared, version_of};
use synod_types::{CommandRef, Compare, ErrorKind, Op, Reply};
use xxhash_rust::xxh3::xxh3_64;

/// The outcome of a comparison.
enum Comparison {
    Holds(bool),
    Read(Outcome),
}

pub(super) fn set_if(
    context: &mut ApplyContext<'_>,
    command: &CommandRef<'_>,
    found: Option<RecordId>,
) -> Outcome {
    let Op::SetIf { value_crc, compare, expiry, return_old } = command.op else {
        unreachable!("called for SetIf only")
    };
    let Some((wanted, start, value)) = split_compared(command.operand) else {
        return Outcome::Reply(Reply::Error(ErrorKind::Malformed));
    };
    let Some(until) = context.resolve(expiry) else {
        return Outcome::Reply(Reply::Error(ErrorKind::BadExpiry));
    };
    let holds = match compared(context, found, wanted, compare) {
        Comparison::Holds(holds) => holds,
        Comparison::Read(read) => return read,
    };
    context.old_value.clear();
    let write = holds.then(|| {
        let at = context.value_at.part(start as u32, value.len() as u32); // within VALUE_BYTES_MAX
        Write { value, crc: value_crc, at, until }
    });
    end_set(context, command, found, return_old, write)
}

pub(super) fn delete_if(
    context: &mut ApplyContext<'_>,
    found: Option<RecordId>,
    wanted: &[u8],
    compare: Compare,
) -> Outcome {
    let Some(id) = found else { return Outcome::Reply(Reply::Int(0)) };
    let holds = match compared(context, found, wanted, compare) {
        Comparison::Holds(holds) => holds,
        Comparison::Read(read) => return read,
    };
    context.old_value.clear();
    if holds {
        context.remove(id);
    }
    Outcome::Reply(Reply::Int(i64::from(holds)))
}

/// Changes nothing but `old_value`, which may hold the value afterwards.
fn compared(
    context: &mut ApplyContext<'_>,
    found: Option<RecordId>,
    wanted: &[u8],
    compare: Compare,
) -> Comparison {
    let Some(id) = found else {
        return Comparison::Holds(matches!(compare, Compare::NotEqual | Compare::DigestNotEqual));
    };
    let record = context.group.index.record(id);
    if compare == Compare::Version {
        debug_assert!(wanted.len() == VERSION_BYTES, "not a version");
        return Comparison::Holds(version_of(wanted) == Some(record.version.unpack()));
    }
    let by_digest = matches!(compare, Compare::DigestEqual | Compare::DigestNotEqual);
    let negated = matches!(compare, Compare::NotEqual | Compare::DigestNotEqual);
    let differs = match &record.value {
        Value::Log { location, crc, .. } => {
            location.len as usize != wanted.len() || *crc != synod_types::checksum::crc32c(wanted)
        }
        _ => record.value.len() != wanted.len(),
    };
    if !by_digest && differs {
        return Comparison::Holds(negated);
    }
    debug_assert!(context.old_value.is_empty(), "the value is taken once");
    match context.take_old(id) {
        Outcome::Reply(_) => {}
        read => return Comparison::Read(read),
    }
    let equal = if by_digest {
        xxh3_64(context.old_value).to_le_bytes() == wanted
    } else {
        context.old_value.as_slice() == wanted
    };
    Comparison::Holds(equal != negated)
}
