//! `Limiter`: writes the same event about the same subject a few times, then counts it.
//!
//! ```text
//!   first LINES_MAX lines of a subject in INTERVAL ─▶ written
//!   further ones                                   ─▶ counted; the last one is kept
//!   INTERVAL over                                  ─▶ that one, "(said 124 more times in 10 s)"
//! ```

use super::line::{Line, Value};
use std::collections::HashMap;

/// How many lines of a subject are written per interval.
pub(super) const LINES_MAX: u32 = 5;
/// How long lines are counted together.
pub(super) const INTERVAL_MS: u64 = 10_000;
/// Subjects that are remembered. Lines about further ones are counted together.
const SUBJECTS_MAX: usize = 1024;
/// The subject of what finds no place. A collision with a real one only joins their counts.
const OTHERS: u64 = 0;

/// What was said about one subject.
#[derive(Debug)]
struct Recent {
    since_ms: u64,
    written: u32,
    /// Lines that were not written, and the last of them.
    unsaid: u64,
    last: Option<Line>,
}

/// Subjects of the last interval.
#[derive(Debug, Default)]
pub(super) struct Limiter {
    subjects: HashMap<u64, Recent>,
}

impl Limiter {
    /// Returns the lines to write now that this one comes: itself, unless its subject had enough, after what
    /// was counted until now.
    pub fn take(&mut self, line: Line) -> Vec<Line> {
        let mut out = self.sweep(line.at_ms);
        let subject = line.subject();
        let has_place = self.subjects.contains_key(&subject) || self.subjects.len() < SUBJECTS_MAX;
        let recent = self.subjects.entry(if has_place { subject } else { OTHERS }).or_insert(Recent {
            since_ms: line.at_ms,
            written: 0,
            unsaid: 0,
            last: None,
        });
        if recent.written < LINES_MAX {
            recent.written += 1;
            out.push(line);
        } else {
            recent.unsaid += 1;
            recent.last = Some(line);
        }
        out
    }

    /// Forgets subjects whose interval is over at `now_ms`, and returns one line for each that was cut short.
    pub fn sweep(&mut self, now_ms: u64) -> Vec<Line> {
        let mut out = Vec::new();
        self.subjects.retain(|_, recent| {
            // The wall clock may go back: then the interval is over, too.
            let is_over = now_ms < recent.since_ms || now_ms - recent.since_ms >= INTERVAL_MS;
            if is_over && let Some(mut line) = recent.last.take() {
                let (times, seconds) = (recent.unsaid, now_ms.saturating_sub(recent.since_ms) / 1000);
                line.at_ms = now_ms;
                line.message.push_str(&format!(" (said {times} more times in {seconds} s)"));
                line.fields.push(("repeated", Value::Unsigned(times)));
                out.push(line);
            }
            !is_over
        });
        out
    }

    /// Whether lines were counted that are still to be reported.
    pub fn owes(&self) -> bool {
        self.subjects.values().any(|recent| recent.unsaid > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;

    fn line(at_ms: u64, event: &str) -> Line {
        let mut line = Line::new(at_ms, Level::WARN, "peer", 1);
        (line.event, line.message) = (event.to_owned(), format!("{event} at {at_ms}"));
        line
    }

    fn messages(lines: Vec<Line>) -> Vec<String> {
        lines.into_iter().map(|line| line.message).collect()
    }

    #[test]
    fn the_first_lines_are_written_and_the_rest_is_one_line() {
        let mut limiter = Limiter::default();
        for at in 0..u64::from(LINES_MAX) {
            assert_eq!(limiter.take(line(at, "a")).len(), 1);
        }
        assert!(!limiter.owes());
        for at in 100..224 {
            assert!(limiter.take(line(at, "a")).is_empty());
        }
        assert!(limiter.owes());
        assert_eq!(limiter.take(line(300, "b")).len(), 1, "another subject");
        assert!(limiter.sweep(INTERVAL_MS - 1).is_empty());
        assert_eq!(messages(limiter.sweep(INTERVAL_MS)), ["a at 223 (said 124 more times in 10 s)"]);
        assert!(!limiter.owes());
        assert_eq!(messages(limiter.take(line(20_000, "a"))), ["a at 20000"], "anew");
    }

    #[test]
    fn a_line_that_comes_later_brings_the_count_along() {
        let mut limiter = Limiter::default();
        for at in 0..=u64::from(LINES_MAX) {
            limiter.take(line(at, "a"));
        }
        let said = messages(limiter.take(line(INTERVAL_MS + 5_000, "a")));
        assert_eq!(said, ["a at 5 (said 1 more times in 15 s)", "a at 15000"]);
    }

    #[test]
    fn subjects_are_bounded_and_the_rest_shares_one() {
        let mut limiter = Limiter::default();
        let written = (0..10_000).map(|n| limiter.take(line(0, &n.to_string())).len()).sum::<usize>();
        assert_eq!(written, SUBJECTS_MAX + LINES_MAX as usize);
        assert_eq!(limiter.subjects.len(), SUBJECTS_MAX + 1);
        assert_eq!(limiter.sweep(INTERVAL_MS).len(), 1);
        assert!(limiter.subjects.is_empty());
    }

    #[test]
    fn a_clock_that_goes_back_silences_nothing_for_long() {
        let mut limiter = Limiter::default();
        for _ in 0..10 {
            limiter.take(line(1_000_000, "a"));
        }
        assert_eq!(limiter.take(line(5, "a")).len(), 2);
    }
}
