//! How often a task is woken whose executor may be asleep with work to do, or kept from running.
//!
//! One wake is not enough: the executor can take it, mark the task as runnable and park all the same. Yet wakes must not pile up
//! while its thread is kept from running, for it counts the references to a task in 16 bits. So they are never given up,
//! the pauses between them grow, and there is a last one.

/// The wakes of a task since its last turn, asked once per tick of half a millisecond or more whether there shall be another.
#[derive(Debug, Default)]
pub struct UnheardWakes {
    wakes: u32,
    /// Ticks since the last of them.
    ticks: u32,
}

impl UnheardWakes {
    /// Whether to wake in this tick.
    pub fn is_due(&mut self) -> bool {
        let pause = if self.wakes == 0 { 0 } else { (2 << self.wakes.min(9)).min(PAUSE_TICKS_MAX) };
        self.ticks += 1;
        let is_due = self.ticks >= pause && self.wakes < WAKES_MAX;
        if is_due {
            self.wakes += 1;
            self.ticks = 0;
        }
        is_due
    }
}

/// A quarter of a second at the ticks of half a millisecond.
const PAUSE_TICKS_MAX: u32 = 512;
/// More than an hour of them, and half of what the executor can count.
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
}
