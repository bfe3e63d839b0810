//! The identity that each end of a link states, and the rule by which the other end judges it.

use crate::error::ProtocolError;
use crate::wire::{Put, Reader};
use synod_types::{ClusterId, CoreId, Incarnation, NodeId};

/// Bytes of an identity.
pub(super) const IDENTITY_BYTES: usize = 48;

/// The identity of one end of a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Handshake {
    /// The cluster.
    pub cluster: ClusterId,
    /// Hash of the cluster's immutable facts.
    pub facts: u64,
    /// The node.
    pub node: NodeId,
    /// The incarnation of its disk.
    pub incarnation: Incarnation,
    /// The core that takes part.
    pub core: CoreId,
    /// Number of cores of the node.
    pub core_count: u16,
    /// The node that it wants to reach.
    pub target: NodeId,
}

/// This node's knowledge of the other node in a handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KnownPeer {
    /// No member has this id.
    Stranger,
    /// A member whose incarnation was not seen before; the caller makes it durable before it trusts the link.
    Unseen,
    /// A member with this incarnation.
    As(Incarnation),
}

/// Why a link was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LinkRefusal {
    /// Another version of the peer protocol.
    #[error("the peer speaks another version of the peer protocol")]
    VersionMismatch,
    /// The node belongs to another cluster.
    #[error("the peer belongs to another cluster")]
    WrongCluster,
    /// Same cluster id, other immutable facts: the configurations differ.
    #[error("the peer was formatted with other cluster facts (group count or hash)")]
    WrongFacts,
    /// The node is not a member.
    #[error("the peer is not a member of this cluster")]
    UnknownNode,
    /// A known node id on another disk: the promises it made are gone.
    #[error("the peer's node id is known with another incarnation (its disk was replaced or reset)")]
    WrongIncarnation,
    /// The initiator wanted to reach another node: its address book is wrong.
    #[error("the peer meant to reach another node: check the addresses")]
    WrongTarget,
    /// The two cores do not hold the same groups.
    #[error("the peer's core does not match")]
    WrongCore,
    /// The node id is this node's own.
    #[error("the peer has this node's own id")]
    SameNode,
    /// The node is stopping or has no room for another link.
    #[error("the peer takes no links at the moment")]
    Unavailable,
    /// None of its proofs uses a secret that this node accepts.
    #[error("the peer has another peer secret; give all nodes of the cluster the same (`synod secret`)")]
    OtherSecret,
}

impl LinkRefusal {
    pub(crate) const ALL: [LinkRefusal; 10] = [
        LinkRefusal::VersionMismatch,
        LinkRefusal::WrongCluster,
        LinkRefusal::WrongFacts,
        LinkRefusal::UnknownNode,
        LinkRefusal::WrongIncarnation,
        LinkRefusal::WrongTarget,
        LinkRefusal::WrongCore,
        LinkRefusal::SameNode,
        LinkRefusal::Unavailable,
        LinkRefusal::OtherSecret,
    ];
    /// The number on the wire.
    pub const fn code(self) -> u16 {
        match self {
            LinkRefusal::VersionMismatch => 1,
            LinkRefusal::WrongCluster => 2,
            LinkRefusal::WrongFacts => 3,
            LinkRefusal::UnknownNode => 4,
            LinkRefusal::WrongIncarnation => 5,
            LinkRefusal::WrongTarget => 6,
            LinkRefusal::WrongCore => 7,
            LinkRefusal::SameNode => 8,
            LinkRefusal::Unavailable => 9,
            LinkRefusal::OtherSecret => 10,
        }
    }
    /// The reason with this number.
    pub fn of_code(code: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|refusal| refusal.code() == code)
    }
}

impl Handshake {
    /// Whether the other end, which sent `theirs`, may have a link to this node. `known` is what this node
    /// remembers of the node id in `theirs`.
    ///
    /// # Errors
    /// The [`LinkRefusal`] to send back (as acceptor) or to report (as initiator).
    pub fn judge(&self, theirs: &Handshake, known: KnownPeer) -> Result<(), LinkRefusal> {
        if theirs.cluster != self.cluster {
            return Err(LinkRefusal::WrongCluster);
        }
        // Checked before the other fields: the peer may have dialled the wrong node.
        if theirs.target != self.node {
            return Err(LinkRefusal::WrongTarget);
        }
        if theirs.facts != self.facts {
            return Err(LinkRefusal::WrongFacts);
        }
        if theirs.node == self.node {
            return Err(LinkRefusal::SameNode);
        }
        if (theirs.core, theirs.core_count) != (self.core, self.core_count) {
            return Err(LinkRefusal::WrongCore);
        }
        match known {
            KnownPeer::Stranger => Err(LinkRefusal::UnknownNode),
            KnownPeer::As(incarnation) if incarnation != theirs.incarnation => {
                Err(LinkRefusal::WrongIncarnation)
            }
            KnownPeer::As(_) | KnownPeer::Unseen => Ok(()),
        }
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.put_u128(self.cluster.get());
        out.put_u64(self.facts);
        out.put_u128(self.incarnation.get());
        out.put_u16(self.node.get());
        out.put_u16(self.core.get());
        out.put_u16(self.core_count);
        out.put_u16(self.target.get());
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, ProtocolError> {
        let mut fields = Reader::new(bytes);
        let theirs = Self {
            cluster: ClusterId::new(fields.u128()?),
            facts: fields.u64()?,
            incarnation: Incarnation::new(fields.u128()?),
            node: NodeId::new(fields.u16()?),
            core: CoreId::new(fields.u16()?),
            core_count: fields.u16()?,
            target: NodeId::new(fields.u16()?),
        };
        fields.end()?;
        Ok(theirs)
    }
}
