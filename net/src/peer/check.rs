//! What a peer's message must satisfy before a machine sees it.

use crate::error::ProtocolError;
use synod_types::limits::{
    COALESCED_MAX, ENTRY_BYTES_MAX, KEY_BYTES_MAX, OPERAND_BYTES_MAX, PEER_CHUNK_BYTES, PEER_FRAME_BYTES_MAX,
    REPLY_BYTES_MAX, REPORTED_SLOTS_MAX,
};
use synod_types::message::PeerMessageMeta;
use synod_types::{Command, Entry, GroupMessage, Learned, PeerMessage, Reply, Reported, Shared, Span};

/// Slots in one `Learn`: the sender stops at `PEER_CHUNK_BYTES`, and no entry is shorter than its header.
const LEARNED_MAX: usize = PEER_CHUNK_BYTES / synod_types::entry::ENTRY_HEADER_BYTES + 1;

/// Bytes of a message's archive beside its lists.
const META_BYTES: usize = size_of::<rkyv::Archived<PeerMessageMeta>>();
// Whatever this node may send fits a frame: a forwarded command, its answer, and lists as long as they may be, which stop
// adding entries once they are past a chunk.
const _: () = assert!(META_BYTES + KEY_BYTES_MAX + OPERAND_BYTES_MAX <= PEER_FRAME_BYTES_MAX);
const _: () = assert!(META_BYTES + REPLY_BYTES_MAX <= PEER_FRAME_BYTES_MAX);
const _: () = assert!(
    META_BYTES
        + LEARNED_MAX * size_of::<rkyv::Archived<Learned<Span>>>()
        + PEER_CHUNK_BYTES
        + ENTRY_BYTES_MAX
        <= PEER_FRAME_BYTES_MAX
);
const _: () = assert!(
    META_BYTES
        + REPORTED_SLOTS_MAX * size_of::<rkyv::Archived<Reported<Span>>>()
        + PEER_CHUNK_BYTES
        + ENTRY_BYTES_MAX
        <= PEER_FRAME_BYTES_MAX
);

/// The same message with its payloads borrowed.
pub(super) fn borrow<P: AsRef<[u8]>>(message: &PeerMessage<P>) -> PeerMessage<&[u8]> {
    match message {
        PeerMessage::Group { group, message } => {
            PeerMessage::Group { group: *group, message: borrow_group(message) }
        }
        PeerMessage::Beats(beats) => PeerMessage::Beats(beats.clone()),
        PeerMessage::BeatReplies(replies) => PeerMessage::BeatReplies(replies.clone()),
        PeerMessage::Forward { id, group, consistency, command } => PeerMessage::Forward {
            id: *id,
            group: *group,
            consistency: *consistency,
            command: borrow_command(command),
        },
        PeerMessage::ForwardReply { id, reply } => {
            PeerMessage::ForwardReply { id: *id, reply: reply.borrow() }
        }
        PeerMessage::ReadIndex { id, groups } => PeerMessage::ReadIndex { id: *id, groups: groups.clone() },
        PeerMessage::ReadIndexReply { id, points } => {
            PeerMessage::ReadIndexReply { id: *id, points: points.clone() }
        }
    }
}

fn borrow_group<P: AsRef<[u8]>>(message: &GroupMessage<P>) -> GroupMessage<&[u8]> {
    match message {
        GroupMessage::PreVote { ballot, after, wall } => {
            GroupMessage::PreVote { ballot: *ballot, after: *after, wall: *wall }
        }
        GroupMessage::PreVoteReply { ballot, granted, promised, chosen } => GroupMessage::PreVoteReply {
            ballot: *ballot,
            granted: *granted,
            promised: *promised,
            chosen: *chosen,
        },
        GroupMessage::Prepare { ballot, after, from } => {
            GroupMessage::Prepare { ballot: *ballot, after: *after, from: *from }
        }
        GroupMessage::Promise { ballot, chosen, answer, part, part_count, reported } => {
            GroupMessage::Promise {
                answer: *answer,
                ballot: *ballot,
                chosen: *chosen,
                part: *part,
                part_count: *part_count,
                reported: reported
                    .iter()
                    .map(|r| Reported { slot: r.slot, ballot: r.ballot, payload: r.payload.as_ref() })
                    .collect(),
            }
        }
        GroupMessage::Accept { ballot, slot, chosen, payload } => {
            GroupMessage::Accept { ballot: *ballot, slot: *slot, chosen: *chosen, payload: payload.as_ref() }
        }
        GroupMessage::Accepted { ballot, slot } => GroupMessage::Accepted { ballot: *ballot, slot: *slot },
        GroupMessage::Nack { ballot, promised } => {
            GroupMessage::Nack { ballot: *ballot, promised: *promised }
        }
        GroupMessage::Fetch { from } => GroupMessage::Fetch { from: *from },
        GroupMessage::HandOver { ballot, chosen } => {
            GroupMessage::HandOver { ballot: *ballot, chosen: *chosen }
        }
        GroupMessage::Learn { chosen, entries } => GroupMessage::Learn {
            chosen: *chosen,
            entries: entries
                .iter()
                .map(|l| Learned { slot: l.slot, ballot: l.ballot, payload: l.payload.as_ref() })
                .collect(),
        },
    }
}

fn borrow_command<P: AsRef<[u8]>>(command: &Command<P>) -> Command<&[u8]> {
    Command {
        namespace: command.namespace,
        key: command.key.as_ref(),
        op: command.op.as_ref().map(AsRef::as_ref),
        stamp: command.stamp,
    }
}

/// The spans must cover the body exactly, and lists must be of a sane length.
pub(super) fn check_spans(meta: &PeerMessageMeta, body_len: usize) -> Result<(), ProtocolError> {
    let count = |count: usize, max: usize| if count <= max { Ok(()) } else { Err(ProtocolError::Limit) };
    let mut used = 0_u64; // every span is below 2^32 and lists are capped: no overflow
    let mut add = |span: &Span| used += u64::from(span.len);
    match meta {
        PeerMessage::Group { message, .. } => match message {
            GroupMessage::Promise { part, part_count, reported, .. } => {
                count(reported.len(), REPORTED_SLOTS_MAX)?;
                if part >= part_count {
                    return Err(ProtocolError::Body);
                }
                reported.iter().for_each(|r| add(&r.payload));
            }
            GroupMessage::Learn { entries, .. } => {
                count(entries.len(), LEARNED_MAX)?;
                entries.iter().for_each(|l| add(&l.payload));
            }
            GroupMessage::Accept { payload, .. } => add(payload),
            GroupMessage::PreVote { .. }
            | GroupMessage::PreVoteReply { .. }
            | GroupMessage::Prepare { .. }
            | GroupMessage::Accepted { .. }
            | GroupMessage::Nack { .. }
            | GroupMessage::Fetch { .. }
            | GroupMessage::HandOver { .. } => {}
        },
        PeerMessage::Beats(beats) => count(beats.len(), COALESCED_MAX)?,
        PeerMessage::BeatReplies(replies) => count(replies.len(), COALESCED_MAX)?,
        PeerMessage::ReadIndex { groups, .. } => count(groups.len(), COALESCED_MAX)?,
        PeerMessage::ReadIndexReply { points, .. } => count(points.len(), COALESCED_MAX)?,
        PeerMessage::Forward { command, .. } => {
            add(&command.key);
            if let Some(operand) = command.op.operand() {
                add(operand);
            }
        }
        PeerMessage::ForwardReply { reply, .. } => {
            if let Reply::Value { value, .. } = reply {
                add(value);
            }
        }
    }
    if used == body_len as u64 { Ok(()) } else { Err(ProtocolError::Length) }
}

/// Every payload must be a sound entry, every forwarded command and reply within the limits.
pub(super) fn check_payloads(message: &PeerMessage<Shared>) -> Result<(), ProtocolError> {
    let entry = |bytes: &Shared| Entry::check(bytes.as_ref()).map(|_| ()).map_err(ProtocolError::Entry);
    match message {
        PeerMessage::Group { message, .. } => match message {
            GroupMessage::Promise { reported, .. } => reported.iter().try_for_each(|r| entry(&r.payload)),
            GroupMessage::Learn { entries, .. } => entries.iter().try_for_each(|l| entry(&l.payload)),
            GroupMessage::Accept { payload, .. } => entry(payload),
            _ => Ok(()),
        },
        PeerMessage::Forward { command, .. } => check_command(command),
        PeerMessage::ForwardReply { reply: Reply::Value { value, .. }, .. }
            if value.len() > REPLY_BYTES_MAX =>
        {
            Err(ProtocolError::Limit)
        }
        _ => Ok(()),
    }
}

fn check_command(command: &Command<Shared>) -> Result<(), ProtocolError> {
    command.check().map_err(
        |illegal| {
            if illegal.is_limit() { ProtocolError::Limit } else { ProtocolError::Body }
        },
    )
}
