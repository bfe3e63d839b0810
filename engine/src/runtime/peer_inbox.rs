//! The incoming side of one link from a peer, message by message.
//!
//! A peer's reports about its own log do not go to the machines. They are noted here in the node's book, so
//! that an old copy of that log is recognised (P-20).

use crate::node::NodeSetup;
use synod_net::peer::Decoder;
use synod_net::{ProtocolError, ReadBuffer, RefusedMessage};
use synod_types::{CoreId, LogPosition, NodeId, PeerMessage, Shared};

/// One link's bytes, and the last position that the peer has reported on it.
pub(crate) struct PeerInbox {
    /// The sending node.
    pub from: NodeId,
    /// The log position that the peer was told, or has reported since.
    heard: LogPosition,
    decoder: Decoder,
}

impl PeerInbox {
    /// A link from `from`. `told` is the position that the peer was told at the beginning of the link.
    pub fn new(from: NodeId, told: LogPosition) -> Self {
        Self { from, heard: told, decoder: Decoder::new() }
    }

    /// The buffer to read into from the socket.
    pub fn lend(&mut self) -> ReadBuffer {
        self.decoder.lend()
    }

    /// Returns the buffer, with `count` bytes read into it.
    pub fn put(&mut self, room: ReadBuffer, count: usize) {
        self.decoder.put(room, count);
    }

    /// The next message for the machines of core `me`, if a complete one is there.
    ///
    /// # Errors
    /// When the bytes are not valid messages, or the peer's log does not continue from its last report.
    pub fn next_message(
        &mut self,
        me: CoreId,
        setup: &NodeSetup,
    ) -> Result<Option<PeerMessage<Shared>>, RefusedMessage> {
        loop {
            match self.decoder.next()? {
                Some(PeerMessage::Position(position)) => self.hear_position(me, setup, position)?,
                message => return Ok(message),
            }
        }
    }

    fn hear_position(
        &mut self,
        me: CoreId,
        setup: &NodeSetup,
        position: LogPosition,
    ) -> Result<(), RefusedMessage> {
        let known = setup.peer_book.get(self.from);
        let last = std::mem::replace(&mut self.heard, position);
        if known.is_some_and(|incarnation| setup.heard.hear(self.from, incarnation, me, last, position)) {
            return Ok(());
        }
        // Its log does not continue from its last report. When the peer links again, it will be told the
        // known position.
        Err(RefusedMessage { kind: Some("Position"), error: ProtocolError::Body })
    }
}
