//! What clients ask outside of sessions is sent under a session of this core, one per group, so that it is executed once whatever
//! becomes of it on its way (P-21).
//!
//! ```text
//!   a leader is known ─▶ OpenNodeSession ─▶ open
//!   a write ─▶ stamped: the next sequence, and the lowest that is not answered ─▶ route
//!         └─ no session yet, or its window is full: waits, in order
//!   answers ─▶ the window moves on: the next stamp says so, or a close where none comes
//! ```
//! A sequence stands for one command for as long as the process lives, in whatever sessions of its own. May not: stamp anything
//! twice, or what came with a stamp.

use crate::outlet::{Answer, Out, OwnAsk};
use crate::request::{Origin, Request, cost};
use crate::{GroupId, Shard};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use synod_types::limits::SESSION_REPLIES_MAX;
use synod_types::operand::put_range;
use synod_types::{
    Command, Consistency, ErrorKind, Mono, Nanos, Now, Op, Payload, Reply, RequestId, SessionId, SessionStamp,
};

/// Sequences of writes that may be held at once: one is left for a close.
const WINDOW: usize = SESSION_REPLIES_MAX - 1;
/// Sequences from the lowest open one to the next: closed ones are not held, but remembered here.
const SPAN_MAX: usize = 1 << 16;
/// A session that was asked for in vain, or a close, is asked for again after this long.
const PUT_OFF: Nanos = Nanos::from_ms(100);
/// So long after the last write what was answered is closed by itself: its replies need not be kept.
const IDLE: Nanos = Nanos::from_ms(1_000);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// There is none, or none any more.
    Unopened,
    /// It is asked for.
    Opening,
    Open(SessionId),
    /// A later start of this node has one: this process is an old copy.
    Superseded,
}

/// What became of a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    /// Its client waits.
    Open,
    Answered,
    /// Answered, and named in the close that is under way.
    Closing,
    /// Answered, and closed in the group.
    Closed,
}

/// The session of this core in one group.
#[derive(Debug)]
pub(crate) struct Stamps {
    state: State,
    /// Something was asked for in vain: not again before this.
    put_off_until: Mono,
    /// The next sequence.
    next: u64,
    /// All below are answered.
    lowest: u64,
    /// Of the sequences from `lowest` to `next`.
    marks: VecDeque<Mark>,
    /// How many of them are closed.
    closed: usize,
    /// Writes were answered that no stamp has told of.
    owes: bool,
    /// When something was stamped last.
    used_at: Mono,
    /// The close that is to be answered before there is another.
    closing: Option<Close>,
}

#[derive(Debug)]
struct Close {
    stamp: SessionStamp,
    ranges: Vec<u8>,
    /// Else it is to be asked again, as it was.
    is_under_way: bool,
}

/// What came of a close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closed {
    /// What it named is closed.
    Yes,
    /// Nothing is, or by another one.
    No,
    /// It is not known, or it was not taken.
    Unclear,
}

impl Default for Stamps {
    fn default() -> Self {
        Self {
            state: State::Unopened,
            put_off_until: Mono::ZERO,
            next: 1,
            lowest: 1,
            marks: VecDeque::new(),
            closed: 0,
            owes: false,
            used_at: Mono::ZERO,
            closing: None,
        }
    }
}

impl Stamps {
    fn can_stamp(&self) -> bool {
        matches!(self.state, State::Open(_))
            && self.marks.len() - self.closed < WINDOW
            && self.marks.len() < SPAN_MAX
    }

    /// A stamp for a write, unless there is no session or its window is full.
    fn stamp(&mut self, now: Mono) -> Option<SessionStamp> {
        if self.can_stamp() { self.take(now) } else { None }
    }

    fn take(&mut self, now: Mono) -> Option<SessionStamp> {
        let State::Open(session) = self.state else { return None };
        let stamp = SessionStamp { session, sequence: self.next, lowest_open: self.lowest };
        self.next += 1;
        self.marks.push_back(Mark::Open);
        (self.owes, self.used_at) = (false, now);
        Some(stamp)
    }

    fn set(&mut self, sequence: u64, mark: Mark) {
        let at =
            sequence.checked_sub(self.lowest).expect("an open sequence is not below the lowest") as usize;
        assert!(self.marks[at] == Mark::Open, "a sequence is answered once");
        self.marks[at] = mark;
    }

    fn move_on(&mut self) {
        let is_done = |mark: &mut Mark| matches!(mark, Mark::Answered | Mark::Closed);
        while let Some(mark) = self.marks.pop_front_if(is_done) {
            self.lowest += 1;
            self.closed -= usize::from(mark == Mark::Closed);
        }
    }

    /// A client has its answer.
    fn answered(&mut self, sequence: u64) {
        self.set(sequence, Mark::Answered);
        self.owes = true;
        self.move_on();
    }

    /// A close that is due: its stamp, and the ranges it names.
    fn close(&mut self, now: Mono) -> Option<(SessionStamp, Vec<u8>)> {
        if now < self.put_off_until {
            return None;
        }
        if let Some(close) = &mut self.closing {
            if close.is_under_way {
                return None;
            }
            close.is_under_way = true;
            return Some((close.stamp, close.ranges.clone()));
        }
        if self.marks.len() - self.closed >= SESSION_REPLIES_MAX {
            return None;
        }
        let is_idle = self.owes && self.marks.is_empty() && now.since(self.used_at) >= IDLE;
        let is_full = !self.can_stamp() && self.marks.len() < SPAN_MAX;
        let is_worth_it = is_idle || is_full && self.answered_count() >= WINDOW / 2;
        if !is_worth_it {
            return None;
        }
        let stamp = self.take(now)?;
        let mut ranges = Vec::new();
        let (mut at, lowest) = (0, self.lowest);
        while at < self.marks.len() {
            let run = self.marks.iter().skip(at).take_while(|&&mark| mark == Mark::Answered).count();
            if run > 0 {
                put_range(&mut ranges, lowest + at as u64, run as u32); // within the window
                self.marks.range_mut(at..at + run).for_each(|mark| *mark = Mark::Closing);
            }
            at += run + 1;
        }
        self.closing = Some(Close { stamp, ranges: ranges.clone(), is_under_way: true });
        Some((stamp, ranges))
    }

    fn answered_count(&self) -> usize {
        self.marks.iter().filter(|&&mark| mark == Mark::Answered).count()
    }

    /// The close that was under way is answered.
    fn close_answered(&mut self, sequence: u64, closed: Closed, now: Mono) {
        let Some(close) = &mut self.closing else { panic!("a close is answered that was not asked for") };
        assert!(close.stamp.sequence == sequence && close.is_under_way, "one close at a time");
        if closed == Closed::Unclear {
            (close.is_under_way, self.put_off_until) = (false, now.plus(PUT_OFF));
            return;
        }
        self.closing = None;
        self.set(sequence, Mark::Answered);
        let is_done = closed == Closed::Yes;
        for mark in self.marks.iter_mut().filter(|mark| **mark == Mark::Closing) {
            *mark = if is_done { Mark::Closed } else { Mark::Answered };
            self.closed += usize::from(is_done);
        }
        self.owes |= !is_done;
        self.move_on();
    }

    /// A session is not there any more; whether that is news.
    fn gone(&mut self, session: Option<SessionId>) -> bool {
        let State::Open(held) = self.state else { return false };
        if session.is_some_and(|session| session != held) {
            return false;
        }
        self.state = State::Unopened;
        true
    }

    pub(crate) fn invariants(&self) {
        assert!(self.next - self.lowest == self.marks.len() as u64, "a sequence was lost");
        let closed = self.marks.iter().filter(|&&mark| mark == Mark::Closed).count();
        assert!(closed == self.closed, "closed sequences are miscounted");
        assert!(self.closing.is_some() || !self.marks.contains(&Mark::Closing));
        assert!(
            !matches!(self.marks.front(), Some(Mark::Answered | Mark::Closed)),
            "the window stands still"
        );
        assert!(self.marks.len() - self.closed <= SESSION_REPLIES_MAX);
    }
}

impl<P: Payload> Shard<P> {
    /// A client's write that came without a session.
    pub(crate) fn take_write(
        &mut self,
        index: usize,
        id: RequestId,
        mut request: Request<P>,
        now: Now,
        out: &mut impl Out<P>,
    ) {
        let limit = self.config.pending_bytes_max;
        let group = &mut self.groups[index];
        if group.unstamped.is_empty()
            && let Some(stamp) = group.stamps.stamp(now.mono)
        {
            request.origin = stamped(id, index, stamp);
            request.command.stamp = stamp;
            return self.route(index, request, now, out);
        }
        if group.stamps.state == State::Superseded {
            return request.refuse(ErrorKind::NoLeader, out);
        }
        let cost = cost(&request.command);
        if group.pending_bytes + cost > limit {
            return request.refuse(ErrorKind::Busy, out);
        }
        group.pending_bytes += cost;
        group.unstamped.push_back((id, request));
    }

    /// Sends on what waited for the session, or for room in its window.
    fn stamp_waiting(&mut self, index: usize, now: Now, out: &mut impl Out<P>) {
        loop {
            let group = &mut self.groups[index];
            if group.unstamped.is_empty() || !group.stamps.can_stamp() {
                return;
            }
            let (Some((id, mut request)), Some(stamp)) =
                (group.unstamped.pop_front(), group.stamps.stamp(now.mono))
            else {
                return;
            };
            group.pending_bytes -= cost(&request.command);
            request.origin = stamped(id, index, stamp);
            request.command.stamp = stamp;
            self.route(index, request, now, out);
        }
    }

    /// Asks for what the session of a group needs: that it be opened, or a part of it closed.
    pub(crate) fn mind_session(&mut self, index: usize, is_tick: bool, now: Now, out: &mut impl Out<P>) {
        let group = &mut self.groups[index];
        if group.id == GroupId::SYSTEM {
            return;
        }
        if is_tick {
            self.refuse_unstamped(index, self.config.timing.patience, None, now, out);
        }
        let group = &mut self.groups[index];
        let has_leader = group.led.is_some() || group.paxos.leader_hint().is_some();
        let stamps = &group.stamps;
        if stamps.state == State::Unopened && has_leader && now.mono >= stamps.put_off_until {
            group.stamps.state = State::Opening;
            let op = Op::OpenNodeSession {
                node: self.config.node,
                core: self.config.core,
                boot: self.config.boot,
            };
            self.ask_own(index, OwnAsk::Open, (op, SessionStamp::default()), Vec::new(), now, out);
        } else if is_tick && let Some((stamp, ranges)) = group.stamps.close(now.mono) {
            let ask = OwnAsk::Close(stamp.sequence);
            self.ask_own(index, ask, (Op::CloseSequences, stamp), ranges, now, out);
        }
    }

    fn ask_own(
        &mut self,
        index: usize,
        ask: OwnAsk,
        (op, stamp): (Op, SessionStamp),
        operand: Vec<u8>,
        now: Now,
        out: &mut impl Out<P>,
    ) {
        let command = Command { stamp, ..Command::new(P::from(Vec::new()), op, P::from(operand)) };
        let origin = Origin::Own { index: index as u16, ask }; // COALESCED_MAX groups at most
        let consistency = Consistency::default();
        self.route(index, Request { origin, consistency, command, arrived: now.mono }, now, out);
    }

    /// An answer to something that went under a session of this core.
    pub(crate) fn on_answer(&mut self, answer: Answer, now: Now, out: &mut impl Out<P>) {
        let index = match answer {
            Answer::Write { index, sequence } => {
                self.groups[usize::from(index)].stamps.answered(sequence);
                index
            }
            Answer::Gone { index } => {
                self.sessions_lost += u64::from(self.groups[usize::from(index)].stamps.gone(None));
                index
            }
            Answer::Own { index, ask: OwnAsk::Close(sequence), reply } => {
                let stamps = &mut self.groups[usize::from(index)].stamps;
                let closed = match reply {
                    Reply::Value { .. } => Closed::Yes,
                    Reply::Error(ErrorKind::SessionExpired) => {
                        let session = stamps.closing.as_ref().map(|close| close.stamp.session);
                        self.sessions_lost += u64::from(stamps.gone(session));
                        Closed::No
                    }
                    Reply::Error(ErrorKind::SequenceClosed | ErrorKind::Malformed) => Closed::No,
                    _ => Closed::Unclear,
                };
                stamps.close_answered(sequence, closed, now.mono);
                index
            }
            Answer::Own { index, ask: OwnAsk::Open, reply } => {
                self.on_opened(usize::from(index), reply, now, out);
                index
            }
        };
        self.stamp_waiting(usize::from(index), now, out);
    }

    fn on_opened(&mut self, index: usize, reply: Reply<()>, now: Now, out: &mut impl Out<P>) {
        let stamps = &mut self.groups[index].stamps;
        assert!(stamps.state == State::Opening, "a session is opened once at a time");
        let refused = match reply {
            Reply::Session(id) => {
                stamps.state = State::Open(id);
                return;
            }
            Reply::Error(ErrorKind::SessionExpired) => {
                stamps.state = State::Superseded;
                Some(ErrorKind::NoLeader)
            }
            reply => {
                (stamps.state, stamps.put_off_until) = (State::Unopened, now.mono.plus(PUT_OFF));
                match reply {
                    Reply::Error(kind @ (ErrorKind::Busy | ErrorKind::NoSpace)) => Some(kind),
                    _ => None, // asked for again as long as somebody's patience lasts
                }
            }
        };
        if refused.is_some() {
            self.refuse_unstamped(index, Nanos(0), refused, now, out);
        }
    }

    /// Refuses writes that have waited for a stamp for so long.
    fn refuse_unstamped(
        &mut self,
        index: usize,
        patience: Nanos,
        kind: Option<ErrorKind>,
        now: Now,
        out: &mut impl Out<P>,
    ) {
        let group = &mut self.groups[index];
        let has_session = matches!(group.stamps.state, State::Open(_));
        let kind = kind.unwrap_or(if has_session { ErrorKind::Busy } else { ErrorKind::NoLeader });
        let is_late = |(_, first): &mut (RequestId, Request<P>)| now.mono.since(first.arrived) >= patience;
        while let Some((_, request)) = group.unstamped.pop_front_if(is_late) {
            group.pending_bytes -= cost(&request.command);
            request.refuse(kind, out);
        }
    }

    /// A group in which a later start of this node, or another process that claims to be it, has opened its session: this process runs
    /// on an old copy of the node's directory and must stop.
    pub fn superseded(&self) -> Option<GroupId> {
        let is_superseded = |stamps: &Stamps| stamps.state == State::Superseded;
        self.groups.iter().find(|group| is_superseded(&group.stamps)).map(|group| group.id)
    }

    /// How often a session of this core was found to be gone (checkers only).
    pub fn sessions_lost(&self) -> u64 {
        self.sessions_lost
    }
}

fn stamped(id: RequestId, index: usize, stamp: SessionStamp) -> Origin {
    Origin::Stamped { id, index: index as u16, sequence: stamp.sequence } // COALESCED_MAX groups at most
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: SessionId = SessionId::of_node(1);

    fn open() -> Stamps {
        Stamps { state: State::Open(ID), ..Stamps::default() }
    }

    fn at(ms: u64) -> Mono {
        Mono(Nanos::from_ms(ms).0)
    }

    fn ranges_of(packed: &[u8]) -> Vec<(u64, u32)> {
        synod_types::operand::ranges(packed).collect()
    }

    #[test]
    fn stamps_count_up_and_tell_what_is_answered() {
        let mut stamps = open();
        let told = |stamp: Option<SessionStamp>| stamp.map(|stamp| (stamp.sequence, stamp.lowest_open));
        assert_eq!(told(stamps.stamp(at(0))), Some((1, 1)));
        assert_eq!(told(stamps.stamp(at(0))), Some((2, 1)));
        stamps.answered(2);
        assert_eq!(told(stamps.stamp(at(0))), Some((3, 1)), "the first is open");
        stamps.answered(1);
        assert_eq!(told(stamps.stamp(at(0))), Some((4, 3)));
        stamps.invariants();
        assert_eq!(told(Stamps::default().stamp(at(0))), None);
    }

    #[test]
    fn a_window_is_full_before_the_group_would_refuse_and_moves_on() {
        let mut stamps = open();
        let count = (0..).take_while(|_| stamps.stamp(at(0)).is_some()).count();
        assert_eq!(count, SESSION_REPLIES_MAX - 1);
        assert!(stamps.close(at(9_999)).is_none(), "nothing is answered");
        stamps.answered(1);
        assert_eq!(stamps.stamp(at(0)).map(|stamp| stamp.lowest_open), Some(2));
        assert!(stamps.stamp(at(0)).is_none());
        stamps.invariants();
    }

    #[test]
    fn one_that_stays_open_does_not_hold_the_window() {
        let mut stamps = open();
        while stamps.stamp(at(0)).is_some() {}
        for sequence in 2..=1023 {
            if sequence != 500 {
                stamps.answered(sequence);
            }
        }
        assert!(stamps.stamp(at(0)).is_none());
        let (stamp, ranges) = stamps.close(at(0)).expect("a close is due");
        assert_eq!((stamp.sequence, stamp.lowest_open), (1024, 1));
        assert_eq!(ranges_of(&ranges), [(2, 498), (501, 523)]);
        assert!(stamps.close(at(0)).is_none() && stamps.stamp(at(0)).is_none(), "one at a time");
        stamps.invariants();
        // While it is under way, what it names stays open.
        stamps.answered(1);
        assert_eq!(stamps.lowest, 2);
        stamps.close_answered(1024, Closed::Yes, at(0));
        assert_eq!(stamps.lowest, 500);
        stamps.invariants();
        let count = (0..).take_while(|_| stamps.stamp(at(0)).is_some()).count();
        assert_eq!(count, 1021, "500 and the close are held");
    }

    #[test]
    fn a_close_whose_answer_is_lost_is_asked_again_as_it_was() {
        let mut stamps = open();
        while stamps.stamp(at(0)).is_some() {}
        (2..=1023).for_each(|sequence| stamps.answered(sequence));
        let first = stamps.close(at(0)).expect("a close is due");
        stamps.close_answered(1024, Closed::Unclear, at(0));
        stamps.invariants();
        assert!(stamps.close(at(99)).is_none() && stamps.stamp(at(99)).is_none());
        assert_eq!(stamps.close(at(100)), Some(first));
        stamps.close_answered(1024, Closed::Yes, at(100));
        stamps.invariants();
        assert!(stamps.stamp(at(100)).is_some());
    }

    #[test]
    fn a_close_that_is_refused_closes_nothing() {
        let mut stamps = open();
        while stamps.stamp(at(0)).is_some() {}
        (2..=1023).for_each(|sequence| stamps.answered(sequence));
        assert!(stamps.close(at(0)).is_some());
        stamps.close_answered(1024, Closed::No, at(0));
        stamps.invariants();
        assert!(stamps.close(at(9_000)).is_none() && stamps.stamp(at(9_000)).is_none(), "the window is full");
        stamps.answered(1);
        assert_eq!(stamps.lowest, 1025);
        stamps.invariants();
    }

    #[test]
    fn an_idle_session_tells_once_what_was_answered() {
        let mut stamps = open();
        assert!(stamps.close(at(5_000)).is_none(), "there is nothing to tell");
        stamps.stamp(at(5_000));
        assert!(stamps.close(at(9_000)).is_none(), "its client waits");
        stamps.answered(1);
        assert!(stamps.close(at(5_999)).is_none());
        let (stamp, ranges) = stamps.close(at(6_000)).expect("a close is due");
        assert_eq!((stamp.sequence, stamp.lowest_open, ranges.len()), (2, 2, 0));
        stamps.close_answered(2, Closed::Yes, at(6_000));
        assert!(stamps.close(at(60_000)).is_none(), "its own answer is not worth another");
        stamps.invariants();
    }
}
