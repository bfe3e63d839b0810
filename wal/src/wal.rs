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

use crate::block::{Held, HeldState, OpenBlock};
use crate::chain::Chain;
use crate::disk::{Completion, Disk, OpId};
use crate::error::{AppendError, LogFailed, OpenError, ReadError};
use crate::layout::{BLOCK_HEADER_BYTES, BlockHeader, FRAME_BYTES, align_page, frame_end};
use crate::options::{WRITES_IN_FLIGHT_MAX, WalOptions};
use crate::reads::{Reads, Wanted};
use crate::recover::recover;
use crate::report::{RecordView, RecoveryReport};
use crate::segments::Segments;
use std::collections::VecDeque;
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

/// Capacity of a block while the load is not known yet.
const BLOCK_BYTES_FIRST: u32 = 64 << 10;
/// After this many blocks in a row that fill a quarter of the capacity or less, the next ones are smaller.
const ROOMY_MAX: u32 = 64;

/// One core's log.
pub struct Wal<D: Disk> {
    disk: D,
    options: WalOptions,
    segments: Segments,
    open: Option<OpenBlock<D::Buf>>,
    /// Closed blocks that are not part of the durable prefix, in log order. The first `submitted` were handed
    /// to the disk.
    held: VecDeque<Held<D::Buf>>,
    submitted: usize,
    in_flight: usize,
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
    /// Capacity of the next block.
    block_bytes: u32,
    /// How many blocks in a row filled a quarter of that or less.
    roomy: u32,
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
        let block_bytes = BLOCK_BYTES_FIRST.min(options.block_bytes_max);
        let mut wal = Self {
            disk,
            options,
            segments,
            open: None,
            held: VecDeque::new(),
            submitted: 0,
            in_flight: 0,
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
            block_bytes,
            roomy: 0,
            reads: Reads::default(),
            failed: None,
        };
        wal.segments.pump(&mut wal.disk);
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
        if self.open.as_ref().is_none_or(|open| need > open.capacity - open.used) {
            self.open_block(need)?;
        }
        let Some(open) = self.open.as_mut() else { unreachable!("a block was just opened") };
        let location = open.push(parts, last_crc, len);
        self.appended = self.appended.next();
        self.unnoted_bytes += u64::from(need);
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
        while self.in_flight < self.options.writes_in_flight && self.submitted < WRITES_IN_FLIGHT_MAX {
            if self.submitted == self.held.len() {
                match &self.open {
                    Some(open)
                        if self.in_flight < self.options.small_writes_in_flight
                            && self.segments.is_ready(open.segment) =>
                    {
                        self.close_block();
                    }
                    _ => break,
                }
            }
            let Some(block) = self.held.get(self.submitted) else { break };
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
        let is_quiet = self.open.is_none() && self.held.is_empty();
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
        self.chain.last()
    }

    /// Whether the durable log holds exactly this block. If not, the position comes from another log, or from
    /// a later state of this one. For a block more than about 65 000 blocks old only the number is checked.
    pub fn holds(&self, position: LogPosition) -> bool {
        self.chain.holds(position)
    }

    /// The bytes at `location`, if their block is still in RAM. Copies nothing.
    pub fn read_ram(&self, location: Location) -> Option<&[u8]> {
        let Location { segment, offset, len } = location;
        let slice = |start: u32, used: u32, buf: &'_ D::Buf| -> Option<(usize, usize)> {
            let from = offset.checked_sub(start)?;
            let to = from.checked_add(len)?;
            (to <= used && to as usize <= buf.as_ref().len()).then_some((from as usize, to as usize))
        };
        if let Some(open) = &self.open
            && open.segment == segment
            && offset >= open.offset
        {
            let (from, to) = slice(open.offset, open.used, &open.buf)?;
            return Some(&open.buf.as_ref()[from..to]);
        }
        let after = self.held.partition_point(|held| (held.segment, held.header.offset) <= (segment, offset));
        let held = self.held.get(after.checked_sub(1)?)?;
        if held.segment != segment {
            return None;
        }
        let (from, to) = slice(held.header.offset, held.header.used, &held.buf)?;
        Some(&held.buf.as_ref().as_ref()[from..to])
    }

    /// Starts to read the bytes at `location`, from RAM or disk. The result comes from [`Wal::take_read`],
    /// once, with the same token. A failed read is a result too and affects nothing else. More than
    /// [`crate::READS_MAX`] reads queue up and run in order; the caller bounds the length of that queue.
    pub fn read(&mut self, token: u64, location: Location) {
        if let Some(bytes) = self.read_ram(location) {
            let bytes = bytes.to_vec();
            return self.reads.answer(token, Ok(bytes));
        }
        let end = u64::from(location.offset) + u64::from(location.len);
        if location.segment.get() == 0 || end > u64::from(crate::options::SEGMENT_BYTES_MAX) {
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
        let is_place =
            location.offset >= FRAME_BYTES + before && end <= u64::from(crate::options::SEGMENT_BYTES_MAX);
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
        let unfinished = self.held.front().is_some_and(|held| segment >= held.segment);
        assert!(segment < self.segments.current() && !unfinished, "{segment} is still being written");
        let released = self.segments.release(segment);
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
        let open = self.open.as_ref().map_or(0, |open| align_page(u64::from(open.used)) as u32);
        let (space, free_bytes) = self.segments.space(open);
        let is_starved = self.in_flight == 0 && self.waits_for_segment();
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
        let held: usize = self.held.iter().map(|held| held.header.used as usize).sum();
        let open = self.open.as_ref();
        Backlog {
            oldest: (self.durable < self.appended).then(|| self.durable.next()),
            bytes: held + open.map_or(0, |open| open.used as usize),
            block_count: self.held.len() + usize::from(open.is_some()),
            in_flight: self.in_flight,
            waits_for_segment: self.waits_for_segment(),
        }
    }

    /// Whether the oldest block that is not submitted waits for its segment to be made.
    fn waits_for_segment(&self) -> bool {
        let open = self.open.as_ref().map(|open| open.segment);
        let waiting = self.held.get(self.submitted).map(|held| held.segment).or(open);
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
        let wanted = single.max(self.block_bytes);
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
        self.open = Some(OpenBlock {
            segment: place.segment,
            generation: place.generation,
            key: place.key,
            offset: place.offset,
            sequence: self.sequence_next,
            buf,
            capacity,
            used: BLOCK_HEADER_BYTES,
            record_count: 0,
            note_count: 0,
            frames_crc: place.key.start(),
        });
        self.sequence_next += 1;
        Ok(())
    }

    /// Moves the open block to the end of the queue. From now on its place and length are final.
    fn close_block(&mut self) {
        let Some(mut open) = self.open.take() else { unreachable!("no block is open") };
        let len = align_page(u64::from(open.used)) as u32;
        assert!(len <= open.capacity, "a block is a multiple of pages");
        open.buf.as_mut()[open.used as usize..len as usize].fill(0);
        D::trim(&mut open.buf, len as usize);
        self.adapt(len);
        self.segments.take(open.segment, open.offset, len);
        let header = BlockHeader {
            core: self.options.core,
            generation: open.generation,
            sequence: open.sequence,
            watermark: 0,
            len,
            used: open.used,
            offset: open.offset,
            record_count: open.record_count,
            previous_crc: 0,
            frames_crc: open.frames_crc,
        };
        self.held.push_back(Held {
            header,
            crc: 0,
            key: open.key,
            segment: open.segment,
            buf: Rc::new(open.buf),
            capacity: open.capacity,
            last: self.appended,
            is_mark: open.record_count == open.note_count,
            state: HeldState::Queued,
        });
    }

    /// Adapts the capacity of the next block to the length of this one. A block has room for about twice the
    /// bytes that gather while the disk is busy; a much larger buffer would be cold memory every time.
    fn adapt(&mut self, len: u32) {
        let max = self.options.block_bytes_max;
        if len > self.block_bytes / 4 * 3 {
            self.block_bytes = self.block_bytes.saturating_mul(2).min(max);
            self.roomy = 0;
        } else if len > self.block_bytes / 4 {
            self.roomy = 0;
        } else {
            self.roomy += 1;
            if self.roomy >= ROOMY_MAX {
                let half = align_page(u64::from(self.block_bytes / 2)) as u32;
                self.block_bytes = half.max(BLOCK_BYTES_FIRST.min(max));
                self.roomy = 0;
            }
        }
    }

    fn submit_block(&mut self) {
        let block = &mut self.held[self.submitted];
        assert!(block.state == HeldState::Queued, "a submitted block is never written again");
        block.header.watermark = self.durable_sequence;
        block.header.previous_crc = self.chain_crc;
        assert!(
            block.header.sequence - block.header.watermark <= WRITES_IN_FLIGHT_MAX as u64,
            "more writes in flight than recovery allows for"
        );
        let Some(buf) = Rc::get_mut(&mut block.buf) else {
            unreachable!("a queued block has one owner: it is shared with the disk below, once")
        };
        self.chain_crc = block.header.encode(block.key, buf.as_mut());
        block.crc = self.chain_crc;
        block.state = HeldState::InFlight;
        let (op, segment, offset) = (OpId(block.header.sequence), block.segment, block.header.offset);
        let buf = Rc::clone(&block.buf);
        self.submitted += 1;
        self.in_flight += 1;
        self.disk.write(op, segment, offset, buf);
    }

    fn on_wrote(&mut self, op: OpId, result: std::io::Result<usize>) -> Result<(), LogFailed> {
        let first = self.held.front().map_or(u64::MAX, |held| held.header.sequence);
        let index = op.0.checked_sub(first).map_or(usize::MAX, |index| index as usize);
        let Some(block) = self.held.get_mut(index) else {
            unreachable!("the disk completed a write that was not in flight: block {}", op.0)
        };
        assert!(block.state == HeldState::InFlight, "the disk completed block {} twice", op.0);
        let detail = match result {
            Ok(written) if written == block.header.len as usize => None,
            Ok(written) => Some(format!("short write, {written} of {} bytes", block.header.len)),
            Err(error) => Some(error.to_string()),
        };
        if let Some(detail) = detail {
            let (sequence, segment, offset) = (op.0, block.segment, block.header.offset);
            let failed = LogFailed { sequence, segment, offset, detail };
            self.failed = Some(failed.clone());
            return Err(failed);
        }
        block.state = HeldState::Done;
        self.in_flight -= 1;
        while self.held.front().is_some_and(|held| held.state == HeldState::Done) {
            let Some(held) = self.held.pop_front() else { break };
            self.submitted -= 1;
            self.ram_bytes -= held.capacity as usize;
            assert!(held.header.sequence == self.durable_sequence + 1, "the durable prefix has no gap");
            self.durable_sequence = held.header.sequence;
            self.chain.push(LogPosition { sequence: held.header.sequence, crc: held.crc });
            let marked = self.marked_sequence.max(held.header.watermark);
            // Losing a block of notes loses nothing. If all blocks before it are marked, it needs no mark of
            // its own. A block of notes that was written among others marks no more than they do.
            let is_end = held.is_mark && marked + 1 == held.header.sequence;
            self.marked_sequence = if is_end { held.header.sequence } else { marked };
            self.durable = held.last;
        }
        Ok(())
    }

    /// The invariants between calls.
    fn assert_invariants(&self) {
        assert!(self.durable <= self.appended);
        assert!(self.submitted <= self.held.len());
        assert!(self.in_flight <= self.submitted);
        assert!(self.in_flight <= self.options.writes_in_flight);
        let closed = self.held.len() as u64 + u64::from(self.open.is_some());
        assert!(self.durable_sequence + closed + 1 == self.sequence_next, "every block is counted once");
        assert!(self.marked_sequence <= self.durable_sequence);
        assert!(self.chain.last().sequence == self.durable_sequence, "the chain ends at the durable prefix");
    }
}
