//! The ways of messages from core to core and back to clients: which of them arrive, when, and how often.

use super::event::SimEvent;
use super::machines::Machines;
use super::resends::{AGAIN, Resends};
use super::timeline::Timeline;
use super::votes::KeptVotes;
use crate::sim::net::{Broken, Network};
use crate::sim::node::{Incoming, Outbox};
use crate::sim::params::Params;
use crate::sim::queue::Instant;
use crate::sim::trace::{Gist, Note, reply_word};
use synod_shard::Unsent;
use synod_types::{GroupId, GroupMessage, Op, PeerMessage, Reply, Shared};

/// The network, and the messages that it delivers once more.
pub(super) struct Ways {
    pub(super) net: Network,
    votes: KeptVotes,
    resends: Resends,
}

impl Ways {
    pub(super) fn new(params: &Params) -> Self {
        let (node_count, core_count) = (usize::from(params.node_count), usize::from(params.core_count));
        Self {
            net: Network::new(params.net, params.options.seed, node_count, core_count),
            votes: KeptVotes::new(params),
            resends: Resends::new(params),
        }
    }

    /// What a core has said in a turn sets out at `leaves_at`.
    pub(super) fn route(
        &mut self,
        core: usize,
        out: Outbox,
        leaves_at: Instant,
        machines: &mut Machines,
        time: &mut Timeline,
    ) {
        let from = machines.node_index(core);
        let place = machines.slots[core].place;
        for (to, message) in out.messages {
            let to_index = usize::from(to.get()) - 1;
            let way = (from, to_index, usize::from(place.core));
            let is_urgent = matches!(message, PeerMessage::Heartbeats(_) | PeerMessage::HeartbeatReplies(_));
            let (way, broken) = self.net.send(leaves_at, way, (bytes_of(&message), is_urgent));
            if let Some(broken) = broken {
                tell_broken(from, to_index, usize::from(place.core), broken, time);
            }
            let target = machines.facing(core, to_index);
            self.votes.bring(core, &message, leaves_at, time);
            self.votes.keep(target, from, way.session, &message, time);
            self.resends.keep(core, target, &message, time);
            let [first, second] = way.arrivals;
            let Some(first) = first else {
                time.observer.coverage.meet("message lost");
                time.observer.note(Note::Lose { at: place, to, what: Gist::of(&message).word() });
                tell_unsent(core, &message, machines, time);
                continue;
            };
            if let Some(second) = second {
                time.observer.coverage.meet("message doubled");
                let message = Box::new(message.clone());
                time.queue.at(second, SimEvent::Arrive { core: target, from, session: way.session, message });
            }
            let late = if is_vote(&message) { self.net.vote_delay() } else { 0 };
            if late > time.params.timing.lease.0 {
                time.observer.coverage.meet("a vote came later than a lease");
            }
            let first = first + late;
            let message = Box::new(message);
            time.queue.at(first, SimEvent::Arrive { core: target, from, session: way.session, message });
        }
        for (attempt, reply) in out.replies {
            time.observer.coverage.meet(reply_word(&reply));
            time.observer.note(Note::Answer { at: place, attempt, reply: reply_word(&reply) });
            let at = leaves_at + time.client_delay();
            time.queue.at(at, SimEvent::Answer { attempt, reply: Box::new(reply) });
        }
    }

    /// The node has stopped: its links to all others break.
    pub(super) fn break_links(&mut self, node: usize, machines: &Machines, time: &mut Timeline) {
        let now = time.now();
        for peer in (0..machines.nodes.len()).filter(|&peer| peer != node) {
            for core in 0..machines.core_count {
                let broken = self.net.break_link(now, node, peer, core);
                tell_broken(node, peer, core, broken, time);
            }
        }
    }

    pub(super) fn on_arrive(
        &self,
        core: usize,
        from: usize,
        session: u32,
        message: PeerMessage<Shared>,
        machines: &mut Machines,
        time: &mut Timeline,
    ) {
        let node = machines.node_index(core);
        if !machines.nodes[node].up {
            return;
        }
        let place = machines.slots[core].place;
        let current = self.net.session(from, node, usize::from(place.core));
        if session < current {
            // A straggler of an old session: forwarded requests and their answers end with their session.
            let bound = matches!(message, PeerMessage::Forward { .. } | PeerMessage::ForwardReply { .. });
            if bound || !self.net.stragglers() {
                time.observer.coverage.meet("message of a session that is over: dropped");
                return;
            }
            time.observer.coverage.meet("message of a session that is over: a straggler");
        }
        machines.note_session(core, from, session, time);
        let from = machines.slots[from * machines.core_count].place.node;
        time.observer.note(Note::Deliver { from, at: place, what: Gist::of(&message) });
        machines.hand(core, Incoming::Peer(from, message), time);
    }

    /// Delivers a forward of `sender` to the replica that serves its group now.
    pub(super) fn on_resend(
        &self,
        sender: usize,
        mut message: PeerMessage<Shared>,
        machines: &mut Machines,
        time: &mut Timeline,
    ) {
        let PeerMessage::Forward { id, group, command, .. } = &mut message else { return };
        *id |= AGAIN;
        let (group, opens): (GroupId, bool) = (*group, matches!(command.op, Op::OpenNodeSession { .. }));
        let from = machines.node_index(sender);
        let serves = |core: &usize| {
            let running = machines.slots[*core].running.as_ref();
            *core != sender && running.is_some_and(|running| running.shard().serves(group))
        };
        let Some(core) = (0..machines.slots.len()).find(serves) else { return };
        time.observer.coverage.meet(if opens {
            "a node's session was asked for again"
        } else {
            "a stamped write came again"
        });
        let (node, place) = (machines.node_index(core), machines.slots[core].place);
        let session = self.net.session(from, node, usize::from(place.core));
        self.on_arrive(core, from, session, message, machines, time);
    }
}

/// The sender of a lost forward sometimes learns that it never left, as it does when there is no link.
fn tell_unsent(core: usize, message: &PeerMessage<Shared>, machines: &mut Machines, time: &mut Timeline) {
    let Some(unsent) = Unsent::of(message) else { return };
    if time.rng.coin() && machines.slots[core].running.is_some() {
        time.observer.coverage.meet("forward unsent");
        machines.hand(core, Incoming::Unsent(unsent), time);
    }
}

/// Both ends of a broken link between two nodes' cores are told, each in its own time.
fn tell_broken(a: usize, b: usize, core: usize, broken: Broken, time: &mut Timeline) {
    let core_count = usize::from(time.params.core_count);
    for (end, peer, told) in [(a, b, broken.told[0]), (b, a, broken.told[1])] {
        let event = SimEvent::LinkTold { core: end * core_count + core, peer, session: broken.session };
        time.queue.at(told, event);
    }
}

/// About how many bytes a message is on the wire.
fn bytes_of(message: &PeerMessage<Shared>) -> usize {
    const HEAD: usize = 64;
    HEAD + match message {
        PeerMessage::Group { message: GroupMessage::Accept { payload, .. }, .. } => payload.len(),
        PeerMessage::Group { message: GroupMessage::Learn { entries, .. }, .. } => {
            entries.iter().map(|entry| HEAD + entry.payload.len()).sum()
        }
        PeerMessage::Forward { command, .. } => command.byte_len(),
        PeerMessage::ForwardReply { reply: Reply::Value { value, .. }, .. } => value.len(),
        _ => 0,
    }
}

/// Whether a candidate waits for this message.
fn is_vote(message: &PeerMessage<Shared>) -> bool {
    let PeerMessage::Group { message, .. } = message else { return false };
    matches!(message, GroupMessage::Promise { .. } | GroupMessage::PreVoteReply { .. })
}
