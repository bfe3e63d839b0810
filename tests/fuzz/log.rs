//! Bytes from a disk that returns wrong data.

use synod_types::{CoreId, Entry, RecordHead, SegmentId};
use synod_wal::mem::{MemImage, MemOptions};
use synod_wal::{Wal, WalOptions};

/// Any bytes as a record's head and as an entry: an error, or an entry that can be walked within the limits.
///
/// # Panics
/// When an entry that was checked cannot be walked.
pub fn entry(data: &[u8]) {
    if let Some((head, rest)) = RecordHead::decode(data) {
        assert_eq!(head.encode()[..], data[..data.len() - rest.len()], "a head is not what it was made from");
    }
    if let Ok(entry) = Entry::check(data) {
        let mut count = 0;
        for command in entry.commands() {
            assert!(command.key.len() <= synod_types::limits::KEY_BYTES_MAX);
            count += 1;
        }
        assert_eq!(count, entry.command_count());
    }
}

fn options() -> WalOptions {
    let mut options = WalOptions::new(CoreId::new(0), [7; 32]).with_segments(64 << 10, 8 << 10);
    options.record_bytes_max = 20 << 10;
    options.writes_in_flight = 2;
    options.small_writes_in_flight = 2;
    options
}

fn record(number: u64) -> Vec<u8> {
    let len = 20 + (number * 977 % 3000) as usize;
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.extend((8..len).map(|at| (at as u64 * 31 + number) as u8));
    bytes
}

/// A log over several segments, all of it durable; returns the image of its disk and the number of records,
/// which is drawn from `seed`.
fn written(seed: u8) -> (MemImage, u64) {
    let image = MemImage::new(MemOptions::default(), u64::from(seed));
    let opened = Wal::open(image.disk(), options(), |_| {});
    let (mut wal, _) = opened.unwrap_or_else(|error| panic!("an empty disk: {error}"));
    let count = 1 + u64::from(seed % 64) * 2;
    for number in 1..=count {
        wal.append(&[&record(number)]).unwrap_or_else(|error| panic!("record {number}: {error}"));
        while number % 5 == 0 && wal.durable() < wal.appended() {
            pump(&image, &mut wal);
        }
    }
    while wal.durable() < wal.appended() {
        pump(&image, &mut wal);
    }
    (image, count)
}

fn pump(image: &MemImage, wal: &mut Wal<synod_wal::mem::MemDisk>) {
    wal.submit().unwrap_or_else(|error| panic!("submit: {error}"));
    image.complete_all();
    wal.poll().unwrap_or_else(|error| panic!("poll: {error}"));
}

/// A log damaged by the input, five bytes per edit: which segment, where, how. Recovery refuses the log, or
/// returns a prefix of the records written, byte for byte, and the log can then go on.
///
/// # Panics
/// When recovery returns anything else.
pub fn recovery(data: &[u8]) {
    let Some((&seed, edits)) = data.split_first() else { return };
    let (source, count) = written(seed);
    let image = MemImage::new(MemOptions::default(), 3);
    let segments = source.segments();
    for &segment in &segments {
        image.put(segment, source.bytes(segment).unwrap_or_default());
    }
    for edit in edits.chunks_exact(5) {
        damage(&image, &segments, edit);
    }
    let mut seen = 0_u64;
    let opened = Wal::open(image.disk(), options(), |view| {
        seen += 1;
        assert!(seen <= count, "a record that was never written");
        assert_eq!(view.bytes, record(seen), "record {seen} is not what was written");
    });
    if let Ok((mut wal, _)) = opened {
        wal.append(&[b"it goes on"]).unwrap_or_else(|error| panic!("append: {error}"));
        while wal.durable() < wal.appended() {
            pump(&image, &mut wal);
        }
    }
    if let Ok((_, report)) = Wal::open(source.disk(), options(), |_| {}) {
        assert!(!report.to_string().is_empty());
    }
}

fn damage(image: &MemImage, segments: &[SegmentId], edit: &[u8]) {
    let segment = segments[usize::from(edit[0]) % segments.len()];
    let Some(mut bytes) = image.bytes(segment) else { return };
    if bytes.is_empty() {
        return;
    }
    let at = usize::from(u16::from_le_bytes([edit[1], edit[2]])) % bytes.len();
    let page = at / 4096 * 4096;
    match edit[3] % 6 {
        0 => bytes[at] ^= edit[4],
        1 => {
            let end = (page + 4096).min(bytes.len());
            bytes[page..end].fill(0);
        }
        2 => bytes.truncate(at),
        3 => {
            // A misdirected write.
            let from = usize::from(edit[4]) * 4096 % bytes.len();
            let len = 4096.min(bytes.len() - from).min(bytes.len() - page);
            bytes.copy_within(from..from + len, page);
        }
        4 => {
            image.remove(segment);
            return;
        }
        _ => {
            let len = usize::from(edit[4]).min(bytes.len() - at);
            bytes[at..at + len].fill(edit[4]);
        }
    }
    image.put(segment, bytes);
}
