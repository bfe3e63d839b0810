//! The attempts of all clients: whose each one is, and the stamp it carried. Exactly once (P-12e): all
//! attempts of one stamped write that are answered get the same answer.

use crate::check::coverage::Coverage;
use crate::check::{Checked, Violation};
use std::collections::BTreeMap;
use synod_types::{ErrorKind, GroupId, Reply, SessionId, SessionStamp};

/// Names one attempt of one operation; never used twice.
pub type AttemptId = u64;

/// All attempts there ever were.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    last: AttemptId,
    owner: BTreeMap<AttemptId, usize>,
    /// The stamp an attempt carried.
    stamp_of: BTreeMap<AttemptId, (GroupId, SessionStamp)>,
    /// First answer per stamped write: a later answer to a retry of it must be the same.
    stamped: BTreeMap<(GroupId, SessionId, u64), Reply<Vec<u8>>>,
}

impl Attempts {
    /// A new attempt of `client`.
    pub(super) fn begin(&mut self, client: usize) -> AttemptId {
        self.last += 1;
        self.owner.insert(self.last, client);
        self.last
    }

    /// The client an attempt belongs to.
    pub(super) fn owner(&self, attempt: AttemptId) -> usize {
        self.owner[&attempt]
    }

    /// An attempt carries this stamp, unless it is the stamp of no session.
    pub(super) fn stamp(&mut self, attempt: AttemptId, group: GroupId, stamp: SessionStamp) {
        if stamp.session != SessionId::NONE {
            self.stamp_of.insert(attempt, (group, stamp));
        }
    }

    /// An attempt was answered.
    ///
    /// # Errors
    /// When another attempt of the same stamped write was answered otherwise.
    pub(super) fn check_stamped(
        &mut self,
        attempt: AttemptId,
        reply: &Reply<Vec<u8>>,
        coverage: &mut Coverage,
    ) -> Checked {
        let Some(&(group, stamp)) = self.stamp_of.get(&attempt) else { return Ok(()) };
        match reply {
            // The write may be settled and its number closed by the time a straggling attempt is executed.
            Reply::Error(ErrorKind::NotAnInteger | ErrorKind::Overflow) => {}
            Reply::Error(_) => return Ok(()),
            _ => {}
        }
        let write = (group, stamp.session, stamp.sequence);
        if self.stamped.contains_key(&write) {
            coverage.meet("stamped write answered again");
        }
        let known = self.stamped.entry(write).or_insert_with(|| reply.clone());
        if known == reply {
            return Ok(());
        }
        Err(Violation::new(
            "exactly-once",
            format!("{group} {stamp:?} was answered {known:?} and then {reply:?}"),
        ))
    }
}
