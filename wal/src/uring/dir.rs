//! The directory of one core's log: names, lock, and the blocking reads that recovery does before serving.
//!
//! ```text
//!   0000000007.seg   a segment; its name appears only after its header is on disk
//!   0000000008.tmp   a segment in preparation; removed at open
//!   lock             locked by the process that uses the log
//!   probe            see `prime`
//! ```

use super::sys::map_segment;
use crate::disk::SegmentHead;
use crate::layout::SEGMENT_HEADER_BYTES;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read};
use std::ops::Deref;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use synod_types::SegmentId;

/// A locked log directory.
pub(super) struct Dir {
    path: PathBuf,
    /// Kept open to hold the lock.
    _lock: File,
}

impl Dir {
    /// Creates the directory if it does not exist, locks it, and removes segments that were left half made.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        if !path.is_dir() {
            fs::create_dir_all(path)?;
            if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                sync_dir(parent)?;
            }
        }
        let lock = File::create(path.join("lock"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let message = format!("{} is in use by another process", path.display());
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, message));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let dir = Self { path: path.to_owned(), _lock: lock };
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let path = entry.path();
            // A directory is not ours and stays. If it is in the way of a segment, making that segment fails
            // with an error and is retried.
            if path.extension().is_some_and(|extension| extension == "tmp") && !entry.file_type()?.is_dir() {
                fs::remove_file(path)?;
            }
        }
        sync_dir(path)?;
        Ok(dir)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn segment(&self, segment: SegmentId) -> PathBuf {
        segment_path(&self.path, segment)
    }

    pub(super) fn list(&self) -> io::Result<Vec<SegmentId>> {
        let mut segments = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            if let Some(segment) = name.to_str().and_then(segment_of) {
                segments.push(segment);
            }
        }
        Ok(segments)
    }

    /// Syncs these segments and the directory. A file that was written and never synced could be read now and
    /// be gone after the next crash.
    pub(super) fn settle(&self, segments: &[SegmentId]) -> io::Result<()> {
        for &segment in segments {
            File::open(self.segment(segment))?.sync_all()?;
        }
        sync_dir(&self.path)
    }

    pub(super) fn head(&self, segment: SegmentId) -> io::Result<SegmentHead> {
        let file = File::open(self.segment(segment))?;
        let size = file.metadata()?.len();
        let mut page = Vec::with_capacity(SEGMENT_HEADER_BYTES as usize);
        file.take(u64::from(SEGMENT_HEADER_BYTES)).read_to_end(&mut page)?;
        debug_assert!(page.len() <= SEGMENT_HEADER_BYTES as usize, "more than a page was read");
        Ok(SegmentHead { size, page })
    }

    pub(super) fn map(&self, segment: SegmentId) -> io::Result<MappedSegment> {
        let file = File::open(self.segment(segment))?;
        read_through(&file)?;
        Ok(MappedSegment(map_segment(&file)?))
    }
}

/// A segment mapped into memory, read-only.
pub struct MappedSegment(memmap2::Mmap);

impl Deref for MappedSegment {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// Reads a file once from beginning to end, so that an unreadable page gives an error here instead of a
/// signal in the mapping.
fn read_through(file: &File) -> io::Result<()> {
    let mut chunk = vec![0; 1 << 20];
    let mut at = 0;
    loop {
        match file.read_at(&mut chunk, at)? {
            0 => return Ok(()),
            count => at += count as u64,
        }
    }
}

/// The path of a segment.
pub(super) fn segment_path(dir: &Path, segment: SegmentId) -> PathBuf {
    dir.join(format!("{:010}.seg", segment.get()))
}

/// The path where a segment is prepared.
pub(super) fn temporary_path(dir: &Path, segment: SegmentId) -> PathBuf {
    dir.join(format!("{:010}.tmp", segment.get()))
}

/// Makes the names in a directory durable.
pub(super) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn segment_of(name: &str) -> Option<SegmentId> {
    let digits = name.strip_suffix(".seg")?;
    let number: u32 = digits.parse().ok()?;
    let plain = digits.len() == 10 && digits.bytes().all(|byte| byte.is_ascii_digit());
    let segment = (plain && number > 0).then_some(SegmentId::new(number))?;
    debug_assert!(segment_path(Path::new(""), segment) == Path::new(name), "a name is read as written");
    Some(segment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_are_segments() {
        assert_eq!(segment_of("0000000007.seg"), Some(SegmentId::new(7)));
        for name in
            ["0000000000.seg", "7.seg", "+000000007.seg", "0000000007.tmp", "9999999999.seg", ".seg", "lock"]
        {
            assert_eq!(segment_of(name), None, "{name}");
        }
    }
}
