//! A stale or foreign input changes nothing, and is counted by its reason.

use super::solo::*;
use crate::{Ignored, Input};
use std::vec::Vec;
use synod_types::{GroupMessage, Mono, NodeId};

const ALL: [u16; 3] = [1, 2, 3];

/// The reasons counted so far.
fn counted(n1: &Solo) -> Vec<(Ignored, u64)> {
    n1.paxos.ignored().iter().filter(|&(_, count)| count > 0).collect()
}

/// P-10, P-02a: messages of strangers, of the node itself, and in a ballot of another node.
#[test]
fn what_is_alien_is_ignored() {
    let mut n1 = Solo::new(1, &ALL);
    n1.hear(9, prepare(ballot(5, 9), 1));
    n1.hear(1, prepare(ballot(5, 1), 1));
    n1.hear_heartbeat(ballot(5, 9), 0);
    n1.hear(3, prepare(ballot(5, 2), 1));
    n1.hear(3, accept(ballot(5, 2), 1, "x", 0));
    n1.hear(2, accept(ballot(5, 2), 0, "x", 0));
    let expected = [(Ignored::Stranger, 3), (Ignored::ForeignBallot, 2), (Ignored::Malformed, 1)];
    assert_eq!(counted(&n1), expected);
}

/// P-01, P-02: inputs that come too late, or too early.
#[test]
fn what_a_follower_cannot_use_is_ignored() {
    let mut n1 = Solo::new(1, &ALL);
    let theirs = ballot(5, 3);
    n1.hear(3, prepare(theirs, 1));
    assert!(counted(&n1).is_empty());
    n1.hear(3, prepare(theirs, 1));
    n1.hear(2, accept(ballot(4, 2), 1, "x", 0));
    assert_eq!(counted(&n1), [(Ignored::OldBallot, 1), (Ignored::AwaitingDisk, 1)]);
    n1.disk();
    n1.hear(2, accepted(ballot(4, 1), 1));
    n1.hear(2, promise(ballot(4, 1), 0, &[]));
    n1.say(Input::TransferLeadership { target: NodeId::new(2) });
    let expected = [
        (Ignored::OldBallot, 1),
        (Ignored::AwaitingDisk, 1),
        (Ignored::NotStanding, 1),
        (Ignored::NotLeading, 2),
    ];
    assert_eq!(counted(&n1), expected);
}

/// P-07a, P-02d: a granted lease forbids a promise; a slot is chosen already. One message counts once.
#[test]
fn what_a_lease_or_a_chosen_value_forbids_is_ignored() {
    let mut n1 = Solo::new(1, &ALL);
    let theirs = ballot(1, 2);
    n1.hear_heartbeat(theirs, 0);
    n1.disk();
    n1.hear_heartbeat(theirs, 0);
    n1.hear(3, prepare(ballot(2, 3), 1));
    assert_eq!(counted(&n1), [(Ignored::Bound, 1)]);
    let values = [(1, theirs, "a"), (2, theirs, "b")];
    n1.hear(3, learn(2, &values));
    n1.hear(3, learn(2, &values));
    n1.hear(2, accept(theirs, 1, "a", 0));
    assert_eq!(counted(&n1), [(Ignored::Bound, 1), (Ignored::AlreadyChosen, 2)]);
}

/// P-06b, P-07f: answers to an earlier candidacy, to another term, and to a heartbeat that was never sent.
#[test]
fn answers_to_what_was_not_asked_are_ignored() {
    let mut n1 = Solo::new(1, &ALL);
    let mine = n1.until_candidate(2);
    n1.hear(2, promise(ballot(mine.round() + 1, 1), 0, &[]));
    assert_eq!(counted(&n1), [(Ignored::OtherBallot, 1)]);
    n1.hear(2, promise(mine, 0, &[]));
    assert_eq!(n1.paxos.leading(), Some(mine));
    n1.hear(2, accepted(ballot(mine.round() + 1, 1), 1));
    n1.hear(2, GroupMessage::Nack { ballot: mine, promised: mine });
    n1.hear_heartbeat_reply(2, mine, Mono(u64::MAX));
    n1.say(Input::TransferLeadership { target: NodeId::new(9) });
    let expected = [(Ignored::OtherBallot, 3), (Ignored::UnknownHeartbeat, 1), (Ignored::UnfitTarget, 1)];
    assert_eq!(counted(&n1), expected);
    assert_eq!(n1.paxos.leading(), Some(mine), "none of it changed anything");
}
