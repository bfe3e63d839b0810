//! Reads from the disk while the log serves: those that wait, those in flight, and their results.
//!
//! This module does not know which blocks are still in memory; the caller has looked there first.

use crate::disk::{Disk, IoId};
use crate::error::ReadError;
use crate::layout::{ChecksumKey, FRAME_BYTES, PAGE_BYTES, align_page, decode_frame};
use crate::options::{READ_BYTES_MAX, READS_MAX, SEGMENT_BYTES_MAX};
use std::collections::{BTreeMap, VecDeque};
use synod_types::Location;

/// A requested read.
pub(crate) struct Wanted {
    pub token: u64,
    pub location: Location,
    /// Set if the bytes end a record that is to be checked: the key of its checksum, and how many of its
    /// bytes come before the requested ones.
    pub record: Option<(ChecksumKey, u32)>,
}

struct Read {
    wanted: Wanted,
    /// The length of what is read.
    bytes: usize,
    /// How many of the bytes that are read come before the requested ones.
    skip: usize,
}

/// The reads of one log.
#[derive(Default)]
pub(crate) struct Reads {
    under_way: BTreeMap<IoId, Read>,
    /// Bytes that they read.
    bytes: usize,
    /// Reads that wait until others end; no read fails because too many are in flight.
    waiting: VecDeque<Wanted>,
    done: VecDeque<(u64, Result<Vec<u8>, ReadError>)>,
    last: u64,
}

impl Reads {
    /// Adds the result of a read that needs no disk.
    pub(crate) fn answer(&mut self, token: u64, result: Result<Vec<u8>, ReadError>) {
        self.done.push_back((token, result));
    }

    /// Starts a read whose location was checked, now or once another read has ended.
    pub(crate) fn want<D: Disk>(&mut self, wanted: Wanted, disk: &mut D) {
        if !self.waiting.is_empty() || self.is_full() {
            return self.waiting.push_back(wanted);
        }
        self.start(wanted, disk);
    }

    fn is_full(&self) -> bool {
        self.under_way.len() >= READS_MAX || self.bytes >= READ_BYTES_MAX
    }

    fn start<D: Disk>(&mut self, wanted: Wanted, disk: &mut D) {
        let location = wanted.location;
        debug_assert!(!self.is_full(), "more reads under way than there may be");
        let first = location.offset - wanted.record.map_or(0, |(_, before)| FRAME_BYTES + before);
        let start = first / PAGE_BYTES * PAGE_BYTES;
        let end = u64::from(location.offset) + u64::from(location.len);
        self.last += 1;
        let op = IoId(self.last);
        let skip = (location.offset - start) as usize;
        debug_assert!(end <= u64::from(SEGMENT_BYTES_MAX), "a read behind the end of any segment");
        // At least one page, so that an empty record is read like any other; `end` was checked, so this fits.
        let len = (align_page(end) as u32 - start).max(PAGE_BYTES);
        let bytes = len as usize;
        let before = self.under_way.insert(op, Read { wanted, bytes, skip });
        debug_assert!(before.is_none(), "two reads of one name");
        self.bytes += bytes;
        debug_assert!(
            start.is_multiple_of(PAGE_BYTES) && len.is_multiple_of(PAGE_BYTES),
            "a read of no pages"
        );
        disk.read(op, location.segment, start, len);
    }

    /// Handles the end of a read; waiting ones start.
    pub(crate) fn on_read<D: Disk>(&mut self, op: IoId, result: std::io::Result<D::Bytes>, disk: &mut D) {
        let Some(read) = self.under_way.remove(&op) else {
            unreachable!("the disk completed a read that was not under way: {}", op.0)
        };
        self.bytes -= read.bytes;
        let result = match result {
            Ok(bytes) => read.take(&bytes),
            Err(error) => Err(ReadError::Disk(error.to_string())),
        };
        self.done.push_back((read.wanted.token, result));
        while !self.is_full()
            && let Some(wanted) = self.waiting.pop_front()
        {
            self.start(wanted, disk);
        }
        assert!(self.under_way.len() <= READS_MAX, "more reads under way than there may be");
        debug_assert!(self.waiting.is_empty() || self.is_full(), "a read waits for nothing");
    }

    /// Takes the result of one finished read.
    pub(crate) fn take(&mut self) -> Option<(u64, Result<Vec<u8>, ReadError>)> {
        self.done.pop_front()
    }
}

impl Read {
    /// Cuts the requested bytes out of the bytes that were read.
    fn take(&self, bytes: &[u8]) -> Result<Vec<u8>, ReadError> {
        let Location { segment, offset, len } = self.wanted.location;
        let end = self.skip + len as usize;
        let wanted = bytes
            .get(self.skip..end)
            .ok_or_else(|| ReadError::Disk(format!("{} bytes came instead of {end}", bytes.len())))?;
        if let Some((key, before)) = self.wanted.record {
            // `Reads::start` began at or before the frame.
            debug_assert!(
                self.skip >= (before + FRAME_BYTES) as usize,
                "a read that begins behind its record"
            );
            let (body, frame) = (self.skip - before as usize, self.skip - (before + FRAME_BYTES) as usize);
            if decode_frame(&bytes[frame..body]) != (before + len, key.crc(&bytes[body..end])) {
                return Err(ReadError::Corrupt { segment, offset: offset - before });
            }
        }
        Ok(wanted.to_vec())
    }
}
