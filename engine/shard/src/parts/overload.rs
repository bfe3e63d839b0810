//! Whether a group refuses requests because too much waits in it. The operator hears when that begins and
//! when it is over, not of each request.

use synod_types::{Mono, Nanos};

/// A group that has refused nothing for this long is not overloaded any more.
const OVER_AFTER: Nanos = Nanos::from_ms(1_000);

/// The overload of one group.
#[derive(Debug, Default)]
pub(crate) struct Overload {
    /// When it last refused a request, while it is overloaded.
    refused_at: Option<Mono>,
    /// Requests refused since the overload began.
    refused: u64,
}

impl Overload {
    /// A request is refused. Returns whether the overload begins with it.
    pub fn refuse(&mut self, now: Mono) -> bool {
        let begins = self.refused_at.is_none();
        self.refused_at = Some(now);
        self.refused += 1;
        begins
    }

    /// Returns the number of refused requests if the overload is over now.
    pub fn end_if_over(&mut self, now: Mono) -> Option<u64> {
        let refused_at = self.refused_at?;
        if now.since(refused_at) < OVER_AFTER {
            return None;
        }
        self.refused_at = None;
        Some(core::mem::take(&mut self.refused))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Mono {
        Mono(Nanos::from_ms(ms).0)
    }

    #[test]
    fn an_overload_begins_once_and_ends_after_a_second_without_a_refusal() {
        let mut overload = Overload::default();
        assert_eq!(overload.end_if_over(at(5_000)), None, "there is none");
        assert!(overload.refuse(at(5_000)));
        assert!(!overload.refuse(at(5_900)));
        assert_eq!(overload.end_if_over(at(6_899)), None);
        assert_eq!(overload.end_if_over(at(6_900)), Some(2));
        assert_eq!(overload.end_if_over(at(9_000)), None, "told once");
        assert!(overload.refuse(at(9_001)), "the next one");
    }
}
