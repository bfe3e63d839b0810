//! Crashes in every phase: many short lives of one log, each ended by a crash at a random moment, all from
//! one seed.
//!
//! Oracle: the recovered records are always a prefix of the appended ones, at the same locations. They
//! include at least every record that was reported durable or that an earlier recovery returned. No other
//! record ever comes back.

use crate::rig::{Random, Records, open, record, small};
use std::collections::BTreeMap;
use synod_types::LogPosition;
use synod_wal::mem::{MemImage, MemOptions};
use synod_wal::{AppendError, Label, Wal, WalOptions};

struct Story {
    seed: u64,
    random: Random,
    image: MemImage,
    options: WalOptions,
    now_ns: u64,
    /// The records that the log may return at most, in order; it must return at least the first `kept`.
    history: Records,
    kept: usize,
    /// Blocks that were the last durable one at some time.
    positions: Vec<LogPosition>,
    next: u64,
    labels: BTreeMap<&'static str, u64>,
}

impl Story {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let mut options = small();
        options.segment_bytes = [128 << 10, 192 << 10, 512 << 10][random.below(3) as usize];
        options.block_bytes_max = [4 << 10, 16 << 10, 64 << 10][random.below(3) as usize];
        options.record_bytes_max = [2 << 10, 40 << 10, 100 << 10][random.below(3) as usize];
        options.writes_in_flight = 1 + random.below(8) as usize;
        options.small_writes_in_flight = 1 + random.below(8) as usize;
        options.segments_ahead = 1 + random.below(2) as usize;
        options.ram_bytes_max = 300 << 10;
        let slow = 1 + random.below(1_000_000);
        let image = MemImage::new(
            MemOptions {
                write_ns: (slow / 4, slow),
                prepare_ns: (0, slow * (1 + random.below(50))),
                stall_ppm: random.below(50_000) as u32,
                stall_ns: slow * 10,
                ..MemOptions::default()
            },
            random.below(u64::MAX),
        );
        Self {
            seed,
            random,
            image,
            options,
            now_ns: 0,
            history: Records::new(),
            kept: 0,
            positions: Vec::new(),
            next: 0,
            labels: BTreeMap::new(),
        }
    }

    fn life(&mut self) {
        let opened = open(self.image.disk(), self.options.clone());
        let (mut wal, records, report) =
            opened.unwrap_or_else(|error| panic!("seed {}: a crash is no damage: {error}", self.seed));
        if let Some(tail) = report.tail {
            *self.labels.entry(tail.label.name()).or_default() += 1;
        }
        assert!(records.len() >= self.kept, "seed {}: {} of {} kept", self.seed, records.len(), self.kept);
        assert!(records.len() <= self.history.len(), "seed {}: records out of nowhere", self.seed);
        assert!(records == self.history[..records.len()], "seed {}: other records than appended", self.seed);
        // A durable block keeps its number and its checksum through every crash (P-20).
        let held = |position: &LogPosition| wal.holds(*position);
        assert!(self.positions.iter().all(held), "seed {}: a durable block is another one", self.seed);
        self.history = records;
        self.kept = self.history.len();
        let base = self.kept;
        let steps = [0, 3, 30, 200][self.random.below(4) as usize];
        let mut gone = 0;
        for _ in 0..steps {
            gone += self.step(&mut wal);
            if self.positions.last() != Some(&wal.position()) {
                self.positions.push(wal.position());
            }
            self.kept = base - gone.min(base) + wal.durable().get() as usize - gone.saturating_sub(base);
        }
        if self.random.below(2) == 0 {
            self.image.crash(self.random.below(u64::MAX));
        }
    }

    /// Performs one random step. Returns how many records need not come back any more.
    fn step(&mut self, wal: &mut Wal<synod_wal::mem::MemDisk>) -> usize {
        match self.random.below(100) {
            0..50 => {
                let most = u64::from(self.options.record_bytes_max);
                let len = match self.random.below(20) {
                    0 => most,
                    1 => 0,
                    2..8 => self.random.below(most + 1),
                    _ => self.random.below(1500),
                };
                let bytes = record(self.next, len as usize);
                match wal.append(&[&bytes]) {
                    Ok(appended) => {
                        self.next += 1;
                        self.history.push((bytes, appended.location));
                    }
                    Err(AppendError::Full { .. }) => self.pass_time(wal, 2_000_000),
                    Err(error) => panic!("seed {}: {error}", self.seed),
                }
            }
            50..70 => wal.submit().expect("submit"),
            70..95 => self.pass_time(wal, 300_000),
            95..98 => wal.mark(Vec::new).expect("mark"),
            _ => return self.release(wal),
        }
        0
    }

    fn pass_time(&mut self, wal: &mut Wal<synod_wal::mem::MemDisk>, most_ns: u64) {
        self.now_ns += self.random.below(most_ns);
        self.image.advance(self.now_ns);
        wal.poll().expect("poll");
    }

    /// A checkpoint covers everything before the segment of some durable record.
    fn release(&mut self, wal: &mut Wal<synod_wal::mem::MemDisk>) -> usize {
        let kept = self.kept;
        if kept == 0 {
            return 0;
        }
        let from = self.history[self.random.below(kept as u64) as usize].1.segment;
        let covered: Vec<_> = wal.segments().filter(|&segment| segment < from).collect();
        for segment in covered {
            assert!(wal.release(segment));
            assert!(!wal.release(segment), "once only");
        }
        self.options.replay_from = Some(from);
        let before = self.history.len();
        self.history.retain(|(_, location)| location.segment >= from);
        before - self.history.len()
    }
}

fn tell(seed: u64) -> (BTreeMap<&'static str, u64>, u64) {
    let mut story = Story::new(seed);
    for _ in 0..12 {
        story.life();
    }
    (story.labels, story.image.digest())
}

#[test]
fn many_lives_keep_what_was_durable_and_invent_nothing() {
    let mut labels = BTreeMap::<_, u64>::new();
    for seed in 0..400 {
        for (label, count) in tell(seed).0 {
            *labels.entry(label).or_default() += count;
        }
    }
    println!("{labels:?}");
    // The run has met every row that a crash can lead to.
    for label in
        [Label::CleanEnd, Label::StaleEnd, Label::TornTail, Label::TornHeader, Label::UnackedBeyondHole]
    {
        assert!(labels.contains_key(label.name()), "{label} never met: {labels:?}");
    }
}

#[test]
fn the_same_seed_tells_the_same_story() {
    for seed in [3, 77, 4711] {
        assert_eq!(tell(seed), tell(seed));
    }
}

/// The image of a log whose block 1 is durable, block 2 is lost, and block 3 (and `more`) arrived.
fn with_a_hole(more: usize) -> MemImage {
    let image = MemImage::new(MemOptions::default(), 5);
    let mut options = small();
    options.writes_in_flight = 8;
    options.small_writes_in_flight = 8;
    let (mut wal, _, _) = open(image.disk(), options).expect("open");
    image.complete_all();
    wal.poll().expect("poll");
    wal.append(&[b"durable"]).expect("append");
    wal.submit().expect("submit");
    image.complete_all();
    assert!(wal.poll().expect("poll").is_some());
    for index in 0..2 + more {
        wal.append(&[&record(index as u64, 100)]).expect("append");
        wal.submit().expect("submit");
    }
    for _ in 0..=more {
        // The oldest pending write is the hole.
        image.complete(1);
        assert_eq!(wal.poll().expect("poll"), None, "nothing behind a hole counts");
    }
    drop(wal);
    copy(&image)
}

/// The files as they are, with nothing pending: the hole's write is lost.
fn copy(image: &MemImage) -> MemImage {
    let other = MemImage::new(MemOptions::default(), 6);
    for segment in image.segments() {
        other.put(segment, image.bytes(segment).expect("it is listed"));
    }
    other
}

#[test]
fn blocks_that_overtook_a_hole_are_discarded_and_stay_dead() {
    for more in [0, 3, 6] {
        let image = with_a_hole(more);
        // Opened several times, with a crash before anything else happens.
        for again in 0..3 {
            let (_, records, report) = open(image.disk(), small()).expect("open");
            assert_eq!(records.len(), 1);
            let tail = report.tail.expect("a tail");
            // At a later open the fresh segment may already exist; its header then ends the log there.
            if again == 0 {
                assert_eq!((tail.label, tail.discarded_count), (Label::UnackedBeyondHole, 1 + more as u64));
            }
        }
        // First with the fresh segment made and empty, then with new records that reuse the numbers of the
        // discarded ones.
        for count in 0..4_usize {
            let (mut wal, records, _) = open(image.disk(), small()).expect("open");
            assert_eq!(records.len(), 1 + count.saturating_sub(1));
            image.complete_all();
            wal.poll().expect("poll");
            if count > 0 {
                wal.append(&[&record(100 + count as u64, 100)]).expect("append");
                wal.submit().expect("submit");
                image.complete_all();
                assert!(wal.poll().expect("poll").is_some());
            }
        }
        let (_, records, _) = open(image.disk(), small()).expect("open");
        let bytes: Vec<_> = records.iter().map(|(bytes, _)| bytes.clone()).collect();
        let mut expected = vec![b"durable".to_vec()];
        expected.extend((1..4).map(|count| record(100 + count, 100)));
        assert_eq!(bytes, expected);
    }
}
