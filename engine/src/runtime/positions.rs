//! Decides when the peers are told how far this core's log is durable (P-20): at short intervals while it
//! changes, at longer ones while it does not.

use synod_types::{LogPosition, Mono, Nanos};

/// Interval between two reports.
const INTERVAL: Nanos = Nanos::from_ms(100);
/// Interval between two reports of an unchanged position.
const INTERVAL_IDLE: Nanos = Nanos::from_ms(1_000);

/// The last report to the peers: its time and its position.
#[derive(Debug, Default)]
pub(crate) struct ToldPosition {
    at: Mono,
    position: LogPosition,
}

impl ToldPosition {
    /// Whether the peers are due to be told `position` now. If so, the report is recorded as made.
    pub fn is_due(&mut self, position: LogPosition, now: Mono) -> bool {
        let interval = if position == self.position { INTERVAL_IDLE } else { INTERVAL };
        if now.since(self.at) < interval {
            return false;
        }
        *self = Self { at: now, position };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_that_stays_is_told_more_rarely() {
        let mut told = ToldPosition::default();
        let at = |ms: u64| Mono(Nanos::from_ms(ms).0);
        let moved = LogPosition { sequence: 7, ..LogPosition::default() };
        assert!(!told.is_due(moved, at(99)) && told.is_due(moved, at(100)));
        assert!(!told.is_due(moved, at(1_099)) && told.is_due(moved, at(1_100)));
        let further = LogPosition { sequence: 8, ..moved };
        assert!(!told.is_due(further, at(1_199)) && told.is_due(further, at(1_200)));
    }
}
