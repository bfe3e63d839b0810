//! Changes of leadership: what happens to waiting requests when this replica begins or ceases to lead a
//! group.

use crate::flow::{route, session};
use crate::outlet::Out;
use crate::parts::proposals::Abandoned;
use crate::parts::sources::RequestSources;
use crate::request::{Origin, Request, push_error};
use crate::step::Cx;
use synod_types::{Ballot, Consistency, Entry, ErrorKind, Mono, Payload};

/// Handles a change of leadership, if there was one. Everything that waits for an answer of the leader before
/// goes to the new one, writes under their stamps: those of an ended leadership may yet be chosen.
pub(crate) fn notice<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>) {
    let group = &mut *cx.group;
    let leading = group.paxos.leading();
    let leader = group.paxos.leader_hint();
    let ballot = group.paxos.leader_ballot();
    if leader != group.followed {
        group.followed = leader;
        group.attempt = group.attempt.filter(|attempt| leader != Some(attempt.target)); // it has succeeded
    }
    let is_new = ballot.is_some() && ballot != group.followed_in;
    group.followed_in = ballot.or(group.followed_in);
    if leading == group.led {
        if is_new {
            ask_anew(cx);
        }
        return;
    }
    let before = core::mem::replace(&mut group.led, leading);
    group.sources = RequestSources::default();
    // Ballots of one node only rise.
    assert!(before.is_none() || leading.is_none() || before < leading, "leads in an earlier ballot again");
    group.stats.elections_won += u64::from(leading.is_some());
    group.arrivals.clear();
    if let Some(ballot) = before {
        end(cx, ballot);
    }
    ask_anew(cx);
}

/// There is another leader, or none any more.
fn ask_anew<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>) {
    session::pull_back(cx);
    let index = cx.group.index;
    for (_, request) in cx.common.forwards.of_group(index) {
        route::ask_anew(cx, request);
    }
    route::retry_waiting(cx);
    session::pump(cx);
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
    // A disk that does not return them may be why it has handed over.
    let cold = cx.common.take_cold_gets(group.index);
    for Abandoned { origins, payload, at } in group.proposals.take_all() {
        take_back(cx, &origins, payload, at);
    }
    for request in pending {
        match request.origin {
            Origin::Stamped { .. } => cx.group.stream.give_back(request.command),
            _ => route::route(cx, request),
        }
    }
    for read in awaiting_quorum {
        route::route(cx, read.request);
    }
    for request in cold {
        route::route(cx, request);
    }
}

/// Takes the commands out of an entry that was proposed and may or may not be chosen. Those of this node's
/// clients are sent again under their stamps. Peers send theirs again by themselves.
fn take_back<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>, origins: &[Option<Origin>], payload: P, at: Mono) {
    let entry = Entry::check(payload).unwrap_or_else(|error| panic!("proposed what is no entry: {error}"));
    for command in entry.commands() {
        let origin = origins.get(command.position as usize).copied().flatten();
        match origin {
            None if cx.group.stream.waits_for(&command.stamp) => {
                cx.group.stream.give_back(command.to_command());
            }
            Some(origin @ Origin::Client(_)) => {
                let request = Request::new(origin, Consistency::default(), command.to_command(), at);
                route::ask_anew(cx, request);
            }
            Some(origin @ Origin::Own { .. }) => push_error(origin, ErrorKind::Unknown, cx.out),
            None | Some(Origin::Peer(..) | Origin::Stamped { .. }) => {}
        }
    }
}
