//! Recovery: follow the segments and the blocks as far as they hold, then look up what the end means.
//!
//! ```text
//!   1. settle: what is about to be read is made durable first, else a crash could take back what was acted upon
//!   2. links:  from the newest segment back through `previous` to the first; what is not on that way is dead
//!   3. chain:  from the first block on, number by number, checksum by checksum; every record goes to the caller
//!   4. end:    the facts at the first place that does not fit, through the decision table
//! ```
//! Nothing is changed on disk here. The log goes on in a fresh segment whose header binds it to the last block that counts
//! ([`Continues`]), so that what was cut off cannot come back at a later recovery.

use crate::chain::Chain;
use crate::disk::Disk;
use crate::error::OpenError;
use crate::layout::{
    BadSegmentHeader, Continues, FORMAT_VERSION, Key, PAGE_BYTES, SEGMENT_HEADER_BYTES, SegmentHeader,
};
use crate::options::{WRITES_IN_FLIGHT_MAX, WalOptions, WhenEmpty};
use crate::scan::{Beyond, Expected, Place, Scan, watermark_sane};
use crate::table::{Facts, Label, Verdict};
use core::fmt;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use synod_types::{Location, LogPosition, SegmentId};

/// A record as recovery found it.
#[derive(Clone, Copy, Debug)]
pub struct RecordView<'a> {
    /// Its bytes, as appended.
    pub bytes: &'a [u8],
    /// Where they lie.
    pub location: Location,
}

/// What recovery found in one segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SegmentReport {
    /// The segment.
    pub segment: SegmentId,
    /// Its generation.
    pub generation: u64,
    /// Blocks that count.
    pub block_count: u64,
    /// Records in them.
    pub record_count: u64,
    /// Bytes of those records.
    pub record_bytes: u64,
    /// Where its last block that counts ends.
    pub end: u32,
}

/// What recovery decided about the end of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TailReport {
    /// The row of the decision table that fitted.
    pub label: Label,
    /// What that means.
    pub verdict: Verdict,
    /// The facts it was chosen by.
    pub facts: Facts,
    /// Where the next block would have been.
    pub segment: SegmentId,
    /// Its offset.
    pub offset: u32,
    /// The last block that counts; 0 for none.
    pub sequence: u64,
    /// Blocks seen beyond the end, never acknowledged and now discarded.
    pub discarded_count: u64,
}

/// What recovery did. Prints as a few lines.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct RecoveryReport {
    /// The segments that were read, in log order.
    pub segments: Vec<SegmentReport>,
    /// The end; `None` for a log that was just created.
    pub tail: Option<TailReport>,
    /// Segments that are not part of the log any more; they will be used again.
    pub unused: Vec<SegmentId>,
}

impl RecoveryReport {
    /// Records handed to the caller.
    pub fn record_count(&self) -> u64 {
        self.segments.iter().map(|segment| segment.record_count).sum()
    }
    /// Blocks they lay in.
    pub fn block_count(&self) -> u64 {
        self.segments.iter().map(|segment| segment.block_count).sum()
    }
    /// Bytes of the records.
    pub fn record_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.record_bytes).sum()
    }
}

impl fmt::Display for RecoveryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(tail) = &self.tail else { return f.write_str("new log") };
        write!(
            f,
            "{}: {} records ({} bytes) in {} blocks of {} segments, last block {}, ends at {} offset {}",
            tail.label,
            self.record_count(),
            self.record_bytes(),
            self.block_count(),
            self.segments.len(),
            tail.sequence,
            tail.segment,
            tail.offset
        )?;
        if tail.discarded_count > 0 {
            write!(f, ", {} unacknowledged blocks discarded", tail.discarded_count)?;
        }
        if !self.unused.is_empty() {
            write!(f, ", {} unused segments", self.unused.len())?;
        }
        Ok(())
    }
}

/// Where the log goes on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Recovered {
    pub report: RecoveryReport,
    pub continues: Continues,
    /// The blocks up to that one.
    pub chain: Chain,
    /// The segment that holds that block; 0 for none.
    pub previous: SegmentId,
    pub segment_next: SegmentId,
    pub generation_next: u64,
    /// Segments that hold records: those that were read, and those before the start, which a checkpoint may point into.
    /// With their generations.
    pub live: BTreeMap<SegmentId, u64>,
    /// Segments outside the log that are worth recycling, newest first: in that order their loss, one by one, never breaks
    /// a link.
    pub recyclable: Vec<SegmentId>,
    /// Segments outside the log of another size.
    pub removable: Vec<SegmentId>,
}

/// Reads the whole log.
pub(crate) fn recover<D: Disk>(
    disk: &mut D,
    options: &WalOptions,
    mut visit: impl FnMut(RecordView<'_>),
) -> Result<Recovered, OpenError> {
    let mut ids = disk.list().map_err(io_error("list", disk.describe(None)))?;
    ids.sort_unstable();
    let Some(&newest) = ids.last() else {
        return match options.when_empty {
            WhenEmpty::Create => Ok(fresh()),
            WhenEmpty::Refuse => Err(OpenError::Empty { place: disk.describe(None) }),
        };
    };
    let from = options.replay_from.unwrap_or(SegmentId::new(0));
    let settled: Vec<_> = ids.iter().copied().filter(|&id| id >= from).collect();
    disk.settle(&settled).map_err(io_error("sync", disk.describe(None)))?;

    let links = links(disk, options, &ids, newest)?;
    let mut walk = Walk::new(options);
    for (index, header) in links.iter().enumerate() {
        let image =
            disk.image(header.segment).map_err(io_error("read", disk.describe(Some(header.segment))))?;
        if image.len() as u64 != u64::from(header.size) {
            let facts = Facts { segment_bad: true, ..Facts::default() };
            return Err(refusal(
                disk,
                facts,
                header.segment,
                0,
                "the file changed its size while it was read",
            ));
        }
        let scan =
            Scan { bytes: &image, header, key: Key::new(&options.tag, options.core, header.generation) };
        walk.segment(&scan, links.get(index + 1), &mut visit);
    }
    let end = walk.finish(&links);
    let row = end.facts.decide();
    if row.verdict == Verdict::Refuse {
        return Err(refusal(disk, end.facts, end.segment, end.offset, &end.detail()));
    }

    let last = end.last_segment;
    let inside: BTreeSet<_> = links.iter().map(|header| header.segment).filter(|&id| id <= last).collect();
    let outside: Vec<_> =
        ids.iter().rev().copied().filter(|&id| id >= from && !inside.contains(&id)).collect();
    let (mut recyclable, mut removable) = (Vec::new(), Vec::new());
    for &id in &outside {
        let head = disk.head(id).map_err(io_error("read", disk.describe(Some(id))))?;
        let usable = head.size == u64::from(options.segment_bytes);
        if usable { recyclable.push(id) } else { removable.push(id) }
    }
    let mut live: BTreeMap<_, _> = links
        .iter()
        .filter(|header| inside.contains(&header.segment))
        .map(|header| (header.segment, header.generation))
        .collect();
    for &id in ids.iter().filter(|&&id| id < from) {
        live.insert(id, read_header(disk, options, id)?.generation);
    }
    let newest_generation = links.last().map_or(0, |header| header.generation);
    Ok(Recovered {
        report: RecoveryReport {
            segments: end.segments,
            tail: Some(TailReport {
                label: row.label,
                verdict: row.verdict,
                facts: end.facts,
                segment: end.segment,
                offset: end.offset,
                sequence: end.last.sequence,
                discarded_count: end.beyond.block_count + u64::from(end.beyond.begun),
            }),
            unused: outside,
        },
        continues: end.last,
        chain: end.chain,
        previous: last,
        segment_next: SegmentId::new(newest.get() + 1),
        generation_next: newest_generation + 1,
        live,
        recyclable,
        removable,
    })
}

fn fresh() -> Recovered {
    Recovered {
        report: RecoveryReport::default(),
        continues: Continues { sequence: 0, crc: 0 },
        chain: Chain::default(),
        previous: SegmentId::new(0),
        segment_next: SegmentId::new(1),
        generation_next: 1,
        live: BTreeMap::new(),
        recyclable: Vec::new(),
        removable: Vec::new(),
    }
}

/// The headers of the log's segments in log order, by following `previous` back from the newest.
fn links<D: Disk>(
    disk: &mut D,
    options: &WalOptions,
    ids: &[SegmentId],
    newest: SegmentId,
) -> Result<Vec<SegmentHeader>, OpenError> {
    let mut links: Vec<SegmentHeader> = Vec::new();
    let mut id = newest;
    loop {
        let header = read_header(disk, options, id)?;
        let newer_generation = links.last().map_or(u64::MAX, |newer| newer.generation);
        if header.generation >= newer_generation || header.previous >= id {
            let facts = Facts { segment_bad: true, ..Facts::default() };
            return Err(refusal(disk, facts, id, 0, "its header contradicts that of a newer segment"));
        }
        links.push(header);
        if options.replay_from == Some(id) {
            break;
        }
        let missing = match options.replay_from {
            None if header.previous.get() == 0 => break,
            None => header.previous,
            Some(from) if header.previous < from => from,
            Some(_) => header.previous,
        };
        if ids.binary_search(&header.previous).is_err()
            || header.previous < options.replay_from.unwrap_or_default()
        {
            let facts = Facts { link_broken: true, ..Facts::default() };
            let detail = format!("{} follows upon it, but it is not there", disk.describe(Some(id)));
            return Err(refusal(disk, facts, missing, 0, &detail));
        }
        id = header.previous;
    }
    links.reverse();
    Ok(links)
}

fn read_header<D: Disk>(
    disk: &mut D,
    options: &WalOptions,
    id: SegmentId,
) -> Result<SegmentHeader, OpenError> {
    let file = disk.describe(Some(id));
    let head = disk.head(id).map_err(io_error("read", file.clone()))?;
    let damaged = |disk: &D, detail: &str| {
        refusal(disk, Facts { segment_bad: true, ..Facts::default() }, id, 0, detail)
    };
    let header = match SegmentHeader::decode(&head.page) {
        Ok(header) => header,
        Err(BadSegmentHeader::Damaged(detail)) => return Err(damaged(disk, detail)),
        Err(BadSegmentHeader::Version(found)) => {
            return Err(OpenError::Version { file, found, expected: FORMAT_VERSION });
        }
    };
    if header.tag != options.tag {
        return Err(OpenError::Foreign { file });
    }
    if header.core != options.core {
        return Err(OpenError::WrongCore { file, found: header.core, expected: options.core });
    }
    if header.segment != id {
        return Err(damaged(disk, &format!("it is named {id} and its header says {}", header.segment)));
    }
    if u64::from(header.size) != head.size
        || header.size < 2 * PAGE_BYTES
        || !header.size.is_multiple_of(PAGE_BYTES)
    {
        return Err(damaged(disk, &format!("it has {} bytes, its header says {}", head.size, header.size)));
    }
    Ok(header)
}

/// A chain that goes on, or the place where it did not.
enum State {
    /// The next block lies in the current segment or is the first of the next one.
    Going,
    /// The current segment has no more blocks of the chain. What is left in it was looked at; whether this is the end is
    /// decided by the first block of the next segment.
    Paused(Stop),
    /// The chain ended.
    Stopped(Stop),
}

struct Stop {
    segment: SegmentId,
    offset: u32,
    /// No block at all can lie here: the segment is full.
    full: bool,
    blank: bool,
    recycled: bool,
    beyond: Beyond,
}

struct Walk<'a> {
    options: &'a WalOptions,
    state: State,
    expected: Option<Expected>,
    last: Continues,
    chain: Chain,
    last_segment: SegmentId,
    /// Highest block that a later segment continues after.
    continued: u64,
    segments: Vec<SegmentReport>,
}

struct End {
    facts: Facts,
    segment: SegmentId,
    offset: u32,
    last: Continues,
    chain: Chain,
    last_segment: SegmentId,
    beyond: Beyond,
    continued: u64,
    segments: Vec<SegmentReport>,
}

impl End {
    fn detail(&self) -> String {
        let expected = self.last.sequence + 1;
        let proof = self.beyond.watermark_max.max(self.continued);
        let mut detail = format!("block {expected} is not readable there");
        if proof >= expected {
            detail += &format!(", and everything up to block {proof} was durable once");
        }
        if self.beyond.sequence_max > expected {
            detail += &format!("; the newest intact block seen beyond is {}", self.beyond.sequence_max);
        }
        detail
    }
}

impl<'a> Walk<'a> {
    fn new(options: &'a WalOptions) -> Self {
        Self {
            options,
            state: State::Going,
            expected: None,
            last: Continues { sequence: 0, crc: 0 },
            chain: Chain::default(),
            last_segment: SegmentId::new(0),
            continued: 0,
            segments: Vec::new(),
        }
    }

    /// Takes the next segment of the log. `next` is the one after it.
    fn segment(
        &mut self,
        scan: &Scan<'_>,
        next: Option<&SegmentHeader>,
        visit: &mut impl FnMut(RecordView<'_>),
    ) {
        let header = scan.header;
        self.segments.push(SegmentReport {
            segment: header.segment,
            generation: header.generation,
            block_count: 0,
            record_count: 0,
            record_bytes: 0,
            end: SEGMENT_HEADER_BYTES,
        });
        if let Some(continues) = header.continues {
            self.continued = self.continued.max(continues.sequence);
        }
        if self.segments.len() == 1 {
            self.begin(scan);
        }
        let Some(expected) = self.expected else {
            return self.stop_unreadable_start(scan);
        };
        match std::mem::replace(&mut self.state, State::Going) {
            State::Going => self.follow(scan, next, visit),
            State::Paused(mut stop) => {
                if self.fits(scan.place(SEGMENT_HEADER_BYTES)) {
                    if stop.beyond.saw_any() {
                        // The chain goes on here, so nothing of it can lie in what was left of the segment before.
                        stop.beyond.misfit = true;
                        self.state = State::Stopped(stop);
                    } else {
                        self.follow(scan, next, visit);
                    }
                    return;
                }
                stop.beyond.absorb(scan.beyond(SEGMENT_HEADER_BYTES, expected, true));
                if stop.full {
                    let (segment, offset) = (header.segment, SEGMENT_HEADER_BYTES);
                    let (blank, recycled) = (scan.blank(offset), header.recycled);
                    stop = Stop { segment, offset, full: false, blank, recycled, beyond: stop.beyond };
                }
                self.state = State::Stopped(stop);
            }
            State::Stopped(mut stop) => {
                stop.beyond.absorb(scan.beyond(SEGMENT_HEADER_BYTES, expected, false));
                self.state = State::Stopped(stop);
            }
        }
    }

    /// What the first segment says about its first block.
    fn begin(&mut self, scan: &Scan<'_>) {
        if let Some(continues) = scan.header.continues {
            // At the very beginning nothing comes before; at a later start the block before it is simply not looked at.
            self.last = continues;
            self.chain = Chain::after(LogPosition { sequence: continues.sequence, crc: continues.crc });
            self.last_segment = scan.header.previous;
            self.expected = Some(Expected { sequence: continues.sequence + 1, previous_crc: continues.crc });
        } else if let Place::Intact { header, .. } = scan.place(SEGMENT_HEADER_BYTES)
            && self.options.replay_from.is_some()
            && header.sequence > 0
        {
            let (sequence, crc) = (header.sequence - 1, header.previous_crc);
            self.last = Continues { sequence, crc };
            self.chain = Chain::after(LogPosition { sequence, crc });
            self.expected = Some(Expected { sequence: header.sequence, previous_crc: header.previous_crc });
        }
    }

    fn stop_unreadable_start(&mut self, scan: &Scan<'_>) {
        if matches!(self.state, State::Going) {
            let beyond = Beyond { misfit: true, ..Beyond::default() };
            let (segment, offset) = (scan.header.segment, SEGMENT_HEADER_BYTES);
            self.state =
                State::Stopped(Stop { segment, offset, full: false, blank: false, recycled: false, beyond });
        }
    }

    /// Whether the block there is the next one of the chain.
    fn fits(&self, place: Place) -> bool {
        match (place, self.expected) {
            (Place::Intact { header, .. }, Some(expected)) => {
                header.sequence == expected.sequence
                    && header.previous_crc == expected.previous_crc
                    && watermark_sane(&header)
            }
            _ => false,
        }
    }

    /// Takes blocks of one segment as long as the chain holds.
    fn follow(
        &mut self,
        scan: &Scan<'_>,
        next: Option<&SegmentHeader>,
        visit: &mut impl FnMut(RecordView<'_>),
    ) {
        let segment = scan.header.segment;
        let cut = next.and_then(|header| header.continues);
        let mut offset = SEGMENT_HEADER_BYTES;
        loop {
            if let Some(cut) = cut
                && self.last.sequence >= cut.sequence
            {
                // Everything behind the cut is dead. Before it the chain must have come out at the very same block.
                if self.last != cut {
                    let beyond = Beyond { misfit: true, ..Beyond::default() };
                    self.state = State::Stopped(Stop {
                        segment,
                        offset,
                        full: false,
                        blank: false,
                        recycled: false,
                        beyond,
                    });
                }
                return;
            }
            match scan.place(offset) {
                place @ Place::Intact { header, crc } if self.fits(place) => {
                    self.take(scan, &header, crc, visit);
                    offset += header.len;
                }
                _ => break,
            }
        }
        // `take` set what is expected next.
        let Some(expected) = self.expected else { return };
        self.state = State::Paused(Stop {
            segment,
            offset,
            full: offset as usize == scan.bytes.len(),
            blank: scan.blank(offset),
            recycled: scan.header.recycled,
            beyond: scan.beyond(offset, expected, true),
        });
    }

    fn take(
        &mut self,
        scan: &Scan<'_>,
        header: &crate::layout::BlockHeader,
        crc: u32,
        visit: &mut impl FnMut(RecordView<'_>),
    ) {
        let segment = scan.header.segment;
        let Some(report) = self.segments.last_mut() else { return };
        scan.records(header, |offset, bytes| {
            report.record_count += 1;
            report.record_bytes += bytes.len() as u64;
            // A record is shorter than its segment, so than 4 GiB.
            visit(RecordView { bytes, location: Location { segment, offset, len: bytes.len() as u32 } });
        });
        report.block_count += 1;
        report.end = header.offset + header.len;
        self.last = Continues { sequence: header.sequence, crc };
        self.chain.push(LogPosition { sequence: header.sequence, crc });
        self.last_segment = segment;
        self.expected = Some(Expected { sequence: header.sequence + 1, previous_crc: crc });
    }

    fn finish(self, links: &[SegmentHeader]) -> End {
        let stop = match self.state {
            State::Paused(stop) | State::Stopped(stop) => stop,
            // The last segment has no successor with a cut, so `follow` paused; and there is a first segment.
            State::Going => unreachable!("recovery of {} segments came to no end", links.len()),
        };
        let expected = self.last.sequence + 1;
        let mut beyond = stop.beyond;
        // A start that the caller named must count itself, else the link that is made here would go back beyond it.
        beyond.misfit |= self.options.replay_from.is_some() && self.segments[0].block_count == 0;
        let facts = Facts {
            segment_bad: false,
            link_broken: false,
            misfit: beyond.misfit,
            proven_durable: beyond.watermark_max >= expected || self.continued >= expected,
            far_beyond: beyond.sequence_max >= expected + WRITES_IN_FLIGHT_MAX as u64,
            valid_beyond: beyond.block_count > 0,
            begun: beyond.begun,
            blank: stop.blank,
            recycled: stop.recycled,
        };
        End {
            facts,
            segment: stop.segment,
            offset: stop.offset,
            last: self.last,
            chain: self.chain,
            last_segment: self.last_segment,
            beyond,
            continued: self.continued,
            segments: self.segments,
        }
    }
}

fn refusal<D: Disk>(disk: &D, facts: Facts, segment: SegmentId, offset: u32, detail: &str) -> OpenError {
    OpenError::Corrupt {
        label: facts.decide().label,
        segment,
        file: disk.describe(Some(segment)),
        offset: u64::from(offset),
        detail: detail.to_owned(),
    }
}

fn io_error(operation: &'static str, file: String) -> impl FnOnce(io::Error) -> OpenError {
    move |source| OpenError::Io { operation, file, source }
}
