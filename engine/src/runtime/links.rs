//! The outgoing messages of one core to its peers: one buffer for each way of a link, which the dialling task
//! of that way (`peer/dial.rs`) empties.
//!
//! A link has two ways, each a connection of its own: heartbeats and their replies go by the urgent way, and do
//! not wait behind megabytes of entries. Without the urgent way they go with the rest. Nothing relies on their
//! order.
//!
//! May not: know a socket.

use crate::runtime::notify::Notify;
use crate::runtime::write_vec::WriteVec;
use std::rc::Rc;
use synod_net::peer::{self as wire, LinkRefusal};
use synod_shard::{FREE_REPLY_BYTES, Unsent};
use synod_types::{ErrorKind, GroupMessage, NodeId, PeerMessage, Reply, Shared};

/// Bytes that a link may hold for a peer that does not take them. Beyond it, bulk is dropped (P-14): the peer
/// pulls later.
const LINK_BULK_BYTES_MAX: usize = 32 << 20;
/// Values that answer peers' reads are dropped beyond this, and the peer is told: it asks again. Consensus must not
/// wait behind them.
const LINK_ANSWER_BYTES_MAX: usize = 8 << 20;
/// Beyond it, even small messages are dropped.
pub(super) const LINK_BYTES_MAX: usize = 40 << 20;
/// Heartbeats beyond this are dropped: there will be others.
const LINK_URGENT_BYTES_MAX: usize = 64 << 10;

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
    refused: Option<RefusedLink>,
    bulk: LinkWay,
    urgent: LinkWay,
}

/// One of the two ways of a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    /// Entries, requests, values and all else.
    Bulk,
    /// Heartbeats.
    Urgent,
}

#[derive(Debug, Default)]
struct LinkWay {
    is_up: bool,
    outbox: WriteVec,
    dirty: bool,
    wake: Rc<Notify>,
}

impl LinkWay {
    fn flush(&mut self) {
        if std::mem::take(&mut self.dirty) {
            self.wake.notify();
        }
    }
}

impl PeerLinks {
    /// Unconnected links to `peers`.
    pub fn new(peers: impl Iterator<Item = NodeId>) -> Self {
        let links = peers
            .map(|node| PeerLink {
                node,
                refused: None,
                bulk: LinkWay::default(),
                urgent: LinkWay::default(),
            })
            .collect();
        Self { links, unsent: Vec::new() }
    }

    /// Encodes a message into its link's buffer, or drops it: a link may lose messages.
    pub fn send(&mut self, to: NodeId, message: &PeerMessage<Shared>) {
        let Some(at) = self.links.iter().position(|link| link.node == to) else { return };
        let link = &mut self.links[at];
        if !link.bulk.is_up {
            // Without this, a forwarded request or a question would wait for an answer in vain.
            self.unsent.extend(Unsent::of(message));
            return;
        }
        if is_urgent(message) && link.urgent.is_up {
            let way = &mut link.urgent;
            if way.outbox.len() <= LINK_URGENT_BYTES_MAX {
                way.dirty = true;
                wire::encode(way.outbox.bytes(), message);
            }
            return;
        }
        let way = &mut link.bulk;
        match message {
            PeerMessage::ForwardReply { id, reply: Reply::Value { value, .. } }
                if value.len() > FREE_REPLY_BYTES && way.outbox.len() > LINK_ANSWER_BYTES_MAX =>
            {
                let reply = Reply::Error(ErrorKind::ReplyDropped);
                way.dirty = true;
                wire::encode(way.outbox.bytes(), &PeerMessage::<Shared>::ForwardReply { id: *id, reply });
                return;
            }
            _ => {}
        }
        let is_accept = matches!(message, PeerMessage::Group { message: GroupMessage::Accept { .. }, .. });
        let is_learn = matches!(message, PeerMessage::Group { message: GroupMessage::Learn { .. }, .. });
        let limit = if is_accept || is_learn { LINK_BULK_BYTES_MAX } else { LINK_BYTES_MAX };
        if way.outbox.len() > limit {
            self.unsent.extend(Unsent::of(message));
            return;
        }
        way.dirty = true;
        let is_bulk =
            is_accept || matches!(message, PeerMessage::Forward { .. } | PeerMessage::ForwardReply { .. });
        if !is_bulk {
            wire::encode(way.outbox.bytes(), message);
        } else if let Some(payload) = wire::encode_head(way.outbox.bytes(), message) {
            way.outbox.push(payload);
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
    pub fn take(&mut self, node: NodeId, way: Way, empty: &mut WriteVec) {
        std::mem::swap(&mut self.way(node, way).outbox, empty);
    }

    /// A way of the link to a peer is up, or down: the messages that have gathered are lost.
    pub fn reset(&mut self, node: NodeId, way: Way, is_up: bool) -> Rc<Notify> {
        let way = self.way(node, way);
        way.is_up = is_up;
        way.outbox = WriteVec::default();
        Rc::clone(&way.wake)
    }

    /// The connected peers.
    pub fn connected(&self) -> impl Iterator<Item = NodeId> {
        self.links.iter().filter(|link| link.bulk.is_up).map(|link| link.node)
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
            link.bulk.flush();
            link.urgent.flush();
        }
    }

    fn link(&mut self, node: NodeId) -> &mut PeerLink {
        self.links.iter_mut().find(|link| link.node == node).expect("a link per peer, made at start")
    }

    fn way(&mut self, node: NodeId, way: Way) -> &mut LinkWay {
        let link = self.link(node);
        match way {
            Way::Bulk => &mut link.bulk,
            Way::Urgent => &mut link.urgent,
        }
    }
}

/// Whether a message must not wait behind entries and values.
fn is_urgent<P>(message: &PeerMessage<P>) -> bool {
    matches!(message, PeerMessage::Heartbeats(_) | PeerMessage::HeartbeatReplies(_))
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
        links.reset(a, Way::Bulk, true);
        links.reset(b, Way::Bulk, true);
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
            links.take(node, Way::Bulk, &mut sent);
            assert_eq!(frames(&sent), expected);
            assert!(sent.pieces().any(|piece| std::ptr::eq(piece, long.as_ref())), "an entry was copied");
            links.take(node, Way::Bulk, &mut sent);
            links.take(node, Way::Bulk, &mut sent);
            assert_eq!(frames(&sent), expected, "what was taken is given back in exchange");
        }
    }
    #[test]
    fn heartbeats_do_not_wait_behind_entries_and_no_value_is_dropped_in_silence() {
        let peer = NodeId::new(2);
        let mut links = PeerLinks::new([peer].into_iter());
        let heartbeats = PeerMessage::Heartbeats(Vec::new());
        let taken = |links: &mut PeerLinks, way| {
            let mut outbox = WriteVec::default();
            links.take(peer, way, &mut outbox);
            frames(&outbox)
        };
        links.reset(peer, Way::Urgent, true);
        links.send(peer, &heartbeats);
        assert!(taken(&mut links, Way::Urgent).is_empty(), "a link without its other way is down");
        links.reset(peer, Way::Bulk, true);
        links.send(peer, &accept(1, &entry(b"v")));
        links.send(peer, &heartbeats);
        assert_eq!(taken(&mut links, Way::Urgent), std::slice::from_ref(&heartbeats));
        assert_eq!(taken(&mut links, Way::Bulk).len(), 1);
        links.reset(peer, Way::Urgent, false);
        links.send(peer, &heartbeats);
        assert_eq!(taken(&mut links, Way::Bulk), [heartbeats]);
        let value = Shared::new(vec![7; 1 << 20]);
        let answer = |id| PeerMessage::ForwardReply {
            id,
            reply: Reply::Value { value: value.clone(), version: synod_types::Version::default() },
        };
        (0..20).for_each(|id| links.send(peer, &answer(id)));
        let sent = taken(&mut links, Way::Bulk);
        let whole = sent.iter().zip(0..).take_while(|(sent, id)| **sent == answer(*id)).count();
        assert_eq!((sent.len(), whole), (20, 8));
        let dropped = |id| PeerMessage::ForwardReply { id, reply: Reply::Error(ErrorKind::ReplyDropped) };
        assert_eq!(sent[8..], (8..20).map(dropped).collect::<Vec<_>>());
    }
}
