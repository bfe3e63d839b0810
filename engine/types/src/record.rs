//! The head of a log record as consensus sees it. The log itself (`wal`) frames and checksums `head ++ payload` and looks at
//! neither.
//!
//! ```text
//!  0  kind u8 │ version u8 │ reserved u16 │ group u16 │ ballot node u16
//!  8  slot u64            the log position; 0 for a promise
//! 16  ballot round u64
//! 24  chosen u64          contiguous chosen prefix this replica knew when it wrote the record
//! 32  payload             the entry, for Accept and Learned
//! ```
//! All integers little-endian. `chosen` is what replay may apply up to (rule P-05): no record is applied without it.

use crate::ids::{Ballot, GroupId, NodeId, Slot};

/// Bytes of an encoded head.
pub const RECORD_HEAD_BYTES: usize = 32;
/// Version of this layout.
pub const RECORD_VERSION: u8 = 1;

/// What a record says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum RecordKind {
    /// The acceptor promised `ballot` (also a candidate's own ballot, before it shows: rule P-01).
    Promise = 1,
    /// The acceptor accepted the payload for `slot` in `ballot`; implies the promise.
    Accept = 2,
    /// The payload is the chosen value of `slot`, learned from a peer.
    Learned = 3,
    /// Nothing but a newer `chosen`.
    Mark = 4,
}

/// The head of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordHead {
    /// What the record says.
    pub kind: RecordKind,
    /// The group it belongs to.
    pub group: GroupId,
    /// The log position; [`Slot::ZERO`] where none is meant.
    pub slot: Slot,
    /// The ballot promised or accepted in.
    pub ballot: Ballot,
    /// Contiguous chosen prefix known when the record was written.
    pub chosen: Slot,
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
        out
    }

    /// Reads a head; the rest of `bytes` is the payload.
    ///
    /// # Errors
    /// `None` when the bytes are too few, of another version, or of an unknown kind.
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
        let u64_at = |at: usize| {
            let mut raw = [0; 8];
            raw.copy_from_slice(&head[at..at + 8]);
            u64::from_le_bytes(raw)
        };
        let head = Self {
            kind,
            group: GroupId::new(u16_at(4)),
            slot: Slot::new(u64_at(8)),
            ballot: Ballot::new(u64_at(16), NodeId::new(u16_at(6))),
            chosen: Slot::new(u64_at(24)),
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
        };
        let good = head.encode();
        assert!(RecordHead::decode(&good[..31]).is_none());
        for (at, value) in [(0, 0), (0, 9), (1, 2), (2, 1)] {
            let mut bad = good;
            bad[at] = value;
            assert!(RecordHead::decode(&bad).is_none(), "byte {at} = {value}");
        }
    }
}
