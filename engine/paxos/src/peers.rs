//! The other members as a leader knows them: what they answered, which answers are outstanding, how fast they
//! are.

use crate::api::{PeerView, Timing};
use crate::clock::Reading;
use crate::pace::Pace;
use crate::setup::Setup;
use crate::transfer::FAR_BEHIND_SLOTS;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::slice::{Iter, IterMut};
use synod_types::{HeartbeatReply, Level, Mono, Nanos, NodeId, Slot, limits};

/// A peer with more unanswered accept bytes than this is sent no more accepts; it has to pull (P-14c). It is
/// twice the leader's window, so that a peer that lags by one window is still sent accepts.
const PEER_UNANSWERED_BYTES_MAX: usize = 2 * limits::WINDOW_BYTES_MAX;

/// A peer's state since this replica became the leader.
#[derive(Debug)]
pub(crate) struct Peer {
    node: NodeId,
    /// When the latest heartbeat that it answered was sent.
    echo: Mono,
    /// Its chosen prefix when it answered.
    chosen: Slot,
    /// The accepts it has not answered, by slot.
    unanswered: VecDeque<Unanswered>,
    unanswered_bytes: usize,
    /// Whether its log was running out of room when it answered.
    is_low: bool,
    /// The level it can read; `None` before its first answer to this leader since the link was last lost.
    level: Option<Level>,
    /// A level counts only in answers to heartbeats sent after this time: an earlier one may have been
    /// answered by another build.
    level_after: Mono,
    /// The last reading of its wall clock.
    wall: Option<Reading>,
    /// How long it takes to answer a heartbeat, and to answer an accept, which it has to write first.
    heartbeat_pace: Pace,
    accept_pace: Pace,
    /// When the latest accept that it has answered was sent: its log has moved since.
    written_since: Mono,
}

#[derive(Clone, Copy, Debug)]
struct Unanswered {
    slot: Slot,
    /// 0 once the accept is answered.
    bytes: usize,
    sent_at: Mono,
}

impl Peer {
    fn new(node: NodeId) -> Self {
        Self {
            node,
            echo: Mono::ZERO,
            chosen: Slot::ZERO,
            unanswered: VecDeque::new(),
            unanswered_bytes: 0,
            is_low: false,
            level: None,
            level_after: Mono::ZERO,
            wall: None,
            heartbeat_pace: Pace::default(),
            accept_pace: Pace::default(),
            written_since: Mono::ZERO,
        }
    }

    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Whether its log was running out of room when it last answered.
    pub fn is_low(&self) -> bool {
        self.is_low
    }

    /// When the latest heartbeat that it answered was sent.
    pub fn heard_at(&self) -> Mono {
        self.echo
    }

    /// The level it can read.
    pub fn level(&self) -> Option<Level> {
        self.level
    }

    /// The last reading of its wall clock.
    pub fn wall(&self) -> Option<Reading> {
        self.wall
    }

    pub fn set_wall(&mut self, wall: Option<Reading>) {
        self.wall = wall;
    }

    /// Whether it has answered every accept sent since its link was last lost. It may lack earlier slots.
    pub fn is_quiet(&self) -> bool {
        self.unanswered.is_empty()
    }

    /// How long the oldest unanswered accept has been outstanding.
    pub fn owes_since(&self, now: Mono) -> Nanos {
        self.unanswered.front().map_or(Nanos::ZERO, |oldest| now.since(oldest.sent_at))
    }

    /// How much longer it recently took to answer an accept than a heartbeat: its write latency. `None`
    /// without recent accepts.
    pub fn log_pace(&self, now: Mono) -> Option<Nanos> {
        let heartbeats = self.heartbeat_pace.get(now).unwrap_or(Nanos::ZERO);
        self.accept_pace.get(now).map(|accepts| Nanos(accepts.0.saturating_sub(heartbeats.0)))
    }

    /// What this leader believes of it.
    pub fn view(&self, now: Mono) -> PeerView {
        let round_trip = self.heartbeat_pace.get(now).unwrap_or(Nanos::ZERO);
        PeerView { node: self.node, round_trip, log_age: self.owes_since(now) }
    }

    /// Whether it has written something that was sent to it since then, and keeps up much better than a log
    /// whose oldest record is from then.
    pub fn log_moves(&self, since: Mono, lease: Nanos, now: Mono) -> bool {
        let allowed = (lease.0 / 2).min(now.since(since).0 / 4);
        let is_fast = self.log_pace(now).is_some_and(|pace| pace.0 < lease.0 / 4);
        self.written_since >= since && self.owes_since(now).0 < allowed && is_fast
    }

    /// Whether it has owed an answer for so long that what was sent may be lost: twice what its log takes.
    pub fn is_overdue(&self, timing: &Timing, now: Mono) -> bool {
        let pace = self.accept_pace.get(now).unwrap_or(Nanos::ZERO);
        let patience = (2 * pace.0).clamp(timing.resend.0, timing.resend.0.max(2 * timing.lease.0));
        self.unanswered.is_empty() || self.owes_since(now).0 >= patience
    }

    /// Whether it answered a heartbeat within a lease and lacks few slots of the prefix `chosen`: it could
    /// lead at once.
    pub fn is_fit(&self, chosen: Slot, lease: Nanos, now: Mono) -> bool {
        let is_live = self.echo.plus(lease) > now;
        is_live && self.is_near(chosen)
    }

    /// Whether it lacked few slots of the prefix `chosen` when it last answered.
    pub fn is_near(&self, chosen: Slot) -> bool {
        chosen.since(self.chosen) <= FAR_BEHIND_SLOTS
    }

    // ---- what it is sent ----------------------------------------------------------------------------------

    /// Whether so many bytes are unanswered that it is sent no more accepts: it will pull (P-14c).
    pub fn is_swamped(&self) -> bool {
        self.unanswered_bytes > PEER_UNANSWERED_BYTES_MAX
    }

    /// An accept is sent to it.
    pub fn note_sent(&mut self, slot: Slot, bytes: usize, sent_at: Mono) {
        assert!(bytes > 0, "what is sent counts, or it would pass for answered");
        debug_assert!(self.unanswered.back().is_none_or(|last| last.slot < slot), "sent out of order");
        self.unanswered.push_back(Unanswered { slot, bytes, sent_at });
        self.unanswered_bytes += bytes;
    }

    /// Its link broke: messages to it may be lost.
    pub fn note_link_lost(&mut self, last_sent_at: Mono) {
        // Another build may come back, and an answer of the previous one may still arrive.
        assert!(self.echo <= last_sent_at, "an answer to a heartbeat that was not sent");
        self.level = None;
        self.level_after = last_sent_at;
        self.unanswered.clear();
        self.unanswered_bytes = 0;
    }

    // ---- what it answers ----------------------------------------------------------------------------------

    /// It answered an accept.
    pub fn note_accepted(&mut self, slot: Slot, now: Mono) {
        if let Ok(index) = self.unanswered.binary_search_by_key(&slot, |unanswered| unanswered.slot) {
            let Unanswered { bytes, sent_at, .. } = self.unanswered[index];
            if bytes > 0 {
                self.written_since = self.written_since.max(sent_at);
                self.accept_pace.note(now.since(sent_at), now);
            }
            self.unanswered_bytes -= bytes;
            self.unanswered[index].bytes = 0;
        }
        while self.unanswered.front().is_some_and(|unanswered| unanswered.bytes == 0) {
            self.unanswered.pop_front();
        }
        assert!(!self.unanswered.is_empty() || self.unanswered_bytes == 0, "unanswered bytes are miscounted");
    }

    /// It answered a heartbeat.
    pub fn note_reply(&mut self, reply: &HeartbeatReply, now: Mono) {
        if reply.sent_at >= self.echo {
            self.echo = reply.sent_at;
            self.is_low = reply.is_low;
            Reading::keep(&mut self.wall, Reading::new(reply.wall, reply.sent_at, now), now);
            if reply.sent_at > self.level_after {
                self.level = Some(reply.level);
            }
            self.chosen = reply.chosen; // lower than before, if it restarted
        }
        assert!(self.echo >= reply.sent_at, "an answer is forgotten");
        self.heartbeat_pace.note(now.since(reply.sent_at), now);
        self.answered_up_to(reply.chosen);
    }

    fn answered_up_to(&mut self, chosen: Slot) {
        while let Some(&Unanswered { slot, bytes, .. }) = self.unanswered.front() {
            if slot > chosen && bytes > 0 {
                break;
            }
            self.unanswered_bytes -= bytes;
            self.unanswered.pop_front();
        }
        assert!(!self.unanswered.is_empty() || self.unanswered_bytes == 0, "unanswered bytes are miscounted");
    }

    fn invariants(&self) {
        let bytes: usize = self.unanswered.iter().map(|unanswered| unanswered.bytes).sum();
        assert!(bytes == self.unanswered_bytes, "unanswered bytes are miscounted");
        let is_owed = self.unanswered.front().is_none_or(|oldest| oldest.bytes > 0);
        assert!(is_owed, "an accept that is answered is waited for");
        let is_ordered = self.unanswered.iter().is_sorted_by(|one, next| one.slot < next.slot);
        assert!(is_ordered, "accepts are sent in the order of slots");
    }
}

/// All peers.
#[derive(Debug)]
pub(crate) struct Peers {
    peers: Vec<Peer>,
}

impl Peers {
    pub fn new(setup: &Setup) -> Self {
        let peers: Vec<Peer> = setup.peers().map(Peer::new).collect();
        assert!(peers.len() + 1 == setup.voter_count(), "a member is missing");
        Self { peers }
    }

    pub fn iter(&self) -> Iter<'_, Peer> {
        self.peers.iter()
    }

    pub fn iter_mut(&mut self) -> IterMut<'_, Peer> {
        self.peers.iter_mut()
    }

    pub fn get(&self, node: NodeId) -> Option<&Peer> {
        self.peers.iter().find(|peer| peer.node == node)
    }

    pub fn get_mut(&mut self, node: NodeId) -> Option<&mut Peer> {
        self.peers.iter_mut().find(|peer| peer.node == node)
    }

    /// The latest time at or after which an accept quorum, this leader included, confirmed that it had
    /// promised no higher ballot.
    pub fn confirmed(&self, quorum: usize, now: Mono) -> Mono {
        if quorum <= 1 {
            return now;
        }
        assert!(quorum <= self.peers.len() + 1, "no such quorum");
        // Every read calls this, and peers are few: comparing all of them is cheaper than a sorted copy.
        let echoes = || self.peers.iter().map(|peer| peer.echo);
        let is_confirmed = |at: &Mono| echoes().filter(|echo| echo >= at).count() >= quorum - 1;
        echoes().filter(is_confirmed).max().unwrap_or(Mono::ZERO)
    }

    /// Whether the members that are not low make an accept quorum; this leader counts if it is not low.
    pub fn has_roomy_quorum(&self, is_low_here: bool, quorum: u32) -> bool {
        assert!(quorum as usize <= self.peers.len() + 1, "no such quorum");
        let others = self.peers.iter().filter(|peer| !peer.is_low).count();
        others + usize::from(!is_low_here) >= quorum as usize
    }

    pub fn invariants(&self) {
        for peer in &self.peers {
            peer.invariants();
        }
    }
}
