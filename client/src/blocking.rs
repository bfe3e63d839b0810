//! The blocking client: the calling thread does the work.

use crate::config::{Config, Defaults};
use crate::driver::{Driver, Number};
use crate::error::Error;
use crate::options::SetOptions;
use crate::pipeline::{Answers, Pipeline};
use crate::request::{Read, Request, Task, Versioned};
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};
use synod_net::binary::{NodeStatus, Topology};
use synod_net::client::{Outcome, TimeToLive};
use synod_types::{NodeId, Version};

/// A blocking client. It has no thread of its own: the calling thread waits for the answer.
///
/// A client is `Send` and does one call at a time, so each thread has its own, and one call may be a whole
/// [`Pipeline`]. (Tasks that share one client use `AsyncClient`, of feature `async`.)
/// It keeps a connection to each node that it has business with, and one session in each group that it writes
/// to. Keep a client for as long as possible: connecting costs a few round trips, and the first write of a key
/// group one more.
///
/// Every method may fail with any [`Error`]; which one tells whether the operation was executed.
///
/// ```no_run
/// use std::time::Duration;
/// use synod_client::{Client, SetOptions};
///
/// let mut client = Client::connect("synod://127.0.0.1:6379/?timeout=2s")?;
/// client.set("name", "Ada")?;
/// assert_eq!(client.get("name")?.as_deref(), Some(&b"Ada"[..]));
/// client.set_with("token", "x", SetOptions::new().if_absent().expire_in(Duration::from_secs(60)))?;
/// client.increment("visits", 1)?;
/// # Ok::<(), synod_client::Error>(())
/// ```
pub struct Client {
    driver: Driver,
    defaults: Defaults,
    config: Config,
}

/// `Debug` shows the settings, in which the password is hidden.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Client {
    /// Connects by a connection string; [`Config`] describes it.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when the string is wrong, [`Error::NotExecuted`] when no node answers within
    /// the timeout, [`Error::NotAdmitted`] when the cluster does not let this client in.
    pub fn connect(connection_string: &str) -> Result<Self, Error> {
        Self::connect_with(connection_string.parse()?)
    }

    /// The same with settings.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub fn connect_with(config: Config) -> Result<Self, Error> {
        let mut client = Self { driver: Driver::new(&config)?, defaults: config.defaults(), config };
        client.topology()?;
        Ok(client)
    }

    /// Executes a request.
    ///
    /// # Errors
    /// [`Error`].
    pub fn execute<T>(&mut self, request: Request<T>) -> Result<T, Error> {
        let (task, read) = request.into_task(self.defaults);
        let asked = Instant::now();
        self.driver.catch_up()?;
        let number = self.driver.start(task?, asked)?;
        loop {
            // Part of it may have been sent by now: that the system fails does not say that nothing happened.
            self.driver.turn(None).map_err(|_| Error::Unknown)?;
            while let Some((ended, result)) = self.driver.finished() {
                // Any other number is of an operation that an earlier call gave up.
                if ended == number {
                    return result.and_then(read);
                }
            }
        }
    }

    /// Executes many requests at once. The answers are in the order of the requests. As in a [`Pipeline`], one
    /// may be executed before another that stands earlier.
    pub fn execute_all<T>(
        &mut self,
        requests: impl IntoIterator<Item = Request<T>>,
    ) -> Vec<Result<T, Error>> {
        let defaults = self.defaults;
        let (tasks, reads): (Vec<_>, Vec<Read<T>>) =
            requests.into_iter().map(|request| request.into_task(defaults)).unzip();
        let outcomes = self.run_tasks(tasks);
        outcomes.into_iter().zip(reads).map(|(outcome, read)| outcome.and_then(read)).collect()
    }

    /// Executes the requests of a pipeline.
    pub fn run(&mut self, pipeline: Pipeline) -> Answers {
        let (number, requests) = pipeline.into_parts();
        Answers::new(number, self.execute_all(requests))
    }

    /// Has as many tasks in flight as the driver has room for.
    fn run_tasks(&mut self, tasks: Vec<Result<Task, Error>>) -> Vec<Result<Outcome, Error>> {
        if let Err(error) = self.driver.catch_up() {
            return tasks.iter().map(|_| Err(error.clone())).collect();
        }
        let asked = Instant::now();
        let mut results: Vec<Result<Outcome, Error>> = tasks.iter().map(|_| Err(Error::Unknown)).collect();
        let mut in_flight: BTreeMap<Number, usize> = BTreeMap::new();
        let mut waiting = tasks.into_iter().enumerate().peekable();
        loop {
            while let Some((index, task)) = waiting.next_if(|(_, task)| has_room_for(&self.driver, task)) {
                match task.and_then(|task| self.driver.start(task, asked)) {
                    Ok(number) => _ = in_flight.insert(number, index),
                    Err(error) => results[index] = Err(error),
                }
            }
            if in_flight.is_empty() && waiting.peek().is_none() {
                return results;
            }
            if let Err(error) = self.driver.turn(None) {
                // What is in flight stays unknown; the rest was not sent.
                waiting.for_each(|(index, _)| results[index] = Err(error.clone()));
                return results;
            }
            while let Some((ended, result)) = self.driver.finished() {
                if let Some(index) = in_flight.remove(&ended) {
                    results[index] = result;
                }
            }
        }
    }

    /// [`Request::get`]: the value of a key.
    ///
    /// # Errors
    /// [`Error`].
    pub fn get(&mut self, key: impl Into<Vec<u8>>) -> Result<Option<Vec<u8>>, Error> {
        self.execute(Request::get(key))
    }

    /// [`Request::get_versioned`]: the value of a key, and its version for [`Client::compare_and_set`].
    ///
    /// # Errors
    /// [`Error`].
    pub fn get_versioned(&mut self, key: impl Into<Vec<u8>>) -> Result<Option<Versioned>, Error> {
        self.execute(Request::get_versioned(key))
    }

    /// [`Request::exists`]: whether a key exists.
    ///
    /// # Errors
    /// [`Error`].
    pub fn exists(&mut self, key: impl Into<Vec<u8>>) -> Result<bool, Error> {
        self.execute(Request::exists(key))
    }

    /// [`Request::set`]: sets a key, which then does not expire.
    ///
    /// # Errors
    /// [`Error`].
    pub fn set(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Result<Version, Error> {
        self.execute(Request::set(key, value))
    }

    /// [`Request::set_with`]: sets a key under a condition or with an expiry.
    ///
    /// # Errors
    /// [`Error::ConditionNotMet`], and any other [`Error`].
    pub fn set_with(
        &mut self,
        key: impl Into<Vec<u8>>,
        value: impl Into<Vec<u8>>,
        options: SetOptions,
    ) -> Result<Version, Error> {
        self.execute(Request::set_with(key, value, options))
    }

    /// [`Request::get_and_set`]: sets a key and gives what it had.
    ///
    /// # Errors
    /// [`Error`].
    pub fn get_and_set(
        &mut self,
        key: impl Into<Vec<u8>>,
        value: impl Into<Vec<u8>>,
        options: SetOptions,
    ) -> Result<Option<Versioned>, Error> {
        self.execute(Request::get_and_set(key, value, options))
    }

    /// [`Request::compare_and_set`]: sets a key that still has the version that was read.
    ///
    /// # Errors
    /// [`Error::ConditionNotMet`], and any other [`Error`].
    pub fn compare_and_set(
        &mut self,
        key: impl Into<Vec<u8>>,
        expected: Version,
        value: impl Into<Vec<u8>>,
    ) -> Result<Version, Error> {
        self.execute(Request::compare_and_set(key, expected, value))
    }

    /// [`Request::delete`]: removes a key.
    ///
    /// # Errors
    /// [`Error`].
    pub fn delete(&mut self, key: impl Into<Vec<u8>>) -> Result<bool, Error> {
        self.execute(Request::delete(key))
    }

    /// [`Request::delete_if_version`]: removes a key that still has the version that was read.
    ///
    /// # Errors
    /// [`Error::ConditionNotMet`], and any other [`Error`].
    pub fn delete_if_version(&mut self, key: impl Into<Vec<u8>>, expected: Version) -> Result<bool, Error> {
        self.execute(Request::delete_if_version(key, expected))
    }

    /// [`Request::delete_if_equal`]: removes a key that has this value.
    ///
    /// # Errors
    /// [`Error`].
    pub fn delete_if_equal(
        &mut self,
        key: impl Into<Vec<u8>>,
        expected: impl Into<Vec<u8>>,
    ) -> Result<bool, Error> {
        self.execute(Request::delete_if_equal(key, expected))
    }

    /// [`Request::expire_if_equal`]: lets a key that has this value expire after `span`.
    ///
    /// # Errors
    /// [`Error`].
    pub fn expire_if_equal(
        &mut self,
        key: impl Into<Vec<u8>>,
        expected: impl Into<Vec<u8>>,
        span: Duration,
    ) -> Result<bool, Error> {
        self.execute(Request::expire_if_equal(key, expected, span))
    }

    /// [`Request::increment`]: adds to the integer in a key.
    ///
    /// # Errors
    /// [`Error`].
    pub fn increment(&mut self, key: impl Into<Vec<u8>>, delta: i64) -> Result<i64, Error> {
        self.execute(Request::increment(key, delta))
    }

    /// [`Request::expire`]: lets a key expire after `span`.
    ///
    /// # Errors
    /// [`Error`].
    pub fn expire(&mut self, key: impl Into<Vec<u8>>, span: Duration) -> Result<bool, Error> {
        self.execute(Request::expire(key, span))
    }

    /// [`Request::persist`]: removes the expiry of a key.
    ///
    /// # Errors
    /// [`Error`].
    pub fn persist(&mut self, key: impl Into<Vec<u8>>) -> Result<bool, Error> {
        self.execute(Request::persist(key))
    }

    /// [`Request::ttl`]: the time that a key has left.
    ///
    /// # Errors
    /// [`Error`].
    pub fn ttl(&mut self, key: impl Into<Vec<u8>>) -> Result<TimeToLive, Error> {
        self.execute(Request::ttl(key))
    }

    /// [`Request::topology`]: the nodes, the groups and their leaders, freshly asked.
    ///
    /// # Errors
    /// [`Error`].
    pub fn topology(&mut self) -> Result<Topology, Error> {
        self.execute(Request::topology())
    }

    /// [`Request::status`]: the status of any node.
    ///
    /// # Errors
    /// [`Error`].
    pub fn status(&mut self) -> Result<NodeStatus, Error> {
        self.execute(Request::status())
    }

    /// [`Request::status_of`]: the status of a given node.
    ///
    /// # Errors
    /// [`Error`].
    pub fn status_of(&mut self, node: NodeId) -> Result<NodeStatus, Error> {
        self.execute(Request::status_of(node))
    }
}

/// Whether this task may start now; one that is faulty needs no room.
fn has_room_for(driver: &Driver, task: &Result<Task, Error>) -> bool {
    match task {
        Ok(task) => driver.has_room_for(task),
        Err(_) => true,
    }
}
