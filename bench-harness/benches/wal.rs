//! What the log costs: 64 records of 4 KiB from `append` until durable, on a disk that takes no time and on the real one.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use glommio::{LocalExecutor, LocalExecutorBuilder, Placement};
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};
use synod_bench::bytes;
use synod_types::CoreId;
use synod_wal::mem::{MemImage, MemOptions};
use synod_wal::uring::{UringDisk, UringOptions, probe_io_uring};
use synod_wal::{Disk, Wal, WalOptions};

const RECORD_BYTES: usize = 4096;
const RECORDS: u64 = 64;
/// Small enough that a run rotates and uses segments again, and that setting up is cheap.
const SEGMENT_BYTES: u32 = 16 << 20;

fn open<D: Disk>(disk: D) -> Wal<D> {
    let mut options = WalOptions::new(CoreId::new(0), [1; 32]);
    options.segment_bytes = SEGMENT_BYTES;
    let (wal, _) = Wal::open(disk, options, |_| {}).expect("open the log");
    wal
}

/// Gives back every segment that is full: a log whose records all went into a checkpoint. Its file is used again.
fn release_full<D: Disk>(wal: &mut Wal<D>) {
    assert!(wal.durable() == wal.appended(), "a segment is given back only when all of it is durable");
    let segments: Vec<_> = wal.segments().collect();
    for segment in segments {
        assert!(wal.release(segment), "a live segment can be released");
    }
}

/// Records per second through the log's own work: framing, checksums, block chaining, bookkeeping, and the copy that the
/// simulated disk makes in place of a write. The bound that the processor sets.
fn append_mem(c: &mut Criterion) {
    let image = MemImage::new(MemOptions::default(), 1);
    let mut wal = open(image.disk());
    let record = bytes(RECORD_BYTES);
    let mut group = c.benchmark_group("wal/append_durable_64x4KiB");
    group.throughput(Throughput::Elements(RECORDS));
    group.bench_function("mem", |b| {
        b.iter(|| {
            for _ in 0..RECORDS {
                wal.append(&[&record]).expect("append");
            }
            while wal.durable() < wal.appended() {
                wal.submit().expect("submit");
                image.complete_all();
                wal.poll().expect("poll");
            }
            release_full(&mut wal);
        });
    });
    group.finish();
}

/// Records per second through io_uring to the disk the target directory is on, each durable (FUA or flush) before the next
/// 64 begin: the group commit of one loaded turn, latency bound. It says what this machine's disk does, not what Synod does
/// elsewhere. The waiting spins, so that no timer of the executor is in the number; making segments anew in the background
/// is in it, as it is in production.
fn append_io_uring(c: &mut Criterion) {
    if let Err(error) = probe_io_uring() {
        eprintln!("wal/append_durable_64x4KiB/io_uring is left out: {error}");
        return;
    }
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory for the log");
    let executor = LocalExecutorBuilder::new(Placement::Unbound)
        .io_memory(4 << 20)
        .make()
        .expect("an executor: locked memory or io_uring is limited here");
    let mut wal = executor.run(open_uring(dir.path()));
    let record = bytes(RECORD_BYTES);
    let mut group = c.benchmark_group("wal/append_durable_64x4KiB");
    group.throughput(Throughput::Elements(RECORDS));
    group.bench_function("io_uring", |b| {
        b.iter_custom(|rounds| run_rounds(&executor, &mut wal, &record, rounds));
    });
    group.finish();
    // The log ends on the executor it lives on.
    executor.run(async { drop(wal) });
}

async fn open_uring(dir: &Path) -> Wal<UringDisk> {
    let options = UringOptions { wake: Rc::new(|| {}), background_cpus: Vec::new() };
    let mut wal = open(UringDisk::open(dir, options).await.expect("open the directory"));
    while !wal.is_ready() {
        glommio::executor().yield_task_queue_now().await;
        wal.poll().expect("poll");
    }
    wal
}

fn run_rounds(executor: &LocalExecutor, wal: &mut Wal<UringDisk>, record: &[u8], rounds: u64) -> Duration {
    executor.run(async {
        let start = Instant::now();
        for _ in 0..rounds {
            for _ in 0..RECORDS {
                wal.append(&[record]).expect("append");
            }
            while wal.durable() < wal.appended() {
                wal.submit().expect("submit");
                glommio::executor().yield_task_queue_now().await;
                wal.poll().expect("poll");
            }
            release_full(wal);
        }
        start.elapsed()
    })
}

criterion_group!(benches, append_mem, append_io_uring);
criterion_main!(benches);
