//! EXPIRE and its relatives: a time, and a condition on the present expiry.

use super::times::Unit;
use super::types::{Plan, Shape};
use crate::resp::check;
use crate::resp::parser::Args;
use crate::resp::refusal::{Refusal, bad_expiry, shortened};
use crate::resp::spec::Spec;
use synod_types::{Expiry, ExpiryTest, Op, WallMs};

/// `EXPIRE key time [NX | XX | GT | LT]`
pub(super) fn plan_expire<'a>(spec: &Spec, args: &Args<'a>, unit: Unit) -> Result<Plan<'a>, Refusal> {
    let test = expiry_test(args)?;
    let amount = check::integer(args.get(2))?;
    let ms = unit.in_ms(amount).ok_or_else(|| bad_expiry(spec.name))?;
    let key = check::key(args.get(1))?;
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
    Ok(Plan::of(key, op, Shape::Int))
}

/// The condition of `EXPIRE key time [NX | XX | GT | LT]`.
fn expiry_test(args: &Args<'_>) -> Result<Option<ExpiryTest>, Refusal> {
    let (mut unset, mut set, mut later, mut earlier) = (false, false, false, false);
    for option in args.iter_from(3) {
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
