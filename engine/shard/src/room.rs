//! A log without room (P-18): what is told to the groups, and what becomes of writes that cannot be made.
//!
//! ```text
//!   log cannot make a segment ─▶ Room ─▶ each group ─▶ reads go on
//!                                            ├─ others have room ──▶ hand over; what was not proposed goes to the heir
//!                                            └─ no quorum has any ─▶ NoSpace for it; Unknown, after its patience, for what was
//! ```

use crate::load::{PAUSE_MAX, may_try};
use crate::outlet::Out;
use crate::request::{Request, cost, push_error};
use crate::{Shard, paxos};
use synod_paxos::Writable;
use synod_types::{ErrorKind, LogRoom, Mono, Nanos, Now, Payload, Space};

/// Bytes of the log that a record takes beside its payload, rounded up.
const RECORD_OVERHEAD_BYTES: u64 = 128;

impl<P: Payload> Shard<P> {
    pub(crate) fn on_room(&mut self, room: LogRoom, now: Mono) {
        if self.room.is_starved && !room.is_starved {
            self.starved_until = now;
        }
        self.room = room;
    }

    /// What there is room for now, records of this very step counted.
    fn space(&self) -> Space {
        if self.room.free_bytes == 0 { self.room.space.min(Space::Low) } else { self.room.space }
    }

    /// A record was handed to the log.
    pub(crate) fn take_room(&mut self, payload_bytes: usize) {
        if self.room.free_bytes < u64::MAX {
            let bytes = payload_bytes as u64 + RECORD_OVERHEAD_BYTES;
            self.room.free_bytes = self.room.free_bytes.saturating_sub(bytes);
        }
    }

    /// Tells a group what the log has room for, if that has changed since it was last told.
    pub(crate) fn tell_room(&mut self, index: usize, now: Now) {
        let is_behind = self.undurable_bytes >= self.config.log_backlog_bytes_max;
        let told = (self.space(), is_behind);
        let group = &mut self.groups[index];
        if group.room != told {
            group.room = told;
            let (space, is_behind) = told;
            group.paxos.step(paxos::Input::Room { space, is_behind }, now, &mut self.effects);
        }
    }

    /// The log has made no progress for a whole lease: a leader on it must not seem alive (P-09b). One that only waits for a segment
    /// which cannot be made does not stand: it is known what it lacks, and leads or hands over as P-18 has it.
    pub fn log_stalled(&self, now: Mono) -> bool {
        let lease = self.config.timing.lease;
        !self.room.is_starved
            && self
                .written
                .front()
                .is_some_and(|oldest| now.since(oldest.at().max(self.starved_until)) > lease)
    }

    /// Whether this core's log has come so far that it takes nothing new.
    pub fn log_full(&self) -> bool {
        self.space() < Space::Free
    }

    /// Sees to writes that no accept quorum has room for here: leadership goes to who has room, or the writes are refused.
    pub(crate) fn mind_room(&mut self, index: usize, now: Now, out: &mut impl Out<P>) {
        if !self.groups[index].paxos.serving() {
            return;
        }
        self.tell_room(index, now);
        match self.groups[index].paxos.writable(now.mono) {
            Writable::Yes => return,
            Writable::Unclear => {}
            Writable::Elsewhere(heir) => {
                let group = &mut self.groups[index];
                if !group.paxos.is_parting() && may_try(&mut group.wish, heir, PAUSE_MAX, now.mono) {
                    self.drive(index, paxos::Input::HandOver { heir }, now, out);
                }
            }
            Writable::No => self.refuse_pending(index, Nanos(0), now, out),
        }
        #[cfg(feature = "canary")]
        if self.canary == Some(crate::Canary::RefusedUnderWay) {
            let proposed = &mut self.groups[index].proposed;
            for origin in
                proposed.iter_mut().flat_map(|proposed| &mut proposed.origins).filter_map(Option::take)
            {
                push_error(origin, ErrorKind::NoSpace, out);
            }
        }
        let group = &mut self.groups[index];
        let patience = self.config.timing.patience;
        // It may be chosen when there is room again, so this is all that can be said.
        let late = group.proposed.iter_mut().take_while(|proposed| now.mono.since(proposed.at) >= patience);
        for origin in late.flat_map(|proposed| &mut proposed.origins).filter_map(Option::take) {
            push_error(origin, ErrorKind::Unknown, out);
        }
        // Where others have room it is for them to write. If nobody comes to lead all the same, this is the end of it.
        self.refuse_pending(index, patience, now, out);
    }

    /// Refuses what has waited for so long and was not proposed.
    fn refuse_pending(&mut self, index: usize, patience: Nanos, now: Now, out: &mut impl Out<P>) {
        let group = &mut self.groups[index];
        let is_late = |first: &mut Request<P>| now.mono.since(first.arrived) >= patience;
        while let Some(request) = group.pending.pop_front_if(is_late) {
            group.pending_bytes -= cost(&request.command);
            push_error(request.origin, ErrorKind::NoSpace, out);
        }
    }
}
