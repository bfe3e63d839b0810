//! Tests that every disk and the log on it must pass. Each body runs on both disks.

use crate::rig::{
    DiskRig, MemRig, Records, Rig, append, open, read, record, run_disk, run_mem, settle, small,
};
use synod_types::{Location, Lsn, SegmentId};
use synod_wal::{AppendError, Label, OpenError, ReadError, WhenEmpty};

macro_rules! conformance {
    ($($name:ident)*) => {
        mod mem {
            use super::*;
            $(#[test] fn $name() { run_mem(async |rig: &MemRig| super::$name(rig).await); })*
        }
        mod disk {
            use super::*;
            $(#[test] fn $name() { run_disk(stringify!($name), async |rig: &DiskRig| super::$name(rig).await); })*
        }
    };
}

conformance! {
    a_record_is_read_back_from_ram_from_disk_and_by_recovery
    records_become_durable_in_order_of_their_numbers
    a_log_rotates_over_many_segments
    the_longest_records_fit
    an_unclean_end_loses_nothing_durable
    every_open_goes_on_in_a_fresh_segment
    unused_segments_are_used_again
    released_segments_come_back_under_a_new_name_and_not_to_life
    a_read_that_cannot_be_answered_harms_nothing
    a_place_in_use_cannot_be_opened_as_another_log
    an_empty_place_is_refused_where_a_log_must_be
    a_marked_log_refuses_damage_to_its_last_record
    a_note_is_found_again_and_counts_for_nothing
    a_longer_record_than_promised_is_refused
}

async fn a_record_is_read_back_from_ram_from_disk_and_by_recovery<R: Rig>(rig: &R) {
    let (mut wal, old, report) = open(rig.disk().await, small()).expect("open");
    assert!(old.is_empty() && report.tail.is_none());
    let (lsn, location) = append(&mut wal, b"first");
    assert_eq!(lsn, Lsn::new(1));
    let (lsn, empty) = append(&mut wal, b"");
    assert_eq!(lsn, Lsn::new(2));
    assert_eq!(wal.durable(), Lsn::ZERO);
    assert_eq!(wal.backlog().oldest, Some(Lsn::new(1)));
    assert_eq!(read(rig, &mut wal, location).await, b"first", "from RAM");
    settle(rig, &mut wal).await;
    assert_eq!(wal.durable(), Lsn::new(2));
    assert_eq!(wal.read_ram(location), None, "durable blocks leave RAM");
    assert_eq!(read(rig, &mut wal, location).await, b"first", "from disk");
    assert_eq!(read(rig, &mut wal, location.part(1, 3)).await, b"irs", "a part");
    drop(wal);
    let (mut wal, records, report) = open(rig.disk().await, small()).expect("open again");
    assert_eq!(records, [(b"first".to_vec(), location), (Vec::new(), empty)]);
    assert_eq!(report.tail.expect("a tail").label, Label::CleanEnd);
    assert_eq!(read(rig, &mut wal, location).await, b"first", "after recovery");
}

async fn records_become_durable_in_order_of_their_numbers<R: Rig>(rig: &R) {
    let (mut wal, _, _) = open(rig.disk().await, small()).expect("open");
    let mut expected = Records::new();
    for index in 0..400 {
        let bytes = record(index, 700 + (index as usize * 37) % 3000);
        let (lsn, location) = append(&mut wal, &bytes);
        assert_eq!(lsn, Lsn::new(index + 1));
        expected.push((bytes, location));
        // One turn after every few records, so that blocks of all sizes are in flight at once.
        if index % 5 == 0 {
            wal.submit().expect("submit");
            assert!(wal.backlog().in_flight <= small().writes_in_flight);
        }
        if wal.backlog().in_flight > 2 || wal.room_bytes() < 1 << 20 {
            rig.work().await;
            wal.poll().expect("poll");
        }
        let oldest = wal.backlog().oldest.expect("the last record is not durable yet");
        assert_eq!(oldest, wal.durable().next());
    }
    settle(rig, &mut wal).await;
    for (bytes, location) in &expected {
        assert_eq!(&read(rig, &mut wal, *location).await, bytes);
    }
    drop(wal);
    assert_eq!(open(rig.disk().await, small()).expect("open again").1, expected);
}

async fn a_log_rotates_over_many_segments<R: Rig>(rig: &R) {
    let (mut wal, _, _) = open(rig.disk().await, small()).expect("open");
    let mut expected = Records::new();
    for index in 0..300 {
        let bytes = record(index, 5000);
        let (_, location) = append(&mut wal, &bytes);
        expected.push((bytes, location));
        if index % 20 == 0 {
            settle(rig, &mut wal).await;
        }
    }
    settle(rig, &mut wal).await;
    drop(wal);
    let (_, records, report) = open(rig.disk().await, small()).expect("open again");
    assert_eq!(records, expected);
    let used = report.segments.iter().filter(|segment| segment.block_count > 0).count();
    assert!(used >= 6, "{used} segments of 256 KiB for 1.5 MB");
}

async fn the_longest_records_fit<R: Rig>(rig: &R) {
    let mut options = small();
    options.segment_bytes = 4 << 20;
    options.record_bytes_max = (1 << 20) + (16 << 10);
    options.ram_bytes_max = 16 << 20;
    let (mut wal, _, _) = open(rig.disk().await, options.clone()).expect("open");
    let mut expected = Records::new();
    for index in 0..12 {
        let len = if index % 3 == 2 { 10 } else { options.record_bytes_max as usize };
        let bytes = record(index, len);
        let (_, location) = append(&mut wal, &bytes);
        expected.push((bytes, location));
        settle(rig, &mut wal).await;
    }
    for (bytes, location) in &expected {
        assert_eq!(&read(rig, &mut wal, *location).await, bytes);
    }
    drop(wal);
    let (_, records, _) = open(rig.disk().await, options).expect("open again");
    assert!(records == expected);
}

async fn an_unclean_end_loses_nothing_durable<R: Rig>(rig: &R) {
    let mut expected = Records::new();
    for life in 0..6 {
        let (mut wal, records, _) = open(rig.disk().await, small()).expect("open");
        assert!(records.len() >= expected.len(), "life {life}: a durable record is gone");
        assert_eq!(records[..expected.len()], expected[..]);
        expected = records;
        for index in 0..40 {
            let bytes = record(life * 100 + index, 3000);
            let (_, location) = append(&mut wal, &bytes);
            expected.push((bytes, location));
            wal.submit().expect("submit");
            if index == 20 {
                settle(rig, &mut wal).await;
            }
        }
        let kept = expected.len() - (wal.appended().get() - wal.durable().get()) as usize;
        expected.truncate(kept);
        // Dropped with writes in flight.
    }
}

async fn every_open_goes_on_in_a_fresh_segment<R: Rig>(rig: &R) {
    let mut last = SegmentId::new(0);
    for life in 0..5 {
        let (mut wal, records, _) = open(rig.disk().await, small()).expect("open");
        assert_eq!(records.len(), life);
        let (_, location) = append(&mut wal, b"one per life");
        assert!(location.segment > last);
        last = location.segment;
        settle(rig, &mut wal).await;
    }
}

async fn unused_segments_are_used_again<R: Rig>(rig: &R) {
    for _ in 0..8 {
        let (mut wal, _, _) = open(rig.disk().await, small()).expect("open");
        while !wal.is_ready() {
            rig.work().await;
            wal.poll().expect("poll");
        }
    }
    let (_, _, report) = open(rig.disk().await, small()).expect("open");
    // At most the current segment and those kept ahead, at each open; one may be lost half-way to a new name.
    assert!(report.unused.len() <= 1 + small().segments_ahead, "{report}");
}

async fn released_segments_come_back_under_a_new_name_and_not_to_life<R: Rig>(rig: &R) {
    let (mut wal, _, _) = open(rig.disk().await, small()).expect("open");
    let mut written = Records::new();
    let mut released = SegmentId::new(0);
    for index in 0..600 {
        let bytes = record(index, 4000);
        let (_, location) = append(&mut wal, &bytes);
        written.push((bytes, location));
        if index % 10 == 0 {
            settle(rig, &mut wal).await;
        }
        // Keep three segments, as if a checkpoint covered the rest.
        while released.get() + 4 < location.segment.get() {
            released = SegmentId::new(released.get() + 1);
            wal.release(released);
        }
    }
    settle(rig, &mut wal).await;
    drop(wal);
    let mut options = small();
    options.replay_from = Some(SegmentId::new(released.get() + 1));
    let (wal, records, report) = open(rig.disk().await, options.clone()).expect("open again");
    written.retain(|(_, location)| location.segment > released);
    assert_eq!(records, written);
    assert_eq!(report.tail.expect("a tail").label, Label::StaleEnd, "the rest is of an earlier life");
    drop(wal);
    // Without `replay_from` the beginning of the log counts as missing.
    options.replay_from = None;
    match open(rig.disk().await, options).map(|_| ()) {
        Err(OpenError::Corrupt { label: Label::SegmentMissing, segment, .. }) => assert!(segment <= released),
        other => panic!("{other:?}"),
    }
}

async fn a_read_that_cannot_be_answered_harms_nothing<R: Rig>(rig: &R) {
    let (mut wal, _, _) = open(rig.disk().await, small()).expect("open");
    let (_, location) = append(&mut wal, b"here");
    settle(rig, &mut wal).await;
    let nowhere = [
        Location { segment: SegmentId::new(4000), offset: 4096, len: 10 },
        Location { segment: location.segment, offset: 256 << 10, len: 10 },
        Location { segment: location.segment, offset: u32::MAX, len: u32::MAX },
        Location { segment: SegmentId::new(0), offset: 0, len: 1 },
    ];
    for location in nowhere {
        wal.read(5, location);
        let result = loop {
            wal.poll().expect("poll");
            match wal.take_read() {
                Some((token, result)) => break (token, result),
                None => rig.work().await,
            }
        };
        assert_eq!(result.0, 5);
        assert!(
            matches!(result.1, Err(ReadError::NoSuchPlace | ReadError::Disk(_))),
            "{location:?} {result:?}"
        );
    }
    assert_eq!(read(rig, &mut wal, location).await, b"here");
}

async fn a_place_in_use_cannot_be_opened_as_another_log<R: Rig>(rig: &R) {
    let (mut wal, _, _) = open(rig.disk().await, small()).expect("open");
    append(&mut wal, b"mine");
    settle(rig, &mut wal).await;
    drop(wal);
    let mut options = small();
    options.tag[31] ^= 1;
    assert!(matches!(open(rig.disk().await, options).map(|_| ()), Err(OpenError::Foreign { .. })));
    let mut options = small();
    options.core = synod_types::CoreId::new(4);
    assert!(matches!(open(rig.disk().await, options).map(|_| ()), Err(OpenError::WrongCore { .. })));
    let mut options = small();
    options.segment_bytes = 5000;
    assert!(matches!(open(rig.disk().await, options).map(|_| ()), Err(OpenError::Options(_))));
    // A different segment size is no reason to refuse: it applies to new segments.
    let mut options = small();
    options.segment_bytes = 512 << 10;
    let (mut wal, records, _) = open(rig.disk().await, options).expect("open larger");
    assert_eq!(records.len(), 1);
    append(&mut wal, b"and more");
    settle(rig, &mut wal).await;
    drop(wal);
    assert_eq!(open(rig.disk().await, small()).expect("open").1.len(), 2);
}

async fn an_empty_place_is_refused_where_a_log_must_be<R: Rig>(rig: &R) {
    let mut options = small();
    options.when_empty = WhenEmpty::Refuse;
    assert!(matches!(open(rig.disk().await, options.clone()).map(|_| ()), Err(OpenError::Empty { .. })));
    let (mut wal, _, _) = open(rig.disk().await, small()).expect("create");
    while !wal.is_ready() {
        rig.work().await;
        wal.poll().expect("poll");
    }
    drop(wal);
    open(rig.disk().await, options).expect("there is one now");
}

async fn a_marked_log_refuses_damage_to_its_last_record<R: Rig>(rig: &R) {
    let (mut wal, _, _) = open(rig.disk().await, small()).expect("open");
    let (_, location) = append(&mut wal, b"last");
    settle(rig, &mut wal).await;
    wal.mark(Vec::new).expect("mark");
    assert_eq!(wal.backlog().block_count, 1);
    wal.mark(Vec::new).expect("nothing more to mark");
    assert_eq!(wal.backlog().block_count, 1);
    while wal.backlog().block_count > 0 {
        rig.work().await;
        assert_eq!(wal.poll().expect("poll"), None, "a mark is no record");
    }
    wal.mark(Vec::new).expect("nothing to mark");
    assert_eq!(wal.backlog().block_count, 0);
    drop(wal);
    let (mut wal, records, report) = open(rig.disk().await, small()).expect("open");
    assert_eq!(records, [(b"last".to_vec(), location)]);
    assert_eq!(report.block_count(), 2);
    wal.mark(Vec::new).expect("the new segment's header marks what was recovered");
    assert_eq!(wal.backlog().block_count, 0);
}

/// Recovery finds a note where it was appended. A note has no number, its durability is not reported, and it
/// needs no mark.
async fn a_note_is_found_again_and_counts_for_nothing<R: Rig>(rig: &R) {
    let (mut wal, _, _) = open(rig.disk().await, small()).expect("open");
    let (first, _) = append(&mut wal, b"first");
    assert!(wal.unnoted_bytes() > 0);
    wal.note(b"between").expect("room");
    assert_eq!((wal.appended(), wal.unnoted_bytes()), (first, 0));
    let (second, _) = append(&mut wal, b"second");
    assert_eq!(second, first.next(), "a note has no number");
    settle(rig, &mut wal).await;
    wal.mark(|| b"last".to_vec()).expect("mark");
    while wal.backlog().block_count > 0 {
        rig.work().await;
        assert_eq!(wal.poll().expect("poll"), None, "a note is no record");
    }
    wal.mark(|| panic!("there is nothing to mark")).expect("mark");
    drop(wal);
    let (_, records, _) = open(rig.disk().await, small()).expect("open");
    let found: Vec<_> = records.iter().map(|(bytes, _)| bytes.as_slice()).collect();
    assert_eq!(found, [&b"first"[..], b"between", b"second", b"last"]);
}

async fn a_longer_record_than_promised_is_refused<R: Rig>(rig: &R) {
    let (mut wal, _, _) = open(rig.disk().await, small()).expect("open");
    let max = small().record_bytes_max as usize;
    let long = vec![1; max + 1];
    assert_eq!(wal.append(&[&long]).map(|_| ()), Err(AppendError::TooLong { len: max + 1, max }));
    let (lsn, _) = append(&mut wal, &long[..max]);
    assert_eq!(lsn, Lsn::new(1), "the refused record left no trace");
    settle(rig, &mut wal).await;
}
