//! Decides when the preparation of a missing log segment is retried, and what the operator is told: one line
//! when the failure begins, one now and then while it lasts, one when it is over.

use synod_types::{Mono, Nanos, Space};

/// Interval between two attempts to make a segment.
const RETRY_INTERVAL: Nanos = Nanos::from_ms(1_000);
/// Interval between two log lines about the same failure.
const SAY_INTERVAL: Nanos = Nanos::from_ms(10_000);

/// The state of one core's log as reported to the operator.
#[derive(Debug, Default)]
pub(crate) struct SpaceWatch {
    /// The time since when no segment could be made.
    failing: Option<Mono>,
    tried_at: Mono,
    said_at: Mono,
    /// Whether the operator was told that writes are refused.
    refusing: bool,
}

/// The action to take.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Look {
    /// Retry to make a segment.
    pub retry: bool,
    /// A line for the operator.
    pub line: Option<String>,
}

impl SpaceWatch {
    /// Checks the state of the log. `error` is the reason why it has no further segment, if any.
    pub fn look(&mut self, error: Option<&str>, space: Space, now: Mono) -> Look {
        let Some(error) = error else {
            let line = self.failing.take().map(|since| {
                let seconds = now.since(since).as_ms().div_ceil(1000);
                format!("log: segments can be made again, after {seconds} s; writes are taken")
            });
            self.refusing = false;
            return Look { retry: false, line };
        };
        let is_new = self.failing.is_none();
        if is_new {
            self.failing = Some(now);
            self.tried_at = now;
        }
        let retry = now.since(self.tried_at) >= RETRY_INTERVAL;
        if retry {
            self.tried_at = now;
        }
        let refuses = space < Space::Free;
        let is_worse = refuses && !self.refusing;
        let line = (is_new || is_worse || now.since(self.said_at) >= SAY_INTERVAL).then(|| {
            self.said_at = now;
            let what = match space {
                Space::Free => "writes go on into those there are",
                Space::Low | Space::Reserve => "it is full: writes are refused, reads go on",
                Space::Spent => {
                    "it is full, its reserve is used up: writes are refused, reads go on, no \
                     election can be held"
                }
            };
            format!("log: no segment can be made, {what}; tried again each second: {error}")
        });
        self.refusing = refuses;
        Look { retry, line }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Mono {
        Mono(Nanos::from_ms(ms).0)
    }

    #[test]
    fn it_is_tried_each_second_and_said_when_it_begins_changes_lasts_and_ends() {
        let mut watch = SpaceWatch::default();
        let quiet = Look { retry: false, line: None };
        assert_eq!(watch.look(None, Space::Free, at(0)), quiet);
        let first = watch.look(Some("why"), Space::Free, at(100));
        assert!(!first.retry && first.line.expect("said").contains("why"));
        let (mut tries, mut lines) = (0, Vec::new());
        for ms in (105..31_000).step_by(5) {
            let space = if ms < 5_000 { Space::Free } else { Space::Low };
            let Look { retry, line } = watch.look(Some("why"), space, at(ms));
            tries += u32::from(retry);
            lines.extend(line.map(|line| (ms, line)));
        }
        assert_eq!(tries, 30);
        let said: Vec<u64> = lines.iter().map(|(ms, _)| *ms).collect();
        assert_eq!(said, [5_000, 15_000, 25_000]);
        assert!(lines[0].1.contains("refused"), "{lines:?}");
        let end = watch.look(None, Space::Free, at(31_000));
        assert!(!end.retry && end.line.expect("said").contains("after 31 s"));
        assert_eq!(watch.look(None, Space::Free, at(31_005)), quiet);
    }
}
