//! The acceptor: promises, accepts, and the lease it grants. Everything it reveals rides on the record that makes it durable.

use crate::clock::Anchor;
use crate::{Effect, Paxos, Receipt, State};
use alloc::vec;
use alloc::vec::Vec;
use synod_types::{
    Ballot, Beat, BeatReply, GroupMessage, Mono, NodeId, Now, Payload, RecordKind, Reported, Slot, WallMs,
    limits,
};

impl<P: Payload> Paxos<P> {
    /// Whether this acceptor is bound to somebody else: by silence after a restart, by a lease it granted, or by the lease
    /// it holds itself (P-07). A grant in the ballot `after`, whose leader gave it up for `node`, binds no longer (P-17).
    fn bound_against(&self, node: NodeId, after: Ballot, now: Mono) -> bool {
        now < self.silent_until
            || self.grant.is_some_and(|(to, until)| to.node() != node && to != after && now < until)
            || self.lease_valid(now)
    }

    pub(crate) fn on_pre_vote(
        &mut self,
        from: NodeId,
        ballot: Ballot,
        after: Ballot,
        now: Now,
        out: &mut Vec<Effect<P>>,
    ) {
        // Changes nothing here, not even the round seen: a node that cannot reach a quorum must not raise anybody's ballot.
        let granted = ballot > self.promised
            && ballot.node() == from
            && !self.bound_against(from, after, now.mono)
            && self.can_promise();
        out.push(Effect::Send {
            to: from,
            message: GroupMessage::PreVoteReply {
                ballot,
                granted,
                promised: self.promised_durable,
                chosen: self.chosen,
            },
        });
    }

    pub(crate) fn on_prepare(
        &mut self,
        from: NodeId,
        ballot: Ballot,
        after: Ballot,
        first: Slot,
        now: Now,
        out: &mut Vec<Effect<P>>,
    ) {
        if ballot.node() != from || self.bound_against(from, after, now.mono) {
            return;
        }
        self.round_seen = self.round_seen.max(ballot.round());
        if ballot < self.promised {
            self.nack(from, ballot, out);
            return;
        }
        if ballot == self.promised && self.promised_durable < ballot {
            return; // a repeated prepare: the promise is still on its way to the disk, and its answer too
        }
        // What was accepted is reported, or nothing is promised: the candidate asks again (P-02).
        if !self.has_in_memory(self.chosen.next().max(first), false, out) {
            return;
        }
        if ballot == self.promised {
            if self.promised_durable == ballot {
                for message in self.promise_parts(ballot, first, now) {
                    out.push(Effect::Send { to: from, message });
                }
            }
            return;
        }
        if !self.can_promise() {
            return; // it is asked again
        }
        self.promised = ballot;
        self.grant = None;
        self.step_down(now.mono);
        self.arm_election(now.mono, false);
        let then: Vec<_> =
            self.promise_parts(ballot, first, now).into_iter().map(|message| (from, message)).collect();
        #[cfg(feature = "canary")]
        if self.canary == Some(crate::Canary::PromiseBeforeDurable) {
            for (to, message) in then {
                out.push(Effect::Send { to, message });
            }
            out.push(Effect::Append {
                head: self.head(RecordKind::Promise, Slot::ZERO, ballot),
                payload: None,
                then: Vec::new(),
                receipt: Receipt::Promise(ballot),
            });
            return;
        }
        out.push(Effect::Append {
            head: self.head(RecordKind::Promise, Slot::ZERO, ballot),
            payload: None,
            then,
            receipt: Receipt::Promise(ballot),
        });
    }

    /// What this acceptor reports in a promise: everything it accepted above its chosen prefix (and from `first` on), in
    /// parts that fit a frame. What it knows as chosen is named by number and fetched instead (P-02).
    fn promise_parts(&mut self, ballot: Ballot, first: Slot, now: Now) -> Vec<GroupMessage<P>> {
        let answer = self.next_random();
        let time = Anchor::report(self.anchor, now.mono, now.wall);
        let mut parts: Vec<Vec<Reported<P>>> = vec![Vec::new()];
        let mut bytes = 0;
        for (slot, open) in self.log.range(self.chosen.next().max(first)) {
            #[cfg(feature = "canary")]
            if open.payload.is_none() && self.canary == Some(crate::Canary::ShedUnreported) {
                continue;
            }
            let payload = open.payload.as_ref().expect("a promise is made with everything in memory");
            let last = parts.len() - 1; // never empty
            bytes += payload.as_ref().len();
            let is_full = bytes > limits::PEER_CHUNK_BYTES || parts[last].len() == limits::REPORTED_SLOTS_MAX;
            let reported = Reported { slot, ballot: open.ballot, payload: payload.clone() };
            if is_full && !parts[last].is_empty() {
                parts.push(vec![reported]);
                bytes = payload.as_ref().len();
            } else {
                parts[last].push(reported);
            }
        }
        let part_count = parts.len() as u32; // bounded by AHEAD_SLOTS_MAX
        let number = 0_u32..;
        number
            .zip(parts)
            .map(|(part, reported)| GroupMessage::Promise {
                ballot,
                chosen: self.chosen,
                answer,
                part,
                part_count,
                time,
                reported,
            })
            .collect()
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one message")]
    pub(crate) fn on_accept(
        &mut self,
        from: NodeId,
        ballot: Ballot,
        slot: Slot,
        chosen: Slot,
        payload: P,
        now: Now,
        out: &mut Vec<Effect<P>>,
    ) {
        if ballot.node() != from || slot == Slot::ZERO {
            return;
        }
        if ballot < self.promised {
            self.nack(from, ballot, out);
            return;
        }
        self.note_leader(ballot, now.mono);
        self.accept_value(from, ballot, slot, payload, out);
        self.mark_late(ballot, slot);
        self.on_watermark(ballot, chosen);
    }

    fn accept_value(
        &mut self,
        from: NodeId,
        ballot: Ballot,
        slot: Slot,
        payload: P,
        out: &mut Vec<Effect<P>>,
    ) {
        if slot <= self.chosen || self.log.get(slot).is_some_and(|open| open.chosen) {
            // Decided long ago as far as this replica knows; it will not write it again, it tells.
            self.on_fetch(from, slot, out);
            return;
        }
        if let Some(open) = self.log.get(slot)
            && open.ballot == ballot
        {
            // The very same proposal again. Unless its record is still under way, the answer was lost: repeat it.
            if open.durable {
                out.push(Effect::Send { to: from, message: GroupMessage::Accepted { ballot, slot } });
            }
            return;
        }
        if self.is_too_far(slot) {
            return; // too far behind to be of use in a quorum: pull first (bounded memory)
        }
        if !self.has_room_for_accept(ballot) {
            return; // silence: what is not durable is not acknowledged
        }
        // Accepting also promises (P-02); the record's durability covers both.
        self.promised = ballot;
        self.log.put(slot, ballot, payload.clone());
        out.push(Effect::Append {
            head: self.head(RecordKind::Accept, slot, ballot),
            payload: Some(payload),
            then: vec![(from, GroupMessage::Accepted { ballot, slot })],
            receipt: Receipt::Accept { slot, ballot },
        });
    }

    /// The acceptor's half of a heartbeat: a lease grant, given only under a durable promise of that very ballot.
    pub(crate) fn acceptor_on_beat(&mut self, from: NodeId, beat: Beat, now: Now, out: &mut Vec<Effect<P>>) {
        if beat.ballot > self.promised {
            // Seeing a ballot is not promising it. A leader that this replica never promised may be idle, so promise now,
            // on the record, unless somebody else still holds this replica's word.
            if !self.bound_against(from, Ballot::ZERO, now.mono) && self.can_promise() {
                self.promised = beat.ballot;
                out.push(Effect::Append {
                    head: self.head(RecordKind::Promise, Slot::ZERO, beat.ballot),
                    payload: None,
                    then: Vec::new(),
                    receipt: Receipt::Promise(beat.ballot),
                });
            }
            return;
        }
        assert!(beat.ballot == self.promised, "a lower ballot was refused before");
        if beat.time > WallMs::ZERO {
            Anchor::hear(&mut self.anchor, Anchor::new(beat.ballot, beat.time, now.mono));
        }
        let is_durable = self.promised_durable >= beat.ballot;
        #[cfg(feature = "canary")]
        let is_durable = is_durable || self.canary == Some(crate::Canary::GrantBeforeDurable);
        if !is_durable {
            return;
        }
        self.grant = Some((beat.ballot, now.mono.plus(self.timing.lease)));
        self.log.release(); // for one lease nobody else is promised
        out.push(Effect::BeatReply {
            to: from,
            reply: BeatReply {
                group: self.config.group,
                ballot: beat.ballot,
                sent_at: beat.sent_at,
                chosen: self.chosen,
                is_low: self.is_low(),
                level: self.level,
                wall: now.wall,
            },
        });
    }

    /// Refuses a ballot, naming only a promise that is durable (P-01); before that, silence is the answer.
    pub(crate) fn nack(&mut self, to: NodeId, ballot: Ballot, out: &mut Vec<Effect<P>>) {
        if self.promised_durable > ballot {
            let message = GroupMessage::Nack { ballot, promised: self.promised_durable };
            out.push(Effect::Send { to, message });
        }
    }

    pub(crate) fn on_nack(&mut self, ballot: Ballot, promised: Ballot, now: Now) {
        self.round_seen = self.round_seen.max(promised.round());
        let mine = match &self.role {
            State::Leader(leader) => leader.ballot,
            State::Candidate(candidate) => candidate.ballot,
            State::Follower | State::PreCandidate(_) => return,
        };
        // Only an answer to the ballot in use counts: an old one says nothing about now.
        if mine == ballot && promised > ballot {
            self.step_down(now.mono);
        }
    }
}
