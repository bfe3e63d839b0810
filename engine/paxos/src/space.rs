//! What a replica does while its log cannot be given another segment, as on a full disk, and what a leader makes of members that
//! say so (P-18).
//!
//! ```text
//!   Free ──▶ Low ──▶ Reserve ──▶ Spent        each said by the log; a segment that is made leads back to Free
//!   all      nothing  promises,   nothing that
//!            new      elections   has to be written
//! ```
//! Nothing here makes anything less durable: a replica with less room only says less. Leases and reads need no room at all.

use crate::leader::Peer;
use crate::{Paxos, State};
use synod_types::{Ballot, Mono, Nanos, NodeId, Payload, Space};

/// Whether what a leader proposes now can be chosen, as far as room in the members' logs goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Writable {
    /// Nothing speaks against it.
    Yes,
    /// Not here, but by this member: its log and those of an accept quorum have room.
    Elsewhere(NodeId),
    /// Not here, and it is not known yet by whom: members will say with their next answers whether they have room.
    Unclear,
    /// No accept quorum has room.
    No,
}

impl<P: Payload> Paxos<P> {
    pub(crate) fn on_room(&mut self, space: Space, is_behind: bool, now: Mono) {
        let was_short = self.space <= Space::Reserve;
        let is_short = space <= Space::Reserve;
        if is_short != was_short {
            self.short_since = is_short.then_some(self.promised);
        }
        if space < Space::Free && self.space == Space::Free {
            self.low_since = now;
        }
        self.space = space;
        self.is_behind = is_behind;
    }

    /// Whether a promise may be made now: it fits the log, and none is on its way there. One at a time is enough for an election, and
    /// bounds what gathers in memory while a disk stands, however many stand for election meanwhile.
    pub(crate) fn can_promise(&self) -> bool {
        self.space >= Space::Reserve && self.promised == self.promised_durable
    }

    /// Whether a winner may begin: it proposes everything that is open at once.
    pub(crate) fn can_win(&self) -> bool {
        self.space >= Space::Reserve && !self.is_behind
    }

    /// Whether a value of a leader in `ballot` may be accepted. The reserve is for what leaders need that were elected since it was
    /// entered: without their first slots they could not serve, and reads would stop.
    pub(crate) fn has_room_for_accept(&self, ballot: Ballot) -> bool {
        match self.space {
            Space::Free | Space::Low => true,
            Space::Reserve => self.short_since.is_none_or(|since| ballot > since),
            Space::Spent => false,
        }
    }

    /// Whether chosen values may be learned. A leader must, to serve; others wait until there is room.
    pub(crate) fn has_room_to_learn(&self) -> bool {
        self.space == Space::Free || (self.space > Space::Spent && matches!(self.role, State::Leader(_)))
    }

    /// Whether this replica's log is running out of room.
    pub(crate) fn is_low(&self) -> bool {
        self.space < Space::Free
    }

    /// Whether a proposal can be chosen, and if not, who could have it chosen. `Yes` on a replica that does not lead.
    pub fn writable(&self, now: Mono) -> Writable {
        let State::Leader(leader) = &self.role else { return Writable::Yes };
        // Longer than it takes to answer a heartbeat: who misses one is not gone. A new leader gives all of them the time for the first.
        let span = Nanos(2 * self.timing.lease.0);
        let heard_of = || leader.peers().filter(|peer| peer.heard_at().max(leader.since()).plus(span) > now);
        let capable = heard_of().filter(|peer| !peer.is_low()).count() + usize::from(!self.is_low());
        let has_quorum = capable >= self.accept_quorum() as usize;
        if !self.is_low() {
            // Who is not heard of may have room: that it is away is not for this to judge.
            let is_known_low = heard_of().any(Peer::is_low);
            return if has_quorum || !is_known_low { Writable::Yes } else { Writable::No };
        }
        if !has_quorum {
            return Writable::No;
        }
        // Disks that fill alike fill together: what was said before this one was full is not good enough to go by.
        if heard_of().any(|peer| !peer.is_low() && peer.heard_at() <= self.low_since) {
            return Writable::Unclear;
        }
        let is_fit = |peer: &&Peer| !peer.is_low() && self.is_fit(peer, now);
        // The groups of a node whose disk is full go to all the others.
        let count = leader.peers().filter(is_fit).count();
        let turn = usize::from(self.config.group.get()) % count.max(1);
        let heir = leader.peers().filter(is_fit).nth(turn);
        heir.map_or(Writable::Unclear, |peer| Writable::Elsewhere(peer.node()))
    }

    /// Whether new slots of this leader need not be sent to members that are low: enough others take them.
    pub(crate) fn spares_low(&self) -> bool {
        let State::Leader(leader) = &self.role else { return false };
        let others = leader.peers().filter(|peer| !peer.is_low()).count();
        others + usize::from(!self.is_low()) >= self.accept_quorum() as usize
    }
}
