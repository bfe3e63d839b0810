//! Checks that a peer's message must pass before a state machine sees it.

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
// Everything this node may send fits into a frame: a forwarded command, its reply, and the longest lists,
// which stop adding entries once they are over a chunk.
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

/// The spans must cover the body exactly, and lists must not be too long.
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
            | GroupMessage::TimeoutNow { .. } => {}
        },
        PeerMessage::Heartbeats(heartbeats) => count(heartbeats.len(), COALESCED_MAX)?,
        PeerMessage::HeartbeatReplies(replies) => count(replies.len(), COALESCED_MAX)?,
        PeerMessage::ReadIndex { groups, .. } => count(groups.len(), COALESCED_MAX)?,
        PeerMessage::ReadIndexReply { points, .. } => count(points.len(), COALESCED_MAX)?,
        PeerMessage::Position(_) => {}
        PeerMessage::Forward { command, .. } => {
            add(&command.key);
            add(&command.operand);
        }
        PeerMessage::ForwardReply { reply, .. } => {
            if let Reply::Value { value, .. } = reply {
                add(value);
            }
        }
    }
    if used == body_len as u64 { Ok(()) } else { Err(ProtocolError::Length) }
}

/// Every payload must be a valid entry, and every forwarded command and reply within the limits.
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
    if command.op.is_of_leaders() {
        return Err(ProtocolError::Body);
    }
    command.check().map_err(
        |illegal| {
            if illegal.is_limit() { ProtocolError::Limit } else { ProtocolError::Body }
        },
    )
}
