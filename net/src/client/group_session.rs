//! A client's session in one group: which sequence numbers are open.

use std::collections::BTreeSet;
use synod_types::limits::SESSION_REPLIES_MAX;
use synod_types::{Nanos, SessionId, SessionStamp};

/// The session with one group.
#[derive(Debug)]
pub(super) enum GroupSession {
    /// There is none; one may be opened from this time on.
    Closed { not_before: Nanos },
    /// Being opened.
    Opening,
    /// Open.
    Open { id: SessionId, next: u64, open: BTreeSet<u64> },
}

impl GroupSession {
    pub(super) fn opened(id: SessionId) -> Self {
        GroupSession::Open { id, next: 1, open: BTreeSet::new() }
    }

    /// The number for a new command, if the session is open and the window of kept replies has room.
    pub(super) fn take_number(&mut self) -> Option<(SessionId, u64)> {
        let GroupSession::Open { id, next, open } = self else { return None };
        let lowest = open.first().copied().unwrap_or(*next);
        // The server keeps the replies of this many numbers from the lowest open one on.
        if *next - lowest >= SESSION_REPLIES_MAX as u64 {
            return None;
        }
        let number = *next;
        *next += 1;
        open.insert(number);
        Some((*id, number))
    }

    /// The stamp to send with `number` of session `id` now; `None` if that session is gone.
    pub(super) fn stamp(&self, id: SessionId, number: u64) -> Option<SessionStamp> {
        match self {
            GroupSession::Open { id: current, open, .. } if *current == id => {
                let lowest_open = open.first().copied().unwrap_or(number);
                assert!(lowest_open <= number, "a number is sent that is not open");
                Some(SessionStamp { session: id, sequence: number, lowest_open })
            }
            _ => None,
        }
    }

    /// Closes the number of a command that will not be sent again.
    pub(super) fn close_number(&mut self, id: SessionId, number: u64) {
        if let GroupSession::Open { id: current, open, .. } = self
            && *current == id
        {
            open.remove(&number);
        }
    }

    /// Ends session `id`, which the server no longer knows.
    pub(super) fn expire(&mut self, id: SessionId, now: Nanos) {
        if matches!(self, GroupSession::Open { id: current, .. } if *current == id) {
            *self = GroupSession::Closed { not_before: now };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_used_once_and_the_lowest_open_one_follows() {
        let id = SessionId::new(3);
        let mut session = GroupSession::opened(id);
        let numbers: Vec<u64> =
            (0..3).filter_map(|_| session.take_number()).map(|(_, number)| number).collect();
        assert_eq!(numbers, [1, 2, 3]);
        let lowest =
            |session: &GroupSession, number| session.stamp(id, number).map(|stamp| stamp.lowest_open);
        assert_eq!(lowest(&session, 3), Some(1));
        session.close_number(id, 2);
        assert_eq!(lowest(&session, 3), Some(1));
        session.close_number(id, 1);
        assert_eq!(lowest(&session, 3), Some(3));
        assert_eq!(session.stamp(SessionId::new(4), 3), None);
    }

    #[test]
    fn the_window_is_as_wide_as_the_server_keeps_replies() {
        let mut session = GroupSession::opened(SessionId::new(3));
        let taken = (0..2 * SESSION_REPLIES_MAX).filter_map(|_| session.take_number()).count();
        assert_eq!(taken, SESSION_REPLIES_MAX);
        session.close_number(SessionId::new(3), 2);
        assert_eq!(session.take_number(), None, "the lowest open number holds the window");
        session.close_number(SessionId::new(3), 1);
        assert!(session.take_number().is_some());
    }
}
