//! Commands on several keys, on all keys, and on the keys of a hash slot.

use super::options::ExpireOptions;
use super::types::{Many, Plan, ReplyShape, Work, check_key};
use crate::resp::error_line::{ErrorLine, SYNTAX, wrong_arity};
use crate::resp::glob::{Case, Pattern};
use crate::resp::number::{check_database, integer, parse_i64};
use crate::resp::parser::Args;
use crate::resp::spec::Spec;
use synod_types::limits::{BUCKET_COUNT, PAIRS_MAX, VALUE_BYTES_MAX};
use synod_types::operand::put_pair;
use synod_types::{Bucket, Condition, Expiry, Op};

/// A command that is executed on each of its keys, or pairs, on its own.
pub(super) fn plan_many<'a>(spec: &Spec, args: &Args<'a>, many: Many) -> Result<Plan<'a>, ErrorLine> {
    if !(args.len() - 1).is_multiple_of(many.stride()) {
        return Err(wrong_arity(spec.name));
    }
    Ok(Plan::Many(many, *args))
}

/// `COPY source destination [DB 0] [REPLACE]`
pub(super) fn plan_copy<'a>(args: &Args<'a>) -> Result<Plan<'a>, ErrorLine> {
    let (key, target) = (args.get(1), args.get(2));
    check_key(key)?;
    check_key(target)?;
    let mut replace = false;
    let mut options = args.iter_from(3);
    while let Some(option) = options.next() {
        if option.eq_ignore_ascii_case(b"REPLACE") {
            replace = true;
        } else if option.eq_ignore_ascii_case(b"DB") {
            check_database(options.next().ok_or(SYNTAX)?)?;
        } else {
            return Err(SYNTAX);
        }
    }
    if key == target {
        return Err("ERR source and destination objects are the same".into());
    }
    Ok(Plan::with(key, Op::Copy { replace }, target, ReplyShape::Int))
}

/// `MSETNX key value …`
pub(super) fn plan_set_many_absent<'a>(spec: &Spec, args: &Args<'a>) -> Result<Plan<'a>, ErrorLine> {
    if args.len().is_multiple_of(2) {
        return Err(wrong_arity(spec.name));
    }
    set_many(args, 1, args.len(), Condition::IfAbsent, Expiry::None)
}

/// `MSETEX numkeys key value … [NX | XX] [EX s | PX ms | EXAT s | PXAT ms | KEEPTTL]`
pub(super) fn plan_set_many_expiring<'a>(spec: &Spec, args: &Args<'a>) -> Result<Plan<'a>, ErrorLine> {
    // As in Redis: more than 31 bits are no valid number of keys, and a smaller one may still not fit the
    // arguments.
    let count = parse_i64(args.get(1)).and_then(|count| i32::try_from(count).ok());
    let count = count.and_then(|count| usize::try_from(count).ok()).filter(|count| *count > 0);
    let count = count.ok_or(ErrorLine::from("ERR invalid numkeys value"))?;
    let end = count.checked_mul(2).and_then(|pairs| pairs.checked_add(2)).filter(|end| *end <= args.len());
    let end = end.ok_or_else(|| wrong_arity(spec.name))?;
    let (mut condition, mut times) = (Condition::Always, ExpireOptions::new(true));
    let mut options = args.iter_from(end);
    while let Some(option) = options.next() {
        if option.eq_ignore_ascii_case(b"NX") && condition != Condition::IfPresent {
            condition = Condition::IfAbsent;
        } else if option.eq_ignore_ascii_case(b"XX") && condition != Condition::IfAbsent {
            condition = Condition::IfPresent;
        } else if !times.take(option, &mut options)? {
            return Err(SYNTAX);
        }
    }
    set_many(args, 2, end, condition, times.expiry(spec.name)?)
}

fn set_many<'a>(
    args: &Args<'a>,
    first: usize,
    end: usize,
    condition: Condition,
    expiry: Expiry,
) -> Result<Plan<'a>, ErrorLine> {
    let count = (end - first) / 2;
    if count > PAIRS_MAX {
        return Err(format!("ERR too many keys: {count}, the limit is {PAIRS_MAX}").into());
    }
    let mut pairs = Vec::new();
    for at in (first..end).step_by(2) {
        let key = args.get(at);
        check_key(key)?; // each by itself: packed, they could not be told from damage
        put_pair(&mut pairs, key, args.get(at + 1));
        if pairs.len() > VALUE_BYTES_MAX {
            break; // too long already, and refused for that
        }
    }
    Ok(Plan::with(args.get(first), Op::SetMany { condition, expiry }, pairs, ReplyShape::Int))
}

/// `KEYS pattern`
pub(super) fn plan_keys<'a>(args: &Args<'a>) -> Result<Plan<'a>, ErrorLine> {
    Ok(Plan::Job(Work::Keys { pattern: Pattern::new(args.get(1), Case::Told)? }))
}

/// `SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]`
pub(super) fn plan_scan<'a>(args: &Args<'a>) -> Result<Plan<'a>, ErrorLine> {
    let cursor = str::from_utf8(args.get(1)).ok().and_then(|text| text.parse::<u64>().ok());
    let cursor = cursor.ok_or(ErrorLine::from("ERR invalid cursor"))?;
    let (mut pattern, mut count, mut strings) = (None, 10, true);
    let mut options = args.iter_from(2);
    while let Some(option) = options.next() {
        let argument = options.next().ok_or(SYNTAX)?;
        if option.eq_ignore_ascii_case(b"MATCH") {
            pattern = Some(Pattern::new(argument, Case::Told)?);
        } else if option.eq_ignore_ascii_case(b"COUNT") {
            let wanted = integer(argument)?;
            count = u32::try_from(wanted.min(i64::from(u32::MAX)))
                .ok()
                .filter(|count| *count > 0)
                .ok_or(SYNTAX)?;
        } else if option.eq_ignore_ascii_case(b"TYPE") {
            strings = argument.eq_ignore_ascii_case(b"string");
        } else {
            return Err(SYNTAX);
        }
    }
    Ok(Plan::Job(Work::Scan { cursor, pattern, count, strings }))
}

/// `FLUSHALL [ASYNC | SYNC]`
pub(super) fn plan_flush<'a>(args: &Args<'a>) -> Result<Plan<'a>, ErrorLine> {
    let known = |word: &[u8]| word.eq_ignore_ascii_case(b"ASYNC") || word.eq_ignore_ascii_case(b"SYNC");
    match args.len() {
        1 => Ok(Plan::Job(Work::Flush)),
        2 if known(args.get(1)) => Ok(Plan::Job(Work::Flush)),
        _ => Err(SYNTAX),
    }
}

/// `CLUSTER COUNTKEYSINSLOT slot`
pub(super) fn plan_count_of_slot<'a>(args: &Args<'a>) -> Result<Plan<'a>, ErrorLine> {
    let bucket = bucket(integer(args.get(2))?).ok_or("ERR Invalid slot")?;
    Ok(Plan::Job(Work::Slot { bucket, keys_max: None }))
}

/// `CLUSTER GETKEYSINSLOT slot count`
pub(super) fn plan_keys_of_slot<'a>(args: &Args<'a>) -> Result<Plan<'a>, ErrorLine> {
    let (slot, count) = (integer(args.get(2))?, integer(args.get(3))?);
    match (bucket(slot), u64::try_from(count)) {
        (Some(bucket), Ok(count)) => Ok(Plan::Job(Work::Slot { bucket, keys_max: Some(count) })),
        _ => Err("ERR Invalid slot or number of keys".into()),
    }
}

fn bucket(slot: i64) -> Option<Bucket> {
    u16::try_from(slot).ok().filter(|slot| *slot < BUCKET_COUNT).map(Bucket::new)
}
