//! Commands on one key beyond GET and SET: expiry with conditions, parts of values, comparisons, what OBJECT tells.

use super::*;
use crate::resp::derive::{Derive, parse_float};
use synod_types::operand::put_compared;
use synod_types::{Compare, ExpiryTest};

/// A comparison as SET and DELEX spell it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Wanted {
    pub(super) compare: Compare,
    pub(super) bytes: Vec<u8>,
}

impl Wanted {
    /// The comparison that `option` begins, if it is one.
    pub(super) fn of(option: &[u8], argument: Option<&[u8]>) -> Option<Result<Self, Refusal>> {
        let compare = match option.to_ascii_uppercase().as_slice() {
            b"IFEQ" => Compare::Equal,
            b"IFNE" => Compare::NotEqual,
            b"IFDEQ" => Compare::DigestEqual,
            b"IFDNE" => Compare::DigestNotEqual,
            _ => return None,
        };
        let Some(bytes) = argument else { return Some(Err(SYNTAX)) };
        if matches!(compare, Compare::Equal | Compare::NotEqual) {
            return Some(check_value(bytes).map(|bytes| Self { compare, bytes: bytes.to_vec() }));
        }
        let digits = str::from_utf8(bytes).ok().filter(|text| text.len() == 16);
        let digits = digits.filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()));
        Some(match digits.and_then(|text| u64::from_str_radix(text, 16).ok()) {
            Some(digest) => Ok(Self { compare, bytes: digest.to_le_bytes().to_vec() }),
            None => Err("ERR must be exactly 16 hexadecimal characters".into()),
        })
    }
}

pub(super) fn set_if<'a>(
    key: &'a [u8],
    wanted: &Wanted,
    value: &[u8],
    expiry: Expiry,
    return_old: bool,
) -> Result<Plan<'a>, Refusal> {
    let mut compared = Vec::with_capacity(4 + wanted.bytes.len() + value.len());
    put_compared(&mut compared, &wanted.bytes, value);
    let value_crc = synod_types::checksum::crc32c(value);
    let op = Op::SetIf { value_crc, compare: wanted.compare, expiry, return_old };
    Ok(Plan::with(key, op, compared, if return_old { Shape::OldValue } else { Shape::Ok }))
}

/// `DELEX key [IFEQ value | IFNE value | IFDEQ digest | IFDNE digest]`
pub(super) fn plan_del_ex<'a>(spec: &Spec, args: &Args<'a>) -> Result<Plan<'a>, Refusal> {
    let key = check_key(args.get(1))?;
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
    let bytes = check_value(args.get(2))?.to_vec();
    Ok(delete_if(check_key(args.get(1))?, Wanted { compare: Compare::Equal, bytes }))
}

fn delete_if(key: &[u8], wanted: Wanted) -> Plan<'_> {
    Plan::with(key, Op::DeleteIf { compare: wanted.compare }, wanted.bytes, Shape::Int)
}

/// The condition of `EXPIRE key time [NX | XX | GT | LT]`.
pub(super) fn expiry_test(args: &Args<'_>) -> Result<Option<ExpiryTest>, Refusal> {
    let (mut unset, mut set, mut later, mut earlier) = (false, false, false, false);
    for option in args.iter_from(3) {
        match option.to_ascii_uppercase().as_slice() {
            b"NX" => unset = true,
            b"XX" => set = true,
            b"GT" => later = true,
            b"LT" => earlier = true,
            _ => {
                return Err(
                    format!("ERR Unsupported option {}", String::from_utf8_lossy(shortened(option))).into()
                );
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
        (_, _, true, _) => Some(ExpiryTest::Later), // which holds only where there is an expiry
        (_, true, _, true) => Some(ExpiryTest::SetEarlier),
        (_, _, _, true) => Some(ExpiryTest::Earlier),
        (_, true, ..) => Some(ExpiryTest::Set),
        _ => None,
    })
}

/// `GETEX key [EX s | PX ms | EXAT s | PXAT ms | PERSIST]`
pub(super) fn plan_get_ex<'a>(args: &Args<'a>) -> Result<Plan<'a>, Refusal> {
    let key = check_key(args.get(1))?;
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
    let shape = Shape::Range { first: integer(args.get(2))?, last: integer(args.get(3))? };
    Ok(Plan::of(check_key(args.get(1))?, Op::Get, shape))
}

/// `OBJECT ENCODING | REFCOUNT | IDLETIME | FREQ key`; `None` for its other subcommands.
pub(super) fn plan_object<'a>(args: &Args<'a>) -> Option<Result<Plan<'a>, Refusal>> {
    let (op, shape) = match args.get(1).to_ascii_lowercase().as_slice() {
        b"encoding" => (Op::Get, Shape::Encoding),
        b"refcount" => (Op::Exists, Shape::RefCount),
        b"idletime" => (Op::Exists, Shape::IdleTime),
        b"freq" => (Op::Exists, Shape::Frequency),
        _ => return None,
    };
    if args.len() != 3 {
        let name = String::from_utf8_lossy(args.get(1)).to_ascii_lowercase();
        return Some(Err(wrong_arity(&format!("object|{name}"))));
    }
    Some(check_key(args.get(2)).map(|key| Plan::of(key, op, shape)))
}

/// `MEMORY USAGE key [SAMPLES count]`; `None` for its other subcommands.
pub(super) fn plan_memory<'a>(args: &Args<'a>) -> Option<Result<Plan<'a>, Refusal>> {
    if !args.get(1).eq_ignore_ascii_case(b"usage") || args.len() < 3 {
        return None;
    }
    let samples = match args.len() {
        3 => Ok(0),
        5 if args.get(3).eq_ignore_ascii_case(b"samples") => integer(args.get(4)),
        _ => Err(SYNTAX),
    };
    match samples {
        Ok(0..) => {}
        Ok(_) => return Some(Err(SYNTAX)), // as in Redis
        Err(error) => return Some(Err(error)),
    }
    let key = check_key(args.get(2));
    Some(key.map(|key| Plan::of(key, Op::Get, Shape::Memory { key_len: key.len() })))
}

pub(super) fn plan_append<'a>(args: &Args<'a>) -> Result<Plan<'a>, Refusal> {
    derive(args, Derive::Append(check_value(args.get(2))?.to_vec()))
}

pub(super) fn plan_set_range<'a>(args: &Args<'a>) -> Result<Plan<'a>, Refusal> {
    let offset = integer(args.get(2))?;
    let offset = usize::try_from(offset).map_err(|_| Refusal::from("ERR offset is out of range"))?;
    derive(args, Derive::Overwrite { offset, bytes: check_value(args.get(3))?.to_vec() })
}

pub(super) fn plan_increment_by_float<'a>(args: &Args<'a>) -> Result<Plan<'a>, Refusal> {
    let delta = parse_float(args.get(2)).ok_or(Refusal::from("ERR value is not a valid float"))?;
    derive(args, Derive::Add(delta))
}

fn derive<'a>(args: &Args<'a>, how: Derive) -> Result<Plan<'a>, Refusal> {
    let key = check_key(args.get(1))?.to_vec();
    Ok(Plan::Job(Work::Derive { key, how }))
}
