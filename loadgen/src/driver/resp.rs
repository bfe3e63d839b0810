//! The other protocol: GET and SET over RESP, to any server that speaks it. Replies come in the order of the requests, so a
//! connection remembers what it asked. There are no sessions: a write whose connection breaks is unknown. There are no
//! versions either; the ledger is told the sequence in their place, which never contradicts itself, and histories have none.

use super::answer::{ReadFate, WriteFate};
use super::link::State;
use super::op::{OpId, Work};
use super::{Driver, Seen};
use crate::admission::NotAdmitted;
use synod_types::limits::VALUE_BYTES_MAX;
use synod_types::{ErrorKind, Slot, Version};

/// A line of a reply that is longer than this is none.
const LINE_BYTES_MAX: usize = 64 << 10;

/// One reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum RespReply<'a> {
    Simple(&'a [u8]),
    Error(&'a [u8]),
    Integer,
    Bulk(&'a [u8]),
    Nil,
}

/// Cuts a stream into replies. Holds at most one value and what came with it.
#[derive(Debug, Default)]
pub(super) struct RespReader {
    bytes: Vec<u8>,
    /// Up to here they are taken.
    at: usize,
}

impl RespReader {
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.at);
        self.at = 0;
        self.bytes.extend_from_slice(bytes);
    }
    /// The next reply, if it is all there; an error when the stream is not one of replies to GET, SET and PING.
    pub(super) fn next_reply(&mut self) -> Result<Option<RespReply<'_>>, &'static str> {
        let rest = &self.bytes[self.at..];
        let Some(length) = rest.iter().take(LINE_BYTES_MAX).position(|&byte| byte == b'\n') else {
            return if rest.len() < LINE_BYTES_MAX { Ok(None) } else { Err("malformed answer") };
        };
        let line = rest[..length].strip_suffix(b"\r").ok_or("malformed answer")?;
        let (&mark, text) = line.split_first().ok_or("malformed answer")?;
        let after = length + 1;
        let (taken, reply) = match mark {
            b'+' => (after, RespReply::Simple(text)),
            b'-' => (after, RespReply::Error(text)),
            b':' => (after, RespReply::Integer),
            b'_' => (after, RespReply::Nil),
            b'$' | b'*' if text == b"-1" => (after, RespReply::Nil),
            b'$' => {
                let size = std::str::from_utf8(text).ok().and_then(|text| text.parse::<usize>().ok());
                let size = size.filter(|&size| size <= VALUE_BYTES_MAX).ok_or("malformed answer")?;
                let Some(value) = rest.get(after..after + size + 2) else { return Ok(None) };
                let value = value.strip_suffix(b"\r\n").ok_or("malformed answer")?;
                (after + size + 2, RespReply::Bulk(value))
            }
            _ => return Err("malformed answer"),
        };
        self.at += taken;
        Ok(Some(reply))
    }
}

/// Appends a request.
pub(crate) fn encode(out: &mut Vec<u8>, parts: &[&[u8]]) {
    let head = |out: &mut Vec<u8>, mark: u8, count: usize| {
        out.push(mark);
        out.extend_from_slice(count.to_string().as_bytes());
        out.extend_from_slice(b"\r\n");
    };
    head(out, b'*', parts.len());
    for part in parts {
        head(out, b'$', part.len());
        out.extend_from_slice(part);
        out.extend_from_slice(b"\r\n");
    }
}

/// The version that stands for the write `sequence` where the protocol has none.
pub(super) fn version_of(sequence: u64) -> Version {
    Version { slot: Slot::new(sequence), position: 0 }
}

/// What an error reply says of the command.
enum Meaning {
    Known(ErrorKind),
    /// Certainly not executed.
    Refused(&'static str),
    /// Nothing that is known here, so it may have been executed.
    Obscure,
}

/// By the first word, as Redis and those who follow it use them.
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
    /// The connection is made: the server has to take the password, if there is one, and to answer once before it is given work.
    pub(super) fn greet_resp(&mut self, link: usize, now_ns: u64) {
        let target = &mut self.links[link];
        assert!(target.state == State::Probing, "greeted where nobody listens");
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(reader: &mut RespReader) -> Result<Vec<String>, &'static str> {
        let mut found = Vec::new();
        while let Some(reply) = reader.next_reply()? {
            found.push(format!("{reply:?}"));
        }
        Ok(found)
    }

    #[test]
    fn requests_are_arrays_of_bulks() {
        let mut out = Vec::new();
        encode(&mut out, &[b"SET", b"k", b"a\r\nb"]);
        assert_eq!(out, b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$4\r\na\r\nb\r\n");
    }

    #[test]
    fn every_kind_of_reply_is_cut_out() {
        let mut reader = RespReader::default();
        reader.feed(b"+OK\r\n-ERR no\r\n:7\r\n$4\r\na\r\nb\r\n$-1\r\n_\r\n*-1\r\n$0\r\n\r\n");
        let expected = [
            RespReply::Simple(b"OK"),
            RespReply::Error(b"ERR no"),
            RespReply::Integer,
            RespReply::Bulk(b"a\r\nb"),
            RespReply::Nil,
            RespReply::Nil,
            RespReply::Nil,
            RespReply::Bulk(b""),
        ];
        assert_eq!(all(&mut reader), Ok(expected.iter().map(|reply| format!("{reply:?}")).collect()));
    }

    #[test]
    fn what_is_no_reply_or_too_long_is_an_error() {
        let bad: [&[u8]; 7] =
            [b"HTTP/1.1\r\n", b"\r\n", b"+OK\n", b"$x\r\n", b"$9999999999\r\n", b"$1\r\nabc", b"*2\r\n"];
        for bytes in bad {
            let mut reader = RespReader::default();
            reader.feed(bytes);
            assert!(reader.next_reply().is_err(), "{bytes:?} was taken");
        }
        let mut reader = RespReader::default();
        reader.feed(&vec![b'+'; LINE_BYTES_MAX]);
        assert!(reader.next_reply().is_err(), "a line without end");
    }

    proptest! {
        #[test]
        fn tearing_changes_nothing(cuts in proptest::collection::vec(1_usize..9, 0..60)) {
            let stream = b"+OK\r\n$11\r\nhello\r\nbyte\r\n-BUSY x\r\n$-1\r\n:12\r\n+PONG\r\n";
            let mut whole = RespReader::default();
            whole.feed(stream);
            let (mut torn, mut found, mut at) = (RespReader::default(), Vec::new(), 0);
            for cut in cuts.into_iter().chain([stream.len()]) {
                let end = (at + cut).min(stream.len());
                torn.feed(&stream[at..end]);
                at = end;
                found.extend(all(&mut torn).expect("sound"));
            }
            prop_assert_eq!(Ok(found), all(&mut whole));
        }

        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut reader = RespReader::default();
            reader.feed(&bytes);
            let _ = all(&mut reader);
        }
    }
}
