//! Applying one command: its semantics, executed exactly once and equally on every replica.
//!
//! Every operation runs in two halves. The first checks, and may refuse or ask for a read; it changes
//! nothing. The second changes state and cannot fail. Applied time alone decides about expiry. Operations
//! must not read a clock, and the cache decides only whether a read is needed.
//!
//! ```text
//!   apply: session, dispatch ─▶ basic │ single │ if_equal │ compare │ many ─▶ context: find, put, remove …
//!                                 └───────────────────────────┴─────────┴──▶ conditional
//! ```

mod basic;
mod compare;
mod conditional;
mod context;
mod if_equal;
mod many;
mod single;

pub(crate) use context::{ApplyContext, Outcome, remove};

use crate::index::RecordId;
use crate::sessions::Judgement;
use crate::version::PackedVersion;
use synod_types::{CommandRef, ErrorKind, Level, Op, Reply, SessionId};

/// Applies a command. If it needs a value from the log, it asks for the read and has changed nothing.
///
/// # Panics
/// When the command's version is not above the last one applied.
pub(crate) fn apply(context: &mut ApplyContext<'_>, command: &CommandRef<'_>) -> Outcome {
    let version = PackedVersion::pack(context.version);
    assert!(version > context.group.applied, "a command applied twice or out of order");
    context.old_value.clear();
    let outcome = apply_once(context, command, version);
    if matches!(outcome, Outcome::Read { .. }) {
        debug_assert!(context.old.is_none(), "one read is enough for any command");
        debug_assert!(context.old_value.is_empty(), "a command that asks for a read has taken a value");
    } else {
        context.group.applied = version;
    }
    outcome
}

/// Applies a command once, as its session says.
fn apply_once(context: &mut ApplyContext<'_>, command: &CommandRef<'_>, version: PackedVersion) -> Outcome {
    let stamp = &command.stamp;
    match command.op {
        // An open is refused within a client's session: its reply would have to outlive an eviction that it
        // may itself have caused.
        Op::OpenSession if stamp.session != SessionId::NONE && !stamp.session.is_of_node() => {
            return Outcome::Reply(Reply::Error(ErrorKind::Malformed));
        }
        Op::OpenNodeSession { node, core, boot } => {
            if stamp.session != SessionId::NONE {
                return Outcome::Reply(Reply::Error(ErrorKind::Malformed));
            }
            let opened = context.group.sessions.open_for_node(node, core, boot, version);
            assert!(opened.is_none_or(SessionId::is_of_node), "a node was given a client's session");
            return Outcome::Reply(match opened {
                Some(id) => Reply::Session(id),
                None => Reply::Error(ErrorKind::SessionExpired),
            });
        }
        _ => {}
    }
    let found = context.find(command.namespace, command.key);
    let in_order = context.group.level >= Level::IN_ORDER;
    let value_len = reply_value_len(context, command.op, found);
    let judgement = context.group.sessions.judge(command, value_len, in_order);
    let outcome = match judgement {
        Judgement::Execute => execute(context, command, found),
        Judgement::Repeat => Outcome::Recall,
        Judgement::Refuse(kind) => Outcome::Reply(Reply::Error(kind)),
    };
    if stamp.session == SessionId::NONE || matches!(outcome, Outcome::Read { .. }) {
        return outcome;
    }
    context.group.sessions.touch(stamp, version);
    if let (Judgement::Execute, Outcome::Reply(reply)) = (judgement, outcome) {
        let value = context.old_value.as_slice();
        context.group.sessions.remember(command, reply.map(|()| value));
    }
    outcome
}

fn reply_value_len(context: &ApplyContext<'_>, op: Op, found: Option<RecordId>) -> usize {
    match (op, found) {
        (
            Op::Set { return_old: true, .. }
            | Op::SetIf { return_old: true, .. }
            | Op::GetDelete
            | Op::GetExpire(_),
            Some(id),
        ) => context.group.index.record(id).value.len(),
        _ => 0,
    }
}

fn execute(context: &mut ApplyContext<'_>, command: &CommandRef<'_>, found: Option<RecordId>) -> Outcome {
    debug_assert!(found.is_none_or(|id| !context.group.is_expired(id)), "an expired key was found");
    match command.op {
        Op::Set { .. } => basic::set(context, command, found),
        Op::Delete => Outcome::Reply(basic::delete(context, found)),
        Op::DeleteIfVersion(version) => Outcome::Reply(match found {
            Some(id) if !context.is_at(id, version) => Reply::Skipped,
            found => basic::delete(context, found),
        }),
        Op::IncrementBy(delta) => Outcome::Reply(basic::increment(context, command, found, delta)),
        Op::SetExpiry(expiry) => Outcome::Reply(basic::set_expiry(context, found, expiry)),
        Op::IfEqual { then } => if_equal::if_equal(context, found, command.operand, then),
        Op::GetDelete => single::get_delete(context, found),
        Op::GetExpire(expiry) => single::get_expire(context, found, expiry),
        Op::SetExpiryIf { expiry, test } => {
            Outcome::Reply(single::set_expiry_if(context, found, expiry, test))
        }
        Op::SetIf { .. } => compare::set_if(context, command, found),
        Op::DeleteIf { compare } => compare::delete_if(context, found, command.operand, compare),
        Op::SetMany { condition, expiry } => {
            Outcome::Reply(many::set_many(context, command, condition, expiry))
        }
        Op::Rename { replace } => Outcome::Reply(many::rename(context, command, found, replace)),
        Op::Copy { replace } => Outcome::Reply(many::copy(context, command, found, replace)),
        Op::Flush => Outcome::Reply(many::flush(context)),
        Op::RaiseLevel(level) => {
            context.group.level = context.group.level.max(level);
            assert!(context.group.level >= level, "a level is raised, never lowered");
            Outcome::Reply(Reply::Done { version: context.version })
        }
        Op::OpenSession => {
            let version = PackedVersion::pack(context.version);
            Outcome::Reply(Reply::Session(context.group.sessions.open(version)))
        }
        Op::CloseSequences => {
            let closed = context.group.sessions.close(command, context.old_value);
            Outcome::Reply(match closed {
                Ok(()) => Reply::Value { value: (), version: context.version },
                Err(kind) => Reply::Error(kind),
            })
        }
        // Reads are refused as entries, and nodes' sessions are opened above. An error is better than a
        // crash.
        Op::Get
        | Op::Exists
        | Op::Ttl
        | Op::ExpireTime
        | Op::CountKeys
        | Op::Scan { .. }
        | Op::RandomKey { .. }
        | Op::OpenNodeSession { .. } => Outcome::Reply(Reply::Error(ErrorKind::Malformed)),
    }
}
