//! The leader: proposals, tallies, heartbeats and the lease that they renew, and flow control.
//!
//! Leases and reads both depend on `confirmed`: the latest time t such that an accept quorum has confirmed,
//! at t or later, that it had promised no higher ballot. The lease is valid while
//! `now < confirmed + lease - drift`. A ReadIndex read waits until `confirmed` reaches its ticket. Both count
//! from the *sending* of the heartbeat (P-07).

#[cfg(feature = "canary")]
use crate::api::Canary;
use crate::api::{Effect, LogState, PeerView, Receipt};
use crate::clock::{KnownTime, Reading, Readings, Report, inherited};
use crate::context::Context;
use crate::heirs::{self, Heir};
use crate::ignored::{Handled, Ignored};
use crate::learner::Learner;
use crate::peers::{Peer, Peers};
use crate::setup::Setup;
use crate::space::{LogSpace, Writable};
use crate::timekeeper::Timekeeper;
use crate::transfer::{Transfer, Transfers};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use synod_types::{
    Ballot, EntryBuilder, Event, GroupMessage, Heartbeat, HeartbeatReply, LeadershipEnd, Level, Mono, Nanos,
    NodeId, Now, Payload, Slot, WallMs, limits,
};

/// One term of a leader.
#[derive(Debug)]
pub(crate) struct Leader {
    ballot: Ballot,
    /// This leader's first own slot: it serves once this slot is applied.
    start_slot: Slot,
    next_slot: Slot,
    since: Mono,
    time: Timekeeper,
    last_sent_at: Mono,
    next_heartbeat: Mono,
    heartbeat_wanted: bool,
    transfers: Transfers,
    /// Whether it held a lease at the last tick; none if it has not had one yet.
    had_lease: Option<bool>,
    next_resend: Mono,
    /// Slots up to here were proposed before the last resend.
    resend_mark: Slot,
    /// The slots proposed and not chosen yet, with their payload bytes.
    open: BTreeMap<Slot, usize>,
    open_bytes: usize,
    peers: Peers,
}

/// What a leader does after a tick.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum AfterTick {
    /// It goes on leading.
    Leads,
    /// It has just given up its lease in this ballot and told the transfer target.
    Released(Ballot),
    /// It steps down.
    StepsDown(LeadershipEnd),
    /// It gave up its lease in this ballot, but the target did not take over: it stands for election again.
    StandsAnew(Ballot),
    /// The same, but its log makes no progress: it steps down.
    GivesWay(Ballot),
}

impl Leader {
    /// The winner of `ballot`: it proposes for the open slots below `start_slot`, then for `start_slot`.
    pub fn elected(ballot: Ballot, start_slot: Slot, setup: &Setup, now: Mono) -> Self {
        assert!(ballot.node() == setup.node(), "leads in a foreign ballot");
        Self {
            ballot,
            start_slot,
            next_slot: start_slot.next(),
            since: now,
            time: Timekeeper::new(now),
            last_sent_at: Mono::ZERO,
            next_heartbeat: now,
            heartbeat_wanted: false,
            transfers: Transfers::default(),
            had_lease: None,
            next_resend: now.plus(setup.timing.resend),
            resend_mark: Slot::ZERO,
            open: BTreeMap::new(),
            open_bytes: 0,
            peers: Peers::new(setup),
        }
    }

    // ---- proposals ----------------------------------------------------------------------------------------

    /// The winner re-proposes the highest-ballot value of every open slot above `chosen` (P-06c), a no-op
    /// only where no member of the quorum reported one (P-06d), and one slot of its own after them.
    pub fn take_over<P: Payload>(
        &mut self,
        chosen: Slot,
        mut best: BTreeMap<Slot, (Ballot, P)>,
        learner: &mut Learner<P>,
        cx: &mut Context<'_, P>,
    ) {
        assert!(chosen < self.start_slot, "its own slot is chosen already");
        let reported = best.last_key_value().map(|(&slot, _)| slot);
        assert!(reported < Some(self.start_slot), "a reported value would be left out");
        // The clock is not set if no member has heard a leader; no-ops then carry no time.
        let time = self.time.read(cx.now.mono).unwrap_or(WallMs::ZERO);
        let mut slot = chosen.next();
        while slot < self.start_slot {
            if learner.held(slot).is_none_or(|open| !open.chosen) {
                let value = best.remove(&slot).map(|(_, payload)| payload);
                #[cfg(feature = "canary")]
                let value = value.filter(|_| !cx.setup.has(Canary::NoopOverReported));
                let value = value.unwrap_or_else(|| no_op(cx.journal.next_origin(self.ballot), time));
                self.propose_at(slot, value, learner, cx);
            }
            slot = slot.next();
        }
        let own = no_op(cx.journal.next_origin(self.ballot), time);
        self.propose_at(self.start_slot, own, learner, cx);
        assert!(self.open.contains_key(&self.start_slot), "its own slot is not proposed");
        assert!(self.next_slot == self.start_slot.next(), "a slot is left out");
    }

    /// Proposes an entry in the next slot.
    pub fn propose<P: Payload>(&mut self, payload: P, learner: &mut Learner<P>, cx: &mut Context<'_, P>) {
        assert!(!self.has_released(), "proposed after handing over");
        let slot = self.next_slot;
        self.next_slot = slot.next();
        self.propose_at(slot, payload, learner, cx);
    }

    /// Phase 2a: this replica's record and the messages to the peers leave together. Its own vote counts once
    /// the record is durable.
    fn propose_at<P: Payload>(
        &mut self,
        slot: Slot,
        payload: P,
        learner: &mut Learner<P>,
        cx: &mut Context<'_, P>,
    ) {
        let (ballot, chosen) = (self.ballot, learner.chosen());
        assert!(slot > chosen, "a chosen slot is proposed for");
        assert!(slot < self.next_slot, "proposed ahead of the next slot");
        let bytes = payload.as_ref().len().max(1);
        let is_open = self.open.insert(slot, bytes).is_some();
        assert!(!is_open, "two values were proposed for {slot}");
        self.open_bytes += bytes;
        cx.append(Receipt::Accept { slot, ballot }, Some(payload.clone()), chosen, Vec::new());
        let spares_low = slot > self.start_slot && self.spares_low(cx.space, cx.setup);
        for peer in self.peers.iter_mut() {
            if (spares_low && peer.is_low()) || peer.is_swamped() {
                continue; // it will pull
            }
            peer.note_sent(slot, bytes, cx.now.mono);
            let message = GroupMessage::Accept { ballot, slot, chosen, payload: payload.clone() };
            cx.send(peer.node(), message);
        }
        learner.hold(slot, ballot, payload);
    }

    /// Whether new slots are not sent to members that are low, because enough other members take them
    /// (P-18d).
    fn spares_low(&self, space: &LogSpace, setup: &Setup) -> bool {
        self.peers.has_roomy_quorum(space.is_low(), setup.accept_quorum())
    }

    /// A peer accepted what this leader proposed.
    pub fn on_accepted<P: Payload>(
        &mut self,
        from: NodeId,
        ballot: Ballot,
        slot: Slot,
        learner: &mut Learner<P>,
        cx: &Context<'_, P>,
    ) -> Handled {
        if ballot != self.ballot {
            return Err(Ignored::OtherBallot);
        }
        let peer = self.peers.get_mut(from).expect("messages of strangers are dropped");
        peer.note_accepted(slot, cx.now.mono);
        self.tally(slot, from, learner, cx.setup);
        Ok(())
    }

    /// This leader's own record of what it proposed in `ballot` is durable.
    pub fn on_own_accepted<P: Payload>(
        &mut self,
        ballot: Ballot,
        slot: Slot,
        learner: &mut Learner<P>,
        setup: &Setup,
    ) {
        assert!(ballot <= self.ballot, "accepted above its own ballot");
        if ballot == self.ballot {
            self.tally(slot, setup.node(), learner, setup);
        }
    }

    /// Counts one acceptance in this leader's ballot (P-03a). One for a slot that is decided already is not
    /// counted.
    fn tally<P: Payload>(&mut self, slot: Slot, node: NodeId, learner: &mut Learner<P>, setup: &Setup) {
        let bit = setup.bit_of(node).expect("a member votes");
        let votes = learner.count_vote(slot, self.ballot, bit);
        debug_assert!(votes.is_none() || self.open.contains_key(&slot), "{slot} is counted and not open");
        debug_assert!(votes.is_none_or(|votes| votes as usize <= setup.voter_count()), "a vote of no voter");
        if votes.is_some_and(|votes| votes >= setup.accept_quorum()) {
            learner.decide(slot);
            self.close(slot);
        }
    }

    /// A slot is decided, by this leader's quorum or because its value was learned.
    pub fn close(&mut self, slot: Slot) {
        if let Some(bytes) = self.open.remove(&slot) {
            debug_assert!(slot < self.next_slot && bytes <= self.open_bytes, "open bytes are miscounted");
            self.open_bytes -= bytes;
        }
        assert!(!self.open.is_empty() || self.open_bytes == 0, "open bytes are miscounted");
    }

    /// Whether learning a value for `slot` other than the one held (if any) shows that a newer leader had it
    /// chosen: this leader has proposed for the slot, or has not reached it yet (P-06f).
    pub fn is_overtaken_at(&self, slot: Slot) -> bool {
        self.open.contains_key(&slot) || slot >= self.next_slot
    }

    /// Sends accepts that have been open for a whole interval again, to the peers whose vote is missing.
    fn resend_open<P: Payload>(&mut self, learner: &Learner<P>, cx: &mut Context<'_, P>) {
        if cx.now.mono < self.next_resend {
            return;
        }
        let (ballot, chosen) = (self.ballot, learner.chosen());
        let (setup, now) = (cx.setup, cx.now.mono);
        self.next_resend = now.plus(setup.timing.resend);
        let mark = self.resend_mark;
        self.resend_mark = self.next_slot.previous();
        let spares_low = self.spares_low(cx.space, setup);
        let mut budget = limits::PEER_CHUNK_BYTES;
        for &slot in self.open.range(..=mark).map(|(slot, _)| slot) {
            let open = learner.held(slot).expect("an open slot is held");
            assert!(open.ballot == ballot && !open.chosen, "an open slot is another leader's");
            let payload = open.payload.as_ref().expect("a leader sheds nothing");
            for peer in self.peers.iter().filter(|peer| peer.is_overdue(&setup.timing, now)) {
                let is_spared = spares_low && slot > self.start_slot && peer.is_low();
                if !is_spared && setup.bit_of(peer.node()).is_some_and(|bit| open.acks & bit == 0) {
                    let message = GroupMessage::Accept { ballot, slot, chosen, payload: payload.clone() };
                    cx.send(peer.node(), message);
                }
            }
            match budget.checked_sub(payload.as_ref().len()) {
                Some(rest) => budget = rest,
                None => break,
            }
        }
    }

    // ---- heartbeats, leases, reads ------------------------------------------------------------------------

    /// The latest time at or after which an accept quorum confirmed this leader.
    fn confirmed(&self, setup: &Setup, now: Mono) -> Mono {
        self.peers.confirmed(setup.accept_quorum() as usize, now)
    }

    /// What it believes of its peers.
    pub fn peer_views(&self, now: Mono) -> impl Iterator<Item = PeerView> {
        self.peers.iter().map(move |peer| peer.view(now))
    }

    /// Whether it leads under an unexpired lease at `now` (P-07b) that it has not given up (P-17a).
    pub fn lease_valid(&self, setup: &Setup, now: Mono) -> bool {
        let is_released = self.has_released();
        #[cfg(feature = "canary")]
        let is_released = is_released && !setup.has(Canary::LeaseAfterTransfer);
        let confirmed = self.confirmed(setup, now);
        let timing = &setup.timing;
        !is_released && confirmed > Mono::ZERO && confirmed.plus(timing.lease) > now.plus(timing.drift)
    }

    /// A ticket above every heartbeat sent so far (P-07f). It requests a heartbeat at the end of the turn.
    pub fn read_ticket(&mut self) -> Mono {
        self.heartbeat_wanted = true;
        Mono(self.last_sent_at.0 + 1)
    }

    /// Whether a quorum has answered a heartbeat at or above the ticket.
    pub fn ticket_valid(&self, ticket: Mono, setup: &Setup, now: Mono) -> bool {
        debug_assert!(ticket <= Mono(self.last_sent_at.0 + 1), "a ticket of another leader");
        setup.accept_quorum() <= 1 || self.confirmed(setup, now) >= ticket
    }

    /// Sends heartbeats if a read asked for them this turn.
    pub fn heartbeat_if_wanted<P: Payload>(&mut self, chosen: Slot, cx: &mut Context<'_, P>) {
        if self.heartbeat_wanted {
            self.send_heartbeats(chosen, cx);
        }
    }

    pub fn send_heartbeats<P: Payload>(&mut self, chosen: Slot, cx: &mut Context<'_, P>) {
        if self.has_released() {
            return; // it would keep the transfer target from standing
        }
        let now = cx.now.mono;
        // Strictly rising, so that an answer identifies one heartbeat.
        let sent_at = now.max(Mono(self.last_sent_at.0 + 1));
        assert!(sent_at > self.last_sent_at, "two heartbeats at one time");
        self.last_sent_at = sent_at;
        self.next_heartbeat = now.plus(cx.setup.timing.heartbeat);
        self.heartbeat_wanted = false;
        let time = self.time.read(now).unwrap_or(WallMs::ZERO);
        let heartbeat = Heartbeat { group: cx.setup.group(), ballot: self.ballot, chosen, sent_at, time };
        for peer in self.peers.iter() {
            cx.out.push(Effect::Heartbeat { to: peer.node(), heartbeat });
        }
    }

    /// A peer answered a heartbeat.
    pub fn on_heartbeat_reply<P>(
        &mut self,
        from: NodeId,
        reply: HeartbeatReply,
        cx: &Context<'_, P>,
    ) -> Handled {
        if reply.ballot != self.ballot {
            return Err(Ignored::OtherBallot);
        }
        if reply.sent_at > self.last_sent_at {
            return Err(Ignored::UnknownHeartbeat);
        }
        let peer = self.peers.get_mut(from).ok_or(Ignored::Stranger)?;
        #[cfg(feature = "canary")]
        let reply = if cx.setup.has(Canary::HeartbeatConfirmsLast) {
            HeartbeatReply { sent_at: self.last_sent_at, ..reply }
        } else {
            reply
        };
        peer.note_reply(&reply, cx.now.mono);
        assert!(peer.heard_at() <= self.last_sent_at, "an answer to a heartbeat that was not sent");
        Ok(())
    }

    /// The link to a peer broke.
    pub fn on_link_lost<P>(&mut self, node: NodeId, cx: &mut Context<'_, P>) {
        let Some(peer) = self.peers.get_mut(node) else { return }; // of a node that is in other groups
        peer.note_link_lost(self.last_sent_at);
        // A restarted target is silent for one lease (P-07c) and would leave the group without a leader for
        // that time.
        if self.transfers.under_way().is_some_and(|transfer| transfer.is_to(node)) {
            self.give_transfer_up(cx);
        }
    }

    /// Time passed. `floor` is the latest applied time stamp.
    pub fn on_tick<P: Payload>(
        &mut self,
        log: LogState,
        floor: WallMs,
        learner: &Learner<P>,
        cx: &mut Context<'_, P>,
    ) -> AfterTick {
        let now = cx.now.mono;
        assert!(self.since <= now, "time went back");
        if self.time.comes_due(now) {
            self.steer_clock(floor, cx.setup, cx.now);
        }
        let patience = cx.setup.timing.lease.0 * 2;
        let age = now.since(self.since).0;
        let unconfirmed = now.since(self.confirmed(cx.setup, now).max(self.since)).0;
        // A leader that no quorum answers must stop sending heartbeats, or followers that still hear it would
        // refuse a better candidate (P-06g). The same holds for a leader that cannot catch up.
        if unconfirmed > patience {
            self.take_leave(learner.chosen(), cx);
            return AfterTick::StepsDown(LeadershipEnd::NoQuorum);
        }
        if !self.has_caught_up(learner.applied()) && age > 4 * patience {
            return AfterTick::StepsDown(LeadershipEnd::NotCaughtUp);
        }
        self.watch_lease(cx);
        #[cfg(feature = "canary")]
        let is_silent = log.is_stalled && cx.setup.has(Canary::SilentWhenStalled);
        #[cfg(not(feature = "canary"))]
        let is_silent = false;
        if now >= self.next_heartbeat && !is_silent {
            self.send_heartbeats(learner.chosen(), cx);
        }
        self.resend_open(learner, cx);
        if let Some(ballot) = self.release_if_drained(learner, cx) {
            return AfterTick::Released(ballot);
        }
        if let Some(since) = log.lags_since
            && let Some(heir) = self.heir(since, learner.chosen(), cx.setup, now)
        {
            return self.hand_over_open(heir, learner.chosen(), cx);
        }
        self.end_transfer_if_over(log.is_stalled, cx)
    }

    /// A leader that hears no quorum may still be heard. Its lease has ended, and the peer that it heard last
    /// need not wait for the one that it granted (P-06g).
    fn take_leave<P: Payload>(&self, chosen: Slot, cx: &mut Context<'_, P>) {
        assert!(!self.lease_valid(cx.setup, cx.now.mono), "it takes leave and may still be read from");
        if self.has_released() {
            return; // its heir was told
        }
        #[cfg(feature = "canary")]
        if cx.setup.has(Canary::LeavesSilently) {
            return;
        }
        if let Some(heir) = heirs::heard_last(&self.peers, chosen) {
            cx.send(heir, GroupMessage::TimeoutNow { ballot: self.ballot, chosen });
        }
    }

    /// Tells the operator when the lease ends, and when it holds again.
    fn watch_lease<P>(&mut self, cx: &mut Context<'_, P>) {
        if self.has_released() {
            return; // it was given up, which has an event of its own
        }
        let has_lease = self.lease_valid(cx.setup, cx.now.mono);
        let (group, ballot) = (cx.setup.group(), self.ballot);
        match self.had_lease {
            Some(true) if !has_lease => cx.tell(Event::LeaseLost { group, ballot }),
            Some(false) if has_lease => cx.tell(Event::LeaseRegained { group, ballot }),
            None if !has_lease => return, // its first lease is still to come
            _ => {}
        }
        self.had_lease = Some(has_lease);
    }

    // ---- transfers (P-17) ---------------------------------------------------------------------------------

    /// Whether leadership could pass to `target` without a pause that clients would notice: the target
    /// answered a heartbeat within a lease, holds nearly all chosen entries, has room, has no answer overdue,
    /// and its log is not much slower than `own_log`.
    pub fn could_transfer_to(
        &self,
        target: NodeId,
        own_log: Nanos,
        chosen: Slot,
        setup: &Setup,
        now: Mono,
    ) -> bool {
        self.peers.get(target).is_some_and(|peer| heirs::is_ready(peer, own_log, chosen, &setup.timing, now))
    }

    /// The peers that it hears.
    pub fn heirs(
        &self,
        own_log: Nanos,
        chosen: Slot,
        setup: &Setup,
        now: Mono,
    ) -> impl Iterator<Item = Heir> {
        let heard = heirs::heard(&self.peers, own_log, chosen, setup.timing, now);
        // One that did not get ready would cost the group the same again.
        heard.map(move |heir| {
            let is_new = !self.transfers.was_unready(heir.node, setup.timing.lease, now);
            Heir { is_fit: heir.is_fit && is_new, is_ready: heir.is_ready && is_new, ..heir }
        })
    }

    /// Whether a pre-vote that names `after` as given up asks this leader, which has not given up its lease, to
    /// give way (P-09f).
    pub fn is_asked_to_give_way(&self, after: Ballot) -> bool {
        after == self.ballot && !self.has_released()
    }

    /// `target` hears this leader, and a member that does not. If this leader hears `target` alone, that one is
    /// to lead: it reaches more. Where this leader hears others too, it is not known which of the two reaches
    /// more, and leadership might wander for ever. Nor does a new leader give way.
    pub fn give_way<P: Payload>(
        &mut self,
        target: NodeId,
        learner: &Learner<P>,
        cx: &mut Context<'_, P>,
    ) -> Handled {
        let (lease, now) = (cx.setup.timing.lease, cx.now.mono);
        let mut others = self.peers.iter().filter(|peer| peer.node() != target);
        let hears_another = others.clone().any(|peer| peer.heard_at().plus(lease) >= now);
        let silent = others.next().filter(|_| !hears_another).ok_or(Ignored::NobodyCutOff)?.node();
        if now.since(self.since) < lease {
            return Err(Ignored::NotServing);
        }
        // Nothing is proposed while the target gets ready.
        let is_tried = self.transfers.was_unready(target, lease, now);
        #[cfg(feature = "canary")]
        let is_tried = is_tried && !cx.setup.has(Canary::HandsOverInVain);
        if is_tried {
            return Err(Ignored::UnfitTarget);
        }
        #[cfg(feature = "canary")]
        if cx.setup.has(Canary::KeepsCutOff) {
            return Err(Ignored::NobodyCutOff);
        }
        self.start_transfer(target, learner, cx)?;
        cx.tell(Event::CutOff { group: cx.setup.group(), peer: silent, target });
        Ok(())
    }

    /// Begins a transfer to `target`: nothing new is proposed from now on. Once all open slots are chosen and
    /// applied and the target has answered for them, it is told to stand.
    pub fn start_transfer<P: Payload>(
        &mut self,
        target: NodeId,
        learner: &Learner<P>,
        cx: &mut Context<'_, P>,
    ) -> Handled {
        let (lease, now) = (cx.setup.timing.lease, cx.now.mono);
        let peer = self.peers.get(target).ok_or(Ignored::UnfitTarget)?;
        if peer.is_low() || !peer.is_fit(learner.chosen(), lease, now) {
            return Err(Ignored::UnfitTarget);
        }
        if !self.serves(learner.applied()) {
            return Err(Ignored::NotServing);
        }
        if self.is_transferring() {
            return Err(Ignored::TransferUnderWay);
        }
        assert!(target != cx.setup.node(), "handed over to oneself");
        self.transfers.begin(Transfer::new(target, now.plus(lease)));
        cx.tell(Event::TransferBegun { group: cx.setup.group(), ballot: self.ballot, target });
        Ok(())
    }

    /// Gives the lease up and tells the target, if a transfer is under way and nothing is left to do (P-17a).
    /// Returns the ballot whose lease was given up.
    pub fn release_if_drained<P: Payload>(
        &mut self,
        learner: &Learner<P>,
        cx: &mut Context<'_, P>,
    ) -> Option<Ballot> {
        let transfer = self.transfers.under_way().filter(|transfer| !transfer.is_released())?;
        let (target, chosen) = (transfer.target(), learner.chosen());
        let (lease, now) = (cx.setup.timing.lease, cx.now.mono);
        let peer = self.peers.get(target).expect("leadership goes to a peer");
        let is_drained = learner.applied() == chosen && self.next_slot == chosen.next() && peer.is_quiet();
        // The target may have fallen behind since, or be gone: then the lease is kept.
        if !is_drained || !peer.is_fit(chosen, lease, now) {
            return None;
        }
        assert!(self.open.is_empty(), "a lease is given up with slots open");
        self.transfers.release(now.plus(lease));
        cx.send(target, GroupMessage::TimeoutNow { ballot: self.ballot, chosen });
        Some(self.ballot)
    }

    /// The peer that is to lead instead of this replica, whose log makes no progress since `since` (P-09b): the
    /// one whose log is the fastest, if an accept quorum of others has written since then what this leader
    /// proposed. While no log moves, or none is known to, nothing would be better elsewhere.
    fn heir(&self, since: Mono, chosen: Slot, setup: &Setup, now: Mono) -> Option<NodeId> {
        if self.has_released() {
            return None;
        }
        #[cfg(feature = "canary")]
        if setup.has(Canary::LeadsThoughStalled) {
            return None;
        }
        heirs::fastest(&self.peers, since, chosen, setup, now)
    }

    /// Gives the lease up at once and tells `heir` to stand. The slots that are open are decided by it, or by
    /// votes that come yet; no read relies on them.
    fn hand_over_open<P: Payload>(
        &mut self,
        heir: NodeId,
        chosen: Slot,
        cx: &mut Context<'_, P>,
    ) -> AfterTick {
        assert!(!self.has_released(), "a lease is given up once");
        let (group, until) = (cx.setup.group(), cx.now.mono.plus(cx.setup.timing.lease));
        self.transfers.begin(Transfer::at_once(heir, until));
        cx.tell(Event::StalledHandover { group, ballot: self.ballot, target: heir });
        cx.send(heir, GroupMessage::TimeoutNow { ballot: self.ballot, chosen });
        AfterTick::Released(self.ballot)
    }

    /// The target of a transfer says that it does not take over: the transfer is over at the next tick.
    pub fn on_refused(&mut self, by: NodeId, now: Mono) -> Handled {
        if self.transfers.refused(by, now) { Ok(()) } else { Err(Ignored::OtherBallot) }
    }

    /// Ends a transfer whose target did not take over in time: the leader goes on, or stands in a new ballot
    /// if its lease is given up (P-17c). With a log that makes no progress it only steps down.
    fn end_transfer_if_over<P>(&mut self, is_stalled: bool, cx: &mut Context<'_, P>) -> AfterTick {
        let Some(transfer) = self.transfers.under_way().filter(|transfer| transfer.is_over(cx.now.mono))
        else {
            return AfterTick::Leads;
        };
        if transfer.is_released() {
            return if is_stalled {
                AfterTick::GivesWay(self.ballot)
            } else {
                AfterTick::StandsAnew(self.ballot)
            };
        }
        self.give_transfer_up(cx);
        AfterTick::Leads
    }

    /// The leader goes on, its lease kept.
    fn give_transfer_up<P>(&mut self, cx: &mut Context<'_, P>) {
        let Some(target) = self.transfers.give_up(cx.now.mono) else { return };
        let group = cx.setup.group();
        cx.tell(Event::TransferGivenUp { group, ballot: self.ballot, target });
    }

    pub fn is_transferring(&self) -> bool {
        self.transfers.under_way().is_some()
    }

    /// Whether it has given its lease up.
    fn has_released(&self) -> bool {
        self.transfers.under_way().is_some_and(|transfer| transfer.is_released())
    }

    // ---- time (P-16) --------------------------------------------------------------------------------------

    /// A winner's clock continues from the last leader's clock, as reported by its quorum and known to itself
    /// (P-16d).
    pub fn inherit_time<P>(
        &mut self,
        times: &BTreeMap<NodeId, Report>,
        known: &KnownTime,
        cx: &Context<'_, P>,
    ) {
        let now = cx.now.mono;
        assert!(!self.time.is_set(), "a clock that runs is steered");
        let own = Report { report: known.report(cx.now), asked: now, at: now };
        let reports: Vec<Report> = times.values().copied().chain([own]).collect();
        // A follower that has heard no leader for about this long stands itself.
        let timing = &cx.setup.timing;
        let fresh = Nanos(2 * timing.lease.0 + timing.election_jitter.0);
        let inherited = inherited(&reports, fresh, now);
        #[cfg(feature = "canary")]
        let inherited = match cx.setup.canary {
            // The old bug: each leader uses its own wall clock.
            Some(Canary::ClockOfTheWinner) => Some(cx.now.wall),
            _ => inherited,
        };
        for peer in self.peers.iter_mut() {
            let heard = times.get(&peer.node());
            peer.set_wall(heard.and_then(|heard| Reading::new(heard.report.wall, heard.asked, heard.at)));
        }
        self.time.go_on_from(inherited, known.applied(), now);
        self.steer_clock(known.applied(), cx.setup, cx.now);
    }

    /// Compares the clock with the wall clocks of all members.
    fn steer_clock(&mut self, floor: WallMs, setup: &Setup, now: Now) {
        let others = self.peers.iter().filter_map(|peer| peer.wall()?.now(now.mono));
        let readings = Readings::of(others.chain([now.wall]));
        self.time.steer(&readings, setup.majority(), floor, now);
    }

    /// An entry with time stamp `floor` was applied: the clock must not be earlier.
    pub fn raise_clock(&mut self, floor: WallMs, now: Mono) {
        self.time.raise(floor, now);
    }

    /// The time of the group's clock, if it is set.
    pub fn clock(&self, now: Mono) -> Option<WallMs> {
        self.time.read(now)
    }

    /// How far the clock was ahead of the wall clocks that agree, when last compared.
    pub fn skew_ms(&self) -> Option<i64> {
        self.time.skew_ms()
    }

    // ---- accessors ----------------------------------------------------------------------------------------

    pub fn ballot(&self) -> Ballot {
        self.ballot
    }

    /// The slot the next proposal gets.
    pub fn next_slot(&self) -> Slot {
        self.next_slot
    }

    /// The number of slots proposed and not chosen yet.
    pub fn in_flight(&self) -> u64 {
        self.open.len() as u64
    }

    /// Whether everything chosen before it led is applied (P-06e).
    fn has_caught_up(&self, applied: Slot) -> bool {
        applied >= self.start_slot
    }

    /// Whether it has caught up and its clock is set.
    pub fn serves(&self, applied: Slot) -> bool {
        self.time.is_set() && self.has_caught_up(applied)
    }

    /// Whether the window (P-14a) and the log (P-18) have room for another slot, and no transfer is under way
    /// (P-17a).
    pub fn can_propose(&self, chosen: Slot, space: &LogSpace) -> bool {
        debug_assert!(self.next_slot > chosen, "the next slot is chosen already");
        !self.is_transferring()
            && !space.is_low()
            && self.next_slot.since(chosen) <= limits::WINDOW_SLOTS_MAX
            && self.open_bytes < limits::WINDOW_BYTES_MAX
    }

    /// The level that every member can read, once all of them have told this leader theirs (P-19a).
    pub fn level_of_all(&self, setup: &Setup) -> Option<Level> {
        #[cfg(feature = "canary")]
        if setup.has(Canary::LevelByQuorum) {
            let read = self.peers.iter().filter(|peer| peer.level() >= Some(setup.level)).count();
            return (read + 1 >= setup.accept_quorum() as usize).then_some(setup.level);
        }
        self.peers.iter().try_fold(setup.level, |level, peer| Some(level.min(peer.level()?)))
    }

    /// Whether a proposal can be chosen, and if not, under which other leader it could (P-18d).
    pub fn writable(&self, chosen: Slot, space: &LogSpace, setup: &Setup, now: Mono) -> Writable {
        let lease = setup.timing.lease;
        // Two leases, so that a peer that misses a heartbeat does not count as gone. A new leader gives every
        // peer this time for its first answer.
        let span = Nanos(2 * lease.0);
        let heard_of = || self.peers.iter().filter(|peer| peer.heard_at().max(self.since).plus(span) > now);
        let capable = heard_of().filter(|peer| !peer.is_low()).count() + usize::from(!space.is_low());
        debug_assert!(capable <= setup.voter_count(), "more members have room than there are");
        let has_quorum = capable >= setup.accept_quorum() as usize;
        if !space.is_low() {
            // Only room is judged here: a peer that has not answered may have room.
            let is_writable = has_quorum || !heard_of().any(Peer::is_low);
            return if is_writable { Writable::Yes } else { Writable::No };
        }
        if !has_quorum {
            return Writable::No;
        }
        // Disks that fill at the same rate fill at the same time: answers to heartbeats from before this log
        // was low do not count.
        if heard_of().any(|peer| !peer.is_low() && peer.heard_at() <= space.low_since()) {
            return Writable::Unclear;
        }
        let target = heirs::of_turn(&self.peers, setup.group(), chosen, lease, now);
        target.map_or(Writable::Unclear, Writable::Elsewhere)
    }

    /// Checks the invariants that hold between steps. `promised` is this replica's promise.
    pub fn invariants(&self, promised: Ballot, chosen: Slot, setup: &Setup) {
        assert!(self.ballot.node() == setup.node(), "leads in a foreign ballot");
        assert!(self.ballot == promised, "leads below its own promise");
        assert!(self.next_slot > chosen, "next slot already chosen");
        let transfer = self.transfers.under_way();
        let is_drained = transfer.is_some_and(|transfer| transfer.is_released() && !transfer.leaves_open());
        assert!(!is_drained || self.open.is_empty(), "proposed after handing over");
        assert!(self.start_slot < self.next_slot && self.resend_mark < self.next_slot);
        let (first, last) = (self.open.first_key_value(), self.open.last_key_value());
        assert!(first.is_none_or(|(&slot, _)| slot > chosen), "a chosen slot is open");
        assert!(last.is_none_or(|(&slot, _)| slot < self.next_slot), "a slot is open that was not proposed");
        assert!(self.open.values().sum::<usize>() == self.open_bytes, "open bytes are miscounted");
        let target = transfer.map(|transfer| transfer.target());
        assert!(target.is_none_or(|target| setup.is_peer(target)), "leadership goes to a peer");
        self.peers.invariants();
    }
}

/// An entry without commands: it fills a slot and carries the leader's time stamp.
fn no_op<P: Payload>(origin: Ballot, time: WallMs) -> P {
    P::from(EntryBuilder::<P>::new().finish(origin, time))
}
