//! Promises that arrive at the worst moment: a copy of the promises for one candidacy is kept, and delivered
//! as soon as the same node stands again, before any acceptor could answer that prepare.

use super::event::SimEvent;
use super::timeline::Timeline;
use crate::sim::params::Params;
use crate::sim::queue::{Instant, US};
use crate::sim::rng::Rng;
use std::collections::BTreeMap;
use synod_types::{Ballot, GroupId, GroupMessage, PeerMessage, Shared};

/// At most this many parts of one promise are kept.
const PARTS_MAX: usize = 4;

/// A promise on its way to a candidate: its ballot, its link's session, its parts.
#[derive(Debug)]
struct KeptVote {
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
    kept: BTreeMap<(usize, GroupId, usize), KeptVote>,
}

impl KeptVotes {
    pub(super) fn new(params: &Params) -> Self {
        Self {
            ppm: params.net.kept_vote_ppm,
            rng: Rng::named(params.options.seed, "kept votes"),
            kept: BTreeMap::new(),
        }
    }

    /// `message` of `from` sets out for `target`: if that is a promise, a copy of it may be kept.
    pub(super) fn keep(
        &mut self,
        target: usize,
        from: usize,
        session: u32,
        message: &PeerMessage<Shared>,
        time: &Timeline,
    ) {
        if self.ppm == 0 || !time.faults_on {
            return;
        }
        let PeerMessage::Group { group, message: GroupMessage::Promise { ballot, part_count, .. } } = message
        else {
            return;
        };
        let whose = (target, *group, from);
        let known = self.kept.get_mut(&whose).filter(|kept| kept.ballot >= *ballot);
        if let Some(kept) = known {
            if kept.ballot == *ballot && kept.parts.len() < PARTS_MAX {
                kept.parts.push(message.clone());
            }
        } else if *part_count as usize <= PARTS_MAX && self.rng.chance(self.ppm) {
            self.kept.insert(whose, KeptVote { ballot: *ballot, session, parts: vec![message.clone()] });
        }
    }

    /// `core` has sent `message`: if that is a prepare, the promises it got for earlier ballots reach it at
    /// once.
    pub(super) fn bring(
        &mut self,
        core: usize,
        message: &PeerMessage<Shared>,
        at: Instant,
        time: &mut Timeline,
    ) {
        let PeerMessage::Group { group, message: GroupMessage::Prepare { ballot, .. } } = message else {
            return;
        };
        if self.ppm == 0 || !time.faults_on {
            return;
        }
        for (from, KeptVote { session, parts, .. }) in self.take(core, *group, *ballot) {
            time.observer.coverage.meet("a promise came as its candidate stood again");
            for message in parts {
                let at = at + self.rng.below(20 * US);
                let message = Box::new(message);
                time.queue.at(at, SimEvent::Arrive { core, from, session, message });
            }
        }
    }

    /// The promises to `target` for ballots below the one it now stands in.
    fn take(&mut self, target: usize, group: GroupId, ballot: Ballot) -> Vec<(usize, KeptVote)> {
        let whose = (target, group, 0)..=(target, group, usize::MAX);
        let due = self.kept.range(whose).filter(|(_, kept)| kept.ballot < ballot);
        let due: Vec<_> = due.map(|(&key, _)| key).collect();
        due.into_iter().filter_map(|key| Some((key.2, self.kept.remove(&key)?))).collect()
    }
}
