//! When freed memory goes back to the system. The allocator keeps what is freed for seconds, and longer where nothing
//! else happens: a node that clients have filled would keep their memory when they are gone.
//!
//! May not: free anything.

/// Less is not worth its page faults when it is needed again.
const WORTH_BYTES: usize = 32 << 20;
/// As often in a row must so much less be held: a load that comes and goes keeps its memory.
const LOOKS: u32 = 10;

/// Watches how much is held.
#[derive(Default)]
pub(crate) struct GiveBack {
    most: usize,
    lower: u32,
}

impl GiveBack {
    /// Whether what was freed is to go back now, where `held` bytes are held. Asked every tenth of a second.
    pub fn is_due(&mut self, held: usize) -> bool {
        self.lower = if held + WORTH_BYTES <= self.most { self.lower + 1 } else { 0 };
        let is_due = self.lower == LOOKS;
        if is_due || held > self.most {
            (self.most, self.lower) = (held, 0);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn what_is_not_needed_for_a_while_goes_back_once() {
        let mut watch = GiveBack::default();
        let mut due = |mib: usize| (0..12).filter(|_| watch.is_due(mib * MIB)).count();
        assert_eq!([10, 130, 100, 90, 90, 60, 0].map(&mut due), [0, 0, 0, 1, 0, 0, 1]);
    }

    #[test]
    fn a_load_that_comes_and_goes_keeps_its_memory() {
        let mut watch = GiveBack::default();
        for mib in [130, 0, 130, 0, 130] {
            assert!((1..LOOKS).all(|_| !watch.is_due(mib * MIB)));
        }
    }
}
