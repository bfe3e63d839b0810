//! Promises that come when they hurt most: a copy of what one candidacy was promised is kept, and delivered as soon as the same node
//! stands again, before anybody could answer that.

use super::{Event, World};
use crate::sim::params::Params;
use crate::sim::queue::{Instant, US};
use crate::sim::rng::Rng;
use std::collections::BTreeMap;
use synod_types::{Ballot, GroupId, GroupMessage, PeerMessage, Shared};

/// Parts of one promise that are kept at most.
const PARTS_MAX: usize = 4;

/// A promise on its way to a candidate: its ballot, its link's session, its parts.
#[derive(Debug)]
struct Kept {
    ballot: Ballot,
    session: u32,
    parts: Vec<PeerMessage<Shared>>,
}

/// The promises that are kept.
#[derive(Debug)]
pub(super) struct KeptVotes {
    ppm: u64,
    rng: Rng,
    /// By the candidate's core, the group and the node that promised.
    kept: BTreeMap<(usize, GroupId, usize), Kept>,
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
    fn keep(&mut self, target: usize, from: usize, session: u32, message: &PeerMessage<Shared>) {
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

    /// What `target` was promised in earlier ballots than the one it now stands in.
    fn take(&mut self, target: usize, group: GroupId, ballot: Ballot) -> Vec<(usize, Kept)> {
        let whose = (target, group, 0)..=(target, group, usize::MAX);
        let due = self.kept.range(whose).filter(|(_, kept)| kept.ballot < ballot);
        let due: Vec<_> = due.map(|(&place, _)| place).collect();
        due.into_iter().filter_map(|place| Some((place.2, self.kept.remove(&place)?))).collect()
    }
}

impl World {
    /// Keeps a promise that is on its way.
    pub(super) fn keep_vote(
        &mut self,
        target: usize,
        from: usize,
        session: u32,
        message: &PeerMessage<Shared>,
    ) {
        if self.votes.ppm > 0 && self.faults_on {
            self.votes.keep(target, from, session, message);
        }
    }

    /// `core` has sent `message`: if it stands for election, what it was promised earlier reaches it now.
    pub(super) fn bring_kept_votes(&mut self, core: usize, message: &PeerMessage<Shared>, at: Instant) {
        let PeerMessage::Group { group, message: GroupMessage::Prepare { ballot, .. } } = message else {
            return;
        };
        if self.votes.ppm == 0 || !self.faults_on {
            return;
        }
        for (from, Kept { session, parts, .. }) in self.votes.take(core, *group, *ballot) {
            self.observer.coverage.meet("a promise came as its candidate stood again");
            for message in parts {
                let at = at + self.votes.rng.below(20 * US);
                let message = Box::new(message);
                self.queue.at(at, Event::Arrive { core, from, session, message });
            }
        }
    }
}
