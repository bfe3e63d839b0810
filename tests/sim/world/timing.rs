//! The world's actions at the moments that hurt most: it asks every node as leaders change, delivers forwards
//! again, and delivers old promises as their candidate stands again.

use super::readers::BURST;
use super::resends::{AGAIN, FORWARDS_MAX};
use super::votes::Kept;
use super::{Event, World};
use crate::check::model::Action;
use crate::sim::keys::{Key, Kind};
use crate::sim::queue::{Instant, MS, SECOND, US};
use synod_types::{GroupId, GroupMessage, Op, PeerMessage, Reply, Shared};

impl World {
    /// Begins a burst for every group whose leader has changed since the last look at this core.
    pub(super) fn watch_leaders(&mut self, core: usize) {
        if !self.readers.is_on || !self.faults_on {
            return;
        }
        let Some(running) = self.slots[core].running.as_ref() else { return };
        let mut changed = Vec::new();
        for status in running.shard().status() {
            let now = (status.leader, status.serving);
            let before = self.readers.seen.insert((core, status.group), now);
            if before.is_some_and(|before| before != now) && status.group != GroupId::SYSTEM {
                changed.push(status.group);
            }
        }
        for group in changed {
            self.read_everywhere(group);
        }
    }

    /// Asks every node for a key of `group`, several times in a row.
    pub(super) fn read_everywhere(&mut self, group: GroupId) {
        if !self.readers.is_on {
            return;
        }
        let keys = &self.clients.keys;
        let counts = |key: &Key| key.group == group && matches!(key.kind, Kind::Register | Kind::Counter);
        let keys: Vec<u32> = keys.live().iter().copied().filter(|&key| counts(keys.get(key))).collect();
        if keys.is_empty() {
            return;
        }
        let key = *self.readers.rng.pick(&keys);
        while self.readers.helpers.len() < self.nodes.len() {
            let helper = self.clients.add_helper();
            self.readers.helpers.push(helper);
        }
        self.observer.coverage.meet("every node was asked as leaders changed");
        self.readers.wanted.fill((key, BURST));
        for node in 0..self.nodes.len() {
            self.read_on(node);
        }
    }

    /// A reader that was answered asks again, if reads are left.
    pub(super) fn reader_answered(&mut self, client: usize) {
        if let Some(node) = self.readers.helpers.iter().position(|&helper| helper == client) {
            self.read_on(node);
        }
    }

    fn read_on(&mut self, node: usize) {
        let helper = self.readers.helpers[node];
        let (key, left) = self.readers.wanted[node];
        if left == 0 || self.clients.busy(helper) {
            return;
        }
        self.readers.wanted[node].1 -= 1;
        let now = self.now();
        let mut wants = std::mem::take(&mut self.wants);
        self.clients.ask_at((helper, node), key, Action::Get, now, &mut wants);
        self.carry_out(helper, &mut wants);
    }

    /// `core` has sent `message` to another node, `to`: a forward is remembered, and the answer to a forward
    /// may cause it to be delivered again.
    pub(super) fn keep_forward(&mut self, core: usize, to: usize, message: &PeerMessage<Shared>) {
        if self.resends.ppm == 0 || !self.faults_on {
            return;
        }
        match message {
            PeerMessage::Forward { id, command, .. } => {
                let opens = matches!(command.op, Op::OpenNodeSession { .. });
                if opens || command.stamp.session.is_of_node() {
                    self.resends.sent.insert((core, *id), message.clone());
                    self.resends.order.push_back((core, *id));
                }
                while self.resends.order.len() > FORWARDS_MAX
                    && let Some(oldest) = self.resends.order.pop_front()
                {
                    self.resends.sent.remove(&oldest);
                }
            }
            PeerMessage::ForwardReply { id, reply } => {
                let core_count = usize::from(self.params.core_count);
                let sender = to * core_count + core % core_count;
                let Some(forward) = self.resends.sent.remove(&(sender, *id)) else { return };
                if !matches!(reply, Reply::Error(_)) && self.resends.rng.chance(self.resends.ppm) {
                    let latest = if self.resends.rng.coin() { 50 * MS } else { 5 * SECOND };
                    let after = self.resends.rng.below(latest);
                    self.queue.after(after, Event::Resend { core: sender, message: Box::new(forward) });
                }
            }
            _ => {}
        }
    }

    /// Delivers a forward of `sender` to the replica that serves its group now.
    pub(super) fn on_resend(&mut self, sender: usize, mut message: PeerMessage<Shared>) {
        let PeerMessage::Forward { id, group, command, .. } = &mut message else { return };
        *id |= AGAIN;
        let (group, opens): (GroupId, bool) = (*group, matches!(command.op, Op::OpenNodeSession { .. }));
        let from = self.node_index(sender);
        let serves = |core: &usize| {
            let running = self.slots[*core].running.as_ref();
            *core != sender && running.is_some_and(|running| running.shard().serves(group))
        };
        let Some(core) = (0..self.slots.len()).find(serves) else { return };
        self.observer.coverage.meet(if opens {
            "a node's session was asked for again"
        } else {
            "a stamped write came again"
        });
        let (node, place) = (self.node_index(core), self.slots[core].place);
        let session = self.net.session(from, node, usize::from(place.core));
        self.on_arrive(core, from, session, message);
    }

    /// Keeps a copy of a promise that is on its way.
    pub(super) fn keep_vote(
        &mut self,
        target: usize,
        from: usize,
        session: u32,
        message: &PeerMessage<Shared>,
    ) {
        if self.votes.ppm > 0 && self.faults_on {
            self.votes.keep(target, from, session, message);
        }
    }

    /// `core` has sent `message`: if that is a prepare, the promises it got for earlier ballots reach it now.
    pub(super) fn bring_kept_votes(&mut self, core: usize, message: &PeerMessage<Shared>, at: Instant) {
        let PeerMessage::Group { group, message: GroupMessage::Prepare { ballot, .. } } = message else {
            return;
        };
        if self.votes.ppm == 0 || !self.faults_on {
            return;
        }
        for (from, Kept { session, parts, .. }) in self.votes.take(core, *group, *ballot) {
            self.observer.coverage.meet("a promise came as its candidate stood again");
            for message in parts {
                let at = at + self.votes.rng.below(20 * US);
                let message = Box::new(message);
                self.queue.at(at, Event::Arrive { core, from, session, message });
            }
        }
    }
}
