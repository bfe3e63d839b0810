//! One dense line per message, record or effect: for expected effects, failed assertions and traces.

use crate::Effect;
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;
use synod_types::{
    Ballot, Entry, GroupMessage, Heartbeat, HeartbeatReply, NodeId, Payload, RecordHead, RecordKind,
};

/// The payload of the tests: an entry without commands, or a text, whose origin is a hash of the text.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Bytes(Vec<u8>);

impl Payload for Bytes {
    fn origin(&self) -> Ballot {
        match Entry::check(self.0.as_slice()) {
            Ok(entry) => entry.origin(),
            Err(_) => {
                let step = |sum: u64, &byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
                Ballot::new(self.0.iter().fold(0xcbf2_9ce4_8422_2325, step), NodeId::new(0))
            }
        }
    }
}

impl Bytes {
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}
impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}
impl From<&str> for Bytes {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

/// A payload: `noop` for an entry without commands, else the text, cut if it is long.
pub(super) fn payload(bytes: &Bytes) -> String {
    let bytes = bytes.as_ref();
    if Entry::check(bytes).is_ok_and(|entry| entry.command_count() == 0) {
        return "noop".to_string();
    }
    match core::str::from_utf8(bytes) {
        Ok(text) if text.len() <= 16 => text.to_string(),
        _ => format!("{}..{}B", bytes.first().copied().unwrap_or(b'?') as char, bytes.len()),
    }
}

pub(super) fn message(message: &GroupMessage<Bytes>) -> String {
    match message {
        GroupMessage::PreVote { ballot, after, .. } => format!("prevote {ballot}{}", given_up(*after)),
        GroupMessage::PreVoteReply { ballot, granted, promised, chosen } => {
            let word = if *granted { "granted" } else { "refused" };
            format!("prevote-{word} {ballot} (promised {promised}, chosen {chosen})")
        }
        GroupMessage::Prepare { ballot, after, from } => {
            format!("prepare {ballot} from {from}{}", given_up(*after))
        }
        GroupMessage::TimeoutNow { ballot, chosen } => format!("hand-over {ballot} (chosen {chosen})"),
        GroupMessage::Promise { ballot, chosen, part, part_count, reported, .. } => {
            let values: Vec<String> = reported
                .iter()
                .map(|held| format!("{}={}@{}", held.slot, payload(&held.payload), held.ballot))
                .collect();
            let part = if *part_count == 1 { String::new() } else { format!(" part {part}/{part_count}") };
            format!("promise {ballot}{part} (chosen {chosen}) [{}]", values.join(" "))
        }
        GroupMessage::Accept { ballot, slot, chosen, payload: value } => {
            format!("accept {ballot} {slot}={} (chosen {chosen})", payload(value))
        }
        GroupMessage::Accepted { ballot, slot } => format!("accepted {ballot} {slot}"),
        GroupMessage::Nack { ballot, promised } => format!("nack {ballot} (promised {promised})"),
        GroupMessage::Fetch { from } => format!("fetch from {from}"),
        GroupMessage::Learn { chosen, entries } => {
            let values: Vec<String> =
                entries.iter().map(|entry| format!("{}={}", entry.slot, payload(&entry.payload))).collect();
            format!("learn (chosen {chosen}) [{}]", values.join(" "))
        }
    }
}

/// The ballot whose leader gave up its lease, if any.
fn given_up(after: Ballot) -> String {
    if after == Ballot::ZERO { String::new() } else { format!(" after {after}") }
}

pub(super) fn heartbeat(heartbeat: &Heartbeat) -> String {
    format!("heartbeat {} (chosen {})", heartbeat.ballot, heartbeat.chosen)
}

pub(super) fn heartbeat_reply(reply: &HeartbeatReply) -> String {
    let low = if reply.is_low { " low" } else { "" };
    format!("heartbeat-reply {} (chosen {}){low}", reply.ballot, reply.chosen)
}

pub(super) fn record(head: &RecordHead, value: Option<&Bytes>) -> String {
    let value = value.map_or_else(|| "-".to_string(), payload);
    let RecordHead { kind, slot, ballot, chosen, .. } = head;
    match kind {
        RecordKind::Promise => format!("record promise {ballot} (chosen {chosen})"),
        RecordKind::Accept => format!("record accept {ballot} {slot}={value} (chosen {chosen})"),
        RecordKind::Learned => format!("record learned {slot}={value} (chosen {chosen})"),
        RecordKind::Mark => format!("record mark (chosen {chosen})"),
    }
}

/// An effect as unit tests compare it: `->` is a send, `=>` is sent once the record before it is durable,
/// `~>` is a heartbeat or its answer.
pub(super) fn effect(effect: &Effect<Bytes>) -> String {
    match effect {
        Effect::Append { head, payload, then, .. } => {
            let mut line = record(head, payload.as_ref());
            for (to, then) in then {
                line += &format!(" => {to}: {}", message(then));
            }
            line
        }
        Effect::Send { to, message: sent } => format!("-> {to}: {}", message(sent)),
        Effect::Heartbeat { to, heartbeat: sent } => format!("~> {to}: {}", heartbeat(sent)),
        Effect::HeartbeatReply { to, reply } => format!("~> {to}: {}", heartbeat_reply(reply)),
        Effect::ReadBack { to, wanted } => {
            let slots: Vec<String> = wanted.iter().map(|one| one.slot.to_string()).collect();
            format!("read {} for {to}", slots.join(" "))
        }
        Effect::Recall { slot, .. } => format!("recall {slot}"),
    }
}

pub(super) fn effects(all: &[Effect<Bytes>]) -> Vec<String> {
    all.iter().map(effect).collect()
}

pub(super) fn node(raw: u16) -> NodeId {
    NodeId::new(raw)
}
