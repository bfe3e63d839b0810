//! The planned stop of a node (P-17g): its cores hand over all that they lead.

use crate::flow::drive::drive;
use crate::group::Group;
use crate::outlet::Out;
use crate::parts::leaving::Leaving;
use crate::step::Step;
use synod_paxos as paxos;
use synod_types::{Mono, Nanos, NodeId, Payload};

/// Transfers of a core that is about to stop that are under way at once. Each is over within a few writes, but if its
/// target is gone, its group has no leader for a lease.
const AT_ONCE: usize = 8;

/// The node is about to stop.
pub(crate) fn begin<P: Payload>(step: &mut Step<'_, P, impl Out<P>>) {
    if step.common.leaving.is_none() {
        step.common.leaving = Some(Leaving::new(step.groups.len(), step.now.mono));
        step.groups.iter_mut().for_each(|group| group.paxos.leave());
    }
    hand_over(step);
}

/// Hands over what is led, if the node is about to stop.
pub(crate) fn hand_over<P: Payload>(step: &mut Step<'_, P, impl Out<P>>) {
    #[cfg(feature = "canary")]
    if step.common.has_planted(crate::Canary::StopsLeading) {
        return;
    }
    let now = step.now.mono;
    let (lease, own_log) = (step.common.config.timing.lease, step.common.journal.pace(now));
    // Where one disk stands the others may, too: then nobody takes anything. If it is this one alone, its groups go by
    // another way (P-09b).
    let is_stalled = step.common.journal.is_stalled(lease, now);
    let mut under_way = step.groups.iter().filter(|group| group.paxos.is_transferring()).count();
    for index in 0..step.groups.len() {
        let mut cx = step.at(index);
        let Some(leaving) = &mut cx.common.leaving else { return };
        let ballot = cx.group.paxos.leading();
        if ballot.is_some() || cx.group.paxos.role() == paxos::Role::Candidate {
            leaving.note_held(index, now);
        }
        let Some(ballot) = ballot.filter(|_| cx.group.paxos.serving() && !cx.group.paxos.is_transferring())
        else {
            continue;
        };
        leaving.note_led(index, ballot, now);
        if under_way >= AT_ONCE || is_stalled {
            continue;
        }
        let preferred = cx.common.config.groups[index].preferred;
        let Some(target) = heir(cx.group, preferred, leaving, own_log, lease, now) else { continue };
        drive(&mut cx, paxos::Input::TransferLeadership { target });
        if cx.group.paxos.is_transferring() {
            under_way += 1;
            if let Some(leaving) = &mut cx.common.leaving {
                leaving.note_handed(index, target, ballot);
            }
        }
    }
}

/// The node that is to lead the group: its preferred one if that is ready, else one in turn.
fn heir<P: Payload>(
    group: &Group<P>,
    preferred: NodeId,
    leaving: &Leaving,
    own_log: Option<Nanos>,
    lease: Nanos,
    now: Mono,
) -> Option<NodeId> {
    let is_choosy = leaving.is_choosy(now);
    let could = |heir: &paxos::Heir| {
        (heir.is_ready || !is_choosy && heir.is_fit) && !leaving.is_unwilling(heir.node, lease, now)
    };
    let heirs = || group.paxos.heirs(own_log, now).filter(could).map(|heir| heir.node);
    let turn = group.index % heirs().count().max(1);
    heirs().find(|&node| node == preferred).or_else(|| heirs().nth(turn))
}

/// Whether nothing more can be handed over: another node leads the group, or none that is heard takes it. One that is
/// behind, or slow, is waited for.
pub(crate) fn is_over<P: Payload>(group: &Group<P>, leaving: &Leaving, lease: Nanos, now: Mono) -> bool {
    let paxos = &group.paxos;
    if paxos.leading().is_some() {
        let is_unwilling = |heir: paxos::Heir| leaving.is_unwilling(heir.node, lease, now);
        let mut heard = paxos.heirs(None, now).peekable();
        let is_refused = heard.peek().is_some() && heard.all(is_unwilling);
        return paxos.serving() && !paxos.is_transferring() && (is_refused || paxos.is_alone());
    }
    match paxos.leader_hint() {
        Some(_) => paxos.role() == paxos::Role::Follower,
        None => leaving.is_past(group.index, lease, now),
    }
}
