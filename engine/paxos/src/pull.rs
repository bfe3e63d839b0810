//! Pulling missing values: chosen values are fetched from a peer, one answer after the other, up to a target
//! slot.

#[cfg(feature = "canary")]
use crate::api::Canary;
use crate::api::Role;
use crate::context::Context;
use synod_types::{GroupMessage, Mono, Nanos, NodeId, Payload, Slot};

/// After this many waits without progress another peer is asked.
const FRUITLESS_MAX: u32 = 3;

/// The longest patience with a peer that has answered: 1 MiB takes so long at 100 KB/s.
pub(crate) const PATIENCE_MAX: Nanos = Nanos::from_ms(10_000);

/// The longest with one that has not, in leases: the fetch may have been lost.
const UNANSWERED_LEASES: u64 = 4;

/// A pull under way.
#[derive(Debug)]
struct Pull {
    from: NodeId,
    target: Slot,
    asked_at: Mono,
    asked_from: Slot,
    fruitless: u32,
    /// When it first asked for what has not come yet.
    waits_since: Mono,
    /// Whether something short came from the peer since it asked: perhaps all that the peer had.
    has_heard: bool,
}

/// Fetches the chosen values that a replica lacks; one pull at a time.
#[derive(Debug, Default)]
pub(crate) struct Puller {
    pull: Option<Pull>,
    /// How long a peer may take to answer before it is asked again; `None` while answers come within `resend`. A
    /// link may be slow, and every answer may be large: asking again in a fixed time would fill the link with
    /// answers to the same question, so that each took longer than the one before. So the time doubles while no
    /// answer comes, and follows the answers when they do (as in RFC 6298).
    patience: Option<Nanos>,
    /// Whom this patience is with.
    with: Option<NodeId>,
}

impl Puller {
    pub fn is_pulling(&self) -> bool {
        self.pull.is_some()
    }

    pub fn stop(&mut self) {
        self.pull = None;
        self.patience = None;
    }

    /// What `node` was asked, and its answer, are lost. A leader asks another peer at once; a follower when it
    /// hears a leader.
    pub fn on_link_lost<P: Payload>(
        &mut self,
        node: NodeId,
        chosen: Slot,
        role: Role,
        cx: &mut Context<'_, P>,
    ) {
        let Some(pull) = self.pull.as_mut().filter(|pull| pull.from == node) else { return };
        self.patience = None;
        if role != Role::Leader || chosen >= pull.target {
            self.pull = None;
        } else {
            pull.turn_to_next(chosen, cx);
        }
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
        // A follower may be waiting for a leader that is gone.
        let (now, resend) = (cx.now.mono, cx.setup.timing.resend);
        let is_in_vain =
            |pull: &Pull| pull.from != from && role != Role::Leader && now.since(pull.waits_since) >= resend;
        if let Some(pull) = self.pull.as_mut().filter(|pull| !is_in_vain(pull)) {
            assert!(pull.asked_from <= chosen.next(), "the prefix went back");
            pull.target = pull.target.max(target);
            return;
        }
        if self.with != Some(from) {
            self.with = Some(from);
            self.patience = None;
        }
        let asked_from = chosen.next();
        let pull = Pull {
            from,
            target,
            asked_at: now,
            asked_from,
            fruitless: 0,
            waits_since: now,
            has_heard: false,
        };
        self.pull = Some(pull);
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
        let is_answer = pull.from == from && chosen >= pull.asked_from;
        if is_answer && is_batch {
            // It may answer the first of several fetches.
            let took = cx.now.mono.since(pull.waits_since);
            let patience = Nanos((2 * took.0).min(PATIENCE_MAX.0));
            self.patience = (patience > cx.setup.timing.resend).then_some(patience);
        }
        if chosen >= pull.target {
            self.pull = None;
        } else if is_answer && is_batch {
            pull.fruitless = 0;
            pull.waits_since = cx.now.mono;
            pull.ask(chosen, cx);
        } else {
            pull.has_heard |= is_answer;
        }
    }

    /// An answer from `from` came and was not taken: this node's log is behind. What the peer's answers took is no
    /// reason to wait for one that is gone; how long this log needs is not known.
    pub fn on_dropped<P: Payload>(&mut self, from: NodeId, cx: &Context<'_, P>) {
        let Some(pull) = self.pull.as_mut().filter(|pull| pull.from == from) else { return };
        let longest = Nanos(UNANSWERED_LEASES * cx.setup.timing.lease.0);
        self.patience = self.patience.map(|patience| patience.min(longest));
        (pull.asked_at, pull.waits_since) = (cx.now.mono, cx.now.mono);
    }

    /// Asks again when an answer takes too long: a leader another peer in the end.
    pub fn on_tick<P: Payload>(&mut self, chosen: Slot, role: Role, cx: &mut Context<'_, P>) {
        let Some(pull) = &mut self.pull else { return };
        assert!(pull.asked_from <= chosen.next(), "the prefix went back");
        if chosen >= pull.target || !cx.space.takes_learned(role) {
            self.pull = None;
            return;
        }
        let (resend, lease) = (cx.setup.timing.resend, cx.setup.timing.lease);
        // A leader must get missing values from any peer that has them, and soon; a follower pulls from its leader.
        let longest = if role == Role::Leader { lease } else { PATIENCE_MAX };
        let span = self.patience.map_or(resend, |patience| patience.min(longest).max(resend));
        // The peer had no more, and there is more by now; without a word from it, it may be gone.
        let wait = if pull.has_heard { Nanos(resend.0 / 5) } else { span };
        #[cfg(feature = "canary")]
        let wait = match chosen >= pull.asked_from {
            has_progress if cx.setup.has(Canary::FetchesOnTheClock) => {
                if has_progress {
                    Nanos(resend.0 / 5)
                } else {
                    resend
                }
            }
            _ => wait,
        };
        if cx.now.mono.since(pull.asked_at) < wait {
            return;
        }
        if pull.has_heard {
            pull.fruitless = 0;
            pull.waits_since = cx.now.mono;
        } else {
            pull.fruitless = (pull.fruitless + 1).min(FRUITLESS_MAX);
            let is_over = pull.fruitless == FRUITLESS_MAX && role == Role::Leader;
            if is_over || role != Role::Leader {
                let longest = Nanos(UNANSWERED_LEASES * lease.0);
                self.patience = Some(Nanos(2 * span.0).min(longest.max(span)));
            }
            if is_over {
                return pull.turn_to_next(chosen, cx);
            }
        }
        pull.ask(chosen, cx);
    }

    /// `chosen` is the prefix of this replica.
    pub fn invariants(&self, chosen: Slot) {
        let Some(pull) = &self.pull else { return };
        assert!(pull.asked_from <= chosen.next(), "the prefix went back");
        assert!(pull.asked_from <= pull.target, "it pulls what it does not want");
        assert!(pull.fruitless <= FRUITLESS_MAX, "it counts what it does not need");
    }
}

impl Pull {
    /// Asks another peer.
    fn turn_to_next<P: Payload>(&mut self, chosen: Slot, cx: &mut Context<'_, P>) {
        self.from = cx.setup.peer_after(Some(self.from)).unwrap_or(self.from);
        self.fruitless = 0;
        self.waits_since = cx.now.mono;
        self.ask(chosen, cx);
    }

    fn ask<P: Payload>(&mut self, chosen: Slot, cx: &mut Context<'_, P>) {
        assert!(chosen < self.target, "nothing is left to pull");
        self.asked_at = cx.now.mono;
        self.has_heard = false;
        self.asked_from = chosen.next();
        cx.send(self.from, GroupMessage::Fetch { from: self.asked_from });
    }
}
