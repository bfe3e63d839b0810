//! Clients' writes under this core's session in one group, from the stamp to the answer (P-21). They go to the
//! leader in the order of their sequences; what a leader that is gone had, goes to the next one again.
//!
//! ```text
//!   sequence   3    4    5    6  │  7    8
//!              under way         │  held: to be sent, lowest first
//!                                └ held_from ◀─ pull_back
//! ```

use crate::api::ForwardId;
use alloc::collections::VecDeque;
use synod_types::{Ballot, Command, Mono, Nanos, NodeId, Payload, RequestId, SessionId, SessionStamp};

/// Bytes of one group's writes that may be under way or held. One write may always be.
const STREAM_BYTES_MAX: usize = 8 << 20;
/// After a refusal the leader that refused is asked again after this long.
const PUT_OFF: Nanos = Nanos::from_ms(20);
/// A forwarded write that has had no answer for this long is sent again.
const RESEND: Nanos = Nanos::from_ms(1_000);

/// A write that has no answer yet.
#[derive(Debug)]
struct StreamWrite<P> {
    id: RequestId,
    session: SessionId,
    /// None while this replica leads: then its backlog, and later its proposal, holds it.
    command: Option<Command<P>>,
    bytes: usize,
    arrived: Mono,
    sent_at: Mono,
    /// The number of the last forward.
    forward: Option<ForwardId>,
    /// Whether it may be executed where it was sent to last.
    is_exposed: bool,
    /// Whether it may have been executed where it was sent before.
    may_have_run: bool,
}

/// A write that is answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Settled {
    /// The client's request.
    pub id: RequestId,
    /// Whether it may have been executed, or may yet be.
    pub may_have_run: bool,
}

/// The writes of one group.
#[derive(Debug)]
pub(crate) struct WriteStream<P> {
    /// The sequence of the first place.
    first: u64,
    /// A place for each sequence; none where the write is answered.
    writes: VecDeque<Option<StreamWrite<P>>>,
    bytes: usize,
    held_from: u64,
    /// The node that the writes which are under way were forwarded to.
    sent_to: Option<NodeId>,
    /// The leader of this ballot has refused, and is not asked before this time.
    put_off: Option<(Ballot, Mono)>,
}

impl<P> Default for WriteStream<P> {
    fn default() -> Self {
        let writes = VecDeque::new();
        Self { first: 1, writes, bytes: 0, held_from: 1, sent_to: None, put_off: None }
    }
}

impl<P: Payload> WriteStream<P> {
    /// Whether one more write of `bytes` may be added.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.bytes == 0 || self.bytes + bytes <= STREAM_BYTES_MAX
    }

    /// Adds a write; it is held. Sequences rise.
    pub fn push(&mut self, id: RequestId, command: Command<P>, bytes: usize, arrived: Mono) {
        let SessionStamp { session, sequence, .. } = command.stamp;
        if self.writes.is_empty() {
            assert!(sequence >= self.first, "a sequence is used twice");
            (self.first, self.held_from) = (sequence, sequence);
        }
        assert!(sequence >= self.end(), "sequences rise");
        while self.end() < sequence {
            self.writes.push_back(None); // a close
        }
        self.bytes += bytes;
        self.writes.push_back(Some(StreamWrite {
            id,
            session,
            command: Some(command),
            bytes,
            arrived,
            sent_at: arrived,
            forward: None,
            is_exposed: false,
            may_have_run: false,
        }));
    }

    fn end(&self) -> u64 {
        self.first + self.writes.len() as u64
    }

    fn place(&self, sequence: u64) -> Option<usize> {
        let at = sequence.checked_sub(self.first)?;
        usize::try_from(at).ok().filter(|&at| at < self.writes.len())
    }

    fn get(&self, sequence: u64) -> Option<&StreamWrite<P>> {
        self.writes[self.place(sequence)?].as_ref()
    }

    fn get_mut(&mut self, sequence: u64) -> Option<&mut StreamWrite<P>> {
        let at = self.place(sequence)?;
        self.writes[at].as_mut()
    }

    /// Whether a command with this stamp is a write that has no answer yet.
    pub fn waits_for(&self, stamp: &SessionStamp) -> bool {
        self.get(stamp.sequence).is_some_and(|write| write.session == stamp.session)
    }

    /// Whether the write has no answer yet.
    pub fn waits(&self, sequence: u64) -> bool {
        self.get(sequence).is_some()
    }

    /// The lowest held sequence. What this replica has queued or proposed is not held.
    pub fn next_held(&mut self) -> Option<u64> {
        let is_held = |write: &StreamWrite<P>| write.command.is_some();
        while self.held_from < self.end() && !self.get(self.held_from).is_some_and(is_held) {
            self.held_from += 1;
        }
        (self.held_from < self.end()).then_some(self.held_from)
    }

    /// Whether nothing is held.
    pub fn holds_nothing(&mut self) -> bool {
        self.next_held().is_none()
    }

    /// Whether writes may be sent to the leader of `ballot` now.
    pub fn may_send(&self, ballot: Ballot, now: Mono) -> bool {
        self.put_off.is_none_or(|(refused_by, until)| ballot > refused_by || now >= until)
    }

    /// The lowest held write is forwarded to `to`; returns its command.
    pub fn forward(&mut self, sequence: u64, to: NodeId, forward: ForwardId, now: Mono) -> &mut Command<P> {
        self.send(sequence);
        self.sent_to = Some(to);
        let write = self.get_mut(sequence).expect("what is sent has no answer yet");
        (write.sent_at, write.forward, write.is_exposed) = (now, Some(forward), true);
        write.command.as_mut().expect("what is held has its command")
    }

    /// The lowest held write waits to be proposed by this replica; returns its command, and when it came.
    pub fn queue(&mut self, sequence: u64) -> (Command<P>, Mono) {
        self.send(sequence);
        self.sent_to = None;
        let write = self.get_mut(sequence).expect("what is sent has no answer yet");
        write.forward = None;
        (write.command.take().expect("what is held has its command"), write.arrived)
    }

    fn send(&mut self, sequence: u64) {
        assert!(self.next_held() == Some(sequence), "the lowest is sent first");
        self.held_from = sequence + 1;
        self.put_off = None;
    }

    /// This replica has proposed the write.
    pub fn proposed(&mut self, sequence: u64) {
        if let Some(write) = self.get_mut(sequence) {
            write.is_exposed = true;
        }
    }

    /// The command of a write that this replica has queued or proposed comes back, if the write has no answer
    /// yet.
    pub fn give_back(&mut self, command: Command<P>) {
        if !self.waits_for(&command.stamp) {
            return;
        }
        let write = self.get_mut(command.stamp.sequence).expect("it waits");
        write.command = Some(command);
    }

    /// Holds all writes from `from` on: they are to be sent again. What was sent may have been executed.
    pub fn pull_back(&mut self, from: u64) {
        let from = from.max(self.first);
        for sequence in from..self.end() {
            if let Some(write) = self.get_mut(sequence) {
                write.may_have_run |= core::mem::take(&mut write.is_exposed);
            }
        }
        self.held_from = self.held_from.min(from);
    }

    /// A write that this replica proposed was not executed in its slot, because one before it was not: it is
    /// held again. What was proposed after it will come back in the same way.
    pub fn came_early(&mut self, command: Command<P>) {
        let sequence = command.stamp.sequence;
        if self.waits_for(&command.stamp)
            && let Some(write) = self.get_mut(sequence)
            && write.command.is_none()
            && write.is_exposed
        {
            (write.command, write.is_exposed) = (Some(command), false);
            self.held_from = self.held_from.min(sequence);
        }
    }

    /// Holds all writes.
    pub fn pull_back_all(&mut self) {
        self.pull_back(self.first);
    }

    /// The leader of `ballot` has refused a forward, or it was not sent: this sending was certainly not
    /// executed. All writes from the refused one on are held; with `is_all`, all. An answer to another sending
    /// than the last says nothing.
    pub fn refused(
        &mut self,
        (sequence, forward): (u64, ForwardId),
        is_all: bool,
        ballot: Option<Ballot>,
        now: Mono,
    ) {
        let held_from = self.held_from;
        let Some(write) = self.get_mut(sequence).filter(|write| write.forward == Some(forward)) else {
            return;
        };
        if sequence >= held_from {
            return; // pulled back already
        }
        write.is_exposed = false;
        if is_all {
            self.pull_back_all()
        } else {
            self.pull_back(sequence)
        }
        self.put_off = ballot.map(|ballot| (ballot, now.plus(PUT_OFF)));
    }

    /// The link to a node broke, or its answers will not come for another reason.
    pub fn lost(&mut self, node: NodeId) {
        if self.sent_to == Some(node) {
            self.pull_back_all();
        }
    }

    /// Whether a forwarded write has waited so long for its answer that it is to be sent again.
    pub fn is_late(&self, now: Mono) -> bool {
        let oldest = self.writes.iter().flatten().next();
        oldest.is_some_and(|write| write.forward.is_some() && now.since(write.sent_at) >= RESEND)
            && self.held_from > self.first
    }

    /// Whether a write may have been executed, or may yet be.
    pub fn may_have_run(&self, sequence: u64) -> bool {
        self.get(sequence).is_some_and(|write| write.may_have_run || write.is_exposed)
    }

    /// Whether a write may have been executed where it was sent before.
    #[cfg(feature = "canary")]
    pub fn was_sent_before(&self, sequence: u64) -> bool {
        self.get(sequence).is_some_and(|write| write.may_have_run)
    }

    /// Takes out a write, to be answered.
    pub fn settle(&mut self, sequence: u64) -> Option<Settled> {
        let at = self.place(sequence)?;
        let write = self.writes[at].take()?;
        assert!(write.bytes <= self.bytes, "bytes that wait are miscounted");
        self.bytes -= write.bytes;
        while let Some(None) = self.writes.front() {
            self.writes.pop_front();
            self.first += 1;
        }
        self.held_from = self.held_from.max(self.first);
        debug_assert!(!self.writes.is_empty() || self.bytes == 0, "bytes of no write");
        Some(Settled { id: write.id, may_have_run: write.may_have_run || write.is_exposed })
    }

    /// The lowest write without an answer, and when it came.
    pub fn oldest(&self) -> Option<(u64, Mono)> {
        let at = self.writes.iter().position(Option::is_some)?;
        Some((self.first + at as u64, self.writes[at].as_ref()?.arrived))
    }

    pub fn invariants(&self, leads: bool) {
        assert!(self.held_from >= self.first && self.held_from <= self.end(), "held from nowhere");
        assert!(!matches!(self.writes.front(), Some(None)), "the stream stands still");
        let bytes: usize = self.writes.iter().flatten().map(|write| write.bytes).sum();
        assert!(bytes == self.bytes, "bytes that wait are miscounted");
        let all_here = self.writes.iter().flatten().all(|write| write.command.is_some());
        assert!(leads || all_here, "no proposal holds it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use synod_types::Op;

    const LEADER: NodeId = NodeId::new(2);

    fn at(ms: u64) -> Mono {
        Mono(Nanos::from_ms(ms).0)
    }

    fn ballot(round: u64) -> Ballot {
        Ballot::new(round, LEADER)
    }

    fn stream(sequences: core::ops::Range<u64>) -> WriteStream<Vec<u8>> {
        let mut stream = WriteStream::default();
        for sequence in sequences {
            let stamp = SessionStamp { session: SessionId::of_node(1), sequence, lowest_open: 1 };
            let command = Command { stamp, ..Command::plain(alloc::vec![b'k'], Op::Delete) };
            stream.push(RequestId::new(sequence), command, 10, at(sequence));
        }
        stream
    }

    /// Sends everything that is held; forwards are numbered after their sequences.
    fn send_all(stream: &mut WriteStream<Vec<u8>>, numbers_from: u64, now: Mono) -> Vec<u64> {
        let mut sent = Vec::new();
        while let Some(sequence) = stream.next_held() {
            stream.forward(sequence, LEADER, ForwardId(numbers_from + sequence), now);
            sent.push(sequence);
        }
        stream.invariants(false);
        sent
    }

    #[test]
    fn what_is_pulled_back_is_sent_again_in_order_and_may_have_run() {
        let mut stream = stream(1..5);
        assert_eq!(send_all(&mut stream, 100, at(5)), [1, 2, 3, 4]);
        assert!(stream.settle(2).is_some_and(|settled| settled.may_have_run));
        stream.pull_back_all();
        stream.invariants(false);
        assert_eq!(send_all(&mut stream, 200, at(6)), [1, 3, 4]);
        assert_eq!(stream.settle(2), None, "it has its answer");
        assert_eq!(stream.oldest(), Some((1, at(1))));
        stream.lost(NodeId::new(3));
        assert!(stream.holds_nothing(), "the link to another node");
        stream.lost(LEADER);
        assert_eq!(stream.next_held(), Some(1));
        assert_eq!(stream.settle(1), Some(Settled { id: RequestId::new(1), may_have_run: true }));
        assert_eq!(stream.next_held(), Some(3));
    }

    #[test]
    fn a_refusal_holds_what_is_behind_it_and_only_what_was_refused_certainly_did_not_run() {
        let mut stream = stream(1..5);
        send_all(&mut stream, 100, at(5));
        stream.refused((2, ForwardId(999)), false, Some(ballot(1)), at(6));
        assert!(stream.holds_nothing(), "the answer to another sending");
        stream.refused((2, ForwardId(102)), false, Some(ballot(1)), at(6));
        stream.invariants(false);
        assert_eq!(stream.next_held(), Some(2));
        assert!(!stream.may_have_run(2) && stream.may_have_run(3) && stream.may_have_run(1));
        assert!(!stream.may_send(ballot(1), at(25)) && stream.may_send(ballot(1), at(26)));
        assert!(stream.may_send(ballot(2), at(6)), "another leader");
        assert_eq!(send_all(&mut stream, 200, at(26)), [2, 3, 4]);
        stream.refused((3, ForwardId(203)), true, Some(ballot(1)), at(27));
        assert_eq!(stream.next_held(), Some(1));
        assert!(stream.may_have_run(3), "an earlier sending may have");
    }

    #[test]
    fn what_this_replica_proposes_is_with_its_proposals() {
        let mut stream = stream(1..4);
        let (first, _) = stream.queue(1);
        let (second, _) = stream.queue(2);
        stream.proposed(1);
        stream.invariants(true);
        assert!(stream.may_have_run(1) && !stream.may_have_run(2));
        for command in [first, second] {
            stream.give_back(command);
        }
        stream.pull_back_all();
        stream.invariants(false);
        assert!(stream.may_have_run(1) && !stream.may_have_run(2) && !stream.may_have_run(3));
        assert_eq!(send_all(&mut stream, 100, at(9)), [1, 2, 3]);
    }

    #[test]
    fn what_was_proposed_too_early_is_proposed_again() {
        let mut stream = stream(1..4);
        let commands: Vec<_> = (1..4).map(|sequence| stream.queue(sequence).0).collect();
        (1..4).for_each(|sequence| stream.proposed(sequence));
        assert!(stream.holds_nothing());
        for (sequence, command) in (2..4).zip(&commands[1..]) {
            stream.came_early(command.clone());
            stream.invariants(true);
            assert!(!stream.may_have_run(sequence));
            assert_eq!(stream.next_held(), Some(sequence));
            assert_eq!(stream.queue(sequence).0.stamp, command.stamp);
            stream.came_early(command.clone());
            assert!(stream.holds_nothing(), "a late copy of what is queued");
        }
        assert!(stream.may_have_run(1));
    }

    #[test]
    fn answers_that_do_not_come_are_asked_for_again() {
        let mut stream = stream(1..3);
        assert!(!stream.is_late(at(60_000)), "nothing is under way");
        send_all(&mut stream, 100, at(5));
        assert!(!stream.is_late(at(1_004)) && stream.is_late(at(1_005)));
        stream.pull_back_all();
        assert!(!stream.is_late(at(60_000)));
    }

    #[test]
    fn one_write_is_always_taken_and_many_bytes_are_not() {
        let mut stream = stream(1..2);
        assert!(stream.has_room(STREAM_BYTES_MAX - 10) && !stream.has_room(STREAM_BYTES_MAX - 9));
        stream.settle(1);
        assert!(stream.has_room(STREAM_BYTES_MAX + 1));
    }
}
