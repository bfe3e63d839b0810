//! Reading shed payloads above the applied prefix back from the log (P-14d).
//!
//! ```text
//!   accept far above a gap ──▶ durable ──▶ shed (place and ballot stay)
//!                                           ├─ the prefix comes near ───────▶ Recall ──▶ apply
//!                                           ├─ a prepare, an own candidacy ─▶ Recall ──▶ kept until a
//!                                           │                                            lease is granted
//!                                           └─ cannot be read back ─────────▶ fetched from a peer, if chosen
//! ```

use crate::api::Effect;
use crate::context::Context;
use crate::log::{Away, SlotLog};
use alloc::vec::Vec;
use synod_types::{Ballot, GroupMessage, Mono, NodeId, Payload, Slot};

/// Recalls of one group under way at once, at most.
const RECALLS_MAX: usize = 64;

/// The recalls of this replica.
#[derive(Debug, Default)]
pub(crate) struct Recalls {
    under_way: usize,
    /// The values that a promise waits for and that are not being recalled yet; `None` once all are.
    wanted: Option<Wanted>,
    /// The peer last asked for the next value to apply, which cannot be read back here, and when it was
    /// asked.
    asked: Option<(NodeId, Mono)>,
}

/// Which of the accepted slots a promise needs in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needed {
    /// All of them: an acceptor reports everything it accepted.
    All,
    /// Those not known to be chosen: a candidate proposes nothing for chosen slots.
    Undecided,
}

impl Needed {
    fn includes(self, chosen: bool) -> bool {
        self == Self::All || !chosen
    }
}

#[derive(Debug, Clone, Copy)]
struct Wanted {
    next: Slot,
    needed: Needed,
}

impl Recalls {
    /// Recalls the shed payloads of the slots above `applied`, up to `end`.
    pub fn recall_up_to<P: Payload>(
        &mut self,
        log: &mut SlotLog<P>,
        applied: Slot,
        end: Slot,
        out: &mut Vec<Effect<P>>,
    ) {
        assert!(applied <= end, "what is applied is not recalled");
        let mut slot = applied;
        while slot < end && self.under_way < RECALLS_MAX {
            slot = slot.next();
            if log.get(slot).is_some_and(|open| open.away == Some(Away::Shed)) {
                self.recall(log, slot, out);
            }
        }
    }

    /// Whether all values needed from `first` on are in memory; if not, they are recalled. Until then the
    /// replica neither promises nor stands: its report would leave out values it accepted (P-02f).
    pub fn has_in_memory<P: Payload>(
        &mut self,
        log: &mut SlotLog<P>,
        first: Slot,
        needed: Needed,
        out: &mut Vec<Effect<P>>,
    ) -> bool {
        if log.away_count() == 0 {
            return true;
        }
        let missing = log.range(first).find(|(_, open)| open.away.is_some() && needed.includes(open.chosen));
        let Some((next, _)) = missing else { return true };
        assert!(next >= first, "a value that is not needed is recalled");
        self.wanted = Some(Wanted { next, needed });
        self.recall_wanted(log, out);
        false
    }

    /// Starts further recalls of values that a promise waits for.
    fn recall_wanted<P: Payload>(&mut self, log: &mut SlotLog<P>, out: &mut Vec<Effect<P>>) {
        while self.under_way < RECALLS_MAX
            && let Some(wanted) = self.wanted
        {
            let found = log.range(wanted.next).find(|(_, open)| {
                let is_at_rest = matches!(open.away, Some(Away::Shed | Away::Failed));
                is_at_rest && wanted.needed.includes(open.chosen)
            });
            let found = found.map(|(slot, _)| slot);
            self.wanted = found.map(|slot| Wanted { next: slot.next(), ..wanted });
            if let Some(slot) = found {
                self.recall(log, slot, out);
            }
        }
        assert!(self.wanted.is_none() || self.under_way >= RECALLS_MAX, "a value is wanted and not recalled");
    }

    fn recall<P: Payload>(&mut self, log: &mut SlotLog<P>, slot: Slot, out: &mut Vec<Effect<P>>) {
        debug_assert!(self.under_way < RECALLS_MAX, "a recall beyond their limit");
        let open = log.get_mut(slot).expect("a slot that is recalled was found");
        let at = open.location.expect("what was shed has its place");
        assert!(matches!(open.away, Some(Away::Shed | Away::Failed)), "a slot is recalled twice at once");
        assert!(open.durable && open.payload.is_none(), "a value that is here is recalled");
        open.away = Some(Away::UnderWay);
        self.under_way += 1;
        out.push(Effect::Recall { slot, ballot: open.ballot, at });
    }

    /// A recall was executed. With `keep`, for a promise, the value stays in memory.
    pub fn on_recalled<P: Payload>(
        &mut self,
        log: &mut SlotLog<P>,
        (slot, ballot, payload): (Slot, Ballot, Option<P>),
        keep: bool,
        out: &mut Vec<Effect<P>>,
    ) {
        assert!(self.under_way > 0, "a recall came back that was not begun");
        self.under_way -= 1;
        log.recalled(slot, ballot, payload, keep);
        self.recall_wanted(log, out);
    }

    /// If the value of `next`, the slot to apply next, could not be read back, fetches it from a peer. Apply
    /// cannot go on without it.
    pub fn retry_failed<P: Payload>(&mut self, log: &mut SlotLog<P>, next: Slot, cx: &mut Context<'_, P>) {
        let has_failed = log.get(next).is_some_and(|open| open.away == Some(Away::Failed));
        debug_assert!(self.asked.is_none_or(|(_, at)| at <= cx.now.mono), "time went back");
        let is_recent = |(_, at): (NodeId, Mono)| cx.now.mono.since(at) < cx.setup.timing.resend;
        if !has_failed || self.asked.is_some_and(is_recent) {
            return;
        }
        let asked = self.asked.map(|(node, _)| node);
        if let Some(to) = cx.setup.peer_after(asked) {
            self.asked = Some((to, cx.now.mono));
            cx.send(to, GroupMessage::Fetch { from: next });
        } else if self.under_way < RECALLS_MAX {
            // There is no peer. Perhaps the disk can read it next time. If many recalls are under way, for a
            // candidacy, it waits for a later tick.
            self.asked = Some((cx.setup.node(), cx.now.mono));
            self.recall(log, next, cx.out);
        }
    }

    pub fn invariants(&self) {
        assert!(self.under_way <= RECALLS_MAX, "{} recalls at once", self.under_way);
    }
}
