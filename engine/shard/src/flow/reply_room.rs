//! Room for replies. A long value is read, sent or fetched from the leader only when its requester has room for
//! it; otherwise the request goes back to the requester, which makes it anew when there is room (P-14b). So no
//! value waits in memory for a client that does not read.

use crate::api::{Effect, FREE_REPLY_BYTES};
use crate::common::Common;
use crate::outlet::Out;
use crate::request::Origin;
use crate::step::Cx;
use synod_types::{Command, Consistency, Op, Payload, RequestId};

/// The room of one request for its reply. A peer's room is known to the peer: it has reserved it before it
/// forwarded the request.
#[derive(Clone, Copy)]
pub(crate) struct ReplyRoom(Option<RequestId>);

impl ReplyRoom {
    pub fn of<P: Payload>(common: &Common<P>, origin: Origin) -> Self {
        match origin {
            Origin::Client(to) if common.reserves_room() => Self(Some(to)),
            _ => Self(None),
        }
    }

    /// The requester, if it has no room for a value of this length.
    pub fn lacks<P: Payload>(self, out: &mut impl Out<P>, bytes: usize) -> Option<RequestId> {
        self.0.filter(|&to| bytes > FREE_REPLY_BYTES && !out.reserve(to, bytes))
    }
}

/// Sends a read back to its requester, which has no room for the value of so many bytes.
pub(crate) fn send_back<P: Payload>(
    cx: &mut Cx<'_, P, impl Out<P>>,
    (to, bytes): (RequestId, usize),
    consistency: Consistency,
    command: Command<P>,
) {
    assert!(command.op == Op::Get, "only a read of a value may be made anew");
    cx.common.stats.sent_back += 1;
    cx.out.push(Effect::AskAgain { to, consistency, command, bytes });
}
