//! Applying chosen entries to the store, in slot order, and answering who waited for them.

use crate::Shard;
use crate::api::Effect;
use crate::group::{Parked, Proposed};
use crate::outlet::Out;
use crate::request::{ReadUse, push_reply};
use alloc::vec::Vec;
use synod_store::{Applied, CacheHint};
use synod_types::{CommandRef, Entry, Location, Mono, Now, Op, Payload, Slot, Version};

impl<P: Payload> Shard<P> {
    /// Applies every chosen entry whose place in the log is known, up to one that needs a cold value or is itself not in memory; sees
    /// to it that those after that come back in time.
    pub(crate) fn apply_ready(&mut self, index: usize, now: Now, out: &mut impl Out<P>) {
        self.apply_all(index, now, out);
        self.groups[index].paxos.recall_ahead(&mut self.effects);
        self.flush_effects(index, now, out);
    }

    fn apply_all(&mut self, index: usize, now: Now, out: &mut impl Out<P>) {
        while self.groups[index].parked.is_none() {
            let Some((slot, payload, at)) = self.groups[index].paxos.next_apply() else { return };
            let payload = payload.clone();
            let group = &mut self.groups[index];
            if let Some(proposed) = group.proposed.front()
                && proposed.slot == slot
            {
                group.stats.quorum_us.record_span(now.mono.since(proposed.at));
            }
            self.apply_slot(index, slot, payload, at, 0, None, now.mono, now, out);
        }
    }

    /// Goes on with a slot that waited for a cold value, given that value, checked.
    pub(crate) fn unpark(&mut self, index: usize, old: P, now: Now, out: &mut impl Out<P>) {
        let parked = self.groups[index].parked.take().expect("apply is parked until its value is there");
        assert!(
            synod_types::checksum::crc32c(old.as_ref()) == parked.crc,
            "apply is given the value that was written"
        );
        let Some((slot, payload, at)) = self.groups[index].paxos.next_apply() else {
            panic!("a parked slot is the next to apply");
        };
        assert!(slot == parked.slot, "a parked slot is the next to apply");
        let payload = payload.clone();
        let (first, old) = (parked.position, Some(old.as_ref()));
        self.apply_slot(index, slot, payload, at, first, old, parked.since, now, out);
        self.apply_ready(index, now, out);
    }

    #[expect(clippy::too_many_arguments, reason = "one slot, entered at its start or where it was parked")]
    fn apply_slot(
        &mut self,
        index: usize,
        slot: Slot,
        payload: P,
        at: Location,
        first: u32,
        mut old: Option<&[u8]>,
        since: Mono,
        now: Now,
        out: &mut impl Out<P>,
    ) {
        let entry = match Entry::check(payload) {
            Ok(entry) => entry,
            Err(error) => panic!("slot {slot} holds no entry, though it was checked at the border: {error}"),
        };
        let (group, leads) = (self.groups[index].id, self.groups[index].led.is_some());
        let keep = if leads { CacheHint::Keep } else { CacheHint::Skip };
        if first == 0 {
            self.store.begin_slot(group, entry.ts());
            self.groups[index].paxos.applied_time(self.store.applied_ts(group), now.mono);
            let is_own = |proposed: &Proposed| proposed.slot != slot || proposed.ballot == entry.origin();
            let is_known = self.groups[index].proposed.front().is_none_or(is_own);
            assert!(is_known, "{group} {slot}: clients wait for another entry than the one that was chosen");
        }
        let commands: Vec<CommandRef<'_>> = entry.commands().skip(first as usize).collect();
        if commands.len() > 1 {
            self.store.warm(group, &commands);
        }
        for command in commands {
            let version = Version { slot, position: command.position };
            if let Op::RaiseLevel(level) = command.op {
                // It was said by a leader that had heard every member say so (P-19).
                assert!(
                    level <= self.config.level,
                    "{group} {slot} raises the level above what this node reads"
                );
            }
            let value_at = at.part(command.value_offset, command.operand.len() as u32); // within OPERAND_BYTES_MAX
            let mut applied = self.store.apply(group, &command, version, value_at, keep, old.take());
            // What an earlier command of this very entry wrote is at hand. (And nowhere else: the log says of applied slots only where
            // they lie, should the bytes turn out to be damaged.)
            if let Applied::Read { location, crc } = applied
                && let Some(bytes) = part_of(&entry, at, location)
            {
                assert!(
                    synod_types::checksum::crc32c(bytes) == crc,
                    "an entry holds the values that it wrote"
                );
                applied = self.store.apply(group, &command, version, value_at, keep, Some(bytes));
            }
            match applied {
                Applied::Reply(reply) => {
                    let waiter = self.groups[index]
                        .proposed
                        .front_mut()
                        .filter(|proposed| proposed.slot == slot)
                        .and_then(|proposed| proposed.origins.get_mut(command.position as usize)?.take());
                    if let Some(origin) = waiter {
                        push_reply(origin, reply, out);
                    }
                }
                Applied::Read { location, crc } => {
                    let position = command.position;
                    let token = self.token();
                    self.groups[index].parked = Some(Parked { slot, position, token, location, crc, since });
                    self.reads.insert(token, ReadUse::Apply { index });
                    out.push(Effect::Read { token, location });
                    return;
                }
            }
        }
        let group = &mut self.groups[index];
        group.paxos.applied(slot);
        if group.proposed.front().is_some_and(|proposed| proposed.slot == slot) {
            group.stats.apply_us.record_span(now.mono.since(since));
            group.proposed.pop_front();
        }
    }
}

/// What lies at `wanted` in the log, if that is a part of `entry`, which lies at `at`.
fn part_of<P: Payload>(entry: &Entry<P>, at: Location, wanted: Location) -> Option<&[u8]> {
    let start = wanted.offset.checked_sub(at.offset).filter(|_| wanted.segment == at.segment)? as usize;
    entry.bytes().as_ref().get(start..start + wanted.len as usize)
}
