//! The files of a simulated disk: what is durable.

use super::random::Random;
use crate::disk::SegmentPlan;
use std::collections::BTreeMap;
use synod_types::{Location, SegmentId};

/// A file; bytes beyond `bytes` are zero.
#[derive(Clone, Default)]
pub(super) struct File {
    pub(super) size: u64,
    bytes: Vec<u8>,
}

/// The files of one disk.
#[derive(Clone, Default)]
pub(super) struct Files(BTreeMap<SegmentId, File>);

/// A copy of a disk's files.
#[derive(Clone)]
pub struct MemCopy(pub(super) Files);

impl Files {
    pub(super) fn get(&self, segment: SegmentId) -> Option<&File> {
        self.0.get(&segment)
    }

    pub(super) fn segments(&self) -> Vec<SegmentId> {
        self.0.keys().copied().collect()
    }

    pub(super) fn used_bytes(&self) -> u64 {
        self.0.values().map(|file| file.size).sum()
    }

    /// All bytes of a file.
    pub(super) fn bytes(&self, segment: SegmentId) -> Option<Vec<u8>> {
        self.0.get(&segment).map(File::whole)
    }

    /// The bytes at `at`; `None` if the file does not have that many.
    pub(super) fn part(&self, at: Location) -> Option<Vec<u8>> {
        let bytes = self.0.get(&at.segment)?.part(at.offset, at.len);
        (bytes.len() == at.len as usize).then_some(bytes)
    }

    /// Replaces all bytes of a file, or creates it.
    pub(super) fn put(&mut self, segment: SegmentId, bytes: Vec<u8>) {
        self.0.insert(segment, File { size: bytes.len() as u64, bytes });
    }

    pub(super) fn remove(&mut self, segment: SegmentId) {
        self.0.remove(&segment);
    }

    /// Makes a segment as planned.
    pub(super) fn make(&mut self, plan: &SegmentPlan) {
        assert!(plan.header.len() as u64 <= u64::from(plan.size), "a segment without room for its header");
        let mut file = match plan.recycle {
            Some(source) => self.0.remove(&source).unwrap_or_default(),
            None => File::default(),
        };
        file.size = u64::from(plan.size);
        file.bytes.truncate(plan.size as usize);
        file.reach(plan.header.len());
        file.bytes[..plan.header.len()].copy_from_slice(&plan.header);
        let before = self.0.insert(plan.segment, file);
        assert!(before.is_none(), "{} was made twice", plan.segment);
    }

    pub(super) fn store(&mut self, segment: SegmentId, offset: u32, bytes: &[u8]) {
        let Some(file) = self.0.get_mut(&segment) else { panic!("write to {segment}, which does not exist") };
        let end = offset as usize + bytes.len();
        assert!(end as u64 <= file.size, "write beyond the end of {segment}");
        file.reach(end);
        file.bytes[offset as usize..end].copy_from_slice(bytes);
    }

    /// Stores some of a write's sectors: the first few, or any subset.
    pub(super) fn tear(&mut self, segment: SegmentId, offset: u32, bytes: &[u8], random: &mut Random) {
        let sector = if random.below(2) == 0 { 512 } else { 4096 };
        let count = bytes.len().div_ceil(sector) as u64;
        let prefix = (random.below(2) == 0).then(|| random.below(count));
        debug_assert!(prefix.is_none_or(|len| len <= count), "a torn write is part of a write");
        for (index, chunk) in bytes.chunks(sector).enumerate() {
            let arrives = match prefix {
                Some(len) => (index as u64) < len,
                None => random.below(2) == 0,
            };
            if arrives {
                self.store(segment, offset + (index * sector) as u32, chunk);
            }
        }
    }

    /// XORs one byte with `mask`.
    ///
    /// # Panics
    /// When there is no such byte.
    pub(super) fn rot(&mut self, segment: SegmentId, offset: u32, mask: u8) {
        let Some(file) = self.0.get_mut(&segment) else { panic!("no such segment: {segment}") };
        assert!(u64::from(offset) < file.size, "offset {offset} outside {segment}");
        let at = offset as usize;
        file.reach(at + 1);
        file.bytes[at] ^= mask;
    }

    pub(super) fn digest(&self) -> u64 {
        let mut digest = 0_u64;
        for (segment, file) in &self.0 {
            let crc = synod_types::checksum::crc32c(&file.whole());
            digest = Random::new(digest ^ u64::from(segment.get()) << 32 ^ u64::from(crc)).next();
        }
        digest
    }
}

impl File {
    fn reach(&mut self, len: usize) {
        debug_assert!(len as u64 <= self.size, "bytes behind the end of a file");
        if self.bytes.len() < len {
            self.bytes.resize(len, 0);
        }
    }
    fn whole(&self) -> Vec<u8> {
        self.part(0, self.size as u32)
    }
    pub(super) fn part(&self, offset: u32, len: u32) -> Vec<u8> {
        let end = (u64::from(offset) + u64::from(len)).min(self.size) as usize;
        let start = (offset as usize).min(end);
        let stored = self.bytes.get(start..end.min(self.bytes.len())).unwrap_or(&[]);
        let mut out = Vec::with_capacity(end - start);
        out.extend_from_slice(stored);
        out.resize(end - start, 0);
        debug_assert!(out.len() <= len as usize, "more bytes than were asked for");
        out
    }
}
