//! `Op::IfEqual`: a lock is given back or kept by whoever still holds it.
//!
//! The value is compared and the key changed while one command is applied, so nothing comes between the two. A value that is
//! cold is read first, like the old value of a SET; one of another length differs without being read.

use crate::apply::{EXPIRE_AT_MAX, Outcome, Turn};
use crate::index::RecordId;
use crate::version::PackedVersion;
use synod_types::{ErrorKind, Reply, Then, WallMs};

const NOT_DONE: Outcome = Outcome::Reply(Reply::Int(0));
const DONE: Outcome = Outcome::Reply(Reply::Int(1));

impl Turn<'_> {
    pub(crate) fn execute_if_equal(
        &mut self,
        found: Option<RecordId>,
        expected: &[u8],
        then: Then,
    ) -> Outcome {
        let Some(id) = found else { return NOT_DONE };
        if self.group.index.record(id).value.len() != expected.len() {
            return NOT_DONE;
        }
        if let read @ Outcome::Read { .. } = self.take_old(id) {
            return read;
        }
        let is_equal = self.old_value.as_slice() == expected;
        self.old_value.clear();
        if !is_equal {
            return NOT_DONE;
        }
        // Nothing was changed up to here.
        let expire_at = match (then, self.group.index.expire_at(id)) {
            (Then::Delete, _) => {
                self.remove(id);
                return DONE;
            }
            (Then::RenewFor(_) | Then::ExtendBy(_), None) => return NOT_DONE,
            (Then::ExpireAfter(ms) | Then::RenewFor(ms), _) => self.group.applied_ts.0.checked_add(ms),
            (Then::ExtendBy(ms), Some(present)) => present.0.checked_add(ms),
        };
        let Some(expire_at) = expire_at.filter(|&time| time <= EXPIRE_AT_MAX) else {
            return Outcome::Reply(Reply::Error(ErrorKind::BadExpiry));
        };
        if expire_at <= self.group.applied_ts.0 {
            self.remove(id); // no time at all is left
            return DONE;
        }
        self.group.index.set_expiry(id, Some(WallMs(expire_at)));
        self.group.index.record_mut(id).version = PackedVersion::pack(self.version);
        DONE
    }
}
