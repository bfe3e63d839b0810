//! The generator threads and the parts of a run: gives orders, gathers seconds, and ends within bounds whatever happens.

use crate::client::{self, Running, Worker};
use crate::clock::monotonic_ns;
use crate::control::Cluster;
use crate::driver::{Driver, Endpoint, KindSecond, Measured, Order, Second, Setup, Tally, spread};
use crate::error::LoadError;
use crate::hdr::HdrLog;
use crate::histogram::Latencies;
use crate::ledger::Ledger;
use crate::options::Options;
use crate::report::{Phase, Progress};
use crate::series::{Moment, Series};
use crate::workload::Kind;
use std::collections::VecDeque;
use std::fs::File;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Beyond the bounds of an order and of its requests, this long is waited for a generator thread.
const GRACE: Duration = Duration::from_secs(20);
/// A second that a thread owes is not waited for longer than this.
const SECOND_LATE_NS: u64 = 1_500_000_000;
/// Pieces of history on their way to the file; a disk that is slower than that slows the generator.
const HISTORY_PIECES: usize = 256;

/// Ends a run early: what is open comes in, and the audit is still made.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    wanted: Arc<AtomicBool>,
}

impl Stop {
    /// Asks for the end.
    pub fn stop(&self) {
        self.wanted.store(true, Ordering::Release);
    }
    /// Whether the end was asked for.
    pub fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Acquire)
    }
}

/// What a generator thread is told.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Command {
    /// Do this and say when it is done.
    Do(Order),
    /// End.
    End,
}

/// Where a generator thread finds its orders.
#[derive(Debug)]
pub(crate) struct Orders {
    latest: Mutex<(u64, Command)>,
    /// The number of the latest, so that a look costs no lock.
    number: AtomicU64,
    stop: Stop,
}

impl Orders {
    fn new(stop: Stop) -> Self {
        Self { latest: Mutex::new((0, Command::End)), number: AtomicU64::new(0), stop }
    }
    /// The latest command if its number is above `seen`.
    pub(crate) fn newer_than(&self, seen: u64) -> Option<(u64, Command)> {
        if self.number.load(Ordering::Acquire) <= seen {
            return None;
        }
        // Plain data: whole at every moment.
        Some(*self.latest.lock().unwrap_or_else(PoisonError::into_inner))
    }
    pub(crate) fn stop_wanted(&self) -> bool {
        self.stop.is_wanted()
    }
    fn give(&self, number: u64, command: Command) {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = (number, command);
        self.number.store(number, Ordering::Release);
    }
}

/// What a generator thread tells.
#[derive(Debug)]
pub(crate) enum News {
    /// A second is over.
    Second { thread: u32, second: Box<Second> },
    /// An order is done, or could not be.
    Done { thread: u32, number: u64, failure: Option<String>, measured: Box<Measured> },
    /// The thread has ended.
    Ended { thread: u32, result: Box<(Tally, Ledger)> },
}

/// Generator threads at work.
pub(crate) struct Fleet<'a> {
    options: &'a Options,
    orders: Arc<Orders>,
    news: Receiver<News>,
    running: Vec<Running>,
    ended: Vec<Option<(Tally, Ledger)>>,
    seconds: Vec<VecDeque<Second>>,
    number: u64,
    history: Option<HistoryFile>,
    hdr: Option<HdrLog>,
    series: Series,
}

impl<'a> Fleet<'a> {
    /// Starts one thread for each ledger.
    pub(crate) fn start(
        options: &'a Options,
        cluster: &Cluster,
        run: u64,
        ledgers: Vec<Ledger>,
        stop: &Stop,
    ) -> Result<Self, LoadError> {
        let history = options.history.as_deref().map(HistoryFile::open).transpose()?;
        let hdr = options.hdr.as_deref().map(|path| HdrLog::create(path, monotonic_ns())).transpose()?;
        let orders = Arc::new(Orders::new(stop.clone()));
        let (sender, news) = mpsc::channel();
        let threads = ledgers.len();
        let mut fleet = Self {
            options,
            orders,
            news,
            running: Vec::new(),
            ended: (0..threads).map(|_| None).collect(),
            seconds: (0..threads).map(|_| VecDeque::new()).collect(),
            number: 0,
            history,
            hdr,
            series: Series::default(),
        };
        for (thread, ledger) in (0_u32..).zip(ledgers) {
            let setup = Setup {
                options: options.clone(),
                thread,
                run,
                topology: cluster.topology.clone(),
                endpoints: cluster.endpoints.clone(),
                connections: connections_of(options, cluster, thread),
                with_history: fleet.history.is_some(),
            };
            let worker = Worker {
                thread,
                driver: Driver::new(setup, ledger, monotonic_ns()),
                connect_timeout: options.stall,
                orders: Arc::clone(&fleet.orders),
                news: sender.clone(),
                history: fleet.history.as_ref().map(|history| history.pieces.clone()),
            };
            fleet.running.push(client::start(worker)?);
        }
        Ok(fleet)
    }

    /// Has all threads do `order` and waits for them, and returns what they measured; `bound` is how long they may take beside the requests' own time.
    pub(crate) fn perform(
        &mut self,
        order: Order,
        bound: Duration,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<Measured, LoadError> {
        let mut all = Measured::default();
        self.number += 1;
        self.orders.give(self.number, Command::Do(order));
        let limit_ns = monotonic_ns() + nanos(bound + self.options.timeout + GRACE);
        let mut open = self.running.len();
        let mut failures = Vec::new();
        while open > 0 {
            match self.next_news(limit_ns)? {
                Some(News::Second { thread, second }) => {
                    self.seconds[thread as usize].push_back(*second);
                }
                Some(News::Done { thread, number, failure, measured }) => {
                    all.join(&measured);
                    assert!(number == self.number, "thread {thread} did an order that was not given");
                    failures.extend(failure);
                    open -= 1;
                }
                Some(News::Ended { thread, .. }) => {
                    return Err(LoadError::Thread(format!("thread {thread} ended before its time")));
                }
                None => {}
            }
            self.show_seconds(false, progress);
        }
        self.show_seconds(true, progress);
        match failures.into_iter().next() {
            None => Ok(all),
            Some(failure) => Err(LoadError::Cluster(failure)),
        }
    }

    /// The seconds since the last call.
    pub(crate) fn series(&mut self) -> &mut Series {
        &mut self.series
    }

    /// Ends all threads; what they counted, and their ledgers.
    pub(crate) fn end(mut self) -> Result<(Tally, Vec<Ledger>), LoadError> {
        self.number += 1;
        self.orders.give(self.number, Command::End);
        let limit_ns = monotonic_ns() + nanos(GRACE);
        while self.ended.iter().any(Option::is_none) {
            if let Some(News::Ended { thread, result }) = self.next_news(limit_ns)? {
                self.ended[thread as usize] = Some(*result);
            }
        }
        for running in std::mem::take(&mut self.running) {
            running.join()?;
        }
        if let Some(history) = self.history.take() {
            history.close()?;
        }
        if let Some(hdr) = self.hdr.take() {
            hdr.close()?;
        }
        let mut tally = Tally::default();
        let mut ledgers = Vec::new();
        for (counted, ledger) in std::mem::take(&mut self.ended).into_iter().flatten() {
            tally.add(&counted);
            ledgers.push(ledger);
        }
        Ok((tally, ledgers))
    }

    fn next_news(&mut self, limit_ns: u64) -> Result<Option<News>, LoadError> {
        match self.news.recv_timeout(Duration::from_millis(100)) {
            Ok(news) => Ok(Some(news)),
            Err(RecvTimeoutError::Disconnected) => {
                Err(LoadError::Thread("a generator thread broke off".into()))
            }
            Err(RecvTimeoutError::Timeout) if monotonic_ns() > limit_ns => {
                Err(LoadError::Thread("a generator thread did not end within the bounds of the run".into()))
            }
            Err(RecvTimeoutError::Timeout) => Ok(None),
        }
    }

    /// Shows the seconds that all threads have told, or all there are.
    fn show_seconds(&mut self, all: bool, progress: &mut dyn FnMut(&Progress)) {
        loop {
            let Some(oldest_ns) = self.seconds.iter().filter_map(VecDeque::front).map(|s| s.end_ns).min()
            else {
                return;
            };
            let complete = self.seconds.iter().all(|queue| !queue.is_empty());
            if !complete && !all && monotonic_ns() < oldest_ns + SECOND_LATE_NS {
                return;
            }
            // Threads enter a phase at about the same time; the one that is behind is shown first.
            let fronts = self.seconds.iter().filter_map(VecDeque::front);
            let Some(phase) = fronts.min_by_key(|second| second.start_ns).map(|second| second.phase) else {
                return;
            };
            let together: Vec<_> = self
                .seconds
                .iter_mut()
                .filter_map(|queue| queue.pop_front_if(|second| second.phase == phase))
                .collect();
            let moment = moment_of(phase, &together);
            self.series.add(&moment);
            if let Some(hdr) = &mut self.hdr {
                hdr.add(&moment);
            }
            if moment.is_long {
                progress(&merge(phase, &together));
            }
        }
    }
}

impl Drop for Fleet<'_> {
    /// Threads of a run that broke off end by themselves.
    fn drop(&mut self) {
        self.orders.give(u64::MAX, Command::End);
    }
}

fn moment_of(phase: Phase, seconds: &[Second]) -> Moment {
    let mut kinds: [KindSecond; Kind::COUNT] = Default::default();
    for second in seconds {
        kinds.iter_mut().zip(&second.kinds).for_each(|(all, one)| all.add(one));
    }
    // `seconds` holds one at least.
    let time = |least: bool, of: fn(&Second) -> u64| {
        let times = seconds.iter().map(of);
        if least { times.min() } else { times.max() }.unwrap_or(0)
    };
    Moment {
        phase,
        phase_start_ns: time(true, |second| second.phase_start_ns),
        start_ns: time(true, |second| second.start_ns),
        end_ns: time(false, |second| second.end_ns),
        is_long: seconds.iter().any(|second| second.is_long),
        kinds,
    }
}

fn merge(phase: Phase, seconds: &[Second]) -> Progress {
    let mut latencies = Latencies::default();
    let kinds = seconds.iter().flat_map(|second| &second.kinds);
    kinds.filter_map(|kind| kind.latencies.as_deref()).for_each(|counted| latencies.add(counted));
    let sum = |count: fn(&Second) -> u64| seconds.iter().map(count).sum::<u64>();
    let span_ns = seconds.iter().map(|second| second.end_ns - second.start_ns).max().unwrap_or(0).max(1);
    let since_ns = seconds.iter().map(|second| second.end_ns - second.phase_start_ns).max().unwrap_or(0);
    let per_s = |count: u64| count as f64 * 1e9 / span_ns as f64;
    Progress {
        phase,
        elapsed_s: since_ns as f64 / 1e9,
        offered_per_s: per_s(sum(|second| second.offered)),
        achieved_per_s: per_s(sum(|second| second.achieved)),
        p50_us: latencies.quantile_us(0.5),
        p99_us: latencies.quantile_us(0.99),
        errors: sum(|second| second.errors),
        unknown: sum(|second| second.unknown),
        verify_failures: sum(|second| second.verify_failures),
        outstanding: sum(|second| second.outstanding),
        note: None,
    }
}

/// The endpoint of each connection of one thread: its share of all, spread over the endpoints by what they lead.
fn connections_of(options: &Options, cluster: &Cluster, thread: u32) -> Vec<usize> {
    let share = crate::workload::share_of_keys(options.connections, thread, options.threads).len();
    let leads: Vec<usize> = cluster.endpoints.iter().map(|endpoint| groups_led(cluster, endpoint)).collect();
    let mut left = spread(share, &leads);
    let mut connections = Vec::new();
    // Round and round, so that lanes of neighbouring numbers are on different nodes.
    while left.iter().any(|&count| count > 0) {
        for (endpoint, count) in left.iter_mut().enumerate().filter(|(_, count)| **count > 0) {
            *count -= 1;
            connections.push(endpoint);
        }
    }
    connections
}

fn groups_led(cluster: &Cluster, endpoint: &Endpoint) -> usize {
    let led = cluster.topology.groups.iter().filter(|group| group.leader == Some(endpoint.node));
    led.filter(|group| endpoint.core.is_none_or(|core| core == group.core)).count()
}

pub(crate) fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX / 4)
}

/// The history file and the thread that writes it, so that a slow disk does not delay requests at once.
struct HistoryFile {
    path: String,
    pieces: SyncSender<Vec<u8>>,
    writer: JoinHandle<std::io::Result<()>>,
}

impl HistoryFile {
    fn open(path: &std::path::Path) -> Result<Self, LoadError> {
        let name = path.display().to_string();
        let refuse = |source| LoadError::File { what: format!("history {name}"), source };
        // Appended: the audit of a run that was done before goes into the same history.
        let mut file = File::options().create(true).append(true).open(path).map_err(refuse)?;
        let (pieces, inbox) = mpsc::sync_channel::<Vec<u8>>(HISTORY_PIECES);
        let writer = std::thread::Builder::new().name("loadgen-history".into()).spawn(move || {
            let mut result = Ok(());
            // Even after an error the inbox is emptied, so that no generator waits for it.
            for piece in inbox {
                if result.is_ok() {
                    result = file.write_all(&piece);
                }
            }
            result.and_then(|()| file.flush())
        });
        let writer = writer.map_err(refuse)?;
        Ok(Self { path: name, pieces, writer })
    }
    fn close(self) -> Result<(), LoadError> {
        drop(self.pieces);
        let written =
            self.writer.join().unwrap_or_else(|_| Err(std::io::Error::other("the writer broke off")));
        written.map_err(|source| LoadError::File { what: format!("history {}", self.path), source })
    }
}
