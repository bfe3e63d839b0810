//! One client connection of a core: its protocol, the commands of its pipeline that are under way, the memory
//! that it holds, and the tasks to wake.
//!
//! ```text
//!   held = input received or lent to be read into
//!        + answers: parked, ready, with the writer      ┐ unsent
//!        + room reserved for answers                    ┘ at most a window
//! ```
//! May not: know the other connections.

use crate::runtime::client_memory::ClientMemory;
use crate::runtime::notify::Notify;
use crate::runtime::pace::TaskPace;
use std::collections::VecDeque;
use std::rc::Rc;
use synod_net::server::{Ask, CommandOrder, Connection, Tag};
use synod_types::{Command, Consistency, GroupId, Mono, Nanos, Shared};

/// Memory that every connection may hold beside what all share.
pub(super) const OWN_BYTES: usize = 16 << 10;
/// Answers of one connection that are not sent, and room reserved for more. What goes beyond it waits, but for
/// the answer whose turn it is.
pub(super) const WINDOW_BYTES: usize = 4 << 20;
/// A client that takes no part in what it has begun for this long is slow.
const SLOW_AFTER: Nanos = Nanos::from_ms(2_000);

/// A client connection.
pub(super) struct ClientConnection {
    pub protocol: Connection,
    pub opened: Mono,
    /// When it was asked last for commands: it had sent some, or had been answered.
    pub served: Mono,
    pub order: CommandOrder,
    /// Its reader waits until `read` is notified.
    pub is_paused: bool,
    /// It has used up its stretch and has more to do.
    pub rests: bool,
    /// It waits for room for its next command, `held`.
    pub is_parked: bool,
    /// Its next command, which has waited for room.
    pub held: Option<Ask>,
    pub pace: Rc<TaskPace>,
    pub dirty: bool,
    /// Wakes the writer: there is output, or the connection is to be closed.
    pub write: Rc<Notify>,
    /// Wakes the reader: there is room again.
    pub read: Rc<Notify>,
    /// Ends the connection, whatever its tasks wait for.
    pub kill: Rc<Notify>,
    memory: HeldMemory,
    /// Commands whose answers lacked room, in the order in which they came.
    deferred: VecDeque<DeferredAsk>,
    /// Since when a command has been incomplete.
    incomplete_since: Option<Mono>,
    /// What had been taken of its input then.
    taken_bytes: u64,
    /// When bytes came last.
    received: Mono,
    /// Bytes that came since the last look at it.
    came_lately: usize,
    /// When it had last received more between two looks than its own memory holds.
    sent_much: Mono,
    /// When the socket took bytes last, or was given the first of them.
    sent: Mono,
}

/// A command that is asked once there is room for its answer.
pub(super) struct DeferredAsk {
    pub tag: Tag,
    pub group: Option<GroupId>,
    pub consistency: Consistency,
    pub command: Command<Shared>,
    /// Of the answer.
    pub bytes: usize,
}

/// Memory of one connection beside that of its protocol.
#[derive(Default)]
struct HeldMemory {
    /// The reader has the buffer that is read into.
    is_lent: bool,
    /// With the writer.
    sending: usize,
    /// Room for answers, by the command.
    reserved: Vec<(Tag, usize)>,
    reserved_bytes: usize,
    /// Of an HTTP request or its answer.
    http: usize,
    /// An HTTP request waits for its answer.
    http_waits: bool,
    /// What the core's memory was told.
    charged: usize,
    /// The length of the last value that lacked room.
    last_lacking: usize,
}

/// Why a client that takes no part is closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SlowClient {
    /// A command was not complete in time.
    CommandLate,
    /// It does not send the rest of a command, and others wait for the memory.
    Sending,
    /// It does not read its answers, and others wait for the memory.
    Reading,
}

impl SlowClient {
    /// All reasons.
    pub const ALL: [Self; 3] = [Self::CommandLate, Self::Sending, Self::Reading];

    /// What the client and the operator are told.
    pub fn text(self) -> &'static str {
        match self {
            Self::CommandLate => "the command did not come whole within limits.command_s",
            Self::Sending => "the rest of the command does not come, and others wait for the memory",
            Self::Reading => "the client does not read its answers, and others wait for the memory",
        }
    }

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::CommandLate => "command_late",
            Self::Sending => "slow_sending",
            Self::Reading => "slow_reading",
        }
    }
}

impl ClientConnection {
    /// A connection at its first byte.
    pub fn new(protocol: Connection, now: Mono) -> Self {
        Self {
            protocol,
            opened: now,
            served: now,
            order: CommandOrder::default(),
            is_paused: false,
            rests: false,
            is_parked: false,
            held: None,
            pace: Rc::default(),
            dirty: false,
            write: Rc::default(),
            read: Rc::default(),
            kill: Rc::default(),
            memory: HeldMemory::default(),
            deferred: VecDeque::new(),
            incomplete_since: None,
            taken_bytes: 0,
            received: now,
            came_lately: 0,
            sent_much: now,
            sent: now,
        }
    }

    /// Whether its socket should be read.
    pub fn wants_read(&self) -> bool {
        !self.is_parked && self.deferred.is_empty() && !self.order.is_holding() && self.protocol.wants_read()
    }

    // --- memory --------------------------------------------------------------------------------------

    fn held_bytes(&mut self) -> usize {
        let HeldMemory { sending, reserved_bytes, http, .. } = self.memory;
        self.protocol.held_bytes() + sending + reserved_bytes + http
    }

    /// Whether answers leave, so that its writer will ask for more.
    pub fn is_sending(&self) -> bool {
        self.protocol.unsent_bytes() + self.memory.sending > 0
    }

    /// Answers that the client has not taken.
    fn unsent_bytes(&self) -> usize {
        self.protocol.waiting_bytes() + self.memory.sending
    }

    /// Bytes that it holds of what all share.
    pub fn charged(&self) -> usize {
        self.memory.charged
    }

    /// Tells the core's memory what is held now.
    pub fn settle(&mut self, memory: &mut ClientMemory) {
        let held = self.held_bytes().saturating_sub(OWN_BYTES);
        memory.charge(self.memory.charged, held);
        self.memory.charged = held;
    }

    /// Whether its own memory is enough for so many bytes more.
    fn has_own(&mut self, bytes: usize) -> bool {
        self.held_bytes() + bytes <= OWN_BYTES
    }

    /// Whether the buffer to read into may be allocated; `None` if it must wait.
    pub fn may_read(&mut self, connection: u64, memory: &mut ClientMemory) -> Option<bool> {
        let bytes = self.protocol.wanted_bytes(true);
        if bytes == 0 || self.has_own(bytes) || memory.may_take_more(bytes) {
            return Some(true);
        }
        if self.protocol.wanted_bytes(false) <= OWN_BYTES {
            return Some(false); // small commands go on
        }
        memory.may_take(connection, bytes).then_some(true)
    }

    /// The reader has got the buffer.
    pub fn lent(&mut self) {
        self.memory.is_lent = true;
    }

    /// The reader has given its buffer back, with `count` bytes in it.
    pub fn given_back(&mut self, count: usize, now: impl FnOnce() -> Mono) {
        self.memory.is_lent = false;
        if count > 0 {
            self.received = now();
            self.came_lately += count;
        }
    }

    /// The writer has got all output, in a buffer of so many bytes.
    pub fn begins_to_send(&mut self, bytes: usize, now: impl FnOnce() -> Mono) {
        if bytes > 0 {
            self.sent = now();
        }
        self.memory.sending = bytes;
    }

    /// The socket has taken a part of it.
    pub fn sends_on(&mut self, now: Mono) {
        self.sent = now;
    }

    /// Reserves room for an answer of so many bytes. What was reserved for the same command counts.
    pub fn reserve(&mut self, connection: u64, tag: Tag, bytes: usize, memory: &mut ClientMemory) -> bool {
        let place = self.memory.reserved.iter().rposition(|(of, _)| *of == tag);
        let has = place.map_or(0, |place| self.memory.reserved[place].1);
        if has >= bytes {
            return true;
        }
        let more = bytes - has;
        let unsent = self.unsent_bytes();
        // All that waits for its turn waits for this one.
        let is_awaited = !self.is_sending() && self.protocol.is_next(tag);
        if unsent + self.memory.reserved_bytes + more > WINDOW_BYTES && !is_awaited {
            return false; // its writer asks again
        }
        if !self.has_own(more) && !memory.may_take(connection, more) {
            return false; // it is in line
        }
        self.memory.reserved_bytes += more;
        match place {
            Some(place) => self.memory.reserved[place].1 = bytes,
            None => self.memory.reserved.push((tag, bytes)),
        }
        true
    }

    /// Room reserved for the answer to a command.
    pub fn reserved(&self, tag: Tag) -> usize {
        self.memory.reserved.iter().rfind(|(of, _)| *of == tag).map_or(0, |(_, bytes)| *bytes)
    }

    /// The command is answered: what was reserved for it is used, or not needed.
    pub fn release(&mut self, tag: Tag) {
        if let Some(place) = self.memory.reserved.iter().rposition(|(of, _)| *of == tag) {
            self.memory.reserved_bytes -= self.memory.reserved.swap_remove(place).1;
        }
    }

    /// The length of the next value, as far as it can be foreseen: 0 while they are short.
    pub fn foreseen_bytes(&self) -> usize {
        self.memory.last_lacking
    }

    /// A value of this length has come.
    pub fn value_came(&mut self, bytes: usize) {
        if bytes < self.memory.last_lacking / 4 {
            self.memory.last_lacking /= 2;
        }
    }

    /// An HTTP request needs so many bytes; false if it must wait.
    pub fn take_for_http(&mut self, connection: u64, bytes: usize, memory: &mut ClientMemory) -> bool {
        let may = self.has_own(bytes) || memory.may_take(connection, bytes);
        if may {
            self.memory.http = bytes;
        }
        may
    }

    /// An HTTP request begins or ends to wait for its answer, and holds so many bytes.
    pub fn http_waits(&mut self, waits: bool, bytes: usize, now: Mono) {
        (self.memory.http_waits, self.memory.http) = (waits, bytes);
        self.sent = now;
    }

    /// HTTP's socket has taken or brought bytes.
    pub fn http_moves(&mut self, sent: usize, now: Mono) {
        self.memory.http = self.memory.http.saturating_sub(sent);
        self.sent = now;
    }

    // --- commands that wait for room -----------------------------------------------------------------

    /// A command's answer lacked room: it is asked again.
    pub fn defer(&mut self, tag: Tag, consistency: Consistency, command: Command<Shared>, bytes: usize) {
        self.release(tag);
        self.memory.last_lacking = bytes;
        self.wait_for_room(DeferredAsk { tag, group: None, consistency, command, bytes });
    }

    /// A command is asked once there is room for its answer.
    pub fn wait_for_room(&mut self, deferred: DeferredAsk) {
        let place = self.deferred.partition_point(|ask| ask.tag.get() < deferred.tag.get());
        self.deferred.insert(place, deferred);
    }

    /// Whether commands wait for room.
    pub fn has_deferred(&self) -> bool {
        !self.deferred.is_empty()
    }

    /// Whether the next of them is a read: to execute it serves nobody but this client.
    pub fn is_read_deferred(&self) -> bool {
        self.deferred.front().is_some_and(|ask| !ask.command.op.is_write())
    }

    /// The next of them, if there is room for its answer now: the room is reserved, and charged.
    pub fn ask_deferred(&mut self, connection: u64, memory: &mut ClientMemory) -> Option<Ask> {
        let first = self.deferred.front()?;
        let (tag, bytes) = (first.tag, first.bytes);
        if !self.reserve(connection, tag, bytes, memory) {
            return None;
        }
        self.settle(memory);
        let DeferredAsk { tag, group, consistency, command, .. } = self.deferred.pop_front()?;
        Some(Ask::Command { tag, group, consistency, command })
    }

    // --- slow clients --------------------------------------------------------------------------------

    /// Frees what an idle connection does not need, or one that has sent long commands and sends short ones now.
    pub fn shrink(&mut self, now: Mono) {
        if std::mem::take(&mut self.came_lately) > OWN_BYTES {
            self.sent_much = now;
        }
        let is_idle = now.since(self.served) >= SLOW_AFTER;
        let sends_little = self.charged() > 0 && now.since(self.sent_much) >= SLOW_AFTER;
        if (is_idle || sends_little) && !self.memory.is_lent {
            self.protocol.shrink();
        }
    }

    /// Whether its command has been incomplete for longer than `limit`.
    pub fn is_late(&mut self, limit: Nanos, now: Mono) -> bool {
        let taken = self.protocol.taken_bytes();
        let is_another = std::mem::replace(&mut self.taken_bytes, taken) != taken;
        if is_another || self.is_paused || !self.protocol.is_incomplete() {
            self.incomplete_since = None;
            return false;
        }
        let since = *self.incomplete_since.get_or_insert(now);
        now.since(since) >= limit
    }

    /// Since when it holds memory without taking part, and how. The memory is others' after a while.
    pub fn slow_since(&mut self, now: Mono) -> Option<(Mono, SlowClient)> {
        if self.charged() == 0 {
            return None;
        }
        let is_old = |since: Mono| now.since(since) >= SLOW_AFTER;
        let sends_http = self.memory.http > 0 && !self.memory.http_waits;
        if (self.memory.sending > 0 || sends_http) && is_old(self.sent) {
            return Some((self.sent, SlowClient::Reading));
        }
        let is_sending = self.protocol.is_incomplete() && !self.is_paused && !self.is_parked;
        (is_sending && is_old(self.received)).then_some((self.received, SlowClient::Sending))
    }

    /// The node is about to stop.
    pub fn let_go(&mut self) {
        self.protocol.let_go();
        self.write.notify();
    }

    /// It has had some time to send a request that was on its way.
    pub fn give_up_waiting(&mut self) {
        self.let_go(); // it may have said only now which protocol it speaks
        let is_waiting = self.protocol.speaks_http() && !self.memory.http_waits && self.memory.http == 0;
        if is_waiting || self.protocol.is_undecided() {
            self.kill.notify();
        }
    }

    /// Whether everything that was read of it is answered.
    pub fn is_idle(&self) -> bool {
        let waits = self.is_parked || self.held.is_some() || self.has_deferred() || self.order.is_holding();
        !waits && self.protocol.is_idle()
    }

    /// Ends it, with a last word to a client that reads.
    pub fn end(&mut self, why: SlowClient) {
        if why == SlowClient::Reading {
            return self.kill.notify();
        }
        self.protocol.end_with(why.text());
        self.write.notify();
    }
}
