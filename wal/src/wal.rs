//! The log while it serves: append, submit, poll, read.
//!
//! Cursors, in log order, each at or behind the one before:
//!
//! ```text
//!   appended  ≥  closed  ≥  submitted  ≥  durable prefix
//!      open block │ queue    │ in flight (completed in any order) │ dropped from RAM
//! ```
//! A record's location is final as soon as `append` returns it. A submitted block is never rewritten, and a
//! write is never retried.

use crate::block::OpenBlock;
use crate::block_size::BlockSize;
use crate::chain::Chain;
use crate::disk::{Completion, Disk, IoId};
use crate::error::{AppendError, LogFailed, OpenError, ReadError};
use crate::layout::{BLOCK_HEADER_BYTES, FRAME_BYTES, align_page, frame_end};
use crate::options::{SEGMENT_BYTES_MAX, WRITES_IN_FLIGHT_MAX, WalOptions};
use crate::queue::BlockQueue;
use crate::reads::{Reads, Wanted};
use crate::recover::recover;
use crate::report::{RecordView, RecoveryReport};
use crate::segments::Segments;
use std::rc::Rc;
use synod_types::{Location, LogPosition, LogRoom, Lsn, SegmentId};

/// The number and the location that a record was given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Appended {
    /// Its number: 1, 2, 3, … since the log was opened.
    pub lsn: Lsn,
    /// Where its bytes are from now on.
    pub location: Location,
}

/// The part of the log that is not durable yet.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Backlog {
    /// The oldest record that is not durable. The log has stalled when this stays the same for too long.
    pub oldest: Option<Lsn>,
    /// Bytes of records and headers that are not durable.
    pub bytes: usize,
    /// Blocks that are not durable, the open one included.
    pub block_count: usize,
    /// Block writes in flight.
    pub in_flight: usize,
    /// Blocks wait because no segment is ready.
    pub waits_for_segment: bool,
}

/// Proof that every record up to a certain one is durable. Only the log can construct it, so code that has
/// one can rely on it, and nothing that waits for durability can be sent early (rule P-01 of the protocol).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Durable(Lsn);

impl Durable {
    /// The last durable record.
    pub fn lsn(self) -> Lsn {
        self.0
    }
}

/// One core's log.
pub struct Wal<D: Disk> {
    disk: D,
    options: WalOptions,
    segments: Segments,
    open: Option<OpenBlock<D::Buf>>,
    /// Closed blocks that are not part of the durable prefix.
    queue: BlockQueue<D::Buf>,
    /// Number of the next block to be opened.
    sequence_next: u64,
    /// Checksum of the last submitted block's header.
    chain_crc: u32,
    /// Every block up to this one is durable.
    durable_sequence: u64,
    /// The checksums of the last durable blocks: they identify the log's history.
    chain: Chain,
    durable: Lsn,
    appended: Lsn,
    /// The highest watermark that is itself durable on disk.
    marked_sequence: u64,
    ram_bytes: usize,
    unnoted_bytes: u64,
    block_size: BlockSize,
    reads: Reads,
    failed: Option<LogFailed>,
}

impl<D: Disk> Wal<D> {
    /// Opens the log: recovers the records on disk, passes each one to `visit` in log order, and starts to
    /// prepare a fresh segment to continue in. Blocks. Appending is possible at once; records become durable
    /// once the segment is ready.
    ///
    /// # Errors
    /// When the log cannot be used; the node must not start then. `visit` may have been called with records
    /// before the error was found.
    pub fn open(
        mut disk: D,
        options: WalOptions,
        visit: impl FnMut(RecordView<'_>),
    ) -> Result<(Self, RecoveryReport), OpenError> {
        options.check()?;
        let recovered = recover(&mut disk, &options, visit)?;
        let continues = recovered.continues;
        let segments = Segments::new(&options, &recovered);
        let block_size = BlockSize::new(options.block_bytes_max);
        let mut wal = Self {
            disk,
            options,
            segments,
            open: None,
            queue: BlockQueue::new(),
            sequence_next: continues.sequence + 1,
            chain_crc: continues.crc,
            durable_sequence: continues.sequence,
            chain: recovered.chain,
            durable: Lsn::ZERO,
            appended: Lsn::ZERO,
            // The header of the fresh segment names the last valid block.
            marked_sequence: continues.sequence,
            ram_bytes: 0,
            unnoted_bytes: 0,
            block_size,
            reads: Reads::default(),
            failed: None,
        };
        wal.segments.pump(&mut wal.disk);
        wal.assert_invariants();
        Ok((wal, recovered.report))
    }

    /// Appends a record, given in parts: numbers it, places it, copies it once.
    ///
    /// # Errors
    /// [`AppendError`]; the log is then unchanged.
    pub fn append(&mut self, parts: &[&[u8]]) -> Result<Appended, AppendError> {
        self.append_summed(parts, None)
    }

    /// Like [`Wal::append`], but the caller may pass the CRC32C of the last part, which is then not computed
    /// again. With a wrong CRC the record would count as damaged when it is read.
    ///
    /// # Errors
    /// [`AppendError`]; the log is then unchanged.
    pub fn append_summed(&mut self, parts: &[&[u8]], last_crc: Option<u32>) -> Result<Appended, AppendError> {
        self.check()?;
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let max = self.options.record_bytes_max;
        if len > max as usize {
            return Err(AppendError::TooLong { len, max: max as usize });
        }
        // `max` fits in 32 bits, so `len` does; so does a block with the longest record
        // (`WalOptions::check`).
        let len = len as u32;
        let need = frame_end(0, u64::from(len)) as u32;
        if self.open.as_ref().is_none_or(|open| need > open.room()) {
            self.open_block(need)?;
        }
        let Some(open) = self.open.as_mut() else { unreachable!("a block was just opened") };
        let location = open.push(parts, last_crc, len);
        self.appended = self.appended.next();
        self.unnoted_bytes += u64::from(need);
        debug_assert!(location.segment == self.segments.current(), "a record in a segment that was left");
        debug_assert!(
            self.read_ram(location).is_some_and(|bytes| bytes.len() == len as usize),
            "a record is in RAM until it is durable"
        );
        Ok(Appended { lsn: self.appended, location })
    }

    /// Appends a note: a record about the records before it, on which nothing depends. It has no number, and
    /// its durability is not reported. Recovery passes it to the caller like any other record.
    ///
    /// # Errors
    /// [`AppendError`]; the log is then unchanged.
    pub fn note(&mut self, bytes: &[u8]) -> Result<(), AppendError> {
        let appended = self.appended;
        self.append(&[bytes])?;
        debug_assert!(self.appended == appended.next(), "a note is one record");
        self.appended = appended;
        self.unnoted_bytes = 0;
        if let Some(open) = self.open.as_mut() {
            open.note_count += 1;
        }
        Ok(())
    }

    /// Bytes appended since the last note, or since the log was opened.
    pub fn unnoted_bytes(&self) -> u64 {
        self.unnoted_bytes
    }

    /// Starts the writes that may start now: every closed block that a write slot is free for, and the open
    /// block if few writes are in flight. The caller calls this once all records of the turn are appended.
    /// While the disk is busy, records keep gathering in the open block (group commit clocked by the disk).
    ///
    /// # Errors
    /// When the log has failed.
    pub fn submit(&mut self) -> Result<(), LogFailed> {
        self.check()?;
        // The second bound also counts finished writes that wait for a slower one before them: recovery must
        // be able to tell blocks that overtook a slow write from damage.
        while self.queue.in_flight() < self.options.writes_in_flight
            && self.queue.submitted() < WRITES_IN_FLIGHT_MAX
        {
            if self.queue.first_queued().is_none() {
                match &self.open {
                    Some(open)
                        if self.queue.in_flight() < self.options.small_writes_in_flight
                            && self.segments.is_ready(open.segment) =>
                    {
                        self.close_block();
                    }
                    _ => break,
                }
            }
            let Some(block) = self.queue.first_queued() else { break };
            if !self.segments.is_ready(block.segment) {
                break;
            }
            self.submit_block();
        }
        self.assert_invariants();
        Ok(())
    }

    /// Processes the operations that the disk has finished. `Some`: every record up to and including that one
    /// is durable, and at least one of them was not before this call.
    ///
    /// # Errors
    /// When a write failed or was short, in this call or an earlier one. The process must stop.
    pub fn poll(&mut self) -> Result<Option<Durable>, LogFailed> {
        self.check()?;
        let before = self.durable;
        while let Some(completion) = self.disk.poll() {
            match completion {
                Completion::Wrote { op, result } => self.on_wrote(op, result)?,
                Completion::Read { op, result } => self.reads.on_read(op, result, &mut self.disk),
                Completion::Prepared { segment, result } => {
                    self.segments.on_prepared(segment, result, &mut self.disk)
                }
            }
        }
        self.assert_invariants();
        debug_assert!(self.durable >= before, "what was durable stays so");
        Ok((self.durable > before).then_some(Durable(self.durable)))
    }

    /// Writes a block that holds only a note, if the log is quiet and no block on disk says yet that the last
    /// blocks are durable. Without such a mark, recovery cannot tell damage to the newest records from a torn
    /// tail. The caller calls this regularly (about every 100 ms) and before a clean stop. It costs nothing
    /// when there is nothing to mark: `note` is not called then. An empty note makes an empty block.
    ///
    /// # Errors
    /// When the log has failed.
    pub fn mark(&mut self, note: impl FnOnce() -> Vec<u8>) -> Result<(), LogFailed> {
        self.check()?;
        let is_quiet = self.open.is_none() && self.queue.is_empty();
        debug_assert!(!is_quiet || self.durable == self.appended, "a record in no block");
        if is_quiet && self.durable_sequence > self.marked_sequence {
            let note = note();
            let is_taken = if note.is_empty() { self.open_block(0) } else { self.note(&note) };
            if is_taken.is_ok() {
                self.submit()?;
            }
        }
        Ok(())
    }

    /// The last block of the durable prefix.
    pub fn position(&self) -> LogPosition {
        debug_assert!(self.chain.last().sequence == self.durable_sequence, "the chain ends elsewhere");
        self.chain.last()
    }

    /// Whether the durable log holds exactly this block. If not, the position comes from another log, or from
    /// a later state of this one. For a block more than about 65 000 blocks old only the number is checked.
    pub fn holds(&self, position: LogPosition) -> bool {
        self.chain.holds(position)
    }

    /// The bytes at `location`, if their block is still in RAM. Copies nothing.
    pub fn read_ram(&self, location: Location) -> Option<&[u8]> {
        if let Some(open) = &self.open
            && open.segment == location.segment
            && open.offset <= location.offset
        {
            return open.bytes(location);
        }
        self.queue.find(location)
    }

    /// Starts to read the bytes at `location`, from RAM or disk. The result comes from [`Wal::take_read`],
    /// once, with the same token. A failed read is a result too and affects nothing else. More than
    /// [`crate::READS_MAX`] reads, or [`crate::READ_BYTES_MAX`], queue up and run in order; the caller bounds
    /// the length of that queue.
    pub fn read(&mut self, token: u64, location: Location) {
        if let Some(bytes) = self.read_ram(location) {
            let bytes = bytes.to_vec();
            return self.reads.answer(token, Ok(bytes));
        }
        let end = u64::from(location.offset) + u64::from(location.len);
        if location.segment.get() == 0 || end > u64::from(SEGMENT_BYTES_MAX) {
            return self.reads.answer(token, Err(ReadError::NoSuchPlace));
        }
        self.reads.want(Wanted { token, location, record: None }, &mut self.disk);
    }

    /// Like [`Wal::read`], for bytes at the end of a record that begins `before` bytes earlier. The whole
    /// record is read from disk and checked against the checksum that was written with it; bytes in RAM are
    /// returned as they are.
    pub fn read_checked(&mut self, token: u64, location: Location, before: u32) {
        if let Some(bytes) = self.read_ram(location) {
            let bytes = bytes.to_vec();
            return self.reads.answer(token, Ok(bytes));
        }
        let end = u64::from(location.offset) + u64::from(location.len);
        let is_place = location.offset >= FRAME_BYTES + before && end <= u64::from(SEGMENT_BYTES_MAX);
        match self.segments.key_of(location.segment).filter(|_| is_place) {
            Some(key) => {
                self.reads.want(Wanted { token, location, record: Some((key, before)) }, &mut self.disk);
            }
            None => self.reads.answer(token, Err(ReadError::NoSuchPlace)),
        }
    }

    /// Takes the result of one finished read. Call `poll` first.
    pub fn take_read(&mut self) -> Option<(u64, Result<Vec<u8>, ReadError>)> {
        self.reads.take()
    }

    /// Releases a segment whose records are no longer needed. Its file is reused under a new id. Returns
    /// false if the segment is not one of [`Wal::segments`].
    ///
    /// The caller must pass a `replay_from` above this segment to every later open, and must release it again
    /// after a restart if it is still there.
    ///
    /// # Panics
    /// When it is still being written: it is the current segment, or not all of its blocks are durable.
    pub fn release(&mut self, segment: SegmentId) -> bool {
        let unfinished = self.queue.front().is_some_and(|held| segment >= held.segment);
        assert!(segment < self.segments.current() && !unfinished, "{segment} is still being written");
        let released = self.segments.release(segment);
        debug_assert!(
            self.segments.live().all(|live| live != segment),
            "a segment that was released is kept"
        );
        // On a full disk the next segment may have been waiting for just this file.
        self.segments.retry(&mut self.disk);
        released
    }

    /// The segments before the current one that hold records, oldest first, including those before
    /// `replay_from`.
    pub fn segments(&self) -> impl Iterator<Item = SegmentId> {
        self.segments.live()
    }

    /// Tries again to make a segment after a failure (a full disk, say); see [`Wal::prepare_error`]. The log
    /// itself retries only when it enters another segment or one is released, and on a full disk neither may
    /// happen. The caller calls this about once a second while there is an error.
    pub fn retry_prepare(&mut self) {
        if self.segments.error().is_some() {
            self.segments.retry(&mut self.disk);
        }
    }

    /// Why the last attempt to make a segment failed; `None` once one was made.
    pub fn prepare_error(&self) -> Option<&str> {
        self.segments.error()
    }

    /// How much can still be written, and whether the log only waits for a segment that cannot be made.
    pub fn log_room(&self) -> LogRoom {
        if self.segments.error().is_none() {
            return LogRoom::FREE;
        }
        let open = self.open.as_ref().map_or(0, OpenBlock::len);
        let (space, free_bytes) = self.segments.space(open);
        let is_starved = self.queue.in_flight() == 0 && self.waits_for_segment();
        LogRoom { space, free_bytes, is_starved }
    }

    /// Whether the current segment is ready to be written.
    pub fn is_ready(&self) -> bool {
        self.segments.is_ready(self.segments.current())
    }

    /// The last record that was given a number.
    pub fn appended(&self) -> Lsn {
        self.appended
    }

    /// The last record of the durable prefix: it and every record before it are durable.
    pub fn durable(&self) -> Lsn {
        self.durable
    }

    /// The part of the log that is not durable yet.
    pub fn backlog(&self) -> Backlog {
        let open = self.open.as_ref();
        debug_assert!(
            self.durable == self.appended || open.is_some() || !self.queue.is_empty(),
            "a record is neither durable nor on its way"
        );
        Backlog {
            oldest: (self.durable < self.appended).then(|| self.durable.next()),
            bytes: self.queue.used_bytes() + open.map_or(0, |open| open.used as usize),
            block_count: self.queue.len() + usize::from(open.is_some()),
            in_flight: self.queue.in_flight(),
            waits_for_segment: self.waits_for_segment(),
        }
    }

    /// Whether the oldest block that is not submitted waits for its segment to be made.
    fn waits_for_segment(&self) -> bool {
        let open = self.open.as_ref().map(|open| open.segment);
        let waiting = self.queue.first_queued().map(|held| held.segment).or(open);
        waiting.is_some_and(|segment| !self.segments.is_ready(segment))
    }

    /// How many bytes of buffers may still be allocated before `append` returns `Full`. A caller that stops
    /// appending while this is below what one turn may append never gets `Full`.
    pub fn room_bytes(&self) -> usize {
        self.options.ram_bytes_max.saturating_sub(self.ram_bytes)
    }

    /// Bytes of the buffers in RAM that wait for the disk.
    pub fn held_bytes(&self) -> usize {
        self.ram_bytes
    }

    /// The earliest segment that the next block can go into.
    pub fn current_segment(&self) -> SegmentId {
        self.segments.current()
    }

    /// The disk, for the simulator and for shutting down.
    pub fn disk(&mut self) -> &mut D {
        &mut self.disk
    }

    fn check(&self) -> Result<(), LogFailed> {
        match &self.failed {
            Some(failed) => Err(failed.clone()),
            None => Ok(()),
        }
    }

    /// Closes the open block, if any, and opens one with room for `need` bytes of frames.
    fn open_block(&mut self, need: u32) -> Result<(), AppendError> {
        let single = align_page(u64::from(BLOCK_HEADER_BYTES) + u64::from(need)) as u32;
        let wanted = single.max(self.block_size.bytes());
        // A log with no buffer in RAM takes any record: the bound is on the backlog, not on one record.
        if self.ram_bytes > 0 && self.ram_bytes + wanted as usize > self.options.ram_bytes_max {
            return Err(AppendError::Full { held: self.ram_bytes });
        }
        if self.open.is_some() {
            self.close_block();
        }
        if single > self.segments.room() {
            self.segments.rotate(&mut self.disk);
        }
        let place = self.segments.place();
        let capacity = wanted.min(self.segments.room());
        assert!(single <= capacity, "a fresh segment holds the longest block");
        let buf = self.disk.alloc(capacity as usize);
        assert!(buf.as_ref().len() == capacity as usize, "the disk gave a buffer of another size");
        self.ram_bytes += capacity as usize;
        debug_assert!(self.ram_bytes <= self.options.ram_bytes_max, "more in RAM than there may be");
        debug_assert!(self.open.is_none(), "a block is opened before the last one is closed");
        self.open = Some(OpenBlock::new(place, self.sequence_next, buf));
        self.sequence_next += 1;
        Ok(())
    }

    /// Moves the open block to the end of the queue. From now on its place and length are final.
    fn close_block(&mut self) {
        let Some(open) = self.open.take() else { unreachable!("no block is open") };
        let (segment, offset, len) = (open.segment, open.offset, open.len());
        let block = open.close(self.options.core, self.appended, D::trim);
        self.block_size.adapt(len);
        self.segments.take(segment, offset, len);
        self.queue.push(block);
    }

    fn submit_block(&mut self) {
        let block = self.queue.take_next();
        block.seal(self.durable_sequence, self.chain_crc);
        self.chain_crc = block.crc;
        let (op, segment, offset) = (IoId(block.header.sequence), block.segment, block.header.offset);
        debug_assert!(self.segments.is_ready(segment), "a block of a segment that is not made yet");
        let buf = Rc::clone(&block.buf);
        self.disk.write(op, segment, offset, buf);
    }

    fn on_wrote(&mut self, op: IoId, result: std::io::Result<usize>) -> Result<(), LogFailed> {
        if let Err(failed) = self.queue.end(op, result) {
            self.failed = Some(failed.clone());
            return Err(failed);
        }
        while let Some(held) = self.queue.pop_done() {
            debug_assert!(held.header.watermark <= self.durable_sequence, "a mark of what is not durable");
            debug_assert!(held.capacity as usize <= self.ram_bytes, "a buffer was not counted");
            self.ram_bytes -= held.capacity as usize;
            assert!(held.header.sequence == self.durable_sequence + 1, "the durable prefix has no gap");
            self.durable_sequence = held.header.sequence;
            self.chain.push(LogPosition { sequence: held.header.sequence, crc: held.crc });
            let marked = self.marked_sequence.max(held.header.watermark);
            // Losing a block of notes loses nothing. If all blocks before it are marked, it needs no mark of
            // its own. A block of notes that was written among others marks no more than they do.
            let is_end = held.is_mark && marked + 1 == held.header.sequence;
            self.marked_sequence = if is_end { held.header.sequence } else { marked };
            debug_assert!(self.durable <= held.last, "records are numbered on");
            self.durable = held.last;
        }
        Ok(())
    }

    /// The invariants between calls.
    fn assert_invariants(&self) {
        self.queue.assert_invariants();
        assert!(self.durable <= self.appended);
        assert!(self.queue.in_flight() <= self.options.writes_in_flight);
        let closed = self.queue.len() as u64 + u64::from(self.open.is_some());
        assert!(self.durable_sequence + closed + 1 == self.sequence_next, "every block is counted once");
        assert!(self.marked_sequence <= self.durable_sequence);
        assert!(self.chain.last().sequence == self.durable_sequence, "the chain ends at the durable prefix");
        debug_assert!(
            self.queue.front().is_none_or(|oldest| oldest.header.sequence == self.durable_sequence + 1),
            "the oldest block is the next durable one"
        );
        debug_assert!(self.queue.submitted() <= WRITES_IN_FLIGHT_MAX, "recovery looks no further");
        if let Some(open) = &self.open {
            debug_assert!(open.sequence + 1 == self.sequence_next, "the open block is the newest");
            debug_assert!(open.segment == self.segments.current(), "the open block is in another segment");
            debug_assert!(open.offset == self.segments.place().offset, "the open block is the next");
        }
        debug_assert!(
            self.ram_bytes
                == self.queue.capacity_bytes() + self.open.as_ref().map_or(0, |open| open.capacity as usize),
            "every buffer is counted once"
        );
    }
}
