//! Sessions, which ensure that a retried write is executed once. There is one per lane and group. Sessions
//! are not tied to connections, so a write can follow its group to another leader under the same number.

use super::op::OpSlot;
use std::collections::VecDeque;
use synod_types::limits::SESSION_REPLIES_MAX;
use synod_types::{GroupId, SessionId, SessionStamp};

/// A lane's session in one group.
#[derive(Debug, Default)]
struct WriteSession {
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
    groups: Vec<Vec<WriteSession>>,
    /// Where the search for a free session begins.
    cursor: usize,
    /// Sessions that are to be opened, by group and lane.
    to_open: Vec<(GroupId, u32)>,
}

impl Sessions {
    /// Sessions that are all still to be opened; with no lanes there are none.
    pub(super) fn new(group_count: u16, lanes: u32) -> Self {
        let groups =
            (0..group_count).map(|_| (0..lanes).map(|_| WriteSession::default()).collect()).collect();
        let mut sessions = Self { groups, cursor: 0, to_open: Vec::new() };
        sessions.to_open = sessions.missing();
        sessions
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
    /// Takes a session that is to be opened.
    pub(super) fn take_to_open(&mut self) -> Option<(GroupId, u32)> {
        self.to_open.pop()
    }
    /// Notes that a session which was taken to be opened was not opened.
    pub(super) fn not_opened(&mut self, group: GroupId, lane: u32) {
        self.to_open.push((group, lane));
    }
    /// Notes that a session was opened.
    pub(super) fn opened(&mut self, group: GroupId, lane: u32, id: SessionId) {
        let session = self.session_mut(group, lane);
        *session = WriteSession { id, lowest_open: 1, finished: VecDeque::new() };
    }
    /// Notes that the session has expired. If that was not known before, it is to be opened again.
    pub(super) fn expired(&mut self, group: GroupId, slot: OpSlot) {
        let session = self.session_mut(group, slot.lane);
        if session.id == slot.session && session.id != SessionId::NONE {
            *session = WriteSession::default();
            self.to_open.push((group, slot.lane));
        }
    }
    /// Takes the next number of a session of `group` that has room.
    pub(super) fn take(&mut self, group: GroupId) -> Option<OpSlot> {
        let lanes = self.groups.get_mut(usize::from(group.get()).checked_sub(1)?)?;
        let count = lanes.len();
        for step in 0..count {
            let lane = (self.cursor + step) % count;
            let session = &mut lanes[lane];
            if session.id != SessionId::NONE && session.finished.len() < SESSION_REPLIES_MAX - 1 {
                self.cursor = lane + 1;
                let sequence = session.lowest_open + session.finished.len() as u64;
                session.finished.push_back(false);
                return Some(OpSlot { lane: lane as u32, session: session.id, sequence }); // lanes fit 32 bits
            }
        }
        None
    }
    /// The stamp of an open number, as sent in requests.
    pub(super) fn stamp(&self, group: GroupId, slot: OpSlot) -> SessionStamp {
        let session = &self.groups[usize::from(group.get()) - 1][slot.lane as usize];
        // A number of an expired session needs no lower bound: the write will be refused.
        let lowest_open = if session.id == slot.session { session.lowest_open } else { 0 };
        assert!(lowest_open <= slot.sequence, "an open number was closed");
        SessionStamp { session: slot.session, sequence: slot.sequence, lowest_open }
    }
    /// Notes that the number will not be used again and its reply will not be requested again.
    pub(super) fn finish(&mut self, group: GroupId, slot: OpSlot) {
        let session = self.session_mut(group, slot.lane);
        if session.id != slot.session {
            return;
        }
        let offset = (slot.sequence - session.lowest_open) as usize; // within the window
        assert!(!session.finished[offset], "a number is finished once");
        session.finished[offset] = true;
        while session.finished.front() == Some(&true) {
            session.finished.pop_front();
            session.lowest_open += 1;
        }
    }

    fn session_mut(&mut self, group: GroupId, lane: u32) -> &mut WriteSession {
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
        let slots: Vec<_> = (0..3).map(|_| sessions.take(group).expect("open")).collect();
        assert_eq!(slots.iter().map(|slot| slot.sequence).collect::<Vec<_>>(), [1, 2, 3]);
        sessions.finish(group, slots[1]);
        assert_eq!(sessions.stamp(group, slots[2]).lowest_open, 1);
        sessions.finish(group, slots[0]);
        let stamp = SessionStamp { session: SessionId::new(77), sequence: 3, lowest_open: 3 };
        assert_eq!(sessions.stamp(group, slots[2]), stamp);
    }

    #[test]
    fn the_window_is_never_wider_than_what_a_session_remembers() {
        let group = GroupId::new(2);
        let mut sessions = one_open();
        let first = sessions.take(group).expect("open");
        let mut last = first;
        while let Some(slot) = sessions.take(group) {
            assert!(slot.sequence - first.sequence < SESSION_REPLIES_MAX as u64);
            sessions.finish(group, slot);
            last = slot;
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
        let slot = sessions.take(group).expect("open");
        while sessions.take_to_open().is_some() {}
        sessions.expired(group, slot);
        sessions.expired(group, slot);
        assert_eq!(sessions.missing().len(), 2);
        assert_eq!([sessions.take_to_open(), sessions.take_to_open()], [Some((group, 0)), None], "told once");
        sessions.opened(group, 0, SessionId::new(78));
        sessions.finish(group, slot);
        assert_eq!(sessions.stamp(group, slot).lowest_open, 0);
        assert_eq!(sessions.take(group).map(|slot| (slot.session.get(), slot.sequence)), Some((78, 1)));
    }

    #[test]
    fn every_session_is_to_be_opened_until_it_is_taken() {
        let mut sessions = Sessions::new(2, 1);
        let taken = [sessions.take_to_open(), sessions.take_to_open(), sessions.take_to_open()];
        assert_eq!(taken, [Some((GroupId::new(2), 0)), Some((GroupId::new(1), 0)), None]);
        sessions.not_opened(GroupId::new(2), 0);
        assert_eq!(sessions.take_to_open(), Some((GroupId::new(2), 0)));
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
