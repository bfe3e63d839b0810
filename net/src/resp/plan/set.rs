//! Commands that write one value as given: SET and its relatives.

use super::times::{self, Times, Unit};
use super::types::{Plan, Shape};
use super::wanted::Wanted;
use crate::resp::check;
use crate::resp::parser::Args;
use crate::resp::refusal::{Refusal, SYNTAX};
use crate::resp::spec::Spec;
use synod_types::checksum::crc32c;
use synod_types::operand::put_compared;
use synod_types::{Condition, Expiry, Op};

/// `SET key value [NX | XX | IFEQ value | IFNE value | IFDEQ digest | IFDNE digest] [GET]
/// [EX s | PX ms | EXAT s | PXAT ms | KEEPTTL]`
pub(super) fn plan_set<'a>(args: &Args<'a>) -> Result<Plan<'a>, Refusal> {
    let (mut condition, mut return_old) = (Condition::Always, false);
    let (mut wanted, mut times) = (None, Times::default());
    let mut options = args.iter_from(3);
    while let Some(option) = options.next() {
        let is = |name: &str| option.eq_ignore_ascii_case(name.as_bytes());
        if is("NX") && condition != Condition::IfPresent && wanted.is_none() {
            condition = Condition::IfAbsent;
        } else if is("XX") && condition != Condition::IfAbsent && wanted.is_none() {
            condition = Condition::IfPresent;
        } else if is("GET") {
            return_old = true;
        } else if times.keep(option)? || times.take(option, &mut options)? {
        } else if condition == Condition::Always
            && wanted.is_none()
            && let Some(found) = Wanted::of(option, options.next())
        {
            wanted = Some(found?);
        } else {
            return Err(SYNTAX);
        }
    }
    let expiry = times.expiry("set")?;
    let shape = if return_old { Shape::OldValue } else { Shape::Ok };
    match wanted {
        Some(wanted) => {
            let (key, value) = (check::key(args.get(1))?, check::value(args.get(2))?);
            Ok(set_if(key, &wanted, value, expiry, shape))
        }
        None => plan_value(args, 2, condition, expiry, shape),
    }
}

/// `SETEX key seconds value`, `PSETEX key milliseconds value`
pub(super) fn plan_set_ex<'a>(spec: &Spec, args: &Args<'a>, unit: Unit) -> Result<Plan<'a>, Refusal> {
    let ms = times::positive_ms(args.get(2), unit, spec.name)?;
    plan_value(args, 3, Condition::Always, Expiry::After(ms), Shape::Ok)
}

/// `GETSET key value`
pub(super) fn plan_get_set<'a>(args: &Args<'a>) -> Result<Plan<'a>, Refusal> {
    plan_value(args, 2, Condition::Always, Expiry::None, Shape::OldValue)
}

/// Plans a write of the value at `value_index`. The shape of the reply decides whether the old value is
/// returned.
pub(super) fn plan_value<'a>(
    args: &Args<'a>,
    value_index: usize,
    condition: Condition,
    expiry: Expiry,
    shape: Shape,
) -> Result<Plan<'a>, Refusal> {
    let key = check::key(args.get(1))?;
    let value = check::value(args.get(value_index))?;
    let return_old = shape == Shape::OldValue;
    let op = Op::Set { value_crc: crc32c(value), condition, expiry, return_old };
    Ok(Plan::with(key, op, value, shape))
}

fn set_if<'a>(key: &'a [u8], wanted: &Wanted, value: &[u8], expiry: Expiry, shape: Shape) -> Plan<'a> {
    let mut compared = Vec::with_capacity(4 + wanted.bytes.len() + value.len());
    put_compared(&mut compared, &wanted.bytes, value);
    let return_old = shape == Shape::OldValue;
    let op = Op::SetIf { value_crc: crc32c(value), compare: wanted.compare, expiry, return_old };
    Plan::with(key, op, compared, shape)
}
