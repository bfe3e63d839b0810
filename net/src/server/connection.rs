//! The connection: tells the protocols apart by their first bytes and hands over to the one the client
//! speaks.

use super::ask::{Ask, LocalAnswer, Tag};
use super::binary::BinaryConnection;
use super::binary::OVER_LIMIT_TEXT;
use super::config::{CONNECTION_REFUSED, ConnectionConfig, Service};
use super::resp::RespConnection;
use crate::access::{Admission, PROTECTED};
use crate::binary::{self, FailureCode, PREAMBLE};
use crate::http;
use crate::inbox::{Inbox, InboxLimits};
use crate::memory::ReadBuffer;
use crate::resp::reply::{Proto, Writer};
use std::fmt::Write;
use synod_types::{Bucket, Command, Reply, Shared};

/// Input is read in chunks of this size; one former chunk is kept while a long value in it is in use.
const INPUT: InboxLimits = InboxLimits { chunk_bytes: 64 << 10, retired: 1 };
/// A longer first line is not taken for an HTTP request line. The longest key, percent-encoded, fits.
const HTTP_LINE_BYTES_MAX: usize = 3 * synod_types::limits::KEY_BYTES_MAX + (4 << 10);

/// The protocol the client speaks, with its state.
#[derive(Debug)]
enum ClientProtocol {
    /// Not enough bytes to tell.
    Undecided,
    /// The binary protocol.
    Binary(BinaryConnection),
    /// RESP, or inline commands.
    Resp(Box<RespConnection>),
    /// HTTP: the shell takes the stream over, from its first byte.
    Http,
}

/// The server side of one client connection; see the module's contract.
#[derive(Debug)]
pub struct Connection {
    config: ConnectionConfig,
    protocol: ClientProtocol,
    /// Bytes received and not parsed.
    input: Inbox,
    /// Bytes to send.
    out: Vec<u8>,
    /// The client will send no more.
    ended: bool,
    /// Nothing more is parsed: the client left, said goodbye or broke the protocol.
    draining: bool,
    close_told: bool,
    /// Bytes of input taken so far.
    taken_bytes: u64,
    /// Bytes of the first line already searched for its end: a line that comes byte by byte is searched once.
    searched: usize,
}

impl Connection {
    /// A connection at its first byte.
    pub fn new(config: ConnectionConfig) -> Self {
        Self {
            config,
            protocol: ClientProtocol::Undecided,
            input: Inbox::new(INPUT),
            out: Vec::new(),
            ended: false,
            draining: false,
            close_told: false,
            taken_bytes: 0,
            searched: 0,
        }
    }

    /// Lends room to read into from the socket, never empty. Give it back with [`Connection::put`]. Large
    /// values are not copied out of it. A command whose length is known gets room for all of it. Otherwise
    /// the room is larger the more the client sends, but as small as can be unless it `may_grow`.
    pub fn lend(&mut self, may_grow: bool) -> ReadBuffer {
        self.input.lend(self.known_length(), may_grow)
    }

    /// Bytes of memory that the next [`Connection::lend`] will allocate.
    pub fn wanted_bytes(&self, may_grow: bool) -> usize {
        self.input.wanted(self.known_length(), may_grow)
    }

    /// The length of what is being received, from the first byte held on; 0 if it is not known.
    fn known_length(&self) -> usize {
        match &self.protocol {
            ClientProtocol::Undecided | ClientProtocol::Http => 0,
            ClientProtocol::Binary(binary) => binary.wanted(self.input.held()),
            ClientProtocol::Resp(resp) => resp.wanted(),
        }
    }

    /// Takes back room whose first `count` bytes were filled by a read.
    ///
    /// # Panics
    /// When the room is shorter than that.
    pub fn put(&mut self, room: ReadBuffer, count: usize) {
        if !self.draining {
            self.input.put(room, count);
        }
    }

    /// Takes bytes that were received elsewhere, at the cost of a copy.
    pub fn received(&mut self, bytes: &[u8]) {
        if !self.draining {
            self.input.copy(bytes);
        }
    }

    /// The client has shut down its sending side. Requests it sent before are still executed and answered,
    /// then the connection ends.
    pub fn received_end(&mut self) {
        self.ended = true;
    }

    /// The next thing the shell has to do, if any.
    // Not an iterator: it may give something again after it gave `None`.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Option<Ask> {
        let ask = self.parse();
        if ask.is_some() {
            return ask;
        }
        if self.draining {
            self.input.clear(); // never looked at again
        }
        if self.closing() && !self.close_told {
            self.close_told = true;
            return Some(Ask::Close);
        }
        None
    }

    /// Answers an `Ask::Command`.
    pub fn reply(&mut self, tag: Tag, reply: Reply<&[u8]>) {
        let server = &self.config.server;
        match &mut self.protocol {
            ClientProtocol::Undecided | ClientProtocol::Http => {}
            ClientProtocol::Binary(binary) => binary.reply(server, &mut self.out, tag, reply),
            ClientProtocol::Resp(resp) => resp.reply(server, &mut self.out, tag, reply),
        }
    }

    /// Whether the reply to this `Ask::Command` would be written next, before any other that is still to come.
    /// It does not wait for others then, so a shell that is short of memory brings this one and no other. In
    /// an MGET it is the first value that has not come. The binary protocol has no order: there each reply is
    /// next.
    pub fn is_next(&self, tag: Tag) -> bool {
        match &self.protocol {
            ClientProtocol::Undecided | ClientProtocol::Http | ClientProtocol::Binary(_) => true,
            ClientProtocol::Resp(resp) => resp.is_next(tag),
        }
    }

    /// Answers an `Ask::Command` with the place where its key is served (`-MOVED`), if the client may be
    /// redirected. Returns false if it may not; the command must then be executed as usual. The binary
    /// protocol has no such answer, parts of a command on many keys and commands without a key are not
    /// redirected, and ASKING and READONLY ask not to be.
    pub fn redirect(&mut self, tag: Tag, bucket: Bucket, host: &str, port: u16) -> bool {
        match &mut self.protocol {
            ClientProtocol::Undecided | ClientProtocol::Http | ClientProtocol::Binary(_) => false,
            ClientProtocol::Resp(resp) => resp.redirect(&mut self.out, tag, bucket, host, port),
        }
    }

    /// Answers an `Ask::Local`.
    pub fn answer(&mut self, tag: Tag, answer: LocalAnswer) {
        match &mut self.protocol {
            ClientProtocol::Undecided | ClientProtocol::Http => {}
            ClientProtocol::Binary(binary) => binary.answer(&mut self.out, tag, &answer),
            ClientProtocol::Resp(resp) => resp.answer(&self.config.server, &mut self.out, tag, &answer),
        }
    }

    /// The bytes to send. Swap them with an empty buffer, or drain what the socket took.
    pub fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// The number of bytes to send.
    pub fn unsent_bytes(&self) -> usize {
        self.out.len()
    }

    /// Whether the socket should be read: false while too much is open or waits to be sent.
    pub fn wants_read(&self) -> bool {
        !self.draining && !self.ended && !self.is_full() && !self.speaks_http()
    }

    /// Whether a part of a command was received, and the client is to send the rest. Holds only after `next`
    /// gave `None`.
    pub fn is_incomplete(&self) -> bool {
        !self.input.held().is_empty() && self.wants_read()
    }

    /// Ends the connection for a reason of the shell's. The client is told it behind the replies that are
    /// open, and nothing more is parsed. In the binary protocol, where replies have no order, it is told at
    /// once.
    pub fn end_with(&mut self, text: &str) {
        if self.draining || self.speaks_http() {
            return;
        }
        let line = format!("ERR {text}");
        match &mut self.protocol {
            ClientProtocol::Resp(resp) => resp.end_with(&mut self.out, &line),
            ClientProtocol::Binary(_) => self.fail(FailureCode::Unavailable, text),
            ClientProtocol::Undecided | ClientProtocol::Http => self.refuse(&line),
        }
        self.draining = true;
    }

    /// The node is about to stop. What is open is answered. What comes yet in the binary protocol is not executed, and
    /// says so; in RESP it is executed. The shell ends the connection when it is idle.
    pub fn let_go(&mut self) {
        if matches!(self.protocol, ClientProtocol::Binary(_)) {
            self.config.service = Service::Leaving;
        }
    }

    /// Whether everything that was received is answered, as far as the protocol knows such a moment.
    pub fn is_idle(&self) -> bool {
        let is_idle = match &self.protocol {
            ClientProtocol::Resp(resp) => resp.is_idle() && !resp.is_in_bracket(),
            ClientProtocol::Binary(binary) => binary.open() == 0 && self.config.service == Service::Leaving,
            ClientProtocol::Undecided | ClientProtocol::Http => false,
        };
        is_idle && !self.draining && self.input.held().is_empty()
    }

    /// Ends an idle connection behind the bytes to send.
    pub fn end(&mut self) {
        debug_assert!(self.is_idle(), "a connection is ended in the middle");
        self.draining = true;
    }

    /// Frees the memory that is kept for what may come: for a connection that has been idle. Room that is lent
    /// cannot be freed.
    pub fn shrink(&mut self) {
        self.input.shrink();
        if self.out.is_empty() {
            self.out = Vec::new();
        }
        if let ClientProtocol::Resp(resp) = &mut self.protocol {
            resp.shrink();
        }
    }

    /// Whether the first line is an HTTP request line. The shell then stops using this connection, takes the
    /// input with [`Connection::take_input`] and lets an HTTP server have the stream.
    pub fn speaks_http(&self) -> bool {
        matches!(self.protocol, ClientProtocol::Http)
    }

    /// Whether the client has not sent enough to tell its protocol.
    pub fn is_undecided(&self) -> bool {
        matches!(self.protocol, ClientProtocol::Undecided)
    }

    /// Turns away a client beyond the limit that has not sent enough to tell its protocol: it is told so in
    /// RESP, which most clients speak and people can read. A client that has is left alone, and so is one that
    /// has got a place within the limit.
    pub fn give_up_waiting(&mut self) {
        if self.config.service == Service::Spare && self.is_undecided() && !self.draining {
            self.out.extend_from_slice(CONNECTION_REFUSED);
            self.config.server.counts.turned_away();
            self.draining = true;
        }
    }

    /// How much it is served.
    pub fn service(&self) -> Service {
        self.config.service
    }

    /// Gives a connection beyond the limit a place within it. Returns false for one that cannot use it: it is
    /// about to end, or HTTP, which is served elsewhere and ends after one answer.
    pub fn serve_fully(&mut self) -> bool {
        let can = self.config.service == Service::Spare && !self.draining && !self.speaks_http();
        if can {
            self.config.service = Service::Full;
        }
        can
    }

    /// All bytes received, once [`Connection::speaks_http`].
    pub fn take_input(&mut self) -> Vec<u8> {
        debug_assert!(self.speaks_http(), "input taken from a protocol that is spoken in here");
        let input = self.input.held().to_vec();
        self.input.clear();
        input
    }

    /// Whether everything is answered and the connection is to be closed once `out` is sent.
    pub fn closing(&self) -> bool {
        self.draining
            && match &self.protocol {
                ClientProtocol::Undecided | ClientProtocol::Http => true,
                ClientProtocol::Binary(binary) => binary.open() == 0,
                ClientProtocol::Resp(resp) => resp.is_idle(),
            }
    }

    /// The last command that was begun, for messages to operators. Only RESP commands have names.
    pub fn doing(&self) -> Option<&'static str> {
        match &self.protocol {
            ClientProtocol::Undecided | ClientProtocol::Http | ClientProtocol::Binary(_) => None,
            ClientProtocol::Resp(resp) => Some(resp.doing()),
        }
    }

    /// Its number.
    pub fn id(&self) -> u64 {
        self.config.id
    }

    /// Writes its line of CLIENT LIST. `age` and `idle` are in seconds.
    pub fn describe(&self, text: &mut String, age: u64, idle: u64) {
        let ConnectionConfig { id, peer_address, local_address, .. } = &self.config;
        let (name, protocol) = match &self.protocol {
            ClientProtocol::Resp(resp) => (resp.name(), "resp"),
            ClientProtocol::Binary(_) => ("", "binary"),
            ClientProtocol::Http => ("", "http"),
            ClientProtocol::Undecided => ("", "unknown"),
        };
        let held = self.memory();
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "id={id} addr={peer_address} laddr={local_address} name={name} age={age} idle={idle} flags=N db=0 \
             sub=0 psub=0 ssub=0 multi=-1 tot-mem={held} cmd={} user=default redir=-1 protocol={protocol}",
            self.doing().filter(|name| !name.is_empty()).unwrap_or("NULL"),
        );
        if let ClientProtocol::Resp(resp) = &self.protocol {
            resp.describe(text);
        }
        text.push('\n');
    }

    /// Bytes of answers that are not sent, those that wait for their turn included.
    pub fn waiting_bytes(&self) -> usize {
        let parked = match &self.protocol {
            ClientProtocol::Resp(resp) => resp.parked_bytes(),
            _ => 0,
        };
        self.out.len() + parked
    }

    /// Bytes of input that were taken so far. While a command is incomplete it stands still.
    pub fn taken_bytes(&self) -> u64 {
        self.taken_bytes
    }

    /// Bytes of memory that are there because of this connection: what it has received, with the former input
    /// that its commands refer to, what it has to send, and what waits for its turn.
    pub fn held_bytes(&mut self) -> usize {
        self.input.purge();
        self.memory()
    }

    fn memory(&self) -> usize {
        let waiting = match &self.protocol {
            ClientProtocol::Undecided | ClientProtocol::Http | ClientProtocol::Binary(_) => 0,
            ClientProtocol::Resp(resp) => resp.held_bytes(),
        };
        self.input.capacity() + self.out.capacity() + waiting
    }

    fn is_full(&self) -> bool {
        let limits = &self.config.server.limits;
        match &self.protocol {
            ClientProtocol::Undecided | ClientProtocol::Http => false,
            ClientProtocol::Binary(binary) => binary.is_full(limits, self.out.len()),
            ClientProtocol::Resp(resp) => resp.is_full(limits, self.out.len()),
        }
    }

    fn parse(&mut self) -> Option<Ask> {
        if matches!(self.protocol, ClientProtocol::Undecided) && !self.draining {
            self.sniff();
        }
        let input = self.input.held();
        let (ask, used) = match &mut self.protocol {
            ClientProtocol::Undecided | ClientProtocol::Http => (None, 0),
            ClientProtocol::Binary(binary) => {
                binary.parse(&self.config, input, &mut self.out, &mut self.draining)
            }
            ClientProtocol::Resp(resp) => resp.parse(&self.config, input, &mut self.out, &mut self.draining),
        };
        assert!(used <= input.len(), "more was parsed than there is");
        self.taken_bytes += used as u64;
        let lent = match &mut self.protocol {
            ClientProtocol::Undecided | ClientProtocol::Http => None,
            ClientProtocol::Binary(binary) => binary.lent.take(),
            ClientProtocol::Resp(resp) => resp.take_lent(),
        };
        let ask = match (ask, lent) {
            (Some(ask), Some(operand)) => {
                let parsed = self.input.take(used);
                Some(with_operand(ask, parsed.slice(operand.start, operand.len())))
            }
            (ask, _) => {
                self.input.skip(used);
                ask
            }
        };
        if ask.is_none() && self.ended && !self.is_full() {
            self.draining = true; // the rest is no whole request
        }
        ask
    }

    /// Decides by the first bytes which protocol the client speaks. A client that is turned away is told so
    /// in that protocol.
    fn sniff(&mut self) {
        let admission = self.config.server.access.admission(self.config.is_loopback);
        self.decide(admission == Admission::Open);
        let is_stranger = admission == Admission::TurnedAway;
        let is_unwanted = self.config.service == Service::Spare && !self.config.is_loopback;
        match &self.protocol {
            ClientProtocol::Resp(_) if is_stranger => self.refuse(PROTECTED),
            ClientProtocol::Binary(_) if is_stranger => self.fail(FailureCode::Protected, PROTECTED),
            ClientProtocol::Resp(_) if is_unwanted => {
                self.out.extend_from_slice(CONNECTION_REFUSED);
                self.config.server.counts.turned_away();
                self.draining = true;
            }
            ClientProtocol::Binary(_) if is_unwanted => {
                self.config.server.counts.turned_away();
                self.fail(FailureCode::Unavailable, OVER_LIMIT_TEXT);
            }
            // HTTP gives its answer where it handles requests, see `http::route`.
            _ => {}
        }
    }

    fn decide(&mut self, is_let_in: bool) {
        let input = self.input.held();
        let Some(&first) = input.first() else { return };
        if first != PREAMBLE[0] {
            match looks_like_http(input, self.searched) {
                None if !self.ended => self.searched = input.len(),
                Some(true) => self.protocol = ClientProtocol::Http,
                _ => {
                    let counts = self.config.server.counts.clone();
                    self.protocol = ClientProtocol::Resp(Box::new(RespConnection::new(is_let_in, counts)));
                }
            }
            return;
        }
        let Some(preamble) = input.first_chunk::<8>() else { return };
        let preamble = *preamble;
        self.input.skip(preamble.len());
        if preamble[..6] != PREAMBLE[..6] {
            self.fail(FailureCode::Protocol, "the connection opens with neither RESP nor the preamble");
        } else if preamble != PREAMBLE {
            self.fail(FailureCode::Version, "this server speaks version 1 of the binary protocol");
        } else {
            self.protocol = ClientProtocol::Binary(BinaryConnection::new(is_let_in));
        }
    }

    /// Ends the connection with an error line that no reply can be open before.
    fn refuse(&mut self, line: &str) {
        Writer::new(&mut self.out, Proto::Resp2).error(line);
        self.config.server.counts.error(line.as_bytes());
        self.draining = true;
    }

    fn fail(&mut self, failure: FailureCode, text: &str) {
        binary::encode_failure(&mut self.out, 0, failure, text);
        self.draining = true;
    }
}

/// The ask with its operand, which was left in the input.
fn with_operand(ask: Ask, operand: Shared) -> Ask {
    match ask {
        Ask::Command { tag, group, consistency, command } => {
            Ask::Command { tag, group, consistency, command: Command { operand, ..command } }
        }
        other => other,
    }
}

/// Whether the first line is an HTTP request line; `None` while it is too early to tell. `GET /a` alone is an
/// inline command. The first `searched` bytes are known to hold no line end.
fn looks_like_http(input: &[u8], searched: usize) -> Option<bool> {
    let may_be = |method: &&[u8]| {
        let common = input.len().min(method.len());
        input[..common] == method[..common]
    };
    if !http::METHODS.iter().any(may_be) {
        return Some(false);
    }
    let searched = searched.min(input.len());
    match input[searched..].iter().position(|&byte| byte == b'\n').map(|end| searched + end) {
        Some(end) if end >= HTTP_LINE_BYTES_MAX => Some(false),
        Some(end) => Some(is_request_line(&input[..end])),
        None if input.len() >= HTTP_LINE_BYTES_MAX => Some(false),
        None => None,
    }
}

/// Whether a line ends in ` HTTP/1.x`. No RESP command ends in two such words by chance.
fn is_request_line(line: &[u8]) -> bool {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    line.split_last().is_some_and(|(last, rest)| last.is_ascii_digit() && rest.ends_with(b" HTTP/1."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_is_told_from_inline_commands_by_its_whole_first_line() {
        for (input, want) in [
            (&b"GET / HTTP/1.1\r\n"[..], Some(true)),
            (b"GET / HTTP/1.0\n", Some(true)),
            (b"PUT /v1/kv/k HTTP/1.1\r\nHost", Some(true)),
            (b"GET nothing HTTP/1.1\r\n", Some(true)),
            (b"GET / HTTP/1.1 x\r\n", Some(false)),
            (b"GET / HTTP/2.0\r\n", Some(false)),
            (b"GET k\r\nGET / HTTP/1.1\r\n", Some(false)),
            (b"GETEX k\r\n", Some(false)),
            (b"GET /key\r\n", Some(false)),
            (b"GET /key", None),
            (b"GE", None),
            (b"SET k v\r\n", Some(false)),
            (b"*1\r\n", Some(false)),
        ] {
            assert_eq!(looks_like_http(input, 0), want, "{input:?}");
        }
        assert_eq!(
            looks_like_http(&[b"GET /".as_slice(), &[b'a'; HTTP_LINE_BYTES_MAX]].concat(), 0),
            Some(false)
        );
    }
}
