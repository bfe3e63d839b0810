//! The leader: proposals, tallies, heartbeats, the lease they earn, and flow control.
//!
//! `confirmed` is the one clock of leadership: the latest time t such that an accept quorum has said, after t, that it
//! promised nobody higher. A lease is `confirmed + lease - drift > now`; a ReadIndex read waits until `confirmed` reaches its
//! ticket. Both count from the *sending* of the heartbeat (P-07).

use crate::clock::{Anchor, GroupClock, Reading, Readings, Report, SETTING_MAX, inherited};
use crate::handover::Parting;
use crate::pace::Pace;
use crate::{Effect, Paxos, Receipt, State};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec;
use alloc::vec::Vec;
use synod_types::{
    Ballot, Beat, BeatReply, GroupMessage, Level, Mono, Nanos, NodeId, Now, Payload, RecordKind, Slot,
    WallMs, limits,
};

/// Between two looks at the wall clocks.
const STEER_INTERVAL: Nanos = Nanos::from_ms(50);
/// Unanswered accept bytes to one peer beyond which it is left to pull (P-14). Twice the leader's own window, so that a peer
/// which merely lags one window is not cut off.
const PEER_UNANSWERED_BYTES_MAX: usize = 2 * limits::WINDOW_BYTES_MAX;

#[derive(Debug)]
pub(crate) struct Leader {
    pub ballot: Ballot,
    /// The first slot that is this leader's own: it serves once this is applied.
    pub start_slot: Slot,
    pub next_slot: Slot,
    since: Mono,
    /// The group's clock; nothing while it is not known where it is to go on.
    pub clock: Option<GroupClock>,
    /// By how much it is ahead of the wall clocks, as last seen.
    skew_ms: Option<i64>,
    next_steer: Mono,
    last_sent_at: Mono,
    next_beat: Mono,
    beat_wanted: bool,
    /// The log has stopped: no heartbeat leaves, whoever asks (P-09).
    stalled: bool,
    /// Set while it hands over (P-17).
    pub parting: Option<Parting>,
    next_resend: Mono,
    /// Slots up to here were open at the last resend already.
    resend_mark: Slot,
    /// Slots proposed and not chosen yet, with their payload bytes.
    open: BTreeMap<Slot, usize>,
    open_bytes: usize,
    peers: Vec<Peer>,
}

#[derive(Debug)]
pub(crate) struct Peer {
    node: NodeId,
    /// The latest heartbeat it answered.
    echo: Mono,
    /// What it knew as chosen then.
    chosen: Slot,
    /// Accepts it has not answered, by slot.
    unanswered: VecDeque<Unanswered>,
    unanswered_bytes: usize,
    /// Its log was running out of room when it answered.
    is_low: bool,
    /// What it said it reads; nothing before its first answer to this leader.
    level: Option<Level>,
    /// A level counts in answers to heartbeats sent after this one: those before may have been answered by another build.
    level_after: Mono,
    /// What its wall clock said.
    wall: Option<Reading>,
    /// How long it takes to answer a heartbeat, and an accept, which it writes first.
    beat_pace: Pace,
    accept_pace: Pace,
}

#[derive(Clone, Copy, Debug)]
struct Unanswered {
    slot: Slot,
    /// 0 once it is answered.
    bytes: usize,
    sent_at: Mono,
}

impl Leader {
    /// Whether learning a value for `slot` other than the one held (if any) shows that a newer leader chose it: this one
    /// proposed for the slot itself, or never got that far.
    pub fn is_overtaken_at(&self, slot: Slot) -> bool {
        self.open.contains_key(&slot) || slot >= self.next_slot
    }

    /// When it was elected.
    pub fn since(&self) -> Mono {
        self.since
    }

    pub fn peers(&self) -> impl Iterator<Item = &Peer> {
        self.peers.iter()
    }

    pub fn peer(&self, node: NodeId) -> Option<&Peer> {
        self.peers.iter().find(|peer| peer.node == node)
    }

    /// Whether nothing it proposed is undecided.
    pub fn is_idle(&self) -> bool {
        self.open.is_empty()
    }

    /// Whether it has given its lease up.
    pub fn has_released(&self) -> bool {
        self.parting.is_some_and(|parting| parting.released)
    }
}

impl Peer {
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Whether its log was running out of room when it last answered.
    pub fn is_low(&self) -> bool {
        self.is_low
    }

    /// When the latest heartbeat left that it answered.
    pub fn heard_at(&self) -> Mono {
        self.echo
    }

    /// What it knew as chosen then.
    pub fn knows(&self) -> Slot {
        self.chosen
    }

    /// Whether it has answered all that it was sent since its link was last made. It may lack what came before.
    pub fn is_quiet(&self) -> bool {
        self.unanswered.is_empty()
    }

    /// How long it has owed an answer.
    pub fn owes_since(&self, now: Mono) -> Nanos {
        self.unanswered.front().map_or(Nanos::ZERO, |oldest| now.since(oldest.sent_at))
    }

    /// How much longer it takes to write than to answer, of late; nothing is known without traffic.
    pub fn log_pace(&self, now: Mono) -> Option<Nanos> {
        let beats = self.beat_pace.get(now).unwrap_or(Nanos::ZERO);
        self.accept_pace.get(now).map(|accepts| Nanos(accepts.0.saturating_sub(beats.0)))
    }

    fn answered(&mut self, slot: Slot, now: Mono) {
        if let Ok(index) = self.unanswered.binary_search_by_key(&slot, |unanswered| unanswered.slot) {
            let Unanswered { bytes, sent_at, .. } = self.unanswered[index];
            if bytes > 0 {
                self.accept_pace.note(now.since(sent_at), now);
            }
            self.unanswered_bytes -= bytes;
            self.unanswered[index].bytes = 0;
        }
        while self.unanswered.front().is_some_and(|unanswered| unanswered.bytes == 0) {
            self.unanswered.pop_front();
        }
    }

    fn answered_up_to(&mut self, chosen: Slot) {
        while let Some(&Unanswered { slot, bytes, .. }) = self.unanswered.front() {
            if slot > chosen && bytes > 0 {
                break;
            }
            self.unanswered_bytes -= bytes;
            self.unanswered.pop_front();
        }
    }
}

impl<P: Payload> Paxos<P> {
    pub(crate) fn become_leader(&mut self, ballot: Ballot, start_slot: Slot, now: Now) {
        assert!(ballot == self.promised, "a leader's own promise is its ballot");
        self.note_leader(ballot, now.mono);
        let peers = self
            .peers()
            .map(|node| Peer {
                node,
                echo: Mono::ZERO,
                chosen: Slot::ZERO,
                unanswered: VecDeque::new(),
                unanswered_bytes: 0,
                beat_pace: Pace::default(),
                accept_pace: Pace::default(),
                is_low: false,
                level: None,
                level_after: Mono::ZERO,
                wall: None,
            })
            .collect();
        self.role = State::Leader(Leader {
            ballot,
            start_slot,
            next_slot: start_slot.next(),
            since: now.mono,
            clock: None,
            skew_ms: None,
            next_steer: now.mono,
            last_sent_at: Mono::ZERO,
            next_beat: now.mono,
            beat_wanted: false,
            stalled: false,
            parting: None,
            next_resend: now.mono.plus(self.timing.resend),
            resend_mark: Slot::ZERO,
            open: BTreeMap::new(),
            open_bytes: 0,
            peers,
        });
    }

    /// Whether the window has room for another slot (P-14), and so has the log (P-18). False on a replica that does not lead, or
    /// hands over (P-17).
    pub fn can_propose(&self) -> bool {
        match &self.role {
            State::Leader(leader) => {
                leader.parting.is_none()
                    && !self.is_low()
                    && leader.next_slot.since(self.chosen) <= limits::WINDOW_SLOTS_MAX
                    && leader.open_bytes < limits::WINDOW_BYTES_MAX
            }
            _ => false,
        }
    }

    /// Slots proposed and not chosen yet.
    pub fn in_flight(&self) -> u64 {
        match &self.role {
            State::Leader(leader) => leader.open.len() as u64,
            _ => 0,
        }
    }

    /// The slot the next proposal gets, on a leader.
    pub fn next_slot(&self) -> Option<Slot> {
        match &self.role {
            State::Leader(leader) => Some(leader.next_slot),
            _ => None,
        }
    }

    /// What the group's clock says, on a leader that knows it (P-16).
    pub fn leader_clock(&self, now: Mono) -> Option<WallMs> {
        match &self.role {
            State::Leader(leader) => leader.clock.map(|clock| clock.read(now)),
            _ => None,
        }
    }

    /// By how much the group's clock was last seen to be ahead of the wall clocks that agree, milliseconds; nothing on a replica that
    /// does not lead, and where too few agree.
    pub fn clock_skew_ms(&self) -> Option<i64> {
        match &self.role {
            State::Leader(leader) => leader.skew_ms,
            _ => None,
        }
    }

    /// A winner's clock goes on where the last leader's was, as far as its quorum knows.
    pub(crate) fn inherit_time(&mut self, times: &BTreeMap<NodeId, Report>, now: Now) {
        let report = Anchor::report(self.anchor, now.mono, now.wall);
        let own = Report { report, asked: now.mono, at: now.mono };
        let reports: Vec<Report> = times.values().copied().chain([own]).collect();
        // Within about so long a follower has heard a leader, or stands itself.
        let fresh = Nanos(2 * self.timing.lease.0 + self.timing.election_jitter.0);
        let inherited = inherited(&reports, fresh, now.mono);
        #[cfg(feature = "canary")]
        let inherited = match self.canary {
            // As it was once: by whoever leads.
            Some(crate::Canary::ClockOfTheWinner) => Some(now.wall),
            _ => inherited,
        };
        let floor = self.applied_time;
        let State::Leader(leader) = &mut self.role else { return };
        for peer in &mut leader.peers {
            let heard = times.get(&peer.node);
            peer.wall = heard.and_then(|heard| Reading::new(heard.report.wall, heard.asked, heard.at));
        }
        leader.clock = inherited.map(|time| GroupClock::set(time.max(floor), now.mono));
        self.steer_clock(now);
    }

    /// Looks at the wall clocks: sets a clock that nothing is known of, steers one that runs.
    fn steer_clock(&mut self, now: Now) {
        let (majority, floor) = (self.majority(), self.applied_time);
        let Some(readings) = self.readings(now) else { return };
        let agreed = readings.agreed(majority);
        let State::Leader(leader) = &mut self.role else { return };
        if let Some(clock) = &mut leader.clock {
            let ahead =
                |agreed: WallMs| clock.read(now.mono).0.cast_signed().saturating_sub(agreed.0.cast_signed());
            leader.skew_ms = agreed.map(ahead);
            clock.steer(agreed, now.mono);
            return;
        }
        let is_late = now.mono.since(leader.since) >= SETTING_MAX;
        let set = agreed.or_else(|| is_late.then(|| readings.least(majority, floor, now.wall)));
        leader.clock = set.map(|time| GroupClock::set(time.max(floor), now.mono));
    }

    /// What the wall clocks say, on a leader.
    fn readings(&self, now: Now) -> Option<Readings> {
        let State::Leader(leader) = &self.role else { return None };
        let others = leader.peers.iter().filter_map(|peer| peer.wall?.now(now.mono));
        Some(Readings::of(others.chain([now.wall])))
    }

    fn majority(&self) -> usize {
        self.config.members.voters().len() / 2 + 1
    }

    /// What every member reads, as far as all of them have said so to this leader (P-19). Nothing on a replica that does not lead.
    pub fn level_of_all(&self) -> Option<Level> {
        let State::Leader(leader) = &self.role else { return None };
        #[cfg(feature = "canary")]
        if self.canary == Some(crate::Canary::LevelByQuorum) {
            let read = |level: Level| leader.peers.iter().filter(|peer| peer.level >= Some(level)).count();
            return (read(self.level) + 1 >= self.accept_quorum() as usize).then_some(self.level);
        }
        leader.peers.iter().try_fold(self.level, |level, peer| Some(level.min(peer.level?)))
    }

    pub(crate) fn on_propose(&mut self, payload: P, now: Now, out: &mut Vec<Effect<P>>) {
        let State::Leader(leader) = &mut self.role else {
            panic!("proposed to a replica that does not lead");
        };
        let slot = leader.next_slot;
        leader.next_slot = slot.next();
        self.propose_at(slot, payload, now, out);
    }

    /// Phase 2a: the own record and the peers' messages leave together; the own vote counts when the record is durable.
    pub(crate) fn propose_at(&mut self, slot: Slot, payload: P, now: Now, out: &mut Vec<Effect<P>>) {
        let bytes = payload.as_ref().len().max(1);
        let spares_low = self.spares_low();
        let State::Leader(leader) = &mut self.role else { return };
        let ballot = leader.ballot;
        leader.open.insert(slot, bytes);
        leader.open_bytes += bytes;
        self.log.put(slot, ballot, payload.clone());
        out.push(Effect::Append {
            head: self.head(RecordKind::Accept, slot, ballot),
            payload: Some(payload.clone()),
            then: vec![],
            receipt: Receipt::Accept { slot, ballot },
        });
        let chosen = self.chosen;
        let State::Leader(leader) = &mut self.role else { return };
        let is_own = slot > leader.start_slot;
        for peer in &mut leader.peers {
            let is_spared = is_own && peer.is_low && spares_low;
            if is_spared || peer.unanswered_bytes > PEER_UNANSWERED_BYTES_MAX {
                continue; // it will pull
            }
            if peer.unanswered.back().is_none_or(|last| last.slot < slot) {
                peer.unanswered.push_back(Unanswered { slot, bytes, sent_at: now.mono });
                peer.unanswered_bytes += bytes;
            }
            let message = GroupMessage::Accept { ballot, slot, chosen, payload: payload.clone() };
            out.push(Effect::Send { to: peer.node, message });
        }
    }

    pub(crate) fn on_accepted(&mut self, from: NodeId, ballot: Ballot, slot: Slot, now: Now) {
        if let State::Leader(leader) = &mut self.role
            && leader.ballot == ballot
        {
            if let Some(peer) = leader.peers.iter_mut().find(|peer| peer.node == from) {
                peer.answered(slot, now.mono);
            }
            self.tally(slot, ballot, from);
        }
    }

    /// Counts one acceptance, matched to slot and ballot.
    pub(crate) fn tally(&mut self, slot: Slot, ballot: Ballot, node: NodeId) {
        let Some(bit) = self.bit_of(node) else { return };
        let quorum = self.accept_quorum();
        if !matches!(&self.role, State::Leader(leader) if leader.ballot == ballot) {
            return;
        }
        let Some(open) = self.log.get_mut(slot) else { return };
        if open.ballot != ballot || open.chosen {
            return;
        }
        open.acks |= bit;
        if open.acks.count_ones() >= quorum {
            self.decide(slot);
        }
    }

    /// The value held for `slot` is chosen.
    pub(crate) fn decide(&mut self, slot: Slot) {
        self.log.mark_chosen(slot);
        if let State::Leader(leader) = &mut self.role
            && let Some(bytes) = leader.open.remove(&slot)
        {
            leader.open_bytes -= bytes;
        }
        self.advance_chosen();
    }

    pub(crate) fn on_beat_reply(&mut self, from: NodeId, reply: BeatReply, now: Now) {
        if let State::Leader(leader) = &mut self.role
            && leader.ballot == reply.ballot
            && reply.sent_at <= leader.last_sent_at
            && let Some(peer) = leader.peers.iter_mut().find(|peer| peer.node == from)
        {
            #[cfg(feature = "canary")]
            let reply = if self.canary == Some(crate::Canary::BeatConfirmsLast) {
                BeatReply { sent_at: leader.last_sent_at, ..reply }
            } else {
                reply
            };
            if reply.sent_at >= peer.echo {
                peer.echo = reply.sent_at;
                peer.is_low = reply.is_low;
                Reading::keep(&mut peer.wall, Reading::new(reply.wall, reply.sent_at, now.mono), now.mono);
                if reply.sent_at > peer.level_after {
                    peer.level = Some(reply.level);
                }
                peer.chosen = reply.chosen; // less than before, if it restarted
            }
            peer.beat_pace.note(now.mono.since(reply.sent_at), now.mono);
            peer.answered_up_to(reply.chosen);
        }
    }

    pub(crate) fn on_link_lost(&mut self, node: NodeId) {
        if let State::Leader(leader) = &mut self.role
            && let Some(peer) = leader.peers.iter_mut().find(|peer| peer.node == node)
        {
            // It may be another build that comes back, and what the one before said may still be on its way.
            peer.level = None;
            peer.level_after = leader.last_sent_at;
            peer.unanswered.clear();
            peer.unanswered_bytes = 0;
            // An heir that was restarted is silent for a lease (P-07c) and would leave the group without a leader so long.
            if leader.parting.is_some_and(|parting| parting.is_to(node)) {
                leader.parting = None;
            }
        }
    }

    /// The latest time at or after which an accept quorum confirmed this leader.
    fn confirmed(&self, now: Mono) -> Mono {
        let quorum = self.accept_quorum() as usize;
        let State::Leader(leader) = &self.role else { return Mono::ZERO };
        if quorum <= 1 {
            return now;
        }
        // The leader itself is the first of the quorum. Every read asks, and peers are few: comparing all is cheaper than a sorted
        // copy.
        let echoes = || leader.peers.iter().map(|peer| peer.echo);
        let is_confirmed = |at: &Mono| echoes().filter(|echo| echo >= at).count() >= quorum - 1;
        echoes().filter(is_confirmed).max().unwrap_or(Mono::ZERO)
    }

    /// Whether this replica leads under an unexpired lease at `now` that it has not given up (P-17).
    pub fn lease_valid(&self, now: Mono) -> bool {
        let State::Leader(leader) = &self.role else { return false };
        let released = leader.has_released();
        #[cfg(feature = "canary")]
        let released = released && self.canary != Some(crate::Canary::LeaseAfterHandOver);
        let confirmed = self.confirmed(now);
        !released && confirmed > Mono::ZERO && confirmed.plus(self.timing.lease) > now.plus(self.timing.drift)
    }

    /// A ticket for a ReadIndex read arriving now: [`Paxos::ticket_valid`] turns true once a quorum has answered a heartbeat
    /// sent after this call. Wants a heartbeat at the turn's end.
    pub fn read_ticket(&mut self) -> Option<Mono> {
        match &mut self.role {
            State::Leader(leader) => {
                leader.beat_wanted = true;
                Some(Mono(leader.last_sent_at.0 + 1))
            }
            _ => None,
        }
    }

    /// Whether a read with this ticket may be served. Ask only while the replica leads in the ballot of the ticket.
    pub fn ticket_valid(&self, ticket: Mono, now: Mono) -> bool {
        let lone = self.accept_quorum() <= 1;
        matches!(self.role, State::Leader(_)) && (lone || self.confirmed(now) >= ticket)
    }

    /// Sends heartbeats if a read asked for them this turn.
    pub fn beat_if_wanted(&mut self, now: Now, out: &mut Vec<Effect<P>>) {
        if matches!(&self.role, State::Leader(leader) if leader.beat_wanted && !leader.stalled) {
            self.send_beats(now, out);
        }
    }

    pub(crate) fn send_beats(&mut self, now: Now, out: &mut Vec<Effect<P>>) {
        let chosen = self.chosen;
        let group = self.config.group;
        let heartbeat = self.timing.heartbeat;
        let State::Leader(leader) = &mut self.role else { return };
        if leader.has_released() {
            return; // it would keep the heir from standing
        }
        // Strictly rising, so that an answer names one heartbeat.
        let sent_at = now.mono.max(Mono(leader.last_sent_at.0 + 1));
        leader.last_sent_at = sent_at;
        leader.next_beat = now.mono.plus(heartbeat);
        leader.beat_wanted = false;
        let ballot = leader.ballot;
        let time = leader.clock.map_or(WallMs::ZERO, |clock| clock.read(now.mono));
        for peer in &leader.peers {
            out.push(Effect::Beat { to: peer.node, beat: Beat { group, ballot, chosen, sent_at, time } });
        }
    }

    pub(crate) fn leader_tick(&mut self, stalled: bool, now: Now, out: &mut Vec<Effect<P>>) {
        let patience = self.timing.lease.0 * 2;
        let confirmed = self.confirmed(now.mono);
        let is_ready = self.has_caught_up();
        let State::Leader(leader) = &mut self.role else { return };
        if leader.clock.is_none() || now.mono >= leader.next_steer {
            leader.next_steer = now.mono.plus(STEER_INTERVAL);
            self.steer_clock(now);
        }
        let State::Leader(leader) = &mut self.role else { return };
        leader.stalled = stalled;
        let age = now.mono.since(leader.since).0;
        let unconfirmed = now.mono.since(confirmed.max(leader.since)).0 > patience;
        // A leader that no quorum answers must fall silent, or those who still hear it would refuse a better one (P-06);
        // one that cannot get ready has the same effect.
        if unconfirmed || (!is_ready && age > 4 * patience) {
            self.step_down(now.mono);
            return;
        }
        if now.mono >= leader.next_beat && !stalled {
            self.send_beats(now, out);
        }
        self.resend_open(now, out);
        self.hand_over_if_drained(now, out);
        self.hand_over_tick(now, out);
    }

    /// Sends accepts again that have been open for a whole interval, to the peers whose vote is missing.
    fn resend_open(&mut self, now: Now, out: &mut Vec<Effect<P>>) {
        let interval = self.timing.resend;
        let chosen = self.chosen;
        let spares_low = self.spares_low();
        let State::Leader(leader) = &mut self.role else { return };
        if now.mono < leader.next_resend {
            return;
        }
        let start_slot = leader.start_slot;
        let low: Vec<NodeId> = leader.peers.iter().filter(|peer| peer.is_low).map(|peer| peer.node).collect();
        leader.next_resend = now.mono.plus(interval);
        let mark = leader.resend_mark;
        leader.resend_mark = leader.next_slot.previous();
        let ballot = leader.ballot;
        let mut budget = limits::PEER_CHUNK_BYTES;
        let late: Vec<Slot> = leader.open.range(..=mark).map(|(&slot, _)| slot).collect();
        for slot in late {
            let Some(open) = self.log.get(slot) else { continue };
            let (Some(payload), true) = (&open.payload, open.ballot == ballot) else { continue };
            for to in self.peers() {
                let is_spared = spares_low && slot > start_slot && low.contains(&to);
                if !is_spared && self.bit_of(to).is_some_and(|bit| open.acks & bit == 0) {
                    let message = GroupMessage::Accept { ballot, slot, chosen, payload: payload.clone() };
                    out.push(Effect::Send { to, message });
                }
            }
            match budget.checked_sub(payload.as_ref().len()) {
                Some(rest) => budget = rest,
                None => break,
            }
        }
    }
}
