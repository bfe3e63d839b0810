//! The seconds of a run: the one that is being counted, and those that have ended.

use super::tally::Second;
use crate::phase::Phase;

/// Seconds shorter than this are not shown, unless something went wrong in them.
const SECOND_LEAST_NS: u64 = 500_000_000;

/// The second that is being counted, and those that have ended and were not taken yet.
#[derive(Debug)]
pub(super) struct Seconds {
    pub(super) current: Second,
    ended: Vec<Second>,
    phase_start_ns: u64,
    /// How many requests the schedule had planned when the second began.
    planned_before: u64,
}

impl Seconds {
    pub(super) fn new(now_ns: u64) -> Self {
        let current = Second::new(Phase::Preload, now_ns, now_ns);
        Self { current, ended: Vec::new(), phase_start_ns: now_ns, planned_before: 0 }
    }
    /// Begins an order.
    pub(super) fn begin(&mut self, phase: Phase, now_ns: u64) {
        self.planned_before = 0;
        self.phase_start_ns = now_ns;
        self.current = Second::new(phase, now_ns, now_ns);
    }
    /// Whether the second is over or the phase has changed.
    pub(super) fn is_over(&self, phase: Phase, now_ns: u64) -> bool {
        now_ns >= self.current.start_ns + 1_000_000_000 || phase != self.current.phase
    }
    /// Ends the second; the next one belongs to `phase`. `outstanding` is the number of open operations, and
    /// `planned` that of the requests which the schedule has planned so far, if there is one.
    pub(super) fn end(&mut self, phase: Phase, outstanding: u64, planned: Option<u64>, now_ns: u64) {
        if phase != self.current.phase {
            self.phase_start_ns = now_ns;
        }
        let next = Second::new(phase, self.phase_start_ns, now_ns);
        let mut ended = std::mem::replace(&mut self.current, next);
        ended.end_ns = now_ns;
        ended.outstanding = outstanding;
        if let Some(planned) = planned {
            ended.offered = planned - self.planned_before;
            self.planned_before = planned;
        }
        let trouble = ended.errors + ended.unknown + ended.verify_failures > 0;
        ended.is_long = trouble || now_ns - ended.start_ns >= SECOND_LEAST_NS;
        if ended.is_long || ended.achieved > 0 {
            self.ended.push(ended);
        }
    }
    /// Takes the seconds that have ended.
    pub(super) fn take(&mut self) -> Vec<Second> {
        std::mem::take(&mut self.ended)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tally::End;
    use super::*;
    use crate::workload::Kind;

    const S: u64 = 1_000_000_000;

    #[test]
    fn a_second_ends_with_its_time_or_with_its_phase() {
        let mut seconds = Seconds::new(0);
        seconds.begin(Phase::Warmup, S);
        assert!(!seconds.is_over(Phase::Warmup, 2 * S - 1));
        assert!(seconds.is_over(Phase::Warmup, 2 * S));
        assert!(seconds.is_over(Phase::Write, S + 1));
    }

    #[test]
    fn a_second_offers_what_was_planned_in_it() {
        let mut seconds = Seconds::new(0);
        seconds.begin(Phase::Write, 0);
        seconds.end(Phase::Write, 3, Some(100), S);
        seconds.end(Phase::Drain, 1, Some(250), 2 * S);
        seconds.end(Phase::Drain, 0, None, 3 * S);
        let ended = seconds.take();
        let told: Vec<_> = ended.iter().map(|second| (second.offered, second.outstanding)).collect();
        assert_eq!(told, [(100, 3), (150, 1), (0, 0)]);
        assert_eq!(ended.iter().map(|second| second.phase_start_ns).collect::<Vec<_>>(), [0, 0, 2 * S]);
        assert!(seconds.take().is_empty());
    }

    #[test]
    fn a_short_part_of_a_second_is_kept_if_something_happened() {
        let mut seconds = Seconds::new(0);
        seconds.begin(Phase::Write, 0);
        seconds.end(Phase::Write, 0, None, S / 10);
        assert!(seconds.take().is_empty());
        seconds.current.count(Kind::Write, End::Good { latency_ns: 1 });
        seconds.end(Phase::Write, 0, None, S / 5);
        seconds.current.count(Kind::Write, End::Error);
        seconds.end(Phase::Write, 0, None, S * 3 / 10);
        assert_eq!(seconds.take().iter().map(|second| second.is_long).collect::<Vec<_>>(), [false, true]);
    }
}
