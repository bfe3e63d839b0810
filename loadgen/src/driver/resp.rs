//! The RESP protocol: GET and SET, to any server that speaks it. Replies come in the order of the requests,
//! so a connection remembers its requests. There are no sessions: a write whose connection breaks has an
//! unknown outcome. There are no versions either: the ledger gets the sequence in place of the version, which
//! never contradicts itself, and histories omit the version.

use super::answer::{ReadFate, WriteFate};
use super::link::LinkState;
use super::op::{OpId, Work};
use super::resp_wire::{RespReply, encode};
use super::state::Driver;
use crate::admission::NotAdmitted;
use crate::ledger::Seen;
use synod_types::{ErrorKind, Slot, Version};

/// The version that stands for the write `sequence`, as the protocol has none.
pub(super) fn version_of(sequence: u64) -> Version {
    Version { slot: Slot::new(sequence), position: 0 }
}

/// What an error reply means for the command.
enum Meaning {
    Known(ErrorKind),
    /// Certainly not executed.
    Refused(&'static str),
    /// Not a known error, so the command may have been executed.
    Obscure,
}

/// The meaning of an error reply by its first word, as Redis and compatible servers use it.
fn meaning_of(text: &[u8]) -> Meaning {
    match text.split(|&byte| byte == b' ').next().unwrap_or_default() {
        b"UNKNOWN" => Meaning::Known(ErrorKind::Unknown),
        b"CLUSTERDOWN" | b"MASTERDOWN" => Meaning::Known(ErrorKind::NoLeader),
        b"BUSY" | b"LOADING" | b"TRYAGAIN" => Meaning::Known(ErrorKind::Busy),
        b"ERR" => Meaning::Refused("error reply ERR"),
        b"OOM" => Meaning::Refused("error reply OOM"),
        b"MOVED" | b"ASK" => Meaning::Refused("error reply MOVED or ASK: the server shards its keys"),
        b"READONLY" => Meaning::Refused("error reply READONLY"),
        b"WRONGTYPE" => Meaning::Refused("error reply WRONGTYPE"),
        b"MISCONF" => Meaning::Refused("error reply MISCONF"),
        b"NOREPLICAS" => Meaning::Refused("error reply NOREPLICAS"),
        b"NOPERM" => Meaning::Refused("error reply NOPERM"),
        _ => Meaning::Obscure,
    }
}

impl Driver {
    /// Greets a server after connecting: it must accept the password, if there is one, and answer PING before
    /// it gets operations.
    pub(super) fn greet_resp(&mut self, link: usize, now_ns: u64) {
        let target = &mut self.links[link];
        assert!(target.state == LinkState::Probing, "greeted where nobody listens");
        if let Some(password) = &self.options.password {
            target.note_asked(now_ns);
            target.asked.push_back(OpId::AUTH);
            encode(&mut target.out, &[b"AUTH", password.bytes()]);
        }
        target.note_asked(now_ns);
        target.asked.push_back(OpId::CONTROL);
        encode(&mut target.out, &[b"PING"]);
    }

    pub(super) fn on_resp_bytes(&mut self, link: usize, bytes: &[u8], now_ns: u64) {
        let mut reader = std::mem::take(&mut self.links[link].reader);
        reader.feed(bytes);
        loop {
            match reader.next_reply() {
                Ok(Some(reply)) => self.on_resp_reply(link, reply, now_ns),
                Ok(None) => break,
                Err(name) => self.lose(link, name, now_ns),
            }
            if !self.is_open(link) {
                return;
            }
        }
        self.links[link].reader = reader;
    }

    fn on_resp_reply(&mut self, link: usize, reply: RespReply<'_>, now_ns: u64) {
        let asked = self.links[link].asked.pop_front();
        let is_auth = asked == Some(OpId::AUTH);
        if let RespReply::Error(text) = reply {
            let why = if is_auth { NotAdmitted::of_reply_to_auth(text) } else { NotAdmitted::of_reply(text) };
            if let Some(why) = why {
                return self.on_not_admitted(link, why, now_ns);
            }
        }
        let Some(asked) = asked else {
            return self.lose(link, "answer to no request", now_ns);
        };
        if asked & OpId::CONTROL != 0 {
            self.links[link].note_told(now_ns);
            return match reply {
                RespReply::Simple(b"OK") if is_auth => {}
                RespReply::Simple(b"PONG") if !is_auth => self.links[link].come_up(),
                RespReply::Error(text) if matches!(meaning_of(text), Meaning::Known(ErrorKind::Busy)) => {
                    self.lose(link, "busy", now_ns);
                }
                _ => self.lose(link, "answer of the wrong kind", now_ns),
            };
        }
        let Some(id) = self.take_answered(link, OpId::from_wire(asked), now_ns) else { return };
        let op = self.ops.get(id).expect("found just before");
        match (&op.work, reply) {
            (_, RespReply::Error(text)) => self.on_resp_error(id, text, now_ns),
            (Work::Write { ticket, .. }, RespReply::Simple(b"OK")) => {
                let version = version_of(ticket.sequence());
                self.end_write(id, WriteFate::Acknowledged(version), now_ns);
            }
            (Work::Read { .. }, RespReply::Nil) => self.end_read(id, ReadFate::Saw(Seen::Nothing), now_ns),
            (Work::Read { .. }, RespReply::Bulk(value)) => {
                let mut fate = self.judge_value(op.key, value, Version::default());
                if let ReadFate::Saw(Seen::Write { sequence, version }) = &mut fate {
                    *version = version_of(*sequence);
                }
                self.end_read(id, fate, now_ns);
            }
            _ => self.on_absurd(id, now_ns),
        }
    }

    fn on_resp_error(&mut self, id: OpId, text: &[u8], now_ns: u64) {
        let is_write = matches!(self.ops.get(id).expect("found just before").work, Work::Write { .. });
        match meaning_of(text) {
            Meaning::Known(kind) => self.on_error(id, kind, now_ns),
            Meaning::Refused(name) if is_write => self.end_write(id, WriteFate::Refused(name), now_ns),
            Meaning::Refused(name) => self.end_read(id, ReadFate::NoAnswer(name), now_ns),
            Meaning::Obscure if is_write => {
                self.end_write(id, WriteFate::Unknown("obscure error reply"), now_ns)
            }
            Meaning::Obscure => self.end_read(id, ReadFate::NoAnswer("obscure error reply"), now_ns),
        }
    }
}
