//! The sequential model of one key: the answer of each command, and the state it leaves behind, when no other
//! command runs meanwhile. Commands on several keys are modelled in [`super::family`].
//!
//! May not: share code with `synod-store`. It is the store's simple twin, written from the commands'
//! documentation. It is nondeterministic in one point only: a key with an expiry may be gone once that expiry
//! can have come.

use std::fmt;

/// A value as the model knows it: a number, which INCR can change, or an opaque blob named by its writer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Datum {
    /// A canonical decimal integer.
    Number(i64),
    /// Bytes that are no integer; every write uses another name.
    Blob(u32),
}

/// Virtual time in nanoseconds.
pub type Instant = u64;

/// The state of one key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum KeyState {
    /// No such key.
    Absent,
    /// The key exists.
    Present {
        /// Its value.
        value: Datum,
        /// The earliest instant at which it can have expired; `None` for never.
        expires_from: Option<Instant>,
    },
}

/// The effect of a SET on the key's expiry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ttl {
    /// The key no longer expires.
    Clear,
    /// The expiry stays as it was.
    Keep,
    /// The key may be gone from this instant on, and not before: the call's instant plus the span asked for,
    /// less the most by which clocks may differ.
    From(Instant),
}

/// When a SET takes effect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum When {
    /// Always.
    Always,
    /// NX.
    Absent,
    /// XX.
    Present,
}

/// The action of IFEQUAL on a key that has the value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IfEqualAction {
    /// Removes it.
    Delete,
    /// The key may be gone from this instant on.
    ExpireFrom(Instant),
    /// The same, if the key had an expiry.
    RenewFrom(Instant),
    /// If the key had an expiry, it comes this many nanoseconds later.
    ExtendBy(u64),
}

/// The number of keys a command can name: see [`super::family`].
pub const MEMBER_COUNT: usize = 3;

/// One command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// GET.
    Get,
    /// GET, sent to a healthy cluster long after every expiry: a key that had an expiry is gone.
    GetLate,
    /// EXISTS.
    Exists,
    /// SET.
    Set {
        /// The new value.
        value: Datum,
        /// NX, XX or neither.
        when: When,
        /// The effect on the expiry.
        ttl: Ttl,
        /// Whether the answer is the old value instead of done or skipped.
        return_old: bool,
    },
    /// DEL.
    Delete,
    /// INCRBY.
    Increment(i64),
    /// PEXPIRE (`From`) or PERSIST (`Clear`).
    Expire(Ttl),
    /// GETDEL.
    GetDelete,
    /// GETEX with a span (`From`) or PERSIST (`Clear`).
    GetExpire(Ttl),
    /// SET IFEQ, or a write with the condition that the version is the one this value was seen in.
    SetIf {
        /// The value that must be there.
        wanted: Datum,
        /// The new value.
        value: Datum,
    },
    /// DELEX IFEQ.
    DeleteIf {
        /// The value that must be there.
        wanted: Datum,
    },
    /// SET IFNE.
    SetUnless {
        /// The value that must not be there.
        unwanted: Datum,
        /// The new value.
        value: Datum,
    },
    /// A delete with the condition that the version is the one this value was seen in.
    DeleteVersion {
        /// The value that must be there.
        wanted: Datum,
    },
    /// Acts if the value is this one.
    IfEqual {
        /// The value that must be there.
        wanted: Datum,
        /// The action in that case.
        then: IfEqualAction,
    },
    /// PEXPIRE NX (`only_if_set` false) or XX.
    ExpireIf {
        /// The expiry.
        ttl: Ttl,
        /// Whether the key must have an expiry (true) or must have none.
        only_if_set: bool,
    },
    /// PTTL or PEXPIRETIME; remaining times count as 0.
    Ttl {
        /// Whether it is PEXPIRETIME.
        absolute: bool,
    },
    /// The key takes another member's name.
    Rename {
        /// The other member.
        target: u8,
        /// Whether an existing target is replaced.
        replace: bool,
    },
    /// The key is copied to another member.
    Copy {
        /// The other member.
        target: u8,
        /// Whether an existing target is replaced.
        replace: bool,
    },
    /// Several members are written, or none of them.
    SetMany {
        /// The new values.
        values: [Option<Datum>; MEMBER_COUNT],
        /// The condition on every one of them.
        when: When,
        /// The effect on their expiry.
        ttl: Ttl,
    },
    /// Every key of the group is removed.
    Flush,
}

/// An answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// The SET was done.
    Done,
    /// The SET's condition did not hold.
    Skipped,
    /// A value.
    Value(Datum),
    /// No such key.
    Nil,
    /// A number.
    Number(i64),
    /// The value is no integer; nothing changed.
    NotAnInteger,
    /// The sum does not fit; nothing changed.
    Overflow,
}

impl Action {
    /// Whether the command can change the key.
    pub fn is_write(self) -> bool {
        !matches!(self, Action::Get | Action::GetLate | Action::Exists | Action::Ttl { .. })
    }
}

/// The answer of `action`, a command on one key, in `state`, and the state after it. No time passes.
///
/// # Panics
/// When it is a command on several keys.
pub fn execute(state: KeyState, action: Action) -> (Answer, KeyState) {
    match action {
        Action::Get | Action::GetLate => (value_answer(state), state),
        Action::Exists => (Answer::Number(i64::from(state != KeyState::Absent)), state),
        Action::Set { value, when, ttl, return_old } => set(state, value, when, ttl, return_old),
        Action::Delete => (Answer::Number(i64::from(state != KeyState::Absent)), KeyState::Absent),
        Action::Increment(delta) => increment(state, delta),
        Action::GetDelete => (value_answer(state), KeyState::Absent),
        Action::GetExpire(ttl) => (value_answer(state), execute(state, Action::Expire(ttl)).1),
        Action::SetIf { wanted, value } => match state {
            KeyState::Present { value: there, .. } if there == wanted => {
                (Answer::Done, KeyState::Present { value, expires_from: None })
            }
            _ => (Answer::Skipped, state),
        },
        Action::DeleteIf { wanted } => match state {
            KeyState::Present { value, .. } if value == wanted => (Answer::Number(1), KeyState::Absent),
            _ => (Answer::Number(0), state),
        },
        Action::SetUnless { unwanted, value } => match state {
            KeyState::Present { value: there, .. } if there == unwanted => (Answer::Skipped, state),
            _ => (Answer::Done, KeyState::Present { value, expires_from: None }),
        },
        Action::DeleteVersion { wanted } => match state {
            KeyState::Absent => (Answer::Number(0), state),
            KeyState::Present { value, .. } if value == wanted => (Answer::Number(1), KeyState::Absent),
            KeyState::Present { .. } => (Answer::Skipped, state),
        },
        Action::IfEqual { wanted, then } => match state {
            KeyState::Present { value, expires_from } if value == wanted => act(value, expires_from, then),
            _ => (Answer::Number(0), state),
        },
        Action::ExpireIf { ttl, only_if_set } => match state {
            KeyState::Present { expires_from, .. } if expires_from.is_some() == only_if_set => {
                execute(state, Action::Expire(ttl))
            }
            _ => (Answer::Number(0), state),
        },
        Action::Ttl { .. } => {
            let left = match state {
                KeyState::Absent => -2,
                KeyState::Present { expires_from: None, .. } => -1,
                KeyState::Present { .. } => 0,
            };
            (Answer::Number(left), state)
        }
        Action::Rename { .. } | Action::Copy { .. } | Action::SetMany { .. } | Action::Flush => {
            unreachable!("{action} is not of one key")
        }
        Action::Expire(ttl) => match state {
            KeyState::Absent => (Answer::Number(0), state),
            KeyState::Present { expires_from: None, .. } if ttl == Ttl::Clear => (Answer::Number(0), state),
            KeyState::Present { value, .. } => {
                (Answer::Number(1), KeyState::Present { value, expires_from: expiry_after(state, ttl) })
            }
        },
    }
}

fn set(state: KeyState, value: Datum, when: When, ttl: Ttl, return_old: bool) -> (Answer, KeyState) {
    let exists = state != KeyState::Absent;
    let holds = match when {
        When::Always => true,
        When::Absent => !exists,
        When::Present => exists,
    };
    let after =
        if holds { KeyState::Present { value, expires_from: expiry_after(state, ttl) } } else { state };
    let answer = match (return_old, holds) {
        (true, _) => value_answer(state),
        (false, true) => Answer::Done,
        (false, false) => Answer::Skipped,
    };
    (answer, after)
}

fn increment(state: KeyState, delta: i64) -> (Answer, KeyState) {
    let (old, expires_from) = match state {
        KeyState::Absent => (Some(0), None),
        KeyState::Present { value: Datum::Number(number), expires_from } => (Some(number), expires_from),
        KeyState::Present { value: Datum::Blob(_), expires_from } => (None, expires_from),
    };
    let Some(old) = old else { return (Answer::NotAnInteger, state) };
    match old.checked_add(delta) {
        Some(sum) => (Answer::Number(sum), KeyState::Present { value: Datum::Number(sum), expires_from }),
        None => (Answer::Overflow, state),
    }
}

/// The effect of `then` on a key that has the value.
fn act(value: Datum, expires_from: Option<Instant>, then: IfEqualAction) -> (Answer, KeyState) {
    let after = |expires_from| (Answer::Number(1), KeyState::Present { value, expires_from });
    match (then, expires_from) {
        (IfEqualAction::Delete, _) => (Answer::Number(1), KeyState::Absent),
        (IfEqualAction::ExpireFrom(instant), _) | (IfEqualAction::RenewFrom(instant), Some(_)) => {
            after(Some(instant))
        }
        (IfEqualAction::ExtendBy(span), Some(from)) => after(Some(from + span)),
        (IfEqualAction::RenewFrom(_) | IfEqualAction::ExtendBy(_), None) => {
            (Answer::Number(0), KeyState::Present { value, expires_from })
        }
    }
}

fn value_answer(state: KeyState) -> Answer {
    match state {
        KeyState::Absent => Answer::Nil,
        KeyState::Present { value, .. } => Answer::Value(value),
    }
}

pub(super) fn expiry_after(state: KeyState, ttl: Ttl) -> Option<Instant> {
    match (ttl, state) {
        (Ttl::Clear, _) | (Ttl::Keep, KeyState::Absent) => None,
        (Ttl::Keep, KeyState::Present { expires_from, .. }) => expires_from,
        (Ttl::From(instant), _) => Some(instant),
    }
}

impl fmt::Display for Datum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Datum::Number(number) => write!(f, "{number}"),
            Datum::Blob(name) => write!(f, "v{name}"),
        }
    }
}

impl fmt::Display for KeyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyState::Absent => write!(f, "absent"),
            KeyState::Present { value, expires_from: None } => write!(f, "{value}"),
            KeyState::Present { value, expires_from: Some(from) } => {
                write!(f, "{value} until {}ms", from / 1_000_000)
            }
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Get => write!(f, "GET"),
            Action::GetLate => write!(f, "GET (after every expiry)"),
            Action::Exists => write!(f, "EXISTS"),
            Action::Set { value, when, ttl, return_old } => {
                write!(f, "SET {value}")?;
                match when {
                    When::Always => {}
                    When::Absent => write!(f, " NX")?,
                    When::Present => write!(f, " XX")?,
                }
                match ttl {
                    Ttl::Clear => {}
                    Ttl::Keep => write!(f, " KEEPTTL")?,
                    Ttl::From(from) => write!(f, " expiring from {}ms", from / 1_000_000)?,
                }
                if *return_old { write!(f, " GET") } else { Ok(()) }
            }
            Action::Delete => write!(f, "DEL"),
            Action::Increment(delta) => write!(f, "INCRBY {delta}"),
            Action::Expire(Ttl::From(from)) => write!(f, "EXPIRE from {}ms", from / 1_000_000),
            Action::Expire(_) => write!(f, "PERSIST"),
            Action::GetDelete => write!(f, "GETDEL"),
            Action::GetExpire(Ttl::From(from)) => write!(f, "GETEX from {}ms", from / 1_000_000),
            Action::GetExpire(_) => write!(f, "GETEX PERSIST"),
            Action::SetIf { wanted, value } => write!(f, "SET {value} IFEQ {wanted}"),
            Action::DeleteIf { wanted } => write!(f, "DELEX IFEQ {wanted}"),
            Action::SetUnless { unwanted, value } => write!(f, "SET {value} IFNE {unwanted}"),
            Action::DeleteVersion { wanted } => write!(f, "DEL if at the version of {wanted}"),
            Action::IfEqual { wanted, then } => write!(f, "IFEQUAL {wanted} {then:?}"),
            Action::ExpireIf { ttl, only_if_set } => {
                write!(f, "PEXPIRE {ttl:?} {}", if *only_if_set { "XX" } else { "NX" })
            }
            Action::Ttl { absolute } => write!(f, "{}", if *absolute { "PEXPIRETIME" } else { "PTTL" }),
            Action::Rename { target, replace } => write!(f, "RENAME to {target}, replace {replace}"),
            Action::Copy { target, replace } => write!(f, "COPY to {target}, replace {replace}"),
            Action::SetMany { values, when, ttl } => write!(f, "MSET {values:?} {when:?} {ttl:?}"),
            Action::Flush => write!(f, "FLUSH"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOB: KeyState = KeyState::Present { value: Datum::Blob(1), expires_from: None };

    fn number(value: i64) -> KeyState {
        KeyState::Present { value: Datum::Number(value), expires_from: None }
    }

    fn set(when: When, return_old: bool) -> Action {
        Action::Set { value: Datum::Blob(2), when, ttl: Ttl::Clear, return_old }
    }

    #[test]
    fn sets_answer_by_condition_and_by_what_was_there() {
        let new = KeyState::Present { value: Datum::Blob(2), expires_from: None };
        assert_eq!(execute(KeyState::Absent, set(When::Always, false)), (Answer::Done, new));
        assert_eq!(execute(BLOB, set(When::Absent, false)), (Answer::Skipped, BLOB));
        assert_eq!(execute(KeyState::Absent, set(When::Present, false)), (Answer::Skipped, KeyState::Absent));
        assert_eq!(execute(BLOB, set(When::Always, true)), (Answer::Value(Datum::Blob(1)), new));
        assert_eq!(execute(KeyState::Absent, set(When::Absent, true)), (Answer::Nil, new));
        assert_eq!(execute(BLOB, set(When::Absent, true)), (Answer::Value(Datum::Blob(1)), BLOB));
    }

    #[test]
    fn comparisons_do_what_holds_and_nothing_else() {
        let (one, two) = (Datum::Blob(1), Datum::Blob(2));
        let new = KeyState::Present { value: two, expires_from: None };
        assert_eq!(execute(BLOB, Action::SetIf { wanted: one, value: two }), (Answer::Done, new));
        assert_eq!(execute(BLOB, Action::SetIf { wanted: two, value: two }), (Answer::Skipped, BLOB));
        let absent = KeyState::Absent;
        assert_eq!(execute(absent, Action::SetIf { wanted: one, value: two }), (Answer::Skipped, absent));
        assert_eq!(execute(BLOB, Action::DeleteIf { wanted: one }), (Answer::Number(1), absent));
        assert_eq!(execute(BLOB, Action::DeleteIf { wanted: two }), (Answer::Number(0), BLOB));
        assert_eq!(execute(BLOB, Action::GetDelete), (Answer::Value(one), absent));
        let soon = KeyState::Present { value: one, expires_from: Some(9) };
        assert_eq!(execute(BLOB, Action::GetExpire(Ttl::From(9))), (Answer::Value(one), soon));
        assert_eq!(execute(soon, Action::GetExpire(Ttl::Clear)), (Answer::Value(one), BLOB));
    }

    #[test]
    fn increments_refuse_blobs_and_overflow() {
        assert_eq!(execute(KeyState::Absent, Action::Increment(3)), (Answer::Number(3), number(3)));
        assert_eq!(execute(BLOB, Action::Increment(3)), (Answer::NotAnInteger, BLOB));
        let full = number(i64::MAX);
        assert_eq!(execute(full, Action::Increment(1)), (Answer::Overflow, full));
    }

    #[test]
    fn what_wants_a_value_a_version_or_an_expiry_does_nothing_without() {
        let (one, two) = (Datum::Blob(1), Datum::Blob(2));
        let soon = KeyState::Present { value: one, expires_from: Some(9) };
        let later = |from| KeyState::Present { value: one, expires_from: Some(from) };
        let act = |wanted, then| Action::IfEqual { wanted, then };
        for (state, action, number, after) in [
            (BLOB, act(one, IfEqualAction::Delete), 1, KeyState::Absent),
            (BLOB, act(two, IfEqualAction::Delete), 0, BLOB),
            (KeyState::Absent, act(one, IfEqualAction::Delete), 0, KeyState::Absent),
            (BLOB, act(one, IfEqualAction::ExpireFrom(9)), 1, soon),
            (BLOB, act(one, IfEqualAction::RenewFrom(9)), 0, BLOB),
            (soon, act(one, IfEqualAction::RenewFrom(20)), 1, later(20)),
            (BLOB, act(one, IfEqualAction::ExtendBy(9)), 0, BLOB),
            (soon, act(one, IfEqualAction::ExtendBy(9)), 1, later(18)),
            (BLOB, Action::ExpireIf { ttl: Ttl::From(9), only_if_set: false }, 1, soon),
            (BLOB, Action::ExpireIf { ttl: Ttl::From(9), only_if_set: true }, 0, BLOB),
            (soon, Action::ExpireIf { ttl: Ttl::From(12), only_if_set: true }, 1, later(12)),
            (soon, Action::Ttl { absolute: false }, 0, soon),
            (BLOB, Action::Ttl { absolute: true }, -1, BLOB),
            (KeyState::Absent, Action::Ttl { absolute: true }, -2, KeyState::Absent),
            (BLOB, Action::DeleteVersion { wanted: one }, 1, KeyState::Absent),
            (KeyState::Absent, Action::DeleteVersion { wanted: one }, 0, KeyState::Absent),
        ] {
            assert_eq!(execute(state, action), (Answer::Number(number), after), "{action} on {state}");
        }
        assert_eq!(execute(BLOB, Action::DeleteVersion { wanted: two }), (Answer::Skipped, BLOB));
        let unless = |unwanted| Action::SetUnless { unwanted, value: two };
        let new = KeyState::Present { value: two, expires_from: None };
        assert_eq!(execute(soon, unless(one)), (Answer::Skipped, soon));
        assert_eq!(execute(KeyState::Absent, unless(one)), (Answer::Done, new));
    }
}
