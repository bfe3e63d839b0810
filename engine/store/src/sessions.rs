//! Sessions of one group: which commands were executed and with which replies, so that a retry is executed
//! once. Clients have sessions (rule P-12). So do nodes: under theirs they send the commands that their
//! clients send outside of sessions (rule P-21). Sessions are replicated state: applied order alone decides
//! about them, never a clock.
//!
//! ```text
//!   sequence   … 4   5   6   7   8   9 …
//!                closed │   remembered replies; in a node's session parts of them may be closed too
//!                       └ lowest_open: the client has heard everything below
//! ```
//! A refusal is for this one send and changes nothing else. `Busy` lasts until the client closes replies;
//! then the same sequence may be sent again. A sequence belongs to one command; another command under it is
//! refused. Writes of a node's session are executed in the order of their sequences (P-21i): one that comes
//! before its predecessors is refused for this send.
//!
//! | | of a client | of a node |
//! |---|---|---|
//! | evicted | by newer sessions, or when all replies are too many bytes | never; a later boot replaces it |
//! | too many replies | `Busy` | `Busy` |
//! | too many bytes of them | `Busy` | the command is executed; that its reply was dropped is remembered |
//!
//! Sessions must not execute anything.

use crate::digest::{Digest, fingerprint};
use crate::list::{Linked, Links, List};
use crate::version::PackedVersion;
use alloc::{
    boxed::Box,
    collections::{BTreeMap, VecDeque},
    vec::Vec,
};
use synod_types::limits::{
    NODE_REPLY_BYTES_MAX, SESSION_REPLIES_MAX, SESSIONS_PER_GROUP_MAX, VALUE_BYTES_MAX,
};
use synod_types::operand::ranges;
use synod_types::{Boot, CommandRef, CoreId, ErrorKind, NodeId, Op, Reply, SessionId, SessionStamp};

/// How much one group remembers. Part of the replicated semantics: the same on every replica.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionLimits {
    /// Sessions of clients; one more evicts the least recently used.
    pub(crate) sessions_max: usize,
    /// Replies of one session; one more is refused.
    pub(crate) replies_max: usize,
    /// Bytes of one session's replies ([`REPLY_BYTES`] each, plus values); more are refused, or dropped.
    pub(crate) session_bytes_max: u64,
    /// Bytes of all clients' sessions' replies; more evict the least recently used sessions.
    pub(crate) group_bytes_max: u64,
    /// Longest value in a reply that a node's session keeps.
    pub(crate) node_reply_bytes_max: usize,
}

/// Bytes that a remembered reply counts for beside its value.
pub(crate) const REPLY_BYTES: u64 = 64;
/// A node's session keeps values up to this long, such as the answer of a close, whatever else it keeps.
pub(crate) const SMALL_VALUE_BYTES: u64 = 128;
const _: () = assert!(SESSION_REPLIES_MAX.div_ceil(8) as u64 <= SMALL_VALUE_BYTES);

pub(crate) const SESSION_LIMITS: SessionLimits = SessionLimits {
    sessions_max: SESSIONS_PER_GROUP_MAX,
    replies_max: SESSION_REPLIES_MAX,
    // Three old values of the greatest length and a full window of replies beside them.
    session_bytes_max: 4 << 20,
    // 1 MiB of small replies is 16 384 of them; a thousand clients keep a dozen each.
    group_bytes_max: 64 << 20,
    node_reply_bytes_max: NODE_REPLY_BYTES_MAX,
};

const _: () = assert!(size_of::<Remembered>() as u64 <= REPLY_BYTES);
const _: () = assert!(
    SESSION_LIMITS.session_bytes_max
        >= SESSION_REPLIES_MAX as u64 * REPLY_BYTES + 3 * (VALUE_BYTES_MAX as u64 + REPLY_BYTES)
);
const _: () = assert!(
    SESSION_LIMITS.session_bytes_max
        >= SESSION_REPLIES_MAX as u64 * (REPLY_BYTES + SMALL_VALUE_BYTES) + NODE_REPLY_BYTES_MAX as u64
);
// The session in use is never the one evicted for bytes.
const _: () = assert!(SESSION_LIMITS.group_bytes_max >= 2 * SESSION_LIMITS.session_bytes_max);

/// The decision about a stamped command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Judgement {
    /// Execute it; remember the reply if it has a session.
    Execute,
    /// It was executed: repeat the reply ([`Sessions::recall`]).
    Repeat,
    /// Refuse it.
    Refuse(ErrorKind),
}

#[derive(Debug)]
struct Remembered {
    sequence: u64,
    /// The fingerprint of the command.
    fingerprint: u64,
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
struct SessionRecord {
    id: SessionId,
    /// Links in the list of clients' sessions.
    links: Links,
    last_used: PackedVersion,
    lowest_open: u64,
    /// By sequence, ascending; none below `lowest_open`.
    replies: VecDeque<Remembered>,
    bytes: u64,
    /// Closed ranges above `lowest_open`, as first sequence and the one after the last, in ascending order
    /// and not touching (nodes' sessions only).
    closed: Vec<(u64, u64)>,
    /// The lowest sequence that is neither remembered nor closed (nodes' sessions only). It only rises.
    frontier: u64,
}

impl SessionRecord {
    fn find(&self, sequence: u64) -> Result<usize, usize> {
        // Nearly always the sequence is newer than all others.
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
        if self.replies.len() - dropped >= limits.replies_max {
            return false;
        }
        if self.id.is_of_node() {
            return true;
        }
        let dropped_bytes: u64 = self.replies.range(..dropped).map(Remembered::bytes).sum();
        debug_assert!(dropped_bytes <= self.bytes, "replies of more bytes than were counted");
        self.bytes - dropped_bytes + bytes <= limits.session_bytes_max
    }
    /// Whether a node's session keeps a reply with a value of `len` bytes whole. There is room for a small
    /// value under every sequence, used or not; larger values share the rest.
    fn keeps(&self, limits: &SessionLimits, len: u64) -> bool {
        if len <= SMALL_VALUE_BYTES {
            return true;
        }
        let each = REPLY_BYTES + SMALL_VALUE_BYTES;
        let shared: u64 = self.replies.iter().map(|reply| reply.bytes().saturating_sub(each)).sum();
        len <= limits.node_reply_bytes_max as u64
            && limits.replies_max as u64 * each + shared + (len - SMALL_VALUE_BYTES)
                <= limits.session_bytes_max
    }
    fn is_closed(&self, sequence: u64) -> bool {
        sequence < self.lowest_open
            || self.closed.iter().any(|&(first, end)| (first..end).contains(&sequence))
    }
    /// The lowest sequence, from the frontier and from `lowest_open` on, that is neither remembered nor
    /// closed.
    fn first_missing(&self, lowest_open: u64) -> u64 {
        let mut sequence = self.frontier.max(lowest_open);
        while (self.is_closed(sequence) || self.find(sequence).is_ok())
            && let Some(next) = sequence.checked_add(1)
        {
            sequence = next;
        }
        debug_assert!(sequence >= self.frontier, "a frontier only rises");
        sequence
    }
    /// Drops replies and ranges below `lowest_open`; returns the bytes that became free.
    fn forget_closed(&mut self) -> u64 {
        let mut bytes = 0;
        while let Some(reply) = self.replies.pop_front_if(|reply| reply.sequence < self.lowest_open) {
            bytes += reply.bytes();
        }
        debug_assert!(bytes <= self.bytes, "replies of more bytes than were counted");
        self.bytes -= bytes;
        let lowest_open = self.lowest_open;
        self.closed.retain(|&(_, end)| end > lowest_open);
        // Memory for a burst is not kept for good, because four thousand sessions may have had one.
        if self.replies.capacity() > 64 && self.replies.len() < self.replies.capacity() / 4 {
            self.replies.shrink_to(self.replies.len() * 2);
        }
        debug_assert!(!self.replies.is_empty() || self.bytes == 0, "no reply has bytes");
        bytes
    }
}

impl Linked for Vec<SessionRecord> {
    fn links(&self, at: u32) -> Links {
        self[at as usize].links
    }
    fn links_mut(&mut self, at: u32) -> &mut Links {
        &mut self[at as usize].links
    }
}

/// The latest start of a node that has opened a session, and its cores' sessions.
#[derive(Debug)]
struct Holder {
    boot: Boot,
    cores: BTreeMap<CoreId, SessionId>,
}

#[derive(Debug)]
pub(crate) struct Sessions {
    limits: SessionLimits,
    by_id: BTreeMap<SessionId, u32>,
    nodes: Vec<SessionRecord>,
    free: Vec<u32>,
    /// Clients' sessions, most recently used in front.
    uses: List,
    /// Bytes of the replies in clients' sessions.
    bytes: u64,
    holders: BTreeMap<NodeId, Holder>,
    #[cfg(feature = "canary")]
    pub(crate) flaw: Option<crate::flaw::Flaw>,
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
            holders: BTreeMap::new(),
            #[cfg(feature = "canary")]
            flaw: None,
        }
    }

    /// Opens a client's session, named after the command that opens it.
    pub(crate) fn open(&mut self, version: PackedVersion) -> SessionId {
        if self.uses.count() as usize >= self.limits.sessions_max {
            self.evict_least_recent();
        }
        // Slots start at 1, so this is never `SessionId::NONE`, and no two commands share a version.
        let id = SessionId::new(version.get());
        assert!(id != SessionId::NONE && !id.is_of_node());
        let at = self.put(id, version);
        self.uses.push_front(&mut self.nodes, at);
        assert!(self.uses.count() as usize <= self.limits.sessions_max, "more sessions than there may be");
        id
    }

    /// Opens the session of a node's core, or returns the one that this boot of the node has opened for it
    /// before. `None` if a later boot has opened one, or another boot with an equal counter: then nothing is
    /// changed. The first open of a later boot ends the sessions of all cores of the boot before.
    pub(crate) fn open_for_node(
        &mut self,
        node: NodeId,
        core: CoreId,
        boot: Boot,
        version: PackedVersion,
    ) -> Option<SessionId> {
        if let Some(holder) = self.holders.get(&node)
            && holder.boot != boot
        {
            #[cfg(feature = "canary")]
            let is_later =
                holder.boot.counter < boot.counter || self.flaw == Some(crate::flaw::Flaw::AnyBootOpens);
            #[cfg(not(feature = "canary"))]
            let is_later = holder.boot.counter < boot.counter;
            if !is_later {
                return None;
            }
            for id in core::mem::take(&mut self.holders.get_mut(&node)?.cores).into_values() {
                self.remove(id);
            }
        }
        let holder = self.holders.entry(node).or_insert(Holder { boot, cores: BTreeMap::new() });
        holder.boot = boot;
        if let Some(&id) = holder.cores.get(&core) {
            assert!(self.by_id.contains_key(&id), "the session of a core is gone");
            return Some(id);
        }
        let id = SessionId::of_node(version.get());
        assert!(id.is_of_node() && id != SessionId::NONE);
        holder.cores.insert(core, id);
        self.put(id, version);
        Some(id)
    }

    fn put(&mut self, id: SessionId, version: PackedVersion) -> u32 {
        let session = SessionRecord {
            id,
            links: Links::NONE,
            last_used: version,
            lowest_open: 0,
            replies: VecDeque::new(),
            bytes: 0,
            closed: Vec::new(),
            frontier: 1,
        };
        let at = match self.free.pop() {
            Some(at) => {
                self.nodes[at as usize] = session;
                at
            }
            None => {
                self.nodes.push(session);
                (self.nodes.len() - 1) as u32 // `sessions_max`, and the cores of all nodes
            }
        };
        let before = self.by_id.insert(id, at);
        assert!(before.is_none(), "a session opened twice");
        assert!(self.by_id.len() + self.free.len() == self.nodes.len(), "every place is used or free");
        at
    }

    /// Reads the memory that [`Sessions::judge`] and [`Sessions::remember`] will read for each of `stamps`,
    /// as `Index::warm` does for keys. Changes nothing.
    pub(crate) fn warm(&self, stamps: impl Iterator<Item = SessionStamp>, scratch: &mut Vec<u32>) {
        scratch.clear();
        scratch.extend(stamps.filter_map(|stamp| self.by_id.get(&stamp.session).copied()));
        let step = |sum: usize, &at: &u32| sum ^ self.nodes[at as usize].replies.len();
        core::hint::black_box(scratch.iter().fold(0, step));
        let newest = |at: u32| self.nodes[at as usize].replies.back().map_or(0, |reply| reply.sequence);
        core::hint::black_box(scratch.iter().fold(0, |sum, &at| sum ^ newest(at)));
    }

    /// Decides about a command; changes nothing. `value_len` is the length of the value its reply will hold.
    /// If `in_order`, a write of a node's session is refused while a sequence below its own, open as far as
    /// its stamp says, was not executed (P-21i).
    pub(crate) fn judge(&self, command: &CommandRef<'_>, value_len: usize, in_order: bool) -> Judgement {
        let stamp = &command.stamp;
        if stamp.session == SessionId::NONE {
            return Judgement::Execute;
        }
        let Some(session) = self.get(stamp.session) else {
            return Judgement::Refuse(ErrorKind::SessionExpired);
        };
        if stamp.sequence == 0 || stamp.lowest_open > stamp.sequence {
            return Judgement::Refuse(ErrorKind::Malformed);
        }
        if session.is_closed(stamp.sequence) {
            return Judgement::Refuse(ErrorKind::SequenceClosed);
        }
        if let Ok(place) = session.find(stamp.sequence) {
            let is_it = session.replies[place].fingerprint == fingerprint(command);
            return if is_it { Judgement::Repeat } else { Judgement::Refuse(ErrorKind::Malformed) };
        }
        #[cfg(feature = "canary")]
        let in_order = in_order && self.flaw != Some(crate::flaw::Flaw::AnyOrder);
        let is_ordered = in_order && stamp.session.is_of_node() && command.op != Op::CloseSequences;
        if is_ordered && session.first_missing(stamp.lowest_open) < stamp.sequence {
            return Judgement::Refuse(ErrorKind::NoLeader);
        }
        if !session.has_room(&self.limits, stamp.lowest_open, reply_bytes(value_len)) {
            return Judgement::Refuse(ErrorKind::Busy);
        }
        Judgement::Execute
    }

    /// The reply of this very command, if it was executed as far as is applied here and the reply is
    /// remembered.
    pub(crate) fn executed(&self, command: &CommandRef<'_>) -> Option<Reply<&[u8]>> {
        let session = self.get(command.stamp.session)?;
        let remembered = &session.replies[session.find(command.stamp.sequence).ok()?];
        (remembered.fingerprint == fingerprint(command)).then(|| remembered.reply.borrow())
    }

    /// The lowest sequence of a node's session that is neither executed nor closed; none if there is no such
    /// session.
    pub(crate) fn frontier(&self, id: SessionId) -> Option<u64> {
        self.get(id).filter(|session| session.id.is_of_node()).map(|session| session.frontier)
    }

    /// A command of this session was applied, whatever its outcome: the session is now the most recently
    /// used, and the replies that its client has closed are forgotten. Does nothing for a stamp that
    /// [`Sessions::judge`] found unknown or malformed.
    pub(crate) fn touch(&mut self, stamp: &SessionStamp, version: PackedVersion) {
        if stamp.sequence == 0 || stamp.lowest_open > stamp.sequence {
            return;
        }
        let Some(&at) = self.by_id.get(&stamp.session) else {
            return;
        };
        let is_of_client = !stamp.session.is_of_node();
        if is_of_client {
            self.uses.remove(&mut self.nodes, at);
            self.uses.push_front(&mut self.nodes, at);
        }
        let session = &mut self.nodes[at as usize];
        assert!(session.last_used < version, "sessions are used in applied order");
        session.last_used = version;
        if stamp.lowest_open > session.lowest_open {
            session.lowest_open = stamp.lowest_open;
            let freed = session.forget_closed();
            debug_assert!(!is_of_client || freed <= self.bytes, "replies of more bytes than were counted");
            self.bytes -= if is_of_client { freed } else { 0 };
            self.move_frontier(at, 0);
        }
        debug_assert!(self.nodes[at as usize].lowest_open >= stamp.lowest_open, "a session goes on");
    }

    /// Closes the ranges in the operand of a command that was judged: none of their sequences is executed
    /// from now on. Appends a bit to `executed` for each of their sequences, lowest first; each byte is
    /// filled from its lowest bit.
    ///
    /// # Errors
    /// Nothing was changed: the session is a client's or the ranges reach up to the command itself
    /// ([`ErrorKind::Malformed`]), or parts of the ranges are closed already, so that it is no longer known
    /// which of them were executed ([`ErrorKind::SequenceClosed`]).
    pub(crate) fn close(
        &mut self,
        command: &CommandRef<'_>,
        executed: &mut Vec<u8>,
    ) -> Result<(), ErrorKind> {
        let stamp = &command.stamp;
        let held = self.by_id.get(&stamp.session).copied().filter(|_| stamp.session.is_of_node());
        let place = held.ok_or(ErrorKind::Malformed)?;
        let session = &mut self.nodes[place as usize];
        debug_assert!(executed.is_empty(), "bits of another answer");
        let spans = || ranges(command.operand).map(|(first, count)| (first, first + u64::from(count)));
        if spans().any(|(_, end)| end > stamp.sequence) {
            return Err(ErrorKind::Malformed);
        }
        if spans().any(|(first, end)| (first..end).any(|sequence| session.is_closed(sequence))) {
            return Err(ErrorKind::SequenceClosed);
        }
        for (at, sequence) in spans().flat_map(|(first, end)| first..end).enumerate() {
            if at % 8 == 0 {
                executed.push(0);
            }
            if session.find(sequence).is_ok()
                && let Some(byte) = executed.last_mut()
            {
                *byte |= 1 << (at % 8);
            }
        }
        session.closed.extend(spans());
        session.closed.sort_unstable();
        session.closed.dedup_by(|next, before| {
            let meets = before.1 == next.0;
            if meets {
                before.1 = next.1;
            }
            meets
        });
        debug_assert!(
            session.closed.is_sorted_by(|before, next| before.1 < next.0),
            "closed ranges meet or overlap"
        );
        let (bytes, closed) = (&mut session.bytes, &session.closed);
        session.replies.retain(|reply| {
            let is_closed = closed.iter().any(|&(first, end)| (first..end).contains(&reply.sequence));
            *bytes -= if is_closed { reply.bytes() } else { 0 };
            !is_closed
        });
        debug_assert!(!session.replies.is_empty() || session.bytes == 0, "no reply has bytes");
        self.move_frontier(place, 0);
        Ok(())
    }

    /// Moves the frontier of a node's session on, over sequences that were executed or closed; all below
    /// `known` were.
    fn move_frontier(&mut self, at: u32, known: u64) {
        let session = &mut self.nodes[at as usize];
        if session.id.is_of_node() {
            session.frontier = session.first_missing(session.lowest_open.max(known));
        }
    }

    /// Keeps the reply of a command that was executed and touched.
    pub(crate) fn remember(&mut self, command: &CommandRef<'_>, reply: Reply<&[u8]>) {
        let stamp = &command.stamp;
        let at = *self.by_id.get(&stamp.session).expect("judged, so known");
        let session = &mut self.nodes[at as usize];
        assert!(stamp.sequence >= session.lowest_open, "the client has this reply already");
        debug_assert!(!session.is_closed(stamp.sequence), "a closed sequence was executed");
        let is_of_client = !stamp.session.is_of_node();
        let reply = match reply {
            Reply::Value { value, .. }
                if !is_of_client && !session.keeps(&self.limits, value.len() as u64) =>
            {
                Reply::Error(ErrorKind::ReplyDropped)
            }
            reply => reply,
        };
        let remembered = Remembered {
            sequence: stamp.sequence,
            fingerprint: fingerprint(command),
            reply: reply.map(Box::from),
        };
        let bytes = remembered.bytes();
        #[cfg(feature = "canary")]
        if self.flaw == Some(crate::flaw::Flaw::Forgets) && !is_of_client {
            self.move_frontier(at, stamp.sequence.saturating_add(1));
            return;
        }
        let Err(place) = session.find(stamp.sequence) else {
            panic!("a command of a session was executed twice")
        };
        session.replies.insert(place, remembered);
        session.bytes += bytes;
        assert!(session.replies.len() <= self.limits.replies_max, "more replies than a session keeps");
        assert!(session.bytes <= self.limits.session_bytes_max, "more bytes than a session keeps");
        if !is_of_client {
            self.move_frontier(at, 0);
            return;
        }
        self.bytes += bytes;
        while self.bytes > self.limits.group_bytes_max {
            assert!(self.uses.front() != self.uses.back(), "one session alone is over the group's limit");
            self.evict_least_recent();
        }
    }

    /// The reply of a command for which [`Sessions::judge`] said to repeat it.
    pub(crate) fn recall(&self, stamp: &SessionStamp) -> Reply<&[u8]> {
        debug_assert!(stamp.session != SessionId::NONE, "without a session nothing is repeated");
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
            let head = session.closed.iter().fold(head, |digest, &(first, end)| digest.word(first).word(end));
            let all = session.replies.iter().fold(head, |digest, remembered| {
                let digest = digest.word(remembered.sequence).word(remembered.fingerprint);
                digest.reply(remembered.reply.borrow())
            });
            sum = sum.wrapping_add(all.get());
        }
        for (node, Holder { boot, cores }) in &self.holders {
            let head = Digest::new(4).word(u64::from(node.get())).word(boot.counter).word(boot.random);
            let all = cores
                .iter()
                .fold(head, |digest, (core, id)| digest.word(u64::from(core.get())).word(id.get()));
            sum = sum.wrapping_add(all.get());
        }
        sum
    }

    fn evict_least_recent(&mut self) {
        let Some(at) = self.uses.back() else {
            return;
        };
        self.uses.remove(&mut self.nodes, at);
        let session = &self.nodes[at as usize];
        assert!(!session.id.is_of_node(), "a node's session is never evicted");
        assert!(session.bytes <= self.bytes, "replies of more bytes than were counted");
        self.bytes -= session.bytes;
        self.remove(session.id);
    }

    /// Removes a session that is in no list.
    fn remove(&mut self, id: SessionId) {
        let at = self.by_id.remove(&id).expect("a session is removed once");
        let session = &mut self.nodes[at as usize];
        assert!(session.id == id, "a session in another's place");
        assert!(session.links == Links::NONE, "a removed session is in the list");
        session.bytes = 0;
        session.replies = VecDeque::new();
        session.closed = Vec::new();
        self.free.push(at);
        assert!(self.by_id.len() + self.free.len() == self.nodes.len(), "every place is used or free");
    }

    fn get(&self, id: SessionId) -> Option<&SessionRecord> {
        self.by_id.get(&id).map(|&at| &self.nodes[at as usize])
    }

    /// # Panics
    /// When the sessions contradict each other.
    pub(crate) fn invariants(&self) {
        assert!(self.uses.count() as usize <= self.limits.sessions_max);
        let of_nodes: usize = self.holders.values().map(|holder| holder.cores.len()).sum();
        assert!(self.by_id.len() == self.uses.count() as usize + of_nodes);
        let mut held = self.holders.values().flat_map(|holder| holder.cores.values());
        assert!(held.all(|id| id.is_of_node() && self.by_id.contains_key(id)));
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
            assert!(session.closed.iter().is_sorted_by(|before, next| before.1 < next.0));
            assert!(session.closed.iter().all(|&(first, end)| first < end && end > session.lowest_open));
            let is_kept = |reply: &Remembered| !session.is_closed(reply.sequence);
            assert!(session.replies.iter().all(is_kept));
            let is_missing = session.first_missing(session.lowest_open) == session.frontier;
            assert!(!id.is_of_node() || is_missing, "a frontier stands still");
            bytes += if id.is_of_node() { 0 } else { session.bytes };
        }
        assert!(bytes == self.bytes);
        let used = |at: u32| self.nodes[at as usize].last_used;
        assert!(self.uses.iter(&self.nodes).map(used).is_sorted_by(|newer, older| newer > older));
    }
}
