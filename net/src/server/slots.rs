//! Replies of a RESP connection, written in the order of its requests although they become known in any
//! order.
//!
//! ```text
//!   oldest ─▶ [open] [ready: bytes] [many: 2 of 3] [values: 5 of 9] [long: 5 MiB in pieces] ◀─ newest
//! ```
//! The reply to the oldest slot is written straight into the output, and so is every ready one directly
//! behind it; any other waits as bytes. Nothing is allocated while replies come in order. A long reply is
//! written in pieces, the next piece when the last one has left: writing millions of keys at once would stop
//! all other connections. What is brought is kept, however much it is: the shell asks before it brings a long
//! value.

use super::ask::{LocalAnswer, LocalQuery, Tag};
use super::config::ServerConfig;
use super::counts::CommandCounts;
use super::local_answers;
use super::many::ManyState;
use super::parked::{PIECES_BYTES, ParkedBytes};
use super::shapes::write_reply;
use super::values::Values;
use crate::resp::plan::{Many, ReplyShape};
use crate::resp::reply::{Proto, Writer};
use crate::wire::make_room;
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
/// Most pieces written in one call: muted ones add nothing to the output, which would never fill.
const PIECES_AT_ONCE: usize = 4;

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
    Values(Box<Values>),
    Local(LocalQuery),
    Job,
    Ready(Vec<u8>),
    /// The rest of a long reply: encoded, in pieces.
    Long(VecDeque<Vec<u8>>),
}

/// The slots of one connection.
#[derive(Debug, Default)]
pub(super) struct Slots {
    /// Ordinal of the oldest slot.
    first: u64,
    queue: VecDeque<ReplySlot>,
    /// Asks not answered yet; a command on many keys has several.
    open: usize,
    /// What waits in slots.
    parked: ParkedBytes,
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
        self.parked.bytes
    }
    /// Bytes of memory that it holds.
    pub(super) fn held_bytes(&self) -> usize {
        let spare: usize = self.spare.iter().map(Vec::capacity).sum();
        self.parked.memory + spare + self.queue.capacity() * size_of::<ReplySlot>()
    }
    /// Frees the memory that is kept for later replies, if nothing is open.
    pub(super) fn shrink(&mut self) {
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
            self.spare = Vec::new();
        }
    }
    /// Whether the reply to `tag` would be the next one to be written.
    pub(super) fn is_next(&self, tag: Tag) -> bool {
        let Some(index) = self.index_of(tag) else { return true }; // it would not be kept
        index == 0
            && match &self.queue[0].state {
                SlotState::Values(values) => values.is_next(part_of(tag)),
                _ => true,
            }
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
        self.parked += ParkedBytes::of(&bytes);
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
    /// Opens a slot for `count` commands; they are asked one by one with [`Slots::part`]. `soft_bytes` that
    /// wait hold values back.
    pub(super) fn open_many(
        &mut self,
        name: &'static str,
        many: Many,
        count: usize,
        soft_bytes: usize,
    ) -> Tag {
        assert!(count > 0 && count <= PARTS_MAX, "parts of a command");
        let state = if many == Many::Get {
            let values = Values::new(count, soft_bytes, self.muted);
            self.parked += values.parked();
            SlotState::Values(Box::new(values))
        } else {
            SlotState::Many(Box::new(ManyState::new(many, count)))
        };
        let tag = self.push(name, state);
        self.open -= 1; // its parts are counted when they are asked
        tag
    }
    /// Whether further parts of the slot `tag` are to be asked: not after an early error of an MGET.
    pub(super) fn wants_part(&self, tag: Tag) -> bool {
        self.index_of(tag).is_some_and(|index| match &self.queue[index].state {
            SlotState::Values(values) => values.wants_part(),
            _ => true,
        })
    }
    /// Counts part `index` of the slot `tag` as asked and returns its tag.
    pub(super) fn part(&mut self, tag: Tag, index: usize) -> Tag {
        self.open += 1;
        if let Some(at) = self.index_of(tag)
            && let SlotState::Values(values) = &mut self.queue[at].state
        {
            self.parked -= values.parked();
            values.ask();
            self.parked += values.parked();
        }
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
        rest.iter().for_each(|piece| self.parked += ParkedBytes::of(piece));
        self.queue[index].state = SlotState::Long(rest);
        self.write_on(out);
    }
    /// Whether the front of the queue is a long reply of which more can be written.
    pub(super) fn is_in_pieces(&self) -> bool {
        match self.queue.front().map(|slot| &slot.state) {
            Some(SlotState::Long(_)) => true,
            Some(SlotState::Values(values)) => values.is_writable(),
            _ => false,
        }
    }
    /// Writes the known replies at the front of the queue, but no more of a long reply than a socket takes at
    /// once.
    pub(super) fn write_on(&mut self, out: &mut Vec<u8>) {
        let mut pieces = 0;
        while let Some(ReplySlot { state, proto, muted, name, .. }) = self.queue.front_mut() {
            match state {
                SlotState::Ready(bytes) => {
                    let bytes = core::mem::take(bytes);
                    self.parked -= ParkedBytes::of(&bytes);
                    append(out, &bytes);
                    self.keep_spare(bytes);
                    self.pop();
                }
                SlotState::Values(values) => {
                    self.parked -= values.parked();
                    if !values.write(out, *proto, &self.counts, name) {
                        self.parked += values.parked();
                        return;
                    }
                    self.pop();
                }
                SlotState::Long(left) => {
                    if out.len() >= PIECES_BYTES || pieces >= PIECES_AT_ONCE {
                        return;
                    }
                    pieces += 1;
                    match left.pop_front() {
                        Some(piece) => {
                            self.parked -= ParkedBytes::of(&piece);
                            if !*muted {
                                append(out, &piece);
                            }
                        }
                        None => self.pop(),
                    }
                }
                SlotState::One(_) | SlotState::Many(_) | SlotState::Local(_) | SlotState::Job => return,
            }
        }
    }
    fn keep_spare(&mut self, mut bytes: Vec<u8>) {
        bytes.clear();
        if bytes.capacity() <= SPARE_BYTES_MAX && self.spare.len() < SPARE_COUNT_MAX {
            self.spare.push(bytes);
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
        let is_open = match &self.queue[index].state {
            SlotState::One(_) => true,
            SlotState::Many(many) => many.missing > 0,
            SlotState::Values(values) => values.is_open(part_of(tag)),
            SlotState::Local(_) | SlotState::Job | SlotState::Ready(_) | SlotState::Long(_) => false,
        };
        let (true, Some(open)) = (is_open, self.open.checked_sub(1)) else {
            return; // answered before: the shell's slip must not reach the client as a shifted reply
        };
        self.open = open;
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
                state.take(reply);
                if state.missing > 0 {
                    return;
                }
                let proto = slot.proto;
                let state = core::mem::replace(&mut slot.state, SlotState::Ready(Vec::new()));
                if let SlotState::Many(state) = state {
                    self.resolve(out, index, |writer| state.write(writer), proto);
                }
            }
            SlotState::Values(_) => self.take_value(out, index, part_of(tag), reply),
            SlotState::Local(_) | SlotState::Job | SlotState::Ready(_) | SlotState::Long(_) => {}
        }
    }

    /// Takes the reply to a part of an MGET, and writes what can be written now.
    fn take_value(&mut self, out: &mut Vec<u8>, index: usize, part: usize, reply: Reply<&[u8]>) {
        let slot = &mut self.queue[index];
        let SlotState::Values(values) = &mut slot.state else { return };
        self.parked -= values.parked();
        match reply {
            Reply::Value { value, .. } if index == 0 && values.is_due(part) => {
                values.write_due(out, slot.proto, value);
            }
            reply => values.take(part, reply),
        }
        self.parked += values.parked();
        if index == 0 {
            self.write_on(out);
        }
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
            self.parked += ParkedBytes::of(&bytes);
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

/// The part of a command on many keys that a tag names.
fn part_of(tag: Tag) -> usize {
    (tag.get() & ((1 << PART_BITS) - 1)) as usize // 24 bits
}

fn append(out: &mut Vec<u8>, bytes: &[u8]) {
    make_room(out, bytes.len());
    out.extend_from_slice(bytes);
}
