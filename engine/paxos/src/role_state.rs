//! The role a replica plays, and the state of that role.
//!
//! ```text
//!  Follower ──timeout──▶ PreCandidate ──quorum grants──▶ Candidate ──quorum promises──▶ Leader
//!      ▲                     │                               │                            │
//!      └─────────────────────┴───────────────────────────────┴──── higher ballot, no quorum ┘
//! ```

use crate::api::Role;
use crate::candidate::{Candidate, PreCandidate};
use crate::ignored::Ignored;
use crate::leader::Leader;
use crate::setup::Setup;
use synod_types::{Ballot, Mono, Payload, Slot};

#[derive(Debug)]
pub(crate) enum RoleState<P> {
    Follower,
    PreCandidate(PreCandidate),
    Candidate(Candidate<P>),
    Leader(Leader),
}

impl<P: Payload> RoleState<P> {
    /// The role as reported: a pre-candidate counts as a follower, since it has raised no ballot yet.
    pub fn role(&self) -> Role {
        match self {
            Self::Follower | Self::PreCandidate(_) => Role::Follower,
            Self::Candidate(_) => Role::Candidate,
            Self::Leader(_) => Role::Leader,
        }
    }

    pub fn is_follower(&self) -> bool {
        matches!(self, Self::Follower)
    }

    pub fn pre_candidate_mut(&mut self) -> Result<&mut PreCandidate, Ignored> {
        match self {
            Self::PreCandidate(pre) => Ok(pre),
            _ => Err(Ignored::NotStanding),
        }
    }

    pub fn candidate_mut(&mut self) -> Result<&mut Candidate<P>, Ignored> {
        match self {
            Self::Candidate(candidate) => Ok(candidate),
            _ => Err(Ignored::NotStanding),
        }
    }

    pub fn leader(&self) -> Option<&Leader> {
        match self {
            Self::Leader(leader) => Some(leader),
            _ => None,
        }
    }

    pub fn leader_mut(&mut self) -> Result<&mut Leader, Ignored> {
        match self {
            Self::Leader(leader) => Ok(leader),
            _ => Err(Ignored::NotLeading),
        }
    }

    /// The ballot in which this replica proposes or asks for promises.
    pub fn proposing_in(&self) -> Option<Ballot> {
        match self {
            Self::Follower | Self::PreCandidate(_) => None,
            Self::Candidate(candidate) => Some(candidate.ballot()),
            Self::Leader(leader) => Some(leader.ballot()),
        }
    }

    /// Whether it stands because the leader of `ballot` transferred leadership to it: an earlier heartbeat of
    /// that leader is ignored (P-17b).
    pub fn stands_after(&self, ballot: Ballot) -> bool {
        matches!(self, Self::PreCandidate(pre) if pre.after() == ballot)
    }

    /// Whether it leads under a valid lease, which binds it as a grant would (P-07e).
    pub fn lease_valid(&self, setup: &Setup, now: Mono) -> bool {
        self.leader().is_some_and(|leader| leader.lease_valid(setup, now))
    }

    /// Checks the invariants that hold between steps. `promised` is this replica's promise, `chosen` its
    /// chosen prefix.
    pub fn invariants(&self, promised: Ballot, chosen: Slot, setup: &Setup) {
        match self {
            Self::Follower => {}
            Self::PreCandidate(pre) => {
                assert!(pre.ballot() > promised, "would stand in a ballot that is used");
                pre.invariants(setup);
            }
            Self::Candidate(candidate) => {
                assert!(candidate.ballot() == promised, "stands in another ballot than it has promised");
                candidate.invariants(setup);
            }
            Self::Leader(leader) => leader.invariants(promised, chosen, setup),
        }
    }
}
