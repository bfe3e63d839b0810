//! The slow and simple twin of [`super::wgl`]: tries every order of every choice of unknown operations. For
//! tiny histories.

use super::family::{Family, successors};
use super::history::{Fate, Operation};
use super::model::Instant;

/// Whether some order of the answered operations, and of any of the unknown ones, explains every answer.
///
/// # Panics
/// When there are more than ten operations: it would take too long to return.
pub fn linearizable(operations: &[Operation]) -> bool {
    assert!(operations.len() <= 10, "the brute-force checker is for tiny histories");
    let kept: Vec<_> = operations.iter().filter(|op| op.fate != Fate::Refused).copied().collect();
    explain(&kept, &mut vec![false; kept.len()], Family::ABSENT)
}

fn explain(operations: &[Operation], used: &mut [bool], state: Family) -> bool {
    let answered_left =
        operations.iter().zip(&*used).any(|(op, &used)| !used && matches!(op.fate, Fate::Answered { .. }));
    if !answered_left {
        return true;
    }
    for index in 0..operations.len() {
        let op = &operations[index];
        if used[index] || !may_come_next(operations, used, op) {
            continue;
        }
        let (answer, ends_at) = match op.fate {
            Fate::Answered { stamp, answer } => (Some(answer), stamp.at),
            _ => (None, Instant::MAX),
        };
        let mut after = Vec::new();
        successors(state, op.member, op.action, answer, ends_at, &mut after);
        used[index] = true;
        for state in after {
            if explain(operations, used, state) {
                used[index] = false;
                return true;
            }
        }
        used[index] = false;
    }
    false
}

/// Real-time order: no operation that is still unused returned before `op` was called.
fn may_come_next(operations: &[Operation], used: &[bool], op: &Operation) -> bool {
    operations.iter().zip(used).all(|(other, &used)| match other.fate {
        Fate::Answered { stamp, .. } => used || op.called.order < stamp.order,
        _ => true,
    })
}
