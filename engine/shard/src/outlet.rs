//! The outputs of a step: effects go to the shell; answers that concern the core's own sessions go back to
//! the core, which handles them when the step is through.

use crate::api::{Effect, Sink};
use alloc::vec::Vec;
use synod_types::{ErrorKind, Event, Reply, RequestId};

/// A command that this core sends on its own behalf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OwnAsk {
    /// Opens its session.
    Open,
    /// Closes the sequences that are answered; this is the sequence of the close itself.
    Close(u64),
}

/// An answer that concerns this core's session in the group at this index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The write under this sequence was refused; it was not executed.
    Refused { index: u16, sequence: u64, kind: ErrorKind },
    /// A command of the core itself is answered.
    Own { index: u16, ask: OwnAsk, reply: Reply<()> },
}

/// Takes effects, and notes of answers.
pub(crate) trait Out<P>: Sink<P> {
    /// Takes note of an answer.
    fn note(&mut self, answer: Answer);
}

/// The shell's sink, and the answers of a step.
pub(crate) struct Outlet<'a, S> {
    shell: &'a mut S,
    pub answers: Vec<Answer>,
}

impl<'a, S> Outlet<'a, S> {
    /// `answers` is empty; its allocation is reused.
    pub(crate) fn new(shell: &'a mut S, answers: Vec<Answer>) -> Self {
        debug_assert!(answers.is_empty(), "answers were left behind");
        Self { shell, answers }
    }
}

impl<P, S: Sink<P>> Sink<P> for Outlet<'_, S> {
    fn push(&mut self, effect: Effect<'_, P>) {
        self.shell.push(effect);
    }
    fn reserve(&mut self, to: RequestId, bytes: usize) -> bool {
        self.shell.reserve(to, bytes)
    }
    fn tell(&mut self, event: Event) {
        self.shell.tell(event);
    }
}

impl<P, S: Sink<P>> Out<P> for Outlet<'_, S> {
    fn note(&mut self, answer: Answer) {
        self.answers.push(answer);
    }
}
