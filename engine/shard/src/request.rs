//! Requests: where each came from, what it weighs while it waits, and how it is answered, exactly once.
//!
//! A request that was *not* proposed is certainly not executed: it may wait, be forwarded, and be forwarded
//! again. Once it was proposed, or handed to a leader that fell silent, `Unknown` is the only true answer
//! (P-12).

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
    /// A client of this core; its write goes under the core's session in the group at this index.
    Stamped { id: RequestId, index: u16, sequence: u64 },
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
}

impl<P: Payload> Request<P> {
    /// Answers it.
    pub fn reply(&self, reply: Reply<&[u8]>, out: &mut impl Out<P>) {
        push_reply(self.origin, reply, out);
    }

    /// Answers it with an error.
    pub fn refuse(&self, kind: ErrorKind, out: &mut impl Out<P>) {
        push_error(self.origin, kind, out);
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
        Origin::Stamped { id, index, sequence } => {
            // A write that is refused because of its stamp may have been executed when it came before
            // (P-21g).
            let is_unclear = matches!(
                reply,
                Reply::Error(ErrorKind::SessionExpired | ErrorKind::SequenceClosed | ErrorKind::ReplyDropped)
            );
            if matches!(reply, Reply::Error(ErrorKind::SessionExpired)) {
                out.note(Answer::Gone { index });
            }
            let reply = if is_unclear { Reply::Error(ErrorKind::Unknown) } else { reply };
            out.push(Effect::Reply { to: id, reply });
            out.note(Answer::Write { index, sequence });
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
