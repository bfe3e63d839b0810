//! The roles of one replica together: dispatches each input to the parts that it concerns, in order, and
//! makes the transitions from one role to another.
//!
//! ```text
//!   Input ──▶ Roles::handle ──▶ Acceptor   promises, accepts, grants        ─┐
//!                │              Learner    watermarks, values, recalls       ├─▶ effects (Context)
//!                │              RoleState  (pre-)candidate or leader         │
//!                │              Election   leaders heard, when to stand     ─┘
//!                └─ transitions: stand up, stand, win, yield, step down
//! ```

use crate::acceptor::{Acceptor, Prepare, Promising};
#[cfg(feature = "canary")]
use crate::api::Canary;
use crate::api::{Input, LogState, Receipt, Role};
use crate::candidate::{Candidate, PreCandidate, PromisePart, Won};
use crate::clock::KnownTime;
use crate::context::Context;
use crate::election::Election;
use crate::ignored::{Handled, Ignored};
use crate::leader::{AfterTick, Leader};
use crate::learner::Learner;
use crate::recall::Needed;
use crate::role_state::RoleState;
use crate::setup::Setup;
use crate::transfer::{FAR_BEHIND_SLOTS, HEIR_PAUSE_LEASES};
use alloc::vec::Vec;
use synod_types::{
    Ballot, ElectionEnd, Event, GroupMessage, Heartbeat, LeadershipEnd, Learned, Mono, Nanos, NodeId,
    Payload, Slot, limits,
};

/// A replica whose node is about to stop lets others stand for so many leases more.
const OTHERS_FIRST_LEASES: u64 = 3;

/// A follower that lacks this many chosen slots is reported as behind, and as caught up once it lacks less
/// than an eighth of them. It is twice the distance from which a replica is too far behind to lead, so that
/// a burst of writes is no news.
const BEHIND_SLOTS: u64 = 2 * FAR_BEHIND_SLOTS;

/// The parts of a replica that have a role in the protocol.
#[derive(Debug)]
pub(crate) struct Roles<P> {
    pub acceptor: Acceptor,
    pub learner: Learner<P>,
    pub election: Election,
    pub time: KnownTime,
    pub state: RoleState<P>,
    /// When a peer last did not take over what was handed to it.
    heir_failed_at: Option<Mono>,
    /// Whether the log made no progress at the last tick.
    is_stalled: bool,
    /// Whether this node is about to stop (P-17g).
    is_leaving: bool,
    /// Whether it has let others stand first since a leader was last heard.
    has_let_others: bool,
    /// What the operator was told last about this replica.
    told: Told,
}

/// States whose begin was told and whose end is to be told.
#[derive(Debug, Default)]
struct Told {
    is_silent: bool,
    is_behind: bool,
}

impl<P: Payload> Roles<P> {
    pub fn new() -> Self {
        Self {
            acceptor: Acceptor::default(),
            learner: Learner::new(),
            election: Election::default(),
            time: KnownTime::default(),
            state: RoleState::Follower,
            heir_failed_at: None,
            is_stalled: false,
            is_leaving: false,
            has_let_others: false,
            told: Told::default(),
        }
    }

    /// Handles one input.
    pub fn handle(&mut self, input: Input<P>, cx: &mut Context<'_, P>) -> Handled {
        match input {
            Input::Message { from, message } => return self.on_message(from, message, cx),
            Input::Heartbeat { from, heartbeat } => return self.on_heartbeat(from, heartbeat, cx),
            Input::HeartbeatReply { from, reply } => {
                return self.state.leader_mut()?.on_heartbeat_reply(from, reply, cx);
            }
            Input::Watermark { from, ballot, chosen } => {
                return self.on_read_index(from, ballot, chosen, cx);
            }
            Input::TransferLeadership { target } => {
                return self.state.leader_mut()?.start_transfer(target, &self.learner, cx);
            }
            Input::Propose { payload } => {
                let leader = self.state.leader_mut().expect("only a leader is asked to propose");
                leader.propose(payload, &mut self.learner, cx);
            }
            Input::Located { slot, ballot, at } => self.learner.locate(slot, ballot, at),
            Input::Durable { receipt } => self.on_durable(receipt, cx),
            Input::Recalled { slot, ballot, payload } => {
                self.learner.on_recalled(slot, ballot, payload, cx.out);
            }
            Input::Tick { log } => self.on_tick(log, cx),
            Input::Room { space, is_behind } => {
                cx.space.change(space, is_behind, self.acceptor.promised(), cx.now.mono);
            }
            Input::Dropped { from } => self.learner.on_dropped(from, cx),
            Input::LinkLost { node } => {
                if let RoleState::Leader(leader) = &mut self.state {
                    leader.on_link_lost(node, cx);
                }
                self.learner.on_link_lost(node, self.state.role(), cx);
            }
        }
        Ok(())
    }

    fn on_message(&mut self, from: NodeId, message: GroupMessage<P>, cx: &mut Context<'_, P>) -> Handled {
        if !cx.setup.is_peer(from) {
            return Err(Ignored::Stranger);
        }
        match message {
            GroupMessage::PreVote { ballot, after } => {
                let has_failed = self.has_heir_failed(cx);
                if let Ok(leader) = self.state.leader_mut()
                    && leader.is_asked_to_give_way(after)
                {
                    if has_failed {
                        return Err(Ignored::UnfitTarget);
                    }
                    return leader.give_way(from, &self.learner, cx);
                }
                let is_bound = self.is_bound_against(from, after, cx);
                self.acceptor.on_pre_vote(from, ballot, is_bound, self.learner.chosen(), cx);
                if is_bound && self.state.is_follower() && after == Ballot::ZERO {
                    self.election.note_cut_off(from, ballot, cx.setup.timing.lease, cx.now.mono);
                }
                Ok(())
            }
            GroupMessage::PreVoteReply { ballot, granted, promised, chosen } => {
                self.election.note_round(promised.round());
                self.learner.pull_towards(from, chosen, self.state.role(), cx);
                self.on_vote(from, ballot, granted, chosen, cx)
            }
            GroupMessage::Prepare { ballot, after, from: first } => {
                self.on_prepare(Prepare { from, ballot, first }, after, cx)
            }
            GroupMessage::Promise { ballot, chosen, answer, part, part_count, time, reported } => {
                let part = PromisePart { ballot, chosen, answer, part, part_count, time, reported };
                if self.state.candidate_mut()?.on_promise(from, part, cx)? {
                    self.settle_promises(cx);
                }
                Ok(())
            }
            GroupMessage::Accept { ballot, slot, chosen, payload } => {
                self.on_accept(from, ballot, slot, chosen, payload, cx)
            }
            GroupMessage::Accepted { ballot, slot } => {
                self.state.leader_mut()?.on_accepted(from, ballot, slot, &mut self.learner, cx)
            }
            GroupMessage::Nack { ballot, promised } => self.on_nack(ballot, promised, cx),
            GroupMessage::Fetch { from: first } => {
                self.learner.on_fetch(from, first, cx);
                Ok(())
            }
            GroupMessage::Learn { chosen, entries } => self.on_learn(from, chosen, entries, cx),
            GroupMessage::TimeoutNow { ballot, chosen } => self.on_timeout_now(from, ballot, chosen, cx),
        }
    }

    /// Asks the leader to give way (P-09f), if a member that hears this replica does not hear the leader: this
    /// replica hears both. Its pre-vote names the ballot of that leader.
    fn ask_leader_to_give_way(&mut self, cx: &mut Context<'_, P>) {
        let me = cx.setup.node();
        let Some(leader) = self.election.live_leader().filter(|leader| leader.node() != me) else { return };
        if self.check_may_take_over(cx).is_ok() && self.election.knows_cut_off(leader, cx.now.mono) {
            let ballot = self.acceptor.next_ballot(self.election.round_seen(), cx.setup);
            cx.send(leader.node(), GroupMessage::PreVote { ballot, after: leader });
        }
    }

    /// Whether a peer has not taken over what was handed to it a short while ago: each attempt costs the group a
    /// lease.
    fn has_heir_failed(&self, cx: &Context<'_, P>) -> bool {
        let pause = Nanos(HEIR_PAUSE_LEASES * cx.setup.timing.lease.0);
        self.heir_failed_at.is_some_and(|at| cx.now.mono.since(at) < pause)
    }

    /// Whether this replica would take a leadership that is handed to it.
    fn check_may_take_over(&self, cx: &Context<'_, P>) -> Handled {
        if self.is_leaving {
            return Err(Ignored::Leaving);
        }
        if cx.space.is_low() {
            return Err(Ignored::NoRoom);
        }
        if self.acceptor.is_silent(cx.now.mono) {
            return Err(Ignored::Bound);
        }
        #[cfg(feature = "canary")]
        if cx.setup.has(Canary::AsksThoughStalled) {
            return Ok(());
        }
        // Its promise would not become durable, and would depose whoever is elected instead when it does.
        if self.is_stalled { Err(Ignored::AwaitingDisk) } else { Ok(()) }
    }

    /// This node is about to stop: this replica takes nothing over, and lets others stand first.
    pub fn leave(&mut self) {
        self.is_leaving = true;
    }

    // ---- the acceptor's inputs ----------------------------------------------------------------------------

    /// Whether this replica's grant, its silence, or the lease it holds itself (P-07e) forbids it to promise
    /// `node`.
    fn is_bound_against(&self, node: NodeId, after: Ballot, cx: &Context<'_, P>) -> bool {
        self.acceptor.is_bound_against(node, after, cx.now.mono)
            || self.state.lease_valid(cx.setup, cx.now.mono)
    }

    fn on_prepare(&mut self, prepare: Prepare, after: Ballot, cx: &mut Context<'_, P>) -> Handled {
        if prepare.ballot.node() != prepare.from {
            return Err(Ignored::ForeignBallot);
        }
        if self.is_bound_against(prepare.from, after, cx) {
            return Err(Ignored::Bound);
        }
        self.election.note_round(prepare.ballot.round());
        let promising = self.acceptor.judge_prepare(prepare, &mut self.learner, cx)?;
        if promising == Promising::Anew {
            self.step_down(LeadershipEnd::HigherBallot, cx);
            self.election.arm(cx);
        }
        self.acceptor.answer_prepare(prepare, promising, &self.learner, &self.time, cx);
        assert!(self.acceptor.promised() == prepare.ballot, "a promise of another ballot was sent");
        assert!(self.state.proposing_in().is_none(), "it promises another and proposes itself");
        Ok(())
    }

    fn on_accept(
        &mut self,
        from: NodeId,
        ballot: Ballot,
        slot: Slot,
        chosen: Slot,
        payload: P,
        cx: &mut Context<'_, P>,
    ) -> Handled {
        if ballot.node() != from {
            return Err(Ignored::ForeignBallot);
        }
        if slot == Slot::ZERO {
            return Err(Ignored::Malformed);
        }
        self.acceptor.check_not_old(from, ballot, cx)?;
        if self.state.stands_after(ballot) {
            return Err(Ignored::Transferred);
        }
        self.follow_leader(ballot, cx);
        let handled = self.acceptor.accept(from, ballot, slot, payload, &mut self.learner, cx);
        debug_assert!(handled.is_err() || self.acceptor.promised() == ballot, "accepted without a promise");
        self.learner.mark_late(ballot, slot);
        self.learner.on_watermark(ballot, chosen);
        handled
    }

    fn on_heartbeat(&mut self, from: NodeId, heartbeat: Heartbeat, cx: &mut Context<'_, P>) -> Handled {
        if !cx.setup.is_peer(from) {
            return Err(Ignored::Stranger);
        }
        if heartbeat.ballot.node() != from {
            return Err(Ignored::ForeignBallot);
        }
        self.acceptor.check_not_old(from, heartbeat.ballot, cx)?;
        if self.state.stands_after(heartbeat.ballot) {
            return Err(Ignored::Transferred);
        }
        self.follow_leader(heartbeat.ballot, cx);
        let handled = self.acceptor.on_heartbeat(from, heartbeat, &mut self.learner, &mut self.time, cx);
        let has_promised = self.acceptor.promised() == heartbeat.ballot;
        assert!(handled.is_err() || has_promised, "follows a leader that it has not promised");
        self.learner.on_watermark(heartbeat.ballot, heartbeat.chosen);
        self.learner.pull_up_to_watermark(from, Role::Follower, cx);
        handled
    }

    // ---- the learner's inputs -----------------------------------------------------------------------------

    /// A leader's chosen watermark, in answer to a read-index question (P-07g). A replica that leads or
    /// stands for election ignores it.
    fn on_read_index(
        &mut self,
        from: NodeId,
        ballot: Ballot,
        chosen: Slot,
        cx: &mut Context<'_, P>,
    ) -> Handled {
        if !self.state.is_follower() {
            return Err(Ignored::NotFollowing);
        }
        if ballot < self.acceptor.promised() {
            return Err(Ignored::OldBallot);
        }
        if cx.setup.bit_of(from).is_none() {
            return Err(Ignored::Stranger);
        }
        if ballot.node() != from {
            return Err(Ignored::ForeignBallot);
        }
        self.learner.on_watermark(ballot, chosen);
        self.learner.pull_up_to_watermark(from, Role::Follower, cx);
        Ok(())
    }

    fn on_learn(
        &mut self,
        from: NodeId,
        chosen: Slot,
        entries: Vec<Learned<P>>,
        cx: &mut Context<'_, P>,
    ) -> Handled {
        // Several values, or a long one, answer a fetch. One short value is the last that the peer has, or
        // answers an accept.
        let bytes: usize = entries.iter().map(|entry| entry.payload.as_ref().len()).sum();
        let is_batch = entries.len() > 1 || bytes > limits::PEER_CHUNK_BYTES / 2;
        // The message counts as ignored at most once, however many of its values are ignored.
        let (mut handled, before) = (Ok(()), self.learner.chosen());
        for entry in entries {
            handled = self.learn(entry, cx).and(handled);
        }
        debug_assert!(self.learner.chosen() >= before, "the prefix went back");
        self.learner.pull_on(from, chosen, is_batch, self.state.role(), cx);
        handled
    }

    fn learn(&mut self, learned: Learned<P>, cx: &mut Context<'_, P>) -> Handled {
        let (slot, ballot) = (learned.slot, learned.ballot);
        if slot <= self.learner.chosen() {
            return self.learner.learn_again(learned, cx);
        }
        if self.learner.is_too_far(slot) {
            return Err(Ignored::TooFar);
        }
        self.election.note_round(ballot.round());
        if self.is_overtaken_by(&learned) {
            self.step_down(LeadershipEnd::Overtaken, cx);
        }
        self.learner.learn(learned, self.state.role(), cx)?;
        debug_assert!(self.learner.held(slot).is_some_and(|open| open.chosen), "{slot} was learned in vain");
        if let RoleState::Leader(leader) = &mut self.state {
            leader.close(slot);
        }
        Ok(())
    }

    /// Whether a chosen value shows that a newer ballot has overtaken this proposer, which did not propose
    /// that value itself: it steps down (P-06f).
    fn is_overtaken_by(&self, learned: &Learned<P>) -> bool {
        let Learned { slot, ballot, ref payload } = *learned;
        debug_assert!(slot > self.learner.chosen(), "a slot of the prefix overtakes no waiter");
        match &self.state {
            RoleState::Follower | RoleState::PreCandidate(_) => false,
            RoleState::Candidate(candidate) => ballot > candidate.ballot(),
            RoleState::Leader(leader) => {
                let is_other = || !self.learner.holds(slot, payload);
                ballot > leader.ballot() || (leader.is_overtaken_at(slot) && is_other())
            }
        }
    }

    fn on_durable(&mut self, receipt: Receipt, cx: &mut Context<'_, P>) {
        match receipt {
            Receipt::Promise(ballot) => {
                self.acceptor.on_durable(ballot);
                self.on_own_promise(ballot, cx);
            }
            Receipt::Accept { slot, ballot } => {
                self.acceptor.on_durable(ballot);
                self.learner.mark_durable(slot, ballot);
                if let RoleState::Leader(leader) = &mut self.state {
                    leader.on_own_accepted(ballot, slot, &mut self.learner, cx.setup);
                }
                self.learner.shed(self.state.role());
            }
            Receipt::Learned { slot, ballot } => {
                self.learner.mark_durable(slot, ballot);
                self.learner.shed(self.state.role());
            }
        }
    }

    // ---- the proposer's inputs ----------------------------------------------------------------------------

    fn on_tick(&mut self, log: LogState, cx: &mut Context<'_, P>) {
        let now = cx.now.mono;
        self.is_stalled = log.is_stalled;
        let log = if self.has_heir_failed(cx) { LogState { lags_since: None, ..log } } else { log };
        match &mut self.state {
            RoleState::Follower => {
                if self.election.is_due(now) {
                    if log.is_stalled {
                        // Its promise would not become durable, and would keep it from voting for another.
                        self.election.note_leader_gone();
                        self.election.arm(cx);
                    } else if self.is_leaving && !self.has_let_others {
                        // It would not lead for long.
                        self.has_let_others = true;
                        self.election.note_leader_gone();
                        self.election
                            .wait_until(now.plus(Nanos(OTHERS_FIRST_LEASES * cx.setup.timing.lease.0)));
                    } else {
                        self.stand_up(cx);
                    }
                } else {
                    self.ask_leader_to_give_way(cx);
                }
            }
            RoleState::PreCandidate(pre) => {
                if pre.is_over(now) {
                    self.back_off(cx);
                } else {
                    pre.resend_if_due(cx);
                }
            }
            RoleState::Candidate(candidate) => {
                if candidate.is_over(now) {
                    self.back_off(cx);
                } else if candidate.has_won(cx.space, cx.setup) {
                    self.settle_promises(cx);
                } else {
                    candidate.resend_if_due(cx);
                }
            }
            RoleState::Leader(leader) => match leader.on_tick(log, self.time.applied(), &self.learner, cx) {
                AfterTick::Leads => {}
                AfterTick::Released(ballot) => self.election.note_released(ballot),
                AfterTick::StepsDown(why) => {
                    // Its heir may stand in the next round, and be late.
                    self.election.note_round(leader.ballot().round() + 1);
                    self.step_down(why, cx);
                }
                AfterTick::StandsAnew(ballot) => {
                    self.has_let_others = true;
                    self.heir_failed_at = Some(now);
                    self.election.note_transfer_failed(ballot);
                    self.step_down(LeadershipEnd::TransferFailed, cx);
                    self.start_pre_vote(ballot, cx);
                }
                AfterTick::GivesWay(ballot) => {
                    self.election.note_transfer_failed(ballot);
                    self.step_down(LeadershipEnd::TransferFailed, cx);
                    self.election.arm(cx);
                }
            },
        }
        self.learner.on_tick(self.state.role(), cx);
        self.watch_itself(cx);
    }

    /// The acceptor is silent from now on (P-07c).
    pub fn begin_silence(&mut self, cx: &mut Context<'_, P>) {
        self.told.is_silent = true;
        cx.tell(Event::SilenceBegun { group: cx.setup.group() });
    }

    /// Tells the operator when the silence ends, and when this replica falls behind or has caught up.
    fn watch_itself(&mut self, cx: &mut Context<'_, P>) {
        let group = cx.setup.group();
        if self.told.is_silent && !self.acceptor.is_silent(cx.now.mono) {
            self.told.is_silent = false;
            cx.tell(Event::SilenceEnded { group });
        }
        let slot = self.learner.chosen();
        let missing = self.learner.heard_chosen().since(slot);
        if !self.told.is_behind && missing >= BEHIND_SLOTS {
            self.told.is_behind = true;
            cx.tell(Event::FellBehind { group, slot, missing });
        } else if self.told.is_behind && missing < BEHIND_SLOTS / 8 {
            self.told.is_behind = false;
            cx.tell(Event::CaughtUp { group, slot });
        }
    }

    /// The answer to a pre-vote.
    fn on_vote(
        &mut self,
        from: NodeId,
        ballot: Ballot,
        granted: bool,
        chosen: Slot,
        cx: &mut Context<'_, P>,
    ) -> Handled {
        let pre = self.state.pre_candidate_mut()?;
        if pre.ballot() != ballot {
            return Err(Ignored::OtherBallot);
        }
        let was_told_to = pre.after() > Ballot::ZERO;
        if !was_told_to && self.election.defers_to(chosen, self.learner.chosen(), cx) {
            self.wait_for_others(cx);
        } else if granted {
            pre.grant(from, chosen, cx.setup);
            if pre.has_quorum(cx.setup) {
                let (after, known) = (pre.after(), pre.chosen());
                self.on_votes_won(after, known, cx);
            }
        } else if pre.refuse(from, cx.setup) && pre.is_hopeless(cx.setup) {
            // If it waited until its time is over, the next replica to stand would overtake it, even the last
            // in rank.
            self.back_off(cx);
        }
        Ok(())
    }

    /// The candidate's own promise is durable, if it is still a candidate in that ballot.
    fn on_own_promise(&mut self, ballot: Ballot, cx: &mut Context<'_, P>) {
        if let RoleState::Candidate(candidate) = &mut self.state
            && candidate.ballot() == ballot
        {
            candidate.on_own_promise(&self.learner, cx.setup);
            self.settle_promises(cx);
        }
    }

    fn on_nack(&mut self, ballot: Ballot, promised: Ballot, cx: &mut Context<'_, P>) -> Handled {
        self.election.note_round(promised.round());
        let mine = self.state.proposing_in().ok_or(Ignored::NotStanding)?;
        // Only an answer to the ballot in use counts; an older one is out of date.
        if mine != ballot || promised <= ballot {
            return Err(Ignored::OtherBallot);
        }
        self.step_down(LeadershipEnd::HigherBallot, cx);
        Ok(())
    }

    /// The leader that this replica follows transfers leadership to it (P-17b). If this replica does not
    /// stand, the leader's transfer times out.
    fn on_timeout_now(
        &mut self,
        from: NodeId,
        ballot: Ballot,
        chosen: Slot,
        cx: &mut Context<'_, P>,
    ) -> Handled {
        if let Ok(leader) = self.state.leader_mut()
            && leader.ballot() == ballot
        {
            return leader.on_refused(from, cx.now.mono);
        }
        if !self.state.is_follower() {
            return Err(Ignored::NotFollowing);
        }
        if ballot.node() != from {
            return Err(Ignored::ForeignBallot);
        }
        // It may have heard a later leader before its promise.
        if ballot != self.acceptor.promised() || self.election.live_leader() > Some(ballot) {
            return Err(Ignored::OtherBallot);
        }
        assert!(ballot.node() != cx.setup.node(), "it hands over to itself");
        if let Err(why) = self.check_may_take_over(cx) {
            // The same message back says no. The group need not wait until the time for it is over.
            cx.send(from, GroupMessage::TimeoutNow { ballot, chosen: self.learner.chosen() });
            return Err(why);
        }
        cx.tell(Event::TransferTaken { group: cx.setup.group(), ballot });
        self.election.note_handed_over(from, cx.now.mono);
        self.learner.on_watermark(ballot, chosen);
        self.start_pre_vote(ballot, cx);
        Ok(())
    }

    /// Gives the lease up and tells the transfer target, if a transfer is under way and nothing is left to do
    /// (P-17a).
    pub fn release_if_drained(&mut self, cx: &mut Context<'_, P>) {
        if let RoleState::Leader(leader) = &mut self.state
            && let Some(ballot) = leader.release_if_drained(&self.learner, cx)
        {
            self.election.note_released(ballot);
        }
    }

    // ---- transitions --------------------------------------------------------------------------------------

    /// A message of the leader of `ballot` came.
    fn follow_leader(&mut self, ballot: Ballot, cx: &mut Context<'_, P>) {
        assert!(ballot.node() != cx.setup.node(), "it hears itself");
        if self.election.live_leader() != Some(ballot) {
            cx.tell(Event::LeaderFollowed { group: cx.setup.group(), ballot });
        }
        self.election.note_leader(ballot);
        self.has_let_others = false;
        self.become_follower(LeadershipEnd::HigherBallot, cx);
        self.election.arm(cx);
        debug_assert!(self.state.is_follower() && self.election.live_leader() == Some(ballot));
    }

    /// `why` counts if it leads.
    fn step_down(&mut self, why: LeadershipEnd, cx: &mut Context<'_, P>) {
        if !self.state.is_follower() {
            self.become_follower(why, cx);
            self.election.arm(cx);
        }
        assert!(self.state.is_follower(), "it stepped down");
    }

    /// Becomes a follower. A former leader notes its own clock as the last one heard (P-16c).
    fn become_follower(&mut self, why: LeadershipEnd, cx: &mut Context<'_, P>) {
        let now = cx.now.mono;
        match &self.state {
            RoleState::Follower | RoleState::PreCandidate(_) => {}
            RoleState::Candidate(candidate) => {
                tell_lost(candidate.ballot(), ElectionEnd::HigherBallot, cx);
            }
            RoleState::Leader(leader) => {
                let ballot = leader.ballot();
                if let Some(time) = leader.clock(now) {
                    self.time.hear(ballot, time, now);
                }
                let was_released = self.election.has_released(ballot);
                let why = if was_released { LeadershipEnd::Transferred } else { why };
                cx.tell(Event::LeadershipEnded { group: cx.setup.group(), ballot, why });
            }
        }
        self.state = RoleState::Follower;
    }

    /// Gives a candidacy up, or does not begin one, and tries again soon.
    fn back_off(&mut self, cx: &mut Context<'_, P>) {
        assert!(self.state.leader().is_none(), "a leader steps down");
        if let RoleState::Candidate(candidate) = &self.state {
            tell_lost(candidate.ballot(), ElectionEnd::NoQuorum, cx);
        }
        self.state = RoleState::Follower;
        self.election.back_off(cx);
    }

    /// The same, but lets other replicas stand first.
    fn wait_for_others(&mut self, cx: &mut Context<'_, P>) {
        self.back_off(cx);
        self.election.wait_longer(cx.setup);
    }

    /// The election timeout has passed.
    fn stand_up(&mut self, cx: &mut Context<'_, P>) {
        if self.election.defers_to(self.learner.heard_chosen(), self.learner.chosen(), cx) {
            self.wait_for_others(cx);
        } else {
            self.start_pre_vote(Ballot::ZERO, cx);
        }
    }

    /// `after`: the ballot whose leader transferred leadership to this replica, or zero.
    fn start_pre_vote(&mut self, after: Ballot, cx: &mut Context<'_, P>) {
        assert!(self.state.is_follower(), "stands already");
        // A leader that hands over is not missed, nor is this replica itself; one that was missed is not
        // missed again.
        if let Some(ballot) = self.election.live_leader()
            && after == Ballot::ZERO
            && ballot.node() != cx.setup.node()
        {
            cx.tell(Event::LeaderMissed { group: cx.setup.group(), ballot });
        }
        self.election.note_leader_gone();
        if !self.acceptor.may_stand(after, cx.space, cx.now.mono) {
            // A grant or the silence still binds this replica, or it cannot make a promise now.
            self.back_off(cx);
            return;
        }
        let ballot = self.acceptor.next_ballot(self.election.round_seen(), cx.setup);
        debug_assert!(ballot > self.acceptor.promised(), "a new ballot is above every promise");
        let pre = PreCandidate::stand(ballot, after, self.learner.chosen(), cx);
        let (has_quorum, known) = (pre.has_quorum(cx.setup), pre.chosen());
        self.state = RoleState::PreCandidate(pre);
        if has_quorum {
            self.on_votes_won(after, known, cx);
        }
    }

    /// A quorum granted its pre-votes. `known`: the highest chosen slot that a member of it knows, and that
    /// member.
    fn on_votes_won(&mut self, after: Ballot, known: (Slot, NodeId), cx: &mut Context<'_, P>) {
        assert!(matches!(self.state, RoleState::PreCandidate(_)), "it asked for no votes");
        // Its own report must be complete from there on (P-02f).
        let first = known.0.max(self.learner.chosen()).next();
        if self.learner.has_in_memory(first, Needed::Undecided, cx.out) {
            self.stand(after, known, cx);
        } else {
            self.back_off(cx);
        }
    }

    /// Stands for election: its own promise is written first, and the prepares are sent once that is durable
    /// (P-01b).
    fn stand(&mut self, after: Ballot, known: (Slot, NodeId), cx: &mut Context<'_, P>) {
        let ballot = self.acceptor.next_ballot(self.election.round_seen(), cx.setup);
        let known = known.max((self.learner.chosen(), cx.setup.node()));
        assert!(known.0 >= self.learner.chosen(), "it asks about slots that it knows as chosen");
        let candidate = Candidate::new(ballot, after, known, cx);
        let prepares = cx.setup.peers().map(|to| (to, candidate.prepare()));
        let then: Vec<(NodeId, GroupMessage<P>)> = prepares.collect();
        self.state = RoleState::Candidate(candidate);
        cx.tell(Event::ElectionBegun { group: cx.setup.group(), ballot });
        self.election.note_round(ballot.round());
        #[cfg(feature = "canary")]
        if cx.setup.has(Canary::BallotReuse) {
            self.acceptor.stand_in(ballot);
            for (to, message) in then {
                cx.send(to, message);
            }
            self.on_own_promise(ballot, cx);
            return;
        }
        assert!(ballot > self.acceptor.promised(), "a new ballot is above every promise");
        self.acceptor.stand_in(ballot);
        cx.append(Receipt::Promise(ballot), None, self.learner.chosen(), then);
    }

    /// Ends a candidacy that has won. A candidate that has a quorum, but no room to begin, is checked again
    /// at every tick.
    fn settle_promises(&mut self, cx: &mut Context<'_, P>) {
        match core::mem::replace(&mut self.state, RoleState::Follower) {
            RoleState::Candidate(candidate) if candidate.has_won(cx.space, cx.setup) => {
                let won = candidate.into_won();
                assert!(won.ballot == self.acceptor.promised(), "a winner's own promise is its ballot");
                let is_elsewhere = won.after == Ballot::ZERO && won.chosen_at != cx.setup.node();
                if is_elsewhere && self.election.yields_to(won.chosen, self.learner.chosen(), cx) {
                    self.give_away(&won, cx);
                } else {
                    self.win(won, cx);
                }
            }
            state => self.state = state,
        }
    }

    /// A winner that is far behind a member of its quorum does not lead: it proposes nothing in this ballot,
    /// holds no lease in it, and tells that member to stand at once (P-06h, P-17b). A replica that was itself
    /// told to stand does not pass that on.
    fn give_away(&mut self, won: &Won<P>, cx: &mut Context<'_, P>) {
        assert!(won.after == Ballot::ZERO, "passes on what it was given");
        assert!(won.chosen_at != cx.setup.node(), "gives an election away to itself");
        assert!(self.state.is_follower(), "leads and gives the election away");
        tell_lost(won.ballot, ElectionEnd::GivenTo(won.chosen_at), cx);
        self.election.arm(cx);
        let message = GroupMessage::TimeoutNow { ballot: won.ballot, chosen: self.learner.chosen() };
        cx.send(won.chosen_at, message);
        self.learner.pull_towards(won.chosen_at, won.chosen, Role::Follower, cx);
    }

    /// The winner becomes the leader: it proposes for every open slot, and for one slot of its own after them
    /// (P-06).
    fn win(&mut self, won: Won<P>, cx: &mut Context<'_, P>) {
        assert!(self.state.is_follower(), "a candidacy ends before its winner leads");
        let Won { ballot, best, chosen, chosen_at, times, .. } = won;
        let chosen = chosen.max(self.learner.chosen());
        // A slot learned since this replica's own report is in its log, but not among the reports.
        let reported = best.last_key_value().map_or(chosen, |(&slot, _)| slot.max(chosen));
        let start_slot = reported.max(self.learner.last_held()).next();
        self.election.note_leader(ballot);
        let mut leader = Leader::elected(ballot, start_slot, cx.setup, cx.now.mono);
        let group = cx.setup.group();
        cx.tell(Event::ElectionWon { group, ballot, slot: start_slot });
        leader.inherit_time(&times, &self.time, cx);
        if leader.clock(cx.now.mono).is_none() {
            cx.tell(Event::ClockUnset { group, ballot });
        }
        leader.take_over(chosen, best, &mut self.learner, cx);
        assert!(leader.next_slot() > self.learner.last_held(), "a slot is left out");
        self.learner.stop_pulling();
        self.learner.pull_towards(chosen_at, chosen, Role::Leader, cx);
        leader.send_heartbeats(self.learner.chosen(), cx);
        self.state = RoleState::Leader(leader);
    }

    /// Checks the invariants that hold between steps.
    pub fn invariants(&self, setup: &Setup) {
        let (promised, chosen) = (self.acceptor.promised(), self.learner.chosen());
        self.acceptor.invariants();
        self.learner.invariants();
        self.state.invariants(promised, chosen, setup);
        let mut undecided = self.learner.undecided(chosen.next());
        assert!(undecided.all(|(_, open)| open.ballot <= promised), "accepted above its own promise");
        // Before the start a replica only follows, and has not noted yet what it replayed.
        let has_seen = self.state.is_follower() || self.election.round_seen() >= promised.round();
        assert!(has_seen, "a round was promised and not seen");
        let leads_in = self.state.leader().map(Leader::ballot);
        assert!(leads_in.is_none() || leads_in == self.election.live_leader(), "leads and follows another");
    }
}

/// Tells the operator that a candidacy ended without a leadership.
fn tell_lost<P>(ballot: Ballot, why: ElectionEnd, cx: &mut Context<'_, P>) {
    cx.tell(Event::ElectionLost { group: cx.setup.group(), ballot, why });
}
