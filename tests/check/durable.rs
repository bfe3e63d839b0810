//! A record that a node reveals is on its disk (P-01a; P-07d for heartbeats), and stays there over restarts.
//!
//! ```text
//!   append ──▶ pending ─durable─▶ durable ─restart─▶ replay must begin with every durable record, in order
//!                                    │
//!     Promise, Accepted, Prepare, Accept, HeartbeatReply leave ──▶ must be backed by a durable record
//! ```

use super::agreement::ValueDigest;
use super::{Checked, Violation};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use synod_types::{
    Ballot, GroupId, GroupMessage, HeartbeatReply, Lsn, NodeId, PeerMessage, RecordHead, RecordKind, Slot,
};

const BACKED: &str = "revealed-before-durable";
const KEPT: &str = "durable-record-lost";

/// A record as the checker remembers it.
pub type Written = (RecordHead, Option<ValueDigest>);

/// The disk of one core as its log described it.
#[derive(Debug, Default)]
pub struct CoreDisk {
    pending: VecDeque<(Lsn, Written)>,
    durable: Vec<Written>,
    /// Highest ballot a durable record promises, per group.
    promised: BTreeMap<GroupId, Ballot>,
    accepted: BTreeSet<(GroupId, Slot, Ballot)>,
    learned: BTreeSet<(GroupId, Slot)>,
}

impl CoreDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// A record was handed to the log.
    pub fn on_append(&mut self, lsn: Lsn, written: Written) {
        self.pending.push_back((lsn, written));
    }

    /// The log reports that everything up to `lsn` is durable. Returns the records concerned, in order.
    pub fn on_durable(&mut self, lsn: Lsn) -> Vec<Written> {
        let mut records = Vec::new();
        while let Some((_, written)) = self.pending.pop_front_if(|(at, _)| *at <= lsn) {
            self.note(written);
            records.push(written);
        }
        records
    }

    /// The core starts again, and its log returned these records. Each pending record is now either durable
    /// or gone. Returns the records that were not known to be durable before.
    ///
    /// # Errors
    /// When a durable record is missing or changed, or when a record appears that was never written.
    pub fn on_replay(&mut self, replayed: &[Written]) -> Result<Vec<Written>, Violation> {
        for (index, written) in self.durable.iter().enumerate() {
            if replayed.get(index) != Some(written) {
                let got = replayed.get(index);
                return Err(Violation::new(
                    KEPT,
                    format!(
                        "record {index} of {} durable ones was {written:?}; after the restart the log gives {got:?} \
                         ({} records)",
                        self.durable.len(),
                        replayed.len()
                    ),
                ));
            }
        }
        let fresh = replayed[self.durable.len()..].to_vec();
        let mut pending = self.pending.drain(..);
        for written in &fresh {
            // Whole blocks at the tail may be lost, but none in the middle.
            if pending.next().map(|(_, pending)| pending) != Some(*written) {
                return Err(Violation::new(
                    KEPT,
                    format!("the log gives {written:?}, not the next one written"),
                ));
            }
        }
        drop(pending);
        for &written in &fresh {
            self.note(written);
        }
        Ok(fresh)
    }

    /// A message leaves the node.
    ///
    /// # Errors
    /// When it reveals a record that is not durable.
    pub fn on_send<P>(&self, node: NodeId, message: &PeerMessage<P>) -> Checked {
        let PeerMessage::Group { group, message } = message else {
            return self.on_heartbeat_replies(node, message);
        };
        let promised = self.promised(*group);
        let (what, ballot, backed) = match message {
            GroupMessage::Promise { ballot, .. } => ("a promise", *ballot, promised >= *ballot),
            GroupMessage::Prepare { ballot, .. } => ("a prepare", *ballot, promised >= *ballot),
            GroupMessage::Accept { ballot, .. } => ("a proposal", *ballot, promised >= *ballot),
            GroupMessage::Nack { promised: told, .. } => ("a refusal", *told, promised >= *told),
            GroupMessage::PreVoteReply { promised: told, .. } => ("a pre-vote", *told, promised >= *told),
            GroupMessage::Accepted { ballot, slot } => {
                // A replica that has learned the chosen value on the record may say so to a node that
                // proposes it again.
                let held = self.accepted.contains(&(*group, *slot, *ballot));
                ("an acceptance", *ballot, held || self.learned.contains(&(*group, *slot)))
            }
            _ => return Ok(()),
        };
        if backed {
            return Ok(());
        }
        Err(Violation::new(
            BACKED,
            format!(
                "{node} reveals {what} of {group} in ballot {ballot} ({}); its disk promises {promised}, {} \
                 records are on their way",
                describe(message),
                self.pending.len()
            ),
        ))
    }

    /// An answer to a heartbeat grants a lease in a ballot: the promise of that ballot, which denies it to
    /// lower ones, must survive a crash.
    fn on_heartbeat_replies<P>(&self, node: NodeId, message: &PeerMessage<P>) -> Checked {
        let PeerMessage::HeartbeatReplies(replies) = message else { return Ok(()) };
        match replies.iter().find(|reply| self.promised(reply.group) < reply.ballot) {
            None => Ok(()),
            Some(HeartbeatReply { group, ballot, .. }) => Err(Violation::new(
                BACKED,
                format!(
                    "{node} grants a lease of {group} in ballot {ballot}; its disk promises {}",
                    self.promised(*group)
                ),
            )),
        }
    }

    /// Whether this acceptance is of a record accepted in that very ballot. (An acceptance may also repeat a
    /// value learned as chosen: that kind says nothing about promises.)
    pub fn accepted(&self, group: GroupId, slot: Slot, ballot: Ballot) -> bool {
        self.accepted.contains(&(group, slot, ballot))
    }

    /// The highest ballot that a durable record of `group` promises.
    pub fn promised(&self, group: GroupId) -> Ballot {
        self.promised.get(&group).copied().unwrap_or_default()
    }

    fn note(&mut self, written: Written) {
        let (head, _) = written;
        if matches!(head.kind, RecordKind::Promise | RecordKind::Accept) {
            let promised = self.promised.entry(head.group).or_default();
            *promised = head.ballot.max(*promised);
        }
        if head.kind == RecordKind::Accept {
            self.accepted.insert((head.group, head.slot, head.ballot));
        }
        if head.kind == RecordKind::Learned {
            self.learned.insert((head.group, head.slot));
        }
        self.durable.push(written);
    }
}

fn describe<P>(message: &GroupMessage<P>) -> String {
    match message {
        GroupMessage::Accepted { slot, .. } => format!("for {slot}"),
        GroupMessage::Accept { slot, .. } => format!("for {slot}"),
        GroupMessage::Prepare { from, .. } => format!("from {from} on"),
        GroupMessage::Promise { part, part_count, .. } => format!("part {} of {part_count}", part + 1),
        _ => String::from("by number"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use synod_types::{Mono, Nanos, WallMs};

    const GROUP: GroupId = GroupId::new(1);
    const NODE: NodeId = NodeId::new(2);

    fn record(kind: RecordKind, slot: u64, round: u64) -> Written {
        let ballot = Ballot::new(round, NodeId::new(1));
        (
            RecordHead { kind, group: GROUP, slot: Slot::new(slot), ballot, chosen: Slot::ZERO, number: 1 },
            None,
        )
    }

    fn promise(round: u64) -> PeerMessage<()> {
        let ballot = Ballot::new(round, NodeId::new(1));
        let message = GroupMessage::Promise {
            ballot,
            chosen: Slot::ZERO,
            answer: 0,
            part: 0,
            part_count: 1,
            time: synod_types::TimeReport {
                ballot: Ballot::ZERO,
                time: WallMs::ZERO,
                age: Nanos::ZERO,
                wall: WallMs::ZERO,
            },
            reported: vec![],
        };
        PeerMessage::Group { group: GROUP, message }
    }

    fn accepted(slot: u64, round: u64) -> PeerMessage<()> {
        let ballot = Ballot::new(round, NodeId::new(1));
        PeerMessage::Group { group: GROUP, message: GroupMessage::Accepted { ballot, slot: Slot::new(slot) } }
    }

    #[test]
    fn a_promise_leaves_after_its_record_is_durable() {
        let mut disk = CoreDisk::new();
        disk.on_append(Lsn::new(1), record(RecordKind::Promise, 0, 7));
        assert!(disk.on_send(NODE, &promise(7)).is_err());
        assert_eq!(disk.on_durable(Lsn::new(1)).len(), 1);
        disk.on_send(NODE, &promise(7)).expect("durable");
        assert!(disk.on_send(NODE, &promise(8)).is_err());
    }

    #[test]
    fn a_lease_is_granted_after_its_promise_is_durable() {
        let ballot = Ballot::new(7, NodeId::new(1));
        let reply = HeartbeatReply {
            group: GROUP,
            ballot,
            sent_at: Mono::ZERO,
            chosen: Slot::ZERO,
            is_low: false,
            level: synod_types::Level::OWN,
            wall: WallMs::ZERO,
        };
        let message = PeerMessage::<()>::HeartbeatReplies(vec![reply]);
        let mut disk = CoreDisk::new();
        disk.on_append(Lsn::new(1), record(RecordKind::Promise, 0, 7));
        assert!(disk.on_send(NODE, &message).is_err());
        disk.on_durable(Lsn::new(1));
        disk.on_send(NODE, &message).expect("durable");
    }

    #[test]
    fn an_acceptance_is_backed_by_its_very_slot_and_ballot() {
        let mut disk = CoreDisk::new();
        disk.on_append(Lsn::new(1), record(RecordKind::Accept, 4, 7));
        disk.on_durable(Lsn::new(1));
        disk.on_send(NODE, &accepted(4, 7)).expect("durable");
        assert!(disk.on_send(NODE, &accepted(5, 7)).is_err());
        assert!(disk.on_send(NODE, &accepted(4, 6)).is_err());
        disk.on_send(NODE, &promise(7)).expect("accepting promises");
    }

    #[test]
    fn durable_records_come_back_and_pending_ones_come_back_from_the_front_or_not_at_all() {
        let records: Vec<_> = (1..=4).map(|slot| record(RecordKind::Accept, slot, 1)).collect();
        let build = || {
            let mut disk = CoreDisk::new();
            for (index, &written) in records.iter().enumerate() {
                disk.on_append(Lsn::new(index as u64 + 1), written);
            }
            disk.on_durable(Lsn::new(2));
            disk
        };
        assert_eq!(build().on_replay(&records[..2]), Ok(vec![]));
        assert_eq!(build().on_replay(&records[..3]), Ok(vec![records[2]]));
        assert!(build().on_replay(&records[..1]).is_err());
        assert!(build().on_replay(&[records[0], records[1], records[3]]).is_err());
        assert!(build().on_replay(&[records[1], records[0]]).is_err());
    }
}
