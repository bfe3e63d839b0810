//! Bytes from clients, servers and peers.

use super::cuts::Cuts;
use std::collections::VecDeque;
use std::rc::Rc;
use synod_net::binary::{ResponseDecoder, ServerInfo};
use synod_net::peer;
use synod_net::server::{
    Ask, Connection, ConnectionConfig, Limits, LocalAnswer, LocalQuery, ServerConfig, Service, Tag,
};
use synod_types::{ClusterId, CoreId, ErrorKind, Incarnation, NodeId, Reply, Slot, Version};

fn limits() -> Limits {
    Limits {
        open_asks_max: 16,
        out_bytes_soft: 64 << 10,
        gathered_bytes_max: 256 << 10,
        command_bytes_max: 64 << 10,
        arguments_max: 64,
    }
}

pub(super) fn connect() -> Connection {
    let info = ServerInfo { group_count: 4, version: "0.0.0".into(), ..ServerInfo::default() };
    let server = ServerConfig { info, port: 6379, limits: limits(), ..ServerConfig::default() };
    Connection::new(ConnectionConfig {
        server: Rc::new(server),
        id: 7,
        peer_address: "10.0.0.1:5000".into(),
        is_loopback: true,
        local_address: "10.0.0.2:6379".into(),
        is_core_port: false,
        service: Service::Full,
    })
}

/// A client's connection and a shell that answers everything, some of it late.
struct Shell {
    connection: Connection,
    /// The asks so far, in order, without their tags.
    asked: Vec<String>,
    /// The open asks, each with the number of asks before it. That number decides the reply, so that a reply
    /// that leads to further asks is the same however the bytes were cut.
    open: VecDeque<(Tag, u64)>,
    answered: u64,
    /// Bytes sent to the client.
    sent: usize,
    /// How many asks stay open until more of them come.
    late: usize,
}

impl Shell {
    fn new(late: usize) -> Self {
        let connection = connect();
        Self { connection, asked: Vec::new(), open: VecDeque::new(), answered: 0, sent: 0, late }
    }

    fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            // Like the real shell, read only while the connection wants input, and not without end.
            for _ in 0..64 {
                if self.connection.wants_read() {
                    break;
                }
                self.answer_all();
                self.drain();
            }
            if !self.connection.wants_read() {
                return;
            }
            let (piece, rest) = bytes.split_at(bytes.len().min(64 << 10));
            bytes = rest;
            self.connection.received(piece);
            self.drain();
            let held = self.connection.held_bytes();
            let bound =
                4 * (64 << 10) + 2 * limits().gathered_bytes_max + (1 << 20) + 4 * limits().command_bytes_max;
            assert!(held <= bound, "{held} bytes are held for one connection");
        }
    }

    fn end(mut self) -> Vec<String> {
        self.connection.received_end();
        for _ in 0..64 {
            self.drain();
            self.answer_all();
        }
        self.drain();
        assert!(self.connection.closing(), "all is answered and the client is gone");
        self.asked
    }

    fn drain(&mut self) {
        loop {
            self.sent += self.connection.out().len();
            self.connection.out().clear();
            match self.connection.next() {
                Some(Ask::Command { tag, group, consistency, command }) => {
                    let told =
                        command.map(|bytes| (bytes.len(), synod_types::checksum::crc32c(bytes.as_ref())));
                    self.asked.push(format!("{group:?} {consistency:?} {told:?}"));
                    self.open.push_back((tag, self.asked.len() as u64));
                    assert!(self.open.len() <= limits().open_asks_max + limits().arguments_max);
                }
                Some(Ask::Local { tag, query }) => {
                    self.asked.push(format!("{query:?}"));
                    let answer = match query {
                        LocalQuery::Time => LocalAnswer::Time { micros: 1_700_000_000_000_000 },
                        _ => LocalAnswer::Unavailable("not here".into()),
                    };
                    self.connection.answer(tag, answer);
                }
                Some(Ask::Close | Ask::Pause) => {}
                None => break,
            }
        }
        while self.open.len() > self.late {
            self.answer_one();
        }
    }

    fn answer_one(&mut self) {
        // Take asks now from one end and now from the other: replies come in any order.
        let tag = if self.answered.is_multiple_of(3) { self.open.pop_back() } else { self.open.pop_front() };
        let Some((tag, number)) = tag else { return };
        self.answered += 1;
        let version = Version { slot: Slot::new(number), position: 0 };
        let reply: Reply<&[u8]> = match number % 7 {
            0 => Reply::Nil,
            1 => Reply::Value { value: b"a value of some length", version },
            2 => Reply::Int(-3),
            3 => Reply::Done { version },
            4 => Reply::Skipped,
            5 => Reply::Error(ErrorKind::Unknown),
            _ => Reply::Error(ErrorKind::Busy),
        };
        self.connection.reply(tag, reply);
    }

    fn answer_all(&mut self) {
        while !self.open.is_empty() {
            self.answer_one();
        }
    }
}

/// A client's bytes after `head`. Memory is bounded, the connection comes to an end, and the asks are the
/// same however the bytes were cut into reads.
///
/// # Panics
/// When one of these does not hold.
pub fn server(head: &[u8], data: &[u8]) {
    let cuts = Cuts::new(data);
    let whole = cuts.whole();
    let mut once = Shell::new(0);
    once.feed(head);
    once.feed(whole);
    let mut pieces = Shell::new(0);
    pieces.feed(head);
    for piece in cuts {
        pieces.feed(piece);
    }
    assert_eq!(once.end(), pieces.end(), "what is asked depends on how the bytes were cut");
    let mut late = Shell::new(usize::from(data.first().copied().unwrap_or(0) >> 3));
    late.feed(head);
    late.feed(whole);
    late.end();
}

/// A server's bytes at a client: responses or an error, the same however the bytes were cut.
///
/// # Panics
/// When the cuts make a difference.
pub fn binary_client(data: &[u8]) {
    let read = |decoder: &mut ResponseDecoder, seen: &mut Vec<String>| {
        loop {
            match decoder.next() {
                Ok(Some(response)) => seen.push(format!("{response:?}")),
                Ok(None) => return true,
                Err(error) => {
                    seen.push(error.to_string());
                    return false;
                }
            }
        }
    };
    let cuts = Cuts::new(data);
    let (mut once, mut at_once) = (ResponseDecoder::new(), Vec::new());
    once.feed(cuts.whole());
    read(&mut once, &mut at_once);
    let (mut pieces, mut piecewise) = (ResponseDecoder::new(), Vec::new());
    for piece in cuts {
        pieces.feed(piece);
        if !read(&mut pieces, &mut piecewise) {
            break;
        }
    }
    assert_eq!(at_once, piecewise, "what is answered depends on how the bytes were cut");
}

/// Bytes of a peer that does not know the secret, at either end of a handshake.
fn shake_hands(data: &[u8]) {
    let frame = |data: &[u8]| {
        let (head, rest) = data.split_first_chunk::<{ peer::HANDSHAKE_HEAD_BYTES }>()?;
        let head = peer::Head::decode(head).ok()?; // an error is a fine answer too
        let (tail, rest) = rest.split_at_checked(head.tail_bytes())?;
        Some((head, tail.to_vec(), rest.to_vec()))
    };
    let secrets = || peer::Secrets::one(peer::PeerSecret::new(*b"no fuzzer will ever guess it, so"));
    let ours = peer::Handshake {
        cluster: ClusterId::new(1),
        facts: 2,
        node: NodeId::new(1),
        incarnation: Incarnation::new(3),
        core: CoreId::new(0),
        core_count: 1,
        target: NodeId::new(2),
    };
    let Some((first, tail, rest)) = frame(data) else { return };
    let mut out = Vec::new();
    let initiator = peer::Initiator::hello(ours, secrets(), [1; 32], &mut out);
    assert!(initiator.on_challenge(&first, &tail, &mut out).is_err(), "a challenge without the secret");
    if let Ok(acceptor) = peer::Acceptor::challenge(&first, secrets(), [2; 32], &mut out)
        && let Some((second, tail, _)) = frame(&rest)
    {
        assert!(acceptor.on_intro(&second, &tail, &mut out).is_err(), "an introduction without the secret");
    }
}

/// A peer's bytes: messages or an error, the same however the bytes were cut. A decoded message can be
/// encoded again and is then the same.
///
/// # Panics
/// When one of these does not hold.
pub fn peer(data: &[u8]) {
    shake_hands(data);
    let read = |decoder: &mut peer::Decoder, seen: &mut Vec<String>| {
        loop {
            match decoder.next() {
                Ok(Some(message)) => {
                    let mut frame = Vec::new();
                    peer::encode(&mut frame, &message);
                    let mut again = peer::Decoder::new();
                    again.feed(&frame);
                    assert_eq!(
                        again.next(),
                        Ok(Some(message.clone())),
                        "it does not survive its own encoding"
                    );
                    seen.push(format!("{message:?}"));
                }
                Ok(None) => return true,
                Err(error) => {
                    seen.push(error.to_string());
                    return false;
                }
            }
        }
    };
    let cuts = Cuts::new(data);
    let (mut once, mut at_once) = (peer::Decoder::new(), Vec::new());
    once.feed(cuts.whole());
    read(&mut once, &mut at_once);
    let (mut pieces, mut piecewise) = (peer::Decoder::new(), Vec::new());
    for piece in cuts {
        pieces.feed(piece);
        if !read(&mut pieces, &mut piecewise) {
            break;
        }
    }
    assert_eq!(at_once, piecewise, "what is heard depends on how the bytes were cut");
}
