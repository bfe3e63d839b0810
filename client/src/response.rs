//! The answer to a request as a future: filled by the driver's thread, awaited on any executor.

use crate::error::Error;
use crate::request::Read;
use std::any::Any;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use synod_net::client::Outcome;

/// The answer to a request. The request is under way from the moment the response exists: to have many
/// requests in flight, make their responses first, and await them afterwards.
///
/// To drop a response does not call the request back: it may still be executed.
#[must_use = "the answer says whether the request was executed"]
pub struct Response<T> {
    place: Arc<Place>,
    read: Read<T>,
    /// Keeps the driver's thread at work until the answer is here, even if all clients are gone.
    _alive: Arc<dyn Any + Send + Sync>,
}

/// Where the driver's thread puts the answer.
#[derive(Default)]
struct Place(Mutex<State>);

#[derive(Default)]
struct State {
    result: Option<Result<Outcome, Error>>,
    waker: Option<Waker>,
}

impl Place {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A waker that panics leaves the state whole: it is called after the last change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fill(&self, result: Result<Outcome, Error>) {
        let waker = {
            let mut state = self.lock();
            // The first result counts.
            state.result.get_or_insert(result);
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// The driver's end of a [`Response`]. If it is dropped without a word, the outcome is unknown.
pub(crate) struct Promise(Option<Arc<Place>>);

impl Promise {
    /// Gives the answer.
    pub(crate) fn keep(mut self, result: Result<Outcome, Error>) {
        if let Some(place) = self.0.take() {
            place.fill(result);
        }
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        if let Some(place) = self.0.take() {
            place.fill(Err(Error::Unknown));
        }
    }
}

/// A response, and the driver's end of it.
pub(crate) fn promise<T>(read: Read<T>, alive: Arc<dyn Any + Send + Sync>) -> (Promise, Response<T>) {
    let place = Arc::new(Place::default());
    (Promise(Some(Arc::clone(&place))), Response { place, read, _alive: alive })
}

impl<T> Future for Response<T> {
    type Output = Result<T, Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.place.lock();
        match state.result.take() {
            Some(result) => {
                drop(state);
                Poll::Ready(result.and_then(self.read))
            }
            None => {
                match &mut state.waker {
                    Some(waker) => waker.clone_from(context.waker()),
                    None => state.waker = Some(context.waker().clone()),
                }
                Poll::Pending
            }
        }
    }
}

impl<T> fmt::Debug for Response<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_here = self.place.lock().result.is_some();
        f.debug_struct("Response").field("is_here", &is_here).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::{block_on, poll_once};
    use synod_types::Reply;

    fn number(outcome: Outcome) -> Result<i64, Error> {
        match outcome {
            Outcome::Reply(Reply::Int(number)) => Ok(number),
            _ => Err(Error::UnexpectedAnswer),
        }
    }

    #[test]
    fn an_answer_from_another_thread_wakes_the_one_that_waits() {
        let (promise, mut response) = promise(number, Arc::new(()));
        assert_eq!(block_on(poll_once(&mut response)), None);
        let giver = std::thread::spawn(move || promise.keep(Ok(Outcome::Reply(Reply::Int(5)))));
        assert_eq!(block_on(response), Ok(5));
        giver.join().expect("it has given");
    }

    #[test]
    fn a_promise_that_is_broken_leaves_the_outcome_unknown() {
        let (promise, response) = promise(number, Arc::new(()));
        drop(promise);
        assert_eq!(block_on(response), Err(Error::Unknown));
    }
}
