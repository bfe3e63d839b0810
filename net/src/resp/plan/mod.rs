//! Turns arguments into asks of the groups: syntax, numbers and limits of the commands on keys, with Redis's
//! own error texts.
//!
//! ```text
//!  arguments ─▶ plan ─┬▶ at once: a key, and at most a number or a value        ─┐
//!                     ├▶ single: one key with options of its own (SET, EXPIRE …) ├▶ Plan::check ─▶ Plan
//!                     └▶ several: several keys, all keys, a slot's keys         ─┘
//!  options: what SET and others have in common      types: the plan, and the rule it obeys
//! ```
//! The arguments end here: a plan bears all that is left of them.

mod options;
mod several;
mod single;
mod types;

pub use types::{Many, Plan, ReplyShape, Work};

use super::error_line::ErrorLine;
use super::number::integer;
use super::parser::Args;
use super::scripts::{self, ScriptCall};
use super::spec::{KeyCommand, Spec};
use options::Unit;
use synod_types::{Compare, Condition, Expiry, Op};

const OVERFLOW: &str = "ERR decrement would overflow";

/// Plans a command on keys; its arity was checked.
///
/// # Errors
/// The error line to answer with.
pub fn plan<'a>(command: KeyCommand, spec: &Spec, args: &Args<'a>) -> Result<Plan<'a>, ErrorLine> {
    let on = |at, op, shape| Plan::of(args.get(at), op, shape);
    let one = |op, shape| on(1, op, shape);
    let with_second = |op, shape| Plan::with(args.get(1), op, args.get(2), shape);
    let set = |condition, shape| Plan::set(args.get(1), args.get(2), condition, Expiry::None, shape);
    let scripted =
        |(key, value, then): ScriptCall<'a>| Plan::with(key, Op::IfEqual { then }, value, ReplyShape::Int);
    let plan = match command {
        KeyCommand::Get => one(Op::Get, ReplyShape::Value),
        KeyCommand::Set => single::plan_set(args)?,
        KeyCommand::SetNx => set(Condition::IfAbsent, ReplyShape::OneOrZero),
        KeyCommand::GetSet => set(Condition::Always, ReplyShape::OldValue),
        KeyCommand::SetEx => single::plan_set_ex(spec, args, Unit::Ex)?,
        KeyCommand::PSetEx => single::plan_set_ex(spec, args, Unit::Px)?,
        KeyCommand::GetDel => one(Op::GetDelete, ReplyShape::OldValue),
        KeyCommand::GetEx => single::plan_get_ex(args)?,
        KeyCommand::GetRange | KeyCommand::SubStr => {
            one(Op::Get, ReplyShape::Range { first: integer(args.get(2))?, last: integer(args.get(3))? })
        }
        KeyCommand::StrLen => one(Op::Get, ReplyShape::Length),
        KeyCommand::Digest => one(Op::Get, ReplyShape::Digest),
        KeyCommand::Type => one(Op::Exists, ReplyShape::Type),
        KeyCommand::Incr => one(Op::IncrementBy(1), ReplyShape::Int),
        KeyCommand::Decr => one(Op::IncrementBy(-1), ReplyShape::Int),
        KeyCommand::IncrBy => one(Op::IncrementBy(integer(args.get(2))?), ReplyShape::Int),
        KeyCommand::DecrBy => {
            one(Op::IncrementBy(integer(args.get(2))?.checked_neg().ok_or(OVERFLOW)?), ReplyShape::Int)
        }
        KeyCommand::IncrByFloat => single::plan_increment_by_float(args)?,
        KeyCommand::Append => single::plan_append(args),
        KeyCommand::SetRange => single::plan_set_range(args)?,
        KeyCommand::Persist => one(Op::SetExpiry(Expiry::None), ReplyShape::Int),
        KeyCommand::Ttl => one(Op::Ttl, ReplyShape::Seconds),
        KeyCommand::PTtl => one(Op::Ttl, ReplyShape::Int),
        KeyCommand::ExpireTime => one(Op::ExpireTime, ReplyShape::TimeSeconds),
        KeyCommand::PExpireTime => one(Op::ExpireTime, ReplyShape::Int),
        KeyCommand::Expire => single::plan_expire(spec, args, Unit::Ex)?,
        KeyCommand::PExpire => single::plan_expire(spec, args, Unit::Px)?,
        KeyCommand::ExpireAt => single::plan_expire(spec, args, Unit::ExAt)?,
        KeyCommand::PExpireAt => single::plan_expire(spec, args, Unit::PxAt)?,
        KeyCommand::DelEx => single::plan_del_ex(spec, args)?,
        KeyCommand::DelIfEq => with_second(Op::DeleteIf { compare: Compare::Equal }, ReplyShape::Int),
        KeyCommand::Eval => scripted(scripts::eval(args)?),
        KeyCommand::EvalSha => scripted(scripts::eval_sha(args)?),
        KeyCommand::ObjectEncoding => on(2, Op::Get, ReplyShape::Encoding),
        KeyCommand::ObjectRefCount => on(2, Op::Exists, ReplyShape::RefCount),
        KeyCommand::ObjectIdleTime => on(2, Op::Exists, ReplyShape::IdleTime),
        KeyCommand::ObjectFreq => on(2, Op::Exists, ReplyShape::Frequency),
        KeyCommand::MemoryUsage => single::plan_memory_usage(args)?,
        KeyCommand::Del | KeyCommand::Unlink if args.len() == 2 => one(Op::Delete, ReplyShape::Int),
        KeyCommand::Exists | KeyCommand::Touch if args.len() == 2 => one(Op::Exists, ReplyShape::Int),
        KeyCommand::Del | KeyCommand::Unlink => several::plan_many(spec, args, Many::Delete)?,
        KeyCommand::Exists | KeyCommand::Touch => several::plan_many(spec, args, Many::Exists)?,
        KeyCommand::MGet => several::plan_many(spec, args, Many::Get)?,
        KeyCommand::MSet => several::plan_many(spec, args, Many::Set)?,
        KeyCommand::MSetNx => several::plan_set_many_absent(spec, args)?,
        KeyCommand::MSetEx => several::plan_set_many_expiring(spec, args)?,
        KeyCommand::Rename => with_second(Op::Rename { replace: true }, ReplyShape::Renamed),
        KeyCommand::RenameNx => with_second(Op::Rename { replace: false }, ReplyShape::RenamedOrNot),
        KeyCommand::Copy => several::plan_copy(args)?,
        KeyCommand::Scan => several::plan_scan(args)?,
        KeyCommand::Keys => several::plan_keys(args)?,
        KeyCommand::RandomKey => Plan::Job(Work::RandomKey),
        KeyCommand::DbSize => Plan::Job(Work::Count),
        KeyCommand::FlushAll | KeyCommand::FlushDb => several::plan_flush(args)?,
        KeyCommand::CountKeysInSlot => several::plan_count_of_slot(args)?,
        KeyCommand::GetKeysInSlot => several::plan_keys_of_slot(args)?,
    };
    plan.check()?;
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::super::spec::{CommandAction, Keys, SPECS, SUBCOMMANDS};
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
        let CommandAction::Key(command) = spec.action else { panic!("{} is on keys", spec.name) };
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
            Ok(Plan::Many(..)) => "each".into(),
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
