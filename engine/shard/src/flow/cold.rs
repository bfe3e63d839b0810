//! Completed reads of the log.

use crate::api::{ReadFailed, ReadToken};
use crate::flow::drive::{drive, follow_up};
use crate::flow::{apply, repair};
use crate::outlet::Out;
use crate::parts::cold_reads::ReadUse;
use crate::parts::pulls::ReadFor;
use crate::request::{Origin, push_value};
use crate::step::{Cx, Step};
use synod_paxos as paxos;
use synod_store::{CacheAdmission, FoundValue};
use synod_types::{Command, Entry, Payload, Slot, Version};

/// A read has returned its bytes, or failed.
pub(crate) fn on_read_done<P: Payload>(
    step: &mut Step<'_, P, impl Out<P>>,
    token: ReadToken,
    result: Result<P, ReadFailed>,
) {
    let bytes = result.ok();
    match step.common.cold_reads.finish(token) {
        ReadUse::Get { index, origin, command, version, crc } => {
            on_value(&mut step.at(index), origin, command, (version, crc), bytes);
        }
        ReadUse::Apply { index } => on_old_value(&mut step.at(index), token, bytes),
        ReadUse::Learn { index, batch, slot } => on_entry(&mut step.at(index), batch, slot, bytes),
        ReadUse::Recall { index, slot, ballot } => {
            // Checked like an entry from a peer, because these bytes are reported and applied.
            let payload = bytes.and_then(|bytes| Entry::check(bytes).ok()).map(Entry::into_bytes);
            step.common.stats.reads_failed += u64::from(payload.is_none());
            drive(&mut step.at(index), paxos::Input::Recalled { slot, ballot, payload });
        }
    }
}

/// The value for a client's GET.
fn on_value<P: Payload>(
    cx: &mut Cx<'_, P, impl Out<P>>,
    origin: Origin,
    command: Command<P>,
    (version, crc): (Version, u32),
    bytes: Option<P>,
) {
    let Some(bytes) = repair::is_whole(bytes, crc) else {
        return repair::on_value_lost(cx, origin, command, (version, crc));
    };
    let value = FoundValue::summed(version, bytes.as_ref(), crc);
    let admission = if cx.group.led.is_some() { CacheAdmission::MayEvict } else { CacheAdmission::SpareOnly };
    cx.common.store.admit(cx.group.id, command.namespace, command.key.as_ref(), value, admission);
    push_value(origin, bytes.as_ref(), version, cx.out);
}

/// The value that apply is blocked on.
fn on_old_value<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>, token: ReadToken, bytes: Option<P>) {
    let blocked = cx.group.blocked.filter(|blocked| blocked.token == token);
    let blocked = blocked.expect("apply is blocked until its read comes back");
    let Some(old) = repair::is_whole(bytes, blocked.crc) else {
        return repair::on_old_value_lost(cx);
    };
    apply::unblock(cx, old);
    follow_up(cx);
}

/// An entry for a peer that pulls. The last read of a batch sends it, up to the first entry that could not be
/// read. The peer asks for the rest again, and in the end asks another replica.
fn on_entry<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>, batch: u64, slot: Slot, bytes: Option<P>) {
    let has_failed = bytes.is_none();
    let ReadFor { to, ballot, entries } = cx.group.pulls.came_back(batch, slot, bytes);
    if let Some(entries) = entries.filter(|entries| !entries.is_empty()) {
        repair::send_entries(cx, to, entries);
    }
    if has_failed {
        repair::on_entry_lost(cx, slot, ballot, to);
    }
}
