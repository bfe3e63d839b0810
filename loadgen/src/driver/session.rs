//! Sessions, which ensure that a retried write is executed once. There is one per lane and group. Sessions
//! are not tied to connections, so a write can follow its group to another leader under the same number.

use super::op::Place;
use std::collections::VecDeque;
use synod_types::limits::SESSION_REPLIES_MAX;
use synod_types::{GroupId, SessionId, SessionStamp};

/// A lane's session in one group.
#[derive(Debug, Default)]
struct Session {
    /// `NONE` until the session is open, and again after it has expired.
    id: SessionId,
    /// The lowest number that is not finished.
    lowest_open: u64,
    /// For `lowest_open` and the following numbers: whether they are finished.
    finished: VecDeque<bool>,
}

/// All sessions of one generator thread.
#[derive(Debug)]
pub(super) struct Sessions {
    /// By group, then by lane.
    groups: Vec<Vec<Session>>,
    /// Where the search for a free session begins.
    cursor: usize,
}

impl Sessions {
    /// Sessions that are all still to be opened; with no lanes there are none.
    pub(super) fn new(group_count: u16, lanes: u32) -> Self {
        let groups = (0..group_count).map(|_| (0..lanes).map(|_| Session::default()).collect()).collect();
        Self { groups, cursor: 0 }
    }
    /// Every group and lane without an open session.
    pub(super) fn missing(&self) -> Vec<(GroupId, u32)> {
        let mut missing = Vec::new();
        for (group, lanes) in (1..).zip(&self.groups) {
            let closed = (0..).zip(lanes).filter(|(_, session)| session.id == SessionId::NONE);
            missing.extend(closed.map(|(lane, _)| (GroupId::new(group), lane)));
        }
        missing
    }
    /// Notes that a session was opened.
    pub(super) fn opened(&mut self, group: GroupId, lane: u32, id: SessionId) {
        let session = self.session_mut(group, lane);
        *session = Session { id, lowest_open: 1, finished: VecDeque::new() };
    }
    /// Notes that the session has expired. Returns whether that was not known before.
    pub(super) fn expired(&mut self, group: GroupId, place: Place) -> bool {
        let session = self.session_mut(group, place.lane);
        let is_news = session.id == place.session && session.id != SessionId::NONE;
        if is_news {
            *session = Session::default();
        }
        is_news
    }
    /// Takes the next number of a session of `group` that has room.
    pub(super) fn take(&mut self, group: GroupId) -> Option<Place> {
        let lanes = self.groups.get_mut(usize::from(group.get()).checked_sub(1)?)?;
        let count = lanes.len();
        for step in 0..count {
            let lane = (self.cursor + step) % count;
            let session = &mut lanes[lane];
            if session.id != SessionId::NONE && session.finished.len() < SESSION_REPLIES_MAX - 1 {
                self.cursor = lane + 1;
                let sequence = session.lowest_open + session.finished.len() as u64;
                session.finished.push_back(false);
                return Some(Place { lane: lane as u32, session: session.id, sequence }); // lanes fit 32 bits
            }
        }
        None
    }
    /// The stamp of an open number, as sent in requests.
    pub(super) fn stamp(&self, group: GroupId, place: Place) -> SessionStamp {
        let session = &self.groups[usize::from(group.get()) - 1][place.lane as usize];
        // A number of an expired session needs no lower bound: the write will be refused.
        let lowest_open = if session.id == place.session { session.lowest_open } else { 0 };
        assert!(lowest_open <= place.sequence, "an open number was closed");
        SessionStamp { session: place.session, sequence: place.sequence, lowest_open }
    }
    /// Notes that the number will not be used again and its reply will not be requested again.
    pub(super) fn finish(&mut self, group: GroupId, place: Place) {
        let session = self.session_mut(group, place.lane);
        if session.id != place.session {
            return;
        }
        let offset = (place.sequence - session.lowest_open) as usize; // within the window
        assert!(!session.finished[offset], "a number is finished once");
        session.finished[offset] = true;
        while session.finished.front() == Some(&true) {
            session.finished.pop_front();
            session.lowest_open += 1;
        }
    }

    fn session_mut(&mut self, group: GroupId, lane: u32) -> &mut Session {
        &mut self.groups[usize::from(group.get()) - 1][lane as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_open() -> Sessions {
        let mut sessions = Sessions::new(2, 1);
        sessions.opened(GroupId::new(2), 0, SessionId::new(77));
        sessions
    }

    #[test]
    fn numbers_close_in_order() {
        let group = GroupId::new(2);
        let mut sessions = one_open();
        let places: Vec<_> = (0..3).map(|_| sessions.take(group).expect("open")).collect();
        assert_eq!(places.iter().map(|place| place.sequence).collect::<Vec<_>>(), [1, 2, 3]);
        sessions.finish(group, places[1]);
        assert_eq!(sessions.stamp(group, places[2]).lowest_open, 1);
        sessions.finish(group, places[0]);
        let stamp = SessionStamp { session: SessionId::new(77), sequence: 3, lowest_open: 3 };
        assert_eq!(sessions.stamp(group, places[2]), stamp);
    }

    #[test]
    fn the_window_is_never_wider_than_what_a_session_remembers() {
        let group = GroupId::new(2);
        let mut sessions = one_open();
        let first = sessions.take(group).expect("open");
        let mut last = first;
        while let Some(place) = sessions.take(group) {
            assert!(place.sequence - first.sequence < SESSION_REPLIES_MAX as u64);
            sessions.finish(group, place);
            last = place;
        }
        assert!(last.sequence > 1000, "most of the window is used");
        sessions.finish(group, first);
        assert!(sessions.take(group).is_some(), "the slow one held it back");
    }

    #[test]
    fn an_expired_session_is_missing_until_it_is_opened_again() {
        let group = GroupId::new(2);
        let mut sessions = one_open();
        assert_eq!(sessions.missing(), [(GroupId::new(1), 0)]);
        assert_eq!(sessions.take(GroupId::new(1)), None);
        let place = sessions.take(group).expect("open");
        assert!(sessions.expired(group, place));
        assert!(!sessions.expired(group, place), "told once");
        assert_eq!(sessions.missing().len(), 2);
        sessions.opened(group, 0, SessionId::new(78));
        sessions.finish(group, place);
        assert_eq!(sessions.stamp(group, place).lowest_open, 0);
        assert_eq!(sessions.take(group).map(|place| (place.session.get(), place.sequence)), Some((78, 1)));
    }

    #[test]
    fn lanes_take_turns() {
        let group = GroupId::new(1);
        let mut sessions = Sessions::new(1, 3);
        (0..3).for_each(|lane| sessions.opened(group, lane, SessionId::new(u64::from(lane) + 10)));
        let lanes: Vec<_> = (0..6).map(|_| sessions.take(group).expect("open").lane).collect();
        assert_eq!(lanes, [0, 1, 2, 0, 1, 2]);
    }
}
