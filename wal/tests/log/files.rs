//! What the real disk leaves in its directory, and how it opens it.

use crate::rig::{DiskRig, Rig, append, open, read, record, run_disk, run_mem, settle, small};
use std::io;
use std::path::Path;
use std::rc::Rc;
use synod_types::{CoreId, SegmentId};
use synod_wal::mem::{MemDisk, MemImage, MemOptions};
use synod_wal::uring::{UringDisk, UringOptions, probe_io_uring};
use synod_wal::{Completion, Disk, IoId, Label, OpenError, SegmentHead, SegmentPlan, Wal, WalOptions};

const FIXTURE: &[u8] = include_bytes!("../fixtures/format-2.seg");
const FIXTURE_1: &[u8] = include_bytes!("../fixtures/format-1.seg");

#[test]
fn io_uring_is_found_where_the_other_tests_use_it() {
    probe_io_uring().expect("io_uring");
}

#[test]
fn segments_are_written_past_the_cache_and_durably() {
    run_disk("flags", async |rig| {
        let (mut wal, _, _) = open(rig.disk().await, small()).expect("open");
        let (_, location) = append(&mut wal, b"to be safe");
        settle(rig, &mut wal).await;
        let path = rig.path.join(format!("{:010}.seg", location.segment.get()));
        let flags = flags_of_open_file(&path);
        for (flag, name) in [(libc::O_DIRECT, "O_DIRECT"), (libc::O_DSYNC, "O_DSYNC")] {
            assert_eq!(flags & flag, flag, "{name} is missing from {flags:o}");
        }
        assert_eq!(read(rig, &mut wal, location).await, b"to be safe");
    });
}

/// The flags with which this process has a file open for writing.
fn flags_of_open_file(path: &Path) -> i32 {
    let path = path.canonicalize().expect("the file exists");
    for entry in std::fs::read_dir("/proc/self/fd").expect("proc") {
        let entry = entry.expect("proc").path();
        if std::fs::read_link(&entry).is_ok_and(|target| target == path) {
            let info = Path::new("/proc/self/fdinfo").join(entry.file_name().expect("a number"));
            let info = std::fs::read_to_string(info).expect("fdinfo");
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).expect("flags").trim();
            return i32::from_str_radix(flags, 8).expect("octal");
        }
    }
    panic!("{} is not open", path.display());
}

#[test]
fn a_directory_is_used_once_at_a_time() {
    run_disk("lock", async |rig| {
        let disk = rig.disk().await;
        let options = UringOptions { wake: Rc::new(|| {}), background_cpus: vec![0] };
        let error = UringDisk::open(&rig.path, options).await.map(drop).expect_err("it is in use");
        assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
        assert!(error.to_string().contains("in use"), "{error}");
        drop(disk);
        drop(rig.disk().await);
    });
}

#[test]
fn what_was_half_made_is_removed_and_strangers_are_left_alone() {
    run_disk("leftovers", async |rig| {
        let (mut wal, _, _) = open(rig.disk().await, small()).expect("open");
        append(&mut wal, b"x");
        settle(rig, &mut wal).await;
        drop(wal);
        drop(rig.disk().await);
        std::fs::write(rig.path.join("0000000099.tmp"), [1; 100]).expect("write");
        std::fs::write(rig.path.join("notes.txt"), "mine").expect("write");
        std::fs::write(rig.path.join("99.seg"), [1; 100]).expect("write");
        let (_, records, _) = open(rig.disk().await, small()).expect("open");
        assert_eq!(records.len(), 1);
        assert!(!rig.path.join("0000000099.tmp").exists());
        assert!(rig.path.join("notes.txt").exists() && rig.path.join("99.seg").exists());
    });
}

#[test]
fn reserved_space_becomes_the_first_segments() {
    run_disk("reserve", async |rig| {
        let size = small().segment_bytes;
        synod_wal::uring::reserve(&rig.path, size, 2).expect("reserve");
        // It has another size, so it is not used and stays as it is.
        std::fs::write(rig.path.join("000009.spare"), [0; 4096]).expect("write");
        let (mut wal, _, _) = open(rig.disk().await, small()).expect("open");
        append(&mut wal, b"in reserved space");
        settle(rig, &mut wal).await;
        let left = || {
            let names = std::fs::read_dir(&rig.path).expect("list").map(|entry| entry.expect("entry").path());
            names.filter(|path| path.extension().is_some_and(|extension| extension == "spare")).count()
        };
        // The one in use and one of those ahead take the two.
        while left() > 1 {
            rig.work().await;
            wal.poll().expect("poll");
        }
        drop(wal);
        assert_eq!(open(rig.disk().await, small()).expect("open").1.len(), 1);
        assert_eq!(left(), 1);
    });
}

/// Lets the disk work until making a segment has failed, or has succeeded after a failure.
async fn until_failed(rig: &DiskRig, wal: &mut Wal<UringDisk>, failed: bool) {
    while wal.prepare_error().is_some() != failed {
        rig.work().await;
        wal.poll().expect("poll");
        wal.submit().expect("submit");
    }
}

#[test]
fn what_is_in_the_way_of_a_segment_is_named_and_got_over() {
    run_disk("in-the-way", async |rig| {
        let stray = rig.path.join("0000000002.tmp");
        std::fs::create_dir_all(&stray).expect("mkdir");
        let (mut wal, _, _) =
            open(rig.disk().await, small()).expect("a stray directory keeps no log from opening");
        until_failed(rig, &mut wal, true).await;
        let error = wal.prepare_error().expect("failed").to_owned();
        assert!(error.contains(stray.to_str().expect("utf-8")) && error.contains("directory"), "{error}");
        assert!(error.contains(" bytes free in "), "{error}");
        append(&mut wal, b"in the first segment");
        settle(rig, &mut wal).await;
        wal.retry_prepare();
        std::fs::remove_dir(&stray).expect("rmdir");
        let mut tries = 0;
        while wal.prepare_error().is_some() {
            rig.work().await;
            wal.poll().expect("poll");
            wal.retry_prepare();
            tries += 1;
            assert!(tries < 100);
        }
        assert!(rig.path.join("0000000002.seg").is_file());
    });
}

#[test]
fn a_try_that_fails_half_way_keeps_the_file_it_was_to_use_again() {
    use std::os::unix::fs::MetadataExt;
    run_disk("half-way", async |rig| {
        let (mut wal, _, _) = open(rig.disk().await, small()).expect("open");
        let fill = async |wal: &mut Wal<UringDisk>, until: u32| {
            while wal.current_segment().get() < until {
                append(wal, &record(7, 50_000));
                settle(rig, wal).await;
            }
        };
        fill(&mut wal, 2).await;
        let inode = |name: &str| std::fs::metadata(rig.path.join(name)).map(|found| found.ino());
        let used = inode("0000000001.seg").expect("the first segment");
        while inode("0000000004.seg").is_err() {
            rig.work().await;
            wal.poll().expect("poll");
        }
        // The next one is made from the first, and cannot be renamed to its own name in the end.
        assert!(wal.release(SegmentId::new(1)));
        std::fs::create_dir(rig.path.join("0000000005.seg")).expect("mkdir");
        fill(&mut wal, 3).await;
        until_failed(rig, &mut wal, true).await;
        assert!(wal.prepare_error().expect("failed").contains("0000000005.seg"));
        assert_eq!(inode("0000000005.tmp").expect("kept"), used);
        wal.retry_prepare();
        rig.work().await;
        wal.poll().expect("poll");
        assert_eq!(inode("0000000005.tmp").expect("still kept"), used);
        std::fs::remove_dir(rig.path.join("0000000005.seg")).expect("rmdir");
        while wal.prepare_error().is_some() {
            wal.retry_prepare();
            rig.work().await;
            wal.poll().expect("poll");
        }
        assert_eq!(inode("0000000005.seg").expect("made"), used);
        let bytes = std::fs::read(rig.path.join("0000000005.seg")).expect("read");
        assert!(bytes[4096..].iter().any(|&byte| byte != 0), "it was not written anew");
        assert!(inode("0000000005.tmp").is_err());
    });
}

#[test]
fn damage_is_named_by_file_and_offset() {
    run_disk("damage", async |rig| {
        let (mut wal, _, _) = open(rig.disk().await, small()).expect("open");
        let (_, location) = append(&mut wal, b"acknowledged");
        settle(rig, &mut wal).await;
        wal.mark(Vec::new).expect("mark");
        while wal.backlog().block_count > 0 {
            rig.work().await;
            wal.poll().expect("poll");
        }
        drop(wal);
        drop(rig.disk().await);
        let path = rig.path.join(format!("{:010}.seg", location.segment.get()));
        let mut bytes = std::fs::read(&path).expect("read");
        bytes[location.offset as usize] ^= 1;
        std::fs::write(&path, bytes).expect("write");
        match open(rig.disk().await, small()).map(|_| ()) {
            Err(error @ OpenError::Corrupt { label: Label::AckedBlockDamaged, offset: 4096, .. }) => {
                let text = error.to_string();
                assert!(text.contains(path.to_str().expect("utf-8")), "{text}");
                assert!(text.contains("offset 4096 [acked_block_damaged]"), "{text}");
            }
            other => panic!("{other:?}"),
        }
    });
}

fn fixture_options() -> WalOptions {
    let mut options =
        WalOptions::new(CoreId::new(2), *b"cluster, node and incarnation...").with_segments(16 << 10, 4096);
    options.record_bytes_max = 2000;
    options
}

/// A segment that was written with format version 2 and kept: the current program reads it and writes the
/// same bytes. Version 1 is refused by name.
#[test]
fn the_format_is_what_it_was() {
    run_mem(async |rig| {
        let (mut wal, _, _) = open(rig.disk().await, fixture_options()).expect("open");
        for text in ["the first record", "", "the second block's only record"] {
            append(&mut wal, text.as_bytes());
            if text.len() != 16 {
                settle(rig, &mut wal).await;
            }
        }
        let written = rig.image.bytes(SegmentId::new(1)).expect("the first segment");
        assert!(written == FIXTURE, "the format changed: raise FORMAT_VERSION and read both");
    });
    run_mem(async |rig| {
        rig.image.put(SegmentId::new(1), FIXTURE_1.to_vec());
        let refusal = open(rig.disk().await, fixture_options()).map(|_| ()).expect_err("an old log");
        assert!(matches!(refusal, OpenError::Version { found: 1, expected: 2, .. }), "{refusal}");
    });
    run_mem(async |rig| {
        rig.image.put(SegmentId::new(1), FIXTURE.to_vec());
        let (_, records, report) = open(rig.disk().await, fixture_options()).expect("open");
        let texts: Vec<_> =
            records.iter().map(|(bytes, _)| std::str::from_utf8(bytes).expect("text")).collect();
        assert_eq!(texts, ["the first record", "", "the second block's only record"]);
        assert_eq!(records[0].1.offset, 4096 + 64 + 8);
        assert_eq!(report.block_count(), 2);
        rig.image.rot(SegmentId::new(1), records[0].1.offset, 1);
        assert!(matches!(
            open(rig.disk().await, fixture_options()).map(|_| ()),
            Err(OpenError::Corrupt { label: Label::AckedBlockDamaged, offset: 4096, .. })
        ));
    });
}

/// A disk whose directory names every file twice, as one may that is read while it changes.
struct TwiceListed(MemDisk);

impl Disk for TwiceListed {
    type Buf = Vec<u8>;
    type Bytes = Vec<u8>;
    type Image = Vec<u8>;

    fn alloc(&mut self, len: usize) -> Vec<u8> {
        self.0.alloc(len)
    }
    fn trim(buf: &mut Vec<u8>, len: usize) {
        MemDisk::trim(buf, len);
    }
    fn prepare_segment(&mut self, plan: SegmentPlan) {
        self.0.prepare_segment(plan);
    }
    fn remove_segment(&mut self, segment: SegmentId) {
        self.0.remove_segment(segment);
    }
    fn write(&mut self, op: IoId, segment: SegmentId, offset: u32, buf: Rc<Vec<u8>>) {
        self.0.write(op, segment, offset, buf);
    }
    fn read(&mut self, op: IoId, segment: SegmentId, offset: u32, len: u32) {
        self.0.read(op, segment, offset, len);
    }
    fn poll(&mut self) -> Option<Completion<Vec<u8>>> {
        self.0.poll()
    }
    fn list(&mut self) -> io::Result<Vec<SegmentId>> {
        let once = self.0.list()?;
        Ok([once.as_slice(), once.as_slice()].concat())
    }
    fn settle(&mut self, segments: &[SegmentId]) -> io::Result<()> {
        self.0.settle(segments)
    }
    fn head(&mut self, segment: SegmentId) -> io::Result<SegmentHead> {
        self.0.head(segment)
    }
    fn image(&mut self, segment: SegmentId) -> io::Result<Vec<u8>> {
        self.0.image(segment)
    }
    fn describe(&self, segment: Option<SegmentId>) -> String {
        self.0.describe(segment)
    }
}

#[test]
fn a_directory_that_names_a_file_twice_has_it_once() {
    let image = MemImage::new(MemOptions::default(), 5);
    let (mut wal, _, _) = open(image.disk(), small()).expect("open");
    let (_, location) = append(&mut wal, b"once");
    while wal.durable() < wal.appended() {
        wal.submit().expect("submit");
        image.complete_all();
        wal.poll().expect("poll");
    }
    let disk = TwiceListed(image.disk());
    // The segments that were made ahead are in no use any more.
    let mut unused = image.segments();
    unused.retain(|&segment| segment != location.segment);
    unused.reverse();
    assert!(!unused.is_empty());
    let (_, records, report) = open(disk, small()).expect("open");
    assert_eq!(records.len(), 1);
    assert_eq!(report.unused, unused);
}
