//! What a core counts of its clients' commands: calls, refusals and failures by row of the command table, and
//! error lines by their code.
//!
//! ```text
//!  dispatch ─ a command is taken up ──────▶ called ──┐
//!  slots ──── a reply is an error line ───▶ failed ──┼─▶ totals ─▶ the core's page ─▶ INFO, /metrics
//!  binary, HTTP ─ a request is taken up ──▶ asked ───┘
//! ```
//! The connections of one core share one set of counters, which no other thread sees: counting is an
//! addition.

use crate::resp::spec::{ROW_COUNT, SPECS, SUBCOMMANDS, Spec, find_full};
use core::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

/// The counters of one core. Clones share them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CommandCounts(Rc<Counters>);

#[derive(PartialEq, Eq, Debug)]
struct Counters {
    rows: [RowCounters; ROW_COUNT],
    /// Requests of the binary protocol and of HTTP.
    others: Cell<u64>,
    turned_away: Cell<u64>,
    errors: RefCell<BTreeMap<String, u64>>,
}

#[derive(PartialEq, Eq, Debug, Default)]
struct RowCounters {
    calls: Cell<u64>,
    failed: Cell<u64>,
    rejected: Cell<u64>,
}

impl Default for Counters {
    fn default() -> Self {
        let rows = core::array::from_fn(|_| RowCounters::default());
        Self { rows, others: Cell::default(), turned_away: Cell::default(), errors: RefCell::default() }
    }
}

/// What was counted until now.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CountTotals {
    /// By name of the command, for those that were counted at all.
    pub commands: BTreeMap<&'static str, CallTotals>,
    /// Requests of the binary protocol and of HTTP.
    pub others: u64,
    /// Connections beyond the limit that were turned away.
    pub turned_away: u64,
    /// Error lines by their first word, such as `ERR`.
    pub errors: BTreeMap<String, u64>,
}

/// What was counted of one command.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CallTotals {
    /// How often it was taken up, because nothing spoke against its execution.
    pub calls: u64,
    /// Those of the calls that were answered by an error line; redirections count.
    pub failed: u64,
    /// How often it was refused before: a wrong number of arguments, no password, an aborted transaction.
    pub rejected: u64,
}

impl CommandCounts {
    /// A command is taken up.
    pub(super) fn called(&self, row: &Spec) {
        add(&self.0.rows[row.number].calls);
    }

    /// A request of the binary protocol or of HTTP is taken up.
    pub fn asked(&self) {
        add(&self.0.others);
    }

    /// A connection beyond the limit is turned away.
    pub fn turned_away(&self) {
        add(&self.0.turned_away);
    }

    /// The command called `name` was refused before it was taken up.
    pub(super) fn rejected(&self, name: &str) {
        if let Some(row) = find_full(name.as_bytes()) {
            add(&self.0.rows[row.number].rejected);
        }
    }

    /// The command called `name` was taken up and is answered by an error.
    pub(super) fn failed(&self, name: &str) {
        if let Some(row) = find_full(name.as_bytes()) {
            add(&self.0.rows[row.number].failed);
        }
    }

    /// An error line is sent. All of them begin with a code of this server's own, so there are few.
    pub(super) fn error(&self, line: &[u8]) {
        let code = line.strip_prefix(b"-").unwrap_or(line);
        let end = code.iter().position(u8::is_ascii_whitespace).unwrap_or(code.len());
        let code = String::from_utf8_lossy(&code[..end]);
        let mut errors = self.0.errors.borrow_mut();
        match errors.get_mut(code.as_ref()) {
            Some(count) => *count += 1,
            None => {
                errors.insert(code.into_owned(), 1);
            }
        }
    }

    /// What was counted until now.
    pub fn totals(&self) -> CountTotals {
        let rows = SPECS.iter().chain(SUBCOMMANDS).zip(&self.0.rows);
        let commands = rows.filter_map(|(row, counters)| {
            let RowCounters { calls, failed, rejected } = counters;
            let totals = CallTotals { calls: calls.get(), failed: failed.get(), rejected: rejected.get() };
            (totals != CallTotals::default()).then_some((row.name, totals))
        });
        CountTotals {
            commands: commands.collect(),
            others: self.0.others.get(),
            turned_away: self.0.turned_away.get(),
            errors: self.0.errors.borrow().clone(),
        }
    }
}

impl CountTotals {
    /// All commands and requests that were taken up.
    pub fn calls(&self) -> u64 {
        self.others + self.commands.values().map(|totals| totals.calls).sum::<u64>()
    }

    /// Adds what another core has counted.
    pub fn add(&mut self, other: &Self) {
        self.others += other.others;
        self.turned_away += other.turned_away;
        for (name, more) in &other.commands {
            let totals = self.commands.entry(name).or_default();
            totals.calls += more.calls;
            totals.failed += more.failed;
            totals.rejected += more.rejected;
        }
        for (code, more) in &other.errors {
            *self.errors.entry(code.clone()).or_default() += more;
        }
    }
}

fn add(counter: &Cell<u64>) {
    counter.set(counter.get() + 1);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::spec::find;

    #[test]
    fn what_is_counted_is_told_by_name_and_adds_up() {
        let counts = CommandCounts::default();
        let get = find(b"get").expect("in the table");
        counts.called(get);
        counts.clone().called(get);
        counts.failed("get");
        counts.rejected("config|get");
        counts.rejected("no such command");
        counts.asked();
        counts.error(b"-ERR no");
        counts.error(b"-ERR\r\n");
        counts.error(b"-NOAUTH Authentication required.");
        let mut totals = counts.totals();
        let config = CallTotals { rejected: 1, ..CallTotals::default() };
        assert_eq!(totals.commands["get"], CallTotals { calls: 2, failed: 1, rejected: 0 });
        assert_eq!((totals.commands["config|get"], totals.commands.len()), (config, 2));
        assert_eq!(totals.errors, BTreeMap::from([("ERR".to_owned(), 2), ("NOAUTH".to_owned(), 1)]));
        assert_eq!(totals.calls(), 3);
        totals.add(&counts.totals());
        assert_eq!((totals.calls(), totals.errors["ERR"], totals.commands["get"].failed), (6, 4, 2));
    }
}
