//! Where what happens in a step goes: effects to the shell, and answers to what the core asked under its own sessions back to itself,
//! to be seen to when the step is through.

use crate::api::{Effect, Sink};
use alloc::vec::Vec;
use synod_types::Reply;

/// Something that this core asks for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OwnAsk {
    /// Its session.
    Open,
    /// To close what it has answers for; with the sequence of this very command.
    Close(u64),
}

/// An answer that concerns a session of this core, in the group at this place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// A client has its answer to what was sent under this sequence.
    Write { index: u16, sequence: u64 },
    /// The session is not there any more.
    Gone { index: u16 },
    /// What the core asked for itself is answered.
    Own { index: u16, ask: OwnAsk, reply: Reply<()> },
}

/// Where effects go, and notes of answers.
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
    /// `answers` is empty: room to be used again.
    pub(crate) fn new(shell: &'a mut S, answers: Vec<Answer>) -> Self {
        Self { shell, answers }
    }
}

impl<P, S: Sink<P>> Sink<P> for Outlet<'_, S> {
    fn push(&mut self, effect: Effect<'_, P>) {
        self.shell.push(effect);
    }
}

impl<P, S: Sink<P>> Out<P> for Outlet<'_, S> {
    fn note(&mut self, answer: Answer) {
        self.answers.push(answer);
    }
}
