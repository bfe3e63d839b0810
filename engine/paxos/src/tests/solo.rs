//! One machine and its clock: a test makes a step and looks at the effects.

use super::describe::{self, Bytes};
use crate::{AheadLimits, Effect, Input, LogState, Paxos, Receipt, Timing};
use std::string::String;
use std::vec::Vec;
use synod_types::Level;
use synod_types::{
    Ballot, GroupConfig, GroupId, GroupMessage, Heartbeat, HeartbeatReply, Learned, Location, Members, Mono,
    Nanos, NodeId, Now, RecordHead, RecordKind, Reported, SegmentId, Slot, TimeReport, WallMs,
};

pub(super) const GROUP: GroupId = GroupId::new(1);

pub(super) fn slot(raw: u64) -> Slot {
    Slot::new(raw)
}
pub(super) fn ballot(round: u64, node: u16) -> Ballot {
    Ballot::new(round, NodeId::new(node))
}
pub(super) fn place(raw: u64, len: usize) -> Location {
    Location { segment: SegmentId::new(1), offset: raw as u32 * 64, len: len as u32 }
}

/// The report of an acceptor that has heard no leader's clock.
pub(super) const UNHEARD: TimeReport =
    TimeReport { ballot: Ballot::ZERO, time: WallMs::ZERO, age: Nanos::ZERO, wall: WallMs::ZERO };
/// The time at which a test begins.
pub(super) const START: Now = Now { mono: Mono(1_000_000_000), wall: WallMs(1_000_000) };

pub(super) fn config(node: u16, voters: &[u16]) -> GroupConfig {
    GroupConfig {
        group: GROUP,
        node: NodeId::new(node),
        members: Members::majority(voters.iter().map(|&raw| NodeId::new(raw)).collect()),
        preferred: NodeId::new(node),
        priority_rank: 0,
    }
}

// Short constructors of messages, so that a test reads as a dialogue.
pub(super) fn pre_vote(ballot: Ballot) -> GroupMessage<Bytes> {
    GroupMessage::PreVote { ballot, after: Ballot::ZERO }
}
pub(super) fn prepare(ballot: Ballot, from: u64) -> GroupMessage<Bytes> {
    GroupMessage::Prepare { ballot, after: Ballot::ZERO, from: slot(from) }
}
/// A promise of an acceptor that has heard no leader's clock. [`Solo::hear`] sets its wall clock to the
/// receiver's.
pub(super) fn promise(ballot: Ballot, chosen: u64, reported: &[(u64, Ballot, &str)]) -> GroupMessage<Bytes> {
    promise_at(UNHEARD, ballot, chosen, reported)
}
pub(super) fn promise_at(
    time: TimeReport,
    ballot: Ballot,
    chosen: u64,
    reported: &[(u64, Ballot, &str)],
) -> GroupMessage<Bytes> {
    let reported = reported
        .iter()
        .map(|&(at, ballot, value)| Reported { slot: slot(at), ballot, payload: value.into() })
        .collect();
    GroupMessage::Promise { ballot, chosen: slot(chosen), answer: 0, part: 0, part_count: 1, time, reported }
}
pub(super) fn accept(ballot: Ballot, at: u64, value: &str, chosen: u64) -> GroupMessage<Bytes> {
    GroupMessage::Accept { ballot, slot: slot(at), chosen: slot(chosen), payload: value.into() }
}
pub(super) fn accepted(ballot: Ballot, at: u64) -> GroupMessage<Bytes> {
    GroupMessage::Accepted { ballot, slot: slot(at) }
}
pub(super) fn learn(chosen: u64, entries: &[(u64, Ballot, &str)]) -> GroupMessage<Bytes> {
    let entries = entries
        .iter()
        .map(|&(at, ballot, value)| Learned { slot: slot(at), ballot, payload: value.into() })
        .collect();
    GroupMessage::Learn { chosen: slot(chosen), entries }
}

/// One replica, started and past its silence.
#[derive(Debug)]
pub(super) struct Solo {
    pub paxos: Paxos<Bytes>,
    pub now: Now,
    /// The receipts of records that are not durable yet, oldest first, and the lengths of their values.
    pub receipts: Vec<(Receipt, usize)>,
}

impl Solo {
    pub fn new(node: u16, voters: &[u16]) -> Self {
        Self::from_records(node, voters, &[])
    }

    /// A replica that has replayed `records`.
    pub fn from_records(node: u16, voters: &[u16], records: &[(RecordHead, &str)]) -> Self {
        Self::with_ahead_limits(node, voters, records, AheadLimits::default())
    }

    /// The same, with limits on what it holds above its applied prefix.
    pub fn with_ahead_limits(
        node: u16,
        voters: &[u16],
        records: &[(RecordHead, &str)],
        ahead: AheadLimits,
    ) -> Self {
        let timing = Timing::default();
        let mut paxos = Paxos::new(config(node, voters), timing, 7).with_ahead_limits(ahead);
        for (number, (head, value)) in records.iter().enumerate() {
            let head = RecordHead { number: number as u64 + 1, ..*head };
            paxos.replay(head, (*value).into(), place(number as u64, value.len()));
        }
        paxos.start(START);
        paxos.invariants();
        let mut solo = Self { paxos, now: START, receipts: Vec::new() };
        // The silence is over; election timeouts do not matter to a test that does not tick.
        solo.pass(timing.lease);
        solo
    }

    pub fn pass(&mut self, span: Nanos) {
        self.now.mono = self.now.mono.plus(span);
        self.now.wall = self.now.wall.plus_ms(span.as_ms());
    }
    pub fn pass_ms(&mut self, ms: u64) {
        self.pass(Nanos::from_ms(ms));
    }

    pub fn step(&mut self, input: Input<Bytes>) -> Vec<Effect<Bytes>> {
        let mut out = Vec::new();
        self.paxos.step(input, self.now, &mut out);
        self.paxos.invariants();
        for effect in &out {
            if let Effect::Append { receipt, payload, .. } = effect {
                self.receipts.push((*receipt, payload.as_ref().map_or(0, Bytes::len)));
            }
        }
        out
    }

    /// Makes a step and describes its effects.
    pub fn say(&mut self, input: Input<Bytes>) -> Vec<String> {
        describe::effects(&self.step(input))
    }
    pub fn hear(&mut self, from: u16, mut message: GroupMessage<Bytes>) -> Vec<String> {
        if let GroupMessage::Promise { time, .. } = &mut message
            && time.wall == WallMs::ZERO
        {
            time.wall = self.now.wall;
        }
        self.say(Input::Message { from: NodeId::new(from), message })
    }
    pub fn hear_heartbeat(&mut self, ballot: Ballot, chosen: u64) -> Vec<String> {
        self.hear_heartbeat_at(self.now.wall, ballot, chosen)
    }
    /// Hears a heartbeat of a leader whose clock shows `time`.
    pub fn hear_heartbeat_at(&mut self, time: WallMs, ballot: Ballot, chosen: u64) -> Vec<String> {
        let heartbeat = Heartbeat { group: GROUP, ballot, chosen: slot(chosen), sent_at: Mono(77), time };
        self.say(Input::Heartbeat { from: ballot.node(), heartbeat })
    }
    pub fn hear_heartbeat_reply(&mut self, from: u16, ballot: Ballot, sent_at: Mono) -> Vec<String> {
        self.hear_heartbeat_reply_knowing(from, ballot, sent_at, Slot::ZERO)
    }
    pub fn hear_heartbeat_reply_knowing(
        &mut self,
        from: u16,
        ballot: Ballot,
        sent_at: Mono,
        chosen: Slot,
    ) -> Vec<String> {
        let (is_low, level, wall) = (false, Level::OWN, self.now.wall);
        let reply = HeartbeatReply { group: GROUP, ballot, sent_at, chosen, is_low, level, wall };
        self.say(Input::HeartbeatReply { from: NodeId::new(from), reply })
    }
    pub fn tick(&mut self) -> Vec<String> {
        self.say(Input::Tick { log: LogState::FINE })
    }
    pub fn propose(&mut self, value: &str) -> Vec<String> {
        self.say(Input::Propose { payload: value.into() })
    }

    /// All records become durable, and get their location.
    pub fn disk(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        for (receipt, len) in core::mem::take(&mut self.receipts) {
            if let Receipt::Accept { slot, ballot } | Receipt::Learned { slot, ballot } = receipt {
                lines.extend(self.say(Input::Located { slot, ballot, at: place(slot.get(), len) }));
            }
            lines.extend(self.say(Input::Durable { receipt }));
        }
        lines
    }

    /// A recalled value comes back.
    pub fn recalled(&mut self, at: u64, ballot: Ballot, value: Option<&str>) -> Vec<String> {
        self.say(Input::Recalled { slot: slot(at), ballot, payload: value.map(Into::into) })
    }

    /// The recalls that apply needs.
    pub fn recalls(&mut self) -> Vec<String> {
        let mut out = Vec::new();
        self.paxos.recall_ahead(&mut out);
        self.paxos.invariants();
        describe::effects(&out)
    }

    /// The slots whose values are in the log alone.
    pub fn away(&self) -> Vec<u64> {
        let range = self.paxos.log().range(Slot::ZERO);
        range.filter(|(_, open)| open.away.is_some()).map(|(slot, _)| slot.get()).collect()
    }

    /// Applies the entries that are ready, and returns them.
    pub fn apply(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some((slot, value, _)) = self.paxos.next_apply() {
            lines.push(std::format!("{slot}={}", describe::payload(value)));
            self.paxos.applied(slot);
        }
        lines
    }

    /// Ticks until the pre-vote is sent; returns its ballot.
    pub fn until_pre_vote(&mut self) -> Ballot {
        for _ in 0..200 {
            self.pass_ms(5);
            for effect in self.step(Input::Tick { log: LogState::FINE }) {
                if let Effect::Send { message: GroupMessage::PreVote { ballot, .. }, .. } = effect {
                    return ballot;
                }
            }
        }
        panic!("no pre-vote within a second");
    }

    /// Makes it a candidate whose own promise is durable.
    pub fn until_candidate(&mut self, friend: u16) -> Ballot {
        self.until_candidate_of(&[friend])
    }

    /// The same, with the votes of `friends`.
    pub fn until_candidate_of(&mut self, friends: &[u16]) -> Ballot {
        let ballot = self.until_pre_vote();
        let chosen = self.paxos.chosen();
        for &friend in friends {
            let message =
                GroupMessage::PreVoteReply { ballot, granted: true, promised: Ballot::ZERO, chosen };
            self.hear(friend, message);
        }
        self.disk();
        ballot
    }

    /// Makes it a leader, by a promise of `friend` that reports nothing; its own first slot is chosen and
    /// applied.
    pub fn until_leader(&mut self, friend: u16) -> Ballot {
        let ballot = self.until_candidate(friend);
        let chosen = self.paxos.chosen();
        self.hear(friend, promise(ballot, chosen.get(), &[]));
        assert_eq!(self.paxos.leading(), Some(ballot));
        self.disk();
        self.hear(friend, accepted(ballot, self.paxos.next_slot().unwrap().previous().get()));
        self.apply();
        assert!(self.paxos.serving());
        ballot
    }
}

pub(super) fn promise_record(ballot: Ballot, chosen: u64) -> (RecordHead, &'static str) {
    (head(RecordKind::Promise, 0, ballot, chosen), "")
}
pub(super) fn accept_record(ballot: Ballot, at: u64, value: &str, chosen: u64) -> (RecordHead, &str) {
    (head(RecordKind::Accept, at, ballot, chosen), value)
}
pub(super) fn learned_record(ballot: Ballot, at: u64, value: &str, chosen: u64) -> (RecordHead, &str) {
    (head(RecordKind::Learned, at, ballot, chosen), value)
}
pub(super) fn head(kind: RecordKind, at: u64, ballot: Ballot, chosen: u64) -> RecordHead {
    RecordHead { kind, group: GROUP, slot: slot(at), ballot, chosen: slot(chosen), number: 0 }
}
