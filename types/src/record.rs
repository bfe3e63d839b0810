//! The head of a log record, as consensus uses it. The log itself (`wal`) frames and checksums
//! `head ++ payload` without reading either.
//!
//! ```text
//!  0  kind u8 │ version u8 │ reserved u16 │ group u16 │ ballot node u16
//!  8  slot u64            the log position; 0 for a promise
//! 16  ballot round u64
//! 24  chosen u64          contiguous chosen prefix this replica knew when it wrote the record
//! 32  number u64          of the record among those of its group in this log, from 1
//! 40  payload             the entry, for Accept and Learned; for a Mark, of each group of the core:
//!                         group u16 │ 0 u16 │ 0 u32 │ number u64 │ chosen u64
//! ```
//! All integers are little-endian. Replay applies accepted values only up to a `chosen` found in the log
//! (rule P-05). Numbers show which groups lost records in an unreadable stretch of the log: those whose
//! numbers have a gap there. A mark holds the number and the prefix of every group when it was written, so a
//! gap shows even if a group writes nothing after it. Its own head names no group, slot or ballot.

use crate::ids::{Ballot, GroupId, NodeId, Slot};
use alloc::vec::Vec;

/// The length of an encoded head, bytes.
pub const RECORD_HEAD_BYTES: usize = 40;
/// The version of this layout.
pub const RECORD_VERSION: u8 = 2;
/// The length of one group's part of a mark, bytes.
pub const GROUP_MARK_BYTES: usize = 24;

/// The kind of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum RecordKind {
    /// The acceptor promised `ballot`. A candidate also writes it for its own ballot, before it sends any
    /// prepare (rule P-01).
    Promise = 1,
    /// The acceptor accepted the payload for `slot` in `ballot`, which implies the promise.
    Accept = 2,
    /// The payload is the chosen value of `slot`, learned from a peer.
    Learned = 3,
    /// For each group of the core: how many records it has written, and its chosen prefix.
    Mark = 4,
}

/// The head of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordHead {
    /// The kind.
    pub kind: RecordKind,
    /// The group it belongs to.
    pub group: GroupId,
    /// The log position; [`Slot::ZERO`] if the record has none.
    pub slot: Slot,
    /// The ballot that was promised, or in which the value was accepted.
    pub ballot: Ballot,
    /// The contiguous chosen prefix when the record was written.
    pub chosen: Slot,
    /// Its number among the records of its group, from 1; 0 for a mark.
    pub number: u64,
}

/// One group's part of a mark.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GroupMark {
    /// The group.
    pub group: GroupId,
    /// The number of the group's last record.
    pub number: u64,
    /// The group's contiguous chosen prefix.
    pub chosen: Slot,
}

/// Encodes a mark: head and payload.
pub fn encode_mark(groups: impl Iterator<Item = GroupMark>) -> Vec<u8> {
    let head = RecordHead {
        kind: RecordKind::Mark,
        group: GroupId::SYSTEM,
        slot: Slot::ZERO,
        ballot: Ballot::ZERO,
        chosen: Slot::ZERO,
        number: 0,
    };
    let mut out = head.encode().to_vec();
    for GroupMark { group, number, chosen } in groups {
        out.extend_from_slice(&group.get().to_le_bytes());
        out.extend_from_slice(&[0; 6]);
        out.extend_from_slice(&number.to_le_bytes());
        out.extend_from_slice(&chosen.get().to_le_bytes());
    }
    out
}

/// Decodes the payload of a mark; `None` if it is malformed.
pub fn group_marks(payload: &[u8]) -> Option<impl Iterator<Item = GroupMark>> {
    let (marks, rest) = payload.as_chunks::<GROUP_MARK_BYTES>();
    if !rest.is_empty() || marks.iter().any(|mark| mark[2..8] != [0; 6]) {
        return None;
    }
    Some(marks.iter().map(|mark| GroupMark {
        group: GroupId::new(u16::from_le_bytes([mark[0], mark[1]])),
        number: u64_at(mark, 8),
        chosen: Slot::new(u64_at(mark, 16)),
    }))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut raw = [0; 8];
    raw.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(raw)
}

impl RecordHead {
    /// The head as bytes.
    pub fn encode(&self) -> [u8; RECORD_HEAD_BYTES] {
        let mut out = [0; RECORD_HEAD_BYTES];
        out[0] = self.kind as u8;
        out[1] = RECORD_VERSION;
        out[4..6].copy_from_slice(&self.group.get().to_le_bytes());
        out[6..8].copy_from_slice(&self.ballot.node().get().to_le_bytes());
        out[8..16].copy_from_slice(&self.slot.get().to_le_bytes());
        out[16..24].copy_from_slice(&self.ballot.round().to_le_bytes());
        out[24..32].copy_from_slice(&self.chosen.get().to_le_bytes());
        out[32..40].copy_from_slice(&self.number.to_le_bytes());
        debug_assert!(Self::decode(&out).is_some_and(|(head, _)| head == *self), "a head is read as written");
        out
    }

    /// Reads a head; the rest of `bytes` is the payload.
    ///
    /// # Errors
    /// `None` if the bytes are too short, have another version, or an unknown kind.
    pub fn decode(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (head, payload) = bytes.split_at_checked(RECORD_HEAD_BYTES)?;
        let kind = match head[0] {
            1 => RecordKind::Promise,
            2 => RecordKind::Accept,
            3 => RecordKind::Learned,
            4 => RecordKind::Mark,
            _ => return None,
        };
        if head[1] != RECORD_VERSION || head[2..4] != [0, 0] {
            return None;
        }
        let u16_at = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
        let head = Self {
            kind,
            group: GroupId::new(u16_at(4)),
            slot: Slot::new(u64_at(head, 8)),
            ballot: Ballot::new(u64_at(head, 16), NodeId::new(u16_at(6))),
            chosen: Slot::new(u64_at(head, 24)),
            number: u64_at(head, 32),
        };
        Some((head, payload))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_survives_its_bytes() {
        let head = RecordHead {
            kind: RecordKind::Accept,
            group: GroupId::new(7),
            slot: Slot::new(99),
            ballot: Ballot::new(5, NodeId::new(3)),
            chosen: Slot::new(90),
            number: 0x0102_0304_0506_0708,
        };
        let mut bytes = head.encode().to_vec();
        bytes.extend_from_slice(b"payload");
        assert_eq!(RecordHead::decode(&bytes), Some((head, &b"payload"[..])));
    }

    #[test]
    fn short_alien_and_newer_heads_are_refused() {
        let head = RecordHead {
            kind: RecordKind::Mark,
            group: GroupId::new(1),
            slot: Slot::ZERO,
            ballot: Ballot::ZERO,
            chosen: Slot::ZERO,
            number: 1,
        };
        let good = head.encode();
        assert!(RecordHead::decode(&good[..39]).is_none());
        for (at, value) in [(0, 0), (0, 9), (1, 1), (1, 3), (2, 1)] {
            let mut bad = good;
            bad[at] = value;
            assert!(RecordHead::decode(&bad).is_none(), "byte {at} = {value}");
        }
    }

    #[test]
    fn a_mark_says_what_it_was_told_of_every_group() {
        let marks: Vec<GroupMark> = (0..5)
            .map(|at| GroupMark {
                group: GroupId::new(at * 1000),
                number: (7 + u64::from(at)) << 40,
                chosen: Slot::new(9 * u64::from(at)),
            })
            .collect();
        let bytes = encode_mark(marks.iter().copied());
        let (head, payload) = RecordHead::decode(&bytes).expect("a head");
        assert_eq!((head.kind, head.number), (RecordKind::Mark, 0));
        assert!(group_marks(payload).expect("a mark").eq(marks));
        assert!(group_marks(&payload[1..]).is_none(), "cut short");
        let mut bad = payload.to_vec();
        bad[3] = 1;
        assert!(group_marks(&bad).is_none(), "something else");
    }
}
