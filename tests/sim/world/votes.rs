//! Promises that arrive at the worst moment: a copy of the promises for one candidacy is kept, and delivered
//! as soon as the same node stands again, before any acceptor could answer that prepare.

use crate::sim::params::Params;
use crate::sim::rng::Rng;
use std::collections::BTreeMap;
use synod_types::{Ballot, GroupId, GroupMessage, PeerMessage, Shared};

/// At most this many parts of one promise are kept.
const PARTS_MAX: usize = 4;

/// A promise on its way to a candidate: its ballot, its link's session, its parts.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) ballot: Ballot,
    pub(super) session: u32,
    pub(super) parts: Vec<PeerMessage<Shared>>,
}

/// The promises that are kept.
#[derive(Debug)]
pub(super) struct KeptVotes {
    pub(super) ppm: u64,
    pub(super) rng: Rng,
    /// By the candidate's core, the group and the node that promised.
    pub(super) kept: BTreeMap<(usize, GroupId, usize), Kept>,
}

impl KeptVotes {
    pub(super) fn new(params: &Params) -> Self {
        Self {
            ppm: params.net.kept_vote_ppm,
            rng: Rng::named(params.options.seed, "kept votes"),
            kept: BTreeMap::new(),
        }
    }

    /// A promise of `from` sets out for `target`.
    pub(super) fn keep(&mut self, target: usize, from: usize, session: u32, message: &PeerMessage<Shared>) {
        let PeerMessage::Group { group, message: GroupMessage::Promise { ballot, part_count, .. } } = message
        else {
            return;
        };
        let place = (target, *group, from);
        let known = self.kept.get_mut(&place).filter(|kept| kept.ballot >= *ballot);
        if let Some(kept) = known {
            if kept.ballot == *ballot && kept.parts.len() < PARTS_MAX {
                kept.parts.push(message.clone());
            }
        } else if *part_count as usize <= PARTS_MAX && self.rng.chance(self.ppm) {
            self.kept.insert(place, Kept { ballot: *ballot, session, parts: vec![message.clone()] });
        }
    }

    /// The promises to `target` for ballots below the one it now stands in.
    pub(super) fn take(&mut self, target: usize, group: GroupId, ballot: Ballot) -> Vec<(usize, Kept)> {
        let whose = (target, group, 0)..=(target, group, usize::MAX);
        let due = self.kept.range(whose).filter(|(_, kept)| kept.ballot < ballot);
        let due: Vec<_> = due.map(|(&place, _)| place).collect();
        due.into_iter().filter_map(|place| Some((place.2, self.kept.remove(&place)?))).collect()
    }
}
