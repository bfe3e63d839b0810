//! Pulling missing values: chosen values are fetched from a peer, one answer after the other, up to a target
//! slot.

#[cfg(feature = "canary")]
use crate::api::Canary;
use crate::api::Role;
use crate::context::Context;
use synod_types::{GroupMessage, Mono, Nanos, NodeId, Payload, Slot};

/// After this many waits without progress another peer is asked.
const FRUITLESS_MAX: u32 = 3;

/// The longest patience with a peer that does not answer, in units of `resend`.
const PATIENCE_MAX_RESENDS: u64 = 32;

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

/// How long a peer may take to answer before it is asked again. A link may be slow, and every answer may be
/// large: asking again in a fixed time would fill the link with answers to the same question, so that each took
/// longer than the one before. So the time doubles while no answer comes, and follows the answers when they do
/// (as in RFC 6298).
#[derive(Clone, Copy, Debug)]
struct Patience {
    with: NodeId,
    span: Nanos,
}

/// Fetches the chosen values that a replica lacks; one pull at a time.
#[derive(Debug, Default)]
pub(crate) struct Puller {
    pull: Option<Pull>,
    /// None while every answer has come within `resend`.
    patience: Option<Patience>,
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
        // A follower may be waiting for a leader that is gone.
        let is_in_vain = |pull: &Pull| pull.fruitless > 0 && pull.from != from && role != Role::Leader;
        if let Some(pull) = self.pull.as_mut().filter(|pull| !is_in_vain(pull)) {
            assert!(pull.asked_from <= chosen.next(), "the prefix went back");
            pull.target = pull.target.max(target);
            return;
        }
        let (now, asked_from) = (cx.now.mono, chosen.next());
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
            self.patience = Patience::of_answer(from, took, cx.setup.timing.resend);
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

    /// Asks again when an answer takes too long: a leader another peer in the end.
    pub fn on_tick<P: Payload>(&mut self, chosen: Slot, role: Role, cx: &mut Context<'_, P>) {
        let Some(pull) = &mut self.pull else { return };
        assert!(pull.asked_from <= chosen.next(), "the prefix went back");
        if chosen >= pull.target || !cx.space.takes_learned(role) {
            self.pull = None;
            return;
        }
        let resend = cx.setup.timing.resend;
        let span = self.patience.filter(|patience| patience.with == pull.from).map_or(resend, |it| it.span);
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
            // A leader must get missing values from any peer that has them, and soon; a follower pulls from its
            // leader.
            let is_over = pull.fruitless == FRUITLESS_MAX && role == Role::Leader;
            if is_over || role != Role::Leader {
                self.patience = Some(Patience::doubled(pull.from, span, resend));
            }
            if is_over {
                pull.fruitless = 0;
                pull.waits_since = cx.now.mono;
                pull.from = cx.setup.peer_after(Some(pull.from)).unwrap_or(pull.from);
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

impl Patience {
    /// After an answer that took so long: the next one may take twice as long.
    fn of_answer(with: NodeId, took: Nanos, resend: Nanos) -> Option<Self> {
        let span = Nanos((2 * took.0).min(PATIENCE_MAX_RESENDS * resend.0));
        (span > resend).then_some(Self { with, span })
    }

    /// After no answer came within `span`.
    fn doubled(with: NodeId, span: Nanos, resend: Nanos) -> Self {
        Self { with, span: Nanos((2 * span.0).min(PATIENCE_MAX_RESENDS * resend.0)) }
    }
}

impl Pull {
    fn ask<P: Payload>(&mut self, chosen: Slot, cx: &mut Context<'_, P>) {
        assert!(chosen < self.target, "nothing is left to pull");
        self.asked_at = cx.now.mono;
        self.has_heard = false;
        self.asked_from = chosen.next();
        cx.send(self.from, GroupMessage::Fetch { from: self.asked_from });
    }
}
