//! Faults of a running disk: failed and short writes, failed reads, no space for segments, a disk that does
//! not answer.

use crate::rig::{append, open, record, small};
use synod_types::{LogRoom, Lsn, Space};
use synod_wal::mem::{IoFault, MemDisk, MemImage, MemOptions, Pending};
use synod_wal::{AppendError, Durable, ReadError, Wal, WalOptions};

fn ready(image: &MemImage) -> Wal<MemDisk> {
    ready_with(image, small())
}

fn ready_with(image: &MemImage, options: WalOptions) -> Wal<MemDisk> {
    let (mut wal, _, _) = open(image.disk(), options).expect("open");
    image.complete_all();
    assert_eq!(wal.poll(), Ok(None));
    // Make the segments ahead.
    image.complete_all();
    assert_eq!(wal.poll(), Ok(None));
    image.complete_all();
    assert_eq!(wal.poll(), Ok(None));
    assert!(wal.is_ready() && image.pending().is_empty());
    wal
}

fn mem() -> MemImage {
    MemImage::new(MemOptions::default(), 11)
}

fn durable(wal: &mut Wal<MemDisk>) -> Option<Lsn> {
    wal.poll().expect("poll").map(Durable::lsn)
}

#[test]
fn a_failed_or_short_write_ends_the_log_for_good() {
    for fault in [IoFault::Error, IoFault::Short] {
        let image = mem();
        let mut wal = ready(&image);
        let (_, good) = append(&mut wal, b"durable before");
        wal.submit().expect("submit");
        image.complete_all();
        assert_eq!(durable(&mut wal), Some(Lsn::new(1)));
        append(&mut wal, b"fails");
        wal.submit().expect("submit");
        append(&mut wal, b"would succeed");
        wal.submit().expect("submit");
        image.fail_next_write(fault);
        image.complete_all();
        let failed = wal.poll().expect_err("the write failed");
        assert_eq!((failed.sequence, failed.segment), (2, good.segment));
        for _ in 0..2 {
            assert_eq!(wal.poll(), Err(failed.clone()), "even though later writes succeeded");
            assert_eq!(wal.submit(), Err(failed.clone()));
            assert_eq!(wal.mark(Vec::new), Err(failed.clone()));
            assert_eq!(wal.append(&[b"x"]), Err(AppendError::Failed(failed.clone())));
            assert_eq!(wal.durable(), Lsn::new(1));
        }
        assert!(image.pending().iter().all(|pending| !matches!(pending, Pending::Write { .. })), "no retry");
    }
}

#[test]
fn only_full_blocks_are_written_beside_another_one() {
    let image = mem();
    let mut options = small();
    options.small_writes_in_flight = 1;
    let mut wal = ready_with(&image, options);
    append(&mut wal, b"at once");
    wal.submit().expect("submit");
    assert_eq!(wal.backlog().in_flight, 1);
    append(&mut wal, b"gathers");
    wal.submit().expect("submit");
    assert_eq!(wal.backlog().in_flight, 1, "one small write at a time");
    for index in 0..3 {
        append(&mut wal, &record(index, 12 << 10));
    }
    wal.submit().expect("submit");
    assert_eq!((wal.backlog().in_flight, wal.backlog().block_count), (3, 4), "full blocks do not wait");
    image.complete(0);
    image.complete(0);
    image.complete(0);
    assert_eq!(durable(&mut wal), Some(Lsn::new(4)));
    wal.submit().expect("submit");
    assert_eq!((wal.backlog().in_flight, wal.backlog().block_count), (1, 1), "nothing is left behind");
}

#[test]
fn completions_in_any_order_move_only_the_contiguous_prefix() {
    let image = mem();
    let mut wal = ready(&image);
    for index in 0..4 {
        append(&mut wal, &record(index, 50));
        wal.submit().expect("submit");
    }
    assert_eq!(wal.backlog().in_flight, 4);
    append(&mut wal, b"gathers");
    append(&mut wal, b"gathers too");
    wal.submit().expect("submit");
    assert_eq!((wal.backlog().in_flight, wal.backlog().block_count), (4, 5), "all slots are busy");
    image.complete(2);
    assert_eq!(wal.poll(), Ok(None));
    image.complete(2);
    assert_eq!(wal.poll(), Ok(None));
    wal.submit().expect("submit");
    assert_eq!(wal.backlog().in_flight, 3, "what gathered went in one block");
    image.complete(0);
    assert_eq!(durable(&mut wal), Some(Lsn::new(1)));
    image.complete(0);
    assert_eq!(durable(&mut wal), Some(Lsn::new(4)));
    image.complete(0);
    assert_eq!(durable(&mut wal), Some(Lsn::new(6)));
    assert_eq!(wal.poll(), Ok(None));
}

#[test]
fn a_straggler_is_not_overtaken_further_than_recovery_allows_for() {
    let image = mem();
    let mut wal = ready(&image);
    for index in 0..60 {
        append(&mut wal, &record(index, 50));
        wal.submit().expect("submit");
        if image.pending().len() > 1 {
            image.complete(1);
            assert_eq!(wal.poll(), Ok(None));
        }
    }
    assert!(image.pending().len() == 1 && wal.backlog().in_flight == 1, "nothing more is submitted");
    let crashed = mem();
    for segment in image.segments() {
        crashed.put(segment, image.bytes(segment).expect("listed"));
    }
    let (_, records, report) = open(crashed.disk(), small()).expect("the straggler was never acknowledged");
    assert_eq!(records.len(), 0);
    assert_eq!(report.tail.expect("a tail").discarded_count, 15);
    image.complete(0);
    assert_eq!(durable(&mut wal), Some(Lsn::new(16)));
}

#[test]
fn a_disk_that_does_not_answer_fills_the_log_and_no_more() {
    let image = mem();
    let mut wal = ready(&image);
    let bytes = record(1, 3000);
    let mut taken = 0;
    let full = loop {
        wal.submit().expect("submit");
        match wal.append(&[&bytes]) {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
    };
    let AppendError::Full { held } = full else { panic!("{full}") };
    assert!(held <= small().ram_bytes_max && wal.room_bytes() < small().block_bytes_max as usize);
    assert!(wal.backlog().bytes > 3 << 20, "{:?}", wal.backlog());
    assert_eq!(wal.backlog().oldest, Some(Lsn::new(1)));
    assert_eq!(wal.appended(), Lsn::new(taken), "a refused record has no number");
    while wal.durable() < wal.appended() {
        image.complete_all();
        wal.poll().expect("poll");
        wal.submit().expect("submit");
    }
    append(&mut wal, &bytes);
    assert_eq!(wal.room_bytes(), small().ram_bytes_max - small().block_bytes_max as usize);
}

#[test]
fn records_gather_while_no_segment_is_ready_and_keep_their_places() {
    let image = mem();
    let (mut wal, _, _) = open(image.disk(), small()).expect("open");
    assert!(!wal.is_ready());
    let mut written = Vec::new();
    // More than three segments can hold; none of them exists yet.
    for index in 0..200 {
        let bytes = record(index, 4900);
        let (_, location) = append(&mut wal, &bytes);
        wal.submit().expect("submit");
        written.push((bytes, location));
    }
    assert!(wal.backlog().waits_for_segment);
    assert_eq!(wal.backlog().in_flight, 0);
    for (bytes, location) in &written {
        assert_eq!(wal.read_ram(*location), Some(&bytes[..]));
    }
    while wal.durable() < wal.appended() {
        image.complete_all();
        wal.poll().expect("poll");
        wal.submit().expect("submit");
    }
    drop(wal);
    assert!(open(image.disk(), small()).expect("open").1 == written);
}

#[test]
fn a_full_disk_stops_nothing_that_has_room_and_is_got_over() {
    let options = small();
    let size = u64::from(options.segment_bytes);
    let image = MemImage::new(MemOptions { capacity_bytes: 2 * size, ..MemOptions::default() }, 3);
    let (mut wal, _, _) = open(image.disk(), options).expect("open");
    let bytes = record(1, 5000);
    let mut written = 0;
    let full = loop {
        image.complete_all();
        wal.poll().expect("a full disk is no failed write");
        wal.submit().expect("submit");
        match wal.append(&[&bytes]) {
            Ok(_) => written += 1,
            Err(full) => break full,
        }
    };
    assert!(matches!(full, AppendError::Full { .. }));
    assert!(wal.prepare_error().expect("it says why").contains("full"));
    assert!(wal.backlog().waits_for_segment);
    let durable = wal.durable();
    assert!(durable.get() >= 60, "two segments of 256 KiB were filled: {durable}");
    // The disk is still full.
    wal.retry_prepare();
    image.complete_all();
    assert_eq!(wal.poll(), Ok(None));
    assert!(wal.prepare_error().is_some());
    // Now there is space.
    image.configure(|options| options.capacity_bytes = 100 * size);
    wal.retry_prepare();
    while wal.durable() < wal.appended() {
        image.complete_all();
        wal.poll().expect("poll");
        wal.submit().expect("submit");
    }
    assert_eq!(wal.prepare_error(), None);
    assert_eq!(wal.durable(), Lsn::new(written));
    drop(wal);
    assert_eq!(open(image.disk(), small()).expect("open").1.len() as u64, written);
}

#[test]
fn a_released_segment_makes_room_on_a_full_disk() {
    let options = small();
    let capacity_bytes = 3 * u64::from(options.segment_bytes);
    let image = MemImage::new(MemOptions { capacity_bytes, ..MemOptions::default() }, 3);
    let (mut wal, _, _) = open(image.disk(), options).expect("open");
    for index in 0..1000 {
        append(&mut wal, &record(index, 5000));
        while wal.durable() < wal.appended() {
            wal.submit().expect("submit");
            image.complete_all();
            wal.poll().expect("poll");
        }
        let old: Vec<_> = wal.segments().collect();
        for segment in old {
            assert!(wal.release(segment));
        }
    }
    assert_eq!(image.segments().len(), 3, "1000 records of 5000 bytes went through three segments");
}

#[test]
fn a_prepare_that_fails_is_tried_again_at_the_next_need() {
    let image = mem();
    image.fail_next_prepare();
    let (mut wal, _, _) = open(image.disk(), small()).expect("open");
    image.complete_all();
    assert_eq!(wal.poll(), Ok(None));
    assert!(wal.prepare_error().is_some() && !wal.is_ready());
    assert!(image.pending().is_empty(), "no busy retry");
    wal.retry_prepare();
    image.complete_all();
    assert_eq!(wal.poll(), Ok(None));
    assert!(wal.is_ready());
}

/// Completes all pending operations, including the segments that are requested meanwhile.
fn work(image: &MemImage, wal: &mut Wal<MemDisk>) {
    loop {
        wal.submit().expect("submit");
        if image.pending().is_empty() {
            return;
        }
        image.complete_all();
        wal.poll().expect("poll");
    }
}

#[test]
fn a_try_under_way_is_no_success_and_what_was_to_be_used_again_is_not_lost() {
    let image = mem();
    let mut wal = ready(&image);
    for index in 0..120 {
        append(&mut wal, &record(index, 5000));
        work(&image, &mut wal);
    }
    let old = wal.segments().next().expect("a segment was left");
    image.set_full(true);
    assert!(wal.release(old));
    image.fail_next_prepare();
    while wal.prepare_error().is_none() {
        append(&mut wal, &record(0, 5000));
        work(&image, &mut wal);
    }
    assert!(image.segments().contains(&old), "nothing took its place");
    wal.retry_prepare();
    assert!(wal.prepare_error().is_some(), "it has not come of anything yet");
    work(&image, &mut wal);
    assert_eq!(wal.prepare_error(), None, "a full disk has room for the file that was given back");
    assert!(!image.segments().contains(&old));
}

#[test]
fn a_full_log_says_how_much_it_still_takes() {
    let image = mem();
    let mut wal = ready(&image);
    image.set_full(true);
    let (mut seen, mut room_before) = (Vec::new(), u64::MAX);
    for index in 0..1000 {
        let room = wal.log_room();
        assert!(room.free_bytes <= room_before, "it only falls");
        room_before = room.free_bytes;
        if seen.last() != Some(&room.space) {
            seen.push(room.space);
        }
        if room.space == Space::Reserve {
            let fresh = wal.segments().last().expect("left").get() + 2;
            assert!(image.segments().iter().any(|id| id.get() == fresh) || room_before == 0);
        }
        assert!(!room.is_starved || room.space == Space::Spent);
        if room.is_starved {
            break;
        }
        append(&mut wal, &record(index, 100));
        work(&image, &mut wal);
    }
    assert_eq!(seen, [Space::Free, Space::Low, Space::Reserve, Space::Spent]);
    assert!(wal.log_room().is_starved && wal.durable() < wal.appended());
    image.set_full(false);
    wal.retry_prepare();
    work(&image, &mut wal);
    assert_eq!(wal.log_room(), LogRoom::FREE);
    assert_eq!(wal.durable(), wal.appended(), "what waited is written");
}

/// After a restart the log continues in a fresh segment, so one must be left, or a node on a full disk could
/// not store a promise.
#[test]
fn a_log_that_was_opened_on_a_full_disk_has_its_reserve() {
    let image = mem();
    let mut wal = ready(&image);
    image.set_full(true);
    while wal.log_room().space > Space::Reserve {
        append(&mut wal, &record(1, 5000));
        work(&image, &mut wal);
    }
    drop(wal);
    let (mut wal, _, _) = open(image.disk(), small()).expect("open");
    work(&image, &mut wal);
    assert!(wal.prepare_error().is_some());
    assert_eq!(wal.log_room().space, Space::Reserve);
    append(&mut wal, b"a promise");
    work(&image, &mut wal);
    assert_eq!(wal.durable(), Lsn::new(1));
}

#[test]
fn a_failed_or_short_read_is_an_answer_and_no_more() {
    let image = mem();
    let mut wal = ready(&image);
    let bytes = record(4, 9000);
    let (_, location) = append(&mut wal, &bytes);
    wal.submit().expect("submit");
    image.complete_all();
    wal.poll().expect("poll");
    for fault in [IoFault::Error, IoFault::Short] {
        wal.read(1, location);
        image.fail_next_read(fault);
        image.complete_all();
        wal.poll().expect("the log goes on");
        assert!(matches!(wal.take_read(), Some((1, Err(ReadError::Disk(_))))));
    }
    wal.read(2, location);
    image.complete_all();
    wal.poll().expect("poll");
    assert_eq!(wal.take_read(), Some((2, Ok(bytes))));
}

#[test]
fn padding_is_zeros_and_not_what_the_buffer_held_before() {
    let image = mem();
    let mut wal = ready(&image);
    let (_, first) = append(&mut wal, b"abc");
    let (_, second) = append(&mut wal, b"de");
    wal.submit().expect("submit");
    image.complete_all();
    wal.poll().expect("poll");
    let bytes = image.bytes(first.segment).expect("listed");
    let (first_end, second_end) = ((first.offset + 3) as usize, (second.offset + 2) as usize);
    assert_eq!(bytes[first_end..second.offset as usize - 8], [0; 5]);
    assert!(bytes[second_end..].iter().all(|&byte| byte == 0));
    assert_eq!(bytes.len(), 256 << 10);
}

#[test]
fn reads_under_way_are_bounded_and_the_others_wait() {
    let image = mem();
    let mut wal = ready(&image);
    let (_, location) = append(&mut wal, b"wanted often");
    wal.submit().expect("submit");
    image.complete_all();
    wal.poll().expect("poll");
    let max = synod_wal::READS_MAX as u64;
    for token in 0..2 * max + 1 {
        wal.read(token, location);
    }
    for tokens in [0..max, max..2 * max, 2 * max..2 * max + 1] {
        assert_eq!(wal.take_read(), None, "the disk has not answered yet");
        image.complete_all();
        wal.poll().expect("poll");
        for token in tokens {
            assert_eq!(wal.take_read(), Some((token, Ok(b"wanted often".to_vec()))));
        }
    }
    assert_eq!(wal.take_read(), None);
}
