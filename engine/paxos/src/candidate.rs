//! Standing for election: the pre-vote, and collecting promises (P-06).
//!
//! ```text
//!  PreCandidate ──quorum grants──▶ Candidate ──quorum promises──▶ Leader
//!      │ no ballot is raised           │ own ballot durable first
//!      └───────────────────────────────┴──── time is over: tries again soon
//! ```
//! A voter that sees no live leader grants a pre-vote whatever the candidate's log holds: any node that
//! reaches a quorum may lead, even one that is behind (it pulls missing values before it serves). So a leader
//! can be elected in partial partitions, too.

#[cfg(feature = "canary")]
use crate::api::Canary;
use crate::clock::Report;
use crate::context::Context;
use crate::ignored::Ignored;
use crate::learner::Learner;
use crate::setup::Setup;
use crate::space::LogSpace;
use alloc::collections::BTreeSet;
use alloc::collections::btree_map::{BTreeMap, Entry};
use alloc::vec::Vec;
use synod_types::{Ballot, GroupMessage, Mono, Nanos, NodeId, Payload, Reported, Slot, TimeReport};

/// A replica that asks whether its prepare would be promised.
#[derive(Debug)]
pub(crate) struct PreCandidate {
    ballot: Ballot,
    /// The ballot whose leader transferred leadership to this replica (P-17); zero if none did.
    after: Ballot,
    votes: u64,
    /// The members that refused.
    refusals: u64,
    until: Mono,
    resend_at: Mono,
    /// The highest chosen slot that a member that granted its vote knows, and that member. Nothing up to
    /// there will be proposed.
    chosen: (Slot, NodeId),
}

impl PreCandidate {
    /// Sends the pre-vote to all peers. `chosen` is this replica's chosen prefix; its own vote counts.
    pub fn stand<P: Payload>(ballot: Ballot, after: Ballot, chosen: Slot, cx: &mut Context<'_, P>) -> Self {
        let setup = cx.setup;
        assert!(ballot.node() == setup.node(), "stands in a foreign ballot");
        debug_assert!(ballot > after, "stands in a ballot below the one that was given up for it");
        for to in setup.peers() {
            cx.send(to, GroupMessage::PreVote { ballot, after });
        }
        Self {
            ballot,
            after,
            votes: setup.own_bit(),
            refusals: 0,
            until: cx.now.mono.plus(setup.timing.lease),
            resend_at: cx.now.mono.plus(ask_again_after(setup)),
            chosen: (chosen, setup.node()),
        }
    }

    pub fn ballot(&self) -> Ballot {
        self.ballot
    }

    pub fn after(&self) -> Ballot {
        self.after
    }

    /// The highest chosen slot that one of its voters knows, and that voter.
    pub fn chosen(&self) -> (Slot, NodeId) {
        self.chosen
    }

    /// Whether its time is over.
    pub fn is_over(&self, now: Mono) -> bool {
        now >= self.until
    }

    /// Whether a quorum granted its vote, so that it may send prepares.
    pub fn has_quorum(&self, setup: &Setup) -> bool {
        assert!(self.votes & self.refusals == 0, "a vote is granted and refused");
        self.votes.count_ones() >= setup.prepare_quorum()
    }

    /// Whether so many refused that no quorum is left.
    pub fn is_hopeless(&self, setup: &Setup) -> bool {
        let voters = setup.voter_count() as u32; // 9 at most
        assert!(self.refusals & setup.own_bit() == 0, "it refuses its own vote");
        voters - self.refusals.count_ones() < setup.prepare_quorum()
    }

    /// A peer that knows everything up to `chosen` as chosen grants its vote.
    pub fn grant(&mut self, from: NodeId, chosen: Slot, setup: &Setup) {
        let bit = setup.bit_of(from).expect("messages of strangers are dropped");
        assert!(from != setup.node(), "its own vote counts from the start");
        self.votes |= bit;
        self.refusals &= !bit;
        self.chosen = self.chosen.max((chosen, from));
        assert!(self.votes & self.refusals == 0, "a vote is granted and refused");
    }

    /// A peer refuses its vote. Returns whether the refusal counts: a vote that was granted stays.
    pub fn refuse(&mut self, from: NodeId, setup: &Setup) -> bool {
        let bit = setup.bit_of(from).expect("messages of strangers are dropped");
        assert!(from != setup.node(), "it refuses its own vote");
        let is_news = self.votes & bit == 0;
        if is_news {
            self.refusals |= bit;
        }
        assert!(self.votes & self.refusals == 0, "a vote is granted and refused");
        is_news
    }

    /// Asks the peers that have not answered again: when all nodes have just been started, links are still
    /// being made. A peer that is not asked again knows that its answer was heard (P-09f).
    pub fn resend_if_due<P: Payload>(&mut self, cx: &mut Context<'_, P>) {
        if cx.now.mono < self.resend_at {
            return;
        }
        let setup = cx.setup;
        self.resend_at = cx.now.mono.plus(ask_again_after(setup));
        let answered = self.votes | self.refusals;
        assert!(!self.has_quorum(setup), "it has its votes and asks for more");
        let Self { ballot, after, .. } = *self;
        for to in setup.peers().filter(|&to| is_missing(to, answered, setup)) {
            cx.send(to, GroupMessage::PreVote { ballot, after });
        }
    }

    pub fn invariants(&self, setup: &Setup) {
        assert!(self.ballot.node() == setup.node(), "stands in a foreign ballot");
        assert!(self.votes & setup.own_bit() != 0, "its own vote counts");
        assert!(!self.has_quorum(setup), "it has its votes and does not stand");
        assert!(!self.is_hopeless(setup), "it waits for votes that cannot come");
    }
}

/// After this time a pre-vote is sent again: several times in a lease, whatever it takes to write, since others
/// conclude from it who is heard (P-09f).
fn ask_again_after(setup: &Setup) -> Nanos {
    Nanos(setup.timing.resend.0.min(setup.timing.lease.0 / 4))
}

/// A replica that collects promises in a ballot of its own.
#[derive(Debug)]
pub(crate) struct Candidate<P> {
    ballot: Ballot,
    /// As in the pre-vote.
    after: Ballot,
    /// When it sent its first prepare: no answer is older.
    since: Mono,
    first: Slot,
    promises: u64,
    until: Mono,
    resend_at: Mono,
    own_durable: bool,
    /// The highest-ballot value reported per slot.
    best: BTreeMap<Slot, (Ballot, P)>,
    /// The highest chosen slot that a member is known to know, and that member.
    chosen: (Slot, NodeId),
    partial: BTreeMap<NodeId, Parts>,
    /// The time reports of the members that promised (P-16).
    times: BTreeMap<NodeId, Report>,
}

/// The parts received of one acceptor's promise. A repeated answer may be cut differently, so parts of
/// different answers are never combined (P-02c).
#[derive(Debug)]
struct Parts {
    answer: u64,
    part_count: u32,
    seen: BTreeSet<u32>,
}

impl Parts {
    fn of(answer: u64, part_count: u32) -> Self {
        assert!(part_count > 0, "an answer has at least one part");
        Self { answer, part_count, seen: BTreeSet::new() }
    }

    fn is_whole(&self) -> bool {
        assert!(self.seen.len() <= self.part_count as usize, "an answer of more parts than it has");
        self.seen.len() == self.part_count as usize
    }
}

/// A part of a promise that was received.
#[derive(Debug)]
pub(crate) struct PromisePart<P> {
    pub ballot: Ballot,
    pub chosen: Slot,
    pub answer: u64,
    pub part: u32,
    pub part_count: u32,
    pub time: TimeReport,
    pub reported: Vec<Reported<P>>,
}

/// The result of a candidacy that was won.
#[derive(Debug)]
pub(crate) struct Won<P> {
    pub ballot: Ballot,
    /// The ballot whose leader transferred leadership to this replica; zero if none did.
    pub after: Ballot,
    /// The highest-ballot value reported per slot.
    pub best: BTreeMap<Slot, (Ballot, P)>,
    /// The highest chosen slot that a member of its quorum knows.
    pub chosen: Slot,
    /// The member that knows it.
    pub chosen_at: NodeId,
    /// The time reports of its quorum.
    pub times: BTreeMap<NodeId, Report>,
}

impl<P: Payload> Candidate<P> {
    /// Stands in `ballot`. If `after` is not zero, the leader of that ballot gave up its lease for this
    /// replica. It asks about the slots above `chosen`: nothing up to there will be proposed (P-02a).
    pub fn new(ballot: Ballot, after: Ballot, chosen: (Slot, NodeId), cx: &Context<'_, P>) -> Self {
        assert!(ballot.node() == cx.setup.node(), "stands in a foreign ballot");
        debug_assert!(ballot > after, "stands in a ballot below the one that was given up for it");
        let (now, timing) = (cx.now.mono, &cx.setup.timing);
        Self {
            ballot,
            after,
            since: now,
            first: chosen.0.next(),
            promises: 0,
            until: now.plus(timing.lease).plus(timing.lease),
            resend_at: now.plus(timing.resend),
            own_durable: false,
            best: BTreeMap::new(),
            chosen,
            partial: BTreeMap::new(),
            times: BTreeMap::new(),
        }
    }

    pub fn ballot(&self) -> Ballot {
        self.ballot
    }

    /// The prepare for its peers.
    pub fn prepare(&self) -> GroupMessage<P> {
        GroupMessage::Prepare { ballot: self.ballot, after: self.after, from: self.first }
    }

    /// Whether its time is over.
    pub fn is_over(&self, now: Mono) -> bool {
        now >= self.until
    }

    /// Whether a quorum has promised, and the log has room for the slots that the winner must propose. The
    /// candidate's own durable promise must be part of the quorum (P-06b).
    pub fn has_won(&self, space: &LogSpace, setup: &Setup) -> bool {
        assert!(!self.own_durable || self.promises & setup.own_bit() != 0, "its own promise is not counted");
        self.own_durable && self.promises.count_ones() >= setup.prepare_quorum() && space.takes_first_slots()
    }

    /// The candidate's own promise is durable: its own report counts (P-01b).
    pub fn on_own_promise(&mut self, learner: &Learner<P>, setup: &Setup) {
        assert!(self.ballot.node() == setup.node(), "stands in a foreign ballot");
        assert!(!self.own_durable, "its promise becomes durable twice");
        self.own_durable = true;
        self.promises |= setup.own_bit();
        // Slots known to be chosen are not proposed for, so they are left out.
        for (slot, open) in learner.undecided(self.first) {
            #[cfg(feature = "canary")]
            if open.payload.is_none() && setup.has(Canary::ShedUnreported) {
                continue;
            }
            debug_assert!(open.ballot < self.ballot, "{slot} was accepted in the ballot it only stands in");
            let payload = open.payload.as_ref().expect("a candidate has all it may propose in memory");
            self.report(slot, open.ballot, payload.clone());
        }
    }

    /// A part of a peer's promise came. Returns whether that promise is complete now. Only a promise of this
    /// candidacy counts (P-06b).
    pub fn on_promise(
        &mut self,
        from: NodeId,
        part: PromisePart<P>,
        cx: &Context<'_, P>,
    ) -> Result<bool, Ignored> {
        let PromisePart { ballot, chosen, answer, part, part_count, time, reported } = part;
        let is_of_this = self.ballot == ballot;
        if is_of_this {
            self.note_time(from, time, cx.now.mono);
        }
        #[cfg(feature = "canary")]
        let is_of_this = is_of_this || cx.setup.has(Canary::PromiseOfAnotherBallot);
        if !is_of_this {
            return Err(Ignored::OtherBallot);
        }
        if part >= part_count {
            return Err(Ignored::Malformed);
        }
        for Reported { slot, ballot, payload } in reported {
            self.report(slot, ballot, payload);
        }
        if chosen > self.chosen.0 {
            self.chosen = (chosen, from);
        }
        let parts = self.partial.entry(from).or_insert_with(|| Parts::of(answer, part_count));
        if (parts.answer, parts.part_count) != (answer, part_count) {
            *parts = Parts::of(answer, part_count);
        }
        parts.seen.insert(part);
        let is_whole = parts.is_whole();
        if is_whole {
            self.promises |= cx.setup.bit_of(from).expect("messages of strangers are dropped");
        }
        assert!(from != cx.setup.node(), "its own promise counts once it is durable");
        assert!(self.chosen.0 >= chosen, "a chosen slot was forgotten");
        Ok(is_whole)
    }

    /// Keeps the highest-ballot value of a slot (P-06c).
    fn report(&mut self, slot: Slot, ballot: Ballot, payload: P) {
        match self.best.entry(slot) {
            Entry::Vacant(vacant) => {
                vacant.insert((ballot, payload));
            }
            Entry::Occupied(mut held) => {
                if held.get().0 < ballot {
                    held.insert((ballot, payload));
                }
            }
        }
        let keeps = |best: &(Ballot, P)| best.0 >= ballot;
        debug_assert!(self.best.get(&slot).is_some_and(keeps), "a later value gave way to an earlier one");
    }

    /// Keeps the best time report of a member, from its answers to this candidacy.
    fn note_time(&mut self, from: NodeId, report: TimeReport, now: Mono) {
        assert!(self.since <= now, "time went back");
        let report = Report { report, asked: self.since, at: now };
        let held = self.times.entry(from).or_insert(report);
        if report.is_better_than(held, now) {
            *held = report;
        }
    }

    /// Sends the prepare again to the peers that have not promised, once its own promise is durable.
    pub fn resend_if_due(&mut self, cx: &mut Context<'_, P>) {
        if !self.own_durable || cx.now.mono < self.resend_at {
            return;
        }
        let setup = cx.setup;
        assert!(self.promises & setup.own_bit() != 0, "its own promise is not counted");
        self.resend_at = cx.now.mono.plus(setup.timing.resend);
        for to in setup.peers().filter(|&to| is_missing(to, self.promises, setup)) {
            cx.send(to, self.prepare());
        }
    }

    /// Ends the candidacy of a winner.
    pub fn into_won(self) -> Won<P> {
        assert!(self.own_durable, "has won without its own promise");
        let Self { ballot, after, best, chosen: (chosen, chosen_at), times, .. } = self;
        Won { ballot, after, best, chosen, chosen_at, times }
    }

    pub fn invariants(&self, setup: &Setup) {
        assert!(self.ballot.node() == setup.node(), "stands in a foreign ballot");
        let counts_itself = self.promises & setup.own_bit() != 0;
        assert!(counts_itself == self.own_durable, "its own promise counts just if it is durable");
        assert!(self.promises.count_ones() as usize <= setup.voter_count(), "a promise of no voter");
        assert!(self.chosen.0 >= self.first.previous(), "it asks about slots above what is chosen");
        assert!(self.partial.keys().all(|&node| setup.is_peer(node)), "an answer of a stranger");
    }
}

/// Whether `node` is not among the members of `tally`.
fn is_missing(node: NodeId, tally: u64, setup: &Setup) -> bool {
    setup.bit_of(node).is_some_and(|bit| tally & bit == 0)
}
