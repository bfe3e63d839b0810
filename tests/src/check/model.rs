//! The sequential model of one key: what each command answers and leaves behind when nothing else happens meanwhile.
//!
//! May not: share code with `synod-store`. It is the store's dumb twin, written from the command's documentation, and it is
//! nondeterministic in one point only: a key with an expiry may be gone once that expiry can have come.

use std::fmt;

/// What a value is to the model: a number, which INCR can change, or an opaque blob named by its writer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Datum {
    /// A canonical decimal integer.
    Number(i64),
    /// Bytes that are no integer; every write uses a name of its own.
    Blob(u32),
}

/// Virtual time in nanoseconds.
pub type Instant = u64;

/// The state of one key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum State {
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

/// What a SET does to the key's expiry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ttl {
    /// The key no longer expires.
    Clear,
    /// The expiry stays as it was.
    Keep,
    /// The key may be gone from this instant on, not earlier: the call's instant plus the span asked for, less what clocks
    /// may differ.
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

/// One command on one key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// GET.
    Get,
    /// GET, asked of a healthy cluster long after every expiry: a key that was to expire is gone.
    GetLate,
    /// EXISTS.
    Exists,
    /// SET.
    Set {
        /// The new value.
        value: Datum,
        /// NX, XX or neither.
        when: When,
        /// What becomes of the expiry.
        ttl: Ttl,
        /// Whether the old value is asked for instead of done or skipped.
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
    /// SET IFEQ, or a write that wants the version which this value was seen in.
    SetIf {
        /// What must be there.
        wanted: Datum,
        /// The new value.
        value: Datum,
    },
    /// DELEX IFEQ.
    DeleteIf {
        /// What must be there.
        wanted: Datum,
    },
}

/// What was answered.
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
        !matches!(self, Action::Get | Action::GetLate | Action::Exists)
    }
}

/// Every state that `action` may leave behind when it finds `state` and answers `answer` (any answer, where that is `None`),
/// pushed to `out`. `ends_at` is the last instant at which the action can have taken effect.
pub fn successors(
    state: State,
    action: Action,
    answer: Option<Answer>,
    ends_at: Instant,
    out: &mut Vec<State>,
) {
    let mut consider = |before: State| {
        let (given, after) = execute(before, action);
        if answer.is_none_or(|wanted| wanted == given) && !out.contains(&after) {
            out.push(after);
        }
    };
    let State::Present { expires_from: Some(from), .. } = state else {
        consider(state);
        return;
    };
    if action != Action::GetLate {
        consider(state);
    }
    if from <= ends_at {
        consider(State::Absent);
    }
}

/// What `action` answers on `state`, and the state after it. No time passes.
pub fn execute(state: State, action: Action) -> (Answer, State) {
    match action {
        Action::Get | Action::GetLate => (value_answer(state), state),
        Action::Exists => (Answer::Number(i64::from(state != State::Absent)), state),
        Action::Set { value, when, ttl, return_old } => {
            let exists = state != State::Absent;
            let holds = match when {
                When::Always => true,
                When::Absent => !exists,
                When::Present => exists,
            };
            let after =
                if holds { State::Present { value, expires_from: expiry_after(state, ttl) } } else { state };
            let answer = match (return_old, holds) {
                (true, _) => value_answer(state),
                (false, true) => Answer::Done,
                (false, false) => Answer::Skipped,
            };
            (answer, after)
        }
        Action::Delete => (Answer::Number(i64::from(state != State::Absent)), State::Absent),
        Action::Increment(delta) => {
            let (old, expires_from) = match state {
                State::Absent => (Some(0), None),
                State::Present { value: Datum::Number(number), expires_from } => (Some(number), expires_from),
                State::Present { value: Datum::Blob(_), expires_from } => (None, expires_from),
            };
            let Some(old) = old else { return (Answer::NotAnInteger, state) };
            match old.checked_add(delta) {
                Some(sum) => {
                    (Answer::Number(sum), State::Present { value: Datum::Number(sum), expires_from })
                }
                None => (Answer::Overflow, state),
            }
        }
        Action::GetDelete => (value_answer(state), State::Absent),
        Action::GetExpire(ttl) => (value_answer(state), execute(state, Action::Expire(ttl)).1),
        Action::SetIf { wanted, value } => match state {
            State::Present { value: there, .. } if there == wanted => {
                (Answer::Done, State::Present { value, expires_from: None })
            }
            _ => (Answer::Skipped, state),
        },
        Action::DeleteIf { wanted } => match state {
            State::Present { value, .. } if value == wanted => (Answer::Number(1), State::Absent),
            _ => (Answer::Number(0), state),
        },
        Action::Expire(ttl) => match state {
            State::Absent => (Answer::Number(0), state),
            State::Present { expires_from: None, .. } if ttl == Ttl::Clear => (Answer::Number(0), state),
            State::Present { value, .. } => {
                (Answer::Number(1), State::Present { value, expires_from: expiry_after(state, ttl) })
            }
        },
    }
}

fn value_answer(state: State) -> Answer {
    match state {
        State::Absent => Answer::Nil,
        State::Present { value, .. } => Answer::Value(value),
    }
}

fn expiry_after(state: State, ttl: Ttl) -> Option<Instant> {
    match (ttl, state) {
        (Ttl::Clear, _) | (Ttl::Keep, State::Absent) => None,
        (Ttl::Keep, State::Present { expires_from, .. }) => expires_from,
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

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            State::Absent => write!(f, "absent"),
            State::Present { value, expires_from: None } => write!(f, "{value}"),
            State::Present { value, expires_from: Some(from) } => {
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
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOB: State = State::Present { value: Datum::Blob(1), expires_from: None };

    fn number(value: i64) -> State {
        State::Present { value: Datum::Number(value), expires_from: None }
    }

    fn set(when: When, return_old: bool) -> Action {
        Action::Set { value: Datum::Blob(2), when, ttl: Ttl::Clear, return_old }
    }

    #[test]
    fn sets_answer_by_condition_and_by_what_was_there() {
        let new = State::Present { value: Datum::Blob(2), expires_from: None };
        assert_eq!(execute(State::Absent, set(When::Always, false)), (Answer::Done, new));
        assert_eq!(execute(BLOB, set(When::Absent, false)), (Answer::Skipped, BLOB));
        assert_eq!(execute(State::Absent, set(When::Present, false)), (Answer::Skipped, State::Absent));
        assert_eq!(execute(BLOB, set(When::Always, true)), (Answer::Value(Datum::Blob(1)), new));
        assert_eq!(execute(State::Absent, set(When::Absent, true)), (Answer::Nil, new));
        assert_eq!(execute(BLOB, set(When::Absent, true)), (Answer::Value(Datum::Blob(1)), BLOB));
    }

    #[test]
    fn comparisons_do_what_holds_and_nothing_else() {
        let (one, two) = (Datum::Blob(1), Datum::Blob(2));
        let new = State::Present { value: two, expires_from: None };
        assert_eq!(execute(BLOB, Action::SetIf { wanted: one, value: two }), (Answer::Done, new));
        assert_eq!(execute(BLOB, Action::SetIf { wanted: two, value: two }), (Answer::Skipped, BLOB));
        let absent = State::Absent;
        assert_eq!(execute(absent, Action::SetIf { wanted: one, value: two }), (Answer::Skipped, absent));
        assert_eq!(execute(BLOB, Action::DeleteIf { wanted: one }), (Answer::Number(1), absent));
        assert_eq!(execute(BLOB, Action::DeleteIf { wanted: two }), (Answer::Number(0), BLOB));
        assert_eq!(execute(BLOB, Action::GetDelete), (Answer::Value(one), absent));
        let soon = State::Present { value: one, expires_from: Some(9) };
        assert_eq!(execute(BLOB, Action::GetExpire(Ttl::From(9))), (Answer::Value(one), soon));
        assert_eq!(execute(soon, Action::GetExpire(Ttl::Clear)), (Answer::Value(one), BLOB));
    }

    #[test]
    fn increments_refuse_blobs_and_overflow() {
        assert_eq!(execute(State::Absent, Action::Increment(3)), (Answer::Number(3), number(3)));
        assert_eq!(execute(BLOB, Action::Increment(3)), (Answer::NotAnInteger, BLOB));
        let full = number(i64::MAX);
        assert_eq!(execute(full, Action::Increment(1)), (Answer::Overflow, full));
    }

    #[test]
    fn an_expiring_key_is_there_or_gone_but_not_gone_too_early() {
        let state = State::Present { value: Datum::Blob(1), expires_from: Some(100) };
        let mut out = Vec::new();
        successors(state, Action::Get, Some(Answer::Nil), 99, &mut out);
        assert_eq!(out, []);
        successors(state, Action::Get, Some(Answer::Nil), 100, &mut out);
        assert_eq!(out, [State::Absent]);
        out.clear();
        successors(state, Action::Get, Some(Answer::Value(Datum::Blob(1))), 500, &mut out);
        assert_eq!(out, [state]);
        out.clear();
        successors(state, Action::Delete, None, 500, &mut out);
        assert_eq!(out, [State::Absent]);
        out.clear();
        successors(state, Action::GetLate, Some(Answer::Value(Datum::Blob(1))), 500, &mut out);
        assert_eq!(out, []);
        successors(state, Action::GetLate, Some(Answer::Nil), 500, &mut out);
        assert_eq!(out, [State::Absent]);
    }
}
