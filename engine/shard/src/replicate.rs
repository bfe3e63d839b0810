//! Between Paxos and the log: record numbers, receipts, coalesced heartbeats, batching.

use crate::api::{Effect, ReadToken};
use crate::group::Proposed;
use crate::outlet::Out;
use crate::request::ReadUse;
use crate::{Shard, paxos};
use alloc::vec::Vec;
use synod_paxos::{ReadBack, Receipt, Writable};
use synod_types::{
    Ballot, Beat, BeatReply, Command, GroupMessage, Learned, Location, Lsn, Mono, NodeId, Now, Op, Payload,
    PeerMessage, Slot, WallMs, limits,
};

/// A record that is on its way to the disk.
#[derive(Debug)]
pub(crate) struct Written {
    index: usize,
    receipt: Receipt,
    at: Mono,
    /// Of the payload.
    bytes: usize,
}

/// Heartbeats and answers for one peer.
#[derive(Debug)]
pub(crate) struct Coalesced {
    node: NodeId,
    beats: Vec<Beat>,
    replies: Vec<BeatReply>,
}

/// Chosen values that are read back for a peer. They leave together, so that it learns at once how far it got and asks on.
#[derive(Debug)]
pub(crate) struct Batch<P> {
    number: u64,
    to: NodeId,
    entries: Vec<(Slot, Ballot, Option<P>)>,
    /// Reads that have not come back.
    missing: usize,
}

impl<P> Batch<P> {
    pub(crate) fn invariants(&self) {
        assert!(self.missing > 0 && self.missing <= self.entries.len(), "a batch was left behind");
    }
}

impl Written {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// When it was handed to the log.
    pub(crate) fn at(&self) -> Mono {
        self.at
    }
}

impl<P: Payload> Shard<P> {
    /// Lets one thing happen to a group and sees to all that follows from it.
    pub(crate) fn drive(&mut self, index: usize, input: paxos::Input<P>, now: Now, out: &mut impl Out<P>) {
        self.tell_room(index, now);
        self.groups[index].paxos.step(input, now, &mut self.effects);
        self.follow_up(index, now, out);
    }

    /// After a step of a group: pass its effects on, apply what became ready, notice a change of leadership, serve reads.
    pub(crate) fn follow_up(&mut self, index: usize, now: Now, out: &mut impl Out<P>) {
        self.flush_effects(index, now, out);
        self.apply_ready(index, now, out);
        self.notice_leadership(index, now, out);
        self.serve_confirmed(index, now, out);
        self.serve_lagging(index, now, out);
    }

    pub(crate) fn flush_effects(&mut self, index: usize, now: Now, out: &mut impl Out<P>) {
        let group = self.groups[index].id;
        let mut effects = core::mem::take(&mut self.effects);
        for effect in effects.drain(..) {
            match effect {
                paxos::Effect::Append { head, payload, then, receipt } => {
                    self.lsn = self.lsn.next();
                    let bytes = payload.as_ref().map_or(0, |payload| payload.as_ref().len());
                    self.undurable_bytes += bytes;
                    self.take_room(bytes);
                    self.written.push_back(Written { index, receipt, at: now.mono, bytes });
                    let then = then
                        .into_iter()
                        .map(|(to, message)| (to, PeerMessage::Group { group, message }))
                        .collect();
                    out.push(Effect::Append { lsn: self.lsn, head, payload, then });
                }
                paxos::Effect::Send { to, message } => {
                    out.push(Effect::Send { to, message: PeerMessage::Group { group, message } });
                }
                paxos::Effect::Beat { to, beat } => self.coalesced_for(to).beats.push(beat),
                paxos::Effect::BeatReply { to, reply } => self.coalesced_for(to).replies.push(reply),
                paxos::Effect::ReadBack { to, wanted } => self.read_back(index, to, &wanted, out),
                paxos::Effect::Recall { slot, ballot, at } => {
                    let token = self.token();
                    self.reads.insert(token, ReadUse::Recall { index, slot, ballot });
                    out.push(Effect::ReadEntry { token, location: at });
                }
            }
        }
        self.effects = effects;
    }

    fn coalesced_for(&mut self, node: NodeId) -> &mut Coalesced {
        let index = match self.coalesced.iter().position(|entry| entry.node == node) {
            Some(index) => index,
            None => {
                self.coalesced.push(Coalesced { node, beats: Vec::new(), replies: Vec::new() });
                self.coalesced.len() - 1
            }
        };
        &mut self.coalesced[index]
    }

    /// One message per peer for all groups' heartbeats, one for all answers (P-09); more only if a turn has gathered more than a
    /// peer takes at once: who stood still for seconds answers all that came meanwhile.
    pub(crate) fn flush_coalesced(&mut self, out: &mut impl Out<P>) {
        for entry in &mut self.coalesced {
            let to = entry.node;
            for part in parts(&mut entry.beats) {
                out.push(Effect::Send { to, message: PeerMessage::Beats(part) });
            }
            for part in parts(&mut entry.replies) {
                out.push(Effect::Send { to, message: PeerMessage::BeatReplies(part) });
            }
        }
    }

    pub(crate) fn on_appended(&mut self, lsn: Lsn, at: Location, now: Now, out: &mut impl Out<P>) {
        assert!(lsn > self.durable && lsn <= self.lsn, "a place for a record that is not under way");
        let offset = (lsn.get() - self.durable.get() - 1) as usize; // within `written`
        let written = &self.written[offset];
        let index = written.index;
        if let Receipt::Accept { slot, ballot } | Receipt::Learned { slot, ballot } = written.receipt {
            self.groups[index].paxos.step(paxos::Input::Located { slot, ballot, at }, now, &mut self.effects);
            self.apply_ready(index, now, out);
            self.serve_confirmed(index, now, out);
            self.serve_lagging(index, now, out);
        }
    }

    pub(crate) fn on_durable(&mut self, lsn: Lsn, now: Now, out: &mut impl Out<P>) {
        assert!(lsn <= self.lsn, "a record is durable that was never written");
        let (mut flushed, before) = (0, self.durable);
        while self.durable < lsn {
            self.durable = self.durable.next();
            let written = self.written.pop_front().expect("one entry per record under way");
            self.undurable_bytes -= written.bytes;
            flushed += written.bytes;
            let took = now.mono.since(written.at);
            self.stats.log_us.record_span(took);
            self.log_pace.note(took, now.mono);
            self.drive(written.index, paxos::Input::Durable { receipt: written.receipt }, now, out);
        }
        self.stats.flush_bytes.record(flushed as u64);
        self.stats.flush_records.record(lsn.get() - before.get());
    }

    /// Proposes what gathered. While the pipeline is full, or the log too far behind, what arrives gathers into the next
    /// batch: no timer (P-04). What gathers is bounded, and so what waits for the disk is too (P-14b).
    pub(crate) fn propose_pending(&mut self, index: usize, now: Now, out: &mut impl Out<P>) {
        let depth = self.config.pipeline_slots;
        loop {
            if self.groups[index].pending.is_empty() {
                return;
            }
            self.tell_room(index, now);
            let behind = self.undurable_bytes >= self.config.log_backlog_bytes_max;
            let group = &mut self.groups[index];
            if behind
                || !group.paxos.can_propose()
                || group.paxos.writable(now.mono) != Writable::Yes
                || group.paxos.in_flight() >= depth
            {
                return;
            }
            let Some(slot) = group.paxos.next_slot() else { return };
            // Nothing is written before it is known what time it is (P-16e).
            let Some(ts) = group.paxos.leader_clock(now.mono) else { return };
            let mut origins = Vec::new();
            while let Some(next) = group.pending.front()
                && group.builder.fits(&next.command)
            {
                let Some(next) = group.pending.pop_front() else { break };
                group.pending_bytes -= crate::request::cost(&next.command);
                group.stats.queue_us.record_span(now.mono.since(next.arrived));
                group.builder.push(next.command);
                origins.push(Some(next.origin));
            }
            let origin = group.paxos.next_origin();
            let payload = P::from(group.builder.finish(origin, ts)).sealed();
            group.stats.batch_commands.record(origins.len() as u64);
            group.proposed.push_back(Proposed { slot, ballot: origin, origins, at: now.mono });
            self.drive(index, paxos::Input::Propose { payload }, now, out);
        }
    }

    /// While an expiry is due, the leader moves applied time on by an empty slot, so that nothing that has expired can
    /// reappear after a failover. What is under way or about to be carries a time itself, and is waited for.
    pub(crate) fn keep_time(&mut self, index: usize, now: Now, out: &mut impl Out<P>) {
        #[cfg(feature = "canary")]
        if self.canary == Some(crate::Canary::ExpiryUnwatched) {
            return;
        }
        let group = &mut self.groups[index];
        if let Some(clock) = group.paxos.leader_clock(now.mono)
            && group.paxos.serving()
            && group.paxos.can_propose()
            && group.paxos.writable(now.mono) == Writable::Yes
            && group.pending.is_empty()
            && group.paxos.in_flight() == 0
            && self.store.next_expiry(group.id).is_some_and(|due| due <= clock)
        {
            let origin = group.paxos.next_origin();
            let payload = P::from(group.builder.finish(origin, clock));
            self.drive(index, paxos::Input::Propose { payload }, now, out);
        }
    }

    /// Once every member has said that it reads a later level, the leader says so in the log: from the next slot on what comes with that
    /// level may be written (P-19).
    pub(crate) fn raise_level(&mut self, index: usize, now: Now, out: &mut impl Out<P>) {
        let behind = self.undurable_bytes >= self.config.log_backlog_bytes_max;
        let held = self.store.level(self.groups[index].id);
        let group = &mut self.groups[index];
        if let Some(level) = group.paxos.level_of_all()
            && level > held
            && group.raised != group.led.map(|ballot| (ballot, level))
            && !behind
            && group.paxos.serving()
            && group.paxos.can_propose()
            && group.paxos.writable(now.mono) == Writable::Yes
            && group.paxos.in_flight() < self.config.pipeline_slots
        {
            // Chosen, sooner or later, unless another leads by then.
            group.raised = group.led.map(|ballot| (ballot, level));
            let nothing = || P::from(Vec::new());
            group.builder.push(Command::new(nothing(), Op::RaiseLevel(level), nothing()));
            let ts = group.paxos.leader_clock(now.mono).unwrap_or(WallMs::ZERO);
            let origin = group.paxos.next_origin();
            let payload = P::from(group.builder.finish(origin, ts));
            self.drive(index, paxos::Input::Propose { payload }, now, out);
        }
    }

    /// Removes what has expired, so much at a time that no request waits for it noticeably. Another group comes first each
    /// time: one with much to remove must not keep the others from it.
    pub(crate) fn sweep(&mut self) {
        let mut budget = SWEEP_STEPS_PER_TICK;
        let (before, after) = self.groups.split_at_mut(self.sweep_from);
        for group in after.iter_mut().chain(before) {
            self.store.expire(group.id, &mut budget);
            group.stats.keys_expired = self.store.expired(group.id);
        }
        self.sweep_from = (self.sweep_from + 1) % self.groups.len().max(1);
    }

    fn read_back(&mut self, index: usize, to: NodeId, wanted: &[ReadBack], out: &mut impl Out<P>) {
        let group = &mut self.groups[index];
        if group.batches.iter().filter(|batch| batch.to == to).count() >= BATCHES_PER_PEER_MAX {
            return; // the peer asks again
        }
        group.next_batch += 1;
        let number = group.next_batch;
        let entries = wanted.iter().map(|one| (one.slot, one.ballot, None)).collect();
        group.batches.push(Batch { number, to, entries, missing: wanted.len() });
        for &ReadBack { slot, at, .. } in wanted {
            let token = self.token();
            self.reads.insert(token, ReadUse::Learn { index, batch: number, slot });
            out.push(Effect::ReadEntry { token, location: at });
        }
    }

    /// A value for a peer came back, or did not. The last one of a batch sends it: what lies below the first that failed. The peer asks
    /// for the rest again, and somebody else in the end.
    pub(crate) fn on_read_back(
        &mut self,
        index: usize,
        number: u64,
        slot: Slot,
        payload: Option<P>,
        now: Now,
        out: &mut impl Out<P>,
    ) {
        let group = &mut self.groups[index];
        let at = group.batches.iter().position(|batch| batch.number == number);
        let at = at.expect("a batch waits for all its reads");
        let batch = &mut group.batches[at];
        let entry = batch.entries.iter_mut().find(|(wanted, ..)| *wanted == slot);
        let entry = entry.expect("a read of the batch");
        let (to, ballot, has_failed) = (batch.to, entry.1, payload.is_none());
        entry.2 = payload;
        batch.missing -= 1;
        let is_whole = batch.missing == 0;
        if is_whole {
            self.send_batch(index, at, out);
        }
        if has_failed {
            self.on_entry_lost(index, slot, ballot, to, now, out);
        }
    }

    /// Sends what was read back for a peer, up to the first that failed.
    fn send_batch(&mut self, index: usize, at: usize, out: &mut impl Out<P>) {
        let group = &mut self.groups[index];
        let Batch { to, entries, .. } = group.batches.swap_remove(at);
        let entries: Vec<Learned<P>> = entries
            .into_iter()
            .map_while(|(slot, ballot, payload)| Some(Learned { slot, ballot, payload: payload? }))
            .collect();
        if !entries.is_empty() {
            let message = GroupMessage::Learn { chosen: group.paxos.chosen(), entries };
            out.push(Effect::Send { to, message: PeerMessage::Group { group: group.id, message } });
        }
    }

    pub(crate) fn token(&mut self) -> ReadToken {
        self.next_token += 1;
        ReadToken(self.next_token)
    }
}

/// Everything in `gathered`, in parts that fit a message.
fn parts<T>(gathered: &mut Vec<T>) -> impl Iterator<Item = Vec<T>> {
    let mut rest = core::mem::take(gathered);
    core::iter::from_fn(move || {
        let behind = rest.split_off(rest.len().min(limits::COALESCED_MAX));
        let part = core::mem::replace(&mut rest, behind);
        (!part.is_empty()).then_some(part)
    })
}

/// Steps of the sweep per core and tick: below a millisecond of five. It is for crowds that expire together: the store
/// itself keeps up with what is written.
const SWEEP_STEPS_PER_TICK: usize = 4096;
/// Batches of one group read back for one peer at once: what it pulls, and what it proposed without knowing the outcome.
const BATCHES_PER_PEER_MAX: usize = 2;
