//! When messages, turns and disk operations happen, and on which core.

use super::{Event, Node, World};
use crate::sim::net::Broken;
use crate::sim::node::{Incoming, Outbox};
use crate::sim::queue::{Instant, US};
use crate::sim::trace::{Gist, Note, reply_word};
use synod_shard::Unsent;
use synod_types::{GroupMessage, PeerMessage, Shared};

impl World {
    pub(super) fn route(&mut self, core: usize, out: Outbox, leaves_at: Instant) {
        let from = self.node_index(core);
        let place = self.slots[core].place;
        let core_count = usize::from(self.params.core_count);
        for (to, message) in out.messages {
            let to_index = usize::from(to.get()) - 1;
            let (way, broken) = self.net.send(leaves_at, (from, to_index, usize::from(place.core)));
            if let Some(broken) = broken {
                self.tell_broken(from, to_index, usize::from(place.core), broken);
            }
            let target = to_index * core_count + usize::from(place.core);
            self.bring_kept_votes(core, &message, leaves_at);
            self.keep_vote(target, from, way.session, &message);
            self.keep_forward(core, to_index, &message);
            let [first, second] = way.arrivals;
            let Some(first) = first else {
                self.observer.coverage.meet("message lost");
                self.observer.note(Note::Lose { at: place, to, what: Gist::of(&message).word() });
                self.tell_unsent(core, &message);
                continue;
            };
            if let Some(second) = second {
                self.observer.coverage.meet("message doubled");
                let message = Box::new(message.clone());
                self.queue.at(second, Event::Arrive { core: target, from, session: way.session, message });
            }
            let late = if is_vote(&message) { self.net.vote_delay() } else { 0 };
            if late > self.params.timing.lease.0 {
                self.observer.coverage.meet("a vote came later than a lease");
            }
            let first = first + late;
            let message = Box::new(message);
            self.queue.at(first, Event::Arrive { core: target, from, session: way.session, message });
        }
        for (attempt, reply) in out.replies {
            self.observer.coverage.meet(reply_word(&reply));
            self.observer.note(Note::Answer { at: place, attempt, reply: reply_word(&reply) });
            let at = leaves_at + self.client_delay();
            self.queue.at(at, Event::Answer { attempt, reply: Box::new(reply) });
        }
    }

    /// The sender of a lost forward sometimes learns that it never left, as it does when there is no link.
    fn tell_unsent(&mut self, core: usize, message: &PeerMessage<Shared>) {
        let Some(unsent) = Unsent::of(message) else { return };
        if self.rng.coin()
            && let Some(running) = self.slots[core].running.as_mut()
        {
            self.observer.coverage.meet("forward unsent");
            running.take(Incoming::Unsent(unsent));
            self.schedule_turn(core);
        }
    }

    pub(super) fn tell_broken(&mut self, a: usize, b: usize, core: usize, broken: Broken) {
        let core_count = usize::from(self.params.core_count);
        for (end, peer, told) in [(a, b, broken.told[0]), (b, a, broken.told[1])] {
            let event = Event::LinkTold { core: end * core_count + core, peer, session: broken.session };
            self.queue.at(told, event);
        }
    }

    pub(super) fn client_delay(&mut self) -> u64 {
        20 * US + self.rng.exponential(100 * US)
    }

    pub(super) fn schedule_turn(&mut self, core: usize) {
        let node = self.node_index(core);
        if self.slots[core].turn_pending || self.slots[core].running.is_none() {
            return;
        }
        self.slots[core].turn_pending = true;
        let delay = self.rng.below(self.params.limits.turn_delay_max);
        let at = (self.now() + delay).max(self.nodes[node].paused_until);
        self.queue.at(at, Event::Turn { core, life: self.nodes[node].life });
    }

    pub(super) fn schedule_disk(&mut self, core: usize) {
        let node = self.node_index(core);
        if self.slots[core].running.is_none() {
            return;
        }
        let Some(due) = self.slots[core].image.next_due() else { return };
        let at = due.max(self.nodes[node].stalled_until).max(self.now());
        if self.slots[core].disk_event.is_none_or(|known| known > at) {
            self.slots[core].disk_event = Some(at);
            self.queue.at(at, Event::Disk { core, life: self.nodes[node].life });
        }
    }

    pub(super) fn node_index(&self, core: usize) -> usize {
        core / usize::from(self.params.core_count)
    }

    pub(super) fn node_of(&self, core: usize) -> &Node {
        &self.nodes[self.node_index(core)]
    }

    pub(super) fn alive(&self, core: usize, life: u64) -> bool {
        let node = self.node_of(core);
        node.up && node.life == life
    }

    pub(super) fn cores_of(&self, node: usize) -> std::ops::Range<usize> {
        let core_count = usize::from(self.params.core_count);
        node * core_count..(node + 1) * core_count
    }
}

/// Whether a candidate waits for this message.
fn is_vote(message: &PeerMessage<Shared>) -> bool {
    let PeerMessage::Group { message, .. } = message else { return false };
    matches!(message, GroupMessage::Promise { .. } | GroupMessage::PreVoteReply { .. })
}
