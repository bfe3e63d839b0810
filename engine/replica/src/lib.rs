//! `synod-replica`: the turn. One core's shard and its log as one machine, generic over the disk below and the outlet above; what ships,
//! what is simulated and what is measured run this code.
//!
//! ```text
//!   poll ─▶ Durable ─▶ held messages leave, the shard is told ─▶ reads are fed ─▶ inputs … ─▶ end of turn ─▶ submit
//!                ▲                                                    │ each a step: effects are carried out as they are pushed
//!                └──────────────────────── log ◀──────────────────────┘ then places, reads at hand, what was not sent
//! ```
//! A message that must not leave before its record is durable is held here, and what lets it go is a [`Durable`], which only the log
//! can make (rule P-01). After a failure nothing more is carried out: the process is to stop.
//!
//! May not: read a clock, draw a random number, know a socket, an executor or a file.
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
#[cfg(feature = "canary")]
use synod_shard::Canary;
use synod_shard::{Effect, Input, ReadFailed, ReadToken, Shard, Sink};
use synod_types::record::RECORD_HEAD_BYTES;
use synod_types::{
    Command, Consistency, GroupId, GroupMessage, Location, LogRoom, Lsn, NodeId, Now, PeerMessage,
    RecordHead, Shared,
};
use synod_wal::{AppendError, Disk, LogFailed, Wal};

/// The log is of no use any more, and the process with it: to acknowledge anything after this would be a lie.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// A write has failed.
    #[error(transparent)]
    Log(#[from] LogFailed),
    /// A record was not taken.
    #[error("the log takes no more records: {0}")]
    Append(#[from] AppendError),
}

/// Limits of a turn.
#[derive(Clone, Copy, Debug)]
pub struct ReplicaOptions {
    /// Bytes that may wait for the disk before peers' accepts are dropped: they come again, or are pulled.
    pub backlog_bytes_max: usize,
    /// After so many bytes the log is to say how many records each group has written.
    pub note_bytes: u64,
}

/// One core: its shard, its log, and what waits between them. `R` says who awaits an answer.
pub struct Replica<D: Disk, R> {
    shard: Shard<Shared>,
    wal: Wal<D>,
    options: ReplicaOptions,
    /// What the shard was last told of the log's room.
    room: LogRoom,
    held: Held,
    /// Open requests.
    pub requests: Requests<R>,
    /// Records placed in this step, to be told to the shard.
    placed: VecDeque<(Lsn, Location)>,
    /// Reads answered from memory, to be told to the shard.
    at_hand: VecDeque<(ReadToken, Shared)>,
}

impl<D: Disk, R> Replica<D, R> {
    /// The shard, to look at.
    pub fn shard(&self) -> &Shard<Shared> {
        &self.shard
    }

    /// The log, to look at.
    pub fn wal(&self) -> &Wal<D> {
        &self.wal
    }

    /// Tries again to make a segment where that has failed.
    pub fn retry_prepare(&mut self) {
        self.wal.retry_prepare();
    }

    /// Elections may begin: the log was replayed.
    pub fn start(&mut self, now: Now) {
        self.shard.start(now);
    }

    /// Takes what the disk has finished. What has become durable is to be given back to [`Replica::durable`] before anything else happens
    /// to the replica, or, if it may not be told yet, together with what becomes durable later.
    ///
    /// # Errors
    /// The log has failed.
    pub fn poll(&mut self) -> Result<Option<Durable>, Failed> {
        Ok(self.wal.poll()?)
    }

    /// What waited for this leaves, and the shard is told.
    ///
    /// # Errors
    /// As [`Replica::step`].
    pub fn durable(&mut self, durable: Durable, now: Now, out: &mut impl Outlet<R>) -> Result<(), Failed> {
        out.watch(LogEvent::Durable(durable.lsn()));
        self.held.release(durable, out);
        self.step(Input::Durable { lsn: durable.lsn() }, now, out)
    }

    /// Feeds what the log has read, each with a reading of the clock of its own.
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

    /// A client's request; it is answered once, to `requester`.
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

    /// A peer's message. While too much waits for the disk, what only makes more of it is dropped: it comes again, or is pulled.
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
        let writes = matches!(
            &message,
            PeerMessage::Group { message: GroupMessage::Accept { .. } | GroupMessage::Learn { .. }, .. }
        );
        if writes && self.wal.held_bytes() > self.options.backlog_bytes_max {
            out.watch(LogEvent::Behind);
            return Ok(());
        }
        self.step(Input::Peer { from, message }, now, out)
    }

    /// Lets one thing happen, and all that follows from it at once: records get their places, reads from memory are answered, what could
    /// not be sent comes back.
    ///
    /// # Errors
    /// The log has failed: the process is to stop, and nothing was carried out after that.
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
        Ok(())
    }

    fn next_following(&mut self, out: &mut impl Outlet<R>) -> Option<Input<Shared>> {
        if let Some((lsn, payload_at)) = self.placed.pop_front() {
            return Some(Input::Appended { lsn, payload_at });
        }
        if let Some((token, bytes)) = self.at_hand.pop_front() {
            return Some(Input::ReadDone { token, result: Ok(bytes) });
        }
        out.unsent().map(|forward| Input::Unsent { forward })
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

    /// Ends a turn: what has gathered is proposed, and what was appended is handed to the disk.
    ///
    /// # Errors
    /// As [`Replica::step`].
    pub fn end_turn(&mut self, now: Now, out: &mut impl Outlet<R>) -> Result<(), Failed> {
        self.step(Input::TurnEnd, now, out)?;
        // Without room none is written, now and at every turn until there is some: it only says what records say too.
        if self.wal.unnoted_bytes() >= self.options.note_bytes {
            let _is_taken = self.wal.note(&self.shard.mark()).is_ok();
        }
        Ok(self.wal.submit()?)
    }

    /// Marks the end of a quiet log; to be called now and then (about ten times a second) and before a clean stop.
    ///
    /// # Errors
    /// The log has failed.
    pub fn mark(&mut self) -> Result<(), Failed> {
        Ok(self.wal.mark(|| self.shard.mark())?)
    }
}

/// Carries effects out as they are pushed.
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
        self.out.watch(LogEvent::Read { is_at_hand: at_hand.is_some(), is_entry });
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
            Effect::Read { token, location } => self.read(token, location, false),
            Effect::ReadEntry { token, location } => self.read(token, location, true),
        }
    }
}
