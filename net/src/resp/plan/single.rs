//! Commands on one key that take more than a key and a number: SET and its relatives, expiries, comparisons,
//! parts of values.
//!
//! Keys and values are checked when the plan is whole; a key is checked here where its error comes before
//! those of the options.

use super::options::{CompareOption, ExpireOptions, Unit, positive_ms};
use super::types::{Plan, ReplyShape, Work, check_key};
use crate::resp::derive::{Derive, parse_float};
use crate::resp::error_line::{ErrorLine, SYNTAX, bad_expiry, shortened, wrong_arity};
use crate::resp::number::integer;
use crate::resp::parser::Args;
use crate::resp::spec::Spec;
use synod_types::checksum::crc32c;
use synod_types::operand::put_compared;
use synod_types::{Condition, Expiry, ExpiryTest, Op, WallMs};

/// `SET key value [NX | XX | IFEQ value | IFNE value | IFDEQ digest | IFDNE digest] [GET]
/// [EX s | PX ms | EXAT s | PXAT ms | KEEPTTL]`
pub(super) fn plan_set<'a>(args: &Args<'a>) -> Result<Plan<'a>, ErrorLine> {
    let (mut condition, mut return_old) = (Condition::Always, false);
    let (mut wanted, mut times) = (None, ExpireOptions::new(true));
    let mut options = args.iter_from(3);
    while let Some(option) = options.next() {
        let is = |name: &str| option.eq_ignore_ascii_case(name.as_bytes());
        if is("NX") && condition != Condition::IfPresent && wanted.is_none() {
            condition = Condition::IfAbsent;
        } else if is("XX") && condition != Condition::IfAbsent && wanted.is_none() {
            condition = Condition::IfPresent;
        } else if is("GET") {
            return_old = true;
        } else if times.take(option, &mut options)? {
        } else if condition == Condition::Always
            && wanted.is_none()
            && let Some(found) = CompareOption::of(option, options.next())
        {
            wanted = Some(found?);
        } else {
            return Err(SYNTAX);
        }
    }
    let (key, value, expiry) = (args.get(1), args.get(2), times.expiry("set")?);
    let shape = if return_old { ReplyShape::OldValue } else { ReplyShape::Ok };
    let Some(CompareOption { compare, bytes }) = wanted else {
        return Ok(Plan::set(key, value, condition, expiry, shape));
    };
    let mut compared = Vec::with_capacity(4 + bytes.len() + value.len());
    put_compared(&mut compared, &bytes, value);
    let op = Op::SetIf { value_crc: crc32c(value), compare, expiry, return_old };
    Ok(Plan::with(key, op, compared, shape))
}

/// `SETEX key seconds value`, `PSETEX key milliseconds value`
pub(super) fn plan_set_ex<'a>(spec: &Spec, args: &Args<'a>, unit: Unit) -> Result<Plan<'a>, ErrorLine> {
    let ms = positive_ms(args.get(2), unit, spec.name)?;
    Ok(Plan::set(args.get(1), args.get(3), Condition::Always, Expiry::After(ms), ReplyShape::Ok))
}

/// `GETEX key [EX s | PX ms | EXAT s | PXAT ms | PERSIST]`
pub(super) fn plan_get_ex<'a>(args: &Args<'a>) -> Result<Plan<'a>, ErrorLine> {
    let key = args.get(1);
    check_key(key)?;
    let mut times = ExpireOptions::new(false);
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
        (true, _) => (Op::GetExpire(Expiry::None), ReplyShape::OldValue),
        (false, Expiry::None) => (Op::Get, ReplyShape::Value),
        (false, expiry) => (Op::GetExpire(expiry), ReplyShape::OldValue),
    };
    Ok(Plan::of(key, op, shape))
}

/// `EXPIRE key time [NX | XX | GT | LT]`
pub(super) fn plan_expire<'a>(spec: &Spec, args: &Args<'a>, unit: Unit) -> Result<Plan<'a>, ErrorLine> {
    let test = expiry_test(args.iter_from(3))?;
    let ms = unit.in_ms(integer(args.get(2))?).ok_or_else(|| bad_expiry(spec.name))?;
    let expiry = match u64::try_from(ms) {
        Ok(ms @ 1..) => unit.expiry(ms),
        // Now or in the past: the key is deleted. The first millisecond of the epoch has passed on every
        // clock.
        _ => Expiry::At(WallMs(1)),
    };
    let op = match test {
        Some(test) => Op::SetExpiryIf { expiry, test },
        None => Op::SetExpiry(expiry),
    };
    Ok(Plan::of(args.get(1), op, ReplyShape::Int))
}

/// The condition of `EXPIRE key time [NX | XX | GT | LT]`.
fn expiry_test<'a>(options: impl Iterator<Item = &'a [u8]>) -> Result<Option<ExpiryTest>, ErrorLine> {
    let (mut unset, mut set, mut later, mut earlier) = (false, false, false, false);
    for option in options {
        match option.to_ascii_uppercase().as_slice() {
            b"NX" => unset = true,
            b"XX" => set = true,
            b"GT" => later = true,
            b"LT" => earlier = true,
            _ => {
                let shown = String::from_utf8_lossy(shortened(option));
                return Err(format!("ERR Unsupported option {shown}").into());
            }
        }
    }
    if unset && (set || later || earlier) {
        return Err("ERR NX and XX, GT or LT options at the same time are not compatible".into());
    }
    if later && earlier {
        return Err("ERR GT and LT options at the same time are not compatible".into());
    }
    Ok(match (unset, set, later, earlier) {
        (true, ..) => Some(ExpiryTest::Unset),
        (_, _, true, _) => Some(ExpiryTest::Later), // which holds only if there is an expiry
        (_, true, _, true) => Some(ExpiryTest::SetEarlier),
        (_, _, _, true) => Some(ExpiryTest::Earlier),
        (_, true, ..) => Some(ExpiryTest::Set),
        _ => None,
    })
}

/// `DELEX key [IFEQ value | IFNE value | IFDEQ digest | IFDNE digest]`
pub(super) fn plan_del_ex<'a>(spec: &Spec, args: &Args<'a>) -> Result<Plan<'a>, ErrorLine> {
    let key = args.get(1);
    check_key(key)?;
    match args.len() {
        2 => Ok(Plan::of(key, Op::Delete, ReplyShape::Int)),
        4 => match CompareOption::of(args.get(2), Some(args.get(3))) {
            Some(wanted) => {
                let CompareOption { compare, bytes } = wanted?;
                Ok(Plan::with(key, Op::DeleteIf { compare }, bytes, ReplyShape::Int))
            }
            None => Err("ERR Invalid condition. Use IFEQ, IFNE, IFDEQ, or IFDNE".into()),
        },
        _ => Err(wrong_arity(spec.name)),
    }
}

/// `MEMORY USAGE key [SAMPLES count]`
pub(super) fn plan_memory_usage<'a>(args: &Args<'a>) -> Result<Plan<'a>, ErrorLine> {
    let samples = match args.len() {
        3 => 0,
        5 if args.get(3).eq_ignore_ascii_case(b"samples") => integer(args.get(4))?,
        _ => return Err(SYNTAX),
    };
    if samples < 0 {
        return Err(SYNTAX); // as in Redis
    }
    let key = args.get(2);
    Ok(Plan::of(key, Op::Get, ReplyShape::Memory { key_len: key.len() }))
}

/// `APPEND key value`
pub(super) fn plan_append<'a>(args: &Args<'a>) -> Plan<'a> {
    derive(args.get(1), Derive::Append(args.get(2).to_vec()))
}

/// `SETRANGE key offset value`
pub(super) fn plan_set_range<'a>(args: &Args<'a>) -> Result<Plan<'a>, ErrorLine> {
    let offset = integer(args.get(2))?;
    let offset = usize::try_from(offset).map_err(|_| ErrorLine::from("ERR offset is out of range"))?;
    Ok(derive(args.get(1), Derive::Overwrite { offset, bytes: args.get(3).to_vec() }))
}

/// `INCRBYFLOAT key increment`
pub(super) fn plan_increment_by_float<'a>(args: &Args<'a>) -> Result<Plan<'a>, ErrorLine> {
    let delta = parse_float(args.get(2)).ok_or(ErrorLine::from("ERR value is not a valid float"))?;
    Ok(derive(args.get(1), Derive::Add(delta)))
}

fn derive(key: &[u8], how: Derive) -> Plan<'static> {
    Plan::Job(Work::Derive { key: key.to_vec(), how })
}
