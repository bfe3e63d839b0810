//! Changes of leadership: what happens to waiting requests when this replica begins or ceases to lead a
//! group.

use crate::flow::route;
use crate::outlet::Out;
use crate::parts::sources::RequestSources;
use crate::request::push_error;
use crate::step::Cx;
use synod_types::{Ballot, ErrorKind, Payload};

/// Handles a change of leadership, if there was one. Proposals of an ended leadership may yet be chosen,
/// so their clients are told `Unknown`; requests that were not proposed are routed again.
pub(crate) fn notice<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>) {
    let group = &mut *cx.group;
    let leading = group.paxos.leading();
    let leader = group.paxos.leader_hint();
    let is_new = leader != group.followed;
    group.followed = leader;
    if is_new {
        group.attempt = group.attempt.filter(|attempt| leader != Some(attempt.target)); // it has succeeded
    }
    if leading == group.led {
        if is_new {
            route::retry_waiting(cx);
        }
        return;
    }
    let before = core::mem::replace(&mut group.led, leading);
    group.sources = RequestSources::default();
    // Ballots of one node only rise.
    assert!(before.is_none() || leading.is_none() || before < leading, "leads in an earlier ballot again");
    group.stats.elections_won += u64::from(leading.is_some());
    if let Some(ballot) = before {
        end(cx, ballot);
    }
    route::retry_waiting(cx);
}

/// The leadership in `ballot` has ended.
fn end<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>, ballot: Ballot) {
    let group = &mut *cx.group;
    assert!(group.led != Some(ballot), "a leadership ends that goes on");
    let transferred = group.paxos.transferred(ballot);
    group.stats.leaderships_transferred += u64::from(transferred);
    group.stats.leaderships_lost += u64::from(!transferred);
    let pending = group.backlog.take_pending();
    let awaiting_quorum = group.reads.take_awaiting_quorum();
    for origin in group.proposals.take_all() {
        push_error(origin, ErrorKind::Unknown, cx.out);
    }
    for request in pending {
        route::route(cx, request);
    }
    for read in awaiting_quorum {
        route::route(cx, read.request);
    }
}
