//! What one core has to say to each of its peers: a buffer per link, which its dialler (`peer.rs`) empties.
//!
//! May not: know a socket.

use crate::runtime::gather::Gather;
use crate::runtime::notify::Notify;
use std::rc::Rc;
use synod_net::peer as wire;
use synod_types::{GroupMessage, NodeId, PeerMessage, Shared};

/// Bytes a link may hold for a peer that does not take them. Beyond it, bulk is dropped (P-14): the peer pulls later.
const LINK_BULK_BYTES_MAX: usize = 32 << 20;
/// Beyond this even small messages are dropped.
const LINK_BYTES_MAX: usize = 40 << 20;

/// The outgoing links of one core.
#[derive(Debug)]
pub(crate) struct Links {
    links: Vec<Link>,
    unsent: Vec<u64>,
}

#[derive(Debug)]
struct Link {
    node: NodeId,
    connected: bool,
    outbox: Gather,
    dirty: bool,
    wake: Rc<Notify>,
}

impl Links {
    /// Unconnected links to `peers`.
    pub fn new(peers: impl Iterator<Item = NodeId>) -> Self {
        let links = peers
            .map(|node| Link {
                node,
                connected: false,
                outbox: Gather::default(),
                dirty: false,
                wake: Rc::new(Notify::default()),
            })
            .collect();
        Self { links, unsent: Vec::new() }
    }

    /// Encodes a message into its link's buffer, or drops it: links may lose messages.
    pub fn send(&mut self, to: NodeId, message: &PeerMessage<Shared>) {
        let Some(at) = self.links.iter().position(|link| link.node == to) else { return };
        let link = &mut self.links[at];
        let is_accept = matches!(message, PeerMessage::Group { message: GroupMessage::Accept { .. }, .. });
        let is_learn = matches!(message, PeerMessage::Group { message: GroupMessage::Learn { .. }, .. });
        let limit = if is_accept || is_learn { LINK_BULK_BYTES_MAX } else { LINK_BYTES_MAX };
        if !link.connected || link.outbox.len() > limit {
            // A forwarded request, or a question, would wait for an answer in vain.
            if let PeerMessage::Forward { id, .. } | PeerMessage::ReadIndex { id, .. } = message {
                self.unsent.push(*id);
            }
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

    /// What has gathered for a peer, in exchange for an empty buffer.
    pub fn take(&mut self, node: NodeId, empty: &mut Gather) {
        std::mem::swap(&mut self.link(node).outbox, empty);
    }

    /// The link to a peer begins, or ends: what has gathered is lost.
    pub fn reset(&mut self, node: NodeId, connected: bool) -> Rc<Notify> {
        let link = self.link(node);
        link.connected = connected;
        link.outbox = Gather::default();
        Rc::clone(&link.wake)
    }

    /// The peers that are linked to.
    pub fn connected(&self) -> impl Iterator<Item = NodeId> {
        self.links.iter().filter(|link| link.connected).map(|link| link.node)
    }

    /// The number of a forwarded request that was dropped.
    pub fn take_unsent(&mut self) -> Option<u64> {
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

    fn link(&mut self, node: NodeId) -> &mut Link {
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

    fn frames(outbox: &Gather) -> Vec<PeerMessage<Shared>> {
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
        let mut links = Links::new([a, b].into_iter());
        links.reset(a, true);
        links.reset(b, true);
        let (short, long) = (entry(b"short"), entry(&[7; 5000]));
        let (mut to_a, mut to_b) = (Vec::new(), Vec::new());
        let mut send = |links: &mut Links, to: NodeId, message: PeerMessage<Shared>| {
            links.send(to, &message);
            if to == a { to_a.push(message) } else { to_b.push(message) }
        };
        send(&mut links, a, accept(1, &short));
        send(&mut links, b, accept(1, &short));
        send(&mut links, b, accept(2, &long));
        send(&mut links, b, PeerMessage::Beats(Vec::new()));
        send(&mut links, a, accept(2, &long));
        send(&mut links, a, accept(3, &long));
        for (node, expected) in [(a, to_a), (b, to_b)] {
            let mut sent = Gather::default();
            links.take(node, &mut sent);
            assert_eq!(frames(&sent), expected);
            assert!(sent.pieces().any(|piece| std::ptr::eq(piece, long.as_ref())), "an entry was copied");
            links.take(node, &mut sent);
            links.take(node, &mut sent);
            assert_eq!(frames(&sent), expected, "what was taken is given back in exchange");
        }
    }
}
