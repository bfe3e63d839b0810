//! Many requests with answers of different types, executed together.

use crate::error::Error;
use crate::request::{Read, Request};
use std::sync::atomic::{AtomicU64, Ordering};
use synod_net::client::Outcome;

/// Tells the pipelines of a process apart, so that a ticket opens only its own.
static NEXT_NUMBER: AtomicU64 = AtomicU64::new(1);

/// Requests that are executed together: all are in flight at once, and the answers come back in the order in
/// which they were added. They are independent of each other: one may be executed before another that was
/// added earlier, and one may fail while the others succeed.
///
/// ```no_run
/// use synod_client::{Client, Pipeline, Request};
///
/// let mut client = Client::connect("synod://127.0.0.1:6379")?;
/// let mut pipeline = Pipeline::new();
/// let hits = pipeline.add(Request::increment("hits", 1));
/// let name = pipeline.add(Request::get("name"));
/// let mut answers = client.run(pipeline);
/// let hits: i64 = answers.take(hits)?;
/// let name: Option<Vec<u8>> = answers.take(name)?;
/// # let _ = (hits, name);
/// # Ok::<(), synod_client::Error>(())
/// ```
#[derive(Debug)]
pub struct Pipeline {
    number: u64,
    requests: Vec<Request<Outcome>>,
}

/// The claim to one answer of a [`Pipeline`].
#[derive(Debug)]
#[must_use = "Answers::take gives the answer for it"]
pub struct Ticket<T> {
    pipeline: u64,
    index: usize,
    read: Read<T>,
}

/// The answers to a [`Pipeline`].
#[derive(Debug)]
pub struct Answers {
    pipeline: u64,
    answers: Vec<Option<Result<Outcome, Error>>>,
}

impl Default for Pipeline {
    fn default() -> Self {
        Self::new()
    }
}

impl Pipeline {
    /// An empty pipeline.
    pub fn new() -> Self {
        Self { number: NEXT_NUMBER.fetch_add(1, Ordering::Relaxed), requests: Vec::new() }
    }

    /// Adds a request. [`Answers::take`] gives its answer for the ticket.
    pub fn add<T>(&mut self, request: Request<T>) -> Ticket<T> {
        let (request, read) = request.into_raw();
        let index = self.requests.len();
        self.requests.push(request);
        Ticket { pipeline: self.number, index, read }
    }

    /// The number of requests.
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// Whether it has no request.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    pub(crate) fn into_parts(self) -> (u64, Vec<Request<Outcome>>) {
        (self.number, self.requests)
    }
}

impl Answers {
    pub(crate) fn new(pipeline: u64, answers: Vec<Result<Outcome, Error>>) -> Self {
        Self { pipeline, answers: answers.into_iter().map(Some).collect() }
    }

    /// The answer to the request that the ticket was given for.
    ///
    /// # Errors
    /// [`Error`]: why that request has no result; [`Error::InvalidArgument`] for another pipeline's ticket.
    pub fn take<T>(&mut self, ticket: Ticket<T>) -> Result<T, Error> {
        let is_own = ticket.pipeline == self.pipeline;
        let answer = self.answers.get_mut(ticket.index).filter(|_| is_own).and_then(Option::take);
        let Some(answer) = answer else {
            return Err(Error::InvalidArgument("the ticket is of another pipeline".into()));
        };
        answer.and_then(ticket.read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use synod_types::Reply;

    #[test]
    fn a_ticket_opens_its_own_answer_only() {
        let mut pipeline = Pipeline::new();
        let first = pipeline.add(Request::increment("n", 1));
        let second = pipeline.add(Request::get("k"));
        let third = pipeline.add(Request::get("k"));
        assert_eq!((pipeline.len(), pipeline.is_empty()), (3, false));
        let foreign = Pipeline::new().add(Request::increment("n", 1));
        let (number, _) = pipeline.into_parts();
        let outcomes =
            vec![Ok(Outcome::Reply(Reply::Int(7))), Ok(Outcome::Reply(Reply::Nil)), Err(Error::Unknown)];
        let mut answers = Answers::new(number, outcomes);
        assert!(matches!(answers.take(foreign), Err(Error::InvalidArgument(_))));
        assert_eq!(answers.take(second), Ok(None));
        assert_eq!(answers.take(first), Ok(7));
        assert_eq!(answers.take(third), Err(Error::Unknown));
    }
}
