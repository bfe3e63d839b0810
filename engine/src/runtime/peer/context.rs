//! `PeerContext`: the state that the links of one core share, and what a link needs from its node.

use super::introductions::Introductions;
use super::unproved::Waiting;
use crate::identity::{HeardBook, SecretBook};
use crate::runtime::port::CorePort;
use crate::voice::{self, NodeEvent};
use std::sync::Arc;
use std::time::Duration;
use synod_net::peer::{Handshake, KnownPeer, PeerSecret};
use synod_types::{Incarnation, NodeId};

/// Interval between two checks whether a secret is still accepted.
const SECRETS_INTERVAL: Duration = Duration::from_secs(1);

/// The state that the links of one core share.
#[derive(Clone)]
pub(super) struct PeerContext {
    pub(super) port: CorePort,
    pub(super) secrets: Arc<SecretBook>,
    pub(super) heard: Arc<HeardBook>,
    pub(super) unproved: Waiting,
    pub(super) introductions: Introductions,
}

impl PeerContext {
    /// The handshake by which this core introduces itself to `target`.
    pub(super) fn ours(&self, target: NodeId) -> Handshake {
        let setup = &self.port.node.setup;
        Handshake {
            cluster: setup.identity().facts.cluster,
            facts: setup.facts_hash(),
            node: setup.node(),
            incarnation: setup.identity().incarnation,
            core: self.port.me,
            core_count: setup.cores(),
            target,
        }
    }

    /// The knowledge that this node has of `node`.
    pub(super) fn known(&self, node: NodeId) -> KnownPeer {
        let setup = &self.port.node.setup;
        if !setup.peers().any(|member| member.id == node) {
            return KnownPeer::Stranger;
        }
        setup.peer_book.get(node).map_or(KnownPeer::Unseen, KnownPeer::As)
    }

    /// Makes a peer's incarnation durable before any of its messages counts.
    pub(super) async fn learn(&self, node: NodeId, incarnation: Incarnation) -> Result<(), String> {
        let book = &self.port.node.setup.peer_book;
        if book.get(node) == Some(incarnation) {
            return Ok(()); // almost always: no need for a thread that may block on a disk
        }
        let book = Arc::clone(book);
        // The first meeting blocks on a flush.
        glommio::executor()
            .spawn_blocking(move || book.check_or_learn(node, incarnation))
            .await
            .map_err(|refusal| refusal.to_string())
    }

    /// Ends when `secret` is no longer accepted.
    pub(super) async fn until_retired(&self, secret: &PeerSecret) {
        while self.secrets.takes(secret) {
            glommio::timer::sleep(SECRETS_INTERVAL).await;
        }
    }

    /// Tells the operator.
    pub(super) fn say(&self, event: NodeEvent<'_>) {
        voice::say(Some(self.port.me), event);
    }
}
