//! The log while it serves: append, submit, poll, read.
//!
//! Cursors, in log order, each at or behind the one before:
//!
//! ```text
//!   appended  ≥  closed  ≥  submitted  ≥  durable prefix
//!      open block │ queue    │ in flight (completed in any order) │ dropped from RAM
//! ```
//! A place is final as soon as `append` gives it; a submitted block is never rewritten; a write is never retried.

use crate::chain::Chain;
use crate::disk::{Completion, Disk, OpId};
use crate::error::{AppendError, LogFailed, OpenError, ReadError};
use crate::layout::{
    BLOCK_HEADER_BYTES, BlockHeader, FRAME_BYTES, Key, PAGE_BYTES, align_page, decode_frame, encode_frame,
    frame_end,
};
use crate::options::{READS_MAX, WRITES_IN_FLIGHT_MAX, WalOptions};
use crate::recover::{RecordView, RecoveryReport, recover};
use crate::segments::Segments;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use synod_types::checksum::combine;
use synod_types::{Location, LogPosition, LogRoom, Lsn, SegmentId};

/// A record has its number and its place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Appended {
    /// Its number: 1, 2, 3, … since the log was opened.
    pub lsn: Lsn,
    /// Where its bytes lie from now on.
    pub location: Location,
}

/// What has not reached the disk.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Backlog {
    /// The oldest record that is not durable. A log stalls when this one stays the same for too long.
    pub oldest: Option<Lsn>,
    /// Bytes of records and headers not durable.
    pub bytes: usize,
    /// Blocks not durable, the open one included.
    pub block_count: usize,
    /// Of those, blocks handed to the disk.
    pub in_flight: usize,
    /// Blocks wait because no segment is ready.
    pub waits_for_segment: bool,
}

/// The log's word that every record up to one is durable. Only the log makes it, so whoever holds it need not be believed, and nothing
/// that waits for it can leave early (rule P-01 of the protocol).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Durable(Lsn);

impl Durable {
    /// The last of those records.
    pub fn lsn(self) -> Lsn {
        self.0
    }
}

/// Room of a block while nothing is known of the load.
const BLOCK_BYTES_FIRST: u32 = 64 << 10;
/// So many blocks in a row that fill a quarter of their room or less make the next ones smaller.
const ROOMY_MAX: u32 = 64;

/// One core's log.
pub struct Wal<D: Disk> {
    disk: D,
    options: WalOptions,
    segments: Segments,
    open: Option<OpenBlock<D::Buf>>,
    /// Closed blocks that are not part of the durable prefix, in log order. The first `submitted` were handed to the disk.
    held: VecDeque<Held<D::Buf>>,
    submitted: usize,
    in_flight: usize,
    /// Number of the next block to be opened.
    sequence_next: u64,
    /// Checksum of the last submitted block's header.
    chain_crc: u32,
    /// Every block up to here is durable.
    durable_sequence: u64,
    /// Which history that is.
    chain: Chain,
    durable: Lsn,
    appended: Lsn,
    /// The highest watermark that is itself on disk.
    marked_sequence: u64,
    ram_bytes: usize,
    unnoted_bytes: u64,
    /// Room of the next block, and how many blocks in a row could have done with half of it.
    block_bytes: u32,
    roomy: u32,
    reads: BTreeMap<OpId, Read>,
    /// Reads that wait until another one ends: whoever asked stands still, so none fails for want of a place.
    reads_waiting: VecDeque<Wanted>,
    reads_done: VecDeque<(u64, Result<Vec<u8>, ReadError>)>,
    read_next: u64,
    failed: Option<LogFailed>,
}

struct OpenBlock<B> {
    segment: SegmentId,
    generation: u64,
    key: Key,
    offset: u32,
    sequence: u64,
    buf: B,
    capacity: u32,
    used: u32,
    record_count: u32,
    /// Of them, how many are notes.
    note_count: u32,
    frames_crc: u32,
}

struct Held<B> {
    header: BlockHeader,
    /// The checksum of the header, once that is submitted.
    crc: u32,
    key: Key,
    segment: SegmentId,
    buf: Rc<B>,
    capacity: u32,
    /// The last record in it, or before it if it has none.
    last: Lsn,
    /// It holds notes at most: nothing is lost with it.
    is_mark: bool,
    state: HeldState,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum HeldState {
    Queued,
    InFlight,
    /// On disk, behind a block that is not.
    Done,
}

/// A read that was asked for.
struct Wanted {
    token: u64,
    location: Location,
    /// Set if the bytes end a record, which is to be checked: its checksum's key, and how many of its bytes come before.
    record: Option<(Key, u32)>,
}

struct Read {
    wanted: Wanted,
    /// What lies before the bytes wanted in those that were read.
    skip: usize,
}

impl<D: Disk> Wal<D> {
    /// Opens the log: recovers what is there, giving every record to `visit` in log order, and prepares a fresh segment to go on
    /// in. Blocks. Appending is possible at once; records become durable when the segment is ready.
    ///
    /// # Errors
    /// When the log cannot be used; the node must not start then. Records may have been visited before that was known.
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
            // The header of the fresh segment names the last block that counts.
            marked_sequence: continues.sequence,
            ram_bytes: 0,
            unnoted_bytes: 0,
            block_bytes,
            roomy: 0,
            reads: BTreeMap::new(),
            reads_waiting: VecDeque::new(),
            reads_done: VecDeque::new(),
            read_next: 1,
            failed: None,
        };
        wal.segments.pump(&mut wal.disk);
        Ok((wal, recovered.report))
    }

    /// Takes a record, given in parts: numbers it, places it, copies it once.
    ///
    /// # Errors
    /// [`AppendError`]; the log is then as before.
    pub fn append(&mut self, parts: &[&[u8]]) -> Result<Appended, AppendError> {
        self.append_summed(parts, None)
    }

    /// As [`Wal::append`], where the CRC32C of the last part may be known and is not computed again. Were it wrong, the record
    /// would be taken for damaged when it is read again.
    ///
    /// # Errors
    /// [`AppendError`]; the log is then as before.
    pub fn append_summed(&mut self, parts: &[&[u8]], last_crc: Option<u32>) -> Result<Appended, AppendError> {
        self.check()?;
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let max = self.options.record_bytes_max;
        if len > max as usize {
            return Err(AppendError::TooLong { len, max: max as usize });
        }
        // `max` fits 32 bits, so does `len`; a block with the longest record does too, by `WalOptions::check`.
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

    /// Takes a note: a record about what was appended, of which nothing depends. It has no number, and nobody is told when it is durable.
    /// Recovery gives it to the caller like any record.
    ///
    /// # Errors
    /// [`AppendError`]; the log is then as before.
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

    /// Starts what may be started: every full block there is a write slot for, and the open block if hardly anything is in flight. Called
    /// when the turn's records are all in: while the disk is busy, records go on gathering in the open block (group commit
    /// clocked by the disk itself).
    ///
    /// # Errors
    /// When the log has failed.
    pub fn submit(&mut self) -> Result<(), LogFailed> {
        self.check()?;
        // The second bound: however many overtake a straggler, recovery must be able to tell what did from damage.
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

    /// Takes what the disk has finished. `Some`: every record up to and including that one is durable, and was not all durable before
    /// this call.
    ///
    /// # Errors
    /// When a write failed or was short, now or earlier. The process must stop.
    pub fn poll(&mut self) -> Result<Option<Durable>, LogFailed> {
        self.check()?;
        let before = self.durable;
        while let Some(completion) = self.disk.poll() {
            match completion {
                Completion::Wrote { op, result } => self.on_wrote(op, result)?,
                Completion::Read { op, result } => self.on_read(op, result),
                Completion::Prepared { segment, result } => {
                    self.segments.on_prepared(segment, result, &mut self.disk)
                }
            }
        }
        self.assert_invariants();
        Ok((self.durable > before).then_some(Durable(self.durable)))
    }

    /// Writes a block with nothing but a note if the log is quiet and the last blocks' durability is not itself on disk yet: only then can
    /// recovery tell damage to the newest records from a torn tail. To be called now and then (about every 100 ms) and before a
    /// clean stop; costs nothing when there is nothing to mark: `note` is not called then. An empty note makes an empty block.
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

    /// Whether the durable log holds this very block: whoever was told of it and finds that it does not has heard of another log, or
    /// of a later state of this one. Of a block that is some 65 000 blocks old the number must do.
    pub fn holds(&self, position: LogPosition) -> bool {
        self.chain.holds(position)
    }

    /// The bytes at `location` if they are still held for the disk. No copy.
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

    /// Starts to read the bytes at `location`, from RAM or disk; answered by one `take_read` with the same token. A failure is
    /// an answer too and harms nothing else. Beyond [`READS_MAX`] reads wait for each other, in order; how many, is the caller's to
    /// bound.
    pub fn read(&mut self, token: u64, location: Location) {
        if let Some(bytes) = self.read_ram(location) {
            let bytes = bytes.to_vec();
            return self.reads_done.push_back((token, Ok(bytes)));
        }
        let end = u64::from(location.offset) + u64::from(location.len);
        if location.segment.get() == 0 || end > u64::from(crate::options::SEGMENT_BYTES_MAX) {
            return self.reads_done.push_back((token, Err(ReadError::NoSuchPlace)));
        }
        self.want(Wanted { token, location, record: None });
    }

    /// The same for bytes that end a record and of which `before` more lie before them in it: the whole record is read and checked
    /// against the checksum that was written with it.
    pub fn read_checked(&mut self, token: u64, location: Location, before: u32) {
        if let Some(bytes) = self.read_ram(location) {
            let bytes = bytes.to_vec();
            return self.reads_done.push_back((token, Ok(bytes)));
        }
        let end = u64::from(location.offset) + u64::from(location.len);
        let is_place =
            location.offset >= FRAME_BYTES + before && end <= u64::from(crate::options::SEGMENT_BYTES_MAX);
        match self.segments.key_of(location.segment).filter(|_| is_place) {
            Some(key) => self.want(Wanted { token, location, record: Some((key, before)) }),
            None => self.reads_done.push_back((token, Err(ReadError::NoSuchPlace))),
        }
    }

    fn want(&mut self, wanted: Wanted) {
        if self.reads.len() >= READS_MAX {
            return self.reads_waiting.push_back(wanted);
        }
        self.start_read(wanted);
    }

    /// Asks the disk for a place that was found to be one.
    fn start_read(&mut self, wanted: Wanted) {
        let location = wanted.location;
        let first = location.offset - wanted.record.map_or(0, |(_, before)| FRAME_BYTES + before);
        let start = first / PAGE_BYTES * PAGE_BYTES;
        let end = u64::from(location.offset) + u64::from(location.len);
        let op = OpId(self.read_next);
        self.read_next += 1;
        let skip = (location.offset - start) as usize;
        self.reads.insert(op, Read { wanted, skip });
        // At least a page, so that an empty record reads like any other; `end` was checked, so the sum fits.
        let len = (align_page(end) as u32 - start).max(PAGE_BYTES);
        self.disk.read(op, location.segment, start, len);
    }

    /// Takes one finished read. Call `poll` before.
    pub fn take_read(&mut self) -> Option<(u64, Result<Vec<u8>, ReadError>)> {
        self.reads_done.pop_front()
    }

    /// Gives a segment back: nobody needs its records any more. Its file is used again under a new id. False if it is none of
    /// [`Wal::segments`].
    ///
    /// The caller owes that every later open gets a `replay_from` above it, and gives it back again after a restart if it is
    /// still there.
    ///
    /// # Panics
    /// When blocks of it are not durable yet.
    pub fn release(&mut self, segment: SegmentId) -> bool {
        let unfinished = self.held.front().is_some_and(|held| segment >= held.segment);
        assert!(segment < self.segments.current() && !unfinished, "{segment} is still being written");
        let released = self.segments.release(segment);
        // On a full disk this may be the file that is missing.
        self.segments.retry(&mut self.disk);
        released
    }

    /// The segments before the current one that hold records, oldest first, including those before `replay_from`.
    pub fn segments(&self) -> impl Iterator<Item = SegmentId> {
        self.segments.live()
    }

    /// Tries again to make a segment after that failed (a full disk, say); see [`Wal::prepare_error`]. The log itself only tries when it
    /// enters another segment, and on a full disk it does not: to be called about once a second while there is an error.
    pub fn retry_prepare(&mut self) {
        if self.segments.error().is_some() {
            self.segments.retry(&mut self.disk);
        }
    }

    /// Why no further segment can be made, until one was.
    pub fn prepare_error(&self) -> Option<&str> {
        self.segments.error()
    }

    /// What can still be written, and whether what waits only waits for a segment that cannot be made.
    pub fn log_room(&self) -> LogRoom {
        if self.segments.error().is_none() {
            return LogRoom::FREE;
        }
        let open = self.open.as_ref().map_or(0, |open| align_page(u64::from(open.used)) as u32);
        let (space, free_bytes) = self.segments.space(open);
        let is_starved = self.in_flight == 0 && self.waits_for_segment();
        LogRoom { space, free_bytes, is_starved }
    }

    /// Whether the segment in use is ready to be written.
    pub fn is_ready(&self) -> bool {
        self.segments.is_ready(self.segments.current())
    }

    /// The last record that was given a number.
    pub fn appended(&self) -> Lsn {
        self.appended
    }

    /// Every record up to here is durable.
    pub fn durable(&self) -> Lsn {
        self.durable
    }

    /// What has not reached the disk.
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

    /// Whether the oldest block that the disk does not have yet lacks its segment.
    fn waits_for_segment(&self) -> bool {
        let open = self.open.as_ref().map(|open| open.segment);
        let waiting = self.held.get(self.submitted).map(|held| held.segment).or(open);
        waiting.is_some_and(|segment| !self.segments.is_ready(segment))
    }

    /// How many bytes of buffers may still be taken before `append` answers `Full`. A caller that stops feeding the log
    /// while this is below what one turn may append never meets `Full`.
    pub fn room_bytes(&self) -> usize {
        self.options.ram_bytes_max.saturating_sub(self.ram_bytes)
    }

    /// Bytes of the buffers that wait for the disk.
    pub fn held_bytes(&self) -> usize {
        self.ram_bytes
    }

    /// The segment in which the next block will lie, at the earliest.
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
        // A log that holds nothing takes any record: the bound is on what gathers, not on one record.
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

    /// Moves the open block to the end of the queue. From here on its place and length are final.
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

    /// Blocks have room for about twice what gathers while the disk is busy: buffers much larger than their blocks would be cold
    /// memory every time.
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
            // Nothing is lost with a block of notes: if all before it is marked, it needs no mark of its own. One that was written among
            // others marks no more than they do.
            let is_end = held.is_mark && marked + 1 == held.header.sequence;
            self.marked_sequence = if is_end { held.header.sequence } else { marked };
            self.durable = held.last;
        }
        Ok(())
    }

    fn on_read(&mut self, op: OpId, result: std::io::Result<D::Bytes>) {
        let Some(read) = self.reads.remove(&op) else {
            unreachable!("the disk completed a read that was not under way: {}", op.0)
        };
        let result = match result {
            Ok(bytes) => read.take(&bytes),
            Err(error) => Err(ReadError::Disk(error.to_string())),
        };
        self.reads_done.push_back((read.wanted.token, result));
        if let Some(wanted) = self.reads_waiting.pop_front() {
            self.start_read(wanted);
        }
    }

    /// What always holds between calls.
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

impl Read {
    /// The bytes wanted out of those that came.
    fn take(&self, bytes: &[u8]) -> Result<Vec<u8>, ReadError> {
        let Location { segment, offset, len } = self.wanted.location;
        let end = self.skip + len as usize;
        let wanted = bytes
            .get(self.skip..end)
            .ok_or_else(|| ReadError::Disk(format!("{} bytes came instead of {end}", bytes.len())))?;
        if let Some((key, before)) = self.wanted.record {
            // `start_read` began at or before the frame.
            let (body, frame) = (self.skip - before as usize, self.skip - (before + FRAME_BYTES) as usize);
            if decode_frame(&bytes[frame..body]) != (before + len, key.crc(&bytes[body..end])) {
                return Err(ReadError::Corrupt { segment, offset: offset - before });
            }
        }
        Ok(wanted.to_vec())
    }
}

impl<B: AsRef<[u8]> + AsMut<[u8]>> OpenBlock<B> {
    /// Copies a record in, frame first; the caller has checked that there is room.
    fn push(&mut self, parts: &[&[u8]], last_crc: Option<u32>, len: u32) -> Location {
        let body = self.used + FRAME_BYTES;
        let end = frame_end(u64::from(self.used), u64::from(len)) as u32;
        assert!(end <= self.capacity, "no room for the record");
        let block = self.buf.as_mut();
        let mut at = body as usize;
        let mut crc = self.key.start();
        for (index, part) in parts.iter().enumerate() {
            block[at..at + part.len()].copy_from_slice(part);
            crc = match last_crc {
                Some(known) if index + 1 == parts.len() => combine(crc, known, part.len()),
                _ => synod_types::checksum::crc32c_append(crc, part),
            };
            at += part.len();
        }
        debug_assert_eq!(at, (body + len) as usize);
        block[at..end as usize].fill(0);
        let frame = encode_frame(len, crc);
        block[self.used as usize..body as usize].copy_from_slice(&frame);
        self.frames_crc = synod_types::checksum::crc32c_append(self.frames_crc, &frame);
        self.used = end;
        self.record_count += 1;
        Location { segment: self.segment, offset: self.offset + body, len }
    }
}
