//! Election: pre-vote, prepare, and what the winner does with the reports (P-06).
//!
//! ```text
//!  Follower ──timeout──▶ PreCandidate ──quorum grants──▶ Candidate ──quorum promises──▶ Leader
//!      ▲                     │ nobody raised a ballot        │ own ballot durable first     │
//!      └─────────────────────┴───────────────────────────────┴──── higher ballot, no quorum ┘
//! ```
//! A pre-vote is granted by who sees no live leader, whatever the candidate's log: any node that reaches a quorum may lead,
//! even one that is behind (it pulls what it misses before it serves). That is what survives partial partitions.

use crate::clock::Report;
use crate::handover::FAR_BEHIND_SLOTS;
use crate::{Effect, Paxos, Receipt, State};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use synod_types::{
    Ballot, EntryBuilder, GroupMessage, Mono, Nanos, NodeId, Now, Payload, RecordKind, Reported, Slot,
    TimeReport, WallMs,
};

/// How often of late a replica that is far behind left it to others to lead. Seldom enough that it leads when there is nobody else.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Deference {
    count: u32,
    at: Mono,
}

impl Deference {
    /// Whether it may do so once more; takes note of it if so.
    fn once_more(&mut self, now: Mono) -> bool {
        let is_recent = self.count > 0 && now.since(self.at) < DEFERENCE_FORGOTTEN_AFTER;
        let count = if is_recent { self.count } else { 0 };
        if count >= DEFERENCES_MAX {
            return false;
        }
        *self = Self { count: count + 1, at: now };
        true
    }
}

/// Others may be no better off, or may not reach a quorum; a nearer one needs one chance, and a second one if a message is lost.
const DEFERENCES_MAX: u32 = 2;
/// Counted by time and not by leaders heard: one that was heard and never served must not be deferred to for ever.
const DEFERENCE_FORGOTTEN_AFTER: Nanos = Nanos::from_ms(30_000);

#[derive(Debug)]
pub(crate) struct PreCandidate {
    ballot: Ballot,
    /// The ballot whose leader handed over to this replica (P-17); zero if none did.
    pub after: Ballot,
    votes: u64,
    /// Who said no.
    refusals: u64,
    until: Mono,
    resend_at: Mono,
    /// The furthest that who granted a vote knows as chosen, and who that is: nothing up to there will be proposed.
    chosen: (Slot, NodeId),
}

#[derive(Debug)]
pub(crate) struct Candidate<P> {
    pub ballot: Ballot,
    /// As in the pre-vote.
    after: Ballot,
    /// When it asked: nothing that it is told is older.
    since: Mono,
    first: Slot,
    promises: u64,
    until: Mono,
    resend_at: Mono,
    own_durable: bool,
    /// Highest-ballot value reported per slot.
    best: BTreeMap<Slot, (Ballot, P)>,
    chosen: Slot,
    chosen_at: NodeId,
    partial: BTreeMap<NodeId, Parts>,
    /// What those who promised know of the time (P-16).
    times: BTreeMap<NodeId, Report>,
}

/// The parts of one acceptor's promise that have come. A repetition may be cut differently, so parts of different answers
/// never make a whole together.
#[derive(Debug)]
struct Parts {
    answer: u64,
    part_count: u32,
    seen: BTreeSet<u32>,
}

impl<P: Payload> Paxos<P> {
    /// Sets the election timeout: a lease (nobody grants earlier), the rank's delay, and jitter.
    pub(crate) fn arm_election(&mut self, now: Mono, first: bool) {
        let jitter = Nanos(self.next_random() % self.timing.election_jitter.0.max(1));
        // At start the silence is a lease already; adding another would only delay the first leader.
        let base = if first { self.silent_until } else { now.plus(self.timing.lease) };
        let jitter = if first { Nanos(jitter.0 / 4) } else { jitter };
        // Who can have nothing chosen lets the others go first.
        let room = if self.is_low() { self.timing.lease } else { Nanos(0) };
        self.election_at = base.plus(self.rank_delay()).plus(jitter).plus(room);
    }

    /// Tries again before long, in the order of ranks.
    fn back_off(&mut self, now: Mono) {
        let jitter = Nanos(self.next_random() % self.timing.election_jitter.0.max(1));
        self.role = State::Follower;
        self.election_at = now.plus(Nanos(self.timing.heartbeat.0 / 2)).plus(self.rank_delay()).plus(jitter);
    }

    fn rank_delay(&self) -> Nanos {
        Nanos(self.timing.rank_delay.0 * u64::from(self.config.priority_rank))
    }

    pub(crate) fn election_tick(&mut self, now: Now, out: &mut Vec<Effect<P>>) {
        match &self.role {
            State::Follower if now.mono >= self.election_at => self.stand_up(now, out),
            State::PreCandidate(pre) if now.mono >= pre.until => self.back_off(now.mono),
            State::PreCandidate(pre) if now.mono >= pre.resend_at => self.resend_pre_vote(now, out),
            State::Candidate(candidate) if now.mono >= candidate.until => self.back_off(now.mono),
            State::Candidate(candidate) if self.has_won(candidate) => self.promises_settle(now, out),
            State::Candidate(candidate) if candidate.own_durable && now.mono >= candidate.resend_at => {
                self.resend_prepare(now, out);
            }
            _ => {}
        }
    }

    /// The election timeout has passed.
    fn stand_up(&mut self, now: Now, out: &mut Vec<Effect<P>>) {
        if !self.defers_to(self.mark.1, now.mono) {
            self.start_pre_vote(Ballot::ZERO, now, out);
        }
    }

    /// Leaves it to others to stand first, if this replica is far behind `known`, which somebody knows as chosen: a leader that has to
    /// catch up first does not serve. It is a delay and no refusal, since it may be the only one that reaches a quorum (P-06h).
    fn defers_to(&mut self, known: Slot, now: Mono) -> bool {
        if known.since(self.chosen) <= FAR_BEHIND_SLOTS || !self.waited.once_more(now) {
            return false;
        }
        #[cfg(feature = "canary")]
        if self.canary == Some(crate::Canary::FarBehindLeads) {
            return false;
        }
        self.back_off(now);
        self.election_at = self.election_at.plus(self.timing.lease).plus(self.timing.lease);
        true
    }

    /// `after`: the ballot whose leader handed over, or zero.
    pub(crate) fn start_pre_vote(&mut self, after: Ballot, now: Now, out: &mut Vec<Effect<P>>) {
        self.leader_live = false;
        let own = self.grant.is_none_or(|(to, until)| to == after || now.mono >= until)
            && now.mono >= self.silent_until;
        if !own || !self.can_promise() {
            // This replica's own word still binds it, or it could not give another one.
            self.back_off(now.mono);
            return;
        }
        let ballot = self.next_ballot();
        let votes = self.bit_of(self.config.node).unwrap_or(0);
        self.role = State::PreCandidate(PreCandidate {
            ballot,
            after,
            votes,
            refusals: 0,
            until: now.mono.plus(self.timing.lease),
            resend_at: now.mono.plus(self.timing.resend),
            chosen: (self.chosen, self.config.node),
        });
        for to in self.peers() {
            out.push(Effect::Send { to, message: GroupMessage::PreVote { ballot, after } });
        }
        self.pre_vote_settle(now, out);
    }

    /// Asks those again who have not answered: when all nodes have just been started, links are still being made.
    fn resend_pre_vote(&mut self, now: Now, out: &mut Vec<Effect<P>>) {
        let resend_at = now.mono.plus(self.timing.resend);
        let State::PreCandidate(pre) = &mut self.role else { return };
        pre.resend_at = resend_at;
        let PreCandidate { ballot, after, votes, refusals, .. } = *pre;
        for to in self.peers() {
            if self.bit_of(to).is_some_and(|bit| (votes | refusals) & bit == 0) {
                out.push(Effect::Send { to, message: GroupMessage::PreVote { ballot, after } });
            }
        }
    }

    /// Above everything promised here and everything heard of: unique by its node, never used before because every own
    /// ballot was a durable promise first (P-01).
    fn next_ballot(&self) -> Ballot {
        #[cfg(feature = "canary")]
        if self.canary == Some(crate::Canary::BallotReuse) {
            return self.promised_durable.above(self.config.node);
        }
        let round = self.promised.round().max(self.round_seen);
        Ballot::new(round + 1, self.config.node)
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one message")]
    pub(crate) fn on_pre_vote_reply(
        &mut self,
        from: NodeId,
        ballot: Ballot,
        granted: bool,
        promised: Ballot,
        chosen: Slot,
        now: Now,
        out: &mut Vec<Effect<P>>,
    ) {
        self.round_seen = self.round_seen.max(promised.round());
        self.pull_towards(from, chosen, now, out);
        let bit = self.bit_of(from).unwrap_or(0);
        let quorum = self.prepare_quorum();
        let voters = self.config.members.voters().len() as u32; // 9 at most
        let State::PreCandidate(pre) = &mut self.role else { return };
        if pre.ballot != ballot {
            return;
        }
        if pre.after == Ballot::ZERO && self.defers_to(chosen, now.mono) {
            return;
        }
        let State::PreCandidate(pre) = &mut self.role else { return };
        if granted {
            pre.votes |= bit;
            pre.refusals &= !bit;
            pre.chosen = pre.chosen.max((chosen, from));
            self.pre_vote_settle(now, out);
        } else if pre.votes & bit == 0 {
            pre.refusals |= bit;
            // No quorum will come of this. Who waits out its time for nothing is overtaken by whoever stands next, be it the last
            // in rank.
            if voters - pre.refusals.count_ones() < quorum {
                self.back_off(now.mono);
            }
        }
    }

    fn pre_vote_settle(&mut self, now: Now, out: &mut Vec<Effect<P>>) {
        if let State::PreCandidate(pre) = &self.role
            && pre.votes.count_ones() >= self.prepare_quorum()
        {
            let (after, (chosen, chosen_at)) = (pre.after, pre.chosen);
            // Its report will have to be complete from there on (P-02).
            if self.has_in_memory(chosen.max(self.chosen).next(), true, out) {
                self.stand(after, (chosen, chosen_at), now, out);
            } else {
                self.back_off(now.mono);
            }
        }
    }

    /// Stands for election: the own promise first, the prepare rides on it (P-01).
    fn stand(&mut self, after: Ballot, chosen: (Slot, NodeId), now: Now, out: &mut Vec<Effect<P>>) {
        let ballot = self.next_ballot();
        #[cfg(feature = "canary")]
        if self.canary == Some(crate::Canary::BallotReuse) {
            self.stand_without_record(ballot, after, chosen, now, out);
            return;
        }
        assert!(ballot > self.promised, "a new ballot is above every promise");
        let first = self.enter_candidacy(ballot, after, chosen, now);
        let then =
            self.peers().map(|to| (to, GroupMessage::Prepare { ballot, after, from: first })).collect();
        out.push(Effect::Append {
            head: self.head(RecordKind::Promise, Slot::ZERO, ballot),
            payload: None,
            then,
            receipt: Receipt::Promise(ballot),
        });
    }

    fn enter_candidacy(&mut self, ballot: Ballot, after: Ballot, chosen: (Slot, NodeId), now: Now) -> Slot {
        self.promised = self.promised.max(ballot);
        self.round_seen = self.round_seen.max(ballot.round());
        self.grant = None;
        let (chosen, chosen_at) = chosen.max((self.chosen, self.config.node));
        let first = chosen.next();
        self.role = State::Candidate(Candidate {
            ballot,
            after,
            since: now.mono,
            first,
            promises: 0,
            until: now.mono.plus(self.timing.lease).plus(self.timing.lease),
            resend_at: now.mono.plus(self.timing.resend),
            own_durable: false,
            best: BTreeMap::new(),
            chosen,
            chosen_at,
            partial: BTreeMap::new(),
            times: BTreeMap::new(),
        });
        first
    }

    #[cfg(feature = "canary")]
    fn stand_without_record(
        &mut self,
        ballot: Ballot,
        after: Ballot,
        chosen: (Slot, NodeId),
        now: Now,
        out: &mut Vec<Effect<P>>,
    ) {
        let first = self.enter_candidacy(ballot, after, chosen, now);
        for to in self.peers() {
            out.push(Effect::Send { to, message: GroupMessage::Prepare { ballot, after, from: first } });
        }
        self.candidate_own_promise(ballot, now, out);
    }

    fn resend_prepare(&mut self, now: Now, out: &mut Vec<Effect<P>>) {
        let resend_at = now.mono.plus(self.timing.resend);
        let State::Candidate(candidate) = &mut self.role else { return };
        candidate.resend_at = resend_at;
        let Candidate { ballot, after, first, promises, .. } = *candidate;
        for to in self.peers() {
            if self.bit_of(to).is_some_and(|bit| promises & bit == 0) {
                out.push(Effect::Send { to, message: GroupMessage::Prepare { ballot, after, from: first } });
            }
        }
    }

    /// The candidate's own promise is durable: its own report counts.
    pub(crate) fn candidate_own_promise(&mut self, ballot: Ballot, now: Now, out: &mut Vec<Effect<P>>) {
        let node = self.config.node;
        let bit = self.bit_of(node).unwrap_or(0);
        let State::Candidate(candidate) = &mut self.role else { return };
        if candidate.ballot != ballot {
            return;
        }
        candidate.own_durable = true;
        candidate.promises |= bit;
        // What is known to be chosen is not proposed, whoever reports it.
        for (slot, open) in self.log.range(candidate.first).filter(|(_, open)| !open.chosen) {
            #[cfg(feature = "canary")]
            if open.payload.is_none() && self.canary == Some(crate::Canary::ShedUnreported) {
                continue;
            }
            let payload = open.payload.as_ref().expect("who stands has all it may propose in memory");
            candidate.report(slot, open.ballot, payload.clone());
        }
        self.promises_settle(now, out);
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one message")]
    pub(crate) fn on_promise(
        &mut self,
        from: NodeId,
        ballot: Ballot,
        chosen: Slot,
        (answer, part, part_count): (u64, u32, u32),
        reported: Vec<Reported<P>>,
        now: Now,
        out: &mut Vec<Effect<P>>,
    ) {
        let Some(bit) = self.bit_of(from) else { return };
        let State::Candidate(candidate) = &mut self.role else { return };
        let is_of_this = candidate.ballot == ballot;
        #[cfg(feature = "canary")]
        let is_of_this = is_of_this || self.canary == Some(crate::Canary::PromiseOfAnotherBallot);
        if !is_of_this || part >= part_count {
            return;
        }
        for Reported { slot, ballot, payload } in reported {
            candidate.report(slot, ballot, payload);
        }
        if chosen > candidate.chosen {
            candidate.chosen = chosen;
            candidate.chosen_at = from;
        }
        let parts = candidate.partial.entry(from).or_insert_with(|| Parts {
            answer,
            part_count,
            seen: BTreeSet::new(),
        });
        if (parts.answer, parts.part_count) != (answer, part_count) {
            *parts = Parts { answer, part_count, seen: BTreeSet::new() };
        }
        parts.seen.insert(part);
        if parts.seen.len() == part_count as usize {
            candidate.promises |= bit;
            self.promises_settle(now, out);
        }
    }

    /// Whether a quorum has promised, and the log has room for what the winner must propose. The candidate's own promise must be among
    /// them: it proposes only what its own disk knows it may.
    fn has_won(&self, candidate: &Candidate<P>) -> bool {
        candidate.own_durable && candidate.promises.count_ones() >= self.prepare_quorum() && self.can_win()
    }

    /// What came with a promise of this candidacy.
    pub(crate) fn note_time(&mut self, from: NodeId, ballot: Ballot, report: TimeReport, now: Now) {
        if let State::Candidate(candidate) = &mut self.role
            && candidate.ballot == ballot
        {
            let report = Report { report, asked: candidate.since, at: now.mono };
            let held = candidate.times.entry(from).or_insert(report);
            if report.is_better_than(held, now.mono) {
                *held = report;
            }
        }
    }

    fn promises_settle(&mut self, now: Now, out: &mut Vec<Effect<P>>) {
        let State::Candidate(candidate) = &self.role else { return };
        if !self.has_won(candidate) {
            return; // with a quorum, but without room, it is looked at again at every tick
        }
        let State::Candidate(candidate) = core::mem::replace(&mut self.role, State::Follower) else { return };
        if !self.yields(&candidate, now, out) {
            self.win(candidate, now, out);
        }
    }

    /// A winner that is far behind somebody in its quorum does not lead: it proposes nothing in this ballot and holds no lease in it,
    /// and says so to that one, who stands at once (P-06h, P-17b). Who was itself told to stand does not pass that on.
    fn yields(&mut self, candidate: &Candidate<P>, now: Now, out: &mut Vec<Effect<P>>) -> bool {
        let Candidate { ballot, after, chosen, chosen_at, .. } = *candidate;
        let is_far = chosen.since(self.chosen) > FAR_BEHIND_SLOTS && chosen_at != self.config.node;
        #[cfg(feature = "canary")]
        let is_far = is_far && self.canary != Some(crate::Canary::FarBehindLeads);
        if !is_far || after != Ballot::ZERO || !self.yielded.once_more(now.mono) {
            return false;
        }
        assert!(ballot == self.promised, "what is given away is one's own");
        self.arm_election(now.mono, false);
        let message = GroupMessage::HandOver { ballot, chosen: self.chosen };
        out.push(Effect::Send { to: chosen_at, message });
        self.pull_towards(chosen_at, chosen, now, out);
        true
    }

    /// The winner re-proposes the highest-ballot value of every open slot, a no-op only where nobody in the quorum reported
    /// one, and one slot of its own after them (P-06).
    fn win(&mut self, candidate: Candidate<P>, now: Now, out: &mut Vec<Effect<P>>) {
        let Candidate { ballot, mut best, chosen, chosen_at, times, .. } = candidate;
        let chosen = chosen.max(self.chosen);
        // A slot learned since the own report is in the log and not among the reports.
        let top = best.last_key_value().map_or(chosen, |(&slot, _)| slot.max(chosen)).max(self.log.last());
        let start_slot = top.next();
        self.become_leader(ballot, start_slot, now);
        self.inherit_time(&times, now);
        // Not known yet where nobody has heard a leader: then what fills slots carries none.
        let time = self.leader_clock(now.mono).unwrap_or(WallMs::ZERO);
        let mut slot = chosen.next();
        while slot <= top {
            if self.log.get(slot).is_none_or(|open| !open.chosen) {
                let value = best.remove(&slot).map(|(_, payload)| payload);
                #[cfg(feature = "canary")]
                let value = value.filter(|_| self.canary != Some(crate::Canary::NoopOverReported));
                let value = value.unwrap_or_else(|| no_op(self.next_origin(), time));
                self.propose_at(slot, value, now, out);
            }
            slot = slot.next();
        }
        let origin = self.next_origin();
        self.propose_at(start_slot, no_op(origin, time), now, out);
        self.pull = None;
        self.pull_towards(chosen_at, chosen, now, out);
        self.send_beats(now, out);
    }
}

impl<P> Candidate<P> {
    fn report(&mut self, slot: Slot, ballot: Ballot, payload: P) {
        match self.best.entry(slot) {
            alloc::collections::btree_map::Entry::Vacant(vacant) => {
                vacant.insert((ballot, payload));
            }
            alloc::collections::btree_map::Entry::Occupied(mut held) => {
                if held.get().0 < ballot {
                    held.insert((ballot, payload));
                }
            }
        }
    }
}

/// An entry without commands: it fills a slot and carries the leader's time.
fn no_op<P: Payload>(origin: Ballot, ts: WallMs) -> P {
    P::from(EntryBuilder::<P>::new().finish(origin, ts))
}
