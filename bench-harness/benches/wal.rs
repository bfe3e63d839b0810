//! The cost of the log: 64 records of 4 KiB from `append` until durable, on a disk that takes no time and on
//! a real one.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use glommio::{LocalExecutor, LocalExecutorBuilder, Placement};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::path::Path;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};
use synod_bench::bytes;
use synod_types::CoreId;
use synod_wal::mem::{MemImage, MemOptions};
use synod_wal::uring::{UringDisk, UringOptions, probe_io_uring};
use synod_wal::{Disk, Wal, WalOptions};

const RECORD_BYTES: usize = 4096;
const RECORDS: u64 = 64;
/// Small enough that a run rotates and reuses segments, and that setting up is cheap.
const SEGMENT_BYTES: u32 = 16 << 20;

fn open<D: Disk>(disk: D) -> Wal<D> {
    let mut options = WalOptions::new(CoreId::new(0), [1; 32]);
    options.segment_bytes = SEGMENT_BYTES;
    let (wal, _) = Wal::open(disk, options, |_| {}).expect("open the log");
    wal
}

/// Releases every full segment, as a log does whose records are all in a checkpoint. The file is used again.
fn release_full<D: Disk>(wal: &mut Wal<D>) {
    assert!(wal.durable() == wal.appended(), "a segment is given back only when all of it is durable");
    let segments: Vec<_> = wal.segments().collect();
    for segment in segments {
        assert!(wal.release(segment), "a live segment can be released");
    }
}

/// Records per second through the log's own work: framing, checksums, block chaining, bookkeeping, and the
/// copy that the simulated disk makes in place of a write. It is the bound that the processor sets.
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

/// Records per second through io_uring to the disk of the target directory, each durable (FUA or flush)
/// before the next 64 begin: the group commit of one loaded turn, bound by latency. The figure shows this
/// machine's disk, not how Synod does elsewhere. The task sleeps until the disk wakes it, as in production;
/// making new segments in the background is included.
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
    let woken = Rc::new(Woken::default());
    let mut wal = executor.run(open_uring(dir.path(), &woken));
    let record = bytes(RECORD_BYTES);
    let mut group = c.benchmark_group("wal/append_durable_64x4KiB");
    group.throughput(Throughput::Elements(RECORDS));
    group.bench_function("io_uring", |b| {
        b.iter_custom(|rounds| run_rounds(&executor, &mut wal, &woken, &record, rounds));
    });
    group.finish();
    // The log must be dropped on the executor it lives on.
    executor.run(async { drop(wal) });
}

/// Wakes the one task when the disk has completed an operation.
#[derive(Default)]
struct Woken {
    set: Cell<bool>,
    waiter: RefCell<Option<Waker>>,
}

impl Woken {
    fn wake(&self) {
        self.set.set(true);
        if let Some(waker) = self.waiter.borrow_mut().take() {
            waker.wake();
        }
    }
    async fn wait(&self) {
        poll_fn(|context| {
            if self.set.take() {
                return Poll::Ready(());
            }
            *self.waiter.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

async fn open_uring(dir: &Path, woken: &Rc<Woken>) -> Wal<UringDisk> {
    let wakes = Rc::clone(woken);
    let options = UringOptions { wake: Rc::new(move || wakes.wake()), background_cpus: Vec::new() };
    let mut wal = open(UringDisk::open(dir, options).await.expect("open the directory"));
    while !wal.is_ready() {
        woken.wait().await;
        wal.poll().expect("poll");
    }
    wal
}

fn run_rounds(
    executor: &LocalExecutor,
    wal: &mut Wal<UringDisk>,
    woken: &Woken,
    record: &[u8],
    rounds: u64,
) -> Duration {
    executor.run(async {
        let start = Instant::now();
        for _ in 0..rounds {
            for _ in 0..RECORDS {
                wal.append(&[record]).expect("append");
            }
            while wal.durable() < wal.appended() {
                wal.submit().expect("submit");
                woken.wait().await;
                wal.poll().expect("poll");
            }
            release_full(wal);
        }
        start.elapsed()
    })
}

criterion_group!(benches, append_mem, append_io_uring);
criterion_main!(benches);
