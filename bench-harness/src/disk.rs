//! A disk that takes no time and keeps no data. The cost of a log over it is the log's own work.
//!
//! ```text
//!   write ─▶ done at the next poll; the buffer is used again once the log has let go of it
//! ```
//! Buffers are reused because a real disk's are: clearing fresh memory for each block would be most of the
//! time measured.
//!
//! May not: read. The benches keep in memory everything that is read.

use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use synod_types::SegmentId;
use synod_wal::{Completion, Disk, IoId, SegmentHead, SegmentPlan};

/// The disk.
#[derive(Default)]
pub(crate) struct NullDisk {
    /// Completions that were not polled yet.
    done: VecDeque<Completion<Vec<u8>>>,
    /// Buffers that were written, the oldest first. The log still holds the younger ones.
    written: VecDeque<Rc<Buffer>>,
}

/// Memory for a block. A trimmed buffer keeps the rest of its memory for the next use.
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    len: usize,
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}
impl AsMut<[u8]> for Buffer {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.len]
    }
}

impl Disk for NullDisk {
    type Buf = Buffer;
    type Bytes = Vec<u8>;
    type Image = Vec<u8>;

    fn alloc(&mut self, len: usize) -> Buffer {
        match self.written.pop_front().map(Rc::try_unwrap) {
            Some(Ok(used)) if used.bytes.len() >= len => Buffer { len, ..used },
            Some(Err(in_use)) => {
                self.written.push_front(in_use);
                Buffer { bytes: vec![0; len], len }
            }
            // There is none, or it is too short because the log's blocks have grown.
            _ => Buffer { bytes: vec![0; len], len },
        }
    }

    fn trim(buf: &mut Buffer, len: usize) {
        assert!(len <= buf.len, "a buffer is cut, not extended");
        buf.len = len;
    }

    fn prepare_segment(&mut self, plan: SegmentPlan) {
        self.done.push_back(Completion::Prepared { segment: plan.segment, result: Ok(()) });
    }

    fn remove_segment(&mut self, _segment: SegmentId) {}

    fn write(&mut self, op: IoId, _segment: SegmentId, _offset: u32, buf: Rc<Buffer>) {
        self.done.push_back(Completion::Wrote { op, result: Ok(buf.len) });
        self.written.push_back(buf);
    }

    fn read(&mut self, _op: IoId, segment: SegmentId, offset: u32, len: u32) {
        panic!("nothing is cold here: {len} bytes of {segment} at {offset}")
    }

    fn poll(&mut self) -> Option<Completion<Vec<u8>>> {
        self.done.pop_front()
    }

    fn list(&mut self) -> io::Result<Vec<SegmentId>> {
        Ok(Vec::new())
    }

    fn settle(&mut self, _segments: &[SegmentId]) -> io::Result<()> {
        Ok(())
    }

    fn head(&mut self, _segment: SegmentId) -> io::Result<SegmentHead> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn image(&mut self, _segment: SegmentId) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn describe(&self, _segment: Option<SegmentId>) -> String {
        "null:".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use synod_types::CoreId;
    use synod_wal::{Wal, WalOptions};

    #[test]
    fn buffers_go_round() {
        let options = WalOptions::new(CoreId::new(0), [1; 32]);
        let (mut wal, _) = Wal::open(NullDisk::default(), options, |_| {}).expect("an empty log");
        for round in 0..1_000 {
            wal.append(&[&[7_u8; 100]]).expect("room");
            while wal.durable() < wal.appended() {
                wal.submit().expect("submit");
                wal.poll().expect("poll");
            }
            assert!(wal.disk().written.len() <= 1, "round {round}");
        }
    }
}
