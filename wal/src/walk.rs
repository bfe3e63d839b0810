//! Recovery's walk along the chain: from the first block on, number by number, checksum by checksum, until a
//! block does not fit. Every record on the way is passed to the caller.

use crate::chain::Chain;
use crate::layout::{BlockHeader, Continues, SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::options::{WRITES_IN_FLIGHT_MAX, WalOptions};
use crate::report::{RecordView, SegmentReport};
use crate::scan::{Beyond, BlockPlace, Expected, Scan, watermark_sane};
use crate::table::Facts;
use synod_types::{Location, LogPosition, SegmentId};

/// Whether the chain goes on, or the place where it ended.
enum WalkState {
    /// The next block is in the current segment, or is the first block of the next one.
    Going,
    /// The current segment has no more blocks of the chain, and its rest was scanned. The first block of the
    /// next segment decides whether the chain ends here.
    Paused(Stop),
    /// The chain ended.
    Stopped(Stop),
}

struct Stop {
    segment: SegmentId,
    offset: u32,
    /// The segment is full: no block can be here.
    full: bool,
    blank: bool,
    recycled: bool,
    beyond: Beyond,
}

/// The walk along the chain, block by block through the segments that it is given.
pub(crate) struct Walk<'a> {
    options: &'a WalOptions,
    state: WalkState,
    expected: Option<Expected>,
    last: Continues,
    chain: Chain,
    last_segment: SegmentId,
    /// The highest block that some segment's header says the log continues after.
    continued: u64,
    segments: Vec<SegmentReport>,
}

/// Where the walk ended, and what it found.
pub(crate) struct End {
    pub facts: Facts,
    pub segment: SegmentId,
    pub offset: u32,
    pub last: Continues,
    pub chain: Chain,
    pub last_segment: SegmentId,
    pub beyond: Beyond,
    pub continued: u64,
    pub segments: Vec<SegmentReport>,
}

impl End {
    /// What is wrong at the end, in words.
    pub(crate) fn detail(&self) -> String {
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
    /// A walk at the beginning of a log.
    pub(crate) fn new(options: &'a WalOptions) -> Self {
        Self {
            options,
            state: WalkState::Going,
            expected: None,
            last: Continues { sequence: 0, crc: 0 },
            chain: Chain::default(),
            last_segment: SegmentId::new(0),
            continued: 0,
            segments: Vec::new(),
        }
    }

    /// Takes the next segment of the log. `next` is the one after it.
    pub(crate) fn segment(
        &mut self,
        scan: &Scan<'_>,
        next: Option<&SegmentHeader>,
        visit: &mut impl FnMut(RecordView<'_>),
    ) {
        let header = scan.header;
        assert!(
            self.segments.last().is_none_or(|before| before.segment < header.segment),
            "segments are walked in order"
        );
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
        match std::mem::replace(&mut self.state, WalkState::Going) {
            WalkState::Going => self.follow(scan, next, visit),
            WalkState::Paused(mut stop) => {
                assert!(stop.segment < header.segment, "the walk paused in an earlier segment");
                if self.fits(scan.place(SEGMENT_HEADER_BYTES)) {
                    if stop.beyond.saw_any() {
                        // The chain goes on here, so the rest of the segment before must hold no block.
                        stop.beyond.misfit = true;
                        self.state = WalkState::Stopped(stop);
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
                self.state = WalkState::Stopped(stop);
            }
            WalkState::Stopped(mut stop) => {
                assert!(stop.segment < header.segment, "the chain ended in an earlier segment");
                stop.beyond.absorb(scan.beyond(SEGMENT_HEADER_BYTES, expected, false));
                self.state = WalkState::Stopped(stop);
            }
        }
    }

    /// Determines from the first segment which block to expect first.
    fn begin(&mut self, scan: &Scan<'_>) {
        assert!(self.expected.is_none(), "a log begins once");
        if let Some(continues) = scan.header.continues {
            // At the beginning of the log there is no block before it; at a later start that block is not
            // read.
            self.last = continues;
            self.chain = Chain::after(LogPosition { sequence: continues.sequence, crc: continues.crc });
            self.last_segment = scan.header.previous;
            self.expected = Some(Expected { sequence: continues.sequence + 1, previous_crc: continues.crc });
        } else if let BlockPlace::Intact { header, .. } = scan.place(SEGMENT_HEADER_BYTES)
            && self.options.replay_from.is_some()
            && header.sequence > 0
        {
            let (sequence, crc) = (header.sequence - 1, header.previous_crc);
            self.last = Continues { sequence, crc };
            self.chain = Chain::after(LogPosition { sequence, crc });
            self.expected = Some(Expected { sequence: header.sequence, previous_crc: header.previous_crc });
        }
        assert!(
            self.expected.is_none_or(|expected| expected.sequence == self.last.sequence + 1),
            "the next block follows upon the last"
        );
    }

    fn stop_unreadable_start(&mut self, scan: &Scan<'_>) {
        debug_assert!(self.chain.last().sequence == 0, "blocks were taken from an unreadable start");
        if matches!(self.state, WalkState::Going) {
            debug_assert!(self.segments.len() == 1, "a log starts with its first segment");
            let beyond = Beyond { misfit: true, ..Beyond::default() };
            let (segment, offset) = (scan.header.segment, SEGMENT_HEADER_BYTES);
            self.state = WalkState::Stopped(Stop {
                segment,
                offset,
                full: false,
                blank: false,
                recycled: false,
                beyond,
            });
        }
    }

    /// Whether `place` holds the next block of the chain.
    fn fits(&self, place: BlockPlace) -> bool {
        match (place, self.expected) {
            (BlockPlace::Intact { header, .. }, Some(expected)) => {
                header.sequence == expected.sequence
                    && header.previous_crc == expected.previous_crc
                    && watermark_sane(&header)
            }
            _ => false,
        }
    }

    /// Takes the blocks of one segment for as long as the chain goes on.
    fn follow(
        &mut self,
        scan: &Scan<'_>,
        next: Option<&SegmentHeader>,
        visit: &mut impl FnMut(RecordView<'_>),
    ) {
        assert!(matches!(self.state, WalkState::Going), "the chain has ended");
        let segment = scan.header.segment;
        let cut = next.and_then(|header| header.continues);
        let mut offset = SEGMENT_HEADER_BYTES;
        loop {
            if let Some(cut) = cut
                && self.last.sequence >= cut.sequence
            {
                // Blocks after the cut are not part of the log. The chain must reach the cut at exactly the
                // block that it names.
                if self.last != cut {
                    let beyond = Beyond { misfit: true, ..Beyond::default() };
                    self.state = WalkState::Stopped(Stop {
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
            assert!(offset as usize <= scan.bytes.len(), "a block behind the end of its segment");
            match scan.place(offset) {
                place @ BlockPlace::Intact { header, crc } if self.fits(place) => {
                    self.take(scan, &header, crc, visit);
                    offset += header.len;
                }
                _ => break,
            }
        }
        // `take` set the block that is expected next.
        let Some(expected) = self.expected else { return };
        self.state = WalkState::Paused(Stop {
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
        header: &BlockHeader,
        crc: u32,
        visit: &mut impl FnMut(RecordView<'_>),
    ) {
        let segment = scan.header.segment;
        let Some(report) = self.segments.last_mut() else { return };
        assert!(report.segment == segment && report.end == header.offset, "blocks lie one after the other");
        scan.records(header, |offset, bytes| {
            report.record_count += 1;
            report.record_bytes += bytes.len() as u64;
            // A record is shorter than its segment, and so shorter than 4 GiB.
            visit(RecordView { bytes, location: Location { segment, offset, len: bytes.len() as u32 } });
        });
        report.block_count += 1;
        report.end = header.offset + header.len;
        self.last = Continues { sequence: header.sequence, crc };
        self.chain.push(LogPosition { sequence: header.sequence, crc });
        self.last_segment = segment;
        self.expected = Some(Expected { sequence: header.sequence + 1, previous_crc: crc });
        assert!(
            self.chain.last() == LogPosition { sequence: header.sequence, crc },
            "the chain has moved on"
        );
    }

    /// The result, once all segments of `links` were taken.
    pub(crate) fn finish(self, links: &[SegmentHeader]) -> End {
        let stop = match self.state {
            WalkState::Paused(stop) | WalkState::Stopped(stop) => stop,
            // There is at least one segment, and no cut follows the last one, so `follow` has paused there.
            WalkState::Going => unreachable!("recovery of {} segments came to no end", links.len()),
        };
        assert!(self.segments.len() == links.len(), "every segment is walked once");
        assert!(links.iter().any(|header| header.segment == stop.segment), "the chain ends in no segment");
        assert!(self.chain.last().sequence == self.last.sequence, "the chain ends at the last block");
        let expected = self.last.sequence + 1;
        let mut beyond = stop.beyond;
        // The start segment that the caller named must hold a valid block: otherwise the next segment's
        // `previous` would point to a segment before it.
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
