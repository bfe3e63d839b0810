//! Linearizability of one key, or of one family of keys that commands link (Herlihy & Wing 1990), after Wing
//! & Gong 1993 with Lowe's just-in-time order and memoisation (Lowe 2017, "Testing for linearizability").
//!
//! The history is walked once. A *configuration* is (state of the key, which of the open operations have
//! already taken effect). When an operation returns, every configuration is extended by open operations, in
//! any order, until that one has taken effect; configurations that cannot get there die. If none is left, the
//! history is not linearizable.
//!
//! ```text
//!   client 1   |--- SET v1 ---|                open at the return of GET: {SET v1, SET v2 (no answer)}
//!   client 2      |--- SET v2 ----- - - -      configurations before it:  (v1, {})  (v2, {SET v2})  …
//!   client 3                     |- GET = v2 -|
//! ```
//!
//! The checker is fast for three reasons:
//! * A configuration is kept once (memoisation), and the walk forgets operations as they return, so a
//!   quiescent point cuts the history by itself: thousands of operations per key cost little when few are
//!   open at once.
//! * An operation without an answer stays open to the end but never *has* to take effect. So of two
//!   configurations that differ only in such operations, the one that used fewer decides, and the other is
//!   dropped.
//! * Of several equal operations without an answer, the earliest is used first: they are interchangeable from
//!   then on.

use super::Violation;
use super::family::{Family, successors};
use super::history::{Fate, Operation};
use super::model::{Action, Answer, Instant};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Open operations at one time, answered or not: bits of a configuration.
pub const OPEN_COUNT_MAX: usize = 64;
/// Configurations alive at one time; beyond it the checker gives up rather than hang.
pub const CONFIGURATION_COUNT_MAX: usize = 200_000;

/// The checker's result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Some order explains every answer.
    Linearizable,
    /// No order does; the text shows where the explanation breaks off.
    Violated(String),
    /// Too many operations were open at once to decide. The workload has to bound that, so a run must treat
    /// this as a failure.
    Undecided(String),
}

/// Checks the operations on one key, which starts absent.
pub fn check_key(operations: &[Operation]) -> Verdict {
    let mut walk = Walk::new();
    for event in events(operations) {
        let result = match event {
            Event::Call(index) => walk.call(&operations[index], index),
            Event::Return(index) => walk.answer(&operations[index], index, operations),
        };
        if let Err(verdict) = result {
            return verdict;
        }
    }
    Verdict::Linearizable
}

/// Checks every key of a history.
///
/// # Errors
/// A [`Violation`] for the first key whose operations no order explains, or that could not be decided.
pub fn check_all(keys: &[(u32, Vec<Operation>)]) -> super::Checked {
    for (key, operations) in keys {
        match check_key(operations) {
            Verdict::Linearizable => {}
            Verdict::Violated(detail) => {
                return Err(Violation::new("linearizability", format!("key {key}: {detail}")));
            }
            Verdict::Undecided(detail) => {
                return Err(Violation::new("linearizability-undecided", format!("key {key}: {detail}")));
            }
        }
    }
    Ok(())
}

enum Event {
    Call(usize),
    Return(usize),
}

/// Calls and returns in order. A refused operation never happened; a read without an answer changes nothing
/// and shows nothing.
fn events(operations: &[Operation]) -> Vec<Event> {
    let mut events = Vec::with_capacity(operations.len() * 2);
    for (index, op) in operations.iter().enumerate() {
        match op.fate {
            Fate::Refused => {}
            Fate::Unknown if !op.action.is_write() => {}
            Fate::Unknown => events.push((op.called.order, Event::Call(index))),
            Fate::Answered { stamp, .. } => {
                assert!(op.called.order < stamp.order, "an answer before its call");
                events.push((op.called.order, Event::Call(index)));
                events.push((stamp.order, Event::Return(index)));
            }
        }
    }
    events.sort_by_key(|&(order, _)| order);
    events.into_iter().map(|(_, event)| event).collect()
}

/// An operation that was called and has not returned.
#[derive(Clone, Copy)]
struct Open {
    index: usize,
    member: u8,
    action: Action,
    answer: Option<Answer>,
    ends_at: Instant,
}

/// The configurations with one state and one set of answered operations that took effect: the minimal sets of
/// unanswered operations that took effect.
type Antichain = Vec<u64>;

#[derive(Default)]
struct Configurations {
    sets: BTreeMap<(Family, u64), Antichain>,
    count: usize,
}

impl Configurations {
    /// Adds a configuration unless a known one decides as much; says whether it was added.
    fn insert(&mut self, state: Family, answered_done: u64, unanswered_done: u64) -> bool {
        let chain = self.sets.entry((state, answered_done)).or_default();
        if chain.iter().any(|&known| known & !unanswered_done == 0) {
            return false;
        }
        let before = chain.len();
        chain.retain(|&known| unanswered_done & !known != 0);
        chain.push(unanswered_done);
        self.count = self.count + chain.len() - before;
        true
    }
    fn iter(&self) -> impl Iterator<Item = (Family, u64, u64)> {
        self.sets.iter().flat_map(|(&(state, answered), chain)| {
            chain.iter().map(move |&unanswered| (state, answered, unanswered))
        })
    }
}

struct Walk {
    open: [Option<Open>; OPEN_COUNT_MAX],
    /// The open operations that will never return.
    unanswered: u64,
    configurations: Configurations,
}

impl Walk {
    fn new() -> Self {
        let mut configurations = Configurations::default();
        configurations.insert(Family::ABSENT, 0, 0);
        Self { open: [None; OPEN_COUNT_MAX], unanswered: 0, configurations }
    }

    fn call(&mut self, op: &Operation, index: usize) -> Result<(), Verdict> {
        let Some(bit) = self.open.iter().position(Option::is_none) else {
            return Err(Verdict::Undecided(format!("more than {OPEN_COUNT_MAX} operations open at once")));
        };
        let (answer, ends_at) = match op.fate {
            Fate::Answered { stamp, answer } => (Some(answer), stamp.at),
            _ => {
                self.unanswered |= 1 << bit;
                (None, Instant::MAX)
            }
        };
        self.open[bit] = Some(Open { index, member: op.member, action: op.action, answer, ends_at });
        Ok(())
    }

    fn answer(&mut self, op: &Operation, index: usize, all: &[Operation]) -> Result<(), Verdict> {
        let bit = self.bit_of(index);
        let mask = 1_u64 << bit;
        let mut reached = Configurations::default();
        let mut seen = Configurations::default();
        let mut work = Vec::new();
        for (state, answered, unanswered) in self.configurations.iter() {
            if answered & mask != 0 {
                reached.insert(state, answered & !mask, unanswered);
            } else if seen.insert(state, answered, unanswered) {
                work.push((state, answered, unanswered));
            }
        }
        let mut next = Vec::new();
        while let Some((state, answered, unanswered)) = work.pop() {
            if seen.count + reached.count > CONFIGURATION_COUNT_MAX {
                return Err(Verdict::Undecided(format!(
                    "more than {CONFIGURATION_COUNT_MAX} configurations at the return of {op}"
                )));
            }
            for candidate in 0..OPEN_COUNT_MAX {
                let Some(open) = self.candidate(candidate, answered | unanswered) else { continue };
                next.clear();
                successors(state, open.member, open.action, open.answer, open.ends_at, &mut next);
                let done = 1_u64 << candidate;
                for &after in &next {
                    if candidate == bit {
                        reached.insert(after, answered, unanswered);
                    } else if self.unanswered & done != 0 {
                        if seen.insert(after, answered, unanswered | done) {
                            work.push((after, answered, unanswered | done));
                        }
                    } else if seen.insert(after, answered | done, unanswered) {
                        work.push((after, answered | done, unanswered));
                    }
                }
            }
        }
        if reached.count == 0 {
            return Err(Verdict::Violated(self.explain(op, all)));
        }
        self.configurations = reached;
        self.open[bit] = None;
        Ok(())
    }

    fn bit_of(&self, index: usize) -> usize {
        let found = self.open.iter().position(|open| open.is_some_and(|open| open.index == index));
        found.expect("an operation returns after its call")
    }

    /// The open operation at bit `candidate`, if it has not taken effect, and if no equal, earlier one
    /// without an answer is still unused.
    fn candidate(&self, candidate: usize, done: u64) -> Option<Open> {
        let open = self.open[candidate]?;
        if done & (1 << candidate) != 0 {
            return None;
        }
        if self.unanswered & (1 << candidate) != 0 {
            let twin_unused = (0..candidate).any(|earlier| {
                self.unanswered & (1 << earlier) != 0
                    && done & (1 << earlier) == 0
                    && self.open[earlier]
                        .is_some_and(|twin| (twin.member, twin.action) == (open.member, open.action))
            });
            if twin_unused {
                return None;
            }
        }
        Some(open)
    }

    fn explain(&self, op: &Operation, all: &[Operation]) -> String {
        let mut text = format!("nothing explains {op}\n  the key could have been, before it:");
        for (state, _, unanswered) in self.configurations.iter().take(8) {
            let _ = write!(text, "\n    {state} (with {} unknown writes done)", unanswered.count_ones());
        }
        text.push_str("\n  open with it:");
        for open in self.open.iter().flatten() {
            let _ = write!(text, "\n    {}", all[open.index]);
        }
        text.push_str("\n  returned before it, latest last:");
        let mut before: Vec<_> = all
            .iter()
            .filter_map(|other| match (other.fate, op.fate) {
                (Fate::Answered { stamp, .. }, Fate::Answered { stamp: end, .. }) if stamp < end => {
                    Some((stamp, other))
                }
                _ => None,
            })
            .collect();
        before.sort_by_key(|&(stamp, _)| stamp);
        for (_, other) in before.iter().skip(before.len().saturating_sub(12)) {
            let _ = write!(text, "\n    {other}");
        }
        text
    }
}

#[cfg(test)]
mod tests;
