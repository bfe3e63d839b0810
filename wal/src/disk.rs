//! The seam below the log: what a disk must do. Two implementations: `uring::UringDisk` and `mem::MemDisk`.
//!
//! Serving goes through submission (`write`, `read`, `prepare_segment`, `remove_segment`) and completion (`poll`). Nothing
//! here blocks, nothing here knows the time. Only the calls under "before serving" may block.
//!
//! ```text
//!    Wal ──write──▶ ┌──────┐
//!        ──read───▶ │ Disk │  each answered by exactly one Completion, in any order
//!        ──prepare▶ └──────┘
//!        ◀──poll──
//! ```

use std::{io, ops::Deref, rc::Rc};
use synod_types::SegmentId;

/// Names a write or a read; chosen by the log, echoed in the completion.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct OpId(pub u64);

/// A segment to be made ready in the background.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SegmentPlan {
    /// Its id; no file of that id exists.
    pub segment: SegmentId,
    /// Size in bytes, a multiple of 4096.
    pub size: u32,
    /// The first 4096 bytes.
    pub header: Box<[u8]>,
    /// A file of the same size whose contents nobody needs any more and whose blocks may be used again. Everything but its
    /// header may be left as it is.
    pub recycle: Option<SegmentId>,
}

/// A finished operation.
#[derive(Debug)]
pub enum Completion<B> {
    /// A write ended: the number of bytes that are durable, or an error. Fewer bytes than asked for count as failure.
    Wrote {
        /// Which.
        op: OpId,
        /// How it ended.
        result: io::Result<usize>,
    },
    /// A read ended.
    Read {
        /// Which.
        op: OpId,
        /// The bytes; may be fewer than asked for at the end of a file.
        result: io::Result<B>,
    },
    /// A segment is ready to be written, or could not be made.
    Prepared {
        /// Which.
        segment: SegmentId,
        /// How it ended. After an error the same segment may be asked for again, of the same recycled file: as much of that as
        /// is left is used.
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
    /// What a read gives.
    type Bytes: Deref<Target = [u8]>;
    /// A whole segment, in place.
    type Image: Deref<Target = [u8]>;

    /// A buffer of `len` bytes, a multiple of 4096. Its contents are arbitrary.
    fn alloc(&mut self, len: usize) -> Self::Buf;
    /// Cuts a buffer to its first `len` bytes, a multiple of 4096.
    fn trim(buf: &mut Self::Buf, len: usize);

    /// Starts to make a segment: on completion the file exists under its id with the given size, header first and the
    /// rest zero (or, if recycled, old bytes), and all of that survives a crash. Until then no file of that id exists.
    /// Plans are carried out in order.
    fn prepare_segment(&mut self, plan: SegmentPlan);
    /// Removes a segment some time. Not completed to the caller; carried out in order with plans.
    fn remove_segment(&mut self, segment: SegmentId);
    /// Starts to write all of `buf`; on completion the bytes survive a crash. `offset` and length are multiples of 4096,
    /// the segment was prepared.
    fn write(&mut self, op: OpId, segment: SegmentId, offset: u32, buf: Rc<Self::Buf>);
    /// Starts to read `len` bytes; both numbers are multiples of 4096.
    fn read(&mut self, op: OpId, segment: SegmentId, offset: u32, len: u32);
    /// Takes one finished operation.
    fn poll(&mut self) -> Option<Completion<Self::Bytes>>;

    /// Before serving: every segment there is, in any order.
    ///
    /// # Errors
    /// When the medium fails.
    fn list(&mut self) -> io::Result<Vec<SegmentId>>;
    /// Before serving: makes durable whatever a read of these segments would return, and their names; without that,
    /// recovery could act on bytes that the next crash takes away.
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
    /// What to call a segment, or with `None` the whole log, in messages to people.
    fn describe(&self, segment: Option<SegmentId>) -> String;
}
