//! What the log of this core cannot give back any more is fetched from a peer: its bytes are damaged, or cannot be read.
//!
//! ```text
//!   a read fails ─▶ which slot wrote it? ─▶ Fetch { slot } ─▶ a peer, then the next
//!                                                │ the chosen entry of the slot, the same bytes on every replica
//!   Reply, apply, or Learn for who pulls ◀───────┘
//! ```
//! Only what is chosen and applied here is asked for, and nothing is written: an acceptance that was lost is not made up for. Every
//! byte is checked before it is used, here as at the peer that sends it.

use crate::api::Effect;
use crate::outlet::Out;
use crate::request::{Origin, push_error, push_value};
use crate::{ReadFailed, Shard};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use synod_store::{FoundValue, Lookup, Room};
use synod_types::{
    Ballot, Command, Entry, ErrorKind, GroupMessage, Learned, Location, Mono, NodeId, Now, Payload,
    PeerMessage, Slot, Version, checksum,
};

/// Entries that are being fetched, by group and slot.
#[derive(Debug)]
pub(crate) struct Repairs<P> {
    wanted: BTreeMap<(usize, Slot), Repair<P>>,
}

#[derive(Debug)]
struct Repair<P> {
    uses: Vec<Use<P>>,
    asked: NodeId,
    asked_at: Mono,
}

/// Who waits for an entry.
#[derive(Debug)]
struct Use<P> {
    what: What<P>,
    since: Mono,
}

#[derive(Debug)]
enum What<P> {
    /// A client's GET: a part of the entry.
    Get { origin: Origin, command: Command<P>, version: Version, offset: u32, len: u32, crc: u32 },
    /// Apply stands still for a part of the entry.
    Apply { offset: u32, len: u32, crc: u32 },
    /// A peer pulls the entry.
    Learn { to: NodeId, ballot: Ballot },
}

impl<P> Default for Repairs<P> {
    fn default() -> Self {
        Self { wanted: BTreeMap::new() }
    }
}

/// Entries fetched at a time; what is more than that fails.
const REPAIRS_MAX: usize = 256;
/// Who may wait for one entry.
const USES_MAX: usize = 1024;

impl<P: Payload> Shard<P> {
    /// The value that a client asked for could not be read, or is not what was written.
    pub(crate) fn on_value_lost(
        &mut self,
        index: usize,
        origin: Origin,
        command: Command<P>,
        (version, crc): (Version, u32),
        now: Now,
        out: &mut impl Out<P>,
    ) {
        self.stats.reads_failed += 1;
        let found = self.store.lookup(self.groups[index].id, command.namespace, command.key.as_ref());
        let location = match found {
            Lookup::Cold { location, version: now_at, .. } if now_at == version => location,
            // It was overwritten meanwhile, or read by somebody else.
            _ => return self.read(index, origin, command, now, out),
        };
        self.stats.damaged_at = Some(location);
        let Some((slot, offset)) = self.written_by(index, location) else {
            return push_error(origin, ErrorKind::ReadFailed, out);
        };
        let what = What::Get { origin, command, version, offset, len: location.len, crc };
        self.repair(index, slot, what, now, out);
    }

    /// The same for a value that apply needs. It cannot go on without, and a replica that skipped it would differ from the others.
    ///
    /// # Panics
    /// When there is no other copy.
    pub(crate) fn on_old_value_lost(&mut self, index: usize, now: Now, out: &mut impl Out<P>) {
        self.stats.reads_failed += 1;
        let parked = self.groups[index].parked.expect("apply is parked until its read comes back");
        let (location, crc) = (parked.location, parked.crc);
        self.stats.damaged_at = Some(location);
        let place = self.written_by(index, location).filter(|_| self.has_peers(index));
        let (slot, offset) = place.expect("a value that apply needs is damaged, and there is no other copy");
        self.repair(index, slot, What::Apply { offset, len: location.len, crc }, now, out);
    }

    /// The same for an entry that a peer has asked for.
    pub(crate) fn on_entry_lost(
        &mut self,
        index: usize,
        slot: Slot,
        ballot: Ballot,
        to: NodeId,
        now: Now,
        out: &mut impl Out<P>,
    ) {
        self.stats.reads_failed += 1;
        self.stats.damaged_at = self.groups[index].paxos.place_of(slot);
        self.repair(index, slot, What::Learn { to, ballot }, now, out);
    }

    /// The slot whose entry holds these bytes of the log, and where in the entry.
    fn written_by(&self, index: usize, location: Location) -> Option<(Slot, u32)> {
        let (slot, entry) = self.groups[index].paxos.slot_at(location)?;
        Some((slot, location.offset - entry.offset))
    }

    fn has_peers(&self, index: usize) -> bool {
        self.config.groups[index].members.voters().len() > 1
    }

    fn repair(&mut self, index: usize, slot: Slot, what: What<P>, now: Now, out: &mut impl Out<P>) {
        let is_full = !self.repairs.wanted.contains_key(&(index, slot))
            && self.repairs.wanted.len() >= REPAIRS_MAX
            && !matches!(what, What::Apply { .. });
        if is_full || !self.has_peers(index) {
            return self.give_up_on(what, out);
        }
        let one = Use { what, since: now.mono };
        if let Some(repair) = self.repairs.wanted.get_mut(&(index, slot)) {
            if repair.uses.len() < USES_MAX || matches!(one.what, What::Apply { .. }) {
                repair.uses.push(one);
            } else {
                self.give_up_on(one.what, out);
            }
            return;
        }
        // The leader most likely holds what is chosen; who leads itself asks the next one.
        let leader = self.groups[index].paxos.leader_hint().filter(|&node| node != self.config.node);
        let asked = leader.unwrap_or_else(|| self.next_peer(index, self.config.node));
        self.repairs
            .wanted
            .insert((index, slot), Repair { uses: Vec::from([one]), asked, asked_at: now.mono });
        self.ask_for(index, slot, asked, out);
    }

    fn ask_for(&mut self, index: usize, slot: Slot, to: NodeId, out: &mut impl Out<P>) {
        let group = self.groups[index].id;
        let message = PeerMessage::Group { group, message: GroupMessage::Fetch { from: slot } };
        out.push(Effect::Send { to, message });
    }

    /// The voter after `node` that is not this one.
    fn next_peer(&self, index: usize, node: NodeId) -> NodeId {
        let voters = self.config.groups[index].members.voters();
        let at = voters.iter().position(|&voter| voter == node).unwrap_or(0);
        let others = voters.iter().cycle().skip(at + 1).take(voters.len());
        others.copied().find(|&voter| voter != self.config.node).unwrap_or(node)
    }

    fn give_up_on(&mut self, what: What<P>, out: &mut impl Out<P>) {
        match what {
            What::Get { origin, .. } => push_error(origin, ErrorKind::ReadFailed, out),
            // It asks again.
            What::Learn { .. } => {}
            What::Apply { .. } => unreachable!("apply waits for as long as it takes"),
        }
    }

    /// A peer sends chosen entries: some may be those that the log has lost.
    pub(crate) fn repair_with(
        &mut self,
        index: usize,
        entries: &[Learned<P>],
        now: Now,
        out: &mut impl Out<P>,
    ) {
        if self.repairs.wanted.is_empty() {
            return;
        }
        for Learned { slot, payload, .. } in entries {
            let Some(mut repair) = self.repairs.wanted.remove(&(index, *slot)) else { continue };
            if Entry::check(payload.clone()).is_err() {
                self.repairs.wanted.insert((index, *slot), repair);
                continue;
            }
            let uses = core::mem::take(&mut repair.uses);
            for one in uses {
                if let Err(one) = self.use_entry(index, *slot, payload, one, now, out) {
                    repair.uses.push(*one);
                }
            }
            if !repair.uses.is_empty() {
                self.repairs.wanted.insert((index, *slot), repair);
            }
        }
    }

    /// Serves one who waited; back if the entry does not hold what it should.
    fn use_entry(
        &mut self,
        index: usize,
        slot: Slot,
        entry: &P,
        one: Use<P>,
        now: Now,
        out: &mut impl Out<P>,
    ) -> Result<(), Box<Use<P>>> {
        let part = |offset: u32, len: u32, crc: u32| {
            let bytes = entry.as_ref().get(offset as usize..offset as usize + len as usize)?;
            (checksum::crc32c(bytes) == crc).then_some(bytes)
        };
        match &one.what {
            What::Get { origin, command, version, offset, len, crc } => {
                let Some(bytes) = part(*offset, *len, *crc) else { return Err(Box::new(one)) };
                let group = &self.groups[index];
                let room = if group.led.is_some() { Room::Made } else { Room::Spare };
                let value = FoundValue::summed(*version, bytes, *crc);
                self.store.admit(group.id, command.namespace, command.key.as_ref(), value, room);
                push_value(*origin, bytes, *version, out);
            }
            What::Apply { offset, len, crc } => {
                let Some(bytes) = part(*offset, *len, *crc) else { return Err(Box::new(one)) };
                let old = P::from(bytes.to_vec());
                self.unpark(index, old, now, out);
                self.follow_up(index, now, out);
            }
            What::Learn { to, ballot } => {
                let group = &self.groups[index];
                let entries = Vec::from([Learned { slot, ballot: *ballot, payload: entry.clone() }]);
                let message = GroupMessage::Learn { chosen: group.paxos.chosen(), entries };
                out.push(Effect::Send { to: *to, message: PeerMessage::Group { group: group.id, message } });
            }
        }
        self.stats.reads_repaired += 1;
        Ok(())
    }

    /// Asks the next peer for what has not come, and gives up on what has been waited for too long.
    pub(crate) fn repair_tick(&mut self, now: Now, out: &mut impl Out<P>) {
        let (patience, resend) = (self.config.timing.patience, self.config.timing.resend);
        let due = self.repairs.wanted.iter().filter(|(_, repair)| now.mono.since(repair.asked_at) >= resend);
        let due: Vec<(usize, Slot)> = due.map(|(&place, _)| place).collect();
        for (index, slot) in due {
            let Some(mut repair) = self.repairs.wanted.remove(&(index, slot)) else { continue };
            let is_late = |one: &mut Use<P>| {
                !matches!(one.what, What::Apply { .. }) && now.mono.since(one.since) >= patience
            };
            let late: Vec<Use<P>> = repair.uses.extract_if(.., is_late).collect();
            for one in late {
                self.give_up_on(one.what, out);
            }
            if repair.uses.is_empty() {
                continue;
            }
            repair.asked = self.next_peer(index, repair.asked);
            repair.asked_at = now.mono;
            self.ask_for(index, slot, repair.asked, out);
            self.repairs.wanted.insert((index, slot), repair);
        }
    }
}

/// A read did not give its bytes.
pub(crate) fn is_whole<P: AsRef<[u8]>>(result: Result<P, ReadFailed>, crc: u32) -> Option<P> {
    result.ok().filter(|bytes| checksum::crc32c(bytes.as_ref()) == crc)
}
