//! The object that the linearizability checker checks: a few keys of one group that commands link. A key that
//! no command links to another is a family with one member in use.
//!
//! FLUSH links every key of a group, which would be too many to check together. So it counts as an operation
//! on each family by itself (see [`super::history::History::by_key`]). The checker proves that it empties
//! each family at some instant of its call, but not that it is the same instant for all of them.

use super::model::{
    Action, Answer, Instant, KeyState, MEMBER_COUNT, When, execute as execute_one, expiry_after,
};
use std::fmt;

/// The states of the members.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Family(pub [KeyState; MEMBER_COUNT]);

impl Family {
    /// No key exists.
    pub const ABSENT: Self = Self([KeyState::Absent; MEMBER_COUNT]);
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, rest @ ..] = &self.0;
        write!(f, "{first}")?;
        rest.iter().try_for_each(|state| write!(f, " | {state}"))
    }
}

/// Every state that `action` on `member` may leave behind when it finds `state` and answers `answer` (any
/// answer if that is `None`), pushed to `out`. `ends_at` is the last instant at which the action can have
/// taken effect.
pub fn successors(
    state: Family,
    member: u8,
    action: Action,
    answer: Option<Answer>,
    ends_at: Instant,
    out: &mut Vec<Family>,
) {
    let touched = touched(member, action);
    let is_late = |at: usize| match state.0[at] {
        KeyState::Present { expires_from: Some(from), .. } => touched & (1 << at) != 0 && from <= ends_at,
        _ => false,
    };
    let may_be_gone = (0..MEMBER_COUNT).filter(|&at| is_late(at)).fold(0_usize, |set, at| set | 1 << at);
    // Every subset of the members that may be gone by now.
    let mut gone = may_be_gone;
    loop {
        let mut before = state;
        for at in (0..MEMBER_COUNT).filter(|at| gone & (1 << at) != 0) {
            before.0[at] = KeyState::Absent;
        }
        let (given, after) = execute(before, member, action);
        let is_overdue = action == Action::GetLate
            && matches!(before.0[usize::from(member)], KeyState::Present { expires_from: Some(_), .. });
        if !is_overdue && answer.is_none_or(|wanted| wanted == given) && !out.contains(&after) {
            out.push(after);
        }
        if gone == 0 {
            return;
        }
        gone = (gone - 1) & may_be_gone;
    }
}

/// The members that an action looks at or changes, as bits.
fn touched(member: u8, action: Action) -> usize {
    match action {
        Action::Rename { target, .. } | Action::Copy { target, .. } => 1 << member | 1 << target,
        Action::SetMany { values, .. } => {
            let named = values.iter().enumerate().filter(|(_, value)| value.is_some());
            named.fold(0, |set, (at, _)| set | 1 << at)
        }
        Action::Flush => (1 << MEMBER_COUNT) - 1,
        _ => 1 << member,
    }
}

/// The answer of `action` on `member` in `state`, and the state after it. No time passes.
pub fn execute(state: Family, member: u8, action: Action) -> (Answer, Family) {
    let own = usize::from(member);
    let mut after = state;
    let answer = match action {
        Action::Rename { target, replace } | Action::Copy { target, replace } => {
            let renames = matches!(action, Action::Rename { .. });
            let target = usize::from(target);
            if state.0[own] == KeyState::Absent {
                if renames { Answer::Nil } else { Answer::Number(0) }
            } else if state.0[target] != KeyState::Absent && !replace {
                Answer::Number(0)
            } else {
                if renames {
                    after.0[own] = KeyState::Absent;
                }
                after.0[target] = state.0[own];
                Answer::Number(1)
            }
        }
        Action::SetMany { values, when, ttl } => {
            let named = || values.iter().enumerate().filter_map(|(at, value)| Some((at, (*value)?)));
            let holds = named().all(|(at, _)| match when {
                When::Always => true,
                When::Absent => state.0[at] == KeyState::Absent,
                When::Present => state.0[at] != KeyState::Absent,
            });
            if holds {
                for (at, value) in named() {
                    let expires_from = expiry_after(state.0[at], ttl);
                    after.0[at] = KeyState::Present { value, expires_from };
                }
            }
            Answer::Number(i64::from(holds))
        }
        Action::Flush => {
            after = Family::ABSENT;
            Answer::Done
        }
        _ => {
            let (answer, one) = execute_one(state.0[own], action);
            after.0[own] = one;
            answer
        }
    };
    (answer, after)
}

#[cfg(test)]
mod tests {
    use super::super::model::{Datum, Ttl};
    use super::*;

    const ABSENT: KeyState = KeyState::Absent;

    fn held(name: u32, expires_from: Option<Instant>) -> KeyState {
        KeyState::Present { value: Datum::Blob(name), expires_from }
    }

    #[test]
    fn what_moves_moves_whole_and_only_where_it_may() {
        let (one, two) = (held(1, Some(9)), held(2, None));
        let rename = |replace| Action::Rename { target: 1, replace };
        let copy = |replace| Action::Copy { target: 1, replace };
        for (before, action, answer, after) in [
            ([one, ABSENT, two], rename(false), Answer::Number(1), [ABSENT, one, two]),
            ([one, two, ABSENT], rename(false), Answer::Number(0), [one, two, ABSENT]),
            ([one, two, ABSENT], rename(true), Answer::Number(1), [ABSENT, one, ABSENT]),
            ([ABSENT, two, one], rename(true), Answer::Nil, [ABSENT, two, one]),
            ([one, ABSENT, two], copy(false), Answer::Number(1), [one, one, two]),
            ([one, two, two], copy(false), Answer::Number(0), [one, two, two]),
            ([one, two, two], copy(true), Answer::Number(1), [one, one, two]),
            ([ABSENT, two, two], copy(true), Answer::Number(0), [ABSENT, two, two]),
            ([one, two, two], Action::Flush, Answer::Done, [ABSENT; 3]),
            ([one, two, two], Action::Delete, Answer::Number(1), [ABSENT, two, two]),
        ] {
            assert_eq!(execute(Family(before), 0, action), (answer, Family(after)), "{action}");
        }
    }

    #[test]
    fn several_are_written_or_none() {
        let values = [Some(Datum::Blob(7)), None, Some(Datum::Blob(8))];
        let write = |when| Action::SetMany { values, when, ttl: Ttl::Clear };
        let before = Family([held(1, Some(9)), held(2, None), ABSENT]);
        let after = Family([held(7, None), held(2, None), held(8, None)]);
        assert_eq!(execute(before, 0, write(When::Always)), (Answer::Number(1), after));
        assert_eq!(execute(before, 0, write(When::Present)), (Answer::Number(0), before));
        assert_eq!(execute(before, 0, write(When::Absent)), (Answer::Number(0), before));
        assert_eq!(execute(after, 0, write(When::Present)), (Answer::Number(1), after));
    }

    #[test]
    fn an_expiring_key_is_there_or_gone_but_not_gone_too_early() {
        let key = held(1, Some(100));
        let family = |state| Family([state, ABSENT, ABSENT]);
        let value = Some(Answer::Value(Datum::Blob(1)));
        for (action, answer, ends_at, want) in [
            (Action::Get, Some(Answer::Nil), 99, None),
            (Action::Get, Some(Answer::Nil), 100, Some(ABSENT)),
            (Action::Get, value, 500, Some(key)),
            (Action::Delete, None, 500, Some(ABSENT)),
            (Action::GetLate, value, 500, None),
            (Action::GetLate, Some(Answer::Nil), 500, Some(ABSENT)),
        ] {
            let mut out = Vec::new();
            successors(family(key), 0, action, answer, ends_at, &mut out);
            assert_eq!(out, want.map(family).as_slice(), "{action} by {ends_at}");
        }
    }

    #[test]
    fn what_a_command_does_not_name_does_not_expire_by_it() {
        let (soon, other) = (held(1, Some(5)), held(2, Some(5)));
        let mut out = Vec::new();
        let rename = Action::Rename { target: 1, replace: false };
        successors(Family([soon, other, soon]), 0, rename, Some(Answer::Number(1)), 9, &mut out);
        // Only the case in which the target is gone and the key is not.
        assert_eq!(out, [Family([ABSENT, soon, soon])]);
    }
}
