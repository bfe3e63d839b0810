//! `synod-replica`: the turn of one core. It joins the core's shard and log into one machine, generic over
//! the disk below and the outlet above. The shipped server, the simulator and the benchmarks all run this
//! code.
//!
//! ```text
//!   poll ─▶ Durable ─▶ held messages leave, shard is told ─▶ reads are fed ─▶ inputs … ─▶ turn end ─▶ submit
//!                ▲                                                │ each a step: effects are executed as
//!                └────────────────────── log ◀────────────────────┘ they are pushed, then the shard gets
//!                                                          places, reads from memory, unsent messages
//! ```
//! Messages that must not leave before their record is durable are held here. Only a [`Durable`] releases
//! them, and only the log can make one (rule P-01). After a failure no further effect is executed: the
//! process must stop.
//!
//! A replica must not read a clock, draw a random number, or know a socket, an executor or a file.
#![forbid(unsafe_code)]

mod held;
mod outlet;
pub mod placement;
mod replay;
mod requests;

pub use outlet::{LogEvent, Outlet};
pub use replay::OpenError;
pub use requests::Requests;
pub use synod_wal::Durable;

use held::Held;
use std::collections::VecDeque;
use std::io;
#[cfg(feature = "canary")]
use synod_shard::Canary;
use synod_shard::{Effect, Input, ReadFailed, ReadToken, Shard, Sink};
use synod_types::record::RECORD_HEAD_BYTES;
use synod_types::{
    Command, Consistency, Event, GroupId, GroupMessage, Location, LogRoom, Lsn, NodeId, Now, PeerMessage,
    RecordHead, RequestId, Shared,
};
use synod_wal::{AppendError, Disk, LogFailed, RecoveryReport, Wal, WalOptions};

/// The log has failed. The process must stop, because nothing may be acknowledged after this.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// A write has failed.
    #[error(transparent)]
    Log(#[from] LogFailed),
    /// The log did not accept a record.
    #[error("the log takes no more records: {0}")]
    Append(#[from] AppendError),
}

/// Limits of a turn.
#[derive(Clone, Copy, Debug)]
pub struct ReplicaOptions {
    /// Bytes that may wait for the disk before peers' accepts and learned values are dropped; they are sent
    /// again, or pulled.
    pub backlog_bytes_max: usize,
    /// After this many bytes without a mark the log gets another one.
    pub note_bytes: u64,
}

/// One core: its shard, its log, and the data that waits between them. `R` identifies the requester of an
/// answer.
pub struct Replica<D: Disk, R> {
    shard: Shard<Shared>,
    wal: Wal<D>,
    options: ReplicaOptions,
    /// The log's room, as the shard was last told.
    room: LogRoom,
    held: Held,
    /// Open requests.
    pub requests: Requests<R>,
    /// Places of the records appended in this step, which the shard must be told.
    placed: VecDeque<(Lsn, Location)>,
    /// Reads answered from memory, which the shard must be told.
    at_hand: VecDeque<(ReadToken, Shared)>,
}

impl<D: Disk, R> Replica<D, R> {
    /// Opens the log on `disk` and replays it into `shard`, which must be new. If replay needs bytes of
    /// earlier records, `read_back` reads them. Each record is shown to `seen` first. Blocks.
    ///
    /// # Errors
    /// [`OpenError`]: the core must not start.
    pub fn open(
        disk: D,
        log: WalOptions,
        options: ReplicaOptions,
        mut shard: Shard<Shared>,
        read_back: impl FnMut(Location) -> io::Result<Vec<u8>>,
        seen: impl FnMut(&RecordHead, &[u8]),
    ) -> Result<(Self, RecoveryReport), OpenError> {
        assert!(shard.undurable() == 0, "the shard of another log");
        let (wal, report) = replay::open_log(disk, log, &mut shard, read_back, seen)?;
        let replica = Self {
            shard,
            wal,
            options,
            room: LogRoom::FREE,
            held: Held::default(),
            requests: Requests::default(),
            placed: VecDeque::new(),
            at_hand: VecDeque::new(),
        };
        Ok((replica, report))
    }

    /// The shard, read-only.
    pub fn shard(&self) -> &Shard<Shared> {
        &self.shard
    }

    /// The log, read-only.
    pub fn wal(&self) -> &Wal<D> {
        &self.wal
    }

    /// Tries again to make a segment, if that has failed.
    pub fn retry_prepare(&mut self) {
        self.wal.retry_prepare();
    }

    /// Ends replay: elections may begin.
    pub fn start(&mut self, now: Now) {
        self.shard.start(now);
    }

    /// Takes completed writes and reads from the disk. The caller must pass the returned [`Durable`] to
    /// [`Replica::durable`] before anything else happens to the replica or, if that must be delayed, together
    /// with what becomes durable later.
    ///
    /// # Errors
    /// The log has failed.
    pub fn poll(&mut self) -> Result<Option<Durable>, Failed> {
        Ok(self.wal.poll()?)
    }

    /// Sends the messages that waited for this, and tells the shard.
    ///
    /// # Errors
    /// As [`Replica::step`].
    pub fn durable(&mut self, durable: Durable, now: Now, out: &mut impl Outlet<R>) -> Result<(), Failed> {
        debug_assert!(durable.lsn() <= self.wal.appended(), "a record is durable that was not written");
        out.watch(LogEvent::Durable(durable.lsn()));
        self.held.release(durable, out);
        self.step(Input::Durable { lsn: durable.lsn() }, now, out)
    }

    /// Begins a turn: takes completed writes and reads from the disk, sends the messages that waited for
    /// them, feeds the reads to the shard. A shell that has work of its own to do before messages leave calls
    /// the three parts instead.
    ///
    /// # Errors
    /// As [`Replica::step`].
    pub fn begin_turn(
        &mut self,
        mut now: impl FnMut() -> Now,
        out: &mut impl Outlet<R>,
    ) -> Result<(), Failed> {
        if let Some(durable) = self.poll()? {
            self.durable(durable, now(), out)?;
        }
        self.feed_reads(now, out)
    }

    /// Feeds the completed reads of the log to the shard, each with its own reading of the clock.
    ///
    /// # Errors
    /// As [`Replica::step`].
    pub fn feed_reads(
        &mut self,
        mut now: impl FnMut() -> Now,
        out: &mut impl Outlet<R>,
    ) -> Result<(), Failed> {
        while let Some((token, result)) = self.wal.take_read() {
            let result = result.map(Shared::new).map_err(|error| {
                out.watch(LogEvent::ReadFailed(&error));
                ReadFailed
            });
            self.step(Input::ReadDone { token: ReadToken(token), result }, now(), out)?;
        }
        Ok(())
    }

    /// Takes a client's request; it is answered once, to `requester`.
    ///
    /// # Errors
    /// As [`Replica::step`].
    pub fn request(
        &mut self,
        requester: R,
        group: GroupId,
        consistency: Consistency,
        command: Command<Shared>,
        now: Now,
        out: &mut impl Outlet<R>,
    ) -> Result<(), Failed> {
        let id = self.requests.open(requester);
        self.step(Input::Request { id, group, consistency, command }, now, out)
    }

    /// Takes a peer's message. While too much waits for the disk, accepts and learned values are dropped,
    /// because they would only add to it; they are sent again, or pulled.
    ///
    /// # Errors
    /// As [`Replica::step`].
    pub fn peer_message(
        &mut self,
        from: NodeId,
        message: PeerMessage<Shared>,
        now: Now,
        out: &mut impl Outlet<R>,
    ) -> Result<(), Failed> {
        if let PeerMessage::Group {
            group,
            message: sent @ (GroupMessage::Accept { .. } | GroupMessage::Learn { .. }),
        } = &message
            && self.wal.held_bytes() > self.options.backlog_bytes_max
        {
            out.watch(LogEvent::Behind);
            // An accept is sent again by itself. Values were asked for, and have to be asked for again.
            return match sent {
                GroupMessage::Learn { .. } => self.step(Input::Dropped { from, group: *group }, now, out),
                _ => Ok(()),
            };
        }
        self.step(Input::Peer { from, message }, now, out)
    }

    /// Handles one input and all that follows from it at once: records get their places, reads from memory
    /// are answered, messages that could not be sent come back.
    ///
    /// # Errors
    /// The log has failed: the process must stop, and no effect after the failure was executed.
    pub fn step(&mut self, input: Input<Shared>, now: Now, out: &mut impl Outlet<R>) -> Result<(), Failed> {
        let room = self.wal.log_room();
        if room != self.room {
            self.room = room;
            self.step_alone(Input::Room { room }, now, out)?;
        }
        #[cfg(feature = "canary")]
        let is_end = matches!(input, Input::TurnEnd);
        self.step_alone(input, now, out)?;
        #[cfg(feature = "canary")]
        if is_end && self.shard.canary() == Some(Canary::PlacesToldLate) {
            return Ok(());
        }
        while let Some(input) = self.next_following(out) {
            self.step_alone(input, now, out)?;
        }
        debug_assert!(self.placed.is_empty() && self.at_hand.is_empty(), "the shard was not told all");
        Ok(())
    }

    fn next_following(&mut self, out: &mut impl Outlet<R>) -> Option<Input<Shared>> {
        if let Some((lsn, payload_at)) = self.placed.pop_front() {
            return Some(Input::Appended { lsn, payload_at });
        }
        if let Some((token, bytes)) = self.at_hand.pop_front() {
            return Some(Input::ReadDone { token, result: Ok(bytes) });
        }
        out.unsent().map(Input::Unsent)
    }

    fn step_alone(&mut self, input: Input<Shared>, now: Now, out: &mut impl Outlet<R>) -> Result<(), Failed> {
        let Self { shard, wal, held, requests, placed, at_hand, .. } = self;
        #[cfg(feature = "canary")]
        let canary = shard.canary();
        let mut executor = Executor {
            wal,
            held,
            requests,
            placed,
            at_hand,
            out,
            failed: None,
            #[cfg(feature = "canary")]
            canary,
        };
        shard.step(input, now, &mut executor);
        executor.failed.map_or(Ok(()), Err)
    }

    /// Ends a turn: gathered writes are proposed, and appended records are handed to the disk.
    ///
    /// # Errors
    /// As [`Replica::step`].
    pub fn end_turn(&mut self, now: Now, out: &mut impl Outlet<R>) -> Result<(), Failed> {
        self.step(Input::TurnEnd, now, out)?;
        // Without room in the log no mark is written until there is room again: a mark says only what the
        // records say too.
        if self.wal.unnoted_bytes() >= self.options.note_bytes {
            let _is_taken = self.wal.note(&self.shard.mark()).is_ok();
        }
        Ok(self.wal.submit()?)
    }

    /// Marks the end of a quiet log. Call it now and then (about ten times a second), and before a clean
    /// stop.
    ///
    /// # Errors
    /// The log has failed.
    pub fn mark(&mut self) -> Result<(), Failed> {
        Ok(self.wal.mark(|| self.shard.mark())?)
    }
}

/// Executes effects as they are pushed.
struct Executor<'a, D: Disk, R, O> {
    wal: &'a mut Wal<D>,
    held: &'a mut Held,
    requests: &'a mut Requests<R>,
    placed: &'a mut VecDeque<(Lsn, Location)>,
    at_hand: &'a mut VecDeque<(ReadToken, Shared)>,
    out: &'a mut O,
    failed: Option<Failed>,
    #[cfg(feature = "canary")]
    canary: Option<Canary>,
}

impl<D: Disk, R, O: Outlet<R>> Executor<'_, D, R, O> {
    fn append(
        &mut self,
        lsn: Lsn,
        head: &RecordHead,
        payload: Option<&Shared>,
        then: Vec<(NodeId, PeerMessage<Shared>)>,
    ) -> Result<(), Failed> {
        let (encoded, crc) = (head.encode(), payload.and_then(Shared::crc));
        let payload: &[u8] = payload.map_or(&[], AsRef::as_ref);
        let appended = self.wal.append_summed(&[&encoded, payload], crc)?;
        assert!(appended.lsn == lsn, "the log and the shard number records differently");
        let payload_at = appended.location.part(RECORD_HEAD_BYTES as u32, payload.len() as u32);
        debug_assert!(self.placed.back().is_none_or(|(last, _)| *last < lsn), "a place is told twice");
        self.out.watch(LogEvent::Appended { lsn, head, payload });
        self.placed.push_back((lsn, payload_at));
        #[cfg(feature = "canary")]
        if self.canary == Some(Canary::ReleasesEarly) {
            then.into_iter().for_each(|(to, message)| self.out.send(to, message));
            return Ok(());
        }
        self.held.hold(lsn, then);
        Ok(())
    }

    /// Reads bytes of the log back, from memory if they are still there.
    fn read(&mut self, token: ReadToken, location: Location, is_entry: bool) {
        let at_hand = self.wal.read_ram(location).map(<[u8]>::to_vec);
        let is_whole = at_hand.as_ref().is_none_or(|bytes| bytes.len() == location.len as usize);
        debug_assert!(is_whole, "a part of what is read");
        self.out.watch(LogEvent::Read { token, location, is_at_hand: at_hand.is_some(), is_entry });
        #[cfg(feature = "canary")]
        let is_entry = is_entry && self.canary != Some(Canary::UncheckedReadBack);
        match at_hand {
            Some(bytes) => self.at_hand.push_back((token, Shared::new(bytes))),
            None if is_entry => self.wal.read_checked(token.0, location, RECORD_HEAD_BYTES as u32),
            None => self.wal.read(token.0, location),
        }
    }
}

impl<D: Disk, R, O: Outlet<R>> Sink<Shared> for Executor<'_, D, R, O> {
    fn tell(&mut self, event: Event) {
        self.out.tell(event);
    }
    fn reserve(&mut self, to: RequestId, bytes: usize) -> bool {
        self.out.reserve(self.requests.of(to), bytes)
    }
    fn push(&mut self, effect: Effect<'_, Shared>) {
        if self.failed.is_some() {
            return;
        }
        match effect {
            Effect::Append { lsn, head, payload, then } => {
                self.failed = self.append(lsn, &head, payload.as_ref(), then).err();
            }
            Effect::Send { to, message } => self.out.send(to, message),
            Effect::Reply { to, reply } => {
                let requester = self.requests.close(to);
                self.out.reply(requester, reply);
            }
            Effect::AskAgain { to, consistency, command, bytes } => {
                let requester = self.requests.close(to);
                self.out.ask_again(requester, consistency, command, bytes);
            }
            Effect::Read { token, location } => self.read(token, location, false),
            Effect::ReadEntry { token, location } => self.read(token, location, true),
        }
    }
}
