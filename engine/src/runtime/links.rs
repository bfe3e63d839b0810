//! The outgoing messages of one core to its peers: one buffer per link, which the link's dialling task
//! (`peer/dial.rs`) empties.
//!
//! May not: know a socket.

use crate::runtime::notify::Notify;
use crate::runtime::write_vec::WriteVec;
use std::rc::Rc;
use synod_net::peer::{self as wire, LinkRefusal};
use synod_shard::Unsent;
use synod_types::{GroupMessage, NodeId, PeerMessage, Shared};

/// Bytes that a link may hold for a peer that does not take them. Beyond it, bulk is dropped (P-14): the peer
/// pulls later.
const LINK_BULK_BYTES_MAX: usize = 32 << 20;
/// Beyond it, even small messages are dropped.
const LINK_BYTES_MAX: usize = 40 << 20;

/// The outgoing links of one core.
#[derive(Debug)]
pub(crate) struct PeerLinks {
    links: Vec<PeerLink>,
    unsent: Vec<Unsent>,
}

/// A link that one of its ends refuses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum RefusedLink {
    /// This node refuses the peer.
    Here(LinkRefusal),
    /// The peer refuses this node.
    There(LinkRefusal),
}

#[derive(Debug)]
struct PeerLink {
    node: NodeId,
    connected: bool,
    refused: Option<RefusedLink>,
    outbox: WriteVec,
    dirty: bool,
    wake: Rc<Notify>,
}

impl PeerLinks {
    /// Unconnected links to `peers`.
    pub fn new(peers: impl Iterator<Item = NodeId>) -> Self {
        let links = peers
            .map(|node| PeerLink {
                node,
                connected: false,
                refused: None,
                outbox: WriteVec::default(),
                dirty: false,
                wake: Rc::new(Notify::default()),
            })
            .collect();
        Self { links, unsent: Vec::new() }
    }

    /// Encodes a message into its link's buffer, or drops it: a link may lose messages.
    pub fn send(&mut self, to: NodeId, message: &PeerMessage<Shared>) {
        let Some(at) = self.links.iter().position(|link| link.node == to) else { return };
        let link = &mut self.links[at];
        let is_accept = matches!(message, PeerMessage::Group { message: GroupMessage::Accept { .. }, .. });
        let is_learn = matches!(message, PeerMessage::Group { message: GroupMessage::Learn { .. }, .. });
        let limit = if is_accept || is_learn { LINK_BULK_BYTES_MAX } else { LINK_BYTES_MAX };
        if !link.connected || link.outbox.len() > limit {
            // Without this, a forwarded request or a question would wait for an answer in vain.
            self.unsent.extend(Unsent::of(message));
            return;
        }
        link.dirty = true;
        let is_bulk =
            is_accept || matches!(message, PeerMessage::Forward { .. } | PeerMessage::ForwardReply { .. });
        if !is_bulk {
            wire::encode(link.outbox.bytes(), message);
        } else if let Some(payload) = wire::encode_head(link.outbox.bytes(), message) {
            link.outbox.push(payload);
        }
    }

    /// Sends a message to every connected peer.
    pub fn send_to_all(&mut self, message: &PeerMessage<Shared>) {
        let peers: Vec<NodeId> = self.connected().collect();
        for node in peers {
            self.send(node, message);
        }
    }

    /// Takes the messages gathered for a peer, in exchange for an empty buffer.
    pub fn take(&mut self, node: NodeId, empty: &mut WriteVec) {
        std::mem::swap(&mut self.link(node).outbox, empty);
    }

    /// The link to a peer is up, or down: the messages that have gathered are lost.
    pub fn reset(&mut self, node: NodeId, connected: bool) -> Rc<Notify> {
        let link = self.link(node);
        link.connected = connected;
        link.outbox = WriteVec::default();
        Rc::clone(&link.wake)
    }

    /// The connected peers.
    pub fn connected(&self) -> impl Iterator<Item = NodeId> {
        self.links.iter().filter(|link| link.connected).map(|link| link.node)
    }

    /// Notes whether the latest attempt to link to a peer was refused.
    pub fn note_attempt(&mut self, node: NodeId, refused: Option<RefusedLink>) {
        self.link(node).refused = refused;
    }

    /// The peers whose link is refused.
    pub fn refused(&self) -> impl Iterator<Item = (NodeId, RefusedLink)> {
        self.links.iter().filter_map(|link| Some((link.node, link.refused?)))
    }

    /// Takes a dropped message whose answer is awaited.
    pub fn take_unsent(&mut self) -> Option<Unsent> {
        self.unsent.pop()
    }

    /// Wakes the writers of links that have something to send.
    pub fn flush(&mut self) {
        for link in &mut self.links {
            if std::mem::take(&mut link.dirty) {
                link.wake.notify();
            }
        }
    }

    fn link(&mut self, node: NodeId) -> &mut PeerLink {
        self.links.iter_mut().find(|link| link.node == node).expect("a link per peer, made at start")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use synod_net::peer::Decoder;
    use synod_types::{Ballot, Command, Condition, EntryBuilder, Expiry, GroupId, Op, Payload, Slot, WallMs};

    fn accept(slot: u64, payload: &Shared) -> PeerMessage<Shared> {
        let ballot = Ballot::new(3, NodeId::new(1));
        let (slot, chosen, payload) = (Slot::new(slot), Slot::new(1), payload.clone());
        PeerMessage::Group {
            group: GroupId::new(2),
            message: GroupMessage::Accept { ballot, slot, chosen, payload },
        }
    }

    fn frames(outbox: &WriteVec) -> Vec<PeerMessage<Shared>> {
        let mut decoder = Decoder::new();
        outbox.pieces().for_each(|piece| decoder.feed(piece));
        std::iter::from_fn(|| decoder.next().expect("whole frames")).collect()
    }

    fn entry(value: &[u8]) -> Shared {
        let mut builder = EntryBuilder::<Vec<u8>>::new();
        let value_crc = synod_types::checksum::crc32c(value);
        let op = Op::Set { value_crc, condition: Condition::Always, expiry: Expiry::None, return_old: false };
        builder.push(Command::new(b"key".to_vec(), op, value.to_vec()));
        Shared::new(builder.finish(Ballot::ZERO, WallMs(7))).sealed()
    }

    #[test]
    fn each_peer_gets_the_messages_meant_for_it() {
        let [a, b] = [2, 3].map(NodeId::new);
        let mut links = PeerLinks::new([a, b].into_iter());
        links.reset(a, true);
        links.reset(b, true);
        let (short, long) = (entry(b"short"), entry(&[7; 5000]));
        let (mut to_a, mut to_b) = (Vec::new(), Vec::new());
        let mut send = |links: &mut PeerLinks, to: NodeId, message: PeerMessage<Shared>| {
            links.send(to, &message);
            if to == a { to_a.push(message) } else { to_b.push(message) }
        };
        send(&mut links, a, accept(1, &short));
        send(&mut links, b, accept(1, &short));
        send(&mut links, b, accept(2, &long));
        send(&mut links, b, PeerMessage::Heartbeats(Vec::new()));
        send(&mut links, a, accept(2, &long));
        send(&mut links, a, accept(3, &long));
        for (node, expected) in [(a, to_a), (b, to_b)] {
            let mut sent = WriteVec::default();
            links.take(node, &mut sent);
            assert_eq!(frames(&sent), expected);
            assert!(sent.pieces().any(|piece| std::ptr::eq(piece, long.as_ref())), "an entry was copied");
            links.take(node, &mut sent);
            links.take(node, &mut sent);
            assert_eq!(frames(&sent), expected, "what was taken is given back in exchange");
        }
    }
}
