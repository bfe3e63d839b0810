//! How often to wake a task whose executor may be parked although the task is runnable, or may not get to
//! run.
//!
//! One wake is not enough: the executor can take it, mark the task as runnable and still park. But wakes must
//! not pile up while its thread cannot run, because the executor counts the references to a task in 16 bits.
//! So wakes are repeated with growing pauses, for more than an hour, and their number is limited.

/// The wakes of a task since its last turn. The caller asks once per tick, of half a millisecond or more,
/// whether to wake it again.
#[derive(Debug, Default)]
pub struct UnheardWakes {
    wakes: u32,
    /// The ticks since the last wake.
    ticks: u32,
}

impl UnheardWakes {
    /// Whether to wake in this tick.
    pub fn is_due(&mut self) -> bool {
        let pause = if self.wakes == 0 { 0 } else { (2 << self.wakes.min(9)).min(PAUSE_TICKS_MAX) };
        // After the last wake nothing resets the count, and a thread may hang for weeks.
        self.ticks = self.ticks.saturating_add(1);
        let is_due = self.ticks >= pause && self.wakes < WAKES_MAX;
        if is_due {
            self.wakes += 1;
            self.ticks = 0;
        }
        debug_assert!(self.wakes <= WAKES_MAX, "more wakes than an executor can count");
        is_due
    }
}

/// A quarter of a second, at ticks of half a millisecond.
const PAUSE_TICKS_MAX: u32 = 512;
/// Enough for more than an hour, and half of what the executor can count.
const WAKES_MAX: u32 = 16_000;

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn wakes_without_effect_become_rare_and_end_before_the_executor_miscounts() {
        let mut unheard = UnheardWakes::default();
        let due: Vec<u32> = (0..4000).filter(|_| unheard.is_due()).collect();
        assert_eq!(due[..6], [0, 4, 12, 28, 60, 124]);
        assert!(due.windows(2).all(|pair| pair[1] - pair[0] <= PAUSE_TICKS_MAX), "never given up");
        let more = (0..100_000_000_u32).filter(|_| unheard.is_due()).count();
        let all = due.len() + more;
        assert_eq!(all, WAKES_MAX as usize);
        assert!(all < i16::MAX as usize);
    }

    #[test]
    fn a_task_that_stays_unheard_for_weeks_is_not_woken_again() {
        let mut unheard = UnheardWakes { wakes: WAKES_MAX, ticks: u32::MAX - 1 };
        assert!((0..3).all(|_| !unheard.is_due()));
        assert_eq!(unheard.ticks, u32::MAX, "the count ends, it does not begin again");
    }
}
