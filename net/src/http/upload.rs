//! A request's body while it arrives: bounded before it is stored, key and value in one piece of memory.

use super::plan::KeyPlan;
use synod_types::command::check_value_len;
use synod_types::limits::VALUE_BYTES_MAX;
use synod_types::{Command, Consistency, Shared};

/// The body is longer than a value may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Oversize;

/// Collects the body of one request.
#[derive(Debug)]
pub struct Upload {
    /// The key, then the part of the value received so far.
    bytes: Vec<u8>,
    key_len: usize,
}

impl Upload {
    /// An empty body for `plan`; `announced` is the length in the head, if there is one.
    pub fn new(plan: &KeyPlan, announced: Option<u64>) -> Self {
        let key = plan.key();
        // An announcement costs the client nothing, so it reserves no more than the limit of a value.
        let expected = announced.map_or(0, |len| usize::try_from(len).unwrap_or(usize::MAX));
        let mut bytes = Vec::with_capacity(key.len() + expected.min(VALUE_BYTES_MAX));
        bytes.extend_from_slice(key);
        Self { bytes, key_len: key.len() }
    }

    /// Takes a piece of the body.
    ///
    /// # Errors
    /// [`Oversize`] when the value would exceed its limit; the piece is not kept.
    pub fn push(&mut self, piece: &[u8]) -> Result<(), Oversize> {
        check_value_len(self.bytes.len() - self.key_len + piece.len()).map_err(|_| Oversize)?;
        self.bytes.extend_from_slice(piece);
        Ok(())
    }

    /// The command, and how fresh a read must be.
    pub fn finish(self, plan: &KeyPlan) -> (Consistency, Command<Shared>) {
        let value_len = self.bytes.len() - self.key_len;
        let shared = Shared::new(self.bytes);
        let value = shared.slice(self.key_len, value_len);
        (plan.consistency(), plan.command(shared.slice(0, self.key_len), value))
    }
}
