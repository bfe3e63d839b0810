//! Applying chosen entries to the store, in slot order, and answering the clients that wait for them.

use crate::api::Effect;
use crate::flow::{effects, session};
use crate::group::BlockedApply;
use crate::outlet::Out;
use crate::parts::cold_reads::ReadUse;
use crate::request::{Origin, push_reply};
use crate::step::Cx;
use alloc::vec::Vec;
use synod_store::{Applied, CacheHint};
use synod_types::{
    CommandRef, Entry, ErrorKind, Event, Location, Mono, Op, Payload, Reply, Slot, Version, checksum,
};

/// A slot that is being applied: from its start, or from where it was blocked, with the value that it needed.
struct Entered<'a> {
    slot: Slot,
    /// Where the entry is in the log.
    at: Location,
    /// The position of the command to begin with.
    first: u32,
    old: Option<&'a [u8]>,
    /// When the slot was found chosen.
    since: Mono,
}

/// Applies every chosen entry whose place in the log is known, up to the first that needs a cold value or is
/// itself not in memory. Then recalls the entries that come next, so that they are in memory in time.
pub(crate) fn apply_ready<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>) {
    while cx.group.blocked.is_none() {
        let Some((slot, payload, at)) = cx.group.paxos.next_apply() else { break };
        let payload = payload.clone();
        debug_assert!(slot == cx.group.paxos.applied_slot().next(), "slots are applied in order");
        let since = cx.now.mono;
        if let Some(age) = cx.group.proposals.age(slot, since) {
            cx.group.stats.quorum_us.record_span(age);
        }
        apply_slot(cx, payload, Entered { slot, at, first: 0, old: None, since });
    }
    cx.group.paxos.recall_ahead(&mut cx.common.effects);
    effects::flush(cx);
}

/// Continues a slot that was blocked on a cold value. The caller has checked that value.
///
/// # Panics
/// When no slot is blocked, or the value is not the one that was written.
pub(crate) fn unblock<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>, old: P) {
    let blocked = cx.group.blocked.take().expect("apply is blocked until its value is there");
    let is_whole = checksum::crc32c(old.as_ref()) == blocked.crc;
    assert!(is_whole, "apply is given the value that was written");
    let next = cx.group.paxos.next_apply().filter(|(slot, ..)| *slot == blocked.slot);
    let (slot, payload, at) = next.expect("a blocked slot is the next to apply");
    let payload = payload.clone();
    let (first, old) = (blocked.position, Some(old.as_ref()));
    apply_slot(cx, payload, Entered { slot, at, first, old, since: blocked.since });
    apply_ready(cx);
}

fn apply_slot<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>, payload: P, entered: Entered<'_>) {
    let Entered { slot, at, first, mut old, since } = entered;
    let entry = match Entry::check(payload) {
        Ok(entry) => entry,
        Err(error) => panic!("slot {slot} holds no entry, though it was checked at the border: {error}"),
    };
    if first == 0 {
        begin_slot(cx, slot, &entry);
    }
    debug_assert!(old.is_none() || first < entry.command_count(), "a value for a command that there is not");
    let place = (slot, at, since);
    if entry.command_count() > first + 1 {
        let commands: Vec<CommandRef<'_>> = entry.commands().skip(first as usize).collect();
        cx.common.store.warm(cx.group.id, &commands);
        for command in &commands {
            if !apply_command(cx, &entry, command, place, old.take()) {
                return;
            }
        }
    } else if let Some(command) = entry.commands().nth(first as usize)
        && !apply_command(cx, &entry, &command, place, old.take())
    {
        return;
    }
    let group = &mut *cx.group;
    debug_assert!(group.blocked.is_none() && old.is_none(), "a slot is applied in part");
    group.paxos.applied(slot);
    // The empty slots of one leader after another help no client.
    if entry.command_count() > 0 {
        group.progress_at = cx.now.mono;
    }
    if group.proposals.applied(slot) {
        group.stats.apply_us.record_span(cx.now.mono.since(since));
    }
}

fn begin_slot<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>, slot: Slot, entry: &Entry<P>) {
    let group = &mut *cx.group;
    cx.common.store.begin_slot(group.id, entry.ts());
    group.paxos.applied_time(cx.common.store.applied_ts(group.id), cx.now.mono);
    let is_expected = group.proposals.expects(slot, entry.origin());
    assert!(is_expected, "{} {slot}: clients wait for another entry than the one that was chosen", group.id);
}

/// Applies one command of a slot and answers its client, if one waits here. False if apply is now blocked on
/// a cold value.
fn apply_command<P: Payload>(
    cx: &mut Cx<'_, P, impl Out<P>>,
    entry: &Entry<P>,
    command: &CommandRef<'_>,
    (slot, at, since): (Slot, Location, Mono),
    old: Option<&[u8]>,
) -> bool {
    let group = &mut *cx.group;
    let position = command.position;
    if let Op::RaiseLevel(level) = command.op {
        // A leader proposes this only after every member has said that it reads the level (P-19).
        let is_known = level <= cx.common.config.level;
        assert!(is_known, "{} {slot} raises the level above what this node reads", group.id);
        if level > cx.common.store.level(group.id) {
            cx.out.tell(Event::LevelRaised { group: group.id, level, slot });
        }
    }
    let keep = if group.led.is_some() { CacheHint::Keep } else { CacheHint::Skip };
    let version = Version { slot, position };
    let value_at = at.part(command.value_offset, command.operand.len() as u32); // within OPERAND_BYTES_MAX
    let store = &mut cx.common.store;
    let mut applied = store.apply(group.id, command, version, value_at, keep, old);
    // A value that an earlier command of this entry wrote is taken from the entry. It is not read from the
    // log: the log can tell the slot of damaged bytes, to repair them, only for applied slots.
    if let Applied::Read { location, crc } = applied
        && let Some(bytes) = part_of(entry, at, location)
    {
        assert!(checksum::crc32c(bytes) == crc, "an entry holds the values that it wrote");
        applied = store.apply(group.id, command, version, value_at, keep, Some(bytes));
    }
    match applied {
        Applied::Reply(reply) => {
            if let Some(origin) = group.proposals.take_origin(slot, position) {
                if matches!((origin, &reply), (Origin::Peer(..), Reply::Error(ErrorKind::NoLeader))) {
                    group.arrivals.refuse(&command.stamp);
                }
                push_reply(origin, reply, cx.out);
            } else if group.stream.waits_for(&command.stamp) {
                if matches!(reply, Reply::Error(ErrorKind::NoLeader)) {
                    group.stream.came_early(command.to_command());
                }
                let is_gone = session::on_applied(group, &command.stamp, reply, cx.out);
                cx.common.sessions_lost += u64::from(is_gone);
            } else {
                #[cfg(feature = "canary")]
                if matches!(reply, Reply::Done { .. })
                    && cx.common.has_planted(crate::Canary::ResolvedByAnother)
                {
                    session::resolve_by_another(cx, Reply::Done { version });
                }
            }
            true
        }
        Applied::Read { location, crc } => {
            assert!(group.blocked.is_none(), "apply is blocked twice");
            let token = cx.common.cold_reads.start(ReadUse::Apply { index: group.index }, cx.now.mono);
            group.blocked = Some(BlockedApply { slot, position, token, location, crc, since });
            cx.out.push(Effect::Read { token, location });
            false
        }
    }
}

/// The bytes at `wanted` in the log, if they are a part of `entry`, which is at `at`.
fn part_of<P: Payload>(entry: &Entry<P>, at: Location, wanted: Location) -> Option<&[u8]> {
    debug_assert!(
        entry.bytes().as_ref().len() == at.len as usize,
        "an entry of another length than its place"
    );
    let start = wanted.offset.checked_sub(at.offset).filter(|_| wanted.segment == at.segment)? as usize;
    entry.bytes().as_ref().get(start..start + wanted.len as usize)
}
