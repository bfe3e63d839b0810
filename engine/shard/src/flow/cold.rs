//! Reads of the log that have come back, or take too long.

use crate::api::{ReadFailed, ReadToken};
use crate::flow::drive::{drive, follow_up};
use crate::flow::repair::Lack;
use crate::flow::{apply, repair};
use crate::outlet::Out;
use crate::parts::cold_reads::{ColdGet, ReadUse};
use crate::parts::pulls::ReadFor;
use crate::request::push_value;
use crate::step::{Cx, Step};
use synod_paxos as paxos;
use synod_store::{CacheAdmission, FoundValue};
use synod_types::{Command, Entry, Mono, Nanos, Payload, Slot, checksum};

/// What became of a read.
pub(crate) enum Outcome<P> {
    /// The bytes that the log returned.
    Bytes(P),
    /// The log could not give them back.
    Failed,
    /// They have not come in time.
    Late,
}

/// A read has returned its bytes, or failed.
pub(crate) fn on_read_done<P: Payload>(
    step: &mut Step<'_, P, impl Out<P>>,
    token: ReadToken,
    result: Result<P, ReadFailed>,
) {
    let outcome = result.map_or(Outcome::Failed, Outcome::Bytes);
    if let Some(what) = step.common.cold_reads.finish(token, step.now.mono) {
        on_outcome(step, what, outcome);
    }
}

/// Reads that take longer than a request's patience are asked of a peer like those that fail. Where there is no
/// peer a GET waits for as long as a request may, and everything else for as long as it takes.
pub(crate) fn tick<P: Payload>(step: &mut Step<'_, P, impl Out<P>>) {
    #[cfg(feature = "canary")]
    if step.common.has_planted(crate::Canary::WaitsForReads) {
        return;
    }
    let (timing, now) = (step.common.config.timing, step.now.mono);
    let (groups, held) = (&step.common.config.groups, &*step.groups);
    let has_peers = |index: usize| groups[index].members.voters().len() > 1;
    let is_late = |what: &ReadUse<P>, since: Mono| match what {
        ReadUse::Get(get) => {
            let patience = if has_peers(get.index) { timing.patience } else { timing.request_max };
            now.since(get.request.arrived) >= patience
        }
        // Apply cannot go on without the value: it waits unless a peer can be asked for it.
        ReadUse::Apply { index } => {
            let blocked = held[*index].blocked;
            let is_known = blocked.is_some_and(|at| held[*index].paxos.slot_at(at.location).is_some());
            is_known && has_peers(*index) && now.since(since) >= timing.patience
        }
        ReadUse::Learn { index, .. } => has_peers(*index) && now.since(since) >= timing.patience,
        ReadUse::Recall { .. } => false, // its value is chosen by others' votes, or comes with what is pulled
    };
    // A GET may have waited for other things before, and its read may have begun just now.
    let at_least = Nanos(2 * timing.lease.0);
    for what in step.common.cold_reads.take_late(at_least, now, is_late) {
        step.common.stats.reads_late += 1;
        on_outcome(step, what, Outcome::Late);
    }
}

fn on_outcome<P: Payload>(step: &mut Step<'_, P, impl Out<P>>, what: ReadUse<P>, outcome: Outcome<P>) {
    match what {
        ReadUse::Get(get) => on_value(&mut step.at(get.index), get, outcome),
        ReadUse::Apply { index } => on_old_value(&mut step.at(index), outcome),
        ReadUse::Learn { index, batch, slot } => on_entry(&mut step.at(index), batch, slot, outcome),
        ReadUse::Recall { index, slot, ballot } => {
            // Checked like an entry from a peer, because these bytes are reported and applied.
            let payload = outcome.bytes().and_then(|bytes| Entry::check(bytes).ok()).map(Entry::into_bytes);
            step.common.stats.reads_failed += u64::from(payload.is_none());
            drive(&mut step.at(index), paxos::Input::Recalled { slot, ballot, payload });
        }
    }
}

impl<P> Outcome<P> {
    fn bytes(self) -> Option<P> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Failed | Self::Late => None,
        }
    }
}

impl<P: AsRef<[u8]>> Outcome<P> {
    /// The bytes, if they are what was written.
    fn whole(self, crc: u32) -> Result<P, Lack> {
        match self {
            Self::Bytes(bytes) if checksum::crc32c(bytes.as_ref()) == crc => Ok(bytes),
            Self::Bytes(_) | Self::Failed => Err(Lack::Damaged),
            Self::Late => Err(Lack::Late),
        }
    }
}

/// The value for a client's GET.
fn on_value<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>, get: ColdGet<P>, outcome: Outcome<P>) {
    let bytes = match outcome.whole(get.crc) {
        Ok(bytes) => bytes,
        Err(lack) => return repair::on_value_lost(cx, get, lack),
    };
    let value = FoundValue::summed(get.version, bytes.as_ref(), get.crc);
    let admission = if cx.group.led.is_some() { CacheAdmission::MayEvict } else { CacheAdmission::SpareOnly };
    let Command { namespace, key, .. } = &get.request.command;
    cx.common.store.admit(cx.group.id, *namespace, key.as_ref(), value, admission);
    push_value(get.request.origin, bytes.as_ref(), get.version, cx.out);
}

/// The value that apply is blocked on.
fn on_old_value<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>, outcome: Outcome<P>) {
    let blocked = cx.group.blocked.expect("apply is blocked until its read comes back");
    let old = match outcome.whole(blocked.crc) {
        Ok(bytes) => bytes,
        Err(lack) => return repair::on_old_value_lost(cx, lack),
    };
    apply::unblock(cx, old);
    follow_up(cx);
}

/// An entry for a peer that pulls. The last read of a batch sends it, up to the first entry that could not be
/// read. The peer asks for the rest again, and in the end asks another replica.
fn on_entry<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>, batch: u64, slot: Slot, outcome: Outcome<P>) {
    let lack = match &outcome {
        Outcome::Bytes(_) => None,
        Outcome::Failed => Some(Lack::Damaged),
        Outcome::Late => Some(Lack::Late),
    };
    let ReadFor { to, ballot, entries } = cx.group.pulls.came_back(batch, slot, outcome.bytes());
    if let Some(entries) = entries.filter(|entries| !entries.is_empty()) {
        repair::send_entries(cx, to, entries);
    }
    if let Some(lack) = lack {
        repair::on_entry_lost(cx, (slot, ballot), to, lack);
    }
}
