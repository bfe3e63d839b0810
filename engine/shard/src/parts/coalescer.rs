//! Heartbeats and their answers, gathered over a turn: one message per peer for all groups' heartbeats, one
//! for all answers (P-09).

use crate::api::{Effect, Sink};
use alloc::vec::Vec;
use synod_types::{Heartbeat, HeartbeatReply, NodeId, PeerMessage, limits};

/// The gathered heartbeats and answers, by peer.
#[derive(Debug, Default)]
pub(crate) struct Coalescer {
    peers: Vec<Gathered>,
}

/// Heartbeats and answers for one peer.
#[derive(Debug)]
struct Gathered {
    node: NodeId,
    heartbeats: Vec<Heartbeat>,
    replies: Vec<HeartbeatReply>,
}

impl Coalescer {
    /// Keeps a heartbeat until the turn's end.
    pub fn heartbeat(&mut self, to: NodeId, heartbeat: Heartbeat) {
        self.peer(to).heartbeats.push(heartbeat);
    }

    /// Keeps the answer to a heartbeat until the turn's end.
    pub fn reply(&mut self, to: NodeId, reply: HeartbeatReply) {
        self.peer(to).replies.push(reply);
    }

    fn peer(&mut self, node: NodeId) -> &mut Gathered {
        let at = match self.peers.iter().position(|peer| peer.node == node) {
            Some(at) => at,
            None => {
                self.peers.push(Gathered { node, heartbeats: Vec::new(), replies: Vec::new() });
                self.peers.len() - 1
            }
        };
        &mut self.peers[at]
    }

    /// Sends what has gathered, in several messages if it does not fit one: a node that stood still for
    /// seconds answers all heartbeats that came meanwhile.
    pub fn flush<P>(&mut self, out: &mut impl Sink<P>) {
        for peer in &mut self.peers {
            if peer.heartbeats.is_empty() && peer.replies.is_empty() {
                continue;
            }
            let to = peer.node;
            for part in chunks(&mut peer.heartbeats) {
                out.push(Effect::Send { to, message: PeerMessage::Heartbeats(part) });
            }
            for part in chunks(&mut peer.replies) {
                out.push(Effect::Send { to, message: PeerMessage::HeartbeatReplies(part) });
            }
            debug_assert!(peer.heartbeats.is_empty() && peer.replies.is_empty(), "some were left behind");
        }
    }
}

/// Everything in `gathered`, in chunks that fit a message.
fn chunks<T>(gathered: &mut Vec<T>) -> impl Iterator<Item = Vec<T>> {
    let mut rest = core::mem::take(gathered);
    core::iter::from_fn(move || {
        let behind = rest.split_off(rest.len().min(limits::COALESCED_MAX));
        let chunk = core::mem::replace(&mut rest, behind);
        debug_assert!(chunk.len() <= limits::COALESCED_MAX, "a chunk that fits no message");
        (!chunk.is_empty()).then_some(chunk)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_gathered_leaves_in_order_and_in_chunks_that_fit() {
        let mut gathered: Vec<usize> = (0..2 * limits::COALESCED_MAX + 1).collect();
        let sizes: Vec<usize> = chunks(&mut gathered).map(|chunk| chunk.len()).collect();
        assert_eq!(sizes, [limits::COALESCED_MAX, limits::COALESCED_MAX, 1]);
        assert!(gathered.is_empty());
        assert_eq!(chunks(&mut gathered).count(), 0);
        let mut few = Vec::from([1, 2, 3]);
        assert_eq!(chunks(&mut few).flatten().collect::<Vec<_>>(), [1, 2, 3]);
    }
}
