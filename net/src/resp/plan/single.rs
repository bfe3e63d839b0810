//! Commands on one key beyond GET and SET: parts of values, comparisons, MEMORY USAGE.

use super::times::Times;
use super::types::{Plan, Shape, Work};
use super::wanted::Wanted;
use crate::resp::check;
use crate::resp::derive::{Derive, parse_float};
use crate::resp::parser::Args;
use crate::resp::refusal::{Refusal, SYNTAX, wrong_arity};
use crate::resp::spec::Spec;
use synod_types::{Compare, Expiry, Op};

/// `DELEX key [IFEQ value | IFNE value | IFDEQ digest | IFDNE digest]`
pub(super) fn plan_del_ex<'a>(spec: &Spec, args: &Args<'a>) -> Result<Plan<'a>, Refusal> {
    let key = check::key(args.get(1))?;
    match args.len() {
        2 => Ok(Plan::of(key, Op::Delete, Shape::Int)),
        4 => match Wanted::of(args.get(2), Some(args.get(3))) {
            Some(wanted) => wanted.map(|wanted| delete_if(key, wanted)),
            None => Err("ERR Invalid condition. Use IFEQ, IFNE, IFDEQ, or IFDNE".into()),
        },
        _ => Err(wrong_arity(spec.name)),
    }
}

pub(super) fn plan_del_if_eq<'a>(args: &Args<'a>) -> Result<Plan<'a>, Refusal> {
    let bytes = check::value(args.get(2))?.to_vec();
    Ok(delete_if(check::key(args.get(1))?, Wanted { compare: Compare::Equal, bytes }))
}

fn delete_if(key: &[u8], wanted: Wanted) -> Plan<'_> {
    Plan::with(key, Op::DeleteIf { compare: wanted.compare }, wanted.bytes, Shape::Int)
}

/// `GETEX key [EX s | PX ms | EXAT s | PXAT ms | PERSIST]`
pub(super) fn plan_get_ex<'a>(args: &Args<'a>) -> Result<Plan<'a>, Refusal> {
    let key = check::key(args.get(1))?;
    let mut times = Times::default();
    let mut persist = false;
    let mut options = args.iter_from(2);
    while let Some(option) = options.next() {
        if option.eq_ignore_ascii_case(b"PERSIST") && times.is_empty() {
            persist = true;
        } else if persist || !times.take(option, &mut options)? {
            return Err(SYNTAX);
        }
    }
    let (op, shape) = match (persist, times.expiry("getex")?) {
        (true, _) => (Op::GetExpire(Expiry::None), Shape::OldValue),
        (false, Expiry::None) => (Op::Get, Shape::Value),
        (false, expiry) => (Op::GetExpire(expiry), Shape::OldValue),
    };
    Ok(Plan::of(key, op, shape))
}

pub(super) fn plan_get_range<'a>(args: &Args<'a>) -> Result<Plan<'a>, Refusal> {
    let shape = Shape::Range { first: check::integer(args.get(2))?, last: check::integer(args.get(3))? };
    Ok(Plan::of(check::key(args.get(1))?, Op::Get, shape))
}

/// `MEMORY USAGE key [SAMPLES count]`
pub(super) fn plan_memory_usage<'a>(args: &Args<'a>) -> Result<Plan<'a>, Refusal> {
    let samples = match args.len() {
        3 => 0,
        5 if args.get(3).eq_ignore_ascii_case(b"samples") => check::integer(args.get(4))?,
        _ => return Err(SYNTAX),
    };
    if samples < 0 {
        return Err(SYNTAX); // as in Redis
    }
    let key = check::key(args.get(2))?;
    Ok(Plan::of(key, Op::Get, Shape::Memory { key_len: key.len() }))
}

pub(super) fn plan_append<'a>(args: &Args<'a>) -> Result<Plan<'a>, Refusal> {
    derive(args, Derive::Append(check::value(args.get(2))?.to_vec()))
}

pub(super) fn plan_set_range<'a>(args: &Args<'a>) -> Result<Plan<'a>, Refusal> {
    let offset = check::integer(args.get(2))?;
    let offset = usize::try_from(offset).map_err(|_| Refusal::from("ERR offset is out of range"))?;
    derive(args, Derive::Overwrite { offset, bytes: check::value(args.get(3))?.to_vec() })
}

pub(super) fn plan_increment_by_float<'a>(args: &Args<'a>) -> Result<Plan<'a>, Refusal> {
    let delta = parse_float(args.get(2)).ok_or(Refusal::from("ERR value is not a valid float"))?;
    derive(args, Derive::Add(delta))
}

fn derive<'a>(args: &Args<'a>, how: Derive) -> Result<Plan<'a>, Refusal> {
    let key = check::key(args.get(1))?.to_vec();
    Ok(Plan::Job(Work::Derive { key, how }))
}
