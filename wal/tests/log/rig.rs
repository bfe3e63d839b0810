//! What the tests need from a disk beyond the log's own trait: reopening it, and waiting for it.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread::JoinHandle;
use std::time::Duration;
use synod_types::{CoreId, Location, Lsn};
use synod_wal::mem::{MemDisk, MemImage, MemOptions};
use synod_wal::uring::{UringDisk, UringOptions};
use synod_wal::{Disk, Durable, OpenError, RecoveryReport, Wal, WalOptions};

/// A place where a log can be opened again and again.
pub trait Rig {
    type Disk: Disk;
    /// Attaches to the disk.
    async fn disk(&self) -> Self::Disk;
    /// Lets the disk do something.
    async fn work(&self);
}

/// Small segments and blocks, so that the log rotates soon.
pub fn small() -> WalOptions {
    let mut options = WalOptions::new(CoreId::new(3), [9; 32]).with_segments(256 << 10, 16 << 10);
    options.record_bytes_max = 100 << 10;
    options.ram_bytes_max = 4 << 20;
    (options.writes_in_flight, options.small_writes_in_flight) = (4, 4);
    options
}

pub type Records = Vec<(Vec<u8>, Location)>;

/// Opens a log and collects its records.
pub fn open<D: Disk>(disk: D, options: WalOptions) -> Result<(Wal<D>, Records, RecoveryReport), OpenError> {
    let mut records = Records::new();
    let (wal, report) =
        Wal::open(disk, options, |record| records.push((record.bytes.to_vec(), record.location)))?;
    assert_eq!(report.record_count(), records.len() as u64);
    Ok((wal, records, report))
}

/// Submits and polls until every record appended is durable.
pub async fn settle<R: Rig>(rig: &R, wal: &mut Wal<R::Disk>) {
    let mut seen = wal.durable();
    while wal.durable() < wal.appended() {
        wal.submit().expect("submit");
        rig.work().await;
        if let Some(lsn) = wal.poll().expect("poll").map(Durable::lsn) {
            assert!(lsn > seen, "progress only forward");
            seen = lsn;
        }
    }
    assert_eq!(wal.backlog().oldest, None);
}

/// Reads a location back, from wherever it is.
pub async fn read<R: Rig>(rig: &R, wal: &mut Wal<R::Disk>, location: Location) -> Vec<u8> {
    wal.read(77, location);
    loop {
        wal.poll().expect("poll");
        if let Some((token, result)) = wal.take_read() {
            assert_eq!(token, 77);
            return result.expect("read");
        }
        rig.work().await;
    }
}

/// Record `index` of a test: its length and contents follow from the number.
pub fn record(index: u64, len: usize) -> Vec<u8> {
    let mut state = index.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 24) as u8
        })
        .collect()
}

pub fn append<D: Disk>(wal: &mut Wal<D>, bytes: &[u8]) -> (Lsn, Location) {
    let middle = bytes.len() / 2;
    // A record appended with a known checksum of its last part is the same on disk.
    let known = (bytes.len() % 2 == 1).then(|| synod_types::checksum::crc32c(&bytes[middle..]));
    let appended = wal.append_summed(&[&bytes[..middle], &bytes[middle..]], known).expect("append");
    assert_eq!(wal.read_ram(appended.location), Some(bytes), "readable at once");
    (appended.lsn, appended.location)
}

/// A small generator for the tests' own choices.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }
}

pub struct MemRig {
    pub image: MemImage,
    random: RefCell<Random>,
}

impl Rig for MemRig {
    type Disk = MemDisk;
    async fn disk(&self) -> MemDisk {
        self.image.disk()
    }
    /// Completes one pending operation, in any order.
    async fn work(&self) {
        let pending = self.image.pending().len() as u64;
        assert!(pending > 0, "the test waits for a disk that has nothing to do");
        let index = self.random.borrow_mut().below(pending);
        self.image.complete(index as usize);
    }
}

pub fn run_mem(body: impl AsyncFnOnce(&MemRig)) {
    let rig = MemRig { image: MemImage::new(MemOptions::default(), 1), random: RefCell::new(Random(2)) };
    let future = pin!(body(&rig));
    let ended = future.poll(&mut Context::from_waker(Waker::noop()));
    assert!(ended.is_ready(), "a test in memory waits for nothing");
}

pub struct DiskRig {
    pub path: PathBuf,
    bell: Rc<Bell>,
}

#[derive(Default)]
struct Bell {
    rung: Cell<bool>,
    waiter: RefCell<Option<Waker>>,
}

impl Rig for DiskRig {
    type Disk = UringDisk;
    async fn disk(&self) -> UringDisk {
        loop {
            let bell = Rc::clone(&self.bell);
            let wake = Rc::new(move || {
                bell.rung.set(true);
                if let Some(waiter) = bell.waiter.take() {
                    waiter.wake();
                }
            });
            match UringDisk::open(&self.path, UringOptions { wake, background_cpus: Vec::new() }).await {
                // The operations of the disk dropped before still hold the lock; they ring the bell when they
                // end.
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => self.work().await,
                result => return result.expect("open the directory"),
            }
        }
    }
    async fn work(&self) {
        poll_fn(|context| {
            if self.bell.rung.replace(false) {
                return Poll::Ready(());
            }
            self.bell.waiter.replace(Some(context.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}

pub fn run_disk(name: &str, body: impl AsyncFnOnce(&DiskRig)) {
    let executor = glommio::LocalExecutorBuilder::new(glommio::Placement::Unbound)
        // Small, so that an ordinary user's limit of locked memory is enough for parallel tests.
        .io_memory(1 << 20)
        .make()
        .expect("an executor");
    let directory = tempfile::Builder::new()
        .prefix(name)
        .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
        .expect("a directory on a real disk");
    // Dropped before the executor it wakes.
    let ticker = Ticker::start();
    executor.run(async {
        ticker.install();
        let rig = DiskRig { path: directory.path().join("core"), bell: Rc::default() };
        body(&rig).await;
    });
}

/// glommio 0.9 can park with runnable tasks; a regular wake from another thread gets it going again.
struct Ticker {
    slot: Arc<Mutex<Option<Waker>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    fn start() -> Self {
        let (slot, stop) = (Arc::new(Mutex::new(None::<Waker>)), Arc::new(AtomicBool::new(false)));
        let (theirs, stopped) = (Arc::clone(&slot), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                // The waker stays in its slot: if the executor parks before it has run the woken task, the
                // next wake must reach it too.
                if let Some(waker) = theirs.lock().expect("lock").as_ref() {
                    waker.wake_by_ref();
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        Self { slot, stop, thread: Some(thread) }
    }

    /// Parks a task of the current executor as the one to be woken.
    fn install(&self) {
        let slot = Arc::clone(&self.slot);
        glommio::spawn_local(async move {
            poll_fn::<(), _>(|context| {
                slot.lock().expect("lock").replace(context.waker().clone());
                Poll::Pending
            })
            .await;
        })
        .detach();
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the ticker");
        }
        // The waker holds the task, which holds the slot.
        self.slot.lock().expect("lock").take();
    }
}
