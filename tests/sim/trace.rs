//! The trace of a run: every event is folded into one hash (same seed, same trace), the last lines are kept
//! for a report, and all lines are printed when asked for.

use super::queue::Instant;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::hash::{Hash, Hasher};
use synod_types::{Ballot, GroupId, GroupMessage, Lsn, NodeId, PeerMessage, RecordHead, Reply, Slot};

/// Lines kept for a report.
const KEPT_COUNT: usize = 600;

/// One core of one node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CorePlace {
    /// The node.
    pub node: NodeId,
    /// The core.
    pub core: u16,
}

impl fmt::Display for CorePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.core == 0 { write!(f, "{}", self.node) } else { write!(f, "{}/c{}", self.node, self.core) }
    }
}

/// An event of the trace. The fields explain themselves.
#[allow(missing_docs)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Note {
    /// A core begins its life with this many records.
    Start { at: CorePlace, life: u64, records: u64 },
    /// A core stops.
    Stop { at: CorePlace },
    /// A turn with this many inputs begins; the clock reads `mono`.
    Turn { at: CorePlace, inputs: u64, mono: u64 },
    /// A message arrives.
    Deliver { from: NodeId, at: CorePlace, what: Gist },
    /// A message leaves.
    Send { at: CorePlace, to: NodeId, what: Gist },
    /// The network loses a message.
    Lose { at: CorePlace, to: NodeId, what: &'static str },
    /// A core is told that its link to a peer broke.
    LinkLost { at: CorePlace, peer: NodeId },
    /// A record is appended.
    Append {
        at: CorePlace,
        lsn: Lsn,
        kind: &'static str,
        group: GroupId,
        slot: Slot,
        ballot: Ballot,
        chosen: Slot,
        digest: u64,
    },
    /// Records are durable.
    Durable { at: CorePlace, lsn: Lsn },
    /// A client asks.
    Request { client: u32, attempt: u64, at: CorePlace, group: GroupId, write: bool },
    /// A node answers a client's attempt.
    Answer { at: CorePlace, attempt: u64, reply: &'static str },
    /// A client is done with an operation.
    Settled { client: u32, how: &'static str },
    /// A replica's view changed.
    View { at: CorePlace, group: GroupId, role: &'static str, promised: Ballot, chosen: Slot, applied: Slot },
    /// A fault begins (`on`) or ends.
    Fault { what: &'static str, on: bool, victim: u64 },
    /// The run enters a phase.
    Phase { name: &'static str },
}

/// A message in a few words.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Gist {
    kind: &'static str,
    group: GroupId,
    ballot: Ballot,
    slot: Slot,
    count: u64,
}

impl Gist {
    /// The message's kind.
    pub fn word(&self) -> &'static str {
        self.kind
    }
    /// The gist of `message`.
    pub fn of<P>(message: &PeerMessage<P>) -> Self {
        let gist = |kind, group, ballot, slot, count| Self { kind, group, ballot, slot, count };
        let none = GroupId::SYSTEM;
        match message {
            PeerMessage::Heartbeats(heartbeats) => {
                let first = heartbeats.first();
                let (ballot, chosen) = first.map_or_else(Default::default, |b| (b.ballot, b.chosen));
                gist("Heartbeats", first.map_or(none, |b| b.group), ballot, chosen, heartbeats.len() as u64)
            }
            PeerMessage::HeartbeatReplies(replies) => {
                let first = replies.first();
                let (ballot, chosen) = first.map_or_else(Default::default, |r| (r.ballot, r.chosen));
                gist(
                    "HeartbeatReplies",
                    first.map_or(none, |r| r.group),
                    ballot,
                    chosen,
                    replies.len() as u64,
                )
            }
            PeerMessage::Forward { id, group, .. } => gist("Forward", *group, Ballot::ZERO, Slot::ZERO, *id),
            PeerMessage::ForwardReply { id, .. } => gist("ForwardReply", none, Ballot::ZERO, Slot::ZERO, *id),
            PeerMessage::ReadIndex { id, groups } => {
                gist("ReadIndex", groups.first().copied().unwrap_or(none), Ballot::ZERO, Slot::ZERO, *id)
            }
            PeerMessage::ReadIndexReply { id, points } => {
                let (group, ballot, chosen) = points
                    .first()
                    .map_or((none, Ballot::ZERO, Slot::ZERO), |p| (p.group, p.ballot, p.chosen));
                gist("ReadIndexReply", group, ballot, chosen, *id)
            }
            PeerMessage::Position(at) => gist("Position", none, Ballot::ZERO, Slot::ZERO, at.sequence),
            PeerMessage::Group { group, message } => {
                let (kind, ballot, slot, count) = group_gist(message);
                gist(kind, *group, ballot, slot, count)
            }
        }
    }
}

fn group_gist<P>(message: &GroupMessage<P>) -> (&'static str, Ballot, Slot, u64) {
    match message {
        GroupMessage::PreVote { ballot, .. } => ("PreVote", *ballot, Slot::ZERO, 0),
        GroupMessage::PreVoteReply { ballot, granted, chosen, .. } => {
            ("PreVoteReply", *ballot, *chosen, u64::from(*granted))
        }
        GroupMessage::Prepare { ballot, from, .. } => ("Prepare", *ballot, *from, 0),
        GroupMessage::Promise { ballot, chosen, reported, .. } => {
            ("Promise", *ballot, *chosen, reported.len() as u64)
        }
        GroupMessage::Accept { ballot, slot, chosen, .. } => ("Accept", *ballot, *slot, chosen.get()),
        GroupMessage::Accepted { ballot, slot } => ("Accepted", *ballot, *slot, 0),
        GroupMessage::Nack { promised, .. } => ("Nack", *promised, Slot::ZERO, 0),
        GroupMessage::Fetch { from } => ("Fetch", Ballot::ZERO, *from, 0),
        GroupMessage::Learn { chosen, entries } => {
            let first = entries.first().map_or(*chosen, |entry| entry.slot);
            ("Learn", Ballot::ZERO, first, entries.len() as u64)
        }
        GroupMessage::TimeoutNow { ballot, chosen } => ("TimeoutNow", *ballot, *chosen, 0),
    }
}

/// A reply in one word.
pub fn reply_word<V>(reply: &Reply<V>) -> &'static str {
    use synod_types::ErrorKind as E;
    match reply {
        Reply::Done { .. } => "done",
        Reply::Skipped => "skipped",
        Reply::Value { .. } => "value",
        Reply::Nil => "nil",
        Reply::Int(_) => "number",
        Reply::Session(_) => "session",
        Reply::Error(kind) => match kind {
            E::Unknown => "unknown",
            E::NoLeader => "no leader",
            E::Busy => "busy",
            E::SessionExpired => "session expired",
            E::SequenceClosed => "sequence closed",
            E::NotAnInteger => "not an integer",
            E::Overflow => "overflow",
            E::BadExpiry => "bad expiry",
            E::ReadFailed => "read failed",
            E::Malformed => "malformed",
            E::NoSpace => "no-space",
            E::ReplyDropped => "reply dropped",
        },
    }
}

/// A record head in a note.
pub fn append_note(at: CorePlace, lsn: Lsn, head: &RecordHead, digest: u64) -> Note {
    let kind = match head.kind {
        synod_types::RecordKind::Promise => "promise",
        synod_types::RecordKind::Accept => "accept",
        synod_types::RecordKind::Learned => "learned",
        synod_types::RecordKind::Mark => "mark",
    };
    let RecordHead { group, slot, ballot, chosen, .. } = *head;
    Note::Append { at, lsn, kind, group, slot, ballot, chosen, digest }
}

impl fmt::Display for Gist {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, group, ballot, slot, count } = self;
        write!(f, "{kind} {group} {ballot} {slot} #{count}")
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Note::Start { at, life, records } => write!(f, "{at} starts, life {life}, {records} records"),
            Note::Stop { at } => write!(f, "{at} stops"),
            Note::Turn { at, inputs, mono } => {
                write!(f, "{at} turn of {inputs} inputs at its {}us", mono / 1000)
            }
            Note::Deliver { from, at, what } => write!(f, "{from} -> {at} {what}"),
            Note::Send { at, to, what } => write!(f, "{at} sends {to} {what}"),
            Note::Lose { at, to, what } => write!(f, "{at} -> {to} lost: {what}"),
            Note::LinkLost { at, peer } => write!(f, "{at} lost its link to {peer}"),
            Note::Append { at, lsn, kind, group, slot, ballot, chosen, digest } => {
                write!(f, "{at} appends {lsn} {kind} {group} {slot} in {ballot}, chosen {chosen}, {digest:x}")
            }
            Note::Durable { at, lsn } => write!(f, "{at} durable up to {lsn}"),
            Note::Request { client, attempt, at, group, write } => {
                let what = if *write { "write" } else { "read" };
                write!(f, "client {client} asks {at} ({what} {group}, attempt {attempt})")
            }
            Note::Answer { at, attempt, reply } => write!(f, "{at} answers attempt {attempt}: {reply}"),
            Note::Settled { client, how } => write!(f, "client {client}: {how}"),
            Note::View { at, group, role, promised, chosen, applied } => {
                write!(f, "{at} {group} is {role}, promised {promised}, chosen {chosen}, applied {applied}")
            }
            Note::Fault { what, on, victim } => {
                write!(f, "*** {what} {} ({victim:x})", if *on { "begins" } else { "ends" })
            }
            Note::Phase { name } => write!(f, "=== {name}"),
        }
    }
}

thread_local! {
    /// The last notes of the run on this thread. They are outside the trace, so that a panic hook can reach
    /// them.
    static KEPT: RefCell<VecDeque<(Instant, Note)>> = const { RefCell::new(VecDeque::new()) };
}

/// The last `count` lines of the run on this thread.
pub fn tail(count: usize) -> String {
    KEPT.with(|kept| {
        let Ok(kept) = kept.try_borrow() else { return String::new() };
        let skip = kept.len().saturating_sub(count);
        kept.iter().skip(skip).map(|(at, note)| format!("{}\n", Line(*at, note))).collect()
    })
}

/// The trace.
#[derive(Debug)]
pub struct Trace {
    fold: Fold,
    print: bool,
    count: u64,
}

impl Trace {
    /// An empty trace, the only one on this thread. With `print`, each note is printed too.
    pub fn new(print: bool) -> Self {
        KEPT.with(|kept| kept.borrow_mut().clear());
        Self { fold: Fold(0x9e37_79b9), print, count: 0 }
    }
    /// Adds an event.
    pub fn note(&mut self, at: Instant, note: Note) {
        at.hash(&mut self.fold);
        note.hash(&mut self.fold);
        self.count += 1;
        if self.print {
            println!("{}", Line(at, &note));
        }
        KEPT.with(|kept| {
            let mut kept = kept.borrow_mut();
            if kept.len() == KEPT_COUNT {
                kept.pop_front();
            }
            kept.push_back((at, note));
        });
    }
    /// The hash of all events.
    pub fn hash(&self) -> u64 {
        self.fold.finish()
    }
    /// The number of events.
    pub fn count(&self) -> u64 {
        self.count
    }
}

struct Line<'a>(Instant, &'a Note);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>12.6} {}", self.0 as f64 / 1e9, self.1)
    }
}

/// A hasher whose result is the same on every machine and in every build.
#[derive(Debug)]
struct Fold(u64);

impl Hasher for Fold {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }
    fn write_u8(&mut self, value: u8) {
        self.write_u64(u64::from(value));
    }
    fn write_u16(&mut self, value: u16) {
        self.write_u64(u64::from(value));
    }
    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }
    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(23) ^ value).wrapping_mul(0x9fb2_1c65_1e98_df25);
        self.0 ^= self.0 >> 29;
    }
    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }
    fn write_isize(&mut self, value: isize) {
        self.write_u64(value as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_depends_on_what_happened_when_and_in_which_order() {
        let a = Note::Phase { name: "a" };
        let b = Note::Phase { name: "b" };
        let hash = |notes: &[(Instant, Note)]| {
            let mut trace = Trace::new(false);
            notes.iter().for_each(|&(at, note)| trace.note(at, note));
            trace.hash()
        };
        assert_eq!(hash(&[(1, a), (2, b)]), hash(&[(1, a), (2, b)]));
        assert_ne!(hash(&[(1, a), (2, b)]), hash(&[(1, b), (2, a)]));
        assert_ne!(hash(&[(1, a), (2, b)]), hash(&[(1, a), (3, b)]));
    }

    #[test]
    fn the_tail_is_the_end() {
        let mut trace = Trace::new(false);
        for at in 0..1000 {
            trace.note(at * 1000, Note::Phase { name: "x" });
        }
        assert_eq!(tail(2), "    0.000998 === x\n    0.000999 === x\n");
    }
}
