//! What a replica still does while its log can get no further segment, as on a full disk (P-18).
//!
//! ```text
//!   Free ──▶ Low ──▶ Reserve ──▶ Spent       reported by the log; a new segment leads back to Free
//!   all      nothing  promises,   nothing that
//!            new      elections   has to be written
//! ```
//! Durability never changes: a replica with less room only does less. Leases and reads need no room at all.

use crate::api::Role;
use synod_types::{Ballot, Mono, NodeId, Space};

/// Whether the members' logs have room for a proposal that a leader makes now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Writable {
    /// Nothing is known to prevent it.
    Yes,
    /// Not under this leader, but under this member: its log and those of an accept quorum have room.
    Elsewhere(NodeId),
    /// Not under this leader, and it is not known yet under which: the members' next answers will say whether
    /// they have room.
    Unclear,
    /// No accept quorum has room.
    No,
}

/// The room in this replica's log, as last reported.
#[derive(Debug, Default)]
pub(crate) struct LogSpace {
    space: Space,
    /// When it last became less than [`Space::Free`].
    low_since: Mono,
    /// The promise in force when the log came down to its reserve; `None` while it has more room.
    short_since: Option<Ballot>,
    /// The log has so much waiting to be written that a winner must not propose yet.
    is_behind: bool,
}

impl LogSpace {
    /// The log reports a change. `promised` is the promise in force.
    pub fn change(&mut self, space: Space, is_behind: bool, promised: Ballot, now: Mono) {
        assert!(self.low_since <= now, "time went back");
        let was_short = self.space <= Space::Reserve;
        let is_short = space <= Space::Reserve;
        if is_short != was_short {
            self.short_since = is_short.then_some(promised);
        }
        if space < Space::Free && self.space == Space::Free {
            self.low_since = now;
        }
        self.space = space;
        self.is_behind = is_behind;
        assert!(self.short_since.is_some() == is_short, "a reserve without the promise it was entered with");
    }

    /// Whether a promise fits.
    pub fn takes_promises(&self) -> bool {
        self.space >= Space::Reserve
    }

    /// Whether a winner may begin: it proposes for all open slots at once.
    pub fn takes_first_slots(&self) -> bool {
        self.space >= Space::Reserve && !self.is_behind
    }

    /// Whether a value of the leader of `ballot` may be accepted. The reserve is kept for the first slots of
    /// leaders elected since it was entered: without these slots they could not serve, and reads would stop.
    pub fn takes_accepts_in(&self, ballot: Ballot) -> bool {
        match self.space {
            Space::Free | Space::Low => true,
            Space::Reserve => {
                debug_assert!(self.short_since.is_some(), "a reserve that was never entered");
                self.short_since.is_none_or(|since| ballot > since)
            }
            Space::Spent => false,
        }
    }

    /// Whether chosen values may be learned. A leader must learn to serve; other replicas wait until there is
    /// room.
    pub fn takes_learned(&self, role: Role) -> bool {
        self.space == Space::Free || (self.space > Space::Spent && role == Role::Leader)
    }

    /// Whether the log is running out of room.
    pub fn is_low(&self) -> bool {
        self.space < Space::Free
    }

    /// When it last began to run out of room.
    pub fn low_since(&self) -> Mono {
        self.low_since
    }
}
