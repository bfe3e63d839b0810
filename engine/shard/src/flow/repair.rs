//! Repair of reads: entries whose bytes in this core's log are damaged, cannot be read, or do not come in time
//! are fetched from a peer.
//!
//! ```text
//!   a read fails ─▶ which slot wrote it? ─▶ Fetch { slot } ─▶ a peer, then the next
//!                                                │ the slot's chosen entry, the same bytes everywhere
//!   Reply, apply, or Learn for the peer that pulls ◀──┘
//! ```
//! Only entries that are chosen and applied here are fetched, and nothing is written: a lost acceptance is
//! not restored. Every byte is checked before it is used, here and at the peer that sends it.

use crate::api::Effect;
use crate::flow::drive::follow_up;
use crate::flow::{apply, read};
use crate::outlet::Out;
use crate::parts::cold_reads::ColdGet;
use crate::parts::repairs::{RepairUse, Waiter};
use crate::request::{Request, push_error, push_value};
use crate::step::{Cx, Step};
use alloc::boxed::Box;
use alloc::vec::Vec;
use synod_store::{CacheAdmission, FoundValue, Lookup};
use synod_types::{
    Ballot, Entry, ErrorKind, Event, GroupMessage, Learned, Location, NodeId, Op, Payload, PeerMessage, Slot,
    checksum,
};

/// Why the bytes of a read are not there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lack {
    /// They are not what was written, or cannot be read.
    Damaged,
    /// The disk has not returned them in time. They may be as they should be.
    Late,
}

/// The value that a client asked for could not be read, or is not what was written.
pub(crate) fn on_value_lost<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>, get: ColdGet<P>, lack: Lack) {
    let ColdGet { request, version, crc, .. } = get;
    let command = &request.command;
    debug_assert!(command.op == Op::Get, "only a GET reads a value from the log");
    let found = cx.common.store.lookup(cx.group.id, command.namespace, command.key.as_ref());
    let location = match found {
        Lookup::Cold { location, version: now_at, .. } if now_at == version => location,
        // The value was overwritten meanwhile, or another read has brought it into memory.
        _ => {
            cx.common.stats.reads_failed += u64::from(lack == Lack::Damaged);
            return read::read(cx, request);
        }
    };
    note_lack(cx, location, lack);
    let Some((slot, offset)) = written_by(cx, location) else {
        return request.refuse(ErrorKind::ReadFailed, cx.out);
    };
    let Request { origin, command, .. } = request;
    let what = RepairUse::Get { origin, command, version, offset, len: location.len, crc };
    repair(cx, slot, what);
}

/// Likewise for a value that apply needs. Apply cannot go on without it: a replica that skipped it would
/// differ from the others.
///
/// # Panics
/// When there is no other copy.
pub(crate) fn on_old_value_lost<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>, lack: Lack) {
    let blocked = cx.group.blocked.expect("apply is blocked until its read comes back");
    let (location, crc) = (blocked.location, blocked.crc);
    note_lack(cx, location, lack);
    let place = written_by(cx, location).filter(|_| has_peers(cx));
    let (slot, offset) = place.expect("a value that apply needs is damaged, and there is no other copy");
    repair(cx, slot, RepairUse::Apply { offset, len: location.len, crc });
}

/// Likewise for an entry that a peer has asked for.
pub(crate) fn on_entry_lost<P: Payload>(
    cx: &mut Cx<'_, P, impl Out<P>>,
    (slot, ballot): (Slot, Ballot),
    to: NodeId,
    lack: Lack,
) {
    match cx.group.paxos.place_of(slot) {
        Some(location) => note_lack(cx, location, lack),
        None => cx.common.stats.reads_failed += u64::from(lack == Lack::Damaged),
    }
    repair(cx, slot, RepairUse::Learn { to, ballot });
}

/// Bytes of the log are damaged, or cannot be read.
fn note_lack<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>, location: Location, lack: Lack) {
    if lack == Lack::Late {
        return; // the age of the oldest read tells it
    }
    cx.common.stats.reads_failed += 1;
    cx.common.stats.damaged_at = Some(location);
    let Location { segment, offset, .. } = location;
    cx.out.tell(Event::ReadDamaged { group: cx.group.id, segment, offset });
}

/// The slot whose entry holds these bytes of the log, and where in the entry.
fn written_by<P: Payload>(cx: &Cx<'_, P, impl Out<P>>, location: Location) -> Option<(Slot, u32)> {
    let (slot, entry) = cx.group.paxos.slot_at(location)?;
    assert!(entry.offset <= location.offset, "an entry holds bytes before it");
    Some((slot, location.offset - entry.offset))
}

/// The voters of the group.
fn voters<'a, P: Payload>(cx: &'a Cx<'_, P, impl Out<P>>) -> &'a [NodeId] {
    cx.common.config.groups[cx.group.index].members.voters()
}

fn has_peers<P: Payload>(cx: &Cx<'_, P, impl Out<P>>) -> bool {
    voters(cx).len() > 1
}

/// The voter after `node` that is not this one.
fn next_peer<P: Payload>(cx: &Cx<'_, P, impl Out<P>>, node: NodeId) -> NodeId {
    let voters = voters(cx);
    let at = voters.iter().position(|&voter| voter == node).unwrap_or(0);
    let mut others = voters.iter().cycle().skip(at + 1).take(voters.len()).copied();
    let next = others.find(|&voter| voter != cx.common.config.node).unwrap_or(node);
    assert!(next != cx.common.config.node, "a lone voter has no peer to ask");
    next
}

/// Waits for an entry from a peer; asks the peer for the entry unless one was asked already.
fn repair<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>, slot: Slot, what: RepairUse<P>) {
    if !has_peers(cx) {
        return give_up_on(cx, what);
    }
    let own = cx.common.config.node;
    // The leader most likely holds the chosen entry. A leader itself asks the next voter.
    let leader = cx.group.paxos.leader_hint().filter(|&node| node != own);
    let peer = leader.unwrap_or_else(|| next_peer(cx, own));
    match cx.common.repairs.wait((cx.group.index, slot), what, peer, cx.now.mono) {
        Ok(true) => ask_for(cx, slot, peer),
        Ok(false) => {}
        Err(what) => give_up_on(cx, what),
    }
}

fn ask_for<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>, slot: Slot, to: NodeId) {
    assert!(to != cx.common.config.node, "it asks itself for what it lacks");
    let message = PeerMessage::Group { group: cx.group.id, message: GroupMessage::Fetch { from: slot } };
    cx.out.push(Effect::Send { to, message });
}

fn give_up_on<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>, what: RepairUse<P>) {
    match what {
        RepairUse::Get { origin, .. } => push_error(origin, ErrorKind::ReadFailed, cx.out),
        // The peer asks again.
        RepairUse::Learn { .. } => {}
        RepairUse::Apply { .. } => unreachable!("apply waits for as long as it takes"),
    }
}

/// A peer has sent chosen entries: some may be the ones that are being fetched.
pub(crate) fn repair_with<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>, entries: &[Learned<P>]) {
    if cx.common.repairs.is_idle() {
        return;
    }
    let index = cx.group.index;
    for Learned { slot, payload, .. } in entries {
        let Some(mut repair) = cx.common.repairs.take(index, *slot) else { continue };
        if Entry::check(payload.clone()).is_ok() {
            for waiter in core::mem::take(&mut repair.waiters) {
                if let Err(waiter) = use_entry(cx, *slot, payload, waiter) {
                    repair.waiters.push(*waiter);
                }
            }
        }
        cx.common.repairs.put_back(index, *slot, repair);
    }
}

/// Serves one waiter; gives it back if the entry does not hold the bytes that it should.
fn use_entry<P: Payload>(
    cx: &mut Cx<'_, P, impl Out<P>>,
    slot: Slot,
    entry: &P,
    waiter: Waiter<P>,
) -> Result<(), Box<Waiter<P>>> {
    let part = |offset: u32, len: u32, crc: u32| {
        let bytes = entry.as_ref().get(offset as usize..offset as usize + len as usize)?;
        (checksum::crc32c(bytes) == crc).then_some(bytes)
    };
    match &waiter.what {
        RepairUse::Get { origin, command, version, offset, len, crc } => {
            let Some(bytes) = part(*offset, *len, *crc) else { return Err(Box::new(waiter)) };
            let admission =
                if cx.group.led.is_some() { CacheAdmission::MayEvict } else { CacheAdmission::SpareOnly };
            let value = FoundValue::summed(*version, bytes, *crc);
            cx.common.store.admit(cx.group.id, command.namespace, command.key.as_ref(), value, admission);
            push_value(*origin, bytes, *version, cx.out);
        }
        RepairUse::Apply { offset, len, crc } => {
            let Some(bytes) = part(*offset, *len, *crc) else { return Err(Box::new(waiter)) };
            apply::unblock(cx, P::from(bytes.to_vec()));
            follow_up(cx);
        }
        RepairUse::Learn { to, ballot } => {
            let entries = Vec::from([Learned { slot, ballot: *ballot, payload: entry.clone() }]);
            send_entries(cx, *to, entries);
        }
    }
    cx.common.stats.reads_repaired += 1;
    cx.out.tell(Event::ReadRepaired { group: cx.group.id, slot });
    Ok(())
}

/// Sends chosen entries to a peer.
pub(crate) fn send_entries<P: Payload>(
    cx: &mut Cx<'_, P, impl Out<P>>,
    to: NodeId,
    entries: Vec<Learned<P>>,
) {
    assert!(!entries.is_empty(), "an answer that answers nothing");
    assert!(to != cx.common.config.node, "it answers itself");
    let message = GroupMessage::Learn { chosen: cx.group.paxos.chosen(), entries };
    cx.out.push(Effect::Send { to, message: PeerMessage::Group { group: cx.group.id, message } });
}

/// Asks the next peer for entries that have not come, and gives up on waiters that have waited too long.
pub(crate) fn tick<P: Payload>(step: &mut Step<'_, P, impl Out<P>>) {
    let (timing, now) = (step.common.config.timing, step.now.mono);
    for (index, slot) in step.common.repairs.due(timing.resend, now) {
        let Some(mut repair) = step.common.repairs.take(index, slot) else { continue };
        let mut cx = step.at(index);
        for late in repair.take_late(timing.patience, now) {
            give_up_on(&mut cx, late.what);
        }
        if !repair.waiters.is_empty() {
            (repair.asked, repair.asked_at) = (next_peer(&cx, repair.asked), now);
            ask_for(&mut cx, slot, repair.asked);
        }
        cx.common.repairs.put_back(index, slot, repair);
    }
}
