//! The effect of each event.

use super::{Doom, Event, TICK, World};
use crate::check::Checked;
use crate::check::lease::LeaderView;
use crate::sim::client::{AttemptId, Clients, Want};
use crate::sim::node::Incoming;
use crate::sim::queue::{Instant, MS};
use crate::sim::trace::{Gist, Note};
use synod_replica::placement::core_of;
use synod_shard::Role;
use synod_types::{Command, Consistency, GroupId, PeerMessage, Reply, Shared};
use synod_wal::mem::Pending;

impl World {
    pub(super) fn happen(&mut self, event: Event) -> Checked {
        match event {
            Event::Tick { core, life } => self.on_tick(core, life),
            Event::Turn { core, life } => return self.on_turn(core, life),
            Event::Disk { core, life } => self.on_disk(core, life),
            Event::Arrive { core, from, session, message } => self.on_arrive(core, from, session, *message),
            Event::Resend { core, message } => self.on_resend(core, *message),
            Event::LinkTold { core, peer, session } => self.on_link_told(core, peer, session),
            Event::Request { node, attempt, group, consistency, command } => {
                self.on_request(node, attempt, group, consistency, *command);
            }
            Event::Answer { attempt, reply } => return self.on_answer(attempt, &reply),
            Event::Refused { attempt } => self.tell(attempt, Clients::on_refused),
            Event::GiveUp { attempt } => self.tell(attempt, Clients::on_timeout),
            Event::Wake { client } => {
                let now = self.now();
                let mut wants = std::mem::take(&mut self.wants);
                self.clients.wake(client, now, &mut wants);
                self.carry_out(client, &mut wants);
            }
            Event::NextFault => return self.on_next_fault(),
            Event::NextWish => self.on_next_wish(),
            Event::FaultEnds(fault) => self.on_fault_ends(&fault),
            Event::Betray { leader, bounced, until } => self.on_betray(leader, bounced, until),
            Event::Outage { node, life, power, until } => {
                if self.nodes[node].up && self.nodes[node].life == life {
                    self.outage(node, power, until);
                }
            }
            Event::Positions => return self.on_positions(),
            Event::Restart { node, outage } => {
                if !self.nodes[node].up && self.nodes[node].outage == outage {
                    return self.start_node(node);
                }
            }
        }
        Ok(())
    }

    fn on_tick(&mut self, core: usize, life: u64) {
        if !self.alive(core, life) {
            return;
        }
        self.queue.after(TICK, Event::Tick { core, life });
        // A paused process takes no ticks; it gets one when it resumes.
        if self.now() >= self.node_of(core).paused_until
            && let Some(running) = self.slots[core].running.as_mut()
        {
            running.take(Incoming::Tick);
            self.schedule_turn(core);
        }
    }

    fn on_turn(&mut self, core: usize, life: u64) -> Checked {
        if !self.alive(core, life) {
            return Ok(());
        }
        let now = self.now();
        let node = self.node_index(core);
        if now < self.nodes[node].paused_until {
            self.queue.at(self.nodes[node].paused_until, Event::Turn { core, life });
            return Ok(());
        }
        self.slots[core].turn_pending = false;
        let clock = self.nodes[node].clock.read(now);
        if now >= self.nodes[node].stalled_until {
            self.slots[core].image.advance(now);
        }
        let slot = &mut self.slots[core];
        let Some(running) = slot.running.as_mut() else { return Ok(()) };
        let out = running.turn(now, clock, life, &mut self.observer)?;
        // A pause may begin between deciding and sending.
        let held_until = std::mem::take(&mut self.nodes[node].held_until);
        if held_until > now {
            self.nodes[node].paused_until = held_until;
        }
        self.route(core, out, held_until.max(now));
        self.schedule_disk(core);
        self.meet_doom(core, life);
        self.watch_leaders(core);
        self.look_at_leaders(core)
    }

    /// A doomed node goes down while its writes are under way, before even the fastest of them could be
    /// complete.
    fn meet_doom(&mut self, core: usize, life: u64) {
        let node = self.node_index(core);
        let Some(Doom { power, until, picky_until, wants_gap }) = self.nodes[node].doomed else { return };
        let is_picky = self.now() < picky_until;
        let shortest = if is_picky { 4097 } else { 0 };
        let image = &self.slots[core].image;
        let counts = |pending: &Pending| matches!(pending, Pending::Write { len, .. } if *len >= shortest);
        let has_gap = is_picky && wants_gap;
        let is_met = if has_gap { image.is_overtaken() } else { image.pending().iter().any(counts) };
        if !is_met {
            return;
        }
        self.nodes[node].doomed = None;
        if has_gap {
            self.observer.coverage.meet("stopped with a gap in what is written");
        }
        let after = if has_gap { 0 } else { self.fault_rng.below(self.params.disk.write_ns.0) };
        let until = until.max(self.now() + after + MS);
        self.queue.after(after, Event::Outage { node, life, power, until });
    }

    /// If this core serves a group, all replicas that lead the group are checked, each by its own clock.
    fn look_at_leaders(&mut self, core: usize) -> Checked {
        let Some(running) = self.slots[core].running.as_ref() else { return Ok(()) };
        let now = self.now();
        let core_count = usize::from(self.params.core_count);
        let served: Vec<GroupId> =
            running.shard().status().filter(|status| status.serving).map(|status| status.group).collect();
        for group in served {
            let same_core = self.slots.iter().skip(core % core_count).step_by(core_count);
            let leaders: Vec<LeaderView> = same_core
                .filter_map(|slot| {
                    let shard = slot.running.as_ref()?.shard();
                    let status = shard.status().find(|status| status.group == group)?;
                    if status.role != Role::Leader {
                        return None;
                    }
                    let clock = self.nodes[usize::from(slot.place.node.get()) - 1].clock.read(now);
                    Some(LeaderView {
                        node: slot.place.node,
                        ballot: status.promised,
                        serving: status.serving,
                        lease: shard.holds_lease(group, clock.mono),
                    })
                })
                .collect();
            self.observer.on_leaders(group, &leaders)?;
        }
        Ok(())
    }

    fn on_disk(&mut self, core: usize, life: u64) {
        if !self.alive(core, life) {
            return;
        }
        self.slots[core].disk_event = None;
        let now = self.now();
        if now >= self.node_of(core).stalled_until {
            self.slots[core].image.advance(now);
        }
        self.schedule_turn(core);
        self.meet_doom(core, life);
    }

    pub(super) fn on_arrive(&mut self, core: usize, from: usize, session: u32, message: PeerMessage<Shared>) {
        let node = self.node_index(core);
        if !self.nodes[node].up {
            return;
        }
        let place = self.slots[core].place;
        let current = self.net.session(from, node, usize::from(place.core));
        if session < current {
            // A straggler of an old session: forwarded requests and their answers end with their session.
            let bound = matches!(message, PeerMessage::Forward { .. } | PeerMessage::ForwardReply { .. });
            if bound || !self.net.stragglers() {
                self.observer.coverage.meet("message of a session that is over: dropped");
                return;
            }
            self.observer.coverage.meet("message of a session that is over: a straggler");
        }
        self.note_session(core, from, session);
        let from = self.slots[from * usize::from(self.params.core_count)].place.node;
        self.observer.note(Note::Deliver { from, at: place, what: Gist::of(&message) });
        if let Some(running) = self.slots[core].running.as_mut() {
            running.take(Incoming::Peer(from, message));
            self.schedule_turn(core);
        }
    }

    /// The core is told that the old session broke before it gets any message of the new one.
    fn note_session(&mut self, core: usize, peer: usize, session: u32) {
        let peer_node = self.slots[peer * usize::from(self.params.core_count)].place.node;
        let slot = &mut self.slots[core];
        if slot.heard[peer] < session {
            slot.heard[peer] = session;
            if let Some(running) = slot.running.as_mut() {
                running.take(Incoming::LinkLost(peer_node));
                self.schedule_turn(core);
            }
        }
    }

    fn on_link_told(&mut self, core: usize, peer: usize, session: u32) {
        if self.node_of(core).up {
            self.note_session(core, peer, session);
        }
    }

    fn on_request(
        &mut self,
        node: usize,
        attempt: AttemptId,
        group: GroupId,
        consistency: Consistency,
        command: Command<Shared>,
    ) {
        let cores = self.params.core_count;
        let core = node * usize::from(cores) + usize::from(core_of(group, cores).get());
        let place = self.slots[core].place;
        let write = command.op.is_write();
        let client = self.clients.owner(attempt) as u32;
        self.observer.note(Note::Request { client, attempt, at: place, group, write });
        match self.slots[core].running.as_mut() {
            Some(running) => {
                running.take(Incoming::Request(attempt, group, consistency, command));
                self.schedule_turn(core);
            }
            None => {
                let delay = self.client_delay();
                self.queue.after(delay, Event::Refused { attempt });
            }
        }
    }

    fn on_answer(&mut self, attempt: AttemptId, reply: &Reply<Vec<u8>>) -> Checked {
        let now = self.now();
        let client = self.clients.owner(attempt);
        let mut wants = std::mem::take(&mut self.wants);
        let result = self.clients.on_reply(attempt, reply, now, &mut wants);
        self.carry_out(client, &mut wants);
        self.reader_answered(client);
        result
    }

    fn tell(&mut self, attempt: AttemptId, what: fn(&mut Clients, AttemptId, Instant, &mut Vec<Want>)) {
        let now = self.now();
        let client = self.clients.owner(attempt);
        let mut wants = std::mem::take(&mut self.wants);
        what(&mut self.clients, attempt, now, &mut wants);
        self.carry_out(client, &mut wants);
        self.reader_answered(client);
    }

    pub(super) fn carry_out(&mut self, client: usize, wants: &mut Vec<Want>) {
        for want in wants.drain(..) {
            match want {
                Want::Send { after, attempt, node, group, consistency, command } => {
                    let delay = after + self.client_delay();
                    let command = Box::new(command);
                    self.queue.after(delay, Event::Request { node, attempt, group, consistency, command });
                }
                Want::Timeout { attempt, after } => self.queue.after(after, Event::GiveUp { attempt }),
                Want::Wake { after } => self.queue.after(after, Event::Wake { client }),
            }
        }
        self.wants = std::mem::take(wants);
    }
}
