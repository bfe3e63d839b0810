//! The async client: one thread drives the machine, and any executor awaits the answers.
//!
//! ```text
//!  AsyncClient ─ job ─▶ channel ─▶ driver's thread ─▶ Driver ─▶ sockets
//!      Response ◀────────── promise ◀──┘
//! ```

use crate::config::{Config, Defaults};
use crate::driver::{Driver, Number};
use crate::error::{Cause, Error};
use crate::options::SetOptions;
use crate::request::{Request, Task, Versioned};
use crate::response::{Promise, Response, promise};
use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SendError, Sender, TryRecvError, channel};
use std::time::{Duration, Instant};
use synod_net::binary::{NodeStatus, Topology};
use synod_net::client::TimeToLive;
use synod_types::{NodeId, Version};

/// The most requests that wait to be sent; more end as [`Cause::NotSent`].
const JOBS_MAX: usize = 32 << 10;
/// The most bytes of keys and values that wait to be sent; more end as [`Cause::NotSent`].
const JOBS_BYTES_MAX: usize = 64 << 20;

/// A client for async programs. Its futures run on any executor: a thread of the client's own does the work.
///
/// It is cheap to clone, and clones share connections and sessions. Requests of all clones are in flight at
/// the same time. A request starts when its method is called, not when its [`Response`] is first polled.
/// The thread ends with the last clone and the last response. Host names are looked up on that thread, so a
/// name server that does not answer delays the other requests.
///
/// ```no_run
/// use synod_client::AsyncClient;
///
/// # async fn example() -> Result<(), synod_client::Error> {
/// let client = AsyncClient::connect("synod://127.0.0.1:6379").await?;
/// // Both are in flight before the first is awaited.
/// let (ada, bob) = (client.increment("ada", 1), client.increment("bob", 1));
/// println!("{} {}", ada.await?, bob.await?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct AsyncClient {
    link: Arc<Link>,
    config: Config,
}

/// The way to the driver's thread. The thread ends when this is dropped.
struct Link {
    /// `None` only while it is dropped.
    jobs: Option<Sender<Job>>,
    backlog: Arc<Backlog>,
    waker: Arc<mio::Waker>,
    defaults: Defaults,
}

impl Drop for Link {
    fn drop(&mut self) {
        // First the channel, so that the thread that wakes finds it closed.
        self.jobs = None;
        // If it cannot be woken, it ends when something else wakes it.
        let _ = self.waker.wake();
    }
}

/// What waits to be sent, in the channel and behind it. It bounds both.
#[derive(Default)]
struct Backlog {
    jobs: AtomicUsize,
    bytes: AtomicUsize,
}

impl Backlog {
    /// Counts a job of so many bytes, if there is room for it.
    fn enter(&self, bytes: usize) -> bool {
        let jobs = self.jobs.fetch_add(1, Ordering::Relaxed) + 1;
        let all_bytes = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let has_room = jobs <= JOBS_MAX && all_bytes <= JOBS_BYTES_MAX;
        if !has_room {
            self.leave(bytes);
        }
        has_room
    }

    /// A job that had entered waits no more.
    fn leave(&self, bytes: usize) {
        self.jobs.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// One request for the driver's thread.
struct Job {
    task: Task,
    asked: Instant,
    promise: Promise,
}

/// `Debug` shows the settings, in which the password is hidden.
impl fmt::Debug for AsyncClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncClient").field("config", &self.config).finish_non_exhaustive()
    }
}

impl AsyncClient {
    /// Connects by a connection string; [`Config`] describes it.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when the string is wrong, [`Error::NotExecuted`] when no node answers within
    /// the timeout, [`Error::NotAdmitted`] when the cluster does not let this client in.
    pub async fn connect(connection_string: &str) -> Result<Self, Error> {
        Self::connect_with(connection_string.parse()?).await
    }

    /// The same with settings.
    ///
    /// # Errors
    /// As [`AsyncClient::connect`].
    pub async fn connect_with(config: Config) -> Result<Self, Error> {
        let client = Self::start(config)?;
        client.topology().await?;
        Ok(client)
    }

    /// Starts the thread, which does not connect before the first request.
    fn start(config: Config) -> Result<Self, Error> {
        let driver = Driver::new(&config)?;
        let (jobs, received) = channel();
        let waker = Arc::new(driver.waker()?);
        let backlog = Arc::new(Backlog::default());
        let work = Work::new(driver, received, Arc::clone(&backlog), Arc::clone(&waker));
        let link = Link { jobs: Some(jobs), backlog, waker, defaults: config.defaults() };
        std::thread::Builder::new()
            .name("synod-client".into())
            .spawn(move || work.run())
            .map_err(|error| Error::System(error.to_string()))?;
        Ok(Self { link: Arc::new(link), config })
    }

    /// Starts a request.
    pub fn execute<T>(&self, request: Request<T>) -> Response<T> {
        let (task, read) = request.into_task(self.link.defaults);
        let alive: Arc<dyn Any + Send + Sync> = self.link.clone();
        let (promise, response) = promise(read, alive);
        match task {
            Ok(task) => self.link.send(Job { task, asked: Instant::now(), promise }),
            Err(error) => promise.keep(Err(error)),
        }
        response
    }

    /// [`Request::get`]: the value of a key.
    pub fn get(&self, key: impl Into<Vec<u8>>) -> Response<Option<Vec<u8>>> {
        self.execute(Request::get(key))
    }

    /// [`Request::get_versioned`]: the value of a key, and its version for [`AsyncClient::compare_and_set`].
    pub fn get_versioned(&self, key: impl Into<Vec<u8>>) -> Response<Option<Versioned>> {
        self.execute(Request::get_versioned(key))
    }

    /// [`Request::exists`]: whether a key exists.
    pub fn exists(&self, key: impl Into<Vec<u8>>) -> Response<bool> {
        self.execute(Request::exists(key))
    }

    /// [`Request::set`]: sets a key, which then does not expire.
    pub fn set(&self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Response<Version> {
        self.execute(Request::set(key, value))
    }

    /// [`Request::set_with`]: sets a key under a condition or with an expiry.
    pub fn set_with(
        &self,
        key: impl Into<Vec<u8>>,
        value: impl Into<Vec<u8>>,
        options: SetOptions,
    ) -> Response<Version> {
        self.execute(Request::set_with(key, value, options))
    }

    /// [`Request::get_and_set`]: sets a key and gives what it had.
    pub fn get_and_set(
        &self,
        key: impl Into<Vec<u8>>,
        value: impl Into<Vec<u8>>,
        options: SetOptions,
    ) -> Response<Option<Versioned>> {
        self.execute(Request::get_and_set(key, value, options))
    }

    /// [`Request::compare_and_set`]: sets a key that still has the version that was read.
    pub fn compare_and_set(
        &self,
        key: impl Into<Vec<u8>>,
        expected: Version,
        value: impl Into<Vec<u8>>,
    ) -> Response<Version> {
        self.execute(Request::compare_and_set(key, expected, value))
    }

    /// [`Request::delete`]: removes a key.
    pub fn delete(&self, key: impl Into<Vec<u8>>) -> Response<bool> {
        self.execute(Request::delete(key))
    }

    /// [`Request::delete_if_version`]: removes a key that still has the version that was read.
    pub fn delete_if_version(&self, key: impl Into<Vec<u8>>, expected: Version) -> Response<bool> {
        self.execute(Request::delete_if_version(key, expected))
    }

    /// [`Request::delete_if_equal`]: removes a key that has this value.
    pub fn delete_if_equal(&self, key: impl Into<Vec<u8>>, expected: impl Into<Vec<u8>>) -> Response<bool> {
        self.execute(Request::delete_if_equal(key, expected))
    }

    /// [`Request::expire_if_equal`]: lets a key that has this value expire after `span`.
    pub fn expire_if_equal(
        &self,
        key: impl Into<Vec<u8>>,
        expected: impl Into<Vec<u8>>,
        span: Duration,
    ) -> Response<bool> {
        self.execute(Request::expire_if_equal(key, expected, span))
    }

    /// [`Request::increment`]: adds to the integer in a key.
    pub fn increment(&self, key: impl Into<Vec<u8>>, delta: i64) -> Response<i64> {
        self.execute(Request::increment(key, delta))
    }

    /// [`Request::expire`]: lets a key expire after `span`.
    pub fn expire(&self, key: impl Into<Vec<u8>>, span: Duration) -> Response<bool> {
        self.execute(Request::expire(key, span))
    }

    /// [`Request::persist`]: removes the expiry of a key.
    pub fn persist(&self, key: impl Into<Vec<u8>>) -> Response<bool> {
        self.execute(Request::persist(key))
    }

    /// [`Request::ttl`]: the time that a key has left.
    pub fn ttl(&self, key: impl Into<Vec<u8>>) -> Response<TimeToLive> {
        self.execute(Request::ttl(key))
    }

    /// [`Request::topology`]: the nodes, the groups and their leaders, freshly asked.
    pub fn topology(&self) -> Response<Topology> {
        self.execute(Request::topology())
    }

    /// [`Request::status`]: the status of any node.
    pub fn status(&self) -> Response<NodeStatus> {
        self.execute(Request::status())
    }

    /// [`Request::status_of`]: the status of a given node.
    pub fn status_of(&self, node: NodeId) -> Response<NodeStatus> {
        self.execute(Request::status_of(node))
    }
}

impl Link {
    fn send(&self, job: Job) {
        let Some(jobs) = &self.jobs else { return };
        if !self.backlog.enter(job.task.byte_len()) {
            return job.promise.keep(Err(Error::NotExecuted(Cause::NotSent)));
        }
        match jobs.send(job) {
            Ok(()) => {
                // If the thread cannot be woken, it takes the job when something else wakes it.
                let _ = self.waker.wake();
            }
            Err(SendError(job)) => {
                job.promise.keep(Err(Error::System("the client's thread has ended".into())));
            }
        }
    }
}

/// The work of the driver's thread.
struct Work {
    driver: Driver,
    jobs: Receiver<Job>,
    /// Jobs that the driver has no room for yet, in order.
    waiting: VecDeque<Job>,
    /// No job in `waiting` is to be given up before this time; `None` if none ever is.
    next_expiry: Option<Instant>,
    backlog: Arc<Backlog>,
    in_flight: BTreeMap<Number, Promise>,
    /// Held so that the last call of the clients, which then drop it, is still heard.
    _waker: Arc<mio::Waker>,
}

impl Work {
    fn new(driver: Driver, jobs: Receiver<Job>, backlog: Arc<Backlog>, waker: Arc<mio::Waker>) -> Self {
        let (waiting, in_flight) = (VecDeque::new(), BTreeMap::new());
        Self { driver, jobs, waiting, next_expiry: None, backlog, in_flight, _waker: waker }
    }

    /// Works until there is no client any more. Responses keep the clients' end open, so nobody waits then.
    fn run(mut self) {
        while self.take_jobs() {
            self.start_jobs();
            let limit = self.expire_jobs();
            if let Err(error) = self.driver.turn(limit) {
                return self.fail(&error);
            }
            while let Some((number, result)) = self.driver.finished() {
                if let Some(promise) = self.in_flight.remove(&number) {
                    promise.keep(result);
                }
            }
        }
    }

    /// Takes all jobs from the channel. Returns whether more can come.
    fn take_jobs(&mut self) -> bool {
        loop {
            match self.jobs.try_recv() {
                Ok(job) => {
                    let known = [self.next_expiry, job.task.deadline(job.asked)];
                    self.next_expiry = known.into_iter().flatten().min();
                    self.waiting.push_back(job);
                }
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn start_jobs(&mut self) {
        while let Some(job) = self.waiting.pop_front_if(|job| self.driver.has_room_for(&job.task)) {
            self.backlog.leave(job.task.byte_len());
            match self.driver.start(job.task, job.asked) {
                Ok(number) => _ = self.in_flight.insert(number, job.promise),
                Err(error) => job.promise.keep(Err(error)),
            }
        }
    }

    /// Gives up jobs that have waited for as long as they may. Returns how long it is until the next one has.
    fn expire_jobs(&mut self) -> Option<Duration> {
        if self.waiting.is_empty() {
            self.next_expiry = None;
        }
        let next_expiry = self.next_expiry?;
        let now = Instant::now();
        // All jobs are looked at only when the time of one of them has come.
        if next_expiry <= now {
            let is_over = |job: &Job| job.task.deadline(job.asked).is_some_and(|deadline| deadline <= now);
            let (over, waiting): (VecDeque<Job>, VecDeque<Job>) =
                std::mem::take(&mut self.waiting).into_iter().partition(is_over);
            self.waiting = waiting;
            self.next_expiry = self.waiting.iter().filter_map(|job| job.task.deadline(job.asked)).min();
            for job in over {
                self.backlog.leave(job.task.byte_len());
                job.promise.keep(Err(Error::NotExecuted(Cause::NotSent)));
            }
        }
        Some(self.next_expiry?.saturating_duration_since(now))
    }

    /// The operating system does not say any more what happens on the sockets.
    fn fail(self, error: &Error) {
        for job in self.waiting {
            job.promise.keep(Err(error.clone()));
        }
        // What is in flight ends as unknown when its promise is dropped.
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::block_on;
    use std::net::TcpListener;

    #[test]
    fn a_request_behind_a_full_window_keeps_its_timeout() {
        // The system accepts connections for this listener, and nobody ever answers on them.
        let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = silent.local_addr().expect("bound").port();
        let text = format!("synod://127.0.0.1:{port}/?timeout=60s");
        let client = AsyncClient::start(text.parse().expect("a connection string")).expect("a thread");
        // More than are in flight at once, and each of them may wait for a minute.
        let before: Vec<_> = (0..1000).map(|_| client.get("key")).collect();
        let begun = Instant::now();
        let quick = client.execute(Request::get("key").timeout(Duration::from_millis(50)));
        assert_eq!(block_on(quick), Err(Error::NotExecuted(Cause::NotSent)));
        assert!(begun.elapsed() < Duration::from_secs(30), "it waits for no other request");
        drop(before);
    }

    #[test]
    fn what_waits_is_bounded_by_number_and_by_bytes() {
        let backlog = Backlog::default();
        assert!((0..JOBS_MAX).all(|_| backlog.enter(0)));
        assert!(!backlog.enter(0), "too many");
        backlog.leave(0);
        assert!(backlog.enter(JOBS_BYTES_MAX), "what was turned away is not counted");
        backlog.leave(JOBS_BYTES_MAX);
        assert!(!backlog.enter(JOBS_BYTES_MAX + 1), "too many bytes");
        assert!(backlog.enter(1));
    }
}
