//! The fixed setup of a replica: its group, the members and their quorums, and the timing.

#[cfg(feature = "canary")]
use crate::api::Canary;
use crate::api::Timing;
use synod_types::{GroupConfig, GroupId, Level, Nanos, NodeId};

#[derive(Debug)]
pub(crate) struct Setup {
    pub config: GroupConfig,
    pub timing: Timing,
    /// The highest level this replica can read.
    pub level: Level,
    #[cfg(feature = "canary")]
    pub canary: Option<Canary>,
}

impl Setup {
    /// # Panics
    /// When the node is not a voter, or the drift margin is not shorter than the lease.
    pub fn new(config: GroupConfig, timing: Timing) -> Self {
        assert!(config.members.bit_of(config.node).is_some(), "a replica must be a member of its group");
        assert!(timing.drift < timing.lease, "a lease must outlast its drift margin");
        let (accept, prepare) = (config.members.accept_quorum(), config.members.prepare_quorum());
        let voters = config.members.voters().len();
        assert!(accept.max(prepare) <= voters, "a quorum that there never is");
        assert!(accept + prepare > voters && 2 * accept > voters, "quorums that need not meet");
        Self {
            config,
            timing,
            level: Level::OWN,
            #[cfg(feature = "canary")]
            canary: None,
        }
    }

    /// Whether this bug is planted.
    #[cfg(feature = "canary")]
    pub fn has(&self, canary: Canary) -> bool {
        self.canary == Some(canary)
    }

    /// This replica's node.
    pub fn node(&self) -> NodeId {
        self.config.node
    }

    pub fn group(&self) -> GroupId {
        self.config.group
    }

    /// The bit of a member in a tally.
    pub fn bit_of(&self, node: NodeId) -> Option<u64> {
        self.config.members.bit_of(node)
    }

    /// The bit of this replica.
    pub fn own_bit(&self) -> u64 {
        let bit = self.bit_of(self.node()).expect("a replica is a member of its group");
        debug_assert!(bit.is_power_of_two(), "a member has one bit");
        bit
    }

    /// Whether `node` is another member. Messages of strangers (P-10) and of this node itself are dropped.
    pub fn is_peer(&self, node: NodeId) -> bool {
        node != self.node() && self.bit_of(node).is_some()
    }

    /// The other members, ascending.
    pub fn peers(&self) -> impl Iterator<Item = NodeId> {
        let node = self.node();
        self.config.members.voters().iter().copied().filter(move |&voter| voter != node)
    }

    /// The next peer after `node`, wrapping around; the first peer for `None`. `None` on a lone voter.
    pub fn peer_after(&self, node: Option<NodeId>) -> Option<NodeId> {
        let peer = self.peers().find(|&peer| Some(peer) > node).or_else(|| self.peers().next());
        assert!(peer.is_some() != self.is_alone(), "all but a lone voter have a peer");
        peer
    }

    pub fn voter_count(&self) -> usize {
        self.config.members.voters().len()
    }

    pub fn is_alone(&self) -> bool {
        self.voter_count() == 1
    }

    pub fn accept_quorum(&self) -> u32 {
        #[cfg(feature = "canary")]
        if self.has(Canary::HalfQuorum) {
            return (self.voter_count() / 2) as u32;
        }
        self.config.members.accept_quorum() as u32 // 9 at most
    }

    pub fn prepare_quorum(&self) -> u32 {
        #[cfg(feature = "canary")]
        if self.has(Canary::HalfQuorum) {
            return (self.voter_count() / 2) as u32;
        }
        self.config.members.prepare_quorum() as u32 // 9 at most
    }

    pub fn majority(&self) -> usize {
        let majority = self.voter_count() / 2 + 1;
        debug_assert!(majority <= self.voter_count(), "a majority that there never is");
        majority
    }

    /// How much later than the preferred node this one stands for election.
    pub fn rank_delay(&self) -> Nanos {
        Nanos(self.timing.rank_delay.0 * u64::from(self.config.priority_rank))
    }
}
