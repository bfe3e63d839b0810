//! The session of a core in one group. Clients' writes that came without a session are sent under it, so that
//! each is executed once, whatever happens on its way (P-21).
//!
//! ```text
//!   a leader is known ─▶ OpenNodeSession ─▶ open
//!   a write ─▶ stamped: the next sequence, and the lowest that is not answered
//!         └─ no session yet, or its window is full: it waits
//!   answers ─▶ the window moves on: the next stamp says so, or a close where none comes
//! ```
//! A sequence stands for one command for as long as the process lives, even when the session is lost and
//! another is opened.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use synod_types::limits::SESSION_REPLIES_MAX;
use synod_types::operand::put_range;
use synod_types::{ErrorKind, Mono, Nanos, Reply, SessionId, SessionStamp};

/// Sequences of writes that may be held at once: one is left for a close.
const WINDOW: usize = SESSION_REPLIES_MAX - 1;
/// Sequences from the lowest open one to the next. Closed ones are not held, but remembered here.
const SPAN_MAX: usize = 1 << 16;
/// An open or a close that failed is tried again after this long.
const PUT_OFF: Nanos = Nanos::from_ms(100);
/// This long after the last write the answered sequences are closed: their replies need not be kept.
const IDLE: Nanos = Nanos::from_ms(1_000);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SessionState {
    /// There is no session, or no longer one.
    Unopened,
    /// The session is being opened.
    Opening,
    Open(SessionId),
    /// A later start of this node has a session: this process is an old copy.
    Superseded,
}

/// The state of a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SequenceState {
    /// Its client waits.
    Open,
    Answered,
    /// Answered, and perhaps never executed: until the group knows that it is closed, it executes nothing
    /// above (P-21i).
    GivenUp,
    /// Answered, and named in the close that is under way.
    Closing,
    /// Answered, and closed in the group.
    Closed,
}

/// The session of this core in one group, and the stamps that it gives out.
#[derive(Debug)]
pub(crate) struct NodeSession {
    state: SessionState,
    /// An open or a close failed: none is tried again before this.
    put_off_until: Mono,
    /// The next sequence.
    next: u64,
    /// All sequences below are answered.
    lowest: u64,
    /// The states of the sequences from `lowest` to `next`.
    sequences: VecDeque<SequenceState>,
    /// How many of them are closed.
    closed: usize,
    /// How many of them are given up.
    given_up: usize,
    /// Whether writes were answered and no stamp has said so yet.
    owes: bool,
    /// When the last stamp was given out.
    used_at: Mono,
    /// The close that must be answered before there is another.
    closing: Option<Close>,
}

#[derive(Debug)]
struct Close {
    stamp: SessionStamp,
    ranges: Vec<u8>,
    /// False if it must be sent again, unchanged.
    is_under_way: bool,
}

/// The outcome of a close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closed {
    /// The sequences that it named are closed.
    Yes,
    /// It closed nothing; another close may have closed them.
    No,
    /// The outcome is unknown, or the close was not accepted.
    Unclear,
}

impl Default for NodeSession {
    fn default() -> Self {
        Self {
            state: SessionState::Unopened,
            put_off_until: Mono::ZERO,
            next: 1,
            lowest: 1,
            sequences: VecDeque::new(),
            closed: 0,
            given_up: 0,
            owes: false,
            used_at: Mono::ZERO,
            closing: None,
        }
    }
}

impl NodeSession {
    /// Whether a write could be stamped now.
    pub fn can_stamp(&self) -> bool {
        matches!(self.state, SessionState::Open(_))
            && self.given_up == 0
            && self.closing.is_none()
            && self.has_window()
    }

    fn has_window(&self) -> bool {
        self.sequences.len() - self.closed < WINDOW && self.sequences.len() < SPAN_MAX
    }

    /// A stamp for a write, unless there is no session or its window is full.
    pub fn stamp(&mut self, now: Mono) -> Option<SessionStamp> {
        if self.can_stamp() { self.take(now) } else { None }
    }

    fn take(&mut self, now: Mono) -> Option<SessionStamp> {
        let SessionState::Open(session) = self.state else { return None };
        let stamp = SessionStamp { session, sequence: self.next, lowest_open: self.lowest };
        self.next += 1;
        self.sequences.push_back(SequenceState::Open);
        (self.owes, self.used_at) = (false, now);
        debug_assert!(stamp.lowest_open <= stamp.sequence, "a stamp closes its own sequence");
        debug_assert!(self.next - self.lowest == self.sequences.len() as u64, "a sequence was lost");
        Some(stamp)
    }

    fn set(&mut self, sequence: u64, state: SequenceState) {
        debug_assert!(sequence < self.next, "a sequence that was not given out");
        let at =
            sequence.checked_sub(self.lowest).expect("an open sequence is not below the lowest") as usize;
        assert!(self.sequences[at] == SequenceState::Open, "a sequence is answered once");
        self.sequences[at] = state;
    }

    fn move_on(&mut self) {
        let is_done = |state: &mut SequenceState| {
            matches!(state, SequenceState::Answered | SequenceState::GivenUp | SequenceState::Closed)
        };
        while let Some(state) = self.sequences.pop_front_if(is_done) {
            self.lowest += 1;
            self.closed -= usize::from(state == SequenceState::Closed);
            self.given_up -= usize::from(state == SequenceState::GivenUp);
        }
        debug_assert!(self.closed <= self.sequences.len(), "closed sequences are miscounted");
        debug_assert!(self.lowest <= self.next, "a sequence is closed that was not given out");
    }

    /// The client of this sequence has its answer: the write was executed.
    pub fn answered(&mut self, sequence: u64) {
        self.set(sequence, SequenceState::Answered);
        self.owes = true;
        self.move_on();
    }

    /// The client of this sequence has its answer, though the write may never be executed.
    pub fn given_up(&mut self, sequence: u64) {
        self.set(sequence, SequenceState::GivenUp);
        (self.owes, self.given_up) = (true, self.given_up + 1);
        self.move_on();
    }

    /// The stamp of a write that is sent once more.
    pub fn renew(&mut self, stamp: SessionStamp) -> SessionStamp {
        debug_assert!(
            stamp.sequence >= self.lowest && stamp.sequence < self.next,
            "an answered write is sent"
        );
        SessionStamp { lowest_open: self.lowest.max(stamp.lowest_open), ..stamp }
    }

    /// Whether the group would execute this sequence, if it has executed all below that are open: none of
    /// those was given up, and none is a close that has no answer.
    pub fn is_reachable(&self, sequence: u64) -> bool {
        if self.closing.as_ref().is_some_and(|close| close.stamp.sequence < sequence) {
            return false;
        }
        if self.given_up == 0 {
            return true;
        }
        let before = sequence.saturating_sub(self.lowest) as usize;
        !self.sequences.iter().take(before).any(|&state| state == SequenceState::GivenUp)
    }

    /// The session, if there is one.
    pub fn id(&self) -> Option<SessionId> {
        match self.state {
            SessionState::Open(id) => Some(id),
            _ => None,
        }
    }

    /// A close that is due: its stamp, and the ranges it names.
    pub fn close(&mut self, now: Mono) -> Option<(SessionStamp, Vec<u8>)> {
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
        if self.sequences.len() - self.closed >= SESSION_REPLIES_MAX {
            return None;
        }
        let is_idle = self.owes && self.sequences.is_empty() && now.since(self.used_at) >= IDLE;
        let is_full = !self.has_window() && self.sequences.len() < SPAN_MAX;
        let is_worth_it = is_idle || is_full && self.answered_count() >= WINDOW / 2;
        if !is_worth_it {
            return None;
        }
        let stamp = self.take(now)?;
        let mut ranges = Vec::new();
        let (mut at, lowest) = (0, self.lowest);
        while at < self.sequences.len() {
            let run =
                self.sequences.iter().skip(at).take_while(|&&state| state == SequenceState::Answered).count();
            if run > 0 {
                put_range(&mut ranges, lowest + at as u64, run as u32); // within the window
                self.sequences.range_mut(at..at + run).for_each(|state| *state = SequenceState::Closing);
            }
            at += run + 1;
        }
        assert!(self.sequences.len() - self.closed <= SESSION_REPLIES_MAX, "a close beyond the window");
        self.closing = Some(Close { stamp, ranges: ranges.clone(), is_under_way: true });
        Some((stamp, ranges))
    }

    fn answered_count(&self) -> usize {
        self.sequences.iter().filter(|&&state| state == SequenceState::Answered).count()
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
        self.set(sequence, SequenceState::Answered);
        let is_done = closed == Closed::Yes;
        for state in self.sequences.iter_mut().filter(|state| **state == SequenceState::Closing) {
            *state = if is_done { SequenceState::Closed } else { SequenceState::Answered };
            self.closed += usize::from(is_done);
        }
        self.owes |= !is_done;
        self.move_on();
        debug_assert!(!self.sequences.contains(&SequenceState::Closing), "a close left sequences behind");
    }

    /// The session no longer exists; true if that is news.
    pub fn gone(&mut self, session: Option<SessionId>) -> bool {
        let SessionState::Open(held) = self.state else { return false };
        if session.is_some_and(|session| session != held) {
            return false;
        }
        self.state = SessionState::Unopened;
        true
    }

    /// Whether a later start of this node has a session: this process is an old copy.
    pub fn is_superseded(&self) -> bool {
        self.state == SessionState::Superseded
    }

    /// Whether the session must be opened now. If so, it counts as being opened from now on.
    pub fn begin_opening(&mut self, now: Mono) -> bool {
        let is_due = self.state == SessionState::Unopened && now >= self.put_off_until;
        if is_due {
            self.state = SessionState::Opening;
        }
        is_due
    }

    /// The answer to an open. Returns the error for the writes that wait for the session, if they are to be
    /// refused.
    pub fn opened(&mut self, reply: Reply<()>, now: Mono) -> Option<ErrorKind> {
        assert!(self.state == SessionState::Opening, "a session is opened once at a time");
        match reply {
            Reply::Session(id) => {
                self.state = SessionState::Open(id);
                None
            }
            Reply::Error(ErrorKind::SessionExpired) => {
                self.state = SessionState::Superseded;
                Some(ErrorKind::NoLeader)
            }
            reply => {
                (self.state, self.put_off_until) = (SessionState::Unopened, now.plus(PUT_OFF));
                match reply {
                    Reply::Error(kind @ (ErrorKind::Busy | ErrorKind::NoSpace)) => Some(kind),
                    _ => None, // tried again while a client's patience lasts
                }
            }
        }
    }

    /// The answer to a close; true if it says that the session is gone.
    pub fn closed(&mut self, sequence: u64, reply: Reply<()>, now: Mono) -> bool {
        let mut is_gone = false;
        let closed = match reply {
            Reply::Value { .. } => Closed::Yes,
            Reply::Error(ErrorKind::SessionExpired) => {
                let session = self.closing.as_ref().map(|close| close.stamp.session);
                is_gone = self.gone(session);
                Closed::No
            }
            Reply::Error(ErrorKind::SequenceClosed | ErrorKind::Malformed) => Closed::No,
            _ => Closed::Unclear,
        };
        self.close_answered(sequence, closed, now);
        assert!(!is_gone || self.state == SessionState::Unopened, "a session that is gone is used");
        is_gone
    }

    pub fn invariants(&self) {
        assert!(self.next - self.lowest == self.sequences.len() as u64, "a sequence was lost");
        let closed = self.sequences.iter().filter(|&&state| state == SequenceState::Closed).count();
        assert!(closed == self.closed, "closed sequences are miscounted");
        let given_up = self.sequences.iter().filter(|&&state| state == SequenceState::GivenUp).count();
        assert!(given_up == self.given_up, "given up sequences are miscounted");
        assert!(self.lowest >= 1 && self.sequences.len() <= SPAN_MAX, "the window is too wide");
        assert!(self.closing.is_some() || !self.sequences.contains(&SequenceState::Closing));
        assert!(
            !matches!(
                self.sequences.front(),
                Some(SequenceState::Answered | SequenceState::GivenUp | SequenceState::Closed)
            ),
            "the window stands still"
        );
        assert!(self.sequences.len() - self.closed <= SESSION_REPLIES_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: SessionId = SessionId::of_node(1);

    fn open() -> NodeSession {
        NodeSession { state: SessionState::Open(ID), ..NodeSession::default() }
    }

    fn at(ms: u64) -> Mono {
        Mono(Nanos::from_ms(ms).0)
    }

    fn ranges_of(packed: &[u8]) -> Vec<(u64, u32)> {
        synod_types::operand::ranges(packed).collect()
    }

    #[test]
    fn stamps_count_up_and_tell_what_is_answered() {
        let mut session = open();
        let told = |stamp: Option<SessionStamp>| stamp.map(|stamp| (stamp.sequence, stamp.lowest_open));
        assert_eq!(told(session.stamp(at(0))), Some((1, 1)));
        assert_eq!(told(session.stamp(at(0))), Some((2, 1)));
        session.answered(2);
        assert_eq!(told(session.stamp(at(0))), Some((3, 1)), "the first is open");
        session.answered(1);
        assert_eq!(told(session.stamp(at(0))), Some((4, 3)));
        session.invariants();
        assert_eq!(told(NodeSession::default().stamp(at(0))), None);
    }

    #[test]
    fn nothing_is_sent_past_a_sequence_that_was_given_up_until_the_group_can_know() {
        let mut session = open();
        (0..4).for_each(|_| assert!(session.stamp(at(0)).is_some()));
        session.given_up(2);
        session.invariants();
        assert!(session.is_reachable(1) && session.is_reachable(2) && !session.is_reachable(3));
        assert!(session.stamp(at(0)).is_none());
        session.answered(1);
        session.invariants();
        assert!(session.is_reachable(4));
        let stamp = SessionStamp { session: ID, sequence: 3, lowest_open: 1 };
        assert_eq!(session.renew(stamp).lowest_open, 3);
        assert_eq!(session.stamp(at(0)).map(|stamp| stamp.lowest_open), Some(3));
    }

    #[test]
    fn a_window_is_full_before_the_group_would_refuse_and_moves_on() {
        let mut session = open();
        let count = (0..).take_while(|_| session.stamp(at(0)).is_some()).count();
        assert_eq!(count, SESSION_REPLIES_MAX - 1);
        assert!(session.close(at(9_999)).is_none(), "nothing is answered");
        session.answered(1);
        assert_eq!(session.stamp(at(0)).map(|stamp| stamp.lowest_open), Some(2));
        assert!(session.stamp(at(0)).is_none());
        session.invariants();
    }

    #[test]
    fn one_that_stays_open_does_not_hold_the_window() {
        let mut session = open();
        while session.stamp(at(0)).is_some() {}
        for sequence in 2..=1023 {
            if sequence != 500 {
                session.answered(sequence);
            }
        }
        assert!(session.stamp(at(0)).is_none());
        let (stamp, ranges) = session.close(at(0)).expect("a close is due");
        assert_eq!((stamp.sequence, stamp.lowest_open), (1024, 1));
        assert_eq!(ranges_of(&ranges), [(2, 498), (501, 523)]);
        assert!(session.close(at(0)).is_none() && session.stamp(at(0)).is_none(), "one at a time");
        session.invariants();
        // While it is under way, what it names stays open.
        session.answered(1);
        assert_eq!(session.lowest, 2);
        session.close_answered(1024, Closed::Yes, at(0));
        assert_eq!(session.lowest, 500);
        session.invariants();
        let count = (0..).take_while(|_| session.stamp(at(0)).is_some()).count();
        assert_eq!(count, 1021, "500 and the close are held");
    }

    #[test]
    fn a_close_whose_answer_is_lost_is_asked_again_as_it_was() {
        let mut session = open();
        while session.stamp(at(0)).is_some() {}
        (2..=1023).for_each(|sequence| session.answered(sequence));
        let first = session.close(at(0)).expect("a close is due");
        session.close_answered(1024, Closed::Unclear, at(0));
        session.invariants();
        assert!(session.close(at(99)).is_none() && session.stamp(at(99)).is_none());
        assert_eq!(session.close(at(100)), Some(first));
        assert!(session.is_reachable(1024) && !session.is_reachable(1025), "a write would wait for it");
        session.close_answered(1024, Closed::Yes, at(100));
        session.invariants();
        assert!(session.stamp(at(100)).is_some());
    }

    #[test]
    fn a_close_that_is_refused_closes_nothing() {
        let mut session = open();
        while session.stamp(at(0)).is_some() {}
        (2..=1023).for_each(|sequence| session.answered(sequence));
        assert!(session.close(at(0)).is_some());
        session.close_answered(1024, Closed::No, at(0));
        session.invariants();
        assert!(
            session.close(at(9_000)).is_none() && session.stamp(at(9_000)).is_none(),
            "the window is full"
        );
        session.answered(1);
        assert_eq!(session.lowest, 1025);
        session.invariants();
    }

    #[test]
    fn an_idle_session_tells_once_what_was_answered() {
        let mut session = open();
        assert!(session.close(at(5_000)).is_none(), "there is nothing to tell");
        session.stamp(at(5_000));
        assert!(session.close(at(9_000)).is_none(), "its client waits");
        session.answered(1);
        assert!(session.close(at(5_999)).is_none());
        let (stamp, ranges) = session.close(at(6_000)).expect("a close is due");
        assert_eq!((stamp.sequence, stamp.lowest_open, ranges.len()), (2, 2, 0));
        session.close_answered(2, Closed::Yes, at(6_000));
        assert!(session.close(at(60_000)).is_none(), "its own answer is not worth another");
        session.invariants();
    }
}
