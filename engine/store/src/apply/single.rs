//! Operations on one key that return its value or test its expiry: GETDEL, GETEX, EXPIRE with a condition.

use super::{Outcome, Turn, Until};
use crate::index::RecordId;
use crate::version::PackedVersion;
use synod_types::{ErrorKind, Expiry, ExpiryTest, Reply, WallMs};

impl Turn<'_> {
    pub(super) fn execute_get_delete(&mut self, found: Option<RecordId>) -> Outcome {
        let Some(id) = found else { return Outcome::Reply(Reply::Nil) };
        let outcome = self.take_old(id);
        if let Outcome::Reply(_) = outcome {
            self.remove(id);
        }
        outcome
    }

    pub(super) fn execute_get_expire(&mut self, found: Option<RecordId>, expiry: Expiry) -> Outcome {
        let Some(until) = self.resolve(expiry) else {
            return Outcome::Reply(Reply::Error(ErrorKind::BadExpiry));
        };
        if until == Until::AsBefore {
            return Outcome::Reply(Reply::Error(ErrorKind::Malformed));
        }
        let Some(id) = found else { return Outcome::Reply(Reply::Nil) };
        let outcome = self.take_old(id);
        if let Outcome::Reply(_) = outcome {
            self.give_expiry(id, until);
        }
        outcome
    }

    pub(super) fn execute_set_expiry_if(
        &mut self,
        found: Option<RecordId>,
        expiry: Expiry,
        test: ExpiryTest,
    ) -> Reply<()> {
        let until = match self.resolve(expiry) {
            Some(until @ (Until::Time(_) | Until::Past)) => until,
            Some(Until::Forever | Until::AsBefore) => return Reply::Error(ErrorKind::Malformed),
            None => return Reply::Error(ErrorKind::BadExpiry),
        };
        let Some(id) = found else { return Reply::Int(0) };
        let before = self.group.index.expire_at(id);
        // A key that is there expires after applied time, so a time that has passed is earlier than any.
        let wanted = if let Until::Time(time) = until { time } else { WallMs::ZERO };
        let holds = match (test, before) {
            (ExpiryTest::Unset, before) => before.is_none(),
            (ExpiryTest::Set, before) => before.is_some(),
            (ExpiryTest::Later, before) => before.is_some_and(|before| wanted > before),
            (ExpiryTest::Earlier, before) => before.is_none_or(|before| wanted < before),
            (ExpiryTest::SetEarlier, before) => before.is_some_and(|before| wanted < before),
        };
        if holds {
            self.give_expiry(id, until);
        }
        Reply::Int(i64::from(holds))
    }

    /// Changes a key's expiry; whether there was anything to change.
    pub(super) fn give_expiry(&mut self, id: RecordId, until: Until) -> bool {
        let expire_at = match until {
            Until::Forever if self.group.index.expire_at(id).is_none() => return false,
            Until::Forever | Until::AsBefore => None,
            Until::Time(time) => Some(time),
            Until::Past => {
                self.remove(id);
                return true;
            }
        };
        self.group.index.set_expiry(id, expire_at);
        self.group.index.record_mut(id).version = PackedVersion::pack(self.version);
        true
    }
}
