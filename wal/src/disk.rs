//! The interface below the log: what a disk must do. There are two implementations: `uring::UringDisk`, and
//! for tests `mem::MemDisk` (feature `mem`).
//!
//! While the log serves, it submits operations (`write`, `read`, `prepare_segment`, `remove_segment`) and
//! polls for completions (`poll`). None of these calls blocks or knows the time. Only the calls marked
//! "before serving" may block.
//!
//! ```text
//!    Wal ──write──▶ ┌──────┐
//!        ──read───▶ │ Disk │  each answered by exactly one Completion, in any order
//!        ──prepare▶ └──────┘
//!        ◀──poll──
//! ```

use std::{io, ops::Deref, rc::Rc};
use synod_types::SegmentId;

/// Identifies a write or a read. The log chooses it; the completion repeats it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct IoId(pub u64);

/// A segment to be prepared in the background.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SegmentPlan {
    /// Its id; no segment with that id exists.
    pub segment: SegmentId,
    /// Size in bytes, a multiple of 4096.
    pub size: u32,
    /// The first 4096 bytes.
    pub header: Box<[u8]>,
    /// A file of the same size whose contents are no longer needed and whose space may be reused. Only its
    /// header must be rewritten; the rest may stay as it is.
    pub recycle: Option<SegmentId>,
}

/// A finished operation.
#[derive(Debug)]
pub enum Completion<B> {
    /// A write ended. The result is the number of bytes that are durable, or an error. Fewer bytes than
    /// requested count as a failure.
    Wrote {
        /// The write.
        op: IoId,
        /// Its result.
        result: io::Result<usize>,
    },
    /// A read ended.
    Read {
        /// The read.
        op: IoId,
        /// The bytes; may be fewer than requested at the end of a file.
        result: io::Result<B>,
    },
    /// A segment is ready to be written, or could not be made.
    Prepared {
        /// The segment.
        segment: SegmentId,
        /// Its result. After an error the log may request the same segment again, with the same recycled
        /// file; the disk then uses whatever is left of that file.
        result: io::Result<()>,
    },
}

/// The first page of a segment file and the file's size.
#[derive(Clone, Debug)]
pub struct SegmentHead {
    /// Size of the file.
    pub size: u64,
    /// Up to 4096 bytes from its start.
    pub page: Vec<u8>,
}

/// Where a log keeps its segments.
pub trait Disk {
    /// A buffer that can be written from; its start is aligned for the disk.
    type Buf: AsRef<[u8]> + AsMut<[u8]>;
    /// The bytes that a read returns.
    type Bytes: Deref<Target = [u8]>;
    /// The bytes of a whole segment, read in place.
    type Image: Deref<Target = [u8]>;

    /// A buffer of `len` bytes, a multiple of 4096. Its contents are arbitrary.
    fn alloc(&mut self, len: usize) -> Self::Buf;
    /// Cuts a buffer to its first `len` bytes, a multiple of 4096.
    fn trim(buf: &mut Self::Buf, len: usize);

    /// Starts to make a segment. On completion the file exists under its id with the given size, the header
    /// first and the rest zeros (or old bytes, if recycled), and all of that survives a crash. Until then no
    /// file with that id exists. Plans are carried out in order.
    fn prepare_segment(&mut self, plan: SegmentPlan);
    /// Removes a segment at some later time. There is no completion; removals are queued behind earlier
    /// plans.
    fn remove_segment(&mut self, segment: SegmentId);
    /// Starts to write all of `buf`; on completion the bytes survive a crash. The offset and the length are
    /// multiples of 4096, and the segment is prepared.
    fn write(&mut self, op: IoId, segment: SegmentId, offset: u32, buf: Rc<Self::Buf>);
    /// Starts to read `len` bytes; `offset` and `len` are multiples of 4096.
    fn read(&mut self, op: IoId, segment: SegmentId, offset: u32, len: u32);
    /// Takes one finished operation.
    fn poll(&mut self) -> Option<Completion<Self::Bytes>>;

    /// Before serving: all existing segments, in any order.
    ///
    /// # Errors
    /// When the medium fails.
    fn list(&mut self) -> io::Result<Vec<SegmentId>>;
    /// Before serving: makes durable the bytes that a read of these segments would return, and the segments'
    /// names. Otherwise recovery could act on bytes that the next crash takes away.
    ///
    /// # Errors
    /// When the medium fails.
    fn settle(&mut self, segments: &[SegmentId]) -> io::Result<()>;
    /// Before serving: a segment's first page and size.
    ///
    /// # Errors
    /// When the medium fails.
    fn head(&mut self, segment: SegmentId) -> io::Result<SegmentHead>;
    /// Before serving: all bytes of a segment.
    ///
    /// # Errors
    /// When the medium fails.
    fn image(&mut self, segment: SegmentId) -> io::Result<Self::Image>;
    /// The name of a segment (with `None`: of the whole log) for messages to an operator.
    fn describe(&self, segment: Option<SegmentId>) -> String;
}
