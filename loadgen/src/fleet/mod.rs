//! Coordinates the generator threads and the parts of a run: gives orders, collects seconds, and always ends
//! within a bounded time. A thread that does not end is abandoned; the seconds that it reported still count.

mod history;
mod member;
mod orders;

pub(crate) use history::Pieces;
pub use orders::Stop;
pub(crate) use orders::{Command, Farewell, News, Orders};

use crate::client::{self, Worker};
use crate::clock::{monotonic_ns, nanos};
use crate::control::Cluster;
use crate::driver::{Driver, Endpoint, KindSecond, Measured, Order, Pace, Second, Setup, Tally, spread};
use crate::error::LoadError;
use crate::hdr::HdrLog;
use crate::histogram::Latencies;
use crate::ledger::Ledger;
use crate::options::Options;
use crate::phase::Phase;
use crate::report::Progress;
use crate::series::{Moment, Series};
use crate::share::share_of_keys;
use crate::workload::Kind;
use history::HistoryFile;
use member::Member;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

/// A phase of load begins this long after it was ordered, so that all threads begin together.
pub(crate) const HEAD_START: Duration = Duration::from_millis(20);
/// How long to wait for a generator thread beyond the bounds of an order and of its requests.
const GRACE: Duration = Duration::from_secs(if cfg!(test) { 8 } else { 20 });
/// How often the bounds are checked.
const LOOK: Duration = Duration::from_millis(100);
/// How long to wait for a second that a thread has not reported yet.
const SECOND_LATE_NS: u64 = 1_500_000_000;

/// The running generator threads.
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

/// The results of all threads, including those that did not end.
pub(crate) struct Remains {
    pub(crate) tally: Tally,
    /// The ledgers of the threads that ended.
    pub(crate) ledgers: Vec<Ledger>,
    /// The number of keys of the threads that did not end: it is not known what these keys must hold.
    pub(crate) lost_keys: u64,
    /// What did not end or failed, in words.
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

    /// Gives `order` to all threads, waits for them, and returns what they measured. `bound` is how long they
    /// may take in addition to the requests' timeout. A thread that takes longer, or dies, is lost: the
    /// seconds that it reported count, and nothing more is expected of it.
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
                    // A lost thread may recover and finish an earlier order.
                    let member = &mut self.members[thread as usize];
                    if member.is_busy() && number == self.number {
                        member.is_done();
                        if let Some(failure) = failure {
                            // The run is over, even if other threads are still busy.
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

    /// The series of seconds, which the caller may take.
    pub(crate) fn series(&mut self) -> &mut Series {
        &mut self.series
    }

    /// Ends all threads and returns their counts and ledgers. Always takes a bounded time.
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
        // A file that could not be written is reported, but does not discard the measurements.
        let closed = [self.history.take().map(HistoryFile::close), self.hdr.take().map(HdrLog::close)];
        let failed = closed.into_iter().flatten().filter_map(Result::err);
        remains.unfinished.extend(failed.map(|error| error.to_string()));
        remains
    }

    /// The next news, if any arrive within `LOOK`.
    fn next_news(&mut self) -> Option<News> {
        match self.news.recv_timeout(LOOK) {
            Ok(news) => Some(news),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                // Every thread has sent its farewell before this, so it should not happen; if it does, the
                // loop must not spin.
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
            // This belongs to an order that is no longer waited for.
            News::Done { .. } => {}
        }
    }

    /// Shows the seconds that all threads have reported; with `all`, every second that was reported.
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
            // Threads enter a phase at about the same time; the earliest second is shown first.
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
    /// Tells the threads to end, also when the run has failed.
    fn drop(&mut self) {
        self.orders.give(u64::MAX, Command::End);
    }
}

/// The name of an order in the message that it did not end.
fn phase_of(order: Order) -> &'static str {
    match order {
        Order::Open { .. } => "opening of connections",
        Order::Preload { .. } => "preload",
        Order::Load { pace: Pace::Probe, .. } => "probe",
        Order::Load { .. } => "load",
        Order::Audit { .. } => "audit",
    }
}

fn moment_of(phase: Phase, seconds: &[Second]) -> Moment {
    let mut kinds: [KindSecond; Kind::COUNT] = Default::default();
    for second in seconds {
        kinds.iter_mut().zip(&second.kinds).for_each(|(all, one)| all.add(one));
    }
    // `seconds` holds at least one.
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

/// The endpoint of each connection of one thread: its share of all connections, spread over the endpoints by
/// the groups they lead.
fn connections_of(options: &Options, cluster: &Cluster, thread: u32) -> Vec<usize> {
    let share = share_of_keys(options.connections, thread, options.threads).len();
    let leads: Vec<usize> = cluster.endpoints.iter().map(|endpoint| groups_led(cluster, endpoint)).collect();
    let mut left = spread(share, &leads);
    let mut connections = Vec::new();
    // In rotation, so that links with neighbouring numbers are on different nodes.
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
