//! Turns arguments into asks of the groups: syntax, numbers and limits of the commands on keys, with Redis's
//! own error texts.
//!
//! ```text
//!  plan ─┬▶ set, expire, single, several     one function per command's syntax
//!        │    └▶ times, wanted               options that several of them share
//!        └▶ check::whole                     the rule that every entry point applies
//!  all of them use `types` (the result), `check` and `refusal` (the faults of arguments) below
//! ```

mod expire;
mod set;
mod several;
mod single;
mod times;
mod types;
mod wanted;

pub use types::{Many, Plan, Shape, Work};

use super::check;
use super::parser::Args;
use super::refusal::Refusal;
use super::scripts::{self, Script};
use super::spec::{KeyCommand, Spec};
use std::borrow::Cow;
use synod_types::{Condition, Expiry, Op};
use times::Unit;

/// Plans a command on keys; its arity was checked.
///
/// # Errors
/// The error line to answer with.
pub fn plan<'a>(command: KeyCommand, spec: &Spec, args: &Args<'a>) -> Result<Plan<'a>, Refusal> {
    let plan = plan_unchecked(command, spec, args)?;
    // Commands on many keys and jobs build their commands later, from keys and values that were checked one
    // by one.
    if let Plan::One { key, op, operand, .. } = &plan {
        check::whole(key, *op, operand)?;
    }
    Ok(plan)
}

fn plan_unchecked<'a>(command: KeyCommand, spec: &Spec, args: &Args<'a>) -> Result<Plan<'a>, Refusal> {
    let on = |at, op, shape| check::key(args.get(at)).map(|key| Plan::of(key, op, shape));
    let one = |op, shape| on(1, op, shape);
    match command {
        KeyCommand::Get => one(Op::Get, Shape::Value),
        KeyCommand::Set => set::plan_set(args),
        KeyCommand::SetNx => set::plan_value(args, 2, Condition::IfAbsent, Expiry::None, Shape::OneOrZero),
        KeyCommand::GetSet => set::plan_get_set(args),
        KeyCommand::SetEx => set::plan_set_ex(spec, args, Unit::Ex),
        KeyCommand::PSetEx => set::plan_set_ex(spec, args, Unit::Px),
        KeyCommand::Incr => one(Op::IncrementBy(1), Shape::Int),
        KeyCommand::Decr => one(Op::IncrementBy(-1), Shape::Int),
        KeyCommand::IncrBy => {
            check::integer(args.get(2)).and_then(|delta| one(Op::IncrementBy(delta), Shape::Int))
        }
        KeyCommand::DecrBy => check::integer(args.get(2)).and_then(|delta| match delta.checked_neg() {
            Some(delta) => one(Op::IncrementBy(delta), Shape::Int),
            None => Err(Cow::Borrowed("ERR decrement would overflow")),
        }),
        KeyCommand::Expire => expire::plan_expire(spec, args, Unit::Ex),
        KeyCommand::PExpire => expire::plan_expire(spec, args, Unit::Px),
        KeyCommand::ExpireAt => expire::plan_expire(spec, args, Unit::ExAt),
        KeyCommand::PExpireAt => expire::plan_expire(spec, args, Unit::PxAt),
        KeyCommand::Eval => match scripts::by_text(args.get(1)) {
            Some((script, _)) => plan_script(script, args),
            None => Err(Cow::Borrowed(scripts::NO_ENGINE)),
        },
        KeyCommand::EvalSha => match scripts::by_digest(args.get(1)) {
            Some(script) => plan_script(script, args),
            None => Err(Cow::Borrowed(scripts::NO_SCRIPT)),
        },
        KeyCommand::Persist => one(Op::SetExpiry(Expiry::None), Shape::Int),
        KeyCommand::Ttl => one(Op::Ttl, Shape::Seconds),
        KeyCommand::PTtl => one(Op::Ttl, Shape::Int),
        KeyCommand::ExpireTime => one(Op::ExpireTime, Shape::TimeSeconds),
        KeyCommand::PExpireTime => one(Op::ExpireTime, Shape::Int),
        KeyCommand::StrLen => one(Op::Get, Shape::Length),
        KeyCommand::Type => one(Op::Exists, Shape::Type),
        KeyCommand::Del | KeyCommand::Unlink if args.len() == 2 => one(Op::Delete, Shape::Int),
        KeyCommand::Exists | KeyCommand::Touch if args.len() == 2 => one(Op::Exists, Shape::Int),
        KeyCommand::Del | KeyCommand::Unlink => several::plan_many(spec, args, Many::Delete),
        KeyCommand::Exists | KeyCommand::Touch => several::plan_many(spec, args, Many::Exists),
        KeyCommand::MGet => several::plan_many(spec, args, Many::Get),
        KeyCommand::MSet => several::plan_many(spec, args, Many::Set),
        KeyCommand::GetDel => one(Op::GetDelete, Shape::OldValue),
        KeyCommand::GetEx => single::plan_get_ex(args),
        KeyCommand::GetRange | KeyCommand::SubStr => single::plan_get_range(args),
        KeyCommand::Digest => one(Op::Get, Shape::Digest),
        KeyCommand::ObjectEncoding => on(2, Op::Get, Shape::Encoding),
        KeyCommand::ObjectRefCount => on(2, Op::Exists, Shape::RefCount),
        KeyCommand::ObjectIdleTime => on(2, Op::Exists, Shape::IdleTime),
        KeyCommand::ObjectFreq => on(2, Op::Exists, Shape::Frequency),
        KeyCommand::MemoryUsage => single::plan_memory_usage(args),
        KeyCommand::DelEx => single::plan_del_ex(spec, args),
        KeyCommand::DelIfEq => single::plan_del_if_eq(args),
        KeyCommand::Append => single::plan_append(args),
        KeyCommand::SetRange => single::plan_set_range(args),
        KeyCommand::IncrByFloat => single::plan_increment_by_float(args),
        KeyCommand::Rename => several::plan_rename(args, Op::Rename { replace: true }, Shape::Renamed),
        KeyCommand::RenameNx => {
            several::plan_rename(args, Op::Rename { replace: false }, Shape::RenamedOrNot)
        }
        KeyCommand::Copy => several::plan_copy(args),
        KeyCommand::MSetNx => several::plan_set_many_absent(spec, args),
        KeyCommand::MSetEx => several::plan_set_many_expiring(spec, args),
        KeyCommand::Scan => several::plan_scan(args),
        KeyCommand::Keys => several::plan_keys(args),
        KeyCommand::RandomKey => Ok(Plan::Job(Work::RandomKey)),
        KeyCommand::DbSize => Ok(Plan::Job(Work::Count)),
        KeyCommand::FlushAll | KeyCommand::FlushDb => several::plan_flush(args),
        KeyCommand::CountKeysInSlot => several::plan_count_of_slot(args),
        KeyCommand::GetKeysInSlot => several::plan_keys_of_slot(args),
    }
}

fn plan_script<'a>(script: Script, args: &Args<'a>) -> Result<Plan<'a>, Refusal> {
    let (key, value, then) = scripts::call(script, args)?;
    let (key, value) = (check::key(key)?, check::value(value)?);
    Ok(Plan::with(key, Op::IfEqual { then }, value, Shape::Int))
}

#[cfg(test)]
mod tests {
    use super::super::spec::{Action, Keys, SPECS, SUBCOMMANDS};
    use super::*;

    /// The fewest arguments that a command on keys accepts.
    fn line_of(spec: &Spec) -> Vec<&'static str> {
        let mut line: Vec<&str> = spec.name.split('|').collect();
        let rest: &[&str] = match spec.name {
            "evalsha" => return vec!["evalsha", "c3f8721cbb97f72bc19e972846bd7aaf91901658", "1", "a", "t"],
            "copy" => &["1", "2"],
            _ => &["1", "1", "1"],
        };
        let missing = usize::from(spec.arity.unsigned_abs()) - line.len();
        line.extend(&rest[..missing]);
        line
    }

    fn planned(spec: &Spec, line: &[&str]) -> String {
        let Action::Key(command) = spec.action else { panic!("{} is on keys", spec.name) };
        let bytes: Vec<u8> = line.iter().flat_map(|word| word.bytes()).collect();
        let mut start = 0;
        let mut ranges = Vec::new();
        for word in line {
            let len = u32::try_from(word.len()).expect("short");
            ranges.push((start, len));
            start += len;
        }
        match plan(command, spec, &Args::new(&bytes, &ranges)) {
            Ok(Plan::One { op, operand, .. }) if op.other_keys(&operand).next().is_some() => {
                "together".into()
            }
            Ok(Plan::One { .. } | Plan::Job(Work::Derive { .. })) => "one".into(),
            Ok(Plan::Many(_)) => "each".into(),
            Ok(Plan::Job(Work::Slot { .. })) => "slot".into(),
            Ok(Plan::Job(_)) => "every group".into(),
            Err(error) => format!("{line:?}: {error}"),
        }
    }

    /// The table's routing agrees with the asks.
    #[test]
    fn every_command_asks_the_groups_that_the_table_names() {
        // EVAL needs the text of a script, and is then planned like EVALSHA.
        let all = SPECS.iter().chain(SUBCOMMANDS).filter(|spec| spec.is_on_keys() && spec.name != "eval");
        for spec in all {
            let mut line = line_of(spec);
            if let Keys::Each { step } = spec.keys {
                // A single key would be asked as a command on one key.
                line.extend(std::iter::repeat_n("2", usize::from(step)));
            }
            let want = match spec.keys {
                Keys::One(_) => "one",
                Keys::Counted { .. } if spec.name == "evalsha" => "one", // a lock script has one key
                Keys::Each { .. } => "each",
                Keys::Together { .. } | Keys::Counted { .. } => "together",
                Keys::OfSlot => "slot",
                Keys::EveryGroup => "every group",
                Keys::None => "nothing",
            };
            assert_eq!(planned(spec, &line), want, "{}", spec.name);
        }
    }
}
