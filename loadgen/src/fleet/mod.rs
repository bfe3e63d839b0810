//! The generator threads and the parts of a run: gives orders, gathers seconds, and ends within bounds whatever happens. A
//! thread that does not end is left behind, with what it told.

mod history;
mod member;

pub(crate) use history::Pieces;
pub(crate) use member::Farewell;

use crate::client::{self, Worker};
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
use history::HistoryFile;
use member::Member;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Beyond the bounds of an order and of its requests, this long is waited for a generator thread.
const GRACE: Duration = Duration::from_secs(if cfg!(test) { 8 } else { 20 });
/// How often the bounds are looked at.
const LOOK: Duration = Duration::from_millis(100);
/// A second that a thread owes is not waited for longer than this.
const SECOND_LATE_NS: u64 = 1_500_000_000;

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
    /// The thread is no more, however it ended. The last that is heard of it.
    Gone { thread: u32 },
}

/// Generator threads at work.
pub(crate) struct Fleet<'a> {
    options: &'a Options,
    orders: Arc<Orders>,
    news: Receiver<News>,
    members: Vec<Member>,
    number: u64,
    history: Option<HistoryFile>,
    hdr: Option<HdrLog>,
    series: Series,
}

/// What all threads leave behind, those that did not end included.
pub(crate) struct Remains {
    pub(crate) tally: Tally,
    /// Of the threads that ended.
    pub(crate) ledgers: Vec<Ledger>,
    /// Keys of those that did not: what they must hold is not known any more.
    pub(crate) lost_keys: u64,
    /// What did not end, in words.
    pub(crate) unfinished: Vec<String>,
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
        let mut fleet = Self {
            options,
            orders,
            news,
            members: Vec::new(),
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
            let keys = ledger.range().len() as u64;
            let worker = Worker {
                thread,
                driver: Driver::new(setup, ledger, monotonic_ns()),
                connect_timeout: options.stall,
                orders: Arc::clone(&fleet.orders),
                news: sender.clone(),
                history: fleet.history.as_ref().map(HistoryFile::pieces),
                farewell: Farewell::new(thread, sender.clone()),
                #[cfg(test)]
                fault: client::fault::of_thread(thread),
            };
            fleet.members.push(Member::new(client::start(worker)?, keys));
        }
        Ok(fleet)
    }

    /// Has all threads do `order` and waits for them, and returns what they measured; `bound` is how long they may take
    /// beside the requests' own time. A thread that takes longer, or breaks off, is lost: what it told by then is measured,
    /// and nothing is expected of it any more.
    pub(crate) fn perform(
        &mut self,
        order: Order,
        bound: Duration,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<Measured, LoadError> {
        self.number += 1;
        self.members.iter_mut().for_each(|member| member.begin(order));
        self.orders.give(self.number, Command::Do(order));
        let limit_ns = monotonic_ns() + nanos(bound + self.options.timeout + GRACE);
        let mut all = Measured::default();
        while self.members.iter().any(Member::is_busy) {
            match self.next_news() {
                Some(News::Done { thread, number, failure, measured }) => {
                    // A lost thread may come to itself and do what it was told long ago.
                    let member = &mut self.members[thread as usize];
                    if member.is_busy() && number == self.number {
                        member.is_done();
                        if let Some(failure) = failure {
                            // The run is over, whatever the others still do.
                            return Err(LoadError::Cluster(failure));
                        }
                        all.join(&measured);
                    }
                }
                Some(news) => self.take(news),
                None if monotonic_ns() > limit_ns => {
                    let late = self.members.iter_mut().filter(|member| member.is_busy());
                    late.for_each(|member| {
                        member.lose(phase_of(order), "did not end within the bounds of the run")
                    });
                }
                None => {}
            }
            self.show_seconds(false, progress);
        }
        self.show_seconds(true, progress);
        self.members.iter_mut().filter_map(Member::take_told).for_each(|told| all.join(&told));
        Ok(all)
    }

    /// Whether no thread is lost.
    pub(crate) fn is_whole(&self) -> bool {
        !self.members.iter().any(Member::is_lost)
    }

    /// The seconds since the last call.
    pub(crate) fn series(&mut self) -> &mut Series {
        &mut self.series
    }

    /// Ends all threads: what they counted, and their ledgers. Always within bounds.
    pub(crate) fn end(mut self) -> Remains {
        self.number += 1;
        self.orders.give(self.number, Command::End);
        let limit_ns = monotonic_ns() + nanos(GRACE);
        while self.members.iter().any(Member::is_awaited) && monotonic_ns() <= limit_ns {
            if let Some(news) = self.next_news() {
                self.take(news);
            }
        }
        let mut remains =
            Remains { tally: Tally::default(), ledgers: Vec::new(), lost_keys: 0, unfinished: Vec::new() };
        for (thread, member) in std::mem::take(&mut self.members).into_iter().enumerate() {
            match member.end() {
                Ok((counted, ledger)) => {
                    remains.tally.add(&counted);
                    remains.ledgers.push(ledger);
                }
                Err(lost) => {
                    remains.tally.verify_failures += lost.verify_failures;
                    remains.lost_keys += lost.keys;
                    remains.unfinished.push(format!(
                        "generator thread {thread} {}: its figures are those of the seconds that it told before, and \
                         its {} keys are not audited",
                        lost.why, lost.keys
                    ));
                }
            }
        }
        // What was measured is worth telling even where a file of it could not be written.
        let closed = [self.history.take().map(HistoryFile::close), self.hdr.take().map(HdrLog::close)];
        let failed = closed.into_iter().flatten().filter_map(Result::err);
        remains.unfinished.extend(failed.map(|error| error.to_string()));
        remains
    }

    /// The next news, if some come soon.
    fn next_news(&mut self) -> Option<News> {
        match self.news.recv_timeout(LOOK) {
            Ok(news) => Some(news),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                // Every thread says farewell before, so nobody is waited for; but what cannot be must not spin.
                std::thread::sleep(LOOK);
                None
            }
        }
    }

    fn take(&mut self, news: News) {
        match news {
            News::Second { thread, second } => self.members[thread as usize].tell(second),
            News::Ended { thread, result } => self.members[thread as usize].leave(result),
            News::Gone { thread } => self.members[thread as usize].is_gone(),
            // Of an order that nobody waits for.
            News::Done { .. } => {}
        }
    }

    /// Shows the seconds that all threads have told, or all there are.
    fn show_seconds(&mut self, all: bool, progress: &mut dyn FnMut(&Progress)) {
        loop {
            let Some(oldest_ns) = self.members.iter().filter_map(Member::front).map(|s| s.end_ns).min()
            else {
                return;
            };
            let complete = self.members.iter().all(|member| member.is_lost() || member.front().is_some());
            if !complete && !all && monotonic_ns() < oldest_ns + SECOND_LATE_NS {
                return;
            }
            // Threads enter a phase at about the same time; the one that is behind is shown first.
            let fronts = self.members.iter().filter_map(Member::front);
            let Some(phase) = fronts.min_by_key(|second| second.start_ns).map(|second| second.phase) else {
                return;
            };
            let together: Vec<_> = self
                .members
                .iter_mut()
                .filter_map(|member| member.pop_front_if(|second| second.phase == phase))
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

/// What an order is called when it did not end.
fn phase_of(order: Order) -> &'static str {
    match order {
        Order::Open { .. } => "opening of connections",
        Order::Preload { .. } => "preload",
        Order::Load { .. } => "load",
        Order::Audit { .. } => "audit",
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
