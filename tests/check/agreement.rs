//! Agreement (Lamport, "Paxos Made Simple", P2c and the safety requirement; rules P-01, P-02, P-05, P-06).
//!
//! The checker watches from outside and sees every disk at once. A value is *chosen* when a majority of the
//! voters has a durable accept record of it in one ballot. Then
//! * one ballot carries one value per slot;
//! * two values with the same identity (origin and slot) are the same value in every ballot (P-05d);
//! * any proposal in a higher ballot carries the chosen value;
//! * a value that a replica calls chosen has been chosen, and `Learned` records carry exactly that value;
//! * replicas that applied the same prefix hold the same state.

use super::{Checked, Violation};
use std::collections::BTreeMap;
use std::fmt;
use synod_types::{Ballot, GroupId, NodeId, RecordHead, RecordKind, Slot};

const NAME: &str = "agreement";

/// A value as the checker knows it: a digest of the entry's bytes, and the origin the entry names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ValueDigest {
    digest: u64,
    /// [`Ballot::ZERO`] for a value that is no entry.
    origin: Ballot,
}

impl ValueDigest {
    /// The digest of an entry's bytes.
    pub fn of(bytes: &[u8]) -> Self {
        // CRC and length: enough to tell honest values apart; it does not resist forgery.
        let digest = u64::from(synod_types::checksum::crc32c(bytes)) << 32 | bytes.len() as u64;
        Self { digest, origin: synod_types::entry::origin_of(bytes) }
    }
    /// As a number, for traces.
    pub fn raw(self) -> u64 {
        self.digest
    }
}

impl fmt::Display for ValueDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}/{}B", self.digest >> 32, self.digest & 0xffff_ffff)
    }
}

/// A value accepted for one slot in one ballot.
#[derive(Clone, Copy, Debug)]
struct Proposal {
    ballot: Ballot,
    value: ValueDigest,
    /// Nodes with a durable accept record of it, as bits by index.
    durable_at: u64,
}

#[derive(Clone, Default, Debug)]
struct SlotFacts {
    proposals: Vec<Proposal>,
    chosen: Option<(Ballot, ValueDigest)>,
}

/// The checker.
#[derive(Debug)]
pub struct Agreement {
    majority: u32,
    slots: BTreeMap<GroupId, Vec<SlotFacts>>,
    /// The state digest that every replica must have at an applied slot, and the node that showed it first.
    states: BTreeMap<(GroupId, Slot), (u64, NodeId)>,
}

impl Agreement {
    /// A checker for groups replicated on all of `node_count` nodes.
    pub fn new(node_count: u16) -> Self {
        Self { majority: u32::from(node_count / 2 + 1), slots: BTreeMap::new(), states: BTreeMap::new() }
    }

    /// A node asks its log to write a record (or sends an accept for it).
    ///
    /// # Errors
    /// When it contradicts what was proposed or chosen.
    pub fn on_append(&mut self, node: NodeId, head: &RecordHead, value: Option<ValueDigest>) -> Checked {
        match (head.kind, value) {
            (RecordKind::Accept, Some(value)) => {
                self.propose(node, head, value)?;
                Ok(())
            }
            (RecordKind::Learned, Some(value)) => {
                let chosen = self.facts(head.group, head.slot).chosen;
                if chosen.is_some_and(|(_, known)| known == value) {
                    return Ok(());
                }
                let chosen =
                    chosen.map_or("nothing".into(), |(ballot, known)| format!("{known} in {ballot}"));
                self.violated(head, format!("{node} learned {value} as chosen; chosen is {chosen}"))
            }
            (RecordKind::Accept | RecordKind::Learned, None) => {
                self.violated(head, format!("{node} wrote a {:?} record without a value", head.kind))
            }
            (RecordKind::Promise | RecordKind::Mark, _) => Ok(()),
        }
    }

    /// A record of a node became durable.
    ///
    /// # Errors
    /// When this makes a second value chosen.
    pub fn on_durable(&mut self, node: NodeId, head: &RecordHead, value: Option<ValueDigest>) -> Checked {
        let (RecordKind::Accept, Some(value)) = (head.kind, value) else { return Ok(()) };
        let majority = self.majority;
        let proposal = self.propose(node, head, value)?;
        proposal.durable_at |= 1 << node.get();
        if proposal.durable_at.count_ones() < majority {
            return Ok(());
        }
        let facts = self.facts(head.group, head.slot);
        match facts.chosen {
            Some((_, known)) if known == value => Ok(()),
            Some((ballot, known)) => self.violated(
                head,
                format!("two values chosen: {known} in {ballot} and {value} in {}", head.ballot),
            ),
            None => {
                facts.chosen = Some((head.ballot, value));
                let other =
                    facts.proposals.iter().find(|p| p.ballot > head.ballot && p.value != value).copied();
                match other {
                    None => Ok(()),
                    Some(p) => self.violated(
                        head,
                        format!(
                            "{value} is chosen in {} but {} was proposed in {}",
                            head.ballot, p.value, p.ballot
                        ),
                    ),
                }
            }
        }
    }

    /// A replica reports that everything in `(from, to]` is chosen.
    ///
    /// # Errors
    /// When one of these slots is not.
    pub fn on_chosen(&mut self, node: NodeId, group: GroupId, from: Slot, to: Slot) -> Checked {
        let mut slot = from.next();
        while slot <= to {
            let majority = self.majority;
            let facts = self.facts(group, slot);
            if facts.chosen.is_none() {
                let held = format!("{:?}", facts.proposals);
                return Err(Violation::new(
                    NAME,
                    format!(
                        "{node} takes {group} {slot} for chosen (prefix {to}), but no {majority} nodes have a durable \
                         accept of it in one ballot: {held}"
                    ),
                ));
            }
            slot = slot.next();
        }
        Ok(())
    }

    /// A replica shows the value it holds for a chosen slot.
    ///
    /// # Errors
    /// When it is not the chosen one.
    pub fn on_held(&mut self, node: NodeId, group: GroupId, slot: Slot, value: ValueDigest) -> Checked {
        match self.facts(group, slot).chosen {
            Some((_, known)) if known == value => Ok(()),
            chosen => Err(Violation::new(
                NAME,
                format!("{node} holds {value} for the chosen {group} {slot}; chosen is {chosen:?}"),
            )),
        }
    }

    /// A replica shows the digest of its state after applying everything up to `applied`.
    ///
    /// # Errors
    /// When another replica had another state there.
    pub fn on_state(&mut self, node: NodeId, group: GroupId, applied: Slot, digest: u64) -> Checked {
        let (known, first) = *self.states.entry((group, applied)).or_insert((digest, node));
        if known == digest {
            return Ok(());
        }
        Err(Violation::new(
            NAME,
            format!(
                "{node} and {first} applied the same prefix of {group} up to {applied} and hold different states: \
                 {digest:016x} and {known:016x}"
            ),
        ))
    }

    /// How many slots were chosen in all groups.
    pub fn chosen_count(&self) -> usize {
        self.slots.values().flatten().filter(|facts| facts.chosen.is_some()).count()
    }

    fn propose(
        &mut self,
        node: NodeId,
        head: &RecordHead,
        value: ValueDigest,
    ) -> Result<&mut Proposal, Violation> {
        let facts = self.facts(head.group, head.slot);
        if let Some((ballot, known)) = facts.chosen
            && head.ballot > ballot
            && known != value
        {
            let detail = format!("{node} writes {value} in {} over {known}, chosen in {ballot}", head.ballot);
            return self.violated(head, detail);
        }
        let is_same = |p: &&Proposal| p.value.origin == value.origin && value.origin != Ballot::ZERO;
        if let Some(other) = facts.proposals.iter().find(is_same)
            && other.value != value
        {
            let other = other.value;
            let detail =
                format!("{value} at {node} and {other} both say that {} proposed them", value.origin);
            return self.violated(head, detail);
        }
        let index = match facts.proposals.iter().position(|p| p.ballot == head.ballot) {
            Some(index) => index,
            None => {
                facts.proposals.push(Proposal { ballot: head.ballot, value, durable_at: 0 });
                facts.proposals.len() - 1
            }
        };
        let known = facts.proposals[index].value;
        if known != value {
            let detail = format!("ballot {} carries two values: {known} and {value} at {node}", head.ballot);
            return self.violated(head, detail);
        }
        Ok(&mut self.facts(head.group, head.slot).proposals[index])
    }

    fn facts(&mut self, group: GroupId, slot: Slot) -> &mut SlotFacts {
        let slots = self.slots.entry(group).or_default();
        let index = slot.get() as usize;
        assert!(index < 50_000_000, "slot {slot} is no number a simulation reaches");
        if slots.len() <= index {
            slots.resize(index + 1, SlotFacts::default());
        }
        &mut slots[index]
    }

    fn violated<T>(&self, head: &RecordHead, detail: String) -> Result<T, Violation> {
        Err(Violation::new(NAME, format!("{} {}: {detail}", head.group, head.slot)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: GroupId = GroupId::new(1);

    fn node(id: u16) -> NodeId {
        NodeId::new(id)
    }

    fn head(kind: RecordKind, slot: u64, round: u64) -> RecordHead {
        RecordHead {
            kind,
            group: GROUP,
            slot: Slot::new(slot),
            ballot: Ballot::new(round, node(1)),
            chosen: Slot::ZERO,
            number: 1,
        }
    }

    fn value(text: &str) -> Option<ValueDigest> {
        Some(ValueDigest::of(text.as_bytes()))
    }

    fn accepted(agreement: &mut Agreement, at: &[u16], slot: u64, round: u64, text: &str) -> Checked {
        for &id in at {
            agreement.on_append(node(id), &head(RecordKind::Accept, slot, round), value(text))?;
            agreement.on_durable(node(id), &head(RecordKind::Accept, slot, round), value(text))?;
        }
        Ok(())
    }

    #[test]
    fn a_majority_chooses_and_less_does_not() {
        let mut agreement = Agreement::new(3);
        accepted(&mut agreement, &[1], 1, 5, "a").expect("one proposal");
        assert!(agreement.on_chosen(node(1), GROUP, Slot::ZERO, Slot::new(1)).is_err());
        accepted(&mut agreement, &[2], 1, 5, "a").expect("the same proposal");
        agreement.on_chosen(node(1), GROUP, Slot::ZERO, Slot::new(1)).expect("two of three");
        assert!(agreement.on_held(node(3), GROUP, Slot::new(1), ValueDigest::of(b"b")).is_err());
    }

    #[test]
    fn acceptances_of_different_ballots_do_not_add_up() {
        let mut agreement = Agreement::new(3);
        accepted(&mut agreement, &[1], 1, 5, "a").expect("fine");
        accepted(&mut agreement, &[2], 1, 6, "a").expect("fine");
        assert!(agreement.on_chosen(node(1), GROUP, Slot::ZERO, Slot::new(1)).is_err());
    }

    #[test]
    fn a_later_ballot_must_carry_the_chosen_value() {
        let mut agreement = Agreement::new(3);
        accepted(&mut agreement, &[1, 2], 1, 5, "a").expect("chosen");
        accepted(&mut agreement, &[3], 1, 4, "old").expect("a lower ballot that lost is no harm");
        accepted(&mut agreement, &[3], 1, 6, "a").expect("the chosen value again");
        let violation = accepted(&mut agreement, &[3], 1, 7, "no-op");
        assert!(violation.is_err_and(|v| v.detail.contains("over")));
    }

    #[test]
    fn choosing_below_a_different_proposal_is_found_whatever_came_first() {
        let mut agreement = Agreement::new(3);
        accepted(&mut agreement, &[3], 1, 7, "no-op").expect("nothing is chosen yet");
        accepted(&mut agreement, &[1], 1, 5, "a").expect("nothing is chosen yet");
        assert!(accepted(&mut agreement, &[2], 1, 5, "a").is_err());
    }

    #[test]
    fn one_ballot_carries_one_value() {
        let mut agreement = Agreement::new(3);
        accepted(&mut agreement, &[1], 1, 5, "a").expect("fine");
        assert!(accepted(&mut agreement, &[2], 1, 5, "b").is_err());
    }

    #[test]
    fn learned_means_chosen() {
        let mut agreement = Agreement::new(3);
        let learned = head(RecordKind::Learned, 1, 5);
        assert!(agreement.on_append(node(3), &learned, value("a")).is_err());
        accepted(&mut agreement, &[1, 2], 1, 5, "a").expect("chosen");
        agreement.on_append(node(3), &learned, value("a")).expect("chosen");
        assert!(agreement.on_append(node(3), &learned, value("b")).is_err());
    }

    #[test]
    fn equal_prefixes_give_equal_states() {
        let mut agreement = Agreement::new(3);
        agreement.on_state(node(1), GROUP, Slot::new(4), 77).expect("the first");
        agreement.on_state(node(2), GROUP, Slot::new(4), 77).expect("the same");
        agreement.on_state(node(2), GROUP, Slot::new(5), 78).expect("another slot");
        assert!(agreement.on_state(node(3), GROUP, Slot::new(4), 78).is_err());
    }
}
