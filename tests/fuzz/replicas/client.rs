//! The client's end: its requests, and the check that each gets one answer that can be read.

use std::fmt;
use synod_net::binary::{self, ResponseBody, ResponseDecoder};
use synod_types::{Command, Consistency, GroupId, Reply, SessionId, Version};

/// Sessions, and versions, that a client remembers for later requests.
const REMEMBERED_MAX: usize = 4;

/// A client of one node.
pub(super) struct Client {
    node: usize,
    protocol: ClientProtocol,
    /// Sent by the client, and not yet handed to the node.
    sent: Vec<u8>,
    asked: u64,
    answered: u64,
    /// The number of the next request.
    next: u64,
    sessions: Vec<SessionId>,
    versions: Vec<Version>,
    /// How many of the last answers were `+OK`.
    ok_in_row: u64,
}

enum ClientProtocol {
    /// Holds the beginning of an answer that is not whole yet.
    Resp(Vec<u8>),
    Binary(Box<ResponseDecoder>),
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = if matches!(self.protocol, ClientProtocol::Resp(_)) { "RESP" } else { "binary" };
        write!(f, "the {protocol} client of n{}", self.node + 1)
    }
}

impl Client {
    pub(super) fn resp(node: usize) -> Self {
        Self::new(node, ClientProtocol::Resp(Vec::new()), Vec::new())
    }
    pub(super) fn binary(node: usize) -> Self {
        Self::new(node, ClientProtocol::Binary(Box::default()), binary::PREAMBLE.to_vec())
    }
    fn new(node: usize, protocol: ClientProtocol, sent: Vec<u8>) -> Self {
        let (sessions, versions) = (Vec::new(), Vec::new());
        Self { node, protocol, sent, asked: 0, answered: 0, next: 1, sessions, versions, ok_in_row: 0 }
    }

    /// The node died: open requests are never answered.
    pub(super) fn reconnect(&mut self) {
        *self = match self.protocol {
            ClientProtocol::Resp(_) => Self::resp(self.node),
            ClientProtocol::Binary(_) => Self::binary(self.node),
        };
    }

    pub(super) fn ask_words(&mut self, words: &[Vec<u8>]) {
        self.sent.extend(format!("*{}\r\n", words.len()).bytes());
        for word in words {
            self.sent.extend(format!("${}\r\n", word.len()).bytes());
            self.sent.extend_from_slice(word);
            self.sent.extend_from_slice(b"\r\n");
        }
        self.asked += 1;
    }

    pub(super) fn ask_command(&mut self, consistency: Consistency, command: &Command<Vec<u8>>) {
        binary::encode_request(&mut self.sent, self.next, consistency, command);
        self.next += 1;
        self.asked += 1;
    }

    pub(super) fn ask_session(&mut self, group: GroupId) {
        binary::encode_open_session(&mut self.sent, self.next, group);
        self.next += 1;
        self.asked += 1;
    }

    pub(super) fn take_sent(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.sent)
    }

    /// Requests without an answer.
    pub(super) fn owed(&self) -> u64 {
        self.asked - self.answered
    }

    pub(super) fn ok_in_row(&self) -> u64 {
        self.ok_in_row
    }

    /// Takes bytes the server sent.
    pub(super) fn hear(&mut self, bytes: &[u8]) {
        match &mut self.protocol {
            ClientProtocol::Resp(held) => {
                held.extend_from_slice(bytes);
                let mut at = 0;
                while let Some(len) = reply_len(&held[at..]) {
                    self.ok_in_row = if held[at..].starts_with(b"+OK\r\n") { self.ok_in_row + 1 } else { 0 };
                    at += len;
                    self.answered += 1;
                }
                held.drain(..at);
            }
            ClientProtocol::Binary(decoder) => {
                decoder.feed(bytes);
                while let Some(response) = decoder.next().expect("an answer can be read") {
                    self.answered += 1;
                    assert!(
                        response.id >= 1 && response.id < self.next,
                        "an answer to nothing: {response:?}"
                    );
                    match response.body {
                        ResponseBody::Reply(Reply::Session(session)) => self.sessions.push(session),
                        ResponseBody::Reply(Reply::Done { version } | Reply::Value { version, .. }) => {
                            self.versions.push(version)
                        }
                        ResponseBody::Reply(_) => {}
                        other => panic!("no answer to a command: {other:?}"),
                    }
                }
            }
        }
        assert!(self.answered <= self.asked, "{self} got an answer too many");
    }

    /// Passes on the sessions and versions that this client has learned.
    pub(super) fn tell(&mut self, sessions: &mut Vec<SessionId>, versions: &mut Vec<Version>) {
        sessions.append(&mut self.sessions);
        versions.append(&mut self.versions);
        sessions.drain(..sessions.len().saturating_sub(REMEMBERED_MAX));
        versions.drain(..versions.len().saturating_sub(REMEMBERED_MAX));
    }
}

/// The length of the first RESP2 reply, if all of it is there.
fn reply_len(bytes: &[u8]) -> Option<usize> {
    let line = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    let mut end = line + 2;
    let number = || -> i64 {
        let text = std::str::from_utf8(&bytes[1..line]).expect("a length");
        text.parse().unwrap_or_else(|_| panic!("no length: {text:?}"))
    };
    match bytes[0] {
        b'+' | b'-' | b':' => {}
        b'$' => {
            if let Ok(len) = usize::try_from(number()) {
                end += len + 2;
            }
        }
        b'*' => {
            for _ in 0..number() {
                end += reply_len(bytes.get(end..)?)?;
            }
        }
        other => panic!("no reply of RESP2: {other:#x}"),
    }
    (end <= bytes.len()).then_some(end)
}

/// A command's words; long words are shown by their length.
pub(super) fn shown(words: &[Vec<u8>]) -> String {
    let shown = |word: &Vec<u8>| {
        let front = word[..word.len().min(24)].escape_ascii();
        if word.len() <= 24 { front.to_string() } else { format!("{front}… <{}>", word.len()) }
    };
    let more = if words.len() > 12 { format!(" … {}", words.len()) } else { String::new() };
    let words: Vec<String> = words.iter().take(12).map(shown).collect();
    words.join(" ") + &more
}
