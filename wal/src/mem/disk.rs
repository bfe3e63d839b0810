//! The simulated disk as the log sees it.

use super::state::{MemState, What};
use crate::disk::{Completion, Disk, IoId, SegmentHead, SegmentPlan};
use std::cell::{RefCell, RefMut};
use std::io;
use std::rc::Rc;
use synod_types::SegmentId;

/// The disk as the log sees it. It stops working after a crash, or when another log is attached.
pub struct MemDisk {
    state: Rc<RefCell<MemState>>,
    attachment: u64,
}

impl MemDisk {
    /// A handle for the log that is attached from now on.
    pub(super) fn attach(state: &Rc<RefCell<MemState>>) -> Self {
        let attachment = state.borrow().attachment;
        Self { state: Rc::clone(state), attachment }
    }

    /// The state, while this is the log that is attached.
    fn state(&self) -> Option<RefMut<'_, MemState>> {
        let state = self.state.borrow_mut();
        assert!(self.attachment <= state.attachment, "a log of the future");
        (state.attachment == self.attachment).then_some(state)
    }
}

impl Disk for MemDisk {
    type Buf = Vec<u8>;
    type Bytes = Vec<u8>;
    type Image = Vec<u8>;

    fn alloc(&mut self, len: usize) -> Vec<u8> {
        assert!(len.is_multiple_of(4096), "a buffer is a multiple of pages");
        // Not zeros, so that a log that forgets to clear its padding is noticed.
        vec![0xA5; len]
    }

    fn trim(buf: &mut Vec<u8>, len: usize) {
        assert!(len <= buf.len() && len.is_multiple_of(4096), "a buffer is cut at a page");
        buf.truncate(len);
    }

    fn prepare_segment(&mut self, plan: SegmentPlan) {
        assert!(plan.size.is_multiple_of(4096) && plan.header.len() == 4096, "a segment that is no segment");
        let Some(mut state) = self.state() else { return };
        state.start_prepare(plan);
    }

    fn remove_segment(&mut self, segment: SegmentId) {
        let Some(mut state) = self.state() else { return };
        state.start_remove(segment);
    }

    fn write(&mut self, op: IoId, segment: SegmentId, offset: u32, buf: Rc<Vec<u8>>) {
        assert!(offset.is_multiple_of(4096) && buf.len().is_multiple_of(4096), "unaligned write");
        assert!(!buf.is_empty(), "a write of nothing");
        let Some(mut state) = self.state() else { return };
        state.start(op, What::Write { segment, offset, buf });
    }

    fn read(&mut self, op: IoId, segment: SegmentId, offset: u32, len: u32) {
        assert!(offset.is_multiple_of(4096) && len.is_multiple_of(4096), "unaligned read");
        let Some(mut state) = self.state() else { return };
        state.start(op, What::Read { segment, offset, len });
    }

    fn poll(&mut self) -> Option<Completion<Vec<u8>>> {
        self.state()?.completed.pop_front()
    }

    fn list(&mut self) -> io::Result<Vec<SegmentId>> {
        Ok(self.state.borrow().files.segments())
    }

    fn settle(&mut self, _segments: &[SegmentId]) -> io::Result<()> {
        Ok(())
    }

    fn head(&mut self, segment: SegmentId) -> io::Result<SegmentHead> {
        let state = self.state.borrow();
        match state.files.get(segment) {
            Some(file) => Ok(SegmentHead { size: file.size, page: file.part(0, 4096) }),
            None => Err(io::Error::new(io::ErrorKind::NotFound, "no such segment")),
        }
    }

    fn image(&mut self, segment: SegmentId) -> io::Result<Vec<u8>> {
        match self.state.borrow().files.bytes(segment) {
            Some(bytes) => Ok(bytes),
            None => Err(io::Error::new(io::ErrorKind::NotFound, "no such segment")),
        }
    }

    fn describe(&self, segment: Option<SegmentId>) -> String {
        match segment {
            Some(segment) => format!("mem:{segment}"),
            None => "mem:".to_owned(),
        }
    }
}
