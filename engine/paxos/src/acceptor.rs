//! The acceptor: promises, accepts, and the lease it grants. Every message that reveals a promise or an
//! acceptance is sent once its record is durable.

#[cfg(feature = "canary")]
use crate::api::Canary;
use crate::api::{Effect, Receipt};
use crate::clock::KnownTime;
use crate::context::Context;
use crate::ignored::{Handled, Ignored};
use crate::learner::Learner;
use crate::recall::Needed;
use crate::setup::Setup;
use crate::space::LogSpace;
use alloc::vec;
use alloc::vec::Vec;
use synod_types::{Ballot, GroupMessage, Heartbeat, HeartbeatReply, Mono, NodeId, Payload, Slot, WallMs};

/// What an acceptor has promised and granted. `promised_durable <= promised`, and neither goes down.
#[derive(Debug, Default)]
pub(crate) struct Acceptor {
    promised: Ballot,
    promised_durable: Ballot,
    /// The ballot of the leader whose heartbeat was answered, and until when prepares of other nodes are
    /// refused (P-07).
    grant: Option<(Ballot, Mono)>,
    /// A restarted acceptor has forgotten its grants: it stays silent for one lease (P-07).
    silent_until: Mono,
}

/// A prepare that was received.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Prepare {
    pub from: NodeId,
    pub ballot: Ballot,
    /// The first slot it asks about.
    pub first: Slot,
}

/// The promise with which a prepare is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Promising {
    /// A new promise, which has to be written first.
    Anew,
    /// A promise that is durable already: the answer was lost (P-02e).
    Again,
}

impl Acceptor {
    /// The highest ballot promised.
    pub fn promised(&self) -> Ballot {
        self.promised
    }

    /// Whether the restart is so recent that a grant from before it may still bind (P-07c).
    pub fn is_silent(&self, now: Mono) -> bool {
        now < self.silent_until
    }

    /// A record of the log shows that `ballot` was promised.
    pub fn replay(&mut self, ballot: Ballot) {
        self.promise(self.promised.max(ballot));
    }

    /// Ends replay: everything replayed is durable, and grants are forgotten.
    pub fn start(&mut self, silent_until: Mono) {
        assert!(self.grant.is_none(), "a grant before the start");
        assert!(self.silent_until <= silent_until, "a silence that was cut short");
        self.promised_durable = self.promised;
        self.silent_until = silent_until;
    }

    /// A record that promises `ballot` is durable.
    pub fn on_durable(&mut self, ballot: Ballot) {
        assert!(ballot <= self.promised, "a record promises what was never promised");
        self.promised_durable = self.promised_durable.max(ballot);
        debug_assert!(self.promised_durable <= self.promised, "what is durable was not promised");
    }

    /// A new ballot above every ballot promised here and every round heard of. It is unique by its node, and
    /// was never used before, because each ballot of this node was a durable promise first (P-01).
    pub fn next_ballot(&self, round_seen: u64, setup: &Setup) -> Ballot {
        #[cfg(feature = "canary")]
        if setup.has(Canary::BallotReuse) {
            return self.promised_durable.above(setup.node());
        }
        let round = self.promised.round().max(round_seen);
        let ballot = Ballot::new(round + 1, setup.node());
        debug_assert!(ballot > self.promised, "a new ballot is above every promise");
        ballot
    }

    /// This replica stands for election in `ballot`: it promises that ballot, and its grant ends.
    pub fn stand_in(&mut self, ballot: Ballot) {
        self.promise(self.promised.max(ballot));
        self.grant = None;
        assert!(self.promised_durable <= self.promised, "what is durable was not promised");
    }

    fn promise(&mut self, ballot: Ballot) {
        assert!(ballot >= self.promised, "a promise goes down");
        self.promised = ballot;
    }

    // ---- what binds ---------------------------------------------------------------------------------------

    /// Whether this acceptor may not promise `node`: because it is silent after a restart, or because it
    /// granted a lease to another node (P-07). A grant in the ballot `after` no longer binds: its leader gave
    /// the lease up for `node` (P-17).
    pub fn is_bound_against(&self, node: NodeId, after: Ballot, now: Mono) -> bool {
        self.is_silent(now)
            || self.grant.is_some_and(|(to, until)| to.node() != node && to != after && now < until)
    }

    /// Whether this replica may stand for election (P-07a) and can make a promise now. The leader of `after`
    /// has given up its lease, if `after` is not zero.
    pub fn may_stand(&self, after: Ballot, space: &LogSpace, now: Mono) -> bool {
        let is_free = self.grant.is_none_or(|(to, until)| to == after || now >= until);
        is_free && !self.is_silent(now) && self.check_can_promise(space).is_ok()
    }

    /// Whether a promise may be made now: the log has room for it, and no other promise is being written. One
    /// at a time is enough for an election, and bounds memory while a disk stalls, however many candidates
    /// ask meanwhile (P-18).
    fn check_can_promise(&self, space: &LogSpace) -> Handled {
        assert!(self.promised_durable <= self.promised, "a promise was forgotten");
        if !space.takes_promises() {
            return Err(Ignored::NoRoom);
        }
        if self.promised_durable < self.promised {
            return Err(Ignored::AwaitingDisk);
        }
        Ok(())
    }

    /// Checks that `ballot` is not below the promise. If it is, a nack names the durable promise (P-01d).
    /// Until a higher promise is durable there is no answer.
    pub fn check_not_old<P: Payload>(
        &self,
        from: NodeId,
        ballot: Ballot,
        cx: &mut Context<'_, P>,
    ) -> Handled {
        debug_assert!(self.promised_durable <= self.promised, "a promise was forgotten");
        if ballot >= self.promised {
            return Ok(());
        }
        if self.promised_durable > ballot {
            cx.send(from, GroupMessage::Nack { ballot, promised: self.promised_durable });
        }
        Err(Ignored::OldBallot)
    }

    // ---- elections ----------------------------------------------------------------------------------------

    /// Answers whether a prepare would be promised. It changes no state: a node that cannot reach a quorum
    /// must not raise another replica's ballot (P-06a). `is_bound`: a grant, a lease or the silence forbids
    /// this replica to promise the sender.
    pub fn on_pre_vote<P: Payload>(
        &self,
        from: NodeId,
        ballot: Ballot,
        is_bound: bool,
        chosen: Slot,
        cx: &mut Context<'_, P>,
    ) {
        let is_higher = ballot > self.promised && ballot.node() == from;
        let granted = is_higher && !is_bound && self.check_can_promise(cx.space).is_ok();
        let promised = self.promised_durable;
        assert!(!granted || promised < ballot, "a vote for a ballot that would be refused");
        cx.send(from, GroupMessage::PreVoteReply { ballot, granted, promised, chosen });
    }

    /// Whether and how a prepare is answered, when no lease forbids it. No promise is made until everything
    /// accepted can be reported; the candidate asks again (P-02f).
    pub fn judge_prepare<P: Payload>(
        &self,
        prepare: Prepare,
        learner: &mut Learner<P>,
        cx: &mut Context<'_, P>,
    ) -> Result<Promising, Ignored> {
        let Prepare { from, ballot, first } = prepare;
        assert!(ballot.node() == from, "a foreign ballot was refused before");
        self.check_not_old(from, ballot, cx)?;
        if ballot == self.promised && self.promised_durable < ballot {
            return Err(Ignored::AwaitingDisk); // its record is being written, and the answer is sent with it
        }
        let start = learner.report_start(first);
        if !learner.has_in_memory(start, Needed::All, cx.out) {
            return Err(Ignored::AwaitingRecall);
        }
        if ballot == self.promised {
            assert!(self.promised_durable == ballot, "what is repeated is durable");
            return Ok(Promising::Again);
        }
        self.check_can_promise(cx.space)?;
        Ok(Promising::Anew)
    }

    /// Answers a prepare (P-01a).
    pub fn answer_prepare<P: Payload>(
        &mut self,
        prepare: Prepare,
        promising: Promising,
        learner: &Learner<P>,
        time: &KnownTime,
        cx: &mut Context<'_, P>,
    ) {
        let Prepare { from, ballot, first } = prepare;
        let parts = promise_parts(ballot, learner, first, time, cx);
        if promising == Promising::Again {
            assert!(ballot == self.promised_durable, "what is repeated is durable");
            for message in parts {
                cx.send(from, message);
            }
            return;
        }
        assert!(ballot > self.promised, "promised twice");
        self.promise(ballot);
        self.grant = None;
        let then: Vec<_> = parts.into_iter().map(|message| (from, message)).collect();
        #[cfg(feature = "canary")]
        if cx.setup.has(Canary::PromiseBeforeDurable) {
            for (to, message) in then {
                cx.send(to, message);
            }
            cx.append(Receipt::Promise(ballot), None, learner.chosen(), Vec::new());
            return;
        }
        cx.append(Receipt::Promise(ballot), None, learner.chosen(), then);
    }

    // ---- accepting ----------------------------------------------------------------------------------------

    /// Accepts a value proposed by the leader of a ballot that is not below the promise.
    pub fn accept<P: Payload>(
        &mut self,
        from: NodeId,
        ballot: Ballot,
        slot: Slot,
        payload: P,
        learner: &mut Learner<P>,
        cx: &mut Context<'_, P>,
    ) -> Handled {
        assert!(ballot >= self.promised, "a lower ballot was refused before");
        debug_assert!(ballot.node() == from, "a foreign ballot was refused before");
        let held = learner.held(slot);
        if slot <= learner.chosen() || held.is_some_and(|open| open.chosen) {
            // This replica knows the slot as chosen: it does not write it again, but answers with the chosen
            // value (P-02d).
            learner.on_fetch(from, slot, cx);
            return Err(Ignored::AlreadyChosen);
        }
        if let Some(open) = held
            && open.ballot == ballot
        {
            // The same proposal again. Unless its record is still being written, the answer was lost: repeat
            // it (P-02e).
            if !open.durable {
                return Err(Ignored::AwaitingDisk);
            }
            cx.send(from, GroupMessage::Accepted { ballot, slot });
            return Ok(());
        }
        if learner.is_too_far(slot) {
            return Err(Ignored::TooFar); // memory is bounded: this replica must pull first
        }
        if !cx.space.takes_accepts_in(ballot) {
            return Err(Ignored::NoRoom); // no answer: only durable acceptances are acknowledged
        }
        // Accepting also promises (P-02b); one record makes both durable.
        self.promise(ballot);
        learner.hold(slot, ballot, payload.clone());
        debug_assert!(learner.held(slot).is_some_and(|open| open.ballot == ballot && !open.durable));
        let then = vec![(from, GroupMessage::Accepted { ballot, slot })];
        cx.append(Receipt::Accept { slot, ballot }, Some(payload), learner.chosen(), then);
        Ok(())
    }

    /// The acceptor's part of a heartbeat whose ballot is not below the promise: it grants a lease, but only
    /// under a durable promise of exactly that ballot (P-07d).
    pub fn on_heartbeat<P: Payload>(
        &mut self,
        from: NodeId,
        heartbeat: Heartbeat,
        learner: &mut Learner<P>,
        time: &mut KnownTime,
        cx: &mut Context<'_, P>,
    ) -> Handled {
        assert!(heartbeat.ballot.node() == from, "a foreign ballot was refused before");
        if heartbeat.ballot > self.promised {
            // Hearing a ballot does not promise it. A leader that this replica has not promised may be idle
            // and send no accepts, so write a promise now, unless a lease forbids it.
            if self.is_bound_against(from, Ballot::ZERO, cx.now.mono) {
                return Err(Ignored::Bound);
            }
            self.check_can_promise(cx.space)?;
            self.promise(heartbeat.ballot);
            cx.append(Receipt::Promise(heartbeat.ballot), None, learner.chosen(), Vec::new());
            return Ok(());
        }
        assert!(heartbeat.ballot == self.promised, "a lower ballot was refused before");
        if heartbeat.time > WallMs::ZERO {
            time.hear(heartbeat.ballot, heartbeat.time, cx.now.mono);
        }
        let is_durable = self.promised_durable >= heartbeat.ballot;
        #[cfg(feature = "canary")]
        let is_durable = is_durable || cx.setup.has(Canary::GrantBeforeDurable);
        if !is_durable {
            return Err(Ignored::AwaitingDisk);
        }
        self.grant = Some((heartbeat.ballot, cx.now.mono.plus(cx.setup.timing.lease)));
        learner.release_recalled(); // no other candidate is promised for one lease
        let reply = HeartbeatReply {
            group: cx.setup.group(),
            ballot: heartbeat.ballot,
            sent_at: heartbeat.sent_at,
            chosen: learner.chosen(),
            is_low: cx.space.is_low(),
            level: cx.setup.level,
            wall: cx.now.wall,
        };
        cx.out.push(Effect::HeartbeatReply { to: from, reply });
        Ok(())
    }

    pub fn invariants(&self) {
        assert!(self.promised_durable <= self.promised, "a promise was forgotten");
        let granted_in = self.grant.map(|(ballot, _)| ballot);
        assert!(granted_in <= Some(self.promised), "a lease was granted in a ballot that was not promised");
    }
}

/// The messages of a promise: everything accepted above the chosen prefix (and from `first` on), in parts
/// that fit a frame, and what this replica knows of the time (P-16c).
fn promise_parts<P: Payload>(
    ballot: Ballot,
    learner: &Learner<P>,
    first: Slot,
    time: &KnownTime,
    cx: &mut Context<'_, P>,
) -> Vec<GroupMessage<P>> {
    let (chosen, answer, time) = (learner.chosen(), cx.draw(), time.report(cx.now));
    let parts = learner.report(first);
    assert!(!parts.is_empty(), "an answer has at least one part");
    let part_count = parts.len() as u32; // bounded by AHEAD_SLOTS_MAX
    let message =
        |(part, reported)| GroupMessage::Promise { ballot, chosen, answer, part, part_count, time, reported };
    (0_u32..).zip(parts).map(message).collect()
}
