//! An operation of the caller, and its progress.

use super::address::Address;
use crate::binary;
use synod_types::{Command, Consistency, ErrorKind, Nanos, SessionId};

/// The question that an operation asks.
#[derive(Debug)]
pub(super) enum Question {
    Command { command: Command<Vec<u8>>, consistency: Consistency },
    Topology,
    Status(Option<Address>),
}

impl Question {
    /// Appends the request number `id`, which asks this.
    pub(super) fn encode(&self, out: &mut Vec<u8>, id: u64) {
        match self {
            Self::Command { command, consistency } => binary::encode_request(out, id, *consistency, command),
            Self::Topology => binary::encode_topology(out, id),
            Self::Status(_) => binary::encode_status(out, id),
        }
    }
}

/// One operation, until it is done.
#[derive(Debug)]
pub(super) struct PendingOperation {
    pub(super) question: Question,
    pub(super) deadline: Nanos,
    pub(super) not_before: Nanos,
    pub(super) attempts: u32,
    /// The link and request of the attempt in flight.
    pub(super) sent: Option<(Address, u64)>,
    /// The session and number of a write, the same for all attempts.
    pub(super) number: Option<(SessionId, u64)>,
    /// An earlier attempt may have been executed.
    pub(super) maybe_executed: bool,
    /// Why the last attempt was refused.
    pub(super) last: Option<ErrorKind>,
}

impl PendingOperation {
    pub(super) fn new(question: Question, not_before: Nanos, deadline: Nanos) -> Self {
        Self {
            question,
            deadline,
            not_before,
            attempts: 0,
            sent: None,
            number: None,
            maybe_executed: false,
            last: None,
        }
    }

    pub(super) fn is_write(&self) -> bool {
        matches!(&self.question, Question::Command { command, .. } if command.op.is_write())
    }
}
