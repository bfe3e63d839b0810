//! From arguments to what is to be done: syntax, numbers and limits of the commands on keys, with Redis's own error texts.

use super::derive::Derive;
use super::glob::{Case, Pattern};
use super::number::parse_i64;
use super::parser::Args;
use super::scripts::{self, Script};
use super::spec::{Spec, Verb};
use std::borrow::Cow;
use synod_types::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use synod_types::{Bucket, Condition, Expiry, Illegal, Op, WallMs, command};

mod several;
mod single;
mod times;

use single::Wanted;
use times::Times;

/// How the reply to one command is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// `+OK`, or nil when a condition did not hold.
    Ok,
    /// The value or nil; of a read.
    Value,
    /// The value or nil; what was there before a write.
    OldValue,
    /// 1 when done, 0 when skipped.
    OneOrZero,
    /// The number.
    Int,
    /// The number of milliseconds in seconds, rounded; negative ones as they are.
    Seconds,
    /// The length of the value.
    Length,
    /// `string` or `none`.
    Type,
    /// A part of the value, as GETRANGE counts.
    Range {
        /// The first byte; negative from the end.
        first: i64,
        /// The last byte; negative from the end.
        last: i64,
    },
    /// The XXH3 of the value in hexadecimal digits, or nil.
    Digest,
    /// How Redis would keep the value.
    Encoding,
    /// 1, or nil without the key.
    RefCount,
    /// 0, or nil without the key: use is not timed.
    IdleTime,
    /// An error, or nil without the key: use is not counted.
    Frequency,
    /// Bytes a key and its value take, about; nil without the key.
    Memory {
        /// Length of the key.
        key_len: usize,
    },
    /// Milliseconds since the epoch in seconds, rounded; negative ones as they are.
    TimeSeconds,
    /// `+OK`, or an error without the key.
    Renamed,
    /// 1 or 0, or an error without the key.
    RenamedOrNot,
}

/// What takes several asks, one after the other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Work {
    /// APPEND, SETRANGE, INCRBYFLOAT.
    Derive {
        /// The key.
        key: Vec<u8>,
        /// What is made of its value.
        how: Derive,
    },
    /// SCAN.
    Scan {
        /// Where to go on.
        cursor: u64,
        /// Which keys.
        pattern: Option<Pattern>,
        /// About how many.
        count: u32,
        /// Whether strings are wanted; there is nothing else.
        strings: bool,
    },
    /// KEYS.
    Keys {
        /// Which keys.
        pattern: Pattern,
    },
    /// RANDOMKEY.
    RandomKey,
    /// DBSIZE.
    Count,
    /// CLUSTER COUNTKEYSINSLOT, GETKEYSINSLOT.
    Slot {
        /// The slot.
        bucket: Bucket,
        /// At most so many keys are wanted; without a number, how many there are.
        keys_max: Option<u64>,
    },
    /// FLUSHALL, FLUSHDB.
    Flush,
}

/// How the replies to the parts of a command on many keys become one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Many {
    /// DEL: the sum.
    Delete,
    /// EXISTS: the sum.
    Exists,
    /// MGET: the values in order.
    Get,
    /// MSET: `+OK`.
    Set,
}

impl Many {
    /// How many arguments make one part.
    pub fn stride(self) -> usize {
        if self == Many::Set { 2 } else { 1 }
    }
    /// Whether parts change anything.
    pub fn is_write(self) -> bool {
        matches!(self, Many::Delete | Many::Set)
    }
}

/// What a command on keys comes to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Plan<'a> {
    /// One command.
    One {
        /// On this key,
        key: &'a [u8],
        /// this is done,
        op: Op,
        /// with what lies among the arguments, or was put together here;
        operand: Cow<'a, [u8]>,
        /// and this is how the reply is written.
        shape: Shape,
    },
    /// One command per key, from the second argument on.
    Many(Many),
    /// Several commands, one after the other.
    Job(Work),
}

impl<'a> Plan<'a> {
    /// One command without an operand.
    fn of(key: &'a [u8], op: Op, shape: Shape) -> Self {
        Self::with(key, op, &[][..], shape)
    }
    /// One command.
    fn with(key: &'a [u8], op: Op, operand: impl Into<Cow<'a, [u8]>>, shape: Shape) -> Self {
        Self::One { key, op, operand: operand.into(), shape }
    }
}

/// An error line, prefix included.
pub type Refusal = Cow<'static, str>;

const SYNTAX: Refusal = Cow::Borrowed("ERR syntax error");
const NOT_AN_INTEGER: Refusal = Cow::Borrowed("ERR value is not an integer or out of range");

/// Plans a command on keys; its arity was checked. `None` for commands without keys.
///
/// # Errors
/// The error line to answer with.
pub fn plan<'a>(spec: &Spec, args: &Args<'a>) -> Option<Result<Plan<'a>, Refusal>> {
    let planned = plan_by_verb(spec, args)?;
    Some(planned.and_then(|plan| match &plan {
        Plan::One { key, op, operand, .. } => check_op(key, *op, operand).map(|()| plan),
        // What these come to is put together later, of keys and values that were checked one by one.
        Plan::Many(_) | Plan::Job(_) => Ok(plan),
    }))
}

/// The rule that every border goes by, after the arguments were looked at one by one.
fn check_op(key: &[u8], op: Op, operand: &[u8]) -> Result<(), Refusal> {
    op.check(key, operand).map_err(|illegal| match illegal {
        Illegal::ValueTooLong => {
            format!("ERR command too long: {} bytes, the limit is {VALUE_BYTES_MAX}", operand.len()).into()
        }
        other => format!("ERR {other}").into(),
    })
}

fn plan_by_verb<'a>(spec: &Spec, args: &Args<'a>) -> Option<Result<Plan<'a>, Refusal>> {
    let many = |many| plan_many(spec, args, many);
    let one = |op, shape| check_key(args.get(1)).map(|key| Plan::of(key, op, shape));
    Some(match spec.verb {
        Verb::Get => one(Op::Get, Shape::Value),
        Verb::Set => plan_set(args),
        Verb::SetNx => plan_value(args, 2, Condition::IfAbsent, Expiry::None, false, Shape::OneOrZero),
        Verb::GetSet => plan_value(args, 2, Condition::Always, Expiry::None, true, Shape::OldValue),
        Verb::SetEx { milliseconds } => positive_ms(args.get(2), milliseconds, spec.name)
            .and_then(|ms| plan_value(args, 3, Condition::Always, Expiry::After(ms), false, Shape::Ok)),
        Verb::Incr => one(Op::IncrementBy(1), Shape::Int),
        Verb::Decr => one(Op::IncrementBy(-1), Shape::Int),
        Verb::IncrBy => integer(args.get(2)).and_then(|delta| one(Op::IncrementBy(delta), Shape::Int)),
        Verb::DecrBy => integer(args.get(2)).and_then(|delta| match delta.checked_neg() {
            Some(delta) => one(Op::IncrementBy(delta), Shape::Int),
            None => Err(Cow::Borrowed("ERR decrement would overflow")),
        }),
        Verb::Expire { absolute, milliseconds } => plan_expire(spec, args, absolute, milliseconds),
        Verb::Eval => match scripts::by_text(args.get(1)) {
            Some((script, _)) => plan_script(script, args),
            None => Err(Cow::Borrowed(scripts::NO_ENGINE)),
        },
        Verb::EvalSha => match scripts::by_digest(args.get(1)) {
            Some(script) => plan_script(script, args),
            None => Err(Cow::Borrowed(scripts::NO_SCRIPT)),
        },
        Verb::Persist => one(Op::SetExpiry(Expiry::None), Shape::Int),
        Verb::Ttl => one(Op::Ttl, Shape::Seconds),
        Verb::PTtl => one(Op::Ttl, Shape::Int),
        Verb::StrLen => one(Op::Get, Shape::Length),
        Verb::Type => one(Op::Exists, Shape::Type),
        Verb::Del if args.len() == 2 => one(Op::Delete, Shape::Int),
        Verb::Exists if args.len() == 2 => one(Op::Exists, Shape::Int),
        Verb::Del => many(Many::Delete),
        Verb::Exists => many(Many::Exists),
        Verb::MGet => many(Many::Get),
        Verb::MSet => many(Many::Set),
        Verb::GetDel => one(Op::GetDelete, Shape::OldValue),
        Verb::GetEx => single::plan_get_ex(args),
        Verb::GetRange => single::plan_get_range(args),
        Verb::Digest => one(Op::Get, Shape::Digest),
        Verb::ExpireTime { milliseconds: true } => one(Op::ExpireTime, Shape::Int),
        Verb::ExpireTime { milliseconds: false } => one(Op::ExpireTime, Shape::TimeSeconds),
        Verb::Object => return single::plan_object(args),
        Verb::Memory => return single::plan_memory(args),
        Verb::DelEx => single::plan_del_ex(spec, args),
        Verb::DelIfEq => single::plan_del_if_eq(args),
        Verb::Append => single::plan_append(args),
        Verb::SetRange => single::plan_set_range(args),
        Verb::IncrByFloat => single::plan_increment_by_float(args),
        Verb::Rename { replace } => several::plan_rename(args, replace),
        Verb::Copy => several::plan_copy(args),
        Verb::MSetNx => several::plan_set_many_absent(spec, args),
        Verb::MSetEx => several::plan_set_many_expiring(spec, args),
        Verb::Scan => several::plan_scan(args),
        Verb::Keys => several::plan_keys(args),
        Verb::RandomKey => Ok(Plan::Job(Work::RandomKey)),
        Verb::DbSize => Ok(Plan::Job(Work::Count)),
        Verb::Flush => several::plan_flush(args),
        _ => return None,
    })
}

fn plan_script<'a>(script: Script, args: &Args<'a>) -> Result<Plan<'a>, Refusal> {
    let (key, value, then) = scripts::call(script, args)?;
    let (key, value) = (check_key(key)?, check_value(value)?);
    Ok(Plan::with(key, Op::IfEqual { then }, value, Shape::Int))
}

/// What is done to each key of a command on many keys; `value_crc` is that of the part's value, where it has one.
pub fn part_op(many: Many, value_crc: u32) -> Op {
    match many {
        Many::Delete => Op::Delete,
        Many::Exists => Op::Exists,
        Many::Get => Op::Get,
        Many::Set => {
            Op::Set { value_crc, condition: Condition::Always, expiry: Expiry::None, return_old: false }
        }
    }
}

fn plan_many<'a>(spec: &Spec, args: &Args<'a>, many: Many) -> Result<Plan<'a>, Refusal> {
    if !(args.len() - 1).is_multiple_of(many.stride()) {
        return Err(wrong_arity(spec.name));
    }
    for (index, arg) in args.iter_from(1).enumerate() {
        if index.is_multiple_of(many.stride()) {
            check_key(arg)?;
        } else {
            check_value(arg)?;
        }
    }
    Ok(Plan::Many(many))
}

fn plan_value<'a>(
    args: &Args<'a>,
    value_index: usize,
    condition: Condition,
    expiry: Expiry,
    return_old: bool,
    shape: Shape,
) -> Result<Plan<'a>, Refusal> {
    let key = check_key(args.get(1))?;
    let value = check_value(args.get(value_index))?;
    let value_crc = synod_types::checksum::crc32c(value);
    Ok(Plan::with(key, Op::Set { value_crc, condition, expiry, return_old }, value, shape))
}

/// `SET key value [NX | XX | IFEQ value | IFNE value | IFDEQ digest | IFDNE digest] [GET]
/// [EX s | PX ms | EXAT s | PXAT ms | KEEPTTL]`
fn plan_set<'a>(args: &Args<'a>) -> Result<Plan<'a>, Refusal> {
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
    if let Some(wanted) = wanted {
        let (key, value) = (check_key(args.get(1))?, check_value(args.get(2))?);
        return single::set_if(key, &wanted, value, expiry, return_old);
    }
    let shape = if return_old { Shape::OldValue } else { Shape::Ok };
    plan_value(args, 2, condition, expiry, return_old, shape)
}

fn plan_expire<'a>(
    spec: &Spec,
    args: &Args<'a>,
    absolute: bool,
    milliseconds: bool,
) -> Result<Plan<'a>, Refusal> {
    let test = single::expiry_test(args)?;
    let amount = integer(args.get(2))?;
    let ms = if milliseconds { Some(amount) } else { amount.checked_mul(1000) };
    let ms = ms.ok_or_else(|| bad_expiry(spec.name))?;
    let key = check_key(args.get(1))?;
    let expiry = match u64::try_from(ms) {
        Ok(ms @ 1..) if absolute => Expiry::At(WallMs(ms)),
        Ok(ms @ 1..) => Expiry::After(ms),
        // Now or in the past: the key goes. The first millisecond of the epoch has passed on every clock.
        _ => Expiry::At(WallMs(1)),
    };
    let op = match test {
        Some(test) => Op::SetExpiryIf { expiry, test },
        None => Op::SetExpiry(expiry),
    };
    Ok(Plan::of(key, op, Shape::Int))
}

/// A positive span or time, in milliseconds.
fn positive_ms(text: &[u8], milliseconds: bool, name: &str) -> Result<u64, Refusal> {
    let amount = integer(text)?;
    let ms = if milliseconds { Some(amount) } else { amount.checked_mul(1000) };
    match ms.and_then(|ms| u64::try_from(ms).ok()) {
        Some(ms @ 1..) => Ok(ms),
        _ => Err(bad_expiry(name)),
    }
}

fn integer(text: &[u8]) -> Result<i64, Refusal> {
    parse_i64(text).ok_or(NOT_AN_INTEGER)
}

/// Whether `text` is the number of the one database there is.
///
/// # Errors
/// The error line to answer with.
pub fn check_database(text: &[u8]) -> Result<(), Refusal> {
    match integer(text)? {
        0 => Ok(()),
        index if i32::try_from(index).is_ok() => Err("ERR DB index is out of range".into()),
        _ => Err("ERR value is out of range, value must between -2147483648 and 2147483647".into()),
    }
}

fn check_key(key: &[u8]) -> Result<&[u8], Refusal> {
    command::check_key(key).map(|()| key).map_err(|illegal| match illegal {
        Illegal::KeyEmpty => "ERR empty keys are not supported".into(),
        _ => format!("ERR key too long: {} bytes, the limit is {KEY_BYTES_MAX}", key.len()).into(),
    })
}

fn check_value(value: &[u8]) -> Result<&[u8], Refusal> {
    command::check_value_len(value.len()).map(|()| value).map_err(|_| {
        format!("ERR value too long: {} bytes, the limit is {VALUE_BYTES_MAX}", value.len()).into()
    })
}

/// The error for an expiry out of range.
pub fn bad_expiry(name: &str) -> Refusal {
    format!("ERR invalid expire time in '{name}' command").into()
}

/// The error for a wrong number of arguments.
pub fn wrong_arity(name: &str) -> Refusal {
    format!("ERR wrong number of arguments for '{name}' command").into()
}

/// The error for a command this server does not know.
pub fn unknown_command(args: &Args<'_>) -> Refusal {
    let mut text = format!("ERR unknown command '{}', with args beginning with: ", lossy(args.get(0)));
    let mut room = 128_usize;
    for arg in args.iter_from(1) {
        if room == 0 {
            break;
        }
        let shown = &arg[..arg.len().min(room)];
        text.push_str(&format!("'{}' ", lossy(shown)));
        room = room.saturating_sub(shown.len() + 3);
    }
    text.into()
}

/// Client bytes as they may be quoted in an error.
pub fn lossy(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(shortened(bytes));
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn shortened(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len().min(128)]
}
