//! Measures how fast one core makes records durable on this machine:
//! `cargo run --release -p synod-wal --example append -- DIR [SECONDS]`.
//!
//! Three loads on one log in DIR (created if missing, and kept): 4 KiB records with 512 in flight; 20 000 per
//! second offered (twenty each millisecond, whether the log keeps up or not); then one at a time. Prints
//! records per second, and for the last two the latency from append to durable.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};
use synod_types::CoreId;
use synod_wal::uring::{UringDisk, UringOptions};
use synod_wal::{Wal, WalOptions};

const RECORD_BYTES: usize = 4096;
const RECORDS_PER_TURN: usize = 16;

#[derive(Default)]
struct Bell {
    rung: Cell<bool>,
    waiter: RefCell<Option<Waker>>,
}

impl Bell {
    fn ring(&self) {
        self.rung.set(true);
        if let Some(waiter) = self.waiter.take() {
            waiter.wake();
        }
    }
    async fn wait(&self) {
        poll_fn(|context| {
            if self.rung.replace(false) {
                return Poll::Ready(());
            }
            self.waiter.replace(Some(context.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let Some(dir) = arguments.next() else {
        eprintln!("usage: append DIR [SECONDS]");
        std::process::exit(2);
    };
    let seconds = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(3);
    let executor = glommio::LocalExecutorBuilder::new(glommio::Placement::Unbound)
        .io_memory(4 << 20)
        .make()
        .expect("an executor");
    executor.run(measure(Path::new(&dir), Duration::from_secs(seconds)));
}

/// glommio 0.9 can park with runnable tasks; a regular wake from another thread gets it going again.
fn install_ticker() {
    let slot: Arc<Mutex<Option<Waker>>> = Arc::default();
    let theirs = Arc::clone(&slot);
    std::thread::spawn(move || {
        loop {
            // The waker stays in its slot: if the executor parks before it has run the woken task, the next
            // wake must reach it too.
            if let Ok(slot) = theirs.lock()
                && let Some(waker) = slot.as_ref()
            {
                waker.wake_by_ref();
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    glommio::spawn_local(async move {
        poll_fn::<(), _>(|context| {
            if let Ok(mut slot) = slot.lock() {
                slot.replace(context.waker().clone());
            }
            Poll::Pending
        })
        .await;
    })
    .detach();
}

async fn measure(dir: &Path, duration: Duration) {
    install_ticker();
    let bell = Rc::new(Bell::default());
    let ring = Rc::clone(&bell);
    let options = UringOptions { wake: Rc::new(move || ring.ring()), background_cpus: Vec::new() };
    let disk = UringDisk::open(dir, options).await.expect("open the directory");
    let (mut wal, report) =
        Wal::open(disk, WalOptions::new(CoreId::new(0), [1; 32]), |_| {}).expect("open the log");
    println!("{report}");
    let record = vec![7_u8; RECORD_BYTES];
    while !wal.is_ready() {
        bell.wait().await;
        wal.poll().expect("poll");
    }

    let (start, first) = (Instant::now(), wal.durable().get());
    while start.elapsed() < duration {
        wal.poll().expect("poll");
        // A bounded number in flight, as with clients.
        while wal.appended().get() - wal.durable().get() < 512 {
            for _ in 0..RECORDS_PER_TURN {
                wal.append(&[&record]).expect("append");
            }
            wal.submit().expect("submit");
        }
        wal.submit().expect("submit");
        bell.wait().await;
    }
    let count = wal.durable().get() - first;
    println!("512 in flight: {:.0} durable records/s", count as f64 / start.elapsed().as_secs_f64());

    drain(&mut wal, &bell).await;
    let (start, mut open, mut latencies) = (Instant::now(), VecDeque::new(), Vec::new());
    for tick in 0.. {
        let due = start + Duration::from_millis(tick);
        if due > start + duration * 3 {
            break;
        }
        // Until this tick is due, completions are handled as they come.
        loop {
            wal.poll().expect("poll");
            wal.submit().expect("submit");
            while let Some(&(lsn, began)) = open.front()
                && lsn <= wal.durable()
            {
                open.pop_front();
                latencies.push(Instant::now().duration_since(began));
            }
            let left = due.saturating_duration_since(Instant::now());
            let full = wal.room_bytes() < 1 << 20;
            if left.is_zero() && !full {
                break;
            }
            let tick = async {
                glommio::timer::sleep(left.max(Duration::from_millis(1))).await;
            };
            futures_lite::future::or(bell.wait(), tick).await;
        }
        for _ in 0..20 {
            // Latency counts from the due time, so a stall counts for every record that was due during it.
            open.push_back((wal.append(&[&record]).expect("append").lsn, due));
        }
        wal.submit().expect("submit");
    }
    tell("20 000/s offered", start, latencies);
    drain(&mut wal, &bell).await;

    let (start, mut latencies) = (Instant::now(), Vec::new());
    while start.elapsed() < duration {
        let began = Instant::now();
        wal.append(&[&record]).expect("append");
        wal.submit().expect("submit");
        while wal.durable() < wal.appended() {
            bell.wait().await;
            wal.poll().expect("poll");
        }
        latencies.push(began.elapsed());
    }
    tell("one at a time", start, latencies);
}

/// Waits until everything is durable. It polls first, because the last completion may not have been polled
/// yet.
async fn drain(wal: &mut Wal<UringDisk>, bell: &Bell) {
    loop {
        wal.poll().expect("poll");
        wal.submit().expect("submit");
        if wal.durable() == wal.appended() {
            return;
        }
        bell.wait().await;
    }
}

fn tell(load: &str, start: Instant, mut latencies: Vec<Duration>) {
    latencies.sort_unstable();
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize].as_micros();
    println!(
        "{load}: {:.0}/s, p50 {} us, p99 {} us, p99.9 {} us, max {} us",
        latencies.len() as f64 / start.elapsed().as_secs_f64(),
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0)
    );
}
