//! Client sessions of one group (rule P-12): which commands were executed and what they were answered, so that a retry is
//! executed once. Part of the replicated state; decided by applied order alone, never by a clock or a hash.
//!
//! ```text
//!   sequence   … 4   5   6   7   8 …
//!                closed │   remembered replies
//!                       └ lowest_open: the client has heard everything below
//! ```
//! What is refused is refused for this send and changes nothing else: `Busy` until the client closes replies, after which the
//! same sequence may be sent again. May not: execute anything.

use crate::digest::Digest;
use crate::list::{Linked, Links, List};
use crate::version::PackedVersion;
use alloc::{
    boxed::Box,
    collections::{BTreeMap, VecDeque},
    vec::Vec,
};
use synod_types::limits::{SESSION_REPLIES_MAX, SESSIONS_PER_GROUP_MAX, VALUE_BYTES_MAX};
use synod_types::{ErrorKind, Reply, SessionId, SessionStamp};

/// How much one group remembers. Part of the replicated semantics: the same on every replica.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionLimits {
    /// Sessions; one more evicts the least recently used.
    pub(crate) sessions_max: usize,
    /// Replies of one session; one more is refused.
    pub(crate) replies_max: usize,
    /// Bytes of one session's replies ([`REPLY_BYTES`] each, plus values); more are refused.
    pub(crate) session_bytes_max: u64,
    /// Bytes of all sessions' replies; more evict the least recently used sessions.
    pub(crate) group_bytes_max: u64,
}

/// What a remembered reply is charged beside its value.
pub(crate) const REPLY_BYTES: u64 = 64;

pub(crate) const SESSION_LIMITS: SessionLimits = SessionLimits {
    sessions_max: SESSIONS_PER_GROUP_MAX,
    replies_max: SESSION_REPLIES_MAX,
    // Three old values of the longest kind and a full window beside them.
    session_bytes_max: 4 << 20,
    // 1 MiB of small replies is 16 384 of them; a thousand clients keep a dozen each.
    group_bytes_max: 64 << 20,
};

const _: () = assert!(size_of::<Remembered>() as u64 <= REPLY_BYTES);
const _: () = assert!(
    SESSION_LIMITS.session_bytes_max
        >= SESSION_REPLIES_MAX as u64 * REPLY_BYTES + 3 * (VALUE_BYTES_MAX as u64 + REPLY_BYTES)
);
// The session in use is never the one evicted for bytes.
const _: () = assert!(SESSION_LIMITS.group_bytes_max >= 2 * SESSION_LIMITS.session_bytes_max);

/// What is to be done with a stamped command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// Execute it; remember the reply if it has a session.
    Execute,
    /// It was executed: repeat the reply ([`Sessions::recall`]).
    Repeat,
    /// Neither.
    Refuse(ErrorKind),
}

#[derive(Debug)]
struct Remembered {
    sequence: u64,
    reply: Reply<Box<[u8]>>,
}

impl Remembered {
    fn bytes(&self) -> u64 {
        reply_bytes(match &self.reply {
            Reply::Value { value, .. } => value.len(),
            _ => 0,
        })
    }
}

fn reply_bytes(value_len: usize) -> u64 {
    REPLY_BYTES + value_len as u64
}

#[derive(Debug)]
struct Session {
    id: SessionId,
    links: Links,
    last_used: PackedVersion,
    lowest_open: u64,
    /// By sequence, ascending; none below `lowest_open`.
    replies: VecDeque<Remembered>,
    bytes: u64,
}

impl Session {
    fn find(&self, sequence: u64) -> Result<usize, usize> {
        // Nearly always the newest.
        match self.replies.back() {
            Some(last) if last.sequence >= sequence => {
                self.replies.binary_search_by_key(&sequence, |reply| reply.sequence)
            }
            _ => Err(self.replies.len()),
        }
    }
    /// Whether another reply fits once everything below `lowest_open` is dropped.
    fn has_room(&self, limits: &SessionLimits, lowest_open: u64, bytes: u64) -> bool {
        let dropped = self.replies.partition_point(|reply| reply.sequence < lowest_open);
        let dropped_bytes: u64 = self.replies.range(..dropped).map(Remembered::bytes).sum();
        self.replies.len() - dropped < limits.replies_max
            && self.bytes - dropped_bytes + bytes <= limits.session_bytes_max
    }
}

impl Linked for Vec<Session> {
    fn links(&self, at: u32) -> Links {
        self[at as usize].links
    }
    fn links_mut(&mut self, at: u32) -> &mut Links {
        &mut self[at as usize].links
    }
}

#[derive(Debug)]
pub(crate) struct Sessions {
    limits: SessionLimits,
    by_id: BTreeMap<SessionId, u32>,
    nodes: Vec<Session>,
    free: Vec<u32>,
    /// Most recently used in front.
    uses: List,
    bytes: u64,
}

impl Sessions {
    pub(crate) fn new(limits: SessionLimits) -> Self {
        Self {
            limits,
            by_id: BTreeMap::new(),
            nodes: Vec::new(),
            free: Vec::new(),
            uses: List::EMPTY,
            bytes: 0,
        }
    }

    /// Opens a session, named after the command that opens it.
    pub(crate) fn open(&mut self, version: PackedVersion) -> SessionId {
        if self.by_id.len() >= self.limits.sessions_max {
            self.evict_least_recent();
        }
        // Slots start at 1, so this is never `SessionId::NONE`, and no two commands share a version.
        let id = SessionId::new(version.get());
        assert!(id != SessionId::NONE);
        let session = Session {
            id,
            links: Links::NONE,
            last_used: version,
            lowest_open: 0,
            replies: VecDeque::new(),
            bytes: 0,
        };
        let at = match self.free.pop() {
            Some(at) => {
                self.nodes[at as usize] = session;
                at
            }
            None => {
                self.nodes.push(session);
                (self.nodes.len() - 1) as u32 // at most `sessions_max`
            }
        };
        let before = self.by_id.insert(id, at);
        assert!(before.is_none(), "a session opened twice");
        self.uses.push_front(&mut self.nodes, at);
        id
    }

    /// Looks at where [`Sessions::judge`] and [`Sessions::remember`] will look for each of `stamps`, as `Index::warm` does
    /// for keys. Changes nothing.
    pub(crate) fn warm(&self, stamps: impl Iterator<Item = SessionStamp>, scratch: &mut Vec<u32>) {
        scratch.clear();
        scratch.extend(stamps.filter_map(|stamp| self.by_id.get(&stamp.session).copied()));
        let step = |sum: usize, &at: &u32| sum ^ self.nodes[at as usize].replies.len();
        core::hint::black_box(scratch.iter().fold(0, step));
        let newest = |at: u32| self.nodes[at as usize].replies.back().map_or(0, |reply| reply.sequence);
        core::hint::black_box(scratch.iter().fold(0, |sum, &at| sum ^ newest(at)));
    }

    /// What to do with a command; changes nothing. `value_len` is the length of the value its reply will hold.
    pub(crate) fn judge(&self, stamp: &SessionStamp, value_len: usize) -> Verdict {
        if stamp.session == SessionId::NONE {
            return Verdict::Execute;
        }
        let Some(session) = self.get(stamp.session) else {
            return Verdict::Refuse(ErrorKind::SessionExpired);
        };
        if stamp.sequence == 0 || stamp.lowest_open > stamp.sequence {
            return Verdict::Refuse(ErrorKind::Malformed);
        }
        if stamp.sequence < session.lowest_open {
            return Verdict::Refuse(ErrorKind::SequenceClosed);
        }
        if session.find(stamp.sequence).is_ok() {
            return Verdict::Repeat;
        }
        if !session.has_room(&self.limits, stamp.lowest_open, reply_bytes(value_len)) {
            return Verdict::Refuse(ErrorKind::Busy);
        }
        Verdict::Execute
    }

    /// A command of this session was applied, whatever came of it: it is the most recently used now, and what its client
    /// has closed is forgotten. Nothing happens for a stamp that [`Sessions::judge`] found unknown or malformed.
    pub(crate) fn touch(&mut self, stamp: &SessionStamp, version: PackedVersion) {
        if stamp.sequence == 0 || stamp.lowest_open > stamp.sequence {
            return;
        }
        let Some(&at) = self.by_id.get(&stamp.session) else {
            return;
        };
        self.uses.remove(&mut self.nodes, at);
        self.uses.push_front(&mut self.nodes, at);
        let session = &mut self.nodes[at as usize];
        assert!(session.last_used < version, "sessions are used in applied order");
        session.last_used = version;
        if stamp.lowest_open <= session.lowest_open {
            return;
        }
        session.lowest_open = stamp.lowest_open;
        while let Some(reply) = session.replies.front()
            && reply.sequence < session.lowest_open
        {
            session.bytes -= reply.bytes();
            self.bytes -= reply.bytes();
            session.replies.pop_front();
        }
        // Room for a burst is not kept for good: four thousand sessions may have had one.
        if session.replies.capacity() > 64 && session.replies.len() < session.replies.capacity() / 4 {
            session.replies.shrink_to(session.replies.len() * 2);
        }
    }

    /// Keeps the reply of a command that was executed and touched.
    pub(crate) fn remember(&mut self, stamp: &SessionStamp, reply: Reply<&[u8]>) {
        let at = *self.by_id.get(&stamp.session).expect("judged, so known");
        let session = &mut self.nodes[at as usize];
        assert!(stamp.sequence >= session.lowest_open);
        let remembered = Remembered { sequence: stamp.sequence, reply: reply.map(Box::from) };
        let bytes = remembered.bytes();
        let Err(place) = session.find(stamp.sequence) else {
            panic!("a command of a session was executed twice")
        };
        session.replies.insert(place, remembered);
        session.bytes += bytes;
        self.bytes += bytes;
        assert!(session.replies.len() <= self.limits.replies_max);
        assert!(session.bytes <= self.limits.session_bytes_max);
        while self.bytes > self.limits.group_bytes_max {
            assert!(self.uses.front() != self.uses.back(), "one session alone is over the group's limit");
            self.evict_least_recent();
        }
    }

    /// The reply to a command that [`Sessions::judge`] said to repeat.
    pub(crate) fn recall(&self, stamp: &SessionStamp) -> Reply<&[u8]> {
        let session = self.get(stamp.session).expect("judged, so known");
        let place = session.find(stamp.sequence).expect("judged, so remembered");
        session.replies[place].reply.borrow()
    }

    pub(crate) fn digest(&self) -> u64 {
        let mut sum = 0_u64;
        for &at in self.by_id.values() {
            let session = &self.nodes[at as usize];
            let head = Digest::new(2)
                .word(session.id.get())
                .word(session.last_used.get())
                .word(session.lowest_open)
                .word(session.replies.len() as u64);
            let all = session.replies.iter().fold(head, |digest, remembered| {
                digest.word(remembered.sequence).reply(remembered.reply.borrow())
            });
            sum = sum.wrapping_add(all.get());
        }
        sum
    }

    fn evict_least_recent(&mut self) {
        let Some(at) = self.uses.back() else {
            return;
        };
        self.uses.remove(&mut self.nodes, at);
        let session = &mut self.nodes[at as usize];
        self.bytes -= session.bytes;
        session.bytes = 0;
        session.replies = VecDeque::new();
        self.by_id.remove(&session.id);
        self.free.push(at);
    }

    fn get(&self, id: SessionId) -> Option<&Session> {
        self.by_id.get(&id).map(|&at| &self.nodes[at as usize])
    }

    /// # Panics
    /// When the sessions contradict each other.
    pub(crate) fn invariants(&self) {
        assert!(self.by_id.len() <= self.limits.sessions_max);
        assert!(self.by_id.len() == self.uses.count() as usize);
        assert!(self.by_id.len() + self.free.len() == self.nodes.len());
        assert!(self.bytes <= self.limits.group_bytes_max);
        let mut bytes = 0;
        for (&id, &at) in &self.by_id {
            let session = &self.nodes[at as usize];
            assert!(session.id == id);
            assert!(session.replies.len() <= self.limits.replies_max);
            assert!(session.bytes <= self.limits.session_bytes_max);
            assert!(session.bytes == session.replies.iter().map(Remembered::bytes).sum::<u64>());
            assert!(session.replies.iter().is_sorted_by(|a, b| a.sequence < b.sequence));
            assert!(session.replies.front().is_none_or(|reply| reply.sequence >= session.lowest_open));
            bytes += session.bytes;
        }
        assert!(bytes == self.bytes);
        let used = |at: u32| self.nodes[at as usize].last_used;
        assert!(self.uses.iter(&self.nodes).map(used).is_sorted_by(|newer, older| newer > older));
    }
}
