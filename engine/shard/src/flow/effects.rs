//! Passes on the effects of a group's Paxos: records get their numbers, heartbeats gather, reads get their
//! tokens.

use crate::api::Effect;
use crate::outlet::Out;
use crate::parts::cold_reads::ReadUse;
use crate::step::Cx;
use alloc::vec::Vec;
use synod_paxos as paxos;
use synod_paxos::{ReadBack, Receipt};
use synod_types::{GroupMessage, NodeId, Payload, PeerMessage, RecordHead};

/// Passes on the effects that have gathered in the scratch.
pub(crate) fn flush<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>) {
    if cx.common.effects.is_empty() {
        return;
    }
    let group = cx.group.id;
    let mut effects = core::mem::take(&mut cx.common.effects);
    for effect in effects.drain(..) {
        match effect {
            paxos::Effect::Append { head, payload, then, receipt } => {
                append(cx, head, payload, then, receipt);
            }
            paxos::Effect::Send { to, message } => {
                cx.out.push(Effect::Send { to, message: PeerMessage::Group { group, message } });
            }
            paxos::Effect::Heartbeat { to, heartbeat } => cx.common.coalescer.heartbeat(to, heartbeat),
            paxos::Effect::HeartbeatReply { to, reply } => cx.common.coalescer.reply(to, reply),
            paxos::Effect::ReadBack { to, wanted } => read_back(cx, to, &wanted),
            paxos::Effect::Recall { slot, ballot, at } => {
                let what = ReadUse::Recall { index: cx.group.index, slot, ballot };
                let token = cx.common.cold_reads.start(what, cx.now.mono);
                cx.out.push(Effect::ReadEntry { token, location: at });
            }
        }
    }
    assert!(cx.common.effects.is_empty(), "an effect led to another");
    cx.common.effects = effects;
}

fn append<P: Payload>(
    cx: &mut Cx<'_, P, impl Out<P>>,
    head: RecordHead,
    payload: Option<P>,
    then: Vec<(NodeId, GroupMessage<P>)>,
    receipt: Receipt,
) {
    let group = cx.group.id;
    debug_assert!(head.group == group, "a record of another group");
    let bytes = payload.as_ref().map_or(0, |payload| payload.as_ref().len());
    let lsn = cx.common.journal.append(cx.group.index, receipt, bytes, cx.now.mono);
    let then = then.into_iter().map(|(to, message)| (to, PeerMessage::Group { group, message })).collect();
    cx.out.push(Effect::Append { lsn, head, payload, then });
}

/// Reads chosen values back for a peer.
fn read_back<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>, to: NodeId, wanted: &[ReadBack]) {
    let Some(batch) = cx.group.pulls.start(to, wanted) else { return };
    for &ReadBack { slot, at, .. } in wanted {
        let what = ReadUse::Learn { index: cx.group.index, batch, slot };
        let token = cx.common.cold_reads.start(what, cx.now.mono);
        cx.out.push(Effect::ReadEntry { token, location: at });
    }
}
