//! Faults of generator threads, to test what a run does then.

use std::cell::Cell;
use std::task::Poll;

/// What the thread does after it has reported a second of measured load.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// It does nothing more and does not end, as if its executor never woke up.
    StandStill,
    /// It panics.
    Panic,
}

thread_local! {
    static ORDERED: Cell<Option<(u32, Fault)>> = const { Cell::new(None) };
}

/// In the runs that the calling thread starts from now on, the given generator thread has the fault.
pub(crate) fn order(thread: u32, fault: Fault) {
    ORDERED.set(Some((thread, fault)));
}

pub(crate) fn of_thread(thread: u32) -> Option<Fault> {
    ORDERED.get().filter(|&(of, _)| of == thread).map(|(_, fault)| fault)
}

impl Fault {
    pub(super) fn strike(self) -> Poll<()> {
        match self {
            Self::StandStill => Poll::Pending,
            Self::Panic => panic!("a test asked for it"),
        }
    }
}
