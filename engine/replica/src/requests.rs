//! Open requests, and the requester of each.

use synod_types::RequestId;

/// Open requests by number. A number is an index, and is used again after the answer.
#[derive(Debug)]
pub struct Requests<R> {
    places: Vec<Option<R>>,
    free: Vec<u32>,
}

impl<R> Default for Requests<R> {
    fn default() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }
}

impl<R> Requests<R> {
    /// Opens a request of `requester` and returns its number.
    pub fn open(&mut self, requester: R) -> RequestId {
        let place = match self.free.pop() {
            Some(place) => place,
            None => {
                self.places.push(None);
                (self.places.len() - 1) as u32 // bounded by connections times their open requests
            }
        };
        let held = self.places[place as usize].replace(requester);
        debug_assert!(held.is_none(), "a number that is in use is given out again");
        RequestId::new(u64::from(place))
    }

    /// Closes a request and returns its requester; the number is free again.
    ///
    /// # Panics
    /// When the request is not open: it is answered once.
    pub fn close(&mut self, id: RequestId) -> R {
        let place = id.get() as usize;
        let requester =
            self.places.get_mut(place).and_then(Option::take).expect("a request is answered once");
        self.free.push(place as u32);
        debug_assert!(self.free.len() <= self.places.len(), "a number is free twice");
        requester
    }

    /// The requester of an open request.
    ///
    /// # Panics
    /// When the request is not open.
    pub fn of(&self, id: RequestId) -> &R {
        let requester = self.places.get(id.get() as usize).and_then(Option::as_ref);
        requester.expect("an answered request asks for nothing")
    }

    /// All requesters that wait for an answer.
    pub fn iter(&self) -> impl Iterator<Item = &R> {
        self.places.iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_used_again_after_the_answer() {
        let mut requests = Requests::default();
        let (a, b) = (requests.open("a"), requests.open("b"));
        assert_eq!(requests.iter().copied().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(requests.close(a), "a");
        assert_eq!(requests.open("c"), a);
        assert_eq!((requests.close(b), requests.close(a)), ("b", "c"));
        assert_eq!(requests.iter().count(), 0);
    }
}
