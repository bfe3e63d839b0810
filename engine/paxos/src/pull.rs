//! Pulling missing values: chosen values are fetched from a peer, one answer after the other, up to a target
//! slot.

use crate::api::Role;
use crate::context::Context;
use synod_types::{GroupMessage, Mono, Nanos, NodeId, Payload, Slot};

/// After this many waits without progress another peer is asked.
const FRUITLESS_MAX: u32 = 3;

/// A pull under way.
#[derive(Debug)]
struct Pull {
    from: NodeId,
    target: Slot,
    asked_at: Mono,
    asked_from: Slot,
    fruitless: u32,
}

/// Fetches the chosen values that a replica lacks; one pull at a time.
#[derive(Debug, Default)]
pub(crate) struct Puller {
    pull: Option<Pull>,
}

impl Puller {
    pub fn is_pulling(&self) -> bool {
        self.pull.is_some()
    }

    pub fn stop(&mut self) {
        self.pull = None;
    }

    /// Starts pulling the slots above `chosen` and up to `target` from `from`, or raises the target of the
    /// pull under way.
    pub fn pull_towards<P: Payload>(
        &mut self,
        from: NodeId,
        target: Slot,
        chosen: Slot,
        role: Role,
        cx: &mut Context<'_, P>,
    ) {
        if target <= chosen || from == cx.setup.node() || !cx.space.takes_learned(role) {
            return;
        }
        if let Some(pull) = &mut self.pull {
            assert!(pull.asked_from <= chosen.next(), "the prefix went back");
            pull.target = pull.target.max(target);
            return;
        }
        let asked_from = chosen.next();
        self.pull = Some(Pull { from, target, asked_at: cx.now.mono, asked_from, fruitless: 0 });
        cx.send(from, GroupMessage::Fetch { from: asked_from });
    }

    /// An answer came from `from`, and the prefix now ends at `chosen`: asks for more at once if the peer has
    /// more.
    pub fn on_learned<P: Payload>(
        &mut self,
        from: NodeId,
        chosen: Slot,
        is_batch: bool,
        cx: &mut Context<'_, P>,
    ) {
        let Some(pull) = &mut self.pull else { return };
        assert!(pull.asked_from <= chosen.next(), "the prefix went back");
        if chosen >= pull.target {
            self.pull = None;
        } else if pull.from == from && chosen >= pull.asked_from && is_batch {
            pull.fruitless = 0;
            pull.ask(chosen, cx);
        }
    }

    /// Asks again when an answer takes too long. A leader asks another peer in the end; a follower gives up.
    pub fn on_tick<P: Payload>(&mut self, chosen: Slot, role: Role, cx: &mut Context<'_, P>) {
        let Some(pull) = &mut self.pull else { return };
        assert!(pull.asked_from <= chosen.next(), "the prefix went back");
        if chosen >= pull.target || !cx.space.takes_learned(role) {
            self.pull = None;
            return;
        }
        let resend = cx.setup.timing.resend;
        let has_progress = chosen >= pull.asked_from;
        // After progress, the rest of the answer was probably lost, or the peer has no more; without any, the
        // peer may be gone.
        let wait = if has_progress { Nanos(resend.0 / 5) } else { resend };
        if cx.now.mono.since(pull.asked_at) < wait {
            return;
        }
        pull.fruitless = if has_progress { 0 } else { pull.fruitless + 1 };
        if pull.fruitless >= FRUITLESS_MAX {
            // A leader must get missing values from any peer that has them; a follower pulls from its leader.
            pull.fruitless = 0;
            if role != Role::Leader {
                self.pull = None;
                return;
            }
            pull.from = cx.setup.peer_after(Some(pull.from)).unwrap_or(pull.from);
        }
        pull.ask(chosen, cx);
    }

    /// `chosen` is the prefix of this replica.
    pub fn invariants(&self, chosen: Slot) {
        let Some(pull) = &self.pull else { return };
        assert!(pull.asked_from <= chosen.next(), "the prefix went back");
        assert!(pull.asked_from <= pull.target, "it pulls what it does not want");
        assert!(pull.fruitless < FRUITLESS_MAX, "it asks the same peer without end");
    }
}

impl Pull {
    fn ask<P: Payload>(&mut self, chosen: Slot, cx: &mut Context<'_, P>) {
        assert!(chosen < self.target, "nothing is left to pull");
        self.asked_at = cx.now.mono;
        self.asked_from = chosen.next();
        cx.send(self.from, GroupMessage::Fetch { from: self.asked_from });
    }
}
