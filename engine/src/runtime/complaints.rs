//! Rate-limited log lines about faults of other parties: the same line only once in a while, and a limited
//! number of lines overall.

use crate::runtime::clock;
use std::cell::RefCell;
use synod_types::{Mono, Nanos};

/// How long the same line is not repeated.
const SILENCE: Nanos = Nanos::from_ms(10_000);
/// Maximum number of lines in that time.
const LINES_MAX: usize = 16;

/// The recent complaints of one core.
#[derive(Debug, Default)]
pub(crate) struct Complaints(RefCell<Vec<(String, Mono)>>);

impl Complaints {
    /// Writes `line` to standard error, unless it was written a moment ago or there were too many lines.
    pub fn say(&self, line: String) {
        if self.is_news(&line, clock::mono()) {
            eprintln!("synod: {line}");
        }
    }

    fn is_news(&self, line: &str, now: Mono) -> bool {
        let mut said = self.0.borrow_mut();
        said.retain(|(_, at)| now.since(*at) < SILENCE);
        let is_news = said.len() < LINES_MAX && said.iter().all(|(known, _)| known != line);
        if is_news {
            said.push((line.to_owned(), now));
        }
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_said_once_in_a_while_and_many_are_too_many() {
        let complaints = Complaints::default();
        let at = |ms: u64| Mono(ms * 1_000_000);
        assert!(complaints.is_news("a", at(0)) && complaints.is_news("b", at(1)));
        assert!(!complaints.is_news("a", at(9_999)));
        assert!(complaints.is_news("a", at(10_000)));
        let said = (0..100).filter(|number| complaints.is_news(&number.to_string(), at(10_500))).count();
        assert_eq!(said, LINES_MAX - 1, "a is still remembered");
        assert!(complaints.is_news("c", at(20_500)));
    }
}
