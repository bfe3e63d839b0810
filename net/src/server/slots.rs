//! Replies of a RESP connection, written in the order of its requests although they become known in any
//! order.
//!
//! ```text
//!   oldest ─▶ [open] [ready: bytes] [many: 2 of 3] [open] [long: 5 MiB in pieces] ◀─ newest
//! ```
//! The reply to the oldest slot is written straight into the output, and so is every ready one directly
//! behind it; any other waits as bytes. Nothing is allocated while replies come in order. A long reply is
//! written in pieces, the next piece when the last one has left: writing millions of keys at once would stop
//! all other connections.

use super::ask::{LocalAnswer, LocalQuery, Tag};
use super::config::{Limits, ServerConfig};
use super::counts::CommandCounts;
use super::local_answers;
use super::shapes::{write_error, write_reply};
use crate::resp::plan::{Many, ReplyShape};
use crate::resp::reply::{Proto, Writer};
use std::collections::VecDeque;
use synod_types::{Bucket, ErrorKind, Reply};

/// Low bits of a tag: the part of a command on many keys.
const PART_BITS: u32 = 24;
/// Most parts of one command.
pub(super) const PARTS_MAX: usize = (1 << PART_BITS) - 1;
/// High bits of a tag: the slot. A connection would have to send a million commands a second for twelve days
/// to wrap around, and even then only open slots, at most a few thousand, must not collide.
const ORDINAL_MASK: u64 = (1 << (64 - PART_BITS)) - 1;
/// Buffers of parked replies kept for the next ones.
const SPARE_COUNT_MAX: usize = 32;
const SPARE_BYTES_MAX: usize = 8 << 10;
/// No further piece of a long reply is written while the output holds this many bytes or more.
const PIECES_BYTES: usize = 256 << 10;
/// Most pieces written in one call: muted ones add nothing to the output, which would never fill.
const PIECES_AT_ONCE: usize = 4;
/// Values of one piece of MGET's reply.
const PIECE_VALUES: usize = 1024;

/// One request whose reply is not written yet.
#[derive(Debug)]
struct ReplySlot {
    /// The protocol version when the request came: HELLO may have changed it since.
    proto: Proto,
    /// The command's name, for errors that quote it.
    name: &'static str,
    /// CLIENT REPLY OFF or SKIP: nothing is written.
    muted: bool,
    /// Whether the client may be sent elsewhere instead of being answered.
    may_redirect: bool,
    state: SlotState,
}

#[derive(Debug)]
enum SlotState {
    One(ReplyShape),
    Many(Box<ManyState>),
    Local(LocalQuery),
    Job,
    Ready(Vec<u8>),
    Long(Pieces),
}

/// The rest of a long reply.
#[derive(Debug)]
enum Pieces {
    /// Encoded and ready to be sent.
    Bytes(VecDeque<Vec<u8>>),
    /// MGET's values, and their number until it is written.
    Values { count: Option<usize>, left: std::vec::IntoIter<Option<Box<[u8]>>> },
}

impl Pieces {
    /// Writes a piece. Returns the bytes that it held until now; `None` at the end.
    fn write(&mut self, out: &mut Vec<u8>, proto: Proto, muted: bool) -> Option<usize> {
        match self {
            Self::Bytes(pieces) => {
                let piece = pieces.pop_front()?;
                if !muted {
                    out.extend_from_slice(&piece);
                }
                Some(piece.len())
            }
            Self::Values { count, left } => {
                if let (Some(count), false) = (count.take(), muted) {
                    Writer::new(out, proto).array(count);
                }
                if left.len() == 0 {
                    return None;
                }
                let mut held = 0;
                for value in left.take(PIECE_VALUES) {
                    held += value.as_ref().map_or(0, |value| value.len());
                    if !muted {
                        write_value(&mut Writer::new(out, proto), value.as_deref());
                    }
                    if held >= PIECES_BYTES {
                        break;
                    }
                }
                Some(held)
            }
        }
    }
}

fn write_value(writer: &mut Writer<'_>, value: Option<&[u8]>) {
    match value {
        Some(value) => writer.bulk(value),
        None => writer.nil(),
    }
}

#[derive(Debug)]
struct ManyState {
    many: Many,
    /// Replies still to come.
    missing: usize,
    sum: i64,
    /// MGET's values by part.
    values: Vec<Option<Box<[u8]>>>,
    /// Whether a part was, or may have been, executed.
    executed: bool,
    error: Option<ErrorKind>,
}

/// The slots of one connection.
#[derive(Debug, Default)]
pub(super) struct Slots {
    /// Ordinal of the oldest slot.
    first: u64,
    queue: VecDeque<ReplySlot>,
    /// Asks not answered yet; a command on many keys has several.
    open: usize,
    /// Bytes that wait in slots.
    parked_bytes: usize,
    spare: Vec<Vec<u8>>,
    /// The protocol version of replies to the commands that come now.
    proto: Proto,
    /// Replies to the commands that come now are not written.
    muted: bool,
    /// The command that comes now, and whether it was taken up; its name is empty if it has none.
    coming: (&'static str, bool),
    counts: CommandCounts,
}

impl Slots {
    /// No slots yet; error lines are counted in `counts`.
    pub(super) fn new(counts: CommandCounts) -> Self {
        Self { counts, ..Self::default() }
    }
    /// The command called `name` comes now; it is refused unless it `is_called`, that is, taken up.
    pub(super) fn comes(&mut self, name: &'static str, is_called: bool) {
        self.coming = (name, is_called);
    }
    /// Counts a reply that was just written, if it is an error.
    fn count(counts: &CommandCounts, written: &[u8], name: &str, is_called: bool) {
        if written.first() == Some(&b'-') {
            counts.error(written);
            if is_called { counts.failed(name) } else { counts.rejected(name) }
        }
    }
    /// Requests whose reply is not written yet.
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }
    /// Asks not answered yet.
    pub(super) fn open(&self) -> usize {
        self.open
    }
    /// Bytes that wait in slots.
    pub(super) fn parked_bytes(&self) -> usize {
        self.parked_bytes
    }

    /// Writes a reply that is known at once; directly, if it is its turn.
    pub(super) fn write(&mut self, out: &mut Vec<u8>, write: impl FnOnce(&mut Writer<'_>)) {
        if self.muted {
            return;
        }
        let (proto, (name, is_called)) = (self.proto, self.coming);
        if self.queue.is_empty() {
            let before = out.len();
            write(&mut Writer::new(out, proto));
            return Self::count(&self.counts, &out[before..], name, is_called);
        }
        let mut bytes = self.spare.pop().unwrap_or_default();
        write(&mut Writer::new(&mut bytes, proto));
        Self::count(&self.counts, &bytes, name, is_called);
        self.parked_bytes += bytes.len();
        self.queue.push_back(ReplySlot {
            proto,
            name: "",
            muted: false,
            may_redirect: false,
            state: SlotState::Ready(bytes),
        });
    }
    /// Opens a slot for one command.
    pub(super) fn open_one(&mut self, name: &'static str, shape: ReplyShape) -> Tag {
        self.push(name, SlotState::One(shape))
    }
    /// Allows the reply to the command or job `tag` to be a redirection.
    pub(super) fn let_redirect(&mut self, tag: Tag) {
        if let Some(index) = self.index_of(tag) {
            self.queue[index].may_redirect = true;
        }
    }
    /// Answers a command with the place where its key is served, if that is allowed.
    pub(super) fn redirect(
        &mut self,
        out: &mut Vec<u8>,
        tag: Tag,
        bucket: Bucket,
        host: &str,
        port: u16,
    ) -> bool {
        let Some(index) = self.index_of(tag) else { return false };
        let slot = &self.queue[index];
        let (true, SlotState::One(_) | SlotState::Job, Some(open)) =
            (slot.may_redirect, &slot.state, self.open.checked_sub(1))
        else {
            return false;
        };
        self.open = open;
        let proto = slot.proto;
        let text = format!("MOVED {} {host}:{port}", bucket.get());
        self.resolve(out, index, |writer| writer.error(&text), proto);
        true
    }
    /// Opens a slot for a question that only the shell can answer.
    pub(super) fn open_local(&mut self, query: LocalQuery) -> Tag {
        self.push("", SlotState::Local(query))
    }
    /// The job in slot `tag` has done its part: the shell answers the rest.
    pub(super) fn becomes_local(&mut self, tag: Tag, query: LocalQuery) {
        if let Some(index) = self.index_of(tag) {
            self.queue[index].state = SlotState::Local(query);
        }
    }
    /// Opens a slot for `count` commands; they are asked one by one with [`Slots::part`].
    pub(super) fn open_many(&mut self, name: &'static str, many: Many, count: usize) -> Tag {
        assert!(count > 0 && count <= PARTS_MAX, "parts of a command");
        let values = if many == Many::Get { (0..count).map(|_| None).collect() } else { Vec::new() };
        let state = ManyState { many, missing: count, sum: 0, values, executed: false, error: None };
        let tag = self.push(name, SlotState::Many(Box::new(state)));
        self.open -= 1; // its parts are counted when they are asked
        tag
    }
    /// Counts part `index` of the slot `tag` as asked and returns its tag.
    pub(super) fn part(&mut self, tag: Tag, index: usize) -> Tag {
        self.open += 1;
        Tag::new(tag.get() | index as u64) // bounded in `open_many`
    }

    /// Opens a slot for a job: its asks bear this tag, and [`Slots::finish`] closes it.
    pub(super) fn open_job(&mut self, name: &'static str) -> Tag {
        self.push(name, SlotState::Job)
    }
    /// Writes the answer of a job in its turn.
    pub(super) fn finish(
        &mut self,
        out: &mut Vec<u8>,
        tag: Tag,
        write: impl FnOnce(&mut Writer<'_>, &'static str),
    ) {
        let Some(index) = self.index_of(tag) else { return };
        let ReplySlot { proto, name, .. } = self.queue[index];
        self.open -= 1;
        self.resolve(out, index, |writer| write(writer, name), proto);
    }
    /// Writes the answer of a job in its turn, in pieces: first the output of `write`, then `rest`, which is
    /// already encoded.
    pub(super) fn finish_long(
        &mut self,
        out: &mut Vec<u8>,
        tag: Tag,
        write: impl FnOnce(&mut Writer<'_>),
        mut rest: VecDeque<Vec<u8>>,
    ) {
        let Some(index) = self.index_of(tag) else { return };
        let mut head = Vec::new();
        write(&mut Writer::new(&mut head, self.queue[index].proto));
        rest.push_front(head);
        self.open -= 1;
        self.parked_bytes += rest.iter().map(Vec::len).sum::<usize>();
        self.queue[index].state = SlotState::Long(Pieces::Bytes(rest));
        self.write_on(out);
    }
    /// Whether the front of the queue is a long reply that is not written to its end.
    pub(super) fn is_in_pieces(&self) -> bool {
        matches!(self.queue.front(), Some(ReplySlot { state: SlotState::Long(_), .. }))
    }
    /// Writes the known replies at the front of the queue, but no more of a long reply than a socket takes at
    /// once.
    pub(super) fn write_on(&mut self, out: &mut Vec<u8>) {
        let mut pieces = 0;
        loop {
            match self.queue.front_mut() {
                Some(ReplySlot { state: SlotState::Ready(bytes), .. }) => {
                    let mut bytes = core::mem::take(bytes);
                    self.parked_bytes -= bytes.len();
                    out.extend_from_slice(&bytes);
                    bytes.clear();
                    if bytes.capacity() <= SPARE_BYTES_MAX && self.spare.len() < SPARE_COUNT_MAX {
                        self.spare.push(bytes);
                    }
                    self.pop();
                }
                Some(ReplySlot { state: SlotState::Long(left), proto, muted, .. }) => {
                    if out.len() >= PIECES_BYTES || pieces >= PIECES_AT_ONCE {
                        return;
                    }
                    pieces += 1;
                    match left.write(out, *proto, *muted) {
                        Some(bytes) => self.parked_bytes -= bytes,
                        None => self.pop(),
                    }
                }
                _ => return,
            }
        }
    }
    /// Sets whether replies are left out from now on.
    pub(super) fn mute(&mut self, muted: bool) {
        self.muted = muted;
    }
    /// The protocol version of replies to the commands that come now.
    pub(super) fn proto(&self) -> Proto {
        self.proto
    }
    /// Sets the protocol version of replies from now on.
    pub(super) fn speak(&mut self, proto: Proto) {
        self.proto = proto;
    }

    fn push(&mut self, name: &'static str, state: SlotState) -> Tag {
        let slot = ReplySlot { proto: self.proto, name, muted: self.muted, may_redirect: false, state };
        let ordinal = self.first.wrapping_add(self.queue.len() as u64) & ORDINAL_MASK;
        self.queue.push_back(slot);
        self.open += 1;
        Tag::new(ordinal << PART_BITS)
    }

    fn index_of(&self, tag: Tag) -> Option<usize> {
        let ordinal = tag.get() >> PART_BITS;
        let index = usize::try_from(ordinal.wrapping_sub(self.first) & ORDINAL_MASK).ok()?;
        (index < self.queue.len()).then_some(index)
    }

    /// Takes the reply to a command or to a part of one.
    pub(super) fn reply(&mut self, server: &ServerConfig, out: &mut Vec<u8>, tag: Tag, reply: Reply<&[u8]>) {
        let Some(index) = self.index_of(tag) else { return };
        let is_one = matches!(self.queue[index].state, SlotState::One(_));
        let is_many = matches!(&self.queue[index].state, SlotState::Many(many) if many.missing > 0);
        let (true, Some(open)) = (is_one || is_many, self.open.checked_sub(1)) else {
            return; // answered before: the shell's slip must not reach the client as a shifted reply
        };
        self.open = open;
        let reply = self.bounded(&server.limits, out, index, reply);
        let slot = &mut self.queue[index];
        match &mut slot.state {
            SlotState::One(_)
                if matches!(reply, Reply::Error(ErrorKind::NoSpace)) && !server.notice.is_empty() =>
            {
                let text = format!("BUSY {}; nothing was executed", server.notice.text());
                let proto = slot.proto;
                self.resolve(out, index, |writer| writer.error(&text), proto);
            }
            SlotState::One(shape) => {
                let (shape, name, proto) = (*shape, slot.name, slot.proto);
                self.resolve(out, index, |writer| write_reply(writer, shape, name, &reply), proto);
            }
            SlotState::Many(state) => {
                let part = (tag.get() & ((1 << PART_BITS) - 1)) as usize; // 24 bits
                self.parked_bytes += state.take(part, reply);
                if state.missing > 0 {
                    return;
                }
                let proto = slot.proto;
                let SlotState::Many(state) =
                    core::mem::replace(&mut slot.state, SlotState::Ready(Vec::new()))
                else {
                    return;
                };
                if state.error.is_none()
                    && (state.values.len() > PIECE_VALUES || state.bytes() > PIECES_BYTES)
                {
                    return self.begin_values(out, index, state.values);
                }
                self.parked_bytes -= state.bytes();
                self.resolve(out, index, |writer| state.write(writer), proto);
            }
            SlotState::Local(_) | SlotState::Job | SlotState::Ready(_) | SlotState::Long(_) => {}
        }
    }

    /// All values of a long MGET are known: they are written in pieces when it is their turn.
    fn begin_values(&mut self, out: &mut Vec<u8>, index: usize, values: Vec<Option<Box<[u8]>>>) {
        self.queue[index].state =
            SlotState::Long(Pieces::Values { count: Some(values.len()), left: values.into_iter() });
        self.write_on(out);
    }

    /// Takes the answer to a question that only the shell can answer.
    pub(super) fn answer(
        &mut self,
        server: &ServerConfig,
        out: &mut Vec<u8>,
        tag: Tag,
        answer: &LocalAnswer,
    ) {
        let Some(index) = self.index_of(tag) else { return };
        let slot = &mut self.queue[index];
        let proto = slot.proto;
        if !matches!(slot.state, SlotState::Local(_)) {
            return;
        }
        let SlotState::Local(query) = core::mem::replace(&mut slot.state, SlotState::Ready(Vec::new()))
        else {
            return;
        };
        self.open -= 1;
        self.resolve(out, index, |writer| local_answers::write(writer, server, &query, answer), proto);
    }

    /// Memory is bounded first of all: a value that would pass the hard limit is not kept.
    fn bounded<'a>(
        &self,
        limits: &Limits,
        out: &[u8],
        index: usize,
        reply: Reply<&'a [u8]>,
    ) -> Reply<&'a [u8]> {
        let Reply::Value { value, .. } = reply else { return reply };
        if out.len() + self.parked_bytes + value.len() <= limits.out_bytes_hard {
            return reply;
        }
        match self.queue[index].state {
            // The write took place, but the old value cannot be returned, so the outcome counts as unknown.
            SlotState::One(ReplyShape::OldValue) => Reply::Error(ErrorKind::Unknown),
            _ => Reply::Error(ErrorKind::Busy),
        }
    }

    /// The reply of slot `index` is known: it is written now, or parked until its turn.
    fn resolve(
        &mut self,
        out: &mut Vec<u8>,
        index: usize,
        write: impl FnOnce(&mut Writer<'_>),
        proto: Proto,
    ) {
        let ReplySlot { muted, name, .. } = self.queue[index];
        if index > 0 {
            let mut bytes = self.spare.pop().unwrap_or_default();
            if !muted {
                write(&mut Writer::new(&mut bytes, proto));
                Self::count(&self.counts, &bytes, name, true);
            }
            self.parked_bytes += bytes.len();
            self.queue[index].state = SlotState::Ready(bytes);
            return;
        }
        if !muted {
            let before = out.len();
            write(&mut Writer::new(out, proto));
            Self::count(&self.counts, &out[before..], name, true);
        }
        self.pop();
        self.write_on(out);
    }

    fn pop(&mut self) {
        let popped = self.queue.pop_front();
        assert!(popped.is_some(), "a slot to pop");
        self.first = self.first.wrapping_add(1) & ORDINAL_MASK;
    }
}

impl ManyState {
    /// Takes the reply to one part; returns the number of bytes kept.
    fn take(&mut self, part: usize, reply: Reply<&[u8]>) -> usize {
        self.missing -= 1;
        match (self.many, reply) {
            (_, Reply::Error(kind)) => {
                // An unknown outcome outweighs every other error; otherwise the first error counts.
                if kind == ErrorKind::Unknown || self.error.is_none() {
                    self.error = Some(kind);
                }
            }
            (Many::Delete | Many::Exists, Reply::Int(count)) => {
                self.sum += count;
                self.executed = true;
            }
            (Many::Set, Reply::Done { .. }) => self.executed = true,
            (Many::Get, Reply::Nil) => {}
            (Many::Get, Reply::Value { value, .. }) => {
                if let Some(kept) = self.values.get_mut(part) {
                    *kept = Some(value.into());
                    return value.len();
                }
            }
            _ => self.error = Some(ErrorKind::Unknown), // not an answer to this question
        }
        0
    }

    fn bytes(&self) -> usize {
        self.values.iter().flatten().map(|value| value.len()).sum()
    }

    fn write(&self, writer: &mut Writer<'_>) {
        match self.error {
            None => {}
            Some(ErrorKind::Unknown) => return write_error(writer, ErrorKind::Unknown, ""),
            Some(_) if self.many.is_write() && self.executed => {
                return writer.error("UNKNOWN some keys were written and some were not");
            }
            Some(kind) => return write_error(writer, kind, ""),
        }
        match self.many {
            Many::Delete | Many::Exists => writer.int(self.sum),
            Many::Set => writer.simple("OK"),
            Many::Get => {
                writer.array(self.values.len());
                self.values.iter().for_each(|value| write_value(writer, value.as_deref()));
            }
        }
    }
}
