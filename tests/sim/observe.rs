//! The observer: sees every record, message and cursor of every node, feeds the checkers, and writes the
//! trace.

use super::params::{Eyes, Params};
use super::queue::Instant;
use super::trace::{CorePlace, Note, Trace};
use crate::check::agreement::{Agreement, ValueDigest};
use crate::check::coverage::Coverage;
use crate::check::durable::{CoreDisk, Written};
use crate::check::lease::{self, LeaderView};
use crate::check::monotone::{Cursors, Monotone};
use crate::check::{Checked, Violation};
use std::collections::BTreeMap;
use synod_shard::{Role, Shard};
use synod_types::{Event, GroupId, GroupMessage, LeadershipEnd, Lsn, NodeId, PeerMessage, Shared, Slot};

/// The machine's own invariants walk its log and store, so they are checked only once in this many turns.
const INVARIANT_TURNS: u64 = 64;
/// Four windows: a gap is this wide only if the replica was away.
const FAR_BEHIND_SLOTS: u64 = 1024;

/// The observer.
#[derive(Debug)]
pub struct Observer {
    /// The trace.
    pub trace: Trace,
    /// The instant of what is being observed.
    pub now: Instant,
    agreement: Agreement,
    monotone: Monotone,
    disks: BTreeMap<CorePlace, CoreDisk>,
    views: BTreeMap<(CorePlace, GroupId), (u64, Cursors, Role)>,
    turns: u64,
    eyes: Eyes,
    /// Whether leases must exclude each other: true when clocks keep within the drift that leases allow for.
    judges_leases: bool,
    failed_handovers: BTreeMap<(GroupId, NodeId), u64>,
    /// The coverage marks met.
    pub coverage: Coverage,
}

impl Observer {
    /// An observer of a fresh cluster.
    pub fn new(params: &Params) -> Self {
        Self {
            trace: Trace::new(params.options.trace),
            now: 0,
            agreement: Agreement::new(params.node_count),
            monotone: Monotone::new(),
            disks: BTreeMap::new(),
            views: BTreeMap::new(),
            turns: 0,
            eyes: params.options.eyes,
            judges_leases: !params.clock.is_loose,
            failed_handovers: BTreeMap::new(),
            coverage: Coverage::new(),
        }
    }

    /// Writes into the trace.
    pub fn note(&mut self, note: Note) {
        self.trace.note(self.now, note);
    }

    /// By group and leader: how often that leader handed it over to a node that did not take it.
    pub fn failed_handovers(&self) -> &BTreeMap<(GroupId, NodeId), u64> {
        &self.failed_handovers
    }

    /// A core tells its operator something.
    pub fn on_event(&mut self, event: &Event) {
        let (Event::TransferGivenUp { group, ballot, .. }
        | Event::LeadershipEnded { group, ballot, why: LeadershipEnd::TransferFailed }) = *event
        else {
            return;
        };
        *self.failed_handovers.entry((group, ballot.node())).or_default() += 1;
    }

    /// How many slots were chosen.
    pub fn chosen_count(&self) -> usize {
        self.agreement.chosen_count()
    }

    /// A core starts, and its log returned these records.
    ///
    /// # Errors
    /// When durable records are missing, or the records of all disks together contradict agreement.
    pub fn on_replay(&mut self, place: CorePlace, life: u64, written: &[Written]) -> Checked {
        self.note(Note::Start { at: place, life, records: written.len() as u64 });
        let fresh = self.disks.entry(place).or_default().on_replay(written).map_err(|violation| {
            Violation::new(violation.invariant, format!("{place}, life {life}: {}", violation.detail))
        })?;
        if self.eyes == Eyes::Clients {
            return Ok(());
        }
        fresh.iter().try_for_each(|(head, value)| self.agreement.on_durable(place.node, head, *value))
    }

    /// A core hands a record to its log.
    ///
    /// # Errors
    /// When it contradicts agreement.
    pub fn on_append(&mut self, place: CorePlace, lsn: Lsn, written: Written) -> Checked {
        self.disks.entry(place).or_default().on_append(lsn, written);
        if self.eyes == Eyes::Clients {
            return Ok(());
        }
        self.agreement.on_append(place.node, &written.0, written.1)
    }

    /// A core's log reports that everything up to `lsn` is durable.
    ///
    /// # Errors
    /// When this makes a second value chosen.
    pub fn on_durable(&mut self, place: CorePlace, lsn: Lsn) -> Checked {
        self.note(Note::Durable { at: place, lsn });
        let records = self.disks.entry(place).or_default().on_durable(lsn);
        if self.eyes == Eyes::Clients {
            return Ok(());
        }
        records.iter().try_for_each(|(head, value)| self.agreement.on_durable(place.node, head, *value))
    }

    /// A message leaves a core.
    ///
    /// # Errors
    /// When it reveals something that is not durable, or uses a ballot of another life.
    pub fn on_send(
        &mut self,
        place: CorePlace,
        life: u64,
        to: NodeId,
        message: &PeerMessage<Shared>,
    ) -> Checked {
        let what = super::trace::Gist::of(message);
        self.note(Note::Send { at: place, to, what });
        self.coverage.meet(what.word());
        if self.eyes == Eyes::Clients {
            return Ok(());
        }
        let disk = self.disks.entry(place).or_default();
        disk.on_send(place.node, message)?;
        if let PeerMessage::Group { group, message } = message {
            match message {
                GroupMessage::Prepare { ballot, .. } | GroupMessage::Accept { ballot, .. } => {
                    self.monotone.on_used(place.node, life, *group, *ballot)?;
                    self.monotone.on_revealed(place.node, *group, *ballot);
                }
                GroupMessage::Promise { ballot, .. } => {
                    self.monotone.on_revealed(place.node, *group, *ballot);
                }
                GroupMessage::Accepted { ballot, slot } if disk.accepted(*group, *slot, *ballot) => {
                    self.monotone.on_revealed(place.node, *group, *ballot);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A core has finished a turn.
    ///
    /// # Errors
    /// When one of its cursors went back, when it takes for chosen what is not chosen, or when its state
    /// differs from another replica's.
    pub fn on_shard(&mut self, place: CorePlace, life: u64, shard: &Shard<Shared>) -> Checked {
        self.turns += 1;
        if self.turns.is_multiple_of(INVARIANT_TURNS) {
            shard.invariants();
        }
        if self.eyes == Eyes::All
            && let Some(what) = lost_session(shard)
        {
            return Err(Violation::new("node-session", format!("{place}, life {life}: {what}")));
        }
        for status in shard.status() {
            let (node, group) = (place.node, status.group);
            let cursors =
                Cursors { promised: status.promised, chosen: status.chosen, applied: status.applied };
            let known = self.views.insert((place, group), (life, cursors, status.role));
            if known == Some((life, cursors, status.role)) {
                continue;
            }
            let role = match status.role {
                Role::Follower => "follower",
                Role::Candidate => "candidate",
                Role::Leader => "leader",
            };
            let Cursors { promised, chosen, applied } = cursors;
            self.note(Note::View { at: place, group, role, promised, chosen, applied });
            if known.is_none_or(|(.., before)| before != status.role) {
                self.coverage.meet(role);
            }
            if self.eyes == Eyes::Clients {
                continue;
            }
            let of_group = self.views.iter().filter(|((_, of), _)| *of == group);
            let furthest = of_group.map(|(_, (_, seen, _))| seen.chosen).max();
            if furthest.is_some_and(|furthest| furthest.since(chosen) > FAR_BEHIND_SLOTS) {
                self.coverage.meet("a replica was more than 1024 slots behind");
            }
            let before = self.monotone.on_cursors(node, life, group, cursors)?;
            if status.role == Role::Leader {
                self.monotone.on_used(node, life, group, status.promised)?;
            }
            self.agreement.on_chosen(node, group, before.chosen, chosen)?;
            self.check_held(node, group, before.chosen, chosen, shard)?;
            if let Some((slot, digest)) = shard.digest(group).filter(|_| applied > before.applied) {
                self.agreement.on_state(node, group, slot, digest)?;
            }
        }
        Ok(())
    }

    /// Checks all replicas that lead a group at this instant.
    ///
    /// # Errors
    /// When a lease does not exclude another leader.
    pub fn on_leaders(&mut self, group: GroupId, leaders: &[LeaderView]) -> Checked {
        if self.eyes == Eyes::Clients {
            return Ok(());
        }
        if leaders.len() > 1 {
            self.coverage.meet("two leaders, one of the past");
        }
        if self.judges_leases { lease::check(group, leaders) } else { Ok(()) }
    }

    fn check_held(
        &mut self,
        node: NodeId,
        group: GroupId,
        from: Slot,
        to: Slot,
        shard: &Shard<Shared>,
    ) -> Checked {
        let mut slot = from.next();
        while slot <= to {
            if let Some(payload) = shard.chosen_payload(group, slot) {
                self.agreement.on_held(node, group, slot, ValueDigest::of(payload.as_ref()))?;
            }
            slot = slot.next();
        }
        Ok(())
    }
}

/// Any fault in the sessions of a core; its node has no twin here, so there must be none.
fn lost_session(shard: &Shard<Shared>) -> Option<String> {
    if let Some(group) = shard.superseded() {
        return Some(format!("it takes itself for an old copy because of what it met in {group}"));
    }
    (shard.sessions_lost() > 0).then(|| "a session of its own is gone".to_owned())
}
