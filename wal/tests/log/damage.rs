//! Recovery from bytes that no crash leaves behind: it refuses or cuts, never panics, and never invents
//! records.

use crate::rig::{Records, append, open, record, small};
use proptest::prelude::*;
use std::panic::{AssertUnwindSafe, catch_unwind};
use synod_types::{CoreId, SegmentId};
use synod_wal::mem::{MemImage, MemOptions};
use synod_wal::{Label, OpenError, ReadError, RecoveryReport, WalOptions};

/// A block of a log that was written one block at a time.
#[derive(Clone, Copy, Debug)]
struct Block {
    segment: SegmentId,
    offset: u32,
    /// Up to the end of its last record.
    used: u32,
    records: usize,
}

fn tiny() -> WalOptions {
    let mut options = small();
    options.segment_bytes = 64 << 10;
    options.record_bytes_max = 20 << 10;
    options.writes_in_flight = 1;
    options
}

/// A log of `count` blocks over several segments; each block but the last is proven durable by the next one.
fn written(count: u64) -> (MemImage, Vec<Block>, Records) {
    let image = MemImage::new(MemOptions::default(), 21);
    let (mut wal, _, _) = open(image.disk(), tiny()).expect("open");
    let (mut blocks, mut records) = (Vec::<Block>::new(), Records::new());
    for index in 0..count {
        let fresh = blocks.len();
        for part in 0..1 + index % 3 {
            let bytes = record(index * 10 + part, (200 + index * 997 % 5000) as usize);
            let (_, location) = append(&mut wal, &bytes);
            records.push((bytes, location));
            let end = location.offset + location.len;
            match blocks[fresh..].last_mut() {
                Some(block) if location.offset == (block.offset + block.used).next_multiple_of(8) + 8 => {
                    block.used = end - block.offset;
                    block.records += 1;
                }
                // A frame and a header before the first record.
                _ => {
                    let offset = location.offset - 72;
                    blocks.push(Block { segment: location.segment, offset, used: end - offset, records: 1 });
                }
            }
        }
        while wal.durable() < wal.appended() {
            wal.submit().expect("submit");
            image.complete_all();
            wal.poll().expect("poll");
        }
    }
    (image, blocks, records)
}

fn copy(image: &MemImage) -> MemImage {
    let other = MemImage::new(MemOptions::default(), 6);
    for segment in image.segments() {
        other.put(segment, image.bytes(segment).expect("it is listed"));
    }
    other
}

fn recover(image: &MemImage) -> Result<(Records, RecoveryReport), OpenError> {
    open(image.disk(), tiny()).map(|(_, records, report)| (records, report))
}

fn label_of(result: Result<(Records, RecoveryReport), OpenError>) -> Label {
    match result {
        Err(OpenError::Corrupt { label, .. }) => label,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn any_flipped_byte_of_an_acknowledged_block_is_refused_and_named() {
    let (image, blocks, records) = written(24);
    assert!(blocks.last().expect("blocks").segment.get() >= 3, "several segments");
    let mut before = 0;
    for (index, block) in blocks.iter().enumerate() {
        for at in (0..block.used).step_by(13).chain([60, 63, block.used - 1]) {
            let bad = copy(&image);
            bad.rot(block.segment, block.offset + at, 1 << (at % 8));
            let result = recover(&bad);
            if index + 1 < blocks.len() {
                match result {
                    Err(OpenError::Corrupt { label, segment, offset, .. }) => {
                        assert_eq!(label, Label::AckedBlockDamaged);
                        assert_eq!((segment, offset), (block.segment, u64::from(block.offset)));
                    }
                    // The zeros between two records carry no data.
                    Ok((found, _)) => assert!(found == records, "block {index} byte {at}"),
                    Err(other) => panic!("{other}"),
                }
            } else {
                // Nothing proves that the last block was ever finished.
                let (found, report) = recover(&bad).expect("a torn tail");
                let label = report.tail.expect("a tail").label;
                assert!(found == records || matches!(label, Label::TornTail | Label::TornHeader), "{label}");
                assert!(found == records[..found.len()] && found.len() >= before);
            }
        }
        before += block.records;
    }
}

#[test]
fn a_mark_or_a_reopening_makes_damage_to_the_last_block_plain() {
    let (image, blocks, _) = written(5);
    let last = *blocks.last().expect("blocks");
    // Reopening: the fresh segment's header says how far the log went.
    let (mut wal, _, _) = open(image.disk(), tiny()).expect("open");
    image.complete_all();
    wal.poll().expect("poll");
    drop(wal);
    let bad = copy(&image);
    bad.rot(last.segment, last.offset + 100, 1);
    assert_eq!(label_of(recover(&bad)), Label::AckedBlockDamaged);
    // A mark.
    let (image, blocks, _) = written(0);
    assert!(blocks.is_empty());
    let (mut wal, _, _) = open(image.disk(), tiny()).expect("open");
    let (_, location) = append(&mut wal, b"precious");
    for _ in 0..3 {
        wal.submit().expect("submit");
        image.complete_all();
        wal.poll().expect("poll");
    }
    wal.mark(Vec::new).expect("mark");
    image.complete_all();
    wal.poll().expect("poll");
    image.rot(location.segment, location.offset, 1);
    assert_eq!(label_of(recover(&image)), Label::AckedBlockDamaged);
}

/// A note in a block of its own, written while other blocks are in flight, marks none of them. They are
/// marked when the log is quiet, and damage to them is noticed from then on.
#[test]
fn a_note_among_other_blocks_is_no_mark() {
    let (image, _, _) = written(0);
    let (mut wal, _, _) = open(image.disk(), small()).expect("open");
    for _ in 0..3 {
        wal.submit().expect("submit");
        image.complete_all(); // the segment
        wal.poll().expect("poll");
    }
    let full = vec![7; small().record_bytes_max as usize];
    let (_, location) = append(&mut wal, &full);
    append(&mut wal, &full);
    wal.note(&full).expect("room");
    wal.submit().expect("submit"); // all three at once
    assert_eq!(wal.backlog().in_flight, 3);
    image.complete_all();
    wal.poll().expect("poll");
    assert_eq!(wal.backlog().block_count, 0);
    wal.mark(|| b"the end".to_vec()).expect("mark");
    assert_eq!(wal.backlog().block_count, 1, "two blocks of records were not marked");
    image.complete_all();
    wal.poll().expect("poll");
    drop(wal);
    image.rot(location.segment, location.offset, 1);
    assert_eq!(
        label_of(open(image.disk(), small()).map(|(_, records, report)| (records, report))),
        Label::AckedBlockDamaged
    );
}

#[test]
fn missing_cut_off_and_renamed_segments_are_refused() {
    let (image, blocks, records) = written(24);
    let segments = image.segments();
    let used: Vec<_> =
        segments.iter().copied().filter(|&id| blocks.iter().any(|block| block.segment == id)).collect();
    for &id in &segments[..segments.len() - 1] {
        let bad = copy(&image);
        bad.remove(id);
        assert_eq!(label_of(recover(&bad)), Label::SegmentMissing, "{id}");
    }
    // Losing the newest segment, which is empty and which no other one follows, is harmless.
    let fine = copy(&image);
    fine.remove(segments[segments.len() - 1]);
    assert!(recover(&fine).expect("open").0 == records);
    for &id in &segments {
        let whole = image.bytes(id).expect("listed");
        for len in [0, 1, 4095, 4096, 8192, whole.len() - 4096, whole.len() - 1] {
            let bad = copy(&image);
            bad.put(id, whole[..len].to_vec());
            assert_eq!(label_of(recover(&bad)), Label::SegmentDamaged, "{id} cut to {len}");
        }
        let bad = copy(&image);
        bad.put(id, [&whole[..], &[0; 4096]].concat());
        assert_eq!(label_of(recover(&bad)), Label::SegmentDamaged, "{id} grown");
    }
    // One segment's bytes under the name of another.
    let bad = copy(&image);
    bad.put(used[1], image.bytes(used[0]).expect("listed"));
    assert_eq!(label_of(recover(&bad)), Label::SegmentDamaged);
    // A segment overwritten with an old copy of itself, as from a partial backup: later segments prove that
    // the missing blocks were durable.
    let bad = copy(&image);
    let mut old = image.bytes(used[1]).expect("listed");
    old[8192..].fill(0);
    bad.put(used[1], old);
    assert_eq!(label_of(recover(&bad)), Label::AckedBlockDamaged);
}

#[test]
fn blocks_in_the_wrong_place_or_order_do_not_pass() {
    let (image, blocks, records) = written(9);
    let (first, second) = (blocks[0], blocks[1]);
    assert_eq!(first.segment, second.segment);
    let whole = image.bytes(first.segment).expect("listed");
    // The first block's bytes over the second.
    let mut moved = whole.clone();
    moved.copy_within(first.offset as usize..(first.offset + 4096) as usize, second.offset as usize);
    let bad = copy(&image);
    bad.put(first.segment, moved);
    assert_eq!(label_of(recover(&bad)), Label::AckedBlockDamaged);
    // The last block copied to the place after the end: its offset is wrong there, so it is not a block.
    let last = *blocks.last().expect("blocks");
    let bad = copy(&image);
    let mut repeated = image.bytes(last.segment).expect("listed");
    let end = (last.offset + last.used).next_multiple_of(4096) as usize;
    repeated.copy_within(last.offset as usize..last.offset as usize + 4096, end);
    bad.put(last.segment, repeated);
    let (found, report) = recover(&bad).expect("open");
    assert!(found == records);
    assert_eq!(report.tail.expect("a tail").label, Label::TornHeader);
}

#[test]
fn a_block_of_another_history_breaks_the_chain() {
    // Two logs with the same beginning: blocks 1 to 3 are equal, later ones differ, and all places are the
    // same.
    let history = |salt: u64| {
        let image = MemImage::new(MemOptions::default(), 21);
        let (mut wal, _, _) = open(image.disk(), tiny()).expect("open");
        let mut places = Vec::new();
        for index in 0..6 {
            let bytes = record(index + if index < 3 { 0 } else { salt }, 3000);
            places.push(append(&mut wal, &bytes).1);
            while wal.durable() < wal.appended() {
                wal.submit().expect("submit");
                image.complete_all();
                wal.poll().expect("poll");
            }
        }
        (image, places)
    };
    let ((ours, places), (theirs, same_places)) = (history(100), history(200));
    assert_eq!(places, same_places);
    let transplant = |image: &MemImage, index: usize| {
        let segment = places[index].segment;
        let page = (places[index].offset - 72) as usize..(places[index].offset - 72 + 4096) as usize;
        let mut bytes = image.bytes(segment).expect("listed");
        bytes[page.clone()].copy_from_slice(&theirs.bytes(segment).expect("listed")[page]);
        image.put(segment, bytes);
    };
    // In the middle: the block is intact and has the right number, but the next one does not chain to it.
    let bad = copy(&ours);
    transplant(&bad, 3);
    assert_eq!(label_of(recover(&bad)), Label::ChainBroken);
    // At the end it fits, as it could have been written. After a recovery it is known which one was.
    let bad = copy(&ours);
    transplant(&bad, 3);
    transplant(&bad, 4);
    transplant(&bad, 5);
    assert_eq!(recover(&bad).expect("a possible history").0.len(), 6);
    let (mut wal, _, _) = open(ours.disk(), tiny()).expect("open");
    ours.complete_all();
    wal.poll().expect("poll");
    drop(wal);
    for index in 3..6 {
        transplant(&ours, index);
    }
    assert_eq!(label_of(recover(&ours)), Label::ChainBroken);
}

#[test]
fn a_value_that_looks_like_a_block_is_none() {
    // A client who knows the format, but not the node's tag, stores pages that are blocks far in the future.
    let stranger = MemImage::new(MemOptions::default(), 1);
    let mut foreign = tiny();
    foreign.tag = [0; 32];
    let (mut wal, _, _) = open(stranger.disk(), foreign).expect("open");
    for index in 0..10 {
        append(&mut wal, &record(index, 100));
        for _ in 0..3 {
            wal.submit().expect("submit");
            stranger.complete_all();
            wal.poll().expect("poll");
        }
    }
    let pages = stranger.bytes(SegmentId::new(1)).expect("listed");
    let image = MemImage::new(MemOptions::default(), 2);
    let (mut wal, _, _) = open(image.disk(), tiny()).expect("open");
    image.complete_all();
    wal.poll().expect("poll");
    // Shifted so that pages of the value are pages of the segment; then the block itself is torn.
    let value = &pages[4096 + 72..4096 + 72 + (20 << 10)];
    let (_, location) = append(&mut wal, value);
    assert_eq!(location.offset, 4096 + 72);
    wal.submit().expect("submit");
    image.complete_all();
    wal.poll().expect("poll");
    image.rot(location.segment, 4096, 1);
    let (found, report) = recover(&image).expect("open");
    assert!(found.is_empty());
    assert_eq!(report.tail.expect("a tail").label, Label::TornHeader);
}

#[derive(Clone, Debug)]
enum Harm {
    Flip { segment: usize, at: u32, mask: u8 },
    Garbage { segment: usize, at: u32, len: u32, seed: u64 },
    Zeros { segment: usize, at: u32, len: u32 },
    Truncate { segment: usize, len: u32 },
    Remove { segment: usize },
    CopyPages { from: usize, page: u32, to: usize, at_page: u32, count: u32 },
    Swap { one: usize, other: usize },
}

fn harm() -> impl Strategy<Value = Harm> {
    let segment = 0_usize..16;
    let at = 0_u32..64 << 10;
    prop_oneof![
        4 => (segment.clone(), at.clone(), 1..=255_u8).prop_map(|(segment, at, mask)| Harm::Flip { segment, at, mask }),
        2 => (segment.clone(), at.clone(), 1..20_000_u32, any::<u64>())
            .prop_map(|(segment, at, len, seed)| Harm::Garbage { segment, at, len, seed }),
        2 => (segment.clone(), at.clone(), 1..20_000_u32)
            .prop_map(|(segment, at, len)| Harm::Zeros { segment, at, len }),
        1 => (segment.clone(), at).prop_map(|(segment, len)| Harm::Truncate { segment, len }),
        1 => segment.clone().prop_map(|segment| Harm::Remove { segment }),
        2 => (segment.clone(), 0..16_u32, segment.clone(), 0..16_u32, 1..4_u32)
            .prop_map(|(from, page, to, at_page, count)| Harm::CopyPages { from, page, to, at_page, count }),
        1 => (segment.clone(), segment).prop_map(|(one, other)| Harm::Swap { one, other }),
    ]
}

fn inflict(image: &MemImage, harm: &Harm) {
    let segments = image.segments();
    let pick = |index: usize| segments[index % segments.len()];
    let edit = |index: usize, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = image.bytes(pick(index)).expect("listed");
        change(&mut bytes);
        image.put(pick(index), bytes);
    };
    let range = |bytes: &[u8], at: u32, len: u32| {
        let start = (at as usize).min(bytes.len());
        start..(start + len as usize).min(bytes.len())
    };
    if segments.is_empty() {
        return;
    }
    match *harm {
        Harm::Flip { segment, at, mask } => edit(segment, &|bytes| {
            if let Some(byte) = bytes.get_mut(at as usize) {
                *byte ^= mask;
            }
        }),
        Harm::Garbage { segment, at, len, seed } => edit(segment, &|bytes| {
            let range = range(bytes, at, len);
            let garbage = record(seed, range.len());
            bytes[range].copy_from_slice(&garbage);
        }),
        Harm::Zeros { segment, at, len } => edit(segment, &|bytes| {
            let range = range(bytes, at, len);
            bytes[range].fill(0);
        }),
        Harm::Truncate { segment, len } => edit(segment, &|bytes| bytes.truncate(len as usize)),
        Harm::Remove { segment } => image.remove(pick(segment)),
        Harm::CopyPages { from, page, to, at_page, count } => {
            let source = image.bytes(pick(from)).expect("listed");
            let pages = source[range(&source, page * 4096, count * 4096)].to_vec();
            edit(to, &|bytes| {
                let range = range(bytes, at_page * 4096, pages.len() as u32);
                let len = range.len();
                bytes[range].copy_from_slice(&pages[..len]);
            });
        }
        Harm::Swap { one, other } => {
            let (first, second) =
                (image.bytes(pick(one)).expect("listed"), image.bytes(pick(other)).expect("listed"));
            image.put(pick(one), second);
            image.put(pick(other), first);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_done_to_the_files_nothing_is_invented(
        blocks in 1..30_u64,
        harms in prop::collection::vec(harm(), 1..5),
    ) {
        let (image, blocks, records) = written(blocks);
        for harm in &harms {
            inflict(&image, harm);
        }
        let mut options = tiny();
        options.when_empty = synod_wal::WhenEmpty::Refuse;
        let mut found = Records::new();
        let opened = synod_wal::Wal::open(image.disk(), options, |record| {
            found.push((record.bytes.to_vec(), record.location));
        });
        // Refused or not, the records that were returned are the true ones, in order, from the first.
        prop_assert!(found.len() <= records.len());
        prop_assert!(found == records[..found.len()]);
        if opened.is_ok() && harms.len() == 1 {
            // A single harm loses no acknowledged record silently, unless it hits the last block, whose
            // durability nothing proves.
            let missing = records.len() - found.len();
            let single = matches!(harms[0], Harm::Flip { .. } | Harm::Remove { .. } | Harm::Truncate { .. });
            let last = blocks.last().map_or(0, |block| block.records);
            prop_assert!(!single || missing <= last, "{missing} records went missing: {harms:?}");
        }
    }

    #[test]
    fn segments_of_noise_are_refused(noise in prop::collection::vec((any::<u64>(), 0..20_000_usize), 1..4)) {
        let image = MemImage::new(MemOptions::default(), 1);
        for (index, &(seed, len)) in noise.iter().enumerate() {
            image.put(SegmentId::new(index as u32 + 1), record(seed, len));
        }
        prop_assert!(recover(&image).is_err());
    }
}

/// Headers with a valid checksum and wrong contents: a counter at its limit must not make recovery overflow.
#[test]
fn forged_segment_headers_do_not_panic() {
    let (image, _, _) = written(6);
    let newest = *image.segments().last().expect("segments");
    let page = image.bytes(newest).expect("listed");
    let crafted = |image: &MemImage, id: SegmentId, at: usize, value: &[u8]| {
        let mut bytes = page.clone();
        bytes[at..at + value.len()].copy_from_slice(value);
        let crc = synod_types::checksum::crc32c(&bytes[..4092]);
        bytes[4092..4096].copy_from_slice(&crc.to_le_bytes());
        image.put(id, bytes);
    };
    for at in 8..84 {
        for value in
            [[0_u8; 8], [0xFF; 8], [1, 0, 0, 0, 0, 0, 0, 0], [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x3F]]
        {
            for len in [1, 2, 4, 8] {
                for id in [newest, SegmentId::new(newest.get() + 1), SegmentId::new(u32::MAX)] {
                    let bad = copy(&image);
                    crafted(&bad, id, at, &value[..len]);
                    let outcome = catch_unwind(AssertUnwindSafe(|| recover(&bad).map(|_| ())));
                    assert!(outcome.is_ok(), "panic: field at {at}, {len} bytes of {value:?}, as {id}");
                }
            }
        }
    }
    let mut other = tiny();
    other.core = CoreId::new(4);
    assert!(matches!(open(image.disk(), other).map(|_| ()), Err(OpenError::WrongCore { .. })));
}

/// `read_checked` compares a record with its checksum and finds the damage wherever it is, before and after
/// the log is opened again.
#[test]
fn a_damaged_record_is_not_read_back() {
    let (image, _, records) = written(40);
    let read =
        |wal: &mut synod_wal::Wal<synod_wal::mem::MemDisk>, location: synod_types::Location, before: u32| {
            wal.read_checked(5, location.part(before, location.len - before), before);
            image.complete_all();
            wal.poll().expect("poll");
            wal.take_read().expect("an answer").1
        };
    let (mut wal, ..) = open(image.disk(), tiny()).expect("open");
    for (index, (bytes, location)) in records.iter().enumerate() {
        let before = (index as u32 * 7) % 64;
        assert_eq!(read(&mut wal, *location, before).as_deref(), Ok(&bytes[before as usize..]));
        // The record's frame, the bytes before the requested ones, and the requested bytes.
        for at in [-8_i64, -1, 0, 40, i64::from(location.len) - 1] {
            let offset = (i64::from(location.offset) + at) as u32;
            image.rot(location.segment, offset, 0x10);
            let damaged = read(&mut wal, *location, before);
            let corrupt = ReadError::Corrupt { segment: location.segment, offset: location.offset };
            assert_eq!(damaged, Err(corrupt), "byte {at} of record {index}");
            image.rot(location.segment, offset, 0x10);
        }
    }
    // A place that never held a record.
    let beyond = synod_types::Location { segment: SegmentId::new(4000), ..records[0].1 };
    assert_eq!(read(&mut wal, beyond, 0), Err(ReadError::NoSuchPlace));
}
