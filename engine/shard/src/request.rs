//! Requests: where each came from, what it weighs while it waits, and how it is answered, exactly once.
//!
//! A request that was *not* proposed is certainly not executed. One that was proposed, or handed to a leader
//! that fell silent, is sent again under its stamp. If its time ends before it is answered, `Unknown` is the
//! only true answer (P-12).

use crate::api::Effect;
use crate::outlet::{Answer, Out, OwnAsk};
use synod_types::{
    Command, Consistency, ErrorKind, Mono, NodeId, Payload, PeerMessage, Reply, RequestId, Version,
};

/// Where a request came from, and so where its answer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A client of this core, with a read or with a session of its own.
    Client(RequestId),
    /// A client of this core; its write is in the stream of the group at this index.
    Stamped { index: u16, sequence: u64 },
    /// This core, for its session in the group at this index.
    Own { index: u16, ask: OwnAsk },
    /// A peer that forwarded the request, and the peer's number for it.
    Peer(NodeId, u64),
}

/// A request that is not answered yet.
#[derive(Debug)]
pub(crate) struct Request<P> {
    pub origin: Origin,
    pub consistency: Consistency,
    pub command: Command<P>,
    pub arrived: Mono,
    /// Whether it is a write that was sent before and may have been executed then.
    pub may_have_run: bool,
}

impl<P: Payload> Request<P> {
    /// A request that has just arrived.
    pub fn new(origin: Origin, consistency: Consistency, command: Command<P>, arrived: Mono) -> Self {
        Self { origin, consistency, command, arrived, may_have_run: false }
    }

    /// Whether a peer has forwarded it.
    pub fn is_of_peer(&self) -> bool {
        matches!(self.origin, Origin::Peer(..))
    }

    /// Answers it.
    pub fn reply(&self, reply: Reply<&[u8]>, out: &mut impl Out<P>) {
        let reply = match reply {
            // Its session may have been evicted, or its sequence closed, after it was executed.
            Reply::Error(kind) if self.may_have_run && kind.is_not_executed() => {
                Reply::Error(ErrorKind::Unknown)
            }
            reply => reply,
        };
        push_reply(self.origin, reply, out);
    }

    /// Answers it with an error.
    pub fn refuse(&self, kind: ErrorKind, out: &mut impl Out<P>) {
        self.reply(Reply::Error(kind), out);
    }

    /// Bytes that it counts for while it waits.
    pub fn weight(&self) -> usize {
        // The queue entry itself counts too, so that tiny commands are not free.
        self.command.byte_len() + 128
    }
}

/// Sends a reply to where the request came from.
pub(crate) fn push_reply<P: Payload>(origin: Origin, reply: Reply<&[u8]>, out: &mut impl Out<P>) {
    match origin {
        Origin::Client(to) => out.push(Effect::Reply { to, reply }),
        Origin::Stamped { index, sequence } => {
            let Reply::Error(kind) = reply else { panic!("its stream answers a write that was executed") };
            out.note(Answer::Refused { index, sequence, kind });
        }
        Origin::Own { index, ask } => out.note(Answer::Own { index, ask, reply: reply.map(|_| ()) }),
        Origin::Peer(to, id) => {
            let reply = reply.map(|value| P::from(value.to_vec()));
            out.push(Effect::Send { to, message: PeerMessage::ForwardReply { id, reply } });
        }
    }
}

/// Answers with an error.
pub(crate) fn push_error<P: Payload>(origin: Origin, kind: ErrorKind, out: &mut impl Out<P>) {
    push_reply(origin, Reply::Error(kind), out);
}

/// Answers with a value.
pub(crate) fn push_value<P: Payload>(origin: Origin, value: &[u8], version: Version, out: &mut impl Out<P>) {
    push_reply(origin, Reply::Value { value, version }, out);
}
