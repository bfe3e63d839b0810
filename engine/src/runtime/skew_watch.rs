//! Reports a group's clock that is far from the wall clocks. The group's clock follows them slowly, and it
//! decides when a key with a time to live expires (P-16).

use synod_types::{GroupId, Mono, Nanos};

/// Interval between two log lines.
const SILENCE: Nanos = Nanos::from_ms(60_000);

/// The time of the last report for one core's groups.
#[derive(Debug, Default)]
pub(crate) struct SkewWatch {
    said_at: Option<Mono>,
}

impl SkewWatch {
    /// Checks how far each group's clock is off, in milliseconds, where that is known. Returns the first group
    /// that is off by more than `most_ms`, and a log line about it, unless there was a line a moment ago.
    pub fn look(
        &mut self,
        mut clocks: impl Iterator<Item = (GroupId, Option<i64>)>,
        most_ms: u64,
        now: Mono,
    ) -> Option<(GroupId, String)> {
        let far = |skew: Option<i64>| skew.filter(|skew| skew.unsigned_abs() > most_ms);
        let (group, skew) = clocks.find_map(|(group, skew)| Some((group, far(skew)?)))?;
        if self.said_at.is_some_and(|at| now.since(at) < SILENCE) {
            return None;
        }
        self.said_at = Some(now);
        let (off, way) = (skew.unsigned_abs() / 1000, if skew > 0 { "ahead of" } else { "behind" });
        let line = format!(
            "the clock of group {} is {off} s {way} the wall clocks of most nodes, and goes towards them by \
             20 ms per second; if they are right now, stopping and starting all nodes sets it forward at \
             once",
            group.get()
        );
        Some((group, line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Mono {
        Mono(Nanos::from_ms(ms).0)
    }

    #[test]
    fn a_clock_that_is_far_off_is_named_once_a_minute() {
        let mut watch = SkewWatch::default();
        let clocks = |third| (1..).map(GroupId::new).zip([None, Some(-1000), third, Some(9000)]);
        assert_eq!(watch.look(clocks(None).take(3), 5000, at(0)), None, "near enough");
        let (group, line) = watch.look(clocks(Some(-7000)), 5000, at(1)).expect("a line");
        assert_eq!(group, GroupId::new(3));
        assert!(line.starts_with("the clock of group 3 is 7 s behind the wall clocks"), "{line}");
        assert_eq!(watch.look(clocks(Some(-7000)), 5000, at(60_000)), None);
        let (_, line) = watch.look(clocks(Some(0)), 5000, at(60_001)).expect("a line");
        assert!(line.starts_with("the clock of group 4 is 9 s ahead of"), "{line}");
    }
}
